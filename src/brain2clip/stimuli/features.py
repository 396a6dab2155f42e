"""Stage ``features``: frozen CLIP features of every stimulus of a study.

Further vectors of the same stimuli, as of views or inner blocks, are stage ``vectors``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from brain2clip import artefact, stage
from brain2clip.internals import open_clip, torch_device
from brain2clip.readers import templates
from brain2clip.settings import Tower, parse
from brain2clip.stimuli import catalogue, chunks, frozen_clip, ready
from brain2clip.stimuli.filter_bank import BandTokens, windows

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("brain2clip")
SENTENCES_AT_ONCE = 256
CURVE_POINTS = 128
#: Columns of the stimulus table that hold sentences, and what their datasets are called.
SENTENCES = {"captions": "caption", "prompts": "prompt"}
#: Mean embeddings of sentences, NaN for a stimulus that has none.
WITHOUT_SENTENCE = frozenset(f"{name}_embedding" for name in SENTENCES.values())


@torch_device.tf32()
def run(job: stage.Job) -> None:
    """Write the stimuli artefact."""
    tower = parse(Tower, job.settings["tower"])
    device = torch_device.chosen(asked=True).type
    log.info("features: %s, %s", tower.model, stage.on_device(device))
    table = catalogue.read(job.input("catalogue"), job.expects.get("catalogue"))
    clip = frozen_clip.load(tower, device)
    output = job.output("stimuli")
    texts = _texts(clip, table, device, tower)
    allowed = job.settings["equal_pictures"] == "allow"
    if "ready" in job.inputs or (table["image"] == "").all():
        made = job.provenance()
        kind = "embeddings" if "ready" in job.inputs else "prompts"
        embedding = (
            ready.read(job.input("ready"), table["stimulus_id"]) if kind == "embeddings" else _prompts(texts, table)
        )
        _check_width(embedding, texts, job, tower)
        if kind == "embeddings":
            _check_equal(table, [row.tobytes() for row in embedding], allowed, job.settings["name"])
        digests = np.array([""] * len(table), dtype=object)
        arrays = {**texts, "embedding": embedding, "pixel_digest": digests}
        _write(output, made, table, arrays, {"kind": kind, "cache": "none", **_part(job)})
        return
    check_images(table)
    made = job.provenance(pictures=table["image"])
    cache = _cache_kind(tower, clip, len(table))
    log.info("features: %d pictures, cache of %s", len(table), cache)
    bands = None
    if cache == "tokens":
        bands = BandTokens(open_clip.patch_embedding(clip.model.visual), clip.image_size, tower.filter_bank).to(device)

    def of_rows(start: int, stop: int) -> dict[str, np.ndarray]:
        return _pictures(clip, bands, table.iloc[start:stop], tower, cache, device)

    begun = chunks.made(output, made, len(table), of_rows, "features")
    told = begun.texts["pixel_digest"]
    check_templates(table, told)
    shown = (table["split"] != templates.SIDE).to_numpy()
    of_shown = [digest for digest, there in zip(told, shown) if there]
    _check_equal(table[shown], of_shown, allowed, job.settings["name"])
    arrays = {**texts, **_band_curves(tower), "pixel_digest": np.array(told, dtype=object)}
    _write(output, made, table, arrays, {"kind": "pictures", "cache": cache, **_part(job)}, begun.file)
    chunks.remove(output)


def _part(job: stage.Job) -> dict[str, bool]:
    """What says that trials may show stimuli that are not among these."""
    return {"part": True} if "first_concepts" in job.settings else {}


def _pictures(
    clip: frozen_clip.Clip, bands: BandTokens | None, rows: pd.DataFrame, tower: Tower, cache: str, device: str
) -> dict[str, np.ndarray]:
    """Arrays of one chunk: embedding, pixel digest, and tokens of the bands or 8-bit pictures."""
    as_bytes = frozen_clip.seen(clip, rows["image"])
    digests = [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in as_bytes]
    result: dict[str, list[np.ndarray]] = {"embedding": [], "band_tokens": []}
    with torch.inference_mode():
        for batch in as_bytes.split(tower.batch_size):
            # Both caches give the same tokens because both start from the same 8-bit values.
            on_device = frozen_clip.from_bytes(batch, clip.mean, clip.std).to(device)
            result["embedding"].append(clip.model.encode_image(on_device).float().cpu().numpy())
            if bands is not None:
                with np.errstate(over="ignore"):  # what float16 cannot hold is refused below
                    result["band_tokens"].append(bands.of_bands(on_device).cpu().numpy().astype(tower.dtype))
    arrays: dict[str, np.ndarray] = {name: np.concatenate(parts) for name, parts in result.items() if parts}
    arrays["pixel_digest"] = np.array(digests, dtype=object)
    if cache == "pictures":
        arrays["pictures"] = as_bytes.numpy()
    for name in ("embedding", "band_tokens"):
        if name in arrays:
            check_numbers(arrays[name], rows["stimulus_id"].tolist(), f"{name} of stimulus", tower)
    return arrays


def _texts(clip: frozen_clip.Clip, table: pd.DataFrame, device: str, tower: Tower) -> dict[str, np.ndarray]:
    """Every distinct sentence with its embedding, whose it is, and the mean embedding of a row's sentences.

    Means are of embeddings of unit length, and of unit length themselves; NaN where a row has no sentence of that sort.
    """
    sentences = sorted({text for column in SENTENCES for texts in table[column] for text in texts})
    number = {text: index for index, text in enumerate(sentences)}
    parts = [np.zeros((0, _text_width(clip)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(sentences), SENTENCES_AT_ONCE):
            tokens = clip.tokenize(sentences[start : start + SENTENCES_AT_ONCE]).to(device)
            parts.append(F.normalize(clip.model.encode_text(tokens).float(), dim=-1).cpu().numpy())
    encoded = np.concatenate(parts)
    check_numbers(encoded, sentences, "embedding of the sentence", tower)
    arrays = {"sentence": np.array(sentences, dtype=object), "sentence_embedding": encoded}
    for column, name in SENTENCES.items():
        links = [(row, number[text]) for row, texts in enumerate(table[column]) for text in texts]
        arrays[f"{name}_link"] = np.array(links, np.int32).reshape(-1, 2)
        arrays[f"{name}_embedding"] = _means(arrays[f"{name}_link"], encoded, len(table))
    return arrays


def _text_width(clip: frozen_clip.Clip) -> int:
    """Width d of the tower's text embedding."""
    with torch.inference_mode():
        tokens = clip.tokenize([""]).to(next(clip.model.parameters()).device)
        return clip.model.encode_text(tokens).shape[-1]


