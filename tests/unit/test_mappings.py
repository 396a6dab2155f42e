import brain_files
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from brain2clip import artefact, stage
from brain2clip.models.mapping_network import MappingNetwork
from brain2clip.models.mappings.vae import divergence
from brain2clip.settings import (
    Augmentation,
    BrainMapping,
    Contrastive,
    LinearNetwork,
    Network,
    Supervision,
    Tower,
    VaeNetwork,
    parse,
)
from brain2clip.training import supervision, train
from brain2clip.training.data import load_each, load_responses, open_stimuli, pairs
from brain2clip.training.method import Study
from brain2clip.training.methods import mapping
from brain2clip.training.predict import Predictor
from brain2clip.training.supervision import Targets

CPU = torch.device("cpu")
VOXELS = (50, 70)
NETWORKS = {
    "linear": {"kind": "linear"},
    "mlp": {"kind": "mlp", "hidden": 48, "dropout": 0.0},
    "vae": {"kind": "vae", "hidden": 48, "latent": 24, "dropout": 0.0},
}
SMALLEST = {"linear": {}, "mlp": {"hidden": 16}, "vae": {"hidden": 16, "latent": 8}}
SMALL = {
    "network": {"subject_width": 40},
    "augmentation": {"noise": 0.1, "dropout": 0.1},
    "optimiser": {"epochs": 40, "batch_size": 20, "lr": 3e-3},
}
SHORT = {"epochs": 2, "batch_size": 20}
TEST = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voxels")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_responses(folder / "eeg.h5", embedding)
    for subject, size in enumerate(VOXELS):
        brain_files.write_voxels(folder / f"sub-{subject}.h5", embedding, size, subject)
    brain_files.write_voxels(folder / "test-is-nan.h5", embedding, VOXELS[0], 0, test_value=np.nan)
    return folder


def job(files, tmp_path, subjects=("sub-0",), joint=False, seed=0, **overrides):
    blocks = {name: {**SMALL.get(name, {}), **overrides.pop(name, {})} for name in [*SMALL, "supervision"]}
    method = BrainMapping.model_validate({"tower": "tiny", **blocks, **overrides}).model_dump(mode="json")
    settings = {
        "method": method,
        "tower": Tower(model="local-dir:nowhere").model_dump(mode="json"),
        "seed": seed,
        "protocol": {"kind": "joint" if joint else "intra-subject"},
        "subjects": [name.removeprefix("sub-") for name in subjects],
    }
    tmp_path.mkdir(exist_ok=True)
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "model.parquet"}
    inputs = {"responses": [files / f"{name}.h5" for name in subjects], "stimuli": [files / "stimuli.h5"]}
    return stage.Job("train", settings, "code", {}, inputs, outputs)


def trained(one):
    train.run(one)
    return artefact.read_tensors(one.outputs["checkpoint"]), artefact.read_table(one.outputs["history"])


def predictor(one, tensors, stimuli, test, subject=None):
    return Predictor(one.settings["method"], one.settings["tower"], tensors, test, stimuli, TEST, subject)


def top1(one, tensors, file, kind="stimulus", subject=None):
    """Share of averaged test responses that find their own candidate; of a class here one stimulus each."""
    test = load_responses([file], "test", None, average=True)
    with open_stimuli(one.inputs["stimuli"][0], None) as stimuli:
        made = predictor(one, tensors, stimuli, test, subject)
        similarity = made.brains(test.values) @ made.candidates(kind).T
    return (similarity.argmax(axis=1) == np.arange(brain_files.TEST)).mean()


# ------------------------------------------------------------------------------------------- networks


