"""A miniature of the Natural Scenes Dataset in the layout of its bucket. Nothing of it is of the dataset.

Two subjects, two sessions of 750 trials, 100 pictures of each subject, of which they share 20; a grid of 9 x 8 x 7
voxels whose mask holds -1, 0 and 1. Every number of the betas says which trial and voxel it is of.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
from scipy.io import savemat

from brain2clip.downloads import bricks
from brain2clip.readers import file_records, nsd_files
from brain2clip.settings import Study, parse
from brain2clip.stage import Job

GRID = (9, 8, 7)
TRIALS, SESSIONS = 750, 2
OWN, SHARED, SUBJECTS = 100, 20, 2
N_PICTURES = SHARED + SUBJECTS * (OWN - SHARED)
VERSION = "betas_fithrf_GLMdenoise_RR"
SIDE = 12
#: The last shared picture is seen twice only, the one before it once.
RARE = {SHARED - 1: 2, SHARED - 2: 1}


def order(seed: int = 0) -> np.ndarray:
    """``masterordering``, from 1."""
    random = np.random.default_rng(seed)
    n_trials = TRIALS * SESSIONS
    rare = np.repeat(list(RARE), list(RARE.values()))
    often = np.tile([place for place in range(OWN) if place not in RARE], n_trials // OWN + 1)[: n_trials - len(rare)]
    return random.permutation(np.concatenate([rare, often])) + 1


def images(seed: int = 1) -> np.ndarray:
    """``subjectim`` [SUBJECTS, OWN], from 1; the shared ones first, in the order of the first subject."""
    random = np.random.default_rng(seed)
    numbers = random.permutation(N_PICTURES)
    own = [numbers[SHARED + one * (OWN - SHARED) :][: OWN - SHARED] for one in range(SUBJECTS)]
    return np.stack([np.concatenate([numbers[:SHARED], part]) for part in own]) + 1


def shown(subject: str) -> np.ndarray:
    """``nsdId`` (from 0) of every trial of a subject, by plain indexing of what is above."""
    return np.array([images()[int(subject) - 1, place - 1] - 1 for place in order()])


def betas(subject: str, session: int) -> np.ndarray:
    """Stored numbers [X, Y, Z, TRIALS] int16 of a session (from 1): each voxel and trial has its own."""
    x, y, z, trial = np.ogrid[: GRID[0], : GRID[1], : GRID[2], :TRIALS]
    trial = trial + TRIALS * (session - 1)
    mixed = (x * 7919 + y * 104729 + z * 1299709 + trial * 15485863 + int(subject) * 32452843) % 20011
    return (mixed - 10000).astype(np.int16)


def mask() -> np.ndarray:
    """``nsdgeneral`` [X, Y, Z]: -1, 0 and 1."""
    values = np.random.default_rng(5).choice([-1, 0, 1], GRID, p=[0.3, 0.3, 0.4])
    values[0, 0, :3] = (-1, 0, 1)
    return values


def roi_values(family: str) -> np.ndarray:
    """Labels [X, Y, Z] of a family of regions, which reach beyond the mask."""
    largest = {"prf-visualrois": 7, "streams": 7}.get(family, 3)
    return np.random.default_rng(sum(map(ord, family))).integers(-1, largest + 1, GRID)


def pictures() -> np.ndarray:
    """``imgBrick`` [N_PICTURES, SIDE, SIDE, 3], noise that no lossy format keeps."""
    return np.random.default_rng(7).integers(0, 256, (N_PICTURES, SIDE, SIDE, 3), np.uint8)


def nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.8, 1.8, 1.8, 1]) if affine is None else affine), path)


def write_betas(root: Path, subject: str, session: int, values: np.ndarray, forms: tuple[str, ...]) -> None:
    """A session as MATLAB leaves it (axes of HDF5 reversed, a piece for each voxel), and as NIfTI."""
    if "hdf5" in forms:
        path = root / nsd_files.betas(subject, VERSION, session, "hdf5")
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", data=values.transpose(3, 2, 1, 0), chunks=(TRIALS, 1, 1, 1))
    if "nifti" in forms:
        nifti(root / nsd_files.betas(subject, VERSION, session, "nifti"), values)


def write_design(root: Path, **arrays: np.ndarray) -> None:
    path = root / nsd_files.DESIGN
    path.parent.mkdir(parents=True, exist_ok=True)
    subjectim = arrays.get("subjectim", images())
    given = {
        "masterordering": order()[None],
        "subjectim": subjectim,
        "sharedix": np.sort(subjectim[:1, :SHARED]),
        **arrays,
    }
    savemat(path, {name: value for name, value in given.items() if value is not None})


def stim_info() -> pd.DataFrame:
    """The table of the pictures; COCO numbers that are neither ``nsdId`` nor in its order."""
    coco = np.random.default_rng(9).permutation(500000)[:N_PICTURES] + 1
    table = pd.DataFrame({"cocoId": coco, "cocoSplit": ["train2017", "val2017"] * (N_PICTURES // 2)})
    table["cropBox"] = "(0, 0, 0.1, 0.2)"
    table["nsdId"] = range(N_PICTURES)
    table["BOLD5000"] = [number % 10 == 3 for number in range(N_PICTURES)]
    table["shared1000"] = np.isin(table["nsdId"], images()[0, :SHARED] - 1)
    for one in range(SUBJECTS):
        table[f"subject{one + 1}"] = np.isin(table["nsdId"], images()[one] - 1).astype(int)
    return table


def responses(subject: str) -> pd.DataFrame:
    """The subject's own table of trials, pictures from 1."""
    session = np.repeat(range(1, SESSIONS + 1), TRIALS)
    run = np.tile(np.repeat(range(1, 13), (63, 62) * 6), SESSIONS)
    columns = {"SUBJECT": int(subject), "SESSION": session, "RUN": run, "73KID": shown(subject) + 1}
    return pd.DataFrame({**columns, "10KID": order(), "RT": "NaN"})


