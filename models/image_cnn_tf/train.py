"""Training images -> cifar10.weights.h5 or shapes.weights.h5, and the accuracy on the test images.

    EDGEKIT_DATA=... python models/image_cnn_tf/train.py [OUT.weights.h5]    # CIFAR-10
    python models/image_cnn_tf/train.py [OUT.weights.h5]                     # generated shapes

Seeded, one CPU thread, three minutes. The bits of the weights depend on the CPU's instruction set; the
accuracy does not, beyond a point.
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
from data import task
from keras import layers
from model import untrained, weights

from edgekit import dataset, recipe

HERE = Path(__file__).parent
EPOCHS = {"cifar10": 24, "shapes": 8}
BATCH = 32
SEED = 0


def load(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 64, 64, 3) in 0..1 and labels (n,), prepared as the recipe says."""
    plan = recipe.load(HERE / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource(f"data.py:{source}"),
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
            layers.RandomFlip("horizontal", seed=1),
            layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=2),
        ]
    )
    model = untrained()
    epochs = EPOCHS[task()]
    steps = epochs * (len(images) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        2e-4, steps, warmup_target=2e-3, warmup_steps=steps // 5, alpha=1e-3
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-2),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
    )
    one_hot = np.eye(10, dtype=np.float32)[labels]
    order = np.random.default_rng(SEED)
    for epoch in range(epochs):
        shuffled = order.permutation(len(images))[: len(images) // BATCH * BATCH]
        warped = augment(images[shuffled], training=True) if task() == "cifar10" else images[shuffled]
        history = model.fit(warped, one_hot[shuffled], batch_size=BATCH, shuffle=False, verbose=0)
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {history.history['loss'][0]:.4f}", file=sys.stderr)
    trained = untrained()  # without the optimizer's state, which is twice the size of the weights
    trained.set_weights(model.get_weights())
    return trained


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    model = train()
    images, labels = load("evaluation")
    accuracy = float(np.mean(np.argmax(model.predict(images, verbose=0), axis=1) == labels))
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else weights()
    model.save_weights(out)
    parameters = model.count_params()
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} images -> {out.name}")


if __name__ == "__main__":
    main()
