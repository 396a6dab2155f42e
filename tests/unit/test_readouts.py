"""Readouts: from the vectors of a picture to the one that is compared with brain responses."""

from __future__ import annotations

import brain_files
import h5py
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tiny_clip import IMAGE, tiny_clip
from torch.nn import functional as F

from brain2clip import artefact, settings, stage
from brain2clip.models import readout
from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.prompted_tower import PromptedTower
from brain2clip.models.visuals.frozen import PictureSide as FrozenSide
from brain2clip.models.visuals.neuroclip import PictureSide as PromptedSide
from brain2clip.settings import (
    FrozenVisual,
    Fusion,
    Head,
    NeuroClipVisual,
    Readout,
    SharedPrompts,
    Tower,
    Vector,
    parse,
)
from brain2clip.stage import InputError
from brain2clip.stimuli import tower_vectors
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training import train
from brain2clip.training.data import load_responses, open_stimuli
from brain2clip.training.predict import Predictor

OFF = SharedPrompts(depth="off")
GRID = {"block": 2, "pool": "grid", "grid": 2}
N = 60


def of(block: dict, widths: list[int], subjects: int = 1) -> readout.ReadoutModule:
    return readout.build(parse(Readout, block), widths, subjects).eval()


def drawn(*widths: int, n: int = N, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    mixed = [rng.standard_normal((n, width)) @ rng.standard_normal((width, width)) + 3 for width in widths]
    return [torch.from_numpy(one).float() for one in mixed]


# ----------------------------------------------------------------------------------------- the kinds


def test_components_are_those_of_scikit_learn_in_the_scale_of_the_training_pictures():
    training, test = drawn(30, 12), drawn(30, 12, n=7, seed=1)
    part = {"pool": "grid", "grid": 3, "block": 1, "components": 5, "weight": 2.0}
    module = of({"kind": "concat", "parts": [part, {}]}, [30, 12])
    module.fit(training)
    found = module(test).numpy()
    fitted = PCA(5).fit(training[0].numpy().astype(np.float64))
    expected, scale = (
        fitted.transform(test[0].numpy()),
        np.sqrt((fitted.transform(training[0].numpy()) ** 2).sum(1).mean()),
    )
    expected *= 2 / scale
    signs = np.sign((expected * found[:, :5]).sum(axis=0))
    np.testing.assert_allclose(found[:, :5] * signs, expected, atol=1e-4)
    plain = test[1].numpy() - training[1].numpy().mean(axis=0)
    plain /= np.sqrt(((training[1].numpy() - training[1].numpy().mean(axis=0)) ** 2).sum(axis=1).mean())
    np.testing.assert_allclose(found[:, 5:], plain, atol=1e-4)
    lengths = module(training).square()
    np.testing.assert_allclose(lengths[:, :5].sum(1).mean(), 4, rtol=1e-4)
    np.testing.assert_allclose(lengths[:, 5:].sum(1).mean(), 1, rtol=1e-4)


def test_spatial_is_the_concatenation_of_embedding_and_grid():
    training = drawn(12, 36)
    short = of({"kind": "spatial", "grid": 3, "components": 4, "weight": 0.5}, [12, 36])
    whole = of({"kind": "concat", "parts": [{}, {"pool": "grid", "grid": 3, "components": 4, "weight": 0.5}]}, [12, 36])
    for one in (short, whole):
        one.fit(training)
    assert torch.equal(short(training), whole(training))
    assert short.width == 16


def test_a_mix_or_mean_of_one_vector_is_that_vector():
    (vector,) = drawn(12)
    for kind in ("mean", "mix"):
        found = of({"kind": kind, "vectors": [{}], "unit": False}, [12])([vector])
        torch.testing.assert_close(found, vector)
    torch.testing.assert_close(of({"kind": "mix", "vectors": [{}]}, [12])([vector]), F.normalize(vector, dim=-1))
    assert torch.equal(of({}, [12])([vector]), vector)


def test_a_mix_starts_at_its_prior_and_sums_to_one_for_every_number():
    blocks = [{"block": number, "pool": "class"} for number in (1, 2, 4)]
    module = of(
        {"kind": "mix", "vectors": blocks, "prior_block": 2, "prior_spread": 2.0, "per_dimension": True}, [6] * 3
    )
    weights = module.weights()
    assert weights.shape == (3, 6)
    torch.testing.assert_close(weights.sum(0), torch.ones(6))
    torch.testing.assert_close((weights[1] / weights[0]).log(), torch.full((6,), 0.5))
    torch.testing.assert_close((weights[1] / weights[2]).log(), torch.full((6,), 1.0))


def test_the_bias_of_a_subject_counts_in_training_only_and_is_left_out_as_often_as_asked():
    block = {"kind": "mix", "vectors": [{}, {"pool": "class"}], "unit": False}
    given = drawn(6, 6)
    module = of({**block, "subject_dropout": 0.3}, [6, 6], subjects=2)
    with torch.no_grad():
        module.bias[1] += torch.tensor([[5.0], [-5.0]])
    expected = torch.stack(given).mean(0)
    torch.testing.assert_close(module(given, 1), expected)
    module.train()
    torch.testing.assert_close(module(given, 0), expected)
    torch.manual_seed(0)
    left_out = [torch.allclose(module(given, 1), expected) for _ in range(400)]
    assert 0.23 < np.mean(left_out) < 0.37


def test_vectors_of_several_widths_need_layers_of_their_own():
    two = [{}, {"block": 1, "pool": "class"}]
    for kind in ("mean", "mix"):
        with pytest.raises(InputError, match=rf"readout.kind: {kind} .* picture \(6\), picture_block-1_class \(8\)"):
            of({"kind": kind, "vectors": two}, [6, 8])
    assert of({"kind": "mix", "vectors": two, "width": 5}, [6, 8])(drawn(6, 8)).shape == (N, 5)


@pytest.mark.parametrize(
    ("block", "widths", "words"),
    [
        ({"kind": "spatial", "components": 40}, [12, 30], "40 components of picture_grid-4, which has 30 numbers"),
        ({"kind": "spatial", "components": 60}, [12, 80], "60 components .* but there are only 60"),
    ],
)
def test_more_components_than_there_are_are_refused(block, widths, words):
    with pytest.raises(InputError, match=words):
        of(block, widths).fit(drawn(*widths))


def test_a_vector_that_never_changes_is_refused():
    module = of({"kind": "concat", "parts": [{}]}, [6])
    with pytest.raises(InputError, match="picture is the same for all training pictures"):
        module.fit([torch.ones(9, 6)])


# ------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"block": 2}, "early exit.* needs pool"),
        ({"pool": "grid"}, "goes with pool: grid"),
        ({"grid": 2}, "goes with pool: grid"),
        ({"ready": "dino", "block": 2, "pool": "class"}, "expected no block and no pool"),
        ({"kind": "mean", "vectors": [{}, {}]}, "more than once"),
        ({"kind": "mix", "vectors": [{}], "prior_block": 3}, "expected a block in every vector"),
    ],
)
def test_settings_that_make_no_sense_are_refused(block, words):
    with pytest.raises(ValueError, match=words):
        parse(Readout, block)


