"""What growing the house costs: edits that change no result yet, counted in dry runs after a finished run.

The cases are the promise, as in ``test_reruns.py``; ``docs/growth.md`` is written from them::

    python tests/workflow/test_growth.py
"""

from __future__ import annotations

import pytest
from project import ROOT, Project

pytestmark = pytest.mark.workflow

DOCUMENT = ROOT / "docs" / "growth.md"
SOURCE = "src/brain2clip"
#: A study of pictures as a user has it on disk: what the tiny study wrote, read as BIDS with a table of its own.
ON_DISK = """
results: results/on-disk
studies:
  mine:
    kind: bids_eeg
    root: mine
    tasks: [train, test]
    keep: {trial_type: [image]}
    stimulus: "{task}-{tot_img_number}"
    stimuli: mine.tsv
    split: {by: task, test: [test]}
    responses: {tmin: 0.0, tmax: 0.4, sfreq: 50.0, channels: occipital-parietal-17, whitening: {kind: zscore}}
bands:
  slow: {l_freq: 1, h_freq: 8}
towers:
  grammar-vit: {model: "local-dir:workflow/towers/grammar-vit"}
protocols:
  intra: {kind: intra-subject}
methods:
  ridge: {kind: ridge, tower: grammar-vit}
experiments:
  main: {study: mine, signals: [slow], protocols: [intra], methods: [ridge]}
retrieval: {tasks: [stimulus, caption], bootstrap: 200, metrics: [top-1]}
tables:
  main: {kind: methods, experiments: [main], metric: top-1}
"""


def written(path: str, text: str):
    """A file that was not there."""

    def write(project: Project) -> None:
        target = project.folder / path
        assert not target.exists()
        target.write_text(text, encoding="utf-8")

    return write


def reworded(*edits: tuple[str, str, str]):
    """Texts in files of the source replaced."""

    def replace(project: Project) -> None:
        for file, old, new in edits:
            project.replace(f"{SOURCE}/{file}", old, new)

    return replace


ENCODER = '''"""An encoder that no method uses."""

from torch import nn


class Encoder(nn.Linear):
    """One matrix."""
'''
METRIC = '''"""Mean reciprocal rank."""

import numpy as np

from brain2clip.retrieval.metric_base import MetricBase


class Metric(MetricBase):
    """Mean of 1 / rank."""

    def per_query(self, rank, n_candidates):
        return 1 / np.asarray(rank, dtype=float)

    def chance(self, n_candidates):
        return float(np.mean(1 / np.arange(1, n_candidates + 1)))
'''
FIGURE = '''"""A figure of the number of queries."""

from brain2clip.reporting import figure_base


class Figure(figure_base.FigureBase):
    """Nothing but a title."""

    @staticmethod
    def inputs(plan, study):
        runs = figure_base.shown_runs(plan, study)[:1]
        return {"rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec)}

    @staticmethod
    def draw(job):
        from matplotlib import pyplot

        return pyplot.figure()
'''


def own_code(project: Project) -> None:
    """A metric and an option, each where its recipe says."""
