"""Evidence by hand -> causes: for each, one that fires and a look-alike that must not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from edgekit.spec import QuantParams
from edgekit.validation.diagnose import RULES, diagnose
from edgekit.validation.diagnose.evidence import Evidence, ProductSums
from tests.unit.validation.evidence_of import UNIT, evidence, kernel, trial, weight

WIDE = QuantParams("uint8", (32 / 255,), (0,))  # holds 0 to 32
BELOW = QuantParams("uint8", (64 / 255,), (251,))  # holds -63 to 1
WRONG = 8.0  # dB


@dataclass(frozen=True)
class Pair:
    """The same evidence twice: with the fault, and with what only looks like it."""

    cause: str
    fires: Evidence
    silent: Evidence
    why: str


def tried(change: str, *, value: str = "") -> Evidence:
    return evidence(kernel(own_db=WRONG), trials=[trial("none", WRONG), trial(change, 36.0, value=value)])


def not_better(change: str, *, value: str = "") -> Evidence:
    """Saturation alone is what is wrong: the reference without a change, kept to the range, is as near."""
    return evidence(kernel(own_db=WRONG), trials=[trial("none", 35.0), trial(change, 36.0, value=value)])


def joined(small_used: float) -> Evidence:
    """``small`` and ``large`` in one Concat, which has one scale; ``small`` fills so much of it."""
    span = 32 * small_used
    return evidence(
        kernel("small", params=WIDE, used=small_used, spans=(span,) * 4, high=span, own_db=WRONG),
        kernel("large", params=WIDE, spans=(32.0,) * 4, high=32.0),
        kernel(
            "joined",
            op_types=("Concat",),
            inputs=("small", "large"),
            params=WIDE,
            spans=(32.0,) * 4,
            high=32.0,
        ),
    )


def read_together(small_used: float) -> Evidence:
    """The same where the runtime joins in the memory of what reads the Concat: it is no end."""
    held = joined(small_used)
    small, large, _ = held.kernels
    behind = kernel("behind", op_types=("Concat", "Conv"), inputs=("small", "large"))
    return replace(held, kernels=(small, large, behind))


def before_relu(params: QuantParams) -> Evidence:
    return evidence(
        kernel("sum", op_types=("Conv",), params=params, spans=(1.0,) * 4),
        kernel("y", op_types=("Relu",), inputs=("sum",)),
    )


def weights(held: Evidence, after: float = 36.0) -> Evidence:
    return replace(held, trials=(trial("none", WRONG), trial("weights", after)))


DEPTHWISE = kernel(own_db=WRONG, weight=weight(depthwise=True, scales=1, input_peak=(), low=0.04))
OUTLIER = kernel(own_db=WRONG, weight=weight(input_peak=(64.0, 1.0, 1.0, 1.0)))
PAIRS = (
    Pair("padding-mode", tried("pads"), not_better("pads"), "only saturation"),
    Pair("constant-pad", tried("pad-value"), not_better("pad-value"), "only saturation"),
    Pair("resize-mode", tried("resize"), not_better("resize"), "only saturation"),
    Pair("swapped-layout", tried("layout"), not_better("layout"), "only saturation"),
    Pair("swapped-normalization", tried("normalization"), not_better("normalization"), "only saturation"),
    Pair(
        "swapped-normalization",
        evidence(kernel("image", op_types=(), inputs=(), params=WIDE, used=0.004, high=0.1)),
        evidence(kernel("image", op_types=(), inputs=(), params=WIDE, used=0.4, high=13.0)),
        "two and a half times too wide is a matter of samples",
    ),
    Pair("unfused-activation", tried("activation"), not_better("activation"), "only saturation"),
    Pair("unfused-activation", before_relu(BELOW), before_relu(UNIT), "the range before it is the same"),
    Pair("wrong-epsilon", tried("epsilon"), not_better("epsilon"), "only saturation"),
    Pair(
        "wrong-epsilon",
        tried("gain", value="0.3 0.6 0.9"),
        tried("gain", value="0.5 0.9 1.7"),
        "gains on both sides of 1 are no epsilon",
    ),
    Pair(
        "wrong-epsilon",
        tried("gain", value="0.3 0.6 0.9"),
        tried("gain", value="0.5 0.5 0.5"),
        "one factor for all channels is a scale",
    ),
    Pair(
        "wrong-epsilon",
        tried("gain", value="0.3 0.6 0.9"),
        tried("gain", value="0.5 1 1.01"),
        "one channel alone is no epsilon",
    ),
    Pair("saturation", tried("products"), not_better("products"), "only saturation of the range"),
    Pair(
        "saturation",
        tried("products"),
        evidence(
            kernel(own_db=WRONG),
            trials=[trial("none", WRONG), trial("weights", 35.0), trial("products", 36.0)],
        ),
        "rounding of weights explains as much",
    ),
    Pair(
        "range-clipped",
        evidence(kernel(own_db=WRONG, clip_noise=0.1, high=3.0)),
        evidence(kernel(own_db=WRONG, clip_noise=0.0005)),
        "a percentile cuts that much off on purpose",
    ),
    Pair(
        "range-too-wide",
        evidence(kernel(params=WIDE, used=1 / 32, own_db=WRONG)),
        evidence(kernel(params=UNIT, used=0.15, spans=(0.15,) * 4)),
        "a shared scale that leaves 31 dB",
    ),
    Pair("range-too-wide", evidence(kernel(params=WIDE, used=1 / 32)), joined(0.03), "a Concat needs it"),
    Pair("shared-concat-scale", joined(0.03), joined(0.5), "branches of like size"),
    Pair("shared-concat-scale", read_together(0.03), read_together(0.5), "the Concat has no end of its own"),
    Pair(
        "outlier-channel",
        evidence(kernel(params=WIDE, spans=(32.0, 0.3, 0.3, 0.3), high=32.0)),
        evidence(kernel(params=WIDE, spans=(32.0, 8.0, 7.0, 9.0), high=32.0)),
        "four times as large is two bits",
    ),
    Pair(
        "outlier-channel",
        weights(evidence(OUTLIER)),
        weights(evidence(OUTLIER), after=WRONG + 1),
        "rounding of weights is not what is wrong",
    ),
    Pair(
        "per-tensor-depthwise",
        weights(evidence(DEPTHWISE)),
        weights(evidence(replace(DEPTHWISE, weight=weight(depthwise=True, scales=4, low=0.04)))),
        "each channel has its scale",
    ),
    Pair(
        "float-fallback",
        evidence(kernel(integer=False), eligible=["y"]),
        evidence(kernel(integer=False)),
        "the target has no integer kernel for it",
    ),
)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.cause}: {pair.why}")
def test_fires_and_the_look_alike_does_not(pair: Pair) -> None:
    (first, *_) = diagnose(pair.fires)
    assert first.name == pair.cause
    assert first.score > 0.0
    assert first.says
    assert first.remedy
    assert pair.cause not in {cause.name for cause in diagnose(pair.silent)}, pair.why


def test_every_rule_has_a_pair() -> None:
    assert {pair.cause for pair in PAIRS} == set(RULES)


def test_nothing_is_named_where_nothing_is_wrong() -> None:
    assert diagnose(evidence(kernel(), outputs_db=38.0)) == ()


def test_figures_alone_are_no_cause_where_the_outputs_keep_everything() -> None:
    """A coarse layer that nobody minds; a change that explains a kernel is named all the same."""
    wide = kernel(params=WIDE, used=1 / 32)
    assert diagnose(evidence(wide, outputs_db=38.0)) == ()
    assert diagnose(evidence(wide, outputs_db=20.0))


@pytest.mark.parametrize("name", sorted(RULES))
def test_without_its_rule_a_cause_is_missed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: the table decides, nothing else."""
    monkeypatch.delitem(RULES, name)
    for pair in PAIRS:
        if pair.cause == name:
            assert name not in {cause.name for cause in diagnose(pair.fires)}


