"""Every bench, here and through the agent, holds what its machine went through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.measure.device_address import Address
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.devices import DeviceOptions
from edgekit.pipeline.bench.on_devices import bench_on_devices
from edgekit.pipeline.bench.on_this_machine import bench
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.result import BenchResult
from edgekit.spec import Silent
from tests.unit.measure.test_agent import small_model

LOCAL = NamedDevice("board", Address("local", "local"), DeviceOptions())
Bench = Callable[[Path], BenchResult]


def here(model: Path) -> BenchResult:
    return bench([model], baseline=None, sweep=Sweep(), seed=0, progress=Silent())


def there(model: Path) -> BenchResult:
    return bench_on_devices([model], devices=[LOCAL], baseline=None, sweep=Sweep(), seed=0, progress=Silent())


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
@pytest.mark.parametrize(("measure", "device"), [(here, ""), (there, "board")], ids=["here", "agent"])
def test_a_result_holds_its_environment(measure: Bench, device: str, tmp_path: Path) -> None:
    found = measure(small_model(tmp_path / "m.onnx"))
    (seen,) = found.environments
    assert seen.device == device
    assert seen.seconds > 0
    quantities = {each.name: each for each in seen.conditions}
    assert {"load", "others", "steal"} <= set(quantities)
    assert 0 <= quantities["others"].after <= 100


def test_a_device_has_the_key_of_its_machine(tmp_path: Path) -> None:
    """A history must see that it is one machine, however it was reached."""
    (device,) = there(small_model(tmp_path / "m.onnx")).devices
    assert device.key == machine_row().key


def test_counters_since_boot_are_no_facts_of_a_device(tmp_path: Path) -> None:
    (device,) = there(small_model(tmp_path / "m.onnx")).devices
    assert not {"busy s", "own s", "at s", "swapped in pages"} & set(device.facts)
    assert "onnxruntime" in device.facts["versions"]
