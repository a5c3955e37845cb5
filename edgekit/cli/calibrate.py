"""``edgekit calibrate``: model.onnx x data -> ranges.json."""

from __future__ import annotations

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = ("edgekit calibrate model.onnx --calibration-data train.npz --samples 256 -o ranges.json",)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.BACKEND_MISSING,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    model: flags.Model,
    calibration_data: flags.CalibrationData,
    out: flags.OutFile,
    preprocess: flags.Preprocess = None,
    method: flags.Method = "minmax",
    samples: flags.Samples = None,
    seed: flags.Seed = 0,
    cache_dir: flags.CacheDir = None,
) -> ExitCode:
    """Stream data through a float model and write the range of every tensor; one run serves all targets."""
    with console.working() as progress:
        from edgekit.pipeline import calibrate

        result = calibrate.calibrate(
            model,
            calibration_data=calibration_data,
            out=out,
            method=method,
            samples=samples,
            seed=seed,
            progress=progress,
            preprocess=preprocess,
            cache_dir=cache_dir,
        )
    return console.show(result)
