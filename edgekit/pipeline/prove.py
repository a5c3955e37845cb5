"""Export x its framework (or, for ONNX, the file itself) -> ParityReport, or ParityError.

Imported where there is something to prove: it brings ONNX Runtime's back end and the data sets.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgekit import dataset
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker_process import EngineError
from edgekit.dataset import DataSource
from edgekit.errors import ExportError, ParityError
from edgekit.frontends import parity
from edgekit.frontends.parity import ParityReport
from edgekit.frontends.source import Loaded, SourceRequest
from edgekit.ir.verify import is_quantized
from edgekit.preprocess import Step, preprocess_id
from edgekit.spec import Feeds, Runner, RunOptions, TensorSpec

PARITY_SEED = 0
PARITY_SAMPLES, PARITY_BATCH = 16, 8  # of the calibration data: real values, on top of the random ones
HASHED_BYTES = 256_000_000  # a data file above this is not read only to make a cache key


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


def prove(
    request: SourceRequest, loaded: Loaded, *, model: ir.Model, tolerance: float, data: ParityData | None
) -> ParityReport:
    """Run both, beside each other; ``model`` is the canonical form of what was loaded.

    Raises:
        ExportError: ONNX Runtime cannot run it.
        ParityError: it computes something else.
        DataError: ``data`` does not fit the model.
    """
    with _explained(request), _reference(loaded) as reference, open_model(model, RunOptions()) as candidate:
        report = parity.check(
            reference,
            candidate,
            tolerance=tolerance,
            seed=PARITY_SEED,
            data=data.feeds(reference.inputs) if data else (),
            output_steps=_steps(loaded, model),
        )
    return _held(request, loaded, report)


def record(request: SourceRequest, loaded: Loaded, *, data: ParityData | None) -> parity.Recorded:
    """What the source computes: the first half of ``prove``. Nobody needs the framework behind it.

    A runtime keeps its own copy of the weights, arranged for its kernels: of a large model there is one at a
    time, and the module that it was made of is none of them.

    Raises:
        ExportError, DataError: as ``prove``.
    """
    with _explained(request), _reference(loaded) as reference:
        given = data.feeds(reference.inputs) if data else ()
        return parity.record(reference, seed=PARITY_SEED, data=given)


def prove_recorded(
    request: SourceRequest, loaded: Loaded, recorded: parity.Recorded, *, model: ir.Model, tolerance: float
) -> ParityReport:
    """The second half; of ``loaded`` only what it says about itself is asked.

    Raises:
        ExportError, ParityError: as ``prove``.
    """
    with _explained(request), open_model(model, RunOptions()) as candidate:
        report = parity.check_recorded(
            recorded, candidate, tolerance=tolerance, output_steps=_steps(loaded, model)
        )
    return _held(request, loaded, report)


@contextmanager
def _explained(request: SourceRequest) -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise ExportError(
            f"{request.source} holds something that ONNX Runtime, the float reference, cannot run",
            why=error.why,
            remedy="remove or replace the operator that the message names",
        ) from error


def _held(request: SourceRequest, loaded: Loaded, report: ParityReport) -> ParityReport:
    if not report.passed:
        raise _differs(request, loaded, report)
    return report


def _steps(loaded: Loaded, model: ir.Model) -> Mapping[str, float] | None:
    return loaded.output_steps if is_quantized(model) else None


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
