"""The shipped profile on a real cluster: the study, and the faults that it must survive."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from cluster import FOR_ACCOUNTING, MARK, Cluster, found
from on_cluster import ClusterProject, copied, tables
from project import ROOT, Project

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
def studied(request, finished, tmp_path_factory) -> Iterator[tuple[ClusterProject, str]]:
    """The tiny study, from recordings to tables; states by sacct, as the profile has it, where that can be had."""
    accounting = all(map(found, FOR_ACCOUNTING))
    cluster = request.getfixturevalue("accounted" if accounting else "cluster")
    project = ClusterProject.on(cluster, Project.create(tmp_path_factory.mktemp("studied") / "project"))
    project.edit(smaller)
    shutil.copytree(finished.folder / "results" / "raw", project.folder / "results" / "raw")
    run = project.start("tables")
    try:
        project.end(run)
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


EPOCHS = 2  # the finished study has one


@contextlib.contextmanager
def only_slow(cluster: Cluster, finished: Project, folder: Path) -> Iterator[ClusterProject]:
    """The band `slow` of the finished study on a cluster, where only its two trainings are to be made again."""

    def slow(config: dict) -> None:
        del config["experiments"]["main"], config["tables"]["contrast"]
        config["tables"]["main"]["experiments"] = ["bands"]
        config["methods"]["frozen"]["optimiser"].update(epochs=EPOCHS)

    made = ClusterProject.on(cluster, copied(finished, folder))
    made.edit(slow)
    try:
        yield made
    finally:
        cluster.ask("scancel", "--user", cluster.user)
        made.gates.open()
        cluster.wait("empty queue", lambda: not cluster.ask("squeue", "--noheader").stdout.strip())


@pytest.fixture
def project(cluster: Cluster, finished: Project, tmp_path: Path) -> Iterator[ClusterProject]:
    """Without accounting: states by squeue."""
    with only_slow(cluster, finished, tmp_path / "project") as made:
        yield made


@pytest.fixture
def accounted_project(request, finished: Project, tmp_path: Path) -> Iterator[ClusterProject]:
    """With accounting, states by sacct, where that can be had."""
    cluster = request.getfixturevalue("accounted" if all(map(found, FOR_ACCOUNTING)) else "cluster")
    with only_slow(cluster, finished, tmp_path / "project") as made:
        yield made


def running(project: ClusterProject, run: subprocess.Popen[bytes], number: int) -> list[dict[str, str]]:
    """So many trainings, as soon as they stand at their gates."""
    project.until(f"{number} trainings", lambda: len(project.gates.reached()) >= number, run)
    jobs = project.jobs("rule_train", "RUNNING")
    assert len(jobs) == number
    return jobs


def cancel(project: ClusterProject, job: dict[str, str]) -> None:
    """Cancel a job and wait until it has ended."""
    number = "{ArrayJobId}_{ArrayTaskId}".format(**job) if "ArrayJobId" in job else job["JobId"]
    project.cluster.call("scancel", number)
    ended = lambda: job["JobId"] in {one["JobId"] for one in project.jobs("rule_train", "CANCELLED")}  # noqa: E731
    project.cluster.wait("end of it", ended)


def test_a_job_killed_by_memory_is_tried_again_with_more(project):
    project.edit_profile(
        "    slurm_partition: gpu       # SITE\n",
        "    slurm_partition: gpu       # SITE\n    mem_mb: attempt * 700\n    gres: gpu:1\n    gpu: 0\n",
    )
    project.gates.close(BOTH[0], megabytes=800)
    run = project.start(BOTH[0])
    try:
        project.until("job killed by memory", lambda: project.jobs("rule_train", "FAILED"), run)
        project.gates.open()
        project.end(run)
    finally:
        project.stop(run)
    first, second = sorted(project.jobs("rule_train"), key=lambda job: int(job["JobId"]))
    assert (first["JobState"], first["MinMemoryNode"]) == ("FAILED", "700M")
    assert (second["JobState"], second["MinMemoryNode"]) == ("COMPLETED", "1400M")
    assert {job["TresPerNode"] for job in (first, second)} == {"gres:gpu:1"}
    (log,) = project.folder.glob(f".snakemake/slurm_logs/rule_train/*/{first['JobId']}.log")
    assert "exceeded memory limit" in log.read_text()
    assert epochs_trained(project.folder / BOTH[0]) == EPOCHS


def test_scancel_and_a_controller_that_is_killed_before_it_wrote_that_down(project):
    """The controller takes the job to be running, and would find out after half an hour."""
    project.gates.close(*BOTH)
    run = project.start(*BOTH)
    try:
        lost, _ = running(project, run, 2)
        project.cluster.keep_state()
        run.send_signal(signal.SIGSTOP)  # it sees nothing of this
        cancel(project, lost)
        project.cluster.crash()
        project.cluster.restart_controller()
        assert len(project.jobs("rule_train", "RUNNING")) == 2
        run.send_signal(signal.SIGCONT)
        project.until("third job", lambda: len(project.jobs("rule_train")) == 3, run)
        project.gates.open()
        project.end(run)
    finally:
        project.stop(run)
    states = {job["JobId"]: job["JobState"] for job in project.jobs("rule_train")}
    assert states.pop(lost["JobId"]) == "CANCELLED"
    assert list(states.values()) == ["COMPLETED"] * 2
    assert "lists it as running, but it was cancelled at" in project.said()
    assert [epochs_trained(project.folder / path) for path in BOTH] == [EPOCHS, EPOCHS]
    assert project.planned("--", *BOTH) == {}


def test_a_job_that_the_controller_has_forgotten(accounted_project):
    """The second attempt is unknown to the controller, which takes the first one to be running again."""
    project, cluster = accounted_project, accounted_project.cluster
    project.gates.close(BOTH[0])
    run = project.start(BOTH[0])
    try:
        (first,) = running(project, run, 1)
        cluster.keep_state()
        project.gates.forget()
        cancel(project, first)
        (second,) = running(project, run, 1)
        cluster.crash()
        project.until("look in vain", lambda: "SLURM does not answer" in project.said(), run)
        run.send_signal(signal.SIGSTOP)
        cluster.restart_controller()
        assert [job["JobId"] for job in project.jobs("rule_train")] == [first["JobId"]]
        # The controller has its node end it, and gives its number again.
        cluster.wait("end of the second attempt", lambda: not cluster.processes_of(second["JobId"]))
        run.send_signal(signal.SIGCONT)
        project.until("third attempt", lambda: len(project.jobs("rule_train")) == 2, run)
        project.gates.open()
        project.end(run)
    finally:
        project.stop(run)
    states = {job["JobId"]: job["JobState"] for job in project.jobs("rule_train")}
    assert states.pop(first["JobId"]) == "CANCELLED"  # a second time, and by us
    assert list(states.values()) == ["COMPLETED"]
    assert "SLURM no longer lists it" in project.said()
    assert epochs_trained(project.folder / BOTH[0]) == EPOCHS
    assert project.planned("--", BOTH[0]) == {}


def test_a_job_that_its_node_cannot_start_is_tried_again(project):
    """SLURM holds it back and shuts the node."""
    cluster = project.cluster
    project.gates.close(BOTH[0])
    (cluster.folder / "refused").touch()
    run = project.start(BOTH[0])
    try:
        project.until("shut node", lambda: "drained" in cluster.states().values(), run)
        (cluster.folder / "refused").unlink()
        project.until("second attempt", lambda: project.jobs("rule_train", "RUNNING"), run)
    finally:
        project.stop(run)
        (cluster.folder / "refused").unlink(missing_ok=True)
        for node in cluster.nodes:
            cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
        cluster.wait("nodes", lambda: cluster.states() == dict.fromkeys(cluster.nodes, "idle"))
    first, _ = sorted(project.jobs("rule_train"), key=lambda job: int(job["JobId"]))
    assert first["JobState"] == "CANCELLED"
    assert "its node could not start it" in project.said()


def test_a_node_that_goes_down(project):
    cluster = project.cluster
    project.gates.close(*BOTH)
    run = project.start(*BOTH)
    try:
        lost, _ = running(project, run, 2)
        node, others = lost["NodeList"], {*cluster.nodes} - {lost["NodeList"]}
        cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        # SLURM puts it back into the queue and lets two minutes go by; nobody needs to wait for them here.
        waiting = lambda: [job for job in project.jobs("rule_train", "PENDING") if job["JobId"] == lost["JobId"]]  # noqa: E731
        project.until("job that was put back", waiting, run)
        cluster.call("scontrol", "update", f"jobid={lost['JobId']}", "starttime=now")
        project.gates.open()
        project.end(run)
    finally:
        project.stop(run)
        cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
        cluster.wait("node", lambda: cluster.states()[node] == "idle")
    done = {job["JobId"]: job for job in project.jobs("rule_train", "COMPLETED")}
    assert len(done) == 2
    assert done[lost["JobId"]]["Restarts"] == "1"
    assert done[lost["JobId"]]["NodeList"] in others
    assert [epochs_trained(project.folder / path) for path in BOTH] == [EPOCHS, EPOCHS]


def killed(project: ClusterProject, run: subprocess.Popen[bytes]) -> None:
    """Kill snakemake as a machine that loses power does; its jobs are not its children and go on."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    project.run("--unlock")


