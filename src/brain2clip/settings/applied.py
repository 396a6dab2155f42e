"""Trained models on other recordings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brain2clip.settings.base import Block, Name, neutral


class Apply(Block):
    """Models of an experiment rank the test trials of another study with the same recording setup."""

    experiment: Name = Field(description="name of the experiment whose models are used (all of them)")
    study: Name = Field(
        description="name of the study whose test trials are ranked among its own stimuli; its responses (voxels) "
        "must have the settings of the experiment's study. For subjects without training trials set split.training: "
        "optional"
    )
    subject: Name | None = Field(
        None,
        description="subject whose models rank all subjects of the study (null: each subject is ranked by the "
        "models of the subject with the same label)",
    )
    concepts: Literal["unseen", "seen"] = neutral(
        "unseen",
        description="unseen: a zero-shot study is refused where its test asks for concepts, or for pictures by name, "
        "that the models were trained on, as of two studies with pictures of THINGS, and any study where its test has "
        "pictures of COCO that they were trained on, as NSD and BOLD5000 share them; seen: it is ranked, and the "
        "column seen says which queries these are",
    )
