"""Further vectors of pictures: the stage, what is refused before anything runs, and what a new one makes run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import brain_files
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image
from tiny_clip import tiny_clip

from brain2clip import artefact, settings, stage
from brain2clip.plan import Job, Plan, sizes
from brain2clip.plan.due import Disk, due
from brain2clip.plan.needs import check
from brain2clip.settings import Tower, Vector
from brain2clip.stage import InputError
from brain2clip.stimuli import catalogue, chunks, frozen_clip, tower_vectors, vectors, view_base

ROOT = Path(__file__).resolve().parents[2]
N = 7
BLUR = {"kind": "blur", "kernel": 5}
GRID = {"block": 2, "pool": "grid", "grid": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return brain_files.save_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    """Stimuli that do not stand in the order of their names."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    paths = [folder / f"{name}.png" for name in "gcaebfd"]
    for number, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (36 + number, 50, 3), dtype=np.uint8)).save(path)
    columns = {"stimulus_id": [f"picture-{path.stem}" for path in paths], "image": [str(path) for path in paths]}
    return pd.DataFrame({**columns, "split": "train", "concept": "c", "captions": [[]] * N, "prompts": [[]] * N})


@pytest.fixture
def make(model, table, tmp_path, monkeypatch):
    """Run the stage; returns what it wrote."""

    def run(vector: dict[str, Any], ready: Path | None = None, limit: float = 8.0, **tower: Any) -> np.ndarray:
        monkeypatch.setattr(catalogue, "read", lambda *_: table)
        monkeypatch.setenv(vectors.LIMITS, json.dumps({"tiny": limit}))
        listed, output = tmp_path / "catalogue.parquet", tmp_path / "vectors.h5"
        artefact.write_table(listed, pa.table({"a": [1]}), brain_files.MADE)
        block = Tower(model=model, **{"batch_size": 3, **tower})
        values = {"name": "mine", "vector": settings.dump(Vector.model_validate(vector))}
        values |= {"tower": block.for_vectors(), "tower_name": "tiny"} if ready is None else {"ready": str(ready)}
        inputs = {"catalogue": [listed]} | ({} if ready is None else {"ready": [ready]})
        vectors.run(stage.Job("vectors", values, "code", {}, inputs, {"vectors": output}))
        with artefact.open_h5(output) as file:
            assert file.attrs["name"] == Vector.model_validate(vector).name
            assert list(file["stimulus_id"].asstr()[:]) == table["stimulus_id"].tolist()
            found: np.ndarray = file["vector"][:]
        return found

    return run


# ------------------------------------------------------------------------------------------------ contents


@pytest.mark.parametrize(
    "vector",
    [{"view": BLUR}, {"pool": "class"}, {"pool": "patches"}, {"block": 1, "pool": "class"}, GRID,
     {"view": BLUR, **GRID}],
    ids=lambda one: Vector.model_validate(one).name,
)  # fmt: skip
def test_a_vector_is_that_of_the_tower_for_the_picture_as_it_sees_it(make, model, table, vector):
    wanted = Vector.model_validate(vector)
    clip = frozen_clip.load(Tower(model=model))
    seen = frozen_clip.seen(clip, table["image"])
    if wanted.view is not None:
        blur = view_base.build(wanted.view)
        seen = torch.stack([torch.from_numpy(blur(one.permute(1, 2, 0).numpy())).permute(2, 0, 1) for one in seen])
    pictures = frozen_clip.from_bytes(seen, clip.mean, clip.std)
    expected = tower_vectors.frozen(tiny_clip().visual, pictures, wanted).numpy()
    np.testing.assert_allclose(make(vector), expected, rtol=1e-4, atol=1e-5)


def test_stored_precision_is_that_of_the_tower(make):
    assert make(GRID, dtype="float16").dtype == np.float16


