"""Artefacts: whole or absent, the same bytes for the same content, and never read for what they are not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch

from brain2clip import artefact, sealing

SETTINGS = {"band": {"h_freq": 40.0, "l_freq": 0.1}, "seed": 1}
MADE = artefact.Provenance("epochs", SETTINGS, "c0de", {"raw": "sha256:0"}, {"numpy": "2"})
TABLE = pd.DataFrame({"rank": np.arange(2000), "target": [f"picture-{i}" for i in range(2000)]})
TENSORS = {"weight": torch.arange(6000, dtype=torch.float32).reshape(60, 100), "bias": torch.zeros(60)}
SUFFIXES = (".h5", ".parquet", ".safetensors")


def write(path, made=MADE):
    """Write one artefact of the kind that its suffix says."""
    if path.suffix == ".h5":
        with artefact.create_h5(path, made) as file:
            file.create_dataset("response", data=np.arange(4000.0).reshape(40, 100), chunks=(10, 100))
            file["channel"] = ["Oz", "O1"]
    elif path.suffix == ".parquet":
        artefact.write_table(path, TABLE, made)
    else:
        artefact.write_tensors(path, TENSORS, made)
    return path


def read(path, expected=None):
    """Read an artefact whole."""
    if path.suffix == ".h5":
        with artefact.open_h5(path, expected) as file:
            return file["response"][:]
    return artefact.read_table(path, expected) if path.suffix == ".parquet" else artefact.read_tensors(path, expected)


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / "deep" / f"sub-01_seed-0{request.param}"


def test_what_was_written_is_read(path):
    write(path)
    if path.suffix == ".h5":
        np.testing.assert_array_equal(read(path), np.arange(4000.0).reshape(40, 100))
    elif path.suffix == ".parquet":
        pd.testing.assert_frame_equal(read(path), TABLE)
    else:
        assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in read(path).items())


def test_provenance_travels_with_the_file(path):
    write(path)
    assert artefact.stored_provenance(path) == MADE
    read(path, {"stage": "epochs", "settings": SETTINGS, "code": "c0de"})


def test_identical_content_gives_identical_bytes(path):
    first = write(path).read_bytes()
    path.unlink()
    time.sleep(1.1)  # a time stamp inside the file would show
    assert write(path).read_bytes() == first


# ------------------------------------------------------------------------------------------------ atomic


def test_exception_leaves_nothing(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(ValueError, match="could not convert"), artefact.create_h5(path, MADE) as file:
        file["response"] = float("not convertible")
    assert list(tmp_path.iterdir()) == []


def test_exception_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), artefact.create_h5(path, MADE):
        raise RuntimeError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
    import sys, time, numpy, pathlib
    from brain2clip import artefact
    path = pathlib.Path(sys.argv[1])
    made = artefact.Provenance("epochs", {}, "c0de")
    with artefact.create_h5(path, made) as file:
        file["response"] = numpy.zeros(100_000)
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""


def test_sigkill_leaves_no_target_and_the_next_run_cleans_up(tmp_path):
    path = tmp_path / "sub-01.h5"
    other = tmp_path / ".sub-01.summary.17.part.h5"
    other.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists()
    write(path)
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_text_is_written_aside(tmp_path):
    artefact.write_text(tmp_path / "new" / "table.md", "| Ω |\n")
    assert (tmp_path / "new" / "table.md").read_text(encoding="utf-8") == "| Ω |\n"
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["table.md"]


# ----------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_truncated(path, share):
    content = write(path).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(artefact.ArtefactError, match=path.name) as error:
        read(path)
    assert "not a complete" in str(error.value)
    with pytest.raises(artefact.ArtefactError, match=path.name):
        artefact.identity(path)


def test_missing(path):
    with pytest.raises(artefact.ArtefactError, match=f"{path.name}: no such file"):
        read(path)


def test_foreign_settings_show_both_sides(path):
    write(path)
    expected = {"settings": {"band": {"h_freq": 30.0, "l_freq": 0.1}, "seed": 1}}
    with pytest.raises(artefact.ArtefactError, match=path.name) as error:
        read(path, expected)
    message = str(error.value)
    assert "made by other settings" in message
    assert '-  "h_freq": 40.0' in message
    assert '+  "h_freq": 30.0' in message
    assert "--- in the file" in message
    assert "+++ expected" in message


@pytest.mark.parametrize("change", [{"format": artefact.FORMAT + 1}, {"format": None}], ids=["newer", "older"])
def test_another_format(tmp_path, change):
    """Whatever its reader expects; files from before formats were numbered have none."""
    import h5py

    path = write(tmp_path / "a.h5")
    fields = {key: value for key, value in {**json.loads(MADE.json()), **change}.items() if value is not None}
    with h5py.File(path, "r+") as file:
        file.attrs[artefact.KEY] = json.dumps(fields)
    sealing.seal_h5(path)
    words = f"a.h5: written in format {change['format'] or 0}, this version reads format {artefact.FORMAT}"
    with pytest.raises(artefact.ArtefactError, match=words):
        read(path)
    assert artefact.identity(path) != MADE.identity


@pytest.mark.parametrize("key", ["stage", "code"])
def test_foreign_stage_or_code(path, key):
    write(path)
    with pytest.raises(artefact.ArtefactError, match=f"made by other {key}"):
        read(path, {key: "another"})


def test_key_order_is_no_difference(path):
    write(path)
    read(path, {"settings": {"seed": 1, "band": {"l_freq": 0.1, "h_freq": 40.0}}})


def test_no_provenance(tmp_path):
    path = tmp_path / "foreign.parquet"
    TABLE.to_parquet(path)
    with pytest.raises(artefact.ArtefactError, match="has no provenance"):
        artefact.read_table(path)
    assert artefact.stored_provenance(path) is None


def test_provenance_of_another_version(tmp_path):
    import h5py

    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs[artefact.KEY] = '{"recipe": 1}'
    with pytest.raises(artefact.ArtefactError, match=r"old\.h5: this version cannot read its provenance"):
        artefact.check(path, None)


# ---------------------------------------------------------------------------------------------- damage


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


def blank(content: bytes, place: int) -> bytes:
    block = content[place : place + 512]
    return content[:place] + bytes(len(block)) + content[place + 512 :]


def swapped(content: bytes, place: int) -> bytes:
    one, other = content[place : place + 64], content[place + 64 : place + 128]
    return content[:place] + other + one + content[place + 128 :]


def cut(content: bytes, place: int) -> bytes:
    return content[:place]


@pytest.mark.parametrize("damage", [flipped, blank, swapped, cut])
def test_damage_is_never_read(path, damage):
    """Anywhere: in numbers, in what says where they are, in the provenance, in the digest."""
    content = write(path).read_bytes()
    tried = 0
    for place in range(0, len(content), len(content) // 40):
        damaged = damage(content, place)
        if damaged == content:
            continue
        tried += 1
        path.write_bytes(damaged)
        with pytest.raises(artefact.ArtefactError, match=path.name) as error:
            read(path)
        assert "start snakemake again" in str(error.value)
    assert tried >= 10
    path.write_bytes(content)
    read(path)


def test_of_a_large_file_what_is_read_is_verified(tmp_path):
    path = tmp_path / "a.h5"
    values = np.random.default_rng(0).random((64, 4096))
    with artefact.create_h5(path, MADE) as file:
        file.create_dataset("response", data=values, chunks=(1, 4096))
        file["channel"] = ["Oz"]
    content = path.read_bytes()
    path.write_bytes(flipped(content, content.index(values[60].tobytes()) + 7))
    with artefact.open_h5(path) as file:
        np.testing.assert_array_equal(file["response"][:40], values[:40])
    with (
        pytest.raises(artefact.ArtefactError, match=r"a\.h5: damaged: bytes \d+ to \d+"),
        artefact.open_h5(path) as file,
    ):
        file["response"][40:]


def test_damage_that_looks_as_if_something_were_absent_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    with artefact.create_h5(path, MADE) as file:
        for number in range(2000):
            file[f"group/{number}/value"] = number
    content = path.read_bytes()
    path.write_bytes(blank(content, len(content) * 2 // 3 // sealing.BLOCK * sealing.BLOCK))
    with pytest.raises(artefact.ArtefactError, match="damaged"), artefact.open_h5(path) as file:
        assert sum(f"group/{number}/value" in file for number in range(2000)) < 2000


def test_a_damaged_file_does_not_crash_the_interpreter(tmp_path):
    """h5py would, when it ends, after an error of ours in the opening of a file."""
    path = write(tmp_path / "a.h5")
    path.write_bytes(flipped(path.read_bytes(), 100))
    program = f"from brain2clip import artefact\ntry: artefact.check({str(path)!r}, None)\n"
    program += "except artefact.ArtefactError: print('refused')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_a_file_without_its_digest_is_not_read(path):
    content = write(path).read_bytes()
    if path.suffix == ".h5":
        without = content[: content.rindex(sealing.MAGIC) - 40 - 4]
    elif path.suffix == ".parquet":
        begin = content.rindex(sealing.MAGIC)
        without = content[:begin] + content[begin + 40 :]
    else:
        without = content.replace(b'"digest":"', b'"DIGEST":"')
    path.write_bytes(without)
    with pytest.raises(artefact.ArtefactError, match="it has no digest"):
        read(path)


def test_other_programs_read_our_files(path, tmp_path):
    """And the digest goes with a copy."""
    import h5py
    import pyarrow.parquet as pq
    from safetensors.torch import load_file

    copy = tmp_path / f"copy{path.suffix}"
    shutil.copyfile(write(path), copy)
    read(copy)
    if path.suffix == ".h5":
        with h5py.File(copy) as file:
            np.testing.assert_array_equal(file["response"][:], np.arange(4000.0).reshape(40, 100))
    elif path.suffix == ".parquet":
        pd.testing.assert_frame_equal(pq.ParquetFile(copy).read().to_pandas(), TABLE)
        pd.testing.assert_frame_equal(pd.read_parquet(copy, columns=["rank"]), TABLE[["rank"]])
    else:
        assert torch.equal(load_file(copy)["weight"], TENSORS["weight"])


def test_a_record_is_verified_by_what_it_says(tmp_path):
    path = tmp_path / "unit.json"
    artefact.write_json(path, {"dataset": "d", "files": [{"path": "a", "size": 1}]})
    assert artefact.read_json(path) == {"dataset": "d", "files": [{"path": "a", "size": 1}]}
    text = path.read_text()
    path.write_text(" ".join(text.split()))
    assert artefact.read_json(path)["dataset"] == "d"  # the same, written in another way
    for damaged, words in (
        (text.replace('"size": 1', '"size": 3'), "damaged"),
        (text.replace('"digest"', '"digesT"'), "has no digest"),
        (text[:-30], "not a complete JSON file"),
        ("[]", "has no digest"),
    ):
        path.write_text(damaged)
        with pytest.raises(artefact.ArtefactError, match=words):
            artefact.read_json(path)


# --------------------------------------------------------------------------------------- numbers, not finite

BROKEN = np.arange(24.0).reshape(6, 4)
BROKEN[3, 1], BROKEN[5, 0] = np.nan, np.inf


def test_arrays_with_numbers_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(artefact.ArtefactError) as error, artefact.create_h5(tmp_path / "a.h5", MADE) as file:
        file.update({"deep/embedding": BROKEN.astype("f2"), "right": np.ones(3), "count": [1, 2], "name": ["a"]})
    assert "a.h5: not written, because of numbers that are not finite" in str(error.value)
    assert "deep/embedding: 2, the first [3, 1] is nan\n" in str(error.value)
    assert list(tmp_path.iterdir()) == []
    for name in ("deep/embedding", "embedding"):  # by path or by name: unknown is NaN, never infinite
        with (
            pytest.raises(artefact.ArtefactError, match=r"deep/embedding: 1, the first \[5, 0\] is inf"),
            artefact.create_h5(tmp_path / "a.h5", MADE, unknown={name}) as file,
        ):
            file["deep/embedding"] = BROKEN
    with artefact.create_h5(tmp_path / "a.h5", MADE, unknown={"position"}) as file:
        file["position"] = BROKEN[:5]
    with pytest.raises(artefact.ArtefactError, match="sfreq: 1"), artefact.create_h5(tmp_path / "b.h5", MADE) as file:
        file.attrs["sfreq"] = np.nan


def test_arrays_are_looked_at_to_their_end(tmp_path, monkeypatch):
    monkeypatch.setattr(artefact, "AT_ONCE", 1000)
    values = np.zeros((100, 50), np.float32)
    values[97, 3] = np.inf
    with (
        pytest.raises(artefact.ArtefactError, match=r"x: 1, the first \[97, 3\] is inf"),
        artefact.create_h5(tmp_path / "a.h5", MADE) as file,
    ):
        file["x"] = values


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([1.0, np.nan, np.nan], r"value: 2, the first \[1\] is nan"),
        ([1.0, 2.0, -np.inf], r"value: 1, the first \[2\] is -inf"),
        (np.array([1, 2, np.inf], np.float32), r"value: 1, the first \[2\] is inf"),
        ([[0.5], [], [np.nan, 1.0]], r"value: 1, the first \[1\] is nan"),
    ],
)
def test_tables_with_numbers_that_are_not_finite_are_not_written(tmp_path, column, found):
    table = pd.DataFrame({"value": column, "count": [1, 2, 3], "name": ["a", None, "b"]})
    with pytest.raises(artefact.ArtefactError, match=found):
        artefact.write_table(tmp_path / "a.parquet", table, MADE)
    assert list(tmp_path.iterdir()) == []


def test_columns_may_be_declared_unknown(tmp_path):
    table = pd.DataFrame({"value": [1.0, 2.0], "ci_low": [np.nan, 0.5]})
    artefact.write_table(tmp_path / "a.parquet", table, MADE, unknown={"ci_low"})
    pd.testing.assert_frame_equal(artefact.read_table(tmp_path / "a.parquet"), table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_with_numbers_that_are_not_finite_are_not_written(tmp_path, dtype):
    tensors = {**TENSORS, "scale": torch.tensor([[1.0, torch.nan]], dtype=dtype), "shape": torch.tensor([1, 2])}
    with pytest.raises(artefact.ArtefactError, match=r"scale: 1, the first \[0, 1\] is nan"):
        artefact.write_tensors(tmp_path / "a.safetensors", tensors, MADE)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    "other",
    [
        {"stage": "features"},
        {"settings": {**SETTINGS, "seed": 2}},
        {"code": "c0de2"},
        {"inputs": {"raw": "sha256:1"}},
        {"inputs": {}},
        {"format": artefact.FORMAT + 1},
    ],
)
def test_identity_changes(other):
    fields = {"stage": "epochs", "settings": SETTINGS, "code": "c0de", "inputs": {"raw": "sha256:0"}, **other}
    assert artefact.Provenance(**fields).identity != MADE.identity


def test_identity_ignores_versions_and_key_order():
    same = artefact.Provenance("epochs", dict(reversed(SETTINGS.items())), "c0de", {"raw": "sha256:0"}, {"numpy": "3"})
    assert same.identity == MADE.identity


def test_identity_of_a_plain_file_is_its_content(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text("onset\n1\n")
    first = artefact.identity(path)
    os.utime(path, (0, 0))
    assert artefact.identity(path) == first
    path.write_text("onset\n2\n")
    assert artefact.identity(path) != first


def test_provenance_names_inputs_and_versions(path):
    write(path)
    made = artefact.provenance("train", {"lr": np.float64(0.5)}, "abc", {"responses": path})
    assert made.inputs == {"responses": MADE.identity}
    assert {"python", "numpy", "torch"} <= set(made.versions)
    assert '"lr":0.5' in made.json()


def test_notes_of_a_table_are_not_copied_with_what_is_made_of_it(tmp_path):
    """Pandas copies them whole at every step, which was most of the time of a summary."""
    table = pd.DataFrame({"a": [1, 2, 3]})
    table.attrs["recording"] = {"name": ["one"], "sketch": list(range(4096))}
    artefact.write_table(tmp_path / "table.parquet", table, MADE)
    read = artefact.read_table(tmp_path / "table.parquet")
    assert read.attrs == table.attrs
    made = read[read["a"] > 1].assign(b=0)
    assert made.attrs["recording"] is read.attrs["recording"]
    artefact.write_table(tmp_path / "again.parquet", made, MADE)
    assert artefact.read_table(tmp_path / "again.parquet").attrs == table.attrs


def test_no_input_takes_the_name_of_listed_pictures(tmp_path):
    """A job with such an input would be asked for pictures that its files do not list."""
    (tmp_path / "a.h5").touch()
    with pytest.raises(ValueError, match="no input may be named pictures"):
        artefact.provenance("judge", {}, "code", {artefact.PICTURES: tmp_path / "a.h5"})
