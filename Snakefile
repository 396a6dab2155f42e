# brain2clip: raw brain recordings in, retrieval tables out. The settings are config.yaml, or whatever --configfile names.
from snakemake.utils import min_version

min_version("9.19")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/specs.smk"


wildcard_constraints:
    study="[A-Za-z0-9-]+",
    signal="[A-Za-z0-9-]+",
    tower="[A-Za-z0-9-]+",
    protocol="[A-Za-z0-9-]+",
    method="[A-Za-z0-9-]+",
    subject="[A-Za-z0-9]+",
    seed="[0-9]+",
    figure="[a-z0-9]+",


include: "workflow/rules/simulate.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/epochs.smk"
include: "workflow/rules/voxels.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/rank.smk"
include: "workflow/rules/summaries.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/export.smk"


rule all:
    default_target: True
    input:
        descriptions(),
        table_files(),
        figure_files(),
        export_files(),
