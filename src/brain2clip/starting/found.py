"""What a look at data has found, as far as a configuration needs it."""

from __future__ import annotations

from dataclasses import dataclass

from brain2clip.starting.shown import Choice


@dataclass(frozen=True)
class Found:
    """Data of one's own, looked at.

    Attributes
    ----------
    kind : str
        Kind of the study.
    choice : Choice
        Stimuli, trials, split.
    subjects : tuple of str
        Labels.
    settings : dict
        Settings of the study that say where the data are, in order.
    seen : dict
        Lines of comments by the setting that they stand above; under an empty name, those on the whole.
    steps : dict
        From signals to responses.
    signal : tuple of str
        Name and settings of the signal, a band or a region.
    n_inputs : int
        Numbers of a response.
    alike : bool
        Whether responses of two subjects are the same inputs, so that one model may read both.
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
