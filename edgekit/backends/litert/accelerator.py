"""A .tflite file -> LiteRT's GPU accelerator (libLiteRtWebGpuAccelerator, WebGPU over Vulkan, in the wheel).

    CompiledModel(GPU alone) --> every operator on the GPU, or refused with the operators

A1 no GPU, no driver, or one that computes on the processor and is not allowed to: found before LiteRT is
   asked, which says only "No adapters found" in its log (``vulkan_devices``)
A2 operators that the accelerator does not take. LiteRT raises, and names them in its log alone
A3 a session that says it is not fully accelerated: refused, whatever else it says
A4 ``gpu.fallback = "allow"``: what A2 names runs on XNNPACK; the facts list it

LiteRT's Metal and Direct3D accelerators are other libraries, which the wheel for Linux does not hold.

Source: ai_edge_litert/compiled_model.py, gpu_options.py (2.3.0); measured.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import settings
from edgekit.backends import vulkan_devices
from edgekit.backends.litert.tables import parse
from edgekit.errors import InputError, MissingBackendError, ModelFileError, TargetRefusalError, missing_extra
from edgekit.spec import GPU_FALLBACK, Rejection, RunOptions

RUNTIME = "LiteRT's GPU accelerator"
PRECISION = "gpu.precision"
CHOICES: Mapping[str, tuple[str, ...]] = {PRECISION: ("f32", "f16"), GPU_FALLBACK: ("refuse", "allow")}
"""Settings of a target, the default first. f16: where the device has it, else float32."""

OTHER = "replace it in the model, or choose another target (`edgekit targets`)"
_LIBRARY = "libLiteRtWebGpuAccelerator.so"
_REFUSED = re.compile(
    r"Following operations are not supported by GPU delegate:\n(.*?)\n[^\n]*will run on", re.S
)
_SHARES = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+) operations")
_ADAPTER = re.compile(r"Selected adapter: ([^\n]+?), arch=")
_NOT_ALL = "not accelerated"  # in LiteRT's exception, litert_compiled_model.h


@dataclass(frozen=True)
class Accelerated:
    """A model on the GPU.

    Attributes:
        model: LiteRT's CompiledModel.
        facts: of the session.
        left: builtins of which LiteRT says that the GPU does not take them (A4).
        left_count: how many operators it leaves to the CPU.
    """

    model: Any
    facts: dict[str, str]
    left: frozenset[str] = frozenset()
    left_count: int = 0


def wanted(options: RunOptions) -> dict[str, str]:
    """Every setting with its value.

    Raises:
        InputError: a setting or a value that does not exist.
    """
    found = {name: choices[0] for name, choices in CHOICES.items()}
    for name, value in options.settings:
        if value not in CHOICES.get(name, ()):
            known = ", ".join(f"{each} = {' or '.join(values)}" for each, values in CHOICES.items())
            raise InputError(
                f"unknown setting of {RUNTIME}: {name} = {value}",
                why=f"there are {known}",
                remedy="correct [run.settings] of the target",
            )
        found[name] = value
    return found


def accelerated(path: Path, options: RunOptions) -> Accelerated:
    """``path`` on the GPU.

    Raises:
        InputError: a setting that does not exist.
        MissingBackendError: A1.
        TargetRefusalError: A2, A3.
        ModelFileError: LiteRT does not take the file.
    """
    settings.silence_native_libraries()
    asked = wanted(options)
    runtime, version = _imported()
    where = vulkan_devices.chosen(runtime=RUNTIME, software=settings.software_gpu())
    settings.default("MESA_SHADER_CACHE_DIR", str(settings.cache_dir() / "shaders"))  # not the user's home
    log = _Log()
    try:
        model = _compiled(runtime, path, asked)
    except RuntimeError as error:
        raise _failed(path, str(error), log.text(), version) from error
    said = log.text()
    if not model.is_fully_accelerated() and asked[GPU_FALLBACK] == "refuse":  # A3
        raise _refusal(path, _operators(said))
    adapter = _ADAPTER.search(said)
    facts = {
        "runtime": "litert",
        "version": version,
        "device": "gpu",
        **where,
        **({"adapter": adapter.group(1)} if adapter else {}),
        "kernels": "gpu",
        "precision": asked[PRECISION],
        "placed": _placed(path, model, said),
    }
    if model.is_fully_accelerated():
        return Accelerated(model, facts)
    shares = _SHARES.search(said)
    left = frozenset(code for code, _ in refusals(said))
    return Accelerated(model, facts, left, int(shares.group(2)) if shares else 0)


def refusals(said: str) -> tuple[tuple[str, str], ...]:
    """LiteRT's log -> (builtin, reason) of every operator that it names as not supported."""
    found = _REFUSED.search(said)
    lines = found.group(1).splitlines() if found else []
    pairs = (line.partition(": ")[::2] for line in lines if line.strip())
    return tuple((code.strip(), reason.strip()) for code, reason in pairs)


