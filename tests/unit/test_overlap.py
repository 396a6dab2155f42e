"""Concepts and pictures that two studies share, found before anything is fetched where tables of the project tell."""

from __future__ import annotations

import pytest

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.plan.needs import check, problems
from brain2clip.readers import overlap
from brain2clip.readers.overlap import Shown
from brain2clip.stage import InputError

STUDIES = {
    "eeg1": {"kind": "things_eeg1", "subjects": ["02"]},
    "eeg2": {"kind": "things_eeg2", "subjects": ["01"]},
    "meg": {"kind": "things_meg", "subjects": ["BIGMEG1"]},
}
SUBJECT = {"eeg1": "02", "eeg2": "01", "meg": "BIGMEG1"}


def plan(trained: str, tested: str, entry: dict | None = None, **changes: dict) -> Plan:
    """Models of one study on the test of another, both with the same responses."""
    return Plan(
        settings.load(
            {
                "studies": {name: {**STUDIES[name], **changes.get(name, {})} for name in (trained, tested)},
                "bands": {"all": {}},
                "towers": {"small": {"model": "ViT-B-32", "pretrained": "weights/small.safetensors"}},
                "protocols": {"intra": {"kind": "intra-subject"}},
                "methods": {"ridge": {"kind": "ridge", "tower": "small"}},
                "experiments": {
                    "main": {"study": trained, "signals": ["all"], "protocols": ["intra"], "methods": ["ridge"]}
                },
                "apply": {
                    "other": {
                        "experiment": "main", "study": tested, "subject": SUBJECT[trained], **(entry or {}),
                    }
                },
            }
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trained", "tested", "concepts", "pictures"),
    [
        ("eeg2", "meg", 172, 0),
        ("meg", "eeg2", 172, 155),
        ("eeg1", "meg", 172, 0),
        ("meg", "eeg1", 172, 0),  # candidates of THINGS-EEG1 without pictures are concepts
    ],
)
def test_studies_of_things_share_what_they_show(trained, tested, concepts, pictures):
    with pytest.raises(InputError) as error:
        check(plan(trained, tested))
    told = str(error.value)
    assert told.startswith(f"apply.other.study: the test of study {tested!r} asks for {concepts} concepts (")
    assert (f" and {pictures} pictures (" in told) == bool(pictures)
    assert f"training of study {trained!r} showed" in told
    assert "set apply.other.concepts: seen" in told


def test_kept_test_concepts_make_it_more():
    """178 of the 200 test pictures of THINGS-EEG2 are training pictures of THINGS-MEG, if none is left out."""
    (told,) = problems(plan("meg", "eeg2", meg={"keep_test_concepts": True}))
    assert "200 concepts (" in told
    assert "and 178 pictures (" in told


def test_studies_whose_tests_are_of_the_same_concepts_go_together():
    assert not problems(plan("eeg1", "eeg2"))
    assert not problems(plan("eeg2", "eeg1"))


def test_what_is_said_is_allowed():
    made = plan("eeg2", "meg", {"concepts": "seen"})
    assert not problems(made)
    (one,) = made.applied()
    assert made.apply_spec(one).settings["concepts"] == "seen"
    assert "concepts" not in plan("eeg1", "eeg2").apply_spec(plan("eeg1", "eeg2").applied()[0]).settings


def test_a_study_that_is_not_zero_shot_says_it_itself():
    made = plan("eeg2", "meg", meg={"keep_test_concepts": True})
    assert not problems(made)
    (one,) = made.applied()
    assert made.apply_spec(one).settings["concepts"] == "seen"


def test_a_study_of_which_only_the_data_tell_is_left_to_the_stage():
    assert not problems(plan("meg", "eeg1", eeg1={"test": "block"}))


@pytest.mark.parametrize(("one", "other"), [("ice cream", "ice_cream"), ("Ice-Cream", "ice_cream"), (" dog ", "dog")])
def test_concepts_are_compared_whatever_their_spelling(one, other):
    assert overlap.plain(one) == overlap.plain(other)


def test_pictures_are_compared_by_file_or_id_and_numbers_are_no_names():
    assert overlap.picture("train-00001", "training_images/00001_aardvark/aardvark_01b.jpg") == "aardvark_01b"
    assert overlap.picture("aardvark_01b") == "aardvark_01b"
    assert overlap.picture("x", "images/0001.png") == ""
    own = overlap.shown([("1", "dog", ""), ("dog_2", "dog", "a/Dog_2.PNG")])
    assert own == Shown(frozenset({"dog"}), frozenset({"dog_2"}))
    assert not own.shared(overlap.shown([("1", "cat", "")]))
    assert own.shared(overlap.shown([("dog_2", "hound", "")])).words() == "1 picture (dog_2)"
