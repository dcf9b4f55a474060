"""A reward of one's own is a function or a class in a file on Python's path, and is held to one number per image."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import IMAGE_COLUMNS, ImageFiles, ImageSet
from rsidiff_kedro.core.registry import PluginError
from rsidiff_kedro.rewards import scoring
from rsidiff_kedro.rewards.embedding import embed_sets
from rsidiff_kedro.rewards.protocol import PromptReward, as_reward, as_vectors, record_changes
from rsidiff_kedro.rewards.registry import check_features, check_reward, check_settings, load_features, load_reward
from rsidiff_kedro.rewards.scoring import RewardOpening, ScoreError, with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings

OWN = """
    from pathlib import Path

    import numpy as np
    import torch


    def brightness(images, prompts, scale=1.0):
        return [scale * float(np.asarray(image).mean()) for image in images]


    class Brightness:
        def __init__(self, scale=1.0):
            self.scale = scale
            self.record = {"scale": scale}

        def score(self, images, prompts):
            return np.array(brightness(images, prompts, self.scale))

        def embed(self, images, prompts):
            return np.array([np.asarray(image).mean(axis=(0, 1)) for image in images])


    class Head:
        def __init__(self, folder):
            self.record = {"folder": folder, "layers": [folder + "/deep/weights", "deep/weights"]}
            self.record |= {"beside": folder + ".json", "above": str(Path(folder).parent)}

        def score(self, images, prompts):
            return [0.0] * len(images)


    class Late:
        state = None

        @property
        def record(self):
            return {"state": float(self.state)}

        def score(self, images, prompts):
            self.state = 1 + (self.state or 0)
            return brightness(images, [])


    class Lazy:
        def call(self, images, prompts):
            self.record = {"read": "at the first call"}
            return np.array([brightness(images, [])]).T

        embed = call

        def score(self, images, prompts):
            return self.call(images, prompts)[:, 0]


    class Recorded:
        def __init__(self, kind):
            self.record = {"is": {"path": Path("a"), "numpy": np.float32(2), "tuple": (1, {2: "b"})}[kind]}

        def score(self, images, prompts):
            return brightness(images, [])


    def with_gradients(images, prompts, as_list=False):
        scores = torch.tensor(brightness(images, []), requires_grad=True) * 1.0
        return [*scores] if as_list else scores


    class LazyPlace:
        def score_prompt(self, images, prompt):
            self.record = {"read": "at the first call"}
            return brightness(images, [])


    class Place:
        seen = []

        def score_prompt(self, images, prompt):
            self.seen.append((prompt, len(images)))
            return np.argsort(np.argsort(brightness(images, [])))


    def shrunk(images, prompts):
        for image in images:
            image.thumbnail((4, 4))
        prompts.clear()
        return [images.pop().width for _ in range(len(images))]


    class Shrunk:
        record = {"to": 4}

        def score_prompt(self, images, prompt):
            return shrunk(images, [prompt] * len(images))


    class ShrunkFeatures:
        def score(self, images, prompts):
            return shrunk(images, prompts)

        def embed(self, images, prompts):
            return np.array([shrunk(images, prompts)]).T


    def processed(images, prompts):
        from transformers import CLIPImageProcessor

        processor = CLIPImageProcessor(size={"shortest_edge": 4}, crop_size=4, do_normalize=False)
        pixels = processor(images=images, return_tensors="np")["pixel_values"]
        return (255 * pixels.mean(axis=(1, 2, 3))).round()


    class Wrong:
        def __init__(self, values=()):
            self.values = values

        def score_prompt(self, images, prompt):
            return self.values

        def score_all(self, images, prompts):
            return self.values


    def wrong(images, prompts, values=()):
        return values


    def images_alone(images):
        return [0.0] * len(images)


    class Neither:
        pass


    NUMBER = 3
