"""The search finds what is fastest, spends trials where time is, and continues from its log."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from edgevision.errors import DeviceError
from edgevision.schedule import generic
from edgevision.tune.search import MOST_SEEDS, PATIENCE, PLATEAU_TRIALS, neighbours, start
from edgevision.tune.state import Budget
from edgevision.tune.trial import CONFIRM_BLOCKS
from edgevision.tuning_log import Choice, append, read, tuned
from tests.tune.fakes import FakeBench, bowl, session, space, task
from tests.tune.records import record

BEST = Choice.of("conv2d", {"pixels": 7, "sweep": 3})
UNBOUNDED = Budget()


def test_the_best_is_found_and_chosen_from_the_log(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench())
    state = run.run([task()], (), UNBOUNDED)
    (found,) = state.tasks
    assert found.best == BEST
    assert found.ratio == pytest.approx(bowl(BEST) / bowl(task().default), rel=1e-3)
    assert tuned(read(run.log).records, run.setting).choices("a")[0] == BEST
    assert state.best_ms == pytest.approx(bowl(BEST) / 1e3, rel=1e-3)


def test_no_choice_is_tried_twice_and_the_whole_space_at_most(tmp_path: Path) -> None:
    bench = FakeBench(cost=lambda _: 100.0)
    session(tmp_path, bench).run([task(choices=space(3, 3))], (), UNBOUNDED)
    assert len(bench.built) == len(set(bench.built)) == 9


def test_a_template_that_is_never_near_the_best_is_drawn_no_more(tmp_path: Path) -> None:
    other = tuple(Choice.of("depthwise", {"pixels": i, "sweep": i}) for i in range(200))
    bench = FakeBench(cost=lambda choice: bowl(choice) if choice.template == "conv2d" else 500.0)
    state = session(tmp_path, bench).run([task(choices=(*space(10, 12), *other))], (), UNBOUNDED)
    assert state.tasks[0].best == BEST
    drawn = sum(choice.template == "depthwise" for choice in bench.built)
    assert PATIENCE <= drawn <= PATIENCE + 4, "some are compiled while the last of them are measured"
    near = FakeBench(cost=lambda choice: bowl(choice) if choice.template == "conv2d" else 150.0)
    session(tmp_path, near).run([task("b", choices=(*space(10, 12), *other))], (), UNBOUNDED)
    assert sum(choice.template == "depthwise" for choice in near.built) > PATIENCE + 4


def test_what_a_template_was_for_one_task_is_known_for_others_of_its_sort(tmp_path: Path) -> None:
    other = tuple(Choice.of("depthwise", {"pixels": i, "sweep": i}) for i in range(200))
    tasks = [task(name, choices=(*space(10, 12), *other)) for name in "abcd"]

    def drawn(cost: float) -> int:
        bench = FakeBench(cost=lambda choice: bowl(choice) if choice.template == "conv2d" else cost)
        folder = tmp_path / str(cost)
        folder.mkdir()
        session(folder, bench).run(tasks, (), UNBOUNDED)
        return sum(choice.template == "depthwise" for choice in bench.built)

    assert PATIENCE <= drawn(500.0) <= PATIENCE + 4 + len(tasks)
    assert drawn(150.0) > len(tasks) * PATIENCE, "near the best before that was found"


OTHER_TEMPLATE = tuple(Choice.of("depthwise", {"pixels": i, "sweep": i}) for i in range(50))


@pytest.mark.parametrize(
    ("near", "default", "drawn"),
    [
        (set(), space()[0], False), ({"depthwise"}, space()[0], True), (set(), OTHER_TEMPLATE[0], True),
        (set(), Choice.of(generic.NAME, {}), True),
    ],
    ids=["near nowhere", "near elsewhere", "another sort", "no template's"],
)  # fmt: skip
def test_what_others_of_the_sort_teach(tmp_path: Path, near: set[str], default: Choice, drawn: bool) -> None:
    run, alike = session(tmp_path, FakeBench()), default if default.template == generic.NAME else space()[0]
    own = start(replace(task(choices=(*space(), *OTHER_TEMPLATE)), default=alike), (), run.setting, 0)
    other = start(replace(task("b"), default=default), (), run.setting, 0)
    own.misses["depthwise"], other.misses["depthwise"], other.near = 1, PATIENCE, near
    assert any(choice.template == "depthwise" for choice in iter(lambda: own.propose([other]), None)) is drawn


def test_neighbours_are_those_of_what_is_best_now(tmp_path: Path) -> None:
    search = start(task(), (), session(tmp_path, FakeBench()).setting, 0)
    search.random.random = lambda: 0.0  # type: ignore[method-assign]
    for best in (space()[0], BEST):
        search.best = best
        assert search.propose([]) in neighbours(best, space())


def test_what_a_run_improved_is_compared_with_the_default_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, asked = FakeBench(cost=lambda choice: 50.0 if choice == BEST else 100.0), []
    compare = bench.compare
    monkeypatch.setattr(bench, "compare", lambda blocks, limit_s: (asked.append(blocks), compare(blocks, limit_s))[1])
    session(tmp_path, bench).run([task()], (), UNBOUNDED)
    assert asked[-1] == CONFIRM_BLOCKS[1] and BEST in bench.built


def test_a_plateau_ends_a_task(tmp_path: Path) -> None:
    bench = FakeBench(cost=lambda _: 100.0)
    state = session(tmp_path, bench).run([task(choices=space(40, 10))], (), UNBOUNDED)
    assert state.trials == PLATEAU_TRIALS
    assert state.tasks[0].finished


def test_trials_are_counted_across_what_is_in_flight(tmp_path: Path) -> None:
    assert session(tmp_path, FakeBench()).run([task()], (), Budget(trials=7)).trials == 7


def test_time_ends_a_run(tmp_path: Path) -> None:
    ticks = itertools.count()
    state = session(tmp_path, FakeBench(), clock=lambda: float(next(ticks))).run([task()], (), Budget(seconds=40))
    assert 0 < state.trials < 40


def test_trials_go_where_the_time_is(tmp_path: Path) -> None:
    tasks = [task("rare"), task("often", count=20)]
    state = session(tmp_path, FakeBench(cost=lambda _: 100.0)).run(tasks, (), Budget(trials=40))
    rare, often = state.tasks
    assert often.trials > 4 * rare.trials


def test_what_multiplies_at_full_speed_gets_fewer_trials(tmp_path: Path) -> None:
    tasks = [task("fast", macs=1000), task("slow", macs=100)]
    state = session(tmp_path, FakeBench(cost=lambda _: 100.0)).run(tasks, (), Budget(trials=40))
    fast, slow = state.tasks
    assert slow.trials > 4 * fast.trials


FAILURES = ("wrong", "crashed", "hung", "uncompilable")


def test_failures_cost_one_trial_each_and_are_recorded(tmp_path: Path) -> None:
    fails = dict(zip(space()[10:14], FAILURES, strict=True))
    run = session(tmp_path, FakeBench(fails=fails))
    state = run.run([task()], (), UNBOUNDED)
    assert state.tasks[0].best == BEST
    records = {r.choice: r for r in read(run.log).records if r.choice in fails}
    assert {choice: r.outcome for choice, r in records.items()} == fails
    assert all(r.ratio is None and not r.wins for r in records.values())


def test_the_fastest_of_all_is_not_chosen_if_it_is_wrong(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench(fails={BEST: "wrong"}))
    run.run([task()], (), UNBOUNDED)
    assert BEST not in tuned(read(run.log).records, run.setting).choices("a")


def test_a_default_that_does_not_run_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="doctor"):
        session(tmp_path, FakeBench(fails={task().default: "crashed"})).run([task()], (), UNBOUNDED)


def test_a_second_run_continues_from_the_log(tmp_path: Path) -> None:
    first = session(tmp_path, FakeBench())
    first.run([task()], (), Budget(trials=12))
    tried = {r.choice for r in read(first.log).records}
    bench = FakeBench()
    second = session(tmp_path, bench)
    second.run([task()], read(second.log).records, UNBOUNDED)
    again = [choice for choice in bench.built if choice in tried]
    assert set(again) <= {task().default, start(task(), read(first.log).records, first.setting, 0).best, *first_best(first)}
    assert len(again) <= 2
    assert tuned(read(second.log).records, second.setting).choices("a")[0] == BEST


def first_best(run: object) -> tuple[Choice, ...]:
    """What was best when the second run began: it is compiled again, to be compared with."""
    return tuned(read(run.log).records[:14], run.setting).choices("a")[:1]  # type: ignore[attr-defined]


def test_the_same_seed_tries_the_same(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        bench = FakeBench()
        session(tmp_path / name, bench, seed=seed).run([task(), task("b", 3)], (), Budget(trials=30))
        made.append(bench.built)
    assert made[0] == made[1] != made[2]


def test_foreign_and_stale_records_are_tried_first(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench())
    legal, illegal = Choice.of("conv2d", {"pixels": 9, "sweep": 4}), Choice.of("conv2d", {"pixels": 99, "sweep": 4})
    foreign = replace(run.setting, isa="x86_64 512-bit x32")
    stale = replace(run.setting, tvm="0.1")
    known = [
        replace(record(setting=foreign, workload="other hash", what="conv2d a"), choice=BEST),
        replace(record(setting=stale, workload="a"), choice=legal),
        replace(record(setting=stale, workload="a"), choice=illegal),
        replace(record(setting=stale, workload="b", what="conv2d b"), choice=space()[20]),
    ]
    search = start(task(), known, run.setting, 0)
    assert search.best == task().default and search.default_us is None
    assert {search.propose([]), search.propose([])} == {BEST, legal}
    assert search.seeds == []


def test_results_of_this_setting_are_no_seeds(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench())
    own = replace(record(setting=run.setting, workload="a"), choice=BEST)
    search = start(task(), [own], run.setting, 0)
    assert search.best == BEST and search.seeds == [] and not search.is_untried(BEST)


def test_results_beside_another_default_are_seeds(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench())
    default = replace(record(setting=run.setting, workload="a", ratio=1.0), choice=space()[1], low=None)
    best = replace(default, choice=BEST, ratio=0.5, low=0.4)
    search = start(task(), [default, best], run.setting, 0)
    assert (search.best, search.us, search.seeds) == (task().default, None, [BEST, default.choice])
    search = start(task(), [replace(default, choice=task().default), best], run.setting, 0)
    assert (search.best, search.seeds) == (BEST, [])
    append(run.log, [default, replace(best, choice=space()[2])])
    run.run([task()], read(run.log).records, UNBOUNDED)
    records = read(run.log).records
    assert {record.beside for record in records[2:]} == {str(task().default)}
    assert tuned(records, run.setting).choices("a", task().default)[0] == BEST


def test_what_was_tried_takes_no_seeds_place(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench())
    own = [replace(record(setting=run.setting, workload="a"), choice=choice) for choice in space()[:MOST_SEEDS]]
    left = replace(record(setting=run.setting, workload="a", ratio=0.99), choice=BEST)
    assert start(task(), own, run.setting, 0, [*own, left]).seeds == [BEST]


def test_results_of_other_machines_are_tried_first_and_measured_here(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench())
    default = record(setting=run.setting, workload="a", us=1.0)
    shipped = [default, replace(default, choice=BEST)]
    search = start(task(), (), run.setting, 0, shipped)
    assert (search.best, search.us, search.trials) == (task().default, None, 0) and BEST in search.seeds
    state = run.run([task()], (), Budget(trials=4), shipped)
    assert state.tasks[0].best == BEST and state.tasks[0].default_us > 100  # type: ignore[operator]


def test_a_choice_of_the_log_that_is_none_any_more_is_left(tmp_path: Path) -> None:
    run = session(tmp_path, FakeBench(fails={BEST: "uncompilable"}))
    append(run.log, [replace(record(setting=run.setting, workload="a", ratio=0.5), choice=BEST)])
    state = run.run([task()], read(run.log).records, Budget(trials=20))
    assert state.tasks[0].best != BEST and state.tasks[0].ratio < 1


def test_neighbours_differ_by_a_step() -> None:
    near = neighbours(BEST, space())
    assert Choice.of("conv2d", {"pixels": 8, "sweep": 4}) in near
    assert Choice.of("conv2d", {"pixels": 9, "sweep": 3}) not in near
    assert BEST not in near
    assert len(near) == 8


def test_what_a_choice_does_not_say_is_a_step_below_the_least() -> None:
    cuts: list[dict[str, int]] = [{}, {"strips": 2}, {"strips": 3}, {"late": 1}]
    choices = whole, half, third, late = [Choice.of("winograd", {"chunk": 1, **cut}) for cut in cuts]
    assert [neighbours(each, choices) for each in choices] == [{half, late}, {whole, third, late}, {half}, {whole, half}]
