"""Seeds x generator --damage--> inputs --a child that serves the command line--> what must never happen.

A finding is one of: an exception that no verb expected · the main process died · it was silent for 30 s · it
wrote outside of its output folder, its cache and its temporary folder · a half-written file left ·
text that a terminal obeys.

    fuzz(seeds, count, seed) -> Outcome      the same seed gives the same inputs, whatever the child does
"""

from __future__ import annotations

import collections
import json
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.fuzz import mutate_bundle, mutate_bytes, mutate_onnx, mutate_tables
from tests.fuzz.seeds import ROOT, Seed

LIMIT_S = 30.0  # of silence: the bar
_IDLE_S = 0.3  # of processor time in LIMIT_S: a process that only waits takes some for its threads
RENEW = 400  # jobs of one child: what leaks shows as a finding of memory, not as the machine's end
DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "onnx": mutate_onnx.damage,
    "tflite": mutate_tables.damage_tflite,
    "xml": mutate_tables.damage_xml,
    "npz": mutate_tables.damage_npz,
    "toml": mutate_tables.damage_toml,
    "tar": mutate_bundle.damage_tar,
}
BYTES_SHARE = 0.4  # of the inputs that know nothing of their format
COMPILE_TARGETS = ("onnxruntime-cpu", "litert-cpu", "openvino-cpu", "portable")
# (kind, verb, share): verbs that open a runtime take a second each, those that read take milliseconds.
VERBS: tuple[tuple[str, str, float], ...] = (
    ("onnx", "inspect", 0.22),
    ("onnx", "compile", 0.15),
    ("onnx", "validate", 0.02),
    ("tflite", "inspect", 0.15),
    ("tflite", "validate", 0.02),
    ("xml", "inspect", 0.10),
    ("xml", "validate", 0.01),
    ("npz", "validate", 0.04),
    ("toml", "release", 0.09),
    ("bundle", "verify", 0.08),
    ("bundle", "inspect", 0.06),
    ("tar", "verify", 0.06),
)


@dataclass(frozen=True)
class Finding:
    """One input that did what none may do; ``kept`` is a copy of it."""

    what: str
    job: int
    verb: str
    kind: str
    detail: str
    kept: str


@dataclass
class Outcome:
    """What a run saw: findings, how often each verb gave each exit code, and the first lines of errors."""

    findings: list[Finding] = field(default_factory=list)
    codes: collections.Counter[tuple[str, str, int]] = field(default_factory=collections.Counter)
    inputs: int = 0
    said: collections.Counter[str] = field(default_factory=collections.Counter)


@dataclass(frozen=True)
class Healthy:
    """Labelled data, and the float model that it is for."""

    data: Path
    reference: Path


class Child:
    """A process that serves command lines; started when it is needed, replaced when it died."""

    def __init__(self, room: Path, cache: Path, program: Sequence[str] = ("-m", "tests.fuzz.child")) -> None:
        self._room, self._cache, self._program = room, cache, tuple(program)
        self._process: subprocess.Popen[str] | None = None
        self._served = 0

    def ask(self, args: Sequence[str], own: Sequence[Path]) -> dict[str, object] | str:
        """The answer, or why there is none."""
        if self._served >= RENEW:
            self.close()
        process = self._process or self._start()
        self._served += 1
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"args": list(args), "own": [str(path) for path in own]}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._dead(process)
        if why := _silence(process):
            self.close()
            return f"hang: {why}"
        line = process.stdout.readline()
        if not line:
            return self._dead(process)
        answer: dict[str, object] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process, self._served = None, 0

    def _start(self) -> subprocess.Popen[str]:
        home = self._room / "home"
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "HOME": str(home),
            "TMPDIR": str(self._room / "tmp"),
            "EDGEKIT_CACHE": str(self._cache),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",  # what an import writes is no finding
        }
        (self._room / "tmp").mkdir(exist_ok=True)
        log = (self._room / "child.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, *self._program],
            cwd=self._room,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        return self._process

    def _dead(self, process: subprocess.Popen[str]) -> str:
        code = process.wait()
        self.close()
        return f"crash: the main process ended with {code}"


def _silence(process: subprocess.Popen[str]) -> str:
    """Wait for an answer; "" where there is one, else how it hung.

    It hangs where it computes for ``LIMIT_S`` of processor time, or where ``LIMIT_S`` go by and it computes
    nothing: on a quiet machine both are the clock's, and on a busy one nobody is blamed for waiting his turn.
    """
    began = before = _processor_s(process.pid)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout or 0, selectors.EVENT_READ)
        while not selector.select(LIMIT_S):
            now = _processor_s(process.pid)
            if now - began >= LIMIT_S:
                return f"no answer after {now - began:.0f} s of processor time"
            if now - before < _IDLE_S:
                return f"no answer, and nothing computed for {LIMIT_S:g} s"
            before = now
    return ""


