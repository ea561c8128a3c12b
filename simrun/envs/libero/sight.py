"""What a camera cannot see, and is therefore not drawn.

MuJoCo gives OpenGL all geometries of a scene, wherever they are, and a software renderer transforms every triangle
before it finds it outside of the picture; the camera on the gripper sees a third of a scene or less. What lies outside
may still be seen in a mirror or cast a shadow, so everything is drawn where a mirror is in sight or a light casts any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np
import numpy.typing as npt

_MIRRORS = (mujoco.mjtGeom.mjGEOM_PLANE.value, mujoco.mjtGeom.mjGEOM_BOX.value)
_MARGIN = 0.01


class Sight:
    """What the cameras of a scene see.

    Args:
        model: the compiled scene.
        hidden: the group of geometries that is never drawn.
    """

    def __init__(self, model: mujoco.MjModel, hidden: int) -> None:
        self._model = model
        self._hidden = hidden
        self._shadows = bool(model.light_castshadow.any())
        # Geometries without a material have number -1, the last one.
        reflects = np.append(model.mat_reflectance, 0.0)[model.geom_matid] > 0
        # MuJoCo's mirrors are planes and boxes.
        self._mirrors = np.flatnonzero(reflects & np.isin(model.geom_type, _MIRRORS) & (model.geom_group != hidden))

    @contextmanager
    def limited(self, data: mujoco.MjData, camera: int, height: int, width: int) -> Iterator[None]:
        """In this block the model hides what a picture does not show.

        Args:
            data: a state with kinematics and camera poses computed.
            camera: number of the camera.
            height: of the picture in pixels.
            width: of the picture in pixels.
        """
        unseen = self.unseen(data, camera, height, width)
        groups = self._model.geom_group[unseen]
        self._model.geom_group[unseen] = self._hidden
        try:
            yield
        finally:
            self._model.geom_group[unseen] = groups

    def unseen(self, data: mujoco.MjData, camera: int, height: int, width: int) -> npt.NDArray[np.intp]:
        """Numbers of geometries that no pixel of a picture shows; see `limited`."""
        model = self._model
        if self._shadows or model.cam_orthographic[camera] or model.cam_sensorsize[camera].any():
            return np.empty(0, np.intp)
        # In the camera's frame x points right, y up and z to the viewer.
        places = (data.geom_xpos - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
        half = math.tan(math.radians(model.cam_fovy[camera]) / 2) * np.array([width / height, 1.0])
        outside = ((np.abs(places[:, :2]) + half * places[:, 2:]) / np.hypot(1.0, half)).max(axis=1)
        # The bounding sphere of a plane has no radius.
        spheres = np.where(model.geom_rbound > 0, model.geom_rbound * (1 + _MARGIN) + _MARGIN, np.inf)
        away = outside > spheres
        return np.flatnonzero(away) if away[self._mirrors].all() else np.empty(0, np.intp)
