"""Stage ``judge``: comparison of generated pictures, and of three other sources, with the seen pictures.

The sources are the generated pictures (``generated``), the training picture nearest to the prediction (``nearest``),
pictures generated from the embedding of the seen picture itself (``oracle``), and pictures generated from the
prediction for another test picture (``another``). They are judged by pixels and by networks
(:mod:`brain2clip.generation.judges`). Pictures are compared in the form that towers read: upright, the square in their
middle.

Settings: ``run``, ``generator_name``, ``judges`` (name to settings), ``tower`` (``model``, ``pretrained``).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as transforms

from brain2clip import artefact, kinds, stage
from brain2clip.generation import files, judge_base, picture_metrics, training_bank
from brain2clip.internals import torch_device
from brain2clip.readers import pictures as reader
from brain2clip.settings import Judge, parse
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from brain2clip.settings import JudgeBase

log = logging.getLogger("brain2clip")

#: Name of the judge that looks at pixels alone.
PIXELS = "pixels"
#: Numbers of test pictures to a picture for each, 8-bit RGB [side, side, 3].
Reading = Callable[[NDArray[np.int64]], list[NDArray[np.uint8]]]


@dataclass(frozen=True)
class Given:
    """Pictures that are compared with the seen ones, one for each of them.

    Attributes
    ----------
    source : str
        ``generated``, ``nearest``, ``oracle`` or ``another``.
    sample : int
    read : callable
        :data:`Reading` of what is given.
    names : list of str
        Ids of pictures of the study; empty for others.
    places : ndarray [N] int
        For each test picture the number of that whose picture is given: its own, but for ``another``.
    """

    source: str
    sample: int
    read: Reading
    names: list[str]
    places: NDArray[np.int64]


@torch_device.tf32(on=False)
def run(job: stage.Job) -> None:
    """Write the table of judgements."""
    with artefact.open_h5(*_input(job, "embeddings", "embed")) as file:
        ids = [str(name) for name in file["stimulus_id"].asstr()[:]]
        predicted, centre = file["predicted"][:], file["centre"][:]
    if len(ids) < 2:
        raise InputError(
            f"{job.input('embeddings')}: one test picture, which cannot be compared with others; expected several"
        )
    with (
        artefact.open_h5(*_input(job, "stimuli", "features")) as stimuli,
        artefact.open_h5(*_input(job, "generated", "generate")) as made,
        artefact.open_h5(*_input(job, "oracle", "oracle")) as ideal,
    ):
        images = dict(zip(stimuli["stimulus_id"].asstr()[:], stimuli["image"].asstr()[:], strict=True))
        if lost := [name for name in ids if not images.get(name)]:
            raise InputError(
                f"{job.input('stimuli')}: no picture of {len(lost)} test stimuli, the first is {lost[0]}; generated "
                "pictures are compared with the seen ones: remove experiments.*.generators for this study"
            )
        seen = _of_study(images, ids)
        near = training_bank.nearest(stimuli, ids, predicted, centre)
        given = [
            *_of_generator("generated", made, ids),
            Given("nearest", 0, _of_study(images, near), near, np.arange(len(ids))),
            *_of_generator("oracle", ideal, ids),
        ]
        elsewhere = picture_metrics.others(len(ids))
        parts: list[pd.DataFrame] = []
        device = torch_device.chosen(asked=bool(job.settings["judges"]))
        for name, settings in job.settings["judges"].items():
            block: JudgeBase = parse(Judge, settings)
            judge = _loaded(name, block, device)
            partial = files.same_tower(block, job.settings["tower"])
            log.info("judge %s %s%s", name, stage.on_device(device), ", which the generator takes points of" * partial)
            found = _by_network(judge, seen, given, elsewhere, name)
            parts += [one.assign(judge=name, partial=partial) for one in found]
        parts += _by_pixels(seen, given, elsewhere)
    table = pd.concat(parts, ignore_index=True)
    table["stimulus_id"] = np.array(ids, dtype=object)[table.pop("place")]
    table = table.assign(**job.settings["run"], generator=job.settings["generator_name"], n_candidates=len(ids))
    artefact.write_table(job.output("judged"), table[COLUMNS], job.provenance())


COLUMNS = [
    *("study", "signal", "protocol", "method", "subject", "seed", "generator", "source", "stimulus_id", "sample"),
    *("picture", "judge", "metric", "value", "n_candidates", "partial"),
]


def _input(job: stage.Job, name: str, made_by: str) -> tuple[Path, Any]:
    return job.input(name), job.expects.get(made_by)


def _loaded(name: str, block: JudgeBase, device: torch.device) -> Any:
    """A judge; what cannot be loaded is told with its name."""
    try:
        return kinds.load("judges", block.kind)(block, device)
    except InputError as error:
        told = str(error).replace("judges.*", f"judges.{name}").replace("towers.*", f"judges.{name}")
        raise InputError(f"judges.{name}: {told}") from None


# ------------------------------------------------------------------------------------------------ pictures


def _of_study(images: dict[str, str], names: Sequence[str]) -> Reading:
    """Pictures of the study, the square in the middle of each: what the tower's shortest-side transform keeps."""
    return lambda places: [_square(images[names[place]]) for place in places]


