"""Which sidecars belong to a recording, in datasets laid out as public ones are, and what is no sidecar to be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import bids_fixtures
import mne
import numpy as np
import pytest

from brain2clip.readers import bids_files
from brain2clip.readers.bids_files import Wanted
from brain2clip.responses import recording
from brain2clip.stage import InputError

SEE = Wanted(("see",))


def touch(root: Path, names: str) -> Path:
    """Empty files."""
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path, subject: str = "01", wanted: Wanted = SEE, run: int = 0) -> list[str]:
    """What is read for a recording, by path inside of the dataset."""
    item = bids_files.find_recordings(root, subject, wanted)[run]
    return [path.relative_to(root).as_posix() for path in bids_files.data_files(item)]


#: Layouts of public example datasets: files (those of the first subject come without ``sub-01/``), which sidecars
#: belong to its first recording.
LAYOUTS = {
    "everything of the task on top of the dataset": (
        "task-see_channels.tsv task-see_electrodes.tsv task-see_coordsystem.json task-see_eeg.json "
        "task-see_events.json "
        "sub-01/eeg/sub-01_task-see_eeg.edf sub-01/eeg/sub-01_task-see_events.tsv",
        "sub-01/eeg/sub-01_task-see_events.tsv task-see_channels.tsv task-see_electrodes.tsv task-see_coordsystem.json "
        "task-see_eeg.json",
    ),
    "one table of electrodes for all runs, without space": (
        "sub-01/eeg/sub-01_task-see_run-1_eeg.set sub-01/eeg/sub-01_task-see_run-1_events.tsv "
        "sub-01/eeg/sub-01_task-see_run-1_channels.tsv sub-01/eeg/sub-01_task-see_run-2_eeg.set "
        "sub-01/eeg/sub-01_task-see_run-2_events.tsv sub-01/eeg/sub-01_task-see_run-2_channels.tsv "
        "sub-01/eeg/sub-01_electrodes.tsv sub-01/eeg/sub-01_coordsystem.json task-see_eeg.json",
        "sub-01/eeg/sub-01_task-see_run-1_events.tsv sub-01/eeg/sub-01_task-see_run-1_channels.tsv "
        "sub-01/eeg/sub-01_electrodes.tsv sub-01/eeg/sub-01_coordsystem.json task-see_eeg.json",
    ),
    "sessions without runs, tables of the session": (
        "sub-01/ses-a/eeg/sub-01_ses-a_task-see_eeg.edf sub-01/ses-a/eeg/sub-01_ses-a_task-see_events.tsv "
        "sub-01/ses-a/sub-01_ses-a_channels.tsv sub-01/ses-b/eeg/sub-01_ses-b_task-see_eeg.edf "
        "sub-01/ses-a/eeg/sub-01_ses-a_space-CapTrak_electrodes.tsv "
        "sub-01/ses-a/eeg/sub-01_ses-a_space-CapTrak_coordsystem.json sub-01/ses-a/eeg/sub-01_ses-a_coordsystem.json",
        "sub-01/ses-a/eeg/sub-01_ses-a_task-see_events.tsv sub-01/ses-a/sub-01_ses-a_channels.tsv "
        "sub-01/ses-a/eeg/sub-01_ses-a_space-CapTrak_electrodes.tsv "
        "sub-01/ses-a/eeg/sub-01_ses-a_space-CapTrak_coordsystem.json",
    ),
    "tables of other tasks, runs, subjects, acquisitions and spaces": (
        "sub-01/eeg/sub-01_task-see_run-01_eeg.edf task-see_events.tsv task-hear_channels.tsv channels.tsv "
        "sub-01/sub-01_task-see_run-02_channels.tsv sub-01/sub-01_task-see_acq-eog_channels.tsv "
        "sub-02/eeg/sub-02_task-see_run-01_channels.tsv sub-01/eeg/sub-01_electrodes.tsv "
        "sub-01/eeg/sub-01_space-CapTrak_coordsystem.json",
        "task-see_events.tsv channels.tsv sub-01/eeg/sub-01_electrodes.tsv",
    ),
    "the nearest counts, of JSON all": (
        "sub-01/eeg/sub-01_task-see_acq-x_eeg.edf events.tsv sub-01/sub-01_task-see_events.tsv "
        "sub-01/sub-01_acq-x_channels.tsv channels.tsv eeg.json sub-01/eeg/sub-01_task-see_eeg.json "
        "coordsystem.json sub-01/sub-01_electrodes.tsv sub-01/eeg/sub-01_coordsystem.json",
        "sub-01/sub-01_task-see_events.tsv sub-01/sub-01_acq-x_channels.tsv sub-01/sub-01_electrodes.tsv "
        "coordsystem.json sub-01/eeg/sub-01_coordsystem.json eeg.json sub-01/eeg/sub-01_task-see_eeg.json",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sidecars_are_inherited(tmp_path, layout):
    files, wanted = LAYOUTS[layout]
    assert found(touch(tmp_path, files))[1:] == wanted.split()


def test_two_equally_near_are_refused(tmp_path):
    files = "sub-01/eeg/sub-01_task-see_run-1_eeg.edf events.tsv sub-01/sub-01_channels.tsv task-see_channels.tsv"
    root = touch(tmp_path, files)
    assert "sub-01/sub-01_channels.tsv" in found(root)
    touch(root, "sub-01/sub-01_task-see_channels.tsv")
    with pytest.raises(InputError, match=r"sub-01_channels\.tsv and sub-01_task-see_channels\.tsv both belong to"):
        found(root)


@pytest.mark.parametrize("acq", [None, "clean"])
def test_its_own_table_is_that_of_a_recording_beside_one_of_more(tmp_path, acq):
    """Each acquisition has its tables, and that without ``acq`` belongs to both by the entities of its name."""
    for name in ("sub-01_task-see_run-1", "sub-01_task-see_acq-clean_run-1", "sub-01_task-see"):
        touch(tmp_path, f"sub-01/eeg/{name}_eeg.edf sub-01/eeg/{name}_events.tsv sub-01/eeg/{name}_channels.tsv")
    read = found(tmp_path, wanted=replace(SEE, entities={"acq": acq, "run": "1"}))
    assert len({name.rpartition("_")[0] for name in read}) == 1
    assert len(read) == 3


def test_the_space_of_the_electrodes_is_chosen_by_a_setting(tmp_path):
    bare = "sub-01/eeg/sub-01_electrodes.tsv sub-01/eeg/sub-01_coordsystem.json"
    files = [bare.replace("sub-01_", f"sub-01_space-{space}_") for space in ("CapTrak", "EEGLAB")]
    root = touch(tmp_path, " ".join(["sub-01/eeg/sub-01_task-see_eeg.edf events.tsv", bare, *files]))
    with pytest.raises(InputError, match=r"both belong .*\n.*setting entities if they differ in .*space"):
        found(root)
    for space, wanted in (("EEGLAB", files[1]), (None, bare)):
        assert found(root, wanted=replace(SEE, entities={"space": space}))[2:] == wanted.split()
    with pytest.raises(InputError, match=r"no electrodes\.tsv of the space captrack \(did you mean 'CapTrak'\?\)"):
        found(root, wanted=replace(SEE, entities={"space": "captrack"}))


def test_a_recording_without_events_is_refused_before_anything_runs(tmp_path):
    root = touch(tmp_path, "sub-01/eeg/sub-01_task-see_eeg.edf task-hear_events.tsv")
    with pytest.raises(InputError, match=r"task-see_eeg\.edf: no events\.tsv beside it, nor one in a folder above"):
        found(root)


# ------------------------------------------------------------------------------------ there but not to be read


@pytest.mark.parametrize("name", ["sub-01_channels.tsv", "sub-01_task-see_eeg.edf", "sub-01_task-see_eeg.json"])
def test_a_broken_link_or_pointer_is_no_absent_file(tmp_path, name):
    files = "events.tsv sub-01/eeg/sub-01_task-see_eeg.edf sub-01/eeg/sub-01_channels.tsv channels.tsv eeg.json"
    path = touch(tmp_path, files) / "sub-01" / "eeg" / name
    path.unlink(missing_ok=True)
    path.symlink_to("../../.git/annex/objects/xx/MD5E-s120--0")
    with pytest.raises(InputError, match=rf"{name}: a link to \.\./\.\./\.git/annex/.*, which does not exist; down"):
        found(tmp_path)
    path.unlink()
    for text in ("/annex/objects/MD5E-s120--0.tsv\n", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=rf"{name}: a pointer file of git-annex or Git LFS instead of the content"):
            found(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,}', "not JSON"),
        (b"[1]", "a JSON list, expected an object"),
        (b"3", "a JSON int"),
        (b"", "not JSON"),
        ('{"µ": 1}'.encode("latin-1"), "not UTF-8 text"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 text"),
        ("a\tb\n1\t2".encode("utf-16-le"), "NUL"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_damaged_json_is_refused(tmp_path, content, message):
    path = tmp_path / "coordsystem.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"coordsystem\.json: .*{message}"):
        bids_files.read_json(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\ta\n1\t2\t3\n", "more than one column has the name 'a'; expected each name once"),
        ("a\tb\t\n1\t2\t3\n", None),  # content without a name
        ("a\tb\t\t\n1\t2\t\t\n", {"a": ["1"], "b": ["2"]}),
        ("\ufeffa\tb\r\n1\t2\r\n", {"a": ["1"], "b": ["2"]}),
        ("a\tb\n1\u20282\t3\n", {"a": ["1\u20282"], "b": ["3"]}),  # no end of line
        ("a\tb\n" + "1" * 200_000 + "\t2\n", "not a table"),
        ("a\tb\n1\n", "line 2 has 1 cells and the header 2"),
    ],
)
def test_tables_are_read_as_they_are_or_refused(tmp_path, text, message):
    path = tmp_path / "events.tsv"
    path.write_bytes(text.encode())
    if message is None:
        assert bids_files.read_tsv(path) == {"a": ["1"], "b": ["2"], "": ["3"]}
    elif isinstance(message, dict):
        assert bids_files.read_tsv(path) == message
    else:
        with pytest.raises(InputError, match=message):
            bids_files.read_tsv(path)


# ---------------------------------------------------------------------------------------------- positions


def opened(root: Path, table: str, **systems: str) -> np.ndarray:
    """Positions of a recording with a table of electrodes and coordsystem.json of the subject or of all."""
    touch(root, "sub-01/eeg/sub-01_task-see_eeg.edf events.tsv")
    (root / "sub-01/eeg/sub-01_electrodes.tsv").write_text(table)
    for name, text in systems.items():
        (root / {"own": "sub-01/eeg/sub-01_coordsystem.json", "shared": "coordsystem.json"}[name]).write_text(text)
    raw = mne.io.RawArray(np.zeros((2, 10)), mne.create_info(["Oz", "O1"], 100.0, "eeg"), verbose="ERROR")
    return recording.positions(raw, bids_files.find_recordings(root, "01", SEE)[0])


TABLE = "name\tx\ty\tz\nO1\t1\t2\t3\nOz\t4\t5\t6\n"


def test_positions_without_a_space_with_units_of_all_subjects(tmp_path):
    """The file of the subject tells the system, that of all the unit."""
    own, shared = '{"EEGCoordinateSystem": "EEGLAB"}', '{"EEGCoordinateUnits": "mm", "EEGCoordinateSystem": "CapTrak"}'
    np.testing.assert_allclose(
        opened(tmp_path, TABLE, own=own, shared=shared), [[-5e-3, 4e-3, 6e-3], [-2e-3, 1e-3, 3e-3]]
    )


@pytest.mark.parametrize("systems", [{}, {"own": '{"EEGCoordinateUnits": ["mm"]}'}, {"own": "{}"}])
def test_positions_without_a_unit_are_unknown_and_that_is_said(tmp_path, caplog, systems):
    assert np.isnan(opened(tmp_path, TABLE, **systems)).all()
    assert "expected columns x, y, z and EEGCoordinateUnits" in caplog.text


def test_wrong_tables_of_electrodes_are_refused(tmp_path):
    unit = json.dumps({"EEGCoordinateUnits": "m"})
    with pytest.raises(InputError, match=r"electrodes\.tsv: O1 occurs more than once in column name"):
        opened(tmp_path, TABLE + "O1\t7\t8\t9\n", own=unit)
    with pytest.raises(InputError, match=r"coordsystem\.json: not JSON"):
        opened(tmp_path, TABLE, own=unit[:-1])


def test_what_was_read_is_an_input_of_the_job(tmp_path):
    """Also what lies above the subject, so that provenance holds its hash and an edit makes the responses anew."""
    from brain2clip.readers import contract

    bids_fixtures.write_dataset(tmp_path, trials=4)
    for path in (tmp_path / "sub-01/eeg").glob("*_channels.tsv"):
        path.rename(tmp_path / "task-see_channels.tsv")
    for name in ("task-see_electrodes.tsv", "coordsystem.json", "task-see_eeg.json"):
        (tmp_path / name).write_text("{}")
    study = contract.load(bids_fixtures.NAME, bids_fixtures.study_settings(tmp_path), "results")
    files = study.files("01")
    assert len(files) == len(set(files))
    shared = {Path(path).name for path in files if Path(path).parent == tmp_path}
    assert shared == {"task-see_channels.tsv", "task-see_electrodes.tsv", "coordsystem.json", "task-see_eeg.json"}
