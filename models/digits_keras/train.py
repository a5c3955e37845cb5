"""Digits training half -> digits.weights.h5, and the accuracy on the test half.

    python models/digits_keras/train.py [OUT.weights.h5]

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
from keras import layers
from model import WEIGHTS, untrained

from edgekit import dataset, recipe

HERE = Path(__file__).parent
EPOCHS = 40
BATCH = 32
SEED = 0


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28, 1) in 0..1 and labels (n,) of a half of the digits, prepared as the recipe says."""
    plan = recipe.load(HERE / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource("digits", split=split),
        inputs=tuple(table.spec() for table in plan.model.inputs),
        base=HERE,
        preprocess=plan.data.preprocess,
    )
    return next(data.batches(data.count))["image"], data.labels


def train() -> keras.Model:
    """The trained model."""
    keras.utils.set_random_seed(SEED)
    images, labels = load("train")
    augment = keras.Sequential(
        [
            layers.RandomRotation(12 / 360, fill_mode="constant", seed=1),
            layers.RandomZoom(0.1, fill_mode="constant", seed=2),
            layers.RandomTranslation(0.08, 0.08, fill_mode="constant", seed=3),
        ]
    )
    model = untrained()
    steps = EPOCHS * (len(images) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        3e-4, steps, warmup_target=3e-3, warmup_steps=steps // 4, alpha=1e-3
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-2),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05),
    )
    one_hot = np.eye(10, dtype=np.float32)[labels]
    order = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        shuffled = order.permutation(len(images))[: len(images) // BATCH * BATCH]
        warped = augment(images[shuffled], training=True)
        history = model.fit(warped, one_hot[shuffled], batch_size=BATCH, shuffle=False, verbose=0)
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {history.history['loss'][0]:.4f}", file=sys.stderr)
    trained = untrained()  # without the optimizer's state, which is twice the size of the weights
    trained.set_weights(model.get_weights())
    return trained


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    model = train()
    images, labels = load("test")
    accuracy = float(np.mean(np.argmax(model.predict(images, verbose=0), axis=1) == labels))
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    model.save_weights(out)
    parameters = model.count_params()
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} images -> {out.name}")


if __name__ == "__main__":
    main()
