"""Tables from synthetic runs: values, published rows only where they belong, well-formed Markdown and LaTeX."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from brain2clip import artefact, kinds, settings, stage
from brain2clip.reporting import published, table_base, table_records, tables, typeset, wording
from brain2clip.reporting.table_base import COLUMNS
from brain2clip.retrieval import query_table, statistics
from brain2clip.retrieval.tasks import Queries
from brain2clip.stage import InputError

RETRIEVAL = {
    **{"metrics": ["top-1", "top-5", "median-rank", "mean-rank", "2-way"], "bootstrap": 200, "level": 0.95, "seed": 0}
}
METHODS = {"neuroclip": "NeuroCLIP", "frozen": "Frozen_CLIP & head", "ideal-observer": "Ideal observer"}
PUBLISHED = Path(__file__).parents[2] / "workflow" / "published" / "things_eeg2.csv"
GOD = PUBLISHED.with_name("god.csv")
KINDS = {
    "main": {"kind": "methods"},
    "ablation": {"kind": "ablation", "reference": "neuroclip"},
    "curve": {"kind": "repetitions"},
    "contrast": {"kind": "contrast", "reference": "frozen"},
}
#: Seconds of an epoch; the ceiling is not trained.
SECONDS = {"neuroclip": 3.0, "frozen": 0.5}


def rows_of(study: str, method: str, subject: str, seed: int, share: float, classes: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng([seed, int(subject), len(method)])
    parts = []
    for repetitions, n_queries in (("all", 20), ("1", 40)):
        right = rng.random(n_queries) < (share if repetitions == "all" else share / 2)
        names = {"study": study, "signal": "broad", "protocol": "intra-subject", "method": method}
        part = pd.DataFrame({"query": np.arange(n_queries), "rank": np.where(right, 1, 7)})
        part["target"] = [f"picture-{number % 20}" for number in range(n_queries)]
        part = part.assign(**names, subject=subject, seed=seed, repetitions=repetitions, n_candidates=20)
        parts.append(part.assign(task="stimulus", pool=0, margin=np.where(right, 0.1, -0.1), classes=classes))
    return pd.concat(parts, ignore_index=True)


def write_history(folder: Path, study: str, method: str, subject: str, seed: int) -> Path:
    """Three epochs of a model, whose times grow with the seed; of the baseline the epoch was searched for."""
    history = pd.DataFrame(
        {"epoch": [1, 2, 3], "seconds": SECONDS[method] + seed, "cpu_seconds": 10.0, "device": "cpu"}
    )
    if method == "frozen":
        history = history.assign(search_seconds=100.0, search_cpu_seconds=200.0)
    path = (
        folder / "training" / study / "broad" / "intra-subject" / method / f"sub-{subject}_seed-{seed}.history.parquet"
    )
    artefact.write_table(path, history, artefact.Provenance("train", {}, "code"))
    return path


#: Judges of generated pictures, of which the second is the tower that the generator is told of.
JUDGES = {"second": "Second CLIP", "told": "Own CLIP"}
N_PICTURES, N_SAMPLES = 12, 2


def judgements(study: str, method: str, subject: str, seed: int) -> pd.DataFrame:
    """Of every source, whose numbers fall from the first to the last."""
    rng = np.random.default_rng([seed, int(subject), len(method), 5])
    parts = []
    for number, source in enumerate(("oracle", "generated", "nearest", "another")):
        for sample in range(1 if source == "nearest" else N_SAMPLES):
            for judge in ("pixels", *JUDGES):
                rank = np.minimum(1 + rng.geometric(1 / (1.5 + 1.5 * number), N_PICTURES) - 1, N_PICTURES)
                values = {
                    "pixcorr": 0.5 - 0.1 * number + 0.1 * rng.standard_normal(N_PICTURES),
                    "ssim": 0.6 - 0.05 * number + 0.1 * rng.standard_normal(N_PICTURES),
                }
                if judge != "pixels":
                    distance = 0.5 + 0.1 * number + 0.1 * rng.standard_normal(N_PICTURES)
                    values = {
                        "two-way": (N_PICTURES - rank) / (N_PICTURES - 1),
                        "distance": distance,
                        "rank": rank.astype(float),
                    }
                for metric, value in values.items():
                    part = pd.DataFrame(
                        {"stimulus_id": [f"picture-{one}" for one in range(N_PICTURES)], "value": value}
                    )
                    part = part.assign(source=source, sample=sample, judge=judge, metric=metric, picture="")
                    parts.append(part.assign(partial=judge == "told", n_candidates=N_PICTURES))
    names = {"study": study, "signal": "broad", "protocol": "intra-subject", "method": method}
    return pd.concat(parts, ignore_index=True).assign(**names, subject=subject, seed=seed, generator="grammar")


def write_judged(folder: Path, *run: object) -> Path:
    path = folder / "judge" / "-".join(map(str, run)) / "judged.parquet"
    artefact.write_table(path, judgements(*run), artefact.Provenance("judge", {}, "code"))  # type: ignore[arg-type]
    return path


@pytest.fixture
def make_job(tmp_path: Path):
    def make(study: str = "simulated", seeds: tuple[int, ...] = (0, 1), classes: bool = False, **settings) -> stage.Job:
        inputs: dict[str, list[Path]] = {"summary": [], "rows": [], "history": [], "published": [PUBLISHED]}
        inputs["judged"] = []
        for (number, method), subject, seed in itertools.product(enumerate(METHODS), ("01", "02", "03"), seeds):
            rows = rows_of(study, method, subject, seed, (0.6, 0.4, 0.95)[number], classes)
            path = tmp_path / study / method / f"sub-{subject}_seed-{seed}.parquet"
            made = artefact.Provenance("rank", {"path": str(path)}, "code")
            artefact.write_table(path, rows, made)
            summary = path.with_suffix(".summary.parquet")
            artefact.write_table(summary, statistics.summary(rows, RETRIEVAL), made, statistics.UNKNOWN)
            inputs["rows"].append(path)
            inputs["summary"].append(summary)
            if method in SECONDS:
                inputs["history"].append(write_history(tmp_path, study, method, subject, seed))
            if method == "neuroclip":  # nothing was generated of others
                inputs["judged"].append(write_judged(tmp_path, study, method, subject, seed))
        experiment = {"study": study, "signals": ["broad"], "protocols": ["intra-subject"], "methods": list(METHODS)}
        shown = {name: {**kind, "experiments": ["demo"], "metric": "top-1"} for name, kind in KINDS.items()}
        given = {"tables": shown, "experiments": {"demo": {**experiment, "seeds": list(seeds)}}, "methods": METHODS}
        given["experiments"]["demo"]["generators"] = ["grammar"]
        given["judges"] = JUDGES
        outputs = {
            f"{name}.{suffix}": tmp_path / f"{name}.{suffix}" for name in KINDS for suffix in ("parquet", "md", "tex")
        }
        return stage.Job(
            "tables",
            {**given, "retrieval": RETRIEVAL, "published": True, **settings},
            "code",
            {},
            inputs,
            {**outputs, "summary": tmp_path / "summary.parquet"},
        )

    return make


def cells(markdown: str) -> list[list[str]]:
    """Body of the first table, line by line."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_values_are_those_of_the_runs(make_job) -> None:
    job = make_job()
    tables.run(job)
    summary = artefact.read_table(job.output("summary"))
    assert summary.columns.tolist() == statistics.SUMMARY_COLUMNS
    top = summary[(summary["metric"] == "top-1") & (summary["method"] == "neuroclip")]
    main = artefact.read_table(job.output("main.parquet"))
    own = main[main["method"] == "neuroclip"]
    runs = own[own["level"] == "run"]
    assert runs["seed"].tolist() == top["seed"].tolist()
    assert runs["value"].tolist() == top["value"].tolist()
    by_subject = top.groupby("subject")["value"]
    subjects = own[own["level"] == "subject"].set_index("subject")
    pd.testing.assert_series_equal(subjects["value"], by_subject.mean(), check_index_type=False, check_names=False)
    pd.testing.assert_series_equal(subjects["spread"], by_subject.std(), check_index_type=False, check_names=False)
    mean = own[own["level"] == "mean"].iloc[0]
    assert mean["value"] == pytest.approx(by_subject.mean().mean())
    assert mean["spread"] == pytest.approx(top.groupby("seed")["value"].mean().std())
    assert (mean["n_subjects"], mean["n_seeds"], mean["chance"]) == (3, 2, pytest.approx(0.05))


