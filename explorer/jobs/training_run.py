"""A visitor's own training: a child process, started, paused and cancelled from the page."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from core.qat.config import OdmConfig
from core.utils.flags import flags
from explorer.jobs.child import Child

MAX_TRAININGS = 2  # trainings at once on this server
TOO_MANY = "{} trainings run on this server already; start yours when one has finished."
_lock = threading.Lock()
_running: set[Run] = set()


class Run:
    """One training of a bundled network, by its key, name and scale; its files live as long as it does.

    write: puts the checkpoint of another network into a folder and returns its path; it is then trained in
    place of the bundled one. `start` raises ValueError while `MAX_TRAININGS` others run, and as `write` does.
    """

    def __init__(
        self,
        network: str,
        name: str,
        scale: int,
        config: OdmConfig,
        write: Callable[[Path], Path] | None = None,
    ):
        self.network, self.config = network, config
        self._source, self._scale, self._write = ["--model", name], scale, write
        self._folder = tempfile.TemporaryDirectory(prefix="explorer-training-")
        self.child: Child | None = None  # the process that trains, or trained last
        self.paused = False

    @property
    def out(self) -> Path:
        """Path of the results, without suffix."""
        return Path(self._folder.name) / "run"

    @property
    def alive(self) -> bool:
        """Whether it is training."""
        return self.child is not None and self.child.alive

    @property
    def begun(self) -> bool:
        """Whether a card was written, so that there is something to show."""
        return self.out.with_suffix(".json").exists()

    @property
    def can_go_on(self) -> bool:
        """Whether `start` continues from a saved state, after a pause or an early end."""
        kept = self.paused or self.out.with_suffix(".ckpt").exists()
        return kept and not self.alive and not self.finished

    @property
    def finished(self) -> bool:
        """Whether the trained network was written."""
        return not self.alive and self.out.with_suffix(".safetensors").exists()

    def start(self) -> None:
        """Start, or continue from the saved state."""
        if self._write is not None:
            self._source = ["--checkpoint", str(self._write(Path(self._folder.name)))]
        with _lock:
            _running.intersection_update([run for run in _running if run.alive])
            if len(_running) >= MAX_TRAININGS:
                raise ValueError(TOO_MANY.format(MAX_TRAININGS))
            _running.add(self)
            if self.child is not None:
                self.child.kill()
            command = [*self._source, "--scale", str(self._scale), "--out", str(self.out)]
            command += flags(self.config)
            log = self.out.with_suffix(".log")
            module = "explorer.jobs.training_worker"
            self.child = Child("training", module, *command, log=log, OMP_NUM_THREADS="1")
        self.paused = False

    def pause(self) -> None:
        """Save the state and stop; `start` continues from there."""
        if self.alive:
            self.child.stop()
            self.paused = True

    def cancel(self) -> None:
        """Stop, and delete all files."""
        self.kill()
        self._folder.cleanup()

    def kill(self) -> None:
        """Kill the process at once, as the system does when memory runs out; what it saved stays."""
        if self.child is not None:
            self.child.kill()

    def card(self) -> dict | None:
        """Read the card so far; None before the first step."""
        file = self.out.with_suffix(".json")
        return json.loads(file.read_text()) if file.exists() else None

    def result(self) -> Path | None:
        """Return the file of the trained network; None until the run is over."""
        return self.out.with_suffix(".safetensors") if self.finished else None

    def status_text(self) -> str:
        """Describe how far the run is."""
        card = self.card()
        step = f"step {card['done']:,} of {card['steps']:,}" if card else "the start"
        if self.alive:
            return f"Stopping at {step} …" if self.paused else f"Training, {step}" if card else "Starting …"
        if self.paused:
            return f"Paused at {step}; press Start to continue"
        return f"Done, {step}" if self.finished else self.problem()

    def problem(self) -> str:
        """Say why the run ended early; empty if it did not."""
        if self.child is None or self.paused or self.finished:
            return ""
        return self.child.problem(self.can_go_on)
