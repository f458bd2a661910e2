"""What people who adopt a library look for: one version, links that lead somewhere, pages that leave nothing out."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edge_ad
from edge_ad import errors
from tests.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML, which Python does from 3.11 on")
def test_the_version_stands_in_one_place() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    source = project["tool"]["scikit-build"]["metadata"]["version"]["input"]
    assert f'__version__ = "{edge_ad.__version__}"' in (ROOT / source).read_text(encoding="utf-8")
    elsewhere = [
        name_of(path)
        for path in (
            *(ROOT / "edge_ad").rglob("*.py"),
            ROOT / "CITATION.cff",
            ROOT / "CMakeLists.txt",
            ROOT / "mkdocs.yml",
        )
        if f'"{edge_ad.__version__}"' in path.read_text(encoding="utf-8") and name_of(path) != source
    ]
    assert elsewhere == []
    assert edge_ad.build_info()["edge_ad"] == edge_ad.__version__
    assert f"## {edge_ad.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_newcomer_can_read_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for needed in ("python -m export cable --to openvino", "edge-ad inspect", "pip install", "| 2 | an error |"):
        assert needed in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """`make docs` checks those between the pages of the documentation; README and its like stand outside of it."""
    made = {"format.md", "changelog.md", "contributing.md", "security.md"}  # of the files at the top: docs/hooks.py
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        inside = page.parent.name == "docs" and target in made
        assert inside or (page.parent / target).exists(), target


def test_every_public_name_is_in_the_api_page() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: edge_ad\.(\w+)$", text, re.MULTILINE))
    assert "<!-- errors -->" in text  # docs/hooks.py puts all of edge_ad.errors there
    assert shown | set(errors.__all__) == set(edge_ad.__all__) - {"__version__"}


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs/exit-codes.md").read_text(encoding="utf-8")
    files = [path for folder in ("edge_ad", "export") for path in (ROOT / folder).rglob("*.[pc]*") if path.is_file()]
    sources = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".cpp")]
    read = {
        name for source in sources for name in re.findall(r"""["']((?:EDGE_AD_|SOURCE_DATE_)[A-Z_]+)["']""", source)
    }
    assert "EDGE_AD_FORCE_ISA" in read
    assert read <= set(re.findall(r"`((?:EDGE_AD_|SOURCE_DATE_)[A-Z_]+)`", text))


# ----------------------------------------------------------------------- tests that one of two environments passes

# Where a module is not named as its package is, or comes along with another.
IMPORTED = {
    "paho": "paho-mqtt",
    "PIL": "matplotlib",
    "prometheus_client": "prometheus-client",
    "scipy": "scikit-learn",
    "sklearn": "scikit-learn",
}
OF_BOTH = {"engine", "tiny", "tiny_bundle", "installed_engines"}  # their tests differ there, or are skipped


def makefile(pattern: str) -> str:
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, pattern
    return found[1]


def requirements(extras: str) -> list[str]:
    """What the Makefile installs for them."""
    command = [sys.executable, str(ROOT / "packaging/requirements.py"), extras]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_what_the_makefile_installs_is_what_pip_would() -> None:
    """One extra takes in another, which takes in a third; nothing of it is edge-ad itself, and nothing comes twice."""
    found = requirements("ray,station")
    assert found[:2] == ["numpy>=1.24", "opencv-python-headless>=4.8"]
    assert found[2:5] == ["pyarrow>=13", "fsspec[http]", "ray[data]>=2.60,<3"]
    assert "tomli>=2; python_version < '3.11'" in found
    every = requirements("dev")
    assert len(every) == len(set(every)) > 30
    assert not [each for each in every if each.startswith("edge-ad")]


def test_what_one_environment_passes_alone_is_not_skipped_there() -> None:
    """A test in ONCE of the Makefile would run nowhere if it wanted a package of the other environment."""
    extras = makefile(r"call environment,\$\(RUNTIME\),(.+)\)$").replace("$(,)", ",")
    there = {re.match(r"[\w-]+", each)[0] for each in requirements(extras)} | {"edge_ad", "export"}
    once = [ROOT / each for each in makefile(r"^ONCE := (.+)$").split()]
    files = [path for each in once for path in ([each] if each.is_file() else each.rglob("*.py"))]
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "importorskip":
                assert isinstance(node.args[0], ast.Constant), f"{name_of(path)}:{node.lineno}"
                module = node.args[0].value.partition(".")[0]
                known = module in sys.stdlib_module_names or IMPORTED.get(module, module) in there
                assert known, f"{name_of(path)}:{node.lineno}: {module} is not installed where this runs"
            name = node.arg if isinstance(node, ast.arg) else node.id if isinstance(node, ast.Name) else ""
            assert name not in OF_BOTH, f"{name_of(path)}:{getattr(node, 'lineno', 0)}: {name}"
