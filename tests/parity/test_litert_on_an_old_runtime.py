"""int8 files of edgekit on tflite_runtime 2.14 (of 2023, the last one), in a process of its own.

Every operator is written in the lowest version that has what it uses (``backends.litert.versions``): a
version too high is refused here by name. Tolerance against ONNX Runtime: that of the builtin kernels in
test_litert_int8 (2 steps on 95 % of the values, 5 on 99.9 %); the same seeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.backends.bindings import artifact_from_reference, reference_from_artifact
from edgekit.backends.litert import flatbuffer
from tests.parity.test_litert_int8 import CASES, Case, _model
from tests.unit.litert.litert_models import compiled, run_onnx
from tests.unit.measure import loopback

# Runs there: folder -> for each file its outputs beside it, or the reason why not.
_RUN = """
import json, pathlib, sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
reasons = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.tflite")):
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        with np.load(path.with_suffix(".feeds.npz")) as feeds:
            for detail in interpreter.get_input_details():
                interpreter.set_tensor(detail["index"], feeds[detail["name"]])
        interpreter.invoke()
        details = interpreter.get_output_details()
        outputs = {each["name"]: interpreter.get_tensor(each["index"]) for each in details}
        np.savez(path.with_suffix(".outputs.npz"), **outputs)
    except (ValueError, RuntimeError) as error:
        reasons[path.stem] = str(error)
print(json.dumps(reasons))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """All cases in one process of the old runtime: their folder, and why some did not run."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite_runtime 2.14 has no wheel for this Python")
    python = loopback.environment("numpy<2", "tflite_runtime==2.14.0")
    folder = tmp_path_factory.mktemp("old-runtime")
    for case in CASES:
        built, feeds = _model(case)
        made = compiled(built)
        (folder / f"{case.id}.tflite").write_bytes(flatbuffer.pack(made.lowered.graph))
        arrays = artifact_from_reference(feeds, made.inputs)
        np.savez(folder / f"{case.id}.feeds.npz", allow_pickle=False, **arrays)
    done = subprocess.run([str(python), "-I", "-c", _RUN, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_no_operator_is_too_new(ran: tuple[Path, dict[str, str]]) -> None:
    assert ran[1] == {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_old_kernels_stay_within_steps_of_the_graph(case: Case, ran: tuple[Path, dict[str, str]]) -> None:
    built, feeds = _model(case)
    (expected,) = run_onnx(built, feeds).values()
    with np.load(ran[0] / f"{case.id}.outputs.npz") as stored:
        (found,) = reference_from_artifact(dict(stored), compiled(built).outputs).values()
    steps = np.abs(found.astype(np.float64) - expected.astype(np.float64)) / case.step
    assert np.mean(steps <= 2.01) >= 0.95
    assert np.mean(steps <= 5.01) >= 0.999
