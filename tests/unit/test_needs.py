"""What a plan refuses before anything runs: methods on studies that cannot serve them, exports of a part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from brain2clip import settings
from brain2clip.plan import Plan, needs
from brain2clip.plan.needs import check, problems
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = {"face": ["a photo of a face"], "house": ["a photo of a house"]}
MINE = {"kind": "bids", "root": "mine", "subjects": ["01"], "tasks": ["view"], "stimulus": "trial_type",
        "split": {"by": "run", "test": ["02"]}, "categories": PROMPTS}  # fmt: skip
EEG1 = {"kind": "things_eeg1", "subjects": ["02"]}
EEG2 = {"kind": "things_eeg2", "subjects": ["01"]}
FMRI = {"kind": "voxel_table", "signals": "s.npy", "table": "t.tsv", "subjects": ["01"], "stimulus": "x", "run": "r",
        "split": {"by": "run", "test": ["02"]}}  # fmt: skip
METHODS = {
    "neuroclip": {"kind": "contrastive", "tower": "small"},
    "early": {"base": "neuroclip", "visual": {"readout": {"block": 2, "pool": "patches"}}},
    "frozen": {"base": "neuroclip", "visual": {"kind": "frozen"}},
    "captions": {"kind": "mapping", "tower": "small", "supervision": {"sentences": ["captions"]}},
    "image": {"base": "captions", "supervision": {"text": 0}},
}


def plan(study: dict, methods: list[str], model: str = "ViT-B-32", /, **blocks) -> Plan:
    fmri = study["kind"] == "voxel_table"
    raw = {
        "studies": {"mine": study},
        "bands" if not fmri else "rois": {"all": {}},
        "towers": {"small": {"model": model, "pretrained": None if ":" in model else "laion2b_s34b_b79k"}},
        "protocols": {"intra": {"kind": "intra-subject"}},
        "methods": METHODS,
        "experiments": {"main": {"study": "mine", "signals": ["all"], "protocols": ["intra"], "methods": methods}},
        **blocks,
    }
    return Plan(settings.load(raw))


@pytest.mark.parametrize(
    ("study", "method", "lacking"),
    [
        (MINE, "neuroclip", "visual.kind: neuroclip needs pictures"),
        (MINE, "captions", "supervision.sentences: [captions] needs captions"),
        (EEG1, "neuroclip", "visual.kind: neuroclip needs pictures"),
        (EEG2, "captions", "supervision.sentences: [captions] needs captions"),
        ({**FMRI, "categories": PROMPTS}, "early", "visual.kind: neuroclip needs pictures"),
        ({**FMRI, "stimuli": "p.tsv", "ready_features": {"small": "r.h5"}}, "neuroclip", "neuroclip needs pictures"),
        ({"kind": "god", "subjects": ["01"]}, "captions", "needs captions"),
        ({"kind": "things_fmri", "root": "x", "subjects": ["01"]}, "captions", "needs captions"),
    ],
)
def test_a_method_on_a_study_that_lacks_what_it_needs_is_refused(study, method, lacking):
    blocks = {"rois": {"all": {}}} if study["kind"] in ("god", "things_fmri") else {}
    with pytest.raises(InputError) as error:
        check(plan(study, ["frozen", "image", method], **blocks))
    (told,) = str(error.value).splitlines()
    assert told.startswith(f"experiments.main.methods: {method!r}: ")
    assert lacking in told


@pytest.mark.parametrize(
    ("study", "method"),
    [
        (MINE, "frozen"),
        (MINE, "image"),
        ({**MINE, "categories": None, "stimuli": "p.tsv"}, "captions"),
        ({**MINE, "categories": None, "stimuli": "p.tsv"}, "neuroclip"),
        ({**EEG1, "pictures": "things"}, "neuroclip"),
        (EEG2, "early"),
        ({"kind": "simulated", "subjects": 1}, "captions"),
        ({**FMRI, "stimuli": "p.tsv", "ready_features": {"other": "r.h5"}}, "neuroclip"),
    ],
)
def test_what_is_served_is_planned(study, method):
    check(plan(study, [method]))


@pytest.mark.parametrize("task", ["category", "caption", "caption-to-brain"])
def test_texts_for_a_method_that_leaves_the_joint_space_are_refused(task):
    with pytest.raises(InputError, match=rf"'early': retrieval\.tasks {task} compare .*visual\.readout\.block: 2"):
        check(plan(EEG2, ["early", "neuroclip"], retrieval={"tasks": ["stimulus", task]}))


@pytest.mark.parametrize(
    ("part", "refused"), [({"sessions": ["01"]}, True), ({"runs": ["01", "02"]}, True), ({}, False)]
)
def test_an_export_of_some_runs_or_of_one_session_is_refused(part, refused):
    exports = {"nice": {"study": "mine", "signals": ["all"], "formats": ["nice"]}}
    asked = plan({**EEG2, **part}, ["frozen"], exports=exports)
    if not refused:
        check(asked)
        return
    with pytest.raises(InputError, match=r"exports\.nice\.study: 'mine' has only part of its trials \(studies\.mine\."):
        check(asked)


@pytest.mark.parametrize(
    ("categories", "words"),
    [({"face": ["a"], "house": []}, "house: found no text prompt"), ({"face": ["a"]}, "found face; expected"),
     ({}, "categories: found none")],
)  # fmt: skip
def test_categories_need_texts_and_one_another(categories, words):
    with pytest.raises(InputError, match=words):
        check(plan({**MINE, "categories": categories}, ["frozen"]))


def test_responses_can_be_planned_without_the_archives_of_pictures(tmp_path):
    """THINGS-EEG2: only features need the pictures."""
    rows = (ROOT / "workflow/manifests/things-eeg2.csv").read_text().splitlines(keepends=True)
    (tmp_path / "part.csv").write_text("".join(row for row in rows if not row.startswith("stimuli/")))
    asked = plan({**EEG2, "manifest": str(tmp_path / "part.csv")}, ["frozen"])
    check(asked)
    assert asked.responses_job("mine", "all", "01").inputs["signals"]
    assert asked.targets()
    with pytest.raises(InputError, match=r"part\.csv: does not list stimuli/training_images\.zip"):
        asked.jobs()


BIG_G = {"model": "ViT-bigG-14", "pretrained": "laion2b_s39b_b160k"}
BIG_H = {"model": "ViT-H-14", "pretrained": "laion2b_s32b_b79k"}
HUB = {"kind": "kandinsky", "model": "kandinsky-community/kandinsky-2-2-decoder"}
ADAPTER = {"kind": "ip-adapter", "model": "stabilityai/stable-diffusion-xl-base-1.0"}
POINTS = {
    "ridge": {"kind": "ridge", "tower": "small"},
    "spoken": {"kind": "ridge", "tower": "small", "target": "text"},
    "grid": {"kind": "mapping", "tower": "small", "supervision": {"text": 0}, "readout": {"pool": "grid", "grid": 2}},
    "known": {"kind": "lda", "tower": "small"},
    "in-clip": {"base": "frozen", "visual": {"head": {"kind": "none"}}},
}


def drawing(method, tower=None, generator=None, study=None, **blocks) -> list[str]:
    """What is refused of an experiment with a generator."""
    study = {"kind": "simulated", "subjects": 1} if study is None else study
    towers = {"small": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"} if tower is None else tower}
    experiment = {"study": "mine", "signals": ["all"], "protocols": ["intra"], "methods": [method], "generators": ["g"]}
    given = {
        "methods": {**METHODS, **POINTS},
        "towers": towers,
        "generators": {"g": {"tower": "small", **(HUB if generator is None else generator)}},
        "experiments": {"main": experiment},
        **blocks,
    }
    return problems(plan(study, [method], **given))


@pytest.mark.parametrize("method", ["ridge", "captions", "image", "in-clip"])
@pytest.mark.parametrize(
    ("tower", "generator"), [(BIG_G, HUB), (BIG_H, ADAPTER), ({**BIG_G, "pretrained": "a.pt"}, HUB)]
)
def test_methods_with_points_of_the_tower_that_a_generator_takes_are_planned(method, tower, generator):
    assert drawing(method, tower, generator) == []


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("neuroclip", "visual.prompts.depth: deep, visual.fusion.kind: cross-attention, visual.head.kind: linear"),
        ("frozen", "visual.head.kind: linear"),
        ("spoken", "target: text"),
        ("grid", "readout.pool: grid"),
        ("known", "a method of kind lda does not predict the embedding"),
    ],
)
def test_a_method_without_points_is_refused_by_the_setting_that_takes_them(method, words):
    study = {**MINE, "categories": None, "stimuli": "p.tsv"}
    (told,) = drawing(method, BIG_G, study=study)
    assert told.startswith(
        f"experiments.main.methods: {method!r} predicts no points for experiments.main.generators (g)"
    )
    assert words in told
    assert "take a method of kind mapping or ridge" in told


def test_a_tower_that_no_public_generator_takes_is_told_with_those_that_they_take():
    (told,) = drawing("ridge")
    assert told.startswith(
        "generators.g.tower: found 'small' (model: ViT-B-32, pretrained: laion2b_s34b_b79k, 512 numbers)"
    )
    assert "only model: ViT-bigG-14" not in told
    assert "raw embeddings of model: ViT-bigG-14, pretrained: laion2b_s39b_b160k, 1280 numbers only" in told
    assert "takes the 512 numbers of ViT-B-32; public generators take ViT-bigG-14 / laion2b_s39b_b160k" in told
    assert "ViT-H-14 / laion2b_s32b_b79k (h94/IP-Adapter)" in told
    (told,) = drawing("ridge", BIG_H)
    assert "No public generator" not in told
    (told,) = drawing("ridge", {**BIG_H, "pretrained": "metaclip_fullcc"}, ADAPTER)
    assert "h94/IP-Adapter takes raw embeddings of model: ViT-H-14, pretrained: laion2b_s32b_b79k, 1024 numbers" in told


def test_a_generator_of_another_tower_than_the_method_is_refused():
    towers = {"small": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}, "large": BIG_G}
    (told,) = drawing("ridge", generator={**HUB, "tower": "large"}, towers=towers)
    assert told.startswith("experiments.main.generators: 'g' takes points of tower 'large' (model: ViT-bigG-14")
    assert "methods.ridge.tower is 'small'" in told
    assert "set methods.ridge.tower to 'large'" in told


def test_a_folder_of_a_generator_that_is_not_there_is_told_with_its_setting(tmp_path):
    folder = {"model": f"local-dir:{tmp_path}"}
    (told,) = drawing("ridge", folder, {"kind": "kandinsky", "model": "local-dir:nowhere/decoder"})
    assert told.startswith("generators.g.model: nowhere/decoder: no such folder; expected what save_pretrained")
    lost = {"kind": "ip-adapter", "model": f"local-dir:{tmp_path}", "adapter": "local-dir:nowhere/adapter"}
    (told,) = drawing("ridge", folder, lost)
    assert told.startswith("generators.g.adapter: nowhere/adapter: no such folder")


def test_a_folder_that_takes_another_width_is_refused(tmp_path):
    """Of a generator, and a tower in a folder whose width is not that of the published weights."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"encoder_hid_dim": 64}')
    own = {"kind": "kandinsky", "model": f"local-dir:{tmp_path}"}
    (told,) = drawing("ridge", generator=own)
    assert told.startswith(
        f"generators.g.model: local-dir:{tmp_path} takes 64 numbers, but tower 'small' (ViT-B-32) gives 512"
    )
    blocks = {"embed_dim": 64, "vision_cfg": {}, "text_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": blocks}))
    folder = {"model": f"local-dir:{tmp_path}"}
    assert drawing("ridge", folder, own) == []
    (told,) = drawing("ridge", folder)
    assert "64 numbers" in told
    assert "ViT-bigG-14" in told


