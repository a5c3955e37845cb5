"""Text of strangers is shown, never obeyed: in results, errors, notes and documents."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edgekit.errors import InputError
from edgekit.printable import printable, printable_value
from edgekit.report import json as documents

HOSTILE = "a\x1b[31m\u202egnp.exe\u2066\x00\x9b\u200b"
SHOWN = "a\\x1b[31m\\u202egnp.exe\\u2066\\x00\\x9b\\u200b"


@dataclass(frozen=True, slots=True)
class Inner:
    names: tuple[str, ...]


@dataclass(frozen=True)
class Outer:
    title: str
    inner: Inner
    count: int = 3


def test_what_a_terminal_obeys_becomes_its_code() -> None:
    assert printable(HOSTILE) == SHOWN


def test_what_people_read_stays() -> None:
    """Must not fire: lines, tabs, spaces of any width, letters of any script, signs."""
    text = "größe\t1\u202f024 × 2\nдлина \u00a0 模型 α → β"
    assert printable(text) is not None
    assert printable(text) == text


def test_every_text_of_a_value() -> None:
    value = Outer(HOSTILE, Inner((HOSTILE, "plain")))
    assert printable_value(value) == Outer(SHOWN, Inner((SHOWN, "plain")))


def test_a_harmless_value_is_itself() -> None:
    value = Outer("plain", Inner(("also",)))
    assert printable_value(value) is value


def test_errors_show_it() -> None:
    assert str(InputError(HOSTILE, why=HOSTILE)).count(SHOWN) == 2


def test_a_document_says_the_same_and_shows_it() -> None:
    text = documents.text({"name": HOSTILE})
    assert json.loads(text) == {"name": HOSTILE}
    assert not {"\x1b", "\u202e", "\u2066", "\x00", "\x9b", "\u200b"} & set(text)
