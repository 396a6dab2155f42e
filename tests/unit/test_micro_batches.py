"""A batch a few pictures at a time: the loss and the gradients of the whole batch, in the memory of a few."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import brain_files
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tiny_clip import IMAGE, pictures, tiny_clip

from brain2clip import stage
from brain2clip.internals import torch_device
from brain2clip.models.micro_batches import in_parts
from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.visuals.neuroclip import PictureSide
from brain2clip.settings import Contrastive, FilterBank, NeuroClipVisual, Optimiser, Tower
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training import memory, train
from brain2clip.training.data import load_responses, open_stimuli, pairs, placed
from brain2clip.training.methods.contrastive import learner_of

MOST = 9


@pytest.fixture(scope="module")
def seen() -> Pictures:
    """Pictures of the tiny CLIP in double precision."""
    clip = tiny_clip().double()
    image = pictures(MOST).double()
    with torch.no_grad():
        tokens, band_tokens = BandTokens(clip.visual.conv1, (IMAGE, IMAGE), FilterBank()).double()(image)
        return Pictures(clip.encode_image(image), tokens, band_tokens)


def side_of(checkpointing: bool = False, **visual) -> PictureSide:
    """A picture side in double precision whose instance prompts are not zero."""
    torch.manual_seed(1)
    settings = {"head": {"width": 8}, "fusion": {"width": 16, "heads": 2}, "prompts": {"tokens": 2, "dropout": 0.4}}
    found = PictureSide(
        NeuroClipVisual.model_validate(settings | visual), Frozen(24, 4, tiny_clip().visual, checkpointing)
    )
    with torch.no_grad():
        for one in found.parameters():
            if one.requires_grad:
                one.add_(0.1 * torch.randn_like(one))
    return found.double().train()


def stepped(side: PictureSide, seen: Pictures, micro_batch: int | None):
    """Output, gradients, and the state of the generator, of a step with a loss of all pairs."""
    side.micro_batch = micro_batch
    side.zero_grad()
    torch.manual_seed(2)
    out = side(seen)
    (out @ out.T).logsumexp(dim=1).sum().backward()
    gradients = {name: one.grad for name, one in side.named_parameters() if one.grad is not None}
    return out.detach(), gradients, torch.get_rng_state()


VISUALS = {
    "as it is": {},
    "blocks again as well": {"checkpointing": True},
    "extra tokens": {"fusion": {"width": 16, "heads": 2, "target": "extra", "extra_tokens": 3}},
    "no instance prompt": {"fusion": {"kind": "none"}},
    "LoRA": {"adapter": {"kind": "lora", "weights": ["attention", "mlp"]}},
    "no prompts": {"prompts": {"depth": "off"}},
}


@pytest.mark.parametrize("name", VISUALS)
@hypothesis_settings(max_examples=8, deadline=None)
@given(n=st.integers(2, MOST), size=st.integers(1, MOST))
def test_gradients_are_those_of_the_whole_batch(seen, name, n, size):
    """Dropout included: masks are drawn once for the batch, and the generator ends where it would have."""
    side = side_of(**VISUALS[name])
    whole, expected, state = stepped(side, seen.first(n), None)
    found, gradients, own_state = stepped(side, seen.first(n), size)
    torch.testing.assert_close(found, whole)
    assert gradients.keys() == expected.keys()
    largest = max(one.abs().max() for one in expected.values())
    for key, value in expected.items():
        assert (gradients[key] - value).abs().max() <= 1e-12 * largest, key
    assert torch.equal(own_state, state)


def test_only_one_part_is_kept_at_a_time_and_what_it_draws_is_drawn_again():
    events = []

    def run(x):
        number = int(x.detach()[0, 0])
        events.append(("through", number))
        mask = torch.nn.functional.dropout(torch.ones_like(x), 0.5)
        drawn.setdefault(number, []).append(mask)
        out = (x * mask).sin()
        if out.requires_grad:
            out.register_hook(lambda _: events.append(("back", number)))
        return [out]

    drawn: dict[int, list[torch.Tensor]] = {}
    x = torch.arange(6.0).unsqueeze(1).expand(6, 50).clone().requires_grad_()
    (out,) = in_parts(run, 2, [x])
    assert events == [("through", 0), ("through", 2), ("through", 4)]
    events.clear()
    out.square().sum().backward()
    again = [one for one in events if one[0] == "through"]
    assert again == [("through", 4), ("through", 2), ("through", 0)]
    for first, second in drawn.values():
        assert torch.equal(first, second)
    masks = torch.cat([one for one, _ in drawn.values()])
    torch.testing.assert_close(x.grad, 2 * (x * masks).sin() * (x * masks).cos() * masks)


# --------------------------------------------------------------------------------------------- a whole method

SMALL = {
    "tower": "tiny",
    "encoder": {"width": 32, "dropout": 0.3},
    "brain_head": {"width": 24},
    "visual": {"head": {"width": 24}, "fusion": {"width": 16, "heads": 2}, "prompts": {"dropout": 0.2}},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_responses(folder / "sub-0.h5", embedding)
    brain_files.save_tower(folder / "tower")
    return folder


def learner(files, stimuli, **optimiser):
    settings = Contrastive.model_validate({**SMALL, "optimiser": {"batch_size": 20, "precision": "fp32", **optimiser}})
    responses = placed(load_responses([files / "sub-0.h5"], "train", None, True), stimuli, files / "stimuli.h5")
    tower = Tower(model=f"local-dir:{files / 'tower'}")
    rows = np.unique(responses.stimulus)
    return learner_of(settings, tower, responses, stimuli, rows, torch.device("cpu"), 0), responses


def step(files, stimuli, **optimiser):
    one, responses = learner(files, stimuli, **optimiser)
    data = pairs([responses], np.arange(len(responses.stimulus)), torch.device("cpu"))
    one.model.train()
    one.begin(1)
    torch.manual_seed(3)
    loss = one.loss(data, np.arange(20), np.random.default_rng(0))
    loss.backward()
    gradients = {name: value.grad for name, value in one.model.named_parameters() if value.grad is not None}
    return loss.detach(), gradients, torch.get_rng_state()


def test_a_step_of_a_method_is_that_of_the_whole_batch(files):
    """Encoder and loss take the whole batch, so their dropout is the same, too."""
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        loss, expected, state = step(files, stimuli)
        found, gradients, own_state = step(files, stimuli, micro_batch=3)
    torch.testing.assert_close(found, loss)
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-4, atol=1e-6)
    assert torch.equal(state, own_state)


@pytest.mark.parametrize(("share", "found"), [(100.0, None), (0.75, 10), (0.43, 7), (0.33, 5), (-5.0, 1)])
def test_auto_takes_as_many_as_fit_into_the_memory_of_the_card_and_says_so(files, monkeypatch, caplog, share, found):
    """``share``: of what a whole batch takes beside what is there anyway."""
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        one, responses = learner(files, stimuli, micro_batch="auto")
        assert one.model.visual.micro_batch is None, "a CPU takes the whole batch"
        optimiser = one.settings.optimiser
        need = memory.needed(one.model, one.pictures, responses, optimiser, nullcontext)
        room = (need.held + need.batch + share * 20 * need.picture) / memory.FILLED
        monkeypatch.setattr(torch_device, "room_gb", lambda device: room)
        caplog.set_level(logging.INFO, "brain2clip")
        assert memory.at_once(optimiser, need, 40, torch.device("cpu")) == found
    said = caplog.records[0].getMessage()
    assert f"for {found or 20} pictures in the tower" in said
    assert f"of the {room:.1f} free on cpu" in said
    assert any("more than the available memory" in record.getMessage() for record in caplog.records) == (share < 0)


def test_what_is_kept_grows_with_pictures_and_not_with_weights():
    layer = torch.nn.Linear(100, 100)
    x = torch.randn(8, 100, requires_grad=True)
    row, fixed = memory.kept_gb(lambda n: layer(x[:n].exp()).tanh(), [layer.weight, layer.bias])
    assert row == pytest.approx(2 * 400e-9)  # what exp and tanh gave
    assert fixed == pytest.approx(0)


def test_reckoning_draws_nothing_and_moves_nothing(files):
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        one, responses = learner(files, stimuli)
        before = {name: value.clone() for name, value in one.model.state_dict().items()}
        state = torch.get_rng_state()
        one.model.train()
        memory.needed(one.model, one.pictures, responses, one.settings.optimiser, nullcontext)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
        assert one.model.training
        assert all(parameter.grad is None for parameter in one.model.parameters())


@pytest.mark.parametrize(
    ("optimiser", "told"),
    [({}, "set optimiser.micro_batch: auto"), ({"micro_batch": 64}, "set optimiser.micro_batch: a smaller number")],
)
def test_a_full_card_stops_training_with_the_setting_that_needs_less(optimiser, told):
    method = Contrastive.model_validate({**SMALL, "optimiser": optimiser})
    with pytest.raises(stage.InputError, match=told) as error, memory.explained(method, torch.device("cpu")):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert "2.00 GiB" in str(error.value)


def test_a_training_on_a_full_card_ends_with_that_sentence(files, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(PictureSide, "vectors", full)
    method = Contrastive.model_validate(SMALL).model_dump(mode="json")
    tower = Tower(model=f"local-dir:{files / 'tower'}").model_dump(mode="json")
    given = {"method": method, "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
    inputs = {"responses": [files / "sub-0.h5"], "stimuli": [files / "stimuli.h5"]}
    outputs = {name: tmp_path / name for name in ("checkpoint", "history")}
    with pytest.raises(stage.InputError, match="micro_batch"):
        train.run(stage.Job("train", given, "code", {}, inputs, outputs))


def test_a_side_that_takes_whole_batches_only_refuses_parts(files, monkeypatch):
    monkeypatch.setattr(PictureSide, "takes_parts", False)
    with (
        open_stimuli(files / "stimuli.h5", None) as stimuli,
        pytest.raises(stage.InputError, match="micro_batch"),
    ):
        learner(files, stimuli, micro_batch=4)


def test_parts_of_a_batch_are_equal():
    need = memory.Need(held=1.0, batch=1.0, picture=0.01)
    assert need.fitting((2.0 + 6.0) / memory.FILLED + 1e-9, 1024) == 512  # 600 would fit; two parts
    assert need.fitting(100.0, 1024) is None
    assert need.of(512) == pytest.approx(7.12)
    assert Optimiser(micro_batch=3).micro_batch == 3
