"""The state machine itself: whatever happens in whatever order, one true end, announced once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import delete, update

from mistudio.db import Database, new_id, utc_now
from mistudio.jobs import Job, announce, states
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.jobs.states import MAX_SHORT_RUNS, End, Lease, landing
from tests.jobs.conftest import make_tables

ENDS = st.sampled_from(
    [
        End("succeeded", result={"n": 1}),
        End("failed", error={"code": "x", "message": "x."}),
        End("cancelled"),
        End("interrupted", error={"code": "i", "message": "i."}),
        End("interrupted", error={"code": "k", "message": "k."}, suspicious=True),
    ]
)


@dataclass
class Seen:
    """What the model knows of one attempt."""

    lease: Lease
    expired: bool = False


class Interleavings(RuleBasedStateMachine):
    """Supervisors, users, crashes and takeovers, each acting at any moment, also with leases long lost."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'jobs.db'}")
        make_tables(self.database)
        self.announced: list[tuple[int, str]] = []
        self.stop_listening = announce.listen(
            self.database, lambda job: self.announced.append((job.attempt, job.state))
        )
        self.leases: list[Seen] = []
        self.state = "queued"
        self.attempt = 1
        self.ends = 0

    @initialize(resumable=st.booleans())
    def submit(self, resumable: bool) -> None:
        job = Job(
            id=new_id("jb"),
            kind="k",
            subject="t/1",
            title="t",
            params={},
            resource="cpu",
            resumable=resumable,
        )
        with self.database.session() as session:
            states.add(session, job)
        self.job_id, self.resumable = job.id, resumable

    def apply(self, action: Any, *arguments: Any, **options: Any) -> Job | None:
        """Carry out one transition; if it won, follow it in the model."""
        before = len(self.announced)
        with self.database.session() as session:
            job: Job | None = action(session, *arguments, **options)
        if job is None:
            assert len(self.announced) == before, "a transition that lost must not be announced"
            return None
        assert self.announced[before:] == [(job.attempt, job.state)]
        if job.state in FINAL_STATES:
            self.ends += 1
        self.state, self.attempt = job.state, job.attempt
        return job

    def current(self, seen: Seen) -> bool:
        holding = self.state in ("running", "cancelling")
        return holding and seen is self.leases[-1] and seen.lease.attempt == self.attempt

    @rule(other=st.booleans())
    def start(self, other: bool) -> None:
        owner = f"supervisor-{len(self.leases)}"
        job = self.apply(states.claim_next, ["io"] if other else ["cpu"], owner=owner, lease_seconds=60)
        if job is not None:
            self.leases.append(Seen(Lease(job.id, job.attempt, owner)))

    @rule(data=st.data(), done=st.integers(0, 100))
    def progress(self, data: st.DataObject, done: int) -> None:
        if not self.leases:
            return
        seen = data.draw(st.sampled_from(self.leases))
        with self.database.session() as session:
            renewed = states.renew(session, seen.lease, lease_seconds=60, progress={"done": done})
        assert (renewed is not None) == self.current(seen)
        if renewed is not None:
            seen.expired = False

    @rule(data=st.data(), end=ENDS)
    def settle(self, data: st.DataObject, end: End) -> None:
        if not self.leases:
            return
        seen = data.draw(st.sampled_from(self.leases))
        held, state = self.current(seen), self.state
        job = self.apply(states.settle, seen.lease, end)
        assert (job is not None) == held
        if job is not None and state == "cancelling":
            assert job.state == ("succeeded" if end.kind == "succeeded" else "cancelled")

    @rule()
    def expire(self) -> None:
        if self.leases and self.current(self.leases[-1]):
            with self.database.session() as session:
                session.execute(update(Job).values(lease_expires_at=utc_now() - timedelta(days=1)))
            self.leases[-1].expired = True

    @rule(data=st.data(), dead=st.booleans())
    def take_over(self, data: st.DataObject, dead: bool) -> None:
        if not self.leases:
            return
        seen = data.draw(st.sampled_from(self.leases))
        held, state = self.current(seen), self.state
        with self.database.reading() as session:
            now = states.database_now(session)
        end = End("interrupted", error={"code": "i", "message": "i."}, suspicious=True)
        job = self.apply(states.take_over, seen.lease, end, expired_before=None if dead else now)
        assert (job is not None) == (held and (dead or seen.expired))
        if job is not None:
            allowed = {"cancelled"} if state == "cancelling" else {"failed"}
            if self.resumable and state == "running":
                allowed |= {"queued", "paused"}
            assert job.state in allowed

    @rule()
    def cancel(self) -> None:
        before = self.state
        job = self.apply(states.cancel, self.job_id)
        expected = {"queued": "cancelled", "paused": "cancelled", "running": "cancelling"}.get(before)
        assert (job.state if job else None) == expected

    @rule(asked=st.sampled_from(["stop", "pause"]))
    def ask(self, asked: Any) -> None:
        running = self.state == "running"
        assert (self.apply(states.ask, self.job_id, asked) is not None) == running

    @rule(from_states=st.sampled_from([("failed", "cancelled"), ("paused",)]))
    def again(self, from_states: Any) -> None:
        allowed, attempt = self.state in from_states, self.attempt
        job = self.apply(states.requeue, self.job_id, from_states)
        assert (job is not None) == allowed
        if job is not None:
            assert (job.state, job.attempt, job.error) == ("queued", attempt + 1, None)

    @rule()
    def pause_queued(self) -> None:
        allowed = self.state == "queued" and self.resumable
        assert (self.apply(states.pause_queued, self.job_id) is not None) == allowed

    @invariant()
    def the_row_is_what_was_announced_last(self) -> None:
        if not self.announced:
            return
        with self.database.reading() as session:
            job = session.get(Job, self.job_id)
        assert job is not None
        assert (job.state, job.attempt) == (self.state, self.attempt) == (self.announced[-1][1], job.attempt)
        assert (job.finished_at is not None) == (job.state in FINAL_STATES)
        assert (job.lease_owner is not None) == (job.state in ("running", "cancelling"))
        assert (job.error is not None) == (job.state == "failed")
        assert (job.result is not None) == (job.state == "succeeded")
        assert sum(state in FINAL_STATES for _, state in self.announced) == self.ends
        ended = [attempt for attempt, state in self.announced if state in FINAL_STATES]
        assert len(ended) == len(set(ended)), "one attempt has one end"

    def teardown(self) -> None:
        # However far it came: whoever is left brings it to one end, and only one of them.
        if self.state in ("running", "cancelling"):
            won = [self.apply(states.settle, seen.lease, End("cancelled")) for seen in self.leases * 2]
            assert sum(job is not None for job in won) == 1
        self.apply(states.cancel, self.job_id)
        assert self.state in FINAL_STATES
        self.stop_listening()
        self.database.dispose()
        self.folder.cleanup()


