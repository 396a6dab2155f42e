"""THINGS-EEG1: unit of the onsets, labels, sides of the split and every refusal.

Whole tables are made up in the layouts of the dataset, with the real concepts; the first 300 rows of two real tables
lie beside the repository. Signals are files of holes. The download algorithm ``size`` is tested here, too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import download_records
import numpy as np
import pandas as pd
import pytest
import yaml
from loopback import Loopback, page
from pydantic import ValidationError

from brain2clip import artefact, settings, stage
from brain2clip.downloads import download
from brain2clip.readers import bids_files, contract, manifests
from brain2clip.settings import canonical, parse
from brain2clip.stage import InputError
from brain2clip.studies import things_eeg1
from brain2clip.studies.things_eeg1 import Events

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "workflow/manifests/things-eeg1.csv"
CONCEPTS = ROOT / "workflow/manifests/things-eeg2-images.csv"
NAME = "things"
SUBJECTS = ("01", "02", "03", "06", "49")
SIGNAL = 1000  # bytes of a made-up signal file
NAMES = list(things_eeg1.read_concepts(CONCEPTS, "test"))
OF_TEST = [name for name, split in things_eeg1.read_concepts(CONCEPTS, "test").items() if split == "test"]

FULL = (
    *("onset", "duration", "eventnumber", "blocksequencenumber", "isteststim", "object", "objectnumber"),
    *("presentationnumber", "sequencenumber", "stim", "stimnumber", "teststimnumber", "withinsequencenumber"),
    *("istarget", "stimname", "response", "rt", "correct", "time_stimon", "time_stimoff", "stimdur"),
)
FIRST = (
    *("onset", "duration", "eventnumber", "objectnumber", "object", "sequencenumber", "presentationnumber"),
    *("blocksequencenumber", "withinsequencenumber", "stimnumber", "stim", "istarget", "stimname", "response", "rt"),
    *("correct", "time_stimon", "time_stimoff", "stimdur"),
)
STOPPED = FULL[: FULL.index("istarget") + 1]
LAYOUTS = {"01": FIRST, "06": STOPPED}


# ---------------------------------------------------------------------------------------------- made-up tables


def made_up(
    subject: str = "02",
    unit: str = "s",
    sample: bool = False,
    soa: float = 0.1,
    interruption: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """All events of a subject as text, in the columns that this subject has."""
    random = np.random.default_rng([seed, int(subject)])
    block = np.random.default_rng(7).choice(len(NAMES), things_eeg1.TEST_PICTURES, replace=False)  # the same for all
    rows, tests = things_eeg1.INCOMPLETE.get(subject, things_eeg1.COMPLETE)
    picture = random.permutation(len(NAMES) * 12)[:rows]
    concept, number = picture // 12, picture % 12 + 1
    place = np.concatenate([random.permutation(200) for _ in range(tests // 200)]) if tests else np.empty(0, int)
    is_test = np.arange(rows + tests) >= rows
    names = np.array(NAMES, dtype=object)[np.concatenate([concept, block[place]])]
    numbers = np.concatenate([number, np.full(tests, 13)])
    letters = np.where(numbers == 1, "b", "s")
    files = [f"{name}_{count:02d}{letter}.jpg" for name, count, letter in zip(names, numbers, letters)]
    sequence = np.where(is_test, rows // 309 + (np.arange(rows + tests) - rows) // 200, np.arange(rows + tests) // 309)
    onset = np.round(10.724 + soa * np.arange(rows + tests) + 5 * sequence, 3)
    clock = onset + 50.8 + random.uniform(0, 2e-5, len(onset)) + np.where(onset > onset.mean(), 97.0 * interruption, 0)
    written = np.round(onset * 1000).astype(int) if unit == "ms" else onset
    columns = {
        "onset": written,
        "duration": 50,
        "eventnumber": np.arange(rows + tests),
        "blocksequencenumber": np.where(is_test, -1, 0),
        "isteststim": is_test.astype(int),
        "object": np.where(is_test, "-1", names),
        "objectnumber": np.where(is_test, -1, np.concatenate([concept, block[place]])),
        "presentationnumber": np.where(is_test, (np.arange(rows + tests) - rows) % 200, np.arange(rows + tests) % 309),
        "sequencenumber": sequence,
        "stim": [f"stimuli\\{name}\\{file}" for name, file in zip(names, files)],
        "stimnumber": np.where(is_test, -1, numbers - 1),
        "teststimnumber": np.concatenate([np.full(rows, -1), place]),
        "withinsequencenumber": -1,
        "istarget": (random.random(rows + tests) < 0.02).astype(int),
        "stimname": files,
        "response": 0,
        "rt": 0.0,
        "correct": 0,
        "time_stimon": clock,
        "time_stimoff": clock + 0.05,
        "stimdur": 0.04998,
    }
    table = pd.DataFrame({name: columns[name] for name in LAYOUTS.get(subject, FULL)})
    if sample:
        table["sample"] = np.round(onset * 1000).astype(int)
    return table.astype(str)


def write(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(table), *("\t".join(row) for row in zip(*(table[name] for name in table)))]
    path.write_text("\n".join(lines) + "\n")


def manifest(folder: Path) -> Path:
    """A manifest of five subjects with small signals."""
    url = "https://example.org"
    entries = [manifests.Entry("README", None, "git-sha1", "0" * 40, f"{url}/README")]
    for subject in SUBJECTS:
        stem = f"sub-{subject}/eeg/sub-{subject}_task-rsvp"
        for ending in ("eeg.eeg", "eeg.vhdr", "eeg.vmrk"):
            entries.append(manifests.Entry(f"{stem}_{ending}", SIGNAL, "md5", "0" * 32, f"{url}/{stem}_{ending}"))
        entries.append(manifests.Entry(f"{stem}_events.tsv", 7, "size", "", f"{url}/{stem}_events.tsv"))
    path = folder / "manifest.csv"
    path.write_text(manifests.text(entries))
    return path


def load(folder: Path, **changes: object) -> things_eeg1.Study:
    given = {"kind": "things_eeg1", "manifest": str(folder / "manifest.csv"), "test_concepts": str(CONCEPTS), **changes}
    study = contract.load(NAME, given, str(folder / "results"))
    assert isinstance(study, things_eeg1.Study)
    return study


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    """A table in each layout."""
    return {
        "01": made_up("01", unit="ms"),
        "02": made_up("02", unit="ms"),
        "03": made_up("03", sample=True),
        "06": made_up("06", sample=True),
        "49": made_up("49", sample=True),
    }


@pytest.fixture(scope="module")
def there(tmp_path_factory, tables) -> Path:
    """Folder of a dataset with all made-up tables."""
    folder = tmp_path_factory.mktemp("eeg1")
    manifest(folder)
    study = load(folder)
    for subject in SUBJECTS:
        (one,) = study.recordings(subject)
        write(tables[subject], one.events)
        for ending in (".eeg", ".vhdr", ".vmrk"):
            with one.path.with_suffix(ending).open("wb") as file:
                file.truncate(SIGNAL)
    download_records.write(load(folder, subjects=list(SUBJECTS)))
    return folder


@pytest.fixture
def spoil(there, tables):
    """Trials of a subject from a table that was changed; it is put right again after the test."""
    changed = {}

    def trials(change, subject="02", **settings_):
        study = load(there, **settings_)
        (one,) = study.recordings(subject)
        changed.setdefault(one.events, one.events.read_bytes())
        write(change(tables[subject].copy()), one.events)
        download_records.write(study, *study.subject_units(subject))
        return study.trials(one)

    yield trials
    for path, content in changed.items():
        path.write_bytes(content)
    download_records.write(load(there, subjects=list(SUBJECTS)))


def events(table: pd.DataFrame, subject: str = "02") -> Events:
    columns = {name: table[name].tolist() for name in table}
    return Events(Path("events.tsv"), columns, "record.json", subject)


def shown(table: pd.DataFrame, rows: pd.Series) -> list[str]:
    """Concepts of chosen rows by the path of the picture."""
    return table.loc[rows, "stim"].str.split("\\").str[1].tolist()


# ------------------------------------------------------------------------------------------------ files


def test_import_is_light():
    code = (
        "import sys, brain2clip.studies.things_eeg1; print(sorted({'mne','torch','pandas','PIL'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_kept_manifest():
    entries = manifests.read(MANIFEST)
    assert MANIFEST.read_text() == manifests.text(entries)
    found = manifests.units(entries)
    assert set(found) == {"dataset", *(f"sub-{number:02d}_task-rsvp" for number in range(1, 51))}
    endings = ["eeg.eeg", "eeg.vhdr", "eeg.vmrk", "events.tsv"]
    for name, files in found.items():
        if name != "dataset":
            more = ["eeg.json"] if name[4:6] in things_eeg1.LARGE_CAPS else []
            assert [file.path.rpartition("/")[2].removeprefix(f"{name}_") for file in files] == sorted(endings + more)
    by_algorithm = pd.Series([entry.algorithm for entry in entries]).value_counts()
    assert by_algorithm.to_dict() == {"md5": 150, "size": 31, "git-sha1": 24}
    events_tables = {entry.path for entry in entries if entry.algorithm == "size"}
    assert all(path.endswith("_events.tsv") for path in events_tables)
    pinned = [entry for entry in entries if entry.algorithm != "size"]
    assert all("?versionId=" in entry.url for entry in pinned)


def test_subjects_and_downloads():
    study = contract.load(NAME, {"kind": "things_eeg1", "manifest": str(MANIFEST)}, "results")
    assert len(study.subjects()) == 46
    assert not things_eeg1.EXCLUDED & set(study.subjects())
    assert len(study.downloads()) == 47
    assert study.files("02") == ["results/downloads/things-eeg1/sub-02_task-rsvp.json"]
    assert study.description_files() == ["results/downloads/things-eeg1/dataset.json"]
    (one,) = study.recordings("18")  # excluded from all, but there by name
    assert (one.session, one.run, one.task, one.name) == (None, None, "rsvp", "sub-18_task-rsvp")
    assert str(one.path) == "results/raw/things-eeg1/sub-18/eeg/sub-18_task-rsvp_eeg.vhdr"
    assert str(one.events) == "results/raw/things-eeg1/sub-18/eeg/sub-18_task-rsvp_events.tsv"


def test_subjects_by_name(there):
    assert load(there).subjects() == ("02", "03", "49")
    assert load(there, subjects=["06", "02", "01"]).subjects() == ("01", "02", "06")
    assert set(load(there, subjects=["03"]).downloads()) == {"dataset", "sub-03_task-rsvp"}
    with pytest.raises(InputError, match=r"studies\.things\.subjects: '2' is not in .*did you mean '02'"):
        load(there, subjects=["2"]).subjects()
    with pytest.raises(ValidationError, match=r"at least 1 item"):
        load(there, subjects=[])
    with pytest.raises(InputError, match=r"no subject '07'"):
        load(there).recordings("07")


def test_inputs_of_rules(there):
    study = load(there, subjects=["02", "03"])
    assert not study.split_from_events
    assert study.stimulus_files() == study.label_files() == [str(CONCEPTS)]
    records = [study.record(f"sub-{subject}_task-rsvp") for subject in ("02", "03")]
    for changes in ({"pictures": "somewhere"}, {"test": "block"}):
        study = load(there, subjects=["02", "03"], **changes)
        assert study.split_from_events
        assert study.stimulus_files() == [str(CONCEPTS), *records]
        assert study.label_files() == [str(CONCEPTS)]


def test_example_configuration_is_valid():
    text = (ROOT / "workflow/studies/things-eeg1.yaml").read_text()
    config = settings.load(yaml.safe_load(text), "workflow/studies/things-eeg1.yaml")
    study = config.studies["things-eeg1"]
    assert isinstance(study, settings.ThingsEeg1Study)
    assert study.subjects == ("02", "03")
    assert set(load(MANIFEST.parent, manifest=str(MANIFEST), subjects=study.subjects).downloads()) == {
        *("dataset", "sub-02_task-rsvp", "sub-03_task-rsvp")
    }


# ------------------------------------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("subject", "options"),
    [
        ("02", {"unit": "ms"}),
        ("02", {"unit": "s"}),
        ("02", {"unit": "ms", "sample": True}),
        ("02", {"unit": "s", "sample": True}),
        ("01", {"unit": "ms"}),
        ("01", {"unit": "s", "sample": True}),
        ("06", {"unit": "ms"}),  # without a clock to compare with
        ("06", {"unit": "s", "sample": True}),
        ("39", {"unit": "ms", "soa": 0.0937}),
        ("39", {"unit": "s", "soa": 0.0937, "sample": True}),
        ("36", {"unit": "ms", "interruption": True}),
        ("38", {"unit": "s", "soa": 0.0937, "interruption": True}),
    ],
)
def test_unit_is_recognised(subject, options):
    table = made_up(subject, **options)
    expected = made_up(subject, **{**options, "unit": "s"})["onset"].astype(float)
    np.testing.assert_allclose(events(table, subject).onsets(), expected, atol=1e-9)


@pytest.mark.parametrize("clock", [True, False])
@pytest.mark.parametrize("factor", [500.0, 2.0, 60.0, 1e6, 0.01])
def test_other_units_are_refused(tables, clock, factor):
    table = tables["03"].drop(columns=["sample"] if clock else ["sample", "time_stimon"])
    table["onset"] = [str(float(value) * factor) for value in table["onset"]]
    with pytest.raises(InputError, match="in seconds or milliseconds") as error:
        events(table).onsets()
    assert f"onsets are {0.1 * factor:g} apart" in str(error.value)
    if clock:
        assert f"their ratio is {factor:.4g}" in str(error.value)
        assert "time_stimon 0.1" in str(error.value)


def test_a_clock_in_milliseconds_does_not_make_milliseconds_seconds(tables):
    table = tables["02"].copy()
    table["time_stimon"] = [str(float(value) * 1000) for value in table["time_stimon"]]
    with pytest.raises(InputError, match="their ratio is 1,"):
        events(table).onsets()


def test_a_clock_without_values_is_none(tables):
    table = tables["03"].assign(time_stimon="n/a")
    assert events(table).onsets()[0] == 10.724


def test_onsets_must_be_times_in_order(tables):
    broken = tables["02"].copy()
    broken.loc[7, "onset"] = "n/a"
    with pytest.raises(InputError, match="onset of event 8 is 'n/a'"):
        events(broken).onsets()
    mixed = tables["02"].copy()  # some rows in seconds among milliseconds
    mixed.loc[500:600, "onset"] = [str(int(value) / 1000) for value in mixed.loc[500:600, "onset"]]
    with pytest.raises(InputError, match=r"onset of event 501 is .*expected events in time order"):
        events(mixed).onsets()


@pytest.mark.parametrize(("shift", "ok"), [(2, True), (-2, True), (3, False), (-1000, False)])
def test_sample_numbers_must_agree(tables, shift, ok):
    table = tables["03"].copy()
    table["sample"] = [str(int(value) + shift) for value in table["sample"]]
    if ok:
        assert len(events(table).onsets()) == len(table)
        return
    with pytest.raises(InputError, match=f"onset and sample disagree in {len(table)} of {len(table)} events"):
        events(table).onsets()


def test_one_sample_number_that_is_none(tables):
    table = tables["03"].copy()
    table.loc[3, "sample"] = "n/a"
    with pytest.raises(InputError, match="disagree in 1 of"):
        events(table).onsets()


# ------------------------------------------------------------------------------------------- the real tables


@pytest.mark.parametrize(
    ("subject", "first", "last", "targets"), [("01", 10.724, 40.625, 6), ("02", 38.306, 68.207, 5)]
)
def test_real_rows(shared_data, subject, first, last, targets):
    path = shared_data("things-eeg1") / f"bids/sub-{subject}/eeg/sub-{subject}_task-rsvp_events.tsv"
    real = Events(path, bids_files.read_tsv(path), "record.json", subject)
    real.check_columns()
    onsets = real.onsets()
    np.testing.assert_allclose(onsets[[0, -1]], [first, last])
    assert real.flags("istarget").sum() == targets
    pictures = real.shown()
    assert not pictures["is_test"].any()
    real.check_concepts(pictures, NAMES, "table")
    real.check_main(pictures, NAMES)
    start = {"01": ("carousel", "carousel_11s.jpg"), "02": ("volleyball", "volleyball_08s.jpg")}[subject]
    assert tuple(pictures.loc[0, ["concept", "file"]]) == start
    with pytest.raises(InputError, match="300 main and 0 test rows; expected 22248 and"):
        real.check_rows(pictures, NAMES)


def test_real_rows_in_seconds(shared_data):
    path = shared_data("things-eeg1") / "bids/sub-02/eeg/sub-02_task-rsvp_events.tsv"
    table = bids_files.read_tsv(path)
    samples = table["onset"]
    table["onset"] = [f"{int(value) / 1000:g}" for value in samples]
    newer = Events(path, {**table, "sample": samples}, "record.json", "02")
    np.testing.assert_allclose(newer.onsets(), np.array(samples, float) / 1000)


# ------------------------------------------------------------------------------------------------ trials


@pytest.mark.parametrize("subject", SUBJECTS)
def test_concepts_as_test(there, tables, subject):
    study = load(there, targets="keep")
    (one,) = study.recordings(subject)
    trials, table = study.trials(one), tables[subject]
    main = table["isteststim"] == "0" if "isteststim" in table else pd.Series(True, index=table.index)
    concepts = shown(table, main)
    stimuli = study.stimulus_table()
    assert trials["stimulus"].tolist() == trials["concept"].tolist() == concepts
    assert trials["split"].tolist() == ["test" if concept in OF_TEST else "train" for concept in concepts]
    side = dict(zip(stimuli["stimulus_id"], stimuli["split"]))
    assert trials["stimulus"].map(side).equals(trials["split"])
    unit = 1 if "sample" in table else 1000
    np.testing.assert_allclose(trials["onset"], table.loc[main, "onset"].astype(float) / unit)
    assert trials["onset"].is_monotonic_increasing
    expected = study.expected_counts(subject)
    if subject == "06":
        assert expected is None
    else:
        assert expected == trials["split"].value_counts().to_dict() == {"train": 1654 * 12, "test": 200 * 12}


def test_targets_are_dropped(there, tables):
    study, kept = load(there), load(there, targets="keep")
    (one,) = study.recordings("02")
    dropped = study.trials(one)
    targets = tables["02"]["istarget"] == "1"
    main = tables["02"]["isteststim"] == "0"
    assert len(dropped) == (main & ~targets).sum() < len(kept.trials(one)) == 22248
    onsets = tables["02"].loc[targets, "onset"].astype(float) / 1000
    assert not np.isin(dropped["onset"], onsets).any()
    assert study.expected_counts("02") is None


def test_block_as_test(there, tables):
    study = load(there, test="block", targets="keep", subjects=["02", "03"])
    (one,) = study.recordings("02")
    trials, table, stimuli = study.trials(one), tables["02"], study.stimulus_table()
    concepts = trials["concept"]
    is_test = table["isteststim"] == "1"
    block = set(shown(table, is_test))
    assert len(block) == 200
    assert block != set(OF_TEST)
    assert concepts[trials["split"] == "test"].tolist() == shown(table, is_test)
    assert not block & set(concepts[trials["split"] == "train"])
    assert set(stimuli.loc[stimuli["split"] == "test", "concept"]) == block
    assert study.expected_counts("02") == trials["split"].value_counts().to_dict() == {"train": 19848, "test": 2400}


@pytest.mark.parametrize("subject", ["01", "06"])
def test_no_test_block_is_said(there, subject):
    words = f"sub-{subject} has no test block, which test: block needs"
    with pytest.raises(InputError, match=words):
        load(there, test="block", subjects=["02", subject]).subjects()
    study = load(there, test="block")
    assert subject not in study.subjects()
    with pytest.raises(InputError, match=words):
        study.trials(study.recordings(subject)[0])


def test_large_caps_are_told(there, caplog):
    study = load(there)
    with caplog.at_level(logging.WARNING):
        study.trials(study.recordings("02")[0])
        assert not caplog.records
        study.trials(study.recordings("49")[0])
    assert "128 channels" in caplog.text
    assert "studies.things.responses.channels" in caplog.text


# ------------------------------------------------------------------------------------------------ stimuli


def test_text_prompts(there):
    table = load(there).stimulus_table()
    assert list(table) == ["stimulus_id", "split", "concept", "image", "captions", "prompts"]
    assert len(table) == 1854
    assert table["stimulus_id"].is_unique
    assert table["stimulus_id"].tolist() == sorted(table["stimulus_id"])
    assert table["split"].value_counts().to_dict() == {"train": 1654, "test": 200}
    assert (table["image"] == "").all()
    by_name = table.set_index("stimulus_id")["prompts"]
    assert by_name["camera2"] == ["a photo of a camera"]
    assert by_name["hot-air_balloon"] == ["a photo of a hot-air balloon"]


def test_no_download_is_needed_for_text_prompts(tmp_path):
    manifest(tmp_path)
    assert len(load(tmp_path).stimulus_table()) == 1854


@pytest.fixture(scope="module")
def pictures(there, tables) -> Path:
    """Empty files under the names of all pictures."""
    folder = there / "pictures"
    for path in pd.concat([tables["02"]["stim"], tables["03"]["stim"]]).unique():
        file = folder / Path(*path.split("\\")[1:])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


@pytest.mark.parametrize("test", ["concepts", "block"])
def test_pictures(there, tables, pictures, test):
    study = load(there, pictures=str(pictures), test=test, subjects=["02", "03"], targets="keep")
    stimuli = study.stimulus_table()
    assert stimuli["stimulus_id"].is_unique
    assert stimuli["stimulus_id"].is_monotonic_increasing
    block = set(shown(tables["02"], tables["02"]["isteststim"] == "1"))
    of_test = set(OF_TEST) if test == "concepts" else block
    counts = stimuli["split"].value_counts().to_dict()
    assert counts == {"train": 1654 * 12, "test": 200 * 12 if test == "concepts" else 200}
    assert set(stimuli.loc[stimuli["split"] == "test", "concept"]) == of_test
    assert not of_test & set(stimuli.loc[stimuli["split"] == "train", "concept"])
    row = stimuli.iloc[0]
    assert row["image"] == str(pictures / "aardvark" / f"{row['stimulus_id']}.jpg")
    assert row["prompts"] == ["a photo of a aardvark"]
    (one,) = study.recordings("03")
    trials = study.trials(one)
    by_onset = tables["03"].set_index(tables["03"]["onset"].astype(float))
    stems = by_onset.loc[trials["onset"], "stimname"].str.removesuffix(".jpg")
    assert trials["stimulus"].tolist() == stems.tolist()
    side = dict(zip(stimuli["stimulus_id"], stimuli["split"]))
    assert trials["stimulus"].map(side).equals(trials["split"])
    assert study.expected_counts("03") == trials["split"].value_counts().to_dict()


def test_missing_pictures_are_counted(there, pictures):
    study = load(there, pictures=str(pictures), subjects=["02"])
    gone = pictures / "aardvark" / "aardvark_02s.jpg"
    gone.rename(gone.with_suffix(".kept"))
    try:
        with pytest.raises(InputError, match=rf"1 of 22248 pictures are not there, the first is {gone}"):
            study.stimulus_table()
    finally:
        gone.with_suffix(".kept").rename(gone)
    with pytest.raises(InputError, match="22248 of 22248 pictures are not there"):
        load(there, pictures="nowhere", subjects=["02"]).stimulus_table()


def test_a_picture_in_two_folders_is_refused(spoil, there, pictures):
    def change(table):
        table.loc[0, ["object", "objectnumber", "stim"]] = "abacus", "1", r"stimuli\abacus\aardvark_02s.jpg"
        return table

    given = {"pictures": str(pictures), "subjects": ["02", "03"], "targets": "keep"}
    spoil(change, **given)
    with pytest.raises(InputError, match=r"aardvark/aardvark_02s\.jpg \(train\) and abacus/aardvark_02s\.jpg"):
        load(there, **given).stimulus_table()


def test_trials_of_a_subject_need_no_other(tables, there, pictures):
    """Stages of responses are not told the wanted subjects; labels are in a subject's own events."""
    for test in ("concepts", "block"):
        told = load(there, pictures=str(pictures), test=test, subjects=["02", "03"])
        alone = contract.load("things", told.block.for_responses(), told.results)
        (one,) = told.recordings("02")
        pd.testing.assert_frame_equal(alone.trials(one), told.trials(one))


