"""`--input` and `--dynamic`: what they take, and what they refuse with which words."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import typer

from edgekit.cli.parse import one_of, parse_dynamic, parse_input, seconds
from edgekit.errors import InputError, UnknownNameError
from edgekit.spec import Dim, TensorSpec


@dataclass(frozen=True)
class Good:
    value: str
    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return self.value


GOOD = [
    Good("image:float32:1x3x224x224", "image", "float32", (1, 3, 224, 224)),
    Good("image:float32:1,3,224,224", "image", "float32", (1, 3, 224, 224)),
    Good("image:float32:batchx1x28x28", "image", "float32", ("batch", 1, 28, 28)),
    Good("image:float32:batch, 1, 28, 28", "image", "float32", ("batch", 1, 28, 28)),
    Good("tokens:int64:1xseqx8", "tokens", "int64", (1, "seq", 8)),
    Good("tokens:int64:1,max_len", "tokens", "int64", (1, "max_len")),
    Good("serving_default_x:0:float32:1x2", "serving_default_x:0", "float32", (1, 2)),
    Good("flag:bool:", "flag", "bool", ()),
    Good("flag:bool:scalar", "flag", "bool", ()),
    Good("v:float32:10", "v", "float32", (10,)),
    Good("v:float32:n", "v", "float32", ("n",)),
]


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_inputs_that_can_mean_only_one_thing(case: Good) -> None:
    assert parse_input(case.value) == TensorSpec(case.name, case.dtype, case.shape)


@dataclass(frozen=True)
class Bad:
    value: str
    words: str

    def __str__(self) -> str:
        return self.value


BAD = [
    Bad("image", "no three parts"),
    Bad("image:float32", "no three parts"),
    Bad(":float32:1x2", "no three parts"),
    Bad("image:float32:0x3", "no size"),
    Bad("image:float32:1,,3", "no size"),
    Bad("image:float32:-1x3", "no size"),
    Bad("image:float32:1xheightxwidth", "may be one size or several"),
    Bad("image:float32:boxesx4", "may be one size or several"),
    Bad("image:float32:2.5", "no size"),
]


@pytest.mark.parametrize("case", BAD, ids=str)
def test_inputs_that_are_refused(case: Bad) -> None:
    with pytest.raises(InputError, match=case.words) as caught:
        parse_input(case.value)
    assert caught.value.remedy


def test_the_remedy_for_a_doubtful_x_is_a_form_that_works() -> None:
    with pytest.raises(InputError) as caught:
        parse_input("image:float32:1xheightxwidth")
    assert parse_input(caught.value.remedy.rsplit(" ", 1)[-1]) == TensorSpec(
        "image", "float32", (1, "height", "width")
    )


def test_an_unknown_type_has_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="float23") as caught:
        parse_input("image:float23:1x3")
    assert "float32" in caught.value.remedy


def test_dynamic_axes() -> None:
    found = parse_dynamic(["image:0=batch", "image:2=height", "a:b:0=n"])
    assert found == {"image": {0: "batch", 2: "height"}, "a:b": {0: "n"}}
    assert parse_dynamic([]) == {}


@pytest.mark.parametrize(
    "value", ["image", "image:0", "image:x=batch", "image=batch", ":0=batch", "image:0=3"]
)
def test_dynamic_axes_that_are_refused(value: str) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        parse_dynamic([value])
    assert "image:0=batch" in caught.value.remedy


def test_an_axis_has_one_name() -> None:
    with pytest.raises(InputError, match="twice"):
        parse_dynamic(["image:0=batch", "image:0=n"])


def test_one_of_a_table() -> None:
    assert one_of("--io-dtype", "int8", ("float32", "int8")) == "int8"
    with pytest.raises(UnknownNameError, match="unknown value of --io-dtype 'int9'") as caught:
        one_of("--io-dtype", "int9", ("float32", "int8"))
    assert "did you mean int8?" in caught.value.remedy


@pytest.mark.parametrize(("value", "s"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), (" 2m ", 120.0)])
def test_times(value: str, s: float) -> None:
    assert seconds(value) == s


@pytest.mark.parametrize("value", ["", "0s", "-1s", "1h", "m", "1e3"])
def test_what_is_no_time(value: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no time"):
        seconds(value)