def test_markdown_shows_the_same_numbers(make_job) -> None:
    job = make_job()
    tables.run(job)
    main = artefact.read_table(job.output("main.parquet"))
    mean = main[(main["level"] == "mean") & (main["method"] == "neuroclip")].iloc[0]
    text = job.output("main.md").read_text()
    body = cells(text)
    assert body[0] == ["method", "sub-01", "sub-02", "sub-03", "mean", "95 % CI"]
    assert body[2][4] == f"{100 * mean['value']:.1f} ± {100 * mean['spread']:.1f}"
    assert mean["decides"] == "t", "three subjects"
    assert body[2][5] == f"[{100 * mean['t_low']:.1f}, {100 * mean['t_high']:.1f}]"
    assert [row[0] for row in body[2:]] == ["NeuroCLIP", "Frozen_CLIP & head", "Ideal observer (ceiling)", "chance"]
    assert body[-1][1] == "5.0"
    flat = " ".join(text.split())
    for words in (
        "Top-1 (%)",
        "2 training seeds",
        "20 queries per subject",
        "chance 5.0 %",
        "subjects and stimuli resampled",
        "Student's t over the means of 3 subjects (below 8 subjects)",
    ):
        assert words in flat


def test_one_seed_shows_the_interval_of_each_subject(make_job) -> None:
    job = make_job(seeds=(0,))
    tables.run(job)
    body = cells(job.output("main.md").read_text())
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", body[2][1])


def contrast_of(*right: tuple[int, int]) -> list[list[str]]:
    """Cells of a contrast of methods with so many right queries of 20, of two subjects, to one that has none right."""
    parts = []
    for number, counts in enumerate([(0, 0), *right]):
        for subject, count in zip(("01", "02"), counts, strict=True):
            part = runs_of(f"m{number}", subject)
            parts.append(part.assign(rank=np.where(np.arange(len(part)) < count, 1, 2)))
    rows = pd.concat(parts, ignore_index=True)
    retrieval = {"metrics": ["top-1"], "bootstrap": 100, "level": 0.95, "seed": 0}
    context = table_base.Context({"retrieval": retrieval, "methods": {}}, *[pd.DataFrame()] * 3)
    block = settings.parse(
        settings.Table, {"kind": "contrast", "experiments": ["x"], "metric": "top-1", "reference": "m0"}
    )
    methods = tuple(rows["method"].unique())
    part = table_base.Part("s", "broad", "intra", methods, statistics.summary(rows, retrieval), rows)
    _, sheet = kinds.load("tables", "contrast")(block, context).of_part(part)
    return [list(sheet.header), *map(list, sheet.rows), [sheet.caption]]


def runs_of(method: str, subject: str) -> pd.DataFrame:
    names = {"study": "s", "signal": "broad", "protocol": "intra", "method": method, "subject": subject, "seed": 0}
    part = pd.DataFrame({"query": np.arange(20), "target": [f"p{number}" for number in range(20)]})
    more = {"repetitions": "all", "n_candidates": 20, "task": "stimulus", "pool": 0, "margin": 0.1, "classes": False}
    return part.assign(**names, **more)


def test_a_contrast_says_of_every_line_which_interval_decides() -> None:
    head, line, caption = contrast_of((5, 9))
    assert (head[2], head[3]) == ("bootstrap 95 % CI", "t 95 % CI (decides)")
    assert "†" not in " ".join([*line, *caption])
    head, equal, apart, caption = contrast_of((5, 5), (5, 9))
    assert (head[2], head[3]) == ("bootstrap 95 % CI", "t 95 % CI"), "neither decides everywhere"
    assert (equal[2][-1], equal[3][-1], apart[2][-1], apart[3][-1]) == ("†", "]", "]", "†")
    assert "where all subjects are equal, t has no width, and the bootstrap decides" in caption[0]
    assert "†: the interval that decides" in caption[0]
    head, _, caption = contrast_of((5, 5))
    assert head[2] == "bootstrap 95 % CI (decides)"
    assert "here all subjects are equal" in caption[0]


