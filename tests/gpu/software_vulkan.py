"""EDGEKIT_VULKAN (the folder that vulkan.sh makes) -> the environment in which GPU runtimes find one driver.

V1 swiftshader   float32 and integers; quick to compile. Without the folder, an installed chromium's will do
V2 lavapipe      Mesa 25: float16 too; compiles for seconds, and keeps what it compiled in <folder>/shaders
V3 none          no driver at all: what a machine without a GPU has

Children see it, this process does not: the loader is found through LD_LIBRARY_PATH, which is read at start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VULKAN = "EDGEKIT_VULKAN"
_CHROMIUM = Path("/usr/lib/chromium")  # Debian's package: it holds a loader too


def environment(name: str) -> dict[str, str]:
    """The variables for "swiftshader", "lavapipe" or "none"; empty where that driver is not here."""
    if name == "none":
        return {"VK_DRIVER_FILES": os.devnull, "VK_ICD_FILENAMES": os.devnull}
    folder = Path(os.environ.get(VULKAN, os.devnull))
    icd, libraries = folder / f"{name}.json", folder / "lib"
    if not icd.is_file() and name == "swiftshader":
        icd, libraries = _CHROMIUM / "vk_swiftshader_icd.json", _CHROMIUM
    if not icd.is_file() or not (libraries / "libvulkan.so.1").exists():
        return {}
    others = os.environ.get("LD_LIBRARY_PATH", "")
    return {
        "VK_DRIVER_FILES": str(icd),
        "VK_ICD_FILENAMES": str(icd),  # the name that loaders before 1.3.207 read
        "LD_LIBRARY_PATH": f"{libraries}:{others}" if others else str(libraries),
        "EDGEKIT_SOFTWARE_GPU": "1",
        **({"MESA_SHADER_CACHE_DIR": str(folder / "shaders")} if name == "lavapipe" else {}),
    }


@contextmanager
def driver(name: str) -> Iterator[dict[str, str]]:
    """The variables set while the context lasts; skips without it, or fails under REQUIRE_ALL=1."""
    found = environment(name)
    if not found:
        reason = f"no {name}: tests/gpu/vulkan.sh FOLDER makes one, {VULKAN}=FOLDER names it"
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "EDGEKIT_SOFTWARE_GPU"):
            patch.delenv(variable, raising=False)
        for variable, value in found.items():
            patch.setenv(variable, value)
        yield found
