"""Edits of a source, made by rule: such that change what it computes, and such that do not.

What is left alone is found by the conventions of this project (a logger is what ``getLogger`` gave, a class of
exceptions ends in ``Error``) and shares nothing with ``fingerprint.py``, whose decisions are under test.
"""

from __future__ import annotations

import ast
import copy
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

EXCEPTION = re.compile(r"(Error|Exception|Refused|SystemExit)$")
#: Exceptions that take nothing but a message.
MESSAGES = {"InputError", "ArtefactError", "ValueError", "TypeError", "LookupError", "QueueError", "SettingsError"}
HELP = {"help", "description", "metavar", "title", "epilog", "usage", "prog"}
PARSER = {"add_argument", "ArgumentParser", "add_subparsers", "add_parser"}
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift},
    **{ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr},
}
COMPARISONS: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}


class Edit(NamedTuple):
    """Bytes of a source and what stands there instead."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Source:
    """A module, and where what of it stands."""

    module: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def raw(self) -> bytes:
        return self.text.encode()

    @cached_property
    def lines(self) -> list[int]:
        """Byte at which each line begins."""
        starts = [0]
        for line in self.raw.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return starts

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def loggers(self) -> set[str]:
        return {"logging", *re.findall(r"^(\w+) = logging\.getLogger\(", self.text, re.MULTILINE)}

    def span(self, node: ast.AST) -> tuple[int, int]:
        start = self.lines[node.lineno - 1] + node.col_offset
        return start, self.lines[node.end_lineno - 1] + node.end_col_offset

    def replaced(self, node: ast.AST, text: str | ast.AST) -> Edit:
        """An edit that puts other code in place of a node."""
        return Edit(*self.span(node), text if isinstance(text, str) else f"({ast.unparse(text)})")

    def edited(self, edits: list[Edit]) -> str:
        raw = self.raw
        for start, end, text in sorted(edits, reverse=True):
            raw = raw[:start] + text.encode() + raw[end:]
        return raw.decode()

    def is_log(self, node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func).partition(".")[0] in self.loggers
        )

    @cached_property
    def silent(self) -> set[ast.AST]:
        """Nodes that compute nothing, and what is in them; texts with values in them are whole."""
        return {inside for node in self.nodes for part in self._silent(node) for inside in ast.walk(part)}

    def _silent(self, node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom) or self.is_log(node):
            yield node
        elif isinstance(node, ast.Assert):
            yield from filter(None, [node.msg])
        elif isinstance(node, ast.If):
            if last(node.test) == "TYPE_CHECKING" or (not node.orelse and all(map(self.is_log, node.body))):
                yield node
        elif isinstance(node, ast.arg | ast.AnnAssign):
            yield from filter(None, [node.annotation])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from filter(None, [node.returns])
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node
        elif isinstance(node, ast.Call):
            if EXCEPTION.search(last(node.func)):
                yield node
            elif last(node.func) in PARSER:
                yield from (keyword for keyword in node.keywords if keyword.arg in HELP)
        elif isinstance(node, ast.Assign):
            if ast.unparse(node.targets[0]) in {*self.loggers, "__all__", "__version__"}:
                yield node
        elif isinstance(node, ast.JoinedStr):
            yield from node.values

    def loud(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """Nodes of some kinds that compute."""
        return (node for node in self.nodes if isinstance(node, kinds) and node not in self.silent)


def last(node: ast.AST) -> str:
    """Last part of a dotted name."""
    return ast.unparse(node).rpartition(".")[2]


# ------------------------------------------------------------------------------------------- meaningful


def numbers(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.Constant):
        if isinstance(node.value, bool):
            yield source.replaced(node, str(not node.value))
        elif isinstance(node.value, int):
            yield source.replaced(node, f"({node.value + 1})")
        elif isinstance(node.value, float):
            yield source.replaced(node, f"({node.value * 2 + 1!r})")


def strings(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.Constant):
        if isinstance(node.value, str | bytes):
            more = "x" if isinstance(node.value, str) else b"x"
            yield source.replaced(node, f"({node.value + more!r})")


def formatted(source: Source) -> Iterator[Edit]:
    """Texts with values in them: another text, and one value less."""
    for node in source.loud(ast.JoinedStr):
        values = [index for index, part in enumerate(node.values) if isinstance(part, ast.FormattedValue)]
        for index, part in enumerate(node.values):
            other = copy.deepcopy(node)
            if isinstance(part, ast.Constant):
                other.values[index].value += "x"
            elif len(values) > 1 or len(node.values) > 1:
                del other.values[index]
            else:
                continue
            yield source.replaced(node, other)


def operators(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.BinOp, ast.AugAssign):
        other = copy.deepcopy(node)
        other.op = OPERATORS[type(node.op)]()
        yield source.replaced(node, ast.unparse(other) if isinstance(node, ast.AugAssign) else other)


def comparisons(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.Compare, ast.BoolOp):
        other = copy.deepcopy(node)
        if isinstance(other, ast.BoolOp):
            other.op = ast.And() if isinstance(other.op, ast.Or) else ast.Or()
        else:
            other.ops[0] = COMPARISONS[type(other.ops[0])]()
        yield source.replaced(node, other)


def conditions(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.If, ast.IfExp, ast.While, ast.Assert):
        yield source.replaced(node.test, f"(not ({ast.unparse(node.test)}))")
    for node in source.loud(ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp):
        for test in (test for part in node.generators for test in part.ifs):
            yield source.replaced(test, f"(not ({ast.unparse(test)}))")


def swapped_arguments(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.Call):
        for one, two in zip(node.args, node.args[1:]):
            if ast.dump(one) != ast.dump(two) and not isinstance(one, ast.Starred) and not isinstance(two, ast.Starred):
                other = copy.deepcopy(node)
                index = node.args.index(one)
                other.args[index], other.args[index + 1] = other.args[index + 1], other.args[index]
                yield source.replaced(node, other)


def dropped_arguments(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.Call):
        for name in ("args", "keywords"):
            if getattr(node, name) and getattr(node, name)[-1] not in source.silent:
                other = copy.deepcopy(node)
                getattr(other, name).pop()
                yield source.replaced(node, other)


def defaults(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.arguments):
        for value in filter(None, [*node.defaults, *node.kw_defaults]):
            yield source.replaced(value, f"({ast.unparse(value)}, 0)")
    for node in source.loud(ast.AnnAssign):
        if node.value is not None:
            yield source.replaced(node.value, f"({ast.unparse(node.value)}, 0)")


def dropped_statements(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.Assign, ast.AugAssign, ast.Return, ast.Expr, ast.For, ast.If, ast.Delete):
        yield source.replaced(node, "pass")
    for node in source.loud(ast.AnnAssign):
        if node.value is not None or isinstance(source.parents[node], ast.ClassDef):
            yield source.replaced(node, "pass")


def attributes(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.Attribute):
        _, end = source.span(node)
        yield Edit(end - len(node.attr.encode()), end, f"{node.attr}_other")


def names(source: Source) -> Iterator[Edit]:
    """Another variable, or another name of a field, an argument or a function."""
    for node in source.loud(ast.Name):
        yield source.replaced(node, f"{node.id}_other")
    for node in source.loud(ast.arg):
        start, _ = source.span(node)
        yield Edit(start, start + len(node.arg.encode()), f"{node.arg}_other")
    for node in source.loud(ast.keyword):
        if node.arg:
            start, _ = source.span(node)
            yield Edit(start, start + len(node.arg.encode()), f"{node.arg}_other")


def exceptions(source: Source) -> Iterator[Edit]:
    for node in source.nodes:
        if isinstance(node, ast.Raise) and node.exc is not None:
            what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            what = node.type
        else:
            continue
        if last(what) != "LookupError":
            yield source.replaced(what, "LookupError")


def decorators(source: Source) -> Iterator[Edit]:
    for node in source.loud(ast.FunctionDef, ast.ClassDef):
        for decorator in node.decorator_list:
            start, end = source.span(decorator)
            yield Edit(start - 1, end, "")


def imports(source: Source) -> Iterator[Edit]:
    """Another thing under the same name, wherever something that computes uses the name."""
    used = {node.id for node in source.loud(ast.Name)}
    checked = {
        inside
        for node in source.nodes
        if isinstance(node, ast.If) and last(node.test) == "TYPE_CHECKING"
        for inside in ast.walk(node)
    }
    for node in source.nodes:
        if not isinstance(node, ast.Import | ast.ImportFrom) or node in checked:
            continue
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            if bound in used:
                start, end = source.span(alias)
                yield Edit(start, end, f"{alias.name}_other as {bound}")


MEANINGFUL: dict[str, Callable[[Source], Iterator[Edit]]] = {
    "numbers": numbers,
    "strings": strings,
    "texts with values": formatted,
    "operators": operators,
    "comparisons": comparisons,
    "conditions": conditions,
    "swapped arguments": swapped_arguments,
    "dropped arguments": dropped_arguments,
    "defaults": defaults,
    "dropped statements": dropped_statements,
    "attributes": attributes,
    "names": names,
    "classes of exceptions": exceptions,
    "decorators": decorators,
    "swapped imports": imports,
}


# --------------------------------------------------------------------------------------------- harmless


def raised_texts(source: Source) -> Iterator[Edit]:
    for node in source.nodes:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            if last(node.exc.func) in MESSAGES:
                yield Edit(source.span(node.exc.func)[1], source.span(node.exc)[1], '("another text")')
                continue
            for argument in node.exc.args:
                if isinstance(argument, ast.JoinedStr | ast.Constant):
                    yield source.replaced(argument, '"another text"')


def logs(source: Source) -> Iterator[Edit]:
    """Another text at another level, where nothing is called to put it together."""
    for node in source.nodes:
        if source.is_log(node) and sum(isinstance(part, ast.Call) for part in ast.walk(node)) == 1:
            yield source.replaced(node, f"{ast.unparse(node.value.func.value)}.debug('another text of %d', 3)")


def more_logs(source: Source) -> Iterator[Edit]:
    """Lines that were not there, and none where one was."""
    name = next(iter(source.loggers - {"logging"}), None)
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef) and name is not None and node.body[0].lineno > node.lineno:
            first = node.body[0]
            indent = " " * first.col_offset
            yield Edit(source.span(first)[1], source.span(first)[1], f'\n{indent}{name}.info("%s", {len(indent)})')


def annotations(source: Source) -> Iterator[Edit]:
    for node in source.nodes:
        if isinstance(node, ast.arg) and node.annotation:
            yield source.replaced(node.annotation, "Another")
        elif isinstance(node, ast.FunctionDef) and node.returns:
            yield source.replaced(node.returns, "Another")
        elif isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
            parent = source.parents[node]
            if not isinstance(parent, ast.ClassDef) or _is_plain(parent):
                yield source.replaced(node.annotation, "Another")


def _is_plain(node: ast.ClassDef) -> bool:
    return [last(base) for base in node.bases] == ["NamedTuple"] or any(
        ast.unparse(decorator).startswith("dataclass") for decorator in node.decorator_list
    )


def no_annotations(source: Source) -> Iterator[Edit]:
    for node in source.nodes:
        if isinstance(node, ast.arg) and node.annotation:
            yield source.replaced(node, node.arg)
        elif isinstance(node, ast.AnnAssign) and not isinstance(source.parents[node], ast.ClassDef) and node.value:
            start, end = source.span(node.target)[1], source.span(node.annotation)[1]
            yield Edit(start, end, "")


def comments(source: Source) -> Iterator[Edit]:
    for node in source.tree.body:
        start = source.lines[node.lineno - 1]
        yield Edit(start, start, "# another comment\n\n")


def docstrings(source: Source) -> Iterator[Edit]:
    for node in source.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield source.replaced(node, '"""Another text."""')


def order_of_imports(source: Source) -> Iterator[Edit]:
    """Blocks of imports from bottom to top, one name a line."""
    block: list[ast.stmt] = []
    for node in [*source.tree.body, ast.Pass()]:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            block.append(node)
        elif block:
            lines = []
            for one in block:
                for alias in one.names:
                    other = copy.copy(one)
                    other.names = [alias]
                    lines.append(ast.unparse(other))
            yield Edit(source.span(block[0])[0], source.span(block[-1])[1], "\n".join(reversed(lines)))
            block = []


def typing_imports(source: Source) -> Iterator[Edit]:
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            start = source.lines[node.lineno - 1]
            yield Edit(start, start, "from typing import NewType as Another\n")


def help_texts(source: Source) -> Iterator[Edit]:
    for node in source.nodes:
        if isinstance(node, ast.Call) and last(node.func) in PARSER:
            yield from (source.replaced(word.value, '"another"') for word in node.keywords if word.arg in HELP)


def assertions(source: Source) -> Iterator[Edit]:
    for node in source.nodes:
        if isinstance(node, ast.Assert):
            yield source.replaced(node, f'assert ({ast.unparse(node.test)}), "another text"')


HARMLESS: dict[str, Callable[[Source], Iterator[Edit]]] = {
    "texts of exceptions": raised_texts,
    "texts of logs": logs,
    "more logs": more_logs,
    "annotations": annotations,
    "no annotations": no_annotations,
    "comments": comments,
    "docstrings": docstrings,
    "order of imports": order_of_imports,
    "imports for annotations": typing_imports,
    "help texts": help_texts,
    "texts of assertions": assertions,
}


def chosen(edits: list[Edit], number: int, seed: str) -> list[Edit]:
    """Some edits, the same in each run."""
    return random.Random(seed).sample(edits, min(number, len(edits)))
