"""A BIDS dataset from a manifest: what is planned before it is there, what is fetched, and every refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import download_records
import published_bids as published
import pytest
from bids_fixtures import study_settings, write_tsv
from PIL import Image

from brain2clip import settings
from brain2clip.readers import bids_manifest, contract, known_datasets, manifests
from brain2clip.readers.attempts import Attempts
from brain2clip.readers.manifests import Entry
from brain2clip.stage import InputError
from brain2clip.studies import bids

ROOT = Path(__file__).resolve().parents[2]
RUN = "sub-01_task-see_run-0{}_eeg"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    root = published.write(tmp_path_factory.mktemp("mirror") / published.ACCESSION)
    for name in published.PICTURES:
        (root / "stimuli").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (10, 20, 30)).save(root / f"stimuli/{name}.png")
    return root


@pytest.fixture(scope="module")
def manifest(mirror, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return published.publish(mirror, folder / "clone", folder / f"{published.ACCESSION}.csv.gz")


def load(results: Path, manifest: Path | str, **changes: object) -> bids.Fetched:
    given = {**study_settings(results), "root": None, "manifest": str(manifest), **changes}
    return contract.load("mine", {key: value for key, value in given.items() if value is not None}, results)


def put(study: bids.Fetched, mirror: Path, *units: str) -> None:
    """Download some units (none named: all) from the mirror."""
    for unit in units or study.downloads():
        for entry in study.units[unit]:
            target = study.root / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(mirror / entry.path, target)
    download_records.write(study, *(units or study.downloads()))


# ------------------------------------------------------------------------------------------------ planning


def test_what_is_fetched_is_told_by_the_manifest_alone(tmp_path, manifest):
    study = load(tmp_path, manifest)
    assert isinstance(study, bids.Study)
    assert study.dataset == published.ACCESSION
    assert study.subjects() == ("01", "02")
    assert study.subject_units("01") == ["sub-01", *(RUN.format(run) for run in (1, 2))]
    assert list(study.downloads()) == ["dataset", *study.subject_units("01"), *study.subject_units("02")]
    wanted = {entry.path for files in study.downloads().values() for entry in files}
    assert not [path for path in wanted if "rest" in path or "nii" in path or "stimuli" in path]
    assert {"task-see_eeg.json", "dataset_description.json", "sub-01/sub-01_scans.tsv"} <= wanted
    assert study.files("01") == [study.record(unit) for unit in ("dataset", *study.subject_units("01"))]
    assert study.description_files() == [study.record("dataset")]
    assert study.root == tmp_path / "raw" / published.ACCESSION
    assert not study.root.exists()
    assert load(tmp_path, manifest, tasks=["rest"]).subject_units("02") == ["sub-02", "sub-02_task-rest_run-01_eeg"]
    assert load(tmp_path, manifest, subjects=["02"]).subjects() == ("02",)


def test_with_a_folder_nothing_is_downloaded(tmp_path, mirror):
    study = contract.load("mine", study_settings(mirror), tmp_path)
    assert type(study) is bids.Study
    assert not hasattr(study, "downloads")


def test_a_kind_made_of_this_one_that_reads_folders_refuses_a_manifest(tmp_path, manifest):
    class Mine(bids.Study):
        pass

    given = {**study_settings(tmp_path), "manifest": str(manifest)}
    del given["root"]
    with pytest.raises(InputError, match=r"studies\.mine\.manifest: Mine cannot download"):
        Mine("mine", given, tmp_path)


@pytest.mark.parametrize("given", [{"root": "a", "manifest": "ds000117"}, {"root": None}])
def test_either_a_folder_or_a_manifest(given):
    block = {**study_settings(Path("a")), **given}
    with pytest.raises(ValueError, match=r"give either root \(a folder\) or manifest"):
        settings.parse(settings.BidsStudy, block)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subjects": ["1"]}, r"'1' is not in .*ds000999\.csv\.gz \(did you mean '01'\?\)"),
        (
            {"tasks": ["sea"]},
            r"2 of 2 subjects have no EEG recording that the settings ask for \(tasks sea; tasks found: rest, see",
        ),
        (
            {"datatype": "meg"},
            r"lists no MEG recording .*\(setting studies\.\w+\.manifest\); found \d+ of EEG; set .*datatype: eeg",
        ),
        ({"extension": ".edf"}, "have no EEG recording that the settings ask for"),
        ({"entities": {"acq": "x"}}, "have no EEG recording that the settings ask for"),
    ],
)
def test_what_the_manifest_does_not_have_is_refused(tmp_path, manifest, changes, words):
    with pytest.raises(InputError, match=words):
        load(tmp_path, manifest, **changes).subjects()


def test_a_task_of_no_recording_is_told_before_anything_is_there(tmp_path, manifest):
    study = load(tmp_path, manifest, tasks=["see", "sea"])
    with pytest.raises(InputError, match=r"tasks: no recording of .* has the label 'sea' \(did you mean 'see'\?\)"):
        study.files("01")
    study = load(tmp_path, manifest, split={"by": "run", "test": ["03"]})
    with pytest.raises(InputError, match=r"split\.test: no recording of .* has the label '03'"):
        study.files("01")
    told = Attempts()
    assert study.look_around(told) == ()
    assert told.count == 1
    assert study.absent() == ["01", "02"]


def test_a_subject_without_the_task_is_named(tmp_path, manifest):
    entries = [one for one in manifests.read(manifest) if "sub-02_task-see" not in one.path]
    manifests.write(tmp_path / "x.csv", entries)
    with pytest.raises(InputError, match=r"1 of 2 subjects have no EEG .*: 02\n  name the others: .*\['01'\]"):
        load(tmp_path, tmp_path / "x.csv").subjects()
    assert load(tmp_path, tmp_path / "x.csv", subjects=["01"]).subjects() == ("01",)
    assert load(tmp_path, tmp_path / "x.csv", subjects=["01"]).dataset == "x"


# ------------------------------------------------------------------------------------------------- reading


def test_nothing_is_read_before_it_is_fetched(tmp_path, manifest, mirror):
    study = load(tmp_path, manifest)
    with pytest.raises(InputError, match="is missing; run snakemake, which fetches it"):
        study.recordings("01")
    put(study, mirror)
    found = study.recordings("01")
    assert [one.run for one in found] == ["01", "02"]
    assert study.look_around(Attempts()) == ("01", "02")
    assert study.absent() == []
    trials = study.trials(found[0])
    assert list(trials["stimulus"]) == list(published.NAMES) * (published.TRIALS // 2)
    assert set(trials["split"]) == {"train"}
    assert set(study.trials(found[1])["split"]) == {"test"}


def test_a_subject_alone_can_be_looked_at(tmp_path, manifest, mirror):
    study = load(tmp_path, manifest, keep={"trial_type": ["face", "house", "moon"]})
    put(study, mirror, "dataset", *study.subject_units("01"))
    assert study.look_around(Attempts()) == ("01",)
    assert study.absent() == ["02"]
    study.trials(study.recordings("01")[0])  # sub-02 may still have a moon
    put(study, mirror)
    with pytest.raises(InputError, match="no event of sub-01 has 'moon'"):
        load(tmp_path, manifest, keep={"trial_type": ["face", "house", "moon"]}).trials(study.recordings("01")[0])


def test_a_file_that_changed_or_went_or_came_is_refused(tmp_path, manifest, mirror):
    study = load(tmp_path, manifest)
    put(study, mirror)
    (first, _) = study.recordings("01")
    signal = first.path.with_suffix(".eeg")
    published.other_byte(signal)
    with pytest.raises(InputError, match=r"_eeg\.eeg: its content does not match .*run-01_eeg\.json"):
        load(tmp_path, manifest).trials(first)
    signal.unlink()
    with pytest.raises(InputError, match=r"_eeg\.eeg is missing; delete .*run-01_eeg\.json and run snakemake"):
        load(tmp_path, manifest).recordings("01")
    put(study, mirror)
    shutil.copy(first.events, first.path.parent / "task-see_channels.tsv")
    (first.path.parent / "sub-01_task-see_run-01_channels.tsv").rename(first.path.parent / "moved")
    with pytest.raises(InputError, match="is missing"):
        load(tmp_path, manifest).recordings("01")


def test_a_file_of_another_manifest_is_refused(tmp_path, manifest, mirror):
    study = load(tmp_path, manifest)
    put(study, mirror)
    for path in (study.root / "sub-01/eeg").glob("*run-01*"):
        shutil.copy(path, path.with_name(path.name.replace("run-01", "run-07")))
    with pytest.raises(InputError, match=r"run-07_eeg\.vhdr: not listed in .*ds000999\.csv\.gz"):
        study.recordings("01")


# ------------------------------------------------------------------------------------------------ pictures


def pictures(folder: Path, results: Path) -> Path:
    """A table of pictures that come with the dataset."""
    images = [f"../{results.name}/raw/{published.ACCESSION}/stimuli/{name}.png" for name in published.PICTURES]
    concepts = [name[:3] for name in published.PICTURES]
    folder.mkdir(exist_ok=True)
    return write_tsv(folder / "pictures.tsv", {"stimulus_id": published.PICTURES, "concept": concepts, "image": images})


def test_pictures_that_come_with_the_dataset_are_fetched(tmp_path, manifest, mirror):
    results = tmp_path / "results"
    table = pictures(tmp_path / "tables", results)
    study = load(results, manifest, stimuli=str(table), categories=None, stimulus="picture")
    assert study.split_from_events
    assert study.catalogue_digest() is None  # what they say on the split is known when they are there
    assert "stimuli_files" in study.downloads()
    assert len(study.units["stimuli_files"]) == len(published.PICTURES)
    expected = [str(table), study.record("stimuli_files"), *study.files("01"), *study.subject_units("02")]
    assert [Path(path).name for path in study.stimulus_files()] == [
        *(Path(path).name for path in expected[: 2 + len(study.files("01"))]),
        *(f"{unit}.json" for unit in study.subject_units("02")),
    ]
    told = Attempts()
    study.look_around(told)
    study.stimuli.check_listed(told)
    assert told.count == 0  # they are still to come
    put(study, mirror)
    found = study.stimulus_table()
    assert list(found["split"]) == ["train", "train", "test", "test"]
    published.other_byte(study.root / "stimuli/cat-1.png")
    with pytest.raises(InputError, match=r"cat-1\.png: its content does not match"):
        load(results, manifest, stimuli=str(table), categories=None, stimulus="picture").stimulus_table()


def test_a_written_split_is_known_before_anything_is_there(tmp_path, manifest):
    images = []
    for name in published.PICTURES:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        images.append(f"{name}.png")
    columns = {"stimulus_id": published.PICTURES, "concept": [name[:3] for name in published.PICTURES]}
    table = write_tsv(tmp_path / "p.tsv", {**columns, "image": images, "split": ["train", "train", "test", "test"]})
    study = load(tmp_path, manifest, stimuli=str(table), categories=None, stimulus="picture")
    assert study.catalogue_digest() is not None
    assert study.stimulus_files() == [str(table)]
    assert study.label_digest() is not None


def test_a_picture_that_the_manifest_lacks_is_refused(tmp_path, manifest):
    results = tmp_path / "results"
    table = pictures(tmp_path / "tables", results)
    table.write_text(table.read_text().replace("cat-1.png", "cat-9.png"))
    study = load(results, manifest, stimuli=str(table), categories=None, stimulus="picture")
    with pytest.raises(InputError, match=r"does not list stimuli/cat-9\.png"):
        study.downloads()


# -------------------------------------------------------------------------------------------- by accession


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder to work in that has the shipped manifests."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/manifests").symlink_to(ROOT / "workflow/manifests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_accession_names_a_manifest(here, manifest):
    assert manifests.find("ds004212", "x") == Path("workflow/manifests/things-meg.csv.gz")
    assert manifests.find("some/path.csv", "x") == Path("some/path.csv")
    with pytest.raises(InputError, match=r"studies\.mine\.manifest: no manifest of ds000999 is shipped") as error:
        load(here, "ds000999").subjects()
    assert "\n  brain2clip manifest ds000999\n" in str(error.value)
    (here / "manifests").mkdir()
    shutil.copy(manifest, here / "manifests/ds000999.csv.gz")
    study = load(here, "ds000999")
    assert study.subjects() == ("01", "02")
    assert study.dataset == "ds000999"
    manifests.write(here / "manifests/ds000999.csv", study.entries.values())
    with pytest.raises(InputError, match=r"ds000999\.csv\.gz and .*ds000999\.csv are both manifests of ds000999"):
        load(here, "ds000999").subjects()
    with pytest.raises(InputError, match=r"'ds99' is not an accession; expected .* six digits"):
        load(here, "ds99").subjects()
    with pytest.raises(InputError, match="'DS000999' is not an accession; expected two letters in lower case"):
        load(here, "DS000999").subjects()


def test_every_shipped_manifest_is_found_by_its_accession(here):
    rows = (ROOT / "workflow/manifests/datasets.tsv").read_text().splitlines()[1:]
    assert len(rows) >= 4
    for row in rows:
        accession, _, file, _ = row.split("\t")
        entries = manifests.read(manifests.find(accession, "x"))
        assert any(f"/{accession}/" in entry.url for entry in entries), file


def test_other_kinds_take_an_accession_as_well(here):
    study = contract.load("mine", {"kind": "things_eeg2", "manifest": "nm000232", "subjects": ["01"]}, here)
    assert study.subjects() == ("01",)
    assert len(study.downloads()) > 20


def test_things_meg_is_planned_as_any_dataset(here):
    """480 runs in folders, of which each is a unit with its sidecars."""
    study = load(here, "ds004212", tasks=["main"], datatype="meg", extension=".ds")
    assert study.subjects() == ("BIGMEG1", "BIGMEG2", "BIGMEG3", "BIGMEG4")
    assert len(study.subject_units("BIGMEG4")) == 120
    files = study.units["sub-BIGMEG1_ses-01_task-main_run-01_meg"]
    assert len(files) == 7
    assert sum(entry.size or 0 for unit in study.downloads().values() for entry in unit) == 250100778339


# --------------------------------------------------------------------------------------------------- names


def test_places_and_units_of_files():
    meg = "sub-01/ses-02/meg/sub-01_ses-02_task-a_run-1_meg.ds/BadChannels"
    assert bids_manifest.unit_of(meg) == "sub-01_ses-02_task-a_run-1_meg"
    assert manifests.unit_of(meg) == "sub-01_ses-02_task-a_run-1"
    assert bids_manifest.unit_of("sub-01/sub-01_scans.tsv") == "sub-01"
    assert bids_manifest.unit_of("sub-01/eeg/sub-01_electrodes.tsv") == "sub-01_eeg"
    assert bids_manifest.unit_of("README") == "dataset"
    assert bids_manifest.unit_of("sub-01/old eeg/x_eeg.edf") == "sub-01_oldeeg"
    assert bids_manifest.unit_of("stimuli/a/b.png") == bids_manifest.unit_of("stimuli/c.png") == "stimuli_files"
    paths = [
        *(meg, "sub-01/meg/sub-01_task-b_meg/config", "sub-02/meg/sub-02_task-a_meg.fif"),
        *("sub-02/meg/sub-02_acq-crosstalk_meg.fif", "sub-emptyroom/meg/sub-emptyroom_task-a_meg.fif"),
        *("sub-02/meg/sub-02_task-a_meg.json", "sub-02/eeg/sub-02_task-a_eeg.edf"),
    ]
    assert [one.name for one in bids_manifest.recordings(paths, "meg")] == [
        *("sub-01_ses-02_task-a_run-1_meg.ds", "sub-01_task-b_meg", "sub-02_task-a_meg.fif")
    ]


def test_sidecars_of_all_runs_come_with_a_recording(tmp_path):
    paths = [
        *(f"sub-01/ses-{one}/eeg/sub-01_ses-{one}_task-a_run-1_eeg.edf" for one in "12"),
        *(f"sub-01/ses-{one}/eeg/sub-01_ses-{one}_task-a_events.tsv" for one in "12"),
        *(f"sub-01/ses-{one}/eeg/sub-01_ses-{one}_electrodes.tsv" for one in "12"),
        *(f"sub-01/ses-{one}/sub-01_ses-{one}_scans.tsv" for one in "12"),
        "sub-01/ses-1/eeg/sub-01_ses-1_task-b_run-1_eeg.edf",
        "sub-01/ses-1/func/sub-01_ses-1_task-a_run-1_bold.nii.gz",
    ]
    manifests.write(tmp_path / "x.csv", [Entry(path, 1, "md5", "0" * 32, "file:///x") for path in paths])
    study = load(tmp_path, tmp_path / "x.csv", tasks=["a"], entities={"ses": "1"})
    assert study.subject_units("01") == [
        *("sub-01_ses-1", "sub-01_ses-1_eeg", "sub-01_ses-1_task-a_eeg", "sub-01_ses-1_task-a_run-1_eeg")
    ]


def test_a_subject_whose_label_names_no_download_is_refused(tmp_path):
    """BIDS allows + in labels; a study that is planned without the recording would fail only when all else is there."""
    path = "sub-{0}/eeg/sub-{0}_task-see_eeg.edf"
    entries = [Entry(path.format(one), 1, "md5", "0" * 32, "file:///x") for one in ("a", "a+b")]
    manifests.write(tmp_path / "x.csv", entries)
    study = load(tmp_path, tmp_path / "x.csv")
    assert study.subject_units("a") == ["sub-a_task-see_eeg"]
    with pytest.raises(InputError, match=r"x\.csv: files of sub-a\+b cannot be downloaded.*studies\.mine\.root"):
        study.downloads()


# --------------------------------------------------------------------------------------------------- traps


def test_alljoined_is_refused_by_name(tmp_path, here, manifest, mirror):
    words = "not those of the training"
    for name in ("nm000134.csv", "other.csv"):
        address = "https://nemar.s3.us-east-2.amazonaws.com/nm000134/objects/x"
        entries = [Entry(one.path, one.size, one.algorithm, one.hash, address) for one in manifests.read(manifest)]
        manifests.write(tmp_path / name, entries)
        with pytest.raises(InputError, match=words):
            load(tmp_path, tmp_path / name).subjects()
    for number, text in enumerate(({"Name": "Alljoined-1.6M"}, {"Name": "x", "DatasetDOI": "10.82901/nemar.nm000134"})):
        root = Path(shutil.copytree(mirror, tmp_path / f"copy-{number}"))
        (root / "dataset_description.json").write_text(json.dumps(text))
        with pytest.raises(InputError, match=r"studies\.mine\.root \(.*sub-20 ses-01 is a rehearsal"):
            contract.load("mine", study_settings(root), tmp_path).subjects()
    known_datasets.check_folder(mirror, "x")
