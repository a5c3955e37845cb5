"""Kind of shipped data ("targets", "calibration") -> the folder that holds it.

Two places are possible: a checkout keeps the folders beside the package (an editable install sees those),
a wheel carries copies under ``edgekit/_shipped``. The checkout wins when its ``pyproject.toml`` names this
project, so that an edited target file takes effect at once.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str, *, package: Path = _PACKAGE) -> Path:
    """The folder of ``kind``, from the checkout if this is one, else from the wheel.

    Args:
        kind: "targets" or "calibration".
        package: the folder of the edgekit package (a parameter for tests).

    Raises:
        FileNotFoundError: neither place has the folder: the installation is broken.
    """
    in_checkout = package.parent / kind
    if _is_checkout(package.parent) and in_checkout.is_dir():
        return in_checkout
    in_wheel = package / "_shipped" / kind
    if in_wheel.is_dir():
        return in_wheel
    message = f"edgekit's own {kind!r} folder is in neither {in_checkout} nor {in_wheel}: reinstall edgekit"
    raise FileNotFoundError(message)


def _is_checkout(folder: Path) -> bool:
    project = folder / "pyproject.toml"
    if not project.is_file():
        return False
    try:
        return bool(tomllib.loads(project.read_text("utf-8")).get("project", {}).get("name") == "edgekit")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