def test_snakemake_killed_and_started_again_neither_doubles_nor_repeats_a_job(project):
    project.edit(lambda config: config["experiments"]["bands"].update(seeds=[0, 1]))
    project.gates.close(*FOUR)
    run = project.start(*FOUR)
    again = run
    try:
        running(project, run, 2)  # there are two GPUs for four trainings
        killed(project, run)
        project.gates.open(project.gates.reached())
        project.cluster.wait("two trainings", lambda: len(project.jobs("rule_train", "COMPLETED")) == 2)
        again = project.start(*FOUR)
        found_again = lambda: project.said().count("is in the queue already") == 2  # noqa: E731
        project.until("two jobs in the queue", found_again, again)
        project.gates.open()
        project.end(again)
    finally:
        project.stop(again)
    training = project.jobs("rule_train")
    assert [job["JobState"] for job in training] == ["COMPLETED"] * 4
    said = project.said()
    assert "fit and are kept" in said  # those that ended meanwhile
    assert said.count("has been submitted with SLURM jobid") + said.count("Submitted array job") == 1
    assert len({job["JobName"] for job in project.jobs()}) == 1
    assert project.planned("--", *FOUR) == {}
    # Every output was made by one process.
    logs = (project.folder / "results/logs/train/simulated/slow").rglob("*.log")
    assert [path.read_text().count("train: start") for path in logs] == [1] * 4


