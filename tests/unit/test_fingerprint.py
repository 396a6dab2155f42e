"""Code fingerprint: sees what can change content in all that a stage can reach, and neither texts nor places.

On small sources here; on those of the project in ``test_fingerprint_mutations.py``.
"""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from brain2clip import fingerprint as real

STAGE = "brain2clip.alpha.stage"
PACKAGE = {
    "__init__.py": '"""Package."""\n',
    "settings.py": "LIMIT = 1\n",
    "alpha/__init__.py": '"""Alpha."""\n',
    "alpha/stage.py": (
        '"""A stage."""\n'
        "from brain2clip import settings\n"
        "from brain2clip.beta import formula\n"
        "\n"
        "\n"
        "def run(x):\n"
        '    """Run it."""\n'
        "    from brain2clip.gamma.late import late\n"
        "\n"
        "    return formula.scale(x) + late(x)  # the sum\n"
        "\n"
        "\n"
        "class Empty:\n"
        '    """Nothing but this."""\n'
    ),
    "beta/__init__.py": "",
    "beta/formula.py": "FACTOR = 2\n\n\ndef scale(x):\n    return FACTOR * x\n",
    "beta/unused.py": "ANSWER = 42\n",
    "gamma/__init__.py": "",
    "gamma/late.py": "def late(x):\n    return x**2\n",
}
_numbers = itertools.count()


@pytest.fixture
def tree(tmp_path) -> Path:
    """A small package with the real ``fingerprint.py`` in it."""
    root = tmp_path / "brain2clip"
    for name, text in PACKAGE.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shutil.copy(real.__file__, root / "fingerprint.py")
    return root


def load(root: Path):
    """The copy of ``fingerprint.py``, fresh: what it parsed is kept for the life of a process."""
    spec = importlib.util.spec_from_file_location(f"fingerprint_{next(_numbers)}", root / "fingerprint.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def edit(root: Path, name: str, old: str, new: str) -> None:
    file = root / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("alpha/stage.py", "# the sum", "# another comment"),
        ("alpha/stage.py", "  # the sum", ""),
        ("alpha/stage.py", '"""A stage."""', '"""Another text,\n\nlonger.\n"""'),
        ("alpha/stage.py", '    """Run it."""\n', ""),
        ("alpha/stage.py", '"""Nothing but this."""', '"""Something else."""'),
        ("alpha/stage.py", "formula.scale(x) + late(x)", "(\n        formula.scale(x)\n        + late( x )\n    )"),
        ("beta/formula.py", "\n\n\ndef", "\n\ndef"),
        ("beta/unused.py", "42", "43"),
        ("settings.py", "LIMIT = 1", "LIMIT = 2"),
        ("gamma/__init__.py", "", '"""Gamma."""\n__all__ = ["late"]\n'),
        ("__init__.py", '"""Package."""', '__version__ = "2"'),
    ],
)
def test_does_not_change(tree, name, old, new):
    before = load(tree).fingerprint(STAGE)
    edit(tree, name, old, new)
    assert load(tree).fingerprint(STAGE) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("alpha/stage.py", "formula.scale(x) + late(x)", "formula.scale(x) - late(x)"),
        ("beta/formula.py", "FACTOR = 2", "FACTOR = 3"),
        ("beta/formula.py", "FACTOR = 2", "FACTOR = 2.0"),
        ("gamma/late.py", "x**2", "x**3"),
        ("gamma/__init__.py", "", "import os\n"),
        ("alpha/stage.py", "class Empty", "class Full"),
    ],
)
def test_changes(tree, name, old, new):
    before = load(tree).fingerprint(STAGE)
    edit(tree, name, old, new)
    assert load(tree).fingerprint(STAGE) != before


def test_reaches_imports_inside_functions_and_packages(tree):
    assert load(tree).reachable(STAGE) == {
        "brain2clip",
        "brain2clip.alpha",
        "brain2clip.alpha.stage",
        "brain2clip.beta",
        "brain2clip.beta.formula",
        "brain2clip.gamma",
        "brain2clip.gamma.late",
    }


def test_further_roots_count_and_their_order_does_not(tree):
    module = load(tree)
    both = module.fingerprint(STAGE, "brain2clip.beta.unused")
    assert both != module.fingerprint(STAGE)
    assert both == module.fingerprint("brain2clip.beta.unused", STAGE)