@given(st.integers(0, 2**31))
def test_divergence_is_that_of_torch(seed):
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, 5, 7, generator=generator)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=-1)
    torch.testing.assert_close(divergence(mean, log_variance), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("shape", [(30,), (5, 6)])
def test_every_network_takes_voxels_and_channels_by_time(name, shape):
    network = MappingNetwork(parse(Network, {"kind": name, **SMALLEST[name]}), Supervision(), 30, 12)
    z, own_loss = network(torch.randn(4, *shape))
    assert z.shape == (4, 12)
    assert (own_loss is not None and own_loss.item() > 0) is (name == "vae")
    groups = network.parameter_groups(1e-3)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(map(id, network.parameters()))
    assert all(parameter.ndim > 1 for parameter in groups[0]["params"])


def test_the_linear_network_is_one_matrix():
    network = MappingNetwork(LinearNetwork(), Supervision(), 30, 12)
    x = torch.randn(4, 30)
    matrix, bias = network.shared.read_out.weight, network.shared.read_out.bias
    assert torch.equal(network(x)[0], torch.nn.functional.linear(x, matrix, bias))
    assert sum(parameter.numel() for parameter in network.shared.parameters()) == 31 * 12


def test_a_vae_draws_in_training_and_takes_the_mean_in_tests():
    network = MappingNetwork(VaeNetwork(hidden=16, latent=8, dropout=0, blocks=0), Supervision(), 30, 12)
    x = torch.randn(1, 30).expand(4000, -1)
    drawn = network(x)[0]
    mean = network.eval()(x)[0]
    assert drawn.std(dim=0).min() > 0
    assert torch.equal(mean[0], mean[1])
    torch.testing.assert_close(drawn.mean(dim=0), mean[0], atol=0.1, rtol=0)
    hidden = network.shared.trunk(x[:1])
    by_hand = network.shared.read_out(network.shared.mean(hidden))
    torch.testing.assert_close(mean[:1], by_hand)


def test_subjects_have_a_layer_of_their_own_and_share_the_rest():
    network = MappingNetwork(LinearNetwork(subject_width=20), Supervision(), {"01": 30, "keys": 40}, 12)
    assert network(torch.randn(4, 30), "01")[0].shape == network(torch.randn(4, 40), "keys")[0].shape == (4, 12)
    network(torch.randn(4, 30), "01")[0].sum().backward()
    assert network.own["sub-01"].weight.grad.any()
    assert network.own["sub-keys"].weight.grad is None
    assert network.shared.read_out.weight.grad.any()


# ------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("name", NETWORKS)
def test_a_planted_relation_is_learnt(files, tmp_path, name):
    one = job(files, tmp_path, network=NETWORKS[name])
    tensors, history = trained(one)
    assert list(history) == [
        "epoch",
        "loss",
        "scale",
        "lr",
        "held_out_top1",
        "seconds",
        "cpu_seconds",
        "device",
        "pictures_per_s",
        "gpu_memory_gb",
    ]
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]
    for kind in ("stimulus", "caption", "category"):
        assert top1(one, tensors, files / "sub-0.h5", kind) >= 0.5  # chance 0.1


def test_mappings_work_on_eeg(files, tmp_path):
    one = job(files, tmp_path, ("eeg",))
    assert top1(one, trained(one)[0], files / "eeg.h5") >= 0.5


def test_shuffled_labels_give_chance(files, tmp_path):
    values = []
    for seed in range(5):
        one = job(files, tmp_path / str(seed), seed=seed, shuffle_labels=True)
        values.append(top1(one, trained(one)[0], files / "sub-0.h5"))
    assert np.mean(values) < 0.32  # 50 queries at chance 0.1: beyond 99.9 %


def test_labels_are_shuffled_within_each_subject(files):
    sets = load_each([files / "sub-0.h5", files / "sub-1.h5"], "train", None)
    for before, after in zip(sets, train.shuffled(sets, 3)):
        assert (np.sort(after.stimulus) == np.sort(before.stimulus)).all()
        assert (after.stimulus != before.stimulus).mean() > 0.8
    first, second = train.shuffled(sets, 3)
    assert (first.stimulus != second.stimulus).any()


def test_test_trials_are_never_opened(files, tmp_path):
    clean, _ = trained(job(files, tmp_path / "clean"))
    poisoned, _ = trained(job(files, tmp_path / "poisoned", ("test-is-nan",)))
    assert all(torch.equal(clean[name], poisoned[name]) for name in clean)


