"""The files of ops/kubernetes fit together and fit the broker: names, ports, settings, probes, security.

They are rendered by a small part of kustomize here, so that this needs no tool. Where `kubectl` is installed,
its rendering is compared; where the package kubernetes-validate is, the schemas of Kubernetes judge it.
"""

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker import __version__
from broker.cli.commands import COMMANDS
from broker.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ops" / "kubernetes"
DOCS = ROOT / "docs" / "kubernetes.md"
Document = dict[str, Any]
SECRETS = {
    "redis-url": "redis://:secret@store:6379/0",
    "url": "mqtts://mqtt.example.org:8883",
    "metadata.name": "fhir-broker-mqtt-0",
}
ROLES = {
    "one-machine": {"serve"},
    "scaled-out": {"api", "match", "dispatch"},
    "all": {"api", "match", "dispatch", "mqtt"},
}
_HASH = re.compile(r"(fhir-broker-settings)-[a-z0-9]{10}\b")


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An overlay as a user writes one: everything, and two settings of its own."""
    folder: Path = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(FOLDER, folder / "ops")
    (folder / "all").mkdir()
    (folder / "all" / "kustomization.yaml").write_text(
        "resources: [../ops/scaled-out]\ncomponents: [../ops/mqtt]\n"
    )
    return folder / "all"


@pytest.fixture(params=ROLES)
def rendered(request: pytest.FixtureRequest, overlay: Path) -> tuple[str, list[Document]]:
    name: str = request.param
    return name, list(render(overlay if name == "all" else FOLDER / name))


def render(folder: Path) -> Iterator[Document]:
    """What `kubectl kustomize` makes of the parts of kustomize that these files use."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    known = {"apiVersion", "kind", "resources", "components", "configMapGenerator"}
    assert kustomization.keys() <= known
    for name in (*kustomization.get("resources", ()), *kustomization.get("components", ())):
        path = (folder / name).resolve()
        if path.is_dir():
            yield from render(path)
        else:
            yield from (document for document in yaml.safe_load_all(path.read_text()) if document)
    for generated in kustomization.get("configMapGenerator", ()):
        literals = dict(literal.split("=", 1) for literal in generated["literals"])
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generated["name"]},
            "data": literals,
        }


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def workloads(documents: list[Document]) -> list[Document]:
    return of_kind(documents, "Deployment", "StatefulSet")


def pods(documents: list[Document]) -> list[Document]:
    return [workload["spec"]["template"] for workload in workloads(documents)]


def container_of(pod: Document) -> Document:
    [container] = pod["spec"]["containers"]
    found: Document = container
    return found


def selected(documents: list[Document], labels: Document) -> list[Document]:
    return [pod for pod in pods(documents) if labels.items() <= pod["metadata"]["labels"].items()]


