"""What growing the house costs: edits that should cost nobody a result, counted in dry runs after finished runs.

The cases are the promise, as in ``test_reruns.py``; ``docs/growth.md`` is written from them::

    python tests/workflow/test_growth.py
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from finished import finished  # noqa: F401  a fixture
from project import ROOT, Project
from test_reruns import Case, in_words, put_back

from brain2clip import artefact

pytestmark = pytest.mark.workflow

DOCUMENT = ROOT / "docs" / "growth.md"
SOURCE = "src/brain2clip"

#: A study as a user has it on disk: what the tiny study wrote, read as BIDS with a table of pictures of its own.
ON_DISK = """
results: results-on-disk
studies:
  mine:
    kind: bids
    root: mine
    subjects: all
    tasks: [train, test]
    keep: {trial_type: [image]}
    stimulus: "{task}-{tot_img_number}"
    stimuli: mine/pictures.tsv
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
retrieval: {bootstrap: 200, metrics: [top-1]}
tables:
  main: {kind: methods, experiments: [main], metric: top-1}
"""

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
        """One value per query."""
        return 1 / np.asarray(rank, dtype=float)
'''
FIGURE = '''"""The number of queries, in words."""

from brain2clip.reporting import figure_base


class Figure(figure_base.FigureBase):
    """Nothing but a title."""

    @staticmethod
    def inputs(plan, study):
        """Rows of the first run."""
        runs = figure_base.shown_runs(plan, study)[:1]
        return {"rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec)}
'''


def added(path: str, text: str) -> Callable[[Project], None]:
    """A new file."""

    def add(project: Project) -> None:
        assert not (project.folder / path).exists()
        (project.folder / path).write_text(text, encoding="utf-8")

    return add


def edited_text(*edits: tuple[str, str, str]) -> Callable[[Project], None]:
    """Texts of files replaced."""

    def edit(project: Project) -> None:
        for file, old, new in edits:
            project.replace(file, old, new)

    return edit


NEUTRAL_OPTION = (
    f"{SOURCE}/settings/methods.py",
    "    encoder: Encoder = Field(",
    '    lora_rank: int = neutral(0, ge=0, description="something new (0: off)")\n    encoder: Encoder = Field(',
)
#: On the finished tiny study of ``tests/workflow/tiny.yaml``.
OF_THE_CODE = (
    Case(
        "a new EEG encoder that no method uses",
        {},
        change=added(f"{SOURCE}/models/encoders/attention.py", ENCODER),
    ),
    Case(
        "a reworded error message in `readers/bids_files.py`",
        {},
        change=edited_text((f"{SOURCE}/readers/bids_files.py", "expected", "wanted")),
    ),
    Case(
        "a reworded error message in `artefact.py`, a log line in `stage.py`",
        {},
        change=edited_text(
            (f"{SOURCE}/artefact.py", "no such file; run snakemake", "is not there; run snakemake"),
            (f"{SOURCE}/stage.py", '"%s: start (process %d)"', '"%s begins (process %d)"'),
        ),
    ),
    Case("a new option with a neutral default (`lora_rank: 0`)", {}, change=edited_text(NEUTRAL_OPTION)),
    Case(
        "a new metric (a file, and its name in `retrieval.metrics`)",
        {"summaries": 7, "tables": 1, "page": 1},
        {"retrieval.metrics": ["top-1", "top-3", "top-5", "top-10", "median-rank", "mean-rank", "2-way", "mean-mrr"]},
        added(f"{SOURCE}/retrieval/metrics/mean_mrr.py", METRIC),
    ),
    Case("a new figure (a file)", {"figures": 1}, change=added(f"{SOURCE}/reporting/figure_kinds/count.py", FIGURE)),
    Case(
        "a method's label in the tables", {"tables": 1, "page": 1, "figures": 4}, {"methods.frozen.label": "Baseline"}
    ),
)


def other_caption(project: Project) -> None:
    """The first caption of the table of pictures."""
    table = project.folder / "mine" / "pictures.tsv"
    head, first, *others = table.read_text(encoding="utf-8").splitlines()
    cells = first.split("\t")
    cells[head.split("\t").index("caption")] = "another sentence"
    table.write_text("\n".join([head, "\t".join(cells), *others]) + "\n", encoding="utf-8")


def third_subject(project: Project) -> None:
    """One who saw what the second one did, with samples of his own."""
    folder = project.folder / "mine"
    for path in sorted((folder / "sub-02").rglob("*")):
        if path.is_file():
            target = folder / str(path.relative_to(folder)).replace("sub-02", "sub-03")
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".vhdr", ".vmrk", ".tsv", ".json"):
                target.write_text(path.read_text(encoding="utf-8-sig").replace("sub-02", "sub-03"), encoding="utf-8")
            else:
                samples = np.fromfile(path, sample_type(path))
                drawn = np.random.default_rng(3).permutation(samples.reshape(-1, 1)).ravel()
                drawn.astype(samples.dtype).tofile(target)


def sample_type(path: Path) -> str:
    """How the samples of a BrainVision file are written."""
    header = path.with_suffix(".vhdr").read_text(encoding="utf-8-sig")
    return "<f4" if "IEEE_FLOAT_32" in header else "<i2"


#: What follows from features in the study on disk: two subjects, one band, ridge regression.
READS_FEATURES = {"train": 2, "rank": 2, "summaries": 1, "tables": 1, "page": 1}
#: On a finished study of pictures on disk.
OF_THE_DATA = (
    Case(
        "a caption edited in a table of stimuli",
        {"catalogue": 1, "features": 1, "embed": 1, "timecourse": 2, **READS_FEATURES, "figures": 7},
        change=other_caption,
    ),
    Case(
        "a third subject in a BIDS folder under `subjects: all`",
        {"epochs": 1, "train": 1, "rank": 1, "timecourse": 1, "summaries": 1, "tables": 1, "page": 1, "figures": 7},
        change=third_subject,
    ),
    Case("`subjects: all` written as the same list", {}, {"studies.mine.subjects": ["01", "02"]}),
)


# --------------------------------------------------------------------------------------------- the document

INTRODUCTION = """\
# What growth costs

