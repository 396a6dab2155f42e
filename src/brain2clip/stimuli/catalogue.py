"""Stage ``catalogue``: the table of stimuli of a study, which the stage ``features`` reads.

Settings ``name``, ``study`` (what its stimuli depend on), ``results``, ``digest`` (of a table that the user may edit,
else none), ``first_concepts`` (only where not all are taken), ``templates`` (files of further pictures of the test
concepts and a digest of their list, where there are). Inputs ``stimuli`` (what the study lists) are for the order of
jobs: the study reads them itself. Which subjects there are, where their trials tell the split, is in the environment
(``BRAIN2CLIP_SUBJECTS``) and guarded by the digest. Output ``catalogue``: Parquet with the columns of a stimulus table,
``captions`` and ``prompts`` as lists, and ``source_picture`` where a study knows of some
(:meth:`brain2clip.readers.contract.Study.source_pictures`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import artefact, stage
from brain2clip.names import SPLITS
from brain2clip.readers import contract, overlap, templates
from brain2clip.readers.contract import STIMULUS_COLUMNS
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Write the table of stimuli."""
    given = job.settings
    study = contract.load(given["name"], given["study"], given["results"])
    contract.check_catalogue(study, given.get("digest"))
    table = study.stimulus_table()
    check(table, f"study {study.name}")
    sources = study.source_pictures()
    check_sources(sources, table, f"study {study.name}")
    if "first_concepts" in given:
        table = of_first_concepts(table, given["first_concepts"])
    if "templates" in given:
        table = with_templates(table, given["templates"], f"study {study.name}")
    if sources:
        table = table.assign(source_picture=[sources.get(name, "") for name in table["stimulus_id"]])
    output = job.output("catalogue")
    output.parent.mkdir(parents=True, exist_ok=True)
    artefact.write_table(output, _typed(table), job.provenance())
    counts = {side: int((table["split"] == side).sum()) for side in table["split"].unique()}
    log.info("catalogue: %d stimuli, %s", len(table), ", ".join(f"{count} {side}" for side, count in counts.items()))


def check(table: pd.DataFrame, where: str) -> None:
    """Refuse a table that is none of stimuli: columns, ids that stand twice, sides of the split.

    Raises
    ------
    brain2clip.stage.InputError
        Names what is wrong.
    """
    if tuple(table) != STIMULUS_COLUMNS or not len(table):
        raise InputError(
            f"{where}: a table of {len(table)} stimuli with the columns {', '.join(map(str, table))}; expected at "
            f"least one stimulus, and {', '.join(STIMULUS_COLUMNS)}"
        )
    twice = table["stimulus_id"][table["stimulus_id"].duplicated()]
    if len(twice):
        raise InputError(f"{where}: stimulus_id {twice.iloc[0]} occurs more than once; expected one row per stimulus")
    wrong = set(table["split"]) - {*SPLITS, "both"}
    if wrong:
        raise InputError(f"{where}: split {sorted(wrong)[0]!r}; expected train, test or both")


def check_sources(sources: dict[str, str], table: pd.DataFrame, where: str) -> None:
    """Refuse pictures of collections that are told in another way, or of stimuli that are none.

    Raises
    ------
    brain2clip.stage.InputError
        Names the first one.
    """
    for name, source in sources.items():
        if not overlap.is_source(source):
            raise InputError(
                f"{where}: source_pictures gives {source!r} for {name!r}; expected COLLECTION:NAME, such as "
                "coco:123456, or COLLECTION:?"
            )
    if unknown := sorted(set(sources) - set(table["stimulus_id"])):
        raise InputError(
            f"{where}: source_pictures names {unknown[0]!r}, which is no stimulus; expected ids of stimuli"
        )


def of_first_concepts(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Stimuli of the first so many concepts of each side of the split, in the order of the table."""
    kept = {side: part["concept"].unique()[:count] for side, part in table.groupby("split")}
    return table[[row.concept in kept[row.split] for row in table.itertuples()]].reset_index(drop=True)


def with_templates(table: pd.DataFrame, given: dict[str, str], where: str) -> pd.DataFrame:
    """The table with further pictures of the test concepts below, on a side of their own.

    Raises
    ------
    brain2clip.stage.InputError
        Where the study has no pictures, the files are others than when the job was planned, or a concept has none.
    """
    import pandas as pd

    tested = table[table["split"] != "train"]
    if (tested["image"] == "").any():
        raise InputError(f"{where}: test stimuli without a picture; class templates (templates) are means of pictures")
    if templates.digest(given["files"]) != given["digest"]:
        raise InputError(f"{given['files']}: the files have changed since this job was planned; run snakemake again")
    found = templates.rows(given["files"], tested["concept"].unique().tolist(), tested["image"])
    further = pd.DataFrame(found, columns=["stimulus_id", "concept", "image"])
    empty: list[list[str]] = [[] for _ in found]
    further = further.assign(split=templates.SIDE, captions=empty, prompts=empty)
    return pd.concat([table, further[list(STIMULUS_COLUMNS)]], ignore_index=True)


def read(path: Path, expected: dict[str, Any] | None) -> pd.DataFrame:
    """The table of stimuli, sentences as lists."""
    table = artefact.read_table(path, expected)
    for name in ("captions", "prompts"):
        table[name] = [list(texts) for texts in table[name]]
    return table


def _typed(table: pd.DataFrame) -> pa.Table:
    """The same with lists of text also where there is no sentence."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    kinds = {name: texts if name in ("captions", "prompts") else pa.string() for name in table}
    columns = {name: pa.array(table[name].tolist(), kind) for name, kind in kinds.items()}
    return pa.table(columns)


if __name__ == "__main__":
    stage.main(run)
