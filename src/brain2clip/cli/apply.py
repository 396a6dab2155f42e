"""``brain2clip apply``: rank other recordings with trained models, and show the accuracy."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip import artefact, settings
from brain2clip.cli import run
from brain2clip.names import MetricName, suggestion
from brain2clip.plan import Plan
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

    from brain2clip.plan.runs import Applied
    from brain2clip.reporting.typeset import Sheet


def apply(config: Path, names: Sequence[str] = (), cores: str | None = None, dry: bool = False) -> None:
    """Rank the recordings of entries of ``apply``, after making missing files, and show the accuracy.

    Parameters
    ----------
    config : path
    names : sequence of str
        Entries; none: all of them.
    cores : str, optional
        CPU cores to use; without it all.
    dry : bool
        Only show what would run.
    """
    config = config.resolve()
    try:
        with contextlib.chdir(run.ROOT):
            plan = Plan(settings.load(settings.read(config), run.shown(config)))
            wanted = chosen(plan, names)
    except (settings.SettingsError, InputError) as error:
        sys.exit(str(error))
    files = [plan.applied_rows(one) for one in wanted]
    arguments = ["--cores", cores or "all", "--rerun-incomplete", "--show-failed-logs"]
    if dry:
        run.snakemake(config, *arguments, "--dry-run", "--", *files)
        return
    with run.held() as lock:
        run.clear_away()
        run.snakemake(config, *arguments, "--", *files, lock=lock, places=(run.ROOT, run.ROOT / plan.results))
    print("\n" + page(plan, wanted))
    print(f"Rows, one for each query: {plan.results}/apply")


def chosen(plan: Plan, names: Sequence[str]) -> list[Applied]:
    """Models and recordings of the named entries, or of all.

    Raises
    ------
    InputError
        If there is no such entry, or no entry at all.
    """
    known = plan.config.apply
    if not known:
        raise InputError(
            "apply: the configuration has no entry; add one, as in\n"
            "  apply: {later: {experiment: main, study: later}}\nwhere study names the new recordings"
        )
    for name in names:
        if name not in known:
            raise InputError(
                f"apply: no entry named {name!r}{suggestion(name, known)}; the entries are {', '.join(known)}"
            )
    return [one for one in plan.applied() if not names or one.name in names]


def page(plan: Plan, wanted: Sequence[Applied]) -> str:
    """Accuracy on the new recordings as Markdown; queries of concepts from training are separate and labelled."""
    import pandas as pd

    from brain2clip.reporting import typeset

    found: list[Sheet] = []
    for name in dict.fromkeys(one.name for one in wanted):
        own = [one for one in wanted if one.name == name]
        rows = [artefact.read_table(run.ROOT / plan.applied_rows(one), plan.apply_spec(one).expected) for one in own]
        found += _sheets(plan, name, pd.concat(rows, ignore_index=True))
    return typeset.markdown("apply", found)


def _sheets(plan: Plan, name: str, rows: pd.DataFrame) -> Iterator[Sheet]:
    """A sheet of an entry for zero-shot queries, and one for queries of seen concepts."""
    from brain2clip.reporting import typeset, wording
    from brain2clip.retrieval import statistics

    retrieval, one = plan.config.retrieval, plan.config.apply[name]
    repetitions = "all" if "all" in retrieval.repetitions else str(retrieval.repetitions[0])
    for seen in (False, True):
        body = []
        for (signal, protocol, method, task), part in rows[rows["seen"] == seen].groupby(
            ["signal", "protocol", "method", "task"], sort=False
        ):
            metric = MetricName(retrieval.metrics[0], repetitions, task)
            shown = wording.Numbers(str(metric))
            given = str(metric), retrieval.bootstrap, retrieval.level, retrieval.seed
            level = statistics.mean_over_subjects(part, *given)
            cells = [shown.number(level["value"]), shown.interval(level), shown.number(level["chance"])]
            label = plan.method(method).label or method
            body.append([label, signal, protocol, task, *cells, *(str(level[k]) for k in ("n_subjects", "n_queries"))])
        if body:
            header = ["method", "signal", "protocol", "task", shown.short, f"{retrieval.level * 100:g} % CI", "chance"]
            caption = (
                f"Models of experiment {one.experiment} on recordings of study {one.study}: {shown.short}"
                f"{wording.averaged(metric)}, mean over training seeds, queries and then subjects."
            )
            made = typeset.Sheet(f"{name}: {one.study}", [*header, "subjects", "queries"], body, caption, left=4)
            yield wording.labelled(made) if seen else made
