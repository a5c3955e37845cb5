"""What a stranger meets first: README, Makefile, constraints, licence."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from edgekit.errors import EXIT_CODE_MEANINGS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FIRST_SCREEN = "\n".join(README.splitlines()[:60])


def requirement_names(lines: list[str]) -> set[str]:
    return {
        re.split(r"[\s\[<>=;!~]", line.strip())[0].lower().replace("_", "-")
        for line in lines
        if line.strip() and not line.lstrip().startswith("#")
    }


def test_the_first_screen_shows_the_two_commands_and_the_exit_codes() -> None:
    assert "make demo" in FIRST_SCREEN
    assert "make test" in FIRST_SCREEN
    for code, meaning in EXIT_CODE_MEANINGS.items():
        assert re.search(rf"\b{int(code)}\b", FIRST_SCREEN), meaning


def test_every_path_that_readme_and_docs_name_exists() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
            if not link.startswith(("http", "mailto")):
                assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_dependency_is_pinned() -> None:
    wanted = requirement_names(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted |= requirement_names([r for r in extra if not r.startswith("edgekit")])
    for group in PROJECT["dependency-groups"].values():
        wanted |= requirement_names([r for r in group if isinstance(r, str)])
    pinned = requirement_names((ROOT / "constraints.txt").read_text("utf-8").splitlines())
    # the name of TensorFlow's package differs by platform; the pin is for the one that CI installs
    assert wanted - pinned <= {"tensorflow"}


def test_constraints_are_exact() -> None:
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[^\s]+", line), line


@pytest.mark.parametrize("target", ["setup", "demo", "test", "lint", "models", "benchmarks", "clean"])
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(
        ["make", "-n", "-o", "setup", "-o", ".venv/.edgekit-stamp", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_readmes_edgekit_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a reader would type them, one after the other, in an empty folder."""
    from edgekit.cli.main import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("edgekit ")]
    assert [command.split()[1] for command in commands] == ["init", "release", "verify"]
    for command in commands:
        assert run(command.split()[1:]) == 0, command


def test_ci_calls_make_test() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_licence_is_apache() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_weights_are_small() -> None:
    for path in (ROOT / "models").rglob("*"):
        if path.suffix in {".safetensors", ".h5", ".keras"}:
            assert path.stat().st_size <= 1_000_000, path
            assert (path.parent / "train.py").is_file(), path
