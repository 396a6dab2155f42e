"""Class templates: the mean of a concept's other pictures, never of a test picture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brain_files
import numpy as np
import pytest
import torch
from PIL import Image
from test_features import write_pictures

from brain2clip import artefact, settings, stage
from brain2clip.plan import Plan
from brain2clip.plan.needs import problems
from brain2clip.readers import templates
from brain2clip.retrieval import rank
from brain2clip.stimuli import catalogue, features
from brain2clip.training import train
from brain2clip.training.data import load_responses, open_stimuli, placed
from brain2clip.training.predict import Predictor


def further(folder: Path, *names: str, size: int = 40) -> None:
    """Pictures below a folder; each has other pixels."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


def test_each_concept_gets_its_own_pictures_and_no_copy_of_a_test_picture(tmp_path, caplog):
    caplog.set_level("INFO")
    further(tmp_path, "dog/b.png", "dog/a.png", "cat [1]/a.png", "shown.png", "other/a.png")
    (tmp_path / "dog/copy.png").write_bytes((tmp_path / "shown.png").read_bytes())
    further(tmp_path, "dog/Shown.png", size=50)  # the test picture itself at another size, as far as anybody can tell
    pattern = f"{tmp_path}/{{concept}}/*.png"
    found = templates.rows(pattern, ["dog", "cat [1]"], [str(tmp_path / "shown.png")])
    assert found == [
        ("template-dog-001", "dog", f"{tmp_path}/dog/a.png"),
        ("template-dog-002", "dog", f"{tmp_path}/dog/b.png"),
        ("template-cat [1]-001", "cat [1]", f"{tmp_path}/cat [1]/a.png"),
    ]
    assert "2 files left out, because they are copies of test pictures or have the name of one" in caplog.text
    before = templates.digest(pattern)
    further(tmp_path, "dog/c.png")
    assert templates.digest(pattern) != before
    with pytest.raises(stage.InputError, match=r"no picture other than the test pictures for 1 of 2 .*is 'cow'"):
        templates.rows(pattern, ["dog", "cow"], [])
    with pytest.raises(stage.InputError, match="no such file for any concept"):
        templates.digest(f"{tmp_path}/nowhere/{{concept}}.png")


# --------------------------------------------------------------------------------- catalogue and features


@pytest.fixture
def make(tmp_path, tmp_path_factory, monkeypatch):
    table = write_pictures(tmp_path / "pictures")
    model = brain_files.save_tower(tmp_path_factory.mktemp("tower"))
    pattern = f"{tmp_path}/more/{{concept}}/*.png"

    def run() -> Path:
        study = SimpleNamespace(
            name="s",
            stimulus_table=lambda: table,
            catalogue_digest=lambda: None,
            stimulus_files=list,
            source_pictures=dict,
        )
        monkeypatch.setattr("brain2clip.readers.contract.load", lambda *_: study)
        listed, output = tmp_path / "catalogue.parquet", tmp_path / "stimuli.h5"
        own = {"files": pattern, "digest": templates.digest(pattern)}
        values = {"name": "s", "study": {"kind": "x"}, "results": "results", "templates": own}
        catalogue.run(stage.Job("catalogue", values, "code", {}, {}, {"catalogue": listed}))
        tower = settings.Tower(model=model, batch_size=3).model_dump(mode="json")
        values = {"name": "s", "tower": tower, "equal_pictures": "refuse"}
        features.run(stage.Job("features", values, "code", {}, {"catalogue": [listed]}, {"stimuli": output}))
        return output

    return SimpleNamespace(run=run, table=table, folder=tmp_path / "more")


def test_template_pictures_go_through_the_tower_and_are_no_candidates(make):
    further(make.folder, "concept-2/a.png", "concept-3/a.png", "concept-3/b.png", "concept-0/train.png")
    Image.open(make.table["image"][0]).save(make.folder / "concept-3/as-training.png")  # training pictures may be there
    with artefact.open_h5(make.run()) as file:
        ids, split, concept = (file[name].asstr()[:] for name in ("stimulus_id", "split", "concept"))
        embedding = file["embedding"][:]
    own = split == "template"
    assert concept[own].tolist() == ["concept-2", *["concept-3"] * 3]
    assert ids[own][0] == "template-concept-2-001"
    assert own[len(make.table) :].all()
    place = ids.tolist().index("template-concept-3-002")
    same = np.flatnonzero(ids == make.table["stimulus_id"][0])[0]
    np.testing.assert_allclose(embedding[place], embedding[same], atol=1e-6)
    assert rank.tasks.candidate_rows(split).tolist() == np.flatnonzero(split == "test").tolist()


def test_a_template_with_the_pixels_of_a_test_picture_is_refused(make):
    further(make.folder, "concept-2/a.png", "concept-3/a.png")
    Image.open(make.table["image"][7]).save(make.folder / "concept-3/again.bmp")
    (make.folder / "concept-3/again.bmp").rename(make.folder / "concept-3/again.png")  # other bytes, the same pixels
    with pytest.raises(stage.InputError, match=r"again\.png: has the pixels of the test picture picture-d "):
        make.run()


