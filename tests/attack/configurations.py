"""Configurations that are wrong by rule: each is refused in a sentence that names the key, or it is planned.

Every shipped configuration, and the tiny ones of the workflow's tests, is changed in one place: keys go, come twice or
are misspelt, values get another type or size, names point nowhere, blocks stand where others belong.
"""

from __future__ import annotations

import copy
import datetime
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from report import Report

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.plan.needs import check
from brain2clip.settings import files
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("configs", "workflow/studies", "tests/workflow")
SHIPPED = [ROOT / "config.yaml", *sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.yaml"))]
BASES = [*SHIPPED, *sorted(ROOT.glob("tests/attack/*.yaml"))]
#: Configurations that are named beside another one.
ADDED_TO = {"field-ready.yaml": "field.yaml"}
#: Configurations that are planned to the last job; of the others what is checked before.
PLANNED = ("tiny.yaml", "tiny-fmri.yaml", "things-eeg1.yaml", "readouts.yaml")
WRONG: tuple[Any, ...] = (
    *(None, True, False, "", " ", "text", "é☃", "a\nb", "{subject}", "$x_", "../..", "x" * 300, "\x00", "n/a", "none"),
    *(0, 1, -1, 3, 2**40, -(2**40), 10**400, 0.5, -0.5, 1e308, 1e-308, float("nan"), float("inf"), -float("inf")),
    *([], {}, [None], [[]], [{}], [0], ["a", "a"], {"a": {"b": 1}}, {"kind": None}, {"kind": "x"}, {"kind": ["x"]}),
    *({"kind": "x:Y"}, {"kind": {}}, {1: 2}, {None: None}, {"base": "x"}, {"base": None}, {"base": ["x"]}),
    *(datetime.date(2020, 1, 1), b"bytes", (1, 2), {"x"}),
)


@dataclass
class Mutant:
    """A configuration with one change.

    Attributes
    ----------
    raw : dict
    told : str
        What was changed, in words.
    names : list of str
        Words of which the refusal must hold one.
    """

    raw: dict[str, Any]
    told: str = ""
    names: list[str] = field(default_factory=list)


@cache
def base(path: Path) -> dict[str, Any]:
    """A configuration as it is shipped, with all terms accepted: unaccepted, nothing else of it is looked at."""
    raw = settings.read(path)
    if path.name in ADDED_TO:
        raw = settings.merge(settings.read(path.with_name(ADDED_TO[path.name])), raw)
    for study in raw["studies"].values():
        if "accept_terms" in study:
            study["accept_terms"] = True
    return raw


@cache
def plannable(path: Path) -> bool:
    """Whether it can be planned here: some need data that are not with the project."""
    try:
        check(Plan(settings.load(base(path))))
        Plan(settings.load(base(path))).runs()
    except InputError:
        return False
    return True


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all keys and items below a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, one in inside for found in [(*path, key), *places(one, (*path, key))]]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """What stands at a path."""
    for key in path:
        value = value[key]
    return value


def misspelt(text: str, rng: random.Random) -> str:
    """A word with a letter left out, doubled, or changed places with the next."""
    at_letter = rng.randrange(max(1, len(text)))
    before, letter, after = text[:at_letter], text[at_letter : at_letter + 1], text[at_letter + 1 :]
    return rng.choice(
        [before + after, before + letter * 2 + after, before + after[:1] + letter + after[1:], text + "z"]
    )


