"""The page in Gradio (extra `page`), and its server. Nothing else imports Gradio, and here only a call does.

Gradio as it comes would report its use, look for a newer version, and load fonts from Google. What keeps it from that
stands in `gradio_ready` (variables that it reads when it is imported), `_blocks` and `_mounted` (arguments), and
`_keep_to_uploads`. We do not use its `launch`: that asks its own page over HTTP, through a proxy if one is set, and has
a tunnel for sharing.

There is no ``from __future__ import annotations``: Gradio reads the annotation of a handler to know what to pass.
"""

import contextlib
import importlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge_ad.demo import words
from edge_ad.demo.address import Address
from edge_ad.demo.looking import Inspector, Refused, Seen, view
from edge_ad.demo.samples import Sample
from edge_ad.errors import EdgeADError
from edge_ad.evaluation.pictures import Style
from edge_ad.verdict.overlay import Picture

_KEPT_S = 600, 3600  # looked through so often, for files that are so old; all of them are deleted at the end
_TABS = 16  # whose images are kept: a large frame and its map take hundreds of megabytes
_OWN, _MOST = 100, 300  # the threshold on the page in percent of the bundle's: as it comes, and at most
_STRETCH = 0.99  # quantile that stretches the heat of a map
_STYLE = Style()
_VARIABLES = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "*"),  # a proxy would be set up, with packages that may be missing
}
_UNWANTED = "matplotlib"
_CSS = f"""
.gradio-container {{ max-width: 1500px !important; padding: 0 !important; }}
.gradio-container .fillable {{ padding: 14px 24px !important; }}
.gradio-container main, .gradio-container .html-container {{ padding: 0 !important; }}
footer {{ display: none !important; }}
#picture img, #overlay img, #reconstruction img, #heat img {{ width: 100%; height: 100%; object-fit: contain; }}
#samples .caption-label {{ font-size: 10px; padding: 1px 5px; left: 0; right: 0; max-width: 100%; }}
{words.CSS}"""

Shown = Seen | Refused | None


@contextlib.contextmanager
def gradio_ready() -> Iterator[None]:
    """Imports Gradio so that it reports nothing and keeps its files in a folder that is removed at the end.

    Where matplotlib is installed, Gradio would import it at the first click, which writes a list of fonts into the home
    folder: it is hidden meanwhile. The environment and the list of modules are then as they were.

    Raises:
        EdgeADError: it is not installed; names the pip command.
    """
    with tempfile.TemporaryDirectory(prefix="edge-ad-demo-") as folder:
        own = {**_VARIABLES, "GRADIO_TEMP_DIR": folder}
        before = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        hidden = _UNWANTED not in sys.modules
        if hidden:
            sys.modules[_UNWANTED] = None  # type: ignore[assignment]  # how Python spells "not installed"
        try:
            _import_gradio()
            yield
        finally:
            if hidden:
                del sys.modules[_UNWANTED]
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _import_gradio() -> None:
    try:
        importlib.import_module("gradio")
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise EdgeADError(
            "edge-ad demo needs gradio", got="none installed", remedy="pip install 'edge-ad[page]'"
        ) from error


def serve(
    inspector: Inspector, file: str, samples: Sequence[Sample], listening: socket.socket, address: Address
) -> None:
    """Serves the page until Ctrl-C or a signal ends the process; inside `gradio_ready`.

    Args:
        file: name of the bundle's file, for people.
        samples: to choose from.
        listening: from `edge_ad.demo.address.listen`.

    Raises:
        EdgeADError: the page does not start.
        KeyboardInterrupt: it was stopped.
    """
    app = _mounted(_blocks(inspector, file, samples), address)
    host, port = address.host, listening.getsockname()[1]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/ shows {file}; Ctrl-C ends it", flush=True)
    server = _server(app)
    server.run(sockets=[listening])
    if not server.started:
        raise EdgeADError("the page did not start", got="the lines above")


def _server(app: Any) -> Any:
    """A server that ends at once, whoever has the page open."""
    import gradio as gr
    import uvicorn

    pages = [route.app for route in app.routes if isinstance(getattr(route, "app", None), gr.routes.App)]

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: Any = None) -> None:
            for page in pages:
                page.stop_event.set()  # ends the stream by which each tab knows that we are there
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is cut off now is no error
            await super().shutdown(sockets)

    return Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))


