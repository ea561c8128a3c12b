"""How large the parts are: for a card, and for a dry run on the CPU that only shows that they work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes and times of the parts.

    Attributes:
        device: where torch computes.
        networks: millions of parameters -> width and depth of the transformer.
        main: the network that every number of workers is tried with, millions of parameters.
        patch: side of an image patch in pixels; 8 makes 513 tokens of tabletop's two pictures.
        batches: batches to time.
        repetitions: inferences a batch is timed with.
        workers: fixed numbers of workers for ``main``.
        few_workers: fixed numbers of workers for the other networks.
        seconds: how long a timed run lasts after its first inference.
        warm_up: how much of that is not counted.
        adaptive_seconds: how long a run lasts that chooses its workers itself; its last ``seconds - warm_up`` count.
        headroom: memory left on the card where it shall run out, as multiples of what one observation needs.
    """

    device: str
    networks: dict[int, tuple[int, int]]
    main: int
    patch: int
    batches: tuple[int, ...]
    repetitions: int
    workers: tuple[int, ...]
    few_workers: tuple[int, ...]
    seconds: float
    warm_up: float
    adaptive_seconds: float
    headroom: int

    @property
    def some_workers(self) -> int:
        """A middling number of workers, at least two."""
        return max(2, self.few_workers[len(self.few_workers) // 2])


CARD = Scale(
    device="cuda:0",
    networks={5: (256, 6), 100: (768, 14), 500: (1280, 25)},
    main=100,
    patch=8,
    batches=(1, 2, 4, 8, 16, 32),
    repetitions=20,
    workers=(1, 8, 16, 32, 48, 96, 128),
    few_workers=(8, 32, 96),
    seconds=9.0,
    warm_up=3.0,
    adaptive_seconds=40.0,
    headroom=10,
)
DRY = Scale(
    device="cpu",
    networks={1: (64, 2), 2: (96, 2)},
    main=1,
    patch=32,
    batches=(1, 2),
    repetitions=2,
    workers=(1, 2),
    few_workers=(2,),
    seconds=4.0,
    warm_up=1.0,
    adaptive_seconds=6.0,
    headroom=2,
)
