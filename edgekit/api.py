"""The public Python functions: one per verb of the command line, with its flags as keywords.

Each is a thin door to ``edgekit.pipeline``; errors derive from ``edgekit.errors.EdgekitError``. Paths may be
``str`` or ``Path``; what is returned is frozen. The command line prints the richer result values that
``edgekit.pipeline`` gives (``edgekit.pipeline.result``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, overload

from edgekit.backends.base import IoDtype, IoForm, IoLayout
from edgekit.errors import GateError, InputError
from edgekit.frontends.source import is_keras_model
from edgekit.measure.device_list import Given, NamedDevice, chosen
from edgekit.measure.sustained import Plan as _Plan
from edgekit.pipeline import calibrate as _calibrate
from edgekit.pipeline import compile as _compile
from edgekit.pipeline import debug as _debug
from edgekit.pipeline import diff as _diff
from edgekit.pipeline import export as _export
from edgekit.pipeline import fallback as _fallback
from edgekit.pipeline import inspect as _inspect
from edgekit.pipeline import package as _package
from edgekit.pipeline import quantize as _quantize
from edgekit.pipeline import signing as _signing
from edgekit.pipeline import validate as _validate
from edgekit.pipeline import verify as _verify
from edgekit.pipeline.bench import end_to_end as _end_to_end
from edgekit.pipeline.bench import history as _history
from edgekit.pipeline.bench import history_file as _history_file
from edgekit.pipeline.bench import on_devices as _bench_devices
from edgekit.pipeline.bench import on_this_machine as _bench
from edgekit.pipeline.bench import profile as _profile
from edgekit.pipeline.bench import streams as _streams
from edgekit.pipeline.bench import sustained as _sustained
from edgekit.pipeline.bench.sweep import LIMIT_S
from edgekit.pipeline.bench.sweep import Sweep as _Sweep
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.prune.asked import Asked
from edgekit.pipeline.prune.judging import Judging
from edgekit.pipeline.prune.live_keras import prune_keras as _prune_keras
from edgekit.pipeline.prune.live_module import prune_module as _prune_module
from edgekit.pipeline.prune.run import prune as _prune_file
from edgekit.pipeline.release import run as _run
from edgekit.pipeline.result import (
    BenchResult,
    DebugResult,
    DiffResult,
    HistoryResult,
    InspectResult,
    PackageResult,
    PruneResult,
    ReleaseResult,
    SustainedResult,
    SweepResult,
    ValidateResult,
    VerifyResult,
)
from edgekit.pipeline.sweep.run import Where as _Where
from edgekit.pipeline.sweep.run import sweep as _sweep
from edgekit.pruning.zeros import asked_pattern
from edgekit.report import render_release
from edgekit.spec import Artifact, Precision, Progress, Session, Silent, TensorSpec

PathLike = str | Path
_Module = TypeVar("_Module")


def export(
    source: str,
    *,
    out: PathLike,
    inputs: Sequence[TensorSpec] | None = None,
    weights: PathLike | None = None,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    opset: int | None = None,
    tolerance: float = 1e-4,
    trust_source: bool = False,
    calibration_data: str = "",
    progress: Progress | None = None,
) -> Path:
    """Export a PyTorch, Keras or ONNX source to canonical ONNX and prove that it computes the same.

    Args:
        source: ``file.py:callable``, ``package.module:callable``, .pt2, TorchScript .pt, .keras, .h5, a
            SavedModel folder, .onnx or .tflite.
        out: the .onnx file to write.
        inputs: name, dtype and shape of each input; needed for callables.
        weights: checkpoint for a callable.
        dynamic: input name -> axis -> name of a dynamic axis.
        opset: ONNX opset of the file; edgekit's canonical one by default.
        tolerance: largest difference between framework and ONNX, as a part of the output's range.
        trust_source: allow a source that runs code on loading.
        calibration_data: data of yours on which the export is proved too, besides random inputs.
        progress: where to say how far it is.

    Raises:
        ExportError: the source cannot be exported.
        ParityError: its ONNX form computes something else; nothing is written.
        MissingBackendError: the source's framework is not installed.
    """
    result = _export.export(
        source,
        out=Path(out),
        inputs=tuple(inputs or ()),
        weights=Path(weights) if weights else None,
        dynamic=dynamic or {},
        opset=opset,
        tolerance=tolerance,
        trust_source=trust_source,
        calibration_data=calibration_data,
        progress=progress or Silent(),
    )
    return result.path


def calibrate(
    model: PathLike,
    *,
    calibration_data: object,
    out: PathLike,
    method: str = "minmax",
    samples: int | None = None,
    seed: int = 0,
    preprocess: PathLike | None = None,
    progress: Progress | None = None,
) -> Path:
    """Stream calibration data through a float ONNX model and write ``ranges.json``.

    Args:
        model: the float .onnx file.
        calibration_data: what ``--calibration-data`` takes, or the data itself: arrays by input name, an
            ONNX Runtime CalibrationDataReader, an nncf.Dataset, a TFLite representative dataset (the
            function), or anything else that gives batches as often as it is iterated.
        out: the file to write.
        method: minmax, moving-average, percentile, percentile:99.99, entropy, mse or auto.
        samples: at most so many.
        seed: of every draw.
        preprocess: a recipe, or a .json or .toml of steps, from a raw sample to the model's inputs.
        progress: where to say how far it is.

    Raises:
        DataError: the data does not fit the model, is empty, or holds NaN.
        ModelFileError: the model cannot be read.
    """
    return _calibrate.calibrate(
        Path(model),
        calibration_data=calibration_data,
        out=Path(out),
        method=method,
        samples=samples,
        seed=seed,
        preprocess=Path(preprocess) if preprocess else None,
        progress=progress or Silent(),
    ).path


@overload
def prune(
    model: PathLike,
    *,
    calibration_data: object,
    out: PathLike,
    keep: float | None = None,
    speedup: float | None = None,
    sparsity: float | None = None,
    pattern: str | None = None,
    require_speedup: bool = False,
    targets: Sequence[str] = ("onnxruntime-cpu",),
    threads: int | None = None,
    importance: Literal["obs", "activation", "taylor", "magnitude"] = "obs",
    repair: Literal["layers", "blocks"] = "blocks",
    recover: int = 0,
    samples: int | None = None,
    seed: int = 0,
    preprocess: PathLike | None = None,
    eval_data: str = "",
    metric: str = "top1",
    max_drop_pp: float | None = None,
    expected: float | None = None,
    progress: Progress | None = None,
) -> PruneResult: ...


@overload
def prune(
    model: _Module,
    *,
    calibration_data: object,
    inputs: Sequence[TensorSpec] = (),
    keep: float | None = None,
    speedup: float | None = None,
    targets: Sequence[str] = ("onnxruntime-cpu",),
    threads: int | None = None,
    importance: Literal["obs", "activation", "taylor", "magnitude"] = "obs",
    recover: int = 0,
    samples: int | None = None,
    seed: int = 0,
    preprocess: PathLike | None = None,
    eval_data: str = "",
    metric: str = "top1",
    max_drop_pp: float | None = None,
    expected: float | None = None,
    progress: Progress | None = None,
) -> tuple[_Module, PruneResult]: ...


def prune(
    model: PathLike | _Module,
    *,
    calibration_data: object,
    out: PathLike | None = None,
    inputs: Sequence[TensorSpec] = (),
    keep: float | None = None,
    speedup: float | None = None,
    sparsity: float | None = None,
    pattern: str | None = None,
    require_speedup: bool = False,
    targets: Sequence[str] = ("onnxruntime-cpu",),
    threads: int | None = None,
    importance: Literal["obs", "activation", "taylor", "magnitude"] = "obs",
    repair: Literal["layers", "blocks"] = "blocks",
    recover: int = 0,
    samples: int | None = None,
    seed: int = 0,
    preprocess: PathLike | None = None,
    eval_data: str = "",
    metric: str = "top1",
    max_drop_pp: float | None = None,
    expected: float | None = None,
    progress: Progress | None = None,
) -> PruneResult | tuple[_Module, PruneResult]:
    """Remove channels or zero weights of a float model; solve what stays anew (docs/pruning.md).

    Args:
        model: the float .onnx file, or a ``torch.nn.Module`` or ``keras.Model``, of which channels go.
        calibration_data: as for ``calibrate``; no labels are read.
        out: the file to write; a module has none.
        inputs: what a module takes; not needed where it has ``example_inputs()``.
        keep: the part of each group's channels that stays; or
        speedup: how many times faster on every target, measured end to end; or
        sparsity: the part of the weights that becomes zero; or
        pattern: "2:4": two of four weights behind each other stay.
        require_speedup: zeros that save no time on a target are a failure.
        targets: where it is measured.
        threads: inside an operator; the target's own by default.
        importance: what decides which channels go.
        repair: "layers": each layer solved by least squares; "blocks": then all together by gradients, where
            PyTorch is there (a live model: layers, its blocks are trained in your own loop).
        recover: epochs of distillation from the float model: in PyTorch, of a Keras model in Keras.
        samples: at most so many.
        seed: of every draw.
        preprocess: file of steps from a raw sample of either data to the model's inputs.
        eval_data: labelled data that the result is held against.
        metric: task metric.
        max_drop_pp: largest loss of it.
        expected: what the float model scores on it.
        progress: told about each stage.

    Returns:
        What was made and measured. A gate that failed is in ``exit_code``, and then nothing was written.
        For a live model: a smaller one of the same layers, to be trained or exported; and that.

    Raises:
        InputError: nothing in the model may go, not exactly one of keep, speedup, sparsity and pattern, or
            the plan cannot be carried out on the module.
        DataError: the data does not fit the model.
    """
    asked = Asked(
        keep=keep,
        speedup=speedup,
        zeros=asked_pattern(sparsity, pattern),
        targets=tuple(targets),
        threads=threads,
        importance=importance,
        repair=repair,
        recover=recover,
        samples=samples,
        seed=seed,
        require_speedup=require_speedup,
    )
    judging = Judging(eval_data, metric, max_drop_pp, expected)
    told, steps = progress or Silent(), Path(preprocess) if preprocess else None
    if not isinstance(model, str | Path):
        live = _prune_keras if is_keras_model(model) else _prune_module
        return live(
            model,
            calibration_data=calibration_data,
            inputs=tuple(inputs),
            asked=asked,
            judging=judging,
            progress=told,
            preprocess=steps,
        )
    if out is None:
        raise InputError(
            "prune needs a file to write",
            why="the pruned model of a file is a file",
            remedy='out="pruned.onnx"',
        )
    return _prune_file(
        Path(model),
        calibration_data=calibration_data,
        out=Path(out),
        asked=asked,
        judging=judging,
        progress=told,
        preprocess=steps,
    )


def quantize(
    model: PathLike,
    *,
    calibration_data: object = "",
    ranges: PathLike | None = None,
    out: PathLike,
    target: str = "portable",
    precision: str | Precision = Precision.AUTO,
    method: str = "minmax",
    restore: Literal["auto", "none", "adaround"] = "auto",
    eval_data: str = "",
    metric: str = "top1",
    max_drop_pp: float | None = None,
    preprocess: PathLike | None = None,
    expected: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Quantize a float ONNX model with calibration data (or the ranges of ``calibrate``) for a target.

    ``calibration_data`` and ``preprocess`` are those of ``calibrate``; ``eval_data`` goes through the same
    steps. ``expected`` is what the float model scores on it.

    Raises:
        DataError: the data does not fit the model.
        GateError: evaluation data was given and the result loses more than ``max_drop_pp``.
    """
    result = _quantize.quantize(
        Path(model),
        calibration_data=calibration_data,
        ranges=Path(ranges) if ranges else None,
        out=Path(out),
        target=target,
        precision=Precision(precision),
        method=method,
        restore=restore,
        eval_data=eval_data,
        metric=metric,
        max_drop_pp=max_drop_pp,
        preprocess=Path(preprocess) if preprocess else None,
        expected=expected,
        progress=progress or Silent(),
    )
    missed = next((gate for gate in result.gates if gate.status in {"fail", "inconclusive"}), None)
    if missed is not None:
        raise GateError(
            f"{result.target} {result.precision}: {missed.name} gate is {missed.status}: {missed.measured}",
            exit_code=result.exit_code,
            why=f"{missed.limit}; {missed.reason}; nothing was written",
            remedy=missed.remedy,
        )
    return result.path


