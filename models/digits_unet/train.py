"""Training scenes -> digits.weights.h5, and the mean intersection over union on the test scenes.

    python models/digits_unet/train.py [OUT.weights.h5]

Seeded, one CPU thread, three minutes. The bits of the weights depend on the CPU's instruction set; the result
does not, beyond a point.
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
from data import load
from model import WEIGHTS, untrained

EPOCHS = 16
BATCH = 16
SEED = 0


def train() -> keras.Model:
    """The trained model."""
    keras.utils.set_random_seed(SEED)
    images, masks = load("train")
    model = untrained()
    steps = EPOCHS * (len(images) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-3, steps, warmup_target=1e-2, warmup_steps=steps // 10, alpha=1e-3
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        shuffled = order.permutation(len(images))[: len(images) // BATCH * BATCH]
        history = model.fit(images[shuffled], masks[shuffled], batch_size=BATCH, shuffle=False, verbose=0)
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {history.history['loss'][0]:.4f}", file=sys.stderr)
    trained = untrained()  # without the optimizer's state, which is twice the size of the weights
    trained.set_weights(model.get_weights())
    return trained


def mean_iou(found: np.ndarray, masks: np.ndarray) -> float:
    """Class numbers of the same shape, twice -> mean over the classes of intersection / union."""
    pairs = [(found == number, masks == number) for number in range(11)]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    model = train()
    images, masks = load("test")
    score = mean_iou(np.argmax(model.predict(images, verbose=0), axis=-1), masks)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    model.save_weights(out)
    parameters = model.count_params()
    print(f"{parameters} parameters, test mIoU {score:.4f} on {len(masks)} scenes -> {out.name}")


if __name__ == "__main__":
    main()
