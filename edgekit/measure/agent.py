"""job.json on a device -> one JSON line for each event on stdout: samples as they arrive, then a summary.

    python agent.py run job.json        measure; the job is written by ``edgekit bench --device``
    python agent.py install job.json    a virtual environment in the job's folder, with what the job needs
    python agent.py facts               what is known of this machine

This file travels alone: Python >= 3.9, NumPy and one runtime are all that it needs, and it imports nothing of
edgekit. It measures as edgekit/measure/replicate.py and timer.py do: launch after launch of a fresh process
for each artifact, warm-up until the running median settles, rounds A B | B A | ..., a monotonic clock around
one inference. When there are launches enough, edgekit hangs up (L1).

E1 "start" machine, versions · E2 "opened" start in parts, memory · E3 "warm" runs in a round ·
E4 "block" samples of one round in ns · E5 "failed" an artifact that is out, and why; the others go on ·
E6 "alive" every few seconds, with the machine's state · E7 "summary" peak memory, state, who used the CPU ·
E8 "installed" · E9 "rounds" the machine's state before the first of them · E10 "idle" its state before the
first turn, several times in a rest where there is a meter · E11 "turn" of a sustained run, state at its end ·
E12 "launched" as E7, after each launch but the last. E2, E3 and E4 say of which launch · E13 "outputs" of a
replay: what an artifact gave for one batch, an .npz in pieces of base64.

L1 standard input is the life-line: when it ends (a lost connection), children end and the folder goes.
L2 native code may print where it likes: a child's descriptor 1 is moved away before any of it is loaded.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import math
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

PROTOCOL = 2  # edgekit refuses another number: agent and edgekit travel together

# As edgekit/measure/timer.py and replicate.py, where the reasons stand.
ROUNDS = 8
ROUND_MS = 30.0
MOST_RUNS = 500
LEAD_IN_FROM = 4
WARM_UP_WINDOWS = 40
WARM_UP_MS = 1500.0
WINDOW_MS = 5.0
SETTLED_WINDOW = 3
SETTLED_TOLERANCE = 0.05

TURNS = 12  # in a minute of a sustained run: units for its interval, and what a lost connection costs at most
RESTS = 7  # readings in a rest
KEPT = 500  # samples of a turn that travel, evenly over time
ASKED_S = 0.25  # of inferences in one request: a turn ends in time
MOST_ASKED = 20_000  # in one request

ALIVE_S = 2.0  # between two signs of life; edgekit gives a silent device up after many of them
REPLY_S = 300.0  # for one answer of a child: a round is one inference at least
DYING_S = 10.0  # a dying process may write a core file first
HASHED_BYTES = 1 << 16
PIECE_BYTES = 3 << 16  # of outputs in one line: a multiple of 3, so that pieces join as base64 does
QUOTED = 400  # characters of a child's last words
LEAST_PYTHON = (3, 9)

# As edgekit/settings.py: no telemetry (ONNX Runtime writes a session file into TMPDIR otherwise), no banners.
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CI": "true"}

PACKAGES = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert", "openvino": "openvino"}
TOO_NEW = "Didn't find op for builtin opcode"  # tflite/core/api/op_resolver.cc
TFLITE_MODULES = ("ai_edge_litert", "tflite_runtime")

MEMORY_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # cgroup v2, v1
NO_LIMIT = 1 << 62  # cgroup v1 writes a number near 2**63 where there is no memory limit

# Names in /proc/cpuinfo that the runtimes' kernels select on (MLAS, oneDNN, XNNPACK), in the order in which
# they are shown.
TELLING_FEATURES = (
    *("avx", "fma", "f16c", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)

# A process starts its children by this name, where it cannot by its own: an emulator without binfmt_misc.
OWN_PYTHON = "EDGEKIT_AGENT_PYTHON"
EMULATED = "EDGEKIT_EMULATED"  # whoever knows that a machine is emulated says by what

_writing = threading.Lock()


def emit(event: str, **values: Any) -> None:
    """One line on stdout. A reader that has gone raises OSError."""
    line = json.dumps({"edgekit": PROTOCOL, "event": event, **values})
    with _writing:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


# ---- the machine: edgekit/measure/machine.py and conditions.py read this one with the same functions

Processes = Dict[int, Tuple[str, int, float, float]]  # at run time: Python 3.9
PROC, SYS = Path("/proc"), Path("/sys")  # parameters below, so that tests can show another machine
CPU_ZONES = ("cpu", "pkg", "soc", "core")  # in the type of a thermal zone; "acpitz" or "iwlwifi" are not it
FAMILIES = (
    *(("x86", "x86"), ("i386", "x86"), ("i686", "x86"), ("amd64", "x86")),
    *(("arm", "arm"), ("aarch64", "arm")),
)
CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal")  # hwmon drivers of CPUs


def _text(path: Any) -> str:
    """The file's text, "" where it is not there or may not be read."""
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path).strip(), 0)
    except ValueError:
        return None


def _numbers(folder: Path, pattern: str) -> list[int]:
    """The integers in the files that match ``pattern``; what cannot be read is left out."""
    found = (_number(path) for path in sorted(folder.glob(pattern)))
    return [each for each in found if each is not None]


def _fields(text: str) -> dict[str, str]:
    """Lines "name: value"; the first of a name counts."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def usable_cores() -> list[int]:
    """The cores that this process may run on, by their numbers in /proc/stat."""
    affinity = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def _cgroups(proc: Path, sys: Path) -> list[Path]:
    """Folders of the CPU controller that bind this process, its own and those above (cgroups(7), v2 and v1).

    In a container the path in /proc/self/cgroup may be the host's: then the mount's root is all there is.
    """
    found = [sys / "fs/cgroup", sys / "fs/cgroup/cpu"]
    for line in _text(proc / "self/cgroup").splitlines():
        parts = line.split(":", 2)  # "0::/path" or "4:cpu,cpuacct:/path"
        if len(parts) < 3 or (parts[1] and "cpu" not in parts[1].split(",")):
            continue
        root = found[1] if parts[1] else found[0]
        inner = root / parts[2].strip("/")
        found += [each for each in (inner, *inner.parents) if root in each.parents]
    return found


def cpu_limit(proc: Path = PROC, sys: Path = SYS) -> float | None:
    """CPUs' worth of time that the tightest cgroup grants; None = no limit."""
    limits = []
    for folder in _cgroups(proc, sys):
        quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
        if not quota:
            quota = _text(folder / "cpu.cfs_quota_us").strip()
            period = _text(folder / "cpu.cfs_period_us").strip()
        if quota.isdecimal() and period.isdecimal() and int(period):  # "max" or -1: no limit
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _throttled(proc: Path, sys: Path) -> dict[str, float]:
    """How often and how long a cgroup's quota stopped this process since it exists; the worst cgroup."""
    worst: dict[str, float] = {}
    for folder in _cgroups(proc, sys):
        lines = [line.split() for line in _text(folder / "cpu.stat").splitlines()]
        counts = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}
        if "nr_throttled" in counts:
            stopped_s = counts.get("throttled_usec", 0) / 1e6 or counts.get("throttled_time", 0) / 1e9
            if stopped_s >= worst.get("throttled_s", 0.0):
                worst = {"throttled_periods": counts["nr_throttled"], "throttled_s": stopped_s}
    return worst


