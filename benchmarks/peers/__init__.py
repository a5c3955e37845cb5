"""The other converters to .tflite: who they are, where they run, and the files they and edgekit write.

    EDGEKIT_PEERS/<peer>/bin/python  ->  its interpreter; absent: the peer is skipped, with the reason
    model x precision x writer  ->  .tflite file, or why there is none

Peers pin what edgekit must not be pinned to, so each lives in an environment of its own (README.md says how
to make them); TensorFlow's converter is in edgekit's own extra ``keras``. The scripts beside this module run
there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = "EDGEKIT_PEERS"
EDGEKIT, LITERT_TORCH, TENSORFLOW, ONNX2TF = "edgekit", "litert-torch", "tensorflow", "onnx2tf"
WRITERS = (EDGEKIT, LITERT_TORCH, TENSORFLOW)
PRECISIONS = ("float", "int8", "dynamic")
EDGEKIT_PRECISION = {"int8": "w8a8", "dynamic": "dynamic"}  # as `edgekit quantize` names them
SAMPLES = 32  # of calibration; how many they are decides no latency
SIDE, TOKENS, WORDS = 224, 128, 30522
TIMEOUT_S = 1800


@dataclass(frozen=True)
class Model:
    """A reference model: its builder, and its inputs as ``edgekit export`` takes them."""

    name: str
    build: str
    inputs: tuple[str, ...]

    @property
    def source(self) -> str:
        """What ``edgekit export`` is given."""
        return f"{ROOT}/models/{self.name}/model.py:{self.build}"


def _image(name: str) -> Model:
    return Model(name, "build", (f"image:float32:1x3x{SIDE}x{SIDE}",))


MODELS = (
    _image("mobilenet_v2"),
    _image("mobilenet_v3_small"),
    _image("resnet18"),
    Model("text_bert", "build_large", (f"input_ids:int64:1x{TOKENS}", f"attention_mask:int64:1x{TOKENS}")),
)


@dataclass(frozen=True)
class Absent:
    """Why there is no file."""

    reason: str


def interpreter(writer: str) -> Path | Absent:
    """The Python that has ``writer``."""
    if writer in {EDGEKIT, TENSORFLOW}:
        return Path(sys.executable)
    folder = os.environ.get(ENVIRONMENTS)
    if not folder:
        return Absent(f"{ENVIRONMENTS} is not set")
    path = Path(folder) / writer / "bin" / "python"
    return path if path.exists() else Absent(f"no {path}")


def environment(**more: str) -> dict[str, str]:
    """One thread, no accelerator, this checkout on the path."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **more,
    }


