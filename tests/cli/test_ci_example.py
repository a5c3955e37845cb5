"""models/ci_example as a repository: its workflow and its GitLab job release it, then a budget breaks.

The scripts come out of the example's YAML and the files it uses; ``pip`` is played, and so is the forge.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekit.errors import ExitCode
from edgekit.pipeline import lock
from tests.cli.fake_forge import Forge, running
from tests.cli.workflow import Runner, loaded

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "models" / "ci_example"
ACTION = ROOT / "docs" / "ci" / "action.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab.yml"
WORKFLOW = Path(".github") / "workflows" / "release.yml"
BASH = shutil.which("bash")
NEEDS = ("torch", "ai_edge_litert", "sklearn", "safetensors")
MISSING = [name for name in NEEDS if find_spec(name) is None]
SIGNS = find_spec("model_signing") is not None
ATTACH = "Attach the archives to the release of the tag"
RUNS = pytest.mark.skipif(BASH is None or bool(MISSING), reason=f"needs bash and {', '.join(NEEDS)}")


@dataclass(frozen=True)
class Repository:
    """A copy of the example, as a runner would have it."""

    folder: Path
    environment: dict[str, str]
    installed: Path
    secret: str

    def github(self, forge: Forge, *, reference: str) -> Runner:
        event = self.folder.parent / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": 7}}), "utf-8")
        values = {
            "github.token": "secret-token",
            "github.ref": reference,
            "github.sha": "0" * 40,
            "runner.os": "Linux",
            "secrets.EDGEKIT_SIGN_KEY": self.secret,
        }
        tag = reference.rpartition("/")[2] if reference.startswith("refs/tags/") else ""
        variables = forge.github(event="" if tag else str(event), tag=tag)
        del variables["GITHUB_TOKEN"]  # a step has it only where its own env says so
        return Runner(str(BASH), self.folder, self.environment | variables, ACTION, values)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("ci")
    shutil.copytree(EXAMPLE, folder / "repository")
    # this edgekit may write other bytes than the one that wrote the lock: that is no matter of the example
    (folder / "repository" / lock.NAME).unlink()
    (folder / "bin").mkdir()
    installed, python = folder / "installed", shlex.quote(sys.executable)
    pip = f'if [ "$1 $2" = "-m pip" ]; then printf "%s\\n" "$@" > {shlex.quote(str(installed))}; exit; fi\n'
    for name, script in (
        ("edgekit", f'exec {python} -m edgekit "$@"'),
        ("python", f'{pip}exec {python} "$@"'),
    ):
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GITHUB_", "EDGEKIT_", "CI"))
    }
    environment = {
        **kept,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "no_proxy": "127.0.0.1",
        "TMPDIR": str(folder),
    }
    return Repository(folder / "repository", environment, installed, private_key() if SIGNS else "")


def private_key() -> str:
    """PEM text of a key that nobody else has."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with running() as found:
        yield found


@RUNS
def test_a_pull_request_is_released_and_a_tag_gets_the_archives(repository: Repository, forge: Forge) -> None:
    runner = repository.github(forge, reference="refs/pull/7/merge")
    runner.run_job(repository.folder / WORKFLOW, "release")
    assert runner.failed == 0, {name: done.stderr for name, done in runner.done.items()}
    assert list(runner.done) == [
        "Install edgekit",
        "Release",
        "Comment on the pull request",
        "Verify what was released",
    ]
    assert "edgekit[torch,litert,data,sign]" in repository.installed.read_text("utf-8").splitlines()
    assert [each.partition("@")[0] for each in runner.passed_over] == [
        "actions/checkout",
        "actions/setup-python",
        "actions/cache",
        "actions/upload-artifact",
        "actions/upload-artifact",
    ]
    (comment,) = forge.comments
    assert "**Verdict: pass**" in comment["body"]
    for target in ("onnxruntime-cpu", "litert-cpu"):
        assert f"| {target} | w8a8 |" in comment["body"]
    assert forge.releases == {}

    tagged = repository.github(forge, reference="refs/tags/v1.0.0")
    tagged.values |= {name: value for name, value in runner.values.items() if name.startswith("inputs.")}
    tagged.run(next(each for each in loaded(ACTION)["runs"]["steps"] if each["name"] == ATTACH))
    assert tagged.failed == 0, tagged.done[ATTACH].stderr
    names = {f"ci-digits-1.0.0{suffix}" for suffix in (".tar", ".evidence.tar", ".sha256")}
    assert set(forge.files) == names | ({"ci-digits-1.0.0.sig"} if SIGNS else set())
    dist = repository.folder / "dist"
    assert forge.files["ci-digits-1.0.0.tar"] == (dist / "ci-digits-1.0.0.tar").read_bytes()
    assert [each["name"] for each in forge.releases["v1.0.0"]["assets"]] == list(forge.files)


