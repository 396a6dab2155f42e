"""Stages of datasets from archives, on disks: they are in no simulated study, so each has a small world of its own."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import test_download
import test_images
import test_preprocessed
from loopback import Loopback

from brain2clip import artefact

UNIT = Path(__file__).resolve().parents[1] / "unit"
#: Bytes that a file takes at least.
PAGE = 4096
#: The stage on its stand-in for a study, which has few pictures.
PREPROCESSED = f"""
import sys
sys.path.insert(0, {str(UNIT)!r})
from pathlib import Path
from test_preprocessed import StandIn
from brain2clip import stage
from brain2clip.readers import contract
from brain2clip.responses import preprocessed
contract.load = lambda name, settings, results: StandIn(Path(results))
stage.main(preprocessed.run)
"""


@dataclass(frozen=True)
class Case:
    """A stage on a disk.

    Attributes
    ----------
    stage : str
    wanted : int
        Bytes that it writes.
    command : callable
        Lays on a disk what the stage reads from there, and gives the arguments of Python.
    whole : callable
        Whether a file, by disk and path below it, is what a run without trouble makes.
    """

    stage: str
    wanted: int
    command: Callable[[Path], list[str]]
    whole: Callable[[Path, str], bool]


def cases(kept: contextlib.ExitStack) -> list[Case]:
    """All of them; what they need lives as long as ``kept``."""
    folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
    return [download(folder / "published", kept), images(), preprocessed(folder / "authors")]


def download(source: Path, kept: contextlib.ExitStack) -> Case:
    """A unit of three files from a server."""
    paths = (test_download.BDF, test_download.TSV, test_download.JSON)
    for path in paths:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(test_download.CONTENT[path])
    url = kept.enter_context(Loopback(source)).url
    files = [test_download.entry(path, url, size=None) for path in paths]  # else room is asked for before

    def whole(disk: Path, path: str) -> bool:
        return (disk / path).read_bytes() == test_download.CONTENT.get(path.removeprefix("raw/"))

    def command(disk: Path) -> list[str]:
        return ["-m", "brain2clip.downloads.download", *test_download.arguments(disk, files)]

    return Case("download", sum(len(test_download.CONTENT[path]) for path in paths), command, whole)


def images() -> Case:
    """Both archives of pictures, unpacked beside themselves."""
    rows = test_images.index_rows(3, 2)
    pictures = {f"{row[2]}/{row[3]}": test_images.picture(int(row[0])) for row in rows}

    def whole(disk: Path, path: str) -> bool:
        split, name = path.removeprefix("results/raw/things-eeg2/stimuli/").split("/", 1)
        return split in test_images.NAMES.values() and (disk / path).read_bytes() == pictures[name]

    def command(disk: Path) -> list[str]:
        place = test_images.Place(disk, rows)
        for split in test_images.NAMES:
            place.pack(split)
        spec = {"stage": "images", "format": artefact.FORMAT, "settings": place.settings, "code": ""}
        records = [f"record={place.record(split)}" for split in test_images.NAMES]
        made = [f"{name}={path}" for name, path in place.outputs.items()]
        given = ["--spec", json.dumps(spec), "--input", *records, "--output", *made]
        return ["-m", "brain2clip.downloads.images", *given]

    return Case("images", PAGE * len(rows), command, whole)


def preprocessed(root: Path) -> Case:
    """The epochs of the authors; the archive lies elsewhere."""
    test_preprocessed.write_archive(root)
    wanted = sum(test_preprocessed.rows(side).nbytes for side in test_preprocessed.PICTURES)
    record = test_preprocessed.record_of(root, root / "record.json")

    def command(disk: Path) -> list[str]:
        values = {**test_preprocessed.job(disk).settings, "results": str(root)}
        spec = {"stage": "preprocessed", "format": artefact.FORMAT, "settings": values, "code": ""}
        made = f"responses={disk / 'sub-01.h5'}"
        return ["-c", PREPROCESSED, "--spec", json.dumps(spec), "--input", f"signals={record}", "--output", made]

    return Case("preprocessed", wanted, command, lambda disk, path: False)
