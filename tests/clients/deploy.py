"""The files of deploy/: their tools accept them, and cachalot reads the configurations in them."""

import os
import pathlib
import subprocess
import sys

import yaml
from checks import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BINARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/cachalot"
TOOLS = pathlib.Path(sys.executable).parent


def tool(name, *arguments):
    done = subprocess.run([TOOLS / name, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def manifests():
    return sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")


def container():
    """a linter accepts the container file"""
    # Versions of Debian's packages are those of the image.
    tool("hadolint", "--ignore", "DL3008", str(DEPLOY / "Containerfile"))


def compose():
    """the compose file is valid, and its files exist"""
    path = DEPLOY / "compose/compose.yaml"
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))
    composed = yaml.safe_load(path.read_text())
    for config in composed["configs"].values():
        assert (path.parent / config["file"]).is_file(), config
    for service in composed["services"].values():
        if "build" in service:
            context = path.parent / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file(), service["build"]
        for needed in service.get("depends_on", []):
            assert needed in composed["services"], needed


def kubernetes():
    """every manifest is valid in strict mode"""
    for path in manifests():
        tool("kubernetes-validate", "--strict", "--no-warn", str(path))


def kustomization():
    """the kustomization names existing files, and those that the manifests need"""
    folder = DEPLOY / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    generated = {config["name"]: config["files"] for config in kustomization["configMapGenerator"]}
    for name in kustomization["resources"] + sum(generated.values(), []):
        assert (folder / name).is_file(), name
    wanted = {
        volume["configMap"]["name"]
        for path in manifests()
        for document in yaml.safe_load_all(path.read_text())
        for volume in document["spec"].get("template", {}).get("spec", {}).get("volumes", [])
        if "configMap" in volume
    }
    assert wanted <= set(generated), (wanted, generated)


def engines():
    """the gateway's providers are the replicas of the engine"""
    config = (DEPLOY / "kubernetes/cachalot.toml").read_text()
    for path in ("vllm.yaml", "sglang.yaml"):
        stateful, service = yaml.safe_load_all((DEPLOY / "kubernetes" / path).read_text())
        assert service["metadata"]["name"] == stateful["spec"]["serviceName"] and service["spec"]["clusterIP"] == "None"
        hosts = [f"http://{stateful['metadata']['name']}-{n}.{stateful['spec']['serviceName']}." for n in range(stateful["spec"]["replicas"])]
        assert config.count("http://") == len(hosts) and all(host in config for host in hosts), hosts


def configurations():
    """cachalot reads the configurations"""
    for path in DEPLOY.glob("*/cachalot.toml"):
        done = subprocess.run([BINARY, "provider", "list", "--config", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


run("deploy", [container, compose, kubernetes, kustomization, engines, configurations])
