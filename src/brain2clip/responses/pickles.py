"""Pickled dictionaries of arrays: read without executing anything, written without a copy in memory.

A pickle is a program. :func:`read_dict` runs it with stand-ins for the few names that arrays need, which check their
arguments; every other name is refused, and numpy's own unpickling code is never called (a crafted dtype or state can
make it read foreign memory). Both common forms are read: the output of ``np.save`` for a dictionary (a ``.npy`` file
with a 0-d object array), and a bare pickle, often under a ``.npy`` name as well.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from brain2clip.stage import InputError

NPY_MAGIC = b"\x93NUMPY"
#: dtype codes of numbers, booleans and fixed-width text; objects may only be text (checked when all is read).
_CODES = re.compile(r"b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU]\d{1,8}|O8?")
#: Depth of nested containers; no data set is deeper.
_DEPTH = 16
#: Written at once, so that a file object never has to take gigabytes in one call.
_PIECE = 2**26


def read_dict(source: Path | str | IO[bytes], what: str) -> dict[str, Any]:
    """The dictionary in a file, without running code of that file.

    Parameters
    ----------
    source : path or binary file
        A ``.npy`` file or a bare pickle; an open file is read from where it stands.
    what : str
        Description for messages.

    Returns
    -------
    dict
        Arrays of numbers, booleans or text (also object arrays of text), numpy scalars, and lists, tuples and
        dictionaries of them and of str, int, float and bool. Arrays may be read-only views.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, truncated or damaged, asks for any other name, or holds anything else.
    """
    if not isinstance(source, str | Path):
        return _read(source, what)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected {what}")
    with path.open("rb") as file:
        return _read(file, f"{path} ({what})")


def write_dict(file: IO[bytes], content: Mapping[str, Any]) -> None:
    """Pickle a dictionary, protocol 4, its arrays straight from memory.

    :mod:`pickle` would copy each array once or twice. Arrays are named ``numpy.core``, which numpy 1 and 2 both
    understand, while a pickle made by numpy 2 is unreadable in the environments that the exports are meant for.

    Parameters
    ----------
    file : binary file
        Open for writing.
    content : mapping
        Text to arrays of numbers, booleans or fixed-width text, or to lists and tuples of text and integers.
    """
    file.write(pickle.PROTO + b"\x04" + pickle.EMPTY_DICT)
    for key, value in content.items():
        file.write(_opcodes(key))
        if isinstance(value, np.ndarray):
            _write_array(file, value)
        else:
            file.write(_opcodes(value))
        file.write(pickle.SETITEM)
    file.write(pickle.STOP)


# ---------------------------------------------------------------------------------------------- reading


class _Refused(pickle.UnpicklingError):
    """The pickle asks for what a dictionary of arrays does not need."""


class _Dtype:
    """Stand-in for a dtype: a checked code, then a checked byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _CODES.fullmatch(code):
            raise _Refused(f"an array of dtype {code!r:.80}")
        self.plain = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order; fields, subarrays and metadata are refused."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise _Refused(f"a dtype with state {state!r:.80}")
        if any(part is not None for part in state[2:5]):
            raise _Refused("an array with named fields")
        self.plain = self.plain.newbyteorder(state[1])


class _Array:
    """Stand-in for an array: filled once its shape, dtype and amount of data agree."""

    def __init__(self) -> None:
        self.plain: np.ndarray | None = None
        self.items: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        """Take (version, shape, dtype, whether Fortran order, data)."""
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data: Any, dtype: Any, shape: Any, order: str) -> None:
        """Take bytes, or a list for an object array."""
        if isinstance(shape, int):
            shape = (shape,)
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
            raise _Refused(f"an array of shape {shape!r:.80} in order {order!r:.20}")
        if len(shape) > 32 or any(type(length) is not int or length < 0 for length in shape):
            raise _Refused(f"an array of shape {shape!r:.80}")
        count = math.prod(shape)
        if dtype.plain.hasobject:
            if not isinstance(data, list) or len(data) != count:
                raise _Refused(f"an object array of shape {shape} without a list of its items")
            self.items = data
            self.plain = np.empty(shape, object)
            return
        size = len(data) if isinstance(data, bytes | bytearray) else -1
        if size != count * dtype.plain.itemsize:
            raise _Refused(f"an array of shape {shape} and dtype {dtype.plain} with {size} bytes of data")
        flat = np.frombuffer(data, dtype.plain) if size else np.empty(count, dtype.plain)
        self.plain = flat.reshape(shape, order="F" if order == "F" else "C")


