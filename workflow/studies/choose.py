"""How the settings of ``study.yaml`` were chosen: on held-out training concepts of another study, never on a test.

    python workflow/studies/choose.py [--processes 2] [PART ...]

makes what it needs of ``development.yaml`` (another seed: other training concepts, pictures and subjects), then trains
each candidate on four fifths of its training concepts and looks the responses to the rest up among the pictures of the
rest. Means over subjects and splits; what is best so far goes on. docs/choices.md shows its output. The part
``difficulty`` alone reads the test of the development study, with the plain baseline alone: it says how hard the
simulated recordings are to read, which is the same for all methods. Both seeds are odd, so its test has the concepts of
the study's, in other pictures.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.training.data import load_responses, open_stimuli, pairs, placed
from brain2clip.training.loop import held_out_rows, loop
from brain2clip.training.methods import contrastive

CONFIG = Path("workflow/studies/development.yaml")
SHARE, SPLITS = 0.2, (0, 1)
SPLIT = ("train", "test")
#: The baseline that says how difficult a study is.
BASELINE: Values = {
    "optimiser.epochs": 90, "optimiser.batch_size": 128, "optimiser.lr": 2e-3, "objective.soft_perplexity": 32.0,
}  # fmt: skip
#: Candidates of ``snr``; wanted is what leaves most room below and above.
SNRS, WANTED = (1.0, 1.25, 1.5), 60
Values = dict[str, Any]


def changed(base: Values, changes: Values) -> Values:
    """Settings of a method with others at some dotted paths."""
    found = copy.deepcopy(base)
    for path, value in changes.items():
        *way, last = path.split(".")
        place = found
        for key in way:
            place = place.setdefault(key, {})
        place[last] = value
    return found


def top1_of_test(task: tuple[Path, str]) -> float:
    """Top-1 of the plain frozen baseline on the test of a development study, for the difficulty only."""
    path, subject = task
    torch.set_num_threads(1)
    config = settings.load(yaml.safe_load(path.read_text(encoding="utf-8")))
    plan, device = Plan(config), torch.device("cpu")
    method = settings.parse(settings.Method, changed(settings.dump(config.methods["frozen"]), BASELINE))
    features = Path(plan.features("simulated", method.tower))
    source = [Path(plan.responses("simulated", "broad", subject))]
    with open_stimuli(features, None, []) as stimuli:
        train, test = (placed(load_responses(source, split, None, True), stimuli, features) for split in SPLIT)
        both = replace(
            train,
            **{name: np.concatenate([getattr(one, name) for one in (train, test)]) for name in ("values", "stimulus")},
            subject=np.zeros(len(train.stimulus) + len(test.stimulus), np.int64),
        )
        learner = contrastive.learner_of(
            method, config.towers[method.tower], both, stimuli, np.unique(train.stimulus), device, 0
        )
        loop(learner, method.optimiser, pairs([train], np.arange(len(train.stimulus)), device), 0)
        return learner.top1(pairs([test], np.arange(len(test.stimulus)), device))


def curve(task: tuple[Path, Values, str, int]) -> tuple[np.ndarray, float]:
    """Top-1 on held-out concepts after each epoch, and processor seconds of training."""
    path, block, subject, split = task
    torch.set_num_threads(1)
    config = settings.load(yaml.safe_load(path.read_text(encoding="utf-8")))
    plan = Plan(config)
    method = settings.parse(settings.Method, block)
    device = torch.device("cpu")
    files = [(Path(plan.vector("simulated", method.tower, one.name)), None) for one in method.vectors]
    features = Path(plan.features("simulated", method.tower))
    responses = load_responses(
        [Path(plan.responses("simulated", "broad", subject))], "train", None, method.average_repetitions
    )
    with open_stimuli(features, None, files) as stimuli:
        responses = placed(responses, stimuli, features)
        concept = stimuli["concept"].asstr()[:][responses.stimulus]
        held_out = held_out_rows(concept, SHARE, split)
        kept = np.setdiff1d(np.arange(len(concept)), held_out)
        rows, tower = np.unique(responses.stimulus[kept]), config.towers[method.tower]
        learner = contrastive.learner_of(method, tower, responses, stimuli, rows, device, split)
        given = pairs([responses], kept, device), split, pairs([responses], held_out, device)
        history = loop(learner, method.optimiser, *given)
    return history["held_out_top1"].to_numpy(), float(history["cpu_seconds"].sum())


class Search:
    """Candidates one after the other, each on all subjects and splits."""

    def __init__(self, processes: int) -> None:
        config = settings.load(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
        self.subjects = Plan(config).subjects("simulated")
        self.base = settings.dump(config.methods["frozen"])
        self.pool = multiprocessing.get_context("spawn").Pool(processes)

    def score(self, label: str, block: Values, splits: tuple[int, ...] = SPLITS) -> float:
        """Mean Top-1 after the last epoch, in percent; says it with the curve on the way."""
        tasks = [(CONFIG, block, subject, split) for subject in self.subjects for split in splits]
        found = self.pool.map(curve, tasks, chunksize=1)
        curves = 100 * np.stack([one for one, _ in found])
        mean, last = curves.mean(axis=0), curves[:, -1]
        marks = [epoch for epoch in (5, 10, 15, 20, 30, 45, 60) if epoch < len(mean)]
        error = last.std(ddof=1) / len(last) ** 0.5
        way = ", ".join(f"{epoch}: {mean[epoch - 1]:.1f}" for epoch in marks)
        seconds = np.mean([one for _, one in found])
        print(f"| {label} | {mean[-1]:.1f} ± {error:.1f} | {way} | {seconds:.0f} |", flush=True)
        return float(mean[-1])

    def best(self, title: str, base: Values, candidates: dict[str, Values], splits: tuple[int, ...] = SPLITS) -> Values:
        """The best of some candidates, each some changes of the settings."""
        print(f"\n## {title}\n\n| candidate | Top-1 | after epoch | processor s |", flush=True)
        print("| --- | --- | --- | --- |", flush=True)
        scores = {label: self.score(label, changed(base, one), splits) for label, one in candidates.items()}
        chosen = max(scores, key=scores.__getitem__)
        print(f"\nTaken: {chosen}.", flush=True)
        return changed(base, candidates[chosen])


def spatial(block: int | None, grid: int, components: int = 64, weight: float = 1.0) -> Values:
    """Changes that make a readout spatial."""
    own = {"kind": "spatial", "block": block, "grid": grid, "components": components, "weight": weight}
    return {"visual.readout": own}


def frozen_part(search: Search) -> tuple[Values, Values]:
    """Plain and spatial readout of the frozen tower, each with the budget that suits it."""
    base = changed(search.base, {"optimiser.epochs": 60, "objective.soft_perplexity": 2.0})
    plain = search.best("Frozen, plain readout: budget", base, BUDGETS)
    plain = search.best("Soft target", plain, SOFT)
    sides = {
        f"block {block or 'last, projected'}, grid {grid}": spatial(block, grid) for block in BLOCKS for grid in GRIDS
    }
    found = search.best("Frozen, spatial readout: block and grid (64 components)", plain, sides)
    own = found["visual"]["readout"]
    sizes = {f"{n} components": spatial(own["block"], own["grid"], n) for n in (16, 32, 64)}
    found = search.best("Components", plain, sizes)
    own = found["visual"]["readout"]
    weights = {f"weight {w:g}": spatial(own["block"], own["grid"], own["components"], w) for w in (0.25, 0.5, 1.0)}
    found = search.best("Weight of the components beside the embedding", plain, weights)
    found = search.best("Frozen, spatial readout: epochs", found, EPOCHS)
    return search.best("Frozen, plain readout: epochs", plain, EPOCHS), found


EPOCHS = {f"{epochs} epochs": {"optimiser.epochs": epochs} for epochs in (15, 30, 60, 90)}


BLOCKS, GRIDS = (None, 1, 2, 3, 4), (2, 3, 4)
#: Batches of 32 were no better than their error, and a step costs a GPU the same whatever its batch.
BUDGETS = {f"lr {lr:g}": {"optimiser.batch_size": 128, "optimiser.lr": lr} for lr in (1e-3, 2e-3, 4e-3)}
SOFT = {
    "none (beta 0)": {"objective.beta": 0.0},
    **{
        f"beta {beta:g}, perplexity {perplexity:g}": {"objective.beta": beta, "objective.soft_perplexity": perplexity}
        for beta in (0.2, 0.5)
        for perplexity in (2.0, 8.0, 32.0)
    },
}


def views_part(search: Search, plain: Values) -> None:
    """Mixes and means of views and blocks, for comparison."""
    views = [{"view": {"kind": "blur", "kernel": 9}}, {"view": {"kind": "blur", "kernel": 15}}]
    views.append({"view": {"kind": "low-resolution", "share": 0.25}})
    grids = [{"block": block, "pool": "grid", "grid": 2} for block in (1, 2, 3, 4)]
    search.best(
        "Frozen, other readouts", plain,
        {
            "mean of views": {"visual.readout": {"kind": "mean", "vectors": [{}, *views]}},
            "mix of views": {"visual.readout": {"kind": "mix", "vectors": [{}, *views]}},
            "mix of grids of four blocks": {"visual.readout": {"kind": "mix", "width": 128, "vectors": grids}},
            "views beside the embedding": {"visual.readout": {"kind": "concat", "parts": [{}, *views]}},
        },
    )  # fmt: skip


def prompted_part(search: Search, plain: Values, found: Values) -> dict[str, Values]:
    """Prompts and LoRA: their own learning rate, where they join the frozen tower for the last 15 of 60 epochs."""
    side = {"kind": "neuroclip", "filter": {"reduction": 4}, "fusion": {"width": 64, "reduction": 2}}
    sides = {
        f"Prompts under the {label} readout": changed(
            base, {"visual": {**side, **base["visual"], "kind": "neuroclip"}, **PROMPTED}
        )
        for label, base in (("plain", plain), ("spatial", found))
    }
    lora = changed(sides["Prompts under the spatial readout"], {"visual.fusion": {"kind": "none"}})
    lora = changed(lora, {"visual.prompts": {"depth": "off"}})
    lora = changed(lora, {"visual.adapter": {"kind": "lora", "rank": 8, "weights": ["attention", "mlp"]}})
    sides["LoRA under the spatial readout"] = lora
    return {label: search.best(f"{label}: rate", base, RATES, SPLITS[:1]) for label, base in sides.items()}


def joined_part(search: Search, prompted: dict[str, Values]) -> None:
    """What the rest would give if they trained for longer, up to all epochs; not taken, for what it costs."""
    for label, base in prompted.items():
        search.best(f"{label}: when it joins", base, WAITS, SPLITS[:1])


PROMPTED = {"optimiser.epochs": 60, "optimiser.frozen_epochs": 45, "optimiser.precision": "bf16"}
RATES = {f"lr_visual {rate:g}": {"optimiser.lr_visual": rate} for rate in (5e-4, 1e-3, 4e-3)}
WAITS = {f"{wait} epochs without, {60 - wait} with": {"optimiser.frozen_epochs": wait} for wait in (45, 30, 0)}


def made(config: Path, processes: int, *stages: str) -> None:
    """Make what some stages give."""
    command = [sys.executable, "-m", "snakemake", "--configfile", str(config), "--cores", str(processes)]
    subprocess.run([*command, "--quiet", "all", "--until", *stages], check=True)


def difficulty(search: Search, processes: int) -> None:
    """How large the responses are beside the background: so that the plain baseline stands in the middle."""
    print(f"\n## Difficulty: plain baseline, test of the development study, {WANTED} wanted\n")
    print("| snr | Top-1 of 200 |\n| --- | --- |", flush=True)
    values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    for snr in SNRS:
        own = changed(values, {"results": f"{values['results']}-snr-{snr:g}", "studies.simulated.snr": snr})
        path = Path(f"{own['results']}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(own), encoding="utf-8")
        made(path, processes, "epochs")
        made(path, processes, "features")
        found = search.pool.map(top1_of_test, [(path, subject) for subject in search.subjects], chunksize=1)
        print(f"| {snr:g} | {100 * np.mean(found):.1f} |", flush=True)
    print("\nTaken: the nearest, written into both studies.", flush=True)


def main() -> None:
    """Make the development study as far as it is needed, then search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["difficulty", "frozen", "prompted", "joined", "views"])
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    made(CONFIG, given.processes, "epochs", "features", "vectors")
    search, started = Search(given.processes), time.monotonic()
    if "difficulty" in given.parts:
        difficulty(search, given.processes)
    print(
        f"Development study: {len(search.subjects)} subjects, {SHARE:.0%} of the training concepts held out, "
        f"{len(SPLITS)} splits; Top-1 among the pictures of the held-out concepts, mean ± standard error over subjects "
        "and splits."
    )
    plain, found = frozen_part(search)
    if "prompted" in given.parts:
        prompted = prompted_part(search, plain, found)
        if "joined" in given.parts:
            joined_part(search, prompted)
    if "views" in given.parts:
        views_part(search, plain)
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
