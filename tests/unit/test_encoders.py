"""Encoders of the field: their published sizes, and that each computes what is written of it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip import kinds, settings
from brain2clip.models import brain_encoder
from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.encoders import atm
from brain2clip.models.layers import Residual
from brain2clip.plan import needs
from brain2clip.stage import InputError

USUAL = Inputs(5, 250, 250.0)
#: Kind, channels, width and further settings to the published number of parameters of 250 samples at 250 Hz; of ATM
#: with the nine subjects of whom one of leave-one-subject-out learns.
PUBLISHED = [
    ("eegproject", 17, 512, 2_440_192),
    ("eegproject", 17, 768, 3_856_896),
    ("eegproject", 17, 1024, 5_404_672),
    ("eegproject", 63, 512, 8_328_192),
    ("eegproject", 63, 1024, 17_180_672),
    ("tsconv", 17, 1024, 2_555_672),
    ("tsconv", 63, 512, 1_103_512),
    ("tsconv", 63, 1024, 2_629_272),
    ("nice", 63, 768, 1_802_496),
    ("nice", 63, 1024, 2_630_912),
    ("atm", 63, 1024, 3_075_162),
    ("atm", 17, 1024, 3_001_562),
    ("shallownet", 63, 1024, 2_629_192),
    ("deepnet", 63, 1024, 2_789_547),
    ("eegnet", 63, 1024, 2_343_416),
    ("eegnet", 17, 512, 910_072),
    ("stae", 17, 768, 3_857_146),
    ("spatial-filters", 63, 1024, 5_213_049),
    ("brainmlp", 17, 512, 2_701_824),
]
#: Seconds below which kinds that convolve refuse a response, as their kernels follow each other.
SHORTEST = {"tsconv": 0.3, "nice": 0.3, "atm": 0.3, "shallownet": 0.3, "eegnet": 0.38, "deepnet": 0.604}


def encoder(kind: str, inputs: Inputs = USUAL, **given: Any) -> nn.Module:
    return brain_encoder.build(settings.parse(settings.Encoder, {"kind": kind, "width": 16, **given}), inputs)


def parameters(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


@pytest.mark.parametrize(("kind", "channels", "width", "expected"), PUBLISHED)
def test_an_encoder_is_as_large_as_published(kind, channels, width, expected):
    with torch.device("meta"):
        assert parameters(encoder(kind, Inputs(channels, 250, 250.0, subjects=9), width=width)) == expected


@pytest.mark.parametrize(
    ("hidden", "enter", "blocks", "output"), [(1024, 16.1, 8.4, "436.6"), (4096, 64.4, 134.3, "1745")]
)
def test_the_mixer_is_as_large_as_mindeye2(hidden, enter, blocks, output):
    """V 15,724; of its 256 tokens of 1,664 numbers one, behind a projector of three layers."""
    network = settings.parse(settings.Network, {"kind": "mixer", "hidden": hidden, "projector": 3})
    with torch.device("meta"):
        built = kinds.load("mappings", "mixer")(network, 15_724, 1664)
        tokens = kinds.load("mappings", "mixer")(network.model_copy(update={"projector": 0}), 1, 256 * 1664)
    millions = {name: round(parameters(one) / 1e6, 1) for name, one in built.named_children()}
    assert (millions["enter"], millions["blocks"]) == (enter, blocks)
    assert round(parameters(built.projector) / 1e6, 2) == 8.32
    assert f"{parameters(tokens.read_out) / 1e6:.4g}" == output


# ------------------------------------------------------------------------------------ against what is written


def same(ours: nn.Module, written: nn.Module, x: Tensor) -> None:
    """Equal outputs and gradients in double precision, where both draw the same dropout."""
    found = []
    for network in (ours, written):
        network.double().train()
        torch.manual_seed(1)
        out = network(x.double())
        network.zero_grad()
        out.square().mean().backward()
        found.append([out.detach(), *(one.grad for one in network.parameters())])
        assert all(grad is not None for grad in found[-1])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine.reshape(theirs.shape), theirs, rtol=1e-9, atol=1e-12)


def taken(written: nn.Module, ours: nn.Module) -> nn.Module:
    """The network as it is written, with the parameters of ours one after the other."""
    with torch.no_grad():
        for mine, one in zip(ours.parameters(), written.parameters(), strict=True):
            one.copy_(mine.reshape(one.shape))
    return written


def end(n: int, width: int = 16, dropout: float = 0.0) -> list[nn.Module]:
    """The projection of all of these, written out."""
    hidden = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))
    return [nn.Flatten(), nn.Linear(n, width), Residual(hidden), nn.LayerNorm(width)]


def after(first: int, second: int, maps: int, pool: nn.Module, kernel: int) -> list[nn.Module]:
    """Convolution over time, over five channels where these are still there, and what comes after it."""
    if first == 1:
        convolution = [nn.Conv2d(1, maps, (1, kernel)), nn.Conv2d(maps, maps, (5, 1))]
    else:
        convolution = [nn.Conv2d(first, second, (1, kernel))]
    return [*convolution, nn.BatchNorm2d(second), nn.ELU(), pool, nn.Dropout(0.0)]


def published(kind: str) -> nn.Module:
    """The network of five channels and 250 samples at 250 Hz, layer by layer as it is described."""
    image = nn.Unflatten(1, (1, 5))
    if kind == "nice":
        front = [
            nn.Conv2d(1, 40, (1, 25)), nn.AvgPool2d((1, 51), (1, 5)), nn.BatchNorm2d(40), nn.ELU(),
            nn.Conv2d(40, 40, (5, 1)), nn.BatchNorm2d(40), nn.ELU(), nn.Conv2d(40, 40, 1),
        ]  # fmt: skip
        return nn.Sequential(image, *front, TimeFirst(), *end(1440))
    if kind == "shallownet":
        return nn.Sequential(image, *after(1, 40, 40, nn.AvgPool2d((1, 51), (1, 5)), 25), *end(1440))
    if kind == "deepnet":
        sizes = [(1, 25), (25, 50), (50, 100), (100, 200)]
        blocks = [one for a, b in sizes for one in after(a, b, 25, nn.MaxPool2d((1, 2)), 10)]
        return nn.Sequential(image, *blocks, *end(1400))
    assert kind == "eegnet"
    return nn.Sequential(
        image, nn.Conv2d(1, 8, (1, 64)), nn.BatchNorm2d(8), nn.Conv2d(8, 16, (5, 1)), nn.BatchNorm2d(16), nn.ELU(),
        nn.AvgPool2d((1, 2)), nn.Conv2d(16, 16, (1, 16)), nn.BatchNorm2d(16), nn.ELU(), *end(1248),
    )  # fmt: skip


class TimeFirst(nn.Module):
    """[B, M, 1, n] to [B, n, M]."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 0].permute(0, 2, 1)


