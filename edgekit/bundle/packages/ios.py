"""Artifact -> iOS: a Swift package with the model, a typed wrapper for LiteRT, and its golden vectors.

    Package.swift
    Sources/<Type>Kit/*.swift                 ``ios_swift``
    Sources/<Type>Kit/Resources/model/        model.tflite, specification.json, labels.txt, golden/*.bin
    Tests/<Type>KitTests/GoldenTests.swift    the self-test under XCTest
    README.md

Where the recipe is at hand, a .mlpackage for Core ML and its runner are in it as well (``ios_coreml``).

The sources hold the SHA-256 of every resource: one that changed is refused before anything runs. They need
Swift 5.9. LiteRT has no Linux: edgekit's tests compile them against a stand-in, and the README says so.

The runtime is LiteRT's own Swift package (github.com/google-ai-edge/LiteRT, litert/swift/README.md).
"""

from __future__ import annotations

import re
from typing import Literal

from edgekit.bundle import canonical_json
from edgekit.bundle.manifest import TargetEntry, entry_of
from edgekit.bundle.packages import ios_coreml, ios_swift, mobile_facts
from edgekit.bundle.packages.base import Contents, Options, Source
from edgekit.bundle.packages.converted import Converted
from edgekit.bundle.packages.mobile_facts import Facts, Port
from edgekit.bundle.packages.mobile_templates import filled
from edgekit.bundle.packages.specification import specification

BACKENDS = ("litert",)
HOLDS: Literal["one"] = "one"
PREFERRED = ("litert-arm64", "litert-cpu")

LITERT = "2.3.0"  # the release branch whose Swift API the runner is written against
_RELEASE = re.compile(r"2\.\d+\.\d+")
_MODEL = "model.tflite"

unsuitable = mobile_facts.unsuitable


def files(source: Source, chosen: tuple[TargetEntry, ...], *, options: Options) -> Contents:
    """The package; see ``base.Package``.

    Raises:
        TargetRefusalError: the golden vectors are no samples that an app could run.
    """
    entry = chosen[0]
    facts = mobile_facts.facts(source, entry, name=options.name)
    held = resources(source, entry, facts)
    converted = options.tools.coreml(source, entry)
    if isinstance(converted, Converted):
        held |= ios_coreml.resources(converted, facts)
    hashes = {path: entry_of(path, body).sha256 for path, body in held.items()}
    words = ios_swift.names(facts, files=hashes) | _words(facts, source, entry)
    words["COREML"] = _coreml(facts, converted)
    kit = ios_swift.module(facts)
    swift = ios_swift.sources(words, ios_swift.PARTS)
    status = f"none: {converted}"
    if isinstance(converted, Converted):
        swift[f"{ios_coreml.RUNNER}.swift"] = ios_coreml.source(converted, facts)
        status = converted.status
    return Contents(
        {
            "Package.swift": filled("ios/Package.swift", words),
            "README.md": filled("ios/README.md", words),
            f"Tests/{kit}Tests/GoldenTests.swift": filled("ios/GoldenTests.swift", words),
        }
        | {f"Sources/{kit}/{name}": body for name, body in swift.items()}
        | {f"Sources/{kit}/Resources/model/{path}": body for path, body in held.items()},
        facts={"litert": words["LITERT"], "module": kit, "coreml": status},
        notes=("the Swift sources were not compiled here: Xcode compiles them", f"Core ML: {status}"),
    )


def resources(source: Source, entry: TargetEntry, facts: Facts) -> dict[str, bytes]:
    """Files of Resources/model by path."""
    golden = {
        f"golden/{side}_{at}.bin": port.golden_bytes
        for side, ports in (("input", facts.inputs), ("output", facts.outputs))
        for at, port in enumerate(ports)
    }
    spec = specification(source, entry)
    spec["files"] = [spec["files"][0] | {"path": _MODEL}]
    return golden | {
        "labels.txt": "".join(f"{label}\n" for label in facts.labels).encode("utf-8"),
        "specification.json": canonical_json.render(spec),
        _MODEL: facts.model,
    }


def _words(facts: Facts, source: Source, entry: TargetEntry) -> dict[str, str]:
    """What the texts beside the sources are filled in with besides."""
    proved_with = entry.artifact.tools.get("ai-edge-litert", "")
    return {
        "STEM": f"{facts.name}-{facts.version}",
        "LITERT": proved_with if _RELEASE.fullmatch(proved_with) else LITERT,
        "SIGNATURE": source.signature,
        "MODEL_SHA256": facts.model_sha256,
        "PREPARE": "\n".join(_prepare(facts, at, port) for at, port in enumerate(facts.inputs)),
        "INPUT_NAMES": ", ".join(f"{port.member}: {port.member}" for port in facts.inputs),
        "PLAIN_TARGET": facts.target,
        "PLAIN_PRECISION": facts.precision,
        "PLAIN_DIGEST": facts.manifest_digest,
    }


def _coreml(facts: Facts, converted: Converted | str) -> str:
    """The README's lines about Core ML; a reason may name what a recipe says, and is not repeated here."""
    if isinstance(converted, str):
        return "None in this package; `edgekit-package.json` says why."
    return (
        f"`{facts.type}CoreMLRunner.open()` runs `model.mlpackage`, which is the float model and not the\n"
        f"artifact above, against golden outputs of the float model: {converted.status}."
    )


def _prepare(facts: Facts, at: int, port: Port) -> str:
    sizes = ", ".join(str(dim) for dim in (port.golden.shape[1:] if port.steps else port.shape))
    dtype = port.binding.reference.dtype
    if not port.steps:
        return f"let {port.member}: {ios_swift.ARRAYS[dtype]} = ...  // {sizes}"
    return (
        f"guard case .{dtype}(let {port.member}) = try {facts.type}Specification.prepare("
        f"{at}, raw: raw, shape: [{sizes}]) else {{ return }}"
    )
