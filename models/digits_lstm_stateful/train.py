"""Digits training half -> digits.weights.h5 and states.npz, and the accuracy on the test half.

    python models/digits_lstm_stateful/train.py [OUT.weights.h5]

Seeded, one CPU thread, a minute or two. The bits of the weights depend on the CPU's instruction set; the
accuracy does not, beyond a sample or two.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums depend on the CPU even more

import keras
import numpy as np
import tensorflow as tf
from data import STATES, load
from model import UNITS, WEIGHTS, untrained

EPOCHS = 60
BATCH = 32
SEED = 0
STATE_COUNT = 128  # states that digits leave behind, for calibration


def augmented(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each digit moved by up to a pixel, its ink scaled by up to 15 %, and noise."""
    padded = np.pad(rows, ((0, 0), (1, 1), (1, 1)))
    moved = [
        p[y : y + 8, x : x + 8] for p, (y, x) in zip(padded, rng.integers(0, 3, (len(rows), 2)), strict=True)
    ]
    scaled = np.stack(moved) * rng.uniform(0.85, 1.15, (len(rows), 1, 1))
    return np.clip(scaled + rng.normal(0, 0.03, rows.shape), 0, 1).astype(np.float32)


def train() -> keras.Model:
    """The trained model."""
    keras.utils.set_random_seed(SEED)
    rows, labels = load("train")
    model = untrained()
    steps = EPOCHS * (len(rows) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        5e-4, steps, warmup_target=1e-2, warmup_steps=steps // 5, alpha=1e-3
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-2),
        loss={"logits": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)},
    )
    one_hot = np.eye(10, dtype=np.float32)[labels]
    zero = np.zeros((BATCH, UNITS), np.float32)
    rng = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        total = 0.0
        order = rng.permutation(len(rows))
        for start in range(0, len(rows) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            feeds = [augmented(rows[batch], rng), zero, zero]
            total += float(model.train_on_batch(feeds, {"logits": one_hot[batch]}))
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {total / (len(rows) // BATCH):.4f}", file=sys.stderr)
    trained = untrained()  # without the optimizer's state, which is twice the size of the weights
    trained.set_weights(model.get_weights())
    return trained


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    model = train()
    rows, labels = load("test")
    zero = np.zeros((len(rows), UNITS), np.float32)
    logits = model.predict([rows, zero, zero], verbose=0)["logits"]
    accuracy = float(np.mean(np.argmax(logits, axis=1) == labels))
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    model.save_weights(out)
    if out == WEIGHTS:
        seen = load("train")[0][-STATE_COUNT:]
        zero = np.zeros((len(seen), UNITS), np.float32)
        left = model.predict([seen, zero, zero], verbose=0)
        np.savez_compressed(STATES, h=left["h_out"], c=left["c_out"])
    parameters = model.count_params()
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} images -> {out.name}")


if __name__ == "__main__":
    main()
