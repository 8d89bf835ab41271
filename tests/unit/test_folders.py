"""Language models as names: folders and the hub's cache. No transformers, no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.hub import cache_folder
from surpass.models.sources import LADDER, SKILLS, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_folder(folder: Path, *, mark: float = 0.0, shards: int = 1) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "tokenizer.json").write_text("{}")
    weights = [{f"w{n}": np.full((3, 5), mark, np.float32)} for n in range(shards)]
    if shards == 1:
        save_file(weights[0] | {"bias": np.ones(7, np.float16)}, folder / "model.safetensors")
    else:
        names = [f"model-{n}-of-{shards}.safetensors" for n in range(shards)]
        for name, tensors in zip(names, weights, strict=True):
            save_file(tensors, folder / name)
        index = {"weight_map": {f"w{n}": name for n, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_hub(cache: Path, repository: str, *, commit: str = COMMIT, ref: str | None = "main") -> Path:
    """A model as the hub's own library keeps it: snapshots of links into blobs, and refs."""
    base = cache / f"models--{repository.replace('/', '--')}"
    plain = write_folder(cache / "plain" / commit)
    (base / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot = base / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in plain.iterdir():
        blob = base / "blobs" / f"{commit}-{file.name}"
        file.rename(blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    if ref is not None:
        (base / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (base / "refs" / ref).write_text(commit)
    return snapshot


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestFolder:
    def test_what_it_is(self, tmp_path, monkeypatch):
        folder = write_folder(tmp_path / "tiny-1.5b")
        source = resolve(f"dir:{folder}")
        assert (source.family, source.path, source.short_name) == ("causal", folder, "tiny-1.5b")
        assert source.parameters == 3 * 5 + 7
        assert source.flops == 2 * 22 * 128
        assert source.pretraining_flops == 0
        assert source.skills == set(SKILLS)
        monkeypatch.chdir(folder / "..")
        for name in ("dir:tiny-1.5b", "dir:./tiny-1.5b/", "dir:../" + tmp_path.name + "/tiny-1.5b"):
            other = resolve(name)
            assert (other.path, other.short_name, other.digest) == (folder, "tiny-1.5b", source.digest)

    def test_its_digest_is_of_all_that_counts(self, tmp_path):
        folder = write_folder(tmp_path / "one")
        first = resolve(f"dir:{folder}").digest
        assert resolve(f"dir:{write_folder(tmp_path / 'two')}").digest == first
        (folder / "README.md").write_text("words")
        (folder / "generation_config.json").write_text("{}")
        assert resolve(f"dir:{folder}").digest == first
        digests = {first}
        for name, text in (
            ("config.json", '{"model_type": "gpt2"}'),
            ("tokenizer.json", "{ }"),
            ("tokenizer_config.json", "{}"),
            ("1_Pooling/config.json", "{}"),
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
            digests.add(resolve(f"dir:{folder}").digest)
        save_file({"w0": np.ones((3, 5), np.float32)}, folder / "model.safetensors")
        digests.add(resolve(f"dir:{folder}").digest)
        assert len(digests) == 6

    def test_shards(self, tmp_path):
        folder = write_folder(tmp_path / "sharded", shards=3)
        source = resolve(f"dir:{folder}")
        assert source.parameters == 45
        save_file({"w1": np.ones((3, 5), np.float32)}, folder / "model-1-of-3.safetensors")
        assert resolve(f"dir:{folder}").digest != source.digest
        (folder / "model-1-of-3.safetensors").unlink()
        with pytest.raises(ConfigError, match=r"names model-1-of-3.safetensors, which is not there; copy it"):
            resolve(f"dir:{folder}")

    def test_masks_that_old_files_keep_are_no_parameters(self, tmp_path):
        folder = write_folder(tmp_path / "old")
        tensors = {
            "w": np.zeros((2, 3), np.float32),
            "mask": np.zeros((1, 1, 8, 8), np.float32),
            "flags": np.zeros(9, bool),
        }
        save_file(tensors, folder / "model.safetensors")
        assert resolve(f"dir:{folder}").parameters == 6

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: (f / "tokenizer.json").unlink(), "it has no tokenizer; save that"),
            (lambda f: (f / "model.safetensors").unlink(), "it has no weights, no model.safetensors"),
            (
                lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
                r"it has pytorch_model.bin, no model.safetensors; .* put \(weights=bin\) behind",
            ),
            (lambda f: (f / "adapter_config.json").touch(), "it has an adapter_config.json; merge the"),
            (lambda f: (f / "config.json").unlink(), "no weights at .*; name a .safetensors file .* folder"),
        ],
    )
    def test_what_it_lacks(self, tmp_path, change, message):
        folder = write_folder(tmp_path / "bad")
        change(folder)
        with pytest.raises(ConfigError, match=message) as caught:
            resolve(f"dir:{folder}")
        assert "\n" not in str(caught.value)

    def test_damage(self, tmp_path):
        folder = write_folder(tmp_path / "bad")
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[:-1])
        with pytest.raises(DataError, match=r"is cut short: \d+ of \d+ bytes; copy it again"):
            resolve(f"dir:{folder}")
        for text in (b"", b"no", b"\xff" * 40):
            (folder / "model.safetensors").write_bytes(text)
            with pytest.raises(DataError, match="is no safetensors file; save the model again"):
                resolve(f"dir:{folder}")
        (folder / "model.safetensors").unlink()
        for text, message in (
            ("[]", "index.json is damaged"),
            ("{", "index.json is damaged"),
            ('{"weight_map": {"a": "../model.safetensors"}}', "are no \\*.safetensors beside it"),
            ('{"weight_map": {"a": "model.bin"}}', "are no \\*.safetensors beside it"),
        ):
            (folder / "model.safetensors.index.json").write_text(text)
            with pytest.raises(DataError, match=message):
                resolve(f"dir:{folder}")


