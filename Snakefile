"""The pipeline: data -> audits before training -> learning rates and speed -> training -> audits after it -> comparison -> tracking and
report.

`snakemake SUITE` does all of a suite; `snakemake data`, `rates`, `speed`, `training`, `audits`, `comparisons`, `tracking` and `report` do one stage (of
one suite with `--config suite=NAME`). Nothing here imports torch or mlflow: each job is a process of its own.
"""

from snakemake.utils import min_version

min_version("9.0")


# Jobs run in the environment Snakemake itself runs in; this image is for those who ask for containers.
container: "docker://python:3.11"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/audits.smk"
include: "workflow/rules/rates.smk"
include: "workflow/rules/speed.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/comparison.smk"
include: "workflow/rules/tracking.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


rule all:
    default_target: True
    input:
        finished("laptop" if "laptop" in SUITES else SUITES[0]),
