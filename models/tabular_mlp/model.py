"""features (batch, 30) -> benign (batch, 1) in 0..1: scaling and three sigmoid layers, in Keras 3.

1,598 parameters, 1,488 multiply-accumulates. The scaling is a layer of the model, so the features come in
their own units, from thousandths to thousands. ``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

WEIGHTS = Path(__file__).with_name("breast_cancer.weights.h5")


def untrained() -> keras.Model:
    """The architecture with fresh weights; the scaling learns its mean and variance by ``adapt``."""
    features = keras.Input((30,), name="features")
    x = layers.Normalization(name="scaling")(features)
    x = layers.Dense(32, activation="sigmoid", name="hidden_1")(x)
    x = layers.Dense(16, activation="sigmoid", name="hidden_2")(x)
    benign = layers.Dense(1, activation="sigmoid", name="benign")(x)
    return keras.Model(features, benign, name="tabular_mlp")


def build() -> keras.Model:
    """The trained model."""
    model = untrained()
    model.load_weights(WEIGHTS)
    return model
