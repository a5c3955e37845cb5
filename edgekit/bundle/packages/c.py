"""Artifact for LiteRT -> C header with the specification and the model as an aligned array, for TFLite Micro.

    <prefix>.h            names, types, shapes, scales, labels, arena size, SHA-256; the array where
                          <PREFIX>_IMPLEMENTATION is defined
    <prefix>_golden.h     golden vectors in the file's own types and layouts, sample by sample
    <prefix>_self_test.*  the array's SHA-256 and the golden vectors, around the app's own inference
    <file>.tflite         the same bytes

C99 and C++11, without a warning. Refused is what TFLite Micro cannot run (``tflite_micro``). Names of a model
become string literals or nothing at all (``c_text``); the prefix is an identifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.bundle.manifest import TargetEntry
from edgekit.bundle.packages import c_text, names, tflite_micro
from edgekit.bundle.packages.base import Contents, Options, Source
from edgekit.bundle.packages.memory_plan import MemoryPlan, memory_plan
from edgekit.bundle.packages.replay import closed
from edgekit.bundle.packages.templates import filled
from edgekit.errors import TargetRefusalError
from edgekit.preprocess import Normalize, Scale
from edgekit.spec import IoBinding

BACKENDS = ("litert",)
HOLDS: Literal["one"] = "one"
PREFERRED = ("litert-arm64", "litert-cpu")
ALIGNMENT_BYTES = 16  # TFLite Micro reads weights in place


@dataclass(frozen=True)
class _Model:
    """Everything that the texts are made of."""

    prefix: str
    title: str
    entry: TargetEntry
    inputs: tuple[IoBinding, ...]
    outputs: tuple[IoBinding, ...]
    file: str
    content: bytes
    plan: MemoryPlan
    labels: tuple[str, ...]
    given: Mapping[str, npt.NDArray[Any]]
    wanted: Mapping[str, npt.NDArray[Any]]

    @property
    def macro(self) -> str:
        """The prefix of macros."""
        return self.prefix.upper()

    @property
    def samples(self) -> int:
        """How many golden inferences there are: a file of a fixed batch takes several samples in one."""
        first = self.inputs[0]
        return self.given[first.name].size // _size(first)


def unsuitable(entry: TargetEntry) -> str:
    """A type that C has no name for, a scale for each channel, or an open axis besides the batch."""
    for each in (*entry.artifact.inputs, *entry.artifact.outputs):
        if each.dtype not in c_text.TYPES:
            return f"{each.name} is {each.dtype}, and C has no such type"
        if each.quant is not None and len(each.quant.scale) != 1:
            return f"{each.name} has a scale for each channel, and the header knows one"
        if any(not isinstance(dim, int) for dim in each.shape[1:]):
            return f"{each.name} has an open axis besides the batch, and TFLite Micro resizes nothing"
    return ""


def files(source: Source, chosen: tuple[TargetEntry, ...], *, options: Options) -> Contents:
    """Header, golden vectors, self-test, the .tflite, README.

    Raises:
        TargetRefusalError: TFLite Micro cannot run the file; every operator is named with its reason.
    """
    entry = chosen[0]
    name, content = next(iter(source.artifact_files(entry).items()))
    graph = options.tools.read_tflite(content, name=name)
    found = tflite_micro.rejections(graph)
    if found:
        raise TargetRefusalError(
            f"TFLite Micro cannot run {name} ({len(found)} reasons)",
            why="; ".join(f"{each.node}: {each.reason}" for each in found),
            remedy=found[0].remedy,
            more="docs/packages.md#c",
            rejections=found,
        )
    model = _Model(
        prefix=names.asked_identifier(options.name).lower()
        if options.name
        else names.identifier(source.manifest.name),
        title=f"{source.manifest.name} {source.manifest.version}",
        entry=entry,
        inputs=tuple(closed(each, 1) for each in entry.artifact.inputs),
        outputs=tuple(closed(each, 1) for each in entry.artifact.outputs),
        file=name,
        content=content,
        plan=memory_plan(graph),
        labels=source.labels(entry),
        given=options.tools.native(source.golden_inputs(entry), entry.artifact.inputs),
        wanted=options.tools.native(source.golden_outputs(entry), entry.artifact.outputs),
    )
    words = {"prefix": model.prefix, "PREFIX": model.macro, "title": model.title}
    registrations = tflite_micro.registrations(graph)
    readme = filled(
        "c/readme.txt",
        file=name,
        table=_table(model),
        count=str(len(registrations)),
        registrations="\n".join(f"resolver.{each}();" for each in registrations),
        arena=str(model.plan.arena_bytes),
        activations=str(model.plan.activations),
        kept=str(model.plan.kept),
        version=tflite_micro.table()[0],
        signature=source.signature,
        **words,
    )
    held = {
        f"{model.prefix}.h": _header(model, source),
        f"{model.prefix}_golden.h": _golden(model),
        f"{model.prefix}_self_test.h": filled("c/self_test_header.txt", **words),
        f"{model.prefix}_self_test.c": filled("c/self_test.txt", body=_self_test_body(model), **words),
        "README.md": readme,
    }
    return Contents(
        {**{path: body.encode() for path, body in held.items()}, name: content},
        facts={
            "arena (estimate)": f"{model.plan.arena_bytes} bytes",
            "activations": f"{model.plan.activations} bytes",
            "kernels": ", ".join(registrations),
        },
    )


def _header(model: _Model, source: Source) -> str:
    up, low = model.macro, model.prefix
    file = model.entry.artifact.files[0]
    lines = [
        f"/* {model.title} for TFLite Micro: specification and model. Written by edgekit. */",
        f"#ifndef {up}_H_",
        f"#define {up}_H_",
        "",
        "#include <stdint.h>",
        "",
        f"#define {up}_NAME {c_text.text(source.manifest.name)}",
        f"#define {up}_VERSION {c_text.text(source.manifest.version)}",
        f"#define {up}_PRECISION {c_text.text(str(model.entry.precision))}",
        f"#define {up}_MODEL_SHA256 {c_text.text(file.sha256)}",
        f"#define {up}_MODEL_SIZE_BYTES {len(model.content)}u",
        f"#define {up}_MANIFEST_DIGEST {c_text.text(source.manifest.digest)}",
        f"#define {up}_SIGNATURE {c_text.text(source.signature)}",
        "",
        "/* An estimate: activations as TFLite Micro's planner places them, and structures (README.md). */",
        f"#define {up}_ARENA_BYTES {model.plan.arena_bytes}",
        "",
    ]
    for side, bindings in (("INPUT", model.inputs), ("OUTPUT", model.outputs)):
        lines.append(f"#define {up}_{side}_COUNT {len(bindings)}")
        for index, binding in enumerate(bindings):
            lines += _binding(f"{up}_{side}{index}", binding)
        lines.append("")
    if model.labels:
        lines += [
            f"#define {up}_LABEL_COUNT {len(model.labels)}",
            f"#define {up}_LABELS {c_text.braces(map(c_text.text, model.labels))}",
            "",
        ]
    for index, binding in enumerate(model.inputs):
        lines += _normalization(f"{low}_input{index}", binding, model.entry)
    lines += [
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        f"extern const unsigned char {low}_model[{up}_MODEL_SIZE_BYTES];",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        f"#ifdef {up}_IMPLEMENTATION",
        "#if defined(_MSC_VER)",
        f"__declspec(align({ALIGNMENT_BYTES}))",
        "#else",
        f"__attribute__((aligned({ALIGNMENT_BYTES})))",
        "#endif",
        f"const unsigned char {low}_model[{up}_MODEL_SIZE_BYTES] = {{",
        c_text.array_bytes(model.content),
        "};",
        "#endif",
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _size(binding: IoBinding) -> int:
    """Number of elements of one inference."""
    return prod(dim for dim in binding.shape if isinstance(dim, int))


def _binding(stem: str, binding: IoBinding) -> list[str]:
    dims = [str(dim) for dim in binding.shape]
    lines = [
        f"#define {stem}_NAME {c_text.text(binding.name)}",
        f"#define {stem}_TYPE {c_text.TYPES[binding.dtype]}",
        f"#define {stem}_RANK {len(dims)}",
        f"#define {stem}_DIMS {c_text.braces(dims)}",
        f"#define {stem}_SIZE {_size(binding)}",
    ]
    if binding.quant is not None:
        lines += [
            f"#define {stem}_SCALE {c_text.real(binding.quant.scale[0])}",
            f"#define {stem}_ZERO_POINT {binding.quant.zero_point[0]}",
        ]
    return lines


def _normalization(stem: str, binding: IoBinding, entry: TargetEntry) -> list[str]:
    """A function for the steps that change single values; the others are named for the app to do before."""
    steps = next((each.steps for each in entry.processing.inputs if each.name == binding.reference.name), ())
    body, other = [], []
    for step in steps:
        match step:
            case Scale():
                body.append(f"  value *= {c_text.real(step.by)};")
            case Normalize():
                for name, values in (("mean", step.mean), ("std", step.std)):
                    held = c_text.braces(map(c_text.real, values))
                    body.append(f"  static const float {name}[{len(values)}] = {held};")
                index = "channel" if len(step.mean) > 1 else "0"
                other_index = "channel" if len(step.std) > 1 else "0"
                body.append(f"  value = (value - mean[{index}]) / std[{other_index}];")
            case _:
                other.append(step.op)
    if not steps:
        return []
    if sum(isinstance(step, Normalize) for step in steps) > 1:
        return [f"/* {stem}: more than one normalize step: see processing in the bundle's manifest. */", ""]
    said = f" The app does besides, in the order of the manifest: {', '.join(other)}." if other else ""
    if not body:
        return [f"/* {stem}:{said} */", ""]
    return [
        f"/* One raw value of {stem} -> what the model takes.{said} */",
        f"static inline float {stem}_normalized(float value, int channel) {{",
        *body,
        "  (void)channel;",
        "  return value;",
        "}",
        "",
    ]


def _golden(model: _Model) -> str:
    up, low = model.macro, model.prefix
    lines = [
        f"/* Golden vectors of {model.title}, in the types and layouts of the file. Written by edgekit. */",
        f"#ifndef {up}_GOLDEN_H_",
        f"#define {up}_GOLDEN_H_",
        "",
        "#include <stdint.h>",
        "",
        f"#define {up}_GOLDEN_SAMPLES {model.samples}",
        "",
    ]
    sides = (("input", model.inputs, model.given), ("output", model.outputs, model.wanted))
    for side, bindings, arrays in sides:
        for index, binding in enumerate(bindings):
            values = arrays[binding.name]
            kind = c_text.TYPES[binding.dtype]
            lines += [
                f"static const {kind} {low}_golden_{side}{index}[{values.size}] = {{",
                c_text.wrapped(c_text.numbers(values)),
                "};",
                "",
            ]
    return "\n".join([*lines, "#endif", ""])


def _self_test_body(model: _Model) -> str:
    """Runs each sample and compares each output, in steps or as a part of its range."""
    up, low = model.macro, model.prefix
    outputs = [
        f"  static {c_text.TYPES[each.dtype]} found{index}[{up}_OUTPUT{index}_SIZE];"
        for index, each in enumerate(model.outputs)
    ]
    lines = [
        *outputs,
        f"  const void *inputs[{up}_INPUT_COUNT];",
        f"  void *outputs[{up}_OUTPUT_COUNT];",
        "  float largest = 0.0f;",
        "  int sample, first = 0, at;",
        f"  if (!{low}_check_model()) return -1;",
        f"  for (sample = 0; sample < {up}_GOLDEN_SAMPLES; ++sample) {{",
    ]
    lines += [
        f"    inputs[{index}] = {low}_golden_input{index} + sample * {up}_INPUT{index}_SIZE;"
        for index in range(len(model.inputs))
    ]
    lines += [f"    outputs[{index}] = found{index};" for index in range(len(model.outputs))]
    lines.append("    if (run(inputs, outputs, context) != 0) return -2;")
    for index, each in enumerate(model.outputs):
        unit = c_text.real(_allowed(model, each))
        lines += [
            f"    for (at = 0; at < {up}_OUTPUT{index}_SIZE; ++at) {{",
            f"      const int place = sample * {up}_OUTPUT{index}_SIZE + at;",
            f"      const float wanted = (float){low}_golden_output{index}[place];",
            f"      const float difference = (float)found{index}[at] - wanted;",
            f"      const float part = (difference < 0.0f ? -difference : difference) / {unit};",
            "      if (!(part <= 1.0f) && first == 0) first = sample + 1; /* NaN too */",
            "      if (!(part <= largest)) largest = part;",
            "    }",
        ]
    return "\n".join([*lines, "  }", "  if (worst) *worst = largest;", "  return first;"])


def _allowed(model: _Model, binding: IoBinding) -> float:
    """What one element may differ by, in the unit in which the file gives it."""
    tolerance, steps = model.entry.tolerance, model.entry.artifact.output_steps
    if binding.quant is not None:
        return tolerance.steps
    step = steps.get(binding.reference.name)
    if step is not None:
        return tolerance.steps * step
    wanted = model.wanted[binding.name].astype(np.float64)
    spread = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
    return tolerance.relative_to_range * spread


def _table(model: _Model) -> str:
    rows = [("input", each) for each in model.inputs] + [("output", each) for each in model.outputs]
    return "\n".join(
        f"| {side} | `{each.reference.name}` | {c_text.TYPES[each.dtype]} | "
        f"{' x '.join(map(str, each.shape))} |"
        for side, each in rows
    )
