from featurestore.datasets import known_datasets
from featurestore.models import known_models


def test_records_of_other_packages_are_found_one_or_many(tmp_path, monkeypatch):
    """A real installed distribution: its metadata on the path, its entry points naming records."""
    (tmp_path / "zoo_records.py").write_text(
        "from featurestore.datasets import DatasetSpec\n"
        "from featurestore.models import ModelSpec\n"
        "one = DatasetSpec(name='zoo', source='packaged:digits')\n"
        "many = [ModelSpec(name=f'zoo_{i}', backbone='timm:resnet18') for i in range(2)]\n"
    )
    info = tmp_path / "zoo_records-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-records\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[probestore.models]\nzoo = zoo_records:many\n\n[probestore.datasets]\nzoo = zoo_records:one\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert {"zoo_0", "zoo_1"} < set(known_models())
    assert "zoo" in known_datasets()
