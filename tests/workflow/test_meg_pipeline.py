"""MEG by configuration alone: a BIDS dataset that mne-bids wrote, from FIF files to a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import meg_files
import mne
import mne_bids
import numpy as np
import pandas as pd
import pytest
from bids_fixtures import write_tsv
from project import Project

pytestmark = pytest.mark.workflow

SFREQ, TRIALS = 200.0, 60
CATEGORIES = ("face", "house", "dog", "car", "fruit")
BAD = "MLO13-1609"
SUMMARY = "results/tables/summary.parquet"


def written(root: Path) -> Path:
    """Two subjects and two runs: each category has a field of its own from 100 ms on, in noise of its size.

    Types mag, ref_meg and stim with coils of CTF; a sensor that is off, which nothing but its name tells.
    """
    kinds = meg_files.names(24)
    fields = np.random.default_rng(5).normal(size=(len(CATEGORIES), 24)) * 6e-13
    for subject in ("01", "02"):
        for run in ("01", "02"):
            rng = np.random.default_rng(int(subject + run))
            shown = rng.permutation(np.arange(TRIALS) % len(CATEGORIES))
            onsets = 2.0 + 0.9 * np.arange(TRIALS) + rng.uniform(0, 0.2, TRIALS)
            data = 2.5 * meg_files.noise(int(subject + run), kinds, onsets[-1] + 3, SFREQ)
            sensors = [number for number, kind in enumerate(kinds.values()) if kind == "mag"]
            for onset, which in zip(onsets, shown):
                begin = round((onset + 0.1) * SFREQ)
                data[sensors, begin : begin + 60] += np.outer(fields[which], np.hanning(60))
                data[-1, round(onset * SFREQ) : round(onset * SFREQ) + 4] = 64
            data[list(kinds).index(BAD)] = 1e-17 * rng.normal(size=data.shape[1])
            info = meg_files.info_of(kinds, SFREQ, shift_mm=1.5 * int(run), grade=3)
            part = root.parent / "part_raw.fif"
            mne.io.RawArray(data, info).save(part, overwrite=True)
            place = mne_bids.BIDSPath(subject=subject, task="look", run=run, datatype="meg", root=root)
            events = np.array([[round(onset * SFREQ), 0, 64] for onset in onsets])
            mne_bids.write_raw_bids(mne.io.read_raw_fif(part), place, events, {"shown": 64}, overwrite=True)
            columns = {
                "onset": [f"{round(onset * SFREQ) / SFREQ:.4f}" for onset in onsets],
                "duration": ["0.5"] * TRIALS,
                "trial_type": [CATEGORIES[which] for which in shown],
            }
            write_tsv(place.copy().update(suffix="events", extension=".tsv").fpath, columns)
    return root


def as_other(root: Path) -> None:
    """As in ds004212: the table calls every sensor OTHER."""
    for path in root.rglob("*_channels.tsv"):
        text = path.read_text(encoding="utf-8-sig")
        assert "MEGGRADAXIAL" in text
        path.write_text(text.replace("MEGGRADAXIAL", "OTHER"), encoding="utf-8")


def configuration(**study: Any) -> dict[str, Any]:
    steps = {"tmin": -0.1, "tmax": 0.5, "sfreq": 50.0, "without": [BAD]}
    mine = {
        "kind": "bids",
        "root": "mine",
        "datatype": "meg",
        "tasks": ["look"],
        "stimulus": "trial_type",
        "split": {"by": "run", "test": ["02"]},
        "categories": {name: [f"a photo of a {name}"] for name in CATEGORIES},
        "responses": steps,
        **study,
    }
    by_baseline = {**steps, "baseline_mode": "zscore", "whitening": {"kind": "none"}, "dtype": "float16"}
    ran = {"signals": ["broad"], "protocols": ["intra"]}
    return {
        "studies": {"mine": mine, "scaled": {**mine, "subjects": ["01"], "responses": by_baseline}},
        "bands": {"broad": {"l_freq": 0.5, "h_freq": 20}},
        "towers": {"small": {"model": "local-dir:workflow/towers/grammar-vit"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"ridge": {"kind": "ridge", "tower": "small"}, "lda": {"kind": "lda", "tower": "small"}},
        "experiments": {
            "mine": {"study": "mine", "methods": ["ridge", "lda"], **ran},
            "scaled": {"study": "scaled", "methods": ["lda"], **ran},
        },
        "retrieval": {"tasks": ["category"], "repetitions": [1], "bootstrap": 200, "metrics": ["top-1"]},
        "tables": {"main": {"kind": "methods", "experiments": ["mine", "scaled"], "metric": "category:top-1@1"}},
    }


# One test, because the data behind it take a while, and the trap needs them again.
def test_a_strangers_meg_runs_to_a_table_by_configuration_alone(tmp_path):
    project = Project.create(tmp_path / "project")
    root = written(project.folder / "mine")
    project.write_config(configuration())
    made = ("results/tables/main.md", "results/figures/mine/erp.svg", "results/figures/mine/spectra.svg")
    project.run_preloaded(*made)
    print((project.folder / "results/tables/main.md").read_text())

    summary = pd.read_parquet(project.folder / SUMMARY)
    found = summary[summary["metric"] == "category:top-1@1"].set_index(["study", "method", "subject"]).sort_index()
    ran = [("mine", method, subject) for method in ("lda", "ridge") for subject in ("01", "02")]
    assert list(found.index) == [*ran, ("scaled", "lda", "01")]
    np.testing.assert_allclose(found["chance"], 0.2)
    assert (found["n_queries"] == TRIALS).all()
    assert (found.xs("lda", level="method")["ci_low"] > 0.6).all(), "the planted fields are found"
    # The small CLIP has nearly one embedding for all of these words (cosines of 0.99).
    assert found.xs("ridge", level="method")["value"].mean() > 0.25
    table = pd.read_parquet(project.folder / "results/tables/main.parquet")
    assert set(table["modality"]) == {"MEG"}

    for name, unit, dtype in (
        ("mine", "standard deviation", "float32"),
        ("scaled", "baseline standard deviation", "float16"),
    ):
        with h5py.File(project.folder / f"results/responses/{name}/broad/sub-01.h5") as file:
            assert file["response"].shape == (2 * TRIALS, 23, 30)
            assert BAD not in set(file["channel"].asstr()[:])
            assert set(file["channel_type"].asstr()[:]) == {"mag"}
            assert (file.attrs["unit"], str(file["response"].dtype)) == (unit, dtype)
    logs = "\n".join(path.read_text() for path in (project.folder / "results/logs").rglob("*") if path.is_file())
    assert "head positions differ by up to 1.5 mm" in logs

    # The trap: with the types of the table there is no sensor, and it is said; with the default it is read.
    as_other(root)
    by_table = configuration(channel_types="table")
    project.write_config(by_table)
    said = project.run("--show-failed-logs", made[0], check=False)
    assert said.returncode
    told = " ".join((said.stdout + said.stderr).split())
    assert "no MEG sensor of type mag or grad (found 24 OTHER, 1 MEGREFMAG, 1 TRIG)" in told
    assert "take the types of the file (studies.*.channel_types: file)" in told
    project.write_config(configuration())
    assert "epochs" in project.planned("--", made[0]), "the table of channels is an input"
    responses = "results/responses/mine/broad/sub-01.h5"
    with h5py.File(project.folder / responses) as file:
        before = file["response"][:]
    project.run_preloaded(responses)
    with h5py.File(project.folder / responses) as file:
        np.testing.assert_array_equal(file["response"][:], before)
