"""Replies -> rows: which task follows which, and what becomes of a row.

    prepare(model) --lock--> make(unit) --candidates--> bench(row) --latencies--> judged, on disk, done

C1 a model that cannot be prepared ends all its rows, a unit that cannot be made those on its devices · C2 a
row whose target this machine cannot time, measured "here", is not benched: its gates say so · C3 artifacts
are copied out of the store, where workers put them, by digest · C4 what is wrong with a reply, or with its
files in the store, ends its rows and no others.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import drafts
from edgekit.errors import EdgekitError, ExitCode, OutputError
from edgekit.pipeline import artifact as artifacts
from edgekit.pipeline.latency import Timed
from edgekit.pipeline.lock import Lock, LockedScheme, LockedTarget
from edgekit.pipeline.result import MachineRow
from edgekit.pipeline.result.sweep import SweepRow, SweepStatus
from edgekit.pipeline.sweep.judge_row import Made, Shown, made_of, of_row, shown, to_measure
from edgekit.pipeline.sweep.kept import Kept
from edgekit.pipeline.sweep.rows import Row
from edgekit.pipeline.sweep.schedule import LOCAL, Reply, Task
from edgekit.pipeline.sweep.store import Store
from edgekit.pipeline.sweep.stored_cache import confined
from edgekit.pipeline.sweep.work import error_document
from edgekit.pipeline.write import write_text
from edgekit.spec import Artifact, Precision, Progress, Rejection, from_json

_STATUS: Mapping[ExitCode, SweepStatus] = {
    ExitCode.OK: "pass",
    ExitCode.ACCURACY_GATE: "fail",
    ExitCode.LATENCY_OR_SIZE_GATE: "fail",
    ExitCode.INCONCLUSIVE: "inconclusive",
    ExitCode.TARGET_REFUSES: "refused",
    ExitCode.BACKEND_MISSING: "missing",
}
_NOT_THERE = "leave the cell out ([[exclude]]), or take fp32 there"
_NO_CLUSTER = "--scheduler tcp://host:port, or give the device an address"
_MISSING: tuple[SweepStatus, ExitCode] = ("missing", ExitCode.BACKEND_MISSING)


class Collected:
    """The rows of one sweep as they come in.

    Args:
        rows: all of the matrix.
        kept: where they are kept.
        store: where workers put what they made.
        base: what every task says: store, cache, day.
        devices: how each is reached.
        unreachable: devices that nobody of this crew can be, and why.
        update: do all again, follow no lock.
        progress: told of each row.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        kept: Kept,
        store: Store,
        base: Mapping[str, Any],
        devices: Mapping[str, Mapping[str, Any] | None],
        unreachable: Mapping[str, str],
        update: bool,
        progress: Progress,
    ) -> None:
        self._all, self._kept, self._store, self._base = tuple(rows), kept, store, dict(base)
        self._devices, self._unreachable, self._update = devices, unreachable, update
        self._progress = progress
        self._keys = {row.id: kept.key(row) for row in rows}
        self._done: dict[str, SweepRow] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._locks: dict[str, Lock] = {}
        self._lock_digests: dict[str, str] = {}
        self._about: dict[str, Mapping[str, Any]] = {}
        self._made: dict[str, tuple[Made, ...]] = {}
        self._findings: dict[str, None] = {}
        self.machines: dict[str, MachineRow] = {}

    def begin(self) -> list[Task]:
        """The first tasks; rows that are done already have none."""
        self._progress.stage(f"sweep: {len(self._all)} rows", total=len(self._all))
        for row in self._all:
            before = None if self._update else self._kept.read(row, self._keys[row.id])
            if before is not None:
                self._done[row.id] = before
                self._progress.advance()
        if self._done:
            self._progress.note(f"{len(self._done)} of {len(self._all)} rows were done before")
        return [self._prepare(group) for group in dict.fromkeys(row.group for row in self._open())]

    def then(self, task: Task, reply: Reply) -> Sequence[Task]:
        """What follows from a reply."""
        kind, name = task.document["kind"], task.document["of"]
        rows = self._rows_of(kind, name)
        error = _error_of(reply)
        seconds = float(reply.document.get("seconds", 0.0))
        for row in rows:
            self._seconds[row.id] += seconds / len(rows)
        try:
            follows: Sequence[Task] = ()
            if error is None:
                follows = self._after(kind, name, reply.document)
            else:
                for row in rows:
                    self._fail(row, error)
        except OutputError:
            raise  # a disk that is full ends the sweep: no row could be kept
        except EdgekitError as bad:  # C4
            for row in rows:
                if row.id not in self._done:
                    self._end(row, bad.exit_code, error_document(bad))
            return ()
        return follows

    def _after(self, kind: str, name: str, document: Mapping[str, Any]) -> Sequence[Task]:
        if kind == "prepare":
            return self._after_prepare(name, document)
        if kind == "make":
            return self._after_make(name, document)
        row = next(row for row in self._open() if row.id == name)
        self._after_bench(row, document)
        return ()

    def rows(self) -> tuple[SweepRow, ...]:
        """All of them, in the matrix's order."""
        return tuple(self._done[row.id] for row in self._all)

    def findings(self) -> tuple[str, ...]:
        """What was noticed, each once."""
        return tuple(self._findings)

    def _open(self) -> list[Row]:
        return [row for row in self._all if row.id not in self._done]

    def _rows_of(self, kind: str, name: str) -> list[Row]:
        def called(row: Row) -> str:
            return {"prepare": row.group, "make": row.unit}.get(kind, row.id)

        return [row for row in self._open() if called(row) == name]

    # --- prepare --------------------------------------------------------------------------------------

    def _prepare(self, group: str) -> Task:
        rows = [row for row in self._open() if row.group == group]
        tables = tuple({row.unit: row.plan.recipe.target[0] for row in rows}.values())
        recipe = rows[0].source.recipe.model_copy(update={"target": tables, "package": ()})
        held = None if self._update else self._kept.lock(group)
        pruned = self._kept.pruned_path(group)
        document = {
            **self._base,
            "kind": "prepare",
            "of": group,
            "recipe": recipe.model_dump(mode="json", by_alias=True),
            "path": str(rows[0].source.path.resolve()),
            "lock": held.text() if held else None,
            "pruned": self._store.put(pruned) if held and held.pruned and pruned.is_file() else "",
            "ranges": any(row.precision.is_static or row.precision is Precision.FP16 for row in rows),
        }
        return Task(f"prepare {group}", document)

    def _after_prepare(self, group: str, document: Mapping[str, Any]) -> Sequence[Task]:
        with drafts.temporary() as folder:
            path = folder / "lock.json"
            self._store.fetch(document["lock"], path)
            lock = Lock.model_validate_json(path.read_text("utf-8"))
        if document["pruned"]:
            self._fetch(document["pruned"], self._kept.pruned_path(group))
        held = None if self._update or document["changed"] else self._kept.lock(group)
        if held is not None:
            lock = lock.model_copy(update={"targets": held.targets, "inputs": {**held.inputs, **lock.inputs}})
        self._locks[group], self._lock_digests[group] = lock, document["lock"]
        self._about[group] = document
        self._findings |= dict.fromkeys(f"{group}: {each}" for each in document["findings"])
        units = dict.fromkeys(row.unit for row in self._open() if row.group == group)
        return [self._make(unit) for unit in units]

    # --- make -----------------------------------------------------------------------------------------

    def _locked(self, row: Row) -> LockedScheme | None:
        """What the lock names for the row, while it is the same row."""
        lock = self._locks[row.group]
        if lock.inputs.get(f"row {row.id}") != row.digest():
            return None
        return lock.targets.get(row.id)

    def _make(self, unit: str) -> Task:
        rows = [row for row in self._open() if row.unit == unit]
        row = rows[0]
        locked = [each for each in map(self._locked, rows) if each is not None]
        document = {
            **self._base,
            "kind": "make",
            "of": unit,
            "recipe": row.plan.recipe.model_dump(mode="json", by_alias=True),
            "path": str(row.source.path.resolve()),
            "lock": self._lock_digests[row.group],
            "pruned": self._about[row.group]["pruned"],
            "locked": _together(locked).model_dump(mode="json") if len(locked) == len(rows) else None,
        }
        return Task(f"make {unit}", document)

    def _after_make(self, unit: str, document: Mapping[str, Any]) -> Sequence[Task]:
        made = made_of(document["candidates"])
        self._made[unit] = made
        tasks = []
        for row in [row for row in self._open() if row.unit == unit]:
            self._findings |= dict.fromkeys(document["notes"])
            candidates = self._candidates(row)
            if not candidates:
                said = {"what": document["said"], "why": "", "remedy": _NOT_THERE}
                self._end(row, ExitCode.TARGET_REFUSES, said)
            elif row.device.name in self._unreachable:
                self._show(
                    row, {}, why=self._unreachable[row.device.name], remedy=_NO_CLUSTER, ended=_MISSING
                )
            elif row.device.name == LOCAL and not document["timed"]:  # C2
                self._show(row, {}, why=made[0].row.caveat)
            else:
                tasks.append(self._bench(row, candidates))
        return tasks

    def _candidates(self, row: Row) -> tuple[Made, ...]:
        return of_row(self._made[row.unit], row.precision, locked=self._locked(row))

    # --- bench ----------------------------------------------------------------------------------------

    def _bench(self, row: Row, candidates: tuple[Made, ...]) -> Task:
        baseline = self._made[row.unit][0]
        measured = {baseline.label: baseline}
        measured |= {each.label: each for each in to_measure(candidates, row.plan.targets[0])}
        entry = self._devices[row.device.name]
        document = {
            **self._base,
            "kind": "bench",
            "of": row.id,
            "artifacts": {label: dict(each.document) for label, each in measured.items()},
            "baseline": baseline.label,
            "device": entry,
        }
        return Task(f"bench {row.id}", document, device=row.device.name, alone=entry is None)

    def _after_bench(self, row: Row, document: Mapping[str, Any]) -> None:
        timed = {label: from_json(Timed, each) for label, each in document["timed"].items()}
        machine = from_json(MachineRow, document["machine"])
        self.machines[machine.key] = machine
        failures: Mapping[str, str] = document["failures"]
        said = "; ".join(f"{label}: {why}" for label, why in failures.items())
        write_text(self._kept.folder(row) / "bench.json", json.dumps(document, indent=1) + "\n")
        self._show(
            row,
            timed,
            why=said or "no measurement was made",
            remedy="; ".join(dict.fromkeys(filter(None, document["remedies"].values()))),
            machine=machine.key,
            failed=bool(said),
        )

    # --- a row's end ----------------------------------------------------------------------------------

    def _show(
        self,
        row: Row,
        timed: Mapping[str, Timed],
        *,
        why: str,
        remedy: str = "",
        machine: str = "",
        ended: tuple[SweepStatus, ExitCode] | None = None,
        failed: bool = False,
    ) -> None:
        """Judge, copy the artifact out, and lock what was chosen; ``ended`` where no bench decides."""
        found = shown(self._candidates(row), timed, plan=row.plan.targets[0], why=why)
        code, reason, step = found.exit_code, found.reason, found.remedy
        if ended is not None:
            code, reason, step = ended[1], why, remedy
        elif failed and found.made.label not in timed:
            code, reason, step = ExitCode.INTERNAL, why, remedy
        self._copy(row, found)
        self._lock(row, found.made.scheme)
        self._finish(
            row,
            replace(
                self._row(row, code, reason, step),
                status=ended[0] if ended else _STATUS.get(code, "error"),
                artifact=found.row,
                folder=f"rows/{row.id}",
                machine=machine,
            ),
        )

    def _fail(self, row: Row, error: Mapping[str, Any]) -> None:
        code = ExitCode(error["exit_code"])
        status: SweepStatus = "timed out" if error.get("how") == "timed out" else _STATUS.get(code, "error")
        if row.unit in self._made and self._candidates(row):  # it was made: what is known of it stands
            self._show(row, {}, why=_sentence(error), remedy=error["remedy"], ended=(status, code))
            return
        rejections = tuple(from_json(Rejection, each) for each in error["rejections"])
        ended = self._row(row, code, _sentence(error), error["remedy"])
        ended = replace(ended, status=status, rejections=rejections)
        self._finish(row, ended)

    def _end(self, row: Row, code: ExitCode, error: Mapping[str, Any]) -> None:
        self._finish(row, self._row(row, code, _sentence(error), error["remedy"]))

    def _row(self, row: Row, code: ExitCode, reason: str, remedy: str) -> SweepRow:
        about = self._about.get(row.group, {})
        return SweepRow(
            id=row.id,
            recipe=row.source.name,
            target=row.target.name,
            precision=row.precision,
            threads=row.threads,
            device=row.device.name,
            prune=row.prune,
            status=_STATUS.get(code, "error"),
            exit_code=code,
            reason=reason,
            remedy=remedy,
            higher_is_better=bool(about.get("higher_is_better", True)),
            data=str(about.get("data", "")),
            seconds=self._seconds[row.id],
        )

    def _copy(self, row: Row, found: Shown) -> None:
        """C3: each file under a temporary name first."""
        folder = self._kept.folder(row)
        for name, digest in found.made.document["files"].items():
            self._fetch(digest, confined(folder, name))
        artifact = from_json(Artifact, {**found.made.document["artifact"], "folder": str(folder)})
        write_text(confined(folder, f"{artifact.files[0].path}.json"), artifacts.json_of(artifact))

    def _fetch(self, digest: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with drafts.file(path) as draft:
            self._store.fetch(digest, draft)

    def _lock(self, row: Row, scheme: LockedScheme) -> None:
        lock = self._locks[row.group]
        lock = lock.model_copy(
            update={
                "targets": {**lock.targets, row.id: LockedTarget(**dict(scheme))},
                "inputs": {**lock.inputs, f"row {row.id}": row.digest()},
            }
        )
        self._locks[row.group] = lock
        write_text(self._kept.lock_path(row.group), lock.text())

    def _finish(self, row: Row, found: SweepRow) -> None:
        self._done[row.id] = found
        self._kept.write(row, self._keys[row.id], found)
        said = f"{found.reason}; next: {found.remedy}" if found.remedy else found.reason
        self._progress.note(f"{len(self._done)}/{len(self._all)} {row.id}: {found.status}: {said}")
        self._progress.advance()


def _together(locked: Sequence[LockedScheme]) -> LockedTarget:
    """What rows of one unit on several devices have chosen."""
    first = LockedTarget(**dict(locked[0]))
    different = {each.scheme.label: each for each in locked}
    return first.model_copy(update={"candidates": tuple(different.values())}) if len(different) > 1 else first


def _error_of(reply: Reply) -> Mapping[str, Any] | None:
    """Why there is no result; None where there is one."""
    if reply.how == "done":
        error: Mapping[str, Any] | None = reply.document.get("error")
        return error
    if reply.how == "timed out":
        code = ExitCode.INCONCLUSIVE
    else:
        code = ExitCode.BACKEND_MISSING if reply.how == "missing" else ExitCode.INTERNAL
    what = f"device missing: {reply.reason}" if reply.how == "missing" else reply.reason
    return {
        "what": what,
        "why": "",
        "remedy": reply.remedy,
        "exit_code": int(code),
        "rejections": (),
        "how": reply.how,
    }


def _sentence(error: Mapping[str, Any]) -> str:
    return f"{error['what']} ({error['why']})" if error["why"] else str(error["what"])
