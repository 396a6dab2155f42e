"""On a GPU the stages give what they give on the CPU, within rounding; ``make gpu`` keeps the largest differences."""

from __future__ import annotations

import json
import math
import os
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import brain_files
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_clip import pictures, tiny_clip
from torch.profiler import ProfilerActivity, profile

from brain2clip import artefact, preloaded, siblings, stage
from brain2clip.internals import open_clip, torch_device
from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.visuals.neuroclip import PictureSide
from brain2clip.retrieval import rank
from brain2clip.settings import BrainMapping, Contrastive, FilterBank, NeuroClipVisual, Retrieval, Tower
from brain2clip.stimuli import catalogue, features
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training import batched, memory, train
from brain2clip.training.methods.contrastive import ContrastiveLearner

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: make gpu")

EPOCHS = 4
SMALL = {
    "encoder": {"width": 32, "dropout": 0.0},  # masks are drawn on the device: with dropout nothing could be compared
    "brain_head": {"width": 24},
    "visual": {"head": {"width": 24}},
    "optimiser": {"epochs": EPOCHS, "batch_size": 20, "lr": 3e-3, "lr_visual": 1e-3, "precision": "fp32"},
}
NEUROCLIP = {"kind": "neuroclip", "head": {"width": 24}, "fusion": {"width": 16, "heads": 2}}
METHODS = {
    "frozen": {"visual": {"kind": "frozen", "head": {"width": 24}}},
    "augmented, averaged": {
        "visual": {"kind": "frozen", "head": {"width": 24}},
        "augmentation": [
            {"kind": "smoothing", "drawn": "once", "window_s": 0.06},
            *({"kind": "channel-dropout"}, {"kind": "time-dropout", "span_s": 0.04}, {"kind": "time-shift"}),
            {"kind": "mixup"},
        ],
        "optimiser": {**SMALL["optimiser"], "ema": 0.9, "second": {"after": 2, "lr": 1e-3, "freeze": ["encoder"]}},
    },
    "neuroclip": {"visual": NEUROCLIP},
    "neuroclip, pictures cached": {"visual": NEUROCLIP},
    "neuroclip, LoRA, checkpointing": {
        "visual": {**NEUROCLIP, "adapter": {"kind": "lora", "weights": ["attention", "mlp"]}},
        "optimiser": {**SMALL["optimiser"], "checkpointing": True},
    },
    "texts, MMD, shared layer, blur by uncertainty": {
        "visual": {"kind": "uncertainty", "low": {}, "medium": {}, "high": {}, "head": {"width": 24}},
        "shared_head": True,
        "objective": {"beta": 0.2, "text": 0.3, "mmd": {"epochs": 2}},
    },
    "mapping, SoftCLIP": {
        "kind": "mapping",
        "supervision": {"temperature": 0.05, "softclip": {"start": 0.05, "end": 0.1}},
        "augmentation": {"noise": 0.0, "dropout": 0.0},
        "optimiser": {"epochs": EPOCHS, "batch_size": 20, "lr": 3e-3},
    },
    "mapping": {
        "kind": "mapping",
        "augmentation": {"noise": 0.0, "dropout": 0.0},
        "optimiser": {"epochs": EPOCHS, "batch_size": 20, "lr": 3e-3},
    },
}


@contextmanager
def on(device: str):
    """What runs inside takes that device, as stages choose theirs; products are in full precision."""
    before = torch.cuda.is_available, torch.backends.cudnn.allow_tf32
    os.environ[torch_device.MISSING] = "cpu"
    try:
        if device == "cpu":
            torch.cuda.is_available = lambda: False
        torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.cuda.is_available, torch.backends.cudnn.allow_tf32 = before
        del os.environ[torch_device.MISSING]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain")
    embedding = brain_files.write_stimuli(folder / "tokens.h5")
    brain_files.write_stimuli(folder / "pictures.h5", cache="pictures")
    brain_files.write_responses(folder / "sub-0.h5", embedding)
    brain_files.save_tower(folder / "tower")
    return folder


