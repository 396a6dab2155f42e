"""``brain2clip init``: what lies there becomes a configuration that is valid and planned, with nothing wrong in it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import meg_files
import nibabel
import numpy as np
import pytest
import voxel_tables
from bids_fixtures import noise, regular_events, write_run
from PIL import Image

from brain2clip import settings
from brain2clip.cli import init, run
from brain2clip.plan import Plan
from brain2clip.preflight import check
from brain2clip.settings import Config
from brain2clip.stage import InputError
from brain2clip.starting import shown

ROOT = Path(__file__).resolve().parents[2]
CONCEPTS = ("apple", "boat", "cat", "dog", "egg", "fork")


def flags(**given: Any) -> init.Flags:
    empty = {
        "tasks": [],
        "keep": [],
        **dict.fromkeys(("out", "name", "results", "stimulus", "split", "pictures", "tower")),
    }
    return init.Flags(**{**empty, **given})


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Where the user stands; and a repository without results, in which the tower is found."""
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    monkeypatch.chdir(tmp_path)
    for module in (init, run):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def fitting(path: str) -> Config:
    """The configuration of a file, in which a check finds nothing and of which every job is planned."""
    config = settings.load(settings.read(path))
    plan = Plan(config)
    assert list(check.looked(plan, [path]).faults()) == []
    assert {"catalogue", "features", "train", "rank", "tables"} <= {job.stage for job in plan.jobs().values()}
    return config


def categories(
    root: Path, subjects: tuple[str, ...] = ("01", "02"), runs: tuple[str, ...] = ("01", "02", "03")
) -> Path:
    for subject in subjects:
        for label in runs:
            events = regular_events(21, names=("face", "house", "response"))
            write_run(root, noise(int(subject + label), 12), events, subject=subject, run=label)
    return root


def pictures(root: Path, runs: tuple[str | None, ...] = (None,)) -> Path:
    """Two subjects see two pictures of six concepts, in each run; responses stand between the trials."""
    names = [f"{concept}_{number:02d}.png" for concept in CONCEPTS for number in (1, 2)]
    (root / "stimuli" / "all").mkdir(parents=True)
    for place, name in enumerate(names):
        Image.new("RGB", (8, 8), (20 * place, 0, 0)).save(root / "stimuli" / "all" / name)
    shown = [*names, "n/a"] * 2
    events = {
        "onset": [f"{1 + 0.4 * place:.1f}" for place in range(len(shown))],
        "duration": ["0.1"] * len(shown),
        "trial_type": ["response" if name == "n/a" else "image" for name in shown],
        "stim_file": [name if name == "n/a" else f"all/{name}" for name in shown],
    }
    for number, (subject, label) in enumerate(itertools.product(("01", "02"), runs)):
        write_run(root, noise(number, 14, sfreq=500), events, subject=subject, run=label, sfreq=500)
    return root


def test_categories_of_a_bids_dataset(here):
    told = init.write(categories(here / "My data_2"), flags())
    assert told[-1] == "Next: brain2clip check My-data-2.yaml, then brain2clip run My-data-2.yaml"
    config = fitting("My-data-2.yaml")
    study: Any = config.studies["My-data-2"]
    assert config.results == "results/My-data-2"
    assert study.keep == {"trial_type": ("face", "house")}
    assert list(study.categories) == ["face", "house"]
    assert (study.split.by, study.split.test) == ("run", ("02",))
    assert study.responses.sfreq == 125  # of 250
    text = Path("My-data-2.yaml").read_text()
    for line in (
        "#   trial_type: face 42, house 42, response 42",
        "# 2 subjects, 6 recordings of .vhdr (run: 01 2, 02 2, 03 2)",
        "# Recorded at 250 Hz. Rates of responses without interpolation: 250, 125, 50, 25 Hz.",
        "# EEG channels: 4 (2 subjects): Fz, Pz, O1, O2",
    ):
        assert line in text
    init.write(here / "My data_2", flags(out=Path("again.yaml")))
    own = text.replace("results: results/My-data-2", "results: results/again")
    assert Path("again.yaml").read_text() == own, "each configuration has results of its own, before any run as well"


def test_a_bids_dataset_of_meg(here):
    kinds = meg_files.names()
    for number, (subject, label) in enumerate(itertools.product(("01", "02"), ("01", "02", "03"))):
        meg_files.write_run(
            *(here / "heads", meg_files.noise(number, kinds, 14.0), kinds, regular_events(20)),
            subject=subject,
            run=label,
            types=dict.fromkeys(kinds, "OTHER"),
        )
    told = init.write(here / "heads", flags())
    assert told[0].startswith("bids: 2 subjects, 2 categories (face, house)")
    study: Any = fitting("heads.yaml").studies["heads"]
    assert (study.datatype, study.technique, study.responses.channels) == ("meg", "meg", "all")
    text = Path("heads.yaml").read_text()
    for line in (
        "# 2 subjects, 6 recordings of .fif (run: 01 2, 02 2, 03 2)",
        "# MEG channels: 8 (2 subjects): MLO11-1609",
        "# Types by the files: 8 mag. without: [NAME] leaves one out; picks chooses a type",
        "# reject_ft: 4000.0",
    ):
        assert line in text
    assert "reject_uv" not in text


