"""A bundle with every case that an app's code must get right, and tools that may be absent.

photo   uint8 (7, 6, 3) -> resize, scale, normalize, channels first -> float32 -> permuted -> uint8 inside
ids     int64, int32 inside          flags   bool
scores  float32, int8 inside, with a step          top   int64
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import pytest
import tree_sitter

from edgekit.backends.base import file_entries
from edgekit.backends.bindings import reference_from_artifact
from edgekit.bundle.evidence import MachineFacts
from edgekit.bundle.golden import tolerance_for
from edgekit.bundle.packages.base import Options, Source, Tools
from edgekit.bundle.packages.converted import Converted
from edgekit.bundle.processing import InputProcessing, OutputProcessing, Processing, RawTensor
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.preprocess import Bytes, Layout, Normalize, Resize, Scale
from edgekit.spec import (
    Array,
    Artifact,
    Feeds,
    IoBinding,
    Precision,
    QuantParams,
    RunOptions,
    Session,
    TensorSpec,
)

SAMPLES = 3
STEP = 0.25
STEPS = (
    Resize(op="resize", size=(4, 5), method="bilinear"),
    Bytes(op="bytes"),
    Scale(op="scale", by=1 / 255),
    Normalize(op="normalize", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Layout(op="layout", to="NCHW"),
)
HOSTILE = (
    '"; System.exit(1); //',
    "*/ import Darwin; /*",
    "${System.exit(1)} \\(exit(1)) \\u0022 @@TYPE@@",
    "class",
    "новое\n\u2028name\U0001f600",
)


def inputs(names: tuple[str, str, str]) -> tuple[IoBinding, ...]:
    photo = TensorSpec(names[0], "float32", ("batch", 3, 4, 5))
    ids = TensorSpec(names[1], "int64", ("batch", 6))
    flags = TensorSpec(names[2], "bool", (1, 2))
    quant = QuantParams("uint8", (0.02,), (117,))
    return (
        IoBinding(photo, names[0], "uint8", ("batch", 4, 5, 3), (0, 2, 3, 1), quant),
        IoBinding(ids, names[1], "int32", ("batch", 6)),
        IoBinding(flags, names[2], "bool", (1, 2)),
    )


def outputs(names: tuple[str, str]) -> tuple[IoBinding, ...]:
    scores = TensorSpec(names[0], "float32", ("batch", 2, 3))
    top = TensorSpec(names[1], "int64", ("batch", 2))
    quant = QuantParams("int8", (STEP,), (-3,))
    return (
        IoBinding(scores, names[0], "int8", ("batch", 3, 2), (0, 2, 1), quant),
        IoBinding(top, names[1], "int64", ("batch", 2)),
    )


def raw_samples(names: tuple[str, str, str]) -> dict[str, Array]:
    rng = np.random.default_rng(9)
    return {
        names[0]: rng.integers(0, 256, (SAMPLES, 7, 6, 3), dtype=np.uint8),
        names[1]: rng.integers(-5, 2**31 - 1, (SAMPLES, 6)).astype(np.int64),
        names[2]: rng.integers(0, 2, (SAMPLES, 2)).astype(np.bool_),
    }


def bundle(
    folder: Path,
    *,
    name: str = "photo-net",
    labels: Sequence[str] = (),
    ins: tuple[str, str, str] = ("photo", "ids", "flags"),
    outs: tuple[str, str] = ("scores", "top"),
    types: Literal["all", "of Core ML"] = "all",
) -> Path:
    """The bundle, with a model file that no runtime would take: nothing here runs it.

    ``types``: Core ML has no truth values and no integers of 64 bits.
    """
    kept, largest = (3, 2**40) if types == "all" else (2, 2**30)
    work = folder / "work"
    work.mkdir(parents=True)
    (work / "m.tflite").write_bytes(bytes(range(256)) * 64)
    rng = np.random.default_rng(3)
    bound = outputs(outs)
    recorded = reference_from_artifact(
        {
            outs[0]: rng.integers(-128, 128, (SAMPLES, 3, 2)).astype(np.int8),
            outs[1]: rng.integers(-largest, largest, (SAMPLES, 2)),
        },
        bound,
    )
    artifact = Artifact(
        folder=work,
        files=file_entries(work, ["m.tflite"]),
        target="litert-cpu",
        backend="litert",
        precision=Precision.W8A8,
        options=RunOptions(),
        inputs=inputs(ins)[:kept],
        outputs=bound,
        output_steps={outs[0]: STEP},
        tools={"ai-edge-litert": "2.3.0"},
    )
    around = Processing(
        inputs=(
            InputProcessing(name=ins[0], raw=RawTensor(dtype="uint8", shape=(None, None, 3)), steps=STEPS),
        ),
        outputs=(OutputProcessing(name=outs[0], labels="files/labels.txt" if labels else ""),),
    )
    text = "".join(f"{label}\n" for label in labels).encode()
    content = BundleContent(
        name=name,
        version="1.2.0",
        edgekit_version="0.1",
        model_digest="m" * 64,
        recipe={"schema": 1, "model": {"source": "model.py:build"}},
        ranges={},
        lock=b"lock\n",
        golden_inputs={name: raw_samples(ins)[name] for name in ins[:kept]},
        processing=around,
        associated={"labels.txt": text} if text else {},
        shipped=(Shipped(artifact, tolerance_for(Precision.W8A8), recorded, around),),
        machine=MachineFacts(key="k"),
        created="2026-01-01T00:00:00Z",
    )
    return write(content, folder / f"{name}-1.2.0")


def converted(folder: Path) -> Converted:
    """What a converter would give for the bundle at ``folder``: the recorded outputs as the float model's."""
    source = Source.at(folder)
    entry = source.manifest.targets[0]
    names = [each.reference.name for each in (*entry.artifact.inputs, *entry.artifact.outputs)]
    return Converted(
        files={"Manifest.json": b"{}\n", "Data/com.apple.CoreML/model.mlmodel": b"model"},
        precision="fp16",
        features=dict(zip(names, names, strict=True)),
        outputs=source.golden_outputs(entry),
        weights="1 of 1",
        ran="",
        drift=None,
        tools={"coremltools": "9.0"},
    )


def options(*, name: str = "", coreml: Converted | str = "nobody named the recipe") -> Options:
    """Options whose tools must not be needed, apart from the converter for Core ML."""

    def opened(artifact: Artifact) -> Session:
        raise AssertionError(artifact)

    def native(feeds: Feeds, bindings: tuple[IoBinding, ...]) -> dict[str, Array]:
        raise AssertionError(feeds, bindings)

    return Options(tools=Tools(opened, native, coreml=lambda source, entry: coreml), name=name)


def absent(reason: str) -> NoReturn:
    """Skip, or fail where everything must be here (REQUIRE_ALL=1)."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def tool(name: str, *, package: str) -> str:
    """The path of a program of this machine."""
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not here (Debian: apt-get install {package})")
    return found


def syntax_errors(code: bytes, language: object) -> list[str]:
    """Lines of ``code`` with what the grammar of ``language`` cannot read."""
    tree = tree_sitter.Parser(tree_sitter.Language(language)).parse(code)
    found, nodes = [], [tree.root_node]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {code[node.start_byte : node.end_byte][:60]!r}")
        nodes += node.children
    return found
