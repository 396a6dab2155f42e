import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from brain2clip.settings import Objective
from brain2clip.training.objective import keep_scale, logits, soft_target, softened_contrastive

SEEDS = st.integers(0, 2**31)


def example(seed, n=6, d=5):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, generator=generator) for _ in range(3))


@given(seed=SEEDS)
def test_beta_zero_is_open_clips_symmetric_info_nce(seed):
    brain, picture, frozen = example(seed)
    scale = torch.tensor(2.0)
    scores = logits(brain, picture, scale, "both")
    ours = softened_contrastive(scores, torch.arange(6), frozen, Objective(beta=0, normalise="both"))
    theirs = open_clip.ClipLoss()(F.normalize(brain, dim=-1), F.normalize(picture, dim=-1), scale.exp())
    torch.testing.assert_close(ours, theirs)


@given(seed=SEEDS, beta=st.floats(0.05, 1))
def test_softened_loss_against_the_formula(seed, beta):
    brain, picture, frozen = example(seed)
    settings = Objective(beta=beta)
    scores = logits(brain, picture, torch.tensor(settings.scale_init), settings.normalise)
    unit = F.normalize(frozen, dim=-1)
    y = (1 - beta) * torch.eye(6) + beta * (unit @ unit.T / 0.1).softmax(-1)
    rows = -(y * scores.log_softmax(-1)).sum(-1).mean()
    columns = -(y * scores.T.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(softened_contrastive(scores, torch.arange(6), frozen, settings), (rows + columns) / 2)


def test_recipes_of_normalisation():
    brain, picture, _ = example(0)
    a = torch.tensor(2.6593)
    unit = F.normalize(picture, dim=-1)
    torch.testing.assert_close(logits(brain, picture, a, "image"), F.softplus(a) * brain @ unit.T)
    torch.testing.assert_close(logits(brain, picture, a, "both"), a.exp() * F.normalize(brain, dim=-1) @ unit.T)


@pytest.mark.parametrize(("outside", "limit"), [(50.0, np.log(100)), (-3.0, 0.0)])
def test_the_scale_is_put_back_between_1_and_100_and_has_a_gradient_there(outside, limit):
    """Clamped within the product, a scale that has left its range would never come back."""
    brain, picture, frozen = example(0)
    scale = torch.nn.Parameter(torch.tensor(outside))
    keep_scale(scale)
    assert scale.item() == pytest.approx(limit)
    scores = logits(brain, picture, scale, "both")
    softened_contrastive(scores, torch.arange(6), frozen, Objective(beta=0.0)).backward()
    assert scale.grad.abs() > 1e-3


@pytest.mark.parametrize("n_responses", [1, 3])
def test_a_batch_of_one_picture_has_no_negatives_and_a_finite_loss(n_responses):
    brain, picture, frozen = example(0)
    scores = logits(brain[:n_responses].requires_grad_(), picture[:1], torch.tensor(1.0), "image")
    owner = torch.zeros(n_responses, dtype=torch.long)
    hard = softened_contrastive(scores, owner, frozen[:1], Objective(beta=0.0))
    found = softened_contrastive(scores, owner, frozen[:1], Objective(beta=0.5, disentangle=True))
    found.backward()
    torch.testing.assert_close(found, hard)
    assert torch.isfinite(found)


def test_a_scale_that_recipe_b_does_not_keep_is_refused():
    for wrong in (-0.1, 4.7):
        with pytest.raises(ValueError, match="scale_init"):
            Objective(normalise="both", scale_init=wrong)
        assert Objective(scale_init=wrong).scale_init == wrong


@given(seed=SEEDS)
def test_several_responses_per_picture_share_its_mass(seed):
    """Two identical responses to each picture give the loss of one response each, plus ln 2 for the columns."""
    brain, picture, frozen = example(seed)
    settings = Objective(beta=0.3)
    once = softened_contrastive(logits(brain, picture, torch.tensor(1.0), "image"), torch.arange(6), frozen, settings)
    doubled = logits(brain.repeat(2, 1), picture, torch.tensor(1.0), "image")
    twice = softened_contrastive(doubled, torch.arange(6).repeat(2), frozen, settings)
    torch.testing.assert_close(twice, once + np.log(2) / 2, atol=1e-5, rtol=1e-5)


@given(
    seed=SEEDS,
    owner=st.lists(st.integers(0, 3), max_size=8).map(lambda more: [2, 0, 3, 1, *more]),
    beta=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    disentangle=st.booleans(),
)
def test_the_loss_is_that_of_products_with_matrices_of_who_belongs_to_whom(seed, owner, beta, disentangle):
    """Written out: targets of rows and of columns by products with one number in each row."""
    generator = torch.Generator().manual_seed(seed)
    scores, frozen = (torch.randn(n, 4, generator=generator).double() for n in (len(owner), 4))
    settings, owner = Objective(beta=beta, disentangle=disentangle), torch.tensor(owner)
    belongs = F.one_hot(owner, 4).double()
    share = belongs / belongs.sum(dim=0)
    soft = soft_target(frozen, settings).double()

    def both(given, rows, columns):
        return (F.cross_entropy(given, rows) + F.cross_entropy(given.T, columns)) / 2

    hard = both(scores, belongs, share.T)
    apart = scores.masked_fill(belongs.bool(), torch.finfo(torch.float64).min) if disentangle else scores
    expected = (1 - beta) * hard + beta * both(apart, belongs @ soft, soft @ share.T)
    torch.testing.assert_close(softened_contrastive(scores, owner, frozen, settings), expected)


@pytest.mark.parametrize("disentangle", [False, True])
@pytest.mark.parametrize("kind", ["clip", "uniform"])
def test_soft_targets_are_distributions(kind, disentangle):
    target = soft_target(example(0)[2], Objective(soft_target=kind, disentangle=disentangle))
    torch.testing.assert_close(target.sum(-1), torch.ones(6))
    assert bool(target.diagonal().any()) is not disentangle


def test_disentangled_loss_is_finite_and_has_gradients():
    brain, picture, frozen = example(0)
    brain.requires_grad_(True)
    scores = logits(brain, picture, torch.tensor(1.0), "image")
    loss = softened_contrastive(scores, torch.arange(6), frozen, Objective(disentangle=True))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(brain.grad).all()
