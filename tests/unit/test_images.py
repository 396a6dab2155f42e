"""Stage images: unpacking safely, the order rule, what is refused, and what a killed job leaves."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from bids_fixtures import THINGS
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image

from brain2clip import artefact
from brain2clip.downloads import images
from brain2clip.readers import file_records
from brain2clip.stage import InputError, Job
from brain2clip.studies import things_eeg2

NAMES = {"train": "training_images", "test": "test_images"}
#: Folders and files as the authors' archives have them, by split.
Content = dict[str, bytes]


def picture(number: int, kind: str = "JPEG") -> bytes:
    """A small picture, 8 x 8."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, 77)).save(file, kind)
    return file.getvalue()


def index_rows(n_train: int, n_test: int) -> list[list[str]]:
    """Rows of an index; names of the first concept are published, the others inferred."""
    rows = [
        [str(10 * c + k + 1), "train", f"{c + 1:05d}_thing{c:02d}", f"thing{c:02d}_{k:02d}s.jpg"]
        for c in range(n_train)
        for k in range(10)
    ]
    sources = ["listed"] * 10 + ["inferred"] * (len(rows) - 10)
    rows += [[str(c), "test", f"{c:05d}_other{c}", f"other{c}_06s.jpg"] for c in range(1, n_test + 1)]
    return [[*row, source, "4"] for row, source in zip(rows, [*sources, *["listed"] * n_test])]


class Place:
    """A results folder with an index, both archives and the records of their downloads."""

    def __init__(self, folder: Path, rows: list[list[str]] | None = None) -> None:
        self.results = folder / "results"
        self.stimuli = self.results / "raw/things-eeg2/stimuli"
        self.stimuli.mkdir(parents=True)
        self.index = folder / "index.csv"
        self.rows = index_rows(3, 2) if rows is None else rows
        lines = [["tot_img_number", "split", "concept_folder", "file_name", "file_name_source", "n_presentations"]]
        self.index.write_text("".join(",".join(row) + "\n" for row in lines + self.rows))

    def content(self, split: str) -> Content:
        """What an archive holds."""
        return {f"{row[2]}/{row[3]}": picture(int(row[0])) for row in self.rows if row[1] == split}

    def path(self, split: str) -> Path:
        return self.stimuli / f"{NAMES[split]}.zip"

    def record(self, split: str) -> Path:
        return self.results / f"downloads/things-eeg2/stimuli-{NAMES[split]}.json"

    def pack(self, split: str, content: Content | None = None, top: bool = True, write: Callable | None = None) -> None:
        """Write an archive and the record of its download."""
        content = self.content(split) if content is None else content
        with zipfile.ZipFile(self.path(split), "w") as file:
            for name, data in content.items():
                file.writestr(f"{NAMES[split]}/{name}" if top else name, data)
            if write is not None:
                write(file)
        self.write_record(split)

    def write_record(self, split: str) -> None:
        path = self.path(split)
        files = [file_records.measured(path.parents[1], f"stimuli/{path.name}")]
        artefact.write_json(self.record(split), file_records.content("things-eeg2", files))

    @property
    def settings(self) -> dict:
        study = {"kind": "things_eeg2", "images": str(self.index)}
        return {"name": "things", "study": study, "results": str(self.results)}

    @property
    def table(self) -> Path:
        return self.stimuli / "stimuli.tsv"

    @property
    def outputs(self) -> dict[str, Path]:
        return {"stimuli": self.table, "record": self.table.with_name(file_records.NAME)}

    def run(self) -> pd.DataFrame:
        records = [self.record(split) for split in ("test", "train")]
        images.run(Job("images", self.settings, "", {}, {"record": records}, self.outputs))
        return pd.read_csv(self.table, sep="\t")

    def refused(self) -> str:
        """Message of the refusal; nothing that looks finished is left."""
        with pytest.raises(InputError) as error:
            self.run()
        assert not any(path.exists() for path in self.outputs.values())
        assert not [path for path in self.stimuli.iterdir() if path.name.startswith(".")]
        return str(error.value)


@pytest.fixture
def place(tmp_path) -> Place:
    place = Place(tmp_path)
    for split in NAMES:
        place.pack(split)
    return place


# ------------------------------------------------------------------------------------------------- good


