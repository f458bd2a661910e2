"""Trains a small backbone to give two networks' patches: `python -m export.distill IMAGES --weights FILE`.

See export.distill.options for the options and export/models/EDGE_S.md for what was made with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_ad.frames.listing import list_images
from edge_ad.system.entry import run_command
from edge_ad.system.files import check_outputs, check_target
from edge_ad.system.names import printable
from export.distill.options import TRUNK_TEACHER, DistillOptions, parse_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a distillation; returns the exit code, as `edge_ad.system.entry` has them."""
    interrupted = "interrupted; --resume goes on from the last checkpoint"
    return run_command(lambda: _distill(parse_options(arguments)), interrupted)


def _distill(options: DistillOptions) -> int:
    outputs = [("--out", options.out.with_suffix(suffix)) for suffix in (".ckpt", ".csv")] + [("--out", options.out)]
    for option, path in outputs:
        check_target(option, path)
    files = list_images(options.images) if options.images.is_dir() else []
    inputs = [("an image", path) for path in files]
    named = [("--weights", options.weights), ("--trunk-weights", options.trunk_weights), ("--start", options.start)]
    check_outputs(outputs, inputs + [(option, path) for option, path in named if path is not None])
    # late, so that --help and typos answer at once; the backbone first, which says how to install torch
    from export.backbone import torchvision_backbone
    from export.distill.images import ImagePool
    from export.distill.training import Distillation, choose_device, set_threads, train

    set_threads(options.threads)
    recipe = options.recipe
    first = torchvision_backbone(TRUNK_TEACHER, None, options.trunk_weights).extractor
    second = torchvision_backbone(recipe.teacher, options.layers, options.weights).extractor
    images = ImagePool(options.images, recipe.size, recipe.seed, recipe.textures)
    distillation = Distillation(recipe, images, (first, second), choose_device(options.device))
    if options.start is not None:
        distillation.start_from(options.start)
    if options.resume:
        distillation.load(options.out.with_suffix(".ckpt"))
    train(distillation, options.out, options.every)
    print(printable(options.out))
    return 0