def ticks_per_second() -> int:
    """The unit of times in /proc."""
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _cpu_times(proc: Path, cores: list[int]) -> dict[str, float]:
    """Seconds that ``cores`` worked, that a hypervisor kept from them, and all (proc(5), /proc/stat)."""
    tick = ticks_per_second()
    wanted = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in _text(proc / "stat").splitlines()]
    times = [[int(each) for each in row[1:9]] for row in rows if row and row[0] in wanted and len(row) > 8]
    if not times:
        return {}
    user, nice, system, idle, wait, irq, soft, steal = (sum(each) / tick for each in zip(*times))
    busy = user + nice + system + irq + soft
    return {"busy_s": busy, "steal_s": steal, "cpu_s": busy + steal + idle + wait}


def processes(proc: Path = PROC) -> Processes:
    """Name, parent, CPU seconds and those of children that it has waited for, by process (proc(5))."""
    tick = ticks_per_second()
    found = {}
    for path in proc.glob("[0-9]*/stat"):
        head, _, rest = _text(path).rpartition(")")
        fields = rest.split()
        if len(fields) > 14:
            user, system, child_user, child_system = (int(each) / tick for each in fields[11:15])
            name = head.partition("(")[2]
            found[int(path.parent.name)] = (name, int(fields[1]), user + system, child_user + child_system)
    return found


def _own(table: Processes, root: int) -> set[int]:
    """``root`` and all that descend from it."""
    own = {root}
    while True:
        more = {pid for pid, (_, parent, *_) in table.items() if parent in own} - own
        if not more:
            return own
        own |= more


def busiest(
    before: Processes,
    after: Processes,
    root: int | None = None,
) -> list[tuple[str, float]]:
    """Names and seconds of others' processes that used most CPU between two tables; three at most."""
    own = _own(after, os.getpid() if root is None else root)
    used: Dict[str, float] = {}
    for pid, (name, _, seconds, _) in after.items():
        if pid not in own:
            used[name] = used.get(name, 0.0) + seconds - (before[pid][2] if pid in before else 0.0)
    return sorted((each for each in used.items() if each[1] > 0), key=lambda each: -each[1])[:3]


def _temperature(sys: Path) -> dict[str, float]:
    """The hottest sensor of the CPU in degrees C, and from where on its system slows down."""
    sensors = []  # (milli-degrees, limits, whether it is the CPU's)
    for zone in sys.glob("class/thermal/thermal_zone*"):
        kind = _text(zone / "type").lower()
        trips = [
            _number(zone / f"trip_point_{index}_temp")
            for index in range(12)  # THERMAL_MAX_TRIPS
            if _text(zone / f"trip_point_{index}_type").strip() in ("passive", "hot", "critical")
        ]
        sensors.append((_number(zone / "temp"), trips, any(each in kind for each in CPU_ZONES)))
    for monitor in sys.glob("class/hwmon/hwmon*"):
        if _text(monitor / "name").strip() in CPU_SENSORS:
            for path in monitor.glob("temp*_input"):
                stem = path.name[: -len("_input")]
                limits = [_number(monitor / f"{stem}_{each}") for each in ("max", "crit")]
                sensors.append((_number(path), limits, True))
    valid = [(heat, limits, own) for heat, limits, own in sensors if heat is not None and 0 < heat < 150_000]
    chosen = [each for each in valid if each[2]] or valid
    if not chosen:
        return {}
    hottest, limits, _ = max(chosen, key=lambda each: each[0])
    known = [each / 1e3 for each in limits if each is not None and 40_000 < each < 150_000]
    found = {"temperature_c": hottest / 1e3}
    if known:
        found["temperature_limit_c"] = min(known)
    return found


def energy(sys: Path = SYS) -> Dict[str, Any]:
    """Counters of energy and sensors of power; those that only root may read are named.

    powercap/intel-rapl (Documentation/power/powercap): a counter in uJ that starts again at its range; AMD
    has it too. "core" and "uncore" are inside the package, "psys" is around it. INA sensors (hwmon) measure
    a rail of a board; a battery that discharges measures all of a device.
    """
    counters, denied, power = {}, [], {}
    for zone in sorted(sys.glob("class/powercap/intel-rapl:*")):
        name = _text(zone / "name").strip()
        if name.startswith("package") or name == "dram":
            try:
                counters[f"{name} {zone.name}"] = [
                    int((zone / "energy_uj").read_text()),
                    _number(zone / "max_energy_range_uj") or 0,
                ]
            except PermissionError:
                denied.append(str(zone / "energy_uj"))
            except (OSError, ValueError):
                continue
    for monitor in sorted(sys.glob("class/hwmon/hwmon*")):
        chip = _text(monitor / "name").strip()
        for channel in range(1, 5) if chip.startswith("ina") else ():  # the ina3221 has three
            label = _text(monitor / f"in{channel}_label") or _text(monitor / f"power{channel}_label")
            uw = _number(monitor / f"power{channel}_input")
            if uw is None:  # mV and mA
                mv, ma = (_number(monitor / f"{kind}{channel}_input") for kind in ("in", "curr"))
                uw = mv * ma if mv is not None and ma is not None else None
            if uw is not None:
                power[f"{chip} {label.strip() or monitor.name}"] = uw
    for supply in sorted(sys.glob("class/power_supply/*")):
        discharging = _text(supply / "status").strip() == "Discharging"
        if discharging and _text(supply / "type").strip() == "Battery":
            uw = _number(supply / "power_now")
            ua, uv = _number(supply / "current_now"), _number(supply / "voltage_now")
            if uw is None and ua is not None and uv is not None:
                uw = round(ua * uv / 1e6)
            if uw is not None and _text(supply / "scope").strip() != "Device":
                power[f"battery {supply.name}"] = abs(uw)  # some drivers count what flows out below zero
    found = {"energy_uj": counters, "power_uw": power, "energy_denied": denied}
    return {name: value for name, value in found.items() if value}


