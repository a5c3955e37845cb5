"""targets/<name>.toml -> Target: what a deployment target's runtime really has, as data.

The vocabulary of the files is in targets/README.md. A scheme is written ``type:granularity:symmetry``:
``s8:channel:sym``, ``u8:tensor:asym``, ``s4:block32:sym``; ``us8`` is u8 where no value is below zero and s8
elsewhere; ``float`` means the tensor stays float, and ``dynamic:`` in front of a scheme that the runtime
finds the scale anew in each inference.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from edgekit._resources import shipped
from edgekit.errors import InputError, RecipeError, UnknownNameError
from edgekit.spec import GPU_FALLBACK, NO_CPU_FALLBACK, PORTABLE, Precision, RunOptions

Scheme = Annotated[
    str,
    StringConstraints(
        pattern=r"^(float|(dynamic:)?(us8|[su](4|8|16|32)):(tensor|channel|row|group|block[0-9]+):(sym|asym))$"
    ),
]


GROUP = "edgekit.targets"
"""Entry points: name of a target -> the package that holds ``<name>.toml``."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Kernel(_Closed):
    """One kernel that the runtime really has.

    Attributes:
        pattern: ONNX operators that the runtime runs as one kernel, joined by "+", the head first:
            "Conv+Relu". An activation that a kernel fuses is written after its producer.
        precision: the precision that the row belongs to.
        weight: scheme of the constant operand, or "none" where the operator has none.
        activation: scheme of the non-constant inputs; "float" and "dynamic:..." need no calibration.
        output: scheme of the output; "same" = the input's own scale and zero point; "read" = that of
            ``activation`` where a kernel reads it, else float.
        constraints: ids of predicates in ``quantization.place``; an unknown id is an error.
        requires: CPU features for speed or exactness.
        runtime: version range of the runtime.
        source: where this row was learned, or "measured".
    """

    pattern: str
    precision: Precision = Precision.W8A8
    weight: Scheme | Literal["none"] = "none"
    activation: Scheme
    output: Scheme | Literal["same", "read"]
    lowering: Literal["qdq", "tflite", "matmul-integer", "matmul-nbits", "weight-dq"] = "qdq"
    constraints: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    runtime: str = ""
    source: str

    @property
    def head(self) -> str:
        """The operator that the pattern starts with."""
        return self.pattern.split("+")[0]

    @property
    def fused(self) -> tuple[str, ...]:
        """The operators that follow the head inside the kernel."""
        return tuple(self.pattern.split("+")[1:])


class FixedScale(_Closed):
    """The output scale and zero point that a runtime prescribes for an operator."""

    scale: float
    zero_point: int
    source: str


class Placement(_Closed):
    """Another way to place the w8a8 rows: a candidate beside the rows as they are.

    Attributes:
        activation: scheme of activations in place of that of the rows.
        output: what outputs become where the row does not say "same".
        constraints: head operator -> ids of predicates that its rows have beside their own.
        keeps_rounding: as ``Target.keeps_rounding``.
        source: where it was learned, or "measured".
    """

    activation: Scheme
    output: Literal["read"] = "read"
    constraints: dict[str, tuple[str, ...]] = {}
    keeps_rounding: bool = True
    source: str

    def placed(self, row: Kernel) -> Kernel:
        """``row`` as this placement has it."""
        return row.model_copy(
            update={
                "activation": self.activation,
                "output": row.output if row.output == "same" else self.output,
                "constraints": (*row.constraints, *self.constraints.get(row.head, ())),
            }
        )


class Support(_Closed):
    """Operators that a device takes, all under the conditions of the row.

    Attributes:
        operators: ONNX operators; those of another domain with it: "com.microsoft.Gelu".
        ranks: of the first input; () = any.
        constants: indices of inputs that must be constants where they are given.
        types: of the first input; () = any.
        weights: integer types of a constant operand that is quantized; () = any.
        attributes: attribute -> the values that it may have; "" = it may be left out.
        unchecked: what else the device asks for, and edgekit does not look at.
        source: where the row was learned.
    """

    operators: tuple[str, ...] = Field(min_length=1)
    ranks: tuple[int, ...] = ()
    constants: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    attributes: dict[str, tuple[str | int, ...]] = {}
    unchecked: str = ""
    source: str


