"""image (batch, 64, 64, 3) -> probabilities (batch, 10): three convolutions and two dense layers, in Keras 3.

156 thousand parameters, 11 million multiply-accumulates. ``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import keras
from data import task
from keras import layers


def weights() -> Path:
    """The weights that belong to the data that is there."""
    return Path(__file__).with_name(f"{task()}.weights.h5")


def untrained() -> keras.Model:
    """The architecture with fresh weights."""
    image = keras.Input((64, 64, 3), name="image")
    x = image
    for number, filters in enumerate((16, 32, 64), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{number}")(x)
        x = layers.MaxPooling2D(4 if number == 3 else 2, name=f"pool_{number}")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dropout(0.4, seed=4, name="dropout")(x)
    x = layers.Dense(128, activation="relu", name="hidden")(x)
    probabilities = layers.Dense(10, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name="image_cnn_tf")


def build() -> keras.Model:
    """The trained model."""
    model = untrained()
    model.load_weights(weights())
    return model
