"""Figure ``erp``: event-related potential (MEG: field) of all channels, with topographies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import artefact
from brain2clip.names import counted
from brain2clip.reporting import blocks, figure_base, sensors

if TYPE_CHECKING:
    import numpy as np
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

_FEWEST_FOR_MAP = 4


class Figure(figure_base.FigureBase):
    """Mean over the subjects of the main experiment's first signal."""

    order = 10

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Responses of all subjects; voxels have no time course."""
        if plan.is_voxels(study):
            return None
        return {"responses": plan.responses_files(study, plan.main_experiment(study).signals[:1])}

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Times of the maps."""
        return {"topography_times": list(plan.config.figures.topography_times)}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Mean over the subjects of the first study and signal."""
        files = job.each("responses")
        first = blocks.from_response_path(files[0][0])
        same = [
            file for file in files if {**blocks.from_response_path(file[0]), "subject": ""} == {**first, "subject": ""}
        ]
        subjects = [_read(*file, f"{first['study']}, {first['signal']}") for file in same]
        means = [_grand_mean([one for one in subjects if kind in one], kind) for kind in subjects[0]]
        return figure_erp(means, job.settings["topography_times"])


@dataclass(frozen=True)
class Erp:
    """Mean response to pictures, over subjects.

    Attributes
    ----------
    title : str
    channels : list of str
    times : array [n_times]
        s, 0 at picture onset.
    potential : array [n_channels, n_times]
        In ``unit``.
    position : array [n_channels, 3]
        m, coordinates of the head, of MEG those of the device; NaN where unknown.
    n_subjects : int
    unit : str
    kind : str
        Type of the channels, as MNE calls it.
    """

    title: str
    channels: list[str]
    times: NDArray[np.float64]
    potential: NDArray[np.float64]
    position: NDArray[np.float64]
    n_subjects: int
    unit: str = "V"
    kind: str = "eeg"

    @property
    def shown(self) -> NDArray[np.float64]:
        """Values as they are drawn: volts in microvolt, tesla in femtotesla, others as they are."""
        return self.potential * sensors.DRAWN.get(self.unit, ("", 1.0))[1]

    @property
    def label(self) -> str:
        """Name of the axis of values."""
        if self.unit not in sensors.DRAWN:
            return f"response ({self.unit}s)"
        return f"{sensors.QUANTITIES[self.unit]} ({sensors.DRAWN[self.unit][0]})"


def figure_erp(data: Sequence[Erp], topography_times: Sequence[float]) -> drawn.Figure:
    """Butterfly plot, global field power, and a map at each of the given times (s), for each type of channel.

    Maps use channels with a known position; where there are fewer than four, a note says so. Planar gradiometers lie in
    pairs, of which maps show the root of the mean square.
    """
    import numpy as np

    from brain2clip.reporting import style

    first = data[0]
    times = [time for time in topography_times if first.times[0] <= time <= first.times[-1]]
    mapped = [bool(times) and bool(_known(one).sum() >= _FEWEST_FOR_MAP) for one in data]
    made = style.figure(7.5, sum(5.0 if one else 3.6 for one in mapped))
    ratios = [ratio for one in mapped for ratio in ((1, 1.5) if one else (1, 10))]
    panels = np.ravel(np.asarray(made.subfigures(2 * len(data), 1, height_ratios=ratios)))
    for one, upper, lower in zip(data, panels[::2], panels[1::2], strict=True):
        _maps(upper, one, times)
        _butterfly(lower.add_subplot(), one, times)
    return made


def _butterfly(axis: Axes, data: Erp, times: Sequence[float]) -> None:
    from brain2clip.reporting import style

    values = data.shown
    few = len(data.channels) <= len(style.PALETTE) - 2
    colours = style.PALETTE if few else _front_to_back(data.position[:, 1])
    for name, potential, colour in zip(data.channels, values, colours):
        axis.plot(data.times * 1e3, potential, color=colour, linewidth=0.7, alpha=0.9, label=name if few else None)
    power = values.std(axis=0)
    axis.plot(data.times * 1e3, power, color="black", linewidth=1.8, label="global field power (sd over channels)")
    for time in times:
        axis.axvline(time * 1e3, color=style.GREY, linewidth=0.8, linestyle=":")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel="time from picture onset (ms)", ylabel=data.label, xlim=data.times[[0, -1]] * 1e3)
    count = f"{len(data.channels)} {sensors.NAMES[data.kind]}, mean over {counted(data.n_subjects, 'subject')}"
    of = " of the head" if data.kind == "eeg" else ""
    shade = f"; light: front{of}, dark: back" if _known(data).any() and not few else ""
    axis.set_title(f"{data.title}: {count}{shade}")
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.15 * (high - low))
    axis.legend(loc="upper left", ncols=4)


def _maps(panel: drawn.SubFigure, data: Erp, times: Sequence[float]) -> None:
    import mne
    import numpy as np

    from brain2clip.reporting import style

    known = _known(data)
    if known.sum() < _FEWEST_FOR_MAP or not times:
        reason = "channel positions are unknown" if times else "no time of figures.topographies is inside the epoch"
        style.note(panel.add_subplot(), f"no scalp maps: {reason}")
        return
    moments = [int(np.abs(data.times - time).argmin()) for time in times]
    names = [name for name, there in zip(data.channels, known) if there]
    names, position, shown, paired = _in_places(names, data.position[known], data.shown[known][:, moments])
    info = mne.create_info(names, 100.0, "eeg")
    places = dict(zip(info.ch_names, position, strict=True))
    info.set_montage(mne.channels.make_dig_montage(ch_pos=places, coord_frame="head"))
    limit = float(np.abs(shown).max()) or 1.0
    axes = panel.subplots(1, len(times), squeeze=False)[0]
    for axis, moment, potential in zip(axes, moments, shown.T, strict=True):
        image, _ = mne.viz.plot_topomap(
            *(potential, info),
            axes=axis,
            show=False,
            cmap="Reds" if paired else "RdBu_r",
            vlim=(0 if paired else -limit, limit),
            contours=4,
            extrapolate="local",
            sphere=_sphere(places) if data.kind == "eeg" else _fitted_sphere(position),
        )
        axis.set_title(f"{data.times[moment] * 1e3:.0f} ms", loc="center")
    bar = panel.colorbar(image, ax=list(axes), shrink=0.8, aspect=12)
    bar.set_label(f"pairs: {data.label}" if paired else data.label)


def _in_places(
    names: list[str], position: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64], bool]:
    """Channels that lie at one place, within a millimetre, as one: the root of the mean square of their values.

    Returns
    -------
    names : list of str
        The first of each place.
    position : array [n_places, 3]
    values : array [n_places, n]
    paired : bool
        Whether some lie at one place; else all is as it was.
    """
    import numpy as np

    _, first, place = np.unique(np.round(position, 3), axis=0, return_index=True, return_inverse=True)
    place = place.ravel()
    if len(first) == len(names):
        return names, position, values, False
    power = np.zeros((len(first), values.shape[1]))
    np.add.at(power, place, values**2)
    means = np.sqrt(power / np.bincount(place)[:, None])
    return [names[one] for one in first], position[first], means, True


def _known(data: Erp) -> NDArray[np.bool_]:
    import numpy as np

    return np.asarray(np.isfinite(data.position).all(axis=1))


def _sphere(places: dict[str, NDArray[np.float64]]) -> tuple[float, float, float, float]:
    """Head circle at the median distance of the electrodes from the origin: x, y, z and radius, m."""
    import numpy as np

    radius = float(np.median([np.linalg.norm(place) for place in places.values()]))
    return (0.0, 0.0, 0.0, radius)


def _fitted_sphere(position: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Sphere through sensors [n, 3], whose origin is no centre of a head, by least squares: x, y, z and radius, m."""
    import numpy as np

    matrix = np.column_stack([2 * position, np.ones(len(position))])
    (x, y, z, rest), *_ = np.linalg.lstsq(matrix, (position**2).sum(axis=1), rcond=None)
    centre = np.array([x, y, z])
    radius = float(np.sqrt(max(rest + centre @ centre, 0.0)))
    return float(x), float(y), float(z), radius


