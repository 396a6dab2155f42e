"""Fingerprint of the code that a stage can reach, limited to code that can change results.

The Snakefile puts it into the parameters of each rule: a changed formula re-runs the stage, a reworded message does
not. Only the standard library is imported here, because every scheduled job parses the Snakefile.

These parts of a module do not count:

- comments, docstrings and formatting; ``from __future__``, ``__all__`` and ``__version__``;
- annotations, except those that have an effect: of the fields of pydantic models, and of classes that are not known
  here. The names and the order of all fields count;
- code for type checkers only (``TYPE_CHECKING``), and imports that only annotations use;
- log calls, and the texts of exceptions, warnings, assertions and help. What counts: exceptions and their conditions,
  categories of warnings, and every effect of an argument of a log call (``log.info("%d", next(rows))``);
- the folder and the name of a module: a name that is imported from the project is replaced by the content of the module
  that defines it. So moving a file changes nothing, but importing something else under the same name does;
- the order of imports from outside of the project.

All other strings count, including a message that is composed outside of its ``raise``.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import importlib.util
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent
PACKAGE = SOURCE.name
#: File with computed fingerprints, in the folder of a run. If it is deleted, the next start takes half a second longer.
KEPT = Path(".snakemake", "brain2clip-fingerprints.json")

#: Modules (or packages) that do not count, by the label that replaces them in the code that uses them. Settings and
#: names of kinds are only declarations: their values are part of each stage's settings, and the modules of kinds are
#: further roots of the fingerprint of each stage that loads them. ``artefact.FORMAT`` changes if artefacts are written
#: or jobs are called in another way. The process from which a job is forked does not matter.
NOT_COUNTED = {
    name: f"{PACKAGE}.{name}" for name in ("settings", "kinds", "artefact", "stage", "fingerprint", "preloaded")
}

#: The content of a module includes that of the modules that it uses, to this depth. This distinguishes modules that
#: differ only in the modules that they use.
DEPTH = 3


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Variables of a module that no computation uses.
UNREAD = _words("__all__ __version__")
#: Modules that declare, log or warn: an import from them counts only if code that counts uses the name.
QUIET = _words("typing typing_extensions collections.abc logging warnings")
#: Methods of loggers and functions of ``logging`` that take a text.
LEVELS = _words("debug info warning error exception critical log")
#: Names of functions and methods without effects; calls of any others in a log call count.
PURE = _words(
    """
    abs all any as_posix ascii bool capitalize count decode dict enumerate float format getattr int isinstance item
    items join keys len list ljust lower max mean median min range relative_to removeprefix removesuffix
    repr reversed rjust round rstrip set sorted split splitlines std str strip sum title tolist tuple type upper values
    zip
    """
)
#: Exceptions whose arguments are values that handlers or the shell use.
VALUES = (SystemExit, StopIteration, StopAsyncIteration, OSError)
#: Endings of the names of exceptions; used if the source of a class is not read.
EXCEPTIONS = ("Error", "Exception", "Warning")
#: Keywords that take texts for people, by the last part of the name of the called function.
HELP = {
    **dict.fromkeys(
        _words("ArgumentParser add_argument add_argument_group add_parser add_subparsers"),
        _words("help description metavar title epilog usage prog"),
    ),
    "Field": _words("description title"),
}
#: Decorators that ignore the annotations of a function, by the last part of their name.
BLIND = _words(
    """
    abstractmethod asynccontextmanager cache cached_property classmethod contextmanager field_validator final
    inference_mode lru_cache model_validator no_grad overload override property setter staticmethod tf32 wraps
    """
)
#: Base classes whose subclasses use only the names of annotated fields, and not the annotations.
BARE = _words(
    """
    abc.ABC enum.Enum enum.StrEnum object torch.nn.Module torch.nn.Sequential
    typing.Generic typing.NamedTuple typing.Protocol typing.TypedDict
    """
)
#: Words in an annotation that say whether a variable is a field.
MARKS = _words("ClassVar InitVar KW_ONLY")

#: What a name refers to: a module, and a name in this module (empty for the module itself).
Origin = tuple[str, str]
#: Origin of every variable that holds a logger.
LOGGER: Origin = ("logging", "getLogger()")


def fingerprint(*modules: str) -> str:
    """Digest of the code that can change results, in the given modules and all modules of the project that they import.

    Parameters
    ----------
    *modules : str
        Dotted names, for example ``"brain2clip.training.train"``. Modules from outside of the project are found on the
        path without importing them, and every byte of their files counts.

    Returns
    -------
    str
        First 16 hexadecimal digits of a SHA-256.

    Raises
    ------
    ValueError
        If there is no such module (the message says which folders were searched), or if a module has a relative import
        or imports everything (``*``), which cannot be followed.
    """
    if not all(map(_ours, modules)):
        return _computed(modules)
    known, name = _known(), " ".join(modules)
    if name not in known:
        known[name] = _computed(modules)
        _keep(known)
    return known[name]


def _computed(modules: Sequence[str]) -> str:
    contents = {_content(name, DEPTH) for name in reachable(*modules)}
    return _digest("\n".join(sorted(contents - {_digest("")})))


def reachable(*modules: str) -> set[str]:
    """Names of the modules that count: the given ones and all that they import.

    Imports inside functions are included. Modules that are loaded by name at run time (such as studies) are not; the
    caller gives them as further roots.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or _label(name):
            continue
        found.add(name)
        waiting.extend(_source(name).imports if _ours(name) else _outside(name)[1])
        parent = name.rpartition(".")[0]
        while parent and not _file(parent):  # a package may contain a folder without __init__.py
            parent = parent.rpartition(".")[0]
        if parent:  # importing a module first runs its package
            waiting.append(parent)
    return found


