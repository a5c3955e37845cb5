"""Names of packages -> UsedPackage: version, licence and hash, out of what the installer wrote down.

    licence   I1 License-Expression (PEP 639) · I2 License, where it is an expression or its first line names
              one · I3 the only licence classifier · else "" (nobody stated one that a program can read)
    hash      SHA-256 over the lines "path,sha256,size" of RECORD, sorted, one for each file that came with
              the wheel. What an installer adds (scripts, INSTALLER, REQUESTED, direct_url.json, .pyc) is left
              out: it is the wheel's content, wherever that is installed. "" for an editable install.

edgekit itself is hashed as the cache does it: over its own modules, installed or not.
Source: PEP 376 and PEP 627 (RECORD), PEP 639 (licences), the classifiers of PyPI.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib import metadata

from edgekit import spdx
from edgekit.bundle.packages_used import UsedPackage
from edgekit.pipeline.versions import code_sha256

_CLASSIFIER = "License :: OSI Approved :: "
# the classifiers that name one licence; "BSD License" and the like do not say which
_BY_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}
_BY_FIRST_LINE = {
    "MIT License": "MIT",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
}
_ADDED = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
_PYTHON_LICENSE = "PSF-2.0"  # of CPython; https://docs.python.org/3/license.html


def used_packages(names: Iterable[str]) -> tuple[UsedPackage, ...]:
    """One for each of ``names`` that is installed, sorted; "python" is the interpreter."""
    found = (_used(name) for name in sorted(set(names)))
    return tuple(each for each in found if each is not None)


@cache
def _used(name: str) -> UsedPackage | None:
    if name == "python":
        is_cpython = platform.python_implementation() == "CPython"
        license_ = _PYTHON_LICENSE if is_cpython else ""
        return UsedPackage(name, platform.python_version(), license_, is_python=True)
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    content = code_sha256() if name == "edgekit" else content_sha256(found.read_text("RECORD") or "")
    return UsedPackage(name, found.version, license_of(found.metadata), content)


def license_of(said: metadata.PackageMetadata) -> str:
    """The SPDX expression that a package's metadata states; "" where it states none."""
    expression = _field(said, "License-Expression")
    if expression:  # I1
        return expression if spdx.is_expression(expression) else ""
    text = _field(said, "License").strip()
    first = text.splitlines()[0].strip() if text else ""
    if first in _BY_FIRST_LINE:  # I2
        return _BY_FIRST_LINE[first]
    if first and spdx.is_expression(first):
        return first
    classifiers = [each for each in said.get_all("Classifier") or () if each.startswith("License ::")]
    if len(classifiers) == 1:  # I3
        return _BY_CLASSIFIER.get(classifiers[0].removeprefix(_CLASSIFIER), "")
    return ""


def _field(said: metadata.PackageMetadata, name: str) -> str:
    return said[name] if name in said else ""  # noqa: SIM401  typeshed's protocol has no get


def content_sha256(record: str) -> str:
    """Hash of a wheel's content from its RECORD; "" where that does not tell."""
    lines = []
    for line in record.splitlines():
        path, _, rest = line.partition(",")
        name = path.rpartition("/")[2]
        if path.startswith(("..", "/")) or name in _ADDED or path.endswith(".pyc") or not rest.strip(","):
            continue
        if name.startswith("__editable__"):
            return ""
        lines.append(line)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() if lines else ""