def test_both_datatypes_are_told(here):
    root = categories(here / "both", subjects=("01",))
    kinds = meg_files.names()
    meg_files.write_run(root, meg_files.noise(1, kinds, 14.0), kinds, regular_events(20), task="rest")
    init.write(root, flags())
    assert "# There is MEG as well: datatype: meg reads it." in Path("both.yaml").read_text()


def test_pictures_of_a_bids_dataset(here):
    told = init.write(pictures(here / "rsvp"), flags())
    assert "12 pictures by the column stim_file" in told[0]
    config = fitting("rsvp.yaml")
    study: Any = config.studies["rsvp"]
    assert study.keep == {"trial_type": ("image",)}
    assert study.stimuli == "rsvp-pictures.tsv"
    assert study.split.by == "concepts"
    assert set(study.split.test) < set(CONCEPTS)
    assert study.responses.sfreq == 100  # of 500
    assert "of 6 concepts" in Path("rsvp.yaml").read_text()
    assert "was not trained on photographs" in Path("rsvp.yaml").read_text().replace("\n# ", " ")


def test_pictures_that_every_run_shows_are_zero_shot_by_concepts_or_seen_ones_by_runs(here):
    root = pictures(here / "lab", ("01", "02", "03"))
    init.write(root, flags())
    study: Any = fitting("lab.yaml").studies["lab"]
    assert (study.split.by, study.split.concepts) == ("concepts", "unseen")
    assert "run=02 (with concepts: seen)" in Path("lab.yaml").read_text().replace("\n    # ", " ")
    init.write(root, flags(split="run=03", out=Path("seen.yaml")))
    config = fitting("seen.yaml")
    study = config.studies[next(iter(config.studies))]
    assert (study.split.by, study.split.test, study.split.concepts) == ("run", ("03",), "seen")
    assert "every table says so" in Path("seen.yaml").read_text().replace("\n    # ", " ")


def test_concepts_of_crossed_names_that_are_held_out_are_of_several_kinds():
    kinds = ("ball", "box", "ring", "star", "tent")
    names = sorted(f"{colour} {kind}" for colour in "abcdefgh" for kind in kinds)
    (held_out,) = shown._tests("concepts", names, False)
    assert len(held_out) == 8
    assert len({name.partition(" ")[2] for name in held_out}) > 2
    (more,) = shown._tests("concepts", sorted([*names, *(f"i {kind}" for kind in kinds)]), False)
    assert len({*held_out} & {*more}) >= 6, "further concepts leave most where they are"


def test_volumes_with_a_table_and_a_mask(here):
    names, runs = voxel_tables.labels()
    folder = here / "bold"
    folder.mkdir()
    mask = np.zeros((2, 2, 4), np.uint8)
    mask[:, :, :2] = 1
    for subject in ("01", "02"):
        values = voxel_tables.signals(int(subject))
        volumes = np.zeros((2, 2, 4, len(names)), np.float32)
        volumes[mask > 0] = values.T
        nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), folder / f"sub-{subject}_bold.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"sub-{subject}_mask.nii.gz")
        lines = ["condition\trun", *(f"{name}\t{run}" for name, run in zip(names, runs))]
        (folder / f"sub-{subject}_rows.tsv").write_text("\n".join(lines) + "\n")
    init.write(folder, flags())
    config = fitting("bold.yaml")
    study: Any = config.studies["bold"]
    assert (study.signals, study.table) == ("bold/sub-{subject}_bold.nii.gz", "bold/sub-{subject}_rows.tsv")
    assert study.mask == "bold/sub-{subject}_mask.nii.gz"
    assert study.subjects == ("01", "02")
    assert (study.rest, study.run, study.split.test) == (("rest",), "run", ("2", "4"))
    assert (study.voxels.detrend, study.voxels.normalise, study.voxels.average) == ("linear", "run", "block")


@pytest.mark.parametrize("header", [True, False])
def test_a_matrix_with_a_table_with_and_without_header(here, header):
    folder = voxel_tables.write(here / "matrix")
    if not header:
        table = folder / "rows.csv"
        table.write_text(table.read_text().partition("\n")[2])
    init.write(folder / "signals.npy", flags(name="haxby", split="run=4"))
    study: Any = fitting("haxby.yaml").studies["haxby"]
    assert study.columns == (None if header else ("condition", "run"))
    assert (study.stimulus, study.run, study.split.test) == ("condition", "run", ("4",))


def bold_runs(root: Path, events: int) -> Path:
    """A subject with two runs of six volumes, and some events each, as BIDS has them."""
    folder = root / "sub-01" / "func"
    folder.mkdir(parents=True)
    for number in ("1", "2"):
        name = f"sub-01_task-see_run-{number}"
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 6), np.float32), np.eye(4)), folder / f"{name}_bold.nii.gz")
        lines = [f"{2 * place}\t1\t{('face', 'house')[place % 2]}" for place in range(events)]
        (folder / f"{name}_events.tsv").write_text("\n".join(["onset\tduration\ttrial_type", *lines]) + "\n")
    return root


