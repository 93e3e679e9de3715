"""The columns of every dataset, in one place, so that code, files and text use the same names."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Row = Mapping[str, Any]
"""A row, or a struct in one, whose fields have the names below."""

REVIEW = pa.struct(
    [
        ("item_id", pa.string()),
        ("rating", pa.float64()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("timestamp", pa.int64()),  # milliseconds since 1970
    ]
)
"""One review. Only `title` may be null."""

USERS = pa.schema([("user_id", pa.string()), ("profile", pa.list_(REVIEW)), ("target", REVIEW)])

CATALOGUE = pa.schema([("item_id", pa.string()), ("title", pa.string()), ("description", pa.string())])

RETRIEVED = pa.schema(
    [
        ("user_id", pa.string()),
        ("history", pa.list_(pa.int32())),
        ("eligible", pa.list_(pa.int32())),
    ]
)

PEER_REVIEW = pa.struct(
    [
        ("user_id", pa.string()),
        ("rating", pa.float64()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("timestamp", pa.int64()),
        ("text_id", pa.string()),
        ("embedded_in", pa.int32()),
    ]
)
"""A review of a known item. `text_id` names its text in part `embedded_in` of `embeddings`."""

ITEMS = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("reviews", pa.list_(PEER_REVIEW)),
        (
            "requested_by",
            pa.list_(
                pa.struct(
                    [("user_id", pa.string()), ("rank", pa.int32()), ("target_timestamp", pa.int64())],
                )
            ),
        ),
    ]
)

EMBEDDINGS = pa.schema([("text_id", pa.string()), ("vector", pa.list_(pa.float32()))])

REPRESENTATIVE = pa.struct(
    [
        ("user_id", pa.string()),
        ("cluster", pa.int32()),
        ("rating", pa.float64()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("timestamp", pa.int64()),
    ]
)

COMPARISONS = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        ("review", REVIEW),
        ("title", pa.string()),
        ("description", pa.string()),
        ("cluster", pa.int32()),
        ("representatives", pa.list_(REPRESENTATIVE)),
        ("target_timestamp", pa.int64()),
    ]
)

FEATURE = pa.struct([("name", pa.string()), ("definition", pa.string()), ("description", pa.string())])
"""One difference between a user and others, as DRP's output format names its parts."""

CALL_COLUMNS = (
    pa.field("status", pa.string()),
    pa.field("error", pa.string()),
    pa.field("attempts", pa.int32()),
    pa.field("prompt_tokens", pa.int64()),
    pa.field("cached_tokens", pa.int64()),
    pa.field("completion_tokens", pa.int64()),
    pa.field("finish_reason", pa.string()),
    pa.field("truncated", pa.bool_()),
    pa.field("thinking_tokens", pa.int64()),
    pa.field("unfinished_thinking", pa.int32()),
    pa.field("seeds", pa.list_(pa.int64())),
    pa.field("cut_off", pa.int32()),
    pa.field("preambles", pa.int32()),
)
"""What every row made by a language model says about its calls (tokens are summed over the calls).

`unfinished_thinking` counts the calls whose thinking never ended, `cut_off` those whose reply ended by the length
limit, and `preambles` those in which the model talked before the marker of its answer; `seeds` are those that the
engine was given, in the order of the calls, and none where it takes none.
"""

DIFFERENCES = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        ("title", pa.string()),
        ("representatives", pa.list_(pa.string())),
        ("extracted", pa.string()),
        ("validated", pa.string()),
        ("features", pa.list_(FEATURE)),
        *CALL_COLUMNS,
    ]
)

