"""Where a tower may come from, and what is said where it cannot be had."""

import json
import socket
import time

import brain_files
import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from brain2clip.internals import open_clip as internals
from brain2clip.settings import Tower
from brain2clip.stage import InputError
from brain2clip.stimuli import frozen_clip, hub, weights


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
    assert not hub.reachable()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert hub.reachable()


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


# --------------------------------------------------------------------------------------------- activation


KNOWN = internals.known()
OF_QUICK_GELU = [
    (model, tag)
    for model, tag in open_clip.list_pretrained()
    if open_clip.get_pretrained_cfg(model, tag).get("quick_gelu") and not KNOWN.models[model]
]


def test_no_tag_of_quick_gelu_is_taken_in_a_model_without_it(no_network):
    """By open_clip's own table; each refusal names a model of its that has the activation and the tag."""
    assert ("ViT-B-32", "openai") in OF_QUICK_GELU
    for model, tag in OF_QUICK_GELU:
        with pytest.raises(InputError, match="trained with QuickGELU") as error:
            frozen_clip.load(Tower(model=model, pretrained=tag))
        right = str(error.value).rpartition("take model: ")[2]
        assert KNOWN.models[right]
        assert tag in open_clip.list_pretrained_tags_by_model(right)


def test_every_other_tag_may_be_taken():
    for model, tag in set(open_clip.list_pretrained()) - set(OF_QUICK_GELU):
        weights.check_names(model, tag, KNOWN)
        assert weights.check_activation(model, tag, KNOWN) is None


def edit_config(path, **values):
    config = json.loads(path.read_text())
    config["model_cfg" if "quick_gelu" in values else "preprocess_cfg"].update(values)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("computes", [True, False])
def test_by_path_the_config_beside_the_weights_decides(architecture, monkeypatch, tmp_path, trained, computes):
    file = tmp_path / "tower/open_clip_model.safetensors"
    edit_config(tmp_path / "tower/open_clip_config.json", quick_gelu=trained)
    known = open_clip.factory._MODEL_CONFIGS
    monkeypatch.setitem(known, f"{architecture}-quickgelu", {**known[architecture], "quick_gelu": True})
    names = {True: f"{architecture}-quickgelu", False: architecture}
    tower = Tower(model=names[computes], pretrained=str(file))
    if trained == computes:
        found = frozen_clip.load(tower).model.transformer.resblocks[0].mlp.gelu
        assert isinstance(found, open_clip.transformer.QuickGELU) == trained
    else:
        with pytest.raises(InputError, match=rf"open_clip_config\.json.*take model: {names[trained]}$"):
            frozen_clip.load(tower)


def test_by_path_in_the_hubs_cache_its_repository_decides_and_else_it_is_said(architecture, tmp_path, caplog):
    (tmp_path / "tower/open_clip_config.json").unlink()
    file = tmp_path / "tower/open_clip_model.safetensors"
    frozen_clip.load(Tower(model=architecture, pretrained=str(file)))
    assert "the activation that the weights were trained with is unknown; assumed GELU" in caplog.text
    cached = tmp_path / "models--timm--vit_base_patch32_clip_224.openai/snapshots/0/weights.safetensors"
    cached.parent.mkdir(parents=True)
    file.rename(cached)
    with pytest.raises(InputError, match=r"trained with QuickGELU \(by open_clip's list of timm/vit_base_patch32"):
        frozen_clip.load(Tower(model=architecture, pretrained=str(cached)))


def test_by_path_pictures_are_prepared_as_the_config_beside_says(architecture, tmp_path):
    edit_config(tmp_path / "tower/open_clip_config.json", mean=[0.1, 0.2, 0.3], interpolation="bilinear")
    by_path = frozen_clip.load(Tower(model=architecture, pretrained=str(tmp_path / f"tower/{WEIGHTS}")))
    by_folder = frozen_clip.load(Tower(model=f"local-dir:{tmp_path / 'tower'}"))
    assert by_path.mean.flatten().tolist() == by_folder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert torch.equal(*(clip.preprocess(Image.fromarray(noise)) for clip in (by_path, by_folder)))


def test_weights_saved_by_data_parallel_are_the_same(architecture, tmp_path):
    expected = frozen_clip.load(Tower(model=f"local-dir:{tmp_path / 'tower'}")).model.state_dict()
    torch.save({"state_dict": {f"module.{name}": one for name, one in expected.items()}}, tmp_path / "parallel.pt")
    found = frozen_clip.load(Tower(model=architecture, pretrained=str(tmp_path / "parallel.pt"))).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


# ------------------------------------------------------------------------------------------------- damage


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605143284\n"


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def spoilt(name, value):
    def do(path):
        from safetensors.torch import load_file

        tensors = load_file(path)
        tensors[name].view(-1)[0] = value
        save_file(tensors, path)

    return do


WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        (WEIGHTS, lambda path: path.write_bytes(POINTER), r"open_clip_model\.safetensors: .*a pointer file"),
        (WEIGHTS, lambda path: path.write_bytes(b"<html>404</html>"), "found a web page"),
        (WEIGHTS, lambda path: path.write_bytes(b""), "found an empty file"),
        (WEIGHTS, cut, r"could not be loaded: SafetensorError(.|\n)*cut short"),
        (WEIGHTS, spoilt("visual.conv1.weight", float("nan")), r"1 of \d+ numbers of the weight visual\.conv1\.weight"),
        (WEIGHTS, spoilt("logit_scale", float("inf")), "1 of 1 numbers of the weight logit_scale are not finite"),
        (CONFIG, lambda path: path.write_text("{"), r"open_clip_config\.json: not readable as JSON"),
        (CONFIG, lambda path: path.write_text("[]"), r"open_clip_config\.json: lacks model_cfg"),
        (CONFIG, lambda path: path.write_text('{"model_cfg": {"vision_cfg": {}}}'), "lacks model_cfg.text_cfg"),
        (CONFIG, lambda path: edit_config(path, quick_gelu=False, vision_cfg={"layers": "x"}), "could not be loaded"),
        (CONFIG, lambda path: edit_config(path, mean=[0.5]), "could not be loaded"),
    ],
)  # fmt: skip
def test_damaged_files_of_a_folder_are_a_sentence(tmp_path, name, damage, words):
    tower = Tower(model=brain_files.save_tower(tmp_path / "tower"))
    damage(tmp_path / "tower" / name)
    with pytest.raises(InputError, match=words):
        frozen_clip.load(tower)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "a pointer file"),
        ("cut", r"could not be loaded(.|\n)*cut short"),
        ({"a": torch.zeros(9)}, r"could not be loaded(.|\n)*belong to another model"),
        ({}, "could not be loaded"),
        (torch.zeros(3), "could not be loaded"),
        (None, "is a folder; give the file of the weights in it"),
    ],
    ids=["pointer", "cut", "other", "nothing", "tensor", "folder"],
)
def test_damaged_checkpoints_are_a_sentence(architecture, tmp_path, content, words):
    path = tmp_path / "weights.pt"
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save({"a": torch.zeros(999)} if isinstance(content, str) else content, path)
    if isinstance(content, str):
        cut(path)
    with pytest.raises(InputError, match=words):
        frozen_clip.load(Tower(model=architecture, pretrained=str(path)))
