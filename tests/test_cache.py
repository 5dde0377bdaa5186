"""Where what can be made again is kept."""

from pathlib import Path

from edgevision import cache


def test_the_user_says_where(monkeypatch):
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert cache.directory() == Path("/var/caches/edgevision")
    assert cache.zig_directory() == Path("/var/caches/zig")
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/var/zig")
    assert cache.zig_directory() == Path("/var/zig")


def test_the_home_is_the_default_and_a_relative_path_counts_as_none(monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.directory() == Path("/home/user/.cache/edgevision")
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    assert cache.directory() == Path("/home/user/.cache/edgevision")
