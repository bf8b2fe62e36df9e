"""What handlers of the web front end share. Made once per worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from config.settings import Settings
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.people.reception import Reception
from pacs_actors.people.share_desk import ShareDesk
from pacs_actors.settings_book import SettingsBook
from web.status import StatusSource

if TYPE_CHECKING:  # it brings an HTTP client, which a worker without a provider does not load
    from pacs_actors.people.oidc_desk import OidcDesk


class WebContext(Struct, frozen=True):
    """archive: what associations have as well: object store, catalogue, ingest mailbox, audit, access policy, transcoder.

    people:  who everybody is
    shares:  links that open a study
    book:    the settings in force, and changes of them
    oidc:    logins at an identity provider; None: there is none
    """

    settings: Settings
    archive: Facilities
    status: StatusSource
    people: Reception
    shares: ShareDesk
    book: SettingsBook
    oidc: OidcDesk | None = None