def test_differences(make_job) -> None:
    job = make_job()
    tables.run(job)
    contrast = artefact.read_table(job.output("contrast.parquet"))
    assert contrast["method"].tolist() == ["neuroclip"]
    rows = pd.concat([artefact.read_table(path) for path in job.inputs["rows"]])
    found = statistics.paired_difference(
        rows[rows["method"] == "neuroclip"], rows[rows["method"] == "frozen"], "top-1", 200
    )
    assert contrast["value"].item() == found["difference"]
    assert contrast["p_sign_flip"].item() == found["p_sign_flip"]
    ablation = artefact.read_table(job.output("ablation.parquet"))
    differences = ablation[ablation["level"] == "difference"]
    assert differences["method"].tolist() == ["frozen"]
    assert differences["value"].item() == pytest.approx(-found["difference"])
    body = cells(job.output("ablation.md").read_text())
    assert body[2][0] == "NeuroCLIP (reference)"
    assert body[2][3] == ""


def test_repetitions_in_order(make_job) -> None:
    job = make_job()
    tables.run(job)
    body = cells(job.output("curve.md").read_text())
    assert body[0] == ["method", "1", "all"]
    assert {"top-1", "top-1@1"} == set(artefact.read_table(job.output("curve.parquet"))["metric"])


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ({"kind": "new-subject", "sessions": 1}, "models of new-subject share training subjects"),
        ({"kind": "new-subject", "sessions": 1, "tune": "input"}, "models of new-subject share training subjects"),
        ({"kind": "new-subject", "sessions": 1, "start": "random"}, None),
        ({"kind": "intra-subject", "sessions": 1}, None),
    ],
)
def test_every_caption_says_which_models_share_training_subjects(protocol, said):
    """Tables of any kind may show new subjects, not only that of sessions."""
    given = {"retrieval": RETRIEVAL, "sessions": {"p": protocol}, "protocols": {"p": protocol["kind"]}}
    context = table_base.Context(given, *[pd.DataFrame()] * 3)
    record = {"level": "mean", "protocol": "p", "n_subjects": 4, "decides": "t", "resampled": "queries"}
    text = wording.resampling([record], context)
    assert (said in text) if said else ("share" not in text)


def test_sessions_in_order_with_what_the_others_bring(tmp_path: Path) -> None:
    """A line for each start, a column for each number; differences are paired over subjects and queries."""
    shares = {"few-2": 0.5, "few-10": 0.8, "few-all": 0.9, "fresh-2": 0.2, "fresh-all": 0.85, "alone-2": 0.1}
    inputs: dict[str, list[Path]] = {"summary": [], "rows": [], "history": [], "judged": [], "published": [PUBLISHED]}
    for protocol, subject in itertools.product(shares, ("01", "02", "03")):
        rows = rows_of("simulated", "neuroclip", subject, 0, shares[protocol]).assign(protocol=protocol)
        path = tmp_path / protocol / f"sub-{subject}.parquet"
        made = artefact.Provenance("rank", {"path": str(path)}, "code")
        artefact.write_table(path, rows, made)
        artefact.write_table(summary := path.with_suffix(".s.parquet"), statistics.summary(rows, RETRIEVAL), made,
                             statistics.UNKNOWN)  # fmt: skip
        inputs["rows"].append(path)
        inputs["summary"].append(summary)
    counted: dict[str, dict[str, object]] = {}
    for name in shares:
        kind, _, sessions = name.partition("-")
        counted[name] = {"kind": "intra-subject" if kind == "alone" else "new-subject"}
        counted[name] |= {"sessions": sessions if sessions == "all" else int(sessions)}
        counted[name] |= {"start": "random"} if kind == "fresh" else {}
    demo = {"study": "simulated", "signals": ["broad"], "protocols": list(shares), "methods": ["neuroclip"]}
    given = {"tables": {"it": {"kind": "sessions", "experiments": ["demo"], "metric": "top-1"}}, "sessions": counted}
    given |= {"experiments": {"demo": {**demo, "seeds": [0]}}, "methods": METHODS, "retrieval": RETRIEVAL}
    given |= {"published": True, "protocols": {name: one["kind"] for name, one in counted.items()}}
    outputs = {f"it.{ending}": tmp_path / f"it.{ending}" for ending in ("parquet", "md", "tex")}
    outputs["summary"] = tmp_path / "summary.parquet"
    tables.run(stage.Job("tables", given, "code", {}, inputs, outputs))
    text = outputs["it.md"].read_text()
    body = cells(text)
    assert body[0] == ["method", "training", "2", "10", "all"], "numbers by size, all of them last"
    frame = artefact.read_table(outputs["it.parquet"])
    means = frame[frame["level"] == "mean"].set_index("protocol")["value"]
    for line, words, names in (
        (2, "after other subjects", ("few-2", "few-10", "few-all")),
        (3, "from random weights, the same network", ("fresh-2", None, "fresh-all")),
        (4, "the subject alone", ("alone-2", None, None)),
    ):
        assert body[line][:2] == ["NeuroCLIP", words]
        for cell, name in zip(body[line][2:], names, strict=True):
            assert cell.split(" ")[0] == ("–" if name is None else f"{100 * means[name]:.1f}")
    assert body[5][0] == "chance"
    assert "share training subjects, so means of subjects are not independent" in " ".join(text.split())
    differences = frame[frame["level"] == "difference"].set_index("protocol")
    assert differences.index.tolist() == ["few-2", "few-all"]
    for name in ("2", "all"):
        expected = means[f"few-{name}"] - means[f"fresh-{name}"]
        assert differences.loc[f"few-{name}", "value"] == pytest.approx(expected)
    assert differences["reference"].unique().tolist() == ["NeuroCLIP, from random weights, the same network"]
    assert body[6][1] == "after other subjects − from random weights, the same network"
    ceiling = {**given, "ceilings": ["neuroclip"]}
    tables.run(stage.Job("tables", ceiling, "code", {}, inputs, outputs))
    assert [row[:2] for row in cells(outputs["it.md"].read_text())[2:]] == [
        ["NeuroCLIP (ceiling)", "–"],
        ["chance", ""],
    ]
    with pytest.raises(stage.InputError, match="none with a number of sessions"):
        tables.run(stage.Job("tables", {**given, "sessions": {}}, "code", {}, inputs, outputs))


