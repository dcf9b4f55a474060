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
    origins={"images": "2025-12-31"},
    device="cpu",
)


def changed(**parts: object) -> Record:
    return RECORD.model_copy(update=parts)


@pytest.mark.parametrize(
    "parts",
    [{"version": "2026-02-02"}, {"device": "cuda"}, {"origins": {"images": "1"}}, {"plugins": {"my:Reward": "a"}}],
)
def test_time_origins_device_and_single_plug_ins_are_no_part_of_the_key(parts: dict[str, object]) -> None:
    assert changed(**parts).key == RECORD.key


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"code": "x"}, "its code changed"),
        ({"assets": "x"}, "the networks that come with the package changed"),
        ({"libraries": {"torch": "2.1"}}, "torch is 2.1, was 2.0"),
        ({"parameters": {"finetune": {"steps": 4, "rank": 2}}}, "finetune.steps is 4, was 3"),
        ({"parameters": {"finetune": {"steps": "9" * 201, "rank": 2}}}, f"finetune.steps is {'9' * 200}…, was 3"),
        (
            {"parameters": {"finetune": {"steps": 3, "rank": 2}, "words": ["a" * 300, "b"]}},
            f"words is ['{'a' * 198}…, was None",
        ),
        ({"inputs": {"images": "x"}}, "its input images is different"),
    ],
)
def test_what_determines_the_outputs_changes_the_key_and_is_said(parts: dict[str, object], said: str) -> None:
    assert changed(**parts).key != RECORD.key
    assert list(differences(RECORD, changed(**parts))) == [said]


def test_inputs_are_said_last() -> None:
    other = changed(inputs={"images": "x", "adapter": "y"}, code="z", libraries={"torch": "3"})
    assert list(differences(RECORD, other)) == [
        "its code changed",
        "torch is 3, was 2.0",
        "its input adapter is different",
        "its input images is different",
    ]


def test_what_was_saved_is_no_part_of_the_key_but_what_is_made_is() -> None:
    assert changed(outputs={"adapter": "d2"}).key == RECORD.key
    assert changed(outputs={"adapter": "d1", "log": "d2"}).key != RECORD.key


def test_a_record_is_found_by_its_key(tmp_path: Path) -> None:
    records = Records(tmp_path / "lineage")
    assert records.versions(RECORD.key) == []
    records.write(RECORD)
    assert records.versions(RECORD.key) == [RECORD]
    assert Records(tmp_path / "lineage").versions(RECORD.key) == [RECORD]
    assert records.versions(changed(code="x").key) == []
    assert records.versions("*") == []


def test_records_of_one_key_come_newest_first_and_all_records_oldest_first(tmp_path: Path) -> None:
    records = Records(tmp_path)
    old, new, other = changed(), changed(version="2026-02-02"), changed(version="2026-01-15", code="x")
    for record in (new, old, other):
        records.write(record)
    assert records.versions(RECORD.key) == [new, old]
    assert records.all() == [old, other, new]


def test_a_record_that_is_cut_is_as_good_as_none(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD)
    path = next(tmp_path.glob("*.json"))
    path.write_text(path.read_text()[:50])
    records = Records(tmp_path)
    assert records.versions(RECORD.key) == []
    assert records.all() == []


def test_a_record_in_the_place_of_another_is_as_good_as_none(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD)
    path = next(tmp_path.glob("*.json"))
    path.rename(path.with_name(f"{changed(code='x').key}_{RECORD.version}.json"))
    records = Records(tmp_path)
    assert records.versions(changed(code="x").key) == []
    assert records.all() == []


def test_the_chain_leads_back_to_the_first_step() -> None:
    first = changed(step="generate", version="1", outputs={"images": "d2"}, inputs={}, origins={})
    second = changed(version="2", origins={"images": "1"})
    third = changed(
        step="measure", version="3", outputs={"metrics": "d3"}, origins={"adapter": "2", "images": "1", "gone": "0"}
    )
    unrelated = changed(version="9", origins={"images": "1"})
    steps = [record.step for record in chain([first, second, third, unrelated], third)]
    assert steps == ["measure", "finetune", "generate"]


def test_the_chain_of_a_run_goes_by_its_own_steps_where_their_content_is_the_same() -> None:
    """A run that reuses a step made anew what that step was made from, with other parameters."""
    old = changed(step="select", version="1", outputs={"images": "ccc"}, origins={}, inputs={})
    new, other = (old.model_copy(update={"version": "2", "outputs": {"images": each}}) for each in ("ccc", "other"))
    reused = changed(version="1", origins={"images": "1"})
    assert chain([old, new, reused], reused, own={"images": "2"}) == [reused, new]
    assert chain([old, other, reused], reused, own={"images": "2"}) == [reused, old]
    assert chain([old, new, reused], reused) == [reused, old]
