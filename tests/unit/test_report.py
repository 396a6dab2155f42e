"""The first page of the report, as snakemake renders it."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from docutils.core import publish_parts
from jinja2 import Environment

from brain2clip.reporting import typeset

ROOT = Path(__file__).resolve().parents[2]


def page(config: dict[str, Any]) -> str:
    template = (ROOT / "workflow/report/workflow.rst").read_text(encoding="utf-8")
    text = Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    rendered = text.render(snakemake=SimpleNamespace(config=config), categories={}, files=[])
    return publish_parts(rendered, writer="html", settings_overrides={"halt_level": 2})["html_body"]


@pytest.mark.parametrize(
    "file",
    [
        "config.yaml",
        *("workflow/studies/demo.yaml", "workflow/studies/study.yaml", "workflow/studies/study-fmri.yaml"),
        "workflow/studies/n170.yaml",
    ],
)
def test_first_page_says_what_is_simulated_and_whose_the_data_are(file):
    config = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    html = page(config)
    for name, study in config["studies"].items():
        assert f"<strong>{name}</strong>" in html
        assert ("no person was recorded" in html) == study["kind"].startswith("simulated")
        for key in {"licence", "citation"} & set(study):
            assert study[key] in html


@pytest.mark.parametrize(
    "text",
    [
        ".. raw:: html\n\n   <script>alert(1)</script>",
        "Doe (2020).\n\n.. image:: x.png\n",
        "see `here <javascript:alert(1)>`_ or javascript:alert(1), https://x.invalid, a@b.invalid",
        ":raw-html:`<b>` |sub| [1]_ target_ __anon ``code`` \\ back",
        "{{ config }} {% raw %} {# #} $x$ \u00e9 \u2028 |",
        "- one\n- two\n\n====\n",
    ],
)
def test_text_of_a_study_is_shown_letter_by_letter(text):
    study = {"kind": "bids", "licence": text, "citation": text}
    html = page({"studies": {"mine": study}, "experiments": {"main": {"study": "mine"}}})
    shown = unescape(re.sub(r"<[^>]*>", "", html))
    assert " ".join(shown.split()).count(" ".join(text.split())) == 2
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "p", "ul", "li", "strong", "tt", "span", "a"}
    assert html.count("<a ") == page({"studies": {}, "experiments": {}}).count("<a ")


def test_no_label_is_taken_for_a_wildcard_of_snakemake():
    """Snakemake looks for {names} in every text parameter that does not come from a function."""
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        given = re.findall(r"^ +(?:spec|given|made|amount)=(.*)$", path.read_text(), re.MULTILINE)
        assert [one for one in given if "PLAN" in one and not one.startswith("asked(lambda w")] == []


def test_text_of_the_configuration_is_no_markup():
    study = {"kind": "bids", "licence": "a_ *b* `c` |d|", "citation": "under_ scored"}
    html = page({"studies": {"mine": study, "idle": study}, "experiments": {"main": {"study": "mine"}}})
    assert "a_ *b* `c` |d|" in html
    assert "under_ scored" in html
    assert "idle" not in html


def test_first_page_shows_the_headline_table():
    """As it was written, letters that are markup included."""
    names, rows = ["method", "sub-01", "mean"], [["a|b *c* _d_", "1.0 [0.5, 2.0]", "1.0"], [], ["chance", "", "2.0"]]
    sheets = [typeset.Sheet(f"study, {one}, broad", names, rows, "Top-1 (%): of 50 | `x`.", ["a note"]) for one in "ab"]
    read = typeset.read_markdown(typeset.markdown("main", sheets))
    assert [sheet["title"] for sheet in read] == ["study, a, broad", "study, b, broad"]
    assert read[0]["rows"] == [names, rows[0], rows[2]]
    html = page({"studies": {}, "experiments": {}, "headline": read})
    cells = [unescape(re.sub(r"<[^>]*>", "", one)).strip() for one in re.findall(r"<t[dh].*?</t[dh]>", html, re.DOTALL)]
    assert cells == 2 * ["method", "sub-01", "mean", "a|b *c* _d_", "1.0 [0.5, 2.0]", "1.0", "chance", "", "2.0"]
    assert html.count("Top-1 (%): of 50 | `x`.") == 2
    assert html.index("<table") < html.index("not the authors")