def test_circular_imports(tree):
    edit(tree, "beta/formula.py", "FACTOR = 2", "import brain2clip.alpha.stage\n\nFACTOR = 2")
    assert "brain2clip.beta.formula" in load(tree).reachable(STAGE)


def test_unknown_module(tree):
    with pytest.raises(ValueError, match=r"no module 'brain2clip\.nowhere'"):
        load(tree).fingerprint("brain2clip.nowhere")


def test_relative_import_is_refused(tree):
    edit(tree, "beta/formula.py", "FACTOR = 2", "from . import unused\n\nFACTOR = 2")
    with pytest.raises(ValueError, match=r"relative import in brain2clip\.beta\.formula"):
        load(tree).fingerprint(STAGE)


def test_importing_everything_is_refused(tree):
    edit(tree, "beta/formula.py", "FACTOR = 2", "from brain2clip.beta.unused import *\n\nFACTOR = 2")
    with pytest.raises(ValueError, match=r"import of everything in brain2clip\.beta\.formula"):
        load(tree).fingerprint(STAGE)


def test_the_settings_may_be_a_package(tree):
    before = load(tree).fingerprint(STAGE)
    edit(tree, "alpha/stage.py", "return formula", "assert settings.LIMIT\n    return formula")
    with_limit = load(tree).fingerprint(STAGE)
    assert with_limit != before
    (tree / "settings").mkdir()
    shutil.move(tree / "settings.py", tree / "settings/limits.py")
    (tree / "settings/__init__.py").write_text("from brain2clip.settings.limits import LIMIT\n")
    assert load(tree).fingerprint(STAGE) == with_limit
    edit(tree, "alpha/stage.py", "import settings", "import settings as old\nfrom brain2clip.settings import limits")
    edit(tree, "alpha/stage.py", "assert settings.", "assert limits.")
    assert load(tree).fingerprint(STAGE) == with_limit
    assert not {name for name in load(tree).reachable(STAGE) if "settings" in name}


def test_what_guards_itself_is_not_counted_but_what_is_taken_of_it_is(tree):
    (tree / "stage.py").write_text("from brain2clip.beta import unused\n\n\ndef main():\n    return 1\n")
    (tree / "artefact.py").write_text("def main():\n    return 2\n")
    edit(tree, "alpha/stage.py", "from brain2clip import settings", "from brain2clip import stage\n\nstage.main()")
    before = load(tree).fingerprint(STAGE)
    edit(tree, "stage.py", "return 1", "return 3")
    assert load(tree).fingerprint(STAGE) == before
    assert "brain2clip.beta.unused" not in load(tree).reachable(STAGE)
    edit(tree, "alpha/stage.py", "import stage", "import artefact as stage")
    assert load(tree).fingerprint(STAGE) != before


def test_where_kinds_are_is_not_counted_but_which_family_is_asked_is(tree):
    (tree / "kinds.py").write_text('FAMILIES = {"nets": "brain2clip.beta"}\n\n\ndef load(family): ...\n')
    edit(tree, "alpha/stage.py", "class Empty", "from brain2clip import kinds\n\nkinds.load('nets')\n\n\nclass Empty")
    before = load(tree).fingerprint(STAGE)
    edit(tree, "kinds.py", "FAMILIES = {", 'FAMILIES = {"rows": "brain2clip.gamma", ')
    assert load(tree).fingerprint(STAGE) == before
    edit(tree, "alpha/stage.py", "kinds.load('nets')", "kinds.load('rows')")
    assert load(tree).fingerprint(STAGE) != before


# --------------------------------------------------------------------------------------------- statements

#: What all statements below may use.
HEAD = """
import argparse
import dataclasses
import logging
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from pydantic import BaseModel, Field
from brain2clip.alpha.errors import InputError, Slow
from brain2clip.beta import formula, other

log = logging.getLogger("a")
parser = argparse.ArgumentParser()
"""
OTHER, FORMULA = "from brain2clip.beta.other", "from brain2clip.beta.formula"
EITHER = "if {}:\n    {} import scale\nelse:\n    {} import scale"
ERRORS = """
class InputError(ValueError):
    pass


class Slow(Exception):
    def __init__(self, text, wait):
        super().__init__(text)
        self.wait = wait
"""


