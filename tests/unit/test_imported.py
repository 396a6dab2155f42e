"""Another's model in our tables: the same ranks give the same numbers, and what does not fit is refused by its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import brain_files
import numpy as np
import pandas as pd
import pytest
from brain_files import TEST

from brain2clip import artefact, settings, stage
from brain2clip.plan import Plan
from brain2clip.plan.needs import problems
from brain2clip.preflight import check
from brain2clip.readers.attempts import Attempts
from brain2clip.reporting import tables
from brain2clip.retrieval import imported, query_table, rank, statistics
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.training import train
from brain2clip.training.data import load_responses, placed, stimuli_of
from brain2clip.training.predict import Predictor

RUN = {"study": "s", "signal": "b", "protocol": "p", "method": "m", "subject": "01", "seed": 0}
RETRIEVAL = settings.Retrieval(
    tasks=("stimulus", "stimulus-csls"), repetitions=("all", 1), bootstrap=100, pools=settings.Pools(size=4, draws=2)
)
IDS = brain_files.stimulus_ids()[-TEST:]
ENDINGS = ("md", "tex", "parquet")
METHOD = {"kind": "imported", "tower": "t", "file": "mine.csv", "source": "others"}


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> dict[str, Any]:
    """Rows of a ridge regression of the house, and the similarities that they were ranked by."""
    folder = tmp_path_factory.mktemp("house")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_voxels(folder / "voxels.h5", embedding, 30, noise=2.0)
    method = settings.Ridge(tower="tiny").model_dump(mode="json")
    tower = settings.Tower(model="ViT-B-32", pretrained="a.pt").model_dump(mode="json")
    given = {"method": method, "tower": tower, "seed": 0, "protocol": {}}
    inputs = {"responses": [folder / "voxels.h5"], "stimuli": [folder / "stimuli.h5"]}
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "history.parquet"}
    train.run(stage.Job("train", given, "code", {}, inputs, outputs))
    given = {"run": RUN, "method": method, "tower": tower, "retrieval": RETRIEVAL.ranking()}
    job = stage.Job(
        "rank", given, "code", {}, {**inputs, "checkpoint": [outputs["checkpoint"]]}, {"rows": folder / "r.parquet"}
    )
    rank.run(job)
    similarity = {}
    with stimuli_of(job) as stimuli:
        test = placed(load_responses(inputs["responses"], "test", None), stimuli, inputs["stimuli"][0])
        tensors = artefact.read_tensors(outputs["checkpoint"])
        rows = np.arange(brain_files.TRAIN, brain_files.TRAIN + TEST)
        predictor = Predictor(method, tower, tensors, test, stimuli, rows, "01")
        for one in rank.queries_of(predictor, test, RETRIEVAL):
            if one.task == "stimulus":
                similarity[str(one.repetitions)] = one.similarity
    groups = [len([1 for row, _ in trial_groups(test.stimulus, 1, 0) if row == other]) for other in rows]
    assert groups == [2] * TEST
    return {"stimuli": inputs["stimuli"], "rows": artefact.read_table(folder / "r.parquet"), "similarity": similarity}


def wide(house: dict[str, Any]) -> pd.DataFrame:
    """The house's similarities as another laboratory would write them: in another order, single trials below."""
    parts = []
    for repetitions, similarity in house["similarity"].items():
        names = np.repeat(IDS, len(similarity) // TEST)
        part = pd.DataFrame(similarity.astype(np.float64), columns=IDS)
        groups = np.tile(np.arange(len(similarity) // TEST), TEST)
        parts.append(part.assign(stimulus_id=names, subject="01", repetitions=repetitions, group=groups))
    return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=0)[
        ["subject", *reversed(IDS), "stimulus_id", "repetitions", "group"]
    ]


def long(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["subject", "stimulus_id", "repetitions", "group"]
    return table.melt(keys, var_name="candidate", value_name="similarity")


def read(folder: Path, house: dict[str, Any], table: pd.DataFrame, ending: str = "csv", **method: Any) -> pd.DataFrame:
    path = folder / f"mine.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    block = settings.parse(settings.Method, {**METHOD, "file": path.name, **method}).for_rows()  # as the plan gives it
    given = {"run": RUN, "method": block, "retrieval": RETRIEVAL.ranking()}
    inputs = {"stimuli": house["stimuli"], "result": [path]}
    job = stage.Job("imported", given, "code", {}, inputs, {"rows": folder / "rows.parquet"})
    imported.run(job)
    return artefact.read_table(folder / "rows.parquet")


@pytest.mark.parametrize("form", ["wide", "long"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_similarities_of_the_house_come_back_as_its_own_rows(tmp_path, house, form, ending):
    table = wide(house) if form == "wide" else long(wide(house)).sample(frac=1, random_state=1)
    found = read(tmp_path, house, table, ending)
    keys = ["task", "repetitions", "pool", "query"]
    ours, theirs = (one.sort_values(keys).reset_index(drop=True) for one in (house["rows"], found))
    assert set(theirs["task"]) == {"stimulus", "stimulus-csls"}
    for name in query_table.COLUMNS:
        if name == "similarity":
            np.testing.assert_allclose(theirs[name], ours[name], atol=1e-6)
        elif name == "margin":  # the house multiplies it by the length of the response's embedding, which is not given
            np.testing.assert_array_equal(np.sign(theirs[name]), np.sign(ours[name]))
        elif name not in ("top_ids", "top_similarities"):
            assert theirs[name].tolist() == ours[name].tolist(), name
    assert [list(one) for one in theirs["top_ids"]] == [list(one) for one in ours["top_ids"]]
    assert ours["rank"].max() > 1  # not all right


def ranks_of(house: dict[str, Any]) -> pd.DataFrame:
    rows = house["rows"]
    own = rows[(rows["task"] == "stimulus") & (rows["repetitions"] == "all") & (rows["pool"] == 0)]
    return pd.DataFrame({"stimulus_id": own["target"], "rank": own["rank"], "n_candidates": TEST, "subject": "01"})


def test_ranks_give_the_numbers_of_the_house_in_summaries_tables_and_contrasts(tmp_path, house):
    found = read(tmp_path, house, ranks_of(house)[::-1], holds="ranks")
    rows = house["rows"]
    ours = rows[(rows["task"] == "stimulus") & (rows["repetitions"] == "all") & (rows["pool"] == 0)]
    given = RETRIEVAL.statistics()
    summary = {
        name: statistics.summary(one.assign(method=name), given) for name, one in (("house", ours), ("m", found))
    }
    names = [name for name in statistics.SUMMARY_COLUMNS if name != "method"]
    pd.testing.assert_frame_equal(summary["house"][names], summary["m"][names])
    inputs: dict[str, list[Path]] = {"summary": [], "rows": []}
    for name, one in (("house", ours), ("m", found)):
        named = one.assign(method=name)
        named.attrs = one.attrs
        for kind, table in (("summary", summary[name]), ("rows", named)):
            inputs[kind].append(tmp_path / f"{name}.{kind}.parquet")
            made, unknown = (
                artefact.Provenance(kind, {"method": name}, "code"),
                {"similarity", "margin", "largest_class"},
            )
            artefact.write_table(inputs[kind][-1], table, made, unknown)
    experiment = {"study": "s", "signals": ["b"], "protocols": ["p"], "methods": ["house", "m"], "seeds": [0]}
    shown = {"main": {"kind": "methods"}, "contrast": {"kind": "contrast", "reference": "house"}}
    said = {"file": "mine.csv", "holds": "ranks", "source": "Doe 2026", "selection": "best test epoch"}
    given = {
        "tables": {name: {**one, "experiments": ["main"], "metric": "top-1"} for name, one in shown.items()},
        "experiments": {"main": experiment},
        "methods": {"house": "Ridge", "m": "Theirs"},
        "imported": {"m": said},
        "retrieval": RETRIEVAL.intervals(),
    }
    outputs = {
        f"{name}.{ending}": tmp_path / f"{name}.{ending}" for name in shown for ending in ("md", "tex", "parquet")
    }
    tables.run(stage.Job("tables", given, "code", {}, inputs, {**outputs, "summary": tmp_path / "s.parquet"}))
    main = artefact.read_table(outputs["main.parquet"])
    columns = ["level", "value", "ci_low", "ci_high", "chance", "n_queries"]
    pd.testing.assert_frame_equal(
        *(main.loc[main["method"] == name, columns].reset_index(drop=True) for name in ("house", "m"))
    )
    assert set(main.loc[main["method"] == "m", "source"]) == {"Doe 2026"}
    text = outputs["main.md"].read_text()
    assert "Theirs (imported)" in text
    digest = artefact.identity(tmp_path / "mine.csv").removeprefix("sha256:")[:12]
    told = " ".join(text.split())
    for words in (
        "made elsewhere",
        "Doe 2026",
        "test repetitions averaged: all",
        "best test epoch",
        "with unknown handling of ties",
        digest,
    ):
        assert words in told, words
    assert digest in told
    difference = artefact.read_table(outputs["contrast.parquet"]).iloc[0]
    assert (difference["method"], difference["value"], difference["n_stimuli"]) == ("m", 0.0, TEST)


def test_a_tie_counts_against_the_query(tmp_path, house):
    table = wide(house)
    table = table[table["repetitions"] == "all"].assign(**dict.fromkeys(IDS, 0.5))
    found = read(tmp_path, house, table)
    assert set(found.loc[(found["pool"] == 0) & (found["task"] == "stimulus"), "rank"]) == {TEST}


def changed(name: str, value: Any, row: int = 2):
    def edit(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype(object)
        table.iloc[row, table.columns.get_loc(name)] = value
        return table

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (changed("stimulus_id", "test-999"), r"mine\.csv, line 4: found stimulus_id 'test-999'; expected ids of"),
        (changed("stimulus_id", IDS[0]), "line 4: found the query test-000 a second time; expected each test"),
        (changed("stimulus_id", "train-001"), "found stimulus_id 'train-001'"),
        (lambda table: table[1:], "no query of 1 of the 10 test stimuli, the first is test-000"),
        (changed("rank", 0), "line 4: found rank 0; expected a whole number from 1"),
        (changed("rank", 11), r"found rank 11; expected a whole number from 1 \(best\) to 10"),
        (changed("rank", 1.5), r"found rank 1\.5"),
        (changed("rank", "first"), "found rank 'first'; expected a finite number"),
        (changed("n_candidates", 200), "line 4: found n_candidates 200; expected 10"),
        (lambda table: table.assign(subject="1"), "no row of subject 01; the column subject has 1.*01, not 1"),
        (lambda table: table.drop(columns="subject"), r"expected a column subject, or \{subject\} in the setting file"),
        (lambda table: table.assign(seed="0"), "a column seed, but seeds: false"),
        (lambda table: table.assign(repetitions="4"), r"found repetitions '4' \(10 such rows\); expected one of"),
        (lambda table: table.assign(ranke=1), "unknown column 'ranke'.*did you mean 'rank'"),
        (lambda table: table.drop(columns="rank"), "no column rank; found stimulus_id, n_candidates, subject"),
        (lambda table: table[:0], "no row"),
    ],
)  # fmt: skip
def test_ranks_that_do_not_fit_are_refused(tmp_path, house, edit, words):
    with pytest.raises(stage.InputError, match=words):
        read(tmp_path, house, edit(ranks_of(house)), holds="ranks")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (changed(IDS[3], "nan"), r"line 4: found similarity 'nan' to test-003; expected a finite number"),
        (changed(IDS[3], ""), "line 4: found similarity '' to test-003"),
        (lambda table: table.drop(columns=IDS[3]), "9 candidates, but not test-003"),
        (lambda table: table.assign(other=1.0), "column 'other' .* is not among the 10 candidates"),
        (lambda table: long(table)[1:], "found similarity nan to"),
        (lambda table: pd.concat([long(table), long(table)[:1]]), "the similarity of .* a second time"),
    ],
)
def test_similarities_that_do_not_fit_are_refused(tmp_path, house, edit, words):
    with pytest.raises(stage.InputError, match=words):
        read(tmp_path, house, edit(wide(house)[lambda table: table["repetitions"] == "all"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [("stimulus_id,rank,rank\na,1,2\n", "two columns of the same name"), ("stimulus_id,rank\na,1,2\n", "more fields"),
     ("<!DOCTYPE html>\n<html></html>\n", "not a table")],
)  # fmt: skip
def test_files_that_are_no_table_are_refused(tmp_path, text, words):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(stage.InputError, match=words):
        imported.read(path, settings.parse(settings.Method, {**METHOD, "holds": "ranks"}))


# ------------------------------------------------------------------------------------------- the plan, the check


def planned(folder: Path, **method: Any) -> Plan:
    raw = {
        "studies": {"mine": {"kind": "simulated", "subjects": 2}},
        "bands": {"all": {}, "low": {}},
        "towers": {"t": {"model": "ViT-B-32", "pretrained": "a.pt"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"theirs": {**METHOD, "file": f"{folder}/mine.csv", **method}},
        "experiments": {
            name: {"study": "mine", "signals": [name], "protocols": ["intra"], "methods": ["theirs"], "seeds": [0, 1]}
            for name in ("all", *(["low"] if method.pop("both", False) else []))
        },
        "tables": {"main": {"kind": "methods", "experiments": ["all"]}},
    }
    raw["methods"]["theirs"].pop("both", None)
    return Plan(settings.load(raw))


def test_a_result_needs_no_recording_and_one_job_for_each_subject_and_seed_that_it_has(tmp_path):
    stages = [job.stage for job in planned(tmp_path).jobs().values()]
    assert stages.count("imported") == 2
    assert not {"train", "rank", "ceiling"} & set(stages)
    several = planned(tmp_path, file="{subject}-{seed}.csv", seeds=True)
    jobs = [job for job in several.jobs().values() if job.stage == "imported"]
    assert sorted(job.inputs["result"][0] for job in jobs) == ["01-0.csv", "01-1.csv", "02-0.csv", "02-1.csv"]


def test_what_settings_alone_tell_is_refused_before_anything_runs(tmp_path):
    assert problems(planned(tmp_path)) == []
    (told,) = problems(planned(tmp_path, both=True))
    assert "experiments list it for all, low" in told
    assert problems(planned(tmp_path, both=True, file="{signal}.csv")) == []
    assert "methods.theirs.repetitions: found 4" in problems(planned(tmp_path, repetitions=4))[0]
    assert "methods.theirs.task: found caption" in problems(planned(tmp_path, task="caption"))[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"file": "x.txt"}, "expected the name of a .csv or a .parquet file"), ({"file": "{sub}.csv"}, r"found \{sub\}"),
     ({"file": "{seed}.csv"}, "seeds: found false"), ({"source": ""}, "at least 1 character")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        settings.parse(settings.Method, {**METHOD, **wrong})


def test_the_check_tells_what_is_wrong_with_the_file(tmp_path):
    plan, path = planned(tmp_path, holds="ranks"), tmp_path / "mine.csv"

    def told() -> str:
        attempts = Attempts()
        check.check_imported(plan, attempts)
        return "\n".join(attempts.refusals)

    assert "no such file of a result" in told()
    path.write_text("stimulus_id,rank,subject\na,1,01\na,1,03\n")
    assert "line 3: found subject '03'; expected one of 01, 02" in told()
    path.write_text("stimulus_id,rank,subject\na,1,01\na,x,02\n")
    assert "found rank 'x'" in told()
    path.write_text("stimulus_id,rank,subject\na,1,01\na,1,02\n")
    assert told() == ""


def test_the_check_goes_on_where_a_study_has_no_subject(tmp_path, monkeypatch):
    """Files of results are looked at for subjects that there are; that there are none is told once, by the study."""

    def refused(self, study):
        raise stage.InputError("studies.mine.subjects: none")

    monkeypatch.setattr(Plan, "subjects", refused)
    attempts = Attempts()
    monkeypatch.setattr(check.needs, "check_towers", lambda *_: None)
    check.check_settings(planned(tmp_path), attempts)
    assert list(attempts.refusals) == ["studies.mine.subjects: none"]
