"""RecSim's own environments under fixed policies (run by `experiments.recsim` and `experiments.benchmarks.simulators`).

    python recsim_episodes.py FOLDER ENVIRONMENT POLICY EPISODES STEPS SEED

It runs in RecSim's own environment, slates of 2 of 10 documents that are drawn anew at each step; STEPS limits a
session, 0 for none. One line of JSON is printed: by statistic the mean over sessions and its standard error, and how
many steps were taken in how many seconds. With ENVIRONMENT 'choice' it prints the chances that RecSim's choice models
give, for the scores that POLICY lists as JSON.
"""

import json
import sys
import time

import numpy as np
from recsim import choice_model
from recsim.environments import interest_evolution, interest_exploration, long_term_satisfaction

CANDIDATES, SLATE = 10, 2
ENVIRONMENTS = {
    "interest_evolution": interest_evolution,
    "interest_exploration": interest_exploration,
    "long_term_satisfaction": long_term_satisfaction,
}
CHOICE_MODELS = {
    "proportional": choice_model.MultinomialProportionalChoiceModel,
    "logit": choice_model.MultinomialLogitChoiceModel,
    "cascade": choice_model.ProportionalCascadeChoiceModel,
    "exponential cascade": choice_model.ExponentialCascadeChoiceModel,
}


class Known:
    """A user whose score of a document is the document."""

    @staticmethod
    def score_document(document):
        return document


def chances(scores):
    """By choice model, the chances of each document and of none, with interest_evolution's settings."""
    features = {"no_click_mass": 1.0, "min_normalizer": -1.0, "attention_prob": 0.65, "score_scaling": 0.05}
    found = {}
    for name, of in CHOICE_MODELS.items():
        rows = []
        for row in scores:
            model = of(features)
            model.score_documents(Known, row)
            weights = np.append(model.scores, model.score_no_click)
            rows.append((weights / weights.sum()).tolist())
        found[name] = rows
    return found


def slate_of(policy, observation, rng):
    """Two candidates: at random, or the best by what the policy is named after."""
    documents = list(observation["doc"].values())
    if policy == "random":
        return rng.permutation(CANDIDATES)[:SLATE].tolist()
    if policy == "interest":
        scores = [observation["user"] @ document for document in documents]
    elif policy == "good topics":
        scores = [np.argmax(document) for document in documents]
    elif policy == "quality":
        scores = [float(document["quality"]) for document in documents]
    elif policy == "second topic":
        scores = [document["cluster_id"] for document in documents]
    else:
        scores = [document[0] * {"choc": 1, "kale": -1}[policy] for document in documents]
    return np.argsort(-np.array(scores), kind="stable")[:SLATE].tolist()


def measured_of(user):
    """What is hidden of a user and compared: interests, or exposure."""
    state = user._user_state
    for name in ("user_interests", "net_positive_exposure"):
        if hasattr(state, name):
            return np.copy(getattr(state, name))
    return np.zeros(())


def main(environment, policy, episodes, steps, seed):
    """Run sessions and print."""
    config = {"num_candidates": CANDIDATES, "slate_size": SLATE, "resample_documents": True, "seed": seed}
    env = ENVIRONMENTS[environment].create_environment(config)
    np.random.seed(seed)  # noqa: NPY002 - what RecSim itself draws from
    rng = np.random.RandomState(seed + 1)
    sessions, taken, began = [], 0, time.monotonic()
    for _ in range(episodes):
        observation, done = env.reset(), False
        first = measured_of(env.environment.user_model)
        found = {"reward": 0.0, "length": 0.0, "clicks": 0.0, "quality": 0.0, "topic": 0.0, "clickbait": 0.0}
        while not done and not (steps and found["length"] == steps):
            slate = slate_of(policy, observation, rng)
            documents = [list(observation["doc"].values())[place] for place in slate]
            observation, reward, done, _ = env.step(slate)
            found["reward"] += reward
            found["length"] += 1
            for document, response in zip(documents, observation["response"]):
                if response["click"]:
                    found["clicks"] += 1
                    found["quality"] += float(response.get("quality", 0))
                    found["topic"] += response.get("cluster_id", 0)
                    found["clickbait"] += 0.0 if "quality" in response else float(document[0])
        last = measured_of(env.environment.user_model)
        found["drift"] = float(np.abs(last - first).sum())
        found["exposure"] = float(last) if np.ndim(last) == 0 else 0.0
        taken += int(found["length"])
        sessions.append(found)
    seconds = time.monotonic() - began
    statistics = {}
    for name in sessions[0]:
        values = np.array([session[name] for session in sessions], np.float64)
        statistics[name] = {"mean": values.mean(), "se": values.std(ddof=1) / np.sqrt(episodes)}
    print(json.dumps({"episodes": episodes, "statistics": statistics, "steps": taken, "seconds": seconds}))


if sys.argv[2] == "choice":
    print(json.dumps(chances(json.loads(sys.argv[3]))))
else:
    main(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:7]))
