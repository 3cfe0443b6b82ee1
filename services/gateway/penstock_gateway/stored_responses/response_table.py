"""The responses' table."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    LargeBinary,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)

from penstock_gateway.database.connect import metadata
from penstock_gateway.stored_responses.response_store import StoredResponse

#: A ``StoredResponse`` a row; ``created`` is in seconds since 1970.
responses = Table(
    "penstock_responses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("principal", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("input_items", LargeBinary, nullable=False),
    Index("penstock_responses_created", "created"),
    Index("penstock_responses_principal", "principal", "created", "size"),  # sizes are added up without the rows
)


def read_response(connection: Connection, principal: str, response_id: str, since: float) -> StoredResponse | None:
    """A response that ``principal`` has made since a time; None if there is none of that id."""
    wanted = select(responses.c.id, responses.c.response, responses.c.input_items).where(
        responses.c.id == response_id, responses.c.principal == principal, responses.c.created >= since
    )
    row = connection.execute(wanted).one_or_none()
    return None if row is None else StoredResponse(row.id, bytes(row.response), bytes(row.input_items))


def insert_response(connection: Connection, principal: str, created: float, stored: StoredResponse) -> None:
    connection.execute(
        insert(responses).values(
            id=stored.id,
            principal=principal,
            created=created,
            size=stored.size,
            response=stored.response,
            input_items=stored.input_items,
        )
    )


def delete_response(connection: Connection, principal: str, response_id: str) -> bool:
    """Whether there was one."""
    gone = delete(responses).where(responses.c.id == response_id, responses.c.principal == principal)
    return connection.execute(gone).rowcount > 0


def delete_older(connection: Connection, than: float) -> int:
    """Delete all responses that are older than a time; how many there were."""
    return connection.execute(delete(responses).where(responses.c.created < than)).rowcount


def delete_oldest(connection: Connection, principal: str, max_bytes: int) -> None:
    """Delete a principal's oldest responses until the others have ``max_bytes`` at most; the newest remains."""
    own = responses.c.principal == principal
    total = connection.execute(select(func.sum(responses.c.size)).where(own)).scalar_one()
    if total is None or total <= max_bytes:
        return
    newest_first = (responses.c.created.desc(), responses.c.id)
    ranked = select(
        responses.c.id,
        func.sum(responses.c.size).over(order_by=newest_first).label("total"),
        func.row_number().over(order_by=newest_first).label("rank"),
    ).where(own)
    sums = ranked.subquery()
    oldest = select(sums.c.id).where(sums.c.total > max_bytes, sums.c.rank > 1)
    connection.execute(delete(responses).where(responses.c.id.in_(oldest)))