def write_table(root: Path, name: str, table: pd.DataFrame, separator: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep=separator, index=name == nsd_files.PICTURES)


FAMILIES = ("prf-visualrois", "streams", "floc-faces", "floc-words", "floc-places", "floc-bodies")


def write(
    root: Path,
    subjects: tuple[str, ...] = ("01", "02"),
    forms: tuple[str, ...] = ("hdf5", "nifti"),
    brick: np.ndarray | None = None,
    planted: Callable[[str, int], np.ndarray] = betas,
) -> Path:
    """All files of the miniature; returns the folder. ``planted`` makes the betas of a subject and session."""
    write_design(root)
    for subject in subjects:
        for session in range(1, SESSIONS + 1):
            write_betas(root, subject, session, planted(subject, session), forms)
        nifti(root / nsd_files.roi(subject, "nsdgeneral"), mask().astype(np.float64))
        for family in FAMILIES:
            nifti(root / nsd_files.roi(subject, family), roi_values(family).astype(np.int16))
        names = root / nsd_files.names(subject, "floc-faces")
        names.parent.mkdir(parents=True, exist_ok=True)
        names.write_text("0 Unknown \n1 OFA \n2 FFA-1 \n3 FFA-2 \n")
        write_table(root, nsd_files.responses(subject), responses(subject), "\t")
    write_table(root, nsd_files.PICTURES, stim_info(), ",")
    path = root / nsd_files.BRICK
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["imgBrick"] = pictures() if brick is None else brick
    return root


def listing(sizes: dict[str, int], path: Path) -> Path:
    """What ``aws s3 ls --recursive`` says of some files, and of two that the study does not read."""
    others = {"nsddata/information/README.md": 12, "nsddata/ppdata/subj01/anat/T1 x.nii.gz": 13}
    lines = [
        f"2021-09-23 10:17:{n % 60:02d} {size:12d} {one}" for n, (one, size) in enumerate((sizes | others).items())
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def sizes(root: Path) -> dict[str, int]:
    """Bytes of all files of the miniature by their key."""
    return {one.relative_to(root).as_posix(): one.stat().st_size for one in sorted(root.rglob("*")) if one.is_file()}


def unpack(root: Path, results: Path, name: str, **changes: object) -> Path:
    """What the stage ``bricks`` leaves of a study; the folder of pictures."""
    block = parse(Study, settings(root, **changes))
    folder = results / "raw" / name / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    given = {"name": name, "study": block.for_pictures(), "results": str(results)}
    outputs = {"pictures": folder / "pictures.tsv", "record": folder / file_records.NAME}
    bricks.run(Job("bricks", given, "code", {}, {}, outputs))
    return folder


def settings(root: Path, /, **changes: object) -> dict[str, object]:
    """Complete settings of a study on the miniature."""
    given = {"kind": "nsd", "accept_terms": True, "root": str(root), "subjects": ["01", "02"], "sessions": SESSIONS}
    return {**given, **changes}