def canonical(root: Path, text: str) -> str:
    (root / "alpha/errors.py").write_text(ERRORS)
    (root / "beta/other.py").write_text("FACTOR = 3\n\n\ndef scale(x):\n    return FACTOR * x\n\n\nlarge = scale\n")
    return load(root).canonical("brain2clip.alpha.text", HEAD + textwrap.dedent(text))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("if a:\n    raise InputError(f'{a} is wrong')", "if a:\n    raise InputError('wrong: ' + str(a))"),
        ("raise ValueError('a')", "raise ValueError"),
        ("raise Slow('a', 3)", "raise Slow(f'b{a}', 3)"),
        ("raise self.wrong(a, 'text')", "raise self.wrong(a, f'{a}')"),
        ("raise SystemExit('a')", "raise SystemExit('b')"),
        ("def f():\n    return InputError('a')", "def f():\n    return InputError('b')"),
        ("class Own(InputError):\n    pass\nraise Own('a')", "class Own(InputError):\n    pass\nraise Own('b', 1)"),
        ("log.info('a %d', x)", "log.warning('b')"),
        ("log.info('a')", ""),
        ("if x > 3:\n    log.info('a')", ""),
        ("log.info('%s', ', '.join(sorted(str(y) for y in x)))", "logging.error('%s', x)"),
        ("logging.getLogger('mne').setLevel('ERROR')", ""),
        ("report = logging.getLogger('b')\nreport.info('a')", ""),
        ("f = lambda x: log.info('a')", "f = lambda x: log.info('b %s', x)"),
        ("warnings.warn('a', UserWarning, stacklevel=2)", "warnings.warn(f'b {x}', UserWarning, stacklevel=2)"),
        ("assert x, 'a'", "assert x"),
        ("def f(a: int = 3) -> str:\n    b: int = 4", "def f(a=3):\n    c: str\n    b = 4"),
        ("def f(*a: int, b: 'X', **c: 'Y'): pass", "def f(*a, b, **c): ..."),
        ("@dataclass\nclass A:\n    a: int\n    b: int = 3", "@dataclass\nclass A:\n    a: str\n    b: float = 3"),
        ("class A(NamedTuple):\n    a: int", "class A(NamedTuple):\n    a: str"),
        ("@dataclasses.dataclass\nclass A:\n    a: int", "@dataclasses.dataclass\nclass A:\n    a: str"),
        ("if TYPE_CHECKING:\n    import pandas\nx = 1", "x = 1"),
        ("if TYPE_CHECKING:\n    from brain2clip.gamma.late import late\nelse:\n    late = 3", "late = 3"),
        ("from typing import Any\nx = 1", "from collections.abc import Mapping\nx = 1"),
        ("parser.add_argument('--a', help='a', metavar='A')", "parser.add_argument('--a', help='b')"),
        ("argparse.ArgumentParser(prog='a', description='b')", "argparse.ArgumentParser()"),
        ("class A(BaseModel):\n    a: int = Field(3, description='a')", "class A(BaseModel):\n    a: int = Field(3)"),
        ("import os\nimport re as r", "import re as r\nimport os"),
        ("from os import path, sep", "from os import sep\nfrom os import path"),
        ("formula.scale(1)", "import brain2clip.beta.formula\nbrain2clip.beta.formula.scale(1)"),
        ("formula.scale(1)", "from brain2clip.beta.formula import scale as s\ns(1)"),
        ("formula.scale(1)", "import brain2clip.beta.formula as f\nf.scale(1)"),
        ("def f():\n    formula.scale(1)", "def f():\n    from brain2clip.beta.formula import scale\n    scale(1)"),
        ("if x:\n    pass\nelse:\n    y()", "if x:\n    log.info('a')\nelse:\n    y()"),
    ],
)
def test_texts_do_not_count(tree, one, two):
    if "from brain2clip.gamma" in one:
        shutil.rmtree(tree / "gamma")
    assert canonical(tree, one) == canonical(tree, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("raise InputError('a')", "raise ValueError('a')"),
        ("if a:\n    raise InputError('a')", "if not a:\n    raise InputError('a')"),
        ("raise Slow('a', 3)", "raise Slow('a', 4)"),
        ("raise SystemExit(1)", "raise SystemExit(2)"),
        ("raise InputError('a') from None", "raise InputError('a')"),
        ("def f():\n    return InputError('a')", "def f():\n    return InputError"),
        ("log.info('%d', next(x))", "log.info('%d', 3)"),
        ("log.info('%d', next(x))", "log.info('%d', next(y))"),
        ("log.info(f'{(x := 3)}')", "log.info('3')"),
        ("log.info('%s', [x.pop() for _ in y])", "log.info('%s', y)"),
        ("log.info('%s', formula.scale(x))", "log.info('%s', x)"),
        ("if next(x):\n    log.info('a')", "log.info('a')"),
        ("def log(x): pass\nlog.info('a')", "def log(x): pass\nlog.info('b')"),
        ("math.log(3)", "math.log(4)"),
        ("np.log(3)", "np.log(4)"),
        ("from math import log\nlog(3)", "from math import log\nlog(4)"),
        ("def f(log):\n    log.error('a')", "def f(log):\n    log.error('b')"),
        ("warnings.warn('a', UserWarning)", "warnings.warn('a', FutureWarning)"),
        ("assert x, 'a'", "assert not x, 'a'"),
        ("raise KeyError(x)\ny = {'a': 1}", "raise KeyError(x)\ny = {'b': 1}"),
        ("x = 'a'", "x = 'b'"),
        ("x = f'a{y}'", "x = f'b{y}'"),
        ("x = f'{y:.2f}'", "x = f'{y:.3f}'"),
        ("x = f'{y}'", "x = f'{y!r}'"),
        ("def f(a: int = 3): pass", "def f(a: int = 4): pass"),
        ("def f(a, b): pass", "def f(b, a): pass"),
        ("def f(a, /, b): pass", "def f(a, b): pass"),
        ("def f(a, *, b): pass", "def f(a, b): pass"),
        ("def f(a, *b): pass", "def f(a, **b): pass"),
        ("def f(a, b=None): pass", "def f(a, b): pass"),
        ("@dataclass\nclass A:\n    a: int\n    b: int", "@dataclass\nclass A:\n    b: int\n    a: int"),
        ("@dataclass\nclass A:\n    a: int", "@dataclass\nclass A:\n    a: int = None"),
        ("@dataclass\nclass A:\n    a: int", "@dataclass\nclass A:\n    a: ClassVar[int]"),
        ("@dataclass\nclass A:\n    a: int", "class A:\n    a: int"),
        ("@other.x\nclass A(B): pass", "class A(other.x, B): pass"),
        ("class A(BaseModel):\n    a: int = 3", "class A(BaseModel):\n    a: str = 3"),
        ("class A(BaseModel):\n    a: int = Field(3, ge=1)", "class A(BaseModel):\n    a: int = Field(3, ge=2)"),
        ("class A(other.Block):\n    a: int = 3", "class A(other.Block):\n    a: str = 3"),
        ("@f.register\ndef _(a: int): pass", "@f.register\ndef _(a: str): pass"),
        ("parser.add_argument('--a', type=int)", "parser.add_argument('--a', type=float)"),
        ("parser.add_argument('--a')", "parser.add_argument('--b')"),
        ("figure.text(title='a')", "figure.text(title='b')"),
        ("import os", ""),
        ("from numpy import mean", "from numpy import median as mean"),
        ("def f():\n    import os", "def f():\n    pass"),
        ("if TYPE_CHECKING:\n    import os", "if x:\n    import os"),
        ("x: int = 3", "x: int"),
        ("self.x: int = 3", "self.x: int = 4"),
        ("match x:\n    case None: pass", "match x:\n    case True: pass"),
        ("x[1:]", "x[:1]"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("async def f(): pass", "def f(): pass"),
        ("[x async for x in y]", "[x for x in y]"),
        ("x = yield", "x = yield None"),
        # What is imported, whatever it is called.
        ("formula.scale(1)", "formula.FACTOR(1)"),
        ("formula.scale(1)", "other.scale(1)"),
        ("other.scale(1)", "other.large(1)"),
        (f"{OTHER} import scale\nscale(1)", f"{OTHER} import large as scale\nscale(1)"),
        ("f(formula)", "f(other)"),
        # Scopes: the same words for other things.
        ("def f():\n    return formula", "def f(formula):\n    return formula"),
        ("def f():\n    return formula", "def f():\n    formula = 3\n    return formula"),
        ("[formula for x in y]", "[formula for formula in y]"),
        (
            f"try:\n    {OTHER} import scale\nexcept A:\n    scale = 3",
            f"try:\n    {FORMULA} import scale\nexcept A:\n    scale = 3",
        ),
        (EITHER.format("x", OTHER, FORMULA), EITHER.format("not x", OTHER, FORMULA)),
        (EITHER.format("x", OTHER, FORMULA), EITHER.format("x", FORMULA, OTHER)),
    ],
)
def test_what_computes_counts(tree, one, two):
    assert canonical(tree, one) != canonical(tree, two)


