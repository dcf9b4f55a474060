"""The command and the parameters of a run read as they were typed, and a copy for others has last names alone."""

import re
import shlex
from ast import literal_eval
from html import unescape
from typing import Any

import pytest

from rsidiff_kedro.cli.viz import _placeless_page
from rsidiff_kedro.reporting.run_facts import command_html, value_html

FOLDERS = ("Acme, Inc.", "acme (2026)", "Bob's acme", "[acme] {x}", "acme; a=b", 'the "acme"', "acme & Sons <b>")
STARTS = ("/mnt/nas/", "../../", "$HOME/", "~bob/", "smb://nas/", "sqlite:////home/", "C:\\data\\")


def text(page: str) -> str:
    return unescape(re.sub("<[^>]*>", "", page))


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("start", STARTS)
def test_a_copy_for_others_tells_no_part_of_a_folder(start: str, folder: str) -> None:
    place = f"{start}{folder}/x.csv"
    value: dict[str, Any] = {"kind": "file", "paths": [place, "data/x.csv"], "rate": 0.5, "no": None}
    shown = value_html(value)
    assert text(shown) == str(value)
    assert literal_eval(text(_placeless_page(shown))) == value | {"paths": ["x.csv", "data/x.csv"]}
    assert (text(value_html(place)), text(_placeless_page(value_html(place)))) == (place, "x.csv")

    def words(path: str) -> list[str]:
        return ["kedro", "run", f"--params=a.b={path},c.d:E=2", f"a={path}", f"--conf-source={path}", path, "it's 1/2"]

    command = command_html(words(place))
    assert text(command) == shlex.join(words(place))
    assert shlex.split(text(_placeless_page(command))) == words("x.csv")


def test_what_tells_nothing_is_written_as_it_is() -> None:
    value = {"a": ["owner/name", "data/01_raw/x.csv"], "b": True, "c": [], "d": {}, "e": "it's"}
    assert unescape(value_html(value)) == str(value) and value_html(None) == "None"
    assert unescape(command_html(["kedro", "run", "--params=a=1,b=x y", ""])) == "kedro run '--params=a=1,b=x y' ''"
    assert value_html("<b>") == "&lt;b&gt;"
