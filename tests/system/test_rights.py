"""One policy on every way to an object (SECURITY 9, CONFORMANCE 51): who may see one study finds no trace of the others.

What is tried comes from the routes that the server serves by: a new one that names a study is tried as well. "No trace" is the
answer that a UID gets which does not exist, byte for byte but for that UID.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import httpx
import pytest
import trio
from msgspec import Struct
from pydicom.uid import generate_uid
from trio_websocket import open_websocket_url

from pacs_actors.people.rights import Action
from tests.fakes.anything import declared_routes
from tests.system import peers
from tests.system.peers import CT, EXPLICIT, FIND, GET, MOVE, Instance, wait_until
from tests.system.server import Server, free_port, running
from tests.system.test_commitment import Reports, action, asking, listed, request
from tests.system.viewer_data import MR_IMAGE, grey
from web.http.routes import Access, Route

ROUTES: Final = declared_routes()
PASSWORD: Final = "seven horses on the pier"
PATIENT: Final = "ONE-AND-THE-SAME"
SECRET: Final = "Ysingrimus"
"""A word of the studies that nobody here may see; it stands in their names, numbers and descriptions."""
ALLOWED: Final = (
    Action.SEARCH, Action.VIEW, Action.DOWNLOAD, Action.STORE, Action.DELETE, Action.SHARE, Action.SYSTEM_READ,
    Action.NODES_READ, Action.NODES_WRITE, Action.SETTINGS_READ, Action.AUDIT_READ, Action.STUDY_AUDIT,
)  # fmt: skip
BODIES: Final[Mapping[str, object]] = {"/api/v1/studies/{study}/shares": {"expires_in_s": 60}}
"""What is sent to a route that takes a body."""
QUERIES: Final = (
    "", "?limit=500", "?state=all", "?format=csv", "?includefield=all", f"?q={SECRET[:8]}", f"?PatientID={PATIENT}",
)  # fmt: skip
KINDS: Final = {
    "modality and institution": {"modalities": ["CT"], "institutions": ["North"]},
    "referring physician": {"own_referring": True},
    "department": {"own_department": True},
    "source": {"sources": ["CT_NORTH"]},
    "explicit": {"studies": ["@mine@"]},
}
CALLERS: Final = (*KINDS, "link")
TABLES: Final = """
[[nodes]]
ae_title = "NORTH"
host = "127.0.0.1"
port = {port}
scope = {{ rules = [{{ modalities = ["CT"], institutions = ["North"] }}] }}

