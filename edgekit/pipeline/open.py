"""Path -> Artifact -> Session: what a user may name where a verb takes an ARTIFACT.

A1 a file with a sidecar (what `compile` wrote) · A2 a plain .onnx, .tflite or .xml, by its own interface ·
A3 a folder with one sidecar · A4 a bundle, with a target where it holds several. Anything else is an error
that says what is missing. Where several artifacts are welcome (`validate`), a folder or a bundle stands for
all that it holds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import file_entries
from edgekit.bundle import manifest
from edgekit.errors import InputError, UnknownNameError
from edgekit.ir import io
from edgekit.ir.verify import is_quantized
from edgekit.pipeline import artifact as artifacts
from edgekit.pipeline import compiled_file
from edgekit.spec import Artifact, IoBinding, Precision, RunOptions, Session, TensorSpec

_PLAIN_TARGET = "onnxruntime-cpu"


def open_artifact(
    artifact: Artifact | str | Path, *, threads: int | None = None, target: str | None = None
) -> Session:
    """Open an artifact on its real runtime.

    Raises:
        InputError: the path is no artifact.
        MissingBackendError: the runtime or the device is not here.
    """
    found = artifact if isinstance(artifact, Artifact) else artifact_at(Path(artifact), target=target)
    options = replace(found.options, threads=threads) if threads else found.options
    return registry.backend(found.backend).open(found, options)


def artifact_at(path: Path, *, target: str | None = None) -> Artifact:
    """The artifact at ``path`` (A1 to A4 of this module).

    Raises:
        InputError: nothing there, or nothing that edgekit can open.
        MissingBackendError: a bare compiled file whose reader is not installed.
        UnknownNameError: the bundle has no such target.
    """
    if not path.exists():
        raise InputError(
            f"{path} does not exist", why="an artifact is a file or a folder", remedy="correct the path"
        )
    if path.is_dir():
        return _in_folder(path, target)
    sidecar = path.with_name(path.name + ".json")
    if sidecar.is_file():
        return artifacts.read(sidecar)
    if path.suffix == ".onnx":
        return _plain_onnx(path)
    if compiled_file.is_compiled(path):
        return compiled_file.artifact(path)
    raise InputError(
        f"{path} has no description beside it ({sidecar.name})",
        why="the file alone determines neither layouts nor run options",
        remedy="keep the two files together, or compile the model again",
    )


def artifacts_at(path: Path) -> dict[str, Artifact]:
    """Every artifact at ``path`` by name: the path itself for a file (A1, A2), else the files in it (A3, A4).

    Raises:
        InputError: nothing there, or nothing that edgekit can open.
        MissingBackendError: a bare compiled file whose reader is not installed.
    """
    if not path.is_dir():
        return {str(path): artifact_at(path)}
    if (path / manifest.FILE_NAME).is_file():
        held = list(manifest.load(path).artifacts(path).values())
    else:
        held = [artifacts.read(sidecar) for sidecar in _sidecars(path)]
    if not held:
        return {str(path): artifact_at(path)}  # says what is missing
    return {str(each.path): each for each in held}


def _sidecars(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.json") if p.with_suffix("").is_file())


def _in_folder(folder: Path, target: str | None) -> Artifact:
    if (folder / manifest.FILE_NAME).is_file():
        return _in_bundle(folder, target)
    found = [artifacts.read(sidecar) for sidecar in _sidecars(folder)]
    if target:
        found = [each for each in found if each.target == target]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{folder} holds {len(found)} artifacts" + (f" for {target}" if target else ""),
        why="one is needed",
        remedy="name the file"
        if found
        else "compile a model into it: `edgekit compile MODEL.onnx --target T -o OUTDIR`",
    )


def _in_bundle(folder: Path, target: str | None) -> Artifact:
    held = manifest.load(folder).artifacts(folder)
    if target is None and len(held) == 1:
        return next(iter(held.values()))
    if target is None:
        raise InputError(
            f"bundle {folder} holds {len(held)} targets: {', '.join(held)}",
            why="one of them is to be opened",
            remedy='name it: edgekit.open(bundle, target="...")',
        )
    if target not in held:
        raise UnknownNameError("target of the bundle", target, held, listing=f"edgekit inspect {folder}")
    return held[target]


def _plain_onnx(path: Path) -> Artifact:
    from edgekit.pipeline.model import PRECISION_KEY  # front ends come with it

    model = io.load(path)
    inputs, outputs = io.specs(model)
    target = targets.load(_PLAIN_TARGET)
    said = model.metadata_props.get(PRECISION_KEY, Precision.W8A8 if is_quantized(model) else Precision.FP32)
    return Artifact(
        folder=path.parent,
        files=file_entries(path.parent, [path.name]),
        target=target.name,
        backend=target.backend,
        precision=Precision(said),
        options=RunOptions(),
        inputs=tuple(_same(spec) for spec in inputs),
        outputs=tuple(_same(spec) for spec in outputs),
        notes=("a plain ONNX file, opened on ONNX Runtime's CPU provider",),
    )


def _same(spec: TensorSpec) -> IoBinding:
    return IoBinding(reference=spec, name=spec.name, dtype=spec.dtype, shape=spec.shape)
