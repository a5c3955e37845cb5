"""Facts about a host, from recorded /proc and /sys files and from none at all."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from edgekit.measure import machine
from edgekit.spec import from_json, to_json

X86 = """processor\t: 0
model name\t: Some CPU @ 2.60GHz
flags\t\t: fpu avx avx2 fma avx512f avx512_vnni unheard_of

processor\t: 1
model name\t: Another name
flags\t\t: fpu
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


def host(folder: Path, files: dict[str, str]) -> machine.Machine:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return machine.facts(proc=folder / "proc", sys=folder / "sys")


def test_an_x86_host(tmp_path: Path) -> None:
    found = host(
        tmp_path,
        {
            "proc/cpuinfo": X86,
            "proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 1 kB\n",
            "proc/loadavg": "0.25 0.5 0.75 1/100 4242\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        },
    )
    assert found.cpu == "Some CPU @ 2.60GHz"
    assert found.features == ("avx", "fma", "avx2", "avx512f", "avx512_vnni")
    assert found.memory_bytes == 16_000_000 * 1024
    assert (found.governor, found.load, found.cpu_limit) == ("powersave", 0.25, None)
    assert found.cores >= 1


def test_an_arm_host_without_a_model_name(tmp_path: Path) -> None:
    found = host(tmp_path, {"proc/cpuinfo": ARM})
    assert found.cpu == "ARM 0x41 0xd0b"
    assert found.features == ("asimd", "asimddp", "i8mm")


def test_a_host_that_shows_nothing(tmp_path: Path) -> None:
    found = machine.facts(proc=tmp_path, sys=tmp_path)
    assert (found.features, found.memory_bytes, found.governor, found.load) == ((), 0, "", -1)
    assert re.fullmatch(r"[0-9a-f]{12}", found.key)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
        ({"sys/fs/cgroup/cpu.max": "garbage"}, None),
    ],
    ids=["v2", "v2 unlimited", "v1", "v1 unlimited", "garbage"],
)
def test_the_cpu_limit_of_a_container(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    assert host(tmp_path, files).cpu_limit == limit


@pytest.mark.parametrize(
    ("limit", "memory"),
    [("1073741824", 2**30), ("max", 4 * 2**30), ("9223372036854771712", 4 * 2**30)],
    ids=["limited", "v2 unlimited", "v1 unlimited"],
)
def test_the_memory_limit_of_a_container(tmp_path: Path, limit: str, memory: int) -> None:
    files = {"proc/meminfo": "MemTotal: 4194304 kB", "sys/fs/cgroup/memory.max": limit}
    assert host(tmp_path, files).memory_bytes == memory


def test_the_key_changes_with_what_matters_and_not_with_the_load(tmp_path: Path) -> None:
    idle = host(tmp_path / "a", {"proc/cpuinfo": X86, "proc/loadavg": "0.0"})
    busy = host(tmp_path / "b", {"proc/cpuinfo": X86, "proc/loadavg": "9.0"})
    other = host(tmp_path / "c", {"proc/cpuinfo": X86.replace("avx512_vnni", "")})
    small = host(tmp_path / "d", {"proc/cpuinfo": X86, "sys/fs/cgroup/cpu.max": "50000 100000"})
    assert idle.key == busy.key
    assert len({idle.key, other.key, small.key}) == 3


def test_this_host_has_facts_that_survive_json() -> None:
    found = machine.facts()
    assert found.key == machine.facts().key
    assert from_json(machine.Machine, to_json(found)) == found
    assert all(field.name in to_json(found) for field in dataclasses.fields(found))
