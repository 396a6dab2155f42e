"""Recordings by their names: entities, formats, parts, folders; read, or refused with the setting that chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
from bids_fixtures import NAME, noise, regular_events, study_settings, write_run, write_tsv
from pydantic import ValidationError

from brain2clip import settings
from brain2clip.readers import bids_files, contract
from brain2clip.readers.bids_files import Wanted
from brain2clip.stage import InputError

SEE = Wanted(("see",), study="studies.mine")


def touch(root: Path, *names: str) -> Path:
    """Empty recordings of sub-01, or files by their path."""
    for name in names:
        path = root / name if "/" in name else root / "sub-01" / "eeg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(root: Path, wanted: Wanted = SEE, subject: str = "01") -> list[str]:
    return [item.path.name for item in bids_files.find_recordings(root, subject, wanted)]


@pytest.mark.parametrize(
    ("files", "wanted", "read"),
    [
        # Acquisitions and derived files beside the raw ones.
        ("acq-raw acq-clean", {"entities": {"acq": "clean"}}, "acq-clean"),
        ("desc-clean run-01_desc-x run-01", {"entities": {"desc": None}}, "run-01"),
        ("acq-a_run-01 acq-b_run-02", {}, "acq-a_run-01 acq-b_run-02"),
        ("run-01 run-02 run-03", {"entities": {"run": "02"}}, "run-02"),
    ],
)
def test_entities_choose(tmp_path, files, wanted, read):
    touch(tmp_path, *(f"sub-01_task-see_{one}_eeg.edf" for one in files.split()))
    assert names(tmp_path, replace(SEE, **wanted)) == [f"sub-01_task-see_{one}_eeg.edf" for one in read.split()]


def test_upper_case_and_several_formats(tmp_path):
    touch(
        tmp_path, "sub-01_task-see_run-01_eeg.EDF", "sub-01_task-see_run-01_eeg.set", "sub-01_task-see_run-02_eeg.BDF"
    )
    with pytest.raises(InputError, match=r"2 formats; choose one by studies\.mine\.extension, e\.g\. extension: \.edf"):
        names(tmp_path)
    assert names(tmp_path, replace(SEE, extension=".edf")) == ["sub-01_task-see_run-01_eeg.EDF"]


REFUSED = [
    (
        ("acq-raw_eeg.edf", "acq-clean_eeg.edf"),
        {},
        r"choose one by studies\.mine\.entities: .*acq: clean\} or \{acq: raw",
    ),
    (("eeg.edf", "desc-clean_eeg.edf"), {}, r"differ in desc\n  .*\{desc: clean\} or \{desc: null\}"),
    (("eeg.edf",), {"entities": {"acq": "clean"}}, r"tasks see, acq clean\n  .*files found: sub-01_task-see_eeg\.edf"),
    (("eeg.edf",), {"extension": ".bdf"}, r"tasks see, format \.bdf\n"),
    (("eeg.gdf", "eeg.cnt", "eeg.json"), {}, r"formats that are not read: \.cnt, \.gdf, only \.vhdr, \.edf"),
    (("loud_eeg.edf",), {}, r"no BIDS name; expected a name such as sub-01_task-NAME_run-01_eeg\.edf"),
    (("run-01_run-02_eeg.edf",), {}, "no BIDS name"),
    (("split-01_eeg.edf", "split-02_eeg.edf"), {}, r"only FIF files can be .*join them"),
    (
        ("split-01_eeg.fif", "split-03_eeg.fif"),
        {},
        r"parts split-01, split-02 and so on without a gap: get the missing",
    ),
    (("split-02_eeg.fif",), {}, "without a gap"),
    (("eeg.fif", "split-01_eeg.fif"), {}, "remove what is there twice"),
]


@pytest.mark.parametrize(("files", "wanted", "message"), REFUSED)
def test_what_cannot_be_told_apart_or_read_is_refused(tmp_path, files, wanted, message):
    touch(tmp_path, *(f"sub-01_task-see_{name}" for name in files))
    with pytest.raises(InputError, match=message):
        names(tmp_path, replace(SEE, **wanted))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sub-01/ses-a/eeg/sub-01_task-see_eeg.edf", r"the name says no ses, the folder ses-a"),
        ("sub-01/eeg/sub-01_ses-a_task-see_eeg.edf", r"the name says ses-a, the folder no ses"),
        ("sub-01/eeg/sub-02_task-see_eeg.edf", r"the name says sub-02, the folder sub-01"),
        ("sub-01/eeg/sub-01_eeg.edf", "no task in the file name"),
        ("sub-01/meg/sub-01_task-see_meg.fif", "tasks found: none"),
    ],
)
def test_names_and_folders_must_agree(tmp_path, path, message):
    with pytest.raises(InputError, match=message):
        names(touch(tmp_path, path))


def test_a_label_is_read_whole(tmp_path):
    """What BIDS does not allow in a label makes no other task of it."""
    root = touch(tmp_path, "sub-01_task-see-left_eeg.edf", "sub-01_task-see-right_eeg.edf")
    with pytest.raises(InputError, match=r"no EEG recording of the tasks see\n  tasks found: see-left, see-right"):
        names(root)


def test_split_files_are_one_recording_whose_parts_are_all_read_and_tracked(tmp_path):
    """Parts by the entity ``split`` and by MNE's own numbers; sidecars of the whole belong to them."""
    folder = tmp_path / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    data = np.random.default_rng(0).normal(0, 1e-5, (60, 12_000))
    raw = mne.io.RawArray(data, mne.create_info(60, 250.0, "eeg"), verbose="ERROR")
    for run, naming in (("01", "bids"), ("02", "neuromag")):
        path = folder / f"sub-01_task-see_run-{run}_eeg.fif"
        raw.save(path, split_size="2MB", buffer_size_sec=1, split_naming=naming, verbose="ERROR")
    write_tsv(folder / "sub-01_task-see_events.tsv", {"onset": [1]})
    first, second = bids_files.find_recordings(tmp_path, "01", SEE)
    assert first.path.name == "sub-01_task-see_run-01_split-01_eeg.fif"
    assert second.path.name == "sub-01_task-see_run-02_eeg.fif"
    for item in (first, second):
        opened = mne.io.read_raw(item.path, verbose="ERROR")
        assert len(opened) == 12_000
        files = bids_files.data_files(item)
        assert set(opened.filenames) == set(files[:3])
        assert files[3:] == [folder / "sub-01_task-see_events.tsv"]


