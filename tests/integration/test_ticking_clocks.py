"""Changes of the clock and jitter through a Ticker on a real database."""

from datetime import UTC, datetime, timedelta

from tests.support.ticking import START, Stage

ROWS = """
    SELECT j.name, f.fires_at, f.wall_time, f.verdict, f.count
    FROM firings f JOIN jobs j ON j.id = f.job_id ORDER BY j.name, f.fires_at
"""


async def test_a_skipped_gap_is_one_row_that_starts_nothing(stage: Stage) -> None:
    """New York goes forward on 2026-03-08 at 07:00Z."""
    ticker = await stage.ticker()
    fixed = {"cron": "15,45 2 * * *", "timezone": "America/New_York"}
    await stage.apply(plain=[fixed], skips=[fixed | {"dst": {"gap": "skip"}}])

    for hours in (139, 140):  # at 07:00Z and 08:00Z of that day
        stage.clock.jump(START + timedelta(hours=hours))
        await ticker.tick(stage.stores.main)

    gap = [row for row in await stage.db.fetch(ROWS) if row["wall_time"].startswith("2026-03-08")]
    assert [(row["name"], row["verdict"], row["count"]) for row in gap] == [("plain", None, 1), ("skips", "dst_gap", 2)]
    assert [row["wall_time"] for row in gap] == ["2026-03-08T02:15:00"] * 2
    assert gap[0]["fires_at"] == datetime(2026, 3, 8, 7, tzinfo=UTC)


async def test_jobs_with_the_same_times_are_spread_alike_by_every_ticker(stage: Stage) -> None:
    """A minute is planned by two Tickers in turn, one of which starts anew; each job keeps its own delays."""
    await stage.apply(**{f"job{n}": [{"cron": "* * * * *", "jitter": "40s"}] for n in range(5)})
    tickers = [await stage.ticker(), await stage.ticker()]

    for step in range(40):
        stage.clock.jump(START + timedelta(seconds=5 * step))
        await tickers[step % 2].tick(stage.stores.main)
        if step == 20:
            tickers[0] = await stage.ticker()

    rows = await stage.db.fetch(ROWS)
    planned = [(row["name"], row["wall_time"]) for row in rows]
    assert sorted({(f"job{n}", f"2026-03-02T12:0{m}:00") for n in range(5) for m in (1, 2)}) == sorted(
        at for at in planned if "2026-03-02T12:01" <= at[1] < "2026-03-02T12:03"
    )
    delays = [row["fires_at"] - datetime.fromisoformat(f"{row['wall_time']}+00:00") for row in rows]
    assert all(timedelta(0) <= delay < timedelta(seconds=40) for delay in delays)
    assert len(set(delays)) == len(delays)
