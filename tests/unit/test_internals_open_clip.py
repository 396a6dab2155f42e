"""What brain2clip takes for granted of open_clip, one assumption each; and that only its two modules do."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip import constants, transformer
from tiny_clip import IMAGE, pictures, tiny_clip

from brain2clip.internals import open_clip as internals
from brain2clip.internals import open_clip_files
from brain2clip.stage import InputError
from brain2clip.stimuli import weights

SOURCE = Path(__file__).resolve().parents[2] / "src" / "brain2clip"
#: Names of open_clip's that nobody else may know.
PRIVATE = {
    *("conv1", "class_embedding", "positional_embedding", "ln_pre", "ln_post", "resblocks", "_pool", "_global_pool"),
    *("in_proj_weight", "c_fc", "c_proj", "ln_final", "text_projection", "preprocess_cfg", "get_pretrained_cfg"),
    "bytes_to_unicode",
}


@pytest.fixture(params=["tok", "avg"])
def clip(request):
    return tiny_clip(request.param)


@torch.no_grad()
def test_the_parts_put_together_are_the_tower(clip):
    visual, given = clip.visual, pictures(3)
    assert internals.is_vision_transformer(visual)
    assert internals.driven(visual) is visual
    tokens = internals.patch_embedding(visual)(given).flatten(2).transpose(1, 2)
    x = internals.with_class_token(visual, tokens)
    assert torch.equal(x, visual._embeds(given))
    for block in internals.blocks(visual):
        x = block(x)
    whole = internals.projected(visual, internals.pooled(visual, x))
    assert torch.equal(whole, clip.encode_image(given))
    assert whole.shape == (3, internals.joint_width(visual))


def test_a_patch_becomes_a_token_without_a_bias(clip):
    visual = clip.visual
    embedding = internals.patch_embedding(visual)
    assert embedding.bias is None
    assert embedding.stride == embedding.kernel_size == internals.patch_size(visual)
    assert embedding.out_channels == internals.width(visual)
    assert internals.picture_size(clip) == (IMAGE, IMAGE)


def test_a_tower_without_a_projection_answers_with_its_width(clip):
    clip.visual.proj = None
    assert internals.joint_width(clip.visual) == internals.width(clip.visual)
    x = torch.ones(2, internals.width(clip.visual))
    assert internals.projected(clip.visual, x) is x


def test_the_mean_patch_is_behind_the_last_layer_norm_and_without_the_class_token():
    visual = tiny_clip("avg").visual
    x = torch.randn(2, 5, internals.width(visual))
    assert torch.equal(internals.mean_of_patches(visual, x), internals.pooled(visual, x))


@pytest.mark.parametrize("part", [*internals.PARTS, "conv1"])
def test_a_part_that_is_missing_is_named(part):
    visual = tiny_clip().visual
    if part == "_pool":
        visual = type("VisionTransformer", (torch.nn.Module,), {})()
        visual.__dict__.update({name: 0 for name in internals.PARTS if name != part})
    else:
        delattr(visual, part)
    with pytest.raises(InputError, match=rf"has no {part}, which .*make env"):
        internals.patch_embedding(visual) if part == "conv1" else internals.driven(visual)


def test_towers_of_another_kind_are_told_apart():
    cfg = open_clip.CLIPVisionCfg(image_size=32, layers=[1, 1, 1, 1], width=8)
    resnet = open_clip.CLIP(16, cfg, open_clip.CLIPTextCfg(8, 64, width=16, heads=2, layers=1)).visual
    assert not internals.is_vision_transformer(resnet)


def test_a_block_has_the_weights_that_lora_changes(clip):
    (block, *_), width = internals.blocks(clip.visual), internals.width(clip.visual)
    assert type(block).__name__ == "ResidualAttentionBlock"
    found = {label: getattr(module, name) for part in internals.WEIGHTS for module, name, label in
             internals.weights(block, part)}  # fmt: skip
    assert [tuple(found[label].shape[:1]) for label in ("in_proj", "out_proj", "c_proj")] == [
        (3 * width,),
        (width,),
        (width,),
    ]
    assert found["c_fc"].shape == found["c_proj"].shape[::-1]
    assert internals.weights(torch.nn.Linear(2, 2), "attention") is None
    block.mlp.c_fc = torch.nn.Identity()
    assert internals.weights(block, "mlp") is None


def test_a_block_with_gradients_is_put_together_from_its_parts(clip, monkeypatch):
    block = internals.blocks(clip.requires_grad_(False).visual)[0]
    x = torch.randn(8, 5, internals.width(clip.visual), requires_grad=True)
    expected = block(x)
    monkeypatch.setattr(type(block), "forward", None)
    assert torch.equal(internals.through(block, x), expected)


def other_blocks():
    """Blocks of open_clip's that are not as the usual one."""
    yield transformer.CustomResidualAttentionBlock(16, 2)
    changed = transformer.ResidualAttentionBlock(16, 2)
    changed.attn = torch.nn.MultiheadAttention(16, 2, batch_first=True, add_bias_kv=True)
    yield changed


