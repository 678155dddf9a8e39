"""Marks the tests that are dear: measured, they make the exhaustive tier; all others run every day.

    rm -f measured.txt
    PARTICLES_MEASURE=$PWD/measured.txt pytest -n 2 --tier all
    python tests/tiers.py measured.txt

writes `tests/exhaustive.txt`. Every function of a test keeps its cheapest case in the everyday tier, and so does every
class under a contract, every claim and every config that is named in `KEPT`; what is cheap joins them until `BUDGET` is
spent. A test that was not measured is everyday.
"""

import argparse
import functools
import pathlib
import re
from collections.abc import Iterable, Iterator

LIST = pathlib.Path(__file__).parent / "exhaustive.txt"
BUDGET = 780.0  # processor seconds of the everyday tier: ten minutes for two workers, less what they take to start
DEAR = 4.0  # seconds from which on even the only case of a function is left to the exhaustive tier
CLAIMS = (
    "equiangular_softmax",
    "energy_identity",
    "injected_gradient",
    "gaussian_l2",
    "causal_second_token",
    "measure_equivalence",
    "depth_euler",
    "ott_antonsen",
)
NAMED = (
    "test_command_line.py::test_a_killed_run_resumes_to_the_same_bits",
    "test_command_line.py::test_run_ends_with_its_directory_and_says_the_rest_to_a_person",
    "test_config.py::test_schema_is_current_and_knows_the_classes",
    "test_integration.py::test_derivatives_agree_in_both_modes_and_with_differences",
    "test_processes.py::test_two_processes_one_of_them_killed_have_the_answer_of_one",
    "test_sweeps.py::test_a_shared_sweep_is_the_record_of_one_process",
)
CONFIGS = ("circle", "clusters", "equiangular", "causal", "l2", "noisy", "multihead", "lipschitz")
LONG = re.compile(r"test_fuzz_\w+\.py::\w+\[1000\]|test_kills\.py::test_every_kind_at_every_moment")
KEPT = re.compile(
    rf"test_claims\.py::.*\[({'|'.join(CLAIMS)})\]|test_config\.py::test_every_config_runs_small\[({'|'.join(CONFIGS)})"
    rf"|{'|'.join(map(re.escape, NAMED))}"
)


def measured(lines: Iterable[str]) -> dict[str, float]:
    """Seconds of each test, the last where it was measured again."""
    return {test.strip(): float(seconds) for seconds, _, test in (line.partition(" ") for line in lines) if test}


def exhaustive(seconds: dict[str, float], budget: float = BUDGET) -> list[str]:
    """The tests that are left out every day, in order."""
    cheap = sorted(seconds, key=lambda test: (seconds[test], test))
    everyday = set(_guards(cheap, seconds))
    spent = sum(seconds[test] for test in everyday)
    for test in cheap:
        if test not in everyday and spent + seconds[test] <= budget:
            everyday.add(test)
            spent += seconds[test]
    return sorted(set(seconds) - everyday)


def _guards(cheap: list[str], seconds: dict[str, float]) -> Iterator[str]:
    """The tests that every day needs: the cheapest case of each function and class, and those that are named."""
    seen: set[str] = set()
    for test in cheap:
        function, _, case = test.partition("[")
        subjects = {function, *([f"contract of {case}"] if "test_contracts.py" in function and case else [])}
        if KEPT.search(test) or (not subjects <= seen and seconds[test] < DEAR):
            yield test
        seen |= subjects


@functools.cache
def listed() -> frozenset[str]:
    """The tests that are marked as dear."""
    return frozenset(LIST.read_text().splitlines()) if LIST.exists() else frozenset()


def is_exhaustive(test: str) -> bool:
    """Tell whether a test belongs to the exhaustive tier: by its mark, or by what it is."""
    return test in listed() or bool(LONG.search(test))


def main() -> None:
    parser = argparse.ArgumentParser(description="Marks the tests of the exhaustive tier by what they cost.")
    parser.add_argument("measured", type=pathlib.Path, help="what PARTICLES_MEASURE has written")
    parser.add_argument("--budget", type=float, default=BUDGET, help="processor seconds of the everyday tier")
    given = parser.parse_args()
    seconds = measured(given.measured.read_text().splitlines())
    chosen = exhaustive(seconds, given.budget)
    LIST.write_text("".join(f"{test}\n" for test in chosen))
    rest = sum(seconds[test] for test in chosen)
    whole = sum(seconds.values())
    print(
        f"everyday: {len(seconds) - len(chosen)} tests, {whole - rest:.0f} s; exhaustive: {len(chosen)}, {rest:.0f} s"
    )


if __name__ == "__main__":
    main()
