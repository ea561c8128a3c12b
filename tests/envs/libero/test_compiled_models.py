"""Compiled models that are kept as files: equal to the last bit, compiled anew when anything has changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import mujoco
import numpy as np
import pytest
from PIL import Image

from simrun.envs.libero import compiled_models
from simrun.envs.libero.compiled_models import (
    FOLDER,
    compiled_model,
    model_key,
    release_surfaces,
    release_texture,
    release_textures,
)

SCENE = """<mujoco><asset>
<texture name="wood" type="2d" file="{file}"/><material name="wood" texture="wood"/>
<mesh name="rock" vertex="{rock}"/><mesh name="cloud" vertex="{rock}" scale="2 2 2"/></asset>
<worldbody><geom type="box" size="1 1 .1" material="wood"/>
<geom type="mesh" mesh="cloud" pos="0 0 5" contype="0" conaffinity="0"/>
<body pos="0 0 {height}"><freejoint/><geom type="mesh" mesh="rock"/></body></worldbody></mujoco>"""

corners = np.random.default_rng(0).normal(size=(1000, 3))
corners *= (0.2, 0.15, 0.1) / np.linalg.norm(corners, axis=1, keepdims=True)
ROCK = " ".join(f"{value:.6f}" for value in corners.ravel())

SURFACES = {"mesh_normal", "mesh_texcoord", "mesh_facenormal", "mesh_facetexcoord"}
CORNERS = {"mesh_vert", "mesh_polymapadr", "mesh_polymapnum", "mesh_face", "mesh_polynormal"}
BOXES = {"bvh_aabb", "bvh_child", "bvh_nodeid", "bvh_depth"}


class Kept:
    """A scene with one texture, the folder of its models, and how often the compiler ran."""

    def __init__(self, home: Path) -> None:
        self.picture = home / "wood.png"
        self.folder = home / "cache" / FOLDER
        self.paint(100)
        self.compiled = 0

    def paint(self, grey: int) -> None:
        ramp = np.arange(300 * 300 * 3).reshape(300, 300, 3) % 90
        Image.fromarray((ramp + grey).astype(np.uint8)).save(self.picture)

    def xml(self, height: float = 1.0) -> str:
        return SCENE.format(file=self.picture, rock=ROCK, height=height)

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setenv("SIMRUN_HOME", str(tmp_path))
    made = Kept(tmp_path)

    def count() -> None:
        made.compiled += 1

    # Called once before each compilation; what it does is LIBERO's MuJoCo's own.
    monkeypatch.setattr(compiled_models, "_keep_no_assets", count)
    return made


def arrays(model: mujoco.MjModel) -> dict[str, bytes]:
    """Every array of a model."""
    found = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: value.tobytes() for name, value in found.items() if isinstance(value, np.ndarray)}


def fallen(model: mujoco.MjModel) -> np.ndarray:
    """Where the rock is when it has fallen upon the table and come to rest there."""
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 600)
    assert data.ncon
    return data.qpos.copy()


def test_a_model_is_compiled_once_and_read_to_the_last_bit(kept: Kept) -> None:
    first, second = compiled_model(kept.xml()), compiled_model(kept.xml())
    assert kept.compiled == 1
    assert len(kept.files()) == 1
    assert arrays(first) == arrays(second)
    assert len(arrays(first)) > 200
    assert second.tex_data.any()


def test_another_text_or_another_picture_is_another_model(kept: Kept) -> None:
    before = model_key(kept.xml())
    assert model_key(kept.xml(height=2.0)) != before
    compiled_model(kept.xml())
    kept.paint(101)
    assert model_key(kept.xml()) != before
    compiled_model(kept.xml())
    assert kept.compiled == len(kept.files()) == 2


def test_another_release_of_mujoco_compiles_anew(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model_key(kept.xml())
    monkeypatch.setattr(mujoco, "__version__", "3.0.0")
    assert model_key(kept.xml()) != before


@pytest.mark.parametrize("damage", ["flipped", "torn"])
def test_a_damaged_file_is_compiled_anew(kept: Kept, damage: str) -> None:
    whole = arrays(compiled_model(kept.xml()))
    (file,) = kept.files()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "flipped" else content[:-100])
    assert arrays(compiled_model(kept.xml())) == whole
    assert arrays(compiled_model(kept.xml())) == whole
    assert kept.compiled == 2
    assert kept.files() == [file]


def test_the_folder_is_bounded_and_keeps_what_was_used_of_late(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_model(kept.xml(1.0))
    (first,) = kept.files()
    monkeypatch.setattr(compiled_models, "MOST_BYTES", int(1.5 * first.stat().st_size))
    compiled_model(kept.xml(2.0))
    assert kept.files() == [first]
    part = kept.folder / "left.part"
    part.touch()
    long_ago = time.time() - 2 * 24 * 3600
    for file in (first, part):
        os.utime(file, (long_ago, long_ago))
    compiled_model(kept.xml(2.0))
    (second,) = kept.files()
    assert second != first


def test_what_cannot_be_kept_is_compiled_each_time(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    kept.folder.touch()
    for _ in range(2):
        assert compiled_model(kept.xml()).ngeom == 3
    assert kept.compiled == 2


def test_a_missing_file_is_told_by_the_compiler(kept: Kept) -> None:
    kept.picture.unlink()
    with pytest.raises(ValueError, match=r"wood\.png"):
        compiled_model(kept.xml())
    assert not kept.folder.exists()


def test_what_only_drawing_needs_is_released_and_physics_stays_the_same(kept: Kept) -> None:
    model = compiled_model(kept.xml())
    before, fall = arrays(model), fallen(model)
    release_surfaces(model)
    assert model.tex_data.tobytes() == before["tex_data"]
    release_texture(model, 0)
    release_textures(model)
    after = arrays(model)
    changed = {name for name in before if before[name] != after[name]}
    assert {"tex_data", "mesh_facenormal", "bvh_aabb"} <= changed <= {"tex_data"} | SURFACES | CORNERS | BOXES
    assert np.mean(model.tex_data == 0) > 0.9
    rock, cloud = np.split(model.mesh_vert, [model.mesh_vertadr[1]])
    assert np.array_equal(np.frombuffer(before["mesh_vert"], np.float32)[: rock.size], rock.ravel())
    assert np.mean(cloud == 0) > 0.5
    bodies = model.mesh_bvhadr[0]
    assert np.frombuffer(before["bvh_aabb"])[: 6 * bodies].tolist() == model.bvh_aabb[:bodies].ravel().tolist()
    assert np.array_equal(fallen(model), fall)
    del model
