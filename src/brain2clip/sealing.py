"""Digests of content inside the files, so that damaged files are not read.

A digest covers every byte of its file except itself. It is inside the file at a place that other readers ignore, so it
stays with the file when that is moved:

- HDF5: behind the end of what the library reads. There is one for each block, so that whoever reads some rows of a
  large file verifies what is read and no more (CRC-32: every change of up to 32 bits in a row is found, any other but
  for one in 4e9; it is several times as fast as SHA-256, which covers the list of them);
- Parquet: between the last column and the footer, which says where columns are;
- safetensors: in the metadata;
- JSON: in a key of the object.

The purpose of files is not known here; see :mod:`brain2clip.artefact`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Bytes of a block of HDF5 with a digest of its own.
BLOCK = 1 << 16
MAGIC = b"b2c-seal"
_SHA = hashlib.sha256().digest_size
#: Behind the digests of the blocks: their own digest, the length of the body, the mark.
_END = struct.Struct(f"<{_SHA}sQ{len(MAGIC)}s")
_GAP = len(MAGIC) + _SHA
#: Of a Parquet file: length of the footer and "PAR1".
_PARQUET_END = 8
JSON_KEY = "digest"
_TENSOR_KEY = b'"digest":"'
_TENSOR_SEAL = re.compile(_TENSOR_KEY + rb'([0-9a-f]{64})"')


class DamagedError(Exception):
    """A file is not as it was written, or incomplete; the message says why."""


class UnsealedError(DamagedError):
    """A file has no digest."""

    def __init__(self) -> None:
        super().__init__("it has no digest, so it was cut short or changed by another program")


# ------------------------------------------------------------------------------------------------ HDF5


def seal_h5(path: Path) -> None:
    """Put digests behind the end of an HDF5 file; what stood there before goes."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        end = _end_of(file.fileno(), size)
        length = size if end is None else min(size, end[1])
        sums = bytearray()
        while (place := file.tell()) < length:
            sums += zlib.crc32(file.read(min(BLOCK, length - place))).to_bytes(4, "little")
        file.truncate(length)
        file.seek(length)
        file.write(bytes(sums) + _END.pack(_of_list(sums, length), length, MAGIC))


class SealedH5:
    """A sealed HDF5 file as h5py takes it (``h5py.File(SealedH5(path))``): blocks are verified when they are read.

    Attributes
    ----------
    damage : DamagedError or None
        What was found. Whoever reads must look at it in the end: a library may take a block that cannot be read for one
        that is not there.
    raises : bool
        Whether damage stops the reading of it; else zeros are read. h5py does not survive an error of ours before the
        file is open (the interpreter crashes when it ends), so this is set afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.raises, self._place = path, False, 0
        self.damage: DamagedError | None = None
        size = path.stat().st_size
        self._file = path.open("rb", buffering=0)
        try:
            end = _end_of(self._file.fileno(), size)
            if end is None:
                raise UnsealedError
            expected, self._length = end
            count = -(-self._length // BLOCK)
            sums = os.pread(self._file.fileno(), 4 * count, self._length) if self._length < size else b""
            if size != self._length + 4 * count + _END.size or _of_list(sums, self._length) != expected:
                raise DamagedError("the list of its digests is damaged")
            self._sums = struct.unpack(f"<{count}I", sums)
        except BaseException:
            self.close()
            raise
        self._verified = bytearray(count)

    def __repr__(self) -> str:
        """Path: h5py takes it for the name of the file."""
        return str(self.path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as in any file; the digests are behind its end."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        return self._place

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._place

    def read(self, size: int = -1) -> bytes:
        """Bytes from here on."""
        content = bytearray(max(0, self._length - self._place) if size < 0 else size)
        return bytes(content[: self.readinto(content)])

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on.

        Raises
        ------
        DamagedError
            Where a block is not what was written.
        """
        start, size = self._place, min(len(buffer), max(0, self._length - self._place))
        blocks = range(start // BLOCK, -(-(start + size) // BLOCK))
        whole = memoryview(buffer)[:size]
        if all(self._verified[block] or self._verify(block) for block in blocks):
            size = os.preadv(self._file.fileno(), [whole], start)
        else:
            whole[:] = bytes(size)
        self._place += size
        return size

    def _verify(self, block: int) -> bool:
        begin = block * BLOCK
        size = min(BLOCK, self._length - begin)
        if zlib.crc32(os.pread(self._file.fileno(), size, begin)) == self._sums[block]:
            self._verified[block] = 1
            return True
        self.damage = DamagedError(f"bytes {begin} to {begin + size} are not as they were written")
        if self.raises:
            raise self.damage
        return False


class WrittenH5:
    """An HDF5 file to write as h5py takes it (``h5py.File(WrittenH5(path), "w")``), which can be closed on a full disk.

    HDF5 does not get rid of a file whose last bytes it cannot write: it tries again whenever it may, and crashes when
    the interpreter ends. So it is told that all is well; what comes after the first error is dropped.

    Parameters
    ----------
    path : Path
    keep : bool
        Whether what is in the file stays, to be opened as ``"r+"``.

    Attributes
    ----------
    error : OSError or None
        What the disk said. Whoever writes must look at it in the end.
    """

    def __init__(self, path: Path, keep: bool = False) -> None:
        self.path, self._place = path, 0
        self.error: OSError | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if keep else os.O_TRUNC)
        self._file = os.open(path, flags, 0o666)
        self._length = os.fstat(self._file).st_size

    def __repr__(self) -> str:
        """Path: h5py takes it for the name of the file."""
        return str(self.path)

    def __del__(self) -> None:
        """Close the file: only now does nobody write to it any more."""
        if hasattr(self, "_file"):
            os.close(self._file)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as in any file."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        return self._place

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._place

    def flush(self) -> None:
        """Nothing waits here."""

    def read(self, size: int = -1) -> bytes:
        """Bytes from here on."""
        content = bytearray(max(0, self._length - self._place) if size < 0 else size)
        self.readinto(content)
        return bytes(content)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on, with zeros where nothing could be written."""
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        if self.error is None:
            os.preadv(self._file, [view], self._place)
        self._place += len(view)
        return len(view)

    def write(self, content: Any) -> int:
        """Write all of it, or note why not."""
        view, done = memoryview(content).cast("B"), 0
        try:
            while self.error is None and done < len(view):
                done += os.pwrite(self._file, view[done:], self._place + done)
        except OSError as error:
            self._drop(error)
        self._place += len(view)
        self._length = max(self._length, self._place)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Make the file so long, or note why not."""
        self._length = self._place if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._file, self._length)
        except OSError as error:
            self._drop(error)
        return self._length

    def _drop(self, error: OSError) -> None:
        """From now on nothing is written, and what is there makes room, for the file may stay open for a while."""
        self.error = error
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)


