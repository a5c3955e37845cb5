"""Calibration data as other tools take it -> a restartable stream of mappings of input name -> batch.

| what | how it is known | one pass |
|---|---|---|
| ONNX Runtime CalibrationDataReader | ``get_next`` | ``rewind()``, then ``get_next()`` until it is None |
| nncf.Dataset | ``get_inference_data`` | what that yields: the model's own inputs |
| TFLite representative dataset | a callable | what it yields: lists of arrays in the order of the inputs |
| arrays by input name | a mapping | itself, one large batch |
| an array | has a dtype and a shape | the one input of a model with one input |
| anything that can be iterated twice | ``iter`` | each item one of: mapping, list or tuple of arrays, array |

Axis 0 of every array is the batch. What can be read only once (a running generator, a reader without
``rewind``) is refused: data is read several times, and keeping it would take memory without bound.

Nobody's package is imported: an object is known by its methods.
Source: onnxruntime/quantization/calibrate.py (CalibrationDataReader), nncf/data/dataset.py (Dataset),
tensorflow/lite/python/lite.py (RepresentativeDataset), by their public interfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.spec import TensorSpec

Batch = dict[str, npt.NDArray[Any]]
Batches = Callable[[], Iterator[Batch]]

_MORE = "docs/recipe.md#data"


def batches_of(value: object, *, name: str, inputs: tuple[TensorSpec, ...]) -> Batches:
    """Passes over the batches of ``value``; each call starts a fresh one.

    Args:
        value: see the module's table.
        name: how messages call it.
        inputs: the model's inputs, which arrays without names are given to in this order.

    Raises:
        DataError: nothing of the table, or it can be read only once. A batch that does not fit raises when
            it is reached.
    """
    items = _items(value, name)
    whole = isinstance(value, Mapping) or _is_array(value)

    def batches() -> Iterator[Batch]:
        for item in items():
            batch = named(item, name=name, inputs=inputs)
            # whoever yields one buffer again and again must not change what was given before
            yield batch if whole else {key: np.array(array) for key, array in batch.items()}

    return batches


def named(item: object, *, name: str, inputs: tuple[TensorSpec, ...]) -> Batch:
    """One item -> arrays by input name.

    Raises:
        DataError: no mapping, list or array, or another number of arrays than the model has inputs.
    """
    if isinstance(item, Mapping):
        return {str(key): np.asarray(array) for key, array in item.items()}
    arrays = list(item) if isinstance(item, list | tuple) else [item]
    if not arrays or not all(_is_array(array) for array in arrays):
        found = f"a {type(item).__name__} with {type(arrays[0]).__name__}" if arrays else "an empty list"
        raise DataError(
            f"{name} yields {found}",
            why="it must yield mappings of input name -> array, lists of arrays in the order of the inputs, "
            "or the array of the only input, all with a batch axis",
            remedy='yield {"input_name": array}',
            more=_MORE,
        )
    if len(arrays) != len(inputs):
        raise DataError(
            f"{name} yields {len(arrays)} arrays without names, and the model has {len(inputs)} inputs",
            why=f"arrays in a list go to the inputs in their order: {', '.join(map(str, inputs))}",
            remedy="yield one array for each input, or a mapping of input name -> array",
            more=_MORE,
        )
    return {spec.name: np.asarray(array) for spec, array in zip(inputs, arrays, strict=True)}


def _items(value: object, name: str) -> Callable[[], Iterable[object]]:
    """How a pass over ``value`` is started."""
    if _has(value, "get_next"):
        return _reader(value, name)
    if _has(value, "get_inference_data"):
        return value.get_inference_data  # type: ignore[attr-defined, no-any-return]  # _has asked for it
    if isinstance(value, Mapping):
        return lambda: [value]
    if _is_array(value):
        return lambda: [[value]]
    if callable(value):
        return _called(value, name)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        if iter(value) is value:
            raise _only_once(name, f"a {type(value).__name__} that runs already")
        return lambda: value
    raise DataError(
        f"{name} is a {type(value).__name__}, which is no data",
        why="known are arrays by input name, CalibrationDataReader, nncf.Dataset, a TFLite representative "
        "dataset (the function), and what can be iterated again and again",
        remedy="give one of these",
        more=_MORE,
    )


def _called(function: Callable[[], object], name: str) -> Callable[[], Iterable[object]]:
    """What a callable returns is data in its turn; a generator is new with every call."""

    def start() -> Iterable[object]:
        made = function()
        if isinstance(made, Iterator) and not _has(made, "get_next"):
            return made
        if callable(made) and not _is_data(made):
            raise DataError(
                f"{name} returns a {type(made).__name__}",
                why="a callable that returns a callable is no data",
                remedy="call it yourself, and give what it returns",
                more=_MORE,
            )
        if _has(made, "get_next"):
            return _read(made)
        return _items(made, name)()

    return start


def _reader(value: Any, name: str) -> Callable[[], Iterable[object]]:
    if not _has(value, "rewind"):
        raise _only_once(name, f"a {type(value).__name__} without rewind()")

    def start() -> Iterable[object]:
        value.rewind()
        return _read(value)

    return start


def _read(reader: Any) -> Iterator[object]:
    while (batch := reader.get_next()) is not None:
        yield batch


def _only_once(name: str, what: str) -> DataError:
    return DataError(
        f"{name} is {what}: it can be read only once",
        why="the data is read several times: for its digest, to check it, to calibrate",
        remedy="give the function or the class that makes it instead",
        more=_MORE,
    )


def _is_data(value: object) -> bool:
    return (
        _has(value, "get_next")
        or _has(value, "get_inference_data")
        or isinstance(value, Mapping | Iterable)
        or _is_array(value)
    )


def _has(value: object, method: str) -> bool:
    """Whether an instance (a class is something to be called first) has the method."""
    return not isinstance(value, type) and callable(getattr(value, method, None))


def _is_array(value: object) -> bool:
    """NumPy arrays and what converts to them: tensors of PyTorch and TensorFlow."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type)
