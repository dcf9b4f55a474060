"""Plug-ins by a registered name, by an entry point of an installed package, and by their module."""

import sys
import uuid
from pathlib import Path

import pytest
from PIL import Image

from rsidiff_kedro.core.registry import PluginError, Registry
from rsidiff_kedro.rewards.registry import REWARDS, load_reward

GROUP = "rsidiff_kedro.beasts"
OWN = {"error": "json:JSONDecodeError", "fox": "foxes_that_nobody_installed:Fox"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a package that registers `owl`, `error`, `ghost` and `sharpness`; return its module's name."""
    name = f"beasts_{uuid.uuid4().hex}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "owls.py").write_text(
        "class Owl:\n    sound = 'hoo'\n\n\ndef sharpness(images, prompts):\n    return [0.5] * len(images)\n"
    )
    (tmp_path / name / "broken.py").write_text("import foxes_that_nobody_installed\n")
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nowl = {name}.owls:Owl\nerror = {name}.owls:Owl\nghost = {name}.ghosts:Ghost\n\n"
        f"[rsidiff_kedro.rewards]\n{name} = {name}.owls:sharpness\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture
def beasts() -> Registry:
    return Registry("beast", GROUP, OWN)


def test_a_registered_name_is_imported_when_it_is_loaded(beasts: Registry) -> None:
    from json import JSONDecodeError

    assert beasts.load("error") is JSONDecodeError
    assert beasts.path("fox") == "foxes_that_nobody_installed:Fox"
    with pytest.raises(PluginError, match=r"the beast 'fox' cannot be imported \(No module named 'foxes_.*; install"):
        beasts.load("fox")


def test_an_installed_package_registers_names_after_this_projects(package: str, beasts: Registry) -> None:
    assert beasts.names == ("error", "fox", "ghost", "owl")
    assert "owl" in beasts and "cat" not in beasts
    assert beasts.path("owl") == f"{package}.owls:Owl"
    assert f"{package}.owls" not in sys.modules
    assert beasts.load("owl").sound == "hoo"


def test_no_package_takes_a_name_of_this_project(package: str, beasts: Registry) -> None:
    assert beasts.path("error") == "json:JSONDecodeError"


def test_a_plug_in_is_named_by_its_module_without_being_registered(package: str, beasts: Registry) -> None:
    name = f"{package}.owls:Owl"
    assert name not in beasts
    assert beasts.path(name) == name
    assert beasts.load(name).sound == "hoo"


def test_a_reward_of_an_installed_package_scores(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(REWARDS), "_paths", {})  # or it would remember this package
    registry = Registry(REWARDS.kind, REWARDS.group, {})
    assert registry.names == (package,)
    assert load_reward(registry.path(package)).score([Image.new("RGB", (8, 8))] * 2, ["a", "b"]) == [0.5, 0.5]


@pytest.mark.parametrize(
    "name", ["cat", "", "json", "json:", ":Owl", "json.JSONDecoder", "json:a.b", "json: Owl", "../a:B"]
)
def test_an_unknown_name_is_answered_with_those_there_are(beasts: Registry, name: str) -> None:
    with pytest.raises(PluginError) as caught:
        beasts.load(name)
    assert str(caught.value) == f"unknown beast {name!r}; there are error, fox; your own is package.module:Name"


def test_a_module_that_is_missing_or_imports_what_is_missing_is_told(
    package: str, beasts: Registry, tmp_path: Path
) -> None:
    (tmp_path / package / "older.py").write_text("import os\nfrom os import no_such\n")
    for name, said in (
        ("ghost", f"(No module named '{package}.ghosts')"),
        (f"{package}.broken:Owl", f"({tmp_path / package}/broken.py, line 1: No module named 'foxes_that_nobody_in"),
        (f"{package}.older:Owl", f"({tmp_path / package}/older.py, line 2: cannot import name 'no_such' from 'os'"),
    ):
        with pytest.raises(PluginError) as caught:
            beasts.load(name)
        assert str(caught.value).startswith(f"the beast {name!r} cannot be imported {said}")
        assert str(caught.value).endswith("); install its package, or put its file into the project's src/ folder")


def test_a_name_that_the_module_lacks_is_told(package: str, beasts: Registry) -> None:
    with pytest.raises(PluginError, match=rf"module {package}\.owls defines no 'Eule'; correct the name"):
        beasts.load(f"{package}.owls:Eule")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"import json\n\nOwl = json.no_such_name\n", ", line 3: AttributeError: module 'json' has no attribute 'no_"),
        (b"\ndef Owl(images, prompts)\n    return []\n", ", line 2: SyntaxError: expected ':'"),
        (b"\nOwl = numpy.float32(2)\n", ", line 2: NameError: name 'numpy' is not defined"),
        (b"import json\n\ndef read():\n    return json.loads('{')\n\nOwl = read()\n", ", line 4: JSONDecodeError: "),
        (b"Owl = 1\0\n", ": SyntaxError: source code string cannot contain null bytes"),
        (b"raise SystemExit('usage: owl')\n", ", line 1: SystemExit: usage: owl"),
        (b"\n\nexec('x = (')\n", ", line 3: SyntaxError: '(' was never closed"),
        (b"class Odd(Exception):\n    msg = None\n\nraise Odd('out of owls')\n", ", line 4: Odd: out of owls; correct"),
        (b"raise MemoryError\n", ", line 1: MemoryError; correct it"),
        (b"\nfrom . import next_door\n", "next_door.py, line 2: ZeroDivisionError: division by zero; correct it"),
        (b"\nimport click\n\nclick.command()(0)\n", ", line 4: "),
    ],
)
def test_a_fault_of_the_module_itself_is_told_with_its_place(
    package: str, beasts: Registry, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / package / "wrong.py").write_bytes(content)
    (tmp_path / package / "next_door.py").write_text("\n1 / 0\n")
    with pytest.raises(PluginError) as caught:
        beasts.load(f"{package}.wrong:Owl")
    place = tmp_path / package / ("next_door.py" if b"next_door" in content else "wrong.py")
    place = f"{package}.wrong" if b"\0" in content else place
    assert str(caught.value).startswith(f"the beast '{package}.wrong:Owl' cannot be imported: {place}")
    assert said in str(caught.value) and str(caught.value).endswith("; correct it")
