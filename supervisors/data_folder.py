"""The data folder that a command was pointed at: said in a sentence when it cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from protocols.errors import ConfigError

if TYPE_CHECKING:
    from config.settings import Settings


def with_objects(folder: str | Path, option: str = "server.data") -> Path:
    """The folder, absolute, if objects are stored in it and we may look at them.

    raises: ConfigError, naming ``option``
    """
    data = Path(folder).absolute()
    try:
        data = data.resolve()
        next((data / "objects").iterdir(), None)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{option}: there are no objects under {data}") from None
    except OSError as error:
        raise ConfigError(f"{option}: cannot use {data}: {error.strerror}") from None
    return data


def with_database(settings: Settings) -> None:
    """Whether there is a database: one of its own, or an embedded one in the data folder; none is made.

    raises: ConfigError
    """
    if settings.database.url is not None:
        return
    data = Path(settings.server.data).absolute()
    try:
        (data / "postgres").stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"server.data: there is no database under {data}") from None
    except OSError as error:
        raise ConfigError(f"server.data: cannot use {data}: {error.strerror}") from None
