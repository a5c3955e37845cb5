"""Results on disk -> the text and the markdown that a reader sees, character by character.

To accept a change, run this file as a script: it writes the goldens again; then read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit._version import __version__
from edgekit.pipeline.clean import CleanResult
from edgekit.pipeline.result import RESULTS
from edgekit.report.listing import LISTINGS

FOLDER = Path(__file__).parent / "report"
KINDS: dict[str, type] = {
    **RESULTS,
    **LISTINGS,
    "clean": CleanResult,
    "inspect_bundle": RESULTS["inspect"],
    "inspect_tflite": RESULTS["inspect"],
    "release_passing": RESULTS["release"],
    "release_failing": RESULTS["release"],
}
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def example(name: str) -> Any:
    return TypeAdapter(KINDS[name]).validate_python(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def rendered(name: str) -> dict[str, str]:
    result = example(name)
    texts = {f"{name}.txt": report.render_text(result)}
    if name.startswith("inspect"):
        texts[f"{name}.narrow.txt"] = report.render_text(result, width=80)
        texts[f"{name}.all.txt"] = report.render_text(result, width=120, everything=True)
    if name.startswith("release"):
        texts[f"{name}.narrow.txt"] = report.render_text(result, width=78)
        for form in ("markdown", "junit", "sarif", "csv"):
            extension = report.FORMATS[form]
            text = report.render(result, form)
            texts[f"{name}.{extension}"] = text.replace(f'"version": "{__version__}"', '"version": "0"')
    return texts


@pytest.mark.parametrize("name", NAMES)
def test_a_result_reads_as_its_golden_does(name: str) -> None:
    for file, text in rendered(name).items():
        assert text == (FOLDER / file).read_bytes().decode(), f"{file} differs; see this file's first lines"


def test_every_result_has_an_example() -> None:
    missing = {*RESULTS, *LISTINGS, "clean"} - {*NAMES, "release", "targets-show"}
    assert not missing


def test_the_release_table_has_what_issue_2_asks_for() -> None:
    text = rendered("release_passing")["release_passing.txt"]
    for column in (
        "target",
        "precision",
        "size",
        "accuracy",
        "drop",
        "float p50/p95",
        "candidate p50/p95",
        "verdict",
    ):
        assert column in text
    assert "not run on a GPU here" in text
    assert "dist/digits-cnn-1.0.0" in text


if __name__ == "__main__":
    for each in NAMES:
        for target, content in rendered(each).items():
            (FOLDER / target).write_bytes(content.encode())