def test_studies_without_pictures_have_nothing_to_draw():
    (told,) = drawing("ridge", BIG_G, study=MINE)
    assert told.startswith("experiments.main.generators: found g, but the stimuli of study 'mine' are not pictures")
    ready = {**FMRI, "stimuli": "p.tsv", "ready_features": {"small": "r.h5"}}
    (told,) = drawing("ridge", BIG_G, study=ready, rois={"all": {}})
    assert "studies.mine.ready_features has embeddings of tower 'small' in place of pictures" in told


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    (told,) = drawing("ridge", BIG_G)
    assert told.startswith("generators.g.kind: kandinsky needs the library diffusers, which is not installed")
    assert "pip install 'brain2clip[generate]'" in told


def test_all_is_told_at_once():
    with pytest.raises(InputError) as error:
        check(plan(MINE, ["neuroclip", "captions", "early"], download={"sources": {"x": "https://x"}}))
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [
        "download.sources", *["experiments.main.methods"] * 3
    ]  # fmt: skip


def test_weights_that_are_a_pointer_or_no_config_stop_the_plan(tmp_path):
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 4, "vision_cfg": {}, "text_cfg": {}}}')
    (tmp_path / "open_clip_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    asked = plan(MINE, ["frozen"], f"local-dir:{tmp_path}")
    with pytest.raises(InputError, match=r"open_clip_model\.safetensors: .* a pointer file"):
        check(asked)
    (tmp_path / "open_clip_config.json").write_text("<html>")
    with pytest.raises(InputError, match=r"open_clip_config\.json: "):
        check(asked)


@pytest.mark.parametrize(
    ("model", "tag", "words"),
    [
        ("ViT-B-23", "openai", r"open_clip knows no model 'ViT-B-23' \(did you mean 'ViT-B-32'\?\)"),
        ("ViT-B-23", "gone/weights.pt", "knows no model"),
        ("ViT-B-32", "openia", r"'openia' is neither a file nor a tag of ViT-B-32; tags: openai, "),
        ("ViT-B-32", "x" * 5000, r"is neither a file nor a tag of ViT-B-32; tags: openai, "),
        ("ViT-B-32", "openai", "trained with QuickGELU .*; take model: ViT-B-32-quickgelu$"),
        ("ViT-B-32", None, "needs a pretrained tag"),
        ("ViT-B-32", "PATH", r"trained with QuickGELU \(by .*open_clip_config.json"),
    ],
)
def test_towers_that_open_clip_does_not_know_stop_the_plan(tmp_path, model, tag, words):
    if tag == "PATH":
        blocks = {"quick_gelu": True, "embed_dim": 4, "vision_cfg": {}, "text_cfg": {}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": blocks}))
        (tmp_path / "weights.pt").write_bytes(b"weights")
        tag = str(tmp_path / "weights.pt")
    asked = plan(MINE, ["frozen"], towers={"small": {"model": model, "pretrained": tag}})
    with pytest.raises(InputError, match=rf"^towers\.\*\.\w+: .*{words}"):
        check(asked)


def test_towers_are_checked_without_torch():
    code = (
        "import sys; sys.path.insert(0, 'tests/unit'); from test_needs import MINE, check, plan\n"
        "check(plan(MINE, ['frozen'], towers={'small': {'model': 'ViT-B-32', 'pretrained': 'laion2b_s34b_b79k'}}))\n"
        "print({'torch', 'open_clip'} & set(sys.modules), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()", "")


@pytest.mark.parametrize("path", sorted([*ROOT.glob("config.yaml"), *ROOT.glob("workflow/studies/*.yaml")]), ids=str)
def test_what_is_shipped_is_not_refused(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    raw = yaml.safe_load(path.read_text())
    check(Plan(settings.load(raw)))


@pytest.mark.parametrize(
    ("tower", "told"),
    [
        (
            {"model": "local-dir:nowhere"},
            r"towers\.\*\.model: nowhere: no such folder; expected open_clip_config\.json and",
        ),
        (
            {"model": "local-dir:tests"},
            r"towers\.\*\.model: tests: no open_clip_config\.json and no open_clip_model\.safe",
        ),
        (
            {"model": "ViT-B-32", "pretrained": "gone/weights.pt"},
            r"towers\.\*\.pretrained: no file gone/weights\.pt; expec",
        ),
    ],
)
def test_files_of_a_tower_that_are_not_there_are_told_with_their_setting(tower, told):
    with pytest.raises(InputError, match=told):
        check(plan(MINE, ["frozen"], towers={"small": tower}))


def test_a_folder_of_a_judging_tower_that_is_not_there_is_told_with_its_setting():
    judge = {"kind": "open-clip", "model": "local-dir:nowhere"}
    (told,) = drawing("ridge", BIG_G, HUB, judges={"other": judge})
    assert told.startswith("judges.other.model: nowhere: no such folder")
