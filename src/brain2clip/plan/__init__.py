"""What a configuration asks for: runs, the spec and the files of every job, figures. Light to import.

The rules of the workflow, ``brain2clip why``, the rerun documents and the reference of settings all ask the same
:class:`Plan`; it does not know Snakemake.
"""

from brain2clip.plan.jobs import Job, Plan
from brain2clip.plan.runs import EVERYONE, Run
from brain2clip.plan.spec import Spec

__all__ = ["EVERYONE", "Job", "Plan", "Run", "Spec"]