[[nodes]]
ae_title = "SOUTH"
host = "127.0.0.1"
port = {port}
scope = {{ rules = [{{ institutions = ["South"] }}] }}
"""


class Archive(Struct, frozen=True):
    """mine:     what everybody here may see; theirs: the same patient's elsewhere, of another kind, and another patient's
    gone:     another one of the latter kind, which the administrator has deleted; deletion: its number
    nodes_port:  where NORTH and SOUTH listen, when a test starts them
    """

    server: Server
    mine: Instance
    theirs: tuple[Instance, ...]
    gone: Instance
    deletion: int
    nodes_port: int


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder, port = tmp_path_factory.mktemp("rights"), free_port()
    config = folder / "pacs.toml"
    config.write_text(TABLES.format(port=port))
    own = {
        "InstitutionName": "North",
        "InstitutionalDepartmentName": "ER",
        "ReferringPhysicianName": "House^Gregory",
    }
    hidden = {
        "AccessionNumber": SECRET, "StudyDescription": SECRET, "SeriesDescription": SECRET, "StudyID": SECRET,
        "StationName": SECRET, "ReferringPhysicianName": f"{SECRET}^A",
    }  # fmt: skip
    mine = grey(PatientID=PATIENT, **own)
    theirs = (
        grey(PatientID=PATIENT, **hidden, InstitutionName="South", InstitutionalDepartmentName="ONCO"),
        grey(MR_IMAGE, PatientID=PATIENT, **hidden, InstitutionName="North", Modality="MR"),
        grey(**hidden, PatientID=SECRET, PatientName=f"{SECRET}^B", InstitutionName="South"),
    )
    gone = grey(**hidden, PatientID=SECRET, PatientName=f"{SECRET}^B", InstitutionName="South")
    with running(Server(folder / "data", options=("--config", str(config)))) as server:
        assert peers.send(server, mine, calling="CT_NORTH") == [0]
        assert peers.send(server, *theirs, gone, calling="ELSEWHERE") == [0] * 4
        status, deleted = server.ask(
            "DELETE", f"/api/v1/studies/{gone.study}", token=server.token, within_s=10
        )
        assert status == 200, deleted
        yield Archive(server, mine, theirs, gone, json.loads(deleted)["deletion"], port)


@pytest.fixture(scope="module")
def callers(archive: Archive) -> Iterator[dict[str, httpx.Client]]:
    """Somebody of each kind, and a stranger who came by a link; all may do everything to the study that they see."""
    server, found = archive.server, {}
    for number, (kind, rule) in enumerate(KINDS.items()):
        own_rule = json.loads(json.dumps(rule).replace("@mine@", archive.mine.study))
        role = {
            "name": f"by {kind}",
            "actions": [each.value for each in ALLOWED],
            "scope": {"rules": [own_rule]},
        }
        made(server, "/api/v1/roles", role)
        user = {
            "username": f"user{number}", "password": PASSWORD, "roles": [f"by {kind}"], "department": "ER",
            "display_name": "Gregory House",
        }  # fmt: skip
        made(server, "/api/v1/users", user)
        found[kind] = client(server, server.login(f"user{number}", PASSWORD))
    link = made(
        server, f"/api/v1/studies/{archive.mine.study}/shares", {"expires_in_s": 3600, "download": True}
    )
    found["link"] = client(server)
    opened = found["link"].post(f"/api/v1/share/{link['url'].rpartition('/')[2]}/open", json={})
    assert opened.status_code == 200, opened.text
    yield found
    for each in found.values():
        each.close()


def client(server: Server, token: str = "") -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False)


def made(server: Server, path: str, body: object) -> Any:
    status, answer = server.ask("POST", path, body, token=server.token, within_s=10)
    assert status == 201, (path, answer)
    return json.loads(answer)


def absent() -> Instance:
    """UIDs of nothing; as long as those of something."""
    return Instance(CT, generate_uid(), EXPLICIT, b"", generate_uid(), generate_uid())


def names_a_study(route: Route) -> bool:
    return "{study}" in route.path or route.path == "/dicom-web/wado"


def may(kind: str, route: Route) -> bool:
    """A link gives fewer actions than the roles here, and is no login."""
    if isinstance(route.access, Access):
        return route.access is Access.PUBLIC or kind != "link"
    by_link = (Action.SEARCH, Action.VIEW, Action.DOWNLOAD)
    return route.access in (by_link if kind == "link" else ALLOWED)


class Said(Struct, frozen=True):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


def ask(asker: httpx.Client, route: Route, study: str, series: str, instance: str) -> Said:
    """What a route says of these UIDs, without them."""
    values = {"study": study, "series": series, "instance": instance, "frames": "1", "tag_a": "00420011"}
    path = re.sub(r"\{([a-z_]+)\}", lambda match: values.get(match[1], "1"), route.path)
    if route.path == "/dicom-web/wado":
        path += f"?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
    content: dict[str, Any] = {}
    if route.method in ("POST", "PUT", "PATCH"):
        assert route.body is None or route.path in BODIES, f"say in BODIES what {route.path} is sent"
        content = {"json": BODIES.get(route.path, {})}
    answer = asker.request(route.method, path, **content)

    def nameless(text: str) -> str:
        for uid, word in ((instance, "INSTANCE"), (series, "SERIES"), (study, "STUDY")):
            text = text.replace(uid, word)
        return text

    headers = tuple((name, nameless(value)) for name, value in answer.headers.items() if name != "date")
    return Said(answer.status_code, headers, nameless(answer.text))


def test_every_route_that_names_a_study_says_that_the_scope_counts() -> None:
    wrong = [
        route.path
        for route in ROUTES
        if "{study}" in route.path and not (route.objects or route.access is Action.STORE)
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", CALLERS)
def test_no_route_tells_a_foreign_study_from_one_that_does_not_exist(
    archive: Archive, callers: dict[str, httpx.Client], kind: str
) -> None:
    asker, mine, wrong, served, tried = callers[kind], archive.mine, [], 0, 0
    nowhere = absent()
    for route in ROUTES:
        if not names_a_study(route) or not may(kind, route):
            continue
        unknown = ask(asker, route, nowhere.study, nowhere.series, nowhere.uid)
        for foreign in (*archive.theirs, archive.gone):
            said = ask(asker, route, foreign.study, foreign.series, foreign.uid)
            tried += 1
            silent = said.status in (404, 204) or said.body == "[]" or route.access is Action.STORE
            if said != unknown or not silent:
                wrong.append((route.method, route.path, said, unknown))
        foreign = archive.theirs[0]
        if (
            "{series}" in route.path or route.path == "/dicom-web/wado"
        ):  # smuggled below the study that they may see
            said = ask(asker, route, mine.study, foreign.series, foreign.uid)
            unknown = ask(asker, route, mine.study, nowhere.series, nowhere.uid)
            if said != unknown or (said.status != 404 and said.body != "[]"):
                wrong.append((route.method, route.path, said, unknown))
        if "{instance}" in route.path:
            said = ask(asker, route, mine.study, mine.series, foreign.uid)
            unknown = ask(asker, route, mine.study, mine.series, nowhere.uid)
            if said != unknown or said.status != 404:
                wrong.append((route.method, route.path, said, unknown))
        if route.method == "GET":
            served += ask(asker, route, mine.study, mine.series, mine.uid).status == 200
    assert wrong == []
    assert tried > 60 and served >= 15, "the control: what they may see they get"
    seen = httpx.get(
        f"{archive.server.url}/dicom-web/studies", headers={"authorization": f"Bearer {archive.server.token}"}
    )
    assert {one.study for one in archive.theirs} < {each["0020000D"]["Value"][0] for each in seen.json()}, (
        "untouched"
    )


@pytest.mark.parametrize("kind", CALLERS)
def test_no_list_holds_a_trace_of_a_foreign_study(
    archive: Archive, callers: dict[str, httpx.Client], kind: str
) -> None:
    """Every GET without an object in its path, as it is and asked for what it must not find."""
    asker, tried = callers[kind], 0
    traces = [
        SECRET,
        *(uid for one in (*archive.theirs, archive.gone) for uid in (one.study, one.series, one.uid)),
    ]
    for route in ROUTES:
        if (
            route.method != "GET"
            or names_a_study(route)
            or isinstance(route.access, Access)
            or not may(kind, route)
        ):
            continue
        path = re.sub(r"\{[a-z_]+\}", SECRET, route.path)
        for query in QUERIES:
            answer = asker.get(path + query)
            assert answer.status_code in (200, 204, 400, 403, 404), (path, query, answer.text)
            # An error may repeat the word that the request itself brought.
            body = answer.text.replace(SECRET, "") if answer.status_code >= 400 else answer.text
            found = [trace for trace in traces if trace in body]
            assert found == [], (path, query)
            tried += 1
    assert tried >= 18


@pytest.mark.parametrize("kind", KINDS)
def test_of_the_audit_and_the_totals_one_sees_what_concerns_the_studies_that_one_sees(
    archive: Archive, callers: dict[str, httpx.Client], kind: str
) -> None:
    asker, mine = callers[kind], archive.mine.study
    wait_until(lambda: "deleted" in events_of(archive, archive.gone.study), "the audit")
    for sort in ("-id", "at", "who", "-uids"):
        rows = asker.get(f"/api/v1/audit?limit=500&sort={sort}").json()
        assert rows["total"] == len(rows["items"]) > 0
        assert {uid for row in rows["items"] for uid in row["uids"]} == {mine}, sort
    assert "store" in {row["event"] for row in rows["items"]}
    assert asker.get("/api/v1/audit?event=login").json()["total"] == 0, "of people they are not told"
    exported = asker.get("/api/v1/audit/export?format=jsonl").text.splitlines()
    assert exported and {uid for line in exported for uid in json.loads(line)["uids"]} == {mine}
    assert mine in asker.get("/api/v1/audit?format=csv").text
    totals = asker.get("/api/v1/system/storage").json()
    assert (totals["totals"]["studies"], totals["totals"]["patients"]) == (1, 1)
    assert [(each["modality"], each["instances"]) for each in totals["by_modality"]] == [("CT", 1)]
    assert [each["studies"] for each in totals["by_month"]] == [1]


def test_the_audit_of_a_study_is_a_right_of_its_own(archive: Archive) -> None:
    server, mine, foreign = archive.server, archive.mine.study, archive.theirs[0].study
    asked = {}
    for number, right in enumerate((Action.STUDY_AUDIT, Action.AUDIT_READ)):
        scope = {"rules": [{"studies": [mine]}]}
        made(
            server,
            "/api/v1/roles",
            {"name": f"only {right.value}", "actions": [right.value], "scope": scope},
        )
        user = {"username": f"auditor{number}", "password": PASSWORD, "roles": [f"only {right.value}"]}
        made(server, "/api/v1/users", user)
        with client(server, server.login(f"auditor{number}", PASSWORD)) as asker:
            paths = (f"/studies/{mine}/audit", f"/studies/{foreign}/audit", "/audit", "/audit/export")
            asked[right] = [asker.get(f"/api/v1{path}").status_code for path in paths]
    assert asked == {Action.STUDY_AUDIT: [200, 404, 403, 403], Action.AUDIT_READ: [403, 403, 200, 200]}
    roles = {role["name"]: role["actions"] for role in json.loads(server.get("/api/v1/roles")[1])["items"]}
    assert Action.STUDY_AUDIT.value in roles["administrator"], "as it had it before there was a right for it"


def test_who_may_say_where_studies_are_kept_moves_only_those_that_they_see(archive: Archive) -> None:
    server, mine, foreign = archive.server, archive.mine.study, archive.theirs[0].study
    role = {
        "name": "keeper", "actions": [Action.STORAGE_WRITE.value, Action.SYSTEM_READ.value],
        "scope": {"rules": [{"studies": [mine]}]},
    }  # fmt: skip
    made(server, "/api/v1/roles", role)
    made(server, "/api/v1/users", {"username": "keeper", "password": PASSWORD, "roles": ["keeper"]})
    with client(server, server.login("keeper", PASSWORD)) as asker:
        asked = [{"study_instance_uid": uid, "to_store": "online"} for uid in (mine, foreign, "1.2.999")]
        told = [asker.post("/api/v1/storage/moves", json=one) for one in asked]
        assert [one.status_code for one in told] == [202, 404, 404] and told[1].content == told[2].content
        for uid in (mine, foreign):
            reason = {"reason": "A court asks for it."}
            assert server.ask("PUT", f"/api/v1/studies/{uid}/hold", reason, token=server.token)[0] == 200
            order = {"study_instance_uid": uid, "to_store": "online"}
            assert server.ask("POST", "/api/v1/storage/moves", order, token=server.token)[0] == 202
        everything = "/api/v1/storage/moves?state=waiting,running,done,failed"
        for path in (everything, "/api/v1/storage/holds"):
            assert foreign in server.get(path)[1].decode(), "the control"
            assert mine in asker.get(path).text and foreign not in asker.get(path).text
        for uid in (mine, foreign):  # others delete them
            server.ask("DELETE", f"/api/v1/studies/{uid}/hold", token=server.token)


def events_of(archive: Archive, study: str) -> str:
    return archive.server.get(f"/api/v1/audit?uid={study}")[1].decode()


@pytest.mark.parametrize("kind", CALLERS)
def test_searches_find_match_and_count_nothing_foreign(
    archive: Archive, callers: dict[str, httpx.Client], kind: str
) -> None:
    asker, mine = callers[kind], archive.mine
    foreign = archive.theirs[0]

    def found(path: str) -> list[Any]:
        answer = asker.get(f"/dicom-web/{path}")
        assert answer.status_code == 200, answer.text
        results: list[Any] = answer.json()
        return results

    for level in ("studies", "series", "instances"):
        (one,) = found(f"{level}?PatientID={PATIENT}&includefield=all")
        assert one["0020000D"]["Value"] == [mine.study]
        for key in (
            f"StudyInstanceUID={foreign.study}", f"StudyInstanceUID={mine.study},{foreign.study}&StudyDescription={SECRET}",
            f"PatientID={SECRET}", f"PatientName={SECRET}*&fuzzymatching=true", f"AccessionNumber={SECRET}",
            "ModalitiesInStudy=MR", f"ReferringPhysicianName={SECRET}*", "offset=1", "NumberOfPatientRelatedStudies=3",
        ):  # fmt: skip
            assert found(f"{level}?{key}") == [], (level, key)
    assert found(f"series?SeriesInstanceUID={foreign.series}") == []
    assert found(f"instances?SOPInstanceUID={foreign.uid}") == []
    (counted,) = found(f"studies?PatientID={PATIENT}&includefield=00201200,00201202,00201204")
    assert [counted[tag]["Value"] for tag in ("00201200", "00201202", "00201204")] == [[1], [1], [1]]

    page = asker.get("/api/v1/studies").json()
    assert (page["total"], [one["study_instance_uid"] for one in page["items"]]) == (1, [mine.study])
    for key in (
        f"q={SECRET}", f"patient_id={SECRET}", "institution=South", "modality=MR", "source=ELSEWHERE", f"q={foreign.study}",
        f"study_instance_uid={foreign.study}", f"accession_number={SECRET}", f"referring_physician_name={SECRET}",
    ):  # fmt: skip
        nothing = asker.get(f"/api/v1/studies?{key}").json()
        assert (nothing["total"], nothing["items"]) == (0, []), key


@pytest.mark.parametrize("kind", CALLERS)
def test_several_studies_are_given_together_only_if_all_may_be_seen(
    archive: Archive, callers: dict[str, httpx.Client], kind: str
) -> None:
    asker, mine, nowhere = callers[kind], archive.mine, absent()
    assert asker.post("/api/v1/archive", json={"studies": [mine.study]}).status_code == 200
    for foreign in archive.theirs:
        told = []
        for uid in (foreign.study, nowhere.study):
            answer = asker.post("/api/v1/archive", json={"studies": [mine.study, uid]})
            told.append((answer.status_code, answer.text.replace(uid, "STUDY")))
        assert told[0] == told[1] and told[0][0] == 404


@pytest.mark.parametrize("kind", CALLERS)
def test_who_knows_the_validator_of_an_answer_is_told_as_little(
    archive: Archive, callers: dict[str, httpx.Client], kind: str
) -> None:
    """Kept answers are everybody's; a 304 would say that they are there."""
    foreign, nowhere, tried = archive.theirs[0], absent(), 0
    with client(archive.server, archive.server.token) as administrator:
        for path in ("/metadata", "/thumbnail", "/series/{}/metadata", "/series/{}/instances/{}/frames/1"):
            own = f"/dicom-web/studies/{foreign.study}{path.format(foreign.series, foreign.uid)}"
            kept = administrator.get(own)
            assert kept.status_code == 200
            if "etag" not in kept.headers:
                continue
            headers = {"if-none-match": kept.headers["etag"]}
            assert administrator.get(own, headers=headers).status_code == 304, "the control"
            told = callers[kind].get(own, headers=headers)
            absent_one = f"/dicom-web/studies/{nowhere.study}{path.format(nowhere.series, nowhere.uid)}"
            assert told.status_code == 404
            assert told.content == callers[kind].get(absent_one, headers=headers).content
            tried += 1
    assert tried > 0


