"""Parts of the contrastive loss that settings switch on: scales, directions, texts, MMD, a layer of both sides."""

import brain_files
import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from brain2clip.internals import torch_device
from brain2clip.settings import Contrastive, Mmd, Objective, Tower
from brain2clip.stage import InputError
from brain2clip.training import mmd
from brain2clip.training.data import load_responses, open_stimuli, pairs
from brain2clip.training.methods.contrastive import learner_of
from brain2clip.training.objective import logits, softened_contrastive
from brain2clip.training.text_term import TextTerm

SEEDS = st.integers(0, 2**31)
SMALL = {
    "kind": "contrastive",
    "tower": "tiny",
    "encoder": {"width": 16, "dropout": 0.0},
    "brain_head": {"width": 12},
    "visual": {"kind": "frozen", "head": {"width": 12}},
    "objective": {"beta": 0.0},
}


def example(seed=0, n=6, d=5):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, generator=generator) for _ in range(2))


# ------------------------------------------------------------------------------------ scale, directions


@pytest.mark.parametrize("normalise", ["image", "both"])
@pytest.mark.parametrize(
    ("scale", "factor"), [("softplus", np.log1p(np.exp(0.7))), ("exp", np.exp(0.7)), ("linear", 0.7), ("none", 1.0)]
)
def test_scales_by_hand(normalise, scale, factor):
    brain, picture = (one.double().numpy() for one in example())
    settings = Objective(normalise=normalise, scale=scale, scale_init=0.7)
    unit = picture / np.linalg.norm(picture, axis=1, keepdims=True)
    heard = brain / np.linalg.norm(brain, axis=1, keepdims=True) if normalise == "both" else brain
    found = logits(*example(), torch.tensor(0.7), settings.normalise, settings.scaling)
    np.testing.assert_allclose(found.numpy(), factor * heard @ unit.T, rtol=1e-5, atol=1e-6)


def test_only_an_exponential_scale_is_kept_and_only_where_it_shall_be():
    kept = {
        (normalise, scale, clamp): Objective(normalise=normalise, scale=scale, clamp=clamp).keeps_scale
        for normalise in ("image", "both")
        for scale in (None, "softplus", "exp", "linear", "none")
        for clamp in (True, False)
    }
    assert {key for key, value in kept.items() if value} == {
        ("both", None, True), ("both", "exp", True), ("image", "exp", True),
    }  # fmt: skip
    with pytest.raises(ValueError, match="clamp: false"):
        Objective(normalise="image", scale="exp", scale_init=5.0)
    assert Objective(normalise="both", scale_init=5.0, clamp=False).scaling == "exp"


