"""Picture sides of the field's methods: numbers of parameters as published, and what each computes, by hand."""

import contextlib

import brain_files
import numpy as np
import open_clip
import pytest
import torch
from test_readouts import write
from tiny_clip import tiny_clip
from torch import nn
from torch.nn import functional as F

from brain2clip.internals import torch_device
from brain2clip.models import readout
from brain2clip.models.adapters import lora
from brain2clip.models.layers import head
from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.prompted_tower import own_structure
from brain2clip.models.visuals import uncertainty
from brain2clip.settings import (
    Contrastive,
    Head,
    Lora,
    Mix,
    Readout,
    Selection,
    Tower,
    UncertaintyVisual,
    Vector,
    parse,
)
from brain2clip.stage import InputError
from brain2clip.training.data import load_responses, open_stimuli, pairs
from brain2clip.training.loop import fit
from brain2clip.training.methods.contrastive import learner_of
from brain2clip.training.objective import softened_contrastive


def count(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters() if one.requires_grad)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ mixes

SAMGA = {
    "kind": "mix", "vectors": [{"ready": f"internvit-{block}"} for block in (20, 24, 28, 32, 36)], "unit": False,
    "shared_width": 1024, "width": 512, "prior_block": 28, "prior_places": [20, 24, 28, 32, 36], "prior_spread": 4.0,
    "subject_dropout": 0.3, "subject_dropout_by": "picture",
}  # fmt: skip
BLURS = [{"view": {"kind": "blur", "kernel": kernel}} for kernel in (1, 3, *range(9, 64, 6))]
MULTI_BLUR = {"kind": "mix", "vectors": BLURS, "per_dimension": True, "learned_vectors": 4, "start": "uniform"}


def test_a_mix_of_blocks_has_the_parameters_and_the_prior_of_samga():
    module = readout.build(parse(Readout, SAMGA), [3200] * 5, subjects=9)
    assert count(module.together) == 3_277_824
    assert [count(one) for one in module.own] == [524_800] * 5
    assert count(module) == 3_277_824 + 5 * 524_800 + 5 + 9 * 5
    torch.testing.assert_close(module.logits[:, 0], torch.tensor([-2.0, -1.0, 0.0, -1.0, -2.0]))


def small_mix(**changed) -> tuple[nn.Module, list[torch.Tensor]]:
    block = {**SAMGA, "vectors": SAMGA["vectors"][:3], "prior_places": [20, 24, 28], "shared_width": 5, "width": 4}
    torch.manual_seed(1)
    module = readout.build(parse(Readout, {**block, **changed}), [6] * 3, subjects=2)
    with torch.no_grad():
        module.bias += drawn(2, 3, 1)
    return module, [drawn(7, 6, seed=number) for number in range(3)]


def by_hand(module, vectors, logits):
    """Logits [3, B] of weights of each picture."""
    first, own = module.together, module.own
    parts = [(x @ first.weight.T + first.bias) @ one.weight.T + one.bias for x, one in zip(vectors, own)]
    weights = torch.stack([one.exp() for one in logits])
    weights = weights / weights.sum(dim=0)
    return sum(weight[:, None] * part for weight, part in zip(weights, parts))


def test_one_layer_is_shared_and_the_bias_of_a_subject_is_left_out_picture_by_picture():
    module, vectors = small_mix()
    prior = torch.tensor([-2.0, -1.0, 0.0])
    torch.testing.assert_close(module.eval()(vectors, 1), by_hand(module, vectors, prior[:, None].expand(3, 7)))
    module.train()
    torch.manual_seed(0)
    kept = torch.rand(7, 1)[:, 0] >= 0.3
    assert 0 < kept.sum() < 7
    torch.manual_seed(0)
    logits = prior[:, None] + module.bias[1] * kept
    torch.testing.assert_close(module(vectors, 1), by_hand(module, vectors, logits))


def test_a_mix_of_blurs_has_the_parameters_of_multi_blur_without_rows_that_nobody_reads():
    settings = parse(Readout, MULTI_BLUR)
    assert len(settings.vectors) == 12
    module = readout.build(settings, [1024] * 12)
    adapter = head(Head(kind="mlp", hidden=768, width=1024, activation="elu", dropout=0.85), 1024)
    unread = (50 - 16) * 1024
    assert count(module) + count(adapter) == 1_629_952 - unread
    assert 0 <= module.logits.min() < 0.01
    assert 0.99 < module.logits.max() <= 1
    assert module.logits.mean().item() == pytest.approx(0.5, abs=0.01)


