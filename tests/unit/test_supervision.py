import brain_files
import h5py
import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from brain2clip.settings import Augmentation, SoftClip, Supervision
from brain2clip.stage import InputError
from brain2clip.training.augmentation import Mixture, disturb, draw_mixture
from brain2clip.training.data import Stimuli
from brain2clip.training.supervision import Targets, contrast, shared_targets, soft_contrast
from brain2clip.training.texts import Texts

SEEDS = st.integers(0, 2**31)
CPU = torch.device("cpu")
SCALE = torch.tensor(2.0)
TRAINING = np.arange(brain_files.TRAIN)


def example(seed, n=6, d=5):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, generator=generator) for _ in range(2))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("stimuli") / "stimuli.h5"
    brain_files.write_stimuli(path)
    return path


@pytest.fixture
def stimuli(path):
    with h5py.File(path) as file:
        yield Stimuli(file)


class Copy(dict):
    """Datasets of a stimuli file in memory, so that a test can change one."""

    def __init__(self, path, **changed):
        with h5py.File(path) as file:
            super().__init__({name: Dataset(values[:], file[name]) for name, values in file.items()})
        self.update({name: Dataset(np.asarray(values)) for name, values in changed.items()})


class Dataset:
    def __init__(self, values, source=None):
        self.values = values
        self.text = source.asstr()[:] if source is not None and values.dtype == object else values

    def __getitem__(self, key):
        return self.values[key]

    def asstr(self):
        return self.text

    @property
    def shape(self):
        return self.values.shape


# ------------------------------------------------------------------------------------------- contrast


