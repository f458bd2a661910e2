"""The student: a MobileNetV2 up to stride 16 with a branch of plain convolutions that copies a second teacher's layers.

The trunk (Sandler et al. 2018, batch norm folded in) starts from the first teacher's weights and is held to its layers.
The branch reads the trunk at strides 4, 8 and 16 and gives the layers of the second teacher at strides 8 and 16,
channel for channel and in the same scale. So a patch is described by what two networks see, in less time than the
second alone takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import relu, relu6

from edge_ad.errors import BackboneError
from export.distill.shape import BLOCKS, BRANCH, READ, STEM, TRUNK_CHANNELS

TRUNK = ("stem", "blocks")  # names of the trunk's parameters begin so

Convolution = tuple[torch.Tensor, torch.Tensor]  # weight, bias


class Inverted(nn.Module):
    """Inverted residual: widened by a 1x1 convolution, 3x3 by channel, narrowed without a non-linearity."""

    def __init__(self, cin: int, cout: int, stride: int, widening: int) -> None:
        super().__init__()
        inner = cin * widening
        self.expand = nn.Conv2d(cin, inner, 1) if widening != 1 else None
        self.depth = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner)
        self.project = nn.Conv2d(inner, cout, 1)
        self.adds = stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.expand is None else relu6(self.expand(x))
        y = self.project(relu6(self.depth(y)))
        return x + y if self.adds else y


class Student(nn.Module):
    """Gives `shape.LAYERS` of an (N, 3, H, W) image: the trunk's and the branch's at stride 8, then both at stride 16.

    Args:
        channels: of the second teacher's layers at strides 8 and 16.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 3, 2, 1)
        blocks, cin = [], STEM
        for widening, cout, count, stride in BLOCKS:
            for i in range(count):
                blocks.append(Inverted(cin, cout, stride if i == 0 else 1, widening))
                cin = cout
        self.blocks = nn.ModuleList(blocks)
        quarter, fine, deep = TRUNK_CHANNELS
        (outer8, inner8), (outer16, inner16) = BRANCH
        self.enter = nn.Conv2d(quarter, outer8, 3, 2, 1)
        self.fine1 = nn.Conv2d(outer8, inner8, 3, 1, 1)
        self.fine2 = nn.Conv2d(inner8, outer8, 3, 1, 1)
        self.fine_out = nn.Conv2d(outer8 + fine, channels[0], 1)
        self.down = nn.Conv2d(outer8, outer16, 3, 2, 1)
        self.side = nn.Conv2d(deep, outer16, 1)
        self.deep1 = nn.Conv2d(outer16, inner16, 3, 1, 1)
        self.deep2 = nn.Conv2d(inner16, outer16, 3, 1, 1)
        self.deep_out = nn.Conv2d(outer16 + deep, channels[1], 1)
        for last in (self.fine2, self.deep2):
            nn.init.zeros_(last.weight)  # the blocks of the branch start as nothing: no batch norm is needed

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        read = []
        x = relu6(self.stem(image))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in READ:
                read.append(x)
        trunk4, trunk8, trunk16 = read
        fine = relu(self.enter(trunk4))
        fine = relu(fine + self.fine2(relu(self.fine1(fine))))
        deep = relu(self.down(fine) + self.side(trunk16))
        deep = relu(deep + self.deep2(relu(self.deep1(deep))))
        copied8 = relu(self.fine_out(torch.cat([fine, trunk8], 1)))
        copied16 = relu(self.deep_out(torch.cat([deep, trunk16], 1)))
        return trunk8, copied8, trunk16, copied16

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Weights and biases by name, for `export.distill.onnx_file`."""
        return {name: value.detach().float().cpu().numpy() for name, value in self.state_dict().items()}


def make_student(first: nn.Module, channels: Sequence[int]) -> Student:
    """A student whose trunk is the first teacher's; its branch has random weights.

    Raises:
        BackboneError: the first teacher is no MobileNetV2 of the usual width.
    """
    student, modules = Student(channels), dict(first.named_modules())
    with torch.no_grad():
        try:
            _put(student.stem, _folded(modules["features.0.0"], modules["features.0.1"]))
            for i, block in enumerate(student.blocks, 1):
                assert isinstance(block, Inverted)
                path, place = f"features.{i}.conv", 0
                for part in (block.depth,) if block.expand is None else (block.expand, block.depth):
                    _put(part, _folded(modules[f"{path}.{place}.0"], modules[f"{path}.{place}.1"]))
                    place += 1
                _put(block.project, _folded(modules[f"{path}.{place}"], modules[f"{path}.{place + 1}"]))
        except (KeyError, RuntimeError, AttributeError) as error:
            raise BackboneError(
                "the student cannot start from the first teacher",
                expected="mobilenet_v2, as torchvision has it",
                got=f"{type(error).__name__}: {error}",
            ) from error
    return student


def _folded(convolution: nn.Module, norm: nn.Module) -> Convolution:
    """The convolution with its batch norm folded in."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = convolution.bias if convolution.bias is not None else torch.zeros_like(scale)
    return convolution.weight * scale[:, None, None, None], norm.bias + (bias - norm.running_mean) * scale


def _put(into: nn.Conv2d, convolution: Convolution) -> None:
    assert into.bias is not None
    into.weight.copy_(convolution[0])
    into.bias.copy_(convolution[1])
