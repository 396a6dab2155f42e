"""THINGS-EEG2 from a server to responses: real events and sidecars, signals in which every picture left its code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import download_records
import h5py
import mne
import numpy as np
import pandas as pd
import pytest
import things_recordings as things
from loopback import Loopback, drop, status
from project import Project

from brain2clip.readers import contract
from brain2clip.readers.contract import Recording
from brain2clip.responses import epoching
from brain2clip.settings import Band, Responses
from brain2clip.stage import InputError

pytestmark = pytest.mark.workflow

RUNS = ("sub-01_ses-01_task-test", "sub-01_ses-01_task-train_run-01")
RESPONSES = "results/responses/things-eeg2/recorded/sub-01.h5"
UNITS = ("dataset", "sub-01_ses-01", *RUNS)
#: Short epochs without a filter that reaches far: what one picture left, and nothing of its neighbours.
CUT = {"tmin": 0.0, "tmax": 0.2, "baseline": None, "sfreq": 250.0, "channels": "nice-63", "whitening": {"kind": "none"}}


@pytest.fixture(scope="module")
def served(shared_data, tmp_path_factory) -> Path:
    """What the server has: one training run and the test run, 63 channels at 1000 Hz."""
    folder = tmp_path_factory.mktemp("archive") / "nm000232"
    things.serve(shared_data("things-eeg2"), folder, RUNS)
    return folder


def make_project(folder: Path, served: Path, url: str) -> Project:
    """The paper's configuration restricted to one subject, session and run, its files on another server."""
    project = Project.create(folder)
    things.write_manifest(served, url, project.folder / "manifest.csv")
    config = project.config
    config["results"] = "results"
    config["studies"] = {
        "things-eeg2": {
            "kind": "things_eeg2", "manifest": "manifest.csv", "subjects": ["01"], "sessions": ["01"], "runs": ["01"],
            "responses": CUT,
        }
    }  # fmt: skip
    config["bands"] = {"recorded": {}}
    config["protocols"] = {"intra": {"kind": "intra-subject"}}
    config["methods"] = {"ridge": {"kind": "ridge", "tower": next(iter(config["towers"]))}}
    config["experiments"] = {
        "main": {"study": "things-eeg2", "signals": ["recorded"], "protocols": ["intra"], "methods": ["ridge"]}
    }
    config["tables"] = {}
    config.pop("figures", None)
    project.write_config(config)
    return project


@pytest.fixture(scope="module")
def fetched(served: Path, tmp_path_factory) -> Iterator[tuple[Project, Loopback]]:
    """The workflow run through responses; connections broke and the server was busy on the way."""
    with Loopback(served) as server:
        signal_file = f"sub-01/ses-01/eeg/{RUNS[1]}_eeg.bdf"
        server.faults[signal_file] = [status(503), drop(123_456_789)]
        server.faults["participants.tsv"] = [status(429)]
        project = make_project(tmp_path_factory.mktemp("workflow") / "project", served, server.url)
        project.run_preloaded(RESPONSES, *(f"results/downloads/things-eeg2/{unit}.json" for unit in UNITS))
        yield project, server


def study_of(project: Project, **changes: Any) -> contract.Study:
    settings = {**project.config["studies"]["things-eeg2"], **changes}
    settings["manifest"] = str(project.folder / settings["manifest"])
    settings["images"] = str(project.folder / "workflow/manifests/things-eeg2-images.csv")
    return contract.load("things-eeg2", settings, str(project.folder / "results"))


def numbers(stimulus_id: np.ndarray) -> np.ndarray:
    return np.array([int(name.rpartition("-")[2]) for name in stimulus_id])


def test_every_presentation_carries_the_code_of_its_picture(fetched):
    project, _ = fetched
    with h5py.File(project.folder / RESPONSES) as file:
        response, times = file["response"][:], file["times"][:]
        shown = file["stimulus_id"].asstr()[:][file["stimulus"][:]]
        test = file["split"][:] == 1
        channel = list(file["channel"].asstr()[:])

    assert (~test).sum() == 3342
    assert test.sum() == 4056
    assert len(np.unique(shown[test])) == 200
    assert len(np.unique(shown[~test])) == 2995
    assert channel[:3] == ["Fp1", "Fp2", "AF7"]
    assert channel != things.channel_names(next((project.folder / "results/raw").rglob("*task-test_channels.tsv")))

    native = things.channel_names(next((project.folder / "results/raw").rglob("*task-test_channels.tsv")))
    response = response[:, [channel.index(name) for name in native]]
    for task, mask in (("train", ~test), ("test", test)):
        assert all(name.startswith(task) for name in shown[mask])
        found = things.recovered(response[mask], times, task)
        np.testing.assert_array_equal(found, numbers(shown[mask]))
        check_place_and_size(response[mask], times, task, numbers(shown[mask]))


