"""A study that reaches as many stages as one can, small: what disks and kills are tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from project import Project

RIDGE = {"kind": "ridge", "label": "Ridge", "tower": "grammar-vit"}


def create(folder: Path) -> Project:
    """A copy of the project whose configuration is this study; nothing has run."""
    project = Project.create(folder)
    fmri = yaml.safe_load((Path(__file__).parents[1] / "workflow" / "tiny-fmri.yaml").read_text())

    def edit(config: dict[str, Any]) -> None:
        simulated = config["studies"]["simulated"]
        simulated["subjects"] = 1
        simulated["responses"]["repetitions"] = {"train": 2, "test": 4}  # an export needs equal numbers
        config["studies"]["voxels"] = {**fmri["studies"]["voxels"], "subjects": 1}
        config["bands"].pop("slow")
        config["rois"] = {"low": fmri["rois"]["low"]}
        config["protocols"] = {"intra": {"kind": "intra-subject"}}
        config["methods"]["ridge"] = RIDGE
        of_all = {"protocols": ["intra"], "seeds": [0]}
        config["experiments"] = {
            "main": {
                "study": "simulated",
                "signals": ["broad"],
                "methods": ["neuroclip", "ridge", "ceiling"],
                **of_all,
            },
            "fmri": {"study": "voxels", "signals": ["low"], "methods": ["ridge"], **of_all},
        }
        config["tables"] = {"main": {"kind": "methods", "experiments": ["main"], "metric": "top-1"}}
        config["exports"] = {"mine": {"study": "simulated", "signals": ["broad"], "formats": ["nice"]}}
        config["retrieval"]["bootstrap"] = 100

    project.edit(edit)
    return project
