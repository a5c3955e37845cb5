"""Recipe x bundle -> the function that a package for iOS gets its .mlpackage from, or the reason for none.

    recipe --obtain (cached)--> canonical float model, its digest the manifest's --backends.coreml--> files

A bundle holds artifacts and no source, so somebody must name the recipe: ``package --recipe``, or the release
itself. The precision "auto" takes fp16 where it can and says why where it cannot; one that is asked for by
name must be possible.

N1 nobody named the recipe            N2 the release embedded steps that the float model has not
N3 the source came quantized          N4 coreml: an operator, a type, or a missing extra
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from edgekit import settings
from edgekit.backends import coreml
from edgekit.backends.onnxruntime import open_model
from edgekit.bundle import golden
from edgekit.bundle.manifest import TargetEntry
from edgekit.bundle.packages.base import Source
from edgekit.bundle.packages.converted import Converted
from edgekit.bundle.packages.ios_coreml import OF_RANGE
from edgekit.errors import (
    InputError,
    MissingBackendError,
    TargetRefusalError,
    UnknownNameError,
    VerificationError,
)
from edgekit.pipeline import cache as caches
from edgekit.pipeline import model as models
from edgekit.pipeline import plan as plans
from edgekit.pipeline.model import Canonical
from edgekit.spec import Array, Progress, RunOptions

CoreMlWish = Literal["auto", "none", "fp16", "fp32", "int8"]
WISHES: tuple[CoreMlWish, ...] = get_args(CoreMlWish)
Convert = Callable[[Source, TargetEntry], Converted | str]
_MORE = "docs/packages-mobile.md"


def wish(text: str) -> CoreMlWish:
    """What a user asks for.

    Raises:
        InputError: it is none of the wishes.
    """
    for known in WISHES:
        if text == known:
            return known
    raise UnknownNameError("precision of Core ML", text, WISHES, listing="edgekit package --help")


def converter(
    recipe: Path | None, *, wish: CoreMlWish, progress: Progress, cache_dir: Path | None = None
) -> Convert:
    """The function; it raises for a wish that is not "auto" and cannot be met."""

    def convert(source: Source, entry: TargetEntry) -> Converted | str:
        if wish == "none":
            return "not asked for"
        reason = _why_not(recipe, entry)
        if reason:
            if wish == "auto":
                return reason
            raise InputError(
                f"no .mlpackage of {source.manifest.name}: {reason}",
                why=f"{wish} was asked for by name",
                remedy="give the recipe with --recipe, or --coreml auto",
                more=_MORE,
            )
        try:
            return _converted(source, recipe or Path(), wish, progress, cache_dir)
        except (TargetRefusalError, MissingBackendError) as error:  # N3, N4
            if wish != "auto":
                raise
            return f"{error.what} ({error.remedy})" if error.remedy else error.what

    return convert


def _why_not(recipe: Path | None, entry: TargetEntry) -> str:
    """N1 and N2."""
    if recipe is None:
        return "the bundle does not hold its source, and no recipe was named (--recipe)"
    if entry.processing.embedded:
        steps = ", ".join(entry.processing.embedded)
        return f"the artifact has {steps} inside, which the float model has not"
    return ""


def _converted(
    source: Source, recipe: Path, wish: CoreMlWish, progress: Progress, cache_dir: Path | None
) -> Converted:
    plan = plans.make(recipe)
    with caches.opened(cache_dir or settings.cache_dir(), use=True) as cache:
        canonical = models.obtain(
            plan.request, tolerance=plan.recipe.model.tolerance, cache=cache, progress=progress
        )
        _require_same(source, canonical, recipe)
        progress.stage("convert for Core ML")
        inputs = golden.prepared(source.golden_raw(), source.manifest.processing)
        with open_model(canonical.model, RunOptions()) as session:
            outputs = golden.record(session, inputs)
        samples: dict[str, Array] = {f"input/{name}": value for name, value in inputs.items()}
        samples |= {f"output/{name}": value for name, value in outputs.items()}
        precision = "fp16" if wish == "auto" else wish
        made = coreml.convert(canonical.model, precision=precision, samples=samples)
    _require_close(made)
    return Converted(
        files=made.files,
        precision=made.precision,
        features={each.name: each.feature for each in (*made.inputs, *made.outputs)},
        outputs=outputs,
        weights=made.weights,
        ran=made.ran,
        drift=made.drift,
        tools=made.tools,
    )


def _require_same(source: Source, canonical: Canonical, recipe: Path) -> None:
    """The recipe's model is the one that the bundle was made from.

    Raises:
        VerificationError: it is another, or was changed since.
        TargetRefusalError: N3.
    """
    if canonical.digest != source.manifest.model_digest:
        raise VerificationError(
            f"{recipe} gives another model than the bundle was made from",
            why=f"digest {canonical.digest[:12]} instead of {source.manifest.model_digest[:12]}",
            remedy="check out the source of that release, or release again",
            more=_MORE,
        )
    if canonical.quantized:
        raise TargetRefusalError(
            "the source came quantized",
            why="Core ML gets the float model, and its scales would be lost",
            remedy="take the package without Core ML (--coreml none)",
            more=_MORE,
        )


def _require_close(made: coreml.CoreMl) -> None:
    """What ran (on macOS) computes what the float model does.

    Raises:
        TargetRefusalError: it does not.
    """
    limit = OF_RANGE[made.precision]
    if made.drift is not None and not made.drift <= limit:
        raise TargetRefusalError(
            f"the .mlpackage is {made.drift:.2g} of the range from the float model, allowed are {limit:g}",
            why=f"measured on {made.ran} with the golden samples",
            remedy="take another precision (--coreml fp32), or none",
            more=_MORE,
        )
