"""From points of a tower's space to an artefact of pictures: common code of the stages ``generate`` and ``oracle``."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip import artefact, kinds, stage
from brain2clip.generation import training_bank
from brain2clip.internals import torch_device
from brain2clip.readers import pictures
from brain2clip.settings import Generator, GeneratorBase, parse
from brain2clip.stage import InputError
from brain2clip.stimuli import chunks

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

log = logging.getLogger("brain2clip")


@dataclass(frozen=True)
class Points:
    """Points that pictures are generated from.

    Attributes
    ----------
    value : ndarray [n, d]
        Points of the tower's raw space, with their length.
    stimulus_id : list of str
        Ids of their test stimuli.
    direction : ndarray [n, d]
        The same at unit length after subtracting ``centre``, for the comparison with pictures.
    centre : ndarray [d]
        Subtracted from unit-length embeddings of pictures before they are compared.
    """

    value: NDArray[np.floating]
    stimulus_id: list[str]
    direction: NDArray[np.floating]
    centre: NDArray[np.floating]


def write(job: stage.Job, points: Points, attributes: Mapping[str, Any]) -> None:
    """Pictures of all points, as the artefact of the job.

    Datasets ``picture [n, samples, size, size, 3]`` uint8, ``stimulus_id [n]`` and, where pictures are started from
    others, ``start [n]``, the ids of these.

    Raises
    ------
    brain2clip.stage.InputError
        Where points are not finite or of another width than the generator takes, or its pictures are of another size.
    """
    name = job.settings["generator_name"]
    # Which tower it is does not matter to a picture: points and the negative embedding are of that one.
    given = {**job.settings["generator"], "tower": "any", "batch_size": job.settings["batch_size"]}
    settings: GeneratorBase = parse(Generator, given)
    _check_finite(points)
    with artefact.open_h5(job.input("negative"), job.expects.get("negative")) as file:
        negative = file["embedding"][:]
    starts = None if settings.start is None else _starts(job, points)
    device = torch_device.chosen(asked=True)
    log.info("%s: generator %s, %s", job.stage, name, stage.on_device(device.type))
    generator = kinds.load("generators", settings.kind)(settings, device)
    width = points.value.shape[1]
    if generator.width != width:
        raise InputError(
            f"generators.{name}.model: {settings.model} takes image embeddings of width {generator.width}, but "
            f"embeddings of the tower in generators.{name}.tower have {width}; set the tower that the generator was "
            "trained with, also as methods.*.tower"
        )
    drawing = _Drawing(settings, generator, points, negative, starts)
    rows = max(1, settings.batch_size // settings.samples)
    made, output = job.provenance(), job.output("pictures")
    begun = chunks.made(output, made, len(points.value), drawing.rows, job.stage, rows)
    with artefact.create_h5(output, made, begun=begun.file) as file:
        file.attrs.update({**attributes, "generator": name})
        file["stimulus_id"] = points.stimulus_id
        if starts is not None:
            file["start"] = starts.stimulus_id
    chunks.remove(output)


def noise(seed: int, stimulus_id: str, sample: int) -> torch.Generator:
    """Random stream of a picture: of the seed, the stimulus and the number of the sample, and of nothing else.

    Always on the CPU, so that it gives the same numbers whatever device draws. PyTorch's generator takes 32 bits of a
    seed, too few for no two of many pictures to share one; so 16 more say how many of its first numbers are left out.
    """
    import torch

    digest = hashlib.sha256(json.dumps([seed, stimulus_id, sample]).encode()).digest()
    stream = torch.Generator().manual_seed(int.from_bytes(digest[:4]))
    torch.rand(int.from_bytes(digest[4:6]), generator=stream)
    return stream


@dataclass(frozen=True)
class _Starts:
    """Pictures that others are started from, one for each point."""

    stimulus_id: list[str]
    path: list[str]


def _starts(job: stage.Job, points: Points) -> _Starts:
    """The training picture that is nearest to each point."""
    with artefact.open_h5(job.input("stimuli"), job.expects.get("features")) as file:
        near = training_bank.nearest(file, points.stimulus_id, points.direction, points.centre)
        paths = dict(zip(file["stimulus_id"].asstr()[:], file["image"].asstr()[:], strict=True))
    if lost := [name for name in near if not paths[name]]:
        raise InputError(
            f"{job.input('stimuli')}: no picture of the training stimulus {lost[0]}; leave out generators.*.start"
        )
    return _Starts(near, [paths[name] for name in near])


def square(path: str, size: int) -> NDArray[np.uint8]:
    """A picture [size, size, 3]: its largest square in the middle, as towers see it, resized (bicubic, antialiased)."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(pictures.read(path), (size, size), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class _Drawing:
    """Pictures by rows of the points."""

    settings: GeneratorBase
    generator: Any
    points: Points
    negative: NDArray[np.floating]
    starts: _Starts | None

    def rows(self, start: int, stop: int) -> dict[str, NDArray[np.uint8]]:
        """All samples of some rows."""
        size, samples = self.settings.size, self.settings.samples
        asked = [(row, sample) for row in range(start, stop) for sample in range(samples)]
        at_once = self.settings.batch_size
        parts = [self._batch(asked[first : first + at_once]) for first in range(0, len(asked), at_once)]
        return {"picture": np.concatenate(parts).reshape(stop - start, samples, size, size, 3)}

    def _batch(self, asked: list[tuple[int, int]]) -> NDArray[np.uint8]:
        import torch

        settings, rows = self.settings, [row for row, _ in asked]
        streams = [noise(settings.seed, self.points.stimulus_id[row], sample) for row, sample in asked]
        first = None
        if self.starts is not None:
            first = np.stack([square(self.starts.path[row], settings.size) for row in rows])
        values, negative = (torch.from_numpy(one).float() for one in (self.points.value[rows], self.negative))
        found: NDArray[np.uint8] = self.generator.draw(values, negative, streams, first)
        wanted = (len(asked), settings.size, settings.size, 3)
        if found.shape != wanted or found.dtype != np.uint8:
            raise InputError(
                f"generators.*.size: expected pictures {wanted} of 8 bits, found {found.shape} of type "
                f"{found.dtype}; choose a size that {settings.model} can make"
            )
        return found


def _check_finite(points: Points) -> None:
    wrong = ~np.isfinite(points.value).all(axis=1)
    if wrong.any():
        raise InputError(
            f"the point of stimulus {points.stimulus_id[int(wrong.argmax())]} has a number that is not finite, and "
            f"so have {wrong.sum() - 1} more; no picture can be generated from it. Check the model that predicts it"
        )
