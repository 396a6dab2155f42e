"""Jobs of a plan in this process, without Snakemake: for tests of what several stages make together."""

from __future__ import annotations

import importlib
from pathlib import Path

from brain2clip.plan import Job
from brain2clip.stage import Job as StageJob

ROOT = Path(__file__).resolve().parents[2]
#: Outputs of a stage as its command names them, in the order of the plan.
OUTPUTS = {
    "epochs": ("responses",),
    "catalogue": ("catalogue",),
    "features": ("stimuli",),
    "train": ("checkpoint", "history"),
    "rank": ("rows",),
    "apply": ("rows",),
    "timecourse": ("rows",),
    "inspect": ("gains", "prompts"),
    "embed": ("embeddings",),
    "summaries": ("summary",),
    "figures": ("figure",),
}


def do(job: Job, folder: Path, check: bool = True) -> None:
    """Run a job whose paths start in a folder; ``check``: what its inputs carry is compared, as in a run."""
    module = importlib.import_module(job.spec.modules[0])
    inputs = {name: [_placed(path, folder) for path in paths] for name, paths in job.inputs.items() if paths}
    made = [folder / path for path in job.outputs]
    if job.stage == "tables":
        names: tuple[str, ...] = ("summary", *(path.name for path in made[1:]))
    elif job.stage == "page":
        names = tuple(path.relative_to(made[0].parent).as_posix() for path in made)
    else:
        names = OUTPUTS[job.stage]
    expects = dict(job.spec.expects) if check else {}
    outputs = dict(zip(names, made, strict=True))
    module.run(StageJob(job.stage, dict(job.spec.settings), job.spec.code, expects, inputs, outputs, job.spec.origin))


def _placed(path: str, folder: Path) -> Path:
    """A file of the run, or one that is committed with the project."""
    return ROOT / path if path.startswith("workflow/") else folder / path
