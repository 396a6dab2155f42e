"""The shipped profile on a real cluster: the study, and the faults that it must survive."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
from cluster import FOR_ACCOUNTING, MARK, Cluster, found
from on_cluster import ClusterProject, copied, tables
from project import Project

from brain2clip import artefact

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

TRAINED = "results/training/simulated/slow/intra/frozen/sub-{}_seed-0.safetensors"
BOTH = [TRAINED.format(subject) for subject in ("01", "02")]
FOUR = [*BOTH, *(path.replace("seed-0", "seed-1") for path in BOTH)]


def smaller(config: dict) -> None:
    """One band, within subjects: the rest would take twice as long and be no other kind of job."""
    config["experiments"]["main"]["protocols"] = ["intra"]
    del config["experiments"]["bands"]


def epochs_trained(path: Path) -> int:
    return artefact.stored_provenance(path).settings["method"]["optimiser"]["epochs"]


# ------------------------------------------------------------------------------------------------ the study


@pytest.fixture(scope="module")
def studied(request, tmp_path_factory) -> Iterator[tuple[ClusterProject, str]]:
    """The tiny study, from nothing to its tables; states by sacct, as the profile has it, where that can be had."""
    accounting = all(map(found, FOR_ACCOUNTING))
    cluster = request.getfixturevalue("accounted" if accounting else "cluster")
    project = ClusterProject.on(cluster, Project.create(tmp_path_factory.mktemp("studied") / "project"))
    project.edit(smaller)
    run = project.start("tables")
    try:
        project.end(run, 900)
        yield project, project.said()
    finally:
        project.stop(run)


def test_tables_equal_those_of_a_local_run(studied, finished, tmp_path):
    project, _ = studied
    local = copied(finished, tmp_path / "local")
    local.edit(smaller)
    local.run("tables")
    expected, made = tables(local.folder), tables(project.folder)
    assert made.keys() == expected.keys()
    for name, path in expected.items():
        if path.suffix == ".parquet":
            pd.testing.assert_frame_equal(pd.read_parquet(made[name]), pd.read_parquet(path), check_exact=True)
        else:
            assert made[name].read_text() == path.read_text()


def test_jobs_ask_for_what_rules_and_site_say(studied):
    project, _ = studied
    jobs = project.jobs()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert all(re.fullmatch(r"brain2clip_[0-9a-f-]{36}", job["JobName"]) for job in jobs)
    training = project.jobs("rule_train_wildcards_simulated")
    assert len(training) == 4
    assert {(job["TresPerJob"], job["Partition"]) for job in [*training, *project.jobs("rule_features")]} == {
        ("gres:gpu:1", "gpu")
    }
    others = [job for job in jobs if job not in training and "rule_features" not in job["Comment"]]
    assert {(job.get("TresPerJob"), job["Partition"]) for job in others} == {(None, "cpu")}
    if project.cluster.accounting:
        assert {job["Account"] for job in jobs} == {"brains"}


def in_arrays(project: ClusterProject) -> list[dict[str, str]]:
    """Trainings that are tasks of arrays: all that were ready at the same time, which may leave one out."""
    return [job for job in project.jobs("rule_train") if "ArrayTaskId" in job]


def test_training_is_an_array_and_short_jobs_are_one_job(studied):
    project, _ = studied
    training = in_arrays(project)
    assert 1 <= len({job["ArrayJobId"] for job in training}) <= len(training) / 2
    assert len(training) >= 3
    (evaluation,) = project.jobs("rule_evaluate")
    # Six jobs, two side by side in a job of two cores, so the memory of two.
    assert (evaluation["NumCPUs"], evaluation["MinMemoryNode"]) == ("2", "8000M")


def test_logs_are_kept_and_named_by_rule_and_wildcards(studied):
    project, _ = studied
    log = project.folder / "results/logs/train/simulated/broad/intra/neuroclip/sub-01_seed-0.log"
    assert "train: done" in log.read_text()
    logs = project.folder / ".snakemake/slurm_logs"
    (epochs,) = (logs / "rule_epochs/simulated_broad_01").glob("*.log")
    assert "(100%) done" in epochs.read_text()
    assert len(list((logs / "rule_train").glob("*_*.log"))) == len(in_arrays(project))


def test_the_second_time_there_is_nothing_to_do(studied):
    project, said = studied
    assert "Traceback" not in said
    assert "Nothing to be done" in project.run("tables").stderr


# ------------------------------------------------------------------------------------------------- faults


@pytest.fixture
def project(cluster: Cluster, finished: Project, tmp_path: Path) -> Iterator[ClusterProject]:
    """The band `slow` of the finished study on the cluster, where only its two trainings are to be made again."""

    def slow(config: dict) -> None:
        del config["experiments"]["main"], config["tables"]["contrast"]
        config["tables"]["main"]["experiments"] = ["bands"]
        config["methods"]["frozen"]["optimiser"].update(epochs=200)

    made = ClusterProject.on(cluster, copied(finished, tmp_path / "project"))
    made.edit(slow)
    yield made
    cluster.ask("scancel", "--user", cluster.user)
    cluster.wait("empty queue", lambda: not cluster.ask("squeue", "--noheader").stdout.strip())


def running(project: ClusterProject, run: subprocess.Popen[bytes], number: int) -> list[dict[str, str]]:
    """So many trainings, as soon as they run."""

    def ready() -> list[dict[str, str]]:
        jobs = project.jobs("rule_train", "RUNNING")
        return jobs if len(jobs) >= number else []

    return project.until(f"{number} trainings", ready, run)


def test_a_job_killed_by_memory_is_tried_again_with_more(project):
    project.edit_profile(
        "    slurm_partition: gpu       # SITE\n",
        "    slurm_partition: gpu       # SITE\n    mem_mb: attempt * 700\n    gres: gpu:1\n    gpu: 0\n",
    )
    run = project.start(TRAINED.format("01"))
    project.end(run)
    first, second = sorted(project.jobs("rule_train"), key=lambda job: int(job["JobId"]))
    assert (first["JobState"], first["MinMemoryNode"]) == ("FAILED", "700M")
    assert (second["JobState"], second["MinMemoryNode"]) == ("COMPLETED", "1400M")
    assert {job["TresPerNode"] for job in (first, second)} == {"gres:gpu:1"}
    (log,) = project.folder.glob(f".snakemake/slurm_logs/rule_train/*/{first['JobId']}.log")
    assert "exceeded memory limit" in log.read_text()
    assert epochs_trained(project.folder / TRAINED.format("01")) == 200


def test_scancel_and_a_controller_that_is_killed(project):
    run = project.start(*BOTH)
    try:
        one, _ = running(project, run, 2)
        project.cluster.call("scancel", "{ArrayJobId}_{ArrayTaskId}".format(**one))
        project.until("end of it", lambda: project.jobs("rule_train", "CANCELLED"), run)
        time.sleep(6)  # the controller writes down what it did every five seconds
        project.cluster.kill("slurmctld")
        time.sleep(3)
        project.cluster.start_controller()
        project.cluster.wait("controller", lambda: bool(project.jobs("rule_train")))
        project.end(run)
    finally:
        project.stop(run)
    assert sorted(job["JobState"] for job in project.jobs("rule_train")) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert [epochs_trained(project.folder / path) for path in BOTH] == [200, 200]
    assert project.planned("--", *BOTH) == {}


def test_a_node_that_goes_down(project):
    cluster = project.cluster
    run = project.start(*BOTH)
    try:
        lost, _ = running(project, run, 2)
        node, others = lost["NodeList"], {*cluster.nodes} - {lost["NodeList"]}
        cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        # SLURM puts it back into the queue and lets two minutes go by; nobody needs to wait for them here.
        waiting = lambda: [job for job in project.jobs("rule_train", "PENDING") if job["JobId"] == lost["JobId"]]  # noqa: E731
        project.until("job that was put back", waiting, run)
        cluster.call("scontrol", "update", f"jobid={lost['JobId']}", "starttime=now")
        project.end(run)
    finally:
        project.stop(run)
        cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
        cluster.wait("node", lambda: cluster.states()[node] == "idle")
    done = {job["JobId"]: job for job in project.jobs("rule_train", "COMPLETED")}
    assert len(done) == 2
    assert done[lost["JobId"]]["Restarts"] == "1"
    assert done[lost["JobId"]]["NodeList"] in others
    assert [epochs_trained(project.folder / path) for path in BOTH] == [200, 200]


def killed(project: ClusterProject, run: subprocess.Popen[bytes]) -> None:
    """Kill snakemake as a machine that loses power does; its jobs are not its children and go on."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    project.run("--unlock")


