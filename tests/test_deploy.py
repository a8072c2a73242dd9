"""What is in deploy/: what a machine can say about it without being a cluster, and that it says the same as the code."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.system.demo import Terminal
from understudy.settings import Settings, load
from understudy.status import Status
from understudy.transport import KeyFolder

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "understudy@.service"
KUBERNETES = DEPLOY / "kubernetes"
BIN = Path(sys.executable).parent

SCHEMA = "1.33"
"""The version of Kubernetes whose schemas count."""

LEFT_OVER = 5.0
"""Seconds that whoever stops a node gives it beyond its own settings."""

ASIDE = {"POD_IP"}
"""Variables of containers that are no settings, but stand in them."""


def done(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, **more)


def patience() -> float:
    """Seconds that a node takes at most to end, as it is set up by default and so in all that is deployed."""
    settings = Settings(config=None)
    return settings.drain_timeout + settings.shutdown_timeout


def from_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    """The settings of a container: its file, and its environment."""
    assert all(name.startswith("UNDERSTUDY_") for name in variables.keys() - ASIDE)
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value.replace("$(POD_IP)", "10.1.2.3"))
        if "UNDERSTUDY_TABLE_FILE" in variables:
            patch.setenv("UNDERSTUDY_TABLE_FILE", str(DEPLOY / "understudy.toml"))  # any file that is there
        effective = load({"config": str(DEPLOY / "understudy.toml")})
    assert effective.doubts == ()
    return effective.settings


# --- systemd ---


def unit() -> dict[str, list[str]]:
    """The assignments of the unit, by name."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="not installed: systemd-analyze (Debian: systemd)")
