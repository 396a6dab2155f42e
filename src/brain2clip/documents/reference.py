"""Reference of all settings, generated from the settings classes: ``python -m brain2clip.documents.reference``.

The plan says what a setting reruns (:mod:`brain2clip.documents.reruns`). Writes ``docs/configuration.md`` and a
page per block in ``docs/settings`` for people, ``workflow/schemas/config.schema.json`` for editors, the pages of the
field's methods (:mod:`brain2clip.documents.field`) and the tables of recorded runs
(:mod:`brain2clip.documents.recorded`). With ``--check`` nothing is written; files that no longer match are named and
the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from brain2clip import artefact
from brain2clip.documents import field as field_methods
from brain2clip.documents import recorded, reruns
from brain2clip.plan.jobs import STAGES
from brain2clip.settings import Block, Config

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = Path("docs/configuration.md")
PAGES = Path("docs/settings")
SCHEMA = Path("workflow/schemas/config.schema.json")

_GENERATED = "<!-- Generated from the settings classes and the plan by `make docs`; a test fails when they differ. -->"
_INTRODUCTION = f"""\
# Settings

{_GENERATED}

A configuration is one YAML file. It has a handful of blocks, and each has a page here that lists every setting with its
meaning, unit, allowed values and default. A setting that is not listed is an error. All errors are reported at once,
before anything runs.

Where a path contains an upper-case word (`bands.BAND`), you choose the name: letters, digits and hyphens, because it
becomes part of file names.

**What a change runs again.** A stage runs again when a setting that it reads gets another value, and only then. The
order of the settings does not matter, and 8 and 8.0 are the same value. Below each table is a list of what a change of
each setting runs again:

- stages in **bold** read the setting themselves;
- *new* stages get additional jobs (and lose others);
- all other stages follow, because their inputs change.

Only the jobs that use the value are meant: changing the edge of one band runs the responses of that band again and no
others. `make why KEY=bands.alpha.h_freq VALUE=12` tells what a change costs before you make it; [reruns.md](reruns.md)
has examples with numbers of jobs.

**Starting from another entry.** An entry under `methods` may say `base: OTHER`: it starts from that method and
overrides what it lists itself. With `base: field/NAME` it starts from a [method of the field](methods/README.md), and
brings that method's tower along if the configuration has none of that name. Entries under `presets` can be based on
each other in the same way, and the `responses` of a study on a preset. If a block changes its kind, it inherits the
settings that the new kind has too; settings that are lost (such as `readout` under `visual: {{kind: frozen}}`) are
reported when a run starts.

**Completion and checks in an editor**: put this line first in a configuration file:

