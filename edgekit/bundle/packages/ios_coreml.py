"""A model converted for Core ML -> resources and Swift of the package for iOS, and what was and was not done.

    Converted --> model.mlpackage/..., golden/coreml_output_*.bin, CoreMLRunner.swift

The .mlpackage is the float model in another precision, not the LiteRT artifact: its golden outputs are what
the float model gives for the same samples, and its tolerance follows from its precision.
"""

from __future__ import annotations

import numpy as np

from edgekit.bundle.golden import TOLERANCES
from edgekit.bundle.packages.converted import Converted
from edgekit.bundle.packages.mobile_facts import LITTLE_ENDIAN, Facts
from edgekit.bundle.packages.mobile_names import swift_string
from edgekit.bundle.packages.mobile_templates import filled
from edgekit.spec import Precision

FOLDER = "model.mlpackage"
OF_RANGE = {
    "fp32": TOLERANCES[Precision.FP32].relative_to_range,
    "fp16": TOLERANCES[Precision.FP16].relative_to_range,
    # Weights of 8 bits for each output channel: each is off by up to 0.4 % of its channel's largest.
    "int8": 5e-2,
}
RUNNER = "CoreMLRunner"


def resources(converted: Converted, facts: Facts) -> dict[str, bytes]:
    """Files of Resources/model by path."""
    golden = {}
    for at, port in enumerate(facts.outputs):
        dtype = LITTLE_ENDIAN[port.binding.reference.dtype]
        golden[f"golden/coreml_output_{at}.bin"] = np.ascontiguousarray(
            converted.outputs[port.name].astype(dtype)
        ).tobytes()
    return golden | {f"{FOLDER}/{path}": body for path, body in converted.files.items()}


def source(converted: Converted, facts: Facts) -> bytes:
    """CoreMLRunner.swift."""
    features = [converted.features[port.name] for port in (*facts.inputs, *facts.outputs)]
    count = len(facts.inputs)
    return filled(
        f"ios/{RUNNER}.swift",
        {
            "TYPE": facts.type,
            "OF_RANGE": repr(OF_RANGE[converted.precision]),
            "INPUT_FEATURES": ", ".join(swift_string(name) for name in features[:count]),
            "OUTPUT_FEATURES": ", ".join(swift_string(name) for name in features[count:]),
        },
    )
