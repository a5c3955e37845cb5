"""Artifact -> Android: an AAR with the model and its Java class, Kotlin for LiteRT, a Gradle snippet.

    <name>-<version>.aar      AndroidManifest.xml  R.txt  classes.jar  assets/edgekit/<package>/...
    kotlin/.../Runner.kt      load, delegate by policy, fall-back with its reason, run, self-test
    app.gradle.kts.txt        what to add to the app's build
    README.md

Assets: model.tflite (the bundle's file, to the byte, LiteRT metadata inside), specification.json, labels.txt,
golden/*.bin (raw samples and recorded outputs). The class holds their hashes: an asset that changed is
refused before anything runs. Kotlin is source, because no Kotlin compiler is needed to make a package.

Format of an AAR: Android developer documentation, "Anatomy of an AAR file"; aarMetadataVersion 1.0.
"""

from __future__ import annotations

import re
from typing import Literal

from edgekit.bundle import canonical_json, deterministic_zip
from edgekit.bundle.manifest import TargetEntry, entry_of
from edgekit.bundle.packages import android_java, android_javac, mobile_facts
from edgekit.bundle.packages.base import Contents, Options, Source
from edgekit.bundle.packages.mobile_facts import Facts, Port
from edgekit.bundle.packages.mobile_templates import filled
from edgekit.bundle.packages.specification import specification

BACKENDS = ("litert",)
HOLDS: Literal["one"] = "one"
PREFERRED = ("litert-arm64", "litert-cpu")

MIN_SDK = 23  # LiteRT 2 raised it to 23 (release notes of v2.0.2a1)
LITERT = "2.3.0"  # whose Kotlin API the runner is written against
_RELEASE = re.compile(r"2\.\d+\.\d+")
KOTLIN_TYPES = {
    "float32": "FloatArray",
    "int32": "IntArray",
    "int64": "LongArray",
    "int8": "ByteArray",
    "uint8": "ByteArray",
    "bool": "BooleanArray",
}

unsuitable = mobile_facts.unsuitable


def files(source: Source, chosen: tuple[TargetEntry, ...], *, options: Options) -> Contents:
    """The package; see ``base.Package``.

    Raises:
        MissingBackendError: there is no javac.
        TargetRefusalError: the golden vectors are no samples that an app could run.
    """
    entry = chosen[0]
    facts = mobile_facts.facts(source, entry, name=options.name)
    content = assets(source, entry, facts)
    folder = asset_folder(facts)
    hashes = {path: entry_of(path, body).sha256 for path, body in content.items()}
    model = f"{folder}/model.tflite"
    java = android_java.sources(
        facts, model=model, assets={path: sha for path, sha in hashes.items() if path != model}
    )
    classes, javac = android_javac.compiled(java)
    stem = f"{facts.name}-{facts.version}"
    words = _words(facts, stem, source)
    kotlin = f"kotlin/{android_java.NAMESPACE.replace('.', '/')}/{facts.package}/{facts.type}Runner.kt"
    return Contents(
        {
            f"{stem}.aar": aar(facts, classes, content),
            kotlin: filled("android/Runner.kt", words),
            "app.gradle.kts.txt": filled("android/app.gradle.kts.txt", words),
            "README.md": filled("android/README.md", words),
        },
        facts={"javac": javac, "minSdk": str(MIN_SDK), "litert": words["LITERT"]},
        notes=("the class was compiled here; the Kotlin sources were not: the app's build compiles them",),
    )


def asset_folder(facts: Facts) -> str:
    """Where the assets lie."""
    return f"edgekit/{facts.package}"


def assets(source: Source, entry: TargetEntry, facts: Facts) -> dict[str, bytes]:
    """Assets by path: golden inputs, golden outputs and labels first, in that order."""
    folder = asset_folder(facts)
    golden = {
        f"{folder}/golden/{side}_{at}.bin": port.golden_bytes
        for side, ports in (("input", facts.inputs), ("output", facts.outputs))
        for at, port in enumerate(ports)
    }
    spec = specification(source, entry)
    spec["files"] = [spec["files"][0] | {"path": f"{folder}/model.tflite"}]
    return golden | {
        f"{folder}/labels.txt": "".join(f"{label}\n" for label in facts.labels).encode("utf-8"),
        f"{folder}/specification.json": canonical_json.render(spec),
        f"{folder}/model.tflite": facts.model,
    }


def aar(facts: Facts, classes: dict[str, bytes], content: dict[str, bytes]) -> bytes:
    """The archive; equal content, equal bytes."""
    jar = {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n"} | classes
    manifest = filled(
        "android/AndroidManifest.xml",
        {"PACKAGE": f"{android_java.NAMESPACE}.{facts.package}", "MIN_SDK": str(MIN_SDK)},
    )
    return deterministic_zip.to_bytes(
        {
            "AndroidManifest.xml": manifest,
            "R.txt": b"",
            "classes.jar": deterministic_zip.to_bytes(jar),
            "META-INF/com/android/build/gradle/aar-metadata.properties": (
                b"aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk=1\n"
            ),
        }
        | {f"assets/{path}": body for path, body in content.items()}
    )


def _words(facts: Facts, stem: str, source: Source) -> dict[str, str]:
    """What the texts beside the AAR are filled in with; names of tensors only as identifiers."""
    proved_with = next(e for e in source.manifest.targets if e.name == facts.target).artifact.tools.get(
        "ai-edge-litert", ""
    )
    return {
        "PACKAGE": f"{android_java.NAMESPACE}.{facts.package}",
        "TYPE": facts.type,
        "STEM": stem,
        "TARGET": facts.target,
        "PRECISION": facts.precision,
        "SAMPLES": str(facts.samples),
        "LITERT": proved_with if _RELEASE.fullmatch(proved_with) else LITERT,
        "MIN_SDK": str(MIN_SDK),
        "SIGNATURE": source.signature,
        "MANIFEST_DIGEST": facts.manifest_digest,
        "MODEL_SHA256": facts.model_sha256,
        "INPUT_FIELDS": _fields(facts.inputs),
        "OUTPUT_FIELDS": _fields(facts.outputs),
        "INPUT_VALUES": ", ".join(f"values.{port.member}" for port in facts.inputs),
        "OUTPUT_VALUES": ", ".join(
            f"found[{at}] as {_kotlin(port)}" for at, port in enumerate(facts.outputs)
        ),
        "PREPARE": "\n".join(_prepare(facts, at, port) for at, port in enumerate(facts.inputs)),
        "INPUT_NAMES": ", ".join(port.member for port in facts.inputs),
    }


def _prepare(facts: Facts, at: int, port: Port) -> str:
    if not port.steps:
        return f"val {port.member}: {_kotlin(port)} = ... // {' x '.join(str(dim) for dim in port.shape)}"
    sizes = ", ".join(str(dim) for dim in port.golden.shape[1:])
    return (
        f"val {port.member} = {facts.type}Spec.prepare({at}, raw, {sizes}) as {_kotlin(port)}"
        " // raw: FloatArray of one sample"
    )


def _fields(ports: tuple[Port, ...]) -> str:
    return ", ".join(f"val {port.member}: {_kotlin(port)}" for port in ports)


def _kotlin(port: Port) -> str:
    return KOTLIN_TYPES[port.binding.reference.dtype]