def check_place_and_size(response: np.ndarray, times: np.ndarray, task: str, shown: np.ndarray) -> None:
    """The first pulse of every channel by name: as large as it was written, in V, and at its time to 2 ms."""
    mean = things.aligned(response, task, shown)
    mean -= mean[:, times < 0.04].mean(axis=1, keepdims=True)
    begin, end = things.SLOTS[0]
    flat = mean[:, (times > begin + 0.008) & (times < end - 0.008)].mean(axis=1)
    np.testing.assert_allclose(flat, things.AMPLITUDE_UV * 1e-6, rtol=0.1)
    rise = mean.mean(axis=0)
    rise /= flat.mean()
    for edge, sign in ((begin, 1), (end, -1)):
        near = np.abs(times - edge) < 0.015
        assert np.interp(0.5 * sign, sign * rise[near], times[near]) == pytest.approx(edge, abs=0.002)


def test_the_downloads_survived_their_server_and_are_not_repeated(fetched):
    project, server = fetched
    assert server.count(f"sub-01/ses-01/eeg/{RUNS[1]}_eeg.bdf") == 3
    assert not [name for name in server.requests if "rest" in name or "stimuli" in name]
    asked = len(server.requests)
    assert project.planned("--", RESPONSES) == {}
    project.replace("src/brain2clip/downloads/download.py", "SPARE = 1.05", "SPARE = 1.04")
    assert "download" not in project.planned("--", RESPONSES)
    project.edit(lambda config: config.update(download={"sources": {"things-eeg2": "file:///elsewhere"}, "at_once": 1}))
    assert project.planned("--", RESPONSES) == {}
    assert len(server.requests) == asked
    record = json.loads((project.folder / f"results/downloads/things-eeg2/{RUNS[1]}.json").read_text())
    assert any(file["path"].endswith("_eeg.bdf") for file in record["files"])


def test_one_training_run_needs_less_than_3_gb(fetched):
    project, _ = fetched
    log = (project.folder / "results/logs/epochs/things-eeg2/recorded/sub-01.log").read_text()
    peak = re.search(r"peak memory ([\d.]+) GB", log)
    assert peak is not None
    assert float(peak[1]) < 3


# ------------------------------------------------------------------- the test above fails where it has to fail


@pytest.fixture(scope="module")
def wrong_numbers(fetched):
    """Shares of wrong pictures in 300 trials of the training run, with labels and onsets as given."""
    project, _ = fetched
    study = study_of(project)
    recording = next(one for one in study.recordings("01") if one.task == "train")
    trials = study.trials(recording).head(300)
    raw = mne.io.read_raw_bdf(recording.path, verbose="ERROR").crop(0, float(trials["onset"].iloc[-1]) + 2)
    responses = Responses.model_validate({**CUT, "channels": "all"})

    def share(labels: np.ndarray, shift_s: float = 0.0) -> float:
        data, times = epoching.epochs_of(raw, trials["onset"].to_numpy() + shift_s, Band(), responses)
        return float((things.recovered(data, times, "train") != labels).mean())

    events = pd.read_csv(recording.events, sep="\t").query("trial_type == 'image'").head(300)
    return share, trials["stimulus"].str.removeprefix("train-").astype(int).to_numpy(), events


def test_right_labels_are_all_recovered(wrong_numbers):
    share, labels, events = wrong_numbers
    assert share(labels) == 0
    np.testing.assert_array_equal(labels, events["tot_img_number"])


def test_swapped_labels_would_be_noticed(wrong_numbers):
    share, labels, _ = wrong_numbers
    swapped = labels.copy()
    swapped[[10, 20]] = swapped[[20, 10]]
    assert share(swapped) == pytest.approx(2 / 300)


def test_shifted_onsets_would_be_noticed(wrong_numbers):
    share, labels, _ = wrong_numbers
    assert share(labels, shift_s=0.06) > 0.5


def test_the_trigger_value_as_label_would_be_noticed(wrong_numbers):
    share, _, events = wrong_numbers
    assert share(events["value"].to_numpy()) > 0.9


