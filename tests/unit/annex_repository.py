"""Small repositories as git-annex leaves them, made with git alone."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from brain2clip.readers import annex
from brain2clip.readers.manifests import Entry

OPENNEURO = "57894849-d0c8-4c62-8418-3627be18a196"
PRIVATE = "ee4d4d4d-0000-4c62-8418-3627be18a196"
REMOTE = (
    "{uuid} autoenable=true bucket={bucket} datacenter=US encryption=none exporttree=yes fileprefix={prefix} "
    "host=s3.amazonaws.com name={name} partsize=1GiB port=80 public={public}{url} type=S3 versioning=yes "
    "timestamp={time}s"
)
BACKENDS = {"sha256": "SHA256E", "md5": "MD5E"}


def remote(
    uuid: str = OPENNEURO,
    prefix: str = "ds004212/",
    bucket: str = "openneuro.org",
    name: str = "s3-PUBLIC",
    time: str = "1595516480.5",
    public: bool = True,
) -> str:
    """A line of ``remote.log``."""
    url = f" publicurl=http://{bucket}.s3.amazonaws.com/" if public else ""
    given = {"uuid": uuid, "prefix": prefix, "bucket": bucket, "name": name, "time": time, "url": url}
    return REMOTE.format(public="yes" if public else "no", **given)


def link(key: str, path: str = "a/b") -> bytes:
    """Target of a locked file."""
    return f"{'../' * path.count('/')}.git/annex/objects/Xx/Yy/{key}/{key}".encode()


def pointer(key: str) -> bytes:
    """Content of an unlocked file."""
    return f"/annex/objects/{key}\n".encode()


def version(
    identity: str, name: str, time: str = "1595516480.1", uuid: str = OPENNEURO, sign: str = "+", encoded: bool = False
) -> str:
    """A line of a log of versions."""
    value = f"{identity}#{name}"
    if encoded:
        value = "!" + base64.b64encode(value.encode()).decode()
    return f"{time}s {uuid}:V {sign}{value}"


@dataclass
class Repository:
    """What is written to a repository.

    Attributes
    ----------
    files : dict
        Path to mode and content, of the branch with the files.
    logs : dict
        Path to content, of the branch git-annex.
    """

    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)

    def put(self, path: str, content: bytes) -> None:
        """A file in git itself."""
        self.files[path] = ("100644", content)

    def annexed(self, path: str, key: str, *versions: str, unlocked: bool = False) -> None:
        """A file in the annex, with the lines of its log."""
        self.files[path] = ("100644", pointer(key)) if unlocked else ("120000", link(key, path))
        if versions:
            log = annex.log_path(key)
            self.logs[log] = self.logs.get(log, b"") + "".join(f"{line}\n" for line in versions).encode()

    def write(
        self,
        folder: Path,
        branches: Mapping[str, int] | None = None,
        tags: Mapping[str, str] | None = None,
        bare: bool = True,
        with_annex: bool = True,
    ) -> Path:
        """Make the repository.

        Parameters
        ----------
        folder : Path
        branches : mapping
            Branches with all files to the time of their commits; each has a file ``branch-NAME`` of its own.
        tags : mapping
            Tag to the branch it stands on; one whose name begins with v is annotated.
        bare, with_annex : bool
        """
        branches = {"main": 1700000000} if branches is None else branches
        stream: list[bytes] = []
        for name, time in branches.items():
            own = {} if len(branches) == 1 else {f"branch-{name}": ("100644", name.encode())}
            stream.append(_commit(f"refs/heads/{name}", time, {**self.files, **own}))
        if with_annex:
            logs = {path: ("100644", content) for path, content in self.logs.items()}
            stream.append(_commit("refs/heads/git-annex", 1700000000, logs))
        for name, branch in (tags or {}).items():
            if name.startswith("v"):
                stream.append(f"tag {name}\nfrom refs/heads/{branch}\ntagger t <t@t> 1 +0000\ndata 1\nt\n".encode())
            else:
                stream.append(f"reset refs/tags/{name}\nfrom refs/heads/{branch}\n\n".encode())
        git("init", "-q", *(["--bare"] if bare else []), str(folder))
        git("-C", str(folder), "fast-import", "--quiet", "--force", input=b"".join(stream))
        return folder


def git(*arguments: str, input: bytes | None = None) -> bytes:
    return subprocess.run(["git", *arguments], input=input, capture_output=True, check=True).stdout


def _commit(ref: str, time: int, files: Mapping[str, tuple[str, bytes]]) -> bytes:
    parts = [f"commit {ref}\ncommitter t <t@t> {time} +0000\ndata 1\nt\n".encode()]
    for path, (mode, content) in files.items():
        parts += [f"M {mode} inline {path}\ndata {len(content)}\n".encode(errors="surrogateescape"), content, b"\n"]
    return b"".join(parts) + b"\n"


def key_of(entry: Entry, extension: str | None = None) -> str:
    """Key of the annex for a file of a manifest."""
    if extension is None:
        extension = "." + entry.path.rpartition(".")[2]
    return f"{BACKENDS[entry.algorithm]}-s{entry.size}--{entry.hash}{extension}"
