"""`kedro rsi export` writes an adapter that others can load, with a model card in the hub's format."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from click.testing import Result
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from rsidiff_kedro.cli.export import PARTIAL, _new_folder, _usage
from rsidiff_kedro.core.adapter import WEIGHTS_NAME, Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.datasets.runs import Run
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import ModelSettings

Rsi = Callable[..., Result]


class Hub(ThreadingHTTPServer):
    """A stand-in of the hub: it keeps what is committed."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.refuses = refuses
        self.created: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        address = f"http://{self.headers['Host']}/owner/name"
        if self.server.refuses:
            self.answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.answer({"url": address, "id": "owner/name"})
        elif self.path.endswith("/preupload/main"):
            names = [each["path"] for each in json.loads(body)["files"]]
            self.answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"{address}/commit/abc", "commitOid": "abc", "success": True})
        else:
            self.answer({}, 200 if self.path == "/api/validate-yaml" else 404)

    def do_GET(self) -> None:
        self.answer({"id": "owner/name", "sha": "abc", "siblings": []})

    def answer(self, content: dict[str, object], code: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_diffusers_reads_the_folder_and_the_hub_its_card(rsi: Rsi, tmp_path: Path) -> None:
    result = rsi("export", tmp_path / "new" / "adapter")
    assert result.exit_code == 0, result.output
    assert "(best: the last that no gate rejected)" in result.output
    folder = tmp_path / "new" / "adapter"
    load_model(ModelSettings(base="scenes", device="cpu")).pipeline.load_lora_weights(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]
    card = ModelCard.load(folder / "README.md").data
    assert (card.base_model, card.library_name, card.pipeline_tag, card.license) == (
        "scenes", "diffusers", "text-to-image", "mit",
    )  # fmt: skip
    assert {"lora", "text-to-image"} <= {*card.tags}
    results = {each.metric_type: each for each in card.eval_results}
    assert {"prompt_accuracy", "images_with_hallucinations", "proxy"} <= results.keys()
    assert {"base_model", "difference", "difference_low", "difference_high"} <= results["proxy"].metric_args.keys()
    widget = card.to_dict()["widget"]
    assert [each["example_title"] for each in widget[:2]] == ["after", "before (base model)"]
    assert all(Image.open(folder / each["output"]["url"]).width >= 128 for each in widget)


def test_a_card_tells_sources_rewards_and_lineage(rsi: Rsi, finished_project: Path, tmp_path: Path) -> None:
    assert rsi("export", tmp_path / "adapter", "--round=2").exit_code == 0
    text = (tmp_path / "adapter" / "README.md").read_text()
    for said in (
        "source grammar",
        "proxy with weight 1",
        "prompt accuracy",
        "(chosen by hand",
        "under its licence (MIT)",
    ):
        assert said in text
    assert "| prompt_curation.collect_prompts | " in text and "Libraries: python 3." in text
    assert str(finished_project) not in text and "{{" not in text


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_no_exported_file_tells_where_files_lie(
    rsi: Rsi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """As if every text that a run recorded were a path of this machine."""
    place, parameters, adapter, load = "/home/secret place/x", Run.parameters, Run.adapter, Run.load

    def placed(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: placed(value) for key, value in tree.items()}
        return place if isinstance(tree, str) else tree

    def loaded(run: Run, name: str) -> Any:
        found = load(run, name)
        if name.endswith("scores"):
            found.attrs["rewards"] = {each: {"file": place} for each in found.attrs["rewards"]}
        return found

    def told(run: Run, number: int) -> Adapter:
        found = adapter(run, number)
        return Adapter(found.weights, placed(dict(found.info)))

    more = [f"prompt_curation.source.{name}" for name in ("dataset", "model", "path")]
    monkeypatch.setattr(Run, "parameters", lambda run: dict.fromkeys([*parameters(run), *more], place))
    monkeypatch.setattr(Run, "adapter", told)
    monkeypatch.setattr(Run, "load", loaded)
    monkeypatch.setattr("rsidiff_kedro.diffusion.bases.check_base", lambda *_: None)
    result = rsi("export", tmp_path / "adapter", "--round=1", f"--format={form}")
    assert result.exit_code == 0, result.output
    files = [path for path in (tmp_path / "adapter").rglob("*") if path.is_file()]
    assert len(files) > 5 and not [path for path in files if b"secret" in path.read_bytes()]
    assert "- Prompts: source x, x, x, x." in (tmp_path / "adapter" / "README.md").read_text()


def test_a_base_of_another_package_is_not_given_this_projects_licence(
    rsi: Rsi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "package", lambda registry, name: "painters")
    assert rsi("export", tmp_path / "adapter").exit_code == 0
    card = ModelCard.load(tmp_path / "adapter" / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "as-the-base-model")
    assert "The licence of the base model applies" in card.text and "comes with rsidiff_kedro" not in card.text


def test_kohyas_names_are_those_of_its_scripts(rsi: Rsi, tmp_path: Path) -> None:
    assert rsi("export", tmp_path / "mine", "--format=kohya", "--round=1").exit_code == 0
    names = load_file(tmp_path / "mine" / "mine.safetensors").keys()
    assert all(name.startswith("lora_unet_") for name in names) and len(names) % 3 == 0
    assert not (tmp_path / "mine" / WEIGHTS_NAME).exists()


def test_push_makes_a_private_repository_with_every_file(rsi: Rsi, hub: Hub, tmp_path: Path) -> None:
    result = rsi("export", tmp_path / "adapter", "--push=owner/name")
    assert result.exit_code == 0, result.output
    assert "Uploaded: http://127.0.0.1" in result.output
    (created,) = hub.created
    assert created["name"] == "name" and (created.get("private") or created.get("visibility") == "private")
    assert hub.tokens == {"Bearer hf_test"}
    written = {path.relative_to(tmp_path / "adapter").as_posix(): path for path in (tmp_path / "adapter").rglob("*.*")}
    assert hub.files == {name: path.read_bytes() for name, path in written.items()}
    assert b"name: name" in hub.files["README.md"]  # the repository's


def test_a_hub_that_refuses_is_said_and_the_folder_stays(rsi: Rsi, hub: Hub, tmp_path: Path) -> None:
    hub.refuses = True
    result = rsi("export", tmp_path / "adapter", "--push=owner/name")
    assert result.exit_code == 1
    assert "is complete, but was not uploaded to owner/name" in result.output and "`hf auth login`" in result.output
    assert (tmp_path / "adapter" / "README.md").is_file()


@pytest.mark.parametrize("name", ["name", "owner/name/more", "owner/na me", "own--er/x..y", ""])
def test_a_repository_without_a_proper_name_is_refused_first(rsi: Rsi, tmp_path: Path, name: str) -> None:
    result = rsi("export", tmp_path / "adapter", f"--push={name}")
    assert result.exit_code == 1 and "give owner/name" in result.output
    assert not (tmp_path / "adapter").exists()


def test_nothing_is_written_over(rsi: Rsi, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    for path in (tmp_path / "kept", tmp_path / "kept" / "mine.txt"):
        result = rsi("export", path)
        assert result.exit_code == 1 and "is no empty folder; name a new one" in result.output
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    result = rsi("export", tmp_path / "loop")
    assert result.exit_code == 1 and "is no place for a folder" in result.output and "Traceback" not in result.output


def test_an_empty_folder_is_filled_and_not_replaced(rsi: Rsi, tmp_path: Path) -> None:
    """As a mounted volume, or where its parent cannot be written."""
    folder = tmp_path / "parent" / "volume"
    (folder / PARTIAL).mkdir(parents=True)
    (folder / PARTIAL / "README.md").touch()  # of a command that was killed
    before = folder.stat().st_ino, folder.parent.stat().st_mtime_ns
    assert rsi("export", folder).exit_code == 0
    assert (folder.stat().st_ino, folder.parent.stat().st_mtime_ns) == before
    assert {path.name for path in folder.iterdir()} == {WEIGHTS_NAME, "README.md", "images"}
    assert ModelCard.load(folder / "README.md").data.base_model == "scenes"


@pytest.mark.parametrize("is_there", [False, True])
def test_what_somebody_else_puts_there_meanwhile_stays(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "adapter"
    if is_there:
        folder.mkdir()
    with pytest.raises(InputError, match="is no empty folder"), _new_folder(folder) as made:
        (made / "README.md").write_text("new", encoding="utf-8")
        folder.mkdir(exist_ok=True)
        (folder / "README.md").write_text("mine", encoding="utf-8")
    assert [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_an_adapter_of_another_base_is_refused(rsi: Rsi, tmp_path: Path) -> None:
    result = rsi("export", tmp_path / "adapter", "--params=model.base=owner/name")
    assert result.exit_code == 1 and "was trained on the base model 'scenes'" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("revision", "arguments"), [("v1", "'owner/sd', revision='v1'"), (None, "'owner/sd'")])
def test_a_cards_code_loads_the_revision_that_the_adapter_was_trained_on(revision: str | None, arguments: str) -> None:
    assert f"DiffusionPipeline.from_pretrained({arguments})\n" in _usage("diffusers", "x", "owner/sd", revision)