def test_a_job_in_the_queue_that_does_something_else_is_cancelled(project):
    project.gates.close(BOTH[0])
    run = project.start(BOTH[0])
    again = run
    try:
        running(project, run, 1)
        killed(project, run)
        project.edit(lambda config: config["methods"]["frozen"]["optimiser"].update(epochs=EPOCHS + 1))
        again = project.start(BOTH[0])
        project.until("end of the first", lambda: project.jobs("rule_train", "CANCELLED"), again)
        project.gates.open()
        project.end(again)
    finally:
        project.stop(again)
    jobs = sorted(project.jobs("rule_train"), key=lambda job: int(job["JobId"]))
    assert [job["JobState"] for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert epochs_trained(project.folder / BOTH[0]) == EPOCHS + 1


def test_a_ceiling_of_gpus_with_arrays_loses_no_job(project):
    """The plugin alone submits none of two trainings that are ready when one may run, and waits for ever."""
    run = project.start("--resources", "gpu=1", "--", *BOTH)
    try:
        project.end(run)
    finally:
        project.stop(run)
    first, second = sorted(project.jobs("rule_train", "COMPLETED"), key=lambda job: job["StartTime"])
    assert second["StartTime"] >= first["EndTime"]


def test_short_trainings_take_turns_in_one_job_of_one_gpu(project):
    """As docs/slurm.md says for trainings of a minute or two."""
    page = (ROOT / "docs" / "slurm.md").read_text()
    (lines,) = re.findall(r"```yaml\n( +groups:\n +- train=train\n.*?)```", page, re.DOTALL)
    together = yaml.safe_load(lines)
    profile = yaml.safe_load((project.folder / "slurm/profile.yaml").read_text())
    del profile["slurm-array-jobs"], profile["slurm-array-limit"]
    for key, value in together.items():
        profile[key] = profile.get(key, []) + value if isinstance(value, list) else value
    (project.folder / "slurm/profile.yaml").write_text(yaml.safe_dump(profile))
    project.edit(lambda config: config["experiments"]["bands"].update(seeds=[0, 1]))
    project.edit(lambda config: config.update(seeds_together=True))
    project.gates.close(*FOUR)
    run = project.start("--", *FOUR)
    try:
        (job,) = running(project, run, 1)
        (folder,) = {
            Path(process.environ()["BRAIN2CLIP_PRELOADED"]).parent
            for process in project.cluster.processes_of(job["JobId"])
            if "BRAIN2CLIP_PRELOADED" in process.environ()
        }
        assert loaded(project, job)
        assert folder.exists()
        cancel(project, job)
        project.until("end of its processes", lambda: not project.cluster.processes_of(job["JobId"]), run)
        assert not folder.exists()
        project.gates.open()
        project.end(run)
    finally:
        project.stop(run)
    assert (job["MinMemoryNode"], job["TimeLimit"]) == ("16000M", "08:00:00")
    assert "gpu:1" in job.get("TresPerNode", "") + job.get("TresPerJob", "")
    (job,) = project.jobs("rule_train", "COMPLETED")
    (log,) = project.folder.glob(f".snakemake/slurm_logs/**/{job['JobId']}.log")
    assert "4 jobs were forked from one loaded Python" in log.read_text()
    assert not loaded(project, job)
    assert {epochs_trained(project.folder / path) for path in FOUR} == {EPOCHS}
    for path in FOUR:
        history = artefact.read_table((project.folder / path).with_suffix(".history.parquet"))
        assert set(history["together"]) == {2}


def loaded(project: ClusterProject, job: dict[str, str]) -> list[psutil.Process]:
    """Loaded Pythons of a job."""
    script = str(project.folder / "src/brain2clip/preloaded.py")
    return [one for one in project.cluster.processes_of(job["JobId"]) if script in one.cmdline()]


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
