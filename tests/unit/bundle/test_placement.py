"""What a session says of itself, held against what its artifact asks for; X as in bundle/placement.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.bundle.placement import difference, is_told
from edgekit.spec import Artifact, FileEntry, Precision, RunOptions


@dataclass(frozen=True)
class Case:
    name: str
    backend: str
    facts: dict[str, str]
    wrong: str = ""
    options: RunOptions = field(default_factory=RunOptions)
    recorded: dict[str, str] = field(default_factory=dict)


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
GPU = RunOptions(device="cuda", settings=(("provider", "cuda"),))
ALLOWED = RunOptions(device="cuda", settings=(("provider", "cuda"), ("session.disable_cpu_ep_fallback", "0")))
TENSORRT = RunOptions(device="cuda", settings=(("provider", "tensorrt"),))
BUILTIN = RunOptions(settings=(("kernels", "builtin"),))
PORTABLE_TOO = RunOptions(settings=(("executorch.portable", "allow"),))
DELEGATE = {"delegates": "XnnpackBackend 2"}
ALL = {"providers": f"{CUDA},{CPU}", "placed": "CUDA 53"}
BESIDE = {"providers": f"XnnpackExecutionProvider,{CPU}"}
ON_CPU_TOO = {"providers": f"{CUDA},{CPU}", "placed": "CUDA 50, CPU 3"}

CASES = (
    Case(
        "X1 all on the GPU", "onnxruntime", {"providers": f"{CUDA},{CPU}", "placed": "CUDA 53"}, options=GPU
    ),
    Case("X1 came up on the CPU", "onnxruntime", {"providers": CPU}, "CPUExecutionProvider came up", GPU),
    Case("X1 nodes on the CPU", "onnxruntime", ON_CPU_TOO, "nodes run on the CPU: CUDA 50, CPU 3", GPU),
    Case("X1 nodes on the CPU, allowed", "onnxruntime", ON_CPU_TOO, options=ALLOWED),
    Case("X1 another GPU provider", "onnxruntime", {"providers": f"{CUDA},{CPU}"}, "Tensorrt", TENSORRT),
    Case("X2 the CPU", "onnxruntime", {"providers": CPU}),
    Case(
        "X2 something beside it", "onnxruntime", {"providers": f"XnnpackExecutionProvider,{CPU}"}, "came up"
    ),
    Case("X3 XNNPACK", "litert", {"kernels": "xnnpack"}),
    Case("X3 fell back", "litert", {"kernels": "builtin"}, "XNNPACK was asked for"),
    Case("X3 builtin was asked for", "litert", {"kernels": "builtin"}, options=BUILTIN),
    Case("X3 nothing to take", "litert", {"kernels": "builtin"}, recorded={"kernels": "builtin"}),
    Case("X3 took it there", "litert", {"kernels": "builtin"}, "XNNPACK", recorded={"kernels": "xnnpack"}),
    Case("X4 the CPU", "openvino", {"device": "cpu"}),
    Case("X4 the agent's word", "openvino", {"device": "cpu", "devices": "GPU.0"}, "gpu.0 executes"),
    Case("X5 the delegate", "executorch", DELEGATE | {"outside": "nothing"}),
    Case("X5 kernels outside", "executorch", DELEGATE | {"outside": "aten::argmax.out"}, "argmax.out"),
    Case("X5 allowed", "executorch", DELEGATE | {"outside": "aten::argmax.out"}, options=PORTABLE_TOO),
    Case("X5 no delegate", "executorch", {"delegates": "", "outside": "nothing"}, "no delegate computes"),
    Case("untold", "onnxruntime", {}),
    Case("a runtime of none of these", "mychip", {"providers": "Anything"}),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_ran_is_what_was_asked_for(case: Case) -> None:
    artifact = Artifact(
        folder=Path(),
        files=(FileEntry("m", "0" * 64, 1),),
        target="t",
        backend=case.backend,
        precision=Precision.FP32,
        options=case.options,
        inputs=(),
        outputs=(),
    )
    found = difference(artifact, case.facts, recorded=case.recorded)
    assert case.wrong in found
    assert bool(case.wrong) == bool(found)
    assert is_told(artifact, case.facts) is (case.name not in {"untold", "a runtime of none of these"})
