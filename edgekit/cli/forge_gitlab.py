"""GitLab's REST API -> one note of a merge request that is written again, and files of a release.

Files of a release lie in the project's package registry; the release links to them. The job's own token may
do that, and may not write notes: those take a project access token with the scope "api" as GITLAB_TOKEN. Only
a note of that token's own user is written again: nobody else can plant one.

Source: docs.gitlab.com/api: notes, releases, release links, generic packages; predefined CI/CD variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from edgekit.cli.forge_http import Api, ForgeError

LIMIT = 1_000_000  # characters of a note
_PAGE = 100  # notes in one answer, the most
_MISSING = 404
_TAKEN = (400, 409)  # what GitLab answers where a link of that name exists


class GitLab:
    """The project and merge request that this job runs for."""

    limit = LIMIT

    def __init__(self, environment: Mapping[str, str]) -> None:
        token = environment.get("GITLAB_TOKEN", "")
        self.token = "GITLAB_TOKEN" if not token else ""  # what is missing, by its name
        base = environment.get("CI_API_V4_URL", "")
        project = environment.get("CI_PROJECT_ID", "")
        self._project = f"/projects/{quote(project, safe='')}"
        self._notes = Api(base, {"PRIVATE-TOKEN": token})
        self._job = Api(base, {"JOB-TOKEN": environment.get("CI_JOB_TOKEN", "")})
        self.request = environment.get("CI_MERGE_REQUEST_IID", "")
        self.tag = environment.get("CI_COMMIT_TAG", "")
        self.job = environment.get("CI_JOB_URL", "")

    def comment(self, text: str, *, marker: str) -> str:
        """As ``GitHub.comment``."""
        me = self._notes.call("GET", "/user")["id"]
        notes = f"{self._project}/merge_requests/{self.request}/notes"
        for page in range(1, 101):
            found = self._notes.call("GET", f"{notes}?per_page={_PAGE}&page={page}")
            for each in found:
                own = (each.get("author") or {}).get("id") == me
                if own and str(each.get("body", "")).startswith(marker):
                    self._notes.call("PUT", f"{notes}/{each['id']}", {"body": text})
                    return "updated"
            if len(found) < _PAGE:
                break
        self._notes.call("POST", notes, {"body": text})
        return "written"

    def attach(self, files: Mapping[str, Path], *, digests: Mapping[str, str]) -> list[str]:
        """As ``GitHub.attach``; a package's file of the same name is replaced by the newest.

        ``digests`` are not asked for: the registry keeps every upload.
        """
        package = f"{self._project}/packages/generic/edgekit/{quote(self.tag, safe='')}"
        release = f"{self._project}/releases/{quote(self.tag, safe='')}"
        try:
            self._job.call("GET", release)
        except ForgeError as error:
            if error.status != _MISSING:
                raise
            self._job.call("POST", f"{self._project}/releases", {"tag_name": self.tag, "name": self.tag})
        done = []
        for name, path in files.items():
            url = f"{self._job.base}{package}/{quote(name)}"
            self._job.send("PUT", url, path.read_bytes(), "application/octet-stream")
            link = {"name": name, "url": url, "link_type": "package"}
            try:
                self._job.call("POST", f"{release}/assets/links", link)
                done.append(f"{name}: attached")
            except ForgeError as error:
                if error.status not in _TAKEN:
                    raise
                done.append(f"{name}: replaced")
        return done
