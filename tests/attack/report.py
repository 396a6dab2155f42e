"""What a part of the attack tells."""

from __future__ import annotations

from collections import Counter
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
    tried_of, failed_of : Counter
        The same numbers by what was attacked, where the part tells them.
    """

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    tried_of: Counter[str] = field(default_factory=Counter)
    failed_of: Counter[str] = field(default_factory=Counter)

    def add(self, of: str, failure: str) -> None:
        """An attack on something, and the line of its failure (empty: none)."""
        self.tried += 1
        self.tried_of[of] += 1
        if failure:
            self.failed_of[of] += 1
            self.failures.append(failure)
