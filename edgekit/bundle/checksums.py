"""Files -> the text that ``sha256sum -c`` reads: one line a file, ``<hex>  <path>``, sorted by path.

    <bundle>/SHA256SUMS          every other file that edgekit wrote into the folder
    <name>-<version>.sha256      the root, beside the folder: both archives, manifest.json and SHA256SUMS

There is one text for a set of files, so a reader renders what it expects and compares bytes: every byte of a
list is checked, too. Format: GNU coreutils, sha256sum, text mode of a file without special characters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgekit.bundle.manifest import safe_path
from edgekit.errors import VerificationError

FILE_NAME = "SHA256SUMS"
ROOT_SUFFIX = ".sha256"
BLOCK_BYTES = 1 << 20  # files are hashed in pieces, so that memory does not grow with the model
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()


def sha256_of_member(folder: Path, path: str) -> str:
    """SHA-256 of a file of a bundle in hex.

    Raises:
        VerificationError: it is missing, no plain file, or cannot be read.
    """
    file = folder / path
    if file.is_symlink() or not file.is_file():
        raise VerificationError(f"{path} is missing, or no plain file", why="the list names it")
    try:
        return sha256_of(file)
    except OSError as error:
        raise VerificationError(f"{path} cannot be read: {error.strerror or error}") from error


def render(digests: Mapping[str, str]) -> bytes:
    """SHA-256 by path -> the list.

    Raises:
        ValueError: a path leaves the folder, or has a character that the format would have to escape.
    """
    return "".join(f"{digests[path]}  {safe_path(path)}\n" for path in sorted(digests)).encode()


def of_folder(folder: Path, paths: Iterable[str]) -> bytes:
    """The list of these files of ``folder``, without SHA256SUMS itself."""
    return render({path: sha256_of(folder / path) for path in paths if path != FILE_NAME})


def parse(content: bytes, *, name: str) -> dict[str, str]:
    """The list -> SHA-256 by path.

    Raises:
        VerificationError: it is not in the one form of such a list; ``name`` is how the message calls it.
    """
    try:
        lines = [_LINE.fullmatch(line) for line in content.decode().split("\n")[:-1]]
        found = {match[2]: match[1] for match in lines if match}
        same = render(found) == content
    except ValueError:
        same = False
    if not same:
        raise VerificationError(
            "it is not in the form in which edgekit writes it",
            why=f"{name} is a list for sha256sum: sorted, one line a file",
            remedy="get the bundle again, or release it again",
        )
    return found
