"""ONNX file -> .pt2: PyTorch's exported program, or machine code of it for the GPU that is here.

    "program"    .onnx --torch.export--> .pt2 with the program, compiled where it is first opened
    "kernels"    .onnx --torch.export--> program --AOTInductor--> .pt2 with kernels for the GPU that is here

A program is the same bytes on every machine, as a lock wants it: its archive is written again with a fixed
id. Compiled code does not promise that; it needs PyTorch alone where it runs, no compiler, and is for one
compute capability, which the archive's metadata names.

Source: PyTorch, torch._inductor.aoti_compile_and_package and torch.export.pt2_archive.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgekit import settings as environment
from edgekit.backends import torch_module
from edgekit.backends.torch_device import gpu_facts, torch_on
from edgekit.errors import MissingBackendError, ModelFileError

INDUCTOR = "inductor."  # settings that start so are options of torch._inductor.config
PACKAGE = "torch.package"  # "program" or "kernels"
LAYOUT = "torch.layout"  # "nhwc": weights of convolutions lie channels-last, "nchw": as in ONNX
_COMPILED = "data/aotinductor/"
_ID, _FIXED_ID = ".data/serialization_id", b"0" * 40
_QUOTED = 2000  # characters of the compiler's words: the error stands at their end
_METADATA = "_metadata.json"
_SHARED_CPP = (b"libstdc++.so", b"libc++.so", b"libc++.1")  # of GCC, LLVM, macOS
_ROOT = "model"  # PyTorch takes the file's own name, and any is read


def write_package(source: str, out: str, *, settings: Mapping[str, str], device: str) -> dict[str, Any]:
    """Called in a worker: ONNX file ``source`` -> ``out``.

    Args:
        source: canonical model.
        out: the .pt2 file.
        settings: those that start with "inductor." count.
        device: "cuda" compiles for the GPU that is here, "cpu" for this CPU, "" writes the program.

    Returns:
        "seconds" that it took and, where compiled, facts of the GPU.

    Raises:
        MissingBackendError: PyTorch or the device is not here.
    """
    torch = torch_on(device or "cpu")
    model = ir.load(source)
    begin = time.perf_counter()
    module = torch_module.module_of(model)
    if settings.get(LAYOUT) == "nhwc":
        module = module.to(memory_format=torch.channels_last)
    program = torch_module.exported(model, module, device=device or "cpu")
    if device:
        compile_program(torch, program, Path(out), settings)
    else:
        torch.export.save(program, out)
        _with_fixed_id(Path(out))
    facts = gpu_facts(torch) if device == "cuda" else {}
    return {"seconds": time.perf_counter() - begin, "torch": torch.__version__, **facts}


def compile_file(path: str, out: str, *, device: str, settings: Mapping[str, str]) -> None:
    """The program in the file ``path`` -> ``out`` with kernels for ``device``; for a worker.

    Raises:
        MissingBackendError: as ``compile_program``, or the device is not here.
    """
    torch = torch_on(device)
    from torch.export.passes import move_to_device_pass

    program = move_to_device_pass(torch.export.load(path), device)
    compile_program(torch, program, Path(out), settings)


def compile_program(torch: Any, program: Any, out: Path, settings: Mapping[str, str]) -> None:
    """AOTInductor; with a CUDA toolkit on the path it is found without CUDA_HOME being set.

    Raises:
        MissingBackendError: no C++ compiler, or no CUDA toolkit that it can build with.
    """
    if torch.version.cuda is not None:
        from torch.utils.cpp_extension import CUDA_HOME

        # PyTorch 2.11 links against libcuda.so, and looks for the toolkit's stand-in only where this is set
        environment.default("CUDA_HOME", CUDA_HOME)
    options = {
        name.removeprefix(INDUCTOR): json.loads(value)
        for name, value in settings.items()
        if name.startswith(INDUCTOR)
    }
    broken = (torch._inductor.exc.CppCompileError, torch._inductor.exc.InvalidCxxCompiler)
    try:
        with torch.no_grad():
            compiler = torch._inductor.aoti_compile_and_package
            compiler(program, package_path=str(out), inductor_configs=options)
    except broken as error:
        raise MissingBackendError(
            "AOTInductor cannot build its package here: the C++ compiler fails",
            why=str(error)[-_QUOTED:],
            remedy="install g++ and the CUDA toolkit of PyTorch's version (nvcc on the PATH)",
        ) from error
    _hold_to_shared_library(out)


def _hold_to_shared_library(out: Path) -> None:
    """Refuse a package that brings a C++ library of its own: PyTorch has one already, and two do not mix.

    PyTorch cannot load it (``std::bad_cast`` on a CPU), or dies over it: seen on a GPU machine whose CXX
    named a g++ without a shared libstdc++. What is linked shared is named among the library's needs.
    """
    with zipfile.ZipFile(out) as archive:
        names = [each for each in archive.namelist() if _COMPILED in each and each.endswith(".so")]
        shared = any(word in archive.read(name) for name in names for word in _SHARED_CPP)
    if names and not shared:
        out.unlink()
        raise MissingBackendError(
            "AOTInductor cannot build its package here: the compiler puts its own C++ library into it",
            why="PyTorch brings that library too, and fails or crashes when it loads the package",
            remedy="export CXX=/usr/bin/g++, or another one with a shared libstdc++, and compile again",
        )


def compiled_for(path: Path) -> dict[str, str] | None:
    """What the kernels in the archive are for ("AOTI_DEVICE_KEY", ...); None where it holds a program.

    Raises:
        ModelFileError: it is no .pt2 archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if not any(_COMPILED in name for name in names):
                if not any(name.endswith("models/model.json") for name in names):
                    raise _unreadable(path, "it holds neither a program nor compiled code")
                return None
            metadata = next(name for name in names if _COMPILED in name and name.endswith(_METADATA))
            found: dict[str, str] = json.loads(archive.read(metadata))
            return found
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError) as error:
        raise _unreadable(path, str(error)) from error


def hold_to_device(path: Path, found: Mapping[str, str], device: str, capability: str) -> None:
    """Refuse compiled code of another device before native code sees it.

    Raises:
        MissingBackendError: it is for another kind of device, or another GPU.
    """
    kind, built = found.get("AOTI_DEVICE_KEY", ""), found.get("AOTI_COMPUTE_CAPABILITY", "")
    if kind and kind != device:
        raise MissingBackendError(
            f"{path.name} holds kernels for {kind}, and is opened on {device}",
            why="compiled code runs where it was compiled for",
            remedy=f"open it on {kind}; what a machine without a GPU compiles runs anywhere",
        )
    if device == "cuda" and built and built != capability:
        raise MissingBackendError(
            f"{path.name} holds kernels for compute capability {built}, and this GPU has {capability}",
            why="machine code of one GPU does not run on another",
            remedy="compile the model again on this machine",
        )


def _with_fixed_id(path: Path) -> None:
    """Write the archive again: no random id, no dates, no file name as its members' folder."""
    path.write_bytes(_rewritten(path.read_bytes()))


def _rewritten(content: bytes) -> bytes:
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(_ID):
                data = _FIXED_ID
            elif data[:4] == b"PK\x03\x04":  # sample inputs: an archive of its own
                data = _rewritten(data)
            new.writestr(zipfile.ZipInfo(f"{_ROOT}/{name.partition('/')[2]}"), data)
    return result.getvalue()


def _unreadable(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"{path.name} is not a readable .pt2 archive",
        why=why,
        remedy="compile it again, or copy it again and compare its hash",
    )
