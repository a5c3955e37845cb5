"""Published checkpoints from EDGEKIT_DATA load into definitions written here, and export with parity.

ResNet-20 for CIFAR-10 (He et al. 2016, option A shortcuts), and MTCNN's three networks (Zhang et al. 2016).
Tolerance: 1e-4 of the output's range in float32; seed 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import settings
from edgekit.frontends import parity
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.frontends.source import load
from edgekit.ir import io
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one
torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

RESNET = """
import torch
from torch import nn
from torch.nn import functional as F

class Block(nn.Module):
    def __init__(self, inside, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.widen = inside != out
    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        pad = y.shape[1] // 4
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad)) if self.widen else x
        return F.relu(y + short)

class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = ((16, 16), (16, 32), (32, 64))
        for number, (inside, out) in enumerate(widths, 1):
            first = Block(inside, out, 1 if inside == out else 2)
            self.add_module(f"layer{number}", nn.Sequential(first, Block(out, out, 1), Block(out, out, 1)))
        self.linear = nn.Linear(64, 10)
    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.shape[3]).flatten(1))

def build():
    return ResNet()
"""
MTCNN = """
import torch
from torch import nn
from torch.nn import functional as F

def pool(x, size): return F.max_pool2d(x, size, 2, ceil_mode=True)

class PNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)
    def forward(self, x):
        x = pool(self.prelu1(self.conv1(x)), 2)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return {"boxes": self.conv4_2(x), "scores": self.conv4_1(x).softmax(1)}

class RNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)
    def forward(self, x):
        x = pool(self.prelu2(self.conv2(pool(self.prelu1(self.conv1(x)), 3))), 3)
        x = self.prelu3(self.conv3(x)).permute(0, 3, 2, 1).flatten(1)
        x = self.prelu4(self.dense4(x))
        return self.dense5_2(x), self.dense5_1(x).softmax(1)

class ONet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)
    def forward(self, x):
        x = pool(self.prelu2(self.conv2(pool(self.prelu1(self.conv1(x)), 3))), 3)
        x = self.prelu4(self.conv4(pool(self.prelu3(self.conv3(x)), 2)))
        x = self.prelu5(self.dense5(x.permute(0, 3, 2, 1).flatten(1)))
        return self.dense6_2(x), self.dense6_3(x), self.dense6_1(x).softmax(1)
"""


@dataclass(frozen=True)
class Checkpoint:
    id: str
    file: str
    code: str
    build: str
    size: tuple[int | str, int | str]
    outputs: int


CHECKPOINTS = [
    Checkpoint("resnet20", "akamaster_resnet20/resnet20-12fca82f.th", RESNET, "build", (32, 32), 1),
    Checkpoint("pnet", "mtcnn/pnet.pt", MTCNN, "PNet", ("height", "width"), 2),
    Checkpoint("rnet", "mtcnn/rnet.pt", MTCNN, "RNet", (24, 24), 2),
    Checkpoint("onet", "mtcnn/onet.pt", MTCNN, "ONet", (48, 48), 3),
]


def data() -> Path:
    folder = settings.data_dir()
    if folder is None:
        pytest.skip("EDGEKIT_DATA names no folder of real data")
    return folder


def export(case: Checkpoint, folder: Path) -> Loaded:
    (folder / "model.py").write_text(case.code)
    spec = TensorSpec("x", "float32", ("batch", 3, *case.size))
    source = f"model.py:{case.build}"
    return load(SourceRequest(source, folder, weights=data() / case.file, inputs=(spec,)))


@pytest.mark.parametrize("case", CHECKPOINTS, ids=lambda case: case.id)
def test_a_published_checkpoint_exports(case: Checkpoint, tmp_path: Path) -> None:
    loaded = export(case, tmp_path)
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(loaded.model)
    assert len(outputs) == case.outputs

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        names = [spec.name for spec in outputs]
        return dict(zip(names, session.run(names, {"x": arrays[0]}), strict=True))

    assert loaded.reference is not None
    report = parity.check(loaded.reference, FunctionRunner(inputs, outputs, run), tolerance=1e-4, seed=0)
    assert report.passed, report


def test_resnet20_is_as_accurate_as_published_for_these_images(tmp_path: Path) -> None:
    loaded = export(CHECKPOINTS[0], tmp_path)
    with np.load(data() / "cifar10" / "cifar10_test_2000.npz") as archive:
        images, labels = archive["x"], archive["y"]
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((images / 255 - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    accuracy = float((session.run(None, {"x": x})[0].argmax(1) == labels.ravel()).mean())
    assert 0.79 < accuracy < 0.84  # 81.35 %, the standard error of 2,000 samples being 0.9 points
