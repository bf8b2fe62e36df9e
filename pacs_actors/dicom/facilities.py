"""What association handlers share: settings, mailboxes, stores, the access policy. Made once per worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.objects.buffers import BufferPool
from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.audit.audit import Audit
from pacs_actors.dicom.access import TOO_MANY, AccessPolicy, Grant, Right, Turned
from pacs_actors.dicom.identity import Identified, Identities
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import NodePage
from pacs_actors.threads import NativePool
from protocols.messages.archive import IngestMessage
from protocols.ul import sop_classes
from protocols.ul.association import Side
from protocols.ul.model import AssociateAccept, AssociateReject, AssociateRequest
from protocols.ul.negotiation import Negotiated, Policy, QuerySupport, Service, answer, interpret

if TYPE_CHECKING:
    from pacs_actors.archive.deletion_keeper import DeletionKeeper
    from pacs_actors.dicom.commitment_agent import CommitmentAgent
    from pacs_actors.lifecycle.desk import LifecycleDesk
    from pacs_actors.lifecycle.recaller import Recaller

NOBODY = Identified()
QUERY_SUPPORT = QuerySupport(relational=True, combined_datetime=True, fuzzy=True)


class Facilities:
    """What is handed in, and:

    commitments:   the worker's commitment agent, who needs the facilities himself and is set after them
    deletions:     the worker's deletion keeper, and
    recaller:      who brings objects back that are elsewhere, and
    lifecycle:     where studies are kept, set after them too
    queries:       the mailbox of the query responders
    send_buffers:  arenas of the retrievals, apart from those of the receivers
    identities:    who verifies user identities; None: nobody looks at them
    """

    commitments: CommitmentAgent
    deletions: DeletionKeeper
    recaller: Recaller
    lifecycle: LifecycleDesk

    def __init__(
        self,
        settings: Settings,
        page: NodePage,
        store: ObjectStore,
        catalogue: Catalogue,
        progress: IndexProgress,
        audit: Audit,
        ingest: Mailbox[IngestMessage],
        queries: Mailbox[Any],
        access: Callable[[], AccessPolicy],
        native: NativePool,
        send_buffers: BufferPool,
        transcoder: Transcoder,
        identities: Identities | None = None,
    ) -> None:
        self.settings, self.page, self.store, self.catalogue = settings, page, store, catalogue
        self.progress, self.audit, self.ingest, self.queries = progress, audit, ingest, queries
        self.access, self.native, self.send_buffers, self.transcoder = (
            access,
            native,
            send_buffers,
            transcoder,
        )
        self.identities = identities
        self.storage_classes = frozenset(
            {*sop_classes.STORAGE, *sop_classes.RETIRED_STORAGE, *settings.dicom.private_storage_classes}
        )

    async def identify(
        self, request: AssociateRequest, address: str, certificate_names: tuple[str, ...]
    ) -> Identified | Turned:
        """Who uses the association. Nobody is asked for a peer that is turned away in any case."""
        if self.identities is None or isinstance(self._admit(request, address, certificate_names), Turned):
            return Identified()
        return await self.identities.judge(request.user_identity, address)

    def _admit(
        self, request: AssociateRequest, address: str, certificate_names: tuple[str, ...]
    ) -> Grant | Turned:
        names = certificate_names if self.settings.tls.client_ca else None
        return self.access().admit(request.calling_ae, request.called_ae, address, names)

    def negotiate(
        self,
        request: AssociateRequest,
        address: str,
        certificate_names: tuple[str, ...],
        identified: Identified | Turned = NOBODY,
    ) -> Turned | AssociateReject | tuple[AssociateAccept, Negotiated, Grant]:
        """Decide on an association request: who it is, what it may, what both ends can do."""
        limit = self.settings.dicom
        grant = self._admit(request, address, certificate_names)
        if not isinstance(grant, Turned):
            grant = identified if isinstance(identified, Turned) else identified.limit(grant)
        if isinstance(grant, Turned):
            # Negotiation knows better reasons for a broken request than an unknown name.
            verdict = answer(request, Policy(ae_titles=None, service=lambda _: None))
            return verdict if isinstance(verdict, AssociateReject) else grant
        if (
            self.page.established() >= limit.max_associations
            or self.page.established_by(request.calling_ae) >= limit.max_associations_per_ae
            or self.page.established_from(address) >= limit.max_associations_per_address
        ):
            return TOO_MANY
        policy = Policy(
            ae_titles=None,  # the access policy has judged the names
            service=partial(self._service, grant),
            extended=QUERY_SUPPORT.reply,
            max_pdu_bytes=limit.max_pdu_bytes,
        )
        identity = None if isinstance(identified, Turned) else identified.verdict
        verdict = answer(request, policy, identity=identity)
        if isinstance(verdict, AssociateReject):
            return verdict
        return (
            verdict,
            interpret(request, verdict, side=Side.ACCEPTOR, max_pdu_bytes=limit.max_pdu_bytes),
            grant,
        )

    def _service(self, grant: Grant, uid: str) -> Service | None:
        """What we do with an abstract syntax for a peer that has this grant."""
        if uid in self.storage_classes:
            # As SCP of C-GET's sub-operations the requestor needs no right to store.
            return Service(
                sop_classes.ALL_TRANSFER_SYNTAXES,
                proposers_order=True,
                requestor_scp=grant.allows(Right.GET),
                allowed=grant.allows(Right.STORE) or grant.allows(Right.GET),
            )
        if uid == sop_classes.VERIFICATION:
            return Service(_NETWORK)
        for classes, right in _RIGHTS:
            if uid in classes:
                return Service(_NETWORK, allowed=grant.allows(right))
        return None


_NETWORK = (*sop_classes.UNCOMPRESSED, sop_classes.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
_RIGHTS = (
    (sop_classes.FIND, Right.FIND),
    (sop_classes.MOVE, Right.MOVE),
    (sop_classes.GET, Right.GET),
    (frozenset({sop_classes.STORAGE_COMMITMENT_PUSH_MODEL}), Right.COMMIT),
)
