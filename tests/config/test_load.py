"""Where settings come from, which place wins, and what a mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.keys import keys
from config.load import MAX_FILE_BYTES, load, load_with_origins, parse_node
from config.reference import toml_value
from config.settings import NodeSettings, Settings
from protocols.errors import ConfigError


def loaded(folder: Path, toml: str = "", *, environ: dict[str, str] | None = None, **flags: str) -> Settings:
    """Load with a pacs.toml in an otherwise empty world; flags are spelled dicom__port."""
    (folder / "pacs.toml").write_text(toml, encoding="utf-8")
    spelled = {name.replace("__", "."): text for name, text in flags.items()}
    return load(flags=spelled, environ=environ or {}, folder=folder)


def mistake(folder: Path, toml: str = "", *, environ: dict[str, str] | None = None, **flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, toml, environ=environ, **flags)
    return str(caught.value)


def test_with_nothing_at_all_it_is_the_defaults(tmp_path: Path) -> None:
    assert load(environ={}, folder=tmp_path) == Settings()


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    toml = "[dicom]\nport = 1\nmax_associations = 2\nae_title = 'FILE'\n"
    environ = {"PACS_DICOM__PORT": "3", "PACS_DICOM__MAX_ASSOCIATIONS": "4"}
    (tmp_path / "pacs.toml").write_text(toml, encoding="utf-8")
    everything = load_with_origins(flags={"dicom.port": "5"}, environ=environ, folder=tmp_path)
    dicom = everything.settings.dicom
    assert (dicom.port, dicom.max_associations, dicom.ae_title, dicom.host) == (5, 4, "FILE", "127.0.0.1")
    assert everything.origins["dicom.port"] == "--dicom.port"
    assert everything.origins["dicom.max_associations"] == "PACS_DICOM__MAX_ASSOCIATIONS"
    assert everything.origins["dicom.ae_title"] == str(tmp_path / "pacs.toml")
    assert everything.origins["dicom.host"] == "default"


def test_a_named_file_replaces_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_text("[web]\nport = 1\n", encoding="utf-8")
    (tmp_path / "other.toml").write_text("[web]\nport = 2\n", encoding="utf-8")
    (tmp_path / "third.toml").write_text("[web]\nport = 3\n", encoding="utf-8")
    other = {"PACS_CONFIG": str(tmp_path / "other.toml")}
    assert load(environ=other, folder=tmp_path).web.port == 2
    assert load(config=str(tmp_path / "third.toml"), environ=other, folder=tmp_path).web.port == 3


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file"):
        load(config=str(tmp_path / "absent.toml"), environ={}, folder=tmp_path)


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("PACS_DICOM__PORT", "104", "dicom.port", 104),
        ("PACS_DICOM__ARTIM_S", "2.5", "dicom.artim_s", 2.5),
        ("PACS_DICOM__ARTIM_S", "2", "dicom.artim_s", 2.0),
        ("PACS_DICOM__PROMISCUOUS", "true", "dicom.promiscuous", True),
        ("PACS_DICOM__PROMISCUOUS", "ON", "dicom.promiscuous", True),
        ("PACS_DICOM__PROMISCUOUS", "0", "dicom.promiscuous", False),
        ("PACS_DICOM__AE_TITLE", " 104 ", "dicom.ae_title", "104"),
        ("PACS_TLS__PORT", "none", "tls.port", None),
        ("PACS_DATABASE__URL", "", "database.url", None),
        (
            "PACS_INDEX__CUSTOM_ATTRIBUTES",
            "Modality, 00081155,",
            "index.custom_attributes",
            ("Modality", "00081155"),
        ),
        ("PACS_INDEX__CUSTOM_ATTRIBUTES", "", "index.custom_attributes", ()),
    ],
)
def test_text_becomes_the_type_of_the_setting(
    tmp_path: Path, variable: str, text: str, path: str, value: object
) -> None:
    settings = loaded(tmp_path, environ={variable: text})
    section, _, name = path.partition(".")
    found = getattr(getattr(settings, section), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("[dicom]\nport = 65536", "dicom.port: expected int <= 65535, not 65536"),
        ("[dicom]\nport = '104'", "dicom.port: expected int, not '104'"),
        ("[dicom]\nport = true", "dicom.port: expected int, not True"),
        ("[dicom]\nprot = 1", "dicom.prot: no such setting; did you mean dicom.port?"),
        ("[dcom]\nport = 1", "dcom: no such setting; did you mean dicom?"),
        ("dicom = 3", "dicom: expected a table: [dicom]"),
        ("[dicom]\nae_title = 'A\\B'", "dicom.ae_title: expected an AE title"),
        ("[dicom]\nae_title = '                '", "dicom.ae_title: expected an AE title"),
        ("[dicom]\nae_title = 'SEVENTEENLETTERS!'", "dicom.ae_title: expected str of length <= 16"),
        ("[dicom]\nidle_timeout_s = inf", "dicom.idle_timeout_s: expected a finite number, not inf"),
        ("[dicom]\nidle_timeout_s = nan", "dicom.idle_timeout_s: expected"),
        ("[dicom]\nprivate_storage_classes = ['1.2', 3]", "dicom.private_storage_classes[1]: expected str"),
        ("[dicom]\nprivate_storage_classes = ['1.02']", "dicom.private_storage_classes[0]: expected a UID"),
        (
            "[server]\nlog_level = 'loud'",
            "server.log_level: expected debug, info, warning or error, not 'loud'",
        ),
        ("[server]\ndata = ' '", "server.data: expected a folder"),
        ("[index]\ncustom_attributes = ['0008']", "index.custom_attributes[0]: expected a keyword"),
        ("[database]\nurl = 'mysql://x'", "database.url: expected postgresql://"),
        ("[tls]\nport = 2762", "tls.certificate: needed, because tls.port is set"),
        ("[tls]\nclient_ca = 'ca.pem'", "tls.client_ca: needs tls.port"),
        ("[tls]\nport = 1\ncertificate = 'absent.pem'\nkey = 'absent.pem'", "tls.certificate: no such file"),
        ("[dicom]\nport = 8080", "web.port: 8080 is already dicom.port"),
        ("[dicom]\nport = 8080\nhost = '0.0.0.0'", "web.port: 8080 is already dicom.port"),
        ("nodes = 3", "nodes: expected tables: [[nodes]]"),
        ("[[nodes]]\nae_title='A'\nhost='h'", "nodes[0].port: is required"),
        ("[[nodes]]\nae_title='A'\nhost='h'\nport=0", "nodes[0].port: expected int >= 1"),
        (
            "[[nodes]]\nae_title='A'\nhost='h'\nprot=1",
            "nodes[0].prot: no such setting; did you mean nodes[0].port?",
        ),
        ("[[nodes]]\nae_title='A'\nhost=' '\nport=1", "nodes[0].host: expected a host name"),
        (
            "[[nodes]]\nae_title='A'\nhost='h'\nport=1\nscope={rules=[{}]}",
            "nodes[0].scope.rules[0]: a rule needs",
        ),
        ("[[nodes]]\nae_title='A'\nhost='h'\nport=1\nscope={ruels=[]}", "nodes[0].scope: expected"),
        (
            "[[nodes]]\nae_title='A'\nhost='h'\nport=1\nrights=['delete']",
            "nodes[0].rights[0]: expected one of store",
        ),
        (
            "[[nodes]]\nae_title='A'\nhost='h'\nport=1\nnetworks=['10.0.0.0/99']",
            "nodes[0].networks[0]: expected a net",
        ),
        (
            "[[nodes]]\nae_title='A'\nhost='h'\nport=1\ndestinations=['B']",
            "nodes[0].destinations[0]: no node has",
        ),
        (
            "[[nodes]]\nae_title='A'\nhost='h'\nport=1\ncertificate_name='a'",
            "nodes[0].certificate_name: needs tls",
        ),
        (
            "[[nodes]]\nae_title='A'\nhost='h'\nport=1\n[[nodes]]\nae_title=' A '\nhost='i'\nport=1",
            "nodes[1].ae_title: 'A' is already another node",
        ),
    ],
)
def test_a_mistake_begins_with_the_key_and_names_the_file(tmp_path: Path, toml: str, sentence: str) -> None:
    said = mistake(tmp_path, toml)
    assert said.startswith(sentence)
    assert "pacs.toml" in said


def test_a_mistake_names_the_variable_or_the_flag(tmp_path: Path) -> None:
    assert mistake(tmp_path, environ={"PACS_DICOM__PORT": "x"}) == (
        "dicom.port: expected int, not 'x' (PACS_DICOM__PORT)"
    )
    assert mistake(tmp_path, dicom__port="-1") == "dicom.port: expected int >= 0, not '-1' (--dicom.port)"
    assert mistake(tmp_path, web__port="11112").endswith("(--web.port)")


def test_an_unknown_variable_is_a_mistake_with_a_hint(tmp_path: Path) -> None:
    said = mistake(tmp_path, environ={"PACS_DICOM__PROT": "1"})
    assert said == "PACS_DICOM__PROT: no such setting; did you mean PACS_DICOM__PORT? (environment)"


def test_what_kubernetes_sets_for_a_service_named_pacs_is_not_ours(tmp_path: Path) -> None:
    environ = {
        "PACS_PORT": "tcp://10.0.0.1:80",
        "PACS_SERVICE_HOST": "10.0.0.1",
        "PACS_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert loaded(tmp_path, environ=environ) == Settings()


@pytest.mark.parametrize("toml", ["[dicom]\nport = = 1", "[dicom]\nport = 1_"])
def test_broken_toml_names_file_and_line(tmp_path: Path, toml: str) -> None:
    said = mistake(tmp_path, toml)
    assert said.startswith(str(tmp_path / "pacs.toml"))
    assert "line" in said


def test_a_file_that_is_not_text_or_far_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pacs.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(environ={}, folder=tmp_path)
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load(environ={}, folder=tmp_path)


def test_a_secret_may_come_from_a_file_and_is_never_repeated(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://pacs:hunter2@db/pacs\n", encoding="utf-8")
    environ = {"PACS_DATABASE__URL_FILE": str(secret)}
    assert loaded(tmp_path, environ=environ).database.url == "postgresql://pacs:hunter2@db/pacs"
    assert "given twice" in mistake(tmp_path, environ=environ | {"PACS_DATABASE__URL": "postgresql://x"})
    assert "no such file" in mistake(tmp_path, environ={"PACS_DATABASE__URL_FILE": str(tmp_path / "absent")})
    for wrong in ("mysql://pacs:hunter2@db/pacs", "postgresql://[pacs:hunter2@db"):
        assert "hunter2" not in mistake(tmp_path, environ={"PACS_DATABASE__URL": wrong})
    assert "hunter2" not in mistake(tmp_path, "[database]\nurl = ['hunter2']")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("MR1=10.1.2.3:104", NodeSettings(ae_title="MR1", host="10.1.2.3", port=104)),
        (" MR1 =mr.example:104", NodeSettings(ae_title="MR1", host="mr.example", port=104)),
        ("MR1=[fd00::1]:104", NodeSettings(ae_title="MR1", host="fd00::1", port=104)),
        ("A=B=host:104", NodeSettings(ae_title="A=B", host="host", port=104)),
    ],
)
def test_a_node_on_the_command_line(text: str, node: NodeSettings) -> None:
    assert parse_node(text) == node
    assert node.rights == ("store", "find", "move", "get", "commit")
    assert node.networks == ()  # its host only


@pytest.mark.parametrize(
    "text",
    ["", "MR1", "MR1=", "MR1=host", "=host:104", "MR1=:104", "MR1=fd00::1:104", "MR1=host:x", "MR1=h:65536"],
)
def test_a_broken_node_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^nodes"):
        parse_node(text)


def test_a_later_place_replaces_a_node_and_adds_others(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_text("[[nodes]]\nae_title='A'\nhost='file'\nport=1\n", encoding="utf-8")
    everything = load_with_origins(
        nodes=["B=flag:2"], environ={"PACS_NODES": "A=variable:1, C=[::1]:3"}, folder=tmp_path
    )
    assert [(node.ae_title, node.host) for node in everything.settings.nodes] == [
        ("A", "variable"),
        ("C", "::1"),
        ("B", "flag"),
    ]
    assert everything.origins["nodes[2]"] == "--node"
    with pytest.raises(ConfigError, match="already another node"):
        load(nodes=["A=x:1", "A=y:1"], environ={}, folder=tmp_path)


@given(text=st.text(max_size=40))
def test_any_text_is_a_value_or_a_mistake_that_begins_with_the_key(text: str) -> None:
    for path, key in keys().items():
        try:
            load(flags={path: text}, environ={}, folder=Path("/nowhere"))
        except ConfigError as said:
            assert str(said).startswith(path) or key.section in ("tls", "web", "dicom", "audit")


@given(
    port=st.integers(0, 65535),
    artim=st.floats(min_value=0.001, max_value=30),
    promiscuous=st.booleans(),
    title=st.from_regex(r"\A[A-Z0-9_]{1,16}\Z"),
)
def test_a_value_reads_the_same_from_toml_and_from_text(
    tmp_path_factory: pytest.TempPathFactory, port: int, artim: float, promiscuous: bool, title: str
) -> None:
    values = {"tls.port": None, "dicom.port": port, "dicom.artim_s": artim} | {
        "dicom.promiscuous": promiscuous,
        "dicom.ae_title": title,
    }
    folder = tmp_path_factory.mktemp("settings")
    lines = [
        f"{path.partition('.')[2]} = {toml_value(value)}"
        for path, value in values.items()
        if value is not None
    ]
    toml = "\n".join(["[web]\nport = 0\n[dicom]", *lines])
    texts = {path: str(value) for path, value in values.items()} | {"web.port": "0"}
    assert loaded(folder, toml) == load(flags=texts, environ={}, folder=folder / "absent")
