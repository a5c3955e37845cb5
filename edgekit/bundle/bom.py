"""Manifest, packages -> sbom.cdx.json: CycloneDX 1.6 bill of materials of model, data and tools.

    metadata.component   the released model, with its model card
    metadata.tools       what made it: name, version, licence, hash
    components           artifacts, the float parent, data sets, source files, runtimes
    dependencies         release -> artifacts -> float parent, runtime; float parent -> source files
    formulation          every transformation with its inputs and outputs (``bom_formulation``)

CycloneDX's classes hold all but ``modelCard``, ``data`` and ``formulation`` (cyclonedx-python-lib 11.12 has
them as comments: "not supported yet"). These are added to the library's JSON, in the schema's own fields; the
whole is held against the official schema by a test.

The same manifest gives the same bytes: no time, and a serial number derived from the manifest (UUID
version 5, RFC 9562). A licence that nobody stated is NOASSERTION, as in SPDX.
Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.bundle import bom_formulation, bom_model_card, canonical_json
from edgekit.bundle.bom_model_card import property_name
from edgekit.bundle.facts import NOT_STATED, About, DataFacts
from edgekit.bundle.manifest import CandidateEntry, FileEntry, Manifest, TargetEntry, to_value
from edgekit.bundle.packages_used import UsedPackage

if TYPE_CHECKING:
    from cyclonedx.model import HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

FILE_NAME = "sbom.cdx.json"
RELEASE, PARENT = "release", "float-parent"
_NAMESPACE = uuid.UUID("c0e7f2b4-6d0c-5d0e-9a35-0b1e8f1f2a67")  # edgekit's own: uuid5 needs one, any will do
_SHA256_CHARACTERS = 64
# back end -> the package that runs its artifacts; a plug-in's is called as the back end is
_RUNTIMES = {"litert": "ai-edge-litert"}


def to_bytes(manifest: Manifest, packages: Sequence[UsedPackage]) -> bytes:
    """The document.

    Args:
        manifest: without this document among its files; digests of both would be about each other.
        packages: what is installed of ``manifest.tools`` and of the artifacts' tools.
    """
    value = _library_s(_bom(manifest, packages))
    _complete(value, manifest)
    return canonical_json.render(value)


def tool_licenses(content: bytes) -> dict[str, str]:
    """Name and version of each tool in a bill of materials -> its licence."""
    value: dict[str, Any] = json.loads(content)
    found = {}
    for each in value["metadata"]["tools"]["components"]:
        (said,) = each["licenses"]
        about = said.get("license", {})
        name = f"{each['name']} {each.get('version', '')}".strip()
        found[name] = str(said.get("expression") or about.get("id") or about.get("name"))
    return found


def license_of(about: About) -> str:
    """The stated licence, or that none is."""
    return about.license or NOT_STATED


def _library_s(bom: Bom) -> dict[str, Any]:
    """What CycloneDX's own classes hold, as JSON."""
    from cyclonedx.output.json import JsonV1Dot6

    value: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del value["metadata"]["timestamp"]  # when it was made is evidence
    return value


def _complete(value: dict[str, Any], manifest: Manifest) -> None:
    """Add what the classes do not hold."""
    by_ref = {each["bom-ref"]: each for each in value["components"]}
    value["metadata"]["component"]["modelCard"] = bom_model_card.of_release(manifest)
    for entry in manifest.entries:
        by_ref[artifact_ref(entry)]["modelCard"] = bom_model_card.of_artifact(entry, manifest)
    for data in manifest.data:
        by_ref[data_ref(data)]["data"] = [bom_model_card.data_set(data)]
    refs = {}
    for entry in manifest.entries:
        main, *others = entry.artifact.files
        refs[f"sha256:{main.sha256}"] = artifact_ref(entry)
        refs |= {f"sha256:{each.sha256}": file_ref(entry, each) for each in others}
    refs |= {f"sha256:{digest}": source_ref(name) for name, digest in manifest.sources.items()}
    if manifest.float_parent is not None:
        refs[f"graph:{manifest.float_parent.graph}"] = PARENT
    formulation = bom_formulation.formulation(manifest, refs)
    if formulation:
        value["formulation"] = formulation


