"""Recipe -> Plan: defaults filled in, targets loaded, inputs hashed. Nothing has run yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Literal

from edgekit import recipe as recipes
from edgekit import target as targets
from edgekit.backends.base import IoForm
from edgekit.errors import RecipeError, UnknownNameError
from edgekit.frontends.request import SourceRequest
from edgekit.pipeline.allow_fallback import check_targets
from edgekit.quantization.overrides import Override
from edgekit.recipe import BudgetTable, Recipe, TargetBudgetTable, TargetTable
from edgekit.spec import Embedding, Precision, RunOptions, TensorSpec
from edgekit.target import Target
from edgekit.validation.budget import Budget
from edgekit.validation.waiver import Waiver, Waiving

_LIMITS = set(TargetBudgetTable.model_fields)


@dataclass(frozen=True)
class TargetPlan:
    """One target with what the recipe wants there; ``named`` is how the recipe calls it."""

    target: Target
    digest: str
    precision: Precision
    options: RunOptions
    io: IoForm = field(default_factory=IoForm)
    overrides: tuple[Override, ...] = ()
    cross_cpu: Literal["exact", "uint8", "report"] = "exact"
    budget: Budget = field(default_factory=Budget)
    waiving: Waiving | None = None
    named: str = ""
    embed: tuple[Embedding, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def candidates(self) -> tuple[Precision, ...]:
        """The precisions to try, float first, then in the target's ladder order."""
        wanted = (
            self.target.ladder
            if self.precision is Precision.AUTO
            else tuple(p for p in self.target.precisions if p is self.precision)
        )
        return (Precision.FP32, *(p for p in wanted if p is not Precision.FP32))


