"""The same three steps as users would write them otherwise: with a Trainer, or with a plain loop.

All have the same model (the encoder of transformers, pooled by mean, and a linear head; no dropout), the same
texts and truth, optimizer, schedule and number of steps, and soft labels; the losses are those of Surpass.
Weak, student and ceiling are tested on the same texts, and the supervisor labels those of the student.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from surpass.losses import find_loss, soft_cross_entropy
from surpass.models.sources import resolve
from surpass.train.recipe import Recipe

Probs = npt.NDArray[np.float32]


class Part(NamedTuple):
    """Texts, and the probabilities of their classes, (N, 2)."""

    texts: list[str]
    probs_NC: Probs


class Data(NamedTuple):
    """What a seed of a study reads."""

    weak: Part
    student: Part
    test: Part


class Three(NamedTuple):
    """Accuracies on the test."""

    weak: float
    student: float
    ceiling: float


class Model(nn.Module):
    """An encoder, the mean of its states, and a head; called as a Trainer calls it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.from_pretrained(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        self.body = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32)
        if getattr(self.body, "pooler", None) is not None:
            self.body.pooler = None
        self.head = nn.Linear(config.hidden_size, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Logits; the labels are for the loss, which is computed elsewhere."""
        states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[:, :, None]
        return {"logits": self.head((states * mask).sum(1) / mask.sum(1))}


Learn = Callable[[Model, Any, Part, str, Recipe, int], Callable[[list[str]], Probs]]
"""Trains what of a model wants a gradient, by a loss, with its tokenizer; gives what labels texts with it."""


class Way(NamedTuple):
    """How a student is trained: by which loss, and, phase after phase, whether all of it or the head alone.

    `factor` is what the rate of heads alone is multiplied with.
    """

    loss: str = "xent"
    whole: tuple[bool, ...] = (True,)
    factor: float = 1.0


WAYS = {
    "naive": Way(),
    "probe(rate_factor=10)": Way(whole=(False,), factor=10.0),
    "lp_ft": Way(whole=(False, True)),
}
"""Of methods that are no loss of their name."""


def three_steps(
    learn: Learn, models: tuple[str, str], data: Data, recipe: Recipe, seed: int, methods: Sequence[str]
) -> dict[str, Three]:
    """Weak and ceiling once, and a student for each method."""
    weak = learned(learn, models[0], data.weak, Way(), recipe, seed)
    taught = Part(data.student.texts, weak(data.student.texts))
    truth = data.test.probs_NC.argmax(1)

    def accuracy(label: Callable[[list[str]], Probs]) -> float:
        return float((label(data.test.texts).argmax(1) == truth).mean())

    floor = accuracy(weak)
    ceiling = accuracy(learned(learn, models[1], data.student, Way(), recipe, seed))
    ways = {method: WAYS.get(method, Way(method)) for method in methods}
    return {
        method: Three(floor, accuracy(learned(learn, models[1], taught, way, recipe, seed)), ceiling)
        for method, way in ways.items()
    }


def learned(
    learn: Learn, name: str, part: Part, way: Way, recipe: Recipe, seed: int
) -> Callable[[list[str]], Probs]:
    """A pretrained model, trained."""
    from transformers import AutoTokenizer

    folder = resolve(name).path
    assert folder is not None
    torch.manual_seed(seed)
    model, tokenizer = Model(folder), AutoTokenizer.from_pretrained(folder)
    of_head = replace(recipe, learning_rate=way.factor * recipe.learning_rate)
    for whole in way.whole:
        model.body.requires_grad_(whole)
        label = learn(model, tokenizer, part, way.loss, recipe if whole else of_head, seed)
    return label


def loss_of(loss: str, logits_NC: Tensor, labels_NC: Tensor, progress: float) -> Tensor:
    """The mean loss, by Surpass's own function."""
    found = find_loss(loss)
    if found.per_example:
        return found.function(logits_NC, labels_NC, progress).mean()
    return soft_cross_entropy(logits_NC, found.function(logits_NC.detach(), labels_NC, progress)).mean()


def with_trainer(tuned: bool) -> Learn:
    """A Trainer: with its defaults (8 examples a pass), or as an expert would set it."""
    passes: dict[str, Any] = {"per_device_train_batch_size": 8}
    if tuned:
        passes = {
            "per_device_train_batch_size": 32,
            "per_device_eval_batch_size": 64,
            "train_sampling_strategy": "group_by_length",
            "save_strategy": "no",
            "logging_strategy": "no",
        }

    def learn(
        model: Model, tokenizer: Any, part: Part, loss: str, recipe: Recipe, seed: int
    ) -> Callable[[list[str]], Probs]:
        from datasets import Dataset
        from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

        class Ours(Trainer):
            def compute_loss(
                self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
            ) -> Any:
                labels_NC = inputs.pop("labels")
                given = model(**inputs)
                progress = self.state.global_step / max(self.state.max_steps, 1)
                mean = loss_of(loss, given["logits"], labels_NC, progress)
                return (mean, given) if return_outputs else mean

        def dataset(texts: list[str], probs_NC: Probs | None) -> Any:
            columns: dict[str, Any] = {"text": texts}
            columns |= {} if probs_NC is None else {"labels": probs_NC.tolist()}
            made = Dataset.from_dict(columns)
            return made.map(
                lambda rows: tokenizer(
                    rows["text"], truncation=True, max_length=512, return_token_type_ids=False
                ),
                batched=True,
                remove_columns=["text"],
            )

        size = passes["per_device_train_batch_size"]
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                num_train_epochs=recipe.epochs,
                gradient_accumulation_steps=recipe.batch_size // size,
                learning_rate=recipe.learning_rate,
                lr_scheduler_type=recipe.schedule,
                warmup_steps=recipe.warmup_frac,
                weight_decay=recipe.weight_decay,
                seed=seed,
                use_cpu=True,
                report_to="none",
                disable_tqdm=True,
                **passes,
            )
            trainer = Ours(
                model=model,
                args=arguments,
                train_dataset=dataset(part.texts, part.probs_NC),
                data_collator=DataCollatorWithPadding(tokenizer),
            )
            trainer.model_accepts_loss_kwargs = False
            trainer.train()
            # Else what is to be labelled would be grouped by length, too, and come back in that order.
            trainer.args.train_sampling_strategy = "sequential"

        def label(texts: list[str]) -> Probs:
            order = sorted(range(len(texts)), key=lambda at: len(texts[at]), reverse=True)
            order = order if tuned else list(range(len(texts)))
            logits_NC = trainer.predict(dataset([texts[at] for at in order], None)).predictions
            probs_NC = np.empty_like(logits_NC)
            probs_NC[order] = torch.from_numpy(logits_NC).softmax(1).numpy()
            return probs_NC

        return label

    return learn


