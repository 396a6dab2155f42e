"""``brain2clip manifest``: list the files of a dataset from the metadata of its repository."""

from __future__ import annotations

import sys
from pathlib import Path

from brain2clip.readers import annex, manifests, repositories
from brain2clip.readers.manifest_choice import Wanted
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[3]


def manifest(accession: str, out: Path | None, version: str | None, source: str | None, wanted: Wanted) -> None:
    """Write a manifest, and print what it lists and what was left out.

    Parameters
    ----------
    accession : str
        Accession at OpenNeuro (``ds004212``) or NEMAR (``nm000134``).
    out : Path or None
        File to write; None: the file that a study with this accession reads.
    version : str or None
        Tag; None: the newer one of the branches main and master.
    source : str or None
        A clone, or an archive of a clone; None: the repository is fetched.
    wanted : brain2clip.readers.manifest_choice.Wanted
        Files that are listed.
    """
    try:
        address = annex.archive(accession).repository.format(accession=accession)
        target = out or ROOT / manifests.place(accession)
        if not target.name.endswith((".csv", ".csv.gz")):
            raise InputError(f"--out {target}: expected a name that ends in .csv or .csv.gz")
        with repositories.opened(address, source, version) as repository:
            made = annex.make(accession, repository, version, wanted)
        manifests.write(target, made.entries)
    except InputError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(
            f"{error.filename2 or error.filename or accession}: {error.strerror or error}; expected a folder that can "
            "be written to, with room (--out; folders of temporary files: TMPDIR)"
        )
    print("\n".join(told(accession, target, made)))


def told(accession: str, target: Path, made: annex.Made) -> list[str]:
    """Summary of the manifest."""
    total = sum(entry.size or 0 for entry in made.entries)
    kept_in_git = len(made.entries) - made.annexed
    lines = [
        f"{accession}, {made.revision.said} (commit {made.revision.commit[:9]})",
        f"{target}: {len(made.entries)} files, {amount(total)}: {made.annexed} in the annex, {kept_in_git} in git; "
        f"{made.versioned} with the version id of their bucket",
    ]
    if made.left_out:
        lines.append("left out:")
        lines += [f"  {count:6d}  {reason}" for reason, count in made.left_out.most_common()]
    lines += [f"note: {note}" for note in made.notes]
    named = manifests.shipped(accession, ROOT)
    if named is not None:
        lines.append(
            f"note: `manifest: {accession}` is the shipped {named}; to read this one, set `manifest: {target}`"
        )
    elif target == ROOT / manifests.place(accession):
        lines.append(f"To read it, set `manifest: {accession}` in a study.")
    else:
        lines.append(f"To read it, set `manifest: {target}` in a study.")
    return lines


def amount(size: int) -> str:
    """Bytes in words."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} B"
