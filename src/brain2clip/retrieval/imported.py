"""Stage ``imported``: retrieval rows of a result that was made elsewhere, from a file of ranks or of similarities.

A row of the file is a query: a response to one test stimulus, by its id. Ids, subjects, seeds, ranks and similarities
are checked here; the author states in the settings what no file can prove (how many test repetitions were averaged, how
the epoch was chosen), and the tables repeat it. docs/import.md has the forms of the file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brain2clip import artefact, stage
from brain2clip.names import Sought, scoring_of, suggestion
from brain2clip.readers import user_files
from brain2clip.retrieval import query_table, tasks
from brain2clip.settings import Imported, Retrieval, parse

log = logging.getLogger("brain2clip")

#: Column of the query's stimulus; columns that say of which run and which averages a query is; those of the results.
STIMULUS, SUBJECT, SEED, REPETITIONS, GROUP = "stimulus_id", "subject", "seed", "repetitions", "group"
RUNS = (SUBJECT, SEED, REPETITIONS, GROUP)
RANK, COUNT, CANDIDATE, SIMILARITY = "rank", "n_candidates", "candidate", "similarity"
#: Forms of the file of a result, for messages.
FORMS = {
    "ranks": f"{STIMULUS}, {RANK} and, if needed, {COUNT}, {', '.join(RUNS)}",
    "similarities": f"{STIMULUS} and a column for each candidate (its id), or {STIMULUS}, {CANDIDATE}, {SIMILARITY}; "
    f"if needed {', '.join(RUNS)}",
}


@dataclass(frozen=True)
class Candidates:
    """What a query is compared with.

    Attributes
    ----------
    stimulus : list of str
        Ids of the test stimuli, in the order of the catalogue.
    names : list of str
        Ids of the candidates: of the stimuli, or names of classes.
    column : ndarray [n_stimuli] int
        Candidate that each test stimulus belongs to.
    classes : bool
        Whether candidates are classes.
    """

    stimulus: list[str]
    names: list[str]
    column: NDArray[np.int64]
    classes: bool


def run(job: stage.Job) -> None:
    """Check the file and write rows."""
    method = Imported.of_rows(job.settings["method"])
    of_run, path = job.settings["run"], job.input("result")
    with artefact.open_h5(job.input("stimuli"), job.expects.get("features")) as file:
        candidates = candidates_of(file, method.task)
    table = of_run_only(read(path, method), path, method, str(of_run["subject"]), int(of_run["seed"]))
    rows = rows_of(job, table, path, method, candidates)
    rows.attrs[query_table.NOTE] = {"file": path.name, "digest": artefact.identity(path).removeprefix("sha256:")}
    unknown = {"similarity", "margin"} if method.holds == "ranks" else ()
    artefact.write_table(job.output("rows"), rows, job.provenance(), unknown=unknown)


def candidates_of(file: h5py.File, task: Sought) -> Candidates:
    """Candidates of a task among the stimuli of an open stimuli artefact."""
    ids, split, concept = (file[name].asstr()[:] for name in ("stimulus_id", "split", "concept"))
    rows = tasks.candidate_rows(split)
    stimulus = [str(one) for one in ids[rows]]
    of_stimulus = [str(one) for one in concept[rows]] if task in ("category", "template") else stimulus
    names = list(dict.fromkeys(of_stimulus))
    column = np.array([names.index(one) for one in of_stimulus], np.int64)
    return Candidates(stimulus, names, column, tasks.are_classes(task, split))


# ------------------------------------------------------------------------------------------------- the file


def read(path: Path, method: Imported) -> pd.DataFrame:
    """The file as a table of texts and numbers, its columns checked.

    Returns
    -------
    DataFrame
        Index ``place`` (as in ``line 3``), columns of :data:`RUNS` that the file has, as text, ``stimulus_id``, and
        ``rank`` (with ``n_candidates`` where the file has it), or a column for each candidate.

    Raises
    ------
    InputError
        Where the file cannot be read, or its columns are none of :data:`FORMS`.
    """
    what, setting = "not readable as a table", f"expected the columns {FORMS[method.holds]} (holds: {method.holds})"
    user_files.existing(path, "file of a result", "methods.*.file")
    with user_files.reading(path, what, f"; {setting}"):
        if path.suffix.lower() == ".parquet":
            table, word, first = pd.read_parquet(path), "row", 1
            table = table.reset_index(drop=all(name is None for name in table.index.names))
        else:
            user_files.text(path, f"; {setting}")
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            if not isinstance(table.index, pd.RangeIndex):  # pandas takes a field too many for a name of the row
                raise ValueError("lines have more fields than the header")
            header = pd.read_csv(path, dtype=str, header=None, nrows=1, encoding="utf-8-sig", keep_default_na=False)
            user_files.check_columns([str(name) for name in header.iloc[0]], path, "")
            word, first = "line", 2
    table.columns = [str(name) for name in table.columns]
    table.index = pd.Index([f"{word} {number}" for number in range(first, first + len(table))])
    if not len(table):
        raise stage.InputError(f"{path}: no row; {setting}")
    needed = [STIMULUS, RANK] if method.holds == "ranks" else [STIMULUS]
    absent = [name for name in needed if name not in table]
    if absent:
        there = f"found {', '.join(table.columns[:8])}"
        raise stage.InputError(f"{path}: no column {', '.join(absent)}; {there}; {setting}")
    unknown = [name for name in table if name not in (*needed, *RUNS, COUNT)] if method.holds == "ranks" else []
    if unknown:
        close = suggestion(unknown[0], (*needed, *RUNS, COUNT))
        raise stage.InputError(f"{path}: unknown column {unknown[0]!r}{close}; {setting}")
    for name in (STIMULUS, CANDIDATE, *RUNS):
        if name in table:
            table[name] = [_as_text(value) for value in table[name]]
    return table


def of_run_only(table: pd.DataFrame, path: Path, method: Imported, subject: str, seed: int) -> pd.DataFrame:
    """Rows of a subject and seed.

    Raises
    ------
    InputError
        Where the file does not tell subjects or seeds apart, or has no row of these.
    """
    for name, by_name, wanted in (
        (SUBJECT, "{subject}" in method.file, subject),
        (SEED, "{seed}" in method.file or not method.seeds, str(seed)),
    ):
        if name == SEED and not method.seeds and SEED in table:
            raise stage.InputError(
                f"{path}: a column seed, but seeds: false; expected seeds: true, or results of one seed without this "
                "column"
            )
        if name not in table:
            if not by_name:
                raise stage.InputError(
                    f"{path}: nothing tells which rows belong to {name} {wanted}; expected a column {name}, or "
                    f"{{{name}}} in the setting file"
                )
            continue
        labels = table[name].str.removeprefix("sub-") if name == SUBJECT else table[name]
        chosen = table[labels == wanted]
        if chosen.empty:
            known = sorted(set(labels))
            raise stage.InputError(
                f"{path}: no row of {name} {wanted}; the column {name} has {', '.join(known[:12])}"
                f"{suggestion(wanted, known)}: write labels like the study, as text (01, not 1)"
            )
        table = chosen
    return table


# ------------------------------------------------------------------------------------------------- the rows


def rows_of(job: stage.Job, table: pd.DataFrame, path: Path, method: Imported, candidates: Candidates) -> pd.DataFrame:
    """Retrieval rows of the rows of one run.

    Raises
    ------
    InputError
        With file, row, what was found and what was expected.
    """
    retrieval = parse(Retrieval, job.settings["retrieval"])
    asked = [str(number) for number in retrieval.repetitions]
    if method.holds == "similarities" and CANDIDATE in table:
        table = _wide(table, path)
    repetitions = table[REPETITIONS] if REPETITIONS in table else pd.Series(str(method.repetitions), table.index)
    unasked = ~repetitions.isin(asked)
    if unasked.any():
        found, listed = f"{REPETITIONS} {repetitions[unasked].iloc[0]!r}", ", ".join(asked)
        raise _refusal(
            path, unasked, found, f"one of retrieval.repetitions ({listed}): add it there, or leave these rows out"
        )
    if method.holds == "similarities":
        own = [name for name in table if name not in (STIMULUS, *RUNS)]
        check_candidates(own, path, candidates.names)
    parts = []
    for number in dict.fromkeys(repetitions):
        part = ordered(table[repetitions == number], path, candidates, number)
        shown = [candidates.stimulus.index(one) for one in part[STIMULUS]]
        queries = tasks.Queries(
            task=method.task,
            repetitions=cast(Literal["all"], number),
            ids=np.array(candidates.names, dtype=object),
            target=candidates.column[shown],
            similarity=np.full((len(part), len(candidates.names)), np.nan),
            classes=candidates.classes,
        )
        if method.holds == "ranks":
            parts.append(query_table.of_ranks(queries, ranks_of(part, path, candidates), job.settings["run"]))
        else:
            known = replace(queries, similarity=numbers(part[candidates.names], path, SIMILARITY))
            same = [task for task in retrieval.tasks if scoring_of(task) and tasks.kind_of(task) == method.task]
            scored = [tasks.scored(known, task, retrieval.csls_neighbours) for task in same]
            parts.append(query_table.checked(job, [known, *scored]))
        log.info("imported: %s, %d queries of %s repetitions", path.name, len(part), number)
    return pd.concat(parts, ignore_index=True)


def ordered(table: pd.DataFrame, path: Path, candidates: Candidates, repetitions: str) -> pd.DataFrame:
    """Queries in the order of the house: by test stimulus, then by group of averaged trials.

    Raises
    ------
    InputError
        Where a stimulus is none of the test, occurs twice in a group, or is missing.
    """
    place = {name: number for number, name in enumerate(candidates.stimulus)}
    strange = ~table[STIMULUS].isin(place)
    if strange.any():
        name = table[STIMULUS][strange].iloc[0]
        known = f"{candidates.stimulus[0]} to {candidates.stimulus[-1]}{suggestion(name, place)}"
        expected = f"ids of the {len(place)} test stimuli of the study, from {known}"
        raise _refusal(path, strange, f"{STIMULUS} {name!r}", expected)
    groups = table[GROUP] if GROUP in table else pd.Series("0", table.index)
    wrong = ~groups.str.fullmatch(r"\d+")
    if wrong.any():
        raise _refusal(path, wrong, f"{GROUP} {groups[wrong].iloc[0]!r}", "a whole number from 0 on")
    keyed = table.assign(**{GROUP: groups.astype(int), "_place": table[STIMULUS].map(place)})
    twice = keyed.duplicated(["_place"] if repetitions == "all" else ["_place", GROUP])
    if twice.any():
        expected = (
            "each test stimulus once if all repetitions are averaged, for each subject and seed"
            if repetitions == "all"
            else f"each test stimulus once, or a column {GROUP} that distinguishes averages of different trials"
        )
        raise _refusal(path, twice, f"the query {keyed[STIMULUS][twice].iloc[0]} a second time", expected)
    lost = [name for name in candidates.stimulus if name not in set(table[STIMULUS])]
    if lost:
        raise stage.InputError(
            f"{path}: no query of {len(lost)} of the {len(place)} test stimuli, the first is {lost[0]}; expected all "
            "of them: a score on a part of the test cannot be compared"
        )
    return keyed.sort_values(["_place", GROUP], kind="stable").drop(columns="_place")


def check_candidates(found: Sequence[str], path: Path, names: Sequence[str]) -> None:
    """Refuse other candidates than those of the protocol.

    Raises
    ------
    InputError
        With the first of them.
    """
    lost, known = [name for name in names if name not in set(found)], set(names)
    strange = [name for name in found if name not in known]
    if strange:
        raise stage.InputError(
            f"{path}: column {strange[0]!r} ({len(strange)} such) is not among the {len(names)} candidates, which are "
            f"{names[0]} to {names[-1]}{suggestion(strange[0], names)}; expected {FORMS['similarities']}"
        )
    if lost:
        raise stage.InputError(
            f"{path}: {len(found)} candidates, but not {lost[0]} ({len(lost)} such); expected similarities to all "
            f"{len(names)} candidates of the protocol"
        )


def ranks_of(table: pd.DataFrame, path: Path, candidates: Candidates) -> NDArray[np.int64]:
    """Ranks of the true candidates, 1 to the number of candidates.

    Raises
    ------
    InputError
        Where one is not, the number of candidates is another, or candidates are classes.
    """
    count = len(candidates.names)
    if candidates.classes:
        raise stage.InputError(
            f"{path}: ranks among {count} classes; metrics of classes need more than the rank: expected similarities "
            "(holds: similarities)"
        )
    if COUNT in table:
        said = numbers(table[[COUNT]], path, COUNT)[:, 0]
        other = pd.Series(said != count, table.index)
        if other.any():
            raise _refusal(
                path, other, f"{COUNT} {said[other.to_numpy()][0]:g}", f"{count}, like the test of the study"
            )
    ranks = numbers(table[[RANK]], path, RANK)[:, 0]
    wrong = pd.Series((ranks < 1) | (ranks > count) | (ranks != np.round(ranks)), table.index)
    if wrong.any():
        raise _refusal(
            path, wrong, f"{RANK} {ranks[wrong.to_numpy()][0]:g}", f"a whole number from 1 (best) to {count}"
        )
    return ranks.astype(np.int64)


def numbers(table: pd.DataFrame, path: Path, what: str) -> NDArray[np.float64]:
    """Finite numbers [n, m] of some columns.

    Raises
    ------
    InputError
        With the first that is none.
    """
    found = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    broken = ~np.isfinite(found)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        where = f"{what} {table.iloc[row, column]!r}" + (f" to {table.columns[column]}" if what == SIMILARITY else "")
        raise _refusal(path, pd.Series(broken.any(axis=1), table.index), where, "a finite number")
    return found


def _wide(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A row for each query, a column for each candidate, from a row for each pair."""
    unknown = [name for name in table if name not in (STIMULUS, CANDIDATE, SIMILARITY, *RUNS)]
    if unknown or SIMILARITY not in table:
        found = f"unknown column {unknown[0]!r}" if unknown else f"no column {SIMILARITY}"
        raise stage.InputError(f"{path}: {found} in a table with {CANDIDATE}; expected {FORMS['similarities']}")
    keys = [name for name in (STIMULUS, *RUNS) if name in table]
    twice = table.duplicated([*keys, CANDIDATE])
    if twice.any():
        pair = table.loc[twice, [STIMULUS, CANDIDATE]].iloc[0]
        raise _refusal(path, twice, f"the similarity of {' and '.join(pair)} a second time", "each pair once")
    wide = table.pivot(index=keys, columns=CANDIDATE, values=SIMILARITY)
    first = table.reset_index(names="_line").groupby(keys)["_line"].first().reindex(wide.index)
    made = wide.reset_index().set_index(pd.Index(first.to_numpy()))
    made.columns.name = None
    return made


