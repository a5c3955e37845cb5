"""Source string -> Dataset.

What a recipe's ``[data]`` table or a ``--*-data`` flag may name:

| source | what it is |
|---|---|
| ``x.npz`` | arrays by input name, samples along axis 0; ``labels``; ``slice`` for groups of samples |
| ``x.npy`` | the one input of a model with one input |
| a folder | images, sorted by path; sub-folders name the classes where there are any |
| ``digits`` | a shipped set: calibration/<name>.toml |
| ``file.py:callable``, ``package.module:callable`` | yields or returns what ``importers`` knows |
| ``file.py:object`` | is what ``importers`` knows |
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit._resources import shipped
from edgekit.dataset import importers
from edgekit.dataset.held import Held
from edgekit.dataset.stream import Dataset, Sample, split_batch
from edgekit.errors import DataError, InputError, RecipeError, UnknownNameError, missing_extra
from edgekit.npz_file import UNREADABLE, read_npz
from edgekit.preprocess import Step, apply, preprocess_id
from edgekit.spec import TensorSpec
from edgekit.user_code import importable, load_file

LABELS, SLICE = "labels", "slice"
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
_MORE = "docs/recipe.md#data"


@dataclass(frozen=True)
class DataSource:
    """What to read and which part of it.

    Attributes:
        source: see the module's table.
        split: name of a shipped set's split; "" for everything.
        samples: at most so many, drawn with ``seed``; None for all, in their own order.
        seed: of the draw.
        slices: arrays that name the group of each sample; ``slice`` is one without being named.
    """

    source: str
    split: str = ""
    samples: int | None = None
    seed: int = 0
    slices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Raw:
    """Samples before pre-processing, restartable."""

    samples: Callable[[], Iterable[Sample]]
    count: int
    labels: npt.NDArray[Any] | None
    slices: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped data sets, sorted."""
    return tuple(sorted(path.stem for path in shipped("calibration").glob("*.toml")))


def load(
    request: DataSource,
    *,
    inputs: tuple[TensorSpec, ...],
    base: Path,
    preprocess: Sequence[Step] = (),
    held_bytes: int = 0,
) -> Dataset:
    """Open a data source for a model.

    Args:
        request: what to read.
        inputs: the model's inputs; a source without names goes to the only one.
        base: folder that relative paths start from.
        preprocess: steps applied to every array of every sample.
        held_bytes: samples of so many bytes are read once and kept, for data that is passed over again.

    Raises:
        DataError: the source is missing, unreadable, empty or has no such split.
        UnknownNameError: neither a file nor a shipped set.
        MissingBackendError: images or a shipped set need a package that is not installed.
    """
    return _dataset(_open(request, inputs, base), request, tuple(preprocess), held_bytes=held_bytes)


def load_object(
    value: object,
    *,
    inputs: tuple[TensorSpec, ...],
    samples: int | None = None,
    seed: int = 0,
    preprocess: Sequence[Step] = (),
    name: str = "",
) -> Dataset:
    """Data that a program hands over; nothing but ``preprocess`` is done to it.

    Args:
        value: arrays, or what other tools take; see ``importers``.
        inputs: the model's inputs.
        samples: at most so many, drawn with ``seed``; None for all.
        seed: of the draw.
        preprocess: steps applied to every array of every sample.
        name: how messages call it.

    Raises:
        DataError: it is no data, can be read only once, is empty, or yields what is no batch.
    """
    name = name or type(value).__name__
    raw = _from_batches(importers.batches_of(value, name=name, inputs=inputs), _columns((), inputs))
    return _dataset(raw, DataSource(name, samples=samples, seed=seed), tuple(preprocess))


def _dataset(raw: _Raw, request: DataSource, steps: tuple[Step, ...], *, held_bytes: int = 0) -> Dataset:
    picked = _pick(raw, request)

    def processed() -> Iterator[Sample]:
        for index, sample in enumerate(picked.samples()):
            try:
                yield {name: apply(np.asarray(array), steps) for name, array in sample.items()}
            except DataError as error:
                raise DataError(
                    f"{request.source}: sample {index}: {error.what}", why=error.why, remedy=error.remedy
                ) from error

    samples = Held(processed, held_bytes) if held_bytes else processed
    digest, count = _digest(samples, picked.labels)
    return Dataset(
        name=request.source + (f":{request.split}" if request.split else ""),
        digest=digest,
        preprocess_id=preprocess_id(steps),
        count=count,
        seed=request.seed,
        samples=samples,
        labels=picked.labels,
        slices=_checked_slices(picked, request),
        raw=picked.samples,
    )


def _columns(slices: Sequence[str], inputs: tuple[TensorSpec, ...]) -> frozenset[str]:
    """Names of arrays that are neither inputs nor labels, but groups of samples."""
    taken = {spec.name for spec in inputs}
    return frozenset(slices) | ({SLICE} - taken)


