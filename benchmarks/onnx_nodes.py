"""ONNX's own node tests -> .tflite -> LiteRT: right, refused (with the reason) or wrong, by operator.

    case x form --canonicalize, LiteRt.compile, LiteRtEngine--> values, held against the case's own

A case counts if its tensors are float32, int8, uint8, int32, int64 or bool, it is neither training nor loss
nor the expanded body of a function, and ONNX Runtime gives its values. Forms: ``whole`` is the model as it
is, ``first`` has every input but the first turned into a constant. A case is right if one form is right and
none is wrong. ``python -m benchmarks.onnx_nodes [PREFIX ...]`` prints the table, or only the named cases with
reasons; native code may abort, so the work is done in processes that are replaced when they die.
"""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Bar, Report

DTYPES = frozenset({"float32", "int8", "uint8", "int32", "int64", "bool"})
NOT_INFERENCE = frozenset(
    {"Adagrad", "Adam", "Gradient", "Momentum", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}
)
FORMS = ("whole", "first")
FLOOR = 0.85  # share of right cases: the TFLite compiler's bar
TOLERANCE = 1e-4  # of the output's range, as in tests/parity
TIMEOUT_SECONDS = 60.0
WORKERS = 2
RIGHT, REFUSED, WRONG, UNLOADABLE, SKIPPED = "right", "refused", "wrong", "unloadable", "skipped"


