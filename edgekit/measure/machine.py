"""This host -> facts that a latency depends on, and one short key that names the machine.

What is read, and how, stands in ``agent.machine``: this host and a device tell the same. A file that is not
there leaves its fact empty, so virtual machines, containers and other systems are fine. No host name and no
serial number is read. What changes while one measures is in ``conditions``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.measure import agent


@dataclass(frozen=True)
class Machine:
    """Facts about the host.

    Attributes:
        key: 12 hex digits; equal for equal cpu, architecture, features, cores, limits, memory and system.
        cpu: model name, "" where unknown.
        architecture: "x86_64", "aarch64".
        features: those of ``agent.TELLING_FEATURES`` that the CPU has.
        cores: how many this process may use (affinity).
        cpu_limit: CPUs' worth of time that the cgroup grants, None = no limit.
        memory_bytes: the machine's memory or the cgroup's limit, whichever is less; 0 where unknown.
        os: system and release.
        python: version.
        governor: frequency governor of the first core, "" where there is none (virtual machines).
        load: one-minute load average when asked, -1 where unknown.
        frequency_driver: who sets the clock ("intel_pstate"), "" where nobody says.
        frequency_min_mhz: of the first core, 0 where unknown; frequency_base_mhz and frequency_max_mhz
            likewise. Above the base is turbo.
        smt: "on", "off" or "" where unknown: whether two threads share a core.
        turbo: likewise.
        versions: of the packages that runtimes come in.
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
    frequency_driver: str = ""
    frequency_min_mhz: int = 0
    frequency_base_mhz: int = 0
    frequency_max_mhz: int = 0
    smt: str = ""
    turbo: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def cpu_features(*, proc: Path = agent.PROC) -> frozenset[str]:
    """The features of ``agent.TELLING_FEATURES`` that this CPU has; empty where that cannot be read."""
    return frozenset(agent.cpu_features(proc))


def facts(*, proc: Path = agent.PROC, sys: Path = agent.SYS) -> Machine:
    """What is known about this host; ``proc`` and ``sys`` are parameters for tests."""
    return of_facts({**agent.machine(proc, sys), **agent.reading(proc=proc, sys=sys)})


def of_facts(said: Mapping[str, Any]) -> Machine:
    """What ``agent.machine`` and ``agent.state`` said, here or on a device."""
    return Machine(
        key=key_of(said),
        cpu=said.get("cpu", ""),
        architecture=said.get("architecture", ""),
        features=tuple(said.get("features", ())),
        cores=said.get("cores", 0),
        cpu_limit=said.get("cpu_limit"),
        memory_bytes=said.get("memory_bytes", 0),
        os=said.get("os", ""),
        python=said.get("python", ""),
        governor=said.get("governor", ""),
        load=said.get("load", -1.0),
        frequency_driver=said.get("frequency_driver", ""),
        frequency_min_mhz=said.get("frequency_min_mhz", 0),
        frequency_base_mhz=said.get("frequency_base_mhz", 0),
        frequency_max_mhz=said.get("frequency_max_mhz", 0),
        smt=said.get("smt", ""),
        turbo=said.get("turbo", ""),
        versions=said.get("versions", {}),
    )


def key_of(said: Mapping[str, Any]) -> str:
    """The key of a machine that said this of itself."""
    gigabytes = round(said.get("memory_bytes", 0) / 2**30)  # the last megabytes differ between kernels
    named = [said.get(name) for name in ("cpu", "architecture", "features", "cores", "cpu_limit")]
    system = str(said.get("os", "")).split(" ", 1)[0]
    return hashlib.sha256(json.dumps([*named, gigabytes, system]).encode()).hexdigest()[:12]
