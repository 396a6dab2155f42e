"""Channels of responses in figures: their types, and the units in which their values are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain2clip.names import UNITS

if TYPE_CHECKING:
    import h5py

#: Unit in which values of a unit are drawn, and the factor to it.
DRAWN = {"V": ("µV", 1e6), "T": ("fT", 1e15), "T/m": ("fT/cm", 1e13)}
#: Names of channels of a type.
NAMES = {"eeg": "channels", "mag": "mag sensors", "grad": "grad sensors"}
#: Quantities that they measure.
QUANTITIES = {"V": "potential", "T": "magnetic field", "T/m": "field gradient"}


def types(file: h5py.File) -> list[str]:
    """Type of each channel of a responses artefact, as MNE calls them."""
    return [str(one) for one in file["channel_type"].asstr()[:]]


def unit(file: h5py.File, name: str, kind: str) -> str:
    """Unit of ``quality/NAME`` for channels of a type: from the dataset or its group, else that of recordings."""
    own, group = file[f"quality/{name}"].attrs, file["quality"].attrs
    return str(own.get("unit", group.get("unit", UNITS[kind])))


def technique(kinds: list[str]) -> str:
    """EEG or MEG, from types of channels."""
    return "EEG" if set(kinds) == {"eeg"} else "MEG"
