"""Small voxel data for tests: signals of two categories over runs, with a table of their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brain2clip.stage import Job

NAMES = ("face", "house")
RUNS = 4
ROWS = 30  # of a run
N_VOXELS = 8


def labels() -> tuple[list[str], list[str]]:
    """Stimulus and run of each row: five rows of rest, then blocks of five, face and house in turn, rest between."""
    run = ["rest"] * 5 + ["face"] * 5 + ["rest"] * 2 + ["house"] * 5 + ["rest"] * 3 + ["face"] * 5 + ["house"] * 5
    assert len(run) == ROWS
    return run * RUNS, [str(number) for number in range(1, RUNS + 1) for _ in range(ROWS)]


def signals(seed: int = 0) -> np.ndarray:
    """Noise around another level in each run, with drifts and an effect of the category [n_rows, N_VOXELS]."""
    random = np.random.default_rng(seed)
    shown, runs = labels()
    level = random.normal(500, 50, (RUNS, N_VOXELS))
    slope = random.normal(0, 1, (RUNS, N_VOXELS))
    number = np.array(runs, int) - 1
    time = np.tile(np.arange(ROWS), RUNS)
    effect = np.array([{"rest": 0, "face": 1, "house": -1}[name] for name in shown])
    drift = slope[number] * time[:, None]
    return level[number] + drift + effect[:, None] * 3 + random.normal(0, 2, (len(shown), N_VOXELS))


def write(folder: Path, values: np.ndarray | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "signals.npy", signals() if values is None else values)
    lines = ["condition,run", *(f"{name},{run}" for name, run in zip(*labels()))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder


def study(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "voxel_table",
        "signals": str(folder / "signals.npy"),
        "table": str(folder / "rows.csv"),
        "subjects": ["01"],
        "stimulus": "condition",
        "rest": ["rest"],
        "run": "run",
        "split": {"by": "run", "test": ["4"]},
        "categories": {name: [f"a photo of a {name}"] for name in NAMES},
        **changes,
    }


def job(
    output: Path,
    settings: dict[str, Any],
    steps: dict[str, Any] | None = None,
    roi: dict[str, Any] | None = None,
    subject: str = "01",
) -> Job:
    """A run of the stage ``voxels``, which is not told about other subjects."""
    own = {key: value for key, value in settings.items() if key != "subjects"}
    values = {"name": "mine", "study": own, "voxels": steps or {}, "roi": roi or {}, "subject": subject, "results": "r"}
    return Job("voxels", values, "code", {}, {}, {"responses": output})
