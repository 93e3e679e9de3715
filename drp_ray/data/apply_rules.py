"""Which reviews, items and users stay: counting on ids alone, on DuckDB, which spills to disk what memory lacks.

Users and items are numbered in the order of their ids, so everything after the first join works on integers, and ties
are broken by item id where they are broken by item number. Every rule is one statement, and `Thinning.drops` says what
it removed. The result is the tables `kept` (every review that stays, with its user and its place among the user's
reviews), `inputs` (those that are held out) and `catalogue` (the items of both).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from drp_ray.data import rules
from drp_ray.data.rules import Rules
from drp_ray.errors import BadInput

FIRST_ITEMS = """
    create table items as
    select item_id, problem, first_row, (row_number() over (order by item_id) - 1)::integer as item
    from (select item_id, arg_min(coalesce(problem, ''), row_id) as problem, min(row_id) as first_row
          from raw_items group by item_id)"""
"""Number the items of `raw_items`; the first entry of each counts, and its problem is '' where there is none."""


class Drop(NamedTuple):
    """What a rule removed, and how many reviews it left."""

    rule: str
    dropped: int
    left: int


def open_database(scratch: Path, memory_gb: float, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A database in a folder of its own, which holds at most so much in memory and the rest there."""
    database = duckdb.connect(str(scratch / "ids.duckdb"))
    database.execute(f"set memory_limit = '{memory_gb}GB'")
    database.execute(f"set temp_directory = '{scratch / 'spilled'}'")
    database.execute("set preserve_insertion_order = false")
    database.execute("set enable_progress_bar = false")
    if threads is not None:
        database.execute(f"set threads = {threads}")
    return database


