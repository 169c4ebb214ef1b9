from pathlib import Path

import pytest

from cluster.study import parse_study, read_study
from featurestore.errors import ConfigurationError

MINIMAL = 'models = ["mobilenet_v2"]\ndatasets = ["digits"]\n'
PATH = Path("/data/studies/pets.toml")


def test_a_study_takes_its_name_from_its_file_and_defaults_from_the_code():
    study = parse_study(MINIMAL, PATH)
    assert (study.name, study.store, study.extract.resize, study.probe.probes) == (
        "pets",
        None,
        "squash",
        ("logistic",),
    )
    assert [spec.name for spec in study.models] == ["mobilenet_v2"]


def test_what_the_file_defines_is_part_of_the_study():
    own = '[[model]]\nname = "mine"\nbackbone = "python:nets:build"\ninput_size = 64\nmean = [0.5, 0.5, 0.5]\n'
    data = '[[dataset]]\nname = "zoo"\nsource = "image_folder:images"\n'
    study = parse_study(MINIMAL + own + data, PATH)
    assert [spec.name for spec in study.models] == ["mobilenet_v2", "mine"]
    assert study.models[1].mean == (0.5, 0.5, 0.5)
    assert [spec.name for spec in study.datasets] == ["digits", "zoo"]


def test_paths_are_relative_to_the_file():
    own = '[[model]]\nname = "mine"\nbackbone = "python:nets:build"\nweights = "mine.pth"\ninput_size = 64\n'
    data = '[[dataset]]\nname = "zoo"\nsource = "image_folder:images"\n'
    study = parse_study('store = "out"\n' + own + data, PATH)
    assert study.models[0].weights == "/data/studies/mine.pth"
    assert study.datasets[0].source == "image_folder:/data/studies/images"
    assert study.store == "/data/studies/out"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a =\nb = 1", "is not TOML: .*line 1"),
        ('\nmodles = ["a"]', "line 2: unknown key 'modles'. Did you mean 'models'"),
        ('models = ["mobilnet_v2"]', "line 1: Unknown model 'mobilnet_v2'. Did you mean 'mobilenet_v2'"),
        ('models = ["mobilenet_v2"]\ndatasets = ["digit"]', "line 2: Unknown dataset 'digit'. Did you mean 'digits'"),
        (MINIMAL + "[extract]\nbatchsize = 3", "line 4: unknown key 'batchsize'. Did you mean 'batch_size'"),
        (MINIMAL + '[extract]\n\nbatch_size = "3"', "line 5: batch_size: input should be a valid integer. Got '3'"),
        (MINIMAL + '[extract]\ncompute = "fp64"', "line 4: compute: input should be 'fp32', 'bf16' or 'fp16'"),
        (MINIMAL + '[[model]]\nname = "a"', r"line 3: \[\[model\]\] must have backbone"),
        (MINIMAL + '[model]\nname = "a"', r"line 3: model must be an array of tables: write \[\[model\]\]"),
        (MINIMAL + '[[model]]\nname = "../a"\nbackbone = "timm:x"', "becomes part of a path"),
        (MINIMAL + '[[model]]\nname = "a"\nbackbone = "timm:x"\nimagenet_top1 = 75.1', "line 3: .*0.751, not 75.1"),
        ('[[model]]\nname = "a"\nbackbone = "timm:x"\n' * 2 + 'x = 1', "line 7: unknown key 'x'"),
        (MINIMAL + '[[model]]\nname = "a"\nbackbone = "timm:x"\n' * 2, "two models are called 'a'"),
        ('models = ["mobilenet_v2"]', "at least one of datasets"),
        (MINIMAL + "extract = 3", "must be a table"),
        (MINIMAL + '[probe]\nprobes = ["logistics"]', "line 4: Unknown probe 'logistics'. Did you mean 'logistic'"),
        (MINIMAL + '[probe]\nsolver = "pth"', "line 4: Unknown solver of .* 'pth'. Did you mean 'path'"),
        (MINIMAL + '[[dataset]]\nname = "a"\nsource = "x:y"\nmetric = "top_1"', "line 6: .*Did you mean 'top1'"),
        ('models = ["timm:resnet50", "torchvision:resnet50"]', "line 1: .*both be called 'resnet50'"),
        (MINIMAL + '[[dataset]]\nname = "a"\nsource = "x:y"\nseed = -1', "must not be negative"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_a_suggestion(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_study(text, PATH)


def test_a_missing_file_comes_with_suggestions(tmp_path):
    (tmp_path / "study.toml").write_text(MINIMAL)
    with pytest.raises(ConfigurationError, match=r"There is no study file .*Did you mean '.*study\.toml'"):
        read_study(tmp_path / "studdy.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="Cannot read the study file"):
        read_study(tmp_path / "study.toml")