def test_names_of_vectors_differ_where_vectors_do():
    blur = {"kind": "blur", "kernel": 9}
    given = [{}, {"pool": "class"}, {"pool": "patches"}, {"block": 1, "pool": "patches"}, {"pool": "grid", "grid": 2},
             {**GRID, "grid": 4}, GRID, {"view": blur}, {"view": blur, **GRID}, {"ready": "dino"}]  # fmt: skip
    names = [Vector.model_validate(one).name for one in given]
    assert len(set(names)) == len(names)
    assert names[-2:] == ["blur-9_block-2_grid-2", "ready-dino"]


@pytest.mark.parametrize(
    ("block", "leaves"),
    [
        ({}, None),
        ({"pool": "patches"}, None),
        ({"kind": "mean", "vectors": [{}, {"view": {"kind": "blur"}}]}, None),
        ({"kind": "mix", "vectors": [{}, {"view": {"kind": "blur"}}]}, None),
        ({"block": 2, "pool": "class"}, "readout.block: 2"),
        ({"kind": "mean", "vectors": [{}, {"ready": "dino"}]}, "readout.vectors.ready: dino"),
        ({"kind": "mix", "vectors": [{}], "width": 8}, "readout.width: 8"),
        ({"kind": "spatial"}, "readout.kind: spatial"),
    ],
)
def test_what_leaves_the_joint_space_says_by_what(block, leaves):
    assert parse(Readout, block).leaves_joint_space == leaves


