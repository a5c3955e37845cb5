"""ModelInfo and the interface of a graph -> TFLite Metadata: a flatbuffer of its own inside the file.

    ModelMetadata {name, description, version, author, license, SubGraphMetadata {inputs, outputs}, files}

The encoder below writes the tables of metadata_schema.fbs (TFLite Support, Apache-2.0, schema version 1.1.0,
file identifier M001) by slot number. A table is given as slot -> field; what is empty is left out, as the
format wants it for default values. Equal input gives equal bytes.

Associated files are appended as a zip archive with stored entries: a .tflite is read from its front and a zip
from its end, so that the file is both (zipfile and `unzip -l` list it).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgekit.backends.base import ModelInfo, Normalization
from edgekit.errors import TargetRefusalError, missing_extra
from edgekit.spec import IoBinding

ENTRY = "TFLITE_METADATA"  # the name under which readers look for it (schema.fbs, Model.metadata)
MIN_RUNTIME_ENTRY = "min_runtime_version"
MIN_RUNTIME_BYTES = 16  # TFLite's converter pads the version with zeros to so many
FILE_IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"  # of the metadata schema: the lowest that knows everything written here
VOCABULARY_PARSER_VERSION = "1.0.1"  # AssociatedFileType.VOCABULARY came with it

# Slots of the tables (metadata_schema.fbs, fields in order; a union takes two, the first for its type).
MODEL_NAME, MODEL_DESCRIPTION, MODEL_VERSION, MODEL_SUBGRAPHS = 0, 1, 2, 3
MODEL_AUTHOR, MODEL_LICENSE, MODEL_FILES, MODEL_MIN_PARSER = 4, 5, 6, 7
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 2, 3
TENSOR_NAME, TENSOR_DESCRIPTION, TENSOR_CONTENT, TENSOR_PROCESS_UNITS, TENSOR_FILES = 0, 1, 3, 4, 6
FILE_NAME, FILE_DESCRIPTION, FILE_TYPE = 0, 1, 2
CONTENT_PROPERTIES_TYPE, CONTENT_PROPERTIES = 0, 1
PROPERTIES_FEATURE, PROPERTIES_IMAGE = 1, 2  # union ContentProperties
IMAGE_COLOR_SPACE = 0
COLORS = {3: 1, 1: 2}  # channels -> enum ColorSpaceType: RGB, GRAYSCALE
UNIT_OPTIONS_TYPE, UNIT_OPTIONS = 0, 1
OPTIONS_NORMALIZATION = 1  # union ProcessUnitOptions
NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
TYPE_DESCRIPTIONS, TYPE_AXIS_LABELS, TYPE_VOCABULARY = 1, 2, 5  # enum AssociatedFileType

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip entry can have: equal bytes at any time
_READABLE = 0o100644 << 16


@dataclass(frozen=True)
class Byte:
    """A field of one byte: an enumeration, or the type of a union."""

    value: int


@dataclass(frozen=True)
class Floats:
    """A vector of float32."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Table:
    """A table: what each slot holds. An empty string or vector is left out; a table never is."""

    slots: Mapping[int, Field]


Field = str | Byte | Floats | Table | tuple[Table, ...]