# -------------------------------------------------------------------------------------------------- places


def move(root: Path, old: str, new: str, users: dict[str, list[tuple[str, str]]]) -> None:
    """Move a file and edit what uses it."""
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(root / old, root / new)
    for name, edits in users.items():
        for before, after in edits:
            edit(root, name, before, after)


def test_moved_and_renamed_files_cost_nothing(tree):
    before = load(tree).fingerprint(STAGE)
    uses = [
        ("brain2clip.beta import formula", "brain2clip.delta.deep import scales"),
        ("formula.scale", "scales.scale"),
    ]
    move(tree, "beta/formula.py", "delta/deep/scales.py", {"alpha/stage.py": uses})
    move(
        tree,
        "gamma/late.py",
        "late.py",
        {"alpha/stage.py": [("brain2clip.gamma.late import", "brain2clip.late import")]},
    )
    move(tree, "alpha/stage.py", "a_stage/__init__.py", {})
    assert load(tree).fingerprint("brain2clip.a_stage") == before


def test_a_package_may_pass_names_on(tree):
    before = load(tree).fingerprint(STAGE)
    (tree / "beta/__init__.py").write_text("from brain2clip.beta.formula import scale\n")
    edit(tree, "alpha/stage.py", "from brain2clip.beta import formula", "from brain2clip.beta import scale")
    edit(tree, "alpha/stage.py", "formula.scale(x)", "scale(x)")
    assert load(tree).fingerprint(STAGE) == before
    (tree / "beta/__init__.py").write_text("from brain2clip.beta.formula import FACTOR as scale\n")
    assert load(tree).fingerprint(STAGE) != before


