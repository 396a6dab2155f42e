"""Methods of the field by name: ``base: field/NAME`` of a method starts from ``workflow/methods/NAME.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from brain2clip.settings.base import Block, Filled, Name, SettingsError, Text, suggest
from brain2clip.settings.towers import Tower

FOLDER = Path(__file__).resolve().parents[3] / "workflow/methods"
#: What stands before a name of the field, which no name of a configuration can begin with.
PREFIX = "field/"


class Count(Block):
    """Trained parameters of a method for responses of one shape.

    ``parts`` are attributes of the model, as ``encoder``, ``brain_head``, ``visual``, ``shared``.
    """

    channels: int = Field(ge=1, description="channels or voxels of a response")
    times: int = Field(1, ge=1, description="samples of a response")
    sfreq: float = Field(0.0, ge=0, description="sampling rate, Hz; 0: there is no time axis")
    parts: dict[str, int] = Field(description="number of trained parameters by part of the model")


class FieldMethod(Block):
    """A method of the field: its settings as coded, where they come from, and in what they differ."""

    label: Text = Field(description="name in tables")
    modality: Literal["eeg", "fmri"] = Field("eeg", description="what the method was made for")
    source: Text = Field(description="paper and repository")
    licence: Text = Field(description="licence of the original's code; none of that code is copied here")
    data: Text = Field(description="channels, repetitions and scaling of the original")
    selection: Text = Field(description="how the original chose its epoch")
    numbers: Text = Field("none", description="published results")
    differences: tuple[Text, ...] = Field((), description="what differs from the original's code here, and why")
    published: tuple[Filled, ...] = Field((), description="names of the method in workflow/published")
    towers: dict[Name, Tower] = Field(default_factory=dict, description="the tower of the original")
    ready: dict[Name, int] = Field(
        default_factory=dict, description="widths of the ready vectors that the method reads"
    )
    counts: tuple[Count, ...] = Field((), description="numbers of parameters")
    method: dict[str, Any] = Field(description="settings of the method")


@cache
def names() -> tuple[str, ...]:
    """Methods of the field, by the alphabet."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def read(name: str) -> FieldMethod:
    """What is known of a method.

    Raises
    ------
    SettingsError
        Where there is none of this name, or its file is not as it should be.
    """
    if name not in names():
        raise SettingsError(f"no published method named {name!r}{suggest(name, names())}")
    path = FOLDER / f"{name}.yaml"
    try:
        return FieldMethod.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from None


def settings_of(base: str) -> dict[str, Any]:
    """Settings of a method, as written, for ``base``: its label too.

    Raises
    ------
    SettingsError
        As :func:`read`.
    """
    found = read(base.removeprefix(PREFIX))
    return {"label": found.label, **found.method}


def towers_of(bases: Iterable[str], methods: Mapping[Any, Any], there: Iterable[Any]) -> dict[str, Any]:
    """Towers that methods name after the field, where a configuration has none of that name.

    Parameters
    ----------
    bases : iterable of str
        ``field/NAME`` of those that methods start from.
    methods : mapping
        Methods of the configuration, merged onto their bases.
    there : iterable
        Names of the towers of the configuration.
    """
    known = {name: tower for base in bases for name, tower in read(base.removeprefix(PREFIX)).towers.items()}
    named = (one.get("tower") for one in methods.values() if isinstance(one, Mapping))
    wanted = {tower for tower in named if isinstance(tower, str)}  # of another value the settings say what is wrong
    return {
        name: tower.model_dump(mode="json", exclude_unset=True)
        for name, tower in known.items()
        if name in wanted and name not in set(there)
    }
