"""The same release, twice: other folder, home, user, clock, zone, locale, mask and hash seed, cold caches.

Every byte of the archive of the reproducible set is the same, for the runtimes that are installed; with a
time stamp in it, it is not (sabotage). The second run follows the lock of the first, and it is signed with a
key from the environment, where that can be: the signature is outside of what is compared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekit.bundle.sign import KeyOrigin
from edgekit.bundle.verify import verify
from edgekit.pipeline.open import open_artifact
from tests.unit.bundle.signing_keys import make_key, needs_signing

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "edgekit" / "_examples" / "digits-cnn"
RUNTIMES = {"onnxruntime-cpu": "onnxruntime", "litert-cpu": "ai_edge_litert", "openvino-cpu": "openvino"}
ARCHIVE = "digits-cnn-1.0.0.tar"
NOBODY = 65_534

CLOCK = '''
"""time.time and datetime, {days} days on: sitecustomize of a machine of another day."""
import datetime, time
_time, _shift = time.time, {days} * 86400
time.time = lambda: _time() + _shift
time.time_ns = lambda: int(time.time() * 1e9)
_gmtime, _localtime, _strftime = time.gmtime, time.localtime, time.strftime
time.gmtime = lambda s=None: _gmtime(time.time() if s is None else s)
time.localtime = lambda s=None: _localtime(time.time() if s is None else s)
time.strftime = lambda f, t=None: _strftime(f, time.localtime() if t is None else t)
class datetime_(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=_shift)
    @classmethod
    def utcnow(cls):
        return super().utcnow() + datetime.timedelta(seconds=_shift)
class date_(datetime.date):
    @classmethod
    def today(cls):
        return cls.fromtimestamp(time.time())
datetime_.__name__ = datetime_.__qualname__ = "datetime"
date_.__name__ = date_.__qualname__ = "date"
datetime.datetime, datetime.date = datetime_, date_
{more}
'''

STAMP = """
import edgekit.bundle.write as written
_manifest = written._manifest
def stamped(content):
    import dataclasses, datetime
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    return _manifest(dataclasses.replace(content, lock=content.lock + now.encode()))
written._manifest = stamped
"""


@dataclass(frozen=True)
class Somewhere:
    """A machine to release on."""

    name: str
    days: int
    zone: str
    locale: str
    mask: int
    seed: str
    user: str
    as_nobody: bool = False


HERE = Somewhere("here", 0, "UTC", "C", 0o022, "0", "root")
THERE = Somewhere(
    "ein anderer Ört/mit Leerzeichen", 400, "Pacific/Kiritimati", "C.UTF-8", 0o077, "4711", "jane", True
)


def recipe_in(folder: Path, targets: tuple[str, ...]) -> Path:
    shutil.copytree(EXAMPLE, folder)
    recipe = folder / "edgekit.toml"
    text = (
        recipe.read_text("utf-8")
        .partition("[[target]]")[0]
        .replace("never_slower = true", "never_slower = false")
    )
    text += "".join(f'\n[[target]]\nname = "{name}"\n' for name in targets)
    recipe.write_text(text, "utf-8")
    return recipe


def released(
    place: Somewhere,
    home: Path,
    *,
    lock: Path | None,
    targets: tuple[str, ...],
    more: str = "",
    key: bool = False,
) -> Path:
    """``dist/`` of a release in a process of its own; signed with a key of its own where ``key`` is set."""
    work = home / place.name
    recipe = recipe_in(work / "recipe", targets)
    if lock is not None:
        shutil.copy(lock, recipe.with_name("edgekit.lock"))
    clock = work / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(CLOCK.format(days=place.days, more=more), "utf-8")
    (work / "home").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(clock), str(ROOT)]),
        "PYTHONHASHSEED": place.seed,
        "HOME": str(work / "home"),
        "USER": place.user,
        "LOGNAME": place.user,
        "TZ": place.zone,
        "LC_ALL": place.locale,
        "LANG": place.locale,
        "EDGEKIT_CACHE": str(work / "cache"),
        "TMPDIR": str(work / "home"),
    }
    if key:
        environment["EDGEKIT_SIGN_KEY"] = str(make_key(work / "keys")[0])
    command = [sys.executable, "-m", "edgekit", "release", str(recipe), "-o", str(work / "dist")]
    become: list[str] = []
    if place.as_nobody and os.geteuid() == 0 and shutil.which("setpriv"):
        for path in (work, *work.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        for above in work.parents:
            if above.is_relative_to(home):
                above.chmod(0o755)  # access(2) heeds no capability
        # It reads everything (Python may lie in root's home) and owns nothing but its folder.
        may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *may_read]
    done = subprocess.run(
        [*become, *command],
        cwd=work / "home",
        env=environment,
        umask=place.mask,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return work / "dist"


def differences(one: Path, other: Path) -> list[str]:
    """Names of the members that differ, for the message."""
    with tarfile.open(one) as first, tarfile.open(other) as second:
        a, b = ({e.name: t.extractfile(e).read() for e in t} for t in (first, second))  # type: ignore[union-attr]
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that another user can reach; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory(prefix="edgekit-same-bytes-") as made:
        yield Path(made)


@pytest.mark.slow
def test_the_same_bytes_elsewhere(home: Path) -> None:
    targets = tuple(name for name, package in RUNTIMES.items() if find_spec(package) is not None)
    first = released(HERE, home, lock=None, targets=targets)
    lock, signs = home / HERE.name / "recipe" / "edgekit.lock", not needs_signing.args[0]
    second = released(THERE, home, lock=lock, targets=targets, key=signs)
    one, other = first / ARCHIVE, second / ARCHIVE
    assert differences(one, other) == []
    assert one.read_bytes() == other.read_bytes()
    for name in (THERE.user, str(home), "Leerzeichen"):
        assert name.encode() not in other.read_bytes()
    evidence = [(folder / "digits-cnn-1.0.0" / "evidence.json").read_text() for folder in (first, second)]
    years = [text.partition('"created": "')[2][:4] for text in evidence]
    assert years[0] != years[1]  # the clock was really another one
    if os.geteuid() == 0 and shutil.which("setpriv"):
        assert other.stat().st_uid == NOBODY  # so was the user
    assert other.stat().st_mode & 0o077 == 0  # and the mask
    origin = KeyOrigin(home / THERE.name / "keys" / "key-public.pem") if signs else None
    found = verify(second / "digits-cnn-1.0.0", open_artifact=open_artifact, origin=origin)
    assert found.ok, found.first_difference
    assert {c.subject for c in found.checks if c.name == "golden" and c.status == "pass"} == set(targets)


@pytest.mark.slow
def test_a_time_stamp_goes_red(home: Path) -> None:
    """The same comparison, with a time in the lock of the bundle."""
    targets = ("onnxruntime-cpu",)
    first = released(HERE, home, lock=None, targets=targets, more=STAMP)
    lock = home / HERE.name / "recipe" / "edgekit.lock"
    second = released(THERE, home, lock=lock, targets=targets, more=STAMP)
    found = differences(first / ARCHIVE, second / ARCHIVE)
    assert {"digits-cnn-1.0.0/edgekit.lock", "digits-cnn-1.0.0/manifest.json"} <= set(found)
