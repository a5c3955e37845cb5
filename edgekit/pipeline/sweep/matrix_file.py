"""MATRIX.toml -> Matrix: what a sweep runs, checked key by key like a recipe.

    recipes x targets x precision x prune x threads x devices  -  exclude  ->  rows (``rows``)

Unknown keys, names and values are errors with the closest candidates. The same models give the JSON Schema
(``edgekit schema sweep-matrix``) and the table in docs/recipe.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgekit.errors import RecipeError
from edgekit.measure.timer import FEWEST_ROUNDS, ROUNDS
from edgekit.pipeline.sweep.schedule import COMPILE, LOCAL, RETRIES, WAIT_S
from edgekit.recipe import PruneTable
from edgekit.spec import Precision
from edgekit.toml_schema import checked

_MORE = "docs/sweep.md"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class OptionsTable(_Closed):
    """`[options]`: what is varied; each list is an axis of the matrix."""

    precision: tuple[Precision, ...] = Field(
        default=(),
        description="of every target that has it; auto = all that a target has; by default what the recipe "
        "wants there",
    )
    prune: tuple[Literal["none"] | PruneTable, ...] = Field(
        default=(),
        description='"none", or tables as [optimize] prune has them (recipe.md), without a speed: '
        '["none", { keep = 0.7 }, { pattern = "2:4" }]; by default what the recipe says',
    )
    threads: tuple[int, ...] = Field(
        default=(), description="inside an operator; by default what the recipe says of the target"
    )

    @field_validator("threads")
    @classmethod
    def _counts(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(each < 1 for each in value):
            raise ValueError("threads are 1 or more")
        return value

    @field_validator("prune")
    @classmethod
    def _without_speed(cls, value: tuple[Literal["none"] | PruneTable, ...]) -> Any:
        for each in value:
            if isinstance(each, PruneTable) and promises_speed(each):
                raise ValueError("a speed is measured, and others work meanwhile: use keep")
        return value

    @field_validator("precision", "prune", "threads")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = next((each for each in value if value.count(each) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice")
        return value


def promises_speed(table: PruneTable) -> bool:
    """Whether what goes is decided by a measurement."""
    return table.speedup is not None or table.require_speedup


class ExcludeTable(_Closed):
    """`[[exclude]]`: cells of the matrix that are left out; what is named must all match."""

    recipe: str = Field(default="*", description="glob over the recipes' names")
    target: str = Field(default="*", description='glob over targets: "litert-*"')
    precision: Precision | None = Field(default=None, description="of this precision alone")
    prune: str = Field(
        default="*",
        description='glob over the word that rows have for it: "keep0.7", "2of4"; "" = not pruned',
    )
    threads: int | None = Field(default=None, description="with so many threads alone")
    device: str = Field(default="*", description="glob over devices")


class DeviceTable(_Closed):
    """`[[device]]`: where rows are measured; without one, on this machine."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description='what its worker announces (`dask worker --resources "rpi5=1"`), and what rows call it',
    )
    targets: tuple[str, ...] = Field(
        default=("*",), min_length=1, description='globs over the targets that are measured on it: "litert-*"'
    )
    address: str = Field(
        default="",
        description="ssh://, adb: or a name of devices.toml beside this file: measured from the worker over "
        "that; by default the worker is the device",
    )

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value == COMPILE:
            raise ValueError(f"{COMPILE!r} is what workers announce that compile")
        return value


class RunTable(_Closed):
    """`[run]`: patience."""

    rounds: int = Field(
        default=ROUNDS,
        ge=FEWEST_ROUNDS,
        description="of a bench on the worker itself; fewer are faster and have wider intervals",
    )

    wait_s: float = Field(
        default=WAIT_S, ge=0, description="how long a row waits for a device (or a worker) that is away"
    )
    retries: int = Field(
        default=RETRIES, ge=0, description="how often a task begins again whose worker was lost"
    )
    limit_s: float | None = Field(
        default=None,
        gt=0,
        description="how long one task may take (an export, a row's candidates, a bench); one that takes "
        "longer is ended, and its rows are timed out",
    )


class Matrix(_Closed):
    """A whole MATRIX.toml."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    recipes: tuple[str, ...] = Field(min_length=1, description="recipes, relative to this file")
    targets: tuple[str, ...] = Field(
        default=(), description="names of `edgekit targets`, or target files; by default each recipe's own"
    )
    options: OptionsTable = Field(default_factory=OptionsTable)
    exclude: tuple[ExcludeTable, ...] = Field(default=(), description="cells that are left out")
    device: tuple[DeviceTable, ...] = Field(default=(), description="where rows are measured")
    run: RunTable = Field(default_factory=RunTable)

    @property
    def devices(self) -> tuple[DeviceTable, ...]:
        """Those of the file; this machine where there is none."""
        return self.device or (DeviceTable(name=LOCAL),)


def load(path: Path) -> Matrix:
    """Read and check a matrix.

    Raises:
        RecipeError: the file is missing, is no TOML, or has a key or value that is not in the schema.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"matrix {path} cannot be read",
            why=str(error),
            remedy="give the path of a MATRIX.toml; docs/sweep.md has one",
            more=_MORE,
        ) from error
    matrix = checked(text, Matrix, name=f"matrix {path}", schema="sweep-matrix", more=_MORE)
    names = [each.name for each in matrix.devices]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(
            f"matrix {path} has two devices {twice!r}",
            why="a name stands for one; two equal boards are two workers that announce one name",
            remedy="remove one [[device]]",
            more=_MORE,
        )
    return matrix