class Readiness(_Closed):
    """A device that edgekit has never run on: what its provider says that it takes.

    A target with this table is a check: it says what would be taken, and is marked "not run here" everywhere.

    Attributes:
        device: in words.
        needs: what would have to be at hand to run there.
        static: whether every size must be a number.
        batch: what an open first axis becomes before anything is asked.
        largest_rank: of any value; 0 = no limit is known.
        integers: types of quantized activations.
        per_channel: operators whose weights may have a scale for each channel; () = all.
        floats: what operators that stay float compute in there.
        writes: whether `compile` writes the file that an app would load there.
        support: what it takes; an operator in no row is not taken, of several rows one must fit.
        source: where the rules of the device were learned.
    """

    device: str
    needs: str
    static: bool
    batch: int = Field(default=1, ge=1)
    largest_rank: int = Field(default=0, ge=0)
    integers: tuple[str, ...] = ()
    per_channel: tuple[str, ...] = ()
    floats: str
    writes: bool = False
    support: tuple[Support, ...] = Field(min_length=1)
    source: str


class Quirk(_Closed):
    """How a runtime surprises: a sentence with its figure, and where it was learned ("measured")."""

    says: str
    source: str


class RunDefaults(_Closed):
    """Run options of the target; a recipe's [[target]] may override the threads."""

    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cpu-bf16", "cuda", "gpu"] = "cpu"
    settings: dict[str, str] = {}

    def options(self, *, threads: int | None = None, allow_fallback: bool = False) -> RunOptions:
        """The run options with ``threads`` in place of the default where given.

        ``allow_fallback``: as ``with_fallback``.
        """
        options = RunOptions(threads or self.threads, self.device, tuple(sorted(self.settings.items())))
        return with_fallback(options) if allow_fallback else options


def with_fallback(options: RunOptions) -> RunOptions:
    """Operators may run on the CPU beside a GPU (a CUDA graph does not hold both), or outside a delegate."""
    settings = dict(options.settings)
    refusing = next((each for each in (PORTABLE, GPU_FALLBACK) if each in settings), "")
    if refusing:
        settings[refusing] = "allow"
    else:
        settings[NO_CPU_FALLBACK] = "0"
        if options.device == "cuda":
            settings["cuda.graph"] = "0"
    return replace(options, settings=tuple(sorted(settings.items())))


def may_fall_back(backend: str, options: RunOptions) -> bool:
    """Whether there is anything that ``with_fallback`` could allow."""
    if {PORTABLE, GPU_FALLBACK} & set(dict(options.settings)):
        return True
    return backend == "onnxruntime" and options.device != "cpu"