@pytest.mark.parametrize("kind", ["nice", "shallownet", "deepnet", "eegnet"])
def test_convolutions_are_those_that_are_published(kind):
    ours = encoder(kind, dropout=0.0)
    same(ours, taken(published(kind), ours), torch.randn(7, 5, 250))


def test_the_convolution_of_1_x_1_is_a_linear_layer_over_filters():
    ours = encoder("nice", dropout=0.0)
    (filters,) = (one for one in ours if isinstance(one, nn.Linear) and one.in_features == one.out_features == 40)
    maps = torch.randn(3, 40, 1, 36)
    conv = F.conv2d(maps, filters.weight[:, :, None, None], filters.bias)
    torch.testing.assert_close(filters(maps), conv[:, :, 0].transpose(1, 2))


def test_stae_weighs_samples_and_brainmlp_has_no_biases_in_its_block():
    x = torch.randn(4, 5, 250)
    ours = encoder("stae", dropout=0.0).eval()
    with torch.no_grad():
        ours[0].weight.copy_(torch.randn(250))
    plain = taken(nn.Sequential(*end(1250)), nn.Sequential(*list(ours)[1:])).eval()
    torch.testing.assert_close(ours(x), plain(x * torch.softmax(ours[0].weight, dim=0)))
    torch.testing.assert_close(encoder("stae")[0](x), x / 250)
    ours = encoder("brainmlp", dropout=0.0)
    first, w1, w2, norm = (one for one in ours.modules() if isinstance(one, nn.Linear | nn.LayerNorm))
    hidden = F.linear(x.flatten(1), first.weight, first.bias)
    hidden = hidden + F.silu(hidden @ w1.weight.T) @ w2.weight.T
    torch.testing.assert_close(ours(x), F.layer_norm(hidden, (16,), norm.weight, norm.bias, 1e-6))