def metadata(info: ModelInfo, inputs: Sequence[IoBinding], outputs: Sequence[IoBinding]) -> bytes:
    """The metadata flatbuffer.

    Args:
        info: what is known about the model.
        inputs: of the file, in its order.
        outputs: likewise.

    Raises:
        MissingBackendError: flatbuffers is not installed.
        TargetRefusalError: ``info`` normalizes an input that is not there, or its labels do not fit.
    """
    unknown = sorted(info.normalization.keys() - {binding.reference.name for binding in inputs})
    if unknown:
        raise _refused(f"there is no input {unknown[0]!r} to normalize", "name an input of the model")
    labelled = _labelled(info, outputs)
    vocabulary = any(_file_type(name) == TYPE_VOCABULARY for name in info.files)
    graph = Table(
        {
            SUBGRAPH_INPUTS: tuple(
                _input(each, info.normalization.get(each.reference.name)) for each in inputs
            ),
            SUBGRAPH_OUTPUTS: tuple(
                _tensor(each, files=(_file(info.labels, TYPE_AXIS_LABELS),) if each is labelled else ())
                for each in outputs
            ),
        }
    )
    others = sorted(name for name in info.files if name != info.labels)
    root = Table(
        {
            MODEL_NAME: info.name,
            MODEL_DESCRIPTION: info.description,
            MODEL_VERSION: info.version,
            MODEL_SUBGRAPHS: (graph,),
            MODEL_AUTHOR: info.author,
            MODEL_LICENSE: info.license,
            MODEL_FILES: tuple(_file(name, _file_type(name)) for name in others),
            MODEL_MIN_PARSER: VOCABULARY_PARSER_VERSION if vocabulary else PARSER_VERSION,
        }
    )
    builder = _flatbuffers().Builder(1024)
    builder.Finish(_written(root, builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def min_runtime_entry(version: str) -> bytes:
    """The bytes of the ``min_runtime_version`` entry."""
    return version.encode("ascii").ljust(MIN_RUNTIME_BYTES, b"\0")


def zip_behind(start: int, files: Mapping[str, bytes]) -> bytes:
    """``files`` as a zip archive that follows ``start`` bytes of a .tflite file; equal input, equal bytes."""
    behind = _Behind(start)
    with zipfile.ZipFile(behind, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, on every machine
            entry.external_attr = _READABLE
            archive.writestr(entry, files[name])
    return behind.getvalue()


class _Behind(io.BytesIO):
    """The end of a file whose first ``start`` bytes are somewhere else: archives count from its begin."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self._start = start

    def tell(self) -> int:
        """The place in the whole file."""
        return self._start + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Likewise."""
        return self._start + super().seek(offset - self._start if whence == io.SEEK_SET else offset, whence)


def _labelled(info: ModelInfo, outputs: Sequence[IoBinding]) -> IoBinding | None:
    """The output whose last axis the labels name; None where there are none."""
    if not info.labels:
        return None
    lines = info.files[info.labels].decode("utf-8", "replace").splitlines()
    named = [each for each in outputs if each.reference.name == info.labelled or len(outputs) == 1]
    if not named:
        raise _refused(
            f"{info.labels} belongs to no output: {info.labelled!r} is none of the model's",
            "name the scored output in [data] evaluation",
        )
    classes = named[0].shape[-1] if named[0].shape else None
    if isinstance(classes, int) and classes != len(lines):
        output = named[0].reference.name
        raise _refused(
            f"{info.labels} has {len(lines)} lines, and output {output!r} has {classes} classes",
            "give one line for each class, in the model's order",
        )
    return named[0]


def _refused(what: str, remedy: str) -> TargetRefusalError:
    return TargetRefusalError(
        what, why="an app that reads the metadata would be led astray", remedy=remedy, more="docs/recipe.md"
    )


def _input(binding: IoBinding, normalized: Normalization | None) -> Table:
    color = _color(binding)
    units: tuple[Table, ...] = ()
    if normalized is not None:
        options = Table(
            {NORMALIZATION_MEAN: Floats(normalized.mean), NORMALIZATION_STD: Floats(normalized.std)}
        )
        units = (Table({UNIT_OPTIONS_TYPE: Byte(OPTIONS_NORMALIZATION), UNIT_OPTIONS: options}),)
    return _tensor(binding, units=units, color=color)


def _color(binding: IoBinding) -> int | None:
    """The color space of an image whose channels are the last of four axes; None for anything else."""
    shape = binding.shape
    if len(shape) != 4 or binding.reference.dtype != "float32" or not isinstance(shape[3], int):
        return None
    if not binding.permutation and shape[1] in COLORS:
        return None  # it may be (batch, channels, height, width)
    return COLORS.get(shape[3])


def _tensor(
    binding: IoBinding,
    *,
    units: tuple[Table, ...] = (),
    files: tuple[Table, ...] = (),
    color: int | None = None,
) -> Table:
    kind = PROPERTIES_FEATURE if color is None else PROPERTIES_IMAGE
    properties = Table({} if color is None else {IMAGE_COLOR_SPACE: Byte(color)})
    return Table(
        {
            TENSOR_NAME: binding.reference.name,
            TENSOR_DESCRIPTION: _in_words(binding),
            TENSOR_CONTENT: Table(
                {CONTENT_PROPERTIES_TYPE: Byte(kind), CONTENT_PROPERTIES: properties},
            ),
            TENSOR_PROCESS_UNITS: units,
            TENSOR_FILES: files,
        }
    )


def _in_words(binding: IoBinding) -> str:
    """What the reader of the metadata cannot see elsewhere: how it stands for the reference's tensor."""
    said = [f"{binding.reference} of the model"]
    if binding.permutation:
        said.append(f"axes in the order {', '.join(map(str, binding.permutation))}")
    if binding.quant is not None:
        scale, zero = binding.quant.scale[0], binding.quant.zero_point[0]
        said.append(f"{scale:.9g} * ({binding.dtype} - {zero})")
    return "; ".join(said)


def _file_type(name: str) -> int:
    stem = name.lower()
    if "vocab" in stem:
        return TYPE_VOCABULARY
    return TYPE_DESCRIPTIONS if stem.startswith(("readme", "description")) else 0


def _file(name: str, kind: int) -> Table:
    return Table({FILE_NAME: name, FILE_TYPE: Byte(kind)})


# The encoder -----------------------------------------------------------------------------------------------


def _flatbuffers() -> ModuleType:
    try:
        import flatbuffers
    except ImportError as error:
        raise missing_extra("flatbuffers", "litert", needed_for="writing .tflite files") from error
    found: ModuleType = flatbuffers
    return found


def _written(table: Table, builder: Any) -> int:
    """Write what the table refers to, then the table; its offset. Slot i has the vtable entry 4 + 2 i."""
    offsets = {
        slot: _referred(field, builder)
        for slot, field in table.slots.items()
        if not isinstance(field, Byte) and not _is_empty(field)
    }
    builder.StartObject(max(table.slots, default=-1) + 1)
    for slot, field in table.slots.items():
        if isinstance(field, Byte):
            builder.PrependInt8Slot(slot, field.value, 0)
        elif slot in offsets:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    end: int = builder.EndObject()
    return end


def _is_empty(field: Field) -> bool:
    if isinstance(field, Floats):
        return not field.values
    return not field if isinstance(field, (str, tuple)) else False


def _referred(field: str | Floats | Table | tuple[Table, ...], builder: Any) -> int:
    """Write what a slot points to; its offset."""
    if isinstance(field, Table):
        return _written(field, builder)
    if isinstance(field, str):
        found: int = builder.CreateString(field)
        return found
    if isinstance(field, Floats):
        builder.StartVector(4, len(field.values), 4)
        for value in reversed(field.values):
            builder.PrependFloat32(value)
    else:
        offsets = [_written(each, builder) for each in field]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
    end: int = builder.EndVector()
    return end
