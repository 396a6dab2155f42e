"""THINGS-EEG2: what is downloaded, which recordings there are, and every check of its events tables.

Signals are files of holes of the right size; events, sidecars, index and manifest are the real ones.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import download_records
import numpy as np
import pandas as pd
import pytest
from bids_fixtures import THINGS
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from brain2clip.readers import contract, file_records, manifests, things_index
from brain2clip.stage import InputError
from brain2clip.studies import things_eeg2

REAL = pytest.mark.skipif(not THINGS.is_dir(), reason="needs the dataset in ../shared/data/things-eeg2, not there")
MANIFEST, INDEX = THINGS / "manifest.csv", THINGS / "image_index.csv"
NAME = "things"
ONE = ("01", "01", "train", "02")
TEST = ("01", "01", "test", None)
#: Bytes of a signal that stands for a recording.
SIGNAL = 1000


def load(results: Path | str = "results", **changes) -> things_eeg2.Study:
    settings = {"kind": "things_eeg2", "manifest": str(MANIFEST), "images": str(INDEX), **changes}
    study = contract.load(NAME, settings, str(results))
    assert isinstance(study, things_eeg2.Study)
    return study


def lay_out(results: Path) -> things_eeg2.Study:
    """A study whose two shared sessions are there with their records, signals as short files of holes."""
    study = load(results)
    shutil.copytree(THINGS / "bids", study.root, copy_function=shutil.copyfile)
    for folder in [study.root, *(path for path in study.root.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)  # the originals may be read-only
    for path in study.entries:
        signal = study.root / path
        if path.endswith(".bdf") and signal.parent.is_dir():
            signal.write_bytes(bytes(SIGNAL))
    download_records.write(study)
    return study


@pytest.fixture(scope="module")
def there(tmp_path_factory) -> things_eeg2.Study:
    return lay_out(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def originals(there) -> dict[tuple, str]:
    """Text of the tables that tests spoil."""
    return {key: recording(there, *key).events.read_text() for key in (ONE, TEST)}


@pytest.fixture
def spoil(there, originals):
    """Change a table of the shared study; it is put right again after the test."""
    changed = set()

    def write(change, key=ONE) -> contract.Recording:
        changed.add(key)
        table = pd.DataFrame([line.split("\t") for line in originals[key].splitlines()])
        table = table.iloc[1:].set_axis(table.iloc[0].to_list(), axis=1).reset_index(drop=True)
        table = change(table)
        return rewrite(there, key, table.to_csv(sep="\t", index=False, lineterminator="\n", quoting=csv.QUOTE_NONE))

    yield write
    for key in changed:
        rewrite(there, key, originals[key])


def rewrite(study: things_eeg2.Study, key: tuple, text: str) -> contract.Recording:
    """Another events table of a recording, as if it had come so."""
    one = recording(study, *key)
    one.events.write_text(text)
    download_records.write(study, one.name)
    return one


def recording(study: things_eeg2.Study, subject: str, session: str, task: str, run: str | None) -> contract.Recording:
    found = [one for one in study.recordings(subject) if (one.session, one.task, one.run) == (session, task, run)]
    assert len(found) == 1
    return found[0]


def refused(study: things_eeg2.Study, one: contract.Recording) -> str:
    with pytest.raises(InputError) as error:
        study.trials(one)
    text = str(error.value)
    assert str(one.events) in text or str(one.path) in text
    assert study.record(one.name) in text
    assert "delete" in text
    return text


# ------------------------------------------------------------------------------------------------ files


def test_import_is_light():
    code = (
        "import sys, brain2clip.studies.things_eeg2; print(sorted({'mne','torch','pandas','PIL'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@REAL
def test_all_recordings_are_found():
    study = load()
    assert study.subjects() == tuple(f"{number:02d}" for number in range(1, 11))
    found = [one for subject in study.subjects() for one in study.recordings(subject)]
    assert Counter(one.task for one in found) == {"train": 10 * 4 * 5, "test": 10 * 4}
    assert len({one.name for one in found}) == 240
    assert all(one.path.suffix == ".bdf" and one.path.name == f"{one.name}_eeg.bdf" for one in found)
    assert len(study.recordings("04")) == 24  # its session 04 has but one rest run
    assert study.expected_counts("04") == {"train": 66840, "test": 16224}


@REAL
def test_order_is_session_task_run():
    names = [one.name for one in load().recordings("01")]
    assert names == sorted(names)
    assert names[:2] == ["sub-01_ses-01_task-test", "sub-01_ses-01_task-train_run-01"]


@REAL
def test_downloads_are_what_the_recordings_need():
    study = load(subjects=["01", "04"], sessions=["04"], runs=["02", "05"])
    units = study.downloads()
    assert set(units) == {
        *("dataset", "stimuli-LICENSE--txt", "stimuli-test_images", "stimuli-training_images"),
        *(
            f"sub-{subject}_ses-04{recording}"
            for subject in ("01", "04")
            for recording in ("", "_task-test", "_task-train_run-02", "_task-train_run-05")
        ),
    }
    names = [entry.path.rpartition("run-02_")[2] for entry in units["sub-04_ses-04_task-train_run-02"]]
    assert names == ["channels.tsv", "eeg.bdf", "eeg.json", "events.json", "events.tsv"]
    assert study.expected_counts("01") == {"train": 2 * 3342, "test": 4056}
    for subject in ("01", "04"):
        assert {Path(path).stem for path in study.files(subject)} <= set(units)
    assert study.files("01")[0] == "results/downloads/things-eeg2/sub-01_ses-04.json"


@REAL
def test_all_is_downloaded_but_rest_and_the_authors_epochs():
    units = load().downloads()
    assert not [unit for unit in units if "rest" in unit or "derivatives" in unit]
    paths = [entry.path for files in units.values() for entry in files]
    assert len(paths) == len(set(paths))
    assert sum(path.endswith(".bdf") for path in paths) == 240
    listed = {entry.path for entry in manifests.read(MANIFEST)}
    assert {path for path in listed - set(paths) if "rest" not in path and "derivatives" not in path} == {
        "stimuli/image_metadata.npy",
        "stimuli/stimuli.json",
    }


@REAL
def test_authors_epochs_instead_of_recordings():
    study = load(source="preprocessed", subjects=["03"])
    assert study.files("03") == ["results/downloads/things-eeg2/derivatives-preprocessed_eeg-sub-03.json"]
    assert not [unit for unit in study.downloads() if unit.startswith("sub-")]
    assert study.expected_counts("03") is None
    with pytest.raises(InputError, match=r"studies\.things\.sessions: the authors' epochs .* all sessions"):
        load(source="preprocessed", sessions=["01"]).files("03")


@REAL
def test_two_studies_share_one_download():
    plain, other = load(), contract.load("other", load(sessions=["01"]).block.model_dump(mode="json"), "results")
    assert set(other.files("01")) == {path for path in plain.files("01") if "ses-01" in path}
    assert other.stimulus_files() == plain.stimulus_files() == ["results/raw/things-eeg2/stimuli/stimuli.tsv"]
    assert plain.label_files() == [str(INDEX)]
    assert plain.description_files() == ["results/downloads/things-eeg2/dataset.json"]
    assert [Path(path).stem for path in plain.archive_files()] == [
        "stimuli-training_images",
        "stimuli-test_images",
        "stimuli-LICENSE--txt",
    ]


@REAL
@pytest.mark.parametrize(
    ("changes", "setting", "hint"),
    [
        ({"subjects": ["1"]}, "studies.things.subjects: '1'", "did you mean '01'?"),
        ({"subjects": ["11"]}, "studies.things.subjects: '11'", "labels of 01, 02"),
        ({"sessions": ["5"]}, "studies.things.sessions: '5'", "labels of 01, 02, 03, 04"),
        ({"sessions": ["ses-01"]}, "studies.things.sessions: 'ses-01'", "did you mean '01'?"),
        ({"runs": ["01", "06"]}, "studies.things.runs: '06'", "labels of 01, 02, 03, 04, 05"),
    ],
)
def test_unknown_labels_are_refused(changes, setting, hint):
    with pytest.raises(InputError) as error:
        load(**changes).recordings("01")
    assert setting in str(error.value)
    assert hint in str(error.value)


@REAL
def test_unknown_subject_is_refused():
    with pytest.raises(InputError, match=r"no subject '1'.*did you mean '01'"):
        load().recordings("1")


@REAL
@pytest.mark.parametrize(
    ("lost", "ask", "message"),
    [
        ("sub-02_ses-03_task-train_run-04_eeg.bdf", "downloads", "no recording sub-02_ses-03_task-train_run-04"),
        ("stimuli/test_images.zip", "archive_files", "does not list stimuli/test_images.zip"),
        ("dataset_description.json", "downloads", "does not list dataset_description.json"),
    ],
)
def test_incomplete_manifest_is_refused(tmp_path, lost, ask, message):
    path = tmp_path / "manifest.csv"
    path.write_text("".join(line for line in MANIFEST.read_text().splitlines(True) if f"{lost}," not in line))
    with pytest.raises(InputError, match=message) as error:
        getattr(load(manifest=str(path)), ask)()
    assert str(path) in str(error.value)


@REAL
def test_responses_need_no_pictures(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("".join(line for line in MANIFEST.read_text().splitlines(True) if "stimuli" not in line))
    study = load(manifest=str(path))
    assert len(study.downloads()) == 1 + 10 * 4 * (1 + 6)
    assert len(study.stimulus_table()) == 16740


# ------------------------------------------------------------------------------------------------ index


@REAL
def test_stimulus_table_follows_the_index():
    table = load().stimulus_table()
    assert len(table) == 16740
    assert table["stimulus_id"].is_unique
    assert table["stimulus_id"].iloc[[0, 16539, 16540, -1]].to_list() == [
        *("train-00001", "train-16540", "test-00001", "test-00200"),
    ]
    concepts = {split: set(rows["concept"]) for split, rows in table.groupby("split")}
    assert (len(concepts["train"]), len(concepts["test"])) == (1654, 200)
    assert not concepts["train"] & concepts["test"]
    assert table["image"].iloc[0] == "results/raw/things-eeg2/stimuli/training_images/00001_aardvark/aardvark_01b.jpg"
    assert table["prompts"].iloc[16540] == ["a photo of a aircraft carrier"]
    assert table.loc[table["concept"] == "bat1", "prompts"].iloc[0] == ["a photo of a bat"]


@REAL
def test_reading_labels_is_fast():
    """It happens in every job that makes responses."""
    began = time.process_time()
    load().stimulus_table()
    assert time.process_time() - began < 2


@REAL
def test_unpacked_paths_are_taken(tmp_path):
    study = load(tmp_path)
    rows = things_index.stimulus_rows(study.index)
    rows.loc[5000, "image"] = "training_images/00501_x/another_name.jpg"
    table = Path(study.stimulus_files()[0])
    table.parent.mkdir(parents=True)
    record = table.with_name(file_records.NAME)
    rows.to_csv(table, sep="\t", index=False)
    file_records.write(record, study.dataset, [table])
    assert study.stimulus_table()["image"][5000] == str(table.parent / "training_images/00501_x/another_name.jpg")
    rows.iloc[1:].to_csv(table, sep="\t", index=False)
    with pytest.raises(InputError, match=rf"{table}: \d+ bytes, expected \d+ .*delete {record}"):
        study.stimulus_table()
    file_records.write(record, study.dataset, [table])
    with pytest.raises(InputError, match=r"unpacked with another index"):
        study.stimulus_table()


INDEX_HEADER = "tot_img_number,split,concept_folder,file_name,file_name_source,n_presentations\n"


def index_text(n_train: int = 2, n_test: int = 2) -> str:
    """An index of a few concepts."""
    rows = [
        f"{10 * folder + file + 1},train,{folder + 1:05d}_thing{folder},thing{folder}_{file:02d}s.jpg,inferred,4"
        for folder in range(n_train)
        for file in range(10)
    ]
    rows += [
        f"{number},test,{number:05d}_other{number},other{number}_01b.jpg,listed,80" for number in range(1, n_test + 1)
    ]
    return INDEX_HEADER + "\n".join(rows) + "\n"


def test_order_of_rows_in_the_index_does_not_matter(tmp_path):
    lines = index_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join(lines))
    (tmp_path / "two.csv").write_text("\ufeff" + "\n".join([lines[0], *lines[:0:-1]]))
    one, two = (things_index.read_index(tmp_path / name) for name in ("one.csv", "two.csv"))
    pd.testing.assert_frame_equal(one, two)
    assert one["listed"].to_list() == [False] * 20 + [True] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("concept_folder", "folder", "no column concept_folder"),
        ("3,train", "2,train", "each number from 1 on exactly once"),
        ("20,train,00002_thing1", "20,train,00001_thing0", "expected a file of folder 00002_"),
        ("20,train,00002_thing1", "20,train,00002_thingy", "expected a file of folder 00002_"),
        ("thing1_05s.jpg", "../thing1_05s.jpg", "expected a file of folder 00002_"),
        ("00002_other2", "00002/other2", "expected names such as 00001_aardvark"),
        (",test,", ",validation,", "0 test rows"),
        ("2,test,00002", "2,both,00002", "expected train or test"),
    ],
)
def test_wrong_index_is_refused(tmp_path, old, new, message):
    path = tmp_path / "index.csv"
    assert old in index_text()
    path.write_text(index_text().replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        things_index.read_index(path)
    assert str(path) in str(error.value)


def test_absent_or_empty_index_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        things_index.read_index(tmp_path / "index.csv")
    (tmp_path / "index.csv").write_text("")
    with pytest.raises(InputError, match="not a table"):
        things_index.read_index(tmp_path / "index.csv")


# ------------------------------------------------------------------------------------------------ trials


@REAL
@pytest.mark.parametrize(("subject", "session"), [("01", "01"), ("04", "04")])
def test_known_answers(there, subject, session):
    """Counts of every recording and of the session as the dataset's own tables give them."""
    known = json.loads((THINGS / "known_answers.json").read_text())["recordings"]
    table = there.stimulus_table()
    shown: dict[str, Counter] = {"train": Counter(), "test": Counter()}
    for one in there.recordings(subject):
        if one.session != session:
            continue
        trials, answer = there.trials(one), known[one.name]
        assert len(trials) == answer["trial_type"]["image"]
        assert trials["stimulus"].nunique() == answer["distinct_images"]
        histogram = Counter(trials["stimulus"].value_counts())
        assert {str(times): count for times, count in histogram.items()} == answer["repetitions"]
        assert (trials["split"] == one.task).all()
        assert set(table.loc[table["stimulus_id"].isin(trials["stimulus"]), "split"]) == {one.task}
        assert answer["first_onset"] <= trials["onset"].iloc[0] < trials["onset"].iloc[-1] <= answer["last_onset"]
        shown[one.task].update(trials["stimulus"])
    histograms = {
        "01": {"train": {2: 8100, 3: 170}, "test": {20: 144, 21: 56}},
        "04": {"train": {2: 8102, 3: 166, 4: 2}, "test": {20: 144, 21: 56}},
    }
    assert {task: dict(Counter(counts.values())) for task, counts in shown.items()} == histograms[subject]