def test_systemd_has_nothing_to_say_against_the_unit_and_calls_it_safe(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/understudy/bin", str(BIN)))
    verified = done("systemd-analyze", "verify", here)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = done("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", here)
    assert judged.returncode == 0, judged.stdout


def test_the_unit_gives_a_node_the_time_that_it_takes_and_starts_again_what_may_succeed() -> None:
    said = unit()
    assert float(said["TimeoutStopSec"][0]) >= patience() + LEFT_OVER
    assert said["Type"] == ["notify"]
    hopeless = {int(word) for word in said["RestartPreventExitStatus"][0].split()}
    assert hopeless == {2, Status.NOT_FOUND, Status.NO_TREE}
    assert said["ExecStart"] == ["/opt/understudy/bin/understudy node %i --config /etc/understudy/%i.toml"]


def test_what_the_unit_starts_says_when_it_is_a_member_and_when_it_ends_and_drains_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "engine-1.toml"
    text = (DEPLOY / "systemd" / "engine-1.toml").read_text()
    for name in ("listen", "keys", "table_file", "health"):  # those of a machine and a cluster that are not here
        text = re.sub(rf"^{name} = .*\n", "", text, flags=re.MULTILINE)
    settings.write_text(f'state = "{tmp_path}"\n{text}')
    [command] = unit()["ExecStart"]
    command = command.replace("/opt/understudy/bin", str(BIN)).replace("/etc/understudy", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with Terminal(*command.replace("%i", "engine-1").split()) as node:
            assert manager.recv(100) == b"READY=1"
            node.wait_for("ready engine-1 ")
            node.process.terminate()  # what KillMode=mixed sends, to the node alone
            assert manager.recv(100) == b"STOPPING=1"
            assert node.exit_status(patience() + LEFT_OVER) == 0
            node.wait_for("engine-1 has drained")


@pytest.mark.parametrize("name", ["stage-1", "engine-1"])
def test_the_settings_beside_the_unit_are_settings(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / f"{name}.toml").read_text()
    (tmp_path / "table").write_text("postgresql://understudy@10.77.0.5/understudy")
    file = tmp_path / f"{name}.toml"
    file.write_text(text.replace("/etc/understudy/table", str(tmp_path / "table")))
    settings = load({"name": name, "config": str(file)}).settings
    assert settings.roles == (name.split("-")[0],)
    assert settings.keys == Path("/var/lib/understudy/keys")


# --- containers ---


def test_the_container_file_is_well_formed_and_builds_all_that_is_packaged() -> None:
    linted = done(BIN / "hadolint", "--failure-threshold", "style", DEPLOY / "Containerfile")
    assert (linted.returncode, linted.stdout) == (0, "")
    text = (DEPLOY / "Containerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    tops = {package.split(".")[1] for package in project["tool"]["setuptools"]["packages"] if "." in package}
    assert copied >= {"understudy", "pyproject.toml", *(tops - {"client", "demo"})}
    ignored = (ROOT / ".containerignore").read_text().split()
    assert {f"!{each}" for each in copied} == {line for line in ignored if line.startswith("!")}
    assert all((ROOT / each).exists() for each in copied)
    extras = set(re.findall(r'"\.\[([a-z,]+)\]"', text)[0].split(","))
    assert extras <= project["project"]["optional-dependencies"].keys()
    assert "USER 10001:10001" in text


def test_the_settings_of_containers_are_where_the_probes_look(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = from_environment(monkeypatch, {"UNDERSTUDY_NAME": "stage-1"})
    assert settings.health == "0.0.0.0:4001"
    assert "http://127.0.0.1:4001/healthz" in (DEPLOY / "Containerfile").read_text()
    assert (settings.gateway_host, settings.gateway_port, settings.app) == ("0.0.0.0", 4000, {"open": True})


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def test_the_compose_file_follows_the_compose_specification() -> None:
    checked = done(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert checked.returncode == 0, checked.stdout


def test_the_nodes_of_the_compose_file_are_two_stages_and_two_engines_that_know_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = compose()
    nodes = {
        name: service
        for name, service in said["services"].items()
        if "UNDERSTUDY_NAME" in service.get("environment", {})
    }
    assert set(nodes) == {"stage-1", "stage-2", "engine-1", "engine-2"}
    for name, service in nodes.items():
        settings = from_environment(monkeypatch, service["environment"])
        assert settings.name == name
        assert settings.application == f"understudy.demo.stage:{name.split('-')[0]}"
        assert settings.roles == (name.split("-")[0],)
        assert settings.listen == f"tcp://{service['networks']['cluster']['ipv4_address']}:4100"
        assert float(service["stop_grace_period"].rstrip("s")) >= patience() + LEFT_OVER
        assert service["environment"]["UNDERSTUDY_TABLE_FILE"] == f"/run/secrets/{service['secrets'][0]}"
        assert set(service["secrets"]) <= said["secrets"].keys()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    made = said["services"]["keys"]["entrypoint"][-1]
    assert all(name in made for name in nodes), "each has a key"


# --- Kubernetes ---


def manifests() -> list[dict[str, Any]]:
    files = sorted(KUBERNETES.glob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] == kind}


@pytest.fixture(scope="module")
def secrets() -> list[dict[str, Any]]:
    """What secrets.sh prints."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    printed = done(KUBERNETES / "secrets.sh", env={**os.environ, "PATH": path})
    assert printed.returncode == 0, printed.stderr
    return list(yaml.safe_load_all(printed.stdout))


def test_every_manifest_follows_the_schema_of_its_kind(secrets: list[dict[str, Any]]) -> None:
    everything = [*manifests(), *secrets]
    assert {each["kind"] for each in everything} >= {
        "StatefulSet",
        "Service",
        "Secret",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "Namespace",
    }
    for each in everything:
        kubernetes_validate.validate(each, SCHEMA, strict=True)
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "understudy"


def test_what_is_selected_is_there() -> None:
    sets = of_kind("StatefulSet")
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in sets.values()]

    def selected(wanted: dict[str, str]) -> bool:
        return any(wanted.items() <= each.items() for each in labels)

    for service in of_kind("Service").values():
        assert selected(service["spec"]["selector"])
    for each in (*of_kind("PodDisruptionBudget").values(), *sets.values()):
        assert selected(each["spec"]["selector"]["matchLabels"])
    for policy in of_kind("NetworkPolicy").values():
        assert selected(policy["spec"]["podSelector"]["matchLabels"])
    for name, each in sets.items():
        assert each["spec"]["serviceName"] == name
        assert of_kind("Service")[name]["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("kind", ["stage", "engine"])
def test_pods_drain_before_they_end_and_are_asked_where_they_answer(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = of_kind("StatefulSet")[kind]["spec"]["template"]["spec"]
    [node] = pod["containers"]
    variables = {each["name"]: each.get("value", f"{kind}-0") for each in node["env"]}
    settings = from_environment(monkeypatch, variables)
    assert (settings.name, settings.roles) == (f"{kind}-0", (kind,))
    assert settings.application == f"understudy.demo.stage:{kind}"
    assert settings.listen == "tcp://10.1.2.3:4100"
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] >= 2 * patience() + LEFT_OVER
    assert "understudy drain" in node["lifecycle"]["preStop"]["exec"]["command"][-1]
    ports = {each["name"]: each["containerPort"] for each in node["ports"]}
    assert f"0.0.0.0:{ports['health']}" == settings.health
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert node[probe]["httpGet"] == {"path": path, "port": "health"}
    volumes = {each["name"] for each in pod["volumes"]}
    for container in (*pod["initContainers"], node):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert of_kind("PodDisruptionBudget")[kind]["spec"]["maxUnavailable"] == 1


def test_each_pod_gets_its_own_secret_key_and_trusts_all_others(secrets: list[dict[str, Any]], tmp_path: Path) -> None:
    [keys] = [each["data"] for each in secrets if each["metadata"]["name"] == "understudy-keys"]
    (tmp_path / "secrets").mkdir()
    for name, value in keys.items():
        (tmp_path / "secrets" / name).write_bytes(base64.b64decode(value))
    pods = {f"{kind}-{number}" for kind in ("stage", "engine") for number in range(2)}
    for pod in pods:
        [fetch] = of_kind("StatefulSet")[pod[:-2]]["spec"]["template"]["spec"]["initContainers"]
        state = tmp_path / pod
        state.mkdir()
        script = (
            fetch["command"][-1]
            .replace("/var/lib/understudy", str(state))
            .replace("/secrets", str(tmp_path / "secrets"))
        )
        fetched = done("sh", "-euc", script, env={**os.environ, "UNDERSTUDY_NAME": pod})
        assert fetched.returncode == 0, fetched.stderr
        held = KeyFolder(state / "keys").held()
        assert (set(held.own), set(held.trusted)) == ({pod}, pods - {pod})
        shown = done(BIN / "understudy", "keys", "show", "--json", "--keys", state / "keys")
        assert [each["node"] for each in json.loads(shown.stdout)["own"]] == [pod]


def test_the_secrets_of_the_table_agree_with_the_server(secrets: list[dict[str, Any]]) -> None:
    [table] = [each["stringData"] for each in secrets if each["metadata"]["name"] == "understudy-table"]
    server = of_kind("StatefulSet")["postgresql"]["spec"]["template"]["spec"]["containers"][0]
    values = {each["name"]: each.get("value") for each in server["env"]}
    assert table["url"] == (
        f"postgresql://{values['POSTGRES_USER']}:{table['password']}@postgresql.understudy.svc/{values['POSTGRES_DB']}"
    )
