"""Recordings without training trials: kept as they are, and normalised as the training of the model that ranks them."""

from __future__ import annotations

import logging
from pathlib import Path

import bids_fixtures
import h5py
import numpy as np
import pytest
import voxel_tables

from brain2clip.responses import epochs, voxels
from brain2clip.stage import InputError, Job
from brain2clip.training import train
from brain2clip.training.data import load_responses
from brain2clip.training.inputs import inputs_as_tensors, normalised

RUNS = ("01", "02")
OPTIONAL = {"by": "run", "test": ["02"], "training": "optional"}


@pytest.fixture(scope="module")
def eeg(tmp_path_factory) -> Path:
    """Subject 01 with both runs, and as 02 the test run of 01 alone."""
    root = tmp_path_factory.mktemp("bids")
    for subject, run in (("01", "01"), ("01", "02"), ("02", "02")):
        events = bids_fixtures.regular_events(20)
        bids_fixtures.write_run(root, bids_fixtures.noise(int(run), 20), events, run=run, subject=subject)
    return root


def made_epochs(root: Path, output: Path, subject: str, responses: dict, **changes) -> Path:
    study = bids_fixtures.study_settings(root, **{"split": OPTIONAL, "equal_recordings": "allow", **changes})
    epochs.run(bids_fixtures.job(output, study, responses, subject=subject))
    return output


@pytest.mark.parametrize("whitening", [{"kind": "mvnn", "clamp": 1.5}, {"kind": "zscore"}], ids=["mvnn", "zscore"])
def test_a_subject_with_test_trials_only_is_whitened_as_the_training_was(tmp_path, eeg, whitening):
    given = {"whitening": whitening, "dtype": "float16"}
    whole = made_epochs(eeg, tmp_path / "sub-01.h5", "01", given)
    alone = made_epochs(eeg, tmp_path / "sub-02.h5", "02", given)
    with h5py.File(alone) as file:
        assert (file.attrs["unit"], file["response"].dtype) == ("V", np.float32)
        assert 1e-6 < np.abs(file["response"][:]).max() < 1e-3
        assert "whitening" not in file
    # Both train one model, as in leave-one-subject-out: who has no training trial adds nothing.
    tensors = inputs_as_tensors([load_responses([alone, whole], "train", None)], None)
    own = load_responses([alone], "test", None)
    assert not own.is_normalised
    expected = load_responses([whole], "test", None)
    found = normalised(tensors, own, "02")
    np.testing.assert_allclose(found.values, expected.values, rtol=2e-3, atol=2e-3)  # half precision
    assert normalised(tensors, expected, "01") is expected


def test_of_no_whitening_nothing_is_fitted_and_nothing_asked(tmp_path, eeg):
    given = {"whitening": {"kind": "none"}}
    whole, alone = (made_epochs(eeg, tmp_path / f"{name}.h5", name, given) for name in RUNS)
    own, expected = (load_responses([path], "test", None) for path in (alone, whole))
    assert own.is_normalised
    np.testing.assert_array_equal(own.values, expected.values)


def test_what_cannot_be_is_refused(tmp_path, eeg):
    split = {"by": "run", "test": ["02"]}
    with pytest.raises(
        InputError, match=r"no train trial in all rec[\s\S]*models of other subjects rank this subject, set split"
    ):
        made_epochs(eeg, tmp_path / "a.h5", "02", {}, split=split)
    with pytest.raises(InputError, match="no train trial after rejection"):
        made_epochs(eeg, tmp_path / "a.h5", "01", {"reject_uv": 1})
    alone = made_epochs(eeg, tmp_path / "alone.h5", "02", {})
    method = {"kind": "ridge", "tower": "t"}
    given = {"method": method, "protocol": {"kind": "intra-subject"}, "seed": 0, "tower": {}}
    inputs = {"responses": [alone], "stimuli": [tmp_path / "none.h5"]}
    with pytest.raises(InputError, match=r"no training trial to learn from in .*alone\.h5; .*leave-one-subject-out"):
        train.run(Job("train", given, "code", {}, inputs, {}))
    plain = made_epochs(eeg, tmp_path / "plain.h5", "01", {"sfreq": 62.5})
    tensors = inputs_as_tensors([load_responses([plain], "train", None)], None)
    with pytest.raises(InputError, match=r"trained on 31 samples at 62\.5 Hz from -0\.096 s, these responses have 62"):
        normalised(tensors, load_responses([alone], "test", None), "02")
    unfitted = {name: value for name, value in tensors.items() if not name.startswith("normalisation")}
    slow = made_epochs(eeg, tmp_path / "slow.h5", "02", {"sfreq": 62.5})
    with pytest.raises(InputError, match="trained on responses without these"):
        normalised(unfitted, load_responses([slow], "test", None), "02")


def test_voxels_of_test_rows_only_are_z_scored_as_the_training_was(tmp_path, caplog):
    folder = voxel_tables.write(tmp_path / "whole")
    last = np.array(voxel_tables.labels()[1]) == "4"
    alone = voxel_tables.write(tmp_path / "alone", voxel_tables.signals())
    np.save(alone / "signals.npy", voxel_tables.signals()[last])
    rows = (alone / "rows.csv").read_text().splitlines()
    (alone / "rows.csv").write_text("\n".join([rows[0], *np.array(rows[1:])[last]]) + "\n")
    split = {"by": "run", "test": ["4"], "training": "optional"}
    made = []
    for one in (folder, alone):
        given = voxel_tables.study(one, split=split, equal_recordings="allow")
        with caplog.at_level(logging.WARNING):
            voxels.run(voxel_tables.job(one / "out.h5", given, {"dtype": "float16"}))
        made.append(one / "out.h5")
    assert "z-scored later with mean and deviation from the training" in caplog.text
    tensors = inputs_as_tensors([load_responses(made[:1], "train", None)], None)
    expected, own = (load_responses([path], "test", None) for path in made)
    assert own.values.mean() > 100
    np.testing.assert_allclose(normalised(tensors, own, "01").values, expected.values, atol=2e-3)
