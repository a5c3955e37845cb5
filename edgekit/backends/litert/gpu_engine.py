"""LiteRT's GPU accelerator as a worker engine: bind -> invoke -> fetch, in the artifact's names and layouts.

    bind:    shapes --resize--> buffers of the device's own, made once for each set of shapes; feeds written
    invoke:  run, and read every output: LiteRT 2.3.0 returns when the work is queued, and only reading waits
    fetch:   what ``invoke`` read

So an inference is timed with the copies of its outputs (fact "timed"). LiteRT's way to hand over the memory
of an array (``TensorBuffer.create_from_host_memory``) makes buffers of rank 1, which 2.3.0 refuses for
tensors of another rank; buffers that stay are the nearest that it has.

Every operator runs on the device, or the session does not open (``accelerator``). Where operators may run on
the CPU, LiteRT says of which kinds they are and how many; its profiler sees none of them. So

    share of an operator = its time among LiteRT's CPU kernels, which run it here too / time of an inference
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends import profiling
from edgekit.backends.litert import counting
from edgekit.backends.litert.accelerator import PRECISION, accelerated, wanted
from edgekit.errors import DataError, ModelFileError
from edgekit.spec import RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_SIGNATURE = "serving_default"  # what ``flatbuffer`` writes
_COMPUTES = {"f32": "float32", "f16": "float16"}


class LiteRtGpuEngine:
    """``backends.engine.Engine`` for LiteRT on a GPU."""

    facts: dict[str, str]

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        opened = accelerated(path, options)
        self._path, self._options = path, options
        self._model = opened.model
        self._left, self._left_count = opened.left, opened.left_count
        self._feeds: Mapping[str, Array] = {}
        self.facts = {**opened.facts, "threads": str(options.threads), "timed": "with copies of the outputs"}
        if _SIGNATURE not in self._model.get_signature_list():
            raise ModelFileError(
                f"{path.name} has no signature {_SIGNATURE!r}",
                why="tensors are found by their names in it",
                remedy="compile it with edgekit",
            )
        self._inputs = _known(self._model.get_input_tensor_details(_SIGNATURE), input_names, path)
        self._outputs = _known(self._model.get_output_tensor_details(_SIGNATURE), output_names, path)
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self._given: dict[str, Any] = {}
        self._made: dict[str, Any] = {}
        self._results: dict[str, Array] = {}

    def takes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and element type of each input, open sizes as 1."""
        return {
            name: (tuple(map(int, each["shape"])), str(each["dtype"])) for name, each in self._inputs.items()
        }

    @classmethod
    def prepare(cls) -> None:
        """Load the runtime."""
        with contextlib.suppress(ImportError):  # opening says it better
            importlib.import_module("ai_edge_litert.compiled_model")

    def executed(self) -> list[dict[str, Any]]:
        """The operators of the file and where they run; integers are rounded to and computed with in float.

        Where more than the kinds that LiteRT names are left to the CPU, the rest may be on either.
        """
        from edgekit.backends.litert.tables import parse

        graph = parse(self._path.read_bytes(), name=self._path.name)[0][0]
        computes = _COMPUTES[wanted(self._options)[PRECISION]]
        named = sum(each.name in self._left for each in graph.operators)
        others = "gpu" if named == self._left_count else "gpu or cpu"
        return [
            {
                "names": [each.outputs[0].name] if each.outputs else [],
                "operator": each.name,
                "device": "cpu" if each.name in self._left else others,
                "precision": computes,
                "multiplies": counting.multiplies(each.name),
            }
            for each in graph.operators
        ]

    def profile(self, runs: int) -> dict[str, Any] | None:
        """The operators that run on the CPU, with their times; None where none does, or one has no time."""
        from edgekit.backends.litert.engine import LiteRtEngine

        here = {row["names"][0] for row in self.executed() if row["device"] == "cpu" and row["names"]}
        if not here:
            return None
        options = RunOptions(threads=self._options.threads)
        cpu = LiteRtEngine(self._path, options, list(self._inputs), list(self._outputs))
        cpu.bind(self._feeds)
        found = cpu.profile(runs)
        kernels = [row for row in found["kernels"] if here.intersection(row["names"])]
        if here != {name for row in kernels for name in row["names"]}:
            return None
        plain_us = [profiling.timed_us(self.invoke) for _ in range(runs)]
        notes = ["kernels on the GPU are not seen: LiteRT has no profiler for them", *found["notes"]]
        return {**found, "kernels": kernels, "plain_us": plain_us, "profiled_us": plain_us, "notes": notes}

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Write ``feeds`` to the device; new shapes resize the inputs first and get buffers of their own.

        Raises:
            DataError: a shape that the file does not allow.
        """
        shapes = {name: tuple(map(int, feeds[name].shape)) for name in self._inputs}
        if shapes != self._shapes:
            self._resize(shapes)
        self._feeds = feeds
        for name, buffer in self._given.items():
            buffer.write(np.asarray(feeds[name], order="C"))

    def place(self, results: Mapping[str, Array]) -> bool:
        """Not supported: outputs are fetched."""
        del results
        return False

    def invoke(self) -> None:
        """One inference, and the copies of its outputs."""
        self._model.run_by_name(_SIGNATURE, self._given, self._made)
        self._results = {name: self._read(name) for name in self._outputs}

    def fetch(self) -> dict[str, Array]:
        """The outputs of the last ``invoke``."""
        return self._results

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Bind, invoke, fetch."""
        self.bind(feeds)
        self.invoke()
        return self.fetch()

    def _read(self, name: str) -> Array:
        detail = self._outputs[name]
        shape = tuple(int(size) for size in detail["shape"])
        found: Array = self._made[name].read(int(np.prod(shape)), np.dtype(detail["dtype"])).reshape(shape)
        return found

    def _resize(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        try:
            for name, detail in self._inputs.items():
                if shapes[name] != tuple(detail["shape"]):
                    self._model.resize_input_tensor_by_name(_SIGNATURE, name, list(shapes[name]))
            self._inputs = _known(
                self._model.get_input_tensor_details(_SIGNATURE), list(self._inputs), self._path
            )
            self._outputs = _known(
                self._model.get_output_tensor_details(_SIGNATURE), list(self._outputs), self._path
            )
            self._given = {n: self._model.create_input_buffer_by_name(_SIGNATURE, n) for n in self._inputs}
            self._made = {n: self._model.create_output_buffer_by_name(_SIGNATURE, n) for n in self._outputs}
        except (ValueError, RuntimeError) as error:
            raise DataError(
                f"the file does not take inputs of shapes {dict(shapes)} on the GPU",
                why=str(error),
                remedy="give the shapes that it was compiled for, or export with a dynamic batch",
            ) from error
        self._shapes = dict(shapes)


def _known(details: Mapping[str, dict[str, Any]], names: list[str], path: Path) -> dict[str, dict[str, Any]]:
    """The details of ``names``; of all tensors where none is named."""
    missing = [name for name in names if name not in details]
    if missing:
        raise ModelFileError(
            f"{path.name} has no tensor {missing[0]!r}",
            why=f"its signature has {', '.join(sorted(details))}",
            remedy="compile it again: the file and its description do not belong together",
        )
    return {name: details[name] for name in names or details}
