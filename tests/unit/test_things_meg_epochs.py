"""The epochs that the authors of THINGS-MEG published: known by their ids, read some at a time, and every refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import download_records
import h5py
import numpy as np
import pytest
import things_meg_files as meg
from test_things_meg import SUBJECT, load

from brain2clip import settings, stage
from brain2clip.responses import preprocessed, ready_epochs
from brain2clip.settings import parse
from brain2clip.stage import InputError
from brain2clip.studies import things_meg

PRESET = {
    "tmin": -0.1, "tmax": 1.305, "baseline": [None, 0.0], "baseline_mode": "zscore", "sfreq": 200.0,
    "without": ["MRO11-1609"], "whitening": {"kind": "none"}, "crop": [0.0, 1.0],
}  # fmt: skip


def preprocess(folder: Path, study: things_meg.Study, **changes: object) -> Path:
    responses = parse(settings.Responses, {**PRESET, **changes})
    given = {
        "name": study.name, "study": json.loads(settings.canonical(study.block)), "subject": SUBJECT,
        "results": str(study.results), "labels": None, "responses": json.loads(settings.canonical(responses)),
        "band": {"l_freq": 0.1, "h_freq": 40.0, "notch": []},
    }  # fmt: skip
    output = folder / "sub-BIGMEG1.h5"
    inputs = {"signals": [Path(path) for path in study.files(SUBJECT)], "stimuli": [meg.IMAGES]}
    preprocessed.run(stage.Job("preprocessed", given, "code", {}, inputs, {"responses": output}))
    return output


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("epochs")
    meg.write_epochs(folder / "given", meg.epoch_values())
    return folder


def test_the_authors_epochs_are_known_by_their_ids(published, tmp_path):
    """Each epoch holds the number of its picture: 19,848 training and 2,400 test epochs, read some at a time."""
    study = load(published, source="preprocessed", epochs=str(published / "given"), subjects=[SUBJECT])
    assert [Path(path).name for path in study.files(SUBJECT)] == [
        "preprocessed_P1-epo.fif",
        *(f"preprocessed_P1-epo-{part}.fif" for part in (1, 2, 3)),
    ]
    assert study.downloads() == {}
    with h5py.File(preprocess(tmp_path, study)) as file:
        assert file["response"].shape == (22248, 2, 200)
        ids = file["stimulus_id"].asstr()[:][file["stimulus"][:]]
        by_id = {stem: value for value, stem in meg.index()["stimulus_id"].items()}
        shown = np.array([by_id[name] for name in ids])
        middle = file["response"][:, :, 100]
        np.testing.assert_array_equal(middle[:, 0] + 1000 * middle[:, 1], shown)
        test = file["split"][:] == 1
        assert (int((~test).sum()), int(test.sum())) == (19848, 2400)
        assert set(file["session"].asstr()[:]) == {f"{number:02d}" for number in range(1, 13)}
        assert set(file["run"].asstr()[:]) == {"n/a"}
        assert np.isnan(file["onset"][:]).all()
        assert set(file["channel_type"].asstr()[:]) == {"mag"}
        assert (file.attrs["sfreq"], file.attrs["unit"]) == (200.0, "baseline standard deviation")
        np.testing.assert_allclose(file["times"][[0, -1]], [0.0, 0.995])


def test_the_authors_epochs_may_be_whitened_by_training_trials(published, tmp_path):
    study = load(published, source="preprocessed", epochs=str(published / "given"), subjects=[SUBJECT])
    with h5py.File(preprocess(tmp_path, study, whitening={"kind": "zscore"}, channels=["MLC12-1609"])) as file:
        training = file["response"][:][file["split"][:] == 0]
        sessions = file["session"].asstr()[:][file["split"][:] == 0]
        assert file.attrs["unit"] == "standard deviation"
        for name in ("01", "12"):
            own = training[sessions == name]
            np.testing.assert_allclose([own.mean(), own.std()], [0, 1], atol=1e-5)


def test_the_authors_epochs_by_manifest(published, tmp_path):
    root = tmp_path / "results/raw/things-meg/derivatives/preprocessed"
    root.parent.mkdir(parents=True)
    shutil.copytree(published / "given", root)
    meg.write_manifest(tmp_path / "results/raw/things-meg", tmp_path / "manifest.csv")
    study = load(tmp_path, source="preprocessed", subjects=[SUBJECT])
    assert len(study.subject_units(SUBJECT)) == 4
    download_records.write(study)
    assert [path.name for path in study.epoch_files(SUBJECT)][::3] == [
        "preprocessed_P1-epo.fif",
        "preprocessed_P1-epo-3.fif",
    ]
    (root / "preprocessed_P1-epo-2.fif").unlink()
    with pytest.raises(InputError, match=r"preprocessed_P1-epo-2\.fif: no such file"):
        study.epoch_files(SUBJECT)
    with pytest.raises(
        InputError, match=r"derivatives/preprocessed/preprocessed_P2-epo\.fif is not listed.*studies\.meg\.epochs"
    ):
        load(tmp_path, source="preprocessed").subject_units("BIGMEG2")


def test_channels_that_are_no_sensors_are_refused(published):
    """The named sets are of EEG."""
    study = load(published, source="preprocessed", epochs=str(published / "given"), subjects=[SUBJECT])
    for channels, words in (("nice-63", "no sensor Fp1, "), (["MLC99-1609"], "no sensor MLC99-1609 ")):
        responses = parse(settings.Responses, {**PRESET, "channels": channels})
        with pytest.raises(InputError, match=rf"preprocessed_P1-epo\.fif: {words}.*responses\.channels"):
            ready_epochs.Source.open(study, SUBJECT, responses)


def other_values(change) -> np.ndarray:
    values = meg.epoch_values()
    change(values)
    return values


def one_lost(values: np.ndarray) -> None:
    values[np.flatnonzero(values == things_meg.CATCH)[0]] = 24812


def unknown(values: np.ndarray) -> None:
    values[0] = 26107


def twice(values: np.ndarray) -> None:
    exp = np.flatnonzero(np.isin(values, meg.index().index[meg.index()["trial_type"] == "exp"]))
    values[exp[0]] = values[exp[1]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_lost, "2399 catch, 22249 exp and 2400 test; expected 27048: 2400, 22248 and 2400"),
        (unknown, "1 epochs have ids that are not numbers of pictures, the first is 26107"),
        (twice, "has 2 epochs; expected 1 of each"),
    ],
)
def test_other_epochs_are_refused(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        load(tmp_path).epoch_trials(SUBJECT, other_values(change), "epo.fif")


def test_epochs_in_another_order_have_no_session(tmp_path, caplog):
    values = meg.epoch_values()
    trials = load(tmp_path).epoch_trials(SUBJECT, values, "epo.fif")
    assert trials["session"].value_counts().to_dict() == {f"{number:02d}": 2254 for number in range(1, 13)}
    mixed = load(tmp_path).epoch_trials(SUBJECT, np.random.default_rng(0).permutation(values), "epo.fif")
    assert set(mixed["session"]) == {"n/a"}
    assert "not in the order of whole sessions" in caplog.text
    assert mixed["split"].value_counts().to_dict() == trials["split"].value_counts().to_dict()


def test_epochs_that_are_no_multiples_of_their_baseline_are_refused():
    values = np.random.default_rng(0).standard_normal((5, 2, 281))
    ready_epochs._check_scaled(values, Path("epo.fif"))
    with pytest.raises(InputError, match=r"standard deviation of baselines is .*expected about 1"):
        ready_epochs._check_scaled(1e-13 * values, Path("epo.fif"))


def test_memory_holds_some_epochs_at_a_time(published):
    study = load(published, source="preprocessed", epochs=str(published / "given"), subjects=[SUBJECT])
    source = ready_epochs.Source.open(study, SUBJECT, parse(settings.Responses, PRESET))
    rows, values = next(source.chunks())
    assert values.nbytes <= ready_epochs.CHUNK_BYTES
    assert len(rows) < 22248
    assert not source.epochs.preload


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sfreq": 100.0}, r"responses\.sfreq: found 100\.0, expected 200\.0"),
        ({"baseline_mode": "mean"}, "baseline_mode: found mean, expected zscore"),
        ({"tmax": 1.0, "crop": None}, r"tmax: found 1\.0, expected 1\.305"),
        ({"without": ["MLC11-1609"]}, r"without: found \[MLC11-1609\], expected \[MRO11-1609\]"),
    ],
)
def test_choices_that_come_too_late_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        ready_epochs.refuse("meg", {}, parse(settings.Band, {}), parse(settings.Responses, {**PRESET, **changes}))


def test_only_the_filter_of_the_authors_goes(tmp_path):
    given = parse(settings.Responses, PRESET)
    for band in ({}, {"l_freq": 0.1, "h_freq": 40.0}):
        ready_epochs.refuse("meg", {}, parse(settings.Band, band), given)
    with pytest.raises(InputError, match=r"band \[l_freq, h_freq\]: found \[1\.0, 40\.0\], expected \[0\.1, 40\.0\]"):
        ready_epochs.refuse("meg", {}, parse(settings.Band, {"l_freq": 1.0, "h_freq": 40.0}), given)
    with pytest.raises(InputError, match=r"studies\.meg\.onset: found trigger"):
        ready_epochs.refuse("meg", {"onset": "trigger"}, parse(settings.Band, {}), given)
    with pytest.raises(InputError, match=r"studies\.meg\.dropouts: found keep, expected median"):
        ready_epochs.refuse("meg", {"dropouts": "keep"}, parse(settings.Band, {}), given)
    with pytest.raises(InputError, match=r"studies\.meg\.sessions: the authors' epochs"):
        load(tmp_path, source="preprocessed", sessions=["01"]).subject_units(SUBJECT)
