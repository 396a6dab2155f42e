"""MEG beside EEG: which files are a recording, whose word counts for types, units and limits by type of sensor."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bids_fixtures
import h5py
import meg_files
import mne
import numpy as np
import pytest
from bids_fixtures import regular_events, write_tsv
from meg_files import SFREQ, names, write_ctf, write_dataset, write_run

from brain2clip import artefact, settings
from brain2clip.plan.amounts import _described
from brain2clip.readers import bids_files, recording_files
from brain2clip.readers.bids_files import Wanted
from brain2clip.readers.contract import Recording
from brain2clip.responses import channels, epoching, epochs, recording, samples
from brain2clip.responses.whitenings import mvnn
from brain2clip.settings import Band, BidsStudy, MvnnWhitening, Responses
from brain2clip.stage import InputError

mne.set_log_level("ERROR")
SEE = Wanted(("see",), study="studies.mine", datatype="meg")
BY_TABLE = Wanted(("see",), study="studies.mine", datatype="meg", types_from="table")
STEM = "sub-01_task-see_run-01"
SENSORS = [name for name, kind in names().items() if kind == "mag"]


def only(root: Path, wanted: Wanted = SEE) -> Recording:
    (found,) = bids_files.find_recordings(root, "01", wanted)
    return found


def touched(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not empty")
    return folder


def made(tmp_path: Path, root: Path, responses: dict[str, Any] | None = None, **study: Any) -> dict[str, Any]:
    """Run the stage; datasets and attributes as a flat dict."""
    band = study.pop("band", None)
    given = bids_fixtures.job(tmp_path / "r.h5", meg_files.study_settings(root, **study), responses, band)
    epochs.run(given)
    found: dict[str, Any] = {}

    def keep(path: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = item.asstr()[:] if h5py.check_string_dtype(item.dtype) else item[()]

    with artefact.open_h5(given.output("responses")) as file:
        file.visititems(keep)
        found.update(file.attrs)
    return found


# ------------------------------------------------------------------------------------------------ files


def test_the_files_of_a_ctf_recording_are_those_directly_in_its_folder(tmp_path):
    folder = tmp_path / "sub-01" / "meg"
    own = [f"{STEM}_meg.{ending}" for ending in ("acq", "hc", "hist", "meg4", "res4")]
    nested = ("hz.ds/hz.meg4", "hz2.ds/hz2.res4", "._x_meg.meg4", ".DS_Store")
    touched(folder / f"{STEM}_meg.ds", *own, *nested)
    touched(folder, f"{STEM}_events.tsv", f"{STEM}_channels.tsv", f"{STEM}_meg.json", f"._{STEM}_meg.ds")
    item = only(tmp_path)
    assert item.path == folder / f"{STEM}_meg.ds"
    assert item.name == STEM
    listed = [path.relative_to(folder).as_posix() for path in bids_files.data_files(item)]
    tables = [f"{STEM}_events.tsv", f"{STEM}_channels.tsv", f"{STEM}_meg.json"]
    assert listed == [*(f"{STEM}_meg.ds/{name}" for name in own), *tables]


@pytest.mark.parametrize("ending", ["res4", "meg4"])
def test_a_ctf_recording_without_what_it_needs_is_named(tmp_path, ending):
    folder = touched(tmp_path / "sub-01" / "meg", f"{STEM}_events.tsv")
    touched(folder / f"{STEM}_meg.ds", f"{STEM}_meg.meg4", f"{STEM}_meg.res4", f"{STEM}_meg.cls")
    lost = folder / f"{STEM}_meg.ds" / f"{STEM}_meg.{ending}"
    lost.unlink()
    with pytest.raises(InputError, match=rf"_meg.{ending}: no such file"):
        bids_files.data_files(only(tmp_path))
    lost.symlink_to("../../.git/annex/objects/xx")
    with pytest.raises(InputError, match=rf"_meg.{ending}: a link to .*datalad get"):
        bids_files.data_files(only(tmp_path))
    lost.unlink()
    lost.write_bytes(b"")
    with pytest.raises(InputError, match=rf"_meg.{ending}: an empty file"):
        recording.open_recording(only(tmp_path))
    lost.rename(lost.with_name(f"other_meg.{ending}"))
    with pytest.raises(InputError, match=rf"holds other_meg.{ending}, but the files of a CTF[\s\S]*copyfile_ctf"):
        bids_files.data_files(only(tmp_path))


def test_the_files_of_a_bti_recording(tmp_path):
    folder = touched(tmp_path / "sub-01" / "meg", f"{STEM}_events.tsv")
    place = touched(folder / f"{STEM}_meg", "config", "hs_file", "c,rfDC", "notes")
    item = only(tmp_path)
    assert item.path == place
    assert bids_files.format_of(place) == ".pdf"
    listed = [path.name for path in bids_files.data_files(item)]
    assert listed == ["c,rfDC", "config", "hs_file", "notes", f"{STEM}_events.tsv"]
    touched(place, "e,rfhp1.0Hz")
    with pytest.raises(InputError, match="2 files with the samples of a BTi recording"):
        bids_files.data_files(item)
    for name in ("e,rfhp1.0Hz", "c,rfDC"):
        (place / name).unlink()
    with pytest.raises(InputError, match=r"no files with the samples of a BTi.*\n?.*found config, hs_file, notes"):
        bids_files.data_files(item)


def test_parts_of_a_split_fif_are_one_recording(tmp_path):
    kinds = names()
    path = write_run(tmp_path, meg_files.noise(0, kinds, 300.0), kinds, regular_events(10))
    raw = mne.io.read_raw_fif(path, preload=True)
    path.unlink()
    raw.save(path, split_size="2MB", split_naming="bids", buffer_size_sec=1)
    item = only(tmp_path)
    assert item.path.name == f"{STEM}_split-01_meg.fif"
    assert [one.name for one in recording_files.data_files(item.path)][:2] == [
        f"{STEM}_split-01_meg.fif",
        f"{STEM}_split-02_meg.fif",
    ]
    assert recording.open_recording(item).n_times == raw.n_times


def test_kit_and_fif_are_files_and_ctf_is_a_folder(tmp_path):
    folder = touched(tmp_path / "sub-01" / "meg", f"{STEM}_events.tsv", f"{STEM}_meg.con", f"{STEM}_markers.sqd")
    assert [path.name for path in bids_files.data_files(only(tmp_path))] == [f"{STEM}_meg.con", f"{STEM}_events.tsv"]
    (folder / f"{STEM}_meg.con").rename(folder / f"{STEM}_meg.ds")
    with pytest.raises(InputError, match=r"_meg.ds: a file, but a recording of this ending is a folder"):
        only(tmp_path)


def test_calibration_and_the_empty_room_are_no_recordings(tmp_path):
    touched(tmp_path / "sub-01" / "meg", "sub-01_acq-crosstalk_meg.fif", "sub-01_acq-calibration_meg.dat")
    touched(tmp_path / "sub-01" / "meg", f"{STEM}_meg.fif", f"{STEM}_events.tsv")
    touched(tmp_path / "sub-emptyroom" / "ses-20200101" / "meg", "sub-emptyroom_ses-20200101_task-noise_meg.fif")
    assert only(tmp_path).path.name == f"{STEM}_meg.fif"
    assert bids_files.find_subjects(tmp_path) == ("01",)


def test_the_other_datatype_is_told_where_nothing_is_found(tmp_path):
    touched(tmp_path / "sub-01" / "meg", f"{STEM}_meg.fif")
    with pytest.raises(InputError, match=r"no EEG recording[\s\S]*1 MEG recordings: studies.mine.datatype: meg"):
        bids_files.find_recordings(tmp_path, "01", Wanted(("see",), study="studies.mine"))


# ----------------------------------------------------------------------------------------------- types


def test_types_of_the_file_count_where_the_table_calls_every_sensor_other(tmp_path, caplog):
    """The trap of ds004212: ``channels.tsv`` types all sensors OTHER, and mne-bids would make them misc."""
    write_dataset(tmp_path, runs=("01",), types=dict.fromkeys(SENSORS, "OTHER"))
    with caplog.at_level(logging.INFO, logger="brain2clip"):
        raw = recording.open_recording(only(tmp_path))
    assert raw.ch_names == SENSORS
    assert raw.get_channel_types(unique=True) == ["mag"]
    assert "gives 8 of these sensors another type (8 OTHER); the type in the file is used" in caplog.text
    assert "left out, of another type: 1 ref_meg, 1 stim" in caplog.text
    with pytest.raises(
        InputError, match=r"no MEG sensor of type mag or grad \(found 8 OTHER, 1 MEGREFMAG, 1 TRIG\)"
    ) as told:
        recording.open_recording(only(tmp_path, BY_TABLE))
    assert (
        "sensors in sub-01_task-see_run-01_meg.fif: 8 mag; take the types of the file (studies.*.channel_types: file)"
        in str(told.value)
    )


def test_the_table_may_choose_sensors_but_not_make_them(tmp_path):
    write_dataset(tmp_path, runs=("01",), types={SENSORS[0]: "MISC"})
    assert recording.open_recording(only(tmp_path, BY_TABLE)).ch_names == SENSORS[1:]
    assert recording.open_recording(only(tmp_path)).ch_names == SENSORS
    write_dataset(tmp_path, runs=("01",), types={"UPPT001": "MEGMAG"})
    with pytest.raises(InputError, match=r"UPPT001 is MEGMAG, but of type stim in .*channel_types: file"):
        recording.open_recording(only(tmp_path, BY_TABLE))


@pytest.mark.parametrize(("picks", "count"), [(("mag",), 8), (("grad",), 6), (("mag", "grad"), 14), (None, 14)])
def test_picks_choose_among_types_and_references_are_never_picked(tmp_path, picks, count):
    kinds = names(8, 6)
    write_dataset(tmp_path, kinds, runs=("01",))
    for source in ("file", "table"):
        wanted = Wanted(("see",), datatype="meg", picks=picks, types_from=source)
        raw = recording.open_recording(only(tmp_path, wanted))
        assert raw.ch_names == [name for name, kind in kinds.items() if kind in (picks or ("mag", "grad"))]
        assert len(raw.ch_names) == count


def test_a_wanted_type_that_is_not_there_is_refused(tmp_path):
    write_dataset(tmp_path, runs=("01",))
    with pytest.raises(InputError, match=r"no MEG sensor of type grad in the file \(sensors there: 8 mag\)"):
        recording.open_recording(only(tmp_path, Wanted(("see",), datatype="meg", picks=("grad",))))


def test_names_and_status_are_those_of_the_table(tmp_path):
    write_dataset(tmp_path, runs=("01",), status={SENSORS[2]: "bad"})
    assert recording.open_recording(only(tmp_path)).info["bads"] == [SENSORS[2]]
    write_dataset(tmp_path, runs=("01",), named=lambda name: name.replace("MLO", "MLT"))
    with pytest.raises(InputError, match="8 channels are not in"):
        recording.open_recording(only(tmp_path))


def test_types_of_eeg_may_be_those_of_the_file(tmp_path, caplog):
    """A table of nonsense; BrainVision tells no types, so that only names speak."""
    path = bids_fixtures.write_run(tmp_path, bids_fixtures.noise(0), regular_events(10), run="01")
    table = path.with_name(path.name.replace("_eeg.vhdr", "_channels.tsv"))
    write_tsv(table, {"name": bids_fixtures.CHANNELS, "type": ["MISC"] * 4})
    wanted = Wanted(("see",), types_from="file")
    with caplog.at_level(logging.INFO, logger="brain2clip"):
        assert recording.open_recording(only(tmp_path, wanted)).ch_names == list(bids_fixtures.CHANNELS)
    assert "types of channels are those of the file; types in channels.tsv are ignored" in caplog.text
    with pytest.raises(InputError, match="no channel of type EEG"):
        recording.open_recording(only(tmp_path, Wanted(("see",))))


# ------------------------------------------------------------------------------------------------- CTF


def ctf(root: Path, run: str = "01", named: Callable[[str], str] = str, **options: Any) -> np.ndarray:
    """A recording of CTF with a clock; its samples."""
    kinds = {"SCLK01-177": "misc", **names()}
    data = meg_files.noise(int(run), kinds)
    data[0] = np.arange(1, data.shape[1] + 1)
    if stop := options.pop("clock_stops", None):
        data[0, stop:] = 0
    folder, name = root / "sub-01" / "meg", meg_files.base_name("01", "see", run)
    write_ctf(folder / f"{name}_meg.ds", data, kinds, **options)
    types = dict.fromkeys(SENSORS, "OTHER")
    meg_files.write_sidecars(folder, name, kinds, regular_events(40), types=types, named=named)
    return data


def test_a_ctf_recording_is_read_by_mne_with_its_names(tmp_path):
    data = ctf(tmp_path, grade=3)
    raw = recording.open_recording(only(tmp_path))
    assert raw.ch_names == SENSORS
    assert all(name.endswith("-1609") for name in raw.ch_names)
    assert recording.compensation(raw) == 3
    np.testing.assert_allclose(raw.get_data(), data[2:10], rtol=0, atol=0.51 * meg_files.CTF_STEP)
    places = recording.positions(raw, only(tmp_path))
    np.testing.assert_allclose(
        np.linalg.norm(places[:, :2], axis=1), np.linalg.norm(meg_files.places(8)[:, :2], axis=1)
    )


def test_names_of_ctf_are_without_a_suffix_where_the_table_has_them_so(tmp_path):
    ctf(tmp_path, named=lambda name: name.partition("-")[0])
    assert recording.open_recording(only(tmp_path)).ch_names == [name.partition("-")[0] for name in SENSORS]


def test_samples_of_ctf_end_where_the_clock_stops(tmp_path):
    ctf(tmp_path, clock_stops=2000)
    raw = recording.open_recording(only(tmp_path))
    assert raw.n_times == 2000
    with pytest.raises(InputError, match=r"onsets lie outside the recording of 8\.000 s"):
        epoching.check_onsets(raw, np.array([1.0, 9.0]))


def test_a_ctf_recording_that_was_cut_short_is_refused(tmp_path):
    ctf(tmp_path)
    samples_of = only(tmp_path).path / f"{STEM}_meg.meg4"
    samples_of.write_bytes(samples_of.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"_meg.ds: MNE cannot read this recording.*multiple of the trial size"):
        recording.open_recording(only(tmp_path))


def test_responses_of_ctf(tmp_path):
    for run in ("01", "02"):
        ctf(tmp_path, run)
    found = made(tmp_path, tmp_path, {"without": [SENSORS[3]]})
    assert found["channel"].tolist() == [name for name in SENSORS if name != SENSORS[3]]
    assert set(found["channel_type"]) == {"mag"}
    assert found["unit"] == "standard deviation"


@pytest.mark.parametrize(
    ("ending", "reader", "keyword", "other"),
    [(".con", "read_raw", "standardize_names", True), ("", "read_raw_bti", "rename_channels", False)],
)
def test_other_names_of_a_format_are_tried_where_the_table_has_them(
    tmp_path, monkeypatch, ending, reader, keyword, other
):
    """KIT and BTi: MNE cannot write them, so its reader is replaced here by one that notes how it is called."""
    kinds = names(extra=False)
    path = write_run(tmp_path, meg_files.noise(0, kinds), kinds, regular_events(10), named=lambda name: f"MEG {name}")
    raw = mne.io.read_raw_fif(path, preload=True)
    path.unlink()
    place = path.with_name(f"{STEM}_meg{ending}")
    touched(place, "config", "c,rfDC") if not ending else place.write_bytes(b"x" * 2000)
    called = []

    def read(*files: Any, **given: Any) -> mne.io.BaseRaw:
        called.append((files, given))
        again = mne.io.RawArray(raw.get_data(), raw.info)
        if keyword in given:
            again.rename_channels(lambda name: f"MEG {name}")
        return again

    monkeypatch.setattr(mne.io, reader, read)
    assert recording.open_recording(only(tmp_path)).ch_names == [f"MEG {name}" for name in kinds]
    assert [given.get(keyword) for _, given in called] == [None, other]
    assert called[0][0] == ((place,) if ending else (place / "c,rfDC", place / "config", None))


# ------------------------------------------------------------------------------------- units and limits


def test_responses_are_those_of_mne_in_tesla(tmp_path):
    write_dataset(tmp_path)
    cut = {"tmin": -0.1, "tmax": 0.4, "sfreq": SFREQ, "whitening": {"kind": "none"}}
    found = made(tmp_path, tmp_path, cut, band={})
    raw = mne.io.read_raw_fif(only_run(tmp_path, "01"), preload=True).pick("mag")
    events = np.array([[round((1 + 0.5 * n) * SFREQ), 0, 1] for n in range(40)])
    expected = mne.Epochs(raw, events, tmin=-0.1, tmax=0.4 - 1 / SFREQ, baseline=(None, 0), preload=True).get_data()
    np.testing.assert_allclose(found["response"][:40], expected, rtol=1e-6, atol=1e-19)
    assert found["unit"] == "T"
    assert found["response"].dtype == np.float32
    assert 1e-14 < np.abs(found["response"]).mean() < 1e-11
    np.testing.assert_allclose(found["position"], meg_files.places(8), rtol=1e-6)


def only_run(root: Path, run: str) -> Path:
    return root / "sub-01" / "meg" / f"sub-01_task-see_run-{run}_meg.fif"


def test_whitening_does_not_know_the_scale(tmp_path):
    """The same samples as EEG in V and as MEG in T: equal responses."""
    kinds = names(4, extra=False)
    write_dataset(tmp_path / "meg", kinds)
    for number, run in enumerate(("01", "02")):
        data = 1e8 * meg_files.noise(number, kinds)
        events = regular_events(40)
        bids_fixtures.write_run(tmp_path / "eeg", data, events, run=run)
    meg = made(tmp_path, tmp_path / "meg")
    given = bids_fixtures.job(tmp_path / "eeg.h5", bids_fixtures.study_settings(tmp_path / "eeg"))
    epochs.run(given)
    with artefact.open_h5(given.output("responses")) as file:
        eeg = file["response"][:]
        assert set(file["channel_type"].asstr()[:]) == {"eeg"}
    np.testing.assert_allclose(meg["response"], eeg, atol=2e-3)


def test_limits_are_of_the_type_of_the_sensor(tmp_path):
    kinds = names(6, 4, extra=False)
    for number, run in enumerate(("01", "02")):
        data = meg_files.noise(number, kinds)
        for channel, trial, size in ((0, 5, 6e-12), (7, 9, 5e-10)):  # 6000 fT and 5000 fT/cm
            begin = round((1 + 0.5 * trial + 0.1) * SFREQ)
            data[channel, begin : begin + 5] += size
        write_run(tmp_path, data, kinds, regular_events(40), run=run)
    both = made(tmp_path, tmp_path, {"reject_ft": 5000.0, "reject_ft_cm": 4000.0}, band={})
    assert both["rejected"] == '{"n/a": 2}'
    one = made(tmp_path, tmp_path, {"reject_ft": 5000.0}, band={})
    assert one["rejected"] == '{"n/a": 1}'
    assert made(tmp_path, tmp_path, {"reject_ft_cm": 7000.0}, band={})["rejected"] == "{}"
    assert len(both["response"]) == 78, "trials of the test are never rejected"


def test_limits_of_a_type_that_is_not_read_are_refused(tmp_path):
    write_dataset(tmp_path)
    with pytest.raises(InputError, match=r"reject_ft_cm is of channels of type grad, and none is read \(found 8 mag\)"):
        made(tmp_path, tmp_path, {"reject_ft_cm": 4000.0})
    with pytest.raises(InputError, match=r"reject_uv is of channels of type eeg[\s\S]*reject_ft"):
        made(tmp_path, tmp_path, {"reject_uv": 100.0})


def test_a_wrong_unit_is_seen_by_type(tmp_path):
    kinds = names(6, 4, extra=False)
    for run in ("01", "02"):
        write_run(tmp_path, 1e15 * meg_files.noise(0, kinds), kinds, regular_events(40), run=run)
    with pytest.raises(
        InputError, match=r"MEG \(mag\) channels vary by .* T within a second.*impossible for MEG[\s\S]*scale: 1e-15"
    ):
        made(tmp_path, tmp_path)
    fixed = made(
        tmp_path, tmp_path, {"scale": 1e-15, "whitening": {"kind": "none"}}, picks="mag", equal_recordings="allow"
    )
    assert np.abs(fixed["response"]).mean() < 1e-11
    with pytest.raises(InputError, match="all samples are constant; expected MEG"):
        samples.check_amplitude(mne.io.RawArray(np.zeros((6, 500)), meg_files.info_of(names(6, extra=False))))


def test_magnetometers_and_gradiometers_have_no_common_scale(tmp_path):
    write_dataset(tmp_path, names(6, 4))
    with pytest.raises(InputError, match=r"channels in T and T/m side by side[\s\S]*picks: mag or grad"):
        made(tmp_path, tmp_path, {"whitening": {"kind": "none"}})
    white = made(tmp_path, tmp_path)
    assert white["response"].std(axis=(0, 2)).max() < 3 * white["response"].std(axis=(0, 2)).min()
    assert white["unit"] == "standard deviation"
    alone = made(tmp_path, tmp_path, {"whitening": {"kind": "none"}}, picks="grad")
    assert alone["unit"] == "T/m"
    scaled = made(tmp_path, tmp_path, {"whitening": {"kind": "none"}, "baseline_mode": "zscore"})
    assert scaled["unit"] == "baseline standard deviation"
    assert list(scaled["channel_type"]) == ["mag"] * 6 + ["grad"] * 4


def test_sensors_of_two_types_are_whitened_in_units_of_one_size(tmp_path):
    """In T and T/m magnetometers would lose all that they share with gradiometers, whose numbers are larger."""
    write_dataset(tmp_path, names(6, 4))
    white = made(tmp_path, tmp_path)
    plain = [made(tmp_path, tmp_path, {"whitening": {"kind": "none"}}, picks=kind) for kind in ("mag", "grad")]
    both = np.concatenate([plain[0]["response"] / 1e-15, plain[1]["response"] / 1e-13], axis=1, dtype=float)
    fit = mvnn.Whitening(MvnnWhitening(), list(white["channel"]), 40)
    fit.add(both[white["split"] == 0])
    np.testing.assert_allclose(white["response"], fit.operator().apply(both), atol=1e-3)
    in_si = mvnn.Whitening(MvnnWhitening(), list(white["channel"]), 40)
    units = np.array([[1e-15]] * 6 + [[1e-13]] * 4)
    in_si.add((both * units)[white["split"] == 0])
    assert np.abs(in_si.operator().apply(both * units) - white["response"]).max() > 0.1, "units matter"


# ------------------------------------------------------------------------------------------- baselines


@pytest.mark.parametrize("resampling", ["decimate", "epochs"])
def test_epochs_are_scaled_by_their_own_baselines_as_mne_does(tmp_path, resampling):
    write_dataset(tmp_path)
    cut = {"tmin": -0.2, "tmax": 0.4, "sfreq": SFREQ, "baseline": [None, 0.0], "baseline_mode": "zscore"}
    found = made(tmp_path, tmp_path, {**cut, "resampling": resampling, "whitening": {"kind": "none"}}, band={})
    raw = mne.io.read_raw_fif(only_run(tmp_path, "01"), preload=True).pick("mag")
    events = np.array([[round((1 + 0.5 * n) * SFREQ), 0, 1] for n in range(40)])
    plain = mne.Epochs(raw, events, tmin=-0.2, tmax=0.4 - 1 / SFREQ, baseline=None, preload=True)
    expected = mne.baseline.rescale(plain.get_data(), plain.times, (None, 0.0), "zscore")
    np.testing.assert_allclose(found["response"][:40], expected, rtol=1e-5, atol=1e-5)
    before = found["times"] <= 0
    np.testing.assert_allclose(found["response"][..., before].std(axis=-1), 1.0, rtol=1e-5)


def test_half_precision_holds_what_has_no_unit(tmp_path):
    write_dataset(tmp_path)
    given = {"whitening": {"kind": "none"}, "dtype": "float16"}
    with pytest.raises(ValueError, match="1e-13 T would underflow"):
        Responses(**given)
    assert made(tmp_path, tmp_path, {**given, "baseline_mode": "zscore"})["response"].dtype == np.float16


def test_a_baseline_without_variance_is_refused(tmp_path):
    kinds = names(6, extra=False)
    for run in ("01", "02"):
        data = meg_files.noise(int(run), kinds)
        data[2, : round(3.1 * SFREQ)] = 3e-13
        write_run(tmp_path, data, kinds, regular_events(40), run=run)
    with pytest.raises(
        InputError, match=r"trial at 1 s has no variance in 1 of 6 channels \(MLO13-1609\)[\s\S]*without"
    ):
        made(tmp_path, tmp_path, {"baseline_mode": "zscore"}, band={})
    left = made(tmp_path, tmp_path, {"baseline_mode": "zscore", "without": ["MLO13-1609"]}, band={})
    assert np.isfinite(left["response"]).all()
    with pytest.raises(ValueError, match="baseline_mode: zscore needs a baseline"):
        Responses(baseline=None, baseline_mode="zscore")


def test_of_a_subject_without_training_the_unit_is_said(tmp_path):
    write_dataset(tmp_path, runs=("02",))
    split = {"by": "run", "test": ["02"], "training": "optional"}
    found = made(tmp_path, tmp_path, split=split)
    assert (found["unit"], found["normalised"]) == ("T", False)


# ------------------------------------------------------------------------------- recordings that differ


def runs_with(root: Path, *headers: dict[str, Any]) -> None:
    kinds = names()
    for number, header in enumerate(headers, 1):
        info = meg_files.info_of(kinds, **header)
        write_run(root, meg_files.noise(number, kinds), kinds, regular_events(40), run=f"0{number}", info=info)


def test_compensation_of_another_grade_is_refused(tmp_path):
    runs_with(tmp_path, {"grade": 3}, {"grade": 0})
    with pytest.raises(
        InputError, match=r"run-02_meg.fif: gradient compensation of grade 0, but 3 in .*run-01_meg.fif"
    ):
        made(tmp_path, tmp_path)
    runs_with(tmp_path, {"grade": 3}, {"grade": 3})
    assert len(made(tmp_path, tmp_path)["response"]) == 80


def test_heads_that_lie_elsewhere_are_said_once_or_refused(tmp_path, caplog):
    runs_with(tmp_path, {}, {"shift_mm": 4.0}, {"shift_mm": 2.0})
    with caplog.at_level(logging.WARNING, logger="brain2clip"):
        made(tmp_path, tmp_path, split={"by": "run", "test": ["03"]})
    assert caplog.text.count("head positions differ by up to 4.0 mm (sub-01_task-see_run-02") == 1
    with pytest.raises(InputError, match=r"run-02_meg.fif: the head lies 4.0 mm .*head_movement_mm allows 3"):
        made(tmp_path, tmp_path, {"head_movement_mm": 3.0})
    made(tmp_path, tmp_path, {"head_movement_mm": 5.0})


def test_sensors_of_another_type_are_refused(tmp_path):
    kinds = names(6, extra=False)
    write_run(tmp_path, meg_files.noise(1, kinds), kinds, regular_events(40), run="01")
    kinds[SENSORS[2]] = "grad"
    write_run(tmp_path, meg_files.noise(2, kinds), kinds, regular_events(40), run="02")
    with pytest.raises(InputError, match=r"MLO13-1609 is of type grad, but mag in"):
        made(tmp_path, tmp_path)


# -------------------------------------------------------------------------------------- what is left out


def test_a_channel_is_left_out_by_name(tmp_path):
    write_dataset(tmp_path)
    found = made(tmp_path, tmp_path, {"without": [SENSORS[0], SENSORS[4]]})
    assert found["channel"].tolist() == [name for name in SENSORS if name not in (SENSORS[0], SENSORS[4])]
    with pytest.raises(
        InputError, match=r"no channel 'MLO11' \(did you mean 'MLO11-1609'\?\), which responses.without"
    ):
        made(tmp_path, tmp_path, {"without": ["MLO11"]})
    with pytest.raises(InputError, match="leaves out all of the 8 wanted channels"):
        made(tmp_path, tmp_path, {"without": SENSORS})


def test_bad_sensors_are_made_from_the_others(tmp_path):
    """A smooth field over many sensors: what is interpolated is near what was there."""
    kinds = names(40, extra=False)
    sensors, bad = list(kinds), list(kinds)[20]
    info = meg_files.info_of(kinds)
    where = meg_files.places(40)
    for one, place in zip(info["chs"], where):
        one["loc"][9:] = place / np.linalg.norm(place)
    source = mne.make_sphere_model((0.0, 0.0, 0.04), 0.09, verbose="error")
    dipole = mne.Dipole([0.0], [[0.02, 0.03, 0.07]], [1e-8], [[0.0, 1.0, 0.0]], [99.0])
    with info._unlock():
        info["dev_head_t"] = meg_files.head()
    field = mne.make_forward_dipole(dipole, source, info, verbose="error")[0]["sol"]["data"][:, 0]
    wave = np.sin(np.arange(7500) / 9.0)
    strength = np.abs(np.outer(field * 1e-8, wave)).max()
    for run in ("01", "02"):
        data = np.outer(field * 1e-8, wave) + 0.01 * strength * np.random.default_rng(int(run)).normal(size=(40, 7500))
        data[20] = strength * np.random.default_rng(9).normal(size=7500)
        status = {bad: "bad"}
        write_run(tmp_path, data, kinds, regular_events(40), run=run, info=info, status=status)
    cut = {"whitening": {"kind": "none"}, "bad_channels": "interpolate", "baseline": None, "sfreq": SFREQ}
    scale = {"scale": 2e-13 / strength}
    found = made(tmp_path, tmp_path, {**cut, **scale}, band={})
    starts = [round((1 + 0.5 * n) * SFREQ) + round(-0.1 * SFREQ) for n in range(40)]
    expected = scale["scale"] * field[20] * 1e-8 * np.stack([wave[start : start + 125] for start in starts])
    made_of = found["response"][:40, sensors.index(bad)]
    assert np.corrcoef(made_of.ravel(), expected.ravel())[0, 1] > 0.9
    assert '"sub-01_task-see_run-01": ["MLO31-1609"]' in found["bad_channels"]


def test_what_is_left_out_is_no_source_of_interpolation(tmp_path):
    """A sensor that the settings leave out, because it is broken, moves nothing."""
    kinds = names(12, extra=False)
    sensors = list(kinds)
    found = []
    for factor in (1.0, 50.0):
        root = tmp_path / str(factor)
        for run in ("01", "02"):
            data = meg_files.noise(int(run), kinds)
            data[3] *= factor
            write_run(root, data, kinds, regular_events(40), run=run, status={sensors[2]: "bad"})
        changes = {"bad_channels": "interpolate", "without": [sensors[3]], "whitening": {"kind": "none"}}
        found.append(made(root, root, changes)["response"])
    np.testing.assert_array_equal(*found)


def test_too_few_sensors_are_interpolated_from(tmp_path):
    kinds = names(4, extra=False)
    write_dataset(tmp_path, kinds, status={SENSORS[0]: "bad"})
    with pytest.raises(InputError, match="only 3 other sensors of type mag"):
        made(tmp_path, tmp_path, {"bad_channels": "interpolate"})


# --------------------------------------------------------------------------------------------- settings


def study(tmp_path: Path, **changes: Any) -> BidsStudy:
    return BidsStudy(**meg_files.study_settings(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"responses": {"reference": "average"}},
            "responses.reference: found average, which is for EEG; sensors of MEG",
        ),
        ({"responses": {"reject_uv": 100.0}}, r"responses.reject_uv is for EEG \(microvolt\); for MEG set reject_ft"),
        ({"responses": {"reject_ft": 4e-12}}, "reject_ft is in fT, not in T; found 4e-12, which is below the noise"),
        ({"datatype": "eeg", "responses": {"reject_uv": 1.5e-4}}, "reject_uv is in microvolt, not in V"),
        ({"picks": "eeg"}, "picks: eeg does not fit datatype: meg"),
        ({"extension": ".vhdr"}, r"extension: found .vhdr, not a format of meg; expected one of .fif, .ds"),
        ({"datatype": "eeg", "picks": "mag"}, "picks: mag does not fit datatype: eeg"),
        (
            {"datatype": "eeg", "responses": {"reject_ft": 4000.0}},
            "responses.reject_ft is for MEG, but this is a study of",
        ),
        ({"datatype": "eeg", "responses": {"head_movement_mm": 4.0}}, "responses.head_movement_mm is for MEG"),
        ({"datatype": "eeg", "extension": ".ds"}, "extension: found .ds, not a format of eeg"),
    ],
)
def test_settings_of_the_other_technique_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        study(tmp_path, **changes)


def test_an_average_reference_is_refused_by_the_stage_as_well(tmp_path):
    write_dataset(tmp_path)
    with pytest.raises(InputError, match="reference: average is of EEG"):
        made(tmp_path, tmp_path, {"reference": "average"})


def test_the_former_name_of_the_kind_is_told():
    with pytest.raises(settings.SettingsError, match=r"studies.mine.kind: 'bids_eeg' was renamed to 'bids'"):
        settings.load({"studies": {"mine": {"kind": "bids_eeg", "root": "x"}}})


def test_models_of_eeg_are_not_applied_to_meg(tmp_path):
    plain = {key: value for key, value in meg_files.study_settings(tmp_path).items() if key != "datatype"}
    config = {
        "studies": {"meg": {**plain, "datatype": "meg"}, "eeg": plain},
        "bands": {"all": {}},
        "towers": {"small": {"model": "local-dir:workflow/towers/grammar-vit"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"ridge": {"kind": "ridge", "tower": "small"}},
        "experiments": {"main": {"study": "eeg", "signals": ["all"], "protocols": ["intra"], "methods": ["ridge"]}},
        "apply": {"over": {"experiment": "main", "study": "meg"}},
    }
    with pytest.raises(settings.SettingsError, match="'meg' is a study of MEG, and the models are of EEG"):
        settings.load(config)


def test_the_estimate_takes_the_number_of_sensors_from_meg_json(tmp_path):
    write_dataset(tmp_path, runs=("01",), types=dict.fromkeys(SENSORS, "OTHER"))
    assert not _described(only(tmp_path))[2]
    path = only_run(tmp_path, "01").with_suffix(".json")
    path.write_text('{"MEGChannelCount": 272, "SamplingFrequency": 1200.0}')
    assert _described(only(tmp_path)) == (1200.0, 272, True)


def test_another_rate_in_meg_json_is_said(tmp_path, caplog):
    write_dataset(tmp_path, runs=("01",))
    only_run(tmp_path, "01").with_suffix(".json").write_text('{"SamplingFrequency": 1200.0}')
    recording.open_recording(only(tmp_path))
    assert "sampled at 250 Hz, but meg.json says 1200 Hz" in caplog.text


@pytest.mark.parametrize(("told", "said"), [("epoched", True), ("discontinuous", True), ("continuous", False)])
def test_a_recording_in_parts_is_said(tmp_path, caplog, told, said):
    write_dataset(tmp_path, runs=("01",))
    only_run(tmp_path, "01").with_suffix(".json").write_text(f'{{"RecordingType": "{told}"}}')
    recording.open_recording(only(tmp_path))
    assert (f"not one continuous recording (RecordingType is {told} in meg.json)" in caplog.text) == said


@pytest.mark.parametrize(("kind", "said"), [(b"EDF+D", True), (b"EDF+C", False), (b"", False)])
def test_an_edf_file_with_time_between_its_records_is_known(tmp_path, kind, said):
    path = tmp_path / "x_eeg.edf"
    path.write_bytes(b"0".ljust(192) + kind.ljust(44) + b"1".ljust(20))
    assert recording_files.is_discontinuous(path) == said
    assert not recording_files.is_discontinuous(path.with_suffix(".fif"))


def test_epochs_of_a_band_of_meg_alone_are_filtered(tmp_path):
    """What MNE filters it filters by type: sensors must be among them."""
    kinds = names(3, extra=False)
    raw = mne.io.RawArray(meg_files.noise(0, kinds), meg_files.info_of(kinds))
    cut = Responses(tmin=0.0, tmax=0.4, sfreq=SFREQ, baseline=None)
    low, _ = epoching.epochs_of(raw, np.arange(3, 20), Band(l_freq=None, h_freq=10.0), cut)
    plain, _ = epoching.epochs_of(raw, np.arange(3, 20), Band(), cut)
    assert low.std() < 0.5 * plain.std()


def test_units_by_type():
    assert channels.unit_of({"a": "grad", "b": "mag"}) == "T and T/m"
    assert channels.unit_of({"a": "eeg"}) == "V"


def test_a_copy_of_a_recording_is_seen_in_tesla_as_in_volts(tmp_path):
    write_dataset(tmp_path, runs=("01",))
    for path in (tmp_path / "sub-01" / "meg").iterdir():
        shutil.copy(path, path.with_name(path.name.replace("run-01", "run-02")))
    with pytest.raises(InputError, match=r"same samples|are the same recording|hold"):
        made(tmp_path, tmp_path)
