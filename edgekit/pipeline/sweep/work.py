"""Task -> reply, both JSON-ready: what a worker of a sweep does, wherever it is.

| kind | does | replies |
|---|---|---|
| prepare | export, prune, calibrate, restore, prove the float truth | the lock that rows of one model share |
| make | compile and prove the candidates of one row, untimed | candidates, their files in the store |
| bench | fetch artifacts by digest, measure them interleaved | latencies, memory, the machine |
| nothing | sleeps | itself: what a task costs without work (benchmarks) |

W1 nothing is raised: an error is a reply with its exit code, and so is a bug · W2 a bench needs neither the
recipe nor the data nor a framework: a board has edgekit and a runtime · W3 what a task needs from others
comes out of the store, or from the recipe's own paths, which every worker that compiles must see.
"""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from edgekit import drafts, settings
from edgekit.errors import EdgekitError, ExitCode, InputError, MissingBackendError
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.lock import Lock, LockedTarget
from edgekit.pipeline.prune.for_release import Given
from edgekit.pipeline.sweep.store import Store, opened
from edgekit.pipeline.sweep.stored_cache import StoredCache, confined
from edgekit.pipeline.write import write_model
from edgekit.recipe import Recipe
from edgekit.spec import Artifact, Silent, from_json, to_json
from edgekit.write_errors import explained

Reply = dict[str, Any]
_SEED = 0  # of a bench's inputs and of its bootstrap
_TAIL_LINES = 6  # of a bug's traceback


def run_text(text: str) -> str:
    """``run`` for those who carry text: all that Dask pickles is this function's name and strings."""
    return json.dumps(run(json.loads(text)))


def run(document: Mapping[str, Any]) -> Reply:
    """Do what ``document`` says (W1)."""
    began = time.monotonic()
    try:
        reply = _KINDS[document["kind"]](document)
    except EdgekitError as error:
        reply = {"error": error_document(error)}
    except OSError as error:
        refused = explained(error)
        reply = {"error": error_document(refused) if refused else _bug(error)}
    except Exception as error:  # noqa: BLE001 - W1: the sweep goes on, and the row says what happened
        reply = {"error": _bug(error)}
    return {**reply, "seconds": time.monotonic() - began}


def error_document(error: EdgekitError) -> Reply:
    """An error as data."""
    return {
        "what": error.what,
        "why": error.why,
        "remedy": error.remedy,
        "more": error.more,
        "exit_code": int(error.exit_code),
        "rejections": [to_json(each) for each in getattr(error, "rejections", ())],
    }


def _bug(error: Exception) -> Reply:
    tail = "".join(traceback.format_exception(error)).strip().splitlines()[-_TAIL_LINES:]
    return {
        "what": f"internal error: {type(error).__name__}: {error}",
        "why": "\n".join(tail),
        "remedy": "this is a bug in edgekit: please report it",
        "more": "",
        "exit_code": int(ExitCode.INTERNAL),
        "rejections": [],
    }


def _store(document: Mapping[str, Any]) -> Store:
    """The store that all share; a worker that sees another one says so before it does anything."""
    store = opened(document["store"])
    if not store.has(document["token"]):
        raise InputError(
            f"this worker does not see the sweep's store {store.name}",
            why="artifacts travel through it; a folder must be the same one on every machine",
            remedy="--store with a folder that all share, or with a URL",
            more="docs/sweep.md",
        )
    return store


def _caches(document: Mapping[str, Any], store: Store) -> Cache:
    root = Path(document["cache"]) if document.get("cache") else settings.cache_dir()
    return StoredCache(root, store=store)