def _supply(sys: Path) -> dict[str, Any]:
    """Whether a battery or the mains feeds this machine (Documentation/ABI/testing/sysfs-class-power)."""
    found: dict[str, Any] = {}
    for supply in sorted(sys.glob("class/power_supply/*")):
        if _text(supply / "type").strip() == "Battery":
            if _text(supply / "scope").strip() != "Device":  # a mouse has one too
                found.setdefault("battery", _text(supply / "status").strip())
                found.setdefault("battery_percent", _number(supply / "capacity"))
        elif _number(supply / "online") is not None:
            found["plugged"] = found.get("plugged", False) or _number(supply / "online") != 0
    return {name: value for name, value in found.items() if value not in (None, "")}


def state(
    proc: Path = PROC,
    sys: Path = SYS,
    *,
    cores: list[int] | None = None,
    table: Processes | None = None,
    root: int | None = None,
) -> dict[str, Any]:
    """What changes while one measures; a fact that the system does not show is left out.

    Args:
        proc: where procfs is.
        sys: where sysfs is.
        cores: whose times count; those that this process may use.
        table: ``processes``, for the time that ``root`` and its descendants used.
        root: this process.
    """
    cores = usable_cores() if cores is None else cores
    facts: dict[str, Any] = {"at_s": time.monotonic()}
    cpus = sys / "devices/system/cpu"
    frequencies = [_number(cpus / f"cpu{core}/cpufreq/scaling_cur_freq") for core in cores]
    if any(frequencies):
        facts["frequency_mhz"] = round(max(filter(None, frequencies)) / 1e3)
    facts.update(_temperature(sys))
    load = _text(proc / "loadavg").split()
    if load:
        facts["load"] = float(load[0])
    elif proc == PROC and hasattr(os, "getloadavg"):  # macOS
        facts["load"] = round(os.getloadavg()[0], 2)
    facts.update(_cpu_times(proc, cores))
    facts.update(_throttled(proc, sys))
    facts.update(_supply(sys))
    facts.update(energy(sys))
    swapped = [line.split()[1] for line in _text(proc / "vmstat").splitlines() if line.startswith("pswpin ")]
    if swapped:
        facts["swapped_in_pages"] = int(swapped[0])
    # Intel counts for each core, and for the package once more in every core of it
    slowed = _numbers(cpus, "cpu*/thermal_throttle/core_throttle_count")
    package = _numbers(cpus, "cpu*/thermal_throttle/package_throttle_count")
    if slowed or package:
        facts["thermal_events"] = sum(slowed) + max(package, default=0)
    for path in sys.glob("devices/platform/soc*/soc*firmware/get_throttled"):  # Raspberry Pi, in hex
        facts["firmware_throttled"] = int(_text(path) or "0", 16)
    if table is not None:
        own = _own(table, os.getpid() if root is None else root)
        facts["own_s"] = sum(sum(table[pid][2:]) for pid in own if pid in table)
    return facts


def reading(**given: Any) -> dict[str, Any]:
    """``state``; what cannot be understood must not end a measurement."""
    try:
        return state(**given)
    except (ValueError, IndexError, OSError):
        return {"at_s": time.monotonic()}


def _switch(value: int | None, on: int) -> str:
    return "" if value is None else "on" if value == on else "off"


def cpu_features(proc: Path = PROC) -> list[str]:
    """Those of TELLING_FEATURES that /proc/cpuinfo names."""
    fields = _fields(_text(proc / "cpuinfo"))
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return [name for name in TELLING_FEATURES if name in flags]


