"""`bench --sustained` and `--energy` with the real agent and a small model; a minute is half a second."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.cli.main import run as run_cli
from edgekit.errors import ExitCode, InputError
from edgekit.measure import agent, device_job
from edgekit.measure.device_address import Address, parse
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.devices import DeviceOptions
from edgekit.measure.sustained import Plan
from edgekit.pipeline.bench import sustained
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.result import (
    BenchResult,
    BenchRow,
    DisturbanceRow,
    FactorRow,
    LatencyRow,
    SustainedResult,
)
from edgekit.spec import Silent
from tests.unit.measure import loopback
from tests.unit.measure.loopback import Sshd
from tests.unit.measure.test_agent import small_model

LOCAL = NamedDevice("local", Address("local", "local"), DeviceOptions())
PLAN = Plan(3, minute_s=0.5, idle_s=0.1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "m.onnx")


def measured(model: Path, **changed: Any) -> SustainedResult:
    given: dict[str, Any] = {"devices": (), "sweep": Sweep(), "seed": 0, "progress": Silent(), "plan": PLAN}
    return sustained.sustain(model, **{**given, **changed})


def agent_with_a_clock(folder: Path) -> Path:
    """The agent, whose minutes are counted by how often it looks at the clock.

    How busy the machine is then moves no minute: by its own clock, a turn that waits for half a second
    passes over one, and that is right. Inferences are timed by the real one.
    """
    text = Path(agent.__file__).read_text("utf-8")
    before, begin, rest = text.partition("class Sustained(Bench):")
    own, end, after = rest.partition("class Replay(Bench):")
    assert own.count("time.monotonic()") >= 4
    clock = "import itertools\n\nCLOCK = itertools.count(0, 1 / 512)  # a tick is exact in binary\n\n\n"
    path = folder / "agent_with_a_clock.py"
    path.write_text(
        before + clock + begin + own.replace("time.monotonic()", "next(CLOCK)") + end + after, "utf-8"
    )
    return path


def test_every_minute_is_there(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "__file__", str(agent_with_a_clock(tmp_path)))
    found = measured(model, plan=Plan(3, minute_s=0.25, idle_s=0.1))
    (row,) = found.rows
    assert [(minute.index, minute.whole) for minute in row.minutes] == [(0, True), (1, True), (2, True)]
    assert all(0 < minute.p50_ms <= minute.p95_ms for minute in row.minutes)
    assert all(minute.runs > 0 and minute.per_s > 0 for minute in row.minutes)
    assert row.factor is not None
    assert row.verdict in ("steady", "throttled", "undecided")  # what the machine does is its own affair
    assert (row.incomplete, row.facts["runtime"]) == ("", "onnxruntime")
    assert found.exit_code is ExitCode.OK
    assert len(found.environments) == 1


class Impatient(Silent):
    """Presses Ctrl-C when the second minute begins."""

    def advance(self, steps: int = 1) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_gives_what_had_arrived(model: Path) -> None:
    found = measured(model, plan=Plan(1000, minute_s=0.5, idle_s=0.1), progress=Impatient())
    (row,) = found.rows
    assert found.exit_code is ExitCode.INTERRUPTED
    assert row.minutes
    assert len(row.minutes) < 1000
    assert row.incomplete == "interrupted"
    text = report.render_text(found, width=150)
    assert "of 1000 minutes: interrupted" in text
    assert "verdict: interrupted" in text


class AtOnce(Silent):
    """Presses Ctrl-C before anything has arrived."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def follow(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(sustained, "_follow", follow)


def test_an_interrupt_before_the_first_turn_is_an_interrupt(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        measured(model, progress=AtOnce(monkeypatch))


def test_an_interrupted_run_writes_its_report(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = replace(measured(model), exit_code=ExitCode.INTERRUPTED)
    monkeypatch.setattr(sustained, "sustain", lambda *_, **__: found)
    written = tmp_path / "r.json"
    assert run_cli(["bench", str(model), "--sustained", "10m", "--report", f"json:{written}"]) == 130
    assert json.loads(written.read_text())["status"] == "interrupted"
    caught = capsys.readouterr()
    assert "interrupted: this is what had arrived" in caught.out
    assert "nothing half-written" not in caught.err
    assert run_cli(["bench", str(model), "--sustained", "10m", "--format", "json"]) == 130
    assert json.loads(capsys.readouterr().out)["status"] == "interrupted"  # one document


def test_several_devices_run_at_the_same_time(model: Path) -> None:
    second = replace(LOCAL, name="other")
    found = measured(model, devices=(LOCAL, second))
    assert [row.device for row in found.rows] == ["local", "other"]
    assert [each.status for each in found.devices] == ["complete", "complete"]


def test_a_lost_device_keeps_what_had_arrived(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    real = device_job.events_of

    def breaks(lines: Any) -> Any:
        for event in real(lines):
            heard.append(event["event"])
            if heard.count("turn") == 3:
                return
            yield event

    monkeypatch.setattr(device_job, "events_of", breaks)
    found = measured(model, plan=Plan(1000, minute_s=0.5, idle_s=0.1))
    (row,) = found.rows
    assert found.exit_code is ExitCode.INCONCLUSIVE
    assert row.incomplete == "the agent ended before it was done"
    assert row.minutes
    assert sum(minute.runs for minute in row.minutes) > 0


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    found = loopback.start(tmp_path_factory.mktemp("sshd"))
    yield found
    found.stop()


class Killer(Silent):
    """Kills the server's connections when the second minute begins."""

    def __init__(self, sshd: Sshd) -> None:
        self.sshd, self.killed = sshd, 0

    def advance(self, steps: int = 1) -> None:
        for process in self.sshd.sessions() if not self.killed else ():
            os.kill(process, signal.SIGKILL)
            self.killed += 1


def test_a_killed_ssh_connection_keeps_what_had_arrived(sshd: Sshd, model: Path) -> None:
    options = DeviceOptions(python=sys.executable, ssh_options=sshd.options)
    device = NamedDevice("board", parse(sshd.address), options)
    killer = Killer(sshd)
    found = measured(model, devices=(device,), plan=Plan(1000, minute_s=0.5, idle_s=0.1), progress=killer)
    assert killer.killed
    (row,) = found.rows
    assert row.minutes
    assert row.incomplete
    assert (found.devices[0].status, found.exit_code) == ("incomplete", ExitCode.INCONCLUSIVE)


def test_a_file_that_does_not_open_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(small_model(tmp_path / "m.onnx").read_bytes().replace(b"MatMul", b"NoSuch"))
    found = measured(bad)
    assert found.rows == ()
    (failure,) = found.failures
    assert (failure.artifact, failure.kind) == (str(bad), "error")
    assert found.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"plan": Plan(1)}, "too short"),
        ({"sweep": Sweep(batches=(1, 2))}, "one set of conditions"),
        (
            {"devices": (replace(LOCAL, options=DeviceOptions(benchmark_model=Path("b"))),)},
            "benchmark_model",
        ),
    ],
    ids=["one minute", "two batches", "no agent"],
)
def test_what_is_refused(changed: dict[str, Any], what: str, model: Path) -> None:
    with pytest.raises(InputError, match=what):
        measured(model, **changed)