def _prepare(document: Mapping[str, Any]) -> Reply:
    from edgekit.pipeline import lock as locks
    from edgekit.pipeline import plan as plans
    from edgekit.pipeline import workbench
    from edgekit.pipeline.release.locking import Locking
    from edgekit.pipeline.release.start import start

    store = _store(document)
    recipe = Recipe.model_validate(document["recipe"])
    plan = plans.of(recipe, path=Path(document["path"]), today=date.fromisoformat(document["today"]))
    held = Lock.model_validate_json(document["lock"]) if document["lock"] else None
    with_ranges = bool(document["ranges"])
    changed: tuple[str, ...] = ()

    def find(inputs: Mapping[str, str], used: Mapping[str, str]) -> Locking:
        nonlocal changed
        changed = held.differences(_shared(inputs, recipe), used) if held else ("there was none",)
        if held and with_ranges and held.ranges is None:
            changed = (*changed, "it has no ranges")
        lock = None if changed else held
        return Locking(lock, held, "followed" if lock else "written", "")

    with _pruned_file(document, store) as given:
        started = start(plan, find=find, cache=_caches(document, store), progress=Silent(), pruning=given)
    prepared = started.prepared() if with_ranges and not started.canonical.quantized else None
    lock = started.locking.lock or locks.make(
        inputs=_shared(started.inputs, recipe),
        tools=started.tools,
        ranges=prepared.ranges if prepared else None,
        restoration=prepared.restoration if prepared else None,
        pruned=started.pruned.locked if started.pruned else None,
        targets={},
    )
    with drafts.temporary() as folder:
        path = folder / "lock.json"
        path.write_text(lock.model_copy(update={"targets": {}}).text(), "utf-8")
        digest = store.put(path)
        pruned = ""
        if started.pruned is not None:
            write_model(started.pruned.canonical.model, folder / "pruned.onnx")
            pruned = store.put(folder / "pruned.onnx")
    table = plan.recipe.data.evaluation
    metric = workbench.metric_of(table.metric, base=plan.base).row
    return {
        "lock": digest,
        "pruned": pruned,
        "changed": list(changed),
        "findings": [*started.canonical.notes, *(prepared.findings if prepared else ())],
        "higher_is_better": metric.higher_is_better,
        "data": started.judging.digest,
    }


@contextmanager
def _pruned_file(document: Mapping[str, Any], store: Store) -> Iterator[Given]:
    """The pruned model that the lock names, where there is one."""
    if not document["pruned"]:
        yield Given()
        return
    with drafts.temporary() as folder:
        path = folder / "pruned.onnx"
        store.fetch(document["pruned"], path)
        yield Given(path)


def _shared(inputs: Mapping[str, str], recipe: Recipe) -> dict[str, str]:
    """What all rows of a model depend on; its target, budget and options are each row's own."""
    text = recipe.model_dump_json(by_alias=True, exclude={"target", "budget", "waiver", "package"})
    kept = {name: digest for name, digest in inputs.items() if not name.startswith(("target ", "recipe"))}
    return {**kept, "recipe": hashlib.sha256(text.encode()).hexdigest()}


def _make(document: Mapping[str, Any]) -> Reply:
    from edgekit.pipeline import plan as plans
    from edgekit.pipeline.open_choice import locked_scheme
    from edgekit.pipeline.proof import where
    from edgekit.pipeline.release.locking import Locking
    from edgekit.pipeline.release.start import start
    from edgekit.pipeline.release.try_targets import try_all

    store = _store(document)
    recipe = Recipe.model_validate(document["recipe"])
    plan = plans.of(recipe, path=Path(document["path"]), today=date.fromisoformat(document["today"]))
    target = plan.targets[0]
    lock = Lock.model_validate_json(_text(store, document["lock"]))
    if document["locked"]:
        locked = LockedTarget.model_validate(document["locked"])
        lock = lock.model_copy(update={"targets": {target.target.name: locked}})

    def find(inputs: Mapping[str, str], used: Mapping[str, str]) -> Locking:
        del used  # a worker with another version of a tool is refused by the artifact's hash, not before
        changed = lock.differences(_shared(inputs, recipe), {})
        if changed:
            raise InputError(
                f"this worker reads other files: {', '.join(changed)}",
                why="all rows of a model are made from the same source and data",
                remedy="give every worker that compiles the same checkout and data at the same path",
                more="docs/sweep.md",
            )
        return Locking(lock, lock, "followed", "")

    with _pruned_file(document, store) as given:
        started = start(plan, find=find, cache=_caches(document, store), progress=Silent(), pruning=given)
    outcomes, rows = try_all(plan, started.benches, lock, measured={}, timed=False)
    if not outcomes:
        failed = rows[0]
        said = {
            "what": failed.reason,
            "why": "",
            "remedy": "",
            "more": "",
            "exit_code": int(failed.exit_code),
        }
        return {"error": {**said, "rejections": [to_json(each) for each in failed.rejections]}}
    outcome = next(iter(outcomes.values()))
    return {
        "timed": where(target.target, target.options).timed,
        "notes": [*outcome.findings],
        "said": outcome.choice.reason,
        "candidates": [
            {
                "scheme": locked_scheme(each).model_dump(mode="json"),
                "label": each.scheme.label,
                "artifact": without_folder(each.artifact),
                "files": {
                    entry.path: store.put(each.artifact.folder / entry.path) for entry in each.artifact.files
                },
                "row": to_json(replace(each.row, beaten_by="")),
            }
            for each in outcome.judged
        ],
    }


