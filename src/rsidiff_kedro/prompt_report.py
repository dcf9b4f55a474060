"""What the filters make of a file of prompts, on the command line: make prompt-report PROMPTS=path."""

import hashlib
from pathlib import Path
from typing import Any

import click
from kedro.utils import find_kedro_project
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rsidiff_kedro.configuration import RsiConfigLoader
from rsidiff_kedro.diffusion.backbones.folders import ModelError, model_source
from rsidiff_kedro.errors import InputError
from rsidiff_kedro.parameters import ParameterError, Parameters, parse_parameters
from rsidiff_kedro.prompts.filters import filter_prompts
from rsidiff_kedro.prompts.report import filter_report
from rsidiff_kedro.prompts.sources import FileSource, collect_prompts
from rsidiff_kedro.settings import CONFIG_LOADER_ARGS

FEW_WORDS = 10_000
"""A vocabulary of fewer entries spells most words by letters; CLIP's has 49,408."""


def report_prompts(
    path: Path | None,
    column: str = "text",
    category_column: str | None = None,
    tokenizer: str | None = None,
    max_tokens: int | None = None,
    env: str | None = None,
) -> str:
    """Markdown of how many prompts each filter of `conf/` drops, with examples, of categories and lengths.

    Args:
        path: a file or folder of prompts; None for the source in `conf/`.
        column: the column of the file that holds the prompts.
        category_column: the column of their categories.
        tokenizer: a local folder or hub id; None for that of the model in `conf/`.
        max_tokens: how many tokens are read; None for as many as the tokenizer says.
        env: the environment of `conf/`; None for base.

    Raises:
        InputError: the parameters, the prompts or the tokenizer are no good; the message says what to change.
    """
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    parameters = _load_parameters(root, env)
    curation = parameters.prompt_curation
    if path is None:
        title = f"the {curation.source.kind} of conf/{env or 'base'}"
        prompts = collect_prompts(curation.source.within(root), curation.evaluation_source, parameters.seed)
    else:
        title = f"{path.name}{_digest(path)}"
        prompts = FileSource(path=path, column=column, category_column=category_column).collect(parameters.seed)
    words = _open_tokenizer(tokenizer, parameters)
    limit = max_tokens or words.model_max_length

    def count_tokens(texts: list[str]) -> list[int]:
        return [len(ids) for ids in words(texts, truncation=False, padding=False, verbose=False).input_ids]

    kept, rejected = filter_prompts(prompts, curation.filters, count_tokens, limit)
    lines = [
        f"{len(prompts)} prompts of {title}; tokenizer {tokenizer or parameters.model.base} of {len(words)} entries, "
        f"{limit} tokens are read, two of them the start and the end."
    ]
    if len(words) < FEW_WORDS:
        lines.append(
            "This tokenizer knows few words and spells the others by letters: the real CLIP vocabulary makes far fewer "
            "tokens of the same text. Name one with --tokenizer."
        )
    return "\n\n".join([*lines, filter_report(kept, rejected, limit)])


def _load_parameters(root: Path, env: str | None) -> Parameters:
    if not (root / "conf" / (env or "base")).is_dir():
        raise ParameterError(f"there is no folder conf/{env or 'base'} in {root}; run this in the project's folder")
    options: dict[str, Any] = CONFIG_LOADER_ARGS
    return parse_parameters(RsiConfigLoader(str(root / "conf"), env=env, **options)["parameters"])


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    return f" (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()})"


def _open_tokenizer(name: str | None, parameters: Parameters) -> PreTrainedTokenizerBase:
    model = parameters.model
    source = name or model_source(model.base)
    options = {} if name else {"subfolder": "tokenizer", "revision": model.revision}
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"no tokenizer in {source!r} ({reason}); give --tokenizer a folder that save_pretrained wrote, or a hub id"
        ) from None


@click.command(help="Show how many prompts each filter drops; without a PATH, of the prompts that conf/ names.")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--column", default="text", show_default=True, help="Column of the file that holds the prompts.")
@click.option("--category-column", help="Column of their categories.")
@click.option("--tokenizer", help="Local folder or hub id; by default the tokenizer of the model in conf/.")
@click.option(
    "--max-tokens", type=click.IntRange(min=3), help="Tokens that are read; by default the tokenizer's limit."
)
@click.option("--env", "-e", help="Environment of conf/.")
def prompt_report(
    path: Path | None,
    column: str,
    category_column: str | None,
    tokenizer: str | None,
    max_tokens: int | None,
    env: str | None,
) -> None:
    """Write the report on the standard output."""
    try:
        click.echo(report_prompts(path, column, category_column, tokenizer, max_tokens, env), nl=False)
    except InputError as error:
        raise click.ClickException(" ".join(str(error).split())) from error


if __name__ == "__main__":
    prompt_report()
