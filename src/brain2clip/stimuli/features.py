"""Stage ``features``: frozen CLIP features of every stimulus of a study.

Work is done in chunks that are artefacts of their own beside the target, so that a stopped job goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from brain2clip import artefact, stage
from brain2clip.settings import Tower, parse
from brain2clip.stimuli import towers
from brain2clip.stimuli.filter_bank import BandTokens, windows
from brain2clip.studies import contract

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("brain2clip")
CHUNK = 256
CURVE_POINTS = 128


def run(job: stage.Job) -> None:
    """Write the stimuli artefact."""
    study = contract.load(job.settings["name"], job.settings["study"], job.settings["results"])
    tower = parse(Tower, job.settings["tower"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    log.info("features: %s, %s", tower.model, stage.on_device(device))
    table = study.stimulus_table()
    clip = towers.load(tower, device)
    made = job.provenance()
    output = job.output("stimuli")
    if (table["image"] == "").all():
        _write(output, made, table, _texts(clip, table, device), {"kind": "prompts", "cache": "tokens"})
        return
    _check_images(table)
    cache = _cache_kind(tower, clip, len(table))
    log.info("features: %d pictures, cache of %s", len(table), cache)
    parts = output.with_name(f".{output.stem}.parts")
    chunks = [(start, min(start + CHUNK, len(table))) for start in range(0, len(table), CHUNK)]
    files = [parts / f"{made.identity.removeprefix('made:')}_{start:06d}.h5" for start, _ in chunks]
    bands = None
    if cache == "tokens":
        bands = BandTokens(clip.model.visual.conv1, clip.image_size, tower.filter_bank).to(device)
    for (start, stop), file in stage.progress(list(zip(chunks, files)), "features: chunks"):
        if not _complete(file):
            _write_chunk(file, made, _pictures(clip, bands, table.iloc[start:stop], tower, cache, device))
    arrays = {**_texts(clip, table, device), **_band_curves(tower)}
    _write(output, made, table, arrays, {"kind": "pictures", "cache": cache}, files)
    shutil.rmtree(parts)


def _pictures(
    clip: towers.Clip, bands: BandTokens | None, rows: pd.DataFrame, tower: Tower, cache: str, device: str
) -> dict[str, np.ndarray]:
    """Arrays of one chunk: embedding, pixel digest, and tokens or 8-bit pictures."""
    from PIL import Image

    pictures = []
    for path in rows["image"]:
        with Image.open(path) as image:
            pictures.append(clip.preprocess(image.convert("RGB")))
    stack = torch.stack(pictures)
    as_bytes = towers.to_bytes(stack, clip)
    # Both caches give the same tokens because both start from the same 8-bit values.
    normalised = towers.from_bytes(as_bytes, clip.mean, clip.std)
    digests = [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in as_bytes]
    result: dict[str, list[np.ndarray]] = {"embedding": [], "tokens": [], "band_tokens": []}
    with torch.inference_mode():
        for batch in normalised.split(tower.batch_size):
            on_device = batch.to(device)
            result["embedding"].append(clip.model.encode_image(on_device).float().cpu().numpy())
            if bands is not None:
                raw, banded = bands(on_device)
                result["tokens"].append(raw.cpu().numpy().astype(tower.dtype))
                result["band_tokens"].append(banded.cpu().numpy().astype(tower.dtype))
    arrays: dict[str, np.ndarray] = {name: np.concatenate(parts) for name, parts in result.items() if parts}
    arrays["pixel_digest"] = np.array(digests, dtype=object)
    if cache == "pictures":
        arrays["pictures"] = as_bytes.numpy()
    return arrays


def _texts(clip: towers.Clip, table: pd.DataFrame, device: str) -> dict[str, np.ndarray]:
    """Caption embedding [n, d]: mean of the normalised embeddings of a row's texts.

    For a study without pictures it is the candidate embedding as well.
    """
    rows = [list(prompts) or [caption] for prompts, caption in zip(table["prompts"], table["caption"])]
    texts = [text for row in rows for text in row]
    encoded = []
    with torch.inference_mode():
        for start in range(0, len(texts), CHUNK):
            tokens = clip.tokenize(texts[start : start + CHUNK]).to(device)
            encoded.append(F.normalize(clip.model.encode_text(tokens).float(), dim=-1).cpu())
    stacked = torch.cat(encoded)
    owner = torch.tensor([index for index, row in enumerate(rows) for _ in row])
    total = torch.zeros(len(rows), stacked.shape[1]).index_add_(0, owner, stacked)
    mean = F.normalize(total, dim=-1).numpy()
    arrays = {"caption_embedding": mean}
    if (table["image"] == "").all():
        arrays["embedding"] = mean
        arrays["pixel_digest"] = np.array([""] * len(rows), dtype=object)
    return arrays


def _band_curves(tower: Tower) -> dict[str, np.ndarray]:
    """Windows of the bands over spatial frequency, for figures."""
    frequency = torch.linspace(0, 1, CURVE_POINTS)
    return {
        "band_frequency": frequency.numpy(),
        "band_window": windows(frequency, tower.filter_bank).numpy(),
    }


def _cache_kind(tower: Tower, clip: towers.Clip, n: int) -> str:
    """``tokens`` or ``pictures``: auto takes tokens while they fit into the limit.

    A picture side that is no Vision Transformer has no patch tokens; it serves as a frozen one, from its embedding.
    """
    if type(clip.model.visual).__name__ != "VisionTransformer":
        return "pictures"
    if tower.cache != "auto":
        return tower.cache
    convolution = clip.model.visual.conv1
    height, width = clip.image_size
    patches = (height // convolution.kernel_size[0]) * (width // convolution.kernel_size[1])
    per_picture = patches * convolution.out_channels * (tower.filter_bank.bands + 1) * np.dtype(tower.dtype).itemsize
    return "tokens" if n * per_picture <= tower.cache_limit_gb * 1e9 else "pictures"


def _check_images(table: pd.DataFrame) -> None:
    missing = [path for path in table["image"] if not Path(path).is_file()]
    if missing:
        raise stage.InputError(
            f"{len(missing)} of {len(table)} pictures do not exist, the first is {missing[0]}; "
            "check the image column of the study's stimulus table"
        )


def _complete(file: Path) -> bool:
    """Whether a chunk was finished earlier by the same settings and code (its name says so)."""
    try:
        return artefact.stored_provenance(file) is not None
    except artefact.ArtefactError:
        return False


def _write_chunk(file: Path, made: artefact.Provenance, arrays: dict[str, np.ndarray]) -> None:
    with artefact.create_h5(file, made) as target:
        for name, values in arrays.items():
            target.create_dataset(name, data=values)


def _write(
    output: Path,
    made: artefact.Provenance,
    table: pd.DataFrame,
    arrays: dict[str, np.ndarray],
    attributes: dict[str, Any],
    chunks: list[Path] = (),  # type: ignore[assignment]
) -> None:
    """The artefact: columns of the table, given arrays, and chunk arrays one after the other."""
    import h5py

    text = h5py.string_dtype()
    with artefact.create_h5(output, made) as target:
        target.attrs.update(attributes)
        for name in ("stimulus_id", "split", "concept", "caption", "image"):
            target.create_dataset(name, data=table[name].astype(str).to_numpy(dtype=object), dtype=text)
        for name, values in arrays.items():
            target.create_dataset(name, data=values, dtype=text if values.dtype == object else None)
        start = 0
        for file in chunks:
            with artefact.open_h5(file) as source:
                count = len(source["embedding"])
                for name, part in source.items():
                    if name not in target:
                        target.create_dataset(
                            name,
                            shape=(len(table), *part.shape[1:]),
                            dtype=part.dtype,
                            chunks=None if part.ndim < 3 else (1, *part.shape[1:]),
                        )
                    target[name][start : start + count] = part[:]
            start += count


if __name__ == "__main__":
    stage.main(run)
