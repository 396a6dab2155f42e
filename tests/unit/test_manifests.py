"""Manifests: what is refused, and how files are grouped into downloads."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain2clip.readers import manifests
from brain2clip.readers.manifests import Entry, unit_of, units
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[2]
EEG2 = ROOT / "workflow/manifests/things-eeg2.csv"
HEADER = "path,size_bytes,hash_algorithm,hash,url\n"
SHA = "0" * 64
URL = "https://example.org/x"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "manifest.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz"])
def test_a_quote_that_is_not_closed_in_a_long_table_is_refused(tmp_path, name):
    rows = "".join(f"sub-01/x{number}.bdf,12,sha256,{SHA},{URL}\n" for number in range(2000))
    content = f'{HEADER}"{rows}'.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError, match=rf"{name}: line \d+: not a table \(field larger.*quotes in pairs"):
        manifests.read(tmp_path / name)


def test_read(tmp_path):
    path = table(tmp_path, f"b.bdf,12,sha256,{SHA},{URL}", f"a.tsv,,git-sha1,{'1' * 40},file:///data/a.tsv")
    assert manifests.read(path) == (
        Entry("b.bdf", 12, "sha256", SHA, URL),
        Entry("a.tsv", None, "git-sha1", "1" * 40, "file:///data/a.tsv"),
    )


def test_a_changed_table_is_read_again(tmp_path):
    path = table(tmp_path, f"b.bdf,12,sha256,{SHA},{URL}")
    first = manifests.read(path)
    assert manifests.read(path) is first
    table(tmp_path, f"b.bdf,1234,sha256,{SHA},{URL}")
    assert manifests.read(path)[0].size == 1234


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (f"/etc/passwd,1,sha256,{SHA},{URL}", "expected a relative path"),
        (f"../a,1,sha256,{SHA},{URL}", "expected a relative path"),
        (f"a/../../b,1,sha256,{SHA},{URL}", "expected a relative path"),
        (f"a//b,1,sha256,{SHA},{URL}", "expected a relative path"),
        (f"./a,1,sha256,{SHA},{URL}", "expected a relative path"),
        (f"a/,1,sha256,{SHA},{URL}", "expected a relative path"),
        (f",1,sha256,{SHA},{URL}", "expected a relative path"),
        (f".,1,sha256,{SHA},{URL}", "expected a relative path"),
        (f"a\\b,1,sha256,{SHA},{URL}", "expected '/' between folders"),
        (f"a\x07b,1,sha256,{SHA},{URL}", "no control characters"),
        (f'"a\nb",1,sha256,{SHA},{URL}', "no control characters"),
        (f"a,1,sha256,{SHA[:-1]},{URL}", "expected 64 lower-case hexadecimal digits for sha256"),
        (f"a,1,md5,{SHA},{URL}", "expected 32 lower-case"),
        (f"a,1,git-sha1,{'g' * 40},{URL}", "expected 40 lower-case"),
        (f"a,1,sha1,{'0' * 40},{URL}", "hash algorithm 'sha1'; expected one of sha256, md5, git-sha1"),
        (f"a,-1,sha256,{SHA},{URL}", "size_bytes '-1'"),
        (f"a,1e3,sha256,{SHA},{URL}", "size_bytes '1e3'"),
        (f"a,1,sha256,{SHA},ftp://example.org/x", "url 'ftp://example.org/x'"),
        (f"a,1,sha256,{SHA},file://host/x", "expected https://"),
        (f"a,1,sha256,{SHA},https:///x", "expected https://"),
        (f"a,1,sha256,{SHA},https://example.org/a b", "expected https://"),
        (f"a,1,sha256,{SHA},https://[::1/x", "expected https://"),
        (f"a,1,sha256,{SHA}", "4 cells; expected 5"),
    ],
)
def test_refusals(tmp_path, row, words):
    path = table(tmp_path, f"ok,1,sha256,{SHA},{URL}", row)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        manifests.read(path)
    assert f"{path}: line {3 + row.count(chr(10))}" in str(error.value)


def test_refusals_of_tables(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such manifest"):
        manifests.read(tmp_path / "none.csv")
    row = f"a,1,sha256,{SHA},{URL}"
    with pytest.raises(InputError, match="line 3: path 'a' occurs twice"):
        manifests.read(table(tmp_path, row, row))
    with pytest.raises(InputError, match="header 'path,size,hash'; expected 'path,size_bytes,"):
        manifests.read(table(tmp_path, row, header="path,size,hash\n"))
    with pytest.raises(InputError, match="header ''"):
        manifests.read(table(tmp_path, header=""))
    with pytest.raises(InputError, match="no row below the header"):
        manifests.read(table(tmp_path))
    (tmp_path / "manifest.csv").write_bytes(HEADER.encode() + b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8 text"):
        manifests.read(tmp_path / "manifest.csv")


def test_a_compressed_manifest_is_read_and_written(tmp_path):
    entries = (Entry("ä.tsv", 3, "md5", "1" * 32, "file:///a"), Entry("b.bdf", None, "sha256", SHA, URL))
    kept, again = tmp_path / "x.csv.gz", tmp_path / "another-name.csv.gz"
    manifests.write(kept, reversed(entries))
    assert manifests.read(kept) == tuple(sorted(entries, key=lambda entry: entry.path))
    assert gzip.decompress(kept.read_bytes()).decode() == manifests.text(entries)
    manifests.write(again, entries)
    assert again.read_bytes() == kept.read_bytes()
    assert kept.read_bytes()[3:8] == bytes(5)  # no name, no time


@pytest.mark.parametrize("kept", [lambda whole: HEADER.encode(), lambda whole: whole[:-9], lambda whole: whole[:20]])
def test_what_is_no_complete_gzip_file_is_refused(tmp_path, kept):
    path = tmp_path / "x.csv.gz"
    manifests.write(path, [Entry(f"{number}.bdf", number, "sha256", SHA, URL) for number in range(50)])
    path.write_bytes(kept(path.read_bytes()))
    with pytest.raises(InputError, match=r"x\.csv\.gz: not a complete gzip file"):
        manifests.read(path)


# -------------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("sub-01/ses-01/eeg/sub-01_ses-01_task-train_run-01_eeg.bdf", "sub-01_ses-01_task-train_run-01"),
        ("sub-01/ses-01/eeg/sub-01_ses-01_task-train_run-01_events.json", "sub-01_ses-01_task-train_run-01"),
        ("sub-01/ses-01/eeg/sub-01_ses-01_task-test_eeg.bdf", "sub-01_ses-01_task-test"),
        ("sub-01/ses-01/eeg/sub-01_ses-01_task-test_space-CapTrak_electrodes.tsv", "sub-01_ses-01_task-test"),
        ("sub-01/ses-01/eeg/sub-01_ses-01_space-CapTrak_electrodes.tsv", "sub-01_ses-01"),
        ("sub-01/ses-01/sub-01_ses-01_scans.tsv", "sub-01_ses-01"),
        ("sub-02/eeg/sub-02_task-rsvp_eeg.eeg", "sub-02_task-rsvp"),
        ("sub-02/eeg/sub-02_task-rsvp_events.tsv", "sub-02_task-rsvp"),
        ("sub-02/sub-02_scans.tsv", "sub-02"),
        ("participants.tsv", "dataset"),
        (".bidsignore", "dataset"),
        ("images.zip", "dataset"),
        ("stimuli/training_images.zip", "stimuli-training_images"),
        ("stimuli/LICENSE.txt", "stimuli-LICENSE--txt"),
        ("derivatives/preprocessed_eeg/sub-01.zip", "derivatives-preprocessed_eeg-sub-01"),
    ],
)
def test_unit_of(path, unit):
    assert unit_of(path) == unit


@pytest.fixture(scope="module")
def eeg2() -> dict[str, tuple[Entry, ...]]:
    return units(manifests.read(EEG2))


def test_every_file_is_in_exactly_one_unit(eeg2):
    paths = [entry.path for files in eeg2.values() for entry in files]
    assert len(paths) == len(set(paths)) == 1736
    assert set(paths) == {entry.path for entry in manifests.read(EEG2)}
    assert list(eeg2) == sorted(eeg2)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in eeg2)
    assert all(unit_of(entry.path) == name for name, files in eeg2.items() for entry in files)


def test_each_recording_is_a_unit_with_its_sidecars(eeg2):
    recordings = {name: files for name, files in eeg2.items() if "_task-" in name}
    assert len(recordings) == 319
    for name, files in recordings.items():
        endings = [entry.path.rpartition("/")[2].removeprefix(f"{name}_") for entry in files]
        assert endings == ["channels.tsv", "eeg.bdf", "eeg.json", "events.json", "events.tsv"]
    assert "sub-04_ses-04_task-rest_run-01" in recordings
    assert "sub-04_ses-04_task-rest_run-02" not in recordings


def test_sessions_and_archives(eeg2):
    sessions = [name for name in eeg2 if re.fullmatch(r"sub-\d+_ses-\d+", name)]
    assert len(sessions) == 40
    assert all(len(eeg2[name]) == 3 for name in sessions)
    assert [entry.path for entry in eeg2["stimuli-test_images"]] == ["stimuli/test_images.zip"]
    assert sum("derivatives-preprocessed_eeg-sub-" in name for name in eeg2) == 10


SHIPPED = ROOT / "workflow/manifests"


def _by_subject(entries: tuple[Entry, ...], ending: str = "") -> dict[str, tuple[int, int]]:
    """Number of files with an ending, and their bytes, by subject (derivatives included)."""
    found: dict[str, tuple[int, int]] = {}
    for entry in entries:
        subject = re.search(r"sub-([A-Za-z0-9]+)", entry.path)
        if subject and entry.path.endswith(ending):
            count, size = found.get(subject.group(1), (0, 0))
            found[subject.group(1)] = (count + 1, size + (entry.size or 0))
    return found


def test_things_meg_as_it_is_shipped():
    entries = manifests.read(SHIPPED / "things-meg.csv.gz")
    kinds = Counter(re.split("[_.]", entry.path)[-2] + "." + entry.path.rpartition(".")[2] for entry in entries)
    assert kinds == {
        **{"meg.meg4": 480, "meg.res4": 480, "meg.hc": 480, "events.tsv": 480},
        **{"channels.tsv": 470, "meg.json": 468, "coordsystem.json": 467},
    }
    assert len(entries) - kinds["coordsystem.json"] == 2858  # what reading needs
    assert _by_subject(entries) == {
        "BIGMEG1": (839, 62525247381),
        "BIGMEG2": (836, 62525245139),
        "BIGMEG3": (840, 62525246249),
        "BIGMEG4": (810, 62525039570),
    }
    assert {entry.size for entry in entries if entry.path.endswith(".meg4")} == {517824008}
    assert Counter(entry.algorithm for entry in entries) == {"sha256": 1440, "git-sha1": 1885}
    assert all(("?versionId=" in entry.url) == (entry.algorithm == "sha256") for entry in entries)
    # A unit for each run, with its .ds folder and sidecars, and nothing else.
    grouped = units(entries)
    assert len(grouped) == 480
    assert all(re.fullmatch(r"sub-BIGMEG[1-4]_ses-\d\d_task-main_run-\d\d", name) for name in grouped)
    assert len(grouped["sub-BIGMEG4_ses-02_task-main_run-01"]) == 4  # sub-BIGMEG4 ses-02 has no sidecars but events


def test_bold5000_as_it_is_shipped():
    entries = manifests.read(SHIPPED / "bold5000.csv.gz")
    bold = {"CSI1": 142, "CSI2": 142, "CSI3": 142, "CSI4": 84}
    for ending in ("_bold.nii.gz", "_bold.json", "_events.tsv"):
        assert {name: count for name, (count, _) in _by_subject(entries, ending).items()} == bold
    masks = [entry for entry in entries if entry.path.startswith("derivatives/spm/")]
    assert len(masks) == 40
    assert len(entries) == 3 * 510 + 40
    assert {name: size for name, (_, size) in _by_subject(entries).items()} == {
        **{"CSI1": 22528817368, "CSI2": 22136305829, "CSI3": 21185295283, "CSI4": 12485487607}
    }
    assert Counter(entry.algorithm for entry in entries) == {"md5": 550, "git-sha1": 1020}
    assert not any("versionId" in entry.url for entry in entries)  # none is known of a bold file


PART = st.text(alphabet="ab-_.é ", min_size=1, max_size=4).filter(lambda text: text not in (".", ".."))
NAMES = st.sampled_from(["sub", "sub-a", "sub-a_b.zip", "a.zip", "a", "a.txt", "zip", "a--txt", "a-b.zip"])


@given(st.sets(st.lists(PART | NAMES, min_size=2, max_size=4).map("/".join), min_size=2, max_size=6))
def test_no_two_files_outside_subjects_share_a_unit(paths):
    names = {path: unit_of(path) for path in paths if not re.match("sub-[A-Za-z0-9]+/", path)}
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in names.values())
    assert "dataset" not in names.values()


LABEL = st.sampled_from(["01", "1", "a", "run", "ses01"])


@given(
    LABEL, st.none() | LABEL, LABEL, st.none() | LABEL, st.sampled_from(["eeg.bdf", "events.tsv", "desc-x_eeg.json"])
)
def test_a_recording_unit_names_its_entities(subject, session, task, run, ending):
    session_part = [f"ses-{session}"] if session else []
    expected = "_".join([f"sub-{subject}", *session_part, f"task-{task}", *([f"run-{run}"] if run else [])])
    folder = "/".join([f"sub-{subject}", *session_part, "eeg"])
    assert unit_of(f"{folder}/{expected}_{ending}") == expected


# ------------------------------------------------------------------------------------------------ command


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brain2clip.readers.manifests", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_sorts_and_says_how_much(tmp_path):
    source = table(tmp_path, f"b,2000000000,sha256,{SHA},{URL}", f'"a,1",,md5,{"2" * 32},{URL}')
    done = run(source, tmp_path / "made/x.csv")
    assert done.returncode == 0
    assert "x.csv: 2 files, 2.0 GB, 1 of unknown size" in done.stdout
    made = tmp_path / "made/x.csv"
    assert made.read_bytes() == f'{HEADER}"a,1",,md5,{"2" * 32},{URL}\nb,2000000000,sha256,{SHA},{URL}\n'.encode()
    assert manifests.read(made) == tuple(reversed(manifests.read(source)))


def test_command_writes_nothing_from_a_wrong_table(tmp_path):
    done = run(table(tmp_path, f"../b,2,sha256,{SHA},{URL}"), tmp_path / "x.csv")
    assert done.returncode == 1
    assert "line 2: path '../b'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.csv").exists()


def test_the_kept_manifest_is_what_the_command_makes():
    assert EEG2.read_text(encoding="utf-8") == manifests.text(manifests.read(EEG2))


@pytest.mark.parametrize("name", ["things-meg", "bold5000"])
def test_compressed_manifests_follow_the_shared_tables(shared_data, name):
    kept = (SHIPPED / f"{name}.csv.gz").read_bytes()
    assert kept[3:8] == bytes(5)
    source = (shared_data(name) / "manifest.csv.gz").read_bytes()
    assert gzip.decompress(kept) == gzip.decompress(source)


def test_kept_manifests_follow_the_shared_tables(shared_data):
    source = shared_data("things-eeg2")
    assert manifests.text(manifests.read(source / "manifest.csv")) == EEG2.read_text(encoding="utf-8")
    kept = ROOT / "workflow/manifests/things-eeg2-images.csv"
    assert kept.read_bytes() == (source / "image_index.csv").read_bytes()


def test_reading_is_light():
    code = "import sys, brain2clip.readers.manifests; print(*{'mne', 'torch', 'pooch', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
