"""Versions of installed distributions, and ranges."""

from __future__ import annotations

from importlib import metadata

import pytest

from edgekit.backends.installed import installed_version, satisfies


def test_the_first_installed_distribution_counts() -> None:
    versions = {"b": "2.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    assert installed_version("a", "b", version=version) == "2.0"
    assert installed_version("a", version=version) == ""


@pytest.mark.parametrize(
    ("version", "wanted", "answer"),
    [
        ("1.31.1", ">=1.23", True),
        ("1.9.0", ">=1.23", False),  # numbers, not text
        ("1.23", ">=1.23.0", True),
        ("2026.4.1", ">=2025.3,<2027", True),
        ("2027.0.0", ">=2025.3,<2027", False),
        ("1.2.3", "==1.2.3", True),
        ("1.2.3", "!=1.2.3", False),
        ("1.2.3", "<=1.2", False),
        ("1.2.3", ">1.2.3", False),
        ("1.24.0rc1", ">=1.24", True),
        ("anything", "", True),
    ],
)
def test_ranges(version: str, wanted: str, answer: bool) -> None:
    assert satisfies(version, wanted) is answer
