"""Variant x target -> Artifact on disk, out of the cache where possible; Artifact <-> JSON sidecar."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from edgekit import drafts
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest, IoForm, ModelInfo
from edgekit.backends.refusal import refuse
from edgekit.errors import InputError
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.came import Variant
from edgekit.pipeline.versions import tools
from edgekit.spec import Artifact, Rejection, RunOptions, from_json, to_json
from edgekit.target import Target
from edgekit.write_errors import cannot_write

_SIDECAR = "artifact.json"
WITH_IO_FORMS = frozenset({"litert"})
"""Back ends whose files may have other inputs and outputs than the model: integer ones, or permuted."""


def obtain(
    variant: Variant,
    target: Target,
    options: RunOptions,
    *,
    stem: str,
    cache: Cache,
    io: IoForm | None = None,
    info: ModelInfo | None = None,
) -> Artifact:
    """Compile ``variant`` for ``target``.

    Args:
        variant: what to compile.
        target: what for.
        options: how the artifact will be opened.
        stem: ``<name>-<version>``.
        cache: holds what was compiled before.
        io: element type and layout of the artifact's own inputs and outputs.
        info: what the file may say about the model.

    Raises:
        TargetRefusalError: the target cannot hold it.
        MissingBackendError: the compiler's packages are not installed.
    """
    backend = registry.backend(target.backend)
    form = _io_form(io or IoForm(), target)
    said = info if target.backend in WITH_IO_FORMS else None
    request = CompileRequest(
        model=variant.model,
        target=target,
        precision=variant.precision,
        options=options,
        stem=f"{stem}-{target.name}-{variant.precision}",
        plan_digest=variant.plan_digest,
        output_steps=variant.output_steps,
        io=form,
        info=said,
    )
    key = {
        "model": variant.origin or variant.digest,
        "target": target.model_dump(mode="json", by_alias=True),
        "options": to_json(options),
        "stem": request.stem,
        "plan": variant.plan_digest,
        "tools": tools(target.extra),
        "io": to_json(form),
        "info": _identity(said),
    }

    def make(folder: Path) -> None:
        artifact = backend.compile(request, folder)
        (folder / _SIDECAR).write_text(json_of(artifact))

    folder = cache.folder("compile", key, make)
    return read(folder / _SIDECAR)


def _io_form(io: IoForm, target: Target) -> IoForm:
    """``io``, unless the target's files have the model's own inputs and outputs."""
    if io.dtype == "float32" or target.backend in WITH_IO_FORMS:
        return io
    raise refuse(
        target,
        (
            Rejection(
                node="",
                rule="io-dtype",
                reason=f"{io.dtype} inputs and outputs: its files take and give the model's own types",
                remedy="leave --io-dtype (io_dtype) out for this target",
            ),
        ),
    )


def _identity(info: ModelInfo | None) -> object:
    """What a cache key needs to know of ``info``: files by their digest."""
    if info is None:
        return None
    files = {name: hashlib.sha256(content).hexdigest() for name, content in info.files.items()}
    return {**to_json(replace(info, files={})), "files": files}


def json_of(artifact: Artifact) -> str:
    """The sidecar's text; the folder is left out, so that it is the same everywhere."""
    document = to_json(artifact)
    del document["folder"]
    return json.dumps({"schema": "edgekit/artifact/1", **document}, indent=1, sort_keys=True) + "\n"


def read(sidecar: Path) -> Artifact:
    """The artifact that ``sidecar`` describes, in the sidecar's folder.

    Raises:
        InputError: the sidecar is missing or damaged.
    """
    try:
        document = json.loads(sidecar.read_text("utf-8"))
        document.pop("schema")
        return from_json(Artifact, {**document, "folder": str(sidecar.parent)})
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise InputError(
            f"artifact description {sidecar} cannot be read",
            why=f"without it nobody knows how the file is to be opened ({error})",
            remedy="compile the model again: `edgekit compile MODEL.onnx --target T -o OUTDIR`",
        ) from error


def place_into(artifact: Artifact, folder: Path) -> Artifact:
    """Copy an artifact and its sidecar ``<main file>.json`` into ``folder``, each file by rename."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in artifact.files:
            with drafts.file(folder / entry.path) as draft:
                shutil.copyfile(artifact.folder / entry.path, draft)
        with drafts.file(folder / f"{artifact.files[0].path}.json") as draft:
            draft.write_text(json_of(artifact))
    except OSError as error:
        raise cannot_write(folder, error, elsewhere="choose another folder with -o") from error
    return replace(artifact, folder=folder)
