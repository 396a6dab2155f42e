"""THINGS-MEG from a mirror to ranks: one real events table, a recording of CTF with a pattern for every picture."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from project import ROOT, Project

sys.path.insert(0, str(ROOT / "tests/unit"))
import things_meg_files as meg

pytestmark = pytest.mark.workflow

SUBJECT, SENSORS = "BIGMEG1", 32
STEM = meg.stem(SUBJECT, "01", "01")
RESPONSES = f"results/responses/meg/field/sub-{SUBJECT}.h5"
ROWS = f"results/retrieval/meg/field/intra/ridge/sub-{SUBJECT}_seed-0.parquet"
#: As the dataset's authors have it.
PRESET = {
    "tmin": -0.1, "tmax": 1.305, "baseline": [None, 0.0], "baseline_mode": "zscore", "crop": [0.0, 1.0], "sfreq": 200.0,
    "without": ["MRO11-1609"], "whitening": {"kind": "none"},
}  # fmt: skip


def patterns() -> dict[int, np.ndarray]:
    """What each picture leaves in the sensors, by its number."""
    values = meg.index().index.to_numpy()
    drawn = np.random.default_rng(20240129).standard_normal((len(values), SENSORS)).astype(np.float32)
    return dict(zip(values.tolist(), drawn))


@pytest.fixture(scope="module")
def finished_meg(tmp_path_factory) -> Project:
    """The workflow run from a mirror on this disk to the rows of retrieval."""
    folder = tmp_path_factory.mktemp("meg")
    served = folder / "ds004212"
    meg.write_events(served / f"{STEM}_events.tsv", meg.real())
    meg.write_channels(served / f"{STEM}_channels.tsv", SENSORS)
    meg.write_ctf(served / f"{STEM}_meg.ds", meg.real(), patterns(), SENSORS)
    project = Project.create(folder / "project")
    meg.write_manifest(served, project.folder / "manifest.csv", "https://s3.example.org/ds004212")
    index = meg.index()
    vectors = patterns()
    np.savez(
        project.folder / "planted.npz",
        stimulus_id=index["stimulus_id"].to_numpy(str),
        embedding=np.stack([vectors[value] for value in index.index.tolist()]),
    )
    config = project.config
    (tower,) = config["towers"]
    config |= {
        "results": "results",
        "download": {"sources": {"things-meg": served.as_uri()}},
        "studies": {
            "meg": {
                "kind": "things_meg", "manifest": "manifest.csv", "subjects": [SUBJECT], "sessions": ["01"],
                "runs": ["01"], "responses": PRESET, "ready_vectors": {"planted": "planted.npz"},
            }
        },
        "bands": {"field": {"l_freq": 0.1, "h_freq": 40.0}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"ridge": {"kind": "ridge", "tower": tower, "readout": {"ready": "planted"}, "folds": 5}},
        "experiments": {
            "main": {"study": "meg", "signals": ["field"], "protocols": ["intra"], "methods": ["ridge"]}
        },
        "retrieval": {"tasks": ["stimulus"], "repetitions": ["all"], "bootstrap": 100},
        "tables": {},
    }  # fmt: skip
    config.pop("figures", None)
    project.write_config(config)
    project.run_preloaded(ROWS)
    return project


def test_every_trial_carries_the_pattern_of_its_picture(finished_meg):
    """Found among all 22,448 pictures of the dataset; trials of catch events and of test concepts are not there."""
    index, known = meg.index(), patterns()
    with h5py.File(finished_meg.folder / RESPONSES) as file:
        response, times = file["response"][:], file["times"][:]
        shown = file["stimulus_id"].asstr()[:][file["stimulus"][:]]
        onset, test = file["onset"][:], file["split"][:] == 1
        channels, types = file["channel"].asstr()[:].tolist(), set(file["channel_type"].asstr()[:])
        assert file.attrs["unit"] == "baseline standard deviation"
    assert channels == meg.names(SENSORS)[:SENSORS]  # without the bad sensor, the reference and the trigger
    assert types == {"mag"}
    np.testing.assert_allclose(times, np.arange(200) / 200)

    found = response[:, :, (times > 0.2) & (times < 0.5)].mean(axis=2)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    drawn = np.stack([known[value] for value in index.index.tolist()])
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    np.testing.assert_array_equal(index["stimulus_id"].to_numpy()[(found @ drawn.T).argmax(axis=1)], shown)

    events = meg.real()
    by_onset = {float(one): value for one, value in zip(events["onset"], events["value"])}
    of_events = [index.loc[int(float(by_onset[one])), "stimulus_id"] for one in onset.tolist()]
    assert of_events == shown.tolist()
    concepts = index.set_index("stimulus_id")["concept"]
    of_test = set(index.loc[index["trial_type"] == "test", "concept"])
    assert test.sum() == 20
    assert not set(concepts[shown[~test]]) & of_test
    left = events[events["trial_type"] == "exp"]["value"].astype(float).astype(int)
    assert (~test).sum() == (~index.loc[left, "concept"].isin(of_test)).sum() > 150


def test_responses_rise_when_the_pattern_was_planted(finished_meg):
    with h5py.File(finished_meg.folder / RESPONSES) as file:
        size, times = np.abs(file["response"][:]).mean(axis=(0, 1)), file["times"][:]
    flat = size[(times > 0.2) & (times < 0.5)].mean()
    begin, end = meg.PLANTED_S
    rise = float(np.interp(flat / 2, size[times < 0.3], times[times < 0.3]))
    fall = float(np.interp(-flat / 2, -size[times > 0.4], times[times > 0.4]))
    assert (rise, fall) == (pytest.approx(begin, abs=0.006), pytest.approx(end, abs=0.006))


def test_a_model_ranks_each_test_picture_first(finished_meg):
    rows = pd.read_parquet(finished_meg.folder / ROWS)
    assert len(rows) == 20
    assert set(rows["n_candidates"]) == {200}
    assert (rows["rank"] == 1).all()
    assert set(rows["target"]) <= set(meg.index().query("trial_type == 'test'")["stimulus_id"])


def test_the_log_says_how_far_triggers_are_from_events(finished_meg):
    log = (finished_meg.folder / f"results/logs/epochs/meg/field/sub-{SUBJECT}.log").read_text()
    assert "trigger minus event: median +6.0 samples (+5.00 ms)" in log
    peak = re.search(r"peak memory ([\d.]+) GB", log)
    assert peak is not None
    assert float(peak[1]) < 2


def test_a_download_is_not_repeated(finished_meg):
    assert finished_meg.planned("--", ROWS) == {}


# --------------------------------------------------------------------------------------------- the field


def test_the_configuration_of_the_field_is_planned_with_its_sizes(tmp_path):
    """250 GB in 480 downloads, one of each run; nothing else is fetched."""
    project = Project.create(tmp_path / "project")
    shutil.copy2(ROOT / "configs/things-meg.yaml", project.config_file)
    done = project.run("-n", "--quiet", "rules")
    counts = project.counted(done)
    assert "Still to download: 3325 files, 250 GB" in done.stdout + done.stderr
    assert counts["download"] == 480
    assert counts["epochs"] == 2 * 4
    assert "preprocessed" not in counts
    # Four subjects, two protocols: five seeds of each method but ridge, which draws nothing; and a control.
    assert counts["train"] == counts["rank"] == 4 * 2 * (2 * (5 + 1) + 4 * 5) + 4
    assert not (project.folder / "results").exists()


def test_the_epochs_of_the_authors_are_planned_as_well(tmp_path):
    project = Project.create(tmp_path / "project")
    shutil.copy2(ROOT / "configs/things-meg.yaml", project.config_file)
    folder = Path(project.folder / "given")
    folder.mkdir()
    for number in range(1, 5):
        (folder / f"preprocessed_P{number}-epo.fif").touch()

    def change(config) -> None:
        config["studies"]["things-meg"] |= {"source": "preprocessed", "epochs": "given"}

    project.edit(change)
    target = "results/things-meg/responses/things-meg/field/sub-BIGMEG1.h5"
    assert project.planned("--", target) == {"preprocessed": 1}
    project.edit(lambda config: config["presets"]["hebart-2023"].update(sfreq=100.0))
    told = project.run("-n", "--", target, check=False)
    assert told.returncode != 0
    assert "responses.sfreq: found 100.0, expected 200.0" in told.stdout + told.stderr
