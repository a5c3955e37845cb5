"""Sentences with a yes or no each, and their token numbers: what text_lstm and text_attention read.

    EDGEKIT_DATA/text/stsa.binary.*  -> SST-2: is this sentence of a film review in favour?
    Python's own docstrings          -> does this sentence come from a module about numbers (1), or about
                                        input and output (0)?

    sentence --lower case, words--> words --vocabulary.txt, else a hash bucket--> numbers, 0 = padding

One vocabulary serves both: it is made of the docstrings, and words that it does not hold share buckets.
The folder of a model holds its copy, because it ships with the model:

    python models/sentences.py OUT/vocabulary.txt
"""

from __future__ import annotations

import collections
import functools
import hashlib
import importlib
import inspect
import os
import re
import sys
import zlib
from pathlib import Path

import numpy as np

WORDS = 2800  # lines of vocabulary.txt: the words that occur most often
BUCKETS = 4000  # for all other words
LENGTH = 40  # words of a sentence that count; SST-2 has 20 on average

NUMBERS = """
array bisect calendar cmath colorsys datetime decimal fractions heapq itertools math numbers operator random
statistics struct time _pydecimal _pydatetime builtins.int builtins.float builtins.complex
"""
INPUT_OUTPUT = """
bz2 codecs csv fileinput glob gzip io lzma mmap os os.path pathlib pickle shutil socket tarfile tempfile
zipfile _pyio
"""


def sst2() -> Path | None:
    """The folder with SST-2, or None where there is none."""
    folder = Path(os.environ.get("EDGEKIT_DATA", "")) / "text"
    return folder if "EDGEKIT_DATA" in os.environ and (folder / "stsa.binary.train").is_file() else None


def task() -> str:
    """ "sst2" or "docstrings": which of the two is read, and so which weights belong to it."""
    return "docstrings" if sst2() is None else "sst2"


def load(split: str) -> tuple[list[str], np.ndarray]:
    """Sentences and labels (n,) int64 of the split "train" or "test", in the same order in every process."""
    folder = sst2()
    if folder is None:
        chosen = [pair for pair in docstring_sentences() if (_hash(pair[0]) % 10 < 6) == (split == "train")]
    else:
        lines = (folder / f"stsa.binary.{split}").read_text("utf-8").splitlines()
        chosen = [(line[2:], int(line[0])) for line in lines if line.strip()]
        chosen.sort(key=lambda pair: _hash(pair[0]))
    return [text for text, _ in chosen], np.array([label for _, label in chosen], np.int64)


@functools.cache
def docstring_sentences() -> list[tuple[str, int]]:
    """Sentences of the standard library's docstrings with labels, in the order of their hashes."""
    found: dict[str, set[int]] = {}
    for label, names in ((1, NUMBERS), (0, INPUT_OUTPUT)):
        for name in names.split():
            for text in _docstrings(name):
                for sentence in re.split(r"(?<=[.:!?])\s+|\n\s*\n", text):
                    if len(words(sentence)) >= 5 and ">>>" not in sentence:
                        found.setdefault(" ".join(words(sentence)), set()).add(label)
    # what both sides say says nothing
    pairs = [(sentence, next(iter(labels))) for sentence, labels in found.items() if len(labels) == 1]
    return sorted(pairs, key=lambda pair: _hash(pair[0]))


def _docstrings(name: str) -> list[str]:
    """Docstrings of a module or a class, of what it holds, and of what its classes hold."""
    try:
        if name.startswith("builtins."):
            top = getattr(importlib.import_module("builtins"), name.partition(".")[2])
        else:
            top = importlib.import_module(name)
    except ImportError:  # not on every platform, not in every version
        return []
    home = {name, f"_{name}", name.removeprefix("_py"), "posix", "nt"}
    objects = [top]
    for _, member in sorted(vars(top).items()):
        if inspect.ismodule(top) and getattr(member, "__module__", None) not in home:
            continue
        objects.append(member)
        if inspect.isclass(member):
            objects += [inner for _, inner in sorted(vars(member).items())]
    documented = (inspect.ismodule, inspect.isclass, inspect.isroutine, inspect.isdatadescriptor)
    texts = (item.__doc__ for item in objects if any(kind(item) for kind in documented))
    return [text for text in texts if isinstance(text, str)]


def words(text: str) -> list[str]:
    """Lower-case words of letters, digits and apostrophes."""
    return re.findall(r"[a-z0-9']+", text.lower())


def tokens(texts: list[str], vocabulary: Path, *, pad: str) -> np.ndarray:
    """Sentences -> (n, 40) int32: line number from 1 in ``vocabulary``, or a bucket after them; 0 pads.

    Args:
        texts: sentences; of longer ones the first 40 words count.
        vocabulary: the file.
        pad: the side that is filled, "left" or "right".
    """
    lines = vocabulary.read_text("utf-8").split()
    known = {word: number for number, word in enumerate(lines, start=1)}
    out = np.zeros((len(texts), LENGTH), np.int32)
    for row, text in zip(out, texts, strict=True):
        numbers = [known.get(word) or 1 + WORDS + zlib.crc32(word.encode()) % BUCKETS for word in words(text)]
        numbers = numbers[:LENGTH]
        row[LENGTH - len(numbers) if pad == "left" else 0 :][: len(numbers)] = numbers
    return out


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def main() -> None:
    count = collections.Counter(word for text, _ in docstring_sentences() for word in words(text))
    chosen = sorted(count, key=lambda word: (-count[word], word))[:WORDS]
    Path(sys.argv[1]).write_text("".join(f"{word}\n" for word in chosen), "utf-8")


if __name__ == "__main__":
    main()
