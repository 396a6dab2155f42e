"""The command ``brain2clip``, whose subcommands are imported when they are used."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from brain2clip import __version__

ROOT = Path(__file__).resolve().parents[3]

ABOUT = """\
Given brain responses to pictures (EEG, MEG or fMRI): which of the pictures did the person see? Reads recordings and
pictures, writes tables and figures.

A configuration is one YAML file that names studies, methods and tables. CONFIG is its path, from the current folder:
  workflow/studies/demo.yaml    the whole pipeline on a small simulated study: some minutes, no download, no GPU
  config.yaml                   the study of the paper: downloads about 55 GB, needs a GPU
Everything is written to the folder `results` of the configuration, below the repository:
  results/tables        Markdown, LaTeX and Parquet       results/figures       SVG
  results/report.zip    all of it to read in a browser    results/logs          log of each job
Results that are up to date are not made again. After a stop, the same command continues.
"""
EXAMPLES = """\
examples:
  brain2clip run workflow/studies/demo.yaml                      first try
  brain2clip init data/my-dataset                                a configuration for data of your own
  brain2clip check my-dataset.yaml                               all errors in the configuration and the data
  brain2clip run config.yaml --dry-run                           what would run
  brain2clip estimate config.yaml                                time, memory and disk that it would take
  brain2clip why workflow/studies/demo.yaml bands.broad.h_freq 30
                                                                 what an edit would cost, in jobs and hours
  brain2clip manifest ds004212                                   the files of a dataset of OpenNeuro or NEMAR
  brain2clip run --help                                          more about one command

Start with docs/get-started.md. docs/first-hour.md is for data of your own, docs/configuration.md explains every
setting, docs/reproducing.md the study of the paper.
"""
RUN = """\
Run a configuration: runs snakemake in the root of the repository, writes the report if it is out of date, and shows the
tables. Jobs whose results are up to date do not run. Ctrl-C stops the run; the same command continues it.
"""
RUN_MORE = """\
examples:
  brain2clip run workflow/studies/demo.yaml --cores 4
  brain2clip run config.yaml --dry-run                   plans, and runs nothing
  brain2clip run mine.yaml --debug                       all the way in a minute or two, before the long run
  brain2clip run config.yaml -- --profile slurm          on a cluster (docs/slurm.md)
  brain2clip run config.yaml -- --until train

Arguments after -- go to snakemake (paths in them start at the root of the repository). Results, tables, figures, logs
and benchmarks are written to the folder that the configuration names as `results`, the report to report.zip there. When
a job fails, only the jobs that need its files are stopped. -- --quiet progress shows only the end, -- --quiet all only
failures.
"""
INIT = """\
Look at your own data and write a configuration that runs, with what was found in its comments. The data are a BIDS
dataset of EEG or MEG, or voxel signals (NIfTI with four dimensions, .npz, .npy, HDF5) with a table of their rows. It
asks no questions; flags make other choices than its own. No existing file is written over.
"""
INIT_MORE = """\
examples:
  brain2clip init data/my-bids-dataset
  brain2clip init data/my-bids-dataset --task rsvp --stimulus stim_file --split run=05,10
  brain2clip init data/voxels --out haxby.yaml --split run

Then: brain2clip check FILE, brain2clip run FILE. docs/first-hour.md explains each step.
"""
CHECK = """\
Check a configuration and its data before anything runs, and list all errors at once: headers,
events, sampling rates, electrodes, pictures, prompts, CLIPs, disk and memory, for every subject. Nothing is computed or
written.
"""
CHECK_MORE = """\
example:
  brain2clip check mine.yaml

