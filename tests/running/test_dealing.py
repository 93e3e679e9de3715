"""Laws of dealing parts to workers, whatever the order of asking, ending and dying."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dispatch_simulation import SMALL, Replicas, best_span, dealt_span
from drp_ray.running.dealing import (
    MAX_LOST_WORKERS,
    MOST_SECOND_DEALS,
    SLOW_S,
    SUSPECT_AFTER,
    Dealing,
    PartToDo,
)

sizes = st.lists(st.integers(0, 60), min_size=1, max_size=12)
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "finish", "commit", "die", "node dies", "wait", "withdraw"]), st.integers(0, 999)
    ),
    max_size=80,
)
MOST_HELD = 3


class Play:
    """Workers that ask, finish, commit and die in any order; it checks what must hold after every step."""

    def __init__(self, rows: list[int], workers: int) -> None:
        self.parts = [PartToDo(f"part-{number}", size, stage=number % 3) for number, size in enumerate(rows)]
        self.dealing, self.now, self.second_deals = Dealing(self.parts), 0.0, 0
        self.held: dict[str, list[str]] = {f"w{number}": [] for number in range(workers)}
        self.finished: list[tuple[str, str]] = []
        self.committed: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.condemned: set[str] = set()
        self.undealt = {part.name: part.rows for part in self.parts}
        self.withdrawn: set[str] = set()
        self.born = workers

    def step(self, what: str, which: int) -> None:
        worker = sorted(self.held)[which % len(self.held)]
        if what == "ask" and len(self.held[worker]) < MOST_HELD:
            self.ask(worker)
        elif what == "finish" and self.held[worker]:
            self.finish(worker, self.held[worker][which % len(self.held[worker])])
        elif what == "commit" and self.finished:
            self.commit(*self.finished[which % len(self.finished)])
        elif what in ("die", "node dies"):
            self.die(worker, is_blamed=what == "die")
        elif what == "wait":
            self.now += 2 * SLOW_S
        elif what == "withdraw":
            self.withdraw(which % 3)
        self.check()

    def ask(self, worker: str) -> None:
        part = self.dealing.deal(worker, self.now)
        held = self.held[worker]
        if part is None:
            suspects = [name for name in held if self.deaths[name] >= SUSPECT_AFTER]
            assert suspects or held or not self.waiting()
            return
        assert self.deaths[part.name] < SUSPECT_AFTER or not held
        assert part.name not in self.withdrawn
        assert all(self.deaths[name] < SUSPECT_AFTER for name in held)
        if part.name in self.undealt:
            assert part.rows == max(self.undealt.values())
            del self.undealt[part.name]
        elif self.holders(part.name):
            self.second_deals += 1
            assert not held and not self.undealt and not self.deaths[part.name]
        held.append(part.name)

    def waiting(self) -> set[str]:
        """Parts that nobody has and that have not ended."""
        return {part.name for part in self.parts if not self.has_ended(part.name) and not self.holders(part.name)}

    def has_ended(self, name: str) -> bool:
        return self.committed[name] > 0 or name in self.withdrawn

    def holders(self, name: str) -> list[str]:
        return [worker for worker, held in self.held.items() if name in held]

    def finish(self, worker: str, name: str) -> None:
        allowed = self.dealing.may_commit(worker, name)
        if allowed is None:
            assert len(self.holders(name)) == 2
        elif allowed:
            assert not self.committed[name]
            self.finished = [*(one for one in self.finished if one != (worker, name)), (worker, name)]
            assert len([one for one in self.finished if one[1] == name]) == 1
        else:
            assert self.has_ended(name)
            self.held[worker].remove(name)

    def commit(self, worker: str, name: str) -> None:
        self.finished.remove((worker, name))
        self.committed[name] += 1
        assert self.dealing.end(worker, name, self.now) and not self.dealing.end(worker, name, self.now)
        self.held[worker].remove(name)

    def withdraw(self, stage: int) -> None:
        names = {part.name for part in self.parts if part.stage == stage and not self.committed[part.name]}
        self.dealing.withdraw(stage)
        self.withdrawn |= names
        self.undealt = {name: rows for name, rows in self.undealt.items() if name not in names}
        late = [(worker, name) for worker, name in self.finished if name in names]
        assert not any(self.dealing.end(worker, name, self.now) for worker, name in late)
        self.finished = [one for one in self.finished if one not in late]

    def die(self, worker: str, is_blamed: bool) -> None:
        held = [name for name in self.held.pop(worker) if not self.has_ended(name)]
        self.deaths.update(held if is_blamed else ())
        self.condemned |= set(self.dealing.lose(worker, is_blamed))
        self.finished = [one for one in self.finished if one[0] != worker]
        for name in held:
            if not self.holders(name) and self.deaths[name] < SUSPECT_AFTER:
                self.undealt[name] = next(part.rows for part in self.parts if part.name == name)
        assert self.dealing.deal(worker, self.now) is None and self.dealing.may_commit(worker, "part-0") is False
        assert not any(self.dealing.end(worker, name, self.now) for name in held)
        self.born += 1
        self.held[f"w{self.born}"] = []

    def check(self) -> None:
        assert all(len(self.holders(part.name)) <= 2 for part in self.parts)
        assert self.second_deals <= MOST_SECOND_DEALS
        assert max(self.committed.values(), default=0) <= 1
        assert self.condemned == {name for name, count in self.deaths.items() if count >= MAX_LOST_WORKERS}
        assert self.dealing.is_over == all(self.has_ended(part.name) for part in self.parts)

    def play_to_the_end(self) -> None:
        """All workers that are there work as they should: that must be enough, in so many rounds."""
        for _ in range(4 * len(self.parts) + 4):
            for worker, held in self.held.items():
                if len(held) < MOST_HELD:
                    self.ask(worker)
                for name in list(held):
                    self.finish(worker, name)
                for one in list(self.finished):
                    self.commit(*one)
                self.check()


@given(sizes, st.integers(1, 5), steps)
def test_every_part_is_committed_once_whatever_dies_and_in_whatever_order(rows, workers, steps):
    play = Play(rows, workers)
    for what, which in steps:
        play.step(what, which)
        if play.condemned:
            return
    play.play_to_the_end()
    assert play.dealing.is_over and set(play.committed.values()) <= {1}
    assert {part.name for part in play.parts} == set(play.committed) ^ play.withdrawn


def test_a_part_that_kills_its_workers_is_the_only_one_that_is_condemned():
    dealing, condemned, worker = Dealing([PartToDo(f"part-{number}", number) for number in range(8)]), (), 0
    while not condemned:
        worker += 1
        held = []
        while len(held) < 4 and (part := dealing.deal(f"w{worker}", 0.0)) is not None:
            held.append(part.name)
        if "part-5" in held:
            condemned = dealing.lose(f"w{worker}")
            continue
        for name in held:
            assert dealing.may_commit(f"w{worker}", name) and dealing.end(f"w{worker}", name, 0.0)
    assert condemned == ("part-5",)


def test_lost_nodes_condemn_no_part():
    dealing = Dealing([PartToDo("part-0", 1)])
    for number in range(3 * MAX_LOST_WORKERS):
        assert dealing.deal(f"w{number}", 0.0) is not None
        assert dealing.lose(f"w{number}", is_blamed=False) == ()


def test_only_a_part_that_is_far_behind_is_made_twice_and_one_of_the_two_commits():
    dealing = Dealing([PartToDo("part-0", 2), PartToDo("part-1", 1)])
    assert dealing.deal("a", 0.0).name == "part-0" and dealing.deal("b", 0.0).name == "part-1"
    assert dealing.end("b", "part-1", 100.0)
    assert dealing.deal("b", 150.0) is None  # the other took 100 s, so 150 are nothing special
    assert dealing.deal("b", 201.0).name == "part-0"
    assert dealing.deal("c", 999.0) is None  # two are enough
    assert dealing.may_commit("b", "part-0") is True and dealing.may_commit("a", "part-0") is None
    dealing.lose("b")
    assert dealing.may_commit("a", "part-0") is True and dealing.end("a", "part-0", 1000.0) and dealing.is_over
    assert dealing.may_commit("b", "part-0") is False


def test_a_suspect_part_is_dealt_to_an_idle_worker_that_gets_nothing_beside_it():
    dealing = Dealing([PartToDo("part-0", 9), *(PartToDo(f"part-{number}", 1) for number in range(1, 5))])
    for worker in ("a", "b"):
        assert dealing.deal(worker, 0.0).name == "part-0" and dealing.lose(worker) == ()
    assert [dealing.deal("c", 0.0).name for _ in range(4)] == ["part-1", "part-2", "part-3", "part-4"]
    assert dealing.deal("c", 0.0) is None  # it holds others
    assert dealing.deal("d", 0.0).name == "part-0"
    dealing.lose("c", is_blamed=False)
    assert dealing.deal("d", 0.0) is None and dealing.deal("e", 0.0).name == "part-1"


def test_no_more_than_some_parts_of_a_stage_are_made_twice():
    dealing = Dealing([PartToDo(f"part-{number}", 1) for number in range(2 * MOST_SECOND_DEALS)])
    for number in range(2 * MOST_SECOND_DEALS):
        assert dealing.deal(f"slow {number}", 0.0) is not None
    second = [dealing.deal(f"idle {number}", 10 * SLOW_S) for number in range(2 * MOST_SECOND_DEALS)]
    assert len([part for part in second if part is not None]) == MOST_SECOND_DEALS


def test_sixty_four_replicas_come_close_to_the_best_that_their_calls_allow():
    parts, replicas = SMALL.parts(), Replicas(count=64, seats=64, mean_s=1.0, sigma=0.6)
    seconds = replicas.row_seconds(sum(parts), seed=0)
    best = best_span(seconds, 64 * 64)
    assert best / dealt_span(parts, seconds, replicas) > 0.95
    assert best / dealt_span(parts, seconds, replicas, hoarding=True) < 0.6
