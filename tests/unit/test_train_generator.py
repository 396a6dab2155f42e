"""The embedded generator: how it is trained, and whether what is in the repository makes recognisable pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import KandinskyV22Pipeline

from brain2clip.simulation import train_generator, train_tower, world
from brain2clip.simulation.train_generator import GeneratorSettings

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "workflow/generators/grammar"
TOWER, JUDGE = (ROOT / "workflow/towers" / name for name in ("grammar-vit", "grammar-judge"))
SMALL = GeneratorSettings(
    exemplars=1, crop_steps=1, whole_steps=1, autoencoder_batch=4, steps=2, batch=4, warm_up=1, channels=(8, 24, 24),
    autoencoder_channels=(8, 24, 24),
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_latents_are_standardised_and_pictures_stay_what_they_are():
    torch.manual_seed(0)
    model = train_generator.new_autoencoder(SMALL).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    given = train_generator.scaled(pictures)
    with torch.no_grad():
        model.quant_conv.bias.add_(3)
        latents = model.encode(given).latents
        before = model.decode(latents, force_not_quantize=True).sample
        train_generator.standardise(model, latents)
        after = model.encode(given).latents
        again = model.decode(after, force_not_quantize=True).sample
    deviation, mean = torch.std_mean(after, dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(again, before, atol=1e-5, rtol=1e-4)


def test_a_short_training_writes_a_folder_that_the_library_loads_and_a_card(tmp_path, monkeypatch):
    few = world.TRAINABLE[:4]
    monkeypatch.setattr(world, "TRAINABLE", few)
    monkeypatch.setattr(world, "HALVES", tuple(half[:6] for half in world.HALVES))
    monkeypatch.setattr(train_generator, "TESTED", {"num_inference_steps": 1, "guidance_scale": 2.0})
    seen = []
    draw = train_tower.draw_pictures
    monkeypatch.setattr(
        train_tower,
        "draw_pictures",
        lambda shown, *more: seen.append([one.concept for one in shown]) or draw(shown, *more),
    )
    train_generator.make_generator(tmp_path / "made", SMALL, TOWER, TOWER)
    assert set(seen[0]) == set(few)  # what it learns from; the others measure it
    pipeline = KandinskyV22Pipeline.from_pretrained(tmp_path / "made", local_files_only=True)
    assert pipeline.unet.config.encoder_hid_dim == 64
    assert pipeline.movq_scale_factor == 4
    told = json.loads((tmp_path / "made/training.json").read_text())
    assert told["tower"]["sha256"] == hashlib.sha256((TOWER / train_tower.WEIGHTS).read_bytes()).hexdigest()
    assert told["settings"]["steps"] == 2
    card = (tmp_path / "made/README.md").read_text()
    assert "--output workflow/generators/made --exemplars 1 --crop_steps 1" in card
    assert (tmp_path / "made/pictures.png").is_file()


def test_two_way_and_top_1_by_hand():
    rng = np.random.default_rng(0)
    seen = torch.from_numpy(rng.normal(size=(40, 8)))
    assert train_generator.judged(seen, seen) == {"two_way": 1.0, "top1": 1.0}
    other = train_generator.judged(seen, torch.from_numpy(rng.normal(size=(40, 8))))
    assert 0.35 < other["two_way"] < 0.65


# ------------------------------------------------------------------------------------ what is in the repository


def test_the_shipped_generator_is_small_and_says_what_it_is():
    files = [path for path in GENERATOR.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4e6
    told = json.loads((GENERATOR / "training.json").read_text())
    assert told["tower"]["sha256"] == hashlib.sha256((TOWER / train_tower.WEIGHTS).read_bytes()).hexdigest()
    assert not set(world.TRAINABLE) & set(world.HELD_OUT)
    card = (GENERATOR / "README.md").read_text()
    assert f"{told['oracle']['judge_two_way']:.1%}" in card
    judge = json.loads((JUDGE / "training.json").read_text())
    assert judge["settings"]["seed"] != json.loads((TOWER / "training.json").read_text())["settings"]["seed"]


def test_the_oracle_is_better_than_the_nearest_picture_and_that_than_chance_by_the_second_judge():
    """Two-way identification of held-out concepts, with 95 % intervals by resampling them."""
    n, rng = 60, np.random.default_rng(0)
    tower, judge = train_generator.open_tower(TOWER), train_generator.open_tower(JUDGE)
    pipeline = train_generator.load(GENERATOR)
    test = [world.exemplar(one, 0, 5) for one in world.HALVES[0][:n]]
    bank = [world.exemplar(one, i, 5) for one in world.training_concepts(60, 5) for i in range(3)]
    pictures, known = (train_tower.draw_pictures(shown, 64) for shown in (test, bank))
    points = train_generator.raw_embeddings(tower, pictures)
    made = train_generator.drawn(pipeline, points, train_generator.negative_embedding(tower, 64), 64, 0)
    unit = (
        torch.nn.functional.normalize(points)
        @ torch.nn.functional.normalize(train_generator.raw_embeddings(tower, known)).T
    )
    shown = {"oracle": made, "nearest": known[unit.argmax(1).numpy()], "another": np.roll(made, 1, axis=0)}
    seen = train_generator.raw_embeddings(judge, pictures).numpy()
    score = {}
    for name, one in shown.items():
        similarity = np.corrcoef(seen, train_generator.raw_embeddings(judge, one).numpy())[:n, n:]
        score[name] = (similarity < np.diag(similarity)).sum(0) / (n - 1)

    def lowest(a: str, b: str) -> float:
        drawn = rng.integers(0, n, (2000, n))
        return float(np.quantile((score[a] - score[b])[drawn].mean(1), 0.025))

    assert lowest("oracle", "nearest") > 0
    assert lowest("nearest", "another") > 0
    assert abs(score["another"].mean() - 0.5) < 0.15


def test_a_training_that_breaks_down_is_told():
    progress = train_generator._Progress("UNet", 1)
    progress(0, float("nan"))
    with pytest.raises(RuntimeError, match="its loss is nan"):
        progress.done()
