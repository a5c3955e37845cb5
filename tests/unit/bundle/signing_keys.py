"""Key files for tests, made by openssl as the documentation says."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_signing = pytest.mark.skipif(
    find_spec("model_signing") is None or shutil.which("openssl") is None,
    reason='needs the extra "sign" and openssl',
)


def openssl(*args: str, folder: Path) -> str:
    done = subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def make_key(folder: Path, name: str = "key", *, curve: str = "P-256") -> tuple[Path, Path]:
    """Private and public key, as docs/bundle.md makes them."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = f"{name}.pem", f"{name}-public.pem"
    made = ("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", private)
    openssl(*made, folder=folder)
    openssl("pkey", "-in", private, "-pubout", "-out", public, folder=folder)
    return folder / private, folder / public
