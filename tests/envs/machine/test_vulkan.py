"""Vulkan on machines without a GPU: which driver is found, what is missing, and how Debian's sources are read."""

from __future__ import annotations

import json
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from simrun.envs.machine import vulkan, vulkan_setup
from simrun.envs.machine.vulkan_setup import PackageSource, is_prepared, prepare_software_vulkan, read_sources
from simrun.errors import RendererError


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No NVIDIA driver, nothing set up, nothing in the environment; returns the folder of simrun's data."""
    monkeypatch.setenv("SIMRUN_HOME", str(tmp_path / "home"))
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(vulkan, "_NVIDIA_KERNEL_DRIVER", tmp_path / "no-nvidia")
    monkeypatch.setattr(vulkan, "_DRIVER_FOLDERS", (str(tmp_path / "icd.d"),))
    return tmp_path / "home"


def set_up(home: Path) -> Path:
    """Write the files that tell of a finished setup."""
    folder = home / "vulkan"
    folder.mkdir(parents=True)
    for name in ("lvp_icd.json", "libsimrun_vulkan_layer.so"):
        (folder / name).touch()
    ready = {"manifest": str(folder / "lvp_icd.json"), "version": "lavapipe", "libraries": []}
    (folder / "ready.json").write_text(json.dumps({**ready, "layer_source": vulkan_setup._layer_hash()}))
    return folder


def install_nvidia(tmp_path: Path) -> None:
    (tmp_path / "no-nvidia").write_text("NVRM version: 550.1\nGCC version: 12\n")


def test_everything_that_is_missing_is_named(bare_machine: Path):
    assert vulkan.find_driver() is None
    hardware, software = vulkan.missing()
    assert "no NVIDIA driver is loaded" in hardware
    assert str(bare_machine / "vulkan" / "ready.json") in software
    with pytest.raises(RendererError, match="run simrun setup for this benchmark"):
        vulkan.require_driver()


def test_nvidia_without_its_manifest_is_told_apart(bare_machine: Path, tmp_path: Path):
    install_nvidia(tmp_path)
    assert vulkan.find_driver() is None
    assert "NVIDIA_DRIVER_CAPABILITIES" in vulkan.missing()[0]


def test_nvidia_comes_before_software_and_the_users_choice_before_both(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = set_up(bare_machine)
    assert vulkan.require_driver().kind == "software"
    install_nvidia(tmp_path)
    (tmp_path / "icd.d").mkdir()
    (tmp_path / "icd.d/nvidia_icd.json").touch()
    assert vulkan.require_driver() == vulkan.VulkanDriver(
        "nvidia", str(tmp_path / "icd.d/nvidia_icd.json"), "NVRM version: 550.1"
    )
    monkeypatch.setenv("VK_ICD_FILENAMES", "/somewhere/radeon.json")
    assert vulkan.require_driver().kind == "chosen"
    monkeypatch.setenv("VK_ICD_FILENAMES", str(folder / "lvp_icd.json"))
    assert vulkan.require_driver().kind == "software"
    assert vulkan.missing() == []


def test_child_processes_are_given_the_layer_with_the_software_driver_alone(bare_machine: Path, tmp_path: Path):
    folder = set_up(bare_machine)
    software = vulkan.child_environment()
    assert software["VK_ICD_FILENAMES"] == str(folder / "lvp_icd.json")
    assert (software["VK_LAYER_PATH"], software["VK_INSTANCE_LAYERS"]) == (str(folder), vulkan.LAYER_NAME)
    install_nvidia(tmp_path)
    (tmp_path / "icd.d").mkdir()
    (tmp_path / "icd.d/nvidia_icd.json").touch()
    assert "VK_INSTANCE_LAYERS" not in vulkan.child_environment()


def test_setup_is_done_again_when_the_layer_or_a_file_changed(bare_machine: Path, monkeypatch: pytest.MonkeyPatch):
    assert not is_prepared()
    folder = set_up(bare_machine)
    assert is_prepared()
    assert prepare_software_vulkan() == folder
    monkeypatch.setattr(vulkan_setup, "_layer_hash", lambda: "another source")
    assert not is_prepared()
    monkeypatch.undo()
    (folder / "lvp_icd.json").unlink()
    monkeypatch.setenv("SIMRUN_HOME", str(bare_machine))
    assert not is_prepared()


def test_setup_names_the_tool_that_is_missing(bare_machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RendererError, match="needs apt-get"):
        prepare_software_vulkan()


def test_sources_are_read_in_both_of_apts_formats(tmp_path: Path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://commented.example/debian bookworm main\n"
        "deb http://one.example/debian bookworm main contrib\n"
        "deb [arch=amd64 signed-by=/keys/two.gpg] http://two.example/debian bookworm-updates main\n"
        "deb-src http://source.example/debian bookworm main\n"
    )
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb\nURIs: http://three.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /keys/three.gpg\n\n"
        "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\n"
        "Types: deb\nURIs: http://node.example/\nSuites: nodistro\nComponents: main\n"
    )
    assert read_sources(tmp_path, "bookworm") == [
        PackageSource("http://one.example/debian", ("bookworm",)),
        PackageSource("http://three.example/debian", ("bookworm", "bookworm-updates"), "/keys/three.gpg"),
    ]
    stanza = PackageSource("http://one.example/debian", ("bookworm",), "/key").with_suite("bookworm-backports").stanza()
    assert "Suites: bookworm bookworm-backports\n" in stanza
    assert "Signed-By: /key\n" in stanza


@pytest.mark.assets
def test_layer_compiles_without_a_warning(tmp_path: Path):
    private = vulkan.software_folder() / "root/usr/include"
    source = resources.files("simrun.envs") / "vulkan_layer.c"
    command = ["gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-std=c11"]
    subprocess.run([*command, "-I", str(private), "-o", str(tmp_path / "layer.so"), str(source)], check=True)
    symbols = subprocess.run(["nm", "-D", str(tmp_path / "layer.so")], capture_output=True, text=True, check=True)
    assert "vkNegotiateLoaderLayerInterfaceVersion" in symbols.stdout
