"""Execution variants: how much of a predicted action chunk is executed before the next inference.

Sources: full, half and single are VLM4VLA's (arXiv 2601.03309); temporal ensembling is ACT's (arXiv 2304.13705,
Algorithm 2: weight ``exp(-decay * age)`` with the oldest prediction weighted most, decay 0.01). ``native`` is what the
policy's own authors execute, as its checkpoint or family declares it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simrun.envs import ActionSpec
from simrun.errors import PolicyOutputError, UsageError

_EVEN = 1e-9
_KNOWN = "native, full, half, single, k=N, ensemble, ensemble=DECAY, delay=N, delay=measured"


@dataclass(frozen=True)
class NativeExecution:
    """What the authors of a policy execute of its chunks.

    Attributes:
        steps: actions executed between two inferences; 0 means the whole chunk.
        last: they are the last of the chunk's, not the first.
        also: what else is done, as a phrase: ``ensemble of the last 7 chunks``; done by the policy itself, where it is
            told so by `Observation.native`.
    """

    steps: int = 0
    last: bool = False
    also: str = ""

    def horizon(self, chunk_length: int) -> int:
        """Actions executed of a chunk.

        Raises:
            UsageError: the chunk is shorter.
        """
        if self.steps > chunk_length:
            raise UsageError(
                f"native execution takes {self.steps} actions of each chunk, and the policy's hold {chunk_length}"
            )
        return self.steps or chunk_length

    def describe(self, chunk_length: int) -> str:
        """What it comes to: ``10 of 50 actions``."""
        which = "the last " if self.last and self.steps not in (0, chunk_length) else ""
        return f"{which}{self.horizon(chunk_length)} of {chunk_length} actions" + (
            f", {self.also}" if self.also else ""
        )


@dataclass(frozen=True)
class ExecutionVariant:
    """One way to execute chunks; made by `parse`.

    Attributes:
        kind: ``native``, ``full``, ``half``, ``single``, ``k``, ``ensemble``, ``delay`` or ``measured``.
        value: N of ``k=N`` and ``delay=N``, the decay of ``ensemble``; 0 for the others.
    """

    kind: str
    value: float = 0

    @classmethod
    def parse(cls, text: str) -> ExecutionVariant:
        """Read ``native``, ``full``, ``half``, ``single``, ``k=N``, ``ensemble[=decay]`` or ``delay=N``.

        Raises:
            UsageError: the text is none of these.
        """
        text = text.strip()
        if text in ("native", "full", "half", "single"):
            return cls(text)
        if text == "delay=measured":
            return cls("measured")
        if match := re.fullmatch(r"(k|delay)=(\d{1,9})", text):
            if int(match[2]) < 1:
                raise UsageError(f"execution variant {text!r}: N must be at least 1")
            return cls(match[1], int(match[2]))
        if match := re.fullmatch(r"ensemble(?:=(\d+(?:\.\d+)?))?", text):
            return cls("ensemble", float(match[1] or 0.01))
        raise UsageError(f"unknown execution variant {text!r}; known: {_KNOWN}")

    def __str__(self) -> str:
        if self.kind == "measured":
            return "delay=measured"
        if self.kind in ("k", "delay"):
            return f"{self.kind}={int(self.value)}"
        if self.kind == "ensemble" and self.value != 0.01:
            return f"ensemble={self.value:g}"
        return self.kind

    def horizon(self, chunk_length: int, native: NativeExecution | None = None) -> int:
        """Actions executed between two inferences for a policy that predicts ``chunk_length`` actions.

        Args:
            chunk_length: actions in a chunk.
            native: what the policy's authors execute; None means the whole chunk.

        Raises:
            UsageError: the chunk is too short for the variant.
        """
        if self.kind == "native" and native is not None:
            return native.horizon(chunk_length)
        if self.kind in ("native", "full", "measured"):
            return chunk_length
        if self.kind == "half":
            return max(1, chunk_length // 2)
        if self.kind in ("single", "ensemble"):
            return 1
        count = int(self.value)
        if self.kind == "k":
            if count > chunk_length:
                raise UsageError(f"k={count} asks for more actions than the policy's chunk of {chunk_length} holds")
            return count
        if 2 * count >= chunk_length:
            raise UsageError(
                f"delay={count} needs chunks longer than {2 * count} actions; the policy's hold {chunk_length}"
            )
        return chunk_length - count


class ChunkExecutor:
    """Turns the predicted chunks of one slot into the actions to execute before the next observation.

    Args:
        variant: how chunks are executed.
        chunk_length: actions in each predicted chunk.
        action_spec: the action convention; ``ensemble`` needs it where dimensions are binary, because a mean of
            legal values is none: there the weighted majority decides, and the newest prediction where it is even.
        native: what the policy's authors execute, for ``native``.

    Raises:
        UsageError: the chunk is too short for the variant.
    """

    def __init__(
        self,
        variant: ExecutionVariant,
        chunk_length: int,
        action_spec: ActionSpec | None = None,
        native: NativeExecution | None = None,
    ) -> None:
        self.variant = variant
        self.horizon = variant.horizon(chunk_length, native)
        self._native = native
        self._length = chunk_length
        self._last = variant.kind == "native" and native is not None and native.last
        self._binary = (
            [] if action_spec is None else [(i, action_spec.low[i], action_spec.high[i]) for i in action_spec.binary]
        )
        self._spec = action_spec
        self._predictions: list[npt.NDArray[np.floating]] = []
        self._used = 0

    def reset(self) -> None:
        """Drop every prediction: the episode or the instruction has changed."""
        self._predictions.clear()

    def plan(self, chunk: npt.NDArray[np.floating], delay: int | None = None) -> npt.NDArray[np.floating]:
        """Actions ``[k, A]`` to execute now, given the chunk ``[H, A]`` predicted from the latest observation.

        Args:
            chunk: the chunk.
            delay: control steps that its inference took; ``delay=measured`` needs it.

        ``delay=N`` models inference that takes N control steps: the tail of the chunk before goes on for N
        steps, then the new chunk is entered at its action N. The first chunk of an episode is waited for.
        ``delay=measured`` does the same with the delay that each inference had: so many actions of a chunk as the
        last one took are kept back for the next; where that one takes longer, the robot holds still meanwhile.

        Chunks of another length than announced are executed by the same rule: all, half, at most N of them.

        Raises:
            PolicyOutputError: an inference took so long that nothing of its chunk is left to execute, or chunks that
                differ in length are to be mixed.
            UsageError: nobody measures here.
        """
        horizon = self.horizon
        if len(chunk) != self._length:
            if self.variant.kind in ("ensemble", "delay", "measured"):
                raise PolicyOutputError(
                    f"{self.variant} mixes chunks of one length; this policy answered with {len(chunk)} actions after "
                    f"{self._length}: take --exec native or full"
                )
            fixed = self.variant.kind == "k" or (self.variant.kind == "native" and self._native and self._native.steps)
            horizon = min(horizon, len(chunk)) if fixed else self.variant.horizon(len(chunk), self._native)
        if self.variant.kind == "ensemble":
            return self._ensemble(chunk)
        if self.variant.kind == "delay":
            return self._delayed(chunk)
        if self.variant.kind == "measured":
            return self._measured(chunk, delay)
        return chunk[-horizon:] if self._last else chunk[:horizon]

    def _ensemble(self, chunk: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        length = len(chunk)
        self._predictions = [*self._predictions, chunk][-length:]
        ages = range(len(self._predictions) - 1, -1, -1)
        candidates = np.stack([prediction[age] for prediction, age in zip(self._predictions, ages, strict=True)])
        weights = np.exp(-self.variant.value * np.arange(len(candidates)))
        action = (weights[:, None] * candidates).sum(axis=0, keepdims=True) / weights.sum()
        for dimension, low, high in self._binary:
            lead = action[0, dimension] - (low + high) / 2
            action[0, dimension] = chunk[0, dimension] if abs(lead) < _EVEN else high if lead > 0 else low
        ensembled: npt.NDArray[np.floating] = action.astype(chunk.dtype)
        return ensembled

    def _delayed(self, chunk: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        delay = int(self.variant.value)
        if not self._predictions:
            planned = chunk[: len(chunk) - delay]
        else:
            planned = np.concatenate([self._predictions[-1][len(chunk) - delay :], chunk[delay : len(chunk) - delay]])
        self._predictions = [chunk]
        return planned

    def _measured(self, chunk: npt.NDArray[np.floating], delay: int | None) -> npt.NDArray[np.floating]:
        if delay is None:
            raise UsageError("delay=measured is for evaluations, which measure how long an inference takes")
        if delay >= len(chunk):
            raise PolicyOutputError(
                f"an inference took {delay} control steps, and its chunk holds {len(chunk)} actions: nothing is left"
            )
        end = max(delay + 1, len(chunk) - delay)
        planned = chunk[:end]
        if self._predictions:
            before = self._predictions[-1]
            tail = before[self._used : self._used + delay]
            planned = np.concatenate([tail, self._still(before[-1], delay - len(tail)), chunk[delay:end]])
        self._predictions, self._used = [chunk], end
        return planned

    def _still(self, last: npt.NDArray[np.floating], steps: int) -> npt.NDArray[np.floating]:
        """Actions that hold the robot where it is, after the last one of a chunk."""
        if self._spec is None:
            return np.repeat(last[None], steps, axis=0)
        still = self._spec.neutral_action().astype(last.dtype)
        held = [*self._spec.absolute_dimensions, *self._spec.binary]
        still[held] = last[held]
        return np.repeat(still[None], steps, axis=0)
