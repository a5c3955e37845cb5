"""`package`: bundle x kinds -> folders that an app's build takes in.

What a kind needs of a runtime or a back end is handed down here: stages do not know each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.backends.bindings import artifact_from_reference
from edgekit.backends.litert.fix_batch import with_fixed_batch
from edgekit.backends.onnxruntime_ort_format import ort_from_onnx
from edgekit.bundle import packages
from edgekit.bundle.packages import write as written
from edgekit.bundle.packages.base import Options, Source, Tools
from edgekit.bundle.packages.choose import choose, left_out
from edgekit.bundle.sign import Origin
from edgekit.errors import EdgekitError, ExitCode, MissingBackendError, TargetRefusalError
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.package_coreml import CoreMlWish, converter, wish
from edgekit.pipeline.result.package import PackagedRow, PackageResult, PackageRow
from edgekit.pipeline.tflite_graph import read_tflite
from edgekit.spec import Progress

__all__ = ["Wanted", "package", "tools", "wish"]


@dataclass(frozen=True)
class Wanted:
    """One package that is asked for.

    Attributes:
        kind: a key of ``packages.KINDS``.
        targets: of the bundle, that go in; () = what suits.
        name: of the package in its own world; "" = from the model's.
        recipe: that the bundle was released from; None where nobody named it.
        coreml: precision of the .mlpackage in a package for iOS (``package_coreml``).
    """

    kind: str
    targets: tuple[str, ...] = ()
    name: str = ""
    recipe: Path | None = None
    coreml: CoreMlWish = "auto"


def package(
    bundle: Path,
    *,
    wanted: Sequence[Wanted],
    out: Path | None,
    origin: Origin | None = None,
    progress: Progress,
) -> PackageResult:
    """Write each package as ``out/<name>-<version>-<kind>``, by default beside the bundle.

    Args:
        bundle: the folder that ``release`` wrote.
        wanted: one for each package.
        out: folder for them.
        origin: who must have signed the bundle.
        progress: told about each.

    A kind that refuses the bundle's artifacts, or whose tool is not here, is in the result's exit code.

    Raises:
        UnknownNameError: a kind or a target that does not exist; nothing is written.
        VerificationError: the bundle is damaged, or not signed by ``origin``; nothing is written.
    """
    for each in wanted:
        packages.load(each.kind)
    source = Source.at(bundle, origin=origin)
    folder = out or bundle.resolve().parent
    rows = tuple(_one(source, each, folder, progress) for each in wanted)
    code = next((row.exit_code for row in rows if row.exit_code), ExitCode.OK)
    return PackageResult(bundle, source.signature, rows, code)


def tools() -> Tools:
    """The functions of other stages that packages may call."""
    return Tools(
        open_artifact=open_artifact,
        native=artifact_from_reference,
        ort_from_onnx=ort_from_onnx,
        fixed_batch=with_fixed_batch,
        read_tflite=read_tflite,
    )


def _one(source: Source, wanted: Wanted, out: Path, progress: Progress) -> PackageRow:
    progress.stage(f"package for {wanted.kind}")
    module = packages.load(wanted.kind)
    convert = converter(wanted.recipe, wish=wanted.coreml, progress=progress)
    try:
        chosen = choose(source.manifest, module, kind=wanted.kind, asked=wanted.targets)
        contents = module.files(
            source,
            tuple(each.entry for each in chosen),
            options=Options(tools=replace(tools(), coreml=convert), name=wanted.name),
        )
    except (TargetRefusalError, MissingBackendError) as error:
        return _refused(wanted, error)
    if not wanted.targets:
        contents = replace(contents, notes=(*contents.notes, *left_out(source.manifest, module, chosen)))
    described = written.document(wanted.kind, source, chosen, contents)
    name = f"{source.manifest.name}-{source.manifest.version}-{wanted.kind}"
    path = written.write(described, contents, out / name)
    return PackageRow(
        kind=wanted.kind,
        path=path,
        artifacts=tuple(PackagedRow(c.entry.name, c.entry.precision, c.reason) for c in chosen),
        files=len(described.files) + 1,
        size_bytes=sum(entry.size_bytes for entry in described.files)
        + (path / written.FILE_NAME).stat().st_size,
        notes=contents.notes,
        facts=dict(contents.facts),
    )


def _refused(wanted: Wanted, error: EdgekitError) -> PackageRow:
    return PackageRow(
        kind=wanted.kind,
        path=None,
        exit_code=error.exit_code,
        reason=f"{error.what}: {error.why}" if error.why else error.what,
        remedy=error.remedy,
    )
