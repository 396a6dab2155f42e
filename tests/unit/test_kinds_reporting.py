"""What every metric, table and figure must keep, those from outside as well."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_figures
import test_tables
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score
from test_figures import inputs  # noqa: F401  a fixture
from test_tables import both_job, make_job  # noqa: F401  fixtures

from brain2clip import artefact, kinds, records, settings, stage
from brain2clip import plan as plans
from brain2clip.names import BOTH, RUN, SOUGHT, TASKS, MetricName
from brain2clip.reporting import accuracy, figure_base, figures, tables, wording
from brain2clip.reporting.table_base import COLUMNS
from brain2clip.reporting.table_kinds import overview
from brain2clip.retrieval import metric_base, similarities, statistics, summaries

OUTSIDE = '''
import numpy as np

from brain2clip import settings
from brain2clip.reporting import figure_base, table_base, typeset
from brain2clip.retrieval import metric_base


class Reciprocal(metric_base.MetricBase):
    """Mean reciprocal rank."""

    def per_query(self, rank, n_candidates):
        return 1 / np.asarray(rank, dtype=float)


class Count(table_base.TableBase):
    """Number of runs of each method."""

    class Settings(settings.TableBase):
        kind: str
        unit: str = "runs"

    def of_part(self, part):
        counts = part.summary.drop_duplicates(["method", "subject", "seed"])["method"].value_counts()
        records = [{"study": part.study, "method": name, "value": counts[name]} for name in part.methods]
        body = [[name, f"{counts[name]} {self.settings.unit}"] for name in part.methods]
        return records, typeset.Sheet(part.title, ["method", "count"], body, "How often.")


class Methods(figure_base.FigureBase):
    """Names of the methods."""

    @staticmethod
    def inputs(plan, study):
        runs = figure_base.main_runs(plan, study)
        return {"rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec)}

    @staticmethod
    def draw(job):
        from brain2clip.reporting import reading, style

        made = style.figure(3, 3)
        style.note(made.add_subplot(), ", ".join(sorted(set(reading.together(job, "rows")["method"]))))
        return made


Nothing = object
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module of the user's own."""
    (tmp_path / "own_lab.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_lab"
    sys.modules.pop("own_lab", None)
    metric_base.load.cache_clear()


def config(**changed: Any) -> settings.Config:
    """The small configuration of the settings' tests, whole blocks replaced."""
    import test_settings

    return settings.load({**test_settings.SMALL, **changed})


# --------------------------------------------------------------------------------------------- metrics


def by_all_draws(rank: int, n_candidates: int, n: int) -> float:
    """n-way accuracy by going through all choices of other candidates."""
    others = [place for place in range(1, n_candidates + 1) if place != rank]
    return float(np.mean([all(rank < other for other in draw) for draw in itertools.combinations(others, n - 1)]))


#: Each kind by an independent way: number, ranks, number of candidates to the metric.
BRUTE_FORCE = {
    "top-k": lambda k, ranks, n: sum(rank in range(1, k + 1) for rank in ranks) / len(ranks),
    "n-way": lambda k, ranks, n: sum(by_all_draws(rank, n, k) for rank in ranks) / len(ranks),
    "mean-rank": lambda k, ranks, n: sum(ranks) / len(ranks),
    "balanced-accuracy": lambda k, ranks, n: ranks.count(1) / len(ranks),
    "median-rank": lambda k, ranks, n: (sorted(ranks)[(len(ranks) - 1) // 2] + sorted(ranks)[len(ranks) // 2]) / 2,
}
NUMBERED = {"top-k": "top-{}", "n-way": "{}-way"}
#: Those of one query's rank; what an AUC is stands with the classes in ``test_classes.py``.
OF_RANKS = [kind for kind in kinds.shipped("metrics") if kind != "auc"]
#: Fewest candidates, where that is not the number.
FEWEST = {"balanced-accuracy": 2}


@pytest.mark.parametrize("kind", OF_RANKS)
@given(data=st.data())
def test_metric_is_what_brute_force_says(kind: str, data: st.DataObject) -> None:
    n_candidates = data.draw(st.integers(FEWEST.get(kind, 1), 7))
    number = data.draw(st.integers(1, n_candidates))
    ranks = data.draw(st.lists(st.integers(1, n_candidates), min_size=1, max_size=6))
    metric = metric_base.load(NUMBERED.get(kind, kind).format(number))
    assert metric.applies(n_candidates)
    assert metric.value(ranks, n_candidates) == pytest.approx(BRUTE_FORCE[kind](number, ranks, n_candidates))
    assert metric.per_query(ranks, n_candidates).shape == (len(ranks),)
    every = np.arange(1, n_candidates + 1)
    assert metric.chance(n_candidates) == pytest.approx(metric.value(every, n_candidates))
    if metric.is_share:
        assert ((metric.per_query(every, n_candidates) >= 0) & (metric.per_query(every, n_candidates) <= 1)).all()


@pytest.mark.parametrize("kind", kinds.shipped("metrics"))
def test_metric_needs_as_many_candidates_as_its_number(kind: str) -> None:
    base = NUMBERED.get(kind, kind).format(5)
    assert metric_base.load(base).applies(4) == (kind not in NUMBERED and kind != "auc")
    assert metric_base.load(base).words.lower().replace(" ", "-") == base
    wrong = kind if kind in NUMBERED else f"{kind}-5"
    with pytest.raises(settings.SettingsError, match=r"retrieval\.metrics\.0"):
        config(retrieval={"metrics": [wrong]})
    with pytest.raises(kinds.KindError):
        metric_base.load(wrong)
    assert config(retrieval={"metrics": ["top-1", "7-way", base]}).retrieval.metrics[-1] == base
    assert kinds.module_of("metrics", kind) in config(retrieval={"metrics": ["top-1", base]}).retrieval.metric_modules()


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (["top-0"], "unknown kind 'top-0' in metrics"),
        (["top-1@4"], "expected a metric alone, as in 'top-1'"),
        (["category:top-1"], "expected a metric alone"),
        (["top-1", "top-5", "top-1"], "found top-1 more than once"),
        ([], "at least one metric"),
        (["no_such_lab:Metric"], "cannot import no_such_lab"),
    ],
)
def test_metrics_that_are_refused(metrics: list[str], words: str) -> None:
    with pytest.raises(settings.SettingsError, match=re.escape(words)):
        config(retrieval={"metrics": metrics})


@pytest.mark.parametrize("k", [1, 3, 5, 10])
def test_top_k_equals_sklearn(k: int) -> None:
    rng = np.random.default_rng(k)
    similarity, target = rng.standard_normal((300, 20)), rng.integers(20, size=300)
    expected = top_k_accuracy_score(target, similarity, k=k, labels=np.arange(20))
    found = metric_base.load(f"top-{k}").value(similarities.ranks(similarity, target), 20)
    assert found == pytest.approx(expected)


def test_n_way_of_all_is_top_1() -> None:
    every = np.arange(1, 201)
    all_of_them, top = metric_base.load("200-way"), metric_base.load("top-1")
    np.testing.assert_allclose(all_of_them.per_query(every, 200), top.per_query(every, 200), atol=1e-12)
    assert metric_base.load("top-10").chance(4) == 1
    with pytest.raises(ValueError, match="5-way"):
        metric_base.load("5-way").per_query([1], 4)


def test_random_similarity_gives_chance() -> None:
    rng = np.random.default_rng(3)
    rank = similarities.ranks(rng.standard_normal((4000, 40)), rng.integers(40, size=4000))
    for name in OF_RANKS:
        metric = metric_base.load(NUMBERED.get(name, name).format(5))
        values = metric.per_query(rank, 40)
        # Of a median the standard error is no smaller than that of the mean of uniform ranks by more than sqrt(3).
        assert metric.over(values) == pytest.approx(metric.chance(40), abs=4 * 1.8 * values.std() / np.sqrt(4000))


# ---------------------------------------------------------------------------------------------- tables


def sample(kind: str) -> dict[str, Any]:
    """Settings of a table of a kind, with a reference where it takes one."""
    given = {"kind": kind, "experiments": ["main"], "reference": "frozen"}
    try:
        settings.parse(settings.Table, given)
    except ValueError:
        del given["reference"]
    return given


@pytest.mark.parametrize("kind", kinds.shipped("tables"))
def test_settings_of_a_table(kind: str) -> None:
    given = sample(kind)
    block = settings.parse(settings.Table, {**given, "metric": "stimulus:top-5"})
    assert (block.kind, block.metric) == (kind, "top-5")
    text = settings.canonical(block)
    assert settings.parse(settings.Table, text) == block
    assert kinds.module_of("tables", kind) in block.modules()
    assert kinds.module_of("metrics", "top-k") in block.modules()
    for wrong in ({"metric": "smell:top-1"}, {"experiments": []}, {"experiment": ["main"]}):
        with pytest.raises(ValueError):
            settings.parse(settings.Table, {**given, **wrong})
    if "reference" in given:
        with pytest.raises(ValueError, match="reference"):
            settings.parse(settings.Table, {key: value for key, value in given.items() if key != "reference"})


#: Numbers of judges that are no shares.
SCORES = (("pixels", "pixcorr"), ("pixels", "ssim"), ("second", "distance"), ("told", "distance"))


@pytest.mark.parametrize("kind", kinds.shipped("tables"))
def test_table_says_the_same_in_all_three_files(kind: str, make_job, tmp_path: Path) -> None:  # noqa: F811
    job = make_job(classes=kind == "classes")
    shown = {"it": {**sample(kind), "experiments": ["demo"]}}
    outputs = {f"it.{ending}": tmp_path / f"it.{ending}" for ending in ("parquet", "md", "tex")}
    outputs["summary"] = tmp_path / "summary.parquet"
    first = {"sessions": {"intra-subject": {"kind": "intra-subject", "sessions": 1}}} if kind == "sessions" else {}
    tables.run(stage.Job("tables", {**job.settings, **first, "tables": shown}, "code", {}, job.inputs, outputs))
    frame = artefact.read_table(outputs["it.parquet"])
    assert frame.columns.tolist() == COLUMNS
    assert len(frame)
    body = test_tables.cells(outputs["it.md"].read_text())
    numbers = Counter(re.findall(r"\d+\.\d", " ".join(" ".join(row) for row in body[2:])))
    pooled = frame[frame["level"].isin(["mean", "difference"])]
    of_pixels = pooled["metric"].isin([f"{judge}:{name}" for judge, name in SCORES])  # no shares: three decimals
    found = {f"{100 * value:.1f}" for value in pooled.loc[~of_pixels, "value"].abs()}
    assert found <= set(numbers)
    shown_scores = set(re.findall(r"\d\.\d{3}", " ".join(" ".join(row) for row in body[2:])))
    assert {f"{value:.3f}" for value in pooled.loc[of_pixels, "value"].abs()} <= shown_scores
    assert of_pixels.any() == (kind == "generation")
    latex = outputs["it.tex"].read_text()
    inside = latex.partition("\\midrule")[2].partition("\\bottomrule")[0]
    assert Counter(re.findall(r"\d+\.\d", inside)) == numbers
    assert len(re.findall(r"\\\\\n", inside)) == len(body) - 2
    for label in (row[0] for row in body[2:] if kind != "overview"):
        assert label.split(" (")[0].replace("_", r"\_").replace("&", r"\&").replace("−", "$-$") in inside


def test_tables_wait_for_histories_only_where_costs_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans.Plan, "tables_spec", lambda self: None)  # fingerprints take their time
    shown = {"methods": {"kind": "methods", "experiments": ["main"]}}
    experiment = {"study": "simulated", "signals": ["broad"], "protocols": ["intra"]}
    experiments = {
        "main": {**experiment, "methods": ["neuroclip", "ceiling"], "seeds": [0, 1]},
        "other": {**experiment, "methods": ["ridge"]},
    }
    small = {"tower": "small"}
    methods = {
        name: {"kind": kind, **small}
        for name, kind in (("neuroclip", "contrastive"), ("ridge", "ridge"), ("ceiling", "ideal-observer"))
    }
    both = {"experiments": experiments, "methods": methods}
    assert plans.Plan(config(**both, tables=shown)).tables_job().inputs["history"] == []
    costs = {"kind": "costs", "experiments": ["main"]}
    plan = plans.Plan(config(**both, tables={**shown, "costs": costs}))
    runs = [f"sub-{subject}_seed-{seed}" for subject in ("01", "02") for seed in (0, 1)]
    folder = f"{plan.results}/training/simulated/broad/intra/neuroclip"
    assert plan.tables_job().inputs["history"] == [f"{folder}/{run}.history.parquet" for run in runs]