class _Name:
    """Stand-in for a name of numpy: it can be called (where there is something to call), and nothing else."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            raise _Refused("numpy.ndarray as a function")
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a modified function")


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY or shape != (0,):
        raise _Refused("an array of a subclass, or without its values")
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> _Array:
    """Arrays as protocol 5 carries them; order K goes with the axes of an array that was transposed."""
    made = _Array()
    made.fill(data, dtype, shape, "C" if order == "K" else order)
    if order == "K":
        assert made.plain is not None
        made.plain = made.plain.transpose(axis_order)
    return made


def _scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.plain.hasobject:
        raise _Refused("a numpy scalar that is an object")
    made = _Array()
    made.fill(data, dtype, (), "C")
    assert made.plain is not None
    return made.plain[()]


def _encode(text: Any, encoding: Any = None) -> bytes:
    """Bytes as protocols 0 to 2 carry them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused(f"text in encoding {encoding!r:.20}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Empty bytes as protocols 0 to 2 carry them."""
    return b""


_NDARRAY = _Name()
_MODULES = ("numpy.core", "numpy._core")
_NAMES: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(_Dtype),
    **{(f"{module}.multiarray", "_reconstruct"): _Name(_reconstruct) for module in _MODULES},
    **{(f"{module}.multiarray", "scalar"): _Name(_scalar) for module in _MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _Name(_frombuffer) for module in _MODULES},
    ("_codecs", "encode"): _Name(_encode),
    ("__builtin__", "bytes"): _Name(_no_bytes),
    ("builtins", "bytes"): _Name(_no_bytes),
}


class _Unpickler(pickle.Unpickler):
    """Gives stand-ins for the names that arrays need and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in."""
        if (module, name) not in _NAMES:
            raise _Refused(f"{module}.{name}")
        return _NAMES[module, name]


def _read(file: IO[bytes], where: str) -> dict[str, Any]:
    start = file.read(len(NPY_MAGIC))
    file.seek(-len(start), 1)
    try:
        if start == NPY_MAGIC:
            _pass_npy_header(file)
        found = _Plain().of(_Unpickler(file).load(), top=True)
    except _Refused as error:
        raise InputError(
            f"{where}: the pickle asks for {error}; expected a dictionary of arrays; no code of the pickle was run\n"
            "  get the file again from its authors; do not open it with pickle or np.load"
        ) from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except Exception as error:  # a damaged pickle makes the unpickler raise nearly anything
        raise InputError(
            f"{where}: not a complete pickle or .npy file ({type(error).__name__}: {error}); get the file again"
        ) from None
    if not isinstance(found, dict):
        raise InputError(f"{where}: holds a {type(found).__name__}; expected a dictionary of arrays")
    return found


