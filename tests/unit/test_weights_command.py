"""Weights of a CLIP: fetched, or said what to copy; and what a run says of towers and drivers that do not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from brain2clip import settings, stage
from brain2clip.cli import weights
from brain2clip.internals import open_clip_files, versions
from brain2clip.plan import Plan, costs
from brain2clip.plan.needs import drawn_towers
from brain2clip.stimuli import weights as files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], bytes]:
    """A hub with some files in place of the network."""
    there: dict[tuple[str, str], bytes] = {}

    def download(repository: str, file: str, local_dir: Path) -> None:
        if not there:
            raise LocalEntryNotFoundError("no network")
        if (repository, file) not in there:
            raise EntryNotFoundError(f"no {file}")
        local_dir.mkdir(parents=True, exist_ok=True)
        (local_dir / file).write_bytes(there[repository, file])

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(weights, "ROOT", tmp_path)
    return there


LAION = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


@pytest.mark.parametrize("file", [files.WEIGHTS, weights.OLDER])
def test_weights_are_fetched_once_and_named(hub, file: str, tmp_path: Path, capsys) -> None:
    hub |= {(LAION, file): b"numbers", (LAION, files.CONFIG): b"{}"}
    weights.weights("ViT-B-32")
    told = capsys.readouterr().out
    path = f"weights/ViT-B-32-laion2b_s34b_b79k/{file}"
    assert f"{path}: SHA-256 {hashlib.sha256(b'numbers').hexdigest()}" in told
    (tower,) = yaml.safe_load(told[told.index("towers:") :])["towers"].values()
    assert settings.Tower(**tower).pretrained == path
    assert (tmp_path / path).read_bytes() == b"numbers"
    hub.clear()
    weights.weights("ViT-B-32/laion2b_s34b_b79k")
    assert "exists" in capsys.readouterr().out


def test_without_a_network_it_says_what_to_copy(hub, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        weights.weights("RN50")
    assert end.value.code == 1
    told = capsys.readouterr().err
    for words in (
        *("timm/resnet50_clip.openai/resolve/main/open_clip_model.safetensors", "(0.4 GB)", "open_clip_config.json"),
        *(str(tmp_path / "weights/RN50-quickgelu-openai/open_clip_model.safetensors"), "model: RN50-quickgelu"),
        "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    ):
        assert words in told
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit-b-32", "did you mean 'ViT-B-32'"),
        ("ViT-B-32/laion2b_s34b", "did you mean 'laion2b_s34b_b79k'"),
        ("ViT-g-14", "several weights; choose one of "),
    ],
)
def test_a_wrong_name_is_answered_with_a_suggestion(name: str, message: str) -> None:
    known = open_clip_files.known()
    assert known is not None
    with pytest.raises(SystemExit, match=message):
        weights.found(name, known.tags)


def test_usual_weights_are_known_and_have_the_right_activation() -> None:
    known = open_clip_files.known()
    assert known is not None
    for model in weights.USUAL:
        source = weights.found(model, known.tags)
        files.check_names(source.model, source.tag, known)
        assert files.check_activation(source.model, source.tag, known) is None


# ------------------------------------------------------------------------------- what a run says beforehand


def plan(tower: dict[str, str], **study: object) -> Plan:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    raw["towers"]["vit-b-32"] = tower
    raw["studies"]["things-eeg2"] |= study
    return Plan(settings.load(raw))


def test_the_drawn_worlds_tower_is_told_beside_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    drawn = {"model": "local-dir:workflow/towers/grammar-vit"}
    (line,) = drawn_towers(plan(drawn))
    assert "\n" not in line
    assert line.startswith("experiments on studies.things-eeg2: towers.vit-b-32 is the small CLIP of the simulated")
    assert drawn_towers(plan({"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"})) == []
    for path in ("demo", "n170"):  # drawn pictures; no pictures
        raw = yaml.safe_load((ROOT / f"workflow/studies/{path}.yaml").read_text(encoding="utf-8"))
        assert drawn_towers(Plan(settings.load(raw))) == []


@pytest.mark.parametrize(
    ("text", "runtime", "old"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 2023\n", "13.2.86", "535.129.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build\n", "13.2.86", None),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 2023\n", "12.8.1", None),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 2023\n", None, None),
        (None, "13.2.86", None),
    ],
)
def test_a_driver_that_is_too_old_is_told(text, runtime, old, tmp_path: Path, monkeypatch) -> None:
    if text is not None:
        (tmp_path / "version").write_text(text)
    monkeypatch.setattr(versions, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(versions, "installed", lambda name: runtime if name == "nvidia-cuda-runtime" else None)
    line = versions.old_driver()
    assert (line is None) == (old is None)
    on_cpu = stage.on_device("cpu")
    if old is None:
        assert on_cpu == "on cpu (no CUDA device found)"
    else:
        assert line.startswith(f"The driver of the GPU is {old}, but CUDA 13 of the installed torch needs 580")
        assert line in on_cpu
        assert not costs.has_gpu(), "nothing will run on it"
