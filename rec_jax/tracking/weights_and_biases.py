"""Weights & Biases beside the run directory. It failing to start or to log is a warning, never the end of a run."""

import logging
import netrc
import os
import secrets
from pathlib import Path
from typing import Any

from rec_jax.files import atomic

log = logging.getLogger(__name__)


class Tracker:
    """Sends a run's configuration, epochs and results to W&B; does nothing once it is off or has failed.

    The W&B run's id is kept in the run's folder, so that a resumed run goes on as the same one. `mode` is that of
    Runtime.wandb; 'auto' follows W&B's own WANDB_MODE where it is set.
    """

    def __init__(self, mode: str, project: str, folder: Path, name: str, config: dict[str, Any], group: str) -> None:
        self._run: Any = None
        self.new = False
        """Whether W&B has nothing of this run yet."""
        if mode == "off":
            return
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        try:
            import wandb

            kept = folder / "wandb_id"
            self.new = not kept.exists()
            if self.new:
                with atomic(kept) as file:
                    file.write(secrets.token_hex(4).encode())

            self._run = wandb.init(
                project=project,
                dir=folder,
                name=name,
                id=kept.read_text(),
                resume="allow",
                group=group,
                config=config,
                mode=mode,  # type: ignore[arg-type]
                settings=wandb.Settings(silent=True, init_timeout=30, console="off"),
            )
        except Exception as error:  # whatever goes wrong in there is not worth a run
            self._give_up(error)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log one epoch."""
        if self._run is not None:
            try:
                self._run.log(values, step=step)
            except Exception as error:
                self._give_up(error)

    def summarise(self, values: dict[str, float]) -> None:
        """Store the final numbers."""
        if self._run is not None:
            try:
                self._run.summary.update(values)
            except Exception as error:
                self._give_up(error)

    def close(self) -> None:
        """Close the run."""
        if self._run is not None:
            try:
                self._run.finish()
            except Exception as error:
                self._give_up(error)
            self._run = None

    def _give_up(self, error: Exception) -> None:
        log.warning("W&B failed (%s: %s); the run goes on without it", type(error).__name__, error)
        self._run = None


def logged_in() -> bool:
    """Whether W&B has a key here: in its environment variable, or in the netrc file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
