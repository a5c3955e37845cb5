"""image (batch, 28, 28, 1) -> logits (batch, 10): a small separable CNN for handwritten digits, in Keras 3.

146 thousand parameters, 22 million multiply-accumulates. ``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

WEIGHTS = Path(__file__).with_name("digits.weights.h5")


def conv_block(x: keras.KerasTensor, filters: int, size: int, name: str) -> keras.KerasTensor:
    """Convolution, batch normalization, ReLU."""
    x = layers.Conv2D(filters, size, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def separable_block(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """3x3 depthwise convolution, batch normalization, ReLU; then the same with 1x1 pointwise."""
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.BatchNormalization(name=f"{name}_depthwise_norm")(x)
    x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    return conv_block(x, filters, 1, f"{name}_pointwise")


def untrained() -> keras.Model:
    """The architecture with fresh weights."""
    image = keras.Input((28, 28, 1), name="image")
    x = conv_block(image, 32, 3, "stem")
    x = conv_block(x, 64, 3, "widen")
    x = layers.MaxPooling2D(2, name="pool_14")(x)
    x = separable_block(x, 128, "separable")
    x = layers.MaxPooling2D(2, name="pool_7")(x)
    x = conv_block(x, 96, 3, "top")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dense(64, activation="relu", name="hidden")(x)
    x = layers.Dropout(0.1, seed=4, name="dropout")(x)
    logits = layers.Dense(10, name="logits")(x)
    return keras.Model(image, logits, name="digits_keras")


def build() -> keras.Model:
    """The trained model."""
    model = untrained()
    model.load_weights(WEIGHTS)
    return model
