"""Every bench, here and through the agent, holds what its machine went through."""

from __future__ import annotations

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


SWEEP = Sweep(budget_s=0.1)  # one launch


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "m.onnx")


@pytest.fixture(scope="module")
def here(model: Path) -> BenchResult:
    return bench([model], baseline=None, sweep=SWEEP, seed=0, progress=Silent())


@pytest.fixture(scope="module")
def there(model: Path) -> BenchResult:
    return bench_on_devices([model], devices=[LOCAL], baseline=None, sweep=SWEEP, seed=0, progress=Silent())


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
@pytest.mark.parametrize(("measured", "device"), [("here", ""), ("there", "board")], ids=["here", "agent"])
def test_a_result_holds_its_environment(measured: str, device: str, request: pytest.FixtureRequest) -> None:
    found: BenchResult = request.getfixturevalue(measured)
    (seen,) = found.environments
    assert seen.device == device
    assert seen.seconds > 0
    quantities = {each.name: each for each in seen.conditions}
    assert {"load", "others", "steal"} <= set(quantities)
    assert 0 <= quantities["others"].after <= 100


def test_a_device_has_the_key_of_its_machine(there: BenchResult) -> None:
    """A history must see that it is one machine, however it was reached."""
    (device,) = there.devices
    assert device.key == machine_row().key


def test_counters_since_boot_are_no_facts_of_a_device(there: BenchResult) -> None:
    (device,) = there.devices
    assert not {"busy s", "own s", "at s", "swapped in pages"} & set(device.facts)
    assert "onnxruntime" in device.facts["versions"]
