"""A user's BIDS dataset by settings alone: files, stimuli, trials, and every refusal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bids_fixtures import (
    N170,
    N170_STUDY,
    NAME,
    THINGS,
    noise,
    regular_events,
    study_settings,
    write_dataset,
    write_run,
    write_tsv,
)

from brain2clip.readers import contract
from brain2clip.stage import InputError


def load(settings: dict):
    return contract.load(NAME, settings, "results")


def pictures(folder: Path, columns: dict | None = None, without: str | None = None) -> Path:
    """A table of four pictures of four concepts."""
    names = ["cat-1", "dog-1", "cup-1", "key-1"]
    table = {
        "stimulus_id": names,
        "concept": [name[:3] for name in names],
        "image": [f"images/{name}.png" for name in names],
        "caption": ["a cat", "a dog | it barks", "n/a", "a key"],
        **(columns or {}),
    }
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in names:
        if name != without:
            (folder / f"images/{name}.png").write_bytes(b"png")
    return write_tsv(folder / "stimuli.tsv", table)


def picture_study(root: Path, trial_names: list[list[str]], **changes) -> dict:
    """One subject, a run for each list of names, pictures in a table, run 02 the test."""
    for index, names in enumerate(trial_names, 1):
        events = regular_events(len(names), names=names)
        write_run(root, noise(index, 10), events, run=f"{index:02d}")
    settings = study_settings(root, stimuli=str(pictures(root)), **changes)
    del settings["categories"]
    return settings


# ------------------------------------------------------------------------------------------------ files


def test_import_is_light():
    code = "import sys; import brain2clip.studies.bids; print(sorted({'mne','torch','pandas'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_files_are_listed_with_their_companions(tmp_path):
    study = load(study_settings(write_dataset(tmp_path)))
    names = [Path(path).name for path in study.files("01")]
    stem = "sub-01_task-see_run-01_"
    assert names[:5] == [stem + end for end in ("eeg.vhdr", "eeg.eeg", "eeg.vmrk", "events.tsv", "channels.tsv")]
    assert all(Path(path).is_file() for path in study.files("01"))
    assert study.stimulus_files() == []


def test_order_is_session_task_run(tmp_path):
    for session, task, run in [("02", "see", "01"), ("01", "test", "01"), ("01", "see", "02"), ("01", "see", "01")]:
        write_run(tmp_path, noise(0, 5), regular_events(4), session=session, task=task, run=run)
    write_run(tmp_path, noise(0, 5), regular_events(4), session="01", task="rest")
    found = load(study_settings(tmp_path, tasks=["see", "test"])).recordings("01")
    labels = [(item.session, item.task, item.run) for item in found]
    assert labels == [("01", "see", "01"), ("01", "see", "02"), ("01", "test", "01"), ("02", "see", "01")]


def test_companions_of_a_set_file_only_where_there_are_any(tmp_path):
    folder = tmp_path / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    for name in ("sub-01_task-see_run-01_eeg.set", "sub-01_task-see_run-01_eeg.fdt", "sub-01_task-see_run-02_eeg.set"):
        (folder / name).touch()
    for run in ("01", "02"):
        (folder / f"sub-01_task-see_run-{run}_events.tsv").touch()
    files = load(study_settings(tmp_path)).files("01")
    assert [Path(path).suffix for path in files] == [".set", ".fdt", ".tsv", ".set", ".tsv"]


def test_subjects(tmp_path):
    for subject in ("01", "02", "10"):
        write_dataset(tmp_path, runs=("01",), trials=2, subject=subject)
    assert load(study_settings(tmp_path)).subjects() == ("01", "02", "10")
    assert load(study_settings(tmp_path, subjects=["10", "01"])).subjects() == ("01", "10")
    with pytest.raises(
        InputError, match=r"'1' is not in the folders sub-\* .*did you mean '01'.*\n.*labels of 01, 02, 10"
    ):
        load(study_settings(tmp_path, subjects=["1"])).subjects()


def test_missing_folder_and_task(tmp_path):
    with pytest.raises(InputError, match=r"no such folder.*setting root"):
        load(study_settings(tmp_path / "nowhere")).subjects()
    write_dataset(tmp_path, runs=("01",), trials=2)
    with pytest.raises(InputError, match=r"tasks se \(did you mean 'see'\?\)"):
        load(study_settings(tmp_path, tasks=["se"])).recordings("01")


def test_two_files_of_one_run_are_refused(tmp_path):
    header = write_run(tmp_path, noise(0, 5), regular_events(2))
    header.with_suffix(".edf").touch()
    with pytest.raises(InputError, match="are one recording in 2 formats"):
        load(study_settings(tmp_path)).recordings("01")


# ---------------------------------------------------------------------------------------------- stimuli


def test_categories(tmp_path):
    study = load(study_settings(write_dataset(tmp_path)))
    table = study.stimulus_table()
    assert not study.zero_shot
    assert table["stimulus_id"].tolist() == ["face", "house"]
    assert table["split"].tolist() == ["both", "both"]
    assert table["image"].tolist() == ["", ""]
    assert table["prompts"].tolist() == [["a photo of a face"], ["a photo of a house"]]


def test_pictures_take_their_split_from_the_events(tmp_path):
    study = load(picture_study(tmp_path, [["cat-1", "dog-1"], ["cup-1"]]))
    table = study.stimulus_table()
    assert study.zero_shot
    assert table["split"].tolist() == ["train", "train", "test", "train"]  # key-1 is never shown
    assert table["captions"].tolist() == [["a cat"], ["a dog", "it barks"], [], ["a key"]]
    assert table["prompts"].tolist() == [[f"a photo of a {name}"] for name in ("cat", "dog", "cup", "key")]
    assert all(Path(path).is_file() for path in table["image"])
    assert study.split_from_events
    # Events of other subjects are no input: another subject must not rerun what is made of the first ones.
    assert [Path(path).name for path in study.stimulus_files()] == ["stimuli.tsv"]


def test_split_by_concepts(tmp_path):
    settings = picture_study(tmp_path, [["cat-1", "dog-1", "cup-1"]], split={"by": "concepts", "test": ["dog"]})
    study = load(settings)
    assert study.stimulus_table()["split"].tolist() == ["train", "test", "train", "train"]
    assert study.trials(study.recordings("01")[0])["split"].tolist() == ["train", "test", "train"]
    settings["split"]["test"] = ["doc"]
    with pytest.raises(InputError, match=r"no stimulus of the concept 'doc' \(did you mean 'dog'\?\)"):
        load(settings).stimulus_table()


def test_written_split_must_agree_with_the_events(tmp_path):
    settings = picture_study(tmp_path, [["cat-1", "dog-1"], ["cup-1"]])
    pictures(tmp_path, {"split": ["train", "train", "test", "test"]})
    study = load(settings)
    assert not study.split_from_events
    assert study.stimulus_table()["split"].tolist() == ["train", "train", "test", "test"]
    assert [Path(path).name for path in study.stimulus_files()] == ["stimuli.tsv"]
    pictures(tmp_path, {"split": ["train", "test", "test", "test"]})
    study = load(settings)
    with pytest.raises(InputError, match=r"other side of the split.*dog-1 \(test\)"):
        study.trials(study.recordings("01")[0])


def test_concept_on_both_sides_is_refused(tmp_path):
    study = load(picture_study(tmp_path, [["cat-1", "dog-1"], ["dog-1", "cup-1"]]))
    with pytest.raises(InputError, match=r"1 concepts are on both sides of the split: dog"):
        study.stimulus_table()


def test_pictures_of_training_may_be_tested_in_a_later_run_where_the_split_says_so(tmp_path):
    shown = [["cat-1", "dog-1"], ["dog-1", "cup-1"]]
    refused = load(picture_study(tmp_path, shown))
    with pytest.raises(InputError, match=r"set studies\.tiny\.split\.concepts: seen"):
        refused.stimulus_table()
    split = {"by": "run", "test": ["02"], "concepts": "seen"}
    study = load(picture_study(tmp_path, shown, split=split))
    assert not study.zero_shot
    assert study.stimulus_table()["split"].tolist() == ["train", "both", "test", "train"]
    written = load(picture_study(tmp_path, shown, split=split))
    pictures(tmp_path, {"split": ["train", "both", "test", "train"]})
    assert not written.split_from_events
    assert written.trials(written.recordings("01")[1])["split"].unique().tolist() == ["test"]
    with pytest.raises(ValueError, match=r"concepts: seen contradicts split\.by: concepts"):
        load(picture_study(tmp_path, shown, split={**split, "by": "concepts", "test": ["dog"]}))


def test_missing_picture_is_refused(tmp_path):
    settings = picture_study(tmp_path, [["cat-1"], ["cup-1"]])
    (tmp_path / "images/cup-1.png").unlink()
    with pytest.raises(InputError, match=r"stimuli\.tsv: 1 of 4 stimuli have no image file: cup-1"):
        load(settings).stimulus_table()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"stimulus_id": ["cat-1", "cat-1", "cup-1", "key-1"]}, "cat-1 occurs more than once"),
        ({"split": ["train", "train", "Test", "test"]}, "column split has Test"),
    ],
)
def test_bad_stimulus_table(tmp_path, columns, message):
    settings = picture_study(tmp_path, [["cat-1"], ["cup-1"]])
    pictures(tmp_path, columns)
    with pytest.raises(InputError, match=message):
        load(settings).stimulus_table()


def test_stimulus_table_without_a_needed_column(tmp_path):
    settings = picture_study(tmp_path, [["cat-1"], ["cup-1"]])
    write_tsv(tmp_path / "stimuli.tsv", {"stimulus_id": ["cat-1"], "category": ["cat"], "image": ["x.png"]})
    with pytest.raises(InputError, match=r"no column 'concept'[\s\S]*columns found: stimulus_id, category, image"):
        load(settings).stimulus_table()


# ----------------------------------------------------------------------------------------------- trials


def one_run(tmp_path, events, **changes):
    """Trials of one recording."""
    options = {key: changes.pop(key) for key in ("bom", "session") if key in changes}
    write_run(tmp_path, noise(0, 10), events, **options)
    study = load(study_settings(tmp_path, **changes))
    return study.trials(study.recordings("01")[0])


def test_trials_are_kept_sorted_and_labelled(tmp_path):
    events = {
        "onset": ["3.0", "1.0", "2.0", "4.0"],
        "duration": ["n/a"] * 4,
        "trial_type": ["face", "house", "n/a", "target"],
        "part": ["main", "main", "rest", "main"],
    }
    keep = {"trial_type": ["face", "house"], "part": ["main"]}
    trials = one_run(tmp_path, events, keep=keep, bom=True)
    assert trials["onset"].tolist() == [1.0, 3.0]
    assert trials["stimulus"].tolist() == trials["concept"].tolist() == ["house", "face"]
    assert trials["split"].tolist() == ["train", "train"]


def test_template_with_columns_and_entities(tmp_path):
    events = {**regular_events(4), "number": ["1", "2", "1", "2"]}
    categories = {"see-01-1": ["one"], "see-01-2": ["two"]}
    trials = one_run(tmp_path, events, stimulus="{task}-{run}-{number}", categories=categories)
    assert trials["stimulus"].tolist() == ["see-01-1", "see-01-2"] * 2


@pytest.mark.parametrize(
    ("split", "side"),
    [
        ({"by": "run", "test": ["01"]}, "test"),
        ({"by": "run", "test": ["03/01"]}, "test"),
        ({"by": "run", "test": ["01/01"]}, "train"),
        ({"by": "session", "test": ["03"]}, "test"),
        ({"by": "task", "test": ["see"]}, "test"),
        ({"by": "column", "column": "value", "test": ["0", "1", "2", "3"]}, "test"),
        ({"by": "task", "test": ["other"], "train": ["different"]}, None),
    ],
)
def test_split_by_entity_or_column(tmp_path, split, side):
    trials = one_run(tmp_path, regular_events(4), split=split, session="03")
    assert trials["split"].tolist() == [side] * (0 if side is None else 4)


def changed(**columns):
    return {**regular_events(4), **columns}


@pytest.mark.parametrize(
    ("events", "changes", "message"),
    [
        (regular_events(4), {"stimulus": "trial_typ"}, r"no column 'trial_typ' \(did you mean 'trial_type'\?\)"),
        (regular_events(4), {"stimulus": "{stim}-{run}"}, r"no column 'stim'[\s\S]*columns found: onset, duration"),
        (regular_events(4), {"stimulus": "{trial_type:>5}"}, "plain column names in braces"),
        (regular_events(4), {"stimulus": "{session}-{trial_type}"}, "no session in the file name"),
        (regular_events(4), {"keep": {"type": ["image"]}}, r"no column 'type'.*studies\.tiny\.keep"),
        (
            regular_events(4),
            {"keep": {"trial_type": ["image"]}},
            r"none of 4 events is a trial[\s\S]*found: .*face, house",
        ),
        (regular_events(4), {"split": {"by": "column", "column": "block", "test": ["2"]}}, r"no column 'block'"),
        (regular_events(4), {"split": {"by": "session", "test": ["2"]}}, "no session in the file name"),
        (changed(onset=["1", "2", "x", "4"]), {}, r"the onset of trial 3 is 'x'; expected a number of seconds"),
        (changed(onset=["1", "2", "n/a", "4"]), {}, r"the onset of trial 3 is 'n/a'"),
        (changed(onset=["1", "2", "inf", "4"]), {}, r"the onset of trial 3 is 'inf'"),
        (changed(trial_type=["face", "n/a", "house", "face"]), {}, r"1 of 4 trials have no stimulus"),
        (
            changed(trial_type=["face", "hause", "house", "face"]),
            {},
            r"1 stimuli have no row in .*: hause \(did you mean 'ho",
        ),
    ],
)
def test_refusals(tmp_path, events, changes, message):
    with pytest.raises(InputError, match=message):
        one_run(tmp_path, events, **changes)


def test_ragged_and_missing_tables(tmp_path):
    header = write_run(tmp_path, noise(0, 5), regular_events(3))
    study = load(study_settings(tmp_path))
    item = study.recordings("01")[0]
    item.events.write_text("onset\tduration\ttrial_type\n1.0\t0.1\n")
    with pytest.raises(InputError, match="line 2 has 2 cells and the header 3"):
        study.trials(item)
    item.events.unlink()
    with pytest.raises(InputError, match=r"events\.tsv: no such file"):
        study.trials(item)
    assert header.exists()


# ----------------------------------------------------------------- values in settings that no event has


def two_runs(tmp_path, one: dict, other: dict, subject: str = "01", **changes):
    """A study whose subject has two runs with these events."""
    for run, events in (("01", one), ("02", other)):
        write_run(tmp_path, noise(0, 3), events, run=run, subject=subject)
    return load(study_settings(tmp_path, **changes))


BY_VALUE = {"split": {"by": "column", "column": "value", "test": ["3", "33"]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"keep": {"trial_type": ["face", "huose"]}},
            r"keep\.trial_type: no event of sub-01 has 'huose' \(did .*'house'",
        ),
        (BY_VALUE, r"split\.test: no event of sub-01 has '33' \(did you mean '3'\?\)"),
    ],
)
def test_a_name_that_matches_nothing_while_another_does_is_refused(tmp_path, changes, message):
    study = two_runs(tmp_path, regular_events(4), regular_events(4), **changes)
    with pytest.raises(InputError, match=rf"studies\.tiny\.{message}"):
        study.trials(study.recordings("01")[0])


def test_a_name_that_only_another_run_or_subject_has_is_right(tmp_path, caplog):
    """Of another run in silence, of another subject it is said; a subject that cannot be read does not matter."""
    late = {**regular_events(4), "response": ["late"] * 4}
    for subject in ("01", "02"):
        early = {**regular_events(4), "response": ["correct"] * 4}
        two_runs(tmp_path, early, late if subject == "01" else early, subject=subject)
    (tmp_path / "sub-03").mkdir()
    study = load(study_settings(tmp_path, keep={"response": ["correct", "late"]}))
    assert len(study.trials(study.recordings("01")[0])) == 4
    assert caplog.text == ""
    assert len(study.trials(study.recordings("02")[0])) == 4
    assert caplog.messages == ["sub-02: no event has 'late', which is in studies.tiny.keep.response"]


def test_the_log_counts_what_keep_leaves_out(tmp_path, caplog):
    caplog.set_level("INFO", "brain2clip")
    events = {**regular_events(6), "trial_type": ["face", "house", "target", "n/a", "target", "face"]}
    study = two_runs(tmp_path, events, regular_events(4), keep={"trial_type": ["face", "house"], "value": list("0123")})
    for item in study.recordings("01"):
        study.trials(item)
    assert caplog.messages == [
        "sub-01: studies.tiny.keep keeps 6 of 10 events as trials; left out: "
        "trial_type 'target' 2, trial_type 'n/a' 1, value '5' 1"
    ]


@pytest.mark.parametrize(
    ("events", "changes", "message"),
    [
        (changed(trial_type=["face", "Face", "house", "Face"]), {"keep": {"trial_type": ["face", "house"]}},
         r"column trial_type: 'Face' \(2 times\) is only another spelling of 'face'.*keep"),
        (changed(value=["1.0", "1", "2", "2"]), {"keep": {"value": ["1"]}}, r"'1\.0' .* spelling of '1'"),
        (changed(part=["test", "Test", "train", "train"]),
         {"split": {"by": "column", "column": "part", "test": ["test"]}},
         r"column part: 'Test' .*split"),
        (regular_events(4), {"split": {"by": "run", "test": ["1"]}}, r"run: '01' .* spelling of '1'.*split"),
    ],
)  # fmt: skip
def test_another_writing_of_a_label_is_not_passed_over(tmp_path, events, changes, message):
    """A test label that is written otherwise would be training."""
    with pytest.raises(InputError, match=message):
        one_run(tmp_path, events, **changes)


def test_a_column_that_stands_twice_is_refused(tmp_path):
    study = two_runs(tmp_path, regular_events(4), regular_events(4))
    item = study.recordings("01")[0]
    lines = [f"{line}\t{line.split()[2]}" for line in item.events.read_text().splitlines()]
    item.events.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"events\.tsv: more than one column has the name 'trial_type'"):
        study.trials(item)


@pytest.mark.skipif(not N170.is_dir(), reason="the real recording shared/data/n170 is not on this machine")
def test_n170_by_settings_alone():
    study = load(N170_STUDY)
    assert study.subjects() == ("01", "02", "03")
    for subject in study.subjects():
        sides = [study.trials(item)["split"] for item in study.recordings(subject)]
        assert {side for labels in sides for side in labels} == {"train", "test"}


@pytest.mark.skipif(not THINGS.is_dir(), reason="the real events shared/data/things-eeg2 are not on this machine")
def test_things_eeg2_by_settings_alone(tmp_path):
    """Real events (byte order mark, target trials, trigger codes shared by many pictures); no voltage is needed."""
    names = [f"train-{number}" for number in range(1, 16541)] + [f"test-{number}" for number in range(1, 201)]
    (tmp_path / "one.png").write_bytes(b"png")
    table = {"stimulus_id": names, "concept": names, "image": ["one.png"] * len(names)}
    folder = tmp_path / "bids" / "sub-01" / "ses-01" / "eeg"
    folder.mkdir(parents=True)
    for events in (THINGS / "bids/sub-01/ses-01/eeg").glob("*_events.tsv"):
        (folder / events.name).symlink_to(events)
        (folder / events.name.replace("_events.tsv", "_eeg.bdf")).touch()
    settings = study_settings(
        tmp_path / "bids",
        tasks=["train", "test"],
        stimulus="{task}-{tot_img_number}",
        keep={"trial_type": ["image"]},
        split={"by": "task", "test": ["test"]},
        stimuli=str(write_tsv(tmp_path / "stimuli.tsv", table)),
    )
    del settings["categories"]
    study = load(settings)
    known = json.loads((THINGS / "known_answers.json").read_text())["recordings"]
    assert [item.name.rpartition("task-")[2] for item in study.recordings("01")] == [
        "test",
        *(f"train_run-{run:02d}" for run in range(1, 6)),
    ]
    for item in study.recordings("01"):
        trials, answer = study.trials(item), known[item.name]
        assert len(trials) == answer["trial_type"]["image"]
        assert trials["stimulus"].nunique() == answer["distinct_images"]
        counts = trials["stimulus"].value_counts().value_counts()
        assert {str(count): number for count, number in counts.items()} == answer["repetitions"]
        assert set(trials["split"]) == {item.task}
    table = study.stimulus_table()
    assert table["split"].value_counts().to_dict() == {"train": 16540, "test": 200}
