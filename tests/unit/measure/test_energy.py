"""Counters and power sensors of a fake /sys -> joules; and what is said where there is no meter.

N1 to N5: the cases of edgekit/measure/energy.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgekit.measure import agent, energy
from edgekit.measure.conditions import Reading, reading_of
from tests.unit.measure.fake_machine import Fake

RAPL = "sys/class/powercap/intel-rapl:0"
DRAM = "sys/class/powercap/intel-rapl:0:2"
INA = "sys/class/hwmon/hwmon2"
BATTERY = "sys/class/power_supply/BAT0"
Files = dict[str, str]


def package(uj: int, *, limit: int = 262_143_328_850) -> Files:
    return {
        f"{RAPL}/name": "package-0\n",
        f"{RAPL}/energy_uj": f"{uj}\n",
        f"{RAPL}/max_energy_range_uj": str(limit),
    }


def readings(folder: Path, states: Sequence[Files], *, every_s: float = 2.0) -> list[Reading]:
    fake, found = Fake(folder), []
    for index, files in enumerate(states):
        fake.write(files)
        found.append(fake.read(at_s=index * every_s))
    return found


def only(found: tuple[energy.Spent, ...]) -> energy.Spent:
    (one,) = found
    return one


def test_a_counter_is_the_difference_of_its_ends(tmp_path: Path) -> None:  # N1
    seen = only(
        energy.spent(readings(tmp_path, [package(1_000_000), package(4_000_000), package(9_000_000)]))
    )
    assert (seen.meter, seen.joules, seen.seconds, seen.watts) == ("RAPL package-0", 8.0, 4.0, 2.0)
    assert "package" in seen.scope
    assert seen.idle_watts is None
    assert seen.per_inference(100) == pytest.approx(0.08)


def test_a_counter_that_starts_again_loses_nothing(tmp_path: Path) -> None:  # N1
    limit = 10_000_000
    states = [
        package(8_000_000, limit=limit),
        package(9_900_000, limit=limit),
        package(1_900_000, limit=limit),
    ]
    assert only(energy.spent(readings(tmp_path, states))).joules == pytest.approx(1.9 + 2.0)


def test_sabotage_without_the_range_a_counter_that_starts_again_would_be_negative(tmp_path: Path) -> None:
    states = [package(9_000_000, limit=0), package(1_000_000, limit=0)]
    assert only(energy.spent(readings(tmp_path, states))).joules < 0


def test_parts_of_a_package_are_not_counted_twice(tmp_path: Path) -> None:  # N1
    def state(uj: int) -> Files:
        zone = "sys/class/powercap/intel-rapl"
        return {
            **package(uj),
            f"{DRAM}/name": "dram",
            f"{DRAM}/energy_uj": str(uj // 4),
            f"{DRAM}/max_energy_range_uj": "65712999613",
            f"{zone}:0:0/name": "core",
            f"{zone}:0:0/energy_uj": str(uj // 2),
            f"{zone}:1/name": "psys",
            f"{zone}:1/energy_uj": str(uj * 2),
            "sys/class/powercap/intel-rapl-mmio:0/name": "package-0",
            "sys/class/powercap/intel-rapl-mmio:0/energy_uj": str(uj),
        }

    seen = only(energy.spent(readings(tmp_path, [state(0), state(4_000_000)])))
    assert (seen.meter, seen.joules) == ("RAPL dram + package-0", 5.0)
    assert "memory" in seen.scope


def test_two_packages_are_one_meter(tmp_path: Path) -> None:  # N1
    def state(uj: int) -> Files:
        second = "sys/class/powercap/intel-rapl:1"
        return {
            **package(uj),
            f"{second}/name": "package-1",
            f"{second}/energy_uj": str(uj),
            f"{second}/max_energy_range_uj": "262143328850",
        }

    assert only(energy.spent(readings(tmp_path, [state(0), state(3_000_000)]))).joules == 6.0


def test_the_idle_part_is_taken_off_where_it_was_measured(tmp_path: Path) -> None:
    rest = readings(tmp_path / "a", [package(0), package(2_000_000), package(4_000_000)])  # 1 W
    running = readings(tmp_path / "b", [package(4_000_000), package(14_000_000)])  # 5 W
    seen = only(energy.spent(running, idle=rest))
    assert (seen.watts, seen.idle_watts) == (5.0, 1.0)
    assert seen.per_inference(100) == pytest.approx((10 - 2) / 100)
    assert only(energy.spent(running)).per_inference(100) == pytest.approx(10 / 100)


def test_power_is_integrated_over_time(tmp_path: Path) -> None:  # N2
    def state(mw: int) -> Files:
        return {f"{INA}/name": "ina226", f"{INA}/power1_input": str(mw * 1000), f"{INA}/in1_label": "VDD_IN"}

    seen = only(energy.spent(readings(tmp_path, [state(2000), state(4000), state(4000)])))
    assert seen.meter == "ina226 VDD_IN"
    assert seen.joules == pytest.approx(3 * 2 + 4 * 2)
    assert seen.scope == "this rail of the board"


def test_a_chip_of_three_channels_without_power_gives_volts_times_amperes(tmp_path: Path) -> None:  # N2
    files = {
        f"{INA}/name": "ina3221",
        "sys/class/hwmon/hwmon3/name": "nvme",
        "sys/class/hwmon/hwmon3/power1_input": "9",
    }
    for channel, mv, ma in ((1, 5000, 800), (2, 1000, 300)):
        files |= {f"{INA}/in{channel}_input": str(mv), f"{INA}/curr{channel}_input": str(ma)}
        files |= {f"{INA}/in{channel}_label": f"RAIL{channel}"}
    found = energy.spent(readings(tmp_path, [files, files]))
    assert [(each.meter, each.watts) for each in found] == [("ina3221 RAIL1", 4.0), ("ina3221 RAIL2", 0.3)]


@pytest.mark.parametrize(
    "files",
    [
        {f"{BATTERY}/power_now": "8000000"},
        {f"{BATTERY}/current_now": "2000000", f"{BATTERY}/voltage_now": "4000000"},
        {f"{BATTERY}/current_now": "-2000000", f"{BATTERY}/voltage_now": "4000000"},
    ],
    ids=["power", "current and voltage", "a driver that counts below zero"],
)
def test_a_battery_that_discharges_measures_the_device(files: Files, tmp_path: Path) -> None:  # N3
    state = {f"{BATTERY}/type": "Battery", f"{BATTERY}/status": "Discharging", **files}
    seen = only(energy.spent(readings(tmp_path, [state, state])))
    assert (seen.meter, seen.watts, seen.scope) == ("battery BAT0", 8.0, "the whole device")


def test_a_battery_that_charges_is_no_meter(tmp_path: Path) -> None:  # N3: its current is the charger's
    state = {f"{BATTERY}/type": "Battery", f"{BATTERY}/status": "Charging", f"{BATTERY}/power_now": "8000000"}
    found = readings(tmp_path, [state, state])
    assert energy.spent(found) == ()
    assert energy.why_none(found) == (
        "no meter: no RAPL and no power sensor, and the battery does not discharge",
        "unplug the charger",
    )


def test_what_only_root_may_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # N4
    real = Path.read_text

    def refused(path: Path, *given: Any, **named: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", refused)
    found = readings(tmp_path, [package(0), package(5_000_000)])
    assert energy.spent(found) == ()
    reason, remedy = energy.why_none(found)
    assert reason.startswith("no meter: ")
    assert "root only (since CVE-2020-8694)" in reason
    assert remedy.startswith(f"sudo chmod a+r {tmp_path / RAPL / 'energy_uj'}")


def test_a_machine_without_any_sensor_says_so(tmp_path: Path) -> None:  # N5
    found = readings(tmp_path, [{}, {}])
    assert energy.spent(found) == ()
    assert energy.why_none(found)[0] == "no meter: no RAPL, no INA sensor and no battery under /sys"


def test_a_meter_that_went_away_gives_no_figure(tmp_path: Path) -> None:
    with_it = readings(tmp_path / "a", [package(0)])
    without = readings(tmp_path / "b", [{}, {}])
    assert energy.spent([*with_it, *without]) == ()


def test_one_reading_is_no_stretch_of_time(tmp_path: Path) -> None:
    assert energy.spent(readings(tmp_path, [package(0)])) == ()
    assert energy.spent([]) == ()


def test_a_device_says_it_in_json(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.write(package(7))
    said = agent.state(fake.proc, fake.sys, cores=[0])
    assert said["energy_uj"] == {"package-0 intel-rapl:0": [7, 262_143_328_850]}
    assert reading_of(said).energy_uj["package-0 intel-rapl:0"][0] == 7
