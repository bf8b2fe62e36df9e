"""What no single setting can tell: rules between settings, and inside values that only look like text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from config.scope import NodeScope
from config.settings import NodeSettings, Settings
from config.stores import problems as store_problems
from protocols.errors import ConfigError

RIGHTS: Final = ("store", "find", "move", "get", "commit")
_UID: Final = re.compile(r"(?=.{1,64}\Z)(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_ATTRIBUTE: Final = re.compile(r"[0-9A-Fa-f]{8}|[A-Z][A-Za-z0-9]{1,63}")
_ROOT: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?")
_LONGEST_IN_RULE: Final = 256
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104


def check(settings: Settings) -> None:
    """raises: ConfigError for the first rule that is broken."""
    for problem in problems(settings):
        raise ConfigError(problem)


def problems(settings: Settings) -> Iterator[str]:
    """Every broken rule, as a sentence that begins with the key path."""
    if not settings.server.data.strip():
        yield "server.data: expected a folder"
    yield from _tls(settings)
    yield from _ports(settings)
    yield from _database(settings)
    yield from _web(settings)
    yield from _people(settings)
    yield from _audit(settings)
    yield from _uids("dicom.private_storage_classes", settings.dicom.private_storage_classes)
    for number, attribute in enumerate(settings.index.custom_attributes):
        if not _ATTRIBUTE.fullmatch(attribute):
            at = f"index.custom_attributes[{number}]"
            yield f"{at}: expected a keyword or 8 hexadecimal digits, not {attribute!r}"
    yield from _nodes(settings)
    yield from store_problems(settings.stores)
    yield from _nodes_of_the_archive(settings)


def warnings(settings: Settings) -> Iterator[str]:
    """What is allowed but probably not meant."""
    open_to_network = not _is_loopback(settings.dicom.host)
    if settings.dicom.promiscuous and open_to_network:
        yield "dicom.promiscuous: anybody who reaches the port may store, find and fetch"
    if open_to_network and not settings.nodes and not settings.dicom.promiscuous:
        yield "nodes: none is known, so every association on dicom.host will be refused"
    behind_tls = settings.web.tls_certificate or (settings.web.public_root or "").startswith("https://")
    if settings.web.host and not _is_loopback(settings.web.host) and not behind_tls:
        yield "web.host: passwords and images cross the network in the clear; set web.tls_certificate, or a proxy"
    if settings.backup.key_file is not None and not Path(settings.backup.key_file).is_file():
        yield f"backup.key_file: no such file: {settings.backup.key_file}; every backup will fail"


def _nodes_of_the_archive(settings: Settings) -> Iterator[str]:
    if settings.server.node and settings.database.url is None:
        yield "server.node: only node 0 has an embedded database; set database.url"
    for position, name in enumerate(settings.lifecycle.replicate_to):
        if name not in settings.stores:
            yield f"lifecycle.replicate_to[{position}]: there is no [stores.{name}]"


def _tls(settings: Settings) -> Iterator[str]:
    tls = settings.tls
    files = {"certificate": tls.certificate, "key": tls.key, "client_ca": tls.client_ca}
    if tls.port is None:
        if tls.client_ca is not None:
            yield "tls.client_ca: needs tls.port"
        return
    for name in ("certificate", "key"):
        if files[name] is None:
            yield f"tls.{name}: needed, because tls.port is set"
    for name, file in files.items():
        if file is not None and not Path(file).is_file():
            yield f"tls.{name}: no such file: {file}"


def _ports(settings: Settings) -> Iterator[str]:
    listening = [("dicom.port", settings.dicom.host, settings.dicom.port)]
    if settings.tls.port is not None:
        listening.append(("tls.port", settings.dicom.host, settings.tls.port))
    listening.append(("web.port", settings.web.host, settings.web.port))
    for number, (key, host, port) in enumerate(listening):
        for other_key, other_host, other_port in listening[:number]:
            same_host = host == other_host or bool({host, other_host} & _EVERYWHERE)
            if port and port == other_port and same_host:
                yield f"{key}: {port} is already {other_key}"


def _web(settings: Settings) -> Iterator[str]:
    web = settings.web
    for position, network in enumerate(web.trusted_proxies):
        if not _is_network(network):
            yield f"web.trusted_proxies[{position}]: expected a network like 10.1.0.0/16, not {network!r}"
    if web.public_root is not None and not _ROOT.fullmatch(web.public_root):
        yield f"web.public_root: expected https://host[:port], not {web.public_root!r}"
    files = {"tls_certificate": web.tls_certificate, "tls_key": web.tls_key}
    for name, file in files.items():
        if file is None and any(files.values()):
            yield f"web.{name}: needed, because the other one of certificate and key is set"
        if file is not None and not Path(file).is_file():
            yield f"web.{name}: no such file: {file}"
    for position, origin in enumerate(web.cors_origins):
        if not _ROOT.fullmatch(origin) or origin.endswith("/"):
            yield f"web.cors_origins[{position}]: expected https://host[:port], not {origin!r}"


def _people(settings: Settings) -> Iterator[str]:
    people = settings.people
    if people.oidc_issuer is None:
        return
    if not re.fullmatch(r"https?://[^\s?#]+", people.oidc_issuer):
        yield f"people.oidc_issuer: expected https://…, not {people.oidc_issuer!r}"
    if not people.oidc_client_id:
        yield "people.oidc_client_id: needed, because people.oidc_issuer is set"
    if "openid" not in people.oidc_scopes:
        yield "people.oidc_scopes: openid is needed"
    for position, pair in enumerate(people.oidc_roles):
        if not all(part.strip() for part in pair.rpartition("=")):
            yield f"people.oidc_roles[{position}]: expected VALUE=ROLE, not {pair!r}"
    if people.oidc_ca is not None and not Path(people.oidc_ca).is_file():
        yield f"people.oidc_ca: no such file: {people.oidc_ca}"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _database(settings: Settings) -> Iterator[str]:
    database = settings.database
    if database.owner_url is not None and database.url is None:
        yield "database.owner_url: needs database.url"
    for name, url in (("url", database.url), ("owner_url", database.owner_url)):
        if url is None:
            continue
        try:
            scheme = urlsplit(url).scheme
        except ValueError:  # the text may hold a password: do not repeat it
            scheme = ""
        if scheme not in ("postgresql", "postgres"):
            yield f"database.{name}: expected postgresql://user:password@host:port/database"


def _audit(settings: Settings) -> Iterator[str]:
    audit = settings.audit
    files = {"ca": audit.syslog_ca, "certificate": audit.syslog_certificate, "key": audit.syslog_key}
    for name, file in files.items():
        if file is not None and not Path(file).is_file():
            yield f"audit.syslog_{name}: no such file: {file}"
    if audit.syslog_certificate is not None and audit.syslog_key is None:
        yield "audit.syslog_key: needed, because audit.syslog_certificate is set"
    if audit.syslog_key is not None and audit.syslog_certificate is None:
        yield "audit.syslog_certificate: needed, because audit.syslog_key is set"


def _nodes(settings: Settings) -> Iterator[str]:
    known = {node.ae_title for node in settings.nodes}
    seen: set[str] = set()
    for number, node in enumerate(settings.nodes):
        at = f"nodes[{number}]"
        if node.ae_title in seen:
            yield f"{at}.ae_title: {node.ae_title!r} is already another node"
        seen.add(node.ae_title)
        yield from _node(at, node)
        for position, destination in enumerate(node.destinations or ()):
            if destination not in known:
                yield f"{at}.destinations[{position}]: no node has the AE title {destination!r}"
        if node.certificate_name is not None and settings.tls.client_ca is None:
            yield f"{at}.certificate_name: needs tls.client_ca"


def node_problems(node: NodeSettings) -> Iterator[str]:
    """The broken rules of one node, each beginning with the field's name."""
    return (problem.removeprefix("node.") for problem in _node("node", node))


