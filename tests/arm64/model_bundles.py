"""A reference model of models/ -> a bundle for 64-bit ARM: float and int8, for both runtimes.

Few samples and no restoration: what is tested is that another processor computes the same, not how accurate
it is.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from edgekit.errors import ExitCode
from edgekit.pipeline.release.run import release
from edgekit.spec import Silent

MODELS = Path(__file__).parents[2] / "models"
SAMPLES = 48  # enough for a reference that is above chance
TABLES = """
[optimize]
quantize = { precision = "w8a8", method = "minmax", restore = "none" }

[budget]
max_drop_pp = 100.0

[[target]]
name = "onnxruntime-arm64"

[[target]]
name = "litert-arm64"
"""


def released(model: str, folder: Path) -> Path:
    """The bundle of ``model``, made in a copy of models/ below ``folder``."""
    models = folder / "models"
    if not models.exists():
        shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("dist", "__pycache__", "results.json"))
    recipe = models / model / "edgekit.toml"
    text = recipe.read_text("utf-8")
    head = re.split(r"^\[(?:optimize|budget|\[target)", text, maxsplit=1, flags=re.MULTILINE)[0]
    head = re.sub(r"(, samples = \d+)", "", head)
    head = re.sub(
        r"^((?:calibration|evaluation) = \{.*?) \}", rf"\1, samples = {SAMPLES} }}", head, flags=re.M
    )
    recipe.write_text(head + TABLES, "utf-8")
    recipe.with_name("edgekit.lock").unlink(missing_ok=True)
    result = release(recipe, out=folder / "dist", cache_dir=folder / "cache", progress=Silent())
    assert result.exit_code is ExitCode.OK, [row.reason for row in result.targets]
    assert result.bundle is not None
    return result.bundle
