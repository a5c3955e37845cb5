"""Matrix -> Rows: every cell with the recipe that it stands for, checked before anything runs.

    recipe + (target, precision, threads)  ->  a recipe of one target  ->  Plan  ->  Row for each device

R1  a precision that a target does not have is no row: it is listed as left out, unless no target has it
(error)
R2  auto, and a recipe that leaves the precision open, is every rung of the target's ladder, float included:
a row has one precision
R3  a target of the matrix that the recipe names keeps what the recipe says of it (budget, io_dtype, embed)
R4  rows that differ in their device alone are made once (``Row.unit``)
R5  pruning for a speed is refused: it is measured while a model is prepared, and others work beside it
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from edgekit import recipe as recipes
from edgekit import target as targets
from edgekit.errors import RecipeError
from edgekit.pipeline import plan as plans
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.sweep.matrix_file import DeviceTable, Matrix, promises_speed
from edgekit.recipe import PruneTable, Recipe, TargetTable
from edgekit.spec import Precision
from edgekit.target import Target

_MORE = "docs/sweep.md"
_GLOBS = ("recipe", "target", "prune", "device")


@dataclass(frozen=True)
class Source:
    """A recipe of the matrix by the name that rows call it."""

    name: str
    path: Path
    recipe: Recipe


@dataclass(frozen=True)
class Row:
    """One cell of the matrix.

    Attributes:
        unit: what is made: the row without its device; a name that fits a file.
        plan: of the one target, precision and number of threads.
        threads: as the matrix or the recipe says; None = the target's own.
        prune: what goes, in a word ("keep0.7"); "" = nothing.
    """

    unit: str
    source: Source
    plan: Plan
    precision: Precision
    threads: int | None
    device: DeviceTable
    prune: str = ""

    @property
    def id(self) -> str:
        """The row's name; also its folder's."""
        return f"{self.unit}@{self.device.name}"

    @property
    def target(self) -> Target:
        """Where it runs."""
        return self.plan.targets[0].target

    @property
    def group(self) -> str:
        """Rows of one model, pruned in one way: they share a lock."""
        return "~".join(filter(None, (self.source.name, self.prune)))

    def digest(self) -> str:
        """Over what the row is made from, as far as the recipe and the target say it."""
        document = {
            "recipe": self.plan.recipe.model_dump(mode="json", by_alias=True, exclude={"package"}),
            "target": self.plan.targets[0].digest,
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Planned:
    """All rows in their order, and what was left out, in words."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]


def planned(matrix: Matrix, *, path: Path, today: date) -> Planned:
    """The rows of ``matrix``, which was read from ``path``.

    Raises:
        RecipeError: a recipe breaks its schema, a precision that no target has, or nothing is left.
        UnknownNameError: a target that nobody knows.
    """
    found: list[Row] = []
    left_out: list[str] = []
    had: set[Precision] = set()
    for source in sources(matrix, base=path.resolve().parent):
        for table, target in _tables(matrix, source, base=path.resolve().parent):
            if target.is_check:
                left_out.append(
                    f"{source.name}: {target.name} is never run: `edgekit release` says what it takes"
                )
                continue
            wanted, missing = _precisions(matrix, source.recipe, table, target)
            had |= set(wanted)
            left_out += [f"{source.name}: {target.name} has no {each}" for each in missing]
            for prune in _prunings(matrix, source):
                recipe = _pruned(source.recipe, prune)
                for precision in wanted:
                    for threads in matrix.options.threads or (table.threads,):
                        changed = table.model_copy(update={"precision": precision, "threads": threads})
                        found += _cells(matrix, replace(source, recipe=recipe), changed, today=today)
    unknown = [each for each in matrix.options.precision if each is not Precision.AUTO and each not in had]
    if unknown:
        raise RecipeError(
            f"matrix {path}: no target has precision {unknown[0]}",
            why="; ".join(left_out),
            remedy="take it out of [options] precision, or name a target that has it",
            more="edgekit targets",
        )
    if not found:
        raise RecipeError(
            f"matrix {path} has no row",
            why="everything is excluded, or no device takes any of its targets",
            remedy="look at [[exclude]] and at the targets of [[device]]",
            more=_MORE,
        )
    return Planned(tuple(found), tuple(left_out))


