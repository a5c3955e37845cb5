"""What shows that a processor is emulated, and what does not; ``agent.emulated``."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.measure import agent


def seen(folder: Path, *, own: str, arch: str = "", modalias: str = "", exe: str = "", cpu: str = "") -> str:
    """``emulated`` of a machine with these files."""
    proc, sys = folder / "proc", folder / "sys"
    for path, text in (
        (proc / "sys/kernel/arch", arch),
        (sys / "devices/system/cpu/modalias", modalias),
        (proc / "cpuinfo", cpu),
    ):
        if text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if exe:
        (proc / "thread-self").mkdir(parents=True, exist_ok=True)
        (proc / "thread-self/exe").symlink_to(exe)
    return agent.emulated(proc, sys, own=own)


X86 = "cpu:type:x86,ven0000fam0006mod00A7:feature:,0000,0001"
ARM = "cpu:type:aarch64:feature:,0000,0001"


def test_user_mode_qemu_shows_its_program(tmp_path: Path) -> None:
    assert seen(tmp_path, own="aarch64", exe="/opt/qemu-aarch64") == "QEMU (qemu-aarch64)"


def test_user_mode_qemu_on_its_own_architecture_too(tmp_path: Path) -> None:
    """As with -cpu Haswell on a later x86: the kernel's architecture says nothing then."""
    assert seen(tmp_path, own="x86_64", arch="x86_64", exe="/usr/bin/qemu-x86_64-static").startswith("QEMU")


@pytest.mark.parametrize(("arch", "modalias"), [("x86_64\n", ""), ("", X86)])
def test_another_kernel_than_the_processor(arch: str, modalias: str, tmp_path: Path) -> None:
    found = seen(tmp_path, own="aarch64", arch=arch, modalias=modalias, exe="/usr/bin/python3.11")
    assert found.startswith("aarch64 on a x86")


def test_rosetta_calls_the_processor_virtual(tmp_path: Path) -> None:
    assert seen(tmp_path, own="x86_64", cpu="vendor_id : VirtualApple\n") == "Rosetta"


@pytest.mark.parametrize(
    ("own", "arch", "modalias"),
    [
        ("aarch64", "aarch64\n", ARM),
        ("armv7l", "aarch64\n", ARM),  # a 32-bit system on a 64-bit kernel
        ("x86_64", "x86_64\n", X86),
        ("i686", "x86_64\n", X86),
        ("aarch64", "", ARM),
        ("aarch64", "", ""),  # nothing shown, nothing claimed
    ],
)
def test_a_processor_of_its_own(own: str, arch: str, modalias: str, tmp_path: Path) -> None:
    assert seen(tmp_path, own=own, arch=arch, modalias=modalias, exe="/usr/bin/python3.11") == ""


def test_whoever_knows_may_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(agent.EMULATED, "a simulator")
    assert seen(tmp_path, own="aarch64", arch="aarch64") == "a simulator"
    assert agent.machine()["emulated"] == "a simulator"
