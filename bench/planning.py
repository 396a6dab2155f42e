"""Scale: time and memory to plan the paper and a ten times larger study, jobs per second, start-up of a job.

``python bench/planning.py`` (minutes; ``--subjects 20`` for less). Nothing is downloaded and no result of yours is
touched: the workflow is planned in a temporary folder, where one small job runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
#: Modules of stages that every study runs, light to heavy.
STAGES = ("reporting.tables", "responses.epochs", "retrieval.rank", "training.train")
#: Longest single argument of a command on Linux, bytes; tables and figures get theirs from a file.
ARGUMENT = 131_072
BY_FILE = ("tables", "figures")
#: Jobs that do nothing, for the scheduler alone.
EMPTY = """
rule all:
    input: [f"{i}.txt" for i in range(%d)]

rule one:
    output: "{i}.txt"
    shell: "touch {output}"
"""


@dataclass(frozen=True)
class Usage:
    """What a process used: elapsed and processor time (s), peak memory (GB), and what it said."""

    seconds: float
    cpu: float
    peak_gb: float
    output: str


def measured(command: list[str], folder: Path) -> Usage:
    """Run a command to its end; its children's processor time counts, the memory is that of the largest process."""
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment())
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{text[-3000:]}")
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9, text)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def large_study(subjects: int, seeds: int, methods: int, protocols: list[str]) -> dict[str, Any]:
    """A simulated study whose runs are subjects x seeds x methods x protocols."""
    from brain2clip import settings

    # Whole, because a method may have its settings from a base that is not taken along.
    demo = yaml.safe_load((ROOT / "workflow" / "studies" / "demo.yaml").read_text(encoding="utf-8"))
    config: dict[str, Any] = json.loads(settings.canonical(settings.load(demo)))
    config["results"] = "results"
    config["studies"]["simulated"]["subjects"] = subjects
    one = config["methods"]["neuroclip"]
    names = [f"neuroclip-{number}" for number in range(methods)]
    config["methods"] = {name: {**one, "objective": {"beta": n / 100}} for n, name in enumerate(names)}
    config["experiments"] = {
        "main": {
            "study": "simulated",
            "signals": ["broad"],
            "protocols": protocols,
            "methods": names,
            "seeds": list(range(seeds)),
        }
    }
    config["tables"] = {"main": {"kind": "methods", "experiments": ["main"], "metric": "top-1"}}
    return config


def paper() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def plan(folder: Path, config: dict[str, Any] | None) -> tuple[int, Usage]:
    """Jobs of a dry run in a fresh folder, and what it took."""
    command = [*SNAKEMAKE, "-n", "--quiet", "rules", "--cores", "2"]
    if config is not None:
        (folder / "large.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command += ["--configfile", "large.yaml"]
    used = measured(command, folder)
    total = re.search(r"^total\s+(\d+)$", used.output, re.MULTILINE)
    assert total is not None
    return int(total[1]), used


def jobs_per_second(folder: Path, jobs: int) -> float:
    """Empty jobs that the local scheduler starts and finishes in a second on two cores, planning left out."""
    (folder / "Snakefile").write_text(EMPTY % jobs, encoding="utf-8")
    command = [*SNAKEMAKE, "--cores", "2", "--quiet", "all"]
    planning = measured([*command, "-n"], folder).seconds
    return jobs / (measured(command, folder).seconds - planning)


def start_up(folder: Path, config: dict[str, Any]) -> Usage:
    """From the start of a job, as a scheduler starts it, to the first line of its stage (a light one).

    The processor time is that of the whole job, whose own work is next to nothing.
    """
    (folder / "large.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    job = ["--target-jobs", "simulate_dataset:study=simulated", "--allowed-rules", "simulate_dataset"]
    command = [
        *SNAKEMAKE,
        "--configfile",
        "large.yaml",
        "--cores",
        "1",
        "--mode",
        "remote",
        "--force",
        "--nolock",
        *job,
    ]
    log = folder / "results/logs/simulate_dataset/simulated.log"
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9, log.read_text(encoding="utf-8"))


def longest_arguments(config: dict[str, Any]) -> dict[str, int]:
    """Bytes of the longest spec by stage, of those that are one argument of a command line."""
    from brain2clip import settings
    from brain2clip.plan import Plan

    found: dict[str, int] = {}
    for job in Plan(settings.load(config)).jobs().values():
        if job.stage not in BY_FILE:
            found[job.stage] = max(found.get(job.stage, 0), len(job.spec.json.encode()))
    return found


def workflow_copy(folder: Path) -> Path:
    """A folder in which the workflow can be planned: links to its files, and no results."""
    folder.mkdir()
    for name in ("Snakefile", "config.yaml", "workflow", "src", "envs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, default=99, help="of the large study (at most 99)")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", type=int, default=10)
    parser.add_argument("--protocols", nargs="+", default=["intra"], choices=["intra", "inter"])
    parser.add_argument("--empty-jobs", type=int, default=200)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        shape = f"{given.subjects} subjects, {given.seeds} seeds, {given.methods} methods, {', '.join(given.protocols)}"
        large = large_study(given.subjects, given.seeds, given.methods, given.protocols)
        for number, (label, config) in enumerate((("the paper", None), (shape, large))):
            jobs, used = plan(workflow_copy(top / f"plan-{number}"), config)
            print(f"plan {label}: {jobs} jobs, {used.seconds:.1f} s ({used.cpu:.1f} s CPU), {used.peak_gb:.2f} GB")
            stage, size = max(longest_arguments(config or paper()).items(), key=lambda item: item[1])
            print(f"  longest spec: {stage}, {size:,} bytes (Linux takes {ARGUMENT:,} in one argument)")
        (top / "empty").mkdir()
        rate = jobs_per_second(top / "empty", given.empty_jobs)
        print(f"local scheduler, 2 cores, empty jobs: {rate:.1f} jobs per second")
        paper_sized = large_study(10, 5, 9, ["intra"])
        job = start_up(workflow_copy(top / "start"), paper_sized)
        print(f"start-up of a job: {job.seconds:.1f} s to the first line of a light stage ({job.cpu:.1f} s CPU in all)")
    commands = {"import of snakemake": "import snakemake.cli"}
    commands |= {f"imports of {stage}": f"import brain2clip.{stage}" for stage in STAGES}
    for label, code in commands.items():
        used = min((measured([sys.executable, "-c", code], ROOT) for _ in range(3)), key=lambda one: one.seconds)
        print(f"  {label}: {used.seconds:.1f} s ({used.cpu:.1f} s CPU)")


if __name__ == "__main__":
    main()