class Target(_Closed):
    """A deployment target as data.

    Attributes:
        name: also the file's stem.
        summary: one line for ``edgekit targets``.
        backend: name in the backend registry.
        extra: the optional part of edgekit that holds the runtime, "" for the base install.
        opset: the canonical opset of the ONNX form that this target gets.
        extension: file extension of the artifact, without the dot.
        ladder: the precisions that are candidates here, in the order in which ties are broken.
        on_request: precisions that the target also has; tried only where they are named, because they save
            bytes and not time.
        lacks: why the target has not got a precision that somebody may ask for.
        numerics_on: for a device that may be absent: the run device on which numerics are checked instead;
            "" = nothing can stand in.
        needs: CPU features, by precision, of which a machine must have one for that rung to be native.
        operators: ONNX operators that the runtime runs at all; empty = the back end decides by itself.
        kernel: the quantized kernels.
        fixed_scale: by operator type.
        shared_scale: operators whose inputs and output must have one scale ("Concat", "MaxPool").
        placement: other ways to place w8a8, by name; each is a candidate too.
        unsigned_weights: whether its integer kernels take weights that are stored as uint8.
        keeps_rounding: whether files are written so that the runtime rounds wherever the plan does, also
            where it would leave that out to be faster; then equal plans give equal numbers on all runtimes.
        float16_sums: what sums are added up in where operators compute in float16. "float16": their error is
            estimated from calibration data, and what is too coarse stays in float32.
        between: what operators that stay float beside integer ones may compute in -> the settings of a
            session for it; tried where the machine has it (``needs``).
        architecture: of the processor that it is for, as ``platform.machine`` says it on Linux; "" = any.
        readiness: a device that nothing here runs on: the target only says what would be taken.
        quirk: what surprises about the runtime.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str
    summary: str
    backend: str
    extra: str = ""
    runtime: str = ""
    opset: int = 21
    extension: str
    ladder: tuple[Precision, ...]
    on_request: tuple[Precision, ...] = ()
    lacks: dict[Precision, str] = {}
    numerics_on: Literal["", "cpu"] = ""
    operators: tuple[str, ...] = ()
    needs: dict[Precision, tuple[str, ...]] = {}
    run: RunDefaults = RunDefaults()
    kernel: tuple[Kernel, ...] = ()
    fixed_scale: dict[str, FixedScale] = {}
    shared_scale: tuple[str, ...] = ()
    placement: dict[str, Placement] = {}
    unsigned_weights: bool = True
    keeps_rounding: bool = True
    float16_sums: Literal["float16", "float32"] = "float32"
    between: dict[Precision, dict[str, str]] = {}
    architecture: Literal["", "aarch64"] = ""
    readiness: Readiness | None = None
    quirk: tuple[Quirk, ...] = ()

    @property
    def is_check(self) -> bool:
        """Whether it only says what a device would take: nothing of it ever runs here."""
        return self.readiness is not None

    @property
    def marked(self) -> str:
        """How every report marks a check; "" = it is none."""
        if self.readiness is None:
            return ""
        return f"not run here: what {self.readiness.device} would take, by its provider's published rules"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """All that the target has: the ladder, then what is made on request."""
        return (*self.ladder, *self.on_request)

    @property
    def may_fall_back(self) -> bool:
        """Whether its runtime can leave operators to the CPU, or to kernels outside of its delegate."""
        return may_fall_back(self.backend, self.run.options())

    def why_not(self, precision: Precision) -> str:
        """Why it has not got ``precision``."""
        return self.lacks.get(precision, "a precision is never replaced in silence")

    def kernels(self, precision: Precision) -> tuple[Kernel, ...]:
        """The rows that belong to ``precision``."""
        return tuple(row for row in self.kernel if row.precision is precision)

    def placed(self, name: str) -> Target:
        """This target with its w8a8 rows as the placement ``name`` has them; "" = as they are.

        Raises:
            UnknownNameError: no such placement.
        """
        if not name:
            return self
        if name not in self.placement:
            listing = f"edgekit targets show {self.name}"
            raise UnknownNameError("placement", name, tuple(self.placement), listing=listing)
        other = self.placement[name]
        rows = (other.placed(row) if row.precision is Precision.W8A8 else row for row in self.kernel)
        return self.model_copy(update={"kernel": tuple(rows), "keeps_rounding": other.keeps_rounding})


def names() -> tuple[str, ...]:
    """Names of all shipped targets and of those that installed packages bring, sorted. Parses nothing."""
    return tuple(sorted({*(path.stem for path in shipped("targets").glob("*.toml")), *_installed()}))


def _installed() -> dict[str, Path]:
    """Target files of other packages: entry points of group ``edgekit.targets``, name = package of the file.

    Raises:
        InputError: the package is not there, or holds no such file, or a target of that name is shipped.
    """
    found: dict[str, Path] = {}
    for each in entry_points(group=GROUP):
        spec = find_spec(each.value)  # imports nothing but the packages above it
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        path = Path(folders[0]) / f"{each.name}.toml" if folders else None
        taken = (shipped("targets") / f"{each.name}.toml").is_file()
        if path is None or not path.is_file() or taken or found.setdefault(each.name, path) != path:
            raise InputError(
                f"target {each.name!r} of the installed package {each.value!r} cannot be used",
                why="another target has that name" if taken or path else "the package holds no such file",
                remedy=f"the package holds {each.name}.toml, and the name is its own (docs/add-a-target.md)",
            )
    return found


def file_of(name: str) -> Path:
    """The file of the target ``name``, shipped or of an installed package; a path that ends in .toml itself.

    Raises:
        UnknownNameError: no such target.
        InputError: an installed package's target cannot be used.
    """
    path = Path(name) if name.endswith(".toml") else shipped("targets") / f"{name}.toml"
    if not _is_file(path):
        path = _installed().get(name, path)
    if not _is_file(path):
        raise UnknownNameError("target", name, names(), listing="edgekit targets")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for the name of a file
        return False


def load(name: str) -> Target:
    """The target ``name``, or the target file at the path ``name`` (ending in .toml).

    Raises:
        UnknownNameError: no such target.
        RecipeError: the file does not follow the schema.
    """
    path = file_of(name)
    try:
        target = Target.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(
            f"target file {path} does not follow its schema",
            why=str(error),
            remedy="see targets/README.md for the vocabulary",
        ) from error
    if target.name != path.stem:
        raise RecipeError(
            f"target file {path} calls itself {target.name!r}",
            why="a target is found by its file name",
            remedy=f"set name = {path.stem!r}",
        )
    return target
