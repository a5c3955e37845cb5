"""``gpu_software``'s bars on the GPU that is here, through its own Vulkan driver, and its milliseconds.

    model --target, precision--> artifact --driver of the GPU--> outputs, against the float graph on the CPU

The milliseconds are medians at batch 1, beside those of the reference on one thread of the CPU, and have
no bar: they say nothing of other GPUs. Without a GPU the suite is skipped with the reason; a driver that
computes on the processor is none.
"""

from __future__ import annotations

import os
from dataclasses import replace

from benchmarks.gpu_software import CHOSEN, HERE, TARGETS, WAYS, chosen_of, measured
from benchmarks.litert_models import names
from benchmarks.report import Report
from edgekit import target as targets
from edgekit.backends import registry

SUITE = "gpu_vulkan"


def run() -> Report:
    """All of ``gpu_software``'s ways, on the driver that is installed."""
    os.environ.pop("EDGEKIT_SOFTWARE_GPU", None)  # a processor is no GPU here
    chosen = {name: targets.load(name) for name in chosen_of(TARGETS, [way.target for way in WAYS])}
    here = {name: registry.backend(found.backend).probe(found) for name, found in chosen.items()}
    absent = {name: each.reason for name, each in here.items() if not each.ok}
    usable = [
        replace(way, driver=HERE, large=way.samples)
        for way in WAYS
        if way.target in chosen and way.target not in absent
    ]
    if not usable:
        return Report(SUITE, (), {"skipped": absent})
    report = measured(SUITE, usable, chosen_of(CHOSEN, names()))
    return replace(report, raw={**report.raw, **({"skipped": absent} if absent else {})})
