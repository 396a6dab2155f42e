"""The device of a stage, and what it says where a GPU that was given is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brain2clip import settings, stage
from brain2clip.internals import torch_device
from brain2clip.plan import Plan


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in (*torch_device.GIVEN, torch_device.MISSING):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", torch_device.GIVEN)
def test_a_job_that_was_given_a_gpu_and_finds_none_stops(monkeypatch, name):
    monkeypatch.setenv(name, "3")
    with pytest.raises(stage.InputError, match=f"{name}=3") as error:
        torch_device.chosen(asked=True)
    assert "missing_gpu: cpu" in str(error.value)
    assert torch_device.chosen().type == "cpu", "a job that asks for none"
    monkeypatch.setenv(torch_device.MISSING, "cpu")
    assert torch_device.chosen(asked=True).type == "cpu"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"CUDA_VISIBLE_DEVICES": ""},
        {"CUDA_VISIBLE_DEVICES": "-1", "SLURM_JOB_GPUS": "0"},
        {"CUDA_VISIBLE_DEVICES": "NoDevFiles"},
        {"SLURM_GPUS_ON_NODE": "0"},
    ],
)
def test_a_job_that_was_given_none_takes_the_cpu(monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert torch_device.chosen(asked=True).type == "cpu"


def test_the_setting_reaches_jobs_and_makes_none_run_again():
    raw = settings.read("tests/workflow/tiny.yaml")
    plans = [Plan(settings.load({**raw, **more})) for more in ({}, {"missing_gpu": "cpu"})]
    assert [plan.environment()[torch_device.MISSING] for plan in plans] == ["stop", "cpu"]
    before, after = (plan.train_job(plan.runs()[0]).spec.json for plan in plans)
    assert after == before


def test_only_jobs_that_use_a_gpu_ask_for_one():
    jobs = Plan(settings.load(settings.read("config.yaml"))).jobs().values()
    asking = {(job.stage, "ridge" in job.outputs[0]) for job in jobs if job.on_gpu}
    assert asking == {("features", False), ("train", False)}
    assert any(job.stage == "train" and "ridge" in job.outputs[0] for job in jobs)


def test_bf16_that_is_emulated_does_not_count(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: asked.append(including_emulation)
    )
    assert not torch_device.has_bf16(torch.device("cuda"))
    assert asked == [False]
    monkeypatch.setattr(torch_device.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not torch_device.has_bf16(torch.device("cpu"))


def test_tf32_is_on_inside_only():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with torch_device.tf32():
        assert torch.backends.cuda.matmul.allow_tf32
        with torch_device.tf32(False):
            assert not torch.backends.cudnn.allow_tf32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_a_copy_on_the_cpu_is_the_array():
    array = np.arange(4.0)
    tensor = torch_device.copied(array, torch.device("cpu"))
    assert tensor.tolist() == [0, 1, 2, 3]
    assert np.isnan(torch_device.peak_gb(torch.device("cpu")))
