"""Artifacts -> every kernel with its time, its work and its place under the machine's roof.

    artifact --the runtime's own profiler--> kernels with times
             --the file--> MACs, bytes       => achieved rates, fraction of the roof, what holds each
             --the plan's precision--> what runs elsewhere than meant

F1 a kernel on another device than the artifact asks for has fallen back
F2 in an artifact whose activations are integer (w8a8, w8a16, dynamic) a kernel that multiplies in floats, and
   in a static one every kernel between the quantizers that computes in floats; the file does not say whether
   the plan wanted it so
F3 on LiteRT an operator that XNNPACK did not take, where it took others
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log
from pathlib import Path

from edgekit.backends.worker import WorkerSession
from edgekit.errors import EdgekitError, InputError
from edgekit.measure.roofline import ABOVE, Roof, central, standing
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.bench import roof as roofs
from edgekit.pipeline.bench.on_this_machine import random_feeds
from edgekit.pipeline.file_costs import Cost, costs, operators_of
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.pipeline.result.bench import BenchResult
from edgekit.pipeline.result.profile import KernelRow, ProfileRow, RoofRow
from edgekit.spec import Artifact, Feeds, KernelTime, Precision, Profile, Progress

_SECONDS = 1.5  # of inferences under the profiler; as many without it
_FEWEST, _MOST = 15, 100  # the middle half of 15 is eight; 100 of 1,000 nodes fill a file of 70 MB
_PROBE = 3  # inferences that say how many are to be run
_FLOATS = frozenset({"float32", "float64", "float16", "bfloat16"})
_INTEGER = frozenset({Precision.W8A8, Precision.W8A16, Precision.DYNAMIC})
# operators that have to read or write floats in an integer graph, or have no numbers to compute with
_APPENDED = ("_nchwc", "_quantized")
_BOUNDARY = ("quantize", "convert", "reorder", "transpose", "cast", "subgraph", "reshape", "squeeze")


def with_profiles(result: BenchResult, *, threads: int | None, seed: int, progress: Progress) -> BenchResult:
    """``result`` with a profile of every artifact in it, on the inputs that were measured."""
    held: dict[str, Artifact] = {}
    first: Artifact | None = None
    for name in (row.artifact for row in result.rows):
        artifact = artifact_at(Path(name))
        first = first or artifact
        inputs, outputs = ([binding.reference for binding in each] for each in (first.inputs, first.outputs))
        held[name], _ = in_terms_of(artifact, inputs, outputs)
    if first is None:
        return result
    feeds = random_feeds(tuple(binding.reference for binding in first.inputs), seed=seed)
    rows, roof = profiles(held, feeds, threads=threads, progress=progress)
    return replace(result, profiles=rows, roof=roof)


def check_no_device(devices: Sequence[str]) -> None:
    """A profile is taken on this machine.

    Raises:
        InputError: a device is named.
    """
    if devices:
        raise InputError(
            f"no profile on {devices[0]}",
            why="the agent on a device has no profiler",
            remedy="leave out --device, or --profile",
        )


def profiles(
    artifacts: Mapping[str, Artifact], feeds: Feeds, *, threads: int | None, progress: Progress
) -> tuple[tuple[ProfileRow, ...], RoofRow | None]:
    """Profile every artifact on the same feeds.

    Args:
        artifacts: by the name that they are shown under, in one interface.
        feeds: one sample.
        threads: inside an operator; None for each artifact's own.
        progress: a step for each artifact.

    Returns:
        A row for each artifact, and the roof; None where no artifact could be profiled.
    """
    used = {threads or artifact.options.threads for artifact in artifacts.values()}
    known = {count: roofs.roof(threads=count, progress=progress) for count in sorted(used)}
    rows = []
    progress.stage("profile", total=len(artifacts))
    for name, artifact in artifacts.items():
        count = threads or artifact.options.threads
        row = profiled(name, artifact, feeds, threads=count, roof=known[count])
        if _above(row):  # then the roof was measured on a bad day
            known[count] = roofs.roof(threads=count, progress=progress, fresh=True)
            row = profiled(name, artifact, feeds, threads=count, roof=known[count])
        rows.append(_with_warning(row))
        progress.advance()
    if all(row.reason for row in rows):
        return tuple(rows), None
    return tuple(rows), roof_row(known[max(known)])


def profiled(name: str, artifact: Artifact, feeds: Feeds, *, threads: int, roof: Roof) -> ProfileRow:
    """One artifact; where it cannot be profiled the row says why, because the latencies stand without it."""
    if artifact.options.device != "cpu":
        return _absent(
            name, "on a GPU the profiler counts the launch of a kernel, not what it takes there", ""
        )
    try:
        with open_artifact(artifact, threads=threads) as session:
            if not isinstance(session, WorkerSession):
                return _absent(name, "its back end has no profiler", "")
            runs = _runs(session.time_ms(feeds, runs=_PROBE))
            found = session.profile(feeds, runs=runs)
        if found is None:
            return _absent(name, f"the back end {artifact.backend} has no profiler", "")
        counted = costs(found.kernels, operators_of(artifact))
    except EdgekitError as error:
        return _absent(name, f"{error.what}: {error.why}", error.remedy)
    return row_of(name, artifact, found, counted=counted, roof=roof)


def row_of(
    name: str, artifact: Artifact, found: Profile, *, counted: Sequence[Cost], roof: Roof
) -> ProfileRow:
    """A profile and the costs of its kernels -> what is shown."""
    times = [central(kernel.us) for kernel in found.kernels]
    total = sum(times) or 1.0
    kernels = tuple(
        _kernel(kernel, cost, us=us, share=us / total, artifact=artifact, roof=roof)
        for kernel, cost, us in zip(found.kernels, counted, times, strict=True)
    )
    return ProfileRow(
        artifact=name,
        clock=found.clock,
        inside=_inside(found),
        slowdown=_slowdown(found),
        latency_us=central(found.plain_us) if found.plain_us else None,
        runs=len(found.profiled_us),
        kernels=kernels,
        notes=found.notes,
    )


def roof_row(roof: Roof) -> RoofRow:
    """The roof as plain values."""
    return RoofRow(roof.threads, dict(roof.gops), roof.bandwidth, dict(roof.how))


def fallback(kernel: KernelTime, artifact: Artifact) -> str:
    """Why a kernel does not run as meant (F1 to F3); "" where it does."""
    if kernel.device != artifact.options.device:
        return f"ran on {kernel.device}"  # F1
    if kernel.outside:
        return "outside the delegate"  # F3
    if artifact.precision not in _INTEGER or kernel.precision not in _FLOATS:
        return ""
    words = kernel.operator.lower()
    static = artifact.precision.is_static and not any(word in words for word in _BOUNDARY)
    return f"in {kernel.precision}" if kernel.multiplies or static else ""  # F2


def _kernel(
    kernel: KernelTime, cost: Cost, *, us: float, share: float, artifact: Artifact, roof: Roof
) -> KernelRow:
    stands = standing(
        us=us, operations=cost.operations, moved_bytes=cost.moved_bytes, dtype=kernel.precision, roof=roof
    )
    return KernelRow(
        source=tuple(dict.fromkeys(map(_plain, kernel.names))),
        operator=kernel.operator,
        kernel=kernel.kernel,
        device=kernel.device,
        dtype=kernel.precision,
        us=us,
        share=share,
        calls=kernel.calls,
        macs=cost.macs,
        operations=cost.operations,
        read_bytes=cost.read_bytes,
        weight_bytes=cost.weight_bytes,
        written_bytes=cost.written_bytes,
        gops=stands.gops,
        gbs=stands.gbs,
        intensity=stands.intensity,
        fraction=stands.fraction,
        bound=stands.bound,
        fallback=fallback(kernel, artifact),
    )


def _plain(name: str) -> str:
    """The name in the model: runtimes and compilers append what they did to the node."""
    shorter = name.split("/WithoutBiases", maxsplit=1)[0]
    for suffix in _APPENDED:
        shorter = shorter.removesuffix(suffix)
    return shorter or name


def _inside(found: Profile) -> float | None:
    """Kernels' time over the profiled inferences', each with its own: a pause of the system is in both."""
    counts = {len(kernel.us) for kernel in found.kernels}
    if len(counts) != 1 or not found.profiled_us:
        return None
    samples = counts.pop()
    size = len(found.profiled_us) // samples if samples else 0
    if not size:
        return None
    parts = [
        sum(kernel.us[place] for kernel in found.kernels)
        / (sum(found.profiled_us[place * size : (place + 1) * size]) / size)
        for place in range(samples)
    ]
    return central(parts)


def _slowdown(found: Profile) -> float | None:
    """Profiled over plain inferences, each with its neighbour in time; by logarithms, where noise cancels."""
    pairs = [pair for pair in zip(found.profiled_us, found.plain_us, strict=False) if min(pair) > 0]
    return exp(central([log(under / without) for under, without in pairs])) if pairs else None


def _runs(probe_ms: Sequence[float]) -> int:
    return int(min(_MOST, max(_FEWEST, _SECONDS * 1e3 / max(min(probe_ms), 1e-3))))


def _above(row: ProfileRow) -> list[KernelRow]:
    return [kernel for kernel in row.kernels if kernel.fraction is not None and kernel.fraction > ABOVE]


def _with_warning(row: ProfileRow) -> ProfileRow:
    above = _above(row)
    if not above:
        return row
    worst = max(above, key=lambda kernel: kernel.fraction or 0.0)
    said = (
        f"{len(above)} of the kernels are above the measured roof, by {worst.fraction:.2f} times at most "
        f"({worst.operator}): their counts or the roof are wrong"
    )
    return replace(row, notes=(*row.notes, said))


def _absent(name: str, reason: str, remedy: str) -> ProfileRow:
    return ProfileRow(name, "", None, None, None, 0, (), (), reason, remedy)
