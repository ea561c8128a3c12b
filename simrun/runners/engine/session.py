"""A session: everything a sweep needs from its configuration to its last record, on one machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from simrun.envs import Benchmark, Protocol, get_benchmark
from simrun.envs.machine.capacity import Capacity
from simrun.errors import CheckpointError, PolicyError, ServerError, SimrunError
from simrun.policies import ExecutionVariant, Policy, PolicySpec
from simrun.policies.checkpoints import factory_parts, is_url, with_files
from simrun.policies.inference import InferenceThread
from simrun.policies.loaders.factory import FactoryLoader
from simrun.policies.options import files_beside, interpreter_of
from simrun.policies.registry import checkpoint_hash
from simrun.results import EpisodeRecord
from simrun.results.folder import MAIN_WRITER
from simrun.results.plan import Job, Plan
from simrun.results.run import Run
from simrun.runners.engine.batching import Batcher
from simrun.runners.engine.fingerprint import make_fingerprint, short_hash
from simrun.runners.engine.interruption import Interruption
from simrun.runners.engine.placement import open_policy
from simrun.runners.engine.policy_process import ReplicatedPolicy
from simrun.runners.engine.pool import WorkerPool
from simrun.runners.engine.progress import Display
from simrun.runners.engine.recording import Recorder, Tape
from simrun.runners.engine.rollout import Rollout
from simrun.runners.engine.scheduler import FaultLimits, Replica, Scheduler
from simrun.runners.engine.sizing import MOST_PER_CORE, Stretch, WorkerCount
from simrun.runners.engine.sources import JobQueue, JobSource, PlanSource, Stage
from simrun.runners.sweep import SweepConfig, make_plan

_INVARIANT_BATCH = 8
_CHECK_SECONDS = 1.0
"""How often a session looks whether its folder is still there."""

PolicySource = Callable[[str, Benchmark], Policy]
"""Gives the policy of a checkpoint name on a benchmark."""


@dataclass
class SessionResult:
    """How a session ended.

    Attributes:
        run: the run.
        failures: checkpoint -> the error that ended it; the other checkpoints went on.
        interrupted: the user asked to stop; what is missing can be resumed.
        notes: remarks that belong under the table.
    """

    run: Run
    failures: dict[str, SimrunError] = field(default_factory=dict)
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[EpisodeRecord]:
        """The records in memory: of the whole run, or of this session alone where others write beside it."""
        return self.run.records


def run_session(
    config: SweepConfig,
    out: Path,
    display: Display,
    *,
    policies: PolicySource | None = None,
    plan: Plan | None = None,
) -> SessionResult:
    """Run what is missing of a sweep; calling it again with the same ``out`` resumes it.

    Args:
        config: what to run and how.
        out: the run folder; made if it does not exist.
        display: shows progress.
        policies: gives the policies; None loads checkpoints as the configuration says.
        plan: the plan, when it was made before.

    Raises:
        UsageError: the configuration is wrong, the folder holds another run, or another runner owns it.
        InfrastructureError: a benchmark cannot run on this machine, or results cannot be written.
    """
    run = Run.prepare(out, config.identity(), plan or make_plan(config))
    with run.own():
        display.planned(run.plan, run.done)
        return run_source(config, run, PlanSource(run.plan, run.done), display, policies)


def run_source(
    config: SweepConfig,
    run: Run,
    source: JobSource,
    display: Display,
    policies: PolicySource | None = None,
) -> SessionResult:
    """Run every job that a source gives.

    Args:
        config: how to run.
        run: the run that the jobs belong to; its journal is open.
        source: gives the jobs.
        display: shows progress.
        policies: gives the policies; None loads checkpoints as the configuration says.

    Raises:
        UsageError: the configuration is wrong.
        InfrastructureError: a benchmark cannot run on this machine, or results cannot be written.
    """
    result = SessionResult(run)
    with Interruption() as interruption, display:
        try:
            _Session(config, run, source, display, interruption, policies, result).execute()
        except KeyboardInterrupt:
            result.interrupted = True
    return result


class _Session:
    """The state that the checkpoints of one session share; the observer of its schedulers."""

    def __init__(
        self,
        config: SweepConfig,
        run: Run,
        source: JobSource,
        display: Display,
        interruption: Interruption,
        policies: PolicySource | None,
        result: SessionResult,
    ) -> None:
        self._config = config
        self._checked = time.monotonic()
        self._run = run
        self._source = source
        self._display = display
        self._interruption = interruption
        self._policies = policies or self._open
        self._files = files_beside(config.policy, config.policy_options)
        self._result = result
        self._recorder = Recorder(
            config.video,
            config.record,
            run.videos,
            run.path / "rollouts",
            "" if run.writer == MAIN_WRITER else run.writer,
        )
        self._most = 1
        self._fingerprint = ""
        self._fingerprints: dict[tuple[str, ...], str] = {}

    def execute(self) -> None:
        protocols = {protocol.name: protocol for protocol in self._run.plan.protocols}
        try:
            for name, stages in groupby(self._source.stages(), key=lambda stage: stage.protocol):
                self._run_benchmark(protocols[name], stages)
        finally:
            for sentence in self._recorder.close():
                self._note(sentence)

    def _run_benchmark(self, protocol: Protocol, stages: Iterator[Stage]) -> None:
        benchmark = get_benchmark(protocol.benchmark)
        benchmark.check_not_retired(protocol.name)
        for sentence in benchmark.left_out(protocol, self._config.tasks):
            self._note(sentence)
        capacity = Capacity.detect()
        most = self._source.most_jobs(protocol.name)
        size = min(self._config.workers or capacity.workers(), most)
        self._most = size if self._config.workers else max(size, min(MOST_PER_CORE * capacity.cores, most))
        pool = WorkerPool(benchmark, protocol, size, self._run.logs, self._config.recycle)
        self._fingerprints.clear()
        try:
            for stage in stages:
                self._run_stage(pool, benchmark, stage)
        finally:
            pool.close()

    def _run_stage(self, pool: WorkerPool, benchmark: Benchmark, stage: Stage) -> None:
        self._display.loading(stage.checkpoint)
        try:
            policy = self._policies(stage.checkpoint, benchmark)
        except (CheckpointError, ServerError) as error:
            self._fail(stage.checkpoint, error)
            return
        try:
            self._meet(stage.checkpoint, policy.spec, pool.protocol)
            repeated = self._collapse(stage.checkpoint, policy.spec)
            pool.prepare(policy.spec)
            self._recorder.prepare(benchmark, pool.protocol, policy.spec)
            # A policy that looks at nothing needs no renderer, so the fingerprint goes with the cameras.
            if pool.cameras not in self._fingerprints:
                # The workers start up while the fingerprint is taken.
                pool.warm_up(self._config.timeout)
                self._fingerprints[pool.cameras] = self._take_fingerprint(pool)
            self._fingerprint = self._fingerprints[pool.cameras]
            cost = {task.name: float(task.max_steps) for task in benchmark.tasks(pool.protocol)}
            queue = self._source.queue(stage, lambda job: job.candidate.execution not in repeated, cost)
            self._roll_out(pool, policy, queue)
        except (PolicyError, ServerError) as error:
            self._fail(stage.checkpoint, error)
        finally:
            policy.close()

    def _open(self, checkpoint: str, benchmark: Benchmark) -> Policy:
        """The policy of a checkpoint, as the configuration says; a source of policies."""
        config = self._config
        made_elsewhere = factory_parts(checkpoint) is not None and interpreter_of(
            config.policy_options, FactoryLoader.kind
        )
        if not is_url(checkpoint) and not made_elsewhere:
            _check_unchanged(self._run, checkpoint, self._files)
        return open_policy(
            checkpoint,
            benchmark,
            kind=config.policy,
            trust_checkpoint=config.trust_checkpoint,
            options=config.policy_options,
            devices=config.devices,
            replicas=config.replicas,
            most=self._most,
            timeout=config.timeout,
            logs=self._run.logs,
        )

    def _meet(self, checkpoint: str, spec: PolicySpec, protocol: Protocol) -> None:
        """Check that policy and protocol were made for one another, and say what belongs under the tables.

        Raises:
            CheckpointError: a server is another one than before, or was made for other settings.
        """
        if spec.identity:
            known = self._run.description.checkpoints.get(checkpoint)
            # Runs of version 0.1 hold the hash of an address, which says nothing of the server behind it.
            identity = with_files(spec.identity, self._files)
            if known not in (None, identity, checkpoint_hash(checkpoint)):
                raise CheckpointError(
                    f"another policy answers at {checkpoint} than when this run was started; evaluate it into a new "
                    "folder with --out"
                )
            if known is None:
                self._run.note_checkpoint(checkpoint, identity)
        if not is_url(checkpoint):
            self._run.note_interpreter(checkpoint, spec.interpreter)
        for name, value in spec.needs.items():
            found = getattr(protocol, name, protocol.settings.get(name))
            if found != value or (name == "max_steps" and set(protocol.max_steps_by_task.values()) - {value}):
                raise CheckpointError(
                    f"{checkpoint} was made for {name} = {value}, and {protocol.name} has {found}; choose another "
                    f"protocol with --protocol, or state it: --set {name}={value}"
                )
        remarks = list(spec.notes)
        variants = {entry.execution for entry in self._run.plan.candidates if entry.checkpoint == checkpoint}
        if "native" in variants:
            come_to = "the whole chunk, for nobody says what its authors execute"
            if spec.native is not None:
                come_to = spec.native.describe(spec.chunk_length)
            remarks.append(f"{checkpoint}: native executes {come_to}.")
        for remark in remarks:
            self._run.note_remark(checkpoint, remark)

    def _fail(self, checkpoint: str, error: SimrunError) -> None:
        self._result.failures[checkpoint] = error
        self._source.failed(checkpoint, error)

    def _roll_out(self, pool: WorkerPool, policy: Policy, queue: JobQueue) -> None:
        spec = policy.spec
        policies = policy.replicas if isinstance(policy, ReplicatedPolicy) else (policy,)
        max_batch, pad_to = batch_shape(self._config, spec, math.ceil(self._most / len(policies)))
        count = None
        if self._most > 1 and not self._config.workers:
            count = WorkerCount(len(pool.live), Capacity.detect().cores, self._most)
        threads = [InferenceThread(one, pool.action_spec, pad_to) for one in policies]
        together = Batcher(max_batch, self._config.max_wait)
        scheduler = Scheduler(
            pool,
            [
                Replica(thread, Batcher(max_batch, self._config.max_wait) if spec.stateful else together)
                for thread in threads
            ],
            queue,
            spec,
            FaultLimits(self._config.retries, self._config.timeout),
            self,
            self._interruption,
            count,
        )
        try:
            scheduler.run()
        finally:
            for thread in threads:
                thread.close()
            errors = [thread.composition_error for thread in threads]
            self._note_composition(spec, max((error for error in errors if error is not None), default=None))

    def _collapse(self, checkpoint: str, spec: PolicySpec) -> Collection[str]:
        """The variants that would execute exactly what another one does; says so once."""
        kept: dict[int, str] = {}
        same: dict[str, str] = {}
        for candidate in dict.fromkeys(
            candidate for candidate in self._run.plan.candidates if candidate.checkpoint == checkpoint
        ):
            variant = ExecutionVariant.parse(candidate.execution)
            horizon = variant.horizon(spec.chunk_length, spec.native)
            plain = spec.native is None or not (spec.native.also or spec.native.last)
            if variant.kind in ("full", "half", "single", "k") or (variant.kind == "native" and plain):
                first = kept.setdefault(horizon, candidate.execution)
                if first != candidate.execution:
                    same[candidate.execution] = first
        if not same:
            return ()
        listing = ", ".join(f"{variant} = {first}" for variant, first in same.items())
        self._note(f"{checkpoint}: {listing}, because its chunk holds {spec.chunk_length} action(s)")
        self._run.note_collapsed(checkpoint, same)
        self._display.collapsed(checkpoint, list(same))
        return same

    def _take_fingerprint(self, pool: WorkerPool) -> str:
        report = pool.fingerprint(self._config.timeout)
        if report.get("reportable") is False:
            self._note(f"{pool.protocol.name}: not for reporting, because {report.get('not_reportable_because')}")
        fingerprint = make_fingerprint(report, pool.protocol)
        self._run.note_fingerprint(short_hash(fingerprint), fingerprint)
        return short_hash(fingerprint)

    def _note_composition(self, spec: PolicySpec, error: float | None) -> None:
        if error:
            self._note(
                f"{spec.name}: an action changed by up to {error:.2g} with the batch it was predicted in; "
                "use --batch-invariant for results that do not depend on it"
            )

    def _note(self, text: str) -> None:
        if text not in self._result.notes:
            self._result.notes.append(text)

    # --- what the scheduler tells ----------------------------------------------------------------------------

    def tape(self, job: Job, slot: int) -> Tape:
        return self._recorder.begin(job, slot)

    def cameras(self, slot: int) -> list[str] | None:
        return self._recorder.cameras(slot)

    def fingerprint(self) -> str:
        return self._fingerprint

    def finished(self, record: EpisodeRecord, rollout: Rollout) -> None:
        record = self._recorder.keep(record, rollout.tape)
        if not self._source.owns(rollout.job):
            self._display.remark(f"{rollout.job.episode.id} was taken over by another shard; not recorded here")
            return
        self._run.record(record)
        self._display.finished(record)

    def inferred(self, batch: int, seconds: float) -> None:
        self._display.inferred(batch, seconds)

    def measured(self, stretch: Stretch, workers: int) -> None:
        self._display.measured(stretch.bottleneck(Capacity.detect().cores), workers)

    def halved(self, batch: int, largest: int) -> None:
        self._display.remark(
            f"the memory of the policy's device does not hold a batch of {batch}; going on with at most {largest}"
        )

    def retried(self, job: Job, error: SimrunError) -> None:
        self._display.remark(f"{job.episode.id} runs again: {error}")

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._checked > _CHECK_SECONDS:
            self._checked = now
            self._run.check_place()
        self._display.tick()


def batch_shape(config: SweepConfig, spec: PolicySpec, slots: int) -> tuple[int, int | None]:
    """The largest batch, and the size to pad to (None: no padding).

    On a CPU requests are served one by one unless ``--max-batch`` says otherwise: batches hardly pay there, and
    single requests make results independent of company. The padded shape must not depend on the number of
    workers, or the results would.
    """
    if config.max_batch is not None:
        largest = config.max_batch
    elif spec.device == "cpu":
        largest = 1
    else:
        largest = _INVARIANT_BATCH if config.batch_invariant else slots
    if spec.max_batch_size is not None:
        largest = min(largest, spec.max_batch_size)
    return largest, largest if config.batch_invariant and largest > 1 else None


def default_out(config: SweepConfig, root: Path) -> Path:
    """A folder name for a new run: time, benchmark and first checkpoint."""
    first = Path(config.ckpt[0]).name or config.ckpt[0]
    name = "".join(character if character.isalnum() or character in "-_." else "-" for character in first)[:40]
    return root / f"{time.strftime('%Y%m%d-%H%M%S')}-{'+'.join(config.bench)}-{name.strip('-.')}"


def _check_unchanged(run: Run, checkpoint: str, files: Sequence[Path]) -> None:
    found = with_files(checkpoint_hash(checkpoint), files)
    if run.description.checkpoints.get(checkpoint, found) != found:
        raise CheckpointError(
            f"{' or '.join([checkpoint, *map(str, files)])} has changed since this run was started; evaluate it into a "
            "new folder with --out"
        )
    run.note_checkpoint(checkpoint, found)
