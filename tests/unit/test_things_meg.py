"""THINGS-MEG: identity by number, sides of the split, onsets of two clocks, and every refusal.

Events are one table of the dataset (CC0, ``tests/data/things-meg``) and sessions made up by its rules; all 480 tables
are counted where they lie beside the repository. Recordings are FIF files of two sensors and the trigger channel.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import download_records
import mne
import numpy as np
import pandas as pd
import pytest
import things_meg_files as meg
from pydantic import ValidationError

from brain2clip import settings
from brain2clip.readers import contract, manifests, things_index, things_meg_index, triggers
from brain2clip.responses import recording, samples
from brain2clip.settings import parse
from brain2clip.stage import InputError
from brain2clip.studies import things_meg
from brain2clip.studies.things_meg import Events

ROOT = Path(__file__).resolve().parents[2]
SUBJECT = "BIGMEG1"


def load(folder: Path, **changes: object) -> things_meg.Study:
    given = {"kind": "things_meg", "manifest": str(folder / "manifest.csv"), "images": str(meg.IMAGES), **changes}
    study = contract.load("meg", given, str(folder / "results"))
    assert isinstance(study, things_meg.Study)
    return study


def table(events: pd.DataFrame) -> Events:
    return Events(Path("events.tsv"), {name: events[name].tolist() for name in events}, "record.json")


def checked(events: pd.DataFrame) -> Events:
    found = table(events)
    found.check(meg.index(), "index.csv")
    return found


@pytest.fixture(scope="module")
def there(tmp_path_factory) -> Path:
    """One whole session of a subject on disk, and the first two runs of the next."""
    folder = tmp_path_factory.mktemp("meg")
    root = folder / "results/raw/things-meg"
    for session, count in (("01", 10), ("02", 2)):
        for run, events in enumerate(meg.session(int(session))[:count], 1):
            stem = meg.stem(SUBJECT, session, f"{run:02d}")
            meg.write_events(root / f"{stem}_events.tsv", events)
            if run < 10:
                meg.write_channels(root / f"{stem}_channels.tsv", 1)
            meg.write_fif(root / f"{stem}_meg.fif", events, sensors=1)
    meg.write_manifest(root, folder / "manifest.csv")
    download_records.write(load(folder, sessions=["01"]))
    download_records.write(load(folder, sessions=["02"], runs=["01", "02"]))
    return folder


@pytest.fixture
def spoil(there):
    """Trials of a run whose table was changed; it is put right again after the test."""
    changed: dict[Path, bytes] = {}

    def trials(change, run: int = 0, **settings_):
        study = load(there, **{"sessions": ["01"], **settings_})
        one = study.recordings(SUBJECT)[run]
        changed.setdefault(one.events, one.events.read_bytes())
        events = pd.read_csv(one.events, sep="\t", dtype=str, keep_default_na=False)
        meg.write_events(one.events, change(events))
        download_records.write(study, study.subject_units(SUBJECT)[run])
        return study.trials(one)

    yield trials
    for path, content in changed.items():
        path.write_bytes(content)
    download_records.write(load(there, sessions=["01"]))


def cell(name: str, value: str, row: int = 0):
    def change(events: pd.DataFrame) -> pd.DataFrame:
        events.loc[row, name] = value
        return events

    return change


# ------------------------------------------------------------------------------------------- the index


def test_import_is_light():
    code = (
        "import sys, brain2clip.studies.things_meg\n"
        "print([name for name in ('mne', 'pandas', 'torch', 'h5py') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_kept_index():
    index = meg.index()
    assert len(index) == 22448
    assert index["trial_type"].value_counts().to_dict() == {"exp": 22248, "test": 200}
    assert index.loc[24812].tolist() == ["exp", 1760, "vest", "vest_10s", "vest_10s.jpg"]
    numbers = index["file"].str.extract(r"_(\d+)[a-z]\.jpg")[0].astype(int)
    assert numbers[index["trial_type"] == "exp"].between(1, 12).all()
    assert numbers[index["trial_type"] == "test"].min() == 13


def test_the_index_joins_what_was_published(shared_data):
    folder = shared_data("things-meg")
    pictures = pd.read_csv(folder / "pictures.tsv", sep="\t", index_col="value")
    index = meg.index()
    pd.testing.assert_series_equal(index["file"], pictures["file_name"].rename("file").sort_index(), check_dtype=False)
    test = pd.read_csv(folder / "test_pictures.tsv", sep="\t", index_col="value")
    own = index[index["trial_type"] == "test"]
    assert own["category"].to_dict() == test["things_category_nr"].to_dict()
    assert own["concept"].to_dict() == test["concept"].to_dict()


def test_pictures_are_those_of_the_other_studies_of_things():
    """What makes a transfer between the studies wrong: 178 test pictures of THINGS-EEG2 are shown here once."""
    index = meg.index()
    eeg2 = things_index.read_index(ROOT / "workflow/manifests/things-eeg2-images.csv")
    test, training = (set(eeg2.loc[eeg2["split"] == side, "file"]) for side in ("test", "train"))
    exp = set(index.loc[index["trial_type"] == "exp", "file"])
    assert len(test & exp) == 178
    assert len(training) == len(training & exp) == 16540
    assert not training & (set(index["file"]) - exp)
    study = things_meg.Study("meg", {"kind": "things_meg", "images": str(meg.IMAGES)}, Path("results"))
    kept = study.index[study.index["split"] == "train"]
    assert len(test & set(kept["file"])) == 155
    concepts = {folder.partition("_")[2] for folder in eeg2.loc[eeg2["split"] == "test", "folder"]}
    assert len(concepts & set(index.loc[index["trial_type"] == "test", "concept"])) == 28
    assert len(concepts & set(kept["concept"])) == 172


def without(count: int):
    return lambda lines: lines[:-count]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(1), "expected 22248 of 1854"),
        (lambda lines: ["number,trial_type,things_category_nr,file_name", *lines[1:]], "no column value"),
        (lambda lines: [lines[0], "1.5,exp,1,aardvark_01b.jpg", *lines[2:]], "line 2.*expected whole numbers"),
        (lambda lines: [lines[0], "1,exp,1,aardvark.jpg", *lines[2:]], "line 2.*expected whole numbers"),
        (lambda lines: [lines[0], "1,main,1,aardvark_01b.jpg", *lines[2:]], "line 2.*exp or test"),
        (lambda lines: [lines[0], "2,exp,1,aardvark_01b.jpg", *lines[2:]], "picture 2 or its file occurs twice"),
        (lambda lines: [lines[0], "1,exp,2,aardvark_01b.jpg", *lines[2:]], "aardvark has the number 2; expected 1"),
    ],
)
def test_wrong_tables_of_pictures(tmp_path, change, words):
    path = tmp_path / "images.csv"
    path.write_text("\n".join(change(meg.IMAGES.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=words):
        things_meg_index.read_index(path, "studies.meg.images")


def test_no_table_of_pictures(tmp_path):
    with pytest.raises(InputError, match=r"no such file.*setting studies\.meg\.images"):
        things_meg_index.read_index(tmp_path / "none.csv", "studies.meg.images")


# ----------------------------------------------------------------------------------------- one real table


def test_a_real_table_is_read_by_number():
    events = checked(meg.real())
    assert len(events.onsets()) == 226
    assert np.allclose(events.onsets() * 1200, events.numbers("sample"), atol=1e-6)
    shown = meg.index().loc[events.pictures()]
    assert shown["trial_type"].value_counts().to_dict() == {"exp": 186, "test": 20}
    assert shown["file"].tolist()[:3] == ["vest_10s.jpg", "fencepost_10s.jpg", "fondue_10s.jpg"]


@pytest.mark.parametrize("text", ["24812", "24812.", "24812.0", "24812.00"])
def test_numbers_may_be_written_as_floats(text):
    assert checked(cell("value", text)(meg.real())).pictures()[0] == 24812


def test_missing_is_written_in_two_ways():
    events = meg.real()
    events.loc[events["trial_type"] == "catch", "value"] = "n/a"
    assert len(checked(events).pictures()) == 206


def exp_for_catch(events: pd.DataFrame) -> pd.DataFrame:
    events.loc[int((events["trial_type"] == "catch").to_numpy().argmax()), "trial_type"] = "exp"
    return events


def number_for_catch(events: pd.DataFrame) -> pd.DataFrame:
    events.loc[int((events["trial_type"] == "catch").to_numpy().argmax()), "value"] = "24812.0"
    return events


def one_based(events: pd.DataFrame) -> pd.DataFrame:
    events["sample"] = (events["sample"].astype(int) + 1).astype(str)
    return events


def milliseconds(events: pd.DataFrame) -> pd.DataFrame:
    events["onset"] = [repr(1000 * float(text)) for text in events["onset"]]
    return events


def swapped(events: pd.DataFrame) -> pd.DataFrame:
    events.loc[[0, 1], "value"] = events.loc[[1, 0], "value"].to_numpy()
    return events


def test_for_exp(events: pd.DataFrame) -> pd.DataFrame:
    rows = [int((events["trial_type"] == kind).to_numpy().argmax()) for kind in ("exp", "test")]
    events.loc[rows, "trial_type"] = ["test", "exp"]
    return events


test_for_exp.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda events: events.drop(columns="things_category_nr"), "no column 'things_category_nr'"),
        (lambda events: events.iloc[:-1], "expected 185 or 186 exp, 20 test, 20 catch in a run"),
        (cell("trial_type", "expt"), "trial_type 'expt'.*did you mean 'exp'"),
        (exp_for_catch, "events; expected 185 or 186 exp, 20 test, 20 catch"),
        (cell("value", "24812.5"), r"value of event 1 is '24812\.5'.*expected the whole number of a picture"),
        (cell("value", "N/A"), "value of event 1 is 'N/A'"),
        (cell("value", "26107.0"), r"value of event 1 is '26107\.0'.*expected a number of index\.csv, from 1 to 26106"),
        (cell("value", "-1.0"), r"value of event 1 is '-1\.0'"),
        (cell("things_category_nr", "1760.5"), "expected the whole number of a concept"),
        (
            cell("things_category_nr", "1759.0"),
            r"value and things_category_nr disagree in 1.*vest_10s\.jpg.*expected 1760",
        ),
        (number_for_catch, r"value of event 13 is '24812\.0' \(and 0 more\), a catch event.*N/A in catch events"),
        (swapped, "value and things_category_nr disagree in 2 of 206 events"),
        (test_for_exp, "value and trial_type disagree in 2 of 206 events"),
        (one_based, "onset and sample disagree in 226 of 226 events.*counted from 0"),
        (milliseconds, "onset and sample disagree"),
        (cell("onset", "n/a"), "onset of event 1 is 'n/a'; expected seconds"),
        (cell("onset", "-1"), "onset of event 1 is '-1'; expected seconds"),
        (cell("onset", "2.0", 1), "onset of event 2 is '2.0'.*increasing"),
        (cell("sample", "3424"), "onset and sample disagree in 1 of 226"),
        (cell("sample", ""), "onset and sample disagree in 1 of 226"),
    ],
)
def test_wrong_tables(change, words):
    real = meg.real()
    with pytest.raises(InputError, match=re.compile(words, re.DOTALL)):
        checked(change(real))


# ------------------------------------------------------------------------------------------ all tables


def test_all_480_tables(shared_data):
    """Counts of the dataset, and each rule of the study on every real table."""
    folder = shared_data("things-meg")
    known = json.loads((folder / "known_answers.json").read_text())
    with gzip.open(folder / "all_events.tsv.gz", "rt") as file:
        events = pd.read_csv(io.StringIO(file.read()), sep="\t", dtype=str, keep_default_na=False)
    assert len(events) == known["rows"]
    index = things_meg.Study("meg", {"kind": "things_meg", "images": str(meg.IMAGES)}, Path("results")).index
    shown: dict[tuple[str, str], list[np.ndarray]] = {}
    rows: dict[str, int] = {}
    for name, rows_of in events.groupby("file"):
        own = checked(rows_of.reset_index(drop=True))
        subject, session = str(name).split("/")[:2]
        shown.setdefault((subject, session), []).append(own.pictures())
        rows[str(len(rows_of))] = rows.get(str(len(rows_of)), 0) + 1
    assert rows == known["rows_per_run"]
    assert len(shown) == 48
    for (subject, _), parts in shown.items():
        assert len(parts) == 10
        of_session = index.loc[np.concatenate(parts)]
        exp, test = (of_session[of_session["trial_type"] == kind] for kind in ("exp", "test"))
        assert len(exp) == exp["concept"].nunique() == known["per_session"]["exp"], subject
        assert len(test) == test["stimulus_id"].nunique() == known["per_session"]["test"]
    for subject in {subject for subject, _ in shown}:
        of_subject = index.loc[
            np.concatenate([one for key, some in shown.items() if key[0] == subject for one in some])
        ]
        exp = of_subject[of_subject["trial_type"] == "exp"]
        assert len(exp) == exp["stimulus_id"].nunique() == known["exp"]["distinct_values"]
        sides = of_subject["split"].value_counts()
        assert sides["train"] == known["train_rows_after_removing_test_concepts"]
        assert sides["test"] == known["per_subject"]["test"]
        assert sides[""] == known["exp_rows_of_test_concepts"]


# ------------------------------------------------------------------------------------------------ files


def test_the_kept_manifest():
    study = things_meg.Study("meg", {"kind": "things_meg", "images": str(meg.IMAGES)}, Path("results"))
    study.block = study.block.model_copy(update={"manifest": str(ROOT / "workflow/manifests/things-meg.csv.gz")})
    assert study.subjects() == ("BIGMEG1", "BIGMEG2", "BIGMEG3", "BIGMEG4")
    for subject in study.subjects():
        recordings = study.recordings(subject)
        assert len(recordings) == 120
        assert [one.name for one in recordings] == sorted(one.name for one in recordings)
        assert len(study.subject_units(subject)) == 120
        assert study.expected_counts(subject) == {"train": 19848, "test": 2400}
    first = study.recordings("BIGMEG1")[0]
    assert first.path.name == "sub-BIGMEG1_ses-01_task-main_run-01_meg.ds"
    (unit, *_) = study.subject_units("BIGMEG1")
    assert unit == "sub-BIGMEG1_ses-01_task-main_run-01"
    endings = {entry.path.rpartition("_")[2] for entry in study.units[unit]}
    assert {"meg.meg4", "meg.res4", "meg.hc", "events.tsv", "channels.tsv", "meg.json"} <= endings
    sizes = sum(entry.size or 0 for files in study.downloads().values() for entry in files)
    assert 249.5e9 < sizes < 250.5e9
    # sidecars that the dataset lacks
    lacking = study.units["sub-BIGMEG4_ses-02_task-main_run-01"]
    assert not any(entry.path.endswith(("channels.tsv", "meg.json")) for entry in lacking)


def test_subjects_sessions_and_runs_by_name(there):
    study = load(there, subjects=[SUBJECT], sessions=["02"], runs=["02"])
    assert study.subjects() == (SUBJECT,)
    (one,) = study.recordings(SUBJECT)
    assert one.name == "sub-BIGMEG1_ses-02_task-main_run-02"
    assert one.path.suffix == ".fif"
    assert study.subject_units(SUBJECT) == ["sub-BIGMEG1_ses-02_task-main_run-02"]
    assert study.expected_counts(SUBJECT) is None
    with pytest.raises(InputError, match="subjects: '1' is not in"):
        load(there, subjects=["1"]).subjects()
    with pytest.raises(InputError, match="recording sub-BIGMEG1_ses-02_task-main_run-03 is not listed"):
        load(there, sessions=["02"]).recordings(SUBJECT)
    with pytest.raises(InputError, match=r"studies\.meg\.sessions: '13' is not in"):
        load(there, sessions=["13"]).recordings(SUBJECT)


def test_settings_are_checked():
    for wrong in ({"onset": "sensor"}, {"source": "moon"}, {"epochs": "folder"}, {"dropouts": "zero"}):
        with pytest.raises(ValidationError):
            parse(settings.ThingsMegStudy, {"kind": "things_meg", **wrong})


# ----------------------------------------------------------------------------------------------- trials


def all_trials(study: things_meg.Study) -> pd.DataFrame:
    return pd.concat([study.trials(one) for one in study.recordings(SUBJECT)], ignore_index=True)


def test_the_protocol_of_the_field(there):
    """A session: 1,654 training pictures and 200 of the test; no concept stands on both sides."""
    study = load(there, sessions=["01"])
    trials = all_trials(study)
    assert trials["split"].value_counts().to_dict() == study.expected_counts(SUBJECT) == {"train": 1654, "test": 200}
    sides = [set(trials.loc[trials["split"] == side, "concept"]) for side in ("train", "test")]
    assert [len(side) for side in sides] == [1654, 200]
    assert not sides[0] & sides[1]
    assert study.zero_shot
    stimuli = study.stimulus_table()
    assert stimuli["split"].value_counts().to_dict() == {"train": 19848, "test": 200}
    split = dict(zip(stimuli["stimulus_id"], stimuli["split"]))
    assert [split[name] for name in trials["stimulus"]] == trials["split"].tolist()


def test_test_concepts_may_be_kept(there):
    study = load(there, sessions=["01"], keep_test_concepts=True)
    assert not study.zero_shot
    trials = all_trials(study)
    assert trials["split"].value_counts().to_dict() == study.expected_counts(SUBJECT) == {"train": 1854, "test": 200}
    assert study.stimulus_table()["split"].value_counts().to_dict() == {"train": 22248, "test": 200}


def test_every_trial_shows_its_picture_at_its_time(there):
    study = load(there, sessions=["01"])
    one = study.recordings(SUBJECT)[3]
    events = meg.session(1)[3]
    trials = study.trials(one)
    by_stem = {stem: value for value, stem in meg.index()["stimulus_id"].items()}
    assert set(trials.columns) == {"onset", "stimulus", "concept", "split"}
    rows = {float(onset): value for onset, value in zip(events["onset"], events["value"])}
    assert [f"{by_stem[name]}.0" for name in trials["stimulus"]] == [rows[onset] for onset in trials["onset"]]
    assert not any(value == "N/A" for value in (rows[onset] for onset in trials["onset"]))


def test_prompts_and_pictures(there, tmp_path):
    table_ = load(there).stimulus_table()
    assert (table_["image"] == "").all()
    assert table_["prompts"][0] == ["a photo of a aardvark"] or table_["prompts"][0][0].endswith("aardvark")
    with pytest.raises(InputError, match=r"20048 of 20048 pictures are not there.*studies\.meg\.pictures"):
        load(there, pictures=str(tmp_path)).stimulus_table()


def repeated_concept(events: pd.DataFrame) -> pd.DataFrame:
    """The first picture becomes another one of the concept of a picture of the same run."""
    rows = events.index[events["trial_type"] == "exp"][:2]
    value = float(events.loc[rows[1], "value"])
    category = events.loc[rows[1], "things_category_nr"]
    same = meg.index()[(meg.index()["category"] == float(category)) & (meg.index()["trial_type"] == "exp")].index
    other = next(one for one in same if one != value)
    events.loc[rows[0], ["value", "things_category_nr"]] = [f"{other}.0", category]
    return events


def repeated_test(events: pd.DataFrame) -> pd.DataFrame:
    rows = events.index[events["trial_type"] == "test"][:2]
    events.loc[rows[0], ["value", "things_category_nr"]] = events.loc[rows[1], ["value", "things_category_nr"]].tolist()
    return events


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (repeated_concept, "exp events show concept .* 2 times in runs 01.*expected once in a session"),
        (repeated_test, "test events show stimulus .* 2 times"),
        (one_based, "onset and sample disagree"),
    ],
)
def test_sessions_that_show_other_pictures_are_refused(spoil, change, words):
    with pytest.raises(InputError, match=words):
        spoil(change, run=5)


def test_a_picture_of_an_earlier_session_is_refused(there):
    study = load(there, sessions=["01", "02"], runs=["01", "02"])
    assert len(all_trials(study))
    one = study.recordings(SUBJECT)[2]
    kept = one.events.read_bytes()
    first = study.recordings(SUBJECT)[0].events
    exp = pd.read_csv(first, sep="\t", dtype=str, keep_default_na=False).query("trial_type == 'exp'").iloc[0]
    events = pd.read_csv(one.events, sep="\t", dtype=str, keep_default_na=False)
    here = events.index[(events["things_category_nr"] == exp["things_category_nr"])]
    row = here[0] if len(here) else events.index[events["trial_type"] == "exp"][0]
    events.loc[row, ["value", "things_category_nr"]] = exp[["value", "things_category_nr"]].tolist()
    try:
        meg.write_events(one.events, events)
        again = load(there, sessions=["01", "02"], runs=["01", "02"])
        download_records.write(again, "sub-BIGMEG1_ses-02_task-main_run-01")
        with pytest.raises(InputError, match=r"was shown in ses-01 already.*each exp picture once in all sessions"):
            again.trials(again.recordings(SUBJECT)[0])
    finally:
        one.events.write_bytes(kept)
        download_records.write(load(there, sessions=["02"], runs=["01"]))


def test_tables_that_no_download_brought_are_refused(there):
    """One run has no table of channels, as runs of the dataset: one from elsewhere would be read in silence."""
    study = load(there, sessions=["01"])
    one = study.recordings(SUBJECT)[9]
    assert len(study.trials(one))
    own = one.path.with_name(f"sub-{SUBJECT}_ses-01_channels.tsv")
    own.write_text("name\ttype\nMLC11-1609\tEEG\n")
    try:
        with pytest.raises(InputError, match=r"ses-01_channels\.tsv: not listed in"):
            study.trials(one)
    finally:
        own.unlink()


# ----------------------------------------------------------------------------------------------- onsets


def test_the_difference_of_the_clocks_is_told_whatever_is_chosen(there, caplog):
    one = load(there, sessions=["01"]).recordings(SUBJECT)[0]
    with caplog.at_level(logging.INFO):
        by_events = load(there, sessions=["01"]).trials(one)["onset"]
        by_trigger = load(there, sessions=["01"], onset="trigger").trials(one)["onset"]
    np.testing.assert_allclose(by_trigger - by_events, 6 / 1200, atol=1e-9)
    told = [message for message in caplog.messages if "trigger minus event" in message]
    assert len(told) == 2
    assert all("median +6.0 samples (+5.00 ms), from +6.0 to +6.0" in message for message in told)
    assert told[0].endswith("onsets by events")
    assert told[1].endswith("onsets by trigger")


@pytest.fixture
def retold(there):
    """The study with the first recording made anew."""
    study = load(there, sessions=["01"])
    path = study.recordings(SUBJECT)[0].path
    kept = path.read_bytes()

    def again(**options):
        meg.write_fif(path, sensors=1, **options)
        download_records.write(study, study.subject_units(SUBJECT)[0])

    yield again
    path.write_bytes(kept)
    download_records.write(study, study.subject_units(SUBJECT)[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"events": meg.session(1)[0].iloc[1:]}, r"225 pulses of 64 and 226 events|224 pulses of 64 and 225 events"),
        ({"events": meg.session(1)[0], "delay": 500}, r"s from its event; expected at most 0\.3 s"),
        ({"events": meg.session(1)[1]}, r"do not match one to one|from its event"),
    ],
)
def test_triggers_that_do_not_go_with_the_events(there, retold, caplog, options, words):
    retold(**options)
    one = load(there, sessions=["01"]).recordings(SUBJECT)[0]
    with pytest.raises(InputError, match=words):
        load(there, sessions=["01"], onset="trigger").trials(one)
    assert len(load(there, sessions=["01"]).trials(one))  # the events do not need them
    assert any("triggers cannot be compared with the events" in message for message in caplog.messages)


def test_triggers_go_with_events_one_by_one():
    onsets = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(triggers.nearest(onsets + 0.1, onsets), onsets + 0.1)
    assert triggers.nearest(np.array([1.0, 2.0]), onsets) is None
    assert triggers.nearest(np.array([1.0, 1.1, 1.2]), onsets) is None
    assert triggers.nearest(np.zeros(0), np.zeros(0)) is None
    np.testing.assert_array_equal(triggers.nearest(np.array([1.1]), np.array([1.0])), [1.1])
    jumping = np.array([1.0, 2.1, 3.0])
    assert "one differs from this" in str(things_meg._mismatch(jumping, onsets, triggers.nearest(jumping, onsets)))


def test_lines_that_switch_one_after_the_other_are_no_fault(tmp_path):
    """A wrong value of one sample before a pulse, and alone, is no pulse and no reason to refuse the recording."""
    values = np.zeros((1, 1200))
    for start in (100, 700):
        values[0, start - 1 : start + 20] = [32] + [64] * 20
    values[0, 1000] = 96
    raw = mne.io.RawArray(values, mne.create_info(["UPPT001"], 1200.0, "stim"), verbose="error")
    raw.save(tmp_path / "x_raw.fif", verbose="error")
    found = triggers.pulses(tmp_path / "x_raw.fif", "UPPT001", 64)
    np.testing.assert_allclose(found * 1200, [100, 700])


def test_a_recording_without_triggers(tmp_path, there):
    path = tmp_path / "x_meg.fif"
    meg.write_fif(path, meg.session(1)[0], sensors=1)
    assert triggers.pulses(path, "STI101", 64) is None
    found = triggers.pulses(path, "UPPT001", 64)
    assert found is not None
    np.testing.assert_allclose(found * 1200, meg.session(1)[0]["sample"].astype(int) + 6)
    (tmp_path / "y_meg.fif").write_bytes(b"nothing" * 100)
    with pytest.raises(InputError, match="MNE cannot read its triggers"):
        triggers.pulses(tmp_path / "y_meg.fif", "UPPT001", 64)


# ---------------------------------------------------------------------------------------------- signals


def test_what_the_authors_mend_is_known(there):
    kept = str(ROOT / "workflow/manifests/things-meg.csv.gz")
    study = load(there, manifest=kept)
    found = {
        one.name: one.dropouts for subject in study.subjects() for one in study.recordings(subject) if one.dropouts
    }
    assert found == {
        "sub-BIGMEG1_ses-11_task-main_run-05": ((13.4, 0.2),),
        "sub-BIGMEG2_ses-10_task-main_run-03": ((59.8, 0.2),),
    }
    as_recorded = load(there, manifest=kept, dropouts="keep")
    assert not any(one.dropouts for subject in study.subjects() for one in as_recorded.recordings(subject))


def test_a_dropout_is_replaced_before_the_filter(tmp_path):
    path = tmp_path / "sub-1_task-main_run-01_meg.fif"
    meg.write_fif(path, meg.session(1)[0].iloc[:10], sensors=2)
    one = contract.Recording(
        "1", "main", None, "01", tmp_path, path, tmp_path / "x_events.tsv", None, "meg", ("mag",), "file", ((5.0, 0.2),)
    )
    raw = mne.io.read_raw(path, preload=True, verbose="ERROR").pick("mag")
    lost, seconds = slice(6000, 6240), raw.get_data()
    raw._data[:, lost] = 1e-10
    samples.replace(raw, one)
    found = raw.get_data()
    np.testing.assert_array_equal(found[:, lost], np.repeat(found[:, 6000:6001], 240, axis=1))
    assert (np.abs(found[:, lost]) < 1e-13).all()
    rest = np.delete(np.arange(raw.n_times), np.arange(6000, 6240))
    np.testing.assert_array_equal(found[:, rest], seconds[:, rest])
    with pytest.raises(InputError, match="there is a known dropout from 500 to"):
        samples.replace(raw, replace(one, dropouts=((500.0, 0.2),)))


def test_folders_of_ctf(tmp_path, caplog):
    """A recording of the dataset is a folder; a file in it that the manifest does not list is refused."""
    stem = meg.stem(SUBJECT, "01", "01")
    name = stem.rpartition("/")[2]
    root = tmp_path / "results/raw/things-meg"
    caplog.set_level(logging.INFO)
    meg.write_events(root / f"{stem}_events.tsv", meg.real())
    meg.write_channels(root / f"{stem}_channels.tsv", 1)
    patterns = dict.fromkeys(meg.index().index.tolist(), np.ones(1))
    meg.write_ctf(root / f"{stem}_meg.ds", meg.real(), patterns, 1)
    assert {path.name for path in (root / f"{stem}_meg.ds").iterdir()} == {
        f"{name}_meg.{ending}" for ending in ("meg4", "res4", "hc")
    }
    meg.write_manifest(root, tmp_path / "manifest.csv")
    study = load(tmp_path, sessions=["01"], runs=["01"])
    download_records.write(study)
    (one,) = study.recordings(SUBJECT)
    assert one.path == root / f"{stem}_meg.ds"
    assert one.events == root / f"{stem}_events.tsv"
    assert manifests.unit_of(f"{stem}_meg.ds") == study.subject_units(SUBJECT)[0]
    opened = recording.open_recording(one)
    assert opened.ch_names == ["MLC11-1609", "MRO11-1609"]  # though the table calls them OTHER
    assert len(study.trials(one)) > 150
    assert "median +6.0 samples" in caplog.text
    (one.path / "BadChannels").write_text("MLC11-1609\n")
    with pytest.raises(InputError, match="BadChannels: not listed in"):
        study.trials(one)
