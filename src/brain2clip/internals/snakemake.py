"""Uses of Snakemake's internals: its workflow, and the methods that decide what runs.

Snakemake has no place where others may have a say before it decides. So three methods are preceded by ours, on the one
workflow that runs and not on their classes:

- ``Workflow._prepare_dag`` makes graph and records; before it, nobody knows the executor, and after it the others are
  there to be preceded;
- ``DAG.check_incomplete`` refuses files that a killed run left behind; those that are whole and fit are taken out
  (:func:`finished_unseen`);
- ``DAG.update_needrun`` decides; results without a record are judged by what they carry (:func:`judge`).

After ``Workflow._build_dag`` the jobs that will run here are known, for which one loaded Python is started
(:func:`preload`); ``benchmark.BenchmarkTimer`` measures them, who are not below the shell of their jobs.

``Workflow._build_dag`` asks the input functions, and dresses their refusals with wildcards and lines of a traceback,
which are taken off again (:func:`refusal`).

Each is looked for before it is used, and that Snakemake has called ours is looked at before anything runs. What else is
taken for granted is in ``tests/unit/test_internals_snakemake.py``. Light to import: the Snakefile does.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from brain2clip import artefact, records
from brain2clip.internals import versions

LIBRARY = "snakemake"
#: A record is about a file whose time it has, s (file systems round).
SAME_TIME_S = 0.01
#: What was refused, in this process.
_REFUSALS: list[Exception] = []
#: What is known of the contents of large inputs, in Snakemake's own folder.
SEEN = "brain2clip-inputs.json"
#: The executor with which SLURM's jobs start their steps.
JOBSTEP = "slurm-jobstep"


def refusal(message: str) -> Exception:
    """Snakemake's own kind of error, without the lines of a traceback that it prints below the sentence."""
    from snakemake.exceptions import WorkflowError

    no_traceback = property(lambda self: None, lambda self, value: None)
    error: Exception = type("WorkflowError", (WorkflowError,), {"__traceback__": no_traceback})(message)
    _REFUSALS.append(error)
    return error


def log() -> Any:
    """Snakemake's logger."""
    from snakemake.logging import logger

    return logger


def needed(owner: Any, *names: str) -> Any:
    """An object of Snakemake's, which has what is used of it.

    Raises
    ------
    snakemake.exceptions.WorkflowError
        Where it is not built as it was.
    """
    if missing := versions.lacking(owner, *names):
        raise refusal(versions.what_is_lacking(LIBRARY, owner, missing))
    return owner


# --------------------------------------------------------------------------------------------- the workflow


def is_main(workflow: Any) -> bool:
    """Whether this process plans, and is not the one that runs a job of another's plan."""
    return bool(needed(workflow, "is_main_process").is_main_process)


def executes(workflow: Any) -> bool:
    """Whether jobs run, or would in a dry run: it is known when the graph is made, and not so for reports and lists."""
    return needed(workflow, "executor_plugin").executor_plugin is not None


def given_configurations(workflow: Any) -> list[str]:
    """Files of ``--configfile``."""
    return [str(path) for path in needed(workflow, "overwrite_configfiles").overwrite_configfiles]


def hand_on(workflow: Any, variable: str, value: str) -> None:
    """Set an environment variable for this process and for all jobs, wherever they run."""
    os.environ[variable] = value
    needed(workflow, "register_envvars").register_envvars(variable)


def limit(workflow: Any, resource: str, at_once: int) -> None:
    """Limit a resource of all jobs together, where the command line says nothing about it."""
    if resource not in needed(workflow, "global_resources", "register_resource").global_resources:
        workflow.register_resource(resource, at_once)


def without_list(workflow: Any) -> None:
    """Let a dry run end when it has said how many jobs there are, unless it is to list them (``-p``, ``--verbose``).

    Snakemake puts every job into words, its command included, whether anybody shows them or not.
    """
    from snakemake.settings.enums import Quietness

    given = needed(workflow, "output_settings").output_settings
    if given.dryrun and not given.printshellcmds and not given.verbose:
        given.quiet = {Quietness.RULES, Quietness.PROGRESS}


