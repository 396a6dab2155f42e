#!/usr/bin/env bash
# Make .venv from the hash lock, and install this package there as it stands in src/: install.sh LOCK PACKAGES STAMP.
# PACKAGES is written after the packages of the lock, STAMP last of all, so that an interrupted installation never looks
# finished. A .venv without PACKAGES is made anew; in one that lacks STAMP alone, only this package is installed again.
set -euo pipefail
lock=$1
packages=$2
stamp=$3

stop() {
  echo "$*" >&2
  exit 1
}

# A half-made or activated .venv must not be asked to make itself.
PATH=":$PATH:"
PATH=${PATH//":$PWD/.venv/bin:"/:}
PATH=${PATH#:}
PATH=${PATH%:}

# Tests of libraries, and packages that only an installation, a developer or torch.compile imports.
unused='tests?|pip|setuptools|mypyc?|pygments|docutils|networkx|_inductor|hypothesis|_pytest'

install_packages() {
  local python="" candidate installed=no
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
  rm -f .venv/complete-* .venv/installed-*
  "$python" -m venv --clear .venv

  if command -v uv > /dev/null; then
    # uv does not read pip's settings: where it finds no index, pip may.
    uv pip sync --quiet --require-hashes --python .venv/bin/python "$lock" && installed=yes || echo "Trying pip instead of uv."
  fi
  if [ $installed = no ]; then
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-compile --require-hashes --no-deps \
      -r "$lock" || stop "$lock could not be installed, see above; a package index must be reachable. Then run make again."
  fi
  # Once and by all cores: where Python may write no bytecode (PYTHONDONTWRITEBYTECODE, another's folder), each job would
  # compile again what it imports, half of the time that it takes to start. Files for other Pythons do not compile. What
  # no job imports, half of all, is left out.
  .venv/bin/python -m compileall -q -j 0 -x "/($unused)/" .venv/lib > /dev/null 2>&1 || true
  touch "$packages"
}

[ -e "$packages" ] || install_packages

# Editable, and from nothing but what the lock brought: pip is that of the .venv, setuptools builds.
rm -f .venv/installed-*
PYTHONPATH="" .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --root-user-action ignore \
  --no-index --no-deps --no-build-isolation --editable . || stop "This package could not be installed into .venv, see above."
touch "$stamp"
