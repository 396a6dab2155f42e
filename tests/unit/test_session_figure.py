"""The figure of accuracy by number of sessions: what it is drawn from, where its points stand, what it says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from test_new_subject import configured

from brain2clip import artefact, settings, stage
from brain2clip.plan import Plan
from brain2clip.reporting import accuracy, style
from brain2clip.reporting import page as results_page
from brain2clip.reporting.figure_kinds import sessions
from brain2clip.reporting.page_parts import design
from brain2clip.reporting.session_curves import WORDS
from brain2clip.retrieval import query_table, statistics, tasks

OPTIONS = {"bootstrap": 100, "level": 0.95, "seed": 0}
STARTS: dict[str, dict[str, Any]] = {
    "others": {"kind": "new-subject"},
    "input": {"kind": "new-subject", "tune": "input"},
    "fresh": {"kind": "new-subject", "start": "random"},
    "alone": {"kind": "intra-subject"},
}
N = 40


def rows_of(protocol: str, method: str, subject: str, share: float) -> pd.DataFrame:
    """Queries of which this share is right, exactly."""
    right = np.arange(N) < round(share * N)
    similarity = np.random.default_rng(0).random((N, N))
    similarity[np.arange(N), np.arange(N)] = np.where(right, 2.0, -1.0)
    ids = np.array([f"s{number:02d}" for number in range(N)], dtype=object)
    run = {"study": "voxels", "signal": "vc", "protocol": protocol, "method": method, "subject": subject, "seed": 0}
    return query_table.table([tasks.Queries("stimulus", "all", ids, np.arange(N), similarity)], run)


def drawn(
    shares: dict[tuple[str, str], float],
    subjects: int = 3,
    whole: dict[tuple[str, str], int] | None = None,
    **given: Any,
) -> tuple[Figure, pd.DataFrame]:
    """The figure of shares by protocol and method; the n-th subject has n twentieths more."""
    parts = [
        rows_of(protocol, method, f"{number + 1:02d}", share + 0.05 * number)
        for (protocol, method), share in shares.items()
        for number in range(subjects)
    ]
    listed = {}
    for protocol, _ in shares:
        name, _, count = protocol.rpartition("-")
        listed[protocol] = {**STARTS[name.rstrip("2")], "sessions": count if count == "all" else int(count)}
    own = {"methods": {"linear": "Linear", "top": "Ideal"}, "sessions": listed, "retrieval": OPTIONS, **given}
    points = sessions.points_of(pd.concat(parts, ignore_index=True), own, whole)
    words = accuracy.interval(SimpleNamespace(settings=own), points[points["subject"] == ""])  # type: ignore[arg-type]
    with style.applied():
        return sessions.figure_sessions(points, own, whole or {}, words), points


def line(made: Figure, label: str, axis: int = 0) -> Any:
    (found,) = [one for one in made.axes[axis].lines if one.get_label() == label]
    return found


def everyone(count: int, subjects: int = 3) -> dict[tuple[str, str], int]:
    return {("vc", f"{number + 1:02d}"): count for number in range(subjects)}


def test_means_intervals_and_subjects_stand_at_their_number_of_sessions():
    shares = {("others-1", "linear"): 0.3, ("others-4", "linear"): 0.5, ("others-all", "linear"): 0.6}
    shares |= {("fresh-1", "linear"): 0.1, ("fresh-all", "linear"): 0.55}
    made, _ = drawn(shares, whole=everyone(8))
    (axis,) = made.axes
    assert axis.get_xticks().tolist() == [1, 4, 8]
    assert [one.get_text() for one in axis.get_xticklabels()] == ["1", "4", "8 (all)"]
    assert axis.get_xlabel() == "training sessions of the tested subject"
    others = line(made, "after other subjects")
    np.testing.assert_allclose(others.get_ydata(), [35, 55, 65])
    np.testing.assert_allclose(others.get_xdata(), [1, 4, 8], atol=0.3)
    fresh = line(made, "from random weights, the same network")
    np.testing.assert_allclose(fresh.get_ydata(), [15, 60])
    assert others.get_xdata()[0] < fresh.get_xdata()[0], "beside each other, so that both intervals are seen"
    assert (others.get_color(), others.get_marker(), others.get_linestyle()) != (
        *(fresh.get_color(), fresh.get_marker(), fresh.get_linestyle()),
    )
    assert others.get_marker() != fresh.get_marker(), "also without colour"
    chance = line(made, "chance")
    np.testing.assert_allclose(chance.get_ydata(), 100 / N)
    assert chance.is_dashed()
    thin = [one for one in axis.lines if one.get_linewidth() < 1 and len(one.get_xdata())]
    assert len(thin) == 2 * 3
    own = sorted(one.get_ydata()[0] for one in thin if one.get_color() == others.get_color())
    np.testing.assert_allclose(own, [30, 35, 40])
    part = pd.concat([rows_of("others-1", "linear", f"{one + 1:02d}", 0.3 + 0.05 * one) for one in range(3)])
    expected = statistics.mean_over_subjects(part, "top-1", 100)
    bars = [one for one in axis.collections if hasattr(one, "get_segments")]
    ends = next(one.get_segments()[0][:, 1] for one in bars if len(one.get_segments()) == 3)
    np.testing.assert_allclose(ends, [100 * expected["t_low"], 100 * expected["t_high"]])
    assert "new-subject: mean of 3 subjects, 95 % CI (t over subjects)" in made.get_suptitle()
    assert "Linear: seen stimulus, of 40" in axis.get_title(loc="left")


def test_every_method_has_a_panel_and_every_start_one_look():
    shares = {(f"{start}-{count}", "linear"): 0.3 for start in STARTS for count in (1, 2)}
    shares |= {(f"alone-{count}", "other"): 0.2 for count in (1, 2)}
    made, _ = drawn(shares)
    assert [one.get_title(loc="left").split(":")[0] for one in made.axes] == ["vc, Linear", "vc, other"]
    labels = [one.get_label() for one in made.axes[0].lines if one.get_label() in WORDS.values()]
    assert labels == list(WORDS.values())
    looks = {(one.get_color(), one.get_marker()) for one in made.axes[0].lines if one.get_label() in WORDS.values()}
    assert len({look[0] for look in looks}) == len({look[1] for look in looks}) == 4
    alone = [line(made, "the subject alone", axis) for axis in (0, 1)]
    assert alone[0].get_color() == alone[1].get_color()
    assert made.axes[0].get_ylim() == made.axes[1].get_ylim()
    assert "new-subject and intra-subject" in made.get_suptitle()


def test_upper_bounds_are_lines_across_and_no_curve():
    shares = {
        (f"others-{count}", method): share for count in (1, 2) for method, share in [("linear", 0.3), ("top", 0.8)]
    }
    made, _ = drawn(shares, ceilings=["top"])
    assert len(made.axes) == 1
    np.testing.assert_allclose(line(made, "Ideal").get_ydata(), 85)


def test_two_subjects_have_no_interval_and_one_has_no_thin_line():
    shares = {("others-1", "linear"): 0.3, ("others-2", "linear"): 0.5}
    made, _ = drawn(shares, subjects=2)
    assert not any(len(one.get_segments()) for one in made.axes[0].collections if hasattr(one, "get_segments"))
    assert made.axes[0].get_ylim()[1] < 70, "the axis is not that of Student's interval"
    made, _ = drawn(shares, subjects=1)
    assert "single subjects" not in [one.get_label() for one in made.axes[0].lines]


def test_numbers_that_lie_far_apart_are_on_a_logarithmic_axis():
    shares = {(f"others-{count}", "linear"): 0.3 for count in (1, 2, 4, "all")}
    made, _ = drawn(shares, whole=everyone(40))
    assert made.axes[0].get_xscale() == "log"
    assert "(logarithmic)" in made.axes[0].get_xlabel()
    assert [one.get_text() for one in made.axes[0].get_xticklabels()] == ["1", "2", "4", "40 (all)"]


def test_subjects_with_other_numbers_stand_at_their_own():
    shares = {(f"others-{count}", "linear"): 0.3 for count in (2, "all")}
    made, _ = drawn(shares, whole=everyone(8) | {("vc", "02"): 6})
    assert [one.get_text() for one in made.axes[0].get_xticklabels()] == ["2", "6–8 (all)"]
    thin = [one for one in made.axes[0].lines if one.get_linewidth() < 1 and len(one.get_xdata())]
    assert sorted(one.get_xdata()[-1] for one in thin) == [6, 8, 8]


def test_all_sessions_of_an_unknown_number_stand_behind_the_others():
    shares = {(f"others-{count}", "linear"): 0.3 for count in (1, 3, "all")}
    made, _ = drawn(shares)
    assert made.axes[0].get_xticks().tolist() == [1, 3, 5]
    assert [one.get_text() for one in made.axes[0].get_xticklabels()] == ["1", "3", "all"]
    np.testing.assert_allclose(line(made, "after other subjects").get_xdata(), [1, 3, 5])


def test_two_protocols_with_the_same_settings_are_one_curve():
    shares = {("others-1", "linear"): 0.3, ("others2-1", "linear"): 0.3, ("others-2", "linear"): 0.4}
    made, points = drawn(shares)
    assert len(line(made, "after other subjects").get_xdata()) == 2
    assert (points["subject"] == "").sum() == 2


def write_responses(path: Path, session: list[str], split: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with artefact.create_h5(path, artefact.Provenance("voxels", {}, "code")) as file:
        file.create_dataset("session", data=session, dtype=h5py.string_dtype())
        file["split"] = np.array(split, np.uint8)


def test_all_sessions_are_counted_in_the_responses(tmp_path):
    """Those with training trials: a session of tests alone trains nothing; nameless ones have no number."""
    folder = tmp_path / "voxels/vc"
    write_responses(folder / "sub-01.h5", ["01", "02", "02", "10", "11"], [0, 0, 1, 0, 1])
    write_responses(folder / "sub-02.h5", ["n/a", "n/a"], [0, 1])
    paths = [folder / "sub-01.h5", folder / "sub-02.h5"]
    assert sessions.recorded(stage.Job("figures", {}, "code", {}, {"responses": paths}, {})) == {("vc", "01"): 3}


# --------------------------------------------------------------------------------------------------- plan, page


def test_it_is_planned_where_there_are_several_numbers_and_stands_on_the_page():
    plan = Plan(settings.load(configured()))
    assert "sessions" in plan.figures_of("voxels")
    assert ("voxels", "sessions") in plan.page_figures()
    inputs = plan.figure_inputs("voxels", "sessions")
    protocols = {path.split("/")[4] for path in inputs["rows"]}
    assert protocols == {"few-1", "few-2", "few-all", "fresh-1", "fresh-all", "alone-1", "alone-all"}
    assert sorted(inputs["responses"]) == [f"results/responses/voxels/vc/sub-{one:02d}.h5" for one in (1, 2, 3)]
    given = plan.figures_spec("voxels", "sessions").settings
    assert set(given["sessions"]) == protocols
    assert given["ceilings"] == ["ceiling"]
    assert set(given["methods"]) == {"brainclip", "ceiling", "ridge"}
    alone = {"few": {"kind": "new-subject", "sessions": [1, 2]}, "fresh": {"kind": "new-subject", "sessions": 2}}
    alone["alone"] = {"kind": "intra-subject", "sessions": 1}
    few = Plan(settings.load(configured(**{f"protocols__{name}": one for name, one in alone.items()})))
    assert "responses" not in few.figure_inputs("voxels", "sessions"), "no protocol takes all"


def test_one_number_of_sessions_is_no_curve():
    raw = configured()
    raw["protocols"] |= {name: {**raw["protocols"][name], "sessions": 1} for name in ("few", "fresh", "alone")}
    plan = Plan(settings.load(raw))
    assert "sessions" not in plan.figures_of("voxels")
    assert ("voxels", "sessions") not in plan.page_figures()


def test_the_page_has_words_for_every_figure_on_it():
    from brain2clip.plan.shown import PAGE_FIGURES

    assert set(PAGE_FIGURES) == set(results_page.FIGURES)
    for one in results_page.FIGURES.values():
        assert set(one) == {"title", "alt", "caption"}
    said = results_page.FIGURES["sessions"]
    assert "number of training sessions" in said["alt"]
    assert "new-subject" in said["caption"]
    assert 'alt="{{ figure_words[one.name].alt }}' in design.text("page.html.j2")