def _checked_slices(raw: _Raw, request: DataSource) -> Mapping[str, npt.NDArray[Any]]:
    for name in request.slices:
        if name not in raw.slices:
            raise DataError(
                f"{request.source} has no array {name!r} that names groups of samples",
                why="the recipe or a flag asks for the losses of its groups",
                remedy=f"store an array {name!r} with one entry for each sample, or leave the slice out",
                more=_MORE,
            )
    for name, array in raw.slices.items():
        if array.shape != (raw.count,) or array.dtype.kind not in "biuUS":
            raise DataError(
                f"{request.source}: the slice {name!r} has shape {array.shape} and type {array.dtype}"
                f" for {raw.count} samples",
                why="it names the group of each sample: one word or whole number",
                remedy="store numbers or strings, one for each sample",
                more=_MORE,
            )
    return raw.slices


def _open(request: DataSource, inputs: tuple[TensorSpec, ...], base: Path) -> _Raw:
    source = request.source
    if ":" in source and not (base / source).exists():
        return _from_callable(source, inputs, base, _columns(request.slices, inputs))
    path = base / source
    if source in shipped_names() and not path.exists():
        return _from_shipped(source, request.split, _only_input(source, inputs))
    if request.split:
        raise DataError(
            f"{source} has no splits, and split = {request.split!r} was asked for",
            why="only shipped data sets have splits",
            remedy="remove split, or make one file per split",
            more=_MORE,
        )
    if path.is_dir():
        return _from_images(path, _only_input(source, inputs))
    if not path.exists():
        if path.suffix:
            raise DataError(
                f"data file {path} does not exist",
                why="relative paths start at the recipe's folder, or the current one for flags",
                remedy="correct the path",
                more=_MORE,
            )
        raise UnknownNameError("data set", source, shipped_names(), listing="edgekit doctor")
    if path.suffix == ".npz":
        return _from_npz(path, _columns(request.slices, inputs))
    if path.suffix == ".npy":
        return _from_npy(path, _only_input(source, inputs))
    raise DataError(
        f"data file {path} has an ending that edgekit does not read",
        why="known: .npz, .npy, a folder of images, file.py:callable, or a shipped set",
        remedy="save the arrays with numpy.savez(path, **{input_name: array})",
        more=_MORE,
    )


def _only_input(source: str, inputs: tuple[TensorSpec, ...]) -> str:
    if len(inputs) == 1:
        return inputs[0].name
    raise DataError(
        f"{source} carries no input names, and the model has {len(inputs)} inputs",
        why="arrays are matched to inputs by name",
        remedy=f"use an .npz with arrays named {', '.join(spec.name for spec in inputs)}",
        more=_MORE,
    )


def _from_npz(path: Path, columns: frozenset[str]) -> _Raw:
    try:
        # opened here, because numpy leaves the file open when it turns out to be no archive
        with path.open("rb") as file:
            arrays = read_npz(file)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    labels = arrays.pop(LABELS, None)
    slices = {name: arrays.pop(name) for name in sorted(columns & set(arrays))}
    scalars = [name for name, array in arrays.items() if array.ndim == 0]
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if scalars or len(set(lengths.values())) > 1:
        raise DataError(
            f"{path.name}: the arrays have different numbers of samples: "
            f"{dict(sorted(lengths.items())) | dict.fromkeys(scalars, 'scalar')}",
            why="samples run along axis 0 of every array",
            remedy="store one entry per sample in each array",
            more=_MORE,
        )
    return _Raw(lambda: split_batch(arrays), min(lengths.values(), default=0), labels, slices)


def _from_npy(path: Path, name: str) -> _Raw:
    try:
        # memory-mapped: the file may be larger than memory
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    if array.ndim == 0:
        raise DataError(
            f"{path.name} is a scalar",
            why="samples run along axis 0",
            remedy="store an array with one entry per sample",
            more=_MORE,
        )
    return _Raw(lambda: split_batch({name: array}), len(array), None)


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"data file {path} cannot be read: {error}",
        why="it is empty, truncated, no NumPy file, or holds Python objects (they run code on loading)",
        remedy="write it again with numpy.savez(path, **{input_name: array}), numbers only",
        more=_MORE,
    )


def _from_images(folder: Path, name: str) -> _Raw:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        raise DataError(
            f"folder {folder} holds no images",
            why=f"looked for {', '.join(sorted(_IMAGE_SUFFIXES))}, in sub-folders too",
            remedy="correct the path",
            more=_MORE,
        )
    if importlib.util.find_spec("PIL") is None:
        raise missing_extra("pillow", "data", needed_for="a folder of images")
    classes = sorted({path.parent for path in paths})
    labels = np.array([classes.index(path.parent) for path in paths]) if len(classes) > 1 else None
    return _Raw(lambda: ({name: _read_image(path)} for path in paths), len(paths), labels)


def _read_image(path: Path) -> npt.NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"image {path} cannot be read", why=str(error), remedy="remove or repair it"
        ) from error


