"""The ideal observer against the exact likelihood, where the noise is Gaussian and its covariance is known."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
import pytest
from scipy.linalg import cho_factor
from scipy.stats import multivariate_normal

from brain2clip import artefact, settings, stage
from brain2clip.responses.epoching import epochs_of
from brain2clip.retrieval import ceiling, truth

MADE = artefact.Provenance("made-by-a-test", {}, "code")
CHANNELS, TIMES, SFREQ = 3, 6, 50.0
SIZE = CHANNELS * TIMES
TRAIN, TEST, COMPONENTS, SESSIONS = 60, 12, 4, 2
TRAINING_REPETITIONS, TEST_REPETITIONS = 60, 60
# No filter, no baseline, no change of rate: the templates are the truth itself.
PLAIN = {"tmin": 0.0, "tmax": TIMES / SFREQ, "baseline": None, "sfreq": SFREQ}


def covariance(kind: str) -> np.ndarray:
    """Noise of single trials: white, or strongly correlated over channels and times."""
    if kind == "white":
        return 4.0 * np.eye(SIZE)
    mixing = np.random.default_rng(11).standard_normal((SIZE, 4))
    return 3.0 * mixing @ mixing.T + 0.5 * np.eye(SIZE)


@dataclass
class World:
    """Templates [S, G, P] as the sessions see them, and the test trials of an artefact."""

    templates: np.ndarray
    values: np.ndarray
    target: np.ndarray
    session: np.ndarray
    noise_mean: np.ndarray


def write_world(folder, kind: str, offset: float = 1.0, seed: int = 0) -> World:
    """Truth, responses and stimuli artefacts of one subject.

    Each session is whitened by an operator of its own and has a noise mean of its own, ``offset`` times a random one.
    """
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((TRAIN + TEST, COMPONENTS))
    basis = rng.standard_normal((COMPONENTS, CHANNELS, TIMES)) * 0.5
    evoked = 5 * rng.standard_normal((CHANNELS, TIMES))
    operators = np.eye(CHANNELS) + 0.3 * rng.standard_normal((SESSIONS, CHANNELS, CHANNELS))
    mean = rng.standard_normal((SESSIONS, SIZE))
    clean = np.einsum("sce,net->snct", operators, evoked + np.tensordot(weights, basis, axes=1))
    clean = clean.reshape(SESSIONS, TRAIN + TEST, SIZE)
    repetitions = np.repeat([TRAINING_REPETITIONS, TEST_REPETITIONS], [TRAIN, TEST])
    stimulus = np.repeat(np.arange(TRAIN + TEST), repetitions)
    session = np.arange(len(stimulus)) % SESSIONS
    noise = rng.standard_normal((len(stimulus), SIZE)) @ np.linalg.cholesky(covariance(kind)).T
    values = clean[session, stimulus] + offset * mean[session] + noise
    split = (stimulus >= TRAIN).astype(np.uint8)
    with artefact.create_h5(folder / "truth.h5", MADE) as file:
        file.attrs["sfreq"] = SFREQ
        file["times"] = np.arange(TIMES) / SFREQ
        file["channel"] = [f"E{index}" for index in range(CHANNELS)]
        # Every file lists the stimuli in an order of its own: ids tell which is which.
        ids = [f"s-{row:02d}" for row in range(TRAIN + TEST)]
        file["weights"], file["basis"], file["evoked"], file["stimulus_id"] = weights[::-1], basis, evoked, ids[::-1]
    with artefact.create_h5(folder / "responses.h5", MADE) as file:
        file["stimulus_id"] = ids
        file["response"] = values.astype(np.float32).reshape(-1, CHANNELS, TIMES)
        file["stimulus"], file["split"] = stimulus.astype(np.int32), split
        file["session"] = [f"0{number + 1}" for number in session]
        for number in range(SESSIONS):
            file[f"whitening/0{number + 1}/operator"] = operators[number]
            file[f"whitening/0{number + 1}/mean"] = np.zeros(CHANNELS)
    with artefact.create_h5(folder / "stimuli.h5", MADE) as file:
        file["split"] = ["train"] * TRAIN + ["test"] * TEST
        for name in ("stimulus_id", "concept", "caption"):
            file[name] = [f"{name[0]}-{row:02d}" for row in range(TRAIN + TEST)]
    test = split == 1
    return World(clean[:, TRAIN:], values[test], stimulus[test] - TRAIN, session[test], offset * mean)


def observe(folder):
    """Single-trial and averaged retrieval rows of the stage."""
    given = {
        "run": {"study": "s", "signal": "b", "protocol": "p", "method": "ceiling", "subject": "01", "seed": 0},
        "band": {},
        "responses": PLAIN,
        "retrieval": {"repetitions": [1, 4]},
    }
    inputs = {name: [folder / f"{name}.h5"] for name in ("truth", "responses", "stimuli")}
    outputs = {"rows": folder / "rows.parquet"}
    ceiling.run(stage.Job("ceiling", given, "code", {}, inputs, outputs))
    return artefact.read_table(outputs["rows"])


def top1(scores: np.ndarray, target: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == target).mean())


def likelihoods(world: World, noise: np.ndarray) -> np.ndarray:
    """Log density [Q, G] of every test trial under every candidate, by the definition."""
    centred = world.values - world.noise_mean[world.session]
    means = world.templates[world.session]
    zero = np.zeros(SIZE)
    return np.stack(
        [multivariate_normal(zero, noise).logpdf(centred - means[:, g]) for g in range(means.shape[1])], axis=1
    )


# -------------------------------------------------------------------------------------- the discriminant


def test_discriminants_are_log_densities_up_to_what_all_candidates_share():
    """Of means over 6 trials of two sessions: noise covariance S / 6, template mixed by the sessions' shares."""
    rng = np.random.default_rng(4)
    noise = covariance("correlated")
    templates = rng.standard_normal((2, 9, SIZE))
    share = np.array([[1, 0], [0, 1], [0.5, 0.5], [1 / 3, 2 / 3], [0.5, 0.5]])
    mean = 3 * rng.standard_normal((len(share), SIZE))
    scores = ceiling.discriminants(mean, share, templates, cho_factor(noise))
    for query, mixture in enumerate(share):
        mixed = np.tensordot(mixture, templates, axes=1)
        density = np.array([multivariate_normal(one, noise / 6).logpdf(mean[query]) for one in mixed])
        np.testing.assert_allclose(6 * (scores[query] - scores[query, 0]), density - density[0], rtol=1e-8, atol=1e-8)
        assert list(np.argsort(scores[query])) == list(np.argsort(density))


