"""What an edit re-runs, counted in dry runs after a finished run of the tiny study."""

from __future__ import annotations

import re
import shutil

import pytest

pytestmark = pytest.mark.workflow

# Two subjects: 8 trainings in the first experiment (2 protocols, 2 methods), 2 in the second, and 4 ceilings.


def test_nothing_changed(project):
    assert project.planned() == {}


def test_key_order_float_form_and_comments_change_nothing(project):
    config = project.config
    assert isinstance(config["bands"]["broad"]["h_freq"], int)
    config["bands"]["broad"]["h_freq"] = 20.0
    project.write_config(config, sort_keys=True)
    project.config_file.write_text("# a comment\n" + project.config_file.read_text())
    assert project.planned() == {}


def test_an_edited_band_reruns_only_what_depends_on_it(project):
    project.edit(lambda config: config["bands"]["slow"].update(h_freq=7.0))
    counts = project.planned()
    assert counts == {"epochs": 2, "train": 2, "rank": 2, "tables": 1, "figures": 1}  # figure: the band spectra
    project.edit(lambda config: config["bands"]["slow"].update(h_freq=8.0))
    assert project.planned() == {}


def test_an_added_band_computes_only_that_band(project):
    def add(config):
        config["bands"]["fast"] = {"l_freq": 8.0, "h_freq": 20.0}
        config["experiments"]["bands"]["bands"].append("fast")

    project.edit(add)
    assert project.planned() == {"epochs": 2, "train": 2, "rank": 2, "tables": 1, "figures": 1}


def test_an_edited_method_leaves_responses_features_and_other_methods_alone(project):
    project.edit(lambda config: config["methods"]["frozen"].update(optimiser={"epochs": 2}))
    counts = project.planned()
    assert counts == {"train": 6, "rank": 6, "tables": 1, "figures": 2}  # training curves, rank histogram


def test_an_added_seed_trains_only_the_new_one(project):
    project.edit(lambda config: config["experiments"]["bands"].update(seeds=[0, 1]))
    assert project.planned() == {"train": 2, "rank": 2, "tables": 1}


def test_an_added_subject_leaves_pictures_features_and_finished_subjects_alone(project):
    project.edit(lambda config: config["studies"]["simulated"].update(subjects=3))
    counts = project.planned()
    assert counts["simulate_recordings"] == 1
    assert counts["epochs"] == 2  # the new subject in both bands
    assert "simulate_pictures" not in counts
    assert "features" not in counts
    # New: intra 2 methods, inter 2 methods, band 1; again: inter of the two old subjects, whose sources have grown.
    assert counts["train"] == 5 + 4
    assert counts["ceiling"] == 2


def test_the_filter_bank_of_pictures_does_not_touch_responses(project):
    project.edit(lambda config: config["towers"]["grammar-vit"].update(filter_bank={"bands": 3}))
    counts = project.planned()
    assert counts["features"] == 1
    assert "epochs" not in counts
    assert "simulate_recordings" not in counts


def test_a_table_setting_reruns_the_tables_only(project):
    project.edit(lambda config: config["tables"]["main"].update(metric="top-5"))
    assert project.planned() == {"tables": 1}


def test_a_label_reruns_no_training(project):
    project.edit(lambda config: config["methods"]["frozen"].update(label="Baseline"))
    assert set(project.planned()) <= {"tables", "figures"}


def test_comments_docstrings_and_touched_sources_rerun_nothing(project):
    project.replace("src/brain2clip/responses/whitening.py", '"""', '"""Edited. ')
    project.replace("src/brain2clip/training/train.py", "\n\n\n", "\n\n\n# a comment\n")
    (project.folder / "src/brain2clip/models/tower.py").touch()
    assert project.planned() == {}


def test_a_changed_formula_reruns_its_stage_and_what_follows(project):
    project.replace("src/brain2clip/responses/whitening.py", "class NoneFit", "CHANGED = 1\n\n\nclass NoneFit")
    counts = project.planned()
    assert counts["epochs"] == 4
    assert {"train", "rank", "tables"} <= set(counts)
    assert not {"simulate_pictures", "simulate_recordings", "features"} & set(counts)


def test_a_changed_style_of_figures_draws_figures_again_and_no_more(project):
    with (project.folder / "src/brain2clip/reporting/style.py").open("a") as file:
        file.write("\nCHANGED = 1\n")
    assert set(project.planned()) <= {"figures", "tables"}


def test_results_without_snakemakes_records_are_not_trusted_blindly(project):
    """Without .snakemake Snakemake sees no changed setting: then the reader of the artefact refuses it."""
    shutil.rmtree(project.folder / ".snakemake")
    project.edit(lambda config: config["bands"]["slow"].update(h_freq=7.0))
    for folder in ("training", "retrieval"):
        shutil.rmtree(project.folder / f"results/{folder}/simulated/slow")
    shutil.rmtree(project.folder / "results/tables")
    done = project.run("--show-failed-logs", check=False)
    assert done.returncode
    output = done.stdout + done.stderr
    assert "made by other settings than its reader expects" in output
    assert re.search(r'-\s+"h_freq": 8\.0', output)
    assert re.search(r'\+\s+"h_freq": 7\.0', output)
    assert not (project.folder / "results/tables/summary.parquet").exists()
