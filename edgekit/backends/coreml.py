"""Canonical float model -> CoreMl: the files of a .mlpackage, and what is known about them.

    Model --worker: coreml_program.write_package--> files, interface, weights compared, run where macOS is

No target: Core ML runs on Apple's systems alone, and an artifact that edgekit cannot open is no candidate. It
goes into the package for iOS beside the LiteRT model, marked with what was and was not done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit import drafts
from edgekit.backends import torch_module
from edgekit.backends.coreml_program import INSTALL, PRECISIONS
from edgekit.backends.installed import installed_version
from edgekit.backends.worker import call_in_worker
from edgekit.backends.worker_process import EngineError
from edgekit.errors import InputError, MissingBackendError, TargetRefusalError
from edgekit.ir import io
from edgekit.spec import Array

_WRITE = "edgekit.backends.coreml_program:write_package"


@dataclass(frozen=True)
class Feature:
    """An input or output: name in the model, name in Core ML, sizes, element type."""

    name: str
    feature: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class CoreMl:
    """A converted model.

    Attributes:
        files: of the .mlpackage, by relative path.
        precision: "fp16", "fp32" or "int8".
        weights: how many constants of the float model are in it unchanged, "9 of 9".
        ran: where it ran, "" = it was converted and not run.
        drift: largest difference from the float model there, as a part of the output's range.
        tools: name -> version.
    """

    files: Mapping[str, bytes]
    precision: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    weights: str
    ran: str
    drift: float | None
    tools: Mapping[str, str]


def convert(model: ir.Model, *, precision: str, samples: Mapping[str, Array]) -> CoreMl:
    """Convert the float model, with a batch of 1.

    Args:
        model: canonical, float.
        precision: one of ``PRECISIONS``.
        samples: "input/<name>" and "output/<name>", (samples, ...): what the float model computes.

    Raises:
        InputError: ``precision`` is unknown, or the model has another open size.
        MissingBackendError: coremltools or PyTorch is not installed.
        TargetRefusalError: the model has an operator that cannot be converted.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"unknown Core ML precision {precision!r}",
            why=f"known: {', '.join(PRECISIONS)}",
            remedy="correct --coreml, or coreml under [[package]]",
        )
    for package in ("coremltools", "torch"):
        if not installed_version(package):
            raise MissingBackendError(
                f"{package} is not installed, and a .mlpackage needs it",
                why="it is an optional part of edgekit (extra 'coreml')",
                remedy=INSTALL,
            )
    rejections = tuple(torch_module.rejections(model))
    if rejections:
        raise TargetRefusalError(
            f"Core ML cannot take {rejections[0].node}: {rejections[0].reason}",
            why="edgekit has no counterpart of it",
            remedy="take the package without Core ML (--coreml none)",
            rejections=rejections,
        )
    with drafts.temporary("edgekit-coreml-") as text:
        return _converted(model, text, precision, samples)


def _converted(model: ir.Model, folder: Path, precision: str, samples: Mapping[str, Array]) -> CoreMl:
    source = io.save(model, folder / "model.onnx")[0]
    np.savez(folder / "samples.npz", **samples)  # type: ignore[arg-type]
    out = folder / "out"
    out.mkdir()
    arguments = {
        "source": str(source),
        "out": str(out),
        "precision": precision,
        "samples": str(folder / "samples.npz"),
    }
    try:
        facts = call_in_worker(_WRITE, arguments, subject="coremltools", doing="converting the model")
    except EngineError as error:
        raise TargetRefusalError(
            f"coremltools cannot convert the model: {error.why.splitlines()[0] if error.why else error.what}",
            why="the conversion is coremltools' own",
            remedy="take the package without Core ML (--coreml none)",
        ) from error
    kept = (out / "Manifest.json", *sorted((out / "Data").rglob("*")))
    return CoreMl(
        files={path.relative_to(out).as_posix(): path.read_bytes() for path in kept if path.is_file()},
        precision=precision,
        inputs=_features(facts["inputs"]),
        outputs=_features(facts["outputs"]),
        weights=facts["weights"],
        ran=facts["ran"],
        drift=facts["drift"],
        tools=facts["tools"],
    )


def _features(rows: list[dict[str, object]]) -> tuple[Feature, ...]:
    return tuple(
        Feature(str(row["name"]), str(row["feature"]), tuple(row["shape"]), str(row["dtype"]))  # type: ignore[arg-type]
        for row in rows
    )
