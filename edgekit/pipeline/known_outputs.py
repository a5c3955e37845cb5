"""The float reference's outputs on a data set -> cache -> a Runner that gives them again, in order.

`validate` is run again and again against one reference on one data set, with other artifacts, and so are the
trials of `quantize --max-drop`. The reference computes the same each time, so its outputs are kept where they
are not too large, and it is not even opened the next time. The key holds the model, the data, the runtime's
version and the machine: another machine computes for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.dataset import Dataset
from edgekit.ir import digest, io
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.versions import tools
from edgekit.spec import Array, Dim, Feeds, TensorSpec

MOST_BYTES = 64_000_000  # 16,000 samples of 1,000 classes; segmentation masks are cheaper to compute again
_STAGE, _FILE = "reference outputs", "outputs.npz"


@dataclass(frozen=True)
class KnownOutputs:
    """Where the outputs of one model on one data set are, or would be, in the cache.

    Attributes:
        inputs: of the model.
        outputs: of the model.
        count: number of samples.
    """

    cache: Cache
    key: Mapping[str, object]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    count: int

    @property
    def fits(self) -> bool:
        """Whether all outputs are small enough, as far as their shapes say."""
        each = [
            np.dtype(spec.dtype).itemsize * math.prod(_known(dim) for dim in spec.shape[1:])
            for spec in self.outputs
            if spec.shape
        ]
        return len(each) == len(self.outputs) and all(each) and self.count * sum(each) <= MOST_BYTES

    def runner(self) -> Replay | None:
        """What gives the outputs again; None where they are not known."""
        if not self.fits or not self.cache.holds(_STAGE, self.key):
            return None
        entry = self.cache.folder(_STAGE, self.key, _never)
        with np.load(entry / _FILE, allow_pickle=False) as archive:
            return Replay(self.inputs, self.outputs, {name: archive[name] for name in archive.files})

    def keep(self, outputs: Mapping[str, Array]) -> None:
        """Store the outputs of all samples, in order."""
        if not outputs or any(len(array) != self.count for array in outputs.values()):
            return

        def write(folder: Path) -> None:
            np.savez(folder / _FILE, allow_pickle=False, **dict(outputs))

        self.cache.folder(_STAGE, self.key, write)


def of_model(model: ir.Model, data: Dataset, *, cache: Cache) -> KnownOutputs:
    """The place of the outputs of ``model`` on ``data``."""
    key = {
        "model": digest.digest(model),
        "data": data.digest,
        "tools": tools(),
        "machine": machine_row().key,
    }
    inputs, outputs = io.specs(model)
    return KnownOutputs(cache, key, inputs, outputs, data.count)


def _known(dim: Dim) -> int:
    return dim if isinstance(dim, int) else 0


def _never(folder: Path) -> None:
    raise AssertionError(f"{folder} was there a moment ago")


@dataclass
class Replay:
    """A Runner of known outputs: each call gives those of the next samples.

    Attributes:
        inputs: what it pretends to take.
        outputs: what it gives.
        known: (count, ...) by name.
        place: the next sample.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    known: Mapping[str, Array]
    place: int = 0

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The outputs of the next samples, as many as ``feeds`` has."""
        first, self.place = self.place, self.place + len(next(iter(feeds.values())))
        return {name: array[first : self.place] for name, array in self.known.items()}