def mutated(raw: dict[str, Any], rng: random.Random) -> Mutant:
    """A copy with one change by a rule."""
    mutant = Mutant(copy.deepcopy(raw))
    path = rng.choice(places(raw))
    holder, last = at(mutant.raw, path[:-1]), path[-1]
    old = holder[last]
    keys = [str(key) for key in path if isinstance(key, str)]
    mutant.names = keys[-1:]
    where = ".".join(map(str, path))

    def put(value: Any) -> str:
        holder[last] = value
        if isinstance(value, dict):
            mutant.names.extend(map(str, value))
        return f"{where} = {value!r}"[:200]

    def delete() -> str:
        del holder[last]
        mutant.names += [str(old)] if isinstance(old, str) else keys[-2:-1]  # where nothing is left, the block
        return f"{where} deleted"

    def rename() -> str:
        if isinstance(holder, list):
            return put(misspelt(str(old), rng))
        name = misspelt(str(last), rng)
        holder[name] = holder.pop(last)
        mutant.names.append(name)
        return f"{where} renamed to {name!r}"

    def add() -> str:
        if not isinstance(old, dict):
            return put([old, old])
        stranger = rng.choice(places(raw))
        name = next((key for key in reversed(stranger) if isinstance(key, str)), "zzz")
        old[name] = copy.deepcopy(at(raw, stranger))
        mutant.names.append(name)
        return f"{where}.{name} added"

    def of_another_place() -> str:
        return put(copy.deepcopy(at(raw, rng.choice(places(raw)))))

    def turned() -> str:
        return put(old[0] if isinstance(old, list) and old else [old])

    def mirrored() -> str:
        return put(-old if isinstance(old, int | float) else old * 2 if isinstance(old, list | str) else {"x": old})

    def typed() -> str:
        return put(misspelt(old, rng)) if isinstance(old, str) else put(str(old))

    rules: list[Callable[[], str]] = [
        *(delete, rename, add, of_another_place, turned, mirrored, typed),
        *[lambda: put(copy.deepcopy(rng.choice(WRONG)))] * 5,
    ]
    mutant.told = rng.choice(rules)()
    return mutant


def misprinted(raw: dict[str, Any], rng: random.Random) -> tuple[str, str]:
    """Text of a configuration with a change that only the text shows, and what was changed."""
    lines = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True).splitlines()
    number = rng.randrange(len(lines))
    line = lines[number]
    match rng.randrange(5):
        case 0:
            return "\n".join([*lines[:number], line, *lines[number:]]), f"line {number + 1} twice"
        case 1:
            return "\n".join(lines)[: rng.randrange(1, 2000)], "cut short"
        case 2:
            return "\n".join([*lines[:number], "\t" + line, *lines[number + 1 :]]), f"tab in line {number + 1}"
        case 3:
            text = "\n".join(lines)
            place = rng.randrange(len(text))
            return text[:place] + rng.choice("{}[]:&*!|>%@`'\"#,\x00é") + text[place:], f"a letter at {place}"
        case _:
            return "\n".join([*lines[:number], *lines[number + 1 :]]), f"line {number + 1} left out"


def refusal_of(raw: dict[str, Any], path: Path) -> str | None:
    """What is said about a configuration, None where it is taken. Other errors than refusals come out."""
    try:
        config = settings.load(raw, "mine.yaml")
        if plannable(path):
            plan = Plan(config)
            check(plan)
            plan.runs()
            if path.name in PLANNED:
                plan.jobs()
    except (settings.SettingsError, InputError) as error:
        return str(error)
    return None


def attack(number: int, seed: int) -> str | None:
    """One attack: what went wrong in a line, None where nothing did."""
    rng = random.Random(f"{seed}-{number}")
    path = rng.choice(BASES)
    told, names = "", []
    try:
        if rng.random() < 0.15:
            text, told = misprinted(base(path), rng)
            raw = files.parsed(text, "mine.yaml")
            refusal_of(raw, path)
            return None
        mutant = mutated(base(path), rng)
        told, names = mutant.told, mutant.names
        refused = refusal_of(mutant.raw, path)
    except settings.SettingsError as error:
        return None if str(error).startswith("mine.yaml: ") else f"{number}: {path.name}: {told}: {error}"
    except Exception as error:  # what comes out is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{number}: {path.name}: {told}: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"[:600]
    if refused is not None and not any(name in refused for name in names):
        return f"{number}: {path.name}: {told}: no {' or '.join(names)} in: {refused}"[:600]
    return None


def run(count: int = 10_000, seed: int = 0) -> Report:
    """Attack with so many configurations; the same seed makes the same ones."""
    report = Report("configurations")
    for number in range(count):
        if (failure := attack(number, seed)) is not None:
            report.failures.append(failure)
        report.tried += 1
    return report


if __name__ == "__main__":
    import sys

    found = run(*map(int, sys.argv[1:]))
    print(*found.failures, f"{found.name}: {found.tried} tried, {len(found.failures)} failures", sep="\n")
    sys.exit(bool(found.failures))
