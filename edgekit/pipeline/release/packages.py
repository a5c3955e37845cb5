"""[[package]] of a recipe x bundle -> packages beside it, as rows of the release.

P1  no target of the recipe has a back end that the kind takes: an error before anything is computed
P2  ``target`` names one that the recipe does not have: likewise
P3  ``release --target`` leaves out what a package needs: the package is not made, and a finding says so
P4  the kind refuses the artifact that shipped: the bundle stands, and the release ends with 5
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.bundle import packages
from edgekit.errors import RecipeError, UnknownNameError
from edgekit.pipeline.package import Wanted, package
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.result import ReleaseResult
from edgekit.recipe import PackageTable
from edgekit.spec import Progress

_MORE = "docs/packages.md"


def check_packages(plan: Plan) -> None:
    """Hold [[package]] against the targets.

    Raises:
        RecipeError: P1.
        UnknownNameError: P2.
    """
    named = {table.name for table in plan.recipe.target}
    whole = len(plan.targets) == len(plan.recipe.target)
    backends = {each.target.backend for each in plan.targets}
    for table in plan.recipe.package:
        for name in table.target:
            if name not in named:
                raise UnknownNameError("target of [[package]]", name, named, listing="edgekit targets")
        takes = packages.load(table.kind).BACKENDS
        if whole and not backends & set(takes):
            raise RecipeError(
                f"[[package]] for {table.kind} has no target that it could hold",
                why=f"it takes artifacts of {' or '.join(takes)}; the recipe has {', '.join(sorted(named))}",
                remedy=f"add a [[target]] of {takes[0]}, or remove the [[package]]",
                more=_MORE,
            )


def with_packages(result: ReleaseResult, plan: Plan, *, out: Path, progress: Progress) -> ReleaseResult:
    """The release with its packages written beside the bundle (P3, P4)."""
    if result.bundle is None or not plan.recipe.package:
        return result
    released = {each.target.name: each.target.backend for each in plan.targets}
    released |= {each.named: each.target.backend for each in plan.targets}
    possible = [table for table in plan.recipe.package if _is_possible(table, released)]
    left_out = [table.kind for table in plan.recipe.package if table not in possible]
    names = {each.named: each.target.name for each in plan.targets}
    wanted = [
        Wanted(
            table.kind,
            tuple(names[name] for name in table.target),
            table.name,
            recipe=plan.path,
            coreml=table.coreml,
        )
        for table in possible
    ]
    made = package(result.bundle, wanted=wanted, out=out, progress=progress)
    findings = tuple(
        f"no package for {kind}: the targets that it needs were not released this time" for kind in left_out
    )
    return replace(
        result,
        packages=made.packages,
        findings=(*result.findings, *findings),
        exit_code=made.exit_code or result.exit_code,
    )


def _is_possible(table: PackageTable, released: dict[str, str]) -> bool:
    if table.target:
        return set(table.target) <= set(released)
    return bool(set(packages.load(table.kind).BACKENDS) & set(released.values()))
