"""Every setting, declared once: type, bounds, default, description.

``load.py`` reads TOML, ``PACS_SECTION__NAME`` and ``--section.name``; the reference and the sample file are
generated from here.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from config.backup import BackupSettings
from config.integrity import IntegritySettings
from config.lifecycle import LifecycleSettings
from config.scope import NodeScope
from config.stores import LifecycleStoreSettings

Port = Annotated[int, Meta(ge=0, le=65535)]
AeTitle = Annotated[str, Meta(min_length=1, max_length=16, pattern=r"^[ !-\[\]-~]*[!-\[\]-~][ !-\[\]-~]*$")]


class DicomSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    ae_title: Annotated[AeTitle, Meta(description="Our AE title.")] = "PACS"
    host: Annotated[
        str, Meta(description="Address to listen on. Other than loopback: only known AEs are taken.")
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="DICOM port.")] = 11112
    promiscuous: Annotated[
        bool, Meta(description="Take any calling and called AE title from any address.")
    ] = False
    require_user_identity: Annotated[
        bool, Meta(description="Reject associations without a user whose passcode or token is right.")
    ] = False
    max_pdu_bytes: Annotated[
        int, Meta(ge=4096, le=1048576, description="Maximum PDU length that we offer.")
    ] = 131072
    max_object_bytes: Annotated[
        int, Meta(ge=1048576, description="Largest data set taken in one C-STORE.")
    ] = 16 * 1024**3
    max_associations: Annotated[int, Meta(ge=1, description="Associations at once on this node.")] = 256
    max_associations_per_ae: Annotated[
        int, Meta(ge=1, description="Associations at once per calling AE.")
    ] = 64
    max_associations_per_address: Annotated[
        int, Meta(ge=1, description="Connections at once per peer address.")
    ] = 128
    artim_s: Annotated[
        float, Meta(gt=0, le=30, description="Patience with a silent peer before an association, seconds.")
    ] = 10.0
    network_timeout_s: Annotated[
        float, Meta(gt=0, description="Longest silence inside a message, seconds.")
    ] = 30.0
    idle_timeout_s: Annotated[float, Meta(gt=0, description="Longest silence between messages, seconds.")] = (
        60.0
    )
    minimum_rate_bytes_s: Annotated[
        int, Meta(ge=0, description="A message that comes slower than this is cut off; 0: never.")
    ] = 256
    private_storage_classes: Annotated[
        tuple[str, ...], Meta(description="SOP Class UIDs stored besides the standard's.")
    ] = ()
    max_find_results: Annotated[int, Meta(ge=1, description="Most answers to one C-FIND.")] = 100_000


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    port: Annotated[Port | None, Meta(description="DICOM TLS port; none: no TLS.")] = None
    certificate: Annotated[str | None, Meta(description="PEM file: our certificate chain.")] = None
    key: Annotated[str | None, Meta(description="PEM file: our private key.")] = None
    client_ca: Annotated[
        str | None, Meta(description="PEM file of CAs; given: peers must show a certificate (mutual TLS).")
    ] = None


class NodeSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A known AE: peer, move destination, or both."""

    ae_title: Annotated[AeTitle, Meta(description="Its AE title.")]
    host: Annotated[str, Meta(description="Host name or address to connect to.")]
    port: Annotated[Port, Meta(description="Port to connect to.")]
    networks: Annotated[
        tuple[str, ...], Meta(description="Networks it may call from (CIDR); empty: its host only.")
    ] = ()
    tls: Annotated[bool, Meta(description="Connect to it with TLS.")] = False
    rights: Annotated[tuple[str, ...], Meta(description="Of store, find, move, get, commit.")] = (
        "store",
        "find",
        "move",
        "get",
        "commit",
    )
    destinations: Annotated[
        tuple[str, ...] | None, Meta(description="AE titles it may move to; none: any known.")
    ] = None
    transfer_syntaxes: Annotated[
        tuple[str, ...], Meta(description="Preferred first when we send to it.")
    ] = ()
    certificate_name: Annotated[
        str | None, Meta(description="With mutual TLS: the name its certificate must carry.")
    ] = None
    scope: Annotated[
        NodeScope | None,
        Meta(
            description="The studies it may find, retrieve and have committed: those that meet one of its rules, as roles"
            " have them; none: all."
        ),
    ] = None


class StorageSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    layout: Annotated[
        str,
        Meta(
            pattern="^(segments|files)$",
            description="segments: new objects of up to 1 MiB share files; files: each has its own. Both are read always.",
        ),
    ] = "segments"
    writer_threads: Annotated[
        int, Meta(ge=1, le=64, description="Native threads that write objects, per worker.")
    ] = 4
    buffers: Annotated[int, Meta(ge=4, le=1024, description="Receive buffers of 1 MiB per worker.")] = 48
    reserve_bytes: Annotated[
        int, Meta(ge=0, description="Free space kept: below it images are refused (A700H).")
    ] = 1024**3
    full_warning_days: Annotated[
        int,
        Meta(
            ge=0,
            le=3650,
            description="An alert is raised when the disk of the online store will be full within so many days, at the pace of"
            " the last thirty; 0: none.",
        ),
    ] = 14
    backlog: Annotated[
        int, Meta(ge=100, description="Instances stored but not yet indexed that a worker may hold.")
    ] = 20_000


class IndexSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    linger_ms: Annotated[float, Meta(ge=0, le=1000, description="How long a batch waits to grow.")] = 30.0
    batch: Annotated[int, Meta(ge=1, le=5000, description="Most rows of one batch.")] = 500
    catch_up_s: Annotated[
        float, Meta(gt=0, description="Longest wait of a query for the index, seconds.")
    ] = 10.0
    responders: Annotated[int, Meta(ge=1, le=64, description="Queries served at once per worker.")] = 6
    custom_attributes: Annotated[
        tuple[str, ...], Meta(description="Keywords or 8-digit tags indexed besides the built-in ones.")
    ] = ()


class DatabaseSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: Annotated[str | None, Meta(description="PostgreSQL URL; none: the embedded server.")] = None
    owner_url: Annotated[
        str | None,
        Meta(description="The same with the role that owns the tables, if that of url is only pacs_app."),
    ] = None
    connections: Annotated[int, Meta(ge=2, le=64, description="Connections per worker.")] = 6
    call_timeout_s: Annotated[float, Meta(gt=0, description="Deadline of one call, seconds.")] = 30.0
    max_connections: Annotated[
        int,
        Meta(ge=20, le=5000, description="Embedded server: connections at once, or what the workers need."),
    ] = 100
    shared_buffers_mib: Annotated[
        int, Meta(ge=16, le=65536, description="Embedded server: its own cache, MiB.")
    ] = 128


class WebSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="HTTP port.")] = 8080
    tls_certificate: Annotated[
        str | None,
        Meta(description="PEM file: our certificate chain; given: HTTPS and HTTP/2, and no plain HTTP."),
    ] = None
    tls_key: Annotated[str | None, Meta(description="PEM file: its private key.")] = None
    live_interval_s: Annotated[float, Meta(gt=0, le=60, description="Seconds between live updates.")] = 0.5
    client_queue: Annotated[
        int, Meta(ge=1, le=1024, description="Updates a slow browser may lag before it is resynchronised.")
    ] = 16
    max_clients: Annotated[int, Meta(ge=1, description="Live views at once per worker.")] = 256
    max_connections: Annotated[int, Meta(ge=1, description="HTTP connections at once per worker.")] = 1024
    write_deadline_s: Annotated[
        float, Meta(gt=0, le=300, description="A client that reads nothing for so long is closed, seconds.")
    ] = 10.0
    hosts: Annotated[
        tuple[str, ...],
        Meta(description="Names that browsers may use for us while we listen on loopback (reverse proxy)."),
    ] = ()
    public_root: Annotated[
        str | None,
        Meta(description="How browsers reach us, such as https://pacs.example; none: as they say."),
    ] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Networks (CIDR) of proxies whose Forwarded and X-Forwarded-* headers count."),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins of other web pages that may use the API with a token of theirs."),
    ] = ()
    max_query_results: Annotated[
        int,
        Meta(
            ge=1, le=100_000, description="Most results of one DICOMweb search; the client may ask for more."
        ),
    ] = 5_000
    no_matches_204: Annotated[
        bool, Meta(description="Answer a DICOMweb search without matches 204, not 200 with an empty list.")
    ] = False
    undo_s: Annotated[
        int,
        Meta(
            ge=0,
            le=3_153_600_000,
            description="What is deleted may be brought back for so long, seconds; 0: it is erased at once.",
        ),
    ] = 604_800
    metadata_cache_bytes: Annotated[
        int, Meta(ge=1048576, description="Most disk space that made series metadata may take, bytes.")
    ] = 2 * 1024**3


class PeopleSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    session_idle_s: Annotated[
        int, Meta(ge=60, le=604800, description="A login that is not used for so long ends, seconds.")
    ] = 7200
    session_lifetime_s: Annotated[
        int, Meta(ge=60, le=2592000, description="A login ends after so long in any case, seconds.")
    ] = 43200
    access_token_s: Annotated[
        int, Meta(ge=10, le=3600, description="How long an access token may be used, seconds.")
    ] = 900
    signing_key_s: Annotated[
        int, Meta(ge=3600, le=31536000, description="A key signs access tokens for so long, seconds.")
    ] = 2592000
    api_token_most_s: Annotated[int, Meta(ge=3600, description="Longest life of an API token, seconds.")] = (
        31536000
    )
    share_most_s: Annotated[
        int, Meta(ge=60, le=31536000, description="Longest life of a share link, seconds.")
    ] = 7776000
    oidc_issuer: Annotated[
        str | None, Meta(description="OpenID Connect provider, as it names itself; none: no such login.")
    ] = None
    oidc_client_id: Annotated[str | None, Meta(description="Who we are to the provider.")] = None
    oidc_client_secret: Annotated[
        str | None, Meta(description="Our secret there; none: a public client, with PKCE alone.")
    ] = None
    oidc_name: Annotated[str, Meta(description="What the login button says.")] = "Single sign-on"
    oidc_scopes: Annotated[tuple[str, ...], Meta(description="Scopes to ask for.")] = (
        "openid",
        "profile",
        "email",
    )
    oidc_roles_claim: Annotated[str, Meta(description="The claim that roles come of.")] = "groups"
    oidc_roles: Annotated[
        tuple[str, ...], Meta(description="Roles for its values, such as pacs-readers=radiologist.")
    ] = ()
    oidc_default_roles: Annotated[
        tuple[str, ...], Meta(description="Roles of whom the claim gives none; empty: they stay out.")
    ] = ()
    oidc_ca: Annotated[
        str | None, Meta(description="PEM file of CAs for the provider; none: the system's.")
    ] = None


class PixelSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    processes: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="Conversions and renderings at once, per worker; 0: its share of the cores, at least 2.",
        ),
    ] = 0
    queue: Annotated[int, Meta(ge=1, description="Conversions and renderings that may wait, per worker.")] = (
        256
    )
    memory_mib: Annotated[
        int, Meta(ge=256, le=65536, description="Memory that one such process may have, MiB.")
    ] = 2048


class AuditSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    source_id: Annotated[str | None, Meta(description="Our name in audit messages; none: our AE title.")] = (
        None
    )
    anchor_rows: Annotated[
        int, Meta(ge=1, description="The audit's end is noted outside of the database after so many rows.")
    ] = 1000
    anchor_s: Annotated[
        float, Meta(ge=1, le=86400, description="And after so long if there are new rows, seconds.")
    ] = 600.0
    syslog_host: Annotated[
        str | None,
        Meta(description="Syslog receiver of audit messages, over TLS (RFC 5425); none: not sent."),
    ] = None
    syslog_port: Annotated[int, Meta(ge=1, le=65535, description="Its port.")] = 6514
    syslog_ca: Annotated[
        str | None,
        Meta(description="PEM file of CAs that its certificate must come from; none: the system's."),
    ] = None
    syslog_certificate: Annotated[
        str | None, Meta(description="PEM file: the certificate that we show it.")
    ] = None
    syslog_key: Annotated[str | None, Meta(description="PEM file: the key of that certificate.")] = None
    syslog_message_id: Annotated[
        str,
        Meta(
            pattern=r"^(DICOM\+RFC3881|IHE\+RFC-3881)$",
            description="MSGID of the messages: DICOM+RFC3881 (PS3.15) or IHE+RFC-3881 (ATNA).",
        ),
    ] = "DICOM+RFC3881"


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    data: Annotated[str, Meta(description="Folder that holds everything.")] = "pacs-data"
    workers: Annotated[
        int, Meta(ge=0, le=64, description="Worker processes; 0: what measured best on this machine.")
    ] = 0
    own_cores: Annotated[
        bool,
        Meta(
            description="Whether a worker's loop keeps to a core of its own when there are no more cores than workers: "
            "a fifth more images a second."
        ),
    ] = True
    node: Annotated[
        int,
        Meta(
            ge=0,
            le=98,
            description="Our number among the nodes that share database.url. It belongs to the data folder for good.",
        ),
    ] = 0
    grace_s: Annotated[float, Meta(gt=0, le=300, description="Longest drain after SIGTERM, seconds.")] = 25.0
    frozen_after_s: Annotated[
        float,
        Meta(
            ge=5,
            le=600,
            description="A worker that shows no life for so long is killed and replaced, seconds.",
        ),
    ] = 20.0
    start_within_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="A worker that does not take images so long after its start is killed and replaced, seconds; "
            "twice as long each time it happens, up to eight times. Recovery does not count.",
        ),
    ] = 120.0
    restart_crashes: Annotated[
        int, Meta(ge=1, description="Crashes in the window before a supervisor gives up.")
    ] = 5
    restart_window_s: Annotated[float, Meta(gt=0, description="Restart window, seconds.")] = 30.0
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    ] = "info"


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    server: ServerSettings = field(default_factory=ServerSettings)
    dicom: DicomSettings = field(default_factory=DicomSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    nodes: tuple[NodeSettings, ...] = ()
    storage: StorageSettings = field(default_factory=StorageSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    web: WebSettings = field(default_factory=WebSettings)
    pixels: PixelSettings = field(default_factory=PixelSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    integrity: IntegritySettings = field(default_factory=IntegritySettings)
    backup: BackupSettings = field(default_factory=BackupSettings)
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)
    stores: dict[str, LifecycleStoreSettings] = field(default_factory=dict)
