"""Stage ``figures``: the pictures of the report, as SVG.

Settings: ``figures`` (dump of :class:`brain2clip.settings.Figures`), ``methods`` (name to label) and, for regions and
place, ``retrieval`` (its bootstrap) and ``rois`` (their order). Only the figures that are named among the outputs are
made: ``erp``, ``spectra``, ``training``, ``ranks``, ``gallery``, ``reconstruction``, ``regions``, ``place``, ``gains``,
``prompts``. The drawing itself is in ``figure_<name>.py``; here the artefacts are read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brain2clip import artefact, stage
from brain2clip.reporting import blocks, style
from brain2clip.reporting.figure_erp import Erp, figure_erp
from brain2clip.reporting.figure_gains import figure_gains
from brain2clip.reporting.figure_gallery import Candidates, figure_gallery
from brain2clip.reporting.figure_place import Reliability, figure_place, split_half
from brain2clip.reporting.figure_prompts import figure_prompts
from brain2clip.reporting.figure_ranks import figure_ranks
from brain2clip.reporting.figure_reconstruction import Bank, Predicted, figure_reconstruction
from brain2clip.reporting.figure_regions import by_region, figure_regions
from brain2clip.reporting.figure_spectra import Spectrum, figure_spectra
from brain2clip.reporting.figure_training import figure_training
from brain2clip.retrieval import statistics

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Run the stage."""
    unknown = set(job.outputs) - set(FIGURES)
    if unknown:
        raise stage.InputError(f"no figure named {', '.join(sorted(unknown))}; known are {', '.join(FIGURES)}")
    made = job.provenance()
    for name, path in job.outputs.items():
        with style.applied():
            style.save(FIGURES[name](job), path, made)
        log.info("figure %s: %s", name, path)


# ---------------------------------------------------------------------------------- from artefacts to data


def erp(job: stage.Job) -> Figure:
    """Mean over the subjects of the first study and signal."""
    files = job.each("responses")
    first = blocks.from_response_path(files[0][0])
    same = [file for file in files if {**blocks.from_response_path(file[0]), "subject": ""} == {**first, "subject": ""}]
    subjects = [_read_erp(*file, f"{first['study']}, {first['signal']}") for file in same]
    return figure_erp(_grand_mean(subjects), job.settings["figures"]["topography_times"])


def spectra(job: stage.Job) -> Figure:
    """Every signal of every study, channels averaged."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    units = {}
    for path, expected in stage.progress(job.each("responses"), "reading spectra"):
        names = blocks.from_response_path(path)
        with artefact.open_h5(path, expected) as file:
            pair = (file["quality/freqs"][:], np.nanmean(file["quality/psd"][:], axis=0))
            unit = str(file["quality"].attrs.get("unit", "V"))
        label = f"{names['study']}, {names['signal']}"
        found.setdefault(label, []).append(pair)
        units[label] = unit
    data = []
    for label, pairs in found.items():
        freqs = pairs[0][0]
        psd = np.stack([np.interp(freqs, own, values) for own, values in pairs])
        data.append(Spectrum(label, freqs.astype(np.float64), psd.astype(np.float64), units[label]))
    return figure_spectra(data)


def training(job: stage.Job) -> Figure:
    """All history tables."""
    tables = []
    for path, expected in job.each("history"):
        table = artefact.read_table(path, expected)
        if len(table):
            tables.append(table.assign(**blocks.from_run_path(path)))
    if not tables:
        raise stage.InputError("figure training: all history tables are empty; leave this figure out of the outputs")
    return figure_training(pd.concat(tables, ignore_index=True), job.settings["methods"])


def ranks(job: stage.Job) -> Figure:
    """All retrieval rows."""
    return figure_ranks(_tables(job, "rows"), job.settings["methods"])


def gallery(job: stage.Job) -> Figure:
    """First block, subject and seed of the figures' method."""
    rows = _tables(job, "rows")
    rows = statistics.of_metric(rows[rows["method"] == _method(job, rows)], "top-1")
    if rows.empty:
        raise stage.InputError(
            "figure gallery: no rows of its method for the task stimulus with all repetitions averaged "
            "(retrieval.tasks, retrieval.repetitions)"
        )
    first = rows.iloc[0]
    names = [*blocks.BLOCK, "method", "subject", "seed"]
    one = rows[(rows[names] == first[names]).all(axis=1)]
    label = job.settings["methods"].get(first["method"], first["method"])
    block = ", ".join(first[name] for name in blocks.BLOCK)
    title = (
        f"{label}: {block}, subject {first['subject']}, seed {first['seed']}; {one['n_candidates'].iloc[0]} candidates"
    )
    return figure_gallery(one, _candidates(job), title)


