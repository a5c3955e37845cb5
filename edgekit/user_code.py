"""``file.py`` of a user -> module, with its folder first on the path while its code runs.

Two models that both have a ``layers.py`` (or ``model.py``) beside them must not get each other's, so modules
that were imported from the folder meanwhile are forgotten afterwards. Their functions keep what they hold.

What was imported from elsewhere, but is no installed package, stays and is a dependency: a cached result is
only good while those files are what they were (``imported_files``).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_PREFIX = "_edgekit_user_"


@contextlib.contextmanager
def importable(folder: Path, *, forget: bool = True) -> Iterator[None]:
    """``folder`` first on the path; with ``forget``, modules imported from it meanwhile are dropped."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have removed it itself
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before if forget else ():
            if not name.startswith(_PREFIX) and _lies_in(sys.modules[name], folder):
                del sys.modules[name]


def load_file(path: Path) -> ModuleType:
    """Execute ``path`` under a name of its own; call inside ``importable``.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: whatever its code raises.
    """
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(path)
    # One name per path: dataclasses and pickle look a class's module up by name.
    name = _PREFIX + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # only for endings other than .py
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def imported_files() -> dict[str, str]:
    """Path -> SHA-256 of every Python file in use that belongs neither to an installed package nor to us."""
    listed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed = {folder.resolve() for folder in listed} | {Path(__file__).resolve().parent}
    plain = tuple(f"{folder}{os.sep}" for folder in listed | installed)  # most files, without asking the disk
    found = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or name == "__main__":
            continue
        if file.startswith(plain) and os.pardir not in file:
            continue
        path = Path(file).resolve()
        if path.is_file() and not any(path.is_relative_to(folder) for folder in installed):
            found[str(path)] = file_digest(path)
    return found


def file_digest(path: Path) -> str:
    """SHA-256 in hex; "" where the file is gone."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts
