"""Concepts and pictures that two studies share, found before anything is fetched where tables of the project tell."""

from __future__ import annotations

import pytest

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.plan.needs import check, problems
from brain2clip.readers import contract, overlap
from brain2clip.readers.overlap import Shown
from brain2clip.stage import InputError

STUDIES = {
    "eeg1": {"kind": "things_eeg1", "subjects": ["02"]},
    "eeg2": {"kind": "things_eeg2", "subjects": ["01"]},
    "meg": {"kind": "things_meg", "subjects": ["BIGMEG1"]},
}
KEPT = {**STUDIES["meg"], "keep_test_concepts": True}


def shared(trained: dict, tested: dict) -> Shown:
    """What training of one study and the test of another both show, by tables of the project."""
    return overlap.between(*(contract.load("one", given, "results").known_stimuli() for given in (trained, tested)))


@pytest.mark.parametrize(
    ("trained", "tested", "concepts", "pictures"),
    [
        ("eeg2", "meg", 172, 0),
        ("meg", "eeg2", 172, 155),
        ("eeg1", "meg", 172, 0),
        ("meg", "eeg1", 172, 0),  # candidates of THINGS-EEG1 without pictures are concepts
        ("eeg1", "eeg2", 0, 0),  # whose tests are of the same concepts
        ("eeg2", "eeg1", 0, 0),
        ("meg", "meg", 0, 0),
    ],
)
def test_what_studies_of_things_share(trained, tested, concepts, pictures):
    found = shared(STUDIES[trained], STUDIES[tested])
    assert (len(found.concepts), len(found.pictures)) == (concepts, pictures)
    assert bool(found) == bool(concepts)


def test_kept_test_concepts_make_it_more():
    """178 of the 200 test pictures of THINGS-EEG2 are training pictures of THINGS-MEG, if none is left out."""
    found = shared(KEPT, STUDIES["eeg2"])
    assert (len(found.concepts), len(found.pictures)) == (200, 178)
    assert found.words().startswith("200 concepts (")
    assert " and 178 pictures (" in found.words()


# ------------------------------------------------------------------------------------------- the plan


def plan(trained: dict, tested: dict, entry: dict | None = None) -> Plan:
    """Models of one study on the test of another, both with the same responses."""
    (subject,) = trained["subjects"]
    return Plan(
        settings.load(
            {
                "studies": {"one": trained, "other": tested},
                "bands": {"all": {}},
                "towers": {"small": {"model": "ViT-B-32", "pretrained": "weights/small.safetensors"}},
                "protocols": {"intra": {"kind": "intra-subject"}},
                "methods": {"ridge": {"kind": "ridge", "tower": "small"}},
                "experiments": {
                    "main": {"study": "one", "signals": ["all"], "protocols": ["intra"], "methods": ["ridge"]}
                },
                "apply": {"new": {"experiment": "main", "study": "other", "subject": subject, **(entry or {})}},
            }
        )
    )


def test_a_model_that_knows_the_test_of_another_study_is_refused_before_anything_runs():
    """Trained as NeuralBench does, with the test concepts, and ranked as if it were zero-shot."""
    with pytest.raises(InputError) as error:
        check(plan(KEPT, STUDIES["meg"]))
    told = str(error.value)
    assert told.startswith("apply.new.study: the test of study 'other' has 200 concepts (")
    assert "that were in the training of study 'one'" in told
    assert "set apply.new.concepts: seen" in told
    assert "pictures" not in told.partition("that were in")[0]  # other pictures of the same concepts


def test_a_study_of_recordings_of_another_kind_is_refused_whatever_is_said():
    with pytest.raises(settings.SettingsError, match="'other' is a study of EEG, and the models are of MEG"):
        plan(STUDIES["meg"], STUDIES["eeg2"], {"concepts": "seen"})


def test_studies_whose_tests_are_of_the_same_concepts_go_together():
    made = plan(STUDIES["eeg1"], STUDIES["eeg2"])
    assert not problems(made)
    assert "concepts" not in made.apply_spec(made.applied()[0]).settings


def test_what_is_said_is_allowed():
    made = plan(KEPT, STUDIES["meg"], {"concepts": "seen"})
    assert not problems(made)
    assert made.apply_spec(made.applied()[0]).settings["concepts"] == "seen"


def test_a_study_that_is_not_zero_shot_says_it_itself():
    made = plan(STUDIES["meg"], KEPT)
    assert not problems(made)
    assert made.apply_spec(made.applied()[0]).settings["concepts"] == "seen"


def test_a_study_of_which_only_the_data_tell_is_left_to_the_stage():
    made = plan(STUDIES["eeg2"], {**STUDIES["eeg1"], "test": "block"})
    assert not problems(made)
    assert "concepts" not in made.apply_spec(made.applied()[0]).settings


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
