"""Artifact x what a session says of itself -> whether what was asked for is what ran; a reason where not.

ONNX Runtime comes up on the CPU in silence where a provider fails, and TFLite leaves to its builtin kernels
what XNNPACK does not take: outputs are right or nearly so, and the speed is another one. So:

    X1  a GPU was asked for: its provider is the session's first, and no node is on another one, unless the
        artifact allows it
    X2  ONNX Runtime on a CPU: no other provider has a part
    X3  LiteRT: on a GPU its accelerator took every operator, unless the artifact allows others. On a CPU
        XNNPACK took operators, unless the artifact asks for the builtin kernels, or had none that XNNPACK
        takes where it was released
    X4  OpenVINO: the plug-in of the device alone executes
    X5  ExecuTorch: XNNPACK computes, and no kernel lies outside its delegate, unless the artifact allows it

A runtime of none of these says nothing that could be checked.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.spec import GPU_FALLBACK, NO_CPU_FALLBACK, PORTABLE, Artifact

_GPU_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
_TELLING = {
    "onnxruntime": ("providers",),
    "onnxruntime-web": ("host",),
    "litert": ("kernels",),
    "openvino": ("devices", "device"),
    "executorch": ("outside",),
}
"""Back end -> the facts of which one says what ran."""


def is_told(artifact: Artifact, facts: Mapping[str, str]) -> bool:
    """Whether the session says what ran."""
    return any(facts.get(name) for name in _TELLING.get(artifact.backend, ()))


def difference(artifact: Artifact, facts: Mapping[str, str], *, recorded: Mapping[str, str]) -> str:
    """Why what ran is not what the artifact asks for; "" where it is, or where nobody says (``is_told``).

    Args:
        artifact: with its options.
        facts: of the session (``spec.Session.facts``).
        recorded: of the session of the machine that released; empty where nobody wrote them down.
    """
    if not is_told(artifact, facts):
        return ""
    match artifact.backend:
        case "onnxruntime":
            return _onnxruntime(artifact, facts)
        case "litert":
            return _litert(artifact, facts, recorded)
        case "openvino":
            return _openvino(artifact, (facts.get("devices") or facts.get("device", "")).lower())
        case "executorch":
            return _executorch(artifact, facts)
        case _:
            return ""


def _openvino(artifact: Artifact, ran: str) -> str:
    """X4; of several GPUs, OpenVINO names the one: "gpu.0". Bfloat16 is proved when a session opens."""
    asked = artifact.options.device
    same = {each.partition(".")[0] for each in ran.split(",")} == {asked.removesuffix("-bf16")}
    return "" if same else f"{asked} was asked for, and {ran} executes"


def _executorch(artifact: Artifact, facts: Mapping[str, str]) -> str:
    """X5; facts as ``backends.executorch_engine`` has them."""
    if "XnnpackBackend" not in facts.get("delegates", ""):
        return f"XNNPACK's delegate was asked for, and {facts.get('delegates') or 'no delegate'} computes"
    if facts["outside"] == "nothing" or dict(artifact.options.settings).get(PORTABLE) == "allow":
        return ""
    return f"XNNPACK's delegate was asked for, and portable kernels run: {facts['outside']}"


def _onnxruntime(artifact: Artifact, facts: Mapping[str, str]) -> str:
    """X1 and X2."""
    settings = dict(artifact.options.settings)
    providers = [each for each in facts.get("providers", "").split(",") if each]
    if artifact.options.device == "cpu":
        others = [each for each in providers if each != "CPUExecutionProvider"]
        return f"the CPU was asked for, and {', '.join(providers)} came up" if others else ""
    usual = "webgpu" if artifact.options.device == "gpu" else "cuda"
    wanted = _GPU_PROVIDERS.get(settings.get("provider", usual), "")
    if providers[0] != wanted:
        return f"{wanted} was asked for, and {', '.join(providers)} came up"
    if settings.get(NO_CPU_FALLBACK) == "0":
        return ""
    placed = facts.get("placed", "")
    on_cpu = "CPU" in [part.rpartition(" ")[0] for part in placed.split(", ")]
    return f"{wanted} was asked for, and nodes run on the CPU: {placed}" if on_cpu else ""


def _litert(artifact: Artifact, facts: Mapping[str, str], recorded: Mapping[str, str]) -> str:
    """X3; facts as ``backends.litert.accelerator`` and ``backends.litert.engine`` have them."""
    runtime = f"{facts.get('runtime', 'the runtime')} {facts.get('version', '')}".strip()
    if artifact.options.device != "cpu":
        placed = facts.get("placed", "")
        if facts["kernels"] != "gpu":
            return f"a GPU was asked for, and {runtime} runs its {facts['kernels']} kernels"
        allowed = dict(artifact.options.settings).get(GPU_FALLBACK) == "allow"
        return (
            f"a GPU was asked for, and operators run on the CPU: {placed}"
            if "CPU" in placed and not allowed
            else ""
        )
    asked = dict(artifact.options.settings).get("kernels", "xnnpack")
    if asked != "xnnpack" or recorded.get("kernels") == "builtin":
        return ""
    if facts["kernels"] == "xnnpack":
        return ""
    return f"XNNPACK was asked for, and {runtime} runs its {facts['kernels']} kernels"
