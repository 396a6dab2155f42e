"""Figure ``reconstruction``: seen pictures, and the pictures of a bank that are nearest to the predicted embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brain2clip import artefact
from brain2clip.names import RUN
from brain2clip.readers import templates
from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    import numpy as np
    from matplotlib import figure as drawn
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.reporting.thumbnails import Candidates
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """Nearest pictures to the predictions of one run whose method stays in CLIP's joint space."""

    order = 60

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Embeddings of the first such run, and the stimuli; a handful of categories is no bank."""
        runs = plan.mapped_runs(study)[:1]
        if not runs or getattr(plan.config.studies[study], "categories", None):
            return None
        return {
            "embeddings": plan.made_files("retrieval", runs, ".embeddings.h5", plan.embed_spec),
            "stimuli": plan.stimuli_file(study, runs[0].method),
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Label of that method."""
        return {"methods": figure_base.labels(plan, [plan.mapped_runs(study)[0].method])}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """One embeddings artefact against all pictures of a stimuli artefact; nothing else is read."""
        import numpy as np

        from brain2clip.reporting import thumbnails

        path, expected = job.each("embeddings")[0]
        with artefact.open_h5(path, expected) as file:
            names = [str(name) for name in file["stimulus_id"].asstr()[:]]
            predicted = Predicted(file["predicted"][:], file["centre"][:], names)
            run = {name: str(file.attrs[name]) for name in RUN}
        with artefact.open_h5(*job.each("stimuli")[0]) as file:
            ids, concepts = ([str(text) for text in file[name].asstr()[:]] for name in ("stimulus_id", "concept"))
            rows = np.flatnonzero(file["split"].asstr()[:] != templates.SIDE)
            if file.attrs["kind"] == "prompts":  # all stimuli of a class are one point
                first = {concept: row for row, concept in reversed(list(enumerate(concepts)))}
                rows = np.array(sorted({*first.values(), *(ids.index(name) for name in names)}))
            embedding = file["embedding"][:][rows]
        kept = [[column[row] for row in rows] for column in (ids, concepts)]
        bank = Bank(embedding, kept[0], kept[1], thumbnails.candidates_of(job))
        block = f"{run['study']}, {run['protocol']}, {run['signal']}, subject {run['subject']}, seed {run['seed']}"
        title = (
            f"{job.settings['methods'][run['method']]}: {block}. Nearest stimuli in a bank of "
            f"{len(bank.stimulus_id)} training and test stimuli without the seen one; beside the seen stimulus, its "
            "rank; green: same class"
        )
        return figure_reconstruction(predicted, bank, title)


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


def figure_reconstruction(predicted: Predicted, bank: Bank, title: str) -> drawn.Figure:
    """One row per test stimulus: the seen one, and the nearest others of the bank; same class in a green frame.

    Stimuli are evenly spaced in the order of the file, never chosen by result; the rank of the seen one in the whole
    bank is written beside it.
    """
    import numpy as np

    from brain2clip.reporting import thumbnails
    from brain2clip.retrieval.bank import nearest

    row = {name: number for number, name in enumerate(bank.stimulus_id)}
    seen = np.array([row[name] for name in predicted.stimulus_id])
    found = nearest(predicted.embedding, bank.embedding, predicted.centre, seen, thumbnails.N_BEST)
    places = thumbnails.evenly_spaced(len(seen))
    made, axes = thumbnails.sheet(len(places), found.rows.shape[1], title)
    draw = thumbnails.drawing(bank.candidates)
    for line, place in zip(axes, places, strict=True):
        own = seen[place]
        draw(line[0], bank.stimulus_id[own])
        thumbnails.frame(line[0], "black", 0.8)
        line[0].set_ylabel(f"rank {found.rank[place]}", fontsize=8)
        for axis, other in zip(line[1:], found.rows[place], strict=True):
            draw(axis, bank.stimulus_id[other])
            thumbnails.mark(axis, bank.concept[other] == bank.concept[own])
    return made
