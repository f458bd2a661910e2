"""The network as torch trains it, and the errors that it is trained by. `export.autoencoder.graph` is the same in ONNX.

A U: the picture with 2 x 2 pixels beside one another, four levels of halved sides, and back up, each level beside what
it was on the way down. The way down goes around the narrow end, so nothing but the training keeps defects out of the
reconstruction: `export.autoencoder.corrupt`.

That is so for pictures. Normal maps have noise in every pixel, and a network that is asked for each of them gives back
noise, and scratches with it. There the network sees the usual map, the mean of the good ones, as it is, and how the
picture differs from it as means of `SEEN` x `SEEN` pixels. It gives what is to be added to the usual map. So what it
adds follows from how the part lies and is lit, and no fine defect comes through.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

from export.autoencoder.recipe import CELL, SEEN
from export.autoencoder.shape import LEVELS, PIXELS, USUAL

WINDOW = 7  # pixels of a side that structure is compared over
C1, C2 = 0.01**2, 0.03**2  # of SSIM (Wang et al. 2004), for pixels in 0..1


class UNet(nn.Module):
    """(N, 3, H, W) pictures to the same; H and W are multiples of `export.autoencoder.recipe.FACTOR`.

    Args:
        usual: (1, 3, H, W) mean of the good normal maps, with length 1, or 0 where none has a normal, and none is
            given back. It is what the network gives before it is trained. None for pictures.
    """

    usual: torch.Tensor | None

    def __init__(self, width: int, usual: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer(USUAL, usual)
        channels = [width * level for level in LEVELS]
        self.enter = nn.Conv2d(PIXELS if usual is None else 2 * PIXELS, channels[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(channels))
        self.insides = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in channels)
        self.narrows = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(channels))
        self.joins = nn.ModuleList(nn.Conv2d(2 * c, c, 3, padding=1) for c in channels[:-1])
        self.leave = nn.Conv2d(channels[0], PIXELS, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        if usual is not None:
            nn.init.zeros_(self.leave.weight)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        if self.usual is None:
            return self._network(picture)
        change = functional.avg_pool2d(picture - self.usual, SEEN)
        change = functional.interpolate(change, scale_factor=float(SEEN), mode="nearest")
        found = unit(self.usual + self._network(torch.cat([change, self.usual.expand_as(change)], 1)))
        return found * self.usual.square().sum(1, keepdim=True)

    def count_only(self, share: float) -> None:
        """From now on adds this share of what it adds to the usual normals."""
        with torch.no_grad():
            self.leave.weight *= share
            self.leave.bias *= share

    def _network(self, picture: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.enter(functional.pixel_unshuffle(picture, 2)))
        kept = []
        for number, inside in enumerate(self.insides):
            if number:
                x = functional.relu(self.downs[number - 1](x))
            x = functional.relu(inside(x))
            kept.append(x)
        for number in range(len(self.joins) - 1, -1, -1):
            up = functional.interpolate(functional.relu(self.narrows[number](x)), scale_factor=2.0, mode="nearest")
            x = functional.relu(self.joins[number](torch.cat([kept[number], up], 1)))
        return functional.pixel_shuffle(self.leave(x), 2)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) vectors with length 1."""
    return vectors / vectors.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()  # sqrt(0) has no derivative


def pixel_errors(picture: torch.Tensor, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The two errors of each pixel, (N, 1, H, W) each: mean difference of the channels, and 1 - SSIM of their mean."""
    colour = (picture - found).abs().mean(1, keepdim=True)
    a, b = picture.mean(1, keepdim=True), found.mean(1, keepdim=True)
    planes = torch.cat([a, b, a * a, b * b, a * b], 1)
    means = functional.avg_pool2d(planes, WINDOW, 1, WINDOW // 2, count_include_pad=False)
    ma, mb, aa, bb, ab = means.split(1, 1)
    above = (2 * ma * mb + C1) * (2 * (ab - ma * mb) + C2)
    below = (ma * ma + mb * mb + C1) * ((aa - ma * ma) + (bb - mb * mb) + C2)
    return colour, 1 - above / below


def cell_errors(picture: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """(N, 2, H / CELL, W / CELL): the errors, each the mean of a cell."""
    return functional.avg_pool2d(torch.cat(pixel_errors(picture, found), 1), CELL)
