"""Uses of Snakemake's internals: its workflow, and the methods that decide what runs.

Snakemake has no hook that is called before it decides which jobs run. So our functions run before three of its methods.
They are set on the objects of the present workflow, not on Snakemake's classes:

- ``Workflow._prepare_dag`` creates the graph and the records. It is the first method that runs when the executor is
  known; after it, the two methods below exist;
- ``DAG.check_incomplete`` refuses files that a killed run left behind. Before it, files that are complete and fit are
  taken out of the list (:func:`finished_unseen`);
- ``DAG.update_needrun`` decides which jobs run. Before it, results without a record are checked by the provenance that
  they carry (:func:`judge`).

After ``Workflow._build_dag``, the jobs that will run on this machine are known, and one loaded Python is started for
them (:func:`preload`). Jobs that it forks are not child processes of their shells, so ``benchmark.BenchmarkTimer`` is
extended to measure them.

``Workflow._build_dag`` calls the input functions. Snakemake adds wildcards and lines of a traceback to the messages of
their errors; these additions are removed again (:func:`refusal`).

Before one of these methods is used, we check that it exists; before a job runs, we check that Snakemake has called our
functions. ``tests/unit/test_internals_snakemake.py`` tests what else is assumed about Snakemake. The module imports
quickly, because the Snakefile imports it.
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
#: Largest difference between the time in a record and the time of its file, s (file systems round).
SAME_TIME_S = 0.01
#: Errors that :func:`refusal` has made in this process.
_REFUSALS: list[Exception] = []
#: File in Snakemake's folder with digests of large inputs.
SEEN = "brain2clip-inputs.json"
#: The executor with which jobs of SLURM start their steps.
JOBSTEP = "slurm-jobstep"


def refusal(message: str) -> Exception:
    """Return an error of Snakemake's own class; Snakemake prints its message without lines of a traceback."""
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
    """Return an object of Snakemake after a check that it has the attributes that are used.

    Raises
    ------
    snakemake.exceptions.WorkflowError
        If an attribute is missing: this version of Snakemake is built differently.
    """
    if missing := versions.lacking(owner, *names):
        raise refusal(versions.what_is_lacking(LIBRARY, owner, missing))
    return owner


# --------------------------------------------------------------------------------------------- the workflow


def is_main(workflow: Any) -> bool:
    """Whether this process makes the plan; false in a process that runs one job of another process's plan."""
    return bool(needed(workflow, "is_main_process").is_main_process)


def executes(workflow: Any) -> bool:
    """Whether jobs run, or would run (dry run); false for reports and lists. Known when the graph is made."""
    return needed(workflow, "executor_plugin").executor_plugin is not None


def given_configurations(workflow: Any) -> list[str]:
    """Files given by ``--configfile``."""
    return [str(path) for path in needed(workflow, "overwrite_configfiles").overwrite_configfiles]


def hand_on(workflow: Any, variable: str, value: str) -> None:
    """Set an environment variable for this process and for all jobs, wherever they run."""
    os.environ[variable] = value
    needed(workflow, "register_envvars").register_envvars(variable)


def limit(workflow: Any, resource: str, at_once: int) -> None:
    """Limit a resource for all jobs together, unless the command line sets a limit."""
    if resource not in needed(workflow, "global_resources", "register_resource").global_resources:
        workflow.register_resource(resource, at_once)


def without_list(workflow: Any) -> None:
    """Let a dry run print only the number of jobs, unless it is asked to list them (``-p``, ``--verbose``).

    Otherwise Snakemake formats the description and the command of every job, even if nothing shows them.
    """
    from snakemake.settings.enums import Quietness

    given = needed(workflow, "output_settings").output_settings
    if given.dryrun and not given.printshellcmds and not given.verbose:
        given.quiet = {Quietness.RULES, Quietness.PROGRESS}


