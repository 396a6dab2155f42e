"""From a YAML mapping to a validated configuration: bases are merged, all errors are reported at once."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any

from pydantic import Tag, ValidationError

from brain2clip import kinds
from brain2clip.settings import curves, sweeps
from brain2clip.settings import field as field_methods
from brain2clip.settings.base import EXTERNAL, UNQUOTED, Block, Kind, SettingsError, settings_of, suggest
from brain2clip.settings.config import Config
from brain2clip.settings.responses import Responses


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
    whole, _ = _resolve_bases(dict(raw), source)
    problems: list[str] = []
    whole = curves.expanded(sweeps.expanded(whole, problems), problems)
    if problems:
        raise SettingsError(_listing(problems, source))
    try:
        return Config.model_validate(whole)
    except ValidationError as error:
        raise SettingsError(_explain(error, whole, raw, source)) from None


def not_inherited(raw: Mapping[str, Any], source: str = "config.yaml") -> dict[str, list[str]]:
    """Settings of a base that an entry does not inherit, because a block of its is of another kind.

    Returns
    -------
    dict
        From the block (``methods.frozen.visual``) to the keys of its base that its own kind does not have.
    """
    return _resolve_bases(dict(raw), source)[1].dropped


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of two mappings; the overlay wins, lists are replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


@dataclass
class _Told:
    """What is said of bases: what is wrong with them, which of their keys are not inherited, by block.

    ``of_field`` are those that are methods of the field.
    """

    problems: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    of_field: list[str] = field(default_factory=list)


def _resolve_bases(raw: dict[str, Any], source: str) -> tuple[dict[str, Any], _Told]:
    """Replace ``base: name`` by a deep merge onto what is named.

    A method may start from another method or from one of the field, whose tower comes with it; a preset from another
    preset, the responses of a study from a preset.
    A block inside that is of another kind than the one it starts from keeps of it what its own kind has.
    """
    told = _Told()
    resolved = {
        block: _merged_onto_bases(raw[block], block, told)
        for block in ("methods", "presets")
        if isinstance(raw.get(block), Mapping)
    }
    studies = raw.get("studies")
    if isinstance(studies, Mapping):
        presets = resolved.get("presets", {})
        resolved["studies"] = {name: _on_preset(name, study, presets, told) for name, study in studies.items()}
    if told.problems:
        raise SettingsError(_listing(told.problems, source))
    if told.of_field and isinstance(towers := raw.get("towers", {}), Mapping):
        resolved["towers"] = {**towers, **field_methods.towers_of(told.of_field, resolved["methods"], towers)}
    return {**raw, **resolved}, told


def _merged_onto_bases(entries: Mapping[Any, Any], block: str, told: _Told) -> dict[Any, Any]:
    """Entries of a block, each merged onto the entry that its ``base`` names."""
    resolved: dict[Any, Any] = {}

    def of_the_field(base: str, where: str) -> Any:
        try:
            found = field_methods.settings_of(base)
        except SettingsError as error:
            told.problems.append(f"{where}.base: {error}")
            return {}
        told.of_field.append(base)
        return found

    def resolve(name: Any, chain: tuple[Any, ...]) -> Any:
        if name in chain:
            circle = " -> ".join(map(str, (*chain, name)))
            told.problems.append(f"{block}.{name}.base: refers to itself in a circle: {circle}")
            return {}
        if name in resolved:
            return resolved[name]
        entry = entries[name]
        if isinstance(entry, Mapping) and "base" in entry:
            base, own = _base_and_own(entry)
            of_field = block == "methods" and isinstance(base, str) and base.startswith(field_methods.PREFIX)
            if not of_field and base not in list(entries):
                unknown = f"no {block[:-1]} named {base!r}{suggest(str(base), entries)}"
                told.problems.append(f"{block}.{name}.base: {unknown}")
                return own
            inherited = of_the_field(base, f"{block}.{name}") if of_field else resolve(base, (*chain, name))
            entry = _onto(inherited, own, _plain(_below(Config, block)), f"{block}.{name}", told)
        resolved[name] = entry
        return entry

    for name in entries:
        resolve(name, ())
    return resolved


def _on_preset(name: Any, study: Any, presets: Mapping[Any, Any], told: _Told) -> Any:
    """A study whose responses are merged onto the preset that they name."""
    responses = study.get("responses") if isinstance(study, Mapping) else None
    if not isinstance(responses, Mapping) or "base" not in responses:
        return study
    base, own = _base_and_own(responses)
    where = f"studies.{name}.responses"
    if base not in list(presets):
        told.problems.append(f"{where}.base: no preset named {base!r} in presets{suggest(str(base), presets)}")
        return study
    return {**study, "responses": _onto(presets[base], own, dict[str, Responses], where, told)}


def _base_and_own(entry: Mapping[Any, Any]) -> tuple[Any, dict[Any, Any]]:
    return entry["base"], {key: value for key, value in entry.items() if key != "base"}


def _onto(inherited: Any, own: dict[Any, Any], entries: Any, where: str, told: _Told) -> Any:
    """Own keys of an entry merged onto what it inherits; ``entries`` is the annotation of all entries by name."""
    return _overlaid(inherited, own, _below(entries, ""), where, told) if isinstance(inherited, Mapping) else own


def _overlaid(inherited: Any, own: Any, annotation: Any, where: str, told: _Told) -> Any:
    """Deep merge that follows annotations: a block of another kind inherits only the keys that its kind has."""
    if _is_kind_union(annotation) and isinstance(inherited, str):  # a name that is short for a block
        inherited = {"kind": inherited}
    if not (isinstance(inherited, Mapping) and isinstance(own, Mapping)):
        return own
    if _is_kind_union(annotation):
        before = inherited.get("kind", _default_kind(annotation))
        after = own.get("kind", before)
        block = _member_of_kind(annotation, after)
        if before != after and block is not None:
            if lost := [*_foreign(inherited, block)]:
                told.dropped[where] = lost
            inherited = {**_known(inherited, block), "kind": after}
        annotation = block
    merged = dict(inherited)
    for key, value in own.items():
        if key in merged:
            value = _overlaid(merged[key], value, _below(annotation, key), f"{where}.{key}", told)
        merged[key] = value
    return merged


def _known(inherited: Any, annotation: Any) -> Any:
    """What an annotation knows of inherited settings, block by block."""
    fields = _inheritable(inherited, annotation)
    if not fields:
        return inherited
    return {key: _known(value, fields[key]) for key, value in inherited.items() if key in fields}


def _foreign(inherited: Any, annotation: Any) -> Iterator[str]:
    """Keys of the rest, dotted."""
    fields = _inheritable(inherited, annotation)
    for key, value in inherited.items() if fields else ():
        if key not in fields:
            yield str(key)
        else:
            yield from (f"{key}.{below}" for below in _foreign(value, fields[key]))


def _inheritable(inherited: Any, annotation: Any) -> dict[str, Any]:
    """Annotations of the keys that a block of this annotation has; empty where all is inherited as it stands."""
    if not isinstance(inherited, Mapping):
        return {}
    if _is_kind_union(annotation):
        annotation = _member_of_kind(annotation, inherited.get("kind", _default_kind(annotation)))
    return {key: _below(annotation, key) for key in _fields(annotation)}


def _explain(error: ValidationError, raw: Any, written: Mapping[str, Any], source: str) -> str:
    """All errors of a validation as one message: path, found, expected, suggestion.

    ``raw`` has bases merged, ``written`` is what stands in the file.
    """
    lines = []
    for item in error.errors():
        keys, block = _walk(tuple(item["loc"]), raw)
        path = ".".join(str(key) for key in keys) or "top level"
        if item["type"] == "too_short" and item.get("input"):
            continue  # its items are wrong, each of which has a line
        if item["type"] == "extra_forbidden":
            lines.append(f"{path}: {_unknown(str(keys[-1]), block)}{_based(keys, written)}")
        elif item["type"] == "value_error":
            message = str(item["ctx"]["error"]) if "ctx" in item else item["msg"]
            above = "" if path == "top level" else path
            for line in message.splitlines():
                separator = "" if line.startswith(".") or not above else ": "
                lines.append(f"{above}{separator}{line}".lstrip("."))
        elif item["type"] in ("union_tag_not_found", "union_tag_invalid"):
            lines.append(_wrong_kind(path, item.get("input"), block))
        elif item["type"] == "model_type":
            short = isinstance(item.get("input"), str) and isinstance(block, type) and issubclass(block, Kind)
            hint = f" (as {{kind: {item['input']}}})" if short else ""
            lines.append(f"{path}: expected a block of keys{hint}; found {item.get('input')!r}"[:400])
        else:
            found = "nothing" if item["type"] == "missing" else repr(item.get("input"))
            hint = ", write it in quotes" if item["type"] == "string_type" and _is_number(item.get("input")) else ""
            lines.append(f"{path}: {_in_yaml(item['msg'])}; found {found[:120]}{hint}")
    return _listing(lines, source)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | date)


def _wrong_kind(path: str, block: Any, union: Any) -> str:
    """What is wrong with the ``kind`` of a block."""
    known = [kind for kind in _kinds(union) if kind != EXTERNAL]
    or_own = ", or package.module:Class for one of your own" if len(known) < len(_kinds(union)) else ""
    listed = f"{', '.join(map(repr, known))}{or_own}"
    if not isinstance(block, Mapping | Block):
        return f"{path}: expected a block with the key kind ({listed}); found {block!r}"[:400]
    kind = block.get("kind") if isinstance(block, Mapping) else getattr(block, "kind", None)
    if kind is None:
        renamed = [key for key in _renamed(union) if isinstance(block, Mapping) and key in block]
        if renamed:
            return f"{path}.{renamed[0]}: renamed to {_renamed(union)[renamed[0]]}"
        found = f" (found {', '.join(map(str, block))})" if isinstance(block, Mapping) and block else ""
        base = ", or base: another entry" if path.startswith(("methods.", "presets.")) else ""
        return f"{path}.kind: missing{found}; expected one of {listed}{base}"
    if isinstance(kind, bool):
        return f"{path}.kind: no kind {kind!r}{UNQUOTED}; expected one of {listed}"
    now = next(
        (one.model_fields["kind"].default for one in _blocks(union) if kind in getattr(one, "formerly", ())), None
    )
    if now is not None:
        return f"{path}.kind: {kind!r} was renamed to {now!r}"
    close = suggest(str(kind), known)
    meant = close if "mean" in close else ""
    return f"{path}.kind: unknown kind {kind!r}{meant}; expected one of {listed}"


def _renamed(union: Any) -> Mapping[str, str]:
    """Keys of earlier versions of the blocks of a union."""
    return {old: new for block in _blocks(union) for old, new in block.renamed.items()}


def _unknown(key: str, block: Any) -> str:
    """What is wrong with a key that a block does not have."""
    now = getattr(block, "renamed", {}).get(key)
    return f"renamed to {now}" if now else f"unknown key{suggest(key, _fields(block))}"


def _based(keys: list[Any], written: Mapping[str, Any]) -> str:
    """The base of an entry, from which a key may come that its kind does not have."""
    entry = written
    for key in keys[:2]:
        entry = entry.get(key, {}) if isinstance(entry, Mapping) else {}
    return f" (base: {entry['base']})" if isinstance(entry, Mapping) and "base" in entry else ""


def _listing(lines: list[str], source: str) -> str:
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    listed = "\n".join(f"  - {line}" for line in lines)
    return f"{source}: {count} in the settings\n{listed}\ndocs/configuration.md describes every key."


def _in_yaml(text: str) -> str:
    """What pydantic says, with YAML's words for Python's."""
    for python, yaml in (
        ("valid tuple", "list"),
        ("tuple", "list"),
        ("valid dictionary", "block"),
        ("dictionary", "block"),
    ):
        text = re.sub(python, yaml, text, flags=re.IGNORECASE)
    text = text.removesuffix(" after validation, not 0")
    return text[:1].lower() + text[1:]


def _walk(loc: tuple[Any, ...], raw: Any) -> tuple[list[Any], Any]:
    """Keys of the file at the place of an error, and the annotation that holds (or should hold) the last of them.

    Pydantic puts names of union members between the keys; a key may well be called like one (a method ``ridge`` of
    kind ``ridge``), so they are told apart by following the annotations, and the file for kinds from outside.
    """
    keys: list[Any] = []
    current, holder = Config, Config
    for part in loc:
        if _is_union(current):
            kind = raw.get("kind") if isinstance(raw, Mapping) else None
            holder = current = _member(current, part, kind)
            continue
        if part == "[key]":  # the key itself is wrong, and it is the last one already
            continue
        keys.append(part)
        holder, current = current, _below(current, part)
        raw = _value_below(raw, part)
    return keys, current if _is_union(current) else holder


def _value_below(raw: Any, key: Any) -> Any:
    """What stands in the file under a key, or None."""
    if isinstance(raw, Mapping):
        return raw.get(key)
    if isinstance(raw, list | tuple) and isinstance(key, int) and key < len(raw):
        return raw[key]
    return None


def _below(annotation: Any, key: Any) -> Any:
    """Annotation of what stands under a key, or None."""
    arguments = _members(annotation)
    if hasattr(annotation, "model_fields"):
        field = annotation.model_fields.get(key)
        return _plain(Annotated[field.annotation, *field.metadata, None]) if field else None
    if typing.get_origin(annotation) is dict:
        return _plain(arguments[1])
    if typing.get_origin(annotation) is tuple:
        return _plain(arguments[0] if Ellipsis in arguments or key >= len(arguments) else arguments[key])
    return None


def _member(union: Any, tag: Any, kind: Any) -> Any:
    """Member of a union that pydantic calls ``tag``: the block of that kind, or else the list among the members."""
    if tag == EXTERNAL:
        return _member_of_kind(union, kind)
    lists = "tuple[" in str(tag)  # also within the name of a validator
    for member in _members(union):
        plain = _plain(member)
        if tag == _tag(member) or (lists and typing.get_origin(plain) is tuple):
            return plain
    return None


def _is_kind_union(annotation: Any) -> bool:
    return _is_union(annotation) and any(issubclass(block, Kind) for block in _blocks(annotation))


def _blocks(union: Any) -> list[type[Block]]:
    """Members of a union that are blocks."""
    members = map(_plain, _members(union))
    return [member for member in members if isinstance(member, type) and issubclass(member, Block)]


def _member_of_kind(union: Any, kind: Any) -> Any:
    """Settings class of a kind, or None where it has none."""
    for member in _members(union):
        if kind is not None and _tag(member) == kind:
            return _plain(member)
    outside = next((_plain(member) for member in _members(union) if _tag(member) == EXTERNAL), None)
    try:
        if outside is not None and isinstance(kind, str) and kinds.is_external(outside.family, kind):
            return settings_of(outside, kind)
    except ValueError:
        return outside  # what is wrong with it is said by its validation
    return None


def _default_kind(union: Any) -> Any:
    """Kind of a block that does not say one, or None."""
    for discriminator in getattr(union, "__metadata__", ()):
        found = getattr(getattr(discriminator, "discriminator", None), "default", None)
        if found is not None:
            return found
    return None


def _tag(member: Any) -> Any:
    """What pydantic calls a member of a union: its tag, or the kind that it is the block of."""
    for one in getattr(member, "__metadata__", ()):
        if isinstance(one, Tag):
            return one.tag
    field = getattr(_plain(member), "model_fields", {}).get("kind")
    return None if field is None else field.default


def _kinds(union: Any) -> list[str]:
    return [str(_tag(member)) for member in _members(union) if _plain(member) is not type(None)]


def _fields(block: Any) -> list[str]:
    return list(getattr(block, "model_fields", {}))


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(_bare(annotation)) in (typing.Union, types.UnionType)


def _members(annotation: Any) -> tuple[Any, ...]:
    """Members of a union, or what stands in the brackets of another annotation."""
    return typing.get_args(_bare(annotation))


def _bare(annotation: Any) -> Any:
    """Annotation without Annotated."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def _plain(annotation: Any) -> Any:
    """Annotation without None, and without Annotated where it is no union (whose discriminator is needed)."""
    if not _is_union(annotation):
        return _bare(annotation)
    kept = [member for member in _members(annotation) if member is not type(None)]
    return _plain(kept[0]) if len(kept) == 1 else annotation
