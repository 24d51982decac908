"""The cells of He et al., "LightGCN", SIGIR 2020, on Gowalla.

    python -m papers_repro run lightgcn --cells lightgcn          (about 2 hours on one core)

Width 64, three layers, BPR with one negative that the user has not; large steps, so that the propagation, which every
step does once, is shared by many pairs.
"""

from dataclasses import replace

from papers_repro.paper import Cell
from rec_jax import registry
from rec_jax.config import Experiment, Optimization, Protocol, Stopping
from rec_jax.objectives.pairwise import Pairwise

PROTOCOL = Protocol("authors", candidates=("full",), refit=True, choice_seed=1, trace_test=True)
# As often as the authors look at test, and as patiently.
STOPPING = Stopping(metric="ndcg@20", rule="full", every=20, patience=5)
EPOCHS, TRIALS = 400, 12
# Half of the authors' 1e-4, as in their code, and averaged over the pair's two items; pairs are drawn as theirs.
LOSS = Pairwise(exclude_positives=True, l2=5e-5, even_users=True)


def trained(model: str) -> Experiment:
    """A model of 64 factors under BPR."""
    experiment = registry.experiment(
        model,
        "bpr",
        data="gowalla",
        protocol=PROTOCOL,
        stopping=STOPPING,
        epochs=EPOCHS,
        loss=LOSS,
        optimization=Optimization(learning_rate=0.01, batch_size=16_384),
    )
    return replace(experiment, architecture=replace(experiment.architecture, factors=64))


def cells() -> list[Cell]:
    """LightGCN, the same without its graph, and baselines."""
    plain = replace(PROTOCOL, choice_seed=0, trace_test=False)
    baseline = {
        name: registry.experiment(name, data="gowalla", protocol=plain, stopping=STOPPING)
        for name in ("popularity", "itemknn", "ease")
    }
    constant = trained("lightgcn")
    falling = replace(constant.optimization, decay="cosine", decay_epochs=100)
    never = replace(STOPPING, patience=0)
    factors = trained("mf")
    unbiased = replace(factors, architecture=replace(factors.architecture, biases=False))
    return [
        Cell("lightgcn", constant, headline=True, minutes=120),
        Cell("lightgcn-decay", replace(constant, optimization=falling, stopping=never, epochs=100), minutes=40),
        Cell("mf-bpr", unbiased, trials=6, minutes=90),
        Cell("itemknn", baseline["itemknn"], trials=TRIALS, minutes=15),
        Cell("popularity", baseline["popularity"], minutes=1),
        Cell("ease", baseline["ease"], not_run="memory: two matrices of 40,981 squared in double precision are 27 GB"),
    ]
