"""`edge-ad demo BUNDLE`: a page in the browser that inspects images, with Gradio (extra `page`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_ad.cli import OK, RUNTIME_OPTIONS, add_runtime_options, given_path
from edge_ad.cli.inspect import captures_of, find_images
from edge_ad.demo import app
from edge_ad.demo.address import PORT, Address, listen
from edge_ad.demo.looking import Inspector
from edge_ad.demo.samples import MOST, load_samples
from edge_ad.system.entry import say
from edge_ad.system.names import printable

HELP = "Opens a page for the browser of this PC: choose or upload an image, see score, verdict and map."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_runtime_options(parser)
    parser.add_argument(
        "--samples",
        type=given_path,
        metavar="FOLDER",
        help=f"images to choose from on the page (its subfolders too), {MOST} at most; of a bundle of stacks, a folder "
        "of folders",
    )
    parser.add_argument("--port", type=int, default=PORT, help="port of the page; 0 takes a free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="interface of the page; any but this one lets other PCs see it"
    )


def run(options: argparse.Namespace) -> int:
    """Serves the page until it is stopped.

    Raises:
        EdgeADError: gradio is not installed, or bundle, samples or port cannot be used.
        KeyboardInterrupt: it was stopped, which is its usual end.
    """
    address = Address(options.host, options.port)
    # Gradio last: to import it takes seconds, and a typing error should be told at once
    inspector = Inspector(options.bundle, **{name: getattr(options, name) for name in RUNTIME_OPTIONS})
    paths, base = ([], Path()) if options.samples is None else _captures(options.samples, inspector)
    with listen(address) as listening, app.gradio_ready():
        samples = load_samples(paths, base, inspector.manifest.frame) if paths else []
        if not address.is_local:
            say(
                f"note: --host {options.host}: whoever reaches this PC there sees the samples and may upload "
                "images, without a password."
            )
        app.serve(inspector, printable(Path(options.bundle).name), samples, listening, address)
    return OK


def _captures(root: Path, inspector: Inspector) -> tuple[list[Path], Path]:
    """The captures of the folder of samples, and the folder that their names are below."""
    images, errors = find_images(root)
    for error in errors:
        say(f"error: {error}")
    paths, base = captures_of(images, root, stacks=inspector.takes_stacks)
    if len(paths) > MOST:
        say(f"note: the page shows {MOST} of {len(paths)} samples, at even distances.")
    return paths, base
