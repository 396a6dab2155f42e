"""One loaded Python that forks: a job must not see a difference to a Python of its own, whatever happens to either."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from brain2clip import preloaded

#: Stands for the package: what a stage is called by, and stages that do one thing each.
STAGE = """
import sys
def main(run, arguments=None):
    run(sys.argv[1:] if arguments is None else arguments)
"""
JOB = """
import os, sys, time, signal
from pathlib import Path
with open(Path(__file__).with_name("imported"), "a") as file:
    file.write(f"{os.getpid()}\\n")
WORD = "as it was"
def share(given):
    import logging
    logging.info("a library of the loaded Python")
    Path(__file__).with_name("shared").write_text(str(os.getpid()))
    raise ValueError("nobody hears this")
def run(arguments):
    what = arguments[0]
    if what == "log":
        import logging
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        logging.info("what the job tells")
    print(WORD, arguments[1:], sys.argv[1:], os.getcwd(), os.environ["GIVEN"], sys.stdin.read(), flush=True)
    print("to the log", file=sys.stderr)
    if what == "exit":
        sys.exit(3)
    if what == "say":
        sys.exit("a sentence")
    if what == "mine":
        import resource
        limits = map(resource.getrlimit, (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE))
        print(oct(os.umask(0)), os.sched_getaffinity(0), *limits)
    if what == "raise":
        raise ValueError("found that")
    if what in ("KILL", "INT", "TERM"):
        os.kill(os.getpid(), getattr(signal, f"SIG{what}"))
        time.sleep(20)
    if what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path("pid").write_text(str(os.getpid()))
        time.sleep(20)
    if what == "wait":
        Path("pid").write_text(str(os.getpid()))
        try:
            time.sleep(20)
        except BaseException as end:
            Path("ended").write_text(type(end).__name__)
            raise
    if what == "soon":
        Path("pid").write_text(str(os.getpid()))
        time.sleep(0.7)
        Path("ended").write_text("by itself")
