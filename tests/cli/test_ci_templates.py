"""docs/ci and .pre-commit-hooks.yaml: each script is taken out of its file and run on a small release.

What stands around the scripts (the runner, the checkout) is played by this file: variables, a working folder,
and an ``edgekit`` on the path.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from edgekit.cli import pre_commit
from edgekit.errors import ExitCode
from edgekit.pipeline.init import init
from tests.cli.fake_forge import running

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "docs" / "ci" / "action.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
REPORTS = ("edgekit.csv", "edgekit.html", "edgekit.json", "edgekit.md", "edgekit.sarif", "edgekit.xml")
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="no bash here")


@dataclass(frozen=True)
class Checkout:
    """A repository with one model in it, as a runner would have it."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script as GitHub's ``shell: bash`` does."""
        return subprocess.run(
            [str(BASH), "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def limit(self, text: str) -> None:
        """Put a line into the recipe's [budget]."""
        path = self.folder / "model" / "edgekit.toml"
        path.write_text(path.read_text("utf-8").replace("[budget]", f"[budget]\n{text}"), "utf-8")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache, and an ``edgekit`` that runs this code."""
    folder = tmp_path_factory.mktemp("shared")
    python = shlex.quote(sys.executable)
    (folder / "bin").mkdir()
    for name, command in (("edgekit", f"{python} -m edgekit"), ("python", python)):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    return folder


@pytest.fixture
def checkout(shared: Path, tmp_path: Path) -> Checkout:
    """The shipped example with few samples; speed is not judged, since it varies."""
    recipe = tmp_path / "repository" / "model" / "edgekit.toml"
    init(recipe.parent, example="digits-cnn")
    text = recipe.read_text("utf-8")
    for old, new in (
        ('"calibration.npz"', '"calibration.npz", samples = 16'),
        ('"evaluation.npz"', '"evaluation.npz", samples = 120'),
        ("max_drop_pp = 1.0", "max_drop_pp = 5.0"),
        ("never_slower = true", "never_slower = false"),
    ):
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text, "utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "EDGEKIT_"))},
        "no_proxy": "127.0.0.1",
        "PATH": f"{shared / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "EDGEKIT_CACHE": str(shared / "cache"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    return Checkout(recipe.parents[1], environment)


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def check_reports(folder: Path, *, code: int) -> None:
    """All are there, and agree with the exit code."""
    assert sorted(each.name for each in folder.iterdir()) == list(REPORTS)
    assert json.loads((folder / "edgekit.json").read_text("utf-8"))["exit_code"] == code
    root = ET.fromstring((folder / "edgekit.xml").read_text("utf-8"))  # noqa: S314 - our own output
    assert (root.attrib["failures"] != "0") == bool(code)


# --- GitHub ---------------------------------------------------------------------------------------------


def step(name: str) -> dict[str, Any]:
    found = next(each for each in loaded(ACTION)["runs"]["steps"] if each["name"] == name)
    assert isinstance(found, dict)
    return found


def variables(step: Mapping[str, Any], **inputs: str) -> dict[str, str]:
    """The step's ``env`` with the inputs' defaults, or with what is given here."""
    defaults = {name: str(each["default"]) for name, each in loaded(ACTION)["inputs"].items()}
    values = defaults | {name.replace("_", "-"): value for name, value in inputs.items()}
    return {
        name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda match: values[match[1]], text)
        for name, text in step["env"].items()
    }


def cached(checkout: Checkout) -> dict[str, str]:
    """The recipe, and the cache that these tests share."""
    return {"recipe": "model/edgekit.toml", "cache": checkout.environment["EDGEKIT_CACHE"]}


def test_the_action_releases_and_the_job_has_a_page(checkout: Checkout, tmp_path: Path) -> None:
    release = step("Release")
    done = checkout.run(release["run"], **variables(release, **cached(checkout)))
    assert done.returncode == ExitCode.OK, done.stderr
    check_reports(checkout.folder / "edgekit-reports", code=0)
    assert (checkout.folder / "dist" / "digits-cnn-1.0.0" / "manifest.json").is_file()
    assert "**Verdict: pass**" in (tmp_path / "summary.md").read_text("utf-8")
    assert (tmp_path / "output").read_text() == "exit-code=0\n"


def test_the_action_is_red_with_the_code_and_the_reason(checkout: Checkout, tmp_path: Path) -> None:
    checkout.limit("max_size_bytes = 1000")
    release = step("Release")
    inputs = {"targets": "onnxruntime-cpu", "arguments": "--dry-run -q", **cached(checkout)}
    done = checkout.run(release["run"], **variables(release, **inputs))
    assert done.returncode == ExitCode.LATENCY_OR_SIZE_GATE, done.stderr
    check_reports(checkout.folder / "edgekit-reports", code=4)
    assert "bytes too large" in (tmp_path / "summary.md").read_text("utf-8")
    assert (tmp_path / "output").read_text() == "exit-code=4\n"
    (run,) = json.loads((checkout.folder / "edgekit-reports" / "edgekit.sarif").read_text("utf-8"))["runs"]
    place = next(each for each in run["results"] if each["ruleId"] == "size")["locations"][0][
        "physicalLocation"
    ]
    assert place["artifactLocation"]["uri"] == "model/edgekit.toml"
    line = (
        (checkout.folder / "model" / "edgekit.toml")
        .read_text("utf-8")
        .splitlines()[place["region"]["startLine"] - 1]
    )
    assert line == "max_size_bytes = 1000"


def test_a_recipe_that_cannot_be_read_is_said_on_the_page(checkout: Checkout, tmp_path: Path) -> None:
    release = step("Release")
    done = checkout.run(release["run"], **variables(release, recipe="none.toml"))
    assert done.returncode == ExitCode.BAD_INPUT
    assert "recipe none.toml cannot be read" in (tmp_path / "summary.md").read_text("utf-8")
    assert (tmp_path / "output").read_text() == "exit-code=2\n"


def test_no_input_is_pasted_into_a_script() -> None:
    """GitHub puts ``${{ }}`` into the text before bash sees it: a quote in an input would end the string."""
    for each in loaded(ACTION)["runs"]["steps"]:
        assert "${{" not in each.get("run", "")
        assert "run" not in each or each["shell"] == "bash"


def test_every_input_is_used_and_no_other() -> None:
    text = ACTION.read_text("utf-8")
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(loaded(ACTION)["inputs"])


@pytest.mark.parametrize(
    ("schema", "path"), [("github-actions", ACTION), ("gitlab-ci", GITLAB)], ids=["github", "gitlab"]
)
def test_the_official_schema_takes_it_and_not_what_is_misspelt(
    schema: str, path: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / path.name
    damaged.write_text(re.sub(r"^( *)(using|script):", r"\1colour:", path.read_text("utf-8"), flags=re.M))

    def checked(file: Path) -> int:
        command = [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            f"vendor.{schema}",
            str(file),
        ]
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode

    assert checked(path) == 0
    assert checked(damaged) == 1


# --- GitLab ---------------------------------------------------------------------------------------------


def gitlab(checkout: Checkout, **more: str) -> subprocess.CompletedProcess[str]:
    """The job's lines, one after the other in one shell, with its variables."""
    job = loaded(GITLAB)["edgekit-release"]
    given = {**job["variables"], "EDGEKIT_INSTALL": "", "EDGEKIT_RECIPE": "model/edgekit.toml", **more}
    given["EDGEKIT_CACHE"] = checkout.environment["EDGEKIT_CACHE"]
    return checkout.run("\n".join([*job["before_script"], *job["script"]]), **given)


def test_the_gitlab_job_releases(checkout: Checkout) -> None:
    with running() as forge:
        done = gitlab(checkout, **forge.gitlab(request="7"))
    (note,) = forge.comments
    assert "<!-- edgekit: model/edgekit.toml -->" in note["body"]
    assert "**Verdict: pass**" in note["body"]
    assert forge.releases == {}
    assert done.returncode == ExitCode.OK, done.stderr
    check_reports(checkout.folder / "edgekit-reports", code=0)
    job = loaded(GITLAB)["edgekit-release"]
    where = job["artifacts"]["reports"]["junit"].replace(
        "$EDGEKIT_REPORTS", job["variables"]["EDGEKIT_REPORTS"]
    )
    assert (checkout.folder / where).is_file()


def test_the_gitlab_job_is_red(checkout: Checkout) -> None:
    checkout.limit("max_size_bytes = 1000")
    with running() as forge:
        done = gitlab(checkout, EDGEKIT_ARGUMENTS="--dry-run -q", **forge.gitlab(request="7", tag="v1"))
    (note,) = forge.comments
    assert "bytes too large" in note["body"]
    assert forge.releases == {}
    assert done.returncode == ExitCode.LATENCY_OR_SIZE_GATE, done.stderr
    check_reports(checkout.folder / "edgekit-reports", code=4)
    allowed = loaded(GITLAB)["edgekit-release"]["allow_failure"]["exit_codes"]
    assert allowed == [ExitCode.INCONCLUSIVE]


# --- pre-commit -----------------------------------------------------------------------------------------


def hook(checkout: Checkout, *files: str) -> subprocess.CompletedProcess[str]:
    """The hook's entry with the files of a commit, as pre-commit appends them."""
    (found,) = loaded(HOOKS)
    return checkout.run(" ".join([found["entry"], "-q", *map(shlex.quote, files)]))


def test_the_hook_stands_where_pre_commit_looks_and_has_what_it_needs() -> None:
    (found,) = loaded(HOOKS)
    assert {"id", "name", "entry", "language"} <= set(found)  # pre-commit.com, "Creating new hooks"
    for path, matches in (
        ("edgekit.toml", True),
        ("a/b/edgekit.toml", True),
        ("a/edgekit.lock", True),
        ("a/myedgekit.toml", False),
        ("a/model.py", False),
    ):
        assert bool(re.search(found["files"], path)) == matches, path


def test_the_hook_passes_and_writes_nothing(checkout: Checkout) -> None:
    before = sorted(checkout.folder.rglob("*"))
    done = hook(checkout, "model/edgekit.toml", "model/evaluation.npz")
    assert done.returncode == ExitCode.OK, done.stderr
    assert sorted(checkout.folder.rglob("*")) == before


def test_the_hook_stops_a_commit(checkout: Checkout) -> None:
    checkout.limit("max_size_bytes = 1000")
    done = hook(checkout, "model/edgekit.toml")
    assert done.returncode == ExitCode.LATENCY_OR_SIZE_GATE
    assert "size is" in done.stdout


def test_each_recipe_runs_once_and_what_belongs_to_none_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "edgekit.toml").touch()
    lines: list[list[str]] = []

    def release(args: Any) -> int:
        lines.append(list(args))
        return 4 if "two" in args[1] else 0

    files = [
        f"{tmp_path}/one/edgekit.toml",
        f"{tmp_path}/one/src/m.py",
        f"{tmp_path}/two/a.npz",
        f"{tmp_path}/x",
    ]
    assert pre_commit.check(["--target=t", *files], release=release) == 4
    assert lines == [
        ["release", f"{tmp_path}/{name}/edgekit.toml", "--dry-run", "--target=t"] for name in ("one", "two")
    ]
    assert "x: no edgekit.toml in its folder or above: skipped" in capsys.readouterr().err
    assert pre_commit.check([f"{tmp_path}/x"], release=release) == 0
