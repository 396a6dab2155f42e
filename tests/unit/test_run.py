"""``brain2clip run`` and ``report`` with a stand-in for snakemake: signals, stale locks, report, what is printed."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Stands in for snakemake: notes its arguments, then starts a job that only a signal ends, where it is told to.
STAND_IN = """
import os, signal, subprocess, sys, time
from pathlib import Path

def note(text):
    with open("calls.txt", "a") as file:
        file.write(text + "\\n")

note(" ".join(sys.argv[1:]))
if Path("dies").exists():  # as snakemake does where it is killed: its lock stays, and so do its jobs
    Path(".snakemake/locks").mkdir(parents=True, exist_ok=True)
    Path(".snakemake/locks/0.input.lock").touch()
    job = subprocess.Popen(["sleep", "60"])
    note(f"job {job.pid}")
    os.kill(os.getpid(), signal.SIGKILL)
if Path("code.txt").exists():
    sys.exit(int(Path("code.txt").read_text()))
if "--report" in sys.argv:
    Path(sys.argv[sys.argv.index("--report") + 1]).write_text("report")
elif Path("wait").exists():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: note(f"signal {number}"))
    job = subprocess.Popen(["sleep", "60"])
    note("ready")
    job.wait()
    time.sleep(0.7)  # jobs have ended; a second signal would come now
    note(f"job ended by {-job.returncode}")
    sys.exit(7)
"""
CONFIG = "results: out\nstudies: {}\ntables:\n  second: {}\n  first: {}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with the command, the stand-in, a configuration and its results."""
    package = Path("src/brain2clip")
    for room in ("cli", "settings"):
        shutil.copytree(ROOT / package / room, tmp_path / package / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "__main__.py", "kinds.py", "names.py", "processes.py", "screen.py"):
        shutil.copy(ROOT / package / name, tmp_path / package)
    (tmp_path / "Snakefile").touch()
    (tmp_path / "snakemake.py").write_text(STAND_IN)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    (tmp_path / "out/tables").mkdir(parents=True)
    (tmp_path / "out/figures/study").mkdir(parents=True)
    for name in ("first", "second", "of-another-configuration"):
        (tmp_path / f"out/tables/{name}.md").write_text(f"| {name} |\n")
    (tmp_path / "out/figures/study/erp.svg").write_text("<svg/>")
    return tmp_path


@pytest.fixture
def run(folder: Path) -> ModuleType:
    """The module, its root being that repository."""
    spec = importlib.util.spec_from_file_location("run_of_copy", folder / "src/brain2clip/cli/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert folder == module.ROOT
    return module


def calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().splitlines() if (folder / "calls.txt").exists() else []


def wait_for(folder: Path, line: str) -> None:
    for _ in range(200):
        if line in calls(folder):
            return
        time.sleep(0.05)
    raise AssertionError(f"{line!r} did not come; {calls(folder)}")


def lock(folder: Path) -> Path:
    path = folder / ".snakemake/locks/0.input.lock"
    path.parent.mkdir(parents=True)
    path.write_text("out/tables/first.md\n")
    return path


def mark(folder: Path, host: str, pid: int) -> None:
    (folder / ".snakemake/brain2clip-run.json").write_text(json.dumps({"host": host, "pid": pid}))


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


# ----------------------------------------------------------------------------------------------- a run


def test_run_calls_snakemake_then_the_report_then_shows_the_tables(run, folder, capfd, monkeypatch):
    monkeypatch.chdir(folder)
    run.run(folder / "mine.yaml", "3")
    first, second = calls(folder)
    assert first == "--configfile mine.yaml --cores 3 --rerun-incomplete --show-failed-logs"
    assert second.startswith("--configfile mine.yaml --cores 1 --report out/.report-")
    assert (folder / "out/report.zip").read_text() == "report"
    assert not list((folder / "out").glob(".report-*"))
    assert not (folder / ".snakemake/brain2clip-run.json").exists()
    printed = capfd.readouterr().out
    assert printed.index("== second (out/tables/second.md)") < printed.index("== first (out/tables/first.md)")
    assert "of-another-configuration" not in printed
    assert printed.count("Report: ") == 1
    assert "Report:  out/report.zip (unpack it" in printed
    assert printed.strip().splitlines()[-1].startswith("Elapsed time: 0 min ")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    run.run(folder / "mine.yaml", "3")
    assert f"Report:  {folder / 'out/report.zip'} (unpack it" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("cores", "further", "passed"),
    [
        (None, ["--keep-going"], "--cores all --rerun-incomplete --show-failed-logs --keep-going"),
        (None, ["--profile", "slurm"], "--rerun-incomplete --show-failed-logs --profile slurm"),
        (None, ["--profile=slurm"], "--rerun-incomplete --show-failed-logs --profile=slurm"),
        ("2", ["--profile", "slurm"], "--cores 2 --rerun-incomplete --show-failed-logs --profile slurm"),
    ],
)
def test_further_arguments_are_those_of_snakemake(run, folder, cores, further, passed):
    run.run(folder / "mine.yaml", cores, further=further)
    assert calls(folder)[0] == f"--configfile mine.yaml {passed}"


