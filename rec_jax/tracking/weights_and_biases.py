"""Weights & Biases beside the run directory. It failing to start or to log is a warning, never the end of a run."""

import logging
import netrc
import os
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Tracker:
    """Sends a run's configuration, epochs and summary to W&B; does nothing once it is off or has failed."""

    def __init__(self, mode: str, project: str, folder: Path, name: str, config: dict[str, Any], group: str) -> None:
        self._run: Any = None
        if mode == "off":
            return
        if mode == "auto":
            mode = "online" if logged_in() else "offline"
        try:
            import wandb

            self._run = wandb.init(
                project=project,
                dir=folder,
                name=name,
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
