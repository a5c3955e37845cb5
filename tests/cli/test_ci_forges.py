"""One comment of a pull or merge request, kept current; files of a release. The forge is on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.cli import ci_attach, ci_comment
from edgekit.cli.forge_http import Api, ForgeError
from edgekit.errors import ExitCode, InputError
from edgekit.report import markdown
from edgekit.report.page import Cell, Column, Heading, Page, Table
from tests.cli.fake_forge import BOT, Forge, running

REPORT = """# digits 1.0.0

**Verdict: pass**

| target | verdict |
| :-- | :-- |
| onnxruntime-cpu | pass |

## onnxruntime-cpu

- much more
"""
MARKER = "<!-- edgekit: model/edgekit.toml -->"


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with running() as found:
        yield found


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "edgekit.md"
    path.write_text(REPORT, "utf-8")
    return path


@pytest.fixture
def event(tmp_path: Path) -> str:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"pull_request": {"number": 7}}), "utf-8")
    return str(path)


def comment(report: Path, environment: dict[str, str]) -> int:
    return ci_comment.main([str(report), "--recipe", "model/edgekit.toml"], environment)


@pytest.mark.parametrize("place", ["github", "gitlab"])
def test_the_comment_is_written_once_and_then_kept_current(
    forge: Forge, report: Path, event: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = forge.github(event=event) if place == "github" else forge.gitlab(request="7")
    forge.comments = [
        {"id": n, "user": {"type": "User"}, "author": {"id": 9}, "body": "talk"} for n in range(100)
    ]
    assert comment(report, environment) == 0
    body = forge.comments[-1]["body"]
    assert body.startswith(f"{MARKER}\n\n# digits 1.0.0\n\n**Verdict: pass**")
    assert "| onnxruntime-cpu | pass |" in body
    assert body.index("<details>") < body.index("much more") < body.index("</details>")
    job = "me/models/actions/runs/99" if place == "github" else "jobs/1"
    assert f"[Job](https://forge.example/{job})" in body
    report.write_text(REPORT.replace("pass", "fail"), "utf-8")
    assert comment(report, environment) == 0
    assert len(forge.comments) == 101  # the second page was looked through
    assert "**Verdict: fail**" in forge.comments[-1]["body"]
    said = capsys.readouterr().err
    assert said == "comment written\ncomment updated\n"
    assert "secret" not in said


@pytest.mark.parametrize("place", ["github", "gitlab"])
def test_a_comment_of_somebody_else_that_looks_like_ours_is_left_alone(
    forge: Forge, report: Path, event: str, place: str
) -> None:
    environment = forge.github(event=event) if place == "github" else forge.gitlab(request="7")
    planted = {"id": 1, "user": {"type": "User"}, "author": {"id": 9}, "body": f"{MARKER} pass"}
    forge.comments = [dict(planted)]
    assert comment(report, environment) == 0
    assert forge.comments[0] == planted
    assert len(forge.comments) == 2


def test_each_recipe_has_a_comment_of_its_own(forge: Forge, report: Path, event: str) -> None:
    forge.comments = [{"id": 1, "user": BOT, "body": "<!-- edgekit: other/edgekit.toml -->"}]
    assert comment(report, forge.github(event=event)) == 0
    assert len(forge.comments) == 2
    assert ci_comment.marker_of("a --> b\n") == "<!-- edgekit: a -> b  -->"


def test_names_out_of_a_model_do_nothing_in_a_comment() -> None:
    """K4: people, requests, addresses, commands, markup; through the report as it is written."""
    bad = "@team #12 !3 ~bug %v1 GH&1 https://evil.example www.evil.example <img src=x> [a](b) `c` | d"
    table = Table("", (Column("target"),), ((Cell(bad),),))
    page = Page(f"/close {bad}", "", "plain", (table, Heading(bad)))
    body = ci_comment.body_of(markdown.render(page), marker=MARKER, job="", limit=65_536)
    for acts in ("@team", "#12", "!3", "~bug", "%v1", "&1", "https://", "www.e", "<img", "[a](b)", "`c`"):
        assert acts not in body.replace("\\[", "").replace("\\`", ""), acts
    assert ci_comment.quietened("/close\n  /merge a/b") == "\u200b/close\n  \u200b/merge a/b"
    plain = "| 0.44× | 95 % | a_b | &lt;= 1 pp | 12 kB | w8a8, ships |\n# digits 1.0.0\n"
    assert ci_comment.quietened(plain) == plain  # what harms nobody stays


def test_a_report_that_is_too_long_is_cut_and_says_so() -> None:
    long = REPORT + "- much more\n" * 9_000
    body = ci_comment.body_of(long, marker=MARKER, job="https://forge.example/1", limit=65_536)
    assert len(body) <= 65_536
    assert "| onnxruntime-cpu | pass |" in body
    assert "too long for a comment" in body
    wide = REPORT.replace("| onnxruntime-cpu | pass |", "| onnxruntime-cpu | pass |\n" * 9_000)
    body = ci_comment.body_of(wide, marker=MARKER, job="", limit=65_536)
    assert len(body) <= 65_536
    assert body.count("\n| onnxruntime-cpu | pass |\n") > 1_000


def test_where_nothing_can_be_said_the_verdict_keeps_its_code(
    forge: Forge, report: Path, event: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """K5."""
    for environment, path, says in (
        ({}, report, "no CI of GitHub or GitLab"),
        (forge.github(), report, "no pull or merge request"),
        (forge.gitlab(), report, "no pull or merge request"),
        (forge.github(event=event) | {"GITHUB_TOKEN": ""}, report, "GITHUB_TOKEN is not set"),
        (forge.gitlab(request="7") | {"GITLAB_TOKEN": ""}, report, "GITLAB_TOKEN is not set"),
        (forge.github(event=event), tmp_path / "none.md", "was not written"),
        (forge.github(event=event) | {"GITHUB_TOKEN": "wrong"}, report, "no comment: GET"),
    ):
        assert comment(path, environment) == 0
        assert says in capsys.readouterr().err
    assert forge.comments == []


def test_a_forge_that_is_busy_is_asked_again_and_one_that_stays_so_is_an_error(
    forge: Forge, report: Path, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forge.refuse = {503: 2}
    assert comment(report, forge.github(event=event)) == 0
    assert len(forge.comments) == 1
    forge.refuse = {503: 3}
    assert comment(report, forge.github(event=event)) == 0
    assert "503" in capsys.readouterr().err
    with pytest.raises(InputError, match="no https address"):
        Api("http://forge.example", {}).call("GET", "/user")
    forge.refuse = {302: 1}
    with pytest.raises(ForgeError, match="302"):
        Api(forge.url, {}).call("GET", "/user")


def bundle(dist: Path, *, signed: bool) -> dict[str, bytes]:
    """What release writes, as far as it is attached."""
    contents = {"m-1.tar": b"archive", "m-1.evidence.tar": b"evidence", "m-1/manifest.json": b"{}"}
    (dist / "m-1").mkdir(parents=True)
    for name, content in contents.items():
        (dist / name).write_bytes(content)
    root = "".join(f"{hashlib.sha256(each).hexdigest()}  {name}\n" for name, each in sorted(contents.items()))
    (dist / "m-1.sha256").write_text(root, "utf-8")
    if signed:
        (dist / "m-1" / "model.sig").write_bytes(b"signature")
    return {
        "m-1.tar": b"archive",
        "m-1.evidence.tar": b"evidence",
        "m-1.sha256": root.encode(),
        **({"m-1.sig": b"signature"} if signed else {}),
    }


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("place", ["github", "gitlab"])
def test_a_tags_release_gets_the_archives_and_twice_is_once(
    forge: Forge, tmp_path: Path, place: str, signed: bool
) -> None:
    wanted = bundle(tmp_path, signed=signed)
    environment = forge.github(tag="v1") if place == "github" else forge.gitlab(tag="v1")
    for _ in range(2):
        assert ci_attach.main([str(tmp_path)], environment) == 0
        assert forge.files == wanted
        release = forge.releases["v1"]
        names = [each["name"] for each in release["assets"]] if place == "github" else list(release["links"])
        assert sorted(names) == sorted(wanted)


def test_what_lies_there_already_is_not_sent_again(forge: Forge, tmp_path: Path) -> None:
    bundle(tmp_path, signed=False)
    environment = forge.github(tag="v1")
    assert ci_attach.main([str(tmp_path)], environment) == 0
    for each in forge.releases["v1"]["assets"]:
        each["digest"] = f"sha256:{hashlib.sha256(forge.files[each['name']]).hexdigest()}"
    forge.seen.clear()
    assert ci_attach.main([str(tmp_path)], environment) == 0
    assert forge.seen == ["GET /repos/me/models/releases/tags/v1"]


def test_a_damaged_archive_is_not_published(
    forge: Forge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """N1, and a folder without a release."""
    environment = forge.github(tag="v1")
    assert ci_attach.main([str(tmp_path)], environment) == ExitCode.BAD_INPUT
    bundle(tmp_path, signed=True)
    (tmp_path / "m-1.tar").write_bytes(b"archivE")
    assert ci_attach.main([str(tmp_path)], environment) == ExitCode.VERIFICATION_FAILED
    assert "m-1.tar is not the file that m-1.sha256 names" in capsys.readouterr().err
    assert forge.seen == []


def test_without_a_tag_nothing_is_attached_and_a_refusal_is_red(
    forge: Forge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """N2."""
    bundle(tmp_path, signed=False)
    for environment in ({}, forge.github(), forge.gitlab()):
        assert ci_attach.main([str(tmp_path)], environment) == 0
    assert forge.seen == []
    refused = forge.github(tag="v1") | {"GITHUB_TOKEN": "wrong"}
    assert ci_attach.main([str(tmp_path)], refused) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "the release v1 cannot be written" in said
    assert "wrong" not in said
