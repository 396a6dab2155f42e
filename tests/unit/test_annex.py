"""Manifests from the metadata of git-annex: keys, versions, addresses, and which files are listed."""

from __future__ import annotations

import hashlib
import re
import tarfile
import time
import zipfile
from pathlib import Path
from urllib.parse import unquote

import annex_repository as made_up
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain2clip.cli import main
from brain2clip.readers import annex, manifests, repositories
from brain2clip.readers.manifest_choice import Wanted, describe
from brain2clip.readers.manifests import Entry
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[2]
MD5 = "0123456789abcdef" * 2
SHA = "fedcba9876543210" * 4
S3 = "https://s3.amazonaws.com/openneuro.org/"


def listed(folder: Path, accession: str = "ds004212", version: str | None = None, **wanted: object) -> dict[str, Entry]:
    """Entries of a repository on disk by path."""
    made = make(folder, accession, version, **wanted)
    return {entry.path: entry for entry in made.entries}


def make(folder: Path, accession: str = "ds004212", version: str | None = None, **wanted: object) -> annex.Made:
    with repositories.opened("https://example.org/x", str(folder), version) as repository:
        return annex.make(accession, repository, version, Wanted(**wanted))


# --------------------------------------------------------------------------------------------------- keys


@given(
    st.sampled_from(["MD5", "MD5E", "SHA256", "SHA256E"]),
    st.integers(0, 10**15),
    st.none() | st.integers(0, 10**10),
    st.binary(min_size=1, max_size=5),
    st.sampled_from(["", ".bdf", ".nii.gz", ".1_meg4", ".é"]),
)
def test_keys_tell_size_and_hash(backend, size, mtime, content, extension):
    algorithm = "md5" if backend.startswith("MD5") else "sha256"
    digest = hashlib.new(algorithm, content).hexdigest()
    extension = extension if backend.endswith("E") else ""
    text = f"{backend}-s{size}{'' if mtime is None else f'-m{mtime}'}--{digest}{extension}"
    key = annex.read_key(text)
    assert (key.text, key.algorithm, key.hash, key.size) == (text, algorithm, digest, size)
    assert annex.key_of_link(made_up.link(text, "a/b/c").decode()) == text
    assert annex.key_of_link(made_up.pointer(text).decode().strip()) == text
    path = annex.log_path(text)
    assert re.fullmatch(r"[0-9a-f]{3}/[0-9a-f]{3}/.+\.log\.rmet", path)
    assert hashlib.md5(text.encode()).hexdigest().startswith(path[:7].replace("/", ""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("URL--http&c%%example.org%a.edf", "backend URL"),
        ("URL-s12--http&c%%example.org%a.edf", "backend URL"),
        ("WORM-s3-m1300000000--a.edf", "backend WORM"),
        (f"SHA1-s3--{'0' * 40}", "backend SHA1"),
        (f"MD5E--{MD5}.edf", "no size"),
        (f"SHA256E-s3-S100-C2--{SHA}.edf", "part of a file"),
        (f"SHA256E-s3--{MD5}.edf", "no sha256"),
        (f"MD5-s3--{MD5}.edf", "no md5"),
        (f"MD5E-s3--{MD5.upper()}.edf", "no md5"),
        ("something", "not a key"),
    ],
)
def test_keys_that_tell_nothing_are_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        annex.read_key(text)
    repository = made_up.Repository()
    repository.annexed("sub-01/eeg/sub-01_task-x_eeg.edf", text)
    repository.put("README", b"x")
    folder = repository.write(tmp_path / "clone")
    with pytest.raises(InputError, match=rf"sub-01_task-x_eeg\.edf \(.*{words}.*\n  leave them out \(--exclude"):
        make(folder)
    assert list(listed(folder, exclude=("*.edf",))) == ["README"]


def test_logs_are_where_git_annex_has_them():
    """Paths that OpenNeuro's own code is tested with; files in git are exported under keys of their own."""
    known = {
        "GIT--99fe93bfea62c16a10488593da870df25d09be81": "0f5/0b4",
        "SHA1--99fe93bfea62c16a10488593da870df25d09be81": "9e2/03e",
        "MD5E-s12102144--d614929593bf2a7cccea90bea67255f4.bdf": "9ce/c07",
    }
    for key, folder in known.items():
        assert annex.log_path(key) == f"{folder}/{key}.log.rmet"


# --------------------------------------------------------------------------------------------------- logs

WORD = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r#", exclude_categories=["Cs"]), max_size=8)


