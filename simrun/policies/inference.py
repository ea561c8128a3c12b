"""The thread in which a policy computes: for the runner's episodes, and for the clients of a served policy."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simrun.envs import ActionSpec
from simrun.errors import PolicyError, SimrunError
from simrun.policies.device_memory import FittingBatches, ran_out_of_memory
from simrun.policies.energy import EnergyMeter, energy_counter
from simrun.policies.policy import Observation, Policy, check_chunks


@dataclass(frozen=True)
class Request:
    """One slot waiting for a chunk.

    Attributes:
        observation: what the policy sees.
        fresh: the policy must forget the slot first: a new episode or instruction.
        owner: whose request it is; the answer to an owner that is gone by then is thrown away.
    """

    observation: Observation
    fresh: bool
    owner: object


@dataclass(frozen=True)
class Prediction:
    """What came back for one batch.

    Attributes:
        batch: the requests served, in the order of ``chunks``.
        chunks: ``[B, H, A]``, or the error that ended the inference.
        seconds: time the policy took.
        joules: energy that the policy's graphics card took since the inference before; None where nobody tells.
        largest: the largest batch that the policy's device has memory for; None as long as everything has fitted.
    """

    batch: list[Request]
    chunks: npt.NDArray[np.floating] | SimrunError
    seconds: float
    largest: int | None = None
    joules: float | None = None


@dataclass(frozen=True)
class _Order:
    """Requests to serve, and who is told; orders that may share go into one batch with others that wait."""

    batch: list[Request]
    deliver: Callable[[Prediction], None]
    may_share: bool


class InferenceThread:
    """Runs a policy in a thread of its own, one batch at a time, so that stepping and inference overlap.

    A runner submits one batch after the other and waits for the descriptor; clients of a server each `ask`, and those
    who wait while the policy computes are served together.

    Args:
        policy: the policy; used from one thread only, until `close`.
        action_spec: the action convention its chunks are checked against.
        pad_to: pad every batch to this size by repeating its first observation; None leaves batches as they are.
        max_batch: most askers who are served together.
    """

    def __init__(
        self, policy: Policy, action_spec: ActionSpec, pad_to: int | None = None, *, max_batch: int = 1
    ) -> None:
        self.policy = policy
        self.action_spec = action_spec
        self.busy = False
        self.composition_error: float | None = None
        self._pad_to = pad_to
        self._max_batch = max_batch
        self._fitting = FittingBatches(policy)
        self._energy: EnergyMeter | None = None
        self._counter = energy_counter(policy.spec.device)
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._predictions: queue.SimpleQueue[Prediction] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        self._probes = 3 if policy.spec.deterministic and not policy.spec.stateful else 0
        self._thread = threading.Thread(target=self._run, name="simrun-inference", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """A descriptor that becomes readable when a prediction is ready."""
        return self._wake_read

    def submit(self, batch: list[Request]) -> None:
        """Start an inference; only when not `busy`."""
        self.busy = True
        self._orders.put(_Order(batch, self._announce, may_share=False))

    def result(self) -> Prediction:
        """The prediction that made the descriptor readable."""
        os.read(self._wake_read, 1)
        prediction = self._predictions.get()
        self.busy = False
        return prediction

    def ask(self, observation: Observation, fresh: bool) -> npt.NDArray[np.floating]:
        """The chunk ``[H, A]`` for an observation; waits for it.

        Args:
            observation: what the policy sees.
            fresh: it must forget the slot first.

        Raises:
            SimrunError: the policy failed.
        """
        answer: Future[Prediction] = Future()
        self._orders.put(_Order([Request(observation, fresh, None)], answer.set_result, may_share=True))
        chunks = answer.result().chunks
        if isinstance(chunks, SimrunError):
            raise chunks
        chunk: npt.NDArray[np.floating] = chunks[0]
        return chunk

    def close(self) -> None:
        """End the thread after the inference that runs now."""
        self._orders.put(None)
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def predict(self, batch: list[Request]) -> Prediction:
        """Run an inference in the caller's thread; a caller that does so never submits."""
        if self._energy is None and self._counter is not None:
            self._energy = EnergyMeter(self._counter)
        started = time.perf_counter()
        outcome: npt.NDArray[np.floating] | SimrunError
        try:
            outcome = self._infer(batch)
        except SimrunError as error:
            outcome = error
        except Exception as error:  # a policy is foreign code: whatever it raises is reported as its error
            outcome = PolicyError(f"policy {self.policy.spec.name} failed: {type(error).__name__}: {error}")
            outcome.__cause__ = error
        seconds = time.perf_counter() - started
        joules = self._energy.joules() if self._energy else None
        return Prediction(batch, outcome, seconds, self._fitting.largest, joules)

    def _run(self) -> None:
        while (first := self._orders.get()) is not None:
            orders = [first]
            with contextlib.suppress(queue.Empty):
                while first.may_share and len(orders) < self._max_batch:
                    order = self._orders.get_nowait()
                    if order is None:
                        self._orders.put(None)
                        break
                    orders.append(order)
            whole = self.predict([request for order in orders for request in order.batch])
            start = 0
            for order in orders:
                end = start + len(order.batch)
                chunks = whole.chunks if isinstance(whole.chunks, SimrunError) else whole.chunks[start:end]
                order.deliver(Prediction(order.batch, chunks, whole.seconds, whole.largest))
                start = end

    def _announce(self, prediction: Prediction) -> None:
        self._predictions.put(prediction)
        os.write(self._wake_write, b"\0")

    def _infer(self, batch: list[Request]) -> npt.NDArray[np.floating]:
        fresh = [request.observation.slot for request in batch if request.fresh]
        if fresh:
            self.policy.reset(fresh)
        observations = [request.observation for request in batch]
        if self._pad_to is None:
            chunks = self._check(self._fitting.infer(observations), len(observations))
            if len(batch) > 1 and self._probes:
                self._probe(observations[0], chunks)
            return chunks
        # A slot of its own and a generator of its own: padding must not draw from an episode's randomness.
        filler = replace(observations[0], slot=-1, generator=np.random.default_rng(0))
        padding = [filler] * (self._pad_to - len(observations))
        try:
            chunks = self.policy.infer([*observations, *padding])
        except Exception as error:
            if self._pad_to > 1 and ran_out_of_memory(error):
                raise PolicyError(
                    f"policy {self.policy.spec.name}: the memory of {self.policy.spec.device} does not hold the batch "
                    f"of {self._pad_to} that --batch-invariant pads to; a smaller one gives other numbers, so begin a "
                    f"new run with --max-batch {self._pad_to // 2}"
                ) from error
            raise
        return self._check(chunks, self._pad_to)[: len(batch)]

    def _check(self, chunks: npt.ArrayLike, count: int) -> npt.NDArray[np.floating]:
        return check_chunks(chunks, count, self.policy.spec, self.action_spec)

    def _probe(self, observation: Observation, chunks: npt.NDArray[np.floating]) -> None:
        self._probes -= 1
        alone = self._check(self.policy.infer([observation]), 1)[0]
        difference = float(np.abs(alone - chunks[0]).max())
        self.composition_error = max(difference, self.composition_error or 0.0)
