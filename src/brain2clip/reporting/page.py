"""Stage ``page``: all results of a configuration on one page that is opened from disk, with the files that it loads.

The page can be read without JavaScript; with it, tables can be sorted and filtered, and single queries explored.
Everything that is shown is also there as CSV and Parquet. Numbers come from the tables and the retrieval rows.

Settings: those of the tables that say how these were made; ``order`` of the tables; ``about``, what is said of a study,
and whether its ``pictures`` are shown; ``signals``, ``chosen`` (settings of methods), ``towers``; ``tasks``,
``repetitions`` and ``queries`` of the explorer; ``figures`` that stand in the page; ``design``, the digest of how it
looks. Where pictures are generated also ``generated`` and ``oracles``, whose they are, models of ``generators`` and
labels of ``judges``.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
import pandas as pd
from markupsafe import Markup

from brain2clip import __version__, artefact, records, stage
from brain2clip.names import MetricName
from brain2clip.reporting import blocks as blocks_of
from brain2clip.reporting import costs, published
from brain2clip.reporting.page_parts import chosen, design, explorer, generated, glossary, measured, sheets, words
from brain2clip.reporting.page_parts.measured import Block
from brain2clip.reporting.wording import DEBUG, TASKS, span
from brain2clip.settings import Table, parse

log = logging.getLogger("brain2clip")

#: Hardest stimuli and confused pairs that are listed for the best method of a block.
N_HARD, N_PAIRS = 8, 8
#: What figures are, in words.
FIGURES = {
    "timecourse": {
        "title": "accuracy over time",
        "alt": "Accuracy of ridge regression in windows of time from picture onset",
        "caption": "In every window by itself, ridge regression from the mean of each channel to CLIP's joint "
        "embedding, fitted on the subject's training trials alone. Thick: mean over subjects; thin: single subjects; "
        "dashed: chance. The band is the interval; with two subjects none is drawn, because Student's t of two is far "
        "wider than all that is to be seen. Windows overlap; not corrected for multiple comparisons.",
    },
    "generalisation": {
        "title": "temporal generalisation",
        "alt": "Accuracy by the window of training and the window of test",
        "caption": "The models of accuracy over time, tested in every other window.",
    },
    "regions": {
        "title": "accuracy by region",
        "alt": "Top-1 by region of the brain with intervals",
        "caption": "All test repetitions averaged, among all candidates: mean with the interval of the tables (the "
        "title says how it was made); dashed: chance. Regions may overlap and differ in their number of voxels.",
    },
    "sessions": {
        "title": "accuracy by number of sessions",
        "alt": "Accuracy by the number of training sessions of the tested subject, a panel for each method, a line for "
        "each start of its models, chance dashed",
        "caption": "Protocols: in new-subject, models start from a joint model of all other subjects, or from random "
        "weights, and are trained with the first sessions of the tested subject; in intra-subject, they are trained "
        "with those sessions alone. The test is the same for any number. Thick: mean over subjects with the interval "
        "of the tables (the title says how it was made), for two subjects without one; thin: single subjects; dashed: "
        "chance. Lines are drawn beside each other, so that intervals can be seen; the ticks are the numbers. Models "
        "that start from others share training subjects, so subjects are not independent.",
    },
}
#: What the explorer must show so that generated pictures stand beside a query.
GENERATED = {"task": "stimulus", "repetitions": "all", "view": "queries"}
#: Why pictures are not shown, by whether they may be passed on.
HIDDEN = {
    "always": "Pictures are hidden (page.pictures: hide).",
    "asked": "Pictures are hidden; page.pictures: show puts them here, if you may pass them on.",
    "never": "Pictures are hidden, because pictures of this dataset may not be passed on. Their names are shown "
    "instead.",
}


def run(job: stage.Job) -> None:
    """Run the stage."""
    if job.settings["design"] != design.digest():
        raise stage.InputError(
            "stage page: template, style or script has changed since snakemake planned this job; start snakemake again"
        )
    made = job.provenance()
    tables = read_tables(job)
    summary = artefact.read_table(*job.each("summary")[0])
    catalogues = {study: artefact.read_table(*one) for study, one in zip(job.settings["about"], job.each("catalogue"))}
    ranked = {name: one for name, one in tables.items() if not parse(Table, job.settings["tables"][name]).of_pictures}
    spent = costs.read(job)
    blocks = measured.blocks(ranked, job.settings, spent)
    queries = read_queries(job, catalogues, blocks)
    generated.write(job, queries.stimuli, queries.pictured())
    lines = methods_table(blocks, job.settings, queries.fingerprints)
    for name, frame in {
        "summary": summary,
        "methods": lines,
        **{f"tables/{name}": one for name, one in tables.items()},
    }.items():
        artefact.write_table(job.output(f"data/{name}.parquet"), frame, made, unknown=set(frame))
        artefact.write_text(job.output(f"data/{name}.csv"), frame.to_csv(index=False))
    write_queries(job, queries.rows, made)
    penalties = read_penalties(job)
    contrasts = measured.contrasts(ranked, job.settings, queries.n_candidates)
    curves = measured.curves(ranked, queries.repeated)
    keys = {*(one.key for one in blocks), *(one.key for one in contrasts), *(one.key for one in curves)}
    view = {
        **job.settings,
        "titles": {key: words.title(key, job.settings) for key in keys},
        "blocks": [
            of_block(one, job, catalogues, summary, queries, picked(one, spent, penalties, job.settings))
            for one in blocks
        ],
        "figure_words": FIGURES,
        "hidden_words": HIDDEN,
        "debug": job.settings.get("debug", False),
        "curves": curves,
        "contrasts": contrasts,
        "of_stimulus": explorer.OF_STIMULUS,
        "fewest_for_p": measured.FEWEST_FOR_P,
        "columns": glossary.COLUMNS,
        "version": __version__,
        "glossary": [],
        "published": measured.published_rows(ranked, job.settings, published.read(job.inputs.get("published", []))),
        "sheets": read_sheets(job),
        "embedded_figures": (figures := read_figures(job)),
        "regions": words.regions(job.settings, {one["study"] for one in figures}),
        "debug_words": DEBUG,
        "index": Markup(explorer.embedded(queries.index(job.settings, blocks))),
        "style": Markup(design.text("page.css")),
        "script": Markup(design.text("page.js")),
    }
    for one in view["blocks"]:
        one["answer"] = measured.answer(one["block"], contrasts)
    view["glossary"] = glossary.of(render(view))
    artefact.write_text(job.output("page.html"), render(view))
    log.info("page: %d blocks, %d tables, %d queries", len(blocks), len(tables), len(queries.rows))


def render(view: dict[str, Any]) -> str:
    """The page; every text of the configuration is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(design.FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(view) + "\n"


# ------------------------------------------------------------------------------------------------- reading


def read_tables(job: stage.Job) -> dict[str, pd.DataFrame]:
    """Parquet files of the tables by name."""
    if not job.settings["order"]:
        return {}
    files = [artefact.read_table(path, expected) for path, expected in job.each("table")]
    return dict(zip(job.settings["order"], files, strict=True))


def read_sheets(job: stage.Job) -> dict[str, list[sheets.Sheet]]:
    """Tables as they are read, by name."""
    return dict(zip(job.settings["order"], map(sheets.read, job.inputs.get("sheet", [])), strict=True))


def read_figures(job: stage.Job) -> list[dict[str, str]]:
    """Figures that stand in the page: study, name, and the file as data URI."""
    found = []
    expected = job.expects.get("figure", [])
    for (study, name), path, wanted in zip(
        job.settings["figures"], job.inputs.get("figure", []), expected, strict=True
    ):
        carried = records.provenance(path)
        if carried is None or carried.origin != wanted["origin"]:
            raise stage.InputError(f"{path}: not the figure that was planned; delete it and start snakemake again")
        content = base64.b64encode(path.read_bytes()).decode()
        found.append({"study": study, "name": name, "uri": f"data:image/svg+xml;base64,{content}"})
    return found


@dataclass
class Queries:
    """What the explorer shows.

    Attributes
    ----------
    stimuli : dict
        Of each study.
    rows : DataFrame
        Everything that is shown.
    found : dict
        By study, signal and protocol, ranks of the block's task.
    n_candidates : dict
        By study, signal, protocol and task.
    repeated : dict
        By study, signal and protocol, how often each test stimulus was shown, where single trials were tested.
    fingerprints : dict
        By study, signal, protocol and method, a digest of what made the rows of all runs: of all settings, code and
        inputs before them.
    """

    stimuli: dict[str, explorer.Stimuli]
    rows: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=explorer.COLUMNS))
    found: dict[tuple[str, ...], explorer.Found] = field(default_factory=dict)
    n_candidates: dict[tuple[str, ...], int] = field(default_factory=dict)
    repeated: dict[tuple[str, ...], str] = field(default_factory=dict)
    fingerprints: dict[tuple[str, ...], str] = field(default_factory=dict)

    def pictured(self) -> generated.Shown:
        """Stimuli beside whose queries generated pictures stand, by study, signal, protocol and method."""
        rows = self.rows[(self.rows["task"] == "stimulus") & (self.rows["repetitions"] == "all")]
        return {key: set(targets) for key, targets in rows.groupby([*measured.BLOCK, "method"])["target"]}

    def index(self, given: dict[str, Any], blocks: list[Block]) -> dict[str, Any]:
        """What the explorer offers to choose from, in the order of the page where it has one."""
        place = {block.key: number for number, block in enumerate(blocks)}
        lines = {block.key: [line.method for line in block.lines] for block in blocks}
        named = {}
        known = self.rows[[*measured.BLOCK, "method", "subject", "seed"]].drop_duplicates()
        for key, part in sorted(known.groupby(measured.BLOCK), key=lambda one: place.get(one[0], len(place))):
            methods = sorted(part["method"].unique(), key=lambda one: (*_place(lines.get(key, []), one), one))
            named["/".join(key)] = {
                "methods": methods,
                "subjects": sorted(part["subject"].unique()),
                "seeds": sorted(part["seed"].unique().tolist()),
            }
        present = set(self.rows["task"].unique())
        return {
            "blocks": named,
            "labels": given["methods"],
            "tasks": {task: TASKS[task].format("all") for task in given["tasks"] if task in present},  # type: ignore[index]
            "repetitions": given["repetitions"],
            "pictures": {study: about["pictures"] for study, about in given["about"].items()},
            "generated": generated.index(given),
            "words": words.menus(given),
        }


