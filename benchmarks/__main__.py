"""``python -m benchmarks [SUITE ...]``: run suites, print each bar, exit 1 where one is missed."""

from __future__ import annotations

import importlib
import sys

SUITES = (
    "startup",
    "release_repeat",
    "bundle_flips",
    "int8_quality",
    "int8_latency",
    "int8_accuracy",
    "runtimes_agree",
    "export_cost",
    "onnx_nodes",
    "litert_random_graphs",
    "litert_models",
    "litert_latency",
    "litert_conversion",
    "text_bert_precisions",
    "text_decoder_weights",
    "calibration_cost",
    "mixed_precision",
    "interval_coverage",
    "validate_cost",
    "debug_faults",
    "bench_overhead",
    "gpu_cuda",
    "gpu_software",
    "gpu_vulkan",
    "operator_profile",
    "change_points",
    "pruned_random_graphs",
    "pruning",
    "spoken_digits_pruned",
    "pruning_peer",
    "pruned_large",
    "sparsity",
    "sweep_overhead",
    "bench_power",
    "fuzz",
    "release_killed",
    "write_faults",
    "large_model",
)


def main() -> int:
    """Run the suites named on the command line, or all."""
    wanted = sys.argv[1:] or list(SUITES)
    unknown = [name for name in wanted if name not in SUITES]
    if unknown:
        print(f"unknown suite {unknown[0]!r}; known: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    missed = 0
    for name in wanted:
        report = importlib.import_module(f"benchmarks.{name}").run()
        for bar in report.bars:
            word = "at most" if bar.at_most else "at least"
            state = "held  " if bar.held else "MISSED"
            print(f"{state}  {name}: {bar.name}: {bar.measured:.3g} ({word} {bar.limit:g})", flush=True)
            missed += not bar.held
        report.write()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