class TestFamily:
    @pytest.mark.parametrize(
        ("config", "family"),
        [
            ({"architectures": ["LlamaForCausalLM"]}, "causal"),
            ({"architectures": ["GPT2LMHeadModel"]}, "causal"),
            ({"architectures": ["Other", "QwenForCausalLM"]}, "causal"),
            ({"architectures": ["BertModel"]}, "encoder"),
            ({"architectures": ["MPNetForMaskedLM"], "is_encoder_decoder": False}, "encoder"),
            ({"architectures": []}, "encoder"),
            ({"architectures": None}, "encoder"),
            ({}, "encoder"),
        ],
    )
    def test_by_its_architecture(self, tmp_path, config, family):
        folder = write_folder(tmp_path / "model")
        (folder / "config.json").write_text(json.dumps(config))
        source = resolve(f"dir:{folder}")
        assert (source.family, source.max_tokens, source.pickled) == (family, 512, False)
        assert source.skills == (set(SKILLS) if family == "causal" else {"hint"})

    @pytest.mark.parametrize(
        "config",
        [
            {"architectures": ["T5ForConditionalGeneration"]},
            {"architectures": ["T5EncoderModel"], "is_encoder_decoder": True},
            {"model_type": "bart", "is_encoder_decoder": True},
        ],
    )
    def test_what_has_two_parts_is_refused(self, tmp_path, config):
        folder = write_folder(tmp_path / "model")
        (folder / "config.json").write_text(json.dumps(config))
        what = config.get("architectures", ["model type bart"])[0]
        with pytest.raises(
            ConfigError, match=f"{folder}: {what} is an encoder with a decoder.*BERT"
        ) as caught:
            resolve(f"dir:{folder}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("text", ["", "[]", "{", "\ud800"])
    def test_damage(self, tmp_path, text):
        folder = write_folder(tmp_path / "model")
        (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(DataError, match=r"config.json is damaged; copy it again"):
            resolve(f"dir:{folder}")


class TestSettings:
    def test_tokens(self, tmp_path):
        folder = write_folder(tmp_path / "tiny")
        plain, same = resolve(f"dir:{folder}"), resolve(f"dir:{folder}(tokens=512)")
        few, more = resolve(f"dir:{folder}(tokens=64)"), resolve(f"dir:{folder}(tokens=65)")
        assert (plain.max_tokens, same.max_tokens, few.max_tokens) == (512, 512, 64)
        assert plain.digest == same.digest
        assert len({plain.digest, few.digest, more.digest}) == 3
        assert plain.short_name == few.short_name == "tiny"
        assert (plain.path, few.flops) == (few.path, 2 * 22 * 64)

    def test_pickled_weights_only_where_the_name_says_so(self, tmp_path):
        folder = write_folder(tmp_path / "old")
        with pytest.raises(ConfigError, match=r"it has no pytorch_model.bin; leave weights=bin out"):
            resolve(f"dir:{folder}(weights=bin)")
        (folder / "pytorch_model.bin").write_bytes(b"\x00" * 400)
        safe, pickled = resolve(f"dir:{folder}"), resolve(f"dir:{folder}(weights=bin, tokens=512)")
        assert (safe.pickled, pickled.pickled) == (False, True)
        assert (safe.parameters, pickled.parameters) == (22, 100)
        assert safe.digest != pickled.digest
        (folder / "config.json").write_text('{"torch_dtype": "bfloat16"}')
        assert resolve(f"dir:{folder}(weights=bin)").parameters == 200

    def test_pickled_shards(self, tmp_path):
        folder = write_folder(tmp_path / "old")
        index = {"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        (folder / "pytorch_model-1.bin").write_bytes(b"\x00" * 40)
        with pytest.raises(
            ConfigError, match=r"bin.index.json names pytorch_model-2.bin, which is not there"
        ):
            resolve(f"dir:{folder}(weights=bin)")
        (folder / "pytorch_model-2.bin").write_bytes(b"\x00" * 80)
        source = resolve(f"dir:{folder}(weights=bin)")
        assert source.parameters == 30
        (folder / "pytorch_model-2.bin").write_bytes(b"\x01" * 80)
        assert resolve(f"dir:{folder}(weights=bin)").digest != source.digest

    def test_other_families_have_none(self, tmp_path):
        shutil.copy(LADDER / "chess-1.safetensors", tmp_path / "mine.safetensors")
        with pytest.raises(ConfigError, match="only models of texts and images have settings; name it dir:"):
            resolve(f"dir:{tmp_path}/mine.safetensors(tokens=3)")


class TestHub:
    def test_settings(self, cache):
        write_hub(cache, "some-org/tiny-1.5b")
        source = resolve("hub:some-org/tiny-1.5b@main(tokens=9)")
        assert (source.max_tokens, source.short_name) == (9, "tiny-1.5b@main")

    def test_a_pickle_is_downloaded_where_the_name_says_so(self, cache, monkeypatch):
        huggingface_hub = pytest.importorskip("huggingface_hub")
        asked = []

        def snapshot_download(repository, **settings):
            asked.append(settings["allow_patterns"])
            snapshot = write_hub(cache, repository)
            (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
            return str(snapshot)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        assert resolve("hub:org/tiny(weights=bin)").pickled
        assert resolve("hub:org/tiny(weights=bin)").pickled  # out of the cache
        ((*patterns,),) = asked
        assert "pytorch_model*.bin" in patterns
        assert not [name for name in patterns if "safetensors" in name]

    def test_a_cached_model(self, cache):
        snapshot = write_hub(cache, "some-org/tiny-1.5b")
        source = resolve("hub:some-org/tiny-1.5b")
        assert (source.path, source.family, source.short_name) == (snapshot, "causal", "tiny-1.5b")
        assert source.digest == resolve(f"dir:{snapshot}").digest

    def test_revisions(self, cache):
        main = write_hub(cache, "org/tiny")
        step = write_hub(cache, "org/tiny", commit="f" * 40, ref="refs/pr/1")
        (step / "config.json").unlink()
        (step / "config.json").write_text('{"model_type": "gpt2"}')
        first, second = resolve("hub:org/tiny@main"), resolve("hub:org/tiny@refs/pr/1")
        assert (first.path, second.path) == (main, step)
        assert first.digest != second.digest
        assert (first.short_name, second.short_name) == ("tiny@main", "tiny@refs/pr/1")
        assert resolve("hub:org/tiny@" + "f" * 40).path == step

    def test_where_the_cache_is(self, monkeypatch, tmp_path):
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache/huggingface/hub"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        assert cache_folder() == tmp_path / "x/huggingface/hub"
        monkeypatch.setenv("HF_HOME", "~/h")
        assert cache_folder() == tmp_path / "h/hub"
        monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(tmp_path / "old"))
        assert cache_folder() == tmp_path / "old"
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "new"))
        assert cache_folder() == tmp_path / "new"

    def test_what_is_not_there_is_downloaded(self, cache, monkeypatch):
        huggingface_hub = pytest.importorskip("huggingface_hub")
        asked = []

        def snapshot_download(repository, **settings):
            asked.append((repository, settings))
            return str(write_hub(cache, repository))

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        source = resolve("hub:org/tiny@v1")
        assert source.path == cache / "models--org--tiny" / "snapshots" / COMMIT
        ((repository, settings),) = asked
        assert (repository, settings["revision"], settings["cache_dir"]) == ("org/tiny", "v1", cache)
        assert not [name for name in settings["allow_patterns"] if "bin" in name or "pt" in name]

    def test_neither_here_nor_to_be_had(self, cache, monkeypatch):
        huggingface_hub = pytest.importorskip("huggingface_hub")

        def snapshot_download(repository, **settings):
            raise OSError("no network\nat all")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        snapshot = write_hub(cache, "org/half")
        (snapshot / "model.safetensors").unlink()
        for name in ("org/tiny", "org/half"):
            with pytest.raises(
                ConfigError, match=rf"hub:{name}@main is not in the cache .* \(no network\); check name"
            ) as caught:
                resolve(f"hub:{name}")
            assert "\n" not in str(caught.value)

    def test_offline_the_hubs_own_library_says_so(self, cache):
        pytest.importorskip("huggingface_hub")
        code = (
            "from surpass.models.sources import resolve\n"
            "from surpass.errors import ConfigError\n"
            "try:\n    resolve('hub:org/none')\n"
            "except ConfigError as error:\n    print(error)\n"
        )
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        assert "hub:org/none@main is not in the cache" in done.stdout

    def test_without_the_package(self, cache, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        snapshot = write_hub(cache, "org/tiny")
        assert resolve("hub:org/tiny").path == snapshot
        with pytest.raises(MissingExtraError, match=r"huggingface_hub, .* pip install 'surpass\[text\]'"):
            resolve("hub:org/other")

    @pytest.mark.parametrize(
        "name", ["", "tiny", "org/", "/tiny", "org/a/b", "org/../x", "org/x@../../y", "o/x@"]
    )
    def test_names_that_are_none(self, cache, name):
        with pytest.raises(ConfigError, match="name one as hub:org/name or hub:org/name@revision"):
            resolve(f"hub:{name}")


def test_resolving_imports_no_torch(tmp_path):
    folder = write_folder(tmp_path / "tiny")
    code = f"""
import sys
from surpass.models.sources import resolve
resolve("dir:{folder}")
print(*{{"torch", "transformers", "huggingface_hub", "tokenizers"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
