"""The columns of the files that an import reads: results, models and datasets."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from featurestore.store.layout import PENULTIMATE
from featurestore.store.schema import SETTINGS
from probes import metrics
from probes.imports.csv_rows import Columns, Count, Fraction, Index, Name, Number, Truth, must, one_of

OTHER_SPELLINGS = {"mAP": "map_11point", "11-point mAP": "map_11point", "voc07_11pt_map": "map_11point"}
"""Spellings of metrics that an import also understands. It ignores case, spaces and signs: top-1 is top1."""


def metric(text: str) -> str:
    """Return our name of a metric. Raise ValueError if there is no such metric."""
    named = {_letters(spelling): ours for spelling, ours in OTHER_SPELLINGS.items()}
    ours = [one.name for one in metrics.METRICS]
    named |= {_letters(name): name for name in ours}
    return one_of(named.get(_letters(text), text), ours)


def headline_metric(text: str) -> str:
    """Return our name of a metric that models can be compared by. Raise ValueError if it is a loss or an error."""
    found = metrics.by_name(metric(text))
    if not found.higher_is_better:
        raise ValueError("must be a metric of which more is better, because it is averaged as log-odds")
    return found.name


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


_Setting = Annotated[str, AfterValidator(partial(one_of, choices=tuple(SETTINGS)))]
_Metric = Annotated[str, AfterValidator(metric)]
_HeadlineMetric = Annotated[str, AfterValidator(headline_metric)]
_Backbone = Annotated[
    Name,
    must(
        "be family:identifier, such as timm:resnet50.a1_in1k (the column architecture takes any name)",
        lambda text: ":" in text,
    ),
]
_Accuracy = Annotated[Number, Field(gt=0, lt=1), must("be a fraction above 0 and below 1 (0.751, not 75.1)")]
_StandardError = Annotated[Number, Field(ge=0), must("be a number that is not negative")]
_Millions = Annotated[
    Number,
    Field(gt=0, lt=1e9),
    AfterValidator(lambda millions: round(millions * 1e6)),
    must("be a number of millions above 0"),
]


class Results(Columns):
    """The columns of a file of results."""

    setting: _Setting
    model: Name
    dataset: Name
    metric: _Metric
    value: Number
    n_test: Count
    probe: Name = "logistic"
    tap: Name = PENULTIMATE
    n_per_class: Count | None = None
    seed: Index = 0
    standard_error: _StandardError | None = None
    n_train: Index | None = None
    n_val: Index | None = None
    train_steps: Count | None = None


class Models(Columns):
    """The columns of a file of models. Any other column must hold numbers: a source metric of the column's name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number]
    SAME = (("params_millions", "params"),)

    model: Name
    backbone: _Backbone | None = None
    architecture: Name | None = None
    weights: Name | None = None
    feature_dim: Count | None = None
    input_size: Count | None = None
    params: Count | None = None
    params_millions: _Millions | None = None
    imagenet_top1: _Accuracy | None = None
    label_smoothing: Fraction | None = None
    dropout: Fraction | None = None
    auxiliary_head: Truth | None = None
    bn_scale: Truth | None = None
    augmentation: Name | None = None
    pretraining_data: Name | None = None


class Datasets(Columns):
    """The columns of a file of datasets."""

    SAME = (("classes", "n_classes"), ("train", "n_train"), ("test", "n_test"))
    NOT_READ = ("val_for_hparams", "split_note", "provenance")

    dataset: Name
    n_classes: Count | None = None
    classes: Count | None = None
    n_train: Count | None = None
    train: Count | None = None
    n_test: Count | None = None
    test: Count | None = None
    metric: _HeadlineMetric | None = None
    best_known: _Accuracy | None = None