def picture_width(clip: frozen_clip.Clip) -> int:
    """Width d of the tower's picture embedding."""
    blank = torch.zeros(1, 3, *clip.image_size, device=next(clip.model.parameters()).device)
    with torch.inference_mode():
        return int(clip.model.encode_image(blank).shape[-1])


def _means(links: np.ndarray, encoded: np.ndarray, n_rows: int) -> np.ndarray:
    """Mean of the linked embeddings per row, of unit length; NaN without a link."""
    total = np.full((n_rows, encoded.shape[1]), np.nan, np.float32)
    total[links[:, 0]] = 0
    np.add.at(total, links[:, 0], encoded[links[:, 1]])
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def _prompts(texts: dict[str, np.ndarray], table: pd.DataFrame) -> np.ndarray:
    """Candidates of a study without pictures [n, d]: its class prompts, or captions where a row has none."""
    embedding = np.where(np.isnan(texts["prompt_embedding"]), texts["caption_embedding"], texts["prompt_embedding"])
    if np.isnan(embedding).any():
        bare = table["stimulus_id"].to_numpy()[np.isnan(embedding).any(axis=1)]
        raise stage.InputError(
            f"{len(bare)} stimuli have neither a picture nor a text, the first is {bare[0]}; give the study "
            "pictures, ready_features or text prompts"
        )
    return embedding


def _check_width(embedding: np.ndarray, texts: dict[str, np.ndarray], job: stage.Job, tower: Tower) -> None:
    width = texts["sentence_embedding"].shape[1]
    if embedding.shape[1] != width:
        raise stage.InputError(
            f"{job.input('ready')}: embeddings of width {embedding.shape[1]}, but embeddings of {tower.model} have "
            f"{width}; ready_features must be made by the tower under whose name they are listed"
        )


def check_numbers(values: np.ndarray, names: list[str], what: str, tower: Tower) -> None:
    """Refuse features [n, ...] with a number that is not finite, and embeddings [n, d] of zeros: no score without."""
    axes = tuple(range(1, values.ndim))
    finite = np.isfinite(values).all(axis=axes)
    wrong = ~finite | (~values.any(axis=1) if values.ndim == 2 else False)
    if wrong.any():
        first = int(wrong.argmax())
        found = "zeros only" if finite[first] else "a number that is not finite"
        half = " (float16 ends at 65504: set towers.*.dtype: float32)" if values.dtype == np.float16 else ""
        raise stage.InputError(
            f"{tower.model}: the {what} {names[first]!r} has {found}, and so have {wrong.sum() - 1} more; expected "
            f"finite numbers{half}. Check the weights of the tower (towers.*.pretrained)"
        )