def test_the_change_that_is_nearest_names_the_cause() -> None:
    both = [trial("none", WRONG), trial("pads", 20.0), trial("pad-value", 40.0)]
    (first, *others) = diagnose(evidence(kernel(own_db=WRONG), trials=both))
    assert first.name == "constant-pad"
    assert not others


def test_what_costs_accuracy_stands_in_front_of_what_costs_time() -> None:
    found = diagnose(
        evidence(
            kernel("a", integer=False),
            kernel("b", clip_noise=0.03),
            eligible=["a"],
        )
    )
    assert [cause.name for cause in found] == ["range-clipped", "float-fallback"]


def test_a_float_artifact_has_no_fallback() -> None:
    assert diagnose(evidence(kernel(integer=False, params=None), eligible=["y"], precision="fp32")) == ()


def test_a_kernel_that_nobody_knows_is_no_fallback() -> None:
    unknown = replace(kernel(integer=False), kernel="")
    assert diagnose(evidence(unknown, eligible=["y"])) == ()


def test_sums_that_could_saturate_are_named_only_behind_everything_else() -> None:
    held = evidence(kernel(own_db=WRONG))
    reach = replace(held, products=(ProductSums("y", -64000, 64000),))
    (only,) = diagnose(reach)
    assert only.name == "saturation"
    assert only.score < 0.3
    assert diagnose(replace(held, products=(ProductSums("y", -32000, 32000),))) == ()
    assert diagnose(replace(reach, trials=(trial("none", WRONG), trial("products", WRONG)))) == ()


def test_remedies_that_a_recipe_can_express_are_edits() -> None:
    edits = {
        cause.name: cause.edit
        for pair in PAIRS
        for cause in diagnose(pair.fires)[:1]
        if cause.edit is not None
    }
    assert {
        "outlier-channel",
        "range-clipped",
        "range-too-wide",
        "shared-concat-scale",
        "per-tensor-depthwise",
        "saturation",
    } == set(edits)
    assert edits["saturation"].path == ("optimize", "quantize", "cross_cpu")
