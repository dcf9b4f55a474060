"""Records: what determines a key, what differs between two, and the chain back."""

from pathlib import Path

import pytest

from rsidiff_kedro.provenance.records import Record, Records, chain, differences

RECORD = Record(
    step="finetune",
    version="2026-01-01",
    outputs={"adapter": "d1"},
    code="aaa",
    assets="bbb",
    libraries={"torch": "2.0"},
    parameters={"finetune": {"steps": 3, "rank": 2}},
    inputs={"images": "ccc"},
    device="cpu",
)


def changed(**parts: object) -> Record:
    return RECORD.model_copy(update=parts)


@pytest.mark.parametrize("parts", [{"version": "2026-02-02"}, {"device": "cuda"}])
def test_time_and_device_are_no_part_of_the_key(parts: dict[str, object]) -> None:
    assert changed(**parts).key == RECORD.key


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"code": "x"}, "its code changed"),
        ({"assets": "x"}, "the networks that come with the package changed"),
        ({"libraries": {"torch": "2.1"}}, "torch is 2.1, was 2.0"),
        ({"parameters": {"finetune": {"steps": 4, "rank": 2}}}, "finetune.steps is 4, was 3"),
        ({"inputs": {"images": "x"}}, "its input images is another"),
    ],
)
def test_what_determines_the_outputs_changes_the_key_and_is_said(parts: dict[str, object], said: str) -> None:
    assert changed(**parts).key != RECORD.key
    assert differences(RECORD, changed(**parts)) == [said]


def test_a_record_is_found_by_its_key(tmp_path: Path) -> None:
    records = Records(tmp_path / "lineage")
    assert records.find(RECORD.key) is None
    records.write(RECORD)
    assert records.find(RECORD.key) == RECORD
    assert records.maker("adapter", "2026-01-01") == RECORD
    assert records.maker("adapter", "2026-02-02") is None


def test_a_record_that_is_cut_is_as_good_as_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(RECORD)
    path = next(tmp_path.glob("*.json"))
    path.write_text(path.read_text()[:50])
    assert records.find(RECORD.key) is None
    assert list(records.all()) == []


def test_the_chain_leads_back_to_the_first_step(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first = changed(step="draw", outputs={"images": "d2"}, inputs={})
    second = changed(inputs={"images": first.key})
    third = changed(step="measure", outputs={"metrics": "d3"}, inputs={"adapter": second.key, "images": first.key})
    for record in (first, second, third):
        records.write(record)
    assert [record.step for record in chain(records, third)] == ["measure", "finetune", "draw"]
