"""The Kotlin runner, compiled and run on a JVM against a stand-in for LiteRT: policy, fall-back and reasons.

LiteRT has no desktop JVM; the stand-in has its methods and gives recorded outputs.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.packages.mobile_bundle import bundle, tool
from tests.unit.packages.test_android_package import HARNESS, packaged, unpacked

DEBIAN = Path("/usr/share/kotlin/kotlinc/lib/kotlin-stdlib.jar")


def kotlin() -> tuple[str, str]:
    """kotlinc and its standard library. Debian's package draws in 70 others: CI does not install it."""
    found = shutil.which("kotlinc")
    if found is None:
        pytest.skip("kotlinc is not here (Debian: apt-get install kotlin)")
    for library in (Path(found).resolve().parent / "lib" / DEBIAN.name, DEBIAN):
        if library.is_file():
            return found, str(library)
    pytest.skip(f"{found} has no kotlin-stdlib.jar beside it")


@pytest.mark.slow
def test_the_runner_falls_back_with_its_reason_and_closes_what_it_opened(tmp_path: Path) -> None:
    javac = tool("javac", package="openjdk-17-jdk-headless")
    kotlinc, library = kotlin()
    files = packaged(bundle(tmp_path))
    aar = unpacked(files, tmp_path / "aar")
    work = tmp_path / "work"
    for path in HARNESS.rglob("*.*"):
        text = path.read_text("utf-8").replace("PACKAGE", "org.edgekit.photo_net").replace("TYPE", "PhotoNet")
        copy = work / path.relative_to(HARNESS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, "utf-8")
    runner = work / "Runner.kt"
    runner.write_bytes(files["kotlin/org/edgekit/photo_net/PhotoNetRunner.kt"])
    jar, classes = str(aar / "classes.jar"), str(work / "classes")
    java = [str(path) for path in sorted(work.rglob("*.java"))]
    subprocess.run([javac, "-cp", jar, "-d", classes, *java], check=True, timeout=300)
    subprocess.run(
        [kotlinc, "-cp", f"{classes}:{jar}", "-d", classes, str(runner), str(work / "KotlinHarness.kt")],
        check=True,
        timeout=600,
    )
    done = subprocess.run(
        ["java", "-cp", f"{classes}:{jar}:{library}", "KotlinHarnessKt", str(aar / "assets")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "works: GPU fellBack=false []" in said
    refused = "CPU fellBack=true [Refused(delegate=GPU, reason="
    assert f"refuses: {refused}Exception: Failed to compile model" in said
    assert f"unlinked: {refused}UnsatisfiedLinkError" in said
    assert f"wrong: {refused}golden vectors differ: sample 0: scores" in said
    assert "only: GPU: golden vectors differ" in said
    assert said.count(": open 0") == 4