def written(path: Path, ids: list[str], values: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("stimulus_id", data=ids, dtype=h5py.string_dtype())
        file["embedding"] = values
    return path


def test_ready_vectors_of_any_width_are_found_by_id(make, table, tmp_path):
    values = np.random.default_rng(0).standard_normal((N, 5)).astype(np.float32)
    order = np.argsort(table["stimulus_id"])
    path = written(tmp_path / "dino.h5", table["stimulus_id"].iloc[order].tolist(), values[order])
    np.testing.assert_array_equal(make({"ready": "dino"}, path), values)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda ids, values: (ids[1:], values[1:]), "no embedding for 1 of 7 .*studies.mine.ready_vectors.dino"),
        (lambda ids, values: ([*ids, ids[0]], np.vstack([values, values[:1]])), "picture-g occurs more than once"),
        (lambda ids, values: (ids, np.where(values == values[2, 1], np.nan, values)), "not a number"),
        (lambda ids, values: (ids, values[:, :, None]), r"embedding is \(7, 5, 1\); expected \[n\] and \[n, d\]"),
    ],
    ids=["missing", "twice", "nan", "shape"],
)
def test_ready_vectors_that_cannot_be_used_are_refused_by_the_name_of_their_file(make, table, tmp_path, spoil, words):
    values = np.random.default_rng(0).standard_normal((N, 5))
    path = written(tmp_path / "dino.h5", *spoil(table["stimulus_id"].tolist(), values))
    with pytest.raises(InputError, match=rf"(?s)dino\.h5: .*{words}"):
        make({"ready": "dino"}, path)


# ------------------------------------------------------------------------------------- what the stage refuses


def test_what_is_too_large_is_refused_before_a_picture_is_read(make, monkeypatch):
    monkeypatch.setattr(frozen_clip, "seen", lambda *_: pytest.fail("a picture was read"))
    size = N * 4 * 32 * 4 / 1e9
    with pytest.raises(InputError, match=r"blur-5_block-2_grid-2: 7 stimuli x 128 numbers .*vectors_limit_gb is"):
        make({"view": BLUR, **GRID}, limit=0.9 * size)
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("vector", "words"), [({"block": 4, "pool": "class"}, "has 3 blocks"), ({"pool": "grid", "grid": 5}, "4 x 4 pat")]
)
def test_what_the_tower_lacks_is_refused(make, vector, words):
    with pytest.raises(InputError, match=words):
        make(vector)


