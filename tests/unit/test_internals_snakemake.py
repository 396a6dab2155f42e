"""What brain2clip takes for granted of Snakemake, one assumption each, asked of a workflow of two small jobs."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planner import planner
from snakemake.rules import Rule

from brain2clip import processes
from brain2clip.internals import snakemake as internals
from brain2clip.internals import versions

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "brain2clip"

#: Keys of ``--config`` choose what is done to Snakemake; what is seen is noted in calls.jsonl.
SNAKEFILE = """
import inspect, json, sys
sys.path.insert(0, SOURCE)
from brain2clip.internals import snakemake as internals, snakemake_locks
from snakemake_interface_storage_plugins.io import Mtime

DO = config.get("do", "")
END = {"alone": "kill -9 $PPID; exit;", "without its job": "kill -9 $PPID; exec sleep 60;"}.get(config.get("kill"), "")

def note(*words):
    with open("calls.jsonl", "a") as file:
        file.write(json.dumps(words) + "\\n")

def spied(owner, name):
    real = getattr(owner, name)
    assert inspect.iscoroutinefunction(real), name
    async def call(*given, **named):
        if DO == "hide" and name == "check_incomplete":
            workflow.persistence.metadata = lambda target: None
        if DO == "believe" and name == "update_needrun":
            workflow.iocache.mtime.update({file: Mtime(local=1.0) for job in workflow.dag.jobs for file in job.input})
        note(name, *map(str, given), *sorted(named))
        await real(*given, **named)
        for job in [job for job in workflow.dag.jobs if name == "postprocess" and job.name == "second"]:
            record = workflow.persistence.metadata(job.output[0])
            if record is not None and await job.output[0].exists():
                note("times", record.endtime, (await job.output[0].mtime()).local_or_storage())
            note("levels", *[[one.name for one in level] for level in workflow.dag.toposorted()])
            note("job", job.params.text, str(job.benchmark), [str(file) for file in job.input], job.is_group())
    setattr(owner, name, call)

prepare = workflow._prepare_dag

def prepared(*given, **named):
    note("_prepare_dag", workflow.executor_plugin is not None)
    prepare(*given, **named)
    for name in ("check_incomplete", "update_needrun", "postprocess"):
        spied(workflow.dag, name)
    spied(workflow.persistence, "finished")
    if DO == "incomplete":
        async def incomplete(job):
            return list(job.output)
        workflow.persistence.incomplete = incomplete

if internals.is_main(workflow):
    workflow._prepare_dag = prepared
if DO in ("watch", "unwatched", "refuse", "fail"):
    internals.watch(workflow)
if DO == "locks":
    snakemake_locks.watch(workflow)
if DO == "unwatched":
    watched = workflow._prepare_dag
    def bypassed(*given, **named):
        watched(*given, **named)
        workflow.dag.update_needrun = lambda **named: type(workflow.dag).update_needrun(workflow.dag, **named)
    workflow._prepare_dag = bypassed
if DO == "short":
    internals.without_list(workflow)
internals.hand_on(workflow, "B2C_TOLD", "a word")
internals.limit(workflow, "download", 2)
note("start", internals.is_main(workflow), internals.given_configurations(workflow),
     workflow.global_resources["download"].value, "B2C_TOLD" in workflow.envvars)
shell.prefix(f"export PREFIX={config.get('prefix', 'a')}; ")

def asked(wildcards):
    if DO in ("refuse", "refuse unwatched"):
        raise internals.refusal("It is so,\\n  and must be otherwise.")
    if DO == "fail":
        raise ValueError("it is so")
    return "a.txt"

if DO == "refuse at once":
    raise internals.refusal("It is so.")

rule all:
    input: "b.txt"
rule first:
    output: "a.txt"
    shell: "echo $PREFIX > {output}"
rule second:
    input: asked
    output: "b.txt"
    benchmark: "b.tsv"
    params: text=config.get("text", "one")
    shell: "cat {input} > {output}; echo $B2C_TOLD >> {output}"
rule third:
    output: "c.txt"
    shell: "ls .snakemake/locks > seen.txt; {END} touch {output}"
"""


class Probe:
    """The workflow, run to the end once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "Snakefile").write_text(SNAKEFILE.replace("SOURCE", repr(str(SOURCE.parent))))
        self.first = self.run()

    def run(self, *arguments: str, code: int = 0, last: str = "", **config: str) -> str:
        """What Snakemake prints."""
        (self.folder / "calls.jsonl").unlink(missing_ok=True)
        words = ["--config", *(f"{key}={value}" for key, value in config.items())] if config else []
        done = planner().run(self.folder, ["--cores", "1", *arguments, *words, *(["--", last] if last else [])])
        said = done.stdout + done.stderr
        assert done.returncode == code, said[-4000:]
        return said

    def plan(self, **config: str) -> str:
        return self.run("-n", **config)

    def calls(self, name: str | None = None) -> list[Any]:
        lines = [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]
        return lines if name is None else [rest for first, *rest in lines if first == name]


