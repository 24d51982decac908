"""The cells of Ie et al., "SlateQ", IJCAI 2019 (arXiv:1905.12767), Table 1.

    python -m papers_repro run slateq --cells 'QL-OT-OS'              (about a minute a seed on one core)

300,000 steps of users in training and 5,000 test users, as in the paper; how each policy learns was chosen on other
users with a seed of its own, alike for all of the paper's policies.
"""

from experiments.policy import PolicyExperiment
from papers_repro.paper import Cell
from rec_jax.policies.slateq import SlateQ

LEARNED = ("MYOP-TS", "MYOP-GS", "SARSA-TS", "SARSA-GS", "QL-TT-TS", "QL-GT-GS", "QL-OT-TS", "QL-OT-GS", "QL-OT-OS")
FIXED = ("random", "interest", "good topics")
PAPER = SlateQ(discount=1.0)
NONE = SlateQ(discount=1.0, q_none=True)
FAR = SlateQ(discount=1.0, q_none=True, steps_ahead=10, warmup=100)
NEAR = SlateQ(discount=1.0, q_none=True, steps_ahead=5)


def cells() -> list[Cell]:
    """The paper's policies under both choice models, and ours: what choosing none is worth learnt, and more steps."""
    found = []
    for choice, after in (("logit", ""), ("proportional", "-proportional")):
        for name in FIXED:
            experiment = PolicyExperiment(name, choice=choice)  # type: ignore[arg-type]
            found.append(Cell(f"{name.replace(' ', '-')}{after}", experiment, minutes=0.1))
        for name in LEARNED:
            experiment = PolicyExperiment(name, PAPER, choice=choice)  # type: ignore[arg-type]
            found.append(Cell(f"{name}{after}", experiment, 5, True, minutes=1))
        none = PolicyExperiment("QL-OT-OS", NONE, choice=choice)  # type: ignore[arg-type]
        far = PolicyExperiment("QL-OT-OS", FAR, choice=choice)  # type: ignore[arg-type]
        near = PolicyExperiment("QL-OT-OS", NEAR, choice=choice)  # type: ignore[arg-type]
        known = PolicyExperiment("QL-OT-OS", NEAR, choice=choice, known_budget=True)  # type: ignore[arg-type]
        found.append(Cell(f"QL-OT-OS-none{after}", none, 5, True, minutes=1))
        found.append(Cell(f"QL-OT-OS-far{after}", far, 5, True, minutes=1))
        found.append(Cell(f"QL-OT-OS-near{after}", near, 5, True, minutes=1))
        found.append(Cell(f"QL-OT-OS-near-budget{after}", known, 5, True, minutes=1))
    return found
