"""Environment variables and platform defaults -> values. The only reader of ``os.environ``.

| variable | meaning | default |
|---|---|---|
| EDGEKIT_CACHE | folder of the content-addressed cache | the platform's user cache folder |
| EDGEKIT_DATA | folder of real data for tests and benchmarks | none: such tests are skipped |
| EDGEKIT_SOFTWARE_GPU | 1: GPU targets may run on drivers that compute on the processor (SwiftShader) | 0 |
| EDGEKIT_NODE_MODULES | the `node_modules` that holds onnxruntime-web, or its folder | as Node looks |
| EDGEKIT_SIGN_KEY | path of the private key that `release` signs with | none: releases are not signed |
| GITHUB_STEP_SUMMARY | file that a verdict is appended to as markdown; GitHub Actions sets it | none |
"""

from __future__ import annotations

import os
from pathlib import Path

# Measured on onnxruntime 1.31 and openvino 2026.4: both write identifiers into the home folder at import
# unless told not to. ORT_DISABLE_TELEMETRY must be set before the import (onnxruntime upstream change 27379).
QUIET_NATIVE_ENVIRONMENT: dict[str, str] = {
    "ORT_DISABLE_TELEMETRY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # silences a banner; changes no result that edgekit uses
    "KERAS_BACKEND": "tensorflow",  # the torch back end unrolls LSTM into thousands of nodes
}
# openvino-telemetry looks for exactly CI == "true" ("1" does not count). For workers only: in the user's own
# process the variable means something to others.
QUIET_WORKER_ENVIRONMENT: dict[str, str] = {**QUIET_NATIVE_ENVIRONMENT, "CI": "true"}


def cache_dir() -> Path:
    """The cache folder: ``EDGEKIT_CACHE``, else the platform's user cache folder."""
    named = os.environ.get("EDGEKIT_CACHE")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgekit", appauthor=False))


def data_dir() -> Path | None:
    """The folder of real data for tests and benchmarks, or None."""
    named = os.environ.get("EDGEKIT_DATA")
    return Path(named) if named and Path(named).is_dir() else None


def sign_key() -> Path | None:
    """The file of the private key that releases are signed with, or None."""
    named = os.environ.get("EDGEKIT_SIGN_KEY")
    return Path(named).expanduser() if named else None


def software_gpu() -> bool:
    """Whether a GPU target may run on a driver that computes on the processor: numerics, never latency."""
    return os.environ.get("EDGEKIT_SOFTWARE_GPU") == "1"


def hides_vulkan_drivers() -> str:
    """NAME=VALUE of the variable that hides all Vulkan drivers but those it names; "" where none is set."""
    names = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")  # the second: loaders before 1.3.207
    return next((f"{name}={os.environ[name]}" for name in names if os.environ.get(name)), "")


def step_summary() -> Path | None:
    """The file of the running step that GitHub shows on the job's page, or None."""
    named = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(named) if named else None


def node_folders() -> tuple[Path, ...]:
    """Where ``node_modules`` may be: the folder that is named, else the working folder and those above it."""
    named = os.environ.get("EDGEKIT_NODE_MODULES")
    if named:
        folder = Path(named).expanduser().absolute()
        return (folder.parent if folder.name == "node_modules" else folder,)
    here = Path.cwd()
    return (here, *here.parents)


def silence_native_libraries() -> None:
    """Turn telemetry and start-up banners of native libraries off; call before importing one."""
    os.environ.update(QUIET_NATIVE_ENVIRONMENT)


def default(name: str, value: str | None) -> None:
    """Set an environment variable for native compilers in this process, unless it is set already."""
    if value:
        os.environ.setdefault(name, value)


def child_environment() -> dict[str, str]:
    """The environment for a worker process: this one, with telemetry and banners off whatever it says."""
    return {**os.environ, **QUIET_WORKER_ENVIRONMENT}


def environment() -> dict[str, str]:
    """All variables: what a CI says about its job (``cli.ci_comment``, ``cli.ci_attach``)."""
    return dict(os.environ)
