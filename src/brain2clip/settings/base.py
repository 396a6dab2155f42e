"""Base of all blocks of settings: strict validation, neutral values, kinds, canonical text."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    WrapValidator,
    model_serializer,
    model_validator,
)

from brain2clip import kinds
from brain2clip.names import suggestion

NAME = r"^[A-Za-z0-9][A-Za-z0-9-]*$"
Name = Annotated[
    str, Field(pattern=NAME, description="letters, digits and hyphens only: the name becomes part of a path")
]
#: Seed of a generator of random numbers; NumPy's older ones take 32 bits.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _text(value: str) -> str:
    """Text without control characters, which no output can show."""
    if found := _CONTROL.search(value):
        raise ValueError(f"expected text; found the control character {found[0]!r} in {value[:80]!r}")
    return value


def _filled(value: str) -> str:
    """Text that says something, on one line."""
    if not value.strip() or "\n" in value:
        raise ValueError(f"expected text on one line; found {value[:80]!r}")
    return _text(value)


#: Text for people, of one or more lines.
Text = Annotated[str, AfterValidator(_text)]
#: A path, or a name that stands in the user's data.
Filled = Annotated[str, AfterValidator(_filled)]


def _each_once(values: Any) -> Any:
    """A list, in which nothing occurs twice."""
    twice = (
        [value for place, value in enumerate(values) if value in values[:place]] if isinstance(values, tuple) else []
    )
    if twice:
        raise ValueError(f"expected each name once; found {twice[0]!r} more than once")
    return values


#: For a list whose items are names, numbers of runs and the like: what occurs twice is an oversight.
EachOnce = AfterValidator(_each_once)
#: Whole numbers beyond it are no number of anything here.
LARGEST = 2**53
#: What YAML does to some words.
UNQUOTED = " (YAML reads off and no as False, on and yes as True: write the word in quotes)"
#: Tag of the member of a union that stands for kinds from outside.
EXTERNAL = "package.module:Class"


class SettingsError(ValueError):
    """The configuration is wrong; the message lists every error found."""


class Block(BaseModel):
    """Base of all blocks: frozen, and an unknown key is an error.

    In JSON, which stages get and which decides about reruns, a field at its neutral value is left out.
    """

    #: Keys of earlier versions, each with its present name.
    renamed: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_can_be(cls, given: Any) -> Any:
        """``epochs: yes`` would be 1. A line that begins with a dot goes on with the path of the block."""
        wrong = []
        for key, value in given.items() if isinstance(given, dict) else ():
            if _is_truth(cls, key, value):
                wrong.append(f".{key}: expected a value other than true or false; found {value!r}{UNQUOTED}")
            elif isinstance(value, int) and abs(value) > LARGEST:
                wrong.append(f".{key}: expected a number up to {LARGEST}; found a larger one")
        if wrong:
            raise ValueError("\n".join(wrong))
        return given

    @model_serializer(mode="wrap")
    def _without_neutral(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        dumped = cast(dict[str, Any], dump(self))
        if info.mode != "json":
            return dumped
        left_out = neutral_fields(type(self))
        return {key: one for key, one in dumped.items() if key not in left_out or getattr(self, key) != left_out[key]}


def _is_truth(block: type[BaseModel], name: str, value: Any) -> bool:
    """Whether yes or no stands where a field takes neither; of ``kind`` the union says what is wrong."""
    given = value if isinstance(value, list | tuple) else (value,)
    for one in given:
        if one is True or one is False:
            return name in block.model_fields and name != "kind" and not _takes_bool(block, name)
    return False


@cache
def _takes_bool(block: type[BaseModel], name: str) -> bool:
    return _allows_bool(block.model_fields[name].annotation)


def _allows_bool(annotation: Any) -> bool:
    """Whether true is a value of an annotation, or of something within it."""
    inside = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return any(isinstance(value, bool) for value in inside)
    if typing.get_origin(annotation) is Annotated:
        inside = inside[:1]
    return annotation in (bool, Any) or any(_allows_bool(one) for one in inside if one is not ...)


class Kind(Block):
    """Base of blocks that choose a module by their field ``kind``."""

    #: Name of the family (:data:`brain2clip.kinds.FAMILIES`).
    family: ClassVar[str]
    #: What the kind was called in earlier versions.
    formerly: ClassVar[tuple[str, ...]] = ()


def neutral(value: Any, **given: Any) -> Any:
    """A field with a default at which the option does nothing: leaving it out must be the same, bit for bit.

    So a new option reruns nothing. Do not use it with another default: a field that is left out is read as the default.
    """
    return Field(value, json_schema_extra={"neutral": True}, **given)


@cache
def neutral_fields(block: type[BaseModel]) -> dict[str, Any]:
    """Fields of a block with their neutral values."""
    return {
        name: field.get_default(call_default_factory=True)  # type: ignore[call-arg]
        for name, field in block.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("neutral")
    }


def tag(family: str, default: str | None = None) -> Callable[[Any], str | None]:
    """For pydantic's ``Discriminator``: the member of a union that a block belongs to, by its ``kind``."""

    def found(value: Any) -> str | None:
        kind = value.get("kind", default) if isinstance(value, Mapping) else getattr(value, "kind", default)
        if not isinstance(kind, str):
            return None
        try:
            return EXTERNAL if kinds.is_external(family, kind) else kind
        except kinds.KindError:
            return kind

    found.default = default  # type: ignore[attr-defined]
    return found


class from_outside(WrapValidator):
    """Validation of a kind from outside by its own class ``Settings``, which must be a ``base``."""

    def __init__(self, base: type[Kind]) -> None:
        def validate(value: Any, _: Any) -> Any:
            return value if isinstance(value, base) else settings_of(base, value["kind"]).model_validate(value)

        super().__init__(validate)

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        """Keys of a kind from outside are not known here, but for its name."""
        return {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string", "pattern": ":"}}}


def settings_of(base: type[Kind], kind: str) -> type[Kind]:
    """Settings class of a kind from outside: the attribute ``Settings`` of its class.

    Raises
    ------
    ValueError
        Where the kind does not exist, or its settings are no ``base``.
    """
    own = getattr(kinds.load(base.family, kind), "Settings", None)
    if not (isinstance(own, type) and issubclass(own, base)):
        raise ValueError(
            f"kind {kind!r}: its class needs a class attribute Settings that is a subclass of "
            f"brain2clip.settings.{base.__name__}"
        )
    return own


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text.

    Parameters
    ----------
    value : BaseModel or JSON-like
        Blocks are dumped with all defaults filled in, but for fields at their neutral value.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_dump)


def dump(block: BaseModel) -> dict[str, Any]:
    """A block as JSON-like mapping, as stages get it."""
    return block.model_dump(mode="json")


def parse(block: Any, text: str | Mapping[str, Any]) -> Any:
    """A block (or an annotated union of blocks) from its JSON text or mapping."""
    adapter = TypeAdapter(block)
    return adapter.validate_json(text) if isinstance(text, str) else adapter.validate_python(text)


def suggest(name: str, known: Any) -> str:
    """`` (did you mean ...?)`` or the list of what is known."""
    names = [str(key) for key in known]
    return suggestion(name, names) or (f" (known: {', '.join(names)})" if names else "")


def _dump(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be a value in settings")
