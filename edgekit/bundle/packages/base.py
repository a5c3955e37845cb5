"""What a package is made of: a bundle whose files are checked as they are read, and what was asked for.

Source (folder, manifest, evidence) x artifacts x Options --Package.files--> Contents
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy.typing as npt

from edgekit.bundle import evidence as evidence_file
from edgekit.bundle import golden, npz, sign
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.complete import reproducible
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.manifest import FileEntry, Manifest, TargetEntry
from edgekit.bundle.packages.converted import Converted
from edgekit.bundle.packages.tflite_graph import TfliteGraph
from edgekit.bundle.sign import Origin
from edgekit.errors import InputError, TargetRefusalError, VerificationError
from edgekit.spec import Array, Artifact, Feeds, IoBinding, Rejection, Session

Arrays = Mapping[str, npt.NDArray[Any]]

_AGAIN = "get the bundle again, or release it again"


@dataclass(frozen=True)
class Source:
    """A bundle; every file of it that is read has the hash that the manifest or the evidence names.

    Attributes:
        folder: where it lies.
        manifest: its reproducible facts.
        evidence: what the machine that released it measured.
        signature: whether it is signed, by whom, and whether that was checked, in words.
    """

    folder: Path
    manifest: Manifest
    evidence: Evidence
    signature: str

    @classmethod
    def at(cls, folder: Path, *, origin: Origin | None = None) -> Source:
        """The bundle at ``folder``; ``origin``: who must have signed it.

        Raises:
            InputError: there is no such folder, or the key is none.
            VerificationError: manifest or evidence is damaged, the evidence is of another bundle, or
                ``origin`` did not sign this.
        """
        if folder.is_file():
            raise InputError(
                f"{folder} is a file, and packages are made of a bundle's folder",
                why="the golden outputs are not in the archive, but in the one beside it",
                remedy=f"tar -xf {folder.name}; tar -xf {folder.stem}.evidence.tar; give the folder",
                more="docs/bundle.md",
            )
        manifest = manifest_file.load(folder)
        body = manifest_file.read_member(folder, evidence_file.FILE_NAME)
        evidence = manifest_file.parse(Evidence, body, name=evidence_file.FILE_NAME)
        if evidence.manifest_digest != manifest.digest:
            raise VerificationError(
                f"{evidence_file.FILE_NAME} is about another bundle",
                why="golden vectors of another model would prove nothing",
                remedy=_AGAIN,
            )
        return cls(folder, manifest, evidence, _signature(folder, manifest, origin))

    def labels(self, entry: TargetEntry) -> tuple[str, ...]:
        """Names of the classes, in order; () where no output has any."""
        path = next((each.labels for each in entry.processing.outputs if each.labels), "")
        return tuple(self.read(path).decode("utf-8-sig").splitlines()) if path else ()

    def read(self, path: str) -> bytes:
        """Content of a file that the manifest lists.

        Raises:
            VerificationError: it is missing or not what the manifest says.
        """
        return self._checked(path, next(e for e in self.manifest.files if e.path == path))

    def artifact_files(self, entry: TargetEntry) -> dict[str, bytes]:
        """Content of an artifact's files by their names, the main file first.

        Raises:
            VerificationError: one is missing or damaged.
        """
        return {f.path: self._checked(f"{manifest_file.ARTIFACTS}/{f.path}", f) for f in entry.artifact.files}

    def golden_raw(self) -> dict[str, npt.NDArray[Any]]:
        """(samples, ...) by input name, before the steps of ``TargetEntry.processing``."""
        return npz.from_bytes(self.read(manifest_file.GOLDEN_INPUTS), name=manifest_file.GOLDEN_INPUTS)

    def golden_inputs(self, entry: TargetEntry) -> dict[str, npt.NDArray[Any]]:
        """(samples, ...) by reference input name, as the artifact's session takes them."""
        return golden.prepared(self.golden_raw(), entry.processing)

    def golden_outputs(self, entry: TargetEntry) -> dict[str, npt.NDArray[Any]]:
        """What the artifact gave where it was released, (samples, ...) by reference output name.

        Raises:
            TargetRefusalError: it did not run there, so that a package of it could not test itself.
            VerificationError: the file is damaged.
        """
        for each in self.evidence.golden:
            if each.target == entry.name:
                return npz.from_bytes(self._checked(each.file.path, each.file), name=each.file.path)
        raise refusal(
            f"the bundle has no golden outputs of {entry.name}",
            entry,
            rule="golden",
            reason="it did not run where it was released, and a package must be able to test itself",
            remedy="release on a machine that has the target's runtime",
        )

    def _checked(self, path: str, entry: FileEntry) -> bytes:
        body = manifest_file.read_member(self.folder, path)
        found = hashlib.sha256(body).hexdigest()
        if found != entry.sha256:
            raise VerificationError(
                f"{path} is damaged: sha256 {found[:12]}… instead of {entry.sha256[:12]}…",
                why="nothing is packaged from damaged files",
                remedy=_AGAIN,
            )
        return body


