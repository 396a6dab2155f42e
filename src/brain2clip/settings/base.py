"""What all blocks of settings share."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

NAME = r"^[A-Za-z0-9][A-Za-z0-9-]*$"
Name = Annotated[str, Field(pattern=NAME, description="letters, digits and hyphens: it becomes part of a path")]


class SettingsError(ValueError):
    """The configuration is wrong; the message lists every error found."""


class Block(BaseModel):
    """Base of all blocks: frozen, and an unknown key is an error."""

    #: Keys of earlier versions, each with what it is called now.
    renamed: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text.

    Parameters
    ----------
    value : BaseModel or JSON-like
        Blocks are dumped with all defaults filled in.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_dump)


def parse(block: Any, text: str | Mapping[str, Any]) -> Any:
    """A block (or an annotated union of blocks) from its JSON text or mapping."""
    adapter = TypeAdapter(block)
    return adapter.validate_json(text) if isinstance(text, str) else adapter.validate_python(text)


def _dump(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} does not belong into settings")


def suggest(name: str, known: Any) -> str:
    """`` (did you mean ...?)`` or the list of what is known."""
    names = [str(key) for key in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(names)})" if names else ""
