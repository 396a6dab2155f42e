"""Reference of all settings, generated from the settings classes: ``python -m brain2clip.documents.reference``.

What a setting re-runs is asked of the plan (:mod:`brain2clip.documents.reruns`). Writes ``docs/configuration.md`` for
people, ``workflow/schemas/config.schema.json`` for editors, and the pages of the field's methods
(:mod:`brain2clip.documents.field`). With ``--check`` nothing is written; files that no longer match are named and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from brain2clip import artefact
from brain2clip.documents import field as field_methods
from brain2clip.documents import reruns
from brain2clip.plan.jobs import STAGES
from brain2clip.settings import Block, Config

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = Path("docs/configuration.md")
SCHEMA = Path("workflow/schemas/config.schema.json")

_INTRODUCTION = """\
# Configuration

<!-- Generated from src/brain2clip/settings and src/brain2clip/plan by `make docs`; a test fails when they differ. -->

Every key, its type, default and meaning, block by block. A key that is not listed here is an error, and all errors are
reported at once before anything runs. Where the type is an upper-case word (`BAND`), the name is yours: letters, digits
and hyphens, because it becomes part of a path.

Settings are compared after they were read: the order of keys changes nothing, and 8 and 8.0 are one value. A stage
reruns when a value that it reads changes, and only then. The last column says which: **bold** stages read the setting
themselves, *new* ones get further jobs (and lose others), the rest follow because their inputs change. Only jobs that
the value stands for are meant: the edge of one band re-runs the responses in that band, and no others. What an edit
would cost is shown before it is made by `make why KEY=bands.alpha.h_freq VALUE=12`; [reruns.md](reruns.md) has examples
with numbers of jobs.

An entry under `methods` may say `base: OTHER`: it starts from that method and overrides what it lists itself; with
`base: field/NAME` it starts from a [method of the field](methods/README.md), and has its tower where none of that name
is configured. So may an entry under `presets`, and the `responses` of a study, which start from a preset. A block of
another kind than that of its base inherits what its own kind has; what it loses (`readout` under
`visual: {kind: frozen}`) is one line when a run starts.

For completion and checks in an editor, put this line first in a configuration file:

```yaml
# yaml-language-server: $schema=workflow/schemas/config.schema.json
```
"""


def main(arguments: list[str] | None = None) -> None:
    """Write both files, or check them."""
    parser = argparse.ArgumentParser(description="Reference of all settings from the settings classes.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository")
    given = parser.parse_args(arguments)
    stale = []
    for path, text in generated().items():
        target = given.root / path
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        if given.check:
            stale.append(path.as_posix())
        else:
            artefact.write_text(target, text)
            print(f"wrote {path.as_posix()}")
    if stale:
        sys.exit(f"not what the settings classes and the plan say: {', '.join(stale)}; run `make docs`")


def generated() -> dict[Path, str]:
    """Path of each generated file, relative to the root, and its text."""
    settings = {DOCUMENT: document(), SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"}
    return settings | field_methods.pages()


def schema() -> dict[str, Any]:
    """JSON schema of a configuration as written, so with ``base`` allowed in methods, presets and responses."""
    made = _any_kind(Config.model_json_schema(by_alias=True))
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "brain2clip configuration"
    # What has a base may leave out what it inherits, its kind included: only its keys can be checked here.
    methods = made["properties"]["methods"]["patternProperties"]
    ((pattern, method),) = methods.items()
    members = [made["$defs"][member["$ref"].rpartition("/")[2]] for member in method["anyOf"] if "$ref" in member]
    methods[pattern] = _or_on_base(method, members, "method")
    responses = made["$defs"]["Responses"]
    on_preset = _or_on_base({"$ref": "#/$defs/Responses"}, [responses], "preset")
    presets = made["properties"]["presets"]["patternProperties"]
    presets.update(dict.fromkeys(presets, on_preset))
    for block in made["$defs"].values():
        kind = block.get("properties", {}).get("kind", {})
        if kind.get("type") == "string" and not {"const", "enum"} & kind.keys():
            kind["pattern"] = ":"  # package.module:Class, which may have settings of its own
            block["additionalProperties"] = True
        if "responses" in block.get("properties", {}):
            text = block["properties"]["responses"].get("description", "")
            block["properties"]["responses"] = {**on_preset, "description": text}
    return made


def _any_kind(schema: Any) -> Any:
    """A block that does not name its kind fits several members of a union: any of them will do."""
    if isinstance(schema, list):
        return [_any_kind(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    undecided = "oneOf" in schema and "discriminator" not in schema
    return {"anyOf" if undecided and key == "oneOf" else key: _any_kind(one) for key, one in schema.items()}


def _or_on_base(whole: dict[str, Any], members: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """A block as it is, or one that names its base and some of the keys of its kinds."""
    keys: dict[str, Any] = {"base": {"type": "string", "description": f"{what} to start from"}}
    for member in members:
        for key in member["properties"]:
            keys.setdefault(key, {})
    inherited = {
        "type": "object",
        "description": f"starts from a {what} and overrides what is listed",
        "required": ["base"],
        "properties": keys,
        "additionalProperties": False,
    }
    return {"if": {"required": ["base"]}, "then": inherited, "else": whole}


def document() -> str:
    """Text of ``docs/configuration.md``."""
    parts = [_INTRODUCTION]
    for block, (path, *others) in blocks().items():
        title = f"`{path}`" if path else "Top level"
        also = f" The same keys at {', '.join(f'`{other}`' for other in others)}." if others else ""
        rows = [_row(name, field, _reruns(block, name, field)) for name, field in block.model_fields.items()]
        head = "| key | type | default | meaning | re-runs |\n|---|---|---|---|---|"
        parts.append(f"## {title}\n\n{_purpose(block)}{also}\n\n{head}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def blocks() -> dict[type[BaseModel], list[str]]:
    """Every block and the paths at which it stands, in the order of the configuration."""
    found: dict[type[BaseModel], list[str]] = {}

    def visit(path: str, block: type[BaseModel]) -> None:
        known = block in found
        found.setdefault(block, []).append(path)
        if known:
            return
        for name, field in block.model_fields.items():
            for suffix, child in _children(field.annotation, name):
                visit(f"{path}.{name}{suffix}".lstrip("."), child)

    visit("", Config)
    return found


def _children(annotation: Any, name: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Blocks inside an annotation, each with what its path adds to the path of its field."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield "", annotation
    elif typing.get_origin(annotation) is dict:
        for suffix, child in _children(typing.get_args(annotation)[1], name):
            yield f".{_placeholder(name)}{suffix}", child
    elif typing.get_origin(annotation) is tuple:
        arguments = [one for one in typing.get_args(annotation) if one is not Ellipsis]
        for member in dict.fromkeys(arguments):
            yield from _children(member, name)
    elif _is_union(annotation):
        members = [one for one in map(_bare, typing.get_args(annotation)) if one is not type(None)]
        if len(members) == 1:
            yield from _children(members[0], name)
            return
        for member in members:
            if isinstance(member, type) and issubclass(member, Block):
                kind = member.model_fields["kind"]
                if not kind.is_required():  # else it stands for kinds from outside
                    yield f" (kind: {kind.default})", member
            else:
                yield from _children(member, name)


def _row(name: str, field: FieldInfo, stages: str) -> str:
    """One line of a block's table."""
    cells = (f"`{name}`", _type(field, name), _default(field), field.description or _fixed(field), stages)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _reruns(block: type[BaseModel], name: str, field: FieldInfo) -> str:
    """What a change of a setting re-runs; nothing for blocks, whose own tables say it, and for names of kinds."""
    fixed = _fixed(field) and len(typing.get_args(field.annotation)) == 1
    if fixed or any(_children(field.annotation, name)):
        return ""
    found = reruns.effects().get((block, name))
    if found is None:
        raise LookupError(f"{block.__name__}.{name}: stands nowhere in reruns.EXAMPLE with another value; add it there")
    if not found:
        return "nothing"
    if set(found) == set(STAGES):
        return "all, in another place" if set(found.values()) == {"new"} else "all"
    stages = {effect: [one for one in STAGES if found.get(one) == effect] for effect in ("reads", "new", "follows")}
    words = [f"**{stage}**" for stage in stages["reads"]]
    return "; ".join(
        text
        for text in (
            ", ".join(words),
            f"*new* {', '.join(stages['new'])}" if stages["new"] else "",
            ", ".join(stages["follows"]),
        )
        if text
    )