def test_generated_pictures_by_hand(make_job, tmp_path: Path) -> None:
    """Means over samples, seeds, stimuli and subjects, intervals, differences, and which judge is partial."""
    job = make_job()
    shown = {"it": {"kind": "generation", "experiments": ["demo"]}}
    outputs = {f"it.{ending}": tmp_path / f"it.{ending}" for ending in ("parquet", "md", "tex")}
    outputs["summary"] = tmp_path / "summary.parquet"
    job = stage.Job("tables", {**job.settings, "tables": shown}, "code", {}, job.inputs, outputs)
    tables.run(job)
    frame = artefact.read_table(outputs["it.parquet"])
    assert frame.columns.tolist() == COLUMNS
    judged = pd.concat([artefact.read_table(path) for path in job.inputs["judged"]])
    judged["top-1"] = (judged["value"] == 1).astype(float)
    of_subject = ["method", "source", "judge", "metric", "subject"]
    by_stimulus = judged.groupby([*of_subject, "stimulus_id"])[["value", "top-1"]].mean()
    by_subject = by_stimulus.groupby(of_subject).mean()
    names = {"pixcorr": "pixcorr", "ssim": "ssim", "two-way": "two-way", "distance": "distance", "rank": "top-1"}
    for (method, source, judge, metric), part in by_subject.groupby(of_subject[:-1]):
        values = part["top-1" if metric == "rank" else "value"]
        own = frame[(frame["method"] == method) & (frame["metric"] == f"{judge}:{names[metric]}")]
        mean = own[(own["level"] == "mean") & (own["target"] == source)].iloc[0]
        assert mean["value"] == pytest.approx(values.mean())
        low, high = statistics.t_interval(values)
        ends = (0, 1) if metric in ("two-way", "rank") else (-np.inf, np.inf)
        assert (mean["t_low"], mean["t_high"]) == pytest.approx(tuple(np.clip((low, high), *ends)))
        assert mean["decides"] == "t", "three subjects"
        subjects = own[(own["level"] == "subject") & (own["target"] == source)].set_index("subject")["value"]
        np.testing.assert_allclose(subjects.sort_index(), values.to_numpy())
        if source in ("nearest", "another"):
            difference = own[(own["level"] == "difference") & (own["reference"] == source)].iloc[0]
            generated = by_subject.loc[(method, "generated", judge, metric), values.name].to_numpy()
            assert difference["target"] == "generated"
            assert difference["value"] == pytest.approx((generated - values.to_numpy()).mean())
            assert difference["p_sign_flip"] == statistics.sign_flip(generated - values.to_numpy())
    chances = frame[frame["level"] == "mean"].groupby("metric")["chance"].first()
    assert chances[["second:two-way", "second:top-1"]].tolist() == pytest.approx([0.5, 1 / N_PICTURES])
    assert chances[["pixels:ssim", "second:distance"]].isna().all()
    partial = frame["note"].str.contains("partial judge")
    assert set(frame.loc[partial, "task"]) == {"told"}
    assert not partial[frame["task"] != "told"].any()
    text = outputs["it.md"].read_text()
    body = cells(text)
    assert body[0][:5] == ["method", "generator", "pictures", "PixCorr ↑", "SSIM ↑"]
    assert body[0][5:8] == ["Second CLIP: two-way (%) ↑", "Second CLIP: distance ↓", "Second CLIP: Top-1 (%) ↑"]
    assert body[0][8].startswith("Own CLIP†: ")
    lines = ["generated", "nearest", "oracle", "another", "generated − nearest", "generated − another"]
    assert [row[2] for row in body[2:]] == [*lines, ""]
    assert [row[:2] for row in (body[2], body[3], body[-1])] == [["NeuroCLIP", "grammar"], ["", ""], ["chance", ""]]
    assert body[-1][3:8] == ["", "", "50.0", "", "8.3"]
    assert "† Own CLIP: the tower whose embeddings the generator is given, so a partial judge." in text
    flat = " ".join(text.split())
    for words in (
        "which gives chance",
        "a perfect prediction",
        "most similar of 12 test pictures",
        "over 2 samples, 2 training",
    ):
        assert words in flat


def test_many_judges_stand_in_several_sheets(make_job) -> None:
    job = make_job(seeds=(0,))
    context = tables.load(job)
    judges = {**JUDGES, "third": "Third"}
    third = context.judged[context.judged["judge"] == "second"].assign(judge="third")
    context = replace(
        context, settings={**job.settings, "judges": judges}, judged=pd.concat([context.judged, third])
    )  # fmt: skip
    frame, sheets = tables.build("it", {"kind": "generation", "experiments": ["demo"]}, context)
    assert [len(sheet.header) for sheet in sheets] == [3 + 2 + 6, 3 + 3]
    assert sheets[1].header[3] == "Third: two-way (%) ↑"
    assert {"pixels", "second", "told", "third"} == set(frame["task"])


def test_a_table_of_generation_without_generators_says_so(make_job) -> None:
    job = make_job(seeds=(0,))
    context = tables.load(job)
    del context.settings["experiments"]["demo"]["generators"]
    with pytest.raises(stage.InputError, match=r"no judged pictures; expected experiments with generators"):
        tables.build("it", {"kind": "generation", "experiments": ["demo"]}, context)