def without_folder(artifact: Artifact) -> dict[str, Any]:
    """The artifact as it is everywhere."""
    document: dict[str, Any] = to_json(artifact)
    del document["folder"]
    return document


def fetched(document: Mapping[str, Any], *, store: Store, cache: Cache) -> Artifact:
    """An artifact with its files on this machine: fetched once, kept in the cache."""
    files = document["files"]

    def make(folder: Path) -> None:
        for name, digest in files.items():
            path = confined(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            store.fetch(digest, path)

    folder = cache.folder("artifact", {"files": files}, make)
    return from_json(Artifact, {**document["artifact"], "folder": str(folder)})


def _text(store: Store, digest: str) -> str:
    with drafts.temporary() as folder:
        path = folder / "text"
        store.fetch(digest, path)
        return path.read_text("utf-8")


def _bench(document: Mapping[str, Any]) -> Reply:
    from edgekit.pipeline.doctor import machine_row

    store = _store(document)
    cache = _caches(document, store)
    held = {label: fetched(each, store=store, cache=cache) for label, each in document["artifacts"].items()}
    if document["device"]:
        return _bench_there(held, document)
    timed = _measured(held, baseline=document["baseline"], cache=cache, rounds=document["rounds"])
    return {"timed": timed, "failures": {}, "remedies": {}, "machine": to_json(machine_row())}


def _measured(held: Mapping[str, Artifact], *, baseline: str, cache: Cache, rounds: int) -> dict[str, Any]:
    from edgekit.backends import registry
    from edgekit.pipeline import latency
    from edgekit.pipeline.bench.on_this_machine import random_feeds
    from edgekit.pipeline.doctor import machine_row
    from edgekit.pipeline.proof import Opener

    def opener(artifact: Artifact) -> Opener:
        return lambda: registry.backend(artifact.backend).open(artifact, artifact.options)

    first = held[baseline]
    feeds = random_feeds(tuple(binding.reference for binding in first.inputs), seed=_SEED)
    found = latency.measure(
        {label: opener(artifact) for label, artifact in held.items()},
        feeds,
        baseline=baseline,
        identity={
            "files": {label: [entry.sha256 for entry in each.files] for label, each in held.items()},
            "options": {label: to_json(each.options) for label, each in held.items()},
            "feeds": {name: [str(array.dtype), *array.shape] for name, array in feeds.items()},
        },
        machine_key=machine_row().key,
        cache=cache,
        progress=Silent(),
        rounds=rounds,
    )
    return {label: to_json(replace(each, executed=None)) for label, each in found.items()}


def _bench_there(held: Mapping[str, Artifact], document: Mapping[str, Any]) -> Reply:
    """On a device that this worker reaches; "away" where it does not answer."""
    from edgekit.measure import device_list
    from edgekit.measure.devices import LostDeviceError
    from edgekit.pipeline.bench import on_devices as bench_devices
    from edgekit.pipeline.bench.sweep import Sweep
    from edgekit.pipeline.latency import Timed

    entry = device_list.DeviceEntry.model_validate(document["device"])
    device = device_list.named(entry, Path(document["folder"]))
    try:
        result = bench_devices.measure(
            held, devices=[device], against=document["baseline"], sweep=Sweep(), seed=_SEED, progress=Silent()
        )
    except (MissingBackendError, LostDeviceError) as error:
        away = f"{error.what} ({error.why})" if error.why else error.what
        return {"away": away, "remedy": error.remedy}
    timed = {row.artifact: to_json(Timed(row.latency, row.ratio, row.memory_bytes)) for row in result.rows}
    said = result.devices[0]
    return {
        "timed": timed,
        "failures": {row.artifact: row.reason for row in result.failures},
        "remedies": {row.artifact: row.remedy for row in result.failures},
        "machine": {"key": said.key, "facts": dict(said.facts)},
    }


def _nothing(document: Mapping[str, Any]) -> Reply:
    time.sleep(document["sleep_s"])
    return {}


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Reply]] = {
    "prepare": _prepare,
    "make": _make,
    "bench": _bench,
    "nothing": _nothing,
}
