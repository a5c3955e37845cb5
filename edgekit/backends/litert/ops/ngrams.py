"""TfIdfVectorizer -> GATHER of windows, EQUAL with the pool, SUM, and one matrix product.

    count[g] = sum over distances d = 1 ... skips + 1 of windows (x[i], x[i + d], x[i + 2 d] ...) that equal g
    TF: count      IDF: weight where count > 0      TFIDF: weight * count

An n-gram of one element has no distance: it is counted once. Source: ONNX TfIdfVectorizer-9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.step import Step
from edgekit.spec import Array


def lower_tf_idf(step: Step) -> None:
    """TfIdfVectorizer of integers, (length,) or (batch, length)."""
    t = Terms(step)
    pool = step.attribute("pool_int64s", None)
    if pool is None:
        raise step.refusal(
            "text", "TfIdfVectorizer over strings", "map the words to integers before the model"
        )
    shape = static(step.operand(0).shape, "TfIdfVectorizer")
    (width,) = static(step.out.shape[-1:], "TfIdfVectorizer")
    x = t.reshape(t.cast(step.x(0), "int32"), (1, *shape) if len(shape) == 1 else shape)
    places = [int(v) for v in step.attribute("ngram_indexes", ())]
    total = t.const(np.zeros((1, width)))
    for grams, first in _pools(step, pool):
        counts = _counts(step, t, x, grams)
        if counts is not None:
            matrix = np.zeros((width, len(grams)), np.float32)
            for row in range(len(grams)):
                matrix[places[first + row], row] = 1.0
            total = t.add(total, t.dense(counts, matrix))
    weights: Array = np.ones((1, width), np.float32)
    said = step.attribute("weights", None)
    if said is not None:
        weights[0, places] = np.asarray(said, np.float32)
    mode = str(step.attribute("mode", "TF"))
    if mode == "IDF":
        total = t.cast(t.compare("GREATER", total, t.const(0.0)), "float32")
    result = total if mode == "TF" else t.mul(total, t.const(weights))
    t.finish(t.reshape(t.expand(result, (t.sizes(x)[0], width)), step.out.shape))


def _pools(step: Step, pool: Sequence[int]) -> list[tuple[Array, int]]:
    """(n-grams of one length, as rows; number of the first) for the lengths that are asked for."""
    starts = [int(v) for v in step.attribute("ngram_counts", ())]
    low, high = int(step.attribute("min_gram_length", 1)), int(step.attribute("max_gram_length", 1))
    found: list[tuple[Array, int]] = []
    first = 0
    for length, start in enumerate(starts, start=1):
        end = starts[length] if length < len(starts) else len(pool)
        grams = np.asarray(pool[start:end], np.int32).reshape(-1, length)
        if low <= length <= high and len(grams):
            found.append((grams, first))
        first += len(grams)
    return found


def _counts(step: Step, t: Terms, x: int, grams: Array) -> int | None:
    """(batch, grams): how often each occurs; None where the sequence is too short for any."""
    batch, length = t.sizes(x)
    size = grams.shape[1]
    furthest = int(step.attribute("max_skip_count", 0)) + 1 if size > 1 else 1
    total = None
    for distance in range(1, furthest + 1):
        windows = length - (size - 1) * distance
        if windows < 1:
            break
        places = np.arange(windows)[:, None] + np.arange(size)[None, :] * distance
        cut = t.reshape(t.rows(x, places, 1), (batch * windows, 1, size))
        equal = t.compare("EQUAL", cut, t.const(grams[None], "int32"))
        hits = t.cast(t.reduce("REDUCE_ALL", equal, [2], keep=False), "float32")
        count = t.reduce("SUM", t.reshape(hits, (batch, windows, len(grams))), [1], keep=False)
        total = count if total is None else t.add(total, count)
    return total


LOWERINGS: dict[str, Callable[[Step], None]] = {"TfIdfVectorizer": lower_tf_idf}
