"""Token buckets: what was spent comes back with time, and a crowd of callers takes no more memory than a limit."""

from scheduler.api.rates import Buckets


def test_a_burst_is_granted_then_one_by_one() -> None:
    buckets = Buckets(per_s=2.0, burst=3.0)

    waits = [buckets.take("a", 0.0) for _ in range(4)]

    assert waits[:3] == [0, 0, 0]
    assert waits[3] == 0.5
    assert buckets.take("a", 0.5) == 0
    assert buckets.take("a", 0.6) > 0


def test_who_asks_does_not_pay_and_callers_do_not_share() -> None:
    buckets = Buckets(per_s=1.0, burst=1.0)

    assert [buckets.wait("a", 0.0), buckets.wait("a", 0.0), buckets.take("a", 0.0)] == [0, 0, 0]
    assert (buckets.wait("a", 0.0), buckets.take("b", 0.0)) == (1.0, 0)


def test_a_crowd_is_forgotten_oldest_first() -> None:
    buckets = Buckets(per_s=0.001, burst=1.0)
    buckets.take("first", 0.0)
    for number in range(10_000):
        buckets.take(str(number), 0.0)

    assert buckets.take("first", 0.0) == 0
    assert buckets.take("9999", 0.0) > 0
