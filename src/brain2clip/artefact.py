"""The only place that writes or opens the pipeline's HDF5, Parquet and safetensors files.

Every artefact is written to a temporary file, renamed when complete, and carries its provenance: the stage, the
settings and the code fingerprint that made it, the identities of its inputs, and library versions. A reader says what
it expects; a difference is an error that shows both sides. An artefact also carries a digest of its content, which is
verified when it is read (:mod:`brain2clip.sealing`). Its numbers are finite, except where the writer allows NaN.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from brain2clip import sealing

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

P = TypeVar("P")
KEY = "brain2clip"
#: Name in the provenance for pictures that a dataset of the same artefact lists; they are too many to be inputs of a
#: job.
PICTURES = "pictures"
#: That dataset.
PICTURE_PATHS = "image"
#: How artefacts are written and jobs are called. The code of this module and of ``stage.py`` is in no fingerprint, so
#: that a reworded message costs nothing. Raise this number by one when the bytes or the layout of artefacts change,
#: or when jobs are called in another way and older results must not be kept. Every result is then made again.
#: ``tests/unit/test_format.py`` has the digests of reference artefacts.
FORMAT = 2
KINDS = {".h5": "HDF5", ".parquet": "Parquet", ".safetensors": "safetensors", ".json": "JSON"}
#: What to do about a damaged file.
REMEDY = "delete it and start snakemake again, which makes it again; if it is a file of your own, get it again"
#: Bytes of an array that are checked at once.
AT_ONCE = 1 << 24
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
        Digest of stage, format, settings and code of this stage and of all stages before it (:func:`origin`).
    format : int
        :data:`FORMAT` of the version that wrote it; 0 for files without a format number.
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
    stage: str,
    settings: Mapping[str, Any],
    code: str,
    inputs: Mapping[str, Path | str],
    origin: str = "",
    pictures: Sequence[Path | str] = (),
) -> Provenance:
    """Provenance of an artefact about to be made from input files, and from pictures that it lists itself.

    Raises
    ------
    ValueError
        If an input has the name that is reserved for such pictures.
    """
    if PICTURES in inputs:
        raise ValueError(
            f"stage {stage}: no input may be named {PICTURES}; this name is reserved for the pictures "
            "that an artefact lists"
        )
    identities = {name: identity(path) for name, path in sorted(inputs.items())}
    if len(pictures):
        identities[PICTURES] = together(pictures)
    return Provenance(stage, settings, code, identities, _versions(), origin)


def origin(spec: Mapping[str, Any]) -> str:
    """Digest of the specs of a job and of all jobs before it.

    Parameters
    ----------
    spec : mapping
        ``stage``, ``format``, ``settings``, ``code`` and, if it has expectations, ``expects``.
    """
    read = [*(spec[key] for key in ("stage", "format", "settings", "code")), spec.get("expects", {})]
    return hashlib.sha256(_json(read).encode()).hexdigest()[:16]


def named(inputs: Mapping[str, Sequence[P]]) -> dict[str, P]:
    """Inputs by their names in the provenance: numbered if there are several of the same name."""
    return {
        name if len(paths) == 1 else f"{name}.{index:03d}": path
        for name, paths in inputs.items()
        for index, path in enumerate(paths)
    }


def together(paths: Iterable[Path | str]) -> str:
    """Identity of many files as one input, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(identity(path).encode())
    return "files:" + digest.hexdigest()


def identity(path: Path | str) -> str:
    """Identity of an input: the digest of its provenance for an artefact, else the SHA-256 of its bytes."""
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
    """Provenance in a file, or None if the file is not an artefact.

    Of HDF5 and safetensors only the provenance is read, because plans ask thousands of files. Readers verify the
    content.

    Raises
    ------
    ArtefactError
        Where the file is missing, damaged or cut short.
    """
    path = _existing(Path(path))
    if path.suffix == ".h5":
        with contextlib.suppress(sealing.UnsealedError), _opened_h5(path) as file:
            return _made(file.attrs.get(KEY), path)
        return _made(_plain_h5(path), path, sealed=False)
    if path.suffix == ".parquet":
        content = path.read_bytes()
        sealed = _is_sealed(sealing.verify_parquet, content, path)
        text = (_parquet_schema(content, path).metadata or {}).get(KEY.encode())
        return _made(text and text.decode(errors="replace"), path, sealed)
    if path.suffix == ".safetensors":
        return _made(_tensor_metadata(path).get(KEY), path)
    return None


