"""edgekit.toml -> Recipe: what a release shall be, checked key by key.

Unknown keys, names and values are errors with the closest candidates, never a fall-back. The same models
give the JSON Schema (``edgekit schema recipe``) and docs/recipe.md.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from edgekit import spdx
from edgekit.errors import RecipeError, closest
from edgekit.preprocess import Step
from edgekit.spec import Activation, ElementType, Embedding, Precision, TensorSpec
from edgekit.toml_schema import checked

_MORE = "docs/recipe.md"
# the keys of validation.budget.GATE_CODES, which stands above this module; a test holds them equal
Importance = Literal["obs", "activation", "taylor", "magnitude"]
"""Rows of ``pruning.importance``, which stands above this module: a test holds the two together."""

GateName = Literal[
    "accuracy",
    "groups",
    "size",
    "latency",
    "never_slower",
    "memory",
    "coverage",
    "baseline_accuracy",
    "baseline_latency",
    "baseline_size",
]
METRICS = (
    "top1",
    "top5",
    "accuracy",
    "token_accuracy",
    "f1",
    "f1_binary",
    "auc",
    "mae",
    "rmse",
    "map",
    "miou",
    "psnr",
    "perplexity",
)
"""Rows of ``validation.metrics``: a test holds the two together."""
OWN_METRIC = r"^.+:[A-Za-z_][A-Za-z0-9_]*$"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _license(value: str) -> str:
    wrong = spdx.problem(value) if value else ""
    if wrong:
        raise ValueError(wrong)
    return value


License = Annotated[str, AfterValidator(_license)]


class InputTable(_Closed):
    """One input of the model."""

    name: str = Field(description="the input's name in the ONNX graph")
    dtype: ElementType = Field(default="float32", description="NumPy name of the element type")
    shape: tuple[int | str, ...] = Field(
        description='sizes; a string names a dynamic axis: ["batch", 3, 224, 224]'
    )

    def spec(self) -> TensorSpec:
        """The table as a TensorSpec."""
        return TensorSpec(self.name, self.dtype, tuple(self.shape))


class NmsTable(_Closed):
    """`[model] nms`: non-maximum suppression of a detector's candidates, of each class by itself."""

    boxes: str = Field(default="boxes", description="output of corners (batch, count, 4)")
    scores: str = Field(default="scores", description="output of scores (batch, count)")
    classes: str = Field(default="classes", description="output of classes (batch, count)")
    box_format: Literal["xyxy", "yxyx"] = Field(default="xyxy", description="order of the corners")
    iou_threshold: float = Field(
        default=0.5, gt=0, lt=1, description="a candidate that overlaps a better one by more is dropped"
    )
    score_threshold: float = Field(default=0.0, ge=0, description="a candidate must be above it")
    max_detections: int = Field(default=100, ge=1, description="at most so many remain, the best")


