"""Where a tower may come from, and what is said where it cannot be had."""

import json
import socket
import time

import brain_files
import huggingface_hub.constants
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from brain2clip.settings import Tower
from brain2clip.stage import InputError
from brain2clip.stimuli import frozen_clip


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty hub cache, and a hub on a port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def architecture(monkeypatch, tmp_path):
    """A named architecture of open_clip's registry that is small enough for tests."""
    brain_files.save_tower(tmp_path / "tower")
    config = json.loads((tmp_path / "tower/open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-tiny-test", config)
    return "ViT-tiny-test"


def test_a_folder_gives_a_frozen_model_and_its_own_transform(tmp_path):
    clip = frozen_clip.load(Tower(model=brain_files.save_tower(tmp_path / "tower")))
    assert not clip.model.training
    assert not any(parameter.requires_grad for parameter in clip.model.parameters())
    assert {parameter.dtype for parameter in clip.model.parameters()} == {torch.float32}
    assert clip.image_size == (32, 32)
    assert clip.mean.flatten().tolist() == clip.std.flatten().tolist() == [0.5] * 3
    assert clip.preprocess(Image.new("L", (50, 40), 128)).shape == (3, 32, 32)
    assert clip.tokenize(["a photo of a face"]).shape == (1, 8)


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors"])
def test_a_folder_that_lacks_a_file_is_named(tmp_path, name):
    tower = Tower(model=brain_files.save_tower(tmp_path / "tower"))
    (tmp_path / "tower" / name).unlink()
    with pytest.raises(InputError, match=rf"towers\.\*\.model: .* needs the file .*tower/{name}, which does not exist"):
        frozen_clip.load(tower)


def test_weights_of_another_shape_are_refused(tmp_path):
    tower = Tower(model=brain_files.save_tower(tmp_path / "tower"))
    path = tmp_path / "tower/open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 48
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"could not be loaded(.|\n)*Check towers"):
        frozen_clip.load(tower)


def test_a_checkpoint_by_path_equals_the_folder(architecture, tmp_path):
    by_folder = frozen_clip.load(Tower(model=f"local-dir:{tmp_path / 'tower'}"))
    by_path = frozen_clip.load(
        Tower(model=architecture, pretrained=str(tmp_path / "tower/open_clip_model.safetensors"))
    )
    expected = by_folder.model.state_dict()
    found = by_path.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_checkpoint_of_another_model_is_refused(architecture, tmp_path):
    save_file({"nothing": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"could not be loaded(.|\n)*pretrained may be the path"):
        frozen_clip.load(Tower(model=architecture, pretrained=str(tmp_path / "other.safetensors")))


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-33", "openai", r"towers\.\*\.model: open_clip knows no model 'ViT-B-33'.*local-dir:FOLDER"),
        ("ViT-B-32", "openia", r"\.pretrained: 'openia' is neither a file nor a tag of ViT-B-32; tags: .*openai"),
        ("ViT-B-32", "gone/weights.pt", r"'gone/weights\.pt' is neither a file nor a tag"),
        ("ViT-B-32", None, r"'ViT-B-32' needs a pretrained tag or the path of a checkpoint"),
    ],
)
def test_unknown_names_are_refused(model, pretrained, message):
    with pytest.raises(InputError, match=message):
        frozen_clip.load(Tower(model=model, pretrained=pretrained))


@pytest.mark.parametrize(("model", "tag"), [("ViT-B-32", "laion2b_s34b_b79k"), ("ViTamin-S", "datacomp1b")])
@pytest.mark.parametrize("offline", ["", "1"])
def test_without_network_a_tag_fails_at_once_and_says_what_to_do(no_network, monkeypatch, model, tag, offline):
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"cannot be reached.*Download the checkpoint.*give its path as"):
        frozen_clip.load(Tower(model=model, pretrained=tag))
    assert time.perf_counter() - started < 10


def test_a_hub_behind_a_proxy_counts_as_reachable(no_network, monkeypatch):
    assert not frozen_clip._reachable()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert frozen_clip._reachable()


def test_every_tag_of_open_clip_can_be_looked_up_in_the_cache(no_network):
    assert not any(
        frozen_clip._cached(Tower(model=model, pretrained=tag)) for model, tag in open_clip.list_pretrained()
    )


def test_weights_in_the_hubs_cache_need_no_network(no_network, tmp_path):
    tower = Tower(model="ViTamin-S", pretrained="datacomp1b")
    repository = tmp_path / "hub/models--jienengchen--ViTamin-S"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc")
    (repository / "snapshots/abc").mkdir(parents=True)
    (repository / "snapshots/abc/pytorch_model.bin").write_bytes(b"weights")
    assert frozen_clip._cached(tower)
    frozen_clip._check_source(tower)


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5,) * 3, (0.25,) * 3), (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)],
)
def test_bytes_survive_the_normalisation_and_equal_the_transform(tmp_path, mean, std):
    tower = Tower(model=brain_files.save_tower(tmp_path / "tower"))
    path = tmp_path / "tower/open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"] = {"mean": list(mean), "std": list(std)}
    path.write_text(json.dumps(config))
    clip = frozen_clip.load(tower)
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    normalised = frozen_clip.from_bytes(values, clip.mean, clip.std)
    assert normalised.dtype == torch.float32
    assert torch.equal(frozen_clip.to_bytes(normalised, clip), values)
    picture = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    transformed = clip.preprocess(Image.fromarray(picture.numpy()))[None]
    as_bytes = frozen_clip.to_bytes(transformed, clip)
    assert torch.equal(as_bytes[0], picture.permute(2, 0, 1))
    assert torch.equal(frozen_clip.from_bytes(as_bytes, clip.mean, clip.std), transformed)