def _end_of(file: int, size: int) -> tuple[bytes, int] | None:
    """Digest of the list and length of the body of a sealed HDF5 file, else None."""
    if size < _END.size:
        return None
    expected, length, mark = _END.unpack(os.pread(file, _END.size, size - _END.size))
    return (expected, length) if mark == MAGIC else None


def _of_list(sums: bytes | bytearray, length: int) -> bytes:
    return hashlib.sha256(length.to_bytes(8, "little") + sums).digest()


# ------------------------------------------------------------------------------- Parquet, safetensors, JSON


def sealed_parquet(content: bytes) -> bytes:
    """A Parquet file with its digest before the footer."""
    cut = _footer(content)
    return content[:cut] + MAGIC + hashlib.sha256(content).digest() + content[cut:]


def verify_parquet(content: bytes) -> None:
    """Stop where a Parquet file is not what :func:`sealed_parquet` made."""
    cut = _footer(content)
    begin = max(0, cut - _GAP)
    gap = content[begin:cut]
    if not gap.startswith(MAGIC) or len(gap) != _GAP:
        raise UnsealedError
    digest = hashlib.sha256(content[:begin])
    digest.update(content[cut:])
    _compare(digest.digest(), gap[len(MAGIC) :])


def _footer(content: bytes) -> int:
    """Where the footer of a Parquet file begins."""
    length = int.from_bytes(content[-_PARQUET_END:-4], "little")
    return max(0, len(content) - _PARQUET_END - length)


def sealed_tensors(content: bytes) -> bytes:
    """A safetensors file with its digest among its metadata, and a header of 8 n bytes."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = {**header.get("__metadata__", {}), "digest": "0" * 64}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    blank = len(text).to_bytes(8, "little") + text + content[start:]
    match = _tensor_seal(blank)
    return blank[: match.start(1)] + hashlib.sha256(blank).hexdigest().encode() + blank[match.end(1) :]


def verify_tensors(content: bytes) -> None:
    """Stop where a safetensors file is not what :func:`sealed_tensors` made."""
    match = _tensor_seal(content)
    digest = hashlib.sha256(content[: match.start(1)] + b"0" * 64)
    digest.update(memoryview(content)[match.end(1) :])
    _compare(digest.hexdigest().encode(), match[1])


def _tensor_seal(content: bytes) -> re.Match[bytes]:
    found = _TENSOR_SEAL.search(content, 8, 8 + int.from_bytes(content[:8], "little"))
    if found is None:
        raise UnsealedError
    return found


def sealed_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object with a digest of its other keys as its last."""
    rest = {key: item for key, item in value.items() if key != JSON_KEY}
    return {**rest, JSON_KEY: _of_json(rest)}


def verified_json(value: Any) -> dict[str, Any]:
    """The object without its digest, which is right."""
    if not isinstance(value, dict) or JSON_KEY not in value:
        raise UnsealedError
    rest = {key: item for key, item in value.items() if key != JSON_KEY}
    _compare(_of_json(rest), value[JSON_KEY])
    return rest


def _of_json(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _compare(found: object, written: object) -> None:
    if found != written:
        raise DamagedError("its content is not as it was written (another digest)")
