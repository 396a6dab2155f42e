"""Stage ``calibrate``: points of the raw space of a tower from predictions, fitted out of fold on training stimuli."""

from __future__ import annotations

from brain2clip import stage


def run(job: stage.Job) -> None:
    """Not written yet."""
    raise NotImplementedError


if __name__ == "__main__":
    stage.main(run)
