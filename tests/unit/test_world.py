from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from brain2clip.simulation import train_tower, world

TOWER = Path(__file__).parents[2] / "workflow" / "towers" / "grammar-vit"


def exemplars(n: int, seed: int = 3) -> list[world.Exemplar]:
    step = len(world.CONCEPTS) // n
    return [world.exemplar(concept, 0, seed) for concept in world.CONCEPTS[::step][:n]]


def test_the_world_has_768_concepts_with_numbers_and_names_of_their_own():
    assert len(world.CONCEPTS) == 16 * 6 * 8
    assert [concept.number for concept in world.CONCEPTS] == list(range(768))
    assert len({concept.identifier for concept in world.CONCEPTS}) == 768
    assert Counter(concept.category for concept in world.CONCEPTS) == dict.fromkeys(world.CATEGORIES, 192)


def test_an_unknown_word_is_refused_with_the_words_there_are():
    with pytest.raises(ValueError, match="no 'teapot'; it has fish, bird"):
        world.Concept("teapot", "plain", "red")


def test_held_out_concepts_are_apart_from_the_rest():
    assert len(set(world.HELD_OUT)) == world.N_HELD_OUT == 200
    assert set(world.HELD_OUT).isdisjoint(world.TRAINABLE)
    assert set(world.HELD_OUT) | set(world.TRAINABLE) == set(world.CONCEPTS)
    assert set(world.training_concepts(568, seed=1)) == set(world.TRAINABLE)
    assert world.test_concepts(200) == world.HELD_OUT


def test_the_held_out_set_never_changes():
    """Towers and studies that were made with another set would have met test concepts."""
    assert [concept.name for concept in world.HELD_OUT[:3]] == [
        "checked purple butterfly",
        "dotted yellow plane",
        "striped blue umbrella",
    ]
    assert sum(concept.number * (i + 1) for i, concept in enumerate(world.HELD_OUT)) == 7_880_544


@pytest.mark.parametrize("n", [20, 48, 100, 200])
@pytest.mark.parametrize("attribute", ["object", "texture", "colour"])
def test_concepts_are_drawn_evenly(attribute, n):
    allowed = {"object": world.OBJECTS, "texture": world.TEXTURES, "colour": world.COLOURS}[attribute]
    for drawn in (world.test_concepts(n), world.training_concepts(n, seed=5)):
        counts = Counter(getattr(concept, attribute) for concept in drawn)
        assert set(counts) == set(allowed)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_all_words_of_held_out_concepts_occur_in_training():
    for attribute in ("object", "texture", "colour"):
        held_out = {getattr(concept, attribute) for concept in world.HELD_OUT}
        counts = Counter(getattr(concept, attribute) for concept in world.TRAINABLE)
        assert all(counts[word] >= 30 for word in held_out)


def test_training_concepts_follow_their_seed():
    assert world.training_concepts(50, seed=1) == world.training_concepts(50, seed=1)
    assert world.training_concepts(50, seed=1) != world.training_concepts(50, seed=2)
    assert len(set(world.training_concepts(300, seed=1))) == 300


@pytest.mark.parametrize("n", [-1, 569])
def test_more_concepts_than_there_are_is_an_error(n):
    with pytest.raises(ValueError, match="concepts were asked for"):
        world.training_concepts(n, seed=0)
    with pytest.raises(ValueError, match="test concepts were asked for"):
        world.test_concepts(n)


def test_an_exemplar_is_a_function_of_its_arguments():
    concept = world.CONCEPTS[100]
    one = world.exemplar(concept, 2, 7)
    assert one == world.exemplar(concept, 2, 7)
    assert np.array_equal(world.draw(one), world.draw(one))
    for other in (world.exemplar(concept, 3, 7), world.exemplar(concept, 2, 8)):
        assert other != one
        assert not np.array_equal(world.draw(one), world.draw(other))


