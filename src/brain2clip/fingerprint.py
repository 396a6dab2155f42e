"""Fingerprint of the code that a stage can reach, limited to code that can change content.

The Snakefile puts it into the parameters of each rule: a changed formula re-runs the stage, a reworded message does
not. Only the standard library is imported here, because every scheduled job parses the Snakefile.

Parts of a module that are left out:

- comments, docstrings and formatting; ``from __future__``, ``__all__`` and ``__version__``;
- annotations, but for those that compute: of the fields of pydantic's models and of classes that are not known here.
  The names and the order of all fields stay;
- what only type checkers see (``TYPE_CHECKING``), and imports that only annotations needed;
- texts of exceptions, of log calls (with the calls themselves), of warnings, of assertions, and help texts. Exceptions,
  their conditions, categories of warnings and whatever a log call may change (``log.info("%d", next(rows))``) stay;
- where a module lies and what it is called: a name that is imported from the project is replaced by the content of the
  module that defines it. So a file that moves costs nothing, and another thing imported under the same name is seen;
- the order of imports from elsewhere.

Strings that compute stay, wherever they are: a message that is put together outside of its ``raise`` counts.
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
#: What was computed, in the folder of a run. Whoever deletes it loses half a second.
KEPT = Path(".snakemake", "brain2clip-fingerprints.json")

#: Modules (or packages) that are not counted, by what stands for them in the code that uses them. Settings are
#: declarations only: what they resolve to is part of each stage's settings, value by value. So are the names of kinds:
#: the modules that they resolve to are roots of the fingerprint of each stage that loads them. How artefacts are
#: written and how jobs are called is guarded by ``artefact.FORMAT``. Whose process a job forks from is no matter of it.
NOT_COUNTED = {
    name: f"{PACKAGE}.{name}" for name in ("settings", "kinds", "artefact", "stage", "fingerprint", "preloaded")
}

#: How far the content of a module reaches into the modules that it uses: enough to tell two apart that differ there.
DEPTH = 3


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Variables of a module that nothing computes with.
UNREAD = _words("__all__ __version__")
#: Modules that declare, log or warn: their imports count where something that counts uses the name.
QUIET = _words("typing typing_extensions collections.abc logging warnings")
#: Methods of loggers and functions of ``logging`` that take a text.
LEVELS = _words("debug info warning error exception critical log")
#: Functions and methods that change nothing, by name; any other in a log call counts.
PURE = _words(
    """
    abs all any as_posix ascii bool capitalize count decode dict enumerate float format getattr int isinstance item
    items join keys len list ljust lower max mean median min range relative_to removeprefix removesuffix
    repr reversed rjust round rstrip set sorted split splitlines std str strip sum title tolist tuple type upper values
    zip
    """
)
#: Exceptions whose arguments are values that handlers or the shell read.
VALUES = (SystemExit, StopIteration, StopAsyncIteration, OSError)
#: How classes of exceptions are called where their source is not read.
EXCEPTIONS = ("Error", "Exception", "Warning")
#: Keywords that take texts for people, by the last name of what is called.
HELP = {
    **dict.fromkeys(
        _words("ArgumentParser add_argument add_argument_group add_parser add_subparsers"),
        _words("help description metavar title epilog usage prog"),
    ),
    "Field": _words("description title"),
}
#: Decorators of functions that do not look at annotations, by their last name.
BLIND = _words(
    """
    abstractmethod asynccontextmanager cache cached_property classmethod contextmanager field_validator final
    inference_mode lru_cache model_validator no_grad overload override property setter staticmethod tf32 wraps
    """
)
#: Bases whose subclasses take no more than names from the annotations of their fields.
BARE = _words(
    """
    abc.ABC enum.Enum enum.StrEnum object torch.nn.Module torch.nn.Sequential
    typing.Generic typing.NamedTuple typing.Protocol typing.TypedDict
    """
)
#: Words in the annotation of a field that say whether it is one.
MARKS = _words("ClassVar InitVar KW_ONLY")

#: What a name stands for: a module, and a name in it (empty for the module itself).
Origin = tuple[str, str]
#: What a variable stands for that holds a logger.
LOGGER: Origin = ("logging", "getLogger()")


def fingerprint(*modules: str) -> str:
    """Digest of what can change content in modules and in all modules of the project that they import.

    Parameters
    ----------
    *modules : str
        Dotted names, for example ``"brain2clip.training.train"``. Modules from outside of the project are found on the
        path (nothing is imported) and count with every byte of their files.

    Returns
    -------
    str
        First 16 hexadecimal digits of a SHA-256.

    Raises
    ------
    ValueError
        When there is no such module (it says where it was looked for), or one imports in a way that hides what.
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
    """Names of the counted modules that the given ones import, themselves included.

    Imports inside functions count; modules loaded by name at run time (studies) do not and are given as
    further roots by the caller.
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
        while parent and not _file(parent):  # a folder without __init__.py may stand in a package
            parent = parent.rpartition(".")[0]
        if parent:  # importing a module runs its package first
            waiting.append(parent)
    return found


def canonical(module: str, text: str | None = None) -> str:
    """What counts of a module of the project, in a notation of its own; of another text than its file's where given."""
    return _filled(_source(module) if text is None else _Source(module, text), DEPTH)


