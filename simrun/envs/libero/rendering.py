"""Renders scenes exactly as upstream does, safely with several scenes in a process.

robosuite 1.4.0 gives every environment an OpenGL context of its own and never makes it current again, so that with two
environments in a process one of them returns wrong pixels. Here the process has one context, made once and freed last;
each scene keeps its textures and meshes in it (`SceneRenderer`) and frees them when the scene goes.

What decides the pixels is upstream's: default visualisation without collision geometry, at most 1000 geometries in a
scene, the model's own multisampling, shadow and reflection settings (``utils/binding_utils.py``).
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from simrun.envs.libero.compiled_models import release_surfaces, release_texture, release_textures
from simrun.envs.libero.sight import Sight
from simrun.envs.machine.mujoco_rendering import change_scene, find_backend, open_context
from simrun.envs.perturbations import AS_IT_IS, SceneChange
from simrun.errors import RendererError

_MAX_GEOMETRIES = 1000
_COLLISION_GROUP = 0

_renderers: weakref.WeakSet[SceneRenderer] = weakref.WeakSet()


class SceneRenderer:
    """The textures and meshes of one scene in the process's OpenGL context.

    The model gives their memory back as soon as OpenGL has copied them, so it can be drawn by no other renderer.

    Args:
        model: the compiled scene.
        height: largest image height in pixels.
        width: largest image width in pixels.

    Raises:
        RendererError: no renderer works on this machine.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        opengl_context().make_current()
        self._model = model
        self._sight = Sight(model, _COLLISION_GROUP)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMETRIES)
        self._options = mujoco.MjvOption()
        self._options.geomgroup[_COLLISION_GROUP] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        try:
            with _small_textures(model) as drawn:
                self._context: Any = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
            release_surfaces(model)
            for texture in drawn:
                mujoco.mjr_uploadTexture(model, self._context, texture)
                release_texture(model, texture)
            release_textures(model)
        except mujoco.FatalError as error:
            raise RendererError(f"OpenGL could not take the scene up: {error}; try MUJOCO_GL=osmesa") from error
        _renderers.add(self)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        if self._context.currentBuffer != mujoco.mjtFramebuffer.mjFB_OFFSCREEN:
            self.close()
            raise RendererError("this machine's OpenGL offers no offscreen framebuffer; try MUJOCO_GL=osmesa")

    def render(
        self, data: mujoco.MjData, camera: str, height: int, width: int, change: SceneChange = AS_IT_IS
    ) -> npt.NDArray[np.uint8]:
        """Render one camera.

        Args:
            data: a state of the scene with kinematics, camera and light poses computed.
            camera: name of a camera of the model.
            height: image height in pixels.
            width: image width in pixels.
            change: what is drawn otherwise.

        Returns:
            uint8 ``[height, width, 3]`` with row 0 at the bottom, as OpenGL and upstream give it.
        """
        opengl_context().make_current()
        # Another scene may have drawn since; without this the frame goes into its buffer.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        model, number = self._model, self._model.camera(camera).id
        self._camera.fixedcamid = number
        with nullcontext() if change else self._sight.limited(data, number, height, width):
            every = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(model, data, self._options, None, self._camera, every, self._scene)
        change_scene(self._scene, model, number, change)
        viewport = mujoco.MjrRect(0, 0, width, height)
        frame = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(frame, None, viewport, self._context)
        return frame

    def close(self) -> None:
        """Free textures and meshes. Closing twice is allowed."""
        if self._context is not None:
            opengl_context().make_current()
            self._context.free()
            self._context = None


@cache
def opengl_context() -> Any:
    """The process's OpenGL context, on EGL or OSMesa; made at the first call, freed when the process ends.

    Raises:
        RendererError: no renderer works on this machine.
    """
    context = open_context(1, 1)
    atexit.register(_free_all, context)
    return context


def describe_opengl() -> dict[str, str]:
    """Backend, vendor, renderer and version of the OpenGL that draws, for fingerprints.

    Raises:
        RendererError: no renderer works on this machine.
    """
    opengl_context().make_current()
    gl: Any = import_module("OpenGL.GL")
    strings = {name: gl.glGetString(getattr(gl, f"GL_{name.upper()}")) for name in ("vendor", "renderer", "version")}
    return {"backend": find_backend(), **{name: (value or b"").decode() for name, value in strings.items()}}


@contextmanager
def _small_textures(model: mujoco.MjModel) -> Iterator[list[int]]:
    """In this block all textures but the sky have one pixel; gives those that something wears which is drawn.

    Not all are: the living room's model holds two for a table that is not there, of which OpenGL would make 122 MiB
    each. The others need less memory one after the other than all at once, and least when the largest comes first.
    """
    worn_by = (model.geom_matid[model.geom_group != _COLLISION_GROUP], model.site_matid, model.tendon_matid)
    materials = np.concatenate((*worn_by, model.skin_matid, model.flex_matid))
    drawn = np.isin(np.arange(model.ntex), model.mat_texid[materials[materials >= 0]])
    small = model.tex_type != mujoco.mjtTexture.mjTEXTURE_SKYBOX.value
    whole = [(sizes, sizes.copy()) for sizes in (model.tex_width, model.tex_height)]
    for sizes, _ in whole:
        sizes[small] = 1
    pixels = np.multiply(*(before for _, before in whole))
    try:
        yield sorted(np.flatnonzero(small & drawn).tolist(), key=lambda texture: -pixels[texture])
    finally:
        for sizes, before in whole:
            sizes[:] = before


def _free_all(context: Any) -> None:
    for renderer in list(_renderers):
        renderer.close()
    context.free()
