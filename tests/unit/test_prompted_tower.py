import pytest
import torch
from tiny_clip import IMAGE, pictures, tiny_clip
from torch.profiler import ProfilerActivity, profile

from brain2clip import kinds
from brain2clip.internals import open_clip as internals
from brain2clip.internals.torch_attention import attended
from brain2clip.models.filters.gains import Filter
from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.prompted_tower import PromptedTower
from brain2clip.models.visuals.neuroclip import PictureSide
from brain2clip.settings import Filter as AnyFilter
from brain2clip.settings import FilterBank, Fusion, Gains, Head, NeuroClipVisual, SharedPrompts, Vector, parse
from brain2clip.stage import InputError
from brain2clip.stimuli.filter_bank import BandTokens

OFF = SharedPrompts(depth="off")


def batch(clip, n=3):
    image = pictures(n)
    bands = BandTokens(clip.visual.conv1, (IMAGE, IMAGE), FilterBank())
    with torch.no_grad():
        tokens, band_tokens = bands(image)
        return image, Pictures(clip.encode_image(image), tokens, band_tokens)


@pytest.mark.parametrize("pool", ["tok", "avg"])
@pytest.mark.parametrize("gradients", [False, True])
def test_with_everything_off_the_tower_is_open_clips_own_bit_for_bit(pool, gradients):
    clip = tiny_clip(pool)
    image, seen = batch(clip)
    tower = PromptedTower(clip.visual, OFF)
    with torch.set_grad_enabled(gradients):
        assert torch.equal(tower(seen.tokens)[0], clip.encode_image(image))


@pytest.mark.parametrize("kind", ["cross-attention", "concat", "add"])
@pytest.mark.parametrize("form", kinds.shipped("filters"))
def test_instance_prompts_are_exactly_zero_at_the_start(kind, form):
    clip = tiny_clip()
    image, seen = batch(clip)
    settings = NeuroClipVisual(
        prompts=OFF,
        fusion=Fusion(kind=kind, width=16, heads=2),
        filter={"kind": form},
        head=Head(kind="none"),
    )
    visual = PictureSide(settings, Frozen(24, 4, clip.visual))
    assert not visual.instance(seen.tokens, seen.band_tokens).any()
    with torch.no_grad():
        assert torch.equal(visual(seen), clip.encode_image(image))


