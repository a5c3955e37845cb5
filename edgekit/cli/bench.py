"""``edgekit bench``: artifacts -> latencies, measured interleaved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.parse import cores, counts, listed, minutes, seconds
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

if TYPE_CHECKING:
    from edgekit.measure.device_list import NamedDevice
    from edgekit.pipeline.bench.sweep import Sweep
    from edgekit.pipeline.result import BenchResult
    from edgekit.spec import Progress

_PANEL = "Devices"
EXAMPLES = (
    "edgekit bench model.onnx",
    "edgekit bench q.onnx model.tflite --baseline model.onnx --threads 1",
    "edgekit bench q.onnx --baseline model.onnx --budget 5m",
    "edgekit bench q.onnx --history bench.jsonl",
    "edgekit bench q.onnx --sustained 10m --report html",
    "edgekit bench --history bench.jsonl --report html",
    "edgekit bench model.tflite --profile --report html",
    "edgekit bench model.onnx --batch 1,2,4,8 --threads 1,2 --pin 0-1",
    "edgekit bench model.tflite --device ssh://pi@pi5.local --python /opt/bench/bin/python",
    "edgekit bench model.tflite --device pi5 --device pixel8",
    "edgekit bench model.tflite --device adb:1A2B3C --benchmark-model ./benchmark_model",
    "edgekit bench dist/digits-cnn-1.0.0 --device pi5 --evidence pi5.json --sign-key key.pem",
)
# 1 and 2 stand also for an artifact: its native code died, or its runtime refused the file
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.BACKEND_MISSING,
    ExitCode.INCONCLUSIVE,
    ExitCode.VERIFICATION_FAILED,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="ARTIFACT", help="Files or folders to measure side by side.", show_default=False
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="Judge the others against this one: slower is exit 4, undecided 7."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            callback=listed(seconds),
            help="How long the launches for a verdict may take, as 90s or 5m; by default until a difference "
            "of 5 % is found, a minute at most.",
        ),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            "--batch",
            metavar="N[,N...]",
            callback=listed(counts),
            help="Samples in one inference; each is measured, with its throughput.",
        ),
    ] = "1",
    threads: Annotated[
        str | None,
        typer.Option(
            "--threads",
            metavar="N[,N...]",
            callback=listed(counts),
            help="Threads inside an operator, each is measured; the target's own default is 1.",
        ),
    ] = None,
    pin: Annotated[
        str | None,
        typer.Option(
            "--pin",
            metavar="CORES",
            callback=listed(cores),
            help="Run on these CPUs only: 0-1,3 (docs/benching.md).",
        ),
    ] = None,
    seed: flags.Seed = 0,
    report: flags.Reports = None,
    energy: Annotated[
        bool,
        typer.Option(
            "--energy",
            help="Also the energy of an inference, where RAPL, an INA sensor or a battery can be read; "
            "13 s for each artifact.",
        ),
    ] = False,
    sustained: Annotated[
        str | None,
        typer.Option(
            "--sustained",
            metavar="TIME",
            callback=listed(minutes),
            help="Instead, run one artifact without a pause for 10m or 1h: minute by minute, and whether the "
            "machine held its speed.",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history",
            metavar="FILE.jsonl",
            help="Append the results there; without ARTIFACT, show how they went and where they changed.",
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Also the time of every kernel, held against this machine's measured roof: about 5 s for an "
            "artifact, and 10 to 30 s once on each machine; the latencies are measured without it.",
        ),
    ] = False,
    streams: Annotated[
        str | None,
        typer.Option(
            "--streams",
            metavar="N[,N...]",
            callback=listed(counts),
            help="Also the throughput of N processes of an artifact at the same time.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="FILE",
            help="Also its pre- and post-processing, and the inference's share of the whole (batch 1).",
        ),
    ] = None,
    allow_fallback: flags.AllowFallback = False,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="Where to measure: local, ssh://[user@]host[:port], adb:SERIAL, or a name of devices.toml; "
            "repeatable, all at the same time (docs/devices.md).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    devices: Annotated[
        Path | None,
        typer.Option(
            "--devices", metavar="FILE", help="Devices by name; ./devices.toml.", rich_help_panel=_PANEL
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            "--python",
            metavar="PATH",
            help="The device's Python 3.9 or later, with NumPy and a runtime; python3.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    install: Annotated[
        bool,
        typer.Option(
            "--install",
            help="Let the device's pip install what is needed, into an environment that goes afterwards.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    ssh_option: Annotated[
        list[str] | None,
        typer.Option(
            "--ssh-option", metavar="KEY=VALUE", help="As ssh -o; repeatable.", rich_help_panel=_PANEL
        ),
    ] = None,
    benchmark_model: Annotated[
        Path | None,
        typer.Option(
            "--benchmark-model",
            metavar="PATH",
            help="LiteRT's benchmark_model built for the device, for one without Python.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            "--evidence",
            metavar="FILE",
            help="ARTIFACT is a bundle: measure the candidates of its open choices on the device, and write "
            "what `edgekit release --evidence` chooses by (docs/devices.md).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    sign_key: Annotated[
        Path | None,
        typer.Option(
            "--sign-key",
            metavar="KEY.pem",
            help="Sign the evidence with this private key (or with that of EDGEKIT_SIGN_KEY).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            help="For one answer of an artifact's process here (300), or for all of one device's run (900).",
        ),
    ] = None,
) -> ExitCode:
    """Measure latency, start, memory and size, here or on devices, all artifacts interleaved."""
    reports = parse_reports(report or (), verb="bench")
    if history and not artifacts:
        from edgekit.pipeline.bench.history import history as history_of

        return console.show(history_of(history, seed=seed), reports=reports)
    paths = tuple(artifacts or ())
    from edgekit.measure.device_list import Given, chosen
    from edgekit.measure.sustained import Plan
    from edgekit.pipeline.bench.sustained import check_alone, sustain, with_energy
    from edgekit.pipeline.bench.sweep import LIMIT_S, Sweep

    sweep = Sweep(
        counts(batch),
        counts(threads) if threads else (),
        cores(pin) if pin else (),
        timeout or LIMIT_S,
        seconds(budget) if budget else None,
        allow_fallback,
    )
    given = Given(python, tuple(ssh_option or ()), install, benchmark_model, timeout)
    on = chosen(device, file=devices, given=given) if device else ()
    if sustained:
        others = {"--baseline": baseline, "--recipe": recipe, "--profile": profile, "--energy": energy}
        check_alone(paths, given={**others, "--history": history})
        with console.working() as progress:
            plan = Plan(minutes(sustained))
            ran = sustain(paths[0], plan=plan, devices=on, sweep=sweep, seed=seed, progress=progress)
        return console.show(ran, reports=reports)
    with console.working() as progress:
        if profile:
            from edgekit.pipeline.bench.profile import check_no_device, with_profiles

            check_no_device(device or ())
        if streams:
            from edgekit.pipeline.bench.streams import check_streams, with_streams

            check_streams(device or ())
        if recipe:
            from edgekit.pipeline.bench.end_to_end import check_end_to_end, with_end_to_end

            check_end_to_end(recipe, devices=device or (), batches=sweep.batches)
        if device or evidence:
            result = _on_devices(
                paths, on, baseline, evidence=evidence, sign_key=sign_key, how=(sweep, seed, progress)
            )
        else:
            from edgekit.pipeline.bench import on_this_machine as bench

            result = bench.bench(paths, baseline=baseline, sweep=sweep, seed=seed, progress=progress)
            if any("CPU" in row.facts.get("placed", "") for row in result.rows):
                from edgekit.pipeline.fallback import with_fallbacks

                result = with_fallbacks(result, seed=seed)
        if streams:
            result = with_streams(result, counts(streams), sweep=sweep, seed=seed, progress=progress)
        if recipe:
            result = with_end_to_end(result, recipe, progress=progress)
        if profile:
            result = with_profiles(result, threads=sweep.first_threads, seed=seed, progress=progress)
        if energy:
            result = with_energy(result, devices=on, sweep=sweep, seed=seed, progress=progress)
    if history:
        from edgekit.pipeline.bench import history_file

        history_file.append(history, result)
    return console.show(result, reports=reports)


def _on_devices(
    paths: tuple[Path, ...],
    on: tuple[NamedDevice, ...],
    baseline: Path | None,
    *,
    evidence: Path | None,
    sign_key: Path | None,
    how: tuple[Sweep, int, Progress],
) -> BenchResult:
    """Files on devices, or the candidates of one bundle on one device."""
    from edgekit.pipeline import signing
    from edgekit.pipeline.bench import of_bundle as bench_bundle
    from edgekit.pipeline.bench import on_devices as bench_devices

    sweep, seed, progress = how
    if evidence or bench_bundle.waits(paths, baseline=baseline):
        bundle, device = bench_bundle.alone(paths, on, baseline=baseline)
        signer = signing.signer(sign_key) if evidence else None
        return bench_bundle.bench_bundle(
            bundle, device, sweep=sweep, seed=seed, progress=progress, evidence=evidence, signer=signer
        )
    return bench_devices.bench_on_devices(
        paths, devices=on, baseline=baseline, sweep=sweep, seed=seed, progress=progress
    )
