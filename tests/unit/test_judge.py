"""Stage ``judge`` on small artefacts, the networks that judge, and what is refused without their weights."""

from __future__ import annotations

import re
import shutil
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from test_needs import FMRI, plan
from torch import nn
from torchvision.transforms.v2 import functional as transforms

from brain2clip import artefact, settings, stage
from brain2clip.generation import files, judge, judge_base, picture_metrics
from brain2clip.generation.judges import open_clip, swav
from brain2clip.generation.judges import torchvision as classifiers
from brain2clip.plan.needs import check
from brain2clip.stage import InputError
from brain2clip.stimuli import frozen_clip

ROOT = Path(__file__).resolve().parents[2]
TOWER = ROOT / "workflow/towers/grammar-vit"
CPU = torch.device("cpu")
RUN = {"study": "mine", "signal": "broad", "protocol": "intra", "method": "ridge", "subject": "01", "seed": 0}
TESTED = [f"test-{number}" for number in range(6)]
TRAINING = [f"training-{number}" for number in range(4)]
WIDTH = 5

OUTSIDE = '''
import numpy as np

from brain2clip.settings import JudgeBase


class Corners:
    """Every fourth pixel, a judge without weights."""

    class Settings(JudgeBase):
        kind: str
        step: int = 4

    def __init__(self, settings, device):
        self.step = settings.step

    def features(self, pictures):
        return pictures[:, :: self.step, :: self.step].reshape(len(pictures), -1).astype(np.float32)


class Broken(Corners):
    """Says nothing."""

    def features(self, pictures):
        return np.full((len(pictures), 3), np.nan, np.float32)
'''