@given(WORD.filter(bool), WORD, st.booleans())
def test_values_are_read_plain_and_in_base64(identity, name, forced):
    encoded = forced or bool(re.search(r"[ \r\n]", identity + name)) or identity.startswith("!")
    (found,), strange = annex.read_versions(made_up.version(identity, name, encoded=encoded).encode())
    assert (found.id, found.object, found.remote, strange) == (identity, name, made_up.OPENNEURO, 0)


def versions(*lines: str) -> str | None:
    found, strange = annex.read_versions("".join(f"{line}\n" for line in lines).encode())
    assert strange == 0
    return annex.newest(found, [made_up.OPENNEURO], "ds/a.bdf")


def test_the_newest_version_of_the_same_path_counts():
    one, other = made_up.version("old", "ds/a.bdf", "10.25"), made_up.version("new", "ds/a.bdf", "10.3")
    assert versions(one, other) == versions(other, one) == "new"
    assert versions(made_up.version("a", "ds/a.bdf", "9"), made_up.version("b", "ds/a.bdf", "10")) == "b"
    assert versions(one, made_up.version("later", "ds/b.bdf", "11")) == "old"  # the same content under another name
    assert versions(one, made_up.version("private", "ds/a.bdf", "11", uuid=made_up.PRIVATE)) == "old"
    assert versions(made_up.version("x", "ds/a.bdf.bak")) is None
    both = f"10s {made_up.OPENNEURO}:V +one#ds/b.bdf +two#ds/a.bdf {made_up.PRIVATE}:V +three#ds/a.bdf"
    assert versions(both) == "two"
    assert versions(f"10s {made_up.OPENNEURO}:X +one#ds/a.bdf") is None


def test_what_was_taken_back_counts_no_longer():
    one, other = made_up.version("old", "ds/a.bdf", "10"), made_up.version("new", "ds/a.bdf", "11")
    gone = made_up.version("new", "ds/a.bdf", "12", sign="-", encoded=True)
    assert versions(one, gone, other) == "old"
    assert versions(one, other, gone, made_up.version("new", "ds/a.bdf", "13")) == "new"
    assert versions(other, made_up.version("new", "ds/a.bdf", "11", sign="-")) is None


def test_lines_that_are_not_understood_are_counted():
    found, strange = annex.read_versions(b"what is this\n1s u:V +!%%% +a#b\n2s u:V +c#d\n")
    assert ([one.id for one in found], strange) == (["a", "c"], 2)


def test_remotes_are_read_with_their_newest_line_and_entities():
    lines = [
        made_up.remote(prefix="old/", time="1.5"),
        made_up.remote(prefix="a&32;b&38;/", time="20.5"),
        made_up.remote(prefix="older/", time="3"),
        f"{made_up.PRIVATE} type=S3 name=other bucket=b",
    ]
    found = annex.read_remotes("\n".join(lines).encode())
    assert found[made_up.OPENNEURO]["fileprefix"] == "a b&/"
    assert found[made_up.PRIVATE] == {"type": "S3", "name": "other", "bucket": "b"}


def test_an_entity_that_is_no_letter_stays():
    (found,) = annex.read_remotes(b"uuid name=a&99999999999;&32;b timestamp=1s").values()
    assert found["name"] == "a&99999999999; b"


def test_branches_may_have_any_name(tmp_path):
    folder = small().write(tmp_path / "clone")
    expected = listed(folder)
    made_up.git("-C", str(folder), "branch", "a\u2028b\u0085c", "main")
    assert listed(folder) == expected


# ------------------------------------------------------------------------------------------------ stores


def test_stores_of_openneuro_and_nemar():
    none = annex.find_store("ds004212", {})
    assert none.address("a b/ü+#?.tsv") == f"{S3}ds004212/a%20b/%C3%BC%2B%23%3F.tsv"
    assert none.remotes == ()
    known = annex.read_remotes(
        "\n".join(
            [made_up.remote(), made_up.remote(made_up.PRIVATE, bucket="openneuro.private", public=False)]
        ).encode()
    )
    assert annex.find_store("ds004212", known) == annex.Store(S3, "ds004212/", True, (made_up.OPENNEURO,))
    bare = {made_up.OPENNEURO: {"type": "S3", "bucket": "openneuro.org"}}  # as some repositories have it
    assert annex.find_store("ds004212", bare) == annex.Store(S3, "ds004212/", True, (made_up.OPENNEURO,))
    other = {"u": {"type": "S3", "bucket": "b", "publicurl": "https://mirror.org/b", "fileprefix": "p/"}}
    assert annex.find_store("ds004212", other).address("x") == "https://mirror.org/b/p/x"
    nemar = annex.find_store("nm000134", {"u": {"type": "S3", "bucket": "nemar", "fileprefix": "nm000134/objects/"}})
    assert nemar.address("K") == "https://nemar.s3.us-east-2.amazonaws.com/nm000134/objects/K"
    assert nemar.address("K", "v/1") == nemar.address("K") + "?versionId=v%2F1"