def test_spatial_filters_are_as_written_and_stay_non_negative():
    x = torch.randn(4, 5, 250)
    ours = encoder("spatial-filters", dropout=0.0, dropout_last=0.0)
    conv, first, second, last = nn.Conv2d(1, 25, (5, 1), bias=False), *(nn.Linear(a, b) for a, b in (
        (250, 200), (200, 200), (5000, 16)))  # fmt: skip
    written = nn.Sequential(
        nn.Unflatten(1, (1, 5)), conv, nn.BatchNorm2d(25), first, nn.ELU(), second, nn.ELU(), nn.Flatten(), last
    )
    same(ours, taken(written, ours), x)
    (layer,) = brain_encoder.settling(ours)
    before = layer.weight.detach().clone()
    assert (before < 0).any()
    layer.settle()
    torch.testing.assert_close(layer.weight.detach(), before.clamp(min=0))


# ------------------------------------------------------------------------------------------------ transformer


def test_the_layer_of_atm_is_pytorchs_where_heads_divide_the_width():
    ours = atm.layer(248, 0.0)
    theirs = nn.TransformerEncoderLayer(248, 4, 256, 0.0, "gelu", batch_first=True)
    attention, forward = ours[0].inner[0], ours[2].inner
    enter, *rest = attention.enter, attention.leave, forward[0], forward[3]
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(enter.weight)
        theirs.self_attn.in_proj_bias.copy_(enter.bias)
        for mine, one in zip((theirs.self_attn.out_proj, theirs.linear1, theirs.linear2), rest, strict=True):
            mine.load_state_dict(one.state_dict())
    tokens = torch.randn(3, 6, 248)
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-5, atol=1e-5)


def test_250_samples_make_heads_of_62():
    attention = atm.Attention(250, 0.0)
    x = torch.randn(2, 6, 250)
    query, key, value = (part.unflatten(-1, (4, 62)) for part in attention.enter(x).split(248, dim=-1))
    weight = (torch.einsum("bihd,bjhd->bhij", query, key) / 62**0.5).softmax(dim=-1)
    expected = attention.leave(torch.einsum("bhij,bjhd->bihd", weight, value).flatten(2))
    torch.testing.assert_close(attention(x), expected, rtol=1e-5, atol=1e-5)


def test_as_coded_atm_does_not_see_the_last_channel_but_by_attention():
    """What goes on to the convolutions is the subject's token and all channels but the last; or all channels."""
    x = torch.randn(2, 5, 250)
    for keep_last in (False, True):
        network = encoder("atm", keep_last=keep_last).eval()
        seen: list[Tensor] = []
        network.convolve.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        network(x, torch.tensor([0, 0]))
        tokens = network.layer(torch.cat([network.subject.own[None].expand(2, -1, -1), network.token(x)], dim=1))
        torch.testing.assert_close(seen[0], tokens[:, 1:] if keep_last else tokens[:, :5])


