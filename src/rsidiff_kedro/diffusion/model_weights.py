"""Compare the tensors that a model's folder holds with those that its configs imply, from their headers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
import transformers
from diffusers.models.normalization import RMSNorm
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5LayerNorm

from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.lost_numbers import find_lost_numbers
from rsidiff_kedro.core.untrusted.network_weights import FLOATS, describe_differences, is_zero, lost_weights
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.model_folder import (
    check_components,
    check_pointer,
    component_class,
    parts_of,
    weight_files,
    weight_index,
)

_NOT_READ = re.compile(r"(^|\.)position_ids$")
"""Of whole numbers; text encoders stored them once, and the libraries ignore them."""


class Stored(NamedTuple):
    """A tensor in a file: its type in safetensors' words (F32, BF16, I8), its shape, and whether all is zero."""

    dtype: str
    shape: tuple[int, ...]
    zero: bool


def stored_tensors(component: Path, kind: type[Any]) -> dict[str, Stored]:
    """Return a network's tensors by name; raise ModelError if a file is cut or lost pages, or an index does not fit."""
    stored, places = dict[str, Stored](), dict[str, str]()
    for path in weight_files(component, kind):
        check_pointer(path)
        try:
            with safe_open(path, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    header = tensors.get_slice(name)
                    dtype, shape = header.get_dtype(), tuple(header.get_shape())
                    zero = bool(shape) and dtype in FLOATS and is_zero(header)
                    stored[name], places[name] = Stored(dtype, shape, zero), path.name
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"model.base: {str(path)!r} is cut or no safetensors ({reason(error)}); save or download the pipeline "
                "again"
            ) from error
        lost = find_lost_numbers(path)
        if lost is not None:
            raise ModelError(
                f"model.base: {str(path)!r} was not written from byte {lost[0]} to {lost[1]}, where it has zeros; save "
                "or download the pipeline again"
            )
    index = weight_index(component, kind)
    if index is not None and places != parts_of(index):
        wrong = sorted(places.items() ^ parts_of(index).items())[0][0]
        raise ModelError(
            f"model.base: {str(index)!r} and its parts do not agree on {wrong}; save or download the pipeline again"
        )
    return stored


def check_network(component: Path, kind: Any) -> None:
    """Raise ModelError unless a network's tensors are those that its config implies, by name, shape and type.

    Args:
        component: the network's folder.
        kind: its class, of diffusers or transformers.
    """
    files = sorted((path.name, path.stat()) for path in component.iterdir() if path.is_file())
    _check_network(component.absolute(), kind, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in files))


def check_pretrained(folder: Path, kind: type[Any]) -> None:
    """Raise ModelError unless a folder can be opened as this class: a network, a pipeline of networks or another."""
    for name, of in check_components(folder).items():
        component = component_class(name, *of)
        if issubclass(component, nn.Module):
            check_network(folder / name, component)
    if issubclass(kind, diffusers.ModelMixin | transformers.PreTrainedModel):
        check_network(folder, kind)


@lru_cache(maxsize=64)
def _check_network(component: Path, kind: Any, files: tuple[Any, ...]) -> None:
    stored = stored_tensors(component, kind)
    problem = f"model.base: no network can be built from the config of {str(component)!r}"
    with loading(lambda error: ModelError(f"{problem} ({reason(error)}); save or download the pipeline again")):
        differences = (_of_transformers if issubclass(kind, transformers.PreTrainedModel) else _of_diffusers)(
            component, kind, stored
        )
    if differences:
        raise ModelError(
            f"model.base: {str(component)!r} does not hold the tensors that its config.json implies: it {differences}; "
            "save the pipeline, or download it, again"
        )


def _of_transformers(component: Path, kind: Any, stored: dict[str, Stored]) -> str:
    """Have transformers load tensors without content, as it renames, ties and ignores some."""
    config = kind.config_class.from_pretrained(component, trust_remote_code=False)
    with _silence():
        network, found = kind.from_pretrained(
            None,
            config=config,
            state_dict=_without_content(stored),
            device_map="meta",
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    expected = network.state_dict()
    reshaped = {name: (tuple(has), tuple(wanted)) for name, has, wanted in found["mismatched_keys"]}
    unexpected = {*found["unexpected_keys"], *_twice(stored, expected)}
    differences = describe_differences(
        len(expected), found["missing_keys"], unexpected, reshaped, _retyped(stored, expected), _zero(stored, network)
    )
    return differences or _differences_of_tied(component, kind, network, stored)


def _differences_of_tied(component: Path, kind: Any, network: Any, stored: Mapping[str, Stored]) -> str:
    """Name two stored tensors that are one by the network's config, and whose content differs."""
    for pair in network.all_tied_weights_keys.items():
        if {*pair} <= stored.keys():
            one, two = (_read(component, kind, name) for name in pair)
            if one.dtype != two.dtype or not torch.equal(one, two):
                return f"stores one tensor as {pair[0]} and as {pair[1]}, and they differ"
    return ""


def _read(component: Path, kind: Any, name: str) -> Tensor:
    for path in weight_files(component, kind):
        with safe_open(path, "pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118
                return tensors.get_tensor(name)
    raise KeyError(name)


def _twice(stored: Iterable[str], expected: Mapping[str, Tensor]) -> set[str]:
    """Return stored names that mean the same tensor as others, with the name of the whole before them."""
    names = {*stored}
    pairs = ((name, name[place + 1 :]) for name in names for place, sign in enumerate(name) if sign == ".")
    return {long for long, short in pairs if short in names and not {long, short} <= expected.keys()}


def _of_diffusers(component: Path, kind: Any, stored: dict[str, Stored]) -> str:
    """Compare with the network that the config describes, under the names that it has since diffusers 0.16."""
    with torch.device("meta"):
        network: nn.Module = kind.from_config(kind.load_config(component))
    given, expected = _without_content(stored), network.state_dict()
    if weight_index(component, kind) is None:
        network._fix_state_dict_keys_on_load(given)  # type: ignore[operator]
    ignored = kind._keys_to_ignore_on_load_unexpected or []
    unexpected = [name for name in given.keys() - expected.keys() if not any(re.search(each, name) for each in ignored)]
    # Of an old and a new name of one tensor, one is left.
    unexpected += sorted(stored.keys() - given.keys())[: len(stored) - len(given)]
    reshaped = {
        name: (given[name].shape, expected[name].shape)
        for name in given.keys() & expected.keys()
        if given[name].shape != expected[name].shape
    }
    missing = expected.keys() - given.keys()
    return describe_differences(
        len(expected), missing, unexpected, reshaped, _retyped(stored, expected), _zero(stored, network)
    )


def _zero(stored: dict[str, Stored], network: nn.Module) -> list[str]:
    zero = {name: len(each.shape) for name, each in stored.items() if each.zero}
    return lost_weights(network, zero, (RMSNorm, T5LayerNorm))


def _without_content(stored: dict[str, Stored]) -> dict[str, Tensor]:
    return {name: torch.empty(each.shape, device="meta") for name, each in stored.items()}


def _retyped(stored: dict[str, Stored], expected: dict[str, Tensor]) -> dict[str, str]:
    """Return the types of stored tensors that hold no floating-point numbers, or need scales to do so."""
    whole = {name for name, tensor in expected.items() if not tensor.is_floating_point()}
    return {
        name: each.dtype
        for name, each in stored.items()
        if each.dtype not in FLOATS and name not in whole and not _NOT_READ.search(name)
    }


@contextmanager
def _silence() -> Iterator[None]:
    """Keep transformers from logging a table of what differs."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