def settings_of(name: str, files) -> dict:
    given = METHODS[name]
    if given.get("kind") == "mapping":
        method = BrainMapping.model_validate({"tower": "tiny", **given})
    else:
        method = Contrastive.model_validate({"tower": "tiny", **SMALL, **given})
    tower = Tower(model=f"local-dir:{files / 'tower'}").model_dump(mode="json")
    return {"method": method.model_dump(mode="json"), "tower": tower, "seed": 0, "protocol": {}}


def inputs_of(name: str, files) -> dict:
    stimuli = files / ("pictures.h5" if "pictures" in name else "tokens.h5")
    return {"responses": [files / "sub-0.h5"], "stimuli": [stimuli]}


def trained(name: str, files, folder, changed=None):
    """Checkpoint, its tensors and the history of a training; ``changed`` are settings of the optimiser."""
    settings = settings_of(name, files)
    settings["method"]["optimiser"].update(changed or {})
    folder.mkdir(exist_ok=True)
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "model.parquet"}
    train.run(stage.Job("train", settings, "code", {}, inputs_of(name, files), outputs))
    return outputs["checkpoint"], artefact.read_tensors(outputs["checkpoint"]), artefact.read_table(outputs["history"])


def ranked(name: str, files, checkpoint, path) -> pd.DataFrame:
    run = {"study": "s", "signal": "b", "protocol": "p", "method": "m", "subject": "01", "seed": 0}
    settings = settings_of(name, files) | {
        "run": run,
        "retrieval": Retrieval(repetitions=(1, "all")).model_dump(mode="json"),
    }
    inputs = inputs_of(name, files) | {"checkpoint": [checkpoint]}
    rank.run(stage.Job("rank", settings, "code", {}, inputs, {"rows": path}))
    return artefact.read_table(path)


