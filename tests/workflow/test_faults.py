"""What is wrong with data or settings is told by the check, all at once, and last where it comes to running."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bids_fixtures import CHANNELS, noise, regular_events, write_run, write_tsv
from PIL import Image
from preloaded import python
from project import Project
from terminal import last, on_terminal

from brain2clip import settings
from brain2clip.cli import check
from brain2clip.preflight import owner

pytestmark = pytest.mark.workflow

SUBJECTS = [f"{number:02}" for number in range(1, 18)]
NAMES = ("face", "house")
#: Of what is only seen while it is read: the job that reads it, and no other.
JOB = "responses/mine/broad/sub-03.h5"


def configuration(results: str) -> dict[str, Any]:
    split = {"by": "column", "column": "part", "test": ["b"], "concepts": "seen"}
    study = {
        **{"kind": "bids", "root": "data", "tasks": ["see"], "stimulus": "trial_type", "split": split},
        **{"stimuli": "data/pictures.tsv", "keep": {"value": ["1", "2"]}, "subjects": SUBJECTS[:4]},
        "responses": {"tmin": -0.1, "tmax": 0.3, "sfreq": 125, "channels": list(CHANNELS)},
    }
    main = {"study": "mine", "signals": ["broad"], "protocols": ["intra"], "methods": ["ridge"]}
    return {
        "results": results,
        "studies": {"mine": study},
        "bands": {"broad": {"l_freq": 1, "h_freq": 40}},
        "towers": {"small": {"model": "local-dir:workflow/towers/grammar-vit"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"ridge": {"kind": "ridge", "tower": "small"}},
        "experiments": {"main": main},
        "tables": {"main": {"kind": "methods", "experiments": ["main"], "metric": "top-1"}},
    }


@dataclass(frozen=True)
class Fault:
    """Something that is wrong, and what is said of it.

    Attributes
    ----------
    said : str
    edit : mapping
        Other settings of the study.
    damage : callable
        What is done to the data.
    """

    said: str
    edit: dict[str, Any]
    damage: Callable[[Path], object] = lambda data: None


def events(data: Path, subject: str) -> Path:
    return data / f"sub-{subject}/eeg/sub-{subject}_task-see_run-01_events.tsv"


def without_column(data: Path) -> None:
    path = events(data, "05")
    path.write_text(path.read_text().replace("\tvalue\t", "\tvalues\t", 1))


def record(data: Path, subject: str, broken: bool = False) -> None:
    samples = noise(int(subject), 12)
    if broken:
        samples[0, 1000] = np.nan
    shown = regular_events(20, names=NAMES)
    shown |= {"value": [1, 2] * 10, "part": ["a"] * 10 + ["b"] * 10}
    write_run(data, samples, shown, subject=subject)


def claimed(data: Path) -> None:
    """The results are those of another configuration, which is there."""
    with contextlib.chdir(data.parent):
        Path("other.yaml").write_text("results: results/mine\n")
        owner.claim("results/mine", ["other.yaml"])


FAULTS = {
    "electrode": Fault("no EEG channel 'O9'", {"responses": {"channels": ["Fz", "O9"]}}),
    "picture": Fault("1 of 2 stimuli have no image file: face", {}, lambda data: (data / "face.png").unlink()),
    "nan": Fault("channel Fz holds 1 samples that are NaN", {}, lambda data: record(data, "03", broken=True)),
    "stimulus": Fault("no column 'trail_type' (did you mean 'trial_type'?)", {"stimulus": "trail_type"}),
    "split": Fault("no column 'prat' (did you mean 'part'?), which studies.mine.split", {"split": {"column": "prat"}}),
    "column": Fault("sub-05_task-see_run-01_events.tsv: no column 'value'", {"subjects": "all"}, without_column),
    "subject": Fault("studies.mine.subjects: '19' is not in", {"subjects": [*SUBJECTS, "19"]}),
    "task": Fault("has the label 'sea' (did you mean 'see'?)", {"tasks": ["see", "sea"]}),
    "rate": Fault("responses.sfreq = 60 Hz is 4.16", {"responses": {"sfreq": 60}}),
    "keep": Fault("none of 20 events is a trial", {"keep": {"value": ["7"]}}),
    "results": Fault("results/mine belongs to another configuration, other.yaml", {}, claimed),
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Project:
    """Seventeen subjects who see two pictures; do not edit, copy."""
    project = Project.create(tmp_path_factory.mktemp("faults") / "project")
    data = project.folder / "data"
    for subject in SUBJECTS:
        record(data, subject)
    for name in NAMES:
        Image.new("RGB", (64, 64), (len(name), 0, 0)).save(data / f"{name}.png")
    rows = {"stimulus_id": NAMES, "concept": NAMES, "image": [f"{name}.png" for name in NAMES]}
    write_tsv(data / "pictures.tsv", rows)
    return project


def broken(clean: Project, folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Project:
    """A copy with some faults, which is where the commands look."""
    project = clean.copy(folder)
    config = configuration("results/mine")
    for name in names:
        config["studies"]["mine"] = settings.merge(config["studies"]["mine"], FAULTS[name].edit)
        FAULTS[name].damage(project.folder / "data")
    project.write_config(config)
    monkeypatch.setattr(check, "ROOT", project.folder)
    monkeypatch.setattr(check, "shown", lambda path: path.name)
    return project


def checked(project: Project, capsys: pytest.CaptureFixture[str]) -> str:
    """What the check says, which finds something."""
    with pytest.raises(SystemExit) as ended:
        check.check(project.config_file)
    assert ended.value.code == 1
    return capsys.readouterr().out


def on_pipe(project: Project, command: list[str]) -> str:
    environment = {**project.environment(), "PYTHONPATH": str(project.folder / "src")}
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    assert done.returncode
    return done.stderr


def typed(name: str) -> tuple[list[str], list[str]]:
    """Both commands; the second is not shortened by our own."""
    command = [str(python("snakemake.cli")), "-m"]
    job = [f"results/mine/{JOB}"] if name == "nan" else []
    ours = [*command, "brain2clip", "run", "tiny.yaml", *(["--", *job] if job else [])]
    return ours, [*command, "snakemake", "--cores", "all", "--configfile", "tiny.yaml", *(["--", *job] if job else [])]


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told_by_check_and_last_by_runs(clean, tmp_path, monkeypatch, capsys, name):
    project = broken(clean, tmp_path / "project", monkeypatch, name)
    said = FAULTS[name].said
    told = checked(project, capsys)
    assert "tiny.yaml: 1 fault\n" in told
    assert told.count(said) == 1
    ours, plain = typed(name)
    code, _, shown = on_terminal(project, ours, {})
    assert code == 1
    assert said in last(shown), shown
    piped = on_pipe(project, plain)
    assert said in last(piped.strip()), piped


@pytest.mark.parametrize("name", ["electrode", "nan"])
def test_it_is_the_same_the_other_way_round(clean, tmp_path, monkeypatch, name):
    """Ours without a terminal and Snakemake on one: told while planning, and by a job."""
    project = broken(clean, tmp_path / "project", monkeypatch, name)
    ours, plain = typed(name)
    assert FAULTS[name].said in last(on_pipe(project, ours).strip())
    code, _, shown = on_terminal(project, plain, {})
    assert code == 1
    assert FAULTS[name].said in last(shown)


def test_all_faults_are_told_at_once(clean, tmp_path, monkeypatch, capsys):
    told = checked(broken(clean, tmp_path / "project", monkeypatch, *FAULTS), capsys)
    assert f"tiny.yaml: {len(FAULTS)} faults\n" in told, told
    for fault in FAULTS.values():
        assert told.count(fault.said) == 1


@pytest.mark.parametrize("stop", [True, False])
def test_the_first_failure_may_stop_the_rest(clean, tmp_path, monkeypatch, stop):
    """And is told at any quietness."""
    project = broken(clean, tmp_path / "project", monkeypatch, "nan")
    record(project.folder / "data", "04", broken=True)
    jobs = [f"results/mine/responses/mine/broad/sub-{subject}.h5" for subject in ("03", "04")]
    ours = [*typed("")[0], "--cores", "1", *(["--stop-at-first-failure"] if stop else []), "--", "--quiet", "all", "--"]
    said = on_pipe(project, [*ours, *jobs])
    first = "1 of 2 steps failed, 0 done, 1 did not run:" if stop else "2 of 2 steps failed, 0 done:"
    assert said.strip().splitlines()[0] == first
    assert FAULTS["nan"].said in last(said)
