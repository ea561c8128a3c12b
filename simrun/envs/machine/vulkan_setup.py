"""Setting up Mesa's software Vulkan driver in a private folder; the work behind ``simrun setup`` on CPU machines.

SAPIEN wants ``descriptorBindingPartiallyBound``, which lavapipe has since Mesa 23; Debian 12 ships 22.3, and 25 in its
backports. The packages are downloaded with the machine's own apt sources and unpacked, not installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from simrun.envs.machine.machine_setup import MachineSetup
from simrun.envs.machine.processes import ask
from simrun.envs.machine.regular_files import read_object, write_json
from simrun.envs.machine.vulkan import (
    LAYER_NAME,
    READY_FILE,
    find_driver,
    load_loader,
    nvidia_driver,
    prepare_process,
    read_setup,
    software_folder,
)
from simrun.errors import DependencyError, RendererError

_APT = Path("/etc/apt")
_LAYER_SOURCE = "vulkan_layer.c"
_LAYER_LIBRARY = "libsimrun_vulkan_layer.so"
_OLDEST_API = (1, 4, 0)
"""Vulkan version of Mesa 25; older ones are untested or known to crash SAPIEN."""

_SETUP_TOOLS = ("apt-get", "dpkg", "gcc")


class VulkanMachine(MachineSetup):
    """The machine of a benchmark that SAPIEN draws: the driver of a graphics card, or Mesa's software driver."""

    def prepare_process(self) -> None:
        """Load Vulkan's loader and choose the driver; see `simrun.envs.machine.vulkan`."""
        prepare_process()

    def lacks(self) -> list[str]:
        """The software driver, where no graphics card renders and it is not set up."""
        return software_vulkan_lacks()

    def prepare(self) -> list[str]:
        """Set the software driver up where no graphics card renders."""
        folder = prepare_software_vulkan()
        driver = find_driver()
        where = f" in {folder}" if folder else ""
        return [
            f"renders with the {driver.kind} Vulkan driver ({driver.version}){where}" if driver else "nothing renders"
        ]


def prepare_software_vulkan() -> Path | None:
    """Make sure that SAPIEN can render here; does nothing where it already can.

    Returns:
        The folder with the software driver, or None where NVIDIA's driver renders.

    Raises:
        RendererError: a tool is missing, the packages cannot be downloaded, or the layer cannot be compiled.
    """
    if nvidia_driver() is not None and _has_loader():
        return None
    folder = software_folder()
    if is_prepared():
        return folder
    for tool in _SETUP_TOOLS:
        if shutil.which(tool) is None:
            raise RendererError(f"setting up software rendering needs {tool}, which this machine does not have")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix="simrun-apt-") as scratch:
        packages = _download_packages(Path(scratch))
        for package in packages:
            _run(["dpkg", "-x", str(package), str(folder / "root")])
    manifest, version = _write_driver_manifest(folder)
    _compile_layer(folder)
    document = {
        "manifest": str(manifest),
        "version": version,
        "packages": sorted(package.name for package in packages),
        "libraries": [str(path) for path in _private_libraries(folder, manifest)],
        "layer_source": _layer_hash(),
    }
    write_json(folder / READY_FILE, document)
    return folder


def software_vulkan_lacks() -> list[str]:
    """What `prepare_software_vulkan` would do, as phrases; changes nothing."""
    if (nvidia_driver() is not None and _has_loader()) or is_prepared():
        return []
    return [f"Mesa's software Vulkan driver would be set up in {software_folder()}"]


def is_prepared() -> bool:
    """Whether the software driver and the present version of the layer are set up."""
    document = read_setup()
    if document is None:
        return False
    files = [document["manifest"], *document["libraries"], str(software_folder() / _LAYER_LIBRARY)]
    return document["layer_source"] == _layer_hash() and all(Path(file).exists() for file in files)


@dataclass(frozen=True)
class PackageSource:
    """One place that apt takes packages from.

    Attributes:
        address: base address of the archive.
        suites: releases taken from it.
        signed_by: path of the key that signs it; empty for apt's own trusted keys.
    """

    address: str
    suites: tuple[str, ...]
    signed_by: str = ""

    def with_suite(self, suite: str) -> PackageSource:
        """The same source with one more release."""
        return PackageSource(self.address, (*self.suites, suite), self.signed_by)

    def stanza(self) -> str:
        """As apt's own format has it."""
        lines = ["Types: deb", f"URIs: {self.address}", f"Suites: {' '.join(self.suites)}", "Components: main"]
        return "\n".join([*lines, *([f"Signed-By: {self.signed_by}"] if self.signed_by else []), ""])


def read_sources(folder: Path, codename: str) -> list[PackageSource]:
    """The sources of the distribution itself among all that apt is configured with.

    Args:
        folder: apt's configuration folder.
        codename: of the distribution's release, for instance ``bookworm``.
    """
    listings = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    lines = [line for path in listings if path.exists() for line in path.read_text().splitlines()]
    stanzas = [
        stanza
        for path in sorted((folder / "sources.list.d").glob("*.sources"))
        for stanza in re.split(r"\n\s*\n", path.read_text())
    ]
    found = [source for source in map(_parse_line, lines) if source] + [
        source for source in map(_parse_stanza, stanzas) if source
    ]
    return [source for source in found if codename in source.suites]


def _parse_line(line: str) -> PackageSource | None:
    match = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<address>\S+)\s+(?P<suite>\S+)\s+.*\bmain\b", line)
    if match is None:
        return None
    key = re.search(r"signed-by=(\S+)", match["options"] or "")
    return PackageSource(match["address"], (match["suite"],), key[1] if key else "")