def test_what_somebody_else_deleted_cannot_be_brought_back(
    archive: Archive, callers: dict[str, httpx.Client]
) -> None:
    for kind in KINDS:
        told = [
            callers[kind].post(f"/api/v1/deletions/{number}/undo") for number in (archive.deletion, 10**9)
        ]
        assert told[0].status_code == 404 and told[0].content == told[1].content
    status, listed_ = archive.server.ask("GET", "/api/v1/deletions", token=archive.server.token)
    assert status == 200 and archive.gone.study in listed_.decode(), "the control"


def test_who_sees_some_studies_does_not_decide_what_a_node_sees(
    archive: Archive, callers: dict[str, httpx.Client]
) -> None:
    """Else they would see all of them by a node of their own."""
    node = {"ae_title": "MINE", "host": "127.0.0.1", "port": 104}
    for kind in KINDS:
        for method, path in (("POST", ""), ("PUT", "/NORTH"), ("DELETE", "/NORTH")):
            content = {} if method == "DELETE" else {"json": node}
            assert callers[kind].request(method, f"/api/v1/nodes{path}", **content).status_code == 403
    for scope in (
        {"rules": [{}]}, {"rules": [{"institutions": ["a\0b"]}]}, {"rules": [{"studies": [""]}]},
        {"rules": [{"sources": ["x" * 257]}]}, {"rules": 3}, {"rules": [{"nonsense": []}]},
    ):  # fmt: skip
        status, why = archive.server.ask(
            "POST", "/api/v1/nodes", node | {"scope": scope}, token=archive.server.token
        )
        assert status == 400, (scope, why)


