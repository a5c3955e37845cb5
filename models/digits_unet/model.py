"""image (batch, 64, 64, 1) -> logits (batch, 64, 64, 11): the digit at each pixel, by a U-Net in Keras 3.

74 thousand parameters, 32 million multiply-accumulates. Class 10 is the background. ``build()`` is what the
recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

WEIGHTS = Path(__file__).with_name("digits.weights.h5")
WIDTHS = (8, 16, 32, 64)  # channels at 64, 32, 16 and 8 pixels


def conv_block(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """3x3 convolution, batch normalization, ReLU."""
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def untrained() -> keras.Model:
    """The architecture with fresh weights."""
    image = keras.Input((64, 64, 1), name="image")
    x, skips = image, []
    for filters in WIDTHS[:-1]:
        x = conv_block(conv_block(x, filters, f"down_{filters}a"), filters, f"down_{filters}b")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"pool_{filters}")(x)
    x = conv_block(x, WIDTHS[-1], "bottom")
    for filters, skip in zip(reversed(WIDTHS[:-1]), reversed(skips), strict=True):
        x = layers.UpSampling2D(2, name=f"enlarge_{filters}")(x)
        x = layers.Concatenate(name=f"skip_{filters}")([skip, x])
        x = conv_block(x, filters, f"up_{filters}")
    logits = layers.Conv2D(11, 1, name="logits")(x)
    return keras.Model(image, logits, name="digits_unet")


def build() -> keras.Model:
    """The trained model."""
    model = untrained()
    model.load_weights(WEIGHTS)
    return model
