"""What the guard's scoring finds and what it mistakes, on real calls with planted run-aways, beside an oracle.

    python -m tests.bench.guard --data FOLDER [--quick]

FOLDER holds azure_conv_2023.parquet (timestamp, input_tokens, output_tokens; Azure's public trace, CC-BY-4.0). The
trace is one key's calls of one model at its listed price. The first half trains, by the same `learn` and `score` that
the product runs and at its frozen limit; of the second half 1 % of the calls have their output (at the door: their
input) multiplied by k. The oracle flags what is above the dearest clean call of that second half, which nobody can
know beforehand; recall is also told as a share of the oracle's. False positives are the second half's clean calls
above the limit. `door` scores input tokens alone, as they come.

The limit is not chosen on the second half: `limits` prints, from random halves of the training half alone, what each
limit would mistake and find; at the frozen one 3 to 5 in 10,000 are mistaken there: good, and not yet the goal.
"""

from __future__ import annotations

import argparse
import gc
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tests.bench.figures import Figure, emit
from ultimate_lib.baseline import ANOMALOUS, FEWEST, Baseline, learn, score
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

MODELS = (("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-4o"), ("google", "gemini-2.5-flash"))
"""The first is the one that the figures are of."""
FACTORS = (10, 30, 100)
PLANTED = 0.01
GOOD, GOAL = {10: 0.9, 30: 0.9, 100: 0.9}, {10: 0.95, 30: 0.98, 100: 0.98}  # of the oracle's recall
DOOR_GOOD = {10: 0.13, 30: 0.58, 100: 0.96}
TRIED = (3.0, 3.25, 3.5, 3.75, 4.0, 4.5)
_AT_US = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6)
_P99_US = 100.0


class Trace(NamedTuple):
    """Calls in the order of time."""

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]

    def halves(self) -> tuple[Trace, Trace]:
        """Return the earlier and the later half."""
        cut = len(self.inputs) // 2
        return Trace(*(one[:cut] for one in self)), Trace(*(one[cut:] for one in self))

    def some(self, at: NDArray[np.int64]) -> Trace:
        """Return some of the calls."""
        return Trace(*(one[at] for one in self))


class Prices:
    """What calls of a model cost, by the product's own price list."""

    def __init__(self, provider: str, model: str) -> None:
        self._book = PriceBook(pricelist.load())
        self._of = provider, model

    def usd(self, calls: Trace, factor: int = 1) -> Floats:
        """Return dollars a call, the output taken so many times."""
        return np.array(
            [self._one(sent, came * factor) for sent, came in zip(calls.inputs.tolist(), calls.outputs.tolist())]  # noqa: B905 - of one length
        )

    def _one(self, sent: int, came: int) -> float:
        cost = self._book.cost(*self._of, Usage(input_tokens=sent, output_tokens=came), _AT_US)
        assert cost is not None, f"the price list has no {self._of}"
        return cost.total / 1e9


class Found(NamedTuple):
    """Shares of the planted calls that were found, averaged over seeds, and of clean calls that were mistaken."""

    recall: dict[int, float]
    oracle: dict[int, float]
    plain: dict[int, float]  # mean + 3 standard deviations of the raw values
    mistaken: float
    plain_mistaken: float

    def share(self, factor: int) -> float:
        """Return recall as a share of the oracle's."""
        return self.recall[factor] / self.oracle[factor]


def read(folder: Path) -> Trace:
    """Return the trace. Ends with a sentence when the file is missing."""
    path = folder / "azure_conv_2023.parquet"
    if not path.exists():
        raise SystemExit(f"{path} is missing: give --data the folder that has it.")
    frame = pl.read_parquet(path).sort("timestamp")
    return Trace(frame["input_tokens"].to_numpy(), frame["output_tokens"].to_numpy())


def scores(known: Baseline, values: Floats) -> Floats:
    """Return the product's score of each value."""
    return np.array([score(known, value) for value in values.tolist()])