# -- over DICOM -----------------------------------------------------------------------------------------------------------------
KEYS: Final = {
    "PATIENT": {"PatientID": "", "PatientName": "", "NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedInstances": ""},
    "STUDY": {"StudyInstanceUID": "", "StudyDescription": "", "AccessionNumber": ""},
    "SERIES": {"SeriesInstanceUID": "", "SeriesDescription": ""},
    "IMAGE": {"SOPInstanceUID": ""},
}  # fmt: skip
RELATIONAL: Final = {str(model): b"\x01" for model in (*FIND.values(), *GET.values(), *MOVE.values())}
WHO: Final = {
    "an AE with a scope": {"calling": "NORTH"},
    "a user": {"calling": "WORKSTATION", "identity": ("user1", PASSWORD)},
    "a user of an AE with a scope": {"calling": "NORTH", "identity": ("user2", PASSWORD)},
    "an AE of the database": {"calling": "WARD"},
}


@pytest.fixture(scope="module")
def dimse(archive: Archive, callers: dict[str, httpx.Client]) -> Archive:
    """With a known AE in the database that sees one study."""
    scope = json.dumps({"rules": [{"studies": [archive.mine.study]}]})
    archive.server.sql(
        "INSERT INTO ae_nodes (ae_title, host, port, networks, scope)"
        f" VALUES ('WARD', '127.0.0.1', {archive.nodes_port}, '{{127.0.0.0/8}}', '{scope}')"
    )

    def known() -> bool:
        found = peers.find(archive.server, "STUDY", KEYS["STUDY"], calling="WARD").values("StudyInstanceUID")
        return found == [archive.mine.study]

    # Each worker reads the table on its own; which of them answers is chance.
    peers.wait_until(lambda: all(known() for _ in range(6)), "the AE")
    return archive


