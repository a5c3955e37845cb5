"""rows, state h, c -> logits (batch, 10), row_logits (batch, 8, 10), h_out, c_out (batch, 64), in Keras 3.

An LSTM that reads the rows (batch, 8, 8) of a digit, with its state (batch, 64) as inputs and outputs: what
reads a stream hands the state of one call to the next. 19 thousand parameters, 0.15
million multiply-accumulates.
``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

WEIGHTS = Path(__file__).with_name("digits.weights.h5")
UNITS = 64


def untrained() -> keras.Model:
    """The architecture with fresh weights."""
    rows = keras.Input((8, 8), name="rows")
    h = keras.Input((UNITS,), name="h")
    c = keras.Input((UNITS,), name="c")
    lstm = layers.LSTM(UNITS, return_sequences=True, return_state=True, name="lstm")
    sequence, h_out, c_out = lstm(rows, initial_state=[h, c])
    row_logits = layers.Dense(10, name="row_logits")(sequence)
    return keras.Model(
        [rows, h, c],
        {"logits": row_logits[:, -1, :], "row_logits": row_logits, "h_out": h_out, "c_out": c_out},
        name="digits_lstm_stateful",
    )


def build() -> keras.Model:
    """The trained model."""
    model = untrained()
    model.load_weights(WEIGHTS)
    return model
