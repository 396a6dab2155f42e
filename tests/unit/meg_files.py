"""Small MEG recordings for tests: FIF by MNE, and folders of CTF written here in the layout that MNE's reader reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bids_fixtures
import mne
import numpy as np
from mne.io.constants import FIFF

SFREQ = 250.0
#: Coil of a sensor by its type and what it is called in MNE.
COILS = {
    "mag": FIFF.FIFFV_COIL_CTF_GRAD,
    "grad": FIFF.FIFFV_COIL_VV_PLANAR_T1,
    "ref_meg": FIFF.FIFFV_COIL_CTF_REF_MAG,
}
#: How BIDS calls the types.
BIDS = {"mag": "MEGGRADAXIAL", "grad": "MEGGRADPLANAR", "ref_meg": "MEGREFMAG", "stim": "TRIG", "misc": "MISC"}
#: CTF's numbers of the kinds of channels, and the factor from its whole numbers to T or V.
CTF_KINDS = {"mag": 5, "ref_meg": 0, "stim": 11, "misc": 17}
CTF_STEP = 1e-15


def names(n_mag: int = 8, n_grad: int = 0, extra: bool = True) -> dict[str, str]:
    """Type of each channel by its name, as CTF and Neuromag call them; references and a trigger where wanted."""
    found = {f"MLO{number + 11}-1609": "mag" for number in range(n_mag)}
    found |= {f"MEG{2 * number + 112:04d}": "grad" for number in range(n_grad)}
    return {"BG1-1609": "ref_meg", **found, "UPPT001": "stim"} if extra else found


def places(count: int) -> np.ndarray:
    """Sensors on a helmet over the head, [count, 3], m: in pairs at one place beyond the first ones."""
    turn = np.arange(count)
    height = 0.02 + 0.07 * turn / max(count, 1)
    around = np.sqrt(0.1**2 - height**2)
    return np.stack([around * np.cos(2.4 * turn), around * np.sin(2.4 * turn), height], axis=1)


def head(shift_mm: float = 0.0) -> mne.transforms.Transform:
    """Position of the head in the device."""
    trans = np.eye(4)
    trans[:3, 3] = [1e-3 * shift_mm, 0.0, 0.04]
    return mne.transforms.Transform("meg", "head", trans)


def info_of(kinds: Mapping[str, str], sfreq: float = SFREQ, shift_mm: float = 0.0, grade: int = 0) -> mne.Info:
    """Header with coils, places, the position of the head, and a grade of compensation."""
    info = mne.create_info(list(kinds), sfreq, list(kinds.values()))
    sensors = [name for name, kind in kinds.items() if kind in ("mag", "grad")]
    where = dict(zip(sensors, places(len(sensors))))
    for one in info["chs"]:
        kind = kinds[one["ch_name"]]
        if kind in COILS:
            one["coil_type"] = COILS[kind] | (grade << 16 if kind != "ref_meg" else 0)
            one["coord_frame"] = FIFF.FIFFV_COORD_DEVICE
            one["loc"][:] = np.r_[where.get(one["ch_name"], np.array([0.0, 0.0, 0.3])), np.eye(3).ravel()]
    with info._unlock():
        info["dev_head_t"] = head(shift_mm)
        info["line_freq"] = 50.0
    return info


def noise(seed: int, kinds: Mapping[str, str], seconds: float = 30.0, sfreq: float = SFREQ) -> np.ndarray:
    """Correlated noise of about 200 fT (planar gradiometers: 2 fT/cm and more), [channels, samples]."""
    data = bids_fixtures.noise(seed, seconds, sfreq, len(kinds)) / 1e-5
    scale = {"mag": 2e-13, "grad": 5e-12, "ref_meg": 1e-12}
    return data * np.array([scale.get(kind, 0.0) for kind in kinds.values()])[:, None]


def base_name(subject: str, task: str, run: str, session: str | None = None) -> str:
    parts = [f"sub-{subject}", session and f"ses-{session}", f"task-{task}", f"run-{run}"]
    return "_".join(part for part in parts if part)


def write_sidecars(
    folder: Path, name: str, kinds: Mapping[str, str], events: Mapping[str, Sequence[Any]], **changes: Any
) -> None:
    """``events.tsv`` and ``channels.tsv``; ``types`` and ``status`` by channel change the latter."""
    bids_fixtures.write_tsv(folder / f"{name}_events.tsv", events)
    types = changes.get("types") or {}
    table = {
        "name": [changes.get("named", str)(channel) for channel in kinds],
        "type": [types.get(channel, BIDS[kind]) for channel, kind in kinds.items()],
        "units": ["T" if kind != "grad" else "T/m" for kind in kinds.values()],
        "status": [(changes.get("status") or {}).get(channel, "good") for channel in kinds],
    }
    bids_fixtures.write_tsv(folder / f"{name}_channels.tsv", table)


def write_run(
    root: Path,
    data: np.ndarray,
    kinds: Mapping[str, str],
    events: Mapping[str, Sequence[Any]],
    *,
    subject: str = "01",
    task: str = "see",
    run: str = "01",
    info: mne.Info | None = None,
    **changes: Any,
) -> Path:
    """One recording in FIF with its tables."""
    folder, name = root / f"sub-{subject}" / "meg", base_name(subject, task, run)
    folder.mkdir(parents=True, exist_ok=True)
    raw = mne.io.RawArray(data, info_of(kinds) if info is None else info, verbose="error")
    raw.save(folder / f"{name}_meg.fif", overwrite=True, verbose="error")
    write_sidecars(folder, name, kinds, events, **changes)
    return folder / f"{name}_meg.fif"


def write_dataset(
    root: Path, kinds: Mapping[str, str] | None = None, runs: Sequence[str] = ("01", "02"), **options: Any
) -> Path:
    """One subject, runs of 30 s with alternating faces and houses."""
    kinds = kinds or names()
    for number, run in enumerate(runs):
        write_run(root, noise(number, kinds), kinds, bids_fixtures.regular_events(40), run=run, **options)
    return root


def study_settings(root: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a study of faces and houses, the last run being the test."""
    return bids_fixtures.study_settings(root, **{"datatype": "meg", **changes})


