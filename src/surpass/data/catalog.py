"""All data sets that Surpass knows: the 22 of the paper, in the order of its table 1, then others.

Each is described beside the functions that read its rows.

Source:
    Burns et al. 2023, table 1 and appendix A.1 (the 22 and their protocol). Differs: the paper does not
    print its templates and sizes; texts are our own.
"""

from __future__ import annotations

from surpass.data import choices_ethics as ethics
from surpass.data import choices_questions as questions
from surpass.data import choices_reading as reading
from surpass.data import choices_sentences as sentences
from surpass.data import completions, images_catalog, pairs
from surpass.data.base import DataSet

__all__ = ["DATA_SETS"]

DATA_SETS: dict[str, DataSet] = {
    "boolq": sentences.BOOLQ,
    "cosmos_qa": reading.COSMOS_QA,
    "dream": reading.DREAM,
    "ethics_justice": ethics.ETHICS_JUSTICE,
    "ethics_deontology": ethics.ETHICS_DEONTOLOGY,
    "ethics_virtue": ethics.ETHICS_VIRTUE,
    "ethics_utilitarianism": ethics.ETHICS_UTILITARIANISM,
    "anli_r2": sentences.ANLI_R2,
    "cola": sentences.COLA,
    "sst2": sentences.SST2,
    "hellaswag": questions.HELLASWAG,
    "mctaco": reading.MCTACO,
    "openbookqa": questions.OPENBOOKQA,
    "paws": sentences.PAWS,
    "quail": reading.QUAIL,
    "piqa": questions.PIQA,
    "quartz": questions.QUARTZ,
    "sciq": questions.SCIQ,
    "social_iqa": reading.SOCIAL_IQA,
    "multirc": reading.MULTIRC,
    "wic": sentences.WIC,
    "twitter_sentiment": sentences.TWITTER_SENTIMENT,
    "sciq_support": questions.SCIQ_SUPPORT,
    "amazon_polarity": sentences.AMAZON_POLARITY,
    "hh": pairs.HH,
    "shp": pairs.SHP,
    "ultrafeedback": pairs.ULTRAFEEDBACK,
    "gsm8k": completions.GSM8K,
    "cifar10": images_catalog.CIFAR10,
    "cifar100": images_catalog.CIFAR100,
    "imagenet": images_catalog.IMAGENET,
}