def test_ambiguous_stores_are_refused():
    two = {"u": {"type": "S3", "bucket": "openneuro.org", "fileprefix": "a/"}}
    two["v"] = {"type": "S3", "bucket": "openneuro.org", "fileprefix": "b/"}
    with pytest.raises(InputError, match="prefixes 'a/', 'b/'"):
        annex.find_store("ds004212", two)
    others = {name: {"type": "S3", "bucket": name, "publicurl": f"https://{name}.org"} for name in "uv"}
    with pytest.raises(InputError, match="several public buckets"):
        annex.find_store("ds004212", others)
    with pytest.raises(InputError, match="names file:///etc/ as the place of its files; expected an address https"):
        annex.find_store("ds004212", {"u": {"type": "S3", "bucket": "x", "publicurl": "file:///etc/"}})
    with pytest.raises(InputError, match="ds000001: the repository belongs to another dataset, with files in openn"):
        annex.find_store("ds000001", annex.read_remotes(made_up.remote().encode()))
    with pytest.raises(InputError, match="not an accession; expected ds and six digits"):
        annex.archive("ds42")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_addresses_are_encoded_once(name):
    address = annex.find_store("ds004212", {}).address(name)
    assert unquote(address.removeprefix(S3)) == f"ds004212/{name}"
    assert address.isascii()
    assert not set(address) & set(' ?#"<>\\')


# --------------------------------------------------------------------------------------------- repositories

EDF = "sub-01/eeg/sub-01_task-x_eeg.edf"


def small() -> made_up.Repository:
    repository = made_up.Repository(logs={"remote.log": (made_up.remote() + "\n").encode()})
    repository.put("dataset_description.json", b"{}")
    repository.put(".gitattributes", b"* annex.largefiles=nothing")
    repository.put(".datalad/config", b"")
    repository.put("._README", b"")
    repository.put("sub-01/eeg/.DS_Store", b"")
    repository.put("sub-01/eeg/a file (ü) 100%.tsv", b"onset")
    repository.put("derivatives/clean/x.tsv", b"x")
    repository.put("derivatives/spm/sub-01/sub-01_mask-LOC.nii.gz", b"mask")
    repository.put("sourcedata/x.log", b"x")
    repository.annexed(
        EDF,
        f"SHA256E-s70000--{SHA}.edf",
        made_up.version("first", f"ds004212/{EDF}", "5"),
        made_up.version("second", f"ds004212/{EDF}", "6"),
        made_up.version("elsewhere", f"ds004212/old/{EDF}", "7"),
    )
    second = "sub-02/eeg/sub-02_task-x_eeg.edf"
    repository.annexed(
        second,
        f"MD5E-s7--{MD5}.edf",
        made_up.version("with space", f"ds004212/{second}", encoded=True),
        unlocked=True,
    )
    return repository


def test_a_manifest_of_a_small_repository(tmp_path):
    folder = small().write(tmp_path / "clone")
    made = make(folder)
    found = {entry.path: entry for entry in made.entries}
    assert list(found) == ["dataset_description.json", "sub-01/eeg/a file (ü) 100%.tsv", EDF, EDF.replace("01", "02")]
    assert found[EDF] == Entry(EDF, 70000, "sha256", SHA, f"{S3}ds004212/{EDF}?versionId=second")
    unlocked = found[EDF.replace("01", "02")]
    assert (unlocked.size, unlocked.algorithm, unlocked.hash) == (7, "md5", MD5)
    assert unlocked.url.endswith("?versionId=with%20space")
    text = found["sub-01/eeg/a file (ü) 100%.tsv"]
    assert (text.size, text.algorithm) == (5, "git-sha1")
    assert text.hash == hashlib.sha1(b"blob 5\0onset").hexdigest()
    assert text.url == f"{S3}ds004212/sub-01/eeg/a%20file%20%28%C3%BC%29%20100%25.tsv"
    assert (made.annexed, made.versioned, made.notes) == (2, 2, [])
    assert made.left_out == {
        "._*, .DS_Store, *.bak": 2,
        "files of the repository itself (.git*, .datalad)": 2,
        "derivatives (--derivatives takes them)": 2,
        "sourcedata (--sourcedata takes it)": 1,
    }
    manifests.write(tmp_path / "x.csv.gz", made.entries)
    assert manifests.read(tmp_path / "x.csv.gz") == tuple(sorted(made.entries, key=lambda entry: entry.path))


