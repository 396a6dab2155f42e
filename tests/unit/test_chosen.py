"""Inputs of a method: what is chosen of responses, that nothing else reaches training or test, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import brain_files
import numpy as np
import pytest
from brain_files import REPETITIONS, SFREQ, TEST, TRAIN

from brain2clip import artefact, settings, stage
from brain2clip.plan import Plan
from brain2clip.plan.needs import problems
from brain2clip.retrieval import rank
from brain2clip.settings import Inputs
from brain2clip.training import chosen, inputs, train
from brain2clip.training.data import Responses, load_responses

NAMES = ["Fp1", "AFz", "F7", "FCz", "C3", "Cz", "FT9", "T7", "TP9", "CPz", "Pz", "PO7", "POz", "Oz", "EOG"]


def responses(n: int = 6, names: list[str] = NAMES) -> Responses:
    values = np.arange(n * len(names) * 50, dtype=np.float32).reshape(n, len(names), 50)
    times = np.round(np.arange(50) / 50 - 0.2, 3)
    return Responses(values, np.arange(n) // 3, np.zeros(n, np.int64), times, 50.0, names, ["a", "b"])


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"channels": ["Oz", "C3"]}, ["C3", "Oz"]),
        ({"channels": ["frontal"]}, ["Fp1", "AFz", "F7"]),
        ({"channels": ["central"]}, ["FCz", "C3", "Cz"]),
        ({"channels": ["temporal"]}, ["FT9", "T7", "TP9"]),
        ({"channels": ["parietal", "Cz"]}, ["Cz", "CPz", "Pz"]),
        ({"without": ["frontal", "central", "temporal", "parietal", "EOG"]}, ["PO7", "POz", "Oz"]),
        ({"channels": ["occipital"], "without": ["POz"]}, ["PO7", "Oz"]),
    ],
)
def test_channels_are_taken_by_name_in_training_and_test(given, names):
    whole = responses()
    for part in (chosen.of_training(whole, Inputs(**given)), chosen.of_test(whole, Inputs(**given))):
        assert part.channel == names
        np.testing.assert_array_equal(part.values, whole.values[:, [NAMES.index(name) for name in names]])
        assert part.normalisation is None


def test_a_named_set_is_whole():
    eeg = responses(names=list(chosen.CHANNEL_SETS["nice-63"]))
    part = chosen.of_training(eeg, Inputs(channels=("occipital-parietal-17",)))
    assert part.channel == list(chosen.CHANNEL_SETS["occipital-parietal-17"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"channels": ["oz"]}, r"no channel oz \(did you mean 'Oz'\?\)"),
        ({"channels": ["occipital-parietal-17"]}, "no channel .*P7.* of occipital-parietal-17 in the responses"),
        ({"without": ["frontal", "central", "temporal", "parietal", "occipital", "EOG"]}, "leaves no channel"),
        ({"window": [0.5, 1.0]}, r"inputs\.window: \[0\.5, 1\.0\] s is not within the responses, .* -0\.2 to 0\.8 s"),
        ({"window": [0.101, 0.119]}, "with at least one sample"),
        ({"repetitions": 4}, "found at most 3 training trials of a stimulus; expected 4"),
    ],
)
def test_what_is_not_there_is_refused(given, words):
    with pytest.raises(stage.InputError, match=words):
        chosen.of_training(responses(), Inputs(**given))


def test_a_window_is_taken_and_another_one_stands_at_its_times_in_the_test():
    whole = responses()
    part = chosen.of_training(whole, Inputs(window=(0.1, 0.2)))
    np.testing.assert_allclose(part.times, [0.1, 0.12, 0.14, 0.16, 0.18])
    np.testing.assert_array_equal(part.values, whole.values[..., 15:20])
    other = chosen.of_test(whole, Inputs(window=(0.1, 0.2), test_window=(0.4, 0.5)))
    np.testing.assert_array_equal(other.values, whole.values[..., 30:35])
    np.testing.assert_array_equal(other.times, part.times)
    with pytest.raises(stage.InputError, match=r"test_window: 10 samples from 0\.4 s, and 5 in inputs\.window"):
        chosen.of_test(whole, Inputs(window=(0.1, 0.2), test_window=(0.4, 0.6)))


@pytest.mark.parametrize("draw", ["first", "random"])
def test_repetitions_are_of_each_stimulus_and_nest(draw):
    rng, whole = np.random.default_rng(0), responses(24)
    whole = settings_of(whole, stimulus=rng.permutation(np.repeat([0, 1], 12)), subject=np.arange(24) % 2)
    kept = {}
    for number in (1, 3):
        part = chosen.of_training(whole, Inputs(repetitions=number, draw=draw))
        assert (
            np.unique(np.stack([part.subject, part.stimulus]), axis=1, return_counts=True)[1].tolist() == [number] * 4
        )
        kept[number] = part.values[:, 0, 0].tolist()
    assert set(kept[1]) < set(kept[3])
    first = [np.flatnonzero((whole.stimulus == s) & (whole.subject == p))[0] for p in (0, 1) for s in (0, 1)]
    assert (sorted(kept[1]) == sorted(whole.values[first, 0, 0].tolist())) == (draw == "first")


def settings_of(one: Responses, **values: Any) -> Responses:
    return Responses(**{**vars(one), **values})


# ------------------------------------------------------------------------------------------- stages


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_responses(folder / "eeg.h5", embedding)
    return folder


def trained(files: Path, folder: Path, **given: Any) -> tuple[dict, np.ndarray]:
    """The checkpoint and the retrieval ranks of a ridge regression."""
    method = settings.Ridge(tower="t", inputs=given).model_dump(mode="json")
    tower = settings.Tower(model="ViT-B-32", pretrained="a.pt").model_dump(mode="json")
    values = {"method": method, "tower": tower, "seed": 0, "protocol": {}}
    inputs = {"responses": [files / "eeg.h5"], "stimuli": [files / "stimuli.h5"]}
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "history.parquet"}
    train.run(stage.Job("train", values, "code", {}, inputs, outputs))
    run = {"study": "s", "signal": "b", "protocol": "p", "method": "m", "subject": "01", "seed": 0}
    values = {"run": run, "method": method, "tower": tower, "retrieval": {}}
    inputs["checkpoint"] = [outputs["checkpoint"]]
    rank.run(stage.Job("rank", values, "code", {}, inputs, {"rows": folder / "rows.parquet"}))
    rows = artefact.read_table(folder / "rows.parquet")
    return artefact.read_tensors(outputs["checkpoint"]), rows["similarity"].to_numpy()


def test_a_model_of_some_channels_and_times_is_that_of_responses_without_the_others(files, tmp_path):
    """The study that was recorded so gives the same model and ranks, bit for bit."""
    with artefact.open_h5(files / "eeg.h5") as file:
        names, whole = list(file["channel"].asstr()[:]), {name: file[name][:] for name in file}
        ids = file["stimulus_id"].asstr()[:].tolist()
    with artefact.create_h5(tmp_path / "eeg.h5", brain_files.MADE) as file:
        file.attrs.update(sfreq=SFREQ, unit="standard deviation")
        file["response"] = whole["response"][:, 1:4, 2:7]
        file["channel"], file["times"] = names[1:4], whole["times"][2:7]
        file["stimulus_id"] = ids
        file["session"] = file["run"] = ["01"] * len(whole["split"])
        for name in ("stimulus", "split"):
            file[name] = whole[name]
        file["position"] = whole["position"][1:4]
    (tmp_path / "stimuli.h5").symlink_to(files / "stimuli.h5")
    expected, similarity = trained(tmp_path, tmp_path)
    found, same = trained(files, tmp_path, channels=names[1:4], window=[2 / SFREQ, 7 / SFREQ])
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        np.testing.assert_array_equal(found[name], one)
    np.testing.assert_array_equal(same, similarity)
    assert inputs.names_from_tensor(found["channels"]) == names[1:4]
    np.testing.assert_allclose(found["times"], np.arange(2, 7) / SFREQ)


def test_training_sees_the_chosen_pictures_alone_and_the_test_all(files, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(train.kinds, "load", lambda family, kind: Spy)

    class Spy:
        def __init__(self, settings: Any) -> None: ...

        def train(self, study: Any) -> Any:
            seen["rows"], seen["values"] = study.sets[0].stimulus, study.sets[0].values
            raise StopIteration

    def rows(**given: Any) -> list[int]:
        with pytest.raises(StopIteration):
            trained(files, tmp_path, **given)
        return seen["rows"].tolist()

    everything = rows()
    assert everything == list(range(TRAIN))
    whole = seen["values"]
    fewer, more = rows(concepts=4), rows(concepts=9)
    assert (len(fewer), len(more)) == (8, 18)  # two pictures each
    assert set(fewer) < set(more)
    assert {row // 2 for row in fewer} == {row // 2 for row in fewer if row % 2}  # whole concepts
    one = rows(pictures_per_concept=1)
    assert sorted(row // 2 for row in one) == list(range(TRAIN // 2))
    assert rows(pictures_per_concept=1, seed=1) != one
    np.testing.assert_array_equal(seen["values"].shape[0], TRAIN // 2)
    both = rows(pictures_per_concept=1, concepts=9)
    assert set(both) == set(one) & set(more)
    assert rows(repetitions=1) == everything
    single = load_responses([files / "eeg.h5"], "train", None).values[::REPETITIONS]
    np.testing.assert_array_equal(seen["values"], single)
    assert not np.array_equal(single, whole)
    with pytest.raises(stage.InputError, match="found 20 training concepts; expected 21"):
        trained(files, tmp_path, concepts=21)
    assert len(chosen.of_test(load_responses([files / "eeg.h5"], "test", None), Inputs(concepts=4)).values) == TEST * 2


def test_channels_of_responses_that_would_be_normalised_as_a_whole_are_refused():
    lone = settings_of(responses(), is_normalised=False)
    with pytest.raises(stage.InputError, match=r"no training trial.*studies\.\*\.responses\.channels"):
        chosen.of_test(lone, Inputs(channels=("Oz",)))
    assert chosen.of_test(lone, Inputs(window=(0.1, 0.2))).values.shape[-1] == 5


def test_voxels_have_no_channels_or_times(files):
    voxels = settings_of(responses(), values=np.zeros((6, len(NAMES)), np.float32), times=np.zeros(0), sfreq=0.0)
    for given, words in (({"channels": ["Oz"]}, "chosen by rois"), ({"window": [0, 1]}, "no times")):
        with pytest.raises(stage.InputError, match=words):
            chosen.of_training(voxels, Inputs(**given))
    raw = {
        "studies": {"mine": {"kind": "simulated_fmri", "subjects": 1}},
        "rois": {"all": {}},
        "towers": {"t": {"model": "ViT-B-32", "pretrained": "a.pt"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"ridge": {"kind": "ridge", "tower": "t", "inputs": {"window": [0, 0.1]}}},
        "experiments": {"main": {"study": "mine", "signals": ["all"], "protocols": ["intra"], "methods": ["ridge"]}},
    }
    assert "methods.ridge.inputs.window is for EEG" in problems(Plan(settings.load(raw)))[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [({"window": [0.2, 0.1]}, "in this order"), ({"test_window": [0, 0.1]}, "beside it the window"),
     ({"channels": []}, "at least 1"), ({"concepts": 1}, "greater than or equal to 2")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        Inputs(**given)
