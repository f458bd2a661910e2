"""The student: a thin residual network that gives the teacher's two layers, and starts from the teacher's weights.

A ResNet of basic blocks (He et al. 2016) without batch norm. The residual stream is as wide as the teacher's, so that
the student's layers are the teacher's, channel for channel and in the same scale; what is thin is the inside of the
blocks, and of the teacher's layer1 only one block is left. Where the teacher is a ResNet of basic blocks, each block
starts from the channels inside the teacher's block that carry most (Li et al. 2017: pruning by the norm of filters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Convolution = tuple[torch.Tensor, torch.Tensor]  # weight, bias


@dataclass(frozen=True)
class Widths:
    """Channels inside the blocks of the three stages, at strides 4, 8 and 16; and of the stem."""

    stem: int = 48
    stages: tuple[tuple[int, ...], ...] = ((32,), (48, 48), (80, 80))


class Block(nn.Module):
    """Basic block with `inner` channels between its two 3x3 convolutions."""

    def __init__(self, cin: int, inner: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, inner, 3, stride, 1)
        self.conv2 = nn.Conv2d(inner, cout, 3, 1, 1)
        self.skip = nn.Conv2d(cin, cout, 1, stride) if stride != 1 or cin != cout else None
        nn.init.zeros_(self.conv2.weight)  # the block starts as its skip: no batch norm is needed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.conv2(torch.relu(self.conv1(x)))
        return torch.relu(inner + (x if self.skip is None else self.skip(x)))


class Student(nn.Module):
    """Gives (layer at stride 8, layer at stride 16) of an (N, 3, H, W) image.

    Args:
        channels: of the two layers given.
        widths: see `Widths`.
    """

    def __init__(self, channels: Sequence[int], widths: Widths = Widths()) -> None:
        super().__init__()
        self.widths = widths
        self.stem = nn.Conv2d(3, widths.stem, 7, 2, 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        outputs = (widths.stem, *channels)
        stages, cin = [], widths.stem
        for inners, cout, stride in zip(widths.stages, outputs, (1, 2, 2), strict=True):
            blocks = []
            for i, inner in enumerate(inners):
                blocks.append(Block(cin, inner, cout, stride if i == 0 else 1))
                cin = cout
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.layer2(self.layer1(self.pool(torch.relu(self.stem(image)))))
        return fine, self.layer3(fine)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Weights and biases by name, for `export.distill.onnx_file`."""
        return {name: value.detach().float().cpu().numpy() for name, value in self.state_dict().items()}


def make_student(teacher: nn.Module, channels: Sequence[int], widths: Widths = Widths()) -> Student:
    """A student of the teacher: pruned from it where it is a ResNet of basic blocks, else with random weights."""
    student = Student(channels, widths)
    modules = dict(teacher.named_modules())
    blocks = {name: module for name, module in modules.items() if name.startswith("layer") and name.count(".") == 1}
    basic = all({"conv1", "bn1", "conv2", "bn2"} == _trained(block) - {"downsample"} for block in blocks.values())
    stem = modules.get("conv1")
    if not blocks or not basic or not isinstance(stem, nn.Conv2d) or stem.out_channels < widths.stem:
        return student
    with torch.no_grad():
        weight, bias = _folded(stem, modules["bn1"])
        kept = _stream(weight, blocks, widths)
        _put(student.stem, (weight[kept], bias[kept]))
        for name, block in student.named_modules():
            if isinstance(block, Block):
                reads = kept if name in ("layer1.0", "layer2.0") else None
                writes = kept if name.startswith("layer1.") else None
                _prune_into(block, blocks[name], reads, writes)
    return student


def _stream(stem: torch.Tensor, blocks: dict[str, nn.Module], widths: Widths) -> torch.Tensor:
    """The channels of the stem, and of the stream up to stride 8, that carry most."""
    readers = ["layer1.0.conv1", "layer2.0.conv1"] if widths.stages[0] else ["layer2.0.conv1"]
    read = torch.zeros(stem.shape[0])
    for name in readers:
        block, _, part = name.rpartition(".")
        weight = _folded(blocks[block].get_submodule(part), blocks[block].get_submodule("bn1"))[0]
        read += weight.transpose(0, 1).flatten(1).norm(dim=1)
    carries = stem.flatten(1).norm(dim=1) * read
    return carries.argsort(descending=True)[: widths.stem].sort().values


def _trained(block: nn.Module) -> set[str]:
    return {name for name, child in block.named_children() if any(True for _ in child.parameters())}


def _folded(convolution: nn.Conv2d, norm: nn.Module) -> Convolution:
    """The convolution with its batch norm folded in."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = convolution.bias if convolution.bias is not None else torch.zeros_like(scale)
    return convolution.weight * scale[:, None, None, None], norm.bias + (bias - norm.running_mean) * scale


def _put(into: nn.Conv2d, convolution: Convolution) -> None:
    assert into.bias is not None
    into.weight.copy_(convolution[0])
    into.bias.copy_(convolution[1])


def _prune_into(block: Block, teacher: nn.Module, reads: torch.Tensor | None, writes: torch.Tensor | None) -> None:
    """Keeps the inner channels whose filters, before and behind, have the largest norms.

    Args:
        reads, writes: the channels of the teacher's stream that the student has, before and behind; None for all.
    """
    weight1, bias1 = _folded(teacher.conv1, teacher.bn1)
    weight2, bias2 = _folded(teacher.conv2, teacher.bn2)
    before = slice(None) if reads is None else reads
    behind = slice(None) if writes is None else writes
    weight1, weight2, bias2 = weight1[:, before], weight2[behind], bias2[behind]
    carries = weight1.flatten(1).norm(dim=1) * weight2.transpose(0, 1).flatten(1).norm(dim=1)
    kept = carries.argsort(descending=True)[: block.conv1.out_channels].sort().values
    _put(block.conv1, (weight1[kept], bias1[kept]))
    _put(block.conv2, (weight2[:, kept], bias2))
    if block.skip is not None:
        down = teacher.downsample
        weight, bias = _folded(down.get_submodule("0"), down.get_submodule("1"))
        _put(block.skip, (weight[:, before], bias))