def test_versions_of_files_in_git_are_taken_where_the_log_has_them(tmp_path):
    repository = small()
    sha = hashlib.sha1(b"blob 2\0{}").hexdigest()
    line = made_up.version("pinned", "ds004212/dataset_description.json")
    repository.logs[annex.log_path(f"GIT--{sha}")] = line.encode()
    folder = repository.write(tmp_path / "clone")
    assert listed(folder)["dataset_description.json"].url.endswith("dataset_description.json?versionId=pinned")


@pytest.mark.parametrize("form", ["bare", "folder", "dotgit", "tar", "tar.gz", "zip", "bare.tar", "address"])
def test_every_form_of_a_clone_gives_the_same(tmp_path, form, monkeypatch):
    bare = form in ("bare", "bare.tar", "address")
    folder = small().write(tmp_path / "ds004212", bare=bare, tags={"1.0": "main"})
    (folder / ("" if bare else ".git") / "annex/objects/ab").mkdir(parents=True)
    (folder / ("" if bare else ".git") / "annex/objects/ab/data").write_bytes(b"gigabytes")
    expected = listed(folder)
    source = {"dotgit": str(folder / ".git"), "address": f"file://{folder}"}.get(form, str(folder))
    if "tar" in form:
        made_up.git("-C", str(folder), "pack-refs", "--all")
        source = str(tmp_path / f"clone.{form.removeprefix('bare.')}")
        with tarfile.open(source, "w:gz" if form.endswith("gz") else "w") as packed:
            packed.add(folder, "ds004212" if form != "bare.tar" else ".")
    if form == "zip":
        source = str(tmp_path / "clone.zip")
        with zipfile.ZipFile(source, "w") as packed:
            for path in folder.rglob("*"):
                packed.write(path, path.relative_to(tmp_path))
    if form == "address":
        monkeypatch.setenv("GIT_DIR", str(tmp_path))  # of a hook of another repository
    for version in (None, "1.0"):
        with repositories.opened("https://example.org/x", source, version) as repository:
            made = annex.make("ds004212", repository, version, Wanted())
            unpacked = repository.folder
        assert {entry.path: entry for entry in made.entries} == expected
        assert "1.0" in made.revision.said
        assert unpacked.exists() == (form in ("bare", "folder", "dotgit"))


def test_branches_and_tags(tmp_path):
    folder = small().write(
        tmp_path / "clone", {"main": 1700000000, "master": 1600000000}, {"2.0.0": "master", "v3": "main"}
    )
    made = make(folder)
    assert "branch main, the newest (not master), tag v3" in made.revision.said
    assert "branch-main" in {entry.path for entry in made.entries}
    for version, branch in (("2.0.0", "master"), ("3", "main"), ("v3", "main"), ("master", "master")):
        assert f"branch-{branch}" in listed(folder, version=version)
    assert "branch-main" in listed(folder, version=made.revision.commit[:12])
    with pytest.raises(
        InputError, match=r"no tag, branch or commit '2\.0\.1' \(did you mean '2\.0\.0'\?\); tags: 2\.0\.0, v3"
    ):
        make(folder, version="2.0.1")
    with pytest.raises(InputError, match=r"no tag or branch '2\.0\.1' \(did you mean '2\.0\.0'"):
        make(f"file://{folder}", version="2.0.1")
    older = small().write(tmp_path / "other", {"main": 1600000000, "master": 1700000000})
    assert "branch master, the newest (not main), which has no tag" in make(older).revision.said
    assert "branch-master" in listed(f"file://{older}")
    equal = small().write(tmp_path / "equal", {"main": 5, "master": 5})
    with pytest.raises(InputError, match="main and master have the same time and differ; name a tag"):
        make(equal)
    neither = small().write(tmp_path / "neither", {"draft": 5}, {"1.0": "draft"})
    with pytest.raises(InputError, match=r"no branch main or master; name a tag with --version \(tags: 1\.0"):
        make(neither)