def _front_to_back(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colour of every channel by its position from front (light) to back (dark); grey if unknown."""
    import matplotlib
    import numpy as np
    from matplotlib.colors import Normalize

    from brain2clip.reporting import style

    colours = np.tile(matplotlib.colors.to_rgba(style.GREY), (len(y), 1))
    known = np.isfinite(y)
    if known.any():
        scale = Normalize(y[known].min(), max(y[known].max(), y[known].min() + 1e-6))
        colours[known] = matplotlib.colormaps["viridis"](0.9 * scale(y[known]))
    return colours


def _read(path: Path, expected: dict[str, Any] | None, title: str) -> dict[str, Erp]:
    """Of a subject, by type of channel."""
    import numpy as np

    with artefact.open_h5(path, expected) as file:
        names, kinds = file["channel"].asstr()[:], np.array(sensors.types(file))
        potential, position = file["quality/erp"][:].astype(np.float64), file["position"][:].astype(np.float64)
        return {
            kind: Erp(
                title=title,
                channels=[str(name) for name in names[kinds == kind]],
                times=file["times"][:].astype(np.float64),
                potential=potential[kinds == kind],
                position=position[kinds == kind],
                n_subjects=1,
                unit=sensors.unit(file, "erp", kind),
                kind=kind,
            )
            for kind in dict.fromkeys(kinds.tolist())
        }


def _grand_mean(of_subjects: list[dict[str, Erp]], kind: str) -> Erp:
    """Mean over subjects with training trials on the channels of a type that all have."""
    import numpy as np

    subjects = [one[kind] for one in of_subjects if np.isfinite(one[kind].potential).all()]
    common = reduce(lambda known, one: [name for name in known if name in one.channels], subjects, subjects[0].channels)
    rows = [[one.channels.index(name) for name in common] for one in subjects]
    positions = np.stack([one.position[row] for one, row in zip(subjects, rows, strict=True)])
    known = np.asarray(np.isfinite(positions).all(axis=(0, 2)))
    potential = np.mean([one.potential[row] for one, row in zip(subjects, rows, strict=True)], axis=0)
    position = np.where(known[:, None], positions.mean(axis=0), np.nan)
    first = subjects[0]
    return Erp(first.title, common, first.times, potential, position, len(subjects), first.unit, kind)