class OtherTower(torch.nn.Module):
    """No Vision Transformer, as RN50 is none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) @ torch.arange(72.0).reshape(3, 24)


def test_a_tower_without_patches_has_views_of_its_embedding_and_nothing_from_inside(make, monkeypatch):
    real = frozen_clip.load

    def load(*given: Any) -> Any:
        clip = real(*given)
        clip.model.visual = OtherTower()
        return clip

    monkeypatch.setattr(frozen_clip, "load", load)
    sharp, blurred = make({}), make({"view": {"kind": "low-resolution", "share": 0.1}})
    assert sharp.shape == blurred.shape == (N, 24)
    assert 0 < np.abs(sharp - blurred).max() < np.abs(sharp).max()
    with pytest.raises(InputError, match=r"picture_block-2_grid-2 is read from a block of .* is a OtherTower"):
        make(GRID)


def test_a_stopped_job_goes_on_where_it_was(make, monkeypatch, tmp_path):
    monkeypatch.setattr(chunks, "SIZE", 3)
    whole, real, seen = make({"view": BLUR}), frozen_clip.seen, []
    (tmp_path / "vectors.h5").unlink()

    def stopping(clip: Any, paths: list[str]) -> torch.Tensor:
        seen.append(len(paths))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(clip, paths)

    monkeypatch.setattr(frozen_clip, "seen", stopping)
    with pytest.raises(KeyboardInterrupt):
        make({"view": BLUR})
    assert not (tmp_path / "vectors.h5").exists()
    np.testing.assert_array_equal(make({"view": BLUR}), whole)
    assert seen == [3, 3, 3, 1]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# ------------------------------------------------------------------------------------------------- planned


def planned(readouts: dict[str, Any], study: dict[str, Any] | None = None, **tower: Any) -> Plan:
    """The tiny study with ridge regressions, one for each readout."""
    raw = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text(encoding="utf-8"))
    raw["studies"]["simulated"] |= study or {}
    raw["towers"]["grammar-vit"] |= tower
    mine = {name: {"kind": "ridge", "tower": "grammar-vit", "readout": one} for name, one in readouts.items()}
    raw["methods"] |= mine
    raw["experiments"]["main"]["methods"] += list(mine)
    return Plan(settings.load(raw))


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_two_views_of_one_name_are_refused_while_planning(monkeypatch):
    from brain2clip.settings.views import Blur

    kernels = [{"view": {"kind": "blur", "kernel": size}} for size in (5, 7)]
    check(planned({"mean": {"kind": "mean", "vectors": kernels}}))
    monkeypatch.setattr(Blur, "name", "mine")
    for readouts in ({"mean": {"kind": "mean", "vectors": kernels}}, dict(zip("ab", kernels))):
        with pytest.raises(InputError, match=r"two vectors of study 'simulated' .* have the name 'mine'"):
            check(planned(readouts))
    monkeypatch.setattr(Blur, "name", "../mine")
    with pytest.raises(InputError, match=r"has the name '\.\./mine', which becomes the name of a file"):
        check(planned({"a": kernels[0]}))


def test_a_vector_that_a_readout_takes_twice_is_one_file():
    parts = [{**GRID, "components": 2}, {**GRID, "components": 4}, {}]
    plan = planned({"a": {"kind": "concat", "parts": parts}})
    (run,) = [one for one in plan.runs() if one.method == "a" and one.path.endswith("intra/a/sub-01_seed-0")]
    assert [Path(path).stem for path in plan.vector_files(run)] == ["picture_block-2_grid-2"]


def test_sizes_are_said_before_anything_runs(tmp_path, monkeypatch):
    config = json.loads((ROOT / "workflow/towers/grammar-vit/open_clip_config.json").read_text())["model_cfg"]
    rows, wide = 12 * 2 + 8, config["vision_cfg"]["width"]
    both = {"grid": GRID, "patches": {"pool": "patches", "view": BLUR}}
    plan = planned(both, {"ready_vectors": {"dino": "dino.npz"}}, dtype="float16")
    assert list(sizes.unmade(plan).values()) == [rows * config["embed_dim"] * 2 / 1e9, rows * wide * 4 * 2 / 1e9]
    ready = planned({**both, "dino": {"ready": "dino"}}, {"ready_vectors": {"dino": "dino.npz"}})
    assert "still to be made: 2 of" in str(sizes.told(ready))
    assert "1 of unknown size (in results/vectors)" in str(sizes.told(ready))
    assert sizes.told(planned({"one": {}})) is None
    (path,) = sizes.unmade(planned({"grid": GRID}))
    plan = planned({"grid": GRID})
    monkeypatch.chdir(tmp_path)
    Path(path).parent.mkdir(parents=True)
    Path(path).touch()
    assert sizes.told(plan) is None


def test_what_is_above_the_limit_of_its_tower_is_refused_while_planning():
    told = (
        r"towers\.grammar-vit\.vectors_limit_gb: found 1e-09, and picture_block-2_grid-2 of study 'simulated' \(32 st"
    )
    with pytest.raises(InputError, match=told):
        sizes.told(planned({"grid": GRID}, vectors_limit_gb=1e-9))


@pytest.mark.parametrize(
    ("name", "vector", "expected"),
    [
        ("ViT-B-32", {"view": BLUR}, 512),
        ("ViT-B-32", {"block": 3, "pool": "grid", "grid": 3}, 9 * 768),
        ("ViT-B-32", {"pool": "grid", "grid": 3}, 9 * 512),
        ("RN50", {"view": BLUR}, 1024),
        ("RN50", {"block": 3, "pool": "class"}, None),
        ("hf-hub:somebody/something", {"view": BLUR}, None),
        ("local-dir:nowhere", {"view": BLUR}, None),
        ("ViT-B-32", {"ready": "dino"}, None),
    ],
)
def test_widths_are_read_off_the_description_of_a_tower(name, vector, expected):
    assert sizes.width(Tower(model=name), Vector.model_validate(vector)) == expected


def test_the_number_of_stimuli_is_that_of_the_settings_or_of_the_table(tmp_path, monkeypatch):
    study = {"kind": "bids", "root": "mine", "subjects": ["01"], "tasks": ["view"], "stimulus": "x",
             "stimuli": "p.tsv", "split": {"by": "run", "test": ["02"]}}  # fmt: skip
    raw = {
        "studies": {"mine": study}, "bands": {"all": {}}, "towers": {"t": {"model": "ViT-B-32", "pretrained": "a.pt"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"m": {"kind": "ridge", "tower": "t", "readout": {"pool": "patches"}}},
        "experiments": {"e": {"study": "mine", "signals": ["all"], "protocols": ["intra"], "methods": ["m"]}},
    }  # fmt: skip
    plan = Plan(settings.load(raw))
    monkeypatch.chdir(tmp_path)
    assert list(sizes.unmade(plan).values()) == [None]
    Path(plan.catalogue("mine")).parent.mkdir(parents=True)
    made = artefact.Provenance("catalogue", {}, "code")
    artefact.write_table(Path(plan.catalogue("mine")), pa.table({"stimulus_id": ["a"] * 1000}), made)
    assert list(sizes.unmade(plan).values()) == [1000 * 512 * 4 / 1e9]


# -------------------------------------------------------------------------------------------- what runs again


def finish(jobs: dict[str, Job]) -> None:
    """Files as the jobs would leave them, in the folder that we are in."""
    for job in jobs.values():
        given = {name: path for name, path in artefact.named(job.inputs).items() if Path(path).is_file()}
        made = artefact.provenance(job.spec.stage, job.spec.settings, job.spec.code, given, job.spec.origin)
        for path in map(Path, job.outputs):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".parquet":
                artefact.write_table(path, pa.table({"a": [1]}), made)
            elif path.suffix == ".h5":
                with artefact.create_h5(path, made) as file:
                    file["a"] = [1]
            elif path.suffix == ".safetensors":
                artefact.write_tensors(path, {"a": torch.ones(1)}, made)
            else:
                path.write_text("{}")


def runs_again(before: Plan, after: Plan) -> dict[str, list[str]]:
    """Stages that would run, each with the files that it makes first."""
    found: dict[str, list[str]] = {}
    for job in due(after.jobs(), after.targets(), Disk(), before.jobs()):
        found.setdefault(job.stage, []).append(job.outputs[0])
    return found


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another folder with the same tower, into which files are made."""
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    np.savez(tmp_path / "dino.npz", stimulus_id=["a"], embedding=np.ones((1, 2)))
    monkeypatch.chdir(tmp_path)


