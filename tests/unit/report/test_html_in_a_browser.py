"""Reports in headless Chromium: nothing sticks out on a phone, nothing is blank, nothing is fetched.

B1  at 360 px the page is not wider than the window, and no element sticks out of it
B2  light and dark are both drawn: the ground is bright or dark, and there is text on it
B3  the file itself is the only thing that is loaded, and the browser has no complaint
B4  every text differs from its ground by what WCAG 2.2 asks for (1.4.3: 4.5, or 3 where large)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import report
from edgekit.report import html
from edgekit.report.page import Cell, Column, Page, Table
from tests.unit.report.headless_browser import Browser, Scheme, find, started
from tests.unit.report.rich_results import RICH, golden

NAMES = (
    "release_passing",
    "release_failing",
    "validate",
    "bench",
    "bench-history",
    "bench-sustained",
    "diff",
    "sweep",
    "inspect",
    "quantize",
    *RICH,
)
CHROMIUM = find()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

# what sticks out to the right of a window of 360 px (innerWidth would grow with it), unless it is inside
# something that scrolls
_STICKS_OUT = """
[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width > 0 && box.right > 360.5 && !e.closest('.scroll') && !e.closest('svg');
}).map(e => e.tagName + ' ' + e.textContent.slice(0, 60))
"""

# elements with text of their own whose contrast with the nearest painted ground is too small
_FAINT = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  canvas.canvas.width = canvas.canvas.height = 1;
  const rgb = (...colors) => {
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const grounds = e => { const all = []; for (let at = e; at; at = at.parentElement)
    all.unshift(getComputedStyle(at).backgroundColor); return ['#fff', ...all]; };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || ['title', 'desc'].includes(e.tagName)) continue;
    const style = getComputedStyle(e), ground = grounds(e), body = e.parentElement.querySelector('.body');
    if (e.closest('.marker') && body) {
      const drawn = getComputedStyle(body), [r, g, b] = rgb(drawn.fill);
      ground.push(`rgba(${r}, ${g}, ${b}, ${drawn.opacity})`);
    }
    const one = light(rgb(...ground));
    const other = light(rgb(...ground, e.closest('svg') ? style.fill : style.color));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) found.push(ratio.toFixed(2) + ' ' + e.textContent.slice(0, 40));
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with started(CHROMIUM, tmp_path_factory.mktemp("profile")) as running:
        yield running


def written(name: str, folder: Path) -> Path:
    path = folder / "report.html"
    result = RICH[name]() if name in RICH else golden(name)
    path.write_text(report.render(result, "html"), "utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_nothing_sticks_out_on_a_phone(name: str, browser: Browser, tmp_path: Path) -> None:  # B1
    browser.show(written(name, tmp_path), width=360)
    browser.value("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.value("innerWidth") == 360
    assert browser.value("document.documentElement.scrollWidth") <= 360
    assert browser.value(_STICKS_OUT) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_text_can_be_read(  # B2, B3, B4
    name: str, scheme: Scheme, browser: Browser, tmp_path: Path
) -> None:
    path = written(name, tmp_path)
    browser.show(path, width=1280, scheme=scheme)
    browser.value("document.querySelectorAll('details').forEach(each => each.open = true)")
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) / 3
    assert (bright > 200) is (scheme == "light")
    assert bright > 200 or bright < 60
    assert browser.value("document.body.innerText.length") > 80
    assert browser.value(_FAINT) == []
    assert browser.value("[...document.images].every(each => each.naturalWidth > 0)")
    fetched = [each for each in browser.requests if not each.startswith("data:")]
    assert fetched == [path.resolve().as_uri()]
    assert browser.problems == []


def test_the_checks_see_what_they_look_for(browser: Browser, tmp_path: Path) -> None:
    page = html.render(Page("t", "", "plain", (Table("", (Column("c"),), ((Cell("x"),),)),)))
    wrong = (
        '<div style="width:500px;height:9px;background:#888"></div>'
        '<p style="color:#999;background:#aaa">faint</p><img src="missing.png" alt="">'
        '<svg viewBox="0 0 9 9"><text style="fill:#eee">pale</text></svg>'
    )
    path = tmp_path / "wrong.html"
    path.write_text(page.replace("</main>", f"{wrong}</main>"), "utf-8")
    browser.show(path, width=360)
    assert browser.value("document.documentElement.scrollWidth") > 360
    assert browser.value(_STICKS_OUT)
    assert [text.split()[-1] for text in browser.value(_FAINT)] == ["faint", "pale"]
    assert len(browser.requests) == 2
    assert browser.problems
