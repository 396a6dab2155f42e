"""What the explorer shows of generated pictures: samples, the nearest of the training bank, the oracle, judgements."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brain2clip import artefact, stage
from brain2clip.reporting import judgements
from brain2clip.reporting.page_parts import explorer

#: Longer side of a picture, and samples that are shown.
SIDE, SAMPLES = 64, 2
#: Metrics that are shown, in words of a header (with the number of candidates), and how a value is written.
METRICS = {
    "pixcorr": ("PixCorr ↑", "{:.3f}"),
    "ssim": ("SSIM ↑", "{:.3f}"),
    "two-way": ("two-way (%) ↑", "{:.1f}"),
    "rank": ("rank of {n} ↓", "{:.0f}"),
}
#: What is judged besides the generated samples; chance (``another``) is of another stimulus.
SOURCES = ("generated", "nearest", "oracle")

Shown = dict[tuple[str, ...], set[str]]


def write(job: stage.Job, stimuli: dict[str, explorer.Stimuli], shown: Shown) -> None:
    """Write the files that the explorer loads, one for all runs of a method and generator; none without generators.

    Parameters
    ----------
    job : Job
        Settings ``generated`` (run and generator of each input ``judged`` and ``generated``), ``oracles`` (study and
        generator of each input ``oracle``) and ``judges`` (labels).
    stimuli : dict
        By study. Where these have no pictures to be shown, no generated one is either.
    shown : dict
        Stimuli whose queries the explorer shows, by study, signal, protocol and method: no others are written.
    """
    if not job.settings.get("generated"):
        return
    of_study: dict[str, set[str]] = {}
    files = zip(job.settings["generated"], job.each("judged"), job.each("generated"), strict=True)
    for key, together in itertools.groupby(sorted(files, key=_file), _file):
        wanted = shown.get(key[:-1], set())
        of_study.setdefault(key[0], set()).update(wanted)
        name = "/".join(["generated", *key])
        value = _of_method(list(together), wanted, stimuli[key[0]], job.settings["judges"])
        artefact.write_text(job.output(f"{name}.js"), explorer.script(name, value))
    for (study, generator), (path, expected) in zip(job.settings["oracles"], job.each("oracle"), strict=True):
        name = f"oracle/{study}/{generator}"
        pictures, _ = _small(path, expected, of_study.get(study, set()), stimuli[study])
        artefact.write_text(job.output(f"{name}.js"), explorer.script(name, pictures))


def index(given: dict[str, Any]) -> dict[str, list[str]]:
    """Generators of a method, by study, signal, protocol and method as one path."""
    found: dict[str, list[str]] = {}
    for key in sorted({_file([one]) for one in given.get("generated", [])}):
        found.setdefault("/".join(key[:-1]), []).append(key[-1])
    return found


def _file(entry: Any) -> tuple[str, ...]:
    """Study, signal, protocol, method and generator: what stands in one file."""
    study, signal, protocol, method, _, _, generator = entry[0]
    return study, signal, protocol, method, generator


def _of_method(
    entries: list[Any], wanted: Collection[str], stimuli: explorer.Stimuli, labels: dict[str, str]
) -> dict[str, Any]:
    """All runs of a method and generator, as the page reads them; one file is open at a time."""
    columns: dict[tuple[str, str], str] = {}
    runs, named = [], set[str]()
    for (*_, subject, seed, _), (table, table_expected), (path, expected) in entries:
        judged = artefact.read_table(table, table_expected)
        judged = judged[judged["stimulus_id"].isin(wanted)]
        columns |= {one: words for one, words in _columns(judged, labels).items() if one not in columns}
        pictures, started = _small(path, expected, wanted, stimuli)
        found: dict[str, dict[str, Any]] = {
            name: {
                **{"pictures": pictures.get(name, []), "start": started.get(name, "")},
                "nearest": next(iter(part.loc[part["source"] == "nearest", "picture"]), ""),
                "scores": _scores(part, list(columns)),
            }
            for name, part in judged.groupby("stimulus_id")
        }
        named |= {one[key] for one in found.values() for key in ("nearest", "start") if one[key]}
        runs.append({"subject": subject, "seed": seed, "stimuli": found})
    small = {name: one for name in sorted(named) if (one := stimuli.small(name, SIDE)) is not None}
    concepts = {name: stimuli.words(name) for name in sorted(named)}
    return {"columns": list(columns.values()), "runs": runs, "concepts": concepts, "pictures": small}


def _columns(judged: pd.DataFrame, labels: dict[str, str]) -> dict[tuple[str, str], str]:
    """Judge and metric of each column, with its header; a partial judge is marked as in the tables."""
    found = {}
    known = judged[judged["metric"].isin(list(METRICS))].drop_duplicates(["judge", "metric"])
    place = {name: number for number, name in enumerate([judgements.PIXELS, *labels])}
    metrics = list(METRICS)
    rows = known[["judge", "metric", "n_candidates", "partial"]].itertuples(index=False)
    for judge, metric, n_candidates, partial in sorted(rows, key=lambda one: (place[one[0]], metrics.index(one[1]))):
        words = METRICS[metric][0].format(n=n_candidates)
        label = f"{labels.get(judge, judge)}{' (partial judge)' if partial else ''}: "
        found[judge, metric] = words if judge == judgements.PIXELS else label + words
    return found


def _scores(judged: pd.DataFrame, columns: list[tuple[str, str]]) -> dict[str, list[list[str]]]:
    """Values of a stimulus as they are read: by source, of each sample, by column."""
    rows = judged[["source", "sample", "judge", "metric", "value"]].itertuples(index=False)
    value = {(source, sample, judge, metric): number for source, sample, judge, metric, number in rows}
    samples = {source: sorted({key[1] for key in value if key[0] == source})[:SAMPLES] for source in SOURCES}
    return {
        source: [[_written(value.get((source, sample, *one)), one[1]) for one in columns] for sample in samples[source]]
        for source in SOURCES
    }


def _written(value: float | None, metric: str) -> str:
    if value is None or np.isnan(value):
        return "–"
    return METRICS[metric][1].format(100 * value if metric == "two-way" else value).replace("-", "−")


def _small(
    path: Path, expected: dict[str, Any] | None, wanted: Collection[str], stimuli: explorer.Stimuli
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """First samples as data URIs by stimulus, none where pictures are hidden; and what each started from."""
    with artefact.open_h5(path, expected) as file:
        names = [str(name) for name in file["stimulus_id"].asstr()[:]]
        started = dict(zip(names, map(str, file["start"].asstr()[:]))) if "start" in file else {}
        if not stimuli.picture:
            return {}, started
        return {
            name: [_uri(sample) for sample in file["picture"][row, :SAMPLES]]
            for row, name in enumerate(names)
            if name in wanted
        }, started


def _uri(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    return explorer.webp(Image.fromarray(picture), SIDE)
