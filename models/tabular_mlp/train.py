"""Training samples -> breast_cancer.weights.h5, and the accuracy on the test samples.

    python models/tabular_mlp/train.py [OUT.weights.h5]

Seeded, one CPU thread, ten seconds.
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

EPOCHS = 120
BATCH = 16
SEED = 0


def train() -> keras.Model:
    """The trained model."""
    keras.utils.set_random_seed(SEED)
    features, labels = load("train")
    model = untrained()
    model.get_layer("scaling").adapt(features)
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * (len(features) // BATCH), alpha=1e-2)
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=5e-2),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=0.05),
    )
    order = np.random.default_rng(SEED)
    shuffled = np.concatenate([order.permutation(len(features)) for _ in range(EPOCHS)])
    history = model.fit(features[shuffled], labels[shuffled], batch_size=BATCH, shuffle=False, verbose=0)
    print(f"{EPOCHS} epochs, mean loss {history.history['loss'][0]:.4f}", file=sys.stderr)
    trained = untrained()  # without the optimizer's state, which is twice the size of the weights
    trained.set_weights(model.get_weights())
    return trained


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    model = train()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    model.save_weights(out)
    model.load_weights(out)  # set_weights leaves the scaling as it was; loading takes it over
    features, labels = load("test")
    accuracy = float(np.mean((model.predict(features, verbose=0)[:, 0] > 0.5) == (labels == 1)))
    parameters = model.count_params()
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} samples -> {out.name}")


if __name__ == "__main__":
    main()
