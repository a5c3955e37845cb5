"""Two tiny models with their data, a matrix of 24 rows over them, and a Dask cluster on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REPO = Path(__file__).parents[3]
SAMPLES = 128
_RECIPE = """schema = 1
[model]
name = "{name}"
version = "1.0.0"
source = "{name}.onnx"
[data]
calibration = {{ source = "{name}.npz", samples = 16 }}
evaluation = {{ source = "{name}.npz", metric = "top1" }}
[optimize]
quantize = {{ precision = "w8a8", restore = "none" }}
[budget]
max_drop_pp = 50.0
never_slower = false
max_latency_ms = 10_000
on_inconclusive = "pass"
[[target]]
name = "onnxruntime-cpu"
[[target]]
name = "litert-cpu"
budget = {{ max_size_bytes = 100 }}
"""
MATRIX = """schema = 1
recipes = ["models/one.toml", "models/two.toml"]
[options]
precision = ["fp32", "w8a8"]
threads = [1, 2, 3]
[run]
wait_s = 120
rounds = 10
"""


def write(folder: Path, *, matrix: str = MATRIX, recipe: str = _RECIPE) -> Path:
    """Models, data, recipes and MATRIX.toml; its path."""
    models = folder / "models"
    models.mkdir(parents=True)
    for seed, name in enumerate(("one", "two")):
        _model(models / name, seed=seed)
        (models / f"{name}.toml").write_text(recipe.format(name=name))
    path = folder / "matrix.toml"
    path.write_text(matrix)
    return path


def _model(path: Path, *, seed: int) -> None:
    """image (batch, 1, 8, 8) -> conv, relu, linear -> logits (batch, 4); data with its labels."""
    rng = np.random.default_rng(seed)
    conv = rng.normal(0, 0.5, (4, 1, 3, 3)).astype(np.float32)
    linear = rng.normal(0, 0.3, (4 * 6 * 6, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "conv"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "linear"], ["logits"], name="linear"),
    ]
    graph = helper.make_graph(
        nodes,
        path.name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(conv, "conv"), numpy_helper.from_array(linear, "linear")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, f"{path}.onnx")
    images = rng.random((SAMPLES, 1, 8, 8), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(images[:, 0], (3, 3), axis=(1, 2))
    hidden = np.maximum(np.einsum("nijkl,ckl->ncij", windows, conv[:, 0]), 0).reshape(SAMPLES, -1)
    labels = (hidden @ linear).argmax(axis=1)
    np.savez(f"{path}.npz", image=images, labels=labels)


@dataclass
class Cluster:
    """A scheduler and workers that are processes of this machine, reachable on loopback alone.

    Attributes:
        workers: by name; each is the process itself, so that no nanny starts another in its place. Where one
            was asked for, it is the nanny.
    """

    address: str
    folder: Path
    scheduler: subprocess.Popen[bytes]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def add(self, name: str, resources: str, *, nanny: bool = False) -> None:
        """One more worker that announces ``resources``."""
        self.workers[name] = _started(
            [
                *(
                    "worker",
                    self.address,
                    "--host",
                    "127.0.0.1",
                    "--nanny" if nanny else "--no-nanny",
                    "--no-dashboard",
                ),
                *("--nthreads", "1", "--memory-limit", "0", "--name", name, "--resources", resources),
                *("--local-directory", str(self.folder / name)),
            ],
            self.folder / f"{name}.log",
        )

    def wait(self) -> None:
        """Until all of them are known."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=120) as client:
            client.wait_for_workers(len(self.workers), timeout=300)

    def close(self) -> None:
        """End all processes."""
        for process in [*self.workers.values(), self.scheduler]:
            process.terminate()  # a nanny ends its worker then
        for process in [*self.workers.values(), self.scheduler]:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _started(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), *sys.path])}
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=file, stderr=file, env=environment
        )


@contextmanager
def cluster(folder: Path, resources: list[str]) -> Iterator[Cluster]:
    """A cluster with a worker for each of ``resources``."""
    folder.mkdir(parents=True)
    told = folder / "scheduler.json"
    scheduler = _started(
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told)],
        folder / "scheduler.log",
    )
    found = Cluster("", folder, scheduler)
    try:
        found.address = _address(told)
        for place, each in enumerate(resources):
            found.add(f"w{place}", each)
        found.wait()
        yield found
    finally:
        found.close()


def _address(file: Path) -> str:
    for _ in range(600):
        if file.is_file() and file.read_text().endswith("}"):
            address: str = json.loads(file.read_text())["address"]
            return address
        time.sleep(0.1)
    raise AssertionError("the scheduler did not start")
