"""Bad input ends a run at once: exit code 2, one line that says what to change, nothing drawn and nothing written."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.cli.utils import find_run_command

from rsidiff_kedro.diffusion.backbones.folders import SHIPPED


def run(*arguments: str):
    return CliRunner().invoke(find_run_command("rsidiff_kedro"), list(arguments))


def error_of(project: Path, params: str) -> str:
    result = run("--pipelines=rsi", "--env=test", f"--params={params}")
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert result.output.rstrip().endswith(lines[0])
    assert "Traceback" not in result.output
    assert not (project / "data").exists()
    return lines[0]


SOURCE = "prompt_curation.source"
MODEL = (
    f"evaluation.judge=null,{SOURCE}.kind=language_model,{SOURCE}.endpoint=http://127.0.0.1:9/v1,{SOURCE}.model=m,"
    f"{SOURCE}.api_key_variable=NO_SUCH_KEY,{SOURCE}.count=24"
)
HPS = "preference_selection.rewards.hpsv2.1=1,"
FILE = "evaluation.judge=null,prompt_curation.source.kind=file,prompt_curation.source.path="


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("rounds=0", "'rounds' is 0"),
        ("rounds=abc", "'rounds' is 'abc'"),
        ("rounds=101", "<= 100"),
        ("round=3", "did you mean 'rounds'?"),
        ("finetune.learning_rat=1", "did you mean 'finetune.learning_rate'?"),
        ("preference_selection.min_margin=.nan", "'preference_selection.min_margin' is nan: input should be a finite"),
        ("preference_selection.floors.proxy=.inf", "'preference_selection.floors.proxy' is inf"),
        ("sft.images=~no_such_user/x", "'sft.images': '~no_such_user/x' is in the home of no user of this machine"),
        ("evaluation.gate.tolerance=.inf", "'evaluation.gate.tolerance' is inf"),
        ("finetune.learning_rate=-1", "'finetune.learning_rate' is -1"),
        ("prompt_curation.source.kind=web", "'grammar', 'file'"),
        ("prompt_curation.pool_size=100000", "pool_size"),
        ("evaluation.judge=human", "'evaluation.judge' is 'human'"),
        ("evaluation.rewards=[beauty]", "unknown reward 'beauty'"),
        ("weighting.features=beauty", "unknown features 'beauty'"),
        ("model.base=/no/such/folder", "/no/such/folder"),
        ("model.base=~nobody_here/model", "there is no folder '~nobody_here/model'"),
        (f"model.base=/{'x' * 5000}", "there is no folder '/xxx"),
        (
            f"{HPS}rewards.hpsv2.checkpoint=/no/such.pt",
            "there is no '/no/such.pt'; give a file, a folder that holds HPS_",
        ),
        ("weighting.features=clip_score,rewards.clip_score.checkpoint=/no/such", "there is no '/no/such'"),
        ("preference_selection.rewards.hps.v9=1", "unknown reward 'hps.v9'; there are proxy, oracle, hpsv2.1"),
        ("rewards.device=gpu", "'rewards.device' is 'gpu'"),
        ("preference_selection.combine=vote", "'standardize' or 'rank'"),
        (f"{FILE}nowhere.txt", "nowhere.txt: no such file"),
        (f"{FILE}prompts.docx", "unknown kind of prompt file"),
        (f"{SOURCE}.kind=file", "'prompt_curation.source.path' is missing"),
        (f"{SOURCE}.kind=hub,{SOURCE}.dataset=owner/name", "give a commit or tag of the data set"),
        (f"{SOURCE}.kind=hub,{SOURCE}.dataset=./nothing", "the data set cannot be read"),
        (f"{MODEL}", "'NO_SUCH_KEY' with the key of http://127.0.0.1:9/v1 is not set"),
        (f"{MODEL},{SOURCE}.endpoint=localhost", "give an address such as http://localhost:8000/v1"),
        (f"{MODEL},{SOURCE}.total_tokens=9", "total_tokens (9) is less than one request may take"),
        (f"{MODEL},{SOURCE}.count=21", "source holds 21 different prompts, but pool_size (12), validation_size (4)"),
        (f"{SOURCE}.kind=mixture,{SOURCE}.sources=[]", "'prompt_curation.source.sources'"),
        (
            "prompt_curation.evaluation_source.kind=file,prompt_curation.evaluation_source.path=no.txt",
            "no.txt: no such",
        ),
        ("prompt_curation.filters.min_letter_share=2", "'prompt_curation.filters.min_letter_share' is 2"),
        ("prompt_curation.diversity=colors", "'prompt_curation.diversity' is 'colors'"),
    ],
)
def test_wrong_parameters_end_in_one_line(project: Path, params: str, said: str) -> None:
    assert said in error_of(project, params)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"a caf\xe9 by night\n", "not UTF-8"),
        (b"a red circle\n" * 50, "holds 1 different prompts"),
    ],
)
def test_a_prompt_file_of_no_use_ends_in_one_line(project: Path, content: bytes, said: str) -> None:
    (project / "prompts.txt").write_bytes(content)
    assert said in error_of(project, f"{FILE}prompts.txt")


def test_a_table_without_the_column_of_prompts_ends_in_one_line(project: Path) -> None:
    (project / "prompts.csv").write_text("caption,style\na red circle,plain\n")
    assert "no column 'text'; there are caption, style" in error_of(project, f"{FILE}prompts.csv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '{"prompts": []}', "a JSON object, but prompts are a list"),
        ("a.json", "[1, 2]", "the list holds number items"),
        ("a.csv", "text,text\na,b\n", "2 columns are named 'text'"),
        ("a.csv", "text\na castle, at night\n", "no sound csv"),
        ("a.jsonl", '{"text": ["a fox"]}\n', "but a prompt is a text"),
    ],
)
def test_a_table_of_another_shape_ends_in_one_line(project: Path, name: str, content: str, said: str) -> None:
    (project / name).write_text(content)
    assert said in error_of(project, f"{FILE}{name}")


def test_too_few_prompts_of_an_evaluation_source_are_counted(project: Path) -> None:
    (project / "benchmark").mkdir()
    (project / "benchmark" / "photo.json").write_text(json.dumps([f"a fox, number {n}" for n in range(9)]))
    params = "evaluation.judge=null,prompt_curation.evaluation_source.kind=file,"
    error = error_of(project, f"{params}prompt_curation.evaluation_source.path=benchmark")
    assert "evaluation_source holds 9 different prompts, but validation_size (4) and test_size (6) need 10" in error


def test_templates_with_too_few_combinations_end_in_one_line(project: Path) -> None:
    source = {"kind": "template", "templates": ["a {color} fox"], "words": {"color": ["red", "gray"]}, "count": 3}
    path = project / "conf" / "test" / "parameters.yml"
    parameters = yaml.safe_load(path.read_text())
    parameters["prompt_curation"]["source"] = source
    path.write_text(yaml.safe_dump(parameters))
    assert "count is 3, and the templates have 2 combinations" in error_of(project, "evaluation.judge=null")


def test_prompts_that_are_all_too_long_end_in_one_line_before_an_image_is_drawn(project: Path) -> None:
    (project / "prompts.txt").write_text("\n".join(f"{n} " + "x " * 5_000 for n in range(50)))
    result = run("--pipelines=rsi", "--env=test", f"--params={FILE}prompts.txt")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith(
        "Error: no prompt is left after the filters; the table rejected_by_filter"
    )
    assert "Traceback" not in result.output
    assert not list((project / "data").rglob("*.png"))
    rejected = pd.concat(map(pd.read_parquet, (project / "data").rglob("rejected_by_filter.parquet/*/*.parquet")))
    assert (rejected["rule"] == "too_long").all()


def test_prompts_that_the_judge_cannot_read_end_in_one_line(project: Path) -> None:
    (project / "prompts.txt").write_text("\n".join(f"a castle at dawn, number {n}" for n in range(50)))
    params = f"{FILE}prompts.txt".replace("judge=null", "judge=scenes")
    assert "set evaluation.judge=null" in error_of(project, params)


def test_prompts_that_the_oracle_cannot_read_end_in_one_line(project: Path) -> None:
    (project / "prompts.txt").write_text("\n".join(f"a castle at dawn, number {n}" for n in range(50)))
    assert "the reward 'oracle' reads" in error_of(project, f"{FILE}prompts.txt,evaluation.rewards=[oracle]")


def test_a_model_folder_without_a_component_ends_in_one_line(project: Path) -> None:
    shutil.copytree(SHIPPED, project / "model")
    shutil.rmtree(project / "model" / "unet")
    assert "lacks unet" in error_of(project, f"model.base={project / 'model'}")


def test_a_checkpoint_of_a_reward_that_is_none_ends_in_one_line(project: Path) -> None:
    (project / "HPS_v2.1_compressed.pt").write_text("<html>404</html>")
    said = error_of(project, f"{HPS}rewards.hpsv2.checkpoint=HPS_v2.1_compressed.pt")
    assert f"'{project / 'HPS_v2.1_compressed.pt'}' is no checkpoint" in said


def test_a_model_index_without_a_component_ends_in_one_line(project: Path) -> None:
    shutil.copytree(SHIPPED, project / "model")
    index = project / "model" / "model_index.json"
    components = json.loads(index.read_text())
    del components["vae"]
    index.write_text(json.dumps(components))
    assert "names no vae" in error_of(project, f"model.base={project / 'model'}")
