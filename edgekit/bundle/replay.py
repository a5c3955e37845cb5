"""Target of a bundle x how it is opened -> checks: it computes what was recorded, on what it asks for.

raw golden inputs --prepared, record--> outputs --compare--> "golden" (V8 of ``verify``)
session.facts --placement.difference--> "placement" (V9)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekit.bundle import golden, npz, placement
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.check import Check, CheckStatus
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.manifest import CandidateEntry, TargetEntry
from edgekit.errors import EdgekitError, ExitCode, MissingBackendError
from edgekit.spec import Artifact, Session

Open = Callable[[Artifact], Session]


def as_asked(artifact: Artifact) -> str:
    """The ``stand_in`` where artifacts are opened on what they ask for."""
    del artifact
    return ""


@dataclass(frozen=True)
class Opening:
    """How artifacts are opened.

    Attributes:
        open: gives a session; may raise MissingBackendError.
        stand_in: why an artifact is opened on something else than it asks for; "" = it is not.
    """

    open: Open
    stand_in: Callable[[Artifact], str] = as_asked


def replay(
    folder: Path,
    entry: TargetEntry,
    evidence: Evidence | None,
    *,
    sound: Mapping[str, str],
    opening: Opening,
    required: bool,
) -> tuple[Check, ...]:
    """V8 and V9 of one target.

    Args:
        folder: of the bundle.
        entry: of the target.
        evidence: that names the recorded outputs; None where it is damaged or not here.
        sound: files whose hashes are right.
        opening: how the artifact is opened.
        required: whether the target was asked for by name.

    Raises:
        MissingBackendError: it was, and cannot run.
        EdgekitError: a device went away (exit 7).
    """
    label, subject = entry.label if isinstance(entry, CandidateEntry) else "", entry.subject

    def check(status: CheckStatus, detail: str = "") -> tuple[Check, ...]:
        return (Check("golden", subject, status, detail),)

    if evidence is None:
        return check(
            "not_run", "the golden outputs are listed in evidence.json, which is damaged or not here"
        )
    recorded = {each.target: each for each in evidence.golden if each.label == label}
    if entry.name not in recorded:
        status: CheckStatus = "fail" if required else "not_run"
        return check(status, "the bundle has no golden outputs of it: it did not run where it was released")
    there = recorded[entry.name]
    needed = [f"{manifest_file.ARTIFACTS}/{file.path}" for file in entry.artifact.files]
    needed += [manifest_file.GOLDEN_INPUTS, there.file.path]
    damaged = [path for path in needed if path not in sound]
    if damaged:
        return check("not_run", f"{damaged[0]} is damaged, and nothing is run from damaged files")
    try:
        inputs = _arrays(folder, manifest_file.GOLDEN_INPUTS)
        outputs = _arrays(folder, there.file.path)
        artifact = manifest_file.artifact_from_entry(entry, folder / manifest_file.ARTIFACTS)
        with opening.open(artifact) as session:
            found = golden.record(session, golden.prepared(inputs, entry.processing))
            facts = dict(session.facts)
    except MissingBackendError as error:
        if required:
            raise
        return check("not_run", f"not run here: {error.what}")
    except EdgekitError as error:
        if error.exit_code is ExitCode.INCONCLUSIVE:  # a device that went away proves nothing
            raise
        return check("fail", error.what)
    difference = golden.compare(
        found,
        outputs,
        steps=entry.artifact.output_steps,
        tolerance=entry.tolerance,
        processing=entry.processing,
    )
    about = _placement(artifact, facts, there.ran, subject=subject, why_not=opening.stand_in(artifact))
    return (*check("fail" if difference else "pass", difference), *about)


def _placement(
    artifact: Artifact,
    facts: Mapping[str, str],
    recorded: Mapping[str, str],
    *,
    subject: str,
    why_not: str,
) -> tuple[Check, ...]:
    """V9; nothing where the back end does not say what ran."""
    if why_not:
        return (Check("placement", subject, "not_run", why_not),)
    if not placement.is_told(artifact, facts):
        return ()
    detail = placement.difference(artifact, facts, recorded=recorded)
    return (Check("placement", subject, "fail" if detail else "pass", detail),)


def _arrays(folder: Path, path: str) -> Mapping[str, npt.NDArray[Any]]:
    return npz.from_bytes(manifest_file.read_member(folder, path), name=path)
