"""Causal language models out of GGUF files, whose quantized weights can be neither trained nor saved.

transformers reads the file and undoes the quantization; what it gives is rebuilt as a plain model, so that
nothing says "quantized" any more, and saved with its tokenizer. A number there is the one that the file
stands for: in float32 exactly, in bfloat16 (for large models) rounded to 8 bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from surpass.disk import is_disk_full
from surpass.errors import DataError, MissingExtraError, SurpassError

LARGE = 500_000_000
"""Above so many parameters, the embedding counted twice if the file holds it twice, weights are bfloat16."""

_SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
_PASSING = ("transformers_version", "is_local", "local_files_only")


def convert(path: Path, out: Path, *, tied: bool = False) -> None:
    """Write the model of a GGUF file as `save_pretrained` does: configuration, weights, tokenizer.

    Args:
        path: The file.
        out: An empty folder.
        tied: Make the unembedding the embedding too, although the file holds both: its makers tied them
            and quantized them differently. The unembedding is kept, for it is the more exact one.

    Raises:
        DataError: It is no GGUF file, or of a kind of model that transformers does not read.
        MissingExtraError: A package is missing.
    """
    gguf, library = _libraries()
    try:
        count = sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(path).tensors)
        dtype = torch.bfloat16 if count > LARGE else torch.float32
        with _quiet(library):
            place = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
            tokenizer = library.AutoTokenizer.from_pretrained(path.parent, **place)
            model = library.AutoModelForCausalLM.from_pretrained(
                # Version 5 calls it otherwise.
                path.parent,
                **place,
                **{"torch_dtype" if library.__version__.startswith("4.") else "dtype": dtype},
                **_unpacked(library),
            )
            _plain(library, model, tied).save_pretrained(out)
            tokenizer.save_pretrained(out)
    except (SurpassError, MemoryError, torch.OutOfMemoryError):
        raise
    # Whatever a damaged or foreign file makes the libraries raise.
    except Exception as error:
        if is_disk_full(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path} cannot be read as a causal language model ({reason})") from error
    for name in _SETTINGS:
        _settle(out / name)


def _libraries() -> tuple[Any, Any]:
    try:
        import gguf
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name}, which reads GGUF files, is not installed; pip install 'surpass[packaged]'"
        ) from None
    return gguf, transformers


def _unpacked(library: Any) -> dict[str, Any]:
    """What makes versions that can compute with quantized weights undo the quantization all the same."""
    made = getattr(library, "GgufConfig", None)
    return {} if made is None else {"quantization_config": made(dequantize=True)}


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    shown = library.utils.logging.is_progress_bar_enabled()
    library.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library.utils.logging.enable_progress_bar()


def _plain(library: Any, model: Any, tied: bool) -> Any:
    """The same weights in a model that was never quantized; they are not copied."""
    config = model.config
    for place in (config, model):
        for name in ("quantization_config", "is_quantized", "hf_quantizer"):
            if name in vars(place):
                delattr(place, name)
    config.tie_word_embeddings = tied or config.tie_word_embeddings
    with torch.device("meta"):
        plain = library.AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    if config.tie_word_embeddings:
        plain.get_input_embeddings().weight = plain.get_output_embeddings().weight
    plain.generation_config = model.generation_config
    return plain


def _settle(path: Path) -> None:
    """Take out of a JSON file what is no part of the model: who wrote it, and how it was read then."""
    if path.is_file():
        settings = json.loads(path.read_text())
        kept = {key: value for key, value in settings.items() if key not in _PASSING}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