def _made(text: str | None, path: Path, sealed: bool = True) -> Provenance | None:
    """Provenance from its text; a file of this format without a digest is incomplete."""
    made = None if text is None else parsed(text, path)
    if made is not None and made.format == FORMAT and not sealed:
        raise _incomplete(path, str(sealing.UnsealedError()))
    return made


def parsed(text: str, path: Path) -> Provenance:
    """Provenance from the JSON that a file carries."""
    try:
        return Provenance(**{"format": 0, **json.loads(text)})
    except (TypeError, ValueError):
        raise ArtefactError(f"{path}: this version cannot read its provenance; {REMEDY}") from None


def check(path: Path | str, expected: Mapping[str, Any] | None) -> None:
    """Refuse a file with other provenance than its reader expects, or in another format than this version's.

    Parameters
    ----------
    path : path
        An artefact.
    expected : mapping or None
        ``{"stage": ..., "settings": ..., "code": ..., "origin": ...}``; keys that are absent are not compared.
    """
    _check(stored_provenance(path), path, expected)


def _check(made: Provenance | None, path: Path | str, expected: Mapping[str, Any] | None) -> None:
    if made is None:
        raise ArtefactError(f"{path}: has no provenance, so it was not written by this pipeline; {REMEDY}")
    if made.format != FORMAT:
        raise ArtefactError(
            f"{path}: written in format {made.format}, this version reads format {FORMAT}\n"
            "Delete the file, or run snakemake, which makes it again."
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
                "Delete the file, or run snakemake, which makes it again."
            )


# ---------------------------------------------------------------------------------------------- writing


@contextlib.contextmanager
def aside(path: Path | str) -> Iterator[Path]:
    """A temporary path in the folder of the target; renamed to the target on success, removed on failure."""
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
def create_h5(
    path: Path | str, made: Provenance, unknown: Collection[str] = (), begun: Path | None = None
) -> Iterator[h5py.File]:
    """Open an HDF5 artefact for writing; it appears under its name when the block ends well.

    Parameters
    ----------
    path : path
    made : Provenance
    unknown : collection of str
        Datasets in which NaN means unknown; all other numbers must be finite.
    begun : path, optional
        HDF5 file on the same disk that already has some of the datasets; it becomes the artefact.
    """
    import h5py

    with aside(path) as part:
        if begun is not None:
            os.replace(begun, part)
        written = sealing.WrittenH5(part, keep=begun is not None)
        try:
            with h5py.File(written, "w" if begun is None else "r+", libver="latest") as file:
                file.attrs[KEY] = made.json()
                yield file
                _refuse_infinite(_numbers_of(file), path, unknown)
        finally:
            if written.error is not None:
                raise OSError(written.error.errno, written.error.strerror, str(path)) from None
        sealing.seal_h5(part)


def write_table(
    path: Path | str, table: pd.DataFrame | pa.Table, made: Provenance, unknown: Collection[str] = ()
) -> None:
    """Write a Parquet artefact; only numbers in the columns ``unknown`` may be missing or NaN."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), KEY.encode(): made.json().encode()})
    _refuse_infinite(_numbers_in(arrow), path, unknown)
    content = pa.BufferOutputStream()
    pq.write_table(arrow, content, compression="zstd")
    with aside(path) as part:
        part.write_bytes(sealing.sealed_parquet(content.getvalue().to_pybytes()))


def write_tensors(path: Path | str, tensors: Mapping[str, Any], made: Provenance) -> None:
    """Write a safetensors artefact from torch tensors (contiguous, on any device) of finite numbers."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    floating = {name: tensor for name, tensor in ready.items() if tensor.is_floating_point()}
    _refuse_infinite(((name, 0, tensor.float().numpy()) for name, tensor in floating.items()), path, ())
    with aside(path) as part:
        part.write_bytes(sealing.sealed_tensors(save(ready, metadata={KEY: made.json()})))


