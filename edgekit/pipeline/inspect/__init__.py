"""`inspect`: model file, artifact or bundle -> what is inside. Nothing of it is run.

.onnx          facts, costs, and every shipped target's answer to "would you take it?"
.tflite, .xml  facts and costs; with a description beside it, in the terms of the model it stands for
bundle         one row per artifact, with the figures of its evidence
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.bundle import manifest
from edgekit.errors import InputError
from edgekit.ir import io
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.compiled_file import is_compiled
from edgekit.pipeline.inspect.bundle_folder import inspect_bundle
from edgekit.pipeline.inspect.compiled import inspect_artifact, inspect_compiled
from edgekit.pipeline.inspect.fit import fits
from edgekit.pipeline.inspect.onnx_file import inspect_model
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.result import InspectResult
from edgekit.spec import Progress, Silent


@blames_model
def inspect(path: Path, *, progress: Progress | None = None) -> InspectResult:
    """Look into ``path``.

    Raises:
        InputError: not there, damaged, or neither model, artifact nor bundle.
        MissingBackendError: a .tflite file, and the package that holds its schema is not installed.
        VerificationError: a bundle that is damaged.
    """
    if path.is_dir() and (path / manifest.FILE_NAME).is_file():
        return inspect_bundle(path)
    if path.suffix == ".onnx" and not path.is_dir():
        model = io.load(path)
        found = inspect_model(model, path)
        return replace(found, targets=fits(model, progress=progress or Silent()))
    if path.is_dir() or not path.exists() or path.with_name(path.name + ".json").is_file():
        return inspect_artifact(path, artifact_at(path))
    if is_compiled(path):
        return inspect_compiled(path)
    if path.suffix == ".toml":
        raise InputError(
            f"{path} is a recipe, not a model",
            why="what it describes is looked into where a release has written it",
            remedy=f"`edgekit release {path} -o dist/`, and then `edgekit inspect` its folder in dist/",
        )
    raise InputError(
        f"{path} is no file that edgekit can look into",
        why="it reads .onnx, .tflite, OpenVINO's .xml, and folders that `compile` or `release` wrote",
        remedy=f"export a model to ONNX first: `edgekit export {path.name} -o model.onnx`",
    )
