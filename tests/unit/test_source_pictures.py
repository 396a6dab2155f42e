"""Pictures of a public collection that two studies show under names of their own: found, and refused where known."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import bold5000_world
import nsd_world
import pandas as pd
import pytest

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.plan.needs import check, problems
from brain2clip.readers import coco, contract, nsd_files, overlap
from brain2clip.readers.overlap import Shown
from brain2clip.stage import InputError, Job
from brain2clip.stimuli import catalogue

TABLE = Path("workflow/manifests/bold5000-trials.csv.gz")


def of_bold5000() -> dict[str, list[int]]:
    """COCO's numbers of the pictures of each side of BOLD5000, from the shipped table alone."""
    with gzip.open(TABLE, "rt") as file:
        shown = Counter((row["subject"], row["picture"]) for row in csv.DictReader(file))
    repeated = {picture for (_, picture), count in shown.items() if count > 1}
    every = {picture for _, picture in shown}
    sides = {"test": repeated, "train": every - repeated}
    return {
        side: sorted(int(one[-16:-4]) for one in pictures if one.startswith("COCO_train2014_"))
        for side, pictures in sides.items()
    }


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> Path:
    """The miniature of NSD and files of BOLD5000 with which nothing is planted yet."""
    folder = tmp_path_factory.mktemp("worlds")
    nsd_world.write(folder / "nsd", forms=("hdf5",))
    bold5000_world.write_arrays(folder / "bold", "CSI1")
    return folder


def planted(folder: Path, numbers: dict[int, int] | None) -> None:
    """COCO's numbers of some pictures of NSD by ``nsdId``, of no other study for the rest; None: no table at all."""
    path = folder / "nsd" / nsd_files.PICTURES
    path.unlink(missing_ok=True)
    if numbers is not None:
        table = nsd_world.stim_info()
        table["cocoId"] = [numbers.get(one, 10_000_000 + one) for one in table["nsdId"]]
        nsd_world.write_table(folder / "nsd", nsd_files.PICTURES, table, ",")


def sides_of_nsd() -> dict[str, list[int]]:
    """``nsdId`` of pictures of training and test of the miniature, by plain indexing."""
    images = nsd_world.images() - 1
    shared, own = images[0, : nsd_world.SHARED], images[:, nsd_world.SHARED :]
    return {"test": sorted(shared.tolist()), "train": sorted(own.ravel().tolist())}


def study(folder: Path, which: str) -> dict[str, Any]:
    if which == "nsd":
        return nsd_world.settings(folder / "nsd", pictures=False, betas=nsd_world.VERSION)
    return {"kind": "bold5000", "root": str(folder / "bold"), "subjects": ["CSI1"]}


def plan(folder: Path, trained: str, tested: str, **entry: Any) -> Plan:
    """Models of one dataset on the test of another, or of another study of the same dataset."""
    subject, other = {"nsd": "01", "bold": "CSI1"}[trained], tested if tested != trained else "again"
    return Plan(
        settings.load(
            {
                "studies": {trained: study(folder, trained), other: study(folder, tested)},
                "rois": {"all": {}},
                "towers": {"small": {"model": "ViT-B-32", "pretrained": "weights/small.safetensors"}},
                "protocols": {"intra": {"kind": "intra-subject"}},
                "methods": {"ridge": {"kind": "ridge", "tower": "small"}},
                "experiments": {
                    "main": {"study": trained, "signals": ["all"], "protocols": ["intra"], "methods": ["ridge"]}
                },
                "apply": {"new": {"experiment": "main", "study": other, "subject": subject, **entry}},
            }
        )
    )


# -------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    ("stimulus_id", "image", "told", "found"),
    [
        ("COCO_train2014_000000420713", "", "", "coco:420713"),
        ("COCO_val2014_000000000042", "", "", "coco:42"),
        ("x", "some/where/COCO_train2014_000000420713.jpg", "", "coco:420713"),
        ("nsd-00001", "00/nsd-00001.png", "coco:420713", "coco:420713"),
        ("nsd-00001", "00/nsd-00001.png", "", ""),
        ("000000420713", "", "", ""),  # the files of 2017 have bare numbers, as those of any study may have
        ("COCO_train2014_420713", "", "", ""),
        ("n01930112_19568", "n01930112_19568.JPEG", "", ""),
    ],
)
def test_a_picture_of_coco_is_known_by_what_is_told_or_by_its_name(stimulus_id, image, told, found):
    assert overlap.source_picture(stimulus_id, image, told) == found


