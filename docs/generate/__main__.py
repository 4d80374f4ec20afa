"""`python -m docs.generate [--check]`: write the generated pages, or say which are not what the code makes of them."""

import argparse
import sys

from docs.generate.pages import drift, write


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="The reference pages in docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page has drifted")
    if not parser.parse_args().check:
        print("\n".join(f"wrote docs/reference/{name}" for name in write()) or "every page is as the code makes it")
        return 0
    wrong = drift()
    for name, problem in sorted(wrong.items()):
        print(f"docs/reference/{name} is {problem}", file=sys.stderr)
    if wrong:
        print("run `make docs` and read the difference: others rely on these pages", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
