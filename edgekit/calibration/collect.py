"""Float model x stream of batches -> one Range per float tensor.

    clone of the model with statistics in place of activations --open_model--> session
    for batch in batches:  session.run(batch) -> extrema, sampled values -> evidence -> ranges

One pass. A second one runs only where the minimum behind a clamp was not in the sample (``taps``, T3), and
then for those tensors alone. Memory is that of one batch and of the histograms.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.calibration import input_hints
from edgekit.calibration.choose_method import choose, uncut
from edgekit.calibration.evidence import Evidence
from edgekit.calibration.feeds import batch_of, check_feeds, check_finite, extrema, limited, padded, strided
from edgekit.calibration.finding import Finding
from edgekit.calibration.findings import findings
from edgekit.calibration.observers import Auto, Method, observer_from_method
from edgekit.calibration.reading import OutputChange, Reading, reader
from edgekit.calibration.run_ahead import run_ahead
from edgekit.calibration.samples import SampleLog
from edgekit.calibration.taps import UNKNOWN_SIZE, Taps, tapped
from edgekit.calibration.watched import watched, with_heirs
from edgekit.errors import DataError
from edgekit.ir import io
from edgekit.ir.external_data import room
from edgekit.spec import (
    Array,
    BatchStream,
    Feeds,
    Progress,
    Range,
    RunOptions,
    Session,
    Silent,
)

DEFAULT_BATCH = 2  # larger ones leave the processor's cache before statistics are taken, smaller pay per run
MEMORY_BYTES = 256 * 2**20  # activations of one batch; the batch shrinks until they fit
SAMPLED = 8192  # values of each tensor and sample in a histogram: 128 samples give a million
TAILS = 2  # times as many of a tensor without a clamp, where few values decide (``taps``, T6)
PROBED = 256  # values of each tensor and sample where only extrema are asked for (``taps``, T3)

OpenModel = Callable[[ir.Model, RunOptions], Session]
Results = Iterator[tuple[dict[str, Array], int, dict[str, Array]]]


@dataclass(frozen=True)
class Calibration:
    """What calibration found.

    Attributes:
        tensors: range by value name, for graph inputs and every float32 value between nodes.
        findings: what the user should know about the data.
        samples: how many samples were seen.
        histograms: digest of the histogram by value name, for values that were counted.
        methods: method by value name, where ``auto`` chose it.
        channels: value name -> (channels,) largest absolute values, for those that were asked for.
        channel_extrema: value name -> (2, channels) exact lows and highs of the same.
    """

    tensors: Mapping[str, Range]
    findings: tuple[Finding, ...]
    samples: int
    histograms: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, Array] = field(default_factory=dict)
    channel_extrema: Mapping[str, Array] = field(default_factory=dict)


def collect(
    model: ir.Model,
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    method: str,
    progress: Progress | None = None,
    batch_size: int = DEFAULT_BATCH,
    seed: int = 0,
    channels: Mapping[str, int] | None = None,
) -> Calibration:
    """Stream the data through the float model and observe every float tensor.

    Args:
        model: canonical float graph; untouched.
        open_model: opens a model in a runtime that computes in float32.
        batches: batch size -> a pass over the samples.
        count: how many samples ``batches`` yields at most; more are not read.
        method: see ``observers``: "minmax", "moving-average", "percentile:99.99", "entropy", "mse", "auto".
        progress: advanced by samples; the caller has opened the stage.
        batch_size: upper limit; a fixed batch axis or the memory of the activations may make it smaller.
        seed: of the offsets at which values are sampled.
        channels: value name -> axis: the extrema of each channel along that axis are wanted.

    Raises:
        DataError: no samples; names, shapes or types that are not the model's; NaN or infinity in the data
            or in an activation (with tensor and sample).
        UnknownNameError, InputError: no such method.
    """
    run = _Run(
        model,
        open_model=open_model,
        batches=batches,
        count=count,
        method=observer_from_method(method),
        seed=seed,
        batch_size=batch_size,
    )
    taps = tapped(
        model,
        [value.name or "" for value in watched(model)],
        sampled=SAMPLED if run.method.counts else PROBED,
        seed=seed,
        exact=run.method.each_sample,
        tails=TAILS if run.method.tails else 1,
        channels={name: axis for name, axis in (channels or {}).items() if name not in run.float_inputs},
    )
    learned = _Learned(run, taps, channels or {})
    learned.learn(progress or Silent())
    if learned.samples == 0:
        raise DataError(
            "the calibration data has no samples",
            why="ranges of activations come from data",
            remedy="check the data source and its split; 100 to 300 samples are a good number",
        )
    learned.complete()
    return learned.calibration()


def with_activations(model: ir.Model, names: Mapping[str, Any]) -> ir.Model:
    """A clone of ``model`` whose values ``names`` are outputs too."""
    clone = model.clone()
    present = {value.name for value in (*clone.graph.outputs, *clone.graph.inputs)}
    for node in clone.graph:
        clone.graph.outputs.extend(
            value for value in node.outputs if value.name in names and value.name not in present
        )
    return clone


class _Run:
    """What does not change between passes."""

    def __init__(
        self,
        model: ir.Model,
        *,
        open_model: OpenModel,
        batches: BatchStream,
        count: int,
        method: Method,
        seed: int,
        batch_size: int,
    ) -> None:
        self.model, self.open_model, self.method, self.seed = model, open_model, method, seed
        self._batches, self._count = batches, count
        self.inputs, self.outputs = io.specs(model)
        self.float_inputs = tuple(spec.name for spec in self.inputs if spec.dtype == "float32")
        self.size, self.fixed = batch_of(
            self.inputs,
            limit=batch_size,
            sample_bytes=_sample_bytes(model),
            memory_bytes=room(model, most=MEMORY_BYTES),
        )

    def batches(self) -> Iterable[tuple[dict[str, Array], int]]:
        """(batch, index of its first sample), checked."""
        start = 0
        for feeds in limited(self._batches(self.size), self._count):
            many = check_feeds(feeds, self.inputs, start=start)
            yield feeds, start
            start += many

    def statistics(self, session: Session, feeds: Feeds) -> dict[str, Array]:
        return session.run(padded(feeds, self.size) if self.fixed else feeds)

    @contextlib.contextmanager
    def results(self, model: ir.Model) -> Iterator[Results]:
        """(batch, index of its first sample, outputs of ``model``), of which the next are computed meanwhile.

        The model is opened while the first batches are read.
        """
        with ThreadPoolExecutor(max_workers=1) as opener:
            opening = opener.submit(self.open_model, model, RunOptions())
            try:
                yield (
                    (feeds, start, found)
                    for (feeds, start), found in run_ahead(
                        self.batches(), lambda batch: self.statistics(opening.result(), batch[0])
                    )
                )
            finally:
                if opening.exception() is None:
                    opening.result().close()


class _Learned:
    """Grows with every batch. Tensors are the float inputs first, then the watched ones."""

    def __init__(self, run: _Run, taps: Taps, channels: Mapping[str, int]) -> None:
        self._run, self._taps, self._asked = run, taps, channels
        self._inputs = {name: index for index, name in enumerate(run.float_inputs)}
        self._names = (*run.float_inputs, *taps.names)
        self._evidence = Evidence(self._names, counted=run.method.counts)
        self._attained = np.isnan(taps.floors)
        self._channels: dict[str, Array] = {}
        self._log = SampleLog()
        self._look = input_hints.InputLook(run.model)
        resolved = with_heirs(run.model, dict.fromkeys(taps.names))
        self._outputs = OutputChange(
            frozenset(taps.names.index(resolved[spec.name]) for spec in run.outputs if spec.name in resolved)
        )
        self.samples = 0

    def learn(self, progress: Progress) -> None:
        """The pass over the data."""
        run, taps = self._run, reader(self._taps, shift=len(self._inputs))
        with run.results(self._taps.model) as results:
            for feeds, start, found in results:
                many = len(next(iter(feeds.values())))
                self._log.add(feeds, start=start, count=many)
                self._look.look(feeds)
                reading = taps.read(found, many=many)
                if not reading.finite:
                    self._diagnose(feeds, start=start, many=many)
                self._see(feeds, reading, start=start)
                self._take_channels(found, feeds)
                self.samples += many
                progress.advance(many)

    def _see(self, feeds: Feeds, reading: Reading, *, start: int) -> None:
        shift, counts = len(self._inputs), self._run.method.counts
        values = list(reading.values) if counts else []
        for name, index in self._inputs.items():
            low, high = extrema(feeds[name])
            self._evidence.see(np.array([index]), low[:, None], high[:, None], start=start)
            if counts:
                part = strided(feeds[name], sampled=SAMPLED, offset=self._run.seed)
                values.append((part, np.full(part.shape[1], index)))
        for each in reading.extrema:
            self._evidence.see(each.tensors + shift, each.lows, each.highs, start=start)
            self._attained[each.tensors] |= (each.lows == self._taps.floors[each.tensors]).any(axis=0)
            self._outputs.see(each)
        self._evidence.count(values)

    def complete(self) -> None:
        """Minima that the sample could not prove, in a second pass (``taps``, T3)."""
        missing = [name for name, known in zip(self._taps.names, self._attained, strict=True) if not known]
        if not missing:
            return
        run = self._run
        taps = tapped(run.model, missing, sampled=0, seed=run.seed, exact=True)
        index = np.array([self._names.index(name) for name in taps.names])
        lows, read = np.full(len(missing), np.inf), reader(taps)
        with run.results(taps.model) as results:
            for feeds, _, found in results:
                for each in read.read(found, many=len(next(iter(feeds.values())))).extrema:
                    lows[each.tensors] = np.minimum(lows[each.tensors], each.lows.min(axis=0))
        self._evidence.low[index] = lows

    def _take_channels(self, found: Mapping[str, Array], feeds: Feeds) -> None:
        parts: dict[str, list[Array]] = {}
        for output, name in self._taps.channels.items():
            parts.setdefault(name, []).append(found[output])
        for name in self._inputs.keys() & self._asked.keys():
            axis = self._asked[name] % feeds[name].ndim
            others = tuple(each for each in range(feeds[name].ndim) if each != axis)
            parts[name] = [feeds[name].min(axis=others), feeds[name].max(axis=others)]
        for name, both in parts.items():
            known = self._channels.get(name, np.stack(both))
            lows, highs = np.minimum(known[0], both[0]), np.maximum(known[1], both[1])
            self._channels[name] = np.stack([lows, highs])

    def _diagnose(self, feeds: Feeds, *, start: int, many: int) -> None:
        """Say which tensor of which sample is not finite, the first in the order of the graph.

        A sum may overflow where no value does, and then nothing is found.

        Raises:
            DataError: tensor and sample.
        """
        run = self._run
        ranged = with_heirs(run.model, dict.fromkeys(self._taps.names))
        produced = [value.name or "" for node in run.model.graph for value in node.outputs]
        names = [name for name in produced if name in ranged]
        with run.open_model(with_activations(run.model, dict.fromkeys(names)), RunOptions()) as session:
            values = run.statistics(session, feeds)
        for name in names:
            check_finite(values[name], name=name, start=start, many=many, kind="activation")

    def calibration(self) -> Calibration:
        """Ranges, histograms and findings."""
        seen = {name: self._evidence.seen(index) for index, name in enumerate(self._names)}
        ranges = {name: self._run.method.range_of(each) for name, each in seen.items()}
        methods: dict[str, str] = {}
        if isinstance(self._run.method, Auto):
            kept = uncut(self._run.model, self._names)
            for name, each in seen.items():
                methods[name], ranges[name] = ("minmax", ranges[name]) if name in kept else choose(each)
        full = {name: Range(each.low, each.high) for name, each in seen.items()}
        resolved = with_heirs(self._run.model, ranges)
        return Calibration(
            tensors={name: ranges[source] for name, source in resolved.items()},
            findings=findings(
                samples=self.samples,
                log=self._log,
                inputs={name: full[name] for name in self._inputs},
                activations={name: full[name] for name in self._taps.names},
                halves=self._evidence,
                outputs_change=self._outputs.change,
                others=(*self._look.findings(), *input_hints.unused_inputs(self._run.model)),
            ),
            samples=self.samples,
            histograms={
                name: each.histogram.digest() for name, each in seen.items() if each.histogram is not None
            },
            methods={name: methods[source] for name, source in resolved.items() if source in methods},
            channels={name: np.abs(both).max(axis=0) for name, both in self._channels.items()},
            channel_extrema=self._channels,
        )


def _sample_bytes(model: ir.Model) -> int:
    """Memory of all watched activations of one sample."""
    size = 0
    for value in watched(model):
        sizes = [dim if isinstance(dim, int) else UNKNOWN_SIZE for dim in list(value.shape or ())[1:]]
        size += 4 * math.prod(sizes)
    return size