@pytest.mark.parametrize(
    ("artifacts", "given", "what"),
    [
        (("a", "b"), {}, "2 is named"),
        ((), {}, "none is named"),
        (("a",), {"--baseline": Path("b")}, "--baseline do not go together"),
        (("a",), {"--profile": True}, "--profile"),
    ],
)
def test_sustained_goes_alone(artifacts: tuple[str, ...], given: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        sustained.check_alone([Path(each) for each in artifacts], given=given)
    sustained.check_alone([Path("a")], given={"--baseline": None, "--profile": False})


def bench_result(model: Path) -> BenchResult:
    golden = Path(__file__).parents[2] / "golden" / "report" / "bench.json"
    plain = TypeAdapter(BenchResult).validate_python(json.loads(golden.read_text("utf-8")))
    latency = LatencyRow(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 10, stable=True)
    return replace(plain, rows=(BenchRow(str(model), "onnxruntime", latency),))


def energies(model: Path) -> BenchResult:
    return sustained.with_energy(
        bench_result(model),
        devices=(),
        sweep=Sweep(),
        seed=0,
        progress=Silent(),
        plan=Plan(1, minute_s=0.3, idle_s=0.2),
    )


def agent_of(sys: Path, folder: Path) -> Path:
    """The agent, whose /sys is a folder."""
    text = Path(agent.__file__).read_text("utf-8")
    assert 'Path("/sys")' in text
    path = folder / "agent_with_sensors.py"
    path.write_text(text.replace('Path("/sys")', f"Path({str(sys)!r})"), "utf-8")
    return path


def test_energy_comes_from_a_meter(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sensor that always says 3 W: at rest too, so that nothing is left for an inference."""
    chip = tmp_path / "sys/class/hwmon/hwmon0"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ina219\n")
    (chip / "power1_input").write_text("3000000\n")
    monkeypatch.setattr(agent, "__file__", str(agent_of(tmp_path / "sys", tmp_path)))
    (row,) = energies(model).energy
    assert (row.meter, row.reason) == ("ina219 hwmon0", "")
    assert row.watts == pytest.approx(3.0)
    assert row.idle_watts == pytest.approx(3.0)
    assert row.joules == pytest.approx(0.0, abs=1e-9)
    assert row.runs > 0
    text = report.render_text(energies(model), width=180)
    assert "without the idle part" in text


def test_without_a_meter_there_is_no_figure(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "__file__", str(agent_of(tmp_path / "nothing", tmp_path)))
    found = energies(model)
    (row,) = found.energy
    assert (row.meter, row.joules, row.watts) == ("", None, None)
    assert "no meter: no RAPL, no INA sensor and no battery" in report.render_text(found, width=180)


def test_an_artifact_whose_energy_cannot_be_measured_says_why(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(small_model(tmp_path / "m.onnx").read_bytes().replace(b"MatMul", b"NoSuch"))
    (row,) = energies(bad).energy
    assert (row.meter, row.joules) == ("", None)
    assert row.reason.startswith("not measured: ")
    assert "NoSuch" in row.reason


def test_other_work_is_named_beside_the_factor(model: Path) -> None:
    """Throttled beside W1 need not be heat; without it nothing is added."""
    found = measured(model)
    (row,), (seen,) = found.rows, found.environments
    slowed = replace(row, verdict="throttled", factor=FactorRow(1.3, 1.25, 1.35))
    busy = replace(seen, disturbances=(DisturbanceRow("", "W1", "stress", "stop it"),))
    hot = replace(seen, disturbances=(DisturbanceRow("", "W5", "hot", "cool it"),))
    words = "other work on the machine may be why"
    assert words in report.render_text(replace(found, rows=(slowed,), environments=(busy,)))
    assert words not in report.render_text(replace(found, rows=(slowed,), environments=(hot,)))
