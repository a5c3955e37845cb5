"""Names from a manifest become identifiers and literals that cannot be anything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bundle.packages.mobile_names import (
    java_string,
    kotlin_string,
    member_names,
    package_name,
    swift_string,
    type_name,
)


@pytest.mark.parametrize(
    ("name", "package", "kind"),
    [
        ("digits-cnn", "digits_cnn", "DigitsCnn"),
        ("class", "class_", "Class"),
        ("9lives", "model_9lives", "Model9lives"),
        ("Wasserfall V2.1+x", "wasserfall_v2_1_x", "WasserfallV21X"),
        ("--", "model", "Model"),
    ],
)
def test_a_model_name_becomes_a_package_and_a_type(name: str, package: str, kind: str) -> None:
    assert (package_name(name), type_name(name)) == (package, kind)


def test_members_are_unique_and_no_words_of_the_languages() -> None:
    names = ("image", "Image", "image_2", "in", "", "1", "in")
    assert member_names(names) == ("image", "image_2", "image2", "in_", "model", "model1", "in__2")


@given(st.lists(st.text(max_size=12), max_size=6))
def test_members_are_identifiers_whatever_the_names(names: list[str]) -> None:
    found = member_names(names)
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]*", name) for name in found)


def test_literals_escape_what_could_end_them() -> None:
    text = 'a"\\\n$é\U0001f600*'
    assert java_string(text) == '"a\\042\\134\\012\\044\\351\\ud83d\\ude00\\052"'
    assert kotlin_string(text) == '"a\\u0022\\u005c\\u000a\\u0024\\u00e9\\ud83d\\ude00\\u002a"'
    assert swift_string(text) == '"a\\u{22}\\u{5C}\\u{A}\\u{24}\\u{E9}\\u{1F600}\\u{2A}"'
    assert swift_string("\ud800") == '"\\u{FFFD}"'


@given(st.text())
def test_no_literal_holds_a_character_that_could_end_it(text: str) -> None:
    for literal in (java_string(text), kotlin_string(text), swift_string(text)):
        inside = literal[1:-1]
        assert literal.isascii()
        assert not set(inside) & set("\"$\n\r'@*`#")
        # "\u0022" would end a string of Java before the compiler sees a string
        assert "\\u00" not in java_string(text)
