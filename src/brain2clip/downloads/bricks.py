"""Stage ``bricks``: unpack pictures that a dataset keeps as rows of one large array to PNG, without loss.

Input ``brick`` has the files that the study lists (only for the order of jobs: the study reads them itself); outputs
are ``pictures`` (pictures.tsv: ``image``, the path of each picture relative to the table, and ``row``, from 0) and
``record`` (size and hash of the table and of every picture; written last). Pictures are written to another folder and
moved when all are there, so a killed job never leaves files that look complete.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import artefact, stage
from brain2clip.readers import contract, file_records, hdf5
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = stage.log

AGAIN = "; get the file once more"
#: Needed free space: bytes of a PNG of a photograph for each of its 8-bit numbers, with some reserve.
SHARE = 0.65


def run(job: stage.Job) -> None:
    """Unpack the pictures of a study, then write the table and the record."""
    given = job.settings
    study: Any = contract.load(given["name"], given["study"], given["results"])
    output, made = job.output("pictures"), job.output("record")
    for path in (output, made):
        path.unlink(missing_ok=True)
    source, dataset, rows = study.brick()
    unpack(source, dataset, rows, output.parent)
    lines = "".join(f"{name}\t{row}\n" for name, row in rows.items())
    artefact.write_text(output, f"image\trow\n{lines}")
    file_records.write(made, study.dataset, [output, *(output.parent / name for name in rows)])
    log.info("bricks: %d pictures of %s", len(rows), source)


def unpack(source: Path, dataset: str, rows: dict[str, int], folder: Path) -> None:
    """Write rows of an array as PNG.

    Parameters
    ----------
    source : Path
        HDF5 file.
    dataset : str
        8-bit pictures [n, height, width, 3] in it.
    rows : dict
        Path in the folder to the row of each picture.
    folder : Path
        Folder for the pictures; its other folders are removed.

    Raises
    ------
    brain2clip.stage.InputError
        If the file is damaged, has other content, or has too few rows.
    """
    aside = folder / ".pictures.part"
    shutil.rmtree(aside, ignore_errors=True)
    with hdf5.opened(source, AGAIN) as file:
        if dataset not in file:
            raise InputError(f"{source}: no dataset {dataset!r}; found {', '.join(file) or 'none'}{AGAIN}")
        bricks = file[dataset]
        if bricks.ndim != 4 or bricks.shape[3] != 3 or bricks.dtype != "uint8":
            raise InputError(
                f"{source}: {dataset} is {bricks.dtype} {bricks.shape}, expected uint8 (n, height, width, 3){AGAIN}"
            )
        if max(rows.values()) >= len(bricks):
            raise InputError(
                f"{source}: {len(bricks)} pictures, but row {max(rows.values())} (from 0) is needed{AGAIN}"
            )
        hdf5.check_written(bricks, source, AGAIN)
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(folder, len(rows) * int(bricks[0].nbytes * SHARE))
        try:
            for name, row in stage.progress(sorted(rows.items(), key=lambda one: one[1]), "bricks"):
                _write(bricks[row], aside / name)
            for old in (one for one in folder.iterdir() if one.is_dir() and one != aside):
                shutil.rmtree(old)
            for made in sorted(os.listdir(aside)):
                (aside / made).rename(folder / made)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _write(pixels: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {free / 1e9:.2f} GB free, about {needed / 1e9:.2f} GB are needed to unpack the pictures; make "
            "room, or set results to a folder on another disk"
        )


if __name__ == "__main__":
    stage.main(run)