def _parse_stanza(stanza: str) -> PackageSource | None:
    fields = dict(re.findall(r"^(URIs|Suites|Components|Signed-By|Enabled):[ \t]*(\S.*)$", stanza, flags=re.MULTILINE))
    if "main" not in fields.get("Components", "").split() or fields.get("Enabled", "yes") == "no":
        return None
    return PackageSource(fields["URIs"].split()[0], tuple(fields["Suites"].split()), fields.get("Signed-By", ""))


def _download_packages(scratch: Path) -> list[Path]:
    release = _read_release()
    sources = read_sources(_APT, release.get("VERSION_CODENAME", ""))
    if not sources:
        raise RendererError(f"apt's sources in {_APT} name no archive of this distribution to take Mesa from")
    mesa = "mesa-vulkan-drivers"
    if (release.get("ID"), release.get("VERSION_ID")) == ("debian", "12"):
        backports = f"{release['VERSION_CODENAME']}-backports"
        sources[0] = sources[0].with_suite(backports)
        mesa = f"{mesa}/{backports}"
    (scratch / "simrun.sources").write_text("\n".join(source.stanza() for source in sources))
    for folder in ("lists/partial", "archives/partial"):
        (scratch / folder).mkdir(parents=True)
    apt = ["apt-get", "-q", "-y"]
    apt += ["-o", f"Dir::Etc::sourcelist={scratch / 'simrun.sources'}", "-o", "Dir::Etc::sourceparts=/dev/null"]
    apt += ["-o", f"Dir::State::lists={scratch / 'lists'}", "-o", f"Dir::Cache::archives={scratch / 'archives'}"]
    apt += [
        "-o",
        f"Dir::Cache::pkgcache={scratch / 'pkgcache'}",
        "-o",
        f"Dir::Cache::srcpkgcache={scratch / 'srcpkgcache'}",
    ]
    apt += ["-o", "Debug::NoLocking=true", "-o", "APT::Sandbox::User=root"]
    _run([*apt, "update"])
    # "install" finds what the machine lacks for Mesa; "--download-only" keeps it from installing anything.
    _run([*apt, "--no-install-recommends", "--download-only", "--reinstall", "install", mesa])
    _run([*apt, "download", "libvulkan1", "libvulkan-dev"], cwd=scratch / "archives")
    return sorted((scratch / "archives").glob("*.deb"))


def _read_release() -> dict[str, str]:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    return {key: value.strip('"') for key, value in re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE)}


def _write_driver_manifest(folder: Path) -> tuple[Path, str]:
    manifests = sorted((folder / "root/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
    drivers = sorted(folder.glob("root/usr/lib/*/libvulkan_lvp.so"))
    if not manifests or not drivers:
        raise RendererError("the package mesa-vulkan-drivers holds no software driver (lavapipe) for this machine")
    document = read_object(manifests[0])
    version = str(document["ICD"]["api_version"])
    if tuple(int(part) for part in version.split(".")) < _OLDEST_API:
        raise RendererError(
            f"the distribution's Mesa is too old for SAPIEN (its Vulkan is {version}); Mesa 25 or later is needed"
        )
    document["ICD"]["library_path"] = str(drivers[0])
    manifest = folder / "lvp_icd.json"
    manifest.write_text(json.dumps(document), encoding="utf-8")
    return manifest, f"lavapipe, Vulkan {version}"


def _private_libraries(folder: Path, manifest: Path) -> list[Path]:
    """The unpacked libraries that the driver is linked against."""
    driver = read_object(manifest)["ICD"]["library_path"]
    search = os.pathsep.join(str(path) for path in sorted(folder.glob("root/usr/lib/*/")))
    listing = _run(["ldd", driver], environment={**os.environ, "LD_LIBRARY_PATH": search})
    absent = re.findall(r"(\S+) => not found", listing)
    if absent:
        raise RendererError(f"Mesa's software driver needs {', '.join(absent)}, which this machine does not have")
    paths = [Path(path) for path in re.findall(r"=> (/\S+)", listing)]
    return [path for path in paths if path.is_relative_to(folder)]


def _compile_layer(folder: Path) -> None:
    source = resources.files("simrun.envs") / _LAYER_SOURCE
    library = folder / _LAYER_LIBRARY
    with resources.as_file(source) as path:
        include = folder / "root/usr/include"
        _run(
            ["gcc", "-shared", "-fPIC", "-O2", "-fvisibility=hidden", "-I", str(include), "-o", str(library), str(path)]
        )
    manifest = {
        "file_format_version": "1.1.2",
        "layer": {
            "name": LAYER_NAME,
            "type": "GLOBAL",
            "library_path": str(library),
            "api_version": "1.3.0",
            "implementation_version": "1",
            "description": "What SAPIEN needs changed on the software driver",
            "device_extensions": [{"name": "VK_KHR_external_semaphore_fd", "spec_version": "1"}],
        },
    }
    (folder / "simrun_layer.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _layer_hash() -> str:
    return hashlib.sha256((resources.files("simrun.envs") / _LAYER_SOURCE).read_bytes()).hexdigest()


def _has_loader() -> bool:
    try:
        load_loader()
    except DependencyError:
        return False
    return True


def _run(command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    answer = ask(command, folder=cwd, environment=environment)
    if not answer.ok:
        raise RendererError(f"{' '.join(command[:1] + command[-2:])} failed: {answer.last_line}")
    return answer.output