def _place(names: list[str], name: str) -> tuple[int]:
    return (names.index(name) if name in names else len(names),)


def read_queries(job: stage.Job, catalogues: dict[str, pd.DataFrame], blocks: list[Block]) -> Queries:
    """Read the retrieval rows method by method, and write the files that the explorer loads."""
    about, tasks = job.settings["about"], job.settings["tasks"]
    stimuli = {
        study: explorer.Stimuli.read(one, about[study]["pictures"] == "show") for study, one in catalogues.items()
    }
    queries = Queries(stimuli)
    asked = {block.key: MetricName.read(block.metric) for block in blocks}
    kept, seen = [], {study: set[str]() for study in catalogues}
    files = stage.progress(job.each("rows"), "reading rows")
    for folder, together in itertools.groupby(files, lambda one: one[0].parent):
        group = list(together)
        rows = pd.concat([artefact.read_table(path, expected) for path, expected in group], ignore_index=True)
        rows["repetitions"] = rows["repetitions"].astype(str)
        rows["target"] = rows["target"].astype(object)
        shown = explorer.shown(rows, job.settings["queries"])
        kept.append(shown)
        first = rows.iloc[0]
        key = (first["study"], first["signal"], first["protocol"])
        queries.fingerprints[(*key, first["method"])] = _fingerprint(group)
        for task, part in explorer.parts(shown, tasks):
            name = "/".join(["queries", *key, first["method"], task])
            counts = explorer.counted(rows[rows["task"] == task])
            artefact.write_text(job.output(f"{name}.js"), explorer.script(name, explorer.of_task(part, counts)))
        seen[key[0]].update(shown["target"], *shown["top_ids"].tolist())
        for task, count in rows[rows["pool"] == 0].groupby("task")["n_candidates"].max().items():
            queries.n_candidates[(*key, str(task))] = int(count)
        single = rows[(rows["repetitions"] == "1") & (rows["task"] == tasks[0]) & (rows["pool"] == 0)]
        if key not in queries.repeated and len(single):
            queries.repeated[key] = span(single.groupby(["subject", "seed", "target"]).size().tolist())
        if (metric := asked.get(key)) is not None:
            wanted = (rows["task"] == metric.task) & (rows["repetitions"] == metric.repetitions) & (rows["pool"] == 0)
            queries.found.setdefault(key, explorer.Found()).add(first["method"], rows[wanted])
        log.debug("%s", folder)
    for study, names in seen.items():
        name = f"pictures/{study}"
        artefact.write_text(job.output(f"{name}.js"), explorer.script(name, stimuli[study].loaded(names)))
    queries.rows = pd.concat(kept, ignore_index=True)
    return queries