# ------------------------------------------------------------------------------------------------ refusals


def cell(name: str, value: str, row: int = 10):
    def change(table):
        table.loc[row, name] = value
        return table

    return change


def swapped_objects(table):
    table.loc[[3, 4], ["object", "objectnumber"]] = table.loc[[4, 3], ["object", "objectnumber"]].to_numpy()
    return table


def swapped_pictures_of_the_block(table):
    last = len(table) - 1
    table.loc[last, ["stim", "teststimnumber"]] = table.loc[last - 1, ["stim", "teststimnumber"]].to_numpy()
    return table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop(columns="isteststim"), "no column 'isteststim'"),
        (lambda table: table.rename(columns={"stim": "stimulus"}), "no column 'stim' (did you mean"),
        (lambda table: table.iloc[:-1], "22248 main and 2399 test rows; expected 22248 and 2400 for sub-02"),
        (lambda table: table.drop(index=5), "22247 main and 2400 test rows"),
        (lambda table: table.iloc[:1], "1 events; expected"),
        (lambda table: table.iloc[:12360], "12360 main and 0 test rows"),
        (cell("isteststim", "1"), "22247 main and 2401 test rows"),
        (cell("isteststim", "n/a"), "isteststim of event 11 is 'n/a' (and 0 more); expected 0 or 1"),
        (cell("istarget", "2"), "istarget of event 11 is '2'"),
        (cell("stim", "stimuli/aardvark.jpg"), "stim of event 11 is 'stimuli/aardvark.jpg'"),
        (cell("stim", r"stimuli\..\..\x.jpg"), "stim of event 11"),
        (cell("stim", r"stimuli\aardwark\aardwark_01b.jpg"), "concepts that are not in"),
        (swapped_objects, "object and stim disagree in 2 of 22248 main rows: object of event 4"),
        (cell("objectnumber", "-1"), "objectnumber of event 11 is '-1'"),
        (swapped_pictures_of_the_block, "times; expected 12"),
        (cell("teststimnumber", "3", 24000), "pairs of picture and teststimnumber"),
        (cell("onset", "-1"), "onset of event 11 is '-1'"),
    ],
)
def test_wrong_tables(spoil, change, words):
    with pytest.raises(InputError, match=re.escape(words)) as error:
        spoil(change)
    assert "sub-02_task-rsvp_events.tsv" in str(error.value)
    assert "delete" in str(error.value)
    assert "sub-02_task-rsvp.json" in str(error.value)


