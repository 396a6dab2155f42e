"""The documents: every code block is checked or says why not, links lead somewhere, and no result is copied by hand."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from brain2clip import settings
from brain2clip.cli import main
from brain2clip.documents import recorded, site

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: Its blocks are run by tests/workflow/test_recipes.py.
RECIPES = ROOT / "CONTRIBUTING.md"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<reason>[^\n]*) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>[\w-]*)\n(?P<text>.*?)^(?P=indent)``` *$",
    re.M | re.S,
)
#: Programs of others, which the tests cannot ask.
OTHERS = {"$EDITOR", "cd", "conda", "export", "git", "sacctmgr", "sinfo", "source", "tmux"}
#: Names that fragments of configurations speak of, in a whole that is as small as can be.
FRAME = """
studies:
  s: &simulated {kind: simulated, subjects: 2}
  mine: *simulated
  things-eeg2: *simulated
  god: {kind: simulated_fmri, subjects: 2, training_concepts: 4, pictures_per_concept: 2, test_concepts: 3}
  things-eeg2-63: *simulated
bands: {broad: {}, recorded: {}}
rois: {vc: {include: [VC]}}
towers:
  small: {model: ViT-B-32, pretrained: a.pt}
  vit-b-32: {model: ViT-B-32, pretrained: b.pt}
protocols: {intra: {kind: intra-subject}, inter: {kind: leave-one-subject-out}}
methods:
  frozen: {kind: contrastive, tower: small, encoder: {kind: eegproject}, visual: {kind: frozen}}
  ridge: {kind: ridge, tower: small}
  brainclip: {kind: mapping, tower: small}
experiments:
  main: {study: s, signals: [broad], protocols: [intra], methods: [frozen, ridge]}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    path: Path
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}"


def blocks_of(text: str, path: Path) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        body = re.sub(f"^{found['indent']}", "", found["text"], flags=re.M)
        reason = found["reason"] or ""
        not_run = reason.removeprefix("not run: ") if reason.startswith("not run: ") else None
        line = text[: found.start("language")].count("\n") + 1
        yield Block(path, line, found["language"], body, not_run)


BLOCKS = [block for path in PAGES for block in blocks_of(path.read_text(encoding="utf-8"), path)]


def those_of(language: str) -> Any:
    chosen = [block for block in BLOCKS if block.language == language and block.not_run is None]
    assert chosen
    return pytest.mark.parametrize("block", chosen, ids=str)


# ------------------------------------------------------------------------------------------------------------ blocks


def test_every_block_is_of_a_language_that_is_checked_or_says_why_not():
    unknown = [str(block) for block in BLOCKS if block.language not in ("bash", "yaml", "python", "text")]
    short = [str(block) for block in BLOCKS if block.not_run is not None and len(block.not_run) < 15]
    assert (unknown, short) == ([], [])
    assert sum(path.read_text(encoding="utf-8").count("\n```") for path in PAGES) <= 2 * len(BLOCKS) + 2


def test_recipes_have_no_block_that_their_test_does_not_read():
    languages = {block.language for block in blocks_of(RECIPES.read_text(encoding="utf-8"), RECIPES)}
    assert languages == {"python", "diff", "yaml"}


@those_of("yaml")
def test_configurations_are_valid(block):
    fragment = yaml.safe_load(block.text) or {}
    frame = yaml.safe_load(FRAME)
    if block.path.parent == DOCS / "methods" and "methods" not in fragment:
        fragment = {"towers": fragment} if "tower" not in fragment else as_method(block, fragment)
    entries = {name: {**frame.get(name, {}), **entries} for name, entries in fragment.items()}
    settings.load({**frame, **entries}, str(block))


def as_method(block: Block, method: dict[str, Any]) -> dict[str, Any]:
    """The settings of a method of the field, as its page shows them, with the towers that its page shows."""
    shown = [yaml.safe_load(one.text) for one in BLOCKS if one.path == block.path]
    towers = {name: tower for one in shown if "tower" not in one for name, tower in one.items()}
    return {
        "methods": {"shown": method},
        "towers": {method["tower"]: {"model": "ViT-B-32", "pretrained": "c.pt"}} | towers,
    }


def things_eeg2(folder: Path) -> None:
    """What the example of docs/import.md reads."""
    ids = [f"picture-{number}" for number in range(200)]
    (folder / "results/catalogue").mkdir(parents=True)
    table = pd.DataFrame({"stimulus_id": [*ids, "other"], "split": ["test"] * 200 + ["train"]})
    table.to_parquet(folder / "results/catalogue/things-eeg2.parquet")
    (folder / "mine").mkdir()
    for number in range(1, 11):
        np.save(folder / f"mine/sub-{number:02d}.npy", np.eye(200, dtype=np.float32))


