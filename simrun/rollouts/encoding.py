"""H.264 by the ffmpeg that imageio-ffmpeg brings: written while frames come, whole or not at all; and read back."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from simrun.envs.machine.processes import dying_with_parent
from simrun.envs.machine.regular_files import open_regular
from simrun.errors import DependencyError, JournalError

Frame = npt.NDArray[np.uint8]
"""A picture, uint8 ``[height, width, 3]``, RGB."""

_LONGEST_EDGE = 16_384
_LONGEST_COMPLAINT = 100_000

SHOWN = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "28", "-preset", "veryfast", "-movflags", "+faststart")
"""For people: small, and every browser plays it; colours are approximate, sizes must be even."""

EXACT = ("-c:v", "libx264rgb", "-pix_fmt", "rgb24", "-qp", "0", "-preset", "ultrafast", "-g", "20")
"""For programs: every pixel comes back as it was; a key frame every 20, for random access."""


class VideoFile:
    """A video that is written frame by frame.

    The file appears under its name when it is whole; until then it lies beside it, as ``.NAME.partial``.

    Args:
        path: the ``.mp4`` file; its folder is made.
        rate: frames a second.
        codec: `SHOWN` or `EXACT`.

    Raises:
        DependencyError: imageio-ffmpeg is missing.
    """

    def __init__(self, path: Path, rate: float, codec: Sequence[str]) -> None:
        self.path = path
        self.frames = 0
        self._rate = rate
        self._codec = codec
        self._partial = path.with_name(f".{path.name}.partial")
        self._ffmpeg = _ffmpeg()
        self._encoder: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None

    def add(self, frame: Frame) -> None:
        """Append a frame; all must be of one size.

        Raises:
            JournalError: the folder cannot be written.
        """
        if self._encoder is None:
            self._start(frame)
        assert self._encoder is not None
        assert self._encoder.stdin is not None
        # An encoder that died is noticed by its exit status; why it died is in its own words.
        with suppress(BrokenPipeError):
            self._encoder.stdin.write(np.ascontiguousarray(frame).data)
        self.frames += 1

    def finish(self, path: Path | None = None) -> int:
        """Complete the file and give it its name.

        Args:
            path: another name than the one it was begun under, in the same file system.

        Returns:
            Its size in bytes.

        Raises:
            JournalError: it has no frame, or could not be written.
        """
        path = path or self.path
        complaint = self._end() if self._encoder is not None else "it has no frame"
        if complaint is None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._partial.replace(path)
                return path.stat().st_size
            except OSError as error:
                complaint = error.strerror or str(error)
        self.discard()
        raise JournalError(f"the video {path} cannot be written: {complaint}; free space, or keep fewer")

    def discard(self) -> None:
        """Stop, and leave nothing behind."""
        if self._encoder is not None:
            self._encoder.kill()
            self._end()
        with suppress(OSError):
            self._partial.unlink()

    def _start(self, frame: Frame) -> None:
        size = f"{frame.shape[1]}x{frame.shape[0]}"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{self._rate:g}", "-i", "pipe:0"]
        # One thread: the machine's cores belong to the simulators, and the file does not depend on their number.
        target = [*self._codec, "-threads", "1", "-f", "mp4", str(self._partial)]
        try:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the encoder)
            self._encoder = subprocess.Popen(
                dying_with_parent([self._ffmpeg, "-y", "-loglevel", "error", *source, *target]),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
            )
        except OSError as error:
            raise JournalError(f"the video {self.path} cannot be written: {error.strerror or error}") from None

    def _end(self) -> str | None:
        """Wait for the encoder; returns what it complained of, None when it succeeded."""
        assert self._encoder is not None
        assert self._complaints is not None
        assert self._encoder.stdin is not None
        with suppress(BrokenPipeError):
            self._encoder.stdin.close()
        status = self._encoder.wait()
        self._encoder = None
        with self._complaints as complaints:
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").strip().splitlines()
        if status == 0:
            return None
        return lines[-1] if lines else f"the encoder ended with status {status}"


def read_frames(path: Path, height: int, width: int) -> Iterator[Frame]:
    """The frames of a video, as they were when it was written with `EXACT`.

    Raises:
        DependencyError: imageio-ffmpeg is missing.
        JournalError: the file is missing or damaged.
    """
    try:
        open_regular(path).close()
    except (OSError, ValueError) as error:
        raise JournalError(f"the video {path} cannot be read: {error}") from None
    if not all(type(edge) is int and 0 < edge <= _LONGEST_EDGE for edge in (height, width)):
        raise JournalError(f"the video {path} cannot be read: no camera has {height!r:.20} x {width!r:.20} pixels")
    # Told what it is: a playlist by that name could make ffmpeg read other files and addresses.
    source = ["-protocol_whitelist", "file", "-f", "mp4", "-i", f"file:{path}"]
    command = [_ffmpeg(), "-loglevel", "error", *source, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    size = height * width * 3
    # Complaints go into a file: a pipe that nobody empties would hold the decoder up.
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(dying_with_parent(command), stdout=subprocess.PIPE, stderr=complaints) as decoder,
    ):
        assert decoder.stdout is not None
        while len(data := decoder.stdout.read(size)) == size:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        decoder.stdout.close()
        decoder.wait()
        complaints.seek(0)
        complaint = complaints.read(_LONGEST_COMPLAINT).decode(errors="replace").strip().splitlines()
    if decoder.returncode:
        raise JournalError(f"the video {path} cannot be read: {complaint[-1] if complaint else 'it is damaged'}")


def _ffmpeg() -> str:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise DependencyError("videos need imageio-ffmpeg: pip install 'simrun[report]'") from None
    return str(get_ffmpeg_exe())
