"""Licences are SPDX expressions; what is none is refused with the closest identifiers."""

from __future__ import annotations

import pytest

from edgekit import recipe, spdx
from edgekit.errors import RecipeError

RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
license = "{model}"
[data]
evaluation = {{ source = "e.npz", license = "{data}" }}
[[target]]
name = "onnxruntime-cpu"
"""


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "MIT OR Apache-2.0",
        "(MIT OR Apache-2.0) AND CC-BY-4.0",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "GPL-2.0",  # deprecated, and still an identifier
        "LicenseRef-our-terms",
        "MIT AND LicenseRef-our.terms-2",
    ],
)
def test_expressions(expression: str) -> None:
    assert spdx.problem(expression) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("mit", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("apache2", "Apache-2.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("GPLv3", "GPL-3.0-only"),
        ("proprietary", "LicenseRef-proprietary"),
        ("MIT AND", "joined by AND, OR and WITH"),
        ("MIT | Apache-2.0", "no SPDX license identifier"),
        (" ", "no SPDX license expression"),
        ("LicenseRef-", "LicenseRef-<name>"),
    ],
)
def test_what_is_none_is_refused_with_the_closest(wrong: str, said: str) -> None:
    assert said in spdx.problem(wrong)


def test_a_recipe_states_licences_of_model_and_data() -> None:
    found = recipe.parse(RECIPE.format(model="Apache-2.0", data="CC-BY-4.0"), name="r")
    assert (found.model.license, found.data.evaluation.license) == ("Apache-2.0", "CC-BY-4.0")
    assert recipe.parse(RECIPE.format(model="", data=""), name="r").model.license == ""


@pytest.mark.parametrize(("model", "data", "where"), [("Apche-2.0", "", "model"), ("", "CC-BY", "data")])
def test_a_recipe_with_another_licence_is_refused(model: str, data: str, where: str) -> None:
    with pytest.raises(RecipeError, match="no SPDX license identifier; did you mean") as error:
        recipe.parse(RECIPE.format(model=model, data=data), name="r")
    assert f"{where}." in error.value.what
