"""Which subjects train and which are tested."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, EachOnce, neutral

#: Number of sessions, the first ones; or all of them.
Sessions = Annotated[int, Field(ge=1)] | Literal["all"]
#: Beginning of the name under which the models lie that new-subject protocols start from, before the subject's label.
WITHOUT = "without-"


class Protocol(Block):
    """Which subjects train and which are tested."""

    kind: Literal["intra-subject", "leave-one-subject-out", "joint", "new-subject"] = Field(
        description="intra-subject: the same subject trains and is tested; leave-one-subject-out: all others train; "
        "joint: one model trains on all subjects and is tested on each (methods of kind mapping, which give every "
        "subject an input layer of its own, and encoders that know the subject, as atm); new-subject: a joint model of "
        "all other subjects is trained on with the first sessions of the one that is tested (methods of kind mapping)"
    )
    sessions: Sessions | Annotated[tuple[Sessions, ...], Field(min_length=1), EachOnce] | None = neutral(
        None,
        description="new-subject, intra-subject: train on training trials of the first so many sessions of the tested "
        "subject, or of all (null: all; new-subject needs a number or all). A list, such as [1, 2, all], is a protocol "
        "for each, under the name PROTOCOL-SESSIONS",
    )
    start: Literal["others", "random"] = neutral(
        "others",
        description="new-subject. others: from the joint model of all other subjects; random: the same network from "
        "random weights, to compare with: nobody else's trials",
    )
    tune: Literal["all", "input"] = neutral(
        "all",
        description="new-subject, start: others. all: the subject's new input layer and the whole network train; "
        "input: the input layer alone, the network stays as the other subjects made it",
    )

    @model_validator(mode="after")
    def _settings_go_together(self) -> Protocol:
        wrong = []
        if isinstance(self.sessions, tuple):
            wrong.append("sessions: a list is written out where a configuration is read as a whole; expected one value")
        if self.kind == "new-subject" and self.sessions is None:
            wrong.append("sessions: missing; kind: new-subject needs a number of sessions, all, or a list of these")
        if self.kind not in ("new-subject", "intra-subject") and self.sessions is not None:
            wrong.append(
                f"sessions: found {self.sessions!r}; kind {self.kind} takes all sessions of its subjects, so leave it "
                "out, or take kind new-subject or intra-subject"
            )
        if self.kind != "new-subject":
            wrong += [
                f"{name}: found {getattr(self, name)}; only kind new-subject has it, so leave it out"
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
        """How many sessions of the tested subject train; None for all."""
        return self.sessions if isinstance(self.sessions, int) else None

    @property
    def continues(self) -> bool:
        """Whether its models go on from a joint model of all other subjects."""
        return self.kind == "new-subject" and self.start == "others"

    @property
    def words(self) -> str:
        """Kind, and how many sessions where that is said: what tables and published numbers are told apart by."""
        if self.sessions is None or (self.kind == "intra-subject" and self.sessions == "all"):
            return self.kind
        return f"{self.kind}: {in_words(self.sessions)}"


def first_in_words(sessions: int | None) -> str:
    """``the first session``, ``the first 2 sessions``, ``all sessions``."""
    return "all sessions" if sessions is None else f"the first {'session' if sessions == 1 else in_words(sessions)}"


def in_words(sessions: Sessions | tuple[Sessions, ...]) -> str:
    """``1 session``, ``2 sessions``, ``all sessions``."""
    return f"{sessions} session{'' if sessions == 1 else 's'}"
