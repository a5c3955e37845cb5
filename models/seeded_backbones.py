"""A backbone -> weights that were never trained but behave like trained ones, and the float model's answers.

    python models/seeded_backbones.py mobilenet_v2      # or mobilenet_v3_small, resnet18

writes <model>/weights.safetensors and <model>/labels.npy.

A network of 224 pixels with its 2 to 12 million weights is too large to be committed and too slow to be
trained here. So convolutions, scales and shifts are drawn from a seed by ``fill`` (NumPy's generator: the
same bits everywhere), and the file adds what must follow from data:

    1. the batch normalizations' statistics, from one pass over photographs: every layer's activations have
       the mean and spread that the next one expects, and logits differ between images;
    2. a logistic regression on the last features, for as many classes as there are views of the photographs:
       answers are as clear as a trained network's. The other rows of the classifier stay as drawn.

Seeded, one CPU thread, a minute or two.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from photographs import VIEWS
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from edgekit import dataset, recipe

HERE = Path(__file__).resolve().parent
MODELS = ("mobilenet_v2", "mobilenet_v3_small", "resnet18")
STATISTICS = 48  # training crops that the batch normalizations see
DECAY = 0.001  # of the regression: answers are clear, but not certain
ROUNDS = 60  # of L-BFGS
BRANCH = 0.3  # int8 and float then agree on the views to 96 %; to 46 % without it and without a shift


def fill(
    model: nn.Module,
    *,
    seed: int,
    shift: float = 0.0,
    linear: Sequence[nn.BatchNorm2d] = (),
    branches: Sequence[nn.BatchNorm2d] = (),
) -> None:
    """Draw every weight in place: He et al. 2015 for convolutions, scales of 0.5 to 1.5, small shifts.

    Fifty drawn layers are chaotic, which training undoes: what rounding adds in the first of them would drown
    the features of the last. Two things make a deep model as calm as a trained one.

    Args:
        model: what is drawn.
        seed: of the draw.
        shift: mean of the norms' shifts; 1 lets most of the signal pass the activation that follows.
        linear: norms that no activation follows, which get no such shift.
        branches: norms that end a residual branch; their scales are BRANCH times smaller.
    """
    rng = np.random.default_rng(seed)

    def draw(tensor: torch.Tensor, spread: float, mean: float = 0.0) -> None:
        values = rng.standard_normal(tuple(tensor.shape)) * spread + mean
        tensor.copy_(torch.from_numpy(values.astype(np.float32)))

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                inputs = module.weight[0].numel()
                draw(module.weight, (2.0 / inputs) ** 0.5)
                if module.bias is not None:
                    draw(module.bias, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                draw(module.weight, 0.2, mean=1.0)
                draw(module.bias, 0.2, mean=0.0 if module in linear else shift)
                if module in branches:
                    module.weight.mul_(BRANCH)


def finish(model: nn.Module, head: nn.Linear, weights: Path) -> None:
    """Load what ``make`` wrote: the statistics, and the rows of ``head`` that answer."""
    tensors = load_file(weights)
    rows, bias = tensors.pop("rows"), tensors.pop("bias")
    with torch.no_grad():
        head.weight[: len(rows)] = rows
        head.bias[: len(bias)] = bias
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or any("running" in name for name in missing):
        raise ValueError(f"{weights} belongs to another model: {missing} {unexpected}")


def images(name: str, source: str) -> tuple[torch.Tensor, np.ndarray | None]:
    """Crops (n, 3, 224, 224) and their views, prepared as the model's recipe says."""
    plan = recipe.load(HERE / name / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource(f"../photographs.py:{source}"),
        inputs=tuple(table.spec() for table in plan.model.inputs),
        base=HERE / name,
        preprocess=plan.data.preprocess,
    )
    return torch.from_numpy(next(data.batches(data.count))["image"]), data.labels


def features(model: nn.Module, head: nn.Linear, pictures: torch.Tensor) -> torch.Tensor:
    """What reaches ``head``: (n, head.in_features)."""
    found: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    for part in pictures.split(32):
        model(part)
    handle.remove()
    return torch.cat(found)


def regression(x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (VIEWS, f) and bias (VIEWS,) that tell the views of ``x`` (n, f) apart."""
    mean, spread = x.mean(0), x.std(0) + 1e-6
    z = (x - mean) / spread
    rows = torch.zeros(VIEWS, x.shape[1], requires_grad=True)
    bias = torch.zeros(VIEWS, requires_grad=True)
    optimizer = torch.optim.LBFGS([rows, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(z @ rows.T + bias, labels) + DECAY * rows.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    rows, bias = rows.detach() / spread, bias.detach()
    return rows, bias - rows @ mean


def make(name: str) -> None:
    """Write the files of one model, and say how well its answers separate."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    spec = importlib.util.spec_from_file_location(name, HERE / name / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, head = module.drawn()
    pictures, views = images(name, "training")
    with torch.no_grad():
        norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # the statistics of this one pass, not a moving average
        model.train()
        model(pictures[:STATISTICS])
        model.eval()
        found = features(model, head, pictures)
    rows, bias = regression(found, torch.from_numpy(views))
    tensors = {key: value for key, value in model.state_dict().items() if "running" in key}
    out = HERE / name / "weights.safetensors"
    save_file({**tensors, "rows": rows.contiguous(), "bias": bias}, out)

    model = module.build()
    asked, _ = images(name, "evaluation")
    with torch.no_grad():
        logits = torch.cat([model(part)["logits"] for part in asked.split(32)])
    labels = logits.argmax(1).numpy()
    np.save(HERE / name / "labels.npy", labels)
    best = logits.topk(2, dim=1).values
    truth = np.arange(len(labels)) % VIEWS
    print(
        f"{name}: {out.stat().st_size} bytes; {len(np.unique(labels))} different answers, "
        f"the view's own for {np.mean(labels == truth):.3f}; margin over the second answer, in logits: "
        f"median {(best[:, 0] - best[:, 1]).median():.2f}, logits' spread {logits.std():.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    make(parser.parse_args().model)
