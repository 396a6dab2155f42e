"""Results without Snakemake's records: what fits a plan, what does not, and what is said."""

from __future__ import annotations

import html
import json
import os
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from brain2clip import artefact, records, settings
from brain2clip.reporting import style


def spec_of(stage: str = "epochs", expects: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    return {
        "stage": stage,
        "format": artefact.FORMAT,
        "settings": values,
        "code": "c0de",
        "expects": expects or {},
    }


def made_by(spec: dict[str, Any], *inputs: Path) -> artefact.Provenance:
    given = {f"input.{number:03d}": path for number, path in enumerate(inputs)}
    return artefact.provenance(spec["stage"], spec["settings"], spec["code"], given, artefact.origin(spec))


@pytest.fixture
def chain(tmp_path) -> tuple[dict[str, Path], dict[str, dict[str, Any]]]:
    """A text file, an HDF5 artefact made from it, and a table made from that."""
    files = {name: tmp_path / name for name in ("events.tsv", "epochs.h5", "rows.parquet")}
    first = spec_of(edge=8.0)
    second = spec_of("rank", {"epochs": {"origin": made_by(first).origin}}, k=[1, 5])
    files["events.tsv"].write_text("onset\n1.0\n")
    with artefact.create_h5(files["epochs.h5"], made_by(first, files["events.tsv"])) as file:
        file["x"] = np.zeros(3)
    artefact.write_table(files["rows.parquet"], pd.DataFrame({"a": [1]}), made_by(second, files["epochs.h5"]))
    return files, {"epochs.h5": first, "rows.parquet": second}


def test_what_was_made_by_the_plan_fits_whatever_its_times(chain):
    files, specs = chain
    os.utime(files["events.tsv"], (2e9, 2e9))
    assert records.difference([files["epochs.h5"]], [files["events.tsv"]], specs["epochs.h5"]) is None
    assert records.difference([files["rows.parquet"]], [files["epochs.h5"]], specs["rows.parquet"]) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"edge": 7.0}}, "made by other settings"),
        ({"code": "other"}, "made by other code"),
        ({"format": artefact.FORMAT + 1}, "made by other format"),
        ({"settings": {}, "code": "other"}, "made by other settings and code"),
        ({"expects": {"raw": {"origin": "1"}}}, "made from files that other settings or code made"),
    ],
)
def test_another_plan_does_not_fit(chain, change, words):
    files, specs = chain
    found = records.difference([files["epochs.h5"]], [files["events.tsv"]], {**specs["epochs.h5"], **change})
    assert found == f"{files['epochs.h5']}: {words}"


def test_another_input_does_not_fit(chain):
    files, specs = chain
    files["events.tsv"].write_text("onset\n2.0\n")
    found = records.difference([files["epochs.h5"]], [files["events.tsv"]], specs["epochs.h5"])
    assert found == f"{files['epochs.h5']}: made from another {files['events.tsv']}"


def test_an_artefact_that_was_made_again_from_something_else_does_not_fit(chain):
    """The plan of an input says nothing of the bytes that went into it."""
    files, specs = chain
    files["events.tsv"].write_text("onset\n2.0\n")
    with artefact.create_h5(files["epochs.h5"], made_by(specs["epochs.h5"], files["events.tsv"])) as file:
        file["x"] = np.ones(3)
    found = records.difference([files["rows.parquet"]], [files["epochs.h5"]], specs["rows.parquet"])
    assert found == f"{files['rows.parquet']}: made from another {files['epochs.h5']}"


def test_inputs_that_were_not_copied_are_not_missed(chain):
    files, specs = chain
    files["epochs.h5"].unlink()
    assert records.difference([files["rows.parquet"]], [files["epochs.h5"]], specs["rows.parquet"]) is None


def test_a_text_beside_an_artefact_is_trusted_with_it(chain, tmp_path):
    files, specs = chain
    (tmp_path / "rows.md").write_text("| a |\n")
    outputs = [tmp_path / "rows.md", files["rows.parquet"], tmp_path / "not-there.tex"]
    assert records.difference(outputs, [files["epochs.h5"]], specs["rows.parquet"]) is None
    alone = records.difference([tmp_path / "rows.md"], [files["epochs.h5"]], specs["rows.parquet"])
    assert alone == f"{tmp_path / 'rows.md'}: has no provenance"


