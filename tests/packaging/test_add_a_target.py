"""docs/add-a-target.md, word by word: its files written, its package built and installed, its commands run.

Offline and outside of this environment: `pip` installs into a scratch folder, from the checkout's own tools.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "add-a-target.md"
_FILE = re.compile(r"^`(edgekit-toychip/[^`]+)`:.*?\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Stranger:
    """A folder of somebody who has edgekit on the PATH, and where `pip` puts packages."""

    work: Path
    site: Path
    environment: Mapping[str, str]

    def type(self, line: str) -> subprocess.CompletedProcess[str]:
        """One line of the guide in a shell, as it stands there."""
        return subprocess.run(
            ["sh", "-c", line], cwd=self.work, env=self.environment, capture_output=True, text=True
        )


def stranger(folder: Path) -> Stranger:
    """`edgekit` and `pip` as the guide types them; pip leaves this environment alone."""
    work, site, programs = folder / "work", folder / "site", folder / "bin"
    for each in (work, site, programs):
        each.mkdir()
    offline = f"--no-index --no-deps --no-build-isolation --target {site}"
    lines = {"edgekit": f'{sys.executable} -m edgekit "$@"', "pip": f'{sys.executable} -m pip "$@" {offline}'}
    for name, line in lines.items():
        (programs / name).write_text(f"#!/bin/sh\nexec {line}\n")
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{site}:{ROOT}",
        "EDGEKIT_CACHE": str(folder / "cache"),
        "HOME": str(folder),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return Stranger(work, site, environment)


def written(who: Stranger, *, without: str = "") -> None:
    """The guide's files, the text ``without`` left out of each."""
    found = _FILE.findall(GUIDE.read_text("utf-8"))
    assert len(found) == 3
    for name, content in found:
        path = who.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace(without, "") if without else content)


def commands() -> list[str]:
    (block,) = _COMMANDS.findall(GUIDE.read_text("utf-8"))
    return [line for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stranger, dict[str, str]]:
    """What each command of the guide printed; all of them succeeded."""
    pytest.importorskip("hatchling", reason="hatchling builds the guide's package")
    who = stranger(tmp_path_factory.mktemp("stranger"))
    written(who)
    said = {}
    for line in commands():
        result = who.type(line)
        assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
        said[line] = result.stdout
    return who, said


def test_the_target_is_listed_and_shown(done: tuple[Stranger, dict[str, str]]) -> None:
    _, said = done
    assert "a chip that computes with onnx.reference" in said["edgekit targets"]
    assert (
        "it takes milliseconds where others take microseconds [measured]"
        in said["edgekit targets show toychip"]
    )


def test_both_artifacts_are_files_of_the_chip_and_pass(done: tuple[Stranger, dict[str, str]]) -> None:
    who, said = done
    names = {path.name for path in (who.work / "out").glob("*.toy")}
    assert names == {"digits-cnn-0-toychip-fp32.toy", "q-0-toychip-w8a8.toy"}
    (validated,) = [text for line, text in said.items() if line.startswith("edgekit validate")]
    assert validated.count("toychip 1") >= 2  # "Ran on": the runtime and onnx's version
    assert "verdict: pass" in validated
    sidecar = json.loads((who.work / "out" / "q-0-toychip-w8a8.toy.json").read_text())
    assert (sidecar["backend"], sidecar["precision"]) == ("toychip", "w8a8")


def test_it_is_timed_in_its_own_runtime(done: tuple[Stranger, dict[str, str]]) -> None:
    _, said = done
    (timed,) = [text for line, text in said.items() if line.startswith("edgekit bench")]
    assert "digits-cnn-0-toychip-fp32.toy: toychip 1" in timed


def test_a_file_that_is_not_where_the_entry_point_says_is_named(
    done: tuple[Stranger, dict[str, str]],
) -> None:
    """Sabotage: without its TOML the package is an error that says so, not a target that vanished."""
    who, _ = done
    path = who.site / "edgekit_toychip" / "toychip.toml"
    content = path.read_bytes()
    path.unlink()
    try:
        result = who.type("edgekit targets")
        assert result.returncode == 2
        assert "target 'toychip' of the installed package 'edgekit_toychip' cannot be used" in result.stderr
    finally:
        path.write_bytes(content)


def test_a_name_that_is_shipped_cannot_be_taken(done: tuple[Stranger, dict[str, str]]) -> None:
    who, _ = done
    entry = next(who.site.glob("edgekit_toychip-*.dist-info")) / "entry_points.txt"
    content = entry.read_text()
    entry.write_text(content.replace("[edgekit.targets]\n", "[edgekit.targets]\nwasm = edgekit_toychip\n"))
    try:
        result = who.type("edgekit targets")
        assert result.returncode == 2
        assert "another target has that name" in result.stderr
    finally:
        entry.write_text(content)


def test_without_the_package_the_name_is_unknown(tmp_path: Path) -> None:
    result = stranger(tmp_path).type("edgekit targets show toychip")
    assert result.returncode == 2
    assert "unknown target 'toychip'" in result.stderr
