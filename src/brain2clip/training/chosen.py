"""The part of responses that a method gets (``inputs`` of its settings): channels, times, repetitions, pictures.

All choices are made by names and by a seed, never by a value of a response. Responses were whitened with all channels
of the study; what is taken here is a part of that.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brain2clip.names import suggestion
from brain2clip.responses.epoching import CHANNEL_SETS
from brain2clip.settings import Inputs
from brain2clip.stage import InputError
from brain2clip.training.data import Responses, Stimuli, names_in_words

log = logging.getLogger("brain2clip")

#: Regions of the scalp by the letters of their channels in the 10-10 system.
REGIONS = {
    "frontal": r"(Fp|AF|F)(z|\d+)",
    "central": r"(FC|C)(z|\d+)",
    "temporal": r"(FT|T|TP)\d+",
    "parietal": r"(CP|P)(z|\d+)",
    "occipital": r"(PO|O|I)(z|\d+)",
}


def of_training(responses: Responses, inputs: Inputs) -> Responses:
    """Training trials of one file: their channels, window and repetitions.

    Raises
    ------
    InputError
        Where there is no such channel or time, or all stimuli have fewer repetitions.
    """
    part = _in_window(_of_channels(responses, inputs), inputs.window, "window")
    return part if inputs.repetitions is None or not len(part.values) else _repeated(part, inputs)


def of_test(responses: Responses, inputs: Inputs) -> Responses:
    """Test trials: channels and window of the training, or the values of another window at the times of training.

    Raises
    ------
    InputError
        Where there is no such channel or time, windows have unequally many samples, or channels of responses would have
        to be normalised as whole responses were.
    """
    if not responses.is_normalised and (inputs.channels or inputs.without):
        raise InputError(
            "inputs.channels, inputs.without: these responses have no training trial, so they are normalised with "
            "the operators of the model's training, which need all channels; choose channels by "
            "studies.*.responses.channels"
        )
    part = _of_channels(responses, inputs)
    trained = _in_window(part, inputs.window, "window")
    if inputs.test_window is None:
        return trained
    other = _in_window(part, inputs.test_window, "test_window")
    if len(other.times) != len(trained.times):
        raise InputError(
            f"inputs.test_window: {len(other.times)} samples from {inputs.test_window[0]:g} s, and "
            f"{len(trained.times)} in inputs.window; expected as many: both windows must have the same length and "
            "begin at a sample"
        )
    return replace(other, times=trained.times)


def pictures(sets: Sequence[Responses], stimuli: Stimuli, inputs: Inputs) -> list[Responses]:
    """Training responses to some concepts and pictures, the same for all sets.

    Parameters
    ----------
    sets : sequence of Responses
        Placed on these stimuli.
    stimuli : Stimuli
    inputs : Inputs

    Raises
    ------
    InputError
        Where fewer were shown.
    """
    if inputs.concepts is None and inputs.pictures_per_concept is None:
        return list(sets)
    ids, concept = (stimuli[name].asstr()[:] for name in ("stimulus_id", "concept"))
    shown = np.unique(np.concatenate([one.stimulus for one in sets]))
    by_concept: dict[str, list[int]] = {}
    for row in sorted(shown.tolist(), key=lambda row: str(ids[row])):
        by_concept.setdefault(str(concept[row]), []).append(row)
    names = _drawn(sorted(by_concept), inputs.concepts, inputs.seed, "concepts", "training concepts")
    kept: list[int] = []
    for name in names:
        rows = [str(ids[row]) for row in by_concept[name]]
        chosen = _drawn(
            rows, inputs.pictures_per_concept, inputs.seed, "pictures_per_concept", f"training pictures of {name}", name
        )
        kept += [by_concept[name][rows.index(one)] for one in chosen]
    log.info("inputs: %d pictures of %d concepts, out of %d that were shown", len(kept), len(names), len(shown))
    return [_rows(one, np.isin(one.stimulus, kept)) for one in sets]


def channels_of(named: Sequence[str], there: Sequence[str], setting: str) -> list[str]:
    """Channels that a list of channels, named sets and regions stands for, in the order of the responses.

    Raises
    ------
    InputError
        Where the responses lack one.
    """
    wanted: set[str] = set()
    for name in named:
        if name in REGIONS:
            own = {channel for channel in there if re.fullmatch(REGIONS[name], channel)}
            if not own:
                raise InputError(f"inputs.{setting}: no {name} channel among {names_in_words(list(there))}")
        else:
            own = set(CHANNEL_SETS.get(name, (name,)))
        lost = sorted(own - set(there))
        if lost:
            of_set = f" of {name}" if name in CHANNEL_SETS else suggestion(name, [*there, *REGIONS, *CHANNEL_SETS])
            raise InputError(
                f"inputs.{setting}: no channel {', '.join(lost)}{of_set} in the responses, which have "
                f"{names_in_words(list(there))}; expected some of these, or the name of a set or region"
            )
        wanted |= own
    return [name for name in there if name in wanted]


def _of_channels(responses: Responses, inputs: Inputs) -> Responses:
    if inputs.channels is None and inputs.without is None:
        return responses
    if responses.values.ndim == 2:
        raise InputError("inputs.channels: these are voxels, which are chosen by rois; expected null")
    kept = responses.channel if inputs.channels is None else channels_of(inputs.channels, responses.channel, "channels")
    if inputs.without is not None:
        gone = set(channels_of(inputs.without, responses.channel, "without"))
        kept = [name for name in kept if name not in gone]
    if not kept:
        raise InputError("inputs.without: leaves no channel; expected fewer names")
    place = [responses.channel.index(name) for name in kept]
    return replace(responses, values=responses.values[:, place], channel=kept, normalisation=None)


def _in_window(responses: Responses, window: tuple[float, float] | None, setting: str) -> Responses:
    if window is None:
        return responses
    if responses.values.ndim == 2:
        raise InputError(f"inputs.{setting}: voxels have no times; expected null")
    times, step = responses.times, 1 / responses.sfreq
    inside = (times >= window[0] - 1e-6 * step) & (times < window[1] - 1e-6 * step)
    if window[0] < times[0] - step / 2 or window[1] > times[-1] + 1.5 * step or not inside.any():
        raise InputError(
            f"inputs.{setting}: {list(window)} s is not within the responses, which go from {times[0]:g} to "
            f"{times[-1] + step:g} s at {responses.sfreq:g} Hz; expected a part of that with at least one sample"
        )
    return replace(responses, values=np.ascontiguousarray(responses.values[..., inside]), times=times[inside])


def _repeated(responses: Responses, inputs: Inputs) -> Responses:
    """So many trials of each stimulus and subject, in the order in which they were."""
    wanted = inputs.repetitions
    assert wanted is not None
    order = np.lexsort((responses.stimulus, responses.subject))  # stable: trials stay in their order
    keys = np.stack([responses.subject, responses.stimulus])[:, order]
    groups = np.split(order, np.flatnonzero((np.diff(keys) != 0).any(axis=0)) + 1)
    if inputs.draw == "random":
        names = (responses.stimulus_id[responses.stimulus[group[0]]] for group in groups)
        groups = [_order(group, inputs.seed, name) for group, name in zip(groups, names)]
    counts = [len(group) for group in groups]
    if max(counts) < wanted:
        raise InputError(
            f"inputs.repetitions: found at most {max(counts)} training trials of a stimulus; expected {wanted}: set "
            "a smaller number"
        )
    if min(counts) < wanted:
        fewer = sum(count < wanted for count in counts)
        log.info("inputs: %d of %d stimuli have fewer than %d training trials", fewer, len(counts), wanted)
    kept = np.zeros(len(responses.stimulus), bool)
    kept[np.concatenate([group[:wanted] for group in groups])] = True
    return _rows(responses, kept)


def _rows(responses: Responses, kept: NDArray[np.bool_]) -> Responses:
    chosen = {name: getattr(responses, name)[kept] for name in ("values", "stimulus", "subject")}
    return replace(responses, **chosen)


def _drawn(names: list[str], count: int | None, seed: int, setting: str, what: str, key: str = "") -> list[str]:
    """The first so many of names in a random order, which does not depend on the number."""
    if count is None:
        return names
    if len(names) < count:
        raise InputError(f"inputs.{setting}: found {len(names)} {what}; expected {count}: set a smaller number")
    return [names[place] for place in _order(np.arange(len(names)), seed, key)[:count]]


def _order(values: NDArray[np.int64], seed: int, key: str) -> NDArray[np.int64]:
    return np.random.default_rng([seed, zlib.crc32(key.encode())]).permutation(values)