@REAL
def test_first_and_last_onset_are_those_of_the_table(there, originals):
    """The known onsets are of all events; the first and the last picture follow from the table itself."""
    for key, text in originals.items():
        rows = [line.split("\t") for line in text.splitlines()[1:]]
        onsets = [float(row[0]) for row in rows if row[4] == "image"]
        trials = there.trials(recording(there, *key))
        np.testing.assert_allclose(trials["onset"], onsets, rtol=0, atol=1e-12)
        numbers = [int(row[5]) for row in rows if row[4] == "image"]
        assert trials["stimulus"].tolist() == [f"{key[2]}-{number:05d}" for number in numbers]


@REAL
def test_a_byte_order_mark_is_passed_over(there, originals):
    one = recording(there, *ONE)
    expected = there.trials(one)
    rewrite(there, ONE, "\ufeff" + originals[ONE])
    try:
        pd.testing.assert_frame_equal(there.trials(one), expected)
    finally:
        rewrite(there, ONE, originals[ONE])


@REAL
@pytest.mark.parametrize("size", [0, 1_000_000])
def test_wrong_size_of_the_signal_is_refused(there, size):
    one = recording(there, "01", "01", "train", "05")
    whole = one.path.stat().st_size
    try:
        os.truncate(one.path, size)
        assert f"{size} bytes, expected {whole}" in refused(there, one)
        one.path.unlink()
        assert "no such file" in refused(there, one)
    finally:
        one.path.write_bytes(bytes(whole))