class Thinning:
    """Applies the rules one after the other; `drops` is the account of it."""

    def __init__(self, database: duckdb.DuckDBPyConnection, settings: Rules) -> None:
        self.drops: list[Drop] = []
        self.duplicate_items = 0
        self._database = database
        self._rules = settings
        database.execute(
            """create table raw_reviews
               (row_id bigint, user_id varchar, item_id varchar, timestamp bigint, text_hash bigint)"""
        )
        database.execute("create table raw_items (row_id bigint, item_id varchar, problem varchar)")

    def add_reviews(self, batch: pa.Table) -> None:
        """Take the ids of some reviews: the columns of `raw_reviews`."""
        self._database.register("batch", batch)
        self._database.execute(
            "insert into raw_reviews select row_id, user_id, item_id, timestamp, text_hash from batch"
        )
        self._database.unregister("batch")

    def add_items(self, batch: pa.Table) -> None:
        """Take the ids of some items: the columns of `raw_items`."""
        self._database.register("batch", batch)
        self._database.execute("insert into raw_items select row_id, item_id, problem from batch")
        self._database.unregister("batch")

    def note(self, rule: str, dropped: int, left: int) -> None:
        """Account for a rule.

        Raises:
            BadInput: it left nothing.
        """
        self.drops.append(Drop(rule, dropped, left))
        if left == 0:
            so_far = "; ".join(f"{drop.rule}: {drop.dropped:,}" for drop in self.drops if drop.dropped)
            raise BadInput(f"nothing is left after the rule {rule!r}; reviews dropped so far: {so_far or 'none'}")

    def run(self) -> None:
        """Apply all rules, in the order of `rules.ALL_RULES`.

        Raises:
            BadInput: a rule leaves nothing.
        """
        self._number_ids()
        self._join_items()
        self._drop_older_reviews()
        self._drop_repeated_texts()
        self._thin_out()
        self._hold_out()
        self._thin_out_profiles()
        self._keep()

    def _number_ids(self) -> None:
        self._run(
            FIRST_ITEMS,
            """create table users as
               select user_id, (row_number() over (order by user_id) - 1)::integer as "user"
               from (select distinct user_id from raw_reviews)""",
        )
        self.duplicate_items = self._count("raw_items") - self._count("items")

    def _join_items(self) -> None:
        """Reviews of good items, by number. Those of others are counted by what is wrong with the item."""
        before = self._count("raw_reviews")
        wrong = dict(
            self._rows(
                """select coalesce(problem, ?) as rule, count(*) from raw_reviews left join items using (item_id)
                   where problem is null or problem <> '' group by rule""",
                [rules.UNKNOWN_ITEM],
            )
        )
        for rule in (rules.UNKNOWN_ITEM, rules.NO_ITEM_TITLE, rules.DESCRIPTION):
            before -= wrong.get(rule, 0)
            self.note(rule, wrong.get(rule, 0), before)
        self._run(
            """create table joined as
               select "user", item, timestamp, row_id, text_hash
               from raw_reviews join users using (user_id) join items using (item_id) where problem = ''""",
            "drop table raw_reviews",
            "drop table raw_items",
        )

    def _drop_older_reviews(self) -> None:
        """One review of a user and item: the newest, and of equally new ones the last in the input."""
        self._run(
            """create table newest as
               select "user", item, last.timestamp as timestamp, last.row_id as row_id, last.text_hash as text_hash
               from (select "user", item, max({timestamp: timestamp, row_id: row_id, text_hash: text_hash}) as last
                     from joined group by "user", item)"""
        )
        self._replaced("joined", "newest", rules.OLDER_REVIEW)

    def _drop_repeated_texts(self) -> None:
        """One review of a user and text: the newest, and of equally new ones that of the greatest item id."""
        self._run(
            """create table pairs as
               select "user", last.item as item, last.timestamp as timestamp, last.row_id as row_id
               from (select "user", max({timestamp: timestamp, item: item, row_id: row_id}) as last
                     from newest group by "user", text_hash)"""
        )
        self._replaced("newest", "pairs", rules.REPEATED_TEXT)

    def _replaced(self, before: str, after: str, rule: str) -> None:
        left = self._count(after)
        self.note(rule, self._count(before) - left, left)
        self._run(f"drop table {before}")

    def _thin_out(self) -> None:
        """Items need reviewers, users need reviews and not too many: in turn, items first, until both hold."""
        self._in_turn(
            ["pairs"],
            {
                rules.RARE_ITEM: (
                    "item",
                    f"select item from pairs group by item having count(*) >= {self._rules.min_item_reviewers}",
                ),
                rules.USER_ACTIVITY: (
                    '"user"',
                    f"""select "user" from pairs group by "user"
                        having count(*) between {self._rules.min_user_reviews} and {self._rules.max_user_reviews}""",
                ),
            },
        )

    def _hold_out(self) -> None:
        """Part a user's last reviews from those before: tables `inputs` and `base`."""
        before, held_out = self._count("pairs"), self._rules.holdout
        self._run(
            """create table ordered as
               select *, row_number() over (partition by "user" order by timestamp, item) as position,
                      count(*) over (partition by "user") as reviews
               from pairs""",
            "drop table pairs",
            f"""create table inputs as
                select * from ordered where position > reviews - {held_out} and reviews >= {held_out}""",
            f"create table base as select * from ordered where position <= reviews - {held_out}",
            "drop table ordered",
        )
        left = self._count("inputs") + self._count("base")
        self.note(rules.NO_HOLDOUT, before - left, left)

    def _thin_out_profiles(self) -> None:
        """The same for what precedes the inputs. A user who leaves takes the inputs along; an item does not."""
        self._in_turn(
            ["base", "inputs"],
            {
                rules.RARE_PROFILE_ITEM: (
                    "item",
                    f"select item from base group by item having count(*) >= {self._rules.min_profile_item_reviewers}",
                ),
                rules.SHORT_PROFILE: (
                    '"user"',
                    f"""select "user" from (select distinct "user" from inputs) left join base using ("user")
                        group by "user" having count(item) >= {self._rules.min_profile_reviews}""",
                ),
            },
        )

    def _keep(self) -> None:
        """Table `kept`, and `catalogue`: the items that it names."""
        self._run(
            """create table kept as
               select "user", item, row_id, row_number() over (partition by "user" order by timestamp, item) as position
               from (select "user", item, timestamp, row_id from base
                     union all select "user", item, timestamp, row_id from inputs)""",
            "create table catalogue as select item, first_row as row_id from items semi join kept using (item)",
        )

    def _in_turn(self, tables: list[str], turns: dict[str, tuple[str, str]]) -> None:
        """Apply rules in turn until none removes anything, or nothing is left.

        A rule is the column that it looks at and a query for the values that stay. One about items concerns the first
        table only.
        """
        dropped = dict.fromkeys(turns, 0)
        total = left = sum(map(self._count, tables))
        rule, before = "", -1
        while left and left != before:
            before = left
            for rule, (column, staying) in turns.items():
                removed = self._keep_only(tables[:1] if column == "item" else tables, column, staying)
                dropped[rule] += removed
                left -= removed
                if not left:
                    break
        for name in sorted(dropped, key=lambda name: not left and name == rule):  # the one that emptied it comes last
            total -= dropped[name]
            self.note(name, dropped[name], total)

    def _keep_only(self, tables: list[str], column: str, staying: str) -> int:
        """Keep the rows whose value stays; how many rows leave."""
        self._run(f"create or replace temporary table staying as {staying}")
        removed = 0
        for table in tables:
            removed += self._count(table)
            self._run(
                f"create table remaining as select * from {table} semi join staying using ({column})",
                f"drop table {table}",
                f"alter table remaining rename to {table}",
            )
            removed -= self._count(table)
        return removed

    def _count(self, table: str) -> int:
        return self._rows(f"select count(*) from {table}")[0][0]

    def _rows(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        return self._database.execute(query, list(values)).fetchall()

    def _run(self, *statements: str) -> None:
        for statement in statements:
            self._database.execute(statement)
