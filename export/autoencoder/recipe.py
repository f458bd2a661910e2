"""What decides the weights of an autoencoder. No torch."""

from __future__ import annotations

from dataclasses import dataclass

FACTOR = 16  # sides of a picture are multiples of it: the network halves them so many times over
CELL = 4  # pixels of a side that one error stands for
SEEN = 8  # pixels of a side of a normal map that the network sees as one; divides `FACTOR`


@dataclass(frozen=True)
class Recipe:
    """A training; a checkpoint goes on only under the same recipe.

    Attributes:
        steps: most training steps. It ends before, when the loss on pictures that no step shows does not fall.
        width: channels of the finest level.
        spoilt: share of the training pictures that are spoilt. With 0 the network learns to give its input back,
            defects too.
        normals: the pictures are normal maps: vectors of length 1, or 0 where nothing was measured.
        seed: of every random choice.
        batch: pictures in a step.
        rate: highest learning rate.
        every: steps between two looks at the pictures that no step shows.
        patience: so many looks without a gain end the training.
    """

    steps: int = 1200
    width: int = 16
    spoilt: float = 1.0
    normals: bool = False
    seed: int = 0
    batch: int = 4
    rate: float = 1.5e-3
    every: int = 100
    patience: int = 6
