"""LiteRT interpreter as a worker engine: bind -> invoke -> fetch, in the artifact's own names and layouts.

XNNPACK is applied by the interpreter's default resolver. What runs is read back: "xnnpack" if the delegate
took nodes, "builtin" if it took none.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit import settings
from edgekit.backends.litert import counting
from edgekit.errors import DataError, InputError, MissingBackendError, ModelFileError, missing_extra
from edgekit.spec import RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

KERNELS = ("xnnpack", "builtin")
"""Values of the setting "kernels": XNNPACK where it can, or the builtin kernels only (for comparison)."""


class LiteRtEngine:
    """``backends.engine.Engine`` for LiteRT on the CPU."""

    facts: dict[str, str]

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        if options.device != "cpu":
            raise MissingBackendError(
                f"LiteRT was asked to run on {options.device!r}",
                why="edgekit runs .tflite files on the CPU only, and another device is no substitute",
                remedy='set device = "cpu" in the target',
            )
        interpreter, version = open_interpreter(path, options)
        self._interpreter = interpreter
        self._path, self._options = path, options
        self._feeds: Mapping[str, Array] = {}
        self._inputs = _by_name(interpreter.get_input_details(), input_names, path)
        self._outputs = _by_name(interpreter.get_output_details(), output_names, path)
        self._shapes = {name: tuple(detail["shape"]) for name, detail in self._inputs.items()}
        self.facts = {
            "runtime": "litert",
            "version": version,
            "device": "cpu",
            "threads": str(options.threads),
            **_kernels(interpreter),
        }

    @classmethod
    def prepare(cls) -> None:
        """Load the runtime."""
        with contextlib.suppress(ImportError):  # opening says it better
            importlib.import_module("ai_edge_litert.interpreter")

    def executed(self) -> list[dict[str, Any]]:
        """What runs: the operators of the file, in the types of its tensors; LiteRT rewrites none.

        XNNPACK computes what it takes in the same types, and on the same device.
        """
        names = {detail["index"]: detail["name"] for detail in self._interpreter.get_tensor_details()}
        rows = [each for each in self._interpreter._get_ops_details() if each["op_name"] != "DELEGATE"]
        return [_executed(each, names) for each in rows]

    def profile(self, runs: int) -> dict[str, Any]:
        """Every kernel with its times, from LiteRT's own profiler (``native_profiler``).

        Raises:
            MissingBackendError: the installed LiteRT has none that is known.
        """
        from edgekit.backends.litert import delegated, profile  # compiling opens a file, and times nothing

        parts = delegated.parts(self._interpreter._get_ops_details())
        return profile.timed(
            self._path, self._options, feeds=self._feeds, plain=self.invoke, runs=runs, parts=parts
        )

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy ``feeds`` in; a new batch size resizes the inputs first.

        Raises:
            DataError: a shape that the file does not allow.
        """
        shapes = {name: tuple(feeds[name].shape) for name in self._inputs}
        if shapes != self._shapes:
            self._resize(shapes)
        self._feeds = feeds
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], np.asarray(feeds[name], order="C"))

    def place(self, results: Mapping[str, Array]) -> bool:
        """Not supported: outputs are fetched."""
        del results
        return False

    def invoke(self) -> None:
        """One inference."""
        self._interpreter.invoke()

    def fetch(self) -> dict[str, Array]:
        """Copies of the outputs."""
        return {name: self._value(detail["index"]) for name, detail in self._outputs.items()}

    def _value(self, index: int) -> Array:
        """The tensor; LiteRT keeps the number of bytes of one that has become empty, and then refuses it."""
        try:
            found: Array = self._interpreter.get_tensor(index)
        except ValueError:
            now = next(each for each in self._interpreter.get_output_details() if each["index"] == index)
            if 0 not in now["shape"]:
                raise
            found = np.zeros(now["shape"], now["dtype"])
        return found

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Bind, invoke, fetch."""
        self.bind(feeds)
        self.invoke()
        return self.fetch()

    def _resize(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        try:
            for name, detail in self._inputs.items():
                self._interpreter.resize_tensor_input(detail["index"], list(shapes[name]), strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DataError(
                f"the file does not take inputs of shapes {dict(shapes)}",
                why=str(error),
                remedy="give the shapes that it was compiled for, or export with a dynamic batch",
            ) from error
        self._shapes = dict(shapes)


def open_interpreter(path: Path, options: RunOptions) -> tuple[Any, str]:
    """An interpreter with its tensors allocated, and the version of LiteRT.

    Raises:
        ModelFileError: LiteRT does not take the file.
        InputError: a setting that does not exist.
        MissingBackendError: LiteRT is not installed.
    """
    settings.silence_native_libraries()
    try:
        from importlib import metadata

        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        version = metadata.version("ai-edge-litert")
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for="running .tflite files") from error
    wanted = dict(options.settings)
    kernels = wanted.pop("kernels", "xnnpack")
    if wanted or kernels not in KERNELS:
        raise InputError(
            f"unknown LiteRT setting {next(iter(wanted), f'kernels = {kernels}')!r}",
            why=f"the only one is kernels = {' or '.join(KERNELS)}",
            remedy="correct [run.settings] of the target",
        )
    builtin = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    resolver = OpResolverType.AUTO if kernels == "xnnpack" else builtin
    try:
        interpreter = Interpreter(
            model_path=str(path), num_threads=options.threads, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        raise ModelFileError(
            f"{path.name} is not a TFLite file that LiteRT {version} takes",
            why=str(error),
            remedy="compile it again, or copy it again and compare its hash",
        ) from error
    return interpreter, version


def _by_name(details: list[dict[str, Any]], names: list[str], path: Path) -> dict[str, dict[str, Any]]:
    found = {detail["name"]: detail for detail in details}
    missing = [name for name in names if name not in found]
    if missing:
        raise ModelFileError(
            f"{path.name} has no tensor {missing[0]!r}",
            why=f"it has {', '.join(sorted(found))}",
            remedy="compile it again: the file and its description do not belong together",
        )
    return {name: found[name] for name in names}


def _executed(operator: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """A row of ``spec.Executed``; with float activations and integer weights the kernel is a dynamic one."""
    types = [np.dtype(each).name for each in operator["operand_types"]]
    first = types[0] if types else ""
    hybrid = first == "float32" and len(types) > 1 and types[1] == "int8"
    return {
        "names": [names.get(int(operator["outputs"][0]), "")] if len(operator["outputs"]) else [],
        "operator": operator["op_name"],
        "device": "cpu",
        "precision": "int8" if hybrid or first == "uint8" else first,
        "multiplies": counting.multiplies(operator["op_name"]),
    }


def _kernels(interpreter: Any) -> dict[str, str]:
    """What computes: "xnnpack" if the delegate took at least one operator."""
    names = [detail["op_name"] for detail in interpreter._get_ops_details()]
    delegated = [name for name in names if "XNNPACK" in name.upper() or name == "DELEGATE"]
    return {"kernels": "xnnpack" if delegated else "builtin"}