def check(place: Place, table: pd.DataFrame) -> None:
    """Every number has its picture."""
    assert list(table.columns) == ["stimulus_id", "concept", "image", "split"]
    assert table["stimulus_id"].to_list() == [f"{row[1]}-{int(row[0]):05d}" for row in place.rows]
    for row, image in zip(place.rows, table["image"]):
        assert (place.stimuli / image).read_bytes() == picture(int(row[0]))


@pytest.mark.parametrize("top", [True, False])
def test_pictures_are_unpacked_in_order(place, top):
    for split in NAMES:
        place.pack(split, dict(reversed(place.content(split).items())), top=top)
    table = place.run()
    check(place, table)
    assert table["image"][0] == "training_images/00001_thing00/thing00_00s.jpg"
    assert table["concept"].to_list()[-2:] == ["other1", "other2"]


def test_the_study_takes_the_paths_of_the_table(place):
    place.run()
    study = things_eeg2.Study("things", place.settings["study"], place.results)
    table = study.stimulus_table()
    assert study.stimulus_files() == [str(place.table)]
    assert all(Path(path).is_file() for path in table["image"])
    assert len(table) == 32


def test_what_macos_adds_is_ignored(place):
    junk = {
        "__MACOSX/00001_thing00/._thing00_00s.jpg": b"resource fork",
        ".DS_Store": b"x",
        "00001_thing00/.DS_Store": b"x",
        "00001_thing00/._thing00_00s.jpg": b"resource fork",
        "README.txt": b"no picture",
        "00001_thing00/": b"",
    }
    place.pack("train", {**junk, **place.content("train")}, top=False)
    check(place, place.run())
    found = {path.name for path in (place.stimuli / "training_images").rglob("*") if path.is_file()}
    assert found == {row[3] for row in place.rows if row[1] == "train"}


def test_other_picture_formats_and_capitals(tmp_path):
    rows = [
        [cell.replace("_03s.jpg", "_03s.PNG").replace("_04s.jpg", "_04s.JPEG") for cell in row]
        for row in index_rows(2, 1)
    ]
    place = Place(tmp_path, rows)
    for split in NAMES:
        kinds = {".PNG": "PNG"}
        content = {name: picture(3, kinds.get(Path(name).suffix, "JPEG")) for name in place.content(split)}
        place.pack(split, content)
    table = place.run()
    assert Image.open(place.stimuli / table["image"][3]).format == "PNG"


def test_unpacked_again_only_when_something_differs(place):
    place.run()
    one = place.stimuli / "training_images/00002_thing01/thing01_04s.jpg"
    before = one.stat().st_mtime_ns
    place.run()
    assert one.stat().st_mtime_ns == before
    (one.parent / ".DS_Store").write_bytes(b"x")
    place.run()
    assert one.stat().st_mtime_ns == before

    one.write_bytes(b"cut")
    check(place, place.run())
    (one.parent / "another.jpg").write_bytes(picture(1))
    check(place, place.run())
    assert not (one.parent / "another.jpg").exists()
    one.unlink()
    check(place, place.run())


def test_a_linked_folder_is_not_emptied(place, tmp_path):
    """Pictures that a user linked are left alone even where they are not those of the archive."""
    own = tmp_path / "own"
    (own / "00001_thing00").mkdir(parents=True)
    (own / "00001_thing00/mine.jpg").write_bytes(b"mine")
    (place.stimuli / "training_images").symlink_to(own)
    check(place, place.run())
    assert (own / "00001_thing00/mine.jpg").read_bytes() == b"mine"


def test_inferred_names_are_only_logged(place, caplog):
    content = place.content("train")
    content["00002_thing01/thing01_00a.jpg"] = content.pop("00002_thing01/thing01_00s.jpg")
    place.pack("train", content)
    with caplog.at_level("WARNING", logger="brain2clip"):
        table = place.run()
    check(place, table)
    assert table["image"][10] == "training_images/00002_thing01/thing01_00a.jpg"
    warning = next(one.getMessage() for one in caplog.records if one.levelname == "WARNING")
    assert "1 of 30 file names differ" in warning
    assert "11: 00002_thing01/thing01_00a.jpg (index: thing01_00s.jpg)" in warning
    study = things_eeg2.Study("things", place.settings["study"], place.results)
    assert study.stimulus_table()["image"][10].endswith("thing01_00a.jpg")


