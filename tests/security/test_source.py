"""The source itself holds no way to run what it reads; its syntax trees are walked."""

import ast
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "rsidiff_kedro"
MODULES = sorted(SOURCE.rglob("*.py"))
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
PROGRAMS = {"subprocess", "pty", "commands", "code", "runpy", "ctypes"}
BUILT_IN = {"eval", "exec", "compile", "__import__"}
CALLS = {"system", "popen", "read_pickle", "to_pickle", "unsafe_load", "full_load", "extractall", "mktemp"}


@cache
def trees() -> list[tuple[str, ast.Module]]:
    """Each module's path in the package, and its syntax tree."""
    return [(path.relative_to(SOURCE).as_posix(), ast.parse(path.read_bytes())) for path in MODULES]


def nodes(kind: type) -> list[tuple[str, ast.AST]]:
    """All nodes of a kind, each with its module's path in the package."""
    return [(module, node) for module, tree in trees() for node in ast.walk(tree) if isinstance(node, kind)]


def calls(*names: str) -> list[tuple[str, str, dict[str, ast.expr]]]:
    """Calls of these names (`load`, `torch.load`): module, the name as written, and keyword arguments."""
    found = []
    for module, node in nodes(ast.Call):
        written = ast.unparse(node.func)
        if any(written == name or written.endswith(f".{name}") for name in names):
            found.append((module, written, {each.arg: each.value for each in node.keywords if each.arg}))
    return found


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def imported() -> list[tuple[str, str]]:
    found = [(module, alias.name) for module, node in nodes(ast.Import) for alias in node.names]
    return found + [(module, node.module or "") for module, node in nodes(ast.ImportFrom)]


def test_the_package_is_where_it_is_looked_for() -> None:
    assert len(MODULES) > 100
    assert len(calls("torch.load")) == 2
    assert len(calls("from_pretrained")) >= 4


def test_pickle_is_imported_for_the_name_of_its_error_alone() -> None:
    assert [each for each in imported() if each[1].split(".")[0] in PICKLES] == [
        ("core/untrusted/torch_files.py", "pickle")
    ]
    used = [
        ast.unparse(node)
        for module, node in nodes(ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id in PICKLES
    ]
    assert used == ["pickle.UnpicklingError"]


def test_only_servers_of_ui_workers_of_official_rewards_and_runs_of_studies_are_started() -> None:
    assert sorted(each for each in imported() if each[1].split(".")[0] in PROGRAMS) == [
        ("cli/ui.py", "subprocess"),
        ("rewards/official.py", "subprocess"),
        ("study/runs.py", "subprocess"),
    ]


def test_nothing_is_evaluated() -> None:
    assert [(module, name) for module, name, _ in calls(*BUILT_IN, *CALLS) if name in BUILT_IN] == []
    assert [(module, name) for module, name, _ in calls(*CALLS)] == []


def test_modules_are_imported_by_names_of_the_catalog_the_parameters_and_the_source_alone() -> None:
    """`registry` imports plug-ins, `code_digest` modules that hold a registry, and `pipelines` its own list."""
    assert sorted(module for module, _, _ in calls("import_module")) == [
        "core/registry.py",
        "datasets/pretrained.py",
        "pipelines/__init__.py",
        "provenance/code_digest.py",
    ]


def test_torch_reads_weights_only() -> None:
    assert all(is_constant(options.get("weights_only"), True) for _, _, options in calls("torch.load"))


def test_models_are_read_from_safetensors_and_tokenizers_without_code() -> None:
    for module, name, options in calls("from_pretrained"):
        if name == "ProxyModel.from_pretrained":  # our own, which knows no other format
            continue
        safe = is_constant(options.get("use_safetensors"), True) or is_constant(options.get("trust_remote_code"), False)
        assert safe, (module, name)


@pytest.mark.parametrize("option", ["trust_remote_code", "allow_pickle", "shell", "verify", "custom_pipeline"])
def test_no_option_that_lets_code_in(option: str) -> None:
    given = [(module, each) for module, each in nodes(ast.keyword) if each.arg == option]
    assert all(is_constant(each.value, option == "verify") for _, each in given), given
    named = [module for module, node in nodes(ast.Constant) if node.value == option]
    assert named == [], "an option given by its name in a dictionary"


def test_yaml_is_read_by_kedro_alone() -> None:
    assert calls("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load") == []


def test_numpy_loads_no_file() -> None:
    assert calls("np.load", "numpy.load", "np.fromfile", "np.loadtxt", "np.genfromtxt") == []


def test_every_image_is_opened_as_one_of_the_formats_that_are_named() -> None:
    assert all("formats" in options for _, _, options in calls("Image.open"))
    assert len(calls("Image.open")) == 5


def test_parquet_is_read_in_one_place() -> None:
    assert {module for module, _, _ in calls("read_parquet", "ParquetFile", "read_table")} <= {
        "core/untrusted/tables.py",
        "core/votes.py",  # by the function of the first, as the next two
        "datasets/image_folder.py",
        "study/tables.py",
    }
    assert calls("pd.read_parquet", "pandas.read_parquet") == []
