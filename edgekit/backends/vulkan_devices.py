"""The Vulkan loader -> the devices of this machine: name, kind, driver. For workers: drivers can crash.

Dawn, on which the WebGPU runtimes stand, asks the same loader on Linux and takes a real GPU before a driver
that computes on the processor. It takes the latter in silence where there is no other; so who will run is
read here beforehand, and not guessed from names: a driver says itself that it is a processor (C1).

C1 ``deviceType`` is VK_PHYSICAL_DEVICE_TYPE_CPU: SwiftShader, llvmpipe
C2 such a driver is taken only where EDGEKIT_SOFTWARE_GPU=1 allows it: its times would pass for a GPU's

Source: Vulkan 1.3, "Devices and Queues": VkPhysicalDeviceProperties, VkPhysicalDeviceDriverProperties.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

from edgekit import settings
from edgekit.errors import MissingBackendError
from edgekit.spec import SOFTWARE

LOADER = "libvulkan.so.1"
_API_1_1, _API_1_2 = 1 << 22 | 1 << 12, 1 << 22 | 2 << 12  # VK_MAKE_API_VERSION
_APPLICATION, _INSTANCE = 0, 1  # VkStructureType
_PROPERTIES_2, _DRIVER_PROPERTIES = 1000059001, 1000196000
_KINDS = ("other", "integrated", "discrete", "virtual", "cpu")  # VkPhysicalDeviceType
_ROOM = 2048  # VkPhysicalDeviceProperties has 824 bytes in version 1.3
_BEST_FIRST = ("discrete", "integrated", "virtual", "other", "cpu")


class _ApplicationInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_uint32),
        ("engine", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("api", ctypes.c_uint32),
    ]


class _InstanceInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.POINTER(_ApplicationInfo)),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    ]


class _Properties(ctypes.Structure):
    _fields_ = [
        ("api", ctypes.c_uint32),
        ("driver", ctypes.c_uint32),
        ("vendor", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("kind", ctypes.c_int),
        ("name", ctypes.c_char * 256),
        ("rest", ctypes.c_char * _ROOM),
    ]


class _DriverProperties(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("id", ctypes.c_int),
        ("name", ctypes.c_char * 256),
        ("info", ctypes.c_char * 256),
        ("conformance", ctypes.c_uint8 * 4),
    ]


class _Properties2(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("next", ctypes.c_void_p), ("properties", _Properties)]


@dataclass(frozen=True)
class VulkanDevice:
    """One device.

    Attributes:
        name: "SwiftShader Device (Subzero)".
        kind: "discrete", "integrated", "virtual", "cpu" or "other".
        driver: "llvmpipe Mesa 25.0.7 (LLVM 15.0.6)"; "" where the driver is too old to say.
    """

    name: str
    kind: str
    driver: str

    @property
    def software(self) -> bool:
        """C1."""
        return self.kind == "cpu"


class NoVulkanError(Exception):
    """The loader is not installed, or no driver answers; the text says which."""


class NoLoaderError(NoVulkanError):
    """Not even the loader is here."""


def chosen(*, runtime: str, software: bool) -> dict[str, str]:
    """The device that Dawn will take, as facts of a session; nothing where Vulkan is not the way.

    Args:
        runtime: who is going to run there, for messages.
        software: C2.

    Raises:
        MissingBackendError: there is none, or none that may be taken.
    """
    try:
        found = devices()
    except NoVulkanError as error:
        named = "" if isinstance(error, NoLoaderError) else settings.hides_vulkan_drivers()
        hidden = f"correct or unset {named}, which hides every other driver; or " if named else ""
        raise MissingBackendError(
            f"{runtime} cannot run here: there is no GPU that it could use",
            why=str(error),
            remedy=f"{hidden}install the GPU's Vulkan driver and loader "
            "(Debian: apt-get install libvulkan1 mesa-vulkan-drivers; NVIDIA: its own driver)",
            more="docs/gpu.md",
        ) from error
    if not found:
        return {}
    first = found[0]
    if first.software and not software:
        raise MissingBackendError(
            f"{runtime} cannot run here: the only GPU is {first.name}, which computes on the processor",
            why="what it computes is right, and its latency would pass for a GPU's",
            remedy="install the driver of a real GPU; for numerics alone: export EDGEKIT_SOFTWARE_GPU=1",
            more="docs/gpu.md",
        )
    facts = {"gpu": first.name, "driver": first.driver}
    return {**facts, SOFTWARE: first.name} if first.software else facts


def devices() -> tuple[VulkanDevice, ...]:
    """All devices, the one that Dawn takes first; empty where Vulkan is not how GPUs are reached.

    Raises:
        NoVulkanError: no loader, no driver, or no device.
    """
    if sys.platform != "linux":
        return ()
    try:
        vulkan = ctypes.CDLL(LOADER)
    except OSError as error:
        raise NoLoaderError(f"the Vulkan loader ({LOADER}) is not installed") from error
    application = _ApplicationInfo(type=_APPLICATION, api=_API_1_1)
    info = _InstanceInfo(type=_INSTANCE, application=ctypes.pointer(application))
    instance = ctypes.c_void_p()
    failed = vulkan.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance))
    if failed:
        raise NoVulkanError(f"the Vulkan loader finds no driver (vkCreateInstance gives {failed})")
    try:
        return _listed(vulkan, instance)
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _listed(vulkan: ctypes.CDLL, instance: ctypes.c_void_p) -> tuple[VulkanDevice, ...]:
    count = ctypes.c_uint32()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    found = [_described(vulkan, ctypes.c_void_p(handle)) for handle in handles]
    if not found:
        raise NoVulkanError("the Vulkan loader finds no device")
    return tuple(sorted(found, key=lambda each: _BEST_FIRST.index(each.kind)))


def _described(vulkan: ctypes.CDLL, handle: ctypes.c_void_p) -> VulkanDevice:
    properties = _Properties()
    vulkan.vkGetPhysicalDeviceProperties(handle, ctypes.byref(properties))
    driver = ""
    if properties.api >= _API_1_2:
        more = _DriverProperties(type=_DRIVER_PROPERTIES)
        both = _Properties2(type=_PROPERTIES_2, next=ctypes.addressof(more))
        vulkan.vkGetPhysicalDeviceProperties2(handle, ctypes.byref(both))
        driver = f"{more.name.decode()} {more.info.decode()}".strip()
    kind = _KINDS[properties.kind] if 0 <= properties.kind < len(_KINDS) else "other"
    return VulkanDevice(properties.name.decode(), kind, driver)