class ModelTable(_Closed):
    """`[model]`: what is released."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="first part of every file name")
    version: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", description="second part of every file name"
    )
    source: str = Field(
        description="file.py:callable, package.module:callable, .pt2, TorchScript .pt, .keras, .h5, "
        "SavedModel folder, .onnx or .tflite; see sources.md"
    )
    weights: str | None = Field(
        default=None, description="checkpoint for a callable: .pt, .pth, .th, .safetensors, .weights.h5, .h5"
    )
    inputs: tuple[InputTable, ...] = Field(
        default=(), description="needed for callables; read from the file otherwise"
    )
    tolerance: float = Field(
        default=1e-4,
        gt=0,
        description="largest difference between framework and ONNX, as a part of the output's range",
    )
    trust_source: bool = Field(
        default=False, description="allow sources that run code on loading (pickle, Lambda layers)"
    )
    files: tuple[str, ...] = Field(
        default=(),
        description="files that belong to the model and travel in the bundle and in a .tflite: vocabulary, "
        "labels (labels.txt names the classes of the scored output, one in each line); paths relative to the "
        "recipe",
    )
    labels: str = Field(
        default="",
        description="text file that names the classes, one in each line; relative to the recipe (embed.md)",
    )
    activation: Activation = Field(
        default="none",
        description="what makes probabilities of the scored output: none, softmax, sigmoid (embed.md)",
    )
    nms: NmsTable | None = Field(
        default=None, description="what suppresses a detector's candidates (embed.md)"
    )
    embed: tuple[Embedding, ...] = Field(
        default=(),
        description="steps that the artifact does itself: uint8-input, normalize, softmax, sigmoid, nms "
        "(embed.md)",
    )
    description: str = Field(default="", description="what the model does; written into a .tflite")
    author: str = Field(default="", description="who made it; written into a .tflite")
    license: License = Field(
        default="",
        description='terms of use as an SPDX expression: "Apache-2.0", "MIT OR Apache-2.0", '
        '"LicenseRef-our-terms"; in the BOM, the model card and a .tflite',
    )
    url: str = Field(default="", description="where more is to be found about the model")
    intended_use: str = Field(default="", description="what it is made for; in the BOM and the model card")
    limitations: tuple[str, ...] = Field(
        default=(), description="what it is not good for, a sentence each; in the BOM and the model card"
    )


class CalibrationTable(_Closed):
    """`[data] calibration`: what ranges are learned from; not needed where the model comes quantized."""

    source: str = Field(description=".npz, .npy, folder of images, shipped set, or file.py:callable")
    split: str = Field(default="", description="split of a shipped set")
    samples: int | None = Field(
        default=None, ge=1, description="at most so many, drawn with `seed`; all by default"
    )
    seed: int = Field(default=0, description="of the draw")
    license: License = Field(
        default="", description='terms of the data as an SPDX expression: "CC-BY-4.0"; in the BOM'
    )
    author: str = Field(default="", description="who made the data; in the BOM and the model card")
    description: str = Field(default="", description="what the data is; in the BOM and the model card")
    url: str = Field(default="", description="where the data comes from")


class EvaluationTable(CalibrationTable):
    """`[data] evaluation`: what accuracy is measured on."""

    metric: str = Field(
        default="top1",
        description="task metric, or your own as file.py:callable (validation.md)",
        json_schema_extra={
            "anyOf": [{"type": "string", "enum": list(METRICS)}, {"type": "string", "pattern": OWN_METRIC}]
        },
    )
    output: str = Field(
        default="", description="name of the output that is scored; needed where there are several"
    )
    expected: float | None = Field(
        default=None,
        description="what the float model scores on this data: far below it, exit code 2 (validation.md)",
    )
    slices: tuple[str, ...] = Field(
        default=(),
        description="arrays of the data that name a group of each sample; a group that loses more than the "
        "budget is a finding (an array `slice` counts without being named)",
    )
    pictures: bool = Field(
        default=True,
        description="show a few samples whose label changed in reports, where they are images (reports.md)",
    )

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value not in METRICS and not re.fullmatch(OWN_METRIC, value):
            near = closest(value, METRICS)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"no metric {value!r}{hint} (known: {', '.join(METRICS)}, or file.py:callable)")
        return value


class DataTable(_Closed):
    """`[data]`: calibration set, evaluation set, and what happens to a raw sample."""

    calibration: CalibrationTable | None = Field(
        default=None, description="needed to quantize; not for a model that comes quantized already"
    )
    evaluation: EvaluationTable
    preprocess: tuple[Step, ...] = Field(
        default=(), description="steps from the raw sample to the model's input"
    )
    color: Literal["", "RGB", "BGR"] = Field(
        default="", description="order of the channels of a raw image; told to the app (a folder gives RGB)"
    )
    value_range: tuple[float, float] | None = Field(
        default=None, description="smallest and largest value of a raw sample; of uint8 it is [0, 255]"
    )
    postprocess: str = Field(
        default="",
        pattern=r"^$|" + OWN_METRIC,
        description="file.py:callable from the outputs of one sample to the app's answer; timed by "
        "`bench --recipe`",
    )


class QuantizeTable(_Closed):
    """`[optimize] quantize`."""

    precision: Precision = Field(
        default=Precision.AUTO,
        description="auto (every rung of the target's ladder is a candidate), fp32, fp16, dynamic (int8 "
        "weights, activations quantized while running), w8a8, w8 or w4 (weights alone, float activations); "
        "float is always a candidate",
    )
    method: str = Field(
        default="minmax",
        pattern=r"^(minmax|moving-average|percentile(:[0-9.]+)?|entropy|mse|auto)$",
        description="how ranges are taken from activations: minmax, moving-average, percentile, "
        "percentile:99.99, entropy, mse, or auto (per tensor the one that loses least)",
    )
    restore: Literal["auto", "none", "adaround"] = Field(
        default="auto",
        description="auto: equalize channels, migrate scales and correct biases where that is measured to "
        "help; adaround: learn the rounding of weights too (minutes); none: nothing (docs/restoration.md)",
    )
    cross_cpu: Literal["exact", "uint8", "report"] = Field(
        default="exact",
        description="x86 CPUs without VNNI can saturate in int8 products; exact: weights whose sums of two "
        "products never do, at the cost of half a bit; uint8: all eight bits, at the cost of speed; report: "
        "nothing is done, and the report says where (docs/cross-cpu.md)",
    )


class PruneTable(_Closed):
    """`[optimize] prune`: a smaller float model, before anything is quantized (pruning.md)."""

    speedup: float | None = Field(
        default=None,
        gt=1,
        description="how many times faster the float model becomes, measured end to end on every target that "
        "runs here; else exit 4",
    )
    keep: float | None = Field(
        default=None, gt=0, lt=1, description="or: the part of each group's channels that stays"
    )
    sparsity: float | None = Field(
        default=None, gt=0, lt=1, description="or: the part of the weights that becomes zero"
    )
    pattern: str | None = Field(
        default=None, pattern=r"^[0-9]{1,2}:[0-9]{1,2}$", description='or: N of M weights stay: "2:4"'
    )
    target: tuple[str, ...] = Field(
        default=(), description="where the speed is measured, in place of the recipe's targets that run here"
    )
    importance: Importance = Field(
        default="obs", description="what decides which channels go (`edgekit prune --importance`)"
    )
    repair: Literal["layers", "blocks"] = Field(
        default="blocks",
        description="layers: each layer by least squares; blocks: then all of them together, in PyTorch "
        "where it is installed (`edgekit prune --repair`)",
    )
    recover: int = Field(
        default=0,
        ge=0,
        description="epochs of distillation from the float model (and labels, if any); needs PyTorch",
    )
    require_speedup: bool = Field(
        default=False, description="zeros that save no time on a target are a failure (exit 4)"
    )

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> PruneTable:
        given = [n for n in ("speedup", "keep", "sparsity", "pattern") if getattr(self, n) is not None]
        if len(given) != 1:
            said = " and ".join(given) if given else "none of them"
            raise ValueError(f"one of speedup, keep, sparsity and pattern is needed, and it has {said}")
        zeros = self.sparsity is not None or self.pattern is not None
        if zeros and self.recover:
            raise ValueError("recover goes with speedup or keep: zeros are refined together anyway")
        if not zeros and self.require_speedup:
            raise ValueError("require_speedup goes with sparsity or pattern: a speedup is required anyway")
        return self


class OverrideTable(_Closed):
    """`[[optimize.override]]`: an exception for single operators; the later of two that match counts."""

    nodes: str = Field(
        default="", description='glob over node names: "head/*"; `edgekit inspect` prints them'
    )
    operators: str = Field(default="", description='an operator type: "Softmax"')
    precision: Literal["fp32", "w8", "w4"] = Field(
        default="fp32",
        description="fp32: stays float in every candidate; w8, w4: the weights of these operators where "
        "weights alone become integers",
    )

    @model_validator(mode="after")
    def _names_something(self) -> OverrideTable:
        if not self.nodes and not self.operators:
            raise ValueError("it names neither nodes nor operators, so it would match everything")
        return self


class OptimizeTable(_Closed):
    """`[optimize]`: what may be done to the model."""

    prune: PruneTable | None = Field(
        default=None, description="remove channels or zero weights first; without it nothing goes"
    )
    quantize: QuantizeTable = Field(default_factory=QuantizeTable)
    override: tuple[OverrideTable, ...] = Field(
        default=(), description="operators that are treated otherwise than the rest"
    )


class BudgetTable(_Closed):
    """`[budget]`: what every shipped artifact must keep."""

    max_drop_pp: float = Field(
        default=1.0,
        ge=0,
        description="largest loss of the metric against the float original, in percentage points",
    )
    max_group_drop_pp: float | None = Field(
        default=None,
        ge=0,
        description="largest loss of any class or slice, by intervals corrected for their number",
    )
    never_slower: bool = Field(
        default=True, description="ship float where no candidate is as fast as float on the target"
    )
    max_size_bytes: int | None = Field(default=None, gt=0, description="largest artifact")
    max_latency_ms: float | None = Field(default=None, gt=0, description="largest p95 latency at batch 1")
    max_memory_bytes: int | None = Field(
        default=None,
        gt=0,
        description="largest peak of resident memory while it runs at batch 1, beyond the runtime's own",
    )
    min_coverage: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="smallest share (0 to 1) of the multiply-accumulates that run on the target's device "
        "and in the artifact's precision",
    )
    require_measured: bool = Field(
        default=False,
        description="a latency, memory or coverage gate that cannot be measured here is a failure",
    )
    baseline: str | None = Field(
        default=None,
        description="the last release (a bundle, or a release's JSON report): nothing may get worse than it",
    )
    baseline_max_drop_pp: float = Field(
        default=1.0, ge=0, description="largest loss of the metric against the baseline's artifact"
    )
    baseline_max_latency: float = Field(
        default=1.1,  # two runs at different times differ by more than two that are interleaved (1.05)
        gt=0,
        description="largest median latency as a multiple of the baseline's, measured on the same machine",
    )
    baseline_max_size: float = Field(
        default=1.1, gt=0, description="largest size as a multiple of the baseline's"
    )
    on_inconclusive: Literal["error", "fail", "pass"] = Field(
        default="error", description="when the interval straddles the budget: exit 7, fail (3), or pass"
    )


class TargetBudgetTable(_Closed):
    """`[target.budget]`: what this target keeps instead of what [budget] says."""

    max_drop_pp: float | None = Field(default=None, ge=0, description="in place of [budget]'s")
    max_group_drop_pp: float | None = Field(default=None, ge=0, description="in place of [budget]'s")
    never_slower: bool | None = Field(default=None, description="in place of [budget]'s")
    max_size_bytes: int | None = Field(default=None, gt=0, description="in place of [budget]'s")
    max_latency_ms: float | None = Field(default=None, gt=0, description="in place of [budget]'s")
    max_memory_bytes: int | None = Field(default=None, gt=0, description="in place of [budget]'s")
    min_coverage: float | None = Field(default=None, ge=0, le=1, description="in place of [budget]'s")
    baseline_max_drop_pp: float | None = Field(default=None, ge=0, description="in place of [budget]'s")
    baseline_max_latency: float | None = Field(default=None, gt=0, description="in place of [budget]'s")
    baseline_max_size: float | None = Field(default=None, gt=0, description="in place of [budget]'s")
    require_measured: bool | None = Field(default=None, description="in place of [budget]'s")
    on_inconclusive: Literal["error", "fail", "pass"] | None = Field(
        default=None, description="in place of [budget]'s"
    )


class TargetTable(_Closed):
    """`[[target]]`: one place where the model must run."""

    name: str = Field(description="see `edgekit targets`, or the path of a target file")
    threads: int | None = Field(
        default=None, ge=1, description="intra-operator threads; the target's default is 1"
    )
    precision: Precision | None = Field(
        default=None, description="overrides [optimize] quantize.precision here"
    )
    io_dtype: Literal["float32", "int8", "uint8"] = Field(
        default="float32",
        description="element type of the artifact's own inputs and outputs; the integer types need a LiteRT "
        "target and a quantized precision",
    )
    io_layout: Literal["auto", "model"] = Field(
        default="auto",
        description="auto: the compiler may choose (image inputs channels-last); model: the model's own axes",
    )
    embed: tuple[Embedding, ...] | None = Field(
        default=None, description="in place of [model] embed here; [] = nothing is inside"
    )
    streams: int | None = Field(
        default=None,
        ge=1,
        description="OpenVINO: inferences that may run at once in one opened model, each with `threads` "
        "(sessions.md); 1 by default",
    )
    sizes: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default={},
        description="numbers for open sizes of the inputs: { batch = 1, sequence = 128 }. The artifact takes "
        "no other; a runtime that compiles for shapes does it once (sessions.md)",
    )
    allow_fallback: bool = Field(
        default=False,
        description="on a GPU: operators that its provider lacks may run on the CPU; `bench` lists them with "
        "their share of the time. With ExecuTorch: operators that its delegate lacks may run in portable "
        "kernels. Without it they are an error",
    )
    budget: TargetBudgetTable = Field(default_factory=TargetBudgetTable)


class WaiverTable(_Closed):
    """`[[waiver]]`: a gate that may be missed until a date; visible in every report."""

    gate: GateName = Field(description="the gate that may be missed")
    target: str = Field(default="*", min_length=1, description='glob over target names: "litert-*"')
    reason: str = Field(min_length=1, description="why; every report shows it")
    expires: date = Field(description="the last day on which it holds: 2026-12-31")


PackageKind = Literal["android", "ios", "python", "ort-mobile", "web", "c"]
"""Rows of ``bundle.packages``, which stands above this module: a test holds the two together."""


class PackageTable(_Closed):
    """`[[package]]`: what `release` makes of the bundle, as `edgekit package` does (packages.md)."""

    kind: PackageKind = Field(alias="for", description="kind of package")
    target: tuple[str, ...] = Field(
        default=(), description="targets of this recipe whose artifacts go in; by default what suits the kind"
    )
    name: str = Field(
        default="",
        description="the package's own name: import name, npm name, prefix; from the model's by default",
    )
    coreml: Literal["auto", "none", "fp16", "fp32", "int8"] = Field(
        default="auto",
        description="for ios: precision of the .mlpackage beside the LiteRT model (int8: weights); auto: "
        "fp16 where the extra coreml is installed and can convert the model, else none with the reason",
    )


class Recipe(_Closed):
    """A whole edgekit.toml."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    model: ModelTable
    data: DataTable
    optimize: OptimizeTable = Field(default_factory=OptimizeTable)
    budget: BudgetTable = Field(default_factory=BudgetTable)
    target: tuple[TargetTable, ...] = Field(min_length=1, description="at least one")
    waiver: tuple[WaiverTable, ...] = Field(default=(), description="gates that may be missed for a while")
    package: tuple[PackageTable, ...] = Field(default=(), description="packages beside the bundle")

    def resolved_json(self) -> str:
        """The recipe with all defaults filled in, as canonical JSON."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True) + "\n"

    def decisive_json(self) -> str:
        """What decides which artifacts ship: all but the packages that are made of them."""
        held = self.model_dump(mode="json", by_alias=True, exclude={"package"})
        return json.dumps(held, indent=2, sort_keys=True) + "\n"


def load(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        RecipeError: the file is missing, is no TOML, or has a key or value that is not in the schema.
    """
    if path.is_dir():
        path = path / "edgekit.toml"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"recipe {path} cannot be read",
            why=str(error),
            remedy="give the path of an edgekit.toml, or write one with `edgekit init`",
            more=_MORE,
        ) from error
    return parse(text, name=str(path))


def parse(text: str, *, name: str) -> Recipe:
    """The recipe in ``text``; ``name`` is how messages call it."""
    recipe = checked(text, Recipe, name=f"recipe {name}", schema="recipe", more=_MORE)
    repeated = sorted({t.name for t in recipe.target if sum(u.name == t.name for u in recipe.target) > 1})
    if repeated:
        raise RecipeError(
            f"recipe {name} names target {repeated[0]!r} twice",
            why="one artifact per target is released",
            remedy="remove one [[target]]",
            more=_MORE,
        )
    kinds = [table.kind for table in recipe.package]
    again = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    if again is not None:
        raise RecipeError(
            f"recipe {name} has two [[package]] for {again!r}",
            why="both would be written into one folder",
            remedy="remove one; `edgekit package -o FOLDER` writes others",
            more=_MORE,
        )
    return recipe
