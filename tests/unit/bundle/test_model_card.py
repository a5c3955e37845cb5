"""README.md of a bundle: the facts, no figure of any machine, and nothing that a hostile name could do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from edgekit.bundle import bom, model_card
from edgekit.bundle.evidence import AccuracyFacts, LatencyFacts, Measurement
from edgekit.bundle.manifest import Manifest, load
from tests.unit.bundle.test_bom import HOSTILE, bundle_in, facts


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return load(bundle_in(tmp_path_factory.mktemp("card"), facts()))


def front_matter(card: str) -> dict[str, Any]:
    """As YAML reads it: one JSON value in each line."""
    head = card.split("---\n")[1]
    return {line.split(": ", 1)[0]: json.loads(line.split(": ", 1)[1]) for line in head.splitlines()}


def test_it_is_in_the_reproducible_set(tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path, facts())
    listed = {entry.path for entry in load(bundle).files}
    assert {model_card.FILE_NAME, bom.FILE_NAME} <= listed
    assert (bundle / model_card.FILE_NAME).read_text("utf-8") == model_card.card(load(bundle))


def test_it_says_the_facts(manifest: Manifest) -> None:
    card = model_card.card(manifest)
    for words in (
        "# digits 1.0.0",
        "reads digits",
        "Licence: Apache-2.0",
        "Author: Someone",
        "Intended use: reading digits",
        "| input | image | float32 | (batch, 1, 8, 8) | NCHW |",
        "| small-cpu | image | image | uint8 | (batch, 8, 8, 1) | NHWC | real = 0.5 \\* (uint8 - (3)) |",
        "| small-cpu | w8a8 | artifacts/d.bin, artifacts/d.dat | 12 | fake==1.0 |",
        "| calibration | digits | 8 | CC-BY-4.0 | UCI |",
        "| evaluation | mine.py:data | 9 | NOASSERTION (nobody stated one) |",
        "exported → canonicalized → quantized to w8a8 → compiled",
        "- not for letters",
        "- calibrated on 8 samples of digits",
    ):
        assert words in card, words


def test_it_holds_no_figure_of_a_machine(manifest: Manifest) -> None:
    card = model_card.card(manifest)
    assert "## Measured" not in card
    assert "model-index" not in card
    assert "ms" not in card.split()


def test_the_measured_card_is_evidence(manifest: Manifest) -> None:
    measured = Measurement(
        target="small-cpu",
        artifact_sha256=manifest.targets[0].artifact.files[0].sha256,
        status="pass",
        runtime="fake 1",
        latency=LatencyFacts(
            p50_ms=1.25, p90_ms=2, p95_ms=2, p99_ms=2, low_ms=1, high_ms=2, runs=9, stable=True
        ),
        accuracy=AccuracyFacts(
            metric="top1",
            reference=0.99,
            candidate=0.98,
            drop=1.0,
            low=-0.5,
            high=1.5,
            unit="pp",
            method="m",
            samples=9,
        ),
    )
    card = model_card.card(manifest, measured=[measured], machine="a chip")
    assert "On a chip" in card
    assert "| small-cpu | top1 0.9800 | 0.9900 | 1 pp \\[-0.5, +1.5\\] | 1.25 ms |" in card
    (model,) = front_matter(card)["model-index"]
    assert model["results"][0]["metrics"][0]["value"] == 0.98


@pytest.mark.parametrize(
    ("license_", "front"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("MIT OR Apache-2.0", {"license": "other", "license_name": "MIT OR Apache-2.0"}),
        ("LicenseRef-ours", {"license": "other", "license_name": "LicenseRef-ours"}),
        ("", {}),
    ],
)
def test_front_matter(license_: str, front: dict[str, str], tmp_path: Path) -> None:
    manifest = load(bundle_in(tmp_path, facts(license_)))
    said = front_matter(model_card.card(manifest))
    assert said.pop("tags") == ["edgekit", "fake"]
    assert said == front


def test_hostile_names_are_text(tmp_path: Path) -> None:
    manifest = load(bundle_in(tmp_path, facts(tensor=HOSTILE), tensor=HOSTILE))
    card = model_card.card(manifest)
    assert "\u202e" not in card
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(card)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    rows = [line for line in card.splitlines() if line.startswith("| input |")]
    assert len(rows) == 1
    assert len([cell for cell in rows[0].replace("\\|", "").split("|") if cell]) == 5
