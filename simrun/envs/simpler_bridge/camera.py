"""The camera: the robot and the objects as rendered, in front of a photograph of the real scene.

The pictures are taken in a scene of their own, which holds the same meshes without any physics and follows the
simulated one. So the physics never knows whether somebody looks, meshes and textures are loaded once a task, and an
environment can take its first picture in the middle of an episode.

Light that is dimmed falls on robot, objects and photograph alike: what is rendered has its lights dimmed, and the
photograph's grey levels are those that a camera of the same exposure would have taken (sRGB, IEC 61966-2-1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import sapien.core as sapien

from simrun.envs.machine.vulkan import require_driver
from simrun.envs.simpler_bridge.data_files import ModelFiles
from simrun.envs.simpler_bridge.physics import ROOM_ROTATION, BridgeWorld, engine
from simrun.envs.simpler_bridge.robot import BASE
from simrun.envs.simpler_bridge.shaders import SHIPPED, software_shaders
from simrun.envs.simpler_bridge.tasks import IMAGE_SIZE, ROOM, BridgeTask
from simrun.errors import AssetError, RendererError

_FOCAL_LENGTH = 623.588
_PRINCIPAL_POINT = (319.501, 239.545)
_FAR = 10.0
_AMBIENT_LIGHT = (0.3, 0.3, 0.3)
_IDENTITY = sapien.Pose()
_BACKGROUND, _FOREGROUND = 1, 2


@cache
def renderer() -> sapien.SapienRenderer:
    """The process's only renderer; constructed when the first picture is asked for.

    Raises:
        RendererError: this machine has no Vulkan device that SAPIEN can use.
    """
    driver = require_driver()
    try:
        shared = sapien.SapienRenderer(offscreen_only=True)
    except RuntimeError as error:
        raise RendererError(
            f"SAPIEN cannot render with the {driver.kind} Vulkan driver {driver.manifest} ({error}); run: simrun "
            "doctor simpler_bridge"
        ) from error
    shaders = software_shaders(_FOREGROUND) if driver.kind == "software" else SHIPPED
    sapien.render_config.camera_shader_dir = shaders
    engine().set_renderer(shared)
    return shared


@dataclass(frozen=True)
class _Visual:
    """A mesh that follows a simulated body: where it sits on the body, and its image in the renderer's scene."""

    body_name: str
    local_pose: sapien.Pose
    mesh: sapien.RenderBody


class OverlayCamera:
    """The camera on the robot's base, for one task.

    Args:
        task: the task to picture.
        files: the data files.

    Attributes:
        task: the task to picture.

    Raises:
        RendererError: this machine has no Vulkan device that SAPIEN can use.
        AssetError: the photograph is missing or of another size.
    """

    def __init__(self, task: BridgeTask, files: ModelFiles) -> None:
        renderer()
        self.task = task
        self._whole_photo = _read_photo(files.photo(task.photo))
        self._scene = engine().create_scene()
        self._lights = [(self._scene.add_directional_light(one.direction, one.color), one.color) for one in task.lights]
        self._dim(1.0)
        models = [files.model(name, task.catalogue) for name in task.models]
        self._visuals = self._robot_visuals(files.robot)
        self._visuals.append(self._visual(ROOM, files.scene(task.scene), sapien.Pose(q=ROOM_ROTATION)))
        self._visuals += [self._visual(model.name, model.visual) for model in models]
        for visual in self._visuals:
            pasted = visual.body_name in (ROOM, *task.pasted)
            visual.mesh.set_visual_id(_BACKGROUND if pasted else _FOREGROUND)
        self._camera = self._build_camera(task)
        self._camera_in_base = sapien.Pose(task.robot.camera_position, task.robot.camera_quaternion)

    def picture(self, world: BridgeWorld, light: float = 1.0) -> npt.NDArray[np.uint8]:
        """Picture of a world's present state, uint8 ``[480, 640, 3]``, with this part of the light."""
        if light != self._light:
            self._dim(light)
        return self.segmented_picture(world)[0]

    def segmented_picture(self, world: BridgeWorld) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """`picture`, and where it shows the photograph: bool ``[480, 640]``."""
        self.follow(world)
        self._camera.take_picture()
        colours = self._camera.get_float_texture("Color")
        background = self.shows_photo(self._camera.get_uint32_texture("Segmentation"))
        # Most of the picture is the photograph; only the rest is converted from floating point.
        rendered = ~background
        picture = self._photo.copy()
        picture[rendered] = np.clip(colours[rendered][:, :3] * 255, 0, 255).astype(np.uint8)
        return picture, background

    def follow(self, world: BridgeWorld) -> None:
        """Bring meshes and camera to where the world's bodies are."""
        poses = world.poses()
        for visual in self._visuals:
            visual.mesh.set_pose(poses[visual.body_name] * visual.local_pose)
        self._camera.set_pose(poses[BASE] * self._camera_in_base)
        self._scene.update_render()

    def shows_photo(self, segmentation: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Where the photograph stands, given the camera's segmentation ``[480, 640, 4]``."""
        background: npt.NDArray[np.bool_] = segmentation[..., 0] != _FOREGROUND
        return background

    def _dim(self, light: float) -> None:
        self._light = light
        self._photo = self._whole_photo if light == 1.0 else _dimmed(self._whole_photo, light)
        self._scene.set_ambient_light([light * part for part in _AMBIENT_LIGHT])
        for entity, color in self._lights:
            entity.set_color([light * part for part in color])

    def _visual(
        self, body_name: str, file: Path | str, local_pose: sapien.Pose = _IDENTITY, scale: Sequence[float] = (1, 1, 1)
    ) -> _Visual:
        mesh = self._scene.get_renderer_scene().add_mesh_from_file(str(file), np.array(scale))
        return _Visual(body_name, local_pose, mesh)

    def _robot_visuals(self, description: Path) -> list[_Visual]:
        builder = self._scene.create_urdf_loader().load_file_as_articulation_builder(str(description))
        visuals = [
            # The record's pose lives no longer than the builder, hence the copy.
            self._visual(link.get_name(), record.filename, sapien.Pose(record.pose.p, record.pose.q), record.scale)
            for link in builder.get_link_builders()
            for record in link.get_visuals()
        ]
        for visual in visuals:
            for shape in visual.mesh.get_render_shapes():
                shape.material.specular = 0.9
                shape.material.roughness = 0.3
        return visuals

    def _build_camera(self, task: BridgeTask) -> sapien.CameraEntity:
        height, width = IMAGE_SIZE
        field_of_view = 2 * math.atan2(height / 2, _FOCAL_LENGTH)
        camera = self._scene.add_camera("3rd_view_camera", width, height, field_of_view, task.robot.camera_near, _FAR)
        camera.set_focal_lengths(_FOCAL_LENGTH, _FOCAL_LENGTH)
        camera.set_principal_point(*_PRINCIPAL_POINT)
        return camera


def _dimmed(photo: npt.NDArray[np.uint8], light: float) -> npt.NDArray[np.uint8]:
    """A photograph in this part of its light, which grey levels hold by the transfer function of sRGB."""
    levels = np.arange(256) / 255
    linear = light * np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    dimmed = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: npt.NDArray[np.uint8] = np.rint(255 * dimmed).astype(np.uint8)
    return np.take(table, photo)


def _read_photo(path: Path) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path))
    if image is None or image.shape != (*IMAGE_SIZE, 3):
        raise AssetError(f"{path} is no image of {IMAGE_SIZE[1]} x {IMAGE_SIZE[0]} pixels")
    rgb: npt.NDArray[np.uint8] = np.ascontiguousarray(image[..., ::-1])
    return rgb
