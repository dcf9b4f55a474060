"""Define the command `kedro rsi prompts`, which reports in Markdown what the filters drop from a set of prompts."""

import hashlib
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pandas as pd

from rsidiff_kedro.cli.arguments import env_option
from rsidiff_kedro.cli.project import in_one_line
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.diffusion.opening import open_tokenizer
from rsidiff_kedro.diffusion.prompt_tokenizer import open_named_tokenizer
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.parameters import parse_parameters
from rsidiff_kedro.prompts.filters import RULES, filter_prompts
from rsidiff_kedro.prompts.sources import canonical_of, check_paid, collect_prompts
from rsidiff_kedro.prompts.sources.file import FileSource

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
@in_one_line
def prompts(path: Path | None, **options: str | int | None) -> None:
    """Show how many prompts each filter drops, from a file or folder at PATH or from the source in conf/."""
    click.echo(report_prompts(path, **options), nl=False)  # type: ignore[arg-type]


def report_prompts(
    path: Path | None,
    column: str = "text",
    category_column: str | None = None,
    tokenizer: str | None = None,
    max_tokens: int | None = None,
    env: str | None = None,
) -> str:
    """Report how many prompts each filter of `conf/` drops, with examples, categories and lengths.

    The prompts are those of a file or folder at `path` or, without one, of the source in `conf/`.

    Raises:
        InputError: the parameters, the prompts or the tokenizer are wrong; the message says what to change.
    """
    root, loader = open_configuration(env)
    parameters = parse_parameters(loader["parameters"]).within(root)
    curation, model = parameters.prompt_curation, parameters.model
    words = open_named_tokenizer(tokenizer, max_tokens) if tokenizer else open_tokenizer(model)
    if path is None:
        title, used = f"the {curation.source.kind} source in conf/", (curation.source, curation.evaluation_source)
        check_paid([*filter(None, used)], parameters.seed)
        collected, canonical = collect_prompts(*used, parameters.seed), canonical_of(*filter(None, used))
    else:
        source = FileSource(path=path, column=column, category_column=category_column)
        collected, title, canonical = source.collect(parameters.seed), path.name, source.canonical
        if path.is_file():
            title += f" (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
    limit = max_tokens or words.max_tokens
    kept, rejected = filter_prompts(collected, curation.filters, partial(words.lengths, most=limit), canonical)
    text = (
        f"{len(collected)} prompts of {title}; tokenizer {tokenizer or model.base} with {len(words)} entries; "
        f"{limit} tokens are read, including start and end.\n\n"
    )
    if len(words) < FEW_WORDS:
        text += (
            "This tokenizer knows few words and spells the others by letters. CLIP's own vocabulary makes far fewer "
            "tokens of the same text; name one with --tokenizer.\n\n"
        )
    return text + filter_report(kept, rejected, limit)


def filter_report(kept: pd.DataFrame, rejected: pd.DataFrame, max_tokens: int) -> str:
    """Return tables of how many prompts each rule drops, with an example, of categories, and of lengths in tokens."""
    total = len(kept) + len(rejected)
    rows = [("kept", len(kept), _share(len(kept), total), "")]
    for rule in RULES:
        dropped = rejected[rejected["rule"] == rule]
        example = f"{dropped['text'].iloc[0][:SHOWN]} ({dropped['detail'].iloc[0]})" if len(dropped) else ""
        rows.append((rule, len(dropped), _share(len(dropped), total), example))
    lengths = pd.concat([kept["n_tokens"], rejected["n_tokens"]]).to_numpy()
    parts = [
        _table(("rule", "prompts", "share", "example"), rows),
        _categories(kept, rejected),
        _histogram(lengths, max_tokens),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _categories(kept: pd.DataFrame, rejected: pd.DataFrame) -> str:
    """Count collected and kept prompts of each category; return nothing if there are no categories."""
    prompts = pd.concat([kept.assign(kept=1), rejected.assign(kept=0)])
    counts = prompts.groupby("category")["kept"].agg(["size", "sum"])
    if set(counts.index) <= {""}:
        return ""
    return _table(("category", "prompts", "kept"), [(name or "none", *row) for name, *row in counts.itertuples()])


def _histogram(lengths: np.ndarray, max_tokens: int) -> str:
    """Count prompts by their number of tokens: equal bins up to the limit, and one above it."""
    width = max(1, -(-max_tokens // BINS))
    edges = [*range(0, max_tokens, width), max_tokens]
    titles = [*(f"{low + 1} to {high}" for low, high in pairwise(edges)), f"more than {max_tokens}"]
    counts = pd.cut(lengths, [*edges, np.inf], labels=titles).value_counts()
    return _table(("tokens", "prompts", "share"), [(name, n, _share(n, len(lengths))) for name, n in counts.items()])


def _share(part: int, total: int) -> str:
    return f"{part / total:.1%}" if total else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    """Return a value in one line that cannot end its cell or be read as HTML."""
    return printable(str(value)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
