"""Artifact x float model x samples -> at every kernel's end: what it is, what it should be, batch by batch.

    artifact --backends.taps--> files that can be looked into --run--> c by value of the float model
    float model --segments.exposed--> r        --segments.cut, fed with c--> e

N1 names of the artifact are those of the float model: edgekit's own files
N2 most names are unknown: tensors are recognised by their numbers on the first batch
N3 the artifact's float model has channels of other sizes (restoration): ``debug.restored``
N4 an output of the model that no tap stands for is an end too: what the session gives

The files that hold single taps (OpenVINO's V3) are run once, in front, and their values wait on disk. So the
memory is that of one batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.backends.taps import Tap, Tapped, tapped
from edgekit.dataset import Dataset
from edgekit.errors import DataError, InputError
from edgekit.ir import io
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.debug.restored import as_restored
from edgekit.pipeline.open import open_artifact
from edgekit.spec import Array, Artifact, RunOptions, Session
from edgekit.validation import segments
from edgekit.validation.recognise import Layout, layout, recognised

BATCH = 4  # as in calibration: larger ones leave the processor's cache
LARGEST_BATCH_BYTES = 2**28  # of one batch's activations, three times in memory; beyond: one sample at a time
KEPT_BYTES = 2**28  # of samples: 64 images of 224 pixels are a seventh of it

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class End:
    """A kernel's end, under its name in the float model.

    Attributes:
        tap: where it is in the artifact; None: it is an output of the model (N4).
        layout: from the artifact's array to the float model's.
        shape: of the float model's array, on the first batch.
    """

    name: str
    tap: Tap | None
    layout: Layout
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """One batch: arrays by the name of the end, in the float model's layout.

    Attributes:
        feeds: what the models were fed.
        reference: r. candidate: c. expected: e.
        outputs: of the artifact, by the float model's names.
        truth: of the float model.
    """

    feeds: Arrays
    reference: Arrays
    candidate: Arrays
    expected: Arrays
    outputs: Arrays
    truth: Arrays


class Looking:
    """One artifact beside its float model. A context manager: sessions are open inside of it."""

    def __init__(self, artifact: Artifact, reference: ir.Model, *, data: Dataset, folder: Path) -> None:
        """Prepare; nothing is run yet.

        Args:
            artifact: what is looked at.
            reference: canonical float model.
            data: the samples, those of the model's inputs.
            folder: an empty one for files that go when all is done.
        """
        self._artifact, self.notes = in_terms_of(artifact, *io.specs(reference))
        self._reference, self._data, self._folder = reference, data, folder
        self._stack = ExitStack()
        self._kept: list[Arrays] | None = None
        self.batch = _batch(reference, self._artifact, data.count)
        self.count = data.count - data.count % self.batch

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def artifact(self) -> Artifact:
        """In the terms of the float model."""
        return self._artifact

    @property
    def reference(self) -> ir.Model:
        """The float model that the artifact was made from (N3)."""
        return self._reference

    @property
    def facts(self) -> Mapping[str, str]:
        """What really ran."""
        return self._main.facts

    def feeds(self) -> Iterator[Arrays]:
        """Whole batches, from the start; read once and kept, unless they are many."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Arrays] | None = []
        for feeds in itertools.islice(self._data.batches(self.batch), self.count // self.batch):
            if kept is not None:
                kept.append(feeds)
                size = sum(array.nbytes for array in feeds.values())
                kept = None if len(kept) * size > KEPT_BYTES else kept
            yield feeds
        self._kept = kept

    def batches(self) -> Iterator[Seen]:
        """Every batch, seen at every end."""
        for number, feeds in enumerate(self.feeds()):
            yield self._seen(feeds, number)

    # --- opening --------------------------------------------------------------------------------------

    def _open(self) -> None:
        _check_interface(self._artifact, self._reference)
        known = segments.values(self._reference)
        found = tapped(self._artifact, self._folder, batch=self.batch, known=known.keys())
        first = next(self.feeds(), None)
        if first is None:
            raise DataError(
                f"there are {self._data.count} samples, and the model takes {self.batch} at a time",
                why="no batch is whole",
                remedy="give more samples",
            )
        self._main = self._stack.enter_context(open_artifact(found.artifacts[0]))
        self._apart = self._spooled(found)
        outputs = self._main.run(first)
        self._prove(first, outputs)
        tensors = {tap.tensor: self._tensor(tap.tensor, outputs, 0) for tap in found.taps}
        named = self._named(found, tensors, first)
        self.ends, self.unmatched = self._ends(found, tensors, named, first)
        candidate = self._candidate(outputs, 0)
        self._reference, said = as_restored(
            self._reference, first, candidate, [end.name for end in self.ends]
        )
        self.notes = (*self.notes, *found.notes, *said)
        names = [end.name for end in self.ends]
        self._truth = self._stack.enter_context(_session(segments.exposed(self._reference, names)))
        self._pieces = self._stack.enter_context(_session(segments.cut(self._reference, names)))

    def _prove(self, first: Arrays, outputs: Arrays) -> None:
        """Say so if the file that is looked into does not give what the artifact gives."""
        with open_artifact(self._artifact) as session:
            own = session.run(first)
        gaps = {
            name: float(np.abs(array.astype(np.float64) - outputs[name].astype(np.float64)).max(initial=0.0))
            for name, array in own.items()
            if array.dtype.kind == "f" and not np.array_equal(array, outputs[name], equal_nan=True)
        }
        if gaps:
            name, gap = max(gaps.items(), key=lambda each: each[1])
            said = f"looking changes what the artifact gives: output {name!r} by {gap:.3g} at most"
            self.notes = (*self.notes, said)

    def _spooled(self, found: Tapped) -> dict[str, list[Array]]:
        """Values of the files that hold single taps: one array for each batch, on disk."""
        kept: dict[str, list[Array]] = {}
        for artifact in found.artifacts[1:]:
            mine = [each.name for each in artifact.outputs[len(self._artifact.outputs) :]]
            with open_artifact(artifact) as session:
                for number, feeds in enumerate(self.feeds()):
                    outputs = session.run(feeds)
                    for name in mine:
                        path = self._folder / f"{name}.{number}.npy"
                        np.save(path, outputs[name])
                        kept.setdefault(name, []).append(np.load(path, mmap_mode="r"))
        return kept

    def _tensor(self, name: str, outputs: Arrays, number: int) -> Array:
        return self._apart[name][number] if name in self._apart else outputs[name]

    def _named(self, found: Tapped, tensors: Arrays, first: Arrays) -> dict[str, str]:
        """Tensor -> value of the float model: N1, else N2."""
        known = segments.values(self._reference)
        own = {tap.tensor: next((n for n in tap.names if n in known), None) for tap in found.taps}
        named = {tensor: name for tensor, name in own.items() if name is not None}
        if 2 * len(named) > len(found.taps):
            return named
        self.notes = (
            *self.notes,
            "tensors have names of another tool: they were recognised by their numbers",
        )
        made = [name for name, value in known.items() if not value.is_graph_input()]
        with _session(segments.exposed(self._reference, made)) as session:
            truth = session.run(first)
        return recognised(tensors, {name: truth[name] for name in made})

    def _ends(
        self, found: Tapped, tensors: Arrays, named: Mapping[str, str], first: Arrays
    ) -> tuple[tuple[End, ...], tuple[str, ...]]:
        """The ends, in the order of the float model; and tensors for which there is no place in it."""
        known = segments.values(self._reference)
        with _session(segments.exposed(self._reference, sorted(set(named.values())))) as session:
            truth = {**first, **session.run(first)}
        ends: dict[str, End] = {}
        unmatched = []
        for tap in found.taps:
            name = named.get(tap.tensor)
            fitting = None if name is None else layout(tensors[tap.tensor], truth[name])
            if name is None or fitting is None:
                unmatched.append(tap.names[-1])
            elif name not in ends or (ends[name].tap or tap).params is None:
                ends[name] = End(name, tap, fitting, truth[name].shape)
        for value in self._reference.graph.outputs:  # N4
            if value.name and value.name in known and value.name not in ends:
                ends[value.name] = End(value.name, None, Layout(), ())
        ordered = tuple(ends[name] for name in known if name in ends)
        return ordered, tuple(unmatched)

    # --- running --------------------------------------------------------------------------------------

    def _candidate(self, outputs: Arrays, number: int) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for end in self.ends:
            array = outputs[end.name] if end.tap is None else self._tensor(end.tap.tensor, outputs, number)
            turned = end.layout.applied(array, (array.shape[0], *end.shape[1:]))
            arrays[end.name] = np.ascontiguousarray(turned.astype(np.float32, copy=False))
        return arrays

    def _seen(self, feeds: Arrays, number: int) -> Seen:
        outputs = self._main.run(feeds)
        truth = self._truth.run(feeds)
        candidate = self._candidate(outputs, number)
        expected = pieces(self._pieces, feeds, candidate)
        return Seen(
            feeds=feeds,
            reference={end.name: truth.get(end.name, feeds.get(end.name)) for end in self.ends},  # type: ignore[misc]
            candidate=candidate,
            expected={end.name: expected.get(end.name, feeds.get(end.name)) for end in self.ends},  # type: ignore[misc]
            outputs={spec.name: outputs[spec.name] for spec in io.specs(self._reference)[1]},
            truth={spec.name: truth[spec.name] for spec in io.specs(self._reference)[1]},
        )


def pieces(session: Session, feeds: Arrays, candidate: Arrays) -> dict[str, Array]:
    """Run a model that ``segments.cut`` made."""
    return session.run(segments.fed(session.inputs, feeds, candidate))


def _check_interface(artifact: Artifact, reference: ir.Model) -> None:
    for kind, bindings, specs in zip(
        ("inputs", "outputs"), (artifact.inputs, artifact.outputs), io.specs(reference), strict=True
    ):
        have = sorted(binding.reference.name for binding in bindings)
        wanted = sorted(spec.name for spec in specs)
        if have != wanted:
            raise InputError(
                f"the artifact's {kind} are {', '.join(have)}, and the reference's are {', '.join(wanted)}",
                why="layers are compared on the same inputs, name by name",
                remedy="give the model that the artifact was made from as --reference",
            )


def _session(model: ir.Model) -> Session:
    return open_model(model, RunOptions())


def _batch(reference: ir.Model, artifact: Artifact, count: int) -> int:
    """Samples in one run: what both take, in memory that stays small."""
    inputs = (*io.specs(reference)[0], *(binding.reference for binding in artifact.inputs))
    fixed = [spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)]
    sizes = [
        float(np.prod([dim if isinstance(dim, int) else 1 for dim in value.shape or ()])) * 4
        for value in segments.values(reference).values()
    ]
    most = BATCH if sum(sizes) * BATCH < LARGEST_BATCH_BYTES else 1
    return min([most, count, *(size for size in fixed if isinstance(size, int))])
