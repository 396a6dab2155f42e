"""Cost of training: seconds, and processor seconds of all threads of the process."""

from __future__ import annotations

import time

#: Columns of a history that say it.
COLUMNS = ("seconds", "cpu_seconds")


class Meter:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._started = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both since then, by column of a history."""
        return {name: now - then for name, now, then in zip(COLUMNS, self._now(), self._started)}