# ---------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"00003_thing02": None}, "2 folders of pictures, expected 3; 1 missing: 00003_thing02"),
        ({"00004_new/new_01.jpg": b"x"}, "4 folders of pictures, expected 3; 1 not in the index: 00004_new"),
        ({"00002_thing01/thing01_99s.jpg": b"x"}, "11 pictures in 00002_thing01, expected 10"),
        ({"00002_thing01/thing01_05s.jpg": None}, "9 pictures in 00002_thing01, expected 10"),
        (
            {"00001_thing00/thing00_03s.jpg": None, "00001_thing00/thing00_03b.jpg": b"x"},
            "1 pictures differ in name from the published list, e.g. 4: 00001_thing00/thing00_03b.jpg",
        ),
    ],
)
def test_other_pictures_than_the_index_are_refused(place, changes, message):
    content = place.content("train")
    for name, data in changes.items():
        content = {key: value for key, value in content.items() if not key.startswith(name)}
        if data is not None:
            content[name] = picture(5)
    place.pack("train", content)
    text = place.refused()
    assert message in text
    assert str(place.path("train")) in text
    assert str(place.index) in text


def test_swapped_published_names_are_refused(place):
    """The index names two pictures of a concept in each other's place."""
    text = place.index.read_text()
    swapped = text.replace("thing00_01s", "thing00_xxs").replace("thing00_02s", "thing00_01s")
    place.index.write_text(swapped.replace("thing00_xxs", "thing00_02s"))
    text = place.refused()
    assert "2 pictures differ in name from the published list, e.g. 2: 00001_thing00/thing00_01s.jpg" in text


def test_swapped_folders_are_refused(place):
    content = {name.replace("00001_other1", "00003_other1"): data for name, data in place.content("test").items()}
    place.pack("test", content)
    assert "missing: 00001_other1" in place.refused()


def link(file: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("training_images/00001_thing00/link.jpg")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(member, "/etc/passwd")


def bomb(file: zipfile.ZipFile) -> None:
    file.writestr("training_images/00001_thing00/a.txt", bytes(50_000_000), compress_type=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.writestr("../../escaped.jpg", b"x"), "member '../../escaped.jpg'; expected paths inside"),
        (lambda file: file.writestr("a/../../../escaped.jpg", b"x"), "expected paths inside"),
        (lambda file: file.writestr("/tmp/escaped.jpg", b"x"), "expected paths inside"),
        (lambda file: file.writestr("C:/escaped.jpg", b"x"), "expected paths inside"),
        (lambda file: file.writestr("..\\escaped.jpg", b"x"), "expected paths inside"),
        (lambda file: file.writestr("training_images/00001_thing00/a\tb.jpg", b"x"), "expected paths inside"),
        (link, "is a link or device"),
        (bomb, "50.0 MB unpacked from 0.1 MB"),
        (lambda file: file.writestr("one.jpg", b"x"), "expected all pictures to have paths such as 00001_aard"),
        (lambda file: file.writestr("other/00001_thing00/one.jpg", b"x"), "all pictures to have paths"),
        (lambda file: file.writestr("a/b/00001_thing00/one.jpg", b"x"), "all pictures to have paths"),
    ],
)
def test_unsafe_archives_are_refused(place, tmp_path, write, message):
    place.pack("train", write=write)
    text = place.refused()
    assert message in text
    assert str(place.record("train")) in text
    assert not list(tmp_path.rglob("escaped*"))
    assert not (place.stimuli / "training_images").exists()


@limits(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(["..", ".", "", "a", "00001_thing00", "/", "x.jpg", "\\..\\y.jpg"]), min_size=1))
def test_nothing_is_written_elsewhere(place, tmp_path, parts):
    """Whatever a member is called, files appear only in the folder of the pictures."""
    before = {path for path in tmp_path.rglob("*") if NAMES["train"] not in path.parts}
    place.table.unlink(missing_ok=True)
    place.pack("train", write=lambda file: file.writestr("/".join(parts) + "/evil.jpg", picture(1)))
    with contextlib.suppress(InputError):
        place.run()
    after = {path for path in tmp_path.rglob("*") if NAMES["train"] not in path.parts}
    assert not {path for path in after - before if place.stimuli / NAMES["test"] not in [path, *path.parents]} - {
        place.table
    }


def test_the_same_picture_twice_is_refused(place):
    with pytest.warns(UserWarning, match="Duplicate name"):
        place.pack("train", write=lambda file: file.writestr("training_images/00001_thing00/thing00_01s.jpg", b"x"))
    assert "occurs twice" in place.refused()