def artifact_ref(entry: TargetEntry) -> str:
    """How the document calls an artifact, or a candidate that lies beside what ships."""
    return f"candidate:{entry.subject}" if isinstance(entry, CandidateEntry) else f"artifact:{entry.name}"


def file_ref(entry: TargetEntry, file: FileEntry) -> str:
    """How the document calls a further file of an artifact."""
    return f"{artifact_ref(entry)}/{file.path}"


def data_ref(data: DataFacts) -> str:
    """How the document calls a data set."""
    return f"data:{data.role}"


def source_ref(name: str) -> str:
    """How the document calls a source file."""
    return f"source:{name}"


def _bom(manifest: Manifest, packages: Sequence[UsedPackage]) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.tool import ToolRepository

    sources = [_source(name, digest) for name, digest in sorted(manifest.sources.items())]
    parent = [_float_parent(manifest)] if manifest.float_parent is not None else []
    by_name = {each.name: each for each in packages}
    known = {**manifest.tools, **{name: v for e in manifest.entries for name, v in e.artifact.tools.items()}}
    tools = [by_name.get(name, UsedPackage(name, version)) for name, version in sorted(known.items())]
    tools.sort(key=lambda each: each.name)
    runtimes = {_runtime(entry): entry for entry in manifest.entries if _runtime(entry) in known}
    root = _release(manifest)
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, canonical_json.digest(to_value(manifest))),
        metadata=BomMetaData(
            component=root, tools=ToolRepository(components=[_package(each, "tool") for each in tools])
        ),
        components=[
            *(_artifact(entry, manifest) for entry in manifest.entries),
            *parent,
            *sources,
            *(_data(each) for each in manifest.data),
            *(
                _package(by_name.get(name, UsedPackage(name, known[name])), "runtime")
                for name in sorted(runtimes)
            ),
        ],
    )
    by_ref = {str(each.bom_ref.value): each for each in bom.components}
    for entry in manifest.entries:
        needs = (PARENT, f"runtime:{_runtime(entry)}", *map(data_ref, manifest.data))
        own = by_ref[artifact_ref(entry)]
        bom.register_dependency(own, [by_ref[ref] for ref in needs if ref in by_ref])
    bom.register_dependency(root, [by_ref[artifact_ref(entry)] for entry in manifest.entries])
    for each in parent:
        bom.register_dependency(each, sources)
    return bom


def _runtime(entry: TargetEntry) -> str:
    return _RUNTIMES.get(entry.artifact.backend, entry.artifact.backend)


def _release(manifest: Manifest) -> Component:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.contact import OrganizationalContact

    about = manifest.model
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=RELEASE,
        name=manifest.name,
        version=manifest.version,
        description=about.description or None,
        authors=[OrganizationalContact(name=about.author)] if about.author else [],
        licenses=[_license(license_of(about))],
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(about.url))]
        if about.url
        else [],
        properties=_properties(
            {
                "license stated": "yes" if about.license else "no",
                "model digest": manifest.model_digest,
                "calibration digest": manifest.calibration_digest,
                "recipe digest": manifest.recipe_digest,
            }
        ),
    )


