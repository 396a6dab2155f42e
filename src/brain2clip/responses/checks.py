"""Checks of the trials of every study, for all modalities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brain2clip.names import SPLITS
from brain2clip.readers.contract import Study
from brain2clip.stage import InputError

#: What trials come from, by modality, for messages.
SOURCES = {"eeg": "a recording or events.tsv", "fmri": "the file of signals or the table of its rows"}


#: Trials of a recording that are closer than this are one trial that occurs twice in the table, s: no screen shows two
#: pictures so fast.
SAME_TIME = 0.005


def check_doubled(trials: pd.DataFrame, events: Path) -> None:
    """Refuse trials at the same time, as from parallel triggers of software and hardware.

    Parameters
    ----------
    trials : pandas.DataFrame
        ``onset`` (s) and ``stimulus`` of one recording, in time order.
    events : Path
        Its table, for the message.
    """
    onset, stimulus = trials["onset"].to_numpy(float), trials["stimulus"].to_numpy(object)
    again = np.flatnonzero(np.diff(onset) < SAME_TIME)
    if not len(again):
        return
    first = int(again[0])
    differ = int((stimulus[again] != stimulus[again + 1]).sum())
    raise InputError(
        f"{events}: {len(again)} of {len(onset)} trials follow another trial within {1000 * SAME_TIME:g} ms, the first "
        f"at {onset[first]:.10g} s ({stimulus[first]} and {stimulus[first + 1]}); {differ} of them show another "
        "stimulus\n"
        "  expected one trial for each presentation: keep events of one kind (studies.*.keep), or fix the table"
    )


def check_apart(study: Study, trials: pd.DataFrame, tmin: float, tmax: float, events: Path) -> None:
    """Refuse epochs of training and test with common samples, if the test shows stimuli or concepts of training.

    Neighbouring trials then often show the same stimulus, and a test response would partly be a training response.

    Parameters
    ----------
    trials : pandas.DataFrame
        ``onset`` (s) and ``split`` of one recording.
    tmin, tmax : float
        Epoch relative to an onset, s.
    events : Path
        Table of the trials, for the message.
    """
    if study.zero_shot:
        return
    training, test = (np.sort(trials.loc[trials["split"] == side, "onset"].to_numpy(float)) for side in SPLITS)
    if not len(training) or not len(test):
        return
    after = np.searchsorted(training, test).clip(1, len(training))
    around = np.stack([training[after - 1], training[np.minimum(after, len(training) - 1)]])
    distance = np.abs(around - test).min(axis=0)
    touching = np.flatnonzero(distance < tmax - tmin - 1e-9)
    if len(touching):
        first = int(touching[0])
        raise InputError(
            f"{events}: {len(touching)} of {len(test)} test epochs share samples with a training epoch, the first at "
            f"{test[first]:.10g} s ({distance[first]:.3g} s from one; epochs last {tmax - tmin:.3g} s)\n"
            f"  expected none in study {study.name}, whose test shows stimuli or concepts of training: split by run "
            "or session, or shorten the epoch (responses.tmin, tmax)"
        )


def check_trials(study: Study, subject: str, trials: pd.DataFrame) -> None:
    """Refuse unexpected counts, an empty split, categories that are never shown, and stimuli on both sides.

    Parameters
    ----------
    trials : pandas.DataFrame
        ``stimulus`` (id), ``concept``, ``split``, ``session``, ``run``; of this subject only. Stimuli on both sides in
        several subjects are found when the table of stimuli is made.
    """
    found = {side: int((trials["split"] == side).sum()) for side in SPLITS}
    expected = study.expected_counts(subject)
    if expected is not None and expected != found:
        raise InputError(
            f"study {study.name}, subject {subject}: found {found['train']} training and {found['test']} test trials, "
            f"expected {expected.get('train')} and {expected.get('test')}; {SOURCES[study.modality]} is incomplete"
        )
    check_split(study, subject, trials, "in all recordings", sides(study, trials))
    _check_asked(study, subject, trials)
    _check_sides(study, subject, trials)
    if study.zero_shot:
        shared = _on_both_sides(trials, "concept")
        if shared:
            raise InputError(
                f"study {study.name}, subject {subject}: {len(shared)} concepts are on both sides of the split, e.g. "
                f"{', '.join(shared[:5])}; expected none in a zero-shot study{study.shown_again}"
            )


def sides(study: Study, trials: pd.DataFrame) -> tuple[str, ...]:
    """Sides of the split of which a subject must have trials: training may be optional."""
    alone = study.training_optional and not (trials["split"] == "train").any()
    return ("test",) if alone else SPLITS


def check_split(study: Study, subject: str, trials: pd.DataFrame, when: str, wanted: Sequence[str]) -> None:
    """Refuse a subject without trials of a wanted side of the split, training or test."""
    for side in wanted:
        if not (trials["split"] == side).any():
            counts = trials.groupby(["session", "run"])["split"].agg(lambda labels: labels.value_counts().to_dict())
            listing = "; ".join(f"session {session} run {run}: {count}" for (session, run), count in counts.items())
            raise InputError(
                f"study {study.name}, subject {subject}: no {side} trial {when} ({len(trials)} trials)\n"
                f"  found: {listing or 'nothing'}\n  expected trials on both sides; see studies.{study.name}.split"
                + (" and responses.reject_uv (MEG: reject_ft, reject_ft_cm)" if "rejection" in when else "")
                + ("; if models of other subjects rank this subject, set split.training: optional" * (side == "train"))
                + f"; studies.{study.name}.subjects leaves a subject out"
            )


def _check_asked(study: Study, subject: str, trials: pd.DataFrame) -> None:
    """Refuse categories that no trial shows: as candidates they would lower chance without any query."""
    shown = set(trials["stimulus"])
    lost = [name for name in study.asked if name not in shown]
    if lost:
        raise InputError(
            f"study {study.name}, subject {subject}: no trial shows {', '.join(map(repr, lost))} of "
            f"studies.{study.name}.categories (shown: {', '.join(sorted(shown))})\n  expected trials of every "
            "category, because the categories are the candidates; remove it from categories, or fix the names in the "
            "trials or the settings that leave trials out (keep, rest, split.train)"
        )


def _check_sides(study: Study, subject: str, trials: pd.DataFrame) -> None:
    """Refuse stimuli on both sides of the split, unless the study says that they may be (categories)."""
    shared = [] if study.both_sides else _on_both_sides(trials, "stimulus")
    if shared:
        raise InputError(
            f"study {study.name}, subject {subject}: {len(shared)} stimuli are on both sides of the split, e.g. "
            f"{', '.join(shared[:5])}; expected each stimulus in training or in test; see studies.{study.name}.split"
            f"{study.shown_again}"
        )


def _on_both_sides(trials: pd.DataFrame, column: str) -> list[str]:
    """Values of a column (empty ones do not count) that trials of both sides have, sorted."""
    sides = [set(trials.loc[trials["split"] == side, column]) for side in SPLITS]
    return sorted(value for value in sides[0] & sides[1] if value)
