"""An oddball (P300) experiment from the brain of the simulated study: pictures, and five times rarer catch trials."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from brain2clip import artefact
from brain2clip.responses.epoching import epochs_of
from brain2clip.settings import Band, Responses, SimulatedStudy
from brain2clip.simulation import simulate_recordings

MADE = artefact.Provenance("made-by-a-test", {"a": 1}, "code")
CLASSES = ("standard", "target")
#: Standards for each target.
ODDS = 5
#: Channels that are kept, along the middle and over the parietal cortex.
KEPT = ("Fz", "Cz", "CPz", "Pz", "P3", "P4", "POz", "Oz")


@cache
def trials(subject: int, n: int = 480, null: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Responses [n, C, T] of one recording and the class of each; of a null subject targets evoke nothing of their own.

    Onsets are 0.4 s apart, so that responses overlap.
    """
    study = SimulatedStudy(kind="simulated", sfreq=100.0, soa=0.4, catch_trials=1 / (ODDS + 1), seed=7)
    drawn = np.random.default_rng(3)
    features = {level.name: drawn.standard_normal((20, 5)) for level in simulate_recordings.LEVELS}
    brain = simulate_recordings.make_brain(study, str(subject), features, 20)
    if null:
        brain = replace(brain, target=np.zeros_like(brain.target))
    rng = np.random.default_rng([subject, int(null)])
    images = pd.DataFrame({"image": [f"{number:05d}_a/picture.png" for number in range(20)]})
    shown = rng.integers(0, 20, n * ODDS // (ODDS + 1))
    events = simulate_recordings.events_table(shown, images, study, "train", rng)
    n_samples = int(events["sample"].iloc[-1]) + 400
    signal = simulate_recordings.responses(brain, events, 0, n_samples)
    signal += simulate_recordings.disturbances(brain, study.noise, n_samples, study.sfreq, 1.0, rng)
    raw = mne.io.RawArray(
        signal, mne.create_info(list(simulate_recordings.CHANNELS), study.sfreq, "eeg"), verbose=False
    )
    cut = Responses(tmin=-0.1, tmax=0.7, baseline=(None, 0.0), sfreq=20.0, channels=KEPT)
    epochs, _ = epochs_of(raw.pick(list(KEPT)), events["onset"].tolist(), Band(l_freq=0.5, h_freq=8.0), cut)
    values = epochs / epochs.std(axis=(0, 2), keepdims=True)
    return values.astype(np.float32), np.where(events["trial_type"] == "target", "target", "standard")


def write(folder: Path, subject: int = 1, null: bool = False) -> dict[str, Path]:
    """Artefacts of a subject: the first two thirds are training, the rest is the test."""
    values, label = trials(subject, null=null)
    found = {"responses": folder / f"sub-{subject}-{null}.h5", "stimuli": folder / "stimuli.h5"}
    with artefact.create_h5(found["responses"], MADE) as file:
        file.attrs["sfreq"] = 20.0
        file["response"], file["stimulus"] = values, (label == "target").astype(np.int32)
        file["split"] = (np.arange(len(values)) >= len(values) * 2 // 3).astype(np.uint8)
        file["channel"], file["times"] = list(KEPT), np.arange(values.shape[2]) / 20.0
        file["stimulus_id"], file["session"] = list(CLASSES), ["01"] * len(values)
    if not found["stimuli"].exists():
        write_prompts(found["stimuli"], CLASSES)
    return found


def write_prompts(path: Path, classes: tuple[str, ...]) -> None:
    """Features of classes that stand for themselves: a prompt each, on both sides of the split."""
    n = len(classes)
    embedding = np.random.default_rng(5).standard_normal((n, 12)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    with artefact.create_h5(path, MADE, unknown={"caption_embedding"}) as file:
        file.attrs.update(kind="prompts", cache="tokens")
        file["stimulus_id"] = file["concept"] = list(classes)
        file["split"] = ["both"] * n
        file["embedding"] = file["prompt_embedding"] = file["sentence_embedding"] = embedding
        file["caption_embedding"] = np.full_like(embedding, np.nan)
        file["prompt_link"] = np.stack([np.arange(n), np.arange(n)], axis=1).astype(np.int32)
        file["caption_link"] = np.zeros((0, 2), np.int32)
