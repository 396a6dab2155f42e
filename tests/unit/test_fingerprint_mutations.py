"""The fingerprint against the project's own sources: what computes is seen when it changes, what does not is not.

Some hundred edits of each sort are made by rule (``mutants.py``) in all modules that count, always the same ones.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import shutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from mutants import HARMLESS, MEANINGFUL, Edit, Source, chosen
from test_fingerprint import load

from brain2clip import fingerprint as real
from brain2clip import kinds

PACKAGE = real.PACKAGE
LEAST_MEANINGFUL, LEAST_HARMLESS = 500, 300


@cache
def sources() -> tuple[Source, ...]:
    """All modules that count."""
    names = ((name, file) for name, file in modules(real.SOURCE).items() if not_guarded(name))
    return tuple(Source(name, file.read_text(encoding="utf-8")) for name, file in names)


def modules(folder: Path) -> dict[str, Path]:
    """Files by dotted name."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        parts = (PACKAGE, *file.relative_to(folder).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def not_guarded(module: str) -> bool:
    return not any(f"{module}.".startswith(f"{name}.") for name in real.NOT_COUNTED.values())


@cache
def unchanged(module: str) -> str:
    return real.canonical(module)


@cache
def meaningful(kind: str) -> list[tuple[Source, Edit]]:
    """One edit of a kind in two of three modules, others for each kind."""
    turn = list(MEANINGFUL).index(kind)
    some = (source for number, source in enumerate(sources()) if (number + turn) % 3)
    return [
        (source, edit)
        for source in some
        for edit in chosen(list(MEANINGFUL[kind](source)), 1, f"{kind} {source.module}")
    ]


@cache
def harmless(kind: str) -> list[tuple[Source, list[Edit]]]:
    """All edits of a kind, by module."""
    return [(source, edits) for source in sources() if (edits := list(HARMLESS[kind](source)))]


def told(source: Source, edit: Edit) -> str:
    line = source.raw[: edit.start].count(b"\n") + 1
    return f"{source.module}:{line}: {source.raw[edit.start : edit.end].decode()!r} -> {edit.text!r}"


@pytest.mark.parametrize("kind", MEANINGFUL)
def test_what_computes_is_seen(kind):
    unseen = []
    for source, edit in meaningful(kind):
        if not is_seen(source, edit):
            unseen.append(told(source, edit))
    assert unseen == []


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_does_not_compute_is_not_seen(kind):
    seen = []
    for source, edits in harmless(kind):
        if real.canonical(source.module, source.edited(edits)) != unchanged(source.module):
            each = (told(source, edit) for edit in edits if is_seen(source, edit))
            seen.append(next(each, f"{source.module}: only all together"))
    assert seen == []


def is_seen(source: Source, edit: Edit) -> bool:
    return real.canonical(source.module, source.edited([edit])) != unchanged(source.module)


def test_there_are_enough_of_them_everywhere():
    many = {kind: len(meaningful(kind)) for kind in MEANINGFUL}
    few = {kind: sum(len(edits) for _, edits in harmless(kind)) for kind in HARMLESS}
    assert min(many.values()) >= 10, many
    assert min(few.values()) >= 5, few
    assert sum(many.values()) >= LEAST_MEANINGFUL, many
    assert sum(few.values()) - few["comments"] - few["docstrings"] - few["annotations"] >= LEAST_HARMLESS, few
    with_code = {source.module for source in sources() if unchanged(source.module)}
    assert {source.module for kind in MEANINGFUL for source, _ in meaningful(kind)} == with_code


def test_the_proof_fails_for_a_fingerprint_that_is_blind():
    blind = load(real.SOURCE)
    blind.SPECIAL[ast.Compare] = lambda writer, node: writer._write(node.left)
    some = meaningful("comparisons")[:20]
    texts = ((source.module, source.edited([edit])) for source, edit in some)
    assert sum(blind.canonical(module, text) == blind.canonical(module) for module, text in texts) > 5


# -------------------------------------------------------------------------------------------------- moves


def stages() -> list[str]:
    """Modules that are called as stages."""
    return [source.module for source in sources() if "stage.main(" in source.text]


def kinds_of(families: ModuleType) -> dict[tuple[str, str], str]:
    """Module of each shipped kind, by family and kind."""
    return {
        (family, kind): families.module_of(family, kind)
        for family in families.FAMILIES
        for kind in families.shipped(family)
    }


