"""GitHub's and GitLab's APIs as far as edgekit speaks them, on this machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BOT = {"type": "Bot", "login": "github-actions[bot]"}


@dataclass
class Forge:
    """What lies on it, and how it answers.

    Attributes:
        url: where it is.
        comments: of the one pull or merge request.
        releases: by tag; "assets" by name, "links" likewise.
        files: content of uploads by path.
        refuse: status -> how many requests are answered with it before the next is answered well.
        seen: method and path of every request.
    """

    url: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[int, int] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def github(self, *, event: str = "", tag: str = "") -> dict[str, str]:
        """Variables of a job."""
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": "me/models",
            "GITHUB_TOKEN": "secret-token",
            "GITHUB_EVENT_PATH": event,
            "GITHUB_REF": f"refs/tags/{tag}" if tag else "refs/pull/7/merge",
            "GITHUB_SERVER_URL": "https://forge.example",
            "GITHUB_RUN_ID": "99",
        }

    def gitlab(self, *, request: str = "", tag: str = "") -> dict[str, str]:
        """Variables of a job."""
        return {
            "CI_API_V4_URL": self.url,
            "CI_PROJECT_ID": "5",
            "CI_JOB_TOKEN": "job-token",
            "GITLAB_TOKEN": "secret-token",
            "CI_MERGE_REQUEST_IID": request,
            "CI_COMMIT_TAG": tag,
            "CI_JOB_URL": "https://forge.example/jobs/1",
        }

    def answer(self, method: str, path: str, query: str, body: bytes, headers: Any) -> tuple[int, Any]:
        """Status and JSON of one request."""
        self.seen.append(f"{method} {path}")
        for status, many in self.refuse.items():
            if many:
                self.refuse[status] -= 1
                return status, {"message": "not now"}
        if not any(token in str(headers) for token in ("secret-token", "job-token")):
            return 401, {"message": "no token"}
        if re.search(r"/comments(/\d+)?$|/notes(/\d+)?$|^/user$", path):
            return self._comment(method, path, query, body, headers)
        return self._release(method, path, query, body)

    def _comment(self, method: str, path: str, query: str, body: bytes, headers: Any) -> tuple[int, Any]:
        if path == "/user":
            return 200, {"id": 3}
        if "/notes" in path and "secret-token" not in str(headers):
            return 403, {"message": "a job's token may not"}
        if method == "GET":
            page = int(re.search(r"\bpage=(\d+)", query)[1])  # type: ignore[index]
            return 200, self.comments[100 * (page - 1) : 100 * page]
        text = json.loads(body)["body"]
        if method == "POST":
            self.comments.append(
                {"id": 100 + len(self.comments), "user": BOT, "author": {"id": 3}, "body": text}
            )
            return 201, self.comments[-1]
        found = next(each for each in self.comments if path.endswith(f"/{each['id']}"))
        found["body"] = text
        return 200, found

    def _release(self, method: str, path: str, query: str, body: bytes) -> tuple[int, Any]:
        if path.startswith("/upload/") or "/packages/" in path:
            name = query.partition("name=")[2] or path.rpartition("/")[2]
            self.files[name] = body
            if path.startswith("/upload/"):
                tag = path.rpartition("/")[2]
                self.releases[tag]["assets"].append({"id": len(self.seen), "name": name})
            return 201, {}
        if method == "DELETE":
            for release in self.releases.values():
                release["assets"] = [
                    each for each in release["assets"] if not path.endswith(f"/{each['id']}")
                ]
            return 204, None
        if path.endswith("/assets/links"):
            links = self.releases[path.split("/")[-3]]["links"]
            link = json.loads(body)
            if link["name"] in links:
                return 400, {"message": "Name has already been taken"}
            links[link["name"]] = link
            return 201, link
        if method == "POST":
            tag = json.loads(body)["tag_name"]
            self.releases[tag] = {
                "assets": [],
                "links": {},
                "upload_url": f"{self.url}/upload/{tag}{{?name,label}}",
            }
            return 201, self.releases[tag]
        tag = path.rpartition("/")[2]
        return (200, self.releases[tag]) if tag in self.releases else (404, {"message": "Not Found"})


@contextmanager
def running() -> Iterator[Forge]:
    """A forge that answers until the block ends."""
    forge = Forge()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path, _, query = self.path.partition("?")
            status, found = forge.answer(self.command, path, query, body, self.headers)
            content = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

        def log_message(self, *_args: object) -> None:
            """Not a word."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    forge.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
