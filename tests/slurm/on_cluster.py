"""A copy of the project that runs on a throwaway cluster with the shipped profile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import ACCOUNT, PATIENCE_S, Cluster
from gates import Gates
from project import ROOT, SNAKEMAKE, Project

PROFILE = ROOT / "slurm" / "profile.yaml"
#: Lines of the profile that a site edits; here those of a site with a partition for GPU jobs.
PARTITIONS = ("slurm_partition", "set-resources", "train", "features", "vectors")


def site(profile: str, *keys: str) -> str:
    """The profile with some of its lines marked SITE uncommented, as a user does it."""
    for key in keys:
        profile, found = re.subn(rf"^( *)# ( *{key}:.*# SITE.*)$", r"\1\2", profile, flags=re.MULTILINE)
        assert found, f"slurm/profile.yaml has no line {key!r} marked SITE"
    return profile


class ClusterProject(Project):
    """A project whose jobs go to a cluster."""

    cluster: Cluster
    gates: Gates

    @classmethod
    def on(cls, cluster: Cluster, project: Project) -> ClusterProject:
        """Send the jobs of a project to a cluster."""
        made = cls(project.folder)
        made.edit(lambda config: config.update(missing_gpu="cpu"))  # those of the cluster are no GPUs
        made.cluster = cluster
        made.gates = Gates(project.folder / "gates")
        profile = project.folder / "slurm" / "profile.yaml"
        profile.parent.mkdir()
        keys = (*PARTITIONS, "slurm_account") if cluster.accounting else (*PARTITIONS, "slurm-status-command")
        profile.write_text(site(PROFILE.read_text(), *keys).replace("my-account", ACCOUNT))
        return made

    def edit_profile(self, old: str, new: str) -> None:
        self.replace("slurm/profile.yaml", old, new)

    def command(self, *arguments: str) -> list[str]:
        """As a user types it, but for the study, and for looking at the queue more often than once in 40 s."""
        if "-n" in arguments or "--unlock" in arguments:
            return super().command(*arguments)
        quick = ("--slurm-init-seconds-before-status-checks", "1", "--slurm-status-attempts", "1")
        return [
            *SNAKEMAKE,
            "--profile",
            "slurm",
            "--configfile",
            "tiny.yaml",
            *quick,
            "--latency-wait",
            "20",
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in self.cluster.environment.items() if key != "PYTHONPATH"}
        return inherited | self.gates.environment

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A run in the background; what it says goes to a file."""
        with (self.folder / "snakemake.out").open("ab") as output:
            return subprocess.Popen(
                self.command(*arguments), cwd=self.folder, env=self.environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def said(self) -> str:
        """What runs in the background said."""
        return (self.folder / "snakemake.out").read_text(errors="replace")

    def end(self, run: subprocess.Popen[bytes]) -> None:
        """Wait for a run in the background, which must succeed."""
        try:
            code = run.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.stop(run)
            raise AssertionError(f"still running after {PATIENCE_S} s\n{self.said()[-8000:]}") from None
        assert code == 0, self.said()[-8000:]

    def stop(self, run: subprocess.Popen[bytes]) -> None:
        """End a run that a failed test left, and its jobs."""
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        self.cluster.ask("scancel", "--user", self.cluster.user)

    def until(self, what: str, ready: Callable[[], Any], run: subprocess.Popen[bytes]) -> Any:
        """Wait while a run goes on."""
        end = time.monotonic() + PATIENCE_S
        while not (found := ready()):
            assert run.poll() is None, f"ended before {what}\n{self.said()[-8000:]}"
            assert time.monotonic() < end, f"no {what}\n{self.said()[-8000:]}"
            time.sleep(0.2)
        return found

    # ---------------------------------------------------------------------------------------------- jobs

    def jobs(self, rule: str = "", state: str = "") -> list[dict[str, str]]:
        """What SLURM remembers of the jobs of this project, of a rule, in a state; tasks of arrays one by one."""
        shown = self.cluster.ask("scontrol", "--oneliner", "show", "jobs").stdout
        found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown.splitlines() if line.startswith("JobId=")]
        return [
            job
            for job in found
            if job["WorkDir"] == str(self.folder) and rule in job.get("Comment", "") and state in job["JobState"]
        ]


def tables(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted((folder / "results/tables").iterdir())}


def copied(finished: Project, folder: Path) -> Project:
    """The finished study with all its results, to train some of it again."""
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Project(folder)
