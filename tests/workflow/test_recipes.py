"""CONTRIBUTING.md: each recipe works as it is written there, and costs what it says.

A line that is a path in backticks names the file of the code block below it; a ``diff`` is applied; a block of YAML
without a path is taken into the configuration. ``Reruns`` ends an example.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voxel_tables
import yaml
from project import ROOT, Project

from brain2clip import artefact, settings, snakefile
from brain2clip.readers import manifests

pytestmark = pytest.mark.workflow

DOCUMENT = ROOT / "CONTRIBUTING.md"
_PART = re.compile(
    r"^## (?P<title>[^\n]+)$|^Reruns: (?P<reruns>[^\n]+)\.$"
    r"|(?:^`(?P<path>[^`\n]+)`\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: What the recipes must be of.
SUBJECTS = (
    *("Encoder", "Mapping", "Study on disk", "Downloaded study", "Metric", "Judge", "Table", "Figure", "Adapter"),
    *("Filter", "View", "Readout", "Augmentation", "Schedule", "Generator", "Scheduler of another cluster", "Option"),
)


@dataclass
class Recipe:
    """An example of a recipe.

    Attributes
    ----------
    title : str
    files : dict
        Path to text.
    diffs : list of str
    config : dict
        What is taken into the configuration.
    reruns : dict
        Jobs by rule when it is used.
    """

    title: str
    files: dict[str, str] = field(default_factory=dict)
    diffs: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    reruns: dict[str, int] = field(default_factory=dict)

    @property
    def runs_at_once(self) -> bool:
        """Whether nothing needs to name it."""
        return not (self.config or self.diffs) and any(path.endswith(".py") for path in self.files)

    def write(self, project: Project) -> None:
        for path, text in self.files.items():
            target = project.folder / path
            assert not target.exists()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        for diff in self.diffs:
            apply = ["git", "apply", "--recount", "-"]
            done = subprocess.run(apply, cwd=project.folder, input=diff, capture_output=True, text=True)
            assert done.returncode == 0, f"{self.title}: {done.stderr}\n{diff}"


def read(document: str) -> list[Recipe]:
    recipes, title, one = [], "", Recipe("")
    for part in _PART.finditer(document):
        if part["title"]:
            title, one = part["title"], Recipe(part["title"])
        elif part["reruns"]:
            counts = re.findall(r"(\d+) ([a-z_]+)", part["reruns"])
            one.reruns = {rule: int(count) for count, rule in counts}
            recipes.append(one)
            one = Recipe(title)
        elif part["path"]:
            one.files[part["path"]] = part["text"]
        elif part["language"] == "diff":
            one.diffs.append(part["text"])
        else:
            assert part["language"] == "yaml", part[0]
            one.config = yaml.safe_load(part["text"])
    return recipes


RECIPES = read(DOCUMENT.read_text(encoding="utf-8"))
each = pytest.mark.parametrize("recipe", RECIPES, ids=[f"{one.title}-{number}" for number, one in enumerate(RECIPES)])


def write_data(project: Project) -> None:
    """Voxels of two subjects, as files of the user and as a dataset that is downloaded."""
    stimulus, run = (np.array(values) for values in voxel_tables.labels())
    shown = stimulus != "rest"
    entries = []
    for subject in ("01", "02"):
        arrays = {"signal": voxel_tables.signals(int(subject))[shown], "stimulus": stimulus[shown], "run": run[shown]}
        mine = project.folder / "mine" / f"sub-{subject}.npz"
        mine.parent.mkdir(exist_ok=True)
        np.savez(mine, **arrays)
        size, digest = mine.stat().st_size, hashlib.sha256(mine.read_bytes()).hexdigest()
        path = f"sub-{subject}/sub-{subject}_voxels.npz"
        entries.append(manifests.Entry(path, size, "sha256", digest, mine.resolve().as_uri()))
    (project.folder / "workflow/manifests/faces.csv").write_text(manifests.text(entries))


@pytest.fixture(scope="module")
def grown(finished: Project, tmp_path_factory) -> Project:
    """The finished study after all recipes, none of which is used."""
    project = finished.copy(tmp_path_factory.mktemp("grown") / "project")
    write_data(project)
    for recipe in RECIPES:
        if not recipe.runs_at_once:
            recipe.write(project)
    return project


def test_there_is_a_recipe_for_everything_that_grows():
    assert tuple(dict.fromkeys(recipe.title for recipe in RECIPES)) == SUBJECTS


def test_what_is_not_used_reruns_nothing(grown):
    assert grown.planned() == {}


@each
def test_recipe_reruns_what_it_says(grown, finished, recipe):
    files = [path for path in recipe.files if recipe.runs_at_once]
    profiles = [Path(path).parent.name for path in recipe.files if path.endswith("profile.yaml")]
    if recipe.runs_at_once:
        recipe.write(grown)
    grown.write_config(settings.merge(grown.config, recipe.config))
    try:
        assert grown.planned(*(argument for name in profiles for argument in ("--profile", name))) == recipe.reruns
    finally:
        shutil.copy2(finished.config_file, grown.config_file)
        for path in files:
            (grown.folder / path).unlink()


def test_recipes_are_in_the_style_of_the_house(grown):
    written = [
        path for recipe in RECIPES for path in recipe.files if path.startswith("src/") and not recipe.runs_at_once
    ]
    edited = ["src/brain2clip/settings"]
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", *written, *edited]
        done = subprocess.run(ruff, cwd=grown.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def told_by(project: Project, code: str) -> list[str]:
    """Words that a Python of its own prints with the source of a project."""
    environment = {**os.environ, "PYTHONPATH": "src"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_view_is_seen(grown):
    code = (
        "import numpy as np; from brain2clip.settings import View, parse; from brain2clip.stimuli import view_base; "
        "view = parse(View, {'kind': 'grey', 'colour': 0.5}); picture = np.full((2, 3, 3), (0, 50, 100), np.uint8); "
        "print(view.name, *view_base.build(view)(picture)[1, 2])"
    )
    assert told_by(grown, code) == ["grey-0.5", "25", "50", "75"]


def test_a_readout_is_fitted(grown):
    code = (
        "import torch; from brain2clip.settings import Readout, parse; from brain2clip.models import readout; "
        "module = readout.build(parse(Readout, {'kind': 'zscore'}), [1]); x = torch.tensor([[1.0], [2.0], [6.0]]); "
        "module.fit([x - 1]); y = module([x - 1]); print(round(float(y.mean()), 3), round(float(y.std()), 3)); "
        "print(*module.state_dict())"
    )
    assert told_by(grown, code) == ["0.0", "1.0", "mean", "deviation"]


def test_a_generator_draws(grown):
    code = (
        "import torch; from brain2clip import kinds; from brain2clip.settings import Generator, parse; "
        "block = parse(Generator, {'kind': 'flat', 'tower': 'any', 'size': 16, 'noise': 0}); "
        "flat = kinds.load('generators', 'flat')(block, torch.device('cpu')); streams = [torch.Generator()] * 2; "
        "drawn = flat.draw(torch.tensor([[0.0, 9, -9], [0, 0, 0]]), torch.zeros(3), streams, None); "
        "print(*drawn.shape, *drawn[0, 3, 3])"
    )
    assert told_by(grown, code) == ["2", "16", "16", "3", "128", "255", "0"]


def test_a_judge_tells_pictures_by_their_colours(grown):
    code = (
        "import numpy as np, torch; from brain2clip.settings import Judge, parse; from brain2clip import kinds; "
        "block = parse(Judge, {'kind': 'colours', 'grid': 2}); "
        "judge = kinds.load('judges', block.kind)(block, torch.device('cpu')); "
        "pictures = np.zeros((2, 5, 5, 3), np.uint8); pictures[1, :2, :2, 0] = (10, 30); "
        "print(*judge.features(pictures)[1].astype(int))"
    )
    assert told_by(grown, code) == ["20", *["0"] * 11]


def test_a_kind_from_outside_may_lie_on_the_users_path(tmp_path, monkeypatch):
    """Jobs take our source first, and then whatever the user has there."""
    (tmp_path / "their_lab.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = "import brain2clip, their_lab; print(brain2clip.__file__)"
    done = subprocess.run(["bash", "-c", f"{snakefile.prefix()} python -c '{code}'"], capture_output=True, text=True)
    assert done.stdout.strip() == str(ROOT / "src/brain2clip/__init__.py"), done.stderr


# ------------------------------------------------------------------------------------------------ they work

#: A run of the slow band, and one of the user's own study.
RUN = "results/{}/simulated/slow/intra/{}/sub-01_seed-0{}"
MINE = "results/retrieval/mine/everything/intra/ridge/sub-01_seed-0.parquet"


@pytest.fixture(scope="module")
def ran(grown: Project, finished: Project) -> Project:
    """All recipes used, in one run.

    Their methods stand beside those that they change, so that what is finished stays.
    """
    config = grown.config
    targets = ["results/tables/subjects.md", "results/figures/simulated/similarity.svg"]
    for recipe in RECIPES:
        changed = {name: block for name, block in recipe.config.get("methods", {}).items() if name in config["methods"]}
        for name, block in changed.items():
            config["methods"][named(recipe)] = {"base": name, **block}
        rest = {key: value for key, value in recipe.config.items() if key != "experiments"}
        if changed:
            del rest["methods"]
        config = settings.merge(config, rest)
        if recipe.runs_at_once:
            recipe.write(grown)
    methods = [name for name in config["methods"] if name not in finished.config["methods"] and name != "ridge"]
    targets += [RUN.format("retrieval", name, ".parquet") for name in methods if name != "option"]
    targets += [MINE, "results/responses/faces/everything/sub-01.h5", "results/catalogue/faces.parquet"]
    grown.write_config(config)
    grown.run_preloaded("--keep-going", *targets)
    return grown


def named(recipe: Recipe) -> str:
    return recipe.title.lower().replace(" ", "-")


def checkpoint(project: Project, method: str) -> dict[str, np.ndarray]:
    return artefact.read_tensors(project.folder / RUN.format("training", method, ".safetensors"))


def rows(project: Project, path: str) -> Any:
    table = artefact.read_table(project.folder / path)
    assert table["rank"].between(1, table["n_candidates"]).all()
    return table


@pytest.mark.parametrize(
    ("method", "parameter", "shape"),
    [
        ("encoder", "encoder.place", (17, 32)),
        ("perceptron", "encoder.1.weight", (64, 17 * 30)),
        ("low-rank", "shared.down.weight", (8, 17 * 30)),
        ("filter", "visual.instance.gains.cutoff", ()),
        ("augmentation", "scale", ()),
    ],
)
def test_a_model_is_trained_and_ranks(ran, method, parameter, shape):
    assert checkpoint(ran, method)[parameter].shape == shape
    assert len(rows(ran, RUN.format("retrieval", method, ".parquet"))) > 0


def test_an_adapter_changes_biases_and_nothing_else_of_the_tower(ran):
    changes = {name: value for name, value in checkpoint(ran, "adapter").items() if ".changes." in name}
    assert len({name.split(".changes.")[1].split("-")[1] for name in changes}) == 2  # blocks
    assert all("bias" in name and np.any(np.asarray(value)) for name, value in changes.items())


def test_a_schedule_sets_the_rate(ran):
    history = artefact.read_table(ran.folder / RUN.format("training", "schedule", ".history.parquet"))
    assert history["lr"].tolist() == pytest.approx([1e-5])  # a tenth, where half a cosine ends at zero


@pytest.mark.parametrize("study", ["mine", "faces"])
def test_a_study_gives_its_trials(ran, study):
    with artefact.open_h5(ran.folder / f"results/responses/{study}/everything/sub-01.h5") as file:
        per_run = np.sum(np.array(voxel_tables.labels()[0]) != "rest") // voxel_tables.RUNS
        assert np.bincount(file["split"][:]).tolist() == [3 * per_run, per_run]
    catalogue = artefact.read_table(ran.folder / f"results/catalogue/{study}.parquet")
    assert catalogue["stimulus_id"].tolist() == ["face", "house"]
    assert [list(prompts) for prompts in catalogue["prompts"]] == [["a photo of a face"], ["a photo of a house"]]


def test_a_study_is_learned_from(ran):
    assert set(rows(ran, MINE)["target"]) == {"face", "house"}


def test_files_of_a_downloaded_study_are_those_of_the_manifest(ran):
    fetched = ran.folder / "results/raw/faces/sub-01/sub-01_voxels.npz"
    assert fetched.read_bytes() == (ran.folder / "mine/sub-01.npz").read_bytes()
    assert not fetched.with_name("sub-02_voxels.npz").exists()


def test_a_metric_is_summarised(ran):
    summary = artefact.read_table(ran.folder / "results/summaries/simulated/slow/intra/frozen.parquet")
    found = summary[(summary["metric"] == "mean-reciprocal-rank") & (summary["subject"] == "01")]
    ranks = rows(ran, RUN.format("retrieval", "frozen", ".parquet"))
    ranks = ranks[ranks["repetitions"].astype(str) == "all"]["rank"]
    assert found["value"].tolist() == pytest.approx([np.mean(1 / ranks)])
    assert found["chance"].tolist() == pytest.approx([np.mean(1 / np.arange(1, 9))])


def test_a_table_is_written(ran):
    page = (ran.folder / "results/tables/subjects.md").read_text()
    assert re.search(r"\| subject +\| +NeuroCLIP \| +Frozen CLIP \| +Ideal observer", page)
    assert all(re.search(rf"^\| sub-{subject} +\|( +\d+\.\d \[.*?\] \|){{3}}$", page, re.M) for subject in ("01", "02"))


def test_a_figure_is_drawn(ran):
    assert "similarity to the true candidate" in (ran.folder / "results/figures/simulated/similarity.svg").read_text()
