"""Which channels are taken as EEG, on whose word, and what is said about it."""

from __future__ import annotations

import logging
from pathlib import Path

import bids_fixtures
import mne
import numpy as np
import pytest

from brain2clip.readers.contract import Recording
from brain2clip.responses import channels, epoching
from brain2clip.responses import recording as recordings
from brain2clip.stage import InputError

NAMES = ("Fz", "O1", "O2", "VEOG", "Status", "targetPosX")


def taken(root: Path, rows: dict[str, str] | None, names=NAMES, kinds="eeg", place: str = "") -> list[str]:
    """Channels that are taken of a recording, with a table of channels (name to type) or without."""
    folder = root / "sub-01" / "eeg"
    folder.mkdir(parents=True, exist_ok=True)
    if rows is not None:
        table = {"name": list(rows), "type": list(rows.values())}
        bids_fixtures.write_tsv(root / (place or "sub-01/eeg/sub-01_task-see_channels.tsv"), table)
    raw = mne.io.RawArray(np.zeros((len(names), 10)), mne.create_info(list(names), 100.0, kinds), verbose="ERROR")
    path = folder / "sub-01_task-see_eeg.vhdr"
    return channels.eeg_channels(raw, Recording("01", "see", None, None, root, path, folder / "events.tsv"))


@pytest.fixture(autouse=True)
def log_all(caplog):
    caplog.set_level(logging.INFO, "brain2clip")


@pytest.mark.parametrize("place", ["", "sub-01/sub-01_channels.tsv", "task-see_channels.tsv"])
def test_the_table_decides_wherever_it_lies(tmp_path, caplog, place):
    """Also against the names, and against the types of the file."""
    rows = dict(zip(NAMES, ["EEG", "EEG", "MISC", "eeg", "TRIG", "MISC"]))
    kinds = ["eeg", "misc", "eeg", "eeg", "stim", "eeg"]
    assert taken(tmp_path, rows, kinds=kinds, place=place) == ["Fz", "O1", "VEOG"]
    where = tmp_path / (place or "sub-01/eeg/sub-01_task-see_channels.tsv")
    assert f"sub-01_task-see: 3 EEG channels (types in {where}): Fz, O1, VEOG" in caplog.text
    assert "left out, of another type: O2 (misc), Status (stim), targetPosX (misc)" in caplog.text
    assert "EEG according to channels.tsv, but not according to their names: VEOG" in caplog.text


def test_without_a_table_what_is_plainly_no_eeg_is_left_out_and_that_is_said(tmp_path, caplog):
    kinds = ["eeg", "eeg", "misc", "eeg", "stim", "eeg"]
    assert taken(tmp_path, None, kinds=kinds) == ["Fz", "O1"]
    assert "2 EEG channels (types in sub-01_task-see_eeg.vhdr only, without channels.tsv): Fz, O1" in caplog.text
    assert "left out, of another type: O2 (misc), Status (stim)" in caplog.text
    assert "their names are not names of EEG channels: VEOG, targetPosX" in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]


def test_what_the_table_does_not_tell_is_taken_on_the_files_word_and_said(tmp_path, caplog):
    rows = {"Fz": "EEG", "O1": "n/a", "VEOG": "n/a", "targetPosX": "MISC"}
    assert taken(tmp_path, rows) == ["Fz", "O1", "O2"]
    assert "channels.tsv): Fz\n" in caplog.text
    assert "without channels.tsv): O1, O2\n" in caplog.text
    assert "their names are not names of EEG channels: VEOG, Status" in caplog.text


def test_a_name_that_no_electrode_has_is_said(tmp_path, caplog):
    taken(tmp_path, None, ["EEG Fp1-REF", "FFC1h", "E17", "A32", "T5", "Cz..", "target"])
    assert "no electrode has such a name and no channels.tsv has their type: target" in caplog.text
    caplog.clear()
    taken(tmp_path, None, ["left", "right"])  # a montage of its own
    assert "no electrode" not in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        *("EOG1", "HEOGL", "ECG", "EKG2", "EMG submental", "EXG5", "GSR1", "EDA", "Resp oro-nasal", "Pleth", "SaO2"),
        *("Status", "STI 014", "STI014", "Trigger", "TTL", "Event marker", "Photo", "Audio", "misc01", "AUX3"),
        *("ACC_X", "accY", "GyroZ", "PosX", "position_y", "gaze_x", "pupil_left", "x", "Y", "Counter", "Temp rectal"),
    ],
)
def test_names_that_are_plainly_no_eeg(name):
    assert channels.NOT_EEG.search(name)


def test_no_electrode_of_the_systems_in_use_is_taken_for_something_else():
    systems = ("biosemi256", "GSN-HydroCel-256", "easycap-M1")
    names = {name for system in systems for name in mne.channels.make_standard_montage(system).ch_names}
    names |= {
        *epoching.CHANNEL_SETS["nice-63"],
        "T3",
        "T4",
        "T5",
        "T6",
        "FFC1h",
        "AFp1",
        "TPP7h",
        "OI1h",
        "Iz",
        "M1",
        "A2",
    }
    assert [name for name in names if channels.NOT_EEG.search(name)] == []
    assert [name for name in names if not channels.ELECTRODE.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"FZ": "EEG"}, r"channels\.tsv: 1 channels are not in .*: FZ \(did you mean 'Fz'\?\)"),
        (dict.fromkeys(NAMES, "MISC"), "no channel of type EEG among Fz, O1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        taken(tmp_path, rows)


def test_a_channel_that_is_listed_twice_is_refused(tmp_path):
    table = {"name": [*NAMES, "O1"], "type": ["EEG"] * 6 + ["EOG"]}
    bids_fixtures.write_tsv(tmp_path / "sub-01/eeg/sub-01_task-see_channels.tsv", table)
    with pytest.raises(InputError, match=r"channels\.tsv: O1 occurs more than once in column name"):
        taken(tmp_path, None)


def test_what_the_table_calls_eeg_is_eeg_for_filters_and_references_too(tmp_path, caplog):
    """Written as MISC by the unit in the file; its table says otherwise. Another rate in eeg.json is said."""
    from brain2clip.readers import bids_files

    bids_fixtures.write_dataset(tmp_path, trials=2)
    header = tmp_path / "sub-01/eeg/sub-01_task-see_run-01_eeg.vhdr"
    header.write_text(
        header.read_text(encoding="utf-8").replace("Ch2=Pz,,0.001,µV", "Ch2=Pz,,0.001,C"), encoding="utf-8"
    )
    (tmp_path / "eeg.json").write_text('{"SamplingFrequency": 500}')
    assert mne.io.read_raw(header, verbose="ERROR").get_channel_types()[1] == "misc"
    raw = recordings.open_recording(bids_files.find_recordings(tmp_path, "01", bids_files.Wanted(("see",)))[0])
    assert set(raw.get_channel_types()) == {"eeg"}
    assert len(raw.ch_names) == 4
    assert "sampled at 250 Hz, but eeg.json says 500 Hz" in caplog.text
