"""The table of accuracies that timm publishes."""

import timm
from timm.data import resolve_data_config

from featurestore.catalogue.timm_accuracy import _table, measured


def test_a_network_has_an_accuracy_for_each_size_that_timm_measured_it_at():
    assert [(entry.input_size, entry.crop_pct, entry.top1) for entry in measured("resnet50.a1_in1k")] == [
        (224, 0.95, 0.80382),
        (288, 1.0, 0.8124),
    ]
    assert measured("resnet50.no_such_tag") == ()


DOUBTFUL = "convnext_tiny.fb_in22k_ft_in1k"


def test_a_published_number_that_cannot_be_right_is_no_accuracy():
    assert [(row.input_size, row.top1) for row in measured(DOUBTFUL)] == [(224, 0.829)]


def test_every_row_is_a_fraction_of_a_name_that_timm_lists_at_its_size_of_testing_or_training():
    names = set(timm.list_models(pretrained=True))
    assert sum(map(len, _table().values())) == 1555
    for name, rows in _table().items():
        assert name in names
        config = timm.get_pretrained_cfg(name).to_dict()
        known = [resolve_data_config({}, pretrained_cfg=config, use_test_size=use) for use in (True, False)]
        sizes = [own["input_size"][-1] for own in known]
        assert {row.input_size for row in rows} <= set(sizes)
        assert sizes[0] in {row.input_size for row in rows} or name == DOUBTFUL
        assert all(0.3 < row.top1 < 0.95 and row.crop_pct <= 1.15 for row in rows)
