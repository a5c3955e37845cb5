"""What stands after --device: addresses and names of devices.toml. A numbers are those of device_address."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import EdgekitError, InputError, RecipeError, UnknownNameError
from edgekit.measure import device_list
from edgekit.measure.device_address import Address, parse
from edgekit.measure.device_list import Given, chosen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", Address("local", "local")),
        ("ssh://pi5.local", Address("ssh", "ssh://pi5.local", "pi5.local")),
        ("ssh://pi@10.0.0.7:2222", Address("ssh", "ssh://pi@10.0.0.7:2222", "10.0.0.7", "pi", 2222)),
        (
            "ssh://pi@[fe80::1%eth0]:22",
            Address("ssh", "ssh://pi@[fe80::1%eth0]:22", "fe80::1%eth0", "pi", 22),
        ),
        ("adb:1A2B3C", Address("adb", "adb:1A2B3C", "1A2B3C")),
        ("adb:192.168.0.5:5555", Address("adb", "adb:192.168.0.5:5555", "192.168.0.5:5555")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_addresses(text: str, expected: Address) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://-l@host",
        "ssh://host:70000",
        "ssh://host:0",
        "ssh://host/path",
        "ssh://a b",
        "ssh://host;reboot",
        "adb:",
        "adb:-s",
        "http://host",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse(text)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        parse("ssh://pi:raspberry@host")
    assert "raspberry" not in str(caught.value)
    assert "ssh-copy-id" in caught.value.remedy


FILE = """
[[device]]
name = "pi5"
address = "ssh://pi@pi5.local"
python = "/opt/bench/bin/python"
threads = 4
ssh_options = ["IdentityFile=~/.ssh/board"]

[[device]]
name = "phone"
address = "adb:1A2B3C"
benchmark_model = "tools/benchmark_model"
timeout_s = 60
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(FILE)
    return path


def test_names_and_addresses_together(file: Path) -> None:
    phone, loose, pi5 = chosen(["phone", "ssh://other", "pi5"], file=file, given=Given())
    assert phone.options.benchmark_model == file.parent / "tools" / "benchmark_model"
    assert phone.options.limit_s == 60
    assert (loose.name, loose.options.python) == ("ssh://other", "python3")
    assert (pi5.threads, pi5.options.python) == (4, "/opt/bench/bin/python")


def test_the_command_line_wins(file: Path) -> None:
    """ssh takes the first value of an option, so the command line's stand first."""
    given = Given(python="python3.12", ssh_options=("IdentityFile=x",), install=True, limit_s=5)
    (pi5,) = chosen(["pi5"], file=file, given=given)
    assert pi5.options.python == "python3.12"
    assert pi5.options.ssh_options == ("IdentityFile=x", "IdentityFile=~/.ssh/board")
    assert pi5.options.install
    assert pi5.options.limit_s == 5


def test_a_name_that_is_not_there_shows_those_that_are(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown device 'pi4'") as caught:
        chosen(["pi4"], file=file, given=Given())
    assert "did you mean pi5" in caught.value.remedy


def test_without_a_file_a_name_says_where_it_would_stand(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no .*devices\.toml"):
        chosen(["pi5"], file=tmp_path / "devices.toml", given=Given())


def test_addresses_need_no_file(tmp_path: Path) -> None:
    (found,) = chosen(["adb:1"], file=tmp_path / "nothing.toml", given=Given())
    assert found.address.kind == "adb"


@pytest.mark.parametrize(
    "text",
    [
        '[[device]]\nname = "a"\n',
        '[[device]]\nname = "a"\naddress = "local"\nthread = 2\n',
        '[[device]]\nname = "a"\naddress = "local"\nthreads = 0\n',
        '[[device]]\nname = "a"\naddress = "pi"\n',
        '[[device]]\nname = "a"\naddress = "local"\n[[device]]\nname = "a"\naddress = "local"\n',
        "device = 3\n",
        "[[device\n",
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "d.toml"
    path.write_text(text)
    with pytest.raises(EdgekitError) as caught:
        device_list.read(path)
    assert caught.value.exit_code == 2


def test_a_device_twice_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match="named twice"):
        chosen(["pi5", "pi5"], file=file, given=Given())
