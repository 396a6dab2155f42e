"""Amount of work of each stage of a configuration: jobs, trials, pictures, work of towers, arrays, files.

All of it is computed from settings, manifests and descriptions of towers, and if only the data have it, from the events
of one subject. No job is planned for this, so it takes seconds for any number of subjects. :mod:`brain2clip.plan.costs`
has the cost of each unit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from brain2clip.plan import sizes
from brain2clip.plan.runs import EVERYONE
from brain2clip.readers import bids_files
from brain2clip.reporting import figure_base
from brain2clip.settings import Tower
from brain2clip.settings.study_base import Extent
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from brain2clip.plan.jobs import Plan
    from brain2clip.plan.runs import Run
    from brain2clip.readers.contract import Recording
    from brain2clip.settings import MethodBase

#: Channels of named sets.
NAMED = {"occipital-parietal-17": 17, "nice-63": 63}
#: Assumed number of channels of a named region; the true number is known from the data only.
REGION = 12
#: Assumptions for recordings without information.
UNKNOWN = Extent((4000, 800), (1000, 100), 1000.0, 64)
#: Work of a tower without a description: that of ViT-B-32.
COMMON = 8.7
#: A photograph of 425 x 425 as PNG, GB.
PNG_GB = 3.5e-4
#: Sessions of a study of which only the data tell how many it has.
SESSIONS = 10
#: Folds of the stage ``calibrate``; the method is trained without each fold.
FOLDS = 5
#: Singular value decomposition of directions [n, d], and the error of leaving one out by penalties, FLOP / (n d^2).
REGRESSION = 50.0
#: Share of a generator's latents that a weight sees on average: most weights are where there are few.
LEVELS = 0.1
#: Eigendecomposition of a symmetric matrix [n, n], FLOP / n^3.
EIGEN = 10.0


@dataclass(frozen=True)
class Work:
    """Equal jobs of a stage.

    Attributes
    ----------
    stage : str
    jobs : int
    of : mapping
        Number of units of work of one job, by unit (``workflow/costs.csv``).
    memory : mapping
        Units to how many of them it holds: ``GB`` of arrays, ``tokens`` of pictures and ``weights`` of a tower (GB),
        ``gflop`` of a batch, ``prompted``: 1 where a tower takes part in training.
    disk : float
        Files that one job leaves, GB.
    known : bool
        Whether all of this is known from settings or data, or some of it was guessed.
    on_gpu : bool
        Whether they ask for a GPU.
    method : str
        Method of the jobs; empty: several methods use them.
    """

    stage: str
    jobs: int
    of: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)
    disk: float = 0.0
    known: bool = True
    on_gpu: bool = False
    method: str = ""


class Amounts:
    """Counts the work of a plan.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        for name in ("extent", "used", "numbers", "tower"):
            setattr(self, name, cache(getattr(self, name)))

    def works(self) -> Iterator[Work]:
        """All jobs that the configuration asks for, in the order of the pipeline; equal ones together."""
        for part in (
            self._raw,
            self._responses,
            self._stimuli,
            self._models,
            self._pictures,
            self._judged,
            self._reports,
        ):
            yield from (work for work in part() if work.jobs)

    # ------------------------------------------------------------------------------------------ studies

    def extent(self, study: str) -> tuple[Extent, bool]:
        """What was recorded, and whether that is known; of data on disk by the labels of the first subject."""
        block = self.plan.block(study)
        if block.extent is not None:
            return block.extent, True
        try:
            return self._looked_at(study)
        except (InputError, OSError, ValueError, KeyError, IndexError):
            return UNKNOWN, False  # whoever reads the files says what is wrong with them

    def used(self, study: str) -> tuple[Extent, bool]:
        """The same of what is learned and ranked: of a debug version the first concepts of either side."""
        (extent, known), few = self.extent(study), self.plan.block(study).first_concepts
        if few is None:
            return extent, known
        training, test = (min(1.0, few / max(1, number)) for number in extent.concepts or extent.pictures)
        (trials, asked), (pictures, shown) = extent.trials, extent.pictures
        kept = (round(trials * training), round(asked * test)), (round(pictures * training), round(shown * test))
        return replace(extent, trials=kept[0], pictures=kept[1]), known

    def learned(self, model: Run) -> tuple[Extent, bool]:
        """The same of what a model learns from each of its subjects: of first sessions, where that is asked for."""
        (extent, known), count = self.used(model.study), self.plan.first_sessions(model, model.subject)
        if count is None:
            return extent, known
        there = self.plan.block(model.study).recorded_sessions
        share = min(1.0, count / (there or SESSIONS))
        (trials, asked), (pictures, shown) = extent.trials, extent.pictures
        kept = max(1, round(trials * share))
        # Pictures of one session are rarely those of another.
        part = replace(extent, trials=(kept, asked), pictures=(min(pictures, kept), shown))
        return part, known and there is not None

    def _looked_at(self, study: str) -> tuple[Extent, bool]:
        own, rate, inputs, known = self.plan.study(study), 0.0, 500, True
        subject = own.subjects()[0]
        if self.plan.is_voxels(study):
            table = own.rows(subject)
            table = table[table["stimulus"] != ""]
        else:
            import pandas as pd

            recordings = own.recordings(subject)
            shown = own.shown(subject) if hasattr(own, "shown") else map(own.trials, recordings)
            table = pd.concat(list(shown))
            rate, inputs, known = _described(recordings[0])
        sides = [table[table["split"] == side] for side in ("train", "test")]
        trials, pictures, concepts = zip(
            *((len(side), side["stimulus"].nunique(), side["concept"].nunique()) for side in sides), strict=True
        )
        return Extent(trials, pictures, rate, inputs, concepts), known

    def numbers(self, study: str, signal: str) -> tuple[int, int, bool]:
        """Channels (or voxels) and times of a response, and whether they are known."""
        extent, known = self.extent(study)
        block: Any = self.plan.block(study)
        if self.plan.is_voxels(study):
            regions = self.plan.config.rois[signal].include
            share = min(1.0, len(regions) / 7) if block.simulated and "VC" not in regions else 1.0
            return max(1, round(extent.inputs * share)), 1, bool(block.simulated)
        given, (start, end) = block.responses, block.responses.crop or (block.responses.tmin, block.responses.tmax)
        named = given.channels
        channels = NAMED.get(named, extent.inputs) if isinstance(named, str) else len(named)
        return channels, max(1, round((end - start) * given.sfreq)), known

    def taken(self, model: Run) -> tuple[int, int, bool]:
        """The same of the part that a method takes of them (``inputs``)."""
        channels, times, known = self.numbers(model.study, model.signal)
        inputs, block = getattr(self.plan.method(model.method), "inputs", None), self.plan.block(model.study)
        if inputs is None or self.plan.is_voxels(model.study):
            return channels, times, known
        if inputs.channels is not None:
            sizes_of = (NAMED.get(name, REGION if name.islower() else 1) for name in inputs.channels)
            channels = min(channels, sum(sizes_of))
        if inputs.window is not None:
            start, end = inputs.window
            times = min(times, max(1, round((end - start) * block.responses.sfreq)))  # type: ignore[attr-defined]
        return channels, times, known

    def response_gb(self, study: str, signal: str, side: int | None = None, averaged: bool = False) -> float:
        """Responses of a subject (of one side of the split) as they are held, single precision, GB."""
        extent, _ = self.extent(study)
        counts = extent.pictures if averaged else extent.trials
        channels, times, _ = self.numbers(study, signal)
        return (sum(counts) if side is None else counts[side]) * channels * times * 4 / 1e9

    def n_stimuli(self, study: str) -> int:
        """Stimuli of a study."""
        return self.plan.block(study).n_stimuli or sum(self.used(study)[0].pictures)

    def tower(self, name: str) -> tuple[float, float, bool]:
        """Work of a picture (GFLOP), weights (GB), and whether they are known."""
        block = self.plan.config.towers[name]
        found, held = sizes.gflop(block), sizes.weights_gb(block)
        return (COMMON, 0.6, False) if found is None or held is None else (found, held, True)

    # ------------------------------------------------------------------------------------------- stages

    def _raw(self) -> Iterator[Work]:
        plan = self.plan
        used = plan.studies_used
        for units in plan.downloads(*used).values():
            gb = sum(file.size or 0 for files in units.values() for file in files) / 1e9
            yield Work("download", len(units), {"GB": gb / max(1, len(units))}, disk=gb / max(1, len(units)))
        for study in plan.bringing_pictures().values():
            if study in used:
                gb = 0.05e-3 * sum(self.extent(study)[0].pictures)
                yield Work("images", 1, {"GB": gb}, disk=gb, known=False)
        for study in plan.bricked():
            if study in used:
                yield Work("bricks", 1, {"picture": self.n_stimuli(study)}, disk=PNG_GB * self.n_stimuli(study))
        for study in (name for name in used if plan.block(name).simulated):
            extent, _ = self.extent(study)
            pictures, trials, subjects = sum(extent.pictures), sum(extent.trials), len(plan.subjects(study))
            yield Work("simulate_pictures", 1, {"picture": pictures}, disk=8e-6 * pictures)
            if plan.is_voxels(study):
                gb = trials * extent.inputs * 4 / 1e9
                yield Work("simulate_voxels", subjects, {"trial": trials}, disk=gb)
            else:
                gb = trials * getattr(plan.block(study), "soa", 0.2) * extent.rate * extent.inputs * 4 / 1e9
                yield Work("simulate_recordings", subjects, {"trial": trials}, {"GB": gb}, gb / 4)
                yield Work("simulate_dataset", 1)

    def _responses(self) -> Iterator[Work]:
        plan = self.plan
        runs = [run for run in plan.runs() if plan.method(run.method).ranked_by != "imported"]
        runs += [one.run for one in plan.applied()]
        read = {(run.study, run.signal, run.subject) for run in runs}
        for (study, signal), count in Counter(
            (study, signal) for study, signal, _ in {*read, *(one[1:] for one in plan.exported())}
        ).items():
            extent, known = self.extent(study)
            channels, _, said = self.numbers(study, signal)
            trials, stage, block = sum(extent.trials), plan.responses_stage(study), plan.block(study)
            whole = self.response_gb(study, signal)
            given: Any = block.voxels if plan.is_voxels(study) else block.responses  # type: ignore[attr-defined]
            disk = whole * sizes.BYTES[given.dtype] / 4
            if plan.is_voxels(study):
                yield Work(stage, count, {"number": trials * channels}, {"GB": whole}, disk, known and said)
            else:
                samples = trials * channels * (given.tmax - given.tmin) * extent.rate
                held = {"GB": whole / 4}  # a session at a time
                yield Work(stage, count, {"sample": samples}, held, disk, known and said)
        for (study, signal, sessions), count in Counter(
            (study, signal, sessions) for study, signal, _, sessions in plan.first_sessions_read()
        ).items():
            share = min(1.0, sessions / (plan.block(study).recorded_sessions or SESSIONS))
            gb = share * self.response_gb(study, signal, 0) + self.response_gb(study, signal, 1)
            yield Work("sessions", count, {"GB": gb}, disk=gb, known=self.extent(study)[1])
        for (study, signal), count in Counter((one[1], one[2]) for one in plan.exported()).items():
            gb = self.response_gb(study, signal)
            yield Work("export", count, {"GB": gb}, {"GB": gb}, gb)

    def _stimuli(self) -> Iterator[Work]:
        plan = self.plan
        yield Work("catalogue", len(plan.studies_ranked))
        for study, tower in plan.towers_run():
            flop, weights, known = self.tower(tower)
            block, count = plan.config.towers[tower], self.n_stimuli(study)
            with_pictures = plan.block(study).has is None or "pictures" in (plan.block(study).has or ())
            shown = 0 if plan.ready(study, tower) or not with_pictures else count
            of = {"picture": float(shown), "gflop": flop * shown}
            disk = sizes.cached_gb(block, shown) + count * 4e-6
            yield Work("features", 1, of, {"weights": weights}, disk, known and self.extent(study)[1], on_gpu=True)
            for vector in plan.vectors_of(study, tower).values():
                width = sizes.width(block, vector)
                made = 0 if vector.ready is not None else count
                of = {"picture": float(made), "gflop": flop * made}
                disk = count * (width or 768) * sizes.BYTES[block.dtype] / 1e9
                yield Work("vectors", 1, of, {"weights": weights}, disk, known and width is not None, on_gpu=True)

    def _models(self) -> Iterator[Work]:
        plan, runs = self.plan, self.plan.runs()
        models = plan.models(runs)
        for model, count in _equal([*plan.starts(models), *models], plan).items():
            yield replace(self._train(model, count), method=model.method)
        wanted = [run for run in sorted(plan.points_wanted) if plan.method(run.method).points == "calibrated"]
        for model, count in _equal(plan.models(wanted), plan).items():
            yield replace(self._calibrate(model, count), method=model.method)
        for run, count in _equal(runs, plan).items():
            method = plan.method(run.method)
            work = replace(self._rank(method.ranked_by, run, count), method=run.method)
            yield work
            if method.prompted and run.method == plan.shown_method(run.study):  # what figures show
                seen = sum(one[:4] == run[:4] for one in figure_base.shown_runs(plan, run.study))
                of = {unit: amount for unit, amount in work.of.items() if unit != "trial"}
                held = {"weights": work.memory["weights"]}
                yield Work("inspect", seen, of, held, 1e-5, work.known, method=run.method)
        for name in plan.config.apply:
            own = [one.run for one in plan.applied() if one.name == name]
            for run, count in _equal(own, plan).items():
                yield replace(self._rank("apply", run, count), method=run.method)
        mapped = {run for study in plan.studies_run for run in plan.mapped_runs(study)[:1]}
        yield Work("embed", len(mapped | plan.points_wanted), disk=1e-3)
        for study in filter(plan.has_timecourse, plan.studies_run):
            signal = plan.main_experiment(study).signals[0]
            _, times, said = self.numbers(study, signal)
            block: Any = plan.block(study)
            size = max(1, round(plan.config.figures.window * block.responses.sfreq))
            windows = max(1, (times - size) // max(1, size // 2) + 1)
            training, known = self.used(study)[0].pictures[0], self.used(study)[1]
            of = {"number": float(windows * training * self._joint(plan.shown_tower(study)))}
            held = {"GB": training * self._joint(plan.shown_tower(study)) * 4 * 8 / 1e9}
            yield Work("timecourse", len(plan.subjects(study)), of, held, 1e-4 * windows, known and said)

    def _rank(self, stage: str, run: Run, count: int) -> Work:
        """Ranks of the test trials of some subjects, by their models or by an ideal observer."""
        method, asked = self.plan.method(run.method), self.plan.config.retrieval
        extent, known = self.used(run.study)
        queries = extent.trials[1]
        rows = queries * len(asked.tasks) * sum(0.01 if one == "all" else 1 / one for one in asked.repetitions)
        if not method.trained:
            return Work(stage, count, disk=1e-7 * rows, known=known)
        of, held = {"trial": float(queries)}, {"GB": self.response_gb(run.study, run.signal, 1)}
        if method.prompted:
            flop, weights, said = self.tower(method.tower)
            of |= {"prompted": 1.0, "gflop": flop * extent.pictures[1]}
            held["weights"], known = weights, known and said
        return Work(stage, count, of, held, 1e-7 * rows, known)

    def _train(self, model: Run, count: int) -> Work:
        plan = self.plan
        method: Any = plan.method(model.method)
        stage = "train" if plan.started_from(model) is None else "tune"
        extent, known = self.learned(model)
        channels, times, said = self.taken(model)
        flop, weights, of_tower = self.tower(method.tower)
        sources = len(plan.sources(model))
        per_subject = extent.pictures[0] if method.average_repetitions else extent.trials[0]
        responses, inputs = per_subject * sources, channels * times
        gb = responses * inputs * 4 / 1e9
        disk = min(inputs * 512 * 4 / 1e9 * (sources if method.joint and hasattr(method, "network") else 1), 2.0) + 4e-3
        if not method.by_epoch:
            work = {"solved": _solved(method, responses, inputs, self._joint(method.tower)) / 1e9}
            return Work(stage, count, work, {"GB": 2 * gb}, disk, known and said, method.on_gpu)
        budget, searched = method.optimiser, method.selection
        pictures = min(extent.pictures[0], responses)
        # Where the epoch is searched for, the model trains twice: at most so long.
        held_out = searched.share if searched.rule == "held-out-concepts" else 0.0
        epochs = budget.epochs * ((2.0 if held_out and searched.retrain else 1.0) - held_out)
        seen = float(epochs * responses)
        encoder = getattr(method, "encoder", None)
        numbers = seen * inputs * getattr(encoder, "effort", 1.0)
        of = {
            "step": epochs * max(1.0, (responses if budget.batch_of == "responses" else pictures) / budget.batch_size),
            "response": seen,
            ("convolved" if getattr(encoder, "convolves", False) else "number"): numbers,
        }
        held = {"GB": gb}
        if method.prompted:
            tokens = min(8.0, sizes.cached_gb(plan.config.towers[method.tower], pictures))
            tuned = epochs * (1 - getattr(budget, "frozen_epochs", 0) / budget.epochs)
            of |= {"prompted": tuned * pictures, "gflop": flop * tuned * pictures}
            part = getattr(budget, "micro_batch", None)
            batch = flop * min(part if isinstance(part, int) else budget.batch_size, budget.batch_size, pictures)
            held |= {"tokens": tokens, "weights": weights, "gflop": batch, "prompted": 1.0}
        certain = known and said and (of_tower or not method.prompted)
        return Work(stage, count, of, held, disk, certain, method.on_gpu)

    def _calibrate(self, model: Run, count: int) -> Work:
        """Trainings without each of some folds, and the regressions, in the end and without each."""
        trained, method = self._train(model, count), self.plan.method(model.method)
        pictures, width = self.learned(model)[0].pictures[0], self._joint(method.tower)
        subjects = len(self.plan.sources(model)) if model.subject == EVERYONE else 1
        of = {unit: (FOLDS - 1) * amount for unit, amount in trained.of.items()}
        solved = subjects * (FOLDS + 1) * REGRESSION * pictures * width**2 / 1e9
        of["solved"] = of.get("solved", 0.0) + solved
        return replace(trained, stage="calibrate", of=of, disk=8 * subjects * width**2 / 1e9)

    def _joint(self, tower: str) -> int:
        """Size of a tower's joint space."""
        from brain2clip.stimuli import weights

        config = weights.architecture(self.plan.config.towers[tower].model)
        return int((config or {}).get("embed_dim", 512))

    def _pictures(self) -> Iterator[Work]:
        plan, generated = self.plan, self.plan.generated()
        towers = {plan.config.generators[name].tower for _, name in generated}
        for flop, weights, known in map(self.tower, sorted(towers)):
            yield Work("negative", 1, {"gflop": flop}, {"weights": weights}, known=known)
        for study, name in sorted({(run.study, name) for run, name in generated}):
            yield self._drawn("oracle", study, name, 1)
        of_runs = {name: [run for run, one in generated if one == name] for _, name in generated}
        for name, runs in of_runs.items():
            for run, count in _equal(runs, plan).items():
                yield replace(self._drawn("generate", run.study, name, count), method=run.method)

    def _drawn(self, stage: str, study: str, name: str, count: int) -> Work:
        """Pictures of the test stimuli of some subjects, or of their own embeddings."""
        block = self.plan.config.generators[name]
        (extent, known), (weights, said) = self.used(study), sizes.generator_gb(block)
        pictures = float(extent.pictures[1] * block.samples)
        steps = block.steps if block.start is None else int(block.steps * block.start.strength)
        passes = pictures * steps * (2 if block.guidance > 1 else 1)
        # Each of a billion weights (two bytes) counts once for each of the latents that its level has.
        flop = 2 * weights / 2 * (block.size / 8) ** 2 * LEVELS
        of = {"picture": pictures, "pass": passes, "gflop": flop * passes}
        disk = pictures * block.size**2 * 3 / 1e9
        return Work(stage, count, of, {"weights": weights}, disk, known and said, on_gpu=True)

    def _judged(self) -> Iterator[Work]:
        """Comparisons of generated pictures: by pixels in pairs, by networks picture by picture."""
        for (study, name), count in Counter((run.study, name) for run, name in self.plan.generated()).items():
            shown, samples = self.used(study)[0].pictures[1], self.plan.config.generators[name].samples
            towers = [one.clip and Tower(model=one.clip[0]) for one in self.plan.config.judges.values()]
            work = [tower and sizes.gflop(tower) for tower in towers]
            looks = float(shown * (2 * samples + 2))  # the seen pictures and the nearest once each
            of = {"pair": float(shown * (3 * samples + 1)), "look": looks * len(work)}
            of["gflop"] = looks * sum(one or COMMON for one in work)
            disk = 2e-8 * of["pair"] * (2 + 3 * len(work))
            yield Work("judge", count, of, disk=disk, known=self.used(study)[1] and all(work), on_gpu=bool(work))

    def _reports(self) -> Iterator[Work]:
        plan = self.plan
        retrieval, blocks = plan.config.retrieval, plan.blocks
        cells = len(retrieval.tasks) * len(retrieval.repetitions) * len(retrieval.metrics) * retrieval.bootstrap / 2000
        for runs, count in Counter(len(runs) for runs in blocks.values()).items():
            yield Work("summaries", count, {"number": float(runs * cells)}, disk=1e-4)
        of = {"table": float(len(plan.config.tables)), "run": float(len(plan.runs()))}
        yield Work("tables", 1, of, disk=1e-3)
        yield Work("figures", len(plan.figures()), disk=2e-4)
        yield Work("page", 1, {"run": float(len(plan.runs()))}, disk=1e-2)


def _described(recording: Recording) -> tuple[float, int, bool]:
    """Rate (Hz) and channels of a recording by its sidecars, without opening it, and whether they tell both."""
    metadata = bids_files.read_metadata(bids_files.metadata_files(recording))
    rate, count = metadata.get("SamplingFrequency"), metadata.get("MEGChannelCount")
    if recording.datatype == "meg":  # whose table often tells no sensor
        channels = count if isinstance(count, int) else 0
    else:
        _, table = bids_files.channel_table(recording) or (None, {})
        channels = sum(kind.upper() == "EEG" for kind in table.get("type", []))
    if not channels or not isinstance(rate, int | float) or rate <= 0:
        return UNKNOWN.rate, channels or UNKNOWN.inputs, False
    return float(rate), channels, True


def _equal(runs: list[Run], plan: Plan) -> dict[Run, int]:
    """The first run of those that differ in subject and seed only, with their number."""
    first: dict[Any, Run] = {}
    counts: Counter[Any] = Counter()
    for run in runs:
        key = run[:4]
        first.setdefault(key, run)
        counts[key] += 1
    return {run: counts[key] for key, run in first.items()}


def _solved(method: MethodBase, n: int, p: int, d: int) -> float:
    """FLOP of a regression that is solved at once, with a choice of the penalty in folds."""
    folds, alphas = getattr(method, "folds", 1), len(getattr(method, "alphas", (1,)))
    size = min(n, p)
    gram = 2.0 * n * p * size * (1 if n >= p else folds + 1)
    found = (folds + 1) * EIGEN * size**3 + 2.0 * alphas * n * (size if n < p else p) * d
    return gram + found + 2.0 * alphas * folds * (n / folds) ** 2 * d