def keep_going(workflow: Any, on: bool) -> None:
    """Set whether only the jobs that need a failed job's files are stopped, as with ``--keep-going``."""

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
    """Start one loaded Python for all jobs that run on this machine.

    These are the jobs of a run, or of a group that SLURM has sent here; in a group each job has its own Snakemake.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    start : callable
        Starts the loaded Python. Its argument says whether jobs end when this process ends; its result is kept as
        long as the workflow.
    running : callable
        From the id of a client process to the id of the process that runs its job in the loaded Python, or None.
    jobs : int
        Smallest number of jobs for which the loaded Python is started; fewer jobs import their libraries themselves.
    then : callable, optional
        Called with the specs of the jobs that will run, after the start.
    """
    build = needed(workflow, "_build_dag")._build_dag

    def built(*given: Any, **named: Any) -> None:
        build(*given, **named)
        needed(workflow, "dryrun", "touch", "dag", "deployment_settings")
        runs = executes(workflow) and not workflow.dryrun and not workflow.touch
        local = needed(workflow, "local_exec").local_exec
        if not runs or not (local or runs_group(workflow)):
            return
        if needed(workflow.deployment_settings, "deployment_method").deployment_method:  # jobs have another Python
            return
        waiting = needed(workflow.dag, "needrun_jobs").needrun_jobs()
        specs = [spec for job in waiting if (spec := job.params.get("spec")) is not None]
        if len(specs) >= jobs:
            workflow.preloaded = start(not local)
            if then is not None:
                then(specs)
        if local:  # the loaded Python was started here, or by the process that started this Snakemake
            measure_forked(running)

    workflow._build_dag = built


def runs_group(workflow: Any) -> bool:
    """Whether SLURM has sent a group of jobs to this node, and this process starts a step for each of them."""
    plugin = needed(workflow, "executor_plugin").executor_plugin
    return bool(needed(plugin, "cli_prefix").cli_prefix == JOBSTEP)


