"""Stage ``features`` against open_clip itself, and after an interruption."""

import errno
from types import SimpleNamespace

import brain_files
import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from brain2clip import artefact, stage
from brain2clip.settings import Tower
from brain2clip.stimuli import catalogue, features, frozen_clip
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training.data import PictureSource

N = 8
# 16 patches of width 32 for the picture and 4 bands, fp32.
BYTES_PER_PICTURE = 16 * 32 * 4 * 4


def write_pictures(folder) -> pd.DataFrame:
    """Stimulus table of N pictures, not in the order of their file names, of odd sizes and modes."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    paths = [folder / f"{name}.png" for name in "hcaebgfd"]
    for index, path in enumerate(paths):
        pixels = rng.integers(0, 256, (36 + index, 50 - index, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if index == 2 else "RGB").save(path)
    return pd.DataFrame(
        {
            "stimulus_id": [f"picture-{path.stem}" for path in paths],
            "split": ["train"] * 5 + ["test"] * 3,
            "concept": [f"concept-{index // 2}" for index in range(N)],
            "image": [str(path) for path in paths],
            "captions": [[f"this is {index}", "one of several"][: index % 3] for index in range(N)],
            "prompts": [[] if index % 2 else [f"number {index}", f"a {index}"] for index in range(N)],
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return brain_files.save_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture
def table(tmp_path):
    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def make(model, table, tmp_path, monkeypatch):
    """Run the stage for a table of stimuli with settings of the tower; returns the path of the artefact."""

    def run(given=table, name="stimuli", ready=None, equal_pictures="refuse", sources=None, **tower):
        listed = tmp_path / "catalogue.parquet"
        study = SimpleNamespace(
            name="s",
            stimulus_table=lambda: given,
            catalogue_digest=lambda: None,
            stimulus_files=list,
            source_pictures=lambda: sources or {},
        )
        monkeypatch.setattr("brain2clip.readers.contract.load", lambda *_: study)
        values = {"name": "s", "study": {"kind": "x"}, "results": "results"}
        catalogue.run(stage.Job("catalogue", values, "code", {}, {}, {"catalogue": listed}))
        block = Tower(model=model, **{"batch_size": 3, **tower}).model_dump(mode="json")
        output = tmp_path / f"{name}.h5"
        values = {"name": "s", "tower": block, "equal_pictures": equal_pictures}
        inputs = {"catalogue": [listed]} | ({"ready": [ready]} if ready else {})
        features.run(stage.Job("features", values, "code", {}, inputs, {"stimuli": output}))
        return output

    return run


def read(path) -> dict[str, np.ndarray]:
    with artefact.open_h5(path) as file:
        text = {name: values.asstr()[:] for name, values in file.items() if values.dtype == object}
        return {**{name: values[:] for name, values in file.items()}, **text}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


# ------------------------------------------------------------------------------------------- contents


def test_embeddings_are_those_of_open_clip(make, model, table):
    found = read(make())
    clip, _, transform = open_clip.create_model_and_transforms(model)
    tokenize = open_clip.get_tokenizer(model)
    clip.eval()
    with torch.no_grad():
        pictures = torch.stack([transform(Image.open(path)) for path in table["image"]])
        image = clip.encode_image(pictures).numpy()
        for name, column in (("caption", "captions"), ("prompt", "prompts")):
            mean = np.full((N, image.shape[1]), np.nan)
            for row, texts in enumerate(table[column]):
                if texts:
                    encoded = F.normalize(clip.encode_text(tokenize(texts)), dim=-1).mean(dim=0)
                    mean[row] = F.normalize(encoded, dim=0).numpy()
            np.testing.assert_allclose(found[f"{name}_embedding"], mean, atol=1e-5)
            assert np.nanmax(np.ptp(mean[~np.isnan(mean[:, 0])], axis=0)) > 0.01, f"all {column} look the same"
    np.testing.assert_allclose(found["embedding"], image, atol=1e-5)
    assert np.ptp(found["embedding"], axis=0).max() > 0.01, "all pictures look the same"


def test_every_sentence_stands_once_and_is_linked_to_its_pictures(make, model, table):
    found = read(make())
    clip, tokenize = open_clip.create_model(model).eval(), open_clip.get_tokenizer(model)
    sentences = list(found["sentence"])
    assert sentences == sorted(
        {text for column in ("captions", "prompts") for texts in table[column] for text in texts}
    )
    with torch.no_grad():
        encoded = F.normalize(clip.encode_text(tokenize(sentences)), dim=-1).numpy()
    np.testing.assert_allclose(found["sentence_embedding"], encoded, atol=1e-5)
    for name, column in (("caption", "captions"), ("prompt", "prompts")):
        linked = [[] for _ in range(N)]
        for row, sentence in found[f"{name}_link"]:
            linked[row].append(sentences[sentence])
        assert linked == list(table[column])


def test_a_study_without_any_sentence(make, table):
    bare = table.assign(captions=[[] for _ in range(N)], prompts=[[] for _ in range(N)])
    found = read(make(bare))
    assert found["sentence_embedding"].shape == (0, found["embedding"].shape[1])
    assert found["caption_link"].shape == found["prompt_link"].shape == (0, 2)
    assert np.isnan(found["caption_embedding"]).all()
    assert np.isnan(found["prompt_embedding"]).all()


def test_tokens_are_those_of_the_patch_embedding_and_bands_add_up(make, model, table):
    found = read(make())
    clip, _, transform = open_clip.create_model_and_transforms(model)
    pictures = torch.stack([transform(Image.open(path)) for path in table["image"]])
    with torch.no_grad():
        tokens = clip.visual.conv1(pictures).flatten(2).transpose(1, 2).numpy()
    assert found["band_tokens"].shape == (N, 4, 16, 32)
    np.testing.assert_allclose(found["band_tokens"].sum(axis=1), tokens, atol=1e-5)
    np.testing.assert_allclose(found["band_window"].sum(axis=0), 1, atol=1e-6)
    assert found["band_window"].shape == (4, len(found["band_frequency"]))


def test_rows_stand_in_the_order_of_the_table(make, table):
    path = make()
    found = read(path)
    for name in ("stimulus_id", "split", "concept", "image"):
        assert list(found[name]) == list(table[name])
    assert list(found["caption"]) == [texts[0] if texts else "" for texts in table["captions"]]
    assert len(set(found["pixel_digest"])) == N
    turned = read(make(table[::-1].reset_index(drop=True), "turned"))
    np.testing.assert_allclose(turned["embedding"], found["embedding"][::-1], atol=1e-5)
    assert list(turned["pixel_digest"]) == list(found["pixel_digest"][::-1])
    with artefact.open_h5(path, {"stage": "features", "code": "code"}) as file:
        assert dict(file.attrs)["kind"] == "pictures"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_stored_precision_is_that_of_the_setting(make, dtype):
    found = read(make(dtype=dtype))
    assert found["band_tokens"].dtype == dtype
    assert found["embedding"].dtype == np.float32
    full = read(make(name="full"))
    relative = 2**-11 if dtype == "float16" else 0
    np.testing.assert_allclose(found["band_tokens"], full["band_tokens"], rtol=relative, atol=1e-7)


def test_both_caches_give_the_same_tokens(make, model):
    tower = Tower(model=model)
    clip = frozen_clip.load(tower)
    bands = BandTokens(clip.model.visual.conv1, clip.image_size, tower.filter_bank)
    sources = {}
    for cache in ("tokens", "pictures"):
        path = make(name=cache, cache=cache)
        with artefact.open_h5(path) as file:
            assert file.attrs["cache"] == cache
            assert ("pictures" in file) == (cache == "pictures")
            assert ("band_tokens" in file) == (cache == "tokens")
            assert "tokens" not in file
            everything = PictureSource(file, np.arange(N), True, torch.device("cpu"), bands, (clip.mean, clip.std))
            sources[cache] = everything(np.array([6, 0, 3]))
    for name in ("embedding", "tokens", "band_tokens"):
        stored, made = (getattr(sources[cache], name) for cache in ("tokens", "pictures"))
        torch.testing.assert_close(made, stored, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("spare", "cache"), [(1, "tokens"), (-1, "pictures")])
def test_auto_takes_tokens_while_they_fit(make, spare, cache):
    limit = (N * BYTES_PER_PICTURE + spare) / 1e9
    with artefact.open_h5(make(cache="auto", cache_limit_gb=limit)) as file:
        assert file.attrs["cache"] == cache


def test_a_study_of_prompts_has_texts_for_candidates(make, model):
    prompts = [["a photo of a face", "a face"], ["a photo of a house"]]
    given = pd.DataFrame(
        {
            "stimulus_id": ["face", "house"],
            "split": "both",
            "concept": ["face", "house"],
            "image": "",
            "captions": [[], ["a house with a garden"]],
            "prompts": prompts,
        }
    )
    path = make(given)
    found = read(path)
    clip = open_clip.create_model(model).eval()
    with torch.no_grad():
        face, house = (
            F.normalize(clip.encode_text(open_clip.get_tokenizer(model)(texts)), dim=-1).mean(0) for texts in prompts
        )
    expected = F.normalize(torch.stack([face, house]), dim=-1).numpy()
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["embedding"], found["prompt_embedding"])
    assert not {"band_tokens", "pictures"} & set(found)
    with artefact.open_h5(path) as file:
        assert file.attrs["kind"] == "prompts"


def test_captions_stand_in_where_a_row_has_no_prompt_and_no_text_is_refused(make):
    given = pd.DataFrame(
        {
            "stimulus_id": ["face", "house"],
            "split": "both",
            "concept": ["face", "house"],
            "image": "",
            "captions": [["a smile"], []],
            "prompts": [[], ["a house"]],
        }
    )
    found = read(make(given))
    np.testing.assert_array_equal(found["embedding"][0], found["caption_embedding"][0])
    np.testing.assert_array_equal(found["embedding"][1], found["prompt_embedding"][1])
    given["captions"] = [[], []]
    with pytest.raises(stage.InputError, match="1 stimuli have neither a picture nor a text, the first is face"):
        make(given)


def test_ready_features_stand_in_for_pictures(make, table, tmp_path):
    width = read(make())["embedding"].shape[1]
    vectors = np.random.default_rng(0).normal(size=(N + 1, width)).astype(np.float32)
    file = tmp_path / "ready.npz"
    np.savez(file, stimulus_id=["spare", *table["stimulus_id"][::-1]], embedding=vectors)
    absent = table.assign(image="")
    path = make(absent, "ready", ready=file)
    found = read(path)
    np.testing.assert_array_equal(found["embedding"], vectors[1:][::-1])
    assert found["sentence_embedding"].shape[1] == width
    with artefact.open_h5(path) as content:
        assert content.attrs["kind"] == "embeddings"
    np.savez(file, stimulus_id=["spare", *table["stimulus_id"]], embedding=vectors[:, 1:])
    with pytest.raises(stage.InputError, match=rf"embeddings of width {width - 1}, but embeddings of .* have {width}"):
        make(absent, "narrow", ready=file)


def test_a_missing_picture_is_named_before_any_work(make, table, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_pictures", lambda *_: pytest.fail("work was begun"))
    lost = tmp_path / "pictures/b.png"
    lost.unlink()
    with pytest.raises(stage.InputError, match=rf"1 of {N} pictures do not exist, the first is {lost}"):
        make(table)
    assert not list(tmp_path.glob("*.h5"))


# --------------------------------------------------------------------------------------- what is refused


def twins(table, first, second):
    """The picture of one row in the file of another, as PNG and not byte by byte the same file."""
    with Image.open(table["image"][first]) as picture:
        picture.convert("RGBA").save(table["image"][second])


def test_a_test_picture_that_is_a_training_picture_is_refused_unless_a_setting_says_so(make, table, caplog):
    twins(table, 1, 6)
    twins(table, 4, 7)
    first = r"2 stimuli have the pixels .* pair is picture-c and picture-f\n.*studies\.s\.equal_pictures: allow"
    with pytest.raises(stage.InputError, match=first):
        make()
    found = read(make(equal_pictures="allow"))
    assert found["pixel_digest"][1] == found["pixel_digest"][6]
    assert "2 stimuli have the pixels of a stimulus on the other side of the split" in caplog.text


def test_equal_pictures_within_a_side_are_said(make, table, caplog):
    twins(table, 0, 3)
    twins(table, 5, 6)
    make()
    assert "of another stimulus on the same side of the split, such as picture-h and picture-e" in caplog.text


def test_equal_ready_features_across_the_split_are_refused_too(make, table, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(N, 24)).astype(np.float32)
    vectors[7] = vectors[2]
    np.savez(tmp_path / "ready.npz", stimulus_id=table["stimulus_id"].to_numpy(str), embedding=vectors)
    with pytest.raises(stage.InputError, match="the first pair is picture-a and picture-d"):
        make(table.assign(image=""), ready=tmp_path / "ready.npz")


@pytest.mark.parametrize(("dtype", "value"), [("float32", np.nan), ("float16", 1e6)])
def test_features_that_are_not_finite_are_refused_with_their_stimulus(make, monkeypatch, dtype, value):
    """A number that float16 cannot hold is no number any more."""
    real = BandTokens.of_bands

    def spoilt(bands, pictures):
        tokens = real(bands, pictures)
        tokens[-1, 2, 3, 5] = value
        return tokens

    monkeypatch.setattr(BandTokens, "of_bands", spoilt)
    with pytest.raises(stage.InputError, match="tokens of stimulus 'picture-a' has a number that is not finite, and"):
        make(dtype=dtype)


def test_an_embedding_that_is_not_finite_is_refused(make, monkeypatch, table):
    real = frozen_clip.load

    def spoilt(*given):
        clip = real(*given)
        clip.model.visual.register_forward_hook(lambda *of: of[2].index_fill(0, torch.tensor([1]), torch.inf))
        clip.model.ln_final.register_forward_hook(lambda *of: of[2] * float("nan"))
        return clip

    monkeypatch.setattr(frozen_clip, "load", spoilt)
    with pytest.raises(stage.InputError, match="embedding of the sentence 'a 0' has a number"):
        make()
    with pytest.raises(stage.InputError, match="of stimulus 'picture-c' has a number that is not finite, and"):
        make(table.assign(captions=[[] for _ in range(N)], prompts=[[] for _ in range(N)]))


def test_a_picture_that_is_none_is_named(make, table):
    path = table["image"][4]
    with open(path, "wb") as file:
        file.write(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(
        stage.InputError, match=rf"{path}: expected a picture, found a pointer file of git-annex or Git LFS"
    ):
        make()


# ------------------------------------------------------------------------------------- interruptions


class Chunks:
    """Stands before ``features._pictures``: notes the pictures of each chunk, and stops before chunk ``stop``."""

    def __init__(self, monkeypatch):
        self.real, self.stop, self.done = features._pictures, None, []
        monkeypatch.setattr(features.chunks, "SIZE", 3)
        monkeypatch.setattr(features, "_pictures", self)

    def __call__(self, clip, bands, rows, *rest):
        if len(self.done) == self.stop:
            raise KeyboardInterrupt
        self.done.append(list(rows.index))
        return self.real(clip, bands, rows, *rest)

    def interrupted(self, make, **tower):
        self.stop = 1
        with pytest.raises(KeyboardInterrupt):
            make(**tower)
        assert self.done == [[0, 1, 2]]
        self.stop, self.done = None, []


@pytest.fixture
def chunks(monkeypatch):
    return Chunks(monkeypatch)


def left_behind(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_an_interrupted_run_goes_on_after_its_last_chunk(make, chunks, tmp_path):
    chunks.interrupted(make)
    assert not (tmp_path / "stimuli.h5").exists()
    assert left_behind(tmp_path) == [".stimuli.parts"]
    found = read(make())
    assert chunks.done == [[3, 4, 5], [6, 7]]
    assert left_behind(tmp_path) == []
    assert_same(found, read(make(name="at-once")))


def cut_short(file, _):
    file.write_bytes(file.read_bytes()[:-100])


def one_byte_of_the_first_rows(file, offset):
    content = bytearray(file.read_bytes())
    content[offset + 7] ^= 1
    file.write_bytes(content)


def the_record(file, _):
    (record,) = file.parent.glob("*.json")
    record.write_text(record.read_text()[:-100])


def no_file(file, _):
    file.unlink()


@pytest.mark.parametrize("damage", [cut_short, one_byte_of_the_first_rows, the_record, no_file])
def test_a_damaged_chunk_is_computed_again(make, chunks, tmp_path, damage):
    chunks.interrupted(make)
    (file,) = (tmp_path / ".stimuli.parts").glob("*.h5")
    damage(file, features.chunks._places(file)["embedding"].offset)
    found = read(make())
    assert chunks.done == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert_same(found, read(make(name="at-once")))


def test_chunks_are_written_once_into_the_file_that_becomes_the_artefact(make, chunks, tmp_path):
    chunks.interrupted(make)
    (file,) = (tmp_path / ".stimuli.parts").glob("*.h5")
    number = file.stat().st_ino
    assert file.stat().st_size > N * 4 * 16 * 32 * 4
    assert make().stat().st_ino == number


@pytest.mark.parametrize(("stopped", "stays"), [(0, False), (256, True)])
def test_of_a_full_disk_what_nobody_can_go_on_from_does_not_stay(tmp_path, monkeypatch, stopped, stays):
    from brain2clip.stimuli import chunks as of_rows

    store = of_rows._store

    def full(file, record, places, start, values):
        if start == stopped:
            raise OSError(errno.ENOSPC, "no space left", str(file))
        return store(file, record, places, start, values)

    monkeypatch.setattr(of_rows, "_store", full)
    made = artefact.Provenance("made-by-a-test", {}, "code")
    rows = lambda start, stop: {"embedding": np.ones((stop - start, 3), np.float32)}  # noqa: E731
    with pytest.raises(OSError, match="no space left"):
        of_rows.made(tmp_path / "a.h5", made, 600, rows, "a")
    assert bool(list(tmp_path.rglob("*.h5"))) == stays


def test_chunks_of_other_settings_are_not_taken(make, chunks, tmp_path):
    chunks.interrupted(make)
    with artefact.open_h5(make(filter_bank={"bands": 2})) as file:
        assert file["band_tokens"].shape == (N, 2, 16, 32)
    assert chunks.done == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert left_behind(tmp_path) == []


def test_source_pictures_of_the_study_stand_in_the_artefact(make, table):
    """By the id of the stimulus; a study that tells none has no such column."""
    with artefact.open_h5(make()) as file:
        assert "source_picture" not in file
    first = table["stimulus_id"].iloc[0]
    with artefact.open_h5(make(name="told", sources={first: "coco:7"})) as file:
        told = dict(zip(file["stimulus_id"].asstr()[:], file["source_picture"].asstr()[:], strict=True))
    assert told == {**dict.fromkeys(table["stimulus_id"], ""), first: "coco:7"}
