"""Source -> canonical model, proved against its framework (or, for ONNX, against the file itself).

A source that is quantized already stays so: its scales and zero points are the truth, nothing is calibrated,
and it is proved in quantization steps.

An ONNX file that is canonical already (equal digests) is its own proof. Nothing runs for it, and the cache
keeps no copy of it.

A large model is written before it is proved, and read again as a map of its file: what the passes made new is
in memory no longer when the runtimes make their own copies.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgekit import drafts, settings
from edgekit.frontends import parity
from edgekit.frontends.parity import ParityReport
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import digest, io
from edgekit.ir.external_data import is_large
from edgekit.ir.graph import is_onnx, walk
from edgekit.ir.verify import is_quantized
from edgekit.passes import canonicalize
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.metadata_keys import LINEAGE_KEY
from edgekit.pipeline.source_digest import source_digest
from edgekit.pipeline.versions import tools
from edgekit.spec import Progress, Runner, TensorSpec, from_json, to_json
from edgekit.user_code import file_digest, imported_files

if TYPE_CHECKING:
    from edgekit.pipeline.prove import ParityData

# An ONNX file is canonicalized with this: passes keep numerics, folding a BatchNorm rounds once.
ONNX_TOLERANCE = 1e-4
PRECISION_KEY = "edgekit.precision"
"""Metadata of an ONNX file whose weights are integers: what `edgekit quantize` made them for."""
_MODEL, _FACTS = "model.onnx", "facts.json"
_CHANGES = 4  # a module that imports others now than it did is known after one more round


@dataclass(frozen=True)
class Canonical:
    """The canonical model: the truth that every candidate is made from and held against.

    Attributes:
        parity: how far it is from its framework.
        quantized: whether the source came quantized; then ``model`` is its QDQ form.
        output_steps: of a quantized source, one quantization step by output name, as far as known.
        notes: what the front end wants the user to know.
        said_precision: what the file says of itself (``PRECISION_KEY``), or "".
        origin: key of the cached export: equal ones are of equal models. "" where nothing is cached.
        exported: ``ir.digest`` of what the framework exported; "" where the file is read as it is.
        lineage: what the file says about its own making (``LINEAGE_KEY``), where that is about this graph.
    """

    model: ir.Model
    framework: str
    parity: ParityReport
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    quantized: bool = False
    output_steps: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    said_precision: str = ""
    origin: str = ""
    exported: str = ""
    lineage: str = ""

    @cached_property
    def digest(self) -> str:
        """``ir.digest`` of the model; all its weights are read for it, and compiling does not ask."""
        return digest.digest(self.model)


def obtain(
    request: SourceRequest,
    *,
    tolerance: float,
    cache: Cache,
    progress: Progress,
    data: ParityData | None = None,
    live: list[Runner] | None = None,
) -> Canonical:
    """Load, canonicalize and prove a source; out of the cache while nothing it may read has changed.

    ``live`` gets the framework as a runner, where it was loaded and not taken out of the cache.

    Raises:
        ExportError: the source cannot be exported.
        ParityError: its ONNX form computes something else.
        DataError: ``data`` does not fit the model.
    """
    progress.stage(f"export {request.source}")
    weights = str(request.weights) if request.weights else None
    loaded: Loaded | None = None
    with ThreadPoolExecutor(max_workers=1) as second:
        hashed = second.submit(source_digest, request.source, base=request.base, weights=weights)
        if request.source.endswith(".onnx"):  # meanwhile: it is needed, unless its canonical form is cached
            loaded = load(request)
        files = hashed.result()
    if files is None:
        progress.note("export is not cached: the source's folder is too large to hash")
        with drafts.temporary() as scratch:
            model, facts = _make(request, loaded, folder=scratch, tolerance=tolerance, data=data, live=live)
            return _canonical(model, facts)
    key = {
        "source": request.source,
        "files": files,
        "inputs": [str(spec) for spec in request.inputs],
        "dynamic": {name: {str(k): v for k, v in axes.items()} for name, axes in request.dynamic.items()},
        "opset": request.opset,
        "trust": request.trust_source,
        "tolerance": tolerance,
        "data folder": str(settings.data_dir()),  # a builder may choose its weights by it
        "data": data.identity() if data else None,
        "tools": tools("torch", "keras", "litert"),
    }

    made: list[Canonical] = []

    def make(folder: Path) -> None:
        model, facts = _make(request, loaded, folder=folder, tolerance=tolerance, data=data, live=live)
        if facts["canonical"]:
            made.append(_canonical(model, facts))
        elif not (folder / _MODEL).exists():
            io.save_to_map(model, folder / _MODEL)
        else:
            del model  # the map of a file in a folder that is about to be renamed
            gc.collect()
        (folder / _FACTS).write_text(json.dumps(facts))

    entry = _entry(cache, key, make)
    # What was saved is read again: a model just exported and the same one out of its file must not differ
    # in the last detail, or the second release would not follow the first one's lock.
    return replace(made[-1] if made else _read(entry, request, loaded), origin=entry.name)


def canonical_file(path: Path, *, cache: Cache, progress: Progress) -> Canonical:
    """The canonical form of an ONNX file, proved against the file itself."""
    request = SourceRequest(source=str(path.resolve()), base=path.resolve().parent)
    return obtain(request, tolerance=ONNX_TOLERANCE, cache=cache, progress=progress)


def _entry(cache: Cache, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The export's folder, whose builder imported the files that are there now."""
    entry = cache.folder("export", key, make)
    for _ in range(_CHANGES):
        known = _facts(entry)["imported"]
        now = {path: file_digest(Path(path)) for path in known}
        if now == known:
            break
        key = {**key, "imported": now}
        entry = cache.folder("export", key, make)
    return entry


