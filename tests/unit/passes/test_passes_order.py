"""passes.base: facts are checked before anything runs, rules after each pass, the model is never touched."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import pytest

from edgekit.errors import ModelFileError
from edgekit.ir.quiet import quiet
from edgekit.ir.verify import CANONICAL, FLOAT, BrokenRuleError
from edgekit.passes import CANONICAL_PASSES
from edgekit.passes.base import Pass, PassOrderError, check_order, run
from edgekit.passes.fold_constants import FoldConstants


@dataclass(frozen=True)
class MakesA(Pass):
    establishes: ClassVar[frozenset[str]] = frozenset({"a"})

    def apply(self, model: ir.Model) -> ir.Model:
        model.graph.name = "touched"
        return model


@dataclass(frozen=True)
class NeedsA(Pass):
    requires: ClassVar[frozenset[str]] = frozenset({"a"})
    breaks: ClassVar[frozenset[str]] = frozenset({"a"})

    def apply(self, model: ir.Model) -> ir.Model:
        return model


@dataclass(frozen=True)
class LosesAnInput(Pass):
    def apply(self, model: ir.Model) -> ir.Model:
        model.graph.inputs.clear()
        return model


def small() -> ir.Model:
    return ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 21]>\ng (float[2] x) => (float[2] y) { y = Relu(x) }'
    )


def test_a_fact_that_is_missing_is_named_before_any_pass_runs() -> None:
    with pytest.raises(PassOrderError, match="NeedsA runs before a is established"):
        run(small(), (NeedsA(), MakesA()), rules=FLOAT)


def test_a_fact_can_be_broken_again() -> None:
    with pytest.raises(PassOrderError, match="NeedsA"):
        check_order((MakesA(), NeedsA(), NeedsA()))
    assert check_order((MakesA(), NeedsA(), MakesA())) == {"a"}


def test_facts_can_be_known_from_before() -> None:
    run(small(), (NeedsA(),), rules=FLOAT, known=frozenset({"a"}))


def test_the_model_that_was_handed_in_is_not_touched() -> None:
    model = small()
    assert run(model, (MakesA(),), rules=FLOAT).graph.name == "touched"
    assert model.graph.name == "g"


def test_a_pass_that_breaks_a_rule_is_named() -> None:
    with pytest.raises(BrokenRuleError, match=r"after LosesAnInput: .*F1-defined"):
        run(small(), (LosesAnInput(),), rules=FLOAT)


def test_a_model_that_is_broken_on_arrival_is_the_files_fault() -> None:
    model = small()
    model.graph.inputs.clear()
    with pytest.raises(ModelFileError, match="after reading"):
        run(model, (), rules=FLOAT)


def test_the_rules_of_the_stage_hold_at_the_end() -> None:
    with pytest.raises(BrokenRuleError, match="C1-names"):
        run(small(), (), rules=CANONICAL)


def test_the_canonical_table_is_in_order_and_establishes_what_it_promises() -> None:
    facts = check_order(CANONICAL_PASSES)
    promised = {
        "functions-inlined",
        "opset-canonical",
        "constants-folded",
        "batchnorm-folded",
        "identities-gone",
        "constants-lifted",
        "shapes-known",
        "names-unique",
        "unused-gone",
        "metadata-clear",
    }
    assert promised <= facts


def test_options_of_a_pass_are_its_fields() -> None:
    folding = next(item for item in CANONICAL_PASSES if isinstance(item, FoldConstants))
    assert "largest_output=16777216" in repr(folding)


def test_quiet_puts_the_log_levels_back() -> None:
    logger = logging.getLogger("onnxscript")
    before = logger.level
    with quiet():
        assert logger.level == logging.ERROR
    assert logger.level == before
