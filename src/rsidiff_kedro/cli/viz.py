"""Open Kedro-Viz with a first view that fits one screen, as a server or as files to share.

Kedro-Viz begins with all datasets between its boxes, here seven of every round in one row, at a tenth of their size.

    python -m rsidiff_kedro.cli.viz '["127.0.0.1", 4141, "test", {"rounds": 2}, "conf"]'   # as `kedro rsi ui` has it
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from html import escape, unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

import rsidiff_kedro
from rsidiff_kedro.cli.project import PACKAGE, read_conf_of
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import check_writable, replacing
from rsidiff_kedro.core.untrusted.text import without_places

FIRST_VIEW = """<script>
  if (!location.search) history.replaceState(null, "", "?types=nodes");
  if (!localStorage.getItem("KedroViz")) localStorage.setItem("KedroViz", '{"showFeatureHints": false}');
</script>"""
"""Boxes without datasets, which the panel at the left shows, and without a tour of what is new in Kedro-Viz."""
REPORT_LINK = """<a href="report.html" style="position: fixed; right: 24px; bottom: 24px; z-index: 1; padding: 8px 16px;
background: #fff; color: #111; border: 1px solid #888; font: 16px sans-serif">Report of the run</a>"""
MARK = "api/deploy-viz-metadata"
"""A file that every page of Kedro-Viz has."""
FILES = "api/files-of-this-page"
"""A list of a page's files, so that the next page removes those that it lacks, and nothing else."""
TEXT = "text"
"""The column of prompts in a table."""
REPORT = "report.html"
PARTIAL = ".page.partial"
"""A folder in which a page is made, in the one where it is to lie."""


def index_page(report: bool = False) -> str:
    """Return Kedro-Viz's page with the first view, and with a link to a report beside it."""
    page = (files("kedro_viz") / "html" / "index.html").read_text(encoding="utf-8")
    page = page.replace("<head>", f"<head>{FIRST_VIEW}", 1)
    return page.replace("</body>", f"{REPORT_LINK}</body>", 1) if report else page


def serve(root: Path, host: str, port: int, env: str | None, params: dict[str, Any], conf: str) -> None:
    """Serve Kedro-Viz of a folder of configuration until Ctrl-C."""
    read_conf_of(conf)
    _load(root, env, params)  # imports the settings first
    import uvicorn

    uvicorn.run(pages(root, host), host=host, port=port, log_config=None)


def _load(root: Path, env: str | None, params: dict[str, Any]) -> None:
    """Load the project into Kedro-Viz, without the rows and sizes that it keeps of the last run.

    That run may be of another environment or of a part of the pipeline, and a size is that of a dataset's folder.
    """
    from kedro_viz.data_access import data_access_manager
    from kedro_viz.server import load_and_populate_data

    load_and_populate_data(root, env=env, package_name=PACKAGE, extra_params=params)
    for extras in data_access_manager.node_extras.values():
        extras.stats = None


def pages(root: Path, host: str) -> Any:
    """Return Kedro-Viz as a web application that answers only requests to this host or to localhost.

    Otherwise a site whose name leads to this machine could read the pages, and have them copied to its own bucket.
    """
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse
    from kedro_viz.api.apps import create_api_app_from_project
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI()
    app.get("/")(lambda: HTMLResponse(index_page()))
    app.mount("/", create_api_app_from_project(root))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host, "localhost"])
    return app


