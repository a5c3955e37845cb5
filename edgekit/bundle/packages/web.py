"""Artifacts for ONNX Runtime and LiteRT -> an ES module that runs them in a browser; a page proves it.

    index.js, index.d.ts        loadOnnxRuntime (wasm), loadLiteRt, preprocess, selfTest
    specification.js            bindings, pre-processing, labels, tolerances, hashes
    model/  golden/             what runs, and the vectors that it is held against, from the raw sample
    demo/  self_test.mjs        the vectors in a browser on both runtimes; on ONNX Runtime in Node
    package.json, package-lock.json   exact versions of the runtimes

    W1  LiteRT.js takes and gives float32, int32 and uint8 ("Element type INT8 is not supported"): int8 may be
        inside the file, its own inputs and outputs are float
    W2  JavaScript has typed arrays of these types and no others
    W3  LiteRT.js does not resize: a free batch becomes 1 (and the changed file must give the golden outputs
        on LiteRT here), another open axis is refused
Source: npm packages onnxruntime-web and @litertjs/core in the versions of templates/web/package-lock.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.bundle.facts import About
from edgekit.bundle.manifest import TargetEntry, entry_of
from edgekit.bundle.packages import names
from edgekit.bundle.packages.base import Contents, Options, Source, Tools
from edgekit.bundle.packages.replay import replay
from edgekit.bundle.packages.specification import specification, with_permutations
from edgekit.bundle.packages.templates import filled, raw
from edgekit.errors import InputError

RUNTIMES = ("onnxruntime", "litert")
BACKENDS = ("onnxruntime-web", *RUNTIMES)
STANDS_FOR = {"onnxruntime-web": "onnxruntime"}  # proved on the very runtime: preferred
HOLDS: Literal["one of each"] = "one of each"
PREFERRED = ("wasm", "onnxruntime-cpu", "litert-cpu")

MODULES: Mapping[str, str] = {"onnxruntime": "onnxruntime-web", "litert": "@litertjs/core"}
LOADERS: Mapping[str, str] = {"onnxruntime": "loadOnnxRuntime", "litert": "loadLiteRt"}
_LITERT_TYPES = frozenset({"float32", "int32", "uint8"})  # W1
_ONNX_TYPES = frozenset(
    {"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"}
)  # W2
_COPIED = ("index.js", "tensors.js", "preprocess.js", "demo/serve.mjs", "demo/demo.js")
_NPM_NAME = r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"


def unsuitable(entry: TargetEntry) -> str:
    """W1 to W3."""
    known = _LITERT_TYPES if entry.artifact.backend == "litert" else _ONNX_TYPES
    for each in (*entry.artifact.inputs, *entry.artifact.outputs):
        if entry.artifact.backend == "litert" and each.dtype not in known:
            return (
                f'its {each.name} is {each.dtype}, and LiteRT.js takes floats: write io_dtype = "float32" in '
                "its [[target]] (integers stay inside the file)"
            )
        if entry.artifact.backend == "litert" and any(not isinstance(dim, int) for dim in each.shape[1:]):
            return f"{each.name} has an open axis besides the batch, and LiteRT.js does not resize"
        for dtype in (each.dtype, each.reference.dtype):
            if dtype not in _ONNX_TYPES:
                return f"{each.name} is {dtype}, and JavaScript has no such typed array"
        if each.quant is not None and len(each.quant.scale) != 1:
            return f"{each.name} has a scale for each channel, and the module knows one"
    return ""


def files(source: Source, chosen: tuple[TargetEntry, ...], *, options: Options) -> Contents:
    """The module with everything in it."""
    held: dict[str, bytes] = {}
    spec = _specification(source, chosen, held, tools=options.tools)
    name = _npm_name(options.name or source.manifest.name, asked=bool(options.name))
    version, note = names.semantic_version(source.manifest.version)
    title = f"{source.manifest.name} {source.manifest.version}"
    backends = tuple(spec["artifacts"])
    held |= {path: raw(f"web/{path}").encode() for path in _COPIED}
    held["specification.js"] = f"export const specification = {_json(spec)};\n".encode()
    held["index.d.ts"] = filled("web/index.d.ts.txt", **_union_types(chosen[0])).encode()
    held["demo/index.html"] = filled("web/demo/index.html", title=title, signature=source.signature).encode()
    if "onnxruntime" in backends:
        held["self_test.mjs"] = raw("web/self_test.mjs").encode()
    lock = lock_of(name, version, [MODULES[each] for each in backends])
    held["package-lock.json"] = (_json(lock) + "\n").encode()
    held["package.json"] = (
        _json(_package(lock, source.manifest.model, description=title, in_node="onnxruntime" in backends))
        + "\n"
    ).encode()
    held["README.md"] = _readme(source, chosen, spec, title=title, name=name).encode()
    return Contents(held, notes=(note,) if note else ())


def _specification(
    source: Source, chosen: tuple[TargetEntry, ...], held: dict[str, bytes], *, tools: Tools
) -> dict[str, Any]:
    """What the module says; model and golden files land in ``held``."""
    artifacts, outputs = {}, {}
    for entry in chosen:
        backend = STANDS_FOR.get(entry.artifact.backend, entry.artifact.backend)
        artifacts[backend] = {
            **with_permutations(specification(source, entry, folder="model/")),
            "backend": backend,
        }
        bodies = source.artifact_files(entry)
        if backend == "litert":
            bodies = _with_fixed_batch(source, entry, bodies, spec=artifacts[backend], tools=tools)
        held |= {f"model/{path}": body for path, body in bodies.items()}
        outputs[backend] = _golden(source.golden_outputs(entry), f"golden/{backend}", held)
    return {
        "name": source.manifest.name,
        "version": source.manifest.version,
        "manifest_digest": source.manifest.digest,
        "signature": source.signature,
        "artifacts": artifacts,
        "missing": {each: "the bundle has none that fits" for each in RUNTIMES if each not in artifacts},
        "golden": {"raw": _golden(source.golden_raw(), "golden/raw", held), "outputs": outputs},
    }


def _with_fixed_batch(
    source: Source, entry: TargetEntry, bodies: dict[str, bytes], *, spec: dict[str, Any], tools: Tools
) -> dict[str, bytes]:
    """W3: the file with batch 1, proved here; its hash and shapes land in ``spec``."""
    name, body = next(iter(bodies.items()))
    fixed = tools.fixed_batch(body, name=name)
    if fixed == body:
        return bodies
    replay(source, entry, {name: fixed}, tools=tools, batch=1)
    spec["files"][0] |= {"sha256": entry_of(name, fixed).sha256}
    for each in (*spec["inputs"], *spec["outputs"]):
        if each["shape"] and not isinstance(each["shape"][0], int):
            each["shape"][0] = 1
    return {name: fixed}


def _golden(
    arrays: Mapping[str, npt.NDArray[Any]], stem: str, held: dict[str, bytes]
) -> list[dict[str, Any]]:
    """Descriptions of the arrays; their bytes, little-endian in C order, land in ``held``."""
    rows = []
    for index, (name, value) in enumerate(sorted(arrays.items())):
        path = f"{stem}-{index}.bin"
        held[path] = np.asarray(value, value.dtype.newbyteorder("<"), order="C").tobytes()
        entry = entry_of(path, held[path])
        rows.append(
            {
                "name": name,
                "dtype": value.dtype.name,
                "shape": list(value.shape),
                "path": path,
                "sha256": entry.sha256,
            }
        )
    return rows


def _json(value: Any) -> str:
    """JSON that is JavaScript too: names of tensors and labels are strings in it, whatever they hold."""
    text = json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c")  # nothing in it ends a script element


def _npm_name(name: str, *, asked: bool) -> str:
    if not asked:
        return names.distribution(name)
    if not re.fullmatch(_NPM_NAME, name):
        raise InputError(
            f"--name {name!r} is no name on npm",
            why="it is lower case: letters, digits, hyphens, dots, and a scope in front: @scope/name",
            remedy=f"write --name {names.distribution(name)}",
        )
    return name


def lock_of(name: str, version: str, modules: list[str]) -> dict[str, Any]:
    """The template's lock, cut to what ``modules`` need."""
    whole = json.loads(raw("web/package-lock.json"))
    packages = whole["packages"]
    wanted, needed = list(modules), {}
    while wanted:
        path = f"node_modules/{wanted.pop()}"
        if path not in needed:
            needed[path] = packages[path]
            wanted += packages[path].get("dependencies", {})
    versions = {each: packages[f"node_modules/{each}"]["version"] for each in sorted(modules)}
    root = {"name": name, "version": version, "dependencies": versions}
    return {
        "name": name,
        "version": version,
        "lockfileVersion": whole["lockfileVersion"],
        "requires": True,
        "packages": {"": root, **{path: needed[path] for path in sorted(needed)}},
    }


