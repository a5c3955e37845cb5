"""Docstrings of Python's own library -> vocabulary.txt: the most frequent words, one a line.

    python models/text_bert/vocabulary.py

It is run by hand, and its result committed: another version of Python would give another vocabulary, and the
weights belong to this one.
"""

from __future__ import annotations

import os
from collections import Counter

SIZE = 1500

if __name__ == "__main__":
    os.environ.pop("EDGEKIT_DATA", None)  # the vocabulary is made of docstrings alone
    from data import VOCABULARY, sentences, words

    counts = Counter(word for text, _ in sentences("train") for word in words(text))
    chosen = sorted(counts, key=lambda word: (-counts[word], word))[:SIZE]
    VOCABULARY.write_text("".join(f"{word}\n" for word in chosen), "utf-8")
