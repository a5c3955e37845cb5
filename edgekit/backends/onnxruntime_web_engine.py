"""ONNX file -> onnxruntime-web (WebAssembly) in Node, as a worker engine.

    worker --pipes, binary frames--> Node: session.run --> worker

Times are Node's own (``process.hrtime`` around ``session.run``): what an app in JavaScript waits for, without
the way through the pipes. They are Node's, not a browser's, and every figure says so ("host"). Memory is the
Node process's, with the package loaded before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.backends import onnxruntime_settings
from edgekit.backends.node_process import NodeProcess
from edgekit.backends.resident import Meter
from edgekit.errors import MissingBackendError
from edgekit.spec import RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_LEVELS = {"all": "all", "extended": "extended", "basic": "basic", "none": "disabled"}


class OnnxRuntimeWebEngine:
    """``backends.engine.Engine`` for onnxruntime-web."""

    _started: ClassVar[NodeProcess | None] = None

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        if options.device != "cpu":
            raise MissingBackendError(
                f"onnxruntime-web was asked to run on {options.device!r}",
                why="edgekit drives its WebAssembly kernels in Node; WebGPU needs a browser",
                remedy='set device = "cpu" in the target',
            )
        settings = onnxruntime_settings.read(dict(options.settings), device="cpu")
        self._inputs, self._outputs = input_names, output_names
        self._took_ns = 0.0
        self._node = self._process()
        entries = {name.removeprefix("session."): value for name, value in settings.session.items()}
        reply, _ = self._node.request(
            {
                "op": "open",
                "path": str(path),
                "threads": options.threads,
                "level": _LEVELS[settings.level],
                "session": entries,
            }
        )
        found = reply["runtime"]
        self.facts = {
            "runtime": "onnxruntime-web",
            "version": found["version"],
            "device": "cpu",
            "threads": str(found["threads"]),
            "host": f"Node {found['node'].removeprefix('v')} (V8 {found['v8']}), WebAssembly, no browser",
        }

    @classmethod
    def _process(cls) -> NodeProcess:
        if cls._started is None:
            cls._started = NodeProcess()
        return cls._started

    @classmethod
    def prepare(cls) -> None:
        """Start Node with the package in it."""
        cls._process()

    @classmethod
    def meter(cls) -> Meter:
        """What Node holds; the worker itself computes nothing."""
        process = Path(f"/proc/{cls._process().pid}")
        return Meter(status=process / "status", reset=process / "clear_refs")

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy ``feeds`` over to Node, where they stay."""
        self._node.request({"op": "bind"}, {name: feeds[name] for name in self._inputs})

    def place(self, results: Mapping[str, Array]) -> bool:
        """Not supported: outputs are fetched."""
        del results
        return False

    def invoke(self) -> None:
        """One inference."""
        reply, _ = self._node.request({"op": "invoke"})
        self._took_ns = float(reply["ns"])

    def took_ns(self) -> float:
        """The last inference by Node's own clock."""
        return self._took_ns

    def fetch(self) -> dict[str, Array]:
        """Copies of the outputs."""
        _, found = self._node.request({"op": "fetch"})
        return {name: found[name] for name in self._outputs}

    def close(self) -> None:
        """End Node."""
        self._node.close()
        type(self)._started = None
