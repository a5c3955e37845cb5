"""manifest.json: what a bundle is, in facts that are the same on every machine.

    Manifest <-> canonical JSON, with its own digest inside

Only reproducible facts are here: names, versions, hashes, bindings, options. Latencies, times, machine facts
and golden outputs differ from machine to machine and are in evidence.json (``evidence``).

Any damage to the file is found: what is not JSON or not this schema is refused, a changed value contradicts
``digest``, and a change that JSON does not see (a space, the order of keys) contradicts the canonical text.
Without a signature this shows corruption, not origin: whoever rewrites everything can also rewrite digests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from edgekit._version import __version__
from edgekit.bundle import canonical_json
from edgekit.bundle.facts import Closed, Facts, Sha256, Transformation
from edgekit.bundle.processing import Processing
from edgekit.errors import InputError, VerificationError
from edgekit.spec import Artifact, IoBinding, Precision, RunOptions
from edgekit.spec import FileEntry as SpecFileEntry

FILE_NAME = "manifest.json"
ARTIFACTS = "artifacts"
FILES = "files"
GOLDEN = "golden"
GOLDEN_INPUTS = "golden/inputs.npz"
RANGES = "ranges.json"
RECIPE = "recipe.json"
LOCK = "edgekit.lock"
_SCHEMA_FIELD = "schema_"  # "schema" is a method of pydantic's
TARGET_FILES = "targets"

_SEGMENT = re.compile(r"[^/\\\x00-\x1f:]+")  # no line feed either: one line of a list is one file


def safe_path(path: str) -> str:
    """``path`` if it is relative, POSIX, and stays inside its folder.

    Raises:
        ValueError: it is not; a manifest must not name a file outside its bundle.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or not _SEGMENT.fullmatch(part) for part in parts):
        raise ValueError(f"{path!r} is not a relative path inside the bundle")
    return path