def test_costs_are_means_over_models_with_the_search_for_the_epoch(make_job, tmp_path: Path) -> None:
    job = make_job()
    shown = {"costs": {"kind": "costs", "experiments": ["demo"], "metric": "top-1"}}
    outputs = {f"costs.{ending}": tmp_path / f"costs.{ending}" for ending in ("parquet", "md", "tex")}
    outputs["summary"] = tmp_path / "summary.parquet"
    job = stage.Job("tables", {**job.settings, "tables": shown}, "code", {}, job.inputs, outputs)
    tables.run(job)
    frame = artefact.read_table(outputs["costs.parquet"])
    assert frame.columns.tolist() == COLUMNS
    costs = frame[(frame["level"] == "cost") & frame["subject"].isna()].set_index(["method", "metric"])["value"]
    assert costs.to_dict() == {
        **{("neuroclip", "epochs"): 3, ("neuroclip", "seconds"): 3 * 3.5, ("neuroclip", "cpu_seconds"): 30},
        **{("frozen", "epochs"): 3, ("frozen", "seconds"): 3 * (1.0 + 100), ("frozen", "cpu_seconds"): 3 * 210},
    }
    one = frame[(frame["metric"] == "seconds") & (frame["subject"] == "02") & (frame["seed"] == 1)]
    assert dict(zip(one["method"], one["value"])) == {"neuroclip": 12, "frozen": 304.5}
    body = cells(outputs["costs.md"].read_text())
    assert body[0] == ["method", "Top-1 (%)", "95 % CI", "models", "epochs", "s", "CPU s", "device"]
    assert [row[3:] for row in body[2:]] == [
        ["6", "3", "10.5", "30.0", "cpu"],
        ["6", "3", "303", "630", "cpu"],
        ["–"] * 5,
        [""] * 5,
    ]
    mean = frame[(frame["level"] == "mean") & (frame["method"] == "neuroclip")].iloc[0]
    assert body[2][1:3] == [
        f"{100 * mean['value']:.1f} ± {100 * mean['spread']:.1f}",
        f"[{100 * mean['t_low']:.1f}, {100 * mean['t_high']:.1f}]",
    ]
    assert body[-1][:2] == ["chance", "5.0"]
    text = " ".join(outputs["costs.md"].read_text().split())
    assert "including the search for the epoch if there was one" in text
    assert "–: nothing is trained, or its time was not measured." in text
    assert "different devices" not in text


# ------------------------------------------------------------------------------------------- published


@pytest.mark.parametrize(
    ("study", "settings", "shown"),
    [
        ("simulated", {}, False),
        ("things-eeg2", {}, True),
        ("mine", {"studies": {"mine": "things_eeg2"}}, True),
        ("things-eeg2", {"studies": {"things-eeg2": "simulated"}}, False),
        ("things-eeg2", {"published": False}, False),
        ("n170", {"studies": {"n170": "bids"}}, False),
    ],
)
def test_published_rows_stand_beside_their_study_only(make_job, study: str, settings: dict, shown: bool) -> None:
    job = make_job(study, **settings)
    tables.run(job)
    main = artefact.read_table(job.output("main.parquet"))
    assert (main["level"] == "published").any() == shown
    text = job.output("main.md").read_text()
    assert ("NeuroCLIP, published" in text) == shown
    assert ("arXiv 2511.09250" in text) == shown


def test_published_numbers_have_sources_and_the_right_values() -> None:
    table = published.read([PUBLISHED])
    assert table["value"].between(0, 1).all()
    assert table["source"].str.len().gt(3).all()
    assert not table.duplicated(["study", "protocol", "scoring", "method", "metric", "subject"]).any()
    assert table["selection"].notna().all()
    table = table[table["scoring"] == "inductive"]
    own = table[table["method"] == "NeuroCLIP"].set_index(["protocol", "metric"])
    across = "leave-one-subject-out"
    assert own["value"].to_dict() == {
        ("intra-subject", "top-1"): 0.632,
        (across, "top-1"): 0.17,
        (across, "top-5"): 0.403,
    }
    assert own.loc[across, "note"].str.contains("not printed").all()
    names = ["protocol", "method", "metric"]
    means = table[table["subject"].notna()].groupby(names)["value"].mean()
    assert len(means) == 8
    printed = table[table["subject"].isna()].set_index(names)["value"]
    np.testing.assert_allclose(means, printed[means.index], atol=0.0012)


def test_numbers_among_class_templates_stand_beside_that_task_alone() -> None:
    table = published.read([PUBLISHED])
    given = table, "things-eeg2", None, "intra-subject"
    assert {"NICE", "NICE-GA"} == set(published.for_block(*given, "template:top-1")["method"])
    seen = published.for_block(*given, "top-1").set_index("method")["value"]
    assert not {"NICE", "NICE-GA"} & set(seen.index)
    assert seen["NICE, seen pictures"] == 0.215


def test_unions_of_experts_and_transductive_numbers_stand_in_no_inductive_column() -> None:
    table = published.read([PUBLISHED])
    shown = published.for_block(table, "things-eeg2", None, "inter", "top-1", "leave-one-subject-out")
    assert set(shown["scoring"]) == {"inductive"}
    assert "SCORE" not in set(shown["method"])
    assert shown.loc[shown["method"] == "SAGE", "value"].tolist() == [0.359]
    apart = published.for_block(table, "things-eeg2", None, "inter", "stimulus-csls:top-1", "leave-one-subject-out")
    assert set(apart["method"]) == {"SAGE", "SATTC", "SCORE", "SVTL"}
    assert set(apart["scoring"]) == {"transductive"}
    capturer = table[(table["method"] == "CognitionCapturer") & (table["scoring"] == "inductive")]
    assert sorted(capturer["value"]) == [0.333, 0.6058]


def test_a_scoring_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("study,protocol,method,metric,value,source,scoring\nx,intra-subject,M,top-1,0.5,S,ensemble\n")
    with pytest.raises(stage.InputError, match="line 2: scoring: found 'ensemble'; expected inductive or transductive"):
        published.read([path])


def test_protocols_are_matched_by_kind() -> None:
    table = published.read([PUBLISHED])
    assert len(published.for_block(table, "things-eeg2", None, "inter", "top-1", "leave-one-subject-out"))
    assert published.for_block(table, "things-eeg2", None, "inter", "top-1").empty
    assert published.for_block(table, "things-eeg2", None, "intra-subject", "top-1@4").empty


def test_published_file_without_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("study,protocol,method,metric,value,source\nx,intra-subject,M,top-1,0.5,\n")
    with pytest.raises(stage.InputError, match="line 2: no source"):
        published.read([path])
    path.write_text("study,method,value\nx,M,0.5\n")
    with pytest.raises(stage.InputError, match="no column protocol, metric, source"):
        published.read([path])