@pytest.mark.parametrize("joint", [False, True])
def test_the_same_seed_gives_the_same_bytes(files, tmp_path, joint):
    everything = {"network": {**NETWORKS["vae"], "dropout": 0.3}, "augmentation": {"mixco": 0.3}, "optimiser": SHORT}
    subjects = ("sub-0", "sub-1") if joint else ("sub-0",)
    jobs = [job(files, tmp_path / str(n), subjects, joint, seed, **everything) for n, seed in enumerate((0, 0, 1))]
    first, again, other = ((trained(one), one.outputs["checkpoint"].read_bytes())[1] for one in jobs)
    assert first == again
    assert first != other


def test_the_order_of_batches_does_not_depend_on_the_sentences(files, tmp_path):
    """Text of weight 0 and 1e-9 differ by 1e-9 of the text's gradient only, though one draws sentences."""
    without, with_text = (
        trained(job(files, tmp_path / str(text), supervision={"text": text}, optimiser=SHORT))[0] for text in (0, 1e-9)
    )
    for name, value in without.items():
        torch.testing.assert_close(with_text[name].float(), value.float(), atol=1e-4, rtol=1e-3)


def test_the_epoch_is_chosen_on_held_out_concepts(files, tmp_path):
    one = job(files, tmp_path, selection={"rule": "held-out-concepts", "share": 0.2}, optimiser={"epochs": 12})
    _, history = trained(one)
    assert history["held_out_top1"].iloc[-1] == history["held_out_top1"].max() > 0
    assert len(history) <= 12


@pytest.mark.parametrize("joint", [False, True])
def test_a_context_is_learnt_on_predictions_of_networks_that_did_not_see_the_concept(files, monkeypatch, joint):
    names = ("sub-0", "sub-1") if joint else ("sub-0",)
    settings = BrainMapping(tower="t", classifier={"kind": "context", "folds": 4}, optimiser={"epochs": 2})
    sets = [load_responses([files / f"{name}.h5"], "train", None, True) for name in names]
    trained_on, plain = [], mapping.loop
    monkeypatch.setattr(
        mapping, "loop", lambda learner, budget, data, *rest, **more: (
            trained_on.append(set(data.stimulus)), plain(learner, budget, data, *rest, **more))
    )  # fmt: skip
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        concept = stimuli["concept"].asstr()[:]
        targets = Targets.of(stimuli, settings.supervision, sets[0].stimulus, CPU)
        study = Study(sets, list(names) if joint else None, stimuli, Tower(model="local-dir:nowhere"), 0, CPU)
        brains, stimulus = mapping.Method(settings)._left_out(study, targets, epochs=1)
    assert sorted(stimulus) == sorted(np.concatenate([one.stimulus for one in sets]))
    assert brains.shape == (len(stimulus), 24)
    start = 0
    for seen in trained_on:
        rest = {row for row in range(brain_files.TRAIN) if row not in seen}
        assert not {concept[row] for row in seen} & {concept[row] for row in rest}
        own = stimulus[start : start + len(names) * len(rest)]
        assert set(own) == rest, "predicted by the network that did not see them"
        start += len(own)
    assert len(trained_on) == 4


def test_a_vae_pays_for_its_posterior(files, tmp_path):
    def distance(kl):
        one = job(files, tmp_path / str(kl), network={**NETWORKS["vae"], "kl": kl})
        tensors, _ = trained(one)
        settings = BrainMapping.model_validate(one.settings["method"]).network
        network = MappingNetwork(settings, Supervision(), VOXELS[0], 24)
        network.load_state_dict(tensors, strict=False)
        values = load_responses([files / "sub-0.h5"], "train", None, True).values
        with torch.no_grad():
            return network.eval()(torch.from_numpy(values))[1] / kl

    assert distance(1.0) < 0.2 * distance(1e-4)


