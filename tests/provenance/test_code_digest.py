"""Digests follow what is imported, and what files hold."""

from rsidiff_kedro.lineage import code


def closure(module: str) -> set[str]:
    return {path.relative_to(code.PACKAGE).as_posix() for path in code._closure(module)}


def test_a_module_counts_with_all_that_it_imports_of_this_project() -> None:
    files = closure("rsidiff_kedro.pipelines.weighting.nodes")
    assert {"statistics/distribution.py", "statistics/conditioning.py", "rewards/proxy.py", "errors.py"} <= files
    assert "scenes/pretraining.py" not in files


def test_what_a_function_imports_counts_too() -> None:
    assert "doctor.py" in closure("rsidiff_kedro.cli.commands")


def test_a_module_of_another_project_counts_by_its_name() -> None:
    assert closure("json") == set()
    assert code.code_digest("json") != code.code_digest("csv")
