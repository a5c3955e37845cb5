"""Folder --plant--> one real file of each kind that a stranger may hand in: what the fuzzer damages.

ONNX   a float CNN · the same quantized (QDQ) · an attention block · a graph with a branch · external data
TFLite, OpenVINO's XML   what `compile` makes of the CNN, float and quantized
npz · TOML   evaluation data and the recipe of the shipped example, cut down to a few samples
bundle   a release of that example, as a folder and as its archive
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "edgekit" / "_examples" / "digits-cnn"
SAMPLES = 24  # of data: a run that goes through must be short
WEIGHTS_SEED = 0

CNN = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,1,8,8] image) => (float[batch,10] scores)
<float[4,1,3,3] w, float[4] b, float[4] scale, float[4] shift, float[4] mean, float[4] var, float[4,1,3,3] dw,
 float[4,10] head, float[10] head_b>
{
  h = Conv<pads = [1,1,1,1]>(image, w, b)
  n = BatchNormalization(h, scale, shift, mean, var)
  r = Relu(n)
  d = Conv<pads = [1,1,1,1], group = 4>(r, dw)
  s = Add(d, r)
  p = GlobalAveragePool(s)
  f = Flatten(p)
  scores = Gemm(f, head, head_b)
}
"""
ATTENTION = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1,6,8] x) => (float[1,6,8] y)
<float[8,8] wq, float[8,8] wk, float[8,8] wv, float[8] scale, float[8] shift, float[1] root>
{
  q = MatMul(x, wq)
  k = MatMul(x, wk)
  v = MatMul(x, wv)
  kt = Transpose<perm = [0,2,1]>(k)
  a = MatMul(q, kt)
  c = Mul(a, root)
  w = Softmax<axis = -1>(c)
  o = MatMul(w, v)
  e = Add(o, x)
  y = LayerNormalization<axis = -1>(e, scale, shift)
}
"""
BRANCH = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[2,4] x) => (float[2,4] y)
<float[4] w>
{
  m = ReduceMean<keepdims = 0>(x)
  zero = Constant<value = float {0}>()
  c = Greater(m, zero)
  y = If (c) <
    then_branch = t () => (float[2,4] a) { a = Mul(x, w) },
    else_branch = f () => (float[2,4] b) { b = Add(x, w) }
  >
}
"""


@dataclass(frozen=True)
class Seed:
    """One healthy input.

    Attributes:
        kind: "onnx", "tflite", "xml", "npz", "toml", "bundle" or "tar".
        path: the file that is damaged; a folder for "bundle".
        beside: files that must lie beside it.
    """

    kind: str
    path: Path
    beside: tuple[Path, ...] = ()


def plant(folder: Path, *, cache: Path) -> tuple[Seed, ...]:
    """Make every seed under ``folder``; compiled ones and the bundle by the command line itself."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        name: _model(text) for name, text in (("cnn", CNN), ("attention", ATTENTION), ("branch", BRANCH))
    }
    seeds = []
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
        seeds.append(Seed("onnx", folder / f"{name}.onnx"))
    onnx.save(
        models["cnn"],
        folder / "outside.onnx",
        save_as_external_data=True,
        location="outside.bin",
        size_threshold=16,
    )
    seeds.append(Seed("onnx", folder / "outside.onnx", (folder / "outside.bin",)))
    rng = np.random.default_rng(WEIGHTS_SEED)
    np.savez(folder / "calibration.npz", image=rng.standard_normal((32, 1, 8, 8)).astype(np.float32))
    images = rng.standard_normal((SAMPLES, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "labelled.npz", image=images, labels=_labels(folder / "cnn.onnx", images))
    run = _Cli(cache)
    quantized = folder / "quantized.onnx"
    run(
        "quantize",
        folder / "cnn.onnx",
        "--calibration-data",
        folder / "calibration.npz",
        "--precision",
        "w8a8",
        "-o",
        quantized,
    )
    seeds += [Seed("onnx", quantized), Seed("npz", folder / "labelled.npz")]
    for source in (folder / "cnn.onnx", quantized):
        out = folder / f"compiled-{source.stem}"
        run("compile", source, "--target", "litert-cpu", "--target", "openvino-cpu", "-o", out)
        seeds += [Seed("tflite", path) for path in sorted(out.rglob("*.tflite"))]
        seeds += [Seed("xml", path, (path.with_suffix(".bin"),)) for path in sorted(out.rglob("*.xml"))]
    recipe = _recipe(folder / "recipe")
    seeds.append(Seed("toml", recipe, tuple(sorted(p for p in recipe.parent.iterdir() if p != recipe))))
    run("release", recipe, "-o", folder / "dist")
    (bundle,) = (path for path in (folder / "dist").iterdir() if path.is_dir())
    seeds += [Seed("bundle", bundle), Seed("tar", bundle.with_name(bundle.name + ".tar"))]
    return tuple(seeds)


def _model(text: str) -> onnx.ModelProto:
    """A parsed model; what it declares without a value becomes a drawn initializer."""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(WEIGHTS_SEED)
    for declared in model.graph.value_info:
        shape = tuple(dim.dim_value for dim in declared.type.tensor_type.shape.dim)
        values = rng.standard_normal(shape).astype(np.float32)
        drawn = np.abs(values) + 0.5 if declared.name in ("var", "scale") else values  # of BatchNormalization
        model.graph.initializer.append(onnx.numpy_helper.from_array(drawn.astype(np.float32), declared.name))
    model.graph.ClearField("value_info")
    onnx.checker.check_model(model)
    return model


def _labels(model: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the model says itself: data on which a model is at chance is refused before anything else."""
    import onnxruntime

    (scores,) = onnxruntime.InferenceSession(model).run(None, {"image": images})
    labels: np.ndarray[Any, Any] = np.asarray(scores).argmax(1)
    return labels


def _recipe(folder: Path) -> Path:
    """The shipped example with few samples: a damaged recipe that still means something runs to its end."""
    shutil.copytree(EXAMPLE, folder)
    for name in ("calibration.npz", "evaluation.npz"):
        with np.load(folder / name) as archive:
            arrays = {key: archive[key][:200] for key in archive.files}
        np.savez(folder / name, **arrays)
    recipe = folder / "edgekit.toml"
    text = recipe.read_text("utf-8")
    loose = text.replace("max_drop_pp = 1.0", "max_drop_pp = 40.0").replace(
        "never_slower = true", "never_slower = false"
    )
    recipe.write_text(loose, "utf-8")  # a few samples prove no tight budget
    return recipe


class _Cli:
    """The command line in a process of its own; a seed that cannot be made is an error here."""

    def __init__(self, cache: Path) -> None:
        self._environment = {**os.environ, "EDGEKIT_CACHE": str(cache)}

    def __call__(self, *words: object) -> None:
        command = [sys.executable, "-m", "edgekit", *(str(word) for word in words), "-q"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
