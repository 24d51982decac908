"""Files of JSON lines: what is whole is read, what is broken is named."""

from pathlib import Path

import pytest

from rec_jax.errors import InputError
from rec_jax.files import append_line, read_lines


def test_a_line_cut_off_is_passed_over_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert read_lines(path) == []
    append_line(path, {"x": 1})
    append_line(path, [2])
    with path.open("a") as file:
        file.write('{"x": ')
    assert read_lines(path) == [{"x": 1}, [2]]
    path.write_text('{"x": 1}\n{"x": \n[2]\n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: is not JSON .*; mend or remove that line"):
        read_lines(path)
