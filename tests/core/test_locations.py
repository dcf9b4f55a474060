"""A setting means one place, whatever the working directory is."""

import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import Location, NoResult, OwnSettings, located, marked
from rsidiff_kedro.core.section import Section

SHIPPED = Path("/package/scenes")


class Part(Section):
    file: Path = Path("a.txt")
    every: Annotated[int, NoResult()] = 1


class Settings(Section):
    base: Annotated[str, Location(revision="revision", shipped=lambda name: SHIPPED if name == "scenes" else None)]
    revision: str | None = None
    own: Annotated[dict[str, Any], OwnSettings()] = {}  # noqa: RUF012
    parts: tuple[Part, ...] = (Part(),)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a model, in a home with another; the working directory is a third place."""
    for name in ("project/models/mine", "home/models/theirs", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("given_text", "meant"),
    [
        ("scenes", "scenes"),
        ("owner/name", "owner/name"),
        ("models/mine", "{root}/models/mine"),
        ("./models/mine", "{root}/models/mine"),
        ("models/mine/deeper", "{root}/models/mine/deeper"),
        ("~/models/theirs", "{root}/../home/models/theirs"),
        ("~no_such_user/model", "{root}/~no_such_user/model"),
        ("/elsewhere/model", "/elsewhere/model"),
        ("single", "{root}/single"),
        ("a" * 5000, "{root}/" + "a" * 5000),
    ],
)
def test_a_text_means_a_shipped_model_a_path_or_an_id(root: Path, given_text: str, meant: str) -> None:
    (Path.cwd() / "scenes").mkdir()  # a folder named as a shipped model changes nothing
    (root / "scenes").mkdir()
    found = located(Settings(base=given_text), root).base
    assert os.path.normpath(found) == os.path.normpath(meant.format(root=root))
    assert located(Settings(base=found), Path("/another/place")).base == found


@pytest.mark.parametrize("text", ["~", "~/models/theirs", "~/"])
def test_without_a_home_folder_a_path_in_it_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with pytest.raises(InputError, match="needs a home folder, and this user has none; set HOME"):
        located(Settings(base=text), root)
    assert located(Settings(base="~no_such_user/model"), root).base == f"{root}/~no_such_user/model"


def test_an_id_that_is_a_folder_of_the_working_directory_alone_is_refused(root: Path) -> None:
    (Path.cwd() / "owner/name").mkdir(parents=True)
    with pytest.raises(InputError, match="is no path below the project"):
        located(Settings(base="owner/name"), root)


def test_paths_in_parts_and_own_settings_are_located_and_plain_words_stay(root: Path) -> None:
    (root / "weights.pt").write_text("")
    (root / "mean").mkdir()
    own = {"scale": 2, "mode": "mean", "file": "weights.pt", "other": "no.pt", "deep": [{"x": "models/mine"}]}
    settings = located(Settings(base="scenes", own=own), root)
    assert settings.parts[0].file == root / "a.txt"
    assert settings.own == own | {"file": str(root / "weights.pt"), "deep": [{"x": str(root / "models/mine")}]}


@pytest.mark.parametrize("text", [".", "..", "/", "./", "~", " / ", "//"])
def test_a_text_without_a_letter_or_a_digit_is_a_sign_of_ones_own_and_no_place(root: Path, text: str) -> None:
    settings = located(Settings(base="scenes", own={"separator": text}), root)
    assert settings.own == {"separator": text}
    assert "own.separator" not in dict(marked(settings))


def test_every_marked_setting_is_found_with_its_path(root: Path) -> None:
    own = {"my:Reward": {"file": "models/mine", "word": "mean"}}
    settings = located(Settings(base="owner/name", revision="v1", own=own), root)
    found = dict(marked(settings))
    assert found.keys() == {"base", "own.my:Reward.file", "parts.0.file", "parts.0.every"}
    assert (found["base"].value, found["base"].revision) == ("owner/name", "v1")
    assert isinstance(found["parts.0.every"].mark, NoResult)


@given(st.text(alphabet="ab/.~", min_size=1, max_size=12))
def test_what_is_located_stays_where_it_is(text: str) -> None:
    root = Path("/no/such/project")
    once = located(Settings(base=text), root).base
    assert located(Settings(base=once), root).base == once
    assert once == text or os.path.isabs(once)