def test_published_god_rows_stand_beside_that_study_task_and_single_trials_only() -> None:
    table = published.read([GOD, PUBLISHED])
    own = table[table["study"] == "god"]
    # The printed means, and nothing that was only recalled.
    assert dict(zip(zip(own["method"], own["metric"], strict=True), own["value"], strict=True)) == {
        (method, f"category:top-{k}@1"): value
        for method, values in {
            **{"CADA-VAE": (0.1002, 0.4037), "MVAE": (0.1004, 0.3960), "MMVAE": (0.1168, 0.4329)},
            **{"MoPoE-VAE": (0.1290, 0.5178), "BraVL": (0.1399, 0.5313)},
        }.items()
        for k, value in zip((1, 5), values, strict=True)
    }
    assert own["note"].str.contains("single trials; SVM").all()
    assert own["note"].str.contains("not like for like").all()

    def shown(study: str, kind: str | None, metric: str) -> int:
        return len(published.for_block(table, study, kind, "intra", metric, "intra-subject"))

    assert shown("mine", "god", "category:top-1@1") == 5
    assert shown("god", "voxel_table", "category:top-1@1") == 0
    assert shown("god", "simulated_fmri", "category:top-1@1") == 0
    for metric in ("top-1", "top-1@1", "category:top-1", "caption:top-1@1", "category/50:top-1@1"):
        assert shown("god", "god", metric) == 0
    assert len(published.for_block(table, "god", "god", "joint", "category:top-1@1", "joint")) == 0


def test_published_numbers_of_seen_concepts_stand_beside_such_tables_only(tmp_path) -> None:
    table = published.read([GOD, PUBLISHED, PUBLISHED.with_name("nsd.csv")])
    assert (table["concepts"] == np.where(table["study"] == "nsd", "seen", "unseen")).all()
    for metric, value, few in (("stimulus/300:top-1", 0.900, 0.790), ("stimulus-to-brain/300:top-1", 0.841, 0.574)):
        own = published.for_block(table, "mine", "nsd", "intra", metric, "intra-subject").set_index("method")
        assert own.loc["MindEye1", "value"] == value
        assert "MindEye2" not in own.index  # it is pretrained on other subjects
        assert "Brain-Diffuser" not in own.index  # it re-standardises predictions by the test set
        one = published.for_block(table, "mine", "nsd", "few-1", metric, "new-subject: 1 session").set_index("method")
        assert one["value"].to_dict() == {"MindEye2": few}
    assert len(published.for_block(table, "nsd", "nsd", "intra", "top-1", "intra-subject")) == 0
    for concepts, shown in (("seen", True), ("unseen", False)):
        part = SimpleNamespace(concepts=concepts, study="nsd", protocol="intra")
        context = SimpleNamespace(
            published=table,
            kind_of_study=lambda _: "nsd",
            kind_of_protocol=lambda _: "intra-subject",
            modality=lambda _: "fMRI",
        )
        metric = "stimulus/300:top-1"
        records, _ = table_records.published_beside(part, metric, context, ["01"], wording.Numbers(metric))
        assert bool(records) == shown
    (tmp_path / "a.csv").write_text((PUBLISHED.with_name("nsd.csv")).read_text().replace(",seen", ",both"))
    with pytest.raises(InputError, match="concepts: found 'both'; expected unseen or seen"):
        published.read([tmp_path / "a.csv"])


# ----------------------------------------------------------------------------------- tasks, EEG and fMRI together

BOTH_KINDS = {"eeg": "simulated", "fmri": "simulated_fmri"}
POOLS = {"size": 5, "draws": 4, "seed": 0}


def task_rows(study: str, method: str, subject: str, tasks: dict[str, int]) -> pd.DataFrame:
    """Single trials and averages of some tasks with their numbers of candidates, with pools where they fit."""
    rng = np.random.default_rng([len(study), len(method), int(subject)])
    queries = []
    for (task, count), repetitions in itertools.product(tasks.items(), ("all", 1)):
        target = np.tile(np.arange(count), 1 if repetitions == "all" else 3)
        similarity = rng.standard_normal((len(target), count)) + 1.5 * np.eye(count)[target]
        ids = np.array([f"{task} {number}" for number in range(count)], dtype=object)
        queries.append(Queries(task, repetitions, ids, target, similarity))
    run = {"study": study, "signal": "broad" if study == "eeg" else "VC", "protocol": "intra", "method": method}
    return query_table.table(queries, {**run, "subject": subject, "seed": 0}, POOLS)


@pytest.fixture
def both_job(tmp_path: Path) -> stage.Job:
    fmri = {"stimulus": 12, "category": 8, "stimulus-to-brain": 12}
    runs = {
        ("eeg", "ridge"): {"stimulus": 15},
        ("eeg", "ideal-observer"): {"stimulus": 15},
        ("fmri", "ridge"): fmri,
        ("fmri", "mapping"): fmri,
        ("fmri", "ideal-observer"): {"stimulus": 12},
    }
    inputs: dict[str, list[Path]] = {"rows": [], "summary": []}
    options = {**RETRIEVAL, "pools": POOLS}
    for ((study, method), tasks), subject in itertools.product(runs.items(), ("01", "02")):
        path = tmp_path / study / method / f"sub-{subject}.parquet"
        rows = task_rows(study, method, subject, tasks)
        made = artefact.Provenance("rank", {"path": str(path)}, "code")
        artefact.write_table(path, rows, made)
        artefact.write_table(
            path.with_suffix(".summary.parquet"), statistics.summary(rows, options), made, statistics.UNKNOWN
        )
        inputs["rows"].append(path)
        inputs["summary"].append(path.with_suffix(".summary.parquet"))
    experiments = {
        study: {
            **{"study": study, "signals": ["broad" if study == "eeg" else "VC"], "protocols": ["intra"], "seeds": [0]},
            "methods": ["ideal-observer", *(m for s, m in runs if s == study and m != "ideal-observer")],
        }
        for study in BOTH_KINDS
    }
    shown = {
        "overview": {"kind": "overview", "experiments": ["eeg", "fmri"], "metric": "top-1"},
        "classes": {"kind": "methods", "experiments": ["fmri"], "metric": "category:top-1@1"},
        "pools": {"kind": "methods", "experiments": ["fmri"], "metric": "stimulus/5:top-1"},
        "back": {
            **{"kind": "contrast", "experiments": ["fmri"], "metric": "stimulus-to-brain:top-1"},
            "reference": "ridge",
        },
        "curve": {"kind": "repetitions", "experiments": ["fmri"], "metric": "category:top-1"},
        "same": {"kind": "methods", "experiments": ["fmri"], "metric": "stimulus:top-1@1"},
    }
    outputs = {
        f"{name}.{suffix}": tmp_path / f"{name}.{suffix}" for name in shown for suffix in ("parquet", "md", "tex")
    }
    given = {
        **{
            "tables": shown,
            "experiments": experiments,
            "studies": BOTH_KINDS,
            "modalities": {"eeg": "eeg", "voxels": "fmri", "fmri": "fmri"},
        },
        "methods": {"ridge": "Ridge", "mapping": "Linear", "ideal-observer": "Ideal observer"},
    }
    return stage.Job(
        "tables", {**given, "retrieval": options}, "code", {}, inputs, {**outputs, "summary": tmp_path / "s.parquet"}
    )


