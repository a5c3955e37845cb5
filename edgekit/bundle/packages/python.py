"""Artifact -> wheel that needs NumPy and one runtime: a runner of 50 lines, golden vectors, hash check.

    <module>/__init__.py          Model, SPECIFICATION (the runner)
    <module>/__main__.py          --self-test
    <module>/specification.json   bindings, tolerances, pre-processing, labels, hashes
    <module>/preprocess.py        the steps from a raw sample to the inputs
    <module>/golden.npz           raw/<name>, output/<name>: from the raw sample to the reference's outputs
    <module>/model/               the artifact's files

The wheel is a zip that is written here, without a build back end, so that its bytes are the same everywhere.
Format: packaging.python.org, "Binary distribution format" 1.0 and "Core metadata" 2.1.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekit._version import __version__
from edgekit.bundle import canonical_json, deterministic_zip, npz
from edgekit.bundle.facts import About
from edgekit.bundle.manifest import TargetEntry
from edgekit.bundle.packages import names
from edgekit.bundle.packages.base import Contents, Options, Source
from edgekit.bundle.packages.specification import specification, with_permutations
from edgekit.bundle.packages.templates import filled, raw

BACKENDS = ("onnxruntime", "litert", "openvino")
HOLDS: Literal["one"] = "one"
PREFERRED = ("onnxruntime-cpu", "litert-cpu", "openvino-cpu")

MAX_RUNNER_LINES = 50  # what a user reads before trusting it


@dataclass(frozen=True)
class Runtime:
    """What a wheel for a back end says and requires; ``takes``: names of the run settings that it can set.

    Lower bounds are those of edgekit's pyproject.toml.
    """

    title: str
    distribution: str
    requires: str
    takes: re.Pattern[str]


RUNTIMES: Mapping[str, Runtime] = {
    "onnxruntime": Runtime("ONNX Runtime", "onnxruntime", "onnxruntime>=1.23", re.compile(r"session\..+")),
    "litert": Runtime("LiteRT", "ai-edge-litert", "ai-edge-litert>=2.1", re.compile(r"(?!)")),
    "openvino": Runtime("OpenVINO", "openvino", "openvino>=2025.3", re.compile(r"[A-Z_]+")),
}
NUMPY = "numpy>=1.26"
_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_NUMPY_TYPES = frozenset(("bool", *_INTEGERS, "float16", "float32", "float64"))


def unsuitable(entry: TargetEntry) -> str:
    """A binding or a setting that the runner does not know."""
    if why := unsuitable_binding(entry):
        return why
    for name, _ in entry.artifact.options.settings:
        if not RUNTIMES[entry.artifact.backend].takes.fullmatch(name):
            return f"it runs with the setting {name}, which the runner does not know"
    return ""


def unsuitable_binding(entry: TargetEntry) -> str:
    """A type that NumPy lacks, or a scale for each channel of an input or output."""
    for each in (*entry.artifact.inputs, *entry.artifact.outputs):
        if each.dtype not in _NUMPY_TYPES:
            return f"{each.name} is {each.dtype}, which NumPy has not"
        if each.quant is not None and len(each.quant.scale) != 1:
            return f"{each.name} has a scale for each channel, and the runner knows one"
    return ""


def files(source: Source, chosen: tuple[TargetEntry, ...], *, options: Options) -> Contents:
    """The wheel and a README."""
    entry = chosen[0]
    runtime = RUNTIMES[entry.artifact.backend]
    module = names.asked_identifier(options.name) if options.name else names.identifier(source.manifest.name)
    version, note = names.python_version(source.manifest.version)
    title = f"{source.manifest.name} {source.manifest.version}"
    spec = specification(source, entry, folder="model/")
    inside = python_files(source, entry, spec, module=module)
    inside |= {f"{module}/model/{path}": body for path, body in source.artifact_files(entry).items()}
    name = names.distribution(options.name or source.manifest.name)
    wheel, body = _wheel(
        name,
        version,
        inside,
        summary=f"{title} on {runtime.title}",
        runtime=runtime,
        about_model=source.manifest.model,
    )
    readme = filled(
        "python/readme.txt",
        title=title,
        module=module,
        wheel=wheel,
        table=_table(spec),
        feeds=", ".join(f"{each['reference']['name']!r}: ..." for each in spec["inputs"]),
        samples=str(len(next(iter(source.golden_raw().values())))),
        signature=source.signature,
    )
    return Contents({wheel: body, "README.md": readme.encode()}, notes=(note,) if note else ())


def python_files(
    source: Source, entry: TargetEntry, spec: dict[str, Any], *, module: str
) -> dict[str, bytes]:
    """The runner, its self-test, specification and golden vectors below ``module``/, without the artifact."""
    runtime = RUNTIMES[entry.artifact.backend]
    words = {
        "title": f"{source.manifest.name} {source.manifest.version}",
        "runtime": runtime.title,
        "distribution": runtime.distribution,
        "edgekit": __version__,
    }
    return {
        f"{module}/__init__.py": runner(entry.artifact.backend, words).encode(),
        f"{module}/__main__.py": filled("python/main.txt", module=module).encode(),
        f"{module}/preprocess.py": raw("python/preprocess.txt").encode(),
        f"{module}/specification.json": canonical_json.render(with_permutations(spec)),
        f"{module}/golden.npz": npz.to_bytes(_golden(source, entry)),
    }


def runner(backend: str, words: Mapping[str, str]) -> str:
    """The runner's source: what all have, and what the back end's runtime is called by."""
    imports, opened, called = re.split(r"--- \w+\n", raw(f"python/{backend}.txt"))
    return filled(
        "python/runner.txt",
        imports=imports.rstrip() + "\n",
        open=opened.rstrip() + "\n",
        call=called.rstrip(),
        **words,
    )


def _golden(source: Source, entry: TargetEntry) -> dict[str, Any]:
    held = {f"raw/{name}": value for name, value in source.golden_raw().items()}
    return held | {f"output/{name}": value for name, value in source.golden_outputs(entry).items()}


def _table(spec: Mapping[str, Any]) -> str:
    rows = []
    for side in ("inputs", "outputs"):
        for each in spec[side]:
            reference = each["reference"]
            shape = " x ".join(str(dim) for dim in reference["shape"])
            rows.append(f"| {side[:-1]} | `{reference['name']}` | {reference['dtype']} | {shape} |")
    return "\n".join(rows)


def _wheel(
    name: str,
    version: str,
    inside: Mapping[str, bytes],
    *,
    summary: str,
    runtime: Runtime,
    about_model: About,
) -> tuple[str, bytes]:
    """File name and bytes."""
    fields = {"Author": about_model.author, "License": about_model.license, "Home-page": about_model.url}
    said = [f"{name}: {' '.join(value.split())}" for name, value in fields.items() if value]
    stem = f"{name.replace('-', '_')}-{version}"
    about = f"{stem}.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        f"Summary: {summary}",
        *said,
        "Requires-Python: >=3.9",
        f"Requires-Dist: {NUMPY}",
        f"Requires-Dist: {runtime.requires}",
    ]
    wheel = [
        "Wheel-Version: 1.0",
        f"Generator: edgekit {__version__}",
        "Root-Is-Purelib: true",
        "Tag: py3-none-any",
    ]
    held = {
        **inside,
        f"{about}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{about}/WHEEL": ("\n".join(wheel) + "\n").encode(),
    }
    record = f"{about}/RECORD"
    lines = [f"{path},sha256={_record_hash(held[path])},{len(held[path])}" for path in sorted(held)]
    held[record] = ("\n".join([*lines, f"{record},,"]) + "\n").encode()
    return f"{stem}-py3-none-any.whl", deterministic_zip.to_bytes(held, last=(record,))


def _record_hash(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
