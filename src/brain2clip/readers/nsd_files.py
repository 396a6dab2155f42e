"""Where the files of the Natural Scenes Dataset are, and a manifest of them from a listing of the bucket.

No hashes are published, and no part of the dataset may be passed on, so no manifest comes with the project. Make one
with the command line of AWS (no account is needed)::

    aws s3 ls --no-sign-request --recursive s3://natural-scenes-dataset/nsddata/ > listing.txt
    aws s3 ls --no-sign-request --recursive s3://natural-scenes-dataset/nsddata_betas/ppdata/ >> listing.txt
    aws s3 ls --no-sign-request --recursive s3://natural-scenes-dataset/nsddata_stimuli/ >> listing.txt
    python -m brain2clip.readers.nsd_files listing.txt data/nsd/manifest.csv

The listing has names and sizes of the files; no file is fetched. Accept the terms of the dataset first (setting
``accept_terms``). Standard library only.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from brain2clip import artefact
from brain2clip.readers import manifests, user_files
from brain2clip.stage import InputError

BUCKET = "https://natural-scenes-dataset.s3.us-east-2.amazonaws.com"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
#: A row for each of the 73,000 pictures: its number in COCO, and who saw it.
PICTURES = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
#: Array ``imgBrick`` [73000, 425, 425, 3].
BRICK = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
ENDINGS = {"hdf5": ".hdf5", "nifti": ".nii.gz"}
#: Files that the study may read; the manifest lists no other files of the bucket.
_READ = re.compile(
    rf"{re.escape(DESIGN)}|{re.escape(PICTURES)}|{re.escape(BRICK)}"
    r"|nsddata_betas/ppdata/subj0[1-8]/func1pt8mm/betas_[A-Za-z_]+/betas_session\d\d\.(hdf5|nii\.gz)"
    r"|nsddata/ppdata/subj0[1-8]/func1pt8mm/roi/[^/]+\.nii\.gz"
    r"|nsddata/freesurfer/subj0[1-8]/label/[^/]+\.mgz\.ctab"
    r"|nsddata/ppdata/subj0[1-8]/behav/responses\.tsv"
)
#: A line of ``aws s3 ls --recursive``: date, time, bytes, key.
_LINE = re.compile(r"\d{4}-\d\d-\d\d\s+\d\d:\d\d:\d\d\s+(?P<size>\d+)\s(?P<key>.+)")


def betas(subject: str, version: str, session: int, form: str) -> str:
    """Betas of a session (from 1)."""
    return f"nsddata_betas/ppdata/subj{subject}/func1pt8mm/{version}/betas_session{session:02d}{ENDINGS[form]}"


def roi(subject: str, name: str) -> str:
    """A mask, or labels of regions."""
    return f"nsddata/ppdata/subj{subject}/func1pt8mm/roi/{name}.nii.gz"


def names(subject: str, family: str) -> str:
    """Names of the labels of regions."""
    return f"nsddata/freesurfer/subj{subject}/label/{family}.mgz.ctab"


def responses(subject: str) -> str:
    """Table of a subject's trials."""
    return f"nsddata/ppdata/subj{subject}/behav/responses.tsv"


def listed(path: Path) -> Iterator[manifests.Entry]:
    """Files of a listing that the study may read.

    Raises
    ------
    brain2clip.stage.InputError
        If the file is missing, a line is not a line of ``aws s3 ls --recursive``, or no listed file is read.
    """
    user_files.existing(path, "listing", "SOURCE")
    found = 0
    for number, line in enumerate(user_files.text(path, "").splitlines(), 1):
        match = _LINE.fullmatch(line.strip())
        if line.strip() and match is None:
            raise InputError(
                f"{path}: line {number} is {line!r}; expected date, time, bytes and key, as aws s3 ls --recursive "
                "prints them"
            )
        if match is not None and _READ.fullmatch(match["key"]):
            found += 1
            yield manifests.Entry(match["key"], int(match["size"]), "size", "", f"{BUCKET}/{quote(match['key'])}")
    if not found:
        raise InputError(f"{path}: no file that the study reads is listed; expected keys such as {DESIGN}")


def main(arguments: list[str] | None = None) -> None:
    """Make a manifest of the Natural Scenes Dataset from a listing of its bucket."""
    parser = argparse.ArgumentParser(prog="python -m brain2clip.readers.nsd_files", description=main.__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="what aws s3 ls --recursive wrote")
    parser.add_argument("dest", type=Path, metavar="DEST", help="manifest to write")
    given = parser.parse_args(arguments)
    try:
        entries = tuple(listed(given.source))
    except InputError as error:
        sys.exit(str(error))
    artefact.write_text(given.dest, manifests.text(entries))
    total = sum(entry.size or 0 for entry in entries) / 1e9
    print(f"{given.dest}: {len(entries)} files, {total:.1f} GB in all; a study fetches those that it reads")


if __name__ == "__main__":
    main()