@those_of("python")
def test_python_runs(block, tmp_path, monkeypatch):
    worlds = {DOCS / "import.md": things_eeg2}
    worlds[block.path](tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {})
    made = pd.read_csv(tmp_path / "mine/similarities.csv", dtype={"subject": str})
    assert made.shape == (2000, 202)
    assert set(made["subject"]) == {f"{number:02d}" for number in range(1, 11)}


def test_python_that_is_not_run_compiles():
    for block in BLOCKS:
        if block.language == "python":
            compile(block.text, str(block), "exec")


def parsed(words: list[str]) -> None:
    """Words of ``brain2clip`` are those that it knows; ``--help`` ends well."""
    try:
        main.made_parser().parse_args(words)
    except SystemExit as end:
        if end.code:
            raise


@cache
def snakemake_parser() -> Any:
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


def commands(text: str) -> Iterator[list[str]]:
    """Commands of a block: words by command, without comments."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word == "&&":
                if words:
                    yield words
                words = []
            else:
                words.append(word)


@those_of("bash")
def test_commands_are_those_that_there_are(block):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    told = list(commands(block.text))
    assert told
    for program, *words in told:
        if program == "brain2clip":
            at = words.index("--") if "--" in words else len(words)
            parsed(words[:at])
            program, words = ("snakemake", words[at + 1 :]) if words[at:] else (program, words)
        if program == "snakemake":
            snakemake_parser().parse_args(words)
        elif program == "make":
            variables = [word.partition("=")[0] for word in words if "=" in word]
            assert {word for word in words if "=" not in word} <= targets
            assert all(f"$({name})" in makefile for name in variables)
        elif program in ("python", ".venv/bin/python"):
            option, what, *_ = words
            if option == "-c":
                compile(what, str(block), "exec")
            elif option == "-m":
                assert importlib.util.find_spec(what) is not None
            else:
                assert (ROOT / option).is_file(), (str(block), option)
        else:
            assert program in OTHERS | {"brain2clip"}, (str(block), program)


def test_a_wrong_command_is_found():
    """The checks above can fail."""
    for text in (
        "brain2clip rum config.yaml",
        "snakemake --corse 4",
        "make dmo",
        "python -m brain2clip.nothing",
        "rm -rf /",
    ):
        with pytest.raises((AssertionError, SystemExit)):
            test_commands_are_those_that_there_are(Block(ROOT / "README.md", 1, "bash", text, None))
    with pytest.raises(settings.SettingsError, match="h_frequency"):
        test_configurations_are_valid(Block(DOCS / "a.md", 1, "yaml", "bands: {alpha: {h_frequency: 3}}", None))


# ------------------------------------------------------------------------------------------------------ links, tables


def slugs(path: Path) -> set[str]:
    """Anchors of a document's headings, as code hosts make them."""
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower()).replace(" ", "-")
        for head in heads
    }


