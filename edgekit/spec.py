"""The frozen leaf values that stages hand to each other: shapes, ranges, scales, artifacts, runners.

No behaviour beyond construction, parsing and JSON lives here, and nothing here imports a framework.
Affine quantization, everywhere in edgekit (TFLite quantization specification; ONNX QuantizeLinear):

    real = scale * (integer - zero_point)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum, StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]
else:
    Array = Any

Feeds = Mapping[str, Array]
"""Arrays by tensor name; axis 0 is the batch where the model has one."""

Dim = int | str | None
"""A size, the name of a dynamic size, or None where nothing is known."""


NO_CPU_FALLBACK = "session.disable_cpu_ep_fallback"
"""ONNX Runtime's session configuration key; "1" on a GPU unless a recipe allows otherwise."""

PORTABLE = "executorch.portable"
"""Setting of ExecuTorch's targets: "refuse" kernels outside of the delegate unless a recipe allows them."""

GPU_FALLBACK = "gpu.fallback"
"""Setting of LiteRT's GPU targets: "refuse" operators on the CPU unless a recipe allows them."""


ELEMENT_TYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)
"""What inputs and outputs may hold, by NumPy's (and ml_dtypes') names."""

if TYPE_CHECKING:
    ElementType: TypeAlias = str
    StoredType: TypeAlias = str
