"""Tails a server's live websocket: keeps the states, reconnects, and prints a line for everything that happens."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    ConnectionTimeout,
    DisconnectionTimeout,
    HandshakeError,
)

from protocols.errors import ConfigError
from protocols.messages.live import Change, Refused, ServerMessage, Snapshot
from supervisors.live_connection import LiveAddress, live_connection
from web.changes import State, merged

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 15.0
_HEARTBEAT_S: Final = 15.0
_NOT_RECOGNISED: Final = 4401
_MESSAGE: Final = msgspec.json.Decoder(ServerMessage)


class Watcher:
    """as_json: every message as it comes. Prints to standard output"""

    def __init__(
        self, address: LiveAddress, token: str, topics: Sequence[str], *, as_json: bool = False
    ) -> None:
        self._address, self._url = address, address.url
        self._token, self._topics, self._as_json = token, tuple(topics), as_json
        self._states: dict[str, tuple[int, State]] = {}

    async def run(self) -> None:
        """For ever. raises: ConfigError when the server does not take the token, or cannot be trusted"""
        failures = 0
        while True:
            try:
                await self._watch()
                failures, why = 0, "the server has closed"
            except ConnectionRejected as refused:
                if refused.status_code in (401, 403):
                    raise ConfigError(
                        f"{self._url} does not take the token ({refused.status_code})"
                    ) from None
                why = f"refused ({refused.status_code})"
            except ConnectionClosed:  # before it has said anything
                why = "the server has closed"
            except (OSError, HandshakeError, ConnectionTimeout, DisconnectionTimeout) as error:
                why = str(error) or type(error).__name__
            failures += 1
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(failures - 1, 10)) * random.uniform(0.5, 1)  # noqa: S311
            self._note(f"no connection to {self._url}: {why}; again in {wait_s:.1f} s")
            await trio.sleep(wait_s)

    async def _watch(self) -> None:
        """One connection; returns when it is over. raises: ConfigError, and what trio-websocket raises"""
        async with (
            live_connection(self._address, self._token) as connection,
            trio.open_nursery(strict_exception_groups=False) as nursery,
        ):
            self._states.clear()
            await connection.send_message(json.dumps({"subscribe": self._topics}))
            self._note(f"watching {', '.join(self._topics)} at {self._url}")

            async def beat() -> None:
                """A server that has gone without a word is noticed."""
                while True:
                    await trio.sleep(_HEARTBEAT_S)
                    with trio.move_on_after(_HEARTBEAT_S) as patience:
                        await connection.ping()
                    if patience.cancelled_caught:
                        nursery.cancel_scope.cancel()

            nursery.start_soon(beat)
            try:
                while True:
                    self._take(await connection.get_message())
            except ConnectionClosed as closed:
                reason = closed.reason
                if reason is not None and reason.code == _NOT_RECOGNISED:
                    raise ConfigError(
                        f"{self._url}: the login has ended, or the token is not known"
                    ) from None
            nursery.cancel_scope.cancel()

    def _take(self, text: str | bytes) -> None:
        if self._as_json:
            print(text if isinstance(text, str) else text.decode("utf-8", "replace"), flush=True)
            return
        message = _MESSAGE.decode(text)
        match message:
            case Refused(topic, why):
                self._say(topic, why)
            case Snapshot(topic, number, resync, state):
                before = self._states.get(topic)
                self._states[topic] = (number, state)
                if before is None or resync:
                    self._say(topic, summary(topic, state))
            case Change(topic, number, changed):
                known = self._states.get(topic)
                if known is None or known[0] + 1 != number:
                    return  # never from our server; what is shown would be a guess
                state = merged(known[1], changed)
                self._states[topic] = (number, state)
                for line in lines(topic, known[1], state):
                    self._say(topic, line)

    def _say(self, topic: str, text: str) -> None:
        """A peer chose part of the text: no control character of it reaches the terminal."""
        safe = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
        print(f"{datetime.now():%H:%M:%S} {topic:12} {safe}", flush=True)

    def _note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def summary(topic: str, state: State) -> str:
    """What a snapshot comes to, in a line. Pure."""
    if topic == "system":
        return _system(state)
    if topic == "queues":
        return _queues(state)
    inner = state.get(topic)
    count = len(inner) if isinstance(inner, dict) else 0
    return {
        "studies": f"{count} studies lately",
        "associations": f"{count} open",
        "alerts": f"{count} raised",
    }[topic]


def lines(topic: str, before: Any, after: Any) -> Iterator[str]:
    """What has happened between two states, a line each. Pure."""
    if topic == "system":
        if (line := _system(after)) != _system(before):
            yield line
        return
    if topic == "queues":
        if (line := _queues(after)) != _queues(before):
            yield line
        return
    old, new = before.get(topic, {}), after.get(topic, {})
    describe = {"studies": _study, "associations": _association, "alerts": _alert}[topic]
    for key in old.keys() - new.keys():
        yield f"- {describe(key, old[key])}"
    for key, value in new.items():
        if key not in old:
            yield f"+ {describe(key, value)}"
        elif topic != "associations" and value != old[key]:  # whose counters never stand still
            yield f"* {describe(key, value)}"


def _study(uid: str, study: dict[str, Any]) -> str:
    modalities = "/".join(study.get("modalities", ()))
    facts = f"{study.get('number_of_series')} series, {study.get('number_of_instances')} instances"
    return f"{modalities or '?'} of {study.get('study_date') or 'no date'} from {study.get('source')}: {facts} {uid}"


def _association(_: str, one: dict[str, Any]) -> str:
    stored = f", {one['stored']} stored" if one.get("stored") else ""
    return f"{one.get('calling_ae')} at {one.get('address')} on worker {one.get('slot')}: {one.get('doing')}{stored}"


def _alert(_: str, alert: dict[str, Any]) -> str:
    return f"{alert.get('severity', '').upper()} {alert.get('what')} {alert.get('detail')} (since {alert.get('since')})"


def _system(state: Any) -> str:
    workers = list(state.get("workers", {}).values())
    accepting = sum(worker["accepting"] for worker in workers)
    stored = sum(worker["stored_instances"] for worker in workers)
    return f"{accepting} of {len(workers)} workers accept images, {stored} instances stored"


def _queues(state: Any) -> str:
    depth = sum(box["depth"] for boxes in state.get("mailboxes", {}).values() for box in boxes.values())
    commitments = sum(state.get("commitments", {}).values())
    backlog = sum(state.get("backlog", {}).values())
    return f"{backlog} to index, {depth} in mailboxes, {commitments} commitments, {state.get('deletions', 0)} deletions"