@pytest.mark.parametrize(
    "path", [*PAGES, RECIPES, ROOT / "CHANGELOG.md"], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_links_lead_to_files_and_headings(path):
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    wrong = []
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", text)):
        if "://" in target:
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.is_file() or (anchor and anchor not in slugs(file)):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


def test_files_that_texts_name_are_there():
    inside = re.compile(r"(?<!`)`((?:workflow|docs|configs|slurm|bench|envs|src|tests)/[\w./-]+\.\w+)`(?!`)")
    named = {(path.name, one) for path in PAGES for one in inside.findall(path.read_text(encoding="utf-8"))}
    assert [(where, one) for where, one in sorted(named) if not (ROOT / one).exists()] == []


def test_no_result_is_copied_by_hand():
    """Rows of tables with intervals stand between the comments of a recorded table, or in pages made of one."""
    interval = re.compile(r"^\|.*\[[+−-]?\d+\.\d+, [+−-]?\d+\.\d+\]", re.M)
    pages = [path for path in PAGES if path.parent not in (DOCS / "methods", DOCS / "settings")]  # generated
    texts = {path.name: recorded._PLACE.sub("", path.read_text(encoding="utf-8")) for path in pages}
    assert [name for name, text in texts.items() if interval.search(text)] == []
    assert interval.search("| Frozen CLIP | 60.3 | [52.5, 68.1] |")


def test_recorded_tables_are_what_their_files_say():
    made = recorded.pages(ROOT)
    assert len(made) > 5
    for path, text in made.items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run `make docs`"


def test_a_recorded_table_that_is_not_there_is_an_error(tmp_path):
    (tmp_path / "docs/data").mkdir(parents=True)
    (tmp_path / "docs/data/a.csv").write_text("table\none,method,>Top-1\none,ridge,50.0\n")
    page = "<!-- table: a.csv, {} -->\nold\n<!-- end of table -->\n"
    assert "| ridge | 50.0 |" in recorded.filled(page.format("one"), tmp_path)
    assert "old" not in recorded.filled(page.format("one"), tmp_path)
    with pytest.raises(LookupError, match="no table 'two', but 'one'"):
        recorded.filled(page.format("two"), tmp_path)


def test_published_numbers_are_shown_by_method_and_subject(tmp_path):
    (tmp_path / "workflow/published").mkdir(parents=True)
    head = "study,protocol,scoring,method,metric,value,subject,selection,source,note"
    of = "s,intra-subject,inductive,A,{},{},{},not known,a paper,\n"
    lines = [of.format("top-1", 0.5, ""), of.format("top-5", 0.75, ""), of.format("top-1", 0.25, "02")]
    (tmp_path / "workflow/published/s.csv").write_text(head + "\n" + "".join(lines))
    page = "<!-- table: published/s.csv, {} -->\n<!-- end of table -->\n"
    made = recorded.filled(page.format("intra-subject"), tmp_path)
    assert "| method | scoring | top-1 | top-5 | 02 | selection | source |" in made
    assert "| A | inductive | 50.0 | 75.0 | 25.0 | not known | a paper |" in made
    with pytest.raises(LookupError, match="no row of the protocol 'joint', but of 'intra-subject'"):
        recorded.filled(page.format("joint"), tmp_path)


# -------------------------------------------------------------------------------------------------------------- site


def test_links_that_leave_docs_hold_on_the_site():
    text = "[a](../../configs/field.yaml) [b](../field.md#x) [c](https://a.b/c) `[d](../field.md)`"
    assert site.relinked(text, "methods/README.md") == text.replace(
        "../../configs/field.yaml", "../repository/configs/field.yaml.md"
    )
    assert list(site.linked(text, "methods/README.md")) == ["configs/field.yaml"]
    assert site.relinked("[r](docs/reruns.md)", "extend.md") == "[r](reruns.md)"
    assert site.relinked("[r](../CONTRIBUTING.md#words)", "README.md") == "[r](extend.md#words)"
    assert site.copied("configs/field.yaml").startswith("# configs/field.yaml\n")
    assert site.without_roles("as (:meth:<code>runs</code>)") == "as (<code>runs</code>)"


def test_results_are_read_from_their_folder_and_missing_ones_are_told(tmp_path):
    told = site.results_page("study", tmp_path)
    assert "`make study` makes it" in told
    assert "| no |" in site.results_index(tmp_path)
    (tmp_path / "results/study/tables").mkdir(parents=True)
    (tmp_path / "results/study/tables/main.md").write_text(
        "# main\n\nleave-one-\nsubject-out\n\n| method | Top-1 |\n|---|---|\n| ridge | 12.5 |\n"
    )
    (tmp_path / "results/study/figures/simulated").mkdir(parents=True)
    (tmp_path / "results/study/figures/simulated/erp.svg").write_text("<svg/>")
    (tmp_path / "workflow/report").mkdir(parents=True)
    (tmp_path / "workflow/report/figure.rst").write_text((ROOT / "workflow/report/figure.rst").read_text())
    told = site.results_page("study", tmp_path)
    assert "### main\n" in told
    assert "| ridge | 12.5 |" in told
    assert "leave-one-subject-out" in told
    assert "study/figures/simulated/erp.svg" in told
    assert "vent-related potential" in told  # its caption
    assert site.SIMULATED in told
    assert "page.html" not in told
    (tmp_path / "results/study/page.html").write_text("<html>")
    assert "(study/page.html)" in site.results_page("study", tmp_path)


def test_navigation_has_every_page():
    class Loader(yaml.SafeLoader):
        """Reads the slugs' function of mkdocs.yml as nothing."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    nav = site.expanded(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"])

    def pages(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            for value in entry.values() if isinstance(entry, dict) else [entry]:
                yield from pages(value) if isinstance(value, list) else [value]

    listed = list(pages(nav))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert written - set(listed) == set()
    assert len(listed) == len(set(listed))


def test_what_recipes_import_is_on_the_pages_of_the_api():
    text = RECIPES.read_text(encoding="utf-8")
    imported = set(re.findall(r"^from (brain2clip\.[\w.]+) import", text, re.M))
    shown = {module for _, modules in site.API.values() for module in modules}
    left = {name for name in imported if not name.startswith("brain2clip.settings")} - shown
    assert left <= {
        "brain2clip.internals",
        "brain2clip.readers",
        "brain2clip.reporting",
    }  # packages: their modules are named
    assert [name for name in shown if importlib.util.find_spec(name) is None] == []
