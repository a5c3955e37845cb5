"""Text of an OpenVINO IR (.xml) -> its layers with shapes and edges. No OpenVINO, no entities.

X1 not XML, or cut off        X2 a DOCTYPE or an entity: refused, an IR has none and they can fill the memory
X3 another root than <net>    X4 a layer, port or edge that contradicts the others

Source: docs.openvino.ai, "OpenVINO IR format" (version 10 and 11); the "billion laughs" attack for X2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from edgekit.errors import ModelFileError

COPY_AGAIN = "copy the .xml and the .bin again and compare their sizes, or convert the model again"
_DEEPEST = 200  # a body inside a body takes four levels; nothing real comes near

Shape = tuple[int | None, ...]


@dataclass
class Element:
    """One XML element while the file is read."""

    tag: str
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> Iterator[Element]:
        """Children of that tag."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        """The first child of that tag."""
        return next(self.all(tag), None)


@dataclass(frozen=True)
class Port:
    """One input or output of a layer; open sizes are None.

    Attributes:
        dtype: NumPy name; "" where the file does not say it.
        names: of the tensor.
    """

    number: str
    dtype: str
    shape: Shape
    names: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One operation.

    Attributes:
        data: its attributes.
        sources: per input: the layer and its output port that it reads; None where no edge leads there.
    """

    key: str
    name: str
    kind: str
    version: str
    attributes: Mapping[str, str]
    data: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sources: tuple[tuple[str, str] | None, ...]


@dataclass(frozen=True)
class Net:
    """A graph; bodies of loops and branches are graphs of their own."""

    name: str
    version: str
    layers: Mapping[str, Layer]
    bodies: tuple[Net, ...]
    facts: Mapping[str, str]


def parse(content: bytes, *, name: str) -> Net:
    """The graph of the file.

    Args:
        content: the whole .xml.
        name: the file's, for messages.

    Raises:
        ModelFileError: X1 to X4.
    """
    root = _tree(content, name=name)
    if root.tag != "net":  # X3
        raise ModelFileError(
            f"{name} is no OpenVINO IR: its root is <{root.tag}>, not <net>",
            why="it is another kind of XML file",
            remedy="name the .xml that `edgekit compile` or OpenVINO's converter wrote",
        )
    try:
        return _net(root, root.attributes.get("name", ""))
    except (LookupError, ValueError) as error:  # X4
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(
            f"{name} is damaged: its layers do not fit together",
            why=said,
            remedy=COPY_AGAIN,
        ) from error


def _tree(content: bytes, *, name: str) -> Element:
    parser = expat.ParserCreate()
    top = Element("", {})
    open_elements = [top]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > _DEEPEST:
            raise _damaged(name, content, f"more than {_DEEPEST} elements inside each other")
        element = Element(tag, attributes)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_tag: str) -> None:
        open_elements.pop()

    def text(data: str) -> None:
        open_elements[-1].text += data

    def refuse(*_about: object) -> NoReturn:  # X2
        raise ModelFileError(
            f"{name} declares a document type or an entity",
            why="an OpenVINO IR has none, and entities can make a small file fill the memory",
            remedy="convert the model again; do not open this file with other tools",
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:  # X1
        raise _damaged(name, content, str(error)) from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise _damaged(name, content, str(error)) from error
    return top.children[0]


def _damaged(name: str, content: bytes, why: str) -> ModelFileError:
    return ModelFileError(
        f"{name} is not readable as XML, or it is cut off ({len(content)} bytes)",
        why=why or "it is empty",
        remedy=COPY_AGAIN,
    )


def _net(root: Element, name: str) -> Net:
    held, edges = root.first("layers"), root.first("edges")
    if held is None:
        raise ValueError("there are no <layers>")
    sources = {
        (edge.attributes["to-layer"], edge.attributes["to-port"]): (
            edge.attributes["from-layer"],
            edge.attributes["from-port"],
        )
        for edge in (edges.all("edge") if edges is not None else ())
    }
    elements = list(held.all("layer"))
    layers = {layer.key: layer for layer in (_layer(element, sources) for element in elements)}
    for layer in layers.values():
        for source in layer.sources:
            if source is not None and source[0] not in layers:
                raise ValueError(f"an edge comes from layer {source[0]}, which does not exist")
    bodies = tuple(
        _net(child, f"{layer.attributes.get('name', '')}/{child.tag}")
        for layer in elements
        for child in layer.children
        if child.tag == "body" or child.tag.endswith("_body")
    )
    about = root.first("rt_info")
    facts = {
        info.attributes.get("name", info.tag): info.attributes["value"]
        for info in (about.children if about is not None else ())
        if "value" in info.attributes
    }
    return Net(name, root.attributes.get("version", ""), layers, bodies, facts)


def _layer(element: Element, sources: Mapping[tuple[str, str], tuple[str, str]]) -> Layer:
    key = element.attributes["id"]
    data = element.first("data")
    inputs = _ports(element.first("input"))
    return Layer(
        key=key,
        name=element.attributes.get("name", key),
        kind=element.attributes["type"],
        version=element.attributes.get("version", ""),
        attributes=element.attributes,
        data=data.attributes if data is not None else {},
        inputs=inputs,
        outputs=_ports(element.first("output")),
        sources=tuple(sources.get((key, port.number)) for port in inputs),
    )


def _ports(element: Element | None) -> tuple[Port, ...]:
    return tuple(
        Port(
            number=port.attributes["id"],
            dtype=dtype_name(port.attributes.get("precision", "")),
            shape=tuple(size(dim.text) for dim in port.all("dim")),
            names=split_names(port.attributes.get("names", "")),
        )
        for port in (element.all("port") if element is not None else ())
    )


def size(text: str) -> int | None:
    """``"28"`` -> 28; ``"-1"``, ``"?"`` and ``"1..8"`` -> None, an open size."""
    stripped = text.strip()
    if stripped in {"?", "-1"} or ".." in stripped:
        return None
    number = int(stripped)
    if number < 0:
        raise ValueError(f"a size is {stripped}")
    return number


def split_names(text: str) -> tuple[str, ...]:
    """The names of a tensor: commas separate them, and a backslash before a comma makes it part of a name."""
    names = text.replace("\\,", "\0").split(",")
    return tuple(name.replace("\0", ",") for name in names if name)


def dtype_name(text: str) -> str:
    """Element type as "f32", "FP32", "I64" or "boolean" -> NumPy's name; others in lower case."""
    name = text.lower()
    if name in {"boolean", "bool"}:
        return "bool"
    if name.startswith("bf"):
        return "bfloat16"
    kinds = {"fp": "float", "f": "float", "i": "int", "u": "uint"}
    for prefix, kind in kinds.items():
        if name.startswith(prefix) and name[len(prefix) :].isdecimal():
            return f"{kind}{name[len(prefix) :]}"
    return name
