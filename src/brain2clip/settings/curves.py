"""Protocols that differ in their number of sessions: ``protocols.*.sessions`` with a list becomes several protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def expanded(raw: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The configuration with a protocol for every number in a list of sessions.

    Parameters
    ----------
    raw : mapping
        The configuration.
    problems : list of str
        Errors in lists are appended.

    Returns
    -------
    dict
        A protocol with a list is replaced with ``PROTOCOL-SESSIONS``, one for each number. Experiments that named the
        protocol list these instead.
    """
    protocols, experiments = raw.get("protocols"), raw.get("experiments")
    if not isinstance(protocols, Mapping):
        return dict(raw)
    found: dict[Any, Any] = {}
    made: dict[Any, list[str]] = {}
    for name, protocol in protocols.items():
        listed = protocol.get("sessions") if isinstance(protocol, Mapping) else None
        if not isinstance(listed, list | tuple) or not listed:
            found[name] = protocol
            continue
        if len({str(one) for one in listed}) < len(listed):
            problems.append(f"protocols.{name}.sessions: expected each number once; found {list(listed)!r}")
        made[name] = [f"{name}-{one}" for one in listed]
        for own, sessions in zip(made[name], listed, strict=True):
            if own in protocols:
                problems.append(
                    f"protocols.{name}.sessions: protocol {own!r} exists already; expected another name for it, or "
                    f"another name for {name!r}"
                )
            found[own] = {**protocol, "sessions": sessions}
    if not made:
        return dict(raw)
    whole = {**raw, "protocols": found}
    if isinstance(experiments, Mapping):
        whole["experiments"] = {label: _listing(one, made) for label, one in experiments.items()}
    return whole


def _listing(experiment: Any, made: Mapping[Any, list[str]]) -> Any:
    """An experiment with the protocols that replace its lists."""
    named = experiment.get("protocols") if isinstance(experiment, Mapping) else None
    if not isinstance(named, list | tuple):
        return experiment
    listed = [own for name in named for own in (made.get(name, [name]) if isinstance(name, str) else [name])]
    return {**experiment, "protocols": listed}
