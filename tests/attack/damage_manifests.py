"""Manifests, and the metadata of repositories that they are made of."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import annex_repository
import bids_fixtures
import published_bids
import test_annex
import test_bids_downloaded
from damage_studies import read_manifest
from damage_worlds import epochs_of, fetched, files, users
from study_worlds import World
from targets import Target

from brain2clip.stage import InputError


def manifests(folder: Path) -> list[Target]:
    """Clones with loose and packed objects, archives of them, packed tables, and a study that was fetched by one."""
    found = []
    loose = written(folder / "loose")
    packed = written(folder / "packed")
    for command in (("repack", "-adq"), ("pack-refs", "--all")):
        annex_repository.git("-C", str(packed), *command)
    for clone in (loose, packed):
        paths = sorted(path for path in clone.rglob("*") if path.is_file() and path.stat().st_size)
        read = partial(listed, clone)
        for path in (one for one in paths if one.parts[len(clone.parts)] not in ("hooks", "info")):
            name = f"{clone.name}: {path.relative_to(clone)}"
            found.append(Target(name, path, read, True))
    for path in archives(packed, folder):
        found.append(Target(path.name, path, partial(listed, path), True))
    return [*found, *of_bids(folder / "bids")]


def written(folder: Path) -> Path:
    """A clone of a dataset."""
    return test_annex.small().write(folder, tags={"1.0": "main"})


def archives(clone: Path, folder: Path) -> list[Path]:
    """A clone in every kind of archive."""
    paths = [folder / name for name in ("clone.tar", "clone.tar.gz", "clone.zip")]
    for path in paths[:2]:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as into:
            into.add(clone, "ds004212")
    with zipfile.ZipFile(paths[2], "w") as into_zip:
        for path in sorted(clone.rglob("*")):
            into_zip.write(path, path.relative_to(folder))
    return paths


def listed(source: Path) -> Any:
    """What the manifest of a repository lists; a note, which people are told, counts as a refusal."""
    made = test_annex.make(source)
    if made.notes:
        raise InputError(made.notes[0])
    return [[vars(entry) for entry in made.entries], made.revision.commit]


def of_bids(folder: Path) -> list[Target]:
    """A BIDS dataset that was fetched by a manifest of ``brain2clip manifest``."""
    mirror = published_bids.write(folder / published_bids.ACCESSION)
    manifest = folder / f"{published_bids.ACCESSION}.csv.gz"
    with contextlib.redirect_stdout(io.StringIO()):
        published_bids.publish(mirror, folder / "clone", manifest)
    given = {**bids_fixtures.study_settings(folder), "manifest": str(manifest)}
    world = World({key: value for key, value in given.items() if key != "root"}, folder / "results")
    test_bids_downloaded.put(world.study(), mirror)

    read = partial(epochs_of, world, folder)
    plain = manifest.with_name("plain.csv")
    plain.write_bytes(gzip.decompress(manifest.read_bytes()))
    of_tables = [
        Target(path.name, path, partial(read_manifest, path), False, lambda path=path: ([str(path)], 0))
        for path in (manifest, plain)
    ]
    own = (path for path in files(folder / "results") if "sub-02" not in path.name)
    return [*of_tables, *users("by a study", world, [manifest], read), *fetched("fetched", own, read)]
