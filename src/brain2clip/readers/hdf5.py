"""HDF5 files of users, which must contain their data themselves.

An HDF5 dataset may take data from other files: virtual datasets, external links, external storage. Then the digest of
the file does not cover its data, and data that are missing in the other files are read as zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip.readers import user_files
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py


@contextmanager
def opened(path: Path, hint: str, what: str = "not a complete HDF5 file") -> Iterator[h5py.File]:
    """A user's HDF5 file, for a block that reads it and does nothing else.

    Parameters
    ----------
    path : Path
        The file, which is there.
    hint : str
        The setting in brackets, or what to do: ends messages.
    what : str
        What is said of a damaged one.

    Raises
    ------
    brain2clip.stage.InputError
        When it is damaged, no HDF5, or takes data from other files.
    """
    import h5py

    with user_files.reading(path, what, hint):
        stat = path.stat()
        elsewhere = _elsewhere(path, stat.st_mtime_ns, stat.st_size)
        if elsewhere:
            raise InputError(
                user_files.ending(f"{path}: {elsewhere[0]} ({len(elsewhere)} in all)", hint) + "\n"
                "  data in other files cannot be checked, and are read as zeros if these files are missing; expected "
                "one file with all data: copy it (h5repack, or read and write it again with h5py)"
            )
        with h5py.File(path, "r") as file:
            yield file


@lru_cache(maxsize=64)
def _elsewhere(path: Path, mtime_ns: int, size: int) -> tuple[str, ...]:
    """What a file takes from others, in words; looked up once per state of the file."""
    import h5py

    found = []
    with h5py.File(path, "r") as file:

        def visit(name: str, link: Any) -> None:
            if isinstance(link, h5py.ExternalLink):
                found.append(f"{name} is a link to {link.path} in {link.filename}")
            elif isinstance(link, h5py.HardLink) and isinstance(item := file[name], h5py.Dataset):
                if item.is_virtual:
                    found.append(f"{name} is a virtual dataset of {item.virtual_sources()[0].file_name}")
                elif item.external:
                    found.append(f"{name} is stored in {item.external[0][0]}")

        file.visititems_links(visit)
    return tuple(found)


def check_written(dataset: h5py.Dataset, path: Path, hint: str) -> None:
    """Refuse a dataset parts of which were never written (its writer was ended): HDF5 reads them as zeros."""
    if dataset.chunks is not None:
        there = dataset.id.get_num_chunks()
        wanted = math.prod(-(-length // size) for length, size in zip(dataset.shape, dataset.chunks))
    else:
        there, wanted = int(dataset.id.get_storage_size() > 0), 1
    if there < wanted:
        what = f"{path}: {dataset.name} is not complete, {wanted - there} of {wanted} chunks were never written"
        raise InputError(user_files.ending(what, hint) + "\n  they would read as zeros; make the file again")
