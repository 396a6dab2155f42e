"""Files that the pipeline put on disk are compared with their records when they are read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import study_worlds
from PIL import Image

from brain2clip import artefact
from brain2clip.readers import contract, file_records, pictures
from brain2clip.responses import export
from brain2clip.stage import InputError


def change(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> study_worlds.World:
    return study_worlds.simulated(tmp_path_factory.mktemp("made"))


@pytest.fixture
def world(made: study_worlds.World, tmp_path: Path) -> study_worlds.World:
    """A simulated study that a test may damage."""
    shutil.copytree(made.results, tmp_path / "results")
    return study_worlds.World(made.settings, tmp_path / "results")


def trials(world: study_worlds.World) -> None:
    study_worlds.trials_of(world.study(), "01")


@pytest.mark.parametrize(
    "pattern", ["*_run-01_eeg.eeg", "*_run-01_eeg.vhdr", "*_run-01_eeg.vmrk", "*_task-test_events.tsv",
                "*_task-test_channels.tsv", "*_electrodes.tsv", "*_coordsystem.json", "*_task-test_eeg.json",
                "*_sessions.tsv"],
)  # fmt: skip
def test_a_changed_or_absent_file_of_a_simulated_subject_is_refused(world, pattern):
    (path,) = world.results.rglob(pattern)
    record = world.study().files("01")[0]
    trials(world)
    change(path)
    again = f"delete {record} and start snakemake again"
    with pytest.raises(InputError, match=rf"{path}: its content does not match {record} .*{again}"):
        trials(world)
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: no such file, .*{again}"):
        trials(world)


def test_a_file_that_the_simulation_did_not_write_is_not_read(world):
    """It would count as a sidecar of the recording, by the inheritance principle."""
    stray = world.study().root / "task-test_eeg.json"
    stray.write_text('{"SamplingFrequency": 100}')
    with pytest.raises(InputError, match=rf"{stray}: not listed in .*remove the file"):
        trials(world)


def test_the_record_of_a_subject_is_verified_and_lists_every_file(world):
    record = Path(world.study().files("01")[0])
    files = {path for path in record.parent.rglob("*") if path.is_file()} - {record}
    found = file_records.read(record, record.parent)
    assert {record.parent / name for name in found.files} == files
    text = record.read_text()
    record.write_text(text.replace('"size": 30', '"size": 31'))
    assert record.read_text() != text
    with pytest.raises(InputError, match=rf"{record}: not a record of files .*damaged"):
        trials(world)
    record.unlink()
    with pytest.raises(InputError, match=rf"{record}: not a record of files .*no such file"):
        trials(world)


def test_a_changed_table_of_pictures_is_refused(world):
    study = world.study()
    table = Path(study.stimulus_files()[0])
    whole = table.read_text()
    table.write_text(whole.replace("train-00001\ttrain", "train-00001\ttest", 1))
    for read in (study.stimulus_table, lambda: trials(world), lambda: export.read_pictures(table)):
        with pytest.raises(InputError, match=rf"{table}: .*delete {table.parent}/{file_records.NAME} and start"):
            read()
    table.write_text(whole)
    study.stimulus_table()
    (table.parent / file_records.NAME).unlink()
    with pytest.raises(InputError, match=f"{table}: no {file_records.NAME} in its folder"):
        study.stimulus_table()


def test_a_changed_picture_of_ours_is_refused_and_one_of_the_users_is_read(world, tmp_path):
    """The damage is one that a PNG reader passes over: behind the end of the picture."""
    path = Path(world.study().stimulus_table()["image"].iloc[0])
    right = pictures.read(path)
    for place in (path, tmp_path / "own.png"):
        place.write_bytes(path.read_bytes() + b"\0")
    assert Image.open(path).tobytes() == right.tobytes()
    with pytest.raises(InputError, match=rf"{path}: \d+ bytes, expected \d+ "):
        pictures.read(path)
    assert pictures.read(tmp_path / "own.png").tobytes() == right.tobytes()
    own = path.with_name("own.png")  # a user's picture among ours
    shutil.copyfile(tmp_path / "own.png", own)
    assert pictures.read(own).tobytes() == right.tobytes()


@pytest.mark.parametrize(("kind", "pattern"), [
    ("god", "Subject1.h5"), ("things_eeg1", "*_eeg.vmrk"), ("things_eeg1", "*_events.tsv"),
])  # fmt: skip
def test_a_download_that_changed_is_refused(tmp_path, kind, pattern):
    world = study_worlds.WORLDS[kind](tmp_path)
    (path,) = (tmp_path / "raw").rglob(pattern)
    subject = world.subject
    study_worlds.trials_of(world.study(), subject)
    size = path.stat().st_size
    change(path)
    assert path.stat().st_size == size
    with pytest.raises(InputError, match=rf"{path}: its content does not match {world.study().files(subject)[0]}"):
        study_worlds.trials_of(world.study(), subject)


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "git-sha1"])
def test_the_hashes_of_manifests(tmp_path, algorithm):
    """``printf hello | git hash-object --stdin``, and what the other two are known to be."""
    known = {
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "md5": "5d41402abc4b2a76b9719d911017c592",
        "git-sha1": "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
    }
    (tmp_path / "a").write_text("hello")
    listed = file_records.Listed("a", 5, algorithm, known[algorithm])
    artefact.write_json(tmp_path / "record.json", file_records.content("d", [listed]))
    file_records.read(tmp_path / "record.json", tmp_path).check(tmp_path / "a")
    (tmp_path / "a").write_text("hallo")
    with pytest.raises(InputError, match=f"another {algorithm}"):
        file_records.read(tmp_path / "record.json", tmp_path).check(tmp_path / "a")


def test_a_file_is_read_once_for_its_hash_as_long_as_nobody_touches_it(tmp_path, monkeypatch):
    """Pictures and tables are looked at again and again by one job."""
    read = []
    digest = file_records.digest
    monkeypatch.setattr(file_records, "digest", lambda path, algorithm: (read.append(path), digest(path, algorithm))[1])
    (tmp_path / "a").write_text("hello")
    file_records.write(tmp_path / file_records.NAME, "d", [tmp_path / "a"])
    read.clear()
    for _ in range(3):
        file_records.check_own(tmp_path / "a")
    assert read == [tmp_path / "a"]


def test_planning_reads_no_file_of_a_dataset(made, monkeypatch):
    """Gigabytes would be read whenever snakemake looks at what there is to do."""
    monkeypatch.setattr(file_records, "digest", None)
    study = contract.load("mine", made.settings, made.results)
    assert study.files("01")
    assert study.stimulus_files()
    assert study.recordings("01")
    assert study.label_digest() is study.catalogue_digest() is None
