"""Versions that were tested: the ranges are those of the package, and another version is told."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from brain2clip import fingerprint
from brain2clip.internals import versions

ROOT = Path(__file__).resolve().parents[2]


def test_ranges_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    assert {name: asked[name] for name in versions.TESTED} == {
        name: SpecifierSet(text) for name, text in versions.TESTED.items()
    }
    assert all("<" in text and ">=" in text for text in versions.TESTED.values())


def test_tested_versions_are_not_told():
    assert versions.untested() == []


@pytest.mark.parametrize("version", ["9.28.0", "9.26.3", "10.0.0rc1"])
def test_another_version_is_one_clear_line(monkeypatch, version):
    installed = {"snakemake": version, "open_clip_torch": "3.3.1", "snakemake-executor-plugin-slurm": None}
    monkeypatch.setattr(versions, "installed", installed.get)
    (line,) = versions.untested()
    assert line.startswith(
        f"snakemake {version} is outside of the versions that brain2clip was tested with (>=9.27,<9.28)"
    )
    assert "make env" in line
    assert "\n" not in line


def test_what_is_not_installed_has_no_version(monkeypatch):
    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    assert versions.installed("snakemake") is None
    assert versions.untested() == []


def test_ranges_are_in_no_fingerprint():
    """A wider range makes no result again; how open_clip is used does."""
    reached = fingerprint.reachable("brain2clip.training.train", "brain2clip.stimuli.features")
    assert "brain2clip.internals.open_clip" in reached
    assert not reached & {f"brain2clip.internals.{name}" for name in ("versions", "snakemake", "slurm_plugin")}
