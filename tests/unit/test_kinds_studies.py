"""What is asked of every kind of study, of those that the project brings and of one from outside."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from study_worlds import WORLDS, World, bids, picture_table, trials_of, voxel_table, write_tsv

from brain2clip import artefact, kinds, settings, stage
from brain2clip.names import SPLITS
from brain2clip.readers import contract
from brain2clip.responses import epochs, voxels
from brain2clip.settings import Study, parse
from brain2clip.stage import InputError
from brain2clip.stimuli import catalogue

KINDS = sorted(WORLDS)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    made: dict[str, World] = {}

    def of(kind: str) -> World:
        if kind not in made:
            made[kind] = WORLDS[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    return of


def test_every_kind_that_is_there_has_a_world():
    assert [kind.replace("-", "_") for kind in kinds.shipped("studies")] == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_settings(worlds, kind):
    world = worlds(kind)
    block = parse(Study, world.settings)
    assert block.kind == kind
    assert parse(Study, settings.canonical(block)) == block
    assert type(block) is kinds.load("studies", kind).Settings
    assert kinds.load("studies", kind).modality == block.modality
    for change in (*world.wrong, {"no_such_key": 1}):
        with pytest.raises(ValidationError):
            parse(Study, {**world.settings, **change})


@pytest.mark.parametrize("kind", KINDS)
def test_files(worlds, kind):
    study, subject = worlds(kind).study(), worlds(kind).subject
    assert subject in study.subjects()
    assert list(study.subjects()) == sorted(set(study.subjects()))
    listed = [*study.files(subject), *study.stimulus_files(), *study.label_files()]
    assert listed
    assert all(isinstance(path, str) for path in listed)
    assert study.licence
    assert study.citation


@pytest.mark.parametrize("kind", KINDS)
def test_table(worlds, kind):
    table = worlds(kind).study().stimulus_table()
    catalogue.check(table, kind)
    assert all(isinstance(texts, list) for name in ("captions", "prompts") for texts in table[name])
    for _, prompts in table.groupby("concept")["prompts"]:
        assert all(texts == prompts.iloc[0] for texts in prompts), "prompts are those of a concept"


@pytest.mark.parametrize("kind", KINDS)
def test_trials_show_stimuli_of_the_table_on_their_side(worlds, kind):
    study, subject = worlds(kind).study(), worlds(kind).subject
    table = study.stimulus_table().set_index("stimulus_id")
    trials = trials_of(study, subject)
    assert set(trials["split"]) == set(SPLITS)
    assert all(isinstance(name, str) for name in trials["stimulus"])
    assert set(trials["stimulus"]) <= set(table.index)
    assert list(trials["concept"]) == list(table["concept"].loc[trials["stimulus"]])
    sides = table["split"].loc[trials["stimulus"]].to_numpy()
    assert ((sides == trials["split"].to_numpy()) | (sides == "both")).all()
    expected = study.expected_counts(subject)
    assert expected is None or expected == trials["split"].value_counts().to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_responses_need_no_more_than_their_settings(worlds, kind):
    """The same trials from ``for_responses()``, the same table from ``for_stimuli()``."""
    world = worlds(kind)
    study = world.study()
    alone = contract.load("mine", study.block.for_responses(), world.results)
    assert not {"responses", "voxels", "subjects", "licence", "citation"} & set(study.block.for_responses())
    pd.testing.assert_frame_equal(trials_of(alone, world.subject), trials_of(study, world.subject))
    assert alone.label_digest() == study.label_digest()
    listed = contract.load("mine", study.block.for_stimuli(), world.results)
    if kind not in ("voxel_table", "things_fmri", "god"):
        pd.testing.assert_frame_equal(listed.stimulus_table(), study.stimulus_table())


@pytest.mark.parametrize("kind", KINDS)
def test_digests_are_stable_and_only_where_a_user_has_a_table(worlds, kind):
    world = worlds(kind)
    one, other = world.study(), world.study()
    assert one.label_digest() == other.label_digest()
    assert one.catalogue_digest() == other.catalogue_digest()
    assert (one.label_digest() is not None) == (one.catalogue_digest() is not None) == (world.table is not None)


# --------------------------------------------------------------------------------- what a user's edits mean

EDITS = {
    # column: values, and whether labels change
    "caption": (["a tom cat", "a dog | it barks", "n/a", "a key"], False),
    "image": (["images/dog-1.png", *(f"images/{name}-1.png" for name in ("dog", "cup", "key"))], False),
    "note": (["new"] * 4, False),
    "concept": (["kitten", "dog", "cup", "key"], True),
    "split": (["train", "train", "test", "test"], True),
}


@pytest.mark.parametrize("make", [bids, voxel_table])
@pytest.mark.parametrize("column", EDITS)
def test_digests_follow_the_columns_that_are_read(tmp_path, make, column):
    world = make(tmp_path)
    before = world.study()
    labels, whole, table = before.label_digest(), before.catalogue_digest(), before.stimulus_table()
    files = before.label_files(), before.stimulus_files()
    values, of_labels = EDITS[column]
    picture_table(world.table.parent, **{column: values})
    after = world.study()
    assert (after.label_digest() != labels) == of_labels
    assert (after.catalogue_digest() != whole) == (not after.stimulus_table().equals(table))
    assert (after.catalogue_digest() != whole) or column in ("note", "split")
    assert (after.label_files(), after.stimulus_files()) == files
    assert after.block.for_responses() == before.block.for_responses()


@pytest.mark.parametrize("kind", ["bids", "voxel_table"])
def test_a_prompt_of_a_category_is_nothing_to_responses(worlds, kind):
    world = worlds(kind)
    names = sorted(set(trials_of(world.study(), world.subject)["stimulus"]))
    given = {**world.settings, "stimuli": None, "categories": {name: [f"a {name}"] for name in names}}
    one = parse(Study, given)
    other = parse(Study, {**given, "categories": {name: [f"the {name}", "more"] for name in names}})
    assert settings.canonical(one.for_responses()) == settings.canonical(other.for_responses())
    assert one.for_stimuli() != other.for_stimuli()
    study = contract.load("mine", one.for_responses(), world.results)
    assert study.both_sides
    assert set(trials_of(study, world.subject)["stimulus"]) == set(names)


@pytest.mark.parametrize("same", [True, False])
def test_a_third_subject(tmp_path, same):
    """Nothing of the first two changes; the table does where the third is shown other sides of the split."""
    world = bids(tmp_path)
    before = world.study()
    bids(tmp_path, ("03",))
    if not same:
        events = next((tmp_path / "bids/sub-03").rglob("*run-02_events.tsv"))
        events.write_text(events.read_text().replace("cup-1", "key-1"))
    after = world.study()
    assert before.split_from_events
    assert after.subjects() == ("01", "02", "03")
    assert after.block.for_responses() == before.block.for_responses()
    assert after.block.for_stimuli() == before.block.for_stimuli()
    assert (after.label_digest(), after.label_files()) == (before.label_digest(), before.label_files())
    assert after.files("01") == before.files("01")
    assert after.stimulus_files() == before.stimulus_files()
    only_two = world.study(subjects=["01", "02"])
    assert (after.catalogue_digest() == only_two.catalogue_digest()) == same


# ------------------------------------------------------------------------------------------ the two stages


def made_catalogue(world: World, output: Path, digest: str | None, subjects: list[str] | None, monkeypatch) -> Path:
    """Run the stage as a job that is not told the subjects but by the environment."""
    if subjects is not None:
        monkeypatch.setenv(contract.SUBJECTS, json.dumps({"mine": subjects}))
    block = parse(Study, world.settings)
    given = {"name": "mine", "study": block.for_stimuli(), "results": str(world.results), "digest": digest}
    inputs = {"stimuli": [Path(path) for path in world.study().stimulus_files()]}
    catalogue.run(stage.Job("catalogue", given, "code", {}, inputs, {"catalogue": output}))
    return output


@pytest.mark.parametrize("kind", KINDS)
def test_the_stage_catalogue_writes_the_table(worlds, kind, tmp_path, monkeypatch):
    world = worlds(kind)
    study = world.study()
    subjects = list(study.subjects()) if study.split_from_events else None
    output = made_catalogue(world, tmp_path / "c.parquet", study.catalogue_digest(), subjects, monkeypatch)
    written, told = catalogue.read(output, None), study.source_pictures()
    assert ("source_picture" in written) == bool(told)
    if told:
        assert dict(zip(written["stimulus_id"], written.pop("source_picture"), strict=True)) == told
    pd.testing.assert_frame_equal(written, study.stimulus_table(), check_dtype=False)


def test_the_catalogue_is_of_the_subjects_that_the_run_has(tmp_path, monkeypatch):
    world = bids(tmp_path)
    events = next((tmp_path / "bids/sub-02").rglob("*run-02_events.tsv"))
    events.write_text(events.read_text().replace("cup-1", "key-1"))
    for subjects, test in ((["01"], ["cup-1"]), (["01", "02"], ["cup-1", "key-1"])):
        digest = world.study(subjects=subjects).catalogue_digest()
        output = made_catalogue(world, tmp_path / "c.parquet", digest, subjects, monkeypatch)
        table = catalogue.read(output, None)
        assert table.loc[table["split"] == "test", "stimulus_id"].tolist() == test
    with pytest.raises(InputError, match=r"pictures\.tsv: changed since snakemake planned this job"):
        made_catalogue(world, tmp_path / "c.parquet", digest, ["01"], monkeypatch)


def test_a_concept_on_both_sides_over_all_subjects_stops_the_catalogue_and_not_the_responses(tmp_path):
    world = bids(tmp_path)
    events = next((tmp_path / "bids/sub-02").rglob("*run-02_events.tsv"))
    events.write_text(events.read_text().replace("cup-1", "cat-1"))
    first = next((tmp_path / "bids/sub-02").rglob("*run-01_events.tsv"))
    first.write_text(first.read_text().replace("cat-1", "dog-1"))
    study = world.study()
    with pytest.raises(InputError, match="1 concepts are on both sides of the split: cat"):
        study.stimulus_table()
    for subject in ("01", "02"):
        epochs.checks.check_trials(study, subject, trials_of(study, subject).assign(session="n/a", run="n/a"))


def spec_of(world: World, subject: str, labels: str | None) -> dict:
    block = parse(Study, world.settings)
    steps = {"responses": {"tmin": -0.1, "tmax": 0.4, "sfreq": 125}, "band": {}}
    if block.modality == "fmri":
        steps = {"voxels": {}, "roi": {}}
    own = {"name": "mine", "study": block.for_responses(), "subject": subject, "results": str(world.results)}
    return own | {"labels": labels} | steps


@pytest.mark.parametrize("make", [bids, voxel_table])
def test_responses_hold_the_ids_that_were_shown_and_stop_at_other_labels(tmp_path, make):
    world = make(tmp_path)
    study, run = world.study(), epochs.run if make is bids else voxels.run
    labels = study.label_digest()
    output = tmp_path / "out.h5"
    run(stage.Job("made", spec_of(world, "01", labels), "code", {}, {}, {"responses": output}))
    shown = trials_of(study, "01")
    with artefact.open_h5(output) as file:
        ids, number = file["stimulus_id"].asstr()[:], file["stimulus"][:]
        assert list(ids) == sorted(set(shown["stimulus"]))
        assert list(ids[number]) == list(shown["stimulus"])
        assert number.dtype == np.int32
    picture_table(world.table.parent, concept=["kitten", "dog", "cup", "key"])
    with pytest.raises(InputError, match=rf"pictures\.tsv: changed since .*{labels} then.*start snakemake again"):
        run(stage.Job("made", spec_of(world, "01", labels), "code", {}, {}, {"responses": output}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="prompts"), "expected at least one stimulus, and stimulus_id"),
        (lambda table: table[:0], "a table of 0 stimuli"),
        (lambda table: table.assign(stimulus_id="a"), "stimulus_id a occurs more than once"),
        (lambda table: table.assign(split="Test"), "split 'Test'; expected train, test or both"),
    ],
)
def test_a_table_that_is_none_is_refused(worlds, change, message):
    table = worlds("bids").study().stimulus_table()
    with pytest.raises(InputError, match=message):
        catalogue.check(change(table), "here")


# -------------------------------------------------------------------------------------- a kind from outside

OUTSIDE = """
from typing import ClassVar, Literal