# ------------------------------------------------------------------------------------- the whole stage


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_the_observer_is_the_exact_likelihood_classifier(tmp_path, kind):
    """The stage estimates the covariance from 3,600 training trials; the classifier here is given it."""
    world = write_world(tmp_path, kind)
    rows = observe(tmp_path)
    exact = likelihoods(world, covariance(kind))
    single = rows[rows["repetitions"] == "1"]
    assert len(single) == len(exact) == TEST * TEST_REPETITIONS
    observed, ideal = (single["rank"] == 1).mean(), top1(exact, world.target)
    assert 0.3 < ideal < 0.95, "too easy or too hard to tell anything"
    assert observed == pytest.approx(ideal, abs=0.015)
    # Averages of four trials are far easier; the observer uses them.
    assert (rows[rows["repetitions"] == "4"]["rank"] == 1).mean() > observed + 0.04


def test_no_classifier_that_knows_less_is_better(tmp_path):
    """The nearest true template, without the covariance, in eight worlds; the exact classifier is the bound."""
    found = {"observer": [], "nearest template": [], "exact": []}
    for seed in range(8):
        world = write_world(tmp_path / str(seed), "correlated", seed=seed)
        rows = observe(tmp_path / str(seed))
        found["observer"].append((rows[rows["repetitions"] == "1"]["rank"] == 1).mean())
        centred = world.values - world.noise_mean[world.session]
        distance = np.linalg.norm(centred[:, None] - world.templates[world.session], axis=2)
        found["nearest template"].append(top1(-distance, world.target))
        found["exact"].append(top1(likelihoods(world, covariance("correlated")), world.target))
    assert np.all(np.array(found["observer"]) > found["nearest template"])
    assert np.mean(found["observer"]) > np.mean(found["nearest template"]) + 0.1
    assert np.mean(found["observer"]) < np.mean(found["exact"]) + 0.005


