"""What a part of the attack tells."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """One part of the attack (``tests/attack/PART.py`` has ``run(count, seed) -> Report``).

    Attributes
    ----------
    name : str
        What was attacked, e.g. ``"damage"``.
    tried : int
        How many attacks ran to their end.
    failures : list of str
        A line for each that should not have ended as it did, with what makes it again. Empty is what is wanted.
    """

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