@pytest.fixture(scope="module")
def probe(tmp_path_factory) -> Probe:
    return Probe(tmp_path_factory.mktemp("probe"))


NOTHING = "Nothing to be done"


def test_snakemake_calls_what_is_preceded_and_in_this_order(probe):
    """The executor is known before the graph is made; what was left behind is refused before it is decided."""
    probe.plan()
    order = [call for call in probe.calls() if call[0] not in ("start", "times", "levels", "job")]
    assert order == [
        ["_prepare_dag", True],
        ["check_incomplete"],
        ["update_needrun", "create_inventory"],
        ["postprocess", "check_initial", "update_needrun"],
    ]


def test_jobs_are_handed_out_from_the_first_to_the_last_with_what_is_asked_of_them(probe):
    probe.plan()
    assert probe.calls("levels") == [[["first"], ["second"], ["all"]]]
    assert probe.calls("job") == [["one", "b.tsv", ["a.txt"], False]]


def test_a_record_holds_the_time_of_its_file(probe):
    assert NOTHING in probe.plan()
    ((recorded, lies_there),) = probe.calls("times")
    assert abs(recorded - lies_there) <= internals.SAME_TIME_S
    assert lies_there == pytest.approx((probe.folder / "b.txt").stat().st_mtime, abs=1e-3)


def test_changed_parameters_run_a_job_again_and_the_prefix_does_not(probe):
    assert NOTHING in probe.plan(prefix="b")
    assert "Params have changed" in probe.plan(text="two")


def test_without_a_record_nothing_is_compared(probe):
    """What :func:`internals.judge` does with files that fit and whose record is about older ones."""
    assert NOTHING in probe.plan(text="two", do="hide")


