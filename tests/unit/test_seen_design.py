"""The commonest design of a laboratory, from recordings to tables: a later run shows the pictures again."""

from __future__ import annotations

from pathlib import Path

import bids_fixtures
import numpy as np
import pytest
from in_process import do
from PIL import Image

from brain2clip import artefact
from brain2clip.plan import Plan
from brain2clip.settings import load

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"thing-{number}" for number in range(6)]


def configuration(folder: Path) -> dict:
    study = {
        **{"kind": "bids", "root": str(folder / "bids"), "tasks": ["see"], "stimulus": "trial_type"},
        **{"stimuli": str(folder / "pictures.tsv"), "split": {"by": "run", "test": ["03"], "concepts": "seen"}},
        "responses": {"tmin": -0.1, "tmax": 0.4, "sfreq": 62.5, "whitening": {"kind": "zscore"}},
    }
    given = {"study": "again", "signals": ["broad"], "protocols": ["intra"], "methods": ["ridge", "lda"]}
    return {
        "results": "results",
        "studies": {"again": study},
        "bands": {"broad": {"l_freq": 1, "h_freq": 20}},
        "towers": {"small": {"model": f"local-dir:{ROOT / 'workflow/towers/grammar-vit'}"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {
            "ridge": {"kind": "ridge", "tower": "small", "folds": 2, "average_repetitions": False},
            "lda": {"kind": "lda", "tower": "small", "average_repetitions": False, "windows": 4},
        },
        "experiments": {"main": given},
        "retrieval": {"bootstrap": 100, "repetitions": [1, "all"], "metrics": ["top-1", "2-way"]},
        "tables": {
            "main": {"kind": "methods", "experiments": ["main"], "metric": "top-1"},
            "overview": {"kind": "overview", "experiments": ["main"], "metric": "top-1"},
            "contrast": {"kind": "contrast", "experiments": ["main"], "metric": "top-1@1", "reference": "lda"},
            "curve": {"kind": "repetitions", "experiments": ["main"], "metric": "top-1"},
            "costs": {"kind": "costs", "experiments": ["main"], "metric": "top-1"},
            "ablation": {"kind": "ablation", "experiments": ["main"], "metric": "top-1", "reference": "lda"},
        },
    }


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> tuple[Plan, Path]:
    """All jobs of it, done; each picture evokes a pattern of its own."""
    folder = tmp_path_factory.mktemp("seen")
    random = np.random.default_rng(0)
    patterns = 2e-5 * random.normal(size=(len(NAMES), 4, 1)) * np.hanning(50)
    for run in ("01", "02", "03"):
        shown = random.permutation(np.repeat(np.arange(len(NAMES)), 6))
        data = bids_fixtures.noise(int(run), 30)
        for number, picture in enumerate(shown):
            begin = round((1 + 0.75 * number) * bids_fixtures.SFREQ)
            data[:, begin : begin + 50] += patterns[picture]
        events = bids_fixtures.regular_events(len(shown), step=0.75, names=[NAMES[picture] for picture in shown])
        bids_fixtures.write_run(folder / "bids", data, events, run=run)
    table = {"stimulus_id": NAMES, "concept": NAMES, "image": [f"{name}.png" for name in NAMES]}
    bids_fixtures.write_tsv(folder / "pictures.tsv", table)
    for name in NAMES:
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((64, 64)).save(
            folder / f"{name}.png"
        )
    made = Plan(load(configuration(folder)))
    for job in made.jobs().values():
        do(job, folder)
    return made, folder


def test_it_runs_and_finds_what_was_shown(plan):
    made, folder = plan
    stimuli = artefact.read_table(folder / made.catalogue("again"))
    assert set(stimuli["split"]) == {"both"}
    summary = artefact.read_table(folder / made.tables()[0])
    assert set(summary["concepts"]) == {"seen"}
    top1 = summary[summary["metric"] == "top-1"].set_index("method")["value"]
    assert top1["lda"] == 1
    assert top1["ridge"] > 0.8


def test_every_table_and_figure_says_seen_concepts(plan):
    made, folder = plan
    for path in made.tables()[1:]:
        if path.endswith(".parquet"):
            assert set(artefact.read_table(folder / path)["concepts"]) == {"seen"}, path
        else:
            text = " ".join((folder / path).read_text().split())
            assert "(seen concepts)" in text, path
            assert "Seen concepts: the test concepts occur in training" in text, path
    assert len(made.figures()) >= 3
    for path in made.figures():
        assert "SEEN CONCEPTS" in (folder / path).read_text(), path


def test_without_the_setting_it_is_refused_with_its_name(plan):
    _, folder = plan
    given = configuration(folder)
    del given["studies"]["again"]["split"]["concepts"]
    given["experiments"]["main"]["methods"] = ["ridge"]
    with pytest.raises(
        ValueError, match=r"6 concepts are on both sides.*\n.*set studies\.again\.split\.concepts: seen"
    ):
        Plan(load({**given, "tables": {}})).study("again").stimulus_table()