def test_an_unknown_concept_has_a_suggestion(spoil):
    with pytest.raises(InputError, match=r"1 events show 1 concepts .*: aardwark.*did you mean 'aardvark'"):
        spoil(cell("stim", r"stimuli\aardwark\aardwark_01b.jpg"))


def test_a_picture_that_comes_twice(spoil):
    def change(table):
        same = ["stim", "object", "objectnumber"]
        table.loc[9, same] = table.loc[8, same].to_numpy()
        return table

    with pytest.raises(InputError, match="1 main pictures occur again, first stim of event 10"):
        spoil(change)


def test_lost_rows_of_other_subjects(spoil):
    with pytest.raises(InputError, match="22247 main and 0 test rows; expected 22248 and 0 for sub-01"):
        spoil(lambda table: table.iloc[:-1], "01")
    with pytest.raises(InputError, match="12359 main and 0 test rows; expected 12360 and 0 for sub-06"):
        spoil(lambda table: table.iloc[1:], "06")


def test_signals_of_the_listed_size(there):
    study = load(there)
    (one,) = study.recordings("03")
    signal = one.path.with_suffix(".eeg")
    signal.write_bytes(b"cut")
    try:
        with pytest.raises(InputError, match=r"sub-03_task-rsvp_eeg\.eeg: 3 bytes, expected 1000"):
            study.trials(one)
        signal.unlink()
        with pytest.raises(InputError, match=r"sub-03_task-rsvp_eeg\.eeg: no such file"):
            study.trials(one)
    finally:
        with signal.open("wb") as file:
            file.truncate(SIGNAL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("concept_folder", "folder"), "no column 'concept_folder'"),
        (lambda text: text.replace(",test,", ",train,"), "expected the 1854 concepts of THINGS, each either"),
        (lambda text: text.replace("1,test,", "1,Test,", 1), "expected the 1854 concepts"),
        (lambda text: text.replace("00001_aardvark", "00001_abacus"), "1853 concepts"),
        (lambda text: text.replace("2,train,00001", "2,test,00001"), "each either train or test"),
    ],
)
def test_wrong_tables_of_concepts(tmp_path, change, words):
    path = tmp_path / "concepts.csv"
    path.write_text(change(CONCEPTS.read_text()))
    manifest(tmp_path)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        load(tmp_path, test_concepts=str(path)).stimulus_table()
    assert str(path) in str(error.value)
    assert "studies.things.test_concepts" in str(error.value)


