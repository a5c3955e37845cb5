"""Request -> JSON of a forge's HTTP API, with retries where trying again may help.

Standard library only: a CI job that comments needs nothing but edgekit. Tokens travel in headers, and are in
no message; a redirection, which would take them elsewhere, is not followed. Addresses must be https, but for
this machine's own (tests).
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from edgekit._version import __version__
from edgekit.errors import InputError

_TIMEOUT_S = 60
_AGAIN = frozenset({429, 500, 502, 503, 504})  # statuses after which the same request may succeed
_TRIES = 3
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class ForgeError(Exception):
    """A request was refused; ``status`` is HTTP's, 0 where nothing answered."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirection is an error with its status."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Stay())


@dataclass(frozen=True)
class Api:
    """One forge's API.

    Attributes:
        base: its address, without a slash at the end.
        headers: of every request, the token among them.
    """

    base: str
    headers: Mapping[str, str] = field(repr=False)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """JSON in, JSON out; None where the answer is empty.

        Raises:
            ForgeError: the forge refuses, or does not answer.
            InputError: the address is no https.
        """
        data = None if body is None else json.dumps(body).encode()
        answer = self.send(method, self.base + path, data, "application/json")
        return json.loads(answer) if answer.strip() else None

    def send(self, method: str, url: str, data: bytes | None, kind: str) -> bytes:
        """One request with raw content; ``kind`` is its media type. Errors as ``call``."""
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOCAL:
            raise InputError(
                f"{parts.scheme}://{parts.hostname} is no https address",
                why="a token would travel in the open",
                remedy="correct the API's address in the job's environment",
            )
        request = urllib.request.Request(  # noqa: S310  the scheme has been looked at
            url,
            data,
            {**self.headers, "Content-Type": kind, "User-Agent": f"edgekit/{__version__}"},
            method=method,
        )
        for attempt in range(1, _TRIES + 1):
            try:
                with _opener().open(request, timeout=_TIMEOUT_S) as answer:
                    content: bytes = answer.read()
                    return content
            except urllib.error.HTTPError as error:
                if error.code not in _AGAIN or attempt == _TRIES:
                    said = error.read(300).decode("utf-8", "replace").strip()
                    what = f"{method} {parts.path}: {error.code} {error.reason} {said}".strip()
                    raise ForgeError(what, error.code) from error
            except (urllib.error.URLError, TimeoutError) as error:
                if attempt == _TRIES:
                    raise ForgeError(f"{method} {parts.path}: {error}", 0) from error
            time.sleep(2.0**attempt)
        raise AssertionError("the last try returns or raises")
