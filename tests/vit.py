"""A vision transformer that is small enough for a test, from random weights. It needs torch."""

from __future__ import annotations

import functools
import io

import onnx
import torch
from torch import nn

PATCH, WIDTH = 8, 24


class Block(nn.Module):
    """Attention and a hidden layer, each after a layer norm, as all vision transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 3, batch_first=True)
        self.hidden = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normal = self.before(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        return tokens + self.hidden(self.after(tokens))


class TinyVit(nn.Module):
    """Two blocks over patches of 8 x 8.

    Args:
        size: (H, W) of its images.
        registers: tokens beside the class token; -1 for no class token either.
    """

    def __init__(self, size: tuple[int, int], registers: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.prefix = 1 + registers
        count = self.prefix + size[0] // PATCH * (size[1] // PATCH)
        self.cut = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.front = nn.Parameter(torch.randn(1, self.prefix, WIDTH))
        self.positions = nn.Parameter(0.1 * torch.randn(1, count, WIDTH))
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tokens = self.cut(image).flatten(2).permute(0, 2, 1)
        if self.prefix:
            tokens = torch.cat([self.front.expand(len(image), -1, -1), tokens], dim=1)
        tokens = tokens + self.positions
        first = self.blocks[0](tokens)
        second = self.blocks[1](first)
        return first, second, second[:, 0]


class LastVit(nn.Module):
    """A network that keeps its channels last, as Swin and ConvNeXt do: (1, h, w, C) after strides of 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.cut, self.shrink = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 24, 2, 2)
        self.norms = nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(24)])
        self.mix = nn.ModuleList([nn.Linear(16, 16), nn.Linear(24, 24)])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.cut(image).permute(0, 2, 3, 1)
        fine = fine + nn.functional.gelu(self.mix[0](self.norms[0](fine)))
        deep = self.shrink(fine.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return fine, deep + nn.functional.gelu(self.mix[1](self.norms[1](deep)))


def to_onnx(network: nn.Module, size: tuple[int, int], *names: str) -> onnx.ModelProto:
    """As a user exports it, with its outputs named."""
    buffer = io.BytesIO()
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, *size),),
        buffer,
        input_names=["image"],
        output_names=list(names),
        opset_version=18,
        dynamo=True,
        verbose=False,
        external_data=False,
    )
    return onnx.load_from_string(buffer.getvalue())


@functools.cache
def vit_onnx(size: tuple[int, int], registers: int = 4) -> onnx.ModelProto:
    """A `TinyVit` with the outputs "first", "second" and "pooled"; not to be changed."""
    return to_onnx(TinyVit(size, registers), size, "first", "second", "pooled")


@functools.cache
def last_onnx(size: tuple[int, int]) -> onnx.ModelProto:
    """A `LastVit` with the outputs "fine" and "deep"; not to be changed."""
    return to_onnx(LastVit(), size, "fine", "deep")
