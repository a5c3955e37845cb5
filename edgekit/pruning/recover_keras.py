"""Pruned and float keras.Model x calibration data -> the pruned one, trained to say what the float one says.

What ``recover`` does in PyTorch, for a live Keras model and without PyTorch: the same loss, rates, mixtures
and seeded order (D1 to D3 there).

G1: both models run as in inference: normalizations keep their statistics, dropout is off. What is learned is
    what the graph will compute.
G2: weights of layers that the user froze (``trainable = False``) stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.errors import missing_extra
from edgekit.pruning.recover import BATCH, PEAK, Recovery, part_of_peak
from edgekit.spec import Array, BatchStream, Progress, Silent


def recover_keras(
    teacher: Any,
    student: Any,
    *,
    names: tuple[str, ...],
    batches: BatchStream,
    count: int,
    epochs: int,
    seed: int,
    progress: Progress | None = None,
) -> Recovery:
    """Train ``student`` in place.

    Args:
        teacher: the float model.
        student: the smaller one.
        names: of the inputs in the data, in the models' order.
        batches: batch size -> a pass over the data.
        count: samples to learn from.
        epochs: passes over them.
        seed: of order and mixtures.
        progress: advanced by epochs; the caller has opened the stage.

    Raises:
        MissingBackendError: TensorFlow is not installed.
    """
    try:
        import keras  # behind TensorFlow: it is the back end
        import tensorflow as tf
    except ImportError as error:
        raise missing_extra("TensorFlow", "keras", needed_for="recovery of a Keras model") from error
    data = _held(names, batches, count)
    size = len(data[0])
    steps = epochs * -(-size // BATCH)
    optimizer = keras.optimizers.Adam(learning_rate=PEAK)
    optimizer.build(student.trainable_variables)

    def step(*given: Any) -> Any:
        wanted = keras.tree.flatten(teacher(_packed(teacher, given), training=False))
        with tf.GradientTape() as tape:
            found = keras.tree.flatten(student(_packed(student, given), training=False))
            loss = sum(_part(tf, f, w) for f, w in zip(found, wanted, strict=True))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, student.trainable_variables), student.trainable_variables, strict=True)
        )
        return loss

    compiled = tf.function(step, reduce_retracing=True)
    rng = np.random.default_rng(seed)
    mixes = all(array.dtype.kind == "f" for array in data)
    errors: list[float] = []
    done = 0
    for _ in range(epochs):
        total, order = 0.0, rng.permutation(size)
        for number, start in enumerate(range(0, size, BATCH)):
            rows = order[start : start + BATCH]
            feeds = [array[rows] for array in data]
            if number % 2 and mixes:
                feeds = _mixed(feeds, rng)
            optimizer.learning_rate = PEAK * part_of_peak(done, steps)
            total += float(compiled(*(tf.constant(each) for each in feeds))) * len(rows)
            done += 1
        errors.append(total / size)
        (progress or Silent()).advance()
    return Recovery(epochs, errors[0], errors[-1])


def _packed(model: Any, tensors: tuple[Any, ...]) -> Any:
    """In the structure that the model was built with."""
    import keras

    if len(tensors) == 1:
        return tensors[0]
    return keras.tree.pack_sequence_as(model.input, list(tensors))


def _held(names: tuple[str, ...], batches: BatchStream, count: int) -> list[Array]:
    parts = list(batches(BATCH))
    return [np.concatenate([part[name] for part in parts])[:count] for name in names]


def _mixed(feeds: list[Array], rng: np.random.Generator) -> list[Array]:
    size = len(feeds[0])
    order, share = rng.permutation(size), rng.random(size)
    result = []
    for array in feeds:
        values = np.asarray(array, np.float64)
        each = share.reshape(-1, *(1 for _ in array.shape[1:]))
        result.append((each * values + (1 - each) * values[order]).astype(array.dtype))
    return result


def _part(tf: Any, found: Any, wanted: Any) -> Any:
    """The squared error as a part of the teacher's variance."""
    variance = tf.maximum(tf.math.reduce_variance(wanted), 1e-12)
    return tf.reduce_mean(tf.square(found - wanted)) / variance