```yaml
# yaml-language-server: $schema=workflow/schemas/config.schema.json
```
"""
#: A unit in the description of a setting: "rate of the recording, Hz".
_UNIT = re.compile(r"(?:, | in )(s|Hz|microvolt|GB)(?= \(|$|,)")
#: What a page is about, where its first block is one of several.
_ABOUT = {
    "presets": "From the recording to responses: epochs, channels, sampling, whitening",
    "studies": "Datasets: what was recorded, what was shown, what is the test; a section for each kind",
    "methods": "Methods by name; a section for each kind (contrastive, mapping, ridge, LDA, ceiling, imported)",
    "methods-encoder": "Networks from a response to a vector",
    "methods-visual": "Picture side: frozen CLIP, prompts of NeuroCLIP, uncertainty-aware blur, adapters",
    "methods-readout": "Which vectors of a picture are compared with the brain, and views of the picture",
    "methods-augmentation": "Random changes of responses in training",
    "methods-optimiser": "Epochs, batches, learning rate and its schedule",
    "methods-network": "Mapping networks of methods for fMRI",
    "tables": "Tables of results; a section for each kind",
}


def main(arguments: list[str] | None = None) -> None:
    """Write all generated files, or check them."""
    parser = argparse.ArgumentParser(description="Reference of all settings from the settings classes.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository")
    given = parser.parse_args(arguments)
    made = generated()
    gone = left_over(given.root, made)
    stale = [path.as_posix() for path in gone] if given.check else []
    for path in [] if given.check else gone:
        (given.root / path).unlink()
        print(f"removed {path.as_posix()}")
    for path, text in made.items():
        target = given.root / path
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        if given.check:
            stale.append(path.as_posix())
        else:
            artefact.write_text(target, text)
            print(f"wrote {path.as_posix()}")
    if stale:
        sys.exit(f"out of date with the settings classes and the plan: {', '.join(stale)}; run `make docs`")


def generated() -> dict[Path, str]:
    """Path of each generated file, relative to the root, and its text."""
    schema_text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    return {**documents(), SCHEMA: schema_text, **field_methods.pages(), **recorded.pages()}


def left_over(root: Path, made: Iterable[Path]) -> list[Path]:
    """Pages of blocks that no longer exist, relative to the root."""
    return sorted({path.relative_to(root) for path in (root / PAGES).glob("*.md")} - set(made))


def schema() -> dict[str, Any]:
    """JSON schema of a configuration as written, so with ``base`` allowed in methods, presets and responses."""
    made = _any_kind(Config.model_json_schema(by_alias=True))
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "brain2clip configuration"
    # An entry with a base may leave out what it inherits, including its kind: only its keys can be checked here.
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


def documents() -> dict[Path, str]:
    """Text of ``docs/configuration.md`` and of a page per block."""
    found = blocks()
    names = {block: _page(paths[0]) for block, paths in found.items()}
    pages = {name: PAGES / f"{name}.md" for name in dict.fromkeys(names.values()) if name}
    links = []
    made = {DOCUMENT: ""}
    for name, path in pages.items():
        listed = [one for one, at in names.items() if at == name]
        block = f"`{name.replace('-', '.', 1)}`"
        about = _ABOUT.get(name) or _purpose(listed[0]).rstrip(".")
        parts = [f"# {block}\n\n{_GENERATED}\n\n{about}.\n"]
        parts += [_section(one, found[one], names, name) for one in listed]
        made[path] = "\n".join(parts)
        links.append(f"| [{block}](settings/{path.name}) | {about.replace('|', chr(92) + '|')} |")
    top = _section(Config, [""], names, "")
    made[DOCUMENT] = "\n".join([_INTRODUCTION, "## Pages\n", "| block | what it is |\n|---|---|", *links, "", top])
    return made


def _page(path: str) -> str:
    """Name of the page that has the block at a path; empty for the whole configuration.

    There is a page for each entry of the configuration; methods have many blocks, so each of these has a page.
    """
    parts = re.sub(r" \(kind: [^)]*\)", "", path).split(".")
    if "readout" in parts:
        return "methods-readout"
    inner = [part for part in parts[2:] if not part.isupper()]
    return f"methods-{inner[0]}" if parts[0] == "methods" and inner else parts[0]


def _section(block: type[BaseModel], paths: list[str], names: dict[type[BaseModel], str], page: str) -> str:
    """A block: its purpose, a table of its settings, and what changes run again."""
    title = f"`{paths[0]}`" if paths[0] else "Top level"
    also = f" The same settings at {', '.join(f'`{other}`' for other in paths[1:])}." if paths[1:] else ""
    rows = [_row(name, field, _links(field, name, names, page)) for name, field in block.model_fields.items()]
    head = "| setting | meaning | unit | values | default |\n|---|---|---|---|---|"
    effects: dict[str, list[str]] = {}
    for name, field in block.model_fields.items():
        effects.setdefault(_reruns(block, name, field), []).append(f"`{name}`")
    effects.pop("", None)
    lines = [f"- {', '.join(settings)}: {stages}" for stages, settings in effects.items()]
    told = ""
    if lines:
        summary = "<summary>What a change runs again</summary>"
        told = f'\n<details markdown="1">\n{summary}\n\n' + "\n".join(lines) + "\n\n</details>\n"
    return f"## {title}\n\n{_purpose(block)}{also}\n\n{head}\n" + "\n".join(rows) + "\n" + told


def _links(field: FieldInfo, name: str, names: dict[type[BaseModel], str], page: str) -> list[str]:
    """Links to the pages of the blocks inside a setting; none if they are on the same page."""
    targets = dict.fromkeys(names[child] for _, child in _children(field.annotation, name))
    folder = "" if page else "settings/"
    return [f"[{target.replace('-', '.', 1)}]({folder}{target}.md)" for target in targets if target != page]


def blocks() -> dict[type[BaseModel], list[str]]:
    """Every block and its paths, in the order of the configuration."""
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
    """Blocks inside an annotation, each with the path relative to its field."""
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


def _row(name: str, field: FieldInfo, links: list[str]) -> str:
    """One line of a block's table."""
    meaning = field.description or _fixed(field)
    unit = _UNIT.search(meaning)
    if unit:
        meaning = meaning[: unit.start()] + meaning[unit.end() :]
    meaning = re.sub(r"<(?=\w)", "&lt;", meaning)  # <folder> is no element
    values = f"{_type(field, name)}: {', '.join(links)}" if links else _type(field, name)
    cells = (f"`{name}`", meaning, unit.group(1) if unit else "", values, _default(field))
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _reruns(block: type[BaseModel], name: str, field: FieldInfo) -> str:
    """What a change of a setting reruns; empty for blocks, which have their own tables, and for names of kinds."""
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
    """Type in the terms of YAML."""
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
        return "see the block"
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
