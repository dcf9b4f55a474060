"""Configurations are read for numbers that no model has, and for entries that lead elsewhere."""

import json
from pathlib import Path

import pytest

from rsidiff_kedro.core.untrusted.model_configs import absurd_number, leads_elsewhere


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1e30}',
        '{"a": -1e13}',
        '{"a": [0.1, NaN]}',
        '{"b": {"a": 1e300}}',
        '{"b": [{"a": NaN}]}',
        '{"num_layers": 1001}',
        '{"a": 16777217}',
        '{"lambda_min_clipped": NaN}',
        '{"lambda_min_clipped": Infinity}',
    ],
)
def test_numbers_that_no_model_has(text: str) -> None:
    assert absurd_number(json.loads(text)) is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1e-30}',
        '{"a": 0}',
        '{"rope_theta": 1e9}',
        '{"a": true}',
        '{"lambda_min_clipped": -Infinity}',
        '{"a": "1e30"}',
    ],
)
def test_numbers_that_models_have(text: str) -> None:
    assert absurd_number(json.loads(text)) is None


@pytest.mark.parametrize(
    ("name", "config", "leads"),
    [
        ("adapter_config.json", {}, True),
        ("config.json", {"transformers_weights": "other.safetensors"}, True),
        ("config.json", {"transformers_weights": None}, False),
        ("config.json", {"quantization_config": {"quant_method": "fp8"}}, True),
        ("config.json", {"text_config": {"quantization_config": {}}}, True),
        ("config.json", {"quantization_config": None}, False),
        ("config.json", {"_name_or_path": "/somewhere/else"}, False),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.json"]}, False),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["../tokenizer.4.0.json"]}, True),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["/tokenizer.4.0.json"]}, True),
        ("tokenizer_config.json", {"fast_tokenizer_files": "tokenizer.4.0.json/.."}, True),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.json", ".tokenizer.4.0.json"]}, True),
        ("tokenizer_config.json", {"name_or_path": "openai/clip", "special_tokens_map_file": "./x.json"}, False),
    ],
)
def test_entries_that_have_other_files_loaded(name: str, config: dict, leads: bool) -> None:
    assert (leads_elsewhere(Path("component", name), config) is not None) == leads
