"""How often a true engine and a true theorem are called violated, over many whole runs of small networks.

    python -m benchmarks.calibration [runs]

Each run is one of `gpn verify` with another seed: its plan, networks, weighted draws and laws of the engine are those
of a run at these sizes. At level 0.9 at most a tenth of the runs may have a violated row. Figures: docs/power.md.
"""

import sys
import time
from collections import Counter

from gpn.statistics.limits import Verdict, row_alpha
from gpn.verification import questions
from gpn.verification.engine import rows as engine
from gpn.verification.plan import Plan
from gpn.verification.rounds import Runner, run_plan
from gpn.verification.settings import Settings
from theory.activations.specification import activation
from theory.claims.counted import GROUPS
from theory.normalization.normalize import normalize

LEVEL = 0.9
ACTIVATIONS = ("tanh", "relu", "leaky_relu", "gelu")


class Repeated:
    """One plan of small networks, which is run with many seeds.

    Args:
        name: of the activation.
    """

    def __init__(self, name: str) -> None:
        self.tested = normalize(activation(name))
        settings = Settings.read(name, 16, 3, (0.4, 0.8), trials=400, level=LEVEL)
        asked = (questions.one_step_questions, questions.lemma_questions, questions.deep_questions)
        self.asked = [question for ask in asked for question in ask(settings, self.tested)]
        self.engine = list(engine.jobs(settings, self.tested))
        self.alpha = row_alpha(LEVEL, len(self.asked) + engine.MOST_ROWS) / 2
        self.plan = Plan.make(settings, self.asked, self.tested, self.alpha)
        kept = [job for job in self.plan.jobs(self.tested, None) if job.key[0] != "gaussian"]
        self.jobs = [*kept, *self.engine]

    def violated(self, seed: int) -> set[str]:
        """Return the groups of rows of which some row is violated in the run with this seed; predictions apart."""
        outcome = run_plan(self.plan, self.jobs, Runner(seed, None, 1, None, None))
        found = set()
        for question in self.asked:
            if question.decide(*outcome.evidence_of(question), self.alpha).verdict is Verdict.VIOLATED:
                group = next(group for group, claims in GROUPS.items() if question.event.claim in claims)
                found.add("prediction" if question.kind.is_prediction else group)
        rows = engine.engine_rows(self.engine, outcome.outcomes, self.tested.name, self.alpha)
        return found | {"engine" for row, _ in rows if row.verdict is Verdict.VIOLATED}


def main() -> None:
    """Print in how many runs some row is violated, by group."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    repeated = [Repeated(name) for name in ACTIVATIONS]
    start, seen, wrong = time.process_time(), Counter[str](), 0
    for seed in range(runs):
        found = repeated[seed % len(repeated)].violated(seed)
        seen.update(found)
        wrong += bool(found - {"prediction"})
        if (seed + 1) % 100 == 0 or seed + 1 == runs:
            spent = time.process_time() - start
            print(f"{seed + 1} runs: {wrong} violated {dict(seen)}, {spent:.0f} s of processor time", flush=True)
    for name, one in zip(ACTIVATIONS, repeated, strict=True):
        print(f"{name}: {len(one.asked)} rows, {len(one.plan.sampled)} events by integration")


if __name__ == "__main__":
    main()