def judged(train: Floats, clean: Floats, planted: dict[int, Floats], seeds: int, limit: float = ANOMALOUS) -> Found:
    """Learn from the first values, and judge the clean ones and, by seeds, 1 % of the planted."""
    known = learn(train.tolist(), since_s=0.0)
    assert known is not None
    plain_limit, highest = float(train.mean() + 3 * train.std()), float(clean.max())
    caught = {factor: scores(known, values) >= limit for factor, values in planted.items()}
    recall, oracle, plain = ({factor: [] for factor in planted} for _ in range(3))
    for seed in range(seeds):
        chosen = np.random.default_rng(seed).choice(len(clean), round(len(clean) * PLANTED), replace=False)
        for factor, values in planted.items():
            recall[factor].append(float(caught[factor][chosen].mean()))
            oracle[factor].append(float((values[chosen] > highest).mean()))
            plain[factor].append(float((values[chosen] > plain_limit).mean()))
    averaged = [{factor: float(np.mean(told)) for factor, told in one.items()} for one in (recall, oracle, plain)]
    mistaken = float((scores(known, clean) >= limit).mean())
    return Found(*averaged, mistaken, float((clean > plain_limit).mean()))


def at_completion(trace: Trace, prices: Prices, seeds: int) -> Found:
    """Judge costs with inflated outputs."""
    train, later = trace.halves()
    return judged(prices.usd(train), prices.usd(later), {k: prices.usd(later, k) for k in FACTORS}, seeds)


def at_door(trace: Trace, seeds: int) -> Found:
    """Judge inflated inputs."""
    train, later = (half.inputs.astype(float) for half in trace.halves())
    return judged(train, later, {k: later * k for k in FACTORS}, seeds)


def limits(trace: Trace, prices: Prices, rounds: int) -> list[tuple[float, float, float]]:
    """Return (limit, share of clean calls mistaken, share of the oracle's recall at x10) within the training half."""
    train, _ = trace.halves()
    usd, planted, told = prices.usd(train), prices.usd(train, 10), []
    for limit in TRIED:
        found = []
        for seed in range(rounds):
            order = np.random.default_rng(seed).permutation(len(usd))
            one, other = np.array_split(order, 2)
            found.append(judged(usd[one], usd[other], {10: planted[other]}, 1, limit))
        told.append((limit, np.mean([one.mistaken for one in found]), np.median([one.share(10) for one in found])))
    return [(limit, float(mistaken), float(share)) for limit, mistaken, share in told]


def synthetic(size: int, rounds: int) -> dict[str, float]:
    """Return, of made-up keys with so many calls each, the share of later calls of the same kind that is mistaken."""
    told = {}
    for name, make in KINDS.items():
        shares = []
        for seed in range(rounds):
            values = make(np.random.default_rng(seed), size + 4000)
            known = learn(values[:size].tolist(), since_s=0.0)
            assert known is not None
            shares.append(
                float((scores(known, values[size : size + (size if "drift" in name else 4000)]) >= ANOMALOUS).mean())
            )
        told[name] = float(np.mean(shares))
    return told


def _normals(dice: np.random.Generator, size: int, rare: float) -> Floats:
    return np.exp(np.where(dice.random(size) < rare, dice.normal(3, 0.5, size), dice.normal(0, 0.5, size)))


def _drifting(dice: np.random.Generator, size: int) -> Floats:
    learnt = size - 4000
    return dice.lognormal(0, 0.7, size) * np.exp(0.5 * np.arange(size) / learnt)  # up by two thirds while learning


KINDS = {
    "log-normal, deviation 0.3": lambda dice, size: dice.lognormal(0, 0.3, size),
    "log-normal, deviation 1": lambda dice, size: dice.lognormal(0, 1, size),
    "log-normal, deviation 1.5": lambda dice, size: dice.lognormal(0, 1.5, size),
    "two kinds of calls, 20 % at 20 times": lambda dice, size: _normals(dice, size, 0.2),
    "two kinds of calls, 3 % at 20 times": lambda dice, size: _normals(dice, size, 0.03),
    "two kinds of calls, 0.5 % at 20 times": lambda dice, size: _normals(dice, size, 0.005),
    "Pareto, exponent 2.5": lambda dice, size: dice.pareto(2.5, size) + 1,
    "uniform": lambda dice, size: dice.uniform(1, 100, size),
    "drift, up by two thirds, and on": _drifting,
}