def _imported() -> tuple[Any, str]:
    try:
        from importlib import metadata

        from ai_edge_litert import compiled_model

        version = metadata.version("ai-edge-litert")
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for=RUNTIME) from error
    if not (Path(compiled_model.__file__).parent / _LIBRARY).is_file():
        raise MissingBackendError(
            f"ai-edge-litert {version} for {sys.platform} has no accelerator for GPUs over Vulkan",
            why=f"{_LIBRARY} is not among its files",
            remedy='pip install "ai-edge-litert>=2.3" on 64-bit Linux',
            more="docs/litert-gpu.md",
        )
    return compiled_model, version


def _compiled(runtime: Any, path: Path, asked: Mapping[str, str]) -> Any:
    units = runtime.HardwareAccelerator
    hardware = units.GPU if asked[GPU_FALLBACK] == "refuse" else units.GPU | units.CPU
    options = runtime.Options(
        hardware_accelerators=hardware,
        gpu_options=runtime.GpuOptions(enforce_f32=asked[PRECISION] == "f32"),
    )
    return runtime.CompiledModel.from_file(str(path), options=options)


def _failed(path: Path, error: str, said: str, version: str) -> Exception:
    named = _operators(said)
    if named or _NOT_ALL in error:  # A2
        return _refusal(path, named)
    if "environment" in said and "adapter" in said.lower() and not _ADAPTER.search(said):
        return MissingBackendError(  # A1, of a driver that Dawn does not take
            f"{RUNTIME} cannot run here: it takes none of the GPUs",
            why=next((line for line in said.splitlines() if "adapter" in line.lower()), error),
            remedy="install a newer driver (Mesa 22 lacks what Dawn needs, Mesa 25 has it)",
            more="docs/litert-gpu.md",
        )
    return ModelFileError(
        f"{RUNTIME} of ai-edge-litert {version} does not take {path.name}",
        why=_last_words(said) or error,
        remedy="compile it again; `edgekit inspect` shows what it holds",
    )


def _operators(said: str) -> tuple[Rejection, ...]:
    return tuple(
        Rejection(
            node=reason.rpartition(" ")[2] if _names_a_tensor(reason) else "",
            rule="gpu",
            reason=f"{RUNTIME} does not take {code}: {reason}",
            remedy=OTHER,
        )
        for code, reason in refusals(said)
    )


def _names_a_tensor(reason: str) -> bool:
    """Whether a name stands behind the sentence: "Tensor type(INT64) is not supported. scores"."""
    return ". " in reason and not reason.endswith(".")


def _refusal(path: Path, found: tuple[Rejection, ...]) -> TargetRefusalError:
    why = "\n        ".join(f"{each.node or each.rule}: {each.reason}" for each in found)
    return TargetRefusalError(
        f"{RUNTIME} refuses {path.name}: {found[0].reason if found else 'operators would run on the CPU'}",
        why=why or "LiteRT says that it is not fully accelerated; running on the CPU is no substitute",
        remedy=OTHER,
        more="docs/litert-gpu.md",
        rejections=found,
    )


def _placed(path: Path, model: Any, said: str) -> str:
    """How many operators each device has got: "GPU 27", "GPU 3, CPU 1"."""
    shares = _SHARES.search(said)
    if not model.is_fully_accelerated() and shares:
        return f"GPU {shares.group(1)}, CPU {shares.group(2)}"
    return f"GPU {len(parse(path.read_bytes(), name=path.name)[0][0].operators)}"


def _last_words(said: str) -> str:
    errors = [line for line in said.splitlines() if line.startswith(("ERROR", "E0", "F0"))]
    return " ".join(errors[-3:])


class _Log:
    """What native code writes to standard error from now on. In a worker that is a file (``worker_process``).

    Read in place and not redirected: last words before a crash must stay where the parent looks for them.
    Elsewhere nothing can be read, and refusals have no names.
    """

    def __init__(self) -> None:
        is_file = stat.S_ISREG(os.fstat(2).st_mode)
        self._begin = os.fstat(2).st_size if is_file else None

    def text(self) -> str:
        """All of it so far."""
        if self._begin is None:
            return ""
        try:
            end = os.fstat(2).st_size
            return os.pread(2, end - self._begin, self._begin).decode(errors="replace")
        except OSError:  # a file that is open for writing alone
            return ""