def write_text(path: Path | str, text: str) -> None:
    """Write a text file to a temporary path and rename it."""
    with aside(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Mapping[str, Any]) -> None:
    """Write a record with its digest, to a temporary path that is then renamed."""
    write_text(path, json.dumps(sealing.sealed_json(value), indent=1) + "\n")


# ---------------------------------------------------------------------------------------------- reading


@contextlib.contextmanager
def open_h5(path: Path | str, expected: Mapping[str, Any] | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 artefact for reading after checking its provenance; everything that is read is verified."""
    path = Path(path)
    check(path, expected)
    with _opened_h5(path) as file:
        yield file


def read_table(path: Path | str, expected: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read a Parquet artefact after checking its content and provenance."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check(path, expected)
    content = Path(path).read_bytes()
    _is_sealed(sealing.verify_parquet, content, path)
    table = pq.read_table(pa.BufferReader(content)).to_pandas()
    table.attrs = {name: _Shared(notes) if isinstance(notes, dict) else notes for name, notes in table.attrs.items()}
    return table


def read_tensors(path: Path | str, expected: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a safetensors artefact (torch tensors on the CPU) after checking its content and provenance."""
    from safetensors.torch import load

    check(path, expected)
    content = Path(path).read_bytes()
    if not _is_sealed(sealing.verify_tensors, content, path):
        raise _incomplete(path, str(sealing.UnsealedError()))
    return load(content)


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a record that :func:`write_json` wrote."""
    path = _existing(Path(path))
    try:
        return sealing.verified_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, sealing.UnsealedError) as error:
        raise _incomplete(path, str(error)) from None
    except sealing.DamagedError as error:
        raise _damaged(path, error) from None


# ----------------------------------------------------------------------------------------------- inside


class _Shared(dict[str, Any]):
    """Notes of a table. Pandas copies them into every derived table, which took most of the time of a summary."""

    def __deepcopy__(self, memo: object) -> _Shared:
        return self


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; run snakemake, which makes it")
    return path


def _remove_parts(path: Path) -> None:
    """Remove temporary files of killed processes; snakemake never makes a file in two jobs at once."""
    part = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.part{re.escape(path.suffix)}")
    for entry in path.parent.iterdir():
        if part.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened_h5(path: Path) -> Iterator[h5py.File]:
    """A sealed HDF5 file; everything that is read is verified.

    Raises
    ------
    brain2clip.sealing.UnsealedError
        If it has no digest.
    """
    import h5py

    try:
        sealed = sealing.SealedH5(_existing(path))
    except sealing.UnsealedError:
        raise
    except sealing.DamagedError as error:
        raise _damaged(path, error) from None
    try:
        with h5py.File(sealed, "r") as file:
            sealed.raises = True
            if sealed.damage is None:
                yield file
    except (
        Exception
    ):  # on a damaged block the library or the reader may raise anything; the damage itself is reported below
        if sealed.damage is None:
            raise
    finally:
        sealed.close()
    if sealed.damage is not None:
        raise _damaged(path, sealed.damage)


def _plain_h5(path: Path) -> str | None:
    """Provenance of an HDF5 file without a digest: of another format, or of a user."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text: str | None = file.attrs.get(KEY)
            return text
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise _incomplete(path, str(error)) from None


def _parquet_schema(content: bytes, path: Path) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(pa.BufferReader(content))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _incomplete(path, str(error)) from None


def _tensor_metadata(path: Path) -> Mapping[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise _incomplete(path, str(error)) from None


def _is_sealed(verify: Callable[[bytes], None], content: bytes, path: Path | str) -> bool:
    """Whether content has a digest; refuses content with another digest."""
    try:
        verify(content)
    except sealing.UnsealedError:
        return False
    except sealing.DamagedError as error:
        raise _damaged(path, error) from None
    return True


def _incomplete(path: Path | str, reason: str) -> ArtefactError:
    kind = KINDS[Path(path).suffix]
    return ArtefactError(f"{path}: not a complete {kind} file ({os.path.getsize(path)} bytes; {reason}); {REMEDY}")


def _damaged(path: Path | str, error: sealing.DamagedError) -> ArtefactError:
    return ArtefactError(f"{path}: damaged: {error}; {REMEDY}")


# ----------------------------------------------------------------------------------------------- numbers


def _refuse_infinite(
    parts: Iterable[tuple[str, int, NDArray[Any]]], path: Path | str, unknown: Collection[str]
) -> None:
    """Refuse numbers that are not finite.

    Parameters
    ----------
    parts : iterable of (str, int, ndarray)
        Name of an array, number of its first row, and some of its rows.
    path : path
        For the message.
    unknown : collection of str
        Names of arrays that may hold NaN.
    """
    wrong: dict[str, tuple[int, str]] = {}
    for name, begin, values in parts:
        bad = ~np.isfinite(values)
        if name.rpartition("/")[2] in unknown or name in unknown:
            bad &= ~np.isnan(values)
        if bad.any():
            place = np.argwhere(bad)[0].tolist()
            where = ", ".join(map(str, [begin + place[0], *place[1:]] if place else []))
            count, first = wrong.get(name, (0, f"[{where}] is {values[tuple(place)]}"))
            wrong[name] = (count + int(np.count_nonzero(bad)), first)
    if wrong:
        listed = "; ".join(f"{name}: {count}, the first {first}" for name, (count, first) in wrong.items())
        raise ArtefactError(
            f"{path}: not written, because of numbers that are not finite\n  {listed}\n"
            "  check the inputs of this job (a recording, weights, embeddings), and settings that can cause\n  such "
            "numbers, such as a penalty of 0 or a learning rate at which training diverges"
        )


def _numbers_of(file: h5py.File) -> Iterator[tuple[str, int, NDArray[Any]]]:
    """All datasets and attributes of floating point, some rows at a time."""
    import h5py

    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    for name, value in file.attrs.items():
        if isinstance(value, (float, np.floating, np.ndarray)) and np.asarray(value).dtype.kind in "fc":
            yield name, 0, np.asarray(value)
    for dataset in found:
        if dataset.dtype.kind not in "fc" or not dataset.size:
            continue
        if not dataset.shape:
            yield dataset.name[1:], 0, np.asarray(dataset[()])
            continue
        step = max(1, AT_ONCE // max(1, dataset.nbytes // len(dataset)))
        for begin in range(0, len(dataset), step):
            yield dataset.name[1:], begin, dataset[begin : begin + step]


def _numbers_in(table: pa.Table) -> Iterator[tuple[str, int, NDArray[Any]]]:
    """All columns of floating point, and the numbers of lists one after the other; missing values are NaN."""
    import pyarrow as pa

    for name, column in zip(table.column_names, table.columns):
        flat = column.combine_chunks()
        while pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type):
            flat = flat.flatten()
        if pa.types.is_floating(flat.type):
            yield name, 0, flat.to_numpy(zero_copy_only=False)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be part of provenance")


def _difference(found: Any, wanted: Any) -> str:
    """The lines in which two settings differ, from both sides."""
    have, want = (json.dumps(side, sort_keys=True, indent=1, default=_plain).splitlines() for side in (found, wanted))
    lines = difflib.unified_diff(have, want, "in the file", "expected", lineterm="", n=1)
    return "\n".join(f"  {line}" for line in lines)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found
