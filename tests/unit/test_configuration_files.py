"""Files of a configuration as they stand: nothing that YAML drops or runs passes in silence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from brain2clip import settings, snakefile
from brain2clip.settings import SettingsError

ROOT = Path(__file__).resolve().parents[2]


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as error:
        settings.read(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bands: {a: {}}\nresults: x\nbands: {}\n", "bands: occurs twice, in line 1 and in line 3"),
        ("a:\n  b: {c: 1,\n    d: 2, c: 3}\n", "a.b.c: occurs twice, in line 2 and in line 3"),
        ("a:\n- {x: 1}\n- {x: 1, y: 2, x: 3}\n", "a.1.x: occurs twice, in line 3 and in line 3"),
        ("a: {yes: 1, true: 2}\n", "a.True: occurs twice"),
        ("a: {'x': 1, \"x\": 2}\n", "a.x: occurs twice"),
        ("a: &a {x: 1}\nb: {<<: *a, y: 1}\nc: {<<: *a, <<: *a}\n", "c.<<: occurs twice, in line 3 and in line 3"),
        ('{"a": {"b": 1,\n"b": 2}}', "a.b: occurs twice, in line 1 and in line 2"),
        ("__use_yte__: true\na: ?open('x')\n", "__use_yte__: line 1 would run code"),
        ("a: {[1]: 2}\n", "a: line 1 has a block or list as a key"),
        ("a: &a\n  b: *a\n", "a.b: the block in line 1 contains itself through its anchor"),
        ("a:\n\tb: 1\n", "never with tabs"),
        ("a: !!python/object/apply:os.system [echo]\n", "it is not valid YAML"),
        ("a: 2020-99-99\n", "it is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "it is not valid YAML"),
        ("", "is empty; expected a configuration"),
        ("# nothing\n", "is empty"),
        ("- a\n", "is a list"),
        ("a: 1".encode("utf-16"), "it is not UTF-8 text"),
    ],
)
def test_refused_with_the_lines(tmp_path, text, words):
    assert words in refusal(tmp_path / "my é.yaml", text)


def test_all_that_stand_twice_are_listed_once_each(tmp_path):
    told = refusal(tmp_path / "c.yaml", "a: &a {x: 1, x: 2}\nb: *a\nc: 1\nc: 2\nc: 3\n")
    assert told.count("occurs twice") == 3
    assert "c: occurs twice, in line 3 and in line 5" in told


def test_a_file_that_is_not_there_and_a_folder_are_a_sentence(tmp_path):
    for path in (tmp_path / "gone.yaml", tmp_path):
        with pytest.raises(SettingsError, match="not a readable configuration"):
            settings.read(path)


def test_anchors_that_multiply_are_read_at_once(tmp_path):
    """Ten levels of ten: walked as a tree, that is ten thousand million blocks."""
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11))]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    assert list(settings.read(tmp_path / "c.yaml")) == [f"a{n}" for n in range(11)]


def test_what_overrides_an_anchor_is_no_second_key(tmp_path):
    (tmp_path / "c.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert settings.read(tmp_path / "c.yaml")["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize("given", [[], ["one.yaml"], ["plain.yaml", "one.yaml"]])
def test_every_file_that_snakemake_merges_is_looked_at_before_it_does(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("plain.yaml").write_text("a: 1\n")
    Path("one.yaml").write_text("a: 1\na: 2\n")
    workflow = SimpleNamespace(is_main_process=True, overwrite_configfiles=given)
    with pytest.raises(Exception, match=r"one\.yaml: not a readable configuration\n  - a: occurs twice") as error:
        snakefile.look_at_files(workflow, "one.yaml")
    assert type(error.value).__name__ == "WorkflowError"
    snakefile.look_at_files(SimpleNamespace(is_main_process=False), "one.yaml")
    text = (ROOT / "Snakefile").read_text()
    assert text.index('look_at_files(workflow, "config.yaml")') < text.index('configfile: "config.yaml"')