def test_a_format_that_mne_opens_in_lower_case_only_is_refused(tmp_path):
    header = write_run(tmp_path, noise(0, 1), regular_events(2))
    header.rename(header.with_suffix(".VHDR"))
    with pytest.raises(InputError, match=r"lower case only; rename it to sub-01_task-see_run-01_eeg\.vhdr"):
        names(tmp_path)


# --------------------------------------------------------------------------------------------- subjects


def load(root: Path, **changes):
    return contract.load(NAME, study_settings(root, **changes), "results")


def two_subjects(root: Path) -> Path:
    for subject in ("01", "02"):
        for run in ("01", "02"):
            touch(root, f"sub-{subject}/eeg/sub-{subject}_task-see_run-{run}_eeg.edf")
    write_tsv(root / "task-see_events.tsv", {"onset": [1]})
    return root


@pytest.mark.parametrize("folder", ["sub-01_old", "sub-01 copy", "sub-"])
def test_stray_folders_are_refused_and_naming_the_subjects_helps(tmp_path, folder):
    two_subjects(tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / "sub-03.txt").touch()
    with pytest.raises(InputError, match=rf"'{folder}' looks like the folder .*\n.*subjects: \['01', '02'\]"):
        load(tmp_path).subjects()
    assert load(tmp_path, subjects=["01", "02"]).subjects() == ("01", "02")


def test_subjects_without_such_a_recording_are_refused_all_at_once(tmp_path):
    two_subjects(tmp_path)
    touch(tmp_path, "sub-03/anat/sub-03_T1w.nii", "sub-04/eeg/sub-04_task-rest_eeg.edf")
    with pytest.raises(InputError, match=r"2 of 4 subjects have no EEG .*: 03, 04\n.*subjects: \['01', '02'\]"):
        load(tmp_path).subjects()
    assert load(tmp_path, subjects=["01", "02"]).subjects() == ("01", "02")


# ------------------------------------------------------------------------- names in settings that nothing has


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": {"by": "run", "test": ["02", "20"]}}, r"split\.test: .*'20'\n.*: 01, 02$"),
        ({"split": {"by": "run", "test": ["2"]}}, r"split\.test: .*'2' \(did you mean '02'\?\)"),
        ({"split": {"by": "run", "test": ["02", "n/a/01"]}}, r"split\.test: .*'n/a/01'"),
        (
            {"split": {"by": "run", "test": ["02"], "train": ["1", "01"]}},
            r"split\.train: .*'1' \(did you mean '01'\?\)",
        ),
        ({"split": {"by": "task", "test": ["seen"]}}, r"split\.test: .*'seen' \(did you mean 'see'\?\)"),
        ({"tasks": ["see", "sea"]}, r"tasks: .*'sea' \(did you mean 'see'\?\)"),
    ],
)
def test_labels_that_no_recording_has_are_refused_before_anything_runs(tmp_path, changes, message):
    study = load(two_subjects(tmp_path), **changes)
    with pytest.raises(InputError, match=rf"studies\.tiny\.{message}"):
        study.files("01")


def test_where_nothing_can_be_read_the_formats_are_told(tmp_path):
    with pytest.raises(InputError, match=r"formats that are not read: \.gdf"):
        load(touch(tmp_path, "sub-01_task-see_run-01_eeg.gdf")).files("01")


def test_a_label_of_another_subject_or_a_session_and_run_is_known(tmp_path):
    for path in ("sub-01/ses-a/eeg/sub-01_ses-a_task-see_run-01_eeg.edf", "sub-02/eeg/sub-02_task-see_run-05_eeg.edf"):
        touch(tmp_path, path)
    write_tsv(tmp_path / "task-see_events.tsv", {"onset": [1]})
    assert load(tmp_path, split={"by": "run", "test": ["05", "a/01"]}).files("01")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entities": {"task": "see"}}, "set tasks instead"),
        ({"entities": {"split": "01"}}, "all parts of a recording are read"),
        ({"entities": {"acq-clean": "x"}}, "is not a BIDS entity"),
    ],
)
def test_settings_that_say_nothing_are_refused(tmp_path, changes, message):
    with pytest.raises(ValidationError, match=message):
        settings.BidsStudy.model_validate(study_settings(tmp_path, **changes))
