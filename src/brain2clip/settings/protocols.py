"""Which subjects train and which are tested."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, EachOnce, neutral

#: Number of sessions, the first ones; or all of them.
Sessions = Annotated[int, Field(ge=1)] | Literal["all"]
#: Names of the protocols of the models that new-subject protocols start from begin with this; the subject's label
#: follows.
WITHOUT = "without-"


class Protocol(Block):
    """Which subjects train and which are tested."""

    kind: Literal["intra-subject", "leave-one-subject-out", "joint", "new-subject"] = Field(
        description="intra-subject: the same subject trains and is tested; leave-one-subject-out: all others train; "
        "joint: one model trains on all subjects and is tested on each (methods of kind mapping, which give every "
        "subject an input layer of its own, and encoders that know the subject, as atm); new-subject: a joint model of "
        "all other subjects is trained further with the first sessions of the tested subject (methods of kind mapping)"
    )
    sessions: Sessions | Annotated[tuple[Sessions, ...], Field(min_length=1), EachOnce] | None = neutral(
        None,
        description="new-subject, intra-subject: number of first sessions of the tested subject whose training trials "
        "are used, or all (null: all; new-subject needs a number or all). A list, such as [1, 2, all], makes a "
        "protocol for each entry, with the name PROTOCOL-SESSIONS",
    )
    start: Literal["others", "random"] = neutral(
        "others",
        description="new-subject. others: training starts from the joint model of all other subjects; random: the same "
        "network starts from random weights, without trials of other subjects, as a comparison",
    )
    tune: Literal["all", "input"] = neutral(
        "all",
        description="new-subject, start: others. all: the subject's new input layer and the rest of the network are "
        "trained; input: only the input layer is trained, and the rest keeps the weights of the joint model",
    )

    @model_validator(mode="after")
    def _settings_go_together(self) -> Protocol:
        wrong = []
        if isinstance(self.sessions, tuple):
            wrong.append("sessions: found a list; a list is allowed only in a whole configuration; expected one value")
        if self.kind == "new-subject" and self.sessions is None:
            wrong.append("sessions: missing; kind: new-subject needs a number of sessions, all, or a list of these")
        if self.kind not in ("new-subject", "intra-subject") and self.sessions is not None:
            wrong.append(
                f"sessions: found {self.sessions!r}; kind {self.kind} takes all sessions of its subjects, so leave it "
                "out, or take kind new-subject or intra-subject"
            )
        if self.kind != "new-subject":
            wrong += [
                f"{name}: found {getattr(self, name)}; only kind new-subject has this setting, so leave it out"
                for name, default in (("start", "others"), ("tune", "all"))
                if getattr(self, name) != default
            ]
        elif self.start == "random" and self.tune != "all":
            wrong.append(f"tune: found {self.tune} beside start: random, where all weights train; leave it out")
        if wrong:
            raise ValueError("\n".join(f".{line}" for line in wrong))
        return self

    @property
    def first_sessions(self) -> int | None:
        """How many sessions of the tested subject are used for training; None for all."""
        return self.sessions if isinstance(self.sessions, int) else None

    @property
    def continues(self) -> bool:
        """Whether its models start from a joint model of all other subjects."""
        return self.kind == "new-subject" and self.start == "others"

    @property
    def words(self) -> str:
        """Kind, and the number of sessions if there is one; tables and published numbers are matched by these words."""
        if self.sessions is None or (self.kind == "intra-subject" and self.sessions == "all"):
            return self.kind
        return f"{self.kind}: {in_words(self.sessions)}"


def first_in_words(sessions: int | None) -> str:
    """``the first session``, ``the first 2 sessions``, ``all sessions``."""
    return "all sessions" if sessions is None else f"the first {'session' if sessions == 1 else in_words(sessions)}"


def in_words(sessions: Sessions | tuple[Sessions, ...]) -> str:
    """``1 session``, ``2 sessions``, ``all sessions``."""
    return f"{sessions} session{'' if sessions == 1 else 's'}"
