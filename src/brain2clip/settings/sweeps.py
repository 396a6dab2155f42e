"""Methods that differ in one setting: ``experiments.*.sweep`` writes them out before anything is validated."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

#: Longest text of a value in the name of a method.
LONGEST = 40


def expanded(raw: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The configuration with a method for every method and combination of values of each sweep.

    Parameters
    ----------
    raw : mapping
        The configuration, bases merged.
    problems : list of str
        What is wrong with sweeps is added.

    Returns
    -------
    dict
        ``methods`` has the new ones as well, called ``METHOD-KEY-VALUE``, and the experiment lists them in the place of
        those that it named. Where that has been done already, all stays.
    """
    methods, experiments = raw.get("methods"), raw.get("experiments")
    if not isinstance(methods, Mapping) or not isinstance(experiments, Mapping):
        return dict(raw)
    found, changed = dict(methods), dict(experiments)
    for label, experiment in experiments.items():
        sweep = experiment.get("sweep") if isinstance(experiment, Mapping) else None
        if not sweep:
            continue
        wrong = [*_wrong(f"experiments.{label}.sweep", sweep)]
        problems += wrong
        named = experiment.get("methods")
        if wrong or not isinstance(named, list | tuple):
            continue
        listed: list[Any] = []
        for name in named:
            own = _of_method(name, sweep, methods)
            for new, method in own.items():
                if found.setdefault(new, method) != method:
                    problems.append(
                        f"experiments.{label}.sweep: method {new!r} is there already, with other settings; expected "
                        f"another name for it, or for {name!r}"
                    )
            listed += list(own) or [name]
        changed[label] = {**experiment, "methods": listed}
    return {**raw, "methods": found, "experiments": changed}


def _wrong(where: str, sweep: Any) -> Iterator[str]:
    if not isinstance(sweep, Mapping):
        yield f"{where}: expected keys of a method, each with a list of values; found {sweep!r}"
        return
    for key, values in sweep.items():
        if not isinstance(values, list | tuple) or not values:
            yield f"{where}.{key}: expected a list of values; found {values!r}"
        elif len({text_of(value) for value in values}) < len(values):
            yield f"{where}.{key}: expected each value once; found {values!r}"


def _of_method(name: Any, sweep: Mapping[Any, Any], methods: Mapping[Any, Any]) -> dict[str, Any]:
    """Methods in the place of one, by name; none where it does not exist, or was made by this very sweep."""
    combinations = [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]
    endings = {"".join(f"-{_last(key)}-{text_of(value)}" for key, value in one.items()): one for one in combinations}
    made = any(str(name).endswith(ending) and str(name).removesuffix(ending) in methods for ending in endings)
    base = methods.get(name)
    if made or not isinstance(base, Mapping):
        return {}
    found = {}
    for ending, one in endings.items():
        words = ", ".join(f"{_last(key).replace('-', ' ')} {_words(value)}" for key, value in one.items())
        method: Any = {**base, "label": f"{base.get('label') or name} ({words})"}
        for key, value in one.items():
            method = _with(method, str(key).split("."), value)
        found[f"{name}{ending}"] = method
    return found


def _with(block: Any, keys: list[str], value: Any) -> Any:
    """A block with a value at a path."""
    own = dict(block) if isinstance(block, Mapping) else {}
    rest = value if len(keys) == 1 else _with(own.get(keys[0]), keys[1:], value)
    return {**own, keys[0]: rest}


def _last(key: Any) -> str:
    """Last part of a path, for names."""
    return re.sub(r"[^A-Za-z0-9]+", "-", str(key).rpartition(".")[2]).strip("-")


def text_of(value: Any) -> str:
    """A value as part of a name: letters, digits and hyphens."""
    parts = value if isinstance(value, list | tuple) else [value]
    words = ["all" if one is None else _plain(one) for one in parts]
    text = "-".join(re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-") for word in words)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 9].rstrip('-')}-{zlib.crc32(text.encode()):08x}"


def _plain(value: Any) -> str:
    """A point of a number is a p, its minus an m; other signs become hyphens."""
    text = str(value)
    return text.replace(".", "p").replace("-", "m") if isinstance(value, int | float) else text


def _words(value: Any) -> str:
    """A value in a label."""
    if value is None:
        return "all"
    if isinstance(value, list | tuple):
        numbers = all(isinstance(one, int | float) for one in value)
        return (
            (" to " if numbers else " + ").join(map(str, value)) if len(value) <= 6 else f"{len(value)} of {value[0]} …"
        )
    return str(value)
