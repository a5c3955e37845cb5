"""`calibrate`: float model x data -> ranges.json."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from edgekit import dataset, settings
from edgekit.errors import InputError
from edgekit.pipeline import model as models
from edgekit.pipeline import ranges as calibration
from edgekit.pipeline import steps
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.ranges import Calibrated
from edgekit.pipeline.result import CalibrateResult
from edgekit.pipeline.write import write_text
from edgekit.preprocess import Step
from edgekit.spec import Progress, Ranges, from_json, to_json

_SCHEMA = "edgekit/ranges/2"  # 1 had no histograms, and percentiles of other bins


@blames_model
def calibrate(
    model: Path,
    *,
    calibration_data: object,
    out: Path,
    method: str,
    samples: int | None,
    seed: int,
    progress: Progress,
    preprocess: Path | None = None,
    cache_dir: Path | None = None,
) -> CalibrateResult:
    """Learn the ranges of ``model`` from ``calibration_data`` and write them to ``out``.

    ``calibration_data`` is a source as on the command line, or an object that ``dataset.load_object`` takes;
    ``preprocess`` is a file of steps (``steps.read``) from its samples to the model's inputs.
    """
    cache = Cache(cache_dir or settings.cache_dir())
    canonical = models.canonical_file(model, cache=cache, progress=progress)
    found = learn(
        canonical,
        calibration_data,
        method=method,
        samples=samples,
        seed=seed,
        preprocess=steps.read(preprocess),
        cache=cache,
        progress=progress,
    )
    write_text(out, json.dumps({"schema": _SCHEMA, **to_json(found.ranges)}, indent=1, sort_keys=True) + "\n")
    return CalibrateResult(
        path=out,
        method=method,
        samples=found.ranges.samples,
        tensors=len(found.ranges.tensors),
        counted=len(found.ranges.histograms),
        findings=found.findings,
    )


def learn(
    canonical: Canonical,
    source: object,
    *,
    method: str,
    samples: int | None,
    seed: int,
    preprocess: tuple[Step, ...] = (),
    cache: Cache,
    progress: Progress,
) -> Calibrated:
    """Ranges of ``canonical`` on the data that a flag names, or that was handed in.

    Raises:
        InputError: the model is quantized already.
        DataError: the data does not fit.
    """
    data = load(canonical, source, samples=samples, seed=seed, preprocess=preprocess)
    return calibration.obtain(canonical, data, method=method, cache=cache, progress=progress)


def load(
    canonical: Canonical,
    source: object,
    *,
    samples: int | None,
    seed: int,
    preprocess: tuple[Step, ...] = (),
) -> dataset.Dataset:
    """The calibration data that a flag names, or that was handed in.

    Raises:
        InputError: the model is quantized already.
        DataError: the data does not fit.
    """
    require_float(canonical)
    if isinstance(source, str | Path):
        request = dataset.DataSource(str(source), samples=samples, seed=seed)
        data = dataset.load(request, inputs=canonical.inputs, base=Path.cwd(), preprocess=preprocess)
    else:
        data = dataset.load_object(
            source, inputs=canonical.inputs, samples=samples, seed=seed, preprocess=preprocess
        )
    dataset.check(data, canonical.inputs)
    return data


def require_float(canonical: Canonical) -> None:
    """Raise InputError where there is nothing to calibrate or quantize any more."""
    if canonical.quantized:
        raise InputError(
            "the model is quantized already",
            why="its scales and zero points are its own, and are kept",
            remedy="compile it as it is: `edgekit compile MODEL.onnx --target T -o OUTDIR`, "
            "or give the float original",
        )


def read(path: Path, *, canonical: Canonical) -> Ranges:
    """The ranges in a file that `calibrate` wrote for this very model.

    Raises:
        InputError: unreadable, or made for another model.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        schema = document.pop("schema")
        found = from_json(Ranges, document)
    except (OSError, ValueError, KeyError, AttributeError, ValidationError) as error:
        raise InputError(
            f"ranges file {path} cannot be read", why=str(error), remedy="make it with `edgekit calibrate`"
        ) from error
    if schema != _SCHEMA:
        raise InputError(
            f"ranges file {path} has the schema {schema!r}, and this edgekit reads {_SCHEMA!r}",
            why="what a range was made from has changed since",
            remedy="calibrate again: `edgekit calibrate MODEL.onnx --calibration-data D -o ranges.json`",
        )
    if found.model_digest != canonical.digest:
        raise InputError(
            f"ranges file {path} was made for another model",
            why=f"it names model {found.model_digest[:12]}, and this one is {canonical.digest[:12]}",
            remedy="calibrate this model: `edgekit calibrate MODEL.onnx --calibration-data D -o ranges.json`",
        )
    return found