def environment(documents: list[Document], pod: Document) -> dict[str, str]:
    """The variables of a container; what a secret or a field gives is made up."""
    container = container_of(pod)
    config_maps = {each["metadata"]["name"]: each["data"] for each in of_kind(documents, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in container["envFrom"]:
        variables |= config_maps[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        key = source.get("secretKeyRef", {}).get("key") or source.get("fieldRef", {}).get("fieldPath")
        variables[variable["name"]] = variable["value"] if key is None else SECRETS[key]
    return variables


def test_each_way_has_its_roles(rendered: tuple[str, list[Document]]) -> None:
    name, documents = rendered
    assert {container_of(pod)["args"][0] for pod in pods(documents)} == ROLES[name]
    for pod in pods(documents):
        [command] = container_of(pod)["args"]
        assert command in COMMANDS
        assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == command
        assert container_of(pod)["image"] == f"fhir-broker:{__version__}"
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)


def test_the_settings_of_every_process_are_valid_and_their_files_are_mounted(
    rendered: tuple[str, list[Document]],
) -> None:
    _, documents = rendered
    for pod in pods(documents):
        settings = Settings.from_environment(environment(documents, pod))
        settings.refuse_open()
        container = container_of(pod)
        assert {port["containerPort"] for port in container["ports"]} == {settings.port}
        assert settings.auth == "smart"
        mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
        files = [settings.key_ring, settings.clients_dir, settings.mqtt_topics, settings.high_water_path]
        for path in filter(None, files):
            assert any(path.is_relative_to(mount) for mount in mounts), path
        assert (settings.redis_url is None) == (container["args"] == ["serve"])
        is_matching = container["args"] in (["match"], ["serve"])
        assert (settings.high_water_path is not None) == is_matching


def test_what_a_pod_names_is_there_or_is_made_by_the_operator(rendered: tuple[str, list[Document]]) -> None:
    _, documents = rendered
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    page = DOCS.read_text()
    for workload, pod in zip(workloads(documents), pods(documents), strict=True):
        spec, container = pod["spec"], container_of(pod)
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        volumes = {volume["name"] for volume in spec["volumes"]} | claims
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        made = {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
        made |= {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
        made |= {
            variable["valueFrom"]["secretKeyRef"]["name"]
            for variable in container.get("env", ())
            if "secretKeyRef" in variable.get("valueFrom", {})
        }
        for name in made:
            assert re.search(rf"create (secret generic|configmap) {name} ", page), name
        if workload["kind"] == "StatefulSet":
            assert ("Service", workload["spec"]["serviceName"]) in there


def test_services_budgets_and_policies_select_pods_that_are_there(
    rendered: tuple[str, list[Document]],
) -> None:
    _, documents = rendered
    for workload, pod in zip(workloads(documents), pods(documents), strict=True):
        assert selected(documents, workload["spec"]["selector"]["matchLabels"]) == [pod]
    for service in of_kind(documents, "Service"):
        [pod] = selected(documents, service["spec"]["selector"])
        ports = {port["name"] for port in container_of(pod)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(documents, "PodDisruptionBudget"):
        [pod] = selected(documents, budget["spec"]["selector"]["matchLabels"])
        [workload] = [each for each in workloads(documents) if each["spec"]["template"] is pod]
        assert budget["spec"]["maxUnavailable"] < workload["spec"]["replicas"]
    for policy in of_kind(documents, "NetworkPolicy"):
        is_of_store = policy["metadata"]["name"] == "fhir-broker-store"
        found = selected(documents, policy["spec"]["podSelector"]["matchLabels"])
        assert found, policy["metadata"]["name"]
        if is_of_store:
            assert len(found) == len(pods(documents))
    [default] = [
        each
        for each in of_kind(documents, "NetworkPolicy")
        if each["metadata"]["name"] == "fhir-broker-default"
    ]
    assert default["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert selected(documents, default["spec"]["podSelector"]["matchLabels"]) == pods(documents)


def test_more_than_one_process_of_a_role_has_a_budget_and_is_replaced_without_a_gap(
    rendered: tuple[str, list[Document]],
) -> None:
    _, documents = rendered
    budgets = {each["metadata"]["name"] for each in of_kind(documents, "PodDisruptionBudget")}
    for workload in workloads(documents):
        assert (workload["metadata"]["name"] in budgets) == (workload["spec"]["replicas"] > 1)
    for deployment in of_kind(documents, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_probes_ask_what_every_role_serves(rendered: tuple[str, list[Document]]) -> None:
    _, documents = rendered
    for pod in pods(documents):
        container = container_of(pod)
        paths = {
            name: container[f"{name}Probe"]["httpGet"]["path"]
            for name in ("startup", "liveness", "readiness")
        }
        # a store that is unavailable is no reason to restart a process
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
        ports = {container[f"{name}Probe"]["httpGet"]["port"] for name in paths}
        assert ports == {"http"} == {port["name"] for port in container["ports"]}


def test_a_pod_that_stops_has_the_time_to_drain(rendered: tuple[str, list[Document]]) -> None:
    _, documents = rendered
    for pod in pods(documents):
        drain = Settings.from_environment(environment(documents, pod)).drain.total_seconds()
        [sleep, seconds] = container_of(pod)["lifecycle"]["preStop"]["exec"]["command"]
        assert sleep == "sleep"
        assert pod["spec"]["terminationGracePeriodSeconds"] >= int(seconds) + drain + 10


def test_a_pod_may_do_nothing_that_it_does_not_need(rendered: tuple[str, list[Document]]) -> None:
    _, documents = rendered
    for pod in pods(documents):
        spec, container = pod["spec"], container_of(pod)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert {"requests", "limits"} <= container["resources"].keys()
        [keys] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "keys"]
        assert keys["defaultMode"] == 0o440
        read_only = {mount["name"] for mount in container["volumeMounts"] if mount.get("readOnly")}
        assert {"keys", "clients"} <= read_only


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_renders_the_same(rendered: tuple[str, list[Document]], overlay: Path) -> None:
    name, documents = rendered
    folder = overlay if name == "all" else FOLDER / name
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    theirs = list(yaml.safe_load_all(_HASH.sub(r"\1", done.stdout)))

    def key(document: Document) -> tuple[str, str]:
        return document["kind"], document["metadata"]["name"]

    assert sorted(theirs, key=key) == sorted(documents, key=key)


def test_the_schemas_of_kubernetes_accept_it(rendered: tuple[str, list[Document]]) -> None:
    try:
        validator = importlib.import_module("kubernetes_validate")
    except ImportError:
        pytest.skip("the package kubernetes-validate is not installed: it has 17,000 files")
    for document in rendered[1]:
        validator.validate(document, "1.32", strict=True)
