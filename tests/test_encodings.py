"""Every text is read and written as UTF-8, wherever the project runs; syntax trees are walked, where ruff sees less."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT_CALLS = {"open", "read_text", "write_text", "fdopen", "TextIOWrapper", "NamedTemporaryFile"}
NOT_FILES = {"os.open", "Image.open", "family_of(model).open", "task.open", "opening.open", "self.opening.open"}


def calls_without_encoding(source: str) -> list[str]:
    """The calls that open a text, or a program's output as a text, and name no encoding."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        written = ast.unparse(call.func)
        options = {each.arg: ast.unparse(each.value) for each in call.keywords}
        modes = [each.value for each in call.args[:2] if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        name = written.rpartition(".")[2]
        is_file = name in TEXT_CALLS and written not in NOT_FILES
        is_binary = any("b" in mode for mode in modes if len(mode) <= 3) or "b" in options.get("mode", "")
        is_given = "encoding" in options or len(call.args) > {"read_text": 0, "write_text": 1}.get(name, 9)
        is_output = options.get("text") == "True" or options.get("universal_newlines") == "True"
        if ((is_file and not is_binary) or is_output) and not is_given:
            found.append(ast.unparse(call))
    return found


def test_every_text_has_an_encoding() -> None:
    paths = [path for folder in ("src", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 100
    found = {path.name: wrong for path in paths if (wrong := calls_without_encoding(path.read_text(encoding="utf-8")))}
    assert found == {}


def test_the_walk_sees_what_it_looks_for() -> None:
    wrong = ("open(path)", "path.open('w')", "path.read_text()", "path.write_text(text)", "run(command, text=True)")
    right = ("open(path, 'rb')", "path.open(mode='wb')", "path.read_text(encoding='utf-8')", "Image.open(path)")
    assert calls_without_encoding("\n".join(wrong)) == list(wrong)
    assert calls_without_encoding("\n".join(right)) == []