def drawn(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """A picture of large patches."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def square(picture: np.ndarray) -> np.ndarray:
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]


#: As files have them: the first is wide, the second high.
SEEN = [drawn(0, 64, 96), drawn(1, 90, 64), *(drawn(number) for number in range(2, 6))]
GENERATED = np.stack([[drawn(100 + 10 * number + sample) for sample in range(2)] for number in range(6)])
GENERATED = (GENERATED * 0.3 + np.stack([square(one) for one in SEEN])[:, None] * 0.7).astype(np.uint8)
BANK = [drawn(200 + number) for number in range(3)]
#: Of each prediction, the training picture that lies nearest, among those that are no test picture.
NEAREST = [0, 1, 2, 2, 1, 0]


@pytest.fixture(scope="module")
def own_judges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_judges.py").write_text(OUTSIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    sys.modules.pop("own_judges", None)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, own_judges: None) -> stage.Job:
    tmp_path = tmp_path_factory.mktemp("artefacts")
    pictures = [*SEEN, *BANK, SEEN[3]]  # the last training picture is a test picture by another name
    paths = [tmp_path / f"{name}.png" for name in (*TESTED, *TRAINING)]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    axes = np.eye(WIDTH, dtype=np.float32)
    predicted = np.stack([0.8 * axes[place] + 0.6 * axes[4] for place in NEAREST])
    embedding = np.concatenate([np.tile(axes[4], (6, 1)), 2 * axes[:3], predicted[:1]])
    with artefact.create_h5(tmp_path / "stimuli.h5", made("features")) as file:
        file["stimulus_id"], file["image"] = [*TESTED, *TRAINING], list(map(str, paths))
        file["split"] = ["test"] * 6 + ["train"] * 4
        file["pixel_digest"] = [f"digest {number}" for number in range(9)] + ["digest 3"]
        file["embedding"] = embedding
    with artefact.create_h5(tmp_path / "embeddings.h5", made("embed")) as file:
        file["predicted"], file["centre"], file["stimulus_id"] = predicted, np.zeros(WIDTH, np.float32), TESTED
    write_pictures(tmp_path / "generated.h5", GENERATED, TESTED)
    own = np.stack([[square(one)] for one in SEEN])
    write_pictures(tmp_path / "oracle.h5", own[::-1], TESTED[::-1])  # another order
    names = ("embeddings", "generated", "oracle", "stimuli")
    return stage.Job(
        "judge",
        {
            "run": RUN,
            "generator_name": "grammar",
            "judges": {"corners": {"kind": "own_judges:Corners"}},
            "tower": {"model": "ViT-B-32", "pretrained": "openai"},
        },
        "code",
        {},
        {name: [tmp_path / f"{name}.h5"] for name in names},
        {"judged": tmp_path / "judged.parquet"},
    )


def made(name: str) -> artefact.Provenance:
    return artefact.Provenance(name, {}, "code")


def write_pictures(path: Path, pictures: np.ndarray, names: list[str]) -> None:
    with artefact.create_h5(path, made("generate")) as file:
        file["picture"], file["stimulus_id"] = pictures, names


@pytest.fixture(scope="module")
def table(job: stage.Job) -> pd.DataFrame:
    judge.run(job)
    return artefact.read_table(job.output("judged"))


def changed(job: stage.Job, folder: Path, inputs: dict[str, list[Path]] | None = None, **settings: Any) -> stage.Job:
    given, read = {**job.settings, **settings}, {**job.inputs, **(inputs or {})}
    return stage.Job("judge", given, "code", {}, read, {"judged": folder / "judged.parquet"})


def values(table: pd.DataFrame, source: str, name: str, metric: str, sample: int = 0) -> list[float]:
    chosen = table[(table["source"] == source) & (table["judge"] == name) & (table["metric"] == metric)]
    return chosen[chosen["sample"] == sample].set_index("stimulus_id").loc[TESTED, "value"].tolist()


def at_side(picture: np.ndarray) -> np.ndarray:
    """By way of 256 pixels, as the field's code does it."""
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255
    for side in (256, 425):
        tensor = transforms.resize(tensor, [side, side], antialias=True)
    return tensor[0].permute(1, 2, 0).numpy().astype(np.float64)


def by_pixels(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    a, b = at_side(a), at_side(b)
    similarity = structural_similarity(rgb2gray(a), rgb2gray(b), **options)
    return np.corrcoef(a.ravel(), b.ravel())[0, 1], similarity


def test_every_source_is_judged_by_pixels_and_networks(table: pd.DataFrame) -> None:
    assert table.columns.tolist() == judge.COLUMNS
    counts = table.groupby(["judge", "metric", "source"]).size()
    for name, metrics in (("pixels", ("pixcorr", "ssim")), ("corners", ("two-way", "distance", "rank"))):
        for metric in metrics:
            found = counts[name, metric].to_dict()
            assert found == {"generated": 12, "another": 12, "nearest": 6, "oracle": 6}
    assert len(table) == (2 + 3) * 36
    assert table[list(RUN)].drop_duplicates().to_dict("records") == [RUN]
    assert (table["n_candidates"] == 6).all()
    assert not table["partial"].any()


def test_what_is_judged_is_the_square_that_the_tower_saw(table: pd.DataFrame) -> None:
    """The oracle's pictures are the seen ones, wide and high ones by their middle, in another order."""
    assert values(table, "oracle", "pixels", "pixcorr") == pytest.approx([1] * 6)
    assert values(table, "oracle", "pixels", "ssim") == pytest.approx([1] * 6)
    assert values(table, "oracle", "corners", "two-way") == [1] * 6
    assert values(table, "oracle", "corners", "rank") == [1] * 6
    assert values(table, "oracle", "corners", "distance") == pytest.approx([0] * 6, abs=1e-6)


def test_pixels_by_an_independent_way(table: pd.DataFrame) -> None:
    for sample in range(2):
        expected = [by_pixels(square(seen), shown[sample]) for seen, shown in zip(SEEN, GENERATED)]
        for number, metric in enumerate(("pixcorr", "ssim")):
            found = values(table, "generated", "pixels", metric, sample)
            assert found == pytest.approx([one[number] for one in expected], abs=1e-6)
    elsewhere = picture_metrics.others(6)
    expected = [by_pixels(square(SEEN[place]), GENERATED[elsewhere[place], 1])[1] for place in range(6)]
    assert values(table, "another", "pixels", "ssim", 1) == pytest.approx(expected, abs=1e-6)


def test_networks_by_their_definition(table: pd.DataFrame) -> None:
    seen = np.stack([square(one)[::4, ::4].reshape(-1) for one in SEEN]).astype(float)
    for sample in range(2):
        shown = GENERATED[:, sample, ::4, ::4].reshape(6, -1).astype(float)
        r = np.corrcoef(seen, shown)[:6, 6:]
        for source, of in (("generated", np.arange(6)), ("another", picture_metrics.others(6))):
            own = np.array([r[i, of[i]] for i in range(6)])
            below = [sum(r[j, of[i]] < own[i] for j in range(6)) for i in range(6)]
            assert values(table, source, "corners", "distance", sample) == pytest.approx(1 - own, abs=1e-5)
            assert values(table, source, "corners", "two-way", sample) == pytest.approx(np.array(below) / 5)
            assert values(table, source, "corners", "rank", sample) == [6 - one for one in below]


def test_the_nearest_picture_is_of_training_and_no_copy_of_a_test_picture(table: pd.DataFrame) -> None:
    """The last training picture is as the first prediction, and has the pixels of a test picture."""
    near = table[(table["source"] == "nearest") & (table["metric"] == "ssim")].set_index("stimulus_id")["picture"]
    assert near[TESTED].tolist() == [TRAINING[place] for place in NEAREST]
    expected = [by_pixels(square(seen), BANK[place])[0] for seen, place in zip(SEEN, NEAREST)]
    assert values(table, "nearest", "pixels", "pixcorr") == pytest.approx(expected, abs=1e-6)
    assert (table.loc[table["source"] != "nearest", "picture"] == "").all()


def test_what_cannot_be_judged_says_so(job: stage.Job, tmp_path: Path) -> None:
    write_pictures(tmp_path / "few.h5", GENERATED[:4], TESTED[:4])
    with artefact.create_h5(tmp_path / "one.h5", made("embed")) as file:
        file["predicted"], file["centre"] = np.ones((1, WIDTH), np.float32), np.zeros(WIDTH, np.float32)
        file["stimulus_id"] = TESTED[:1]
    few, one = {"generated": [tmp_path / "few.h5"]}, {"embeddings": [tmp_path / "one.h5"]}
    absent = {"absent": {"kind": "swav", "weights": str(tmp_path / "no.pth")}}
    for wrong, words in (
        (changed(job, tmp_path, few), "no picture of 2 test stimuli, the first is test-4"),
        (changed(job, tmp_path, one), "one test picture, which cannot be compared with others"),
        (changed(job, tmp_path, judges={"mine": {"kind": "own_judges:Broken"}}), "judges.mine: features that are not"),
        (changed(job, tmp_path, judges=absent), "no.pth: no such file of weights (setting judges.absent.weights)"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            judge.run(wrong)
        assert not wrong.output("judged").exists()


# ------------------------------------------------------------------------------------------------ networks


def tiny() -> nn.Module:
    torch.manual_seed(3)
    parts = OrderedDict(conv=nn.Conv2d(3, 4, 5), relu=nn.ReLU(), avgpool=nn.AdaptiveAvgPool2d(3), fc=nn.Conv2d(4, 2, 1))
    return nn.Sequential(parts).eval()


def expected_features(network: nn.Module, pictures: np.ndarray, side: int) -> np.ndarray:
    """Of the average pool, written out: to 256 where larger, to the network's side, ImageNet's colours."""
    given = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    if given.shape[-1] > 256:
        given = transforms.resize(given, [256, 256], antialias=True)
    given = transforms.resize(given, [side, side], antialias=True)
    given = transforms.normalize(given, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        return network.avgpool(network.relu(network.conv(given))).flatten(1).numpy()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the weights of a small network, which stands for torchvision's."""
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: untrained())
    torch.save(tiny().state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def untrained() -> nn.Module:
    made = tiny()
    for value in made.parameters():
        nn.init.zeros_(value)
    return made


def classifier(path: Path, **changed: Any) -> classifiers.Judge:
    given = {"model": "alexnet", "layer": "avgpool", "size": 48, "weights": str(path), **changed}
    return classifiers.Judge(settings.TorchvisionJudge(**given), CPU)


@pytest.mark.parametrize("side", [40, 300])
def test_a_classifier_gives_what_its_layer_gives(weights: Path, side: int) -> None:
    pictures = np.stack([drawn(number, side, side) for number in range(judge_base.AT_ONCE + 2)])
    found = classifier(weights).features(pictures)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected_features(tiny(), pictures, 48), atol=2e-5)
    assert np.ptp(found) > 0.01, "weights are those of the file"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.pop("conv.bias"), "1 absent, as conv.bias"),
        (lambda one: one.update(extra=torch.zeros(1)), "1 unknown, as extra"),
        (lambda one: one.update({"conv.bias": torch.zeros(7)}), "1 of another shape or not finite, as conv.bias"),
        (lambda one: one["conv.bias"].fill_(float("nan")), "1 of another shape or not finite, as conv.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: Path, change: Any, words: str) -> None:
    state = tiny().state_dict()
    change(state)
    torch.save(state, weights)
    with pytest.raises(InputError, match=rf"tiny\.pth: not the weights of Sequential: .*{words}.*judges\.\*\.weights"):
        classifier(weights)


def test_files_that_are_no_weights_are_refused(weights: Path) -> None:
    with pytest.raises(InputError, match=r"judges\.\*\.layer: found 'top'; expected a node .* avgpool"):
        classifier(weights, layer="top")
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(InputError, match=r"tiny\.pth: not readable as weights .*download it again"):
        classifier(weights)
    torch.save([1, 2], weights)
    with pytest.raises(InputError, match=r"tiny\.pth: not a state dict"):
        classifier(weights)
    with pytest.raises(InputError, match=r"no\.pth: no such file of weights \(setting judges\.\*\.weights\)"):
        classifier(weights.with_name("no.pth"))


@pytest.mark.parametrize(
    ("model", "layer", "size", "width"),
    [
        ("alexnet", "features.4", 256, 192 * 31 * 31),
        ("alexnet", "features.11", 256, 256 * 15 * 15),
        ("inception_v3", "avgpool", 342, 2048),
        ("efficientnet_b1", "avgpool", 255, 1280),
        ("resnet50", "avgpool", 224, 2048),
    ],
)
def test_layers_of_the_field_are_there(model: str, layer: str, size: int, width: int) -> None:
    """On a device without memory: neither weights nor work."""
    meta = torch.device("meta")
    with meta:
        network = classifiers.built(model)
        if model == "inception_v3":
            assert network.transform_input, "its weights take ImageNet's normalisation back"
        found = judge_base.layer_of(network, layer, "layer", meta)(torch.zeros(1, 3, size, size))
    assert found.flatten(1).shape == (1, width)


def test_published_files_are_those_of_torchvision() -> None:
    for model, (name, file) in settings.TorchvisionJudge.weights_of.items():
        block, member = name.split(".")
        published = getattr(getattr(torchvision.models, block), member)
        assert published.url.rpartition("/")[2] == file
        assert torchvision.models.get_model_weights(model) is getattr(torchvision.models, block)
    size = torchvision.models.EfficientNet_B1_Weights.IMAGENET1K_V2.transforms().resize_size
    assert size == [255], "the side that the field's numbers are of"


def test_swav_is_the_trunk_of_its_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names begin with ``module.``; heads are left out, and the classifier, which is not used, is not there."""
    monkeypatch.setattr(torchvision.models, "resnet50", lambda weights: untrained())
    trunk = {f"module.{name}": value for name, value in tiny().state_dict().items() if not name.startswith("fc.")}
    heads = {"module.projection_head.0.weight": torch.zeros(2, 2), "module.prototypes.weight": torch.zeros(3, 2)}
    torch.save({**trunk, **heads}, weights)
    pictures = np.stack([drawn(number) for number in range(3)])
    found = swav.Judge(settings.SwavJudge(weights=str(weights), size=48), CPU).features(pictures)
    np.testing.assert_allclose(found, expected_features(tiny(), pictures, 48), atol=2e-5)
    torch.save({**trunk, "module.other.weight": torch.zeros(1)}, weights)
    with pytest.raises(InputError, match=r"1 unknown, as other\.weight"):
        swav.Judge(settings.SwavJudge(weights=str(weights)), CPU)


def test_an_open_clip_tower_judges_by_its_embedding() -> None:
    block = settings.OpenClipJudge(model=f"local-dir:{TOWER}")
    pictures = np.stack([drawn(number, 80, 80) for number in range(3)])
    found = open_clip.Judge(block, CPU).features(pictures)
    clip = frozen_clip.load(settings.Tower(model=block.model), CPU)
    given = transforms.resize(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255, clip.image_size, antialias=True)
    with torch.no_grad():
        expected = clip.model.encode_image((given - clip.mean) / clip.std).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


# ------------------------------------------------------------------------------------ partial, and refused early


def test_the_tower_that_the_generator_is_told_of_is_partial(tmp_path: Path) -> None:
    def same(judge: dict[str, Any], model: str, pretrained: str | None = None) -> bool:
        return files.same_tower(settings.parse(settings.Judge, judge), {"model": model, "pretrained": pretrained})

    clip = {"kind": "open-clip", "model": "ViT-B-32", "pretrained": "openai"}
    assert same(clip, "ViT-B-32", "openai")
    assert not same(clip, "ViT-B-32", "laion2b_s34b_b79k")
    assert not same(clip, "ViT-B-16", "openai")
    folders = [tmp_path / name for name in ("one", "copy", "other")]
    for folder in folders:
        shutil.copytree(TOWER, folder)
    changed = (folders[2] / "open_clip_model.safetensors").read_bytes()
    (folders[2] / "open_clip_model.safetensors").write_bytes(changed[:-1] + bytes([changed[-1] ^ 1]))
    own = {"kind": "open-clip", "model": f"local-dir:{folders[0]}"}
    assert [same(own, f"local-dir:{folder}") for folder in folders] == [True, True, False]
    assert same(own, "ViT-B-32", str(folders[1] / "open_clip_model.safetensors"))
    assert not same({"kind": "swav", "weights": "ViT-B-32"}, "ViT-B-32")


def test_a_partial_judge_is_marked(job: stage.Job, tmp_path: Path) -> None:
    tower = {"model": f"local-dir:{TOWER}", "pretrained": None}
    judges = {**job.settings["judges"], "told": {"kind": "open-clip", **tower}}
    of_tower = changed(job, tmp_path, judges=judges, tower=tower)
    judge.run(of_tower)
    table = artefact.read_table(of_tower.output("judged"))
    assert set(table.loc[table["partial"], "judge"]) == {"told"}
    assert table.loc[table["judge"] == "told", "partial"].all()


def test_judges_without_weights_are_refused_before_anything_runs(tmp_path: Path) -> None:
    judges = {
        "alex-2": {"kind": "torchvision", "model": "alexnet", "layer": "features.4", "size": 256, "weights": "no.pth"},
        "swav": {"kind": "swav", "weights": str(tmp_path / "page.pth")},
    }
    judges["clip"] = {"kind": "open-clip", "model": "ViT-L-14", "pretrained": "opnai"}
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>Sign in</html>")
    study = {**FMRI, "stimuli": "p.tsv"}
    generators = {"own": {"kind": "kandinsky", "model": "some/decoder", "tower": "small"}}
    experiment = {"study": "mine", "signals": ["all"], "protocols": ["intra"], "methods": ["image"]}
    blocks = {"judges": judges, "generators": generators}
    asked = plan(study, ["image"], **blocks, experiments={"main": {**experiment, "generators": ["own"]}})
    with pytest.raises(InputError) as told:
        check(asked)
    sentences = str(told.value).splitlines()
    assert sentences[0] == (
        "judges.alex-2.weights: no such file 'no.pth', and it is not downloaded; expected the published weights: "
        "alexnet-owt-7be5be79.pth (torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url says from where). Download the "
        "file and set its path there, or remove the judge"
    )
    assert sentences[1].startswith(f"judges.swav.weights: {tmp_path}/page.pth: expected a file of weights, found a")
    assert sentences[2].startswith("judges.clip.pretrained: 'opnai' is neither a file nor a tag of ViT-L-14")
    assert len(sentences) == 3
    check(plan(study, ["image"], **blocks))  # nobody is judged
    shown = {"it": {"kind": "generation", "experiments": ["main"]}}
    with pytest.raises(InputError, match=r"tables\.it\.experiments: found main, and none of them has generators"):
        check(plan(study, ["image"], tables=shown))
    taken = settings.parse(settings.Judge, {"kind": "open-clip", "model": "ViT-B-32", "pretrained": "openai"})
    assert [*files.problems({"pixels": taken})] == [
        "judges.pixels: this name is reserved for the comparison by pixels; expected another name"
    ]
