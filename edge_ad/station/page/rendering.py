"""The templates of the page. Whatever is put into them is escaped."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from edge_ad.errors import EdgeADError
from edge_ad.station.page import shown as showing
from edge_ad.station.page.texts import languages, shown

_HERE = Path(__file__).parent
STATIC, TEMPLATES = _HERE / "static", _HERE / "templates"


@functools.cache
def environment() -> Any:
    """Jinja2 with the templates.

    Raises:
        EdgeADError: it is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise EdgeADError(
            "the page needs Jinja2", got=error, remedy="Install the extra: pip install 'edge-ad[station]'."
        ) from error
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = shown
    made.filters["local"] = showing.local
    made.globals |= {
        "address": showing.address,
        "asset": asset,
        "label_choices": showing.label_choices,
        "label_text": showing.label_text,
        "languages": languages(),
        "reason_of": showing.reason_of,
    }
    return made


@functools.cache
def asset(name: str) -> str:
    """The address of a static file; a new content has a new one, so browsers may keep it."""
    mark = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f"/static/{name}?v={mark}"


def render(template: str, **values: Any) -> str:
    """A page."""
    return str(environment().get_template(template).render(**values))


def piece(template: str, macro: str, *values: Any) -> str:
    """A piece of a page: a macro of a template, called."""
    return str(getattr(environment().get_template(template).module, macro)(*values)).strip()