def _pass_npy_header(file: IO[bytes]) -> None:
    """Leave the file at the pickle behind a ``.npy`` header."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise InputError(f".npy format {version}; expected version 1.0 or 2.0 with a pickled dictionary")
    shape, _, dtype = readers[version](file)
    if dtype != np.dtype(object) or shape != ():
        raise InputError(f"holds an array of shape {shape} and dtype {dtype}; expected a pickled dictionary")


class _Plain:
    """Replaces stand-ins by arrays, and refuses everything that is not data.

    Every container is converted once: a small pickle may hold one list a billion times, or a list inside itself.
    """

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}
        self.begun: set[int] = set()

    def of(self, value: Any, depth: int = 0, top: bool = False) -> Any:
        """The value without stand-ins."""
        if type(value) in (str, int, float, bool) or isinstance(value, np.generic):
            return value
        if id(value) not in self.done:
            if id(value) in self.begun or depth > _DEPTH:
                raise InputError(
                    f"a container inside itself or inside {_DEPTH} others; expected a dictionary of arrays"
                )
            self.begun.add(id(value))
            self.done[id(value)] = self._converted(value, depth + 1, top)
        return self.done[id(value)]

    def _converted(self, value: Any, depth: int, top: bool) -> Any:
        if isinstance(value, _Array):
            return self._array(value, depth, top)
        if type(value) in (list, tuple):
            return type(value)(self.of(item, depth) for item in value)
        if type(value) is dict:
            return {self._key(key): self.of(item, depth) for key, item in value.items()}
        raise InputError(f"holds {_kind(value)}; expected arrays, text, numbers, lists, tuples and dictionaries")

    def _array(self, value: _Array, depth: int, top: bool) -> Any:
        if value.plain is None:
            raise InputError("holds an array without data")
        if value.plain.dtype != object:
            return value.plain
        if top and value.plain.shape == ():  # what np.save makes of a dictionary
            return self.of(value.items[0], depth)
        others = {_kind(item) for item in value.items if type(item) is not str}
        if others:
            raise InputError(f"holds an object array of {', '.join(sorted(others))}; expected only text in it")
        flat = np.empty(len(value.items), object)
        flat[:] = value.items
        return flat.reshape(value.plain.shape)  # the items of object arrays are always in C order

    def _key(self, key: Any) -> Any:
        if type(key) not in (str, int, float, bool):
            raise InputError(f"holds a dictionary with {_kind(key)} as key; expected text")
        return key


def _kind(value: Any) -> str:
    """What an object is, in words."""
    if isinstance(value, _Array):
        return "an array"
    return "a name of numpy" if isinstance(value, _Name | _Dtype) else f"a {type(value).__name__}"


# ---------------------------------------------------------------------------------------------- writing


def _write_array(file: IO[bytes], array: np.ndarray) -> None:
    """Opcodes of one array; the bytes go to the file in pieces of the array itself."""
    if array.dtype.hasobject:
        raise TypeError(f"an array of dtype {array.dtype} has no bytes of its own; convert it to fixed-width text")
    array = np.ascontiguousarray(array).reshape(array.shape)
    file.write(_global("numpy.core.multiarray", "_reconstruct") + _global("numpy", "ndarray"))
    file.write(_opcodes((0,)) + _opcodes(b"b") + pickle.TUPLE3 + pickle.REDUCE)
    file.write(pickle.MARK + _opcodes(1) + _opcodes(array.shape) + _dtype_opcodes(array.dtype) + pickle.NEWFALSE)
    file.write(pickle.BINBYTES8 + struct.pack("<Q", array.nbytes))
    raw = array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
    for begin in range(0, len(raw), _PIECE):
        file.write(raw[begin : begin + _PIECE].data)
    file.write(pickle.TUPLE + pickle.BUILD)


def _dtype_opcodes(dtype: np.dtype) -> bytes:
    reduced: Any = dtype.__reduce__()
    _, arguments, state = reduced
    return _global("numpy", "dtype") + _opcodes(arguments) + pickle.REDUCE + _opcodes(state) + pickle.BUILD


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _opcodes(value: Any) -> bytes:
    """Opcodes that leave a small plain value on the stack."""
    if value is None:
        return pickle.NONE
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    if isinstance(value, int):
        return pickle.BININT + struct.pack("<i", value)
    if isinstance(value, str):
        text = value.encode()
        return pickle.BINUNICODE + struct.pack("<I", len(text)) + text
    if isinstance(value, bytes):
        return pickle.BINBYTES + struct.pack("<I", len(value)) + value
    if isinstance(value, list | tuple):
        items = pickle.MARK + b"".join(map(_opcodes, value))
        return pickle.EMPTY_LIST + items + pickle.APPENDS if isinstance(value, list) else items + pickle.TUPLE
    raise TypeError(f"{type(value).__name__} cannot be part of an export")
