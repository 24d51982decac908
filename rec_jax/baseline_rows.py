"""The registry's rows of the baselines, one each, and what is tuned of them."""

from rec_jax.baselines import content, ease, fm, graph, ials, neighbours, nmf, popularity, slim, svd
from rec_jax.rows import Baseline, Space
from rec_jax.space import Choice, Real, Whole

_NEIGHBOURS = {"architecture.neighbours": Whole(5, 1000)}
_KNN: Space = {
    **_NEIGHBOURS,
    "architecture.shrink": Whole(0, 1000, log=False),
    "architecture.similarity": Choice(("cosine", "asymmetric")),
    "architecture.alpha": Real(0.0, 1.0, log=False),
    "architecture.weighting": Choice(("none", "tf-idf", "bm25")),
}

BASELINES: dict[str, Baseline] = {
    "random": Baseline("chance", popularity.RandomConfig, popularity.fit_random, seeded=True),
    "popularity": Baseline(
        "most train events, of all time or lately", popularity.PopularityConfig, popularity.fit_popularity
    ),
    "itemknn": Baseline("nearest items by cosine", neighbours.ItemKNNConfig, neighbours.fit_item_knn, _KNN),
    "userknn": Baseline(
        "nearest users by cosine",
        neighbours.UserKNNConfig,
        neighbours.fit_user_knn,
        {**_KNN, "architecture.reverse": Choice((False, True))},
    ),
    "p3alpha": Baseline(
        "random walks of three steps",
        graph.P3alphaConfig,
        graph.fit_p3alpha,
        {**_NEIGHBOURS, "architecture.alpha": Real(0.0, 2.0, log=False)},
    ),
    "rp3beta": Baseline(
        "random walks, popularity discounted",
        graph.RP3betaConfig,
        graph.fit_rp3beta,
        {
            **_NEIGHBOURS,
            "architecture.alpha": Real(0.0, 2.0, log=False),
            "architecture.beta": Real(0.0, 2.0, log=False),
        },
    ),
    "ease": Baseline(
        "linear autoencoder in closed form", ease.EASEConfig, ease.fit_ease, {"architecture.l2": Real(1.0, 1e4)}
    ),
    "slim": Baseline(
        "sparse linear item weights by the elastic net",
        slim.SLIMConfig,
        slim.fit_slim,
        {**_NEIGHBOURS, "architecture.penalty": Real(1e-3, 1.0), "architecture.l1_ratio": Real(1e-5, 1.0)},
    ),
    "puresvd": Baseline(
        "truncated singular value decomposition",
        svd.PureSVDConfig,
        svd.fit_pure_svd,
        {"architecture.factors": Whole(2, 250)},
    ),
    "nmf": Baseline(
        "non-negative matrix factorisation",
        nmf.NMFConfig,
        nmf.fit_nmf,
        {
            "architecture.factors": Whole(5, 200),
            "architecture.init": Choice(("nndsvda", "random")),
            "architecture.penalty": Real(1e-7, 1e-2),
            "architecture.l1_ratio": Real(0.0, 1.0, log=False),
        },
        seeded=True,
    ),
    "ials": Baseline(
        "implicit alternating least squares",
        ials.IALSConfig,
        ials.fit_ials,
        {
            "architecture.factors": Choice((16, 32, 64, 128, 192)),
            "architecture.unobserved_weight": Real(0.01, 1.0),
            "architecture.reg": Real(1e-4, 0.1),
        },
        seeded=True,
    ),
    "content": Baseline(
        "TF-IDF of titles and categories",
        content.ContentConfig,
        content.fit_content,
        {"architecture.title_weight": Real(0.05, 5.0), "architecture.category_weight": Real(0.05, 5.0)},
    ),
    "fm": Baseline(
        "factorization machine with time, user attributes and categories",
        fm.FMConfig,
        fm.fit_fm,
        {
            "architecture.factors": Choice((8, 16, 32, 64)),
            "architecture.rounds": Whole(5, 80),
            "architecture.step_size": Real(1e-3, 2e-2),
            "architecture.l2": Real(1e-5, 1e-1),
        },
        seeded=True,
        folds_in=False,
    ),
}