# ------------------------------------------------------------------------------------------------- CTF

_COIL = np.dtype(
    [
        ("pos", ">f8", 3),
        ("d0", ">f8"),
        ("norm", ">f8", 3),
        ("d1", ">f8"),
        ("turns", ">i2"),
        ("d2", ">i4"),
        ("d3", ">i2"),
        ("area", ">f8"),
    ]
)
_CHANNEL = np.dtype(
    [
        ("kind", ">i2"),
        ("run", ">i2"),
        ("coil_type", ">i4"),
        ("proper_gain", ">f8"),
        ("q_gain", ">f8"),
        ("io_gain", ">f8"),
        ("io_offset", ">f8"),
        ("num_coils", ">i2"),
        ("grade", ">i2"),
        ("d0", ">i4"),
        ("coil", _COIL, 8),
        ("head_coil", _COIL, 8),
    ]
)


def write_ctf(
    folder: Path,
    data: np.ndarray,
    kinds: Mapping[str, str],
    sfreq: float = SFREQ,
    grade: int = 0,
    shift_mm: float = 0.0,
) -> Path:
    """The three files of a ``.ds`` folder that MNE reads: header (res4), samples (meg4), position of the head (hc).

    Values are kept as whole multiples of 1 fT (channels that are no sensors: of 1 V).
    """
    folder.mkdir(parents=True)
    n_channels, n_samples = data.shape
    header = bytearray(1844)
    header[:8] = b"MEG42RS\0"
    for place, kind, value in (
        (1288, ">i4", n_samples), (1292, ">i2", n_channels), (1296, ">f8", sfreq), (1304, ">f8", n_samples / sfreq),
        (1312, ">i2", 1), (1320, ">i2", 1),
    ):  # fmt: skip
        content = np.array(value, kind).tobytes()
        header[place : place + len(content)] = content
    channels = np.zeros(n_channels, _CHANNEL)
    sensors = [number for number, kind in enumerate(kinds.values()) if kind == "mag"]
    where = np.zeros((n_channels, 3))
    where[sensors] = places(len(sensors))
    for number, (one, kind) in enumerate(zip(channels, kinds.values())):
        one["kind"], one["proper_gain"], one["q_gain"], one["num_coils"] = CTF_KINDS[kind], -1.0, -1.0, 1
        if kind in ("mag", "ref_meg"):
            one["q_gain"], one["grade"] = -1 / CTF_STEP, grade if kind == "mag" else 0
            one["coil"]["pos"][0] = 100 * (where[number] if kind == "mag" else np.array([0.0, 0.0, 0.3]))
            one["coil"]["norm"][0] = [0.0, 0.0, 1.0]
    with (folder / f"{folder.stem}.res4").open("wb") as file:
        file.write(bytes(header) + np.array(0, ">i2").tobytes())  # no filter
        for name in kinds:
            file.write(name.encode().ljust(32, b"\0"))
        file.write(channels.tobytes() + _coefficients(kinds))
    step = np.array([CTF_STEP if kind in ("mag", "ref_meg") else 1.0 for kind in kinds.values()])
    with (folder / f"{folder.stem}.meg4").open("wb") as file:
        file.write(b"MEG41CP\0" + np.round(data / step[:, None]).astype(">i4").tobytes())
    lines = []
    coils = {"nasion": (9.0, 0.0, 0.0), "left ear": (0.0, 7.0, 0.0), "right ear": (0.0, -7.0, 0.0)}
    for frame, lower in (("dewar", 0.1 * shift_mm), ("head", 0.0)):
        for name, point in coils.items():
            lines.append(f"measured {name} coil position relative to {frame} (cm):")
            moved = (*point[:2], point[2] - (25.0 + lower if frame == "dewar" else 0.0))
            lines += [f"\t{axis} = {value}" for axis, value in zip("xyz", moved)]
    (folder / f"{folder.stem}.hc").write_text("\n".join(lines) + "\n")
    return folder


def _coefficients(kinds: Mapping[str, str]) -> bytes:
    """Coefficients of compensation by the references, all zero, for each grade; MNE reads no file without."""
    record = np.dtype(
        [
            ("name", "S32"),
            ("type", ">i4"),
            ("d0", ">i4"),
            ("count", ">i2"),
            ("sensors", "S31", 50),
            ("values", ">f8", 50),
        ]
    )
    references = [name for name, kind in kinds.items() if kind == "ref_meg"]
    sensors = [name for name, kind in kinds.items() if kind == "mag"]
    found = np.zeros(3 * len(sensors), record)
    for number, one in enumerate(found):
        one["name"], one["count"] = sensors[number % len(sensors)].encode(), len(references)
        one["type"] = int.from_bytes(f"G{1 + number // len(sensors)}BR".encode(), "big")
        one["sensors"][: len(references)] = [name.encode() for name in references]
    return np.array(len(found), ">i2").tobytes() + found.tobytes()