@REAL
def test_a_sidecar_that_no_download_brought_is_refused(there):
    """It would be read as it belongs to the recording, and no record would say so."""
    stray = there.root / "task-test_eeg.json"
    stray.write_text("{}")
    try:
        with pytest.raises(InputError, match=r"task-test_eeg\.json: not listed in .*remove the file"):
            there.trials(recording(there, "01", "01", "test", None))
    finally:
        stray.unlink()


@REAL
def test_absent_events_are_refused(there):
    one = recording(there, "01", "02", "test", None)
    one.path.parent.mkdir(parents=True, exist_ok=True)
    for entry in there.units[one.name]:
        (there.root / entry.path).write_bytes(bytes(SIGNAL))
    one.events.unlink()
    with pytest.raises(InputError, match=rf"{one.name}\.json: not a record of files .*start snakemake again"):
        there.trials(one)
    download_records.write(there, one.name)
    assert "no such file" in refused(there, one)


@REAL
@pytest.mark.parametrize("name", things_eeg2.NEEDED)
def test_absent_column_is_refused(there, spoil, name):
    assert f"no column {name!r}" in refused(there, spoil(lambda table: table.drop(columns=name)))


@REAL
@pytest.mark.parametrize(("key", "expected"), [(ONE, "3342 and 18"), (TEST, "4056 and 24")])
def test_missing_event_is_refused(there, spoil, key, expected):
    text = refused(there, spoil(lambda table: table.drop(index=100), key))
    assert f"expected {expected}" in text
    assert "image and" in text


