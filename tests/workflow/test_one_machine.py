"""One machine with one GPU, or none."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

pytestmark = pytest.mark.workflow


def seconds(clock: str) -> int:
    hours, minutes, rest = map(int, clock.split(":"))
    return 3600 * hours + 60 * minutes + rest


def test_one_gpu_queues_training_and_no_gpu_is_told(project, monkeypatch):
    """Two cores, three trainings that would run side by side, and one GPU, which is not there.

    Two of them are seeds of one subject, of which the first job trains both.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    project.edit(lambda config: config["experiments"]["bands"].update(seeds=[0, 1, 2]))
    project.edit(lambda config: config.update(seeds_together=True))
    folder = "results/training/simulated/slow/intra/frozen"
    targets = [f"{folder}/sub-{subject}_seed-{seed}.safetensors" for subject in ("01", "02") for seed in (1, 2)][:3]
    said = project.run_preloaded("--resources", "gpu=1", "--", *targets).stderr
    assert "Execute 1 jobs..." in said
    assert not re.search(r"Execute [2-9] jobs", said)
    times, taken = [], []
    for target in targets:
        log = (project.folder / target.replace("/training/", "/logs/train/")).with_suffix(".log").read_text()
        taken.append("train: already trained by the job of another seed" in log)
        assert taken[-1] or re.search(r"train: \d+ responses .* on cpu \(no CUDA device found\)", log)
        clocks = re.findall(r"^(\d\d:\d\d:\d\d) train: (?:start|done)", log, re.MULTILINE)
        times.append(tuple(map(seconds, clocks)))
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(sorted(times)))
    assert sum(taken[:2]) == 1
    assert not taken[2]
    features = (project.folder / "results/logs/features/simulated/grammar-vit.log").read_text()
    assert re.search(r"features: \S+, on (cpu \(no CUDA device found\)|cuda)", features)
