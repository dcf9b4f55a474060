"""Keys and passwords come from the environment or conf/local, and are shown and recorded nowhere."""

import logging
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from kedro.framework.cli.utils import find_run_command
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro_process import KedroProcess
from mlflow.exceptions import MlflowException

from rsidiff_kedro.cli.doctor import Finding, _tracking
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.text import holds_credential, without_credentials
from rsidiff_kedro.hooks.configuration import RsiConfigLoader
from rsidiff_kedro.hooks.mlflow_store import TrackingError, TrackingSettings
from rsidiff_kedro.hooks.tracking import TrackingHooks, _only_warn
from rsidiff_kedro.settings import CONFIG_LOADER_ARGS

SECRET = "Tr0ub4dor"
KEY = f"sk-{SECRET}-0123456789abcdef"
TOKEN = f"hf_{SECRET}0123456789abcdefghij"
SOURCE = "prompt_curation.source"
MODEL = f"evaluation.judge=null,{SOURCE}.kind=language_model,{SOURCE}.model=m,{SOURCE}.count=24,"
ENDPOINT = f"{SOURCE}.endpoint=http://127.0.0.1:9/v1,"


@pytest.mark.parametrize(
    "params",
    [
        f"{MODEL}{ENDPOINT}{SOURCE}.api_key_variable={KEY}",
        f"{MODEL}{ENDPOINT}{SOURCE}.api_key_variable={SECRET}",
        f"{MODEL}{ENDPOINT}{SOURCE}.api_key={KEY}",
        f"{MODEL}{SOURCE}.endpoint=http://user:{SECRET}@127.0.0.1:9/v1",
        f"{MODEL}{SOURCE}.endpoint=user:{SECRET}@127.0.0.1:9/v1",
        f"{MODEL}{SOURCE}.endpoint=http://127.0.0.1:9/v1?key={SECRET}",
        f"{MODEL}{SOURCE}.endpoint=http://127.0.0.1:9/v1#{SECRET}",
        f"model.base=https://user:{SECRET}@huggingface.co/owner/name",
        f"model.base={TOKEN}",
        f"model.revision={TOKEN}",
        f"preference_selection.rewards.hpsv2_1=1,rewards.hpsv2.checkpoint=https://user:{SECRET}@host/a.pt",
        f"{SOURCE}.kind=hub,{SOURCE}.dataset=https://user:{SECRET}@host/captions,{SOURCE}.revision=main",
        f"sft.images=ftp://user:{SECRET}@host/images",
        f"rounds={KEY}",
    ],
)
def test_a_key_among_the_parameters_is_refused_and_not_shown(project: Path, params: str, caplog) -> None:
    with caplog.at_level(logging.DEBUG):
        result = CliRunner().invoke(find_run_command("rsidiff_kedro"), ["--env=test", f"--params={params}"])
    assert result.exit_code == 2, result.output
    assert "Error: " in result.output
    assert SECRET not in result.output
    assert SECRET not in caplog.text
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"http://user:{SECRET}@host/v1", "http://***@host/v1"),
        (f"postgresql+psycopg2://user:p@{SECRET}@host:5432/db", "postgresql+psycopg2://***@host:5432/db"),
        (f"https://{TOKEN}@huggingface.co/a", "https://***@huggingface.co/a"),
        (f"http://user:{SECRET}/?#a@host/v1", "http://***@host/v1"),
        (f"postgresql://user:12/{SECRET}#?a@host/db 'x@y'", "postgresql://***@host/db 'x@y'"),
        (
            f"at https://host/v1?key={SECRET}&n=1&api_token={SECRET} and",
            "at https://host/v1?key=***&n=1&api_token=*** and",
        ),
        (f"mysql://host/db?user=a&Password={SECRET}", "mysql://host/db?user=a&Password=***"),
        *(
            (f"{start}{name}={SECRET}&n=1 (", f"{start}{name}=***&n=1 (")
            for start in ("http://h/?", "exceeded with url: /v1/models?a=b&")
            for name in ("api_key", "subscription-key", "X-Amz-Signature", "hf_token", "private_token", "client_secret")
        ),
        *(
            (f"{scheme}://user:12/{SECRET}#x@host/v", f"{scheme}://***@host/v")
            for scheme in ("amqp", "snowflake", "sqlserver", "mysql+pymysql")
        ),
        (f"with url: /a?sv=1&sig={SECRET} or /b?key={SECRET}", "with url: /a?sv=1&sig=*** or /b?key=***"),
        (f"https://host/cb#access_token={SECRET}&x=1", "https://host/cb#access_token=***&x=1"),
        (f"Incorrect API key provided: {KEY}.", "Incorrect API key provided: ***."),
        (f"Bearer {TOKEN}", "Bearer ***"),
        ("two at http://a/b@c and mail@example.org", None),
        ("http://host:80/a@b, http://[::1]:80/a@b, hf://datasets/a/b@main?n=1", None),
        ("hdfs://a:8020/user/me@b, s3://minio:9000/b/model@v2, nfs://a:/export/a@b", None),
        ("data?token=3 &key=hello http://h/x?max_token=3&sort_key=name&monkey=1&image_key=jpg&next_page_token=2", None),
        ("git+https://github.com:443/o/r@v1 oss://b:1/y@z mlflow-artifacts://host:5000/a@b", None),
        ("a sk-ate-of-many-words, half_opened", None),
    ],
)
def test_credentials_in_a_text_are_starred(text: str, shown: str | None) -> None:
    shown = shown or text
    assert without_credentials(text) == shown
    assert str(InputError(text)) == shown
    assert holds_credential(text) == (text != shown)