@REAL
@limits(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 3359), again=st.integers(0, 3359))
def test_any_event_less_or_more_is_refused(there, spoil, row, again):
    assert "3342 and 18" in refused(there, spoil(lambda table: table.drop(index=row)))
    assert "3342 and 18" in refused(there, spoil(lambda table: pd.concat([table, table.iloc[[again]]])))


@REAL
def test_unknown_trial_type_is_refused(there, spoil):
    def change(table):
        table.loc[7, "trial_type"] = "images"
        return table

    assert "trial_type 'images' (did you mean 'image'?) in 1 of 3360" in refused(there, spoil(change))


@REAL
@limits(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=st.tuples(st.integers(0, 3359), st.integers(0, 3359)), key=st.sampled_from([ONE, TEST]))
def test_exchanged_labels_are_refused(there, spoil, pair, key):
    """Two labels of different concepts are exchanged; pictures of one concept cannot be told by it."""
    exchanged = {}

    def change(table):
        first, second = (table["tot_img_number"][row] for row in pair)
        table.loc[pair[0], "tot_img_number"], table.loc[pair[1], "tot_img_number"] = second, first
        exchanged.update(same=table["category_name"][pair[0]] == table["category_name"][pair[1]])
        exchanged["target"] = "n/a" in (first, second)
        return table

    one = spoil(change, key)
    if exchanged["same"]:
        there.trials(one)
    elif exchanged["target"]:
        assert "tot_img_number of event" in refused(there, one)
    else:
        assert "labels and concepts disagree in 2 of" in refused(there, one)