def _from_shipped(name: str, split: str, input_name: str) -> _Raw:
    facts = tomllib.loads((shipped("calibration") / f"{name}.toml").read_text("utf-8"))
    splits = facts["splits"]
    if split and split not in splits:
        raise UnknownNameError(f"split of {name}", split, splits, listing="edgekit doctor")
    module, _, attribute = str(facts["loader"]).partition(":")
    samples, labels = getattr(importlib.import_module(module), attribute)()
    if hashlib.sha256(samples.tobytes() + labels.tobytes()).hexdigest() != facts["sha256"]:
        raise RecipeError(
            f"data set {name!r} is not the one that its description names",
            why="the digest of samples and labels differs from calibration/" + name + ".toml",
            remedy=f"install the version that edgekit was made with, or correct {facts['origin']}",
        )
    order = np.random.default_rng(facts["seed"]).permutation(len(samples))
    if split:
        start, count = splits[split]["start"], splits[split]["count"]
        order = order[start : start + count]
    samples, labels = samples[order], labels[order]
    return _Raw(lambda: split_batch({input_name: samples}), len(samples), labels)


def _from_callable(source: str, inputs: tuple[TensorSpec, ...], base: Path, columns: frozenset[str]) -> _Raw:
    where, _, attribute = source.rpartition(":")
    folder = (base / where).resolve().parent if where.endswith(".py") else base.resolve()
    with importable(folder):
        module = _import(where, base, source)
    if not hasattr(module, attribute):
        raise UnknownNameError(
            f"callable in {where}",
            attribute,
            (n for n in vars(module) if not n.startswith("_")),
            listing=f"grep def {where}",
        )
    with importable(folder):
        stream = importers.batches_of(getattr(module, attribute), name=source, inputs=inputs)

    def batches() -> Iterator[importers.Batch]:
        """What the user's code yields; its folder is on the path while it runs, and not between."""
        passing: Iterator[importers.Batch] | None = None
        while True:
            try:
                with importable(folder):
                    passing = stream() if passing is None else passing
                    batch = next(passing)
            except StopIteration:
                return
            except InputError:
                raise
            except Exception as error:  # user code may raise anything
                raise _raised(source, error) from error
            yield batch

    return _from_batches(batches, columns)


def _from_batches(batches: importers.Batches, columns: frozenset[str]) -> _Raw:
    beside = columns | {LABELS}
    count, kept = _counted(batches(), beside)

    def samples() -> Iterator[Sample]:
        for batch in batches():
            yield from split_batch({name: array for name, array in batch.items() if name not in beside})

    return _Raw(samples, count, kept.pop(LABELS, None), kept)


def _counted(
    batches: Iterable[importers.Batch], beside: frozenset[str]
) -> tuple[int, dict[str, npt.NDArray[Any]]]:
    """Number of samples, and the arrays named ``beside``, from one pass that keeps nothing else."""
    count = 0
    found: dict[str, list[npt.NDArray[Any]]] = {}
    for batch in batches:
        count += sum(1 for _ in split_batch({n: array for n, array in batch.items() if n not in beside}))
        for name in beside & set(batch):
            found.setdefault(name, []).append(batch[name])
    return count, {name: np.concatenate(found[name]) for name in sorted(found)}


def _import(where: str, base: Path, source: str) -> ModuleType:
    if not where.endswith(".py"):
        try:
            return importlib.import_module(where)
        except ImportError as error:
            raise DataError(
                f"{source}: module {where!r} cannot be imported",
                why=str(error),
                remedy="correct the name, or write file.py:callable",
            ) from error
    path = base / where
    if not path.is_file():
        raise DataError(
            f"{source}: file {path.resolve()} does not exist",
            why="relative paths start at the recipe's folder",
            remedy="correct the path",
            more=_MORE,
        )
    try:
        return load_file(path)
    except Exception as error:  # user code may raise anything
        raise _raised(source, error) from error


def _raised(source: str, error: Exception) -> DataError:
    return DataError(
        f"{source} raised {type(error).__name__}: {error}",
        why="the samples come from that code",
        remedy="run it by itself and correct it",
        more=_MORE,
    )


def _pick(raw: _Raw, request: DataSource) -> _Raw:
    """At most ``request.samples`` of them, drawn without replacement, in their own order."""
    if request.samples is None or request.samples >= raw.count:
        return raw
    chosen = np.sort(np.random.default_rng(request.seed).permutation(raw.count)[: request.samples])
    wanted = frozenset(chosen.tolist())
    labels = raw.labels[chosen] if raw.labels is not None and len(raw.labels) == raw.count else raw.labels
    return _Raw(
        lambda: (sample for index, sample in enumerate(raw.samples()) if index in wanted),
        len(chosen),
        labels,
        {name: array[chosen] if len(array) == raw.count else array for name, array in raw.slices.items()},
    )


def _digest(samples: Callable[[], Iterable[Sample]], labels: npt.NDArray[Any] | None) -> tuple[str, int]:
    """SHA-256 over what the model will see, and the number of samples; one streamed pass."""
    sha, count = hashlib.sha256(), 0
    for sample in samples():
        for name in sorted(sample):
            array = np.ascontiguousarray(sample[name])
            sha.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
            sha.update(array.tobytes())
        count += 1
    if labels is not None:
        sha.update(np.ascontiguousarray(labels).tobytes())
    return sha.hexdigest(), count