def test_logs_of_a_clone_and_of_its_origin_are_read_together(tmp_path):
    origin = small().write(tmp_path / "origin")
    made_up.git("clone", "-q", "--no-checkout", str(origin), str(tmp_path / "clone"))
    expected = listed(origin)
    assert listed(tmp_path / "clone") == expected  # only origin/git-annex is there
    old = made_up.Repository(logs={"remote.log": b""})
    old.write(tmp_path / "old")
    made_up.git("-C", str(tmp_path / "clone"), "fetch", "-q", str(tmp_path / "old"), "git-annex:git-annex")
    assert listed(tmp_path / "clone") == expected


def test_without_the_branch_of_the_annex_no_version_is_known_and_that_is_said(tmp_path):
    made = make(small().write(tmp_path / "clone", with_annex=False))
    assert made.versioned == 0
    assert "this clone has no branch git-annex" in made.notes[0]


@pytest.mark.parametrize("content", ["", "0" * 40, "\0" * 41])
def test_a_damaged_branch_is_not_a_branch_that_is_not_there(tmp_path, content):
    """Git leaves it out with a warning; versions would be lost, or an older branch taken."""
    folder = small().write(tmp_path / "clone")
    (folder / "refs/heads/git-annex").write_text(content)
    with pytest.raises(InputError, match="clone: git says: warning: ignoring broken ref refs/heads/git-annex"):
        make(folder)


def test_nemar_keeps_files_under_their_keys(tmp_path):
    key = f"SHA256E-s7--{SHA}.edf"
    repository = made_up.Repository()
    repository.put("CHANGES", b"1")
    repository.annexed(EDF, key)
    repository.annexed("stimuli/images.zip", f"SHA256E-s8--{SHA}.zip", unlocked=True)
    folder = repository.write(tmp_path / "clone", tags={"v1.0.1": "main"})
    found = listed(folder, "nm000134", "1.0.1")
    assert found[EDF].url == f"https://nemar.s3.us-east-2.amazonaws.com/nm000134/objects/{key}"
    assert found["stimuli/images.zip"].size == 8
    assert found["CHANGES"].url == "https://raw.githubusercontent.com/nemarDatasets/nm000134/v1.0.1/CHANGES"


def test_links_and_repositories_within_are_left_out_and_said(tmp_path):
    repository = small()
    repository.files["sub-01/eeg/link.edf"] = ("120000", b"../../sub-02/eeg/x.edf")
    folder = repository.write(tmp_path / "clone")
    made = make(folder)
    assert made.left_out["links to other files"] == 1
    assert "sub-01/eeg/link.edf" not in {entry.path for entry in made.entries}


def test_text_that_only_looks_like_a_pointer_is_a_file_in_git(tmp_path):
    repository = small()
    repository.put("notes.txt", b"see /annex/objects/SHA256E-s1--x\n")
    assert listed(repository.write(tmp_path / "clone"))["notes.txt"].algorithm == "git-sha1"


def test_paths_that_lead_out_are_refused(tmp_path):
    folder = small().write(tmp_path / "clone")
    blob = made_up.git("-C", str(folder), "hash-object", "-w", "--stdin", input=b"x").strip().decode()
    inner = b"100644 passwd\0" + bytes.fromhex(blob)
    place = ("-C", str(folder), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
    tree = made_up.git(*place, input=inner).strip().decode()
    top = made_up.git(*place, input=b"40000 ..\0" + bytes.fromhex(tree)).strip().decode()
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    commit = made_up.git("-C", str(folder), *who, "commit-tree", top, input=b"t").strip().decode()
    with pytest.raises(InputError, match=r"path '\.\./passwd'; expected a relative path without '\.\.'"):
        make(folder, version=commit)


@pytest.mark.parametrize("accession", ["ds004212", "nm000134"])
def test_names_that_are_no_utf8_are_refused_in_words(tmp_path, accession):
    repository = made_up.Repository()
    repository.put("sub-01/note\udcff.txt", b"x")
    folder = repository.write(tmp_path / "clone")
    with pytest.raises(InputError, match=r"(?s)path 'sub-01/note\\udcff\.txt'; expected .*no control.*--exclude"):
        make(folder, accession)


def test_what_is_no_repository_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no repository of git"):  # not the one above that this test may lie in
        make(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder or file"):
        make(tmp_path / "none")
    (tmp_path / "x.tar").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read as a tar or zip archive"):
        make(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "files.tar", "w") as packed:
        packed.add(tmp_path / "empty", "x")
    with pytest.raises(InputError, match="expected the repository of one dataset inside; found none"):
        make(tmp_path / "files.tar")
    with pytest.raises(InputError, match=r"could not be fetched\. Without a network, clone it elsewhere"):
        make(f"file://{tmp_path}/none")


def test_a_damaged_archive_is_refused(tmp_path):
    folder, path = small().write(tmp_path / "clone"), tmp_path / "clone.tar.xz"
    with tarfile.open(path, "w:xz") as packed:
        packed.add(folder, "clone")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2] = bytes(255 - one for one in content[middle : middle + 2])
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"clone\.tar\.xz: cannot be read as a tar or zip archive"):
        make(path)


