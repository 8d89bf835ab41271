"""GGUF files become plain models: the numbers they stand for, trainable, saved and cached once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from reference.gguf_files import CONTEXT, TOKENS, tensors, write_gguf
from reference.wheels import packaged, sliced, write_wheel
from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.models.packaged import from_gguf, places
from surpass.models.packaged.cache import ORIGIN
from surpass.models.packaged.fetch import fetch
from surpass.models.packaged.from_gguf import convert
from surpass.models.packaged.table import parts
from surpass.models.sources import resolve

pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two GGUF files, with and without an unembedding of its own, and what their numbers stand for."""
    folder = tmp_path_factory.mktemp("gguf")
    return {
        tied: (folder / f"tiny-{tied}.gguf", write_gguf(folder / f"tiny-{tied}.gguf", tensors(3, tied=tied)))
        for tied in (True, False)
    }


def run(folder: Path) -> torch.Tensor:
    causal = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    with torch.no_grad():
        return causal(input_ids=torch.tensor([[1, 40, 7, 99, 3]])).logits


class TestConvert:
    @pytest.mark.parametrize("tied", [True, False])
    def test_the_numbers(self, made, tmp_path, tied):
        path, stand_for = made[tied]
        convert(path, tmp_path)
        written = load_file(tmp_path / "model.safetensors")
        assert written.keys() == stand_for.keys()
        for name, weight in stand_for.items():
            np.testing.assert_array_equal(written[name], weight, err_msg=name)
            assert written[name].dtype == np.float32

    def test_the_configuration(self, made, tmp_path):
        convert(made[True][0], tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["architectures"] == ["LlamaForCausalLM"]
        assert config["max_position_embeddings"] == CONTEXT
        assert config["tie_word_embeddings"] is True
        assert not {"quantization_config", "transformers_version"} & config.keys()

    def test_the_tokenizer(self, made, tmp_path):
        convert(made[True][0], tmp_path)
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
        tokens = tokenizer("the an t", add_special_tokens=False)["input_ids"]
        assert [TOKENS[token] for token in tokens] == ["the", "Ġ", "an", "Ġ", "t"]
        assert tokenizer.decode(tokens) == "the an t"
        assert tokenizer.eos_token == "</s>"

    def test_it_computes_what_a_model_of_these_weights_does(self, made, tmp_path):
        path, stand_for = made[False]
        convert(path, tmp_path)
        config = transformers.AutoConfig.from_pretrained(tmp_path, local_files_only=True)
        plain = transformers.LlamaForCausalLM(config).eval()
        plain.load_state_dict({name: torch.from_numpy(weight.copy()) for name, weight in stand_for.items()})
        with torch.no_grad():
            expected = plain(input_ids=torch.tensor([[1, 40, 7, 99, 3]])).logits
        torch.testing.assert_close(run(tmp_path), expected, rtol=0, atol=1e-6)

    def test_it_can_be_trained_and_saved(self, made, tmp_path):
        convert(made[True][0], tmp_path / "one")
        causal = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "one", local_files_only=True)
        tokens = torch.tensor([[1, 40, 7]])
        causal(input_ids=tokens, labels=tokens).loss.backward()
        assert all(parameter.grad is not None for parameter in causal.parameters())
        causal.save_pretrained(tmp_path / "two")
        torch.testing.assert_close(run(tmp_path / "two"), run(tmp_path / "one"), rtol=0, atol=0)

    def test_tied_it_keeps_the_unembedding(self, made, tmp_path):
        path, stand_for = made[False]
        convert(path, tmp_path, tied=True)
        written = load_file(tmp_path / "model.safetensors")
        (kept,) = [name for name in written if name in ("lm_head.weight", "model.embed_tokens.weight")]
        np.testing.assert_array_equal(written[kept], stand_for["lm_head.weight"])
        assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is True
        causal = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
        assert causal.get_input_embeddings().weight is causal.get_output_embeddings().weight
        np.testing.assert_array_equal(
            causal.get_input_embeddings().weight.detach().numpy(), stand_for["lm_head.weight"]
        )

    def test_large_models_become_bfloat16(self, made, tmp_path, monkeypatch):
        path, stand_for = made[True]
        monkeypatch.setattr(from_gguf, "LARGE", 1000)
        convert(path, tmp_path)
        causal = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path, local_files_only=True, dtype="auto"
        )
        assert {parameter.dtype for parameter in causal.parameters()} == {torch.bfloat16}
        weight = torch.from_numpy(stand_for["model.embed_tokens.weight"].copy()).bfloat16()
        torch.testing.assert_close(causal.get_input_embeddings().weight.detach(), weight, rtol=0, atol=0)

    @pytest.mark.parametrize("content", [b"", b"no GGUF at all", b"GGUF" + bytes(60)])
    def test_damage(self, tmp_path, content):
        (tmp_path / "bad.gguf").write_bytes(content)
        with pytest.raises(DataError, match=r"bad.gguf cannot be read as a causal language model") as caught:
            convert(tmp_path / "bad.gguf", tmp_path)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_cut_short(self, made, tmp_path):
        (tmp_path / "cut.gguf").write_bytes(made[True][0].read_bytes()[:-4000])
        with pytest.raises(DataError, match=r"cut.gguf cannot be read as a causal language model"):
            convert(tmp_path / "cut.gguf", tmp_path)

    def test_without_the_package(self, made, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "gguf", None)
        with pytest.raises(MissingExtraError, match=r"gguf, .* pip install 'surpass\[packaged\]'"):
            convert(made[True][0], tmp_path)


