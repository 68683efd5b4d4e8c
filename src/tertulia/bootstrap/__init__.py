"""The object graph: the only module that knows every other.

`build` makes a whole program from settings with plain constructors; nothing in it is global.  Tests
and the torture build the same program with other clocks, ids and storage.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random as _random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

import tertulia
from tertulia.adapters.clock_system import SystemClock, SystemIds
from tertulia.adapters.http_guarded import GuardedHttpClient
from tertulia.adapters.metrics_prometheus import Figures, PrometheusMetrics
from tertulia.adapters.passwords_argon2 import Argon2Passwords
from tertulia.adapters.sqlite import SqliteStore
from tertulia.adapters.tokens_jose import JoseAccessTokens, JoseUserTokens
from tertulia.application.access import Access
from tertulia.application.account_units import Units
from tertulia.application.accounts import Accounts
from tertulia.application.administration import Administration
from tertulia.application.code_letters import CodeLetters
from tertulia.application.conversations import SWEEP_TOPIC, Conversations
from tertulia.application.core import Caller, Executor, KeyedHash
from tertulia.application.devices import Devices
from tertulia.application.ephemeral import Ephemeral
from tertulia.application.limits import RateLimiter
from tertulia.application.membership import Membership
from tertulia.application.messages import Messages
from tertulia.application.operations import Operations
from tertulia.application.people import People
from tertulia.application.personal import Personal
from tertulia.application.presence import Presence, Shown
from tertulia.application.profiles import Profiles
from tertulia.application.queries import Queries
from tertulia.application.receipts import Receipts
from tertulia.application.recovery import Recovery
from tertulia.application.registry import Registry
from tertulia.application.sign_in import SignIn
from tertulia.application.sync import Sync
from tertulia.application.tenants import Tenants
from tertulia.application.turns import Turns
from tertulia.bootstrap import delivery
from tertulia.bootstrap.health import Health
from tertulia.bootstrap.keys import Keys, read_keys
from tertulia.config import Settings
from tertulia.domain import commands as c
from tertulia.domain.accounts import ACCOUNT_RULES
from tertulia.domain.errors import Refusal
from tertulia.domain.guessing import Bucket
from tertulia.domain.records import LastSeen
from tertulia.domain.unit import Put, Unit
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.protocols.control.dispatch import Control
from tertulia.protocols.control.server import ControlServer
from tertulia.protocols.rest.limits import REST_RULES
from tertulia.protocols.ws.codec import WsEncoder
from tertulia.protocols.ws.connection import PROTOCOL as WEBSOCKET
from tertulia.protocols.ws.connection import Limits, Services, presence_signal
from tertulia.protocols.ws.edge import make_protocol
from tertulia.sessions.hub import Hub
from tertulia.workers.letters import MAIL_TOPIC, SMS_TOPIC, mail_handler, sms_handler
from tertulia.workers.outbox import OutboxWorker, follows_rows
from tertulia.workers.timers import Timers
from tertulia.workers.upkeep import sweep_handler, tidy_accounts

if TYPE_CHECKING:
    from tertulia.protocols.rest.shell import App

DEFAULT_TENANT = "default"
LASTING_S = 365 * 86_400


COMMAND_RULES = {
    "command": Bucket(200, 50.0),
    "message": Bucket(100, 20.0),
    "typing": Bucket(30, 5.0),
}
"""How often a user may do things: a burst, then so many a second."""


class Program:
    """Everything that runs, by name.  `start` begins the background work, `stop` drains and ends it."""

    def __init__(
        self,
        settings: Settings,
        store: SqliteStore,
        keys: Keys,
        clock: Clock,
        ids: Ids,
        *,
        metrics: PrometheusMetrics,
        health: Health,
        log: Any,
    ) -> None:
        """See `build`."""
        self.settings = settings
        self.store = store
        self.keys = keys
        self.clock = clock
        self.ids = ids
        self.metrics = metrics
        self.health = health
        self.log = log
        self.random = _random.SystemRandom()
        self._foundations()
        self._accounts()
        self._conversations()
        self._sessions()
        self._workers()
        for listener in (
            self.access.on_commit,
            self.devices.on_commit,
            self.hub.on_commit,
            self.ephemeral.on_commit,
            self.timers.on_commit,
            *(worker.on_commit for worker in self.outbox_workers),
            self.metrics.on_commit,
        ):
            store.on_commit(listener)

    def _foundations(self) -> None:
        self.keyed = KeyedHash(self.keys.keyed)
        self.access = Access(self.store)
        self.tenants = Tenants(self.store, self.clock)
        self.executor = Executor(self.store, self.clock, self.keyed, self.access.forget)
        self.units = Units(self.store, self.clock)
        self.turns = Turns()
        rules = {**ACCOUNT_RULES, **COMMAND_RULES, **REST_RULES}
        self.limiter = RateLimiter(self.clock, rules)
        self.hub = Hub(
            outbox_bytes=self.settings.outbox_bytes,
            delivered=self.metrics.delivered,
            coming=lambda: self.store.stats().waiting_units,
        )

    def _accounts(self) -> None:
        store, clock, ids = self.store, self.clock, self.ids
        issuer = self.settings.public_url or "tertulia"
        self.tokens = JoseAccessTokens(
            clock,
            ids,
            [("s1", self.keys.access), ("l1", self.keys.lasting)],
            issuer=issuer,
            audience=issuer,
            lifetime_s=self.settings.access_token_s,
        )
        lasting = JoseAccessTokens(
            clock,
            ids,
            [("l1", self.keys.lasting)],
            issuer=issuer,
            audience=issuer,
            lifetime_s=LASTING_S,
        )
        self.passwords = Argon2Passwords(memory_kib=self.settings.argon2_memory_kib)
        self.letters = CodeLetters(self.keyed, ids, clock)
        self.devices = Devices(
            store,
            self.units,
            self.executor,
            self.tokens,
            clock,
            ids,
            refresh_key=self.keys.refresh,
            on_device_revoked=lambda _tenant, user, device: self.hub.close_device(user, device),
            refresh_lifetime_s=self.settings.refresh_days * 86_400,
        )
        self.accounts = Accounts(
            store,
            self.units,
            self.tenants,
            self.devices,
            self.letters,
            self.passwords,
            self.limiter,
            clock,
            ids,
        )
        user_tokens = JoseUserTokens(clock)
        self.sign_in = SignIn(
            store,
            self.units,
            self.tenants,
            self.devices,
            self.accounts,
            self.passwords,
            user_tokens,
            self.limiter,
            clock,
            ids,
        )
        self.recovery = Recovery(
            store,
            self.units,
            self.tenants,
            self.devices,
            self.letters,
            self.passwords,
            self.limiter,
            clock,
        )
        self.administration = Administration(
            store,
            self.units,
            self.devices,
            self.recovery,
            self.passwords,
            lasting,
            clock,
            ids,
            lasting_s=LASTING_S,
        )
        self.operations = Operations(store, self.units, user_tokens, clock)

    def _conversations(self) -> None:
        store, clock, ids = self.store, self.clock, self.ids
        access, tenants, executor = self.access, self.tenants, self.executor
        self.messages = Messages(store, store, access, tenants, executor, clock)
        self.conversations = Conversations(store, store, access, tenants, executor, clock, ids, self.turns)
        self.membership = Membership(store, access, tenants, executor, clock, ids, self.turns)
        self.profiles = Profiles(store)
        self.queries = Queries(store, store, access, self.profiles, clock)
        self.people = People(store, store, access, self.profiles, executor, clock)
        self.personal = Personal(store, store, access, tenants, executor, clock, ids)
        self.receipts = Receipts(store, store, access, executor)
        self.sync = Sync(store, store, access)
        self.presence = Presence(self.profiles, self._tell_presence)
        self.ephemeral = Ephemeral(access, store, self.hub, self.presence)
        self.registry = Registry(
            {
                c.SendMessage: self.messages.send,
                c.ForwardMessage: self.messages.forward,
                c.EditMessage: self.messages.edit,
                c.DeleteMessage: self.messages.delete,
                c.AddReaction: self.messages.react,
                c.RemoveReaction: self.messages.react,
                c.PinMessage: self.messages.pin,
                c.UnpinMessage: self.messages.pin,
                c.VotePoll: self.messages.vote,
                c.ClosePoll: self.messages.close_poll,
                c.FollowThread: self.messages.follow,
                c.UnfollowThread: self.messages.follow,
                c.ScheduleMessage: self.personal.schedule,
                c.CancelSchedule: self.personal.cancel_schedule,
                c.SetDraft: self.personal.set_draft,
                c.AddBookmark: self.personal.add_bookmark,
                c.RemoveBookmark: self.personal.remove_bookmark,
                c.MarkRead: self.receipts.mark_read,
                c.MarkReceived: self.receipts.mark_received,
                c.OpenDirect: self.conversations.open_direct,
                c.CreateGroup: self.conversations.create_group,
                c.CreateChannel: self.conversations.create_channel,
                c.CreateTopic: self.conversations.create_topic,
                c.UpdateConversation: self.conversations.update,
                c.DeleteConversation: self.conversations.delete,
                c.SetPreferences: self.conversations.set_preferences,
                c.JoinChannel: self.membership.join,
                c.LeaveConversation: self.membership.leave,
                c.AddMember: self.membership.add_member,
                c.RemoveMember: self.membership.remove_member,
                c.SetRole: self.membership.set_role,
                c.CreateInvite: self.membership.create_invite,
                c.RevokeInvite: self.membership.revoke_invite,
                c.AcceptInvite: self.membership.accept_invite,
                c.UpdateProfile: self.people.update_profile,
                c.UpdateSettings: self.people.update_settings,
                c.RequestContact: self.people.request_contact,
                c.AcceptContact: self.people.accept_contact,
                c.RemoveContact: self.people.remove_contact,
                c.BlockUser: self.people.block,
                c.UnblockUser: self.people.unblock,
                c.CreateReport: self.people.create_report,
                c.RevokeDevice: self.devices.revoke_device,
                c.SetTyping: self.ephemeral.set_typing,
                c.SetPresence: self.ephemeral.set_presence,
            }
        )

    def _sessions(self) -> None:
        settings = self.settings
        self.ws = Services(
            authenticate=self.authenticate,
            registry=self.registry,
            messages=self.messages,
            sync=self.sync,
            hub=self.hub,
            presence=self.presence,
            clock=self.clock,
            ids=self.ids,
            limits=Limits(heartbeat_s=settings.heartbeat_s, sessions=settings.max_sessions),
            admit=self.admit,
            seen=self.seen,
            connections={},
            encoder=WsEncoder(),
            meter=self.metrics,
        )
        self.metrics.follow(self._figures)
        self.ws_protocol = make_protocol(self.ws)
        self.control = Control(self.administration, self.operations, self.store, self.ids.new_id)
        self.control_server = ControlServer(Path(settings.data), self.control, self.log)

    def _workers(self) -> None:
        settings, log = self.settings, self.log
        self.http = GuardedHttpClient(delivery.outbound(settings))
        self.mailer = delivery.mailer(settings, self.clock, log)
        self.sms_sender = delivery.sms_sender(settings, self.clock, self.http, log)
        self.outbox_workers = [
            OutboxWorker(
                topic,
                handler,
                self.store,
                self.store,
                self.clock,
                asyncio.sleep,
                self.random.random,
                log,
                wakes=follows_rows,
            )
            for topic, handler in (
                (MAIL_TOPIC, mail_handler(self.mailer)),
                (SMS_TOPIC, sms_handler(self.sms_sender)),
                (SWEEP_TOPIC, sweep_handler(self.conversations)),
            )
        ]
        self.timers = Timers(
            self.store,
            self.store,
            self.messages,
            self.clock,
            asyncio.sleep,
            self.random.random,
            log,
        )

    @functools.cached_property
    def app(self) -> App:
        """The ASGI application.  Made when it is asked for: commands that open a folder need none, and
        it describes every route.  Raises ValueError as `make_app`."""
        from tertulia.bootstrap.rest import rest_app

        return rest_app(self, DEFAULT_TENANT)

    # --- what the protocols ask ------------------------------------------------------------------

    async def authenticate(self, token: str) -> tuple[Caller, int]:
        """Who an access token speaks for and until when (Unix ms).  Raises Refusal."""
        caller = await self.devices.authenticate(token)
        return caller, self.tokens.verify(token).expires_at * 1000

    def admit(self, caller: Caller, name: str) -> Refusal | None:
        """Whether a user's command comes within the limits."""
        if not self.settings.rate_limits:
            return None
        rule = {"message.send": "message", "typing.set": "typing"}.get(name, "command")
        decision = self.limiter.take(rule, (caller.tenant, caller.user))
        if decision.allowed:
            return None
        return Refusal(
            "rate_limited", "Too many requests; slow down.", retry_after_ms=decision.retry_after_ms
        )

    def _figures(self) -> Figures:
        sessions = Counter(_protocol(one.encoder) for one in self.hub.sessions)
        return self.health.figures(dict(sessions), len(self.ws.connections), self.limiter.dropped)

    def _tell_presence(self, session: str, shown: Shown) -> None:
        found = self.hub.by_id(session)
        if found is not None:
            self.hub.send(found, found.encoder.signal(presence_signal(shown)))

    async def seen(self, caller: Caller) -> None:
        """Keep when a user was last seen; called when their last session has ended."""
        row = LastSeen(tenant=caller.tenant, user=caller.user, at=self.clock.now_ms())
        unit = Unit(tenant=caller.tenant, actor=caller.user, at=row.at, events=(), writes=(Put(row),))
        try:
            await self.store.append(unit)
        except Refusal as refusal:
            self.log.warning("presence.not_kept", code=refusal.code)

    # --- running ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make sure of the default tenant, begin the background work, and take the operator's requests.

        Raises OSError when the control channel cannot be opened."""
        settings = self.settings
        await self.administration.ensure_default_tenant(settings.brand, open_sign_up=settings.open_sign_up)
        works = {
            "timers": self.timers.run(),
            **{f"outbox {worker.topic}": worker.run() for worker in self.outbox_workers},
            "upkeep": tidy_accounts(self.accounts, DEFAULT_TENANT, asyncio.sleep, self.log),
            "sessions": self._tend(),
            "figures": self.health.watch(),
            "loop": self.metrics.watch_loop(),
        }
        loop = asyncio.get_running_loop()
        self.health.tasks = [loop.create_task(work, name=name) for name, work in works.items()]
        await self.control_server.start()

    async def drain(self, seconds: float = 0.0) -> None:
        """Take no more, let what was taken have its answer (for so long at most), and tell every session
        to go elsewhere."""
        self.health.draining = True
        end = self.clock.monotonic() + seconds
        while True:
            busy = [one for one in list(self.ws.connections) if not one.drain()]
            if not busy or self.clock.monotonic() >= end:
                break
            await asyncio.sleep(0.01)
        self.hub.close_all()
        for connection in list(self.ws.connections):
            connection.close(1001, "reconnect: the server stops")
        for _ in range(100):
            if not self.ws.connections:
                break
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End the background work and close the store, committing what is queued."""
        await self.drain()
        await self.control_server.stop()
        for task in self.health.tasks:
            task.cancel()
        await asyncio.gather(*self.health.tasks, return_exceptions=True)
        await self.receipts.close()
        await self.sms_sender.aclose()
        await self.http.aclose()
        self.passwords.close()
        await self.store.close()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = self.clock.monotonic()
            self.hub.expire(self.clock.now_ms())
            for connection in list(self.ws.connections):
                connection.tend(now)


