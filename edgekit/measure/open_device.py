"""Address x DeviceOptions -> an open Device."""

from __future__ import annotations

from edgekit.measure.device_adb import AdbDevice
from edgekit.measure.device_address import Address
from edgekit.measure.device_local import LocalDevice
from edgekit.measure.device_ssh import SshDevice
from edgekit.measure.devices import Device, DeviceOptions


def open_device(address: Address, options: DeviceOptions) -> Device:
    """Connect.

    Raises:
        MissingBackendError: the device cannot be reached; the message says why and what to type.
        InputError: an ssh option that would weaken the connection.
    """
    if address.kind == "ssh":
        return SshDevice(address, options)
    return AdbDevice(address) if address.kind == "adb" else LocalDevice()