def test_a_clone_without_contents_is_refused(tmp_path):
    origin = small().write(tmp_path / "origin")
    made_up.git("-C", str(origin), "config", "uploadpack.allowFilter", "true")
    made_up.git("clone", "-q", "--bare", "--filter=blob:none", f"file://{origin}", str(tmp_path / "clone"))
    with pytest.raises(InputError, match=r"lacks contents of files \(made with --filter"):
        make(tmp_path / "clone")


# -------------------------------------------------------------------------------------------------- choice


def bids() -> made_up.Repository:
    repository = made_up.Repository()
    for path in (
        *("README", "participants.tsv", "task-main_events.json", "sub-01/sub-01_scans.tsv", "stimuli/a.jpg"),
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
    ):
        repository.put(path, b"x")
    for subject in ("01", "02"):
        for session in ("01", "02"):
            for task in ("main", "rest"):
                name = f"sub-{subject}/ses-{session}/meg/sub-{subject}_ses-{session}_task-{task}_run-01"
                repository.put(f"{name}_events.tsv", b"x")
                for inner in ("meg4", "res4", "hc", "acq", "bak", "1_meg4"):
                    repository.put(f"{name}_meg.ds/{name.rpartition('/')[2]}_meg.{inner}", b"x")
                repository.put(f"{name}_meg.ds/BadChannels", b"x")
                repository.put(f"{name}_meg.ds/x_hz.ds/x_hz.meg4", b"x")
    return repository


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    return bids().write(tmp_path_factory.mktemp("bids") / "clone")


def test_files_are_described_by_name_and_by_the_folder_that_is_a_recording():
    run = "sub-01/ses-02/meg/sub-01_ses-02_task-main_run-03_meg.ds/BadChannels"
    assert describe(run) == {
        **{"subject": "01", "session": "02", "task": "main", "run": "03"},
        **{"suffix": "meg", "extension": ".ds"},
    }
    assert describe("sub-01/ses-02/notes.txt") == {
        **{"subject": "01", "session": "02", "suffix": "notes", "extension": ".txt"}
    }
    assert describe("derivatives/spm/sub-CSI1/sub-CSI1_mask-LHLO.nii.gz") == {
        **{"subject": "CSI1", "suffix": "mask-LHLO", "extension": ".nii.gz"}
    }


def test_a_subset_keeps_what_belongs_to_it(clone):
    found = listed(clone, subject=("01",), session=("01",), task=("main",), minimal=True)
    name = "sub-01/ses-01/meg/sub-01_ses-01_task-main_run-01"
    folder = f"{name}_meg.ds/sub-01_ses-01_task-main_run-01_meg"
    assert set(found) == {
        *("README", "participants.tsv", "task-main_events.json", "sub-01/sub-01_scans.tsv", "stimuli/a.jpg"),
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        *(f"{folder}.{ending}" for ending in ("meg4", "res4", "hc", "1_meg4")),
        f"{name}_events.tsv",
    }
    found = listed(clone, subject=("01",), session=("01",), task=("main",), suffix=("meg", "events"), top=False)
    assert set(found) == {
        *(f"{folder}.{ending}" for ending in ("meg4", "res4", "hc", "acq", "1_meg4")),
        *(f"{name}_events.tsv", f"{name}_meg.ds/BadChannels"),
    }
    assert set(listed(clone, suffix=("T1w",))) == {
        *("README", "participants.tsv", "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz")
    }
    assert set(listed(clone, extension=("jpg", ".json"), exclude=("README", "part*"))) == {
        *("task-main_events.json", "stimuli/a.jpg")
    }


