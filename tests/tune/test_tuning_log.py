"""The log keeps what was written, whatever happens to the writer, and answers the same for the same records."""

from __future__ import annotations

import multiprocessing
import random
from dataclasses import replace
from pathlib import Path

import pytest

from edgevision.target import load
from edgevision.tune.maintenance import prune
from edgevision.tuning_log import (
    FILE,
    Choice,
    Record,
    TuningLogError,
    append,
    decode,
    encode,
    folder_name,
    open_logs,
    read,
    tuned,
)
from edgevision.tuning_log import replace as write_anew
from tests.tune.records import SETTING, record

RECORDS = (
    record(),
    record(2, None, outcome="wrong", wins=False, us=None, low=None, high=None, detail="relative error 0.5"),
    record(3, 1.25, wins=False, workload="ü@0:0/16", detail="é\n\t"),
)


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / FILE
    append(path, RECORDS[:1])
    append(path, RECORDS[1:])
    assert read(path).records == RECORDS
    assert read(path).damaged == ()
    assert read(tmp_path / "none").records == ()


def test_a_torn_last_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / FILE
    append(path, RECORDS)
    whole = path.read_bytes()
    for cut in range(len(whole) - len(encode(RECORDS[-1]).encode()) + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert read(path).records == RECORDS[:-1]
        append(path, [record(9)])
        assert read(path).records == (*RECORDS[:-1], record(9))
        assert read(path).damaged == (3,)


def test_any_changed_byte_of_a_line_is_seen() -> None:
    line = encode(record())
    for at in range(len(line) - 1):
        other = line[:at] + ("0" if line[at] != "0" else "1") + line[at + 1 :]
        assert decode(other) is None, other
    assert decode(line) == record()


def test_a_line_of_another_form_is_no_record() -> None:
    import json
    import zlib

    for content in ({}, [], 3, {"choice": {}}, {"choice": {"template": "x"}, "setting": {}}):
        text = json.dumps(content)
        assert decode(f"{zlib.crc32(text.encode()):08x} {text}") is None


def _write(path: Path, writer: int) -> None:
    for number in range(60):
        append(path, [record(number, workload=f"w{writer}", detail="x" * (number * 37 % 500))])


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / FILE
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = read(path)
    assert content.damaged == ()
    for number in range(4):
        own = [r for r in content.records if r.workload == f"w{number}"]
        assert [dict(r.choice.parameters)["pixels"] for r in own] == list(range(60))


def test_a_file_is_written_anew_whole(tmp_path: Path) -> None:
    path = tmp_path / FILE
    append(path, RECORDS)
    write_anew(path, RECORDS[1:])
    assert read(path).records == RECORDS[1:]
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_what_cannot_be_read_or_written_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(TuningLogError, match="directory"):
        read(tmp_path / FILE)
    with pytest.raises(TuningLogError):
        append(tmp_path / FILE, RECORDS)
    (tmp_path / "file").write_text("")
    with pytest.raises(TuningLogError, match="not a folder"):
        open_logs([tmp_path / "file"], load("native"))


def test_the_best_median_wins_whatever_the_order() -> None:
    records = [record(1, 0.9), record(1, 0.7), record(1, 0.8), record(2, 0.79), record(2, 0.79), record(3, 0.95)]
    for seed in range(20):
        random.Random(seed).shuffle(records)
        found = tuned(records, SETTING)
        assert [dict(choice.parameters)["pixels"] for choice in found.choices("w")] == [2, 1, 3]
        assert found.choices("other") == ()


def test_ties_go_by_parameters() -> None:
    tied = [record(number, 0.8) for number in (7, 3, 12)] + [replace(record(), ratio=0.8, choice=Choice.of("another", {"z": 1}))]
    for seed in range(20):
        random.Random(seed).shuffle(tied)
        assert [str(choice) for choice in tuned(tied, SETTING).choices("w")] == [
            "another z=1", "conv2d pixels=3", "conv2d pixels=7", "conv2d pixels=12"
        ]  # fmt: skip


REFUSED = {
    "another instruction set": ({"isa": "x86_64 256-bit x16"}, {"foreign": 1}),
    "another TVM": ({"tvm": "0.28.0"}, {"stale": 1}),
    "other templates": ({"schedules": 2}, {"stale": 1}),
}


@pytest.mark.parametrize(("change", "refused"), REFUSED.values(), ids=REFUSED)
def test_records_of_another_setting_are_no_results(change: dict[str, object], refused: dict[str, int]) -> None:
    other = record(setting=replace(SETTING, **change))  # type: ignore[arg-type]
    found = tuned([other], SETTING)
    assert found.choices("w") == () and found.refused == refused


def test_what_did_not_win_is_no_result() -> None:
    assert tuned([record(wins=False), *RECORDS[1:]], SETTING).choices("w") == ()


def test_another_number_of_threads_is_better_than_nothing() -> None:
    two = replace(SETTING, threads=2)
    assert tuned([record(1, setting=two)], SETTING).choices("w") == (record(1).choice,)
    both = [record(1, 0.5, setting=two), record(2, 0.9)]
    assert tuned(both, SETTING).choices("w") == (record(2).choice,)
    assert tuned(both, two).choices("w") == (record(1).choice,)


def test_a_modelled_record_yields_to_a_measured_one() -> None:
    modelled = record(1, 0.5, how="modelled")
    assert tuned([modelled], SETTING).choices("w") == (record(1).choice,)
    assert tuned([modelled], SETTING).is_modelled("w")
    both = tuned([modelled, record(2, 0.9)], SETTING)
    assert both.choices("w") == (record(2).choice,)
    assert not both.is_modelled("w") and not both.is_modelled("another")
    elsewhere = record(3, 0.9, setting=replace(SETTING, threads=2))
    assert tuned([modelled, elsewhere], SETTING).choices("w") == (record(3).choice,)


def test_choices_are_outdated_beside_another_default() -> None:
    default, best = replace(record(1, 1.0), low=None, high=None), record(2, 0.8)
    found = tuned([default, best], SETTING)
    assert found.choices("w", default.choice) == (best.choice, default.choice) and found.choices("w", record(3).choice) == ()
    assert not found.is_outdated("w", default.choice) and found.is_outdated("w", record(3).choice)
    assert not found.is_outdated("w", None) and not found.is_outdated("another", default.choice)
    for unknown in ([best], [best, replace(default, low=0.99, high=1.01)]):
        assert not tuned(unknown, SETTING).is_outdated("w", record(3).choice), "nobody knows what it was compared with"


def test_a_search_anew_beside_another_default_counts_alone() -> None:
    old = [replace(record(1, 1.0), low=None), record(2, 0.5)]
    default = record(3).choice
    new = [replace(r, beside=str(default)) for r in (replace(record(3, 1.0), low=None), record(4, 0.9))]
    for records in ([*old, *new], [*new, *old]):
        found = tuned(records, SETTING)
        assert found.choices("w", default) == (record(4).choice, default)
        assert found.choices("w", record(1).choice) == (record(2).choice, record(1).choice)
        assert found.is_outdated("w", record(5).choice)


def test_pruning_keeps_the_best_beside_each_default(tmp_path: Path) -> None:
    old = [replace(record(1, 1.0), low=None), record(2, 0.5), record(3, 0.6)]
    new = [replace(r, beside=str(record(4).choice)) for r in (replace(record(4, 1.0), low=None), record(5, 0.8), record(6, 0.9))]
    append(tmp_path / "x86_64-avx512" / FILE, [*old, *new])
    assert prune(tmp_path, 1) == {"x86_64-avx512": (6, 4)}
    kept = read(tmp_path / "x86_64-avx512" / FILE).records
    assert {r.choice for r in kept} == {record(i).choice for i in (1, 2, 4, 5)}
    assert tuned(kept, SETTING).choices("w", record(4).choice)[0] == record(5).choice


def test_results_of_another_machine_count_where_there_are_none_of_this_one() -> None:
    own, shipped = record(1, 0.9), [record(2, 0.5), replace(record(3, 0.7), workload="other")]
    found = tuned([own], SETTING, elsewhere=shipped)
    assert found.choices("w") == (own.choice,) and found.choices("other") == (record(3).choice,)
    threads = replace(SETTING, threads=7)
    assert tuned([own], threads, elsewhere=[record(2, 0.5, setting=threads)]).choices("w") == (own.choice,)
    assert tuned([record(1, how="modelled")], SETTING, elsewhere=shipped).choices("w") == (record(2).choice,)
    stale = [record(2, setting=replace(SETTING, tvm="0.1"))]
    assert tuned(stale, SETTING, elsewhere=stale).refused == {"stale": 2}


def test_targets_of_one_instruction_set_share_a_log() -> None:
    assert folder_name(load("arm64")) == folder_name(load("arm64-android")) == "aarch64-neon"
    assert folder_name(load("x86_64")) == "x86_64-avx2"
    assert folder_name(load("armv7")) != folder_name(load("arm64"))


def test_the_first_folder_and_the_others_are_read(tmp_path: Path) -> None:
    target = load("x86_64")
    for name in ("a", "b"):
        append(tmp_path / name / folder_name(target) / FILE, [record(workload=name)])
    found: tuple[Record, ...] = open_logs([tmp_path / "a", tmp_path / "absent", tmp_path / "b"], target)
    assert [r.workload for r in found] == ["a", "b"]