# ------------------------------------------------------------------------------------------------ retrieval


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Stimuli with three further pictures of each test concept, and responses."""
    folder = tmp_path_factory.mktemp("files")
    embedding = brain_files.write_stimuli(folder / "plain.h5")
    brain_files.write_voxels(folder / "voxels.h5", embedding, 30, noise=0.1)
    rng, tested = np.random.default_rng(0), np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)
    more = np.repeat(embedding[tested], 3, axis=0)
    more = (more + 0.2 * rng.standard_normal(more.shape) * more.std()).astype(np.float32)
    more *= rng.uniform(0.5, 2, (len(more), 1)).astype(np.float32)
    path = folder / "stimuli.h5"
    with artefact.open_h5(folder / "plain.h5") as old, artefact.create_h5(path, brain_files.MADE) as file:
        file.attrs.update(kind="pictures", cache="none")
        concept = old["concept"].asstr()[:].tolist()
        names = [f"template-{number}" for number in range(len(more))]
        file["stimulus_id"] = [*old["stimulus_id"].asstr()[:], *names]
        file["split"] = [*old["split"].asstr()[:], *["template"] * len(more)]
        file["concept"] = [*concept, *(concept[row] for row in tested for _ in range(3))]
        file["embedding"] = np.concatenate([old["embedding"][:], more])
        brain_files.write_texts(file, file["embedding"][:])
    return folder


def model(files: Path, folder: Path, method: Any) -> tuple[dict[str, Any], dict[str, list[Path]]]:
    given = method.model_dump(mode="json")
    tower = settings.Tower(model="ViT-B-32", pretrained="a.pt").model_dump(mode="json")
    values = {"method": given, "tower": tower, "seed": 0, "protocol": {}}
    inputs = {"responses": [files / "voxels.h5"], "stimuli": [files / "stimuli.h5"]}
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "history.parquet"}
    train.run(stage.Job("train", values, "code", {}, inputs, outputs))
    return {"method": given, "tower": tower}, {**inputs, "checkpoint": [outputs["checkpoint"]]}


FROZEN = settings.Contrastive(
    tower="t", encoder={"width": 24}, brain_head={"kind": "none"}, visual={"kind": "frozen", "head": {"kind": "none"}},
    optimiser={"epochs": 1, "batch_size": 20},
)  # fmt: skip


def test_without_a_head_a_template_is_the_mean_embedding_that_was_not_normalised_before(files, tmp_path):
    """As NICE has it: the longer picture counts more."""
    given, inputs = model(files, tmp_path, FROZEN)
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        test = placed(load_responses(inputs["responses"], "test", None), stimuli, inputs["stimuli"][0])
        tensors = artefact.read_tensors(inputs["checkpoint"][0])
        rows = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)
        predictor = Predictor(given["method"], given["tower"], tensors, test, stimuli, rows)
        found = predictor.candidates("template")
        further = stimuli["embedding"][brain_files.TRAIN + brain_files.TEST :]
    mean = further.reshape(brain_files.TEST, 3, -1).mean(axis=1)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    unit = torch.nn.functional.normalize(torch.from_numpy(further), dim=1).numpy()
    assert not np.allclose(unit.reshape(brain_files.TEST, 3, -1).mean(axis=1), mean, atol=1e-3)


def test_responses_are_ranked_among_concepts_by_templates(files, tmp_path):
    given, inputs = model(files, tmp_path, settings.Ridge(tower="t"))
    run = {"study": "s", "signal": "b", "protocol": "p", "method": "m", "subject": "01", "seed": 0}
    values = {**given, "run": run, "retrieval": {"tasks": ["stimulus", "template"]}}
    rank.run(stage.Job("rank", values, "code", {}, inputs, {"rows": tmp_path / "rows.parquet"}))
    rows = artefact.read_table(tmp_path / "rows.parquet").set_index("task")
    own = rows.loc["template"]
    assert own["target"].tolist() == [f"test-{number}" for number in range(brain_files.TEST)]
    assert own["classes"].all()
    assert (own["n_candidates"] == brain_files.TEST).all()
    assert own["rank"].mean() < 2  # chance 5.5
    assert not np.allclose(own["similarity"], rows.loc["stimulus", "similarity"])


# ------------------------------------------------------------------------------------------------- the plan


def planned(study: dict[str, Any], tasks: list[str]) -> Plan:
    raw = {
        "studies": {"mine": study},
        "bands": {"all": {}},
        "towers": {"t": {"model": "ViT-B-32", "pretrained": "a.pt"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": {"ridge": {"kind": "ridge", "tower": "t"}},
        "experiments": {"main": {"study": "mine", "signals": ["all"], "protocols": ["intra"], "methods": ["ridge"]}},
        "retrieval": {"tasks": tasks},
    }
    return Plan(settings.load(raw))


def test_templates_reach_the_catalogue_and_no_response(tmp_path):
    further(tmp_path, "dog/a.png")
    study = {"kind": "things_eeg2", "subjects": ["01"]}
    pattern = f"{tmp_path}/{{concept}}/*.png"
    before, after = planned(study, ["stimulus"]), planned({**study, "templates": pattern}, ["stimulus"])
    assert before.responses_spec("mine", "all", "01").json == after.responses_spec("mine", "all", "01").json
    assert before.catalogue_spec("mine").json != after.catalogue_spec("mine").json
    assert "templates" not in before.catalogue_spec("mine").settings
    assert problems(planned({**study, "templates": pattern}, ["template"])) == []
    assert (
        "studies.mine.templates: found nothing, but retrieval.tasks has template"
        in problems(planned(study, ["template"]))[0]
    )
    with pytest.raises(settings.SettingsError, match=r"studies\.mine\.templates: expected \{concept\}"):
        planned({**study, "templates": "more/*.png"}, ["template"])
