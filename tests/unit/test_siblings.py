"""Seeds that one process trains at once: each is the model that it is alone, and each stays a job of its own."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace

import brain_files
import numpy as np
import pytest
import torch
from test_train import job

from brain2clip import artefact, preloaded, settings, siblings, stage
from brain2clip.plan import Plan
from brain2clip.settings import Contrastive
from brain2clip.training import batched, train
from brain2clip.training.methods import contrastive

HEAD = {"kind": "mlp", "width": 24, "hidden": 20, "dropout": 0.4}
METHODS = {
    "linear": {"encoder": {"width": 32, "dropout": 0.3}},
    "heads, recipe B": {
        "encoder": {"width": 32, "dropout": 0.3},
        "brain_head": HEAD,
        "visual": {"head": HEAD},
        "objective": {"normalise": "both", "disentangle": True, "scale_init": 0.0},
    },
    "bottleneck, hard": {
        "encoder": {"width": 32, "dropout": 0.0},
        "brain_head": {"kind": "bottleneck", "width": 24},
        "objective": {"beta": 0.0, "learn_scale": False},
    },
}
BUDGET = {"epochs": 3, "batch_size": 12, "lr": 3e-3, "precision": "fp32", "schedule": "constant", "clip_norm": 0.5}
SEEDS = (0, 1, 7)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    for subject in range(2):
        brain_files.write_responses(folder / f"sub-{subject}.h5", embedding, subject)
    return folder


@pytest.fixture
def run(files, tmp_path, monkeypatch):
    """Jobs of a run, of which those that are named are due."""

    def made(seeds=SEEDS, due=SEEDS, folder="alone", **given):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        found = {}
        for seed in {*seeds, *due}:
            one = job(files, place, optimiser=BUDGET, seed=seed, **{"encoder": {"width": 32}, **given})
            outputs = {name: path.with_stem(f"seed-{seed}") for name, path in one.outputs.items()}
            found[seed] = replace(one, outputs=outputs, origin=artefact.origin(siblings._spec(one)))
        if len(due):
            monkeypatch.setenv(preloaded.SOCKET, str(tmp_path / "socket"))
            siblings.note(json.dumps({**siblings._spec(found[seed]), "modules": []}) for seed in due)
        return found

    monkeypatch.delenv(siblings.FOLDER, raising=False)
    yield made
    monkeypatch.delenv(siblings.FOLDER, raising=False)


def results(one):
    tensors = artefact.read_tensors(one.outputs["checkpoint"])
    return tensors, artefact.read_table(one.outputs["history"])


@pytest.fixture
def counted(monkeypatch):
    """How many models each call trained: those of one alone, and those of several."""
    alone, several = [], []
    one, many = contrastive.Method.train, batched.train
    monkeypatch.setattr(contrastive.Method, "train", lambda self, study: alone.append(study.seed) or one(self, study))
    monkeypatch.setattr(batched, "train", lambda *given: several.append(list(given[2])) or many(*given))
    return alone, several


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("subjects", [("sub-0",), ("sub-0", "sub-1")])
def test_each_seed_is_the_model_that_it_is_alone(run, counted, name, subjects):
    given = METHODS[name] | {"subjects": subjects}
    expected = {}
    for seed, one in run(due=(), **given).items():
        train.run(one)
        expected[seed] = results(one)
    for one in run(folder="together", **given).values():
        train.run(one)
        seed = one.settings["seed"]
        (tensors, history), (own, rows) = results(one), expected[seed]
        assert tensors.keys() == own.keys()
        for key, value in own.items():
            np.testing.assert_allclose(tensors[key].numpy(), value.numpy(), rtol=2e-4, atol=2e-5, err_msg=key)
        np.testing.assert_allclose(history["loss"], rows["loss"], rtol=1e-5)
        for column in ("epoch", "lr", "scale", "perplexity", "held_out_top1", "device"):
            np.testing.assert_array_equal(history[column][rows[column].notna()].isna(), False)
            if column != "device":
                np.testing.assert_allclose(history[column], rows[column], rtol=1e-5)
        assert set(history.columns) - set(rows.columns) == {"together"}
        assert set(history["together"]) == {len(SEEDS)}
    assert counted == ([*SEEDS], [[*SEEDS]])


def test_a_seed_that_diverges_touches_no_other_and_says_so_itself(run, counted, monkeypatch, caplog):
    fresh = contrastive.learner_of

    def learner_of(*given):
        found = fresh(*given)
        if given[-1] == 1:
            torch.nn.init.constant_(found.model.brain_head.weight, torch.nan)
        return found

    alone = run(due=())[7]
    train.run(alone)
    monkeypatch.setattr(contrastive, "learner_of", learner_of)
    jobs = run(folder="together")
    for seed in (7, 0):
        train.run(jobs[seed])
    assert "is not left" not in caplog.text
    with pytest.raises(stage.InputError, match="training diverged in epoch 1"):
        train.run(jobs[1])
    for name, value in results(alone)[0].items():
        np.testing.assert_allclose(results(jobs[7])[0][name].numpy(), value.numpy(), rtol=2e-4, atol=2e-5)
    assert counted == ([7, 1], [[7, 0, 1]])


def test_only_what_is_due_is_trained_and_each_model_once(run, counted, caplog):
    """Seed 7 is finished. The model that seed 0 leaves is not taken where the responses have changed meanwhile."""
    jobs = run(due=(0, 1))
    with caplog.at_level(logging.INFO, logger="brain2clip"):
        train.run(jobs[0])
        train.run(jobs[1])
    assert "already trained by the job of another seed" in caplog.text
    train.run(jobs[0])  # asked for again, as by --forcerun: of the others none is due
    train.run(jobs[7])
    assert counted == ([0, 7], [[0, 1]])
    assert not any(path.name.endswith(("checkpoint.safetensors", "history.parquet")) for path in left())
    single = run(due=(1,), folder="single")[1]
    train.run(single)
    assert counted == ([0, 7, 1], [[0, 1]])


def left():
    return list(siblings.Path(siblings.os.environ[siblings.FOLDER]).iterdir())


def test_what_was_left_is_taken_only_where_it_is_whole_and_of_the_same_inputs(
    run, counted, tmp_path, monkeypatch, caplog
):
    for spoilt in ("inputs", "damage"):
        jobs = run(due=(0, 1), folder=spoilt)
        train.run(jobs[0])
        one = jobs[1]
        if spoilt == "inputs":
            with monkeypatch.context() as earlier:
                earlier.setattr(brain_files, "MADE", replace(brain_files.MADE, code="other"))
                brain_files.write_stimuli(tmp_path / "stimuli.h5")
            one = replace(one, inputs={**one.inputs, "stimuli": [tmp_path / "stimuli.h5"]})
        else:
            (path,) = (path for path in left() if path.suffix == ".safetensors")
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        train.run(one)
        assert "is not used" in caplog.text
        caplog.clear()
        assert "together" not in results(one)[1]
        assert artefact.stored_provenance(one.outputs["checkpoint"]) == one.provenance()
    assert counted[0] == [1, 1]


def test_a_sibling_waits_for_who_is_at_work_and_a_dead_one_is_nobody(run):
    jobs, order = run(), []

    def second():
        with siblings.family(jobs[1]) as family:
            order.append(("second", [one.settings["seed"] for one in family.due()]))

    waiting = threading.Thread(target=second)
    with siblings.family(jobs[0]) as family:
        waiting.start()
        waiting.join(0.2)
        order.append(("first", [one.settings["seed"] for one in family.due()]))
        family.done()
    waiting.join()
    assert order == [("first", [1, 7]), ("second", [7])]
    with siblings.family(jobs[7]) as family:
        family.part()
        with siblings.family(jobs[1]) as other:  # nobody waits, and each trains by itself
            assert other is None


def test_what_batches_cannot_hold_trains_alone(run, counted, monkeypatch):
    """A picture that lacks a response, which is found when the data are there; the others do not try again."""
    whole = train.responses_of

    def without_the_first(*given):
        (one,) = whole(*given)
        return [replace(one, **{name: getattr(one, name)[1:] for name in ("values", "stimulus", "subject")})]

    monkeypatch.setattr(train, "responses_of", without_the_first)
    for one in run(average_repetitions=False).values():
        train.run(one)
    assert counted == ([*SEEDS], [[*SEEDS]])
    assert not [path for path in left() if path.suffix == ".safetensors"]


def test_outside_of_a_run_nothing_is_asked(run, counted, monkeypatch):
    one = run(due=())[0]
    monkeypatch.setattr(batched, "unknown", None)
    train.run(one)
    assert counted == ([0], [])


def test_neighbours_of_a_run_are_told_by_their_specs(run, monkeypatch):
    specs = [{"stage": "rank", "settings": {"run": {"seed": 0}}}]
    specs += [siblings._spec(job) for job in run(due=()).values()]
    other = siblings._spec(run(due=(), encoder={"width": 16})[0])
    monkeypatch.delenv(preloaded.SOCKET, raising=False)
    siblings.note(map(json.dumps, [*specs, other]))
    assert siblings.FOLDER not in siblings.os.environ
    run(due=SEEDS)
    (listed,) = json.loads((left()[0]).read_text()).values()
    assert listed == [*SEEDS]


def test_where_no_python_is_to_be_loaded_nothing_is_written(run, tmp_path, monkeypatch):
    specs = [json.dumps(siblings._spec(job)) for job in run(due=()).values()]
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    monkeypatch.setenv(preloaded.SOCKET, "no")
    siblings.note(specs)
    assert siblings.FOLDER not in siblings.os.environ
    assert set(tmp_path.iterdir()) == before


# ------------------------------------------------------------------------------------------ what is known


def config():
    return settings.load(settings.read(siblings.Path(__file__).resolve().parents[2] / "config.yaml"))


def test_the_frozen_baseline_of_the_paper_is_known_and_its_controls_are_not():
    methods = config().methods
    told = {name: batched.unknown(one) for name, one in methods.items() if isinstance(one, Contrastive)}
    assert {name for name, why in told.items() if why is None} == {"frozen", "frozen-long"}
    assert told["shuffled"] == "shuffle_labels"
    assert told["frozen-tsconv"] == "encoder.kind: tsconv"
    assert told["neuroclip"].startswith("visual.")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"objective": {"soft_perplexity": 5.0}}, "objective.soft_perplexity"),
        ({"encoder": {"smoothing_s": 0.1}}, "encoder.smoothing_s"),
        ({"visual": {"kind": "frozen", "readout": {"kind": "mean", "vectors": [{}]}}}, "visual.readout.kind: mean"),
        ({"selection": {"rule": "held-out-concepts"}}, "selection.rule: held-out-concepts"),
    ],
)
def test_settings_that_are_not_listed_are_unknown(changed, why):
    given = {"tower": "x", "visual": {"kind": "frozen"}, **changed}
    assert batched.unknown(Contrastive.model_validate(given)) == why


def test_the_setting_is_nobodys_business_but_the_runs():
    raw = settings.read(siblings.Path(__file__).resolve().parents[1] / "workflow" / "tiny.yaml")
    plans = [Plan(settings.load({**raw, **more})) for more in ({}, {"seeds_together": True})]
    without, with_it = ({first: job.spec.json for first, job in plan.jobs().items()} for plan in plans)
    assert without == with_it
