"""An APK without code from the AAR's assets: aligned, signed, verified; the model can be mapped into memory.

Debian's aapt, android-framework-res, zipalign and apksigner: no SDK, no dex, so the APK holds assets alone.
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.unit.packages.mobile_bundle import absent, bundle, tool
from tests.unit.packages.test_android_package import packaged, unpacked

FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
SECRET = "throw-away"  # noqa: S105 - of a key that lives as long as the test
MODEL = "assets/edgekit/photo_net/model.tflite"


def said(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def apk(tmp_path: Path) -> Path:
    """Built as a build would: the AAR's assets and manifest, .tflite uncompressed, aligned, signed."""
    aapt = tool("aapt", package="aapt")
    zipalign, apksigner = tool("zipalign", package="zipalign"), tool("apksigner", package="apksigner")
    keytool = tool("keytool", package="openjdk-17-jdk-headless")
    if not FRAMEWORK.is_file():
        absent(f"{FRAMEWORK} is not here (Debian: apt-get install android-framework-res)")
    aar = unpacked(packaged(bundle(tmp_path, labels=("cat", "dog"))), tmp_path / "aar")
    manifest = (aar / "AndroidManifest.xml").read_text("utf-8")
    manifest = manifest.replace("</manifest>", '<application android:hasCode="false" /></manifest>')
    (aar / "AndroidManifest.xml").write_text(manifest, "utf-8")
    plain, aligned, signed = (tmp_path / f"{name}.apk" for name in ("plain", "aligned", "signed"))
    said(aapt, "package", "-f", "-M", aar / "AndroidManifest.xml", "-I", FRAMEWORK, "-A", aar / "assets",
         "-0", "tflite", "--version-code", "1", "--version-name", "1.2.0", "-F", plain)  # fmt: skip
    said(zipalign, "-p", "4", plain, aligned)
    key = tmp_path / "key.p12"
    said(keytool, "-genkeypair", "-keystore", key, "-storetype", "PKCS12", "-storepass", SECRET,
         "-alias", "k", "-keyalg", "EC", "-dname", "CN=test", "-validity", "1")  # fmt: skip
    said(apksigner, "sign", "--ks", key, "--ks-pass", f"pass:{SECRET}", "--out", signed, aligned)
    return signed


def test_the_assets_make_an_apk_that_is_aligned_signed_and_verified(tmp_path: Path, apk: Path) -> None:
    verified = said("apksigner", "verify", "--verbose", apk)
    assert verified.startswith("Verifies")
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in verified
    said("zipalign", "-c", "4", apk)
    badging = said("aapt", "dump", "badging", apk)
    assert "package: name='org.edgekit.photo_net' versionCode='1' versionName='1.2.0'" in badging
    assert "sdkVersion:'23'" in badging
    with zipfile.ZipFile(apk) as held:
        entry = held.getinfo(MODEL)
        assert entry.compress_type == zipfile.ZIP_STORED  # or the runtime could not map it
        assert held.read(MODEL) == (tmp_path / "aar" / MODEL).read_bytes()
        assert {f"assets/edgekit/photo_net/{name}" for name in ("labels.txt", "golden/input_0.bin")} <= {
            *held.namelist()
        }


def test_an_apk_that_changed_after_it_was_signed_does_not_verify(apk: Path) -> None:
    body = bytearray(apk.read_bytes())
    with zipfile.ZipFile(apk) as held:
        body[held.getinfo(MODEL).header_offset + 200] ^= 1
    apk.write_bytes(body)
    done = subprocess.run(["apksigner", "verify", str(apk)], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "DOES NOT VERIFY" in done.stdout + done.stderr
