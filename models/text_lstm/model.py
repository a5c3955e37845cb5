"""tokens (batch, 40) int32 -> positive (batch, 1) in 0..1: embedding, LSTM, one sigmoid, in Keras 3.

226 thousand parameters, of which 218 thousand are the embedding; 0.33 million multiply-accumulates.
``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
from keras import layers

sys.path.append(str(Path(__file__).resolve().parents[1]))

import sentences  # shared with text_attention

HERE = Path(__file__).resolve().parent


def weights() -> Path:
    """The weights that belong to the data that is there."""
    return HERE / f"{sentences.task()}.weights.h5"


def untrained() -> keras.Model:
    """The architecture with fresh weights."""
    tokens = keras.Input((sentences.LENGTH,), dtype="int32", name="tokens")
    x = layers.Embedding(1 + sentences.WORDS + sentences.BUCKETS, 32, name="embedding")(tokens)
    x = layers.SpatialDropout1D(0.3, seed=3, name="word_dropout")(x)
    x = layers.LSTM(32, name="lstm")(x)
    x = layers.Dropout(0.3, seed=4, name="dropout")(x)
    positive = layers.Dense(1, activation="sigmoid", name="positive")(x)
    return keras.Model(tokens, positive, name="text_lstm")


def build() -> keras.Model:
    """The trained model."""
    model = untrained()
    model.load_weights(weights())
    return model
