"""The house: what a fresh machine meets before any Python of ours runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

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
    command = ["bash", "envs/install.sh", "envs/requirements.lock", ".venv/complete-1"]
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
