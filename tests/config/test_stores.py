"""Tables of tier stores: read from the file and the environment, checked, and shown without what is secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.load import load, load_with_origins
from config.stores import LifecycleStoreSettings
from protocols.errors import ConfigError
from supervisors.cli import main

AZURE = '[stores.cold]\nkind = "azure"\nbucket = "copies"\naccess_key = "clinic"\n'
KEY = 'secret_key = "QUJDREVGR0hJSktMTU5PUA=="\n'
S3 = '[stores.cold]\nkind = "s3"\nbucket = "copies"\n'


def loaded(folder: Path, text: str, **environ: str) -> dict[str, LifecycleStoreSettings]:
    (folder / "pacs.toml").write_text(text, encoding="utf-8")
    return load(environ=environ, folder=folder).stores


def test_there_is_none_until_one_is_named(tmp_path: Path) -> None:
    assert load(environ={}, folder=tmp_path).stores == {}


def test_a_table_is_a_store(tmp_path: Path) -> None:
    stores = loaded(
        tmp_path, S3 + 'prefix = "pacs/"\n[stores.second-disk]\nkind = "folder"\npath = "/mnt/x"\n'
    )
    assert stores["cold"].prefix == "pacs/" and stores["cold"].part_bytes == 8 * 1024**2
    assert stores["second-disk"] == LifecycleStoreSettings(kind="folder", path="/mnt/x")


def test_single_values_come_from_the_environment_and_from_files_it_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n", encoding="utf-8")
    stores = loaded(
        tmp_path, S3.replace("cold", "far-away"),
        PACS_STORES__FAR_AWAY__ACCESS_KEY="AK", PACS_STORES__FAR_AWAY__SECRET_KEY_FILE=str(tmp_path / "secret"),
    )  # fmt: skip
    assert (stores["far-away"].access_key, stores["far-away"].secret_key) == ("AK", "s3cret")


def test_a_store_says_who_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_text(S3, encoding="utf-8")
    environ = {"PACS_STORES__COLD__REGION": "eu-north-1"}
    origins = load_with_origins(environ=environ, folder=tmp_path).origins
    assert origins["stores.cold"] == f"{tmp_path / 'pacs.toml'}, PACS_STORES__COLD__REGION"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[stores.cold]\nbucket = "copies"', "stores.cold.kind: is required"),
        ('[stores.cold]\nkind = "tape"', "stores.cold.kind: expected folder, s3 or azure"),
        ('[stores.cold]\nkind = "folder"', "stores.cold.path: needed by a folder"),
        ('[stores.cold]\nkind = "s3"', "stores.cold.bucket: expected a bucket's name"),
        (S3 + 'buckett = "x"', "stores.cold.buckett: no such setting; did you mean stores.cold.bucket?"),
        (S3 + 'prefix = "../up/"', "stores.cold.prefix: expected letters"),
        (S3 + 'endpoint = "ftp://x"', "stores.cold.endpoint: expected https://"),
        (S3 + 'access_key = "AK"', "stores.cold.access_key: it and secret_key go together"),
        (S3 + 'kms_key = "k"', "stores.cold.kms_key: only with the encryption aws:kms"),
        (S3 + 'encryption = "rot13"', "stores.cold.encryption: expected AES256 or aws:kms"),
        (S3 + 'ca = "/no/such.pem"', "stores.cold.ca: no such file"),
        (S3 + "first_wait_s = 30.0", "stores.cold.longest_wait_s: shorter than first_wait_s"),
        (S3 + "part_bytes = 1024", "stores.cold.part_bytes: expected int >= 5242880"),
        (AZURE, "stores.cold.secret_key: needed by azure"),
        (AZURE + 'secret_key = "no key"', "stores.cold.secret_key: expected an account's key in base64"),
        (AZURE.replace("copies", "Co--pies") + KEY, "stores.cold.bucket: expected a container's name"),
        (AZURE.replace("clinic", "x/../y") + KEY, "stores.cold.access_key: expected a storage account's name"),
        (AZURE + KEY + 'endpoint = "https://x/a/b"', "stores.cold.endpoint: expected https://host[:port][/account]"),
        (AZURE + KEY + 'storage_class = "Archive"', "stores.cold.storage_class: expected Hot, Cool or Cold"),
        (AZURE + KEY + 'encryption = "AES256"', "stores.cold.encryption: Azure encrypts"),
        ('[stores.cold]\nkind = "azure"\nbucket = "copies"\nsecret_key = "sv=1&sig=x"',
         "stores.cold.access_key: it or endpoint is needed"),
        ('[stores.cold]\nkind = "azure"\nbucket = "copies"\nendpoint = "https://x"\n' + KEY,
         "stores.cold.access_key: needed with an account's key"),
        (S3.replace("cold", "Cold"), "stores.Cold: expected a name of small letters"),
        (S3.replace("cold", "local"), "stores.local: expected a name of small letters"),
        ("[stores]\ncold = 1", "stores: expected tables"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        loaded(tmp_path, text)
    assert str(refusal.value).startswith(said)
    assert "pacs.toml" in str(refusal.value)


def test_azure_takes_an_account_key_or_a_shared_access_signature(tmp_path: Path) -> None:
    assert loaded(tmp_path, AZURE + KEY)["cold"].kind == "azure"
    shared = AZURE.replace('access_key = "clinic"', 'endpoint = "https://clinic.blob.core.windows.net"')
    assert (
        loaded(tmp_path, shared + 'secret_key = "sv=2024-11-04&sp=rwdl&sig=abc%3D"')["cold"].access_key
        is None
    )


def test_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PACS_STORES__COLD__SECRETKEY: no such setting; did you mean"):
        loaded(tmp_path, S3, PACS_STORES__COLD__SECRETKEY="x")


@pytest.mark.parametrize("flags", [["--json"], []])
def test_the_secret_is_not_shown(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pacs.toml").write_text(S3 + 'access_key = "AK"\nsecret_key = "planted"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["config", "show", *flags]) == 0
    shown = capsys.readouterr().out
    assert "copies" in shown and "planted" not in shown
