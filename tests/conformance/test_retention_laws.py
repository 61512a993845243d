"""Laws of retention, over sequences of what producers, a matcher and operators do between sweeps.

Nothing that is needed is ever removed: the version of a change that is not matched and the one before it,
those of an event in an outbox and of the resources it includes, those of a dead letter. Nothing that is not
needed stays, with its entries in the indexes; context resources do.
"""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.model.change import DEFAULT_TENANT, Change, Interaction, VersionKey
from broker.model.notification import Included
from broker.model.release import Release
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.model.topic import Coding
from broker.store import keys
from broker.store.changes import Changes
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
from broker.store.keys import Layout
from broker.store.leases import Leases
from broker.store.outbox import Context, Outboxes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.retention import Limits, Retention
from broker.store.subscriptions import Subscriptions
from tests.matched import make_dead_letter, mark_matched, unmatched
from tests.stores import SharedStore, opened_for_examples
from tests.subscriptions import stored_subscription

KEY = (DEFAULT_TENANT, SubscriptionId("one"))
HOUR_MS = 3_600_000
STORES = ("embedded", "redis_7")
"""Where one command lists all keys."""
OBSERVATION, PATIENT = ("Observation", "o"), ("Patient", "p")


class Step(StrEnum):
    """What may happen next."""

    PUT_OBSERVATION = "put observation"
    PUT_PATIENT = "put patient"
    DELETE_OBSERVATION = "delete observation"
    DELETE_PATIENT = "delete patient"
    REPORT = "report an event about the observation"
    MATCH = "match the next change"
    MATCH_WITH_OBSERVATION = "match the next change and include the observation"
    FAIL = "make the next change a dead letter"
    REDRIVE = "redrive the dead letters"
    PASS = "let all be old from here"
    SWEEP = "sweep"


