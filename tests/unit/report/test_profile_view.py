"""A profiled bench in text, CSV, JSON and HTML: the first rows and the rest, figures, the roofline."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

from edgekit import report
from edgekit.pipeline.result import BenchResult, KernelRow
from tests.unit.report.rich_results import RICH


def result() -> BenchResult:
    found = RICH["rich bench"]()
    assert isinstance(found, BenchResult)
    return found


def test_the_terminal_shows_the_longest_and_says_what_is_left_out() -> None:
    text = report.render_text(result())
    rows = [line for line in text.splitlines() if "brgconv" in line]
    assert len(rows) == 12
    assert "18 kernels more: 1,710 us, 37 %" in text
    times = [int(re.split(r"\s{2,}", row)[4]) for row in rows]
    assert times == sorted(times, reverse=True)
    whole = report.render_text(result(), everything=True)
    assert sum("brgconv" in line for line in whole.splitlines()) == 30
    assert "kernels more" not in whole


def test_a_long_table_is_folded_in_html() -> None:
    found = result()
    long = replace(found, profiles=(replace(found.profiles[0], kernels=3 * found.profiles[0].kernels),))
    page = report.render(long, "html")
    assert "<summary>Profile of q.onnx: the other kernels (60)</summary>" in page
    assert "the other kernels" not in report.render(found, "html")
    assert "78 kernels more" in report.render_text(long)
    assert "the other kernels" not in report.render_text(long)


def test_a_fall_back_is_said() -> None:
    assert "outside the delegate" in report.render_text(result())
    healthy = replace(
        result(),
        profiles=tuple(
            replace(row, kernels=tuple(replace(kernel, fallback="") for kernel in row.kernels))
            for row in result().profiles
        ),
    )
    assert "Fell back" not in report.render_text(healthy)


def test_no_profile_says_why() -> None:
    text = report.render_text(result())
    assert "no profile: LiteRT's profiler cannot be used here: no libLiteRt.so; next: install it" in text


def test_csv_has_every_kernel() -> None:
    rows = list(csv.DictReader(io.StringIO(report.render(result(), "csv"))))
    kernels = [row for row in rows if row["kernel"]]
    assert len(kernels) == 30
    assert [row["place"] for row in kernels] == [str(place) for place in range(30)]
    assert kernels[0]["macs"] == "1000000"
    assert kernels[3]["macs"] == ""  # not known


def test_json_has_every_kernel() -> None:
    document = report.json.document(result())
    first = document["profiles"][0]["kernels"][0]
    assert set(first) == set(KernelRow.__dataclass_fields__)
    assert document["roof"]["gops"] == {"float32": 100.0, "int8": 2000.0}
    json.dumps(document)


def test_html_draws_kernels_that_have_a_rate() -> None:
    page = report.render(result(), "html")
    picture = page[page.index("<svg") : page.index("</svg>")]
    assert picture.count('class="marker') == 29  # one has no counts
    assert "int8 2,000" in picture
    assert "float32 100" in picture
    assert "operations per byte" in picture
    assert "GB/s, 64 KiB" in picture


def test_a_bench_without_a_profile_shows_none_of_it() -> None:
    plain = replace(result(), profiles=(), roof=None)
    assert "roof" not in report.render_text(plain)
    assert "<svg" not in report.render(plain, "html")