def keep_going(workflow: Any, on: bool) -> None:
    """Whether a failed job stops only those that need its files, as with ``--keep-going``, whatever starts the run."""

    def first() -> None:
        if needed(workflow, "execution_settings").execution_settings is not None:
            needed(workflow.execution_settings, "keep_going").keep_going = on

    before_planning(workflow, first)


# ------------------------------------------------------------------------------------------- a loaded Python


def preload(
    workflow: Any,
    start: Callable[[bool], Any],
    running: Callable[[int], int | None],
    jobs: int,
    then: Callable[[Iterable[str]], None] | None = None,
) -> None:
    """Start a Python that is loaded once for all jobs, where some are to run on this machine.

    It is for those of a run, or of a group that SLURM has sent here, each of which gets a Snakemake of its own.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    start : callable
        Starts it, told whether its jobs end with this process; what it returns is kept as long as the workflow.
    running : callable
        From the number of a process to that of the job which runs for it there.
    jobs : int
        With fewer, each loads for itself.
    then : callable, optional
        Is told the specs of the jobs that will run, when it has started.
    """
    build = needed(workflow, "_build_dag")._build_dag

    def built(*given: Any, **named: Any) -> None:
        build(*given, **named)
        needed(workflow, "dryrun", "touch", "dag", "deployment_settings")
        runs = executes(workflow) and not workflow.dryrun and not workflow.touch
        local = needed(workflow, "local_exec").local_exec
        if not runs or not (local or runs_group(workflow)):
            return
        if needed(workflow.deployment_settings, "deployment_method").deployment_method:  # a Python of its own
            return
        waiting = needed(workflow.dag, "needrun_jobs").needrun_jobs()
        specs = [spec for job in waiting if (spec := job.params.get("spec")) is not None]
        if len(specs) >= jobs:
            workflow.preloaded = start(not local)
            if then is not None:
                then(specs)
        if local:  # of a loaded Python that was started here, or around this Snakemake
            measure_forked(running)

    workflow._build_dag = built


def runs_group(workflow: Any) -> bool:
    """Whether SLURM has sent jobs to this node, for each of which a step is started here."""
    plugin = needed(workflow, "executor_plugin").executor_plugin
    return bool(needed(plugin, "cli_prefix").cli_prefix == JOBSTEP)


def measure_forked(running: Callable[[int], int | None]) -> None:
    """Let benchmarks count the processes that run in place of others."""
    import psutil
    from snakemake import benchmark

    timer = needed(benchmark, "BenchmarkTimer").BenchmarkTimer

    class WithForked:
        """A process whose children are those below it, and what runs elsewhere for one of them."""

        def __init__(self, process: psutil.Process) -> None:
            self._process = process

        def __getattr__(self, name: str) -> Any:
            return getattr(self._process, name)

        def children(self, recursive: bool = False) -> list[psutil.Process]:
            below: list[psutil.Process] = self._process.children(recursive=recursive)
            for found in [running(process.pid) for process in below]:
                if found is not None:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        below.append(psutil.Process(found))  # stages start no processes
            return below

    class Timer(timer):  # type: ignore[misc, valid-type]
        """Snakemake's."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.main = WithForked(needed(self, "main").main)

    benchmark.BenchmarkTimer = Timer


# ------------------------------------------------------------------------------------------ before the plan


def before_planning(workflow: Any, first: Callable[[], None]) -> None:
    """Call something when the executor is known, and graph and records are not."""
    prepare = needed(workflow, "_prepare_dag")._prepare_dag

    def prepared(*given: Any, **named: Any) -> None:
        first()
        prepare(*given, **named)

    workflow._prepare_dag = prepared


def watch(workflow: Any) -> None:
    """Judge results before Snakemake decides what to run, in dry runs as well; and show refusals as they are."""
    prepare = needed(workflow, "_prepare_dag")._prepare_dag
    build = needed(workflow, "_build_dag")._build_dag

    def prepared(*given: Any, **named: Any) -> None:
        prepare(*given, **named)
        needed(workflow, "dag", "persistence", "iocache", "dryrun")
        _precede(workflow)

    def built(*given: Any, **named: Any) -> None:
        try:
            build(*given, **named)
        except Exception as error:  # Snakemake's own, which keeps of what an input function raises only the text
            if (refused := _told(error)) is None:
                raise
            raise refused from None

    workflow._prepare_dag, workflow._build_dag = prepared, built


def _told(error: Exception) -> Exception | None:
    """Our refusal that an error of Snakemake's tells with more around it; None where it tells none."""
    told = " ".join(str(error).split())  # it is indented there
    return next((one for one in _REFUSALS if " ".join(str(one).split()) in told), None)


