"""The manifests and the image agree with the defaults of the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from unitscope.config import Settings, read_settings
from unitscope.engine.engine import EngineSettings
from unitscope.engine.isolation import IsolationSettings
from unitscope.rpc.server import SERVICE_NAME

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "deploy" / "base"
DEFAULTS = Settings()
PORTS = {"grpc": DEFAULTS.grpc_port, "http": DEFAULTS.http_port}


def manifest(name: str) -> Any:
    """A file of the base, parsed."""
    return yaml.safe_load((BASE / name).read_text(encoding="utf-8"))


@pytest.fixture(name="pod")
def pod_template() -> Any:
    """The template of the Deployment's pods."""
    return manifest("deployment.yaml")["spec"]["template"]


@pytest.fixture(name="container")
def only_container(pod: Any) -> Any:
    """The Deployment's one container."""
    (container,) = pod["spec"]["containers"]
    return container


def instruction(name: str) -> str:
    """The last instruction of that name in the Dockerfile, without the name."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(name + " ")][-1].removeprefix(name + " ")


def test_the_base_lists_every_manifest() -> None:
    listed = set(manifest("kustomization.yaml")["resources"])
    assert listed == {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_container_opens_the_default_ports(container: Any) -> None:
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == PORTS


def test_the_service_leads_to_the_same_ports() -> None:
    ports = manifest("service.yaml")["spec"]["ports"]
    assert {port["name"]: port["port"] for port in ports} == PORTS
    assert [port["targetPort"] for port in ports] == [port["name"] for port in ports]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_for_the_health_of_a_served_name(container: Any, probe: str) -> None:
    grpc = container[probe]["grpc"]
    assert grpc["port"] == DEFAULTS.grpc_port
    assert grpc.get("service", "") in {"", SERVICE_NAME}


def test_prometheus_is_led_to_the_http_port(pod: Any) -> None:
    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(DEFAULTS.http_port)


def test_a_drain_fits_into_the_grace_period(pod: Any, container: Any) -> None:
    drain = DEFAULTS.drain_announce_seconds + DEFAULTS.drain_grace_seconds
    liveness = container["livenessProbe"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > drain


def test_readiness_ends_before_the_door_closes(container: Any) -> None:
    readiness = container["readinessProbe"]
    ended = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert ended < DEFAULTS.drain_announce_seconds


def test_manifest_and_image_name_the_same_user(pod: Any) -> None:
    security = pod["spec"]["securityContext"]
    assert instruction("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert security["runAsNonRoot"]


@pytest.mark.parametrize("name", ["runtime", "gpu"])
def test_the_image_can_be_built_on_either_runtime(name: str) -> None:
    requirements = f"requirements/{name}.txt"
    assert f"!{requirements}" in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert requirements in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_exposes_the_default_ports_and_starts_the_server() -> None:
    assert instruction("EXPOSE") == f"{DEFAULTS.grpc_port} {DEFAULTS.http_port}"
    assert json.loads(instruction("ENTRYPOINT")) == ["unitscope"]
    assert json.loads(instruction("CMD"))[0] == "serve"


def test_the_gpu_overlay_sets_what_there_is_to_set() -> None:
    patch = yaml.safe_load((ROOT / "deploy" / "gpu" / "deployment.yaml").read_text("utf-8"))
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    settings = read_settings(EngineSettings, given), read_settings(IsolationSettings, given)
    assert settings == (EngineSettings(device="cuda"), IsolationSettings(max_workers=2))
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
