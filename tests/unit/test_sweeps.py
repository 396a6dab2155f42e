"""Sweeps: methods that are written out, and figures that show accuracy against what methods get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.reporting import style
from brain2clip.reporting.figure_kinds import sweep
from brain2clip.retrieval import query_table, tasks
from brain2clip.settings import dump, sweeps

RAW = yaml.safe_load((Path(__file__).parents[1] / "workflow/tiny.yaml").read_text(encoding="utf-8"))
OPTIONS = {"bootstrap": 100, "level": 0.95, "seed": 0}


def config(**experiments: Any) -> settings.Config:
    common = {"study": "simulated", "signals": ["broad"], "protocols": ["intra"], "methods": ["frozen"]}
    own = {name: {**common, **one} for name, one in experiments.items()}
    return settings.load({**RAW, "experiments": own, "tables": {}})


def test_every_method_is_run_with_every_combination_and_called_after_it():
    given = {
        "methods": ["frozen", "neuroclip"],
        "sweep": {"inputs.concepts": [2, 4], "inputs.channels": [None, ["Oz", "Pz"]]},
    }
    made = config(curve=given)
    names = [
        f"{name}-concepts-{n}-channels-{c}"
        for name in ("frozen", "neuroclip")
        for n in (2, 4)
        for c in ("all", "Oz-Pz")
    ]
    assert list(made.experiments["curve"].methods) == names
    one = made.methods["neuroclip-concepts-4-channels-Oz-Pz"]
    assert (one.inputs.concepts, one.inputs.channels) == (4, ("Oz", "Pz"))
    assert one.label == "NeuroCLIP (concepts 4, channels Oz + Pz)"
    rest = {key: value for key, value in dump(one).items() if key not in ("inputs", "label")}
    assert rest == {key: value for key, value in dump(made.methods["neuroclip"]).items() if key != "label"}
    again = settings.load(made.model_dump(mode="json"))
    assert again == made  # what was written out is not written out again


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        (
            {"inputs.repetitions": 2},
            r"experiments\.curve\.sweep\.inputs\.repetitions: expected a list of values; found 2",
        ),
        ({"inputs.repetitions": [2, 2]}, "expected each value once"),
        ({"inputs.repetition": [1]}, r"methods\.frozen-repetition-1\.inputs\.repetition: unknown key \(did you mean"),
        (
            {"inputs.repetitions": [0]},
            r"methods\.frozen-repetitions-0\.inputs\.repetitions: .*greater than or equal to 1",
        ),
        ([1], "expected keys of a method"),
    ],
)
def test_sweeps_that_cannot_be_are_refused(sweep, words):
    with pytest.raises(settings.SettingsError, match=words):
        config(curve={"sweep": sweep})


def test_a_name_that_is_taken_is_refused():
    taken = {**RAW["methods"], "frozen-repetitions-1": RAW["methods"]["ceiling"]}
    experiment = {**RAW["experiments"]["bands"], "sweep": {"inputs.repetitions": [1]}}
    with pytest.raises(settings.SettingsError, match="'frozen-repetitions-1' is there already, with other settings"):
        settings.load({**RAW, "methods": taken, "experiments": {"curve": experiment}, "tables": {}})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2, "2"),
        (0.5, "0p5"),
        ([-0.1, 0.05], "m0p1-0p05"),
        (None, "all"),
        (["occipital-parietal-17"], "occipital-parietal-17"),
    ],
)
def test_values_in_names(value, text):
    assert sweeps.text_of(value) == text
    assert len(sweeps.text_of([f"channel{number}" for number in range(63)])) <= sweeps.LONGEST


# --------------------------------------------------------------------------------------------- the figure


def figure(made: settings.Config, value: dict[str, float]) -> tuple[Any, Any]:
    """The figure of shares that are right, by method; its settings are those of the plan."""
    plan = Plan(made)
    given = sweep.Figure.settings(plan, "simulated")
    rng, rows = np.random.default_rng(0), []
    for run in sorted({run for one in made.experiments.values() for run in plan.runs_of(one)}):
        similarity = rng.random((40, 40))
        right = rng.random(40) < value[run.method]
        similarity[np.arange(40), np.arange(40)] = np.where(right, 2.0, -1.0)
        ids = np.array([f"s{number:02d}" for number in range(40)], dtype=object)
        rows.append(query_table.table([tasks.Queries("stimulus", "all", ids, np.arange(40), similarity)], run.columns))
    import pandas as pd

    points = sweep.points_of(pd.concat(rows, ignore_index=True), given)
    with style.applied():
        return sweep.figure_sweep(points, given), points


def test_a_curve_for_each_method_over_the_values_in_their_order():
    given = {"methods": ["frozen", "neuroclip", "ceiling"]}
    methods = {
        f"{name}-{key}": {
            **RAW["methods"][name],
            "base": name,
            "label": f"{name} ({key})",
            "inputs": {"repetitions": n},
        }
        for name in ("frozen", "neuroclip")
        for key, n in (("one", 1), ("two", 2))
    }
    raw = {**RAW, "methods": {**RAW["methods"], **methods}, "tables": {}}
    experiment = {**RAW["experiments"]["bands"], **given}
    experiment["methods"] = ["ceiling", "frozen", "frozen-two", "frozen-one", "neuroclip-one", "neuroclip-two"]
    made = settings.load({**raw, "experiments": {"curve": experiment}})
    value = {
        "ceiling": 0.95,
        "frozen-one": 0.2,
        "frozen-two": 0.4,
        "frozen": 0.6,
        "neuroclip-one": 0.5,
        "neuroclip-two": 0.7,
    }
    drawn, points = figure(made, value)
    (axis,) = drawn.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2", "all"]
    assert axis.get_xlabel() == "training repetitions of a picture"
    lines = {one.get_label(): one for one in axis.containers}
    assert list(lines) == ["frozen", "neuroclip"]
    shown = points.set_index("method")["value"]
    expected = [100 * shown[name] for name in ("frozen-one", "frozen-two", "frozen")]
    np.testing.assert_allclose(lines["frozen"].lines[0].get_ydata(), expected)
    assert "of 40" in axis.get_title(loc="left")
    flat = [line for line in axis.lines if len(set(line.get_ydata())) == 1]
    assert {line.get_label() for line in flat} >= {"chance", "Ideal observer"}


def test_windows_are_a_curve_over_time_and_two_windows_a_matrix():
    windows = [[0.0, 0.1], [0.1, 0.2], [0.2, 0.3]]
    made = config(
        time={"sweep": {"inputs.window": windows}},
        both={"sweep": {"inputs.window": windows, "inputs.test_window": windows}},
    )
    value = {name: 0.1 for one in made.experiments.values() for name in one.methods}
    value |= {f"frozen-window-{sweeps.text_of(one)}-test-window-{sweeps.text_of(one)}": 0.9 for one in windows}
    drawn, points = figure(made, value)
    time, both = drawn.axes[:2]
    np.testing.assert_allclose(time.containers[0].lines[0].get_xdata(), [50, 150, 250])
    shown = points.set_index("method")["value"]
    image = both.images[0].get_array()
    for row, window in enumerate(windows):
        for column, test in enumerate(windows):
            name = f"frozen-window-{sweeps.text_of(window)}-test-window-{sweeps.text_of(test)}"
            assert image[row, column] == pytest.approx(100 * shown[name])
    assert [label.get_text() for label in both.get_xticklabels()] == ["50", "150", "250"]
    assert both.get_ylabel() == "training window (ms)"


def test_a_study_whose_methods_all_get_the_same_has_no_such_figure():
    assert sweep.Figure.inputs(Plan(config(plain={})), "simulated") is None
    assert "sweep" in Plan(config(curve={"sweep": {"inputs.repetitions": [1, 2]}})).figures_of("simulated")


def test_methods_that_differ_in_more_than_what_they_get_are_no_sweep():
    other = {**RAW["methods"]["frozen"], "base": "neuroclip", "label": "another", "inputs": {"repetitions": 1}}
    other["optimiser"] = {**other.get("optimiser", {}), "weight_decay": 0.5}
    raw = {**RAW, "methods": {**RAW["methods"], "other": other}, "tables": {}}
    experiment = {**RAW["experiments"]["bands"], "methods": ["frozen", "other"]}
    assert Plan(settings.load({**raw, "experiments": {"field": experiment}})).varied("simulated") == {}
