"""Stage ``generate``: pictures of what a run predicts."""

from __future__ import annotations

from brain2clip import stage


def run(job: stage.Job) -> None:
    """Not written yet."""
    raise NotImplementedError


if __name__ == "__main__":
    stage.main(run)
