"""The words of the page: whole in each language, all used, and none written into a template."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from edge_ad.errors import SpecError
from edge_ad.monitor.causes import CAUSES, NAMES
from edge_ad.monitor.statistics import STATISTICS
from edge_ad.station import alarms
from edge_ad.station.events import EventKind
from edge_ad.station.health import WORDS
from edge_ad.station.outcomes import ENGINE, FRAME, LATE, NO_FRAME, RECIPE, RESTART, fault
from edge_ad.station.page import jobs, texts
from edge_ad.station.page.shown import reason_of
from edge_ad.station.page.texts import Words, language_of, shown

PAGE = Path(texts.__file__).parent
TEMPLATES = sorted((PAGE / "templates").glob("*.html"))
SOURCES = [*TEMPLATES, *sorted(PAGE.glob("*.py"))]
ALL = texts.tables()["texts"]


@pytest.mark.parametrize("name", NAMES)
def test_statistics_of_drift_have_their_names(name: str) -> None:
    """In English, as everywhere else."""
    assert ALL[f"drift_name_{name}"]["en"].lower() == NAMES[name]


@pytest.mark.parametrize("key", CAUSES)
def test_drift_has_its_causes(key: str) -> None:
    assert ALL[f"drift_cause_{key.replace('.', '_')}"]["en"] == CAUSES[key]


def test_alarms_have_their_titles() -> None:
    """Those of drift are told by statistic, and one of a newer station is an alarm all the same."""
    words = {"active", "gone", "seen", "since"}
    titles = {key.removeprefix("alarm_") for key in ALL if key.startswith("alarm_")} - words
    assert titles == {*alarms.KINDS, "other"} - {alarms.DRIFT}


def test_each_health_of_a_camera_has_its_word() -> None:
    assert {key.removeprefix("health_") for key in ALL if key.startswith("health_")} == {*WORDS, "other"}


def test_jobs_have_their_names() -> None:
    states = {jobs.RUNNING, jobs.DONE, jobs.FAILED}
    kinds = {EventKind.LEARN.value, EventKind.UNDO.value}
    assert {key.removeprefix("job_") for key in ALL if key.startswith("job_")} == states | kinds


@pytest.mark.parametrize("word", [LATE, NO_FRAME, FRAME, ENGINE, RESTART, RECIPE])
def test_faults_have_their_reasons(word: str) -> None:
    told, rest = reason_of(Words("en"), fault(word, "what happened").reason)
    assert told
    assert rest == "what happened"


def test_drift_has_no_other_names_and_causes() -> None:
    """Units are of known statistics too."""
    assert {key.removeprefix("drift_name_") for key in ALL if key.startswith("drift_name_")} == set(NAMES)
    assert sum(key.startswith("drift_cause_") for key in ALL) == len(CAUSES)
    units = {key.removeprefix("drift_unit_"): text["en"] for key, text in ALL.items() if key.startswith("drift_unit_")}
    assert units == {name: own.unit.strip() for name, own in STATISTICS.items() if own.unit}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", ALL)
def test_a_text_is_there_in_every_language(key: str) -> None:
    assert set(ALL[key]) == set(texts.languages()) == {"en", "de", "ko", "ja"}
    assert all(text.strip() == text and text for text in ALL[key].values())
    assert len({frozenset(placeholders(text)) for text in ALL[key].values()}) == 1


def test_scripts_are_those_of_the_language() -> None:
    """What is only Latin letters in Korean or Japanese was forgotten, but for names that are the same everywhere."""
    same = {"p99", "p50", "of", "status_links", "status_p99"}
    for code, letters in (("ko", r"[\uac00-\ud7a3]"), ("ja", r"[\u3040-\u30ff\u4e00-\u9fff]")):
        assert {key for key, found in ALL.items() if not re.search(letters, found[code])} == same


def test_every_key_is_used_and_every_used_key_exists() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    called = set(re.findall(r"""\b(?:t|words|self)\(["'](\w+)["'](?=[,)])""", sources))
    assert called
    assert called - set(ALL) == set()
    literals = set(re.findall(r'"(\w+)"', sources))
    made = re.findall(r"""(?:t\(|known\(f?|words\(f)"(\w+_)(?:" ~|\{)""", sources)
    prefixes = {*made, "age_", "stale_"}  # those two are a kind of age and a unit
    unused = {key for key in ALL if key not in literals and not key.startswith(tuple(prefixes))}
    assert unused == set()
    for prefix in made:
        assert any(key.startswith(prefix) for key in ALL), prefix


def visible(template: str) -> list[str]:
    """What a reader sees or hears of a template that comes from no text: between tags, and in attributes that speak."""
    template = re.sub(r"\{% block kind %\}\w+", "", template)  # a class
    plain = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", template, flags=re.DOTALL)
    plain = re.sub(r"<!doctype.*?>", "", plain).replace(' disabled title=""', "")  # what a macro puts into a tag
    spoken = re.findall(r'(?:aria-label|aria-description|alt|title|placeholder)="([^"]*)"', plain)
    between = re.sub(r"<[^>]*>", "\n", plain).split("\n")
    units = {"ms", "%"}
    found = [each.strip() for each in (*spoken, *between)]
    return [each for each in found if re.search(r"\w", each) and each.strip(" :,?") not in units]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_words_of_its_own(path: Path) -> None:
    assert visible(path.read_text(encoding="utf-8")) == []


def test_words_of_a_template_are_found() -> None:
    assert visible('<p title="Hello">{{ t("x") }} and <b>more</b> 5 ms</p>') == ["Hello", "and", "more", "5 ms"]


def test_numbers_and_ages_as_people_write_them() -> None:
    english, german = Words("en"), Words("de")
    assert [english.number(2.50821), german.number(2.50821), english.number(None)] == ["2.508", "2,508", "\u2013"]
    assert [german.ms(6.24), german.ms(62.4), german.size(48.3e9)] == ["6,2", "62", "48,3 GB"]
    assert [english.age(each) for each in (0.4, 30, 600, 9000)] == ["just now", "30 s ago", "10 min ago", "2 h ago"]
    assert german.age(30, "stale") == "Seit 30 s kein neues Teil"
    assert Words("ko").age(9000, "stale") == "2시간 동안 새 부품 없음"
    with pytest.raises(SpecError, match="language"):
        Words("xx")


@pytest.mark.parametrize(
    ("asked", "cookie", "accepted", "found"),
    [
        ("", "", "", "en"),
        ("ja", "de", "ko", "ja"),
        ("xx", "de", "ko", "de"),
        ("", "", "fr-FR,ko-KR;q=0.8,de;q=0.9", "de"),
        ("", "<script>", "fr;q=x, ,;;, ja;q=0, ko ; q=0.1", "ko"),
        ("DE-at", "", "", "de"),
    ],
)
def test_the_language_of_a_request(asked: str, cookie: str, accepted: str, found: str) -> None:
    assert language_of(asked, cookie, accepted) == found


def test_what_is_invisible_is_shown() -> None:
    assert shown("a\u202eb\u2066c\n\x00\u200f\ufeff") == "a\\u202eb\\u2066c\\n\\x00\\u200f\\ufeff"
    assert shown("부품 7 שלום") == "부품 7 שלום"