def test_what_learns_is_no_target_of_ridge_and_what_leaves_the_joint_space_takes_no_texts():
    mix = {"kind": "mix", "vectors": [{}]}
    with pytest.raises(ValueError, match=r"readout\.kind: found mix"):
        settings.Ridge(tower="t", readout=mix)
    with pytest.raises(ValueError, match=r"supervision\.text: found 0.5"):
        settings.BrainMapping(tower="t", readout={"kind": "spatial"})
    assert not settings.BrainMapping(tower="t", readout={"kind": "spatial"}, supervision={"text": 0}).joint_space
    assert settings.BrainMapping(tower="t").joint_space
    assert settings.Ridge(tower="t").joint_space


# --------------------------------------------------------------------------------- from the tower


def seen(clip, n: int = 3) -> tuple[torch.Tensor, Pictures]:
    image = torch.rand(n, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        tokens, bands = BandTokens(clip.visual.conv1, (IMAGE, IMAGE), settings.FilterBank())(image)
        return image, Pictures(clip.encode_image(image), tokens, bands)


EVERY = [
    {}, {"pool": "class"}, {"pool": "patches"}, {"pool": "grid", "grid": 2}, {"block": 1, "pool": "class"},
    {"block": 2, "pool": "patches"}, {"block": 3, "pool": "grid", "grid": 3},
]  # fmt: skip


def test_vectors_of_the_tower_are_those_of_the_prompted_one_with_everything_off():
    clip = tiny_clip()
    image, pictures = seen(clip)
    wanted = [Vector.model_validate(one) for one in EVERY]
    with torch.no_grad():
        found = PromptedTower(clip.visual, OFF, wanted)(pictures.tokens)
    assert torch.equal(found[0], clip.encode_image(image))
    torch.testing.assert_close(found[1], found[0])  # this tower pools by its class token
    for vector, one in zip(wanted, found):
        expected = tower_vectors.frozen(clip.visual, image, vector)
        torch.testing.assert_close(one, expected)
        assert one.shape == (3, tower_vectors.width(clip.visual, vector))


def test_a_grid_is_the_mean_of_the_patches_of_each_cell_and_of_all_for_one_cell():
    clip = tiny_clip()
    image, _ = seen(clip)
    rows, columns = clip.visual.grid_size
    states = []
    clip.visual.transformer.resblocks[1].register_forward_hook(lambda _, __, out: states.append(out))
    grid = tower_vectors.frozen(clip.visual, image, Vector(block=2, pool="grid", grid=2)).unflatten(1, (4, -1))
    one = tower_vectors.frozen(clip.visual, image, Vector(block=2, pool="grid", grid=1))
    mean = tower_vectors.frozen(clip.visual, image, Vector(block=2, pool="patches"))
    assert torch.equal(one, mean)
    patches = states[0][:, 1:].unflatten(1, (rows, columns))
    for place, (top, left) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        half = rows // 2, columns // 2
        cell = patches[:, top * half[0] : (top + 1) * half[0], left * half[1] : (left + 1) * half[1]]
        expected = F.layer_norm(cell.flatten(1, 2).mean(1), cell.shape[-1:])
        torch.testing.assert_close(grid[:, place], expected)


@pytest.mark.parametrize(
    ("vector", "words"), [({"block": 4, "pool": "class"}, "3 blocks"), ({"pool": "grid", "grid": 5}, "4 x 4 patches")]
)
def test_what_the_tower_lacks_is_refused(vector, words):
    clip = tiny_clip()
    with pytest.raises(InputError, match=words):
        PromptedTower(clip.visual, OFF, [Vector.model_validate(vector)])


SPATIAL = {"kind": "spatial", "block": 2, "grid": 2, "components": 4}


def test_prompts_that_do_nothing_yet_leave_every_readout_as_it_is_frozen():
    clip = tiny_clip()
    image, pictures = seen(clip, 12)
    for block in (SPATIAL, {"kind": "mix", "vectors": [{}, {"pool": "patches"}]}, {"block": 2, "pool": "class"}):
        read = parse(Readout, block)
        own = {one.name: tower_vectors.frozen(clip.visual, image, one) for one in read.inputs if not one.is_embedding}
        known = Pictures(pictures.embedding, pictures.tokens, pictures.band_tokens, own)
        frozen = Frozen(24, 4, clip.visual, widths={name: one.shape[1] for name, one in own.items()})
        head = Head(kind="none")
        still = FrozenSide(FrozenVisual(readout=read, head=head), frozen)
        prompted = PromptedSide(
            NeuroClipVisual(readout=read, head=head, prompts=OFF, fusion=Fusion(width=16, heads=2)), frozen
        )
        for side in (still, prompted):
            side.fit(known)
            side.eval()
        with torch.no_grad():
            torch.testing.assert_close(still(known), prompted(known), rtol=1e-4, atol=1e-5)


def test_prompts_without_a_vector_that_they_can_change_are_refused():
    clip = tiny_clip()
    block = NeuroClipVisual(readout={"view": {"kind": "blur"}}, fusion=Fusion(width=16, heads=2))
    with pytest.raises(InputError, match="prompts would change nothing"):
        PromptedSide(block, Frozen(24, 4, clip.visual, widths={"blur-15": 24}))


# ------------------------------------------------------------------------------------ through the stages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readouts")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5", cache="pictures")
    brain_files.write_responses(folder / "eeg.h5", embedding)
    brain_files.save_tower(folder / "tower")
    clip, rng = tiny_clip(), np.random.default_rng(8)
    with h5py.File(folder / "stimuli.h5") as file:
        image = torch.from_numpy(file["pictures"][:]).float() / 255 * 2 - 1
    for block in (*EVERY[1:], GRID):
        one = Vector.model_validate(block)
        write(folder, one, tower_vectors.frozen(clip.visual, image, one).numpy())
    write(folder, Vector(ready="dino"), (embedding @ rng.standard_normal((24, 30))).astype(np.float32))
    return folder


def write(folder, vector: Vector, values: np.ndarray, ids: list[str] | None = None) -> None:
    with artefact.create_h5(folder / f"{vector.name}.h5", brain_files.MADE) as file:
        file.attrs["name"] = vector.name
        file["stimulus_id"] = ids or brain_files.stimulus_ids()
        file["vector"] = values


def files_of(folder, method) -> list:
    return [folder / f"{one.name}.h5" for one in method.vectors]


CONTRASTIVE = {
    "kind": "contrastive", "tower": "tiny", "encoder": {"width": 16, "dropout": 0.0}, "brain_head": {"width": 12},
    "optimiser": {"epochs": 8, "batch_size": 20, "lr": 1e-2},
}  # fmt: skip
PROMPTED = {"fusion": {"width": 8, "heads": 2}, "prompts": {"tokens": 2}}
READOUTS = {
    "one": {"block": 2, "pool": "patches"},
    "concat": {"kind": "concat", "parts": [{}, {"ready": "dino", "components": 3}]},
    "spatial": SPATIAL,
    "mix": {"kind": "mix", "vectors": [{}, {"pool": "patches"}], "subject_dropout": 0.3},
    "mix of widths": {"kind": "mix", "vectors": [{}, {"block": 2, "pool": "patches"}], "width": 10},
}


@pytest.mark.parametrize("side", ["frozen", "neuroclip"])
@pytest.mark.parametrize("name", READOUTS)
def test_a_readout_trains_and_its_checkpoint_predicts_as_the_trained_model_does(folder, tmp_path, name, side):
    visual = {
        "kind": side,
        "readout": READOUTS[name],
        "head": {"width": 12},
        **(PROMPTED if side == "neuroclip" else {}),
    }
    predicted = {**CONTRASTIVE, "visual": visual}
    check(folder, tmp_path, predicted)


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "ridge", "alphas": [1.0, 10.0], "folds": 4},
        {"kind": "mapping", "supervision": {"text": 0}, "optimiser": {"epochs": 20, "batch_size": 20}},
    ],
    ids=["ridge", "mapping"],
)
@pytest.mark.parametrize("name", ["one", "concat", "spatial", "mix of widths"])
def test_what_predicts_vectors_takes_the_same_readouts(folder, tmp_path, name, method):
    if method["kind"] == "ridge" and name.startswith("mix"):
        pytest.skip("ridge regression takes nothing that is learned")
    check(folder, tmp_path, {**method, "tower": "tiny", "readout": READOUTS[name]})


