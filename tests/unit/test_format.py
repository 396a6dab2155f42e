"""``artefact.FORMAT`` stands for what artefacts look like: whoever changes that must raise it.

The code of ``artefact.py`` is in no fingerprint. So all that it writes of its own accord is held here, by format, as
digests; what libraries add (their versions, the order of headers) is left out, since another library changes it too.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from brain2clip import artefact, sealing

#: Digests of what each format looks like. A new format gets a line of its own, old ones stay as they are.
REFERENCE: dict[int, dict[str, str]] = {
    1: {
        "hdf5": "61be957a68b81218",
        "parquet": "f1ba3be78f0489a3",
        "safetensors": "c5915c2773aee53d",
        "provenance": "efb1f8549667ff8d",
        "text": "e1129633eb280188",
    },
    2: {
        "hdf5": "f97c7e55b9e9acda",
        "parquet": "f283a204215911d7",
        "safetensors": "139e3ba961777b0e",
        "provenance": "c7a356db4757a74b",
        "text": "e1129633eb280188",
        "digests": "da6c671037f0cae0",
    },
}
SETTINGS = {"band": {"l_freq": 0.1, "h_freq": np.float64(40)}, "root": Path("a/b"), "name": "Ω", "none": None}
SPEC = {"stage": "epochs", "format": 1, "settings": SETTINGS, "code": "c0de", "expects": {"raw": {"origin": "0"}}}


def made() -> artefact.Provenance:
    """Provenance of a fixed job, in the format of this version."""
    spec = {**SPEC, "format": artefact.FORMAT}
    inputs = {"raw.000": "sha256:0", "raw.001": "made:1"}
    return artefact.Provenance("epochs", SETTINGS, "c0de", inputs, {"numpy": "2"}, artefact.origin(spec))


def hdf5(folder: Path) -> Any:
    """Attributes, and each dataset with its storage and its bytes."""
    with artefact.create_h5(folder / "a.h5", made()) as file:
        file.create_dataset("response", data=np.arange(24, dtype="f4").reshape(4, 6), chunks=(2, 6))
        file["quality/channel"] = ["Oz", "O1"]
    found: dict[str, Any] = {}

    def look(name: str, item: Any) -> None:
        found[name] = sorted((key, str(value)) for key, value in item.attrs.items())
        if isinstance(item, h5py.Dataset):
            stored = (str(item.dtype), item.shape, item.chunks, item.compression, item.shuffle, item.fletcher32)
            found[name] += [*map(str, stored), repr(item[()].tolist())]

    with h5py.File(folder / "a.h5") as file:
        look("/", file)
        file.visititems(look)
        new_layout = file.id.get_create_plist().get_version()[0] >= 2
        times = file["response"].id.get_create_plist().get_obj_track_times()
    return [found, new_layout, times]


def parquet(folder: Path) -> Any:
    """Schema with its metadata, and how each column is stored."""
    table = pd.DataFrame({"rank": np.arange(3), "value": [0.5, np.nan, 1.5]}, index=[7, 8, 9])
    artefact.write_table(folder / "a.parquet", table, made(), unknown={"value"})
    arrow = pa.table({"id": pa.array(["a", "Ω", None], pa.string()), "rank": pa.array([1, 2, 3], pa.int32())})
    artefact.write_table(folder / "arrow.parquet", arrow, made())
    found = []
    for path in (folder / "a.parquet", folder / "arrow.parquet"):
        file = pq.ParquetFile(path)
        metadata = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}
        if "pandas" in metadata:
            of_pandas = json.loads(metadata["pandas"])
            metadata["pandas"] = json.dumps([column["name"] for column in of_pandas["columns"]])
            metadata["index"] = json.dumps(of_pandas["index_columns"])
        columns = [
            (column.path_in_schema, column.physical_type, column.compression, sorted(set(column.encodings)))
            for group in range(file.num_row_groups)
            for column in (file.metadata.row_group(group).column(index) for index in range(file.metadata.num_columns))
        ]
        fields = [(field.name, str(field.type), field.nullable) for field in file.schema_arrow]
        found.append([sorted(metadata.items()), fields, columns, file.read().to_pylist()])
    return repr(found)


def safetensors(folder: Path) -> Any:
    """Metadata, and each tensor with its bytes; read without the library."""
    tensors = {"weight": torch.arange(6.0).reshape(2, 3).T, "bias": torch.zeros(2, dtype=torch.float16)}
    artefact.write_tensors(folder / "a.safetensors", tensors, made())
    content = (folder / "a.safetensors").read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    for tensor in header.values():
        if "data_offsets" in tensor:
            start, end = tensor.pop("data_offsets")
            tensor["data"] = base64.b64encode(content[size + start : size + end]).decode()
    return header


def provenance(folder: Path) -> Any:
    """The text that stands in all of them, and the digests that later stages compare."""
    (folder / "raw").write_bytes(b"content")
    one = artefact.provenance("epochs", {}, "c0de", {"raw": folder / "raw"})
    return [made().json(), made().identity, one.inputs, artefact.KEY]


def text(folder: Path) -> Any:
    """Bytes of a text."""
    artefact.write_text(folder / "a.md", "| Ω |\n\n")
    return (folder / "a.md").read_bytes().hex()


def digests(folder: Path) -> Any:
    """Where the digest of the content stands and what it is of, for content that no library wrote."""
    body = bytes(range(256)) * 300
    (folder / "a.h5").write_bytes(body)
    sealing.seal_h5(folder / "a.h5")
    header = b'{"__metadata__":{"brain2clip":"{}"},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    tensors = len(header).to_bytes(8, "little") + header + b"abcd"
    table = b"PAR1" + body[:50] + b"footer" + (6).to_bytes(4, "little") + b"PAR1"
    artefact.write_json(folder / "a.json", {"b": [1, "Ω"], "a": None})
    return [
        (folder / "a.h5").read_bytes()[len(body) :].hex(),
        sealing.sealed_parquet(table).hex(),
        sealing.sealed_tensors(tensors).hex(),
        (folder / "a.json").read_bytes().hex(),
    ]


LAYOUTS: dict[str, Callable[[Path], Any]] = {
    "hdf5": hdf5,
    "parquet": parquet,
    "safetensors": safetensors,
    "provenance": provenance,
    "text": text,
    "digests": digests,
}


def digest(layout: Any) -> str:
    return hashlib.sha256(json.dumps(layout, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_artefacts_look_as_their_format_says(kind, tmp_path):
    layout = LAYOUTS[kind](tmp_path)
    assert artefact.FORMAT in REFERENCE, f"a new format: add a line {artefact.FORMAT} to REFERENCE, with new digests"
    assert digest(layout) == REFERENCE[artefact.FORMAT].get(kind), (
        f"{kind}: artefacts look another way than those of format {artefact.FORMAT}. Put it back; or, where it has to "
        f"be, raise artefact.FORMAT (all results are made again) and add the digests of the new format:\n{layout}"
    )


def another_key(monkeypatch):
    monkeypatch.setattr(artefact, "KEY", "other")


def another_compression(monkeypatch):
    write = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda table, path, compression: write(table, path, compression="snappy"))


def another_layout(monkeypatch):
    opened = h5py.File
    monkeypatch.setattr(h5py, "File", lambda path, mode="r", libver=None: opened(path, mode))


def another_order(monkeypatch):
    monkeypatch.setattr(artefact, "_json", lambda value: json.dumps(value, default=artefact._plain, sort_keys=True))


def another_block(monkeypatch):
    monkeypatch.setattr(sealing, "BLOCK", 2 * sealing.BLOCK)


def another_mark(monkeypatch):
    monkeypatch.setattr(sealing, "MAGIC", b"b2c-mark")


def another_encoding(monkeypatch):
    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text, encoding: write(path, text, encoding="utf-16"))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *((kind, another_key) for kind in ("hdf5", "parquet", "safetensors")),
        *((kind, another_order) for kind in ("hdf5", "parquet", "safetensors", "provenance")),
        ("parquet", another_compression),
        ("hdf5", another_layout),
        ("text", another_encoding),
        ("digests", another_block),
        ("digests", another_mark),
    ],
)
def test_a_change_is_noticed(kind, change, tmp_path, monkeypatch):
    before = digest(LAYOUTS[kind](tmp_path))
    change(monkeypatch)
    assert digest(LAYOUTS[kind](tmp_path)) != before