def test_modules_that_differ_only_in_what_they_use_are_told_apart(tree):
    """A swap of two modules with the same text but for the origin of a name."""
    for name, source in (("one", "formula"), ("two", "unused")):
        (tree / f"beta/{name}.py").write_text(f"from brain2clip.beta import {source} as a\n\n\ndef f():\n    a.g()\n")
    text = "\nfrom brain2clip.beta import one, two\n\none.f()\nprint(two.f)\n"
    edit(tree, "alpha/stage.py", "class Empty", f"{text}class Empty")
    before = load(tree).fingerprint(STAGE)
    edit(tree, "alpha/stage.py", "import one, two", "import one as two, two as one")
    assert load(tree).fingerprint(STAGE) != before


def test_real_package_on_a_copied_tree(tmp_path):
    """The same code elsewhere has the same fingerprint, and a changed formula in it does not."""
    copied = tmp_path / "brain2clip"
    shutil.copytree(real.SOURCE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    name = next(f"brain2clip.{file.stem}" for file in sorted(copied.glob("*.py")) if counts(file.stem))
    assert load(copied).fingerprint(name) == real.fingerprint(name)
    with (copied / f"{name.partition('.')[2]}.py").open("a") as file:
        file.write("\nNEW = 1\n")
    assert load(copied).fingerprint(name) != real.fingerprint(name)


def test_from_which_process_a_job_forks_makes_nothing_again():
    assert "brain2clip.siblings" in real.reachable("brain2clip.training.train")
    assert "brain2clip.preloaded" not in real.reachable("brain2clip.training.train")


def counts(stem: str) -> bool:
    return stem != "__init__" and stem not in real.NOT_COUNTED


# ---------------------------------------------------------------------------------------------- elsewhere


@pytest.fixture
def lab(tree, tmp_path, monkeypatch) -> Path:
    """Modules of a user, in a folder on the path."""
    folder = tmp_path / "lab"
    (folder / "my_lab").mkdir(parents=True)
    (folder / "my_lab/__init__.py").write_text("raise RuntimeError('was imported')\n")
    (folder / "my_lab/nets.py").write_text(
        "import numpy\nfrom brain2clip.beta import formula\nfrom . import layers\nimport loose\n"
    )
    (folder / "my_lab/layers.py").write_text("WIDTH = 3\n")
    (folder / "loose.py").write_text("DEPTH = 3\n")
    (folder / "spaced/inner").mkdir(parents=True)
    (folder / "spaced/inner/nets.py").write_text("from ..other import x\n")
    (folder / "spaced/other.py").write_text("x = 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("my_lab/nets.py", "import numpy", "import numpy  # every byte"),
        ("my_lab/layers.py", "3", "4"),
        ("my_lab/__init__.py", "was", "is"),
        ("loose.py", "3", "4"),
        ("../brain2clip/beta/formula.py", "FACTOR = 2", "FACTOR = 3"),
    ],
)
def test_a_module_from_elsewhere_counts_with_what_it_uses(tree, lab, name, old, new):
    before = load(tree).fingerprint(STAGE, "my_lab.nets")
    assert before != load(tree).fingerprint(STAGE)
    edit(lab, name, old, new)
    assert load(tree).fingerprint(STAGE, "my_lab.nets") != before
    assert "my_lab" not in sys.modules


