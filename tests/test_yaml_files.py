"""The YAML reader: what it reads is what PyYAML reads, and what it refuses costs neither memory nor time."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_parameters
from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError
from pipeline.labels import find_scheme
from pipeline.studies.reading import load_study
from pipeline.yaml_files import MAX_BYTES, MAX_DEPTH, check_yaml, open_yaml, parse_yaml, read_yaml

REPOSITORY = Path(__file__).resolve().parent.parent


def tenfold(first: str, inside: str) -> str:
    """A value, and eight lines of which each stands for ten of the line before: 10^8 in all."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {inside.format(', '.join([f'*a{n - 1}'] * 10))}" for n in range(1, 9)]
    return "\n".join(lines)


HOSTILE = {
    "many aliases": (tenfold("[x]", "[{}]"), "more than 100,000 values, those that aliases repeat included"),
    "many merges": (tenfold("{k: 1}", "{{<<: [{}]}}"), "more than 100,000 values"),
    "a loop": ("a: &a [*a]", "an alias that leads back"),
    "deep lists": ("[" * 5000, f"more than {MAX_DEPTH} levels"),
    "deep mappings": ("{a: " * 5000, f"more than {MAX_DEPTH} levels"),
    "a long number": ("a: " + "9" * 10_000, "line 1, column 4: a number of more than 100 characters"),
    "a long hexadecimal number": ("a: 0x" + "f" * 10_000, "a number of more than 100 characters"),
    "a long sexagesimal number": ("a: 1" + ":59" * 5_000, "a number of more than 100 characters"),
    "a section twice": (
        "seed: 1\nmodel: {stride: 8}\nseed: 2",
        "line 3, column 1: the key seed stands twice, first in",
    ),
    "a key twice inside": ("model:\n  stride: 8\n  stride: 9", "line 3, column 3: the key stride stands twice"),
    "no date": ("a: !!timestamp 2024-13-45", "line 1, column 4: '2024-13-45' is no value of the type timestamp"),
    "no number": ("a: !!int x", "is no value of the type int"),
    "no truth": ("a: !!bool x", "is no value of the type bool"),
    "code": ("a: !!python/object/apply:os.getpid []", "could not determine a constructor"),
    "a list as a key": ("? [1, 2]\n: 3", "found unhashable key"),
    "two documents": ("--- 1\n--- 2", "but found another document"),
    "no text": ("a: \0", "special characters are not allowed"),
    "half of a list": ("a: [", "line 1, column 5"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_refused_is_told_in_one_line(case: str) -> None:
    text, message = HOSTILE[case]
    with pytest.raises(ValueError, match=r".") as caught:
        parse_yaml(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_lines_that_stand_for_billions_of_values_cost_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in ("many aliases", "many merges"):
        with pytest.raises(ValueError, match="more than"):
            parse_yaml(HOSTILE[case][0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize("path", [*sorted(REPOSITORY.glob("data_manifests/**/*.yaml")), REPOSITORY / "params.yaml"])
def test_it_reads_the_projects_files_as_pyyaml_does(path: Path) -> None:
    assert read_yaml(path, "file") == yaml.safe_load(path.read_bytes())


@pytest.mark.parametrize("text", [
    "", "# nothing", "a", "a: [1, 0x10, 1.5, .inf, yes, ~, 'x', 1:30]", "base: &b {x: 1, y: 2}\nc: {<<: *b, x: 3}",
    "a: &x [1]\nb: *x", "\ufeffa: 1", "{1: a, '1': b}",
])  # fmt: skip
def test_it_reads_what_is_right_as_pyyaml_does(text: str) -> None:
    assert parse_yaml(text) == yaml.safe_load(text)


def test_dates_are_texts() -> None:
    assert parse_yaml("[2024-01-31, 2024-13-45, 2001-12-14t21:59:43.10-05:00]") == [
        "2024-01-31", "2024-13-45", "2001-12-14t21:59:43.10-05:00",
    ]  # fmt: skip


@pytest.mark.parametrize(("read", "what"), [
    (lambda path: load_parameters(path), "parameter file"),
    (lambda path: load_facts(str(path)), "data set file"),
    (lambda path: find_scheme(str(path)), "label scheme"),
    (lambda path: load_study(str(path)), "study file"),
])  # fmt: skip
def test_every_file_of_the_program_is_read_by_it(read, what: str, tmp_path: Path) -> None:
    """Twice the same key, a file that never ends, one that is too large, a folder, nothing: one line each."""
    twice, endless, large = (tmp_path / f"{name}.yaml" for name in ("twice", "endless", "large"))
    twice.write_text("name: a\nname: b\n")
    endless.symlink_to("/dev/zero")
    with large.open("wb") as stream:
        stream.truncate(200 * 1024**3)
    (tmp_path / "folder.yaml").mkdir()
    for path, message in [
        (twice, f"{what} {twice} cannot be read as YAML: line 2, column 1: the key name stands twice, first in line 1"),
        (endless, f"{what} {endless} cannot be read as YAML: the file exceeds the limit of {MAX_BYTES:,} bytes"),
        (large, f"{what} {large} cannot be read as YAML: 214,748,364,800 bytes exceeds the limit of {MAX_BYTES:,}"),
        (tmp_path / "folder.yaml", "cannot be read: Is a directory"),
        (tmp_path / "no.yaml", f"{what} not found: {tmp_path / 'no.yaml'}"),
    ]:
        with pytest.raises(InputError) as caught:
            read(path)
        assert message in str(caught.value)


def test_a_shells_pipes_and_nothing_are_read(tmp_path: Path) -> None:
    assert read_yaml(Path(os.devnull), "file") is None
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"echo 'seed: 3' > '{pipe}'"]):
        assert load_parameters(pipe).seed == 3


def test_a_text_for_another_reader_is_checked_before_it_and_tags_are_its_own_matter(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: !!python/tuple [1, 2]\n")
    assert open_yaml(path).read() == path.read_text()
    check_yaml("a: !!python/name:os.getpid")
    for case in ("many aliases", "deep lists", "a section twice", "half of a list"):
        path.write_text(HOSTILE[case][0])
        with pytest.raises(ValueError, match=r"."):
            open_yaml(path)


def test_the_command_line_says_it_in_one_line_whatever_the_yaml(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(HOSTILE["many aliases"][0])
    command = [sys.executable, "-m", "stages", "synth", "--out", str(tmp_path / "out")]
    for arguments in (["--params", str(path)], ["--set", "seed=" + "9" * 10_000]):
        done = subprocess.run([*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert len(done.stderr) < 400
