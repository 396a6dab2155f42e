"""The whole chain on the tiny study: what comes out, what is refused, and what survives a kill."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pandas as pd
import pytest
from planner import planner
from project import Project

from brain2clip.preflight import owner

pytestmark = pytest.mark.workflow

MODEL = "simulated/broad/{}/neuroclip/sub-{}_seed-0"
RUN_COLUMNS = ["study", "signal", "protocol", "method", "subject", "seed"]
ROW_COLUMNS = [
    *RUN_COLUMNS,
    *["repetitions", "query", "target", "n_candidates", "rank", "similarity", "top_ids", "top_similarities"],
    *["task", "pool", "margin", "classes"],
]
SUMMARY_COLUMNS = [
    *RUN_COLUMNS,
    *["metric", "value", "ci_low", "ci_high", "chance", "n_queries", "largest_class", "concepts"],
]


def test_rows_and_summary_have_the_promised_columns(finished):
    results = finished.folder / "results"
    rows = pd.read_parquet(results / "retrieval/simulated/broad/intra/neuroclip/sub-01_seed-0.parquet")
    assert list(rows.columns) == ROW_COLUMNS
    assert rows["rank"].between(1, 8).all()
    assert (rows["n_candidates"] == 8).all()
    assert (rows["top_ids"].str.len() == 8).all()
    summary = pd.read_parquet(results / "tables/summary.parquet")
    assert list(summary.columns) == SUMMARY_COLUMNS
    assert (summary["ci_low"] <= summary["value"] + 1e-9).all()
    assert (summary["value"] <= summary["ci_high"] + 1e-9).all()
    runs = summary.drop_duplicates(["signal", "protocol", "method", "subject", "seed"])
    assert len(runs) == 14


def test_tables_and_figures_are_there_and_logs_tell(finished):
    results = finished.folder / "results"
    for ending in ("parquet", "md", "tex"):
        assert (results / f"tables/main.{ending}").stat().st_size
    figures = {path.stem for path in (results / "figures/simulated").glob("*.svg")}
    of_all = {"erp", "spectra", "training", "cost", "ranks", "subjects", "timecourse"}
    assert figures == of_all | {"gallery", "pictures", "confusion", "gains", "prompts"}
    log = (results / "logs/train/simulated/broad/intra/neuroclip/sub-01_seed-0.log").read_text()
    assert "train: epochs: 1 of 1" in log
    assert "peak memory" in log
    assert "on cpu" in log or "on cuda" in log


def test_nothing_half_written_is_left(finished):
    assert not list((finished.folder / "results").rglob("*.part*"))


def test_results_say_whose_they_are_and_are_refused_to_another_configuration(project):
    mark = project.folder / "results" / owner.NAME
    text = mark.read_text()
    assert '["tiny.yaml"]' in text
    shutil.copy(project.folder / "tiny.yaml", project.folder / "other.yaml")
    done = planner().run(project.folder, ["-n", "--configfile", "other.yaml"], project.environment())
    assert done.returncode
    assert "results belongs to another configuration, tiny.yaml; found other.yaml" in done.stdout + done.stderr
    project.replace("other.yaml", "results: results", "results: results/other")
    done = planner().run(project.folder, ["-n", "--configfile", "other.yaml"], project.environment())
    assert done.returncode == 0, done.stderr
    assert not (project.folder / "results/other").exists()
    assert mark.read_text() == text


def test_a_typo_is_answered_with_a_suggestion_and_no_traceback(tmp_path):
    project = Project.create(tmp_path / "project")
    project.replace("tiny.yaml", "h_freq: 20", "h_frq: 20")
    project.replace("tiny.yaml", "methods: [frozen]", "methods: [frozn]")
    done = project.run("-n", check=False)
    output = done.stdout + done.stderr
    assert done.returncode
    assert "bands.broad.h_frq: unknown key (did you mean 'h_freq'?)" in output
    assert "Traceback" not in output


def test_a_wrong_dataset_folder_is_named(tmp_path):
    project = Project.create(tmp_path / "project")
    text = (project.folder / "workflow/studies/n170.yaml").read_text().replace("../shared/data/n170", "nowhere")
    project.config_file.write_text(text)
    done = project.run("-n", check=False)
    assert done.returncode
    told = done.stdout + done.stderr
    assert (
        told.rstrip() == "WorkflowError:\nnowhere: no such folder; expected the folder of a BIDS dataset (setting root)"
    )


def test_what_an_input_function_refuses_is_a_sentence_and_what_is_not_inherited_is_said(tmp_path):
    project = Project.create(tmp_path / "project")
    assert "another kind than in its base: methods.frozen.visual (fusion).\n" in project.run("-n").stdout
    pictures = project.folder / "workflow/towers/grammar-vit"
    pictures.rename(project.folder / "workflow/towers/{braces}")
    project.replace("tiny.yaml", "towers/grammar-vit", "towers/{braces}")
    done = project.run("-n", check=False)
    assert done.returncode
    told = (done.stdout + done.stderr).partition("Building DAG of jobs...\n")[2]
    assert told.startswith("WorkflowError:\nworkflow/towers/{braces}/open_clip_config.json: found braces")
    assert len(told.strip().splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "ran"), [((), False), (("--configfile", "config.yaml"), True)], ids=["alone", "given"]
)
def test_code_in_a_configuration_is_refused_and_who_runs_it_before_is_known(tmp_path, given, ran):
    """Snakemake itself, where it is given the file: what docs/reproducing.md says."""
    project = Project.create(tmp_path / "project")
    project.replace("config.yaml", "results:", "__use_yte__: true\nran: ?open('ran', 'w').close()\nresults:")
    done = planner().run(project.folder, ["-n", *given], project.environment())
    assert done.returncode
    assert "would run code" in done.stdout + done.stderr
    assert (project.folder / "ran").exists() == ran


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_loses_only_the_running_jobs(project, how):
    def longer(config):
        config["methods"]["neuroclip"]["optimiser"]["epochs"] = 400

    project.edit(longer)
    runs = [(protocol, subject) for protocol in ("intra", "inter") for subject in ("01", "02")]
    targets = [f"results/training/{MODEL.format(*run)}.safetensors" for run in runs]
    logs = [project.folder / f"results/logs/train/{MODEL.format(*run)}.log" for run in runs]
    before = {path.stat().st_mtime_ns for path in logs}
    run = project.start("--", *targets)
    for _ in range(2400):
        time.sleep(0.1)
        started = [path for path in logs if path.exists() and path.stat().st_mtime_ns not in before]
        if any("epochs" in path.read_text() for path in started):
            break
    else:
        raise AssertionError("training did not start")
    os.killpg(run.pid, how)
    run.wait(timeout=180)
    project.edit(lambda config: config["methods"]["neuroclip"]["optimiser"].update(epochs=2))
    counts = project.planned("--rerun-incomplete")
    assert counts.get("train") == 4  # the four NeuroCLIP trainings, nothing else
    assert not {"simulate_recordings", "epochs", "features"} & set(counts)
    project.run_preloaded("--rerun-incomplete", "--", *targets)
    assert project.planned("--", *targets) == {}
    assert not list((project.folder / "results").rglob("*.part*"))
