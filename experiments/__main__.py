"""Lists the experiments: `python -m experiments`."""

import ast
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def listing() -> dict[str, str]:
    """Module name -> first line of its docstring, read without running anything."""
    found = {}
    for path in sorted(HERE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        runs = any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)
        if runs and path.name != "__main__.py":
            name = ".".join(path.relative_to(HERE.parent).with_suffix("").parts)
            found[name] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


if __name__ == "__main__":
    table = Table("run with python -m", "what it does")
    for name, summary in listing().items():
        table.add_row(name, summary)
    Console().print(table)
