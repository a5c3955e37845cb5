"""Checkpoint file x torch module -> the module with those weights.

    .pt, .pth, .th, .bin, .ckpt: torch.load(weights_only=True)      .safetensors: safetensors.torch.load_file

A training checkpoint is a mapping of mappings; the weights are looked for under the usual keys. A prefix that
wrappers leave on every name (``module.`` of DataParallel, ``_orig_mod.`` of torch.compile, ``model.`` of a
training harness) is taken off where the names fit without it. A prefix on some names only is told.

Source: torch.load documentation, "weights_only". An unpickler that runs code is for trusted sources only.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra

NESTED_UNDER = ("state_dict", "model_state_dict", "model", "module", "ema_state_dict", "net", "weights")
PREFIXES = ("module.", "_orig_mod.")  # torch.nn.DataParallel and DDP; torch.compile
PICKLED = (".pt", ".pth", ".th", ".bin", ".ckpt")  # what torch.save is given by custom
SUFFIXES = (*PICKLED, ".safetensors")
_SHOWN = 5  # names in a message; the count says how many there are


def apply_weights(module: Any, path: Path, *, trust_source: bool) -> None:
    """Load ``path`` into ``module`` (which the caller owns).

    Parameters on the meta device, which have no values of their own, become those of the file.

    Raises:
        ModelFileError: the file is missing, unreadable, or needs an unpickler that runs code.
        ExportError: names or shapes of the weights do not fit the module.
    """
    own = module.state_dict()
    state = _without_shared_prefix(_state(read_checkpoint(path, trust_source=trust_source), path), own)
    # Checkpoints older than torch 0.4.1 lack these counters, which only training reads.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)} in the file and {tuple(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    complaints = [
        *([f"missing in the file: {_few(missing)}"] if missing else []),
        *([f"not in the model: {_few(unexpected)}"] if unexpected else []),
        *([f"other shape: {_few(shapes)}"] if shapes else []),
    ]
    if complaints:
        raise ExportError(
            f"weights {path.name} do not fit the model; {'; '.join(complaints)}",
            why="a partly loaded model would run, and be wrong",
            remedy=_remedy(state, own),
        )
    no_values = any(tensor.is_meta for tensor in own.values())
    module.load_state_dict(state, strict=False, assign=no_values)  # strictness is above, with better words


def _remedy(state: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """What to change: the prefix that stands on a part of the names, if that is what is wrong."""
    for prefix in (*PREFIXES, *dict.fromkeys(f"{name.partition('.')[0]}." for name in state)):
        prefixed = [name for name in state if name.startswith(prefix)]
        if prefixed and all(name.removeprefix(prefix) in own and name not in own for name in prefixed):
            return (
                f"{len(prefixed)} of {len(state)} names in the file start with {prefix!r}: take it off those "
                "(and drop what does not belong to this model) before saving the state dict"
            )
    return "use the checkpoint of this architecture, or correct the callable's hyper-parameters"


def read_checkpoint(path: Path, *, trust_source: bool) -> Any:
    """Whatever ``path`` holds: tensors in containers, or (trusted) any Python object.

    Raises:
        ModelFileError: it is missing, unreadable, of an unknown ending, or needs an unpickler that runs code.
    """
    if not path.is_file():
        raise ModelFileError(
            f"no weights file at {path}",
            why="relative paths start at the recipe's folder, or the current one for flags",
            remedy="correct --weights (or `weights` in the recipe)",
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ModelFileError(
            f"weights {path.name} have an ending that a PyTorch model does not load",
            why=f"known: {', '.join(SUFFIXES)}; .weights.h5 belongs to Keras",
            remedy="save them with torch.save(model.state_dict(), 'weights.pt')",
        )
    try:
        if path.suffix.lower() == ".safetensors":
            return import_extra("safetensors.torch", needed_for=path.name).load_file(path)
        torch = import_extra("torch", needed_for=path.name)
        return torch.load(path, map_location="cpu", weights_only=not trust_source)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path.name} holds more than tensors, or is damaged",
            why="reading it would run code that its author chose (Python pickle); edgekit reads with "
            "weights_only=True",
            remedy="save only the state dict (torch.save(model.state_dict(), path), or safetensors); "
            "or add --trust-source if you made the file yourself",
        ) from error
    except Exception as error:  # readers of damaged files raise whatever the bytes lead to
        if isinstance(error, ImportError):
            raise
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"weights {path.name} cannot be read ({path.stat().st_size} bytes): {explain(error)}",
        why="the file is empty, cut off or of another format",
        remedy="copy it again, or save it again",
    )


def _state(content: Any, path: Path) -> dict[str, Any]:
    """The mapping of name -> tensor inside a checkpoint."""
    torch = import_extra("torch", needed_for=path.name)
    for key in NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ModelFileError(
            f"weights {path.name} hold no mapping of names to tensors",
            why=f"looked at the top and under the keys {', '.join(NESTED_UNDER)}",
            remedy="save model.state_dict()",
        )
    return {str(name): tensor for name, tensor in content.items()}


def _without_shared_prefix(state: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``state`` without the first parts that all names share, if names of the model come out; else as is."""
    bare = state
    while not any(name in own for name in bare):
        prefix, dot, _ = next(iter(bare), "").partition(".")
        if not dot or not all(name.startswith(f"{prefix}.") for name in bare):
            return state
        bare = {name.removeprefix(f"{prefix}."): tensor for name, tensor in bare.items()}
    return bare


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
