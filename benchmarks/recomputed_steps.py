"""Edit one line in each folder of the package, and count the steps of a finished six-round run that are made again.

    python benchmarks/recomputed_steps.py            # writes docs/recomputed-steps.md, a quarter of an hour

Each edit is done twice: as a comment, and as a statement that does nothing at the start of a function. The run uses
conf/test, on a copy of the project.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = ["kedro", "run", "--env=test", "--pipeline=rsi", "--params=rounds=6", "--only-missing-outputs"]
EDITS = (
    ("cli/lineage.py", "lineage"),
    ("hooks/reuse.py", "_report"),
    ("hooks/tracking.py", "before_pipeline_run"),
    ("parameters.py", "parse_parameters"),
    ("pipelines/finetune/nodes.py", "measure_training"),
    ("pipelines/common.py", "generate_images"),
    ("datasets/adapter_folder.py", "adapter_json"),
    ("reporting/figures.py", "accuracy_figure"),
    ("method/selection.py", "select_samples"),
    ("method/weighting.py", "weigh_samples"),
    ("evaluation/metrics.py", "score_metrics"),
    ("evaluation/intervals.py", "bootstrap_mean"),
    ("diffusion/training.py", "finetune"),
    ("diffusion/sampling.py", "sample_images"),
    ("diffusion/families/stable_diffusion_3.py", "check"),
    ("rewards/scoring.py", "with_scores"),
    ("rewards/image_reward.py", "from_official"),
    ("prompts/filters.py", "filter_prompts"),
    ("prompts/sources/chat.py", "parse_reply"),
    ("scenes/world/judge.py", "judge"),
    ("scenes/plugins/proxy.py", "score"),
    ("scenes/pretraining/fitting.py", "fit"),
    ("execution/local.py", "map"),
    ("provenance/records.py", "chain"),
    ("diffusion/bases.py", "check_base"),
    ("core/prompt_table.py", "prompt_table"),
)
"""A file of the package, and a function in it."""


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "recomputed-steps.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        package = project / "src" / "rsidiff_kedro"
        sources = {edit: (package / edit[0]).read_text(encoding="utf-8") for edit in EDITS}
        statements = {edit: with_statement(source, edit[1]) for edit, source in sources.items()}
        total = run(project)
        unchanged = run(project)
        rows = [f"| nothing | {unchanged} | {unchanged} |"]
        for edit in EDITS:
            (file, function), source, counts = edit, sources[edit], []
            path = package / file
            for edited in ("# edited\n" + source, statements[edit]):
                path.write_text(edited, encoding="utf-8")
                counts.append(run(project))
            path.write_text(source, encoding="utf-8")
            rows.append(f"| `{file}`: `{function}` | {counts[0]} | {counts[1]} |")
            print(rows[-1], flush=True)  # noqa: T201
        given.table.write_text(page(total, rows), encoding="utf-8")


def copy_project(folder: Path) -> Path:
    """Copy what a run needs."""
    folder.mkdir(parents=True)
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def run(project: Path) -> int:
    """Run the pipeline; return how many steps were made."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "HF_HUB_OFFLINE": "1"}
    records = project / "data" / "test" / "lineage"
    before = set(records.glob("*.json"))
    command = [str(Path(sys.executable).with_name("kedro")), *COMMAND[1:]]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return len(set(records.glob("*.json")) - before)


def with_statement(source: str, function: str) -> str:
    """Put `_ = None` at the start of a function's body, after its docstring."""
    functions = (each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.FunctionDef))
    node = next((each for each in functions if each.name == function), None)
    if node is None:
        raise SystemExit(f"the file that EDITS names with {function!r} has no such function; correct EDITS")
    first = node.body[1] if isinstance(node.body[0], ast.Expr) and len(node.body) > 1 else node.body[0]
    lines = source.splitlines(keepends=True)
    indent = re.match(r"\s*", lines[first.lineno - 1])
    lines.insert(first.lineno - 1, f"{indent[0] if indent else ''}_ = None\n")
    return "".join(lines)


def page(total: int, rows: list[str]) -> str:
    """Return the page of docs."""
    return "\n".join(
        [
            "# Steps that are made again after an edit",
            "",
            f"A six-round run of `conf/test` has {total} steps. After each edit, the same command with "
            "`--only-missing-outputs` makes so many of them",
            "again. The comment is at the top of the file, the statement (`_ = None`) at the start of the function. A",
            "step is made again if code that it calls changed, or the content of one of its inputs. The statement",
            "changes no content, so steps that only read what an edited step made are reused. Scoring refers to all",
            "settings of rewards, and through them to the code that reads their checkpoints.",
            "",
            "| edit | comment | statement |",
            "|---|---|---|",
            *rows,
            "",
            f"Measured by `python benchmarks/recomputed_steps.py` on {date.today().isoformat()}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
