"""Mapping networks and ridge regression at the size of Generic Object Decoding: 1,200 responses of 4,500 voxels.

Training of a mapping against the matrix products that it cannot do without, at the machine's own rate; ridge regression
by products of rows (dual) against products of voxels (primal). Ratios within one run; the machine may be shared.
"""

from __future__ import annotations

import time

import h5py
import numpy as np
import torch

from brain2clip.settings import Augmentation, BrainMapping, MappingBudget, Ridge
from brain2clip.training import loop
from brain2clip.training.data import Responses, pairs
from brain2clip.training.methods import mapping, ridge
from brain2clip.training.supervision import Targets

ROWS, VOXELS, WIDTH, CLASSES = 1200, 4500, 512, 150
EPOCHS, FEW = 4, 2000
CPU = torch.device("cpu")


def peak_rate(size: int = 1536) -> float:
    """Rate of a large fp32 matrix product, FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def example() -> tuple[Responses, h5py.File]:
    """Random responses, pictures and one prompt per class."""
    rng = np.random.default_rng(0)
    rows = np.arange(ROWS)
    names = [f"voxel {number}" for number in range(VOXELS)]
    ids = [f"picture {row}" for row in rows]
    values = rng.standard_normal((ROWS, VOXELS)).astype(np.float32)
    file = h5py.File("bench", "w", driver="core", backing_store=False)
    sentence = rng.standard_normal((CLASSES, WIDTH)).astype(np.float32)
    file["embedding"] = rng.standard_normal((ROWS, WIDTH)).astype(np.float32)
    file["stimulus_id"] = ids
    file["sentence_embedding"] = sentence / np.linalg.norm(sentence, axis=1, keepdims=True)
    file["caption_link"] = np.zeros((0, 2), np.int32)
    file["prompt_link"] = np.stack([rows, rows % CLASSES], axis=1)
    return Responses(values, rows, np.zeros(ROWS, int), np.zeros(0), 0.0, names, ids), file


def seconds_per_epoch(settings: BrainMapping, responses: Responses, stimuli: h5py.File) -> tuple[float, int]:
    """Median time of an epoch, and the weights that every response is multiplied with."""
    targets = Targets.of(stimuli, settings.supervision, responses.stimulus, CPU)
    torch.manual_seed(0)
    model = mapping.build(settings, [responses], None, stimuli, CPU)
    learner = mapping.MappingLearner(model, settings, targets, None)
    history = loop.loop(learner, settings.optimiser, pairs([responses], np.arange(ROWS), CPU), seed=0)
    return float(history["seconds"].median()), sum(one.numel() for one in model.parameters() if one.ndim > 1)


def main() -> None:
    limit = peak_rate()
    print(f"{torch.get_num_threads()} thread(s); fp32 matrix product {limit / 1e9:.0f} GFLOP/s")
    responses, stimuli = example()
    for name in ("linear", "mlp", "vae"):
        for augmentation in (Augmentation(noise=0, dropout=0), Augmentation()):
            settings = BrainMapping.model_validate(
                {
                    "tower": "t",
                    "network": {"kind": name},
                    "augmentation": augmentation,
                    "optimiser": MappingBudget(epochs=EPOCHS),
                }
            )
            took, weights = seconds_per_epoch(settings, responses, stimuli)
            least = 4 * ROWS * weights / limit  # forward, and the gradient of the weights
            label = "noise and dropout" if augmentation.noise else "plain"
            print(f"{name}, {label}: {took:.2f} s per epoch, {took / least:.1f} x its matrix products")
    x, y = responses.values, stimuli["embedding"][:].astype(np.float64)
    few = x[:, :FEW]  # the primal way takes minutes for all
    start = time.perf_counter()
    dual = ridge.Dual(few, y).at(1e3)[0]
    dual_took = time.perf_counter() - start
    start = time.perf_counter()
    primal = ridge.Primal(ridge.Moments.of(few, y)).at(1e3)[0]
    primal_took = time.perf_counter() - start
    assert np.allclose(dual, primal, atol=1e-6)
    print(f"ridge, one solution for {FEW} voxels: dual {dual_took:.1f} s, primal {primal_took:.1f} s, "
          f"{primal_took / dual_took:.0f} x")  # fmt: skip
    concept = np.array([f"class {row % CLASSES}" for row in range(ROWS)])
    start = time.perf_counter()
    ridge.fit(responses, y, concept, Ridge(tower="t"))
    print(f"ridge, whole fit with 6 penalties in 5 folds (dual): {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
