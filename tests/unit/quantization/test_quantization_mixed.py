"""The search on damages that are made up: M1 to M6, and how many measurements it takes."""

from __future__ import annotations

import math

import pytest

from edgekit.quantization.mixed import EVALUATIONS, GIVE_BACK, Mixed, Order, Trial, keep_fewest, order
from edgekit.quantization.plan import QuantOperator, QuantPlan
from edgekit.quantization.sensitivity import Damage


def _plan(*heads: str) -> QuantPlan:
    operators = tuple(QuantOperator(head, "Conv", (head, f"{head}_relu"), ("x",), head) for head in heads)
    return QuantPlan("", operators, {})


def _weight(head: str, noise: float, *, flips: float | None = None) -> Damage:
    return Damage(f"w_{head}", (head,), is_weight=True, noise=noise, flips=flips)


def _search(found: Order, *, limit: float, evaluations: int = EVALUATIONS) -> Mixed:
    """A drop is the root of the noise that is left, as M2 supposes."""

    def evaluate(nodes: frozenset[str]) -> Trial:
        heads = frozenset(name for name in nodes if not name.endswith("_relu"))
        assert nodes == found.nodes_of(heads)
        drop = math.sqrt(found.noise_with(heads))
        return Trial(drop <= limit, drop)

    return keep_fewest(found, evaluate=evaluate, limit=limit, evaluations=evaluations)


def _kept(mixed: Mixed) -> list[str]:
    return [each.operator for each in mixed.kept]


MANY = tuple(f"c{number:03}" for number in range(100))


def test_nothing_is_kept_where_the_budget_holds() -> None:
    """M1: one measurement."""
    mixed = _search(order(_plan("a", "b"), [_weight("a", 1.0), _weight("b", 2.0)]), limit=2.0)
    assert (mixed.reached, mixed.kept, len(mixed.trials)) == (True, (), 1)
    assert mixed.keep_float == {}


@pytest.mark.parametrize("bad", [1, 2, 7, 40])
def test_the_fewest_of_a_hundred_in_few_measurements(bad: int) -> None:
    """M2: ``bad`` operators do 100 times the damage of the others."""
    damages = [_weight(head, 100.0 if number < bad else 0.01) for number, head in enumerate(MANY)]
    mixed = _search(order(_plan(*MANY), damages), limit=math.sqrt(1.5))
    assert _kept(mixed) == list(MANY[:bad])
    assert len(mixed.trials) <= 3 + GIVE_BACK  # the whole, the guess, the one before it