def test_no_clip_weight_wants_a_gradient_or_moves():
    clip = tiny_clip()
    _, seen = batch(clip)
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    settings = NeuroClipVisual(fusion=Fusion(width=16, heads=2), head=Head(width=8))
    visual = PictureSide(settings, Frozen(24, 4, clip.visual))
    assert not any(parameter.requires_grad for parameter in clip.visual.parameters())
    optimiser = torch.optim.AdamW([p for p in visual.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        visual(seen).square().sum().backward()
        optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in clip.state_dict().items())


def test_every_part_gets_a_gradient_after_one_step():
    clip = tiny_clip()
    _, seen = batch(clip)
    settings = NeuroClipVisual(fusion=Fusion(width=16, heads=2), head=Head(width=8))
    visual = PictureSide(settings, Frozen(24, 4, clip.visual))
    optimiser = torch.optim.SGD([p for p in visual.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        visual(seen).square().sum().backward()
        optimiser.step()
    silent = [n for n, p in visual.named_parameters() if p.requires_grad and not (p.grad is not None and p.grad.any())]
    # W1 of the gains waits for W2 to leave zero: one step more.
    assert all("instance.gains.content" in name for name in silent), silent


def recorded_inputs(tower):
    """Inputs of every block during a forward pass."""
    seen = []
    for block in tower.visual.transformer.resblocks:  # a block itself may not be called, its first layer is
        block.ln_1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    return seen


def test_deep_prompts_are_replaced_at_every_block():
    clip = tiny_clip()
    _, seen = batch(clip)
    tower = PromptedTower(clip.visual, SharedPrompts(tokens=5))
    inputs = recorded_inputs(tower)
    tower(seen.tokens)
    assert tower.prompts.shape[0] == 3
    for layer, x in enumerate(inputs):
        assert x.shape[1] == 1 + 5 + 16
        torch.testing.assert_close(x[:, 1:6], tower.prompts[layer].expand(3, -1, -1))


def test_shallow_prompts_enter_once_and_live_on():
    clip = tiny_clip()
    _, seen = batch(clip)
    tower = PromptedTower(clip.visual, SharedPrompts(tokens=5, depth="shallow"))
    inputs = recorded_inputs(tower)
    tower(seen.tokens)
    assert tower.prompts.shape[0] == 1
    torch.testing.assert_close(inputs[0][:, 1:6], tower.prompts[0].expand(3, -1, -1))
    assert all(x.shape[1] == 1 + 5 + 16 for x in inputs)
    assert not torch.allclose(inputs[1][:, 1:6], tower.prompts[0].expand(3, -1, -1))


def test_deep_prompts_in_the_last_blocks_only():
    clip = tiny_clip()
    _, seen = batch(clip)
    tower = PromptedTower(clip.visual, SharedPrompts(tokens=5, last_blocks=1))
    inputs = recorded_inputs(tower)
    tower(seen.tokens)
    assert [x.shape[1] for x in inputs] == [17, 17, 22]


def test_checkpointing_changes_no_gradient():
    grads = []
    for checkpointing in (False, True):
        clip = tiny_clip()
        _, seen = batch(clip)
        torch.manual_seed(1)
        tower = PromptedTower(clip.visual, SharedPrompts(tokens=2), checkpointing=checkpointing)
        tower(seen.tokens)[0].square().sum().backward()
        grads.append(tower.prompts.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("kind", ["frozen", "lora", "merged"])
@pytest.mark.parametrize("autocast", [False, True])
def test_attention_without_copies_gives_open_clips_own_loss_and_gradients(monkeypatch, kind, autocast):
    """Bit for bit; the frozen weight must be folded, not expanded, so there is no batched product with it."""
    monkeypatch.setattr(internals, "attended", torch.nn.functional.scaled_dot_product_attention)  # the block's own
    adapter = None if kind == "frozen" else {"kind": "lora", "weights": ["attention", "mlp"]}
    found = []
    for mended in (True, False):
        if not mended:
            monkeypatch.setattr(internals, "has_usual_attention", lambda block: False)
        clip = tiny_clip()
        _, seen = batch(clip, 16)
        torch.manual_seed(1)
        settings = NeuroClipVisual(fusion=Fusion(width=16, heads=2), head=Head(width=8), adapter=adapter)
        visual = PictureSide(settings, Frozen(24, 4, clip.visual))
        with torch.no_grad():
            for name, one in visual.named_parameters():
                if name.endswith(".up"):
                    one.normal_(std=0.1)
        if kind == "merged":
            visual.merge()
        with profile(activities=[ProfilerActivity.CPU]) as seen_by, torch.autocast("cpu", torch.bfloat16, autocast):
            loss = visual(seen).float().square().mean()
            loss.backward()
        gradients = {name: one.grad for name, one in visual.named_parameters() if one.grad is not None}
        products = sum(one.count for one in seen_by.key_averages() if one.key == "aten::bmm")
        found.append((loss.detach(), gradients, products))
    (loss, gradients, products), (own, expected, copied) = found
    assert torch.equal(loss, own)
    assert "tower.prompts" in gradients
    assert gradients.keys() == expected.keys()
    for name, one in gradients.items():
        if name.startswith("adapter."):  # the gradient of a weight is a sum over tokens, here in another order
            off = (one - expected[name]).abs().max() / expected[name].abs().max()
            assert off < (0.02 if autocast else 1e-5)
        else:
            assert torch.equal(one, expected[name]), name
    assert products < copied if kind != "lora" else products <= copied


def test_early_exit_stops_the_tower_there():
    clip = tiny_clip()
    _, seen = batch(clip)
    tower = PromptedTower(clip.visual, OFF, [Vector(block=2, pool="patches")])
    inputs = recorded_inputs(tower)
    assert tower(seen.tokens)[0].shape == (3, 32)
    assert len(inputs) == 2
    with pytest.raises(InputError, match="3 blocks"):
        PromptedTower(clip.visual, OFF, [Vector(block=4, pool="patches")])


def test_extra_tokens_stay_behind_the_patches():
    clip = tiny_clip()
    _, seen = batch(clip)
    settings = NeuroClipVisual(fusion=Fusion(width=16, heads=2, target="extra", extra_tokens=3), head=Head(kind="none"))
    visual = PictureSide(settings, Frozen(24, 4, clip.visual))
    inputs = recorded_inputs(visual.tower)
    assert visual(seen).shape == (3, 24)
    assert all(x.shape[1] == 1 + 8 + 16 + 3 for x in inputs)


def test_a_tower_without_tokens_is_refused():
    with pytest.raises(InputError, match="VisionTransformer"):
        PromptedTower(torch.nn.Linear(2, 2), OFF)


@pytest.mark.parametrize(("form", "start"), [("gains", 1.0), ("softmax", 1.0), ("fixed", 1.0)])
def test_gains_start_all_pass(form, start):
    gains = kinds.load("filters", form)(parse(AnyFilter, {"kind": form}), 32, 4).gains(torch.randn(2, 16, 32))
    torch.testing.assert_close(gains, torch.full((2, 4), start))


def test_low_pass_start_falls_with_frequency():
    gains = Filter(Gains(init="lowpass"), 32, 4).gains(torch.randn(2, 16, 32))
    assert (gains.diff(dim=1) < 0).all()
    assert (gains > 0).all()
    assert (gains < 2).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_its_products_is_as_exact_as_the_fused_one(dtype):
    """In fp32 it is the fused one itself; in bf16 values and gradients are no further from fp64 than the fused ones."""
    torch.manual_seed(0)
    inputs = torch.randn(3, 4, 2, 9, 8, dtype=torch.float64)

    def answers(attention, dtype):
        given = [one.to(dtype).requires_grad_() for one in inputs]
        out = attention(*given)
        assert out.dtype == dtype
        out.square().sum().backward()
        return [one.detach().double() for one in (out, *(one.grad for one in given))]

    fused = torch.nn.functional.scaled_dot_product_attention
    exact = answers(fused, torch.float64)
    for ours, its, right in zip(answers(attended, dtype), answers(fused, dtype), exact):
        if dtype == torch.float32:
            assert torch.equal(ours, its)
        assert (ours - right).norm() <= 2 * (its - right).norm()


def test_compiled_blocks_give_what_they_give_as_they_are(monkeypatch):
    """Traced by the compiler; what it makes of that is its own business, and takes a minute."""
    calls, compile = [], torch.compile

    def traced(function, **given):
        calls.append(given)
        return compile(function, backend="eager", **given)

    monkeypatch.setattr(torch, "compile", traced)
    clip = tiny_clip()
    _, seen = batch(clip)
    found = []
    for compiling in (False, True):
        torch.manual_seed(0)
        tower = PromptedTower(clip.visual, SharedPrompts(tokens=2), compiling=compiling)
        (out,) = tower(seen.tokens)
        out.square().sum().backward()
        found.append((out.detach(), tower.prompts.grad))
    assert len(calls) == 1
    torch.testing.assert_close(found[1], found[0])
