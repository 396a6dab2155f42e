"""Files of users: whether they exist and are complete. Standard library only: the Snakefile imports this.

Libraries may raise any exception on a damaged file. :func:`reading` turns it into one sentence, and recognises what
such files usually are (:mod:`brain2clip.readers.placeholders`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from brain2clip.readers import placeholders
from brain2clip.stage import InputError


def existing(path: Path, what: str, setting: str) -> Path:
    """The path, where a file is there.

    Parameters
    ----------
    path : Path
        A file that a setting names.
    what : str
        What it should be, for the message ``no such …``.
    setting : str
        The setting.

    Raises
    ------
    brain2clip.stage.InputError
        When there is none; a link to nothing, as git-annex leaves it, is called so.
    """
    if path.is_file():
        return path
    if path.is_symlink() or path.exists():
        raise InputError(f"{path}: {stands_in(path)} (setting {setting})")
    raise InputError(f"{path}: no such {what} (setting {setting})")


@contextmanager
def reading(path: Path, what: str, hint: str) -> Iterator[None]:
    """Turn any exception on reading a file into one sentence.

    Parameters
    ----------
    path : Path
        The file that is read in this block, which does nothing else.
    what : str
        What is wrong then, such as ``not readable as NIfTI``.
    hint : str
        The setting in brackets, or what to do: ends the message.

    Raises
    ------
    brain2clip.stage.InputError
        Instead of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # readers of damaged files raise anything, up to TypeError and MemoryError
        reason = stands_in(path) or f"{type(error).__name__}: {error}".partition("\n")[0][:300]
        raise InputError(ending(f"{path}: {what} ({reason})", hint)) from None


def stands_in(path: Path) -> str | None:
    """What is in a file instead of its content, and what to do, or None if it seems to be data."""
    try:
        placeholders.refuse(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def text(path: Path, hint: str) -> str:
    """UTF-8 text of a table, without a byte order mark.

    Raises
    ------
    brain2clip.stage.InputError
        When it is no text, or a pointer or page in place of the table.
    """
    found = stands_in(path) if path.stat().st_size else None
    if found is not None:
        raise InputError(ending(f"{path}: not a table ({found})", hint))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(ending(f"{path}: not UTF-8 text ({error}); save the table as UTF-8", hint)) from None


def check_columns(names: Sequence[str], path: Path, hint: str) -> None:
    """Refuse a table with two columns of the same name, because readers would silently use one of them.

    Raises
    ------
    brain2clip.stage.InputError
        With the names that stand twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        found = f"\n  columns found: {', '.join(names)}; give each column a different name"
        raise InputError(ending(f"{path}: two columns of the same name: {', '.join(twice)}", hint) + found)


def ending(message: str, hint: str) -> str:
    """A message with its hint, which may begin a line of its own or go on with the sentence."""
    return message + (hint if hint[:1] in ("\n", ";", "") else f" {hint}")
