"""module + images -> Torch-Pruning's smaller module, distilled from the original for some seconds, as ONNX.

    python torch_pruning_prune.py model.py images.npy out.onnx RATIO IMPORTANCE SCOPE SECONDS

Runs in the environment of the peer torch-pruning. The shortcuts of resnet20 pad channels by a number that the
module itself writes down, so the widths of the residual stream stay: the inner channel of each block goes, as
its users do it. IMPORTANCE: magnitude (the library's default), or taylor (gradients of the cross-entropy with
the answers of the module itself: there are no labels). SCOPE: "global", RATIO is a part of all channels
together; or "local" (the library's default), of each layer. Widths are rounded up to 8: by hand, of what
the library says goes, because its own ``round_to`` leaves a layer whole of which less than 8 would be left,
and then more is not faster.

Recovery: mean squared error of the logits against the original's, Adam with a cosine, batch normalizations
in training mode; on one thread, as edgekit's. SECONDS are the processor's: what runs beside it takes none
away.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253  this is the peer's process
import torch_pruning as tp
from torch.nn import functional  # noqa: TID253

BATCH, PEAK, STEP = 64, 1e-3, 8
SEED = 0


def main() -> None:
    """See the module."""
    source, images, out, ratio, importance, scope, seconds = sys.argv[1:]
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("model", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    original = module.build().eval()
    data = torch.from_numpy(np.load(images))
    pruned = prune(copy.deepcopy(original), data, ratio=float(ratio), importance=importance, scope=scope)
    epochs = distil(pruned, original, data, seconds=float(seconds))
    pruned.eval()
    torch.onnx.export(
        pruned,
        (data[:2],),
        out,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
    )
    widths = {
        name: layer.out_channels for name, layer in pruned.named_modules() if hasattr(layer, "out_channels")
    }
    Path(out).with_suffix(".json").write_text(json.dumps({"widths": widths, "epochs": epochs}))


def prune(model: Any, data: Any, *, ratio: float, importance: str, scope: str) -> Any:
    """The module without a part of its inner channels."""
    inner = {layer for name, layer in model.named_modules() if name.endswith(".conv1")}
    ignored = [
        layer
        for layer in model.modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and layer not in inner
    ]
    if importance == "taylor":
        rank = tp.importance.GroupTaylorImportance()
        model.zero_grad()
        for part in data.split(BATCH):
            scores = model(part)["logits"]
            functional.cross_entropy(scores, scores.detach().argmax(dim=1)).backward()
    else:
        rank = tp.importance.GroupMagnitudeImportance(p=2)
    pruner = tp.pruner.BasePruner(
        model,
        data[:2],
        importance=rank,
        global_pruning=scope == "global",
        pruning_ratio=ratio,
        ignored_layers=ignored,
        output_transform=lambda outputs: outputs["logits"],
    )
    for group in list(pruner.step(interactive=True)):
        layer, goes = group[0].dep.target.module, len(group[0].idxs)
        size = layer.out_channels
        kept = max(STEP, -(-(size - goes) // STEP) * STEP)
        if kept < size:
            whole = pruner.DG.get_pruning_group(layer, tp.prune_conv_out_channels, list(range(size)))
            least = rank(whole).argsort()[: size - kept].tolist()
            pruner.DG.get_pruning_group(layer, tp.prune_conv_out_channels, least).prune()
    return model


def distil(student: Any, teacher: Any, data: Any, *, seconds: float) -> float:
    """Passes over the data that the seconds were enough for."""
    if seconds <= 0:
        return 0.0
    optimizer = torch.optim.Adam(student.parameters(), lr=PEAK)
    student.train()
    begin, done = time.process_time(), 0
    while (spent := time.process_time() - begin) < seconds:
        for rows in torch.randperm(len(data)).split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = PEAK * 0.5 * (1 + math.cos(math.pi * min(1.0, spent / seconds)))
            with torch.no_grad():
                wanted = teacher(data[rows])["logits"]
            loss = ((student(data[rows])["logits"] - wanted) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += len(rows)
            spent = time.process_time() - begin
            if spent >= seconds:
                break
    return done / len(data)


if __name__ == "__main__":
    main()
