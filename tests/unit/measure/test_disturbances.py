"""What disturbs a measurement, over a fake /proc and /sys: each rule fires, and each is silent where it must.

W1 to W11: the table of edgekit/measure/disturbances.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgekit.measure import agent, disturbances
from edgekit.measure.conditions import Conditions, Watch, reading_of
from tests.unit.measure.fake_machine import OWN, Fake

CLOCK = "sys/devices/system/cpu/cpu0/cpufreq"
ZONE = "sys/class/thermal/thermal_zone0"
SUPPLY = "sys/class/power_supply"
PI = "sys/devices/platform/soc/soc:firmware/get_throttled"
QUIET_FILES = {
    "proc/loadavg": "0.10 0.20 0.30 1/100 4242\n",
    "proc/vmstat": "nr_free_pages 5\npswpin 7000\n",
    "proc/self/cgroup": "0::/box/inner\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 5\n",
    "sys/fs/cgroup/box/cpu.max": "max 100000\n",
    "sys/fs/cgroup/box/cpu.stat": "usage_usec 9\nnr_throttled 900\nthrottled_usec 77000000\n",
    f"{CLOCK}/scaling_governor": "performance\n",
    f"{CLOCK}/scaling_driver": "cpufreq-dt\n",
    f"{CLOCK}/scaling_cur_freq": "2400000\n",
    f"{CLOCK}/cpuinfo_max_freq": "2400000\n",
    f"{ZONE}/type": "cpu-thermal\n",
    f"{ZONE}/temp": "61000\n",
    f"{ZONE}/trip_point_0_type": "passive\n",
    f"{ZONE}/trip_point_0_temp": "85000\n",
}


@dataclass(frozen=True)
class Case:
    """A machine's files before and after ten seconds, and the CPU seconds in between.

    Attributes:
        rules: what must fire, and nothing else.
        words: what its reason must hold.
    """

    name: str
    rules: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    own_s: float = 10.0
    others_s: Mapping[str, float] = field(default_factory=lambda: {"sshd": 0.2})
    steal_s: float = 0.0


CASES = (
    Case("quiet"),
    Case(
        "W1 another process",
        ("W1",),
        ("stress 60 %", "took 61 % of the CPU"),
        own_s=7,
        others_s={"stress": 12, "sshd": 0.2},
    ),
    Case("W1 silent: all cores are ours", own_s=19.7),
    Case("W1 silent: others below a tenth", others_s={"sshd": 1.9}),
    Case("W2 the hypervisor", ("W2",), ("5 % of the CPU time",), steal_s=1.0),
    Case("W2 silent: housekeeping", steal_s=0.3),
    Case(
        "W3 the quota",
        ("W3",),
        ("throttled 1.2 s of 10 s", "1.5 CPUs"),
        before={"sys/fs/cgroup/box/cpu.max": "150000 100000"},
        after={"sys/fs/cgroup/box/cpu.stat": "nr_throttled 912\nthrottled_usec 78200000\n"},
    ),
    Case(
        "W3 silent: a moment",
        after={"sys/fs/cgroup/box/cpu.stat": "nr_throttled 901\nthrottled_usec 77050000\n"},
    ),
    Case(
        "W4 the clock fell",
        ("W4",),
        ("from 3.2 to 1.9 GHz",),
        before={f"{CLOCK}/scaling_cur_freq": "3200000", f"{CLOCK}/cpuinfo_max_freq": "2000000"},
        after={f"{CLOCK}/scaling_cur_freq": "1900000"},
    ),
    Case(
        "W4 silent: the clock rose",
        before={f"{CLOCK}/scaling_cur_freq": "600000"},
        after={f"{CLOCK}/scaling_cur_freq": "2400000"},
    ),
    Case(
        "W5 hot",
        ("W5",),
        ("rose from 61 to 92 C", "from 95 C"),
        before={f"{ZONE}/trip_point_0_temp": "95000"},
        after={f"{ZONE}/temp": "92000"},
    ),
    Case(
        "W5 hot, no limit known",
        ("W5",),
        ("to 86 C",),
        before={f"{ZONE}/trip_point_0_type": "active"},
        after={f"{ZONE}/temp": "86000"},
    ),
    Case("W5 silent: warm", after={f"{ZONE}/temp": "79000"}),
    Case(
        "W5 silent: another sensor is hot",
        before={
            "sys/class/thermal/thermal_zone1/type": "iwlwifi_1",
            "sys/class/thermal/thermal_zone1/temp": "97000",
        },
    ),
    Case(
        "W6 powersave that means it",
        ("W6",),
        ("powersave ran at 0.6 of 2.4 GHz",),
        before={f"{CLOCK}/scaling_governor": "powersave", f"{CLOCK}/scaling_cur_freq": "600000"},
        after={f"{CLOCK}/scaling_cur_freq": "600000"},
    ),
    Case(
        "W6 a governor that holds the clock down",
        ("W6",),
        ("ondemand ran at 1.2 of 2.4 GHz",),
        before={f"{CLOCK}/scaling_governor": "ondemand", f"{CLOCK}/scaling_cur_freq": "1200000"},
        after={f"{CLOCK}/scaling_cur_freq": "1200000"},
    ),
    Case(
        "W6 silent: intel_pstate's powersave at full clock",
        before={f"{CLOCK}/scaling_governor": "powersave", f"{CLOCK}/scaling_driver": "intel_pstate"},
    ),
    Case(
        "W6 silent: below the turbo clock is no fault",
        before={
            f"{CLOCK}/scaling_driver": "intel_pstate",
            f"{CLOCK}/cpuinfo_max_freq": "5000000",
            f"{CLOCK}/base_frequency": "2200000",
            "sys/devices/system/cpu/intel_pstate/no_turbo": "0",
        },
    ),
    Case("W8 swapping", ("W8",), ("4 MiB",), after={"proc/vmstat": "pswpin 8024\n"}),
    Case("W8 silent: some pages", after={"proc/vmstat": "pswpin 7010\n"}),
    Case(
        "W9 on battery",
        ("W9",),
        ("40 % left",),
        before={
            f"{SUPPLY}/BAT0/type": "Battery",
            f"{SUPPLY}/BAT0/status": "Discharging",
            f"{SUPPLY}/BAT0/capacity": "40",
            f"{SUPPLY}/AC/type": "Mains",
            f"{SUPPLY}/AC/online": "0",
        },
    ),
    Case(
        "W9 silent: charging, and a mouse's battery",
        before={
            f"{SUPPLY}/BAT0/type": "Battery",
            f"{SUPPLY}/BAT0/status": "Charging",
            f"{SUPPLY}/AC/type": "Mains",
            f"{SUPPLY}/AC/online": "1",
            f"{SUPPLY}/A_mouse/type": "Battery",
            f"{SUPPLY}/A_mouse/scope": "Device",
            f"{SUPPLY}/A_mouse/status": "Discharging",
        },
    ),
    Case(
        "W10 the processor counted",
        ("W10",),
        ("processor slowed the CPU down 3 times",),
        before={
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "5",
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "8",
            "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "8",
        },
        after={
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "7",
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "9",
            "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "9",
        },
    ),
    Case("W10 the firmware says so", ("W10",), ("firmware slowed",), before={PI: "0"}, after={PI: "40004"}),
    Case("W11 under-voltage", ("W11",), ("under-voltage",), before={PI: "10001"}),
    Case("W10 and W11 silent: since boot", before={PI: "50000"}),
)


def measured(case: Case, folder: Path) -> Conditions:
    fake = Fake(folder)
    fake.write({**QUIET_FILES, **case.before})
    first = fake.read(at_s=100.0, deep=True)
    fake.flush()
    table = agent.processes(fake.proc)
    fake.works(10.0, own=case.own_s, others=case.others_s, steal=case.steal_s)
    fake.write(case.after)
    last = fake.read(at_s=110.0, deep=True)
    busiest = agent.busiest(table, agent.processes(fake.proc), root=OWN)
    return fake.conditions([first, last], busiest)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_fires_and_what_does_not(case: Case, tmp_path: Path) -> None:
    found = disturbances.found(measured(case, tmp_path))
    assert tuple(each.rule for each in found) == case.rules
    said = " ".join(each.reason for each in found)
    assert all(words in said for words in case.words), said
    assert all(each.remedy for each in found)


def test_every_rule_has_a_case_of_each_kind() -> None:
    names = [case.name for case in CASES]
    for rule in set(disturbances.RULES) - {"W7"}:  # below
        assert any(rule in case.rules for case in CASES), rule
        assert any(
            rule in name.split() and "silent" in name for name in names if "silent" in name
        ) or rule in (
            "W10",
            "W11",
        ), rule


@pytest.mark.parametrize(("load", "rules"), [("2.50", ("W7",)), ("0.90", ())], ids=["busy", "idle"])
def test_the_load_speaks_where_cpu_times_cannot_be_read(  # W7
    load: str, rules: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "usable_cores", lambda: [0, 1])
    fake = Fake(tmp_path)
    fake.write({**QUIET_FILES, "proc/loadavg": f"{load} 1 1 1/1 1"})
    said = [{**agent.state(fake.proc, fake.sys), "at_s": at_s} for at_s in (0.0, 10.0)]  # no /proc/stat
    found = fake.conditions([reading_of(each) for each in said])
    assert found.others is None
    assert "CPU times" in found.unread()
    assert tuple(each.rule for each in disturbances.found(found)) == rules


def test_the_clock_is_judged_by_halves_of_its_readings(tmp_path: Path) -> None:
    """One low reading among many is no fall; a fall in the last half is one (W4)."""
    fake = Fake(tmp_path)
    fake.write(QUIET_FILES)

    def run(clocks: list[int]) -> tuple[str, ...]:
        readings = []
        for at_s, mhz in enumerate(clocks):
            fake.write({f"{CLOCK}/scaling_cur_freq": str(mhz * 1000)})
            readings.append(fake.read(at_s=float(at_s), deep=True))
        return tuple(each.rule for each in disturbances.found(fake.conditions(readings)))

    assert run([600, 2400, 2390, 1500, 2400, 2400, 2400]) == ()
    assert run([600, 2400, 2400, 2400, 1800, 1700, 1700]) == ("W4",)


def test_a_run_that_broke_off_is_judged_as_far_as_it_was_looked_at(tmp_path: Path) -> None:
    """The last reading of a lost device has no processes: W1 uses the last that has, and W7 is silent."""
    fake = Fake(tmp_path)
    fake.write({**QUIET_FILES, "proc/loadavg": "9.0 9 9 1/1 1"})
    first = fake.read(at_s=0.0, deep=True)
    fake.works(10.0, own=8.0, others={"stress": 10.0})
    second = fake.read(at_s=10.0, deep=True)
    fake.works(2.0, own=0.0, others={"stress": 4.0})
    found = fake.conditions([first, second, fake.read(at_s=12.0)])
    assert found.others == pytest.approx(0.5, abs=0.002)
    assert tuple(each.rule for each in disturbances.found(found)) == ("W1",)
    shallow = fake.conditions([replace(first, own_s=None), fake.read(at_s=12.0)])
    assert disturbances.found(shallow) == ()


def test_a_child_that_has_ended_stays_ours(tmp_path: Path) -> None:
    """W1 must not take the time of our own ended workers for that of others."""
    fake = Fake(tmp_path)
    fake.write(QUIET_FILES)
    fake.processes[11] = ("worker", OWN, 3.0)
    first = fake.read(at_s=0.0, deep=True)
    fake.busy_s += 9.0
    fake.idle_s += 11.0
    del fake.processes[11]  # waited for: its 12 s are now in the parent's children's time
    fake.flush()
    (fake.proc / "11/stat").unlink()
    tick = agent.ticks_per_second()
    fields = ["S", "1", *["0"] * 9, "0", "0", str(12 * tick), "0", *["0"] * 9]
    table = {**agent.processes(fake.proc)}
    (fake.proc / f"{OWN}/stat").write_text(f"{OWN} (python) {' '.join(fields)}")
    table = agent.processes(fake.proc)
    said = agent.state(fake.proc, fake.sys, cores=[0, 1], table=table, root=OWN)
    last = reading_of({**said, "at_s": 10.0})
    found = fake.conditions([first, last])
    assert found.grown("own_s") == pytest.approx(9.0)
    assert found.others == pytest.approx(0.0, abs=0.002)


def test_names_with_brackets_and_spaces_are_read(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.processes[77] = ("a) b (c", 1, 2.0)
    fake.flush()
    assert agent.processes(fake.proc)[77] == ("a) b (c", 1, 2.0, 0.0)


def test_quota_and_throttling_of_cgroup_v1(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    v1 = "sys/fs/cgroup/cpu"
    fake.write(
        {
            "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/box\n",
            f"{v1}/box/cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 2500000000\n",
            f"{v1}/box/cpu.cfs_quota_us": "50000",
            f"{v1}/box/cpu.cfs_period_us": "100000",
            f"{v1}/cpu.cfs_quota_us": "-1",
            f"{v1}/cpu.cfs_period_us": "100000",
        }
    )
    assert agent.cpu_limit(fake.proc, fake.sys) == 0.5
    assert fake.read(at_s=0.0).throttled_s == 2.5


def test_what_cannot_be_understood_ends_no_measurement(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.write({"proc/loadavg": "strange", PI: "not hex", "proc/stat": "cpu0 a b c d e f g h"})
    assert set(agent.reading(proc=fake.proc, sys=fake.sys)) == {"at_s"}
    found = fake.conditions([reading_of({"at_s": 1.0}), reading_of({"at_s": 2.0})])
    assert disturbances.found(found) == ()
    assert found.unread() == ("CPU times", "quota", "frequency", "temperature")


def test_a_sensor_of_hwmon_counts_where_there_are_no_zones(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    chip = "sys/class/hwmon/hwmon3"
    disk = "sys/class/hwmon/hwmon1"
    fake.write(
        {
            f"{chip}/name": "k10temp\n",
            f"{chip}/temp1_input": "71500",
            f"{chip}/temp1_crit": "95000",
            f"{disk}/name": "nvme\n",
            f"{disk}/temp1_input": "99000",
        }
    )
    found = fake.read(at_s=0.0)
    assert (found.temperature_c, found.temperature_limit_c) == (71.5, 95.0)


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_this_machine_is_watched() -> None:
    """Real files: what this process uses is its own, and is not taken for that of others."""
    with Watch(every_s=0.05) as watch:
        spin(0.5)
    found = watch.conditions
    assert len(found.readings) >= 3
    assert found.grown("own_s") == pytest.approx(0.5, abs=0.1)
    assert found.others is not None
    assert 0 <= found.others <= 1
    assert os.getpid() in agent.processes()


def test_a_watch_stops_when_the_measurement_fails(tmp_path: Path) -> None:
    def fails() -> None:
        raise RuntimeError("no")

    steps: list[Callable[[], None]] = [fails]
    watch = Watch(proc=tmp_path, sys=tmp_path, every_s=0.01)
    with pytest.raises(RuntimeError), watch:
        steps[0]()
    assert len(watch.conditions.readings) >= 2