def write_site(folder: Path, root: Path, env: str | None, params: dict[str, Any], report: Path | None) -> None:
    """Write Kedro-Viz with all previews into a folder, in place of an earlier one, and a report beside it.

    The page is made in a folder of its own first. Then only files that it or the earlier page has are replaced or
    removed; all others stay. No path of this machine is in it.

    Raises:
        InputError: the folder cannot be written, or holds files but no page.
    """
    made, is_new = folder / PARTIAL, not folder.exists()
    others = [] if is_new else [path for path in folder.iterdir() if path != made]
    if others and not any((folder / each).is_file() for each in (MARK, FILES)):
        raise InputError(f"{folder} holds something else than a page of Kedro-Viz; name a new or an empty folder")
    check_writable(folder)
    _load(root, env, params)
    shutil.rmtree(made, ignore_errors=True)  # of a command that was killed
    made.mkdir(parents=True)
    try:
        _deploy(made, root, report)
        _replace_page(folder, made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _deploy(folder: Path, root: Path, report: Path | None) -> None:
    """Write a page into an empty folder."""
    import fsspec
    from kedro_viz.integrations.deployment.base_deployer import BaseDeployer

    class FolderDeployer(BaseDeployer):
        def __init__(self) -> None:
            super().__init__()
            self._path, self._fs = folder, fsspec.filesystem("file")

    FolderDeployer().deploy(is_all_previews_enabled=True)
    _remove_places(folder / "api", [root, Path(rsidiff_kedro.__file__).parents[1]])
    (folder / "index.html").write_text(index_page(report is not None), encoding="utf-8")
    if report is not None:
        (folder / REPORT).write_text(_placeless_page(report.read_text(encoding="utf-8")), encoding="utf-8")


def _replace_page(folder: Path, made: Path) -> None:
    """Move a page's files into a folder, and remove those of an earlier page that it lacks.

    Raises:
        InputError: a file of somebody else is in the way, one that the earlier page does not list; nothing has been
            moved then. Of a page without a list, only a report may be somebody else's.
    """
    names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    record = folder / FILES
    is_listed = record.is_file()
    old = record.read_text(encoding="utf-8").splitlines() if is_listed else []
    for name in names:
        path = folder / name
        above = next(each for each in path.parents if os.path.lexists(each))
        is_foreign = os.path.lexists(path) and name not in old and (is_listed or name == REPORT)
        if path.is_dir() or is_foreign or not above.is_dir():
            shown = path if above.is_dir() else above
            raise InputError(f"{shown} is in the way of a file of the page; move it")
    _save_list(record, {*old, *names})  # if this is killed, the next page knows the files of both
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(folder / name)
    for name in set(old) - {*names}:
        path = folder / name
        if path.resolve().is_relative_to(folder.resolve()) and not path.is_dir():
            path.unlink(missing_ok=True)
    _save_list(record, names)


def _save_list(record: Path, names: Iterable[str]) -> None:
    is_new = not record.parent.exists()
    record.parent.mkdir(exist_ok=True)
    try:
        with replacing(record) as partial:
            partial.write_text("\n".join(sorted(names)), encoding="utf-8")
    except OSError:
        if is_new:  # so that the folder is as it was, and the command can be repeated
            record.parent.rmdir()
        raise


def _remove_places(folder: Path, places: list[Path]) -> None:
    """Make paths below these places relative; of others in parameters, of datasets and in tables keep the last name."""
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for place in places:
                text = text.replace(json.dumps(f"{place}/", ensure_ascii=False)[1:-1], "")
            content = json.loads(text)
            shown = _placeless(content)
            text = text if shown == content else json.dumps(shown, ensure_ascii=False)
            path.write_text(text, encoding="utf-8")


def _placeless(content: Any, shortened: bool = False) -> Any:
    """Return an answer of Kedro-Viz without places in parameters, in datasets' files and in the rows of tables."""
    if isinstance(content, dict):
        if content.get("preview_type") == "TablePreview" and content["preview"]:  # without a file there is none
            content = content | {"preview": _placeless_table(**content["preview"])}
        return {key: _placeless(part, shortened or key in ("parameters", "filepath")) for key, part in content.items()}
    if isinstance(content, list):
        return [_placeless(part, shortened) for part in content]
    return without_places(content) if shortened and isinstance(content, str) else content


def _placeless_table(columns: list[str], data: list[list[Any]], **others: Any) -> dict[str, Any]:
    """Return a table without places, such as the folder that a prompt came from; the prompts themselves stay."""
    rows = [[cell if name == TEXT else _placeless(cell, True) for name, cell in zip(columns, row)] for row in data]
    return {"columns": columns, "data": rows, **others}


def _placeless_page(page: str) -> str:
    """Return a page of HTML without places in its texts; scripts, styles and tags stay."""
    parts = re.split(r"(<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>)", page, flags=re.DOTALL)
    for number in range(0, len(parts), 2):
        text = unescape(parts[number])
        shown = without_places(text.strip())
        parts[number] = parts[number] if shown == text.strip() else escape(shown)
    return "".join(parts)


if __name__ == "__main__":
    serve(Path.cwd(), *json.loads(sys.argv[1]))