def test_who_was_not_in_training_gets_the_common_token():
    inputs, x = Inputs(5, 250, 250.0, subjects=3), torch.randn(1, 5, 250)
    network = encoder("atm", inputs).eval()
    own = [network(x, torch.tensor([number])) for number in range(3)]
    unknown = network(x)
    assert all(not torch.allclose(one, unknown) for one in own)
    with torch.no_grad():
        network.subject.own[1] = network.subject.common
    torch.testing.assert_close(network(x, torch.tensor([1])), unknown)
    without = encoder("atm", inputs, subject_dropout=0.0).eval()
    assert without.subject.common is None
    with torch.no_grad():
        without.subject.own[2] = without.subject.own[:2].mean(dim=0)  # the mean of all three as well
    torch.testing.assert_close(without(x, torch.tensor([2])), without(x))


def test_a_share_of_training_responses_takes_the_common_token():
    token = atm.SubjectToken(2, 3, 0.25).train()
    found = token(torch.zeros(4000, dtype=torch.int64), 4000)[:, 0]
    common = (found == token.common).all(dim=1)
    assert ((found == token.own[0]).all(dim=1) ^ common).all()
    assert 0.2 < common.double().mean() < 0.3  # seven deviations
    assert (token.eval()(torch.zeros(400, dtype=torch.int64), 400)[:, 0] == token.own[0]).all()


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("kind", [*SHORTEST, "stae", "spatial-filters"])
def test_voxels_are_refused(kind):
    with pytest.raises(InputError, match=f"encoder.kind: {kind} .*voxels have no time axis; take encoder.kind: eegpro"):
        encoder(kind, Inputs(50))


@pytest.mark.parametrize("kind", SHORTEST)
@pytest.mark.parametrize("sfreq", [100.0, 250.0])
def test_short_responses_are_refused_and_the_shortest_are_not(kind, sfreq):
    with pytest.raises(InputError, match=rf"{kind} needs responses of at least 0\.\d\d s, found 0.04 s; widen"):
        encoder(kind, Inputs(2, round(0.04 * sfreq), sfreq))
    shortest = next(n for n in range(1, 300) if built(kind, n, sfreq))
    assert shortest / sfreq == pytest.approx(SHORTEST[kind], abs=0.05)
    network = encoder(kind, Inputs(2, shortest, sfreq)).eval()
    assert network(torch.randn(3, 2, shortest)).shape == (3, 16)


def built(kind: str, n_times: int, sfreq: float) -> bool:
    try:
        encoder(kind, Inputs(2, n_times, sfreq))
    except InputError:
        return False
    return True


# -------------------------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize("kind", ["nice", "deepnet", "atm"])
def test_normal_initial_weights(kind):
    network = encoder(kind, init="normal", smoothing_s=0.02)
    conv = torch.cat(
        [one.weight.detach().flatten() for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    )
    norm = [one.weight.detach() for one in network.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert float(conv.std()) == pytest.approx(0.02, rel=0.05)
    assert abs(float(conv.mean())) < 1e-3
    assert all(float(one.mean()) == pytest.approx(1, abs=0.02) and float(one.std()) > 0.005 for one in norm)
    assert all((one.weight == 1).all() for one in network.modules() if isinstance(one, nn.LayerNorm))


def test_an_encoder_that_takes_subjects_takes_them_behind_smoothing():
    network = encoder("atm", Inputs(5, 250, 250.0, subjects=2), smoothing_s=0.02).eval()
    x = torch.randn(1, 5, 250)
    torch.testing.assert_close(network(x, torch.tensor([1])), network[1](network[0](x), torch.tensor([1])))
    assert brain_encoder.settling(encoder("spatial-filters", smoothing_s=0.02))


# ------------------------------------------------------------------------------------------------ braindecode


class Net(nn.Module):
    """As networks of braindecode are called."""

    def __init__(self, n_chans: int, n_outputs: int, n_times: int, sfreq: float) -> None:
        super().__init__()
        if n_times < 100:
            raise ValueError("n_times too small")
        self.given = n_chans, n_outputs, n_times, sfreq
        self.last = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1))


