"""Flax linen modules, one paper (family) a file: parameters and forward pass, nothing else.

A module here scores users against items through three methods:

- `__call__(query, items[b, k]) -> [b, k]`: the scores of given items, in training and of candidates;
- `prepare() -> cache`: what does not depend on the user, computed once an evaluation;
- `scores(cache, query) -> [b, n]`: the whole catalogue.

It sows the squared norms of the vectors it looked up, as `losses/l2_user` [b] and `losses/l2_item` [b, k], for
objectives that penalise them, and names in `user_tables` the parameters that hold one row a user: these alone are
learnt when an unseen user is folded in; without them, none can be.

A module that reads the log itself (ratings, graphs) has two methods more:

- `fixed(data) -> {collection: arrays}`: linen collections that are kept beside the parameters and not trained;
- `candidates(cache, query, items[b, k]) -> [b, k]`: the scores of candidates from the cache, where that is less work.

A module with `reads` above 0 finds the user's last so many events in `query.history`: in training, those before the
event that is scored. A model of sequences reads it too, and is one of `sequence.SequenceModel`: states of a history,
and vectors of the items.
"""