def _type(field: FieldInfo, name: str) -> str:
    limits = [limit for limit in map(_limit, field.metadata) if limit]
    return ", ".join([_type_name(field.annotation, name), *limits])


def _type_name(annotation: Any, name: str) -> str:
    """Type in the words of a YAML file."""
    annotation = _bare(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if _is_union(annotation):
        if all(isinstance(_bare(member), type) and issubclass(_bare(member), Block) for member in arguments):
            return "block"
        return " or ".join(dict.fromkeys(_type_name(member, name) for member in arguments))
    if origin is tuple:
        items = [_type_name(item, name) for item in arguments if item is not Ellipsis]
        return f"list of {items[0]}" if Ellipsis in arguments else f"[{', '.join(items)}]"
    if origin is dict:
        return f"{_placeholder(name)}: {_type_name(arguments[1], name)}"
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return "block"
    names = {float: "number", int: "integer", str: "text", bool: "true or false", type(None): "null", Any: "any value"}
    return names[annotation]


def _limit(constraint: Any) -> str:
    """A bound in words, or nothing."""
    for kind, key, sign in (
        (annotated_types.Ge, "ge", ">="),
        (annotated_types.Gt, "gt", ">"),
        (annotated_types.Le, "le", "<="),
        (annotated_types.Lt, "lt", "<"),
    ):
        if isinstance(constraint, kind):
            return f"{sign} {getattr(constraint, key)}"
    if isinstance(constraint, annotated_types.MinLen):
        return f"at least {constraint.min_length}"
    return ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "as listed for the block"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _fixed(field: FieldInfo) -> str:
    """Meaning of the key that names the kind of a block."""
    return "names this kind" if typing.get_origin(field.annotation) is Literal else ""


def _purpose(block: type[BaseModel]) -> str:
    """First paragraph of a block's docstring."""
    text = (block.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(text.split())


def _placeholder(name: str) -> str:
    """Upper-case word for a key that the user chooses: studies -> STUDY."""
    singular = {"studies": "study", "categories": "stimulus", "keep": "column", "entities": "entity"}.get(
        name, name.removesuffix("s")
    )
    return singular.upper()


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _bare(annotation: Any) -> Any:
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


if __name__ == "__main__":
    main()