<!-- Written from the cases in tests/workflow/test_growth.py by `python tests/workflow/test_growth.py`; the same file
tests every line of it, and that this page says what the cases say. -->

New kinds, options, messages, figures and subjects should not run results again that do not depend on them. Every line
is a test: a study is run to the end, one thing is changed, and a dry run must count exactly these jobs.

What counts as a change of code is what can change content: formulas, conditions, constants, classes of errors. Texts of
errors and log lines, annotations, comments, names and places of files do not (`src/brain2clip/fingerprint.py`); how
artefacts are written and jobs are called is guarded by one number, `FORMAT` in `src/brain2clip/artefact.py`. A kind
(encoder, mapping, metric, figure, study, ...) is a module that counts where it is used, and an option at its neutral
value is left out of what is compared. `CONTRIBUTING.md` has a recipe for each kind.
"""


@dataclass(frozen=True)
class Section:
    """Cases on one finished study."""

    title: str
    words: str
    cases: tuple[Case, ...]


SECTIONS = (
    Section("The code grows", "On the tiny study of `tests/workflow/tiny.yaml` (51 jobs).", OF_THE_CODE),
    Section(
        "The data grow",
        "On a study of pictures on disk (`kind: bids`): two subjects, a band, ridge regression.",
        OF_THE_DATA,
    ),
)


def document() -> str:
    """Text of ``docs/growth.md``."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        lines = [f"| {case.edit} | {in_words(case.reruns)} |" for case in section.cases]
        table = "\n".join(["| You change | runs again |", "|---|---|", *lines])
        parts.append(f"## {section.title}\n\n{section.words}\n\n{table}\n")
    return "\n".join(parts)


def test_the_document_says_what_the_cases_say():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run `python tests/workflow/test_growth.py`"


# -------------------------------------------------------------------------------------------------- dry runs


@pytest.fixture(scope="module")
def shared(finished: Project, tmp_path_factory) -> Project:  # noqa: F811
    return finished.copy(tmp_path_factory.mktemp("grown") / "project")


@pytest.fixture
def grown(shared: Project, finished: Project) -> Iterator[Project]:  # noqa: F811
    yield shared
    shutil.rmtree(shared.folder / "src")
    put_back(shared, finished)


@pytest.mark.parametrize("case", OF_THE_CODE, ids=lambda case: case.edit)
def test_what_grows_costs_nobody_a_result(grown, case):
    case.apply(grown)
    assert grown.planned() == case.reruns


def test_a_changed_condition_of_an_error_is_no_text(grown):
    """What looks like the cases above and is not: the class of an error, a bound."""
    grown.replace(f"{SOURCE}/training/loop.py", "max(2, round(share", "max(3, round(share")
    assert grown.planned()["train"] == 10


@pytest.fixture(scope="module")
def on_disk(finished: Project, tmp_path_factory) -> Project:  # noqa: F811
    """A finished study of pictures on disk."""
    folder = tmp_path_factory.mktemp("on-disk") / "project"
    project = Project.create(folder)
    shutil.copytree(finished.folder / "results/raw/simulated", folder / "mine")
    pictures = folder / "mine" / "pictures.tsv"
    with (folder / "mine/stimuli/stimuli.tsv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file, delimiter="\t"))
    rows = ["stimulus_id\tconcept\timage\tcaption"]  # which are the test is left to the events
    for one in listed:
        task, _, number = one["stimulus_id"].partition("-")
        rows.append(f"{task}-{int(number)}\t{one['concept']}\tstimuli/{one['image']}\t{one['caption']}")
    pictures.write_text("\n".join(rows) + "\n", encoding="utf-8")
    project.config_file.write_text(ON_DISK, encoding="utf-8")
    project.run_preloaded()
    return project


@pytest.mark.parametrize("case", OF_THE_DATA, ids=lambda case: case.edit)
def test_what_is_added_to_the_data_costs_nobody_elses_result(on_disk, tmp_path, case):
    project = on_disk.copy(tmp_path / "copy")
    case.apply(project)
    assert project.planned() == case.reruns


def test_a_run_after_a_third_subject_leaves_the_first_two_as_they_are(on_disk, tmp_path):
    project = on_disk.copy(tmp_path / "copy")
    kept = [path for folder in ("responses", "training", "stimuli") for path in (_results(project) / folder).rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in kept if path.is_file()}
    third_subject(project)
    project.run_preloaded()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list((_results(project) / "responses").rglob("sub-03.h5"))) == 1
    assert project.planned() == {}


def _results(project: Project) -> Path:
    return project.folder / "results-on-disk"


if __name__ == "__main__":
    artefact.write_text(DOCUMENT, document())
