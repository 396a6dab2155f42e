"""LoRA in the frozen tower: nothing at the start, its own parameters only, merged for use, never in another's tower."""

import brain_files
import numpy as np
import pytest
import torch
from tiny_clip import IMAGE, pictures, tiny_clip
from torch.nn.utils import parametrize

from brain2clip import artefact, stage
from brain2clip.models.adapters import lora
from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.visuals.neuroclip import PictureSide
from brain2clip.settings import Contrastive, FilterBank, Lora, NeuroClipVisual, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training import train

OFF = {"fusion": {"kind": "none"}, "prompts": {"depth": "off"}}
BOTH = ("attention", "mlp")


def batch(clip, n=3):
    with torch.no_grad():
        tokens, bands = BandTokens(clip.visual.conv1, (IMAGE, IMAGE), FilterBank())(pictures(n))
        return Pictures(clip.encode_image(pictures(n)), tokens, bands)


def side(clip, checkpointing=False, rest=None, **adapter):
    torch.manual_seed(3)
    values = {"head": {"kind": "none"}, "adapter": {"kind": "lora", **adapter}, **(OFF if rest is None else rest)}
    return PictureSide(NeuroClipVisual.model_validate(values), Frozen(24, 4, clip.visual, checkpointing))


def disturbed(visual):
    """As if it had been trained: B is not zero."""
    with torch.no_grad():
        for change in visual.adapter.changes.values():
            change.up.normal_(std=0.1)
    return visual


def test_at_the_start_the_tower_is_open_clips_own_bit_for_bit():
    clip = tiny_clip()
    seen = batch(clip)
    with torch.no_grad():
        assert torch.equal(side(clip, weights=BOTH)(seen), clip.encode_image(pictures(3)))


def test_the_change_is_alpha_over_rank_times_b_a():
    clip = tiny_clip()
    visual = disturbed(side(clip, rank=2, alpha=6.0, weights=("mlp",)))
    change = visual.adapter.changes["block-1-c_fc"]
    before, after = (one.visual.transformer.resblocks[1].mlp.c_fc.weight for one in (clip, visual.tower))
    torch.testing.assert_close(after - before, 3.0 * change.up @ change.down, atol=1e-6, rtol=1e-4)
    assert change.down.shape == (2, 32)
    assert change.up.shape == (128, 2)


@pytest.mark.parametrize("rest", [OFF, {"fusion": {"width": 8, "heads": 2}}])
def test_merged_is_as_unmerged(rest):
    clip = tiny_clip()
    seen = batch(clip)
    visual = disturbed(side(clip, weights=BOTH, rest=rest)).eval()
    with torch.no_grad():
        before = visual(seen)
        assert not torch.allclose(before, clip.encode_image(pictures(3)), atol=1e-3)
        visual.merge()
        torch.testing.assert_close(visual(seen), before, atol=1e-5, rtol=1e-5)
    assert not any(parametrize.is_parametrized(module) for module in visual.tower.modules())


def test_the_tower_of_another_model_is_never_touched():
    clip = tiny_clip()
    seen = batch(clip)
    weights = {name: value.clone() for name, value in clip.state_dict().items()}
    with torch.no_grad():
        expected = clip.encode_image(pictures(3))
    visual = side(clip, weights=BOTH)
    optimiser = torch.optim.AdamW([one for one in visual.parameters() if one.requires_grad], lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        visual(seen).square().sum().backward()
        optimiser.step()
    visual.merge()
    assert not any(parametrize.is_parametrized(module) for module in clip.modules())
    assert weights.keys() == clip.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in clip.state_dict().items())
    with torch.no_grad():
        assert torch.equal(clip.encode_image(pictures(3)), expected)


def test_the_copy_of_a_tower_costs_no_memory():
    clip = tiny_clip()
    own = {name: one.data_ptr() for name, one in clip.visual.named_parameters()}
    visual = side(clip, weights=BOTH)
    found = {name.replace("parametrizations.", "").removesuffix(".original"): one.data_ptr()
             for name, one in visual.tower.visual.named_parameters()}  # fmt: skip
    assert found == own