def measure_forked(running: Callable[[int], int | None]) -> None:
    """Let benchmarks also measure the processes that the loaded Python runs for a job."""
    import psutil
    from snakemake import benchmark

    timer = needed(benchmark, "BenchmarkTimer").BenchmarkTimer

    class WithForked:
        """A process whose children also include the processes that the loaded Python runs for them."""

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
        """Snakemake's timer, extended to forked jobs."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.main = WithForked(needed(self, "main").main)

    benchmark.BenchmarkTimer = Timer


# ------------------------------------------------------------------------------------------ before the plan


def before_planning(workflow: Any, first: Callable[[], None]) -> None:
    """Call `first` when the executor is known, but before the graph and the records are created."""
    prepare = needed(workflow, "_prepare_dag")._prepare_dag

    def prepared(*given: Any, **named: Any) -> None:
        first()
        prepare(*given, **named)

    workflow._prepare_dag = prepared


def watch(workflow: Any) -> None:
    """Check results before Snakemake decides what to run (also in dry runs), and show our errors unchanged."""
    prepare = needed(workflow, "_prepare_dag")._prepare_dag
    build = needed(workflow, "_build_dag")._build_dag

    def prepared(*given: Any, **named: Any) -> None:
        prepare(*given, **named)
        needed(workflow, "dag", "persistence", "iocache", "dryrun")
        _precede(workflow)

    def built(*given: Any, **named: Any) -> None:
        try:
            build(*given, **named)
        except Exception as error:  # Snakemake keeps only the text of an error in an input function
            if (refused := _told(error)) is None:
                raise
            raise refused from None

    workflow._prepare_dag, workflow._build_dag = prepared, built


def _told(error: Exception) -> Exception | None:
    """The error of :func:`refusal` whose text an error of Snakemake contains; None if it contains none."""
    told = " ".join(str(error).split())  # Snakemake indents the text
    return next((one for one in _REFUSALS if " ".join(str(one).split()) in told), None)


def _precede(workflow: Any) -> None:
    """Let our functions run before the methods of a graph that was just created."""
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
        while ended and not workflow.dryrun:  # a record needs the job's number, which exists only now
            await persistence.finished(ended.pop())

    dag.check_incomplete, dag.update_needrun, dag.postprocess = forgiving, judged, settled


async def judge(dag: Any, persistence: Any, times: dict[Any, Any], seen: records.Seen) -> None:
    """Check outputs by the provenance that they carry, and force the jobs that must run again.

    If outputs without a record differ from the plan, their job is forced; if they fit, they count as newer than their
    inputs. A job with a record is forced if the content of an input has changed that no job makes; the times of such
    inputs do not matter.
    """
    fitting, differing, changed = 0, [], []
    believed: set[str] = set()
    jobs = [job for level in dag.toposorted() for job in level]
    leaves = Leaves({str(file) for job in jobs for file in job.output}, persistence, seen)
    for job in jobs:
        if not any([await file.exists() for file in job.output]):  # it runs anyway; do not compute its parameters
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
    # There may be a record of earlier files with other settings; because of it, the job would run again.
    persistence.metadata = lambda target: None if str(target) in believed else recorded(target)
    if fitting or differing:
        log().info(records.told(fitting, differing))
    if changed:
        log().info(records.listed(f"{len(changed)} jobs read files that have changed since, and run again", changed))


async def finished_unseen(dag: Any, persistence: Any) -> list[Any]:
    """Jobs that ended after their run was killed: marked as incomplete, but their files exist and fit.

    They count as done.
    """
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
    """Inputs that no job makes: a job runs again if their content has changed; their times do not matter.

    Parameters
    ----------
    made : set of str
        All outputs of jobs.
    persistence : object
        Snakemake's records.
    seen : records.Seen
        Digests of inputs that are known already.
    """

    def __init__(self, made: set[str], persistence: Any, seen: records.Seen) -> None:
        self.made, self.persistence, self.seen = made, persistence, seen
        self.same: list[Any] = []
        self.unsaid: set[str] = set()

    async def changed(self, job: Any) -> str | None:
        """Why a job with a record must run again because of such inputs, or None."""
        given = {name: [file] if isinstance(file, str) else list(file) for name, file in job.input.items()}
        leaves = {name: file for name, file in artefact.named(given).items() if str(file) not in self.made}
        stage: str = job.rule.name
        if not leaves and stage not in records.LISTING_PICTURES:
            return None
        record = self.persistence.metadata(job.output[0])
        try:
            found = records.other_inputs(job.output, leaves, self.seen, record and record.starttime)
        except OSError:  # Snakemake itself reports files that cannot be read
            return None
        newer = await _newer(job, leaves.values())
        if found is None and newer:
            there = [Path(file) for file in job.output if await file.exists()]
            if any(records.provenance(path) for path in there):
                self.same.extend(newer)
            else:  # without provenance, Snakemake decides by the times
                self.unsaid.update(map(str, newer))
        return found

    def settle(self, times: dict[Any, Any]) -> None:
        """Give an old time to inputs whose content has not changed, if the provenance of all their outputs says so."""
        from snakemake_interface_storage_plugins.io import Mtime

        times.update({file: Mtime(local=0.0) for file in self.same if str(file) not in self.unsaid})


async def _newer(job: Any, files: Iterable[Any]) -> list[Any]:
    """Inputs that are newer than the oldest output of a job."""
    last = [(await file.mtime()).local_or_storage() for file in job.output if await file.exists()]
    there = [file for file in files if await file.exists()]
    return [file for file in there if last and await file.is_newer(min(last))]


async def _unrecorded(job: Any, persistence: Any) -> bool:
    """Whether an output exists that has no record of Snakemake, or whose record is about an earlier file."""
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
    """In this plan, let outputs (and the benchmark, which counts as one) be at least as new as the inputs."""
    from snakemake_interface_storage_plugins.io import Mtime

    newest = [(await file.mtime()).local_or_storage(follow_symlinks=True) for file in job.input if await file.exists()]
    for file in (*job.output, *([job.benchmark] if job.benchmark else [])):
        if await file.exists():
            times[file] = Mtime(local=max([*newest, (await file.mtime()).local_or_storage()]))
