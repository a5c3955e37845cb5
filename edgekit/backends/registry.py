"""Back end name -> Backend. Our own table, merged with the entry points ``edgekit.backends``.

A plug-in adds a row in its own pyproject.toml (entry points specification of the PyPA):

    [project.entry-points."edgekit.backends"]
    mychip = "mychip_edgekit.backend:MyChip"

Modules are imported when their back end is asked for, not before.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from edgekit.errors import InputError, MissingBackendError, UnknownNameError
from edgekit.spec import Availability

if TYPE_CHECKING:
    from edgekit.backends.base import Backend
    from edgekit.target import Target

BUILT_IN: Mapping[str, str] = {
    "executorch": "edgekit.backends.executorch:ExecuTorch",
    "litert": "edgekit.backends.litert.backend:LiteRt",
    "onnxruntime": "edgekit.backends.onnxruntime:OnnxRuntime",
    "onnxruntime-web": "edgekit.backends.onnxruntime_web:OnnxRuntimeWeb",
    "openvino": "edgekit.backends.openvino:OpenVino",
    "readiness": "edgekit.backends.readiness:ReadinessCheck",
    "torch-aoti": "edgekit.backends.torch_aoti:TorchAoti",
}

GROUP = "edgekit.backends"
_ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}  # macOS and Windows -> as Linux says it


def names() -> tuple[str, ...]:
    """Names of all back ends, sorted. Imports none of them."""
    return tuple(sorted(table(entry_points(group=GROUP))))


def backend(name: str) -> Backend:
    """The back end ``name``.

    Raises:
        UnknownNameError: no such back end.
        MissingBackendError: a plug-in's module cannot be imported.
        InputError: two plug-ins claim one name.
    """
    return load(name, table(entry_points(group=GROUP)))


def availability(target: Target) -> Availability:
    """What ``target``'s back end says of this machine, and whether this is the processor that it is for."""
    found = backend(target.backend).probe(target)
    machine = _ARCHITECTURES.get(platform.machine().lower(), platform.machine())
    if not found.ok or target.architecture in {"", machine}:
        return found
    return Availability(
        False,
        found.version,
        f"this machine is {machine}, and {target.name} is for {target.architecture}",
        "run it on such a device: edgekit verify BUNDLE --device ssh://USER@HOST (docs/devices.md)",
    )


def table(plugins: Iterable[EntryPoint]) -> dict[str, str]:
    """The built-in rows and those of ``plugins``: name -> "module:Class".

    Raises:
        InputError: a name appears twice.
    """
    rows = dict(BUILT_IN)
    for plugin in plugins:
        if rows.setdefault(plugin.name, plugin.value) != plugin.value:
            raise InputError(
                f"two back ends are called {plugin.name!r}: {rows[plugin.name]} and {plugin.value}",
                why="which one runs would depend on the order of installation",
                remedy="uninstall one of the packages that provide them",
            )
    return rows


def load(name: str, rows: Mapping[str, str]) -> Backend:
    """An instance of the class that ``rows`` names; errors as ``backend``."""
    if name not in rows:
        raise UnknownNameError("back end", name, rows, listing="edgekit doctor")
    module, _, class_name = rows[name].partition(":")
    try:
        found: Backend = getattr(importlib.import_module(module), class_name)()
    except (ImportError, AttributeError) as error:
        raise MissingBackendError(
            f"back end {name!r} ({rows[name]}) cannot be imported: {error}",
            why="its package is broken or one of its own requirements is not installed",
            remedy="install the package that provides it again",
        ) from error
    return found
