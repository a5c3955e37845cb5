"""Flat, named inputs <-> the arguments of ``forward``, which may be nested.

    forward(self, token, cache)    --input token:… --input cache_0:… --input cache_1:…
        ->  forward(token=…, cache=(…, …))

| declared name | becomes |
|---|---|
| ``NAME`` | the parameter NAME |
| ``NAME_0``, ``NAME_1``, … without a gap | the parameter NAME as a tuple; a list where it is annotated so |
| ``NAME_0_0``, ``NAME_0_1``, … | a tuple inside that tuple (keys and values of each layer) |
| ``NAME_key`` | the parameter NAME as a dict with that key; only where it is annotated as a dict or mapping |
| ``NAME_0``, ``NAME_1``, … with ``*NAME`` in the signature | one more positional argument each |
| names of which none fits, no more than there are parameters | the parameters in order |

The longest fitting parameter name wins. What a module's own ``example_inputs()`` returns is taken apart by
the same names, so that any nesting of tuples, lists and dicts can be declared once it is shown there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from edgekit.errors import ExportError, UnknownNameError

_LISTING = "python -m pydoc MODULE.CLASS.forward"


@dataclass(frozen=True)
class Leaf:
    """The place of one flat input."""

    name: str


@dataclass(frozen=True)
class Arguments:
    """How ``forward`` is called: trees of tuples, lists and dicts with a Leaf wherever a tensor goes.

    Attributes:
        positional: in order.
        named: by parameter.
    """

    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """All flat names, in the order in which torch flattens the call."""
        return tuple(_leaves((self.positional, dict(self.named))))

    def fill(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call with ``values`` by flat name in the places of the leaves."""
        positional, named = _filled((self.positional, dict(self.named)), values)
        return positional, named


def declared(names: Sequence[str], parameters: Mapping[str, Parameter]) -> Arguments:
    """Where flat names go in a ``forward`` of these parameters (without ``self``).

    Raises:
        UnknownNameError: some names fit parameters, and this one does not.
        ExportError: indices have gaps, a name is both a tensor and a tuple, a parameter before an extra
            positional one is missing, or more inputs are declared than there are parameters.
    """
    found = {name: _parameter_of(name, parameters) for name in names}
    strangers = [name for name, parameter in found.items() if parameter is None]
    keywords = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
    if strangers and (len(strangers) < len(names)):
        raise UnknownNameError("parameter of forward", strangers[0], _public(parameters), listing=_LISTING)
    if strangers:
        return _by_keyword(names) if keywords and not _public(parameters) else _by_position(names, parameters)
    return _by_parameter(names, parameters, found)


def shown(example: Any, parameters: Mapping[str, Parameter]) -> tuple[Arguments, dict[str, Any]]:
    """What ``example_inputs()`` returned -> how to call ``forward``, and the tensors by flat name.

    Args:
        example: a tensor, a sequence of arguments by position, or a mapping of arguments by parameter; each
            argument a tensor or tuples, lists and dicts of tensors. Anything else is kept as a constant.
        parameters: of ``forward``, without ``self``.

    Raises:
        UnknownNameError: a key is no parameter.
        ExportError: there are more arguments than parameters, or no tensor among them.
    """
    tensors: dict[str, Any] = {}
    if isinstance(example, Mapping):
        keywords = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
        for key in example:
            if key not in _public(parameters) and not keywords:
                raise UnknownNameError(
                    "parameter of forward", str(key), _public(parameters), listing=_LISTING
                )
        named = {str(key): _apart(value, str(key), tensors) for key, value in example.items()}
        arguments = Arguments((), named)
    else:
        values = tuple(example) if isinstance(example, (tuple, list)) else (example,)
        names = _positions(parameters, len(values))
        parts = {name: _apart(value, name, tensors) for name, value in zip(names, values, strict=True)}
        by_name = all(
            name in parameters and parameters[name].kind is Parameter.POSITIONAL_OR_KEYWORD for name in parts
        )
        # By name where possible: torch's exporter takes a dict in the last position for all keywords.
        arguments = Arguments((), parts) if by_name else Arguments(tuple(parts.values()), {})
    if not tensors:
        raise ExportError(
            "example_inputs() returned no tensor",
            why="it shows what the module is called with",
            remedy="return a tuple of tensors, or a dict of parameter name -> tensor",
        )
    return arguments, tensors


def _parameter_of(name: str, parameters: Mapping[str, Parameter]) -> str | None:
    if name in _public(parameters):
        return name
    fitting = [
        each
        for each, parameter in parameters.items()
        if name.startswith(f"{each}_")
        and parameter.kind is not Parameter.VAR_KEYWORD
        and (name[len(each) + 1 :].replace("_", "").isdigit() or _is_mapping(parameter))
    ]
    return max(fitting, key=len, default=None)


