"""Tested versions of the libraries whose internals are used.

This module is in no stage's fingerprint: no result is computed again if a range is extended.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

#: The ranges of ``pyproject.toml``, repeated because a copy of the sources does not include that file.
TESTED = {
    "snakemake": ">=9.27,<9.28",
    "snakemake-executor-plugin-slurm": ">=2.8,<2.9",
    "open_clip_torch": ">=3.3,<3.4",
}


#: Oldest NVIDIA driver for each major version of CUDA (NVIDIA's table of minor version compatibility).
DRIVERS = {"11": 450, "12": 525, "13": 580}
#: File with the version of the loaded driver.
DRIVER = Path("/proc/driver/nvidia/version")


def old_driver() -> str | None:
    """A warning if the driver of the GPU is too old for the CUDA of the installed torch, else None."""
    try:
        found = re.search(r"\b(\d{3,})\.\d[\d.]*", DRIVER.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    runtimes = (installed(f"nvidia-cuda-runtime{ending}") for ending in ("", "-cu12", "-cu11"))
    cuda = next((version.partition(".")[0] for version in runtimes if version is not None), None)
    needed = DRIVERS.get(cuda or "")
    if found is None or needed is None or int(found[1]) >= needed:
        return None
    return (
        f"The driver of the GPU is {found[0]}, but CUDA {cuda} of the installed torch needs {needed} or newer: "
        "everything runs on the CPU. Update the driver, or install a torch for an older CUDA into .venv."
    )


def installed(library: str) -> str | None:
    """Version of a library; None if it is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def untested() -> list[str]:
    """A line for each library that is installed in a version outside of its range."""
    found = {library: installed(library) for library in TESTED}
    return [
        f"{library} {version} is outside of the versions that brain2clip was tested with ({TESTED[library]}), and "
        "uses internal parts of it that may differ there: results may be wrong. `make env` installs a tested version."
        for library, version in found.items()
        if version is not None and not SpecifierSet(TESTED[library]).contains(version, prereleases=True)
    ]


def lacking(owner: object, *names: str) -> list[str]:
    """The names that an object of a library does not have as attributes."""
    return [name for name in names if not hasattr(owner, name)]


def what_is_lacking(library: str, owner: object, names: list[str]) -> str:
    """Message for attributes that are missing in this version of a library."""
    name = getattr(owner, "__name__", type(owner).__name__)
    return f"{name} has no {' and no '.join(names)}, which brain2clip uses; {which(library)}"


def which(library: str) -> str:
    """The installed version and the tested ones, for a message."""
    return (
        f"{library} {installed(library)} is installed, but brain2clip needs {library} {TESTED[library]}: `make env` "
        "installs it."
    )
