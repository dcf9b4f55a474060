"""Digests count the code that a step needs, and nothing else."""

import importlib
import py_compile
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from kedro.pipeline.node import Node

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.pipelines.stage import compose
from rsidiff_kedro.provenance import code_digest as code
from rsidiff_kedro.provenance.code_digest import PACKAGE, code_digest, plugin_digests
from rsidiff_kedro.provenance.syntax import Place

Digest = Callable[..., str]

PLANT: dict[str, str] = {
    "__init__": "",
    "steps": '''
        """Steps."""

        import math

        import plant.whole
        from plant import tools
        from plant.kinds import Kind
        from plant.names import renamed

        from . import near
        from .nearer import nearest

        FACTOR = 2
        """A constant."""
        TABLE = {}
        OTHER = 3
        if math.pi > 3:
            LIMIT = 10
        else:
            LIMIT = 11
        for name in ("a", "b"):
            TABLE[name] = len(name)


        def step(value):
            """Add everything up."""
            from plant.late import late

            # A comment.
            total = tools.double(value) * FACTOR + renamed(value) + late(value) + Kind().size()
            return total + plant.whole.one(value) + near.two(value) + nearest(value) + LIMIT + TABLE["a"]


        def beside(value):
            return value + OTHER
    ''',
    "tools": """
        from functools import wraps


        def traced(function):
            @wraps(function)
            def call(*values):
                return function(*values)

            return call


        @traced
        def double(value, times=2):
            return add(value, value) * times / 2


        def add(first, second):
            return first + second


        def unused(value):
            return -value
    """,
    "kinds": '''
        class Base:
            """A kind."""

            shape = (1, 2)

            def size(self):
                return self.shape[0]


        class Kind(Base):
            """Another kind."""


        class Unused(Base):
            shape = (3, 4)
    ''',
    "names": "from plant.origin import renamed\n",
    "origin": """
        def original(value):
            return value + 1


        renamed = original
    """,
    "late": """
        def late(value):
            return value + 2
    """,
    "whole": """
        def one(value):
            return value + 3
    """,
    "near": """
        def two(value):
            return value + 4
    """,
    "nearer": """
        def nearest(value):
            return value + 5
    """,
    "unread": """
        def nothing(value):
            return value
    """,
}
"""A package by module; its `steps.step` is a step."""


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Digest]:
    """`digest(files, plugins=(), step="step", module="plant.steps")`: digests a step as a new process would.

    The package `plant` stands for this project, others for a user's own.
    """
    monkeypatch.syspath_prepend(tmp_path)
    is_own = code.is_own
    monkeypatch.setattr(code, "is_own", lambda module: not module.startswith("plant.") and is_own(module))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name in [
            name for name in sys.modules if name.partition(".")[0] in ("plant", "garden", "shed", "plot", "stones")
        ]:
            del sys.modules[name]
        importlib.invalidate_caches()
        code._parse.cache_clear()
        code._closure.cache_clear()

    def digest(
        files: Mapping[str, str], plugins: tuple[str, ...] = (), step: str = "step", module: str = "plant.steps"
    ) -> str:
        for name, text in files.items():
            path = tmp_path / (name if "/" in name else f"plant/{name}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        forget()
        return code_digest([Place(module, step)], plugins)

    yield digest
    forget()


def edited(module: str, old: str, new: str) -> dict[str, str]:
    assert old in PLANT[module]
    return {**PLANT, module: PLANT[module].replace(old, new)}


def test_the_same_code_has_the_same_digest_and_another_step_another(digest: Digest) -> None:
    assert digest(PLANT) == digest(PLANT)
    assert digest(PLANT) != digest(PLANT, step="beside")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("steps", "# A comment.", "# Another comment, and\n            # a second line."),
        ("steps", '"""Add everything up."""', '"""Add everything up, slowly."""'),
        ("steps", '"""Steps."""', '"""A few steps."""'),
        ("steps", '"""A constant."""', '"""A constant that counts."""'),
        ("steps", "value + OTHER", "value - OTHER"),
        ("steps", "OTHER = 3", "OTHER = 4"),
        ("steps", "def beside(value):", "def besides(value):"),
        ("steps", "OTHER = 3", "OTHER = 3\n        NEW = 4"),
        ("steps", "total = tools", "total = (\n                tools"),
        ("tools", "return -value", "return value"),
        ("tools", "def add(first, second):", "def add(first, second):  # a sum"),
        ("tools", "def add(first, second):", 'def add(first, second):\n            """Add."""'),
        ("kinds", '"""A kind."""', '"""A kind of thing."""'),
        ("kinds", '"""A kind."""\n', "\n"),
        ("kinds", "(3, 4)", "(5, 6)"),
        ("unread", "return value", "return 2 * value"),
    ],
)
def test_what_the_step_does_not_need_changes_no_digest(digest: Digest, module: str, old: str, new: str) -> None:
    files = edited(module, old, new)
    if "(\n" in new:
        files[module] = files[module].replace("Kind().size()\n", "Kind().size()\n            )\n")
    assert digest(files) == digest(PLANT)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        pytest.param("steps", "return total", "return 2 * total", id="the step"),
        pytest.param("tools", "add(value, value)", "add(value, 1)", id="a function that it calls"),
        pytest.param("tools", "first + second", "first - second", id="a function that a called one calls"),
        pytest.param("tools", "times=2", "times=3", id="a default"),
        pytest.param("tools", "return function(*values)", "return 2 * function(*values)", id="a decorator"),
        pytest.param("tools", "@traced\n", "\n", id="a decorator that goes"),
        pytest.param("late", "value + 2", "value - 2", id="an import inside a function"),
        pytest.param("origin", "value + 1", "value - 1", id="a re-export"),
        pytest.param("whole", "value + 3", "value - 3", id="a module by its full name"),
        pytest.param("near", "value + 4", "value - 4", id="a relative import of a module"),
        pytest.param("nearer", "value + 5", "value - 5", id="a relative import of a function"),
        pytest.param("steps", "FACTOR = 2", "FACTOR = 3", id="a constant"),
        pytest.param("steps", "LIMIT = 11", "LIMIT = 12", id="a constant under a condition"),
        pytest.param("steps", "len(name)", "2 * len(name)", id="a loop of the module"),
        pytest.param("kinds", "return self.shape[0]", "return self.shape[1]", id="a base class"),
        pytest.param("kinds", "(1, 2)", "(2, 2)", id="an attribute of a base class"),
        pytest.param("kinds", '"""Another kind."""', "shape = (7, 8)", id="a class"),
        pytest.param("names", "plant.origin import renamed", "plant.tools import unused as renamed", id="an import"),
    ],
)
def test_what_the_step_needs_changes_its_digest(digest: Digest, module: str, old: str, new: str) -> None:
    assert digest(edited(module, old, new)) != digest(PLANT)


