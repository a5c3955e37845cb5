"""`edgekit debug` on real models with one fault in each, and on 50 with none: which cause is named first.

    kinds      of faults that were put in, those of issue 6
    first      share of the cases in which the right cause is ranked first        at least 0.9
    in three   ... among the first three                                            all
    healthy    candidates without a fault for which any cause is claimed          none

Faults are made by benchmarks/faults: sites are drawn from SEED, and the first that does damage
(``faults.harm``)
is taken. Every case is compiled, opened on its real runtime and looked into as the command does. All kinds
run on
ONNX Runtime; the first model of each also on LiteRT or OpenVINO, where the target takes the faulty graph.

``python -m benchmarks.debug_faults WORD...`` runs the kinds that contain a word ("healthy" too), writes
nothing.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from benchmarks.faults import seen, suite
from benchmarks.faults.case import Case
from benchmarks.faults.harm import does_damage
from benchmarks.faults.healthy import healthy, made
from benchmarks.faults.subjects import Subject, load
from benchmarks.report import Bar, Report
from edgekit import settings
from edgekit.errors import EdgekitError
from edgekit.ir.digest import digest
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.versions import tools
from edgekit.spec import Array

SEED = 0
LOOKED_AT = 8  # samples: noise is an average over all elements of a tensor
OTHERS = ("litert-cpu", "openvino-cpu")
HEALTHY = "healthy"
FIRST, FEWEST_KINDS = 0.9, 12


@dataclass(frozen=True)
class Found:
    """What was named for one case.

    Attributes:
        rank: of the right cause, 1 = first; 0 = not named.
        causes: names, the likeliest first.
    """

    kind: str
    rank: int
    causes: tuple[str, ...]


@functools.cache
def subject(name: str) -> Subject:
    """Loaded once."""
    return load(name, Cache(settings.cache_dir()))


def run(only: Sequence[str] = ()) -> Report:
    """Everything, or the kinds that contain a word of ``only``."""
    kinds = [kind for kind in suite.KINDS if not only or any(word in kind for word in only)]
    found: dict[str, Found] = {}
    refused: dict[str, str] = {}
    for case, target in _cases(kinds):
        label = f"{target} | {case.label}"
        try:
            causes = _causes(case, target)
        except EdgekitError as error:
            refused[label] = error.what
            continue
        rank = causes.index(case.kind) + 1 if case.kind in causes else 0
        found[label] = Found(case.kind, rank, causes)
        _say(f"{'ok ' if rank == 1 else f'rank {rank}'} {label}: {', '.join(causes)}")
    claimed: dict[str, tuple[str, ...]] = {}
    if not only or HEALTHY in only:
        claimed = _claimed(refused)
    raw = {"seed": SEED, "cases": _rows(found), "refused": refused, "healthy": claimed}
    return Report("debug_faults", tuple(_bars(found, claimed)), raw)


def _cases(kinds: Sequence[str]) -> Iterator[tuple[Case, str]]:
    """All on ONNX Runtime; the first of each kind on LiteRT or OpenVINO, too."""
    for kind in kinds:
        place = list(suite.KINDS).index(kind)
        for number, case in enumerate(suite.cases([kind], subject, does_damage=does_damage, seed=SEED)):
            yield case, "onnxruntime-cpu"
            if number == 0 and kind not in suite.ONE_RUNTIME:
                yield case, OTHERS[place % len(OTHERS)]


def _causes(case: Case, target: str) -> tuple[str, ...]:
    return _named(case.reference, case.candidate, _few(case.feeds), target)


def _named(
    reference: ir.Model, candidate: ir.Model, feeds: list[Mapping[str, Array]], target: str
) -> tuple[str, ...]:
    """Names of the causes, the likeliest first; remembered while neither edgekit nor the case changes."""
    key = {
        "reference": digest(reference),
        "candidate": digest(candidate),
        "target": target,
        "samples": LOOKED_AT,
        "tools": tools(),
    }

    def make() -> list[str]:
        found = seen.causes(seen.evidence(reference, candidate, feeds, target=target))
        return list(dict.fromkeys(cause.name for cause in found))

    return tuple(Cache(settings.cache_dir()).value("debug-faults", key, make))


def _claimed(refused: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Causes that are named for healthy candidates, by candidate."""
    claimed: dict[str, tuple[str, ...]] = {}
    for each in healthy():
        model = subject(each.subject)
        try:
            claimed[each.label] = _named(model.model, made(each, model), _few(model.feeds), each.target)
        except EdgekitError as error:
            refused[each.label] = error.what
            continue
        _say(f"{'ok ' if not claimed[each.label] else 'CLAIMED'} {each.label} {claimed[each.label]}")
    return claimed


def _few(feeds: Sequence[Mapping[str, Array]]) -> list[Mapping[str, Array]]:
    """The first LOOKED_AT samples."""
    batches: list[Mapping[str, Array]] = []
    left = LOOKED_AT
    for batch in feeds:
        many = len(next(iter(batch.values())))
        if left > 0:
            batches.append({name: array[:left] for name, array in batch.items()})
        left -= many
    return batches


def _bars(found: Mapping[str, Found], claimed: Mapping[str, tuple[str, ...]]) -> Iterator[Bar]:
    rows = list(found.values())
    many = max(len(rows), 1)
    yield Bar("kinds of fault", len({row.kind for row in rows}), FEWEST_KINDS, at_most=False)
    first = sum(row.rank == 1 for row in rows)
    yield Bar("share of cases whose cause is ranked first", first / many, FIRST, at_most=False)
    three = sum(1 <= row.rank <= 3 for row in rows)
    yield Bar("share of cases whose cause is among the first three", three / many, 1.0, at_most=False)
    yield Bar("healthy candidates looked at", len(claimed), 50, at_most=False)
    yield Bar("healthy candidates for which a cause is claimed", sum(map(bool, claimed.values())), 0)


def _rows(found: Mapping[str, Found]) -> dict[str, object]:
    return {label: {"kind": row.kind, "rank": row.rank, "causes": row.causes} for label, row in found.items()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    for bar in run(sys.argv[1:]).bars:
        print(f"{bar.name}: {bar.measured:.3g} (limit {bar.limit:g})")