def test_no_table_of_concepts(tmp_path):
    manifest(tmp_path)
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        load(tmp_path, test_concepts=str(tmp_path / "none.csv")).stimulus_table()


def test_concepts_without_numbers(tmp_path):
    plain = tmp_path / "plain.csv"
    rows = [f"{split},{name}" for name, split in things_eeg1.read_concepts(CONCEPTS, "x").items()]
    plain.write_text("\n".join(["split,concept_folder", *rows]) + "\n")
    assert things_eeg1.read_concepts(plain, "x") == things_eeg1.read_concepts(CONCEPTS, "x")


# --------------------------------------------------------------------------------------- with the stage epochs


@pytest.mark.parametrize("subject", ["02", "03"])
def test_the_stage_epochs_takes_the_trials(there, subject):
    from brain2clip.responses import checks, epochs

    study = load(there, targets="keep")
    trials = epochs.all_trials(study, study.recordings(subject))
    assert set(trials["session"]) == {"n/a"}
    checks.check_trials(study, subject, trials)
    kept, surplus = epochs.without_surplus(trials, settings.Responses())
    assert len(kept) == len(trials)
    assert surplus == {"train": {"n/a": 0}, "test": {"n/a": 0}}


def recorded(seconds: float, sfreq: float = 100.0):
    import mne

    info = mne.create_info(["Oz"], sfreq, "eeg")
    return mne.io.RawArray(np.zeros((1, round(seconds * sfreq))), info, verbose="ERROR")


