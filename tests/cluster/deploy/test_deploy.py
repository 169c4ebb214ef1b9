"""The deployment files are read by their own tools' schemas, and their commands by our command line."""

import importlib.util
import json
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from locations import ROOT
from studies import MINIMAL

from cluster.cli import cli
from cluster.study.study_file import Study, parse_study

DEPLOY = ROOT / "cluster" / "deploy"
PART_OF = {"app.kubernetes.io/part-of": "probestore"}


def ray_version() -> str:
    return re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)[1]


def documents() -> dict[str, dict]:
    return {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text())}


def ray_cluster() -> dict:
    return yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())


def sbatch_options() -> dict[str, str]:
    lines = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.+))?$", (DEPLOY / "slurm.sh").read_text(), flags=re.MULTILINE)
    return dict(lines)


def test_the_aws_cluster_passes_the_schema_of_ray():
    (ray,) = importlib.util.find_spec("ray").submodule_search_locations
    schema = json.loads((Path(ray) / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(ray_cluster(), schema)


def test_gpu_nodes_come_and_go_and_the_head_computes_nothing():
    cluster = ray_cluster()
    head, gpu = (cluster["available_node_types"][name] for name in ("head", "gpu"))
    assert cluster["head_node_type"] == "head"
    assert head["resources"]["CPU"] == 0
    assert (gpu["min_workers"], gpu["max_workers"], gpu["resources"]["GPU"]) == (0, cluster["max_workers"], 1)
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_the_aws_cluster_has_a_token_a_hidden_dashboard_and_no_key():
    cluster, text = ray_cluster(), (DEPLOY / "ray-cluster.yaml").read_text()
    assert "--env=RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])
    assert not re.search(r"AWS_|0\.0\.0\.0", text)
    ports = [(rule["FromPort"], rule["ToPort"]) for rule in cluster["provider"]["security_group"]["IpPermissions"]]
    assert ports == [(22, 22)]
    for node in cluster["available_node_types"].values():
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
        assert "instance-profile" in node["node_config"]["IamInstanceProfile"]["Arn"]


def test_the_rayjob_has_what_kuberay_asks_for():
    job = documents()["RayJob"]
    spec = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["spec"]["submissionMode"]) == ("ray.io/v1", "HTTPMode")
    assert (spec["enableInTreeAutoscaling"], spec["authOptions"]) == (True, {"mode": "token"})
    (group,) = spec["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for part in (spec["headGroupSpec"], group):
        pod = part["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert part["template"]["metadata"]["labels"] == PART_OF
        assert pod["serviceAccountName"] == documents()["ServiceAccount"]["metadata"]["name"]
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_ports_of_the_rayjob_are_for_its_own_pods_and_the_operator():
    spec = documents()["RayJob"]["spec"]["rayClusterSpec"]
    policy = documents()["NetworkPolicy"]["spec"]
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert (policy["podSelector"]["matchLabels"], policy["policyTypes"]) == (PART_OF, ["Ingress"])
    own, operator = policy["ingress"]
    assert own["from"] == [{"podSelector": {"matchLabels": PART_OF}}]
    assert operator["ports"] == [{"port": 8265}]


def test_the_study_of_the_rayjob_is_one(tmp_path):
    study = parse_study(documents()["ConfigMap"]["data"]["study.toml"], tmp_path / "study.toml")
    assert (study.name, len(study.models)) == ("pets", 2)
    assert_waits_for_gpu_nodes(study)


def test_the_workers_of_the_readme_wait_for_gpu_nodes(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", (DEPLOY / "README.md").read_text(), flags=re.DOTALL)
    assert_waits_for_gpu_nodes(parse_study(MINIMAL + text, tmp_path / "study.toml"))


def assert_waits_for_gpu_nodes(study: Study) -> None:
    """Without `autoscaling` a run stops where no GPU node is up yet."""
    assert study.cluster.autoscaling
    assert {study.cluster.of(kind).gpus for kind in ("features", "probes")} == {1.0}


def test_the_slurm_script_is_one():
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sh"], check=True)
    options = sbatch_options()
    assert {"nodes", "gpus-per-node", "cpus-per-task", "time", "requeue", "no-kill"} <= set(options)
    assert options["ntasks-per-node"] == "1"
    assert re.fullmatch(r"\d+:\d\d:\d\d", options["time"])


def test_the_slurm_script_has_a_token_and_no_dashboard():
    text = (DEPLOY / "slurm.sh").read_text()
    assert text.index("export RAY_AUTH_MODE=token") < text.index("export RAY_AUTH_TOKEN\n") < text.index("ray start")
    assert "--include-dashboard=false" in text


def test_all_files_have_the_version_of_ray_that_the_tests_run_with():
    assert f"ARG RAY_VERSION={ray_version()}" in (DEPLOY / "Dockerfile").read_text()
    assert documents()["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"] == ray_version()
    assert f"Ray has the same version everywhere: {ray_version()}." in (DEPLOY / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_every_probestore_command_is_one(path):
    text = path.read_text()
    commands = re.findall(r"(?:^|entrypoint: |')(probestore [a-z]+ [^'\n]+)", text, flags=re.MULTILINE)
    assert commands or path.name in ("Dockerfile", "ray-cluster.yaml")
    for command in commands:
        name, *arguments = shlex.split(command)[1:]
        cli.get_command(None, name).make_context(name, arguments)


def test_every_file_is_explained():
    readme = (DEPLOY / "README.md").read_text()
    assert all(f"`{path.name}`" in readme for path in DEPLOY.iterdir() if path.name != "README.md")