def _fingerprint(files: list[tuple[Path, dict[str, Any] | None]]) -> str:
    """Digest of the origins of some artefacts."""
    made = [artefact.stored_provenance(path) if expected is None else expected for path, expected in files]
    origins = [one["origin"] if isinstance(one, dict) else one.origin if one else "" for one in made]
    return hashlib.sha256("\n".join(origins).encode()).hexdigest()


def read_penalties(job: stage.Job) -> dict[tuple[str, ...], dict[str, float]]:
    """Penalty that cross-validation chose, by study, signal, protocol and method, of each subject: the first best."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for path, expected in job.each("history") if job.inputs.get("history") else ():
        history = artefact.read_table(path, expected)
        if {"alpha", "held_out_mrr"} <= set(history) and len(history):
            run = blocks_of.from_run_path(path)
            best = float(history["alpha"].iloc[int(history["held_out_mrr"].to_numpy().argmax())])
            key = tuple(str(run[name]) for name in (*measured.BLOCK, "method"))
            found.setdefault(key, {})[str(run["subject"])] = best
    return found


def picked(
    block: Block, spent: pd.DataFrame, penalties: dict[tuple[str, ...], dict[str, float]], given: dict[str, Any]
) -> dict[str, str]:
    """What selection chose, in words, by method: penalties of ridge regression, epochs where they are not fixed."""
    found = {}
    for line in block.lines:
        if own := penalties.get((*block.key, line.method)):
            names_of = {value: [name for name in sorted(own) if own[name] == value] for value in sorted(own.values())}
            told = [f"{value:.10g} for subject {', '.join(names)}" for value, names in names_of.items()]
            found[line.method] = (
                f"chosen: {'; '.join(told) if len(told) > 1 else f'{next(iter(names_of)):.10g} for all'}"
                + _beyond(list(names_of), given["chosen"].get(line.method, {}).get("alphas", []))
            )
        elif given["chosen"].get(line.method, {}).get("selection", {}).get("rule", "last") != "last" and len(spent):
            epochs = spent[(spent[[*measured.BLOCK, "method"]] == [*block.key, line.method]).all(axis=1)]["epochs"]
            if len(epochs := epochs.dropna().astype(int)):
                found[line.method] = f"chosen: {span(epochs.tolist())} epochs"
    return found


def _beyond(chosen: list[float], tried: Sequence[float]) -> str:
    """Which of some penalties are ends of those that were tried, in words."""
    ends = {min(tried): "the smallest", max(tried): "the largest"} if len(tried) > 1 else {}
    found = [value for value in ends if value in chosen]
    if not found:
        return ""
    which, were = " and ".join(ends[value] for value in found), "was" if len(found) == 1 else "were"
    values = " and ".join(f"{value:.10g}" for value in found)
    return f"; {which} that {were} tried, so the best may lie beyond: {values}"


def write_queries(job: stage.Job, rows: pd.DataFrame, made: artefact.Provenance) -> None:
    """What the explorer shows, to be taken from the page."""
    artefact.write_table(job.output("data/queries.parquet"), rows, made, unknown=set(rows))
    told = rows.assign(top_ids=[json.dumps(list(names), ensure_ascii=False) for names in rows["top_ids"].tolist()])
    text = told.drop(columns="top_similarities").to_csv(index=False, float_format="%.5g")
    content = gzip.compress(text.encode(), compresslevel=5, mtime=0)
    with artefact.aside(job.output("data/queries.csv.gz")) as part:
        part.write_bytes(content)


# --------------------------------------------------------------------------------------------- what is shown


def of_block(
    block: Block,
    job: stage.Job,
    catalogues: dict[str, pd.DataFrame],
    summary: pd.DataFrame,
    queries: Queries,
    selected: dict[str, str],
) -> dict[str, Any]:
    """A block as the template shows it."""
    given = job.settings
    metric = MetricName.read(block.metric)
    task = metric.task
    order = list(given["methods"])
    names = sorted({line.method for line in block.lines} & set(given["chosen"]), key=order.index)
    found, best = queries.found.get(block.key), next(iter(block.ranked), None)
    hard = confused = []
    stimuli = queries.stimuli[block.study]
    if found is not None and best is not None and best.method in found.parts and len(found.parts[best.method]):
        beside = [line.method for line in block.ranked]
        hard = [
            (one, stimuli.small(one.target), stimuli.small(one.taken))
            for one in found.hardest(best.method, beside, N_HARD)
        ]
        confused = [
            (first, second, share, stimuli.small(first), stimuli.small(second))
            for first, second, share in found.confused(best.method, N_PAIRS)
        ]
    state = {**dict(zip(measured.BLOCK, block.key)), "task": task, "repetitions": metric.repetitions}
    pictured = [
        (line.label, f"#{urlencode({**dict(zip(measured.BLOCK, block.key)), **GENERATED, 'method': line.method})}")
        for line in block.lines
        if generated.index(given).get("/".join((*block.key, line.method)))
    ]
    count = queries.n_candidates.get((*block.key, task), 0)
    return {
        "block": block,
        "protocol": words.protocol(
            block, given, catalogues[block.study], summary, count, queries.repeated.get(block.key, ""), selected
        ),
        "differences": {name: chosen.difference(name, names, given["chosen"]) for name in names},
        "fingerprints": {name: queries.fingerprints.get((*block.key, name), "") for name in names},
        "responses": chosen.flat(given["signals"][block.study][block.signal]),
        "best": best,
        "selected": words.selected(best.method, given, selected) if best is not None else "",
        "view": f"#{urlencode({**state, 'method': best.method, 'view': 'queries'})}" if best is not None else "",
        "pictured": pictured,
        "hard": hard,
        "confused": confused,
        "stimuli": stimuli,
        "task": measured.task_words(block.metric, count),
        "per_stimulus": found.per_stimulus(best.method) if hard and found is not None and best is not None else "",
        "about": given["about"][block.study],
        "kinds": {name: given["chosen"][name].get("kind", "") for name in names},
    }


def methods_table(blocks: list[Block], given: dict[str, Any], fingerprints: dict[tuple[str, ...], str]) -> pd.DataFrame:
    """The lines of all blocks, as they can be taken from the page."""
    columns = [
        *("study", "signal", "protocol", "table", "metric", "concepts", "method", "label", "ceiling", "control"),
        *("value", "low"),
        *("high", "interval", "chance", "n_subjects", "n_seeds", "cost", "seconds", "fingerprint", "settings"),
    ]
    return pd.DataFrame(list(_lines(blocks, given, fingerprints)), columns=columns)


def _lines(
    blocks: list[Block], given: dict[str, Any], fingerprints: dict[tuple[str, ...], str]
) -> Iterator[dict[str, Any]]:
    of_block = ("study", "signal", "protocol", "table", "metric", "concepts", "chance")
    of_line = ("method", "label", "ceiling", "control", "value", "low", "high", "n_subjects", "n_seeds", "cost")
    for block in blocks:
        for line in block.lines:
            yield {
                **{name: getattr(block, name) for name in of_block},
                **{name: getattr(line, name) for name in of_line},
                "interval": line.by,
                "seconds": line.seconds,
                "fingerprint": fingerprints.get((*block.key, line.method), ""),
                "settings": json.dumps(given["chosen"].get(line.method, {}), sort_keys=True, ensure_ascii=False),
            }


if __name__ == "__main__":
    stage.main(run)
