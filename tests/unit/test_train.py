from types import SimpleNamespace

import brain_files
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits
from torch import nn

from brain2clip import artefact, stage
from brain2clip.internals import torch_device
from brain2clip.models import brain_encoder, prompted_tower
from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.parameters import trainable
from brain2clip.retrieval import rank, statistics
from brain2clip.settings import Contrastive, Optimiser, Retrieval, Selection, Tower, TsConv
from brain2clip.settings import Ridge as RidgeSettings
from brain2clip.training import loop, train
from brain2clip.training.data import Pairs, load_responses, open_stimuli, pairs
from brain2clip.training.methods import ridge
from brain2clip.training.methods.contrastive import ContrastiveLearner, build, picture_source
from brain2clip.training.objective import keep_scale, logits, softened_contrastive

SMALL = {
    "encoder": {"width": 32, "dropout": 0.0},
    "brain_head": {"width": 24},
    "visual": {"head": {"width": 24}, "fusion": {"width": 16, "heads": 2}},
    "optimiser": {"epochs": 60, "batch_size": 20, "lr": 3e-3, "lr_visual": 1e-3},
}
SHORT = {"batch_size": 20, "lr": 3e-3, "lr_visual": 1e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_stimuli(folder / "pictures.h5", cache="pictures")
    for subject in range(3):
        brain_files.write_responses(folder / f"sub-{subject}.h5", embedding, subject)
    brain_files.write_responses(folder / "test-is-nan.h5", embedding, 0, test_value=np.nan)
    brain_files.save_tower(folder / "tower")
    return folder


def job(files, tmp_path, kind="frozen", subjects=("sub-0",), stimuli="stimuli", seed=0, **overrides):
    method = {"kind": "contrastive", "label": "x", "tower": "tiny", **SMALL, **overrides}
    method["visual"] = {**SMALL["visual"], **overrides.get("visual", {}), "kind": kind}
    if kind == "frozen":
        del method["visual"]["fusion"]
    method = Contrastive.model_validate(method).model_dump(mode="json")
    tower = Tower(model=f"local-dir:{files / 'tower'}").model_dump(mode="json")
    outputs = {"checkpoint": tmp_path / f"{kind}.safetensors", "history": tmp_path / f"{kind}.parquet"}
    inputs = {"responses": [files / f"{name}.h5" for name in subjects], "stimuli": [files / f"{stimuli}.h5"]}
    settings = {"method": method, "tower": tower, "seed": seed, "protocol": {}}
    return stage.Job("train", settings, "code", {}, inputs, outputs)


def trained(one):
    train.run(one)
    return artefact.read_tensors(one.outputs["checkpoint"]), artefact.read_table(one.outputs["history"])


def ranked(one, files, tmp_path, subject="sub-0"):
    run = {"study": "s", "signal": "b", "protocol": "p", "method": "m", "subject": "01", "seed": 0}
    settings = {
        "run": run,
        "method": one.settings["method"],
        "tower": one.settings["tower"],
        "retrieval": {"repetitions": [1, "all"]},
    }
    inputs = {
        "responses": [files / f"{subject}.h5"],
        "stimuli": one.inputs["stimuli"],
        "checkpoint": [one.outputs["checkpoint"]],
    }
    outputs = {"rows": tmp_path / "rows.parquet"}
    rank.run(stage.Job("rank", settings, "code", {}, inputs, outputs))
    rows = artefact.read_table(outputs["rows"])
    return rows, statistics.summary(rows, Retrieval(bootstrap=200).statistics()).set_index("metric")["value"]


@pytest.mark.parametrize("kind", ["frozen", "neuroclip"])
def test_a_planted_relation_is_learnt_and_retrieved(files, tmp_path, kind):
    one = job(files, tmp_path, kind)
    tensors, history = trained(one)
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert not any("tower.visual" in name for name in tensors), "a CLIP weight in the checkpoint"
    rows, value = ranked(one, files, tmp_path)
    assert value["top-1"] >= 0.5  # chance 0.1
    assert (rows["rank"] >= 1).all()
    assert (rows["n_candidates"] == brain_files.TEST).all()
    averaged = rows[rows["repetitions"] == "all"]
    assert list(averaged["target"]) == [f"test-{i:03d}" for i in range(brain_files.TEST)]
    hits = averaged[averaged["rank"] == 1]
    assert (hits["top_ids"].str[0] == hits["target"]).all()


def test_shuffled_labels_give_chance(files, tmp_path):
    values = []
    for seed in range(5):
        one = job(files, tmp_path, shuffle_labels=True, seed=seed)
        trained(one)
        values.append(ranked(one, files, tmp_path)[1]["top-1"])
    assert np.mean(values) < 0.32  # 50 queries at chance 0.1: beyond 99.9 %


def test_test_trials_are_never_opened_in_training(files, tmp_path):
    clean, _ = trained(job(files, tmp_path))
    poisoned, _ = trained(job(files, tmp_path, subjects=("test-is-nan",)))
    assert all(torch.equal(clean[name], poisoned[name]) for name in clean)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(files, tmp_path):
    first, _ = trained(job(files, tmp_path, "neuroclip", optimiser={"epochs": 2, "batch_size": 20}))
    again, _ = trained(job(files, tmp_path, "neuroclip", optimiser={"epochs": 2, "batch_size": 20}))
    other, _ = trained(job(files, tmp_path, "neuroclip", optimiser={"epochs": 2, "batch_size": 20}, seed=1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["brain_head.weight"], other["brain_head.weight"])


def test_the_shared_loop_is_a_plain_loop_bit_for_bit(files, tmp_path):
    """The steps of a contrastive method written out: nothing else may draw numbers or touch the model."""
    one = job(files, tmp_path, "neuroclip", encoder={"width": 32, "dropout": 0.3}, optimiser={**SHORT, "epochs": 3})
    found, history = trained(one)
    settings = Contrastive.model_validate(one.settings["method"])
    tower = Tower.model_validate(one.settings["tower"])
    responses = load_responses(one.inputs["responses"], "train", None, True)
    device = torch_device.chosen()
    with open_stimuli(one.inputs["stimuli"][0], None) as stimuli:
        torch.manual_seed(0)
        model, clip = build(settings, tower, responses, stimuli, device, 1)
        pictures = picture_source(settings, tower, stimuli, responses.stimulus, clip, device)
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        optimiser = torch.optim.AdamW(model.parameter_groups(3e-3, 1e-3), weight_decay=1e-4, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, loop.learning_rate(settings.optimiser, 6))
        losses = []
        for _ in range(3):
            model.train()
            for rows in np.array_split(rng.permutation(brain_files.TRAIN), 2):
                stimulus = np.sort(responses.stimulus[rows])
                seen = pictures(stimulus)
                brain = model.brain(torch.from_numpy(responses.values[rows]).to(device))
                scores = logits(brain, model.picture(seen), model.scale, "image")
                owner = torch.from_numpy(np.searchsorted(stimulus, responses.stimulus[rows])).to(device)
                loss = softened_contrastive(scores, owner, seen.embedding, settings.objective)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                losses.append(loss.item())
    assert history["loss"].tolist() == [np.mean(losses[start : start + 2]) for start in (0, 2, 4)]
    expected = trainable(model)
    assert all(torch.equal(found[name], value.cpu()) for name, value in expected.items())


def test_both_caches_train_the_same_model(files, tmp_path):
    short = {"epochs": 2, "batch_size": 20, "precision": "fp32"}
    tokens, _ = trained(job(files, tmp_path, "neuroclip", optimiser=short))
    pictures, _ = trained(job(files, tmp_path, "neuroclip", optimiser=short, stimuli="pictures"))
    for name, value in tokens.items():
        torch.testing.assert_close(pictures[name], value, atol=1e-4, rtol=1e-3)


def test_prompts_that_join_late_find_what_was_trained_against_the_frozen_tower(files, tmp_path, monkeypatch):
    """Until then no picture goes through the tower, and encoder and head are those of the frozen picture side."""
    short = {"epochs": 4, "batch_size": 20, "lr": 3e-3, "lr_visual": 1e-2, "precision": "fp32"}
    fusion = {"kind": "none"}  # nothing else draws random numbers before training
    late = job(files, tmp_path, "neuroclip", optimiser=short | {"frozen_epochs": 3}, visual={"fusion": fusion})
    towers, after = [], []
    own, settle = prompted_tower.PromptedTower.forward, ContrastiveLearner.settle

    def forward(self, *given, **named):
        if self.training:  # not where it is reckoned what memory training will take
            towers.append(len(after))
        return own(self, *given, **named)

    monkeypatch.setattr(prompted_tower.PromptedTower, "forward", forward)
    monkeypatch.setattr(
        ContrastiveLearner,
        "settle",
        lambda self: settle(self) or after.append({n: v.clone() for n, v in trainable(self.model).items()}),
    )
    _, history = trained(late)
    steps = len(after) // 4
    assert towers == list(range(3 * steps, 4 * steps))  # one picture batch a step, in the last epoch only
    prompts = [one["visual.tower.prompts"] for one in after]
    assert all(torch.equal(prompts[0], one) for one in prompts[: 3 * steps])
    assert not torch.equal(prompts[3 * steps - 1], prompts[-1])
    weights = [name for name in after[0] if name.startswith("encoder.")]
    assert all(not torch.equal(after[0][name], after[3 * steps - 1][name]) for name in weights)
    assert len(history) == 4


@pytest.mark.parametrize(
    ("visual", "frozen_epochs", "said"), [("frozen", 1, "frozen in all epochs"), ("neuroclip", 4, "leaves none")]
)
def test_epochs_without_the_tower_must_leave_some_with_it(files, tmp_path, visual, frozen_epochs, said):
    with pytest.raises(ValidationError, match=said):
        job(files, tmp_path, visual, optimiser={"epochs": 4, "batch_size": 20, "frozen_epochs": frozen_epochs})


def test_selection_holds_out_whole_concepts_and_trains_again_on_all(files, tmp_path):
    responses = load_responses([files / "sub-0.h5"], "train", None, True)
    concept = np.array([f"c{i // 2}" for i in range(brain_files.TRAIN)] + ["t"] * brain_files.TEST)
    rows = loop.held_out_rows(concept[responses.stimulus], 0.2, seed=3)
    aside, kept = concept[responses.stimulus[rows]], concept[np.delete(responses.stimulus, rows)]
    assert len(set(aside)) == 4
    assert not set(aside) & set(kept)
    _, history = trained(
        job(
            files,
            tmp_path,
            selection={"rule": "held-out-concepts"},
            optimiser={"epochs": 8, "batch_size": 20, "lr": 3e-3},
        )
    )
    best = history["held_out_top1"].max()
    assert history["held_out_top1"].iloc[-1] == best
    assert len(history) <= 8


def test_the_search_for_the_epoch_is_part_of_what_a_model_costs(monkeypatch):
    times = iter([[1.0, 2.0, 4.0, 8.0], [1.5, 2.5]])

    def short(*given, validation=None, stop_after=None, watch=None):
        spent = next(times)
        scores = {"held_out_top1": [0.1, 0.9, 0.3, 0.2][: len(spent)]}
        return pd.DataFrame({"epoch": np.arange(len(spent)) + 1, **scores, "seconds": spent, "cpu_seconds": spent})

    monkeypatch.setattr(loop, "loop", short)
    monkeypatch.setattr(loop, "pairs", lambda *given: None)
    responses = SimpleNamespace(stimulus=np.arange(10))
    learner = SimpleNamespace(model=torch.nn.Linear(1, 1))
    selection = Selection(rule="held-out-concepts")
    history = loop.fit(learner, None, selection, [responses], np.array([f"c{i}" for i in range(10)]), 0, None)
    assert history["seconds"].tolist() == [1.5, 2.5]
    for name in ("seconds", "cpu_seconds"):
        assert history[f"search_{name}"].tolist() == [7.5, 7.5]


@pytest.mark.parametrize(
    ("optimiser", "selection"),
    [
        ({"ema": 0.8}, {"rule": "held-out-concepts", "patience": 8, "retrain": False}),
        ({"schedule": {"kind": "one-cycle"}, "warmup": 0, "algorithm": "adam", "betas": [0.9, 0.99]}, {}),
        ({"schedule": {"kind": "step", "every": 25}, "batches": "exact-drop-last", "clip_norm": None}, {}),
        ({"second": {"after": 20, "lr": 1e-3, "freeze": ["visual.head"]}, "decay_biases": True}, {}),
        ({}, {"rule": "training-loss", "patience": 5, "min_delta": 1e-3}),
    ],
    ids=["average, best epoch kept", "one-cycle, Adam", "step, exact batches", "two stages", "training loss"],
)
def test_however_it_is_trained_it_is_learnt_and_sees_no_test_trial(files, tmp_path, optimiser, selection):
    given = {"optimiser": {**SMALL["optimiser"], "epochs": 40, **optimiser}, "selection": selection}
    given["augmentation"] = [{"kind": "noise"}, {"kind": "mixup", "concentration": 0.1}]
    one = job(files, tmp_path, subjects=("test-is-nan",), **given)
    _, history = trained(one)
    assert len(history) <= 40
    assert ranked(one, files, tmp_path)[1]["top-1"] >= 0.4  # chance 0.1


def test_leave_one_subject_out_takes_all_source_subjects_and_each_picture_once(files, tmp_path):
    responses = load_responses([files / "sub-1.h5", files / "sub-2.h5"], "train", None, True)
    data = pairs([responses], np.arange(len(responses.stimulus)), torch.device("cpu"))
    assert len(data.units) == brain_files.TRAIN
    assert all(len(unit) == 2 and len(set(data.stimulus[unit])) == 1 for unit in data.units)
    one = job(files, tmp_path, subjects=("sub-1", "sub-2"))
    trained(one)
    assert ranked(one, files, tmp_path, "sub-0")[1]["top-1"] >= 0.4


def test_single_repetitions_can_be_trained_on(files, tmp_path):
    _, history = trained(job(files, tmp_path, average_repetitions=False, optimiser={"epochs": 3, "batch_size": 20}))
    assert np.isfinite(history["loss"]).all()


@given(n=st.integers(1, 3000), batch_size=st.integers(2, 600))
def test_no_batch_is_larger_than_asked_for(n, batch_size):
    sizes = [len(part) for part in np.array_split(np.arange(n), loop.steps_of(n, batch_size))]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


class Scale:
    """A learner whose loss pushes the scale out of its range for some epochs, and then into it again."""

    def __init__(self):
        self.model, self.steps = torch.nn.Module(), 0
        self.model.scale = self.scale = torch.nn.Parameter(torch.tensor(4.0))
        self.frozen_epochs = 0

    def once(self, data, rng):
        return data

    def begin(self, epoch):
        pass

    def parameter_groups(self):
        return [{"params": [self.scale], "lr": 0.2, "weight_decay": 0.0}]

    def measured(self):
        return {}

    def settle(self):
        keep_scale(self.scale)

    def loss(self, data, rows, rng):
        self.steps += 1
        return -self.scale if self.steps <= 8 else self.scale


def test_a_scale_at_its_limit_comes_back():
    budget = Optimiser(epochs=12, batch_size=4, lr=0.2, schedule="constant", warmup=0.0)
    data = Pairs([], *[np.zeros(0)] * 4, [np.array([row]) for row in range(8)])
    found = loop.loop(Scale(), budget, data, 0)["scale"]
    assert found.max() == pytest.approx(np.log(100))
    assert found.iloc[-1] < 4.0


@pytest.mark.parametrize("kind", ["contrastive", "ridge"])
def test_tables_do_not_depend_on_the_number_of_threads(files, tmp_path, kind):
    """Sums are made in another order, so parameters may differ in their last digits; ranks and metrics do not."""
    one, found = job(files, tmp_path, optimiser={**SHORT, "epochs": 5}), []
    if kind == "ridge":
        one.settings["method"] = RidgeSettings(tower="tiny").model_dump(mode="json")
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                tensors, _ = trained(one)
                found.append((tensors, *ranked(one, files, tmp_path)))
    finally:
        torch.set_num_threads(before)
    (first, rows, value), (second, again, same) = found
    assert all(torch.allclose(first[name].float(), second[name].float(), rtol=1e-3, atol=1e-4) for name in first)
    assert rows["rank"].tolist() == again["rank"].tolist()
    assert value.equals(same)


def test_divergence_is_reported(files, tmp_path):
    with pytest.raises(stage.InputError, match=r"diverged.*lower optimiser.lr"):
        train.run(job(files, tmp_path, optimiser={"epochs": 60, "batch_size": 20, "lr": 1e30, "clip_norm": 1e30}))


def test_features_of_another_study_are_refused(files, tmp_path):
    other = tmp_path / "other.h5"
    with artefact.create_h5(other, brain_files.MADE) as file:
        file["stimulus_id"] = ["a", "b"]
    one = job(files, tmp_path)
    one.inputs["stimuli"] = [other]
    with pytest.raises(artefact.ArtefactError, match="50 stimuli of the responses are not among its 2"):
        train.run(one)


def test_foreign_settings_in_the_responses_are_refused(files, tmp_path):
    one = job(files, tmp_path)
    one.expects["responses"] = {"stage": "made-by-a-test", "settings": {"a": 2}}
    with pytest.raises(artefact.ArtefactError, match="made by other settings"):
        train.run(one)


def test_tsconv_trains_and_refuses_short_responses(files, tmp_path):
    with pytest.raises(stage.InputError, match="at least"):
        train.run(job(files, tmp_path, encoder={"kind": "tsconv", "width": 32}))
    network = brain_encoder.build(TsConv(width=16), Inputs(5, 250, 250.0))
    assert network(torch.randn(2, 5, 250)).shape == (2, 16)
    assert network[1].kernel_size == (1, 25)
    assert network[0][0].kernel_size == (51,)


@pytest.mark.parametrize(("times", "sfreq"), [(250, 250.0), (100, 100.0), (77, 250.0)])
def test_tsconv_is_convolution_then_mean_over_time_with_the_same_parameters(times, sfreq):
    """As it is published: convolved at every sample, then averaged; layers of those places take its parameters."""
    settings = TsConv(width=16, dropout=0.2)
    torch.manual_seed(0)
    network = brain_encoder.build(settings, Inputs(5, times, sfreq)).double()
    kernel, pool, stride = (max(1, round(seconds * sfreq)) for seconds in (0.1, 0.204, 0.02))
    torch.manual_seed(0)
    published = brain_encoder.build(settings, Inputs(5, times, sfreq))
    published[0] = nn.Unflatten(1, (1, 5))
    published[1] = nn.Conv2d(1, 40, (1, kernel))
    published[2] = nn.AvgPool2d((1, pool), (1, stride))
    published.double().load_state_dict(network.state_dict())
    x = torch.randn(7, 5, times, dtype=torch.float64)
    found = []
    for one in (network, published):
        torch.manual_seed(1)
        out = one(x)
        out.square().mean().backward()
        found.append([out.detach(), *(parameter.grad for parameter in one.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_non_negative_weights_are_so_after_every_step(files, tmp_path):
    encoder = {"kind": "spatial-filters", "width": 16, "filters": 4, "hidden": 8, "smoothing_s": 0.06}
    tensors, _ = trained(job(files, tmp_path, encoder=encoder, optimiser={"epochs": 1, "batch_size": 20}))
    weight = tensors["encoder.1.0.weight"]
    assert weight.shape == (4, 6)
    assert (weight >= 0).all()
    assert (weight == 0).any(), "what a step made negative"


def test_learning_rate_rises_then_falls_to_zero():
    factor = loop.learning_rate(Optimiser(warmup=0.1), 100)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == 1
    assert values[100] == pytest.approx(0)
    assert loop.learning_rate(Optimiser(schedule="constant"), 100)(100) == 1


def test_ridge_weights_are_scikit_learns_on_raw_inputs(files):
    from brain2clip import settings

    responses = load_responses([files / "sub-0.h5"], "train", None, True)
    embedding = np.random.default_rng(0).standard_normal((brain_files.TRAIN + brain_files.TEST, 4))
    concept = np.array([f"c{i // 2}" for i in range(len(embedding))])
    tensors, _ = ridge.fit(responses, embedding, concept, settings.Ridge(label="r", tower="t", alphas=(10.0,)))
    x = responses.values.reshape(len(responses.values), -1)
    y = embedding[responses.stimulus] / np.linalg.norm(embedding[responses.stimulus], axis=1, keepdims=True)
    standard = (x - x.mean(0)) / x.std(0)
    expected = Ridge(alpha=10.0).fit(standard, y).predict(standard)
    found = x @ tensors["weight"].numpy() + tensors["intercept"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