def test_a_useless_guess_costs_logarithmically() -> None:
    """The drop of the whole is infinite, so M2 begins at 1: doubling, halving, giving back."""
    found = order(_plan(*MANY), [_weight(head, 100.0 - number) for number, head in enumerate(MANY)])
    asked = []

    def evaluate(nodes: frozenset[str]) -> Trial:
        asked.append(nodes)
        return Trial(len(nodes) // 2 >= 37, math.inf)

    mixed = keep_fewest(found, evaluate=evaluate, limit=1.0)
    assert len(mixed.kept) == 37
    assert len(asked) <= 16


def test_an_activation_takes_all_that_touch_it() -> None:
    shared = Damage("t", ("a", "b"), is_weight=False, noise=100.0, flips=0.5)
    mixed = _search(order(_plan("a", "b", "c"), [shared, _weight("c", 1.0)]), limit=1.0)
    assert _kept(mixed) == ["a", "b"]
    assert "'t' (with b) alone" in mixed.kept[0].reason
    assert "50.00% of the labels" in mixed.kept[0].reason
    assert {each.rule for each in mixed.keep_float.values()} == {"accuracy"}
    assert set(mixed.keep_float) == {"a", "a_relu", "b", "b_relu"}


def test_of_equal_cures_the_one_with_fewer_products() -> None:
    """M4; without counts the first in the plan."""
    damages = [_weight("a", 10.0), _weight("b", 10.1), _weight("c", 0.1)]
    dear = {"a": 1000, "b": 10}
    assert _kept(_search(order(_plan("a", "b", "c"), damages, macs=dear), limit=3.3)) == ["b"]
    assert _kept(_search(order(_plan("a", "b", "c"), damages), limit=3.3)) == ["a"]
    apart = [_weight("a", 100.0), _weight("b", 10.0)]  # 10 dB: not equal
    assert _kept(_search(order(_plan("a", "b"), apart, macs=dear), limit=3.3)) == ["a"]


def test_what_the_measurement_does_not_need_is_given_back() -> None:
    """M3: the ranking is wrong about ``a``, and the measurement knows it."""
    found = order(_plan("a", "b", "c", "d"), [_weight("a", 9.0), _weight("b", 8.0), _weight("c", 1.0)])

    def evaluate(nodes: frozenset[str]) -> Trial:
        return Trial("b" in nodes, 0.0 if "b" in nodes else 5.0)

    mixed = keep_fewest(found, evaluate=evaluate, limit=1.0)
    assert _kept(mixed) == ["b"]


@pytest.mark.parametrize(("error", "kept"), [(0.5, 5), (0.0, 4)], ids=["doubtful", "certain"])
def test_a_lucky_count_is_not_believed(error: float, kept: int) -> None:
    """M6: equal operators, 1 of drop for each root of noise; with four of eight the count says 1.0, not 2.0.

    Without doubt in the counts the first that fits is taken, luck and all: the sabotage.
    """
    heads = tuple("abcdefgh")
    found = order(_plan(*heads), [_weight(head, 1.0) for head in heads])
    drops = {0: 2.83, 1: 2.65, 2: 2.45, 3: 2.24, 4: 1.8, 5: 1.73, 6: 1.41, 7: 1.0}

    def evaluate(nodes: frozenset[str]) -> Trial:
        drop = drops[len(nodes) // 2]
        return Trial(drop <= 1.8, drop, error)

    mixed = keep_fewest(found, evaluate=evaluate, limit=1.8)
    assert len(mixed.kept) == kept


def test_a_wrong_ranking_is_overruled() -> None:
    """M6: nothing lost of so many samples weighs more than what the noise lets expect."""
    found = order(_plan("a", "b", "c", "d"), [_weight("a", 9.0), _weight("b", 8.0), _weight("c", 1.0)])

    def evaluate(nodes: frozenset[str]) -> Trial:
        return Trial("b" in nodes, 0.0 if "b" in nodes else 5.0, 0.4)

    assert _kept(keep_fewest(found, evaluate=evaluate, limit=1.0)) == ["b"]


def test_out_of_reach_is_said() -> None:
    """M5."""
    damages = [_weight("a", 1.0), _weight("b", 1.0), _weight("c", 1.0)]
    found = order(_plan("a", "b", "c"), damages)
    mixed = keep_fewest(found, evaluate=lambda _: Trial(False, 3.0), limit=1.0)
    assert not mixed.reached
    assert mixed.kept == ()
    assert mixed.said.startswith("only float holds the budget")


def test_the_number_of_measurements_is_kept() -> None:
    found = order(_plan(*MANY), [_weight(head, 1.0) for head in MANY])
    mixed = keep_fewest(found, evaluate=lambda _: Trial(False, 3.0), limit=1.0, evaluations=3)
    assert len(mixed.trials) == 3
    assert "in 3 measurements" in mixed.said


def test_a_rounding_that_overflows_is_first() -> None:
    damages = [_weight("a", 1.0), _weight("b", math.inf)]
    found = order(_plan("a", "b"), damages)
    assert [step.operators for step in found.steps] == [("b",), ("a",)]
    assert found.steps[0].cause.sqnr_db == -math.inf
    assert _kept(_search(found, limit=1.5)) == ["b"]


def test_the_same_input_gives_the_same_mix() -> None:
    damages = [_weight(head, 1.0 + number % 3) for number, head in enumerate(MANY)]
    first, second = (order(_plan(*MANY), list(each)) for each in (damages, reversed(damages)))
    assert [step.operators for step in first.steps] == [step.operators for step in second.steps]
    assert _kept(_search(first, limit=10.0)) == _kept(_search(second, limit=10.0))


def test_sabotage_a_reversed_order_keeps_more() -> None:
    """Red without the order: the search relies on it."""
    damages = [_weight(head, 100.0 if number < 3 else 0.01) for number, head in enumerate(MANY)]
    right = order(_plan(*MANY), damages)
    wrong = Order(tuple(reversed(right.steps)), right.damages, right.nodes, right.macs)
    assert len(_search(right, limit=math.sqrt(1.5)).kept) == 3
    assert len(_search(wrong, limit=math.sqrt(1.5), evaluations=8).kept) != 3
