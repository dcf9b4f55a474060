"""What `make docs` adds to the pages in docs/: README and its like, the API, diagrams and formulas.

Everything is made while the site is built, and nothing of it is fetched by a reader's browser.
"""

import re
from os.path import relpath
from pathlib import Path, PurePosixPath
from typing import Any

from latex2mathml.converter import convert
from mermaid_render import mermaid_to_svg
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ASSETS = "src/rsidiff_kedro/scenes/assets"
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    f"{ASSETS}/base/README.md": "model-cards/base.md",
    f"{ASSETS}/base_sd3/README.md": "model-cards/base_sd3.md",
    f"{ASSETS}/proxy/README.md": "model-cards/proxy.md",
}
"""Files of this repository that are pages of the site too."""
LIBRARY = ("method", "evaluation", "diffusion", "rewards", "prompts", "study", "core")
"""Packages that a plain script can use; each has a page of its docstrings."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """Draw ```mermaid and set ```math when the site is built; both stay as they are on a Git host."""
    fences = [{"name": name, "class": name, "format": make} for name, make in (("mermaid", draw), ("math", typeset))]
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": fences}


def draw(source: str, *_: Any, **__: Any) -> str:
    """Return a Mermaid diagram as SVG."""
    return f'<div class="diagram">{mermaid_to_svg(source, theme="neutral").decode()}</div>'


def typeset(source: str, *_: Any, **__: Any) -> str:
    """Return a formula in LaTeX as MathML."""
    return f'<div class="formula">{convert(source.strip(), display="block")}</div>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files in docs/."""
    made = {name: (ROOT / path).read_text(encoding="utf-8") for path, name in PAGES.items()}
    made |= {f"api/{package}.md": f"# rsidiff_kedro.{package}\n\n::: rsidiff_kedro.{package}\n" for package in LIBRARY}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where their targets are on the site; of a link to source code only its text stays."""
    place = page.file.src_uri
    source = {name: path for path, name in PAGES.items()}.get(place, f"docs/{place}")

    def lead(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups()
        path = relpath(PurePosixPath("/", source).parent / target, "/")
        name = PAGES.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(name) is None:
            return link[0] if path.startswith("docs/") or not (ROOT / path).exists() else text
        return f"{picture}[{text}]({relpath(name, PurePosixPath(place).parent)}{anchor or ''})"

    return indent_lists(LINK.sub(lead, markdown))


def indent_lists(markdown: str) -> str:
    """Write lists as Python-Markdown wants them: contents indented by four spaces, a blank line before inner lists."""
    lines, columns, fenced, loose = [], list[int](), False, False
    for line in markdown.splitlines():
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if text and not fenced:
            columns = [column for column in columns if column <= indent]
        marker = None if fenced else re.match(r"(?:[-*]|\d+\.) +", text)
        if marker and (columns or loose) and lines[-1]:
            lines.append("")
        lines.append(" " * (4 * len(columns) + indent - (columns[-1] if columns else 0)) + text if text else "")
        if marker:
            columns.append(indent + len(marker[0]))
        loose = bool(columns) and (loose or not text)
        fenced ^= text.startswith("```")
    return "\n".join(lines) + "\n"