def test_onsets_lie_in_the_recording_in_seconds_only(there, tables):
    from brain2clip.responses import epoching

    study = load(there)
    (one,) = study.recordings("02")
    onsets = study.trials(one)["onset"].to_numpy()
    raw = recorded(3000)
    epoching.check_onsets(raw, onsets, one.events)
    assert epoching.complete(raw, onsets, settings.Responses(tmin=-0.1, tmax=0.6)).all()
    written = tables["02"]["onset"].to_numpy(float)
    with pytest.raises(InputError, match="onset looks like milliseconds"):
        epoching.check_onsets(raw, written, one.events)


def test_other_studies_refuse_the_same_table(there):
    from brain2clip.responses import epoching

    study = contract.load(
        "mine",
        {
            "kind": "bids",
            "root": str(there / "results/raw/things-eeg1"),
            "tasks": ["rsvp"],
            "stimulus": "isteststim",
            "keep": {"isteststim": ["0", "1"]},
            "split": {"by": "column", "column": "isteststim", "test": ["1"]},
            "categories": {"0": ["a main picture"], "1": ["a test picture"]},
        },
        "results",
    )
    for subject, refused in (("02", True), ("03", False)):  # milliseconds, seconds
        (one,) = study.recordings(subject)
        onsets = study.trials(one)["onset"].to_numpy()
        raw = recorded(3000)
        if refused:
            with pytest.raises(InputError, match=r"onset looks like milliseconds.*BIDS needs seconds"):
                epoching.check_onsets(raw, onsets, one.events)
        else:
            epoching.check_onsets(raw, onsets, one.events)