def test_pictures_have_the_asked_size_and_smooth_edges():
    shown = world.exemplar(world.Concept("fish", "plain", "red"), 0, 1)
    for size in (32, 64, 96):
        picture = world.draw(shown, size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
    mask = world.figure_mask(shown)
    assert mask.max() == 1
    assert ((mask > 0.05) & (mask < 0.95)).sum() > 20


def test_the_figure_has_the_colour_that_its_name_says():
    for colour, expected in world.COLOURS.items():
        shown = world.exemplar(world.Concept("mushroom", "plain", colour), 0, 1)
        inside = world.draw(shown)[world.figure_mask(shown) == 1].mean(0) / 255
        distances = {name: np.abs(inside - value).sum() for name, value in world.COLOURS.items()}
        assert min(distances, key=distances.__getitem__) == colour
        assert np.abs(inside - expected).max() < 0.12


@pytest.mark.parametrize("attribute", ["object", "texture", "colour"])
def test_pictures_differ_where_only_one_word_differs(attribute):
    """Same scene, place and size; what differs is the concept only."""
    base = world.exemplar(world.Concept("fish", "striped", "red"), 0, 1)
    values = {"object": world.OBJECTS, "texture": world.TEXTURES, "colour": world.COLOURS}[attribute]
    pictures = [
        world.draw(dataclasses.replace(base, concept=dataclasses.replace(base.concept, **{attribute: value}))).astype(
            float
        )
        for value in values
    ]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(one - other).mean() > 2


def test_all_figures_are_large_enough_and_stay_mostly_inside():
    for name in world.OBJECTS:
        for i in range(4):
            shown = world.exemplar(world.Concept(name, "plain", "blue"), i, 2)
            inside = world.figure_mask(shown).sum()
            further = dataclasses.replace(shown, x=0.5, y=0.5, size=shown.size / 2)
            assert inside > 0.03 * 64**2
            assert inside > 0.93 * 4 * world.figure_mask(further).sum()


@pytest.mark.parametrize("variant", range(len(world.CAPTIONS)))
def test_captions_name_the_concept(variant):
    known = set(world.vocabulary())
    for shown in exemplars(48):
        words = set(world.caption(shown, variant).replace(",", "").split())
        assert {shown.concept.object, shown.concept.colour} <= words
        noun = set(world.TEXTURES[shown.concept.texture].split())
        assert shown.concept.texture in words or noun <= words
        assert words <= known


def test_captions_read_well():
    shown = dataclasses.replace(exemplars(1)[0], concept=world.Concept("umbrella", "striped", "orange"), scene="snow")
    assert world.caption(shown, 5) == "a photo of a striped orange umbrella in the snow"
    assert world.caption(shown, 3) == "an orange umbrella with stripes"
    assert world.prompt(shown.concept) == "a photo of a striped orange umbrella"
    assert len(set(world.prompts(shown.concept))) == len(world.PROMPTS)


def test_prompts_of_all_concepts_differ():
    for texts in zip(*(world.prompts(concept) for concept in world.CONCEPTS)):
        assert len(set(texts)) == len(world.CONCEPTS)


def test_features_are_finite_named_and_repeatable():
    names = world.feature_names()
    assert {level: len(of_level) for level, of_level in names.items()} == {"low": 96, "mid": 39, "semantic": 34}
    for shown in exemplars(32):
        found = world.features(shown, world.draw(shown))
        again = world.features(shown, world.draw(shown))
        for level, of_level in names.items():
            assert found[level].shape == (len(of_level),)
            assert len(set(of_level)) == len(of_level)
            assert np.isfinite(found[level]).all()
            assert np.array_equal(found[level], again[level])


def test_no_feature_is_constant():
    shown = [world.exemplar(concept, 0, 4) for concept in world.CONCEPTS[::3]]
    found = [world.features(one, world.draw(one)) for one in shown]
    for level in world.feature_names():
        assert (np.std([one[level] for one in found], axis=0) > 1e-4).all()


def test_orientation_energy_prefers_its_own_orientation():
    names = world.feature_names()["low"]
    shown = exemplars(1)[0]
    x = (np.arange(64) + 0.5) / 64
    wave = np.round(127 * (1 + np.sin(2 * np.pi * 16 * x))).astype(np.uint8)
    upright = np.ascontiguousarray(np.broadcast_to(wave[None, :, None], (64, 64, 3)))
    for picture, expected in ((upright, "0"), (np.swapaxes(upright, 0, 1), "90")):
        low = dict(zip(names, world.features(shown, picture)["low"]))
        energies = {name.split("_")[2]: value for name, value in low.items() if name.startswith("energy_fine")}
        assert max(energies, key=energies.__getitem__) == expected


def test_semantic_features_do_not_see_the_pixels_and_group_the_objects():
    one, other = (world.exemplar(world.Concept("fish", "plain", "red"), i, 1) for i in (0, 1))
    other = dataclasses.replace(other, scene=one.scene)
    blank = np.zeros((64, 64, 3), np.uint8)
    meaning = world.features(one, world.draw(one))["semantic"]
    assert np.array_equal(meaning, world.features(other, blank)["semantic"])

    def vector(name: str) -> np.ndarray:
        shown = dataclasses.replace(one, concept=world.Concept(name, "plain", "red"))
        return world.features(shown, blank)["semantic"][:28]

    same, different = [], []
    for a in world.OBJECTS:
        for b in world.OBJECTS:
            if a < b:
                related = any(a in members and b in members for members in world.CATEGORIES.values())
                (same if related else different).append(np.corrcoef(vector(a), vector(b))[0, 1])
    assert np.mean(same) > np.mean(different) + 0.2


def test_a_picture_that_no_grid_fits_is_an_error():
    shown = exemplars(1)[0]
    with pytest.raises(ValueError, match="30 x 30 pixels cannot be cut into 4 x 4"):
        world.features(shown, world.draw(shown, 30))


# The tower that is shipped


@pytest.fixture(scope="module")
def tower():
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{TOWER}")
    return model.eval(), transform, train_tower.open_tokenizer(TOWER, model.context_length)


def test_the_tower_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in TOWER.iterdir()) <= 4_000_000


