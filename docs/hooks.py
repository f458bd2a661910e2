"""Hooks of the documentation: pages that stand at the top level, tables of options, and no page that calls elsewhere.

A line ``<!-- options: edge-ad inspect -->`` becomes the table of that command's options, read from its argparse parser,
and ``<!-- errors -->`` the tree of errors: neither is kept by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/edge-ad/edge-ad/blob/main"
COPIED = {"FORMAT.md": "format.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
COPIED |= {"SECURITY.md": "security.md"}
_MARK = re.compile(r"^<!-- options: (.+) -->$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)")
_LOADS = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//|<link[^>]+href=["']?(?:https?:)?//"""
    r"""|data-md-component=["']?source\b"""  # asks GitHub for the number of stars
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that stand at the top level of the repository."""
    for name, page in COPIED.items():
        text = _LINK.sub(_relinked, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the tables of options, and the tree of errors, where they are asked for."""
    markdown = _MARK.sub(lambda found: options_table(found[1]), markdown)
    return markdown.replace("<!-- errors -->", error_tree()) if "<!-- errors -->" in markdown else markdown


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuses a page that would load something from another address: the documentation is for PCs without network."""
    own = re.sub(r'<link[^>]+rel="?(canonical|prev|next|alternate)"?[^>]*>', "", output)
    found = _LOADS.search(own)
    if found:
        raise PluginError(f"{page.file.src_uri} loads {own[found.start() : found.end() + 60]!r} from elsewhere")
    return output


def error_tree() -> str:
    """The tree as the module has it, and a section for each error."""
    from edge_ad import errors

    tree = "\n".join(line for line in (errors.__doc__ or "").splitlines() if line.startswith("    "))
    return "\n\n".join([tree, *(f"::: edge_ad.{name}" for name in errors.__all__)])


def options_table(command: str) -> str:
    """A Markdown table of the options of `edge-ad NAME`, `python -m export` or a further command of it."""
    rows = [
        f"| {_names(action)} | {_default(action)} | {_cell(_help(action))} |" for action in _actions(parser_of(command))
    ]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command, caught at the moment it is asked to parse."""
    if command == "python -m export":
        from export.command_line import parse_options

        return _caught(parse_options)
    if command == "python -m export.synth":
        from export.synth.options import parse_options as parse_synth

        return _caught(parse_synth)
    if command == "python -m export.synth --heights":
        from export.synth.stacks import run as parse_heights

        return _caught(parse_heights)
    if command == "python -m export.importers":
        from export.importers.command import main as importers

        return _caught(importers)
    if command == "edge-ad teach":
        from export.teach.command import main as teach

        return _caught(teach)
    from edge_ad.cli import main

    parser = _caught(main)
    for name in command.split()[1:]:
        choices = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not choices or name not in choices[0]:
            raise PluginError(f"there is no command {command}")
        parser = choices[0][name]
    return parser


def _caught(run: Callable[[Sequence[str]], object]) -> argparse.ArgumentParser:
    found: list[argparse.ArgumentParser] = []

    def catch(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        found.append(parser)
        raise SystemExit

    with mock.patch.object(argparse.ArgumentParser, "parse_args", catch), contextlib.suppress(SystemExit):
        run([])
    if not found:
        raise PluginError(f"{run} parses no arguments")
    return found[0]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if not isinstance(action, argparse._HelpAction))


def _names(action: argparse.Action) -> str:
    name = action.option_strings[0] if action.option_strings else ""
    if action.nargs == 0:
        value = ""
    elif action.metavar is not None:
        value = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    else:
        value = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    return f"`{name} {value}`".replace(" `", "`").replace("` ", "`")  # in code a pipe needs no escape


def _default(action: argparse.Action) -> str:
    value = action.default
    if value is None or isinstance(value, bool) or value in ([], argparse.SUPPRESS) or not action.option_strings:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _relinked(found: re.Match[str]) -> str:
    """A link of a top-level file, as the documentation has it."""
    target, anchor = found[1], found[2] or ""
    if target in COPIED:
        return f"]({COPIED[target]}{anchor})"
    page = target.removeprefix("docs/")
    if target.startswith("docs/"):
        return f"]({page}{anchor})"
    return f"]({REPOSITORY}/{target}{anchor})"
