"""Sentences with a label 0 or 1 -> input_ids (batch, 48), attention_mask (batch, 48), labels (batch,).

| EDGEKIT_DATA | sentences | label |
|---|---|---|
| set, with text/stsa.binary.* | film reviews of SST-2 (Socher et al. 2013) | 1 = positive |
| not set, or without that file | docstrings of Python's own library | 1 = of a module about the network |

Words are looked up in ``vocabulary.txt``, the most frequent words of the docstrings; every other word falls
into one of ``BUCKETS`` by its CRC-32, so one vocabulary serves both kinds of text. Docstrings are read out of
the library's source files: nothing is imported, nothing downloaded. They differ a little between versions of
Python.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
VOCABULARY = HERE / "vocabulary.txt"
BUCKETS = 6144
LENGTH = 48
PADDING, CLASSIFIER, FIRST_WORD = 0, 1, 2  # ids; buckets follow the vocabulary
CALIBRATION = 256
EVALUATION = 1800
BATCH = 64
SEED = 0

Sentences = list[tuple[str, int]]
Int64 = npt.NDArray[np.int64]

# fmt: off
NETWORK = (
    "email", "ftplib", "http", "imaplib", "ipaddress", "mailbox", "poplib", "smtplib", "socket",
    "socketserver", "ssl", "urllib", "wsgiref", "xmlrpc",
)
OTHERS = (
    "_pydecimal", "ast", "bdb", "collections", "datetime", "difflib", "doctest", "enum", "fractions",
    "inspect", "pdb", "pydoc", "random", "re", "statistics", "textwrap", "traceback", "typing", "unittest",
)
# fmt: on


def real_data() -> Path | None:
    """The folder of SST-2, or None where EDGEKIT_DATA does not lead to it."""
    folder = Path(os.environ.get("EDGEKIT_DATA", "")) / "text"
    return folder if os.environ.get("EDGEKIT_DATA") and (folder / "stsa.binary.train").is_file() else None


@functools.cache
def sentences(split: str) -> tuple[tuple[str, int], ...]:
    """Sentences and labels of "train" or "test"."""
    folder = real_data()
    return tuple(_reviews(folder / f"stsa.binary.{split}") if folder else _docstrings(split))


def _reviews(path: Path) -> Sentences:
    lines = path.read_text("utf-8").splitlines()
    return [(line[2:], int(line[0])) for line in lines]


def _docstrings(split: str) -> Sentences:
    """The CRC-32 of a sentence decides whether it is for training (3 of 4) or for the test."""
    found = _library()
    chosen = [
        (text, found[text])
        for text in sorted(found)
        if (zlib.crc32(text.encode()) % 4 == 0) == (split == "test")
    ]
    order = np.random.default_rng(SEED).permutation(len(chosen))
    return [chosen[index] for index in order]


@functools.cache
def _library() -> dict[str, int]:
    """Sentence of at least four words -> label; one that both kinds of modules have is of the others."""
    library = Path(sysconfig.get_path("stdlib"))
    found = {}
    for label, names in ((1, NETWORK), (0, OTHERS)):
        for path in (
            path for name in names for path in (library / f"{name}.py", *(library / name).glob("*.py"))
        ):
            if path.is_file():
                for text in _texts(ast.parse(path.read_text("utf-8"))):
                    one_line = " ".join(text.split())
                    found |= {
                        each: label for each in re.split(r"(?<=[.:?!]) ", one_line) if len(words(each)) >= 4
                    }
    return found


def _texts(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Docstrings of a module, its classes and their functions."""
    yield ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _texts(child)


def words(text: str) -> list[str]:
    """Lower-case words, numbers and single marks."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[^\sa-z0-9]", text.lower())


@functools.cache
def numbers() -> dict[str, int]:
    """Word -> id, for the words of vocabulary.txt."""
    return {word: FIRST_WORD + row for row, word in enumerate(VOCABULARY.read_text("utf-8").split("\n")[:-1])}


def encoded(text: str) -> list[int]:
    """Ids of a sentence: the classifier's mark, its words, padding."""
    known = numbers()
    first_bucket = FIRST_WORD + len(known)
    ids = [CLASSIFIER, *(known.get(w, first_bucket + zlib.crc32(w.encode()) % BUCKETS) for w in words(text))]
    return (ids + [PADDING] * LENGTH)[:LENGTH]


def arrays(split: str, count: int | None = None) -> tuple[Int64, Int64, Int64]:
    """Ids (n, 48), mask (n, 48), labels (n,) of the first ``count`` sentences."""
    chosen = sentences(split)[:count]
    ids = np.array([encoded(text) for text, _ in chosen], np.int64)
    return ids, (ids != PADDING).astype(np.int64), np.array([label for _, label in chosen], np.int64)


def calibration() -> Iterator[dict[str, Int64]]:
    """The first training sentences."""
    ids, mask, _ = arrays("train", CALIBRATION)
    for start in range(0, len(ids), BATCH):
        rows = slice(start, start + BATCH)
        yield {"input_ids": ids[rows], "attention_mask": mask[rows]}


def evaluation() -> Iterator[dict[str, Int64]]:
    """The first test sentences."""
    ids, mask, labels = arrays("test", EVALUATION)
    for start in range(0, len(ids), BATCH):
        rows = slice(start, start + BATCH)
        yield {"input_ids": ids[rows], "attention_mask": mask[rows], "labels": labels[rows]}
