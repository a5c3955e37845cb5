"""--allow-fallback: artifacts and targets -> the same, allowed to leave operators to the CPU.

What a recipe says for one target (``allow_fallback``), said on the command line for all that can. Where
nothing could fall back the flag is an error: somebody believes that something runs elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgekit import target as targets
from edgekit.errors import InputError
from edgekit.spec import Artifact
from edgekit.target import Target


def allowing(artifact: Artifact) -> Artifact:
    """``artifact`` opened with the fall-back allowed; itself where its runtime has none."""
    options = artifact.options
    if not targets.may_fall_back(artifact.backend, options):
        return artifact
    return replace(artifact, options=targets.with_fallback(options))


def check_artifacts(artifacts: Iterable[Artifact]) -> None:
    """Raises InputError where nothing of ``artifacts`` could fall back."""
    if not any(targets.may_fall_back(each.backend, each.options) for each in artifacts):
        raise _needless("none of the artifacts")


def check_targets(wanted: Iterable[Target]) -> None:
    """Raises InputError where none of ``wanted`` could fall back."""
    if not any(each.may_fall_back for each in wanted):
        raise _needless("none of the targets")


def _needless(who: str) -> InputError:
    return InputError(
        f"--allow-fallback: {who} could fall back from anything",
        why="only ONNX Runtime's and LiteRT's GPU targets leave operators to the CPU, and only ExecuTorch's "
        "delegate leaves them to portable kernels",
        remedy="leave --allow-fallback out",
        more="docs/gpu.md",
    )
