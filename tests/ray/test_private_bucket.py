"""A study as firms run it: a private bucket behind an authority of their own, and a cluster whose nodes differ."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from faulty_s3 import faulty
from ray_cluster import RayCluster, kill
from tiny import TINY_NETWORK, save_images
from tls_front import make_certificate, tls_front

STUDY = """
[[model]]
name = "tiny"
backbone = "python:my_net:build"
weights = "none"
input_size = 16
[[dataset]]
name = "pets"
source = "image_folder:images"
shard_images = 4
[probe]
probes = ["logistic"]
"""


@pytest.fixture
def everything(endpoint, tmp_path, monkeypatch):
    """A folder with all that a node needs: study, module, images, credentials, and the authority's certificate."""
    folder = tmp_path / "everything"
    (folder / "home" / ".aws").mkdir(parents=True)
    (folder / "home" / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
    )
    (folder / "home" / ".aws" / "config").write_text("[default]\nregion = us-east-1\n")
    (folder / "my_net.py").write_text(TINY_NETWORK)
    (folder / "study.toml").write_text(STUDY)
    save_images(folder / "images", {"cats": 20, "dogs": 20})
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="a"
    )
    client.create_bucket(Bucket="firm")
    authority = make_certificate(folder)
    with faulty(endpoint) as proxy, tls_front(("127.0.0.1", urlsplit(proxy.endpoint).port), authority) as port:
        proxy.private = True
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{port}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("HOME", str(folder / "home"))
        yield folder


def probestore(*words: str, env: dict[str, str], code: int = 0) -> str:
    """What a command writes, of both streams."""
    command = [str(Path(sys.executable).parent / "probestore"), *words, "--store", "s3://firm/stores/pets"]
    ended = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=250)
    assert ended.returncode == code, ended.stdout
    return ended.stdout


def test_a_study_ends_well_on_a_private_bucket_although_one_of_three_nodes_lacks_everything(everything, tmp_path):
    with RayCluster() as cluster:
        for hidden in (None, None, everything):
            cluster.add(hide=hidden)
        said = probestore("run", str(everything / "study.toml"), "--address", cluster.address, env=cluster.env)
        assert "Computed 40 image features and 1 new cell; the study has 1." in said, said
        assert said.count("No work for nodes") == 1, said
        assert "Nothing is missing" in probestore(
            "run", str(everything / "study.toml"), "--address", cluster.address, env=cluster.env
        )
    env = dict(os.environ)
    assert "no errors, no warnings" in probestore("verify", env=env)
    assert "tiny" in probestore("query", "leaderboard", "--format", "csv", env=env)
    probestore("report", "--out", str(tmp_path / "report.html"), env=env)
    assert "tiny" in (tmp_path / "report.html").read_text()
    assert "tiny" in _report_of_the_dashboard(env)


def _report_of_the_dashboard(env: dict[str, str]) -> str:
    """The report that a dashboard shows, once it has read the store."""
    command = [str(Path(sys.executable).parent / "probestore"), "dashboard", "--store", "s3://firm/stores/pets"]
    server = subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    try:
        assert server.stdout
        address = server.stdout.readline().strip()
        browser.open(address, timeout=60).close()  # it gives the cookie
        page, until = "", time.monotonic() + 60
        while not page and time.monotonic() < until:
            time.sleep(0.2)
            page = browser.open(address.split("?")[0] + "report", timeout=60).read().decode()
        return page
    finally:
        kill(server.pid)
        server.communicate()
