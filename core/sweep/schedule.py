"""Schedule the rows of a sweep on Dask, by configuration and image; shared results are computed once."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import itertools
import json
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import NamedTuple

import torch
from distributed import Client, Future, wait

from core.analysis.comparison import fingerprint
from core.images import Pair
from core.ptq.config import QuantConfig
from core.ptq.quantize import layer_groups
from core.ptq.scope import channel_dim_of, scope_of
from core.sweep import tasks as tasks
from core.sweep.grid import Choice, Networks
from core.sweep.tasks import Failure

CHUNK = 8  # calibration images whose statistics one task computes
GROUP_BYTES = 2**27  # memory of one task's statistics
ROWS_AHEAD_PER_THREAD = 8  # rows submitted in advance, so that no thread waits
POLL = 0.2  # seconds between two checks for finished rows
PACKAGES = ("torch", "numpy", "distributed", "sr-quantization-explorer")


class Inputs(NamedTuple):
    """The inputs of a sweep besides its grid: by scale, the pairs by name and the calibration patches."""

    networks: Networks
    pairs: dict[int, dict[str, Pair]]
    patches: dict[int, torch.Tensor]
    source: str  # a description of the patches


class Wanted(NamedTuple):
    """A row to be computed."""

    choice: Choice
    image: str
    key: str


def wanted_rows(choices: Mapping[Choice, Sequence[str] | None], inputs: Inputs) -> list[Wanted]:
    """List every row; rows that share calibration follow each other.

    ValueError for an unknown image, and for two names of the same one.
    """
    calibration = {scale: fingerprint([images]) for scale, images in inputs.patches.items()}
    images = {
        (scale, name): fingerprint([pair.lr, pair.hr])
        for scale, pairs in inputs.pairs.items()
        for name, pair in pairs.items()
    }
    for scale, pairs in inputs.pairs.items():
        seen: dict[str, str] = {}
        for name in pairs:
            twin = seen.setdefault(images[scale, name], name)
            if twin != name:
                raise ValueError(f"{twin} and {name} are the same image; leave one of them out")

    @functools.cache
    def weights(network: str, scale: int) -> str:
        return fingerprint(inputs.networks.model(network, scale).state_dict().values())

    found = []
    for choice, names in choices.items():
        scale = choice.scale
        missing = [name for name in names or () if (scale, name) not in images]
        if missing:
            raise ValueError(f"no image {', '.join(missing)}; there are {', '.join(inputs.pairs[scale])}")
        for name in names or inputs.pairs[scale]:
            asked = [_asked(choice), weights(choice.network, scale), calibration[scale], images[scale, name]]
            key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:20]
            found.append(Wanted(choice, name, key))
    place = {question: i for i, question in enumerate(dict.fromkeys(map(_calibration_of, found)))}
    networks = {
        key: i for i, key in enumerate(dict.fromkeys((w.choice.network, w.choice.scale) for w in found))
    }
    return sorted(
        found, key=lambda w: (networks[w.choice.network, w.choice.scale], place[_calibration_of(w)])
    )


def _asked(choice: Choice) -> dict:
    """Return the choice in plain values; without what rows of old sweeps lack, where it has none."""
    return {k: v for k, v in asdict(choice).items() if v or k not in ("layer_bits", "tune")}


def _calibration_of(wanted: Wanted) -> tuple:
    """Return what rows with the same statistics have in common."""
    choice = wanted.choice
    try:
        config = choice.config()
    except ValueError:
        return ()
    return choice.network, choice.scale, *config.observed


class Submitter:
    """A submitter of tasks to Dask, shared results included, which Dask recomputes if a worker is lost."""

    def __init__(self, client: Client, inputs: Inputs):
        self._client, self._inputs = client, inputs
        self._run, self._number = uuid.uuid4().hex[:8], itertools.count()
        self._pairs: dict[tuple[int, str], Future] = {}

    def _submit(self, task: Callable, *args) -> Future:
        key = f"{task.__name__}-{self._run}{next(self._number):06d}"
        return self._client.submit(task, *args, key=key, pure=False)

    def rows(self, wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, Future | Failure]]:
        """Yield each row with its result, submitting the row and what it needs when it is asked for."""
        for (name, scale), own in itertools.groupby(wanted, lambda w: (w.choice.network, w.choice.scale)):
            model = self._inputs.networks.model(name, scale)
            sent = self._submit(tasks.network, pickle.dumps(model))
            references: dict[str, Future] = {}
            chunks = [
                self._submit(tasks.patches, [tasks.pack(image[None]) for image in chunk])
                for chunk in self._inputs.patches[scale].split(CHUNK)
            ]
            for _, alike in itertools.groupby(own, _calibration_of):
                yield from self._alike(list(alike), model, sent, chunks, references)

    def _alike(self, wanted, model, sent: Future, chunks: list[Future], references: dict[str, Future]):
        """Yield the rows of configurations with the same statistics."""
        statistics = None
        for choice, rows in itertools.groupby(wanted, lambda w: w.choice):
            try:
                config = choice.config()
                statistics = statistics or self._observe(wanted, model, config, sent, chunks)
            except (ValueError, TypeError) as error:
                yield from ((row, tasks.failure(error)) for row in rows)
                continue
            known = [
                self._submit(tasks.activation_quantizers, seen, config, _own(names, choice))
                for seen, names in statistics
                if _own(names, choice)
            ]
            quantized = self._submit(tasks.quantize, sent, known, chunks, config, choice.layers, choice.tune)
            for row in rows:
                pair = self._pair(choice.scale, row.image)
                if row.image not in references:
                    references[row.image] = self._submit(tasks.float_psnr, sent, pair)
                yield row, self._submit(tasks.score, quantized, pair, references[row.image])

    def _observe(self, wanted, model, config: QuantConfig, sent: Future, chunks: list[Future]):
        """Return (statistics, layers) of each group of layers, merged from all chunks of images."""
        modules = dict(model.named_modules())
        named = dict.fromkeys(name for row in wanted for name in row.choice.layers)
        names = [name for name in named if name in modules and channel_dim_of(modules[name])]
        if any(not row.choice.layers for row in wanted):
            scope = self._inputs.networks.layers(wanted[0].choice.network, wanted[0].choice.scale)
            names = [*scope, *(name for name in names if name not in scope)]
        found = []
        for group in layer_groups(model, names, config, GROUP_BYTES):
            seen = [self._submit(tasks.observe, sent, chunk, config, group) for chunk in chunks]
            while len(seen) > 1:  # merged in pairs and in order: equal sums on any number of workers
                pairs = [seen[i : i + 2] for i in range(0, len(seen), 2)]
                seen = [self._submit(tasks.merge, *pair) if len(pair) == 2 else pair[0] for pair in pairs]
            found.append((seen[0], group))
        return found

    def _pair(self, scale: int, name: str) -> Future:
        if (scale, name) not in self._pairs:
            pair = self._inputs.pairs[scale][name]
            self._pairs[scale, name] = self._submit(
                tasks.pair, name, tasks.pack(pair.lr), tasks.pack(pair.hr)
            )
        return self._pairs[scale, name]


def _own(names: Sequence[str], choice: Choice) -> list[str]:
    return [name for name in names if not choice.layers or name in choice.layers]


def computed(
    client: Client, wanted: Sequence[Wanted], inputs: Inputs, look: Callable[[], None]
) -> Iterator[list[dict]]:
    """Yield rows as they are finished.

    `look` is called several times a second and may raise to cancel the remaining rows.
    """
    submitted = Submitter(client, inputs).rows(wanted)
    pending: dict[Future, Wanted] = {}
    try:
        while True:
            most = ROWS_AHEAD_PER_THREAD * max(1, sum(client.nthreads().values()))
            rows = []
            for row, result in itertools.islice(submitted, max(0, most - len(pending))):
                if isinstance(result, Failure):
                    rows.append(_row(row, result, inputs))
                else:
                    pending[result] = row
            done = [future for future in pending if future.done()]
            rows += [_row(pending.pop(future), _result(future), inputs) for future in done]
            if rows:
                yield rows
            elif not pending:
                return
            else:
                _wait(client, pending)
            look()
    finally:
        if pending:
            client.cancel(list(pending), force=True)


def _wait(client: Client, pending: dict[Future, Wanted]) -> None:
    # A timeout lets the caller check for cancelling. Without a current client, `wait` uses the newest one of
    # this process and its event loop, which may not be that of these futures.
    with client.as_current(), contextlib.suppress(TimeoutError):
        wait(list(pending), timeout=POLL, return_when="FIRST_COMPLETED")


def _result(future: Future) -> dict | Failure:
    """Return a task's result, or a `Failure` if Dask gave it up, as a task that kills worker after worker."""
    try:
        return future.result()
    except Exception as error:
        return tasks.failure(error)