def _mounted(blocks: Any, address: Address) -> Any:
    """The page as a web application. FastAPI's own pages, which load scripts from a CDN, are left out."""
    import fastapi
    import gradio as gr
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    _keep_to_uploads(blocks)
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if address.is_local and ":" not in address.host:  # a page elsewhere whose name points here gets nothing
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", address.host])
    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Base(primary_hue="teal", font=fonts, font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        root_path="",
        theme=theme,
        css=_CSS,
    )


def _keep_to_uploads(blocks: Any) -> None:
    """A request gets nothing by naming a file that was not uploaded, or an address.

    Gradio looks whether a file was uploaded only where its own `launch` started the page; an address it would fetch.
    """
    blocks.has_launched = True
    for block in blocks.blocks.values():
        block.async_move_resource_to_block_cache = partial(_kept, block.async_move_resource_to_block_cache)


async def _kept(keep: Callable[[Any], Awaitable[Any]], path: Any) -> Any:
    import gradio as gr

    asked = gr.processing_utils.client_utils  # by which Gradio itself tells an address from a file
    if path is not None and asked.is_http_url_like(str(path)):
        raise gr.Error("This page fetches nothing. Upload the file.", print_exception=False)
    return await keep(path)


def _blocks(inspector: Inspector, file: str, samples: Sequence[Sample]) -> Any:
    """The page: samples and upload at the left; verdict, pictures, threshold and knobs at the right."""
    import gradio as gr

    with gr.Blocks(title=f"edge-ad: {file}", analytics_enabled=False, fill_width=True, delete_cache=_KEPT_S) as page:
        shown = gr.State(None)
        gr.HTML(words.title(inspector.manifest, file), apply_default_css=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=280):
                gallery = _gallery(samples)
                upload = _upload(inspector)
                point = gr.Dropdown(
                    list(inspector.points),
                    value=inspector.first,
                    label="Operating point",
                    visible=len(inspector.points) > 1,
                    elem_id="point",
                )
                facts = gr.HTML("", apply_default_css=False, elem_id="facts")
            with gr.Column(scale=5, min_width=480):
                card = gr.HTML(
                    view(None, 1.0, _STYLE, inspector.manifest).card, apply_default_css=False, elem_id="card"
                )
                pictures = _pictures(inspector)
                threshold = _slider()
                knobs = _knobs()
        outputs = [card, facts, *pictures]
        page.state_session_capacity = _TABS
        _wire(inspector, samples, _Parts(shown, gallery, upload, point, threshold, knobs, outputs))
    return page


@dataclass(frozen=True)
class _Parts:
    """Components of the page that events come from or go to."""

    shown: Any
    gallery: Any
    upload: Any
    point: Any
    threshold: Any
    knobs: Sequence[Any]
    outputs: Sequence[Any]


def _gallery(samples: Sequence[Sample]) -> Any:
    import gradio as gr

    return gr.Gallery(
        [(_rgb(sample.thumbnail), sample.name) for sample in samples],
        label="Samples",
        columns=3,
        height=304,
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=bool(samples),
        elem_id="samples",
    )


def _upload(inspector: Inspector) -> Any:
    import gradio as gr

    label, count = ("The pictures of a stack", "multiple") if inspector.takes_stacks else ("An image file", "single")
    return gr.File(label=label, file_count=count, type="filepath", height=120, elem_id="upload")


def _pictures(inspector: Inspector) -> list[Any]:
    """Picture, overlay, reconstruction and error map: those that the bundle has."""
    import gradio as gr

    height = 228 if inspector.reconstructs else 390  # all of them on a screen of 800 lines

    def image(label: str, name: str) -> Any:
        return gr.Image(
            label=label, height=height, format="png", interactive=False, buttons=["fullscreen"], elem_id=name
        )

    with gr.Row():
        made = [image("Normal map" if inspector.takes_stacks else "Image", "picture")]
        if inspector.has_map:
            made.append(image("Anomaly map over it", "overlay"))
    if inspector.reconstructs:
        with gr.Row():
            made += [image("Reconstruction: as it should be", "reconstruction"), image("Error map", "heat")]
    return made


