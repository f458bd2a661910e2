"""A network by torch, whose features the importers must find again. Needs torch and torchvision."""

from __future__ import annotations

import numpy as np
import torch
import torchvision

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(seed: int = 3) -> torch.nn.Module:
    """A ResNet18 with seeded weights."""
    torch.manual_seed(seed)
    return torchvision.models.resnet18(weights=None).eval()


def layers_of(net: torch.nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """Its layers 2 and 3."""
    with torch.no_grad():
        found = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(image)))))
        second = net.layer2(found)
        return [second, net.layer3(second)]


def image_of(tensor: np.ndarray) -> torch.Tensor:
    """(1, 3, H, W) normalised, of a (1, H, W, 3) u8 BGR tensor."""
    image = (tensor[..., ::-1].astype(np.float64) / 255 - MEAN) / STD
    return torch.from_numpy(image.transpose(0, 3, 1, 2).astype(np.float32))
