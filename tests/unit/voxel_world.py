"""The simulated fMRI study in a folder, and its responses made by other means than the stage ``voxels``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.signal import detrend

from brain2clip import artefact, stage
from brain2clip.readers import contract, file_records
from brain2clip.simulation import simulate_pictures, simulate_voxels

MADE = artefact.Provenance("made-by-a-test", {}, "code")
TINY: dict[str, Any] = {
    "kind": "simulated_fmri",
    "subjects": 2,
    "training_concepts": 12,
    "pictures_per_concept": 2,
    "test_concepts": 8,
    "training_repetitions": 2,
    "test_repetitions": 5,
    "run_trials": 15,
    "voxels_per_roi": 8,
}


def job(name: str, given: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path]) -> stage.Job:
    return stage.Job(name, given, "code", {}, {key: [path] for key, path in inputs.items()}, outputs)


def truth_of(study: contract.VoxelStudy, subject: str) -> Path:
    return Path(study.files(subject)[0]).parents[1] / "derivatives" / "truth" / f"sub-{subject}.h5"


def features_of(study: contract.VoxelStudy) -> Path:
    return truth_of(study, "01").with_name("features.h5")


def make_voxels(study: contract.VoxelStudy, given: dict[str, Any], subject: str) -> None:
    inputs = {"stimuli": Path(study.stimulus_files()[0]), "features": features_of(study)}
    outputs = {"signals": Path(study.files(subject)[0]), "truth": truth_of(study, subject)}
    simulate_voxels.run(job("simulate_voxels", {"study": given, "subject": subject}, inputs, outputs))


def make(results: Path, given: dict[str, Any]) -> contract.VoxelStudy:
    study = contract.load("tiny", given, str(results))
    table = Path(study.stimulus_files()[0])
    outputs = {"stimuli": table, "features": features_of(study), "record": table.with_name(file_records.NAME)}
    simulate_pictures.run(job("simulate_pictures", {"study": given}, {}, outputs))
    for subject in study.subjects():
        make_voxels(study, given, subject)
    return study


def noise_free(study: contract.VoxelStudy, subject: str) -> np.ndarray:
    """Signals [n_rows, n_voxels] as the truth says them, by its definition."""
    with h5py.File(truth_of(study, subject)) as file:
        shown, run = file["shown"][:], file["shown_run"][:]
        gain = file["gain"][:][run]
        response = file["evoked"][:] + file["weights"][:].astype(float)[shown] @ file["basis"][:]
    return np.where((shown >= 0)[:, None], gain[:, None] * response, 0.0)


def write_responses(
    path: Path, study: contract.VoxelStudy, subject: str, voxels: dict[str, Any], region: str = "VC", signals=None
) -> np.ndarray:
    """Responses artefact from signals (none given: those of the study); returns the noise-free ones [n, n_voxels].

    The noise-free signals get what the signals lose: the same deviations, and lines and means of their own.
    """
    rows = study.rows(subject)
    chosen = np.flatnonzero(study.regions(subject)[region])
    signals = (study.signals(subject, chosen) if signals is None else signals[:, chosen]).astype(float)
    clean = noise_free(study, subject)[:, chosen]
    shown = (rows["stimulus"] != "").to_numpy()
    training = shown & (rows["split"] == "train").to_numpy()
    runs = {run: (rows["run"] == run).to_numpy() for run in rows["run"].unique()}
    statistics = {}
    for run, own in runs.items():
        if voxels.get("detrend") == "linear":
            signals[own], clean[own] = detrend(signals[own], axis=0), detrend(clean[own], axis=0)
        if voxels.get("normalise") == "run":
            statistics[f"run/{run}"] = signals[own].mean(axis=0), signals[own].std(axis=0, ddof=1)
            clean[own] = (clean[own] - clean[own].mean(axis=0)) / statistics[f"run/{run}"][1]
            signals[own] = (signals[own] - statistics[f"run/{run}"][0]) / statistics[f"run/{run}"][1]
    if voxels.get("normalise", "training") == "training":
        statistics["training"] = signals[training].mean(axis=0), signals[training].std(axis=0, ddof=1)
        signals = (signals - statistics["training"][0]) / statistics["training"][1]
        clean = clean / statistics["training"][1]
    names = np.array(study.voxel_names(subject))
    with artefact.create_h5(path, MADE) as file:
        file["response"] = signals[shown].astype(np.float32)
        ids, stimulus = np.unique(rows["stimulus"][shown].to_numpy(str), return_inverse=True)
        file["stimulus_id"], file["stimulus"] = ids.tolist(), stimulus.astype(np.int32)
        file["split"] = (rows["split"][shown] == "test").to_numpy(np.uint8)
        file["run"] = rows["run"][shown].tolist()
        file["voxel"] = names[chosen].tolist()
        for group, (mean, deviation) in statistics.items():
            file[f"normalisation/{group}/mean"], file[f"normalisation/{group}/deviation"] = mean, deviation
    return clean[shown]


def write_stimuli(path: Path, study: contract.VoxelStudy) -> None:
    """What the ceiling reads of a stimuli artefact."""
    table = study.stimulus_table()
    with artefact.create_h5(path, MADE) as file:
        for name in ("stimulus_id", "split", "concept"):
            file[name] = table[name].tolist()
        file["caption"] = [" | ".join(texts) for texts in table["captions"]]
