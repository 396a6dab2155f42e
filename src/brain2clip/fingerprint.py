"""Fingerprint of the code that a stage can reach, blind to comments, docstrings and formatting.

The Snakefile puts it into the parameters of each rule: a changed formula re-runs the stage, a changed comment
does not. Only the standard library is imported here, because every scheduled job parses the Snakefile.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
PACKAGE = SOURCE.name

#: Declarations only: what they resolve to is part of the settings of each stage, value by value.
NOT_COUNTED = (f"{PACKAGE}.settings", f"{PACKAGE}.fingerprint")


def fingerprint(*modules: str) -> str:
    """Digest of the syntax trees of modules and of all project modules that they import.

    Parameters
    ----------
    *modules : str
        Dotted names, for example ``"brain2clip.training.train"``.

    Returns
    -------
    str
        First 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for name in sorted(reachable(*modules)):
        digest.update(f"{name}\0{_canonical_source(name)}\0".encode())
    return digest.hexdigest()[:16]


def reachable(*modules: str) -> set[str]:
    """Names of the project modules that the given ones import, themselves included.

    Imports inside functions count; modules loaded by name at run time (studies) do not and are given as
    further roots by the caller.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or f"{name}.".startswith(tuple(f"{one}." for one in NOT_COUNTED)):
            continue
        if _file(name) is None:
            raise ValueError(f"fingerprint: no module {name!r} below {SOURCE}")
        found.add(name)
        waiting.extend(_imports(name))
        if "." in name:  # importing a module runs its package first
            waiting.append(name.rpartition(".")[0])
    return found


def _file(module: str) -> Path | None:
    """Source file of a dotted module name of this package, or None."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return None
    base = SOURCE.joinpath(*parts[1:])
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    assert file is not None
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Project modules named in import statements anywhere in a module."""
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(f"fingerprint: relative import in {module}; write it in full so that it is seen")
    return tuple(sorted(name for name in names if _file(name) is not None))


@cache
def _canonical_source(module: str) -> str:
    """Syntax tree as text, without docstrings; comments and formatting are not in a tree at all."""
    return ast.unparse(_WithoutText().visit(_tree(module)))  # steadier over Python versions than ast.dump


class _WithoutText(ast.NodeTransformer):
    """Drops statements that are only a text: docstrings of modules, classes, functions and constants."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return node