def reconstruction(job: stage.Job) -> Figure:
    """One embeddings artefact against all pictures of a stimuli artefact; nothing else is read."""
    path, expected = job.each("embeddings")[0]
    with artefact.open_h5(path, expected) as file:
        names = [str(name) for name in file["stimulus_id"].asstr()[:]]
        predicted = Predicted(file["predicted"][:], file["centre"][:], names)
        run = {name: str(file.attrs[name]) for name in ("study", "signal", "protocol", "method", "subject", "seed")}
    with artefact.open_h5(*job.each("stimuli")[0]) as file:
        ids, concepts = ([str(text) for text in file[name].asstr()[:]] for name in ("stimulus_id", "concept"))
        rows = np.arange(len(ids))
        if file.attrs["kind"] == "prompts":  # all stimuli of a class are one point
            first = {concept: row for row, concept in reversed(list(enumerate(concepts)))}
            rows = np.array(sorted({*first.values(), *(ids.index(name) for name in names)}))
        embedding = file["embedding"][:][rows]
    kept = [[column[row] for row in rows] for column in (ids, concepts)]
    bank = Bank(embedding, kept[0], kept[1], _candidates(job))
    label = job.settings["methods"].get(run["method"], run["method"])
    title = (
        f"{label}: {run['study']}, {run['protocol']}, {run['signal']}, subject {run['subject']}, seed {run['seed']}. "
        f"Nearest in a bank of {len(bank.stimulus_id)} training and test stimuli without the seen one, whose rank "
        "stands beside it; green: same class"
    )
    return figure_reconstruction(predicted, bank, title)


def regions(job: stage.Job) -> Figure:
    """Retrieval rows of all regions of a study."""
    rows = _tables(job, "rows")
    title = f"{rows['study'].iloc[0]}, {rows['protocol'].iloc[0]}: {_interval(job, rows)}"
    points = by_region(rows, job.settings["retrieval"])
    return figure_regions(points, job.settings["rois"], job.settings["methods"], title)


def place(job: stage.Job) -> Figure:
    """Responses of an EEG study, and retrieval rows of all regions of an fMRI study and one method."""
    rows = _tables(job, "rows")
    method = rows["method"].iloc[0]
    words = {"study": rows["study"].iloc[0], "method": job.settings["methods"].get(method, method)}
    words["method"] += f", {_interval(job, rows)}"
    points = by_region(rows, job.settings["retrieval"])
    return figure_place(_reliability(job), points, job.settings["rois"], words)


def gains(job: stage.Job) -> Figure:
    """Gains of the figures' method over the windows of the stimuli file."""
    table = _tables(job, "gains")
    table = table[table["method"] == _method(job, table)]
    with artefact.open_h5(*job.each("stimuli")[0]) as file:
        window, frequency = file["band_window"][:], file["band_frequency"][:]
    return figure_gains(table, window, frequency, _averaged(job, table))


def prompts(job: stage.Job) -> Figure:
    """Effect of the prompts of the figures' method."""
    table = _tables(job, "prompts")
    table = table[table["method"] == _method(job, table)]
    return figure_prompts(table, _averaged(job, table))


FIGURES: dict[str, Callable[[stage.Job], Figure]] = {
    "erp": erp,
    "spectra": spectra,
    "training": training,
    "ranks": ranks,
    "gallery": gallery,
    "reconstruction": reconstruction,
    "regions": regions,
    "place": place,
    "gains": gains,
    "prompts": prompts,
}


# ----------------------------------------------------------------------------------------------- inside


