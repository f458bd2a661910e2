"""The network of --method autoencoder as an export has it: without its weights, and taught by the good images."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.heads.autoencoder import ERRORS
from edge_ad.spec import Size, Tensor
from edge_ad.system.cpu import default_threads
from edge_ad.system.entry import say
from edge_ad.system.files import check_target, is_special, is_stdout
from export.autoencoder.corrupt import pictures
from export.autoencoder.graph import Arrays, error_graph
from export.autoencoder.recipe import FACTOR, Recipe
from export.autoencoder.shape import USUAL, blank
from export.features import tensors
from export.folds import folds
from export.graph import PatchGraph
from export.network import Lesson, Network
from export.options import Options
from export.relief import relief_patches

NAME = "autoencoder"
AREA = 128**2  # pixels: what was measured, and what two cores train in minutes
CHECKPOINT = ".ckpt"  # after the name of the bundle


@dataclass(frozen=True)
class Autoencoder(Network):
    """The network; its graph gives errors for patches.

    Attributes:
        recipe: of the training.
        arrays: the weights by name; none before it is taught, when its graph has zeros for them.
        steps: how many there were.
        checkpoint: what a stopped export goes on from; None where none can be kept.
    """

    recipe: Recipe = field(kw_only=True)
    arrays: Arrays = field(default_factory=dict, kw_only=True, repr=False)
    steps: int = field(default=0, kw_only=True)
    checkpoint: Path | None = field(default=None, kw_only=True)

    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        """The graph from pixels to errors: `export.autoencoder.graph.error_graph`."""
        assert floats == self.recipe.normals, "`open_network` asks the options"
        arrays = self.arrays or blank(self.recipe.width, size, self.recipe.normals)
        return error_graph(arrays, size, normals=self.recipe.normals)

    def reference_patches(self, tensor: Tensor, graph: PatchGraph) -> NDArray[np.float32]:
        """The errors by torch; of normal maps the answers of the filters, by OpenCV."""
        import torch

        from export.autoencoder.unet import UNet, cell_errors

        arrays = {name: torch.from_numpy(np.array(value)) for name, value in self.arrays.items()}
        network = UNet(self.recipe.width, arrays.get(USUAL))
        network.load_state_dict(arrays)
        picture = torch.from_numpy(pictures(tensor, normals=self.recipe.normals)).permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            found = network(picture)
            if self.recipe.normals:
                return relief_patches((picture - found)[0].permute(1, 2, 0).numpy())
            cells = cell_errors(picture, found)
        return np.ascontiguousarray(cells[0].permute(1, 2, 0).reshape(-1, ERRORS).numpy())

    def taught(self, lesson: Lesson) -> Autoencoder:
        """Trains on the good images but those that a split holds out, or goes on where a stopped export was.

        Raises:
            BackboneError: the checkpoint is none, or the training diverges.
        """
        from export.autoencoder.training import Training, choose_device, train

        options = lesson.options
        first = folds(len(lesson.good_images), "split", options.seed)
        paths = [lesson.good_images[number] for number in first.final]
        seen = np.concatenate([*tensors(paths, lesson.frame, lesson.crop)])
        training = Training(self.recipe, seen, choose_device(options.threads or default_threads()))
        kept = self.checkpoint
        if kept is not None and kept.exists() and training.load(kept):
            say(f"the training goes on from step {training.step}: {kept}")
        train(training, self.checkpoint)
        share = training.settle()
        arrays = training.arrays()
        digest = hashlib.sha256(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays)))
        loss = min(training.curve, key=lambda row: row[2])
        told = f"{loss[0]:,} steps on {len(paths)} good images; error of what it repairs {loss[2]:.4f}"
        if share is not None:
            told += f"; {share:.0%} of what it adds to the usual normals counts"
        return dataclasses.replace(
            self,
            weights=told,
            sha256=digest.hexdigest(),
            arrays=arrays,
            steps=loss[0],
            learned=frozenset(paths),
        )

    def finished(self) -> None:
        """Removes the checkpoint."""
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)


def autoencoder(options: Options, *, normals: bool = False) -> Autoencoder:
    """The network that the options describe, before it is taught.

    Args:
        normals: frames are normal maps: vectors of length 1, or 0 where nothing was measured.
    """
    recipe = Recipe(options.steps, options.width, options.spoilt, normals, options.seed)
    out = options.out
    kept = None
    if out is not None and not is_special(out) and not is_stdout(out):
        kept = out.with_name(out.name + CHECKPOINT)
        check_target("--out (its checkpoint)", kept)
    return Autoencoder(
        NAME,
        ("errors",),
        "not trained",
        "",
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        stride=FACTOR,
        area=AREA,
        recipe=recipe,
        checkpoint=kept,
    )