def _processor_s(pid: int) -> float:
    """Of a process, its children that live and those that ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return 0.0
    ticks = sum(int(each) for each in stat[11:15])  # utime, stime, cutime, cstime: fields 14 to 17 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK") + sum(_processor_s(int(child)) for child in children)


def fuzz(
    seeds: Sequence[Seed],
    *,
    count: int,
    seed: int,
    room: Path,
    cache: Path,
    healthy: Healthy,
    told: Callable[[str], None] = lambda _: None,
    program: Sequence[str] = ("-m", "tests.fuzz.child"),
) -> Outcome:
    """Damage ``count`` inputs and look what the verbs make of them.

    Args:
        seeds: healthy inputs (``seeds.plant``).
        count: how many inputs.
        seed: of the choice of inputs and of each damage.
        room: an empty folder of its own; findings are kept in room/findings.
        cache: of the verbs.
        healthy: what `validate` takes beside the damaged input.
        told: gets one line for each finding.
        program: of the child; a test hands in one that misbehaves.
    """
    outcome = Outcome()
    child = Child(room, cache, program)
    try:
        for job, (one, verb) in enumerate(_drawn(seeds, count, seed)):
            rng = np.random.default_rng((seed, job))
            case = room / "case"
            shutil.rmtree(case, ignore_errors=True)
            path = _damaged(one, case / "in", rng)
            out = case / "out"
            own = [out, cache, room / "tmp"]
            if verb == "release":
                own.append(path.parent)  # a recipe's lock lies beside it
            answer = child.ask(_words(verb, path, out, healthy, rng), own)
            found = judged(answer, room, out)
            outcome.inputs += 1
            if isinstance(answer, dict):
                outcome.codes[verb, one.kind, int(str(answer["code"]))] += 1
                outcome.said[f"{verb} {one.kind}: {str(answer['message']).partition(chr(10))[0][:160]}"] += 1
            if found:
                what, detail = found
                kept = room / "findings" / f"{job}-{verb}-{one.kind}"
                shutil.copytree(case / "in", kept, symlinks=True)
                outcome.findings.append(Finding(what, job, verb, one.kind, detail, str(kept)))
                told(f"{job} {verb} {one.kind}: {what}: {detail.strip().rpartition(chr(10))[2]}")
                for strange in _strange(room):
                    shutil.rmtree(strange, ignore_errors=True) if strange.is_dir() else strange.unlink()
    finally:
        child.close()
    return outcome


ROOM = {"case", "home", "tmp", "child.log", "findings", "cache", "seeds"}


def _strange(room: Path) -> list[Path]:
    """What lies in the room and nobody put there: a path that climbed out."""
    return [path for path in room.iterdir() if path.name not in ROOM]


def _drawn(seeds: Sequence[Seed], count: int, seed: int) -> Iterator[tuple[Seed, str]]:
    rng = np.random.default_rng(seed)
    shares = np.array([share for _, _, share in VERBS])
    for row in rng.choice(len(VERBS), count, p=shares / shares.sum()):
        kind, verb, _ = VERBS[int(row)]
        held = [one for one in seeds if one.kind == kind]
        yield held[int(rng.integers(len(held)))], verb


def _damaged(one: Seed, folder: Path, rng: np.random.Generator) -> Path:
    """A damaged copy in ``folder``; sidecars stay behind, so that the file stands for itself."""
    folder.mkdir(parents=True)
    path = folder / one.path.name
    if one.kind == "bundle":
        shutil.copytree(one.path, path)
        mutate_bundle.damage_folder(path, rng)
        return path
    for each in one.beside:
        shutil.copy(each, folder)
    content = one.path.read_bytes()
    blind = rng.random() < BYTES_SHARE
    path.write_bytes((mutate_bytes.damage if blind else DAMAGES[one.kind])(content, rng))
    return path


def _words(verb: str, path: Path, out: Path, healthy: Healthy, rng: np.random.Generator) -> list[str]:
    data, reference = str(healthy.data), str(healthy.reference)
    match verb:
        case "compile":
            target = COMPILE_TARGETS[int(rng.integers(len(COMPILE_TARGETS)))]
            return ["compile", str(path), "--target", target, "-o", str(out), "-q"]
        case "release":
            return ["release", str(path), "-o", str(out), "-q"]
        case "validate" if path.suffix == ".npz":
            return ["validate", reference, "--reference", reference, "--data", str(path), "-q"]
        case "validate":
            return ["validate", str(path), "--reference", reference, "--data", data, "-q"]
        case _:
            return [verb, str(path), "-q"]


def judged(answer: dict[str, object] | str, room: Path, out: Path) -> tuple[str, str] | None:
    if isinstance(answer, str):
        return answer.split(":")[0], answer
    if answer["trace"]:
        return "exception", str(answer["trace"])
    if answer["wrote"]:
        return "wrote outside", str(answer["wrote"])
    if strange := _strange(room):
        return "wrote outside", str([path.name for path in strange])
    if answer["unsafe"]:
        return "unsafe text", ascii(answer["unsafe"]) + " in " + ascii(answer["message"])
    partial = [path.name for path in out.rglob("*.draft")] if out.is_dir() else []
    if partial:
        return "half-written", str(partial)
    return None
