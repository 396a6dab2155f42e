"""Code fingerprint: blind to comments, docstrings and formatting; sees every formula that a stage can reach."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
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


def test_real_package_on_a_copied_tree(tmp_path):
    """The same code elsewhere has the same fingerprint, and a changed formula in it does not."""
    copied = tmp_path / "brain2clip"
    shutil.copytree(real.SOURCE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    name = "brain2clip.artefact"
    assert load(copied).fingerprint(name) == real.fingerprint(name)
    edit(copied, "artefact.py", "hexdigest()[:32]", "hexdigest()[:31]")
    assert load(copied).fingerprint(name) != real.fingerprint(name)