def check(folder, tmp_path, block: dict, sought: str = "stimulus") -> None:
    """Train for a moment; the checkpoint must find training pictures again, far above chance."""
    method = parse(settings.Method, block)
    tower = Tower(model=f"local-dir:{folder / 'tower'}").model_dump(mode="json")
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "history.parquet"}
    inputs = {"responses": [folder / "eeg.h5"], "stimuli": [folder / "stimuli.h5"], "vectors": files_of(folder, method)}
    values = {"method": settings.dump(method), "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
    train.run(stage.Job("train", values, "code", {}, inputs, outputs))
    rows = np.arange(brain_files.TRAIN)
    training = load_responses([folder / "eeg.h5"], "train", None, True)
    given = [(path, None) for path in files_of(folder, method)]
    with open_stimuli(folder / "stimuli.h5", None, given) as stimuli:
        predictor = Predictor(
            settings.dump(method), tower, artefact.read_tensors(outputs["checkpoint"]), training, stimuli, rows
        )
        brains, candidates = predictor.brains(training.values), predictor.candidates(sought)
    assert brains.shape == candidates.shape
    similarity = brains @ candidates.T
    assert np.median((similarity >= similarity.diagonal()[:, None]).sum(axis=1)) <= 12  # of 40; 20 is chance


def test_subjects_have_a_bias_each_in_training_and_pictures_go_through_the_tower_once(folder, tmp_path, monkeypatch):
    with h5py.File(folder / "stimuli.h5") as file:
        brain_files.write_responses(tmp_path / "two.h5", file["embedding"][:], subject=1)
    passed, forward = [], PromptedTower.forward

    def counted(self, *given, **named):
        if self.training:
            passed.append(1)
        return forward(self, *given, **named)

    monkeypatch.setattr(PromptedTower, "forward", counted)
    readout_ = {"kind": "mix", "vectors": [{}, {"pool": "patches"}, {"ready": "dino"}], "width": 10}
    visual = {**PROMPTED, "readout": {**readout_, "subject_dropout": 0.0}, "head": {"width": 12}}
    optimiser = {**CONTRASTIVE["optimiser"], "epochs": 2}
    method = parse(settings.Method, {**CONTRASTIVE, "visual": visual, "optimiser": optimiser})
    tower = Tower(model=f"local-dir:{folder / 'tower'}").model_dump(mode="json")
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "history.parquet"}
    responses = [folder / "eeg.h5", tmp_path / "two.h5"]
    inputs = {"responses": responses, "stimuli": [folder / "stimuli.h5"], "vectors": files_of(folder, method)}
    values = {"method": settings.dump(method), "tower": tower, "seed": 0, "protocol": {"kind": "leave-one-subject-out"}}
    train.run(stage.Job("train", values, "code", {}, inputs, outputs))
    assert len(passed) == 2 * brain_files.TRAIN / 20
    tensors = artefact.read_tensors(outputs["checkpoint"])
    one, other = tensors["visual.readout.bias"]
    assert one.abs().max() > 0
    assert other.abs().max() > 0
    assert not torch.equal(one, other)
    test = load_responses(responses[:1], "test", None, True)
    given = [(path, None) for path in files_of(folder, method)]
    with open_stimuli(folder / "stimuli.h5", None, given) as stimuli:
        predictor = Predictor(settings.dump(method), tower, tensors, test, stimuli, np.arange(brain_files.TRAIN, 50))
        assert predictor.candidates().shape == predictor.brains(test.values).shape


