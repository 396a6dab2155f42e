"""The training loop on a learner of a few numbers: optimisers, batches, averages, stages and when it stops."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from brain2clip import settings
from brain2clip.settings import Budget, Selection
from brain2clip.stage import InputError
from brain2clip.training import loop
from brain2clip.training.data import Pairs

N, WIDTH = 11, 3
DRAWN = np.random.default_rng(0)
X = torch.from_numpy(DRAWN.standard_normal((N, WIDTH)).astype(np.float32))
Y = torch.from_numpy(DRAWN.standard_normal((N, 1)).astype(np.float32))
PLAIN = {"batch_size": 4, "lr": 0.05, "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0}


def network() -> nn.Module:
    torch.manual_seed(7)
    made = nn.Module()
    made.first, made.norm, made.shared = nn.Linear(WIDTH, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 1)
    made.scale = nn.Parameter(torch.tensor(1.0))
    return made


def loss_of(model: nn.Module, rows: np.ndarray) -> torch.Tensor:
    found = model.scale * model.shared(model.norm(model.first(X[rows])))
    return (found - Y[rows]).square().mean()


class Regression:
    """Least squares; ``scores`` are what held-out pictures are found by, epoch by epoch."""

    def __init__(self, scores=(), losses=()):
        self.model, self.frozen_epochs, self.scores, self.losses = network(), 0, list(scores), list(losses)
        self.batches, self.asked, self.starts, self.epoch, self.counted = [], [], [], 0, 0

    def once(self, data, rng):
        return data

    def begin(self, epoch):
        self.epoch = epoch
        self.starts.append({name: value.detach().clone() for name, value in self.model.named_parameters()})

    def parameter_groups(self):
        trained = list(self.model.parameters())
        return [
            {"params": [one for one in trained if one.ndim > 1], "lr": 0.05, "joins": False},
            {"params": [one for one in trained if one.ndim < 2], "lr": 0.1, "joins": True, "weight_decay": 0.0},
        ]

    def measured(self):
        counted, self.counted = self.counted, 0
        return {"counted": counted}

    def settle(self):
        pass

    def loss(self, data, rows, rng):
        self.counted += 1
        if self.model.training:
            self.batches.append(rows)
        found = loss_of(self.model, rows)
        return found if not self.losses else 0 * found + self.losses[self.epoch - 1]

    def top1(self, data):
        self.asked.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return self.scores[self.epoch - 1]


def rows_of(n: int) -> Pairs:
    return Pairs([], *[np.zeros(0)] * 4, [np.array([row]) for row in range(n)])


def run(learner: Regression, n: int = N, **budget):
    return loop.loop(learner, Budget(**{**PLAIN, **budget}), rows_of(n), 0)


def by_hand(batches, optimiser, model, clip=1.0, after_step=lambda: None):
    for rows in batches:
        optimiser.zero_grad()
        loss_of(model, rows).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        after_step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in zip(one.state_dict().values(),
               other.state_dict().values(), strict=True))  # fmt: skip


# ----------------------------------------------------------------------------------- optimisers and batches


@pytest.mark.parametrize(
    ("budget", "make", "clip"),
    [
        ({}, lambda model: torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.0), 1.0),
        (
            {"algorithm": "adam", "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3, "decay_biases": True},
            lambda model: torch.optim.Adam(model.parameters(), 0.05, (0.5, 0.9), 1e-3, weight_decay=0.3),
            1.0,
        ),
        (
            {"weight_decay": 0.3, "decay_biases": True, "clip_norm": None},
            lambda model: torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.3),
            None,
        ),
        (
            {"weight_decay": 0.3, "clip_norm": 0.01},
            lambda model: torch.optim.AdamW(
                [
                    {"params": [one for one in model.parameters() if one.ndim > 1]},
                    {"params": [one for one in model.parameters() if one.ndim < 2], "weight_decay": 0.0},
                ],
                lr=0.05,
                weight_decay=0.3,
            ),
            0.01,
        ),
    ],
    ids=["default", "adam", "decay of all, no clipping", "decay of matrices, clipping"],
)
def test_an_optimiser_is_pytorchs(monkeypatch, budget, make, clip):
    groups = Regression.parameter_groups
    monkeypatch.setattr(Regression, "parameter_groups", lambda self: [{**one, "lr": 0.05} for one in groups(self)])
    learner, model = Regression(), network()
    run(learner, epochs=3, **budget)
    by_hand(learner.batches, make(model), model, clip)
    assert same(learner.model, model)


@pytest.mark.parametrize(
    ("batches", "n", "sizes"),
    [
        ("equal", 11, [4, 4, 3]),
        ("equal", 9, [3, 3, 3]),
        ("exact", 11, [4, 4, 3]),
        ("exact", 8, [4, 4]),
        ("exact-drop-last", 11, [4, 4]),
        ("exact-drop-last", 8, [4, 4]),
        ("exact-drop-last", 3, [3]),
    ],
)
def test_batches_of_an_epoch(batches, n, sizes):
    learner = Regression()
    run(learner, n, epochs=2, batches=batches)
    assert [len(one) for one in learner.batches] == 2 * sizes
    for epoch in (learner.batches[: len(sizes)], learner.batches[len(sizes) :]):
        seen = np.concatenate(epoch)
        assert len(set(seen)) == len(seen)
    if batches != "exact-drop-last":
        assert sorted(seen) == list(range(n))


def test_batches_of_single_responses():
    """Each response once in an epoch; where a picture has one, in the order that pictures have."""
    several = replace(rows_of(0), units=[np.array([0, 4, 2]), np.array([3, 1, 5])])
    learner = Regression()
    loop.loop(learner, Budget(**{**PLAIN, "batch_size": 2, "batch_of": "responses"}), several, 0)
    assert [len(one) for one in learner.batches[:3]] == [2, 2, 2]
    assert sorted(np.concatenate(learner.batches[:3])) == [0, 1, 2, 3, 4, 5]
    single, pictures = Regression(), Regression()
    run(single, 11, batch_of="responses")
    run(pictures, 11)
    for one, other in zip(single.batches, pictures.batches, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_last_batch_of_one_picture_is_refused():
    with pytest.raises(InputError, match=r"one picture \(9 in batches of 4\).*exact-drop-last"):
        run(Regression(), 9, epochs=1, batches="exact")


# ------------------------------------------------------------------------------------------------ schedules


def rates(budget: dict, make, n: int = N, per: int = 4, epochs: int = 6):
    """Rates of every step: ours, and those of a scheduler of PyTorch's."""
    total = epochs * -(-n // per)
    factor = loop.learning_rate(Budget(**{**PLAIN, "epochs": epochs, **budget}), total, total // epochs)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, found = make(optimiser, total), []
    for _ in range(total):
        found.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return [0.1 * factor(step) for step in range(total)], found


@pytest.mark.parametrize(
    ("up", "div", "final_div", "epochs"), [(0.3, 25.0, 1e4, 6), (0.1, 10.0, 1e3, 40), (0.5, 2, 5, 2)]
)
def test_one_cycle_is_pytorchs(up, div, final_div, epochs):
    block = {"kind": "one-cycle", "up": up, "div": div, "final_div": final_div}
    one_cycle = torch.optim.lr_scheduler.OneCycleLR

    def make(optimiser, total):
        return one_cycle(optimiser, 0.1, total, pct_start=up, div_factor=div, final_div_factor=final_div,
                         cycle_momentum=False)  # fmt: skip

    ours, theirs = rates({"schedule": block}, make, epochs=epochs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_step_is_pytorchs_by_epochs_and_counts_from_the_end_of_the_warm_up():
    def make(optimiser, total):
        return torch.optim.lr_scheduler.StepLR(optimiser, 2 * 3, 0.1)  # 2 epochs of 3 steps

    block = {"kind": "step", "every": 2, "gamma": 0.1}
    ours, theirs = rates({"schedule": block}, make)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    factor = loop.learning_rate(Budget(epochs=6, schedule=block, warmup=1 / 3), 18, 3)
    assert [round(factor(step), 6) for step in range(18)] == pytest.approx(
        [(step + 1) / 6 for step in range(6)] + 6 * [1.0] + 6 * [0.1], abs=1e-6
    )


def test_without_a_warm_up_the_rate_is_the_schedules_from_the_first_step():
    def make(optimiser, total):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)

    ours, theirs = rates({"schedule": "cosine", "warmup": 0}, make)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    factor = loop.learning_rate(Budget(epochs=6, schedule="cosine", warmup=0.001), 18)
    assert [factor(0), factor(1)] == [1.0, 1.0]  # a warm-up has a step


# ------------------------------------------------------------------------------------------------ averages


def test_an_average_is_pytorchs_and_is_what_is_asked_and_what_is_left():
    """AveragedModel with buffers; and written out, p <- d p + (1 - d) w from the weights of the first step on."""
    learner, model, decay = Regression(scores=[0.1, 0.2, 0.3]), network(), 0.8
    budget = Budget(**{**PLAIN, "epochs": 3, "ema": decay})
    loop.loop(learner, budget, rows_of(N), 0, validation=rows_of(2))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimiser = torch.optim.AdamW(learner_groups(model), weight_decay=0.0)
    weights = []

    def after_step():
        average.update_parameters(model)
        weights.append(model.first.weight.detach().clone())

    asked = []
    for epoch in range(3):
        by_hand(learner.batches[3 * epoch : 3 * epoch + 3], optimiser, model, after_step=after_step)
        asked.append({name: value.clone() for name, value in average.module.state_dict().items()})
    left = learner.model.state_dict()
    for steps, ours, theirs in zip((3, 6, 9, 9), [*learner.asked, left], [*asked, asked[-1]], strict=True):
        assert ours.pop("norm.num_batches_tracked") == steps  # a count is no average
        assert all(torch.allclose(value, theirs[name], rtol=1e-6, atol=1e-7) for name, value in ours.items())
    expected = weights[0]
    for weight in weights[1:]:
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(learner.model.first.weight, expected)
    assert not torch.allclose(expected, weights[-1])


def learner_groups(model: nn.Module):
    return Regression.parameter_groups(SimpleNamespace(model=model))


# ---------------------------------------------------------------------------------------------- two stages


def test_a_second_stage_is_a_new_optimiser_with_other_rates_and_parts_that_stay():
    learner, model = Regression(), network()
    second = {"after": 2, "lr": 0.01, "freeze": ["shared", "norm.bias"]}
    history = run(learner, epochs=5, weight_decay=0.2, second=second)
    by_hand(learner.batches[:6], torch.optim.AdamW(learner_groups(model), weight_decay=0.2), model)
    stay = ("shared.weight", "shared.bias", "norm.bias")
    for name, one in model.named_parameters():
        one.requires_grad_(name not in stay)
    groups = [{**one, "lr": lr} for one, lr in zip(learner_groups(model), (0.01, 0.02), strict=True)]
    by_hand(learner.batches[6:], torch.optim.AdamW(groups, weight_decay=0.2), model)
    assert same(learner.model, model)
    found = dict(learner.model.named_parameters())
    assert {name for name, value in learner.starts[2].items() if torch.equal(found[name], value)} == set(stay)
    assert not any(torch.equal(learner.starts[2][name], learner.starts[0][name]) for name in stay)
    assert all(one.requires_grad for one in found.values())
    assert history["stage"].tolist() == [1, 1, 2, 2, 2]
    assert history["lr"].tolist() == pytest.approx([0.05, 0.05, 0.01, 0.01, 0.01])
    assert "stage" not in run(Regression(), epochs=1)


def test_each_stage_has_the_whole_schedule():
    history = run(Regression(), epochs=6, schedule="cosine", second={"after": 4, "lr": 0.01})
    ends = [0.5 * (1 + np.cos(np.pi * share)) for share in (0.25, 0.5, 0.75, 1, 0.5, 1)]
    assert history["lr"].tolist() == pytest.approx([0.05 * one for one in ends[:4]] + [0.01 * one for one in ends[4:]])


@pytest.mark.parametrize("freeze", [["shar"], ["visual"], ["shared", "first.weights"]])
def test_a_name_that_is_of_no_parameter_is_refused_before_training(freeze):
    learner = Regression()
    with pytest.raises(InputError, match=rf"found '{freeze[-1]}'.*parts of this model are first, norm, scale, shared"):
        run(learner, epochs=2, second={"after": 1, "lr": 0.1, "freeze": freeze})
    assert not learner.batches
    with pytest.raises(InputError, match="no parameter would be trained in the second stage"):
        run(learner, epochs=2, second={"after": 1, "lr": 0.1, "freeze": ["first", "norm", "shared", "scale"]})


def test_a_stage_must_have_epochs_and_what_joins_late_joins_in_the_first():
    second = {"after": 3, "lr": 0.1}
    with pytest.raises(ValidationError, match="leaves none of epochs"):
        Budget(epochs=3, second=second)
    with pytest.raises(ValidationError, match="beyond the first stage"):
        settings.Optimiser(epochs=6, second=second, frozen_epochs=4)
    settings.Optimiser(epochs=2, second={"after": 1, "lr": 0.1}, frozen_epochs=1)


# ---------------------------------------------------------------------------------------- when to stop


def fitted(learner: Regression, monkeypatch, epochs: int = 8, **selection):
    """Through ``fit`` with as many concepts as rows, of which two are kept aside."""
    sets = [SimpleNamespace(stimulus=np.arange(N), values=X.numpy(), subject=np.zeros(N, int))]
    asked = []

    def pairs(_, rows, *given):
        asked.append(rows)
        return Pairs([], *[np.zeros(0)] * 4, [np.array([row]) for row in rows])

    monkeypatch.setattr(loop, "pairs", pairs)
    concept = np.array([f"c{row}" for row in range(N)])
    budget = Budget(**{**PLAIN, "epochs": epochs})
    return loop.fit(learner, budget, Selection(**selection), sets, concept, 0, torch.device("cpu")), asked


SCORES = [0.1, 0.5, 0.3, 0.6, 0.55, 0.6, 0.2, 0.9]


@pytest.mark.parametrize(
    ("given", "searched", "best"),
    [
        ({}, 8, 8),
        ({"patience": 1}, 3, 2),
        ({"patience": 2}, 6, 4),
        ({"patience": 3}, 7, 4),
        ({"patience": 2, "min_delta": 0.15}, 4, 4),
        ({"patience": 4}, 8, 8),
    ],
)
def test_the_search_stops_when_no_better_epoch_comes_and_all_is_trained_again(monkeypatch, given, searched, best):
    learner = Regression(scores=SCORES)
    history, asked = fitted(learner, monkeypatch, rule="held-out-concepts", **given)
    assert len(learner.asked) == searched
    assert history["held_out_top1"].tolist() == SCORES[:best]
    kept, held_out, everything = asked
    assert not set(kept) & set(held_out)
    assert sorted([*kept, *held_out]) == list(everything) == list(range(N))
    again = learner.batches[-3 * best :]  # 11 rows in three batches, of the search 9
    assert all(len(np.concatenate(again[3 * epoch : 3 * epoch + 3])) == N for epoch in range(best))
    assert not set(np.concatenate(learner.batches[: -3 * best])) & set(held_out)


def test_without_training_again_the_model_is_that_of_the_best_epoch(monkeypatch):
    learner = Regression(scores=SCORES)
    history, asked = fitted(learner, monkeypatch, rule="held-out-concepts", patience=3, retrain=False)
    assert len(asked) == 2
    assert all(torch.equal(value, learner.asked[3][name]) for name, value in learner.model.state_dict().items())
    assert history["held_out_top1"].tolist() == SCORES[:4]
    assert not set(np.concatenate(learner.batches)) & set(asked[1])
    assert (history["search_seconds"] > 0).all()  # of the three epochs after it


def test_the_loss_of_held_out_concepts_can_choose(monkeypatch):
    learner = Regression(scores=8 * [0.5])
    history, asked = fitted(learner, monkeypatch, rule="held-out-concepts", criterion="loss", retrain=False)
    learner.model.eval()
    with torch.no_grad():
        assert history["held_out_loss"].iloc[-1] == pytest.approx(float(loss_of(learner.model, asked[1])), rel=1e-5)
    assert history["held_out_loss"].min() == history["held_out_loss"].iloc[-1]
    assert len(learner.asked) == 8
    assert set(history["counted"]) == {3}  # what is measured is of training batches


def test_the_training_loss_may_end_a_training_and_the_last_model_stays(monkeypatch):
    """As a rule of early stopping: after so many epochs without one that is better by so much."""
    losses = [2.0, 1.0, 0.9995, 0.9994, 0.5, 0.4999, 0.4998, 0.4997]
    learner = Regression(losses=losses)
    history, asked = fitted(learner, monkeypatch, rule="training-loss", patience=3, min_delta=0.001)
    assert history["loss"].tolist() == pytest.approx(losses)  # 0.5 came in time; three after it were not better
    learner = Regression(losses=losses)
    history, asked = fitted(learner, monkeypatch, rule="training-loss", patience=2, min_delta=0.001)
    assert history["loss"].tolist() == pytest.approx(losses[:4])
    assert [list(rows) for rows in asked] == [list(range(N))]  # nothing was held out
    assert not learner.asked


def test_patience_begins_anew_where_something_begins():
    learner = Regression(losses=[1.0] * 8)
    given = Budget(**{**PLAIN, "epochs": 8, "second": {"after": 4, "lr": 0.01}})
    watch = loop.watch_of(learner, given, Selection(rule="training-loss", patience=2))
    assert len(loop.loop(learner, given, rows_of(N), 0, watch=watch)) == 6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rule": "training-loss"}, "rule training-loss needs it to stop"),
        ({"patience": 3}, "rule last trains a fixed number"),
        ({"rule": "held-out-concepts", "min_delta": 0.1}, "min_delta: has no effect"),
        ({"rule": "training-loss", "patience": 3, "retrain": False}, "retrain: only rule held-out-concepts uses it"),
        ({"criterion": "loss"}, "criterion: only rule held-out-concepts uses it"),
        ({"rule": "test"}, "Input should be"),
    ],
)
def test_settings_of_the_choice_that_have_no_effect_are_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        Selection(**given)
