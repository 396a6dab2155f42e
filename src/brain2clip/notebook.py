"""Results of a run for notebooks: responses, features, rows and summaries as tables, and trained models.

The readers are those of the pipeline's stages, and a model ranks with the code of the stage ``rank``. Nothing is
written. Libraries are imported where they are needed.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import artefact, settings
from brain2clip.names import SPLITS, suggestion
from brain2clip.plan import Plan, Run
from brain2clip.plan.spec import Spec
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import mne
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from brain2clip.training import data
    from brain2clip.training.predict import Predictor

ROOT = Path(__file__).resolve().parents[2]
#: Columns that describe a trial, in metadata of epochs and in the index of voxel responses.
TRIAL = ("stimulus", "split", "session", "run")


class Results:
    """Results of a configuration after its run.

    Parameters
    ----------
    config : path or mapping
        A complete configuration, as for ``brain2clip run``.
    folder : path, optional
        Folder of relative paths: the one where snakemake was started. Default: the repository.
    strict : bool
        Whether an artefact must be what this configuration and this code would make. False: existing files are opened
        in any case, unless they are damaged.

    Raises
    ------
    brain2clip.settings.SettingsError
        Where the configuration is not valid.
    """

    def __init__(self, config: str | Path | Mapping[str, Any], folder: str | Path = ROOT, strict: bool = True) -> None:
        raw = dict(config) if isinstance(config, Mapping) else settings.read(config)
        source = "the configuration" if isinstance(config, Mapping) else str(config)
        self.folder, self.strict = Path(folder).resolve(), strict
        if str(self.folder) not in sys.path:  # kinds from outside are found where snakemake was started
            sys.path.append(str(self.folder))
        with self._there():
            self.plan = Plan(settings.load(raw, source))

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        """Work in the folder that relative paths of the configuration refer to."""
        with contextlib.chdir(self.folder):
            yield

    def _expected(self, spec: Spec) -> dict[str, Any] | None:
        return spec.expected if self.strict else None

    # -------------------------------------------------------------------------------------------- tables

    def runs(self, **which: Any) -> pd.DataFrame:
        """All runs of all experiments, one row each.

        Parameters
        ----------
        **which
            Values of columns (study, signal, protocol, method, subject, seed), or lists of them, to choose rows by.
        """
        import pandas as pd

        with self._there():
            return _chosen(pd.DataFrame(self.plan.runs(), columns=Run._fields), which)

    def rows(self, **which: Any) -> pd.DataFrame:
        """Retrieval rows, one per query, of the runs that ``which`` chooses (see :meth:`runs`).

        docs/architecture.md lists the columns.
        """
        import pandas as pd

        tables = []
        with self._there():
            for run in self._runs(which):
                tables.append(artefact.read_table(self.plan.rows(run), self._expected(self.plan.retrieval_spec(run))))
        return pd.concat(tables, ignore_index=True)

    def applied(self, name: str, **which: Any) -> pd.DataFrame:
        """Retrieval rows of an entry of ``apply``; ``seen`` says whether the model was trained on the concept."""
        import pandas as pd

        with self._there():
            _known(name, self.plan.config.apply, "entry of apply")
            tables = [
                artefact.read_table(self.plan.applied_rows(one), self._expected(self.plan.apply_spec(one)))
                for one in self.plan.applied()
                if one.name == name
            ]
        return _chosen(pd.concat(tables, ignore_index=True), which)

    def summary(self, **which: Any) -> pd.DataFrame:
        """Metrics with intervals and chance, one row for each run and metric; ``concepts`` says seen or unseen."""
        import pandas as pd

        with self._there():
            tables = [
                artefact.read_table(self.plan.summary(block), self._expected(self.plan.summaries_spec(block)))
                for block in dict.fromkeys(run.block for run in self._runs(which))
            ]
        return _chosen(pd.concat(tables, ignore_index=True), which)

    def stimuli(self, study: str) -> pd.DataFrame:
        """Table of the stimuli of a study, by stimulus id: split, concept, image, captions, prompts."""
        with self._there():
            _known(study, self.plan.config.studies, "study")
            path, spec = self.plan.catalogue(study), self.plan.catalogue_spec(study)
            return artefact.read_table(path, self._expected(spec)).set_index("stimulus_id")

    def features(self, study: str, tower: str) -> pd.DataFrame:
        """Embeddings [n_stimuli, d] of the stimuli of a study in a tower's joint space, by stimulus id."""
        import pandas as pd

        with self._there():
            _known(study, self.plan.config.studies, "study")
            _known(tower, self.plan.config.towers, "tower")
            expected = self._expected(self.plan.features_spec(study, tower))
            with artefact.open_h5(self.plan.features(study, tower), expected) as file:
                ids = pd.Index(file["stimulus_id"].asstr()[:], name="stimulus_id")
                return pd.DataFrame(file["embedding"][:], index=ids)

    # ----------------------------------------------------------------------------------------- responses

    def responses(
        self, study: str, signal: str, subject: str, split: str | None = None
    ) -> mne.EpochsArray | pd.DataFrame:
        """Single-trial responses of a subject, as models get them.

        Parameters
        ----------
        study, signal, subject : str
            The signal is a band of EEG or a region of fMRI.
        split : str, optional
            ``train`` or ``test``. Default: both.

        Returns
        -------
        mne.EpochsArray or pandas.DataFrame
            EEG: channels over time, whitened as in the settings of the study (then the unit is standard deviations,
            even if MNE shows volts), with a description of each trial in ``metadata``. fMRI: trials by voxels, with the
            names of the voxels as columns and a description of each trial as index.
        """
        with self._there():
            _known(study, self.plan.config.studies, "study")
            _known(subject, self.plan.subjects(study), "subject")
            _known(signal, self.plan.config.rois if self.plan.is_voxels(study) else self.plan.config.bands, "signal")
            expected = self._expected(self.plan.responses_spec(study, signal, subject))
            with artefact.open_h5(self.plan.responses(study, signal, subject), expected) as file:
                return _voxels(file, split) if "voxel" in file else _epochs(file, split)

    # -------------------------------------------------------------------------------------------- models

    def model(self, **which: Any) -> Model:
        """The trained model of a run.

        Parameters
        ----------
        **which
            Values that choose one run of :meth:`runs`; values that all runs have in common can be left out.

        Raises
        ------
        InputError
            If no run or several runs match, or the method of the run is not trained.
        """
        with self._there():
            found = self._runs(which)
            if len(found) > 1:
                differ = [name for name in Run._fields if len({getattr(run, name) for run in found}) > 1]
                listed = "; ".join(
                    f"{name}: {', '.join(sorted({str(getattr(run, name)) for run in found}))}" for name in differ
                )
                raise InputError(f"found {len(found)} runs, expected one; give more details ({listed})")
            (run,) = found
            if not self.plan.method(run.method).trained:
                raise InputError(f"methods.{run.method} is not trained here; choose another method")
            return Model(self.plan, run, self.folder, self.strict)

    def _runs(self, which: Mapping[str, Any]) -> list[Run]:
        """Runs that match a choice, at least one."""
        import pandas as pd

        every = self.plan.runs()
        found = _chosen(pd.DataFrame(every, columns=Run._fields), which)
        if found.empty:
            raise InputError(f"no run has {_words(which)}; runs() lists the runs of the configuration")
        return [every[number] for number in found.index]