def test_texts_have_the_length_that_pictures_have_after_the_readout(folder, tmp_path):
    """The head has a bias, so that a length other than the one it was trained with gives other directions."""
    tower = Tower(model=f"local-dir:{folder / 'tower'}").model_dump(mode="json")
    visual = {"kind": "frozen", "readout": {"kind": "mean", "vectors": [{}], "unit": True}, "head": {"width": 12}}
    optimiser = {**CONTRASTIVE["optimiser"], "epochs": 1}
    method = parse(settings.Method, {**CONTRASTIVE, "visual": visual, "optimiser": optimiser})
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "history.parquet"}
    inputs = {"responses": [folder / "eeg.h5"], "stimuli": [folder / "stimuli.h5"]}
    values = {"method": settings.dump(method), "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
    train.run(stage.Job("train", values, "code", {}, inputs, outputs))
    tensors, rows = artefact.read_tensors(outputs["checkpoint"]), np.arange(brain_files.TRAIN, 50)
    test = load_responses([folder / "eeg.h5"], "test", None, True)
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:
        predictor = Predictor(settings.dump(method), tower, tensors, test, stimuli, rows)
        texts = torch.from_numpy(stimuli["prompt_embedding"][:][rows])
        expected = F.normalize(F.linear(texts, tensors["visual.head.weight"], tensors["visual.head.bias"]), dim=-1)
        torch.testing.assert_close(torch.from_numpy(predictor.candidates("category")), expected)


def test_nothing_of_test_pictures_reaches_a_readout(folder, tmp_path):
    method = parse(
        settings.Method, {**CONTRASTIVE, "visual": {"kind": "frozen", "readout": SPATIAL, "head": {"width": 12}}}
    )
    tower = Tower(model=f"local-dir:{folder / 'tower'}").model_dump(mode="json")
    values = {"method": settings.dump(method), "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
    (path,) = files_of(folder, method)
    with artefact.open_h5(path) as file:
        changed = file["vector"][:]
    changed[brain_files.TRAIN :] = 1e3
    other = tmp_path / "other"
    other.mkdir()
    write(other, method.vectors[0], changed)
    found = []
    for number, source in enumerate((path, other / path.name)):
        outputs = {"checkpoint": tmp_path / f"{number}.safetensors", "history": tmp_path / f"{number}.parquet"}
        inputs = {"responses": [folder / "eeg.h5"], "stimuli": [folder / "stimuli.h5"], "vectors": [source]}
        train.run(stage.Job("train", values, "code", {}, inputs, outputs))
        found.append(artefact.read_tensors(outputs["checkpoint"]))
    assert all(torch.equal(one, found[1][name]) for name, one in found[0].items())


def test_vectors_of_other_stimuli_are_refused(folder, tmp_path):
    write(tmp_path, Vector(ready="dino"), np.ones((50, 3), np.float32), list(reversed(brain_files.stimulus_ids())))
    with (
        pytest.raises(artefact.ArtefactError, match=r"ready-dino.h5: its 50 stimuli are not the 50 of"),
        open_stimuli(folder / "stimuli.h5", None, [(tmp_path / "ready-dino.h5", None)]),
    ):
        pass


# ------------------------------------------------------------------------------------------------- texts


def test_texts_stand_at_the_embedding_of_a_spatial_readout_and_at_the_mean_of_the_rest():
    training = drawn(12, 36)
    module = of({"kind": "spatial", "grid": 3, "components": 4}, [12, 36])
    module.fit(training)
    texts = module.of_texts(training[0])
    assert torch.equal(texts[:, :12], module(training)[:, :12])
    assert not texts[:, 12:].any()
    centred = module.of_texts(training[0] - training[0].mean(0), centred=True)
    torch.testing.assert_close(centred, texts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("block", "lost"),
    [
        ({"kind": "spatial"}, None),
        ({"kind": "concat", "parts": [{"ready": "dino"}, {}]}, None),
        ({"kind": "concat", "parts": [{"ready": "dino"}]}, "readout.kind: concat"),
        ({"block": 2, "pool": "class"}, "readout.block: 2"),
    ],
)
def test_texts_have_a_place_where_a_part_is_of_the_joint_space(block, lost):
    assert parse(Readout, block).without_texts == lost
    assert settings.Ridge(tower="t", readout=block).without_texts == lost
    assert not settings.Ridge(tower="t", readout=block).joint_space


@pytest.mark.parametrize(
    "method",
    [
        {**CONTRASTIVE, "visual": {"kind": "frozen", "readout": SPATIAL, "head": {"width": 12}}},
        {"kind": "ridge", "readout": SPATIAL, "alphas": [1.0], "folds": 4},
        {
            "kind": "mapping",
            "readout": SPATIAL,
            "supervision": {"text": 0},
            "optimiser": {"epochs": 20, "batch_size": 20},
        },
    ],
    ids=["contrastive", "ridge", "mapping"],
)
def test_captions_are_found_by_what_a_spatial_readout_has_of_them(folder, tmp_path, method):
    """Captions of the fixture lie near the embeddings of their pictures."""
    check(folder, tmp_path, {**method, "tower": "tiny"}, "caption")
