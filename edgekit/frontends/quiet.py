"""Chatty exporters -> silence on stdout and stderr; their errors still arrive as exceptions.

    with quiet(): torch.onnx.export(...)

Known and harmless messages are filtered by text, never by class alone: a new warning must be seen.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

# Loggers of the exporters. Unsupported operators are reported by edgekit itself, from the exported graph.
_LOGGERS = (
    "torch.onnx",
    "torch.export",
    "torch._export",
    "torch._dynamo",
    "torch.fx",
    "torch.utils",
    "torchao",
    "tf2onnx",
    "tensorflow",
    "absl",
    "onnxscript",
    "onnx_ir",
)

# (message, category): who says it, and since when.
_HARMLESS: tuple[tuple[str, type[Warning]], ...] = (
    # torch 2.13 copies its own LeafSpec in every torch.export (torch/utils/_pytree.py).
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
    # Keras 3.15 variables lack NumPy 2's "copy" keyword, which h5py asks for when weights are saved.
    (r"__array__ implementation doesn't accept a copy keyword", DeprecationWarning),
    # torch 2.13 of its own decomposition of LSTM and GRU, and of the weights that nn.RNN keeps flat.
    (r"_check_is_size will be removed", FutureWarning),
    (r"The tensor attributes? self\..*_flat_weights", UserWarning),
    # The same decompositions, traced with weights that could be trained.
    (r"The \.grad attribute of a Tensor that is not a leaf Tensor", UserWarning),
    # torch 2.9 and later, of TorchScript as a whole: reading such files is what edgekit was asked for.
    (r"`torch\.jit\.\w+` is deprecated", DeprecationWarning),
    # torch 2.13 says it of every second input whose batch axis has the same name, where that is the point.
    (r"# The axis name: .* will not be used, since it shares the same shape constraints", UserWarning),
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence exporters inside the block; levels and filters are as before afterwards."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for message, category in _HARMLESS:
            warnings.filterwarnings("ignore", message=message, category=category)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        _let_warnings_through(sys.stderr)
        # torch prints the graph so far where tracing fails (fx/experimental/symbolic_shapes.py).
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _let_warnings_through(stderr: TextIO) -> None:
    """Warnings go where they went before; whoever calls this restores ``warnings.showwarning`` afterwards."""
    show = warnings.showwarning

    def shown(  # noqa: PLR0917  # Python's signature
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        show(message, category, filename, lineno, file or stderr, line)

    warnings.showwarning = shown
