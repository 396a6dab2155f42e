"""Files that stages write and read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import brain_files
import numpy as np
import pandas as pd
import test_new_subject as new
import torch
from targets import Target, arrays

from brain2clip import artefact
from brain2clip.settings import BrainMapping, Tower, Vector, dump
from brain2clip.stimuli import catalogue
from brain2clip.training.data import load_responses, open_stimuli
from brain2clip.training.predict import Predictor

MADE = artefact.Provenance("made-by-a-test", {"a": 1}, "code")
#: A vector that is no embedding.
GRID = Vector(pool="grid", grid=2)
#: A model that is trained in no time.
SMALL = {**new.SMALL, "optimiser": {"epochs": 2, "batch_size": 20, "lr": 3e-3}}


def ours(folder: Path) -> list[Target]:
    """A file of every kind that stages write and read."""
    stimuli, responses, voxels = (folder / f"{name}.h5" for name in ("stimuli", "responses", "voxels"))
    shown, model = folder / "catalogue.parquet", folder / "model.safetensors"
    embedding = brain_files.write_stimuli(stimuli)
    brain_files.write_responses(responses, embedding)
    brain_files.write_voxels(voxels, embedding, 40)
    rows = pd.DataFrame({"target": brain_files.stimulus_ids(), "rank": np.arange(50), "similarity": np.arange(50) / 50})
    rows["top_ids"] = [["a", "b"]] * len(rows)
    artefact.write_table(folder / "rows.parquet", rows, MADE)
    artefact.write_tensors(model, {"weight": torch.arange(3000.0).reshape(30, 100)}, MADE)
    artefact.write_json(
        folder / "record.json", {"dataset": "d", "files": [{"path": f"{n}", "size": n} for n in range(9)]}
    )
    table = pd.DataFrame({name: ["x", "y"] for name in catalogue.STIMULUS_COLUMNS})
    table["captions"] = table["prompts"] = [["a"], ["b"]]
    further = folder / "vectors.h5"
    with artefact.create_h5(further, MADE) as file:
        file.attrs["name"] = GRID.name
        file["stimulus_id"], file["vector"] = brain_files.stimulus_ids(), embedding @ np.ones((24, 9), np.float32)
    artefact.write_table(shown, catalogue._typed(table), MADE)

    def stimuli_as_read() -> Any:
        with open_stimuli(stimuli, None) as file:
            names = [name for name in ("pictures", "band_tokens", "nothing of that name") if name in file]
            return [file["stimulus_id"].asstr()[:], file["embedding"][:], names]

    def vectors_as_read() -> Any:
        with open_stimuli(stimuli, None, [(further, None)]) as file:
            return file.vector(GRID)[:]

    return [
        *(Target(path.name, path, lambda path=path: arrays(path), True) for path in (stimuli, responses, voxels)),
        Target("responses.h5 by training", responses, lambda: vars(load_responses([responses], "train", None)), True),
        Target("responses.h5 by ranking", responses, lambda: vars(load_responses([responses], "test", None)), True),
        Target("stimuli.h5 by training", stimuli, stimuli_as_read, True),
        Target("vectors.h5 by training", further, vectors_as_read, True),
        Target("rows", folder / "rows.parquet", lambda: artefact.read_table(folder / "rows.parquet"), True),
        Target("catalogue", shown, lambda: catalogue.read(shown, None), True),
        Target("model", model, lambda: artefact.read_tensors(model), True),
        Target("record", folder / "record.json", lambda: artefact.read_json(folder / "record.json"), True),
    ]  # fmt: skip


def new_subject(folder: Path) -> list[Target]:
    """What the stages ``sessions`` and ``tune`` read and write."""
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    for subject, size in enumerate((50, 70, 60)):
        brain_files.write_voxels(folder / f"sub-{subject}.h5", embedding, size, subject)
    with artefact.open_h5(folder / "sub-2.h5") as file:
        session = np.where(file["stimulus"][:] % 2 == 0, "01", "02").tolist()
    whole = new.rewritten(folder / "sub-2.h5", folder / "new.h5", session=session)
    part, start = new.first(whole, 1, folder / "new-1.h5"), new.started(folder, folder / "start", SMALL)
    new.tuned(folder, folder / "tuned", start, part, SMALL)
    tuned, history = folder / "tuned/model.safetensors", folder / "tuned/model.parquet"

    def by_sessions() -> Any:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return arrays(new.first(whole, 1, Path(place) / "one.h5"))

    def by_tune() -> Any:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            tensors, rows = new.tuned(folder, Path(place), start, part, SMALL)
            # Tensors come in any order, and the other columns are times.
            return [dict(sorted(tensors.items())), rows[["epoch", "loss", "scale"]]]

    def by_rank() -> Any:
        test = load_responses([whole], "test", None, average=True)
        given = dump(BrainMapping.model_validate(SMALL)), dump(Tower(model="local-dir:nowhere"))
        with open_stimuli(folder / "stimuli.h5", None) as stimuli:
            side = Predictor(*given, artefact.read_tensors(tuned), test, stimuli, new.TEST, "2")
            return [side.brains(test.values), side.candidates()]

    return [
        Target("responses by sessions", whole, by_sessions, True),
        Target("first sessions by tune", part, by_tune, True),
        Target("start by tune", start, by_tune, True),
        Target("stimuli by tune", folder / "stimuli.h5", by_tune, True),
        Target("tuned model by ranking", tuned, by_rank, True),
        Target("history", history, lambda: artefact.read_table(history), True),
    ]
