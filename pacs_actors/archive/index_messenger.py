"""Index messenger: asks the other nodes whether they have indexed what they answered, before a query; tells them the same.

Receives nothing from mailboxes: queries wait at ``ask`` and ``answered``; words come and go by NOTIFY of the database that all
nodes share. Storing costs nothing for it. Queries that come together ask together, so there is at most one word on its way from
a worker. A node that does not answer is not waited for again until it does.

    +NODE                       is there
    ?NODE.WORKER.NUMBER         have you all indexed what you have answered by now?
    !NODE.WORKER.NUMBER.OTHER   OTHER has
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from functools import partial
from secrets import randbelow
from typing import Final

import asyncpg
import trio
from msgspec import structs

from config.settings import DatabaseSettings
from pacs_actors.archive.progress import IndexProgress, wait_until_indexed_here
from pacs_actors.database import Database
from pacs_actors.mail import Ready
from pacs_actors.nodes import SEEN_EVERY_S, Nodes
from pacs_actors.operations import logs
from protocols.errors import Unavailable

ANSWER_WITHIN_S: Final = 2.0
_CHANNEL: Final = "pacs_index"
_AGAIN_S: Final = 0.2
_SILENT_S: Final = 5.0
_MOST_ASKED: Final = 10_000
_MOST_ANSWERS: Final = 16
_FIRST_NUMBERS: Final = 10**17
_THERE: Final = re.compile(r"\+(\d{1,2})", re.ASCII)
_QUESTION: Final = re.compile(r"\?(\d{1,2})\.\d{1,2}\.\d{1,18}", re.ASCII)
_ANSWER: Final = re.compile(r"!(\d{1,2})\.(\d{1,2})\.(\d{1,18})\.(\d{1,2})", re.ASCII)


class _Round:
    """One question. of: the nodes whose answer is waited for"""

    def __init__(self, of: frozenset[int]) -> None:
        self.of, self.heard = of, set[int]()
        self.done = trio.Event()

    def hear(self, node: int) -> None:
        self.heard.add(node)
        if self.of <= self.heard:
            self.done.set()


class IndexMessenger:
    """database: for what we say; we listen on a connection of our own, to ``dsn``
    node, worker: who we are; the first worker of a node answers for all of it
    others:   nodes that are alive, as far as we know; silent: those of them that do not answer
    """

    def __init__(
        self,
        dsn: str,
        settings: DatabaseSettings,
        database: Database,
        progress: IndexProgress,
        node: int,
        worker: int,
    ) -> None:
        self._dsn, self._settings = dsn, structs.replace(settings, connections=1)
        self._database, self._progress, self._nodes = database, progress, Nodes(database)
        self.node, self.worker = node, worker
        self.others: set[int] = set()
        self.silent: set[int] = set()
        self.asked = 0
        self._listening = False
        # What is on its way to a process that died must not be taken for an answer to its successor.
        self._number = randbelow(_FIRST_NUMBERS)
        self._next: _Round | None = None
        self._rounds: dict[int, _Round] = {}
        self._wanted = trio.Event()
        self._questions: dict[str, None] = {}
        self._questioned = trio.Event()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        self._token = trio.lowlevel.current_trio_token()
        self._listening = False
        async with Database(self._dsn, self._settings) as listening, trio.open_nursery() as nursery:
            nursery.start_soon(self._look_around)
            nursery.start_soon(self._send)
            if self.worker == 0:
                nursery.start_soon(self._answer)
            while True:
                try:
                    await listening.run(self._listen, within_s=math.inf)
                except Unavailable as why:
                    logs.debug("index_messenger_deaf", why=str(why))
                self._listening = False
                for number in list(self._rounds):  # their answers may have been missed
                    self._rounds.pop(number).done.set()
                await trio.sleep(_AGAIN_S)

    # -- for queries ------------------------------------------------------------------------------------------------------------
    def ask(self) -> _Round | None:
        """Ask the others about what they have answered until now; None: there is nobody to wait for."""
        of = self.others - self.silent
        if not of or not self._listening:
            return None
        if self._next is None:
            self._next = _Round(frozenset(of))
            self._wanted.set()
        return self._next

    async def answered(self, asked: _Round) -> None:
        """Once they all have indexed that; or some do not answer."""
        with trio.move_on_after(ANSWER_WITHIN_S):
            await asked.done.wait()
            return
        for node in sorted((asked.of - asked.heard) - self.silent):
            logs.warning("node_does_not_answer", node=node)
        self.silent |= asked.of - asked.heard

    # -- what we say ------------------------------------------------------------------------------------------------------------
    async def _send(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            asking, self._next = self._next, None
            if asking is None:
                continue
            self._number += 1
            self.asked += 1
            self._rounds[self._number] = asking
            while len(self._rounds) > _MOST_ASKED:
                del self._rounds[next(iter(self._rounds))]
            try:
                await self._say(f"?{self.node}.{self.worker}.{self._number}")
            except Unavailable:  # whoever asks will hear the same of the database
                asking.done.set()

    async def _answer(self) -> None:
        """What is asked while others wait for an answer need not wait for what they wait for."""
        turns = trio.Semaphore(_MOST_ANSWERS)

        async def answer(questions: Sequence[str]) -> None:
            try:
                if await wait_until_indexed_here(self._progress, within_s=ANSWER_WITHIN_S):
                    await self._say(*(f"!{question}.{self.node}" for question in questions))
            except Unavailable as why:
                logs.debug("index_messenger_mute", why=str(why))
            finally:
                turns.release()

        async with trio.open_nursery() as nursery:
            while True:
                await self._questioned.wait()
                await turns.acquire()
                self._questioned = trio.Event()
                questions, self._questions = list(self._questions), {}
                nursery.start_soon(answer, questions)

    async def _look_around(self) -> None:
        """Whom to ask."""
        while True:
            try:
                self.others = {one.node for one in await self._nodes.listed() if one.alive} - {self.node}
                self.silent &= self.others
                if self.silent:
                    await self._say(f"?{self.node}.{self.worker}.0")
            except Unavailable as why:
                logs.debug("index_messenger_blind", why=str(why))
            await trio.sleep(SEEN_EVERY_S)

    async def _say(self, *words: str) -> None:
        await self._database.run(partial(_notify, words=words), urgent=True)

    # -- what we hear -----------------------------------------------------------------------------------------------------------
    async def _listen(self, connection: asyncpg.Connection) -> None:
        """On the database's thread, until the connection is lost: who only listens has to ask now and then whether it is."""
        lost = asyncio.get_running_loop().create_future()

        def end(_: object) -> None:
            if not lost.done():
                lost.set_result(None)

        def heard(_: object, __: int, ___: str, word: object) -> None:
            self._token.run_sync_soon(self.hear, str(word))

        connection.add_termination_listener(end)
        await connection.add_listener(_CHANNEL, heard)
        self._token.run_sync_soon(self._listens)
        await _notify(connection, [f"+{self.node}"])
        while not lost.done():
            await asyncio.wait([lost], timeout=SEEN_EVERY_S)
            try:
                await connection.execute("SELECT", timeout=_SILENT_S)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()
                return

    def _listens(self) -> None:
        self._listening = True

    def hear(self, word: str) -> None:
        """What is no word of ours is none."""
        if (match := _ANSWER.fullmatch(word)) is not None:
            node, worker, number, other = map(int, match.groups())
            if (node, worker) == (self.node, self.worker):
                self._hear_answer(number, other)
        elif (match := _QUESTION.fullmatch(word) or _THERE.fullmatch(word)) is not None:
            node = int(match[1])
            if node == self.node:
                return
            self.others.add(node)
            if match.re is _QUESTION and len(self._questions) < _MOST_ASKED:
                self._questions[word[1:]] = None
                self._questioned.set()

    def _hear_answer(self, number: int, other: int) -> None:
        self.silent.discard(other)
        asked = self._rounds.get(number)
        if asked is not None:
            asked.hear(other)
            if asked.done.is_set():
                del self._rounds[number]


async def _notify(connection: asyncpg.Connection, words: Sequence[str]) -> None:
    await connection.execute("SELECT pg_notify($1, word) FROM unnest($2::text[]) word", _CHANNEL, list(words))
