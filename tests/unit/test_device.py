from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.language import inputs_of, pairs_of, save_tiny, some_texts
from surpass.environment import DEVICE
from surpass.errors import ConfigError
from surpass.models import device
from surpass.models.device import Place, place
from surpass.models.families import load_model
from surpass.models.sources import resolve

TEXTS = some_texts(7)
FAST_CPU = Place(torch.device("cpu"), bf16=True)


@pytest.fixture(scope="module", params=["llama", "bert"])
def folder(request, tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / request.param, request.param)


class TestPlace:
    def test_the_cpu_in_float32_without_anything_else(self, monkeypatch):
        monkeypatch.delenv(DEVICE, raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert place() == Place(torch.device("cpu"), bf16=False)
        monkeypatch.setenv(DEVICE, "")
        assert place() == Place(torch.device("cpu"), bf16=False)

    @pytest.mark.parametrize(("capability", "bf16"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
    def test_an_accelerator_where_there_is_one(self, monkeypatch, capability, bf16):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.delenv(DEVICE, raising=False)
        assert place() == Place(torch.device("cuda"), bf16)
        monkeypatch.setenv(DEVICE, "cuda:1")
        assert place() == Place(torch.device("cuda:1"), bf16)
        assert place().pass_cost > Place(torch.device("cpu")).pass_cost
        monkeypatch.setenv(DEVICE, "cpu")
        assert place() == Place(torch.device("cpu"), bf16=False)
        monkeypatch.setenv(DEVICE, "cuda:2")
        with pytest.raises(ConfigError, match="SURPASS_DEVICE='cuda:2' is not there; say cpu"):
            place()

    @pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x", "7"])
    def test_what_is_none(self, monkeypatch, name):
        monkeypatch.setenv(DEVICE, name)
        with pytest.raises(ConfigError, match=f"SURPASS_DEVICE='{name}' is no device; say one of cpu, cuda"):
            place()

    @pytest.mark.parametrize("name", ["cuda", "mps"])
    def test_what_is_not_there(self, monkeypatch, name):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setenv(DEVICE, name)
        with pytest.raises(ConfigError, match=f"SURPASS_DEVICE='{name}' is not there"):
            place()


@pytest.mark.parametrize("pairs", [False, True])
def test_in_bfloat16_logits_are_near_and_float32(folder, monkeypatch, pairs):
    """Forced on the CPU, where it is slow."""
    inputs = pairs_of([(text, f"{text} w1") for text in TEXTS]) if pairs else inputs_of(TEXTS)
    found = []
    for where in (Place(torch.device("cpu")), FAST_CPU):
        monkeypatch.setattr("surpass.models.language.place", lambda where=where: where)
        torch.manual_seed(0)
        model = load_model(resolve(f"dir:{folder}"), inputs)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        examples = model.encode(inputs)
        logits_NC = model(examples, np.arange(7))
        assert logits_NC.dtype == torch.float32
        assert logits_NC.device.type == "cpu"
        assert model.embed(examples, np.arange(7)).dtype == torch.float32
        logits_NC.log_softmax(1)[:, 0].sum().backward()
        grad = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        assert grad.isfinite().all()
        assert grad.dtype == torch.float32
        found.append(logits_NC.detach())
    exact, near = found
    assert not torch.equal(exact, near)
    torch.testing.assert_close(near, exact, atol=0.05 * float(exact.abs().max()), rtol=0.0)


def test_a_model_is_asked_where_it_runs_once(folder, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr("surpass.models.language.place", lambda: asked.append(1) or device.place())
    model = load_model(resolve(f"dir:{folder}"), inputs_of(TEXTS))
    examples = model.encode(inputs_of(TEXTS))
    model(examples, np.arange(7))
    assert asked == [1]