@dataclass(frozen=True)
class Job:
    """One case, ready to be sent to another process: ``data`` holds (inputs, outputs) lists."""

    name: str
    op: str
    model: bytes
    data: tuple[tuple[list[Any], list[Any]], ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one form of one case; ``rule`` and ``reason`` where it is not right."""

    case: str
    op: str
    form: str
    state: str
    rule: str = ""
    reason: str = ""


# Cases ---------------------------------------------------------------------------------------------------


def jobs(prefixes: Sequence[str] = ()) -> list[Job]:
    """The node tests that count; with ``prefixes`` those whose names begin so."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflows that the generators of float8 data mean to make
        cases = collect_testcases(None)
    found = []
    for case in cases:
        if "_expanded" in case.name or (prefixes and not case.name.startswith(tuple(prefixes))):
            continue
        if not _counts(case.model.graph) or not all(_is_plain(v) for pair in case.data_sets for v in pair):
            continue
        data = tuple((list(inputs), list(outputs)) for inputs, outputs in case.data_sets)
        op = next(iter(node.op_type for node in case.model.graph.node), "")
        found.append(Job(case.name, op, case.model.SerializeToString(), data))
    return found


def _counts(graph: Any) -> bool:
    training = any(
        attribute.name == "training_mode" and attribute.i
        for node in graph.node
        for attribute in node.attribute
    )
    return not training and not any(
        node.op_type in NOT_INFERENCE or "training" in node.domain for node in graph.node
    )


def _is_plain(values: Iterable[Any]) -> bool:
    return all(isinstance(v, np.ndarray | np.generic) and v.dtype.name in DTYPES for v in values)


# One case, in a worker -----------------------------------------------------------------------------------


def attempt(job: Job, form: str, folder: Path) -> Outcome:
    """Compile and run one form of one case."""
    import onnx
    import onnx_ir as ir

    from edgekit.errors import EdgekitError, TargetRefusalError
    from edgekit.passes import canonicalize

    model = onnx.load_from_string(job.model)
    if form == "first":
        if len(model.graph.input) < 2:
            return Outcome(job.name, job.op, form, SKIPPED, "one-input", "the two forms are the same")
        model = _with_constants(model, job.data[0][0])
    try:
        return _compiled(job, form, canonicalize(ir.from_proto(model)), folder)
    except TargetRefusalError as error:
        first = error.why.splitlines()[0] if error.why else error.what
        rule = first.rsplit("[", 1)[-1].rstrip("]") if first.endswith("]") else type(error).__name__
        return Outcome(job.name, job.op, form, REFUSED, rule, first)
    except EdgekitError as error:
        bug = "has just written" in error.what
        state, rule = (UNLOADABLE, "runtime") if bug else (REFUSED, type(error).__name__)
        return Outcome(job.name, job.op, form, state, rule, f"{error.what}: {error.why}")


def _with_constants(model: Any, values: Sequence[Any]) -> Any:
    """Every input but the first as an initializer."""
    from onnx import numpy_helper

    graph = model.graph
    for info, value in list(zip(graph.input, values, strict=False))[1:]:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
        graph.input.remove(info)
    model.ir_version = max(model.ir_version, 4)  # the first in which an initializer need not be an input
    return model


def _compiled(job: Job, form: str, model: Any, folder: Path) -> Outcome:
    from edgekit import target as targets
    from edgekit.backends.base import CompileRequest
    from edgekit.backends.bindings import artifact_from_reference, check_feeds, reference_from_artifact
    from edgekit.backends.litert.backend import LiteRt
    from edgekit.backends.litert.engine import LiteRtEngine
    from edgekit.spec import Precision, RunOptions

    options = RunOptions()
    request = CompileRequest(model, targets.load("litert-cpu"), Precision.FP32, options, "case")
    artifact = LiteRt().compile(request, folder)
    names = [b.name for b in artifact.inputs], [b.name for b in artifact.outputs]
    engine = LiteRtEngine(artifact.path, options, *names)
    for inputs, outputs in job.data:
        specs = tuple(binding.reference for binding in artifact.inputs)
        everything = dict(zip(_input_names(job), map(np.asarray, inputs), strict=False))
        feeds = {spec.name: everything[spec.name] for spec in specs}
        check_feeds(feeds, specs)
        try:
            found = engine.run(artifact_from_reference(feeds, artifact.inputs))
        except (ValueError, RuntimeError) as error:
            return Outcome(job.name, job.op, form, UNLOADABLE, "run", str(error))
        results = reference_from_artifact(found, artifact.outputs)
        for spec, expected in zip(artifact.outputs, outputs, strict=True):
            problem = difference(results[spec.reference.name], np.asarray(expected))
            if problem:
                return Outcome(job.name, job.op, form, WRONG, "values", problem)
    return Outcome(job.name, job.op, form, RIGHT)


def _input_names(job: Job) -> list[str]:
    import onnx

    return [info.name for info in onnx.load_from_string(job.model).graph.input]


def difference(found: Any, expected: Any) -> str:
    """What is wrong with ``found``; "" if nothing. Integers agree exactly, reals to TOLERANCE."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype} {found.shape} instead of {expected.dtype} {expected.shape}"
    if expected.dtype.kind != "f":
        count = int(np.count_nonzero(found != expected))
        return f"{count} of {expected.size} elements differ" if count else ""
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return "NaN or infinite elsewhere"
    a, b = found[finite].astype(np.float64), expected[finite].astype(np.float64)
    if not b.size:
        return ""
    worst = float(np.abs(a - b).max() / max(b.max() - b.min(), np.abs(b).max(), 1e-6))
    return "" if worst <= TOLERANCE else f"off by {worst:.2g} of the range"


def runs_on_reference(job: Job) -> str:
    """Why ONNX Runtime does not give the case's values; "" if it does."""
    from edgekit import settings

    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
        for inputs, outputs in job.data:
            names = [info.name for info in session.get_inputs()]
            found = session.run(None, dict(zip(names, map(np.asarray, inputs), strict=False)))
            for value, expected in zip(found, outputs, strict=True):
                problem = difference(value, np.asarray(expected))
                if problem:
                    return problem
    except Exception as error:  # noqa: BLE001  (onnxruntime's errors have no common class but this)
        return str(error).splitlines()[0]
    return ""


Attempt = Callable[[Job, str, Path], Outcome]


def _serve(connection: Connection, one: Attempt) -> None:
    """A worker: take (job, form), give Outcomes; form "" asks whether ONNX Runtime passes the case."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        while True:
            job, form = pickle.loads(connection.recv_bytes())  # noqa: S301  (from the parent process)
            try:
                if form:
                    connection.send(one(job, form, Path(folder)))
                    continue
                problem = runs_on_reference(job)
                connection.send(Outcome(job.name, job.op, "", SKIPPED if problem else RIGHT, "ort", problem))
            except Exception as error:  # noqa: BLE001  (a defect of edgekit: shown in the table)
                text = f"{type(error).__name__}: {error}".splitlines()[0]
                connection.send(Outcome(job.name, job.op, form, WRONG, "exception", text))


# All cases, in processes ---------------------------------------------------------------------------------


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: tuple[Job, str] | None = None


def _start(one: Attempt) -> _Worker:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, one), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, mine)


def outcomes(found: Sequence[Job], *, workers: int = WORKERS, one: Attempt = attempt) -> Iterator[Outcome]:
    """All forms of all cases; a process that dies or hangs is replaced and its case counts as unloadable.

    Args:
        found: the cases.
        workers: processes at the same time.
        one: what is tried on one form of one case; a function of a module, for it is called elsewhere.
    """
    tasks = [(job, form) for job in found for form in ("", *FORMS)]
    tasks.reverse()
    pool = [_start(one) for _ in range(min(workers, len(tasks)))]
    try:
        while tasks or any(worker.task for worker in pool):
            for worker in pool:
                if worker.task is None and tasks:
                    worker.task = tasks.pop()
                    worker.connection.send_bytes(pickle.dumps(worker.task))
            busy = [worker for worker in pool if worker.task]
            ready = wait([worker.connection for worker in busy], timeout=TIMEOUT_SECONDS)
            for worker in busy:
                if ready and worker.connection not in ready:
                    continue
                job, form = worker.task or (found[0], "")
                answer = _answer(worker, hangs=not ready)
                worker.task = None
                if answer is not None:
                    yield answer
                else:
                    worker.process.kill()
                    worker.process.join()
                    code = worker.process.exitcode if ready else "timeout"
                    yield Outcome(job.name, job.op, form, UNLOADABLE, "died", f"exit code {code}")
                    pool[pool.index(worker)] = _start(one)
    finally:
        for worker in pool:
            with suppress(OSError):
                worker.connection.close()
            worker.process.kill()


def _answer(worker: _Worker, *, hangs: bool) -> Outcome | None:
    """What the worker found out; None if it hangs or is dead."""
    try:
        outcome: Outcome | None = None if hangs else worker.connection.recv()
    except (EOFError, ConnectionError):
        return None
    return outcome


@dataclass(frozen=True)
class CaseResult:
    """One case over its forms: right if one form is and none is wrong."""

    name: str
    op: str
    state: str
    forms: tuple[Outcome, ...]


def judged(found: Iterable[Outcome]) -> list[CaseResult]:
    """The cases that ONNX Runtime passes, with what became of them."""
    by_case: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        by_case[outcome.case].append(outcome)
    results = []
    for name, parts in by_case.items():
        if any(part.form == "" and part.state != RIGHT for part in parts):
            continue
        forms = tuple(part for part in parts if part.form and part.state != SKIPPED)
        states = {part.state for part in forms}
        state = next((s for s in (WRONG, UNLOADABLE, RIGHT, REFUSED) if s in states), REFUSED)
        results.append(CaseResult(name, parts[0].op, state, forms))
    return results


def table(results: Sequence[CaseResult]) -> str:
    """One line per operator: cases, right, refused, wrong, forms right, and the most common reason."""
    rows = defaultdict(list)
    for result in results:
        rows[result.op].append(result)
    lines = [
        f"{'operator':28} {'cases':>5} {'right':>5} {'refd':>5} {'wrong':>5} {'forms':>9}  most common reason"
    ]
    ranked = sorted(rows.items(), key=lambda row: (-sum(r.state != RIGHT for r in row[1]), row[0]))
    for op, cases in ranked:
        states = Counter(case.state for case in cases)
        forms = [form for case in cases for form in case.forms]
        right = sum(form.state == RIGHT for form in forms)
        reasons = Counter(
            form.rule for case in cases if case.state != RIGHT for form in case.forms if form.rule
        )
        reason = "; ".join(f"{rule} x{count}" for rule, count in reasons.most_common(2))
        bad = states[WRONG] + states[UNLOADABLE]
        lines.append(
            f"{op:28} {len(cases):5} {states[RIGHT]:5} {states[REFUSED]:5} {bad:5} "
            f"{f'{right}/{len(forms)}':>9}  {reason}"
        )
    return "\n".join(lines)


def run(prefixes: Sequence[str] = ()) -> Report:
    """Measure, print the table, and give the bars."""
    results = judged(outcomes(jobs(prefixes)))
    print(table(results), flush=True)
    counts = Counter(result.state for result in results)
    forms = Counter(form.state for result in results for form in result.forms)
    for result in results:
        for form in result.forms:
            if form.state in {WRONG, UNLOADABLE} or (prefixes and form.state != RIGHT):
                print(f"{form.state:10} {form.case} [{form.form}] {form.rule}: {form.reason}", flush=True)
    print(f"cases {dict(counts)}, forms {dict(forms)}", flush=True)
    bars = (
        Bar("share of right cases", counts[RIGHT] / max(len(results), 1), FLOOR, at_most=False),
        Bar("wrong values", counts[WRONG], 0),
        Bar("files that LiteRT refuses", counts[UNLOADABLE], 0),
    )
    by_op: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        by_op[result.op][result.state] += 1
    raw = {
        "cases": dict(counts),
        "forms": dict(forms),
        "operators": {op: dict(states) for op, states in sorted(by_op.items())},
        "refused": {
            result.name: result.forms[-1].reason if result.forms else ""
            for result in results
            if result.state == REFUSED
        },
    }
    return Report("onnx_nodes", bars, raw)


def _main() -> int:
    report = run(sys.argv[1:])
    for bar in report.bars:
        print(f"{'held' if bar.held else 'MISSED'}  {bar.name}: {bar.measured:.4g} (limit {bar.limit:g})")
    return 0 if all(bar.held for bar in report.bars) else 1


if __name__ == "__main__":
    sys.exit(_main())
