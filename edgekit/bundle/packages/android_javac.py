"""Java sources -> class files of Java 8, by the javac of this machine.

Android's build takes class files of Java 8 from any JDK (``--release 8``). The two classes of android.content
that the sources name are compiled against stubs and not given back. Equal sources and an equal javac give
equal bytes.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from edgekit import drafts
from edgekit.bundle.packages.templates import raw
from edgekit.errors import EdgekitError, MissingBackendError

STUBS = {
    "android/content/Context.java": "android/stubs/Context.java",
    "android/content/res/AssetManager.java": "android/stubs/AssetManager.java",
}
FLAGS = (
    "--release",
    "8",
    "-proc:none",
    "-implicit:none",
    "-g:source,lines",
    "-encoding",
    "UTF-8",
    "-Xlint:-options",
)
LIMIT_S = 300  # it takes 1 to 3 s; a machine under load may need longer


def compiled(sources: Mapping[str, bytes]) -> tuple[dict[str, bytes], str]:
    """Class files by path, and the compiler's version.

    Raises:
        MissingBackendError: there is no javac.
        EdgekitError: it refuses the sources, which is a bug of edgekit's.
    """
    javac = shutil.which("javac")
    if javac is None:
        raise MissingBackendError(
            "javac is not here, and a package for android needs it",
            why="the class of an AAR is compiled where the package is made",
            remedy="install a JDK (Debian: apt-get install openjdk-17-jdk-headless), or package elsewhere",
            more="docs/packages-mobile.md",
        )
    with drafts.temporary("edgekit-javac-") as text:
        folder = text
        for path, template in STUBS.items():
            _put(folder / "stubs" / path, raw(template).encode())
        for path, body in sources.items():
            _put(folder / "src" / path, body)
        inputs = [f"src/{path}" for path in sorted(sources)]
        _run([javac, *FLAGS, "-sourcepath", "stubs", "-d", "out", *inputs], folder)
        version = _run([javac, "-version"], folder).strip()
        out = folder / "out"
        return {f.relative_to(out).as_posix(): f.read_bytes() for f in sorted(out.rglob("*.class"))}, version


def _put(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise EdgekitError(
            f"javac refuses the sources of the package (exit {done.returncode})",
            why=(done.stderr or done.stdout).strip()[:2000],
            remedy="a javac of 9 to 25 takes them; with one of those, report it with the model's manifest",
        )
    return done.stdout + done.stderr
