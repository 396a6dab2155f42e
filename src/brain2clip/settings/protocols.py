"""Which subjects train and which are tested."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brain2clip.settings.base import Block


class Protocol(Block):
    """Which subjects train and which are tested."""

    kind: Literal["intra-subject", "leave-one-subject-out", "joint"] = Field(
        description="intra-subject: the same subject trains and is tested; leave-one-subject-out: all others train; "
        "joint: one model trains on all subjects and is tested on each (methods of kind mapping, which give every "
        "subject an input layer of its own, and encoders that know the subject, as atm)"
    )