def test_only_the_last_blocks_and_the_chosen_weights_are_adapted():
    visual = side(tiny_clip(), last_blocks=1)
    assert set(visual.adapter.changes) == {"block-2-in_proj", "block-2-out_proj"}
    early = {**OFF, "readout": {"block": 2, "pool": "patches"}}
    assert set(side(tiny_clip(), last_blocks=1, rest=early).adapter.changes) == {"block-1-in_proj", "block-1-out_proj"}


def test_without_prompts_and_fusion_it_alone_tunes_the_tower():
    visual = side(tiny_clip(), weights=BOTH)
    trained = [name for name, one in visual.named_parameters() if one.requires_grad]
    assert len(trained) == 2 * 3 * 4
    assert all(name.startswith("adapter.changes.") for name in trained)


def test_other_parameters_start_as_without_an_adapter():
    clip = tiny_clip()
    rest = {"fusion": {"width": 8, "heads": 2}, "head": {"width": 8}}
    torch.manual_seed(3)
    without = PictureSide(NeuroClipVisual.model_validate(rest), Frozen(24, 4, clip.visual))
    found = dict(side(clip, rest=rest).named_parameters())
    for name, one in without.named_parameters():
        if one.requires_grad:
            assert torch.equal(found[name], one), name


def test_checkpointing_changes_no_gradient():
    grads = []
    for checkpointing in (False, True):
        clip = tiny_clip()
        seen = batch(clip)
        torch.manual_seed(4)
        visual = disturbed(side(clip, checkpointing, weights=BOTH))
        visual(seen).square().sum().backward()
        grads.append([one.grad for one in visual.adapter.parameters()])
    assert all(one.any() for one in grads[0])
    torch.testing.assert_close(*grads)


def test_under_autocast_the_change_keeps_full_precision():
    visual = disturbed(side(tiny_clip()))
    change = visual.adapter.changes["block-0-in_proj"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = change()
    assert torch.equal(found, change())


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(InputError, match="last_blocks is 4, but the tower uses 3 blocks"):
        side(tiny_clip(), last_blocks=4)
    clip = tiny_clip()
    clip.visual.transformer.resblocks[1].mlp = torch.nn.Linear(32, 32)
    with pytest.raises(InputError, match="ResidualAttentionBlock without the usual weights of mlp"):
        side(clip, weights=("mlp",))


def test_the_checkpoint_holds_its_parameters_alone_and_they_train_with_the_rate_of_the_tower(tmp_path):
    embedding = brain_files.write_stimuli(tmp_path / "stimuli.h5")
    brain_files.write_responses(tmp_path / "eeg.h5", embedding)
    visual = {"head": {"width": 12}, "adapter": {"kind": "lora"}, **OFF}
    method = {"tower": "t", "encoder": {"width": 16}, "brain_head": {"width": 12}, "visual": visual}
    tower = Tower(model=brain_files.save_tower(tmp_path / "tower")).model_dump(mode="json")
    inputs = {"responses": [tmp_path / "eeg.h5"], "stimuli": [tmp_path / "stimuli.h5"]}
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "model.parquet"}

    def trained(lr_visual):
        budget = {"epochs": 2, "batch_size": 20, "lr_visual": lr_visual}
        given = Contrastive.model_validate({**method, "optimiser": budget}).model_dump(mode="json")
        values = {"method": given, "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
        train.run(stage.Job("train", values, "code", {}, inputs, outputs))
        return artefact.read_tensors(outputs["checkpoint"])

    tensors = trained(1e-3)
    assert not any("tower" in name for name in tensors), "a CLIP weight in the checkpoint"
    own = [name for name in tensors if name.startswith("visual.adapter.")]
    assert len(own) == 2 * 3 * 2
    rise = [float(trained(rate)["visual.adapter.changes.block-0-in_proj.up"].abs().max()) for rate in (1e-3, 1e-2)]
    np.testing.assert_allclose(rise[1] / rise[0], 10, rtol=0.3)


def test_a_weight_is_adapted_once_however_often_it_is_named():
    block = tiny_clip().visual.transformer.resblocks[0]
    assert len(list(lora.weights_of(block, ("mlp", "mlp")))) == 2
    assert Lora().weights == ("attention",)
