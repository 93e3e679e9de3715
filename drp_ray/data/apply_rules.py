"""Which reviews, items and users stay: counting on ids alone, in DuckDB.

Users and items are numbered in the order of their ids, so everything after the first join works on integers, and where
a tie is broken by the greater item number, it is broken by the greater item id. Every rule is one SQL statement, and
`RuleFilter.drops` says what it removed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from drp_ray.data import rules
from drp_ray.data.database import insert_rows
from drp_ray.data.rules import Drop, Rules
from drp_ray.errors import BadInput

REVIEW_COLUMNS = ["row_id", "user_id", "item_id", "timestamp", "text_hash"]
ITEM_COLUMNS = ["row_id", "item_id", "problem"]
CREATE_RAW_ITEMS = "create table raw_items (row_id bigint, item_id varchar, problem varchar)"
NUMBER_ITEMS = """
    create table items as
    select item_id, problem, first_row, (row_number() over (order by item_id) - 1)::integer as item
    from (select item_id, arg_min(coalesce(problem, ''), row_id) as problem, min(row_id) as first_row
          from raw_items group by item_id)"""
"""The first entry of an item counts; its `problem` is the rule that it breaks, '' where it breaks none."""


class Threshold(NamedTuple):
    """A rule about how often a value occurs: `staying` selects the values of `column` that occur often enough."""

    rule: str
    column: str
    staying: str


class RuleFilter:
    """Applies the rules about several rows, one after the other; `drops` says how many reviews each removed.

    The result is the tables `kept` (every review that stays, with its user and its place among the user's reviews),
    `inputs` (those of them that are held out) and `catalogue` (the items of all of them).
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, settings: Rules) -> None:
        self.drops: list[Drop] = []
        self.duplicate_items = 0
        self._database = database
        self._rules = settings
        self._run(
            """create table raw_reviews
               (row_id bigint, user_id varchar, item_id varchar, timestamp bigint, text_hash bigint)""",
            CREATE_RAW_ITEMS,
        )

    def account_for(self, rule: str, dropped: int, left: int) -> None:
        """Note what a rule removed.

        Raises:
            BadInput: it left nothing.
        """
        self.drops.append(Drop(rule, dropped, left))
        if left == 0:
            so_far = "; ".join(f"{drop.rule}: {drop.dropped:,}" for drop in self.drops if drop.dropped)
            raise BadInput(f"nothing is left after the rule {rule!r}; reviews dropped so far: {so_far or 'none'}")

    def apply(self, reviews: Iterable[pa.Table], items: Iterable[pa.Table]) -> None:
        """Apply the rules from `UNKNOWN_ITEM` on, in the order in which `rules` names them.

        The tables have the columns `REVIEW_COLUMNS` and `ITEM_COLUMNS`.

        Raises:
            BadInput: a rule leaves nothing.
        """
        for batch in items:
            insert_rows(self._database, "raw_items", batch)
        for batch in reviews:
            insert_rows(self._database, "raw_reviews", batch)
        self._number_ids()
        self._drop_reviews_of_bad_items()
        self._drop_older_reviews()
        self._drop_repeated_texts()
        self._apply_thresholds()
        self._hold_out()
        self._apply_profile_thresholds()
        self._keep()

    def _number_ids(self) -> None:
        self._run(
            NUMBER_ITEMS,
            """create table users as
               select user_id, (row_number() over (order by user_id) - 1)::integer as "user"
               from (select distinct user_id from raw_reviews)""",
        )
        self.duplicate_items = self._count("raw_items") - self._count("items")

    def _drop_reviews_of_bad_items(self) -> None:
        """Keep reviews of items without a problem, with numbers for ids."""
        left = self._count("raw_reviews")
        problems = self._database.execute(
            """select coalesce(problem, ?) as rule, count(*) from raw_reviews left join items using (item_id)
               where problem is null or problem <> '' group by rule""",
            [rules.UNKNOWN_ITEM],
        )
        dropped: dict[str, int] = dict(problems.fetchall())
        for rule in (rules.UNKNOWN_ITEM, rules.NO_ITEM_TITLE, rules.DESCRIPTION):
            left -= dropped.get(rule, 0)
            self.account_for(rule, dropped.get(rule, 0), left)
        self._run(
            """create table joined as
               select "user", item, timestamp, row_id, text_hash
               from raw_reviews join users using (user_id) join items using (item_id) where problem = ''""",
            "drop table raw_reviews",
            "drop table raw_items",
        )

    def _drop_older_reviews(self) -> None:
        """Keep one review of a user and item: the newest, and of equally new ones the last in the input."""
        self._run(
            """create table newest as
               select "user", item, last.timestamp as timestamp, last.row_id as row_id, last.text_hash as text_hash
               from (select "user", item, max({timestamp: timestamp, row_id: row_id, text_hash: text_hash}) as last
                     from joined group by "user", item)"""
        )
        self._replace("joined", "newest", rules.OLDER_REVIEW)

    def _drop_repeated_texts(self) -> None:
        """Keep one review of a user and text: the newest, and of equally new ones that of the greatest item id."""
        self._run(
            """create table pairs as
               select "user", last.item as item, last.timestamp as timestamp, last.row_id as row_id
               from (select "user", max({timestamp: timestamp, item: item, row_id: row_id}) as last
                     from newest group by "user", text_hash)"""
        )
        self._replace("newest", "pairs", rules.REPEATED_TEXT)

    def _replace(self, before: str, after: str, rule: str) -> None:
        left = self._count(after)
        self.account_for(rule, self._count(before) - left, left)
        self._run(f"drop table {before}")

    def _apply_thresholds(self) -> None:
        """Items need reviewers, users need reviews and not too many: in turn, items first, until both hold."""
        items = f"select item from pairs group by item having count(*) >= {self._rules.min_item_reviewers}"
        users = f"""select "user" from pairs group by "user"
                    having count(*) between {self._rules.min_user_reviews} and {self._rules.max_user_reviews}"""
        self._apply_in_turn(
            ["pairs"], [Threshold(rules.RARE_ITEM, "item", items), Threshold(rules.USER_ACTIVITY, '"user"', users)]
        )

    def _hold_out(self) -> None:
        """Separate a user's last reviews from those before: tables `inputs` and `base`."""
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
        self.account_for(rules.NO_HOLDOUT, before - left, left)

    def _apply_profile_thresholds(self) -> None:
        """The same for what precedes the inputs. Inputs of a dropped user go too; those about a dropped item stay."""
        items = f"select item from base group by item having count(*) >= {self._rules.min_profile_item_reviewers}"
        users = f"""select "user" from (select distinct "user" from inputs) left join base using ("user")
                    group by "user" having count(item) >= {self._rules.min_profile_reviews}"""
        self._apply_in_turn(
            ["base", "inputs"],
            [Threshold(rules.RARE_PROFILE_ITEM, "item", items), Threshold(rules.SHORT_PROFILE, '"user"', users)],
        )

    def _keep(self) -> None:
        """Make table `kept`, and `catalogue`: the items that it names."""
        self._run(
            """create table kept as
               select "user", item, row_id, row_number() over (partition by "user" order by timestamp, item) as position
               from (select "user", item, timestamp, row_id from base
                     union all select "user", item, timestamp, row_id from inputs)""",
            "create table catalogue as select item, first_row as row_id from items semi join kept using (item)",
        )

    def _apply_in_turn(self, tables: list[str], thresholds: Sequence[Threshold]) -> None:
        """Apply thresholds in turn until none removes anything, or nothing is left.

        A threshold of items removes rows of the first table only.
        """
        dropped = {threshold.rule: 0 for threshold in thresholds}
        total = left = sum(map(self._count, tables))
        before = -1
        while left not in (0, before):
            before = left
            for rule, column, staying in thresholds:
                removed = self._keep_only(tables[:1] if column == "item" else tables, column, staying)
                dropped[rule] += removed
                left -= removed
                if not left:
                    dropped[rule] = dropped.pop(rule)  # to the end, so that the error names the rule that left nothing
                    break
        for rule, count in dropped.items():
            total -= count
            self.account_for(rule, count, total)

    def _keep_only(self, tables: list[str], column: str, staying: str) -> int:
        """Keep the rows whose value of `column` the query `staying` selects; how many rows were removed."""
        self._run(f"create or replace temporary table staying as {staying}")
        before = sum(map(self._count, tables))
        for table in tables:
            self._run(
                f"create table remaining as select * from {table} semi join staying using ({column})",
                f"drop table {table}",
                f"alter table remaining rename to {table}",
            )
        return before - sum(map(self._count, tables))

    def _count(self, table: str) -> int:
        found: Any = self._database.execute(f"select count(*) from {table}").fetchone()
        return int(found[0])

    def _run(self, *statements: str) -> None:
        for statement in statements:
            self._database.execute(statement)