"""
LEVELS = [30, 10, 20, 200, 100, 50, 150, 250, 7]
PROMPTS = ["a red dog"] * 3 + ["a cat"] * 5 + ["a bird"]


@pytest.fixture(autouse=True)
def own(tmp_path_factory, monkeypatch):
    """Put `my_own_rewards.py` on Python's path; return its module."""
    folder = tmp_path_factory.mktemp("src")
    (folder / "my_own_rewards.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(__import__("sys").modules, "my_own_rewards", raising=False)
    return __import__("my_own_rewards")


@pytest.fixture
def images():
    return [Image.new("RGB", (8, 8), (level,) * 3) for level in LEVELS]


@pytest.fixture
def table():
    """Return a table of three prompts with three, five and one images."""
    ids = [f"i{number}" for number in range(len(PROMPTS))]
    return pd.DataFrame({"image_id": ids, "prompt_id": [text[-3:] for text in PROMPTS], "text": PROMPTS})


def own_rewards(**custom):
    return RewardsSettings(micro_batch_size=2, custom={f"my_own_rewards:{name}": each for name, each in custom.items()})


def test_a_function_is_a_reward(images):
    assert load_reward("my_own_rewards:brightness").score(images, PROMPTS) == LEVELS
    assert load_reward("my_own_rewards:brightness", scale=2.0).score(images, PROMPTS) == [2.0 * each for each in LEVELS]


def test_a_class_with_score_is_opened_with_its_options(images):
    reward = load_reward("my_own_rewards:Brightness", scale=0.5)
    assert reward.score(images, PROMPTS).tolist() == [0.5 * each for each in LEVELS]
    assert reward.record == {"scale": 0.5}


def test_a_class_with_score_prompt_sees_the_samples_of_each_prompt_together(own, images):
    reward = load_reward("my_own_rewards:Place")
    assert isinstance(reward, PromptReward)
    assert reward.score(images, PROMPTS).tolist() == [2, 0, 1, 3, 1, 0, 2, 4, 0]
    assert own.Place.seen == [("a red dog", 3), ("a cat", 5), ("a bird", 1)]


@pytest.mark.parametrize("plugin", ["Neither", "NUMBER"])
def test_what_is_neither_is_refused_before_a_run(plugin):
    for attempt in (check_reward, load_reward):
        with pytest.raises(InputError, match=f"the reward 'my_own_rewards:{plugin}' is no reward: give a function"):
            attempt(f"my_own_rewards:{plugin}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_own_rewards:birghtness", "module my_own_rewards defines no 'birghtness'; correct the name"),
        ("my_own_reward:brightness", "cannot be imported .*put its file into the project's src/ folder"),
        ("brightness", "unknown reward 'brightness'; there are proxy, oracle, .*; your own is package.module:Name"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_before_a_run(name, said):
    for attempt in (check_reward, load_reward):
        with pytest.raises(PluginError, match=said):
            attempt(name)


def test_its_column_has_its_name_and_its_options_are_those_of_custom(table, images):
    names = ["my_own_rewards:brightness", "my_own_rewards:Brightness"]
    scored = with_scores(table, images, names, own_rewards(Brightness={"scale": 3.0}))
    assert list(scored.columns) == [*table.columns, *names]
    assert (scored.dtypes[names] == np.float32).all()
    assert scored[names[0]].tolist() == LEVELS
    assert scored[names[1]].tolist() == [3.0 * level for level in LEVELS]
    assert scored.attrs["rewards"] == {names[0]: {}, names[1]: {"scale": 3.0}}


def test_paths_of_options_are_recorded_by_their_last_name_and_content(table, images, tmp_path, monkeypatch):
    """A project may move, and two folders of one name may hold two heads."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    name, records = "my_own_rewards:Head", []
    for place, content in {"here/v1": "one", "here/v2": "two", "moved/v1": "one"}.items():
        weights = tmp_path / place / "head" / "deep" / "weights"
        weights.parent.mkdir(parents=True)
        weights.write_text(content)
        (tmp_path / place / "head.json").write_text(content)
        options = own_rewards(Head={"folder": str(tmp_path / place / "head")})
        kept = tmp_path / place / "kept"
        kept.mkdir()
        (record,) = with_scores(table, images, [name], options, kept).attrs["rewards"].values()
        assert with_scores(table, images, [name], options, kept).attrs["rewards"] == {name: record}
        records.append(record)
    assert [record.pop("above") for record in records] == ["v1", "v2", str(tmp_path / "moved" / "v1")]
    assert records[0] == records[2]
    assert re.fullmatch(r"head.json \([0-9a-f]{12}\)", records[0]["beside"])
    assert records[0]["layers"] == [f"{records[0]['folder']}/deep/weights", "deep/weights"]
    assert re.fullmatch(r"head \([0-9a-f]{12}\)", records[0]["folder"])
    assert record_changes(*records[:2]) == ["beside", "folder", "layers"]


@pytest.mark.parametrize(("kind", "says"), [("path", "PosixPath is not JSON"), ("numpy", "float32 is not JSON")])
def test_a_record_that_json_does_not_hold_is_refused_before_a_run(kind, says, table, images):
    name, said = "my_own_rewards:Recorded", rf"the record of 'my_own_rewards:Recorded' .*{says}.*str\(path\)"
    with pytest.raises(InputError, match=said):
        check_reward(name, kind=kind)
    with pytest.raises(InputError, match=said):
        with_scores(table, images, [name], own_rewards(Recorded={"kind": kind}))
    check_reward(name, kind="tuple")
    scored = with_scores(table, images, [name], own_rewards(Recorded={"kind": "tuple"}))
    assert scored.attrs["rewards"] == {name: {"is": [1, {"2": "b"}]}}


@pytest.mark.parametrize("as_list", [False, True])
def test_scores_of_a_network_with_gradients_are_numbers(as_list, table, images):
    name = "my_own_rewards:with_gradients"
    assert with_scores(table, images, [name], own_rewards(with_gradients={"as_list": as_list}))[name].tolist() == LEVELS
    vectors = [torch.ones(2, requires_grad=True), torch.zeros(2)]
    assert as_vectors(vectors if as_list else torch.stack(vectors), 2, "mine").tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_record_that_the_first_call_fills_is_told(table, images, tmp_path, is_kept):
    names = ["my_own_rewards:Lazy", "my_own_rewards:LazyPlace"]
    for _ in range(2):  # the second call finds what the first one kept
        scored = with_scores(table, images, names, own_rewards(), tmp_path if is_kept else None)
        assert scored.attrs["rewards"] == {name: {"read": "at the first call"} for name in names}
    late = "my_own_rewards:Late"
    check_reward(late)  # which has no record yet
    assert with_scores(table, images, [late], own_rewards()).attrs["rewards"] == {late: {"state": 1}}
    features = load_features(names[0])
    features.embed(images, PROMPTS)  # as `votes` does, before it asks
    assert features.record == {"read": "at the first call"}


@pytest.fixture(params=["memory", "disk"])
def given(request, images, tmp_path):
    """Return the images as a trial has them, and as a run does."""
    if request.param == "memory":
        return images
    paths = [tmp_path / f"{row}.png" for row in range(len(images))]
    for image, path in zip(images, paths):
        image.save(path)
    return ImageFiles(paths)


@pytest.mark.parametrize(("name", "expected"), [("processed", LEVELS), ("shrunk", [4] * 9), ("Shrunk", [4] * 9)])
def test_a_reward_may_change_its_images_and_gets_a_list_in_a_trial_and_in_a_run(table, given, name, expected):
    names = [f"my_own_rewards:{name}", "my_own_rewards:brightness"]
    scored = with_scores(table, given, names, own_rewards())
    assert scored[names[0]].tolist() == expected
    assert scored[names[1]].tolist() == LEVELS
    assert RewardOpening(names[0], own_rewards())()(given, PROMPTS).tolist() == expected
    assert [image.size for image in given] == [(8, 8)] * 9


def test_features_may_change_their_images_too(table, given):
    metadata = table.assign(**dict.fromkeys({*IMAGE_COLUMNS} - {*table.columns}))
    (vectors,) = embed_sets("my_own_rewards:ShrunkFeatures", own_rewards(), {"round": ImageSet(metadata, given)})
    assert vectors.tolist() == [[4.0]] * 9
    features = load_features("my_own_rewards:ShrunkFeatures")
    for values in (features.embed(given, PROMPTS)[:, 0], features.score(given, PROMPTS)):
        assert list(values) == [4] * 9
    assert [image.size for image in given] == [(8, 8)] * 9


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_all_samples_of_a_prompt_are_seen_at_once_however_scores_are_kept(
    own, table, images, monkeypatch, tmp_path, size
):
    monkeypatch.setattr(scoring, "SHARD_SIZE", size)
    whole = with_scores(table, images, ["my_own_rewards:Place"], own_rewards())
    assert whole["my_own_rewards:Place"].tolist() == [2, 0, 1, 3, 1, 0, 2, 4, 0]
    assert own.Place.seen == [("a red dog", 3), ("a cat", 5), ("a bird", 1)]
    for _ in range(2):
        pd.testing.assert_frame_equal(
            with_scores(table, images, ["my_own_rewards:Place"], own_rewards(), tmp_path), whole
        )
    assert len(own.Place.seen) == 6  # the last call found all of it


@pytest.mark.parametrize(
    "values", [(), (1.0,), 1.0, None, (1.0,) * 8, (1.0,) * 10, ((1.0,),) * 9, (1.0, "high"), ((1.0,), (1.0, 2.0))]
)
@pytest.mark.parametrize("name", ["wrong", "Wrong"])
def test_another_number_of_scores_ends_the_run_with_the_rewards_name(table, images, name, values):
    with pytest.raises(ScoreError, match=f"the reward 'my_own_rewards:{name}' .*one number per image"):
        with_scores(table, images, [f"my_own_rewards:{name}"], own_rewards(**{name: {"values": values}}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_ends_the_run_with_its_image(table, images, value):
    values = (0.0,) * 4 + (value,) + (0.0,) * 4
    with pytest.raises(ScoreError, match="'my_own_rewards:wrong' is NaN or infinite for 1 of 9 images, first i4"):
        with_scores(table, images, ["my_own_rewards:wrong"], own_rewards(wrong={"values": values}))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full((3, 2), np.nan), "are NaN or infinite for 3 of 3 images"),
        ([[0, 1], [np.inf, 1], [0, 1]], "are NaN or infinite for 1 of 3 images"),
        (np.zeros((2, 2)), r"shape \(2, 2\) for 3 images"),
        (np.zeros(3), r"shape \(3,\) for 3 images"),
        (np.zeros((3, 0)), r"shape \(3, 0\) for 3 images"),
        ([[0.0], [0.0, 1.0], [0.0]], "did not return numbers"),
        (None, "for 3 images"),
    ],
)
def test_features_that_are_not_a_finite_vector_per_image_end_the_run_with_their_name(values, says):
    with pytest.raises(ScoreError, match=f"the features 'mine' .*{says}"):
        as_vectors(values, 3, "mine")


def test_features_of_no_images_are_none():
    assert as_vectors(np.empty((0, 4)), 0, "mine").shape == (0, 4)


def test_a_wrong_option_is_found_before_a_run():
    said = r"cannot be called with the options \{'saturation': 1\} .*correct rewards.custom"
    for check, plugin in ((check_reward, "brightness"), (check_reward, "Brightness"), (check_features, "Brightness")):
        with pytest.raises(InputError, match=f"'my_own_rewards:{plugin}' {said}"):
            check(f"my_own_rewards:{plugin}", saturation=1)


@pytest.mark.parametrize(
    ("custom", "said"),
    [
        (
            {"my_own_reward:Brightness": {"scale": 2}},
            "of 'my_own_reward:Brightness'.* did you mean 'my_own_rew",
        ),
        ({"my_own_rewards:brihgtness": {"scale": 2}}, "did you mean 'my_own_rewards:brightness'"),
        ({"hpsv2": {"antialias": True}}, "did you mean 'hpsv2_1'|did you mean 'hpsv2_0'"),
        (
            {"my_package": {"rewards": {"own:Bright": {"scale": -1, "dim": True}}}},
            r"its dots part the name .*custom=\{'my_package.rewards.own:Bright': \{scale: -1, dim: true\}\}",
        ),
    ],
)
def test_options_of_a_misspelt_name_are_refused(custom, said, own):
    package = Path(own.__file__).with_name("my_broken_package")
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('no GPU')")
    opened = ["my_own_rewards:brightness", "hpsv2_1"]
    with pytest.raises(InputError, match=said):
        check_settings(opened, RewardsSettings(custom=custom))
    others = {"my_own_rewards:Brightness": {"scale": 2}, "textwrap:dedent": {}, "proxy": {}, "elsewhere": {}}
    others |= {"of_another.machine:Sharp": {"scale": 1}, "my_broken_package.own:Sharp": {}}
    check_settings(opened, RewardsSettings(custom=others))


def test_a_function_that_takes_no_prompts_is_refused_before_a_run():
    with pytest.raises(InputError, match="'my_own_rewards:images_alone' cannot be called"):
        check_reward("my_own_rewards:images_alone")


def test_an_opened_reward_is_one_too(own, images):
    assert as_reward(own.Brightness(2.0), {}, "mine").score(images[:1], PROMPTS[:1]).tolist() == [60.0]


def test_features_of_ones_own_need_embed(images):
    assert load_features("my_own_rewards:Brightness").embed(images[:1], PROMPTS[:1]).tolist() == [[30.0] * 3]
    for attempt in (check_features, load_features):
        with pytest.raises(InputError, match="the features 'my_own_rewards:Place' are no features"):
            attempt("my_own_rewards:Place")


OLD = "head"
NAMED = f"{OLD} (0123456789ab+0123456789ab)"
WEIGHTS = {"checkpoint": "a/b", "revision": None, "file": "/x/b", "bytes": 3, "sha256": "s", "tokenizer": "a/b"}


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        ({}, {}, []),
        (None, {}, []),
        (WEIGHTS, WEIGHTS | {"checkpoint": "/moved", "file": "/moved/b", "tokenizer": "/moved"}, []),
        (WEIGHTS | {"device": "cpu", "micro_batch_size": 1}, WEIGHTS | {"device": "cuda", "micro_batch_size": 8}, []),
        (WEIGHTS, WEIGHTS | {"sha256": "t"}, ["sha256"]),
        (WEIGHTS, WEIGHTS | {"tokenizer": "other"}, ["tokenizer"]),
        (WEIGHTS | {"tokenizer": "/here/clip"}, WEIGHTS | {"tokenizer": "/moved/clip"}, []),
        (WEIGHTS | {"tokenizer": "/here/clip"}, WEIGHTS | {"tokenizer": "/here/other"}, ["tokenizer"]),
        ({"clip": WEIGHTS, "dtype": "float32"}, {"clip": WEIGHTS | {"file": "y"}, "dtype": "float16"}, ["dtype"]),
        ({"clip": WEIGHTS}, {"clip": WEIGHTS | {"sha256": "t"}}, ["clip"]),
        ({"fitted_on": {"sha256": "s"}}, {"fitted_on": {"sha256": "t"}}, ["fitted_on"]),
        ({"checkpoint": "mine-1"}, {"checkpoint": "mine-2"}, ["checkpoint"]),
        ({"weights": "/models/v1/head"}, {"weights": "/models/v2/head"}, ["weights"]),
        ({"folder": "/here/cache/replies"}, {"folder": "cache/replies"}, []),
        ({"prompt": "/imagine a cat/photo"}, {"prompt": "/draw a dog/photo"}, ["prompt"]),
        ({"parts": [{"of": [f"/here/a/{OLD}/x", 1]}]}, {"parts": [{"of": (f"{NAMED}/x", 1)}]}, []),
        ({"parts": [{"of": ["/here/a", 1]}]}, {"parts": [{"of": [NAMED, 1]}]}, ["parts"]),
        ({"weights": NAMED}, {"weights": f"{OLD} (0123456789ac)"}, ["weights"]),
        ({"prefix": "/"}, {"prefix": "a / b"}, ["prefix"]),
        ({}, {"scale": 3.0}, ["scale"]),
        (["a", "list"], ["another"], ["record"]),
    ],
)
def test_records_of_one_function_may_differ_in_where_it_was_computed_alone(old, new, differ):
    assert record_changes(old, new) == record_changes(new, old) == differ
