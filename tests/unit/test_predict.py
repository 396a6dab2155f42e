import brain_files
import h5py
import numpy as np
import pytest
import torch
from tiny_clip import tiny_clip
from torch.nn import functional as F

from brain2clip import artefact, stage
from brain2clip.models.context import ContextPrompt, class_name, prompts_with_room
from brain2clip.settings import BrainMapping, Contrastive, Ridge, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli import frozen_clip
from brain2clip.stimuli.features import WITHOUT_SENTENCE
from brain2clip.training import train
from brain2clip.training.data import load_responses, open_stimuli
from brain2clip.training.predict import Predictor

TEST = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)
SHORT = {"epochs": 1, "batch_size": 20}
ENCODER = {"encoder": {"width": 32, "dropout": 0.0}, "brain_head": {"width": 24}, "optimiser": SHORT}
FROZEN = {"kind": "frozen", "head": {"width": 24}}
VISUAL = {"head": {"width": 24}, "fusion": {"width": 16, "heads": 2}}
KINDS = ("stimulus", "category", "caption")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_voxels(folder / "voxels.h5", embedding, 30)
    brain_files.save_tower(folder / "tower")
    return folder


@pytest.fixture
def stimuli(folder):
    with open_stimuli(folder / "stimuli.h5", None) as file:
        yield file


def changed(folder, name, **datasets):
    """A copy of the stimuli with other datasets."""
    path = folder / f"{name}.h5"
    with (
        artefact.open_h5(folder / "stimuli.h5") as source,
        artefact.create_h5(path, brain_files.MADE, unknown=WITHOUT_SENTENCE) as target,
    ):
        target.attrs.update({key: source.attrs[key] for key in ("kind", "cache")})
        for key in source:
            target[key] = datasets.get(key, source[key][:])
    return path