def load_kinds(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The copy of ``kinds.py``."""
    spec = importlib.util.spec_from_file_location(f"kinds_{root.parent.name}", root / "kinds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copied(tmp_path) -> Path:
    """A copy of the project's sources."""
    root = tmp_path / PACKAGE
    shutil.copytree(real.SOURCE, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def moved(root: Path, turn: int) -> tuple[dict[str, str], int]:
    """Move every third module and every third family of kinds, elsewhere and under another name; users follow.

    Kinds are found by the package of their family, so they move with it. Gives new names and how many files it touched.
    """
    there = modules(root)
    families = [family.package for family in kinds.FAMILIES.values()]
    free = [name for name in there if not_guarded(name) and there[name].name != "__init__.py"]
    free = [name for name in free if not name.startswith(tuple(f"{package}." for package in families))]
    places = itertools.cycle((f"{PACKAGE}.moved.deep", f"{PACKAGE}.moved", PACKAGE))
    moving = [*free[turn::3], *families[turn::3]]
    goals = {name: f"{next(places)}.{name.rpartition('.')[2]}_{number}" for number, name in enumerate(moving)}
    inside = {
        name: f"{goals[package]}.{name.removeprefix(f'{package}.')}"
        for package in families[turn::3]
        for name in there
        if name.startswith(f"{package}.")
    }
    new = goals | inside
    touched = 0
    for name, file in there.items():
        text = file.read_text(encoding="utf-8")
        followed = with_imports(Source(name, text), new)
        touched += followed != text or name in new
        file.write_text(followed, encoding="utf-8")
    (root / "moved/deep").mkdir(parents=True)
    (root / "moved/__init__.py").write_text('"""New."""\n')
    for number, (name, goal) in enumerate(goals.items()):
        target = root.joinpath(*goal.split(".")[1:])
        if there[name].name == "__init__.py":
            shutil.move(there[name].parent, target)
            continue
        file = target / "__init__.py" if number % 3 == 2 else target.with_suffix(".py")  # some become packages
        file.parent.mkdir(exist_ok=True)
        shutil.move(there[name], file)
    return new, touched


def with_imports(source: Source, new: dict[str, str]) -> str:
    """A source whose imports and texts say where things are now; names of modules follow where that is safe."""
    edits: list[Edit] = []
    bound = [node.arg for node in source.nodes if isinstance(node, ast.arg)]
    bound += [node.id for node in source.nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    # Where names stand in a text with values is not told before Python 3.12.
    bound += [
        part.id
        for node in source.nodes
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if isinstance(part, ast.Name)
    ]
    for node in source.nodes:
        if isinstance(node, ast.Constant) and node.value in new:  # packages in kinds.py, stages in the plan
            edits.append(source.replaced(node, repr(new[node.value])))
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(PACKAGE):
            continue
        lines = []
        for alias in node.names:
            module, name, known = node.module, alias.name, alias.asname or alias.name
            if f"{module}.{name}" in new:
                module, _, name = new[f"{module}.{name}"].rpartition(".")
                if known not in bound:
                    uses = (use for use in source.nodes if isinstance(use, ast.Name) and use.id == known)
                    edits += [source.replaced(use, name) for use in uses]
                    known = name
            lines.append(f"from {new.get(module, module)} import {name} as {known}")
        edits.append(source.replaced(node, ("\n" + " " * node.col_offset).join(lines)))
    return source.edited(list(set(edits)))  # several functions may import the same


@pytest.mark.parametrize("turn", range(3))
def test_files_that_move_cost_nothing(copied, monkeypatch, turn):
    new, touched = moved(copied, turn)
    copy = load(copied)
    assert touched >= 40
    before, after = kinds_of(kinds), kinds_of(load_kinds(copied, monkeypatch))
    assert after == {kind: new.get(module, module) for kind, module in before.items()}
    assert after != before
    for name in (*stages(), *before.values()):
        assert copy.fingerprint(new.get(name, name)) == real.fingerprint(name), name


def test_only_the_families_of_kinds_are_found_by_a_name_in_a_text():
    """Else a file that moves would cost what reaches it, or would not be found any more."""
    reached = real.reachable(*stages(), *kinds_of(kinds).values())
    texts = ((source, node) for source in sources() for node in source.nodes if isinstance(node, ast.Constant))
    assert {
        f"{source.module}:{node.lineno}"
        for source, node in texts
        if source.module in reached and isinstance(node.value, str) and node.value.startswith(f"{PACKAGE}.")
    } == set()


def test_a_new_family_and_a_new_kind_cost_nothing(copied, monkeypatch):
    families = copied / "kinds.py"
    text = families.read_text(encoding="utf-8")
    families.write_text(text.replace("FAMILIES = {", f'FAMILIES = {{"noses": Family("{PACKAGE}.noses", "Nose"),'))
    (copied / "noses").mkdir()
    (copied / "noses/__init__.py").write_text("")
    (copied / "noses/long.py").write_text("class Nose:\n    length = 3\n")
    for family in kinds.FAMILIES.values():
        folder = copied.joinpath(*family.package.split(".")[1:])
        (folder / "another.py").write_text(f"class {family.name}:\n    pass\n")
    after = load_kinds(copied, monkeypatch)
    assert after.module_of("noses", "long") == f"{PACKAGE}.noses.long"
    assert all("another" in after.shipped(family) for family in kinds.FAMILIES)
    copy = load(copied)
    for name in (*stages(), *kinds_of(kinds).values()):
        assert copy.fingerprint(name) == real.fingerprint(name), name
