"""The manifests: they keep Kubernetes' own schemas, and what they configure is right."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from linux_packages.recipe import version
from mcpnatsd.config.load import load
from mcpnatsd.config.model import Config
from mcpnatsd.daemon.draining import DRAIN_FOR
from mcpnatsd.daemon.probes import DRAIN_HEADER, PATHS

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "packaging" / "kubernetes"
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
IMAGE = f"registry.example.com/mcpnatsd:{version()}"
OLDEST, NEWEST = "1.30", "1.37"
"""Of Kubernetes: the first with a preStop that sleeps, and the last that was looked at."""


@cache
def kustomize() -> list[str]:
    """Return a command that builds a kustomization; without one of its own, Go brings it."""
    if program := shutil.which("kustomize"):
        return [program, "build"]
    if program := shutil.which("kubectl"):
        return [program, "kustomize"]
    go = shutil.which("go")
    assert go, "the component is built with kustomize: install kubectl, kustomize or Go"
    bin_folder = (ROOT / ".cache" / "kustomize").resolve()
    subprocess.run(
        [go, "install", KUSTOMIZE], env={**os.environ, "GOBIN": str(bin_folder)}, check=True
    )
    return [str(bin_folder / "kustomize"), "build"]


@cache
def built(folder: Path = KUBERNETES) -> str:
    command = [*kustomize(), str(folder / "example")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def sidecar_yaml() -> str:
    return (KUBERNETES / "sidecar.yaml").read_text(encoding="utf-8")


WAYS = pytest.mark.parametrize("text_of", [sidecar_yaml, built])


def resources(text: str) -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def sidecar(text: str) -> dict[str, Any]:
    [found] = resources(text)["Deployment"]["spec"]["template"]["spec"]["initContainers"]
    assert isinstance(found, dict)
    return found


def configured(text: str, folder: Path) -> Config:
    path = folder / "mcpnatsd.yaml"
    path.write_text(resources(text)["ConfigMap"]["data"]["mcpnatsd.yaml"], encoding="utf-8")
    return load(path, {})


@WAYS
@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_a_manifest_keeps_the_strict_schema(text_of: Any, kubernetes: str) -> None:
    for resource in resources(text_of()).values():
        kubernetes_validate.validate(resource, kubernetes, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    deployment = resources(sidecar_yaml())["Deployment"]
    deployment["spec"]["template"]["spec"]["initContainers"][0]["restartPolcy"] = "Always"

    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolcy"):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


@WAYS
def test_its_configuration_is_valid_and_its_server_is_beside_it(
    text_of: Any, tmp_path: Path
) -> None:
    config = configured(text_of(), tmp_path)

    [server] = config.servers.values()
    assert server.url == "http://127.0.0.1:8000/mcp"
    assert config.metrics is not None


@WAYS
def test_each_probe_asks_what_it_is_for(text_of: Any, tmp_path: Path) -> None:
    one = sidecar(text_of())
    asked = {
        key: one[key]["httpGet"]["path"]
        for key in ("startupProbe", "readinessProbe", "livenessProbe")
    }

    assert asked == {
        "startupProbe": "/startz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    hook = one["lifecycle"]["preStop"]["httpGet"]
    assert hook["path"] == "/drain"
    assert hook["httpHeaders"] == [{"name": DRAIN_HEADER, "value": "yes"}]
    assert {*asked.values(), "/drain"} < {*PATHS}
    [port] = one["ports"]
    metrics = configured(text_of(), tmp_path).metrics
    assert metrics is not None
    assert metrics.listen == f"[::]:{port['containerPort']}"


@WAYS
def test_where_any_address_may_drain_a_policy_keeps_other_pods_out(
    text_of: Any, tmp_path: Path
) -> None:
    found = resources(text_of())
    metrics = configured(text_of(), tmp_path).metrics
    assert metrics is not None
    assert metrics.drain_from == ("0.0.0.0/0", "::/0")

    policy = found["NetworkPolicy"]["spec"]
    pod = found["Deployment"]["spec"]["template"]
    [rule] = policy["ingress"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert [*rule["from"][0]] == ["namespaceSelector"]
    assert len(rule["from"]) == 1


def test_the_component_leaves_other_deployments_of_the_kustomization_alone(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    example = tmp_path / "kubernetes" / "example"
    text = (example / "deployment.yaml").read_text(encoding="utf-8")
    other = text.replace("labels: {mcpnatsd: sidecar}", "labels: {}").replace("weather", "other")
    (example / "deployment.yaml").write_text(f"{text}---\n{other}", encoding="utf-8")

    pods = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in yaml.safe_load_all(built(tmp_path / "kubernetes"))
        if one["kind"] == "Deployment"
    }
    assert [*pods["other"]] == ["containers"]
    assert pods["weather"]["initContainers"][0]["name"] == "mcpnatsd"


@WAYS
def test_it_is_a_native_sidecar_without_rights(text_of: Any) -> None:
    one = sidecar(text_of())
    security = one["securityContext"]

    assert one["restartPolicy"] == "Always"
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["runAsUser"] == security["runAsGroup"] == 65532


@WAYS
def test_what_it_mounts_is_there_and_the_configuration_is_a_whole_folder(text_of: Any) -> None:
    """A file mounted by `subPath` would never change: no reload without a restart."""
    pod = resources(text_of())["Deployment"]["spec"]["template"]["spec"]
    mounts = {one["mountPath"]: one for one in sidecar(text_of())["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}

    assert {one["name"] for one in mounts.values()} == volumes.keys()
    assert not [one for one in mounts.values() if "subPath" in one]
    name = resources(text_of())["ConfigMap"]["metadata"]["name"]
    assert volumes[mounts["/etc/mcpnatsd"]["name"]]["configMap"]["name"] == name
    assert not [path for path, one in mounts.items() if volumes[one["name"]].get("emptyDir")
                and path != "/var/lib/mcpnatsd"]  # fmt: skip


@WAYS
def test_the_pod_has_time_for_a_drain(text_of: Any) -> None:
    pod = resources(text_of())["Deployment"]["spec"]["template"]["spec"]
    [server] = pod["containers"]
    slept = server["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert pod["terminationGracePeriodSeconds"] >= slept + DRAIN_FOR + 5


def test_the_component_puts_in_the_same_sidecar() -> None:
    explained, patched = sidecar(sidecar_yaml()), sidecar(built())
    of_its_pod = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    explained["securityContext"].update(of_its_pod)

    assert explained == patched


def test_one_image_stands_everywhere() -> None:
    files = [*KUBERNETES.rglob("*.yaml"), ROOT / "packaging" / "compose.yaml"]
    text = "".join(path.read_text(encoding="utf-8") for path in files)

    assert set(re.findall(r"\S*mcpnatsd:[0-9]\S*", text)) == {IMAGE}
    assert f"newTag: {version()}" in text
