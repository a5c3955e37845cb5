"""GitHub's REST API -> one comment of a pull request that is written again, and files of a release.

The comment is a bot's, as everything is that a job writes with its own token: nobody else can plant one.

Source: docs.github.com/en/rest: issue comments, releases, release assets; default environment variables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgekit.cli.forge_http import Api, ForgeError

LIMIT = 65_536  # characters of a comment
_PAGE = 100  # comments in one answer, the most
_MISSING = 404


class GitHub:
    """The repository and pull request that this job runs for."""

    limit = LIMIT

    def __init__(self, environment: Mapping[str, str]) -> None:
        token = environment.get("GITHUB_TOKEN", "")
        self.token = "GITHUB_TOKEN" if not token else ""  # what is missing, by its name
        self._api = Api(
            environment.get("GITHUB_API_URL", "https://api.github.com"),
            {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
        )
        self._repository = f"/repos/{environment.get('GITHUB_REPOSITORY', '')}"
        self.request = _pull_request(environment.get("GITHUB_EVENT_PATH", ""))
        reference = environment.get("GITHUB_REF", "")
        self.tag = reference.removeprefix("refs/tags/") if reference.startswith("refs/tags/") else ""
        server, run = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_RUN_ID", "")
        repository = environment.get("GITHUB_REPOSITORY", "")
        self.job = f"{server}/{repository}/actions/runs/{run}" if server and run else ""

    def comment(self, text: str, *, marker: str) -> str:
        """Write ``text`` over the comment that begins with ``marker``, or as a new one; what was done.

        Raises:
            ForgeError: the token may not, or GitHub does not answer.
        """
        issue = f"{self._repository}/issues"
        for page in range(1, 31):  # a pull request has 2,500 comments at most
            found = self._api.call("GET", f"{issue}/{self.request}/comments?per_page={_PAGE}&page={page}")
            for each in found:
                bot = (each.get("user") or {}).get("type") == "Bot"
                if bot and str(each.get("body", "")).startswith(marker):
                    self._api.call("PATCH", f"{issue}/comments/{each['id']}", {"body": text})
                    return "updated"
            if len(found) < _PAGE:
                break
        self._api.call("POST", f"{issue}/{self.request}/comments", {"body": text})
        return "written"

    def attach(self, files: Mapping[str, Path], *, digests: Mapping[str, str]) -> list[str]:
        """Put ``files`` (name -> path) into the release of the tag, which is made where there is none.

        Equal files stay, others of the same name are replaced. Gives what was done, a line for each.

        Raises:
            ForgeError: as above.
        """
        release = self._release()
        there = {each["name"]: each for each in release.get("assets", ())}
        upload = str(release["upload_url"]).partition("{")[0]
        done = []
        for name, path in files.items():
            old = there.get(name)
            if old is not None and old.get("digest") == f"sha256:{digests[name]}":
                done.append(f"{name}: there already")
                continue
            if old is not None:
                self._api.call("DELETE", f"{self._repository}/releases/assets/{old['id']}")
            content = path.read_bytes()
            self._api.send("POST", f"{upload}?name={quote(name)}", content, "application/octet-stream")
            done.append(f"{name}: {'replaced' if old else 'attached'}")
        return done

    def _release(self) -> Any:
        try:
            return self._api.call("GET", f"{self._repository}/releases/tags/{quote(self.tag, safe='')}")
        except ForgeError as error:
            if error.status != _MISSING:
                raise
        body = {"tag_name": self.tag, "name": self.tag}
        return self._api.call("POST", f"{self._repository}/releases", body)


def _pull_request(event: str) -> str:
    """Number of the pull request of the event file, "" where the job runs for something else."""
    try:
        found = json.loads(Path(event).read_text("utf-8")) if event else {}
    except (OSError, ValueError):
        return ""
    number = (found.get("pull_request") or {}).get("number")
    return str(number) if isinstance(number, int) else ""