def test_learners_loss_is_the_sum_of_its_parts(files):
    """Augmentation off, no dropout: image, text and prior by hand."""
    settings = BrainMapping.model_validate(
        {
            "tower": "t",
            "network": {"kind": "vae", "hidden": 16, "latent": 8, "dropout": 0, "kl": 0.1},
            "augmentation": {"noise": 0, "dropout": 0},
            "supervision": {"text": 0.25},
        }
    )
    sets = [load_responses([files / "sub-0.h5"], "train", None, True)]
    data = pairs(sets, np.arange(len(sets[0].stimulus)), CPU)
    rows = np.arange(12)
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        targets = Targets.of(stimuli, settings.supervision, data.stimulus, CPU)
        model = mapping.build(settings, sets, None, targets.readout, CPU).eval()
    learner = mapping.MappingLearner(model, settings, targets, None)
    z, _ = model(data.responses[0][:12])
    hidden = model.shared.trunk(data.responses[0][:12])
    kl = divergence(model.shared.mean(hidden), model.shared.log_variance(hidden))
    contrast = targets.loss(z, data.stimulus[rows], model.scale, settings.supervision, np.random.default_rng(0))
    found = learner.loss(data, rows, np.random.default_rng(0))
    torch.testing.assert_close(found, contrast + 0.1 * kl.mean())


# ---------------------------------------------------------------------------------------------- joint


def test_subjects_with_other_voxels_train_one_model(files, tmp_path):
    one = job(files, tmp_path, ("sub-0", "sub-1"), joint=True)
    tensors, _ = trained(one)
    assert {name for name in tensors if name.startswith("own.")} == {
        f"own.sub-{subject}.{part}" for subject in (0, 1) for part in ("weight", "bias")
    }
    for subject in (0, 1):
        assert top1(one, tensors, files / f"sub-{subject}.h5", subject=str(subject)) >= 0.5


def test_a_joint_batch_has_all_responses_to_its_pictures_and_mixes_within_a_subject(files):
    sets = load_each([files / "sub-0.h5", files / "sub-1.h5"], "train", None, True)
    data = pairs(sets, np.arange(2 * brain_files.TRAIN), CPU)
    assert all(sorted(data.part[unit]) == [0, 1] for unit in data.units)
    rows = np.concatenate(data.units[:5])
    for number, own, values in data.take(rows):
        expected = sets[number].values[np.searchsorted(sets[number].stimulus, data.stimulus[own])]
        assert (values.numpy() == expected).all()
    settings = BrainMapping(tower="t", augmentation=Augmentation(mixco=0.4))
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        targets = Targets.of(stimuli, settings.supervision, data.stimulus, CPU)
        model = mapping.build(settings, sets, ["0", "1"], targets.readout, CPU)
        learner = mapping.MappingLearner(model, settings, targets, ["0", "1"])
    partner = learner._mixture([7, 9]).partner
    assert sorted(partner[:7].tolist()) == list(range(7))
    assert sorted(partner[7:].tolist()) == list(range(7, 16))
    assert torch.isfinite(learner.loss(data, rows, np.random.default_rng(0)))


