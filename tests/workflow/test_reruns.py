"""What an edit re-runs, counted in dry runs after a finished run of the tiny study.

The tables of cases below are the promise; ``docs/reruns.md`` is written from them::

    python tests/workflow/test_reruns.py
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planner import planner
from preloaded import preloaded
from project import ROOT, Project, other_content, picture_of

from brain2clip import artefact, records, settings
from brain2clip.plan.jobs import STAGES
from brain2clip.retrieval import statistics

pytestmark = pytest.mark.workflow

DOCUMENT = ROOT / "docs" / "reruns.md"
REMOVED = object()
TOWER = "workflow/towers/grammar-vit"
WEIGHTS = "open_clip_model.safetensors"


@dataclass(frozen=True)
class Case:
    """An edit and the jobs that it re-runs.

    Attributes
    ----------
    edit : str
        In words, for the document.
    reruns : dict
        Jobs by rule.
    settings : dict
        Settings that are changed: dotted keys to values (``REMOVED``: taken out).
    change : callable, optional
        What else is done to the project.
    """

    edit: str
    reruns: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Project], None] = lambda project: None

    def apply(self, project: Project) -> None:
        if self.settings:
            project.edit(self._set)
        self.change(project)

    def _set(self, config: dict[str, Any]) -> None:
        for key, value in self.settings.items():
            *parents, last = key.split(".")
            place = config
            for name in parents:
                place = place.setdefault(name, {})
            if value is REMOVED:
                del place[last]
            else:
                place[last] = value


def appended(file: str, text: str = "CHANGED = 1") -> Callable[[Project], None]:
    """A line of code at the end of a module: a formula that is another one."""

    def append(project: Project) -> None:
        with (project.folder / "src/brain2clip" / file).open("a") as stream:
            stream.write(f"\n{text}\n")

    return append


def sorted_and_commented(project: Project) -> None:
    project.write_config(project.config, sort_keys=True)
    project.config_file.write_text("# a comment\n" + project.config_file.read_text())


def comments(project: Project) -> None:
    project.replace("src/brain2clip/responses/whitening.py", '"""', '"""Edited. ')
    project.replace("src/brain2clip/training/train.py", "\n\n\n", "\n\n\n# a comment\n")


def touched(project: Project) -> None:
    for path in [*(project.folder / "src").rglob("*.py"), *(project.folder / "workflow/rules").iterdir()]:
        path.touch()


def other_format(project: Project) -> None:
    project.replace("src/brain2clip/artefact.py", "\nFORMAT = ", "\nFORMAT = 1")


def other_weights(project: Project) -> None:
    path = project.folder / TOWER / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_tower_file(project: Project) -> None:
    path = project.folder / TOWER / "open_clip_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": "another one"}))


def copied_tower(project: Project) -> None:
    """A copy of the tower with other weights, under a name of its own."""
    folder = project.folder / f"{TOWER}-2"
    shutil.copytree(project.folder / TOWER, folder)
    other_weights(project)
    shutil.copy2(project.folder / TOWER / WEIGHTS, folder / WEIGHTS)
    shutil.copy2(ROOT / TOWER / WEIGHTS, project.folder / TOWER / WEIGHTS)


# -------------------------------------------------------------------------------------------------- the promise

#: All jobs of the tiny study: two subjects, a band with both protocols and all methods, a band with one of each.
WHOLE = {
    **{"simulate_pictures": 1, "simulate_recordings": 2, "simulate_dataset": 1, "epochs": 4, "catalogue": 1},
    **{"features": 1, "train": 10, "rank": 10, "ceiling": 4, "inspect": 2, "summaries": 7, "tables": 1, "page": 1},
    **{"timecourse": 2, "figures": 12},
}
#: What follows from features, from training, and from responses of the main band.
RANKED = {"train": 10, "rank": 10, "inspect": 2, "summaries": 5, "tables": 1, "page": 1, "figures": 9}
READ = {"train": 10, "rank": 10, "ceiling": 4, "inspect": 2, "timecourse": 2, "summaries": 7, "tables": 1, "page": 1}

RIDGE = {"kind": "ridge", "tower": "grammar-vit"}
UBP = {"base": "field/ubp", "tower": "grammar-vit", "encoder": {"width": 64}}
BLUR_AND_BLOCK = {"kind": "mix", "vectors": [{"view": {"kind": "blur"}}, {"block": 2, "pool": "patches"}], "width": 16}
FAST = {"l_freq": 8, "h_freq": 20}

SAME = (
    Case("nothing", {}),
    Case("the order of keys; a comment", {}, change=sorted_and_commented),
    Case("20 to 20.0", {}, {"bands.broad.h_freq": 20.0}),
    Case("a default written out", {}, {"retrieval.level": 0.95}),
    Case("how files are fetched", {}, {"download.at_once": 1}),
    Case("all source files and rules touched", {}, change=touched),
    Case("a comment, a docstring in the source", {}, change=comments),
    Case(
        "the time of a large input (weights of the CLIP)", {}, change=lambda one: (one.folder / TOWER / WEIGHTS).touch()
    ),
    Case("the code of a kind of study that is not used", {}, change=appended("studies/bids.py")),
    Case("the code of a kind of mapping that is not used", {}, change=appended("models/mappings/vae.py")),
)
SETTINGS = (
    Case(
        "an edge of the band `slow`",
        {"epochs": 2, "train": 2, "rank": 2, "summaries": 1, "tables": 1, "page": 1, "figures": 1},
        {"bands.slow.h_freq": 7},
    ),
    Case(
        "an edge of the band `broad`",
        {
            **{"epochs": 2, "train": 8, "rank": 8, "ceiling": 4, "inspect": 2, "summaries": 6, "tables": 1, "page": 1},
            **{"timecourse": 2, "figures": 12},
        },
        {"bands.broad.h_freq": 18},
    ),
    Case(
        "a band added",
        {"epochs": 2, "train": 2, "rank": 2, "summaries": 1, "tables": 1, "page": 1, "figures": 1},
        {"bands.fast": FAST, "experiments.bands.signals": ["slow", "fast"]},
    ),
    Case(
        "a band removed", {"tables": 1, "page": 1, "figures": 1}, {"bands.slow": REMOVED, "experiments.bands": REMOVED}
    ),
    Case("whitening", {"epochs": 4, **READ, "figures": 12}, {"studies.simulated.responses.whitening.kind": "robust"}),
    Case(
        "the filter bank of pictures",
        {"features": 1, **READ, "figures": 10},
        {"towers.grammar-vit.filter_bank": {"bands": 3}},
    ),
    Case(
        "a method",
        {"train": 6, "rank": 6, "summaries": 3, "tables": 1, "page": 1, "figures": 4},
        {"methods.frozen.optimiser.epochs": 2},
    ),
    Case(
        "a method added",
        {"train": 4, "rank": 4, "embed": 1, "summaries": 2, "tables": 1, "page": 1, "figures": 4},
        {"methods.ridge": RIDGE, "experiments.main.methods": ["neuroclip", "frozen", "ceiling", "ridge"]},
    ),
    Case(
        "a method of the field added",
        {"vectors": 2, "train": 4, "rank": 4, "summaries": 2, "tables": 1, "page": 1, "figures": 5},
        {"methods.ubp": UBP, "experiments.main.methods": ["neuroclip", "frozen", "ceiling", "ubp"]},
    ),
    Case(
        "a view of the pictures, for the readout of a method",
        {"vectors": 1, "train": 6, "rank": 6, "summaries": 3, "tables": 1, "page": 1, "figures": 5},
        {"methods.frozen.visual.readout": {"view": {"kind": "blur"}}},
    ),
    Case(
        "a block of the CLIP beside it",
        {"vectors": 2, "train": 6, "rank": 6, "summaries": 3, "tables": 1, "page": 1, "figures": 5},
        {"methods.frozen.visual.readout": BLUR_AND_BLOCK},
    ),
    Case("a loss weight (of `neuroclip`, `frozen` inherits it)", RANKED, {"methods.neuroclip.objective.beta": 0.3}),
    Case("the label of a method", {"tables": 1, "page": 1, "figures": 4}, {"methods.frozen.label": "Baseline"}),
    Case(
        "a seed added (to the band `slow`)",
        {"train": 2, "rank": 2, "summaries": 1, "tables": 1, "page": 1},
        {"experiments.bands.seeds": [0, 1]},
    ),
    Case(
        "a subject added (leave-one-subject-out trains the others again)",
        {
            **{"simulate_recordings": 1, "simulate_dataset": 1, "epochs": 2, "train": 9, "rank": 9, "ceiling": 2},
            **{"inspect": 1, "timecourse": 1, "summaries": 7, "tables": 1, "page": 1, "figures": 11},
        },
        {"studies.simulated.subjects": 3},
    ),
    Case(
        "the noise of the simulation",
        {"simulate_recordings": 2, "simulate_dataset": 1, "epochs": 4, **READ, "figures": 12},
        {"studies.simulated.noise.pink_uv": 7},
    ),
    Case(
        "the CLIP: another one",
        {"features": 1, **READ, "figures": 10},
        {"towers.grammar-vit.model": f"local-dir:{TOWER}-2"},
        copied_tower,
    ),
    Case("the CLIP: its weights", {"features": 1, **READ, "figures": 10}, change=other_weights),
    Case(
        "the CLIP: its weights, size and time kept",
        {"features": 1, **READ, "figures": 10},
        change=lambda one: other_content(one.folder / TOWER / WEIGHTS),
    ),
    Case(
        "a picture under an unchanged table, size and time kept",
        {"features": 1, **READ, "figures": 10},
        change=lambda one: other_content(picture_of(one)),
    ),
    Case("the CLIP: its architecture file", {"features": 1, **READ, "figures": 10}, change=other_tower_file),
    Case("intervals", {"summaries": 7, "tables": 1, "page": 1, "figures": 3}, {"retrieval.bootstrap": 300}),
    Case("a table", {"tables": 1, "page": 1}, {"tables.main.metric": "top-5"}),
    Case("the times of topographies", {"figures": 1}, {"figures.topography_times": [0.1]}),
    Case("the windows of accuracy over time", {"timecourse": 2, "figures": 1, "page": 1}, {"figures.window": 0.1}),
)
SOURCE = (
    Case(
        "`simulation/world.py`",
        {rule: jobs for rule, jobs in WHOLE.items() if rule != "simulate_dataset"},
        change=appended("simulation/world.py"),
    ),
    Case("`responses/whitening.py`", {"epochs": 4, **READ, "figures": 12}, change=appended("responses/whitening.py")),
    Case("`stimuli/filter_bank.py`", {"features": 1, **READ, "figures": 10}, change=appended("stimuli/filter_bank.py")),
    Case("`training/objective.py`", RANKED, change=appended("training/objective.py")),
    Case(
        "`retrieval/similarities.py`",
        {"rank": 10, "ceiling": 4, "inspect": 2, "timecourse": 2, "summaries": 7, "tables": 1, "page": 1, "figures": 9},
        change=appended("retrieval/similarities.py"),
    ),
    Case(
        "`retrieval/ceiling.py`",
        {"ceiling": 4, "summaries": 2, "tables": 1, "page": 1, "figures": 2},
        change=appended("retrieval/ceiling.py"),
    ),
    Case(
        "`retrieval/metrics/top_k.py`",
        {"summaries": 7, "tables": 1, "page": 1, "figures": 3},
        change=appended("retrieval/metrics/top_k.py"),
    ),
    Case("`reporting/tables.py`", {"tables": 1, "page": 1}, change=appended("reporting/tables.py")),
    Case("`reporting/style.py`", {"figures": 12, "page": 1}, change=appended("reporting/style.py")),
    Case("`FORMAT` in `artefact.py`: how artefacts are written", WHOLE, change=other_format),
)
CASES = (*SAME, *SETTINGS, *SOURCE)
#: Cases that are asked again of results that were copied without Snakemake's records.
COPIED = tuple(
    case
    for case in CASES
    if case.edit
    in {
        *("nothing", "an edge of the band `slow`", "a loss weight (of `neuroclip`, `frozen` inherits it)", "a table"),
        *("the CLIP: its weights", "a comment, a docstring in the source", "`responses/whitening.py`"),
    }
)


# --------------------------------------------------------------------------------------------- the document

INTRODUCTION = """\
# What runs again

