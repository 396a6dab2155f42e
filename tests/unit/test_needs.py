"""What a plan refuses before anything runs: methods on studies that cannot serve them, exports of a part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.plan.needs import check
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = {"face": ["a photo of a face"], "house": ["a photo of a house"]}
MINE = {"kind": "bids_eeg", "root": "mine", "subjects": ["01"], "tasks": ["view"], "stimulus": "trial_type",
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


def plan(study: dict, methods: list[str], model: str = "ViT-B-32", **blocks) -> Plan:
    fmri = study["kind"] == "voxel_table"
    raw = {
        "studies": {"mine": study},
        "bands" if not fmri else "rois": {"all": {}},
        "towers": {"small": {"model": model, "pretrained": None if ":" in model else "weights/small.safetensors"}},
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
    with pytest.raises(InputError, match=r"exports\.nice\.study: 'mine' shows part of its pictures \(studies\.mine\."):
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


@pytest.mark.parametrize("tag", ["laion2b_s34b_b79k", "gone/weights.pt"])
def test_towers_are_checked_without_torch(tag):
    """And a checkpoint that is not there is Snakemake's to name."""
    code = (
        "import sys; sys.path.insert(0, 'tests/unit'); from test_needs import MINE, check, plan\n"
        f"check(plan(MINE, ['frozen'], towers={{'small': {{'model': 'ViT-B-32', 'pretrained': {tag!r}}}}}))\n"
        "print({'torch', 'open_clip'} & set(sys.modules), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()", "")


@pytest.mark.parametrize("path", sorted([*ROOT.glob("config.yaml"), *ROOT.glob("workflow/studies/*.yaml")]), ids=str)
def test_what_is_shipped_is_not_refused(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    raw = yaml.safe_load(path.read_text())
    check(Plan(settings.load(raw)))