@pytest.mark.parametrize("who", WHO)
def test_a_query_over_dicom_finds_what_is_in_the_scope_at_every_level(dimse: Archive, who: str) -> None:
    mine = dimse.mine
    expected = {"PATIENT": PATIENT, "STUDY": mine.study, "SERIES": mine.series, "IMAGE": mine.uid}
    with peers.opened(
        dimse.server, [(FIND["patient"], EXPLICIT)], extended=RELATIONAL, **WHO[who]
    ) as association:

        def found(level: str, **keys: str) -> peers.Answers:
            answers = peers.ask(association, level, KEYS[level] | keys, root="patient")
            assert answers.final == 0 and SECRET.encode() not in b"".join(answers.raw)
            return answers

        for level, one in expected.items():
            assert found(level).values(next(iter(KEYS[level]))) == [one], level
        counted = found("PATIENT", PatientID=PATIENT)
        assert counted.values("NumberOfPatientRelatedStudies") == ["1"]
        assert counted.values("NumberOfPatientRelatedInstances") == ["1"]
        for foreign in dimse.theirs:
            assert found("STUDY", StudyInstanceUID=foreign.study).data == []
            assert found("IMAGE", SOPInstanceUID=foreign.uid).data == []
        assert found("PATIENT", PatientID=SECRET[:4] + "*").data == []


