"""Read repositories of git with few calls of ``git``: a clone, an archive of a clone, or a fetched repository.

Standard library only.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from brain2clip.names import suggestion
from brain2clip.stage import InputError

#: Names of the branch with the files; some repositories have both, and one of them is old.
BRANCHES = ("main", "master")
#: What the readers of archives raise at one that is damaged, or encrypted (RuntimeError).
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError)

#: What git says of a damaged branch or tag, which it then leaves out with exit code 0.
BROKEN = b"ignoring broken ref"


@dataclass(frozen=True)
class Listed:
    """An entry of a tree of git.

    Attributes
    ----------
    path : str
        With ``/``; bytes that are not UTF-8 are surrogates.
    mode : str
        ``120000`` for a link, ``160000`` for a repository in the repository.
    sha : str
        Of the blob.
    size : int
        Bytes of the blob; 0 if there is none.
    """

    path: str
    mode: str
    sha: str
    size: int


@dataclass(frozen=True)
class Revision:
    """A state of a repository.

    Attributes
    ----------
    commit : str
    said : str
        Which state it is, and why, for messages.
    name : str
        Tag, or commit if there is no tag; for addresses.
    """

    commit: str
    said: str
    name: str


class Repository:
    """Reads a repository of git with few calls of ``git``; nothing is written or fetched.

    Parameters
    ----------
    folder : Path
        The folder ``.git``, or a bare repository.
    source : str
        The clone or address that the user gave, for messages.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder, self.source = folder, source

    @cached_property
    def refs(self) -> dict[str, tuple[str, int]]:
        """Commit (of the object of a tag) and its time, by full name of each reference.

        Raises
        ------
        brain2clip.stage.InputError
            If a reference is damaged: git leaves it out, as if the clone did not have the branch.
        """
        form = "%(refname)%00%(objectname)%00%(*objectname)%00%(committerdate:unix)%00%(*committerdate:unix)"
        found = {}
        for line in self._git("for-each-ref", f"--format={form}").decode(errors="surrogateescape").split("\n")[:-1]:
            name, commit, peeled, time, peeled_time = line.split("\0")
            found[name] = (peeled or commit, int(peeled_time or time or 0))
        return found

    @property
    def tags(self) -> dict[str, str]:
        """Commit by tag."""
        start = "refs/tags/"
        return {name.removeprefix(start): one[0] for name, one in self.refs.items() if name.startswith(start)}

    @property
    def annex(self) -> list[str]:
        """Commits of the branches ``git-annex``: of the repository and of those that it was cloned from."""
        names = re.compile(r"refs/(heads|remotes/[^/]+)/git-annex")
        return sorted({commit for name, (commit, _) in self.refs.items() if names.fullmatch(name)})

    def revision(self, version: str | None) -> Revision:
        """The state of a version; without a version the newer one of the branches main and master.

        Raises
        ------
        brain2clip.stage.InputError
            If there is no such tag, branch or commit, neither branch exists, or both are equally new and differ.
        """
        if version is not None:
            return self._named(version)
        pattern = re.compile(rf"refs/(heads|remotes/[^/]+)/({'|'.join(BRANCHES)})")
        heads = [(time, commit, name) for name, (commit, time) in self.refs.items() if pattern.fullmatch(name)]
        if not heads:
            raise InputError(
                f"{self.source}: no branch {' or '.join(BRANCHES)}; name a tag with --version (tags: "
                f"{', '.join(sorted(self.tags)) or 'none'})"
            )
        time, commit, name = max(heads)
        equal = sorted(_short(one) for when, _, one in heads if when == time)
        if len({one for when, one, _ in heads if when == time}) > 1:
            raise InputError(
                f"{self.source}: {' and '.join(equal)} have the same time and differ; name a tag, a branch or a "
                "commit with --version"
            )
        others = sorted({_short(one) for _, two, one in heads if two != commit})
        said = f"branch {_short(name)}" + (f", the newest (not {', '.join(others)})" if others else "")
        tags = sorted(tag for tag, one in self.tags.items() if one == commit)
        said += f", tag {', '.join(tags)}" if tags else ", which has no tag"
        return Revision(commit, said, tags[-1] if tags else commit)

    def _named(self, version: str) -> Revision:
        for name in (version, f"v{version}"):
            if name in self.tags:
                return Revision(self.tags[name], f"tag {name}", name)
        for start in ("refs/heads/", "refs/remotes/origin/"):
            if start + version in self.refs:
                commit = self.refs[start + version][0]
                return Revision(commit, f"branch {version}", commit)
        if re.fullmatch("[0-9a-f]{7,64}", version):
            with contextlib.suppress(InputError):
                commit = self._git("rev-parse", "--verify", "--quiet", f"{version}^{{commit}}").decode().strip()
                return Revision(commit, f"commit {version}", commit)
        raise InputError(
            f"{self.source}: no tag, branch or commit {version!r}{suggestion(version, self.tags)}; tags: "
            f"{', '.join(sorted(self.tags)) or 'none'}"
        )

    def files(self, commit: str) -> list[Listed]:
        """All entries of a commit's tree."""
        found = []
        for line in self._git("ls-tree", "-r", "-l", "-z", commit).split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, _, sha, size = head.decode().split()
            found.append(Listed(path.decode(errors="surrogateescape"), mode, sha, int(size) if size.isdigit() else 0))
        return found

    def blobs(self, names: Sequence[str]) -> list[bytes | None]:
        """Contents of objects (``SHA`` or ``COMMIT:PATH``) in order; None for objects that are missing."""
        asked = "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")
        told = self._git("cat-file", "--batch", input=asked) if names else b""
        found: list[bytes | None] = []
        at = 0
        for name in names:
            end = told.index(b"\n", at)
            head = told[at:end]
            if head.endswith(b" missing"):
                found.append(None)
                at = end + 1
                continue
            kind, size = head.rsplit(b" ", 2)[-2:]
            if kind != b"blob":
                raise InputError(f"{self.source}: {name} is a {kind.decode()}, expected a file")
            found.append(told[end + 1 : end + 1 + int(size)])
            at = end + 2 + int(size)
        return found

    def _git(self, *arguments: str, input: bytes | None = None) -> bytes:
        # Ownership and settings of a clone do not matter, because nothing is run or fetched.
        safe = ("-c", "safe.directory=*", "-c", "protocol.allow=never", "-c", "core.fsmonitor=false")
        try:
            return run_git(f"--git-dir={self.folder}", *safe, *arguments, source=self.source, input=input)
        except InputError as error:
            if "not allowed" in str(error):  # it wanted to fetch
                raise InputError(
                    f"{self.source}: the clone lacks contents of files (made with --filter?), and they are not fetched "
                    "later; clone the dataset without a filter"
                ) from None
            raise