def canonical(module: str, text: str | None = None) -> str:
    """The part of a module of the project that counts, in our own notation; `text` may replace the module's source."""
    return _filled(_source(module) if text is None else _Source(module, text), DEPTH)


# ----------------------------------------------------------------------------------------------- modules


def _ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _label(module: str) -> str | None:
    """Label that replaces a module that does not count; None if the module counts."""
    for label, name in NOT_COUNTED.items():
        if module == name or module.startswith(f"{name}."):
            return label
    return None


@cache
def _texts() -> dict[Path, bytes]:
    """All source files of this package. They are read once, so fingerprints and :func:`_sources` use the same bytes."""
    walked = os.walk(SOURCE, followlinks=True)
    found = sorted(Path(folder, name) for folder, _, names in walked for name in names if name.endswith(".py"))
    return {path: path.read_bytes() for path in found}


@cache
def _file(module: str) -> Path | None:
    """Source file of a dotted module name of this package, or None."""
    base = SOURCE.joinpath(*module.split(".")[1:])
    return next((file for file in _candidates(base) if file in _texts()), None) if _ours(module) else None


def _candidates(base: Path) -> tuple[Path, Path]:
    return base / "__init__.py", base.with_name(f"{base.name}.py")


def _module_file(base: Path) -> Path | None:
    return next((file for file in _candidates(base) if file.is_file()), None)


@cache
def _source(module: str) -> _Source:
    file = _file(module)
    if file is None:
        raise ValueError(f"fingerprint: no module {module!r} below {SOURCE}")
    return _Source(module, io.TextIOWrapper(io.BytesIO(_texts()[file]), encoding="utf-8").read())


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


@cache
def _content(module: str, depth: int) -> str:
    """Digest of the part of a module that counts, including the modules that it uses, to a depth of `depth` steps."""
    return _digest(_filled(_source(module), depth)) if _ours(module) else _outside(module)[0]


def _filled(source: _Source, depth: int) -> str:
    """The part of a module that counts; imported names are replaced by what they refer to."""
    return "".join(piece if isinstance(piece, str) else _shown(piece, depth) for piece in source.pieces)


def _shown(origin: Origin, depth: int) -> str:
    module, name = origin
    label = _label(module) or (None if _file(module) else module)
    return f"<{label or (_content(module, depth - 1) if depth else '')}.{name}>"


def _resolved(origin: Origin) -> Origin:
    """Module and name of the definition of a name: re-exports of packages are followed, submodules are recognised."""
    seen = set()
    while _ours(origin[0]) and origin[1] and origin not in seen:
        seen.add(origin)
        module, name = origin
        names = _source(module).names if _file(module) and not _label(module) else {}
        if name not in names and _file(f"{module}.{name}"):
            return f"{module}.{name}", ""
        further = names.get(name)
        if further is None or not (_ours(further[0]) or further == LOGGER):
            break
        origin = further
    return origin


