"""From a YAML mapping to a validated configuration: bases are merged, all errors are reported at once."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ValidationError

from brain2clip.settings.base import SettingsError, suggest
from brain2clip.settings.config import Config


def load(raw: Mapping[str, Any], source: str = "config.yaml") -> Config:
    """Validate a merged configuration.

    Parameters
    ----------
    raw : mapping
        What the YAML files say, overlays merged.
    source : str
        Name of the file, for the message.

    Raises
    ------
    SettingsError
        With every error found: where, what was found, what was expected.
    """
    try:
        return Config.model_validate(_resolve_bases(dict(raw), source))
    except ValidationError as error:
        raise SettingsError(_explain(error, source)) from None


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of two mappings; the overlay wins, lists are replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _resolve_bases(raw: dict[str, Any], source: str) -> dict[str, Any]:
    """Replace ``base: name`` by a deep merge onto what is named.

    A method may start from another method, a preset from another preset, the responses of a study from a preset.
    """
    problems: list[str] = []
    resolved = {
        block: _merged_onto_bases(raw[block], block, problems)
        for block in ("methods", "presets")
        if isinstance(raw.get(block), Mapping)
    }
    studies = raw.get("studies")
    if isinstance(studies, Mapping):
        presets = resolved.get("presets", {})
        resolved["studies"] = {name: _on_preset(name, study, presets, problems) for name, study in studies.items()}
    if problems:
        raise SettingsError(_listing(problems, source))
    return {**raw, **resolved}


def _merged_onto_bases(entries: Mapping[Any, Any], block: str, problems: list[str]) -> dict[Any, Any]:
    """Entries of a block, each merged onto the entry that its ``base`` names."""
    resolved: dict[Any, Any] = {}

    def resolve(name: Any, chain: tuple[Any, ...]) -> Any:
        if name in chain:
            circle = " -> ".join(map(str, (*chain, name)))
            problems.append(f"{block}.{name}.base: goes round in a circle: {circle}")
            return {}
        if name in resolved:
            return resolved[name]
        entry = entries[name]
        if isinstance(entry, Mapping) and "base" in entry:
            base, own = _base_and_own(entry)
            if base not in list(entries):
                problems.append(f"{block}.{name}.base: no {block[:-1]} named {base!r}{suggest(str(base), entries)}")
                return own
            inherited = resolve(base, (*chain, name))
            entry = merge(inherited, own) if isinstance(inherited, Mapping) else own
        resolved[name] = entry
        return entry

    for name in entries:
        resolve(name, ())
    return resolved


def _on_preset(name: Any, study: Any, presets: Mapping[Any, Any], problems: list[str]) -> Any:
    """A study whose responses are merged onto the preset that they name."""
    responses = study.get("responses") if isinstance(study, Mapping) else None
    if not isinstance(responses, Mapping) or "base" not in responses:
        return study
    base, own = _base_and_own(responses)
    if base not in list(presets):
        where = f"studies.{name}.responses.base"
        problems.append(f"{where}: no preset named {base!r}{suggest(str(base), presets)}")
        return study
    inherited = presets[base]
    return {**study, "responses": merge(inherited, own) if isinstance(inherited, Mapping) else own}


def _base_and_own(entry: Mapping[Any, Any]) -> tuple[Any, dict[Any, Any]]:
    return entry["base"], {key: value for key, value in entry.items() if key != "base"}


def _explain(error: ValidationError, source: str) -> str:
    """All errors of a validation as one message: path, found, expected, suggestion."""
    lines = []
    for item in error.errors():
        keys, block = _walk(tuple(item["loc"]))
        path = ".".join(str(key) for key in keys) or "top level"
        if item["type"] == "extra_forbidden":
            lines.append(f"{path}: {_unknown(str(keys[-1]), block)}")
        elif item["type"] == "value_error":
            message = str(item["ctx"]["error"]) if "ctx" in item else item["msg"]
            lines.extend(line if path == "top level" else f"{path}: {line}" for line in message.splitlines())
        elif item["type"] == "union_tag_not_found":
            lines.append(f"{path}.kind: missing; expected one of {', '.join(_kinds(block))}")
        else:
            found = "nothing" if item["type"] == "missing" else repr(item.get("input"))
            lines.append(f"{path}: {_lower(item['msg'])}; found {found[:120]}")
    return _listing(lines, source)


def _unknown(key: str, block: Any) -> str:
    """What is wrong with a key that a block does not have."""
    now = getattr(block, "renamed", {}).get(key)
    return f"renamed to {now}" if now else f"unknown key{suggest(key, _fields(block))}"


def _listing(lines: list[str], source: str) -> str:
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    listed = "\n".join(f"  - {line}" for line in lines)
    return f"{source}: {count} in the settings\n{listed}\nSee docs/configuration.md for every key."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _walk(loc: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """Keys of the file at the place of an error, and the annotation that holds (or should hold) the last of them.

    Pydantic puts names of union members between the keys; a key may well be called like one (a method ``ridge`` of
    kind ``ridge``), so they are told apart by following the annotations.
    """
    keys: list[Any] = []
    current, holder = Config, Config
    for part in loc:
        if _is_union(current):
            holder = current = _member(current, part)
            continue
        if part == "[key]":  # the key itself is wrong, and it is the last one already
            continue
        keys.append(part)
        holder, current = current, _below(current, part)
    return keys, current if _is_union(current) else holder


def _below(annotation: Any, key: Any) -> Any:
    """Annotation of what stands under a key, or None."""
    arguments = typing.get_args(annotation)
    if hasattr(annotation, "model_fields"):
        field = annotation.model_fields.get(key)
        return _plain(field.annotation) if field else None
    if typing.get_origin(annotation) is dict:
        return _plain(arguments[1])
    if typing.get_origin(annotation) is tuple:
        return _plain(arguments[0] if Ellipsis in arguments or key >= len(arguments) else arguments[key])
    return None


def _member(union: Any, tag: Any) -> Any:
    """Member of a union that pydantic calls ``tag``: the block of that kind, or else the list among the members."""
    members = [_plain(member) for member in typing.get_args(union)]
    for member in members:
        if tag == _kind(member) or (str(tag).startswith("tuple") and typing.get_origin(member) is tuple):
            return member
    return None


def _kind(block: Any) -> Any:
    field = getattr(block, "model_fields", {}).get("kind")
    return None if field is None else field.default


def _kinds(union: Any) -> list[str]:
    return [repr(_kind(member)) for member in typing.get_args(union)]


def _fields(block: Any) -> list[str]:
    return list(getattr(block, "model_fields", {}))


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _plain(annotation: Any) -> Any:
    """Annotation without Annotated and without None."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [member for member in members if member is not type(None)]
        if len(kept) == 1:
            return kept[0]
    return annotation
