"""What a GPU does with the pipeline: equal to the CPU, how fast against the card's own limits, in how much memory.

For a machine with a CUDA device; on any other it says so and ends. One JSON is written after every part, so that what
ran is kept whatever comes after it, and a table is printed last. `make gpu` runs it; on a bare machine with PyTorch the
packages that it lacks are unpacked into a folder::

    python -m pip install --no-index --no-deps --target site wheels/*.whl
    PYTHONPATH=src:site python bench/gpu.py --out gpu.json

It needs what training and features need (open_clip and pydantic with theirs, no MNE, no Snakemake) and pytest. Weights,
features and responses are random, of the shape that config.yaml has. ``--device cpu --small`` tries the script itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date
from functools import cached_property
from itertools import cycle
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import open_clip  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from prompted_tower import bare_tower, flop_of  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from brain2clip import settings  # noqa: E402
from brain2clip.internals import open_clip as internals  # noqa: E402
from brain2clip.internals import torch_device  # noqa: E402
from brain2clip.models.brain_encoder import Inputs  # noqa: E402
from brain2clip.models.brain_to_clip import BrainToClip  # noqa: E402
from brain2clip.models.pictures import Frozen  # noqa: E402
from brain2clip.stimuli import features, frozen_clip  # noqa: E402
from brain2clip.stimuli.filter_bank import BandTokens  # noqa: E402
from brain2clip.training import batched, loop, memory  # noqa: E402
from brain2clip.training.data import PictureSource, Responses, pairs  # noqa: E402
from brain2clip.training.methods.contrastive import ContrastiveLearner  # noqa: E402

IMPORTED = time.perf_counter()

ROOT = Path(__file__).resolve().parents[1]
PICTURES, TESTED, SUBJECTS = 16540, 200, 10  # of THINGS-EEG2
#: Width, blocks, width of a head, patch, joint width; pictures of 224 x 224.
TOWERS = {
    "ViT-B-32": (768, 12, 64, 32, 512),
    "ViT-L-14": (1024, 24, 64, 14, 768),
    "ViT-H-14": (1280, 32, 80, 14, 1024),
}
SMALL_TOWERS = {"ViT-B-32": (96, 4, 32, 32, 64)}


class Machine:
    """The device and what is measured on it."""

    def __init__(self, device: str, small: bool) -> None:
        self.device, self.small = torch.device(device), small
        self.cuda = self.device.type == "cuda"
        if self.cuda:
            torch.cuda.init()
        self.towers = SMALL_TOWERS if small else TOWERS
        self.config = settings.load(settings.read(ROOT / "config.yaml"))
        self.n = 256 if small else PICTURES
        self.found: dict = {"parts": {}, "errors": {}, "seconds": {}}

    @cached_property
    def stimuli(self) -> Stimuli:
        """Features of all training pictures, on the host."""
        return Stimuli(self)

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, run, repeats: int = 5, warm: int = 2) -> float:
        """Median time of a run, s."""
        if self.small:
            repeats, warm = 1, 1
        for _ in range(warm):
            run()
        times = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def free(self) -> None:
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gb(self) -> dict:
        """Peak memory since :meth:`free`, GB (1e9 bytes): of tensors, and what PyTorch held for them."""
        if not self.cuda:
            return {"allocated": math.nan, "reserved": math.nan}
        return {
            "allocated": torch.cuda.max_memory_allocated() / 1e9,
            "reserved": torch.cuda.max_memory_reserved() / 1e9,
        }

    def bf16(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def clip(self, name: str) -> open_clip.CLIP:
        """A model of that shape with random weights and a text tower of next to nothing."""
        width, layers, head, patch, joint = self.towers[name]
        vision = open_clip.CLIPVisionCfg(
            image_size=224, patch_size=patch, width=width, layers=layers, head_width=head, mlp_ratio=4.0
        )
        text = open_clip.CLIPTextCfg(vocab_size=64, width=32, heads=2, layers=1)
        torch.manual_seed(0)
        with self.device:
            return open_clip.CLIP(joint, vision, text).eval().requires_grad_(False)


# ------------------------------------------------------------------------------------------------------ parts


def card(m: Machine) -> dict:
    """What was measured on."""
    about = {"name": platform.processor() or platform.machine(), "driver": None}
    if m.cuda:
        properties = torch.cuda.get_device_properties(m.device)
        about = {
            "name": properties.name,
            "memory_gb": properties.total_memory / 1e9,
            "capability": f"{properties.major}.{properties.minor}",
            "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
            "cuda": torch.version.cuda,
            "driver": said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        }
    versions = {"python": platform.python_version(), "torch": torch.__version__, "open_clip": open_clip.__version__}
    return about | versions | {
        "date": date.today().isoformat(),
        "cpus": os.cpu_count(),
        "commit": said(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        "import_s": IMPORTED - STARTED,
    }  # fmt: skip


def said(command: list[str]) -> str | None:
    """What a command prints, or None."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def peaks(m: Machine) -> dict:
    """Rates of large matrix products, TFLOP/s, and of copies, GB/s."""
    size, rates = 256 if m.small else 8192, {}
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        a, b = (torch.randn(size, size, device=m.device, dtype=dtype) for _ in range(2))
        with torch_device.tf32(tf32):
            rates[name] = 2 * size**3 / m.seconds(lambda a=a, b=b: a @ b, 10 if name != "fp32" else 3) / 1e12
    block = torch.empty(1 << (20 if m.small else 28), dtype=torch.uint8)
    rates["host_to_device_gb_s"] = len(block) / m.seconds(lambda: block.to(m.device)) / 1e9
    if m.cuda:
        pinned = block.pin_memory()
        rates["pinned_to_device_gb_s"] = len(block) / m.seconds(lambda: pinned.to(m.device, non_blocking=True)) / 1e9
    return rates