def _row(wanted: Wanted, result: dict | Failure, inputs: Inputs) -> dict:
    choice, scale = wanted.choice, wanted.choice.scale
    (words, terms), values = choice.universal_set, asdict(choice)
    numbers = {"error": result.error, "reason": result.reason} if isinstance(result, Failure) else result
    model = inputs.networks.model(choice.network, scale)
    return {"error": "", "reason": ""} | {
        **{name: values[name] for name in values if name != "universal_set"},
        **numbers,
        "key": wanted.key,
        "image": wanted.image,
        "layers": " ".join(choice.layers) or "all",
        "words": words,
        "terms": terms,
        "set_size": _set_size(choice),
        "refine": None if choice.refine is None else "+".join(choice.refine),
        "layer_bits": " ".join(f"{name}:W{w}A{a}" for name, w, a in choice.layer_bits) or None,
        "scope": scope_of(model, choice.layers or None),
        "calibration": f"{len(inputs.patches[scale])} {inputs.source}",
        "metric": f"luma (BT.601), 8-bit rounding, {scale} pixels of border cropped; LR bicubic as MATLAB's",
        "versions": versions(),
        "finished": datetime.datetime.now(datetime.UTC),
    }


def _set_size(choice: Choice) -> int | None:
    try:
        config = choice.config()
    except (ValueError, TypeError):
        return None
    return len(config.candidates) if config.from_subset else None


@functools.cache
def versions() -> str:
    """Return the versions of the packages that influence a row's numbers."""
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)
