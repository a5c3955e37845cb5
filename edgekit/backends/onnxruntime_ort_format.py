"""ONNX bytes -> ORT-format files and the operators that a minimal build of ONNX Runtime needs for them.

    <stem>.ort                       optimized for the CPU provider ("Fixed" style)
    <stem>.with_runtime_opt.ort      basic optimizations; the others are replayed beside NNAPI or Core ML
    required_operators_and_types.config, required_operators_and_types.with_runtime_opt.config

The converter is ONNX Runtime's own, in a process of its own, for ARM (no x86 layouts baked in). What it
writes differs from run to run in the order of lists (``onnxruntime_ort_canonical``) and in comments that name
folders; both are put right. Source: onnxruntime.ai, "Convert ONNX models to ORT format", "Build for mobile".
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from edgekit import drafts, settings
from edgekit.backends.onnxruntime_ort_canonical import canonical
from edgekit.errors import BackendCrashError, MissingBackendError
from edgekit.write_errors import cannot_write, probe, quoted

CONVERTER = "onnxruntime.tools.convert_onnx_models_to_ort"
FLAGS = ("--enable_type_reduction", "--optimization_style", "Fixed", "Runtime", "--target_platform", "arm")
CONFIG = "required_operators_and_types"
_ELSEWHERE = "set TMPDIR to another folder"
_LIMIT_S = 600  # a model of a gigabyte takes a minute


def ort_from_onnx(content: bytes, *, stem: str) -> dict[str, bytes]:
    """The four files by name.

    Raises:
        MissingBackendError: this onnxruntime has no converter.
        OutputError: its files cannot be written.
        BackendCrashError: the converter failed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingBackendError(
            "onnxruntime is not installed, and its converter writes .ort files",
            why="the ORT format is made by ONNX Runtime itself",
            remedy="pip install onnxruntime",
        )
    with drafts.temporary("edgekit-ort-") as name:
        folder = name
        given, made = folder / "given", folder / "made"
        given.mkdir()
        (given / "model.onnx").write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", CONVERTER, str(given), "--output_dir", str(made), *FLAGS],
            env=settings.child_environment(),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        if done.returncode or not (made / "model.ort").is_file():
            if refused := quoted(done.stderr):
                raise cannot_write(refused.filename or folder, refused, elsewhere=_ELSEWHERE)
            probe(folder, 2 * len(content), elsewhere=_ELSEWHERE)
            said = (done.stderr or done.stdout).strip().splitlines()
            raise BackendCrashError(
                "ONNX Runtime's converter to ORT format failed",
                why=said[-1] if said else f"it ended with {done.returncode} and said nothing",
                remedy="run it by hand: python -m " + CONVERTER,
            )
        files = {}
        for style in ("", ".with_runtime_opt"):
            files[f"{stem}{style}.ort"] = canonical((made / f"model{style}.ort").read_bytes())
            text = (made / f"{CONFIG}{style}.config").read_text("utf-8")
            files[f"{CONFIG}{style}.config"] = _without_folders(text, f"{stem}{style}.ort").encode()
        return files


def _without_folders(text: str, name: str) -> str:
    """The configuration with one comment: the converter's names folders of this machine."""
    rows = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join([f"# operators and types of {name}", *sorted(rows)]) + "\n"