# ----------------------------------------------------------------------------------------------- modules


def _ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _label(module: str) -> str | None:
    """What stands for a module that is not counted."""
    for label, name in NOT_COUNTED.items():
        if module == name or module.startswith(f"{name}."):
            return label
    return None


@cache
def _texts() -> dict[Path, bytes]:
    """Every source file of this package, read once: what is computed and what it is kept by are of the same bytes."""
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
    """Digest of what counts of a module; of the modules that it uses their content, so many steps deep."""
    return _digest(_filled(_source(module), depth)) if _ours(module) else _outside(module)[0]


def _filled(source: _Source, depth: int) -> str:
    """What counts of a module, with what its imported names stand for."""
    return "".join(piece if isinstance(piece, str) else _shown(piece, depth) for piece in source.pieces)


def _shown(origin: Origin, depth: int) -> str:
    module, name = origin
    label = _label(module) or (None if _file(module) else module)
    return f"<{label or (_content(module, depth - 1) if depth else '')}.{name}>"


def _resolved(origin: Origin) -> Origin:
    """Where a name is defined: what packages pass on is followed, and a submodule is a module."""
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


# -------------------------------------------------------------------------------------- what was computed


@cache
def _sources() -> str:
    """Digest of this package as it stands, byte by byte, and of this Python."""
    digest = hashlib.sha256(sys.version.encode())
    for path, content in _texts().items():
        digest.update(f"{path.relative_to(SOURCE)} {len(content)} ".encode() + content)
    return digest.hexdigest()


@cache
def _known() -> dict[str, str]:
    """Fingerprints that earlier processes in this folder computed of the same sources."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(KEPT.read_text(encoding="utf-8"))
        if found["sources"] == _sources():
            return dict(found["fingerprints"])
    return {}


def _keep(known: dict[str, str]) -> None:
    """Write them down where Snakemake keeps its records; where nothing can be written, they are computed again."""
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
    """Digest of the bytes of a module that is not of this project, and what it imports of the project and the user's.

    Libraries end the search: they are recorded as versions.
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
    """Whether a module is of the user's own: neither of this project, nor of Python, nor of a library."""
    if not module or _ours(module) or module.partition(".")[0] in sys.stdlib_module_names:
        return False
    file = _search(module)[0]
    return file is not None and not {"site-packages", "dist-packages"} & set(file.parts)


@cache
def _search(module: str) -> tuple[Path | None, list[Path]]:
    """Source file of a module on the path of a job, which begins with its folder; and where it was looked for.

    Done by hand, since ``importlib.util.find_spec`` imports the packages that a module is in.
    """
    top, *parts = module.split(".")
    looked = [Path(), *map(Path, sys.path)]
    file, places = _part(looked, top)
    if not places and file is None:
        found = importlib.util.find_spec(top)  # a package that was installed to be edited; a top name imports nothing
        if found is not None:
            places = [Path(place) for place in found.submodule_search_locations or ()]
            file = Path(found.origin) if found.origin and found.origin.endswith(".py") else None
    for part in parts:
        looked = places
        file, places = _part(looked, part)
    return file, looked