def context_of(root: Path, text: str) -> SimpleNamespace:
    for name in ("base", "scenes", "local"):
        (root / "conf" / name).mkdir(parents=True)
    (root / "conf/base/globals.yml").write_text("data: data\n")
    (root / "conf/base/mlflow.yml").write_text("tracking: {experiment: e}\n")
    (root / "conf/local/mlflow.yml").write_text(f"tracking: {text}\n")
    loader = RsiConfigLoader(str(root / "conf"), **CONFIG_LOADER_ARGS)
    return SimpleNamespace(config_loader=loader, project_path=root)


@pytest.mark.parametrize(
    ("address", "shown", "said"),
    [
        (f"http://user:{SECRET}@127.0.0.1:9", "http://***@127.0.0.1:9", "Connection refused"),
        (f"http://user:%2F{SECRET}@127.0.0.1:9?{SECRET}", "http://***@127.0.0.1:9?***", "Connection refused"),
        (f"http://user:a/{SECRET}@127.0.0.1:9", "http://***@127.0.0.1:9", "cannot be read; correct"),
        (f"http://user:a#{SECRET}?@127.0.0.1:9", "http://***", "cannot be read; correct"),
        (f"postgresql://user:12/{SECRET}@127.0.0.1/db", "postgresql://***@127.0.0.1/db", "psycopg"),
        (f"postgresql://user:a#{SECRET} b@127.0.0.1/db", "postgresql://***@127.0.0.1/db", "psycopg"),
        (f"postgresql+psycopg://user:a?{SECRET}@127.0.0.1/db", "postgresql+psycopg://***", "psycopg"),
        (f"postgresql://127.0.0.1/db?user=user&password={SECRET}", "postgresql://127.0.0.1/db?***", "psycopg"),
        (f"mysql://127.0.0.1/db?password={SECRET}@{SECRET}", "mysql://***", "MySQLdb"),
        (f"mysql://user:a@{SECRET}@127.0.0.1/db", "mysql://***@127.0.0.1/db", "cannot be read; correct"),
        (f"mysql://user:a@b:{SECRET}@127.0.0.1/db", "mysql://***@127.0.0.1/db", "cannot be read; correct"),
        (f"postgre:/user:{SECRET}@127.0.0.1/db", "***@127.0.0.1/db", "***@127.0.0.1/db"),
    ],
)
def test_a_store_that_cannot_be_used_is_named_without_its_password(
    tmp_path: Path, monkeypatch, capfd, caplog, address: str, shown: str, said: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for driver in ("psycopg", "psycopg2", "MySQLdb"):
        monkeypatch.setitem(sys.modules, driver, None)
    hooks, context = TrackingHooks(), context_of(tmp_path, f'{{tracking_uri: "{address}"}}')
    assert _tracking(tmp_path, context.config_loader) == Finding("MLflow", True, shown)
    hooks.after_context_created(context)
    pipeline = Pipeline([node(lambda: {}, None, "rsi.round_1.metrics")])
    with caplog.at_level(logging.DEBUG), pytest.raises(TrackingError) as caught:
        hooks.before_pipeline_run(run_params={"run_id": "now"}, pipeline=pipeline, catalog=DataCatalog())
    assert f"{shown} " in str(caught.value).replace("'", " ") and said in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert caught.value.__suppress_context__


def test_a_store_that_fails_later_is_named_without_its_password(caplog) -> None:
    with _only_warn("summary"):
        raise MlflowException(f"API request to http://user:{SECRET}@host/api failed")
    assert "http://***@host/api failed" in caplog.text
    assert SECRET not in caplog.text


def test_what_stands_in_mlflows_settings_is_not_shown_where_it_is_wrong() -> None:
    with pytest.raises(ValueError) as caught:
        TrackingSettings(password=SECRET, enabled=SECRET)  # type: ignore[call-arg, arg-type]
    assert SECRET not in str(caught.value)


def test_what_the_environment_holds_is_in_nothing_that_a_run_leaves(project: Path, empty_store: Path) -> None:
    """A whole small run, with the project's and Kedro's logs at their most talkative."""
    names = {"HF_TOKEN": TOKEN, "OPENAI_API_KEY": KEY, "MLFLOW_TRACKING_PASSWORD": SECRET}
    shutil.copy(empty_store, project)
    logging_file = project / "conf" / "logging.yml"
    logging_file.write_text(logging_file.read_text().replace("WARNING", "DEBUG").replace("level: INFO", "level: DEBUG"))
    arguments = ["run", "--env=test", "--pipelines=rsi", "--params=rounds=1"]
    with KedroProcess(project, arguments, os.environ | names) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert SECRET not in output
    left = [path for path in project.rglob("*") if path.is_file()]
    assert {"adapter.json", "mlflow.db", "report.html"} <= {path.name for path in left}
    assert any(path.parent.name == "lineage" for path in left)
    assert [path for path in left if SECRET.encode() in path.read_bytes()] == []
