"""``brain2clip check``: everything that does not fit is told at once, for every subject, and nothing is written."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import meg_files
import numpy as np
import pytest
import voxel_tables
import yaml
from bids_fixtures import CHANNELS, noise, regular_events, study_settings, write_run, write_tsv
from PIL import Image

from brain2clip import settings
from brain2clip.cli import check as command
from brain2clip.plan import Plan
from brain2clip.preflight import check, owner, planning
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ("01", "02", "03")
LABELS = {"face": "man", "house": "hut"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """Three subjects with two runs; a table of two pictures beside them."""
    root = tmp_path_factory.mktemp("bids") / "data"
    for subject in SUBJECTS:
        for run in ("01", "02"):
            write_run(root, noise(int(subject + run), 12), regular_events(20), subject=subject, run=run)
    for name in LABELS:
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(root.parent / f"{name}.png")
    rows = {"stimulus_id": LABELS, "concept": LABELS.values(), "image": [f"{name}.png" for name in LABELS]}
    write_tsv(root.parent / "pictures.tsv", rows)
    return root


@pytest.fixture
def data(recorded, tmp_path) -> Path:
    """A copy that may be damaged."""
    shutil.copytree(recorded.parent, tmp_path / "of")
    return tmp_path / "of" / "data"


def configuration(study: dict[str, Any], **blocks: Any) -> dict[str, Any]:
    fmri = study["kind"] == "voxel_table"
    study = copy.deepcopy(study)
    if not fmri:
        study["responses"] = {"tmin": -0.1, "tmax": 0.4, "sfreq": 125, **study.get("responses", {})}
    return {
        "studies": {"mine": study},
        "rois" if fmri else "bands": {"all": {} if fmri else {"l_freq": 1.0, "h_freq": 40.0}},
        "towers": {"small": {"model": f"local-dir:{ROOT}/workflow/towers/grammar-vit"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"ridge": {"kind": "ridge", "tower": "small"}},
        "experiments": {
            "main": {"study": "mine", "signals": ["all"], "protocols": ["intra"], "methods": ["ridge"], "seeds": [0]}
        },
        "retrieval": {"metrics": ["top-1"]},
        "tables": {"main": {"kind": "methods", "experiments": ["main"], "metric": "top-1"}},
        **blocks,
    }


def faults(config: dict[str, Any], folder: Path) -> list[str]:
    plan = Plan(settings.load({**config, "results": str(folder / "results")}))
    return list(check.looked(plan, ["mine.yaml"]).faults())


def refused(config: dict[str, Any], folder: Path, monkeypatch) -> str:
    """What planning says."""
    monkeypatch.setattr(planning, "KEPT", folder / ".snakemake" / "fitting.json")
    with pytest.raises(InputError) as error:
        planning.refuse(Plan(settings.load({**config, "results": str(folder / "results")})), ["mine.yaml"])
    return str(error.value)


def events(root: Path, subject: str, run: str = "01") -> Path:
    return root / f"sub-{subject}/eeg/sub-{subject}_task-see_run-{run}_events.tsv"


def rename(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_fits_is_summed_up_and_nothing_is_written(data, tmp_path, monkeypatch, capsys):
    config = configuration(study_settings(data))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**config, "results": str(tmp_path / "results")}))
    before = sorted(tmp_path.rglob("*"))
    command.check(tmp_path / "mine.yaml")
    told = capsys.readouterr().out
    for line in (
        "study mine (bids): 3 subjects",
        "4 of 4 EEG channels, recorded at 250 Hz",
        "training trials: 60, 20 of each subject",
        "test trials: 60, 20 of each subject",
        "samples read: all of the wanted channels of 6",
        "2 of them in the test (face, house); chance of top-1 50 %",
        "no errors found",
    ):
        assert line in told
    assert sorted(tmp_path.rglob("*")) == before


#: Edits of the study and what is said of them: each alone, then all at once.
WRONG = {
    "task": (
        {"tasks": ["sea"]},
        "studies.mine.tasks: no recording of {root} has the label 'sea' (did you mean 'see'?)",
    ),
    "subject": ({"subjects": ["01", "2", "09"]}, "studies.mine.subjects: '2' is not in"),
    "stimulus": ({"stimulus": "trail_type"}, "no column 'trail_type' (did you mean 'trial_type'?)"),
    "split": (
        {"split": {"by": "column", "column": "part", "test": ["a"]}},
        "no column 'part', which studies.mine.split",
    ),
    "electrode": ({"responses": {"channels": ["Fz", "O9"]}}, "no EEG channel 'O9'"),
    "rate": ({"responses": {"sfreq": 60}}, "responses.sfreq = 60 Hz is 4.16"),
}


@pytest.mark.parametrize("names", [*([name] for name in WRONG), list(WRONG)], ids=[*WRONG, "all"])
def test_wrong_settings_are_told_at_once_by_check_and_by_planning(recorded, tmp_path, monkeypatch, names):
    changes: dict[str, Any] = {}
    for name in names:
        changes = settings.merge(changes, WRONG[name][0])
    config = configuration(study_settings(recorded, **changes))
    found = faults(config, tmp_path)
    assert len(found) == len(names)
    planned = refused(config, tmp_path, monkeypatch)
    for name in names:
        sentence = WRONG[name][1].format(root=recorded)
        assert sum(sentence in fault for fault in found) == 1
        assert sentence in planned


#: Protocols, subjects whose training run is not there, and those who are without a model then.
UNTRAINED = {
    "inter": (["03"], None),
    "intra": (["03"], "'intra' has no model for sub-03, because training trials are missing: sub-03 has none"),
    "joint": (["03"], "'joint' has no model for sub-03, because training trials"),
    "nobody": (
        ["01", "03"],
        "'inter' has no model for sub-02, because training trials are missing: sub-01, sub-03 have none",
    ),
}


def without_training(kind: str, data: Path, subjects: list[str]) -> dict[str, Any]:
    """A study in which some subjects have their test run only."""
    if kind == "bids":
        for subject in subjects:
            for path in (data / f"sub-{subject}").rglob("*run-01*"):
                path.unlink()
        study = study_settings(data)
    else:
        _, runs = voxel_tables.labels()
        for subject in SUBJECTS:
            rows = [row for row, run in enumerate(runs) if run == "4" or subject not in subjects]
            folder = voxel_tables.write(data / subject, voxel_tables.signals(int(subject))[rows])
            first, *others = (folder / "rows.csv").read_text().splitlines()
            (folder / "rows.csv").write_text("\n".join([first, *(others[row] for row in rows)]) + "\n")
        study = voxel_tables.study(data / "{subject}", subjects=list(SUBJECTS))
    study["split"]["training"] = "optional"
    return study


@pytest.mark.parametrize(
    ("kind", "case"),
    [*(("bids", case) for case in UNTRAINED), ("voxel_table", "intra"), ("voxel_table", "joint")],
)
def test_subjects_with_test_trials_only_are_told_where_a_protocol_trains_on_them(
    data, tmp_path, monkeypatch, kind, case
):
    subjects, sentence = UNTRAINED[case]
    kinds = {"intra": "intra-subject", "inter": "leave-one-subject-out", "joint": "joint"}
    config = configuration(
        without_training(kind, data, subjects),
        methods={
            "ridge": {"kind": "mapping", "tower": "small", "supervision": {"text": 1.0, "sentences": ["prompts"]}}
        },
        protocols={name: {"kind": one} for name, one in kinds.items()},
    )
    main = config["experiments"]["main"]
    if kind == "bids" and case != "nobody":  # what fits one protocol is looked at again for another
        main["protocols"] = ["inter"]
        assert faults(config, tmp_path) == []
        monkeypatch.setattr(planning, "KEPT", tmp_path / ".snakemake" / "fitting.json")
        planning.refuse(Plan(settings.load({**config, "results": str(tmp_path / "results")})), ["mine.yaml"])
    main["protocols"] = [case if case in kinds else "inter"]
    if sentence is not None:
        (fault,) = faults(config, tmp_path)
        assert fault.startswith(f"experiments.main.protocols: {sentence}")
        assert ("leave-one-subject-out" in fault) == (kind == "bids")
        assert sentence in refused(config, tmp_path, monkeypatch)


def test_values_of_keep_that_match_nothing_are_told(recorded, tmp_path, monkeypatch):
    some = configuration(study_settings(recorded, keep={"trial_type": ["face", "house", "hose"]}))
    none = configuration(study_settings(recorded, keep={"trial_type": ["picture"]}))
    assert "keep.trial_type: no event of sub-01 has 'hose' (did you mean 'house'?)" in faults(some, tmp_path)[0]
    (fault,) = faults(none, tmp_path)
    assert "none of 20 events is a trial" in fault
    assert "values found: trial_type: face, house" in fault
    assert fault.endswith("found in: sub-01, sub-02, sub-03")
    assert "none of 20 events is a trial" in refused(none, tmp_path, monkeypatch)


def test_what_is_wrong_with_single_subjects_is_told_of_each_and_once(data, tmp_path, monkeypatch):
    rename(events(data, "02", "02"), "trial_type", "type")
    header = data / "sub-03/eeg/sub-03_task-see_run-01_eeg.vhdr"
    rename(header, "Ch3=O1", "Ch3=Oz")
    rename(data / "sub-03/eeg/sub-03_task-see_run-01_channels.tsv", "O1", "Oz")
    config = configuration(study_settings(data, responses={"channels": list(CHANNELS)}))
    column, electrode = faults(config, tmp_path)
    assert str(events(data, "02", "02")) in column
    assert "no column 'trial_type'" in column
    assert "sub-03_task-see_run-01_eeg.eeg: no EEG channel 'O1'" in electrode
    planned = refused(config, tmp_path, monkeypatch)
    assert column in planned
    assert electrode in planned


def test_other_electrodes_that_lack_are_faults_of_their_own(data, tmp_path):
    for subject, name, other in (("01", "O1", "Oz"), ("02", "O2", "Iz"), ("03", "O2", "Iz")):
        for path in (data / f"sub-{subject}/eeg").glob("*"):
            if path.name.endswith(("_eeg.vhdr", "_channels.tsv")):
                rename(path, name, other)
    config = configuration(study_settings(data, responses={"channels": list(CHANNELS)}))
    one, two = faults(config, tmp_path)
    assert "no EEG channel 'O1'" in one
    assert "found in" not in one
    assert "no EEG channel 'O2'" in two
    assert two.endswith("found in: sub-02, sub-03")


def test_samples_that_are_no_numbers_are_told(data, tmp_path):
    bad = noise(5, 12)
    bad[2, 1000] = np.nan
    write_run(data, bad, regular_events(20), subject="02", run="01")
    (fault,) = faults(configuration(study_settings(data)), tmp_path)
    assert "sub-02_task-see_run-01_eeg.eeg: channel O1 holds 1 samples that are NaN or infinite" in fault


@pytest.mark.parametrize("every", [4, 40], ids=["often", "seldom"])
def test_artefacts_are_told_where_they_are_many_and_kept(tmp_path, every):
    samples = noise(1, 40)
    for start in range(0, 40, every):  # a blink, and everywhere an offset and a slope, which are none
        samples[0, 250 * start : 250 * start + 50] += 300e-6 * np.hanning(50)
    samples += 1e-3 + np.linspace(0, 2e-3, samples.shape[1])
    for run, part in (("01", samples), ("02", samples[:, ::-1] + noise(2, 40))):
        write_run(tmp_path / "bids", part, regular_events(20), subject="01", run=run)
    told = []
    for responses in ({}, {"reject_uv": 150}):
        config = configuration(study_settings(tmp_path / "bids", responses=responses))
        report = check.looked(Plan(settings.load({**config, "results": str(tmp_path / "results")})), ["mine.yaml"])
        assert list(report.faults()) == []
        told.append(" ".join(report.notes))
    assert ("in 25 % of the seconds that were read, some channel changes" in told[0]) == (every == 4)
    assert ("reject_uv" in told[0]) == (every == 4)
    assert "reject_uv" not in told[1]


def test_recordings_of_meg_that_do_not_go_together_are_told(tmp_path):
    kinds = meg_files.names(8, 4)
    for run, header in (("01", {"grade": 3}), ("02", {"shift_mm": 6.0})):
        events, info = regular_events(20), meg_files.info_of(kinds, **header)
        meg_files.write_run(tmp_path / "bids", meg_files.noise(int(run), kinds), kinds, events, run=run, info=info)
    steps = {"whitening": {"kind": "none"}, "head_movement_mm": 5.0, "without": ["MRO11-1609"], "reject_ft_cm": 9e4}
    study = meg_files.study_settings(tmp_path / "bids", responses=steps)
    told = "\n".join(faults(configuration(study), tmp_path))
    assert "no channel 'MRO11-1609'" in told
    study["responses"] = {**steps, "without": ["MLO11-1609"]}
    told = "\n".join(faults(configuration(study), tmp_path))
    for line in (
        "channels in T and T/m side by side",
        "gradient compensation of grade 0, but 3 in",
        "the head lies 6.0 mm from where it lay in",
    ):
        assert line in told
    study["responses"], study["picks"] = {"reject_ft_cm": 9e4}, "mag"
    assert "reject_ft_cm is of channels of type grad" in "\n".join(faults(configuration(study), tmp_path))


@pytest.mark.parametrize("choice", ["keep", "drop"])
def test_channels_that_are_marked_as_bad_and_kept_are_told(tmp_path, choice):
    kinds = meg_files.names()
    bad = list(kinds)[1]
    for run, status in (("01", {bad: "bad"}), ("02", {})):
        samples = meg_files.noise(int(run), kinds)
        meg_files.write_run(tmp_path / "bids", samples, kinds, regular_events(20), run=run, status=status)
    config = configuration(meg_files.study_settings(tmp_path / "bids", responses={"bad_channels": choice}))
    report = check.looked(Plan(settings.load({**config, "results": str(tmp_path / "results")})), ["mine.yaml"])
    assert list(report.faults()) == []
    told = f"study mine: {bad} marked as bad in some recording, but used"
    assert (told in " ".join(report.notes)) == (choice == "keep")


def test_a_recording_without_events_is_told_once(data, tmp_path):
    events(data, "02").unlink()
    told = faults(configuration(study_settings(data, keep={"trial_type": ["face", "house"]})), tmp_path)
    assert len(told) == 1
    assert "no events.tsv beside it" in told[0]


def test_pictures_that_are_missing_are_counted(data, tmp_path):
    (data.parent / "face.png").unlink()
    report = check.looked(Plan(settings.load({**pictures(data), "results": str(tmp_path / "results")})), ["mine.yaml"])
    assert "1 of 2 found, 1 opened" in " ".join(report.lines)


def test_what_fits_of_meg_is_summed_up(tmp_path):
    kinds = meg_files.names()
    for run in ("01", "02"):
        info = meg_files.info_of(kinds, shift_mm=2.0 * int(run))
        samples = meg_files.noise(int(run), kinds, 24.0)
        samples[2, :] += 5e-12 * (np.arange(samples.shape[1]) % 500 < 60)
        types = dict.fromkeys(kinds, "OTHER")
        meg_files.write_run(tmp_path / "bids", samples, kinds, regular_events(20), run=run, info=info, types=types)
    config = configuration(meg_files.study_settings(tmp_path / "bids", responses={"without": ["MLO11-1609"]}))
    report = check.looked(Plan(settings.load({**config, "results": str(tmp_path / "results")})), ["mine.yaml"])
    assert list(report.faults()) == []
    told = "\n".join(report.lines)
    assert "7 of 8 MEG channels, recorded at 250 Hz" in told
    assert "heads lie up to 2.0 mm from where they lay in the first recording" in told
    assert "changes by more than 4000 fT (blinks, movement); responses.reject_ft: 4000 leaves" in " ".join(report.notes)


def test_long_recordings_are_looked_at_in_part_and_said_so(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "SAMPLES_BYTES", 8 * len(CHANNELS) * 12 * 250)
    plan = Plan(settings.load(configuration(study_settings(recorded))))
    told = "\n".join(check.looked(plan, ["mine.yaml"]).lines)
    assert "samples read: all of the wanted channels of 1, the first 10 s of 5" in told


def pictures(data: Path, **changes: Any) -> dict[str, Any]:
    split = {"by": "concepts", "test": ["hut"]}
    study = study_settings(data, split=split, stimuli=str(data.parent / "pictures.tsv"), **changes)
    del study["categories"]
    return configuration(study)


def test_missing_and_damaged_pictures_are_told(data, tmp_path, monkeypatch):
    assert faults(pictures(data), tmp_path) == []
    (data.parent / "face.png").unlink()
    (data.parent / "house.png").write_text("<html>")
    missing, damaged = faults(pictures(data), tmp_path)
    assert "1 of 2 stimuli have no image file: face" in missing
    assert "house.png" in damaged
    assert "1 of 2 stimuli have no image file: face" in refused(pictures(data), tmp_path, monkeypatch)


def test_concepts_on_both_sides_and_classes_of_the_training_are_told(data, tmp_path):
    config = pictures(data)
    config["studies"]["mine"]["split"] = {"by": "run", "test": ["02"]}
    assert any("are on both sides of the split" in fault for fault in faults(config, tmp_path))
    config = pictures(data)
    config["methods"]["ridge"] = {"kind": "lda", "tower": "small"}
    (fault,) = faults(config, tmp_path)
    assert "'ridge' (kind lda) knows only the classes that it was trained on" in fault
    assert "split.concepts: seen" not in fault  # a list of unseen ones cannot be that
    config["studies"]["mine"]["split"] = {"by": "run", "test": ["02"]}
    (told,) = (fault for fault in faults(config, tmp_path) if "(kind lda)" in fault)
    assert told.endswith("set studies.mine.split.concepts: seen")
    config["studies"]["mine"]["split"]["concepts"] = "seen"
    assert faults(config, tmp_path) == []


def test_rates_of_recordings_that_are_still_to_be_simulated_are_told(tmp_path):
    config = configuration({"kind": "simulated", "subjects": 2, "responses": {"sfreq": 60}})
    config["bands"]["all"]["h_freq"] = 200.0
    rate, band = faults(config, tmp_path)
    assert "responses.sfreq = 60 Hz is 4.16" in rate
    assert "band h_freq = 200 Hz" in band
    config = configuration({"kind": "simulated", "subjects": 2})
    report = check.looked(Plan(settings.load({**config, "results": str(tmp_path / "results")})), ["mine.yaml"])
    assert list(report.faults()) == []
    assert any("not checked, because still to be made or downloaded: sub-01, sub-02" in line for line in report.lines)


def test_absent_weights_are_told(recorded, tmp_path):
    config = configuration(study_settings(recorded))
    config["towers"]["small"] = {"model": f"local-dir:{tmp_path}/tower"}
    found = faults(config, tmp_path)
    assert any(f"towers.small: needs the file {tmp_path}/tower/open_clip_config.json" in fault for fault in found)


# ------------------------------------------------------------------------------------------------- fMRI


VOXELS = {
    "stimulus": ({"stimulus": "conditoin"}, "no column 'conditoin' (did you mean 'condition'?)"),
    "split": (
        {"split": {"by": "column", "column": "part", "test": ["1"]}},
        "no column 'part', which studies.mine.split",
    ),
    "run": ({"run": "rum"}, "no column 'rum' (did you mean 'run'?)"),
}


@pytest.mark.parametrize("names", [["stimulus"], ["split"], ["run"], ["stimulus", "split", "run"]], ids="+".join)
def test_wrong_columns_of_the_rows_are_told_at_once(tmp_path, monkeypatch, names):
    folder = voxel_tables.write(tmp_path / "data")
    changes: dict[str, Any] = {}
    for name in names:
        changes |= VOXELS[name][0]
    config = configuration(voxel_tables.study(folder, **changes))
    found = faults(config, tmp_path)
    assert len(found) == len(names)
    planned = refused(config, tmp_path, monkeypatch)
    for name in names:
        assert sum(VOXELS[name][1] in fault for fault in found) == 1
        assert VOXELS[name][1] in planned


def test_voxels_that_are_no_numbers_and_unknown_regions_are_told(tmp_path):
    values = voxel_tables.signals()
    assert faults(configuration(voxel_tables.study(voxel_tables.write(tmp_path / "good"))), tmp_path) == []
    values[7, 3] = np.nan
    config = configuration(voxel_tables.study(voxel_tables.write(tmp_path / "data", values)))
    (fault,) = faults(config, tmp_path)
    assert "1 voxels have NaN or infinite signals, the first is 3 in row 8" in fault
    config["rois"] = {"all": {"include": ["V1"]}}
    (fault,) = faults(config, tmp_path)
    assert "no region 'V1'" in fault


# -------------------------------------------------------------------------------------------- planning


def test_what_fitted_is_opened_again_only_where_it_changed(data, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "KEPT", tmp_path / ".snakemake" / "fitting.json")
    opened = []
    real = check.looker
    monkeypatch.setattr(check, "looker", lambda *given: opened.append(given[1]) or real(*given))

    def plan(sfreq: float = 125) -> None:
        config = configuration(study_settings(data, responses={"sfreq": sfreq}))
        planning.refuse(Plan(settings.load({**config, "results": str(tmp_path / "results")})), ["mine.yaml"])

    plan()
    plan()
    assert len(opened) == 1
    rename(events(data, "02"), "face", "head")
    with pytest.raises(InputError, match=r"stimuli have no row in studies.mine.categories: head"):
        plan()
    rename(events(data, "02"), "head", "face")
    plan()
    with pytest.raises(InputError, match="expected a whole number"):
        plan(60)
    (tmp_path / ".snakemake" / "fitting.json").write_text("no JSON")
    plan()
    assert len(opened) == 5


def test_a_look_leaves_the_log_as_it_was(recorded, tmp_path):
    log = logging.getLogger("brain2clip")
    before = (log.propagate, list(log.handlers))
    faults(configuration(study_settings(recorded)), tmp_path)
    assert (log.propagate, list(log.handlers)) == before


# --------------------------------------------------------------------------------------------- results


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two configurations that name the same results, of which one has run."""
    monkeypatch.chdir(tmp_path)
    for name in ("one.yaml", "two.yaml"):
        Path(name).write_text("results: results/mine\n")
    owner.claim("results/mine", ["one.yaml"])
    return tmp_path