UNUSUAL = {
    "a condition": ("import math\nLIMIT = 1\nif math.pi > 3:\n    LIMIT = 2\n", "pi > 3", "pi > 4"),
    "a constant that a condition reads": ("import plant.mode\nif plant.mode.FAST:\n    LIMIT = 2\n", "", ""),
    "another branch": (
        "if 1 > 2:\n    LIMIT = 1\nelse:\n    pass\n",
        "LIMIT = 1\nelse:\n    pass",
        "pass\nelse:\n    LIMIT = 1",
    ),
    "the kind of an error": (
        "try:\n    LIMIT = int('a')\nexcept ValueError:\n    LIMIT = 2\n",
        "ValueError",
        "TypeError",
    ),
    "all names of a module": ("from plant.mode import *\n", "", ""),
    "all names of a module that has them from another": ("from plant.all import LIMIT\n", "", ""),
    "an imported table that is changed": ("from plant.mode import TABLE\nTABLE['b'] = 2\nLIMIT = TABLE['a']\n", "", ""),
}
"""A module's source that defines or imports LIMIT, and what of it is edited; else the module `mode` is."""


@pytest.mark.parametrize(("source", "old", "new"), UNUSUAL.values(), ids=UNUSUAL)
def test_what_unusual_code_needs_changes_its_digest(digest: Digest, source: str, old: str, new: str) -> None:
    mode = "FAST = True\nLIMIT = 1\nTABLE = {'a': 1}\n"
    files = {"__init__": "", "steps": f"{source}def step(value):\n    return value + LIMIT\n", "mode": mode}
    files["all"] = "from plant.mode import *\n"
    changed = (
        {"steps": files["steps"].replace(old, new)}
        if old
        else {"mode": mode.replace("1", "2").replace("True", "False")}
    )
    assert digest(files) != digest({**files, **changed})


def test_functions_that_call_each_other_in_a_circle_are_no_problem(digest: Digest) -> None:
    circle = {"__init__": "", "steps": "from plant.tools import back\ndef step(n):\n    return back(n)\n"}
    circle["tools"] = "def back(n):\n    from plant.steps import step\n    return n and step(n - 1)\n"
    assert digest(circle) != digest({**circle, "tools": circle["tools"].replace("n - 1", "n - 2")})


