"""Help pages: complete, quick, and without imports that nobody asked for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli.main import VERBS, run
from edgekit.errors import EXIT_CODE_MEANINGS

CLI = Path(__file__).parents[2] / "edgekit" / "cli"
# what `edgekit --help` may not import; the second list holds for `edgekit targets` as well
HEAVY = (
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "torch",
    "tensorflow",
    "keras",
    "openvino",
    "ai_edge_litert",
)
NEEDLESS = ("numpy", "pydantic", "rich", "edgekit.pipeline", "edgekit.report", "edgekit.api", "edgekit.spec")


def imported(*args: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgekit", *args],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        line.rsplit("|", 1)[-1].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }


def among(names: tuple[str, ...], found: set[str]) -> set[str]:
    return {each for each in found for name in names if each == name or each.startswith(name + ".")}


def test_edgekit_help_imports_no_verb_and_nothing_heavy() -> None:
    found = imported("--help")
    assert "typer" in found, "the list of imports is read wrongly"
    assert not among((*HEAVY, *NEEDLESS), found)
    assert not among(tuple(verb.module for verb in VERBS.values()), found)


@pytest.mark.parametrize(
    "args", [("targets",), ("targets", "show", "litert-cpu"), ("release", "--help")], ids=" ".join
)
def test_these_import_no_framework(args: tuple[str, ...]) -> None:
    found = imported(*args)
    assert not among(HEAVY, found)
    assert among(("edgekit.cli",), found)


def test_edgekit_help_lists_verbs_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for name, verb in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.help)}$", text, re.MULTILINE)
    for code, meaning in EXIT_CODE_MEANINGS.items():
        assert re.search(rf"^ +{code:d}  {re.escape(meaning)}$", text, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_an_example_exit_codes_and_the_common_flags(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"  edgekit {verb}" in text.split("Examples:")[1]
    assert re.search(r"^ +0  ok$", text, re.MULTILINE)
    for flag in ("--format <text|json>", "-q, --quiet", "--log-json", "--debug", "-h, --help"):
        assert flag in text


@pytest.mark.parametrize("verb", VERBS)
def test_an_example_is_a_command_line_that_parses(verb: str) -> None:
    from importlib import import_module

    from edgekit.cli.main import group

    command = group().get_command(None, verb)
    for line in import_module(VERBS[verb].module).EXAMPLES:
        _, name, *args = line.split(" > ")[0].split()
        assert name == verb
        command.make_context(name, args)  # raises where a flag does not exist or a value does not fit


def test_one_file_per_verb_and_no_verb_module_is_imported_by_another_file() -> None:
    verbs = {verb.module for verb in VERBS.values()}
    assert verbs == {f"edgekit.cli.{name}" for name in VERBS}
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                assert not names & verbs, f"{path.name} imports a verb"


def test_version_and_bare_call(capsys: pytest.CaptureFixture[str]) -> None:
    import edgekit

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgekit {edgekit.__version__}\n"
    assert run([]) == 2
    caught = capsys.readouterr()
    assert caught.out == ""
    assert "Usage: edgekit" in caught.err