def test_learned_vectors_are_mixed_as_they_are_number_by_number():
    settings = Mix(vectors=[{}, {"pool": "class"}], learned_vectors=2, per_dimension=True, start="uniform")
    module = readout.build(settings, [4, 4])
    assert not module.learned.any()
    with torch.no_grad():
        module.learned += drawn(2, 4)
    one, other = drawn(3, 4, seed=1), drawn(3, 4, seed=2)
    weights = module.logits.softmax(dim=0)
    expected = weights[0] * F.normalize(one, dim=-1) + weights[1] * F.normalize(other, dim=-1)
    expected = expected + weights[2] * module.learned[0] + weights[3] * module.learned[1]
    torch.testing.assert_close(module([one, other]), expected)
    assert settings.leaves_joint_space == "readout.learned_vectors: 2"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prior_places": [1, 2]}, "found 2; expected one for each of the 5"),
        ({"prior_places": None}, "expected a block in every vector, or prior_places"),
        ({"start": "uniform"}, "expected no prior_block"),
        ({"width": None}, "expected width as well"),
    ],
)
def test_settings_of_a_mix_that_make_no_sense_are_refused(changed, words):
    with pytest.raises(ValueError, match=words):
        parse(Readout, {**SAMGA, **changed})


def test_the_raw_mean_of_the_degraded_views_of_neurobridge():
    views = [{"kind": "blur", "kernel": 15}, {"kind": "noise", "deviation": 25.0},
             {"kind": "low-resolution", "share": 0.1}, {"kind": "mosaic", "block": 5}]  # fmt: skip
    settings = parse(Readout, {"kind": "mean", "vectors": [{"view": one} for one in views]})
    given = [(1 + number) * drawn(3, 4, seed=number) for number in range(4)]
    torch.testing.assert_close(readout.build(settings, [4] * 4)(given), sum(given) / 4)


# ------------------------------------------------------------------------------------------------ heads


def test_the_adapter_of_ats_by_hand_and_its_number_of_parameters():
    settings = Head(kind="mlp", hidden=256, width=768, output_dropout=0.3, norm=True)
    adapter = head(settings, 1024)
    assert count(adapter) == 461_312
    x = drawn(5, 1024)
    (down, _, up), dropout, norm = adapter
    narrow = F.linear(F.gelu(F.linear(x, down.weight, down.bias)), up.weight, up.bias)
    torch.testing.assert_close(adapter.eval()(x), F.layer_norm(narrow, (768,)))
    torch.manual_seed(0)
    dropped = F.dropout(narrow, 0.3)
    torch.manual_seed(0)
    torch.testing.assert_close(adapter.train()(x), F.layer_norm(dropped, (768,)))
    assert (dropout.p, norm.normalized_shape) == (0.3, (768,))


@pytest.mark.parametrize(("name", "function"), [("elu", F.elu), ("relu", F.relu), ("silu", F.silu), ("gelu", F.gelu)])
def test_activations_of_heads(name, function):
    x = drawn(5, 8)
    for kind in ("mlp", "bottleneck"):
        module = head(Head(kind=kind, hidden=3, width=4, activation=name), 8)
        torch.testing.assert_close(module(x), module[-1](function(module[0](x))))


def test_a_norm_alone_has_the_width_of_what_comes_in():
    x = drawn(5, 8)
    torch.testing.assert_close(head(Head(kind="none", norm=True), 8)(x), F.layer_norm(x, (8,)))


# ------------------------------------------------------------------------------------------------- LoRA

EVERY = {"weights": ("attention", "mlp", "projection"), "separate": True, "start": "gaussian"}


