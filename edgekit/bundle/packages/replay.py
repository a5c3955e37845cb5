"""A file that a package changes x golden inputs -> the golden outputs, on the real runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgekit import drafts
from edgekit.bundle import golden
from edgekit.bundle.manifest import TargetEntry, artifact_from_entry, entry_of
from edgekit.bundle.packages.base import Source, Tools
from edgekit.errors import VerificationError
from edgekit.spec import Dim, FileEntry, IoBinding


def replay(
    source: Source,
    entry: TargetEntry,
    files: Mapping[str, bytes],
    *,
    tools: Tools,
    batch: int | None = None,
) -> None:
    """Run ``files`` (the main one first) in the place of the artifact's own.

    Args:
        source: the bundle.
        entry: the artifact that they stand for.
        files: content by name.
        tools: opens them.
        batch: what their free batch became; None = it is as it was.

    Raises:
        VerificationError: they do not compute the golden outputs within the tolerance.
    """
    wanted = source.golden_outputs(entry)
    with drafts.temporary("edgekit-package-") as folder:
        entries = []
        for name, body in files.items():
            (folder / name).write_bytes(body)
            said = entry_of(name, body)
            entries.append(FileEntry(said.path, said.sha256, said.size_bytes))
        artifact = replace(artifact_from_entry(entry, folder), files=tuple(entries))
        if batch is not None:
            artifact = replace(
                artifact,
                inputs=tuple(closed(each, batch) for each in artifact.inputs),
                outputs=tuple(closed(each, batch) for each in artifact.outputs),
            )
        with tools.open_artifact(artifact) as session:
            found = golden.record(session, source.golden_inputs(entry))
    difference = golden.compare(
        found,
        wanted,
        steps=entry.artifact.output_steps,
        tolerance=entry.tolerance,
        processing=entry.processing,
    )
    if difference:
        name = next(iter(files))
        raise VerificationError(
            f"{name} does not compute what {entry.name} computed on release: {difference}",
            why="the file was changed for the package, and the numbers changed more than the release allows",
            remedy="report it as a bug, with the bundle",
        )


def closed(binding: IoBinding, batch: int) -> IoBinding:
    """A binding whose first axis, where it is free, is ``batch``."""

    def shape(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return (batch, *dims[1:]) if dims and not isinstance(dims[0], int) else dims

    reference = replace(binding.reference, shape=shape(binding.reference.shape))
    return replace(binding, reference=reference, shape=shape(binding.shape))
