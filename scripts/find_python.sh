#!/usr/bin/env bash
# Prints a Python 3 that can import the modules given; exit code 1 when there is none.
#
#   scripts/find_python.sh [MODULE...]
#
# Looks at the repository's .venv, then at python3 on the path, then at the system's.
root=$(cd "$(dirname "$0")/.." && pwd)
for python in "$root/.venv/bin/python" python3 /usr/bin/python3; do
  command -v "$python" >/dev/null || continue
  if "$python" -c 'import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]' \
       "$@" 2>/dev/null; then
    command -v "$python"
    exit 0
  fi
done
exit 1
