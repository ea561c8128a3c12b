"""What a table of a paper says of how its numbers were made."""

from __future__ import annotations

from simrun.results.cells import gather
from simrun.results.publishing.paper import method
from simrun.results.records import INFRASTRUCTURE_ERROR
from tests.results.synthetic_records import record


def test_results_without_a_mean_are_called_so() -> None:
    finished = [record(task="a_task", trial=trial) for trial in range(3)]
    assert "; 3 initial states; " in method(gather(finished))
    failed = [record(task="a_task", trial=trial, status=INFRASTRUCTURE_ERROR) for trial in range(3)]
    assert "; no mean, because of a planned task no episode was finished; no intervals" in method(gather(failed))
