"""What a machine has, as its kernel tells it: on this one, in containers of either kind, and where nothing is told."""

import os

import pytest

from particles import machine

GIB = 2**30


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """What the kernel says, from files of a test: paths below /proc or /sys/fs/cgroup and their content."""
    monkeypatch.setattr(machine, "PROCESSES", tmp_path / "proc")
    monkeypatch.setattr(machine, "CONTROL", tmp_path / "cgroup")

    def says(**files):
        for path, text in files.items():
            place = tmp_path.joinpath(*path.split("__"))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.with_name(place.name.replace("_dot_", ".")).write_text(str(text))

    return says


def test_nothing_is_known_where_nothing_is_told(kernel):
    assert machine.free_memory() is None
    kernel(proc__meminfo="MemTotal: 8 kB\n")
    assert machine.free_memory() is None


def test_cache_of_a_container_is_room(kernel):
    """Four fifths of what a group of 10 GiB uses were read from files long ago."""
    kernel(proc__meminfo=f"MemAvailable: {64 * GIB // 1024} kB\n", cgroup__memory_dot_current=9 * GIB)
    kernel(cgroup__memory_dot_max=10 * GIB, cgroup__memory_dot_high="max")
    kernel(cgroup__memory_dot_stat=f"anon {GIB}\nfile {8 * GIB}\ninactive_file {8 * GIB}\n")
    assert machine.free_memory() == 9 * GIB
    kernel(cgroup__memory_dot_high=4 * GIB)  # beyond it a process is held up until it hardly moves
    assert machine.free_memory() == 3 * GIB
    kernel(cgroup__memory_dot_max="max", cgroup__memory_dot_high="max")
    assert machine.free_memory() == 64 * GIB
    kernel(cgroup__memory_dot_high=GIB // 2)
    assert machine.free_memory() == 0


def test_the_group_of_this_process_and_those_around_it_count(kernel):
    """A job of a scheduler: the root has no limit, the job has one, and a group around it a smaller one."""
    kernel(proc__meminfo=f"MemAvailable: {64 * GIB // 1024} kB\n", proc__self__cgroup="0::/jobs/one/step\n")
    for group, most, used in (("jobs", 6, 5), ("jobs__one", 8, 4), ("jobs__one__step", "max", 4)):
        limit = most if most == "max" else most * GIB
        kernel(**{f"cgroup__{group}__memory_dot_max": limit, f"cgroup__{group}__memory_dot_current": used * GIB})
        kernel(**{f"cgroup__{group}__memory_dot_stat": f"inactive_file {GIB}\n"})
    assert machine.free_memory() == 2 * GIB


def test_groups_of_the_first_version(kernel):
    """A container that sees its own group as the root, though it is told the place outside."""
    kernel(proc__meminfo=f"MemAvailable: {64 * GIB // 1024} kB\n", proc__self__cgroup="4:cpu,memory:/docker/a\n0::/\n")
    kernel(cgroup__memory__memory_dot_limit_in_bytes=8 * GIB, cgroup__memory__memory_dot_usage_in_bytes=7 * GIB)
    kernel(cgroup__memory__memory_dot_stat=f"cache {5 * GIB}\ninactive_file 1\ntotal_inactive_file {5 * GIB}\n")
    assert machine.free_memory() == 6 * GIB
    kernel(cgroup__memory__docker__a__memory_dot_limit_in_bytes=3 * GIB)
    kernel(cgroup__memory__docker__a__memory_dot_usage_in_bytes=GIB)
    kernel(cgroup__memory__docker__a__memory_dot_stat="total_inactive_file 0\n")
    assert machine.free_memory() == 2 * GIB


@pytest.mark.parametrize("text", ["", "x", "-1", "9" * 30])
def test_what_no_kernel_says_is_passed_over(kernel, text):
    kernel(proc__meminfo=f"MemAvailable: {GIB // 1024} kB\n", proc__self__cgroup=text)
    kernel(cgroup__memory_dot_max=text, cgroup__memory_dot_current=0, cgroup__memory_dot_stat=text)
    assert machine.free_memory() == GIB


def test_cores_where_no_system_says_which(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert machine.cores() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores() == 1