def _public(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
    """Parameters that take one argument under their own name."""
    starred = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return tuple(name for name, parameter in parameters.items() if parameter.kind not in starred)


def _is_mapping(parameter: Parameter) -> bool:
    return any(word in str(parameter.annotation).lower() for word in ("dict", "mapping"))


def _is_list(parameter: Parameter) -> bool:
    return "list" in str(parameter.annotation).lower()


def _by_keyword(names: Sequence[str]) -> Arguments:
    return Arguments((), {name: Leaf(name) for name in names})


def _by_position(names: Sequence[str], parameters: Mapping[str, Parameter]) -> Arguments:
    _positions(parameters, len(names))
    return Arguments(tuple(Leaf(name) for name in names), {})


def _positions(parameters: Mapping[str, Parameter], count: int) -> list[str]:
    """A name for each of ``count`` positional arguments: the parameter's, or ``args_0`` for extra ones."""
    plain = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    starred = [name for name, each in parameters.items() if each.kind is Parameter.VAR_POSITIONAL]
    if count > len(plain) and not starred:
        raise ExportError(
            f"{count} inputs are declared, and forward takes {len(plain)} ({', '.join(plain) or 'none'})",
            why="none of their names fits a parameter, so they go by position",
            remedy="name the inputs as forward names its parameters; a tuple's elements are NAME_0, NAME_1",
        )
    return [*plain[:count], *(f"{starred[0]}_{index}" for index in range(count - len(plain)) if starred)]


def _by_parameter(
    names: Sequence[str], parameters: Mapping[str, Parameter], found: Mapping[str, str | None]
) -> Arguments:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(found[name] or "", []).append(name)
    trees = {name: _tree(name, members, parameters[name]) for name, members in groups.items()}
    starred = [name for name, each in parameters.items() if each.kind is Parameter.VAR_POSITIONAL]
    only = [name for name, each in parameters.items() if each.kind is Parameter.POSITIONAL_ONLY]
    extra = trees.pop(starred[0], ()) if starred else ()
    if not extra and not only:
        return Arguments((), trees)
    # Extra arguments come after all plain ones, so these go by position too.
    before = [
        name
        for name, each in parameters.items()
        if each.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        and (extra or each.kind is Parameter.POSITIONAL_ONLY)
    ]
    absent = [name for name in before if name not in trees]
    if absent:
        raise ExportError(
            f"parameter {absent[0]!r} of forward is not declared, and arguments after it are",
            why="arguments by position have no gaps",
            remedy=f"declare {absent[0]!r} too",
        )
    return Arguments((*(trees.pop(name) for name in before), *extra), trees)


def _tree(parameter: str, names: list[str], declared_as: Parameter) -> Any:
    if names == [parameter]:
        return Leaf(parameter)
    rests = {name: name[len(parameter) + 1 :] for name in names}
    if parameter in names:
        raise ExportError(
            f"inputs {', '.join(map(repr, names))} make parameter {parameter!r} a tensor and a tuple",
            why="it can only be one",
            remedy=f"declare {parameter!r}, or {parameter}_0, {parameter}_1 and so on",
        )
    if not all(rest.replace("_", "").isdigit() for rest in rests.values()):
        return {rest: Leaf(name) for name, rest in rests.items()}
    paths = {name: tuple(map(int, filter(None, rest.split("_")))) for name, rest in rests.items()}
    return _sequence(paths, parameter, list if _is_list(declared_as) else tuple)


def _sequence(paths: Mapping[str, tuple[int, ...]], parameter: str, kind: type) -> Any:
    """Names with index paths below one node -> the node."""
    if len(paths) == 1 and not next(iter(paths.values())):
        return Leaf(next(iter(paths)))
    children: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, path in paths.items():
        if path:
            children.setdefault(path[0], {})[name] = path[1:]
    below = sum(len(members) for members in children.values())
    if sorted(children) != list(range(len(children))) or below != len(paths):
        raise ExportError(
            f"inputs {', '.join(map(repr, sorted(paths)))} are no complete tuple for {parameter!r}",
            why="elements are numbered from 0, without gaps, and each is one tensor or one tuple",
            remedy=f"declare {parameter}_0, {parameter}_1 and so on, in the order that forward reads them in",
        )
    return kind(_sequence(children[index], parameter, tuple) for index in range(len(children)))


def _apart(value: Any, name: str, tensors: dict[str, Any]) -> Any:
    """``value`` with leaves for tensors, which are put into ``tensors``."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):  # a tensor or an array
        tensors[name] = value
        return Leaf(name)
    if isinstance(value, Mapping):
        return {key: _apart(each, f"{name}_{key}", tensors) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [_apart(each, f"{name}_{index}", tensors) for index, each in enumerate(value)]
        return type(value)._make(parts) if hasattr(value, "_make") else type(value)(parts)
    return value


def _leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, Leaf):
        yield tree.name
    elif isinstance(tree, dict):
        for each in tree.values():
            yield from _leaves(each)
    elif isinstance(tree, (tuple, list)):
        for each in tree:
            yield from _leaves(each)


def _filled(tree: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(tree, Leaf):
        return values[tree.name]
    if isinstance(tree, dict):
        return {key: _filled(each, values) for key, each in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [_filled(each, values) for each in tree]
        return type(tree)._make(parts) if hasattr(tree, "_make") else type(tree)(parts)
    return tree


def parameters_of(module: Any) -> dict[str, Parameter]:
    """Parameters of ``module.forward``, without ``self``."""
    return dict(inspect.signature(module.forward).parameters)
