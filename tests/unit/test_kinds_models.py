"""One contract for all kinds of models, augmentations, schedules and methods, of the project and from outside.

A kind has settings that refuse what is wrong, the promised shapes and number of parameters; it trains (all that is
trained gets a gradient), and what a checkpoint holds predicts as the trained model did.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import brain_files
import numpy as np
import pytest
import torch
from tiny_clip import IMAGE, pictures, tiny_clip
from torch import nn

from brain2clip import artefact, kinds, settings, stage
from brain2clip.models import brain_encoder
from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.prompted_tower import own_structure
from brain2clip.settings import Tower, loading
from brain2clip.settings.base import EXTERNAL
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training import loop, train
from brain2clip.training.data import load_responses, open_stimuli
from brain2clip.training.predict import Predictor

TEST = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)
TIMES = 32
#: Of the tiny CLIP: width, tokens, blocks, joint embedding; bands of the filter bank.
D, N, BLOCKS, JOINT, BANDS = 32, 16, 3, 24, 4
UNIONS = {
    "encoders": settings.Encoder,
    "mappings": settings.Network,
    "visuals": settings.Visual,
    "filters": settings.Filter,
    "adapters": settings.Adapter,
    "augmentations": settings.ResponseAugmentation,
    "schedules": settings.Schedule,
    "methods": settings.Method,
}
FAMILIES = list(UNIONS)

#: Kinds from outside, as another laboratory would write them: one file.
OUTSIDE = """
from dataclasses import replace
import torch
from pydantic import Field
from torch import nn
from typing import ClassVar
from brain2clip import settings
from brain2clip.models.pictures import PictureSideBase
from brain2clip.training.method import Trained

class Conformer(nn.Module):
    class Settings(settings.EncoderBase):
        depth: int = Field(2, ge=1, description="blocks")
    def __init__(self, settings, inputs):
        super().__init__()
        self.first = nn.Linear(inputs.n_channels * inputs.n_times, settings.width)
        self.blocks = nn.Sequential(*[nn.Linear(settings.width, settings.width) for _ in range(settings.depth)])
    def forward(self, x):
        return self.blocks(self.first(x.flatten(1)))

class Narrow(nn.Module):
    class Settings(settings.NetworkBase):
        rank: int = Field(3, ge=1, description="rank of the matrix")
    def __init__(self, settings, n_in, width):
        super().__init__()
        self.down, self.up = nn.Linear(n_in, settings.rank), nn.Linear(settings.rank, width)
    def forward(self, x):
        low = self.down(x)
        return self.up(low), 1e-3 * low.square().mean()

class Patches(PictureSideBase):
    class Settings(settings.VisualBase):
        drives_tower: ClassVar[bool] = True
        bias: bool = Field(True, description="whether the head has a bias")
    def __init__(self, settings, frozen):
        super().__init__()
        self.width = self.inner = frozen.tower.positional_embedding.shape[-1]
        self.head = nn.Linear(self.width, settings.head.width, bias=settings.bias)
    def forward(self, pictures):
        return self.head(pictures.tokens.mean(dim=1))

class Notch(nn.Module):
    class Settings(settings.FilterBase):
        band: int = Field(0, ge=0, description="band that is left out")
    def __init__(self, settings, width, bands):
        super().__init__()
        self.strength = nn.Parameter(torch.ones(bands))
        self.register_buffer("kept", torch.arange(bands) != settings.band, persistent=False)
    def gains(self, tokens):
        return (self.strength * self.kept).expand(len(tokens), -1)
    def forward(self, tokens, band_tokens):
        return torch.einsum("bk,bknd->bnd", self.gains(tokens), band_tokens)

class Biases(nn.Module):
    class Settings(settings.AdapterBase):
        first: int = Field(0, ge=0, description="first block")
    def __init__(self, settings, visual, blocks):
        super().__init__()
        self.shifts = nn.ParameterList()
        for block in visual.transformer.resblocks[settings.first:blocks]:
            self.shifts.append(nn.Parameter(torch.zeros_like(block.ln_1.bias)))
            block.register_forward_hook(lambda _, __, out, shift=self.shifts[-1]: out + shift)
    def merge(self):
        pass

