"""Files of a configuration as they stand: what YAML would pass over in silence is refused."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from brain2clip.settings.base import SettingsError

#: Key by which Snakemake has a file processed by yte, which runs the Python in it.
CODE = "__use_yte__"


def read(path: str | Path) -> dict[str, Any]:
    """A file of a configuration.

    Raises
    ------
    SettingsError
        Where it cannot be read, is no mapping, runs code, or has a key twice: which, and in which lines.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: not a readable configuration: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: not a readable configuration: it is not UTF-8 text ({error}); save it as UTF-8"
        ) from None
    return parsed(text, str(path))


def parsed(text: str, source: str) -> dict[str, Any]:
    """The same from the text of a file; ``source`` is its name, for messages."""
    try:
        loader = yaml.SafeLoader(text)
        top = loader.get_single_node()
        problems = [] if top is None else list(_problems(loader, top, "", (), set()))
        if problems:
            listed = "\n".join(f"  - {line}" for line in problems)
            raise SettingsError(f"{source}: not a readable configuration\n{listed}")
        found = None if top is None else loader.construct_document(top)
    except (yaml.YAMLError, ValueError, TypeError) as error:  # a date such as 2020-99-99 is a ValueError
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(
            f"{source}: not a readable configuration: it is not valid YAML: {error}\n"
            "Indent blocks with spaces, never with tabs; put text with a colon, a brace or a star in quotes."
        ) from None
    if not isinstance(found, dict):
        what = "is empty" if found is None else f"is a {type(found).__name__}"
        raise SettingsError(f"{source}: {what}; expected a configuration with blocks such as studies and methods")
    return found


def _problems(
    loader: yaml.SafeLoader, node: yaml.Node, where: str, above: tuple[int, ...], done: set[int]
) -> Iterator[str]:
    """What is wrong with a node and all below it; of what an anchor repeats, once."""
    if id(node) in above:
        yield f"{where}: the block in line {_line(node)} contains itself through its anchor; expected a block that ends"
    if id(node) in done:
        return
    done.add(id(node))
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _problems(loader, item, f"{where}.{number}", above, done)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[Hashable, yaml.Node] = {}
    for key_node, value in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            yield f"{where or 'top level'}: line {_line(key_node)} has a block or list as a key; expected a name"
            continue
        merged = key_node.tag == "tag:yaml.org,2002:merge"
        key: Hashable = key_node.value if merged else loader.construct_object(key_node)
        path = f"{where}.{key}".lstrip(".")
        if key in first:
            yield (
                f"{path}: occurs twice, in line {_line(first[key])} and in line {_line(key_node)}; expected each key "
                "once (YAML would keep the last one and drop the other)"
            )
        elif key == CODE:
            yield f"{path}: line {_line(key_node)} would run code; a configuration contains settings only"
        else:
            first[key] = key_node
        yield from _problems(loader, value, path, above, done)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