def difference(found, expected) -> float:
    """Largest difference, as a part of the largest value."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


@pytest.mark.parametrize("name", METHODS)
def test_training_is_that_of_the_cpu(files, tmp_path, name, record_property):
    found = {}
    for device in ("cuda", "cpu"):
        with on(device):
            _, tensors, history = trained(name, files, tmp_path / device)
            found[device] = tensors, history["loss"].to_numpy()
    (tensors, loss), (expected, own) = found["cuda"], found["cpu"]
    record_property("loss", difference(loss, own))
    assert tensors.keys() == expected.keys()
    off = {key: difference(tensors[key].cpu(), value) for key, value in expected.items() if value.is_floating_point()}
    record_property("parameters", max(off.values()))
    assert difference(loss, own) < 1e-3
    # AdamW divides by the size of a gradient: where that is next to nothing, rounding decides its sign.
    assert sum(one < 0.01 for one in off.values()) >= 0.9 * len(off), off


@pytest.mark.parametrize("name", METHODS)
def test_a_model_of_either_device_is_ranked_the_same_on_both(files, tmp_path, name, record_property):
    with on("cuda"):
        checkpoint, _, _ = trained(name, files, tmp_path / "model")
    rows = {}
    for device in ("cuda", "cpu"):
        with on(device):
            rows[device] = ranked(name, files, checkpoint, tmp_path / f"{device}.parquet")
    scores = [
        np.concatenate([np.asarray(row) for row in rows[device]["top_similarities"]]) for device in ("cuda", "cpu")
    ]
    record_property("scores", difference(*scores))
    assert difference(*scores) < 1e-2  # what is not trained is in TF32
    same = (rows["cuda"]["rank"] == rows["cpu"]["rank"]).mean()
    record_property("equal ranks", float(same))
    assert same > 0.95


@pytest.mark.parametrize("name", ["frozen", "neuroclip", "mapping"])
def test_the_same_seed_on_the_same_gpu(files, tmp_path, name, record_property):
    """Not all sums of a GPU have an order; whether these have is noted, and losses must agree."""
    with on("cuda"):
        _, first, loss = trained(name, files, tmp_path / "first")
        _, again, other = trained(name, files, tmp_path / "again")
    record_property("bit for bit", all(torch.equal(first[key], again[key]) for key in first))
    assert difference(other["loss"], loss["loss"]) < 1e-4


def test_seeds_at_once_are_the_models_that_they_are_alone(files, tmp_path, monkeypatch, record_property):
    """Dropout masks included, which each seed draws on the card; and nobody waits for it within an epoch."""

    def jobs(folder):
        folder.mkdir()
        for seed in range(3):
            given = settings_of("frozen", files) | {"seed": seed}
            given["method"]["encoder"]["dropout"] = 0.3
            names = {"checkpoint": f"{seed}.safetensors", "history": f"{seed}.parquet"}
            outputs = {key: folder / name for key, name in names.items()}
            one = stage.Job("train", given, "code", {}, inputs_of("frozen", files), outputs)
            yield replace(one, origin=artefact.origin(siblings._spec(one)))

    own = batched._losses

    def losses(*given):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return own(*given)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(batched, "_losses", losses)
    monkeypatch.delenv(siblings.FOLDER, raising=False)
    alone, together = list(jobs(tmp_path / "alone")), list(jobs(tmp_path / "together"))
    with on("cuda"):
        for one in alone:
            train.run(one)
        monkeypatch.setenv(preloaded.SOCKET, str(tmp_path / "socket"))
        siblings.note(json.dumps(siblings._spec(one)) for one in together)
        for one in together:
            train.run(one)
    monkeypatch.delenv(siblings.FOLDER)
    off = []
    for one, expected in zip(together, alone):
        history, rows = (artefact.read_table(job.outputs["history"]) for job in (one, expected))
        assert set(history["together"]) == {3}
        off.append(difference(history["loss"], rows["loss"]))
    record_property("loss", max(off))
    assert max(off) < 1e-3


@pytest.mark.parametrize("name", ["frozen", "neuroclip"])
def test_precision_auto_learns(files, tmp_path, name):
    with on("cuda"):
        _, tensors, history = trained(name, files, tmp_path, {"precision": "auto", "epochs": 40})
    assert all(torch.isfinite(one).all() for one in tensors.values() if one.is_floating_point())
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]


def test_features_are_those_of_the_cpu(files, tmp_path, record_property):
    """In TF32."""
    rng = np.random.default_rng(3)
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (36 + number, 50 - number, 3), dtype=np.uint8)).save(path)
    n = len(paths)
    table = pd.DataFrame(
        {
            "stimulus_id": [path.stem for path in paths],
            "split": ["train"] * (n - 4) + ["test"] * 4,
            "concept": [f"concept {number // 2}" for number in range(n)],
            "image": [str(path) for path in paths],
            "captions": [[f"picture {number}"] for number in range(n)],
            "prompts": [[f"a photo of {number // 2}"] for number in range(n)],
        }
    )
    listed = tmp_path / "catalogue.parquet"
    artefact.write_table(listed, catalogue._typed(table), brain_files.MADE)
    tower = Tower(model=f"local-dir:{files / 'tower'}", cache="tokens", batch_size=5).model_dump(mode="json")
    settings = {"name": "s", "tower": tower, "equal_pictures": "refuse"}
    found = {}
    for device in ("cuda", "cpu"):
        path = tmp_path / f"{device}.h5"
        with on(device):
            features.run(stage.Job("features", settings, "code", {}, {"catalogue": [listed]}, {"stimuli": path}))
        with artefact.open_h5(path) as file:
            names = ("embedding", "band_tokens", "sentence_embedding")
            found[device] = {name: file[name][:] for name in names}
    for name, expected in found["cpu"].items():
        off = difference(found["cuda"][name], expected)
        record_property(name, off)
        assert off < 1e-2, name


@pytest.mark.parametrize("bf16", [False, True])
def test_attention_copies_no_frozen_weight(bf16, record_property):
    clip = tiny_clip().cuda().requires_grad_(False)
    images = pictures(16).cuda()
    tokens = open_clip.patch_embedding(clip.visual)(images).flatten(2).transpose(1, 2)
    start = open_clip.with_class_token(clip.visual, tokens)
    found = []
    for call in (open_clip.through, lambda block, x: block(x)):
        x = start.clone().requires_grad_()
        autocast = torch.autocast("cuda", torch.bfloat16) if bf16 else nullcontext()
        with profile(activities=[ProfilerActivity.CPU]) as seen, autocast:
            y = x
            for block in open_clip.blocks(clip.visual):
                y = call(block, y)
            y.float().square().mean().backward()
        products = sum(one.count for one in seen.key_averages() if one.key == "aten::bmm")
        found.append((y.detach().float().cpu(), x.grad.float().cpu(), products))
    (y, gradient, products), (expected, own, copied) = found
    record_property("output", difference(y, expected))
    record_property("gradient", difference(gradient, own))
    limit = 0.03 if bf16 else 1e-4
    assert difference(y, expected) < limit
    assert difference(gradient, own) < limit
    record_property("batched products", products)
    record_property("batched products of open_clip", copied)
    assert products <= copied


# ------------------------------------------------------------------------------------------------- memory


def large_batch(n: int = 512) -> tuple[PictureSide, Pictures]:
    """A picture side and so many pictures that what the tower keeps of them is most of what there is."""
    clip = tiny_clip().cuda()
    with torch.no_grad():
        tokens, bands = BandTokens(clip.visual.conv1, (32, 32), FilterBank()).cuda()(pictures(n).cuda())
    settings = NeuroClipVisual.model_validate({**NEUROCLIP, "prompts": {"tokens": 4, "dropout": 0.3}})
    return PictureSide(settings, Frozen(24, 4, clip.visual)).cuda().train(), Pictures(tokens[:, 0], tokens, bands)


def stepped(side: PictureSide, seen: Pictures, micro_batch: int | None) -> tuple[dict, float]:
    """Gradients of a step, and the memory that it took beside what was there, GB."""
    side.micro_batch = micro_batch
    side.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    before = torch_device.held_gb(torch.device("cuda"))
    torch_device.watch_peak(torch.device("cuda"))
    out = side(seen)
    (out @ out.T).logsumexp(dim=1).mean().backward()
    torch.cuda.synchronize()
    gradients = {name: one.grad.clone() for name, one in side.named_parameters() if one.grad is not None}
    return gradients, torch_device.peak_gb(torch.device("cuda")) - before


def test_micro_batches_give_the_gradients_of_the_whole_batch_in_less_memory(record_property):
    side, seen = large_batch()
    stepped(side, seen, None)
    expected, whole = stepped(side, seen, None)
    found, parts = stepped(side, seen, 64)
    off = {name: difference(found[name].cpu(), value.cpu()) for name, value in expected.items()}
    record_property("gradients", max(off.values()))
    record_property("share of the memory", parts / whole)
    assert found.keys() == expected.keys()
    assert max(off.values()) < 1e-3, off
    assert parts < 0.5 * whole


def test_the_memory_of_a_step_is_what_was_reckoned(record_property):
    side, seen = large_batch()
    stepped(side, seen, None)
    _, taken = stepped(side, seen, None)
    row, fixed = memory.kept_gb(lambda n: side(seen.first(n)), [*side.parameters(), *side.buffers()])
    reckoned = (1 + memory.BESIDE) * (512 * row + fixed)
    record_property("reckoned", reckoned / taken)
    assert 0.7 < reckoned / taken < 1.6


def test_a_whole_training_in_parts_is_that_of_whole_batches(files, tmp_path, record_property):
    with on("cuda"):
        _, _, whole = trained("neuroclip", files, tmp_path / "whole")
        _, _, parts = trained("neuroclip", files, tmp_path / "parts", {"micro_batch": 6})
    record_property("loss", difference(parts["loss"], whole["loss"]))
    assert difference(parts["loss"], whole["loss"]) < 1e-3


@pytest.mark.parametrize(
    "name", ["frozen", "neuroclip", "augmented, averaged", "texts, MMD, shared layer, blur by uncertainty"]
)
def test_nobody_waits_for_the_device_within_an_epoch(files, tmp_path, monkeypatch, name):
    own = ContrastiveLearner.loss

    def loss(self, *given):
        first = math.isnan(self.perplexity)  # of an epoch, whose history says the perplexity
        torch.cuda.set_sync_debug_mode("default" if first else "error")
        try:
            return own(self, *given)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(ContrastiveLearner, "loss", loss)
    with on("cuda"):
        _, _, history = trained(name, files, tmp_path)
    assert set(history["device"]) == {torch.cuda.get_device_name()}
    assert (history["gpu_memory_gb"] > 0).all()
    assert (history["pictures_per_s"] > 0).all()
