"""Damaged files through all readers: bits that flip, ends that are missing, blocks of zeros, parts that change places.

What must be: of a file of ours every damage is refused, in a sentence. A file of a user's may hold anything its format
allows, so another content is read as such; but then it is an input whose digest the results carry, so that nothing made
of it passes for what was made of the other. Never a traceback, a crash, or a reader that does not end: each damaged
file is read in a process of its own.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import random
import resource
import select
import signal
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from damage_manifests import manifests
from damage_ours import new_subject, ours
from damage_studies import of_users, recorded
from damage_worlds import bold5000, meg, nsd, things_meg
from report import Report
from targets import Target, digest, noted

from brain2clip import artefact, stage
from brain2clip.settings import SettingsError

#: What is damaged in turn: each makes its files in a folder.
SIDES: dict[str, Callable[[Path], list[Target]]] = {
    "ours": ours,
    "recorded": recorded,
    "users": of_users,
    "meg": meg,
    "things-meg": things_meg,
    "nsd": nsd,
    "bold5000": bold5000,
    "new-subject": new_subject,
    "manifests": manifests,
}
REFUSALS = (stage.InputError, artefact.ArtefactError, SettingsError)
#: How long a reader may take, s, and how much memory beyond what it has, bytes.
LIMIT_S, MEMORY = 120, 8 << 30


# ----------------------------------------------------------------------------------------------- the damage


def somewhere(content: bytes, rng: random.Random) -> int:
    """A place: any, or one near the start, where headers are, or near the end, where some formats have theirs."""
    near = int(len(content) ** rng.random()) - 1
    return rng.choice((rng.randrange(len(content)), near, len(content) - 1 - near))


def flip(content: bytes, rng: random.Random) -> bytes:
    """One bit."""
    place = somewhere(content, rng)
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return content[: somewhere(content, rng)]


def blank(content: bytes, rng: random.Random) -> bytes:
    """A block of zeros, as of a disk."""
    size = rng.choice((16, 512, 4096))
    place = somewhere(content, rng) // 16 * 16
    return content[:place] + bytes(len(content[place : place + size])) + content[place + size :]


def swap(content: bytes, rng: random.Random) -> bytes:
    """Two neighbouring parts change places."""
    size = rng.choice((1, 8, 64, 512))
    place = somewhere(content, rng)
    one, other = content[place : place + size], content[place + size : place + 2 * size]
    return content[:place] + other + one + content[place + 2 * size :]


DAMAGES = (flip, cut, blank, swap)


def run(count: int, seed: int, only: str = "") -> Report:
    """Damage files in turn, so many in all; ``only`` is a side, or a side and words of its targets: ``nsd:betas``."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rng, report = random.Random(seed), Report("damage")
    chosen, _, words = only.partition(":")
    with tempfile.TemporaryDirectory() as name:
        sides: dict[str, list[Target]] = {}
        for side, make in SIDES.items():
            if chosen in ("", side):
                (Path(name) / side).mkdir()
                sides[side] = [target for target in make(Path(name) / side) if words in target.name]
        right: dict[Any, str] = {}  # targets of one study are read together
        for target in (one for of in sides.values() for one in of):
            if (target.read, target.inputs) not in right:
                right[target.read, target.inputs] = f"{digest(target.read())} {noted(target)}"
        for number in range(count):
            side = list(sides)[number % len(sides)]
            target, damage = rng.choice(sides[side]), rng.choice(DAMAGES)
            content = target.path.read_bytes()
            damaged = damage(content, rng)
            if damaged == content:
                damaged = flip(content, rng)
            target.path.write_bytes(damaged)
            wrong = apart(lambda target=target: judged(target, right[target.read, target.inputs]))
            report.add(side, wrong and f"{target.name}, {damage.__name__}, number {number} of seed {seed}: {wrong}")
            target.path.write_bytes(content)
    logging.disable(logging.NOTSET)
    return report


def judged(target: Target, right: str) -> str:
    """What is wrong about how a damaged file was read, or nothing."""
    before, noted_before = right.split()
    try:
        if digest(target.read()) == before:
            return ""
        if not target.ours and noted(target) != noted_before:
            return ""
    except REFUSALS:
        return ""
    except Exception as error:
        at, place = error.__traceback__, ""
        while at is not None:
            code = at.tb_frame.f_code
            place = f"{Path(code.co_filename).name}:{at.tb_lineno}" if "brain2clip" in code.co_filename else place
            at = at.tb_next
        return f"traceback {type(error).__name__} at {place}: {str(error)[:200]!r}"
    return "another content was read in silence"


def apart(work: Callable[[], str]) -> str:
    """What a function gives in a copy of this process, or how that process ended without an answer."""
    out, told = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            faulthandler.disable()
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            os.write(told, work().encode())
            code = 0
        finally:
            os._exit(code)
    os.close(told)
    with os.fdopen(out) as answer:
        if not select.select([answer], [], [], LIMIT_S)[0]:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"no end after {LIMIT_S} s"
        said = answer.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if ended == 0 else f"the process ended with {ended}"
