"""The house rules, checked by machines: ruff, mypy strict, import contracts, layout."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_ruff_finds_nothing() -> None:
    done = run(str(BIN / "ruff"), "check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout


def test_every_file_is_formatted() -> None:
    done = run(str(BIN / "ruff"), "format", "--no-cache", "--check", ".")
    assert done.returncode == 0, done.stdout


def test_types_are_strict_and_right() -> None:
    done = run(str(BIN / "mypy"), "--no-error-summary")
    assert done.returncode == 0, done.stdout


def test_import_contracts_hold() -> None:
    done = run(str(BIN / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout


def test_a_forbidden_import_is_seen(tmp_path: Path) -> None:
    """Sabotage: a stage that imports another stage breaks the contract."""
    import shutil

    shutil.copytree(ROOT / "edgekit", tmp_path / "edgekit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    victim = tmp_path / "edgekit" / "validation" / "budget.py"
    victim.write_text(victim.read_text() + "\nfrom edgekit.bundle import write  # sabotage\n")
    done = subprocess.run(
        [str(BIN / "lint-imports"), "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode != 0
    assert "edgekit.validation" in done.stdout


PYTHON_FILES = sorted(
    path for folder in ("edgekit", "tests", "models", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)


def test_there_are_no_rag_bags() -> None:
    bad = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert [p for p in PYTHON_FILES if p.name in bad] == []


@pytest.mark.parametrize("folder", ["edgekit"])
def test_the_environment_is_read_in_one_place(folder: str) -> None:
    readers = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or node.attr not in {"environ", "getenv"}:
                continue
            if isinstance(node.value, ast.Name) and node.value.id == "os":
                readers.append(path.relative_to(ROOT).as_posix())
    # The agent hands its own environment down on a device, where there is no edgekit to ask.
    assert set(readers) == {"edgekit/settings.py", "edgekit/measure/agent.py"}


def test_only_cli_and_report_print() -> None:
    printers = set()
    for path in sorted((ROOT / "edgekit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                printers.add(path.relative_to(ROOT).parts[1])
    assert printers <= {"cli", "report"}


def test_models_and_benchmarks_use_edgekit_and_never_the_other_way() -> None:
    for path in sorted((ROOT / "edgekit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(n.split(".")[0] in {"models", "benchmarks", "tests"} for n in names), path


def test_every_module_says_what_it_does() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "edgekit").rglob("*.py"))
        if path.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []
