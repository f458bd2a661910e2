"""Trains a small backbone to give a large one's patches: `python -m export.distill IMAGES --weights FILE`.

See export.distill_options for the options and export/models/EDGE_S.md for what was made with it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from edge_ad.errors import DatasetError, EdgeADError
from export.distill_options import DistillOptions, parse_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a distillation; returns the exit code: 0, 2 for an error, 130 when interrupted."""
    options = parse_options(arguments)
    try:
        _distill(options)
    except EdgeADError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    print(options.out)
    return 0


def _distill(options: DistillOptions) -> None:
    if not options.out.parent.is_dir():
        raise DatasetError("there is no folder to write to", expected="an existing folder", got=options.out.parent)
    # late, so that --help and typos answer at once; the backbone first, which says how to install torch
    from export.backbone import torchvision_backbone
    from export.distill_images import ImagePool
    from export.distill_training import Distillation, choose_device, set_threads, train

    set_threads(options.threads)
    recipe = options.recipe
    teacher = torchvision_backbone(recipe.teacher, options.layers, options.weights)
    images = ImagePool(options.images, recipe.size, recipe.seed, recipe.textures)
    distillation = Distillation(recipe, images, teacher.extractor, choose_device(options.device))
    if options.resume:
        distillation.load(options.out.with_suffix(".ckpt"))
    train(distillation, options.out, options.every)


if __name__ == "__main__":
    sys.exit(main())
