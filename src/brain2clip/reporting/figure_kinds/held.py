"""Figure ``held``: how well vectors of a picture predict the features that drive simulated responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import artefact, stage
from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

#: R² below which a bar ends; its number is written beside it.
_LOWEST = -0.5


class Figure(figure_base.FigureBase):
    """A simulated study whose methods read more of a picture than the joint embedding."""

    order = 92

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """The embedding and further vectors of all pictures, and the features that drive simulated responses."""
        read = plan.picture_files(study) if study in plan.simulated_studies() else {}
        if not read.get("vectors"):
            return None
        return {**read, "truth": plan.drive_file(study)}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Ridge regression from each vector to each level, on training pictures, scored on test pictures."""
        import numpy as np

        from brain2clip.retrieval.held import held

        files = job.each("stimuli")
        ids, split, concept = _texts(*files[0])
        training = np.array([one == "train" for one in split])
        features = dict(_vectors(job, ids, several=len(files) > 1))
        drives = _drives(*job.each("truth")[0], ids)
        found = held(features, drives, concept, training)
        title = (
            f"{job.settings['study']}: how well the vectors of a picture predict the features that drive "
            f"responses\n{training.sum()} training pictures, R² on "
            f"{(~training).sum()} test pictures"
        )
        sizes = {name: values.shape[1] for name, values in {**features, **drives}.items()}
        return figure_held(found, sizes, title)


def figure_held(found: pd.DataFrame, sizes: Mapping[str, int], title: str) -> drawn.Figure:
    """One panel for each level of features, a bar for each vector; 0: no variance is explained, 1: all.

    Parameters
    ----------
    found : DataFrame
        From :func:`brain2clip.retrieval.held.held`.
    sizes : mapping
        Numbers of each vector and of each drive, by name.
    title : str
    """
    from brain2clip.reporting import style

    drives, names = list(dict.fromkeys(found["drive"])), list(dict.fromkeys(found["features"]))
    made = style.figure(2.6 + 1.7 * len(drives), 1.2 + 0.25 * len(names))
    axes = made.subplots(1, len(drives), sharey=True, squeeze=False)[0]
    for number, (axis, drive) in enumerate(zip(axes, drives, strict=True)):
        r2 = found[found["drive"] == drive].set_index("features")["r2"]
        _bars(axis, [float(r2[name]) for name in names], style.colour(number))
        axis.set_title(f"{drive} ({sizes[drive]})")
    axes[0].set_yticks(range(len(names)), [f"{name} ({sizes[name]:,})" for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    style.title(made, title)
    return made


def _bars(axis: Axes, values: Sequence[float], colour: str) -> None:
    axis.barh(range(len(values)), values, height=0.7, color=colour)
    for place, value in enumerate(values):
        axis.text(max(value, 0) + 0.03, place, f"{round(value, 2) + 0:.2f}", va="center", fontsize=7)
    axis.axvline(0, color="black", linewidth=1.2)
    axis.set(xlabel="test R²", xlim=(max(_LOWEST, min(0, *values) - 0.05), 1.25), xticks=(0, 0.5, 1))
    axis.grid(visible=False, axis="y")


def words(name: str) -> str:
    """Name of a vector's file in words: ``picture_block-2_grid-4`` is picture, block 2, grid 4."""
    return ", ".join(part.replace("-", " ") for part in name.split("_"))


def _vectors(job: Job, ids: list[str], several: bool) -> list[tuple[str, NDArray[np.floating]]]:
    """Label and values [n, d] of all vectors, tower by tower, the embedding first; of several towers with its name."""
    found = []
    for path, expected in job.each("stimuli"):
        before = f"{path.stem}: " if several else ""
        with artefact.open_h5(path, expected) as file:
            found.append((f"{before}embedding", _in_rows(file["embedding"][:], file, ids, path)))
        for own, wanted in job.each("vectors"):
            if own.parent.name == path.stem:
                with artefact.open_h5(own, wanted) as file:
                    label = f"{before}{words(str(file.attrs['name']))}"
                    found.append((label, _in_rows(file["vector"][:], file, ids, own)))
    return found


def _drives(path: Path, expected: Any, ids: list[str]) -> dict[str, NDArray[np.floating]]:
    """Standardised features of each level [n, d], in the order of some stimuli."""
    with artefact.open_h5(path, expected) as file:
        levels = [name for name in file if name != "stimulus_id"]
        return {name: _in_rows(file[name][:], file, ids, path) for name in levels}


def _texts(path: Path, expected: Any) -> list[list[str]]:
    """Ids, splits and concepts of the stimuli."""
    with artefact.open_h5(path, expected) as file:
        return [[str(text) for text in file[name].asstr()[:]] for name in ("stimulus_id", "split", "concept")]


def _in_rows(values: NDArray[np.floating], file: Any, ids: list[str], path: Path) -> NDArray[np.floating]:
    """Values of a file in the order of some stimuli."""
    place = {str(name): row for row, name in enumerate(file["stimulus_id"].asstr()[:])}
    lost = [name for name in ids if name not in place]
    if lost:
        raise stage.InputError(
            f"{path}: has no {lost[0]} ({len(lost)} stimuli in all), which the features have; run snakemake, which "
            "makes both again"
        )
    return values[[place[name] for name in ids]]