def test_a_part_of_a_run_shows_no_tables_that_are_not_there(run, folder, capfd):
    (folder / "out/tables/second.md").unlink()
    run.run(folder / "mine.yaml", further=["--until", "train"])
    assert "Tables that are still to be made: second" in capfd.readouterr().out
    assert len(calls(folder)) == 1  # no report


@pytest.mark.parametrize(
    ("further", "told"),
    [
        (["--quiet", "progress"], True),
        (["--quiet", "rules", "all", "--until", "train"], False),
        (["-q=all"], False),
        (["--until", "all"], True),
    ],
)
def test_tables_are_shown_but_where_everything_is_to_be_quiet(run, folder, capfd, further, told):
    run.run(folder / "mine.yaml", further=further)
    assert bool(capfd.readouterr().out) == told


@pytest.mark.parametrize(
    ("dry", "further", "passed"), [(True, [], "--dry-run"), (False, ["-n"], "-n"), (True, ["--dryrun"], "--dryrun")]
)
def test_dry_run_leaves_lock_report_and_tables_alone(run, folder, capfd, dry, further, passed):
    path = lock(folder)
    run.run(folder / "mine.yaml", dry=dry, further=further)
    assert calls(folder) == [f"--configfile mine.yaml --cores all {passed}"]
    assert path.exists()
    assert capfd.readouterr().out == ""


def test_failure_of_snakemake_is_passed_on(run, folder):
    (folder / "code.txt").write_text("3")
    with pytest.raises(SystemExit) as stopped:
        run.run(folder / "mine.yaml")
    assert stopped.value.code == 3
    assert not (folder / "out/report.zip").exists()


def test_unreadable_configuration_is_one_sentence(run, folder):
    (folder / "mine.yaml").write_text("results: [")
    with pytest.raises(SystemExit, match=r"mine\.yaml: not a readable configuration"):
        run.run(folder / "mine.yaml")
    assert calls(folder) == []


def test_results_may_lie_outside_the_repository(run, folder, tmp_path_factory, capfd):
    outside = tmp_path_factory.mktemp("outside")
    (folder / "mine.yaml").write_text(f"results: {outside}\n")
    run.run(folder / "mine.yaml")
    assert (outside / "report.zip").is_file()
    assert f"Report:  {outside / 'report.zip'}" in capfd.readouterr().out


def test_failed_report_leaves_the_old_one(run, folder):
    report = folder / "out/report.zip"
    report.write_text("old")
    (folder / "code.txt").write_text("1")
    with pytest.raises(SystemExit):
        run.report(folder / "mine.yaml")
    assert report.read_text() == "old"
    assert not list((folder / "out").glob(".report-*"))


@pytest.mark.parametrize("newer", ["tables/first.md", "figures/study/erp.svg", None])
def test_report_is_out_of_date_where_a_table_or_figure_is_newer(run, folder, newer):
    results, report = folder / "out", folder / "out/report.zip"
    assert run.out_of_date(report, results)
    report.write_text("report")
    now = time.time()
    os.utime(report, (now + 10, now + 10))
    if newer:
        os.utime(results / newer, (now + 20, now + 20))
    assert run.out_of_date(report, results) == (newer is not None)


# ------------------------------------------------------------------------------------------- interrupts


