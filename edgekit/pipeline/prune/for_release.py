"""Plan x canonical model x calibration data -> the pruned model that a release's candidates are made of.

R1  a lock that is followed names the graph: it is read from the file beside the lock, or out of the cache;
    its weights are not solved again, because float arithmetic differs in the last bit between CPUs
R2  else it is made, or taken out of the cache, where a speedup is kept by machine
R3  one model for all targets of the recipe, also where only some are released: they share ranges and plans
R4  speed is measured on the targets that run here (or on those that ``target`` names)
R5  a speedup that cannot be kept ends the release with exit code 4, and the report says what could be
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import target as targets_
from edgekit.bundle.facts import Subject, Transformation
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode, MissingBackendError, RecipeError, VerificationError
from edgekit.ir import io
from edgekit.ir.digest import digest
from edgekit.passes import canonicalize
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.lock import LockedPruning
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.proof import where
from edgekit.pipeline.prune.asked import Asked
from edgekit.pipeline.prune.judging import Judging
from edgekit.pipeline.prune.run import pruned
from edgekit.pipeline.result.prune import PruneResult
from edgekit.pipeline.versions import tools
from edgekit.pipeline.write import write_model
from edgekit.pruning.zeros import asked_pattern
from edgekit.recipe import PruneTable
from edgekit.spec import Progress, from_json, to_json

NAME = "edgekit.pruned.onnx"
"""The pruned model beside the lock: other machines would solve its weights to other last bits (R1)."""
_MODEL, _FACTS = "model.onnx", "facts.json"
_MORE = "docs/pruning.md"


@dataclass(frozen=True)
class PrunedSource:
    """What candidates are made of.

    Attributes:
        canonical: the pruned model; of the unpruned one where pruning failed.
        result: what pruning found; None where the lock's file alone says what the model is.
        step: of the provenance.
        locked: what the lock says of it.
    """

    canonical: Canonical
    result: PruneResult | None
    step: Transformation
    locked: LockedPruning

    @property
    def missed(self) -> tuple[str, ExitCode] | None:
        """R5: what is missed, and the exit code of every target."""
        if self.result is None or self.result.exit_code is ExitCode.OK:
            return None
        said = "; ".join(
            f"{gate.name} is {gate.measured}, limit {gate.limit}: {gate.reason}; next: {gate.remedy}"
            for gate in self.result.gates
            if gate.status == "fail"
        )
        return f"pruning: {said}", self.result.exit_code


@dataclass(frozen=True)
class Given:
    """Pruning of a sweep: nothing is measured, because others work beside it.

    Attributes:
        file: the model that the lock names; None = as R1 says.
    """

    file: Path | None = None


def obtain(
    plan: Plan,
    canonical: Canonical,
    learning: Dataset | None,
    *,
    locked: LockedPruning | None,
    cache: Cache,
    progress: Progress,
    given: Given | None = None,
) -> PrunedSource | None:
    """The pruned model; None where the recipe asks for none. ``given`` is what a sweep says of it.

    Raises:
        RecipeError: there is nothing to learn from, or no target to measure on.
        InputError: nothing in the model may go, or it came quantized.
        VerificationError: the file beside the lock is not the model that the lock names.
    """
    table = plan.recipe.optimize.prune
    if table is None:
        return None
    if canonical.quantized:
        raise RecipeError(
            "[optimize] prune, and the model came quantized",
            why="channels are removed, and weights solved anew, in float",
            remedy="start from the float model, or remove prune",
            more=_MORE,
        )
    if learning is None:
        raise RecipeError(
            "[optimize] prune needs [data] calibration",
            why="which channels go, and the weights that stay, are learned from data",
            remedy='add calibration = { source = "..." } under [data]',
            more=_MORE,
        )
    asked = _asked(plan, table, seed=learning.seed)
    if given is not None:
        asked = replace(asked, targets=(), threads_of={})
    key = _key(plan, canonical, learning, asked)
    if locked is not None:
        path = given.file if given and given.file else plan.path.with_name(NAME)
        return _again(path, canonical, locked, key, cache=cache)
    progress.stage("prune")

    def make(folder: Path) -> None:
        made = pruned(canonical, learning, asked=asked, judging=Judging(), preprocess=(), progress=progress)
        model = canonicalize(made.model)
        io.save(model, folder / _MODEL)
        facts = {"result": to_json(made.result), "step": made.step.model_dump(mode="json")}
        (folder / _FACTS).write_text(json.dumps(facts, sort_keys=True))

    return _read(canonical, cache.folder("prune", key, make))


def trained_with(table: PruneTable | None) -> tuple[str, ...]:
    """The extra whose version decides weights: that of recovery, of refined blocks and of gradients."""
    if table is None:
        return ()
    zeros = table.sparsity is not None or table.pattern is not None
    by_gradients = table.importance == "taylor" and not zeros
    return ("torch",) if table.recover or table.repair == "blocks" or by_gradients else ()


def keep_beside_lock(plan: Plan, found: PrunedSource) -> None:
    """Write the model where the next release that follows the lock looks for it (R1)."""
    write_model(found.canonical.model, plan.path.with_name(NAME))


def _again(
    path: Path, canonical: Canonical, locked: LockedPruning, key: Mapping[str, object], *, cache: Cache
) -> PrunedSource:
    """R1."""
    said = f"{path} is not there"
    if cache.holds("prune", key):
        with suppress(FileNotFoundError):  # of a damaged entry: it cannot be made again here
            found = _read(canonical, cache.folder("prune", key, _not_made))
            if found.locked.graph == locked.graph:
                return found
    if path.is_file():
        model = io.load(path)
        if digest(model) == locked.graph:
            step = Transformation.model_validate(locked.step)
            return PrunedSource(replace(canonical, model=model, origin=""), None, step, locked)
        said = f"{path} is another model"
    raise VerificationError(
        f"the pruned model that the lock names is not here: {said}",
        why=f"its graph is {locked.graph[:16]}, and solved again on another CPU its weights would differ",
        remedy=f"restore {path.name} from version control, where it belongs beside the lock, or search again "
        "with --update",
        more=_MORE,
    )


def _not_made(folder: Path) -> None:
    raise FileNotFoundError(folder)


def _read(canonical: Canonical, folder: Path) -> PrunedSource:
    """What was saved, read again: a model just made and the same one out of its file must not differ."""
    facts = json.loads((folder / _FACTS).read_text("utf-8"))
    result = from_json(PruneResult, facts["result"])
    model = io.load(folder / _MODEL)
    graph = digest(model)
    step = Transformation.model_validate(facts["step"])
    step = step.model_copy(update={"outputs": (Subject(name="pruned graph", digest=f"graph:{graph}"),)})
    locked = LockedPruning(
        graph=graph,
        kept={row.group: row.kept for row in result.widths},
        step=step.model_dump(mode="json"),
    )
    return PrunedSource(replace(canonical, model=model, origin=""), result, step, locked)


def _key(plan: Plan, canonical: Canonical, learning: Dataset, asked: Asked) -> dict[str, object]:
    """Everything that the pruned model depends on; of a speedup (R2) the machine too."""
    table = plan.recipe.optimize.prune
    assert table is not None  # noqa: S101  the caller has looked
    return {
        "model": canonical.digest,
        "data": learning.digest,
        "seed": learning.seed,
        "asked": table.model_dump(mode="json"),
        "targets": {
            name: targets_.load(name).model_dump(mode="json", by_alias=True) for name in asked.targets
        },
        "threads": dict(asked.threads_of),
        "machine": machine_row().key if asked.targets else "",
        "tools": tools(*trained_with(table)),
    }


def _asked(plan: Plan, table: PruneTable, *, seed: int) -> Asked:
    names = _measured_on(plan, table)
    if not names and (table.speedup is not None or table.require_speedup):
        raise RecipeError(
            "[optimize] prune promises a speed, and none of the recipe's targets runs here",
            why="a speed that was not measured is none",
            remedy='name one that runs here: prune = { speedup = 1.3, target = ["onnxruntime-cpu"] }',
            more=_MORE,
        )
    return Asked(
        keep=table.keep,
        speedup=table.speedup,
        zeros=asked_pattern(table.sparsity, table.pattern),
        targets=tuple(names),
        threads_of={targets_.load(name).name: count for name, count in names.items() if count is not None},
        importance=table.importance,
        repair=table.repair,
        recover=table.recover,
        seed=seed,
        require_speedup=table.require_speedup,
    )


def _measured_on(plan: Plan, table: PruneTable) -> dict[str, int | None]:
    """R3, R4: the targets, as ``target.load`` takes them, with the threads of the recipe."""
    threads = {each.name: each.threads for each in plan.recipe.target}
    found: dict[str, int | None] = {}
    for name in table.target or tuple(threads):
        path = str(plan.base / name) if name.endswith(".toml") else name
        if table.target or _is_timed(path):
            found[path] = threads.get(name)
    return found


def _is_timed(name: str) -> bool:
    target = targets_.load(name)
    try:
        return not target.is_check and where(target, target.run.options()).timed
    except MissingBackendError:
        return False