def compile(
    model: PathLike,
    *,
    target: str,
    out: PathLike,
    name: str = "",
    version: str = "",
    threads: int | None = None,
    progress: Progress | None = None,
    io_dtype: IoDtype = "float32",
    io_layout: IoLayout = "auto",
    allow_fallback: bool = False,
) -> Artifact:
    """Compile an ONNX model (float or QDQ) for one target into the folder ``out``.

    Args:
        model: the .onnx file.
        target: a name of `edgekit targets`, or a target file.
        out: folder for the artifact and its description.
        name: first part of the file name; the model's own by default.
        version: second part of the file name.
        threads: inside an operator; the target's default is 1.
        progress: told about each stage.
        io_dtype: element type of the file's own inputs and outputs: "float32", or "int8" or "uint8" for a
            quantized model on a LiteRT target. A Session takes and gives floats all the same.
        io_layout: "auto" (image inputs channels-last where the compiler likes), or "model".
        allow_fallback: operators that a GPU's provider lacks may run on the CPU.

    Raises:
        TargetRefusalError: the target cannot hold the model; the message lists every reason.
        MissingBackendError: the target's compiler is not installed.
        InputError: a check target, which writes no file; the message says what it would take.
    """
    result = _compile.compile(
        Path(model),
        targets=(target,),
        out=Path(out),
        name=name,
        version=version,
        threads=threads,
        progress=progress or Silent(),
        io=IoForm(io_dtype, io_layout),
        allow_fallback=allow_fallback,
    )
    return _compile.only_artifact(result)