def ask(command: Sequence[str], wanted: Path, cwd: Path) -> Path | Absent:
    """Run ``command``; the file that it shall write, or its last words."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Absent(f"took more than {TIMEOUT_S} s")
    if done.returncode or not wanted.is_file():
        words = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        said = next((line for line in words if line.startswith("error:")), words[-1] if words else "")
        return Absent(f"exit status {done.returncode}: {said.strip()[:300]}")
    return wanted


def calibration_data(folder: Path) -> None:
    """``images.npz`` as the recipes prepare them (n, 3, 224, 224), ``text_bert.npz`` with ids and masks."""
    from edgekit import dataset, recipe

    home = ROOT / "models" / "mobilenet_v2"  # the three backbones have one recipe for their data
    plan = recipe.load(home / "edgekit.toml")
    source = plan.data.calibration
    assert source is not None
    data = dataset.load(
        dataset.DataSource("../photographs.py:calibration"),
        inputs=tuple(table.spec() for table in plan.model.inputs),
        base=home,
        preprocess=plan.data.preprocess,
    )
    pictures = next(data.batches(data.count))["image"][:SAMPLES]
    for model in MODELS[:3]:
        np.savez(folder / f"{model.name}.npz", image=pictures)
    rng = np.random.default_rng(0)  # its weights are seeded, its words may be so too
    ids = rng.integers(5, WORDS, (SAMPLES, TOKENS))
    mask = (np.arange(TOKENS) < rng.integers(TOKENS // 4, TOKENS + 1, (SAMPLES, 1))).astype(np.int64)
    np.savez(folder / "text_bert.npz", input_ids=ids * mask, attention_mask=mask)


def write_onnx(model: Model, folder: Path) -> Path | Absent:
    """``edgekit export``: the float model."""
    out = folder / f"{model.name}.onnx"
    if out.is_file():
        return out
    inputs = [word for spec in model.inputs for word in ("--input", spec)]
    return ask(
        [sys.executable, "-m", "edgekit", "export", model.source, *inputs, "-q", "-o", str(out)], out, ROOT
    )


def write_tflite(model: Model, precision: str, writer: str, folder: Path) -> Path | Absent:
    """The file of one writer; one that is there already is taken as it is."""
    out = folder / f"{model.name}.{precision}.{writer}.tflite"
    if out.is_file():
        return out
    if writer == EDGEKIT:
        return _ours(model, precision, folder, out)
    python = interpreter(writer)
    if isinstance(python, Absent):
        return python
    data = str(folder / f"{model.name}.npz")
    if writer == TENSORFLOW:
        script = HERE / "from_keras.py"
        return ask([str(python), str(script), model.name, precision, data, str(out)], out, folder)
    if precision == "float":
        script = HERE / "from_torch.py"
        return ask([str(python), str(script), model.name, model.build, str(out)], out, folder)
    source = write_tflite(model, "float", writer, folder)
    if isinstance(source, Absent):
        return source
    script = HERE / "quantized.py"
    return ask([str(python), str(script), str(source), precision, data, str(out)], out, folder)


def _ours(model: Model, precision: str, folder: Path, out: Path) -> Path | Absent:
    onnx = write_onnx(model, folder)
    if isinstance(onnx, Absent):
        return onnx
    edgekit = [sys.executable, "-m", "edgekit"]
    if precision in EDGEKIT_PRECISION:
        quantized = folder / f"{model.name}.{precision}.onnx"
        flags = ["--target", "litert-cpu", "--precision", EDGEKIT_PRECISION[precision]]
        flags += ["--calibration-data", str(folder / f"{model.name}.npz"), "-q", "-o", str(quantized)]
        made = ask([*edgekit, "quantize", str(onnx), *flags], quantized, folder)
        if isinstance(made, Absent):
            return made
        onnx = quantized
    built = folder / f"built-{model.name}-{precision}"
    flags = ["--target", "litert-cpu", "-q", "-o", str(built)]
    done = ask([*edgekit, "compile", str(onnx), *flags], built, folder) if not built.is_dir() else built
    found = sorted(built.glob("*.tflite"))
    if not found:
        return done if isinstance(done, Absent) else Absent("edgekit compile wrote no file")
    found[0].rename(out)  # without its description: every file is opened in the same way
    return out


def versions() -> Mapping[str, object]:
    """Peer -> versions of its packages, as its interpreter says, or why it is absent."""
    found: dict[str, object] = {}
    wanted = {
        LITERT_TORCH: ("litert-torch", "ai-edge-quantizer", "torch"),
        TENSORFLOW: ("tensorflow-cpu", "keras", "ai-edge-litert"),
        ONNX2TF: ("onnx2tf", "onnx", "ai-edge-litert"),
    }
    code = (
        "import json,sys\nfrom importlib import metadata\nfound={}\nfor name in sys.argv[1:]:\n"
        " try: found[name]=metadata.version(name)\n"
        " except metadata.PackageNotFoundError: found[name]=None\nprint(json.dumps(found))"
    )
    for writer, names in wanted.items():
        python = interpreter(writer)
        if isinstance(python, Absent):
            found[writer] = python.reason
            continue
        done = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=True)
        found[writer] = json.loads(done.stdout)
    return found