def _precede(workflow: Any) -> None:
    """Put our part before the methods of a graph that was just made."""
    dag = needed(workflow.dag, "update_needrun", "check_incomplete", "postprocess", "toposorted", "forcefiles")
    persistence = needed(workflow.persistence, "metadata", "incomplete", "finished", "path")
    needed(workflow.iocache, "mtime")
    refuse, decide, settle = dag.check_incomplete, dag.update_needrun, dag.postprocess
    called: set[str] = set()
    ended: list[Any] = []

    async def forgiving() -> None:
        called.add("check_incomplete")
        ended.extend(await finished_unseen(dag, persistence))
        await refuse()

    async def judged(*given: Any, **named: Any) -> None:
        called.add("update_needrun")
        seen = records.Seen(Path(persistence.path) / SEEN)
        await judge(dag, persistence, workflow.iocache.mtime, seen)
        seen.keep()
        await decide(*given, **named)

    async def settled(*given: Any, **named: Any) -> None:
        if missed := {"check_incomplete", "update_needrun"} - called:
            raise refusal(
                f"snakemake has planned without {' and '.join(sorted(missed))}, so results without a record were not "
                f"checked; {versions.which(LIBRARY)}"
            )
        await settle(*given, **named)
        while ended and not workflow.dryrun:  # jobs have numbers now, which a record needs
            await persistence.finished(ended.pop())

    dag.check_incomplete, dag.update_needrun, dag.postprocess = forgiving, judged, settled


async def judge(dag: Any, persistence: Any, times: dict[Any, Any], seen: records.Seen) -> None:
    """Force the jobs whose unrecorded outputs differ from the plan; make the times of those that fit right.

    Of the others, force those whose inputs have another content than they had, where no job makes these; the times of
    such inputs are of no account.
    """
    fitting, differing, changed = 0, [], []
    believed: set[str] = set()
    jobs = [job for level in dag.toposorted() for job in level]
    leaves = Leaves({str(file) for job in jobs for file in job.output}, persistence, seen)
    for job in jobs:
        if not any([await file.exists() for file in job.output]):  # it runs; its parameters need not be asked for
            continue
        if not await _unrecorded(job, persistence):
            if found := await leaves.changed(job):
                changed.append(found)
                dag.forcefiles.update(job.output)
            continue
        if (text := job.params.get("spec")) is None:
            continue
        try:
            found = records.difference(job.output, job.input, json.loads(text), seen)
        except artefact.ArtefactError as error:
            found = str(error)
        if found is None:
            fitting += 1
            believed.update(map(str, job.output))
            await _believe(job, times)
        else:
            differing.append(found)
            dag.forcefiles.update(job.output)
    leaves.settle(times)
    recorded = persistence.metadata
    # A record of the files that lay there before says other settings, for which a job would run again.
    persistence.metadata = lambda target: None if str(target) in believed else recorded(target)
    if fitting or differing:
        log().info(records.told(fitting, differing))
    if changed:
        log().info(records.listed(f"{len(changed)} jobs read files that have changed since, and run again", changed))