@RUNS
@pytest.mark.skipif(not SIGNS, reason="model-signing is not installed")
def test_the_bundle_is_signed_by_the_secret_and_nothing_of_the_key_is_left(
    repository: Repository,
) -> None:
    assert (repository.folder / "dist" / "ci-digits-1.0.0" / "model.sig").is_file()
    line = repository.secret.splitlines()[1]
    for path in repository.folder.parent.rglob("*"):
        assert not path.is_file() or line.encode() not in path.read_bytes(), path


@RUNS
def test_the_gitlab_job_releases_the_same_and_a_tag_gets_the_archives(
    repository: Repository, forge: Forge
) -> None:
    forge.files.clear()
    forge.releases.clear()
    done = gitlab(repository, forge.gitlab(tag="v1.0.0"))
    assert done.returncode == 0, done.stderr
    assert set(forge.releases["v1.0.0"]["links"]) == set(forge.files)
    assert "ci-digits-1.0.0.tar" in forge.files


def gitlab(repository: Repository, job_variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The job that the example includes, with the example's variables."""
    own, template = loaded(repository.folder / ".gitlab-ci.yml"), loaded(GITLAB)
    (included,) = own["include"]
    assert ROOT / included["file"] == GITLAB
    job = template["edgekit-release"]
    assert set(own["variables"]) <= set(job["variables"])
    given = {**job["variables"], **own["variables"], "EDGEKIT_CACHE": ".edgekit-cache", **job_variables}
    return subprocess.run(
        [
            str(BASH),
            "--noprofile",
            "--norc",
            "-eo",
            "pipefail",
            "-c",
            "\n".join([*job["before_script"], *job["script"]]),
        ],
        cwd=repository.folder,
        env=repository.environment | given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@RUNS
def test_a_broken_budget_is_red_and_the_comment_says_which(repository: Repository, forge: Forge) -> None:
    recipe = repository.folder / "edgekit.toml"
    text = recipe.read_text("utf-8")
    recipe.write_text(text.replace("max_size_bytes = 60_000", "max_size_bytes = 20_000"), "utf-8")
    before = sorted((repository.folder / "dist").rglob("*"))
    runner = repository.github(forge, reference="refs/pull/7/merge")
    try:
        runner.run_job(repository.folder / WORKFLOW, "release")
    finally:
        recipe.write_text(text, "utf-8")
    assert runner.failed == ExitCode.LATENCY_OR_SIZE_GATE
    assert runner.values["steps.release.outputs.exit-code"] == "4"
    assert "Verify what was released" not in runner.done
    (comment,) = forge.comments  # the same one, written again
    assert "**Verdict: latency, size or memory gate failed**" in comment["body"]
    assert "bytes too large" in comment["body"]
    assert sorted((repository.folder / "dist").rglob("*")) == before


def test_the_lock_is_one_and_names_the_targets_of_the_recipe() -> None:
    found = lock.read(EXAMPLE / "edgekit.toml")
    assert found is not None
    recipe = tomllib.loads((EXAMPLE / "edgekit.toml").read_text("utf-8"))
    assert list(found.targets) == sorted(each["name"] for each in recipe["target"])


def test_the_example_is_small_and_its_workflow_has_the_permissions_that_it_needs() -> None:
    names = subprocess.run(
        ["git", "ls-files", "--others", "--cached", "--exclude-standard", "."],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert sum((EXAMPLE / name).stat().st_size for name in names) < 1_000_000
    workflow = loaded(EXAMPLE / WORKFLOW)
    assert workflow["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert set(workflow["on"]) == {"pull_request", "push"}