Exit code 1 if there are errors. A run and a dry run make the quick ones of these checks, too.
"""
WHY = """\
What a change of the configuration would cost, before you make it: jobs by stage, and hours from the benchmarks of
earlier runs. Without a change: which jobs the file would run as it is now, and which settings differ from those of the
existing results. The file is not changed and nothing runs. Results are compared by the provenance that they carry:
settings, code, origin, and the contents that they were made from.
"""
WHY_MORE = """\
examples:
  brain2clip why workflow/studies/demo.yaml bands.broad.h_freq 30
  brain2clip why workflow/studies/demo.yaml bands.broad.l_freq=2 bands.broad.h_freq=30        both at once
  brain2clip why config.yaml experiments.intra.seeds '[0, 1]'

CONFIG alone compares the file as it is now with its results. There is one line for each setting that differs, as in a
dry run: "bands.broad.h_freq 20 -> 30: 26 jobs, about 4 min, no GPU".

Keys are dotted as in docs/configuration.md, which says which stages read each setting. Values are written as in YAML. A
new entry takes a mapping: bands.slow '{l_freq: 1, h_freq: 8}'.
"""
APPLY = """\
Rank new recordings with trained models, by the entries of the block `apply`. Responses are made in the same way as
the training responses; existing models are not trained again. Shows the accuracy; one row per query is written to
results/apply.
"""
APPLY_MORE = """\
example, with `apply: {later: {experiment: main, study: later}}` in the configuration:
  brain2clip apply mine.yaml later
"""
ESTIMATE = """\
Estimate what a configuration takes, before its first run: jobs, processor time, GPU time, elapsed time, memory and
disk, by stage. It uses benchmarks of earlier runs if there are any, otherwise the benchmarks of the project
(workflow/costs.csv), scaled by trials, channels, pictures, epochs and the size of the CLIP. It takes seconds, and
nothing runs.
"""
ESTIMATE_MORE = """\
examples:
  brain2clip estimate config.yaml                                the paper, on this machine
  brain2clip estimate config.yaml --device gpu --cores 16        on a machine with 16 cores and one GPU
"""
WEIGHTS = """\
Download the weights of a pretrained CLIP into the folder weights, and show how a configuration names them. Without a
network it says which files to copy from where to where. Which one to take: docs/reproducing.md.
"""
WEIGHTS_MORE = """\
examples:
  brain2clip weights ViT-B-32                        the CLIP of config.yaml, 0.6 GB
  brain2clip weights RN50                            with the usual weights of that model
  brain2clip weights ViT-L-14/laion2b_s32b_b82k      MODEL/WEIGHTS, with the names of open_clip
"""
MANIFEST = """\
List the files of a dataset of OpenNeuro or NEMAR: paths, sizes, hashes and addresses, from the metadata of its
repository. A study then downloads them (`manifest: ACCESSION`). Nothing of the data is fetched, and only git is needed.
"""
MANIFEST_MORE = """\
examples:
  brain2clip manifest ds004212 --version 3.0.0           fetches the repository, writes manifests/ds004212.csv.gz
  brain2clip manifest ds004212 --source clones/ds004212 --subject BIGMEG1 --suffix meg events channels --ds minimal
  brain2clip manifest ds001499 --source ds001499.tar.gz --task 5000scenes --suffix bold events 'mask-*' \\
      --derivatives spm --without-top --out mine.csv.gz

Labels stand without sub-, ses-, task- and run-. Files without such a label, as sidecars of all runs, are kept. A label
that no file has is an error. Left out in any case: ._*, .DS_Store, *.bak, folders .ds inside of .ds. Where there is no
network, clone the repository elsewhere: git clone --bare https://github.com/OpenNeuroDatasets/ACCESSION (NEMAR:
nemarDatasets).
"""
REPORT = """\
Write only the report: report.zip in the folder `results` of the configuration. Unpack it and
open report.html in a browser: tables, figures, and which settings and code made them.
"""
REPORT_MORE = """\
example:
  brain2clip report workflow/studies/demo.yaml
