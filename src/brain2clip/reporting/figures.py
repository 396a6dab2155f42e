"""Stage ``figures``: a picture of the report, as SVG.

Settings: ``figure``, its kind (a module of :mod:`brain2clip.reporting.figure_kinds`, or ``package.module:Class``),
``study``, ``concepts: seen`` where the test of the study asks for what training showed (the figure is labelled), and
what this figure reads. What it reads and how it is drawn is in the module of the figure.
"""

from __future__ import annotations

import logging

from brain2clip import kinds, stage
from brain2clip.reporting import style, wording

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Draw the figure that the settings name."""
    kind = job.settings["figure"]
    try:
        figure = kinds.load("figures", kind)
    except kinds.KindError as error:
        raise stage.InputError(str(error)) from None
    path = job.output("figure")
    with style.applied():
        made = figure.draw(job)
        if job.settings.get("concepts") == "seen":
            style.label(made, wording.SEEN)
        style.save(made, path, job.provenance())
    log.info("figure %s: %s", kind, path)


if __name__ == "__main__":
    stage.main(run)
