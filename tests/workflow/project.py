"""A copy of the project in a temporary folder, to run and to edit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from planner import planner
from preloaded import preloaded

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Snakefile", "config.yaml", "envs", "src", "workflow")
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "tiny.yaml"

    @classmethod
    def create(cls, folder: Path, config: str = "tiny.yaml") -> Project:
        """A copy without results; its configuration is that of these tests of the given name."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder / name)
        shutil.copy2(Path(__file__).parent / config, folder / "tiny.yaml")
        return cls(folder)

    def copy(self, folder: Path) -> Project:
        """Another copy with its results, times kept."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    @property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.config_file.read_text())

    def write_config(self, config: dict[str, Any], sort_keys: bool = False) -> None:
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=sort_keys))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        config = self.config
        change(config)
        self.write_config(config)

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) >= 1, f"{old!r} does not stand in {file}"
        path.write_text(text.replace(old, new, 1))

    def command(self, *arguments: str) -> list[str]:
        return [*SNAKEMAKE, "--configfile", "tiny.yaml", "--cores", "2", *arguments]

    def environment(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(
        self, *arguments: str, check: bool = True, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment(), **(variables or {})}
        return self.ended(planner().run(self.folder, self.command(*arguments)[3:], environment), check)

    def run_as_typed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same in a Python of its own."""
        command = self.command(*arguments)
        return self.ended(
            subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True)
        )

    @staticmethod
    def ended(done: subprocess.CompletedProcess[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        if check and done.returncode:
            raise AssertionError(f"snakemake failed\n{done.stdout[-3000:]}\n{done.stderr[-8000:]}")
        return done

    def run_preloaded(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same with libraries that its jobs need not load: many small jobs take a third of the time."""
        return self.run("--show-failed-logs", *arguments, variables=preloaded())

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A run in the background in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env={**self.environment(), **(variables or {})},
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs per rule of a dry run, without the rule that only collects."""
        return self.counted(self.run("-n", "--quiet", "rules", *arguments))

    @staticmethod
    def counted(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
        """Jobs per rule that a dry run said."""
        table = re.search(r"Job stats:\njob\s+count\n[- ]+\n(.*?)\ntotal", done.stdout + done.stderr, re.DOTALL)
        if table is None:
            assert "Nothing to be done" in done.stdout + done.stderr, done.stdout + done.stderr
            return {}
        counts = {line.split()[0]: int(line.split()[1]) for line in table[1].splitlines() if line.strip()}
        counts.pop("all", None)
        return counts


def other_content(path: Path) -> None:
    """Another byte; size and time stay, as after `rsync -t` or `tar`."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def picture_of(project: Project) -> Path:
    return min((project.folder / "results/raw/simulated/stimuli").rglob("*.png"))