def p99_us(known: Baseline, values: Floats) -> float:
    """Return the 99th percentile of the microseconds that a call takes to be scored; the best of three runs."""
    best = float("inf")
    for _ in range(3):
        took = []
        gc.disable()
        for value in values.tolist():
            began = time.perf_counter_ns()
            score(known, value)
            took.append(time.perf_counter_ns() - began)
        gc.enable()
        best = min(best, float(np.percentile(took, 99)) / 1000)
    return best


def report(name: str, found: Found) -> None:
    """Print a place's recall beside the oracle's and the plain rule's."""
    print(f"\n{name}: false positives {found.mistaken:.2e}, of mean + 3 sd {found.plain_mistaken:.2e}")
    print("    k   recall   oracle   share   mean + 3 sd")
    for k in found.recall:
        print(
            f"{k:5d}   {found.recall[k]:6.3f}   {found.oracle[k]:6.3f}  {found.share(k):6.3f}   {found.plain[k]:6.3f}"
        )


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer seeds")
    asked = parser.parse_args()
    seeds, rounds = (10, 5) if asked.quick else (50, 40)
    trace = read(asked.data)
    found = {}
    for provider, model in MODELS:
        found[model] = at_completion(trace, Prices(provider, model), seeds)
        report(f"at completion, {model}", found[model])
    door = at_door(trace, seeds)
    report("at the door, input tokens", door)
    prices = Prices(*MODELS[0])
    print("\nwithin the training half alone, random halves:\nlimit   false positives   share of the oracle at x10")
    for limit, mistaken, share in limits(trace, prices, rounds):
        print(f"{limit:5.2f}   {mistaken:15.2e}   {share:6.3f}{'   frozen' if limit == ANOMALOUS else ''}")
    sizes = (FEWEST, 200, 500, 5000)
    print(
        f"\nfalse positives per 10,000 calls of made-up keys, by calls learnt from\n{'':42}"
        + "".join(f"{n:8}" for n in sizes)
    )
    told = [synthetic(size, 10 if size > 500 else rounds) for size in sizes]
    for kind in KINDS:
        print(f"{kind:42}" + "".join(f"{one[kind] * 1e4:8.1f}" for one in told))
    figures(found[MODELS[0][1]], door, prices, trace, seeds)


def figures(found: Found, door: Found, prices: Prices, trace: Trace, seeds: int) -> None:
    """Print the figures that are kept."""
    train, later = trace.halves()
    usd = prices.usd(train)
    known = learn(usd.tolist(), since_s=0.0)
    assert known is not None
    how = f"seeds 0 to {seeds - 1}, {MODELS[0][1]}, second half, 1 % inflated"
    print()
    emit(
        [
            *(
                Figure(f"recall_x{k}", found.recall[k], "ratio", round(found.oracle[k] * GOAL[k], 3),
                       {"oracle": found.oracle[k], "share of oracle": found.share(k), "mean + 3 sd": found.plain[k]},
                       f"budget: {GOAL[k]:g} of the oracle's (good {GOOD[k]:g}); {how}")
                for k in FACTORS
            ),
            Figure("fpr", found.mistaken, "ratio", 2e-4, {"mean + 3 sd": found.plain_mistaken, "door": door.mistaken},
                   f"clean calls of the second half, {len(later.inputs):,}; good 5e-4"),
            *(
                Figure(f"door_recall_x{k}", door.recall[k], "ratio", round(door.oracle[k], 3),
                       {"oracle": door.oracle[k], "mean + 3 sd": door.plain[k]},
                       f"budget: the oracle's (good {DOOR_GOOD[k]:g}); input alone, {how}")
                for k in FACTORS
            ),
            Figure("p99_us", p99_us(known, prices.usd(later)), "us", _P99_US, None, "one call scored, in process"),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
