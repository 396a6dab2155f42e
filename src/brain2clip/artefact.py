"""The only place that writes or opens the pipeline's HDF5, Parquet and safetensors files.

Every artefact is written aside and renamed when complete, and carries its provenance: the stage, the settings and
the code fingerprint that made it, the identities of its inputs, and library versions. A reader says what it
expects; a difference stops it with both sides shown.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    import pyarrow as pa

KEY = "brain2clip"
#: How artefacts are written and jobs are called. The code of this module and of ``stage.py`` is in no fingerprint, so
#: that a reworded message costs nothing: raise this number by one when other bytes or another layout come out of here,
#: or when a job is called in another way, so far that results of before must not stay. Every result is made again then.
#: ``tests/unit/test_format.py`` notices the bytes and holds what they are.
FORMAT = 1
LIBRARIES = ("brain2clip", "torch", "open_clip_torch", "mne", "h5py", "numpy", "pandas", "pyarrow", "scipy")


class ArtefactError(RuntimeError):
    """A file is missing, damaged, or not what its reader expected."""


@dataclass(frozen=True)
class Provenance:
    """What made an artefact.

    Attributes
    ----------
    stage : str
        Rule and module name, e.g. ``"epochs"``.
    settings : mapping
        The settings the stage was given, complete.
    code : str
        Fingerprint of the code that the stage can reach.
    inputs : mapping
        Name of each input to its identity (:func:`identity`).
    versions : mapping
        Library versions.
    origin : str
        Digest of stage, format, settings, code and of everything that the stage expected of its inputs, and they of
        theirs (:func:`origin`).
    format : int
        :data:`FORMAT` of the version that wrote it; 0 for files from before there were numbers.
    """

    stage: str
    settings: Mapping[str, Any]
    code: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """Digest of stage, settings, code, inputs and format: what the content is a function of."""
        text = _json([self.stage, self.settings, self.code, self.inputs, self.format])
        return "made:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    def json(self) -> str:
        """All fields as one line of JSON."""
        return _json(asdict(self))


def provenance(
    stage: str, settings: Mapping[str, Any], code: str, inputs: Mapping[str, Path | str], origin: str = ""
) -> Provenance:
    """Provenance of an artefact about to be made from input files."""
    identities = {name: identity(path) for name, path in sorted(inputs.items())}
    return Provenance(stage, settings, code, identities, _versions(), origin)


def origin(spec: Mapping[str, Any]) -> str:
    """Digest of the spec of a job and, through what it expects, of those of all jobs before it.

    Parameters
    ----------
    spec : mapping
        ``stage``, ``format``, ``settings``, ``code`` and, where it expects something, ``expects``.
    """
    read = [*(spec[key] for key in ("stage", "format", "settings", "code")), spec.get("expects", {})]
    return hashlib.sha256(_json(read).encode()).hexdigest()[:16]


def identity(path: Path | str) -> str:
    """Identity of an input: that of its provenance for an artefact, else the SHA-256 of its bytes."""
    path = Path(path)
    made = stored_provenance(path)
    if made is not None:
        return made.identity
    digest = hashlib.sha256()
    with _existing(path).open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def stored_provenance(path: Path | str) -> Provenance | None:
    """Provenance embedded in a file, or None where the file is not one of ours."""
    path = _existing(Path(path))
    text: str | None = None
    if path.suffix == ".h5":
        with _opened_h5(path) as file:
            text = file.attrs.get(KEY)
    elif path.suffix == ".parquet":
        text = _parquet_schema(path).get(KEY.encode(), b"").decode() or None
    elif path.suffix == ".safetensors":
        text = _tensor_metadata(path).get(KEY)
    return None if text is None else parsed(text, path)


def parsed(text: str, path: Path) -> Provenance:
    """Provenance from the JSON that a file carries."""
    try:
        return Provenance(**{"format": 0, **json.loads(text)})
    except (TypeError, ValueError):
        raise ArtefactError(
            f"{path}: provenance that this version cannot read; delete it and let snakemake make it again"
        ) from None


def check(path: Path | str, expected: Mapping[str, Any] | None) -> None:
    """Stop where a file was not made by what its reader expects, or in another format than this version's.

    Parameters
    ----------
    path : path
        An artefact.
    expected : mapping or None
        ``{"stage": ..., "settings": ..., "code": ..., "origin": ...}``; keys that are absent are not compared.
    """
    made = stored_provenance(path)
    if made is None:
        raise ArtefactError(
            f"{path}: carries no provenance, so it was not written by this pipeline; "
            "delete it and let snakemake make it again"
        )
    if made.format != FORMAT:
        raise ArtefactError(
            f"{path}: written in format {made.format}, this version reads format {FORMAT}\n"
            "Delete the file, or run snakemake so that it is made again."
        )
    for key in ("stage", "settings", "code", "origin"):
        if expected is None or key not in expected:
            continue
        found, wanted = getattr(made, key), expected[key]
        if _json(found) != _json(wanted):
            what = "from other inputs" if key == "origin" else f"by other {key}"
            raise ArtefactError(
                f"{path}: made {what} than its reader expects\n"
                f"{_difference(found, wanted)}\n"
                "Delete the file, or run snakemake so that it is made again."
            )


# ---------------------------------------------------------------------------------------------- writing


@contextlib.contextmanager
def aside(path: Path | str) -> Iterator[Path]:
    """A path beside the target to write to; renamed to the target on success, removed on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    _remove_parts(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def create_h5(path: Path | str, made: Provenance) -> Iterator[h5py.File]:
    """Open an HDF5 artefact for writing; it appears under its name when the block ends well."""
    import h5py

    with aside(path) as part:
        with h5py.File(part, "w", libver="latest") as file:
            file.attrs[KEY] = made.json()
            yield file


def write_table(path: Path | str, table: pd.DataFrame | pa.Table, made: Provenance) -> None:
    """Write a Parquet artefact."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), KEY.encode(): made.json().encode()})
    with aside(path) as part:
        pq.write_table(arrow, part, compression="zstd")


def write_tensors(path: Path | str, tensors: Mapping[str, Any], made: Provenance) -> None:
    """Write a safetensors artefact from torch tensors (contiguous, on any device)."""
    from safetensors.torch import save_file

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with aside(path) as part:
        save_file(ready, part, metadata={KEY: made.json()})


def write_text(path: Path | str, text: str) -> None:
    """Write a text file aside and rename it."""
    with aside(path) as part:
        part.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------------------------------------- reading


@contextlib.contextmanager
def open_h5(path: Path | str, expected: Mapping[str, Any] | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 artefact for reading after checking what made it."""
    check(path, expected)
    with _opened_h5(Path(path)) as file:
        yield file


def read_table(path: Path | str, expected: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read a Parquet artefact after checking what made it."""
    import pyarrow.parquet as pq

    check(path, expected)
    return pq.read_table(path).to_pandas()


def read_tensors(path: Path | str, expected: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a safetensors artefact (torch tensors on the CPU) after checking what made it."""
    from safetensors.torch import load_file

    check(path, expected)
    return load_file(path)


# ----------------------------------------------------------------------------------------------- inside


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; run snakemake so that it is made")
    return path


def _remove_parts(path: Path) -> None:
    """Remove what killed processes left of a target; snakemake never makes one file twice at a time."""
    part = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.part{re.escape(path.suffix)}")
    for entry in path.parent.iterdir():
        if part.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def _opened_h5(path: Path) -> h5py.File:
    import h5py

    try:
        return h5py.File(_existing(path), "r")
    except OSError as error:
        raise ArtefactError(
            f"{path}: not a complete HDF5 file ({os.path.getsize(path)} bytes; {error}); "
            "delete it and let snakemake make it again"
        ) from None


def _parquet_schema(path: Path) -> Mapping[bytes, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtefactError(
            f"{path}: not a complete Parquet file ({error}); delete it and let snakemake make it again"
        ) from None


def _tensor_metadata(path: Path) -> Mapping[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ArtefactError(
            f"{path}: not a complete safetensors file ({error}); delete it and let snakemake make it again"
        ) from None


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not belong into provenance")


def _difference(found: Any, wanted: Any) -> str:
    """The lines in which two settings differ, both sides shown."""
    have, want = (json.dumps(side, sort_keys=True, indent=1, default=_plain).splitlines() for side in (found, wanted))
    lines = difflib.unified_diff(have, want, "in the file", "expected", lineterm="", n=1)
    return "\n".join(f"  {line}" for line in lines)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found
