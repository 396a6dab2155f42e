"""Small responses and stimuli artefacts with a planted linear relation, for tests of training and retrieval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tiny_clip import IMAGE, tiny_clip

from brain2clip import artefact
from brain2clip.settings import FilterBank
from brain2clip.stimuli.filter_bank import BandTokens

CHANNELS, TIMES, SFREQ = 6, 10, 50.0
TRAIN, TEST, REPETITIONS = 40, 10, 2
MADE = artefact.Provenance("made-by-a-test", {"a": 1}, "code")


def stimulus_ids() -> list[str]:
    return [f"train-{i:03d}" for i in range(TRAIN)] + [f"test-{i:03d}" for i in range(TEST)]


def write_stimuli(path: Path, cache: str = "tokens") -> np.ndarray:
    """Random 8-bit pictures through the tiny CLIP; 2 pictures per concept. Returns the embeddings."""
    clip = tiny_clip()
    n = TRAIN + TEST
    pixels = torch.randint(0, 256, (n, 3, IMAGE, IMAGE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    image = pixels.float() / 255 * 2 - 1
    with torch.no_grad():
        bands = BandTokens(clip.visual.conv1, (IMAGE, IMAGE), FilterBank()).of_bands(image)
        embedding = clip.encode_image(image).numpy()
    with artefact.create_h5(path, MADE) as file:
        file.attrs.update(kind="pictures", cache=cache)
        file["stimulus_id"] = stimulus_ids()
        file["split"] = ["train"] * TRAIN + ["test"] * TEST
        file["concept"] = [f"train-concept-{i // 2}" for i in range(TRAIN)] + [f"test-{i}" for i in range(TEST)]
        file["embedding"] = embedding
        if cache == "tokens":
            file["band_tokens"] = bands.numpy()
        else:
            file["pictures"] = pixels.numpy()
        write_texts(file, embedding)
    return embedding


def write_texts(file, embedding: np.ndarray, noise: float = 0.3) -> None:
    """Two captions per picture and one prompt per concept near the picture's embedding, as the features stage does."""
    rng = np.random.default_rng(11)
    concept = file["concept"].asstr()[:].tolist()
    unit = embedding - embedding.mean(axis=0)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    names = sorted(set(concept))
    of_concept = np.stack([unit[[one == name for one in concept]].mean(axis=0) for name in names])
    encoded = np.concatenate([unit, unit, of_concept])
    encoded = encoded + noise * rng.standard_normal(encoded.shape) / np.sqrt(encoded.shape[1]) + 0.5
    encoded = (encoded / np.linalg.norm(encoded, axis=1, keepdims=True)).astype(np.float32)
    n = len(unit)
    captions = [(row, row + n * which) for row in range(n) for which in range(2)]
    prompts = [(row, 2 * n + names.index(concept[row])) for row in range(n)]
    file["sentence"] = [f"sentence {number:03d}" for number in range(len(encoded))]
    file["sentence_embedding"] = encoded
    for name, links in (("caption", captions), ("prompt", prompts)):
        file[f"{name}_link"] = np.array(links, np.int32)
        mean = np.stack([encoded[[number for row, number in links if row == one]].mean(axis=0) for one in range(n)])
        file[f"{name}_embedding"] = mean / np.linalg.norm(mean, axis=1, keepdims=True)


def write_voxels(
    path: Path, embedding: np.ndarray, n_voxels: int, subject: int = 0, noise: float = 0.3, test_value=None
) -> None:
    """As :func:`write_responses`, of voxels; every subject has a mixing of its own."""
    mixing = np.random.default_rng(70 + subject).standard_normal((embedding.shape[1], n_voxels))
    unit = (embedding - embedding.mean(0)) / embedding.std(0)
    rng = np.random.default_rng(100 + subject)
    stimulus = np.repeat(np.arange(TRAIN + TEST), REPETITIONS)
    clean = unit[stimulus] @ mixing / np.sqrt(embedding.shape[1])
    values = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)
    split = (stimulus >= TRAIN).astype(np.uint8)
    if test_value is not None:
        values[split == 1] = test_value
    with artefact.create_h5(path, MADE, unknown=() if test_value is None else {"response"}) as file:
        file.attrs.update(kind="voxels", unit="z")
        file["response"], file["stimulus"], file["split"] = values, stimulus.astype(np.int32), split
        file["voxel"] = [f"sub-{subject}-voxel-{number:04d}" for number in range(n_voxels)]
        file["stimulus_id"] = stimulus_ids()
        file["session"] = file["run"] = ["n/a"] * len(stimulus)


def write_responses(path: Path, embedding: np.ndarray, subject: int = 0, noise: float = 0.3, test_value=None) -> None:
    """Responses that are a fixed random linear function of the embedding plus noise."""
    mixing = np.random.default_rng(7).standard_normal((embedding.shape[1], CHANNELS * TIMES))
    unit = (embedding - embedding.mean(0)) / embedding.std(0)
    rng = np.random.default_rng(100 + subject)
    stimulus = np.repeat(np.arange(TRAIN + TEST), REPETITIONS)
    clean = unit[stimulus] @ mixing / np.sqrt(embedding.shape[1])
    values = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32).reshape(-1, CHANNELS, TIMES)
    split = (stimulus >= TRAIN).astype(np.uint8)
    if test_value is not None:
        values[split == 1] = test_value
    with artefact.create_h5(path, MADE, unknown=() if test_value is None else {"response"}) as file:
        file.attrs.update(sfreq=SFREQ, unit="standard deviation")
        file["response"], file["stimulus"], file["split"] = values, stimulus.astype(np.int32), split
        file["channel"] = [f"E{number}" for number in range(CHANNELS)]
        file["channel_type"] = ["eeg"] * CHANNELS
        file["times"] = np.arange(TIMES) / SFREQ
        file["stimulus_id"] = stimulus_ids()
        file["session"] = file["run"] = ["01"] * len(stimulus)
        file["position"] = 0.09 * np.eye(CHANNELS)[:, :3] + 0.01


def save_tower(folder: Path) -> str:
    """The tiny CLIP as a folder that open_clip reads; returns the model name for settings."""
    import json

    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {"image_size": IMAGE, "patch_size": 8, "width": 32, "layers": 3, "head_width": 8},
            "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "size": [IMAGE, IMAGE]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    import open_clip

    model = open_clip.CLIP(
        24,
        open_clip.CLIPVisionCfg(**config["model_cfg"]["vision_cfg"]),
        open_clip.CLIPTextCfg(**config["model_cfg"]["text_cfg"]),
    )
    model.visual.load_state_dict(tiny_clip().visual.state_dict())
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