class Stimuli(dict):
    """Arrays of a stimuli artefact, of random numbers: what training reads of the file."""

    def __init__(self, m: Machine) -> None:
        width, _, _, patch, joint = m.towers["ViT-B-32"]
        places = (224 // patch) ** 2
        rng = np.random.default_rng(0)
        some = rng.standard_normal((64, places, width), dtype=np.float32).astype(np.float16)
        bands = np.stack([some / 2] * 4, axis=1)
        super().__init__(
            embedding=rng.standard_normal((m.n, joint), dtype=np.float32),
            band_tokens=np.resize(bands, (m.n, *bands.shape[1:])),
        )


def responses(m: Machine, channels: int, subjects: int = 1) -> Responses:
    """Averaged responses to all training pictures, 1 s at 250 Hz."""
    some = np.random.default_rng(1).standard_normal((256, channels, 250), dtype=np.float32)
    return Responses(
        values=np.resize(some, (m.n * subjects, channels, 250)),
        stimulus=np.tile(np.arange(m.n), subjects),
        subject=np.repeat(np.arange(subjects), m.n),
        times=np.arange(250) / 250,
        sfreq=250.0,
        channel=[f"E{number}" for number in range(channels)],
        stimulus_id=[],
        is_averaged=True,
    )


def learner_of(m: Machine, method, channels: int, sources: dict, clip) -> ContrastiveLearner:
    """The learner of a method of config.yaml, as its stage puts it together."""
    torch.manual_seed(0)
    drives = method.visual.drives_tower
    frozen = Frozen(m.stimuli["embedding"].shape[1], 4, clip.visual if drives else None, method.optimiser.checkpointing)
    model = BrainToClip(method, Inputs(channels, 250, 250.0), frozen).to(m.device)
    if drives not in sources:
        sources[drives] = PictureSource(m.stimuli, np.arange(m.n), drives, m.device)
    return ContrastiveLearner(model, method, sources[drives], m.device)


def changed(method, **optimiser):
    return method.model_copy(update={"optimiser": method.optimiser.model_copy(update=optimiser)})


def step(m: Machine) -> dict:
    """A prompt-tuning step against forward and input gradient of a bare tower, and against the card."""
    width, layers, head, patch, _ = m.towers["ViT-B-32"]
    clip, sources = m.clip("ViT-B-32"), {}
    method = m.config.methods["neuroclip"]
    found_gb = sum(one.nbytes for one in m.stimuli.values()) / 1e9
    start = time.perf_counter()
    learner_of(m, method, 17, sources, clip)
    m.wait()
    found: dict = {"tokens_gb": found_gb, "tokens_to_device_s": time.perf_counter() - start, "rows": []}
    m.found["parts"]["step"] = found  # what is there stays, should a later row fail
    data = pairs([responses(m, 17)], np.arange(m.n), m.device)
    bare = bare_tower(width, layers, head).to(m.device)
    peak = m.found["parts"].get("peaks", {})
    n_tokens = 1 + 8 + (224 // patch) ** 2
    rng = np.random.default_rng(0)
    for batch in (32, 64) if m.small else (256, 1024):
        rows = np.arange(batch)
        for precision in ("bf16", "tf32", "fp32"):
            if precision == "fp32" and batch > 256:
                continue
            half = precision == "bf16"
            learner = learner_of(m, changed(method, precision="bf16" if half else "fp32"), 17, sources, clip)
            learner.model.train()
            optimiser = torch.optim.AdamW(learner.parameter_groups(), weight_decay=1e-4)
            inputs = torch.randn(batch, n_tokens, width, device=m.device, requires_grad=True)

            def tuned(learner=learner, rows=rows, optimiser=optimiser):
                optimiser.zero_grad(set_to_none=True)
                learner.loss(data, rows, rng).backward()

            def whole(learner=learner, optimiser=optimiser, tuned=tuned):
                tuned()
                torch.nn.utils.clip_grad_norm_(learner.model.parameters(), 1.0)
                optimiser.step()

            def yardstick(inputs=inputs, half=half):
                inputs.grad = None
                with m.bf16() if half else contextlib.nullcontext():
                    out = bare(inputs)
                out.float().square().mean().backward()

            def forward(learner=learner, rows=rows):
                with torch.no_grad():
                    learner.loss(data, rows, rng)

            with torch_device.tf32(precision == "tf32"):
                m.free()
                one = {"batch": batch, "precision": precision, "held_gb": m.peak_gb()["allocated"]}
                one["step_s"] = m.seconds(tuned)
                one |= {"peak_gb": m.peak_gb(), "with_optimiser_s": m.seconds(whole), "forward_s": m.seconds(forward)}
                m.free()
                one |= {"bare_s": m.seconds(yardstick), "bare_peak_gb": m.peak_gb()}
                if precision != "tf32":
                    with (
                        contextlib.suppress(torch.OutOfMemoryError),
                        patched(internals, "has_usual_attention", lambda block: False),
                    ):
                        one["with_copies_s"] = m.seconds(tuned, 2, 1)
            rate = 2 * batch * flop_of(width, layers, n_tokens) / one["step_s"] / 1e12
            one |= {"against_bare": one["step_s"] / one["bare_s"], "tflop_s": rate}
            one["share_of_peak"] = rate / peak[precision] if precision in peak else math.nan
            found["rows"].append(one)
    return found


@contextlib.contextmanager
def patched(owner, name: str, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def epochs(m: Machine) -> dict:
    """An epoch of each method of config.yaml in its own protocol, and of the frozen TSConv on all channels."""
    clip, sources = m.clip("ViT-B-32"), {}
    wanted = [("frozen, intra", "frozen", 17, 1), ("neuroclip, intra", "neuroclip", 17, 1)]
    wanted += [("frozen-tsconv, 63 channels, intra", "frozen-tsconv", 63, 1)]
    wanted += [(f"{name}, inter", name, 17, SUBJECTS - 1) for name in ("frozen-tsconv", "neuroclip-tsconv")]
    others = ("no-filter", "no-instance", "no-shared", "shallow-shared", "hard-loss")
    wanted += [(f"{name}, intra", name, 17, 1) for name in others]
    wanted.append(("neuroclip, 256 at once", "neuroclip", 17, 1))
    found, data, last = [], None, None
    m.found["parts"]["epochs"] = {"rows": found}
    for label, name, channels, subjects in wanted:
        if (channels, subjects) != last:
            data = None
            data, last = responses(m, channels, subjects), (channels, subjects)
        one: dict = {"label": label, "method": name, "channels": channels, "subjects": subjects, "pictures": m.n}
        try:
            on_device = pairs([data], np.arange(len(data.stimulus)), m.device)
            m.free()
            method = changed(m.config.methods[name], epochs=2 if m.small else 3, batch_size=64 if m.small else 1024)
            learner = learner_of(m, method, channels, sources, clip)
            if method.visual.drives_tower:
                need = memory.needed(learner.model, learner.pictures, data, method.optimiser, learner.autocast)
                at_once = 16 if m.small else 256
                learner.model.visual.micro_batch = at_once if "at once" in label else None
                batch = method.optimiser.batch_size
                one |= {"reckoned_gb": need.of(at_once if "at once" in label else batch)}
                one |= {"on_24_gb": need.fitting(24.0, batch)}
            history = loop.loop(learner, method.optimiser, on_device, 0)
            one |= {"seconds": float(history["seconds"][1:].mean()), "first_s": float(history["seconds"][0])}
            one |= {"pictures_per_s": m.n / one["seconds"], "peak_gb": m.peak_gb()}
        except torch.OutOfMemoryError as error:
            one["error"] = str(error).splitlines()[0]
        learner = on_device = None
        found.append(one)
    return {"rows": found, "hours": hours(m, {one["label"]: one.get("seconds", math.nan) for one in found})}


def seeds(m: Machine) -> dict:
    """An epoch of the frozen baseline for several seeds in one pass, against one of them alone."""
    method = changed(m.config.methods["frozen"], epochs=2 if m.small else 4, batch_size=64 if m.small else 1024)
    data, found = pairs([responses(m, 17)], np.arange(m.n), m.device), []
    m.found["parts"]["seeds"] = {"rows": found}
    for n in (1, 5, 10):
        sources: dict = {}
        learners = [learner_of(m, method, 17, sources, None) for _ in range(n)]
        m.free()
        if n == 1:
            history = loop.loop(learners[0], method.optimiser, data, 0)
        else:
            history = batched.train(learners, data, range(n))[0]
        seconds = n * float(history["seconds"][1:].mean())
        one = {"seeds": n, "seconds": seconds, "pictures_per_s": n * m.n / seconds, "peak_gb": m.peak_gb()}
        found.append(one | {"against_alone": seconds / (n * found[0]["seconds"]) if found else 1.0})
    return {"rows": found}


def hours(m: Machine, seconds: dict[str, float]) -> dict:
    """GPU hours of the trainings of config.yaml, reckoned from one epoch of each."""
    sought = {
        (next(iter(one.protocols)), method, seed)
        for one in m.config.experiments.values()
        for method in one.methods
        for seed in one.seeds
        if method != "ridge"
    }
    methods = m.config.methods
    measured = {alike(methods[name]): name for label in seconds for name in [label.split(", ")[0]] if name in methods}
    total: dict[str, float] = {}
    for protocol, method, _ in sought:
        same = measured.get(alike(methods[method]), method)
        spent = seconds.get(f"{same}, {protocol}", math.nan) * methods[method].optimiser.epochs
        total[protocol] = total.get(protocol, 0.0) + spent * SUBJECTS / 3600
    return total | {"models": len(sought) * SUBJECTS, "all": sum(total.values())}


def alike(method: settings.Contrastive) -> str:
    """Settings of which an epoch costs the same."""
    optimiser = method.optimiser.model_copy(update={"epochs": 1})
    return settings.canonical(method.model_copy(update={"label": "", "shuffle_labels": False, "optimiser": optimiser}))


def pictures_per_second(m: Machine) -> dict:
    """The features stage against a bare loop over encode_image, with pictures from files and with pictures at hand."""
    found, peak = [], m.found["parts"].get("peaks", {})
    m.found["parts"]["features"] = {"rows": found}
    tower = m.config.towers["vit-b-32"]
    mean, std = torch.full((3, 1, 1), 0.45), torch.full((3, 1, 1), 0.27)
    transform = open_clip.image_transform(224, False, mean.flatten().tolist(), std.flatten().tolist())
    at_hand = cycle(torch.randn(64, 3, 224, 224).clamp(-1, 1))

    @torch.inference_mode()
    def bare(visual, stack):
        return torch.cat([visual(part.to(m.device)).float().cpu() for part in stack.split(tower.batch_size)])

    @torch.inference_mode()
    def bare_files(visual, paths):
        for start in range(0, len(paths), tower.batch_size):
            part = [transform(Image.open(path)) for path in paths[start : start + tower.batch_size]]
            visual(torch.stack(part).to(m.device)).cpu()

    def stage(clip, bands, cache, paths):
        rows = pd.DataFrame({"image": paths, "stimulus_id": [str(row) for row in range(len(paths))]})
        features._pictures(clip, bands, rows, tower, cache, m.device.type)

    with tempfile.TemporaryDirectory() as folder:
        files = jpegs(Path(folder), 8 if m.small else 64)
        for name, (width, layers, _, patch, _) in m.towers.items():
            count = 16 if m.small else 1024 if name == "ViT-B-32" else 256
            model = m.clip(name)
            clip = frozen_clip.Clip(model, lambda _: next(at_hand), None, mean, std, (224, 224))
            cache = features._cache_kind(tower, clip, PICTURES + TESTED)
            bands = None
            if cache == "tokens":
                bank = tower.filter_bank
                bands = BandTokens(internals.patch_embedding(model.visual), (224, 224), bank).to(m.device)
            paths, stack = (files * count)[:count], torch.randn(count, 3, 224, 224)
            one: dict = {"tower": name, "cache": cache, "pictures": count}

            def per_second(run, *given, repeats=3):
                return len(given[-1]) / m.seconds(lambda: run(*given), repeats, 1)

            with patched(frozen_clip.pictures, "read", lambda path: None):
                one["stage_at_hand"] = per_second(stage, clip, bands, cache, paths)
            one["bare_fp32"], fp32 = per_second(bare, model.visual, stack), bare(model.visual, stack)
            with torch_device.tf32(True):
                one["bare_tf32"], tf32 = per_second(bare, model.visual, stack), bare(model.visual, stack)
            if name == "ViT-B-32":
                some, decoded = paths[:256], replace(clip, preprocess=transform)
                one["stage_from_files"] = per_second(stage, decoded, bands, cache, some, repeats=2)
                one["bare_from_files"] = per_second(bare_files, model.visual, some, repeats=2)
            # In bf16 itself: under autocast nn.MultiheadAttention would copy its weights.
            bands, half, stack = None, model.visual.to(torch.bfloat16), stack.to(torch.bfloat16)
            one["bare_bf16"], bf16 = per_second(bare, half, stack), bare(half, stack)
            for label, other in (("tf32", tf32), ("bf16", bf16)):
                one[f"cosine_loss_{label}"] = float(1 - F.cosine_similarity(fp32, other).min())
            rate = one["bare_bf16"] * flop_of(width, layers, 1 + (224 // patch) ** 2) / 1e12
            one["bare_bf16_share_of_peak"] = rate / peak["bf16"] if "bf16" in peak else math.nan
            found.append(one)
            model = clip = half = None
            m.free()
    return {"rows": found}


def jpegs(folder: Path, count: int) -> list[str]:
    """Smooth random pictures of 500 x 500 as files."""
    paths = [folder / f"{number}.jpg" for number in range(count)]
    rng = np.random.default_rng(2)
    for path in paths:
        small = Image.fromarray(rng.integers(0, 256, (50, 50, 3), dtype=np.uint8))
        small.resize((500, 500), Image.Resampling.BICUBIC).save(path, quality=92)
    return [str(path) for path in paths]


def tests(m: Machine) -> dict:
    """tests/gpu: passed, failed and skipped, with the largest differences that they note."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu", f"--junitxml={report}"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
        lines = [line for line in ran.stdout.splitlines() if line.startswith(("E  ", "FAILED", "ERROR"))]
        found: dict = {"last_line": (ran.stdout.splitlines() or [ran.stderr[-500:]])[-1], "failures": lines[:60]}
        found["noted"] = noted(report)
    return found


def noted(report: Path) -> dict:
    """Properties of each test of a JUnit report."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        values = {one.get("name"): number(one.get("value", "")) for one in case.iter("property")}
        if values:
            found[case.get("name")] = values
    return found


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def compiled(m: Machine) -> dict:
    """The same step with the blocks of the tower through torch.compile."""
    if not m.cuda:
        return {"left_out": "needs a CUDA device"}
    method, clip = changed(m.config.methods["neuroclip"], precision="bf16"), m.clip("ViT-B-32")
    sources, rng = {}, np.random.default_rng(0)
    data = pairs([responses(m, 17)], np.arange(m.n), m.device)
    learner = learner_of(m, method, 17, sources, clip)
    learner.model.train()

    def tuned():
        learner.model.zero_grad(set_to_none=True)
        learner.loss(data, np.arange(1024), rng).backward()

    plain = m.seconds(tuned)
    torch._dynamo.config.recompile_limit = 64  # one for each block, should they be told apart
    start = time.perf_counter()
    with patched(internals, "through", torch.compile(internals.through, dynamic=False)):
        tuned()
        m.wait()
        first = time.perf_counter() - start
        return {"batch": 1024, "plain_s": plain, "compiled_s": m.seconds(tuned), "first_s": first}


#: In the order in which they run; what is worth most comes first. The last one is left out where time is short.
PARTS = {
    "card": card,
    "peaks": peaks,
    "step": step,
    "epochs": epochs,
    "seeds": seeds,
    "tests": tests,
    "features": pictures_per_second,
    "compiled": compiled,
}


# ----------------------------------------------------------------------------------------------------- output


def table(found: dict) -> str:
    """The short table that is printed last."""
    parts, lines = found["parts"], []
    about, peak = parts.get("card", {}), parts.get("peaks", {})
    lines.append(f"{about.get('name')}, driver {about.get('driver')}, torch {about.get('torch')}, {about.get('date')}")
    lines.append("peaks: " + ", ".join(f"{name} {value:.4g}" for name, value in peak.items()))
    for one in parts.get("step", {}).get("rows", []):
        lines.append(
            "step: batch {batch}, {precision}: {step_s:.4f} s, {against_bare:.2f} x bare, {share_of_peak:.1%} of peak, "
            "{peak:.1f} GB".format(peak=one["peak_gb"]["allocated"], **one)
            + (f", with copies {one['with_copies_s']:.4f} s" if "with_copies_s" in one else "")
        )
    for one in parts.get("epochs", {}).get("rows", []):
        told = one.get("error") or (
            f"{one['seconds']:.2f} s, {one['pictures_per_s']:.0f} pictures/s, {one['peak_gb']['allocated']:.1f} GB"
            + (f" (reckoned {one['reckoned_gb']:.1f})" if "reckoned_gb" in one else "")
        )
        lines.append(f"epoch: {one['label']}: {told}")
    for one in parts.get("seeds", {}).get("rows", []):
        lines.append(
            "seeds: {seeds} at once: {seconds:.3f} s an epoch, {against_alone:.2f} x one after the other".format(**one)
        )
    spent = parts.get("epochs", {}).get("hours", {})
    lines.append("GPU hours: " + ", ".join(f"{name} {one:.3g}" for name, one in spent.items()))
    for one in parts.get("features", {}).get("rows", []):
        values = (f"{key} {value:.4g}" for key, value in one.items() if isinstance(value, float))
        lines.append(f"features: {one['tower']} (pictures/s): {', '.join(values)}")
    if "compiled" in parts:
        lines.append(f"compiled: {parts['compiled']}")
    if "tests" in parts:
        lines.append(f"tests: {parts['tests']['last_line']}")
        lines += [f"  {name}: {values}" for name, values in parts["tests"]["noted"].items()]
        lines += [f"  {line}" for line in parts["tests"]["failures"][:25]]
    lines += [f"FAILED {name}: {text.splitlines()[-1]}" for name, text in found["errors"].items()]
    return "\n".join([*lines, f"seconds by part: {found['seconds']}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--limit", type=float, default=210.0, help="start no part after so many seconds")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("gpu: no CUDA device, nothing to measure")
        return
    m = Machine(given.device, given.small)
    for name in given.parts:
        start = time.perf_counter()
        if start - STARTED > given.limit:
            m.found["errors"][name] = f"left out: {given.limit:g} s are over"
            continue
        try:
            m.found["parts"][name] = PARTS[name](m)
        except Exception:  # whatever a card makes of it: the other parts are worth having
            m.found["errors"][name] = traceback.format_exc()
            print(m.found["errors"][name], file=sys.stderr)
        m.free()
        m.found["seconds"][name] = round(time.perf_counter() - start, 1)
        print(f"gpu: {name} {m.found['seconds'][name]} s", file=sys.stderr, flush=True)
        if given.out:
            given.out.write_text(json.dumps(m.found, indent=1) + "\n", encoding="utf-8")
    print(table(m.found))


if __name__ == "__main__":
    main()
