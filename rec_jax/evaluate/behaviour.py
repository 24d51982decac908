"""The chance with which a logging policy took each logged action, where the log does not tell it: estimated.

What rests on it is `propensities="estimated"` (`off_policy.Log`), and says so wherever it is shown. A weight of one
over a chance that is off by a half is off by as much: log the chances where that can be had.

Checked against counts in plain Python, and on logs of policies that are known (tests/evaluate/test_behaviour.py).
"""

import numpy as np
from jaxtyping import Float, Int

from rec_jax.errors import InputError


def by_share(
    action: Int[np.ndarray, "m"], actions: int, group: Int[np.ndarray, "_"] | None = None, smoothing: float = 0.0
) -> Float[np.ndarray, "m"]:
    """(n[g, a] + smoothing) / (n[g] + smoothing · actions), of a policy that looks at nothing but the group (a place).

    InputError: as `check`, a smoothing below 0 or not finite, groups of another number of rounds, or one below 0.
    """
    check(action, actions)
    if not 0 <= smoothing < np.inf:
        raise InputError(f"smoothing {smoothing:g}: expected a finite number of at least 0")
    group = np.zeros(len(action), np.int64) if group is None else group
    if len(group) != len(action):
        raise InputError(f"{len(group):,} groups of {len(action):,} rounds: expected one a round")
    if len(wrong := np.flatnonzero(group < 0)):
        raise InputError(f"round {wrong[0]}: group {group[wrong[0]]}: expected at least 0")
    count = np.zeros((int(group.max()) + 1, actions))
    np.add.at(count, (group, action), 1)
    return (count[group, action] + smoothing) / (count.sum(axis=1)[group] + smoothing * actions)


def by_context(
    action: Int[np.ndarray, "m"],
    actions: int,
    context: Float[np.ndarray, "_ d"],
    *,
    folds: int = 3,
    inverse_penalty: float = 1.0,
    seed: int = 0,
) -> Float[np.ndarray, "m"]:
    """By a multinomial logistic regression of the action on the context, fitted on the folds that a round is not in.

    An action that the other folds never took has the share it has in the whole log.
    InputError: as `check`, under two folds or more than rounds, contexts of another number of rounds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    check(action, actions)
    if not 2 <= folds <= len(action) or len(context) != len(action) or inverse_penalty <= 0:
        raise InputError(
            f"folds {folds}, inverse_penalty {inverse_penalty:g}, {len(context):,} contexts of {len(action):,} rounds: "
            "expected 2 folds or more, at most one a round, a number above 0, and a context a round"
        )
    found = by_share(action, actions)
    for seen, unseen in KFold(folds, shuffle=True, random_state=seed).split(context):
        taken = np.unique(action[seen])
        if len(taken) < 2:
            continue
        model = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(context[seen], action[seen])
        place = np.full(actions, -1)
        place[model.classes_] = np.arange(len(taken))
        at = place[action[unseen]]
        chance = model.predict_proba(context[unseen])[np.arange(len(unseen)), np.maximum(at, 0)]
        found[unseen] = np.where(at >= 0, chance, found[unseen])
    return found


def check(action: Int[np.ndarray, "m"], actions: int) -> None:
    """InputError: no round, or an action that is none of `actions`: the first such round is named."""
    if len(action) == 0:
        raise InputError("a log of no round: expected at least one")
    wrong = np.flatnonzero((action < 0) | (action >= actions))
    if len(wrong):
        raise InputError(f"round {wrong[0]}: action {action[wrong[0]]}: expected 0 to {actions - 1}")
