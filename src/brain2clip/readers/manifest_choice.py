"""Which files of a dataset are listed in a manifest: by subject, session, task, run, suffix and place."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from brain2clip.readers import labels, sidecars
from brain2clip.readers.repositories import Listed
from brain2clip.stage import InputError

#: Parts of a CTF folder that MNE needs (``hc`` has the position of the head).
MINIMAL = re.compile(r"\.(meg4|\d+_meg4|res4|hc)$")
#: Files of the repository itself.
OWN = re.compile(r"(^|/)\.git[^/]*(/|$)|^\.datalad/")
#: What file systems and acquisition programs leave behind.
LITTER = re.compile(r"(^|/)(\._[^/]*|\.DS_Store)(/|$)|\.bak$")
NESTED = re.compile(r"\.ds/(.*/)?[^/]+\.ds/")


@dataclass(frozen=True)
class Wanted:
    """Which files of a dataset are listed; without options, all.

    Attributes
    ----------
    subject, session, task, run : tuple of str
        Labels. Files whose names have no such label, like sidecars of all runs, are kept.
    suffix : tuple of str
        Last parts of names before the extension (``eeg``, ``events``), or patterns of them (``mask-*``).
    extension : tuple of str
        As ``.tsv`` or ``.nii.gz``; a folder of a recording has its own (``.ds``).
    exclude : tuple of str
        Patterns of paths that are left out (``*`` stands for slashes, too).
    derivatives : tuple of str or None
        Folders in ``derivatives`` that are listed; an empty tuple: all of them; None: not listed.
    sourcedata : bool
        Whether ``sourcedata`` is listed.
    top : bool
        Whether the files on top of the dataset are listed.
    minimal : bool
        Whether only ``meg4``, ``res4`` and ``hc`` of CTF folders (``.ds``) are listed.
    """

    subject: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    extension: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    derivatives: tuple[str, ...] | None = None
    sourcedata: bool = False
    top: bool = True
    minimal: bool = False


LABELS = {"subject": "sub", "session": "ses", "task": "task", "run": "run"}


@dataclass
class Choice:
    """What is listed, and what is not.

    Attributes
    ----------
    files : list of Listed
    left_out : Counter
        Number of files by reason.
    """

    files: list[Listed] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def choose(files: Iterable[Listed], wanted: Wanted) -> Choice:
    """Files of a dataset that are wanted.

    Raises
    ------
    brain2clip.stage.InputError
        If a label, suffix, extension, pattern or folder fits no file, or no file is left.
    """
    choice = Choice()
    seen: dict[str, set[str]] = {name: set() for name in (*LABELS, "suffix", "extension", "derivatives", "folders")}
    excluded: set[str] = set()
    for one in files:
        reason = _never(one, wanted, seen)
        if reason is None:
            own = describe(one.path)
            for name, value in own.items():
                seen[name].add(value)
            pattern = next((glob for glob in wanted.exclude if fnmatch.fnmatchcase(one.path, glob)), None)
            if pattern is not None:
                excluded.add(pattern)
                reason = f"--exclude {pattern}"
            else:
                reason = _other(one.path, own, wanted)
        if reason is None:
            choice.files.append(one)
        else:
            choice.left_out[reason] += 1
    _check_known(wanted, seen, excluded)
    if not choice.files:
        raise InputError(
            "no file is left: the labels of the options do not occur together; expected at least one file. Left out: "
            + "; ".join(f"{count} ({reason})" for reason, count in choice.left_out.most_common())
        )
    return choice


def describe(path: str) -> dict[str, str]:
    """Labels, suffix and extension of a file, from its name and from the name of a folder that is a recording."""
    parts = path.split("/")
    subject = next((part for part in parts[:-1] if re.fullmatch(r"sub-[A-Za-z0-9+]+", part)), None)
    name = next((part for part in parts if subject and part.startswith(f"{subject}_")), parts[-1])
    entities = sidecars.entities(name)
    for part in parts[:-1]:
        if match := re.fullmatch(r"(sub|ses)-([A-Za-z0-9+]+)", part):
            entities.setdefault(match[1], match[2])
    stem, dot, extension = name.partition(".")
    found = {option: entities[key] for option, key in LABELS.items() if key in entities}
    return {**found, "suffix": stem.split("_")[-1], "extension": dot + extension}


def _never(one: Listed, wanted: Wanted, seen: dict[str, set[str]]) -> str | None:
    """Why a file is left out regardless of its labels."""
    parts = one.path.split("/")
    if one.mode == "160000":
        return "repositories in the repository"
    if OWN.search(one.path):
        return "files of the repository itself (.git*, .datalad)"
    if LITTER.search(one.path):
        return "._*, .DS_Store, *.bak"
    if len(parts) > 1 and parts[0] == "derivatives":
        seen["derivatives"].add(parts[1])
        seen["folders"].add("derivatives")
        if wanted.derivatives is None:
            return "derivatives (--derivatives takes them)"
        if wanted.derivatives and parts[1] not in wanted.derivatives:
            return "other derivatives"
    if len(parts) > 1 and parts[0] == "sourcedata":
        seen["folders"].add("sourcedata")
        if not wanted.sourcedata:
            return "sourcedata (--sourcedata takes it)"
    if NESTED.search(one.path):
        return "folders .ds inside of .ds (head localisation)"
    if ".ds/" in one.path:
        seen["folders"].add(".ds")
    if wanted.minimal and ".ds/" in one.path and not MINIMAL.search(one.path):
        return "--ds minimal (all but meg4, res4, hc)"
    return None


def _other(path: str, own: Mapping[str, str], wanted: Wanted) -> str | None:
    """Why a file is left out because of its place and labels."""
    top = "/" not in path
    if top and not wanted.top:
        return "--without-top (files on top)"
    for option in LABELS:
        asked = getattr(wanted, option)
        if asked and option in own and own[option] not in asked:
            return f"another {option}"
    # The files on top that describe the dataset (README, participants.tsv) have no label and no suffix of a recording.
    described = top and not sidecars.entities(path)
    if wanted.suffix and not described and not any(fnmatch.fnmatchcase(own["suffix"], one) for one in wanted.suffix):
        return "another suffix"
    if wanted.extension and not described and own["extension"] not in _dotted(wanted.extension):
        return "another extension"
    return None


def _dotted(extensions: Iterable[str]) -> set[str]:
    return {"." + one.removeprefix(".") for one in extensions}


def _check_known(wanted: Wanted, seen: Mapping[str, set[str]], excluded: set[str]) -> None:
    """Refuse options that fit nothing."""
    for option in (*LABELS, "suffix", "extension", "derivatives"):
        known = seen[option]
        for value in getattr(wanted, option) or ():
            one = "." + value.removeprefix(".") if option == "extension" else value
            fits = any(fnmatch.fnmatchcase(name, one) for name in known) if option == "suffix" else one in known
            if not fits:
                some = sorted(known)
                more = f" and {len(some) - 20} more" if len(some) > 20 else ""
                raise InputError(
                    f"--{option} {value}: no file has it{labels.meant(one, known)}; found "
                    f"{', '.join(filter(None, some[:20])) or 'none'}{more}"
                )
    asked = {
        "derivatives": ("derivatives", wanted.derivatives == ()),
        "sourcedata": ("sourcedata", wanted.sourcedata),
        "ds minimal": (".ds", wanted.minimal),
    }
    for option, (folder, is_asked) in asked.items():
        if is_asked and folder not in seen["folders"]:
            what = "no folder .ds of CTF" if folder == ".ds" else f"no folder {folder}"
            raise InputError(f"--{option}: the dataset has {what}; expected one: leave the option out")
    for pattern in wanted.exclude:
        if pattern not in excluded:
            raise InputError(f"--exclude {pattern}: no file fits; expected a pattern of whole paths, as 'stimuli/*'")