@pytest.mark.parametrize("destination", [None, "NORTH"], ids=["C-GET", "C-MOVE"])
@pytest.mark.parametrize("who", WHO)
def test_a_retrieval_over_dicom_gives_what_is_in_the_scope(
    dimse: Archive, who: str, destination: str | None
) -> None:
    mine, foreign = dimse.mine, dimse.theirs[0]
    inbox, classes = peers.Inbox(), [one.context for one in (mine, *dimse.theirs)]
    models = GET if destination is None else MOVE
    options, contexts = (
        {**WHO[who], "extended": RELATIONAL},
        [(str(model), EXPLICIT) for model in models.values()],
    )
    if destination is None:
        contexts += classes
        options |= {"scp": [uid for uid, _ in classes], "handlers": inbox.handlers}
    with (
        peers.listening(dimse.nodes_port, classes, title="NORTH", inbox=inbox),
        peers.opened(dimse.server, contexts, **options) as association,
    ):

        def retrieved(level: str, root: str = "study", **keys: str) -> tuple[Any, set[str]]:
            inbox.received.clear()
            told = peers.retrieve(association, level, keys, root=root, destination=destination)
            return (told.status, told.counts(), told.failed), set(inbox.received)

        assert retrieved("STUDY", StudyInstanceUID=mine.study)[1] == {mine.uid}, "the control"
        assert retrieved("PATIENT", "patient", PatientID=PATIENT)[1] == {mine.uid}
        nothing = retrieved("STUDY", StudyInstanceUID=generate_uid())
        assert nothing[1] == set()
        assert retrieved("STUDY", StudyInstanceUID=foreign.study) == nothing
        assert retrieved("SERIES", SeriesInstanceUID=foreign.series) == nothing
        assert retrieved("IMAGE", SOPInstanceUID=foreign.uid) == nothing
        assert retrieved("PATIENT", "patient", PatientID=SECRET) == nothing