def test_derivatives_and_sourcedata_are_listed_where_they_are_asked_for(tmp_path):
    folder = small().write(tmp_path / "clone")
    assert "derivatives/clean/x.tsv" in listed(folder, derivatives=())
    found = listed(folder, derivatives=("spm",), sourcedata=True)
    assert "derivatives/clean/x.tsv" not in found
    assert {"derivatives/spm/sub-01/sub-01_mask-LOC.nii.gz", "sourcedata/x.log"} <= set(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subject": ("1",)}, r"--subject 1: no file has it \(did you mean '01'\?\); found 01, 02"),
        ({"subject": ("sub-02",)}, r"--subject sub-02: no file has it \(did you mean '02'\?\)"),
        ({"session": ("03",)}, "--session 03: no file has it"),
        ({"task": ("mian",)}, r"--task mian: no file has it \(did you mean 'main'\?\); found main, rest"),
        ({"run": ("1",)}, r"--run 1: no file has it \(did you mean '01'\?\)"),
        ({"suffix": ("event",)}, r"--suffix event: no file has it \(did you mean 'events'\?\)"),
        ({"extension": ("tsw",)}, r"--extension tsw: no file has it \(did you mean '\.tsv'\?\)"),
        ({"exclude": ("nothing/*",)}, "--exclude nothing/\\*: no file fits"),
        ({"derivatives": ("spm",)}, "--derivatives spm: no file has it; found none"),
        (
            {"task": ("rest",), "suffix": ("scans",), "exclude": ("README", "part*", "*/sub-01_scans.tsv")},
            "no file is left",
        ),
    ],
)
def test_an_option_that_fits_nothing_is_refused(clone, options, words):
    with pytest.raises(InputError, match=words):
        make(clone, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"derivatives": ()}, "--derivatives: the dataset has no folder derivatives; expected one"),
        ({"sourcedata": True}, "--sourcedata: the dataset has no folder sourcedata; expected one"),
        ({"minimal": True}, r"--ds minimal: the dataset has no folder \.ds of CTF; expected one"),
    ],
)
def test_a_folder_that_is_not_there_is_not_asked_for_in_vain(tmp_path, options, words):
    repository = made_up.Repository()
    repository.put("sub-01/eeg/sub-01_task-x_events.tsv", b"onset\n")
    folder = repository.write(tmp_path / "clone")
    with pytest.raises(InputError, match=words):
        make(folder, **options)


# -------------------------------------------------------------------------------- the manifests of the field


def rebuilt(entries: tuple[Entry, ...], accession: str) -> made_up.Repository:
    """A repository of some rows, with the litter that the real one has. Blobs in git are of their own content."""
    repository = made_up.Repository(logs={"remote.log": (made_up.remote(prefix=f"{accession}/") + "\n").encode()})
    for entry in entries:
        address, _, identity = entry.url.partition("?versionId=")
        name = unquote(address.removeprefix(S3))
        lines = [
            made_up.version("older", name, "1.5"),
            made_up.version(identity, name, "1500000000.25", encoded=len(identity) % 2 == 0),
            made_up.version("of-another-path", f"{name}.old", "1600000000"),
            made_up.version("private", name, "1700000000", uuid=made_up.PRIVATE),
            made_up.version("taken-back", name, "1600000000"),
            made_up.version("taken-back", name, "1600000001", sign="-"),
        ]
        repository.annexed(entry.path, made_up.key_of(entry), *(lines if identity else []))
        folder = entry.path.rpartition("/")[0]
        repository.put(f"{folder}/._x_events.tsv", b"x")
        if folder.endswith(".ds"):
            repository.put(f"{folder}/x_hz.ds/x_hz.meg4", b"x")
            repository.put(f"{folder}/x.acq", b"x")
    for path in ("README", "participants.tsv", "derivatives/other/x.fif", "sub-emptyroom/meg/sub-emptyroom_meg.json"):
        repository.put(path, b"x")
    return repository


