"""This host -> facts that a latency depends on, and one short key that names the machine.

Read from /proc and /sys (proc(5), sysfs(5), cgroups(7)); a file that is not there leaves its fact empty, so
virtual machines, containers and other systems are fine. No host name and no serial number is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

# What the kernels of the runtimes select on (MLAS, oneDNN, XNNPACK), in the order in which it is shown.
TELLING_FEATURES = (
    *("avx", "fma", "f16c", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)

_NO_LIMIT = 1 << 62  # cgroup v1 writes a number near 2**63 where there is no memory limit


@dataclass(frozen=True)
class Machine:
    """Facts about the host.

    Attributes:
        key: 12 hex digits; equal for equal cpu, architecture, features, cores, limits, memory and system.
        cpu: model name, "" where unknown.
        architecture: "x86_64", "aarch64".
        features: those of TELLING_FEATURES that the CPU has.
        cores: how many this process may use (affinity).
        cpu_limit: CPUs' worth of time that the cgroup grants, None = no limit.
        memory_bytes: the machine's memory or the cgroup's limit, whichever is less; 0 where unknown.
        os: system and release.
        python: version.
        governor: frequency governor of the first core, "" where there is none (virtual machines).
        load: one-minute load average when asked, -1 where unknown.
    """

    key: str
    cpu: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    cpu_limit: float | None
    memory_bytes: int
    os: str
    python: str
    governor: str
    load: float


def cpu_features(*, proc: Path = Path("/proc")) -> frozenset[str]:
    """The features of TELLING_FEATURES that this CPU has; empty where that cannot be read."""
    info = _cpuinfo(_text(proc / "cpuinfo"))
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return frozenset(name for name in TELLING_FEATURES if name in flags)


def facts(*, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Machine:
    """What is known about this host; ``proc`` and ``sys`` are parameters for tests."""
    info = _cpuinfo(_text(proc / "cpuinfo"))
    cpu = info.get("model name") or info.get("Hardware") or _arm_part(info) or platform.processor()
    known = cpu_features(proc=proc)
    features = tuple(name for name in TELLING_FEATURES if name in known)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cpu_limit(sys / "fs/cgroup")
    memory = _memory(_text(proc / "meminfo"), sys / "fs/cgroup")
    gigabytes = round(memory / 2**30)  # the last megabytes differ between kernels on one machine
    stable = [cpu, platform.machine(), features, cores, limit, gigabytes, platform.system()]
    return Machine(
        key=hashlib.sha256(json.dumps(stable).encode()).hexdigest()[:12],
        cpu=cpu,
        architecture=platform.machine(),
        features=features,
        cores=cores,
        cpu_limit=limit,
        memory_bytes=memory,
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        governor=_text(sys / "devices/system/cpu/cpu0/cpufreq/scaling_governor").strip(),
        load=_load(_text(proc / "loadavg")),
    )


def _text(path: Path) -> str:
    """The file's text, "" where it is not there or may not be read."""
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _cpuinfo(text: str) -> dict[str, str]:
    """The fields of the first processor, and those that ARM kernels write once at the end."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def _arm_part(info: dict[str, str]) -> str:
    """Implementer and part numbers, as "ARM 0x41 0xd0b" (Linux, Documentation/arch/arm64/cpu-features)."""
    parts = [info.get("CPU implementer", ""), info.get("CPU part", "")]
    return " ".join(["ARM", *parts]) if all(parts) else ""


def _cpu_limit(cgroup: Path) -> float | None:
    """Quota over period, of cgroup v2 (``cpu.max``) or v1; None where either is missing or "max"."""
    quota, _, period = _text(cgroup / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _text(cgroup / "cpu/cpu.cfs_quota_us").strip()
        period = _text(cgroup / "cpu/cpu.cfs_period_us").strip()
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:  # "max" or -1: no limit
        return None
    return int(quota) / int(period)


def _memory(meminfo: str, cgroup: Path) -> int:
    sizes = []
    total = _cpuinfo(meminfo).get("MemTotal", "").removesuffix("kB").strip()
    if total.isdecimal():
        sizes.append(int(total) * 1024)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _text(cgroup / name).strip()
        if limit.isdecimal() and int(limit) < _NO_LIMIT:
            sizes.append(int(limit))
    return min(sizes, default=0)


def _load(text: str) -> float:
    first = text.split(" ", 1)[0]
    try:
        return float(first)
    except ValueError:
        return -1.0