def _short(name: str) -> str:
    """A branch as people call it."""
    return name.removeprefix("refs/heads/").removeprefix("refs/remotes/")


def run_git(*arguments: str, source: str, input: bytes | None = None, configured: bool = False) -> bytes:
    """What ``git`` prints.

    Parameters
    ----------
    *arguments : str
    source : str
        Clone or address, for messages.
    input : bytes, optional
        Standard input.
    configured : bool
        Whether settings of user and machine are used, such as the proxy of a network.

    Raises
    ------
    brain2clip.stage.InputError
        If git is missing, or fails; then with its message.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or configured}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):  # of a hook of another one
        environment.pop(name, None)
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}
    if not configured:
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    try:
        done = subprocess.run(["git", *arguments], input=input, capture_output=True, env=environment, check=False)
    except FileNotFoundError:
        raise InputError("git: not found; expected git, which reads the metadata of the dataset: install it") from None
    if done.returncode or BROKEN in done.stderr:
        words = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise InputError(f"{source}: git says: {words or f'exit code {done.returncode}'}")
    return done.stdout


# --------------------------------------------------------------------------------------------------- source


@contextlib.contextmanager
def opened(address: str, source: str | None, version: str | None) -> Iterator[Repository]:
    """The repository of a dataset.

    Parameters
    ----------
    address : str
        Of the repository.
    source : str or None
        A clone (bare or not), a tar or zip archive of one, or another address; None: it is fetched from
        ``address``.
    version : str or None
        Tag, if the repository has to be fetched.

    Raises
    ------
    brain2clip.stage.InputError
        If there is no repository, or it cannot be fetched.
    """
    address = address if source is None else source
    if source is None or "://" in source:
        with tempfile.TemporaryDirectory(prefix="brain2clip-") as folder:
            try:
                _fetch(address, Path(folder), version)
            except InputError as error:
                raise InputError(
                    f"{error}\n  the repository could not be fetched. Without a network, clone it "
                    f"elsewhere (git clone --bare {address}), and name the folder, or a tar or zip archive of it, "
                    "with --source"
                ) from None
            yield Repository(Path(folder), address)
        return
    path = Path(source).expanduser()
    if path.is_dir():
        yield Repository(_git_folder(path), source)
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="brain2clip-") as folder:
            yield Repository(_unpack(path, Path(folder)), source)
    else:
        raise InputError(
            f"{source}: no such folder or file; expected a clone of the dataset's repository, or an archive of one"
        )


def _fetch(address: str, folder: Path, version: str | None) -> None:
    """Fetch the newest commits of the branches and tags that are read, without their history."""
    slow = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60", "-c", "credential.helper=")
    told = run_git(*slow, "ls-remote", address, source=address, configured=True).decode(errors="replace")
    there = [line.partition("\t")[2] for line in told.splitlines()]
    names = [f"refs/heads/{name}" for name in ("git-annex", *(BRANCHES if version is None else (version,)))]
    names += [name for name in there if name.startswith("refs/tags/") and not name.endswith("^{}")
              and (version is None or name.removeprefix("refs/tags/") in (version, f"v{version}"))]  # fmt: skip
    wanted = [name for name in names if name in there]
    if version is not None and not [name for name in wanted if not name.endswith("/git-annex")]:
        tags = [name.removeprefix("refs/tags/") for name in there if name.startswith("refs/tags/")]
        tags = sorted(name for name in tags if not name.endswith("^{}"))
        raise InputError(
            f"{address}: no tag or branch {version!r}{suggestion(version, tags)}; tags: {', '.join(tags) or 'none'}"
        )
    # Only tags of the newest commits are fetched, as names: tags of old versions would bring their files.
    if version is None:
        commits = {line.split("\t")[1]: line.split("\t")[0] for line in told.splitlines()}
        heads = {commits[name] for name in wanted if name.startswith("refs/heads/")}
        wanted = [name for name in wanted
                  if name.startswith("refs/heads/") or commits.get(f"{name}^{{}}", commits[name]) in heads]  # fmt: skip
    run_git("init", "--quiet", "--bare", str(folder), source=address)
    if wanted:
        pairs = [f"{name}:{name}" for name in wanted]
        into = (f"--git-dir={folder}", *slow, "fetch", "--quiet", "--no-tags", "--depth=1")
        run_git(*into, address, *pairs, source=address, configured=True)


def _git_folder(path: Path) -> Path:
    """Where the repository of a folder is; never that of a folder above."""
    for one in (path / ".git", path):
        if one.is_file() or _is_repository(one):  # a file .git names the folder
            return one
    raise InputError(
        f"{path}: no repository of git (neither a folder .git nor a bare repository); expected a clone of the dataset, "
        "because its files alone do not have versions"
    )


def _is_repository(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir()


def _unpack(path: Path, folder: Path) -> Path:
    """The repository in an archive, without the contents of the annex and the files beside it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                inside = _inside(path, packed.namelist())
                packed.extractall(folder, [one for one in packed.namelist() if _is_metadata(one, inside)])
        else:
            with tarfile.open(path) as packed_tar:
                members = packed_tar.getmembers()
                inside = _inside(path, [_plain(one.name) for one in members])
                wanted = [one for one in members if _is_metadata(_plain(one.name), inside)]
                packed_tar.extractall(folder, wanted, filter="data")
    except DAMAGED as error:
        raise InputError(f"{path}: cannot be read as a tar or zip archive ({error}); make the archive again") from None
    found = folder / inside
    (found / "objects").mkdir(exist_ok=True)
    (found / "refs").mkdir(exist_ok=True)  # empty if all references are packed; some programs leave empty folders out
    return found


def _plain(name: str) -> str:
    return str(PurePosixPath(name))


def _inside(path: Path, names: Sequence[str]) -> str:
    """Folder of the one repository in an archive."""
    plain = {_plain(name) for name in names}
    tops = {name.removesuffix("HEAD") for name in plain if PurePosixPath(name).name == "HEAD"}
    found = sorted(
        top for top in tops if any(name.startswith(f"{top}objects/") for name in plain) and "/modules/" not in top
    )
    if len(found) != 1:
        listed = ", ".join(name or "." for name in found) or "none"
        raise InputError(f"{path}: expected the repository of one dataset inside; found {listed}")
    return found[0]


def _is_metadata(name: str, inside: str) -> bool:
    return _plain(name).startswith(inside) and "annex/objects/" not in name and "/hooks/" not in name
