"""Flat names of inputs become nested arguments of forward, and the same names come out of examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from edgekit.errors import ExportError, UnknownNameError
from edgekit.frontends.torch_arguments import Leaf, declared, shown
from edgekit.frontends.torch_outputs import apart


def two(x: Any, y: Any = None) -> None: ...
def listed(token: Any, cache: list[Any]) -> None: ...
def mapped(x: Any, state: dict[str, Any]) -> None: ...
def starred(x: Any, *cache: Any) -> None: ...
def keywords(**inputs: Any) -> None: ...
def both(cache: Any, cache_k: Any) -> None: ...
def only(x: Any, /, y: Any) -> None: ...


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@dataclass(frozen=True)
class Fit:
    id: str
    function: Callable[..., Any]
    names: tuple[str, ...]
    positional: tuple[Any, ...]
    named: dict[str, Any]


FITS = [
    Fit("names", two, ("y", "x"), (), {"y": "y", "x": "x"}),
    Fit("own-names", two, ("a", "b"), ("a", "b"), {}),
    Fit("tuple", two, ("x_0", "x_1"), (), {"x": ("x_0", "x_1")}),
    Fit(
        "list",
        listed,
        ("token", "cache_1", "cache_0"),
        (),
        {"token": "token", "cache": ["cache_0", "cache_1"]},
    ),
    Fit("nested", two, ("x_0_0", "x_0_1", "x_1"), (), {"x": (("x_0_0", "x_0_1"), "x_1")}),
    Fit(
        "dict", mapped, ("x", "state_h", "state_c"), (), {"x": "x", "state": {"h": "state_h", "c": "state_c"}}
    ),
    Fit("starred", starred, ("cache_0", "x", "cache_1"), ("x", "cache_0", "cache_1"), {}),
    Fit("keywords", keywords, ("a", "b"), (), {"a": "a", "b": "b"}),
    Fit("longest", both, ("cache_0", "cache_k_0"), (), {"cache": ("cache_0",), "cache_k": ("cache_k_0",)}),
    Fit("positional-only", only, ("y", "x"), ("x",), {"y": "y"}),
]


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.id)
def test_declared_names_find_their_places(fit: Fit) -> None:
    arguments = declared(fit.names, parameters(fit.function))
    assert arguments.fill({name: name for name in fit.names}) == (fit.positional, fit.named)
    assert sorted(arguments.names) == sorted(fit.names)


@dataclass(frozen=True)
class Misfit:
    id: str
    function: Callable[..., Any]
    names: tuple[str, ...]
    error: type[Exception]
    text: str


@pytest.mark.parametrize(
    "case",
    [
        Misfit("typo", two, ("x", "z"), UnknownNameError, "unknown parameter of forward 'z'"),
        Misfit("no-dict", two, ("x", "y_key"), UnknownNameError, "unknown parameter of forward 'y_key'"),
        Misfit("too-many", two, ("a", "b", "c"), ExportError, r"3 inputs are declared, and forward takes 2"),
        Misfit("gap", two, ("x_0", "x_2"), ExportError, "'x_0', 'x_2' are no complete tuple for 'x'"),
        Misfit("tensor-and-tuple", two, ("x", "x_0"), ExportError, "make parameter 'x' a tensor and a tuple"),
        Misfit("leaf-and-tuple", two, ("x_0", "x_0_0"), ExportError, "are no complete tuple for 'x'"),
        Misfit(
            "before-starred", starred, ("cache_0",), ExportError, "parameter 'x' of forward is not declared"
        ),
    ],
    ids=lambda case: case.id,
)
def test_names_without_a_place_are_refused(case: Misfit) -> None:
    with pytest.raises(case.error, match=case.text):
        declared(case.names, parameters(case.function))


class Pair(NamedTuple):
    h: Any
    c: Any


A, B, C = (np.full(2, value, np.float32) for value in (1, 2, 3))


@dataclass(frozen=True)
class Example:
    id: str
    function: Callable[..., Any]
    value: Any
    names: tuple[str, ...]


@pytest.mark.parametrize(
    "case",
    [
        Example("tensor", two, A, ("x",)),
        Example("tuple", two, (A, B), ("x", "y")),
        Example("mapping", two, {"y": A, "x": B}, ("y", "x")),
        Example("nested", two, (A, {"k": [B, C]}), ("x", "y_k_0", "y_k_1")),
        Example("named-tuple", two, (Pair(A, B),), ("x_0", "x_1")),
        Example("starred", starred, (A, B, C), ("x", "cache_0", "cache_1")),
        Example("constant", two, (A, 3), ("x",)),
    ],
    ids=lambda case: case.id,
)
def test_examples_are_taken_apart_and_put_together_again(case: Example) -> None:
    arguments, tensors = shown(case.value, parameters(case.function))
    assert arguments.names == tuple(tensors) == case.names
    positional, named = arguments.fill(tensors)
    bound = inspect.signature(case.function).bind(*positional, **named)
    value = case.value if isinstance(case.value, (tuple, dict)) else (case.value,)
    again = inspect.signature(case.function)
    assert bound == (again.bind(**value) if isinstance(value, dict) else again.bind(*value))


def test_a_named_tuple_stays_one() -> None:
    arguments, tensors = shown((Pair(A, B),), parameters(two))
    assert isinstance(arguments.named["x"], Pair)
    assert arguments.named["x"].h == Leaf("x_0")
    assert isinstance(arguments.fill(tensors)[1]["x"], Pair)


@dataclass(frozen=True)
class BadExample:
    id: str
    value: Any
    error: type[Exception]
    text: str


@pytest.mark.parametrize(
    "case",
    [
        BadExample("unknown-key", {"z": A}, UnknownNameError, "unknown parameter of forward 'z'"),
        BadExample("too-many", (A, A, A), ExportError, "3 inputs are declared, and forward takes 2"),
        BadExample("nothing", (), ExportError, r"example_inputs\(\) returned no tensor"),
    ],
    ids=lambda case: case.id,
)
def test_examples_that_do_not_fit_are_refused(case: BadExample) -> None:
    with pytest.raises(case.error, match=case.text):
        shown(case.value, parameters(two))


def test_outputs_do_not_take_the_names_of_inputs() -> None:
    assert apart(("y", "h", "h_out"), ("x", "h")) == ("y", "h_out_out", "h_out")