def _facts(entry: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((entry / _FACTS).read_text())
    return facts


def _read(entry: Path, request: SourceRequest, loaded: Loaded | None) -> Canonical:
    facts = _facts(entry)
    if facts["canonical"]:
        return _canonical(canonicalize((loaded or load(request)).model), facts)
    return _canonical(io.load(entry / _MODEL), facts)


def _make(
    request: SourceRequest,
    loaded: Loaded | None,
    *,
    folder: Path,
    tolerance: float,
    data: ParityData | None,
    live: list[Runner] | None,
) -> tuple[ir.Model, dict[str, Any]]:
    loaded = loaded or load(request)
    if live is not None and loaded.reference is not None:
        live.append(loaded.reference)
    model = canonicalize(loaded.model)
    quantized = is_quantized(model)
    canonical = loaded.reference is None and digest.equal(model, loaded.model)
    exported = digest.digest(loaded.model) if loaded.reference is not None else ""
    lineage, doubts = _lineage(loaded.model)
    said_precision = loaded.model.metadata_props.get(PRECISION_KEY, "")
    if canonical:
        report = parity.identical((value.name or "" for value in model.graph.outputs), tolerance=tolerance)
    else:
        # later: a canonical file needs no proof, and no runtime
        from edgekit.backends import resident
        from edgekit.pipeline import prove

        if is_large(model):
            io.save_to_map(model, folder / _MODEL)
            model = io.load(folder / _MODEL)
            gc.collect()  # graphs are cycles: without it their arrays stay
            recorded = prove.record(request, loaded, data=data)
            loaded = replace(loaded, model=model, reference=None)  # the framework's own weights go
            gc.collect()
            resident.given_back()
            report = prove.prove_recorded(request, loaded, recorded, model=model, tolerance=tolerance)
        else:
            report = prove.prove(request, loaded, model=model, tolerance=tolerance, data=data)
    facts = {
        "framework": loaded.framework,
        "parity": to_json(report),
        "quantized": quantized,
        "canonical": canonical,
        "exported": exported,
        "lineage": lineage,
        "output_steps": dict(loaded.output_steps),
        "notes": [*loaded.notes, *_loop_note(model), *doubts],
        "said_precision": said_precision,
        # What a builder imports from outside its folder; its own folder is in the key as a whole.
        "imported": imported_files() if ":" in request.source else {},
    }
    return model, facts


def _loop_note(model: ir.Model) -> tuple[str, ...]:
    """What a loop that stayed a loop means: exact, and never quantized."""
    loops = [node.name or node.op_type for node in walk(model) if is_onnx(node, "Loop")]
    if not loops:
        return ()
    text = (
        f"a loop stays a Loop ({', '.join(loops[:3])}), whose body stays in float: where it is a SimpleRNN "
        "in a SavedModel, export the .keras file or the builder instead, where it is one operator"
    )
    return (text,)


def _lineage(loaded: ir.Model) -> tuple[str, tuple[str, ...]]:
    """What the file says about its making, and the note where that is not about the graph in it."""
    said = loaded.metadata_props.get(LINEAGE_KEY, "")
    if not said:
        return "", ()
    from edgekit.pipeline.lineage import is_about

    if is_about(said, digest.digest(loaded)):
        return said, ()
    note = (
        f"the file's metadata ({LINEAGE_KEY}) is about another graph (it was changed after edgekit "
        "wrote it, or its inputs are given other sizes): the provenance starts with the file"
    )
    return "", (note,)


def _canonical(model: ir.Model, facts: dict[str, Any]) -> Canonical:
    inputs, outputs = io.specs(model)
    return Canonical(
        model=model,
        framework=facts["framework"],
        parity=from_json(ParityReport, facts["parity"]),
        inputs=inputs,
        outputs=outputs,
        quantized=facts["quantized"],
        output_steps={**(_written_steps(model) if facts["quantized"] else {}), **facts["output_steps"]},
        notes=tuple(facts["notes"]),
        said_precision=facts["said_precision"],
        exported=facts["exported"],
        lineage=facts["lineage"],
    )


def _written_steps(model: ir.Model) -> dict[str, float]:
    from edgekit.quantization.apply import (
        written_output_steps,  # with plans and rules: quantized models alone
    )

    return written_output_steps(model)