class Model:
    """A trained model; :meth:`Results.model` opens one.

    Parameters
    ----------
    plan : Plan
    run : Run
        Run of the model; for a joint model ``run.subject`` chooses the input layer.
    folder : path
        Where relative paths start.
    strict : bool
        See :class:`Results`.

    Attributes
    ----------
    run : Run
    """

    def __init__(self, plan: Plan, run: Run, folder: Path, strict: bool = True) -> None:
        from brain2clip.training.data import open_stimuli

        self.run, self._plan = run, plan
        spec = plan.rank_spec(run)
        self._method, self._tower = spec.settings["method"], spec.settings["tower"]
        expects = spec.expects if strict else {}
        self._path = folder / plan.features_of(run)
        vectors = [folder / path for path in plan.vector_files(run)]
        self._tensors = artefact.read_tensors(folder / plan.checkpoint(run), expects.get("train"))
        must = expects.get("vectors", [None] * len(vectors))
        stack = contextlib.ExitStack()
        self._stimuli = stack.enter_context(
            open_stimuli(self._path, expects.get("features"), list(zip(vectors, must, strict=True)))
        )
        weakref.finalize(self, stack.close)
        self._ready: tuple[tuple[int, ...], tuple[int, ...], Predictor] | None = None

    @property
    def candidates(self) -> list[str]:
        """Stimuli of the test: the default candidates."""
        ids = self._stimuli["stimulus_id"].asstr()[:]
        return [str(ids[row]) for row in self._rows(None)]

    def embed(self, epochs: mne.BaseEpochs | pd.DataFrame, normalised: bool | None = None) -> NDArray[np.float32]:
        """Embeddings [n, shared] of single responses, of unit length.

        Parameters
        ----------
        epochs : mne.BaseEpochs or pandas.DataFrame
            Responses on the channels (in any order) and times that the model was trained on, or voxels by name:
            from :meth:`Results.responses`, or made in the same way.
        normalised : bool, optional
            False: not whitened (V) or z-scored yet; this is then done as for the training of the model. Default: as
            noted in responses from :meth:`Results.responses`, True for other responses.

        Raises
        ------
        InputError
            If channels, voxels, rate or times differ from the training.
        """
        responses = self._taken(epochs, normalised)
        return self._predictor(responses, self._rows(None)).brains(responses.values)

    def similarity(
        self,
        epochs: mne.BaseEpochs | pd.DataFrame,
        candidates: Sequence[str] | None = None,
        normalised: bool | None = None,
    ) -> pd.DataFrame:
        """Cosine similarity [n, n_candidates] of single responses to candidates, by stimulus id.

        The right candidates need not be known.

        Parameters are those of :meth:`rank`.
        """
        import pandas as pd

        responses, rows = self._taken(epochs, normalised), self._rows(candidates)
        predictor = self._predictor(responses, rows)
        ids = self._stimuli["stimulus_id"].asstr()[:][rows]
        return pd.DataFrame(predictor.brains(responses.values) @ predictor.candidates().T, columns=ids)

    def rank(
        self,
        epochs: mne.BaseEpochs | pd.DataFrame,
        candidates: Sequence[str] | None = None,
        normalised: bool | None = None,
        **retrieval: Any,
    ) -> pd.DataFrame:
        """Retrieval rows of responses, as the stage ``rank`` writes them.

        Parameters
        ----------
        epochs : mne.BaseEpochs or pandas.DataFrame
            As for :meth:`embed`; the column ``stimulus`` of their metadata (index) names the stimulus of each response.
        candidates : sequence of str, optional
            Stimulus ids of the study, from either side of the split. Default: the test stimuli.
        normalised : bool, optional
            As for :meth:`embed`.
        **retrieval
            Settings of ``retrieval`` (tasks, repetitions, pools, seed) that replace those of the configuration.

        Raises
        ------
        InputError
            If a candidate is unknown, or the stimulus of a response is not a candidate; and as :meth:`embed`.
        """
        from brain2clip.retrieval import query_table
        from brain2clip.retrieval.rank import queries_of
        from brain2clip.training.data import placed

        responses, rows = self._taken(epochs, normalised), self._rows(candidates)
        if not responses.stimulus_id:
            raise InputError(
                "these responses have no stimuli (a column stimulus of their metadata or a level of their index); "
                "add them, or use similarity(), which needs no truth"
            )
        ids = self._stimuli["stimulus_id"].asstr()[:][rows].tolist()
        for name in responses.stimulus_id:
            _known(name, ids, "candidate for the stimulus of a response")
        given = {**self._plan.config.retrieval.ranking(), **retrieval}
        asked = settings.parse(settings.Retrieval, given)
        test = placed(responses, self._stimuli, self._path)
        queries = queries_of(self._predictor(test, rows), test, asked)
        for one in queries:
            query_table.check(one, self.run.columns)
        return query_table.table(queries, self.run.columns, asked.ranking()["pools"])

    # -------------------------------------------------------------------------------------------- inside

    def _rows(self, candidates: Sequence[str] | None) -> NDArray[np.int64]:
        """Rows of candidates among the stimuli."""
        import numpy as np

        from brain2clip.retrieval import tasks

        if candidates is None:
            return tasks.candidate_rows(self._stimuli["split"].asstr()[:])
        place = {name: row for row, name in enumerate(self._stimuli["stimulus_id"].asstr()[:].tolist())}
        for name in candidates:
            _known(name, place, "stimulus")
        if len(set(candidates)) < len(candidates) or not len(candidates):
            raise InputError(
                f"candidates: expected stimulus ids, each once; found {len(candidates)}, some of them twice"
            )
        return np.array([place[name] for name in candidates])

    def _taken(self, epochs: mne.BaseEpochs | pd.DataFrame, normalised: bool | None) -> data.Responses:
        """Responses for the model, normalised as in its training."""
        from brain2clip.training.inputs import CHANNELS, SUBJECTS, chosen_for, names_from_tensor
        from brain2clip.training.inputs import normalised as as_trained

        ending = f".{self.run.subject}" if SUBJECTS in self._tensors else ""
        wanted = names_from_tensor(self._tensors[f"{CHANNELS}{ending}"])
        study = self._plan.block(self.run.study)
        clamp = study.responses.whitening.clamp if isinstance(study, settings.EegStudyBase) else None
        responses = chosen_for(self._method, _responses(epochs, wanted, normalised, clamp))
        return as_trained(self._tensors, responses, self.run.subject)

    def _predictor(self, responses: data.Responses, rows: NDArray[np.int64]) -> Predictor:
        """The model ready for these candidates; the last one is kept, as a prompted tower takes long to load."""
        from brain2clip.training.inputs import check_inputs
        from brain2clip.training.predict import Predictor

        key = tuple(rows.tolist()), responses.values.shape[1:]
        check_inputs(self._tensors, responses, self.run.subject)
        if self._ready is None or self._ready[:2] != key:
            given = self._method, self._tower, self._tensors, responses, self._stimuli, rows, self.run.subject
            self._ready = (*key, Predictor(*given))
        return self._ready[2]