def open(artifact: Artifact | PathLike, *, threads: int | None = None, target: str | None = None) -> Session:
    """Open an artifact, a model file or a bundle's target on its real runtime.

    The session takes and gives arrays in the *reference model's* names, layouts and float types, whatever
    the artifact's own are. Use it as a context manager.

    Raises:
        InputError: the file is not an artifact.
        MissingBackendError: the runtime or the device is not here.
    """
    return open_artifact(artifact, threads=threads, target=target)


def validate(
    artifacts: PathLike | Sequence[PathLike],
    *,
    reference: PathLike,
    data: str,
    metric: str = "top1",
    max_drop_pp: float = 1.0,
    samples: int | None = None,
    preprocess: PathLike | None = None,
    expected: float | None = None,
    slices: Sequence[str] = (),
    max_group_drop_pp: float | None = None,
    allow_fallback: bool = False,
    progress: Progress | None = None,
) -> ValidateResult:
    """Hold artifacts against the float reference on labelled data, raw where ``preprocess`` says how.

    Args:
        artifacts: a file, a folder or a bundle, or several; the reference runs once for all of them.
        reference: the float ONNX model.
        data: labelled data.
        metric: task metric.
        max_drop_pp: largest loss of it.
        samples: at most so many; all by default.
        preprocess: file of steps from a raw sample to the model's input.
        expected: what the float model scores on this data; far below it, DataError.
        slices: arrays of the data that name the group of each sample.
        max_group_drop_pp: largest loss of any class or slice; None for no gate.
        allow_fallback: operators that a GPU's provider lacks may run on the CPU; the notes list them.
        progress: told about each stage.

    Returns:
        For each artifact (``artifacts``): task metric with its paired interval, drift per output, gates and
        verdict; the gravest ``exit_code``; the drift ``matrix``. ``accuracy``, ``drift`` and ``gates`` of the
        result itself are those of the first artifact.
    """
    named = [artifacts] if isinstance(artifacts, str | Path) else artifacts
    return _validate.validate(
        tuple(Path(each) for each in named),
        reference=Path(reference),
        data=data,
        metric=metric,
        max_drop_pp=max_drop_pp,
        samples=samples,
        preprocess=Path(preprocess) if preprocess else None,
        expected=expected,
        slices=tuple(slices),
        max_group_drop_pp=max_group_drop_pp,
        allow_fallback=allow_fallback,
        progress=progress or Silent(),
    )