if __name__ == "__main__":
    from brain2clip import stage
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stage.main(run)
"""


@pytest.fixture
def source(tmp_path) -> Path:
    package = tmp_path / "src" / "brain2clip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    # As the real one: ends jobs by an exception.
    handler = "    import signal\n    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    (package / "stage.py").write_text(STAGE.replace("    run(", f"{handler}    run("))
    (package / "stage.py").open("a").write("\ndef parse(arguments):\n    return arguments\n")
    (package / "shared.py").write_text((Path(preloaded.__file__).with_name("shared.py")).read_text())
    (package / "job.py").write_text(JOB)
    return tmp_path / "src"


@pytest.fixture
def environment(source) -> Iterator[dict[str, str]]:
    """What jobs get, with a loaded Python."""
    given = {**os.environ, "PYTHONPATH": str(source), "GIVEN": "of the job", "OMP_NUM_THREADS": "1"}
    server = preloaded.start(source, given)
    assert server is not None
    yield given
    assert server.stdin is not None
    server.stdin.close()
    server.wait(10)


def test_of_libraries_alone_no_job_leaves_its_sources_to_the_next(source, tmp_path, monkeypatch):
    given = {**os.environ, "PYTHONPATH": str(source), "GIVEN": "", "OMP_NUM_THREADS": "1"}
    script = tmp_path / "preloaded.py"
    script.write_text(Path(preloaded.__file__).read_text().replace("LIBRARIES = (", "LIBRARIES = () and ("))  # fast
    monkeypatch.setattr(preloaded, "__file__", str(script))
    server = preloaded.start(None, given)
    assert server is not None
    assert server.stdin is not None
    for word in ("as it was", "as it is"):
        module = source / "brain2clip" / "job.py"
        module.write_text(module.read_text().replace("as it was", word))
        assert run(given, "well", tmp_path).stdout.startswith(word)
    server.stdin.close()
    server.wait(10)


def shell(words: str) -> list[str]:
    """A command as Snakemake gives it to bash."""
    python = f"export PATH={Path(sys.executable).parent}:$PATH"
    return ["bash", "-c", f"set -euo pipefail; {python}; {preloaded.function()}; {words}"]


def run(environment: dict[str, str], what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = shell(f"python -m brain2clip.job {what} 'two words'")
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, input="a line")


def imported(source: Path) -> list[str]:
    return (source / "brain2clip" / "imported").read_text().split()


def until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 10 s")


@pytest.mark.parametrize("what", ["well", "exit", "say", "raise", "KILL", "INT", "TERM"])
def test_a_job_ends_as_in_a_python_of_its_own(environment, source, tmp_path, what):
    alone = {name: value for name, value in environment.items() if name != preloaded.SOCKET}
    own, forked = run(alone, what, tmp_path), run(environment, what, tmp_path)
    assert len(imported(source)) == 2
    assert (forked.returncode, forked.stdout) == (own.returncode, own.stdout)
    assert own.returncode != 0 or what == "well"
    assert own.stderr.splitlines()[0] == forked.stderr.splitlines()[0] == "to the log"
    assert (own.stderr.splitlines()[-1:] == forked.stderr.splitlines()[-1:]) or what == "KILL"


def test_a_job_has_umask_cpus_and_limits_of_its_client(environment, source, tmp_path):
    cpu = min(os.sched_getaffinity(0))
    words = f"umask 027; ulimit -Sn 200; ulimit -c 0; taskset -p -c {cpu} $$ >&2; python -m brain2clip.job mine"
    alone = {name: value for name, value in environment.items() if name != preloaded.SOCKET}
    own, forked = (
        subprocess.run(shell(words), env=one, cwd=tmp_path, capture_output=True, text=True, input="")
        for one in (alone, environment)
    )
    assert own.stdout.splitlines()[1].startswith(f"0o27 {{{cpu}}} (200, ")
    assert forked.stdout == own.stdout
    assert len(imported(source)) == 2  # the loaded Python did it


def test_who_may_have_more_than_the_loaded_python_runs_in_one_of_its_own(source, tmp_path):
    given = {**os.environ, "PYTHONPATH": str(source), "GIVEN": "", "OMP_NUM_THREADS": "1"}
    server = preloaded.start(source, given)
    assert server is not None
    assert server.stdin is not None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, hard - 1):
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (200, limit))
        assert run(given, "exit", tmp_path).returncode == 3
    assert len(imported(source)) == 2
    server.stdin.close()
    server.wait(10)


def test_the_log_of_a_job_is_its_own_after_what_all_share(environment, source, tmp_path):
    done = run(environment, "log", tmp_path)
    assert done.stderr == "what the job tells\nto the log\n"
    assert (source / "brain2clip" / "shared").read_text() == imported(source)[0]


def test_what_jobs_need_is_loaded_once(environment, source, tmp_path):
    for _ in range(3):
        assert run(environment, "well", tmp_path).returncode == 0
    assert len(imported(source)) == 1


def test_sources_that_were_edited_since_run_as_they_are(environment, source, tmp_path):
    assert run(environment, "well", tmp_path).stdout.startswith("as it was")
    module = source / "brain2clip" / "job.py"
    module.write_text(module.read_text().replace("as it was", "as it is"))
    assert run(environment, "well", tmp_path).stdout.startswith("as it is")


@pytest.mark.parametrize(
    "changed", [{"OMP_NUM_THREADS": "2"}, {"PYTHONPATH": "."}, {preloaded.SOCKET: "gone"}, {preloaded.SOCKET: ""}]
)
def test_whom_it_cannot_serve_runs_in_a_python_of_its_own(environment, source, tmp_path, changed):
    assert run(environment, "well", tmp_path).returncode == 0
    (tmp_path / "brain2clip").symlink_to(source / "brain2clip")
    done = run({**environment, **changed}, "exit", tmp_path)
    assert (done.returncode, done.stdout.split()[:3]) == (3, ["as", "it", "was"])
    assert len(imported(source)) == 2


@pytest.mark.parametrize("folder", ["not there", "long/" + "name" * 30])
def test_without_a_place_for_its_socket_jobs_do_without_it(source, tmp_path, monkeypatch, folder):
    (tmp_path / "long" / ("name" * 30)).mkdir(parents=True)
    monkeypatch.setattr(preloaded.tempfile, "tempdir", str(tmp_path / folder))
    given = {**os.environ, "PYTHONPATH": str(source), "GIVEN": ""}
    assert preloaded.start(source, given) is None
    assert preloaded.SOCKET not in given
    assert list(tmp_path.rglob("brain2clip-*")) == []
    assert run(given, "well", tmp_path).returncode == 0


def test_where_no_process_can_be_made_the_client_is_told(tmp_path, monkeypatch):
    def full():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(preloaded.os, "fork", full)
    server = preloaded.Server(None, tmp_path, socket.socket())
    client, _ = socket.socketpair()
    with server.listening, client:
        asked = preloaded.Asked([], ["-m", "brain2clip.job"], str(tmp_path), {}, 0, [], {})
        assert server.forked(client, asked) is None
    assert server.jobs == {}


def test_other_python_commands_are_left_alone(environment, tmp_path):
    done = subprocess.run(shell("python -c 'print(6 * 7)'"), env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("42\n", 0)


def start(environment: dict[str, str], what: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A job in the background, as the client's process, and the number of the job's."""
    words = shell(f"exec {sys.executable} -I -S {preloaded.CLIENT} ${preloaded.SOCKET} -m brain2clip.job {what}")
    client = subprocess.Popen(words, env=environment, cwd=folder, stdin=subprocess.DEVNULL)
    until(lambda: (folder / "pid").exists() and (folder / "pid").read_text() != "")
    return client, int((folder / "pid").read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_the_client_ends_the_job(environment, tmp_path, number):
    client, job = start(environment, "wait", tmp_path)
    client.send_signal(number)
    assert client.wait(10) == (143 if number == signal.SIGTERM else -number)
    until(lambda: not psutil.pid_exists(job))
    assert (tmp_path / "ended").read_text() == "SystemExit"


def test_benchmarks_find_the_job_of_a_client(environment, tmp_path, monkeypatch):
    monkeypatch.setenv(preloaded.SOCKET, environment[preloaded.SOCKET])
    client, job = start(environment, "wait", tmp_path)
    assert preloaded.running(client.pid) == job
    assert preloaded.running(os.getpid()) is None
    client.terminate()
    client.wait(10)
    until(lambda: preloaded.running(client.pid) is None)


def test_jobs_end_well_when_who_started_all_is_gone(source, tmp_path):
    """As after a kill of Snakemake: the next run finds whole files, and nothing stays."""
    environment = {**os.environ, "PYTHONPATH": str(source), "GIVEN": "", "OMP_NUM_THREADS": "1"}
    server = preloaded.start(source, environment)
    assert server is not None
    client, job = start(environment, "soon", tmp_path)
    assert server.stdin is not None
    server.stdin.close()
    assert client.wait(10) == 0
    assert server.wait(10) == 0
    assert (tmp_path / "ended").read_text() == "by itself"
    assert not psutil.pid_exists(job)
    assert not Path(environment[preloaded.SOCKET]).parent.exists()


@pytest.mark.parametrize("what", ["wait", "deaf"])
@pytest.mark.parametrize("how", ["who started it is gone", "asked to", "killed"])
def test_of_a_job_of_slurm_nothing_stays(source, tmp_path, monkeypatch, what, how):
    script = source / "brain2clip" / "preloaded.py"
    script.write_text(Path(preloaded.__file__).read_text().replace("GRACE_S = 10.0", "GRACE_S = 0.5"))
    monkeypatch.setattr(preloaded, "__file__", str(script))
    environment = {**os.environ, "PYTHONPATH": str(source), "GIVEN": "", "OMP_NUM_THREADS": "1"}
    server = preloaded.start(source, environment, bound=True)
    assert server is not None
    assert server.stdin is not None
    client, job = start(environment, what, tmp_path)
    if how == "who started it is gone":
        server.stdin.close()
    elif how == "asked to":
        server.terminate()
    else:
        server.kill()
    assert server.wait(10) == (-9 if how == "killed" else 0)
    until(lambda: not psutil.pid_exists(job) or psutil.Process(job).status() == psutil.STATUS_ZOMBIE)
    # What is killed outright can say nothing, nor can a job that had to be.
    assert client.wait(10) == (70 if what == "deaf" or how == "killed" else 143)
    assert Path(environment[preloaded.SOCKET]).parent.exists() == (how == "killed")
    if how == "killed":
        shutil.rmtree(Path(environment[preloaded.SOCKET]).parent)


def test_a_client_without_an_answer_says_so_and_ends_its_job(environment, tmp_path):
    client, job = start(environment, "wait", tmp_path)
    server = psutil.Process(job).parent()
    server.kill()
    assert client.wait(10) == 70
    until(lambda: not psutil.pid_exists(job) or psutil.Process(job).status() == psutil.STATUS_ZOMBIE)