def test_folders_need_no_init(tree, lab):
    assert load(tree).reachable("spaced.inner.nets") == {"spaced.inner.nets", "spaced.other"}


def test_libraries_end_the_search(tree, lab):
    assert not {name for name in load(tree).reachable("my_lab.nets") if name.startswith("numpy")}


def test_the_folder_of_the_run_comes_first(tree, lab, tmp_path, monkeypatch):
    before = load(tree).fingerprint("loose")
    here = tmp_path / "here"
    here.mkdir()
    (here / "loose.py").write_text("DEPTH = 4\n")
    monkeypatch.chdir(here)
    assert load(tree).fingerprint("loose") != before


@pytest.mark.parametrize("name", ["my_lab.nowhere", "my_lab.nets.deeper", "nowhere_at_all"])
def test_a_missing_module_from_elsewhere(tree, lab, name):
    with pytest.raises(ValueError, match=rf"no module '{name}'; looked for its source file in ") as error:
        load(tree).fingerprint(name)
    assert name != "my_lab.nowhere" or str(lab / "my_lab") in str(error.value)
    assert name != "nowhere_at_all" or str(lab) in str(error.value)


# ---------------------------------------------------------------------------------------- what was computed


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Of a run: fingerprints are kept beside Snakemake's records."""
    (tmp_path / "run" / ".snakemake").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run" / ".snakemake"


def loaded_blind(root: Path):
    """As :func:`load`; nothing can be computed."""
    module = load(root)
    module._Source = None
    return module


def test_what_was_computed_of_the_same_bytes_is_computed_once(tree, folder):
    found = load(tree).fingerprint(STAGE)
    assert loaded_blind(tree).fingerprint(STAGE) == found
    with pytest.raises(TypeError):
        loaded_blind(tree).fingerprint("brain2clip.beta")
    edit(tree, "alpha/stage.py", "# the sum", "# another comment")
    with pytest.raises(TypeError):
        loaded_blind(tree).fingerprint(STAGE)
    assert load(tree).fingerprint(STAGE) == found
    (tree / "new.py").touch()
    with pytest.raises(TypeError):
        loaded_blind(tree).fingerprint(STAGE)


def test_a_source_that_is_edited_meanwhile_is_not_taken_for_what_was_read(tree, folder):
    early = load(tree)
    before = early.fingerprint("brain2clip.beta")
    (tree / "alpha/stage.py").write_text("changed = 1\n")
    found = early.fingerprint(STAGE)  # of what it has read
    assert load(tree).fingerprint(STAGE) != found
    assert load(tree).fingerprint("brain2clip.beta") == before


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sources": "other", "fingerprints": {}}'])
def test_what_cannot_be_read_or_written_is_computed_again(tree, folder, content):
    found = load(tree).fingerprint(STAGE)
    kept = folder / "brain2clip-fingerprints.json"
    kept.write_text(content)
    assert load(tree).fingerprint(STAGE) == found
    kept.unlink()
    kept.mkdir()
    assert load(tree).fingerprint(STAGE) == found
    kept.rmdir()
    folder.rmdir()
    assert load(tree).fingerprint(STAGE) == found
    assert not folder.exists()