# -------------------------------------------------------------------------- what the study itself refuses


def altered(project: Project, folder: Path, change) -> tuple[contract.Study, Recording]:
    """The study with the events table of its training run changed, as if it had come so; its signals are linked."""
    root = folder / "results/raw/things-eeg2"
    shutil.copytree(project.folder / "results/raw/things-eeg2", root, copy_function=lambda a, b: Path(b).symlink_to(a))
    settings = {**project.config["studies"]["things-eeg2"], "manifest": str(project.folder / "manifest.csv")}
    settings["images"] = str(project.folder / "workflow/manifests/things-eeg2-images.csv")
    study = contract.load("things-eeg2", settings, str(folder / "results"))
    recording = next(one for one in study.recordings("01") if one.task == "train")
    events = pd.read_csv(recording.events, sep="\t", dtype=str, keep_default_na=False)
    change(events)
    recording.events.unlink()
    events.to_csv(recording.events, sep="\t", index=False)
    download_records.write(study)
    return study, recording


def swap_two(events: pd.DataFrame) -> None:
    events.loc[[5, 6], "tot_img_number"] = events.loc[[6, 5], "tot_img_number"].to_numpy()


def milliseconds(events: pd.DataFrame) -> None:
    events["onset"] = (events["onset"].astype(float) * 1000).map(str)


def trigger(events: pd.DataFrame) -> None:
    events["tot_img_number"] = events["value"]


@pytest.mark.parametrize(
    ("change", "message"),
    [(swap_two, "category_name"), (milliseconds, "millisecond"), (trigger, "category_name|tot_img_number")],
)
def test_a_table_that_contradicts_itself_is_refused(fetched, tmp_path, change, message):
    study, recording = altered(fetched[0], tmp_path, change)
    with pytest.raises(InputError, match=message):
        study.trials(recording)


# ------------------------------------------------------------------------------------- killed in mid-download


def test_a_killed_workflow_keeps_what_was_finished(served, tmp_path):
    """kill -9 of everything while the big file comes in; the next start fetches only what was not there."""
    big = f"sub-01/ses-01/eeg/{RUNS[0]}_eeg.bdf"
    with Loopback(served) as server:
        server.faults[big] = [lambda handler, content: stall_after(handler, content, len(content) // 2)]
        project = make_project(tmp_path / "project", served, server.url)
        targets = [f"results/downloads/things-eeg2/{unit}.json" for unit in UNITS]
        running = project.start(*targets)
        done = [project.folder / target for target in targets if RUNS[0] not in target]
        wait_until(lambda: all(path.exists() for path in done) and server.count(big) == 1)
        kill_group(running)
        before = len(server.requests)
        assert not (project.folder / targets[2]).exists()
        assert not (project.folder / "results/raw/things-eeg2" / big).exists()

        project.run("--unlock")
        project.run_preloaded("--rerun-incomplete", *targets)
        again = server.requests[before:]
        assert again.count(big) == 1
        assert all(RUNS[0] in name for name in again)
        assert (project.folder / "results/raw/things-eeg2" / big).stat().st_size == (served / big).stat().st_size
        assert not list((project.folder / "results/raw/things-eeg2/.download").glob("*"))


def test_two_workflows_at_once(served, tmp_path):
    """The second one is told that the folder is in use; the first one ends well."""
    let_go = threading.Event()

    def wait(handler, content: bytes) -> None:
        let_go.wait(120)
        handler.send(200, content)

    with Loopback(served) as server:
        server.faults["participants.tsv"] = [wait]
        project = make_project(tmp_path / "project", served, server.url)
        target = "results/downloads/things-eeg2/dataset.json"
        first = project.start(target)
        wait_until(lambda: server.count("participants.tsv") == 1)
        second = project.run(target, check=False)
        assert second.returncode != 0
        assert "lock" in (second.stdout + second.stderr).lower()
        let_go.set()
        assert first.wait(timeout=60) == 0
        assert (project.folder / target).exists()


def stall_after(handler, content: bytes, after: int) -> None:
    handler.send(200, content[:after], length=len(content))
    handler.wfile.flush()
    handler.server.owner.ended.wait(60)


def wait_until(true, timeout_s: float = 90.0) -> None:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < timeout_s, "waited in vain"
        time.sleep(0.1)


def kill_group(process) -> None:
    """SIGKILL to snakemake and every job below it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
