"""From a part's reviews to the rows of train, val and test: computed on positions, no text is looked at."""

import numpy as np
import pyarrow as pa

from drp_ray import schema
from drp_ray.data.rules import Rules


def split_users(reviews: pa.Table, rules: Rules) -> dict[str, pa.Table]:
    """The rows of every split that has inputs: one for every input of a user; the profile is what precedes the input.

    `reviews` has a user's reviews together, in time order, with the columns of a review and `user_id`.
    """
    structs = pa.StructArray.from_arrays(
        [reviews[field.name].combine_chunks() for field in schema.REVIEW], fields=list(schema.REVIEW)
    )
    users = reviews["user_id"].combine_chunks()
    begins, ends = _bounds(users)
    return {
        name: _rows(users, structs, begins, ends - rules.holdout, np.arange(inputs.start, inputs.stop))
        for name, inputs in rules.splits.items()
        if inputs
    }


def _bounds(users: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Where every user's reviews begin and end."""
    codes = users.dictionary_encode().indices.to_numpy()
    begins = np.flatnonzero(np.diff(codes, prepend=-1))
    return begins, np.append(begins[1:], len(codes))


def _rows(
    users: pa.Array, reviews: pa.StructArray, begins: np.ndarray, first_inputs: np.ndarray, inputs: np.ndarray
) -> pa.Table:
    targets = (first_inputs[:, None] + inputs[None, :]).ravel()
    owners = np.repeat(begins, len(inputs))
    lengths = targets - owners
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths) + np.repeat(owners, lengths)
    profiles = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), reviews.take(pa.array(positions, pa.int64())))
    at = pa.array(targets, pa.int64())
    return pa.Table.from_arrays(
        [users.take(at), profiles.cast(schema.USERS.field("profile").type), reviews.take(at)], schema=schema.USERS
    )
