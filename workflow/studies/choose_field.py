"""How the learning rates of ``field-simulated.yaml`` were chosen: on held-out training concepts of another study.

    python workflow/studies/choose_field.py [--processes 2] [METHOD ...]

takes the configuration with another seed (other training concepts, pictures and subjects; no test is read), trains
every contrastive method with some rates on four fifths of the training concepts of two subjects, and looks the
responses to the rest up among the pictures of the rest. docs/choices-field.md shows its output.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path
from typing import Any

import choose
import numpy as np
import yaml

from brain2clip import settings

STUDY = Path("workflow/studies/field-simulated.yaml")
CONFIG = Path("results/field-development.yaml")
#: Seed of the development study, and who takes part in it.
SEED, SUBJECTS = 2, 2
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
#: Their rates were chosen for the study of prompts (docs/choices.md), in the same world.
KNOWN = ("frozen", "neuroclip", "neuroclip-plus")
MARKS = (5, 10, 20, 30, 45, 60)


def development() -> settings.Config:
    """The development study as a configuration of its own, written where its results go."""
    raw = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    raw["results"] = "results/field-development"
    raw["studies"]["simulated"] |= {"seed": SEED, "subjects": SUBJECTS}
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    CONFIG.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return settings.load(raw, str(CONFIG))


def with_rate(block: dict[str, Any], rate: float) -> dict[str, Any]:
    """Settings of a method with another learning rate; that of a second stage stays half of it."""
    changes: dict[str, Any] = {"optimiser.lr": rate}
    if block["optimiser"].get("second"):
        changes["optimiser.second.lr"] = rate / 2
    return choose.changed(block, changes)


def main() -> None:
    """All methods, one after the other, every rate on all subjects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    config, started = development(), time.monotonic()
    choose.made(CONFIG, given.processes, "epochs", "features", "vectors")
    learned = {name: one for name, one in config.methods.items() if one.kind == "contrastive"}
    methods = [name for name, one in learned.items() if not (one.shuffle_labels or name in KNOWN)]
    print(f"Seed {SEED}, {SUBJECTS} subjects; Top-1 (%) among the pictures of held-out training concepts, their mean.")
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for name in given.methods or methods:
            block = settings.dump(config.methods[name])
            tasks = [(CONFIG, with_rate(block, rate), f"{one + 1:02d}", 0) for rate in RATES for one in range(SUBJECTS)]
            found = pool.map(choose.curve, tasks, chunksize=1)
            curves = 100 * np.stack([one for one, _ in found]).reshape(len(RATES), SUBJECTS, -1).mean(axis=1)
            seconds = np.array([one for _, one in found]).reshape(len(RATES), -1).mean(axis=1)
            marks = [epoch for epoch in MARKS if epoch <= curves.shape[1]]
            print(f"\n## {name}\n\n| rate | {' | '.join(f'epoch {epoch}' for epoch in marks)} | processor s |")
            print("|---" * (len(marks) + 2) + "|")
            for rate, curve, cost in zip(RATES, curves, seconds):
                print(f"| {rate:g} | {' | '.join(f'{curve[epoch - 1]:.1f}' for epoch in marks)} | {cost:.0f} |")
            print(f"\nTaken: {RATES[int(curves[:, -1].argmax())]:g}.", flush=True)
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