PLUGINS: dict[str, str] = {
    "__init__": "",
    "things": """
        from rsidiff_kedro.core.registry import Registry

        THINGS = Registry("thing", "plant.things", {"one": "plant.one:One", "two": "plant.two:Two"})


        def load(name):
            return THINGS.load(name)
    """,
    "steps": """
        from plant.things import load


        def step(name):
            return load(name).size
    """,
    "one": "class One:\n    size = 1\n",
    "two": "from plant.shared import SIZE\n\n\nclass Two:\n    size = SIZE\n",
    "shared": "SIZE = 2\n",
}
"""A step that opens a plug-in by name."""


@pytest.mark.parametrize("plugins", [(), ("one",), ("two",), ("plant.two:Two",)])
def test_a_plug_in_counts_only_if_a_parameter_names_it(digest: Digest, plugins: tuple[str, ...]) -> None:
    before = digest(PLUGINS, plugins)
    one = digest({**PLUGINS, "one": PLUGINS["one"].replace("1", "3")}, plugins)
    two = digest({**PLUGINS, "shared": "SIZE = 4\n"}, plugins)
    assert (one != before) == ("one" in plugins)
    assert (two != before) == (plugins in (("two",), ("plant.two:Two",)))


def test_each_plug_in_that_a_parameter_names_has_a_digest_of_its_own(digest: Digest) -> None:
    own = {**PLUGINS, "garden/__init__.py": "class Rose:\n    size = 1\n"}
    names = ("one", "two", "garden:Rose", "no plug-in")

    def digests(files: Mapping[str, str]) -> dict[str, str]:
        digest(files)
        return plugin_digests([Place("plant.steps", "step")], names)

    before = digests(own)
    assert before.keys() == {"one", "two", "garden:Rose"}
    changes = {"one": ("one", "1"), "two": ("shared", "2"), "garden:Rose": ("garden/__init__.py", "1")}
    for name, (file, size) in changes.items():
        after = digests({**own, file: own[file].replace(size, "5")})
        assert {each for each in before if after[each] != before[each]} == {name}
    assert digests({**own, "steps": own["steps"].replace(".size", ".size + 1")}) == before


def test_a_line_that_is_added_to_a_registry_changes_nothing(digest: Digest) -> None:
    more = {**PLUGINS, "things": PLUGINS["things"].replace('{"one"', '{"three": "plant.three:Three", "one"')}
    for plugins in ((), ("one",), ("one", "two")):
        assert digest(more, plugins) == digest(PLUGINS, plugins)


def test_a_name_that_gets_another_plug_in_changes_the_digest(digest: Digest) -> None:
    swapped = {**PLUGINS, "things": PLUGINS["things"].replace("plant.one:One", "plant.two:Two")}
    assert digest(swapped, ("one",)) != digest(PLUGINS, ("one",))
    assert digest(swapped, ("two",)) == digest(PLUGINS, ("two",))


MADE = {
    "with": "import warnings\n\nwith warnings.catch_warnings():\n    def late(value):\n        return value + 2\n",
    "for": "for number in (1, 2):\n    late = lambda value: value + number\n",
    "while": "while True:\n    def late(value):\n        return value + 2\n    break\n",
    "match": "match 1:\n    case 1:\n        def late(value):\n            return value + 2\n",
    "walrus": "(late := lambda value: value + 2)\n",
    "globals": "globals()['late'] = lambda value: value + 2\n",
    "__getattr__": "def made(value):\n    return value + 2\n\ndef __getattr__(name):\n    return made\n",
}
"""Ways to make a name of a module without a definition."""


@pytest.mark.parametrize("way", MADE)
def test_a_name_that_is_not_defined_counts_with_its_whole_module(digest: Digest, way: str) -> None:
    before = digest({**PLANT, "late": MADE[way]})
    assert digest({**PLANT, "late": MADE[way].replace("2", "3")}) != before
    assert digest({**PLANT, "late": "# A comment.\n" + MADE[way]}) == before


def test_texts_that_name_no_plug_in_change_nothing(digest: Digest) -> None:
    assert digest(PLUGINS, ("a red circle", "three", "one ", "plant.one")) == digest(PLUGINS)
    assert digest(PLUGINS, ("a red circle", "no.such.module:Name")) == digest(PLUGINS, ("no.such.module:Name",))