def sources(matrix: Matrix, *, base: Path) -> tuple[Source, ...]:
    """The recipes by name: the model's, and where two have it, with the folder's and the file's.

    Raises:
        RecipeError: one breaks its schema, or is named twice.
    """
    paths = [base / each for each in matrix.recipes]
    paths = [path / "edgekit.toml" if path.is_dir() else path for path in paths]
    twice = next((path for path in paths if [p.resolve() for p in paths].count(path.resolve()) > 1), None)
    if twice is not None:
        raise RecipeError(
            f"recipe {twice} is named twice", why="its rows would be too", remedy="name it once", more=_MORE
        )
    loaded = [(path, recipes.load(path)) for path in paths]
    names = [recipe.model.name for _, recipe in loaded]
    return tuple(
        Source(
            recipe.model.name
            if names.count(recipe.model.name) == 1
            else f"{recipe.model.name}-{path.resolve().parent.name}-{path.stem}",
            path,
            recipe,
        )
        for path, recipe in loaded
    )


def _tables(matrix: Matrix, source: Source, *, base: Path) -> Iterator[tuple[TargetTable, Target]]:
    """R3; a target file of the matrix is relative to it, one of the recipe to that."""
    own = {table.name: table for table in source.recipe.target}
    for name in matrix.targets or tuple(own):
        is_file = name.endswith(".toml")
        whole = str((base if matrix.targets else source.path.resolve().parent) / name) if is_file else name
        table = own.get(name) or TargetTable(name=whole)
        yield table.model_copy(update={"name": whole}), targets.load(whole)


def _precisions(
    matrix: Matrix, recipe: Recipe, table: TargetTable, target: Target
) -> tuple[list[Precision], list[Precision]]:
    """R1, R2: what becomes rows, and what the target does not have."""
    asked: Sequence[Precision] = matrix.options.precision or (
        table.precision or recipe.optimize.quantize.precision,
    )
    has = [Precision.FP32, *(each for each in target.ladder if each is not Precision.FP32)]
    has += [each for each in target.precisions if each not in has]
    ladder = [Precision.FP32, *(each for each in target.ladder if each is not Precision.FP32)]
    wanted: list[Precision] = []
    for each in asked:
        wanted += ladder if each is Precision.AUTO else [each]
    wanted = list(dict.fromkeys(wanted))
    return [each for each in wanted if each in has], [each for each in wanted if each not in has]


def _prunings(matrix: Matrix, source: Source) -> Sequence[PruneTable | None]:
    """R5."""
    if matrix.options.prune:
        return [None if each == "none" else each for each in matrix.options.prune]
    own = source.recipe.optimize.prune
    if own is not None and promises_speed(own):
        raise RecipeError(
            f"recipe {source.path} prunes for a speed",
            why="that is measured, and in a sweep others work beside it",
            remedy='name what goes in the matrix: [options] prune = [{ keep = 0.7 }], or ["none"]',
            more=_MORE,
        )
    return [own]


def _pruned(recipe: Recipe, table: PruneTable | None) -> Recipe:
    return recipe.model_copy(update={"optimize": recipe.optimize.model_copy(update={"prune": table})})


def called(table: PruneTable | None) -> str:
    """A pruning in a word that fits a file's name; "" = none."""
    if table is None:
        return ""
    what = {"keep": table.keep, "sparsity": table.sparsity}
    first = next((f"{name}{value:g}" for name, value in what.items() if value is not None), "")
    parts = [first or str(table.pattern).replace(":", "of")]
    parts += [table.importance] if table.importance != "obs" else []
    parts += [f"recover{table.recover}"] if table.recover else []
    return "-".join(parts)


def _cells(matrix: Matrix, source: Source, table: TargetTable, *, today: date) -> Iterator[Row]:
    recipe = source.recipe.model_copy(update={"target": (table,), "package": ()})
    plan = plans.of(recipe, path=source.path, today=today)
    target, precision, threads = plan.targets[0].target, plan.targets[0].precision, table.threads
    prune = called(recipe.optimize.prune)
    parts = [source.name, target.name, str(precision), prune, f"t{threads}" if threads is not None else ""]
    cell = {
        "recipe": source.name,
        "target": target.name,
        "precision": precision,
        "prune": prune,
        "threads": threads,
    }
    for device in matrix.devices:
        takes = any(fnmatch.fnmatchcase(target.name, glob) for glob in device.targets)
        if takes and not _excluded(matrix, {**cell, "device": device.name}):
            unit = "~".join(filter(None, parts))
            yield Row(unit, source, plan, precision, threads, device, prune)


def _excluded(matrix: Matrix, cell: Mapping[str, object]) -> bool:
    return any(
        all(fnmatch.fnmatchcase(str(cell[key]), getattr(each, key)) for key in _GLOBS)
        and each.precision in {None, cell["precision"]}
        and each.threads in {None, cell["threads"]}
        for each in matrix.exclude
    )
