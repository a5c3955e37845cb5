"""What LiteRT's GPU accelerator takes (``gpu_kernels``) against the accelerator itself, on SwiftShader.

Tolerance 1e-4 of the output's range, seed 0. A row that is refused and has become right is red, too: a newer
LiteRT may take it, and then the row can go.
"""

from __future__ import annotations

import pytest

from edgekit.backends.litert.backend import translate
from edgekit.backends.litert.gpu_kernels import NUMBERS_RULE, gpu_rejections
from edgekit.backends.worker import call_in_worker
from edgekit.passes import canonicalize
from edgekit.spec import Rejection
from tests.gpu.litert_kernels import REFUSED, RIGHT, WRONG, Kernel
from tests.gpu.models import built

pytestmark = pytest.mark.usefixtures("swiftshader")


def refused(kernel: Kernel) -> tuple[Rejection, ...]:
    model = canonicalize(built(kernel.text, **kernel.arrays))
    return gpu_rejections(translate(model, device="gpu").lowered.graph, model)


@pytest.fixture(scope="module")
def away(swiftshader: dict[str, str]) -> dict[str, float | str]:
    del swiftshader  # the worker finds the driver through it
    found: dict[str, float | str] = call_in_worker(
        "tests.gpu.litert_kernels:away", {}, subject="LiteRT", doing="running its kernels"
    )
    return found


@pytest.mark.parametrize("name", RIGHT)
def test_what_the_table_takes_is_right(name: str, away: dict[str, float | str]) -> None:
    assert refused(RIGHT[name]) == ()
    difference = away[name]
    assert isinstance(difference, float), difference
    assert difference < 1e-4


@pytest.mark.parametrize("name", WRONG)
def test_what_is_computed_wrongly_is_refused_by_name(name: str, away: dict[str, float | str]) -> None:
    (rejection,) = refused(WRONG[name])
    assert (rejection.rule, bool(rejection.node)) == (NUMBERS_RULE, True)
    difference = away[name]
    assert isinstance(difference, float), difference
    assert difference > 1e-2


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_accelerator_refuses_the_table_refuses(name: str, away: dict[str, float | str]) -> None:
    rejections = refused(REFUSED[name])
    assert {each.rule for each in rejections} == {"gpu"}
    assert "does not take" in str(away[name])