def _signature(folder: Path, manifest: Manifest, origin: Origin | None) -> str:
    """In words; checked where ``origin`` is given."""
    if origin is None:
        signed = (folder / sign.FILE_NAME).is_file()
        return f"signed ({sign.FILE_NAME}), by whom was not checked" if signed else "unsigned"
    sign.prepare(origin)
    try:
        sign.check_folder(folder, sorted(reproducible(manifest)), origin=origin)
    except VerificationError as error:
        raise VerificationError(
            f"{sign.FILE_NAME}: {error.what}", why=error.why, remedy=error.remedy, more=error.more
        ) from error
    return f"signed by {origin}"


class OrtFromOnnx(Protocol):
    """ONNX Runtime's converter."""

    def __call__(self, content: bytes, *, stem: str) -> Mapping[str, bytes]:
        """Files by name, each starting with ``stem`` or "required_operators_and_types"."""


class FixedBatch(Protocol):
    """Closes the free batch of a .tflite."""

    def __call__(self, content: bytes, *, name: str) -> bytes:
        """The file; ``name`` is what messages call it."""


def _no_converter(content: bytes, *, stem: str) -> Mapping[str, bytes]:
    raise AssertionError(len(content), stem)


class ReadTflite(Protocol):
    """Reads a .tflite."""

    def __call__(self, content: bytes, *, name: str) -> TfliteGraph:
        """Its main graph; ``name`` is what messages call it."""


def _no_reading(content: bytes, *, name: str) -> TfliteGraph:
    raise AssertionError(len(content), name)


def _no_fixing(content: bytes, *, name: str) -> bytes:
    raise AssertionError(len(content), name)


def _no_source(source: Source, entry: TargetEntry) -> Converted | str:
    return f"nobody gave the recipe that {source.manifest.name} was released from ({entry.name})"


@dataclass(frozen=True)
class Tools:
    """What packages need of the stages beside the bundle, handed down by the pipeline.

    Attributes:
        open_artifact: opens an artifact on its real runtime.
        ort_from_onnx: ONNX bytes -> .ort files and configurations, by name.
        read_tflite: .tflite bytes -> its operators and tensors.
        fixed_batch: .tflite bytes -> the same with batch 1 where the batch is free.
        coreml: the bundle's float model as a .mlpackage for an artifact's inputs, or why there is none.
        native: arrays in the reference's names, layouts and types -> those of the artifact, by its names.
    """

    open_artifact: Callable[[Artifact], Session]
    native: Callable[[Feeds, tuple[IoBinding, ...]], Mapping[str, Array]]
    ort_from_onnx: OrtFromOnnx = _no_converter
    fixed_batch: FixedBatch = _no_fixing
    read_tflite: ReadTflite = _no_reading
    coreml: Callable[[Source, TargetEntry], Converted | str] = _no_source


@dataclass(frozen=True)
class Options:
    """What was asked for beyond bundle and kind.

    Attributes:
        name: of the package in its own world (import name, npm name, C prefix); "" = from the model's name.
        tools: functions of other stages.
    """

    tools: Tools
    name: str = ""


@dataclass(frozen=True)
class Contents:
    """Files of a package by relative POSIX path, and what its user should know."""

    files: Mapping[str, bytes]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


class Package(Protocol):
    """A kind of package: a module with these names.

    Attributes:
        BACKENDS: back ends whose artifacts it can hold, the preferred first.
        HOLDS: "one" artifact, or "one of each" back end.
        PREFERRED: targets by name that come before others of the same back end.
    """

    @property
    def BACKENDS(self) -> tuple[str, ...]:  # noqa: N802 - a constant of a module
        """Of whose artifacts it can hold one."""

    @property
    def HOLDS(self) -> Literal["one", "one of each"]:  # noqa: N802 - likewise
        """How many."""

    @property
    def PREFERRED(self) -> tuple[str, ...]:  # noqa: N802 - likewise
        """Which comes first."""

    def unsuitable(self, entry: TargetEntry) -> str:
        """Why the artifact of a known back end cannot go in, as far as the manifest tells; "" = it can."""

    def files(self, source: Source, chosen: tuple[TargetEntry, ...], *, options: Options) -> Contents:
        """The package.

        Raises:
            TargetRefusalError: the artifact cannot be packaged, with every reason.
            VerificationError: the bundle is damaged, or the package does not compute the golden outputs.
        """


def refusal(what: str, entry: TargetEntry, *, rule: str, reason: str, remedy: str) -> TargetRefusalError:
    """One reason why an artifact cannot be packaged, as an error with exit code 5."""
    return TargetRefusalError(
        what,
        why=reason,
        remedy=remedy,
        more="docs/packages.md",
        rejections=(Rejection(entry.name, rule, reason, remedy),),
    )