class Model:
    """Carries out steps, and knows what the store must still have."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changes = Changes(store, keep_ms=HOUR_MS)
        self.outboxes = Outboxes(store)
        self.resources = Resources(store)
        self.letters = DeadLetters(store)
        self.partition = 0
        self.token = 0
        self.horizon_ms = 0
        self.writes = 0
        self.has_patient = False

    async def start(self) -> None:
        subscription = stored_subscription(status=SubscriptionStatus.ACTIVE)
        await Subscriptions(self.store).put(subscription, create=True)
        self.token = (await Leases(self.store, "me").acquire([self.partition], 60_000))[self.partition]

    async def propose(
        self, op: Literal["put", "delete", "event"], target: tuple[str, str], events: tuple[Coding, ...] = ()
    ) -> None:
        kind, resource_id = target
        self.writes += 1
        sets = ("m", "d", f"mterm-{self.writes % 2}") if op == "put" and kind == "Observation" else ()
        await self.changes.append(
            [
                Proposal(
                    DEFAULT_TENANT,
                    op,
                    kind,
                    resource_id,
                    Release.R4,
                    b'},"status":"final"}',
                    identifiers=(f"{resource_id}\x1furn:x\x1f",) if op == "put" else (),
                    references=(("subject", "Patient/p"),) if op == "put" and kind == "Observation" else (),
                    events=events,
                    sets=sets,
                    date=self.writes,
                )
            ]
        )

    async def next_change(self) -> Change | None:
        """What the matcher reads next, until the caller records that it is matched."""
        read = await unmatched(self.store, self.partition, count=1)
        return read[0] if read else None

    async def match(self, *, includes_observation: bool) -> None:
        change = await self.next_change()
        if change is None:
            return
        interaction = change.current.interaction
        assert change.current.resource is not None or interaction is Interaction.DELETE
        assert change.previous is not None or change.events or interaction is Interaction.CREATE
        contexts = {}
        if includes_observation:
            found = await self.resources.current(DEFAULT_TENANT, *OBSERVATION)
            if found is not None and found.resource is not None:
                contexts[KEY, change.id] = Context((Included(found.key, found.release),), 1)
                await self.changes.hold({found.key: change.current.at_ms})
        await self.outboxes.append(self.partition, self.token, {KEY: [change]}, contexts)
        await mark_matched(self.store, [change], self.token)

    async def take(self, step: Step) -> None:
        match step:
            case Step.MATCH | Step.MATCH_WITH_OBSERVATION:
                await self.match(includes_observation=step is Step.MATCH_WITH_OBSERVATION)
            case Step.FAIL:
                change = await self.next_change()
                if change is not None:
                    await make_dead_letter(self.store, change, self.token, "broken")
            case Step.REDRIVE:
                actions = DeadLetterActions(self.store)
                await actions.redrive([letter async for letter in self.walk_dead_letters()])
            case Step.PASS:
                await self.let_pass()
            case Step.SWEEP:
                await self.sweep(self.horizon_ms)
                await self.check_needed()
            case _:
                await self.produce(step)

    async def let_pass(self) -> None:
        """What is there is old from here on: the clock moves on by a millisecond."""
        self.horizon_ms = await self.now_ms()
        while await self.now_ms() == self.horizon_ms:
            pass

    async def produce(self, step: Step) -> None:
        match step:
            case Step.PUT_OBSERVATION:
                await self.propose("put", OBSERVATION)
            case Step.DELETE_OBSERVATION:
                await self.propose("delete", OBSERVATION)
            case Step.PUT_PATIENT | Step.DELETE_PATIENT:
                self.has_patient = step is Step.PUT_PATIENT
                await self.propose("put" if self.has_patient else "delete", PATIENT)
            case Step.REPORT:
                await self.propose("event", OBSERVATION, (Coding("http://example.org", "A01"),))
            case _:
                raise ValueError(step)

    def walk_dead_letters(self) -> AsyncIterator[DeadLetter]:
        return self.letters.walk(DEFAULT_TENANT, DeadLetterFilter())

    async def now_ms(self) -> int:
        ((seconds, micros),) = await self.store.send([("TIME",)])
        return int(seconds) * 1000 + int(micros) // 1000

    async def sweep(self, horizon_ms: int) -> None:
        keep_ms = await self.now_ms() - horizon_ms
        await Retention(self.store, Limits(keep_ms=keep_ms, types={"Observation": keep_ms})).sweep()

    async def check_needed(self) -> None:
        needed: dict[VersionKey, str] = {}
        for event in await self.outboxes.read(*KEY, None, None, limit=1_000):
            needed[event.focus] = f"event {event.number}"
            needed |= {included.key: f"included in event {event.number}" for included in event.context}
        async for letter in self.walk_dead_letters():
            assert letter.is_kept, letter
        stored = await self.resources.stored(needed)
        assert {reason for key, reason in needed.items() if key not in stored} == set()
        patient = await self.resources.current(DEFAULT_TENANT, *PATIENT)
        assert (patient is not None and patient.resource is not None) == self.has_patient

    async def end(self) -> None:
        """Matches all, lets all be old, and checks that only the context resource is left."""
        while await self.next_change() is not None:
            await self.match(includes_observation=False)
        await self.let_pass()
        await self.sweep(await self.now_ms())
        assert [letter async for letter in self.walk_dead_letters()] == []
        (left,) = await self.store.send([("KEYS", "*")])
        names = {key.decode() for key in left if b":subscription" not in key}
        patient = {keys.resource(0, DEFAULT_TENANT, *PATIENT), keys.identifiers(0, DEFAULT_TENANT, "Patient")}
        about_resources = {
            name
            for name in names
            if any(part in name for part in (":resource:", "identifiers", "references", ":search:"))
        }
        events = {name for name in about_resources if name.endswith(":event")}  # these expire by themselves
        assert about_resources - events == (patient if self.has_patient else set())
        assert keys.held_versions(0) not in names
        (length,) = await self.store.send([("XLEN", keys.changes(0))])
        assert length == 0


async def play(shared_store: SharedStore, store: Store, steps: list[Step]) -> None:
    await shared_store.flush()
    model = Model(store)
    await model.start()
    for step in steps:
        await model.take(step)
    await model.end()


def test_what_is_needed_is_kept_and_the_rest_goes(shared_store: SharedStore) -> None:
    with opened_for_examples(shared_store, Layout(partitions=1, shards=1)) as (runner, store):

        @example(
            steps=[Step.PUT_OBSERVATION, Step.MATCH, Step.PASS, Step.REPORT, Step.MATCH, Step.SWEEP]
        )  # a business event about an old version
        @example(
            steps=[
                Step.PUT_OBSERVATION,
                Step.MATCH,
                Step.PASS,
                Step.PUT_PATIENT,
                Step.MATCH_WITH_OBSERVATION,
                Step.SWEEP,
            ]
        )  # an event that includes an old version
        @example(
            steps=[
                Step.PUT_OBSERVATION,
                Step.PUT_OBSERVATION,
                Step.PUT_OBSERVATION,
                Step.PASS,
                Step.PUT_OBSERVATION,
                Step.MATCH_WITH_OBSERVATION,
                Step.SWEEP,
            ]
        )  # an old event that includes a young version
        @example(
            steps=[Step.PUT_OBSERVATION, Step.FAIL, Step.PUT_OBSERVATION, Step.PASS, Step.SWEEP]
        )  # a dead letter whose version was superseded by a change that is not matched
        @given(steps=st.lists(st.sampled_from(Step), max_size=24))
        @settings(max_examples=30)  # on each store
        def check(steps: list[Step]) -> None:
            runner.run(play(shared_store, store, steps))

        check()