def _artifact(entry: TargetEntry, manifest: Manifest) -> Component:
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    main, *others = entry.artifact.files
    ancestors = [_ancestor(entry, manifest)] if manifest.float_parent is not None else []
    words = "; ".join(f"{each.action}{_said(each.details)}" for each in entry.provenance)
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=artifact_ref(entry),
        name=main.path,
        version=manifest.version,
        hashes=[_sha256(main.sha256)],
        licenses=[_license(license_of(manifest.model))],
        components=[
            Component(
                type=ComponentType.FILE,
                bom_ref=file_ref(entry, each),
                name=each.path,
                hashes=[_sha256(each.sha256)],
            )
            for each in others
        ],
        pedigree=Pedigree(ancestors=ancestors, notes=words) if ancestors or words else None,
        properties=_properties(
            {
                "target": entry.name,
                "precision": str(entry.precision),
                "backend": entry.artifact.backend,
                "plan": entry.artifact.plan_digest,
                "size in bytes": str(sum(each.size_bytes for each in entry.artifact.files)),
                "threads": str(entry.artifact.options.threads),
                "device": entry.artifact.options.device,
                **{f"run setting {name}": value for name, value in entry.artifact.options.settings},
            }
        ),
    )


def _said(details: Mapping[str, str]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in details.items())})" if details else ""


def _ancestor(entry: TargetEntry, manifest: Manifest) -> Component:
    """The float parent once more: a pedigree names components, and does not refer to them."""
    from cyclonedx.model.component import Component, ComponentType

    parent = manifest.float_parent
    assert parent is not None  # noqa: S101  the caller has looked
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"{artifact_ref(entry)}/ancestor",
        name=parent.file,
        version=manifest.version,
        hashes=[_sha256(parent.sha256)] if parent.sha256 else [],
        properties=_properties({"graph digest": parent.graph}),
    )


def _float_parent(manifest: Manifest) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    parent = manifest.float_parent
    assert parent is not None  # noqa: S101  the caller has looked
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=PARENT,
        name=parent.file,
        version=manifest.version,
        description="the canonical float model that every artifact derives from; not part of the bundle",
        hashes=[_sha256(parent.sha256)] if parent.sha256 else [],
        licenses=[_license(license_of(manifest.model))],
        properties=_properties({"graph digest": parent.graph, "framework": parent.framework}),
    )


def _source(name: str, digest: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(type=ComponentType.FILE, bom_ref=source_ref(name), name=name, hashes=[_sha256(digest)])


def _data(data: DataFacts) -> Component:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import Component, ComponentType

    is_hash = len(data.digest) == _SHA256_CHARACTERS
    return Component(
        type=ComponentType.DATA,
        bom_ref=data_ref(data),
        name=data.source,
        description=data.description or None,
        hashes=[_sha256(data.digest)] if is_hash else [],
        licenses=[_license(license_of(data))],
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(data.url))]
        if data.url
        else [],
        properties=_properties(
            {
                "license stated": "yes" if data.license else "no",
                "hash of": "the selected samples after pre-processing, and their labels" if is_hash else "",
            }
        ),
    )


def _package(package: UsedPackage, role: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    version, _, build = package.version.partition("+")
    kind = "generic" if package.is_python else "pypi"
    return Component(
        type=ComponentType.PLATFORM if package.is_python else ComponentType.LIBRARY,
        bom_ref=f"{role}:{package.name}",
        name=package.name,
        version=package.version,
        hashes=[_sha256(package.content_sha256)] if package.content_sha256 else [],
        licenses=[_license(package.license or NOT_STATED)],
        purl=PackageURL(kind, None, package.name, version, {"build": build} if build else None),
        properties=_properties({"hash of": _HASHED if package.content_sha256 else ""}),
    )


_HASHED = "the files that came with the package, as its RECORD lists them; edgekit: its own modules"


def _license(expression: str) -> License:
    from cyclonedx import spdx
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression

    if spdx.is_supported_id(expression):
        return DisjunctiveLicense(id=expression)
    return LicenseExpression(expression) if " " in expression else DisjunctiveLicense(name=expression)


def _sha256(digest: str) -> HashType:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _properties(values: Mapping[str, str]) -> list[Property]:
    from cyclonedx.model import Property

    return [Property(name=property_name(name), value=value) for name, value in values.items() if value]