@given(seed=SEEDS)
def test_distinct_targets_give_plain_info_nce(seed):
    z, target = example(seed)
    ours = contrast(z, target, torch.arange(6), SCALE)
    unit, other = F.normalize(z, dim=-1), F.normalize(target, dim=-1)
    torch.testing.assert_close(ours, open_clip.ClipLoss()(unit, other, SCALE.exp()))
    scores, own = SCALE.exp() * unit @ other.T, torch.arange(6)
    torch.testing.assert_close(ours, (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2)


@given(seed=SEEDS, identity=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_equal_targets_share_the_mass_in_both_directions(seed, identity):
    z, target = example(seed)
    target = target[torch.tensor(identity)]
    ours = contrast(z, target, torch.tensor(identity), SCALE)
    scores = (SCALE.exp() * F.normalize(z, dim=-1) @ F.normalize(target, dim=-1).T).double().numpy()
    terms = []
    for table in (scores, scores.T):
        for i, row in enumerate(table):
            positives = [j for j in range(6) if identity[j] == identity[i]]
            terms.append(np.log(np.exp(row).sum()) - row[positives].mean())
    assert ours.item() == pytest.approx(np.mean(terms), rel=1e-4, abs=1e-5)


@given(seed=SEEDS, identity=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_the_order_of_a_batch_changes_nothing(seed, identity):
    z, target = example(seed)
    identity = torch.tensor(identity)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    mixture = Mixture(torch.rand(6, generator=torch.Generator().manual_seed(seed)), order.roll(1))
    back = torch.argsort(order)
    turned = Mixture(mixture.share[order], back[mixture.partner[order]])
    for one, other in ((None, None), (mixture, turned)):
        before = contrast(z, target, identity, SCALE, one)
        torch.testing.assert_close(contrast(z[order], target[order], identity[order], SCALE, other), before)


def test_a_scale_that_is_not_kept_is_refused():
    for wrong in (-0.1, 4.7):
        with pytest.raises(ValueError, match="scale_init"):
            Supervision(scale_init=wrong)


@given(identity=st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_shared_targets_are_distributions_over_the_equal_ones(identity):
    target = shared_targets(torch.tensor(identity))
    torch.testing.assert_close(target.sum(1), torch.ones(len(identity)))
    torch.testing.assert_close(target, target.T)
    assert ((target > 0).numpy() == np.equal.outer(identity, identity)).all()


# --------------------------------------------------------------------------------- MixCo, noise, dropout


def test_a_share_of_one_mixes_nothing():
    z, target = example(1)
    partner = torch.randperm(6)
    whole = Mixture(torch.ones(6), partner)
    assert torch.equal(whole.of(z), z)
    own = torch.arange(6)
    torch.testing.assert_close(contrast(z, target, own, SCALE, whole), contrast(z, target, own, SCALE))


@given(seed=SEEDS)
def test_mixed_responses_have_both_targets_by_their_shares(seed):
    z, target = example(seed)
    generator = torch.Generator().manual_seed(seed)
    share, partner = torch.rand(6, generator=generator), torch.randperm(6, generator=generator)
    log_rows = (SCALE.exp() * F.normalize(z, dim=-1) @ F.normalize(target, dim=-1).T).log_softmax(1)
    log_columns = (SCALE.exp() * F.normalize(target, dim=-1) @ F.normalize(z, dim=-1).T).log_softmax(1)
    rows = -torch.stack([share[i] * log_rows[i, i] + (1 - share[i]) * log_rows[i, partner[i]] for i in range(6)]).mean()
    columns = []
    for j in range(6):
        weight = torch.tensor([share[i] * (i == j) + (1 - share[i]) * (partner[i] == j) for i in range(6)])
        columns.append(-(weight / weight.sum() * log_columns[j]).sum())
    ours = contrast(z, target, torch.arange(6), SCALE, Mixture(share, partner))
    torch.testing.assert_close(ours, (rows + torch.stack(columns).mean()) / 2, rtol=1e-4, atol=1e-5)


def test_shares_are_of_the_beta_distribution():
    torch.manual_seed(0)
    drawn = draw_mixture(20000, 0.4, CPU)
    assert sorted(drawn.partner.tolist()) == list(range(20000))
    assert drawn.share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert drawn.share.var().item() == pytest.approx(0.25 / 1.8, abs=0.01)  # 1 / (4 (2x + 1))


def test_augmentation_off_is_the_response_itself():
    x = example(0)[0]
    assert disturb(x, Augmentation(noise=0, dropout=0)) is x


def test_noise_and_dropout_have_the_size_of_the_settings():
    torch.manual_seed(0)
    x = torch.ones(200, 500)
    noisy = disturb(x, Augmentation(noise=0.3, dropout=0)) - x
    assert noisy.std().item() == pytest.approx(0.3, rel=0.02)
    dropped = disturb(x, Augmentation(noise=0, dropout=0.2))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)


# -------------------------------------------------------------------------------------------- targets


def gradient(targets, settings, z, stimulus):
    z = z.clone().requires_grad_(True)
    targets.loss(z, stimulus, SCALE, settings, np.random.default_rng(0)).backward()
    return z.grad


def test_lambda_0_is_exactly_the_image_only_gradient(stimuli):
    stimulus = np.array([3, 1, 4, 1, 5])
    z = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    settings = Supervision(text=0)
    ours = gradient(Targets.of(stimuli, settings, TRAINING, CPU), settings, z, stimulus)
    alone = z.clone().requires_grad_(True)
    image = F.normalize(torch.from_numpy(stimuli["embedding"][:][stimulus]), dim=-1)
    contrast(alone, image, torch.from_numpy(stimulus), SCALE).backward()
    assert torch.equal(ours, alone.grad)


def test_lambda_0_needs_no_text_and_lambda_1_no_picture(path):
    stimulus = np.array([3, 1, 4, 1, 5])
    z = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    usual = Copy(path)
    for text, changed in ((0, {"sentence_embedding": "nan"}), (1, {"embedding": "nan"})):
        settings = Supervision(text=text)
        poisoned = Copy(path, **{name: np.full_like(usual[name].values, np.nan) for name in changed})
        expected = gradient(Targets.of(Stimuli(usual), settings, TRAINING, CPU), settings, z, stimulus)
        found = gradient(Targets.of(Stimuli(poisoned), settings, TRAINING, CPU), settings, z, stimulus)
        assert torch.equal(found, expected)
        assert found.any()


def test_in_between_both_are_weighted(stimuli):
    stimulus, z = np.array([3, 1, 4, 1, 5]), torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    values = {}
    for text in (0, 0.3, 1):
        settings = Supervision(text=text)
        targets = Targets.of(stimuli, settings, TRAINING, CPU)
        values[text] = targets.loss(z, stimulus, SCALE, settings, np.random.default_rng(0))
    torch.testing.assert_close(values[0.3], 0.7 * values[0] + 0.3 * values[1])


def test_pictures_of_one_class_share_their_prompt_unless_told_otherwise(stimuli):
    stimulus = np.array([0, 1, 2, 3])  # two concepts
    z = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))
    links = stimuli["prompt_link"][:]
    prompt = torch.from_numpy(stimuli["sentence_embedding"][:][links[np.isin(links[:, 0], stimulus), 1]])
    for multi_positive, identity in ((True, [0, 0, 1, 1]), (False, [0, 1, 2, 3])):
        settings = Supervision(text=1, sentences=("prompts",), multi_positive=multi_positive)
        targets = Targets.of(stimuli, settings, TRAINING, CPU)
        found = targets.loss(z, stimulus, SCALE, settings, np.random.default_rng(0))
        torch.testing.assert_close(found, contrast(z, prompt, torch.tensor(identity), SCALE))


def test_without_pictures_equal_prompts_are_equal_targets(path):
    """A study of text candidates: its image targets are prompts, of which a class has one for all its stimuli."""
    prompts = Copy(path)["prompt_embedding"].values
    settings = Supervision(text=0)
    targets = Targets.of(Stimuli(Copy(path, embedding=prompts)), settings, TRAINING, CPU)
    z, stimulus = torch.randn(4, 24, generator=torch.Generator().manual_seed(0)), np.array([0, 1, 2, 3])
    found = targets.loss(z, stimulus, SCALE, settings, np.random.default_rng(0))
    expected = contrast(z, torch.from_numpy(prompts[stimulus]), torch.tensor([0, 0, 1, 1]), SCALE)
    torch.testing.assert_close(found, expected)


def test_centres_are_means_over_training_stimuli_only(path):
    settings = Supervision(text=0.5, centre=True)
    usual = Copy(path)
    moved = usual["embedding"].values.copy()
    moved[brain_files.TRAIN :] += 100
    targets = Targets.of(Stimuli(usual), settings, TRAINING, CPU)
    torch.testing.assert_close(targets.image(slice(brain_files.TRAIN)).mean(0), torch.zeros(24), atol=1e-6, rtol=0)
    texts = Texts(usual)
    centred = torch.from_numpy(texts.means(TRAINING)) - targets.text_centre
    torch.testing.assert_close(centred.mean(0), torch.zeros(24), atol=1e-6, rtol=0)
    again = Targets.of(Stimuli(Copy(path, embedding=moved)), settings, TRAINING, CPU)
    assert torch.equal(again.centres["stimulus_centre"], targets.centres["stimulus_centre"])


def test_a_training_stimulus_without_a_sentence_is_refused_where_text_is_asked_for(path):
    links = Copy(path)["caption_link"].values
    bare = Copy(path, caption_link=links[links[:, 0] != 7])
    settings = Supervision(text=0.5, sentences=("captions",))
    with pytest.raises(InputError, match=r"supervision.text: 0.5 needs .* 1 of 40 have no captions.* train-007"):
        Targets.of(Stimuli(bare), settings, TRAINING, CPU)
    Targets.of(Stimuli(bare), settings, np.delete(TRAINING, 7), CPU)
    Targets.of(Stimuli(bare), Supervision(text=0, sentences=("captions",)), TRAINING, CPU)
    Targets.of(Stimuli(bare), Supervision(text=0.5), TRAINING, CPU)  # it has a prompt


# ------------------------------------------------------------------------------------------ sentences


@pytest.mark.parametrize(
    ("sources", "expected"), [(("captions",), {3, 53}), (("prompts",), {101}), (("captions", "prompts"), {3, 53, 101})]
)
def test_sentences_are_drawn_evenly_from_the_enabled_sources(stimuli, sources, expected):
    names = sorted(set(stimuli["concept"].asstr()[:]))
    expected = {number if number != 101 else 100 + names.index("train-concept-1") for number in expected}
    drawn = Texts(stimuli, sources).draw(np.full(6000, 3), np.random.default_rng(0))
    numbers, counts = np.unique(drawn, return_counts=True)
    assert set(numbers) == expected
    assert np.abs(counts / 6000 - 1 / len(expected)).max() < 0.03


def test_draws_are_seeded(stimuli):
    texts = Texts(stimuli)
    first, again, other = (texts.draw(TRAINING, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_mean_sentences_are_those_of_the_features(stimuli):
    rows = np.arange(len(stimuli["stimulus_id"]))
    for source, name in (("captions", "caption_embedding"), ("prompts", "prompt_embedding")):
        np.testing.assert_allclose(Texts(stimuli, (source,)).means(rows), stimuli[name][:], atol=1e-6)


# ---------------------------------------------------------------------------------------------- SoftCLIP


@given(seed=SEEDS, temperature=st.sampled_from([0.004, 0.1, 1.0]))
def test_softclip_by_hand(seed, temperature):
    z, target = (one.double().numpy() for one in example(seed))
    t, z_unit = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (target, z))
    terms = []
    for i in range(6):
        wanted = np.exp((t[i] @ t.T - 1) / temperature)
        wanted /= wanted.sum()
        for scores in (z_unit[i] @ t.T / temperature, t[i] @ z_unit.T / temperature):  # of a response, of a target
            terms.append(np.log(np.exp(scores - scores.max()).sum()) - wanted @ (scores - scores.max()))
    found = soft_contrast(*example(seed), temperature)
    assert found.item() == pytest.approx(np.mean(terms), rel=1e-3, abs=1e-3)


def test_equal_targets_share_the_mass_of_softclip():
    identity = torch.tensor([0, 0, 1, 2, 2, 2])
    z, target = example(1)[0], example(0)[1][identity]
    found = soft_contrast(z, target, 1e-3)  # so cold that only equal targets have mass
    torch.testing.assert_close(found, contrast(z, target, identity, torch.tensor(1e3).log()), rtol=1e-4, atol=1e-3)


def test_the_temperature_of_softclip_begins_after_a_third_and_rises_by_half_a_cosine():
    soft = SoftClip()
    found = [soft.temperature(epoch, 10) for epoch in range(1, 11)]
    part = np.arange(7) / 6
    assert found[:3] == [None] * 3
    np.testing.assert_allclose(found[3:], 0.0075 - 0.0035 * (1 + np.cos(np.pi * part)) / 2)
    assert (found[3], found[-1]) == (0.004, 0.0075)
    assert SoftClip(after=0.0).temperature(1, 1) == 0.004
    assert [SoftClip(after=0.9).temperature(epoch, 2) for epoch in (1, 2)] == [None, 0.004]


def test_a_fixed_temperature_takes_the_place_of_the_scale(stimuli):
    stimulus = np.array([3, 1, 4, 2, 5])
    z = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    image = F.normalize(torch.from_numpy(stimuli["embedding"][:][stimulus]), dim=-1)
    settings = Supervision(text=0, temperature=0.006)
    targets = Targets.of(stimuli, settings, TRAINING, CPU)
    found = targets.loss(z, stimulus, torch.tensor(torch.nan), settings, np.random.default_rng(0))
    torch.testing.assert_close(
        found, open_clip.ClipLoss()(F.normalize(z, dim=-1), image, 1 / 0.006), rtol=1e-4, atol=1e-5
    )
    soft = targets.loss(z, stimulus, SCALE, settings, np.random.default_rng(0), soft=0.05)
    torch.testing.assert_close(soft, soft_contrast(z, image, 0.05))


def test_some_responses_are_mixed_and_the_others_stay_as_they_are():
    torch.manual_seed(0)
    all_of_them = draw_mixture(20_000, 0.15, CPU)
    torch.manual_seed(0)
    some = draw_mixture(20_000, 0.15, CPU, 0.2)
    assert torch.equal(some.partner, all_of_them.partner)
    kept = some.share == 1
    assert (some.share[~kept] == all_of_them.share[~kept]).all()
    assert ((some.share == 1) & (all_of_them.share < 1)).float().mean().item() == pytest.approx(0.8, abs=0.02)
