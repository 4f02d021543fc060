"""A visitor's own training: a process apart, started, paused and cancelled from the page."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from core.qat.config import OdmConfig
from explorer.jobs.child import ended

ROOT = Path(__file__).resolve().parents[2]
MOST = 2  # trainings at once on this server
FULL = "{} trainings run on this server already; start yours when one of them is done."
_lock = threading.Lock()
_running: set[Run] = set()


class Run:
    """One training of a bundled network, by its key, name and scale; its files live as long as it does.

    `start` raises ValueError when the server has enough to do.
    """

    def __init__(self, network: str, name: str, scale: int, config: OdmConfig):
        self.network, self.config = network, config
        self._model = name, scale
        self._folder = tempfile.TemporaryDirectory(prefix="explorer-training-")
        self._process: subprocess.Popen | None = None
        self.paused = False

    @property
    def out(self) -> Path:
        """Name of the results, without suffix."""
        return Path(self._folder.name) / "run"

    @property
    def alive(self) -> bool:
        """Whether it is training."""
        return self._process is not None and self._process.poll() is None

    @property
    def begun(self) -> bool:
        """Whether there is a card."""
        return self.out.with_suffix(".json").exists()

    @property
    def can_go_on(self) -> bool:
        """Whether `start` goes on from a state that is kept, after a pause or what ended it too early."""
        kept = self.paused or self.out.with_suffix(".ckpt").exists()
        return kept and not self.alive and not self.finished

    @property
    def finished(self) -> bool:
        """Whether its network is there."""
        return not self.alive and self.out.with_suffix(".safetensors").exists()

    def start(self) -> None:
        """Begin, or go on from the state that is kept."""
        with _lock:
            _running.intersection_update([run for run in _running if run.alive])
            if len(_running) >= MOST:
                raise ValueError(FULL.format(MOST))
            _running.add(self)
            if self._process is not None:
                self._process.stdin.close()
            name, scale = self._model
            command = [
                sys.executable,
                "-m",
                "explorer.jobs.training_worker",
                "--model",
                name,
                "--scale",
                str(scale),
            ]
            command += ["--out", str(self.out)]
            for field, value in dataclasses.asdict(self.config).items():
                flag = field.replace("_", "-")
                if isinstance(value, bool):
                    command.append(f"--{flag}" if value else f"--no-{flag}")
                elif value is not None:
                    command += [f"--{flag}", str(value)]
            with self.out.with_suffix(".log").open("w") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )
        self.paused = False

    def pause(self) -> None:
        """Save the state and let the processor go; `start` goes on from there."""
        if self.alive:
            self._process.stdin.close()
            self.paused = True

    def cancel(self) -> None:
        """Stop, and drop all files."""
        self.kill()
        self._folder.cleanup()

    def kill(self) -> None:
        """End the process at once, as the system does when memory is short; what it saved stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()

    def card(self) -> dict | None:
        """The card so far; None before the first step."""
        file = self.out.with_suffix(".json")
        return json.loads(file.read_text()) if file.exists() else None

    def result(self) -> Path | None:
        """The file of its network once it is over."""
        return self.out.with_suffix(".safetensors") if self.finished else None

    def in_words(self) -> str:
        """How far it is."""
        card = self.card()
        step = f"step {card['done']:,} of {card['steps']:,}" if card else "not begun"
        if self.alive:
            return f"Stopping at {step} …" if self.paused else f"Training, {step}" if card else "Starting …"
        if self.paused:
            return f"Paused at {step}; Start goes on"
        return f"Done, {step}" if self.finished else self.problem()

    def problem(self) -> str:
        """What ended it before its time, in a sentence; empty if nothing did."""
        if self.alive or self.paused or self.finished or self._process is None:
            return ""
        return ended("training", self._process.returncode, self.out.with_suffix(".log"), self.can_go_on)
