"""The house: what a fresh machine meets before any Python of ours runs, and what holds the rooms apart."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import brain2clip

ROOT = Path(__file__).resolve().parents[2]


def stub(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path) -> tuple[Path, dict[str, str]]:
    """A folder with the installer, and an environment whose Pythons are all too old."""
    (tmp_path / "envs").mkdir()
    shutil.copy(ROOT / "envs/install.sh", tmp_path / "envs")
    (tmp_path / "envs/requirements.lock").write_text("nothing-of-that-name==1 --hash=sha256:" + "0" * 64 + "\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11", "python"):
        stub(tools, name, 'case "$1" in --version) echo "Python 3.9.2";; *) exit 1;; esac')
    return tmp_path, {**os.environ, "PATH": f"{tools}:/usr/bin:/bin", "PIP_NO_INDEX": "1"}


def install(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "envs/install.sh", "envs/requirements.lock", ".venv/complete-1", ".venv/installed-1"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_old_python_is_one_clear_sentence(machine):
    done = install(*machine)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_missing_venv_is_one_clear_sentence(machine):
    folder, environment = machine
    stub(folder / "tools", "python3", 'case "$*" in *ensurepip*) exit 1;; --version) echo "Python 3.12.1";; esac')
    done = install(folder, environment)
    assert done.returncode == 1
    assert "needs Python's modules venv and ensurepip" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_failed_installation_does_not_look_finished(machine):
    folder, environment = machine
    body = (
        'case "$*" in "-m venv --clear .venv") mkdir -p .venv/bin; printf "#!/bin/sh\\nexit 1\\n" > .venv/bin/python;'
    )
    stub(folder / "tools", "python3", body + ' chmod +x .venv/bin/python;; --version) echo "Python 3.12.1";; esac')
    done = install(folder, environment)
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert list(folder.glob(".venv/complete-*")) == []


def test_packages_are_compiled_once_after_they_are_installed(machine):
    """Also where Python may write no bytecode; files for other Pythons do not compile, which stops nothing."""
    folder, environment = machine
    note = r'printf "#!/bin/sh\necho \"\$*\" >> calls\n[ \"\$2\" != compileall ]\n" > .venv/bin/python'
    made = f'case "$*" in "-m venv --clear .venv") mkdir -p .venv/bin; {note}; chmod +x .venv/bin/python;;'
    stub(folder / "tools", "python3", made + ' --version) echo "Python 3.12.1";; esac')
    stub(folder / "tools", "uv", "exit 1")
    assert install(folder, environment).returncode == 0
    packages, compiled, own = (folder / "calls").read_text().splitlines()
    assert "--require-hashes" in packages
    assert re.fullmatch(r"-m compileall -q -j 0 -x /\(tests\?\|\S+\)/ \.venv/lib", compiled)
    assert "--editable" in own
    assert sorted(path.name for path in folder.glob(".venv/*-*")) == ["complete-1", "installed-1"]


@pytest.mark.parametrize("code", [0, 1])
def test_where_only_the_package_is_out_of_date_only_it_is_installed(machine, code):
    folder, environment = machine  # no Python that could make a .venv
    (folder / ".venv/bin").mkdir(parents=True)
    stub(folder / ".venv/bin", "python", f'echo "$*" >> calls; exit {code}')
    for name in ("complete-1", "installed-0"):
        (folder / ".venv" / name).touch()
    done = install(folder, environment)
    assert done.returncode == code
    (call,) = (folder / "calls").read_text().splitlines()
    assert call.startswith("-m pip install ")
    assert call.endswith("--no-index --no-deps --no-build-isolation --editable .")
    assert ("could not be installed" in done.stderr) == bool(code)
    assert sorted(path.name for path in folder.glob(".venv/*-*")) == ["complete-1", "installed-1"][: 2 - code]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_env_notices_a_changed_lock_version_and_command_and_nothing_else(tmp_path):
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    files = ("Makefile", "pyproject.toml", "envs/requirements.lock", "src/brain2clip/__init__.py")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def stamps(name: str, old: str, new: str) -> list[str]:
        text = (ROOT / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new, 1))
        command = ["make", "--no-print-directory", "-n", "env"]
        told = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=True).stdout
        (tmp_path / name).write_text(text)
        return told.split()[-2:]

    packages, package = stamps("Makefile", "", "")
    assert packages.startswith(".venv/complete-")
    assert package.startswith(".venv/installed-")
    assert stamps("pyproject.toml", "line-length = 120", "line-length = 100") == [packages, package]
    for name, old in ((files[1], "[project.scripts]\n"), (files[3], brain2clip.__version__)):
        same, other = stamps(name, old, f"{old}1")
        assert (same == packages, other == package) == (True, False)
    other, another = stamps(files[2], "==", "==1")
    assert (other == packages, another == package) == (False, False)


def test_lock_pins_every_file_and_names_no_host():
    text = (ROOT / "envs/requirements.lock").read_text()
    pins = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    assert len(pins) > 50
    assert [pin.splitlines()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
    assert "://" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")


def test_conda_environment_wraps_the_same_lock():
    packages = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())["dependencies"]
    assert {"pip": ["-r requirements.lock"]} in packages


def test_profile_names_no_site():
    profile = yaml.safe_load((ROOT / "slurm/profile.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert set(profile["default-resources"]) == {"mem_mb", "runtime"}
    # A scalar that names a file in the profile's folder is rewritten by snakemake to that file.
    names = {entry.name for entry in (ROOT / "slurm").iterdir()}
    assert not names & {str(value) for value in profile.values()}
    assert not (ROOT / "slurm" / "config.yaml").exists()
    assert not (ROOT / "profiles").exists()


def test_citation_is_valid_yaml_with_the_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == "BSD-3-Clause"
    assert all({"title", "authors", "type"} <= set(entry) for entry in citation["references"])
    assert citation["version"] == brain2clip.__version__


# ---------------------------------------------------------------------------------------------- habits


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_pre_commit_calls_what_make_lint_calls():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    linted = [line.strip().replace("$(PY)", ".venv/bin/python") for line in recipe[1].splitlines()]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == linted
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in local["hooks"])


def test_changelog_begins_with_the_version_of_the_package():
    versions = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == brain2clip.__version__
    assert len(versions) == len(set(versions))


def test_editors_keep_the_line_length_of_the_linters():
    (length,) = re.findall(r"^max_line_length = (\d+)", (ROOT / ".editorconfig").read_text(), re.MULTILINE)
    tools = project()["tool"]
    assert int(length) == tools["ruff"]["line-length"] == tools["snakefmt"]["line_length"]


def test_lock_holds_what_the_package_asks_for():
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "envs/requirements.lock").read_text(), re.MULTILINE))
    asked = [*project()["project"]["dependencies"], *project()["project"]["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, asked):
        version = locked[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"{requirement} but {version} is locked"
        assert "==" not in str(requirement.specifier)


def test_libraries_whose_inside_is_touched_have_a_range_with_an_end():
    ranges = {one.name: str(one.specifier) for one in map(Requirement, project()["project"]["dependencies"])}
    for name in ("snakemake", "snakemake-executor-plugin-slurm", "open_clip_torch"):
        assert "<" in ranges[name]


# ----------------------------------------------------------------------------------------------- rooms

#: Rooms from the top of the house to its ground. Imports point downwards; rooms of one floor do not know each other.
FLOORS = (
    "__main__",
    "cli",
    "documents",
    "snakefile starting notebook",
    "preflight",
    "internals.slurm_plugin",
    "plan slurm",
    "reporting",
    "generation",
    "retrieval",
    "training",
    "models",
    "responses stimuli",
    "simulation downloads studies",
    "internals.open_clip internals.torch_device internals.snakemake_locks internals.snakemake_log readers",
    "internals.snakemake",
    "records siblings",
    "stage",
    "artefact",
    "fingerprint sealing settings",
    "kinds",
    "names processes screen shared internals.versions internals.open_clip_files internals.torch_attention",
    "preloaded preloaded_client",
)
SOURCE = ROOT / "src" / "brain2clip"


def dotted(path: Path) -> str:
    """Name of a module below the package; empty for the package itself."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {dotted(path): path for path in SOURCE.rglob("*.py")}