class Signs:
    class Settings(settings.AugmentationBase):
        probability: float = Field(0.5, ge=0, le=1, description="of each response")
    def __init__(self, settings, inputs):
        self.probability = settings.probability
    def __call__(self, batch, rng):
        sign = torch.from_numpy(1 - 2.0 * (rng.random((len(batch.values), 1, 1)) < self.probability)).float()
        return replace(batch, values=sign * batch.values)

class Halves:
    class Settings(settings.ScheduleBase):
        every: int = Field(1, ge=1, description="steps")
    def __init__(self, settings, steps):
        self.every = settings.every
    def __call__(self, step):
        return 0.5 ** (step // self.every)

class Means(Trained):
    class Settings(settings.TrainedMethod):
        shrink: float = Field(0.5, ge=0, le=1, description="pull towards the mean")
    def __init__(self, settings):
        self.settings = settings
    def train(self, study):
        import pandas as pd
        (responses,) = study.sets
        x = torch.from_numpy(responses.values).flatten(1)
        y = torch.from_numpy(study.stimuli["embedding"][:][responses.stimulus])
        weight = (1 - self.settings.shrink) * torch.linalg.pinv(x) @ y
        return {"weight": weight.contiguous()}, pd.DataFrame({"loss": [float((x @ weight - y).square().mean())]})
    def ready(self, checkpoint):
        self.weight, self.file = checkpoint.tensors["weight"], checkpoint.stimuli
        return self
    def brains(self, responses):
        return responses.cpu().flatten(1) @ self.weight
    def stimuli(self, rows):
        return torch.from_numpy(self.file["embedding"][:][rows])
"""

#: A stand-in for the library.
BRAINDECODE = """
from torch import nn

class Small(nn.Sequential):
    def __init__(self, n_chans, n_outputs, n_times, sfreq):
        super().__init__(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))
