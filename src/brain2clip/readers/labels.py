"""Labels in settings, compared with the labels of a dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from brain2clip.names import suggestion
from brain2clip.stage import InputError


def meant(label: str, known: Iterable[str]) -> str:
    """Labels are numbers of two digits: 1 and sub-01 mean 01, which is not the closest in spelling."""
    known = set(known)
    digits = re.sub(r"\D", "", label)
    likely = f"{int(digits):02d}" if digits else label
    return f" (did you mean {likely!r}?)" if likely in known else suggestion(label, sorted(known))


def wanted(setting: str, given: Sequence[str], known: Iterable[str], source: str) -> tuple[str, ...]:
    """Labels that a setting asks for, sorted.

    Parameters
    ----------
    setting : str
        Full name of the setting, for messages.
    given : sequence of str, or ``"all"``
        What it says.
    known : iterable of str
        Labels of the dataset; all of them for ``"all"``.
    source : str
        What knows them (a manifest, a folder), for messages.

    Raises
    ------
    brain2clip.stage.InputError
        When one is unknown, or none is known.
    """
    known = sorted(set(known))
    chosen = known if given == "all" else given
    for label in chosen:
        if label not in known:
            raise InputError(
                f"{setting}: {label!r} is not in {source}{meant(label, known)}\n"
                f"  expected 'all' or labels of {', '.join(known) or f'nothing: {source} lists none'}"
            )
    if not chosen:
        raise InputError(f"{setting}: {source} lists none; expected labels such as '01' there")
    return tuple(sorted(set(chosen)))


def check(study: str, label: str, known: Iterable[str]) -> None:
    """Refuse a subject that a study does not have."""
    known = sorted(known)
    if label not in known:
        raise InputError(
            f"studies.{study}: no subject {label!r}{meant(label, known)}; expected one of {', '.join(known)}"
        )
