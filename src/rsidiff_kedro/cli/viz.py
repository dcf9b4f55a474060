"""Open Kedro-Viz with a first view that fits one screen, as a server or as files to share.

Kedro-Viz begins with all datasets between its boxes, here seven of every round in one row, at a tenth of their size.

    python -m rsidiff_kedro.cli.viz '["127.0.0.1", 4141, "test", {"rounds": 2}]'      # as `kedro rsi ui` starts it
"""

import json
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import rsidiff_kedro
from rsidiff_kedro.cli.project import PACKAGE
from rsidiff_kedro.core.errors import InputError

FIRST_VIEW = """<script>
  if (!location.search) history.replaceState(null, "", "?types=nodes");
  if (!localStorage.getItem("KedroViz")) localStorage.setItem("KedroViz", '{"showFeatureHints": false}');
</script>"""
"""Boxes without datasets, which the panel at the left shows, and without a tour of what is new in Kedro-Viz."""
REPORT_LINK = """<a href="report.html" style="position: fixed; right: 24px; bottom: 24px; z-index: 1; padding: 8px 16px;
background: #fff; color: #111; border: 1px solid #888; font: 16px sans-serif">Report of the run</a>"""
MARK = "api/deploy-viz-metadata"
"""A file that every page of Kedro-Viz has."""


def index_page(report: bool = False) -> str:
    """Return Kedro-Viz's page with the first view, and with a link to a report beside it."""
    page = (files("kedro_viz") / "html" / "index.html").read_text(encoding="utf-8")
    page = page.replace("<head>", f"<head>{FIRST_VIEW}", 1)
    return page.replace("</body>", f"{REPORT_LINK}</body>", 1) if report else page


def serve(root: Path, host: str, port: int, env: str | None, params: dict[str, Any]) -> None:
    """Serve Kedro-Viz until Ctrl-C."""
    from kedro_viz.server import load_and_populate_data

    load_and_populate_data(root, env=env, package_name=PACKAGE, extra_params=params)  # imports the settings first
    import uvicorn

    uvicorn.run(pages(root, host), host=host, port=port, log_config=None)


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

    No path of this machine is in it.

    Raises:
        InputError: the folder holds something else.
    """
    import fsspec
    from kedro_viz.integrations.deployment.base_deployer import BaseDeployer
    from kedro_viz.server import load_and_populate_data

    class FolderDeployer(BaseDeployer):
        def __init__(self) -> None:
            super().__init__()
            self._path, self._fs = folder, fsspec.filesystem("file")

    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise InputError(f"{folder} holds something else than a page of Kedro-Viz; name a new or an empty folder")
    load_and_populate_data(root, env=env, package_name=PACKAGE, extra_params=params)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    FolderDeployer().deploy(is_all_previews_enabled=True)
    _remove_places(folder / "api", [root, Path(rsidiff_kedro.__file__).parents[1]])
    (folder / "index.html").write_text(index_page(report is not None), encoding="utf-8")
    if report is not None:
        shutil.copyfile(report, folder / "report.html")


def _remove_places(folder: Path, places: list[Path]) -> None:
    """Make paths below these places relative."""
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for place in places:
                text = text.replace(json.dumps(f"{place}/", ensure_ascii=False)[1:-1], "")
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    serve(Path.cwd(), *json.loads(sys.argv[1]))
