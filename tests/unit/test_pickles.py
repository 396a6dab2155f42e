"""Pickles of strangers: what arrays need is read exactly, everything else is refused and nothing of it runs."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from brain2clip.responses import pickles
from brain2clip.stage import InputError

WHAT = "epochs of the authors"


def content() -> dict[str, Any]:
    """What files of this kind hold."""
    rng = np.random.default_rng(3)
    return {
        "preprocessed_eeg_data": rng.standard_normal((5, 4, 3, 10)),
        "ch_names": ["O1", "Oz", "O2"],
        "times": np.linspace(-0.2, 0.79, 10),
        "sfreq": 100.0,
        "count": np.int64(7),
        "name": np.str_("Öz"),
        "nested": {"tuple": (1, 2.5, "x", True), "empty": []},
    }


def same(found: Any, expected: Any) -> bool:
    """Equality with shapes, dtypes and types of containers."""
    if isinstance(expected, np.ndarray):
        if not isinstance(found, np.ndarray) or (found.dtype, found.shape) != (expected.dtype, expected.shape):
            return False
        return (
            found.tolist() == expected.tolist() if expected.dtype == object else found.tobytes() == expected.tobytes()
        )
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and (found == expected or found != found)


def read(raw: bytes) -> dict[str, Any]:
    return pickles.read_dict(io.BytesIO(raw), WHAT)


def in_npy(item: Any, protocol: int) -> bytes:
    """What ``np.save`` writes for an object; older versions of numpy used lower protocols."""
    file = io.BytesIO()
    array = np.array(item, dtype=object)
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickle.dump(array, file, protocol=protocol)
    return file.getvalue()


def as_numpy_1(raw: bytes) -> bytes:
    """The same pickle as numpy 1 writes it (protocols below 4 carry names without their lengths)."""
    return raw.replace(b"numpy._core.", b"numpy.core.")


# ------------------------------------------------------------------------------------------------ read


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_both_forms_in_every_protocol(protocol):
    for raw in (pickle.dumps(content(), protocol=protocol), in_npy(content(), protocol)):
        assert same(read(raw), content())


@pytest.mark.parametrize("protocol", range(4))
def test_names_of_numpy_1(protocol):
    raw = as_numpy_1(pickle.dumps(content(), protocol=protocol))
    assert b"numpy.core.multiarray" in raw
    assert same(read(raw), content())


def test_what_np_save_writes(tmp_path):
    np.save(tmp_path / "epochs.npy", content())
    assert same(pickles.read_dict(tmp_path / "epochs.npy", WHAT), content())


def test_a_file_that_other_code_has_open_is_read_from_where_it_stands():
    file = io.BytesIO(b"before" + pickle.dumps({"a": 1}))
    file.seek(6)
    assert pickles.read_dict(file, WHAT) == {"a": 1}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
        np.arange(6, dtype=">i4").reshape(2, 3)[:, ::2],
        np.array(3.5),
        np.empty((0, 3), np.float32),
        np.array(["a", "Öz", ""]),
        np.array([b"a", b"bc"]),
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        np.array([["O1", "Oz"], ["O2", "Pz"]], dtype=object).T,
    ],
    ids=["fortran", "transposed", "big-endian", "0-d", "empty", "text", "bytes", "bool", "complex", "objects"],
)
def test_arrays_of_many_kinds(array, protocol):
    assert same(read(pickle.dumps({"a": array}, protocol=protocol))["a"], array)


KINDS = st.one_of(
    arrays.integer_dtypes(endianness="="),
    arrays.floating_dtypes(endianness="="),
    arrays.boolean_dtypes(),
    arrays.unicode_string_dtypes(endianness="=", max_len=5),
)
ARRAYS = arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))
LEAVES = st.one_of(st.integers(-(2**40), 2**40), st.floats(), st.booleans(), st.text(max_size=5), ARRAYS)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner), max_leaves=8)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=6), TREES, max_size=4), st.integers(0, 5), st.booleans())
def test_round_trip(expected, protocol, npy):
    raw = in_npy(expected, protocol) if npy else pickle.dumps(expected, protocol=protocol)
    assert same(read(raw), expected)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=6), ARRAYS, max_size=4))
def test_what_is_written_is_what_pickle_and_the_reader_read(expected):
    file = io.BytesIO()
    pickles.write_dict(file, expected)
    assert same(pickle.loads(file.getvalue()), expected)
    assert same(read(file.getvalue()), expected)


def test_written_pickles_are_protocol_4_and_can_be_read_by_numpy_1():
    file = io.BytesIO()
    pickles.write_dict(file, {"a": np.ones((2, 3), np.float32), "names": ["O1", "Öz"], "pair": (1, -2)})
    assert file.getvalue().startswith(b"\x80\x04")
    assert b"_core" not in file.getvalue()
    found = pickle.loads(file.getvalue())
    assert found["a"].flags.writeable
    assert (found["names"], found["pair"]) == (["O1", "Öz"], (1, -2))


def test_what_cannot_be_written_is_an_error():
    for value in (np.array([None]), {1, 2}, 1.5):
        with pytest.raises(TypeError):
            pickles.write_dict(io.BytesIO(), {"a": value})


# --------------------------------------------------------------------------------------------- refused


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def opened(path: Path) -> list[Any]:
    """Attacks that leave a file when they run, each with the name that must be refused."""
    source = f"open({str(path)!r}, 'w')"
    return [
        (Call(os.system, f"touch {path}"), "posix.system"),
        (Call(builtins.eval, source), "builtins.eval"),
        (Call(builtins.exec, source), "builtins.exec"),
        (Call(builtins.open, str(path), "w"), "io.open"),
        (Call(builtins.getattr, os, "system"), None),
        (Call(subprocess.Popen, ["touch", str(path)]), "subprocess.Popen"),
        (Call(np.testing.rundocs, str(path)), "numpy.testing"),
        (Call(np.save, str(path), 1), "numpy.save"),
        (Call(np.fromfile, str(path)), "numpy"),
        (Call(np.load, str(path), None, True), "numpy"),
        (Call(np.memmap, str(path), "u1", "w+", 0, (3,)), "numpy"),
        (Call(__import__, "os"), "builtins.__import__"),
    ]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("number", range(12))
def test_nothing_of_a_hostile_pickle_runs(tmp_path, number, protocol):
    evidence = tmp_path / "evidence"
    attack, name = opened(evidence)[number]
    hidden = np.array([["x", attack]], dtype=object)
    for holder in (attack, {"a": attack}, {"a": [1, (attack,)]}, {"a": hidden}, {"a": ["O1"], "b": {"c": attack}}):
        try:
            forms = [pickle.dumps(holder, protocol=protocol), in_npy(holder, protocol)]
        except (TypeError, pickle.PicklingError):  # a module cannot be pickled as an argument
            continue
        for raw in forms:
            with pytest.raises(InputError, match=r"the pickle asks for .*no code of the pickle was run") as caught:
                read(raw)
            assert WHAT in str(caught.value)
            if name and protocol > 2:
                assert name in str(caught.value)
    assert not evidence.exists()


def test_the_same_attack_works_on_pickle(tmp_path):
    """So the tests above would notice."""
    raw = pickle.dumps({"a": np.array([Call(os.system, f"touch {tmp_path / 'evidence'}")], dtype=object)})
    pickle.loads(raw)
    assert (tmp_path / "evidence").exists()


NAMES = [
    ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("builtins", "list"),
    ("copyreg", "_reconstructor"), ("functools", "partial"), ("operator", "attrgetter"), ("types", "FunctionType"),
    ("numpy", "frombuffer"), ("numpy", "ndarray.tofile"), ("numpy", "matrix"), ("numpy.core.multiarray", "fromfile"),
    ("numpy._core.multiarray", "_reconstruct.__globals__"), ("numpy._core._internal", "_convert_to_stringdtype_kwargs"),
    ("numpy.ma.core", "_mareconstruct"), ("_codecs", "lookup"), ("brain2clip.stage", "main"), ("pickle", "loads"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_other_name_is_refused_and_named(module, name):
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)]
    for raw in (
        b"\x80\x02}X\x01\x00\x00\x00ac" + f"{module}\n{name}\n".encode() + b"s.",
        b"\x80\x04}\x8c\x01a" + b"".join(texts) + b"\x93s.",
    ):
        with pytest.raises(InputError, match=rf"asks for {module}\.{name};"):
            read(raw)


def evil(text: str) -> bytes:
    """A protocol 2 pickle assembled from opcodes; NEW is an unfilled array, F8 a dtype."""
    new = "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(K\x00tX\x01\x00\x00\x00b\x87R"
    f8 = "cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR"
    return b"\x80\x02" + text.replace("NEW", new).replace("F8", f8).encode("latin1") + b"."


@pytest.mark.parametrize(
    "program",
    [
        "cnumpy\nndarray\n(K\x05tR",  # an array of uninitialised memory
        "cnumpy\nndarray\nK\x05\x85\x81",
        "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(J\xff\xff\xff\x7ftX\x01\x00\x00\x00b\x87R",
        "cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\n(K\x00tX\x01\x00\x00\x00b\x87R",
        "NEW(K\x01(K\x05tF8K\x00X\x01\x00\x00\x00xtb",  # text instead of bytes
        "NEW(K\x01(K\x05tF8K\x00]tb",
        "NEW(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftF8K\x00c__builtin__\nbytes\n)Rtb",  # more than there is
        "NEW(K\x01(J\xff\xff\xff\xfftF8K\x00c__builtin__\nbytes\n)Rtb",  # a negative length
        "NEW(K\x01(K\x00tK\x05K\x00c__builtin__\nbytes\n)Rtb",  # no dtype
        "NEW(K\x01(K\x01tcnumpy\ndtype\n(X\x01\x00\x00\x00OK\x00K\x01tRK\x00]tb",  # an object that is not there
        "NEW(K\x01(K\x01tcnumpy\ndtype\n(X\x01\x00\x00\x00OK\x00K\x01tRK\x00](NEWeltb",
        "NEW}X\x01\x00\x00\x00aK\x01sb",
        "NEW",
        "cnumpy\ndtype\n(X\x02\x00\x00\x00V8K\x00K\x01tR",
        "cnumpy\ndtype\n(X\x05\x00\x00\x00O,i4,K\x00K\x01tR",
        "cnumpy\ndtype\n(X\x02\x00\x00\x00M8K\x00K\x01tR",
        "cnumpy\ndtype\n(ccollections\nOrderedDict\nK\x00K\x01tR",
        "F8(K\x03X\x01\x00\x00\x00<N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00a(cnumpy\ndtype\nK\x00tstb",  # named fields
        "F8}X\x05\x00\x00\x00plainK\x01sb",
        "cnumpy.core.multiarray\n_reconstruct\n}X\x0c\x00\x00\x00__defaults__K\x01sb",  # a change of a function
        "cnumpy.core.multiarray\n_reconstruct\nN}X\x05\x00\x00\x00_callK\x01s\x86b",
        "cnumpy\nndarray\n",
        "cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x01\x00\x00\x00OK\x00K\x01tRK\x01tR",
        "cnumpy.core.multiarray\nscalar\n(F8c__builtin__\nbytes\n)RtR",
        "c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR",
        "(dX\x01\x00\x00\x00aF8s",
        "P0\n",
    ],
)
def test_crafted_arrays_are_refused_before_numpy_sees_them(program):
    for text in (program, f"}}X\x01\x00\x00\x00a{program}s"):
        with pytest.raises(InputError, match=WHAT):
            read(evil(text))


def test_object_arrays_hold_text_only():
    for item in (1, None, b"x", [1], np.ones(2), {"a": "b"}):
        array = np.empty(2, object)
        array[:] = ["O1", item]
        with pytest.raises(InputError, match=r"object array of .*; expected only text"):
            read(pickle.dumps({"a": array}))


@pytest.mark.parametrize("value", [None, b"x", {1, 2}, 1j, frozenset([1]), bytearray(b"x"), np.datetime64(1, "s")])
def test_what_is_no_data_is_refused(value):
    with pytest.raises(InputError, match=WHAT):
        read(pickle.dumps({"a": value}, protocol=5))


def test_a_pickle_may_not_explode():
    circle: list[Any] = []
    circle.extend([circle] * 5)
    for value in (circle, [circle], {"a": [(circle,)]}):
        with pytest.raises(InputError, match="inside itself"):
            read(pickle.dumps({"a": value}))
    wide: Any = [1.0]
    for _ in range(12):
        wide = [wide] * 1000
    found = read(pickle.dumps({"a": wide}))["a"]
    assert len(found) == 1000
    assert found[0] is found[999]
    deep = b"\x80\x04}\x8c\x01a" + b"]" * 5000 + b"a" * 4999 + b"s."
    with pytest.raises(InputError, match="16 others"):
        read(deep)


def test_keys_are_text_or_numbers():
    assert read(pickle.dumps({1: 2, "a": 3})) == {1: 2, "a": 3}
    with pytest.raises(InputError, match="as key"):
        read(pickle.dumps({(1, 2): 3}))


# --------------------------------------------------------------------------------------------- damaged


@pytest.mark.parametrize("form", ["pickle", "npy"])
def test_truncated_and_damaged_files(tmp_path, form):
    whole = pickle.dumps(content(), protocol=4) if form == "pickle" else in_npy(content(), 4)
    for length in [0, 1, 5, 7, 20, *range(30, len(whole), 97), len(whole) - 1]:
        path = tmp_path / "cut.npy"
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.npy.*epochs of the authors.*"):
            pickles.read_dict(path, WHAT)
    rng = np.random.default_rng(0)
    for _ in range(200):  # a changed byte gives either other data or a clear error
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        with contextlib.suppress(InputError):
            read(bytes(damaged))


def test_a_size_beyond_the_file_is_no_allocation():
    raw = b"\x80\x04}\x8c\x01a\x8e" + struct.pack("<Q", 2**62) + b"xs."
    with pytest.raises(InputError, match="get the file again"):
        read(raw)


def test_other_files_are_named(tmp_path):
    np.save(tmp_path / "numbers.npy", np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"numbers\.npy .*shape \(3, 2\) and dtype float64; expected a pickled dict"):
        pickles.read_dict(tmp_path / "numbers.npy", WHAT)
    np.save(tmp_path / "list.npy", np.array([{"a": 1}, {"b": 2}], dtype=object))
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        pickles.read_dict(tmp_path / "list.npy", WHAT)
    with pytest.raises(InputError, match="holds a list; expected a dictionary"):
        read(pickle.dumps([1, 2]))
    with pytest.raises(InputError, match=r"missing\.npy: no such file; expected epochs of the authors"):
        pickles.read_dict(tmp_path / "missing.npy", WHAT)
    with pytest.raises(InputError, match="get the file again"):
        read(b"<html>not found</html>")


def test_large_arrays_are_written_and_read_without_copies(tmp_path):
    source = (
        "import resource, sys, numpy as np\n"
        "from brain2clip.responses import pickles\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "array = np.zeros((40, 1024, 1024), np.float32); array[:] = 1; before = peak()\n"
        "with open(sys.argv[1], 'wb') as file: pickles.write_dict(file, {'a': array})\n"
        "wrote = peak() - before; del array\n"
        "found = pickles.read_dict(sys.argv[1], 'array')['a']\n"
        "assert (found == 1).all()\n"
        "print(wrote, peak() - before)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", source, str(tmp_path / "big.npy")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    wrote, read_again = map(float, done.stdout.split())
    assert wrote < 20  # MB, of 160
    assert read_again < 40
