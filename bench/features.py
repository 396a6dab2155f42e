"""Features of JPEG pictures of 500 x 500 by a ViT-B-32 with random weights, patch tokens of four bands included.

The stage against a bare open_clip loop (read, transform, encode), and against the same loop with the bands made in the
obvious way (Fourier transforms of a batch, a convolution of every band). CPU seconds at one thread, each in a process
of its own; start-up and loading of the tower are left out. Memory is of the whole process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

PICTURES = 256
TOWER = {"model": "ViT-B-32", "dtype": "float16", "cache": "tokens"}


def write(folder: Path) -> None:
    """Random weights, and pictures with structure at all scales."""
    import open_clip
    from PIL import Image
    from safetensors.torch import save_file

    save_file(open_clip.create_model("ViT-B-32").state_dict(), folder / "weights.safetensors")
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        picture = sum(
            np.kron(rng.normal(0, 20, (500 // size, 500 // size, 3)), np.ones((size, size, 1))) for size in (4, 20, 100)
        )
        Image.fromarray(np.clip(128 + picture, 0, 255).astype(np.uint8)).save(folder / f"{number:04d}.jpg", quality=92)


def ours(folder: Path) -> float:
    """The stage ``features`` as it is called, texts left out; CPU seconds."""
    import pandas as pd

    from brain2clip import artefact
    from brain2clip.settings import Tower
    from brain2clip.stage import Job
    from brain2clip.stimuli import catalogue, features, frozen_clip

    paths = [str(path) for path in sorted(folder.glob("*.jpg"))]
    table = pd.DataFrame({"stimulus_id": [Path(path).stem for path in paths], "image": paths})
    table = table.assign(split="train", concept=table["stimulus_id"])
    table = table.assign(captions=[[] for _ in paths], prompts=[[] for _ in paths])
    made = artefact.Provenance("catalogue", {}, "")
    artefact.write_table(folder / "catalogue.parquet", catalogue._typed(table), made)
    tower = Tower(**TOWER, pretrained=str(folder / "weights.safetensors"))
    settings = {"name": "bench", "tower": tower.for_features(), "equal_pictures": "refuse"}
    outputs = {"stimuli": folder / "stimuli.h5"}
    job = Job("features", settings, "code", {}, {"catalogue": [folder / "catalogue.parquet"]}, outputs)
    load, loaded = frozen_clip.load, []

    def timed(*given):
        clip = load(*given)
        loaded.append(time.process_time())
        return clip

    frozen_clip.load = timed
    features.run(job)
    return time.process_time() - loaded[0]


def bare(folder: Path, with_bands: bool = False) -> float:
    """open_clip in a loop; CPU seconds."""
    import open_clip
    from PIL import Image

    from brain2clip.settings import FilterBank
    from brain2clip.stimuli.filter_bank import radial_frequency, windows

    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32")
    model.eval()
    window = windows(radial_frequency(224, 224), FilterBank())
    paths = sorted(folder.glob("*.jpg"))
    start = time.process_time()
    with torch.inference_mode():
        for begin in range(0, len(paths), 128):
            batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths[begin : begin + 128]])
            model.encode_image(batch).numpy()
            if with_bands:
                bands = torch.fft.irfft2(torch.fft.rfft2(batch)[:, None] * window[None, :, None], s=(224, 224))
                model.visual.conv1(bands.flatten(0, 1)).half().numpy()
    return time.process_time() - start


def reading(folder: Path) -> tuple[float, float]:
    """A random half of the tokens of 1,024 pictures from their file: in slices, and as h5py reads listed rows."""
    from brain2clip import artefact
    from brain2clip.training.data import rows_of

    with artefact.create_h5(folder / "tokens.h5", artefact.Provenance("bench", {}, "")) as file:
        file["band_tokens"] = np.ones((1024, 4, 49, 768), np.float16)
    rows = np.random.default_rng(0).permutation(1024)[:512]
    order = np.argsort(rows)
    with artefact.open_h5(folder / "tokens.h5") as file:
        tokens = file["band_tokens"]
        tokens[:]  # from now on in the memory of the system, and verified
        start = time.process_time()
        rows_of(tokens, rows)
        between = time.process_time()
        tokens[rows[order]][np.argsort(order)]
        return between - start, time.process_time() - between


PARTS = {"bare": bare, "bands": lambda folder: bare(folder, with_bands=True), "ours": ours}


def measured(part: str, folder: str) -> dict:
    """CPU seconds and peak memory (MB) of a part in a process of its own."""
    command = [sys.executable, __file__, part, folder]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=alone)
    return json.loads(found.stdout.splitlines()[-1])


def child(part: str, folder: str) -> None:
    torch.set_num_threads(1)
    if part == "write":
        return write(Path(folder))
    found = PARTS[part](Path(folder))
    print(json.dumps({"s": found, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "write", folder], check=True)
        found = {part: measured(part, folder) for part in PARTS}
        slices, listed = reading(Path(folder))
    for part, one in found.items():
        print(f"{PICTURES} pictures, {part}: {one['s']:.1f} s, {one['mb']:,.0f} MB")
    print(
        f"features take {found['ours']['s'] / found['bare']['s']:.2f} x the time of the bare loop (rate "
        f"{found['bare']['s'] / found['ours']['s']:.2f}), and {found['ours']['s'] / found['bands']['s']:.2f} x that of "
        f"the loop with bands (rate {found['bands']['s'] / found['ours']['s']:.2f})"
    )
    print(
        f"512 of 1,024 pictures in random order: read in {slices:.2f} s, listed rows take {listed / slices:.1f} x that"
    )


if __name__ == "__main__":
    child(*sys.argv[1:]) if len(sys.argv) > 1 else main()
