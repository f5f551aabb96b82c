"""The table of a run's moves, and what must hold for it as a whole."""

import pytest

from scheduler.domain.run_state import ACTIVE, FINAL, TRANSITIONS, Move, after, sources
from schemas.vocabulary import RunState as S

EXPECTED = {
    (S.WAITING, Move.RELEASE): S.READY,
    (S.WAITING, Move.SKIP): S.SKIPPED,
    (S.WAITING, Move.CANCEL): S.CANCELLED,
    (S.READY, Move.OFFER): S.QUEUED,
    (S.READY, Move.GIVE_UP): S.FAILED,
    (S.READY, Move.SKIP): S.SKIPPED,
    (S.READY, Move.CANCEL): S.CANCELLED,
    (S.QUEUED, Move.CLAIM): S.RUNNING,
    (S.QUEUED, Move.RETURN): S.READY,
    (S.QUEUED, Move.POSTPONE): S.BACKING_OFF,
    (S.QUEUED, Move.GIVE_UP): S.FAILED,
    (S.QUEUED, Move.SKIP): S.SKIPPED,
    (S.QUEUED, Move.CANCEL): S.CANCELLED,
    (S.RUNNING, Move.FINISH): S.SUCCEEDED,
    (S.RUNNING, Move.RETRY): S.BACKING_OFF,
    (S.RUNNING, Move.RETURN): S.READY,
    (S.RUNNING, Move.POSTPONE): S.BACKING_OFF,
    (S.RUNNING, Move.GIVE_UP): S.FAILED,
    (S.RUNNING, Move.CANCEL): S.CANCELLED,
    (S.RUNNING, Move.SKIP): S.SKIPPED,
    (S.BACKING_OFF, Move.WAKE): S.READY,
    (S.BACKING_OFF, Move.SKIP): S.SKIPPED,
    (S.BACKING_OFF, Move.CANCEL): S.CANCELLED,
}


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("move", Move)
def test_every_pair_of_state_and_move_leads_where_it_should(state, move):
    assert after(state, move) == EXPECTED.get((state, move))


def test_every_state_is_in_the_table():
    assert set(TRANSITIONS) == set(S)


def test_nothing_leads_out_of_a_final_state():
    assert {S.SUCCEEDED, S.FAILED, S.CANCELLED, S.SKIPPED} == FINAL
    assert all(after(state, move) is None for state in FINAL for move in Move)


def test_every_state_can_be_reached_and_can_end():
    reached = {S.WAITING}
    while more := {to for state in reached for to in TRANSITIONS[state].values()} - reached:
        reached |= more
    ending = set(FINAL)
    while more := {state for state in S if ending & set(TRANSITIONS[state].values())} - ending:
        ending |= more

    assert reached == set(S)
    assert ending == set(S)


def test_cancel_and_skip_are_possible_until_the_end():
    assert set(sources(Move.CANCEL)) == set(S) - FINAL
    assert set(sources(Move.SKIP)) == set(S) - FINAL


def test_only_a_claim_makes_a_run_running_and_only_from_the_queue():
    to_running = [(state, move) for state, moves in TRANSITIONS.items() for move in moves if moves[move] is S.RUNNING]
    assert to_running == [(S.QUEUED, Move.CLAIM)]


def test_every_move_is_possible_somewhere():
    assert all(sources(move) for move in Move)


def test_active_is_neither_final_nor_held():
    assert set(S) - FINAL - {S.WAITING} == ACTIVE