# ------------------------------------------------------------------------------------------------- inside


def _chosen(table: pd.DataFrame, which: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of a table with some values."""
    for name, wanted in which.items():
        _known(name, table.columns, "column")
        values = wanted if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
        table = table[table[name].isin(values)]
    return table


def _words(which: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in which.items())


def _known(name: str, names: Any, what: str) -> None:
    """Refuse an unknown name."""
    if name not in names:
        listed = list(map(str, names))
        shown = ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if listed[8:] else "")
        raise InputError(f"no {what} named {name!r}{suggestion(str(name), listed)}; expected one of {shown}")


def _trials(file: h5py.File, split: str | None) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Rows of a responses artefact on a side of the split, and what they are."""
    import numpy as np
    import pandas as pd

    if split is not None:
        _known(split, SPLITS, "split")
    side = np.array(SPLITS)[file["split"][:]]
    rows = np.flatnonzero(np.isin(side, SPLITS if split is None else [split]))
    table = pd.DataFrame(
        {
            "stimulus": file["stimulus_id"].asstr()[:][file["stimulus"][:]],
            "split": side,
            "session": file["session"].asstr()[:],
            "run": file["run"].asstr()[:],
        }
    )
    if "onset" in file:
        table["onset"] = file["onset"][:]
    if not file.attrs.get("normalised", True):
        table["normalised"] = False
    return rows, table.iloc[rows].reset_index(drop=True)


def _epochs(file: h5py.File, split: str | None) -> mne.EpochsArray:
    """Trials of EEG or MEG; electrodes and sensors whose place is known have it."""
    import mne
    import numpy as np

    rows, table = _trials(file, split)
    kinds = [str(kind) for kind in file["channel_type"].asstr()[:]]
    info = mne.create_info([str(name) for name in file["channel"].asstr()[:]], float(file.attrs["sfreq"]), kinds)
    info["description"] = f"unit: {file.attrs['unit']}"
    known = {
        name: place for name, place in zip(info.ch_names, file["position"][:], strict=True) if np.isfinite(place).all()
    }
    numbers = {name: number for number, name in enumerate(sorted(set(table["stimulus"])), 1)}
    events = np.zeros((len(rows), 3), int)
    events[:, 0], events[:, 2] = np.arange(len(rows)), [numbers[name] for name in table["stimulus"]]
    made = mne.EpochsArray(
        file["response"][:][rows].astype(float), info, events, float(file["times"][0]), numbers,
        baseline=None, proj=False, metadata=table, verbose="error",
    )  # fmt: skip
    if set(kinds) != {"eeg"}:
        for one, place in zip(made.info["chs"], file["position"][:], strict=True):
            one["loc"][:3] = place
    elif known:
        made.set_montage(mne.channels.make_dig_montage(known, coord_frame="head"), on_missing="ignore", verbose="error")
    return made


def _voxels(file: h5py.File, split: str | None) -> pd.DataFrame:
    """Trials by voxels."""
    import pandas as pd

    rows, table = _trials(file, split)
    voxels = pd.Index(file["voxel"].asstr()[:], name="voxel")
    return pd.DataFrame(file["response"][:][rows], index=pd.MultiIndex.from_frame(table), columns=voxels)


def _responses(epochs: Any, wanted: list[str], normalised: bool | None, clamp: float | None) -> data.Responses:
    """Responses as stages have them: channels in the order of the model, where all are there.

    Parameters
    ----------
    epochs : mne.BaseEpochs or pandas.DataFrame
    wanted : list of str
        Channels or voxels of the model.
    normalised : bool or None
        None: what the trials say.
    clamp : float or None
        Of the whitening, for those that are not normalised.
    """
    import numpy as np
    import pandas as pd

    from brain2clip.training.data import Responses

    if isinstance(epochs, pd.DataFrame):
        names, table = [str(name) for name in epochs.columns], epochs.index.to_frame(index=False)
        times, sfreq, values = np.zeros(0), 0.0, epochs.to_numpy(np.float32)
    else:
        names, table = list(epochs.ch_names), epochs.metadata
        times, sfreq = epochs.times, float(epochs.info["sfreq"])
        values = epochs.get_data(copy=False).astype(np.float32)
    if set(names) == set(wanted):
        values, names = values[:, [names.index(name) for name in wanted]], wanted
    ids: list[str] = []
    stimulus = np.zeros(len(values), np.int64)
    if table is not None and "stimulus" in table:
        distinct, stimulus = np.unique(table["stimulus"].to_numpy(str), return_inverse=True)
        ids = [str(name) for name in distinct]
    if normalised is None:
        normalised = table is None or "normalised" not in table or bool(table["normalised"].all())
    return Responses(
        values=np.ascontiguousarray(values),
        stimulus=stimulus.astype(np.int64),
        subject=np.zeros(len(values), np.int64),
        times=times,
        sfreq=sfreq,
        channel=names,
        stimulus_id=ids,
        is_normalised=normalised,
        clamp=clamp,
    )
