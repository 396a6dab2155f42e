"""Figure ``generation``: seen pictures, pictures generated from the predictions, and pictures to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brain2clip import artefact
from brain2clip.names import RUN
from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from matplotlib import figure as drawn
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.reporting.thumbnails import Candidates
    from brain2clip.stage import Job

#: Samples of a stimulus that are shown at most, and the side of a picture, pixels.
N_SAMPLES, SIDE = 4, 112


class Figure(figure_base.FigureBase):
    """Pictures of one run by one generator, of evenly spaced test stimuli."""

    order = 62

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Pictures, those of a perfect prediction, judgements (which name the nearest), and the stimuli."""
        found = plan.pictured(study)
        if found is None:
            return None
        run, generator = found
        tower = plan.config.generators[generator].tower
        return {
            "generated": {plan.generated_pictures(run, generator): plan.generate_spec(run, generator)},
            "oracle": {plan.oracle(study, generator): plan.oracle_spec(study, generator)},
            "judged": {plan.judged(run, generator): plan.judge_spec(run, generator)},
            "stimuli": {plan.features(study, tower): plan.features_spec(study, tower)},
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Label of the method, and the name of the generator."""
        found = plan.pictured(study)
        assert found is not None
        run, generator = found
        return {"methods": figure_base.labels(plan, [run.method]), "generator": generator}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """From the pictures of a run and of its oracle, the stimuli, and the nearest training pictures."""
        from brain2clip.reporting import thumbnails

        path, expected = job.each("generated")[0]
        made, run = _pictures(path, expected)
        ideal, _ = _pictures(*job.each("oracle")[0], list(made.of))
        judged = artefact.read_table(*job.each("judged")[0])
        near = judged[judged["source"] == "nearest"].drop_duplicates("stimulus_id").set_index("stimulus_id")["picture"]
        shown = Shown(made, ideal, {str(name): str(one) for name, one in near.items()}, thumbnails.candidates_of(job))
        block = f"{run['study']}, {run['protocol']}, {run['signal']}, subject {run['subject']}, seed {run['seed']}"
        title = (
            f"{job.settings['methods'][run['method']]}, generator {job.settings['generator']}: {block}. Generated: "
            "from the prediction; nearest: training picture nearest to the prediction; oracle: generated from the "
            "embedding of the seen picture itself. Test pictures are evenly spaced, never chosen by result"
        )
        return figure_generation(shown, title)


@dataclass(frozen=True)
class Pictures:
    """Pictures that a generator made.

    Attributes
    ----------
    of : dict
        Stimulus id to its samples [samples, height, width, 3] uint8; only of those that are shown.
    start : dict
        Stimulus id to that of the picture where generation started; empty where it started from noise.
    """

    of: dict[str, NDArray[np.uint8]]
    start: dict[str, str]


@dataclass(frozen=True)
class Shown:
    """What the figure shows.

    Attributes
    ----------
    made, ideal : Pictures
        Of the prediction, and of the seen picture's own embedding.
    nearest : dict
        Stimulus id to that of the nearest training picture.
    candidates : Candidates
        How pictures of the study are shown.
    """

    made: Pictures
    ideal: Pictures
    nearest: dict[str, str]
    candidates: Candidates


def _pictures(
    path: Path, expected: dict[str, Any] | None, wanted: Sequence[str] = ()
) -> tuple[Pictures, dict[str, str]]:
    """Samples of the wanted stimuli of an artefact of pictures, else of evenly spaced ones; and whose they are."""
    from brain2clip.reporting import thumbnails

    with artefact.open_h5(path, expected) as file:
        names = [str(name) for name in file["stimulus_id"].asstr()[:]]
        row = {name: number for number, name in enumerate(names)}
        shown = wanted or [names[place] for place in thumbnails.evenly_spaced(len(names))]
        of = {name: file["picture"][row[name], :N_SAMPLES] for name in shown}
        start = {name: str(file["start"].asstr()[row[name]]) for name in shown} if "start" in file else {}
        return Pictures(of, start), {name: str(file.attrs[name]) for name in RUN if name in file.attrs}


def figure_generation(shown: Shown, title: str) -> drawn.Figure:
    """One row per test stimulus: seen, where generation started, samples, nearest training picture, oracle."""
    from brain2clip.reporting import thumbnails

    first = next(iter(shown.made.of.values()))
    heads = ["seen", *["start"] * bool(shown.made.start), *_numbered("generated", len(first)), "nearest", "oracle"]
    made, axes = thumbnails.sheet(len(shown.made.of), len(heads) - 1, title)
    draw = thumbnails.drawing(shown.candidates)
    for axis, head in zip(axes[0], heads, strict=True):
        axis.set_title(head, loc="center", fontsize=9)
    for line, (name, samples) in zip(axes, shown.made.of.items(), strict=True):
        known = [name, *([shown.made.start[name]] if shown.made.start else [])]
        for axis, one in zip(line, known):
            draw(axis, one)
        for axis, sample in zip(line[len(known) :], samples):
            axis.imshow(_small(sample))
        draw(line[-2], shown.nearest[name])
        line[-1].imshow(_small(shown.ideal.of[name][0]))
        for number, axis in enumerate(line):
            thumbnails.frame(axis, "black" if number == 0 else "#CCCCCC", 0.8)
    return made


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as large as it is drawn: files stay small."""
    import numpy as np
    from PIL import Image

    small = Image.fromarray(picture)
    small.thumbnail((SIDE, SIDE))
    return np.asarray(small)


def _numbered(word: str, count: int) -> Sequence[str]:
    """The word for each of so many columns."""
    return [word] if count == 1 else [f"{word} {number}" for number in range(1, count + 1)]