def test_generated_pictures_are_judged_anew_and_no_retrieval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another generator, or another judge: what ranks brains and makes points of them stays as it is."""
    generator = {"kind": "kandinsky", "model": "some/decoder", "tower": "small", "steps": 10}
    experiment = {"study": "simulated", "signals": ["broad"], "protocols": ["intra"], "methods": ["ridge"]}
    blocks = {
        "methods": {"ridge": {"kind": "ridge", "tower": "small"}},
        "experiments": {"main": {**experiment, "generators": ["own"]}},
        "tables": {"it": {"kind": "generation", "experiments": ["main"]}},
    }
    judge = {"kind": "open-clip", "model": "ViT-L-14", "pretrained": "openai"}

    def specs(judges: dict[str, Any], **changed: Any) -> dict[str, str]:
        made = plans.Plan(config(**blocks, generators={"own": {**generator, **changed}}, judges=judges))
        run = made.runs()[0]
        return {
            **{"rank": made.retrieval_spec(run).json, "embed": made.embed_spec(run).json},
            **{"generate": made.generate_spec(run, "own").json, "judge": made.judge_spec(run, "own").json},
            **{"oracle": made.oracle_spec("simulated", "own").json, "tables": made.tables_spec().json},
        }

    def differing(first: dict[str, str], second: dict[str, str]) -> set[str]:
        return {name for name in first if first[name] != second[name]}

    before = specs({"clip": judge})
    assert differing(before, specs({"clip": judge}, steps=20)) == {"generate", "oracle", "judge", "tables"}
    assert differing(before, specs({"clip": {**judge, "model": "ViT-B-32"}})) == {"judge", "tables"}
    assert differing(before, specs({"clip": {**judge, "label": "CLIP"}})) == {"tables"}
    assert differing(before, specs({"clip": judge}, batch_size=2)) <= {"generate", "oracle", "judge", "tables"}


def test_every_task_has_its_words() -> None:
    assert tuple(wording.TASKS) == TASKS
    assert tuple(overview.SOUGHT_IN) == TASKS
    assert tuple(accuracy.TASKS) == SOUGHT


# --------------------------------------------------------------------------------------------- figures

DRAWN = kinds.shipped("figures")


class Plan(SimpleNamespace):
    """What figures ask of a plan: one EEG study, one fMRI study, every spec a text."""

    def __init__(
        self,
        repetitions: tuple[Any, ...] = ("all",),
        categories: Any = None,
        also: tuple[str, ...] = (),
        visual: Any = None,
        further: tuple[str, ...] = ("picture_grid-4",),
        generators: bool = False,
    ):
        run = RUN_OF
        super().__init__(
            generators=generators,
            generate_spec=lambda one, name: f"generate {one.path} {name}",
            judge_spec=lambda one, name: f"judge {one.path} {name}",
            oracle_spec=lambda study, name: f"oracle {study} {name}",
            features_spec=lambda study, tower: f"features {study} {tower}",
            retrieval_spec=lambda one: f"rank {one.path}",
            train_spec=lambda one: f"train {one.path}",
            inspect_spec=lambda one: f"inspect {one.path}",
            embed_spec=lambda one: f"embed {one.path}",
            timecourse_spec=lambda *names: f"timecourse {names}",
        )
        methods = {
            "neuroclip": settings.Contrastive(
                tower="small", label="NeuroCLIP", visual=visual or {"readout": {"kind": "spatial"}}
            ),
            "ridge": settings.Ridge(tower="small"),
            "ceiling": settings.IdealObserver(tower="small"),
            "spare": settings.Ridge(tower="small", label="never run"),
        }
        experiments = {
            "eeg": SimpleNamespace(
                signals=("broad", "alpha"), protocols=("intra", "inter"), methods=["neuroclip", "ridge"]
            ),
            "fmri": SimpleNamespace(signals=("vc", "V1"), protocols=("intra",), methods=["ceiling", "ridge"]),
        }
        self.config = SimpleNamespace(
            methods=methods,
            generators={"grammar": SimpleNamespace(tower="small")},
            figures=settings.Figures(also=also),
            retrieval=settings.Retrieval(repetitions=repetitions),
            studies={name: SimpleNamespace(categories=categories) for name in experiments},
        )
        self.experiments, self.further = experiments, further
        self.everything = {
            study: [
                run(study, signal, protocol, method, subject, 0)
                for signal in one.signals
                for protocol in one.protocols
                for method in one.methods
                for subject in ("01", "02")
            ]
            for study, one in experiments.items()
        }

    def main_experiment(self, study):
        return self.experiments[study]

    regions_experiment = main_experiment

    def shown_method(self, study):
        return {"eeg": "neuroclip", "fmri": "ceiling"}[study]

    def runs_of(self, experiment):
        return self.everything[next(name for name, one in self.experiments.items() if one is experiment)]

    def runs(self):
        return [run for runs in self.everything.values() for run in runs]

    def model_of(self, run):
        return run

    def is_voxels(self, study):
        return study == "fmri"

    def has_timecourse(self, study):
        return study == "eeg"

    def subjects(self, study):
        return ("01", "02")

    def timecourse(self, study, signal, subject):
        return f"timecourse/{study}/{signal}/sub-{subject}.parquet"

    def is_inspected(self, method):
        return method == "neuroclip"

    def regions_of(self, study):
        return list(self.experiments[study].signals)

    def region_runs(self, study):
        return self.everything[study]

    def mapped_runs(self, study):
        return [run for run in self.everything[study] if run.method == "ridge"]

    def pictured(self, study):
        run = next((run for run in self.everything[study] if run.method == "ridge"), None)
        return (run, "grammar") if self.generators else None

    def generated_pictures(self, run, generator):
        return f"generate/{run.path}.{generator}.h5"

    def judged(self, run, generator):
        return f"judge/{run.path}.{generator}.parquet"

    def oracle(self, study, generator):
        return f"oracle/{study}/{generator}.h5"

    def features(self, study, tower):
        return f"stimuli/{study}/{tower}.h5"

    def both_studies(self):
        return "eeg", "fmri"

    def varied(self, study):
        return {}

    def session_runs(self, study):
        return []

    def simulated_studies(self):
        return ["eeg"]

    def picture_files(self, study):
        return {
            "stimuli": self.stimuli_file(study, "ridge"),
            "vectors": {f"vectors/{study}/small/{name}.h5": "vectors" for name in self.further},
        }

    def drive_file(self, study):
        return {f"raw/{study}/derivatives/truth/features.h5": "simulate_pictures"}

    def shows_accuracy(self):
        return "all" in self.config.retrieval.repetitions

    def responses_files(self, study, signals):
        return {f"{study}/{signal}/sub-{subject}.h5": "epochs" for signal in signals for subject in ("01", "02")}

    def stimuli_file(self, study, method):
        return {f"stimuli/{study}/{self.config.methods[method].tower}.h5": "features"}

    def made_files(self, folder, runs, ending, spec_of):
        return {f"{folder}/{run.path}{ending}": spec_of(run) for run in runs}


class RUN_OF(SimpleNamespace):
    def __init__(self, *values: Any) -> None:
        super().__init__(**dict(zip(RUN, values, strict=True)))
        self.path = "/".join(map(str, values[:4])) + f"/sub-{values[4]}_seed-{values[5]}"

    def __hash__(self) -> int:
        return hash(self.path)


def test_figures_of_a_study_are_in_order() -> None:
    shown = ["erp", "timecourse", "spectra", "ranks", "subjects", "training", "cost", "gallery", "pictures"]
    shown += ["confusion", "reconstruction", "gains", "prompts", "held", "where"]
    assert list(figure_base.figures_of(Plan(), "eeg")) == shown
    assert list(figure_base.figures_of(Plan(), "fmri")) == [
        *("ranks", "subjects", "gallery", "pictures", "confusion", "reconstruction", "regions"),
    ]
    assert list(figure_base.figures_of(Plan(), BOTH)) == ["place"]
    after = shown.index("reconstruction") + 1
    of_pictures = figure_base.figures_of(Plan(generators=True), "eeg")
    assert list(of_pictures) == [*shown[:after], "generation", *shown[after:]]
    pooled = Plan(visual={"kind": "frozen"}, further=())
    bent = Plan(visual={"readout": {"kind": "spatial"}, "head": {"kind": "mlp"}})
    for plan, lacking in ((pooled, ["held", "where"]), (bent, ["where"])):
        assert list(figure_base.figures_of(plan, "eeg")) == [name for name in shown if name not in lacking]
    few = Plan(repetitions=(1,), categories={"face": ("a face",)})
    assert list(figure_base.figures_of(few, "fmri")) == ["ranks", "subjects", "pictures", "confusion"]
    assert list(figure_base.figures_of(few, BOTH)) == []


@pytest.mark.parametrize("study", ["eeg", "fmri", BOTH])
def test_a_figure_is_given_the_labels_of_what_it_shows(study: str) -> None:
    """Those of the methods whose runs are among its inputs, and no other."""
    plan = Plan(generators=True)
    for name, kind in figure_base.figures_of(plan, study).items():
        given = figure_base.settings_of(plan, study, kind)
        assert settings.canonical(given)
        found = kinds.load("figures", kind).inputs(plan, study)
        assert all(len(files) for files in found.values()), name
        paths = [
            path
            for key, files in found.items()
            if key not in ("responses", "stimuli", "vectors", "truth", "oracle")
            for path in files
        ]
        methods = {path.split("/")[4] for path in paths if not path.startswith("timecourse/")}
        assert set(given.get("methods", {})) == methods, name
        assert all(label == (plan.config.methods[one].label or one) for one, label in given.get("methods", {}).items())


def test_figures_are_asked_without_what_draws_them() -> None:
    code = (
        "import sys; from brain2clip import kinds\n"
        "for kind in kinds.shipped('figures'): kinds.load('figures', kind)\n"
        "heavy = {'matplotlib', 'pandas', 'scipy', 'torch', 'mne', 'sklearn'} & set(sys.modules)\n"
        "print(', '.join(sorted(heavy)), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", DRAWN)
def test_figure_says_what_made_it(kind: str, inputs: dict[str, list[Path]], tmp_path: Path) -> None:  # noqa: F811
    shown = test_figures.SHOWN.get(kind, test_figures.METHODS)
    job = test_figures.job(kind, test_figures.of_figure(kind, inputs), tmp_path / f"{kind}.svg", shown)
    figures.run(job)
    made = records.provenance(job.output("figure"))
    assert made is not None
    assert (made.stage, made.settings["figure"]) == ("figures", kind)


@pytest.mark.parametrize("kind", DRAWN)
def test_roots_of_a_figure_hold_the_metrics_that_it_computes(kind: str) -> None:
    roots = figure_base.modules_of(kind)
    assert kinds.module_of("figures", kind) in roots
    computes = "accuracy.by_region" in Path(kinds.load("figures", kind).draw.__code__.co_filename).read_text()
    assert (kinds.module_of("metrics", MetricName(accuracy.METRIC).kind) in roots) == computes


# ---------------------------------------------------------------------------------------- from outside


def test_a_metric_from_outside_is_summarised_and_shown(outside: str, make_job, tmp_path: Path) -> None:  # noqa: F811
    base = f"{outside}:Reciprocal"
    made = config(
        retrieval={"metrics": ["top-1", base]},
        tables={"own": {"kind": "methods", "experiments": ["main"], "metric": f"stimulus:{base}@all"}},
    )
    assert made.tables["own"].metric == base
    assert outside in made.retrieval.metric_modules()
    assert outside in made.tables["own"].modules()
    job = make_job()
    summary = tmp_path / "own.parquet"
    options = {**made.retrieval.statistics(), "bootstrap": 200}
    summaries.run(stage.Job("summaries", options, "code", {}, {"rows": job.inputs["rows"]}, {"summary": summary}))
    found = artefact.read_table(summary)
    assert found.columns.tolist() == statistics.SUMMARY_COLUMNS
    rows = artefact.read_table(job.inputs["rows"][0])
    expected = (1 / rows.loc[rows["repetitions"] == "all", "rank"]).mean()
    assert found.loc[found["metric"] == base, "value"].iloc[0] == pytest.approx(expected)
    assert found.loc[found["metric"] == base, "chance"].iloc[0] == pytest.approx((1 / np.arange(1, 21)).mean())
    outputs = {f"own.{ending}": tmp_path / f"own.{ending}" for ending in ("parquet", "md", "tex")}
    outputs["summary"] = tmp_path / "all.parquet"
    shown = {"own": {**made.tables["own"].model_dump(mode="json"), "experiments": ["demo"]}}
    given = {**job.settings, "tables": shown}
    tables.run(stage.Job("tables", given, "code", {}, {**job.inputs, "summary": [summary]}, outputs))
    assert "Reciprocal: finding the seen stimulus" in " ".join(outputs["own.md"].read_text().split())
    means = artefact.read_table(outputs["own.parquet"]).query("level == 'mean'")
    by_run = found[found["metric"] == base].groupby(["method", "subject"])["value"].mean().groupby("method").mean()
    pd.testing.assert_series_equal(
        means.set_index("method")["value"].sort_index(), by_run, check_names=False, check_index_type=False
    )


def test_a_table_from_outside(outside: str, make_job, tmp_path: Path) -> None:  # noqa: F811
    kind = f"{outside}:Count"
    block = config(tables={"own": {"kind": kind, "experiments": ["main"], "unit": "models"}}).tables["own"]
    assert settings.parse(settings.Table, settings.canonical(block)) == block
    assert outside in block.modules()
    with pytest.raises(settings.SettingsError, match="units"):
        config(tables={"own": {"kind": kind, "experiments": ["main"], "units": "models"}})
    with pytest.raises(settings.SettingsError, match="needs a class attribute Settings"):
        config(tables={"own": {"kind": f"{outside}:Nothing", "experiments": ["main"]}})
    job = make_job()
    outputs = {f"own.{ending}": tmp_path / f"own.{ending}" for ending in ("parquet", "md", "tex")}
    outputs["summary"] = tmp_path / "all.parquet"
    shown = {"own": {**block.model_dump(mode="json"), "experiments": ["demo"]}}
    tables.run(stage.Job("tables", {**job.settings, "tables": shown}, "code", {}, job.inputs, outputs))
    assert artefact.read_table(outputs["own.parquet"])["value"].tolist() == [6, 6, 6]
    assert "6 models" in outputs["own.md"].read_text()


def test_a_figure_from_outside(outside: str, inputs: dict[str, list[Path]], tmp_path: Path) -> None:  # noqa: F811
    kind = f"{outside}:Methods"
    plan = Plan(also=(kind,))
    assert list(figure_base.figures_of(plan, "eeg").items())[-1] == ("methods", kind)
    assert figure_base.modules_of(kind) == [outside]
    path = tmp_path / "methods.svg"
    figures.run(test_figures.job(kind, inputs, path, {}))
    assert records.provenance(path).settings["figure"] == kind
    for wrong, words in (
        ([kind, kind], "already a figure named 'methods'"),
        (["erp"], "expected package.module:Class"),
        ([f"{outside}:Nothing"], "its class needs inputs and draw"),
        ([f"{outside}:Absent"], "has no Absent"),
    ):
        with pytest.raises(settings.SettingsError, match=words):
            config(figures={"also": wrong})
    assert "also" not in config().figures.model_dump(mode="json")