def test_encrypted_pictures_are_refused(place):
    data = bytearray(place.path("test").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    place.path("test").write_bytes(data)
    assert "test_images.zip: its content does not match" in place.refused()
    place.write_record("test")  # as if it had come so
    assert "is encrypted" in place.refused()


def test_what_is_no_picture_is_refused(place):
    place.pack("train", {**place.content("train"), "00003_thing02/thing02_07s.jpg": b"<html>not found</html>"})
    text = place.refused()
    assert "training_images/00003_thing02/thing02_07s.jpg is not a picture" in text
    assert str(place.record("train")) in text


@pytest.mark.parametrize("share", [0, 0.3, 0.98])
def test_truncated_archives_are_refused(place, share):
    path = place.path("train")
    size = path.stat().st_size
    os.truncate(path, int(share * size))
    text = place.refused()
    assert f"{int(share * size)} bytes, expected {size}" in text
    assert str(place.record("train")) in text
    place.write_record("train")  # a record that fits: the damage itself is seen, too
    text = place.refused()
    assert "not a complete zip archive" in text
    assert str(place.record("train")) in text


@limits(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archives_never_pass(place, data):
    """Any byte may be wrong: either the pictures are right all the same, or the refusal is clear."""
    place.pack("train")
    content = bytearray(place.path("train").read_bytes())
    place.table.unlink(missing_ok=True)
    images._remove(place.stimuli / NAMES["train"])
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    place.path("train").write_bytes(content)
    place.write_record("train")  # as if it had come so
    refusal = None
    try:
        check(place, place.run())
    except InputError as error:
        refusal = str(error)
    assert refusal is None or str(place.path("train")) in refusal
    assert place.table.exists() == (refusal is None)


def test_offsets_beyond_the_archive_are_refused(place):
    data = bytearray(place.path("train").read_bytes())
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = b"\xff\xff\xff\x7f"  # size of the table of contents
    place.path("train").write_bytes(data)
    place.write_record("train")
    assert "not a complete zip archive" in place.refused()


def test_absent_archive_and_foreign_records_are_refused(place):
    place.path("test").unlink()
    assert "test_images.zip: no such file" in place.refused()
    place.pack("test")
    artefact.write_json(place.record("test"), {"dataset": "things-eeg2", "files": []})
    assert "test_images.zip: in no record of a download" in place.refused()
    place.record("test").write_text("[]")
    text = place.refused()
    assert f"{place.record('test')}: not a record of files" in text


def test_full_disk_is_told_beforehand(place, monkeypatch):
    monkeypatch.setattr(images.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    assert "needed to unpack" in place.refused()


# ----------------------------------------------------------------------------------- whole archive, killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Place:
    """All 16,740 pictures under the names of the real index, 8 x 8."""
    if not THINGS.is_dir():
        pytest.skip("needs the index in ../shared/data/things-eeg2, which is not there")
    lines = (THINGS / "image_index.csv").read_text().splitlines()
    place = Place(tmp_path_factory.mktemp("whole"), [line.split(",") for line in lines[1:]])
    for split in NAMES:
        place.pack(split)
    return place


def test_killed_half_way_and_started_again(whole):
    """kill -9 while pictures are written: nothing looks finished, and the next start makes all of it."""
    spec = {"stage": "images", "format": artefact.FORMAT, "settings": whole.settings, "code": ""}
    command = [sys.executable, "-m", "brain2clip.downloads.images", "--spec", json.dumps(spec)]
    command += [part for split in NAMES for part in ("--input", f"record={whole.record(split)}")]
    command += [part for name, path in whole.outputs.items() for part in ("--output", f"{name}={path}")]
    running = subprocess.Popen(command, stderr=subprocess.PIPE)
    aside = whole.stimuli / ".training_images.part"
    limit = time.monotonic() + 60
    while not list(aside.glob("0002?_*")):
        assert running.poll() is None, running.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    running.stderr.close()
    assert aside.is_dir()
    assert not (whole.stimuli / "training_images").exists()
    assert not whole.table.exists()

    table = whole.run()
    assert not aside.exists()
    assert len(table) == 16740
    assert len(list((whole.stimuli / "training_images").iterdir())) == 1654
    check(whole, table)


def test_what_is_unpacked_is_found_quickly(whole):
    whole.run()
    written = (whole.stimuli / "training_images").stat().st_mtime_ns
    began = time.process_time()
    whole.run()
    assert time.process_time() - began < 5
    assert (whole.stimuli / "training_images").stat().st_mtime_ns == written