@pytest.fixture
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run with a job that waits, in a process group of its own."""
    (folder / "wait").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "brain2clip", "run", "mine.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    wait_for(folder, "ready")
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [os.killpg, os.kill], ids=["to-the-group", "to-us-alone"])
def test_interrupt_reaches_snakemake_and_its_jobs_once(folder, running, send, number):
    assert json.loads((folder / ".snakemake/brain2clip-run.json").read_text())["host"] == platform.node()
    send(running.pid, number)
    assert running.wait(timeout=20) == 7
    assert calls(folder)[1:] == ["ready", f"signal {int(number)}", f"job ended by {int(number)}"]
    assert not (folder / ".snakemake/brain2clip-run.json").exists()


def test_killed_run_is_taken_up_again(run, folder, running):
    path = folder / ".snakemake/locks/0.input.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(SystemExit, match=f"Another run .process {run.marker()['pid']} on {platform.node()}"):
        run.run(folder / "mine.yaml")
    with pytest.raises(SystemExit, match="Another snakemake"):
        run.clear_away()
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    for _ in range(100):  # until init has collected the stand-in
        if not run.is_snakemake(run.marker()["pid"]):
            break
        time.sleep(0.05)
    (folder / "wait").unlink()
    run.run(folder / "mine.yaml")
    assert not path.exists()
    assert not run.MARKER.exists()


def test_a_run_whose_snakemake_lives_on_is_not_taken_for_dead(run, folder, running):
    """The lock is held by whoever of both lives longer."""
    running.kill()
    running.wait()
    with pytest.raises(SystemExit, match="Another run"):
        run.run(folder / "mine.yaml")


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_after_a_kill_of_snakemake_alone_the_next_run_goes_on(run, folder, capfd):
    """And its jobs are ended at once: they would write beside those of the next run."""
    (folder / "dies").touch()
    with pytest.raises(SystemExit) as stopped:
        run.run(folder / "mine.yaml")
    assert stopped.value.code == 128 + signal.SIGKILL
    told = capfd.readouterr().err
    assert "snakemake was killed (signal 9). Start again" in told
    assert "Stopping 1 processes of jobs" in told
    job = int(calls(folder)[1].removeprefix("job "))
    assert not alive(job)
    (folder / "dies").unlink()
    run.run(folder / "mine.yaml")
    assert not (folder / ".snakemake/locks/0.input.lock").exists()
    assert not run.MARKER.exists()


def test_jobs_of_another_session_are_left_alone(run, folder):
    """A cluster's: the next run takes them over."""
    made = {"host": platform.node(), "pid": dead_process(), "session": os.getsid(0), "name": "abc"}
    environment = {**os.environ, run.RUN: "abc"}
    left = subprocess.Popen(["sleep", "60"], env=environment)
    others = [
        subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True),
        subprocess.Popen(["sleep", "60"], env={**os.environ, run.RUN: "abd"}),
    ]
    try:
        run.end_jobs({**made, "host": "another-host"})
        run.end_jobs({})
        assert left.poll() is None
        run.end_jobs(made)
        assert left.poll() is not None
        assert [one.poll() for one in others] == [None, None]
    finally:
        for one in [left, *others]:
            one.kill()
            one.wait()


def test_a_file_system_without_locks_is_no_reason_to_stop(run, folder, monkeypatch):
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run.fcntl, "flock", unsupported)
    run.run(folder / "mine.yaml")
    assert len(calls(folder)) == 2


def test_a_full_disk_is_told_after_a_failure(run, folder, monkeypatch, capfd):
    (folder / "code.txt").write_text("1")
    shutil.rmtree(folder / "out")
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SystemExit):
        run.run(folder / "mine.yaml")
    assert f"{folder}: the disk is full; free some space" in capfd.readouterr().err


# ------------------------------------------------------------------------------------------------- lock


def test_lock_of_another_host_is_left_alone(run, folder):
    path = lock(folder)
    mark(folder, "another-host", dead_process())
    with pytest.raises(SystemExit, match=r"started on another-host .*snakemake --unlock"):
        run.clear_away()
    assert path.exists()


def test_lock_that_is_not_ours_is_left_alone(run, folder):
    path = lock(folder)
    with pytest.raises(SystemExit, match=r"without brain2clip run.*snakemake --unlock"):
        run.clear_away()
    assert path.exists()


def test_process_number_that_is_used_again_is_no_snakemake(run, folder):
    path = lock(folder)
    mark(folder, platform.node(), os.getpid())
    run.clear_away()
    assert not path.exists()


def test_a_pager_on_a_log_is_no_snakemake(run, folder):
    path = lock(folder)
    mark(folder, platform.node(), dead_process())
    pager = subprocess.Popen(["tail", "-f", ".snakemake/locks/0.input.lock"], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        run.clear_away()
    finally:
        pager.kill()
        pager.wait()
    assert not path.exists()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/somewhere/.venv/bin/python -m snakemake --cores all", True),
        ("/usr/bin/python3.12 /somewhere/bin/snakemake -n", True),
        ("python -u -m snakemake", True),
        ("less .snakemake/log/a.snakemake.log", False),
        ("vim Snakefile", False),
        ("python -m pytest tests/test_snakemake.py", False),
        ("bash -c snakemake", False),
        ("", False),
    ],
)
def test_command_lines_that_run_snakemake(run, command, expected):
    assert run.runs_snakemake(command.split()) is expected
