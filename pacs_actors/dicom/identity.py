"""User identity of an association (PS3.7 D.3.3.7): who the peer says is using it, verified against the directory.

User name with passcode, and our own tokens in the place of the JSON Web Token, can be verified. A name alone, Kerberos and SAML
cannot: they count as not given, grant nothing and are not confirmed.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, structs

from pacs_actors.archive.scope import both
from pacs_actors.dicom.access import Grant, Right, Turned
from pacs_actors.people.reception import Reception
from pacs_actors.people.rights import Action, Principal
from protocols.errors import Refusal, Unavailable
from protocols.ul.acceptor import IdentityVerdict, identity_fits
from protocols.ul.model import UserIdentity

_NAME_AND_PASSCODE: Final = 2
_JSON_WEB_TOKEN: Final = 5
_VIA: Final = "ae"
_NEEDED: Final = {
    Right.STORE: Action.STORE,
    Right.FIND: Action.SEARCH,
    Right.MOVE: Action.DOWNLOAD,
    Right.GET: Action.DOWNLOAD,
    Right.COMMIT: Action.STORE,
}
REQUIRED: Final = Turned(1, 1, 1, "a user identity is required")
REJECTED: Final = Turned(1, 1, 1, "user identity rejected")
NOT_NOW: Final = Turned(2, 3, 1, "user identity cannot be verified now")


class Identified(Struct, frozen=True):
    """verdict: for the negotiation; None: nothing to say about an identity. principal: None: nobody in particular"""

    verdict: IdentityVerdict | None = None
    principal: Principal | None = None

    def limit(self, grant: Grant) -> Grant:
        """What is left of what the peer may do and see, when it is this user who does it."""
        if self.principal is None:
            return grant
        rights = frozenset(right for right in grant.rights if self.principal.may(_NEEDED[right]))
        scope = both(grant.scope, self.principal.scope)
        return structs.replace(grant, rights=rights, scope=scope, user=self.principal.name)


class Identities:
    """required: associations without a verified user are rejected"""

    def __init__(self, people: Reception, *, required: bool) -> None:
        self._people, self._required = people, required

    async def judge(self, given: UserIdentity | None, address: str) -> Identified | Turned:
        """Who uses this association. Waits for the database, and for a password's hash; bounded by the caller."""
        if given is None or given.kind not in (_NAME_AND_PASSCODE, _JSON_WEB_TOKEN):
            return REQUIRED if self._required else Identified()
        if not identity_fits(given):
            return REJECTED
        try:
            principal = await self._principal(given, address)
        except Refusal:
            return REJECTED
        except Unavailable:
            return NOT_NOW
        return Identified(IdentityVerdict(accepted=True), principal)

    async def _principal(self, given: UserIdentity, address: str) -> Principal:
        """raises: a Refusal, Unavailable"""
        name, passcode = (
            field.decode("utf-8", "replace").rstrip("\0") for field in (given.primary, given.secondary)
        )
        if given.kind == _JSON_WEB_TOKEN:
            return await self._people.of_bearer(name.strip())
        return await self._people.of_password(name.strip(), passcode, address, _VIA)
