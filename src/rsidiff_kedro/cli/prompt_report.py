"""The command `kedro rsi prompts`: report in Markdown what the filters drop from a set of prompts."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rsidiff_kedro.cli.arguments import env_option

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from rsidiff_kedro.diffusion.prompt_tokenizer import PromptTokenizer
    from rsidiff_kedro.parameters import Parameters

FEW_WORDS = 10_000
"""A vocabulary of fewer entries spells most words by letters; CLIP's has 49,408."""
SHOWN = 60
"""Characters of an example."""
BINS = 8


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--column", default="text", show_default=True, help="Column of the file that holds the prompts.")
@click.option("--category-column", help="Column of their categories.")
@click.option("--tokenizer", help="Local folder or hub id; by default the tokenizer of the model in conf/.")
@click.option("--max-tokens", type=click.IntRange(min=3), help="Token limit; by default the tokenizer's.")
@env_option
def prompts(
    path: Path | None,
    column: str,
    category_column: str | None,
    tokenizer: str | None,
    max_tokens: int | None,
    env: str | None,
) -> None:
    """Show how many prompts each filter drops, from a file or folder at PATH or from the source in conf/."""
    from rsidiff_kedro.core.errors import InputError

    try:
        click.echo(report_prompts(path, column, category_column, tokenizer, max_tokens, env), nl=False)
    except InputError as error:
        raise click.ClickException(" ".join(str(error).split())) from error


def report_prompts(
    path: Path | None,
    column: str = "text",
    category_column: str | None = None,
    tokenizer: str | None = None,
    max_tokens: int | None = None,
    env: str | None = None,
) -> str:
    """Report how many prompts each filter of `conf/` drops, with examples, categories and lengths.

    Args:
        path: a file or folder of prompts; None for the source in `conf/`.
        column: the column of the file that holds the prompts.
        category_column: the column of their categories.
        tokenizer: a local folder or hub id; None for that of the model in `conf/`.
        max_tokens: the limit; None for the tokenizer's own.
        env: the environment of `conf/`; None for the default.

    Raises:
        InputError: the parameters, the prompts or the tokenizer are wrong; the message says what to change.
    """
    from rsidiff_kedro.hooks.configuration import open_configuration
    from rsidiff_kedro.parameters import parse_parameters
    from rsidiff_kedro.prompts.filters import filter_prompts
    from rsidiff_kedro.prompts.sources import collect_prompts
    from rsidiff_kedro.prompts.sources.file import FileSource

    root, loader = open_configuration(env)
    parameters = parse_parameters(loader["parameters"]).within(root)
    curation = parameters.prompt_curation
    if path is None:
        source, title = curation.source, f"the {curation.source.kind} source in conf/"
        collected = collect_prompts(source, curation.evaluation_source, parameters.seed)
    else:
        source = FileSource(path=path, column=column, category_column=category_column)
        collected, title = source.collect(parameters.seed), f"{path.name}{_digest(path)}"
    words = _open_tokenizer(tokenizer, parameters)
    limit = max_tokens or words.max_tokens
    kept, rejected = filter_prompts(collected, curation.filters, words.count, limit, source.canonical)
    lines = [
        f"{len(collected)} prompts of {title}; tokenizer {tokenizer or parameters.model.base} with {len(words)} "
        f"entries; {limit} tokens are read, including start and end."
    ]
    if len(words) < FEW_WORDS:
        lines.append(
            "This tokenizer knows few words and spells the others by letters. CLIP's own vocabulary makes far fewer "
            "tokens of the same text; name one with --tokenizer."
        )
    return "\n\n".join([*lines, filter_report(kept, rejected, limit)])


def _digest(path: Path) -> str:
    return f" (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()})" if path.is_file() else ""


def _open_tokenizer(name: str | None, parameters: "Parameters") -> "PromptTokenizer":
    from rsidiff_kedro.diffusion.prompt_tokenizer import open_named_tokenizer, open_prompt_tokenizer

    model = parameters.model
    return open_named_tokenizer(name) if name else open_prompt_tokenizer(model.base, model.revision)


def filter_report(kept: "pd.DataFrame", rejected: "pd.DataFrame", max_tokens: int) -> str:
    """Return tables of how many prompts each rule drops, with an example, of categories, and of lengths in tokens.

    Args:
        kept: from `filter_prompts`.
        rejected: from `filter_prompts`.
        max_tokens: how many tokens the text encoder reads.
    """
    import pandas as pd

    from rsidiff_kedro.prompts.filters import RULES

    total = len(kept) + len(rejected)
    rows = [("kept", len(kept), _share(len(kept), total), "")]
    for rule in RULES:
        dropped = rejected[rejected["rule"] == rule]
        example = f"{dropped['text'].iloc[0][:SHOWN]} ({dropped['detail'].iloc[0]})" if len(dropped) else ""
        rows.append((rule, len(dropped), _share(len(dropped), total), example))
    parts = [_table(("rule", "prompts", "share", "example"), rows), _categories(kept, rejected)]
    lengths = pd.concat([kept["n_tokens"], rejected["n_tokens"]]).to_numpy()
    return "\n\n".join([part for part in parts if part] + [_histogram(lengths, max_tokens)]) + "\n"


def _categories(kept: "pd.DataFrame", rejected: "pd.DataFrame") -> str:
    """Count collected and kept prompts of each category; return nothing if there are no categories."""
    import pandas as pd

    counts = pd.DataFrame({"kept": kept["category"].value_counts(), "dropped": rejected["category"].value_counts()})
    counts = counts.fillna(0).astype(int).sort_index()
    if set(counts.index) <= {""}:
        return ""
    rows = [(name or "none", row.kept + row.dropped, row.kept) for name, row in zip(counts.index, counts.itertuples())]
    return _table(("category", "prompts", "kept"), rows)


def _histogram(lengths: "np.ndarray", max_tokens: int) -> str:
    """Count prompts by their number of tokens: equal bins up to the limit, and what lies above."""
    width = max(1, -(-max_tokens // BINS))
    edges = [*range(0, max_tokens, width), max_tokens]
    rows: list[tuple[str, int, str]] = []
    for low, high in pairwise(edges):
        number = int(((lengths > low) & (lengths <= high)).sum())
        rows.append((f"{low + 1} to {high}", number, _share(number, len(lengths))))
    above = int((lengths > max_tokens).sum())
    rows.append((f"more than {max_tokens}", above, _share(above, len(lengths))))
    return _table(("tokens", "prompts", "share"), rows)


def _share(part: int, total: int) -> str:
    return f"{part / total:.1%}" if total else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    """Return a value in one line that cannot end its cell or be read as HTML."""
    from rsidiff_kedro.core.untrusted.text import printable

    return printable(str(value)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
