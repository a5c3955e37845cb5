"""A GitHub workflow's job and composite action -> their scripts, run one after the other as a runner does.

Of the runner there is what these files use: inputs with defaults, ``if``, ``env``, outputs of steps, and the
expressions below. Other people's actions (checkout, cache, upload) are passed over, and listed.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
_NAME = re.compile(r"\b(inputs|steps|github|runner|secrets)\.([\w.-]+)")
_WORDS = {"&&": " and ", "||": " or "}


def loaded(path: Path) -> Any:
    """A YAML file. GitHub reads YAML 1.2, where "on" is no boolean."""
    return yaml.safe_load(re.sub(r"^on:", '"on":', path.read_text("utf-8"), flags=re.M))


@dataclass
class Runner:
    """Runs steps in ``folder``.

    Attributes:
        bash: the shell.
        folder: the checkout.
        environment: of every step.
        action: the composite action that ``uses: .../docs/ci@...`` means.
        values: of expressions, by their name without ``github.`` or ``inputs.`` replaced: "github.ref".
        passed_over: other people's actions, in order.
        done: name -> what the step gave.
        failed: the exit code of the first step that failed, 0 so far.
    """

    bash: str
    folder: Path
    environment: Mapping[str, str]
    action: Path
    values: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    failed: int = 0

    def run_job(self, workflow: Path, job: str) -> None:
        """All steps of a job."""
        for step in loaded(workflow)["jobs"][job]["steps"]:
            self.run(step)

    def run(self, step: Mapping[str, Any]) -> None:
        """One step, where its ``if`` holds."""
        if not self._wanted(str(step.get("if", ""))):
            return
        uses = str(step.get("uses", ""))
        if "/docs/ci@" in uses:
            self._composite(step.get("with", {}))
        elif uses:
            self.passed_over.append(uses)
        else:
            self._script(step)

    def _composite(self, given: Mapping[str, Any]) -> None:
        action = loaded(self.action)
        unknown = {*given} - {*action["inputs"]}
        assert not unknown, f"the action has no input {unknown}"
        for name, each in action["inputs"].items():
            self.values[f"inputs.{name}"] = self.filled(str(given.get(name, each["default"])))
        for step in action["runs"]["steps"]:
            self.run(step)

    def _script(self, step: Mapping[str, Any]) -> None:
        output = self.folder.parent / "output"
        output.write_text("", "utf-8")
        own = {name: self.filled(str(text)) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            [self.bash, "--noprofile", "--norc", "-eo", "pipefail", "-c", self.filled(step["run"])],
            cwd=self.folder,
            env={**self.environment, "GITHUB_OUTPUT": str(output), **own},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.done[step["name"]] = done
        self.failed = self.failed or done.returncode
        for line in output.read_text("utf-8").splitlines():
            name, _, value = line.partition("=")
            self.values[f"steps.{step.get('id', '')}.outputs.{name}"] = value

    def filled(self, text: str) -> str:
        """``text`` with its expressions replaced."""
        return _EXPRESSION.sub(lambda found: str(self._value(found[1])), text)

    def _wanted(self, condition: str) -> bool:
        if "always()" not in condition and self.failed:
            return False
        return not condition or bool(self._value(condition))

    def _value(self, expression: str) -> Any:
        for theirs, ours in _WORDS.items():
            expression = expression.replace(theirs, ours)
        python = _NAME.sub(lambda found: repr(self.values.get(found[0], "")), expression)
        functions = {
            "always": lambda: True,
            "startsWith": str.startswith,
            "format": lambda text, *each: text.format(*each),
            "hashFiles": lambda pattern: "hash" if any(self.folder.glob(pattern)) else "",
        }
        return eval(python, {"__builtins__": {}}, functions)  # noqa: S307 - of our own files