def check_templates(table: pd.DataFrame, digests: Sequence[str]) -> None:
    """Refuse a template picture with the pixels of a test picture: the answer would be among what is asked for.

    Raises
    ------
    InputError
        With the pair.
    """
    sides, ids, images = (table[name].tolist() for name in ("split", "stimulus_id", "image"))
    further = [row for row, side in enumerate(sides) if side == templates.SIDE]
    tested = {digest: ids[row] for row, digest in enumerate(digests) if sides[row] in ("test", "both")}
    pairs = [(images[row], tested[digests[row]]) for row in further if digests[row] in tested]
    if pairs:
        raise stage.InputError(
            f"{pairs[0][0]}: has the pixels of the test picture {pairs[0][1]} ({len(pairs)} such templates); a class "
            "template is the mean of other pictures: remove it from the files of studies.*.templates"
        )


def _check_equal(table: pd.DataFrame, digests: list[Any], allowed: bool, study: str) -> None:
    """Refuse test pictures that are training pictures under another id; log other equal pictures.

    Parameters
    ----------
    table : DataFrame
    digests : list
        Of each row, equal where the pictures are.
    allowed : bool
        Whether equal pictures in training and test are only said (``studies.*.equal_pictures: allow``).
    study : str
        Name of the study, for messages.
    """
    first: dict[Any, int] = {}
    ids, sides = table["stimulus_id"].tolist(), table["split"].tolist()
    across: list[tuple[str, str]] = []
    within: list[tuple[str, str]] = []
    for row, digest in enumerate(digests):
        before = first.setdefault(digest, row)
        if before != row:
            same_side = sides[row] == sides[before] != "both"
            (within if same_side else across).append((ids[before], ids[row]))
    if within:
        log.warning(
            "features: %d stimuli have the pixels of another stimulus on the same side of the split, such as %s and %s",
            len(within),
            *within[0],
        )
    if not across:
        return
    told = (
        f"{len(across)} stimuli have the pixels of a stimulus on the other side of the split, the first pair is "
        f"{across[0][0]} and {across[0][1]}"
    )
    if allowed:
        log.warning("features: %s", told)
        return
    raise stage.InputError(
        f"studies.{study}: {told}\n  test stimuli would be known from training; remove one of each pair from the "
        f"study, or set studies.{study}.equal_pictures: allow"
    )


def _band_curves(tower: Tower) -> dict[str, np.ndarray]:
    """Windows of the bands over spatial frequency, for figures."""
    frequency = torch.linspace(0, 1, CURVE_POINTS)
    return {
        "band_frequency": frequency.numpy(),
        "band_window": windows(frequency, tower.filter_bank).numpy(),
    }


def _cache_kind(tower: Tower, clip: frozen_clip.Clip, n: int) -> str:
    """``tokens`` or ``pictures``: auto takes tokens while they fit into the limit.

    A picture encoder that is not a Vision Transformer has no patch tokens; only its embedding can be used.
    """
    if not open_clip.is_vision_transformer(clip.model.visual):
        return "pictures"
    if tower.cache != "auto":
        return tower.cache
    convolution = open_clip.patch_embedding(clip.model.visual)
    height, width = clip.image_size
    patches = (height // convolution.kernel_size[0]) * (width // convolution.kernel_size[1])
    per_picture = patches * convolution.out_channels * tower.filter_bank.bands * np.dtype(tower.dtype).itemsize
    return "tokens" if n * per_picture <= tower.cache_limit_gb * 1e9 else "pictures"


def check_images(table: pd.DataFrame) -> None:
    """Refuse a table of stimuli with missing pictures."""
    missing = [path for path in table["image"] if not Path(path).is_file()]
    if missing:
        raise stage.InputError(
            f"{len(missing)} of {len(table)} pictures do not exist, the first is {missing[0]}; "
            "check the image column of the study's stimulus table"
        )


def _write(
    output: Path,
    made: artefact.Provenance,
    table: pd.DataFrame,
    arrays: dict[str, np.ndarray],
    attributes: dict[str, Any],
    begun: Path | None = None,
) -> None:
    """The artefact: columns of the table, given arrays, and what a file holds that was begun."""
    import h5py

    text = h5py.string_dtype()
    with artefact.create_h5(output, made, WITHOUT_SENTENCE, begun) as target:
        target.attrs.update(attributes)
        names = ("stimulus_id", "split", "concept", "image", "source_picture")
        columns = {name: table[name].astype(str) for name in names if name in table}
        columns["caption"] = table["captions"].str[0].fillna("")
        for name, values in columns.items():
            target.create_dataset(name, data=values.to_numpy(dtype=object), dtype=text)
        for name, values in arrays.items():
            target.create_dataset(name, data=values, dtype=text if values.dtype == object else None)


if __name__ == "__main__":
    stage.main(run)