def test_numbers_of_2014_and_2017_and_of_both_parts_are_the_same_picture():
    names = ("COCO_train2014_000000000009", "COCO_val2014_000000000009", "COCO_train2017_000000000009")
    assert {coco.number_in(name) for name in names} == {9}
    assert coco.number_in("COCO_train2014_00000000000x") is None


def test_source_pictures_are_shared_under_any_name_and_counted():
    one = overlap.shown([("nsd-1", "a", ""), ("nsd-2", "b", "")], ["coco:7", "coco:8"])
    other = overlap.shown([("COCO_train2014_000000000007", "c", "")])
    found = one.shared(other)
    assert found == Shown(frozenset(), frozenset(), frozenset({"coco:7"}))
    assert found.words() == "1 source picture (coco:7)"
    assert not one.shared(overlap.shown([("COCO_train2014_000000000009", "c", "")]))
    with pytest.raises(ValueError, match="zip"):
        overlap.shown([("a", "a", "")], ["coco:1", "coco:2"])


def test_an_unknown_picture_of_a_collection_may_be_any_known_one_of_it():
    unknown = overlap.shown([("nsd-1", "a", "")], ["coco:?"])
    known = overlap.shown([("COCO_train2014_000000000007", "c", "")])
    for found in (unknown.shared(known), known.shared(unknown)):
        assert found
        assert found.collections_unknown == ["coco"]
        assert found.words() == ""
    assert not unknown.shared(overlap.shown([("x", "y", "")], ["imagenet:n01"])), "of another collection"
    assert not unknown.shared(overlap.shown([("nsd-2", "b", "")], ["coco:?"])), "names of the pictures tell"
    assert unknown.shared(unknown).pictures == {"nsd-1"}


# -------------------------------------------------------------------------------------------------- two studies


def counted(worlds: Path, trained: str, tested: str) -> Shown:
    tables = [contract.load("one", study(worlds, name), "results").known_stimuli() for name in (trained, tested)]
    return overlap.between(*tables)


def test_no_shared_picture_passes(worlds):
    planted(worlds, {})
    for pair in (("nsd", "bold"), ("bold", "nsd"), ("nsd", "nsd"), ("bold", "bold")):
        found = counted(worlds, *pair)
        assert (found.pictures, found.sources) == (frozenset(), frozenset())
        assert problems(plan(worlds, *pair)) == []


def test_exactly_the_planted_pictures_are_found_and_only_those_on_the_other_side(worlds):
    numbers, ids = of_bold5000(), sides_of_nsd()
    assert {side: len(own) for side, own in numbers.items()} == {"test": 45, "train": 1955}
    # Of NSD's training: all 45 test pictures, and 10 training ones; of its test: 5 training and 2 test ones.
    given = dict(zip(ids["train"], numbers["test"] + numbers["train"][:10]))
    given |= dict(zip(ids["test"], numbers["train"][100:105] + numbers["test"][:2]))
    planted(worlds, given)
    to_bold, to_nsd = counted(worlds, "nsd", "bold"), counted(worlds, "bold", "nsd")
    assert to_bold == Shown(frozenset(), frozenset(), frozenset(f"coco:{one}" for one in numbers["test"]))
    assert to_nsd == Shown(frozenset(), frozenset(), frozenset(f"coco:{one}" for one in numbers["train"][100:105]))
    # nsdId and the numbers of COCO count in the same range: one is never taken for the other.
    planted(worlds, {one: 10_000_000 + one for one in ids["train"]})
    assert not counted(worlds, "nsd", "bold")


