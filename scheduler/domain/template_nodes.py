"""From the syntax tree of an expression to a closure over the scope; unknown nodes are refused."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2 import nodes

from scheduler.domain.template_errors import TemplateError, UndefinedError
from scheduler.domain.template_filters import FILTERS
from scheduler.domain.template_values import bounded, kind, number, plain, to_text

Evaluate = Callable[[Mapping[str, Any]], Any]
Lookups = set[tuple[str, ...]]

MAX_EXPRESSION_DEPTH: Final = 40
MAX_NUMBER: Final = 2**63

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda one, many: operator.contains(many, one),
    "notin": lambda one, many: not operator.contains(many, one),
}
_ARITHMETIC: Final[dict[type[nodes.BinExpr], Callable[[Any, Any], Any]]] = {
    nodes.Add: operator.add,
    nodes.Sub: operator.sub,
    nodes.Mul: operator.mul,
    nodes.Div: operator.truediv,
    nodes.FloorDiv: operator.floordiv,
    nodes.Mod: operator.mod,
}


def compile_expression(node: nodes.Node, lookups: Lookups) -> Evaluate:
    """Return the closure that evaluates ``node``; add the lookups that must be defined to ``lookups``.

    Raises:
        TemplateError: something that templates do not offer, or nested deeper than
            MAX_EXPRESSION_DEPTH.
    """
    return _Compiler(lookups).compile(node, 0)


class _Compiler:
    def __init__(self, lookups: Lookups) -> None:
        self.lookups = lookups

    def compile(self, node: nodes.Node, depth: int) -> Evaluate:
        if depth > MAX_EXPRESSION_DEPTH:
            raise TemplateError(f"an expression is nested deeper than {MAX_EXPRESSION_DEPTH}")
        if type(node) in _ARITHMETIC and isinstance(node, nodes.BinExpr):
            return self.arithmetic(node, depth)
        method: Callable[[Any, int], Evaluate] | None = getattr(self, f"on_{type(node).__name__.lower()}", None)
        if method is None:
            raise TemplateError(f"a template cannot use {_WORDS.get(type(node), type(node).__name__.lower())}")
        return method(node, depth + 1)

    def perhaps(self, node: nodes.Node, depth: int) -> Evaluate:
        """Compile what may be left unevaluated or undefined: its lookups are no demands."""
        return _Compiler(set()).compile(node, depth)

    def on_const(self, node: nodes.Const, _depth: int) -> Evaluate:
        value = plain(node.value)
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise TemplateError("a number is too large")
        return lambda _scope: value

    def on_templatedata(self, node: nodes.TemplateData, _depth: int) -> Evaluate:
        return lambda _scope: node.data

    def on_name(self, node: nodes.Name, _depth: int) -> Evaluate:
        self.lookups.add((node.name,))
        return lambda scope: _lookup(scope, node.name, node.name)

    def on_getattr(self, node: nodes.Getattr, depth: int) -> Evaluate:
        return self.lookup(node, lambda _scope: node.attr, depth)

    def on_getitem(self, node: nodes.Getitem, depth: int) -> Evaluate:
        return self.lookup(node, self.compile(node.arg, depth), depth)

    def lookup(self, node: nodes.Getattr | nodes.Getitem, key: Evaluate, depth: int) -> Evaluate:
        path = _path(node)
        if path is None:
            inner = self.compile(node.node, depth)
        else:
            inner = self.perhaps(node.node, depth)
            self.lookups.add(path)
        shown = ".".join(path) if path else "a lookup"
        return lambda scope: _lookup(inner(scope), key(scope), shown)

    def on_filter(self, node: nodes.Filter, depth: int) -> Evaluate:
        if node.kwargs or node.dyn_args or node.dyn_kwargs or node.node is None:
            raise TemplateError(f"the filter {node.name} takes plain arguments only")
        args = [self.compile(arg, depth) for arg in node.args]
        if node.name in {"default", "d"}:
            return self.default(node.node, args, depth)
        if node.name not in FILTERS:
            raise TemplateError(f"there is no filter {node.name}; there are {', '.join(sorted([*FILTERS, 'default']))}")
        function, least, most = FILTERS[node.name]
        if not least <= len(args) <= most:
            raise TemplateError(
                f"the filter {node.name} takes {least if least == most else f'{least} to {most}'} arguments"
            )
        inner = self.compile(node.node, depth)
        return lambda scope: function(inner(scope), *[arg(scope) for arg in args])

    def default(self, node: nodes.Node, args: list[Evaluate], depth: int) -> Evaluate:
        if not 1 <= len(args) <= 2:  # noqa: PLR2004 - the value, and whether empty counts as undefined
            raise TemplateError("the filter default takes 1 to 2 arguments")
        inner = self.perhaps(node, depth)

        def evaluate(scope: Mapping[str, Any]) -> Any:
            try:
                value = inner(scope)
            except UndefinedError:
                return args[0](scope)
            return args[0](scope) if not value and len(args) > 1 and args[1](scope) else value

        return evaluate

    def on_test(self, node: nodes.Test, depth: int) -> Evaluate:
        if node.name not in {"defined", "undefined", "none"} or node.args or node.kwargs:
            raise TemplateError(f"there is no test {node.name}; there are defined, undefined, none")
        if node.name == "none":
            value = self.compile(node.node, depth)
            return lambda scope: value(scope) is None
        inner = self.perhaps(node.node, depth)
        wanted = node.name == "defined"
        return lambda scope: _is_defined(inner, scope) is wanted

    def on_compare(self, node: nodes.Compare, depth: int) -> Evaluate:
        first = self.compile(node.expr, depth)
        others = [(_COMPARE[operand.op], self.compile(operand.expr, depth)) for operand in node.ops]

        def evaluate(scope: Mapping[str, Any]) -> bool:
            left = first(scope)
            for compare, other in others:
                right = other(scope)
                try:
                    holds = compare(left, right)
                except (TypeError, RecursionError):
                    raise TemplateError(f"{kind(left)} cannot be compared with {kind(right)}") from None
                if not holds:
                    return False
                left = right
            return True

        return evaluate

    def on_and(self, node: nodes.And, depth: int) -> Evaluate:
        left, right = self.compile(node.left, depth), self.perhaps(node.right, depth)
        return lambda scope: left(scope) and right(scope)

    def on_or(self, node: nodes.Or, depth: int) -> Evaluate:
        left, right = self.compile(node.left, depth), self.perhaps(node.right, depth)
        return lambda scope: left(scope) or right(scope)

    def on_not(self, node: nodes.Not, depth: int) -> Evaluate:
        inner = self.compile(node.node, depth)
        return lambda scope: not inner(scope)

    def on_neg(self, node: nodes.Neg, depth: int) -> Evaluate:
        inner = self.compile(node.node, depth)
        return lambda scope: -number(inner(scope))

    def on_pos(self, node: nodes.Pos, depth: int) -> Evaluate:
        inner = self.compile(node.node, depth)
        return lambda scope: number(inner(scope))

    def on_condexpr(self, node: nodes.CondExpr, depth: int) -> Evaluate:
        if node.expr2 is None:
            raise TemplateError("an if in an expression needs an else")
        test = self.compile(node.test, depth)
        then, other = self.perhaps(node.expr1, depth), self.perhaps(node.expr2, depth)
        return lambda scope: then(scope) if test(scope) else other(scope)

    def on_concat(self, node: nodes.Concat, depth: int) -> Evaluate:
        parts = [self.compile(part, depth) for part in node.nodes]

        def evaluate(scope: Mapping[str, Any]) -> str:
            pieces = [to_text(part(scope)) for part in parts]
            return bounded(lambda: "".join(pieces), sum(map(len, pieces)))

        return evaluate

    def on_list(self, node: nodes.List, depth: int) -> Evaluate:
        items = [self.compile(item, depth) for item in node.items]
        return lambda scope: [item(scope) for item in items]

    def on_dict(self, node: nodes.Dict, depth: int) -> Evaluate:
        pairs = [(self.compile(pair.key, depth), self.compile(pair.value, depth)) for pair in node.items]
        return lambda scope: {to_text(key(scope)): value(scope) for key, value in pairs}

    def arithmetic(self, node: nodes.BinExpr, depth: int) -> Evaluate:
        left, right = self.compile(node.left, depth + 1), self.compile(node.right, depth + 1)
        operate = _ARITHMETIC[type(node)]

        def evaluate(scope: Mapping[str, Any]) -> Any:
            try:
                result = plain(operate(number(left(scope)), number(right(scope))))
            except (ArithmeticError, RecursionError):
                raise TemplateError("a division by zero, or a number that is too large") from None
            if abs(result) > MAX_NUMBER:
                raise TemplateError("a number is too large")
            return result

        return evaluate


_WORDS: Final[dict[type[nodes.Node], str]] = {
    nodes.Call: "calls",
    nodes.Pow: "powers (**)",
    nodes.Slice: "slices",
    nodes.Tuple: "tuples; write a list in [ ]",
}


def _lookup(container: Any, key: Any, shown: str) -> Any:
    """Return an entry of a mapping or list. Text keys never reach attributes of the container."""
    if isinstance(container, Mapping):
        if isinstance(key, str) and key in container:
            return plain(container[key])
    elif isinstance(container, list | tuple):
        if isinstance(key, int) and -len(container) <= key < len(container):
            return plain(container[key])
    elif container is not None:
        raise UndefinedError(f"{shown} is not defined: {kind(container)} has no entries")
    raise UndefinedError(f"{shown} is not defined")


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    """Return the path of a lookup by constant keys from a name; None for anything else."""
    parts: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            parts.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
            parts.append(str(node.arg.value))
        else:
            return None
        node = node.node
    return (node.name, *reversed(parts)) if isinstance(node, nodes.Name) else None


def _is_defined(inner: Evaluate, scope: Mapping[str, Any]) -> bool:
    try:
        inner(scope)
    except UndefinedError:
        return False
    return True