# -------------------------------------------------------------------------------------- kept fingerprints


@cache
def _sources() -> str:
    """Digest of all bytes of this package's sources and of the version of Python."""
    digest = hashlib.sha256(sys.version.encode())
    for path, content in _texts().items():
        digest.update(f"{path.relative_to(SOURCE)} {len(content)} ".encode() + content)
    return digest.hexdigest()


@cache
def _known() -> dict[str, str]:
    """Fingerprints that earlier processes in this folder computed from the same sources."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(KEPT.read_text(encoding="utf-8"))
        if found["sources"] == _sources():
            return dict(found["fingerprints"])
    return {}


def _keep(known: dict[str, str]) -> None:
    """Write fingerprints to Snakemake's folder; if this is not possible, they are computed again next time."""
    if not KEPT.parent.is_dir():
        return
    part = KEPT.with_name(f"{KEPT.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            part.write_text(json.dumps({"sources": _sources(), "fingerprints": known}), encoding="utf-8")
            os.replace(part, KEPT)
        finally:
            part.unlink(missing_ok=True)


# --------------------------------------------------------------------------------- modules from elsewhere


@cache
def _outside(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of the bytes of a module from outside of this project, and its imports from the project and the user.

    Imports of libraries are not followed; libraries are recorded by their versions.
    """
    file, looked = _search(module)
    if file is None:
        places = ", ".join(dict.fromkeys(str(place.absolute()) for place in looked))
        raise ValueError(f"fingerprint: no module {module!r}; looked for its source file in {places or 'no folder'}")
    content = file.read_bytes()
    parent = module.rpartition(".")[0]
    names = {parent}
    for node in ast.walk(ast.parse(content, filename=str(file))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if file.name == "__init__.py" else parent
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names.update((base, *(f"{base}.{alias.name}" for alias in node.names)))
    return _digest(content), tuple(sorted(name for name in names if _file(name) or _users(name)))


def _users(module: str) -> bool:
    """Whether a module is the user's own: not part of this project, of Python or of a library."""
    if not module or _ours(module) or module.partition(".")[0] in sys.stdlib_module_names:
        return False
    file = _search(module)[0]
    return file is not None and not {"site-packages", "dist-packages"} & set(file.parts)


@cache
def _search(module: str) -> tuple[Path | None, list[Path]]:
    """Source file of a module on the path of a job (first its working directory), and the folders that were searched.

    ``importlib.util.find_spec`` is not used for modules in packages, because it imports the packages.
    """
    top, *parts = module.split(".")
    looked = [Path(), *map(Path, sys.path)]
    file, places = _part(looked, top)
    if not places and file is None:
        found = importlib.util.find_spec(top)  # an editable install; for a top-level name this imports nothing
        if found is not None:
            places = [Path(place) for place in found.submodule_search_locations or ()]
            file = Path(found.origin) if found.origin and found.origin.endswith(".py") else None
    for part in parts:
        looked = places
        file, places = _part(looked, part)
    return file, looked


def _part(places: list[Path], name: str) -> tuple[Path | None, list[Path]]:
    """File of a module in the first folder that has it, and the folders that may contain its submodules."""
    for file in (_module_file(place / name) for place in places):
        if file is not None:
            return file, [file.parent] if file.name == "__init__.py" else []
    return None, [place / name for place in places if (place / name).is_dir()]


# ------------------------------------------------------------------------------------------------ scopes


def _bound(nodes: Iterable[ast.AST]) -> dict[str, Origin | None]:
    """Names that statements and arguments bind; each with its origin if it is bound only by one import, else None."""
    found: dict[str, set[Origin | None]] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        names: Iterable[tuple[str | None, Origin | None]] = ()
        match node:
            case ast.Name(ctx=ast.Store()):
                names = [(node.id, None)]
            case ast.Tuple() | ast.List() | ast.Starred():
                waiting.extend(ast.iter_child_nodes(node))
            case ast.expr():  # other bindings inside of expressions are written out at their place
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names = [(node.name, None)]
            case ast.arg():
                names = [(node.arg, None)]
            case ast.Import() | ast.ImportFrom():
                names = _imported(node)
            case ast.Global() | ast.Nonlocal():
                names = [(name, None) for name in node.names]
            case ast.If() if _only_checked(node):
                waiting.extend(node.orelse)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if _last(call) == "getLogger":
                names = [(name, LOGGER)]
            case _:
                if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
                    names = [(node.name, None)]
                waiting.extend(ast.iter_child_nodes(node))
        for bound, origin in names:
            if bound is not None:
                found.setdefault(bound, set()).add(origin)
    return {name: next(iter(origins)) if len(origins) == 1 else None for name, origins in found.items()}


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Origin]]:
    """Names that an import binds, with their origins."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, (node.module or "", alias.name)
        else:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, (alias.name if alias.asname else top, "")


def _only_checked(node: ast.If) -> bool:
    return _last(node.test) == "TYPE_CHECKING"


def _last(node: ast.AST) -> str:
    """Last part of a dotted name; empty for anything else."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _last(function)
    return ""


