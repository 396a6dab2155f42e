"""Digests of content inside the files, so that damaged files are not read.

A digest covers every byte of its file except the digest itself. It is inside the file, at a place that other readers
ignore, and so stays with the file when it is moved:

- HDF5: behind the end of the data that the library reads. There is a digest for each block, so if a program reads some
  rows of a large file, only their blocks are verified. Blocks have CRC-32, which is several times as fast as SHA-256:
  it finds every change within 32 consecutive bits, and misses one in 4e9 of all other changes. SHA-256 covers the list
  of these digests;
- Parquet: between the last column and the footer, which says where columns are;
- safetensors: in the metadata;
- JSON: in a key of the object.

This module does not know what the files are for; see :mod:`brain2clip.artefact`.
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

#: Size of the blocks of HDF5 files, each of which has a digest, bytes.
BLOCK = 1 << 16
MAGIC = b"b2c-seal"
_SHA = hashlib.sha256().digest_size
#: Behind the digests of the blocks: the digest of their list, the length of the body, the mark.
_END = struct.Struct(f"<{_SHA}sQ{len(MAGIC)}s")
_GAP = len(MAGIC) + _SHA
#: Last bytes of a Parquet file: length of the footer and "PAR1".
_PARQUET_END = 8
JSON_KEY = "digest"
_TENSOR_KEY = b'"digest":"'
_TENSOR_SEAL = re.compile(_TENSOR_KEY + rb'([0-9a-f]{64})"')


class DamagedError(Exception):
    """A file has changed since it was written, or is incomplete; the message says why."""


class UnsealedError(DamagedError):
    """A file has no digest."""

    def __init__(self) -> None:
        super().__init__("it has no digest, so it was cut short or changed by another program")


# ------------------------------------------------------------------------------------------------ HDF5


def seal_h5(path: Path) -> None:
    """Write digests behind the end of an HDF5 file, in place of earlier ones."""
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
    """A sealed HDF5 file for h5py (``h5py.File(SealedH5(path))``): blocks are verified when they are read.

    Attributes
    ----------
    damage : DamagedError or None
        The damage that was found. Check it after reading: a library may treat a block that cannot be read as one that
        does not exist.
    raises : bool
        Whether reading a damaged block raises an error; otherwise zeros are read. Set it only after h5py has opened
        the file: if an error is raised before, the interpreter crashes at its end.
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
        """Move to a place, as in any file; the digests are not part of the file here."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        return self._place

    def tell(self) -> int:
        """Place of the next byte to read."""
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
            If a block has changed since it was written, and `raises` is set.
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
    """An HDF5 file for h5py to write (``h5py.File(WrittenH5(path), "w")``) that can be closed if the disk is full.

    HDF5 cannot close a file if it cannot write the last bytes: it tries again and again, and crashes when the
    interpreter ends. So after the first error this class reports success to HDF5 and drops all further bytes.

    Parameters
    ----------
    path : Path
    keep : bool
        Whether to keep the present content of the file; open it with ``"r+"`` then.

    Attributes
    ----------
    error : OSError or None
        The first error of the disk. Check it after writing.
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
        """Close the file; HDF5 may write to it until this object is deleted."""
        if hasattr(self, "_file"):
            os.close(self._file)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, as in any file."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        return self._place

    def tell(self) -> int:
        """Place of the next byte to write."""
        return self._place

    def flush(self) -> None:
        """Do nothing: bytes are written at once."""

    def read(self, size: int = -1) -> bytes:
        """Bytes from here on."""
        content = bytearray(max(0, self._length - self._place) if size < 0 else size)
        self.readinto(content)
        return bytes(content)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on; all zeros after an error."""
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        if self.error is None:
            os.preadv(self._file, [view], self._place)
        self._place += len(view)
        return len(view)

    def write(self, content: Any) -> int:
        """Write all bytes, or keep the error."""
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
        """Set the length of the file, or keep the error."""
        self._length = self._place if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._file, self._length)
        except OSError as error:
            self._drop(error)
        return self._length

    def _drop(self, error: OSError) -> None:
        """Write nothing from now on, and empty the file, because it may stay open and take space for a while."""
        self.error = error
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)


def _end_of(file: int, size: int) -> tuple[bytes, int] | None:
    """Digest of the list and length of the body of a sealed HDF5 file; None if the file is not sealed."""
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
    """Raise an error if a Parquet file is not as :func:`sealed_parquet` made it."""
    cut = _footer(content)
    begin = max(0, cut - _GAP)
    gap = content[begin:cut]
    if not gap.startswith(MAGIC) or len(gap) != _GAP:
        raise UnsealedError
    digest = hashlib.sha256(content[:begin])
    digest.update(content[cut:])
    _compare(digest.digest(), gap[len(MAGIC) :])


def _footer(content: bytes) -> int:
    """Place at which the footer of a Parquet file begins."""
    length = int.from_bytes(content[-_PARQUET_END:-4], "little")
    return max(0, len(content) - _PARQUET_END - length)


def sealed_tensors(content: bytes) -> bytes:
    """A safetensors file with its digest in the metadata; the length of the header is a multiple of 8 bytes."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = {**header.get("__metadata__", {}), "digest": "0" * 64}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    blank = len(text).to_bytes(8, "little") + text + content[start:]
    match = _tensor_seal(blank)
    return blank[: match.start(1)] + hashlib.sha256(blank).hexdigest().encode() + blank[match.end(1) :]


def verify_tensors(content: bytes) -> None:
    """Raise an error if a safetensors file is not as :func:`sealed_tensors` made it."""
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
    """An object whose last key is the digest of all other keys."""
    rest = {key: item for key, item in value.items() if key != JSON_KEY}
    return {**rest, JSON_KEY: _of_json(rest)}


def verified_json(value: Any) -> dict[str, Any]:
    """Verify the digest of an object, and return the object without it."""
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
