"""A Node process with onnxruntime-web in it: request -> reply, with arrays as bytes behind the header.

    header    4 bytes of length, big-endian, then UTF-8 JSON (``backends.frames``)
    arrays    the bytes of each array that the header names, little-endian in C order, one after the other

It is the child of a worker, which ends it; its standard error is the worker's. The package is looked for as
Node does: in ``node_modules`` of the working folder and of those above it. Nothing is ever installed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from edgekit import settings
from edgekit.backends.frames import read_exactly, read_frame, write_frame
from edgekit.errors import MissingBackendError

if TYPE_CHECKING:
    from edgekit.spec import Array

MODULE = "onnxruntime-web"
INSTALL = f"npm install {MODULE}  (in the working folder; EDGEKIT_NODE_MODULES names another one)"
INSTALL_NODE = "install Node.js 18 or later (apt install nodejs npm), then npm install onnxruntime-web"
_SCRIPT = Path(__file__).with_name("onnxruntime_web_worker.mjs")


@dataclass(frozen=True)
class Found:
    """The interpreter and the package.

    Attributes:
        node: path of the program.
        folder: the folder whose node_modules holds the package.
        version: of the package.
    """

    node: str
    folder: Path
    version: str


def find() -> Found:
    """Look for both; nothing is started.

    Raises:
        MissingBackendError: one of them is not here; the remedy is the line to type.
    """
    node = shutil.which("node")
    if node is None:
        raise MissingBackendError(
            "Node.js is not installed", why="onnxruntime-web runs in it here", remedy=INSTALL_NODE
        )
    for folder in settings.node_folders():
        described = folder / "node_modules" / MODULE / "package.json"
        if described.is_file():
            return Found(node, folder, str(json.loads(described.read_text("utf-8"))["version"]))
    raise MissingBackendError(
        f"the npm package {MODULE} is not installed",
        why="it was looked for in node_modules of the working folder and of those above it",
        remedy=INSTALL,
    )


class NodeProcess:
    """One child; ended by ``close``, and by its pipe when the worker ends."""

    def __init__(self) -> None:
        found = find()
        self._process = subprocess.Popen(
            [found.node, str(_SCRIPT), str(found.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._replies = cast("IO[bytes]", self._process.stdout)
        self.request({"op": "ready"})

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def request(
        self, message: Mapping[str, Any], arrays: Mapping[str, Array] | None = None
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Send a message with arrays, and wait for the answer with its arrays.

        Raises:
            RuntimeError: the runtime threw; the message is its own.
            EOFError: the process died.
        """
        held = arrays or {}
        rows = [
            {"name": name, "dtype": each.dtype.name, "shape": list(each.shape), "bytes": each.nbytes}
            for name, each in held.items()
        ]
        write_frame(self._requests, {**message, "arrays": rows})
        for each in held.values():
            rest = memoryview(each.tobytes())
            while rest:
                rest = rest[self._requests.write(rest) or 0 :]
        reply = cast("dict[str, Any]", read_frame(self._replies))
        if "error" in reply:
            raise RuntimeError(reply["error"])
        found = {
            row["name"]: np.frombuffer(
                bytearray(read_exactly(self._replies, row["bytes"])), np.dtype(row["dtype"])
            ).reshape(row["shape"])
            for row in reply.get("arrays", ())
        }
        return reply, found

    def close(self) -> None:
        """End it; harmless when called twice."""
        for pipe in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.kill()
        self._process.wait()