else:  # what is read back from a file is held to them
    ElementType = Literal[ELEMENT_TYPES]
    StoredType = Literal["int8", "uint8", "int16", "uint16", "int32", "int4", "uint4"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, NumPy dtype name ("float32", "int64") and shape of one input or output."""

    name: str
    dtype: ElementType
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        dims = "x".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}:{self.dtype}:{dims or 'scalar'}"

    @property
    def is_dynamic(self) -> bool:
        """Whether any axis has no fixed size."""
        return any(not isinstance(d, int) for d in self.shape)


Embedding = Literal["uint8-input", "normalize", "softmax", "sigmoid", "nms"]
"""A step of the app that may be done inside an artifact; docs/embed.md."""

Activation = Literal["none", "softmax", "sigmoid"]
"""What makes probabilities of an output."""


class Precision(StrEnum):
    """What the user asks for or gets; the names are those of the command line.

    ``bf16``: the float file, and the runtime multiplies bfloat16 (a run option, where the CPU has it).
    ``w8a8``, ``w8a16``: int8 weights, and activations of 8 or 16 bits with scales from calibration.
    ``dynamic``: int8 weights, activations quantized while they run. ``w8``, ``w4``: int8 weights, or int4 in
    blocks of 32, and float activations (``w4`` on LiteRT: as ``dynamic``).
    """

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    DYNAMIC = "dynamic"
    W8A8 = "w8a8"
    W8A16 = "w8a16"
    W8 = "w8"
    W4 = "w4"

    @property
    def is_static(self) -> bool:
        """Whether activations have scales from calibration."""
        return self in {Precision.W8A8, Precision.W8A16}


@dataclass(frozen=True, slots=True)
class Range:
    """Closed interval of real values that a tensor takes on calibration data."""

    low: float
    high: float


@dataclass(frozen=True)
class Ranges:
    """What calibration found: one range per float tensor of one canonical float graph, with its provenance.

    Attributes:
        tensors: range by value name of the model that was calibrated.
        method: as asked for: "minmax", "moving-average", "percentile:99.99", "entropy", "mse" or "auto".
        model_digest: ``ir.digest`` of the calibrated model.
        data_digest: digest of the calibration samples after selection (source bytes, split, count, seed).
        preprocess_id: digest of the pre-processing steps.
        samples: how many samples were seen.
        seed: seed of the sample selection.
        tools: name -> version of what ran.
        methods: method by value name, where a tensor's range was found otherwise than by ``method``.
        histograms: digest of the histogram by value name, for tensors whose values were counted.
    """

    tensors: Mapping[str, Range]
    method: str
    model_digest: str
    data_digest: str
    preprocess_id: str
    samples: int
    seed: int
    tools: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    histograms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuantParams:
    """Scale and zero point of one tensor, per tensor (one element, axis None) or per channel.

    Attributes:
        dtype: "int8", "uint8", "int16", "int32".
        scale: positive real step(s).
        zero_point: integer(s) that stand for 0.0; one for each scale.
        axis: the axis that the elements run along, or None for per tensor.
    """

    dtype: StoredType
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True)
class RunOptions:
    """How an artifact is opened: neither numerics nor speed are determined by the file alone.

    Attributes:
        threads: intra-operator threads; 1 unless a recipe or flag says otherwise, so that a figure means
            the same on every machine.
        device: "cpu", "cuda", "gpu" of any make, or "cpu-bf16", a CPU that multiplies bfloat16; what the
            session must really run on.
        settings: runtime-specific settings, as (name, value) pairs in a fixed order.
    """

    threads: int = 1
    device: str = "cpu"
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class WatchedOptions(RunOptions):
    """Options of one session that is being measured; no part of an artifact.

    Attributes:
        cores: the only CPUs that its process may run on; () = all.
        limit_s: how long one answer of its process may take; None = for ever.
        lean: what loading a large file frees goes back to the system at once. A plain session of a user's
            app holds more then: nothing that tells its memory asks for this.
    """

    cores: tuple[int, ...] = ()
    limit_s: float | None = None
    lean: bool = False


@dataclass(frozen=True)
class IoBinding:
    """How one input or output of the artifact stands for one of the reference model.

    Attributes:
        reference: name, dtype and shape in the reference model; what a Session takes and gives.
        name: the tensor's name inside the artifact.
        dtype: its element type inside the artifact.
        shape: its shape inside the artifact.
        permutation: artifact axis i holds reference axis ``permutation[i]``; empty = the same layout.
        quant: scale and zero point if the artifact's own input or output is integer.
    """

    reference: TensorSpec
    name: str
    dtype: ElementType
    shape: tuple[Dim, ...]
    permutation: tuple[int, ...] = ()
    quant: QuantParams | None = None


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of an artifact or a bundle: relative POSIX path, SHA-256 in hex, size."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Artifact:
    """What ``Backend.compile`` wrote: files, how to open them, and how its tensors map to the reference's.

    Attributes:
        folder: the folder that holds ``files``; not part of the artifact's identity.
        files: the main file first.
        target: target name.
        backend: name in the backend registry.
        precision: what the numbers inside are.
        options: how to open it.
        inputs: one binding per reference input, in the reference's order.
        outputs: likewise.
        plan_digest: digest of the QuantPlan, "" for float artifacts. Equal digests: equal numerics
            within a few quantization steps on every runtime.
        output_steps: one quantization step of each output in real units, by reference output name;
            absent where the output is not quantized.
        tools: name -> version of what compiled it.
        notes: what the compiler wants the user to know.
    """

    folder: Path
    files: tuple[FileEntry, ...]
    target: str
    backend: str
    precision: Precision
    options: RunOptions
    inputs: tuple[IoBinding, ...]
    outputs: tuple[IoBinding, ...]
    plan_digest: str = ""
    output_steps: Mapping[str, float] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The main file."""
        return self.folder / self.files[0].path

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.size_bytes for entry in self.files)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a target cannot take one node: data before it is text."""

    node: str
    rule: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Readiness:
    """What a device would take of a model by the rules that its provider publishes; nothing was run.

    Attributes:
        nodes: of the main graph.
        placed: of these on the device.
        macs: multiply-accumulates of one inference; None where a size is unknown.
        placed_macs: of these on the device; likewise.
        partitions: how many parts of the graph go to the device, each a call with its copies.
        blocked: every reason why a node stays outside.
        unchecked: conditions of the device that nobody looked at, by operator.
    """

    nodes: int
    placed: int
    macs: int | None
    placed_macs: int | None
    partitions: int
    blocked: tuple[Rejection, ...]
    unchecked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend (and the device its target needs) can run here, and if not, why and what to type.

    Attributes:
        software: the device, where it is no GPU but a driver that computes on the processor: numerics hold
            there, and times say nothing. "" = a real one.
        compiles: artifacts are written here even where they do not run (``ok`` is False).
    """

    ok: bool
    version: str
    reason: str = ""
    remedy: str = ""
    software: str = ""
    compiles: bool = False