@pytest.fixture
def library(monkeypatch):
    models = ModuleType("braindecode.models")
    models.EEGConformer = Net
    monkeypatch.setitem(sys.modules, "braindecode", ModuleType("braindecode"))
    monkeypatch.setitem(sys.modules, "braindecode.models", models)


def test_a_network_of_braindecode_is_built_for_the_responses(library):
    network = encoder("braindecode", Inputs(5, 250, 250.0), model="EEGConformer", width=24)
    assert network[0].given == (5, 24, 250, 250.0)
    assert network(torch.randn(2, 5, 250)).shape == (2, 24)
    with pytest.raises(InputError, match=r"braindecode.models has no network 'EEGConformr' \(did you mean 'EEGConf"):
        encoder("braindecode", model="EEGConformr")
    with pytest.raises(InputError, match=r"cannot be built for n_chans 5, n_times 20, sfreq 250, .*n_times too small"):
        encoder("braindecode", Inputs(5, 20, 250.0), model="EEGConformer")
    with pytest.raises(InputError, match="voxels have no time axis"):
        encoder("braindecode", Inputs(5), model="EEGConformer")


def test_the_short_form_is_the_long_one():
    long = settings.parse(settings.Encoder, {"kind": "braindecode", "model": "EEGConformer", "width": 24})
    assert settings.parse(settings.Encoder, {"kind": "braindecode:EEGConformer", "width": 24}) == long
    assert settings.parse(settings.Encoder, settings.canonical(long)) == long
    with pytest.raises(ValueError, match="model"):
        settings.parse(settings.Encoder, {"kind": "braindecode"})


def test_braindecode_that_is_not_there_or_broken_is_refused(monkeypatch):
    def refusal(error: Exception) -> str:
        def fail(_: str) -> None:
            raise error

        monkeypatch.setattr("brain2clip.models.encoders.braindecode.importlib", SimpleNamespace(import_module=fail))
        with pytest.raises(InputError) as found:
            encoder("braindecode", model="EEGConformer")
        return str(found.value)

    kinds.load("encoders", "braindecode")
    missing = refusal(ModuleNotFoundError("No module named 'braindecode'", name="braindecode"))
    assert "not installed; install the extra (pip install 'brain2clip[braindecode]')" in missing
    inner = refusal(ModuleNotFoundError("No module named 'torchaudio'", name="torchaudio"))
    assert "installed, but cannot be imported (ModuleNotFoundError: No module named 'torchaudio')" in inner
    assert "undefined symbol: x" in refusal(OSError("libtorchaudio.so: undefined symbol: x"))


def test_planning_says_what_is_not_installed(monkeypatch):
    config = {
        "studies": {"s": {"kind": "simulated", "subjects": 2}},
        "bands": {"b": {}},
        "towers": {"t": {"model": "local-dir:nowhere"}},
        "protocols": {"p": {"kind": "intra-subject"}},
        "methods": {
            "m": {
                **{"kind": "contrastive", "tower": "t", "visual": {"kind": "frozen"}},
                "encoder": {"kind": "braindecode:EEGConformer"},
            }
        },
        "experiments": {"e": {"study": "s", "signals": ["b"], "protocols": ["p"], "methods": ["m"]}},
    }
    from brain2clip.plan import Plan

    plan = Plan(settings.load(config))
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    (problem,) = needs.problems(plan)
    assert "experiments.e.methods: 'm': encoder.kind: braindecode needs the library of that name" in problem
    assert "brain2clip[braindecode]" in problem
    monkeypatch.setattr(needs, "find_spec", lambda name: object())
    assert needs.problems(plan) == []


def test_smoothing_of_voxels_is_refused():
    with pytest.raises(InputError, match=r"encoder\.smoothing_s: found 0\.02 s; voxels have no time axis"):
        brain_encoder.build(settings.EegProject(smoothing_s=0.02), Inputs(30))