def test_figures_say_what_made_them(chain, tmp_path):
    files, specs = chain
    drawn = spec_of("figures", {"rows": [{"origin": made_by(specs["rows.parquet"]).origin}]}, label="a < b & c")
    path = tmp_path / "figure.svg"
    style.save(style.figure(2, 2), path, made_by(drawn, files["rows.parquet"]))
    assert records.difference([path], [files["rows.parquet"]], drawn) is None
    other = {**drawn, "settings": {"label": "a"}}
    assert records.difference([path], [files["rows.parquet"]], other) == f"{path}: made by other settings"
    path.write_text("<svg><metadata></metadata></svg>")
    assert records.difference([path], [], drawn) == f"{path}: has no provenance"


def test_results_of_before_formats_were_numbered_do_not_fit(chain, tmp_path):
    files, specs = chain
    spec = specs["epochs.h5"]
    old = json.loads(made_by(spec, files["events.tsv"]).json())
    del old["format"]
    with h5py.File(files["epochs.h5"], "r+") as file:
        file.attrs[artefact.KEY] = json.dumps({**old, "origin": "of a plan without format"})
    found = records.difference([files["epochs.h5"]], [files["events.tsv"]], spec)
    assert found == f"{files['epochs.h5']}: made by other format"
    figure = tmp_path / "figure.svg"
    figure.write_text(f"<metadata><dc:description>{html.escape(json.dumps(old))}</dc:description></metadata>")
    assert records.provenance(figure).format == 0


def test_a_record_of_a_download_lists_what_is_planned(tmp_path):
    path = tmp_path / "unit.json"
    listed = {"path": "a", "size": 1, "algorithm": "md5", "hash": "x"}
    artefact.write_json(path, {"dataset": "d", "files": [listed]})
    file = {"path": "a", "size": 1, "algorithm": "md5", "hash": "x", "url": "https://example.org/a"}
    assert records.difference([path], [], spec_of("download", files=[file])) is None
    other = spec_of("download", files=[{**file, "hash": "y"}])
    assert records.difference([path], [], other) == f"{path}: lists other files"
    for unknown in ({"algorithm": "size", "hash": ""}, {"algorithm": "none", "hash": "", "size": None}):
        assert records.difference([path], [], spec_of("download", files=[{**file, **unknown}])) is None
    for wrong in ({"algorithm": "size", "hash": "", "size": 2}, {"algorithm": "none", "hash": "", "path": "b"}):
        differs = records.difference([path], [], spec_of("download", files=[{**file, **wrong}]))
        assert differs == f"{path}: lists other files"
    assert records.difference([path], [], spec_of("download", files=[file, file])) == f"{path}: lists other files"


def test_settings_of_a_run_survive_as_one_word():
    canonical = settings.canonical({"bands": {"a b": {"h_freq": 8.0, "quote": "'\"$"}}})
    word = records.pack(canonical)
    assert word.isascii()
    assert not set(word) & set(" '\"$\n\\")
    assert settings.canonical(records.unpack(word)) == canonical
    assert records.unpack(None) is None


def test_a_few_differences_are_told_and_the_rest_is_counted():
    told = records.told(2, [f"file-{number}: made by other code\nmore" for number in range(9)])
    assert "Results of 11 jobs" in told
    assert "2 fit and are kept" in told
    assert "9 do not fit" in told
    assert "file-4" in told
    assert "file-5" not in told
    assert "more" not in told


# ------------------------------------------------------------------------------------------------ what no job makes


