"""Text -> tokens (batch, 64) after a cache of 32 characters, and, as labels, the next characters (batch, 64).

| EDGEKIT_DATA | text |
|---|---|
| set, with text/stsa.binary.* | film reviews of SST-2 (Socher et al. 2013), labels left out |
| not set, or without that file | docstrings of Python's own library |

Tokens are characters: 0 ends a text, 1 to 95 are the printable characters of ASCII, anything else is "?".
There is no vocabulary to ship. Docstrings are read out of the library's source files: nothing is imported,
nothing downloaded. They differ a little between versions of Python.

What is evaluated is the harder of the model's two modes, tokens with a past. The past of each sample is
computed by the float model from the 32 characters before, in float64, so it is the same on every machine.
"""

from __future__ import annotations

import ast
import functools
import runpy
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

HERE = Path(__file__).parent
PAST = 32
SCORED = 64
CALIBRATION = 128
EVALUATION = 384
BATCH = 64
SEED = 0

# fmt: off
MODULES = (
    "ast", "collections", "configparser", "datetime", "difflib", "doctest", "email", "enum", "fractions",
    "ftplib", "functools", "http", "imaplib", "inspect", "ipaddress", "json", "mailbox", "os", "pdb",
    "pydoc", "random", "re", "smtplib", "socket", "socketserver", "ssl", "statistics", "string", "tempfile",
    "textwrap", "timeit", "traceback", "typing", "urllib", "uuid", "wsgiref",
)
# fmt: on

Int64 = npt.NDArray[np.int64]


@functools.cache
def names_of_model() -> dict[str, Any]:
    """What ``model.py`` defines."""
    return runpy.run_path(str(HERE / "model.py"))


def encoded(text: str) -> Int64:
    """Characters -> numbers; spaces and line breaks become one space."""
    raw = np.frombuffer(" ".join(text.split()).encode("ascii", "replace"), np.uint8).astype(np.int64)
    return np.where((raw >= 32) & (raw < 127), raw - 31, ord("?") - 31)


@functools.cache
def stream(split: str) -> Int64:
    """All text of "train" or "test" as one row of tokens, each text ended by 0."""
    folder = names_of_model()["real_data"]()
    texts = _reviews(folder / f"stsa.binary.{split}") if folder else _docstrings(split)
    order = np.random.default_rng(SEED).permutation(len(texts))
    return np.concatenate([np.append(encoded(texts[index]), 0) for index in order])


def _reviews(path: Path) -> list[str]:
    return [line[2:] for line in path.read_text("utf-8").splitlines()]


def _docstrings(split: str) -> list[str]:
    """The CRC-32 of a docstring decides whether it is for training (7 of 8) or for the test."""
    library = Path(sysconfig.get_path("stdlib"))
    found = set()
    for path in (
        path for name in MODULES for path in (library / f"{name}.py", *(library / name).glob("*.py"))
    ):
        if path.is_file():
            found |= set(_texts(ast.parse(path.read_text("utf-8"))))
    return [
        text for text in sorted(found) if text and (zlib.crc32(text.encode()) % 8 == 0) == (split == "test")
    ]


def _texts(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Docstrings of a module, its classes and their functions."""
    yield ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _texts(child)


def windows(split: str, count: int) -> Int64:
    """(count, PAST + SCORED + 1) tokens, from evenly spaced places of the text."""
    text = stream(split)
    length = PAST + SCORED + 1
    starts = np.linspace(0, len(text) - length, count).astype(np.int64)
    return text[starts[:, None] + np.arange(length)]


def feeds(rows: Int64) -> dict[str, npt.NDArray[Any]]:
    """Tokens of windows (batch, 97) with the cache of the first 32."""
    model, empty_cache = _float64_model(), names_of_model()["empty_cache"]
    empty = {name: tensor.double() for name, tensor in empty_cache(len(rows)).items()}
    with torch.no_grad():
        outputs = model(torch.from_numpy(rows[:, :PAST]), **empty)
    past = {name: outputs[name.replace("past", "present")].numpy().astype(np.float32) for name in empty}
    return {"tokens": rows[:, PAST:-1], **past}


@functools.cache
def _float64_model() -> Any:
    return names_of_model()["build"]().double()


def calibration() -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Windows of the training text."""
    rows = windows("train", CALIBRATION)
    for start in range(0, CALIBRATION, BATCH):
        yield feeds(rows[start : start + BATCH])


def evaluation() -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Windows of the text that was held out; the label of a character is the one after it."""
    rows = windows("test", EVALUATION)
    for start in range(0, EVALUATION, BATCH):
        batch = rows[start : start + BATCH]
        yield {**feeds(batch), "labels": batch[:, PAST + 1 :]}