def _part(places: list[Path], name: str) -> tuple[Path | None, list[Path]]:
    """File of a module in the first folder that has one, and the folders of what may lie in it."""
    for file in (_module_file(place / name) for place in places):
        if file is not None:
            return file, [file.parent] if file.name == "__init__.py" else []
    return None, [place / name for place in places if (place / name).is_dir()]


# ------------------------------------------------------------------------------------------------ scopes


def _bound(nodes: Iterable[ast.AST]) -> dict[str, Origin | None]:
    """Names that statements and arguments bind, each with what it stands for where that is one imported thing."""
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
            case ast.expr():  # what else binds in an expression is written, wherever it stands
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
    """Names that an import binds, and what they stand for."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, (node.module or "", alias.name)
        else:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, (alias.name if alias.asname else top, "")


def _only_checked(node: ast.If) -> bool:
    return _last(node.test) == "TYPE_CHECKING"


def _last(node: ast.AST) -> str:
    """Last part of a dotted name, or nothing."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _last(function)
    return ""


def _dotted(node: ast.AST, lookup: Callable[[str], Origin | None]) -> Origin | None:
    """What a name or a dotted name stands for, where that was imported."""
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
    """What counts of one module of the project: texts, and in between what its imported names stand for.

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
        """Texts and what stands between them."""
        assert self.tree is not None
        self._statements(self.tree.body)
        self.tree = None  # many trees slow Python's collection of garbage down
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
        """Modules of the project that it imports anywhere."""
        assert self.pieces is not None
        return sorted(name for name in self._imports if _file(name) is not None)

    def _text(self, piece: str | list[tuple[str, str, bool]]) -> str:
        """A text as it is; imports that follow each other in an order of their own."""
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
        """Dotted name of something from elsewhere, e.g. ``torch.nn.Module``; of anything else what stands there."""
        if isinstance(node, ast.Call | ast.Subscript):
            return self._full_name(node.func if isinstance(node, ast.Call) else node.value)
        origin = self._origin(node)
        return ".".join(filter(None, origin)) if origin else _last(node)

    def _is_log(self, node: ast.AST) -> bool:
        """Whether something is a logger, the module ``logging``, or of them."""
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
        """Statements that may change something, or the parts of them that may."""
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
        """Write imports from elsewhere; of those from the project only what one name may stand for at one time."""
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
        """Parts of expressions that may change something: all calls but those that only put a text together."""
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
            else:  # the same as the class alone
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
        """Whether what is called is an exception that takes nothing but a text; None where it is no exception."""
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
        """What a base of a class stands for; without an origin one of this module or of Python."""
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
        """Names and defaults of arguments, and annotations where a decorator may read them."""
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
        """Whether a class takes no more than names from the annotations of its fields."""
        if node.decorator_list:
            return all(self._full_name(decorator) == "dataclasses.dataclass" for decorator in node.decorator_list)
        return not node.keywords and all(map(self._is_bare_base, node.bases))

    def _is_bare_base(self, node: ast.AST) -> bool:
        name = self._full_name(node)
        known = self.classes.get(name) if isinstance(node, ast.Name) else None
        return name in BARE or self._message_only(node) is not None or (known is not None and self._is_bare(known))

    def _field(self, node: ast.AnnAssign) -> None:
        """A variable with an annotation: as without, but for fields of classes."""
        of_class, _ = self._scopes[-1]
        if not of_class:
            assert node.value is not None  # a declaration alone does nothing
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
    """Arguments of a call without those that are texts."""
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


#: Fields of nodes that say nothing: ``ctx`` follows from the place, the others are comments.
IGNORED = frozenset({"ctx", "kind", "type_comment"})
#: How nodes are written that are not written field by field.
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
