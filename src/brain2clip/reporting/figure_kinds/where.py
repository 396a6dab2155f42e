"""Figure ``where``: the weights of a trained head by place in the picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brain2clip import artefact
from brain2clip.reporting import blocks, figure_base

if TYPE_CHECKING:
    import numpy as np
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from brain2clip.plan import Plan, Run
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

_MOST_PICTURES = 400
_MOST_NUMBERED = 6


class Figure(figure_base.FigureBase):
    """Methods of the main experiment whose head weighs a grid of places, first signal and protocol."""

    order = 95

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Models of these methods, and the stimuli."""
        runs = _mapped(plan, study)
        if not runs:
            return None
        models = list(dict.fromkeys(map(plan.model_of, runs)))
        return {
            "checkpoint": plan.made_files("training", models, ".safetensors", plan.train_spec),
            "stimuli": plan.stimuli_file(study, runs[0].method),
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Labels of the methods, and where the grid stands in what their readout gives."""
        names = {run.method for run in _mapped(plan, study)}
        parts = {name: list(plan.config.methods[name].grid_part or ()) for name in sorted(names)}
        return {"methods": figure_base.labels(plan, names), "parts": parts}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Mean over models of the weights by place, beside the mean training picture."""
        from brain2clip.reporting import thumbnails
        from brain2clip.reporting.wording import plural

        found: dict[str, list[Places]] = {}
        runs: dict[str, list[dict[str, Any]]] = {}
        for path, expected in job.each("checkpoint"):
            run = blocks.from_run_path(path)
            method = str(run["method"])
            found.setdefault(method, []).append(
                places(artefact.read_tensors(path, expected), *job.settings["parts"][method])
            )
            runs.setdefault(method, []).append(run)
        first = next(iter(runs.values()))
        head = f"{first[0]['study']}, {first[0]['protocol']}, {first[0]['signal']}"
        counts = [(name, len({str(run[name]) for run in first})) for name in ("subject", "seed")]
        words = " and ".join(f"{count} {plural(name, count)}" for name, count in counts)
        title = f"{head}: mean over models of {words}"
        labels = {name: label for name, label in job.settings["methods"].items() if name in found}
        picture, count = thumbnails.mean_training_picture(job, _MOST_PICTURES)
        return figure_where({labels[name]: mean(found[name]) for name in labels}, picture, count, title)


def _mapped(plan: Plan, study: str) -> list[Run]:
    protocol = plan.main_experiment(study).protocols[0]
    runs = [run for run in figure_base.main_runs(plan, study) if run.protocol == protocol]
    return [run for run in runs if plan.config.methods[run.method].grid_part is not None]


@dataclass(frozen=True)
class Places:
    """Weights by place, relative to their root mean square over places: 1 everywhere where no place counts more.

    Attributes
    ----------
    trained : array [g, g]
        Norm of the head's weights on all numbers of a place.
    start : array [g, g]
        The same for a head that weighs all principal components alike, as one does in the mean before it learns.
    """

    trained: NDArray[np.float64]
    start: NDArray[np.float64]


def places(tensors: Mapping[str, Any], part: int, grid: int) -> Places:
    """Weights of a linear head by place of a patch grid, through the principal components of the grid.

    The head sees x B s with the components B [g * g * D, k] and a number s, so that its weights W [width, k] on these
    are s W B' on the numbers x of the grid: norms are taken of it over the D numbers of a place and all outputs.

    Parameters
    ----------
    tensors : mapping
        A checkpoint.
    part : int
        Which part of the readout is the grid.
    grid : int
        Its rows and columns g.
    """
    import numpy as np

    def stored(number: int, name: str) -> Any:
        return tensors.get(f"visual.readout.parts.{number}.{name}")

    def basis_of(number: int) -> NDArray[np.float64]:
        basis = stored(number, "basis")
        return np.eye(len(stored(number, "mean"))) if basis is None else basis.double().numpy()

    basis = basis_of(part)
    first = sum(basis_of(number).shape[1] for number in range(part))
    weight = tensors["visual.head.weight"].double().numpy()[:, first : first + basis.shape[1]]
    # Squares of s W B' summed over outputs, without that matrix; s is the same for all places.
    squares = ((basis @ (weight.T @ weight)) * basis).sum(axis=1), (basis**2).sum(axis=1)
    by_place = [one.reshape(grid, grid, -1).sum(axis=-1) for one in squares]
    return Places(*(np.sqrt(one / one.mean()) for one in by_place))


def mean(found: list[Places]) -> Places:
    """Mean over models."""
    import numpy as np

    return Places(*(np.mean([getattr(one, name) for one in found], axis=0) for name in ("trained", "start")))


def figure_where(found: Mapping[str, Places], picture: NDArray[np.float64], count: int, title: str) -> drawn.Figure:
    """A row per method: the mean picture, the map before training, the trained map.

    Parameters
    ----------
    found : mapping
        Label to maps.
    picture : array [height, width, 3]
        Mean training picture, 0 to 1.
    count : int
        Pictures that it is the mean of.
    title : str
        What is averaged, in words.
    """
    import numpy as np

    from brain2clip.reporting import style

    made = style.figure(7.2, 0.7 + 2.3 * len(found))
    axes = made.subplots(len(found), 3, squeeze=False)
    maps = np.concatenate([one.ravel() for method in found.values() for one in (method.start, method.trained)])
    limit = max(0.05, float(np.abs(maps - 1).max()))
    for (label, one), line in zip(found.items(), axes, strict=True):
        line[0].imshow(picture, extent=(0, 1, 1, 0))
        line[0].set_title(f"mean of {count} training pictures")
        for axis, shown, words in zip(line[1:], (one.start, one.trained), ("before training", label), strict=True):
            image = _map(axis, shown, limit)
            axis.set_title(words)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
    bar = made.colorbar(image, ax=axes, shrink=0.8, aspect=25)
    bar.set_label("weight relative to equal weights (1)")
    style.title(made, title)
    return made


def _map(axis: Axes, shown: NDArray[np.float64], limit: float) -> Any:
    grid = len(shown)
    image = axis.imshow(shown, cmap="RdBu_r", vmin=1 - limit, vmax=1 + limit, extent=(0, 1, 1, 0))
    if grid <= _MOST_NUMBERED:
        for row, column in itertools.product(range(grid), repeat=2):
            value = shown[row, column]
            dark = abs(value - 1) > 0.6 * limit
            place = ((column + 0.5) / grid, (row + 0.5) / grid)
            axis.text(*place, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    return image