GARDEN = {
    "garden/__init__.py": "SIZE = 1\n",
    "garden/mine.py": "import os\nfrom garden.soil import TABLE\n\n\ndef Mine():\n    return TABLE\n",
    "garden/soil.py": "import shed.tools\n\nTABLE = {}\n\n\ndef add(each):\n    TABLE[each] = 1\n\n\nadd('1')\n",
    "shed/tools.py": "def use():\n    from plot import SIZE\n    return SIZE\n",
    "./plot.py": "SIZE = 1\n",
    "./unread.py": "SIZE = 1\n",
}
"""A plug-in's package, a folder without `__init__.py` beside it, and modules there."""


@pytest.mark.parametrize("name", GARDEN)
def test_a_plug_in_from_elsewhere_counts_with_all_that_it_imports_and_is_not_installed(
    digest: Digest, name: str
) -> None:
    named, files = ("garden.mine:Mine",), PLUGINS | GARDEN
    changed = files | {name: files[name].replace("1", "2") if "1" in files[name] else files[name] + "NEW = 1\n"}
    assert (digest(changed, named) != digest(files, named)) == (name != "./unread.py")
    assert digest(changed) == digest(files)
    assert digest(files | {name: files[name] + "\n\n# A comment.\n"}, named) == digest(files, named)


@pytest.mark.parametrize("name", GARDEN)
def test_a_users_own_dataset_counts_with_all_that_it_imports_and_is_not_installed(digest: Digest, name: str) -> None:
    """A catalog's class, or a node's function, from elsewhere counts as plug-ins do."""
    changed = GARDEN | {name: GARDEN[name].replace("1", "2") if "1" in GARDEN[name] else GARDEN[name] + "NEW = 1\n"}
    own = partial(digest, step="Mine", module="garden.mine")
    assert (own(changed) != own(GARDEN)) == (name != "./unread.py")


def test_nothing_of_a_plug_in_is_executed_and_what_cannot_be_parsed_counts_by_its_bytes(digest: Digest) -> None:
    files = PLUGINS | GARDEN | {"garden/__init__.py": "1 / 0\n", "./plot.py": "print 'Python 2'\n"}
    before = digest(files, ("garden.mine:Mine",))
    assert digest(files | {"./plot.py": "print 'Python  2'\n"}, ("garden.mine:Mine",)) != before
    deep = files | {"./plot.py": "SIZE = " + "1 + " * 5000 + "1\n"}
    assert digest(deep, ("garden.mine:Mine",)) != before


def test_a_module_of_a_step_that_is_half_edited_is_named(digest: Digest) -> None:
    with pytest.raises(InputError, match=r"plant/steps\.py is no Python .*line 1.*; correct it"):
        digest(PLANT | {"steps": "def ("})


