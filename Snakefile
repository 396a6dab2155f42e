# brain2clip: raw brain recordings in, retrieval tables out. The settings are config.yaml, or whatever --configfile names.
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from brain2clip.internals.snakemake import given_configurations
from brain2clip.snakefile import (
    amount,
    asked,
    by_name,
    either,
    files,
    growing,
    look_at_files,
    other_than,
    planned,
    prefix,
)


report: "workflow/report/workflow.rst"


look_at_files(workflow, "config.yaml")
if not given_configurations(workflow):

    configfile: "config.yaml"


# What the configuration asks for: runs, and the spec and files of every job (src/brain2clip/plan).
PLAN = planned(workflow, config)
RESULTS = PLAN.results

shell.prefix(prefix())


wildcard_constraints:
    study="[A-Za-z0-9-]+",
    apply="[A-Za-z0-9-]+",
    signal="[A-Za-z0-9-]+",
    tower="[A-Za-z0-9-]+",
    vector="[A-Za-z0-9_.-]+",
    protocol="[A-Za-z0-9-]+",
    method="[A-Za-z0-9-]+",
    subject="[A-Za-z0-9]+",
    seed="[0-9]+",
    generator="[A-Za-z0-9-]+",
    figure="[a-z0-9_]+",


include: "workflow/rules/simulate.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/responses.smk"
include: "workflow/rules/stimuli.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/retrieval.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/export.smk"


rule all:
    default_target: True
    input:
        PLAN.targets(),
