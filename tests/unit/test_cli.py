"""The command ``brain2clip`` from outside."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import brain2clip
from brain2clip import settings
from brain2clip.cli import main

ROOT = Path(__file__).resolve().parents[2]


def called(*arguments: str, cwd: Path = ROOT, source: Path = ROOT / "src") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brain2clip", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_help_says_what_a_newcomer_asks(tmp_path):
    for arguments in ((), ("--help",)):
        told = called(*arguments, cwd=tmp_path)
        assert told.returncode == 0
        assert told.stdout.startswith("usage: brain2clip ")
        for word in (
            *("init", "check", "run", "why", "apply", "report", "docs"),
            *("workflow/studies/demo.yaml", "results/tables"),
            "docs/configuration.md",
        ):
            assert word in told.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("init", ("PATH", "--task", "--stimulus", "--split", "--pictures", "docs/first-hour.md", "written over")),
        ("check", ("CONFIG", "Exit code 1", "electrodes")),
        ("run", ("CONFIG", "--cores", "--dry-run", "-- --profile slurm", "`results`", "report.zip")),
        ("estimate", ("CONFIG", "--cores", "--device", "workflow/costs.csv", "nothing runs")),
        ("why", ("CONFIG KEY VALUE", "KEY=VALUE", "bands.broad.h_freq 30", "nothing runs")),
        ("apply", ("CONFIG [NAME ...]", "--cores", "--dry-run", "results/apply", "apply: {later: ")),
        ("weights", ("MODEL/WEIGHTS", "ViT-B-32", "docs/reproducing.md")),
        ("manifest", ("ACCESSION", "--source", "--derivatives", "git clone --bare", "manifests/ds004212.csv.gz")),
        ("report", ("CONFIG", "report.zip", "report.html")),
        ("docs", ("--check", "docs/configuration.md")),
    ],
)
def test_help_of_each_command(capsys, command, words):
    with pytest.raises(SystemExit) as end:
        main.main([command, "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: brain2clip {command} ")
    assert [word for word in words if word not in told] == []


def test_files_that_help_names_are_there():
    names = (
        "workflow/studies/demo.yaml",
        "config.yaml",
        "docs/configuration.md",
        "docs/first-hour.md",
        "docs/reproducing.md",
        "docs/slurm.md",
    )
    for name in names:
        assert (ROOT / name).is_file()


def test_edits_that_help_shows_are_possible():
    from brain2clip.cli import why

    lines = [line.split("   ")[0] for line in (main.EXAMPLES + main.WHY_MORE).splitlines() if "brain2clip why " in line]
    shown = [shlex.split(line)[2:] for line in (line.strip() for line in lines)]
    assert len(shown) > 3
    for config, *words in shown:
        why.edited(settings.read(ROOT / config), why.edits_of(words), config)


def test_help_imports_nothing_heavy():
    code = "import sys; from brain2clip.cli.main import made_parser; made_parser(); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "pydantic", "snakemake", "yaml", "psutil", "torch"}


def test_version_is_that_of_the_package():
    assert called("--version").stdout == f"brain2clip {brain2clip.__version__}\n"


def test_wrong_command_names_the_right_ones():
    told = called("rum", "config.yaml")
    assert told.returncode == 2
    assert all(name in told.stderr for name in ("run", "why", "report", "docs"))


def test_outside_of_a_checkout_is_one_clear_sentence(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "lib/python3/site/src", ignore=shutil.ignore_patterns("__pycache__"))
    told = called("report", "mine.yaml", cwd=tmp_path, source=tmp_path / "lib/python3/site/src")
    assert told.returncode == 1
    assert "has no Snakefile" in told.stderr
    assert "pip install --editable" in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1


def test_configuration_is_found_from_where_the_user_stands(tmp_path):
    (tmp_path / "mine.yaml").write_text("results: [")
    told = called("report", "mine.yaml", cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.startswith(f"{tmp_path / 'mine.yaml'}: not a readable configuration")


def test_what_stands_after_two_dashes_is_for_snakemake(monkeypatch):
    from brain2clip.cli import run

    seen = []
    monkeypatch.setattr(run, "run", lambda *given: seen.append(given))
    main.main(["run", "mine.yaml", "--cores", "2", "--", "-n", "--until", "train"])
    main.main(["run", "mine.yaml", "-n"])
    assert seen == [
        (Path("mine.yaml"), "2", False, ["-n", "--until", "train"]),
        (Path("mine.yaml"), None, True, []),
    ]
