"""A recording is read from its own files, whole, in the unit that is right; else one sentence names the file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from signal import SIGSEGV

import h5py
import mne
import numpy as np
import pytest
from bids_fixtures import noise, regular_events, write_run, write_tsv
from scipy.io import savemat

from brain2clip.readers import recording_files
from brain2clip.readers.contract import Recording
from brain2clip.responses import recording, samples
from brain2clip.stage import InputError

mne.set_log_level("ERROR")
NAMES, SFREQ, SECONDS = ["Fz", "Pz", "O1", "O2"], 100.0, 5
N_SAMPLES = round(SECONDS * SFREQ)


def signal(run: int) -> np.ndarray:
    """Samples of a run [4, 500], V."""
    return noise(run, SECONDS, SFREQ)


# ----------------------------------------------------------------------------------------------- formats


def vhdr(path: Path, data: np.ndarray) -> Path:
    labels = dict(part.split("-") for part in path.stem.removesuffix("_eeg").split("_"))
    root = path.parents[2]
    write_run(root, data, regular_events(4), subject=labels["sub"], run=labels["run"], task=labels["task"], sfreq=SFREQ)
    path.with_name(f"{path.stem.removesuffix('_eeg')}_channels.tsv").unlink()
    return path


def eeglab(path: Path, data: np.ndarray, samples_in: str = "", **changes: object) -> Path:
    """A .set with its samples inside, or in a file of float32 that it names."""
    if samples_in:
        (1e6 * data).T.astype("<f4").tofile(path.with_suffix(".fdt"))
    chanlocs = np.array([(name,) for name in NAMES], dtype=[("labels", object)])
    fields = {"setname": "x", "nbchan": len(data), "pnts": data.shape[1], "trials": 1, "srate": SFREQ, "xmin": 0.0}
    fields |= {"data": samples_in or 1e6 * data, "chanlocs": chanlocs, "event": [], "icawinv": [], "ref": "common"}
    savemat(path, {"EEG": {**fields, **changes}}, appendmat=False)
    return path


def edf(path: Path, data: np.ndarray, unit: str = "uV", per_volt: float = 1e6, low: float = -500.0) -> Path:
    """Records of one second, 16 bits."""
    count, n_records = len(data), data.shape[1] // round(SFREQ)
    head = ["0".ljust(8), "X".ljust(80), "X".ljust(80), "01.01.20", "00.00.00", str(256 * (count + 1)).ljust(8)]
    head += [" " * 44, str(n_records).ljust(8), "1".ljust(8), str(count).ljust(4)]
    limits = (f"{low:.8g}", f"{-low:.8g}", -32768, 32767)
    fields = [(NAMES, 16), ([""] * count, 80), ([unit] * count, 8), *(([limit] * count, 8) for limit in limits)]
    fields += [([""] * count, 80), ([round(SFREQ)] * count, 8), ([""] * count, 32)]
    text = "".join(head) + "".join(str(one).ljust(width) for values, width in fields for one in values)
    digital = np.round((per_volt * data - low) / (-2 * low) * 65535 - 32768).astype("<i2")
    body = digital.reshape(count, n_records, -1).transpose(1, 0, 2).tobytes()
    path.write_bytes(text.encode("latin-1") + body)
    return path


def fif(path: Path, data: np.ndarray) -> Path:
    mne.io.RawArray(data, mne.create_info(NAMES, SFREQ, "eeg")).save(path, overwrite=True)
    return path


WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "vhdr": vhdr,
    "set": eeglab,
    "fdt": lambda path, data: eeglab(path, data, path.with_suffix(".fdt").name),
    "edf": edf,
    "fif": fif,
}


def written(folder: Path, form: str, run: int = 1, **labels: str) -> Recording:
    """A run of noise in a format, with a table of events."""
    stem = f"sub-{labels.get('subject', '01')}_task-see_run-{run:02d}"
    path = folder / stem.split("_")[0] / "eeg" / f"{stem}_eeg.{'set' if form == 'fdt' else form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[form](path, signal(run))
    events = write_tsv(path.with_name(f"{stem}_events.tsv"), regular_events(4))
    return Recording("01", "see", None, f"{run:02d}", folder, path, events)


def read(item: Recording, scale: float = 1.0) -> np.ndarray:
    raw = recording.open_recording(item)
    samples.load(raw, item, raw.ch_names, scale)
    return raw.get_data()


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_its_own_samples(tmp_path, form):
    written(tmp_path, form, 1)
    item = written(tmp_path, form, 2)
    np.testing.assert_allclose(read(item), signal(2), atol=2e-8)
    names = {path.name for path in recording_files.data_files(item.path)}
    assert names == {path.name for path in item.path.parent.glob("*run-02_eeg.*")}


# ---------------------------------------------------------------------------------- whose samples are these?


OWN = "sub-01_task-see_run-02_eeg"


@pytest.mark.parametrize(
    "named",
    [
        OWN.replace("02", "01") + ".eeg",
        "exp1_s01_b2.eeg",
        "SHA256E-s123--abcdef.eeg",
        r"C:\data\x.eeg",
        f"../{OWN}.eeg",
        "$b.eeg",
        "",
    ],
)
def test_a_header_that_names_other_data_is_refused_and_the_advice_holds(tmp_path, named):
    written(tmp_path, "vhdr", 1)
    item = written(tmp_path, "vhdr", 2)
    replaced(item.path, f"DataFile={OWN}.eeg", f"DataFile={named}")
    for step in (lambda: recording_files.data_files(item.path), lambda: read(item)):
        with pytest.raises(InputError, match=rf"run-02_eeg\.vhdr: DataFile is {re.escape(named) or 'absent'}") as error:
            step()
    (advice,) = re.findall(r"write (DataFile=\S+)", str(error.value))
    replaced(item.path, f"DataFile={named}", advice)
    np.testing.assert_allclose(read(item), signal(2), atol=1e-9)


def test_data_of_another_ending_are_the_recordings_own_and_an_input(tmp_path):
    item = written(tmp_path, "vhdr", 2)
    replaced(item.path, f"DataFile={OWN}.eeg", f"DataFile={OWN}.dat")
    with pytest.raises(InputError, match=r"run-02_eeg\.dat: no such file"):
        recording_files.data_files(item.path)
    item.path.with_suffix(".eeg").rename(item.path.with_suffix(".dat"))
    assert item.path.with_suffix(".dat") in recording_files.data_files(item.path)
    np.testing.assert_allclose(read(item), signal(2), atol=1e-9)


def test_markers_of_another_recording_are_refused(tmp_path):
    written(tmp_path, "vhdr", 1)
    item = written(tmp_path, "vhdr", 2)
    replaced(item.path, f"MarkerFile={OWN}", f"MarkerFile={OWN.replace('02', '01')}")
    with pytest.raises(InputError, match=rf"write MarkerFile={OWN}\.vmrk"):
        read(item)


def test_eeglab_that_names_the_data_of_another_run_is_refused(tmp_path):
    other = written(tmp_path, "fdt", 1)
    item = written(tmp_path, "fdt", 2)
    eeglab(item.path, signal(2), other.path.with_suffix(".fdt").name)
    with pytest.raises(InputError, match=r"run-02_eeg\.set: its header takes the samples from .*run-01_eeg\.fdt"):
        read(item)
    eeglab(item.path, signal(2), "as_it_was_called.fdt")  # which is not there: MNE takes the one of the same name
    np.testing.assert_allclose(read(item), signal(2), atol=1e-9)


def split_fif(folder: Path, run: int) -> list[Path]:
    raw = mne.io.RawArray(np.tile(signal(run), 300), mne.create_info(NAMES, SFREQ, "eeg"))
    path = folder / f"sub-01_task-see_run-{run:02d}_eeg.fif"
    return list(raw.save(path, split_size="2MB", split_naming="bids", overwrite=True))


def test_parts_of_a_split_recording_are_its_own_and_all_are_read(tmp_path):
    one, two = split_fif(tmp_path, 1), split_fif(tmp_path, 2)
    events = write_tsv(tmp_path / "events.tsv", regular_events(4))
    item = Recording("01", "see", None, "02", tmp_path, two[0], events)
    assert recording_files.data_files(two[0]) == two
    assert recording.open_recording(item).n_times == 300 * N_SAMPLES
    shutil.copy(one[0], two[0])  # whose head says that it goes on in run-01_split-02
    with pytest.raises(
        InputError, match=r"split-01_eeg\.fif: its header takes .* sub-01_task-see_run-01_split-02_eeg\.fif"
    ):
        recording.open_recording(item)
    for part in one:
        part.unlink()
    with pytest.raises(InputError, match=r"run-02_split-01_eeg\.fif: MNE cannot read"):
        recording.open_recording(item)
    fif(two[0], signal(2))  # whose head names no further part
    with pytest.raises(InputError, match=r"run-02_split-02_eeg\.fif seems to be a part of it"):
        recording.open_recording(item)


# --------------------------------------------------------------------------------------------- damaged


def cut(path: Path, share: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def matlab_73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["EEG/srate"] = 100.0
    content = bytearray(path.read_bytes())
    content[:128] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(content)


def put(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def data_points(path: Path) -> None:
    """A header that says how many samples there are, and data that end before."""
    replaced(path, "NumberOfChannels=4", f"NumberOfChannels=4\nDataPoints={N_SAMPLES}")
    data = path.with_suffix(".eeg")
    data.write_bytes(data.read_bytes()[: 16 * 300])


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "part-of-a-sample": ("vhdr", lambda path: cut(path.with_suffix(".eeg"), 0.601)),
    "fewer-than-data-points": ("vhdr", data_points),
    "header-cut": ("vhdr", lambda path: cut(path, 0.2)),
    "no-header": ("vhdr", put(b"\x00\xff" * 300)),
    "no-channels": ("vhdr", lambda path: replaced(path, "NumberOfChannels=4", "NumberOfChannels=x")),
    "other-format": ("vhdr", lambda path: replaced(path, "DataFormat=BINARY", "DataFormat=NONE")),
    "data-empty": ("vhdr", lambda path: path.with_suffix(".eeg").write_bytes(b"") and None),
    "data-page": ("vhdr", lambda path: path.with_suffix(".eeg").write_bytes(b"\n<!DOCTYPE html>" * 9) and None),
    "edf-cut": ("edf", cut),
    "edf-header-cut": ("edf", lambda path: cut(path, 0.1)),
    "edf-text": ("edf", put(b"nothing of the kind " * 90)),
    "fif-cut": ("fif", cut),
    "fif-text": ("fif", put(b"nothing of the kind " * 90)),
    "set-cut": ("set", cut),
    "set-text": ("set", put(b"nothing of the kind " * 90)),
    "set-other-struct": ("set", lambda path: savemat(path, {"x": {"y": 1}}, appendmat=False)),
    "set-epochs": ("set", lambda path: eeglab(path, signal(1), trials=5, pnts=N_SAMPLES // 5)),
    "set-matlab-7.3": ("set", matlab_73),
    "fdt-cut": ("fdt", lambda path: cut(path.with_suffix(".fdt"))),
    "fdt-gone": ("fdt", lambda path: path.with_suffix(".fdt").unlink()),
    **{f"{form}-empty": (form, put(b"")) for form in ("vhdr", "edf", "fif", "set")},
    **{f"{form}-page": (form, put(b"<html><body>404</body></html>")) for form in ("vhdr", "edf", "fif", "set")},
    **{
        f"{form}-pointer": (form, put(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"))
        for form in ("vhdr", "edf", "fif", "set")
    },
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_one_sentence_with_the_name_of_the_file(tmp_path, damage):
    form, harm = DAMAGE[damage]
    item = written(tmp_path, form)
    harm(item.path)
    with pytest.raises(InputError, match=re.escape(item.path.stem)) as error:
        read(item)
    assert any(word in str(error.value) for word in ("get ", "download", "expected", "save it again", "write its name"))


def test_a_file_at_which_its_reader_crashes_does_not_end_the_job(tmp_path, monkeypatch):
    item = written(tmp_path, "set")
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: os.kill(os.getpid(), SIGSEGV))
    with pytest.raises(InputError, match=r"run-01_eeg\.set: SciPy's reader of MATLAB files crashes"):
        read(item)


def test_a_part_of_a_sample_is_a_file_that_was_cut_short(tmp_path):
    item = written(tmp_path, "vhdr")
    cut(item.path.with_suffix(".eeg"), 0.601)
    with pytest.raises(InputError, match=r"4808 bytes, but the header .* promises 4816; the file was cut short"):
        read(item)


# ------------------------------------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("unit", "per_volt", "in_table", "right"),
    [
        ("uV", 1e6, "V", True),  # the file's own unit counts
        ("", 1e6, "µV", True),
        ("", 1e3, "mV", True),
        ("n/a", 1e6, "uV", True),
        ("nV", 1e9, "", True),  # which MNE takes for V
        ("Volts", 1.0, "", True),
        ("", 1.0, "", True),  # V, as nothing says otherwise
        ("", 1e6, "", False),
        ("uV", 1.0, "", False),
        ("mV", 1e6, "", False),
    ],
)
def test_units_of_edf(tmp_path, unit, per_volt, in_table, right):
    item = written(tmp_path, "edf")
    edf(item.path, signal(1), unit, per_volt, low=-5e-4 * per_volt)
    if in_table:
        table = {"name": NAMES, "type": ["EEG"] * 4, "units": [in_table] * 4}
        write_tsv(item.path.with_name(f"{item.path.stem.removesuffix('_eeg')}_channels.tsv"), table)
    if not right:
        with pytest.raises(InputError, match=r"vary by .* V within a second .* which is impossible for EEG") as error:
            read(item)
        (advice,) = re.findall(r"responses\.scale: (\S+)", str(error.value))
        np.testing.assert_allclose(read(item, float(advice)), signal(1), atol=2e-8)
    else:
        np.testing.assert_allclose(read(item), signal(1), atol=2e-8)


@pytest.mark.parametrize("amplitude", [1e-8, 1.0])
@pytest.mark.parametrize("form", ["vhdr", "fdt", "fif"])
def test_amplitudes_that_no_eeg_has_are_refused_in_every_format(tmp_path, form, amplitude):
    item = written(tmp_path, form)
    WRITERS[form](item.path, amplitude * np.random.default_rng(0).standard_normal((4, N_SAMPLES)))
    with pytest.raises(InputError, match="which is impossible for EEG"):
        read(item)


def test_offsets_drifts_and_dead_channels_are_no_wrong_unit(tmp_path):
    item = written(tmp_path, "fif")
    data = signal(1) + 0.05 + 0.02 * np.linspace(0, 1, N_SAMPLES)  # an amplifier of 24 bits without a high-pass
    data[0] = 0.05
    np.testing.assert_allclose(read(Recording(**{**vars(item), "path": fif(item.path, data)})), data, rtol=1e-6)
    fif(item.path, np.full((4, N_SAMPLES), 1e-3))
    with pytest.raises(InputError, match="all samples are constant"):
        read(item)