def debug(
    artifact: PathLike,
    *,
    reference: PathLike,
    data: str,
    metric: str = "top1",
    samples: int | None = None,
    targets: Sequence[str] = (),
    apply: PathLike | None = None,
    preprocess: PathLike | None = None,
    progress: Progress | None = None,
) -> DebugResult:
    """Find the layers of an artifact that cost it accuracy, on its real runtime.

    Args:
        artifact: a file, a folder of `compile` or a bundle.
        reference: the float .onnx file that it was made from.
        data: samples, with or without labels.
        metric: task metric, where there are labels.
        samples: at most so many; 64 by default.
        targets: of a bundle; empty = all.
        apply: recipe into which the remedies of the causes are written.
        preprocess: a recipe, or a .json or .toml of steps, from a raw sample to the model's inputs.
        progress: where to say how far it is.

    Returns:
        Per artifact its layers, the most damaging first, and the causes.
    """
    return _debug.debug(
        Path(artifact),
        reference=Path(reference),
        data=data,
        metric=metric,
        samples=samples,
        targets=tuple(targets),
        apply=Path(apply) if apply else None,
        preprocess=Path(preprocess) if preprocess else None,
        progress=progress or Silent(),
    )


def bench(
    artifacts: Sequence[PathLike],
    *,
    baseline: PathLike | None = None,
    threads: int | Sequence[int] | None = None,
    batches: Sequence[int] = (1,),
    cores: Sequence[int] = (),
    limit_s: float | None = None,
    budget_s: float | None = None,
    seed: int = 0,
    profile: bool = False,
    recipe: PathLike | None = None,
    streams: Sequence[int] = (),
    devices: Sequence[str] = (),
    devices_file: PathLike | None = None,
    given: Given | None = None,
    energy: bool = False,
    history: PathLike | None = None,
    allow_fallback: bool = False,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure artifacts interleaved on this machine, or on devices (docs/devices.md).

    Args:
        artifacts: files, folders or bundles.
        baseline: what the others are judged against.
        threads: inside an operator, each number is measured; by default the artifact's own.
        batches: samples in one inference; each is measured.
        cores: the only CPUs that an artifact's process may run on.
        limit_s: how long one answer of an artifact's process may take here; 300 s.
        budget_s: how long the launches for a verdict may take; by default until a difference of 5 % is
            found, a minute at most.
        seed: of the inputs, of the order and of the intervals.
        profile: also the time of every kernel (docs/benching.md): some seconds for each artifact.
        streams: also the throughput of so many processes of an artifact at the same time.
        recipe: also what lies around the inference: its pre-processing and post-processing.
        devices: addresses ("local", "ssh://user@host", "adb:SERIAL") or names of ``devices_file``; () = here.
        devices_file: default ./devices.toml.
        given: how to use the devices, in place of what the file says: ``edgekit.measure.device_list.Given``.
        energy: also the energy of an inference, where there is a meter.
        history: a JSON-lines file to append the results to; ``bench_history`` reads it.
        allow_fallback: operators that a GPU's provider lacks may run on the CPU; caveats list them.
        progress: told what goes on.

    Returns:
        Latency of each; with ``baseline`` also who is faster, slower or undecided. An artifact that crashed,
        hung or was refused is in ``failures``; the others' rows stand.
    """
    if profile:
        _profile.check_no_device(devices)
    if streams:
        _streams.check_streams(devices)
    if recipe:
        _end_to_end.check_end_to_end(Path(recipe), devices=devices, batches=batches)
    sweep = _Sweep(
        tuple(batches),
        (threads,) if isinstance(threads, int) else tuple(threads or ()),
        tuple(cores),
        limit_s or LIMIT_S,
        budget_s,
        allow_fallback,
    )
    on = _chosen(devices, devices_file, given)
    if devices:
        result = _bench_devices.bench_on_devices(
            tuple(Path(each) for each in artifacts),
            devices=on,
            baseline=Path(baseline) if baseline else None,
            sweep=sweep,
            seed=seed,
            progress=progress or Silent(),
        )
    else:
        result = _bench.bench(
            tuple(Path(each) for each in artifacts),
            baseline=Path(baseline) if baseline else None,
            sweep=sweep,
            seed=seed,
            progress=progress or Silent(),
        )
        result = _fallback.with_fallbacks(result, seed=seed)
    if streams:
        result = _streams.with_streams(
            result, tuple(streams), sweep=sweep, seed=seed, progress=progress or Silent()
        )
    if recipe:
        result = _end_to_end.with_end_to_end(result, Path(recipe), progress=progress or Silent())
    if profile:
        result = _profile.with_profiles(
            result, threads=sweep.first_threads, seed=seed, progress=progress or Silent()
        )
    if energy:
        result = _sustained.with_energy(
            result, devices=on, sweep=sweep, seed=seed, progress=progress or Silent()
        )
    if history:
        _history_file.append(Path(history), result)
    return result


def bench_sustained(
    artifact: PathLike,
    *,
    minutes: int = 10,
    minute_s: float = 60.0,
    threads: int | None = None,
    batch: int = 1,
    cores: Sequence[int] = (),
    seed: int = 0,
    devices: Sequence[str] = (),
    devices_file: PathLike | None = None,
    given: Given | None = None,
    progress: Progress | None = None,
) -> SustainedResult:
    """Run one artifact without a pause: minute by minute, and whether the machine held its speed.

    Args:
        artifact: file, folder or bundle.
        minutes: two at least.
        minute_s: what a minute is.
        threads: inside an operator; by default the artifact's own.
        batch: samples in one inference.
        cores: the only CPUs that its process may run on.
        seed: of the inputs and of the bootstrap.
        devices: as ``bench``; () = here.
        devices_file: default ./devices.toml.
        given: as ``bench``.
        progress: told what goes on.

    Returns:
        What had arrived, with exit code 130, where it was interrupted.
    """
    return _sustained.sustain(
        Path(artifact),
        plan=_Plan(minutes, minute_s),
        devices=_chosen(devices, devices_file, given),
        sweep=_Sweep((batch,), (threads,) if threads else (), tuple(cores)),
        seed=seed,
        progress=progress or Silent(),
    )


def _chosen(devices: Sequence[str], file: PathLike | None, given: Given | None) -> tuple[NamedDevice, ...]:
    if not devices:
        return ()
    return tuple(chosen(devices, file=Path(file) if file else None, given=given or Given()))


def bench_history(file: PathLike, *, seed: int = 0) -> HistoryResult:
    """Read what ``bench(..., history=file)`` appended: series of runs, and where their level changed.

    Args:
        file: JSON lines.
        seed: of the permutation test.

    Raises:
        InputError: the file is not there or cannot be read.
    """
    return _history.history(Path(file), seed=seed)


def release(
    recipe: PathLike = "edgekit.toml",
    *,
    out: PathLike = "dist",
    targets: Sequence[str] = (),
    update: bool = False,
    dry_run: bool = False,
    use_cache: bool = True,
    cache_dir: PathLike | None = None,
    sign_key: PathLike | None = None,
    sign: Literal["sigstore"] | None = None,
    evidence: Sequence[PathLike] = (),
    key: PathLike | None = None,
    allow_fallback: bool = False,
    progress: Progress | None = None,
) -> ReleaseResult:
    """Run a recipe's whole job and write the bundle ``out/<name>-<version>/``, its archives beside it.

    It is signed with the private key (PEM) at ``sign_key`` or in EDGEKIT_SIGN_KEY, or with sigstore.
    What a device measured (files of ``evidence``, which the holder of ``key`` must have signed) chooses for
    the targets that it is about. ``allow_fallback`` lets operators that a GPU's provider lacks run on the
    CPU, and lists them. Gates that fail are in the result's ``exit_code`` and ``targets``; bad input raises.
    """
    return _run.release(
        Path(recipe),
        out=Path(out),
        targets=tuple(targets),
        update=update,
        dry_run=dry_run,
        use_cache=use_cache,
        cache_dir=Path(cache_dir) if cache_dir else None,
        progress=progress or Silent(),
        render=render_release,
        signer=_signing.signer(Path(sign_key) if sign_key else None, sign),
        evidence=tuple(map(Path, evidence)),
        evidence_origin=_signing.origin(Path(key) if key else None),
        allow_fallback=allow_fallback,
    )


def sweep(
    matrix: PathLike,
    *,
    out: PathLike = "dist/sweep",
    jobs: int | None = None,
    scheduler: str = "",
    store: str = "",
    wait_s: float | None = None,
    update: bool = False,
    cache_dir: PathLike | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Run the rows of a matrix (docs/sweep.md) that are not done yet, and report on all of them in ``out``.

    Args:
        matrix: MATRIX.toml.
        out: folder of rows, locks and reports; the same call resumes there.
        jobs: processes of this machine; as many as cores by default, 8 at most.
        scheduler: address of a Dask scheduler, in place of processes.
        store: folder that all workers share, or a URL of fsspec; ``out``/store by default.
        wait_s: for a device that is away; the matrix's by default.
        update: do every row again, and follow no lock.
        cache_dir: of the workers.
        progress: told about each row.

    Returns:
        Every row, a failing one with its reason; the gravest exit code is the result's.

    Raises:
        InputError: the matrix, a recipe or a target is wrong.
        MissingBackendError: Dask is not installed, or its scheduler does not answer.
    """
    return _sweep(
        Path(matrix),
        out=Path(out),
        where=_Where(scheduler, jobs, store, wait_s),
        update=update,
        cache_dir=Path(cache_dir) if cache_dir else None,
        progress=progress or Silent(),
        render=render_release,
    )


def diff(
    old: PathLike,
    new: PathLike,
    *,
    max_drop_pp: float = 1.0,
    max_latency: float = 1.1,
    max_size: float = 1.1,
) -> DiffResult:
    """Say what changed from one release to another (bundles, release reports or artifacts); nothing is run.

    Raises:
        BaselineError: one of them cannot be read, or they are of different models.
    """
    allowed = _diff.Allowed(drop_pp=max_drop_pp, latency=max_latency, size=max_size)
    return _diff.diff(Path(old), Path(new), allowed=allowed)


def verify(
    bundle: PathLike,
    *,
    targets: Sequence[str] = (),
    key: PathLike | None = None,
    identity: str = "",
    identity_provider: str = "",
    device: str | None = None,
    given: Given | None = None,
    progress: Progress | None = None,
) -> VerifyResult:
    """Re-hash a bundle (folder or archive) and replay its golden vectors here, or on ``device``.

    Args:
        bundle: its path.
        targets: that must be replayed; none = all that can be.
        key: public key (PEM) of who must have signed it.
        identity: who must have signed it with sigstore.
        identity_provider: the OpenID Connect provider that says so.
        device: as ``--device`` takes it.
        given: how it is used (``edgekit.measure.device_list.Given``).
        progress: is told what runs.

    Raises:
        InputError: there is no such bundle, or the key is none.
    """
    return _verify.verify(
        Path(bundle),
        targets=tuple(targets),
        progress=progress or Silent(),
        origin=_signing.origin(Path(key) if key else None, identity, identity_provider),
        device=_chosen([device], None, given)[0] if device else None,
    )


def package(
    bundle: PathLike,
    *,
    kinds: Sequence[str],
    out: PathLike | None = None,
    targets: Sequence[str] = (),
    name: str = "",
    recipe: PathLike | None = None,
    coreml: str = "auto",
    key: PathLike | None = None,
    progress: Progress | None = None,
) -> PackageResult:
    """Make packages of a bundle for apps (docs/packages.md): ``out/<name>-<version>-<kind>/``.

    Args:
        bundle: the folder that ``release`` wrote.
        kinds: "python", "c", "web", "ort-mobile", "android", "ios".
        out: beside the bundle by default.
        targets: of the bundle, whose artifacts go in; by default the ones that suit.
        name: of the package in its own world; from the model's name by default.
        recipe: for "ios": that the bundle was released from; its source becomes a .mlpackage.
        coreml: for "ios": "auto", "none", "fp16", "fp32" or "int8".
        key: public key (PEM) of who must have signed the bundle.
        progress: told about each package.

    Returns:
        One row for each kind; a refused one has its reason and an exit code.

    Raises:
        UnknownNameError: a kind or a target that does not exist.
        VerificationError: the bundle is damaged.
    """
    wish, path = _package.wish(coreml), Path(recipe) if recipe else None
    wanted = tuple(_package.Wanted(kind, tuple(targets), name, recipe=path, coreml=wish) for kind in kinds)
    return _package.package(
        Path(bundle),
        wanted=wanted,
        out=Path(out) if out else None,
        origin=_signing.origin(Path(key)) if key else None,
        progress=progress or Silent(),
    )


def inspect(path: PathLike) -> InspectResult:
    """Say what is inside a model file, an artifact or a bundle."""
    return _inspect.inspect(Path(path))