def test_two_scopes_that_both_count_leave_what_both_see(dimse: Archive) -> None:
    south = dimse.theirs[0]
    assert seen_of_south(dimse, {"calling": "SOUTH"}) == {south.study, dimse.theirs[2].study}, "the control"
    assert seen_of_south(dimse, {"calling": "SOUTH", "identity": ("user1", PASSWORD)}) == set()


def seen_of_south(archive: Archive, who: Mapping[str, Any]) -> set[str]:
    return set(
        peers.find(archive.server, "STUDY", {"StudyInstanceUID": ""}, **who).values("StudyInstanceUID")
    )


def test_what_is_outside_of_the_scope_is_committed_as_little_as_what_is_not_there(dimse: Archive) -> None:
    mine, nowhere = dimse.mine, absent()
    others = [*dimse.theirs, nowhere]
    reports = Reports()
    with asking(dimse.server, "NORTH", reports) as association:
        assert request(association, action([(one.sop_class, one.uid) for one in (mine, *others)])) == 0
        _, told = reports.wait()
    assert listed(told) == {(mine.sop_class, mine.uid)}
    reasons = {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in told.FailedSOPSequence}
    assert reasons == {one.uid: reasons[nowhere.uid] for one in others}


# -- live; last, because studies come in
@pytest.mark.parametrize("kind", KINDS)
async def test_the_live_view_tells_of_nothing_foreign(
    archive: Archive, callers: dict[str, httpx.Client], kind: str
) -> None:
    """While studies of both sorts come in."""
    server, heard = archive.server, ""
    url = f"{server.url.replace('http', 'ws')}/api/v1/live"
    foreign = grey(
        PatientID=PATIENT, AccessionNumber=SECRET, StudyDescription=SECRET, InstitutionName="South"
    )
    more = peers.decode(archive.mine.data)
    more.SOPInstanceUID, more.SeriesInstanceUID = generate_uid(), generate_uid()
    mine = replace(archive.mine, uid=str(more.SOPInstanceUID), data=peers.encode(more))
    headers = [("authorization", callers[kind].headers["authorization"].encode())]
    with trio.fail_after(30):
        async with open_websocket_url(url, extra_headers=headers, max_message_size=2**24) as live:
            await live.send_message(
                json.dumps({"subscribe": ["studies", "queues", "associations", "alerts", "system"]})
            )
            while '"studies"' not in heard:
                heard += await live.get_message()
            sent = await trio.to_thread.run_sync(
                partial(peers.send, server, foreign, mine, calling="ELSEWHERE")
            )
            assert sent == [0, 0]
            at = len(heard)
            while archive.mine.study not in heard[at:]:
                heard += await live.get_message()
    foreign_uids = [
        uid for one in (*archive.theirs, archive.gone, foreign) for uid in (one.study, one.series, one.uid)
    ]
    assert [trace for trace in (SECRET, *foreign_uids) if trace in heard] == []
