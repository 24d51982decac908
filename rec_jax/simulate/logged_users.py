"""Users fitted to a real log of ratings, who are shown slates: their liking is the log's, their clicks are declared.

A user is one of the log's. What the user thinks of item i, in units of the rating, is

    s_i = m + b_u + b_i + q_i · (p_u + drift · v) - boredom · g_i · h

with v the running mean of the vectors of what the user liked in this session, and h that of the genres of all that the
user clicked: liking is drawn towards what was liked, and wearies of genres that come again and again. Both are of the
last clicks, as in the log they are of the last ratings (`effects.py`): each click makes what was before it fade, and
adds its genres to h and, if it is liked, its vector to v. The chance of a like is P(rating >= like_from) of an ordered
logit at s_i.

A user reads the slate from the top, looks at place j with chance 1 / j^eta, clicks a document looked at with chance
appeal · P(like), and stops at the first click (Craswell et al., WSDM 2008, with the examination chances of Joachims et
al., WSDM 2017, Sec. 6.1). The clicked document is rated: a draw from the logit at s_i. Patience runs down with each
step, most where nothing is clicked, least after a like; who has none left, or has had all steps, is done.

From the log: liking, and of boredom and drift what the log shows of them (`Fitted`). Declared: how places are looked
at, appeal, patience, which candidates there are. No log without places can tell these. Candidates may be items that the
user of the log has rated: who comes has that user's taste, and no past (`unseen.py` gives them theirs).

Checked against the formulas in plain Python (tests/simulate/test_logged_users.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.simulate.base import Observation, Response, check_slate
from rec_jax.simulate.choice import choose, first_of, odds_of
from rec_jax.simulate.draws import uniform, weighted_distinct
from rec_jax.simulate.fitting import Fitted


class Users(NamedTuple):
    """Who is there, and what can be shown to each."""

    who: Int[Array, "n"]
    """Rows of the fitted users."""
    liked: Float[Array, "n d"]
    """Running mean of the vectors of what was liked."""
    recent: Float[Array, "n g"]
    """Running mean of the genres of what was clicked."""
    patience: Float[Array, "n"]
    steps: Int[Array, "n"]
    """Taken so far."""
    items: Int[Array, "n c"]
    """The candidates, different as `draws.weighted_distinct` draws them."""


@dataclass(frozen=True)
class LoggedUsers:
    """The simulator. InputError: a slate larger than the candidates, more candidates than items, or a number out of
    its range.

    `boredom` and `drift`: None for those of `fitted`.
    """

    fitted: Fitted
    candidates: int = 20
    slate: int = 5
    temper: float = 0.5
    """Candidates are drawn in proportion to (train ratings + 1) to this power: 0 uniform, 1 by popularity."""
    boredom: float | None = None
    """Units of rating lost by a document that has the genres of all of the last ones."""
    drift: float | None = None
    """How far the vector moves for each unit of the running mean of what was liked."""
    eta: float = 1.0
    """How fast attention falls with the place."""
    appeal: float = 0.5
    """Chance of a click on a document looked at that is liked for certain."""
    patience: float = 8.0
    cost: tuple[float, float, float] = (1.0, 0.5, 0.1)
    """Patience lost by a step without a click, with one that is not liked, with one that is."""
    budget: int = 50
    """Steps at most."""
    true_state: bool = False
    """Show policies the user's true vector and bias as they are now, and patience, not what a platform knows."""
    name: str = "logged_users"
    ends: bool = True

    def __post_init__(self) -> None:
        check_slate(self.slate, self.candidates)
        items = len(self.fitted.item)
        if self.candidates > items:
            raise InputError(f"candidates {self.candidates}: {self.fitted.name} has {items} items; draw fewer")
        for name in ("temper", "eta", "boredom", "drift"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InputError(f"{name} {value}: expected a number of at least 0")
        if not 0 < self.appeal <= 1:
            raise InputError(f"appeal {self.appeal}: expected a chance, above 0 and at most 1")
        costs = len(self.cost) == 3 and all(0 <= cost < np.inf for cost in self.cost)
        if not (costs and 0 < self.patience < np.inf and 1 <= self.budget < np.inf):
            raise InputError(
                f"patience {self.patience}, cost {self.cost}, budget {self.budget}: expected patience above 0, three "
                "costs of at least 0 and at least one step, all of them finite"
            )

    @property
    def width(self) -> int:
        """Of the vectors."""
        return self.fitted.item.shape[1]

    @property
    def genres(self) -> int:
        """How many there are."""
        return self.fitted.genres.shape[1]

    @property
    def user_width(self) -> int:
        """A user's vector, bias, and the genres of what was clicked; patience where `true_state`."""
        return self.width + 1 + self.genres + self.true_state

    @property
    def document_width(self) -> int:
        """A document's vector, bias, popularity, genres, and the chance of a like by what is shown of the user."""
        return self.width + 3 + self.genres

    @property
    def bored(self) -> float:
        """The boredom in force."""
        return self.fitted.boredom.used if self.boredom is None else self.boredom

    @property
    def drawn(self) -> float:
        """The drift in force."""
        return self.fitted.drift.used if self.drift is None else self.drift

    @property
    def popularity(self) -> Float[np.ndarray, "n"]:
        """ln(1 + train ratings), with mean 0 and standard deviation 1 over the catalogue."""
        log = np.log1p(self.fitted.count)
        return ((log - log.mean()) / max(float(log.std()), 1e-6)).astype(np.float32)

    @property
    def chances(self) -> Float[np.ndarray, "n"]:
        """Of each item to be the first candidate drawn."""
        weights = (self.fitted.count + 1.0) ** self.temper
        return (weights / weights.sum()).astype(np.float32)

    @property
    def examination(self) -> Float[np.ndarray, "k"]:
        """Chance to look at each place."""
        return (np.arange(1, self.slate + 1) ** -self.eta).astype(np.float32)

    def reset(self, key: Key[Array, ""], n: int) -> Users:
        """Users drawn at random, rested and patient."""
        bits = jax.random.bits(key, (n, 1 + self.candidates), jnp.uint32)
        nothing = jnp.zeros
        return Users(
            who=(bits[:, 0] % len(self.fitted.user)).astype(jnp.int32),
            liked=nothing((n, self.width)),
            recent=nothing((n, self.genres)),
            patience=jnp.full(n, self.patience, jnp.float32),
            steps=nothing(n, jnp.int32),
            items=weighted_distinct(bits[:, 1:], jnp.asarray(self.chances)),
        )

    def observe(self, state: Users) -> Observation:
        """What a platform knows of users (or, where `true_state`, what is true now), and the candidates."""
        of, who = self.fitted, state.who
        if self.true_state:
            user = jnp.asarray(of.user)[who] + self.drawn * state.liked, jnp.asarray(of.user_bias)[who, None]
            more = [state.patience[:, None] / self.patience]
        else:
            user = jnp.asarray(of.known)[who], jnp.asarray(of.known_bias)[who, None]
            more = []
        table = np.concatenate(
            [of.item, of.item_bias[:, None], self.popularity[:, None], of.genres], axis=1, dtype=np.float32
        )
        documents = jnp.asarray(table)[state.items]
        seen = Observation(jnp.concatenate([*user, state.recent, *more], axis=1), documents)
        # A product of two vectors takes a network long to learn, and a platform has it.
        chance = self.like(self.predicted(seen))
        return seen._replace(documents=jnp.concatenate([documents, chance[:, :, None]], axis=2))

    def predicted(self, observation: Observation) -> Float[Array, "n c"]:
        """The score of each candidate by what is seen of user and document: no boredom, no drift that is not seen."""
        d = self.width
        user, documents = observation.user, observation.documents
        products = jnp.einsum("nd,ncd->nc", user[:, :d], documents[:, :, :d])
        return self.fitted.mean + user[:, d, None] + documents[:, :, d] + products

    def popular(self, observation: Observation) -> Float[Array, "n c"]:
        """How popular each candidate is."""
        return observation.documents[:, :, self.width + 1]

    def weights(self, observation: Observation) -> tuple[Float[Array, "n c"], Float[Array, "n"]]:
        """The choice model that a platform would assume: odds of a click at a place looked at as often as the average
        one, against 1 for none. Exact for slates of one; where there are more, the true chances depend on places."""
        return odds_of(self.appeal * float(self.examination.mean()) * self.like(self.predicted(observation)))

    def like(self, score: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """P(rating >= like_from) at a score."""
        of = self.fitted.ratings
        return jax.nn.sigmoid(of.slope * score - of.cuts[of.lowest_like - 1])

    def scores(self, state: Users, items: Int[Array, "n k"]) -> Float[Array, "n k"]:
        """What users think of `items` now: hidden from policies."""
        of, who = self.fitted, state.who
        vector = jnp.asarray(of.user)[who] + self.drawn * state.liked
        base = of.mean + jnp.asarray(of.user_bias)[who, None] + jnp.asarray(of.item_bias)[items]
        liking = jnp.einsum("nd,nkd->nk", vector, jnp.asarray(of.item)[items])
        same = jnp.einsum("ng,nkg->nk", state.recent, jnp.asarray(of.genres)[items])
        return base + liking - self.bored * same

    def click_weights(self, like: Float[Array, "n k"]) -> tuple[Float[Array, "n k"], Float[Array, "n"]]:
        """The chance of a click on each place, and of none, by the chances of a like."""
        return first_of(jnp.asarray(self.examination) * self.appeal * like)

    def step(self, key: Key[Array, ""], state: Users, slates: Int[Array, "n k"]) -> tuple[Users, Response]:
        """At most one document is clicked and rated. The reward is its rating's share of the scale, (r - lowest) /
        (highest - lowest), and 0 where nothing is clicked; `done`: no patience is left, or no step."""
        n, k = slates.shape
        of, ratings = self.fitted, self.fitted.ratings
        bits = jax.random.bits(key, (n, 2 + self.candidates), jnp.uint32)
        items = jnp.take_along_axis(state.items, slates, axis=1)
        score = self.scores(state, items)
        like = self.like(score)
        chosen = choose(uniform(bits[:, 0]), *self.click_weights(like))
        clicked = chosen[:, None] == jnp.arange(k)
        any_click = chosen < k

        of_chosen = jnp.where(clicked, score, 0).sum(axis=1)
        below = jax.nn.sigmoid(jnp.asarray(ratings.cuts, jnp.float32) - ratings.slope * of_chosen[:, None])
        level = (uniform(bits[:, 1])[:, None] > below).sum(axis=1)
        rating = jnp.where(any_click, jnp.asarray(ratings.levels, jnp.float32)[level], 0)
        likes = any_click & (level >= ratings.lowest_like)
        low, high = ratings.levels[0], ratings.levels[-1]

        item = jnp.where(clicked, items, 0).sum(axis=1)
        rate = any_click[:, None] / of.memory
        vector = jnp.where(likes[:, None], jnp.asarray(of.item)[item], 0)
        genres = jnp.where(any_click[:, None], jnp.asarray(of.genres)[item], 0)
        none, dull, good = self.cost
        after = Users(
            who=state.who,
            liked=(1 - rate) * state.liked + rate * vector,
            recent=(1 - rate) * state.recent + rate * genres,
            patience=state.patience - jnp.where(any_click, jnp.where(likes, good, dull), none),
            steps=state.steps + 1,
            items=weighted_distinct(bits[:, 2:], jnp.asarray(self.chances)),
        )
        signals = {
            "rating": jnp.where(clicked, rating[:, None], 0),
            "like": (clicked & likes[:, None]).astype(jnp.float32),
            "chance": like,
        }
        reward = jnp.where(any_click, (rating - low) / (high - low), 0)
        return after, Response(clicked, signals, reward, (after.patience <= 0) | (after.steps >= self.budget))