def test_overview_has_a_line_per_method_and_a_column_per_task(both_job: stage.Job) -> None:
    tables.run(both_job)
    body = cells(both_job.output("overview.md").read_text())
    assert body[0] == [
        *("modality", "study", "signal", "protocol", "method", "stimulus", "category", "stimulus-to-brain")
    ]
    assert [row[4] for row in body[2:]] == [
        *("Ridge", "Ideal observer (ceiling)", "chance", "Ridge", "Linear", "Ideal observer (ceiling)", "chance")
    ]
    assert body[2][:4] == ["EEG", "eeg", "broad", "intra"]
    assert body[5][:4] == ["fMRI", "fmri", "VC", "intra"]
    assert body[2][6:] == ["", ""]
    assert body[7][6:] == ["", ""]  # the observer did not do these
    assert body[4][5:] == [f"{100 / 15:.1f}", "", ""]
    assert body[8][5:] == [f"{100 / 12:.1f}", "12.5", f"{100 / 12:.1f}"]
    frame = artefact.read_table(both_job.output("overview.parquet"))
    assert frame.columns.tolist() == COLUMNS
    means = frame[frame["level"] == "mean"].set_index(["study", "method", "task"])
    assert set(means["modality"]) == {"EEG", "fMRI"}
    one = means.loc[("fmri", "mapping", "category")]
    assert (one["modality"], one["metric"]) == ("fMRI", "category:top-1")
    assert body[6][6] == f"{100 * one['value']:.1f} [{100 * one['t_low']:.1f}, {100 * one['t_high']:.1f}]"
    latex = both_job.output("overview.tex").read_text()
    assert r"\begin{tabular}{lllllrrr}" in latex
    assert latex.isascii()


def test_seen_concepts_are_labelled_and_never_stand_in_a_sheet_with_unseen_ones(both_job: stage.Job) -> None:
    for path in both_job.inputs["summary"]:
        if "fmri" in path.parts:
            summary = artefact.read_table(path).assign(concepts="seen")
            artefact.write_table(path, summary, artefact.Provenance("summaries", {}, "code"), statistics.UNKNOWN)
    tables.run(both_job)
    page = both_job.output("overview.md").read_text()
    zero_shot, seen = page.split("\n## ")[1:]
    assert seen.startswith(
        "EEG and fMRI side by side (seen concepts)\n\nSeen concepts: the test concepts occur in training"
    )
    assert {row[1] for row in cells(zero_shot)[2:]} == {"eeg", ""}
    assert {row[1] for row in cells(seen)[2:]} == {"fmri", ""}
    assert "seen concepts" not in zero_shot.lower()
    for name in ("classes", "pools", "back", "curve", "same"):
        for ending in ("md", "tex"):
            text = both_job.output(f"{name}.{ending}").read_text()
            assert text.count("(seen concepts)") == 1, name
            assert "zero-shot category" not in " ".join(text.split()), name
    frame = artefact.read_table(both_job.output("overview.parquet"))
    assert frame.groupby("study")["concepts"].unique().map(list).to_dict() == {"eeg": ["unseen"], "fmri": ["seen"]}
    summary = artefact.read_table(both_job.output("summary"))
    assert set(summary.loc[summary["study"] == "fmri", "concepts"]) == {"seen"}


def test_published_zero_shot_numbers_do_not_stand_beside_seen_concepts(make_job) -> None:
    job = make_job(studies={"simulated": "things_eeg2"})
    tables.run(job)
    assert "published" in job.output("main.md").read_text()
    for path in job.inputs["summary"]:
        summary = artefact.read_table(path).assign(concepts="seen")
        artefact.write_table(path, summary, artefact.Provenance("summaries", {}, "code"), statistics.UNKNOWN)
    tables.run(job)
    assert "published" not in job.output("main.md").read_text()


def test_captions_say_the_task_and_its_candidates(both_job: stage.Job) -> None:
    tables.run(both_job)
    words = {
        "classes": "Top-1 (%), single trials: zero-shot category decoding: 8 class prompts.",
        "pools": "finding the seen stimulus among 12, in pools of 5, 4 draws.",
        "back": "Top-1 (%): matching picture to brain: 12 brain responses; paired differences",
        "curve": "zero-shot category decoding: 8 class prompts; by the number of test repetitions",
        "same": "Top-1 (%), single trials: finding the seen stimulus among 12.",
    }
    for name, text in words.items():
        assert text in " ".join(both_job.output(f"{name}.md").read_text().split()), name
    assert {"top-1@1"} == set(artefact.read_table(both_job.output("same.parquet"))["metric"])
    pools = artefact.read_table(both_job.output("pools.parquet"))
    assert set(pools["chance"]) == {0.2}
    observer = cells(both_job.output("classes.md").read_text())
    assert observer[-2] == ["Ideal observer (ceiling)", "–", "–", "–", "–"]


