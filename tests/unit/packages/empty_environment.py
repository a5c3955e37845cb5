"""Requirements -> a virtual environment that holds them and nothing of this one, kept in the cache folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from edgekit import settings
from tests.unit.packages.mobile_bundle import absent


def environment(*requirements: str) -> Path:
    """Its Python; skips, or fails under REQUIRE_ALL=1, where pip cannot get them."""
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:16]
    folder = settings.cache_dir().resolve() / "tests" / f"venv-{key}"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if done.is_file():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    venv.create(folder, with_pip=True, system_site_packages=False)
    flags = ("--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
    found = subprocess.run(
        [str(python), "-m", "pip", "install", *flags, *requirements],
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
    )
    if found.returncode:
        last = found.stderr.strip().splitlines()[-1:]
        absent(f"pip cannot get {', '.join(requirements)}: {last}")
    done.touch()
    return python
