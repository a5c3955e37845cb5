"""What a back end runs inside the worker process: feeds --bind--> engine --invoke, fetch--> outputs.

Five functions more are not part of the contract, and used where an engine has them:

    prepare()    class method: import the runtime, so that its own memory is not the artifact's
    meter()      class method, after ``prepare``: whose memory counts, where the runtime is another process
    took_ns()    the last ``invoke`` by the runtime's own clock, where that is the better one
    executed()   the operators as they run, with the last feeds: rows of ``spec.Executed`` as JSON
    profile(n)   the kernels with their times over n inferences of the bound feeds: ``spec.Profile`` as JSON

The engine speaks the artifact's own names, layouts and element types; ``backends.bindings`` translates on the
parent's side. ``bind`` and ``fetch`` may copy; ``invoke`` alone is what latency means.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.spec import RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array


class Engine(Protocol):
    """One loaded artifact. Constructed in the worker; errors there become errors of ``open``."""

    facts: dict[str, str]
    """What really runs: "runtime", "version", "device", "threads", and "kernels" where known."""

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        """Load the file at ``path``; the names are the artifact's own, in the reference's order.

        Raises:
            ModelFileError: the file cannot be read.
            MissingBackendError: the device that ``options`` names cannot be used.
        """

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Make ``feeds`` the inputs of every ``invoke`` from now on; the engine may keep the arrays."""

    def place(self, results: Mapping[str, Array]) -> bool:
        """Let ``invoke`` write its outputs into ``results``, which have their names, types and shapes.

        Until the next ``bind``. False where the engine cannot. Then, and where ``invoke`` raises because an
        output has another shape after all, the caller binds again and fetches.
        """

    def invoke(self) -> None:
        """Compute once. Returns when the result is there, not when it is queued."""

    def fetch(self) -> dict[str, Array]:
        """The outputs of the last ``invoke`` by artifact name; read before the next call."""