def rewritten(path: Path, text: str) -> None:
    """Another content; the old time is kept, as by `rsync -t` and `tar`."""
    times = path.stat()
    path.write_text(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_content_decides_whatever_the_times_say(chain):
    files, _ = chain
    given, output = {"input.000": files["events.tsv"]}, [files["epochs.h5"]]
    assert records.other_inputs(output, given, records.Seen()) is None
    os.utime(files["events.tsv"], (2e9, 2e9))
    assert records.other_inputs(output, given, records.Seen()) is None
    rewritten(files["events.tsv"], "onset\n2.0\n")
    found = records.other_inputs(output, given, records.Seen())
    assert found == f"{files['epochs.h5']}: made from another {files['events.tsv']}"
    # What says nothing, what is not there, and what was no input then, is left to others.
    assert records.other_inputs([files["events.tsv"]], given, records.Seen()) is None
    assert records.other_inputs([files["events.tsv"].with_name("no.h5")], given, records.Seen()) is None
    assert records.other_inputs(output, {"more": files["events.tsv"]}, records.Seen()) is None


def test_inputs_and_outputs_that_are_damaged_are_others(chain, tmp_path):
    files, _ = chain
    given = tmp_path / "signals.h5"
    with h5py.File(given, "w") as file:
        file["x"] = np.zeros(100)
    with artefact.create_h5(tmp_path / "a.h5", made_by(spec_of(), given)) as file:
        file["x"] = [1]
    named = {"input.000": given}
    assert records.other_inputs([tmp_path / "a.h5"], named, records.Seen()) is None
    given.write_bytes(given.read_bytes()[:500])
    assert "signals.h5: not a complete HDF5 file" in str(
        records.other_inputs([tmp_path / "a.h5"], named, records.Seen())
    )
    files["epochs.h5"].write_bytes(files["epochs.h5"].read_bytes()[:500])
    assert "epochs.h5: not a complete" in str(records.other_inputs([files["epochs.h5"]], {}, records.Seen()))


def test_two_inputs_that_were_swapped_are_others(tmp_path):
    one, other, output = tmp_path / "1.tsv", tmp_path / "2.tsv", tmp_path / "a.h5"
    one.write_text("1")
    other.write_text("2")
    with artefact.create_h5(output, made_by(spec_of(), one, other)) as file:
        file["x"] = [1]
    given = {"input.000": one, "input.001": other}
    assert records.other_inputs([output], given, records.Seen()) is None
    one.write_text("2")
    other.write_text("1")
    assert f"another {one}" in str(records.other_inputs([output], given, records.Seen()))


@pytest.fixture
def large(tmp_path, monkeypatch) -> tuple[Path, list[str]]:
    """A large file, and which files are read from now on."""
    path, read = tmp_path / "large.eeg", []
    path.write_text("content")
    real = artefact.identity
    monkeypatch.setattr(records.Seen, "SMALL", 3)
    monkeypatch.setattr(records.Seen, "FRESH_S", -1.0)
    monkeypatch.setattr(artefact, "identity", lambda given: read.append(Path(given).name) or real(given))
    return path, read


def test_a_large_file_is_read_again_only_where_something_about_it_changed(tmp_path, large):
    path, read = large
    kept = tmp_path / "kept.json"
    for _ in range(2):
        seen = records.Seen(kept)
        first = [seen.identity(path), seen.identity(path)]
        seen.keep()
    assert read == ["large.eeg"]
    os.utime(path, (2e9, 2e9))
    assert records.Seen(kept).identity(path) == first[0]
    time.sleep(0.05)  # the clock of the file system ticks
    rewritten(path, "CONTENT")  # of the same size
    assert records.Seen(kept).identity(path) != first[0]
    assert read == ["large.eeg"] * 3
    small = tmp_path / "s.tsv"
    small.write_text("a")
    for text in ("a", "b"):
        rewritten(small, text)
        seen = records.Seen(kept)
        seen.identity(small)
        seen.keep()
    assert read[3:] == ["s.tsv"] * 2
    kept.write_text("{")  # damaged: read again
    records.Seen(kept).identity(path)
    assert read[5:] == ["large.eeg"]


def test_a_large_file_that_changed_a_moment_ago_is_read_once_more(tmp_path, large, monkeypatch):
    path, read = large
    monkeypatch.setattr(records.Seen, "FRESH_S", 60.0)
    for _ in range(2):
        seen = records.Seen(tmp_path / "kept.json")
        seen.identity(path)
        seen.keep()
    assert read == ["large.eeg"] * 2


def test_a_large_file_that_nobody_touched_since_a_job_read_it_is_not_read_again(large):
    path, read = large
    later = path.stat().st_ctime + 1
    assert records.Seen().identity(path, "sha256:what it was", since=later) == "sha256:what it was"
    assert read == []
    assert records.Seen().identity(path, "sha256:what it was", since=later - 2) != "sha256:what it was"
    assert records.Seen().identity(path, "sha256:what it was") != "sha256:what it was"
    assert read == ["large.eeg"] * 2


def test_pictures_that_an_artefact_lists_count_as_its_inputs(tmp_path):
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(pictures):
        path.write_text(f"picture {number}")
    output, spec = tmp_path / "features.h5", spec_of("features")
    with artefact.create_h5(
        output, artefact.provenance("features", {}, "c0de", {}, artefact.origin(spec), pictures)
    ) as file:
        file[artefact.PICTURE_PATHS] = [str(path) for path in pictures]
    spec["settings"] = {}

    def found() -> list[str | None]:
        return [records.other_inputs([output], {}, records.Seen()), records.difference([output], [], spec)]

    assert found() == [None, None]
    os.utime(pictures[1], (2e9, 2e9))
    assert found() == [None, None]
    rewritten(pictures[1], "another 1")
    assert found() == [f"{output}: made from other pictures"] * 2
    rewritten(pictures[1], "picture 1")
    assert found() == [None, None]
    pictures[2].unlink()
    assert found() == [f"{output}: made from pictures of which 1 are gone, the first is {pictures[2]}"] * 2
    for path in pictures[:2]:  # results that were copied alone
        path.unlink()
    assert found() == [None, None]
