"""Functions for the Snakefile, which connect the plan with Snakemake. Light to import: every job parses it."""

from __future__ import annotations

import copy
import inspect
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from brain2clip import preloaded, processes, records, settings, siblings, stage
from brain2clip.internals import slurm_plugin, snakemake, snakemake_locks, snakemake_log, versions
from brain2clip.plan import Job, Plan, costs, reasons, sizes
from brain2clip.plan.needs import check, drawn_towers
from brain2clip.reporting import typeset
from brain2clip.screen import Screen, places
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[2]
#: From this many jobs on, one loaded Python forks for all of them.
MANY = 3


class Asked:
    """A plan whose errors are Snakemake's own kind of error: a sentence without a traceback."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        found = _refusing(lambda: getattr(self._plan, name))
        if callable(found):
            setattr(self, name, lambda *given, **named: _refusing(lambda: found(*given, **named)))
            return getattr(self, name)
        return found


def look_at_files(workflow: Any, default: str) -> None:
    """Refuse files of the configuration that hold a key twice or run code, as they stand, before anything is merged.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    default : str
        File that is read where ``--configfile`` names none.
    """
    if snakemake.is_main(workflow):  # what a job runs with was looked at when it was planned
        for path in snakemake.given_configurations(workflow) or [default]:
            _refusing(partial(settings.read, path), settings.SettingsError)


def planned(workflow: Any, config: dict[str, Any]) -> Asked:
    """The plan of a configuration, and Snakemake made ready for it.

    A job on another node parses the Snakefile again: it takes the settings that the run was planned with, whatever the
    file says now.
    """
    # Kinds from outside: the command snakemake does not look where it is started, the stages (python -m) do.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    main = snakemake.is_main(workflow)
    given = config if main else records.unpack(os.environ.get(records.PLANNED)) or config
    source = " + ".join(snakemake.given_configurations(workflow)) or "config.yaml"
    plan = _refusing(lambda: Plan(settings.load(given, source=source)), settings.SettingsError)
    if main:
        why = partial(_reasons, plan, copy.deepcopy(given), _last(plan))
        if snakemake_log.watch(workflow, partial(_screen, plan), why):
            snakemake.without_list(workflow)
        for line in (*versions.untested(), versions.old_driver(), *drawn_towers(plan)):
            if line:
                snakemake.log().warning(line)
        snakemake.hand_on(workflow, records.PLANNED, records.pack(settings.canonical(plan.config)))
        snakemake.keep_going(workflow, not os.environ.get(processes.STOP_AT_FIRST_FAILURE))
        snakemake.watch(workflow)
        snakemake_locks.watch(workflow)
        slurm_plugin.watch(workflow, plan.results)
        _check_data(workflow, plan, snakemake.given_configurations(workflow) or ["config.yaml"])
    os.environ.update(_refusing(plan.environment))
    then = siblings.note if plan.config.seeds_together else None
    start = lambda bound: preloaded.start(ROOT / "src", bound=bound)  # noqa: E731
    snakemake.preload(workflow, start, preloaded.running, MANY, then)
    snakemake.limit(workflow, "download", plan.config.download.at_once)
    _refusing(lambda: check(plan))
    if main:
        _tell_not_inherited(given, source)
        _tell_downloads(plan)
        if (told := _refusing(lambda: sizes.told(plan))) is not None:
            snakemake.log().info(told)
        snakemake.before_planning(workflow, partial(_tell_costs, workflow, plan))
    # The report names licence and citation of every study; those that are downloaded know them themselves.
    for name in plan.config.studies:
        for key in ("licence", "citation"):
            config["studies"][name].setdefault(key, getattr(plan.study(name), key))
    config["headline"] = _headline(plan) if main else []
    return Asked(plan)


def _check_data(workflow: Any, plan: Plan, given: list[str]) -> None:
    """Refuse errors and results of another configuration; if jobs run, note the configuration in the folder."""
    from brain2clip.preflight import owner, planning  # who runs a job needs none of it

    _refusing(lambda: planning.refuse(plan, given))

    def claim() -> None:
        if not workflow.dryrun:
            owner.claim(plan.results, given, json.loads(settings.canonical(plan.config)))

    snakemake.before_planning(workflow, claim)


def prefix() -> str:
    """What stands before every shell command; it is no part of the text that Snakemake compares.

    So an environment that was moved re-runs nothing. Folders on the user's PYTHONPATH, for kinds from outside, stay. An
    error that a stage cannot write into its log is told on a stream of its own.
    """
    python = shlex.quote(str(Path(sys.executable).parent))
    source = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    found = f"export PATH={python}:$PATH PYTHONPATH={shlex.quote(source)} {stage.ELSEWHERE}=3"
    return f"set -euo pipefail; exec 3>&2; {found}; {preloaded.function()}; "


def files(job: Job) -> dict[str, list[str]]:
    """Inputs of a rule; those without a file are left out.

    Raises
    ------
    snakemake.exceptions.WorkflowError
        Where a name has braces: Snakemake would take them for wildcards.
    """
    for path in (path for paths in job.inputs.values() for path in paths if "{" in path or "}" in path):
        raise snakemake.refusal(f"{path}: found braces, which Snakemake reads as wildcards; rename the file")
    return {name: list(paths) for name, paths in job.inputs.items() if paths}


def asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a rule with its parameters written down; Snakemake finds them out anew for every job."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def _by_name(w: Any, input: Any) -> list[str]:
    """Inputs of a job as its stage gets them: ``NAME=PATH``."""
    listed = ((name, [found] if isinstance(found, str) else found) for name, found in input.items())
    return [f"{name}={path}" for name, paths in listed for path in paths]


by_name = asked(_by_name)


def growing(amount: int) -> Callable[..., int]:
    """A resource that every further attempt gets more of."""
    return asked(lambda w, attempt: attempt * amount)


def either(names: Iterable[str]) -> str:
    """Wildcard pattern of some names (one that matches nothing where there are none)."""
    return "|".join(sorted(names)) or "(?!)"


def other_than(names: Iterable[str]) -> str:
    """Wildcard pattern of all names but some, in a path between slashes."""
    return "".join(f"(?!{name}/)" for name in sorted(names)) + "[A-Za-z0-9-]+"


def amount(listed: Iterable[Any]) -> str:
    """Number and size of files in words."""
    sizes = [file.size or 0 for file in listed]
    return f"{len(sizes)} files, {sum(sizes) / 1e9:.3g} GB"


def _screen(plan: Plan, stream: TextIO, live: bool, quiet: bool) -> Screen:
    """The display of a run of this plan."""

    def means() -> dict[str, float]:
        return {one.stage: one.wall_s / one.jobs for one in costs.estimate(plan, 1, costs.has_gpu())}

    ending = str if processes.RUN in os.environ else partial(_ending, plan)  # else who started us shows the tables
    return Screen(stream, live, quiet, means, ending=ending)


def _last(plan: Plan) -> dict[str, Any] | None:
    """The configuration of the last run, before this one writes down its own."""
    from brain2clip.preflight import owner

    return owner.last(plan.results)


def _reasons(plan: Plan, given: dict[str, Any], last: dict[str, Any] | None, firsts: Sequence[str]) -> str:
    """Why jobs run, by the settings that were changed."""
    jobs = plan.jobs()
    running = set(firsts)
    return reasons.told(plan, given, [job for first, job in jobs.items() if first in running], last=last)


def _ending(plan: Plan) -> str:
    """The first table, and where everything is."""
    results = Path(plan.results)
    table = results / "tables" / f"{next(iter(plan.config.tables), '')}.md"
    shown = [f"== {table.stem} ({table})", table.read_text(encoding="utf-8").strip()] if table.is_file() else []
    return "\n\n".join([*shown, places(results, results)])


def _tell_costs(workflow: Any, plan: Plan) -> None:
    """The cost of everything in one line; in a dry run also by method; nothing for a report.

    Work that is too much for any processor is estimated for a GPU, wherever the plan is made, also on the front end of
    a cluster.
    """
    if snakemake.executes(workflow):
        gpu = costs.has_gpu() or costs.for_a_gpu(plan)
        methods = costs.methods_told(plan, 1, gpu) if workflow.dryrun else None
        snakemake.log().info("\n".join(filter(None, [costs.told(plan, gpu), methods])))


def _tell_not_inherited(given: dict[str, Any], source: str) -> None:
    """In one line, the settings that methods and studies lose to another kind than that of their base."""
    dropped = settings.not_inherited(given, source)
    if dropped:
        listed = "; ".join(f"{where} ({', '.join(keys)})" for where, keys in dropped.items())
        snakemake.log().info(f"Not inherited, because the block has another kind than in its base: {listed}.")


def _headline(plan: Plan) -> list[dict[str, Any]]:
    """The first table of the configuration as it lies there, for the first page of the report."""
    path = Path(plan.results, "tables", f"{next(iter(plan.config.tables), '')}.md")
    return typeset.read_markdown(path.read_text(encoding="utf-8")) if path.is_file() else []


def _tell_downloads(plan: Plan) -> None:
    """Files that are still to be downloaded, and whether there is space for them."""
    missing: list[Any] = plan.missing_downloads()
    if not missing:
        return
    log = snakemake.log()
    log.info(f"Still to download: {amount(missing)} (results go to {plan.results}/raw)")
    room = shutil.disk_usage(plan.room()).free
    if sum(file.size or 0 for file in missing) > room:
        log.warning(
            f"Only {room / 1e9:.3g} GB are free there: free some space, or make {plan.results} a link to another disk"
        )


def _refusing(question: Callable[[], Any], refusal: type[Exception] = InputError) -> Any:
    try:
        return question()
    except refusal as error:
        raise snakemake.refusal(str(error)) from None
