"""The skeleton of a stage: its command line, its errors, and that ending it leaves no parts."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from brain2clip import artefact, snakefile, stage
from brain2clip.fingerprint import fingerprint

BARE = {"stage": "epochs", "format": artefact.FORMAT, "settings": {}, "code": "c0de"}
SPEC = {**BARE, "settings": {"seed": 1}, "expects": {"tower": {"code": "1"}}}


def command(*arguments: str, spec: object = SPEC) -> list[str]:
    return ["--spec", spec if isinstance(spec, str) else json.dumps(spec), *arguments]


def test_parse():
    job = stage.parse(
        command(
            *("--input", "raw=a/b.tsv", "--input", "parts=1.h5", "--input", "parts=2.h5"),
            *("--output", "out=results/x=1.h5"),
        )
    )
    assert (job.stage, job.settings, job.code) == ("epochs", {"seed": 1}, "c0de")
    assert job.input("raw") == Path("a/b.tsv")
    assert job.inputs["parts"] == [Path("1.h5"), Path("2.h5")]
    assert job.output("out") == Path("results/x=1.h5")
    assert job.expects["tower"] == {"code": "1"}


def test_each_input_comes_with_what_it_must_carry():
    spec = {**BARE, "expects": {"rows": [{"origin": "a"}, {"origin": "b"}]}}
    paths = ["--input", "rows=1.parquet", "--input", "rows=2.parquet", "--input", "other=3.parquet"]
    job = stage.parse(["--spec", json.dumps(spec), *paths])
    assert job.each("rows") == [(Path("1.parquet"), {"origin": "a"}), (Path("2.parquet"), {"origin": "b"})]
    assert job.each("other") == [(Path("3.parquet"), None)]
    with pytest.raises(stage.InputError, match="no --input history"):
        job.each("history")
    short = stage.parse(["--spec", json.dumps(spec), *paths[:2]])
    with pytest.raises(stage.InputError, match="1 inputs rows, the spec expects 2"):
        short.each("rows")


def test_the_origin_follows_everything_before_a_job():
    def origin(**changed):
        spec = {**BARE, "settings": {"a": 1}, "expects": {"e": {"origin": "1"}}, **changed}
        return stage.parse(["--spec", json.dumps(spec)]).origin

    origins = [origin(), origin(settings={"a": 2}), origin(code="d"), origin(expects={"e": {"origin": "2"}})]
    assert len(set(origins)) == 4
    assert origin() == origins[0]


def test_a_plan_of_another_format_stops_the_job(monkeypatch, capsys):
    first = stage.parse(command()).origin
    monkeypatch.setattr(artefact, "FORMAT", artefact.FORMAT + 1)
    with pytest.raises(SystemExit) as error:
        stage.parse(command())
    assert error.value.code == 2
    words = f"planned for format {SPEC['format']}, this version writes format {artefact.FORMAT}; plan and run"
    assert words in capsys.readouterr().err
    assert stage.parse(command(spec={**SPEC, "format": artefact.FORMAT})).origin != first


def test_code_that_changed_since_the_plan_stops_the_job():
    spec = {**BARE, "modules": ["brain2clip.retrieval.similarities"], "code": "0" * 16}
    with pytest.raises(stage.InputError, match="has changed since snakemake planned this job"):
        stage.check_code(stage.parse(["--spec", json.dumps(spec)]))
    spec["code"] = fingerprint("brain2clip.retrieval.similarities")
    stage.check_code(stage.parse(["--spec", json.dumps(spec)]))


def test_wrong_names_are_input_errors():
    job = stage.parse(command("--input", "parts=1.h5", "--input", "parts=2.h5"))
    with pytest.raises(stage.InputError, match="expected one --input parts=PATH, found 2"):
        job.input("parts")
    with pytest.raises(stage.InputError, match="expected one --input raw=PATH, found 0"):
        job.input("raw")
    with pytest.raises(stage.InputError, match="--output out=PATH is missing"):
        job.output("out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--spec"),
        (command(spec="{"), "--spec is not a JSON object"),
        (command(spec="3"), "--spec is not a JSON object"),
        (command(spec={"stage": "epochs"}), "--spec lacks code, format, settings"),
        (command("--inputs", "a=b", "--wrong"), "unrecognized arguments"),
    ],
)
def test_wrong_command_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as error:
        stage.parse(arguments)
    assert error.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("pair", ["a", "=b", "a="])
def test_wrong_pair(pair):
    with pytest.raises(SystemExit, match="expected NAME=PATH"):
        stage.parse(command("--input", pair))


def test_provenance_has_the_identity_of_every_input(tmp_path):
    for name in ("raw", "one", "two"):
        (tmp_path / name).write_text(name)
    job = stage.parse(
        command(*(f"--input={key}={tmp_path / name}" for key, name in (("raw", "raw"), ("p", "one"), ("p", "two"))))
    )
    made = job.provenance()
    assert set(made.inputs) == {"raw", "p.000", "p.001"}
    assert made.inputs["p.001"] == artefact.identity(tmp_path / "two")
    assert (made.stage, made.settings, made.code) == ("epochs", {"seed": 1}, "c0de")


def test_inputs_of_another_number_are_another_identity(tmp_path):
    paths = [tmp_path / str(i) for i in range(2)]
    for path in paths:
        path.write_text("same")
    one = stage.parse(command(f"--input=p={paths[0]}")).provenance()
    two = stage.parse(command(*(f"--input=p={path}" for path in paths))).provenance()
    assert one.identity != two.identity


# -------------------------------------------------------------------------------------------------- runs


PROGRAM = """
    import sys, time
    from brain2clip import artefact, stage

    def run(job):
        {body}

    stage.main(run)