def _read_erp(path: Path, expected: dict[str, Any] | None, title: str) -> Erp:
    with artefact.open_h5(path, expected) as file:
        return Erp(
            title=title,
            channels=[str(name) for name in file["channel"].asstr()[:]],
            times=file["times"][:].astype(np.float64),
            potential=file["quality/erp"][:].astype(np.float64),
            position=file["position"][:].astype(np.float64),
            n_subjects=1,
            unit=str(file["quality"].attrs.get("unit", "V")),
        )


def _grand_mean(subjects: list[Erp]) -> Erp:
    """Mean over subjects on the channels that all have."""
    common = reduce(lambda known, one: [name for name in known if name in one.channels], subjects, subjects[0].channels)
    rows = [[one.channels.index(name) for name in common] for one in subjects]
    positions = np.stack([one.position[row] for one, row in zip(subjects, rows, strict=True)])
    known = np.asarray(np.isfinite(positions).all(axis=(0, 2)))
    potential = np.mean([one.potential[row] for one, row in zip(subjects, rows, strict=True)], axis=0)
    position = np.where(known[:, None], positions.mean(axis=0), np.nan)
    first = subjects[0]
    return Erp(first.title, common, first.times, potential, position, len(subjects), first.unit)


def _reliability(job: stage.Job) -> Reliability:
    """Split-half reliability of training pictures, mean over the subjects on the channels that all have."""
    files = stage.progress(job.each("responses"), "reading responses")
    channels: list[list[str]] = []
    found, positions, counts = [], [], []
    for path, expected in files:
        names = blocks.from_response_path(path)
        with artefact.open_h5(path, expected) as file:
            rows = np.flatnonzero(file["split"][:] == 0)
            correlation, count = split_half(file["response"], rows, file["stimulus"][:][rows])
            channels.append([str(name) for name in file["channel"].asstr()[:]])
            times = file["times"][:].astype(np.float64)
            positions.append(file["position"][:].astype(np.float64))
        found.append(correlation)
        counts.append(count)
    common = [name for name in channels[0] if all(name in own for own in channels)]
    order = [[own.index(name) for name in common] for own in channels]
    mean = np.mean([one[own] for one, own in zip(found, order, strict=True)], axis=0)
    title = f"{names['study']}, {names['signal']}"
    return Reliability(title, common, times, mean, positions[0][order[0]], max(counts), len(found))


def _interval(job: stage.Job, rows: pd.DataFrame) -> str:
    """What points and intervals are, in words."""
    count = rows["subject"].nunique()
    level = job.settings["retrieval"]["level"]
    return f"mean of {count} subject{'' if count == 1 else 's'}, {level * 100:g} % CI"


def _candidates(job: stage.Job) -> Candidates:
    with artefact.open_h5(*job.each("stimuli")[0]) as file:
        names, images, concepts, captions = (
            [str(text) for text in file[key].asstr()[:]] for key in ("stimulus_id", "image", "concept", "caption")
        )
        pictures_known = file.attrs["kind"] == "pictures"
    pictures = {} if not pictures_known else {name: Path(path) for name, path in zip(names, images, strict=True)}
    words = {name: caption or concept or name for name, concept, caption in zip(names, concepts, captions, strict=True)}
    return Candidates(pictures, words)


def _tables(job: stage.Job, name: str) -> pd.DataFrame:
    files = stage.progress(job.each(name), f"reading {name}")
    tables = [artefact.read_table(path, expected) for path, expected in files]
    return pd.concat(tables, ignore_index=True)


def _method(job: stage.Job, table: pd.DataFrame) -> str:
    """The figures' method where the table has it, else the first of the configuration that the table has."""
    wanted = job.settings["figures"]["method"]
    present = blocks.ordered(job.settings["methods"], table["method"])
    if not present:
        raise stage.InputError(f"stage {job.stage}: the inputs of a figure hold no row")
    return wanted if wanted in present else next(iter(present))


def _averaged(job: stage.Job, table: pd.DataFrame) -> str:
    """Method and number of subjects and seeds, in words."""
    method = table["method"].iloc[0]
    counts = [(table[name].nunique(), word) for name, word in (("subject", "subject"), ("seed", "seed"))]
    words = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
    return (
        f"{job.settings['methods'].get(method, method)}: mean over {words}; {table['stimulus_id'].nunique()} pictures"
    )


if __name__ == "__main__":
    stage.main(run)