def test_a_block_of_another_kind_is_called_as_it_is():
    for block in other_blocks():
        block = block.eval().requires_grad_(False)
        x = torch.randn(8, 5, 16, requires_grad=True)
        assert torch.equal(internals.through(block, x), block(x))


@torch.no_grad()
def test_texts_go_through_the_table_of_token_embeddings(clip):
    table = internals.token_embedding(clip)
    tokens = torch.tensor([[62, 5, 9, 63, 0, 0, 0, 0]])
    seen = []
    hook = table.register_forward_hook(lambda module, given, embedded: seen.append(embedded))
    before = clip.encode_text(tokens)
    hook.remove()
    assert [tuple(one.shape) for one in seen] == [(1, 8, table.weight.shape[1])]
    hook = table.register_forward_hook(lambda module, given, embedded: embedded.flip(-1))
    assert not torch.equal(clip.encode_text(tokens), before)  # what a hook answers is what the tower goes on with
    hook.remove()
    assert internals.token_embedding(torch.nn.Linear(2, 2)) is None


def test_custom_text_models_keep_the_table_elsewhere():
    custom = open_clip.CustomTextCLIP(
        16,
        open_clip.CLIPVisionCfg(image_size=IMAGE, patch_size=8, width=16, head_width=8, layers=1),
        open_clip.CLIPTextCfg(context_length=8, vocab_size=64, width=16, heads=2, layers=1),
    )
    assert internals.token_embedding(custom).weight.shape == (64, 16)


def test_files_have_open_clips_names():
    assert internals.FILES == (constants.HF_SAFE_WEIGHTS_NAME, constants.HF_WEIGHTS_NAME)
    assert (weights.CONFIG, weights.WEIGHTS) == (constants.HF_CONFIG_NAME, constants.HF_SAFE_WEIGHTS_NAME)


def test_tags_say_where_their_weights_are():
    repository, names = internals.on_hub("ViT-B-32", "laion2b_s34b_b79k")
    assert repository.count("/") == 1
    assert names == internals.FILES
    assert internals.on_hub("ViT-B-32", "no-such-tag") == ("", internals.FILES)


def test_the_files_say_what_the_import_says():
    """All models and activations; all tags, where their weights are, and what these were trained with."""
    by_files, by_import = open_clip_files.known(), internals.known()
    assert by_files == by_import
    assert len(by_files.models) > 100
    assert by_files.tags["ViT-B-32"]["openai"].quick_gelu
    assert open_clip.get_pretrained_cfg("ViT-B-32", "openai")["quick_gelu"]
    assert open_clip.get_model_config("ViT-B-32-quickgelu")["quick_gelu"]
    assert by_files.models["ViT-B-32-quickgelu"]


def test_tags_are_told_from_paths():
    assert [tag for _, tag in open_clip.list_pretrained() if weights.is_path(tag)] == []


@pytest.mark.parametrize(
    "source",
    [
        "", "_PRETRAINED = load()", "_PRETRAINED = {'A': {'tag': 1}}", "_PRETRAINED = {'A': dict(tag=NAME)}",
        "_PRETRAINED = {'A': OTHER}", "_PRETRAINED = {**OTHER}", "_PRETRAINED = {'A': dict(t=f(quick_gelu=NAME))}", "=",
    ],
)  # fmt: skip
def test_a_table_in_another_form_is_left_to_the_stage(tmp_path, monkeypatch, source):
    (tmp_path / "open_clip/model_configs").mkdir(parents=True)
    (tmp_path / "open_clip/__init__.py").touch()
    path = tmp_path / "open_clip/pretrained.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "open_clip")
    path.write_text("_PRETRAINED = {'A': dict(tag=f(hf_hub='b/c/'))}")
    assert open_clip_files.known.__wrapped__().tags == {"A": {"tag": open_clip_files.Tag("b/c/", quick_gelu=False)}}
    path.write_text(source)
    assert open_clip_files.known.__wrapped__() is None


def test_each_byte_has_a_symbol_of_its_own():
    symbols = internals.byte_symbols()
    assert sorted(symbols) == list(range(256))
    assert len({*symbols.values()}) == 256
    assert symbols[ord("a")] == "a"


def test_nobody_else_knows_these_names():
    wrong = set()
    for path in SOURCE.rglob("*.py"):
        if path.parent.name != "internals":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "name", None)
                if name in PRIVATE:
                    wrong.add(f"{path.relative_to(SOURCE)}:{node.lineno}: {name}")
    assert wrong == set()
