"""Structured files x generator -> files that parse and mean nonsense.

F1 TFLite: integers of a flatbuffer's tables · F2 OpenVINO's XML: attributes and entities · F3 TOML and JSON:
values of the tree, keys lost and added · F4 npz: types, shapes, headers that promise too much, pickles, paths
"""

from __future__ import annotations

import io
import json
import tomllib
import zipfile
from typing import Any

import numpy as np

from tests.fuzz.mutate_onnx import HOSTILE, PLACES, SIZES

VALUES: tuple[Any, ...] = (
    *SIZES, *(0.0, -1.5, 1e308, float("nan"), float("inf")),
    *(True, False, [], {}, [[[]]], None, {"op": "scale"}),
    *HOSTILE, *PLACES,
)  # fmt: skip
BOMB_BYTES = 1 << 36  # what a lying header promises: far more than this machine should allocate
MANY = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 12))  # ten to the eleventh of "x"


def damage_tflite(content: bytes, rng: np.random.Generator) -> bytes:
    """F1, by the schema's object form."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for _ in range(int(rng.integers(1, 4))):
        _table(model, rng)
    builder = flatbuffers.Builder(1024)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except Exception:  # noqa: BLE001  (a value that the format cannot say: nothing a stranger could send)
        return content[: len(content) // 2]
    return bytes(builder.Output())


def _table(table: Any, rng: np.random.Generator) -> None:
    """Walk down at random until a number or a list of numbers is met."""
    for _ in range(12):
        fields = [key for key, value in vars(table).items() if value is not None]
        key = fields[int(rng.integers(len(fields)))] if fields else ""
        value = getattr(table, key, None)
        if isinstance(value, list) and value and hasattr(value[0], "__dict__"):
            table = value[int(rng.integers(len(value)))]
        elif hasattr(value, "__dict__"):
            table = value
        elif isinstance(value, int | np.integer):
            setattr(table, key, int(rng.choice((0, 1, -1, 127, 3, 2**31 - 1))))
            return
        elif isinstance(value, list | np.ndarray) and len(value):
            changed = [int(each) if not isinstance(each, bytes | str) else each for each in value]
            if changed and isinstance(changed[0], int):
                changed[int(rng.integers(len(changed)))] = int(rng.choice((0, 1, -1, 127, 2**31 - 1)))
                kept = np.array(changed).astype(value.dtype) if isinstance(value, np.ndarray) else changed
                setattr(table, key, kept)
            return
        elif isinstance(value, bytes | str):
            setattr(table, key, HOSTILE[int(rng.integers(len(HOSTILE)))])
            return


def damage_xml(content: bytes, rng: np.random.Generator) -> bytes:
    """F2: the XML of OpenVINO's intermediate representation, whose weights lie in a file beside it."""
    from xml.etree import ElementTree as ET

    if rng.random() < 0.05:
        bomb = f'<!DOCTYPE net [<!ENTITY e0 "x">{MANY}]>'.encode()
        return content.replace(b"<net ", bomb + b"<net ", 1).replace(b'name="', b'name="&e11;', 1)
    if rng.random() < 0.05:
        outside = b'<!DOCTYPE net [<!ENTITY out SYSTEM "file:///etc/passwd">]>'
        return content.replace(b"<net ", outside + b"<net ", 1).replace(b"</net>", b"&out;</net>", 1)
    root = ET.fromstring(content)  # noqa: S314  (a file of our own making)
    elements = list(root.iter())
    for _ in range(int(rng.integers(1, 4))):
        element = elements[int(rng.integers(len(elements)))]
        if element.attrib and rng.random() < 0.8:
            key = list(element.attrib)[int(rng.integers(len(element.attrib)))]
            choices = [*map(str, SIZES), *HOSTILE[:4], "1,2,?", "f99", "Convolution", "nobody"]
            element.set(key, choices[int(rng.integers(len(choices)))])
        elif len(element):
            element.remove(element[int(rng.integers(len(element)))])
        elif element.text:
            element.text = str(SIZES[int(rng.integers(len(SIZES)))])
    return ET.tostring(root)


def damage_tree(tree: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """F3: one to three values changed, keys lost or added, anywhere in the tree."""
    for _ in range(int(rng.integers(1, 4))):
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.85:
                place = place[key]
                continue
            what = rng.random()
            if what < 0.15:
                del place[key]
            elif what < 0.25 and isinstance(place, dict):
                place[str(HOSTILE[int(rng.integers(len(HOSTILE)))])] = 1
            else:
                place[key] = VALUES[int(rng.integers(len(VALUES)))]
            break
    return tree


def damage_toml(content: bytes, rng: np.random.Generator) -> bytes:
    """F3 on a TOML file."""
    import tomlkit

    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_none(each) for key, each in value.items() if each is not None}
        if isinstance(value, list):
            return [without_none(each) for each in value if each is not None]
        return value

    return tomlkit.dumps(without_none(damage_tree(tomllib.loads(content.decode()), rng))).encode()


def damage_json(content: bytes, rng: np.random.Generator) -> bytes:
    """F3 on a JSON document."""
    return json.dumps(damage_tree(json.loads(content), rng)).encode()


def damage_npz(content: bytes, rng: np.random.Generator) -> bytes:
    """F4."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = {key: archive[key] for key in archive.files}
    key = list(arrays)[int(rng.integers(len(arrays)))]
    array, raw = arrays.pop(key), {}
    match int(rng.integers(9)):
        case 0:
            arrays[key] = np.array([{"a": 1}] * len(array), object)  # a pickle
        case 1:
            arrays[key] = array.astype(("float64", "complex64", "U8", "bool", "int8")[int(rng.integers(5))])
        case 2:
            arrays[key] = array.reshape(-1) if rng.random() < 0.5 else array[:0]
        case 3:
            arrays[key] = np.full(array.shape, (np.nan, np.inf, 1e38)[int(rng.integers(3))], np.float32)
        case 4:
            arrays[str(HOSTILE[int(rng.integers(1, len(HOSTILE)))])] = array
        case 5:
            shape = (BOMB_BYTES // 4,) if rng.random() < 0.5 else (2**40, 2**40)
            raw[key] = _member(array, shape)
        case 6:
            raw[key] = _member(array, (-1, *array.shape))
        case 7:
            pass  # the array is not there
        case _:
            raw["../escaped"] = _member(array, array.shape)
            arrays[key] = array
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, each in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, each)
            file.writestr(f"{name}.npy", member.getvalue())
        for name, bytes_ in raw.items():
            file.writestr(f"{name}.npy", bytes_)
    return out.getvalue()


def _member(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> bytes:
    """A .npy file whose header promises ``shape``."""
    header = io.BytesIO()
    descr = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, descr)
    return header.getvalue() + array.tobytes()