def _package(lock: Mapping[str, Any], about: About, *, description: str, in_node: bool) -> dict[str, Any]:
    said = {"license": about.license, "author": about.author, "homepage": about.url}
    scripts = {"demo": "node demo/serve.mjs", **({"test": "node self_test.mjs"} if in_node else {})}
    return {
        "name": lock["name"],
        "version": lock["version"],
        "description": description,
        **{key: value for key, value in said.items() if value},
        "private": True,
        "type": "module",
        "main": "index.js",
        "types": "index.d.ts",
        "exports": {".": {"types": "./index.d.ts", "default": "./index.js"}, "./model/*": "./model/*"},
        "scripts": scripts,
        "dependencies": lock["packages"][""]["dependencies"],
    }


def _union_types(entry: TargetEntry) -> dict[str, str]:
    """Names of inputs and outputs as unions of string literals."""
    return {
        side: " | ".join(_json(each.reference.name) for each in bindings)
        for side, bindings in (("inputs", entry.artifact.inputs), ("outputs", entry.artifact.outputs))
    }


def _readme(
    source: Source, chosen: tuple[TargetEntry, ...], spec: Mapping[str, Any], *, title: str, name: str
) -> str:
    first = chosen[0].artifact
    rows = [
        f"| {side} | `{each.reference.name}` | {each.reference.dtype} | "
        f"{' x '.join(map(str, each.reference.shape))} |"
        for side, bindings in (("input", first.inputs), ("output", first.outputs))
        for each in bindings
    ]
    models = [f"`{each['files'][0]['path']}` ({each['target']})" for each in spec["artifacts"].values()]
    return filled(
        "web/readme.txt",
        title=title,
        name=name,
        folder=f"{source.manifest.name}-{source.manifest.version}-web",
        loader=LOADERS[STANDS_FOR.get(first.backend, first.backend)],
        feeds=", ".join(f"{_json(each.reference.name)}: {{ data, dims }}" for each in first.inputs),
        table="\n".join(rows),
        models=", ".join(models),
        signature=source.signature,
    )
