"""The table of back ends and its plug-ins."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from edgekit.backends import registry
from edgekit.errors import InputError, MissingBackendError, UnknownNameError


def plugin(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


def test_the_built_in_back_ends_are_listed() -> None:
    assert {"litert", "onnxruntime", "openvino"} <= set(registry.names())


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_back_end_has_the_four_functions(name: str) -> None:
    found = registry.backend(name)
    for function in ("probe", "check", "compile", "open"):
        assert callable(getattr(found, function))


def test_an_unknown_name_names_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="unknown back end 'onnxruntim'") as caught:
        registry.backend("onnxruntim")
    assert "onnxruntime" in caught.value.remedy


def test_a_plugin_adds_a_row() -> None:
    rows = registry.table([plugin("mychip", "collections:OrderedDict")])
    assert rows["mychip"] == "collections:OrderedDict"
    assert type(registry.load("mychip", rows)).__name__ == "OrderedDict"


def test_one_plugin_installed_twice_is_no_conflict() -> None:
    twice = [plugin("mychip", "a:B"), plugin("mychip", "a:B")]
    assert registry.table(twice)["mychip"] == "a:B"


@pytest.mark.parametrize("name", ["openvino", "mychip"], ids=["ours", "another plug-in's"])
def test_a_name_with_two_meanings_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=f"two back ends are called {name!r}"):
        registry.table([plugin(name, "a:B"), plugin(name, "c:D")])


@pytest.mark.parametrize("address", ["no_such_module:Class", "collections:NoSuchClass"])
def test_a_broken_plugin_is_named(address: str) -> None:
    with pytest.raises(MissingBackendError, match="'mychip'"):
        registry.load("mychip", {"mychip": address})