def test_snakemake_killed_and_started_again_neither_doubles_nor_repeats_a_job(project):
    project.edit(lambda config: config["experiments"]["bands"].update(seeds=[0, 1]))
    run = project.start(*FOUR)
    again = run
    try:
        running(project, run, 2)  # there are two GPUs for four trainings
        killed(project, run)
        project.cluster.wait("two trainings", lambda: len(project.jobs("rule_train", "COMPLETED")) >= 2, 300)
        again = project.start(*FOUR)
        project.end(again)
    finally:
        project.stop(again)
    training = project.jobs("rule_train")
    assert [job["JobState"] for job in training] == ["COMPLETED"] * 4
    said = project.said()
    assert "fit and stay" in said  # those that ended meanwhile
    assert len(re.findall(r"Job \d+ is in the queue already", said)) in (1, 2)
    assert said.count("has been submitted with SLURM jobid") + said.count("Submitted array job") == 1
    assert len({job["JobName"] for job in project.jobs()}) == 1
    assert project.planned("--", *FOUR) == {}
    # Every output was made by one process.
    logs = (project.folder / "results/logs/train/simulated/slow").rglob("*.log")
    assert [path.read_text().count("train: start") for path in logs] == [1] * 4


def test_a_job_in_the_queue_that_does_something_else_is_cancelled(project):
    run = project.start(TRAINED.format("01"))
    again = run
    try:
        running(project, run, 1)
        killed(project, run)
        project.edit(lambda config: config["methods"]["frozen"]["optimiser"].update(epochs=3))
        again = project.start(TRAINED.format("01"))
        project.end(again)
    finally:
        project.stop(again)
    jobs = sorted(project.jobs("rule_train"), key=lambda job: int(job["JobId"]))
    assert [job["JobState"] for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert epochs_trained(project.folder / TRAINED.format("01")) == 3


def test_a_ceiling_of_gpus_with_arrays_loses_no_job(project):
    """The plugin alone submits none of three trainings that are ready when one may run, and waits for ever."""
    project.edit(lambda config: config["experiments"]["bands"].update(seeds=[0, 1]))
    run = project.start("--resources", "gpu=1", "--", *FOUR[:3])
    try:
        project.end(run)
    finally:
        project.stop(run)
    training = sorted(project.jobs("rule_train", "COMPLETED"), key=lambda job: job["StartTime"])
    assert len(training) == 3
    assert all(later["StartTime"] >= earlier["EndTime"] for earlier, later in itertools.pairwise(training))


# ------------------------------------------------------------------------------------------ the cluster itself


def test_a_cluster_whose_tests_are_killed_leaves_no_process(cluster, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from cluster import Cluster\n"
        "one = Cluster(Path(sys.argv[1])); one.start(); print('up', flush=True); time.sleep(600)"
    )
    folder = tmp_path / "cluster"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    def left() -> list[psutil.Process]:
        mine = []
        for one in psutil.process_iter():
            try:
                if one.environ().get(MARK) == str(folder) and one.status() != psutil.STATUS_ZOMBIE:
                    mine.append(one)
            except psutil.Error:
                continue
        return mine

    assert len(left()) >= 4
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while left() and time.monotonic() < end:
        time.sleep(0.2)
    assert left() == []