def test_the_vocabulary_is_what_the_world_makes():
    assert (TOWER / train_tower.VOCABULARY).read_bytes() == train_tower.vocabulary_bytes()


def test_the_folder_says_what_the_module_makes(tower):
    *_, tokenizer = tower
    record = json.loads((TOWER / "training.json").read_text())
    settings = train_tower.TowerSettings(**record["settings"])
    assert settings == train_tower.TowerSettings()
    config = json.loads((TOWER / train_tower.CONFIG).read_text())
    assert config == train_tower.open_clip_config(settings, tokenizer.vocab_size)


def test_each_word_of_the_world_is_one_token_and_others_are_bytes(tower):
    *_, tokenizer = tower
    assert all(len(tokenizer.encode(word)) == 1 for word in world.vocabulary())
    text = "a zebra-like red fish in the snow"
    assert tokenizer.decode(tokenizer.encode(text)).replace(" ", "") == text.replace(" ", "")
    longest = max(len(tokenizer.encode(world.caption(shown, v))) for shown in exemplars(48) for v in range(9))
    assert longest + 2 <= tokenizer.context_length


def test_the_transform_of_the_folder_is_that_of_the_training(tower):
    _, transform, _ = tower
    picture = world.draw(exemplars(1)[0])
    given = transform(Image.fromarray(picture))
    torch.testing.assert_close(given, train_tower.to_tensor(picture[None])[0], rtol=0, atol=1e-6)


def test_the_tower_knows_concepts_that_it_has_never_met(tower):
    """Chance is 1 in 200; the measured accuracy stands in training.json."""
    model, _, tokenizer = tower
    recorded = json.loads((TOWER / "training.json").read_text())["held_out"]
    shown = [world.exemplar(concept, 0, 99) for concept in world.HELD_OUT]
    images = train_tower.embed_pictures(model, train_tower.draw_pictures(shown, 64))
    texts = train_tower.embed_concepts(model, tokenizer, world.HELD_OUT)
    top1 = ((images @ texts.T).argmax(1) == torch.arange(200)).float().mean().item()
    assert top1 > 0.3
    assert abs(top1 - recorded["top1"]) < 0.12


def test_the_learning_rate_rises_then_falls_to_zero():
    settings = train_tower.TowerSettings(steps=100, warm_up=10)
    rates = [train_tower._learning_rate(step, settings) for step in range(101)]
    assert max(rates) == settings.rate == rates[9]
    assert rates[0] == pytest.approx(settings.rate / 10)
    assert rates[100] == pytest.approx(0)


def test_training_is_repeatable_and_keeps_held_out_concepts_out(monkeypatch, tmp_path):
    met = []
    original = world.exemplar

    def spy(concept, index, seed):
        met.append(concept)
        return original(concept, index, seed)

    monkeypatch.setattr(world, "exemplar", spy)
    settings = train_tower.TowerSettings(steps=2, batch=16, exemplars=1, warm_up=1, width=32, layers=1, text_layers=1)
    (tmp_path / train_tower.VOCABULARY).write_bytes(train_tower.vocabulary_bytes())
    tokenizer = train_tower.open_tokenizer(tmp_path, settings.context)
    first, _ = train_tower.train(settings, tokenizer)
    second, _ = train_tower.train(settings, tokenizer)
    torch.use_deterministic_algorithms(False)
    assert set(met) == set(world.TRAINABLE)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
