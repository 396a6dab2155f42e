"""What a configuration takes, before its first run."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from bids_fixtures import noise, regular_events, study_settings, write_run

from brain2clip import kinds, settings
from brain2clip.cli import estimate
from brain2clip.plan import Plan, amounts, costs, sizes
from brain2clip.plan.amounts import UNKNOWN, Amounts
from brain2clip.plan.jobs import STAGES
from brain2clip.training import calibrate

ROOT = Path(__file__).resolve().parents[2]
DEMO, TINY = "workflow/studies/demo.yaml", "tests/workflow/tiny.yaml"


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def plan(path: str, **changes: object) -> Plan:
    raw = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split("__")
        place = raw
        for name in parents:
            place = place[name]
        place[last] = value
    raw.setdefault("results", "results/nowhere")
    return Plan(settings.load(raw, path))


def by_stage(made: Plan, gpu: bool = False, cores: int = 1) -> dict[str, costs.Estimate]:
    return {one.stage: one for one in costs.estimate(made, cores, gpu)}


@pytest.mark.parametrize("path", [DEMO, TINY, "tests/workflow/tiny-fmri.yaml", "workflow/studies/god.yaml"])
def test_jobs_are_counted_without_planning_them(path: str) -> None:
    made = plan(path)
    counted: Counter[str] = Counter()
    for work in Amounts(made).works():
        counted[work.stage] += work.jobs
    assert counted == Counter(job.stage for job in made.jobs().values())


def test_every_encoder_has_an_estimate_beside_those_that_were_measured() -> None:
    """Convolving ones take several times as long as one linear layer."""
    seconds, convolving = {}, set()
    for kind in kinds.shipped("encoders"):
        block = {"kind": kind} | ({"model": "EEGConformer"} if kind == "braindecode" else {})
        seconds[kind] = by_stage(plan(TINY, methods__frozen__encoder=block))["train"].cpu_s
        convolving |= {kind} if settings.parse(settings.Encoder, block).convolves else set()
    linear = seconds["eegproject"]
    assert {kind for kind, found in seconds.items() if found > linear} == convolving >= {"tsconv", "atm"}
    assert max(seconds.values()) - linear < 4 * (seconds["tsconv"] - linear)
    assert min(seconds.values()) == linear


def test_models_applied_to_recordings_of_another_study_are_counted() -> None:
    raw = yaml.safe_load((ROOT / TINY).read_text(encoding="utf-8"))
    raw["studies"]["later"] = {**raw["studies"]["simulated"], "seed": 2, "test_repetitions": 40}
    raw["apply"] = {name: {"experiment": "main", "study": name} for name in ("simulated", "later")}
    made = Plan(settings.load(raw))
    counted: Counter[str] = Counter()
    for work in Amounts(made).works():
        counted[work.stage] += work.jobs
    assert counted == Counter(job.stage for job in made.jobs().values())
    assert (counted["apply"], counted["catalogue"], counted["simulate_pictures"]) == (16, 2, 2)
    found, before = by_stage(made), by_stage(plan(TINY))
    assert found["apply"].cpu_s > 16 * before["rank"].cpu_s / before["rank"].jobs  # more test trials to rank


def test_jobs_of_the_paper() -> None:
    """As tests/workflow/test_paper_plan.py has them from a dry run."""
    found = by_stage(plan("config.yaml"), gpu=True)
    wanted = {"download": 284, "epochs": 10, "features": 1, "train": 580, "rank": 580, "inspect": 50, "summaries": 14}
    assert {stage: found[stage].jobs for stage in wanted} == wanted
    assert 50 < found["download"].disk < 60
    # bench/gpu-h200.json: 15.3 GPU hours for 560 models, without what jobs take to start.
    assert 15 < found["train"].gpu_s / 3600 < 30
    assert 20 < found["train"].gpu_memory < 36


def test_every_stage_has_rates_and_every_unit_is_one_of_them() -> None:
    rates = costs.Rates(costs.TABLE).rates
    assert (
        {stage for stage, on in rates if on == "cpu"} == set(STAGES) == {stage for stage, on in rates if on == "memory"}
    )
    of_pictures = {"calibrate", "generate", "oracle", "judge"}
    assert {stage for stage, on in rates if on == "gpu"} == {"features", "vectors", "train", "tune", *of_pictures}
    for path in (DEMO, "tests/workflow/tiny-fmri.yaml", "config.yaml"):
        for work in Amounts(plan(path)).works():
            for on in ("cpu", "gpu") if work.on_gpu else ("cpu",):
                assert set(work.of) <= set(rates[work.stage, on]), (work.stage, on)
            assert set(work.memory) <= {*rates[work.stage, "memory"], *rates.get((work.stage, "gpu memory"), ())}


def test_a_calibration_trains_without_each_fold_once_for_a_model() -> None:
    """Of the runs that pictures are made of only; the regression comes on top."""
    works = list(Amounts(plan(DEMO)).works())
    (calibrated,) = [work for work in works if work.stage == "calibrate"]
    trained = [work for work in works if work.stage == "train" and work.method == calibrated.method == "brainclip"]
    assert amounts.FOLDS == calibrate.FOLDS
    assert calibrated.jobs == len(plan(DEMO).subjects("simulated-fmri"))
    assert any(
        {unit: 4 * amount for unit, amount in one.of.items()}.items() <= calibrated.of.items() for one in trained
    )
    assert calibrated.of["solved"] > 0


def test_the_shipped_table_says_where_each_measured_rate_comes_from() -> None:
    with (ROOT / costs.TABLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["measured"] for row in rows} == {"yes", "no"}
    assert [row for row in rows if row["on"] in ("cpu", "gpu") and not row["source"]] == []


def test_work_grows_with_what_is_to_be_done() -> None:
    before = by_stage(plan(DEMO))
    epochs = by_stage(plan(DEMO, methods__neuroclip__optimiser={"epochs": 150, "lr_visual": 5e-4}))
    subjects = by_stage(plan(DEMO, studies__simulated__subjects=4))
    pictures = by_stage(plan(DEMO, studies__simulated__pictures_per_concept=16))
    assert epochs["train"].cpu_s > 3 * before["train"].cpu_s
    assert epochs["rank"] == before["rank"]
    assert subjects["epochs"].jobs == 2 * before["epochs"].jobs
    assert subjects["epochs"].cpu_s == pytest.approx(2 * before["epochs"].cpu_s)
    assert pictures["features"].cpu_s > 1.1 * before["features"].cpu_s
    assert pictures["features"].disk > 1.4 * before["features"].disk


def test_pictures_cost_what_is_asked_of_their_generator(tmp_path: Path) -> None:
    """Steps, samples, a guided pass for each that is not, and weights, which only a folder tells."""
    generator = plan(DEMO).config.generators["grammar"].model_dump(mode="json")
    (tmp_path / "unet").mkdir()
    weights = tmp_path / "unet/diffusion_pytorch_model.safetensors"

    def drawn(gb: float = 0.003, **changed: object) -> costs.Estimate:
        weights.touch()
        os.truncate(weights, int(gb * 1e9))
        block = {**generator, "model": f"local-dir:{tmp_path}", **changed}
        return by_stage(plan(DEMO, generators={"grammar": block}))["generate"]

    few, start = drawn(), {"picture": "nearest", "strength": 0.5}
    assert drawn(steps=10 * generator["steps"]).cpu_s > 4 * few.cpu_s
    assert drawn(samples=20).cpu_s > 4 * few.cpu_s
    assert drawn(guidance=1.0).cpu_s < 0.8 * few.cpu_s
    assert drawn(start=start).cpu_s < 0.8 * few.cpu_s
    assert drawn(gb=1.0).cpu_s > 4 * few.cpu_s
    assert drawn(gb=1.0).memory == pytest.approx(few.memory + 3 * 0.997)
    assert drawn(size=512).disk == pytest.approx(64 * few.disk)
    assert (few.basis, drawn(model="somebody/something").basis) == ("scaled", "estimated")


def test_memory_holds_patch_tokens_once_and_no_more_than_training_keeps() -> None:
    """Thousands of pictures: a method with prompts holds the tokens of training pictures, up to 8 GB of them."""
    name = "studies__simulated__pictures_per_concept"
    few, many, most = (by_stage(plan(TINY, **{name: n}))["train"].memory for n in (2, 2000, 20000))
    tokens = 12 * 2000 * 64 * 96 * 4 * 4 / 1e9  # pictures, patches, width, bands, single precision
    assert many - few == pytest.approx(tokens, rel=0.05)
    assert most < 8 + 2 * few


def test_a_debug_version_learns_and_ranks_its_first_concepts() -> None:
    whole = plan("config.yaml")
    small = Plan(settings.debug(whole.config, {name: whole.subjects(name) for name in whole.config.studies}))
    works = {work.stage: work for work in Amounts(small).works()}
    assert works["features"].of["picture"] == 40
    assert works["rank"].of["trial"] == 20 * 20  # of one session
    assert works["train"].of["response"] == 2 * 20  # epochs, averages of pictures of one run
    assert works["epochs"].of["sample"] > 7000 * 17 * 500, "responses are those of all trials"


def test_elapsed_time_is_that_of_waves_of_jobs() -> None:
    one, four = (by_stage(plan(DEMO), cores=cores) for cores in (1, 4))
    assert one["summaries"].wall_s == pytest.approx(one["summaries"].cpu_s)
    assert four["summaries"].wall_s < one["summaries"].wall_s / 3
    assert four["tables"].wall_s == one["tables"].wall_s


def test_own_benchmarks_count_before_the_shipped_ones(tmp_path: Path) -> None:
    made = plan(TINY, results=str(tmp_path / "results"))
    assert {one.basis for one in by_stage(made).values()} == {"scaled"}

    def record(method: str) -> None:
        path = tmp_path / f"results/benchmarks/train/simulated/broad/intra/{method}/sub-01_seed-0.tsv"
        path.parent.mkdir(parents=True)
        path.write_text("s\th:m:s\tmax_rss\tmean_load\tcpu_time\n10\t-\t2048\t-\t7\n")

    record("frozen")
    assert by_stage(made)["train"].basis == "scaled"  # what one method takes says nothing of another
    of_methods = {one.stage: one for one in costs.by_method(made, 1, False)}
    jobs = sum(run.method == "frozen" for run in made.models(made.runs()))
    assert jobs * 7 < of_methods["frozen"].cpu_s < jobs * 7 + 60  # and its ranking
    for method in sorted({run.method for run in made.models(made.runs())} - {"frozen"}):
        record(method)
    found = by_stage(made)
    assert (found["train"].basis, found["rank"].basis) == ("measured", "scaled")
    assert found["train"].cpu_s == 7 * found["train"].jobs
    assert found["train"].wall_s == 10 * found["train"].jobs
    assert found["train"].memory == 2.0
    assert costs.total(found.values()).basis == "scaled"


def test_what_nobody_knows_is_called_estimated(tmp_path: Path) -> None:
    """A folder that is not there yet: the amounts are guessed, and said to be."""
    study = {
        **{"kind": "voxel_table", "signals": "nowhere/{subject}.npy", "table": "nowhere/{subject}.tsv"},
        **{"subjects": ["01"], "stimulus": "name", "run": "run", "split": {"by": "run", "test": ["2"]}},
        "categories": {"face": ["a face"], "house": ["a house"]},
    }
    raw = yaml.safe_load((ROOT / "tests/workflow/tiny-fmri.yaml").read_text())
    raw |= {"studies": {"voxels": study}, "results": str(tmp_path)}
    raw["experiments"] = {"main": {**raw["experiments"]["main"], "protocols": ["intra"]}}
    raw["tables"] = {}
    raw["methods"] = {
        "brainclip": {**raw["methods"]["brainclip"], "supervision": {"text": 1.0, "sentences": ["prompts"]}}
    }
    raw["experiments"]["main"]["methods"] = ["brainclip"]
    raw["retrieval"] = {}
    found = by_stage(Plan(settings.load(raw)))
    assert found["voxels"].basis == found["train"].basis == "estimated"
    assert found["catalogue"].basis == "scaled"


@pytest.mark.parametrize("described", [True, False])
def test_recordings_are_as_large_as_their_sidecars_say(tmp_path: Path, described: bool) -> None:
    for run in ("01", "02"):
        write_run(tmp_path / "bids", noise(1, 12), regular_events(20), subject="01", run=run)
    (tmp_path / "bids" / "task-see_eeg.json").write_text('{"SamplingFrequency": 250}')
    for path in [] if described else (tmp_path / "bids").rglob("*_channels.tsv"):
        path.unlink()
    study = study_settings(tmp_path / "bids", responses={"tmin": 0.0, "tmax": 0.4, "sfreq": 125})
    main = {"study": "mine", "signals": ["broad"], "protocols": ["intra"], "methods": ["frozen"], "seeds": [0]}
    retrieval = {"metrics": ["top-1"]}
    found = by_stage(plan(TINY, studies={"mine": study}, experiments={"main": main}, tables={}, retrieval=retrieval))
    channels = 4 if described else UNKNOWN.inputs
    assert found["epochs"].disk == pytest.approx(40 * channels * 50 * 4 / 1e9)
    assert found["epochs"].basis == ("scaled" if described else "estimated")


@pytest.mark.parametrize(
    ("model", "gflop", "millions"),
    [("ViT-B-32", 8.8, 151), ("ViT-L-14", 162, 428), ("ViT-H-14", 324, 986), ("RN50", 12, 102)],
)
def test_towers_are_as_large_as_open_clip_says(model: str, gflop: float, millions: float) -> None:
    """Twice the multiply-adds of the picture side and the parameters that open_clip publishes."""
    tower = settings.Tower(model=model, pretrained="openai")
    assert sizes.gflop(tower) == pytest.approx(gflop, rel=0.05)
    assert sizes.weights_gb(tower) == pytest.approx(millions * 4e-3, rel=0.05)


def test_a_tower_without_a_description_is_none() -> None:
    assert sizes.gflop(settings.Tower(model="convnext_base", pretrained="x")) is None


def test_the_table_says_what_a_person_asks(capsys: pytest.CaptureFixture[str]) -> None:
    estimate.estimate(ROOT / "config.yaml", 16, "gpu")
    told = capsys.readouterr().out
    head, *lines = told.split("\n\n")[1].splitlines()
    assert head.split("  ")[0] == "stage"
    for word in ("CPU hours", "GPU hours", "with 16 cores", "memory GB", "disk GB", "by"):
        assert word in head
    assert [line.split()[0] for line in lines][-1] == "total"
    assert {line.split()[-1] for line in lines} <= {"measured", "scaled", "estimated"}
    estimate.estimate(ROOT / "config.yaml", 16, "cpu")
    told = capsys.readouterr().out
    assert "GPU hours" not in told
    assert "With one GPU: " in told


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from brain2clip.cli import estimate\n"
        "estimate.estimate(Path('config.yaml'), 2, 'gpu')\n"
        "print(sorted({'torch', 'mne', 'matplotlib', 'sklearn', 'snakemake'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_line_for_a_run_that_starts() -> None:
    line = costs.told(plan(DEMO), gpu=False)
    assert "\n" not in line
    assert "processor time" in line
    assert "GB of disk" in line
    assert "with a GPU" in costs.told(plan(DEMO), gpu=True)


def test_methods_have_their_own_part_and_all_parts_are_the_whole() -> None:
    made = plan("config.yaml")
    by_stage, by_method = (found(made, 2, True) for found in (costs.estimate, costs.by_method))
    for name in ("jobs", "cpu_s", "gpu_s", "disk"):
        assert sum(getattr(one, name) for one in by_stage) == pytest.approx(
            sum(getattr(one, name) for one in by_method)
        )
    own = {one.stage: one for one in by_method}
    assert own["frozen-long"].gpu_s > own["frozen"].gpu_s
    assert own["ridge"].gpu_s == 0
    text = costs.methods_told(made, 2, True)
    assert text is not None
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["shared", *made.config.methods, "total"]


def test_a_search_for_the_epoch_is_counted() -> None:
    plain = by_stage(plan(TINY))["train"].cpu_s
    searched = {"rule": "held-out-concepts", "share": 0.5}
    assert by_stage(plan(TINY, methods__frozen__selection=searched))["train"].cpu_s > plain


def test_channels_and_times_that_a_method_leaves_out_are_not_counted() -> None:
    whole = by_stage(plan(TINY))["train"]
    part = {"channels": ["Oz", "O1"], "window": [0.0, 0.2]}
    found = by_stage(plan(TINY, methods__neuroclip__inputs=part, methods__frozen__inputs=part))["train"]
    assert found.cpu_s < whole.cpu_s
    assert found.disk < whole.disk


def test_epochs_without_what_tunes_the_tower_cost_no_tower() -> None:
    budget = {"epochs": 10, "batch_size": 12}
    found = []
    for waits in (0, 9):
        changes = {"methods__neuroclip__optimiser": {**budget, "frozen_epochs": waits}}
        found.append(by_stage(plan(TINY, **changes, methods__frozen__optimiser={"frozen_epochs": 0}))["train"].cpu_s)
    assert found[1] < found[0]


def test_what_is_beyond_a_processor_is_for_a_gpu() -> None:
    assert costs.for_a_gpu(plan("config.yaml"))
    assert not costs.for_a_gpu(plan(DEMO))
