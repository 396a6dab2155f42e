"""The map of reruns: asked of the rules, for every setting, and spot checks of what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brain2clip import settings
from brain2clip.documents import reference, reruns
from brain2clip.plan.jobs import STAGES

ROOT = Path(__file__).resolve().parents[2]
FOLLOWING = {"train", "rank", "inspect", "embed", "timecourse", "summaries", "tables", "figures"}


def effect(block: type, name: str) -> dict[str, str]:
    return reruns.effects()[block, name]


def test_every_setting_has_its_place_on_the_map():
    lost = [
        f"{block.__name__}.{name}"
        for block in reference.blocks()
        for name, field in block.model_fields.items()
        if not reference._fixed(field) and not any(reference._children(field.annotation, name))
        if (block, name) not in reruns.effects()
    ]
    assert lost == [], "add blocks of these kinds to reruns.EXAMPLE, or other values to reruns.VALUES"


def test_every_rule_is_a_stage_of_the_map():
    rules = {
        name
        for path in (ROOT / "workflow" / "rules").glob("*.smk")
        for name in re.findall(r"^rule (\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert rules == set(STAGES)


def test_the_example_has_jobs_of_every_stage():
    with reruns.example() as raw:
        assert {job.stage for job in reruns.plan(raw).values()} == set(STAGES)


def test_the_plan_of_a_configuration_is_that_of_snakemake():
    """Names of jobs and their specs, against counts that tests/workflow/test_reruns.py has from dry runs."""
    import yaml

    raw = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text(encoding="utf-8"))
    counts: dict[str, int] = {}
    for job in reruns.plan(raw).values():
        counts[job.stage] = counts.get(job.stage, 0) + 1
    assert counts == {
        **{"simulate_pictures": 1, "simulate_recordings": 2, "simulate_dataset": 1, "epochs": 4, "catalogue": 1},
        **{
            "features": 1,
            "train": 10,
            "rank": 10,
            "ceiling": 4,
            "inspect": 2,
            "summaries": 7,
            "tables": 1,
            "timecourse": 2,
            "figures": 12,
            "page": 1,
        },
    }


def test_a_band_reaches_what_depends_on_responses():
    found = effect(settings.Band, "h_freq")
    assert found["epochs"] == "reads"
    assert {stage for stage, how in found.items() if how == "follows"} == {*FOLLOWING, "export"}
    assert not {"features", "simulate_recordings", "download", "images"} & set(found)


def test_the_filter_bank_reaches_no_response():
    found = effect(settings.FilterBank, "bands")
    assert found["features"] == "reads"
    assert not {"epochs", "preprocessed", "export"} & set(found)


@pytest.mark.parametrize(
    ("block", "name", "expected"),
    [
        (settings.ContrastTable, "metric", {"tables": "reads", "page": "reads"}),
        (settings.Retrieval, "metrics", {"summaries": "reads", "tables": "follows", "page": "follows"}),
        (settings.Retrieval, "level", {"summaries": "reads", "tables": "reads", "figures": "reads", "page": "reads"}),
        (settings.Figures, "also", {"figures": "new"}),
        (settings.Figures, "topography_times", {"figures": "reads"}),
        (settings.Figures, "window", {"timecourse": "reads", "figures": "follows", "page": "follows"}),
        (settings.Ridge, "label", {"tables": "reads", "figures": "reads", "page": "reads"}),
        (settings.Download, "at_once", {}),
        (settings.BidsStudy, "licence", {"page": "reads"}),
        (settings.Page, "pictures", {"page": "reads"}),
        (settings.Export, "formats", {"export": "new"}),
    ],
)
def test_settings_that_reach_little(block, name, expected):
    assert effect(block, name) == expected


def test_a_seed_makes_new_jobs():
    found = effect(settings.Experiment, "seeds")
    assert (found["train"], found["rank"], found["tables"]) == ("new", "new", "reads")


def test_another_folder_of_results_is_another_place_for_everything():
    assert set(effect(settings.Config, "results").values()) == {"new"}
    assert "`results`: all, in another place\n" in reference.documents()[reference.DOCUMENT]


def test_a_setting_that_the_example_lacks_is_an_error(monkeypatch):
    known = {key: value for key, value in reruns.effects().items() if key != (settings.Band, "notch")}
    monkeypatch.setattr(reruns, "effects", lambda: known)
    with pytest.raises(LookupError, match=r"Band\.notch"):
        reference.documents()


# Here, because the map behind it takes most of a minute and is made once in a process.
def test_generated_reference_is_up_to_date():
    made = reference.generated()
    assert {reference.DOCUMENT, reference.SCHEMA, reference.PAGES / "bands.md"} <= set(made)
    stale = [path.as_posix() for path, text in made.items() if (ROOT / path).read_text(encoding="utf-8") != text]
    assert (stale, reference.left_over(ROOT, made)) == ([], []), "run `make docs`"


def test_every_setting_is_in_one_table():
    text = "\n".join(reference.documents().values())
    for block, (path, *_) in reference.blocks().items():
        table = text.partition(f"## {f'`{path}`' if path else 'Top level'}\n")[2].partition("\n## ")[0]
        assert [name for name in block.model_fields if f"| `{name}` |" not in table] == []


def test_units_have_a_column_and_placeholders_are_seen():
    pages = reference.documents()
    bands = pages[reference.PAGES / "bands.md"]
    assert "| `h_freq` | low-pass edge (null: none beyond anti-aliasing) | Hz |" in bands
    assert "&lt;folder>/&lt;concept>/&lt;file>.jpg" in pages[reference.PAGES / "studies.md"]


def test_check_names_the_stale_file(tmp_path):
    with pytest.raises(SystemExit, match=r"docs/configuration\.md"):
        reference.main(["--root", str(tmp_path), "--check"])
    reference.main(["--root", str(tmp_path)])
    reference.main(["--root", str(tmp_path), "--check"])
    gone = tmp_path / reference.PAGES / "no-such-block.md"
    gone.write_text("")
    with pytest.raises(SystemExit, match=r"no-such-block\.md"):
        reference.main(["--root", str(tmp_path), "--check"])
    reference.main(["--root", str(tmp_path)])
    assert not gone.exists()