def _as_text(value: object) -> str:
    """A label as text; a whole number without a decimal point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _refusal(path: Path, wrong: pd.Series, found: str, expected: str) -> stage.InputError:
    """What is wrong with some rows, of which the first is told."""
    rows = wrong[wrong].index
    more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
    return stage.InputError(f"{path}, {rows[0]}: found {found}{more}; expected {expected}")


def check_file(path: Path, method: Imported, subjects: Sequence[str], runs: Sequence[tuple[str, int]]) -> None:
    """What can be checked without the stimuli, before anything runs: the file, its columns, subjects and seeds.

    Parameters
    ----------
    path : Path
    method : Imported
    subjects : sequence of str
        All of the study.
    runs : sequence of (str, int)
        Subjects and seeds whose results the file must hold.

    Raises
    ------
    InputError
        Where it cannot be read so, or names a subject that the study does not have.
    """
    table = read(path, method)
    if SUBJECT in table:
        labels = table[SUBJECT].str.removeprefix("sub-")
        strange = ~labels.isin(subjects)
        if strange.any():
            raise _refusal(path, strange, f"subject {labels[strange].iloc[0]!r}", f"one of {', '.join(subjects)}")
    for subject, seed in runs:
        of_run_only(table, path, method, subject, seed)
    if method.holds == "ranks":
        numbers(table[[RANK]], path, RANK)


if __name__ == "__main__":
    stage.main(run)
