"""Curves over numbers of sessions, for their table and their figure: which protocols make one, what it is called."""

from __future__ import annotations

from brain2clip.settings import Protocol

#: Line of a method: the kind of its protocol, the start of its models, and the part that is trained.
Curve = tuple[str, str, str]
OTHERS: Curve = ("new-subject", "others", "all")
INPUT: Curve = ("new-subject", "others", "input")
RANDOM: Curve = ("new-subject", "random", "all")
ALONE: Curve = ("intra-subject", "others", "all")
#: In words, in the order in which they are shown.
WORDS = {
    OTHERS: "after other subjects",
    INPUT: "after other subjects, input layer only",
    RANDOM: "from random weights, the same network",
    ALONE: "the subject alone",
}


def curve_of(protocol: Protocol) -> Curve:
    """Curve that a protocol with a number of sessions is a point of."""
    return (protocol.kind, protocol.start, protocol.tune)