def test_the_plan_refuses_before_anything_runs_with_counts_and_what_to_do(worlds):
    """Neither test is zero-shot: concepts may be those of training, pictures may not."""
    numbers, ids = of_bold5000(), sides_of_nsd()
    planted(worlds, dict(zip(ids["train"], numbers["test"][:7])))
    with pytest.raises(InputError) as error:
        check(plan(worlds, "nsd", "bold"))
    said = str(error.value)
    assert said.startswith("apply.new.study: the test of study 'bold' has 7 source pictures (coco:")
    assert "that were in the training of study 'nsd'" in said
    assert "because a test shows no picture of training: leave these pictures out of training" in said
    assert "set apply.new.concepts: seen" in said
    assert problems(plan(worlds, "bold", "nsd")) == [], "the other way round none is shared"


def test_the_escape_hatch_is_that_of_concepts(worlds):
    numbers, ids = of_bold5000(), sides_of_nsd()
    planted(worlds, dict(zip(ids["train"], numbers["test"][:7])))
    made = plan(worlds, "nsd", "bold", concepts="seen")
    assert problems(made) == []
    given = made.apply_spec(made.applied()[0]).settings
    assert given["concepts"] == "seen"
    assert "source_pictures" not in given
    strict = plan(worlds, "nsd", "bold")
    assert strict.apply_spec(strict.applied()[0]).settings["source_pictures"] == "unseen", (
        "the stage refuses it as well"
    )


def test_numbers_that_are_not_known_are_no_reason_to_go_on(worlds):
    planted(worlds, None)
    for trained, tested in (("nsd", "bold"), ("bold", "nsd")):
        (said,) = problems(plan(worlds, trained, tested))
        assert f"study {trained!r} was trained on pictures of the collection coco" in said
        assert "get its table of pictures" in said
        assert "set apply.new.concepts: seen" in said
        assert problems(plan(worlds, trained, tested, concepts="seen")) == []
    assert problems(plan(worlds, "nsd", "nsd")) == [], "names of the pictures tell"


def test_a_study_whose_files_are_not_there_yet_is_left_to_the_stage(worlds, tmp_path):
    empty = contract.load("one", nsd_world.settings(tmp_path / "none", pictures=False), "results")
    assert empty.known_stimuli() is None
    missing = {**study(worlds, "bold"), "trials": str(tmp_path / "none.csv.gz")}
    assert contract.load("one", missing, "results").known_stimuli() is None


def test_a_table_whose_number_is_none_is_refused_with_file_and_picture(worlds):
    table = nsd_world.stim_info().astype({"cocoId": object})
    table.loc[sides_of_nsd()["train"][0], "cocoId"] = "n/a"
    nsd_world.write_table(worlds / "nsd", nsd_files.PICTURES, table, ",")
    with pytest.raises(InputError, match=r"nsd_stim_info_merged\.csv: nsdId \d+ has cocoId 'n/a'; expected a number"):
        contract.load("one", study(worlds, "nsd"), "results").source_pictures()


# --------------------------------------------------------------------------------------------------- catalogue


def test_the_catalogue_says_them_by_id(worlds, tmp_path):
    planted(worlds, {one: 5_000 + one for one in sides_of_nsd()["train"]})
    one = contract.load("nsd", study(worlds, "nsd"), "results")
    given = {"name": "nsd", "study": study(worlds, "nsd"), "results": "results"}
    catalogue.run(Job("catalogue", given, "code", {}, {}, {"catalogue": tmp_path / "nsd.parquet"}))
    table = catalogue.read(tmp_path / "nsd.parquet", None).set_index("stimulus_id")
    assert table["source_picture"].to_dict() == one.source_pictures()
    number = sides_of_nsd()["train"][3]
    assert table.loc[f"nsd-{number:05d}", "source_picture"] == f"coco:{5_000 + number}"


def test_what_a_study_tells_wrongly_is_refused():
    table = pd.DataFrame({"stimulus_id": ["a", "b"]})
    catalogue.check_sources({"a": "coco:1", "b": "coco:?"}, table, "study s")
    with pytest.raises(InputError, match="study s: source_pictures gives '12' for 'a'; expected COLLECTION:NAME"):
        catalogue.check_sources({"a": "12"}, table, "study s")
    with pytest.raises(InputError, match="source_pictures names 'c', which is no stimulus"):
        catalogue.check_sources({"c": "coco:1"}, table, "study s")
