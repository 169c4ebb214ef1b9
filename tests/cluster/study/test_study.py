import json
import os
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from studies import MINIMAL, PATH

from cluster.study.probe_settings import probe_settings
from cluster.study.study_file import parse_study, read_study
from featurestore.errors import ConfigurationError
from probes.methods import knn, logistic, ridge


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


def test_a_model_may_have_an_architecture_and_source_metrics_of_its_own():
    own = '[[model]]\nname = "mine"\nbackbone = "timm:resnet50.mine"\narchitecture = "resnet50"\n'
    inline = parse_study(MINIMAL + own + "source_metrics = { food = 0.5, steps = 3 }\n", PATH).models[1]
    table = parse_study(MINIMAL + own + "[model.source_metrics]\nfood = 0.5\nsteps = 3\n", PATH).models[1]
    assert (inline.architecture, inline.source_metrics) == ("resnet50", {"food": 0.5, "steps": 3.0})
    assert inline == table
    assert hash(inline) == hash(table)


def test_paths_are_relative_to_the_file():
    own = '[[model]]\nname = "mine"\nbackbone = "python:nets:build"\nweights = "mine.pth"\ninput_size = 64\n'
    data = '[[dataset]]\nname = "zoo"\nsource = "image_folder:images"\n'
    study = parse_study('store = "out"\n' + own + data, PATH)
    assert study.models[0].weights == "/data/studies/mine.pth"
    assert study.datasets[0].source == "image_folder:/data/studies/images"
    assert study.store == "/data/studies/out"


def test_a_study_knows_the_path_of_its_file_links_as_they_were_given(tmp_path, monkeypatch):
    (folder := tmp_path / "folder").mkdir()
    (folder / "study.toml").write_text(MINIMAL)
    (tmp_path / "link.toml").symlink_to(folder / "study.toml")
    monkeypatch.chdir(tmp_path)
    for given, path in (("folder/study.toml", "folder/study.toml"), ("link.toml", "link.toml")):
        assert read_study(Path(given)).file == str(tmp_path / path)
    assert read_study(Path("folder/../folder/study.toml")).file == str(folder / "study.toml")