class TestNames:
    def test_a_file_is_converted_once_for_its_content(self, made, tmp_path, monkeypatch, cache):
        path = made[True][0]
        source = resolve(f"dir:{path}(tokens=9)")
        assert (source.family, source.short_name, source.max_tokens) == ("causal", "tiny-True", 9)
        assert source.path.parent == cache / "models"
        assert source.parameters == sum(weight.size for weight in made[True][1].values())
        origin = json.loads((source.path / ORIGIN).read_text())
        assert origin["made_from"]["file"] == str(path)
        monkeypatch.setattr(from_gguf, "convert", lambda *_: pytest.fail("converted again"))
        assert resolve(f"dir:{path}").path == source.path
        # In a folder, alone; and the name is the folder's.
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / path.name).write_bytes(path.read_bytes())
        again = resolve(f"dir:{tmp_path}/folder")
        assert (again.path, again.short_name) == (source.path, "folder")

    def test_then_resolving_imports_no_torch(self, made):
        path = made[True][0]
        resolve(f"dir:{path}")
        code = f"""
import sys
from surpass.models.sources import resolve
resolve("dir:{path}")
print(*{{"torch", "transformers", "gguf"}} & set(sys.modules))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == []

    def test_several_in_a_folder(self, made):
        with pytest.raises(
            ConfigError, match=r"several GGUF files \(tiny-False.gguf, tiny-True.gguf\); name one"
        ):
            resolve(f"dir:{made[True][0].parent}")

    def test_what_cannot_be_converted_leaves_nothing(self, tmp_path, cache):
        (tmp_path / "bad.gguf").write_bytes(b"no")
        with pytest.raises(DataError, match=r"bad.gguf cannot be read"):
            resolve(f"dir:{tmp_path}/bad.gguf")
        assert list(cache.rglob("*")) == [cache / "models"]

    def test_odd_file_names(self, made, tmp_path, monkeypatch):
        monkeypatch.setattr(from_gguf, "convert", lambda path, draft: (draft / "file").touch())
        (tmp_path / ".a (b), c.gguf").write_bytes(b"x")
        folder = places.plain_folder(tmp_path / ".a (b), c.gguf")
        assert folder.name.startswith("a__b___c-")

    def test_in_an_installed_package(self, made, tmp_path, monkeypatch):
        (tmp_path / "site" / "tiny_llama_here" / "data").mkdir(parents=True)
        (tmp_path / "site" / "tiny_llama_here" / "__init__.py").write_text("raise SystemExit('imported')")
        target = tmp_path / "site" / "tiny_llama_here" / "data" / "model.gguf"
        target.write_bytes(made[False][0].read_bytes())
        monkeypatch.syspath_prepend(tmp_path / "site")
        source = resolve("package:tiny_llama_here")
        assert source.short_name == "tiny_llama_here"
        assert resolve("package:tiny_llama_here/data").path == source.path
        assert resolve("package:tiny_llama_here/data/model.gguf").path == source.path


def test_a_packaged_one_in_parts(made, tmp_path, monkeypatch):
    path, stand_for = made[False]
    content, projects = path.read_bytes(), parts("tiny-llama-part", 12, "1.0")
    # What is tied has no unembedding of its own to count.
    count = sum(weight.size for name, weight in stand_for.items() if name != "lm_head.weight")
    settings = {"projects": projects, "member": "*/data/part*.bin", "form": "gguf", "tied": True}
    packaged(monkeypatch, "tiny-llama", content, parameters=count, **settings)
    for number, (project, piece) in enumerate(zip(projects, sliced(content, 12), strict=True), 1):
        write_wheel(tmp_path / "w", project, {f"tiny_llama_part{number}/data/part{number:02d}.bin": piece})
    folder = fetch("tiny-llama", wheels=tmp_path / "w")
    assert resolve("package:tiny-llama").path == folder
    assert json.loads((folder / ORIGIN).read_text())["made_from"]["form"] == "gguf"
    assert not list(folder.glob("*.gguf"))