@pytest.mark.parametrize("events", [4, 6], ids=["other", "as-many-as-volumes"])
def test_runs_of_fmri_with_events_are_refused_with_what_to_make_of_them(here, events):
    with pytest.raises(InputError) as error:
        init.write(bold_runs(here / "bids", events), flags())
    told = str(error.value)
    assert "2 time series (as sub-01/func/sub-01_task-see_run-1_bold.nii.gz, 6 volumes)" in told
    assert "the response to each trial must be estimated first" in told
    assert not list(here.glob("*.yaml"))


def test_what_is_asked_for_in_their_place_fits(here):
    folder = here / "betas"
    folder.mkdir()
    runs = ["1"] * 6 + ["2"] * 6
    for subject in ("01", "02"):
        values = np.random.default_rng(int(subject)).normal(size=(2, 2, 2, 12)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"sub-{subject}_betas.nii.gz")
        lines = ["stimulus\trun", *(f"{name}\t{run}" for name, run in zip(["face", "house"] * 6, runs))]
        (folder / f"sub-{subject}_trials.tsv").write_text("\n".join(lines) + "\n")
    assert init.write(folder, flags())[0].startswith("voxel_table: 2 subjects, 2 categories (face, house)")
    study: Any = fitting("betas.yaml").studies["betas"]
    assert (study.stimulus, study.run, study.voxels.average) == ("stimulus", "run", "none")


def test_flags_choose(here):
    root = categories(here / "data")
    given = flags(
        out=Path("sub/mine.yaml"), results="results/own", keep=["trial_type=house,response"], split="run=01,03",
        tower="ViT-B-32:laion2b_s34b_b79k", name="mine",
    )  # fmt: skip
    init.write(root, given)
    config = settings.load(settings.read("sub/mine.yaml"))
    study: Any = config.studies["mine"]
    assert config.results == "results/own"
    assert list(study.categories) == ["house", "response"]
    assert study.split.test == ("01", "03")
    assert (config.towers["clip"].model, config.towers["clip"].pretrained) == ("ViT-B-32", "laion2b_s34b_b79k")


def test_nothing_is_written_over_and_results_are_its_own(here):
    root = categories(here / "data")
    (here / "results" / "data").mkdir(parents=True)
    init.write(root, flags())
    assert settings.read("data.yaml")["results"] == "results/data-2"
    before = Path("data.yaml").read_text()
    with pytest.raises(InputError, match="this file exists and is not overwritten"):
        init.write(root, flags())
    assert Path("data.yaml").read_text() == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"stimulus": "trail_type"}, "--stimulus: no column 'trail_type' (did you mean 'trial_type'?)"),
        ({"keep": ["type=face"]}, "--keep: no column 'type'"),
        ({"keep": ["face"]}, "expected COLUMN=VALUE"),
        ({"split": "runs"}, "--split: found 'runs'; expected run, session, task or concepts, or column:NAME"),
        ({"split": "session"}, "no split is possible by --split session"),
        ({"split": "run=09"}, "expected trials of each category (face, house) of every subject on both sides"),
        ({"tasks": ["look"]}, "no recording of the tasks look; found see"),
        ({"pictures": Path("nowhere")}, "--pictures: nowhere is not a folder"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_wrong_flags_are_told_with_what_is_there(here, given, told):
    root = categories(here / "data", ("01",), ("01", "02"))
    with pytest.raises(InputError) as error:
        init.write(root, flags(**given))
    assert told in str(error.value)
    assert list(here.glob("*.yaml")) == []


def test_what_cannot_be_chosen_is_told(here):
    root = categories(here / "one", ("01",), ("01",))
    with pytest.raises(InputError, match=r"no split is possible: .*\n  found task: see; run: 01; columns"):
        init.write(root, flags())
    write_run(root, noise(9, 12), regular_events(20), subject="01", run="01", task="rest")
    with pytest.raises(InputError, match="several tasks, with the number of their recordings: rest 1, see 1"):
        init.write(root, flags())
    (here / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither a BIDS dataset of EEG .* nor voxel signals"):
        init.write(here / "empty", flags())
    root.rename(here / "empty" / "bids")
    with pytest.raises(InputError, match=r"the BIDS dataset is in .*/empty/bids"):
        init.write(here / "empty", flags())
    with pytest.raises(InputError, match="no such file or folder"):
        init.write(here / "nothing", flags())


def test_labels_that_only_look_like_numbers_have_an_order_too():
    """A superscript is a digit for Python, but no number."""
    rows = shown.Rows("01", {"block": ["\u00b2", "10", "2"]}, {})
    assert shown._values([rows], [[0, 1, 2]], "block", "block", {}) == ["2", "10", "\u00b2"]
