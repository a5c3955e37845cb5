"""`doctor`: this machine -> what edgekit can do here, and the exact line to type for what it cannot."""

from __future__ import annotations

from edgekit import settings
from edgekit import target as targets
from edgekit.backends import registry
from edgekit.dataset import shipped_names
from edgekit.measure import machine
from edgekit.pipeline import software_gpu
from edgekit.pipeline.result import DoctorResult, DoctorRow, MachineRow
from edgekit.pipeline.result.rows import TargetHere
from edgekit.pipeline.versions import version
from edgekit.target import Target

_PACKAGES = (
    # package, extra, what for
    ("onnxruntime", "", "calibration, parity, target onnxruntime-cpu"),
    ("torch", "torch", "PyTorch sources"),
    ("safetensors", "torch", "checkpoints in .safetensors"),
    ("keras", "keras", "Keras sources"),
    ("tf2onnx", "keras", "Keras sources"),
    ("ai-edge-litert", "litert", "target litert-cpu"),
    ("flatbuffers", "litert", "target litert-cpu"),
    ("openvino", "openvino", "target openvino-cpu"),
    ("executorch", "executorch", "target executorch-xnnpack"),
    ("onnxruntime-ep-webgpu", "webgpu", "target gpu-webgpu"),
    ("scikit-learn", "data", "data set digits"),
    ("pillow", "data", "folders of images"),
    ("model-signing", "sign", "release --sign-key, verify --key"),
)


def doctor() -> DoctorResult:
    """Packages, targets and data sets with their state."""
    rows = [_package_row(*each) for each in _PACKAGES]
    rows += [DoctorRow(f"data set {name}", "ok", "", "calibration, evaluation") for name in shipped_names()]
    return DoctorResult(tuple(rows), machine_row(), settings.cache_dir(), targets_here())


def targets_here() -> tuple[TargetHere, ...]:
    """What this machine can do for each shipped target: each device is really asked."""
    return tuple(target_here(targets.load(name)) for name in targets.names())


def target_here(target: Target) -> TargetHere:
    """What this machine can do for ``target``; an installed runtime compiles, with its device or not."""
    found = registry.availability(target)
    compiles = found.ok or found.compiles or target.is_check or bool(found.version and target.numerics_on)
    stands_in = target.numerics_on if compiles and not found.ok else ""
    caveat = software_gpu.caveat(found.software)
    reason, remedy = (caveat, "") if found.ok else (found.reason, found.remedy)
    return TargetHere(target.name, compiles, found.ok, stands_in, found.version, reason, remedy)


def machine_row() -> MachineRow:
    """The machine's facts as words."""
    found = machine.facts()
    facts = {
        "cpu": found.cpu,
        "architecture": found.architecture,
        "features": " ".join(found.features),
        "cores": str(found.cores),
        "cpu limit": "none" if found.cpu_limit is None else f"{found.cpu_limit:g}",
        "memory": f"{found.memory_bytes / 2**30:.1f} GiB",
        "os": found.os,
        "python": found.python,
        "governor": found.governor or "not visible",
        **_clock(found),
        "load": f"{found.load:.2f}",
        "versions": ", ".join(f"{name} {number}" for name, number in found.versions.items()),
    }
    return MachineRow(found.key, facts)


def _clock(found: machine.Machine) -> dict[str, str]:
    """What the clock may do, as far as the system says."""
    known = {
        "frequency": f"{found.frequency_min_mhz} to {found.frequency_max_mhz} MHz"
        if found.frequency_max_mhz
        else "",
        "turbo": found.turbo,
        "smt": found.smt,
    }
    return {name: said for name, said in known.items() if said}


def _package_row(package: str, extra: str, used_for: str) -> DoctorRow:
    found = version(package) or (version("tensorflow-cpu") if package == "tensorflow" else "")
    if found:
        return DoctorRow(package, "ok", found, used_for)
    remedy = f'pip install "edgekit[{extra}]"' if extra else "pip install edgekit"
    return DoctorRow(package, "missing", "", used_for, remedy)