def test_means_over_pools_are_those_of_the_runs(both_job: stage.Job) -> None:
    """A run's value is the mean over all queries of all pools; the mean over subjects is the mean of these."""
    tables.run(both_job)
    frame = artefact.read_table(both_job.output("pools.parquet"))
    own = frame[frame["method"] == "mapping"].set_index("level")["value"]
    rows = pd.concat([artefact.read_table(path) for path in both_job.inputs["rows"]])
    rows = rows[(rows["study"] == "fmri") & (rows["method"] == "mapping") & (rows["pool"] > 0)]
    rows = rows[(rows["task"] == "stimulus") & (rows["repetitions"] == "all")]
    by_subject = (rows["rank"] == 1).groupby(rows["subject"]).mean()
    assert own["run"].tolist() == pytest.approx(by_subject.tolist())
    assert own["mean"] == pytest.approx(by_subject.mean())


# ---------------------------------------------------------------------------------------------- errors


def test_missing_runs_are_named(make_job) -> None:
    job = make_job()
    experiments = {"demo": {**job.settings["experiments"]["demo"], "signals": ["alpha"]}}
    with pytest.raises(stage.InputError, match="table main: no run of study simulated, signal alpha"):
        tables.run(
            stage.Job("tables", {**job.settings, "experiments": experiments}, "code", {}, job.inputs, job.outputs)
        )


def test_missing_reference_is_named(make_job) -> None:
    job = make_job()
    job.settings["tables"]["contrast"]["reference"] = "ridge"
    with pytest.raises(stage.InputError, match="no run of the reference method ridge"):
        tables.run(job)


# ---------------------------------------------------------------------------------------- Markdown, LaTeX

SHEET = typeset.Sheet(
    "a_b", ["m|n", "50 %"], [["x_1 & y", "[1, 2]"], [], ["#", "1 ± 2"]], "100 % {sure}~\\", ["note $"]
)


def test_markdown_columns_line_up() -> None:
    lines = [line for line in typeset.markdown("main", [SHEET]).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 4
    assert r"m\|n" in lines[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*a* `b` ~~c~~ a|b \\", r"\*a\* \`b\` \~\~c\~\~ a\|b \\"),
        ("_a_ b_c __d__", r"\_a\_ b_c \_\_d\_\_"),
        ("<script>x</script> <!-- < 0.05 &amp; & co", r"\<script>x\</script> \<!-- < 0.05 \&amp; & co"),
        ("[a](b) ![c][d] [1.0, 2.0]", r"\[a](b) !\[c][d] [1.0, 2.0]"),
        ("one\n\n# two\r\n", "one # two"),
    ],
)
def test_markdown_shows_text_as_it_stands_and_numbers_without_a_backslash(text, shown) -> None:
    assert typeset.plain(text) == shown
    sheet = typeset.Sheet(text, [text], [[text]], text, [text])
    lines = typeset.markdown("main", [sheet]).splitlines()
    assert [line for line in lines if "\\" in line or line] == [
        "# main", f"## {shown}", shown, f"| {shown} |", f"| {'-' * max(3, len(shown))} |", f"| {shown} |", f"- {shown}"
    ]  # fmt: skip


def test_a_label_of_many_lines_stays_one_row_of_latex() -> None:
    sheet = typeset.Sheet("a", ["m"], [["one\n\ntwo {x} \\end{table} $y_$"]], "b\n\nc")
    text = typeset.latex("main", [sheet])
    assert r"one two \{x\} \textbackslash{}end\{table\} \$y\_\$ \\" in text
    assert r"\caption{a. b c}" in text


def test_latex_is_escaped_and_balanced() -> None:
    text = typeset.latex("main", [SHEET])
    assert r"x\_1 \& y & {[1, 2]} \\" in text
    assert r"\caption{a\_b. 100 \% \{sure\}\textasciitilde{}\textbackslash{}}" in text
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    assert text.isascii()
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(make_job, tmp_path: Path) -> None:
    job = make_job("things-eeg2")
    tables.run(job)
    parts = "".join(f"\\input{{{name}.tex}}\n" for name in KINDS)
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + parts + "\\end{document}\n"
    (tmp_path / "all.tex").write_text(document)
    subprocess.run(["pdflatex", "-halt-on-error", "all.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_all_tables_are_plain_latex(make_job) -> None:
    job = make_job("things-eeg2")
    tables.run(job)
    for name in KINDS:
        text = job.output(f"{name}.tex").read_text()
        assert text.isascii()
        for body in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, flags=re.DOTALL):
            columns = {len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith("\\\\")}
            assert len(columns) == 1


def test_transductive_scores_stand_in_tables_of_their_own_which_say_so(make_job, monkeypatch) -> None:
    """CSLS is right everywhere here, and no table of Top-1 shows any of it, not even the overview."""
    plain = rows_of

    def both(*given) -> pd.DataFrame:
        rows = plain(*given)
        return pd.concat([rows, rows.assign(task="stimulus-csls", rank=1)], ignore_index=True)

    monkeypatch.setitem(globals(), "rows_of", both)
    job = make_job(retrieval={**RETRIEVAL, "csls_neighbours": 7})
    context = tables.load(job)
    for name, kind in {**KINDS, "overview": {"kind": "overview"}}.items():
        shown = {**kind, "experiments": ["demo"]}
        for metric in ("top-1", "stimulus-csls:top-1"):
            frame, sheets = tables.build(name, {**shown, "metric": metric}, context)
            transductive = metric != "top-1"
            measured = frame[frame["level"].isin(["run", "subject", "mean", "difference"])]
            assert set(measured["task"]) == {"stimulus-csls" if transductive else "stimulus"}, name
            assert measured["note"].str.contains("transductive").fillna(False).eq(transductive).all()
            for sheet in sheets:
                text = f"{sheet.title} {sheet.caption} {sheet.header}"
                assert sheet.title.endswith("(transductive)") == transductive
                assert ("csls" in text.lower()) == ("uses all queries of the test at once" in text) == transductive
            if transductive:
                assert set(measured.loc[measured["level"].isin(["mean"]), "value"]) <= {1.0}
                assert any("7 nearest" in sheet.caption for sheet in sheets) or name == "overview"
