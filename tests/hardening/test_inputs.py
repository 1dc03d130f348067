"""Malformed inputs through the whole public interface: right results or documented errors, nothing else."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.estimators import public_modules
from tests.hardening.inputs import ENTRIES, MODULES_WITHOUT_ENTRIES, WITHOUT_ENTRIES
from tests.hardening.outcomes import judge

# What a run of these tests has to try at least.
_FEWEST_CASES = 10_000

tried: Counter = Counter()


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_hostile_inputs_give_right_results_or_documented_errors(entry):
    outcomes: Counter = Counter()

    @settings(
        max_examples=entry.share,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def try_one(rng):
        case = entry.make(rng)
        outcome, problems = judge(case)
        outcomes[outcome] += 1
        if problems:
            note(f"{entry.name} {case.describe()}")
        assert not problems

    try_one()
    tried.update(outcomes)


def test_so_many_cases_were_tried(request):
    if len([item for item in request.session.items if item.path == request.path]) <= len(ENTRIES):
        pytest.skip("only some of the entry points were tried")
    assert tried.total() >= _FEWEST_CASES
    # Neither is everything refused, nor is nothing.
    assert tried["returned"] >= _FEWEST_CASES // 5
    assert tried["refused"] >= _FEWEST_CASES // 5


def test_every_public_name_has_an_entry_or_a_reason():
    pytest.importorskip("torch", reason="the entries of networks are made where there is torch")
    covered = {entry.name.split("[")[0] for entry in ENTRIES}
    seen = set()
    for module in public_modules():
        if module.__name__ in MODULES_WITHOUT_ENTRIES:
            continue
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if id(value) in seen:
                continue
            seen.add(id(value))
            full_name = f"{module.__name__}.{name}"
            has_entry = any(entry == full_name or entry.startswith(f"{full_name}.") for entry in covered)
            assert has_entry or full_name in WITHOUT_ENTRIES, f"{full_name} is tried with no hostile input"
    assert seen
