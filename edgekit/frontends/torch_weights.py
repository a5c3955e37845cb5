"""Checkpoint file x torch module -> the module with those weights.

    .pt, .pth: torch.load(weights_only=True)      .safetensors: safetensors.torch.load_file

A training checkpoint is a mapping of mappings; the weights are looked for under the usual keys. Prefixes that
wrappers leave on every name (DataParallel, torch.compile) are taken off.

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
SUFFIXES = (".pt", ".pth", ".safetensors")
_SHOWN = 5  # names in a message; the count says how many there are


def apply_weights(module: Any, path: Path, *, trust_source: bool) -> None:
    """Load ``path`` into ``module`` (which the caller owns).

    Raises:
        ModelFileError: the file is missing, unreadable, or needs an unpickler that runs code.
        ExportError: names or shapes of the weights do not fit the module.
    """
    state = _state(_read(path, trust_source=trust_source), path)
    own = module.state_dict()
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
            remedy="use the checkpoint of this architecture, or correct the callable's hyper-parameters",
        )
    module.load_state_dict(state, strict=False)  # strictness is above, with better words


def _read(path: Path, *, trust_source: bool) -> Any:
    if not path.is_file():
        raise ModelFileError(
            f"no weights file at {path}",
            why="relative paths start at the recipe's folder, or the current one for flags",
            remedy="correct --weights (or `weights` in the recipe)",
        )
    if path.suffix not in SUFFIXES:
        raise ModelFileError(
            f"weights {path.name} have an ending that a PyTorch model does not load",
            why=f"known: {', '.join(SUFFIXES)}; .weights.h5 belongs to Keras",
            remedy="save them with torch.save(model.state_dict(), 'weights.pt')",
        )
    try:
        if path.suffix == ".safetensors":
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
    state = {str(name): tensor for name, tensor in content.items()}
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