class Imports(ast.NodeVisitor):
    """Modules of ours that are imported when the code runs; what only type checkers read is left out."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        for part in node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else [*node.body, *node.orelse]:
            self.visit(part)

    def visit_Import(self, node: ast.Import) -> None:
        self.found.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        full = [f"{node.module}.{alias.name}" for alias in node.names]
        self.found.update(one if one.removeprefix("brain2clip.") in MODULES else str(node.module) for one in full)


def imports(module: str) -> set[str]:
    visitor = Imports()
    visitor.visit(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    ours = {name.removeprefix("brain2clip").lstrip(".") for name in visitor.found if name.split(".")[0] == "brain2clip"}
    return ours & set(MODULES)


def room(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "internals" else parts[0]


def test_imports_point_downwards():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
    wrong = [
        f"{module} imports {one}"
        for module in MODULES
        for one in imports(module)
        if one and room(one) != room(module) and floor[room(one)] <= floor[room(module)]
    ]
    assert sorted(wrong) == []


def test_imports_go_round_in_no_circle():
    """Within rooms as well, and by names inside of functions, too."""
    open_ones: list[str] = []
    done: set[str] = set()

    def follow(module: str) -> None:
        assert module not in open_ones, " -> ".join([*open_ones[open_ones.index(module) :], module])
        if module in done:
            return
        open_ones.append(module)
        for one in sorted(imports(module)):
            follow(one)
        done.add(open_ones.pop())

    for module in sorted(MODULES):
        follow(module)


def test_requirements_are_what_is_imported():
    """Of those that nobody imports, each is there for another library to find."""
    names = {"open_clip_torch": "open_clip", "pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
    required = [one.name for one in map(Requirement, project()["project"]["dependencies"])]
    asked = {names.get(name, name.replace("-", "_")) for name in required}
    used = set()
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                used.add(str(node.module).partition(".")[0])
    assert asked - used <= {"pybv", "torchvision"}
    brought_by_them = {"annotated_types", "pydantic_core", "huggingface_hub", "markupsafe"}
    for_the_site = {"mkdocs"}  # the extra docs
    extra = {one.name for one in map(Requirement, project()["project"]["optional-dependencies"]["generate"])}
    assert extra <= used
    others = used - asked - extra - brought_by_them - for_the_site - sys.stdlib_module_names
    assert {name for name in others if not name.startswith("snakemake_interface_")} == {"brain2clip"}


def test_no_two_test_files_have_one_name():
    """The folders of tests are no packages: of two files with one name, pytest could collect only the first."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name, number in names.items() if number > 1 and name != "conftest.py"] == []
