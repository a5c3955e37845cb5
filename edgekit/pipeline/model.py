"""Source -> canonical model, proved against its framework (or, for ONNX, against the file itself).

A source that is quantized already stays so: its scales and zero points are the truth, nothing is calibrated,
and it is proved in quantization steps.

An ONNX file that is canonical already (equal digests) is its own proof. Nothing runs for it, and the cache
keeps no copy of it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgekit import dataset, settings
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker_process import EngineError
from edgekit.dataset import DataSource
from edgekit.errors import ExportError, ParityError
from edgekit.frontends import parity
from edgekit.frontends.parity import ParityReport
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import digest, io
from edgekit.ir.graph import is_onnx, walk
from edgekit.ir.verify import is_quantized
from edgekit.passes import canonicalize
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.plan import source_digest
from edgekit.pipeline.versions import tools
from edgekit.preprocess import Step, preprocess_id
from edgekit.quantization.apply import written_output_steps
from edgekit.spec import Feeds, Progress, Runner, RunOptions, TensorSpec, from_json, to_json
from edgekit.user_code import file_digest, imported_files

PARITY_SEED = 0
PARITY_SAMPLES, PARITY_BATCH = 16, 8  # of the calibration data: real values, on top of the random ones
HASHED_BYTES = 256_000_000  # a data file above this is not read only to make a cache key
PRECISION_KEY = "edgekit.precision"
"""Metadata of an ONNX file whose weights are integers: what `edgekit quantize` made them for."""
_MODEL, _FACTS = "model.onnx", "facts.json"
_CHANGES = 4  # a module that imports others now than it did is known after one more round


@dataclass(frozen=True)
class ParityData:
    """Real inputs that an export is proved on besides random ones.

    Attributes:
        source: as a recipe or a flag names it.
        base: folder that relative paths start from.
        preprocess: from the raw sample to the model's input.
    """

    source: DataSource
    base: Path
    preprocess: tuple[Step, ...] = ()

    def identity(self) -> dict[str, object]:
        """What a cached proof depends on; the content of a file, not its age."""
        path = self.base / self.source.source
        content = ""
        if path.is_file() and path.stat().st_size <= HASHED_BYTES:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "source": self.source.source,
            "split": self.source.split,
            "samples": self.source.samples,
            "seed": self.source.seed,
            "preprocess": preprocess_id(self.preprocess),
            "content": content,
        }

    def feeds(self, inputs: tuple[TensorSpec, ...]) -> list[Feeds]:
        """The first samples, in batches that the model takes.

        Raises:
            DataError: the data cannot be read, or does not fit the inputs.
        """
        data = dataset.load(self.source, inputs=inputs, base=self.base, preprocess=self.preprocess)
        dataset.check(data, inputs)
        fixed = next(
            (spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)), None
        )
        size = fixed or PARITY_BATCH
        whole = (batch for batch in data.batches(size) if fixed is None or _length(batch) == size)
        return list(itertools.islice(whole, max(1, PARITY_SAMPLES // size)))


def _length(batch: Feeds) -> int:
    return len(next(iter(batch.values())))


@dataclass(frozen=True)
class Canonical:
    """The canonical model: the truth that every candidate is made from and held against.

    Attributes:
        parity: how far it is from its framework.
        quantized: whether the source came quantized; then ``model`` is its QDQ form.
        output_steps: of a quantized source, one quantization step by output name, as far as known.
        notes: what the front end wants the user to know.
        said_precision: what the file says of itself (``PRECISION_KEY``), or "".
    """

    model: ir.Model
    digest: str
    framework: str
    parity: ParityReport
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    quantized: bool = False
    output_steps: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    said_precision: str = ""


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
    files = source_digest(request.source, base=request.base, weights=weights)
    if files is None:
        progress.note("export is not cached: the source's folder is too large to hash")
        model, facts = _make(request, tolerance, data, live)
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
        model, facts = _make(request, tolerance, data, live)
        if facts["canonical"]:
            made.append(_canonical(model, facts))
        else:
            io.save(model, folder / _MODEL)
        (folder / _FACTS).write_text(json.dumps(facts))

    entry = _entry(cache, key, make)
    # What was saved is read again: a model just exported and the same one out of its file must not differ
    # in the last detail, or the second release would not follow the first one's lock.
    return made[-1] if made else _read(entry, request)


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


def _read(entry: Path, request: SourceRequest) -> Canonical:
    facts = _facts(entry)
    model = canonicalize(load(request).model) if facts["canonical"] else io.load(entry / _MODEL)
    return _canonical(model, facts)


def _make(
    request: SourceRequest, tolerance: float, data: ParityData | None, live: list[Runner] | None
) -> tuple[ir.Model, dict[str, Any]]:
    loaded = load(request)
    if live is not None and loaded.reference is not None:
        live.append(loaded.reference)
    model = canonicalize(loaded.model)
    quantized = is_quantized(model)
    canonical = loaded.reference is None and digest.digest(model) == digest.digest(loaded.model)
    report = _identical(model, tolerance) if canonical else _proved(request, loaded, model, tolerance, data)
    facts = {
        "framework": loaded.framework,
        "parity": to_json(report),
        "quantized": quantized,
        "canonical": canonical,
        "output_steps": dict(loaded.output_steps),
        "notes": [*loaded.notes, *_loop_note(model)],
        "said_precision": loaded.model.metadata_props.get(PRECISION_KEY, ""),
        # What a builder imports from outside its folder; its own folder is in the key as a whole.
        "imported": imported_files() if ":" in request.source else {},
    }
    return model, facts


def _loop_note(model: ir.Model) -> tuple[str, ...]:
    """What a loop that stayed a loop means: exact, and refused by most targets."""
    loops = [node.name or node.op_type for node in walk(model) if is_onnx(node, "Loop")]
    if not loops:
        return ()
    text = (
        f"a loop stays a Loop ({', '.join(loops[:3])}), which few targets take: where it is a SimpleRNN in a "
        "SavedModel, export the .keras file or the builder instead, where it is one operator"
    )
    return (text,)


def _identical(model: ir.Model, tolerance: float) -> ParityReport:
    return parity.identical((value.name or "" for value in model.graph.outputs), tolerance=tolerance)


def _proved(
    request: SourceRequest, loaded: Loaded, model: ir.Model, tolerance: float, data: ParityData | None
) -> ParityReport:
    try:
        with _reference(loaded) as reference, open_model(model, RunOptions()) as candidate:
            report = parity.check(
                reference,
                candidate,
                tolerance=tolerance,
                seed=PARITY_SEED,
                data=data.feeds(reference.inputs) if data else (),
                output_steps=loaded.output_steps if is_quantized(model) else None,
            )
    except EngineError as error:
        raise ExportError(
            f"{request.source} holds something that ONNX Runtime, the float reference, cannot run",
            why=error.why,
            remedy="remove or replace the operator that the message names",
        ) from error
    if not report.passed:
        raise _differs(request, loaded, report)
    return report


def _differs(request: SourceRequest, loaded: Loaded, report: ParityReport) -> ParityError:
    worst = report.worst
    if worst.steps_95 is not None and worst.steps_999 is not None:
        amount = (
            f"{worst.steps_95:.3g} quantization steps on 95 % of its values and {worst.steps_999:.3g} "
            f"on 99.9 % (limits {parity.STEPS_95:g} and {parity.STEPS_999:g})"
        )
    elif worst.relative <= report.tolerance:
        amount = f"its most likely class ({worst.label_agreement:.3%} agree)"
    else:
        amount = f"{worst.relative:.3g} of its range (tolerance {report.tolerance:g})"
    return ParityError(
        f"{request.source} computes something else as ONNX: output {worst.name!r} differs by {amount}",
        why=f"seen on {report.cases} inputs ({report.from_data} of them batches of your data), "
        f"{loaded.framework} against ONNX Runtime; largest difference {worst.max_abs:.3g}",
        remedy="look for operators with training behaviour or data-dependent branches; "
        "raise --tolerance (`tolerance` under [model]) only if the difference is understood",
    )


def _reference(loaded: Loaded) -> AbstractContextManager[Runner]:
    if loaded.reference is not None:
        return nullcontext(loaded.reference)
    return open_model(loaded.model, RunOptions())


def _canonical(model: ir.Model, facts: dict[str, Any]) -> Canonical:
    inputs, outputs = io.specs(model)
    return Canonical(
        model=model,
        digest=digest.digest(model),
        framework=facts["framework"],
        parity=from_json(ParityReport, facts["parity"]),
        inputs=inputs,
        outputs=outputs,
        quantized=facts["quantized"],
        output_steps={**(written_output_steps(model) if facts["quantized"] else {}), **facts["output_steps"]},
        notes=tuple(facts["notes"]),
        said_precision=facts["said_precision"],
    )


OpenModel = Callable[[ir.Model, RunOptions], Any]