UNUSUAL = {
    "a docstring that is computed with": ({"./plot.py": '"""red"""\nSIZE = __doc__\n'}, ("red", "blue")),
    "an import beside an expression too long for a tree": (
        {"./plot.py": f"import planted\nSIZE = {'1 + ' * 1500}1\n", "./planted.py": "SIZE = 1\n"},
        ("SIZE = 1\n", "SIZE = 2\n"),
    ),
    "a module with the name of one of Python's": (
        {"./plot.py": "import sched\n", "./sched.py": "SIZE = 1\n"},
        ("SIZE = 1\n", "SIZE = 2\n"),
    ),
    "a compiled module beside its source": (
        {
            "./plot.py": "import stones.rock\n",
            "stones/__init__.py": "",
            "stones/rock.py": "SIZE = 0\n",
            f"stones/rock{EXTENSION_SUFFIXES[0]}": "built 1",
        },
        ("built 1", "built 2"),
    ),
    "a submodule that a star imports": (
        {
            "./plot.py": "from stones import *\n",
            "stones/__init__.py": "__all__ = ['rock']\n",
            "stones/rock.py": "SIZE = 1\n",
        },
        ("SIZE = 1\n", "SIZE = 2\n"),
    ),
    "a package that extends its path": (
        {"plot/__init__.py": "__path__.append('lib')\n", "plot/lib/parts.py": "SIZE = 1\n"},
        ("SIZE = 1\n", "SIZE = 2\n"),
    ),
}
"""Files of a plug-in, of which one or more are edited."""


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_ways_to_hold_code_count(digest: Digest, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.delitem(sys.modules, "sched", raising=False)
    more, edit = UNUSUAL[case]
    files = PLUGINS | GARDEN | more
    if "plot/__init__.py" in more:
        del files["./plot.py"]
    before = digest(files, ("garden.mine:Mine",))
    changed = {name: files[name].replace(*edit) for name in more}
    assert digest(files | changed, ("garden.mine:Mine",)) != before
    assert digest(files, ("garden.mine:Mine",)) == before


@pytest.mark.parametrize("kind", ["compiled", "in an archive"])
def test_a_plug_in_without_source_counts_by_its_bytes(digest: Digest, tmp_path: Path, kind: str) -> None:
    def write(text: str) -> None:
        source = tmp_path / "sources" / "plot.py"
        source.parent.mkdir(exist_ok=True)
        source.write_text(text)
        if kind == "compiled":
            by_content = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(str(source), str(tmp_path / "plot.pyc"), doraise=True, invalidation_mode=by_content)
        else:
            with zipfile.ZipFile(tmp_path / "plots.zip", "w") as archive:
                archive.writestr(zipfile.ZipInfo("plot.py"), text)

    files = PLUGINS | {name: text for name, text in GARDEN.items() if name != "./plot.py"}
    sys.path.insert(0, str(tmp_path / "plots.zip"))  # `digest` puts the list back
    found = []
    for text in ("SIZE = 1\n", "SIZE = 1\n", "SIZE = 25\n"):
        write(text)
        found.append(digest(files, ("garden.mine:Mine",)))
    assert found[0] == found[1] != found[2]


def test_a_template_counts_for_what_is_rendered_with_it_and_for_nothing_else(digest: Digest) -> None:
    files = {
        "__init__": "",
        "steps": """
            from plant.pages import page


            def step():
                return page()


            def beside():
                return 1
        """,
        "pages": """
            from jinja2 import Environment, PackageLoader


            def page():
                return Environment(loader=PackageLoader("plant", "templates")).get_template("page.html.j2").render()
        """,
        "plant/templates/page.html.j2": "<p>before</p>",
    }
    files["plant/templates/page.html.j2"] = "<p>before</p>"
    changed = {**files, "plant/templates/page.html.j2": "<p>after</p>"}
    assert digest(changed) != digest(files)
    assert digest(changed, step="beside") == digest(files, step="beside")


def needed(module: str, name: str, *plugins: str) -> set[str]:
    """Return the modules of this package whose definitions count."""
    return {place.module for place in code._closure(frozenset({Place(module, name)}), frozenset(plugins)) if place.name}


def test_a_step_of_this_package_counts_with_all_that_it_needs() -> None:
    modules = needed("rsidiff_kedro.pipelines.weighting.nodes", "weigh_kept_images", "proxy")
    assert {
        "rsidiff_kedro.method.weighting",
        "rsidiff_kedro.core.image_set",
        "rsidiff_kedro.core.section",
        "rsidiff_kedro.rewards.registry",
        "rsidiff_kedro.scenes.plugins.proxy",
    } <= modules
    assert not {name for name in modules if name.startswith("rsidiff_kedro.scenes.pretraining")}
    without = needed("rsidiff_kedro.pipelines.weighting.nodes", "weigh_kept_images")
    assert "rsidiff_kedro.scenes.plugins.proxy" not in without


def test_what_a_command_imports_inside_functions_counts_too() -> None:
    assert "rsidiff_kedro.diffusion.footprint" in needed("rsidiff_kedro.cli.doctor", "doctor")


def _step_of(node: Node) -> Place:
    function = node.func.func if isinstance(node.func, partial) else node.func
    return Place(function.__module__, function.__qualname__)


def test_nothing_of_this_package_that_a_step_refers_to_is_overlooked() -> None:
    steps = {_step_of(node) for pipeline in compose(stages(), 2).values() for node in pipeline.nodes}
    assert len(steps) > 30
    found = code._closure(frozenset(steps), frozenset())
    unresolved = {place for place, source in found.items() if place.name and not source}
    for place in unresolved:
        assert isinstance(getattr(importlib.import_module(place.module), place.name), Registry), place


def test_the_report_counts_with_its_templates() -> None:
    found = code._closure(frozenset({Place("rsidiff_kedro.pipelines.report.nodes", "make_report")}), frozenset())
    for path in (PACKAGE / "reporting" / "templates").iterdir():
        assert path.read_text() in found[Place("rsidiff_kedro.reporting.render")]


def test_a_function_of_another_project_counts_by_its_name(digest: Digest) -> None:
    assert code_digest([Place("json", "dumps")]) != code_digest([Place("csv", "reader")])
    assert needed("json", "dumps") <= {"json", "json.encoder", "json.decoder", "json.scanner"}