def versions() -> dict[str, str]:
    """What is installed of the packages that runtimes come in."""
    from importlib import metadata

    found = {}
    for name in ("onnxruntime", "openvino", "ai-edge-litert", "tflite-runtime", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _family(architecture: str) -> str:
    """x86_64 and i686 -> x86, aarch64 and armv7l -> arm: a kernel runs the smaller ones of its family too."""
    name = architecture.lower()
    return next((family for prefix, family in FAMILIES if name.startswith(prefix)), name)


def emulated(proc: Path = PROC, sys: Path = SYS, *, own: str = "") -> str:
    """By what this process is emulated, as far as anything shows it; "" = nothing does.

    User-mode QEMU gives its guest an own uname, /proc/cpuinfo and /proc/self/exe, and leaves the rest of
    /proc and /sys as the host has them (linux-user/syscall.c). A whole machine that is emulated shows
    nothing that a virtual one does not: EDGEKIT_EMULATED says so, or ``emulated = true`` in devices.toml.
    """
    if os.environ.get(EMULATED):
        return os.environ[EMULATED]
    own = own or platform.machine()
    try:
        program = os.readlink(str(proc / "thread-self/exe")).rpartition("/")[2]  # noqa: PTH115 - Python 3.9
    except OSError:
        program = ""
    if program.startswith("qemu-"):
        return f"QEMU ({program})"
    if "VirtualApple" in _text(proc / "cpuinfo"):
        return "Rosetta"
    kernel = _text(proc / "sys/kernel/arch").strip()  # Linux 6.1
    if not kernel:  # "cpu:type:x86,ven0000...", "cpu:type:aarch64:feature:..."
        said = _text(sys / "devices/system/cpu/modalias").partition("cpu:type:")[2]
        kernel = said.split(",")[0].split(":")[0].strip()
    if kernel and _family(kernel) != _family(own):
        return f"{own} on a {kernel} kernel"
    return ""


def machine(proc: Path = PROC, sys: Path = SYS) -> dict[str, Any]:
    """Facts of this machine that stay: CPU, features, cores, limits, memory, clock, system, versions."""
    fields = _fields(_text(proc / "cpuinfo"))
    part = [fields.get("CPU implementer", ""), fields.get("CPU part", "")]
    model = _text(proc / "device-tree/model").strip("\0\n ")
    arm = " ".join(["ARM", *part]) if all(part) else ""  # Documentation/arch/arm64/cpu-features
    cpus = sys / "devices/system/cpu"
    turbo = _switch(_number(cpus / "intel_pstate/no_turbo"), 0) or _switch(_number(cpus / "cpufreq/boost"), 1)
    clock = {
        name: _number(cpus / "cpu0/cpufreq" / file)
        for name, file in (
            ("frequency_min_mhz", "cpuinfo_min_freq"),
            ("frequency_max_mhz", "cpuinfo_max_freq"),
            ("frequency_base_mhz", "base_frequency"),
        )
    }
    memory = [_fields(_text(proc / "meminfo")).get("MemTotal", "").replace("kB", "").strip()]
    sizes = [int(each) * 1024 for each in memory if each.isdecimal()]
    limits = [_text(sys / "fs/cgroup" / name).strip() for name in MEMORY_LIMITS]
    sizes += [int(each) for each in limits if each.isdecimal() and int(each) < NO_LIMIT]
    return {
        "cpu": fields.get("model name") or fields.get("Hardware") or arm or model or platform.processor(),
        "board": model,
        "architecture": platform.machine(),
        "emulated": emulated(proc, sys),
        "features": cpu_features(proc),
        "cores": len(usable_cores()),
        "cpu_limit": cpu_limit(proc, sys),
        "memory_bytes": min(sizes, default=0),
        "governor": _text(cpus / "cpu0/cpufreq/scaling_governor").strip(),
        "frequency_driver": _text(cpus / "cpu0/cpufreq/scaling_driver").strip(),
        **{name: round(khz / 1e3) for name, khz in clock.items() if khz},
        "smt": _switch(_number(cpus / "smt/active"), 1),
        "turbo": turbo,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions(),
    }


# ---- the child: one artifact on its runtime


class Refusal(Exception):
    """An artifact that cannot be run here; ``kind`` is "missing" (package or device) or "error"."""

    def __init__(self, kind: str, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.kind, self.what, self.remedy = kind, what, remedy


Invoke = Callable[[], Optional[float]]  # ns by the runtime's own clock, where that is the better one


class Opened(NamedTuple):
    """An artifact on its runtime: other inputs of the same shapes, one inference, its outputs, what runs."""

    refill: Callable[[List[Any]], None]
    invoke: Invoke
    fetch: Callable[[List[str]], List[Any]]
    facts: Dict[str, str]


def pin(cores: list[int]) -> None:
    """Run on these CPUs only: a mask is a thread's, and later threads have that of the one that starts them.

    As edgekit/backends/affinity.py.
    """
    if not cores:
        return
    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    missing = sorted(set(cores) - set(here))
    if missing:
        allowed = f"this process may run on {here}" if here else "this system pins no process"
        raise Refusal("error", f"core {missing[0]} is not to be had: {allowed}", "name others with --pin")
    for task in Path("/proc/self/task").glob("*"):
        os.sched_setaffinity(int(task.name), cores)


def pinned_to() -> str:
    """The CPUs that any thread of this process may use: "0,1,3"."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*"):
        try:
            found.update(os.sched_getaffinity(int(task.name)))
        except OSError:  # it has ended
            continue
    return ",".join(map(str, sorted(found)))


def _missing(package: str, error: Exception, pip: str = "") -> Refusal:
    line = f"{sys.executable} -m pip install {pip or package}"
    return Refusal(
        "missing", f"{package} cannot be imported: {error}", f"{line}  (on the device), or --install"
    )


def _import_numpy() -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise _missing("numpy", error) from error
    return np


def _onnxruntime(artifact: dict[str, Any], feeds: list[Any]) -> Opened:
    """As edgekit/backends/onnxruntime_engine.py: every option said, no fall-back to another device."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise _missing("onnxruntime", error) from error
    if artifact["device"] not in {"cpu", "cuda"}:  # else it would run on the CPU, and nobody would know
        why = "the agent does not run ONNX Runtime's WebGPU provider"
        raise Refusal("missing", why, "install edgekit[webgpu] there, and run edgekit on that machine itself")
    settings, cuda = _without_providers(artifact["settings"])
    levels = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = artifact["threads"]
    options.inter_op_num_threads = 1
    options.graph_optimization_level = levels[settings.pop("graph_optimization_level", "all")]
    entries = {"session.intra_op.allow_spinning": "0", **settings}
    provider: str = "CPUExecutionProvider"
    if artifact["device"] == "cuda":
        provider = "CUDAExecutionProvider"
        if ["provider", "tensorrt"] in [list(pair) for pair in artifact["settings"]]:
            why = "the agent does not run ONNX Runtime's TensorRT provider, and CUDA's is no substitute"
            raise Refusal("missing", why, "run edgekit on that machine itself")
        entries.setdefault("session.disable_cpu_ep_fallback", "1")  # "0" only where a recipe allows it
        entries["session.record_ep_graph_assignment_info"] = "1"
        if provider not in ort.get_available_providers():
            raise Refusal("missing", "this onnxruntime has no CUDA provider", "install onnxruntime-gpu there")
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    wanted = [(provider, cuda if artifact["device"] == "cuda" else {})]
    session = ort.InferenceSession(artifact["file"], options, providers=wanted, enable_fallback=0)
    if session.get_providers()[0] != provider:
        raise Refusal("missing", f"the session came up on {session.get_providers()[0]}", "check the driver")
    binding = session.io_binding()
    held = [output.name for output in session.get_outputs()]

    def refill(arrays: list[Any]) -> None:
        binding.clear_binding_inputs()
        for tensor, array in zip(artifact["inputs"], arrays):
            binding.bind_cpu_input(tensor["name"], array)

    def fetch(names: list[str]) -> list[Any]:
        found = dict(zip(held, binding.copy_outputs_to_cpu()))
        return [found[name] for name in names]

    refill(feeds)
    for name in held:
        binding.bind_output(name, "cpu")
    facts = {
        "runtime": "onnxruntime",
        "version": ort.__version__,
        "providers": ",".join(session.get_providers()),
    }
    placed = _placed(session) if provider != "CPUExecutionProvider" else ""
    if placed:
        facts["placed"] = placed
    if artifact["device"] == "cuda":
        facts["timed"] = "with copies of inputs and outputs, without a CUDA graph"
    return Opened(refill, lambda: session.run_with_iobinding(binding), fetch, facts)


def _without_providers(settings: list[list[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """The session's settings, and those of the CUDA provider (edgekit/backends/onnxruntime_settings.py)."""
    families = {"cuda": {"use_tf32": "0"}, "tensorrt": {}, "webgpu": {}}  # TF32 is not float32
    rest = {}
    for name, value in settings:
        family, _, own = name.partition(".")
        if family in families and own:
            families[family][own] = value
        elif name not in {"provider", "io.memory"}:
            rest[name] = value
    families["cuda"].pop("graph", None)
    return rest, families["cuda"]


def _placed(session: Any) -> str:
    """How many nodes each provider has got: "CUDA 53"; "" where this ONNX Runtime cannot say."""
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    counts: Dict[str, int] = {}
    for part in ask() if ask else ():
        name = part.ep_name.replace("ExecutionProvider", "")
        counts[name] = counts.get(name, 0) + len(part.get_nodes())
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _tflite_module() -> tuple[Any, str]:
    """The interpreter's module and "name version"; the newest name first."""
    import importlib
    from importlib import metadata

    reasons = []
    for name in TFLITE_MODULES:
        try:
            return importlib.import_module(f"{name}.interpreter"), f"{name} {metadata.version(name)}"
        except Exception as error:  # noqa: BLE001 - an extension built for another NumPy raises what it likes
            reasons.append(f"{name}: {type(error).__name__}: {error}")
    raise _missing(" or ".join(TFLITE_MODULES), ImportError("; ".join(reasons)), "ai-edge-litert")


def _litert(artifact: dict[str, Any], feeds: list[Any]) -> Opened:
    """As edgekit/backends/litert/engine.py; ai_edge_litert, or its predecessor tflite_runtime."""
    if artifact["device"] != "cpu":
        said = (
            "the agent runs .tflite files on a device's CPU alone, and the CPU is no substitute for its GPU"
        )
        raise Refusal("missing", said, "run it there with edgekit itself")
    numpy = _import_numpy()
    module, version = _tflite_module()
    if version.startswith("tflite_runtime") and int(numpy.__version__.split(".")[0]) >= 2:
        # its extension was built for NumPy 1: "SystemError: ... CreateWrapperFromFile" says nothing to a user
        raise Refusal(
            "missing",
            f"{version} needs NumPy < 2, and {numpy.__version__} is installed",
            f'{sys.executable} -m pip install "numpy<2"  (on the device), or --install',
        )
    types = module.OpResolverType
    builtin = dict(artifact["settings"]).get("kernels") == "builtin"
    try:
        interpreter = module.Interpreter(
            model_path=artifact["file"],
            num_threads=artifact["threads"],
            experimental_op_resolver_type=types.BUILTIN_WITHOUT_DEFAULT_DELEGATES if builtin else types.AUTO,
        )
    except ValueError as error:
        if TOO_NEW not in str(error):
            raise
        what = f"{version} is older than the file: {' '.join(str(error).split())[:QUOTED]}"
        remedy = (
            "install ai-edge-litert there, or compile another precision (w8a8 runs on tflite_runtime 2.14)"
        )
        raise Refusal("missing", what, remedy) from error
    details = {each["name"]: each for each in interpreter.get_input_details()}
    unknown = [tensor["name"] for tensor in artifact["inputs"] if tensor["name"] not in details]
    if unknown:
        raise Refusal("error", f"the file has no input {unknown[0]!r}; it has {', '.join(details)}")
    for tensor, array in zip(artifact["inputs"], feeds):
        detail = details[tensor["name"]]
        if tuple(detail["shape"]) != array.shape:
            interpreter.resize_tensor_input(detail["index"], list(array.shape), strict=True)
    interpreter.allocate_tensors()

    def refill(arrays: list[Any]) -> None:
        for tensor, array in zip(artifact["inputs"], arrays):
            interpreter.set_tensor(details[tensor["name"]]["index"], array)

    def fetch(wanted: list[str]) -> list[Any]:
        found = {each["name"]: each["index"] for each in interpreter.get_output_details()}
        return [interpreter.get_tensor(found[name]) for name in wanted]

    refill(feeds)
    name, _, number = version.partition(" ")
    names = [each["op_name"].upper() for each in interpreter._get_ops_details()]
    delegated = any(each == "DELEGATE" or "XNNPACK" in each for each in names)
    facts = {"runtime": name, "version": number, "kernels": "xnnpack" if delegated else "builtin"}
    return Opened(refill, interpreter.invoke, fetch, facts)


def _openvino(artifact: dict[str, Any], feeds: list[Any]) -> Opened:
    """As edgekit/backends/openvino_engine.py: static shapes, float stays float unless a setting says so."""
    try:
        import openvino
    except ImportError as error:
        raise _missing("openvino", error) from error
    numpy = _import_numpy()
    core = openvino.Core()
    model = core.read_model(artifact["file"])
    names = [tensor["name"] for tensor in artifact["inputs"]]
    if model.is_dynamic():
        model.reshape({name: list(array.shape) for name, array in zip(names, feeds)})
    plugin = "GPU" if artifact["device"] == "gpu" else "CPU"
    if not any(each.partition(".")[0] == plugin for each in core.available_devices):
        raise Refusal(
            "missing", "OpenVINO finds no Intel GPU there", "apt-get install intel-opencl-icd there"
        )
    if artifact["device"] == "cpu-bf16" and not {"avx512_bf16", "amx_bf16"} & set(cpu_features()):
        raise Refusal("missing", "its CPU does not multiply bfloat16", "choose the target openvino-cpu")
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(artifact["threads"]),
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        **dict(artifact["settings"]),
    }
    if plugin == "GPU":
        del config["INFERENCE_NUM_THREADS"]  # a property of the CPU's plug-in alone
    compiled = core.compile_model(model, plugin, config)
    request = compiled.create_infer_request()

    def refill(arrays: list[Any]) -> None:
        for name, array in zip(names, arrays):
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def fetch(wanted: list[str]) -> list[Any]:
        return [numpy.array(request.get_tensor(name).data) for name in wanted]

    refill(feeds)

    def invoke() -> float:
        request.infer(share_outputs=True)
        return float(request.latency * 1e6)  # as edgekit/backends/openvino_engine.py, where the reason stands

    devices = ",".join(compiled.get_property("EXECUTION_DEVICES"))
    facts = {"runtime": "openvino", "version": openvino.get_version(), "devices": devices}
    return Opened(refill, invoke, fetch, facts)


def _prepared(backend: str) -> float:
    """Load the runtime, so that neither its time nor its memory is the artifact's: milliseconds."""
    begin = time.perf_counter_ns()
    try:
        if backend == "onnxruntime":
            import onnxruntime  # noqa: F401
        elif backend == "litert":
            _tflite_module()
        elif backend == "openvino":
            import openvino

            openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    except Exception:  # noqa: BLE001, S110 - opening says it better
        pass
    return (time.perf_counter_ns() - begin) / 1e6


OPENERS = {"onnxruntime": _onnxruntime, "litert": _litert, "openvino": _openvino}


def _stored(file: str, count: int) -> list[Any]:
    """The arrays of a job's .npz (arr_0, arr_1, ...)."""
    with _import_numpy().load(file, allow_pickle=False) as stored:
        return [stored[f"arr_{index}"] for index in range(count)]


def _feeds(artifact: dict[str, Any], seed: int) -> list[Any]:
    """Arrays in the order of the inputs: the job's, or drawn."""
    if artifact.get("feeds"):
        return _stored(artifact["feeds"], len(artifact["inputs"]))
    numpy = _import_numpy()
    random = numpy.random.default_rng(seed)
    arrays = []
    for tensor in artifact["inputs"]:
        dtype = numpy.dtype(tensor["dtype"])
        shape = [size if isinstance(size, int) else 1 for size in tensor["shape"]]
        drawn = random.random(shape) if dtype.kind == "f" else random.integers(0, 2, shape)
        arrays.append(drawn.astype(dtype))
    return arrays


def _status_bytes(field: str) -> int | None:
    """A line of /proc/self/status in bytes (proc(5): the unit is always kB)."""
    lines = [line.split() for line in _text("/proc/self/status").splitlines() if line.startswith(f"{field}:")]
    return int(lines[0][1]) * 1024 if lines else None


def _sha256(file: str) -> str:
    """In pieces below malloc's mmap threshold (mallopt(3), 128 KiB).

    A whole file, freed, would raise the threshold to its size, and what the runtime frees while it loads
    would stay with the process as heap: 75 % more of a model that is all weights.
    """
    found = hashlib.sha256()
    with Path(file).open("rb") as opened:
        for piece in iter(lambda: opened.read(HASHED_BYTES), b""):
            found.update(piece)
    return found.hexdigest()


def _set_back_peak() -> int:
    """The high-water mark set back to what is held now (proc(5), clear_refs); else the old mark."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _status_bytes("VmHWM") or 0
    return 0


def thinned(samples: list[int], keep: int | None) -> list[int]:
    """At most ``keep`` of them, evenly over time; None = all."""
    return samples[:: math.ceil(len(samples) / keep)] if keep else samples


class _Held:
    """The opened artifact of this child process."""

    def __init__(self) -> None:
        self.invoke: Invoke | None = None
        self.opened: Opened | None = None
        self.feeds: list[Any] = []  # OpenVINO and ONNX Runtime read them where they are
        self.before: int | None = None
        self.old_mark = 0

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["op"] == "open":
            return self.open(message["artifact"], message["seed"])
        if message["op"] == "time":
            return {"ns": thinned(self.time(message["runs"]), message.get("keep"))}
        if message["op"] == "replay":
            return self.replay(message["feeds"], message["outputs"], into=message["into"])
        peak = _status_bytes("VmHWM")
        if not peak or not self.before or peak <= self.old_mark:
            return {"peak": None}
        return {"peak": max(0, peak - self.before)}

    def open(self, artifact: dict[str, Any], seed: int) -> dict[str, Any]:
        pin(artifact.get("cores", []))
        if artifact["backend"] not in OPENERS:
            why = f"the agent does not run artifacts of {artifact['backend']}"
            raise Refusal("missing", why, "run edgekit on that machine itself")
        for file, wanted in artifact.get("sha256", {}).items():
            if _sha256(file) != wanted:
                raise Refusal(
                    "error", f"{file} arrived damaged: its SHA-256 is not {wanted[:12]}...", "try again"
                )
        self.feeds = _feeds(artifact, seed)
        import_ms = _prepared(artifact["backend"])
        gc.collect()
        self.old_mark = _set_back_peak()
        self.before = _status_bytes("VmRSS")
        begin = time.perf_counter_ns()
        self.opened = OPENERS[artifact["backend"]](artifact, self.feeds)
        self.invoke, facts = self.opened.invoke, self.opened.facts
        load_ns = time.perf_counter_ns() - begin
        facts.update(device=artifact["device"], threads=str(artifact["threads"]))
        facts["numpy"] = _import_numpy().__version__
        if artifact.get("cores"):
            facts["cores"] = pinned_to()
        gc.freeze()
        held = _status_bytes("VmRSS")
        return {
            "facts": facts,
            "import_ms": import_ms,
            "load_ms": load_ns / 1e6,
            "first_ms": None if "batches" in artifact else self.time(1)[0] / 1e6,  # a replay times nothing
            "baseline_bytes": self.before,
            "loaded_bytes": max(0, held - self.before) if held and self.before else None,
        }

    def replay(self, feeds: str, outputs: list[str], *, into: str) -> dict[str, Any]:
        """One inference on other inputs; what it gives is in the file ``into``."""
        if self.opened is None:
            raise Refusal("error", "nothing is open")
        self.feeds = _stored(feeds, len(self.feeds))
        self.opened.refill(self.feeds)
        self.opened.invoke()
        _import_numpy().savez(into, *self.opened.fetch(outputs))
        return {}

    def time(self, runs: int) -> list[int]:
        invoke, clock = self.invoke, time.perf_counter_ns
        if invoke is None:
            raise Refusal("error", "nothing is open")
        samples = [0] * runs
        gc.collect()
        gc.disable()
        try:
            for index in range(runs):
                begin = clock()
                own = invoke()
                passed = clock() - begin
                samples[index] = passed if own is None else round(own)
        finally:
            gc.enable()
        return samples


def serve() -> None:
    """The child's loop: a JSON line in, a JSON line out."""
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # L2
    threading.Thread(target=_exit_with_parent, args=(requests.fileno(),), daemon=True).start()
    held = _Held()
    for line in requests:
        try:
            reply = held.answer(json.loads(line))
        except Refusal as refusal:
            reply = {"failed": refusal.kind, "what": refusal.what, "remedy": refusal.remedy}
        except Exception as error:  # noqa: BLE001 - the edge of the process
            traceback.print_exc()
            reply = {"failed": "error", "what": f"{type(error).__name__}: {error}", "remedy": ""}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    os._exit(0)  # native libraries crash in their exit handlers often enough


def _exit_with_parent(descriptor: int) -> None:
    if hasattr(select, "poll"):
        hang_up = select.poll()
        hang_up.register(descriptor, 0)  # POLLHUP is always reported
        hang_up.poll()
        os._exit(0)


# ---- the parent: rounds over children


class Child:
    """One artifact in a process of its own."""

    def __init__(self, name: str, log: Path) -> None:
        self.name, self._log = name, log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [os.environ.get(OWN_PYTHON) or sys.executable, str(Path(__file__).resolve()), "child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=str(log.parent),
                env={**os.environ, **QUIET, "TMPDIR": str(log.parent)},
            )

    def ask(self, limit_s: float, **message: Any) -> dict[str, Any]:
        """The child's reply.

        Raises:
            Refusal: it refused ("missing", "error"), died ("crash") or did not answer in time ("timeout").
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101, PT018 - both are pipes
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise self._died(message["op"]) from None
        if not select.select([stdout], [], [], limit_s)[0]:
            self.end()
            what = f"no answer to {message['op']!r} within {limit_s:g} s"
            raise Refusal("timeout", what, "give a smaller model, or more time with --timeout")
        line = stdout.readline()
        if not line.endswith(b"\n"):
            raise self._died(message["op"])
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise Refusal(reply["failed"], reply["what"], reply["remedy"])
        return reply

    def _died(self, doing: str) -> Refusal:
        try:
            code = self._process.wait(DYING_S)
        except subprocess.TimeoutExpired:
            self.end()
            return Refusal("crash", f"it closed its pipe in {doing!r} and did not end")
        try:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        except ValueError:
            how = f"signal {-code}"
        said = _text(str(self._log)).strip()[-QUOTED:]
        return Refusal(
            "crash", f"native code died in {doing!r}: {how}" + (f"; it said: {said}" if said else "")
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def _median(values: list[int]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return float(ordered[middle]) if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _settled(medians: list[float]) -> bool:
    last = medians[-SETTLED_WINDOW:]
    return len(last) == SETTLED_WINDOW and max(last) <= min(last) * (1 + SETTLED_TOLERANCE)


def _runs_in(target_ms: float, median_ns: float) -> int:
    if median_ns <= 0:
        return MOST_RUNS
    return max(1, min(MOST_RUNS, math.ceil(target_ms * 1e6 / median_ns)))


def _warm_up(child: Child, first_ns: float, *, round_ms: float, limit_s: float) -> tuple[int, bool]:
    """Runs in a round, and whether the median settled."""
    window, medians, spent = _runs_in(WINDOW_MS, first_ns), [], 0.0  # type: int, list[float], float
    while not _settled(medians):
        samples = child.ask(limit_s, op="time", runs=window)["ns"]
        spent += sum(samples) / 1e6
        medians.append(_median(samples))
        window = _runs_in(WINDOW_MS, medians[-1])
        if len(medians) >= WARM_UP_WINDOWS or (spent > WARM_UP_MS and len(medians) > 2):
            break
    return _runs_in(round_ms, medians[-1]), _settled(medians)


class Bench:
    """The children of one job; an artifact that fails is out, and the others go on."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        self.job, self.folder = job, folder
        self.limit_s = float(job.get("reply_s", REPLY_S))
        self.children: dict[str, Child] = {}
        pinned = {core for each in job["artifacts"] for core in each.get("cores") or ()}
        self.cores = sorted(pinned) or None  # others' work elsewhere disturbs nothing
        self.out: set[str] = set()
        self.launch = 0
        self.before: Any = None

    def reading(self, table: Processes | None = None) -> dict[str, Any]:
        """The machine's state now, as far as it concerns the job's cores."""
        return reading(cores=self.cores, table=table)

    def run(self) -> None:
        """E1 to E7, E9, E12."""
        emit("start", machine={**machine(), **self.reading()})
        launches = int(self.job.get("launches", 1))
        backwards = self.job.get("backwards", [])
        peaks: dict[str, Any] = {}
        for self.launch in range(launches):
            self.launched(backwards[self.launch] if self.launch < len(backwards) else self.launch % 2 == 1)
            after = processes()
            at_end = self.reading(table=after)
            for name, child in list(self.children.items()):
                asked = self.guarded(name, lambda: child.ask(self.limit_s, op="memory")["peak"])  # noqa: B023
                peaks[name] = max(filter(None, (asked, peaks.get(name))), default=None)
            self.end()
            last = self.launch == launches - 1 or len(self.out) == len(self.job["artifacts"])
            facts = {"peak_bytes": peaks, "machine": at_end, "busiest": busiest(self.before, after)}
            emit("summary" if last else "launched", launch=self.launch, **facts)
            if last:
                break

    def launched(self, backwards: bool) -> None:
        """One process of each artifact that has not failed: opened, warmed up, timed in rounds."""
        runs: dict[str, int] = {}
        artifacts = [each for each in self.job["artifacts"] if each["name"] not in self.out]
        for artifact in artifacts[::-1] if backwards else artifacts:
            name = artifact["name"]
            log = self.folder / f"child-{self.job['artifacts'].index(artifact)}.log"
            child = self.children[name] = Child(name, log)
            planned = self.guarded(name, lambda: self.prepared(child, artifact))  # noqa: B023 - called at once
            if planned:
                runs[name] = planned
        forward = list(runs)
        if self.before is None:
            self.before = processes()
            emit("rounds", machine=self.reading(table=self.before))
        for index in range(int(self.job.get("rounds", ROUNDS))):
            for name in forward if index % 2 == 0 else forward[::-1]:
                if name in self.children:
                    self.guarded(name, lambda: self.block(name, runs[name], index))  # noqa: B023

    def prepared(self, child: Child, artifact: dict[str, Any]) -> int:
        opened = child.ask(self.limit_s, op="open", artifact=artifact, seed=self.job.get("seed", 0))
        emit("opened", artifact=child.name, launch=self.launch, **opened)
        round_ms = float(self.job.get("round_ms", ROUND_MS))
        runs, settled = _warm_up(child, opened["first_ms"] * 1e6, round_ms=round_ms, limit_s=self.limit_s)
        emit("warm", artifact=child.name, launch=self.launch, runs=runs, settled=settled)
        return runs

    def block(self, name: str, runs: int, index: int) -> bool:
        lead_in = 1 if runs >= LEAD_IN_FROM else 0
        samples = self.children[name].ask(self.limit_s, op="time", runs=runs + lead_in)["ns"]
        emit("block", artifact=name, launch=self.launch, round=index, ns=samples[lead_in:])
        return True

    def guarded(self, name: str, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except Refusal as refusal:
            emit("failed", artifact=name, kind=refusal.kind, what=refusal.what, remedy=refusal.remedy)
            self.out.add(name)
            self.children.pop(name).end()
            return None

    def end(self) -> None:
        """End every child."""
        while self.children:
            self.children.popitem()[1].end()


class Sustained(Bench):
    """One artifact after the other, without a pause, for minutes."""

    def run(self) -> None:
        """E1, E2, E9 to E11, E5, E7."""
        emit("start", machine={**machine(), **self.reading()})
        before = processes()
        emit("rounds", machine=self.reading(table=before))
        for index, artifact in enumerate(self.job["artifacts"]):
            name = artifact["name"]
            child = self.children[name] = Child(name, self.folder / f"child-{index}.log")
            if self.guarded(name, lambda: self.turns(child, artifact)):  # noqa: B023 - called at once
                self.children.pop(name).end()
        after = processes()
        emit("summary", peak_bytes={}, machine=self.reading(table=after), busiest=busiest(before, after))

    def turns(self, child: Child, artifact: dict[str, Any]) -> bool:
        plan, name = self.job["sustained"], child.name
        opened = child.ask(self.limit_s, op="open", artifact=artifact, seed=self.job.get("seed", 0))
        emit("opened", artifact=name, **opened)
        meter = energy()
        rests = RESTS if meter.get("energy_uj") or meter.get("power_uw") else 0
        for _ in range(rests):  # the first one lets the machine come to rest, and is not looked at
            time.sleep(plan["idle_s"] / rests)
            emit("idle", artifact=name, machine=self.reading())
        if not rests:
            emit("idle", artifact=name, machine=self.reading())
        median_s, begin = opened["first_ms"] / 1e3, time.monotonic()
        while True:
            started = time.monotonic()
            if started - begin >= plan["minutes"] * plan["minute_s"]:
                return True
            until, done, samples = started + plan["minute_s"] / TURNS, 0, []  # type: float, int, list[int]
            while not done or time.monotonic() < until:
                room_s = min(ASKED_S, until - time.monotonic())
                runs = max(1, min(MOST_ASKED, int(room_s / max(1e-9, median_s))))
                kept = child.ask(self.limit_s, op="time", runs=runs, keep=KEPT)["ns"]
                samples += kept
                done += runs
                median_s = _median(kept) / 1e9
            emit(
                "turn",
                artifact=name,
                minute=int((started - begin) / plan["minute_s"]),
                seconds=time.monotonic() - started,
                runs=done,
                ns=thinned(samples, KEPT),
                machine=self.reading(
                    table=processes()
                ),  # nobody waits for it, and a run may end before its summary
            )


class Replay(Bench):
    """One artifact after the other, each on every batch of the job: what it gives, not how long it takes."""

    def run(self) -> None:
        """E1, E2, E5, E7, E13."""
        emit("start", machine={**machine(), **self.reading()})
        for index, artifact in enumerate(self.job["artifacts"]):
            name = artifact["name"]
            child = self.children[name] = Child(name, self.folder / f"child-{index}.log")
            if self.guarded(name, lambda: self.replayed(child, artifact)):  # noqa: B023 - called at once
                self.children.pop(name).end()
        emit("summary", peak_bytes={}, machine=self.reading())

    def replayed(self, child: Child, artifact: dict[str, Any]) -> bool:
        opened = child.ask(self.limit_s, op="open", artifact=artifact, seed=0)
        emit("opened", artifact=child.name, **opened)
        given = self.folder / "outputs.npz"
        for index, feeds in enumerate(artifact["batches"]):
            child.ask(self.limit_s, op="replay", feeds=feeds, outputs=artifact["outputs"], into=str(given))
            content = given.read_bytes()
            for begin in range(0, len(content), PIECE_BYTES):
                piece = base64.b64encode(content[begin : begin + PIECE_BYTES]).decode("ascii")
                last = begin + PIECE_BYTES >= len(content)
                emit("outputs", artifact=child.name, batch=index, npz=piece, last=last)
        return True


def run(job_path: Path) -> None:
    """Measure what the job says, until it is done or nobody listens any more (L1)."""
    job, folder = json.loads(job_path.read_text("utf-8")), job_path.resolve().parent
    os.chdir(folder)
    kind = Replay if job.get("replay") else Sustained if job.get("sustained") else Bench
    bench = kind(job, folder)

    def leave(code: int) -> None:
        bench.end()
        if job.get("remove"):
            os.chdir("/")
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)

    def follow_the_life_line() -> None:
        while os.read(0, 4096):
            pass
        leave(1)

    def show_life() -> None:
        while True:
            time.sleep(ALIVE_S)
            try:
                emit("alive", machine=bench.reading())
            except OSError:
                leave(1)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: leave(1))
    if job.get("life_line"):
        threading.Thread(target=follow_the_life_line, daemon=True).start()
    threading.Thread(target=show_life, daemon=True).start()
    try:
        bench.run()
    except OSError:
        traceback.print_exc()
        leave(1)
    finally:
        bench.end()


def install(job_path: Path) -> None:
    """E8: a virtual environment beside the job; pip takes its settings from the device."""
    job, folder = json.loads(job_path.read_text("utf-8")), job_path.resolve().parent
    packages = ["numpy", *sorted({PACKAGES[each["backend"]] for each in job["artifacts"]})]
    python = folder / "venv" / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            said = done.stdout.decode("utf-8", "replace").strip()[-QUOTED:]
            emit("failed", artifact="", kind="missing", what=f"{' '.join(command)} failed: {said}", remedy="")
            return
    emit("installed", python=str(python), packages=packages)


def main(arguments: list[str]) -> int:
    """Dispatch; 2 for a command line that is none."""
    if sys.version_info < LEAST_PYTHON:
        sys.stderr.write(f"Python {platform.python_version()} is too old: the agent needs 3.9\n")
        return 2
    if arguments == ["child"]:
        serve()
    elif arguments == ["facts"]:
        emit("start", machine={**machine(), **reading()})
    elif len(arguments) == 2 and arguments[0] in ("run", "install"):
        {"run": run, "install": install}[arguments[0]](Path(arguments[1]))
    else:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
