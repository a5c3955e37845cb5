"""sympy is loaded when it is used, whole and once; pytest has loaded it, so each case is a process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

LOADED = "'sympy.core' in sys.modules"


@dataclass(frozen=True)
class Case:
    """Lines after ``import edgekit, sys``, and what the last ones print."""

    id: str
    code: str
    prints: str


CASES = (
    Case("not-by-onnx_ir", f"import onnx_ir; print({LOADED})", "False"),
    Case("not-by-a-name", f"import onnx_ir; print(onnx_ir.SymbolicDim('n'), {LOADED})", "n False"),
    Case("by-a-sum", f"import onnx_ir; print(onnx_ir.SymbolicDim('n') + 1, {LOADED})", "n + 1 True"),
    Case(
        "sums-have-values",
        "import onnx_ir; print((onnx_ir.SymbolicDim('n') * 2 + 1).evaluate({'n': 4}))",
        "9",
    ),
    Case("by-the-user", f"import sympy, onnx_ir; print(sympy.Symbol('n'), {LOADED})", "n True"),
    Case("by-a-part-of-it", "import onnx_ir; from sympy import Symbol; print(Symbol('n'))", "n"),
    Case("by-a-submodule", "import onnx_ir, sympy.core; print(sympy.core.__name__)", "sympy.core"),
    Case(
        "a-plain-module-afterwards",
        "import onnx_ir, types, sympy; sympy.Symbol; print(type(sympy) is types.ModuleType)",
        "True",
    ),
    Case(
        "threads",
        "import onnx_ir; from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    found = set(pool.map(lambda i: str(onnx_ir.SymbolicDim('n') + 1), range(8)))\n"
        "print(found)",
        "{'n + 1'}",
    ),
    Case(
        "a-failure-is-the-import's",
        "import onnx_ir\n"
        "spec = object.__getattribute__(sys.modules['sympy'], '__dict__')['__spec__']\n"
        "def fail(module): raise ImportError('broken')\n"
        "spec.loader.loader.exec_module = fail\n"
        "for _ in range(2):\n"
        "    try: onnx_ir.SymbolicDim('n') + 1\n"
        "    except ImportError as error: print(error)",
        "broken\nbroken",
    ),
)


def said(code: str, first: str = "import edgekit, sys") -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{code}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_sympy_is_there_when_it_is_used(case: Case) -> None:
    assert said(case.code) == case.prints


def test_without_the_finder_it_would_be_loaded() -> None:
    """What the others prove is the finder's doing: the check sees the plain import."""
    assert said(f"import onnx_ir; print({LOADED})", "import sys") == "True"


def test_who_has_it_already_keeps_it() -> None:
    code = "before = sympy; import edgekit, onnx_ir; print(sys.modules['sympy'] is before)"
    assert said(code, "import sys, sympy") == "True"