"""


@dataclass(frozen=True)
class Case:
    """What is known of a kind.

    Attributes
    ----------
    small : dict
        Settings of a small one beside its kind.
    wrong : dict
        A setting that must be refused.
    parameters : int or None
        Number of trained parameters of the small one at the sizes of these tests; None for what is no module.
    """

    small: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None


def linear(n_in: int, n_out: int) -> int:
    return n_in * n_out + n_out


def norm(n: int) -> int:
    return 2 * n


def projected(n: int) -> int:
    return linear(n, Z) + linear(Z, Z) + norm(Z)


C, T, Z, V = brain_files.CHANNELS, TIMES, 16, 30
# At 50 Hz kernels of 5, 10 and 1 samples: 32 -> 28 -> 19.
FRONT = linear(5, 40) + linear(40 * C, 40) + norm(40)
NICE = FRONT + norm(40) + linear(40, 40) + projected(40 * 19)
# 13, 1 and 6 samples: 32 -> 20 -> 15.
EEGNET = linear(13, 8) + norm(8) + linear(8 * C, 16) + linear(16 * 6, 16) + 2 * norm(16) + projected(16 * 15)
# Kernels of 2, 4, 8 and 8 samples, maxima over 1, 1, 2 and 2: 32 -> 31 -> 28 -> 21 -> 10 -> 3 -> 1.
DEEPNET = linear(2, 25) + linear(25 * C, 25) + linear(25 * 4, 50) + linear(50 * 8, 100) + linear(100 * 8, 200)
DEEPNET += norm(25 + 50 + 100 + 200) + projected(200)
LAYER = 4 * linear(T, T) + linear(T, 256) + linear(256, T) + 3 * norm(T)
HIDDEN = linear(V, 16) + norm(16) + linear(16, 16) + norm(16)
CONTENT = norm(D) + linear(D, 8) + 8 * BANDS + BANDS
INSTANCE = norm(2 * D) + linear(2 * D, 4) + linear(4, D)
ATTENTION = 2 * norm(D) + D * 8 + 2 * D * 8 + linear(8, D)
CASES: dict[str, dict[str, Case]] = {
    "encoders": {
        "eegproject": Case({"width": Z}, {"dropout": 1.0}, projected(C * T)),
        "tsconv": Case({"width": Z}, {"width": 4}, FRONT + norm(40) + projected(40 * 19)),
        "nice": Case({"width": Z, "dropout": 0.1}, {"dropout": 1.0}, NICE),
        "shallownet": Case({"width": Z, "dropout": 0.1}, {"dropout": 1.0}, FRONT + projected(40 * 19)),
        "deepnet": Case({"width": Z, "dropout": 0.1}, {"dropout": 1.0}, DEEPNET),
        "eegnet": Case({"width": Z, "dropout": 0.1}, {"dropout": 1.0}, EEGNET),
        "stae": Case({"width": Z}, {"dropout": 1.0}, T + projected(C * T)),
        "brainmlp": Case({"width": Z}, {"dropout": 1.0}, linear(C * T, Z) + 2 * Z * Z + norm(Z)),
        "atm": Case({"width": Z, "dropout": 0.1, "subject_dropout": 0.5}, {"subject_dropout": 1.0},
                    linear(T, T) + 2 * T + LAYER + NICE),
        "spatial-filters": Case({"width": Z, "filters": 5, "hidden": 8}, {"dropout_last": 1.0},
                                5 * C + norm(5) + linear(T, 8) + linear(8, 8) + linear(5 * 8, Z)),
        "braindecode": Case({"width": Z, "model": "Small"}, {"model": "no name"}, linear(C * T, Z)),
        "my_lab.nets:Conformer": Case({"width": Z, "depth": 3}, {"depth": 0}, linear(C * T, Z) + 3 * linear(Z, Z)),
    },
    "mappings": {
        "linear": Case({}, {"hidden": 16}, linear(V, JOINT)),
        "mlp": Case({"hidden": 16, "dropout": 0.0}, {"latent": 8}, HIDDEN + linear(16, JOINT)),
        "vae": Case(
            {"hidden": 16, "latent": 8, "dropout": 0.0}, {"kl": -1}, HIDDEN + 2 * linear(16, 8) + linear(8, JOINT)
        ),
        "mixer": Case({"hidden": 16, "blocks": 2, "projector": 1}, {"projector": -1},
                      linear(V, 16) + 2 * (norm(16) + 2 * linear(16, 16)) + linear(16, JOINT) + norm(JOINT)
                      + linear(JOINT, JOINT)),
        "my_lab.nets:Narrow": Case({"rank": 2}, {"hidden": 16}, linear(V, 2) + linear(2, JOINT)),
    },
    "visuals": {
        "frozen": Case({"head": {"width": 12}}, {"fusion": {}}, linear(JOINT, 12)),
        "neuroclip": Case(
            {"head": {"width": 12}, "fusion": {"width": 8, "heads": 2}, "filter": {"reduction": 4},
             "prompts": {"tokens": 2}},
            {"prompts": {"depth": "deeper"}},
            linear(JOINT, 12) + INSTANCE + ATTENTION + CONTENT + BLOCKS * 2 * D,
        ),
        "uncertainty": Case(
            {"head": {"width": 12}, "low": {}, "medium": {}, "high": {}}, {"update": 0}, linear(JOINT, 12)
        ),
        "my_lab.nets:Patches": Case({"head": {"width": 12}}, {"fusion": {}}, linear(D, 12)),
    },
    "filters": {
        "gains": Case({"reduction": 4}, {"init": "highpass"}, CONTENT),
        "softmax": Case({"reduction": 4}, {"reduction": 0}, CONTENT),
        "fixed": Case({}, {"reduction": 4}, BANDS),
        "off": Case({}, {"init": "lowpass"}, 0),
        "my_lab.nets:Notch": Case({"band": 1}, {"init": "lowpass"}, BANDS),
    },
    "adapters": {
        "lora": Case(
            {"rank": 2, "last_blocks": 2, "weights": ["attention", "mlp"]}, {"rank": 0},
            2 * 2 * ((D + 3 * D) + (D + D) + (D + 4 * D) + (4 * D + D)),
        ),
        "my_lab.nets:Biases": Case({"first": 1}, {"rank": 2}, 2 * D),
    },
    "augmentations": {
        "smoothing": Case({"probability": 0.2, "window_s": 0.06, "drawn": "once"}, {"window_s": 0}),
        "noise": Case({"deviation": 0.2}, {"probability": 0.5}),
        "channel-dropout": Case({"probability": 0.2}, {"probability": 1.0}),
        "time-dropout": Case({"probability": 0.2, "span_s": 0.1}, {"span_s": 0}),
        "time-shift": Case({"most_s": 0.02}, {"most_s": -1}),
        "mixup": Case({"concentration": 0.1}, {"drawn": "once"}),
        "my_lab.nets:Signs": Case({"probability": 0.1}, {"deviation": 0.1}),
    },
    "schedules": {
        "constant": Case({}, {"every": 2}),
        "cosine": Case({}, {"every": 2}),
        "step": Case({"every": 3, "gamma": 0.5}, {"every": 0}),
        "one-cycle": Case({"up": 0.4, "div": 10.0}, {"up": 1.0}),
        "my_lab.nets:Halves": Case({"every": 2}, {"every": 0}),
    },
    "methods": {
        "contrastive": Case({"encoder": {"width": Z}, "brain_head": {"width": 12}, "visual": {"kind": "frozen",
                             "head": {"width": 12}}}, {"network": {}}),
        "mapping": Case({}, {"encoder": {}}),
        "ridge": Case({"alphas": [1.0, 10.0]}, {"folds": 1}),
        "lda": Case({"windows": 2, "shrinkage": 0.5}, {"shrinkage": 1.5}),
        "ideal-observer": Case({}, {"shuffle_labels": True}),
        "imported": Case({"file": "a.csv", "source": "others", "holds": "ranks"}, {"shuffle_labels": True}),
        "my_lab.nets:Means": Case({"shrink": 0.1}, {"alphas": [1.0]}),
    },
}  # fmt: skip
EVERY = [(family, kind) for family in FAMILIES for kind in CASES[family]]
#: What is trained on these files, whose test concepts are new (``lda`` knows its own: ``test_classes.py``).
TRAINED = [(family, kind) for family, kind in EVERY if kind not in ("ideal-observer", "imported", "lda")]


def of(*families: str) -> Any:
    """All kinds of some families as parameters of a test."""
    return pytest.mark.parametrize(("family", "kind"), [one for one in EVERY if one[0] in families])


@pytest.fixture(autouse=True, scope="module")
def my_lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "my_lab").mkdir()
    (folder / "my_lab/nets.py").write_text(textwrap.dedent(OUTSIDE))
    (folder / "braindecode").mkdir()
    (folder / "braindecode/__init__.py").touch()
    (folder / "braindecode/models.py").write_text(BRAINDECODE)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in ("my_lab", "my_lab.nets", "braindecode", "braindecode.models"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain_files, "TIMES", TIMES)
        brain_files.write_responses(folder / "eeg.h5", embedding)
    brain_files.write_voxels(folder / "voxels.h5", embedding, V)
    brain_files.save_tower(folder / "tower")
    return folder


def small(family: str, kind: str) -> dict[str, Any]:
    tower = {"tower": "tiny"} if family == "methods" else {}
    return {"kind": kind, **tower, **CASES[family][kind].small}


def made(family: str, kind: str) -> tuple[nn.Module, Any]:
    """A small module of a kind, and what it takes."""
    block = settings.parse(UNIONS[family], small(family, kind))
    clip = tiny_clip()
    with torch.no_grad():
        tokens, bands = BandTokens(clip.visual.conv1, (IMAGE, IMAGE), settings.FilterBank())(pictures(5))
        seen = Pictures(clip.encode_image(pictures(5)), tokens, bands)
    build = kinds.load(family, kind)
    if family == "encoders":
        return brain_encoder.build(block, Inputs(C, T, brain_files.SFREQ)), (torch.randn(5, C, T),)
    if family == "mappings":
        return build(block, V, JOINT), (torch.randn(5, V),)
    if family == "visuals":
        return build(block, Frozen(JOINT, BANDS, clip.visual if block.drives_tower else None)), (seen,)
    if family == "filters":
        return build(block, D, BANDS), (tokens, bands)
    assert family == "adapters"
    return build(block, own_structure(clip.visual.requires_grad_(False)), BLOCKS), ()


# --------------------------------------------------------------------------------------------- settings


def classes(union: Any) -> dict[str, type[settings.Kind]]:
    """Settings classes of the kinds of a union, without the one for kinds from outside."""
    found = {loading._tag(member): loading._plain(member) for member in loading._members(union)}
    return {kind: block for kind, block in found.items() if kind != EXTERNAL}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_has_settings_and_every_settings_class_a_kind_and_both_a_case(family):
    shipped = kinds.shipped(family)
    assert shipped
    assert sorted(classes(UNIONS[family])) == shipped
    assert sorted(kind for kind in CASES[family] if ":" not in kind) == shipped
    assert any(":" in kind for kind in CASES[family])
    for kind, block in classes(UNIONS[family]).items():
        assert block.family == family
        assert block.model_fields["kind"].default == kind


@of(*FAMILIES)
def test_settings_of_a_kind_read_back_and_refuse_what_is_wrong(family, kind):
    block = settings.parse(UNIONS[family], small(family, kind))
    assert block.kind == kind
    text = settings.canonical(block)
    assert settings.parse(UNIONS[family], text) == block
    for name, value in CASES[family][kind].small.items():
        assert f'"{name}"' in text, value
    with pytest.raises(ValueError, match=next(iter(CASES[family][kind].wrong))):
        settings.parse(UNIONS[family], {**small(family, kind), **CASES[family][kind].wrong})


@pytest.mark.parametrize("family", FAMILIES)
def test_kinds_that_do_not_exist_are_refused(family):
    for kind, words in (
        ("perceiver", "perceiver"),
        ("nowhere.at_all:Net", "cannot import nowhere.at_all"),
        ("my_lab.nets:Missing", "my_lab.nets has no Missing"),
        ("my_lab.nets:torch", "needs a class attribute Settings"),
    ):
        with pytest.raises(ValueError, match=words):
            settings.parse(UNIONS[family], {**small(family, next(iter(CASES[family]))), "kind": kind})


# ------------------------------------------------------------------------------------ shapes and sizes


@of("encoders", "mappings", "visuals", "filters", "adapters")
def test_number_of_trained_parameters(family, kind):
    module, _ = made(family, kind)
    count = sum(one.numel() for one in module.parameters() if one.requires_grad)
    assert count == CASES[family][kind].parameters


@of("encoders", "mappings", "visuals", "filters")
def test_shapes(family, kind):
    module, given = made(family, kind)
    found = module(*given)
    if family == "mappings":
        found, own_loss = found
        assert own_loss is None or own_loss.shape == ()
    expected = {"encoders": (5, Z), "mappings": (5, JOINT), "visuals": (5, 12), "filters": (5, N, D)}
    assert found.shape == expected[family]
    if family == "filters":
        assert module.gains(given[0]).shape == (5, BANDS)


@of("schedules")
def test_a_schedule_is_a_factor_within_0_and_1_that_never_rises_after_the_warm_up(family, kind):
    """Of a kind that has a rise of its own: it rises once, and a warm-up beside it is refused."""
    given = {"epochs": 5, "warmup": 0.2, "schedule": small(family, kind)}
    if settings.parse(settings.Schedule, given["schedule"]).rises:
        with pytest.raises(ValueError, match=r"warmup: found 0\.2 .* expected warmup: 0"):
            settings.Optimiser.model_validate(given)
        given["warmup"] = 0
    factor = loop.learning_rate(settings.Optimiser.model_validate(given), 10)
    values = [factor(step) for step in range(11)]
    top = values.index(max(values))
    assert given["warmup"] == 0 or values[:2] == [0.5, 1.0]
    assert all(0 <= before < after <= 1 for before, after in pairwise(values[: top + 1]))
    assert all(0 <= after <= before <= 1 for before, after in pairwise(values[top:]))


def test_the_name_of_a_schedule_is_short_for_its_block():
    assert settings.Optimiser(schedule="constant") == settings.Optimiser(schedule={"kind": "constant"})


# --------------------------------------------------------------------------------------------- training

CONTRASTIVE: dict[str, Any] = {"kind": "contrastive", "tower": "tiny", **CASES["methods"]["contrastive"].small}
NEUROCLIP = {"kind": "neuroclip", **CASES["visuals"]["neuroclip"].small}
MAPPING: dict[str, Any] = {"kind": "mapping", "tower": "tiny"}
BUDGET = {"epochs": 8, "batch_size": 20, "lr": 3e-3, "weight_decay": 0.0}


def method_with(family: str, kind: str) -> dict[str, Any]:
    """A method that uses a small one of a kind."""
    block = small(family, kind)
    if family == "encoders":
        return {**CONTRASTIVE, "encoder": block, "optimiser": BUDGET}
    if family == "mappings":
        return {**MAPPING, "network": block, "optimiser": BUDGET}
    if family == "visuals":
        return {**CONTRASTIVE, "visual": block, "optimiser": BUDGET}
    if family == "filters":
        return {**CONTRASTIVE, "visual": {**NEUROCLIP, "filter": block}, "optimiser": BUDGET}
    if family == "adapters":
        return {**CONTRASTIVE, "visual": {**NEUROCLIP, "adapter": block}, "optimiser": BUDGET}
    if family == "augmentations":
        return {**CONTRASTIVE, "augmentation": [block], "optimiser": BUDGET}
    if family == "schedules":
        rises = {"warmup": 0} if kind == "one-cycle" else {}
        return {**CONTRASTIVE, "optimiser": {**BUDGET, "schedule": block, **rises}}
    return block if kind in ("ridge", "my_lab.nets:Means") else {**block, "optimiser": BUDGET}


def loaded(method: dict[str, Any]) -> settings.MethodBase:
    """The method through a whole configuration."""
    config = {
        "studies": {"s": {"kind": "simulated", "subjects": 2}},
        "bands": {"b": {}},
        "towers": {"tiny": {"model": "local-dir:nowhere"}},
        "protocols": {"p": {"kind": "intra-subject"}},
        "methods": {"m": method},
        "experiments": {"e": {"study": "s", "signals": ["b"], "protocols": ["p"], "methods": ["m"]}},
    }
    return settings.load(config).methods["m"]


@pytest.mark.parametrize(("family", "kind"), TRAINED)
def test_a_kind_trains_and_its_checkpoint_predicts_as_the_trained_model_does(
    files, tmp_path, monkeypatch, family, kind
):
    method = loaded(method_with(family, kind))
    given = method.model_dump(mode="json")
    learners, starts = [], []

    def watched(learner, *arguments):
        learners.append(learner)
        starts.append({name: one.detach().clone() for name, one in learner.model.named_parameters()})
        return loop.fit(learner, *arguments)

    for name in ("contrastive", "mapping"):
        monkeypatch.setattr(f"brain2clip.training.methods.{name}.fit", watched)
    file = files / ("voxels.h5" if family == "mappings" else "eeg.h5")
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "model.parquet"}
    tower = Tower(model=f"local-dir:{files / 'tower'}").model_dump(mode="json")
    values = {"method": given, "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}, "subjects": ["01"]}
    inputs = {"responses": [file], "stimuli": [files / "stimuli.h5"]}
    train.run(stage.Job("train", values, "code", {}, inputs, outputs))
    history = artefact.read_table(outputs["history"])
    assert method.by_epoch == (len(learners) == 1)
    test = load_responses([file], "test", None)
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        predictor = Predictor(given, tower, artefact.read_tensors(outputs["checkpoint"]), test, stimuli, TEST, "01")
        brains, candidates = predictor.brains(test.values), predictor.candidates()
        seen = predictor.side.pictures(TEST) if method.kind == "contrastive" else None
    assert brains.shape[1:] == candidates.shape[1:]
    np.testing.assert_allclose(np.linalg.norm(brains, axis=1), 1, atol=1e-5)
    for learner, start in zip(learners, starts):
        assert history["loss"].iloc[-1] < history["loss"].iloc[0]
        trained = {name: one for name, one in learner.model.named_parameters() if one.requires_grad}
        assert [name for name, one in trained.items() if torch.equal(one, start[name])] == []
        frozen = {name: one for name, one in learner.model.named_parameters() if not one.requires_grad}
        assert [name for name, one in frozen.items() if not torch.equal(one, start[name])] == []
        learner.model.eval()
        with torch.inference_mode():
            x = torch.from_numpy(test.values)
            own = [torch.zeros(len(x), dtype=torch.int64)] if seen and method.encoder.by_subject else []
            live = (
                [learner.model(x)[0]] if seen is None else [learner.model.brain(x, *own), learner.model.picture(seen)]
            )
        for found, expected in zip(live, (brains, candidates)):
            np.testing.assert_allclose(nn.functional.normalize(found, dim=-1).numpy(), expected, atol=1e-6)
