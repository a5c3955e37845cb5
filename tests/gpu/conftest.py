"""Fixtures that give every worker of a module one software Vulkan driver: see README.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gpu import software_vulkan


@pytest.fixture(scope="module")
def swiftshader() -> Iterator[dict[str, str]]:
    """V1: the variables that are set."""
    with software_vulkan.driver("swiftshader") as found:
        yield found


@pytest.fixture(scope="module")
def lavapipe() -> Iterator[dict[str, str]]:
    """V2: float16 too. Not in one module with ``swiftshader``: the later one would win in silence."""
    with software_vulkan.driver("lavapipe") as found:
        yield found


@pytest.fixture
def no_driver() -> Iterator[dict[str, str]]:
    """V3."""
    with software_vulkan.driver("none") as found:
        yield found
