"""Every place where a crash leaves something half done has a test, and every named point in the code is one of them."""

import importlib
import re
from pathlib import Path

import pytest

from tests.chaos import test_crash_points, test_event_kills, test_executor_crash_points

ROOT = Path(__file__).parents[2]
POINTS = {
    *test_crash_points.POINTS,
    *test_event_kills.POINTS,
    *test_executor_crash_points.POINTS,
    *test_executor_crash_points.EXPIRY,
}
ROWS = {
    "Ticker before the commit": ("ticker.before_commit",),
    "Ticker after the commit, before its message": ("ticker.after_commit",),
    "Ticker after its message": ("publisher.after_write@firing.due", "ticker.after_confirm"),
    "Dispatcher before the commit": ("dispatcher.before_commit", "dispatcher.before_step_commit"),
    "Dispatcher after the commit, before the offer": (
        "dispatcher.after_commit",
        "dispatcher.after_step_commit",
        "dispatcher.before_offer",
    ),
    "Dispatcher after the offer, before its confirm": ("publisher.after_write@default",),
    "Dispatcher after the confirm, before its ack": ("dispatcher.after_offer",),
    "Dispatcher after its ack": (
        "actor.after_ack@scheduler.dispatcher.firings",
        "actor.after_ack@scheduler.dispatcher.settled",
        "test_broker_faults::test_broker_that_is_killed_under_load",
    ),
    "Dispatcher while it records what publishers send": (
        "dispatcher.before_events_recorded",
        "dispatcher.after_events_recorded",
    ),
    "Dispatcher while it decides events": (
        "dispatcher.before_event_commit",
        "dispatcher.after_event_commit",
        "actor.after_ack@scheduler.dispatcher.events",
    ),
    "Dispatcher while it publishes the feed": (
        "feed.before_publish",
        "feed.after_confirm",
        "feed.before_commit",
        "feed.after_commit",
        "test_event_kills::test_events_are_decided_once_and_the_feed_tells_all_whenever_a_dispatcher_dies",
    ),
    "Ingress and the servers it relies on": (
        "test_webhook_faults::test_nothing_accepted_is_lost_or_doubled_when_either_server_dies",
    ),
    "The broker refuses the offer": (
        "test_crash_points::test_offers_that_the_broker_refuses_are_made_again",
        "test_crash_points::test_crash_between_a_refusal_and_the_withdrawal",
    ),
    "Two Dispatchers end two parents of one child": (
        "test_concurrent_steps::test_the_second_step_waits_for_the_first_and_sees_what_it_did",
        "test_concurrent_steps::test_one_step_by_two_dispatchers_counts_once",
        "test_process_faults::test_two_of_each_actor_and_one_of_each_killed_under_load",
    ),
    "Executor before the claim": ("executor.before_claim_sent",),
    "Executor after the claim, before its answer": ("publisher.after_write@attempt.claim",),
    "Executor granted, not started": ("executor.after_grant",),
    "Executor started, before its ack": (
        "executor.after_start",
        "test_duplicates::test_offers_that_come_again_while_they_run_start_nothing",
    ),
    "Executor finished, the end not confirmed": (
        "executor.before_finished_sent",
        "publisher.after_write@attempt.finished",
        "executor.after_finished_confirmed",
    ),
    "Executor dies with the result": ("executor.after_run",),
    "Executor dies with its jobs": ("test_process_faults::test_jobs_die_with_their_executor_and_attempt_2_follows",),
    "Executor stands still beyond its lease": (
        "test_process_faults::test_executor_that_stood_still_beyond_its_lease_is_heard_and_changes_nothing",
        "test_process_faults::test_executor_that_wakes_up_kills_what_it_lost_meanwhile",
    ),
    "Recorder before the commit": (
        "recorder.before_claims",
        "recorder.before_commit",
        "recorder.before_expiry_commit",
    ),
    "Recorder after the commit, before its messages and ack": (
        "recorder.after_claims",
        "recorder.after_commit",
        "recorder.after_expiry_commit",
    ),
    "Recorder after its ack": (
        "actor.after_ack@scheduler.recorder.claims",
        "actor.after_ack@scheduler.recorder.finished",
    ),
    "PostgreSQL dies in the commit": (
        "test_database_faults::test_database_that_is_killed_under_load",
        "test_database_faults::test_answers_to_commits_are_lost",
    ),
    "PostgreSQL restored from a backup": (
        "test_database_faults::test_end_of_a_run_that_a_restored_database_does_not_know_is_kept",
    ),
    "Messages come again": (
        "test_duplicates::test_messages_that_come_again_and_again_change_nothing",
        "test_duplicates::test_offers_that_come_again_while_they_run_start_nothing",
    ),
    "A message ends its reader each time": (
        "test_killer_messages::test_killers_are_buried_alone_after_a_bounded_number_of_crashes",
    ),
    "PostgreSQL's disk is full": (
        "test_full_disk::test_no_page_can_be_added_to_a_table",
        "test_full_disk::test_log_cannot_be_written_and_the_server_ends",
    ),
    "The broker is emptied": ("test_broker_faults::test_broker_that_is_emptied_under_load",),
    "The broker takes nothing": ("test_broker_faults::test_broker_that_takes_nothing_for_longer_than_a_lease",),
}
"""What happens → the points and the other tests that show it."""

TESTED_APART = {
    "dispatcher.before_withdrawal",
    "actor.reading",
    "watcher.before_commit",
    "watcher.after_commit",
    "retention.archived",
}
"""Points that need a stage of their own, set by the test they are in."""


def in_the_code() -> set[str]:
    texts = [path.read_text() for folder in ("actors", "scheduler") for path in (ROOT / folder).rglob("*.py")]
    return {name for text in texts for name in re.findall(r'crash_point\("([^"]+)"', text)}


def test_every_point_in_the_code_is_run_by_a_test_and_every_tested_point_is_in_the_code() -> None:
    tested = {point.partition("@")[0] for point in POINTS} | TESTED_APART

    assert in_the_code() == tested


def test_every_point_shows_some_row() -> None:
    shown = {name for names in ROWS.values() for name in names if "::" not in name}

    assert shown == POINTS


@pytest.mark.parametrize("row", ROWS)
def test_what_shows_a_row_is_there(row: str) -> None:
    for name in ROWS[row]:
        module, _, test = name.rpartition("::")
        assert name in POINTS or callable(getattr(importlib.import_module(f"tests.chaos.{module}"), test))
