"""Bundle's archives -> files of the release of a tag on GitHub or GitLab.

    python -m edgekit.cli.ci_attach DIST

    <stem>.tar  <stem>.evidence.tar  <stem>.sha256     what lies beside each bundle of the folder DIST
    <stem>.sig                                         a copy of the bundle's model.sig, where it is signed

N1 every archive is held against its root digest first: what was damaged on the way is not published
N2 without a tag there is nothing to do, and that is said; a tag whose files cannot be attached is an error
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit import settings
from edgekit.cli.ci_comment import forge_of
from edgekit.cli.forge_http import ForgeError
from edgekit.errors import EdgekitError, ExitCode, InputError, VerificationError

_SIGNATURE = "model.sig"
_SUFFIXES = (".tar", ".evidence.tar", ".sha256")


def files_of(dist: Path) -> dict[str, Path]:
    """Name in the release -> file, of every bundle in ``dist``.

    Raises:
        InputError: there is none.
        VerificationError: N1.
    """
    found: dict[str, Path] = {}
    for root in sorted(dist.glob("*.sha256")):
        stem = root.name.removesuffix(".sha256")
        _hold_to_root(root)
        found |= {f"{stem}{suffix}": root.with_name(f"{stem}{suffix}") for suffix in _SUFFIXES}
        signature = dist / stem / _SIGNATURE
        if signature.is_file():
            found[f"{stem}.sig"] = signature
    if not found:
        raise InputError(
            f"{dist} holds no release",
            why="a release has a file <name>-<version>.sha256 beside its folder",
            remedy="run `edgekit release -o DIST` first, without --dry-run",
        )
    return found


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Attach the files; the exit code."""
    (dist,) = arguments
    forge = forge_of(environment)
    if forge is None or not forge.tag:  # N2
        sys.stderr.write("no tag: nothing to attach to\n")
        return 0
    try:
        files = files_of(Path(dist))
        lines = forge.attach(files, digests={name: _sha256(path) for name, path in files.items()})
    except EdgekitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except ForgeError as error:
        sys.stderr.write(f"the release {forge.tag} cannot be written: {error}\n")
        return ExitCode.BAD_INPUT
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return 0


def _hold_to_root(root: Path) -> None:
    for line in root.read_text("utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = root.parent / name
        if not path.is_file() or _sha256(path) != digest:
            raise VerificationError(
                f"{name} is not the file that {root.name} names",
                why="it was changed, or lost, after the release was written",
                remedy="release again",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], settings.environment()))