SOFTWARE = "software"
"""The fact of a session that names such a device (``Availability.software``); absent on a real one."""


@dataclass(frozen=True, slots=True)
class Executed:
    """One operator as a runtime really runs it.

    Attributes:
        names: of the operators in the artifact's file that it stands for, as far as the runtime says.
        operator: its type, in the runtime's words.
        device: "cpu", "cuda", ...
        precision: element type that it computes in: "float32", "float16", "bfloat16", "int8", "int16".
        multiplies: whether it multiplies and accumulates (``ir.macs``).
    """

    names: tuple[str, ...]
    operator: str
    device: str
    precision: str
    multiplies: bool


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel of an artifact, timed while the runtime ran it.

    Attributes:
        names: as in ``Executed``; () where the runtime does not say.
        operator: its type, in the runtime's words.
        kernel: which implementation, in the runtime's words ("brgconv_avx512_amx_I8").
        device: as in ``Executed``.
        precision: as in ``Executed``.
        multiplies: as in ``Executed``.
        outside: it ran outside the delegate that the artifact is meant for.
        calls: how often in one inference.
        us: microseconds of one inference, without what it calls; one value for each sample, which is one
            inference or the mean of a few.
        read_bytes: activations that it reads; None where the runtime does not say.
        weight_bytes: constants that it reads; likewise.
        written_bytes: what it writes; likewise.
        elements: of its largest activation, read or written; likewise.
    """

    names: tuple[str, ...]
    operator: str
    kernel: str
    device: str
    precision: str
    multiplies: bool
    outside: bool
    calls: int
    us: tuple[float, ...]
    read_bytes: int | None = None
    weight_bytes: int | None = None
    written_bytes: int | None = None
    elements: int | None = None


@dataclass(frozen=True)
class Profile:
    """What a runtime's own profiler says of one artifact.

    Attributes:
        kernels: in the order of execution.
        plain_us: whole inferences without the profiler, taken in turn with those under it.
        profiled_us: whole inferences under the profiler.
        clock: whose figures ``KernelTime.us`` are, and how finely it counts.
        notes: what the reader should know.
    """

    kernels: tuple[KernelTime, ...]
    plain_us: tuple[float, ...]
    profiled_us: tuple[float, ...]
    clock: str
    notes: tuple[str, ...] = ()


class Runner(Protocol):
    """Something that computes: mapping of arrays by input name -> mapping of arrays by output name."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` takes."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` gives."""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Compute all outputs; the arrays are copies that the caller owns."""


class Session(Runner, Protocol):
    """An opened artifact: a Runner in the reference model's names, layouts and float types.

    Lives in a worker process of its own; ``close`` (or leaving the ``with`` block) ends it.
    """

    @property
    def facts(self) -> Mapping[str, str]:
        """What really runs: "runtime", "version", "device", "threads", and "kernels" where known."""

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        """Milliseconds of ``runs`` consecutive inferences, timed inside the worker, conversion excluded."""

    def close(self) -> None:
        """End the worker; harmless when called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Where a long stage says how far it is. ``cli`` draws it; the default does nothing."""

    def stage(self, name: str, *, total: int | None = None) -> None:
        """A new stage begins; ``total`` steps if that is known."""

    def advance(self, steps: int = 1) -> None:
        """``steps`` more of the current stage are done."""

    def note(self, text: str) -> None:
        """One line that is worth keeping."""


class Silent:
    """The Progress that says nothing."""

    def stage(self, name: str, *, total: int | None = None) -> None:
        """Ignore."""

    def advance(self, steps: int = 1) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""


BatchStream = Callable[[int], Iterator[dict[str, Array]]]
"""Batch size -> a fresh pass over the data, as mappings of input name -> (batch, ...) arrays."""

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A frozen value of this module (or a mapping or tuple of them) -> JSON-ready Python values.

    The same as pydantic's ``dump_python(mode="json")``, without a serializer for each type: building one
    takes 4 ms, and a compilation writes six types.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {to_json(key): to_json(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def from_json(kind: type[T], value: Any) -> T:
    """The inverse of ``to_json``; raises pydantic.ValidationError where the shape is wrong."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(value, strict=False)