async def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    on_fatal: Callable[[BaseException], None] | None = None,
    vfs: str | None = None,
    synchronous: str = "FULL",
) -> Program:
    """The program for these settings, not started.

    Raises what `SqliteStore.open` raises, and ValueError for a damaged secret."""
    folder = Path(settings.data)
    clock = clock or SystemClock()
    ids = ids or SystemIds(clock)
    metrics = PrometheusMetrics(clock, tertulia.__version__)
    health = Health(folder, settings.min_free_bytes, metrics, clock, (MAIL_TOPIC, SMS_TOPIC))
    keys = await asyncio.to_thread(read_keys, folder)
    health.store = store = await SqliteStore.open(
        folder,
        vfs=vfs,
        synchronous=synchronous,
        on_fatal=on_fatal or _end_process,
        observe=health.observe,
    )
    log = structlog.get_logger("tertulia")
    return Program(settings, store, keys, clock, ids, metrics=metrics, health=health, log=log)


def _end_process(error: BaseException) -> None:
    """A commit that may not be on disk ends the process (design rule 13): whoever waits for its answer
    must not get one, and what is read from now on could be wrong."""
    structlog.get_logger("tertulia").critical("storage.failed", exc_info=error)
    os._exit(70)


def _protocol(encoder: object) -> str:
    name = type(encoder).__name__.removesuffix("Encoder").lower()
    return WEBSOCKET if isinstance(encoder, WsEncoder) else name
