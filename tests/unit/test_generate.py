"""From points to pictures: both adapters with random weights, and what the stages around them promise."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brain_files
import numpy as np
import pytest
import tiny_generators
import torch
from diffusers import KandinskyV22PriorPipeline
from numpy.typing import NDArray
from PIL import Image
from tiny_generators import SIZE, WIDTH

from brain2clip import artefact, kinds, settings, stage
from brain2clip.generation import drawing, files, generate, negative, oracle
from brain2clip.generation.generators import kandinsky
from brain2clip.readers import pictures
from brain2clip.settings import GeneratorBase, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli import frozen_clip, hub

IDS = ["cat", "ant", "bee", "dog", "eel"]
TRAINED = [f"train-{number}" for number in range(6)]
RUN = {"study": "s", "signal": "broad", "protocol": "intra", "method": "ridge", "subject": "01", "seed": 0}
RNG = np.random.default_rng(0)
TRUE = RNG.standard_normal((len(TRAINED) + len(IDS), WIDTH)).astype(np.float32) * 3
POINTS = dict(zip(IDS, TRUE[len(TRAINED) :] + RNG.standard_normal((len(IDS), WIDTH)).astype(np.float32)))
CENTRE = RNG.standard_normal(WIDTH).astype(np.float32) / 10


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Settings of generators by name."""
    folder = tmp_path_factory.mktemp("models")
    small = {"tower": "any", "size": SIZE, "steps": 3, "samples": 2, "guidance": 3.0, "batch_size": 4}
    adapted = {"model": tiny_generators.sdxl(folder / "base"), "adapter": tiny_generators.adapter(folder / "adapter")}
    return {
        "decoder": {**small, "kind": "kandinsky", "model": tiny_generators.kandinsky(folder / "decoder")},
        "noisy": {**small, "kind": "kandinsky", "model": tiny_generators.kandinsky(folder / "noisy", True)},
        "adapter": {**small, "kind": "ip-adapter", **adapted},
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stimuli of a study, of which two training pictures are no use as a start, and a negative embedding."""
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(1)
    names = [*TRAINED, *IDS]
    images = [str(folder / f"{name}.png") for name in names]
    for path in images:
        coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
        coarse.resize((60, 40), Image.Resampling.BICUBIC).save(path)
    digest = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in images]
    embedding = TRUE.copy()
    embedding[0], digest[0] = TRUE[-1], digest[-1]  # the pixels of a test picture under another id
    embedding[1] = TRUE[-2] * 2  # in training and test
    split = ["train", "both", *["train"] * 4, *["test"] * len(IDS)]
    with artefact.create_h5(folder / "stimuli.h5", brain_files.MADE) as file:
        file.attrs["kind"] = "pictures"
        columns = {"stimulus_id": names, "image": images, "pixel_digest": digest, "split": split}
        for name, values in {**columns, "embedding": embedding}.items():
            file[name] = values
    with artefact.create_h5(folder / "negative.h5", brain_files.MADE) as file:
        file["embedding"] = rng.standard_normal(WIDTH).astype(np.float32)
    return {"stimuli": folder / "stimuli.h5", "negative": folder / "negative.h5"}


Draw = Callable[..., dict[str, Any]]


@pytest.fixture
def draw(study: dict[str, Path], tmp_path: Path) -> Draw:
    """Run ``generate`` for some stimuli; what it wrote, pictures by stimulus."""

    def run(
        given: dict[str, Any], ids: list[str] = IDS, points: dict[str, NDArray[np.floating]] = POINTS, **inputs: Path
    ) -> dict[str, Any]:
        value = np.stack([points[name] for name in ids])
        unit = value / np.linalg.norm(value, axis=1, keepdims=True)
        embeddings, output = tmp_path / "embeddings.h5", tmp_path / "pictures.h5"
        with artefact.create_h5(embeddings, brain_files.MADE, {"point", "predicted"}) as file:
            file["point"], file["predicted"], file["centre"], file["stimulus_id"] = value, unit, CENTRE, ids
        paths = {"embeddings": embeddings, **study, **inputs}
        generate.run(job("generate", given, paths, output))
        return read(output)

    return run


def job(name: str, given: dict[str, Any], paths: dict[str, Path], output: Path) -> stage.Job:
    """A job with the settings that the plan gives it."""
    block: GeneratorBase = settings.parse(settings.Generator, given)
    own = {key: value for key, value in settings.dump(block).items() if key not in ("tower", "batch_size")}
    about = {"run": RUN} if name == "generate" else {"name": "s"}
    values = {**about, "generator": own, "generator_name": "mine", "batch_size": block.batch_size}
    weights = [Path(path) for path in files.of(block)]
    inputs = {**{key: [path] for key, path in paths.items()}, "weights": weights}
    return stage.Job(name, values, "code", {}, inputs, {"pictures": output})


def read(path: Path) -> dict[str, Any]:
    with artefact.open_h5(path) as file:
        ids = file["stimulus_id"].asstr()[:].tolist()
        found = {"picture": dict(zip(ids, file["picture"][:])), "attributes": dict(file.attrs)}
        if "start" in file:
            found["start"] = dict(zip(ids, file["start"].asstr()[:].tolist()))
    return found


def furthest(one: dict[str, NDArray[np.uint8]], other: dict[str, NDArray[np.uint8]]) -> int:
    """Largest difference of a pixel of the same stimulus, grey levels."""
    return max(int(np.abs(picture.astype(int) - other[name]).max()) for name, picture in one.items())


# ------------------------------------------------------------------------------------------------- pictures

STARTED = {"start": {"strength": 0.7}}


@pytest.mark.parametrize("name", ["decoder", "noisy", "adapter"])
@pytest.mark.parametrize("start", [{}, STARTED], ids=["from-noise", "from-a-picture"])
def test_a_picture_depends_on_its_stimulus_alone(models, draw, name, start):
    """Not on the batch, on the order of stimuli, or on others beside it; on sample, seed and point it does."""
    given = {**models[name], **start}
    whole = draw(given)
    assert whole["attributes"]["generator"] == "mine"
    assert whole["attributes"]["subject"] == "01"
    first = whole["picture"]
    assert {picture.shape for picture in first.values()} == {(2, SIZE, SIZE, 3)}
    assert furthest(draw({**given, "batch_size": 1}, IDS[::-1])["picture"], first) <= 1
    assert furthest(draw({**given, "batch_size": 9}, IDS[1:4])["picture"], first) <= 1
    assert furthest(draw({**given, "seed": 1}, IDS[:1])["picture"], first) > 8
    moved = {"cat": POINTS["cat"] - 20 * POINTS["bee"]}
    assert furthest(draw(given, ["cat"], moved)["picture"], first) > 4
    assert min(np.abs(one[0].astype(int) - one[1]).max() for one in first.values()) > 8


@pytest.mark.parametrize("name", ["decoder", "adapter"])
def test_the_negative_counts_with_guidance_only(models, draw, tmp_path, name):
    other = tmp_path / "other.h5"
    with artefact.create_h5(other, brain_files.MADE) as file:
        file["embedding"] = np.full(WIDTH, 9, np.float32)
    for guidance, moves in ((1.0, False), (3.0, name == "decoder")):  # an IP-Adapter's own negative is zeros
        given = {**models[name], "guidance": guidance, "samples": 1}
        one, two = (draw(given, IDS[:2], **inputs)["picture"] for inputs in ({}, {"negative": other}))
        assert (furthest(one, two) > 1) == moves


def test_no_two_pictures_share_noise():
    asked = [(seed, name, sample) for seed in (0, 1) for name in (*IDS, "cat1", "1cat") for sample in range(12)]
    first = [tuple(torch.randn(4, generator=drawing.noise(*one)).tolist()) for one in asked]
    assert len(set(first)) == len(asked)
    again = torch.randn(4, generator=drawing.noise(*asked[7]))
    assert tuple(again.tolist()) == first[7]


def test_half_precision_draws_the_same_noise():
    """Pipelines draw in the precision of their weights."""
    one, half = (torch.randn(64, generator=drawing.noise(0, "cat", 0), dtype=dtype) for dtype in (None, torch.float16))
    torch.testing.assert_close(half.float(), one, rtol=1e-3, atol=1e-3)


# --------------------------------------------------------------------------------------- started from pictures


def test_it_starts_from_the_nearest_picture_of_the_training_only(models, draw):
    """In the space of the method, without its centre; never from what the test shows, under whatever id."""
    ids = [*IDS, "train-1"]  # the last is in training and test
    points = {**POINTS, "eel": TRUE[-1], "dog": TRUE[-2], "ant": TRUE[4], "train-1": TRUE[2]}
    found = draw({**models["decoder"], **STARTED}, ids, points)["start"]
    unit = TRUE / np.linalg.norm(TRUE, axis=1, keepdims=True) - CENTRE
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert found == {name: TRAINED[2 + int((unit[2:6] @ points[name]).argmax())] for name in ids}
    assert len(set(found.values())) > 1


@pytest.mark.parametrize("name", ["decoder", "adapter"])
def test_little_strength_leaves_the_picture(models, draw, study, name):
    given = {**models[name], "steps": 1000, "samples": 1, "start": {"strength": 0.001}}
    found = draw(given, IDS[:2])
    block: GeneratorBase = settings.parse(settings.Generator, given)
    pipeline = kinds.load("generators", block.kind)(block, torch.device("cpu")).pipeline
    for one, start in found["start"].items():
        seen = through_autoencoder(pipeline, drawing.square(study["stimuli"].parent / f"{start}.png", SIZE))
        assert np.abs(found["picture"][one][0].astype(int) - seen).mean() < 0.1 * seen.std()


def test_full_strength_leaves_nothing_of_the_picture(models, draw, monkeypatch):
    """Where the scheduler ends in noise alone, as that of the small generator does."""
    given = {**models["decoder"], "start": {"strength": 1.0}}
    one = draw(given, IDS[:2])["picture"]
    monkeypatch.setattr(drawing, "square", lambda path, size: np.full((size, size, 3), 255, np.uint8))
    assert furthest(one, draw(given, IDS[:2])["picture"]) <= 1
    assert furthest(one, draw(models["decoder"], IDS[:2])["picture"]) <= 1


def through_autoencoder(pipeline: Any, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scaled = torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        if hasattr(pipeline, "movq"):
            again = pipeline.movq.decode(pipeline.movq.encode(scaled).latents, force_not_quantize=True).sample
        else:
            again = pipeline.vae.decode(pipeline.vae.encode(scaled).latent_dist.mean).sample
    return ((again[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()


def test_a_start_is_the_square_in_the_middle(tmp_path):
    wide = np.zeros((40, 60, 3), np.uint8)
    wide[:, :10], wide[:, 10:50], wide[:, 50:] = 255, 128, 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.abs(drawing.square(tmp_path / "wide.png", SIZE).astype(int) - 128).max() < 16
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (64, 32, 3))
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert np.ptp(drawing.square(tmp_path / "stripes.png", SIZE)[:, 1:-1]) < 40  # without antialiasing 0 or 255


# -------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("name", ["decoder", "adapter"])
def test_points_of_another_width_are_refused_with_both_numbers(models, draw, name):
    points = {one: np.ones(WIDTH + 3, np.float32) for one in IDS}
    with pytest.raises(InputError, match=rf"generators\.mine\.model: .* width {WIDTH}, .*\.tower have {WIDTH + 3}"):
        draw(models[name], IDS, points)


def test_points_that_are_not_finite_are_refused_by_their_stimulus(models, draw):
    points = {**POINTS, "bee": np.where(np.arange(WIDTH) == 3, np.nan, POINTS["bee"])}
    with pytest.raises(InputError, match="point of stimulus bee has a number that is not finite"):
        draw(models["decoder"], IDS, points)


def test_a_size_that_the_pipeline_would_round_is_refused(models, draw):
    with pytest.raises(
        InputError, match=r"generators\.\*\.size: .* a multiple of 16 pixels, found 24; the next larger size is 32"
    ):
        draw({**models["decoder"], "size": 24})


def test_pictures_of_another_size_are_refused(models, draw, monkeypatch):
    monkeypatch.setattr(kandinsky.Generator, "draw", lambda *_: np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"size: expected pictures \(4, 16, 16, 3\) .*found \(4, 8, 8, 3\)"):
        draw(models["decoder"])


def test_pictures_that_are_not_finite_are_refused_with_advice(models, draw):
    points = {one: np.full(WIDTH, 1e38, np.float32) for one in IDS}
    with pytest.raises(InputError, match=r"not finite\. On a GPU it computes in half precision"):
        draw(models["decoder"], IDS, points)


def test_a_folder_that_is_not_there_is_named(models, draw, tmp_path):
    for name, key in (("decoder", "model"), ("adapter", "adapter")):
        with pytest.raises(InputError, match=rf"the folder {tmp_path}/gone does not exist; expected what save_pretr"):
            draw({**models[name], key: f"local-dir:{tmp_path}/gone"})


def test_pickles_and_pointers_are_never_loaded(models, draw, tmp_path):
    shutil.copytree(models["decoder"]["model"].removeprefix("local-dir:"), tmp_path / "model")
    weights = tmp_path / "model/unet/diffusion_pytorch_model.safetensors"
    given = {**models["decoder"], "model": f"local-dir:{tmp_path}/model"}
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(
        InputError, match=r"unet/diffusion_pytorch_model\.safetensors: expected a file of the generator"
    ):
        draw(given)
    weights.unlink()
    torch.save({}, weights.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"\.model: 'local-dir:.*could not be loaded: .*safetensors"):
        draw(given)
    with pytest.raises(ValueError, match="safetensors"):
        settings.parse(settings.Generator, {**models["adapter"], "weights": "ip-adapter_sdxl.bin"})


@pytest.mark.parametrize(("name", "key"), [("decoder", "model"), ("adapter", "adapter")])
def test_without_network_a_name_on_the_hub_says_what_to_do(models, draw, monkeypatch, name, key):
    monkeypatch.setattr(hub, "reachable", lambda: False)
    with pytest.raises(
        InputError, match=rf"generators\.\*\.{key}: 'nobody/nothing' .*cannot be reached.*hf download .*--include"
    ):
        draw({**models[name], key: "nobody/nothing"})


def test_the_width_is_known_without_loading_anything(models, tmp_path):
    """Of the files that a job has as inputs, of which an adapter's are its weights alone."""
    for name in ("decoder", "adapter"):
        block = settings.parse(settings.Generator, models[name])
        assert files.space(block) == WIDTH
        assert all(Path(path).is_file() for path in files.of(block))
    assert [path for path in files.of(block) if "/adapter/" in path] == [str(files.adapter_file(block))]
    files.adapter_file(block).with_name("other.safetensors").write_bytes(b"1234567")
    damaged = block.model_copy(update={"weights": "other.safetensors"})
    with pytest.raises(InputError, match=r"other\.safetensors: not readable as the weights of an adapter"):
        files.space(damaged)
    assert files.space(block.model_copy(update={"adapter": "h94/IP-Adapter"})) is None


def test_an_adapter_that_takes_patch_tokens_is_refused(models, monkeypatch):
    from brain2clip.generation.generators import ip_adapter

    layer = SimpleNamespace(image_projection_layers=[torch.nn.Identity()])
    block = settings.parse(settings.Generator, models["adapter"])
    with pytest.raises(InputError, match=r"generators\.\*\.weights: ip-adapter_sdxl_vit-h.* takes patch tokens"):
        ip_adapter._width(SimpleNamespace(encoder_hid_proj=layer), block)


def test_a_strength_of_less_than_a_step_is_refused_before_anything_runs(models):
    with pytest.raises(ValueError, match=r"strength: 0.2 of 3 steps is less than one step; expected at least 0.33"):
        settings.parse(settings.Generator, {**models["decoder"], "start": {"strength": 0.2}})


# -------------------------------------------------------------------------------------------------- the stages


def test_a_stopped_job_goes_on_and_draws_nothing_twice(models, draw, monkeypatch):
    given = {**models["decoder"], "samples": 3, "batch_size": 2}  # a chunk of one stimulus, in two batches
    drawn: list[int] = []
    own = kandinsky.Generator.draw

    def counted(self, points, *further):
        if len(drawn) == 5:
            drawn.append(0)
            raise SystemExit(143)  # as SIGTERM ends it
        drawn.append(len(points))
        return own(self, points, *further)

    monkeypatch.setattr(kandinsky.Generator, "draw", counted)
    with pytest.raises(SystemExit):
        draw(given)
    went_on = draw(given)
    assert drawn == [2, 1, 2, 1, 2, 0, *[2, 1] * 3]
    monkeypatch.undo()
    assert furthest(went_on["picture"], draw(given)["picture"]) == 0


def test_the_oracle_draws_the_own_embedding_of_each_test_picture(models, draw, study, tmp_path):
    given = {**models["decoder"], "samples": 1}
    oracle.run(job("oracle", given, study, tmp_path / "oracle.h5"))
    found = read(tmp_path / "oracle.h5")
    assert list(found["picture"]) == ["train-1", *IDS]  # what is in training and test is in the test
    assert found["attributes"]["study"] == "s"
    own = dict(zip(IDS, TRUE[len(TRAINED) :]))
    assert furthest(draw(given, IDS, own)["picture"], found["picture"]) <= 1


def test_the_negative_is_the_embedding_of_an_empty_picture(tmp_path):
    """As the library's own prior makes it, of the tower in place of its image encoder."""
    block = Tower(model=brain_files.save_tower(tmp_path / "tower"))
    output = tmp_path / "negative.h5"
    negative.run(stage.Job("negative", {"tower": block.for_vectors()}, "code", {}, {}, {"negative": output}))
    clip = frozen_clip.load(block)

    class Encoder:
        dtype, config = torch.float32, SimpleNamespace(image_size=clip.image_size[0])

        def __call__(self, picture):
            return {"image_embeds": clip.model.encode_image(picture)}

    prior = SimpleNamespace(image_encoder=Encoder(), device="cpu")
    with torch.no_grad():
        wanted = KandinskyV22PriorPipeline.get_zero_embed(prior, 1)[0].numpy()
    with artefact.open_h5(output) as file:
        np.testing.assert_allclose(file["embedding"][:], wanted, rtol=1e-5, atol=1e-6)
    assert abs(np.linalg.norm(wanted) - 1) > 0.1  # with the length that the tower gives it


def test_nothing_but_our_own_lines_is_in_the_log(models, draw, capfd):
    draw(models["adapter"], IDS[:1])
    told = capfd.readouterr()
    assert told.out + told.err == ""


def test_pictures_are_those_that_readers_open(tmp_path):
    """One reader for all: orientation and transparency are as for the tower."""
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(pictures.read(tmp_path / "clear.png")).min() == 255
    assert drawing.square(tmp_path / "clear.png", SIZE).min() == 255