# ------------------------------------------------------------------------------------- the algorithm "size"


def entry_row(size: str, digest: str) -> str:
    return f"path,size_bytes,hash_algorithm,hash,url\na/events.tsv,{size},size,{digest},https://example.org/x\n"


def test_manifest_of_sizes(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(entry_row("12", ""))
    (entry,) = manifests.read(path)
    assert entry == manifests.Entry("a/events.tsv", 12, "size", "", "https://example.org/x")
    assert manifests.text([entry]) == path.read_text()


@pytest.mark.parametrize(
    ("size", "digest", "words"),
    [("", "", "no size_bytes of a/events.tsv"), ("12", "0" * 40, "expected 0 lower-case hexadecimal digits for size")],
)
def test_manifest_of_sizes_refuses(tmp_path, size, digest, words):
    path = tmp_path / "manifest.csv"
    path.write_text(entry_row(size, digest))
    with pytest.raises(InputError, match=rf"line 2: .*{words}"):
        manifests.read(path)


TSV = b"onset\tduration\n" * 20
FILE = "sub-01/eeg/sub-01_task-rsvp_events.tsv"


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Download the one file, given its size; returns the record's path."""
    (tmp_path / "source" / FILE).parent.mkdir(parents=True)
    (tmp_path / "source" / FILE).write_bytes(TSV)
    monkeypatch.setenv(download.VARIABLE, json.dumps({"retries": 0, "timeout_s": 20}))

    def run(url: str, size: int = len(TSV)) -> Path:
        file = {"path": FILE, "size": size, "algorithm": "size", "hash": "", "url": f"{url}/{FILE}"}
        values = {"dataset": "things-eeg1", "root": str(tmp_path / "raw"), "files": [file]}
        spec = canonical({"stage": "download", "format": artefact.FORMAT, "settings": values, "code": ""})
        record = tmp_path / "records/sub-01_task-rsvp.json"
        download.run(stage.parse(["--spec", spec, "--output", f"record={record}"]))
        return record

    return run


def test_download_by_size_warns(tmp_path, fetch, caplog):
    with Loopback(tmp_path / "source") as server, caplog.at_level(logging.WARNING):
        record = fetch(server.url)
        assert (tmp_path / "raw" / FILE).read_bytes() == TSV
        assert json.loads(record.read_text())["files"] == [
            {"path": FILE, "size": len(TSV), "algorithm": "sha256", "hash": hashlib.sha256(TSV).hexdigest()}
        ]
        assert "only its size was checked" in caplog.text
        fetch(server.url)
        assert server.count(FILE) == 1  # not again, because it is there with that size


def test_download_by_size_refuses_another_size(tmp_path, fetch):
    with Loopback(tmp_path / "source") as server, pytest.raises(InputError, match="received 300 bytes, expected 301"):
        fetch(server.url, len(TSV) + 1)
    assert not (tmp_path / "raw" / FILE).exists()


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>", b'{"error": "'])
def test_download_by_size_refuses_pages_of_that_size(tmp_path, fetch, body):
    content = body.ljust(len(TSV))
    with (
        Loopback(tmp_path / "source", {FILE: [page(content)]}) as server,
        pytest.raises(InputError, match=r"the server sent an? (HTML page|JSON message) instead"),
    ):
        fetch(server.url)
    assert not (tmp_path / "raw" / FILE).exists()
    (tmp_path / "raw" / FILE).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "raw" / FILE).write_bytes(content)  # left by something else
    with Loopback(tmp_path / "source") as server:
        fetch(server.url)
    assert (tmp_path / "raw" / FILE).read_bytes() == TSV


def test_settings_are_checked():
    with pytest.raises(ValueError, match="concepts"):
        parse(settings.ThingsEeg1Study, {"kind": "things_eeg1", "test": "pictures"})