"""
DOCS = """\
Write the generated documents (docs/configuration.md, docs/settings, docs/methods, recorded tables) and the JSON schema
of a configuration (workflow/schemas). Needed after a change of a settings class.
"""
DOCS_MORE = """\
examples:
  brain2clip docs
  brain2clip docs --check        writes nothing; exit code 1 if a file is out of date
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
            f"brain2clip needs a checkout of its repository, but {ROOT} has no Snakefile. Install it from the "
            "checkout (make env, or pip install --editable .)."
        )
    match given.command:
        case "run":
            from brain2clip import processes
            from brain2clip.cli import run

            if given.stop_at_first_failure:
                os.environ[processes.STOP_AT_FIRST_FAILURE] = "1"
            config = run.debug_version(given.config) if given.debug else given.config
            run.run(config, given.cores, given.dry_run, further)
        case "init":
            from brain2clip.cli import init

            names = ("out", "name", "results", "tasks", "stimulus", "keep", "split", "pictures", "tower")
            init.init(given.path, init.Flags(**{name: getattr(given, name) for name in names}))
        case "check":
            from brain2clip.cli import check

            check.check(given.config)
        case "manifest":
            from brain2clip.cli import manifest
            from brain2clip.readers import manifest_choice

            lists = ("subject", "session", "task", "run", "suffix", "extension", "exclude")
            chosen = {name: tuple(getattr(given, name)) for name in lists}
            derivatives = None if given.derivatives is None else tuple(given.derivatives)
            wanted = manifest_choice.Wanted(
                **chosen,
                derivatives=derivatives,
                sourcedata=given.sourcedata,
                top=not given.without_top,
                minimal=given.ds == "minimal",
            )
            manifest.manifest(given.accession, given.out, given.version_tag, given.source, wanted)
        case "report":
            from brain2clip.cli import run

            run.report(given.config)
        case "estimate":
            from brain2clip.cli import estimate

            estimate.estimate(given.config, given.cores, given.device)
        case "weights":
            from brain2clip.cli import weights

            weights.weights(given.name)
        case "why":
            from brain2clip.cli import why

            why.why(given.config, given.edit)
        case "apply":
            from brain2clip.cli import apply

            apply.apply(given.config, given.name, given.cores, given.dry_run)
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

    words = "CONFIG [--cores N] [--dry-run] [--debug] [--stop-at-first-failure] [-- SNAKEMAKE ARGUMENTS]"
    run = command("run", words, "run a configuration, then show its tables", RUN, RUN_MORE)
    run.add_argument("--cores", metavar="N", help="CPU cores to use (default: all, or the number after --)")
    run.add_argument("-n", "--dry-run", action="store_true", help="show what would run, and run nothing")
    small = "a small version (few subjects, pictures and epochs) with its own results in results/…/debug"
    stop = "stop the whole run when a job fails (plain snakemake: BRAIN2CLIP_STOP_AT_FIRST_FAILURE=1)"
    run.add_argument("--stop-at-first-failure", action="store_true", help=stop)
    run.add_argument("--debug", action="store_true", help=small)
    init = command("init", "PATH [FLAGS]", "write a first configuration for data of your own", INIT, INIT_MORE)
    init.add_argument(
        "path", type=Path, metavar="PATH", help="a BIDS dataset, a folder of voxel signals, or a file of them"
    )
    init.add_argument("--out", type=Path, metavar="FILE", help="the configuration to write (default: NAME.yaml here)")
    init.add_argument("--name", help="name of the study (default: name of the folder)")
    init.add_argument(
        "--results", metavar="FOLDER", help="folder of the results (default: name of the file, below results)"
    )
    init.add_argument(
        "--task", action="append", dest="tasks", default=[], help="task to read; may be given several times"
    )
    init.add_argument("--stimulus", metavar="COLUMN", help="the column that names the stimulus")
    keep = "values of a column that make an event a trial; may be given several times"
    init.add_argument("--keep", action="append", default=[], metavar="COLUMN=VALUE[,...]", help=keep)
    split = "run, session, task, concepts or column:NAME, with the values of the test after = (default: chosen)"
    init.add_argument("--split", metavar="BY[=VALUE,...]", help=split)
    init.add_argument("--pictures", type=Path, metavar="FOLDER", help="folder of the pictures (default: stimuli)")
    tower = "MODEL:TAG or MODEL:PATH of open_clip, or local-dir:FOLDER (default: a CLIP on this machine)"
    init.add_argument("--tower", metavar="MODEL:TAG", help=tower)
    command("check", "CONFIG", "list all errors of a configuration and its data, before a run", CHECK, CHECK_MORE)
    words = "CONFIG [--cores N] [--device cpu|gpu]"
    estimate = command("estimate", words, "time, memory and disk that a configuration takes", ESTIMATE, ESTIMATE_MORE)
    estimate.add_argument(
        "--cores", metavar="N", type=int, help="CPU cores to assume (default: the cores of this machine)"
    )
    where = "device of features and training (default: a GPU if this machine has one)"
    estimate.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help=where)
    words = "CONFIG KEY VALUE | CONFIG KEY=VALUE [KEY=VALUE ...] | CONFIG"
    why = command("why", words, "jobs and hours that an edit of a configuration would cost", WHY, WHY_MORE)
    what = "dotted key and its new value; without them: the file as it is now"
    why.add_argument("edit", nargs="*", metavar="KEY VALUE", help=what)
    weights = command("weights", "NAME", "download the weights of a CLIP, or say what to copy", WEIGHTS, WEIGHTS_MORE)
    weights.add_argument("name", metavar="NAME", help="MODEL or MODEL/WEIGHTS of open_clip, e.g. ViT-B-32")
    words = "ACCESSION [--version TAG] [--source WHERE] [--out FILE] [FLAGS]"
    made = command("manifest", words, "list the files of a dataset of OpenNeuro or NEMAR", MANIFEST, MANIFEST_MORE)
    made.add_argument("accession", metavar="ACCESSION", help="of the dataset, e.g. ds004212 or nm000134")
    tag = "tag, branch or commit (default: the newest of main and master)"
    made.add_argument("--version", dest="version_tag", metavar="TAG", help=tag)
    where = "a clone (bare or not), a tar or zip archive of one, or its address (default: that of the archive)"
    made.add_argument("--source", metavar="WHERE", help=where)
    made.add_argument("--out", type=Path, metavar="FILE", help="default: manifests/ACCESSION.csv.gz")
    for name, what in (
        ("subject", "labels of subjects"),
        ("session", "labels of sessions"),
        ("task", "labels of tasks"),
        ("run", "labels of runs"),
        ("suffix", "ends of names before the extension (eeg, events), or patterns of them"),
        ("extension", "extensions (.tsv, .nii.gz); recordings in folders have that of the folder (.ds)"),
        ("exclude", "patterns of paths to leave out, as in 'stimuli/*'"),
    ):
        made.add_argument(f"--{name}", nargs="+", action="extend", default=[], metavar=name.upper(), help=what)
    some = "also derivatives: of these folders, or all of them"
    made.add_argument("--derivatives", nargs="*", metavar="FOLDER", help=some)
    made.add_argument("--sourcedata", action="store_true", help="also sourcedata")
    made.add_argument("--without-top", action="store_true", help="leave out the files on top of the dataset")
    parts = "CTF folders whole (without folders inside), or only meg4, res4 and hc (default: whole)"
    made.add_argument("--ds", choices=("whole", "minimal"), default="whole", help=parts)
    apply = command("apply", "CONFIG [NAME ...]", "rank new recordings with trained models", APPLY, APPLY_MORE)
    apply.add_argument("name", nargs="*", metavar="NAME", help="entries of the block apply (default: all)")
    apply.add_argument("--cores", metavar="N", help="CPU cores to use (default: all)")
    apply.add_argument("-n", "--dry-run", action="store_true", help="show what would run, and run nothing")
    command("report", "CONFIG", "write the report of a run", REPORT, REPORT_MORE)
    docs = command("docs", "[--check]", "write the reference of all settings", DOCS, DOCS_MORE)
    docs.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is out of date")
    return parser
