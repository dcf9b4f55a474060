"""An adapter belongs to the model that it was trained on."""

import pytest

from rsidiff_kedro.cli.export import _usage
from rsidiff_kedro.core.adapter import Adapter, AdapterError, check_base

TRAINED = Adapter({}, {"base_model": "owner/sd", "revision": "v1"})
LOCAL = Adapter({}, {"base_model": "./sd", "revision": None})


def test_an_adapter_of_another_base_is_refused() -> None:
    with pytest.raises(AdapterError, match=r"my adapter was trained on the base model './sd', but model.base is 'x'"):
        check_base(LOCAL, "x", None, "my adapter")


def test_an_adapter_of_another_revision_is_refused_where_both_are_given() -> None:
    said = r"my adapter was trained on revision 'v1' of 'owner/sd', but model.revision is 'v2'; set model.revision=v1"
    with pytest.raises(AdapterError, match=said):
        check_base(TRAINED, "owner/sd", "v2", "my adapter")
    for revision in ("v1", None):
        check_base(TRAINED, "owner/sd", revision, "my adapter")
    check_base(LOCAL, "./sd", "v2", "my adapter")
    check_base(Adapter({}, {}), "owner/sd", "v2", "my adapter")


@pytest.mark.parametrize(("revision", "arguments"), [("v1", "'owner/sd', revision='v1'"), (None, "'owner/sd'")])
def test_a_cards_code_loads_the_revision_that_the_adapter_was_trained_on(revision: str | None, arguments: str) -> None:
    assert f"DiffusionPipeline.from_pretrained({arguments})\n" in _usage("diffusers", "x", "owner/sd", revision)