@given(seed=SEEDS, owner=st.lists(st.integers(0, 3), max_size=6).map(lambda more: [2, 0, 3, 1, *more]))
def test_one_direction_is_the_cross_entropy_of_rows_or_of_columns(seed, owner):
    scores = torch.randn(len(owner), 4, generator=torch.Generator().manual_seed(seed)).double()
    frozen, number = torch.eye(4), torch.tensor(owner)
    belongs = F.one_hot(number, 4).double()
    expected = {
        "brain-to-picture": F.cross_entropy(scores, number),
        "picture-to-brain": F.cross_entropy(scores.T, (belongs / belongs.sum(dim=0)).T),
    }
    expected["both"] = sum(expected.values()) / 2
    for directions, value in expected.items():
        found = softened_contrastive(scores, number, frozen, Objective(beta=0.0, directions=directions))
        torch.testing.assert_close(found, value)
        for disentangle in (False, True):  # a soft part of almost no weight changes almost nothing
            near = Objective(beta=1e-9, directions=directions, disentangle=disentangle)
            torch.testing.assert_close(softened_contrastive(scores, number, frozen, near), value, rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------------------------- MMD


def by_pairs(one, other, sigmas):
    """Written out pair by pair."""

    def kernel(x, y):
        return np.mean([np.exp(-((x - y) ** 2).sum() / (2 * sigma**2)) for sigma in sigmas])

    def within(sample):
        n = len(sample)
        return sum(kernel(sample[i], sample[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    between = np.mean([kernel(x, y) for x in one for y in other])
    return within(one) + within(other) - 2 * between


@given(seed=SEEDS, n=st.integers(2, 7), m=st.integers(2, 7), offset=st.sampled_from([0.0, 3.0, 100.0]))
def test_mmd_is_that_of_all_pairs(seed, n, m, offset):
    rng = np.random.default_rng(seed)
    one, other = (0.3 * rng.standard_normal((count, 4)) + offset for count in (n, m))
    sigmas = Mmd().sigmas
    found = mmd.squared_mmd(*(torch.from_numpy(each).float() for each in (one, other)), sigmas)
    assert found.item() == pytest.approx(by_pairs(one, other, sigmas), abs=2e-4)


def test_mmd_is_zero_on_average_for_one_distribution_and_grows_with_a_shift():
    rng = np.random.default_rng(0)

    def drawn(shift):
        values = [
            mmd.squared_mmd(
                torch.from_numpy(rng.standard_normal((20, 3))), torch.from_numpy(rng.standard_normal((15, 3)) + shift),
                Mmd().sigmas,
            ).item()
            for _ in range(400)
        ]  # fmt: skip
        return np.mean(values), np.std(values) / np.sqrt(len(values))

    (none, error), (little, _), (much, _) = (drawn(shift) for shift in (0.0, 0.5, 1.5))
    assert abs(none) < 3.5 * error
    assert error < 0.002
    assert little > 5 * error
    assert much > 2 * little


def test_mmd_has_gradients_and_a_single_member_has_none():
    one, other = example()
    one = one.requires_grad_()
    mmd.squared_mmd(one, other, (0.1, 2.0)).backward()
    assert torch.isfinite(one.grad).all()
    assert one.grad.any()
    assert mmd.squared_mmd(one[:1], other, (1.0,)) == 0


def test_the_weight_of_mmd_falls_linearly_and_ends():
    weights = [Mmd().weight(epoch) for epoch in (1, 2, 20, 21, 60)]
    np.testing.assert_allclose(weights, [0.9, 0.9 - 0.4 / 19, 0.5, 0, 0])
    assert [Mmd(epochs=1).weight(epoch) for epoch in (1, 2)] == [0.9, 0]


# ---------------------------------------------------------------------------- terms in the loss of a batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terms")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    for subject in range(2):
        brain_files.write_responses(folder / f"eeg-{subject}.h5", embedding, subject)
    return folder


@pytest.fixture
def asked(folder):
    """A learner of some settings, the loss of a batch, and what it is made of."""
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:

        def ask(subjects=1, epoch=1, **changed):
            paths = [folder / f"eeg-{subject}.h5" for subject in range(subjects)]
            responses = load_responses(paths, "train", None, True)
            settings = Contrastive.model_validate({**SMALL, **changed})
            device = torch_device.chosen()
            rows = np.unique(responses.stimulus)
            learner = learner_of(settings, Tower(model="x"), responses, stimuli, rows, device, 0)
            learner.begin(epoch)
            data = pairs([responses], np.arange(len(responses.stimulus)), device)
            learner.model.train()
            batch = np.flatnonzero(data.stimulus < 12)
            return learner, data, batch, learner.loss(data, batch, np.random.default_rng(0)), stimuli

        yield ask


def both_sides(learner, data, batch):
    """Embeddings of responses, of their pictures, and rows of these."""
    rows = np.unique(data.stimulus[batch])
    return learner.model.brain(data.responses[0][batch]), learner.model.picture(learner.pictures(rows)), rows


def test_a_text_is_one_candidate_for_all_pictures_that_have_it(asked):
    _, _, _, alone, _ = asked()
    learner, data, batch, found, stimuli = asked(objective={"beta": 0.0, "text": 0.25})
    brain, _, rows = both_sides(learner, data, batch)
    prompt = torch.from_numpy(stimuli["prompt_embedding"][:][rows])
    length = torch.from_numpy(stimuli["embedding"][: brain_files.TRAIN]).norm(dim=1).mean()
    concept = torch.from_numpy(np.arange(12) // 2)  # two pictures of each concept, which have its prompt
    text = F.normalize(learner.model.visual.head(prompt[::2] * length), dim=-1)
    scores = F.softplus(learner.model.scale) * brain @ text.T
    belongs = F.one_hot(concept).double()
    expected = (F.cross_entropy(scores, concept) + F.cross_entropy(scores.T, (belongs / 2).T.float())) / 2
    torch.testing.assert_close(found, 0.75 * alone + 0.25 * expected)


def test_captions_are_of_each_picture_and_texts_that_are_not_there_are_refused(asked):
    learner, *_, stimuli = asked(objective={"beta": 0.0, "text": 1.0, "text_source": "captions"})
    embedding, number = learner.texts.of(np.arange(5))
    assert len(embedding) == 5
    found = F.normalize(embedding[number], dim=-1).numpy()
    np.testing.assert_allclose(found, stimuli["caption_embedding"][:5], atol=1e-5)
    with pytest.raises(ValueError, match=r"objective.text: found 0.5.*visual.readout.block"):
        Contrastive.model_validate(
            {**SMALL, "objective": {"text": 0.5}, "visual": {"readout": {"block": 1, "pool": "class"}}}
        )
    needing = Contrastive.model_validate({**SMALL, "objective": {"text": 0.5, "text_source": "captions"}})
    assert needing.needs == {"captions"}
    assert Contrastive.model_validate(SMALL).needs == frozenset()
    bare = {name: stimuli[name] for name in ("sentence_embedding", "stimulus_id")}
    bare["prompt_link"] = np.zeros((0, 2), np.int32)
    with pytest.raises(InputError, match=r"objective\.text: 1"):
        TextTerm(bare, Objective(text=1.0), np.arange(5), torch.ones(()), torch.device("cpu"))


def test_mmd_joins_the_loss_with_the_weight_of_the_epoch(asked):
    settings = {"beta": 0.0, "mmd": {"start": 0.8, "end": 0.2, "epochs": 4}}
    _, _, _, alone, _ = asked()
    for epoch, weight in ((1, 0.8), (3, 0.4), (4, 0.2), (5, 0.0)):
        learner, data, batch, found, _ = asked(epoch=epoch, objective=settings)
        brain, picture, _ = both_sides(learner, data, batch)
        distance = by_pairs(brain.detach().numpy(), picture.detach().numpy(), Mmd().sigmas)
        assert found.item() == pytest.approx(alone.item() + weight * distance, abs=1e-4)


def test_a_model_that_does_not_train_has_the_contrast_alone(asked):
    learner, data, batch, found, _ = asked(objective={"beta": 0.0, "mmd": {}})
    _, _, _, alone, _ = asked()
    assert found != alone
    learner.model.eval()
    assert learner.loss(data, batch, np.random.default_rng(0)) == alone


def test_where_pictures_differ_by_subject_mmd_takes_those_that_each_saw(asked):
    readout = {"kind": "mix", "vectors": [{}], "learned_vectors": 1, "subject_dropout": 0.0}
    visual = {"kind": "frozen", "head": {"width": 12}, "readout": readout}
    given = {"subjects": 2, "visual": visual}
    learner, data, batch, _, _ = asked(objective={"beta": 0.0, "mmd": {}}, **given)
    batch = batch[(data.subject[batch] == 0) | (data.stimulus[batch] < 5)]  # one subject saw fewer of them
    with torch.no_grad():
        learner.model.visual.readout.bias[1, 0] += 3.0
    found = learner.loss(data, batch, np.random.default_rng(0))
    plain, *_ = asked(objective={"beta": 0.0}, **given)
    with torch.no_grad():
        plain.model.visual.readout.bias[1, 0] += 3.0
    alone = plain.loss(data, batch, np.random.default_rng(0))
    brain = learner.model.brain(data.responses[0][batch])
    seen = learner.model.seen_by(learner.pictures(np.arange(12)), [0, 1])
    subject, stimulus = data.subject[batch], data.stimulus[batch]
    own = np.stack([seen[s][p].detach().numpy() for s, p in zip(subject, stimulus)])
    assert not np.allclose(seen[0].detach(), seen[1].detach())
    distance = by_pairs(brain.detach().numpy(), own, Mmd().sigmas)
    assert found.item() == pytest.approx(alone.item() + 0.9 * distance, abs=1e-4)


def test_the_shared_layer_is_one_for_both_sides_and_for_texts(asked):
    learner, data, batch, found, stimuli = asked(shared_head=True)
    model = learner.model
    assert {name for name, _ in model.named_parameters() if name.startswith("shared")} == {
        "shared.weight",
        "shared.bias",
    }
    assert sum(one.numel() for one in model.shared.parameters()) == 12 * 12 + 12
    brain, picture, rows = both_sides(learner, data, batch)
    raw = model.brain_head(model.encoder(data.responses[0][batch]))
    torch.testing.assert_close(brain, raw @ model.shared.weight.T + model.shared.bias)
    seen = model.visual.head(torch.from_numpy(stimuli["embedding"][:][rows]))
    torch.testing.assert_close(picture, model.shared(seen))
    text = torch.randn(3, 24)
    torch.testing.assert_close(model.texts(text), model.shared(model.visual.head(text)))
    scores = F.softplus(model.scale) * brain @ F.normalize(picture, dim=-1).T
    expected = softened_contrastive(scores, torch.arange(12), seen, Objective(beta=0.0))
    torch.testing.assert_close(found, expected)
    wide = 512 * 512 + 512
    assert wide == 262_656  # as SAMGA counts it


def test_a_scale_of_one_has_no_parameter_to_train(asked):
    learner, data, batch, found, _ = asked(objective={"beta": 0.0, "normalise": "both", "scale": "none"})
    brain, picture, _ = both_sides(learner, data, batch)
    assert learner.model.scale.item() == 1
    assert not learner.model.scale.requires_grad
    theirs = open_clip.ClipLoss()(F.normalize(brain, dim=-1), F.normalize(picture, dim=-1), 1.0)
    torch.testing.assert_close(found, theirs)