@REAL
def test_trigger_value_is_no_label(there, spoil):
    def change(table):
        table["tot_img_number"] = table["value"]
        return table

    text = refused(there, spoil(change))
    assert "labels and concepts disagree in 33" in text
    assert "a trigger that cycles from 1 to 99 and is not a label" in text


@REAL
@pytest.mark.parametrize("value", ["n/a", "0", "16541", "12.5", "many", "-3", "inf"])
def test_label_out_of_range_is_refused(there, spoil, value):
    def change(table):
        table.loc[3, "tot_img_number"] = value
        return table

    text = refused(there, spoil(change))
    assert f"tot_img_number of event 4 is {value!r}" in text
    assert f"from 1 to 16540, the train pictures of {INDEX}" in text


@REAL
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("category_name", "00001_aardvark", "category_name is '00001_aardvark'"),
        ("category_name", "n/a", "category_name is 'n/a'"),
        ("img_category", "7", "img_category of event 6 is '7'"),
        ("img_category", "n/a", "img_category of event 6 is 'n/a'"),
    ],
)
def test_inconsistent_concept_is_refused(there, spoil, column, value, message):
    def change(table):
        table.loc[5, column] = value
        return table

    assert message in refused(there, spoil(change))


@REAL
@pytest.mark.parametrize("sample", [True, False])
def test_onsets_in_milliseconds_are_refused(there, spoil, sample):
    def change(table):
        table["onset"] = [f"{1000 * float(onset):.0f}" for onset in table["onset"]]
        return table if sample else table.drop(columns="sample")

    text = refused(there, spoil(change))
    assert "in milliseconds or samples; expected seconds" in text


@REAL
@limits(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shift=st.integers(-500, 500))
def test_shifted_samples_are_refused(there, spoil, shift):
    def change(table):
        table["sample"] = [str(int(sample) + shift) for sample in table["sample"]]
        return table

    one = spoil(change)
    if shift == 0:
        there.trials(one)
    else:
        assert "onset and sample disagree in 3360 of 3360 events" in refused(there, one)


@REAL
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("n/a", "onset of event 11 is 'n/a'; expected seconds"),
        ("-1", "onset of event 11 is '-1'; expected seconds"),
        ("inf", "onset of event 11 is 'inf'; expected seconds"),
        ("3.5", "onset of event 11 is '3.5', after"),
    ],
)
def test_bad_onset_is_refused(there, spoil, value, message):
    def change(table):
        table.loc[10, "onset"] = value
        return table

    assert message in refused(there, spoil(change))


@REAL
def test_missing_sample_is_refused(there, spoil):
    def change(table):
        table.loc[10, "sample"] = "n/a"
        return table

    assert "onset and sample disagree in 1 of 3360 events: in event 11" in refused(there, spoil(change))


@REAL
def test_samples_are_not_needed(there, spoil):
    one = recording(there, *ONE)
    expected = there.trials(one)
    pd.testing.assert_frame_equal(there.trials(spoil(lambda table: table.drop(columns="sample"))), expected)