def test_results_of_another_configuration_are_refused(folder):
    owner.check("results/mine", ["one.yaml"])
    with pytest.raises(InputError) as error:
        owner.check("results/mine", ["two.yaml"])
    for word in ("results/mine belongs to another configuration, one.yaml; found two.yaml", "results/two", owner.NAME):
        assert word in str(error.value)
    owner.check("results/other", ["two.yaml"])


@pytest.mark.parametrize("way", ["edited", "renamed", "given up", "with an overlay", "checkout moved", "mark damaged"])
def test_results_stay_with_their_configuration(folder, monkeypatch, way):
    given = ["one.yaml"]
    if way == "edited":
        Path("one.yaml").write_text("results: results/mine\nstudies: {other: {}}\n")
    elif way == "renamed":
        Path("one.yaml").rename("new.yaml")
        given = ["new.yaml"]
    elif way == "given up":
        Path("one.yaml").write_text("results: results/elsewhere\n")
        given = ["two.yaml"]
    elif way == "with an overlay":
        given = ["one.yaml", "two.yaml"]
    elif way == "checkout moved":
        folder.rename(folder.with_name("moved"))
        monkeypatch.chdir(folder.with_name("moved"))
    else:
        mark = Path("results/mine", owner.NAME)
        mark.write_text(json.dumps({"configuration": ["two.yaml"]}))
    owner.check("results/mine", given)


def test_another_configurations_results_are_told_by_check_and_by_planning(recorded, tmp_path, monkeypatch):
    config = {**configuration(study_settings(recorded)), "results": str(tmp_path / "results")}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(config))
    owner.claim(str(tmp_path / "results"), [str(tmp_path / "one.yaml")])
    (fault,) = faults(config, tmp_path)
    assert "belongs to another configuration" in fault
    assert "belongs to another configuration" in refused(config, tmp_path, monkeypatch)
