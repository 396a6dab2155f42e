"""Manifests from git-annex: what a dataset of OpenNeuro or NEMAR consists of, from the metadata of its repository.

A large file of such a dataset is kept in the annex, and the repository has a link (or, unlocked, a pointer file) whose
key holds size and hash. A small file is kept in git itself. The branch ``git-annex`` holds the versions under which an
archive has stored a key (``KEY.log.rmet``), and the names of the archive's buckets (``remote.log``). Neither the data
nor git-annex is needed: ``git`` is called five times, for any number of files. Standard library only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from brain2clip.readers import manifest_choice, manifests
from brain2clip.readers.manifest_choice import Choice, Wanted
from brain2clip.readers.manifests import Entry
from brain2clip.readers.repositories import Listed, Repository, Revision
from brain2clip.stage import InputError

#: Hash algorithm of the backends whose keys are read. E means that the key ends with an extension.
BACKENDS = {"MD5": "md5", "MD5E": "md5", "SHA256": "sha256", "SHA256E": "sha256"}
#: Backends of the keys under which an archive may have stored a file that is kept in git; the hash is that of its blob.
OF_BLOBS = ("GIT", "SHA1")
#: Pointer files are shorter than this, bytes.
POINTER_SIZE = 32768
_KEY = re.compile(r"(?P<backend>[A-Z0-9_]+)(?P<fields>(?:-[a-zA-Z][0-9]+)*)--(?P<name>.+)")
_LINK = re.compile(r"(?:^|/)annex/objects/(?:[^/\n]+/)*(?P<key>[^/\n]+)")
_TIME = re.compile(r"(\d+)(?:\.(\d+))?s")
_ENTITY = re.compile(r"&([0-9]{1,6});")  # below the last code of Unicode


# ------------------------------------------------------------------------------------------ archives


@dataclass(frozen=True)
class Archive:
    """An archive of datasets, and how it stores them.

    Attributes
    ----------
    name : str
        For people.
    accession : re.Pattern
        Accessions of its datasets.
    repository : str
        Address of a dataset's repository.
    bucket : str
        Name of its bucket of S3.
    files : str
        Address of the bucket.
    exported : bool
        Whether its files are named by their paths (else by their keys).
    prefix : str
        Text before the path or key.
    of_git : str or None
        Address of a file that is kept in git; None: it is in the bucket as well.
    """

    name: str
    accession: re.Pattern[str]
    repository: str
    bucket: str
    files: str
    exported: bool
    prefix: str
    of_git: str | None = None


ARCHIVES = (
    Archive(
        "OpenNeuro",
        re.compile(r"ds\d{6}"),
        "https://github.com/OpenNeuroDatasets/{accession}",
        bucket="openneuro.org",
        files="https://s3.amazonaws.com/openneuro.org/",
        exported=True,
        prefix="{accession}/",
    ),
    Archive(
        "NEMAR",
        re.compile(r"(nm|on)\d{6}"),
        "https://github.com/nemarDatasets/{accession}",
        bucket="nemar",
        files="https://nemar.s3.us-east-2.amazonaws.com/",
        exported=False,
        prefix="{accession}/objects/",
        of_git="https://raw.githubusercontent.com/nemarDatasets/{accession}/{revision}/",
    ),
)


def archive(accession: str) -> Archive:
    """The archive of a dataset.

    Raises
    ------
    brain2clip.stage.InputError
        If it is not an accession.
    """
    for one in ARCHIVES:
        if one.accession.fullmatch(accession):
            return one
    raise InputError(
        f"{accession}: not an accession; expected ds and six digits for OpenNeuro (ds004212), nm or on and six digits "
        "for NEMAR (nm000134)"
    )


# ------------------------------------------------------------------------------------------ keys


@dataclass(frozen=True)
class Key:
    """Name of a content in the annex.

    Attributes
    ----------
    text : str
        The key as it is.
    algorithm, hash : str
        Of the content (:data:`brain2clip.readers.manifests.DIGITS`).
    size : int
        Bytes.
    """

    text: str
    algorithm: str
    hash: str
    size: int


def read_key(text: str) -> Key:
    """A key from its text.

    Raises
    ------
    ValueError
        If the backend is not known, or size or digest is missing; the message says which.
    """
    parts = _KEY.fullmatch(text)
    if parts is None:
        raise ValueError("not a key of git-annex")
    backend, fields = parts["backend"], dict(re.findall("-([a-zA-Z])([0-9]+)", parts["fields"]))
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend}; expected one of {', '.join(BACKENDS)}")
    if "s" not in fields:
        raise ValueError("no size in the key")
    if fields.keys() & {"S", "C"}:
        raise ValueError("the key of a part of a file")
    algorithm = BACKENDS[backend]
    digest, dot, _ = parts["name"].partition(".")
    if not re.fullmatch(rf"[0-9a-f]{{{manifests.DIGITS[algorithm]}}}", digest) or (dot and not backend.endswith("E")):
        raise ValueError(f"no {algorithm} in the key")
    return Key(text, algorithm, digest, int(fields["s"]))


def key_of_link(target: str) -> str | None:
    """Text of the key that a link or a pointer file points to; None if it points elsewhere."""
    found = _LINK.search(target)
    # In file names, git-annex writes / as %, and escapes % with & (only keys of addresses have such signs).
    return None if found is None else _unescaped(found["key"])


def _unescaped(name: str) -> str:
    return re.sub("&[asc]|%", lambda sign: {"&a": "&", "&s": "%", "&c": ":", "%": "/"}[sign[0]], name)


def log_path(key: str) -> str:
    """Path of the log with the versions of a key in the branch ``git-annex``."""
    digest = hashlib.md5(key.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
    escaped = key.replace("&", "&a").replace("%", "&s").replace(":", "&c").replace("/", "%")
    return f"{digest[:3]}/{digest[3:6]}/{escaped}.log.rmet"


# ------------------------------------------------------------------------------------------ logs


@dataclass(frozen=True)
class Version:
    """An object under which a remote keeps a content.

    Attributes
    ----------
    remote : str
        UUID.
    id : str
        Version id of S3.
    object : str
        Name in the bucket.
    time : tuple
        When it was set: seconds, and decimals.
    """

    remote: str
    id: str
    object: str
    time: tuple[int, str]


def read_versions(log: bytes) -> tuple[list[Version], int]:
    """Current versions in a log of metadata of remotes, and the number of lines that are not understood.

    A line is ``TIMEs UUID:V +ID#OBJECT -ID#OBJECT ... UUID:V ...``; ``+!`` and ``-!`` are followed by base64. A
    version that was removed (``-``) later than it was set, or at the same time, does not count.
    """
    state: dict[tuple[str, str], tuple[tuple[int, str], bool]] = {}
    strange = 0
    for line in filter(None, log.decode(errors="surrogateescape").split("\n")):
        time, *words = line.split(" ")
        stamp = _TIME.fullmatch(time)
        if stamp is None:
            strange += 1
            continue
        when, remote = (int(stamp[1]), (stamp[2] or "").rstrip("0")), None
        for word in words:
            if word[:1] not in ("+", "-"):
                uuid, colon, name = word.rpartition(":")
                remote = uuid if colon and name.upper() == "V" else None
                continue
            value = _value(word[1:])
            if value is None:
                strange += 1
            elif remote is not None:
                before = state.get((remote, value))
                if before is None or (when, word[0] == "-") >= (before[0], not before[1]):
                    state[remote, value] = (when, word[0] == "+")
    versions = []
    for (remote, value), (when, is_set) in state.items():
        identity, hash_sign, name = value.partition("#")
        if is_set and hash_sign:
            versions.append(Version(remote, identity, name, when))
    return versions, strange


def _value(text: str) -> str | None:
    if not text.startswith("!"):
        return text
    try:
        return base64.b64decode(text[1:].encode(errors="surrogateescape"), validate=True).decode(
            errors="surrogateescape"
        )
    except binascii.Error:
        return None


def newest(versions: Iterable[Version], remotes: Iterable[str], name: str) -> str | None:
    """Newest version id of an object in some remotes; None if there is none."""
    known = set(remotes)
    fitting = [one for one in versions if one.remote in known and one.object == name]
    return max(fitting, key=lambda one: (one.time, one.id)).id if fitting else None


def read_remotes(log: bytes) -> dict[str, dict[str, str]]:
    """Settings of the special remotes by UUID, from the newest line of each."""
    found: dict[str, tuple[float, dict[str, str]]] = {}
    for line in log.decode(errors="replace").splitlines():
        uuid, *words = line.split() or [""]
        pairs = (word.partition("=") for word in words)
        values = {key: _ENTITY.sub(lambda code: chr(int(code[1])), value) for key, _, value in pairs}
        stamp = _TIME.fullmatch(values.pop("timestamp", ""))
        when = float(f"{stamp[1]}.{stamp[2] or 0}") if stamp else 0.0
        if uuid and (uuid not in found or when >= found[uuid][0]):
            found[uuid] = (when, values)
    return {uuid: values for uuid, (_, values) in found.items()}


# ------------------------------------------------------------------------------------------ stores


@dataclass(frozen=True)
class Store:
    """Where an archive keeps the files of a dataset.

    Attributes
    ----------
    base : str
        Address, with a slash at its end.
    prefix : str
        Text before a path or a key.
    exported : bool
        Whether files are named by their paths.
    remotes : tuple of str
        Its UUIDs in the logs.
    """

    base: str
    prefix: str
    exported: bool
    remotes: tuple[str, ...] = ()

    def address(self, name: str, version: str | None = None) -> str:
        """Address of a path or key, and of a version of it."""
        of_version = f"?versionId={quote(version, safe='')}" if version else ""
        return f"{self.base}{encoded(self.prefix + name)}{of_version}"


def encoded(path: str) -> str:
    """A path as it stands in an address; bytes that are no UTF-8 too, so that the check of paths can refuse them."""
    return quote(path, errors="surrogateescape")


def find_store(accession: str, remotes: Mapping[str, Mapping[str, str]]) -> Store:
    """Where the files of a dataset are, from its archive and the remotes in its repository.

    The archive's own bucket is used if the repository names it. Else a public bucket is used whose files are named by
    their paths. If there is none, the usual place of the archive is used.
    """
    of = archive(accession)
    usual = Store(of.files, of.prefix.format(accession=accession), of.exported)
    buckets = {uuid: one for uuid, one in remotes.items() if one.get("type") == "S3" and one.get("bucket")}
    own = {uuid: one for uuid, one in buckets.items() if one["bucket"] == of.bucket}
    if own:
        exported = {_is_exported(one, of) for one in own.values()}
        prefixes = {one.get("fileprefix", usual.prefix) for one in own.values()}
        if len(exported) > 1 or len(prefixes) > 1:
            raise InputError(
                f"{accession}: its repository names the bucket {of.bucket} with the prefixes "
                f"{', '.join(sorted(map(repr, prefixes)))}; expected one prefix"
            )
        prefix = prefixes.pop()
        if accession not in prefix.split("/") and of.accession.match(prefix):
            raise InputError(
                f"{accession}: the repository belongs to another dataset, with files in {of.bucket}/{prefix}; "
                "expected its own repository: give the accession of this clone, or name another clone"
            )
        return Store(usual.base, prefix, exported.pop(), tuple(sorted(own)))
    others = {uuid: one for uuid, one in buckets.items() if one.get("publicurl") and _is_exported(one, of)}
    if not others:
        return usual
    uuid = sorted(others)[0]
    if len(others) > 1:
        named = ", ".join(sorted(f"{one.get('name', uuid)} ({one['publicurl']})" for uuid, one in others.items()))
        raise InputError(f"{accession}: its repository names several public buckets: {named}; expected one")
    if not re.match("https?://", others[uuid]["publicurl"]):
        raise InputError(
            f"{accession}: its repository names {others[uuid]['publicurl']} as the place of its files; expected an "
            "address https://… or http://…"
        )
    return Store(others[uuid]["publicurl"].rstrip("/") + "/", others[uuid].get("fileprefix", ""), True, (uuid,))


def _is_exported(remote: Mapping[str, str], of: Archive) -> bool:
    return remote.get("exporttree", "yes" if of.exported else "no") == "yes"


# ------------------------------------------------------------------------------------------ manifest


@dataclass
class Made:
    """A manifest, and how it was made.

    Attributes
    ----------
    entries : list of Entry
    left_out : Counter
        Number of files by reason.
    revision : Revision
    annexed, versioned : int
        Number of files in the annex, and of files with a version id.
    notes : list of str
        What the user should know.
    """

    entries: list[Entry]
    left_out: Counter[str]
    revision: Revision
    annexed: int = 0
    versioned: int = 0
    notes: list[str] = field(default_factory=list)


def make(accession: str, repository: Repository, version: str | None, wanted: Wanted) -> Made:
    """The manifest of a dataset.

    Parameters
    ----------
    accession : str
        ``ds004212``.
    repository : Repository
    version : str or None
        Tag, branch or commit; None: the newer one of main and master.
    wanted : Wanted

    Raises
    ------
    brain2clip.stage.InputError
        If there is no such version, an option fits no file, a key has no size or hash, a path is not safe, or the clone
        lacks a file that is needed.
    """
    of, revision = archive(accession), repository.revision(version)
    choice = manifest_choice.choose(repository.files(revision.commit), wanted)
    keys = _keys(repository, choice)
    annex = repository.annex
    logs = [log for log in repository.blobs([f"{commit}:remote.log" for commit in annex]) if log]
    store = find_store(accession, read_remotes(b"\n".join(logs)))
    versions, strange = _versions(repository, annex, choice.files, keys, store)
    made = Made([], choice.left_out, revision)
    for one in choice.files:
        key = keys.get(one.path)
        known = newest(versions.get(one.path, ()), store.remotes, store.prefix + one.path)
        if key is not None:
            address = store.address(one.path if store.exported else key.text, known)
            entry = Entry(one.path, key.size, key.algorithm, key.hash, address)
        else:
            address = store.address(one.path, known)
            if of.of_git is not None and not store.exported:
                address = of.of_git.format(accession=accession, revision=quote(revision.name)) + encoded(one.path)
            entry = Entry(one.path, one.size, "git-sha1", one.sha, address)
        try:
            manifests.check(entry, f"{repository.source} ({revision.said})")
        except InputError as error:
            raise InputError(f"{error}\n  or leave the file out (--exclude PATTERN, or other labels)") from None
        made.entries.append(entry)
        made.annexed += key is not None
        made.versioned += known is not None
    if not annex and made.annexed:
        made.notes.append(
            "this clone has no branch git-annex, so no version id is known: addresses are those of the files that are"
            " published now, and hashes show changes (git fetch origin git-annex:git-annex gets the branch)"
        )
    if strange:
        made.notes.append(f"{strange} lines or values in the logs of versions were not understood and are ignored")
    return made


def _keys(repository: Repository, choice: Choice) -> dict[str, Key]:
    """Keys of the files that are kept in the annex, by path; other links are removed from the choice."""
    asked = [one for one in choice.files if one.mode == "120000" or one.size < POINTER_SIZE]
    found, refused, links = {}, [], set()
    for one, content in zip(asked, repository.blobs([one.sha for one in asked]), strict=True):
        if content is None:
            raise InputError(
                f"{repository.source}: the content of {one.path} is missing in this clone (made with --filter?); clone "
                "the dataset without a filter"
            )
        is_link = one.mode == "120000"
        if not is_link and not content.startswith(b"/annex/objects/"):
            continue
        text = content.split(b"\n")[0].decode(errors="surrogateescape")
        key = key_of_link(text)
        if key is None:
            links.add(one.path)
            continue
        try:
            found[one.path] = read_key(key)
        except ValueError as error:
            refused.append(f"{one.path} ({key[:80]}: {error})")
    if refused:
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise InputError(
            f"{repository.source}: the keys of {len(refused)} files have no size and hash that can be checked: "
            f"{'; '.join(refused[:5])}{more}\n  leave them out (--exclude PATTERN, or other labels)"
        )
    if links:
        choice.left_out["links to other files"] += len(links)
        choice.files = [one for one in choice.files if one.path not in links]
    return found


def _versions(
    repository: Repository, annex: Sequence[str], files: Sequence[Listed], keys: Mapping[str, Key], store: Store
) -> tuple[dict[str, list[Version]], int]:
    """Versions of each file by path, in the annex and in git; and the number of lines that are not understood."""
    found: dict[str, list[Version]] = {}
    strange = 0
    if not (store.remotes and store.exported):
        return found, strange
    # Listing the branch once and reading by hash is many times faster than looking up each path.
    logs = [{one.path: one.sha for one in repository.files(commit)} for commit in annex]
    asked = []
    for one in files:
        key = keys.get(one.path)
        named = [key.text] if key is not None else [f"{backend}--{one.sha}" for backend in OF_BLOBS]
        paths = map(log_path, named)
        asked += [(one.path, listed[path]) for path in paths for listed in logs if path in listed]
    for (path, sha), log in zip(asked, repository.blobs([sha for _, sha in asked]), strict=True):
        if log is None:
            raise InputError(
                f"{repository.source}: the log {sha} of the branch git-annex is not in this clone (made with "
                "--filter?); clone the dataset without a filter"
            )
        versions, count = read_versions(log)
        found.setdefault(path, []).extend(versions)
        strange += count
    return found, strange
