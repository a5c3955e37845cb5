"""edgekit.lock: what a release chose, and from which inputs, so that the next one gives the same bytes.

The lock stands beside the recipe and belongs into version control. It holds the inputs' digests, the ranges
(float arithmetic differs in the last bit between CPUs, so they are written down, not computed again) and per
target the precision, the plan's digest and the artifact's hashes; where the choice waits for a device, those
of every candidate. While the inputs match, ``release`` follows it; otherwise, or with ``--update``, it
searches again and writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from edgekit.errors import RecipeError
from edgekit.pipeline.scheme import Scheme, Weights
from edgekit.quantization.restore.restoration import Restoration
from edgekit.spec import Precision, Ranges, Rejection, from_json, to_json

NAME = "edgekit.lock"


class LockedScheme(BaseModel):
    """One candidate of a target.

    Attributes:
        precision: of what is quantized.
        variant: which of the candidates of that precision ("mixed", "partial"); "" = the rules as they are.
        weights: their form where sums of two products could saturate.
        corrected: whether its biases are corrected.
        keep_float: node name -> (rule, reason) for what the search left in float beyond the target's rules.
        placement: of the target; "" = its rows as they are.
        between: what operators that stay float beside integer ones compute in.
        pruned: whether it is made of the pruned model.
        said: what was estimated of its numbers.
        plan: digest of the plan.
        files: SHA-256 by file name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Precision
    variant: str = ""
    weights: Weights = "int8"
    corrected: bool = True
    keep_float: dict[str, tuple[str, str]] = {}
    placement: str = ""
    between: Precision = Precision.FP32
    pruned: bool = False
    said: str = ""
    plan: str
    files: dict[str, str]

    @property
    def scheme(self) -> Scheme:
        """The candidate that the lock prescribes."""
        kept = {
            name: Rejection(name, rule, reason, "nothing to do: it runs in float")
            for name, (rule, reason) in self.keep_float.items()
        }
        return Scheme(
            self.precision,
            self.variant,
            self.weights,
            self.corrected,
            kept,
            placement=self.placement,
            between=self.between,
            pruned=self.pruned,
            said=self.said,
        )

    @model_serializer(mode="wrap")
    def _as_before(self, fields: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Without what nothing says: other locks keep their bytes."""
        found: dict[str, object] = fields(self)
        return {name: value for name, value in found.items() if value or name not in _SELDOM}


class LockedTarget(LockedScheme):
    """The choice for one target: its own fields are those of what ships.

    Attributes:
        candidates: where speed could not be measured: every artifact inside the budgets, what ships included,
            in the order in which they were tried; one of them is the float variant.
        chosen_by: digest of the device's evidence that chose among them; "" = the choice is open.
    """

    candidates: tuple[LockedScheme, ...] = ()
    chosen_by: str = ""

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """What is made again: the candidates in their order, or what ships alone."""
        return tuple(each.scheme for each in self.candidates) or (self.scheme,)

    @model_serializer(mode="wrap")
    def _as_before(self, fields: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Without the fields that only an open choice has: other locks keep their bytes."""
        found: dict[str, object] = fields(self)
        left_out = set() if self.candidates else set(_OF_A_CHOICE)
        left_out |= {name for name in _SELDOM if not found.get(name)}
        return {name: value for name, value in found.items() if name not in left_out}


_OF_A_CHOICE = {"candidates", "chosen_by"}
_SELDOM = ("pruned", "said")  # not written where they say nothing


class LockedPruning(BaseModel):
    """The pruned model that candidates are made of (``prune.for_release``).

    Attributes:
        graph: ``ir.digest`` of it.
        kept: channels that stay, by group; empty where weights became zero.
        step: of the provenance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: str
    kept: dict[str, int] = {}
    step: dict[str, object]


class Lock(BaseModel):
    """A whole edgekit.lock."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["edgekit/lock/1"] = Field(default="edgekit/lock/1", alias="schema")
    inputs: dict[str, str]
    tools: dict[str, str]
    ranges: dict[str, object] | None
    restoration: dict[str, object] | None = None
    pruned: LockedPruning | None = None
    targets: dict[str, LockedTarget]

    @model_serializer(mode="wrap")
    def _as_before(self, fields: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Without what nothing was pruned for: other locks keep their bytes."""
        found: dict[str, object] = fields(self)
        return {name: value for name, value in found.items() if value or name not in _SELDOM}

    def differences(self, inputs: Mapping[str, str], tools: Mapping[str, str]) -> tuple[str, ...]:
        """What changed since the lock was written, in words; empty = it still matches."""
        changed = [
            f"{kind} {name} changed"
            for kind, old, new in (("input", self.inputs, inputs), ("tool", self.tools, tools))
            for name in new
            if old.get(name) != new[name]
        ]
        return tuple(changed)

    def with_others_of(self, previous: Lock) -> Lock:
        """This lock and the targets of ``previous`` that a partial release did not touch.

        Only where everything that those targets were made from is unchanged; else they are dropped, and
        the next full release searches them again.
        """
        common = [name for name in self.inputs if not name.startswith("target ")]
        if any(previous.inputs.get(name) != self.inputs[name] for name in common):
            return self
        if any(self.tools.get(name, version) != version for name, version in previous.tools.items()):
            return self
        if previous.pruned != self.pruned:
            return self
        return self.model_copy(
            update={
                "inputs": {**previous.inputs, **self.inputs},
                "tools": {**previous.tools, **self.tools},
                "targets": {**previous.targets, **self.targets},
                "ranges": self.ranges if self.ranges is not None else previous.ranges,
                "restoration": self.restoration if self.ranges is not None else previous.restoration,
            }
        )

    def locked_ranges(self) -> Ranges | None:
        """The ranges that the locked plans were made from."""
        return None if self.ranges is None else from_json(Ranges, self.ranges)

    def locked_restoration(self) -> Restoration:
        """What was done to the model before the locked plans were made."""
        return Restoration() if self.restoration is None else from_json(Restoration, self.restoration)

    def text(self) -> str:
        """Canonical JSON."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True) + "\n"


def read(recipe: Path) -> Lock | None:
    """The lock beside ``recipe``, or None.

    Raises:
        RecipeError: there is one, and it cannot be read.
    """
    return read_file(
        recipe.with_name(NAME),
        remedy="restore it from version control, or remove it and run `edgekit release` again",
    )


def read_file(path: Path, *, remedy: str, more: str = "") -> Lock | None:
    """The lock at ``path``, or None; ``remedy`` is for one that cannot be read.

    Raises:
        RecipeError: there is one, and it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return Lock.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"lock file {path} cannot be read",
            why="it is damaged, or was written by another version of edgekit",
            remedy=remedy,
            more=more,
        ) from error


def make(
    *,
    inputs: Mapping[str, str],
    tools: Mapping[str, str],
    ranges: Ranges | None,
    restoration: Restoration | None = None,
    pruned: LockedPruning | None = None,
    targets: Mapping[str, LockedTarget],
) -> Lock:
    """A lock for what was just released."""
    return Lock(
        inputs=dict(inputs),
        tools=dict(tools),
        ranges=None if ranges is None else to_json(ranges),
        restoration=None if restoration is None else to_json(restoration),
        pruned=pruned,
        targets=dict(targets),
    )