def _ranged(least: float, most: float, value: float, **more: Any) -> Any:
    """A slider that takes the nearest number of its range: while one is typed, it may be missing or out of range."""
    import gradio as gr

    slider = gr.Slider(least, most, value, **more)
    take = slider.preprocess
    slider.preprocess = lambda typed: take(min(max(least, typed or 0), most))
    return slider


def _slider() -> Any:
    return _ranged(
        1,
        _MOST,
        _OWN,
        step=1,
        label="Threshold on this page, % of the bundle's",
        info="It changes what this page says, and nothing in the bundle.",
        elem_id="threshold",
    )


def _knobs() -> list[Any]:
    """How the overlay is drawn: those of `edge-ad eval`."""
    import gradio as gr

    with gr.Accordion("How the map is drawn", open=False, elem_id="knobs"):
        with gr.Row():
            numbers = [
                _ranged(0, 1, _STYLE.alpha_max, step=0.05, label="Opacity of heat"),
                _ranged(0, 1, _STYLE.alpha_min, step=0.05, label="Opacity of no heat"),
                _ranged(0.2, 3, _STYLE.gamma, step=0.1, label="Gamma: below 1 lifts faint heat"),
                _ranged(0, 20, _STYLE.blur, step=0.5, label="Blur: sigma, pixels of the image"),
            ]
        with gr.Row():
            flat = gr.Checkbox(_STYLE.alpha_mode == "flat", label="The same opacity everywhere")
            stretch = gr.Checkbox(_STYLE.clip_q is not None, label="Stretch each map to its own range")
    return [*numbers, flat, stretch]


def _style(opaque: float, faint: float, gamma: float, blur: float, flat: bool, stretch: bool) -> Style:
    mode = "flat" if flat else "value"
    return Style(_STRETCH if stretch else None, mode, min(faint, opaque), opaque, gamma, blur)  # type: ignore[arg-type]


def _wire(inspector: Inspector, samples: Sequence[Sample], parts: _Parts) -> None:
    import gradio as gr

    look = [parts.threshold, *parts.knobs]

    def draw(shown: Shown, percent: float, *knobs: Any) -> list[Any]:
        seen = view(shown, percent / 100, _style(*knobs), inspector.manifest)
        pictures = [seen.picture, *([seen.overlay] if inspector.has_map else [])]
        if inspector.reconstructs:
            pictures += [seen.reconstruction, seen.heat]
        return [seen.card, seen.facts, *(None if picture is None else _rgb(picture) for picture in pictures)]

    def inspect(files: Sequence[Path], name: str, point: str, *style: Any) -> list[Any]:
        shown = inspector.inspect(files, name, point)
        return [shown, *draw(shown, *style)]

    def choose(event: gr.SelectData, point: str, *style: Any) -> list[Any]:
        sample = samples[event.index]
        return inspect([sample.path], sample.name, point, *style)

    def take(given: Any, point: str, *style: Any) -> list[Any]:
        files = [Path(each) for each in (given if isinstance(given, list) else [given])]
        return inspect(files, ", ".join(file.name for file in files), point, *style)

    def again(shown: Shown, point: str, *style: Any) -> list[Any]:
        if shown is None:
            return [None, *draw(None, *style)]
        return inspect(shown.files, shown.name, point, *style)

    new = [parts.shown, *parts.outputs]
    # one after the other: a drawing of the image before, that comes late, must not stand beside the next verdict
    way = {"trigger_mode": "always_last", "api_visibility": "private", "concurrency_id": "page", "concurrency_limit": 1}
    slow = {"show_progress": "minimal", "show_progress_on": parts.outputs[0], **way}
    parts.gallery.select(choose, [parts.point, *look], new, **slow)
    parts.upload.upload(take, [parts.upload, parts.point, *look], new, **slow)
    parts.point.input(again, [parts.shown, parts.point, *look], new, **slow)
    for part in look:
        part.change(draw, [parts.shown, *look], parts.outputs, show_progress="hidden", **way)


def _rgb(picture: Picture) -> Any:
    return picture[:, :, ::-1]