HISTORY_ENTRY = pa.struct(
    [
        ("item_id", pa.string()),
        ("item_title", pa.string()),
        ("item_description", pa.string()),
        ("rating", pa.float64()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("timestamp", pa.int64()),
    ]
)
"""A past review with what is known of its item."""

TARGET = pa.struct(
    [
        ("item_id", pa.string()),
        ("item_title", pa.string()),
        ("item_description", pa.string()),
        ("rating", pa.float64()),
        ("title", pa.string()),
        ("timestamp", pa.int64()),
    ]
)
"""What the generator may know of the review it is to write: everything but its text."""

DIFFERENCE = pa.struct(
    [("rank", pa.int32()), ("item_id", pa.string()), ("item_title", pa.string()), ("text", pa.string())]
)

PEERS = pa.schema(
    [
        ("user_id", pa.string()),
        ("reviews", pa.list_(pa.struct([("user_id", pa.string()), *REVIEW]))),
    ]
)
"""The reviews by others that a method shows beside a user's own, the best first."""

PEER_ENTRY = pa.struct([("user_id", pa.string()), *HISTORY_ENTRY])
"""A review by another user with what is known of its item."""

CONTEXTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("target", TARGET),
        ("reference", pa.string()),
        ("history", pa.list_(HISTORY_ENTRY)),
        ("differences", pa.list_(DIFFERENCE)),
        ("profile", pa.list_(HISTORY_ENTRY)),
        ("peers", pa.list_(PEER_ENTRY)),
        ("n_comparisons", pa.int32()),
        ("n_no_difference", pa.int32()),
        ("n_failed_differences", pa.int32()),
    ]
)
"""`profile` (the whole profile in time order) and `peers` are null where the method does not need them.

Of a user's `n_comparisons`, `n_no_difference` found that nothing sets the user apart and `n_failed_differences` are
error rows; `differences` has the others.
"""

PREDICTIONS = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("method", pa.string()),
        ("fallback", pa.string()),
        ("summary", pa.string()),
        ("prediction", pa.string()),
        ("reference", pa.string()),
        ("n_history", pa.int32()),
        ("n_differences", pa.int32()),
        ("n_failed_differences", pa.int32()),
        *CALL_COLUMNS,
    ]
)
"""`method` is the one that wrote the row: a simpler one than configured for the reason that `fallback` names.

`n_failed_differences` counts the user's comparisons that are error rows.
"""

JUDGEMENTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("text", pa.string()),
        ("sample", pa.int32()),
        ("score", pa.int32()),
        ("answer", pa.string()),
        ("expected", pa.float64()),
        ("format_trust", pa.float64()),
        *CALL_COLUMNS,
    ]
)
"""One answer of a judge on one text: `text` says which, and `sample` counts from 0.

In the stage `judgements` that is the `prediction`, in `control_judgements` a control (`reference`, `own_review` or
`other_review`).

`score` and `expected` lie between 0 and 10. `answer` is the reply that was read, or in an error row the last one that
could not be. `format_trust` is the probability that the model begins with a label of the scale by itself. A user
without the text has rows that are ok and say nothing: there was nothing to judge.
"""

FEATURE_KEYS = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        (
            "keys",
            pa.list_(
                pa.struct(
                    [
                        ("index", pa.int32()),
                        ("name", pa.string()),
                        ("readable", pa.bool_()),
                        ("key", pa.string()),
                        ("direction", pa.int32()),
                    ]
                )
            ),
        ),
        ("failed", pa.bool_()),
        *CALL_COLUMNS,
    ]
)
"""What a judge put every feature of a row of `DIFFERENCES` under: `index` is its place there.

An answer that is not `readable` is missing. `key` is null for `other`; `direction` is 1 or -1. `failed`: the row of
`DIFFERENCES` is an error row, and nothing was asked.
"""

CONTROLS = pa.schema(
    [
        ("user_id", pa.string()),
        ("other_review", pa.string()),
        ("own_review", pa.string()),
        ("swapped_user", pa.string()),
        ("authors", pa.list_(pa.struct([("user_id", pa.string()), ("reviews", pa.list_(pa.string()))]))),
    ]
)
"""Texts to compare a user's prediction with; each is null where the dataset has none (`stages/controls.py`).

`authors` are five reviewers of the target's item, the user among them, in the order of their ids.
"""

MAY_BE_EMPTY: Mapping[str, pa.Schema] = {
    "items": ITEMS,
    "embeddings": EMBEDDINGS,
    "comparisons": COMPARISONS,
    "differences": DIFFERENCES,
    "feature_keys": FEATURE_KEYS,
}
"""The stages that have no parts, and so no file that says their columns, where no user can be compared with others."""
