"""Versions of the libraries whose internals are touched: those that the tests of this project have run with.

In no stage's fingerprint: a wider range makes no result again.
"""

from __future__ import annotations

from importlib import metadata

from packaging.specifiers import SpecifierSet

#: The ranges of ``pyproject.toml``, which a copy of the sources does not carry.
TESTED = {
    "snakemake": ">=9.27,<9.28",
    "snakemake-executor-plugin-slurm": ">=2.8,<2.9",
    "open_clip_torch": ">=3.3,<3.4",
}


def installed(library: str) -> str | None:
    """Version of a library; None where it is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def untested() -> list[str]:
    """A line for each library that is there in a version outside of its range."""
    found = {library: installed(library) for library in TESTED}
    return [
        f"{library} {version} is outside of the versions that brain2clip was tested with ({TESTED[library]}), and it "
        "uses parts of it that may be others there: results may be wrong. `make env` installs a tested one."
        for library, version in found.items()
        if version is not None and not SpecifierSet(TESTED[library]).contains(version, prereleases=True)
    ]


def lacking(owner: object, *names: str) -> list[str]:
    """Names of what an object of a library does not have."""
    return [name for name in names if not hasattr(owner, name)]


def what_is_lacking(library: str, owner: object, names: list[str]) -> str:
    """The message where a library is not built as it was."""
    name = getattr(owner, "__name__", type(owner).__name__)
    return f"{name} has no {' and no '.join(names)}, which brain2clip uses; {which(library)}"


def which(library: str) -> str:
    """The version that is installed and those that were tested, for a message."""
    return (
        f"{library} {installed(library)} is installed, and brain2clip works with {library} {TESTED[library]}: "
        "`make env` installs it."
    )
