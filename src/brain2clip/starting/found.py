"""Findings of an inspection of data, as needed for a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from brain2clip.starting.shown import Choice


@dataclass(frozen=True)
class Found:
    """The user's data after inspection.

    Attributes
    ----------
    kind : str
        Kind of the study.
    choice : Choice
        Stimuli, trials, split.
    subjects : tuple of str
        Labels.
    settings : dict
        Settings of the study with the paths of the data, in order.
    seen : dict
        Comment lines by the setting below them; an empty name: comments on the whole file.
    steps : dict
        From signals to responses.
    signal : tuple of str
        Name and settings of the signal, a band or a region.
    n_inputs : int
        Numbers of a response.
    alike : bool
        Whether responses of all subjects have the same inputs, so that one model can use them.
    """

    kind: str
    choice: Choice
    subjects: tuple[str, ...]
    settings: dict[str, object]
    seen: dict[str, list[str]]
    steps: dict[str, object]
    signal: tuple[str, dict[str, object]]
    n_inputs: int
    alike: bool