@dataclass(frozen=True)
class Plan:
    """Everything that a release is made from.

    Attributes:
        recipe: with defaults filled in.
        path: the recipe's file.
        base: folder that relative paths start from.
        recipe_digest: over what decides the artifacts in the resolved recipe.
        targets: those asked for, in the recipe's order.
        checks: those asked for that only say what a device would take; they ship nothing and end nothing.
        files: SHA-256 of each file that travels with the model, by the name it has in the bundle.
        waiving: the recipe's waivers, and the day.
    """

    recipe: Recipe
    path: Path
    base: Path
    recipe_digest: str
    targets: tuple[TargetPlan, ...]
    checks: tuple[TargetPlan, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    waiving: Waiving = field(default_factory=lambda: Waiving((), date.max))

    @property
    def stem(self) -> str:
        """``<name>-<version>``: the start of every file name."""
        return f"{self.recipe.model.name}-{self.recipe.model.version}"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the recipe states."""
        return tuple(table.spec() for table in self.recipe.model.inputs)

    @property
    def request(self) -> SourceRequest:
        """What is asked of a front end."""
        table = self.recipe.model
        return SourceRequest(
            source=table.source,
            base=self.base,
            weights=self.base / table.weights if table.weights else None,
            inputs=self.inputs,
            trust_source=table.trust_source,
        )


def make(
    path: Path, *, only: Sequence[str] = (), today: date | None = None, allow_fallback: bool = False
) -> Plan:
    """Read the recipe and its targets.

    Args:
        path: the recipe, or the folder that holds an edgekit.toml.
        only: names of targets to keep; all where empty.
        today: the day that waivers are held against; without one they count as expired.
        allow_fallback: as if each target that can fall back had it in its table.

    Raises:
        RecipeError: the recipe breaks its schema, or wants a precision that a target does not have.
        UnknownNameError: a target that nobody knows, or that is not in the recipe.
    """
    if path.is_dir():
        path = path / "edgekit.toml"
    plan = of(recipes.load(path), path=path, only=only, today=today)
    return replace(plan, targets=_allowed(plan.targets)) if allow_fallback else plan


def of(recipe: Recipe, *, path: Path, only: Sequence[str] = (), today: date | None = None) -> Plan:
    """The plan of a recipe that was read from ``path``, and may have been changed since."""
    known = [table.name for table in recipe.target]
    for name in only:
        if name not in known:
            raise UnknownNameError(f"target of {path}", name, known, listing="edgekit targets")
    base = path.resolve().parent
    waiving = Waiving(
        tuple(Waiver(each.gate, each.target, each.reason, each.expires) for each in recipe.waiver),
        today or date.max,
    )
    tables = [table for table in recipe.target if not only or table.name in only]
    wanted = [_target_plan(table, recipe, base, waiving=waiving) for table in tables]
    return Plan(
        recipe=recipe,
        path=path,
        base=base,
        recipe_digest=hashlib.sha256(recipe.decisive_json().encode()).hexdigest(),
        waiving=waiving,
        targets=tuple(each for each in wanted if not each.target.is_check),
        checks=tuple(each for each in wanted if each.target.is_check),
        files={
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in associated_files(recipe, base=base).items()
        },
    )


def _allowed(found: tuple[TargetPlan, ...]) -> tuple[TargetPlan, ...]:
    check_targets(each.target for each in found)
    return tuple(
        replace(each, options=targets.with_fallback(each.options)) if each.target.may_fall_back else each
        for each in found
    )


def associated_files(recipe: Recipe, *, base: Path) -> dict[str, Path]:
    """The files of ``[model] files`` and ``labels`` by the name that each has in the bundle.

    Raises:
        RecipeError: one is missing, or two have the same name.
    """
    found: dict[str, Path] = {}
    labels = recipe.model.labels
    entries = recipe.model.files
    if labels and (base / labels).resolve() not in {(base / each).resolve() for each in entries}:
        entries = (*entries, labels)
    for entry in entries:
        path = base / entry
        if not path.is_file():
            raise RecipeError(
                f"file {entry} of [model] {'labels' if entry == labels else 'files'} is not at {path}",
                why="what belongs to the model travels in the bundle",
                remedy="correct the path; it is relative to the recipe",
                more="docs/recipe.md",
            )
        if path.name in found:
            raise RecipeError(
                f"[model] files names two files {path.name}",
                why="they would have one name in the bundle",
                remedy="rename one",
                more="docs/recipe.md",
            )
        found[path.name] = path
    return found


def _target_plan(table: TargetTable, recipe: Recipe, base: Path, *, waiving: Waiving) -> TargetPlan:
    name = str(base / table.name) if table.name.endswith(".toml") else table.name
    target = targets.load(name)
    precision = table.precision or recipe.optimize.quantize.precision
    if target.is_check and table.precision is None and precision not in target.precisions:
        precision = Precision.AUTO  # what the recipe wants of artifacts ends no check
    if precision not in (*target.precisions, Precision.AUTO, Precision.FP32):
        has = ", ".join(target.precisions)
        raise RecipeError(
            f"target {target.name} has no {precision} (it has {has})",
            why=target.why_not(precision),
            remedy=f'write precision = "{target.ladder[-1]}" or "auto" in its [[target]] table',
            more=f"edgekit targets show {target.name}",
        )
    if table.io_dtype != "float32" and precision is not Precision.W8A8:
        raise RecipeError(
            f"target {target.name} has io_dtype {table.io_dtype} and precision {precision}",
            why="integer inputs and outputs need scales, and the artifact that ships might have none",
            remedy='write precision = "w8a8" in its [[target]] table, or leave io_dtype out',
            more="docs/recipe.md",
        )
    if table.allow_fallback and not target.may_fall_back:
        raise RecipeError(
            f"target {target.name} has allow_fallback, and there is nothing that it could fall back from",
            why="only ONNX Runtime's and LiteRT's GPU targets leave operators to the CPU, and only "
            "ExecuTorch's delegate leaves them to portable kernels",
            remedy="leave allow_fallback out of its [[target]] table",
            more="docs/gpu.md",
        )
    if table.streams is not None and target.backend != "openvino":
        raise RecipeError(
            f"target {target.name} has streams, and its runtime has none",
            why="of the runtimes here only OpenVINO runs several inferences in one opened model",
            remedy="leave streams out of its [[target]] table, or open several sessions",
            more="docs/sessions.md",
        )
    options = target.run.options(threads=table.threads, allow_fallback=table.allow_fallback)
    text = json.dumps(target.model_dump(mode="json", by_alias=True), sort_keys=True)
    return TargetPlan(
        target=target,
        digest=hashlib.sha256(text.encode()).hexdigest()[:16],
        precision=precision,
        options=_with_streams(options, table.streams),
        io=IoForm(table.io_dtype, table.io_layout),
        cross_cpu=recipe.optimize.quantize.cross_cpu,
        budget=budget_of(recipe.budget, table.budget),
        waiving=waiving,
        named=table.name,
        embed=recipe.model.embed if table.embed is None else table.embed,
        sizes=table.sizes,
        overrides=tuple(
            Override(Precision(each.precision), each.nodes, each.operators)
            for each in recipe.optimize.override
        ),
    )


def _with_streams(options: RunOptions, streams: int | None) -> RunOptions:
    """Options for so many inferences at once, each with the threads of one."""
    if streams is None:
        return options
    own = {"NUM_STREAMS": str(streams), "INFERENCE_NUM_THREADS": str(options.threads * streams)}
    return replace(options, settings=tuple(sorted({**dict(options.settings), **own}.items())))


def budget_of(table: BudgetTable, own: TargetBudgetTable) -> Budget:
    """[budget] as the gates take it, with what a target's own table says in its place."""
    common = table.model_dump(include=_LIMITS)
    return Budget(**common | own.model_dump(exclude_none=True))
