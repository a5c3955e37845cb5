"""Training sentences -> sst2.weights.h5 or docstrings.weights.h5, and the accuracy on the test sentences.

    EDGEKIT_DATA=... python models/text_attention/train.py [OUT.weights.h5]    # SST-2
    python models/text_attention/train.py [OUT.weights.h5]                     # Python's docstrings

Seeded, one CPU thread, one to two minutes. The bits of the weights depend on the CPU's instruction set; the
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
from data import load
from model import untrained, weights

EPOCHS = 8
BATCH = 32
SEED = 0


def train() -> keras.Model:
    """The trained model."""
    keras.utils.set_random_seed(SEED)
    tokens, labels = load("train")
    model = untrained()
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * (len(tokens) // BATCH), alpha=1e-2)
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=2e-2),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=0.1),
    )
    order = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        shuffled = order.permutation(len(tokens))
        history = model.fit(tokens[shuffled], labels[shuffled], batch_size=BATCH, shuffle=False, verbose=0)
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {history.history['loss'][0]:.4f}", file=sys.stderr)
    trained = untrained()  # without the optimizer's state, which is twice the size of the weights
    trained.set_weights(model.get_weights())
    return trained


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    model = train()
    tokens, labels = load("test")
    accuracy = float(np.mean((model.predict(tokens, verbose=0)[:, 0] > 0.5) == (labels == 1)))
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else weights()
    model.save_weights(out)
    parameters = model.count_params()
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} sentences -> {out.name}")


if __name__ == "__main__":
    main()
