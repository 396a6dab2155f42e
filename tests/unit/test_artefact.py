"""Artefacts: whole or absent, the same bytes for the same content, and never read for what they are not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch

from brain2clip import artefact

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
    with pytest.raises(artefact.ArtefactError, match="carries no provenance"):
        artefact.read_table(path)
    assert artefact.stored_provenance(path) is None


def test_provenance_of_another_version(tmp_path):
    import h5py

    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs[artefact.KEY] = '{"recipe": 1}'
    with pytest.raises(artefact.ArtefactError, match=r"old\.h5: provenance that this version"):
        artefact.check(path, None)


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
