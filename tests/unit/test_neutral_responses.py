"""Options of responses and studies at their neutral value: their code is not run, and nothing changes without the key.

The code that belongs to an option is poisoned. At the neutral value the stage must give the same arrays, bit for bit,
whether its settings name the option or leave it out; at another value it must run into the poison, which shows that the
poison is in the right place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bids_fixtures
import h5py
import mne
import nibabel
import numpy as np
import pytest
import voxel_tables
from pydantic import BaseModel

from brain2clip import settings
from brain2clip.readers import bids_files, grids, user_stimuli
from brain2clip.responses import channels, epoching, epochs, same_samples, samples, voxels, whitening
from brain2clip.settings.base import neutral_fields
from brain2clip.stage import Job
from brain2clip.studies import bids as bids_study
from brain2clip.studies import voxel_table


class Poisoned(Exception):
    """The code of an option was run."""


def poison(*_: Any, **__: Any) -> Any:
    raise Poisoned


@dataclass(frozen=True)
class Case:
    """An option.

    Attributes
    ----------
    place : tuple of str
        Keys that lead to the block within the settings of the stage.
    other : object
        A value at which it does something.
    target, name : object, str
        What is poisoned.
    stage : str
        ``epochs`` or ``voxels``.
    instead : str or None
        Setting of the same block that the other value takes the place of.
    """

    place: tuple[str, ...]
    other: Any
    target: Any
    name: str
    stage: str = "epochs"
    instead: str | None = None


BAND, RESPONSES, REPETITIONS = ("band",), ("responses",), ("responses", "repetitions")
CASES: dict[tuple[str, str], Case] = {
    ("Band", "l_freq"): Case(BAND, 1.0, mne.io.BaseRaw, "filter"),
    ("Band", "h_freq"): Case(BAND, 40.0, mne.io.BaseRaw, "filter"),
    ("Band", "notch"): Case(BAND, [50.0], mne.io.BaseRaw, "notch_filter"),
    ("Responses", "crop"): Case(RESPONSES, [0.0, 0.2], epoching, "_inside"),
    ("Responses", "reference"): Case(RESPONSES, "average", mne.io.BaseRaw, "set_eeg_reference"),
    ("Responses", "scale"): Case(RESPONSES, 2.0, samples, "_rescale"),
    ("Responses", "bad_channels"): Case(RESPONSES, "drop", epochs, "bad_anywhere"),
    ("Responses", "bad_segments"): Case(RESPONSES, "drop", epochs, "_without"),
    ("Responses", "reject_uv"): Case(RESPONSES, 200.0, epochs, "_too_large"),
    ("Responses", "reject_ft"): Case(RESPONSES, 4000.0, epoching, "_by_channel"),
    ("Responses", "reject_ft_cm"): Case(RESPONSES, 4000.0, epoching, "_by_channel"),
    ("Responses", "without"): Case(RESPONSES, ["Fz"], epoching, "_left_out"),
    ("Responses", "baseline_mode"): Case(RESPONSES, "zscore", epoching, "_deviation"),
    ("Responses", "head_movement_mm"): Case(RESPONSES, 5.0, epochs, "refuse_movement"),
    ("Repetitions", "train"): Case(REPETITIONS, 5, epochs, "_ranks"),
    ("Repetitions", "test"): Case(REPETITIONS, 5, epochs, "_ranks"),
    ("BidsStudy", "keep"): Case(("study",), {"trial_type": ["face", "house"]}, bids_study.Study, "_only"),
    ("BidsStudy", "manifest"): Case(("study",), "x.csv", bids_study, "_fetched", instead="root"),
    ("BidsStudy", "entities"): Case(("study",), {"acq": None}, bids_files, "_chosen"),
    ("BidsStudy", "extension"): Case(("study",), ".vhdr", bids_files, "_of_extension"),
    ("BidsStudy", "datatype"): Case(("study",), "meg", bids_files, "_without_calibration"),
    ("BidsStudy", "picks"): Case(("study",), "eeg", bids_study, "_picked"),
    ("BidsStudy", "channel_types"): Case(("study",), "file", channels, "_of_file"),
    ("Split", "training"): Case(("study", "split"), "optional", user_stimuli.UserStudy, "_need_no_training"),
    ("Split", "concepts"): Case(("study", "split"), "seen", user_stimuli.UserStimuli, "_show_again"),
    ("Voxels", "detrend"): Case(("voxels",), "linear", voxels, "detrend", "voxels"),
    ("Voxels", "delay"): Case(("voxels",), 1, voxels, "_delayed", "voxels"),
    ("Voxels", "average"): Case(("voxels",), "block", voxels, "_blocks", "voxels"),
    ("Roi", "include"): Case(("roi",), ["V1"], voxels, "_union", "voxels"),
    ("Roi", "exclude"): Case(("roi",), ["V1"], voxels, "_without", "voxels"),
    ("VoxelTableStudy", "columns"): Case(("study",), ["condition", "run"], voxel_table, "_header", "voxels"),
    ("VoxelTableStudy", "mask"): Case(("study",), "mask.nii", voxel_table.Study, "_mask_of", "voxels"),
    ("VoxelTableStudy", "rois"): Case(("study",), {"V2": "early"}, voxel_table.Study, "_named_region", "voxels"),
    ("VoxelTableStudy", "rest"): Case(("study",), ["rest"], voxel_table.Study, "_is_rest", "voxels"),
    ("VoxelTableStudy", "run"): Case(("study",), "run", voxel_table.Study, "_runs", "voxels"),
    ("VoxelTableStudy", "session"): Case(("study",), "run", voxel_table.Study, "_sessions", "voxels"),
    ("VoxelTableStudy", "space"): Case(("study",), "grid", grids, "same_shape", "voxels"),
    ("Voxels", "not_finite"): Case(("voxels",), "drop", voxels, "finite", "voxels"),
    ("StudyBase", "equal_recordings"): Case(("study",), "allow", same_samples.Recordings, "allow"),
    **{
        (kind, "clamp"): Case(("responses", "whitening"), 2.0, whitening, "clamped")
        for kind in ("MvnnWhitening", "ZscoreWhitening", "RobustWhitening", "NoWhitening")
    },
}
#: Class and field of every option that is shown here to do nothing at its neutral value.
COVERED = set(CASES)
KIND_OF = {"MvnnWhitening": "mvnn", "ZscoreWhitening": "zscore", "RobustWhitening": "robust", "NoWhitening": "none"}


def test_every_neutral_option_of_these_blocks_is_covered():
    blocks = [settings.Band, settings.Roi, settings.Voxels, settings.Responses, settings.Repetitions,
              settings.MvnnWhitening, settings.ZscoreWhitening, settings.RobustWhitening, settings.NoWhitening,
              settings.FilterBank, settings.Tower, settings.SimulatedStudy, settings.BidsStudy,
              settings.ThingsEeg2Study, settings.ThingsEeg1Study, settings.SimulatedFmriStudy, settings.GodStudy,
             settings.ThingsMegStudy, settings.ThingsFmriStudy, settings.NsdStudy, settings.Bold5000Study,
             settings.VoxelTableStudy, settings.Split]  # fmt: skip
    of_all = set(settings.StudyBase.model_fields)
    found = {
        ("StudyBase" if name in of_all else block.__name__, name) for block in blocks for name in neutral_fields(block)
    }
    of_simulations = {("SimulatedFmriStudy", "sessions")}  # test_simulated_fmri.py
    assert found == COVERED | of_simulations


@pytest.fixture(scope="module")
def bids(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bids")
    for run in ("01", "02"):
        bids_fixtures.write_run(root, bids_fixtures.noise(int(run), 20), bids_fixtures.regular_events(20), run=run)
    return root


@pytest.fixture(scope="module")
def signals(tmp_path_factory) -> Path:
    folder = voxel_tables.write(tmp_path_factory.mktemp("voxels"))
    early = np.arange(voxel_tables.N_VOXELS) < 3
    np.savez(folder / "signals.npz", data=voxel_tables.signals(), early=early)
    volumes = voxel_tables.signals().T.astype(np.float32).reshape(voxel_tables.N_VOXELS, 1, 1, -1)
    for name, values in (("signals.nii", volumes), ("mask.nii", np.ones(volumes.shape[:3], np.uint8))):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name)
    return folder


def settings_of_epochs(folder: Path, kind: str) -> dict[str, Any]:
    """Everything neutral; the rate is that of the recording, so that no filter is needed against aliasing."""
    responses = {"tmin": -0.1, "tmax": 0.4, "sfreq": bids_fixtures.SFREQ, "whitening": {"kind": kind}}
    return bids_fixtures.job(folder, bids_fixtures.study_settings(folder), responses, band={}).settings


def settings_of_voxels(folder: Path, field: str) -> dict[str, Any]:
    """Everything neutral: rows of a table with a header, no rest, one run, no mask, no region."""
    given = voxel_tables.study(folder, signals=str(folder / "signals.npz"))
    given["categories"] = {name: [name] for name in ("face", "house", "rest")}
    del given["rest"]
    if field != "detrend":  # which takes runs of one side of the split
        given["split"] = {"by": "column", "column": "run", "test": ["4"]}
        del given["run"]
    if field == "space":
        given |= {"signals": str(folder / "signals.nii"), "mask": str(folder / "mask.nii")}
    if ("Roi", field) in CASES:
        given["rois"] = {"V1": "early"}
    return voxel_tables.job(folder, given).settings


def arrays(folder: Path, stage: str, values: dict[str, Any]) -> dict[str, Any]:
    """Datasets and attributes that a stage writes."""
    output = folder / "out.h5"
    (epochs if stage == "epochs" else voxels).run(Job(stage, values, "code", {}, {}, {"responses": output}))
    found: dict[str, Any] = {}
    with h5py.File(output) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        found |= {f"attribute {name}": value for name, value in file.attrs.items() if not name.startswith("brain2clip")}
    return found


def with_value(values: dict[str, Any], place: tuple[str, ...], field: str, *value: Any) -> dict[str, Any]:
    """Settings with another value of a field, or without it where none is given."""
    if place:
        first, *rest = place
        return {**values, first: with_value(values.get(first, {}), tuple(rest), field, *value)}
    left = {key: one for key, one in values.items() if key != field}
    return {**left, field: value[0]} if value else left


@pytest.mark.parametrize("option", CASES, ids="-".join)
def test_the_code_of_a_neutral_option_is_not_run(tmp_path, monkeypatch, bids, signals, option):
    block, field = option
    case = CASES[option]
    cls: type[BaseModel] = getattr(settings, block)
    if case.stage == "epochs":
        values = settings_of_epochs(bids, KIND_OF.get(block, "zscore"))
    else:
        values = settings_of_voxels(signals, field)
    neutral = cls.model_fields[field].get_default(call_default_factory=True)
    named = with_value(values, case.place, field, neutral)
    absent = with_value(values, case.place, field)
    clean = arrays(tmp_path, case.stage, absent)
    monkeypatch.setattr(case.target, case.name, poison)
    for given in (absent, named):
        found = arrays(tmp_path, case.stage, given)
        assert found.keys() == clean.keys()
        for name, value in clean.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    if case.instead is not None:
        values = with_value(values, case.place, case.instead)
    with pytest.raises(Poisoned):
        arrays(tmp_path, case.stage, with_value(values, case.place, field, case.other))