"""


def program(body: str) -> list[str]:
    text = textwrap.dedent(PROGRAM).format(body=textwrap.indent(textwrap.dedent(body), "    ").strip())
    return [sys.executable, "-c", text]


def run(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program(body), *command(*arguments)], capture_output=True, text=True, check=False)


def test_a_run_says_when_it_starts_and_ends():
    done = run("pass")
    assert done.returncode == 0
    assert "epochs: start" in done.stderr
    assert "epochs: done in" in done.stderr
    assert "peak memory" in done.stderr


@pytest.mark.parametrize("error", ["stage.InputError", "artefact.ArtefactError"])
def test_expected_error_is_one_message_and_exit_code_1(error):
    done = run(f"raise {error}('data/x.tsv: onset is 1e5, expected seconds')")
    assert done.returncode == 1
    assert "epochs: stopped\ndata/x.tsv: onset is 1e5, expected seconds" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_what_the_log_cannot_hold_reaches_snakemake():
    """Of a job, as the rules run it: its log is on a full disk, and stays there."""
    code = "raise stage.InputError('what to do')"
    script = f"from brain2clip import stage\ndef run(job): {code}\nstage.main(run)"
    given = [
        "bash",
        "-c",
        f'{snakefile.prefix()} "$@" > /dev/full 2>&1',
        "bash",
        sys.executable,
        "-c",
        script,
        *command(),
    ]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0].endswith("epochs: stopped")
    assert done.stderr.splitlines()[1:] == ["what to do"]


def test_unexpected_error_keeps_its_traceback():
    done = run("raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_truncated_input_is_an_expected_error(tmp_path):
    path = tmp_path / "sub-01.h5"
    path.write_bytes(b"\x89HDF")
    done = run("artefact.check(job.input('responses'), None)", f"--input=responses={path}")
    assert done.returncode == 1
    assert "sub-01.h5: not a complete HDF5 file" in done.stderr


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_ending_a_run_removes_its_parts(tmp_path, signal_number):
    body = """
    with artefact.create_h5(job.output('out'), job.provenance()) as file:
        file['response'] = [1.0]
        print('writing', flush=True)
        time.sleep(60)
    """
    arguments = [*program(body), *command(f"--output=out={tmp_path / 'sub-01.h5'}")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    os.kill(process.pid, signal_number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- progress


def test_progress_yields_everything_and_logs_the_last(caplog):
    with caplog.at_level(logging.INFO, logger="brain2clip"):
        assert list(stage.progress(range(5), "epochs")) == [0, 1, 2, 3, 4]
    assert [record.message for record in caplog.records] == ["epochs: 5 of 5, 0 s left"]


def test_progress_logs_each_when_time_has_passed(caplog):
    with caplog.at_level(logging.INFO, logger="brain2clip"):
        assert list(stage.progress(iter("ab"), "runs", total=2, every_s=0.0)) == ["a", "b"]
        assert list(stage.progress(iter("ab"), "rows", every_s=0.0)) == ["a", "b"]
    lines = [record.message for record in caplog.records]
    assert lines[0].startswith("runs: 1 of 2, ")
    assert lines[2:] == ["rows: 1", "rows: 2"]


def test_progress_of_nothing(caplog):
    assert list(stage.progress([], "epochs")) == []
    assert caplog.records == []


def test_peak_memory_is_plausible():
    assert 0.005 < stage.peak_memory_gb() < 1000


def test_more_arguments_than_a_command_takes_come_from_a_file(tmp_path):
    spec = json.dumps({**BARE, "settings": {"x": "y" * 200_000}})
    inputs = [f"summary=results/{number}.parquet" for number in range(30_000)]
    given = tmp_path / "arguments"
    given.write_text("\n".join(["--spec", spec, "--input", *inputs]) + "\n")
    job = stage.parse([f"@{given}"])
    assert len(job.inputs["summary"]) == 30_000
    assert len(job.settings["x"]) == 200_000
