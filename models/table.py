"""Every reference model x every target of its recipe -> models/results.json -> the table in models/README.md.

    python models/table.py               # measures all models: some ten minutes on two cores
    python models/table.py digits_cnn    # measures one again, keeps the others
    python models/table.py --render      # writes the table from results.json, measures nothing

Each model is a dry run of its own recipe, through the public API, in a process of its own. A refusal is a
result like any other: it is recorded with node, rule, reason and remedy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
README = HERE / "README.md"
BEGIN, END = "<!-- table: python models/table.py -->", "<!-- end of table -->"
TARGETS = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
TIMEOUT_S = 1800  # of one model on a busy machine


def names() -> list[str]:
    """The models: every folder with a recipe; ci_example shows a repository, not a model."""
    return sorted(
        path.parent.name for path in HERE.glob("*/edgekit.toml") if path.parent.name != "ci_example"
    )


@contextmanager
def recipe_with_every_target(name: str) -> Iterator[Path]:
    """The recipe; where it leaves a target out, a copy beside it that does not: refusals count too."""
    path = HERE / name / "edgekit.toml"
    text = path.read_text("utf-8")
    wanting = [target for target in TARGETS if f'name = "{target}"' not in text]
    if not wanting:
        yield path
        return
    copy = path.with_name(".every-target.toml")
    copy.write_text(text + "".join(f'\n[[target]]\nname = "{target}"\n' for target in wanting), "utf-8")
    try:
        yield copy
    finally:
        copy.unlink()


def measure(name: str) -> dict[str, Any]:
    """Release ``name`` without writing a bundle; plain values of each target."""
    import edgekit

    with tempfile.TemporaryDirectory() as folder, recipe_with_every_target(name) as path:
        result = edgekit.release(path, out=folder, targets=TARGETS, dry_run=True, update=True)
    rows = {}
    for row in result.targets:
        candidates = {each.name: each for each in row.candidates}  # "w8a8" and "w8a8-mixed" are two
        rows[row.target] = {
            "ships": next((name for name, each in candidates.items() if each.shipped), None),
            "exit_code": int(row.exit_code),
            "reason": row.reason,
            "rejections": [
                {"node": each.node, "rule": each.rule, "reason": each.reason, "remedy": each.remedy}
                for each in row.rejections
            ],
            "candidates": {
                name: {
                    "value": each.accuracy.value if each.accuracy else None,
                    "drop": each.accuracy.drop_pp if each.accuracy else None,
                    "unit": each.accuracy.unit if each.accuracy else "",
                    "ratio": each.ratio.value if each.ratio else None,
                    "size_bytes": each.size_bytes,
                }
                for name, each in candidates.items()
            },
        }
    some = next((each.accuracy for row in result.targets for each in row.candidates if each.accuracy), None)
    return {
        "metric": some.metric if some else None,
        "reference": some.reference if some else None,
        "samples": some.samples if some else None,
        "data": "EDGEKIT_DATA where the model has it" if os.environ.get("EDGEKIT_DATA") else "embedded",
        "targets": rows,
    }


def render(results: dict[str, Any]) -> str:
    """The table, and below it what was refused and what ships float, with the reasons."""
    head = ["model", "metric", "float", *TARGETS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    notes: list[str] = []
    for name in sorted(results):
        found = results[name]
        cells = [f"[{name}]({name}/README.md)", found.get("metric") or "", _number(found.get("reference"))]
        if "error" in found:
            cells += ["fails"] * len(TARGETS)
            notes.append(f"* **{name}**: {found['error']}")
        else:
            cells += [_cell(found["targets"].get(target)) for target in TARGETS]
            notes += _notes(name, found["targets"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_legend(), "", *notes]) + "\n"


def _legend() -> list[str]:
    return [
        "A cell says what ships and its value; `w8a8` and its variants (docs/quantization.md) stand with the",
        "change against the float reference and the latency as a part of the target's own float. Where",
        "another candidate ships, the figures of plain `w8a8` are behind it. What is refused is explained",
        "below. Latencies are of the machine that ran the command.",
    ]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not in the recipe"
    if row["rejections"] or not row["candidates"]:
        return "refused"
    integers = row["candidates"].get("w8a8")
    figures = f"w8a8 {_figures(integers)}" if integers else ""
    if row["ships"] is None:
        return f"nothing ships; {figures}"
    if row["ships"].startswith("w8a8"):
        return f"**{row['ships']} {_figures(row['candidates'][row['ships']])}**"
    shipped = row["candidates"][row["ships"]]
    return f"{row['ships']} {_number(shipped['value'])}" + (f" ({figures})" if figures else "")


def _figures(candidate: dict[str, Any]) -> str:
    text = _number(candidate["value"])
    if candidate["drop"] is not None:
        text += f", {-candidate['drop']:+.2g} {candidate['unit']}"
    if candidate["ratio"] is not None:
        text += f", {candidate['ratio']:.2f}×"
    return text


def _notes(name: str, targets: dict[str, Any]) -> list[str]:
    found = []
    for target, row in targets.items():
        found += [
            f"* **{name}**, {target}, node `{each['node']}`: {each['reason']} [{each['rule']}]; "
            f"{each['remedy']}"
            for each in row["rejections"][:3]
        ]
        more = len(row["rejections"]) - 3
        if more > 0:
            found.append(f"  and {more} more nodes, for the same kinds of reason")
        if not row["rejections"] and row["ships"] != "w8a8":
            found.append(f"* **{name}**, {target}: {' '.join(row['reason'].split())}")
    return found


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def write(results: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{render(results)}{END}{rest.split(END)[1]}", "utf-8")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--one"]:
        print(json.dumps(measure(arguments[1])))
        return
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    results = {name: found for name, found in results.items() if name in names()}
    if arguments != ["--render"]:
        for name in arguments or names():
            print(f"{name} ...", file=sys.stderr, flush=True)
            done = subprocess.run(
                [sys.executable, __file__, "--one", name],
                capture_output=True,
                check=False,
                text=True,
                timeout=TIMEOUT_S,
            )
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
                results[name] = {"error": last[0]}
                print(done.stderr, file=sys.stderr)
            else:
                results[name] = json.loads(done.stdout)
            write(results)
    write(results)


if __name__ == "__main__":
    main()