<!-- Written from the cases in tests/workflow/test_reruns.py by `python tests/workflow/test_reruns.py`; the same file
tests every line of it, and that this page says what the cases say. -->

When you change a setting or a formula, only what depends on it runs again, on a laptop or on a cluster, and no table is
out of date. Every line below is a test: the tiny study of `tests/workflow/tiny.yaml` is run to the end, one thing is
changed, and a dry run must count exactly these jobs.

The study has {total} jobs: {whole}. It has two subjects; a band `broad` with both protocols and the methods
`neuroclip`, `frozen` and the ideal observer; and a band `slow` with `frozen` within subjects.

For every setting, [configuration.md](configuration.md) says which stages read it. This shows what an edit costs before
you make it:

```bash
make why KEY=bands.broad.h_freq VALUE=30 CONFIG=workflow/studies/study.yaml
```
"""
SECTIONS = (
    ("Nothing runs again", "You change", SAME),
    ("Settings", "You change", SETTINGS),
    ("A formula in the source", "You change", SOURCE),
)
CLOSING = """\
## Results that were moved

Snakemake keeps its records in `.snakemake/`. If they are missing, or do not belong to the files that are there (a file
has another time than in its record), each artefact says itself what made it. Artefacts that fit the plan and their
inputs are kept, whatever their times; all others are made again. So a copy of `results/` can be continued anywhere.
These lines hold for copies in another folder without `.snakemake/`, made with `cp -a` or with a plain `cp` that gave
all files new times in any order:

{moved}

A job that went on after its Snakemake was killed is judged in the same way: if all its files are there and fit, it is
done and gets its record.

`snakemake --touch --forceall` with the same configuration writes the records, so that the next start need not look into
the files.

Files of other formats do not say what made them. Without records, exports are made again; records of downloads are
compared with the list of the plan; the unpacked pictures of a downloaded dataset and the description of a simulated one
are trusted, and so is a Markdown or LaTeX table beside the Parquet files of the same job.

## Edits while jobs run

- The configuration: jobs run with the settings that the run was planned with, also those that start later on another
  node. Put the file back or leave it edited: the next start compares with what was really made.
- The source: a job whose code changed between planning and start stops and says so. Start snakemake again.
- `git checkout` of an older state and back: times of source files do not matter.
"""


def document() -> str:
    """Text of ``docs/reruns.md``."""
    parts = [INTRODUCTION.format(total=sum(WHOLE.values()), whole=in_words(WHOLE))]
    parts += [f"## {title}\n\n{rows(head, cases)}\n" for title, head, cases in SECTIONS]
    parts.append(CLOSING.format(moved=rows("You change after copying", COPIED)))
    return "\n".join(parts)


def rows(head: str, cases: tuple[Case, ...]) -> str:
    lines = [f"| {case.edit} | {'everything' if case.reruns == WHOLE else in_words(case.reruns)} |" for case in cases]
    return "\n".join([f"| {head} | runs again |", "|---|---|", *lines])


def in_words(jobs: dict[str, int]) -> str:
    """Jobs by rule in the order of the pipeline."""
    return ", ".join(f"{jobs[rule]} {rule}" for rule in STAGES if rule in jobs) or "nothing"


def test_the_document_says_what_the_cases_say():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run `python tests/workflow/test_reruns.py`"


# -------------------------------------------------------------------------------------------------- dry runs


@pytest.fixture(scope="module")
def shared(finished: Project, tmp_path_factory) -> Project:
    """One copy for all cases that are put back."""
    return finished.copy(tmp_path_factory.mktemp("shared") / "project")


def put_back(project: Project, finished: Project) -> None:
    """Everything but the results as it was, times included."""
    shutil.rmtree(project.folder / f"{TOWER}-2", ignore_errors=True)
    for name in ("src", "workflow"):
        shutil.copytree(finished.folder / name, project.folder / name, dirs_exist_ok=True)
    shutil.copy2(finished.config_file, project.config_file)
    shutil.copy2(picture_of(finished), picture_of(project))


@pytest.fixture
def edited(shared: Project, finished: Project) -> Iterator[Project]:
    yield shared
    put_back(shared, finished)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.edit)
def test_an_edit_reruns_what_depends_on_it_and_no_more(edited, case):
    case.apply(edited)
    assert edited.planned() == case.reruns


def test_everything_put_back_reruns_nothing(shared):
    assert shared.planned() == {}


def test_the_whole_study(tmp_path):
    """The counts that the other cases are parts of."""
    assert Project.create(tmp_path / "new").planned() == WHOLE


def test_a_dry_run_of_another_process_counts_the_same(project):
    """The others fork a process that has imported snakemake; this one is started as a user does."""
    SETTINGS[0].apply(project)
    assert project.counted(project.run_as_typed("-n", "--quiet", "rules")) == SETTINGS[0].reruns


def git(project: Project, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=project.folder, check=True, capture_output=True)


def test_checkout_of_an_older_state_and_back(project):
    """Times of the sources are new after each checkout."""
    band, formula = SETTINGS[0], SOURCE[1]
    (project.folder / ".gitignore").write_text("results/\n.snakemake/\n__pycache__/\n")
    git(project, "init", "--initial-branch", "main")
    git(project, "add", ".")
    git(project, "commit", "-m", "finished")
    for case in (band, formula):
        case.apply(project)
        git(project, "commit", "-am", case.edit)
    git(project, "checkout", "main~1")
    assert project.planned() == band.reruns
    git(project, "checkout", "main~2")
    assert project.planned() == {}
    git(project, "checkout", "main")
    assert project.planned() == formula.reruns
    git(project, "checkout", "main~2")
    assert project.planned() == {}


# --------------------------------------------------------------------------- results without Snakemake's records


def as_it_was(folder: Path) -> None:
    """Copied with ``cp -a``."""


def any_times(folder: Path) -> None:
    """Copied with a plain ``cp``: every file has a new time, outputs before inputs as it comes."""
    shuffled = random.Random(0)
    for path in [path for name in ("results", "workflow") for path in (folder / name).rglob("*")]:
        moment = time.time() - shuffled.randrange(10_000)
        os.utime(path, (moment, moment))


@pytest.fixture(scope="module", params=[as_it_was, any_times], ids=lambda change: change.__name__)
def moved(request, finished: Project, tmp_path_factory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("another-machine") / "elsewhere" / "clone")
    shutil.rmtree(project.folder / ".snakemake")
    request.param(project.folder)
    return project


@pytest.mark.parametrize("case", COPIED, ids=lambda case: case.edit)
def test_moved_results_rerun_the_same(moved, finished, case):
    case.apply(moved)
    try:
        assert moved.planned() == case.reruns
    finally:
        put_back(moved, finished)


def test_results_without_records_are_asked_and_not_trusted(project):
    """A real run after an edit, then records from now on."""
    shutil.rmtree(project.folder / ".snakemake")
    any_times(project.folder)
    before = pd.read_parquet(project.folder / "results/tables/summary.parquet")
    SETTINGS[0].apply(project)
    told = project.run("-n").stdout
    assert f"{sum(SETTINGS[0].reruns.values())} do not fit and are made again" in told
    assert "results/responses/simulated/slow/sub-01.h5: made by other settings" in told
    untouched = {
        path: path.stat().st_mtime_ns for path in (project.folder / "results/training").rglob("*broad*/**/*.*")
    }
    project.run_preloaded()
    assert untouched == {path: path.stat().st_mtime_ns for path in untouched}
    summary = pd.read_parquet(project.folder / "results/tables/summary.parquet")
    slow = summary["signal"] == "slow"
    pd.testing.assert_frame_equal(summary[~slow], before[before["signal"] != "slow"])
    assert not summary[slow]["value"].equals(before[before["signal"] == "slow"]["value"])
    assert project.planned() == {}
    assert "fit and are kept" in project.run("-n").stdout
    project.run("--touch", "--forceall", "--quiet", "all")
    assert project.planned() == {}
    assert "fit and are kept" not in project.run("-n").stdout


def test_files_that_were_laid_over_newer_ones_are_noticed(project, finished):
    """Records are there, but they are about other files."""
    table = project.folder / "results/tables/summary.parquet"
    made = artefact.stored_provenance(table)
    frame = pd.read_parquet(table)
    other = artefact.Provenance(made.stage, made.settings, "0" * 16, made.inputs)
    artefact.write_table(table, frame, other, unknown=statistics.UNKNOWN)
    assert project.planned() == {"tables": 1, "page": 1}
    shutil.copy(finished.folder / "results/tables/summary.parquet", table)  # the right one, its time is new
    assert project.planned() == {}


def test_a_record_of_what_lay_there_before_says_nothing(project):
    """The files came from elsewhere (a cluster, a copy) and fit; the record still holds the settings of older ones."""
    output = "results/training/simulated/slow/intra/frozen/sub-01_seed-0.safetensors"
    record = project.folder / ".snakemake/metadata" / base64.b64encode(output.encode()).decode()
    fields = json.loads(record.read_text())
    fields.update(params=["other settings"], code="other command")
    record.write_text(json.dumps(fields))
    assert project.planned()["train"] == 1
    fields["endtime"] -= 100
    record.write_text(json.dumps(fields))
    assert project.planned() == {}


def test_a_file_with_its_record_is_not_opened(project):
    path = project.folder / "results/responses/simulated/slow/sub-01.h5"
    before = path.stat()
    path.write_bytes(b"not what it was")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert project.planned() == {}


def test_a_damaged_file_without_a_record_is_made_again(project):
    shutil.rmtree(project.folder / ".snakemake")
    path = project.folder / "results/responses/simulated/slow/sub-01.h5"
    path.write_bytes(path.read_bytes()[:1000])
    assert project.planned()["epochs"] == 1


def test_a_target_that_does_not_need_a_stale_file_leaves_it(project):
    shutil.rmtree(project.folder / ".snakemake")
    SETTINGS[0].apply(project)
    target = "results/responses/simulated/slow/sub-01.h5"
    assert project.planned("--", target) == {"epochs": 1}


# ------------------------------------------------------------------------------- jobs that ended while nobody saw it

TRAINED = "results/training/simulated/slow/intra/frozen/sub-01_seed-0"


def unseen(project: Project) -> Path:
    """Leave the records as a killed run leaves them when a job on another node goes on; folder of the marks."""
    marks = project.folder / ".snakemake" / "incomplete"
    marks.mkdir(exist_ok=True)
    for ending in (".safetensors", ".history.parquet"):
        name = base64.urlsafe_b64encode(f"{TRAINED}{ending}".encode()).decode()
        (project.folder / ".snakemake" / "metadata" / name).rename(marks / name)
    return marks


def test_a_job_that_ended_unseen_is_done_and_gets_its_record(project):
    marks = unseen(project)
    assert project.planned() == {}
    assert len(list(marks.iterdir())) == 2
    assert "1 jobs of a run that was killed have ended since" in project.run().stderr
    assert list(marks.iterdir()) == []
    assert "without a record" not in project.run("-n").stdout


@pytest.mark.parametrize("how", ["damaged", "missing", "other settings"])
def test_a_job_that_did_not_end_is_run_again(project, how):
    unseen(project)
    path = project.folder / f"{TRAINED}.safetensors"
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "missing":
        path.unlink()
    else:
        project.edit(lambda config: config["methods"]["frozen"]["optimiser"].update(epochs=2))
    assert project.planned("--rerun-incomplete")["train"] == (6 if how == "other settings" else 1)


# -------------------------------------------------------------------------------------- edits while jobs run


def upper_edge(project: Project, subject: str) -> float:
    made = artefact.stored_provenance(project.folder / f"results/responses/simulated/slow/sub-{subject}.h5")
    return made.settings["band"]["h_freq"]


def test_configuration_edited_while_jobs_run_and_put_back(project):
    """What was planned is what is made; what was put back is stale, and is seen to be."""

    def edge(value: float) -> None:
        project.edit(lambda config: config["bands"]["slow"].update(h_freq=value))

    targets = [f"results/responses/simulated/slow/sub-{subject}.h5" for subject in ("01", "02")]
    edge(7)
    log = project.folder / "results/logs/epochs/simulated/slow/sub-01.log"
    before = log.stat().st_mtime_ns
    run = project.start("--", *targets, variables=preloaded())
    try:
        while not log.exists() or log.stat().st_mtime_ns == before:  # snakemake removes it before the job starts
            assert run.poll() is None
            time.sleep(0.05)
        edge(6)
        assert run.wait(timeout=600) == 0
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert (upper_edge(project, "01"), upper_edge(project, "02")) == (7, 7)
    edge(7)
    assert project.planned("--", *targets) == {}
    edge(8)
    assert project.planned("--", *targets) == {"epochs": 2}


def test_a_job_on_another_node_takes_the_settings_of_the_plan(project):
    """Such a job reads the configuration file again, which has changed since; its record will say what was planned."""
    planned = settings.canonical(settings.load(project.config))
    project.edit(lambda config: config["bands"]["slow"].update(h_freq=6))
    job = ["--target-jobs", "epochs:study=simulated,signal=slow,subject=01", "--allowed-rules", "epochs"]
    command = ["--configfile", "tiny.yaml", "--cores", "1", "--mode", "remote", "--force", "--nolock", *job]
    for plan, edge in ((planned, 8.0), (None, 6.0)):
        environment = {key: value for key, value in project.environment().items() if key != records.PLANNED}
        if plan is not None:
            environment[records.PLANNED] = records.pack(plan)
        done = planner().run(project.folder, command, environment | preloaded())
        assert done.returncode == 0, done.stderr[-3000:]
        assert upper_edge(project, "01") == edge


if __name__ == "__main__":
    artefact.write_text(DOCUMENT, document())
