"""The command ``brain2clip``: ``run``, ``why``, ``report``, ``docs``. What one needs is imported when it is called."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from brain2clip import __version__

ROOT = Path(__file__).resolve().parents[3]

ABOUT = """\
Brain responses to pictures in (EEG or fMRI), tables out that say how well the pictures can be found again.

A configuration is one YAML file that names studies, methods and tables; CONFIG is its path, from where you stand:
  workflow/studies/demo.yaml    the whole pipeline on a small simulated study: some minutes, no download, no GPU
  config.yaml                   the study of the paper: downloads about 55 GB, wants a GPU
Everything lands in the folder that the configuration names as `results`, below the repository:
  results/tables        Markdown, LaTeX and Parquet       results/figures       SVG
  results/report.zip    all of it to read in a browser    results/logs          what each job said
What is there and up to date is never made again; what stopped goes on with the same command.
"""
EXAMPLES = """\
examples:
  brain2clip run workflow/studies/demo.yaml                      first try
  brain2clip run config.yaml --dry-run                           what would run
  brain2clip why workflow/studies/demo.yaml bands.broad.h_freq 30
                                                                 what an edit would cost, in jobs and hours
  brain2clip run --help                                          more about one command

docs/configuration.md explains every key of a configuration, docs/reproducing.md the studies of the paper.
"""
RUN = """\
Run a configuration: snakemake in the root of the repository, then the report where it is out of date, then the tables
on the terminal. Jobs whose results are there and up to date do not run. Ctrl-C stops; the same command goes on.
"""
RUN_MORE = """\
examples:
  brain2clip run workflow/studies/demo.yaml --cores 4
  brain2clip run config.yaml --dry-run                   plans, and runs nothing
  brain2clip run config.yaml -- --profile slurm          on a cluster (docs/slurm.md)
  brain2clip run config.yaml -- --keep-going --until train

Arguments after -- are those of snakemake (paths in them start at the root of the repository). Results, tables, figures,
logs and benchmarks land in the folder that the configuration names as `results`, the report in report.zip there.
"""
WHY = """\
What an edit of the configuration would cost, before it is made: jobs by stage, and hours from the benchmarks of earlier
runs. Without an edit: what the file, as it is now, makes of the results that are there, and which settings were others
when these were made. The file is not changed and nothing runs. Results are judged by what they carry themselves:
settings, code, origin, and the contents that they were made from.
"""
WHY_MORE = """\
examples:
  brain2clip why workflow/studies/demo.yaml bands.broad.h_freq 30
  brain2clip why workflow/studies/demo.yaml bands.broad.l_freq=2 bands.broad.h_freq=30        both at once
  brain2clip why config.yaml experiments.intra.seeds '[0, 1]'

CONFIG alone compares the file as it is now with its results. There is a line for each setting that is another one than
theirs, as in a dry run: "bands.broad.h_freq 20 -> 30: 26 jobs, about 4 min, no GPU".

Keys are dotted as in docs/configuration.md, which says for each of them which stages read it. Values are written as in
YAML. A new entry takes a mapping: bands.slow '{l_freq: 1, h_freq: 8}'.
"""
REPORT = """\
Write the report of what was run, and no more: report.zip in the folder that the configuration names as `results`.
Unpack it and open report.html in a browser: tables, figures, and which settings and code made them.
"""
REPORT_MORE = """\
example:
  brain2clip report workflow/studies/demo.yaml
"""
DOCS = """\
Write docs/configuration.md and the JSON schema of a configuration (workflow/schemas) from the settings classes, as who
changed a setting must do.
"""
DOCS_MORE = """\
examples:
  brain2clip docs
  brain2clip docs --check        writes nothing; exit code 1 where a file is out of date
"""


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    words = sys.argv[1:] if arguments is None else arguments
    further: list[str] = []
    if words[:1] == ["run"] and "--" in words:
        at = words.index("--")
        words, further = words[:at], words[at + 1 :]
    parser = made_parser()
    given = parser.parse_args(words)
    if given.command is None:
        parser.print_help()
        return
    if not (ROOT / "Snakefile").is_file():
        sys.exit(
            f"brain2clip works in a checkout of its repository, and {ROOT} is none: there is no Snakefile. "
            "Install it from the checkout (make env, or pip install --editable .)."
        )
    match given.command:
        case "run":
            from brain2clip.cli import run

            run.run(given.config, given.cores, given.dry_run, further)
        case "report":
            from brain2clip.cli import run

            run.report(given.config)
        case "why":
            from brain2clip.cli import why

            why.why(given.config, given.edit)
        case "docs":
            from brain2clip.documents import reference

            reference.main(["--check"] if given.check else [])
        case _:
            raise AssertionError(given.command)


def made_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="brain2clip", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"brain2clip {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    def command(name: str, words: str, what: str, about: str, more: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, usage=f"brain2clip {name} {words}", help=what, description=about, epilog=more)
        made.formatter_class = argparse.RawDescriptionHelpFormatter
        if words.startswith("CONFIG"):
            which = "a complete configuration, e.g. workflow/studies/demo.yaml"
            made.add_argument("config", type=Path, metavar="CONFIG", help=which)
        return made

    words = "CONFIG [--cores N] [--dry-run] [-- SNAKEMAKE ARGUMENTS]"
    run = command("run", words, "run a configuration, then show its tables", RUN, RUN_MORE)
    run.add_argument("--cores", metavar="N", help="CPU cores to use (default: all, or what stands after --)")
    run.add_argument("-n", "--dry-run", action="store_true", help="show what would run, and run nothing")
    words = "CONFIG KEY VALUE | CONFIG KEY=VALUE [KEY=VALUE ...] | CONFIG"
    why = command("why", words, "jobs and hours that an edit of a configuration would cost", WHY, WHY_MORE)
    what = "dotted key and its new value; none: the file as it is now"
    why.add_argument("edit", nargs="*", metavar="KEY VALUE", help=what)
    command("report", "CONFIG", "write the report of what was run", REPORT, REPORT_MORE)
    docs = command("docs", "[--check]", "write the reference of all settings", DOCS, DOCS_MORE)
    docs.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file is out of date")
    return parser