SafePath = Annotated[str, AfterValidator(safe_path)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class FileEntry(Closed):
    """One file: POSIX path relative to the bundle (or to the artifact's folder), hash, size."""

    path: SafePath
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class Tolerance(Closed):
    """How far golden outputs may be from the recorded ones on another machine.

    Attributes:
        steps: for outputs with a quantization step, in steps.
        relative_to_range: for the others, as a part of the recorded output's range (max - min).
    """

    steps: float = Field(ge=0)
    relative_to_range: float = Field(ge=0)


class ArtifactEntry(Closed):
    """A ``spec.Artifact`` without its folder; paths are relative to the bundle's artifacts/.

    Attributes:
        layouts: one letter for each axis of the artifact's own inputs and outputs, by their names in it;
            absent where nothing says what the axes are.
    """

    files: tuple[FileEntry, ...] = Field(min_length=1)
    backend: str
    options: RunOptions
    inputs: tuple[IoBinding, ...]
    outputs: tuple[IoBinding, ...]
    plan_digest: str = ""
    output_steps: dict[str, float] = Field(default_factory=dict)
    tools: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layouts: dict[str, str] = Field(default_factory=dict)


class TargetEntry(Closed):
    """What ships for one target.

    Attributes:
        processing: what the app does around this artifact.
        provenance: every transformation from the source to the artifact's files, in order.
    """

    name: Name
    precision: Precision
    artifact: ArtifactEntry
    tolerance: Tolerance
    processing: Processing = Field(default_factory=Processing)
    provenance: tuple[Transformation, ...] = ()

    @property
    def subject(self) -> str:
        """What checks call it."""
        return self.name


class CandidateEntry(TargetEntry):
    """One artifact of a target whose choice is open; files of those that do not ship have their own folder.

    Attributes:
        label: the candidate's name among the target's others ("fp32", "w8a8-mixed").
    """

    label: Name

    @property
    def subject(self) -> str:
        """What checks call it."""
        return f"{self.name} {self.label}"


class Manifest(Facts):
    """The reproducible description of a bundle; the rest of its fields are those of ``Facts``.

    Attributes:
        model_digest: of the canonical float model.
        sources: SHA-256 of what the model was built from, by relative path.
        calibration_digest: of the selected calibration samples; "" where nothing was calibrated.
        recipe_digest: of recipe.json's content.
        processing: from a raw sample to the model, and from its outputs to an answer, with nothing embedded.
        candidates: by target and label, of targets whose speed could not be measured: what ships and every
            other artifact inside the budgets. Empty where the choice is made.
        files: every file of the reproducible set except this one, sorted by path.
        digest: SHA-256 of this document's canonical text without this field.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    name: Name
    version: Name
    edgekit_version: str
    model_digest: str
    sources: dict[str, Sha256] = Field(default_factory=dict)
    calibration_digest: str = ""
    recipe_digest: Sha256
    processing: Processing = Field(default_factory=Processing)
    targets: tuple[TargetEntry, ...]
    candidates: tuple[CandidateEntry, ...] = ()
    files: tuple[FileEntry, ...]
    digest: str = ""

    def artifacts(self, folder: Path) -> dict[str, Artifact]:
        """The shipped artifacts of the bundle at ``folder``, by target name."""
        return {entry.name: artifact_from_entry(entry, folder / ARTIFACTS) for entry in self.targets}

    @property
    def entries(self) -> tuple[TargetEntry, ...]:
        """Everything that can be run: what ships, and the candidates beside it."""
        shipped = [(each.name, each.artifact) for each in self.targets]
        return (
            *self.targets,
            *(each for each in self.candidates if (each.name, each.artifact) not in shipped),
        )

    def open_choices(self) -> dict[str, tuple[CandidateEntry, ...]]:
        """The candidates of each target whose choice is open, in the order in which they were tried."""
        found: dict[str, tuple[CandidateEntry, ...]] = {}
        for each in self.candidates:
            found[each.name] = (*found.get(each.name, ()), each)
        return found


def entry_from_artifact(
    artifact: Artifact,
    *,
    tolerance: Tolerance,
    processing: Processing | None = None,
    provenance: tuple[Transformation, ...] = (),
    layouts: Mapping[str, str] | None = None,
) -> TargetEntry:
    """The manifest's form of an artifact; ``layouts`` are those of its reference tensors, by name."""
    return TargetEntry(
        name=artifact.target,
        precision=artifact.precision,
        tolerance=tolerance,
        processing=processing or Processing(),
        artifact=ArtifactEntry(
            files=tuple(
                FileEntry(path=f.path, sha256=f.sha256, size_bytes=f.size_bytes) for f in artifact.files
            ),
            backend=artifact.backend,
            options=artifact.options,
            inputs=artifact.inputs,
            outputs=artifact.outputs,
            plan_digest=artifact.plan_digest,
            output_steps=dict(artifact.output_steps),
            tools=dict(artifact.tools),
            notes=artifact.notes,
            layouts=_own_layouts(artifact, layouts or {}),
        ),
        provenance=provenance,
    )


def candidate_entry(entry: TargetEntry, label: str, *, folder: str) -> CandidateEntry:
    """``entry`` as a candidate whose files lie in ``folder`` below artifacts/ ("" or "candidates/.../")."""
    held = entry.artifact
    moved = tuple(each.model_copy(update={"path": f"{folder}{each.path}"}) for each in held.files)
    own = {name: getattr(entry, name) for name in TargetEntry.model_fields}
    return CandidateEntry(**{**own, "artifact": held.model_copy(update={"files": moved})}, label=label)


def _own_layouts(artifact: Artifact, reference: Mapping[str, str]) -> dict[str, str]:
    """The reference's letters in the order of the artifact's axes."""
    found = {}
    for binding in (*artifact.inputs, *artifact.outputs):
        letters = reference.get(binding.reference.name, "")
        if letters and len(letters) == len(binding.shape):
            order = binding.permutation or tuple(range(len(letters)))
            found[binding.name] = "".join(letters[axis] for axis in order)
    return found


def artifact_from_entry(entry: TargetEntry, folder: Path) -> Artifact:
    """The artifact whose files lie in ``folder``."""
    held = entry.artifact
    return Artifact(
        folder=folder,
        files=tuple(SpecFileEntry(f.path, f.sha256, f.size_bytes) for f in held.files),
        target=entry.name,
        backend=held.backend,
        precision=entry.precision,
        options=held.options,
        inputs=held.inputs,
        outputs=held.outputs,
        plan_digest=held.plan_digest,
        output_steps=held.output_steps,
        tools=held.tools,
        notes=held.notes,
    )


Document = TypeVar("Document", bound=BaseModel)


def to_value(document: BaseModel) -> dict[str, Any]:
    """JSON-ready value of a document."""
    value: dict[str, Any] = document.model_dump(mode="json", by_alias=True)
    return value


def sealed(document: Document) -> Document:
    """The document with the digest of its own content in ``digest``."""
    return document.model_copy(update={"digest": canonical_json.digest(to_value(document))})


def to_bytes(document: BaseModel) -> bytes:
    """Canonical text of a document."""
    return canonical_json.render(to_value(document))


def parse(kind: type[Document], content: bytes, *, name: str) -> Document:
    """Bytes of a sealed document -> the document.

    P1 UTF-8 JSON · P2 agrees with its own digest · P3 is the canonical text · P4 a schema that is known ·
    P5 follows that schema · P6 says nothing that this edgekit does not know

    P1 to P3 look at the raw value alone, so that documents of every age can be checked: a field that was
    added later takes its default and changes no digest. Within a schema number, fields are only added, with a
    default that means "not said"; every other change is a new number.

    Raises:
        VerificationError: one of the six does not hold.
    """
    value = _sealed_value(content, name=name)
    known = kind.model_fields[_SCHEMA_FIELD].default
    if isinstance(found := value.get("schema"), int) and found > known:  # P4
        raise _too_new(name, f"has schema {found}, and edgekit {__version__} reads up to {known}", value)
    try:
        document = kind.model_validate_json(content)
    except ValidationError as error:  # P5
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        if first["type"] == "extra_forbidden":
            raise _too_new(
                name, f"holds {where}, which edgekit {__version__} does not know", value
            ) from error
        raise VerificationError(
            f"{name} does not follow schema {known}: {where}: {first['msg']}",
            why="it agrees with its own digest: it is from a newer edgekit, or was made by hand",
            remedy="pip install --upgrade edgekit, or release it again",
        ) from error
    if unread := _unread(
        value, to_value(document)
    ):  # P6: leaf values of edgekit.spec ignore what they do not know
        raise _too_new(name, f"holds {unread}, which edgekit {__version__} does not read", value)
    return document


def _sealed_value(content: bytes, *, name: str) -> dict[str, Any]:
    """P1 to P3: the raw value of a document that agrees with itself."""
    again = "get the bundle again, or release it again"
    try:
        value = canonical_json.parse(content)
        digest, text = canonical_json.digest(value), canonical_json.render(value)
    except ValueError as error:
        raise VerificationError(
            f"{name} is damaged: {error}", why="it is no document that edgekit writes", remedy=again
        ) from error
    if value.get(canonical_json.DIGEST_FIELD) != digest:
        raise VerificationError(
            f"{name} contradicts its own digest",
            why="a value in it was changed after it was written",
            remedy=again,
        )
    if text != content:
        raise VerificationError(
            f"{name} is not in the form in which edgekit writes it",
            why="its text was changed after it was written, if only in spaces or the order of keys",
            remedy=again,
        )
    return value


def _too_new(name: str, what: str, value: Mapping[str, Any]) -> VerificationError:
    writer = value.get("edgekit_version")
    return VerificationError(
        f"{name} {what}: update edgekit",
        why="what is not understood cannot be verified"
        + (f"; it was written by edgekit {writer}" if writer else ""),
        remedy="pip install --upgrade edgekit",
        more="docs/bundle.md",
    )


def _unread(raw: Any, read: Any, place: str = "") -> str:
    """Where ``raw`` says something that ``read`` does not hold as it is; "" = nowhere."""
    if isinstance(raw, dict) and isinstance(read, dict):
        for key, held in raw.items():
            where = f"{place}.{key}" if place else key
            if key not in read:
                return where
            if found := _unread(held, read[key], where):
                return found
        return ""
    if isinstance(raw, list) and isinstance(read, list) and len(raw) == len(read):
        return next(
            (
                w
                for i, (a, b) in enumerate(zip(raw, read, strict=True))
                if (w := _unread(a, b, f"{place}.{i}"))
            ),
            "",
        )
    return "" if raw == read else place


def load(folder: Path) -> Manifest:
    """The manifest of the bundle at ``folder``.

    Raises:
        InputError: there is no such folder.
        VerificationError: the manifest is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder",
            why="a bundle is the folder <name>-<version> that `edgekit release` writes",
            remedy="give the path of a bundle",
        )
    return parse(Manifest, read_member(folder, FILE_NAME), name=FILE_NAME)


def read_member(folder: Path, path: str) -> bytes:
    """Content of a file of the bundle.

    Raises:
        VerificationError: it is missing, no plain file, or cannot be read.
    """
    file = folder / path
    try:
        if file.is_symlink() or not file.is_file():
            raise VerificationError(
                f"{path} is missing" if not file.exists() else f"{path} is not a plain file",
                why="the bundle lists it",
                remedy="get the bundle again, or release it again",
            )
        return file.read_bytes()
    except OSError as error:
        raise VerificationError(
            f"{path} cannot be read: {error.strerror or error}",
            why="what cannot be read cannot be verified",
            remedy="check the permissions, or get the bundle again",
        ) from error


def entry_of(path: str, content: bytes) -> FileEntry:
    """Path, hash and size of a file with this content."""
    return FileEntry(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
