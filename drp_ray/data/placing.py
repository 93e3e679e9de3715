"""Which part every review and item goes to, and in which order."""

import duckdb

ITEMS_PER_PART = 20_000


def place_reviews(database: duckdb.DuckDBPyConnection, reviews_per_part: int) -> str:
    """Users in the order of their ids, a new part where the last has enough reviews; a user is never split.

    The name of the table with `row_id`, `part` and `position`: users in order, each one's reviews in time order.
    """
    database.execute(
        f"""create or replace table placed as
            select row_id, part, row_number() over (partition by part order by "user", kept.position) as position
            from kept join (
                select "user", (dense_rank() over (order by before // {reviews_per_part}) - 1)::integer as part
                from (select "user", sum(count(*)) over (order by "user") - count(*) as before
                      from kept group by "user")
            ) using ("user")"""
    )
    return "placed"


def place_items(database: duckdb.DuckDBPyConnection) -> str:
    """Items in the order of their ids, so many a part; the name of the table."""
    database.execute(
        f"""create or replace table placed as
            select row_id, (place // {ITEMS_PER_PART})::integer as part, place as position
            from (select row_id, row_number() over (order by item) - 1 as place from catalogue)"""
    )
    return "placed"