TestInterleavings = pytest.mark.slow(Interleavings.TestCase)
TestInterleavings.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("kind", ["succeeded", "failed", "cancelled", "interrupted"])
def test_a_cancelled_job_ends_cancelled_unless_it_was_done(kind: Any) -> None:
    to, _ = landing("cancelling", End(kind), resumable=True, asked="pause", short_runs=0)
    assert to == ("succeeded" if kind == "succeeded" else "cancelled")


def test_interruptions_are_resumed_but_not_for_ever() -> None:
    state, runs, rounds = "queued", 0, 0
    while state == "queued":
        state, runs = landing(
            "running", End("interrupted", suspicious=True), resumable=True, asked=None, short_runs=runs
        )
        rounds += 1
    assert (state, rounds) == ("failed", MAX_SHORT_RUNS)
    calm = landing("running", End("interrupted"), resumable=True, asked=None, short_runs=MAX_SHORT_RUNS)
    assert calm[0] == "queued"


def test_changes_that_are_rolled_back_are_not_announced(database: Database) -> None:
    heard: list[str] = []
    announce.listen(database, lambda job: heard.append(job.state))
    job = Job(id="jb_1", kind="k", subject="t/1", title="t", params={}, resource="cpu", resumable=False)
    with pytest.raises(RuntimeError), database.session() as session:
        states.add(session, job)
        raise RuntimeError
    assert heard == []
    with database.session() as session:
        states.add(
            session,
            Job(id="jb_2", kind="k", subject="t/1", title="t", params={}, resource="cpu", resumable=False),
        )
        states.cancel(session, "jb_2")
        assert heard == []
    assert heard == ["cancelled"]


def test_the_queue_is_by_priority_then_by_arrival(database: Database) -> None:
    with database.session() as session:
        for name, priority, resource in [
            ("jb_a", 0, "cpu"),
            ("jb_b", 5, "io"),
            ("jb_c", 5, "cpu"),
            ("jb_d", 0, "cpu"),
            ("jb_e", -1, "cpu"),
        ]:
            job = Job(
                id=name,
                kind="k",
                subject="t/1",
                title="t",
                params={},
                resource=resource,
                resumable=False,
                priority=priority,
            )
            states.add(session, job)
    order: list[str] = []
    while True:
        with database.session() as session:
            job = states.claim_next(session, ["cpu", "gpu"], owner="o", lease_seconds=9)
        if job is None:
            break
        order.append(job.id)
    assert order == ["jb_c", "jb_a", "jb_d", "jb_e"]
    with database.session() as session:
        session.execute(delete(Job))
