"""The image, the Kubernetes manifest and the rights on the bucket fit each other, the jobs and the code.

`FIELDS` are those of KubeRay's API `ray.io/v1` (its reference, docs/reference/api.md) that a RayJob may have; KubeRay
drops others without a word, so a wrong one would go unnoticed.
"""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drp_ray.config import load_config

REPOSITORY = Path(__file__).parents[2]
FIELDS = {
    "spec": {
        "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata",
        "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy",
        "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode",
        "entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
        "shutdownAfterJobFinishes", "suspend",
    },
    "rayClusterSpec": {
        "suspend", "managedBy", "autoscalerOptions", "authOptions", "headServiceAnnotations", "enableInTreeAutoscaling",
        "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs",
    },
    "headGroupSpec": {
        "template", "headService", "enableIngress", "rayStartParams", "serviceType", "resources", "labels",
    },
    "workerGroupSpecs": {
        "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "rayStartParams",
        "template", "scaleStrategy", "numOfHosts", "resources", "labels",
    },
}  # fmt: skip
ACTIONS = {
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "upload_fileobj": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "open_input_file": "s3:GetObject",
}
"""What the storage layer calls, and the right that AWS asks for it."""


@pytest.fixture(scope="module")
def rayjob() -> Any:
    return yaml.safe_load((REPOSITORY / "rayjob.yaml").read_text())


@pytest.fixture(scope="module")
def policy() -> Any:
    return json.loads((REPOSITORY / "iam-policy.json").read_text())["Statement"]


def containers(rayjob: Any) -> list[Any]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def job_of(rayjob: Any) -> Path:
    """The job file that is started, where it lies in the repository."""
    return Path(re.search(r"drp_ray run /home/ray/drp-ray/(\S+)", rayjob["spec"]["entrypoint"])[1])


@pytest.mark.parametrize(("code", "repeated"), [(0, 0), (1, 1), (2, 0), (3, 0), (137, 1)])
def test_what_another_cluster_would_not_mend_is_not_repeated(rayjob, code, repeated):
    command = re.sub(r"python -m drp_ray run \S+", f"(exit {code})", rayjob["spec"]["entrypoint"])
    assert subprocess.run(command, shell=True, stdout=subprocess.DEVNULL).returncode == repeated


def test_the_manifest_has_what_kuberay_asks_for_and_nothing_that_it_does_not_know(rayjob):
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    assert rayjob["metadata"]["name"]
    spec = rayjob["spec"]
    cluster = spec["rayClusterSpec"]
    assert spec.keys() <= FIELDS["spec"]
    assert cluster.keys() <= FIELDS["rayClusterSpec"]
    assert cluster["headGroupSpec"].keys() <= FIELDS["headGroupSpec"]
    for group in cluster["workerGroupSpecs"]:
        assert {"groupName", "template", "maxReplicas", "minReplicas"} <= group.keys() <= FIELDS["workerGroupSpecs"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for container in containers(rayjob):
        assert {"name", "image", "resources"} <= container.keys()
        assert container["resources"]["limits"] == container["resources"]["requests"]


def test_every_volume_that_is_mounted_is_there(rayjob):
    for group in rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_all_nodes_have_the_image_and_the_ray_that_the_dockerfile_makes(rayjob):
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    pinned = re.search(r"^ray\[.*==(.*)$", (REPOSITORY / "requirements/gpu.txt").read_text(), re.MULTILINE)[1]
    built = re.search(r"docker build -t (\S+)", dockerfile)[1]
    assert f"FROM rayproject/ray:{pinned}-" in dockerfile
    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == pinned
    assert {container["image"] for container in containers(rayjob)} == {built}


def test_the_image_holds_what_it_copies_and_the_job_that_is_started(rayjob):
    copied = [
        source
        for line in re.findall(r"^COPY --chown=ray (.*) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
        for source in line.split()
    ]
    kept = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().split() if line.startswith("!")}
    assert kept == set(copied)
    assert all((REPOSITORY / source).exists() for source in copied)
    file = job_of(rayjob)
    assert file.parts[0] in copied
    assert (REPOSITORY / file).is_file()


def test_the_job_that_is_started_fits_the_workers(rayjob):
    config = load_config(REPOSITORY / job_of(rayjob))
    [group] = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    [worker] = group["template"]["spec"]["containers"]
    gpus = int(worker["resources"]["limits"]["nvidia.com/gpu"]) * group["maxReplicas"]
    assert max(model.replicas.max * model.gpus for model in config.models.values()) == gpus
    assert config.embedding.replicas.max * config.embedding.num_gpus == gpus


def calls_of(file: Path) -> Iterator[str]:
    """The names of the methods that a module calls, and the operations that it pages through."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr
            if node.func.attr == "get_paginator":
                yield ast.literal_eval(node.args[0])


def test_the_policy_allows_what_the_storage_layer_calls_and_no_more(policy):
    used = {ACTIONS[name] for name in calls_of(REPOSITORY / "drp_ray/storage/bucket.py") if name in ACTIONS}
    allowed = {action for statement in policy for action in statement["Action"]}
    assert allowed - {"s3:AbortMultipartUpload"} == used, "a large file that failed is taken back"
    assert {statement["Effect"] for statement in policy} == {"Allow"}
    assert not any("*" in action for action in allowed)


def test_the_policy_lets_nobody_change_a_dataset(policy):
    writes = [statement for statement in policy if set(statement["Action"]) & {"s3:PutObject", "s3:DeleteObject"}]
    assert [statement["Resource"] for statement in writes] == ["arn:aws:s3:::YOUR-BUCKET/drp/*"]


@pytest.mark.parametrize("name", ["yelp_drp", "yelp_dpl", "books_drp"])
def test_the_policy_covers_the_folders_of_the_jobs(policy, name):
    config = load_config(REPOSITORY / "jobs" / f"{name}.yaml")
    patterns = [statement["Resource"].removeprefix("arn:aws:s3:::") for statement in policy]
    assert f"{config.root.removeprefix('s3://')}/*" in patterns
    assert any(config.dataset.removeprefix("s3://").startswith(pattern.removesuffix("*")) for pattern in patterns)


def test_only_workers_are_spot_nodes():
    nodes = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
    types = nodes["available_node_types"]
    spot = {name for name, node in types.items() if "InstanceMarketOptions" in node["node_config"]}
    assert spot == set(types) - {nodes["head_node_type"]}