async def finished_unseen(dag: Any, persistence: Any) -> list[Any]:
    """Jobs whose end nobody saw: marked as incomplete, but their files are there and fit. They are taken as done."""
    seen = records.Seen()
    done: list[Any] = []
    incomplete = persistence.incomplete
    for job in (job for level in dag.toposorted() for job in level):
        if not await incomplete(job) or not all([await file.exists() for file in job.output]):
            continue
        if (text := job.params.get("spec")) is None:
            continue
        with contextlib.suppress(artefact.ArtefactError):
            carried = any(records.provenance(Path(file)) is not None for file in job.output)
            if carried and records.difference(job.output, job.input, json.loads(text), seen) is None:
                done.append(job)
    if done:
        log().info(f"{len(done)} jobs of a run that was killed have ended since; their files fit and are kept.")
    known = set(done)

    async def others(job: Any) -> list[Any]:
        found: list[Any] = [] if job in known else await incomplete(job)
        return found

    persistence.incomplete = others
    return done


class Leaves:
    """Inputs that no job makes: their content decides, and not their times.

    Parameters
    ----------
    made : set of str
        What jobs make.
    persistence : object
        Snakemake's records.
    seen : records.Seen
    """

    def __init__(self, made: set[str], persistence: Any, seen: records.Seen) -> None:
        self.made, self.persistence, self.seen = made, persistence, seen
        self.same: list[Any] = []
        self.unsaid: set[str] = set()

    async def changed(self, job: Any) -> str | None:
        """Why a job with a record must run again for such inputs, or None."""
        given = {name: [file] if isinstance(file, str) else list(file) for name, file in job.input.items()}
        leaves = {name: file for name, file in artefact.named(given).items() if str(file) not in self.made}
        stage: str = job.rule.name
        if not leaves and stage not in records.LISTING_PICTURES:
            return None
        record = self.persistence.metadata(job.output[0])
        try:
            found = records.other_inputs(job.output, leaves, self.seen, record and record.starttime)
        except OSError:  # Snakemake has its own words for what cannot be read
            return None
        newer = await _newer(job, leaves.values())
        if found is None and newer:
            there = [Path(file) for file in job.output if await file.exists()]
            if any(records.provenance(path) for path in there):
                self.same.extend(newer)
            else:  # Snakemake's rule is left for these
                self.unsaid.update(map(str, newer))
        return found

    def settle(self, times: dict[Any, Any]) -> None:
        """Make such inputs old where all that was made of them was made of what they hold."""
        from snakemake_interface_storage_plugins.io import Mtime

        times.update({file: Mtime(local=0.0) for file in self.same if str(file) not in self.unsaid})


async def _newer(job: Any, files: Iterable[Any]) -> list[Any]:
    """Inputs that are newer than some output of a job."""
    last = [(await file.mtime()).local_or_storage() for file in job.output if await file.exists()]
    there = [file for file in files if await file.exists()]
    return [file for file in there if last and await file.is_newer(min(last))]


async def _unrecorded(job: Any, persistence: Any) -> bool:
    """Whether outputs are there that Snakemake has no record of, or that are not the files of its record."""
    for file in job.output:
        if not await file.exists():
            continue
        record = persistence.metadata(file)
        if record is None or record.endtime is None:
            return True
        if abs((await file.mtime()).local_or_storage() - record.endtime) > SAME_TIME_S:
            return True
    return False


async def _believe(job: Any, times: dict[Any, Any]) -> None:
    """Take outputs (and the benchmark, which counts like one) to be as new as the inputs, in this plan."""
    from snakemake_interface_storage_plugins.io import Mtime

    newest = [(await file.mtime()).local_or_storage(follow_symlinks=True) for file in job.input if await file.exists()]
    for file in (*job.output, *([job.benchmark] if job.benchmark else [])):
        if await file.exists():
            times[file] = Mtime(local=max([*newest, (await file.mtime()).local_or_storage()]))
