"""The ledger's tables: brought up to date script by script, and compared with what they should be.

A script runs once, in one transaction with the version it leads to: a process that dies in the
middle leaves the old schema or the new one.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

import apsw

from mahavishnu_sched_mcp.errors import LedgerCorruptError
from mahavishnu_sched_mcp.ledger.database import RESTORE, scalar, translated_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

APPLICATION_ID = 0x4D534348
"""What the file's header says whose it is: `MSCH`."""

_BUSY_TIMEOUT_MS = 30_000
"""Another process may be migrating; it copies the ledger first."""


def migrate(connection: apsw.Connection, *, before: Callable[[int], object] | None = None) -> int:
    """Apply the migrations the file does not have yet, each in one transaction.

    Args:
        before: Called with the present version, inside the first transaction, where a ledger
            that has a schema already gets a newer one: keeps a backup of it.

    Returns:
        The schema's version afterwards.

    Raises:
        LedgerCorruptError: the file was written by a newer version.
        StorageFullError: there is no room; the schema is as it was.
    """
    all_scripts = scripts()
    is_kept = before is None
    usual = scalar(connection, "pragma busy_timeout")
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    try:
        while True:
            with translated_errors():
                connection.execute("begin immediate")
            try:
                version = version_of(connection)
                require_known(version)
                if version == len(all_scripts):
                    _claim_file(connection)
                    connection.execute("commit")
                    return version
                if version > 0 and before is not None and not is_kept:
                    before(version)
                is_kept = True  # or there was nothing to keep: a ledger is being made
                with translated_errors():
                    connection.execute(all_scripts[version])
                    connection.execute(f"pragma user_version = {version + 1}")
                    connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
    finally:
        connection.set_busy_timeout(usual)


def version_of(connection: apsw.Connection) -> int:
    """Give the version of the file's schema; 0 where it has none."""
    with translated_errors():
        return int(scalar(connection, "pragma user_version"))


def require_known(version: int) -> None:
    """Refuse a schema that only a newer version of this program knows.

    Raises:
        LedgerCorruptError: it is newer; names both.
    """
    newest = len(scripts())
    if version > newest:
        msg = f"The ledger has schema {version}, this version knows {newest}."
        raise LedgerCorruptError(msg, hint="Install the newer version that wrote it.")


def require_schema(connection: apsw.Connection) -> None:
    """Compare whose file it is, and all its tables and indexes, with what they should be.

    Tables of someone else beside ours are no concern.

    Raises:
        LedgerCorruptError: it is another program's, newer than this version, or a table or an
            index is missing or not as it was made.
    """
    owner = scalar(connection, "pragma application_id")
    version = version_of(connection)
    if owner not in {0, APPLICATION_ID} or version <= 0:
        msg = "The file in the ledger's place is another program's, or holds no ledger."
        raise LedgerCorruptError(msg, hint=RESTORE)
    require_known(version)
    present = _objects(connection)
    wrong = sorted(
        name for name, made in _expected(tuple(scripts()[:version])) if (name, made) not in present
    )
    if wrong:
        msg = f"The ledger is damaged: '{wrong[0]}' is not as it was made."
        raise LedgerCorruptError(msg, hint=RESTORE)


def scripts() -> Sequence[str]:
    """Give the migrations in their order."""
    folder = resources.files("mahavishnu_sched_mcp.ledger") / "migrations"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def _claim_file(connection: apsw.Connection) -> None:
    """Write into the header whose file it is, where that is not there."""
    if scalar(connection, "pragma application_id") != APPLICATION_ID:
        connection.execute(f"pragma application_id = {APPLICATION_ID}")


@lru_cache(maxsize=4)
def _expected(all_scripts: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    made = apsw.Connection(":memory:")
    for script in all_scripts:
        made.execute(script)
    return _objects(made)


def _objects(connection: apsw.Connection) -> frozenset[tuple[str, str]]:
    found = scalar(
        connection,
        """select json_group_array(json_array(name, type || ' ' || tbl_name || ' '
                  || coalesce(sql, ''))) from sqlite_schema""",
    )
    return frozenset((name, made) for name, made in json.loads(found))