def test_rows_left_out_of_pairs_are_found_by_place(files):
    sets = load_each([files / "sub-0.h5", files / "sub-1.h5"], "train", None, True)
    rows = np.array([3, 10, 39, 41, 79])
    data = pairs(sets, rows, CPU)
    assert data.stimulus.tolist() == [3, 10, 39, 1, 39]
    found = {int(row): values for _, own, part in data.take(np.arange(5)) for row, values in zip(own, part)}
    for number, row in enumerate(rows):
        source = sets[row // brain_files.TRAIN].values[row % brain_files.TRAIN]
        assert (found[number].numpy() == source).all()


# ------------------------------------------------------------------------------------------- refusals


def test_a_joint_model_refuses_strangers_and_other_voxels(files, tmp_path):
    one = job(files, tmp_path, ("sub-0", "sub-1"), joint=True, optimiser=SHORT)
    tensors, _ = trained(one)
    for subject, match in (
        ("7", "jointly on the subjects 0, 1; it has no input layer for '7'"),
        (None, "no input layer for None"),
        ("1", "trained on the voxels sub-1-voxel-0000.* these responses have sub-0-voxel-0000"),
    ):
        with pytest.raises(stage.InputError, match=match):
            top1(one, tensors, files / "sub-0.h5", subject=subject)


def test_voxels_of_two_subjects_cannot_be_one_set(files, tmp_path):
    with pytest.raises(stage.InputError, match=r"sub-1.h5: other voxels .* protocol intra-subject, or joint"):
        train.run(job(files, tmp_path, ("sub-0", "sub-1")))


def test_joint_is_for_mappings(files, tmp_path):
    one = job(files, tmp_path, ("sub-0", "sub-1"), joint=True)
    one.settings["method"] = {"kind": "ridge", "tower": "t"}
    with pytest.raises(stage.InputError, match=r"joint takes methods with an input layer .* mapping; found ridge"):
        train.run(one)


# --------------------------------------------------------------------------- other methods on voxels


VISUALS = {"frozen": {"kind": "frozen"}, "neuroclip": {"kind": "neuroclip", "fusion": {"width": 16, "heads": 2}}}


def contrastive(files, tmp_path, kind, encoder=None):
    one = job(files, tmp_path)
    method = {
        "tower": "tiny",
        "encoder": {"width": 32, "dropout": 0.0, **(encoder or {})},
        "brain_head": {"width": 24},
        "visual": {**VISUALS[kind], "head": {"width": 24}},
        "optimiser": {"epochs": 60, "batch_size": 20, "lr": 3e-3},
    }
    one.settings["method"] = Contrastive.model_validate(method).model_dump(mode="json")
    model = brain_files.save_tower(files / "tower")
    one.settings["tower"] = Tower(model=model).model_dump(mode="json")
    return one


@pytest.mark.parametrize("kind", ["frozen", "neuroclip"])
def test_neuroclip_and_its_baseline_learn_from_voxels(files, tmp_path, kind):
    one = contrastive(files, tmp_path, kind)
    assert top1(one, trained(one)[0], files / "sub-0.h5") >= 0.5


def test_an_encoder_over_time_refuses_voxels(files, tmp_path):
    with pytest.raises(stage.InputError, match=r"tsconv .* no time axis; take encoder.kind: eegproject"):
        train.run(contrastive(files, tmp_path, "frozen", encoder={"kind": "tsconv"}))


def test_voxels_are_averaged_within_stimuli(files):
    single = load_responses([files / "sub-0.h5"], "train", None)
    mean = load_responses([files / "sub-0.h5"], "train", None, average=True)
    assert single.values.shape == (brain_files.TRAIN * brain_files.REPETITIONS, VOXELS[0])
    assert (mean.stimulus == np.arange(brain_files.TRAIN)).all()
    np.testing.assert_allclose(mean.values[3], single.values[single.stimulus == 3].mean(axis=0), rtol=1e-5)
    assert mean.sfreq == 0
    assert len(mean.times) == 0
    assert mean.channel[1] == "sub-0-voxel-0001"


def test_the_retrieval_part_of_mindeye_mixes_for_a_third_of_the_epochs_and_is_soft_after_it(
    files, tmp_path, monkeypatch
):
    seen = []

    def hard(z, target, identity, scale, mixture=None):
        seen.append(
            (round(float(scale.exp()), 2), None if mixture is None else float((mixture.share < 1).float().mean()))
        )
        return contrast(z, target, identity, scale, mixture)

    def soft(z, target, temperature):
        seen.append(temperature)
        return soft_contrast(z, target, temperature)

    def drawn(*given):
        seen.append("mixed")
        return draw_mixture(*given)

    draw_mixture = mapping.draw_mixture
    monkeypatch.setattr(mapping, "draw_mixture", drawn)
    contrast, soft_contrast = supervision.contrast, supervision.soft_contrast
    monkeypatch.setattr(supervision, "contrast", hard)
    monkeypatch.setattr(supervision, "soft_contrast", soft)
    mindeye = {"text": 0.0, "temperature": 0.006, "softclip": {}, "learn_scale": False}
    one = job(
        files, tmp_path, supervision=mindeye, augmentation={"mixco": 0.15, "mixed": 0.5},
        optimiser={"epochs": 3, "batch_size": 20},
    )  # fmt: skip
    _, history = trained(one)
    assert history["loss"].notna().all()
    assert seen[:4:2] == ["mixed"] * 2
    (scales, mixed), after = zip(*seen[1:4:2]), seen[4:]
    assert set(scales) == {166.67}
    assert all(0.1 < share < 0.9 for share in mixed)
    assert after == [0.004, 0.004, 0.0075, 0.0075]