def trained(folder, block, file="stimuli"):
    """Settings and checkpoint of a method that was trained for a moment."""
    method = block.model_dump(mode="json")
    tower = Tower(model=f"local-dir:{folder / 'tower'}").model_dump(mode="json")
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "model.parquet"}
    inputs = {"responses": [folder / "voxels.h5"], "stimuli": [folder / f"{file}.h5"]}
    given = {"method": method, "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
    train.run(stage.Job("train", given, "code", {}, inputs, outputs))
    return method, tower, artefact.read_tensors(outputs["checkpoint"])


def predictor(folder, block, stimuli, rows=TEST, file="stimuli"):
    test = load_responses([folder / "voxels.h5"], "test", None)
    return Predictor(*trained(folder, block, file), test, stimuli, rows), test


def unit(x):
    return F.normalize(torch.as_tensor(np.asarray(x)).float(), dim=-1).numpy()


METHODS = {
    "ridge": Ridge(tower="t", alphas=(1.0, 10.0)),
    "ridge-text": Ridge(tower="t", alphas=(1.0, 10.0), target="text"),
    "linear": BrainMapping(tower="t", optimiser=SHORT),
    "centred": BrainMapping(tower="t", optimiser=SHORT, supervision={"centre": True}),
    "frozen": Contrastive.model_validate({"tower": "t", **ENCODER, "visual": FROZEN}),
    "neuroclip": Contrastive.model_validate({"tower": "t", **ENCODER, "visual": VISUAL}),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_unit_length_candidates_of_every_kind_in_the_order_of_the_rows(folder, stimuli, name):
    rows = np.array([44, 41, 49])
    made, test = predictor(folder, METHODS[name], stimuli, rows)
    brains = made.brains(test.values)
    np.testing.assert_allclose(np.linalg.norm(brains, axis=1), 1, atol=1e-5)
    assert made.concepts == ["test-4", "test-1", "test-9"]
    turned = Predictor(*trained(folder, METHODS[name]), test, stimuli, rows[::-1])
    for kind in KINDS:
        found = made.candidates(kind)
        assert found.shape == (3, brains.shape[1])
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(turned.candidates(kind)[::-1], found, atol=1e-5)
        assert np.ptp(found, axis=0).max() > 0.01


def test_a_mapping_is_compared_with_the_frozen_embeddings(folder, stimuli):
    made, test = predictor(folder, METHODS["linear"], stimuli)
    np.testing.assert_allclose(made.candidates(), unit(stimuli["embedding"][:][TEST]), atol=1e-6)
    np.testing.assert_allclose(made.candidates("caption"), stimuli["caption_embedding"][:][TEST], atol=1e-6)
    np.testing.assert_allclose(made.candidates("category"), stimuli["prompt_embedding"][:][TEST], atol=1e-6)
    tensors = trained(folder, METHODS["linear"])[2]
    by_hand = test.values @ tensors["shared.read_out.weight"].numpy().T + tensors["shared.read_out.bias"].numpy()
    np.testing.assert_allclose(made.brains(test.values), unit(by_hand), atol=1e-5)


@pytest.mark.parametrize("name", ["centred", "ridge", "ridge-text"])
def test_every_modality_is_centred_by_its_own_training_mean(folder, stimuli, name):
    made, _ = predictor(folder, METHODS[name], stimuli)
    training = np.arange(brain_files.TRAIN)
    image = unit(stimuli["embedding"][:])
    np.testing.assert_allclose(made.candidates(), unit(image[TEST] - image[training].mean(0)), atol=1e-5)
    links = np.concatenate([stimuli["caption_link"][:], stimuli["prompt_link"][:]])
    encoded = stimuli["sentence_embedding"][:]
    mean = unit(np.stack([encoded[links[links[:, 0] == row, 1]].mean(0) for row in training])).mean(0)
    for kind, dataset in (("caption", "caption_embedding"), ("category", "prompt_embedding")):
        np.testing.assert_allclose(made.candidates(kind), unit(stimuli[dataset][:][TEST] - mean), atol=1e-5)


def test_a_concept_of_several_rows_is_one_class(folder, stimuli):
    rows = np.array([2, 3, 0, 1])
    made, _ = predictor(folder, METHODS["linear"], stimuli, rows)
    assert made.concepts == ["train-concept-1", "train-concept-0"]
    np.testing.assert_allclose(made.candidates("category"), stimuli["prompt_embedding"][:][[2, 0]], atol=1e-6)


def test_the_first_prompt_or_the_mean_of_all(folder):
    with h5py.File(folder / "stimuli.h5") as source:
        encoded, links = source["sentence_embedding"][:], source["prompt_link"][:]
    more = np.concatenate([[(row, number), (row, row)] for row, number in links])  # a second prompt: a caption
    mean = unit(np.stack([encoded[more[more[:, 0] == row, 1]].mean(0) for row in range(len(links))]))
    path = changed(folder, "two-prompts", prompt_link=more.astype(np.int32), prompt_embedding=mean)
    with open_stimuli(path, None) as stimuli:
        for kind, expected in (("prompt", encoded[links[TEST, 1]]), ("ensemble", mean[TEST])):
            block = BrainMapping(tower="t", optimiser=SHORT, classifier={"kind": kind})
            made, _ = predictor(folder, block, stimuli, file="two-prompts")
            np.testing.assert_allclose(made.candidates("category"), expected, atol=1e-6)


def test_learned_context_goes_through_the_tower_with_the_names_of_the_test_classes(folder, stimuli):
    block = BrainMapping(tower="t", optimiser=SHORT, classifier={"kind": "context", "tokens": 1, "epochs": 1})
    names = [f"a_{i}" for i in range(brain_files.TRAIN + brain_files.TEST)]
    path = changed(folder, "short-names", concept=names)
    with open_stimuli(path, None) as file:
        made, _ = predictor(folder, block, file, file="short-names")
        found = made.candidates("category")
    tensors = trained(folder, block, "short-names")[2]
    assert tensors["context"].shape == (1, 16)
    clip = frozen_clip.load(Tower(model=f"local-dir:{folder / 'tower'}"))
    tokens = prompts_with_room(clip.tokenize, [class_name(names[row]) for row in TEST], 1)
    with torch.no_grad():
        expected = ContextPrompt(clip.model, tensors["context"])(tokens)
    np.testing.assert_allclose(found, unit(expected), atol=1e-5)


def test_texts_go_through_the_picture_head_at_the_length_of_pictures(folder, stimuli):
    made, _ = predictor(folder, METHODS["frozen"], stimuli)
    length = np.linalg.norm(stimuli["embedding"][: brain_files.TRAIN], axis=1).mean()
    text = torch.from_numpy(stimuli["caption_embedding"][:][TEST])
    with torch.no_grad():
        expected = made.side.model.visual.head(text * length)
    np.testing.assert_allclose(made.candidates("caption"), unit(expected), atol=1e-5)


def test_neuroclips_pictures_are_still_those_of_its_tower(folder, stimuli):
    made, _ = predictor(folder, METHODS["neuroclip"], stimuli)
    with torch.no_grad():
        expected = made.side.model.picture(made.side.pictures(TEST))
    np.testing.assert_allclose(made.candidates(), unit(expected), atol=1e-5)
    assert tiny_clip().visual.output_dim == made.side.model.visual.width


def test_captions_fall_back_to_class_prompts(folder):
    with h5py.File(folder / "stimuli.h5") as source:
        links, caption, prompt = (source[name][:] for name in ("caption_link", "caption_embedding", "prompt_embedding"))
    caption[TEST[2]] = np.nan
    path = changed(folder, "no-caption", caption_embedding=caption, caption_link=links[links[:, 0] != TEST[2]])
    with open_stimuli(path, None) as stimuli:
        made, _ = predictor(folder, METHODS["linear"], stimuli, file="no-caption")
        found = made.candidates("caption")
    np.testing.assert_allclose(found[2], prompt[TEST[2]], atol=1e-6)
    np.testing.assert_allclose(found[3], caption[TEST[3]], atol=1e-6)


# ------------------------------------------------------------------------------------------- refusals


def test_a_class_without_prompts_is_refused(folder):
    with h5py.File(folder / "stimuli.h5") as source:
        links, prompt = source["prompt_link"][:], source["prompt_embedding"][:]
    prompt[TEST[2]] = np.nan
    path = changed(folder, "no-prompt", prompt_embedding=prompt, prompt_link=links[links[:, 0] != TEST[2]])
    with open_stimuli(path, None) as stimuli:
        made, _ = predictor(folder, METHODS["linear"], stimuli, file="no-prompt")
        with pytest.raises(InputError, match=r"task category: 1 of 10 .* no class prompts, the first is test-002"):
            made.candidates("category")
        assert made.candidates("caption").shape == (10, 24)


@pytest.mark.parametrize("name", ["ridge", "centred"])
def test_texts_cannot_be_centred_where_training_has_none(folder, name):
    with h5py.File(folder / "stimuli.h5") as source:
        links = {key: source[key][:] for key in ("caption_link", "prompt_link")}
    bare = {key: value[value[:, 0] >= brain_files.TRAIN] for key, value in links.items()}
    path = changed(folder, "test-texts-only", **bare)
    block = METHODS["ridge"]
    if name == "centred":
        block = BrainMapping(tower="t", optimiser=SHORT, supervision={"centre": True, "text": 0})
    with open_stimuli(path, None) as stimuli:
        made, _ = predictor(folder, block, stimuli, file="test-texts-only")
        assert made.candidates().shape == (10, 24)
        with pytest.raises(InputError, match="centres texts by the mean of the training stimuli's sentences"):
            made.candidates("caption")


def test_a_picture_side_that_leaves_clips_space_has_no_place_for_texts(folder, stimuli):
    visual = {**VISUAL, "readout": {"block": 2, "pool": "patches"}}
    made, _ = predictor(folder, Contrastive.model_validate({"tower": "t", **ENCODER, "visual": visual}), stimuli)
    assert made.candidates().shape == (10, 24)
    for kind in ("category", "caption"):
        with pytest.raises(InputError, match=r"category and caption are impossible .*readout.block: 2"):
            made.candidates(kind)


def test_other_voxels_are_refused(folder, stimuli):
    method, tower, tensors = trained(folder, METHODS["linear"])
    test = load_responses([folder / "voxels.h5"], "test", None)
    test.channel[3] = "another"
    with pytest.raises(InputError, match=r"trained on the voxels .*makes responses and model again"):
        Predictor(method, tower, tensors, test, stimuli, TEST)
