"""Texts that are shown to others hold no place of this machine."""

import pytest

from rsidiff_kedro.core.untrusted.text import without_places

PLACES = (
    "/home/secret/x.csv",
    "/home/secret place/x.csv/",
    "//srv/secret/x.csv",
    "~/secret/x.csv",
    "~bob/secret place/x.csv",
    "C:\\secret\\x.csv",
    "C:\\\\secret place\\\\x.csv",
    "d:/secret/x.csv",
    "\\\\srv\\secret\\x.csv",
    "file:///home/secret/x.csv",
    "../secret/x.csv",
    "./../secret place/x.csv",
    "data/../../secret/x.csv",
    "..\\..\\secret\\x.csv",
    "$HOME/secret/x.csv",
    "${HOME}/secret place/x.csv",
    "%USERPROFILE%\\secret\\x.csv",
    "smb://srv/secret/x.csv",
    "sqlite:////home/secret/x.csv",
    "postgresql+psycopg2://srv.secret/x.csv",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "around", ["{}", "a '{}' b", "kedro run '--params=a.b={},c=2' --env=test", 'load("{}")', "['{}', 'owner/name']"]
)
def test_a_place_becomes_its_last_name_also_within_a_text(place: str, around: str) -> None:
    assert without_places(around.format(place)) == around.format("x.csv")


@pytest.mark.parametrize("place", ["/home/Acme, Inc./x.csv", "../acme (2026)/x.csv", "smb://acme/[a] {b};c/x.csv"])
@pytest.mark.parametrize("around", ["{}", "load('{}')", '{"path": "{}", "rate": 0.5}'])
def test_a_text_or_a_quotation_of_a_place_alone_may_have_any_characters(place: str, around: str) -> None:
    assert without_places(around.replace("{}", place)) == around.replace("{}", "x.csv")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "around",
    [
        "a={},b",
        "see {} there",
        "a = {} (was {})",
        "kedro run --a={} --b {} c",
        "{path: {}}",
        "model's {}; more",
        "`{}`",
    ],
)
def test_without_quotes_too(place: str, around: str) -> None:
    assert without_places(around.replace("{}", place)) == around.replace("{}", "x.csv")


OTHERS = """owner/name|data/01_raw/x.csv|./x .../y|..|../|https://host.org/a/../b|HTTPS://host/a|\
git+https://host/a|s3://bucket/x|hf://datasets/a/b|$5/month|100%/x|a-b/c|and/or 1/2 3 / 4|</think>|~ 0.5|\
a red circle|~3/4 view|at ~1/2 of it|\
module:function|test/reward/x|/|~||/40|/imagine prompt: a cat|at /40 there|in "/40"|a /b, c/d|/home/"""


@pytest.mark.parametrize("text", OTHERS.split("|"))
def test_all_else_stays(text: str) -> None:
    assert without_places(text) == text
