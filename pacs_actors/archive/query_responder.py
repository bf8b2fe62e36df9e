"""Query responder: answers queries a page at a time.

Receives FindMatches; owns nothing. Several responders serve one mailbox. The first page of a query waits until everything that
was answered before it came is indexed, so that a C-FIND after a C-STORE always sees it. Who asks for the next page brings the
cursor of the last one: nothing is kept between pages, so a peer that goes away leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

import trio
from msgspec import Struct, structs

from config.settings import Settings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.matching import FindQuery
from pacs_actors.archive.progress import IndexProgress, wait_until_indexed
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Mailbox
from protocols.dataset.attributes import SPECIFIC_CHARACTER_SET
from protocols.dataset.identifier import QUERY_RETRIEVE_LEVEL, IdentifierEncoder
from protocols.errors import Unavailable
from protocols.messages import Ask, Message

RETRIEVE_AE_TITLE = 0x00080054


class Matches(Message, frozen=True):
    """A page of answers.

    data_sets:    encoded answers
    after:        the cursor to ask for the next page with; None: this is the last
    unsupported:  something that was asked for is not answered: the status is FF01H
    """

    data_sets: list[bytes]
    after: tuple[int, ...] | None
    unsupported: bool


class FindMatches(Ask[Matches], frozen=True):
    """A query, or its next page.

    transfer_syntax_uid:  of the answers
    """

    query: FindQuery
    transfer_syntax_uid: str


class _Layout(Struct, frozen=True):
    """What determines an encoder."""

    returns: tuple[int, ...]
    transfer_syntax_uid: str
    constants: tuple[tuple[int, str], ...]
    item_tags: tuple[tuple[int, tuple[int, ...]], ...]
    vrs: tuple[tuple[int, str], ...]


class QueryResponder:
    def __init__(
        self, settings: Settings, catalogue: Catalogue, progress: IndexProgress, mailbox: Mailbox[FindMatches]
    ) -> None:
        self.settings, self.catalogue, self.progress, self.mailbox = settings, catalogue, progress, mailbox

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.mailbox.serve(self.handle)

    async def handle(self, message: FindMatches) -> Matches:
        query = message.query
        if query.after is None and not await wait_until_indexed(
            self.progress, within_s=self.settings.index.catch_up_s
        ):
            raise Unavailable("the index has not caught up")
        page = await self.catalogue.find_page(query)
        encoder = _encoder(
            _Layout(
                page.returns,
                message.transfer_syntax_uid,
                self._constants(query),
                tuple((tag, tuple(items)) for tag, items in query.sequences.items()),
                tuple(self.catalogue.custom.items()),
            )
        )
        encode = encoder.encode
        data_sets = [encode(row) for row in page.rows]
        missing = set(page.unsupported) - {
            QUERY_RETRIEVE_LEVEL,
            SPECIFIC_CHARACTER_SET,
            RETRIEVE_AE_TITLE,
        }
        return Matches(data_sets, page.after, bool(missing))

    def _constants(self, query: FindQuery) -> tuple[tuple[int, str], ...]:
        """What is the same in every answer (PS3.4 C.4.1.1.3.2: level and retrieve AE title are always there)."""
        return (
            (QUERY_RETRIEVE_LEVEL, query.level.value),
            (RETRIEVE_AE_TITLE, self.settings.dicom.ae_title),
        )


@lru_cache(maxsize=256)
def _encoder(layout: _Layout) -> IdentifierEncoder:
    items: Mapping[int, Collection[int]] = dict(layout.item_tags)
    tags = layout.returns
    if SPECIFIC_CHARACTER_SET in tags:
        tags = tuple(tag for tag in tags if tag != SPECIFIC_CHARACTER_SET)
    return IdentifierEncoder(
        tags,
        layout.transfer_syntax_uid,
        constants=dict(layout.constants),
        vrs=dict(layout.vrs),
        item_tags=items,
    )


def next_page(query: FindQuery, after: tuple[int, ...]) -> FindQuery:
    return structs.replace(query, after=after)
