"""``import sympy`` -> a name that becomes sympy when it is used: onnx_ir does sums of dynamic sizes with it.

    import edgekit, onnx_ir               sympy is named, and not loaded
    onnx_ir.SymbolicDim("batch") + 1      the first look into it loads it, whole and unchanged

sympy takes 0.18 of the 0.32 s of ``import onnx_ir`` (onnx-ir 1.1), and most commands do no sums with names.
``onnx_ir._symbolic_shapes`` looks into sympy while it is imported, so it is late, too. A process that has
imported sympy before keeps what it has.

``importlib.util.LazyLoader`` is the standard library's form of this. It is not used because before Python
3.11.9 and 3.12.3 two threads that look at once break it (python/cpython issue 114763). A finder makes the
loader, and no module is put into ``sys.modules`` beforehand: a second ``import`` statement looks at the
module's ``__spec__``, which loads it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # importlib.abc brings importlib.resources: 7 ms of every process

LATE = frozenset({"sympy", "onnx_ir._symbolic_shapes"})

_loading = RLock()  # one late module at a time; its own thread may look into it meanwhile


class LateModule(ModuleType):
    """A module whose code has not run yet; it becomes a plain one when an attribute is asked for."""

    def __getattribute__(self, name: str) -> Any:
        get = super().__getattribute__
        if name == "__class__":
            return get(name)
        with _loading:
            spec = get("__dict__")["__spec__"]
            if isinstance(spec.loader, LateLoader):
                late = spec.loader
                spec.loader = late.loader  # from here on, what its own imports see of it is what there is
                try:
                    late.loader.exec_module(self)
                except BaseException:
                    spec.loader = late  # the next look tries again, and fails with the same words
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]  # no longer late
        return get(name)


class LateLoader(Loader):
    """Loads with ``loader``, when the module is used."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As ``loader`` does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it for later."""
        module.__loader__ = self.loader
        module.__class__ = LateModule


class LateFinder:
    """Finds what the path finder finds, for the names in ``LATE``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec with a late loader; None for every other module, and for what is not there."""
        if fullname not in LATE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = LateLoader(spec.loader)
        return spec


def import_late() -> None:
    """From now on, the modules in ``LATE`` load when they are used; calling it again changes nothing."""
    if not any(isinstance(finder, LateFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LateFinder())
