"""1,000 random bits of a real, signed release, one at a time: does `verify` find each, by hashes alone?

    first every file of every place once, then files by size; seed 0
    places: the folder alone · everything · the archives alone · everything, with the key

Files are those of the folder (manifest, evidence, golden vectors, reports, signatures, checksums), both
archives and the root digest. No runtime runs: what a runtime would notice does not count.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Bar, Report
from edgekit.bundle.sign import KeyOrigin, Origin
from edgekit.bundle.verify import verify
from edgekit.errors import MissingBackendError
from edgekit.spec import Artifact, Session

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "edgekit" / "_examples" / "digits-cnn"
STEM = "digits-cnn-1.0.0"
FLIPS = 1000
TARGETS = ("onnxruntime-cpu", "litert-cpu", "openvino-cpu")


def nothing_runs(artifact: Artifact) -> Session:
    raise MissingBackendError("hashes only")


def _release(home: Path) -> Path:
    """A signed release of the example for three runtimes; gives the public key."""
    make = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key.pem")
    subprocess.run(["openssl", *make], cwd=home, check=True, capture_output=True)
    subprocess.run(
        ["openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"], cwd=home, check=True
    )
    shutil.copytree(EXAMPLE, home / "recipe")
    recipe = home / "recipe" / "edgekit.toml"
    text = recipe.read_text("utf-8").partition("[[target]]")[0]
    recipe.write_text(text + "".join(f'\n[[target]]\nname = "{name}"\n' for name in TARGETS), "utf-8")
    command = [sys.executable, "-m", "edgekit", "release", str(recipe), "-o", str(home / "whole"), "-q"]
    subprocess.run(
        [*command, "--sign-key", str(home / "key.pem")],
        check=True,
        env={**os.environ, "EDGEKIT_CACHE": str(home / "cache")},
    )
    return home / "public.pem"


def run() -> Report:
    """Flip, verify, put back."""
    rng = np.random.default_rng(0)
    missed, found, clean = [], 0, 0
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        origin: Origin = KeyOrigin(_release(home))
        whole = home / "whole"
        shutil.copytree(whole / STEM, home / "folder" / STEM)
        (home / "archives").mkdir()
        for suffix in (".tar", ".evidence.tar"):
            shutil.copy(whole / f"{STEM}{suffix}", home / "archives")
        places: tuple[tuple[str, Path, Path, Origin | None], ...] = (
            ("folder alone", home / "folder", home / "folder" / STEM, None),
            ("everything", whole, whole / STEM, None),
            ("archives alone", home / "archives", home / "archives" / f"{STEM}.tar", None),
            ("everything, with the key", whole, whole / STEM, origin),
        )
        jobs = [(place, path) for place in places for path in sorted(place[1].rglob("*")) if path.is_file()]
        every = len(jobs)
        sizes = np.array([path.stat().st_size for _, path in jobs], float)
        jobs += [jobs[int(i)] for i in rng.choice(every, FLIPS - every, p=sizes / sizes.sum())]
        for name, _, bundle, who in places:
            sound = verify(bundle, open_artifact=nothing_runs, origin=who).ok
            clean += sound
            if not sound:
                missed.append(f"{name}: red before anything was flipped")
        start = time.perf_counter()
        for (name, folder, bundle, who), path in jobs:
            body = path.read_bytes()
            place, bit = int(rng.integers(len(body))), int(rng.integers(8))
            changed = bytearray(body)
            changed[place] ^= 1 << bit
            path.write_bytes(bytes(changed))
            ok = verify(bundle, open_artifact=nothing_runs, origin=who).ok
            path.write_bytes(body)
            found += not ok
            if ok:
                missed.append(f"{name}: {path.relative_to(folder)}, byte {place}, bit {bit}")
        seconds = time.perf_counter() - start
        raw = {
            "files": len({str(path.relative_to(folder)) for (_, folder, _, _), path in jobs}),
            "jobs of one flip in each file": every,
            "bytes": int(sizes.sum()),
            "missed": missed,
            "seconds": seconds,
        }
    bars = (
        Bar("flips that verify finds, of 1,000", found, FLIPS, at_most=False),
        Bar("places that are green with nothing flipped, of 4", clean, len(places), at_most=False),
    )
    return Report("bundle_flips", bars, raw)