def test_times_are_taken_from_the_cache(probe):
    """And those that stand there are not looked up again when Snakemake begins to decide."""
    path = probe.folder / "a.txt"
    content, times = path.read_text(), path.stat()
    path.write_text("other\n")
    try:
        assert "Updated input files: a.txt" in probe.plan()
        assert NOTHING in probe.plan(do="believe")
    finally:
        path.write_text(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_files_that_are_marked_as_incomplete_stop_a_run(probe):
    assert "incomplete" in probe.run("-n", code=1, do="incomplete")


def test_a_record_is_written_by_what_we_call(probe):
    (probe.folder / "b.txt").unlink()
    probe.run()
    assert probe.calls("finished") == [["second"], ["all"]] or probe.calls("finished") == [["second"]]
    assert (probe.folder / "b.txt").read_text() == "a\na word\n"
    assert NOTHING in probe.plan()


def test_what_the_workflow_was_started_with_is_known(probe):
    (probe.folder / "more.yaml").write_text("x: 1\n")
    probe.plan()
    assert probe.calls("start") == [[True, [], 2, True]]
    probe.run("-n", "--configfile", "more.yaml", "--resources", "download=3")
    assert probe.calls("start") == [[True, [str(probe.folder / "more.yaml")], 3, True]]
    probe.run("--mode", "remote", "--nolock", "--target-jobs", "second:", "--allowed-rules", "second", "--force")
    ((main, *_),) = probe.calls("start")
    assert not main


def test_a_plan_that_did_not_ask_us_stops(probe):
    """As a version would that decides by another method; with ours in its place the same plan goes on."""
    assert NOTHING in probe.plan(do="watch")
    told = probe.run("-n", code=1, do="unwatched")
    assert "snakemake has planned without update_needrun" in told
    assert f"brain2clip needs snakemake {versions.TESTED['snakemake']}" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("do", ["refuse", "refuse at once"])
def test_a_refusal_stands_alone(probe, do):
    """Snakemake puts wildcards, and lines of our source, around what an input function raises."""
    told = probe.run("-n", code=1, do=do)
    sentence = "It is so,\n  and must be otherwise." if do == "refuse" else "It is so."
    assert told.rstrip().endswith(f"WorkflowError:\n{sentence}")
    assert ' File "' not in told
    assert "Traceback" not in told


def test_other_errors_are_told_by_snakemake(probe):
    told = probe.run("-n", code=1, do="fail")
    assert "ValueError: it is so" in told
    assert "Traceback" in told
    assert "Traceback:" in probe.run("-n", code=1, do="refuse unwatched")


def test_a_dry_run_lists_its_jobs_only_where_they_are_asked_for(probe):
    short = probe.plan(do="short", text="two")
    assert "Job stats:" in short
    assert "rule second" not in short
    assert "rule second" in probe.run("-n", "-p", do="short", text="two")
    assert "rule second" in probe.plan(text="two")


@pytest.mark.parametrize(
    "use",
    [internals.watch, internals.is_main, internals.given_configurations, lambda one: internals.limit(one, "x", 1),
     lambda one: internals.before_planning(one, lambda: None)],
)  # fmt: skip
def test_what_is_missing_is_named(use):
    from snakemake.exceptions import WorkflowError

    with pytest.raises(WorkflowError, match=r"SimpleNamespace has no \w+.*, which brain2clip uses; snakemake 9\."):
        use(SimpleNamespace())


# ----------------------------------------------------------------------------------------------- locks


REMOVED = "Removed a lock of a snakemake that was killed (process "
LOCKED = "Directory cannot be locked"


@pytest.fixture
def locks(probe) -> Iterator[Path]:
    """Their folder, which is not there at the beginning."""
    folder = probe.folder / ".snakemake/locks"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    (probe.folder / "c.txt").unlink(missing_ok=True)


def third(probe: Probe, code: int = 0, **config: str) -> str:
    return probe.run("--rerun-incomplete", code=code, **config, last="c.txt")


def killed(probe: Probe, how: str) -> None:
    third(probe, code=-signal.SIGKILL, do="locks", kill=how)
    assert (probe.folder / "seen.txt").read_text().split() == ["0.output.lock", "0.output.lock.owner"]


def test_the_lock_of_a_killed_process_is_removed(probe, locks):
    killed(probe, "alone")
    assert LOCKED in third(probe, code=1)
    assert REMOVED in third(probe, do="locks")
    assert not locks.exists()


def test_jobs_that_outlive_their_snakemake_are_named(probe, locks):
    killed(probe, "without its job")
    told = third(probe, code=1, do="locks")
    assert "still run: wait for them, or stop them with: kill " in told
    assert REMOVED not in told
    for pid in told.rpartition("with: kill ")[2].split():
        os.kill(int(pid), signal.SIGKILL)
    assert REMOVED in third(probe, do="locks")


def test_the_lock_of_a_living_process_and_one_that_says_nothing_stay(probe, locks, monkeypatch):
    monkeypatch.setenv(processes.RUN, "another run")
    locks.mkdir()
    lock = locks / "0.output.lock"
    lock.write_text("c.txt\n")
    owner = lock.with_name(f"{lock.name}{processes.OWNER}")
    with processes.own(owner):
        assert LOCKED in third(probe, code=1, do="locks")
        assert lock.exists()
        assert list(processes.dead_owners(locks)) == []
    ((path, made),) = processes.dead_owners(locks)
    assert (path, made["pid"], made["name"]) == (owner, os.getpid(), "another run")
    for changed in ({"host": "another-host"}, {"boot": "another start of a host of that name"}, {"boot": None}):
        owner.write_text(json.dumps({**made, **changed}))
        assert list(processes.dead_owners(locks)) == []
    owner.write_text(json.dumps(made)[:20])
    assert list(processes.dead_owners(locks)) == []
    owner.unlink()
    assert LOCKED in third(probe, code=1, do="locks")
    assert lock.exists()


@pytest.mark.parametrize(
    ("executor", "number", "started", "measured"),
    [
        ("local", 3, [False], True),
        ("local", 1, [], True),  # forked from a Python that the Snakemake around this one has started
        ("slurm-jobstep", 3, [True], False),
        ("slurm-jobstep", 2, [], False),
        ("slurm", 3, [], False),
    ],
)
def test_one_python_is_loaded_for_jobs_that_run_here(monkeypatch, executor, number, started, measured):
    def job(spec):
        return SimpleNamespace(params={"spec": spec})

    specs = [f"spec {n}" for n in range(number)]
    workflow = SimpleNamespace(
        _build_dag=lambda: None,
        executor_plugin=SimpleNamespace(cli_prefix=executor),
        local_exec=executor == "local",
        dryrun=False,
        touch=False,
        deployment_settings=SimpleNamespace(deployment_method=set()),
        dag=SimpleNamespace(needrun_jobs=lambda: map(job, [*specs, None])),
    )
    calls = []
    monkeypatch.setattr(internals, "measure_forked", lambda running: calls.append("measured"))
    bound, told = [], []
    internals.preload(workflow, bound.append, lambda pid: None, 3, told.extend)
    workflow._build_dag()
    assert bound == started
    assert told == (specs if started else [])
    assert bool(calls) == measured


def test_wildcards_in_the_name_of_a_group_make_a_group_of_each():
    """Lines of docs/slurm.md: seeds that train together have to be in one group, and groups are filled in no order."""
    (name,) = re.findall(r"- train=(train_{.*})", (ROOT / "docs" / "slurm.md").read_text())
    wildcards = {"study": "a", "signal": "b", "protocol": "c", "method": "d", "subject": "e", "seed": "f"}
    workflow = SimpleNamespace(parent_groupids={})
    assert Rule.expand_group(SimpleNamespace(group=name, workflow=workflow), wildcards) == "train_a_b_c_d_e"
    assert workflow.parent_groupids == {"train_a_b_c_d_e": name}  # by which their size is looked up


def test_only_internals_know_snakemakes_python():
    """The Snakefile apart, which is Snakemake's own language."""
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0].startswith("snakemake") for name in names):
                wrong.append(path.relative_to(SOURCE).as_posix())
    assert {name for name in wrong if not name.startswith("internals/")} == set()