def test_a_text_that_a_shell_hands_over_has_no_path(tmp_path):
    (path := tmp_path / "study.toml").write_text(MINIMAL)
    with path.open() as file:
        assert read_study(Path(f"/dev/fd/{file.fileno()}")).file is None
    assert parse_study(MINIMAL, PATH).file is None


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
        (MINIMAL + '[[model]]\nname = "a"\nbackbone = "t:x"\nsource_metrics = 3', "line 6: .*should be an object"),
        (MINIMAL + '[[model]]\nname = "a"\nbackbone = "t:x"\nsource_metrics = { params = 3 }', "name of its own"),
        ('[[model]]\nname = "a"\nbackbone = "timm:x"\n' * 2 + 'x = 1', "line 7: unknown key 'x'"),
        (MINIMAL + '[[model]]\nname = "a"\nbackbone = "timm:x"\n' * 2, "two models are called 'a'"),
        ('models = ["mobilenet_v2"]', "at least one of datasets"),
        (MINIMAL + "extract = 3", "must be a table"),
        (MINIMAL + '[probe]\nprobes = ["logistics"]', "line 4: Unknown probe 'logistics'. Did you mean 'logistic'"),
        (MINIMAL + '[probe]\nsolver = "pth"', "line 4: Unknown solver of .* 'pth'. Did you mean 'path'"),
        (MINIMAL + '[[dataset]]\nname = "a"\nsource = "x:y"\nmetric = "top_1"', "line 6: .*Did you mean 'top1'"),
        ('models = ["timm:resnet50", "torchvision:resnet50"]', "line 1: .*both be called 'resnet50'"),
        (MINIMAL + '[[dataset]]\nname = "a"\nsource = "x:y"\nseed = -1', "must not be negative"),
        (MINIMAL + '[probe]\nprobes = ["knn"]\nsolver = "pth"', "line 5: Unknown solver .* 'pth'. Did you mean 'path'"),
        (MINIMAL + "[probe]\nn_per_class = [5, 0]", "line 3: n_per_class must be numbers of images, at least 1. Got 0"),
        (MINIMAL + "[probe]\nn_per_class = [5, 5]", "line 3: n_per_class must name everything once. Got 5"),
        (MINIMAL + '[probe]\nn_per_class = ["a"]', "line 4: n_per_class: input should be a valid integer"),
        (MINIMAL + "[probe]\nfew_shot_seeds = 0", "line 3: few_shot_seeds must be 1 to 1000. Got 0"),
        (MINIMAL + "[probe]\nfew_shot_seeds = 1000000000", "line 3: few_shot_seeds must be 1 to 1000. Got 1000000000"),
        (MINIMAL + "[extract]\nmax_relative_error = nan", "line 4: max_relative_error must be a finite number"),
        (MINIMAL + "[extract]\nmodel_memory_gb = inf", "line 4: model_memory_gb must be a finite number. Got inf"),
        ("a = " + "[" * 100_000, "is nested too deeply to be a study"),
        (MINIMAL + '[probe]\nprobes = ["knn", "knn"]', "line 3: probes must name everything once. Got 'knn'"),
        (MINIMAL + "[probe.logistics]\nl2s = [1.0]", r"line 3: Unknown probe 'logistics'. Did you mean 'logistic'"),
        (MINIMAL + "[probe.knn]\nks = [1]", r"line 3: \[probe.knn\] sets options of a probe that is not wanted"),
        (MINIMAL + "[probe.logistic]\n\nl2 = [1.0]", r"line 5: unknown key 'l2'. Did you mean 'l2s'\? \[probe"),
        (MINIMAL + '[probe.logistic]\nl2s = ["a"]', "line 4: l2s: input should be a valid number"),
        (MINIMAL + '[probe.logistic]\nscaling = "units"', "line 4: scaling: input should be 'none', 'standardize'"),
        (MINIMAL + '[probe]\nprobes = ["knn"]\n[probe.knn]\nks = []', "line 5: "),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_a_suggestion(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_study(text, PATH)


def test_few_shot_tasks_and_options_of_probes_are_read():
    text = '[probe]\nprobes = ["knn", "ridge"]\nn_per_class = [1, 5]\n[probe.knn]\nks = [3]\n'
    settings = parse_study(MINIMAL + text, PATH).probe
    assert (settings.n_per_class, settings.few_shot_seeds) == ((1, 5), 3)
    assert settings.options == {"knn": knn.Options(ks=(3,))}
    assert json.loads(settings.options_json("ridge")) == json.loads(json.dumps(asdict(ridge.Options())))


@pytest.mark.skipif(find_spec("cuml") is not None, reason="cuml is installed")
def test_a_solver_that_needs_a_package_says_how_to_install_it():
    message = r"line 4: The solver 'cuml' needs the package cuml.*pip install 'probestore\[cuml\]'.*NVIDIA GPU.*path"
    with pytest.raises(ConfigurationError, match=message):
        parse_study(MINIMAL + '[probe]\nsolver = "cuml"', PATH)


def test_options_without_a_file_are_checked_in_the_same_way():
    found = probe_settings(
        probes=["knn", "logistic"], options=["knn.ks=[3]", "logistic.scaling=unit", "knn.temperature=1"]
    )
    assert found.options == {"knn": knn.Options(ks=(3,), temperature=1.0), "logistic": logistic.Options(scaling="unit")}
    for option, message in [
        ("knn.k=3", "unknown key 'k'.*Did you mean 'ks'"),
        ("knn.ks=a", "ks: input should be a valid .*'a'"),
        ("knn", "must be probe.option=value"),
        ("kn.ks=[3]", "Unknown probe 'kn'. Did you mean 'knn'"),
        ("ridge.l2s=[1]", r"\[probe.ridge\] sets options of a probe that is not wanted"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            probe_settings(probes=["knn"], options=[option])


def test_a_missing_file_comes_with_suggestions(tmp_path):
    (tmp_path / "study.toml").write_text(MINIMAL)
    with pytest.raises(ConfigurationError, match=r"There is no study file .*Did you mean '.*study\.toml'"):
        read_study(tmp_path / "studdy.toml")


def test_a_folder_whose_name_is_not_text_is_refused_before_anything_is_computed(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "study.toml").write_text(MINIMAL)
    with pytest.raises(ConfigurationError, match=r"path of a study must be text in UTF-8.*udce9.*make a link to it"):
        read_study(folder / "study.toml")


def test_the_name_of_a_file_that_can_be_no_name_comes_with_the_way_out(tmp_path):
    (tmp_path / "my study.toml").write_text(MINIMAL)
    with pytest.raises(ConfigurationError, match=r"Got 'my study'. Begin the file with a name .*name = 'study'"):
        read_study(tmp_path / "my study.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"study.toml must be text in UTF-8, but is in UTF-16"):
        read_study(tmp_path / "study.toml")