def test_lora_of_every_linear_layer_and_the_projection_has_the_parameters_of_brainmlp_lora(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no meta device
    with torch.device("meta"):
        visual = open_clip.create_model("ViT-B-32", pretrained=None, device="meta").visual
    adapter = lora.Adapter(Lora(rank=32, alpha=32.0, **EVERY), visual.requires_grad_(False), 12)
    assert count(adapter) == 5_349_376
    assert len(adapter.changes) == 12 * 4 + 1


def test_q_k_v_and_the_projection_change_each_by_a_product_of_their_own():
    clip = tiny_clip()
    before = (
        clip.visual.transformer.resblocks[1].attn.in_proj_weight.detach().clone(),
        clip.visual.proj.detach().clone(),
    )
    visual = own_structure(clip.visual.requires_grad_(False))
    adapter = lora.Adapter(Lora(rank=2, alpha=6.0, **EVERY), visual, 3)
    pictures = drawn(2, 3, *clip.visual.image_size)
    with torch.no_grad():
        assert torch.equal(visual(pictures), clip.visual(pictures))
        for change in adapter.changes.values():
            for name, one in change.named_parameters():
                if name.endswith("up"):
                    one.normal_()
    parts = adapter.changes["block-1-in_proj"].parts
    expected = torch.cat([3.0 * one.up @ one.down for one in parts])
    torch.testing.assert_close(visual.transformer.resblocks[1].attn.in_proj_weight - before[0], expected)
    out = adapter.changes["projection"]
    assert (out.down.shape, out.up.shape) == ((2, 32), (24, 2))
    torch.testing.assert_close(visual.proj - before[1], 3.0 * (out.up @ out.down).T)
    changed = visual(pictures)
    adapter.merge()
    torch.testing.assert_close(visual(pictures), changed, rtol=1e-4, atol=1e-3)
    assert type(visual) is type(clip.visual)
    assert torch.equal(clip.visual.proj, before[1])


def test_a_gaussian_start_has_a_deviation_of_one_over_the_rank():
    down = lora.LowRank(4, 20_000, Lora(rank=5, start="gaussian")).down
    assert down.std().item() == pytest.approx(0.2, rel=0.02)
    assert not lora.LowRank(4, 8, Lora(start="gaussian")).up.any()


def test_a_projection_that_is_not_there_or_that_nothing_goes_through_is_refused():
    visual = own_structure(tiny_clip().visual)
    with pytest.raises(InputError, match="nothing after block 2 of 3"):
        lora.Adapter(Lora(weights=("projection",)), visual, 2)
    visual.proj = None
    with pytest.raises(InputError, match="this tower has none"):
        lora.Adapter(Lora(weights=("projection",)), visual, 3)


# ------------------------------------------------------------------------------------- blur by uncertainty

LEVELS = {"low": {"ready": "low"}, "medium": {"ready": "medium"}, "high": {"ready": "high"}}
METHOD = {
    "kind": "contrastive", "tower": "tiny", "encoder": {"width": 16, "dropout": 0.0}, "brain_head": {"width": 12},
    "visual": {"kind": "uncertainty", **LEVELS, "head": {"width": 12}},
    "optimiser": {"epochs": 4, "batch_size": 20, "lr": 1e-2},
}  # fmt: skip


def test_levels_are_those_beyond_the_mean_and_1_96_deviations_of_what_is_known():
    known = np.array([0.0] * 30 + [1.0, -0.9, 0.3])
    similarity = torch.tensor([*known, np.nan])
    limit = 1.96 * known.std()
    assert 0.3 < limit < 0.9
    away = known - known.mean()
    expected = np.where(away > limit, uncertainty.LOW, np.where(away < -limit, uncertainty.HIGH, uncertainty.MEDIUM))
    assert expected.tolist() == [1] * 30 + [0, 2, 1]
    assert uncertainty.levels(similarity, 1.96).tolist() == [*expected, uncertainty.MEDIUM]
    assert uncertainty.levels(torch.full((3,), torch.nan), 1.96).tolist() == [1, 1, 1]


def side(**changed) -> uncertainty.PictureSide:
    settings = UncertaintyVisual.model_validate({**LEVELS, "head": {"kind": "none"}, **changed})
    return uncertainty.PictureSide(settings, Frozen(24, 4, widths={f"ready-{name}": 8 for name in LEVELS}))


def test_the_running_mean_begins_with_the_first_value_and_takes_three_tenths_of_each_new_one():
    module = side()
    module.begin(1, 5)
    module.learn(torch.tensor([1, 3]), torch.tensor([0.5, -0.2]))
    module.learn(torch.tensor([3, 0]), torch.tensor([0.8, 0.1]))
    expected = [0.1, 0.5, np.nan, 0.7 * -0.2 + 0.3 * 0.8, np.nan]
    np.testing.assert_allclose(module.similarity.numpy(), expected, rtol=1e-6)
    module.begin(2, 5)
    np.testing.assert_allclose(module.similarity.numpy(), expected, rtol=1e-6)
    module.begin(1, 5)
    assert module.similarity.isnan().all()
    assert module.level.tolist() == [1] * 5


def test_in_training_each_picture_has_its_level_and_in_tests_all_have_the_medium():
    module = side(deviations=1.0)
    vectors = {f"ready-{name}": drawn(4, 8, seed=number) for number, name in enumerate(LEVELS)}
    shown = Pictures(drawn(4, 24), vectors=vectors, rows=torch.tensor([6, 0, 2, 4]))
    low, medium, high = (F.normalize(one, dim=-1) for one in vectors.values())
    module.begin(1, 7)
    torch.testing.assert_close(module(shown), medium)
    module.learn(torch.tensor([0, 2, 4, 6]), torch.tensor([0.9, 0.1, 0.0, -0.9]))
    torch.testing.assert_close(module(shown), medium)  # until the next epoch
    module.begin(2, 7)
    torch.testing.assert_close(module(shown), torch.stack([high[0], low[1], medium[2], medium[3]]))
    torch.testing.assert_close(module.eval()(shown), medium)
    assert not module.state_dict()
    with pytest.raises(InputError, match=r"the same width for its levels, found ready-low \(8\), picture \(24\)"):
        side(medium={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uncertainty")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_responses(folder / "eeg.h5", embedding)
    rng = np.random.default_rng(0)
    for number, name in enumerate(LEVELS):
        noise = 0.3 * number * rng.standard_normal(embedding.shape)
        write(folder, Vector(ready=name), (embedding + noise).astype(np.float32))
    return folder


def learner(folder, stimuli, average=True):
    responses = load_responses([folder / "eeg.h5"], "train", None, average)
    settings = Contrastive.model_validate(METHOD)
    device = torch_device.chosen()
    rows = np.unique(responses.stimulus)
    return learner_of(settings, Tower(model="x"), responses, stimuli, rows, device, 0), responses, device


def test_a_step_tells_how_similar_pictures_were_to_their_responses_and_the_next_epoch_shows_them_so(folder):
    given = [(folder / f"ready-{name}.h5", None) for name in LEVELS]
    with open_stimuli(folder / "stimuli.h5", None, given) as stimuli:
        one, responses, device = learner(folder, stimuli, average=False)
        data = pairs([responses], np.arange(len(responses.stimulus)), device)
        batch = np.flatnonzero(data.stimulus < 8)
        assert len(batch) == 16  # two responses to each picture
        visual, owner = one.model.train().visual, data.stimulus[batch]
        one.begin(1)
        one.loss(data, batch, np.random.default_rng(0))
        with torch.no_grad():
            brain = one.model.brain(data.responses[0][batch])
            medium = F.normalize(torch.from_numpy(stimuli.vectors["ready-medium"][:8]), dim=-1)
            cosine = F.cosine_similarity(brain, visual.head(medium)[owner]).numpy()
        expected = [cosine[owner == picture].mean() for picture in range(8)]
        np.testing.assert_allclose(visual.similarity[:8].cpu().numpy(), expected, rtol=1e-4, atol=1e-6)
        assert visual.similarity[8:].isnan().all()
        one.model.eval()
        one.loss(data, np.flatnonzero(data.stimulus >= 8), np.random.default_rng(0))
        assert visual.similarity[8:].isnan().all()  # what is held out tells nothing
        one.model.train()
        visual.similarity[:8] = torch.tensor([9.0, 0, 0, 0, 0, 0, 0, 0])
        one.begin(2)
        assert visual.level[:8].tolist() == [0, *[1] * 7]
        shown = one.pictures(np.arange(8))
        seen = F.normalize(shown.vectors["ready-medium"], dim=-1)
        seen[0] = F.normalize(shown.vectors["ready-low"][0], dim=-1)
        found = one.loss(data, batch, np.random.default_rng(0))
        scores = F.softplus(one.model.scale) * brain @ F.normalize(visual.head(seen), dim=-1).T
        expected_loss = softened_contrastive(scores, torch.from_numpy(owner), shown.embedding, one.settings.objective)
        torch.testing.assert_close(found, expected_loss)


def test_what_was_known_in_the_search_for_the_epoch_is_forgotten_in_the_training(folder, monkeypatch):
    given = [(folder / f"ready-{name}.h5", None) for name in LEVELS]
    seen = []
    begin = uncertainty.PictureSide.begin

    def watched(self, epoch, n_rows):
        begin(self, epoch, n_rows)
        seen.append((epoch, int(self.similarity.isnan().sum())))

    monkeypatch.setattr(uncertainty.PictureSide, "begin", watched)
    with open_stimuli(folder / "stimuli.h5", None, given) as stimuli:
        one, responses, device = learner(folder, stimuli)
        concept = stimuli["concept"].asstr()[:]
        history = fit(one, one.settings.optimiser, Selection(rule="held-out-concepts"), [responses], concept, 0, device)
    n = brain_files.TRAIN
    assert seen[:5] == [(1, n), (2, 4), (3, 4), (4, 4), (1, n)]  # two concepts of two pictures were kept aside
    assert len(seen) == 4 + len(history)
    assert all(left == 0 for _, left in seen[5:])