def _square(path: str) -> NDArray[np.uint8]:
    picture = reader.read(path)
    return np.array(transforms.center_crop(picture, [min(picture.size)]))


def _of_generator(source: str, file: h5py.File, ids: Sequence[str]) -> list[Given]:
    """Pictures of a generator by sample; rows are found by id."""
    row = {str(name): number for number, name in enumerate(file["stimulus_id"].asstr()[:])}
    if lost := [name for name in ids if name not in row]:
        raise InputError(f"{file.filename}: no picture of {len(lost)} test stimuli, the first is {lost[0]}")
    rows = np.array([row[name] for name in ids])

    def reading(sample: int) -> Reading:
        return lambda places: [file["picture"][rows[place], sample] for place in places]

    own = np.arange(len(ids))
    return [Given(source, sample, reading(sample), [], own) for sample in range(file["picture"].shape[1])]


# ----------------------------------------------------------------------------------------------- judgements


def _with_others(given: Given, elsewhere: NDArray[np.int64]) -> Iterator[Given]:
    """What is given; of what was generated also the pictures of others."""
    yield given
    if given.source == "generated":
        yield Given("another", given.sample, given.read, [], elsewhere)


def _rows(given: Given, metric: str, values: NDArray[np.floating]) -> pd.DataFrame:
    """One row per test picture."""
    table = pd.DataFrame({"place": np.arange(len(values)), "value": values.astype(np.float64)})
    return table.assign(source=given.source, sample=given.sample, picture=given.names or "", metric=metric)


def _by_pixels(seen: Reading, given: Sequence[Given], elsewhere: NDArray[np.int64]) -> Iterator[pd.DataFrame]:
    """Correlation of pixels and structural similarity of all pairs."""
    pairs = [one for shown in given for one in _with_others(shown, elsewhere)]
    values = np.empty((len(pairs), 2, len(elsewhere)))
    flat = 0
    for place in stage.progress(range(len(elsewhere)), "judge pixels: test pictures"):
        own = _looked(seen(np.array([place]))[0])
        for number, one in enumerate(pairs):
            other = _looked(one.read(one.places[[place]])[0])
            flat += not other.length
            values[number, :, place] = picture_metrics.pixcorr(own, other), picture_metrics.ssim(own, other)
    if flat:
        log.warning(
            "judge: of %d pictures, %d have one colour, so their correlation is set to 0", values[:, 0].size, flat
        )
    for one, (correlation, similarity) in zip(pairs, values, strict=True):
        for metric, found in (("pixcorr", correlation), ("ssim", similarity)):
            yield _rows(one, metric, found).assign(judge=PIXELS, partial=False)


def _looked(picture: NDArray[np.uint8]) -> picture_metrics.Looked:
    """A picture at 425 pixels, by way of 256 as the field's code has it."""
    values = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    values = judge_base.resized(judge_base.resized(values, picture_metrics.COMMON), picture_metrics.SIDE)
    return picture_metrics.Looked.at(values[0].permute(1, 2, 0).numpy())


def _by_network(
    judge: Any, seen: Reading, given: Sequence[Given], elsewhere: NDArray[np.int64], name: str
) -> Iterator[pd.DataFrame]:
    """Two-way identification, correlation distance and rank by the features of one network."""
    count = len(elsewhere)
    own = np.arange(count)
    known = np.concatenate(list(_features(judge, seen, count, name)))
    for one in given:
        found = [known @ part.T for part in _features(judge, one.read, count, name)]
        correlation = np.concatenate(found, axis=1)
        for shown in _with_others(one, elsewhere):
            of_shown = correlation[:, shown.places]
            rank = picture_metrics.ranks(of_shown, own)
            yield _rows(shown, "two-way", picture_metrics.two_way(rank, count))
            yield _rows(shown, "distance", 1 - of_shown[own, own])
            yield _rows(shown, "rank", rank.astype(np.float64))


def _features(judge: Any, read: Reading, count: int, name: str) -> Iterator[NDArray[np.floating]]:
    """Standardised features of so many pictures, in parts; those of a part that have one size go together."""
    for first in range(0, count, judge_base.AT_ONCE):
        some = read(np.arange(first, min(first + judge_base.AT_ONCE, count)))
        for _, alike in itertools.groupby(some, key=np.shape):
            found = judge.features(np.stack(list(alike)))
            if not np.isfinite(found).all():
                raise InputError(f"judges.{name}: features that are not finite; check its weights")
            yield picture_metrics.standardised(found)


if __name__ == "__main__":
    stage.main(run)
