"""What an edit re-runs in the fMRI track, counted in dry runs after a finished run of the tiny study of voxels.

The cases are the promise, as in ``test_reruns.py``; ``docs/reruns-fmri.md`` is written from them::

    python tests/workflow/test_reruns_fmri.py
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
from project import ROOT, Project
from test_reruns import Case, appended

from brain2clip import artefact
from brain2clip.plan.jobs import STAGES

pytestmark = pytest.mark.workflow

DOCUMENT = ROOT / "docs" / "reruns-fmri.md"
CONFIG = "tiny-fmri.yaml"

#: All jobs of the study: two subjects; a region with both protocols and two methods, another one with one of each.
WHOLE = {
    **{"simulate_pictures": 1, "simulate_voxels": 2, "voxels": 4, "catalogue": 1, "features": 1, "train": 8},
    **{"rank": 10, "ceiling": 4, "summaries": 7, "tables": 1, "page": 1, "figures": 9},
    **{"calibrate": 2, "embed": 2, "negative": 1, "oracle": 1, "generate": 2, "judge": 2},
}
#: Pictures of what is predicted, which one method has of one region; what a perfect prediction gives stays.
PICTURED = {"calibrate": 2, "embed": 2, "generate": 2, "judge": 2}
#: What follows from training, and what follows from responses.
RANKED = {"train": 8, "rank": 10, **PICTURED, "summaries": 5, "tables": 1, "page": 1, "figures": 9}
READ = {**RANKED, "ceiling": 4, "summaries": 7}

CASES = (
    Case("nothing", {}),
    Case("the code of EEG epochs", {}, change=appended("responses/epochs.py")),
    Case("the code of a kind of study that is not used", {}, change=appended("studies/god.py")),
    Case(
        "the voxels of the region `low`",
        {"voxels": 2, "train": 2, "rank": 2, "ceiling": 2, "summaries": 2, "tables": 1, "page": 1, "figures": 1},
        {"rois.low.include": ["V1"]},
    ),
    Case("normalisation of voxels", {"voxels": 4, **READ}, {"studies.voxels.voxels": {"normalise": "run"}}),
    Case(
        "the weight of the text (of `brainclip`; `image` has its own)",
        {"train": 5, "rank": 6, **PICTURED, "summaries": 3, "tables": 1, "page": 1, "figures": 9},
        {"methods.brainclip.supervision": {"text": 0.25}},
    ),
    Case("the mapping network (`image` inherits it)", RANKED, {"methods.brainclip.network": {"kind": "mlp"}}),
    Case(
        "a subject added (the joint models train again)",
        {
            **{
                "simulate_voxels": 1,
                "voxels": 2,
                "train": 5,
                "rank": 9,
                "ceiling": 2,
                "summaries": 7,
                "tables": 1,
                "page": 1,
            },
            **{"calibrate": 1, "embed": 1, "generate": 1, "judge": 1, "figures": 6},
        },
        {"studies.voxels.subjects": 3},
    ),
    Case(
        "the noise of the simulation",
        {"simulate_voxels": 2, "voxels": 4, **READ},
        {"studies.voxels.snr": 0.5},
    ),
    Case(
        "random pools of candidates",
        {"rank": 10, "ceiling": 4, "summaries": 7, "tables": 1, "page": 1, "figures": 6},
        {"retrieval.pools.draws": 4},
    ),
    Case(
        "the guidance of a generator",
        {"generate": 2, "oracle": 1, "judge": 2, "tables": 1, "page": 1, "figures": 1},
        {"generators.grammar.guidance": 3.0},
    ),
    Case(
        "the network of a judge",
        {"judge": 2, "tables": 1, "page": 1, "figures": 1},
        {"judges.second-clip.model": "local-dir:workflow/towers/grammar-vit"},
    ),
    Case("a table", {"tables": 1, "page": 1}, {"tables.main.metric": "caption:top-1"}),
    Case("`models/mappings/linear.py`", RANKED, change=appended("models/mappings/linear.py")),
    Case("`responses/voxels.py`", {"voxels": 4, **READ}, change=appended("responses/voxels.py")),
    Case(
        "`simulation/simulate_voxels.py`",
        {"simulate_voxels": 2, "voxels": 4, **READ},
        change=appended("simulation/simulate_voxels.py"),
    ),
)


def document() -> str:
    """Text of the page."""
    lines = [f"| {case.edit} | {in_words(case.reruns)} |" for case in CASES]
    return f"""\
# What runs again: fMRI

<!-- Written from the cases in tests/workflow/test_reruns_fmri.py by `python tests/workflow/test_reruns_fmri.py`; the
same file tests every line of it, and that this page says what the cases say. -->

The same promise as in [reruns.md](reruns.md), for voxels. The tiny study of `tests/workflow/tiny-fmri.yaml` has
{sum(WHOLE.values())} jobs: {in_words(WHOLE)}. A signal is a region here, as it is a band for EEG.

| You change | runs again |
|---|---|
{chr(10).join(lines)}
"""


def in_words(jobs: dict[str, int]) -> str:
    """Jobs by rule in the order of the pipeline."""
    return ", ".join(f"{jobs[rule]} {rule}" for rule in STAGES if rule in jobs) or "nothing"


def test_the_document_says_what_the_cases_say():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run `python tests/workflow/test_reruns_fmri.py`"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Project:
    """The tiny study of voxels, run to the end; the tests put back what they edit."""
    project = Project.create(tmp_path_factory.mktemp("voxels") / "project", CONFIG)
    project.run_preloaded()
    return project


@pytest.fixture
def edited(study: Project) -> Iterator[Project]:
    before = {path: path.read_bytes() for path in [study.config_file, *(study.folder / "src").rglob("*.py")]}
    yield study
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def test_the_whole_study(tmp_path):
    assert Project.create(tmp_path / "new", CONFIG).planned() == WHOLE


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.edit)
def test_an_edit_reruns_what_depends_on_it_and_no_more(edited, case):
    case.apply(edited)
    assert edited.planned() == case.reruns


def test_tasks_pools_and_both_modalities_of_models_are_in_the_tables(study):
    results = study.folder / "results"
    summary = pd.read_parquet(results / "tables/summary.parquet")
    metrics = set(summary["metric"])
    for task in ("", "category:", "caption:", "stimulus-to-brain:", "caption-to-brain:"):
        assert {f"{task}top-1", f"{task}top-1@1"} <= metrics
    assert {"stimulus/4:top-1", "category/4:top-1"} <= metrics
    assert set(summary["protocol"]) == {"intra", "joint"}
    # One model of all subjects stands behind the runs of each.
    joint = results / "training/voxels/vc/joint/brainclip"
    assert [path.name for path in joint.glob("*.safetensors")] == ["sub-all_seed-0.safetensors"]
    ceiling = summary[(summary["method"] == "ceiling") & (summary["metric"] == "top-1") & (summary["signal"] == "vc")]
    learned = summary[(summary["method"] != "ceiling") & (summary["metric"] == "top-1") & (summary["signal"] == "vc")]
    assert ceiling["value"].min() >= learned["value"].max()


if __name__ == "__main__":
    artefact.write_text(DOCUMENT, document())
