#!/usr/bin/env bash
# Make .venv from the hash lock: install.sh LOCK STAMP. The stamp is written last, so that an interrupted installation
# never looks finished; a .venv without it is made anew.
set -euo pipefail
lock=$1
stamp=$2

stop() {
  echo "$*" >&2
  exit 1
}

# A half-made or activated .venv must not be asked to make itself.
PATH=":$PATH:"
PATH=${PATH//":$PWD/.venv/bin:"/:}
PATH=${PATH#:}
PATH=${PATH%:}

python=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || stop "brain2clip needs Python 3.11 or newer, and none was found on the PATH" \
  "($(python3 --version 2> /dev/null || echo 'there is no python3')); or name one: make ... PYTHON=/path/to/python3."
"$python" -c 'import ensurepip, venv' 2> /dev/null ||
  stop "brain2clip needs Python's modules venv and ensurepip, and $("$python" --version) here lacks them" \
    "(Debian and Ubuntu: apt-get install python3-venv)."

echo "Making .venv from $lock with $("$python" --version): a few GB, some minutes."
rm -f .venv/complete-*
"$python" -m venv --clear .venv

installed=no
if command -v uv > /dev/null; then
  # uv does not read pip's settings: where it finds no index, pip may.
  uv pip sync --quiet --require-hashes --python .venv/bin/python "$lock" && installed=yes || echo "Trying pip instead of uv."
fi
if [ $installed = no ]; then
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-compile --require-hashes --no-deps \
    -r "$lock" || stop "$lock could not be installed, see above; a package index must be reachable. Then run make again."
fi
touch "$stamp"