def _dotted(node: ast.AST, lookup: Callable[[str], Origin | None]) -> Origin | None:
    """Origin of a name or a dotted name; None if it was not imported."""
    if isinstance(node, ast.Name):
        origin = lookup(node.id)
        return origin and _resolved(origin)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, lookup)
        if base is not None and not base[1]:
            return _resolved((base[0], node.attr))
        if base is not None and not _ours(base[0]):
            return base[0], f"{base[1]}.{node.attr}"
    return None


# ----------------------------------------------------------------------------------------------- writing


class _Source:
    """The part of a module of the project that counts: texts, and between them the origins of imported names.

    Parameters
    ----------
    module : str
        Its dotted name.
    text : str
        Its source.
    """

    def __init__(self, module: str, text: str) -> None:
        self.module = module
        self.tree: ast.Module | None = ast.parse(text, filename=str(_file(module) or module))
        self.names = _bound(self.tree.body)
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        self._imports: set[str] = set()
        self._pieces: list[str | Origin | list[tuple[str, str, bool]]] = []
        self._scopes: list[tuple[bool, dict[str, Origin | None]]] = [(False, self.names)]
        self._used: set[str] = set()
        self._reads: list[bool] = []

    @cached_property
    def pieces(self) -> list[str | Origin]:
        """Texts and the origins of imported names between them."""
        assert self.tree is not None
        self._statements(self.tree.body)
        self.tree = None  # many trees in memory slow down Python's garbage collection
        joined: list[str | Origin] = []
        texts: list[str] = []
        for piece in self._pieces:
            if isinstance(piece, tuple):
                joined += ["".join(texts), piece]
                texts = []
            else:
                texts.append(self._text(piece))
        return [*joined, "".join(texts)]

    @cached_property
    def imports(self) -> list[str]:
        """Modules of the project that this module imports, at the top or in functions."""
        assert self.pieces is not None
        return sorted(name for name in self._imports if _file(name) is not None)

    def _text(self, piece: str | list[tuple[str, str, bool]]) -> str:
        """Return a text unchanged, and a sequence of imports in sorted order, without those that do not count."""
        if isinstance(piece, str):
            return piece
        return "".join(sorted({text for text, name, quiet in piece if not quiet or name in self._used}))

    # -- names

    def _lookup(self, name: str) -> Origin | None:
        for depth, (of_class, names) in enumerate(reversed(self._scopes)):
            if name in names and (depth == 0 or not of_class):
                return names[name]
        return None

    def _is_bound(self, name: str) -> bool:
        return any(name in names for _, names in self._scopes)

    def _origin(self, node: ast.AST) -> Origin | None:
        return _dotted(node, self._lookup)

    def _full_name(self, node: ast.AST) -> str:
        """Dotted name of something imported, e.g. ``torch.nn.Module``; for anything else its last name in the code."""
        if isinstance(node, ast.Call | ast.Subscript):
            return self._full_name(node.func if isinstance(node, ast.Call) else node.value)
        origin = self._origin(node)
        return ".".join(filter(None, origin)) if origin else _last(node)

    def _is_log(self, node: ast.AST) -> bool:
        """Whether a node is a logger, the module ``logging``, or an attribute or call of one of these."""
        while True:
            origin = self._origin(node)
            if origin is not None and origin[0] == "logging":
                return True
            if isinstance(node, ast.Attribute | ast.Call):
                node = node.value if isinstance(node, ast.Attribute) else node.func
            else:
                return False

    # -- statements

    def _body(self, statements: Sequence[ast.stmt]) -> None:
        self._pieces.append("[")
        self._statements(statements)
        self._pieces.append("]")

    def _statements(self, statements: Sequence[ast.stmt]) -> None:
        for imports, nodes in itertools.groupby(self._counted(statements), _is_import):
            if imports:
                self._import(nodes)  # type: ignore[arg-type]
            else:
                for node in nodes:
                    self._write(node)

    def _counted(self, statements: Iterable[ast.stmt]) -> Iterator[ast.AST]:
        """Statements that may have an effect, or only the parts of a statement that may."""
        for node in statements:
            match node:
                case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.ImportFrom(module="__future__"):
                    pass
                case ast.Expr(value=ast.Call() as call) if self._is_log(call.func):
                    yield from self._effects(_given(call))
                case ast.If() if _only_checked(node):
                    yield from self._counted(node.orelse)
                case ast.If() if not any(self._counted(node.body)) and not any(self._counted(node.orelse)):
                    yield from self._effects([node.test])
                case ast.Assign(targets=[ast.Name(id=name)]) if name in UNREAD or self._lookup(name) == LOGGER:
                    pass
                case ast.AugAssign(target=ast.Name(id="__all__")):
                    pass
                case ast.AnnAssign(value=None) if not self._scopes[-1][0]:
                    pass
                case _:
                    yield node

    def _import(self, nodes: Iterable[ast.Import | ast.ImportFrom]) -> None:
        """Write imports from outside of the project; of the others, only names that are bound more than once."""
        outside: list[tuple[str, str, bool]] = []
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (
                node.level or (node.names[0].name == "*" and _ours(node.module or ""))
            ):
                what = "relative import" if node.level else "import of everything"
                raise ValueError(
                    f"fingerprint: {what} in {self.module}; write it in full, so that the fingerprint can follow it"
                )
            for alias, (name, origin) in zip(node.names, _imported(node)):
                if not _ours(origin[0]):
                    text = f"import {'.'.join(filter(None, origin))} {alias.name} as {name};"
                    outside.append((text, name, origin[0] in QUIET))
                    continue
                self._imports.update((alias.name,) if isinstance(node, ast.Import) else (origin[0], ".".join(origin)))
                if self._lookup(name) is None:
                    self._pieces.extend((f"{name}=", _resolved(origin), ";"))
        self._pieces.append(outside)

    def _effects(self, nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
        """Parts of expressions that may have an effect: all calls except those that only compose a text."""
        for node in nodes:
            match node:
                case ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom():
                    yield node
                case ast.Call(func=ast.Name(id=name)) if name in PURE and not self._is_bound(name):
                    yield from self._effects(_given(node))
                case ast.Call(func=ast.Attribute(attr=name, value=value)) if name in PURE and not self._is_ours(value):
                    yield from self._effects([value, *_given(node)])
                case ast.Call():
                    yield node
                case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                    if any(self._effects(ast.iter_child_nodes(node))):
                        yield node
                case ast.Lambda():
                    pass
                case _:
                    yield from self._effects(ast.iter_child_nodes(node))

    def _is_ours(self, node: ast.AST) -> bool:
        origin = self._origin(node)
        return origin is not None and _ours(origin[0])

    # -- expressions

    def _write(self, node: ast.AST | None) -> None:
        if node is None:
            self._pieces.append("~")
            return
        special = SPECIAL.get(type(node))
        if special is not None:
            special(self, node)
            return
        self._pieces.append(f"{type(node).__name__}(")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == [] or field in IGNORED:
                continue
            self._pieces.append(f"{field}=")
            if isinstance(value, ast.AST):
                self._write(value)
            elif not isinstance(value, list):
                self._pieces.append(repr(value))
            elif field in ("body", "orelse", "finalbody"):
                self._body(value)
            else:
                self._all(value)
            self._pieces.append(";")
        self._pieces.append(")")

    def _all(self, nodes: Iterable[ast.AST | str | None]) -> None:
        self._pieces.append("(")
        for node in nodes:
            if isinstance(node, str):
                self._pieces.append(node)
            else:
                self._write(node)
            self._pieces.append(",")
        self._pieces.append(")")

    def _constant(self, node: ast.Constant) -> None:
        self._pieces.append(f"#{node.value!r}")

    def _name(self, node: ast.Name | ast.Attribute) -> None:
        origin = self._origin(node)
        if origin is not None and _ours(origin[0]):
            self._pieces.append(origin)
        elif isinstance(node, ast.Name):
            self._used.add(node.id)
            self._pieces.append(node.id)
        else:
            self._write(node.value)
            self._pieces.append(f".{node.attr}")

    def _call(self, node: ast.Call) -> None:
        given: Sequence[ast.AST] = node.args
        keywords: Sequence[ast.keyword] = node.keywords
        name, last = self._full_name(node.func), _last(node.func)
        message_only = self._message_only(node.func)
        if message_only is not None:
            given, keywords = _without_texts(node, message_only)
        elif name == "warnings.warn":
            given = [*self._effects(given[:1]), *given[1:]]
            keywords = [keyword for keyword in keywords if keyword.arg != "message"]
        elif last in LEVELS and self._is_log(node.func):
            given, keywords = [*self._effects(_given(node))], []
        elif last in HELP and (last != "Field" or name.startswith("pydantic.")):
            given = [] if last == "add_argument_group" else given
            keywords = [keyword for keyword in keywords if keyword.arg not in HELP[last]]
        self._write_call(node.func, given, keywords)

    def _write_call(self, function: ast.AST, given: Iterable[ast.AST], keywords: Iterable[ast.AST]) -> None:
        self._pieces.append("Call ")
        self._write(function)
        self._all(given)
        self._all(keywords)

    def _raise(self, node: ast.Raise) -> None:
        self._pieces.append("Raise(")
        if isinstance(node.exc, ast.Call):
            message_only = self._message_only(node.exc.func) or False
            given, keywords = _without_texts(node.exc, message_only)
            if given or keywords:
                self._write_call(node.exc.func, given, keywords)
            else:  # raising an instance without arguments is the same as raising the class
                self._write(node.exc.func)
        else:
            self._write(node.exc)
        self._pieces.append(" from ")
        self._write(node.cause)
        self._pieces.append(")")

    def _assert(self, node: ast.Assert) -> None:
        self._pieces.append("Assert(")
        self._write(node.test)
        self._pieces.append(")")

    def _message_only(self, function: ast.AST) -> bool | None:
        """Whether a call makes an exception whose arguments are only texts; None if it makes no exception."""
        origin = self._origin(function)
        if origin is None and isinstance(function, ast.Name) and self._lookup(function.id) is None:
            origin = self.module, function.id
        return None if origin is None else self._takes_text(origin)

    def _takes_text(self, origin: Origin) -> bool | None:
        module, name = origin
        if not _ours(module) or (_label(module) and not name.endswith(EXCEPTIONS)):
            return False if name.endswith(EXCEPTIONS) else None
        source = self if module == self.module else _source(module)
        if name in source.classes:
            node = source.classes[name]
            kinds = [self._takes_text(source._base(base)) for base in node.bases]
            own = node.decorator_list or any(isinstance(part, ast.FunctionDef | ast.AnnAssign) for part in node.body)
            return None if set(kinds) <= {None} else not own and False not in kinds
        known = None if name in source.names else getattr(builtins, name, None)
        return not issubclass(known, VALUES) if isinstance(known, type) and issubclass(known, BaseException) else None

    def _base(self, node: ast.AST) -> Origin:
        """Origin of a base class; if it was not imported, it belongs to this module or to Python."""
        return _dotted(node, self.names.get) or (self.module, _last(node))

    # -- definitions

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        reads = not all(_last(decorator) in BLIND for decorator in node.decorator_list)
        self._pieces.append(f"{type(node).__name__} {node.name}")
        self._all(node.decorator_list)
        self._arguments(node.args, reads)
        if reads:
            self._write(node.returns)
        with self._scope(_bound([node.args, *node.body])):
            self._body(node.body)

    def _lambda(self, node: ast.Lambda) -> None:
        self._pieces.append("Lambda")
        self._arguments(node.args, False)
        with self._scope(_bound([node.args])):
            self._write(node.body)

    def _arguments(self, node: ast.arguments, reads: bool) -> None:
        """Write names and defaults of arguments, and annotations if a decorator may use them."""
        one, many = [node.vararg] if node.vararg else [], [node.kwarg] if node.kwarg else []
        self._pieces.append("(")
        for arguments in (node.posonlyargs, node.args, one, node.kwonlyargs, many):
            for argument in arguments:
                self._pieces.append(f"{argument.arg},")
                if reads:
                    self._write(argument.annotation)
            self._pieces.append("/")
        self._pieces.append(")")
        self._all(node.defaults)
        self._all(node.kw_defaults)

    def _class(self, node: ast.ClassDef) -> None:
        self._pieces.append(f"ClassDef {node.name}")
        self._all(node.decorator_list)
        self._all(node.bases)
        self._all(node.keywords)
        self._reads.append(not self._is_bare(node))
        with self._scope(_bound(node.body), of_class=True):
            self._body(node.body)
        self._reads.pop()

    def _is_bare(self, node: ast.ClassDef) -> bool:
        """Whether a class uses only the names of its annotated fields, and not the annotations."""
        if node.decorator_list:
            return all(self._full_name(decorator) == "dataclasses.dataclass" for decorator in node.decorator_list)
        return not node.keywords and all(map(self._is_bare_base, node.bases))

    def _is_bare_base(self, node: ast.AST) -> bool:
        name = self._full_name(node)
        known = self.classes.get(name) if isinstance(node, ast.Name) else None
        return name in BARE or self._message_only(node) is not None or (known is not None and self._is_bare(known))

    def _field(self, node: ast.AnnAssign) -> None:
        """Write a variable with an annotation: outside of classes without the annotation, in classes as a field."""
        of_class, _ = self._scopes[-1]
        if not of_class:
            assert node.value is not None  # a declaration without a value was left out before
            self._write(ast.Assign(targets=[node.target], value=node.value))
            return
        self._pieces.append("Field(")
        self._write(node.target)
        if self._reads[-1]:
            self._write(node.annotation)
        self._pieces.extend(sorted({_last(part) for part in ast.walk(node.annotation)} & MARKS))
        self._pieces.append("=")
        self._write(node.value)
        self._pieces.append(")")

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first = node.generators[0]
        self._pieces.append(f"{type(node).__name__}(")
        self._write(first.iter)
        with self._scope(_bound(part.target for part in node.generators)):
            self._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
            for part in node.generators:
                self._pieces.append("async for " if part.is_async else "for ")
                self._write(part.target)
                if part is not first:
                    self._write(part.iter)
                self._all(part.ifs)
        self._pieces.append(")")

    @contextlib.contextmanager
    def _scope(self, names: dict[str, Origin | None], of_class: bool = False) -> Iterator[None]:
        self._scopes.append((of_class, names))
        yield
        self._scopes.pop()


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _given(call: ast.Call) -> list[ast.AST]:
    """All arguments of a call."""
    return [*call.args, *call.keywords]


def _without_texts(call: ast.Call, all_are: bool) -> tuple[list[ast.expr], list[ast.keyword]]:
    """Arguments of a call that are not texts; none if all arguments are texts."""
    if all_are:
        return [], []
    return [part for part in call.args if not _is_text(part)], [
        part for part in call.keywords if not _is_text(part.value)
    ]


def _is_text(node: ast.AST) -> bool:
    match node:
        case ast.Constant():
            return isinstance(node.value, str)
        case ast.BinOp(left=left, right=right) | ast.IfExp(body=left, orelse=right):
            return _is_text(left) or _is_text(right)
        case ast.Call(func=ast.Attribute(value=value)):
            return _is_text(value)
    return isinstance(node, ast.JoinedStr)


#: Fields of nodes that do not count: ``ctx`` follows from the place in the code, ``type_comment`` is a comment, and
#: ``kind`` is the ``u`` before a string.
IGNORED = frozenset({"ctx", "kind", "type_comment"})
#: Methods that write types of nodes which are not written field by field.
SPECIAL: dict[type[ast.AST], Callable[[_Source, Any], None]] = {
    ast.AnnAssign: _Source._field,
    ast.Assert: _Source._assert,
    ast.AsyncFunctionDef: _Source._function,
    ast.Attribute: _Source._name,
    ast.Call: _Source._call,
    ast.ClassDef: _Source._class,
    ast.Constant: _Source._constant,
    ast.FunctionDef: _Source._function,
    ast.Lambda: _Source._lambda,
    ast.Name: _Source._name,
    ast.Raise: _Source._raise,
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), _Source._comprehension),
}