import pandas as pd

from brain2clip.readers.contract import EegStudy, Recording
from brain2clip.settings import EegStudyBase


class Mine(EegStudyBase):
    unread: ClassVar[frozenset[str]] = EegStudyBase.unread | {"colour"}

    kind: Literal["my_lab.study:Study"] = "my_lab.study:Study"
    people: int = 2
    colour: str = "green"


class Study(EegStudy):
    Settings = Mine
    licence = "none"
    citation = "nobody"

    def subjects(self):
        return tuple(str(number) for number in range(self.block.people))

    def files(self, subject):
        return []

    def stimulus_files(self):
        return []

    def recordings(self, subject):
        return [Recording(subject, "see", None, None, self.results, self.results / "x.vhdr", self.results / "x.tsv")]

    def trials(self, recording):
        columns = {"onset": [1.0, 2.0], "stimulus": ["a", "b"], "concept": ["a", "b"], "split": ["train", "test"]}
        return pd.DataFrame(columns)

    def stimulus_table(self):
        return pd.DataFrame(
            {"stimulus_id": ["a", "b"], "split": ["train", "test"], "concept": ["a", "b"], "image": "",
             "captions": [[], []], "prompts": [["an a"], ["a b"]]}
        )
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab/__init__.py").touch()
    (tmp_path / "my_lab/study.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield {"kind": "my_lab.study:Study", "people": 3}
    for name in ("my_lab", "my_lab.study"):
        sys.modules.pop(name, None)


def test_a_study_from_outside(outside, tmp_path):
    block = parse(Study, outside)
    assert block.modality == "eeg"
    assert json.loads(settings.canonical(block))["people"] == 3
    assert parse(Study, settings.canonical(block)) == block
    assert set(block.for_responses()) == {"kind", "people"}
    assert kinds.modules_of(block) == ["brain2clip.responses.whitenings.mvnn", "my_lab.study"]
    study = contract.load("mine", block.for_responses(), tmp_path)
    assert study.subjects() == ("0", "1", "2")
    assert (study.label_files(), study.label_digest(), study.expected_counts("0")) == ([], None, None)
    trials = epochs.all_trials(study, study.recordings("1"))
    epochs.checks.check_trials(study, "1", trials)
    given = {"name": "mine", "study": block.for_stimuli(), "results": str(tmp_path), "digest": None}
    output = tmp_path / "catalogue.parquet"
    catalogue.run(stage.Job("catalogue", given, "code", {}, {}, {"catalogue": output}))
    assert catalogue.read(output, None)["prompts"].tolist() == [["an a"], ["a b"]]


def test_a_study_from_outside_is_held_to_its_settings(outside):
    with pytest.raises(ValidationError, match="people"):
        parse(Study, {**outside, "people": "many"})
    with pytest.raises(ValidationError, match="has no Nothing"):
        parse(Study, {"kind": "my_lab.study:Nothing"})
    with pytest.raises(ValidationError, match="needs a class attribute Settings"):
        parse(Study, {"kind": "my_lab.study:Mine"})
    with pytest.raises(ValidationError, match=r"cannot import my_lab\.other"):
        parse(Study, {"kind": "my_lab.other:Study"})


@pytest.mark.parametrize("given", [{}, {"kind": None}, {"kind": "bids-egg"}])
def test_a_study_needs_a_kind_that_is_known(given):
    with pytest.raises(ValidationError) as error:
        parse(Study, given)
    if given.get("kind"):
        assert all(kind in str(error.value) for kind in KINDS)


def test_columns_of_other_tables_are_left_alone(tmp_path):
    """A picture's path may be anything for responses, which never look for the file."""
    world = bids(tmp_path)
    write_tsv(world.table, {"stimulus_id": ["cat-1", "dog-1", "cup-1"], "concept": ["cat", "dog", "cup"]})
    study = world.study()
    assert len(trials_of(study, "01")) == 12
    assert study.label_digest() is not None
    with pytest.raises(InputError, match="no column 'image'"):
        study.stimulus_table()
