"""Stage ``vectors``: one further vector of every stimulus of a study, in the rows of its features.

Of a view of the picture, after a block of the tower, pooled in some way; or from a file of ready vectors. Each vector
is one file, so another method adds files and nothing is computed again.
"""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import torch

from brain2clip import artefact, stage
from brain2clip.internals import open_clip, torch_device
from brain2clip.settings import Tower, Vector, parse
from brain2clip.stimuli import catalogue, chunks, features, frozen_clip, ready, tower_vectors, view_base

log = logging.getLogger("brain2clip")
#: Largest file by tower, GB, as JSON: how much room there is changes no result.
LIMITS = "BRAIN2CLIP_VECTORS_GB"


def run(job: stage.Job) -> None:
    """Write the vectors."""
    import h5py

    vector = parse(Vector, job.settings["vector"])
    table = catalogue.read(job.input("catalogue"), job.expects.get("catalogue"))
    output, pictures, begun = job.output("vectors"), [], None
    if vector.ready is not None:
        made = job.provenance()
        where = f"studies.{job.settings['name']}.ready_vectors.{vector.ready}"
        values = ready.read(job.input("ready"), table["stimulus_id"], where)
        say_size(vector, values.shape, values.dtype, None)
    else:
        features.check_images(table)
        made, pictures = job.provenance(pictures=table["image"]), list(table["image"])
        tower = parse(Tower, job.settings["tower"])
        maker = Maker(tower, vector)
        limit = json.loads(os.environ.get(LIMITS, "{}")).get(job.settings["tower_name"])
        say_size(vector, (len(table), maker.width), np.dtype(tower.dtype), limit)

        def of_rows(start: int, stop: int) -> dict[str, np.ndarray]:
            rows = table.iloc[start:stop]
            return {"vector": maker(rows["image"].tolist(), rows["stimulus_id"].tolist())}

        begun = chunks.made(output, made, len(table), of_rows, "vectors").file
    with artefact.create_h5(output, made, begun=begun) as target:
        target.attrs["name"] = vector.name
        target.create_dataset(
            "stimulus_id", data=table["stimulus_id"].to_numpy(dtype=object), dtype=h5py.string_dtype()
        )
        if pictures:
            target.create_dataset(
                artefact.PICTURE_PATHS, data=np.array(pictures, dtype=object), dtype=h5py.string_dtype()
            )
        if begun is None:
            target["vector"] = values
    if begun is not None:
        chunks.remove(output)


class Maker:
    """Vectors of pictures by a tower.

    Parameters
    ----------
    tower : Tower
    vector : Vector

    Attributes
    ----------
    width : int
        Size d of a vector.

    Raises
    ------
    InputError
        Where the tower has no such vector.
    """

    def __init__(self, tower: Tower, vector: Vector) -> None:
        self.tower, self.vector = tower, vector
        self.device = torch_device.chosen(asked=True).type
        log.info("vectors: %s of %s, %s", vector.name, tower.model, stage.on_device(self.device))
        self.clip = frozen_clip.load(tower, self.device)
        visual = self.clip.model.visual
        if vector.pool != "tower":
            if not open_clip.is_vision_transformer(visual):
                raise stage.InputError(
                    f"readout: {vector.name} is read from a block of a Vision Transformer, but the picture encoder "
                    f"of {tower.model} is a "
                    f"{type(visual).__name__}. Take a ViT, or pool: tower"
                )
            tower_vectors.check(visual, vector)
        self.width = (
            features.picture_width(self.clip) if vector.pool == "tower" else tower_vectors.width(visual, vector)
        )
        self.view = None if vector.view is None else view_base.build(vector.view)

    @torch_device.tf32()
    def __call__(self, paths: list[str], names: list[str]) -> np.ndarray:
        """Vectors [n, d] of pictures, whose stimuli have some names."""
        pictures = frozen_clip.seen(self.clip, paths)
        if self.view is not None:
            changed = [self.view(one) for one in pictures.permute(0, 2, 3, 1).numpy()]
            pictures = torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)
        normalised = frozen_clip.from_bytes(pictures, self.clip.mean, self.clip.std)
        found = []
        with torch.inference_mode():
            for batch in normalised.split(self.tower.batch_size):
                found.append(self._of(batch.to(self.device)).float().cpu().numpy())
        with np.errstate(over="ignore"):  # what float16 cannot hold is refused below
            values = np.concatenate(found).astype(self.tower.dtype)
        features.check_numbers(values, names, f"{self.vector.name} of stimulus", self.tower)
        return values

    def _of(self, pictures: torch.Tensor) -> torch.Tensor:
        """Vectors [B, d] of normalised pictures; the joint embedding as the features have it."""
        if self.vector.pool == "tower":
            embedding: torch.Tensor = self.clip.model.encode_image(pictures)
            return embedding
        return tower_vectors.frozen(self.clip.model.visual, pictures, self.vector)


def say_size(vector: Vector, shape: tuple[int, ...], dtype: np.dtype, limit_gb: float | None) -> None:
    """Say how large a file becomes.

    Raises
    ------
    InputError
        Where it is larger than the settings allow.
    """
    size = float(np.prod(shape)) * dtype.itemsize / 1e9
    log.info("vectors: %s, %d stimuli x %d numbers, %.3g GB", vector.name, *shape, size)
    if limit_gb is not None and size > limit_gb:
        raise stage.InputError(
            f"{vector.name}: {shape[0]} stimuli x {shape[1]} numbers are {size:.3g} GB, but "
            "towers.*.vectors_limit_gb is "
            f"{limit_gb:g}; take a coarser grid or dtype: float16, or raise the limit"
        )


if __name__ == "__main__":
    stage.main(run)
