"""Content-based recommendation: items like those in the user's history, by the words of titles and by categories.
Lops et al., "Content-based Recommender Systems: State of the Art and Trends", Recommender Systems Handbook 2011,
Sec. 3.3.1: TF-IDF vectors, a profile for each user, and the cosine between the two.

Needs the catalogue alone, so that items without any event are recommended too. Checked against the formula in plain
Python (tests/baselines/test_content.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from rec_jax.baselines.base import from_item_weights, train_matrix
from rec_jax.data.interactions import Catalogue
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer


@dataclass(frozen=True)
class ContentConfig:
    """What counts in an item's content."""

    title_weight: float = 1.0
    """Weight of the words of the title (0: left out)."""
    category_weight: float = 1.0
    """Weight of the categories (0: left out)."""


def fit_content(split: Split, config: ContentConfig, seed: int = 0) -> Scorer:
    """score(u, i) = cosine of item i's vector and u's profile: the sum of the vectors of u's train items.

    With S the cosines between items, <profile, v_i> is the sum of S[j, i] over u's items j, and the profile's squared
    norm the sum over pairs of them: scored by item weights, and unseen users fold in by their own histories.
    InputError: no item has a title or a category, or both weights are 0.
    """
    vectors = content_vectors(split.dataset.catalogue, config)
    cosines = (vectors @ vectors.T).toarray().astype(np.float32)

    def profiles(history: sp.csr_matrix) -> sp.csr_matrix:
        summed = history @ vectors
        norms = np.sqrt(np.asarray(summed.multiply(summed).sum(axis=1)).ravel())
        norms[norms == 0] = 1.0  # nothing is known of any of the user's items: every score is 0
        return (sp.diags(1 / norms) @ history).tocsr()

    return from_item_weights("content", train_matrix(split), cosines, profiles)


def content_vectors(catalogue: Catalogue, config: ContentConfig) -> sp.csr_matrix:
    """[n, f]: each item's vector, of norm 1, or 0 where neither title nor category is known.

    Words and categories give a TF-IDF vector of norm 1 each; these stand beside each other times their weights.
    InputError: no item has a title or a category, or a weight is negative, or both are 0.
    """
    title, category = config.title_weight, config.category_weight
    if min(title, category) < 0 or max(title, category) == 0:
        raise InputError(f"title_weight {title:g}, category_weight {category:g}: expected one above 0, none below")
    words = [tuple(re.findall(r"\w+", text.lower())) for text in catalogue.title]
    parts = [title * _tf_idf(words), category * _tf_idf(catalogue.categories)]
    if not sum(part.nnz for part in parts if part.data.any()):
        raise InputError("no item has a title or a category that counts: a content-based recommender needs a catalogue")
    vectors = sp.hstack(parts).tocsr()
    norms = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    norms[norms == 0] = 1.0
    return (sp.diags(1 / norms) @ vectors).tocsr()


def _tf_idf(documents: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """Rows of norm 1 (0 without terms): count times 1 + log((1 + n) / (1 + documents with the term)), normalised."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(documents):
        return sp.csr_matrix((len(documents), 0))
    return sp.csr_matrix(TfidfVectorizer(analyzer=tuple).fit_transform(documents))