@pytest.mark.parametrize(
    ("name", "accession", "options"),
    [
        (
            "things-meg",
            "ds004212",
            {"subject": tuple(f"BIGMEG{number}" for number in range(1, 5)), "task": ("main",), "minimal": True},
        ),
        (
            "bold5000",
            "ds001499",
            {"task": ("5000scenes",), "suffix": ("bold", "mask-*"), "derivatives": ("spm",)},
        ),
    ],
)
def test_the_tool_gives_the_rows_of_the_shared_manifests(shared_data, tmp_path, name, accession, options):
    rows = manifests.read(shared_data(name) / "manifest.csv.gz")
    in_annex = tuple(row for row in rows if row.algorithm != "git-sha1")
    folder = rebuilt(in_annex, accession).write(tmp_path / "clone")
    assert make(folder, accession, top=False, **options).entries == list(in_annex)
    # Content of files in git is not shared; their rows are what the tool makes of blobs of that name and size.
    in_git = [row for row in rows if row.algorithm == "git-sha1"][::100]
    repository = made_up.Repository(logs={"remote.log": (made_up.remote(prefix=f"{accession}/") + "\n").encode()})
    for row in in_git:
        repository.put(row.path, b"x" * row.size)
    found = listed(repository.write(tmp_path / "git"), accession, top=False)
    for row in in_git:
        sha = hashlib.sha1(f"blob {row.size}\0".encode() + b"x" * row.size).hexdigest()
        assert found[row.path] == Entry(row.path, row.size, "git-sha1", sha, row.url)


def test_many_files_take_a_second(tmp_path):
    repository = made_up.Repository(logs={"remote.log": (made_up.remote() + "\n").encode()})
    for number in range(6000):
        path = f"sub-{number % 50:02d}/eeg/sub-{number % 50:02d}_task-x_run-{number}_eeg.edf"
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        repository.annexed(path, f"SHA256E-s{number}--{digest}.edf", made_up.version(f"v{number}", f"ds004212/{path}"))
    folder = repository.write(tmp_path / "clone")
    begin = time.perf_counter()
    made = make(folder)
    assert time.perf_counter() - begin < 6  # 0.5 s (30,000: 3 s); a call of git for each would take minutes
    assert (len(made.entries), made.versioned) == (6000, 6000)


# ------------------------------------------------------------------------------------------------- command


def test_the_command_writes_a_manifest_and_says_what_is_in_it(tmp_path, capsys):
    folder = small().write(tmp_path / "clone", tags={"1.0": "main"})
    out = tmp_path / "mine.csv.gz"
    main.main(
        ["manifest", "ds004212", "--version", "1.0", "--source", str(folder), "--subject", "01", "--out", str(out)]
    )
    told = capsys.readouterr().out
    assert "ds004212, tag 1.0 (commit " in told
    assert "mine.csv.gz: 3 files, 70.0 kB: 1 in the annex, 2 in git; 1 with the version id" in told
    assert "     1  another subject" in told
    assert f"to read this one, set `manifest: {out}`" in told
    assert next(Path(entry.path).name for entry in manifests.read(out)) == "dataset_description.json"


def test_the_command_refuses_in_words(tmp_path, capsys, monkeypatch):
    for arguments, words in (
        (["ds1"], "ds1: not an accession"),
        (["ds004212", "--source", str(tmp_path), "--out", "x.txt"], "expected a name that ends in .csv or .csv.gz"),
        (["ds004212", "--source", str(tmp_path / "none")], "no such folder or file"),
    ):
        with pytest.raises(SystemExit, match=words):
            main.main(["manifest", *arguments])
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "clone"
    (folder / "objects").mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(SystemExit, match="git: not found; expected git, which reads"):
        main.main(["manifest", "ds004212", "--source", str(folder)])


def test_a_place_that_nothing_can_be_written_to_is_told_in_words(tmp_path):
    folder = small().write(tmp_path / "clone")
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    for out in ("file/x.csv", "folder.csv"):
        with pytest.raises(SystemExit, match="expected a folder that can be written to"):
            main.main(["manifest", "ds004212", "--source", str(folder), "--out", str(tmp_path / out)])


def test_without_a_source_the_repository_is_fetched(tmp_path, monkeypatch, capsys):
    folder = small().write(tmp_path / "clone")
    own = annex.Archive(**{**vars(annex.ARCHIVES[0]), "repository": f"file://{tmp_path}/{{accession}}"})
    folder.rename(tmp_path / "ds004212")
    monkeypatch.setattr(annex, "ARCHIVES", (own,))
    main.main(["manifest", "ds004212", "--out", str(tmp_path / "x.csv")])
    assert "is the shipped workflow/manifests/things-meg.csv.gz" in capsys.readouterr().out.replace(f"{ROOT}/", "")
    assert len(manifests.read(tmp_path / "x.csv")) == 4
    with pytest.raises(SystemExit, match=r"git clone --bare file:.*ds009999\), and name the folder"):
        main.main(["manifest", "ds009999", "--out", str(tmp_path / "y.csv")])
    assert not (tmp_path / "y.csv").exists()