def _node(at: str, node: NodeSettings) -> Iterator[str]:
    if not node.host.strip():
        yield f"{at}.host: expected a host name or an address"
    if node.port == 0:
        yield f"{at}.port: expected int >= 1"
    for position, network in enumerate(node.networks):
        if not _is_network(network):
            yield f"{at}.networks[{position}]: expected a network like 10.1.0.0/16, not {network!r}"
    for position, right in enumerate(node.rights):
        if right not in RIGHTS:
            yield f"{at}.rights[{position}]: expected one of {', '.join(RIGHTS)}, not {right!r}"
    yield from _uids(f"{at}.transfer_syntaxes", node.transfer_syntaxes)
    yield from _scope(f"{at}.scope", node.scope or NodeScope())


def _scope(at: str, scope: NodeScope) -> Iterator[str]:
    for position, rule in enumerate(scope.rules):
        if rule.empty:
            yield f"{at}.rules[{position}]: a rule needs at least one list"
        for name in rule.__struct_fields__:
            for place, value in enumerate(getattr(rule, name)):
                if not (1 <= len(value) <= _LONGEST_IN_RULE and value.isprintable()):
                    yield f"{at}.rules[{position}].{name}[{place}]: expected 1 to {_LONGEST_IN_RULE} characters"


def _uids(path: str, uids: tuple[str, ...]) -> Iterator[str]:
    for position, uid in enumerate(uids):
        if not _UID.fullmatch(uid):
            yield f"{path}[{position}]: expected a UID (PS3.5 9.1), not {uid!r}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
