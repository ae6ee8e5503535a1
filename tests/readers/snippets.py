"""snippets.py ROOT FILE.md...: do the examples of the documentation run?

Every ```python and ```sql block that opens `out/…` or `sample_data/out/…` is run
with ROOT in that place. Exit code 1 with the block and its error on stderr.
"""

import re
import sys

BLOCK = re.compile(r"^```(python|sql)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPENED = re.compile(r"(?<=[\"'])(?:sample_data/)?out(?=/)")


def blocks(text):
    """Language and code of the blocks that open a dataset."""
    return [(language, code) for language, code in BLOCK.findall(text) if OPENED.search(code)]


def run(language, code):
    if language == "python":
        exec(compile(code, "<example>", "exec"), {})  # noqa: S102: the examples are ours
        return
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(code).fetchall()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    root, count = sys.argv[1], 0
    for name in sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            found = blocks(file.read())
        for language, code in found:
            try:
                run(language, OPENED.sub(lambda _: root, code))
            # Whatever an example raises is the finding.
            except Exception as error:  # noqa: BLE001
                sys.exit(f"{name}: an example does not run: {type(error).__name__}: {error}\n{code}")
            count += 1
    if count == 0:
        sys.exit("no example opens a dataset")
    print(f"{count} examples ran")


if __name__ == "__main__":
    main()
