"""Figure ``reconstruction``: what was seen and what lies nearest to the predicted embedding in a bank of pictures."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brain2clip.reporting import style
from brain2clip.reporting.figure_gallery import N_BEST, N_QUERIES, Candidates, drawing, frame
from brain2clip.retrieval.bank import nearest


@dataclass(frozen=True)
class Predicted:
    """Embeddings artefact of one run.

    Attributes
    ----------
    embedding : array [n, d]
        Of unit length, without ``centre``.
    centre : array [d]
    stimulus_id : list of str
    """

    embedding: NDArray[np.floating]
    centre: NDArray[np.floating]
    stimulus_id: list[str]


@dataclass(frozen=True)
class Bank:
    """Stimuli artefact: every picture of the study, training and test.

    Attributes
    ----------
    embedding : array [n, d]
    stimulus_id, concept : list of str
    candidates : Candidates
        How each is shown.
    """

    embedding: NDArray[np.floating]
    stimulus_id: list[str]
    concept: list[str]
    candidates: Candidates


def figure_reconstruction(predicted: Predicted, bank: Bank, title: str) -> Figure:
    """One row per test stimulus: the seen one, and the nearest others of the bank; same class in a green frame.

    Stimuli are evenly spaced in the order of the file, never picked by result; beside each stands the rank of the seen
    one in the whole bank.
    """
    row = {name: number for number, name in enumerate(bank.stimulus_id)}
    seen = np.array([row[name] for name in predicted.stimulus_id])
    found = nearest(predicted.embedding, bank.embedding, predicted.centre, seen, N_BEST)
    places = np.linspace(0, len(seen) - 1, min(N_QUERIES, len(seen))).round().astype(int)
    n_best = found.rows.shape[1]
    made = style.figure(1.15 * (n_best + 1) + 0.6, 1.28 * len(places) + 0.7)
    axes = made.subplots(len(places), n_best + 1, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    draw = drawing(bank.candidates)
    for line, place in zip(axes, places, strict=True):
        own = seen[place]
        draw(line[0], bank.stimulus_id[own])
        frame(line[0], "black", 0.8)
        line[0].set_ylabel(f"rank {found.rank[place]}", fontsize=8)
        for axis, other in zip(line[1:], found.rows[place], strict=True):
            draw(axis, bank.stimulus_id[other])
            same = bank.concept[other] == bank.concept[own]
            frame(axis, style.GREEN if same else "#CCCCCC", 3.5 if same else 0.6)
    for number, axis in enumerate(axes[0]):
        axis.set_title("seen" if number == 0 else f"{number}.", loc="center", fontsize=9)
    made.suptitle("\n".join(textwrap.wrap(title, 90)), fontsize=9)
    return made