def assert_only_mine(found: dict[str, list[str]], new: set[str]) -> None:
    """A new file of vectors, and what reads it: the models of one method and what is shown of them."""
    assert {Path(path).stem for path in found.pop("vectors")} == new
    assert found.keys() - {"embed"} == {"train", "rank", "summaries", "tables", "figures", "page"}
    assert all("/mine/" in path for name in ("train", "rank", "embed") for path in found.get(name, []))
    assert all(Path(path).stem == "mine" for path in found["summaries"])


def test_a_new_vector_or_another_view_runs_what_reads_it_and_no_other_method(elsewhere):
    blur, other, noise = ({"view": one} for one in (BLUR, {**BLUR, "kernel": 7}, {"kind": "noise"}))

    def plan(*mine: dict[str, Any]) -> Plan:
        both = {"still": [{}, blur], "mine": [{}, *mine]}
        return planned({name: {"kind": "mean", "vectors": given} for name, given in both.items()})

    start = plan(blur)
    finish(start.jobs())
    assert runs_again(start, start) == {}
    assert_only_mine(runs_again(start, plan(blur, noise)), {"noise-25-0"})
    assert_only_mine(runs_again(start, plan(other)), {"blur-7"})
    assert_only_mine(runs_again(start, plan(blur, {"block": 1, "pool": "patches"})), {"picture_block-1_patches"})


def test_another_content_of_a_ready_file_runs_what_reads_it(elsewhere):
    study = {"ready_vectors": {"dino": "dino.npz"}}
    plan = planned({"mine": {"ready": "dino"}, "still": {"view": BLUR}}, study)
    finish(plan.jobs())
    assert runs_again(plan, plan) == {}
    np.savez("dino.npz", stimulus_id=["a"], embedding=np.zeros((1, 2)))
    assert_only_mine(runs_again(plan, plan), {"ready-dino"})
