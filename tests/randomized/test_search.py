# SPDX-License-Identifier: Apache-2.0
"""The search for a disagreement, on a dataplane in memory: what counts, what is kept, what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis.database import InMemoryExampleDatabase

from pytest_cniconformance.fixtures.randomized.comparison import Comparison
from pytest_cniconformance.fixtures.randomized.desk import Desk
from pytest_cniconformance.fixtures.randomized.search import Limits, RandomPolicies
from pytest_cniconformance.model.failure import ClusterError
from pytest_cniconformance.policy.randomcases.case import PLAINEST, Case, Moment
from pytest_cniconformance.probe import Window
from tests.policy.simulation import FAULTS, cells, mismatches

FULL = 30.0
KEY = b"calico"


class Bench:
    """Compares in memory; ``truth`` may look at the deadline, and at how often it was asked.

    The plainest case, which comes before all others, agrees and is not put on record.
    """

    window = Window(0.3)

    def __init__(self, truth: Callable[[Case, float, int], bool]) -> None:
        self.truth = truth
        self.asked: list[tuple[Case, float]] = []
        self.anew: set[int] = set()

    def compare(self, case: Case, *, deadline: float, anew: bool = False) -> Comparison:
        if case == PLAINEST:
            return Comparison(4, 0, 0.05)
        if anew:
            self.anew.add(len(self.asked))
        self.asked.append((case, deadline))
        if not self.truth(case, deadline, len(self.asked)):
            return Comparison(len(cells(case)), 0, 0.05)
        wrong = mismatches(case, FAULTS["egress not enforced"]) or mismatches(
            GUILTY, FAULTS["egress not enforced"]
        )
        return Comparison(len(cells(case)), 0, 0.05, Moment.STAGE, 0, tuple(wrong))


def guilty(case: Case, *_: object) -> bool:
    return bool(mismatches(case, FAULTS["egress not enforced"]))


def innocent(*_: object) -> bool:
    return False


def searching(
    bench: Bench, directory: Path, database: InMemoryExampleDatabase | None = None, **limits: float
) -> RandomPolicies:
    boxes = Limits(limits.get("drawing", 100), limits.get("shrinking", 100), FULL)
    return RandomPolicies(
        bench, Desk(directory), boxes, database=database or InMemoryExampleDatabase(), key=KEY
    )


def first_guilty() -> Case:
    bench = Bench(guilty)
    from pytest_cniconformance.policy.randomcases.draw import visit_cases

    visit_cases("guilty", 300, lambda case: not bench.compare(case, deadline=1).disagrees)
    return bench.asked[-1][0]


GUILTY = first_guilty()


def test_agreement_is_counted(tmp_path: Path) -> None:
    bench = Bench(innocent)
    search = searching(bench, tmp_path)
    assert search.search(1, 0, 25) is None
    tally = search.tally
    assert (tally.compared, len(bench.asked)) == (25, 25)
    assert tally.cells == sum(len(cells(case)) for case, _ in bench.asked)
    assert {deadline for _, deadline in bench.asked} == {FULL}
    assert str(tally).startswith("25 cases compared, ")


def test_the_plainest_case_begins_a_process_and_convicts(tmp_path: Path) -> None:
    class Ignoring(Bench):
        plain = 0

        def compare(self, case: Case, *, deadline: float, anew: bool = False) -> Comparison:
            self.plain += case == PLAINEST
            return super().compare(case, deadline=deadline, anew=anew)

    bench = Ignoring(innocent)
    search = searching(bench, tmp_path)
    assert search.search(1, 0, 5) is None and search.search(1, 1, 5) is None
    assert bench.plain == 1 and len(bench.asked) == 10

    class Deaf(Bench):
        def compare(self, case: Case, *, deadline: float, anew: bool = False) -> Comparison:
            return Comparison(
                4, 0, 0.05, Moment.STAGE, 0, tuple(mismatches(GUILTY, FAULTS["egress not enforced"]))
            )

    found = searching(Deaf(innocent), tmp_path).search(1, 0, 5)
    assert found is not None and found.case.policies == 1
    assert "begins every run" in found.origin


def test_shares_draw_apart_and_again(tmp_path: Path) -> None:
    def cases(share: int) -> list[str]:
        bench = Bench(innocent)
        searching(bench, tmp_path).search(1, share, 10)
        return [case.key for case, _ in bench.asked]

    assert cases(0) == cases(0)
    assert cases(0) != cases(1)


def test_a_disagreement_is_confirmed_and_shrunk_and_kept(tmp_path: Path) -> None:
    bench, database = Bench(guilty), InMemoryExampleDatabase()
    search = searching(bench, tmp_path, database)
    found = search.search(1, 0, 300)
    assert found is not None
    assert found.case.policies == 1 and len(found.case.pods) <= 2
    assert "seed 1" in found.origin and f"{search.tally.questions} steps" in found.shrunk
    drawn = search.tally.compared
    assert [deadline for _, deadline in bench.asked[: drawn + 2]] == [FULL] * (drawn + 2)
    confirmed = [case for case, _ in bench.asked[drawn - 1 : drawn + 2]]
    assert confirmed == [confirmed[0]] * 3, "the disagreement was not asked again, and with new pods"
    assert all(deadline < FULL for _, deadline in bench.asked[drawn + 2 : -1])
    assert bench.asked[-1] == (found.case, FULL), "the smallest case was not confirmed"
    assert bench.anew == {drawn + 1, len(bench.asked) - 1}
    assert [Case.parse(value) for value in database.fetch(KEY)] == [found.case]

    replay = Bench(guilty)
    again = searching(replay, tmp_path / "none", database)
    (tmp_path / "none").mkdir()
    repeated = again.search(2, 0, 300)
    assert repeated is not None and repeated.case == found.case
    assert replay.asked[0][0] == found.case and "example database" in repeated.origin


def test_what_agrees_now_leaves_the_database(tmp_path: Path) -> None:
    database = InMemoryExampleDatabase()
    database.save(KEY, GUILTY.key.encode())
    database.save(KEY, b"not a case")
    bench = Bench(innocent)
    assert searching(bench, tmp_path, database).search(1, 0, 5) is None
    assert bench.asked[0][0] == GUILTY and not list(database.fetch(KEY))


def test_what_does_not_repeat_is_no_verdict(tmp_path: Path) -> None:
    bench = Bench(lambda case, deadline, number: number == 3)
    search = searching(bench, tmp_path)
    assert search.search(1, 0, 10) is None
    assert search.tally.compared == 10 and len(search.tally.unconfirmed) == 1


def test_what_was_wrong_for_a_moment_has_more_than_one_chance_to_show_again(tmp_path: Path) -> None:
    class Passing(Bench):
        def compare(self, case: Case, *, deadline: float, anew: bool = False) -> Comparison:
            found = super().compare(case, deadline=deadline, anew=anew)
            return replace(found, moment=found.moment and Moment.UPDATE)

    for shown, expected in ((4, True), (5, True), (6, False)):
        bench = Passing(lambda case, deadline, number, shown=shown: number in (2, shown))
        search = searching(bench, tmp_path, shrinking=-1)
        assert (search.search(1, 0, 2) is not None) is expected
        (tmp_path / "random-found").unlink(missing_ok=True)


def test_a_smaller_case_that_does_not_stand_is_given_up(tmp_path: Path) -> None:
    # With short deadlines everything seems to disagree, as on a machine that is too busy.
    bench = Bench(lambda case, deadline, _: guilty(case) or deadline < FULL)
    found = searching(bench, tmp_path).search(1, 0, 300)
    assert found is not None and guilty(found.case)


class Remembering(Bench):
    """What ``truth`` says is wrong only after other cases on the same pods, but for the guilty."""

    def compare(self, case: Case, *, deadline: float, anew: bool = False) -> Comparison:
        found = super().compare(case, deadline=deadline, anew=anew)
        return Comparison(found.cells, 0, 0.05) if anew and not guilty(case) else found


def test_what_new_pods_do_not_show_is_put_aside(tmp_path: Path) -> None:
    bench = Remembering(lambda case, *_: True)
    found = searching(bench, tmp_path).search("guilty", 0, 300)
    assert found is not None and guilty(found.case), "the search did not go on"
    assert found.case.policies == 1 and len(found.case.pods) <= 2

    (tmp_path / "random-found").unlink()
    bench = Remembering(lambda case, *_: not guilty(case))
    search = searching(bench, tmp_path)
    found = search.search(1, 0, 3)
    assert found is not None and search.tally.compared == 3
    assert "new pods agree" in found.shrunk and found.case == bench.asked[0][0]


def test_smaller_cases_that_take_what_came_before_are_asked_with_new_pods(tmp_path: Path) -> None:
    bench = Remembering(lambda case, *_: guilty(case) or len(case.pods) == 1)
    found = searching(bench, tmp_path).search("guilty", 0, 300)
    assert found is not None and guilty(found.case)
    assert found.case.policies == 1 and len(found.case.pods) <= 2


def test_the_time_box_of_shrinking_keeps_the_smallest_so_far(tmp_path: Path) -> None:
    found = searching(Bench(guilty), tmp_path, shrinking=-1).search(1, 0, 300)
    assert found is not None and guilty(found.case)
    assert "--cni-random-shrink-time" in found.shrunk


def test_the_time_box_of_drawing_is_the_runs(tmp_path: Path) -> None:
    search = searching(Bench(innocent), tmp_path, drawing=-1)
    assert search.search(1, 0, 10) is None
    assert search.tally.compared == 0 and "--cni-random-time" in search.tally.stopped


def test_one_share_speaks_for_all(tmp_path: Path) -> None:
    assert searching(Bench(guilty), tmp_path).search(1, 0, 300) is not None
    other = searching(Bench(guilty), tmp_path)
    assert other.search(1, 1, 300) is None
    assert other.tally.compared == 0 and "another share" in other.tally.stopped


def test_a_failing_cluster_is_no_disagreement(tmp_path: Path) -> None:
    def fail(*_: object) -> bool:
        raise ClusterError("the probes failed")

    search = searching(Bench(fail), tmp_path)
    with pytest.raises(ClusterError, match="the probes failed"):
        search.search(1, 0, 10)
    assert search.tally.seconds > 0


def test_known_deviations_are_left_out(tmp_path: Path) -> None:
    from pytest_cniconformance.policy.randomcases.case import deviations

    bench = Bench(innocent)
    search = RandomPolicies(
        bench,
        Desk(tmp_path),
        Limits(100, 100, FULL),
        database=InMemoryExampleDatabase(),
        key=KEY,
        deviating=lambda id: id == "NP-DEF-2",
    )
    search.search(1, 0, 30)
    assert len(bench.asked) == 30
    assert not any("NP-DEF-2" in deviations(case) for case, _ in bench.asked)
