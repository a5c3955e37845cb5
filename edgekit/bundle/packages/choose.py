"""Targets of a bundle x kind -> the artifacts that go into the package, each with the reason why.

    C1  its back end is none of the kind's
    C2  it is meant for a device other than the CPU: packages run where no such device may be
    C3  the kind itself says no (``Package.unsuitable``)

Of those that remain, targets that were asked for come in the order asked; otherwise the kind's preferred
targets, then the others by name, in the order of the kind's back ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.bundle.manifest import Manifest, TargetEntry
from edgekit.bundle.packages.base import Package
from edgekit.errors import TargetRefusalError, UnknownNameError
from edgekit.spec import Rejection


@dataclass(frozen=True)
class Chosen:
    """An artifact of the bundle and why it goes in."""

    entry: TargetEntry
    reason: str


def left_out(manifest: Manifest, package: Package, chosen: tuple[Chosen, ...]) -> tuple[str, ...]:
    """What of the kind's own back ends does not go in although nothing else of its back end does, and why."""
    held = {_runtime(each.entry, package) for each in chosen}
    if package.HOLDS == "one":
        return ()
    return tuple(
        f"{entry.name} is left out: {why}"
        for entry in manifest.targets
        if entry.artifact.backend in package.BACKENDS and _runtime(entry, package) not in held
        if (why := _why_not(entry, package))
    )


def choose(
    manifest: Manifest, package: Package, *, kind: str, asked: tuple[str, ...] = ()
) -> tuple[Chosen, ...]:
    """What goes into a package of ``kind``.

    Raises:
        UnknownNameError: a target that the bundle does not hold.
        TargetRefusalError: nothing suits, or a target that was asked for does not; every reason is named.
    """
    held = {entry.name: entry for entry in manifest.targets}
    for name in asked:
        if name not in held:
            raise UnknownNameError("target of the bundle", name, held, listing="edgekit inspect BUNDLE")
    entries = [held[name] for name in dict.fromkeys(asked)] or _ordered(held, package)
    refused = {entry.name: why for entry in entries if (why := _why_not(entry, package))}
    suitable = [entry for entry in entries if entry.name not in refused]
    if not suitable or (asked and refused):
        raise _nothing_suits(kind, package, refused)
    if package.HOLDS == "one":
        kept = suitable[:1]
    else:
        first = {_runtime(entry, package): entry for entry in reversed(suitable)}
        kept = [entry for entry in suitable if first[_runtime(entry, package)] is entry]
    return tuple(Chosen(entry, _reason(entry, suitable, asked=bool(asked))) for entry in kept)


def _runtime(entry: TargetEntry, package: Package) -> str:
    """What runs the artifact there: two back ends may write files for one runtime."""
    stands_for: Mapping[str, str] = getattr(package, "STANDS_FOR", {})
    return stands_for.get(entry.artifact.backend, entry.artifact.backend)


def _ordered(held: dict[str, TargetEntry], package: Package) -> list[TargetEntry]:
    def rank(entry: TargetEntry) -> tuple[int, int, str]:
        backends, preferred = package.BACKENDS, package.PREFERRED
        backend = entry.artifact.backend
        return (
            backends.index(backend) if backend in backends else len(backends),
            preferred.index(entry.name) if entry.name in preferred else len(preferred),
            entry.name,
        )

    return sorted(held.values(), key=rank)


def _why_not(entry: TargetEntry, package: Package) -> str:
    if entry.artifact.backend not in package.BACKENDS:  # C1
        return f"it is a file for {entry.artifact.backend}; this kind takes {', '.join(package.BACKENDS)}"
    if entry.artifact.options.device != "cpu":  # C2
        return f"it is meant for {entry.artifact.options.device}, and the package must run on any CPU"
    return package.unsuitable(entry)  # C3


def _nothing_suits(kind: str, package: Package, refused: dict[str, str]) -> TargetRefusalError:
    remedy = f"add a [[target]] of {' or '.join(package.BACKENDS)} to the recipe and release again"
    return TargetRefusalError(
        f"no artifact of the bundle fits a package for {kind}"
        if len(refused) != 1
        else f"the artifact of {next(iter(refused))} does not fit a package for {kind}",
        why="; ".join(f"{name}: {why}" for name, why in refused.items()) or "the bundle holds no artifact",
        remedy=remedy,
        more="docs/packages.md",
        rejections=tuple(Rejection(name, f"package {kind}", why, remedy) for name, why in refused.items()),
    )


def _reason(entry: TargetEntry, suitable: list[TargetEntry], *, asked: bool) -> str:
    if asked:
        return "asked for"
    rivals = [each.name for each in suitable if each.artifact.backend == entry.artifact.backend]
    if len(suitable) == 1:
        return "the only one that fits"
    if len(rivals) == 1:
        return f"the only one for {entry.artifact.backend}"
    return f"the first of {', '.join(rivals)}; --target chooses another"
