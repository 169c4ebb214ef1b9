"""What `bench_growth.py` measures in processes of their own: functions that take texts."""

from __future__ import annotations

import timm

from featurestore import FeatureStore
from featurestore.catalogue.models import ModelSpec
from featurestore.networks.identity import identify_all


def identify_models(count: str) -> None:
    """Identify timm models by name, with random weights, so that none is fetched."""
    names = [name for name in timm.list_models() if name.startswith(("resnet", "vit_", "convnext", "efficientnet"))]
    specs = [ModelSpec(name=name, backbone=f"timm:{name}", weights="none") for name in names[: int(count)]]
    identify_all(specs, resize="squash", compute="fp32")


def read_set(uri: str) -> None:
    """Read the only set of a store."""
    store = FeatureStore.open(uri)
    (item,) = store.sets()
    assert store.read(item).X.shape[1] == 64