def one_by_one(
    model: Model, tokenizer: Any, part: Part, loss: str, recipe: Recipe, seed: int
) -> Callable[[list[str]], Probs]:
    """A plain loop with passes of one example, and one backward pass for all of a step."""
    tokens = tokenizer(part.texts, truncation=True, max_length=512, return_token_type_ids=False)["input_ids"]
    labels_NC = torch.from_numpy(part.probs_NC)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    num_steps, step = recipe.num_steps(len(tokens)), 0
    random = np.random.default_rng(seed)

    def logits_of(row: list[int]) -> Tensor:
        ids = torch.tensor([row])
        return model(ids, torch.ones_like(ids))["logits"]

    model.train()
    for _ in range(recipe.epochs):
        order = random.permutation(len(tokens))
        for start in range(0, len(order), recipe.batch_size):
            rows = order[start : start + recipe.batch_size]
            logits_NC = torch.cat([logits_of(tokens[row]) for row in rows])
            loss_of(loss, logits_NC, labels_NC[rows], step / num_steps).backward()
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step, num_steps)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    model.eval()

    @torch.no_grad()
    def label(texts: list[str]) -> Probs:
        rows = tokenizer(texts, truncation=True, max_length=512, return_token_type_ids=False)["input_ids"]
        return torch.cat([logits_of(row).softmax(1) for row in rows]).numpy()

    return label
