"""Check of the voxel signals of an fMRI study and the tables of their rows.

All checks are those of the stage ``voxels``, by the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brain2clip.preflight.looks import Budget, Look
from brain2clip.readers.attempts import Attempts
from brain2clip.responses import checks, voxels
from brain2clip.settings import Roi, Voxels

#: Voxels that are read where all would be too many, at most.
SOME = 200


@dataclass(frozen=True)
class Looker:
    """How voxel signals are looked at; as :class:`brain2clip.preflight.recordings.Looker`, with regions for bands."""

    study: Any
    steps: Voxels
    rois: Mapping[str, Roi]
    attempts: Attempts
    look: Look
    budget: Budget | None

    def subject(self, subject: str) -> None:
        """Look at a subject."""
        with self.attempts.within(f"sub-{subject}", f"subject {subject}", *self.study.files(subject)):
            before = self.attempts.count
            if hasattr(self.study, "check_rows"):
                table = self.study.check_rows(subject, self.attempts)
                if self.attempts.count == before:
                    self.look.took(subject, table[table["stimulus"] != ""])
            if self.budget is None:  # signals are not opened: some formats are read whole for it
                return
            where = f"study {self.study.name}, subject {subject}"
            regions = self.attempts(None, self.study.regions, subject)
            names = self.attempts([], self.study.voxel_names, subject)
            chosen = {
                roi: self.attempts([], voxels.voxels_of, self.rois[roi], regions, len(names), where)
                for roi in (self.rois if regions is not None and names else ())
            }
            if self.attempts.count > before:
                return
            rows: pd.DataFrame | None = self.attempts(None, self.study.rows, subject)
            if rows is None:
                return
            shown = rows[rows["stimulus"] != ""]
            self.attempts(None, checks.check_trials, self.study, subject, shown)
            planned = self.attempts(None, voxels.plan_responses, rows, self.steps)
            if planned is not None:
                wanted, when = checks.sides(self.study, shown), "with the delay voxels.delay"
                self.attempts(None, checks.check_split, self.study, subject, planned.trials, when, wanted)
                self.attempts(None, voxels.check_runs, self.study, subject, rows, planned, self.steps)
            self.look.took(subject, shown)
            union = np.unique(np.concatenate([np.zeros(0, int), *chosen.values()])).astype(int)
            self.attempts(None, self._signals, subject, union, len(rows))
            if planned is not None and self.attempts.count == before:
                counts = planned.trials["split"].value_counts()
                self.look.trials[subject] = (int(counts.get("train", 0)), int(counts.get("test", 0)))
                self.look.response_bytes += 4 * len(planned.trials) * max(map(len, chosen.values()), default=0)
                sizes = ", ".join(f"{roi} {len(found)}" for roi, found in chosen.items())
                self.look.shape = self.look.shape or f"{len(names)} voxels of {len(rows)} rows; by region: {sizes}"

    def _signals(self, subject: str, chosen: Any, n_rows: int) -> None:
        """Signals are numbers, where this is not left to ``voxels.not_finite: drop``."""
        assert self.budget is not None
        size = 8 * n_rows * len(chosen)
        self.look.largest_bytes = max(self.look.largest_bytes, size)
        if self.budget.take(size):
            self.look.read("signals of all voxels")
        else:
            chosen = chosen[:: -(-len(chosen) // SOME)]
            self.look.read(f"signals of {len(chosen)} voxels")
        bad = voxels.Bad()
        signals = self.study.signals(subject, chosen).astype(float)
        if self.steps.not_finite == "refuse":
            bad.found(signals, slice(0, len(chosen)), chosen)
            bad.refuse(self.study, subject)
