"""The columns of the files that an import reads: results, and what is known of their models and datasets."""

from __future__ import annotations

import re

from featurestore.errors import did_you_mean
from featurestore.store.layout import PENULTIMATE
from probes import metrics
from probes.imports.csv_rows import Column, boolean, fraction, name, number, one_of, whole

SETTINGS = ("fixed", "finetuned", "scratch")

OTHER_SPELLINGS = {"mAP": "map_11point", "11-point mAP": "map_11point", "voc07_11pt_map": "map_11point"}
"""Names of metrics that are understood beside ours. Case, spaces and signs do not matter: top-1 is top1, too."""


def metric(text: str) -> str:
    """Our name of a metric."""
    named = {_letters(spelling): ours for spelling, ours in OTHER_SPELLINGS.items()}
    named |= {_letters(one.name): one.name for one in metrics.METRICS}
    if _letters(text) not in named:
        ours = [one.name for one in metrics.METRICS]
        raise ValueError(f"must be one of {', '.join(ours)}.{did_you_mean(text, ours)}".removesuffix("."))
    return named[_letters(text)]


def headline_metric(text: str) -> str:
    """Our name of a metric that can be a dataset's own: a share, of which more is better."""
    found = metrics.by_name(metric(text))
    if not found.higher_is_better:
        raise ValueError("must be a metric of which more is better, because it is averaged as log-odds")
    return found.name


def _backbone(text: str) -> str:
    if ":" not in text:
        raise ValueError("must be family:identifier, such as timm:resnet50.a1_in1k (`architecture` takes any name)")
    return name(text)


def _accuracy(text: str) -> float:
    value = number(text)
    if not 0 < value < 1:
        raise ValueError("must be a fraction between 0 and 1 (0.751, not 75.1)")
    return value


def _standard_error(text: str) -> float:
    value = number(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _millions(text: str) -> int:
    value = number(text)
    if not 0 < value < 1e9:
        raise ValueError("must be a number of millions above 0")
    return round(value * 1e6)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


RESULTS = (
    Column("setting", one_of(*SETTINGS), required=True),
    Column("model", name, required=True),
    Column("dataset", name, required=True),
    Column("metric", metric, required=True),
    Column("value", number, required=True),
    Column("n_test", whole(1), required=True),
    Column("probe", name, default="logistic"),
    Column("tap", name, default=PENULTIMATE),
    Column("n_per_class", whole(1)),
    Column("seed", whole(0), default=0),
    Column("standard_error", _standard_error),
    Column("n_train", whole(0)),
    Column("n_val", whole(0)),
    Column("train_steps", whole(1)),
)

MODELS = (
    Column("model", name, required=True),
    Column("backbone", _backbone),
    Column("architecture", name),
    Column("weights", name),
    Column("feature_dim", whole(1)),
    Column("input_size", whole(1)),
    Column("params", whole(1)),
    Column("params_millions", _millions, name="params"),
    Column("imagenet_top1", _accuracy),
    Column("label_smoothing", fraction),
    Column("dropout", fraction),
    Column("auxiliary_head", boolean),
    Column("bn_scale", boolean),
    Column("augmentation", name),
    Column("pretraining_data", name),
)
"""Any other column must hold numbers: a source metric of its name."""

DATASETS = (
    Column("dataset", name, required=True),
    Column("n_classes", whole(1)),
    Column("classes", whole(1), name="n_classes"),
    Column("n_train", whole(1)),
    Column("train", whole(1), name="n_train"),
    Column("n_test", whole(1)),
    Column("test", whole(1), name="n_test"),
    Column("metric", headline_metric),
    Column("best_known", _accuracy),
)
DATASETS_IGNORED = ("val_for_hparams", "split_note", "provenance")
"""What a file of datasets may say and no table has a place for."""
