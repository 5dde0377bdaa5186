"""Every example of README.md and docs/ does what its page says (tests/pages.py has the rules)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import Example, PageError, examples, matches, run, save_model

CHECKOUT = Path(__file__).parent.parent
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md")), CHECKOUT / "examples" / "README.md"]
NAMES = [str(path.relative_to(CHECKOUT)) for path in PAGES]


def has(path: Path, *, large: bool) -> bool:
    return any(each.large == large for each in examples(path.read_text(encoding="utf-8")))


def parameters(*, large: bool) -> list[str]:
    return [name for name, path in zip(NAMES, PAGES, strict=True) if has(path, large=large)]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The folder in which a page's examples run."""
    save_model(tmp_path / "model.onnx")
    return tmp_path


@pytest.mark.qemu
@pytest.mark.parametrize("name", parameters(large=False))
def test_the_quick_examples_work(name: str, desk: Path) -> None:
    for example in examples((CHECKOUT / name).read_text(encoding="utf-8")):
        if not example.large:
            run(example, desk)


@pytest.mark.large
@pytest.mark.qemu
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", parameters(large=True))
def test_all_examples_work(name: str, desk: Path) -> None:
    for example in examples((CHECKOUT / name).read_text(encoding="utf-8")):
        run(example, desk)


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_within_the_checkout_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_page_of_the_guide_is_reached_from_the_readme() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if name.startswith("docs/") and name.count("/") == 1 and name not in readme] == []


WRONG = {
    "other words": "```console\n$ echo right\nwrong\n```\n",
    "a word too many": "```console\n$ echo right\n```\n",
    "a failure": "```console\n$ false\n```\n",
    "a success": "```console exit=2\n$ true\n```\n",
    "an exception": "```python\nassert False\n```\n",
}


@pytest.mark.parametrize("page", WRONG.values(), ids=WRONG)
def test_a_wrong_example_is_found(page: str, tmp_path: Path) -> None:
    (example,) = examples(page)
    with pytest.raises(PageError):
        run(example, tmp_path)


def test_a_misspelt_word_after_the_language_is_found() -> None:
    with pytest.raises(PageError, match="elswhere"):
        list(examples("```console elswhere\n$ true\n```\n"))


def test_what_a_fence_says_is_kept() -> None:
    fences = ("toml file=a.toml\nx = 1\n", "c\nint x;\n", "console large exit=3 \n$ a\n", "console elsewhere\n$ b\n")
    page = "text\n" + "".join(f"```{fence}```\n" for fence in fences)
    assert list(examples(page)) == [
        Example(line=2, language="toml", text="x = 1\n", file="a.toml"),
        Example(line=8, language="console", text="$ a\n", status=3, large=True),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("│ median │ 12 ms │", "┃ median  ┃ 3.46 ms ┃", True),
        ("largest error 1.5e-06", "largest error 2e-7", True),
        ("12 ms", "not measured", False),
        ("first\n...\nlast", "first\nany\nthing\nlast\n", True),
        ("first\n...\nlast", "first\nany\nthing\nlast\nmore", False),
        ("", "a warning", False),
    ],
)
def test_what_is_printed_is_compared(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) == same
