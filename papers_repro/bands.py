"""What paper.toml asked for when a record was made: bands are declared before a run, so they are read from then."""

import functools
import subprocess
from pathlib import Path

from papers_repro.paper import FOLDER, Paper, parse
from papers_repro.rewritten import now
from rec_jax.errors import InputError

TOP = FOLDER.parent


@functools.cache
def paper_at(commit: str, name: str) -> Paper | None:
    """The paper.toml of a commit; None where git or the commit is not at hand (an archive, a shallow clone).

    InputError: the whole history is here, and the commit, or the file in it, is not.
    """
    path = f"papers_repro/{name}/paper.toml"
    text = _git("show", f"{now(commit)}:{path}")
    if text is not None:
        return parse(text, Path(f"{path} at {commit[:10]}"))
    if _git("rev-parse", "--is-shallow-repository") != "false\n":
        return None
    raise InputError(f"papers_repro/{name}/records: made at commit {commit[:10]}, where {path} is not to be found")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(TOP), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
