"""Licences and hashes of packages, out of what their installer wrote down."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message
from importlib import metadata
from typing import cast

import pytest

from edgekit.pipeline.installed import content_sha256, license_of, used_packages

APACHE = "License :: OSI Approved :: Apache Software License"


@dataclass(frozen=True)
class Case:
    """Fields of a package's metadata, and the licence in them."""

    id: str
    fields: tuple[tuple[str, str], ...]
    license: str


CASES = (
    Case("I1: an expression", (("License-Expression", "MIT AND 0BSD"), ("License", "other")), "MIT AND 0BSD"),
    Case("I2: an identifier", (("License", "BSD-3-Clause"),), "BSD-3-Clause"),
    Case("I2: a whole text", (("License", "MIT License\n\nCopyright (c) ..."),), "MIT"),
    Case("I3: one classifier", (("License", "see LICENSE"), ("Classifier", APACHE)), "Apache-2.0"),
    Case("two classifiers do not say which", (("Classifier", APACHE), ("Classifier", "License :: X")), ""),
    Case("BSD does not say which", (("License", "BSD"),), ""),
    Case("nothing", (), ""),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_licence(case: Case) -> None:
    said = Message()
    for name, value in case.fields:
        said[name] = value
    assert license_of(cast("metadata.PackageMetadata", said)) == case.license


RECORD = """pkg/__init__.py,sha256=aaa,3
pkg/core.so,sha256=bbb,4
pkg-1.dist-info/METADATA,sha256=ccc,5
"""
ADDED = """../../../bin/tool,sha256=ddd,6
pkg/__pycache__/core.cpython-311.pyc,,
pkg-1.dist-info/INSTALLER,sha256=eee,4
pkg-1.dist-info/RECORD,,
pkg-1.dist-info/REQUESTED,sha256=fff,0
pkg-1.dist-info/direct_url.json,sha256=ggg,9
"""


def test_the_hash_is_of_what_came_with_the_wheel() -> None:
    lines = RECORD.splitlines()
    assert content_sha256(RECORD) == content_sha256(ADDED + "\n".join(reversed(lines)))
    assert content_sha256(RECORD) != content_sha256(RECORD.replace("bbb", "bbc"))
    assert content_sha256("__editable__.pkg-1.pth,sha256=aaa,3\n") == ""
    assert content_sha256("") == ""


def test_packages_that_are_here() -> None:
    found = {each.name: each for each in used_packages(["numpy", "python", "no-such-package", "edgekit"])}
    assert set(found) == {"numpy", "python", "edgekit"}
    assert found["numpy"].license.startswith("BSD-3-Clause")
    assert len(found["numpy"].content_sha256) == len(found["edgekit"].content_sha256) == 64
    assert found["python"].is_python
