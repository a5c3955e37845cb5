"""Device name -> PyTorch that can compute there, or the reason why not and the line to type.

D1 PyTorch cannot be imported
D2 this build of PyTorch knows no CUDA: the default build for macOS and Windows, and the CPU builds
D3 it does, and finds no GPU: no driver, an old one, or all devices are hidden
"""

from __future__ import annotations

from typing import Any

from edgekit.errors import MissingBackendError

INSTALL = 'pip install "edgekit[torch]"'
INSTALL_CUDA = (
    "pip uninstall torch, then pip install torch (a build for CUDA: https://pytorch.org/get-started)"
)


def torch_on(device: str) -> Any:
    """The module ``torch``, with ``device`` ("cpu" or "cuda") proved to be there.

    Raises:
        MissingBackendError: D1 to D3.
    """
    try:
        import torch
    except ImportError as error:  # D1
        raise MissingBackendError(
            f"PyTorch cannot be imported: {error}",
            why="it compiles and runs this target's artifacts",
            remedy=INSTALL,
            more="edgekit doctor",
        ) from error
    if device == "cpu":
        return torch
    if torch.version.cuda is None:  # D2
        raise MissingBackendError(
            f"this PyTorch {torch.__version__} is built without CUDA",
            why="the target runs on an NVIDIA GPU; the CPU is no substitute",
            remedy=INSTALL_CUDA,
            more="edgekit doctor",
        )
    try:
        torch.cuda.init()
        count = torch.cuda.device_count()
    except (RuntimeError, AssertionError) as error:  # D3
        raise _no_gpu(torch, str(error).splitlines()[0]) from error
    if not count:
        raise _no_gpu(torch, "it sees no device")
    return torch


def _no_gpu(torch: Any, reason: str) -> MissingBackendError:
    return MissingBackendError(
        "PyTorch finds no NVIDIA GPU here",
        why=f"PyTorch {torch.__version__} for CUDA {torch.version.cuda}: {reason}; the CPU is no substitute",
        remedy="check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES",
        more="edgekit doctor",
    )


def gpu_facts(torch: Any) -> dict[str, str]:
    """Name and compute capability of the GPU, and the CUDA version that PyTorch was built for."""
    found = torch.cuda.get_device_properties(0)
    return {"gpu": found.name, "capability": f"{found.major}{found.minor}", "cuda": f"{torch.version.cuda}"}


def device_facts(device: str) -> dict[str, str]:
    """Called in a worker: what ``device`` is, or why it is not there.

    Raises:
        MissingBackendError: D1 to D3.
    """
    torch = torch_on(device)
    return {"version": torch.__version__, **(gpu_facts(torch) if device == "cuda" else {})}
