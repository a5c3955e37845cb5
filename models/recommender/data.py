"""Generated ratings with a known structure -> user, item, labels (batch,), content (batch, 12).

    rating = 3 + taste(user) . genres(item) + hidden(user) . hidden(item) + bias(user) + bias(item) + noise

clipped to 1..5. Genres are what the content features show; the hidden part can only be learned from other
users' ratings; of some items no rating is in the training set (a cold start), where content must help. No
model can have a mean absolute error below that of the noise, 0.32.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

USERS = 400
ITEMS = 300
GENRES = 12
HIDDEN = 4
COLD = 40  # the last items have no rating in the training set
RATINGS = 40_000
TRAINING = 30_000
CALIBRATION = 512
EVALUATION = 4_000
NOISE = 0.4
SEED = 0
BATCH = 256

Arrays = Mapping[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]


@functools.cache
def ratings() -> tuple[Arrays, Arrays]:
    """Training and test ratings; pairs of user and item occur once."""
    rng = np.random.default_rng(SEED)
    genres = (rng.random((ITEMS, GENRES)) < 0.25).astype(np.float64)
    taste = rng.normal(0, 0.5, (USERS, GENRES))
    hidden_user, hidden_item = rng.normal(0, 0.6, (USERS, HIDDEN)), rng.normal(0, 0.6, (ITEMS, HIDDEN))
    bias_user, bias_item = rng.normal(0, 0.3, USERS), rng.normal(0, 0.3, ITEMS)
    pairs = rng.permutation(USERS * ITEMS)[:RATINGS]
    user, item = pairs // ITEMS, pairs % ITEMS
    value = 3 + (taste[user] * genres[item]).sum(1) + (hidden_user[user] * hidden_item[item]).sum(1)
    value += bias_user[user] + bias_item[item] + rng.normal(0, NOISE, RATINGS)
    table: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]] = {
        "user": user.astype(np.int64),
        "item": item.astype(np.int64),
        "content": genres[item].astype(np.float32),
        "labels": value.clip(1, 5).astype(np.float32),
    }
    known = np.flatnonzero((np.arange(RATINGS) < TRAINING) & (item < ITEMS - COLD))
    held_out = np.arange(TRAINING, RATINGS)
    return _rows(table, known), _rows(table, held_out)


def _rows(table: Arrays, rows: npt.NDArray[np.int64]) -> Arrays:
    return {name: array[rows] for name, array in table.items()}


def _batches(table: Arrays, count: int, *, labelled: bool) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    names = [name for name in table if labelled or name != "labels"]
    for start in range(0, count, BATCH):
        yield {name: table[name][start : min(start + BATCH, count)] for name in names}


def calibration() -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    """Training ratings without their values."""
    yield from _batches(ratings()[0], CALIBRATION, labelled=False)


def evaluation() -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    """Ratings that were held out, of cold items too."""
    yield from _batches(ratings()[1], EVALUATION, labelled=True)