def test_with_white_noise_the_nearest_template_is_as_good(tmp_path):
    world = write_world(tmp_path, "white")
    rows = observe(tmp_path)
    centred = world.values - world.noise_mean[world.session]
    nearest = top1(-np.linalg.norm(centred[:, None] - world.templates[world.session], axis=2), world.target)
    assert (rows[rows["repetitions"] == "1"]["rank"] == 1).mean() == pytest.approx(nearest, abs=0.015)


def test_the_mean_of_the_noise_does_not_matter(tmp_path):
    ranks = []
    for offset in (0.0, 20.0):
        write_world(tmp_path / str(offset), "correlated", offset=offset)
        ranks.append(observe(tmp_path / str(offset))["rank"].to_numpy())
    assert (ranks[0] == ranks[1]).mean() > 0.999  # the offset costs digits of the stored fp32


# ------------------------------------------------------------------------------------------- the truth


@pytest.mark.parametrize(
    ("band", "responses"),
    [
        ({"l_freq": 0.5, "h_freq": 20.0}, {"tmin": -0.2, "tmax": 0.8, "sfreq": 50.0}),
        ({"l_freq": 6.0, "h_freq": 20.0}, {"tmin": -0.1, "tmax": 0.5, "baseline": None, "sfreq": 125.0}),
        ({"h_freq": 30.0, "notch": [50.0]}, {"crop": [0.0, 0.6], "sfreq": 100.0, "resampling": "epochs"}),
        ({"l_freq": 1.0}, {"channels": ["E3", "E1"], "reference": "average", "sfreq": 50.0}),
    ],
)
def test_processed_factors_make_the_processed_templates(tmp_path, band, responses):
    """Filtering the factors and mixing them equals mixing them and filtering (each picture in a recording alone)."""
    rng = np.random.default_rng(2)
    sfreq, times = 250.0, np.arange(-50, 200) / 250.0
    names = [f"E{index}" for index in range(4)]
    bumps = np.exp(-0.5 * ((times - rng.uniform(0.08, 0.4, (6, 1))) / 0.03) ** 2)
    parts = rng.standard_normal((6, 4, 1)) * bumps[:, None] * 1e-6  # V
    weights = rng.standard_normal((3, 5))
    with artefact.create_h5(tmp_path / "truth.h5", MADE) as file:
        file.attrs["sfreq"] = sfreq
        file["times"], file["channel"] = times, names
        file["evoked"], file["basis"] = parts[0], parts[1:]
    given = {"band": band, "responses": responses}
    with artefact.open_h5(tmp_path / "truth.h5") as file:
        evoked, basis = truth.through_epochs(file, given)
    found = evoked + np.tensordot(weights, basis, axes=1)
    onset = 10.0
    for template, row in zip(found, weights):
        signal = np.zeros((4, round(20 * sfreq)))
        start = round((onset + times[0]) * sfreq)
        signal[:, start : start + len(times)] = parts[0] + np.tensordot(row, parts[1:], axes=1)
        raw = mne.io.RawArray(signal, mne.create_info(names, sfreq, "eeg"), verbose="error")
        expected, _ = epochs_of(
            raw, [onset], settings.parse(settings.Band, band), settings.parse(settings.Responses, responses)
        )
        assert np.abs(expected).max() > 1e-7
        np.testing.assert_allclose(template, expected[0], atol=1e-5 * np.abs(expected).max())
