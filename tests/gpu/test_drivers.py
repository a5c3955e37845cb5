"""The drivers that this folder's tests stand on say themselves that they are processors."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.gpu import software_vulkan

_LIST = "from edgekit.backends.vulkan_devices import devices; print([(d.name, d.kind) for d in devices()])"


def listed(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What ``vulkan_devices`` says in a process of its own, which dies with a driver that crashes."""
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {_LIST}"]
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("name", "said"), [("swiftshader", "SwiftShader"), ("lavapipe", "llvmpipe")])
def test_a_software_driver_is_the_only_device_and_says_so(name: str, said: str) -> None:
    with software_vulkan.driver(name) as variables:
        found = listed(variables)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("'cpu'") == found.stdout.count("('") == 1
    assert said in found.stdout


def test_a_hidden_driver_is_named(no_driver: dict[str, str]) -> None:
    found = listed(no_driver)
    assert found.returncode
    assert re.search("No(Vulkan|Loader)Error: the Vulkan loader", found.stderr)
