"""node_modules of the web package's lock, fetched once into the cache folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgekit import settings
from edgekit.bundle.packages.web import MODULES, lock_of
from tests.unit.packages.mobile_bundle import absent


def node_modules() -> Path:
    """The folder; without Node, npm or a registry the test skips with the reason (REQUIRE_ALL=1: fails)."""
    if not shutil.which("npm") or not shutil.which("node"):
        absent("Node.js with npm is not installed")
    lock = lock_of("modules", "1.0.0", list(MODULES.values()))
    # what is fetched is named by its hashes: the model's name does not matter
    packages = {name: held for name, held in lock["packages"].items() if name}
    key = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()[:16]
    kept = settings.cache_dir() / "tests" / f"npm-{key}" / "node_modules"
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    root = {"name": "modules", "version": "1.0.0", "dependencies": lock["packages"][""]["dependencies"]}
    with tempfile.TemporaryDirectory(dir=kept.parents[1]) as draft:
        Path(draft, "package.json").write_text(json.dumps(root))
        Path(draft, "package-lock.json").write_text(json.dumps(lock))
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=draft,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            absent(f"npm ci fetched nothing: {done.stderr.strip().splitlines()[-1:]}")
        Path(draft, "node_modules").rename(kept)
    return kept
