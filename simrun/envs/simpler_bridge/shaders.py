"""The camera's shaders on Mesa's software driver: they draw robot and objects, since a photograph hides all else.

SAPIEN's own shaders light every pixel, add transparent surfaces, lines and points, and fill some twenty images, of
which simrun reads two. A graphics card does not notice; in software it is more than half of a picture's time. Here they
are taken as SAPIEN installed them, and changed so that what is read stays the same to the last bit:

- pixels of the photograph are not lit, and keep what an earlier picture left there;
- how surfaces move, and where on its object each pixel lies, is not drawn;
- ``foreground.frag`` finishes a picture, without the passes for transparent surfaces, lines and points: these scenes
  have none.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

from simrun.envs.machine.folders import cache_folder
from simrun.envs.machine.regular_files import write_whole

SHIPPED = "ibl"
"""SAPIEN's own shaders, which upstream draws with."""

_TAKEN = ("gbuffer.vert", "gbuffer.frag", "deferred.vert", "deferred.frag", "composite.vert", "shadow.vert")
_NOT_DRAWN = ("outCustom", "outMotionDirection")
_FINISH = Path(__file__).with_name("foreground.frag")
_KNOWN = "649d2060d30cb9619a972cf94e5ecb06ed1bf59dacea7ad073ca94a568b8d6f5"
"""Digest of the shaders for which the changes are written, those of SAPIEN 2.2.2."""


def software_shaders(foreground: int) -> str:
    """The folder of shaders that draw the foreground alone; `SHIPPED` if there is no place for it.

    They are `SHIPPED` too where SAPIEN's own are not those that the changes are written for.

    Args:
        foreground: visual id of all bodies that stand before the photograph.
    """
    try:
        shaders = _installed()
        if _digest(shaders) != _KNOWN:
            return SHIPPED
        surfaces, lighting, finish = (f"{SHIPPED}/{name}.frag" for name in ("gbuffer", "deferred", "composite0"))
        shaders[surfaces] = _without_outputs(shaders[surfaces])
        shaders[lighting] = _lighting_only(shaders[lighting], foreground)
        shaders[finish] = _FINISH.read_text()
        folder = cache_folder() / "sapien" / _digest(shaders)[:16]
        for name, text in shaders.items():
            _keep(folder / name, text.encode())
    except OSError:
        return SHIPPED
    return str(folder / SHIPPED)


def _installed() -> dict[str, str]:
    """SAPIEN's shaders by their place, those of the passes that are drawn and what they include."""
    root = files("sapien") / "vulkan_shader"
    common = [f"common/{file.name}" for file in (root / "common").iterdir()]
    return {name: (root / name).read_text() for name in sorted([*common, *(f"{SHIPPED}/{name}" for name in _TAKEN)])}


def _without_outputs(shader: str) -> str:
    """A shader of surfaces without the images of `_NOT_DRAWN`; the others are numbered anew."""
    for name in _NOT_DRAWN:
        shader = re.sub(rf"^.*\b{name}\b.*\n", "", shader, flags=re.MULTILINE)
    outputs = re.compile(r"(?<=layout\(location = )\d(?=\) out )")
    count = iter(range(len(outputs.findall(shader))))
    return outputs.sub(lambda _: str(next(count)), shader)


def _lighting_only(shader: str, foreground: int) -> str:
    """The shader that lights pixels, for those of the foreground; it reads who is seen in an unused image's place."""
    begin, test = "void main() {", f"  if (texture(samplerSegmentation0, inUV).x != {foreground}) discard;"
    shader = shader.replace("sampler2D samplerCustom", "usampler2D samplerSegmentation0")
    return shader.replace(begin, f"{begin}\n{test}")


def _digest(shaders: dict[str, str]) -> str:
    return hashlib.sha256(repr(sorted(shaders.items())).encode()).hexdigest()


def _keep(path: Path, data: bytes) -> None:
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
