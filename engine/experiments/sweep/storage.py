"""Connects to the databases that store sweeps, and translates their errors. Imports no torch."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, column, insert, make_url, table, update
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from engine.errors import InputError, first_line

_WAIT_FOR_LOCK = 60.0  # seconds that SQLite waits for other writers
_MOST_ATTEMPTS = 10  # to connect while other processes create the tables
_ATTRIBUTES = table("trial_user_attributes", column("trial_id"), column("key"), column("value_json"))  # Optuna's


def connect(url: str) -> RDBStorage:
    """Connect to the storage at ``url``, creating its tables if needed.

    Raises InputError, or the errors that ``storage_errors`` translates.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _parsed(url)
    # pool_pre_ping reconnects after a server restart and after an idle timeout.
    arguments = {"connect_args": {"timeout": _WAIT_FOR_LOCK}} if url.startswith("sqlite:") else {"pool_pre_ping": True}
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        try:
            return RDBStorage(url, engine_kwargs=arguments)
        except DBAPIError as error:
            # Where several processes start on a new database, only one can create each table.
            if error.statement is None or attempt == _MOST_ATTEMPTS:
                raise
        except TypeError as error:  # the driver's, for an unknown option in the URL
            raise InputError(_sentence(url, first_line(error))) from error
        time.sleep(random.uniform(0.1, 0.5))
    raise AssertionError


def replace_attribute(storage: RDBStorage, trial_id: int, key: str, before: str | None, after: str) -> bool:
    """Replace a trial's text attribute if it is still ``before`` (None: not set); returns whether this call did.

    A compare-and-swap: of concurrent calls, one returns True. Optuna's own attributes only overwrite.
    """
    old, new = json.dumps(before), json.dumps(after)  # as Optuna writes them
    with storage.engine.begin() as connection:
        if before is None:
            try:
                connection.execute(insert(_ATTRIBUTES).values(trial_id=trial_id, key=key, value_json=new))
            except IntegrityError:
                return False
            return True
        matches = (_ATTRIBUTES.c.trial_id == trial_id, _ATTRIBUTES.c.key == key, _ATTRIBUTES.c.value_json == old)
        return connection.execute(update(_ATTRIBUTES).where(*matches).values(value_json=new)).rowcount == 1


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Translate the errors of a storage to InputError, in one sentence."""
    try:
        yield
    except NoSuchModuleError as error:
        raise InputError(_sentence(url, "SQLAlchemy does not support this kind of database")) from error
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        raise InputError(_sentence(url, _reason(error.__cause__ or error))) from error


def _reason(error: BaseException) -> str:
    """The error in one line, in the driver's words where it raised it."""
    if isinstance(error, ModuleNotFoundError):
        return f"its driver, the Python module {error.name}, is not installed here"
    return first_line(error.orig if isinstance(error, DBAPIError) and error.orig else error)


def without_password(url: str) -> str:
    """A storage's URL for display. Raises InputError where it is not a URL."""
    parsed = _parsed(url)
    secrets = [key for key in parsed.query if "pass" in key or "pwd" in key]
    return parsed.difference_update_query(secrets).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # don't show their text, which may hold parts of a password
        raise InputError(
            "the storage is not a database URL; write it like sqlite:///sweeps.db or "
            "postgresql+psycopg://user@host/database, with %40, %2F, %3A for @, / and : in a password"
        ) from None


def _sentence(url: str, reason: str) -> str:
    parsed = _parsed(url)
    if parsed.password:
        reason = reason.replace(parsed.password, "***")
    return f"{without_password(url)}: can't be used as storage ({reason})"
