"""More pods answer more requests: the throughput is counted, not the pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.sleeping_pool import RUN_SECONDS, SleepingPool, sleeping_pool

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
_ANSWERS_OF_ONE_POD = 80


@pytest.fixture
def pool(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SleepingPool]:
    """An installation of its own with two gateways and a model that needs no CPU."""
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    with sleeping_pool("penstock-e2e-throughput", values) as installed:
        yield installed


def test_the_throughput_follows_the_pods(pool: SleepingPool) -> None:
    """One pod and four are busy nearly all the time, share the work evenly, and refuse nothing."""
    for pods in (1, 4):
        pool.scale(pods)
        with pool.load(users=32) as load:
            measured = pool.throughput(load, answers=pods * _ANSWERS_OF_ONE_POD)
        assert not measured.failed
        assert measured.requests_per_second * RUN_SECONDS / pods > 0.85, measured
        mean = sum(measured.answered.values()) / pods
        assert 0.8 * mean < min(measured.answered.values()), measured
        assert max(measured.answered.values()) < 1.2 * mean, measured
