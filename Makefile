# Two commands matter: `make app` and `make test`. `make help` lists the rest.

PORT ?= 5006
ADDRESS ?= 127.0.0.1
ORIGIN ?= $(if $(filter-out 127.0.0.1 localhost,$(ADDRESS)),$(ADDRESS):$(PORT),localhost:$(PORT) 127.0.0.1:$(PORT))
USERS ?=
NETWORK ?=
TORCH_VERSION ?= 2.13.0
BROWSERS ?= google-chrome google-chrome-stable chromium chromium-browser
# The first Python on PATH that pyproject.toml allows.
PYTHON_FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c '$(PYTHON_FITS)' >/dev/null 2>&1 && echo $$p && break; done)

VENV_PYTHON := .venv/bin/python
PIP_INSTALL := $(VENV_PYTHON) -m pip install --disable-pip-version-check

# Where Python may not keep what it compiled, each process compiles all that it imports anew, which takes 3 s.
export PYTHONDONTWRITEBYTECODE :=

# One process, whatever the class: its threads share what is computed. tests/pages/served.py serves by the same.
# MALLOC_ARENA_MAX below: glibc keeps a heap a thread, and in each what was freed there.
SERVE := --warm --unused-session-lifetime 60000

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help app notebooks lessons ready test bench lint audit check screenshots cost kills load soak starts format lock clean browser

help:
	@echo "make app      install into .venv (first run only) and serve the explorer"
	@echo "              PORT=5006           the port it listens on"
	@echo "              ADDRESS=127.0.0.1   the address: as it is, nobody reaches it from another machine"
	@echo "              ORIGIN=NAME[:PORT]  the name in the browsers' address, if it is another (a proxy's)"
	@echo "              NETWORK=module:function  adds the nn.Module that it returns; its module lies here or on PYTHONPATH"
	@echo "              USERS=FILE          a login, see For a class in CONTRIBUTING.md"
	@echo "make notebooks  install JupyterLab (first run only) and open the teaching notebooks"
	@echo "make test     install the test extras, find or install a browser, run every test"
	@echo "              ARGS='-k moments'   further arguments for pytest"
	@echo "make bench    speed, as ratios within one run, on a machine that does nothing else"
	@echo "make lint     ruff format --check and ruff check, notebooks too"
	@echo "make audit    known faults of the packages in requirements.lock, where the network can be reached"
	@echo "make check    lint, audit and test: what a change must pass"
	@echo "make screenshots  pictures of the dashboard, light and dark, desktop and phone, in screenshots/"
	@echo "make cost     what the exact points cost, measured anew, as assets/cost.png"
	@echo "make lessons  run all notebooks and save them with their pictures"
	@echo "make kills    kill a sweep or a worker 20 times at random moments: no row may be lost or doubled"
	@echo "make load     40 visitors for 5 minutes; SESSIONS=40 SECONDS=300"
	@echo "make soak     an hour of random use in a browser: no leak, no error; MINUTES=60"
	@echo "make starts   ten notebooks run anew in JupyterLab, a slider moved before the end; STARTS=10"
	@echo "make format   format and fix what ruff can fix"
	@echo "make lock     write requirements.lock anew from pyproject.toml, newest versions that fit"
	@echo "make clean    remove .venv and caches"
	@echo
	@echo "At the first install:"
	@echo "  PYTHON=...       Python 3.11, 3.12 or 3.13 to use  (found: $(or $(PYTHON),none))"
	@echo "  TORCH_INDEX=...  package index to take torch from. On Linux the default torch brings"
	@echo "                   gigabytes of CUDA libraries; with the address of PyTorch's CPU wheel"
	@echo "                   index (pytorch.org shows it under: Linux, Pip, CPU) it does not."

app: .venv/app.stamp .venv/first_page.stamp
	@$(VENV_PYTHON) -c "$$CHECK_PORT" '$(PORT)' '$(ADDRESS)'
	$(if $(USERS),@[ -f '$(USERS)' ] || { echo "USERS=$(USERS) is not a file: make one of names and passwords."; exit 1; })
	$(if $(USERS),@[ -n "$$PANEL_COOKIE_SECRET" ] || { echo "A login needs PANEL_COOKIE_SECRET in the environment: \
	set it to the output of  openssl rand -hex 32"; exit 1; })
	@echo
	@echo "  The explorer: http://$(firstword $(ORIGIN))/app"
	@echo "  Ready when the log below says that it is running; Ctrl+C stops it."
	@echo
	@exec env MALLOC_ARENA_MAX=2 $(VENV_PYTHON) -m panel serve explorer/app.py --address $(ADDRESS) --port $(PORT) $(SERVE) \
	  $(ORIGIN:%=--allow-websocket-origin %) \
	  $(if $(USERS),--basic-auth '$(USERS)' --basic-login-template explorer/page/login.html) \
	  $(if $(NETWORK),--args --network '$(NETWORK)')

notebooks: .venv/notebooks.stamp
	@$(VENV_PYTHON) -m jupyter lab notebooks

lessons: .venv/test.stamp browser
	PYTHONPATH=tests/pages:tests/support $(VENV_PYTHON) tests/tools/lessons.py

# glibc's malloc: keep what is freed. Large tensors are asked for over and over, and each page came zeroed.
KEEP_FREED := MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296

# The packages and the browser at the same time: each waits for the network and the disk.
ready:
	+@$(MAKE) --no-print-directory -j 2 .venv/test.stamp browser

# On two cores, of one thread each.
test: ready
ifdef ARGS
	$(VENV_PYTHON) -m pytest $(ARGS)
else
	OMP_NUM_THREADS=1 $(KEEP_FREED) $(VENV_PYTHON) -m pytest -m "not benchmark" -n 2 --dist loadgroup --no-loadscope-reorder
endif

# Ratios within one run, for a machine that does nothing else.
bench: .venv/test.stamp browser
	$(KEEP_FREED) $(VENV_PYTHON) -m pytest -m benchmark $(ARGS)

lint: .venv/test.stamp
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m ruff check .
	.venv/bin/lint-imports

# A tool in an environment of its own, and only where it can be fetched: no test waits for the network.
audit:
	@$(check_python)
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; trap 'exit 1' INT TERM; \
	$(PYTHON) -m venv "$$dir" && "$$dir/bin/python" -m pip install -q --disable-pip-version-check --retries 0 \
	  --timeout 15 pip-audit >"$$dir/log" 2>&1 \
	  || { echo "pip-audit cannot be fetched: THE PACKAGES WERE NOT AUDITED."; exit 0; }; \
	"$$dir/bin/pip-audit" --no-deps --disable-pip --progress-spinner off -r requirements.lock >"$$dir/log" 2>&1 && ok=1; \
	if grep -q '^Found' "$$dir/log"; then cat "$$dir/log"; exit 1; fi; \
	unknown=$$(grep -c 'could not be audited' "$$dir/log"); all=$$(grep -c == requirements.lock); \
	if [ -z "$$ok" ] || [ "$$unknown" = "$$all" ]; then \
	  echo "The list of known faults cannot be reached: THE PACKAGES WERE NOT AUDITED."; \
	else echo "No known fault in $$((all - unknown)) of $$all packages; of the others nothing is known."; fi

check: lint audit test

screenshots: .venv/test.stamp browser
	PYTHONPATH=tests/pages:tests/support $(VENV_PYTHON) tests/tools/screenshots.py

cost: .venv/test.stamp browser
	$(VENV_PYTHON) tests/benchmarks/plot_cost.py

kills: .venv/test.stamp
	$(VENV_PYTHON) tests/tools/kills.py 20

# With one thread a computation, as CONTRIBUTING.md advises for a class.
load: .venv/test.stamp
	OMP_NUM_THREADS=1 PYTHONPATH=tests/pages:tests/support $(VENV_PYTHON) tests/tools/load.py --sessions $(or $(SESSIONS),40) --seconds $(or $(SECONDS),300)

soak: .venv/test.stamp browser
	PYTHONPATH=tests/pages:tests/support $(VENV_PYTHON) tests/tools/soak.py --minutes $(or $(MINUTES),60)

starts: .venv/test.stamp browser
	PYTHONPATH=tests/pages:tests/support $(VENV_PYTHON) tests/tools/fresh_starts.py --starts $(or $(STARTS),10)

format: .venv/test.stamp
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

# The port is bound as the server will bind it, before anything slow starts.
define CHECK_PORT
import sys
from tornado.netutil import bind_sockets
port, address = sys.argv[1:]
if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
    sys.exit(f"PORT={port} is not a port number (1 to 65535).")
try:
    bind_sockets(int(port), address)
except OSError as error:
    sys.exit(f"Port {port} of {address} cannot be used ({error.strerror}): choose another one, as in  make app PORT=5017")
endef
export CHECK_PORT

# Installation. A stamp is newer than what was installed from; while it is, no run needs the network.
define install
	$(if $(TORCH_INDEX),$(PIP_INSTALL) --no-deps -c requirements.lock --index-url '$(TORCH_INDEX)' torch)
	@# Python compiles what it imports, once, in a quarter of the time that all files would take.
	$(PIP_INSTALL) --no-compile -c requirements.lock -e '$(1)'
endef

.venv/app.stamp: .venv/pyvenv.cfg pyproject.toml requirements.lock
	$(call install,.)
	@touch $@

# What the first page shows is computed once, and kept in .cache/explorer.
.venv/first_page.stamp: | .venv/app.stamp
	@echo "Computing what the first page shows, once ..."
	$(VENV_PYTHON) -m explorer.pipeline.warm_up
	@touch $@

.venv/notebooks.stamp: .venv/pyvenv.cfg pyproject.toml requirements.lock
	$(call install,.[notebooks])
	@touch .venv/app.stamp $@

.venv/test.stamp: .venv/pyvenv.cfg pyproject.toml requirements.lock
	$(call install,.[test])
	@touch .venv/app.stamp .venv/notebooks.stamp $@

define check_python
$(or $(PYTHON),false) -c '$(PYTHON_FITS)' 2>/dev/null || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed; $(if $(PYTHON),$(PYTHON) is not one,there is none on PATH)."; \
	  echo "Install one, or name it, as in  make app PYTHON=/path/to/python3.11"; exit 1; }
endef

.venv/pyvenv.cfg:
	@$(check_python)
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	  echo "$(PYTHON) cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }

# The browser tests look for the same names (tests/pages/browser.py) and skip themselves without one.
FIND_BROWSER = for b in $(BROWSERS) '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' \
	/Applications/Chromium.app/Contents/MacOS/Chromium; do \
	if command -v "$$b" >/dev/null 2>&1; then echo "Browser for the tests: $$b"; exit 0; fi; done

browser:
	@$(FIND_BROWSER); \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "No Chrome or Chromium found: installing Debian's Chromium."; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy chromium; \
	fi </dev/null; \
	$(FIND_BROWSER); \
	echo "No Chrome or Chromium found, and none can be installed from here: THE BROWSER TESTS WILL BE SKIPPED."; \
	echo "Install Google Chrome or Chromium (on Debian, as root: apt install chromium) to run them."

# torch is pinned in the same command, so that the lock holds that release; its local tag (+cpu) and
# the CUDA packages of some platforms are left out, so that the lock fits every platform.
lock:
	@$(check_python)
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; trap 'exit 1' INT TERM; \
	$(PYTHON) -m venv "$$dir"; \
	pip="$$dir/bin/python -m pip --disable-pip-version-check"; \
	$(if $(TORCH_INDEX),$$pip install --no-deps --index-url '$(TORCH_INDEX)' torch==$(TORCH_VERSION);) \
	$$pip install torch==$(TORCH_VERSION) -e '.[test]'; \
	$$pip freeze --all --exclude-editable --exclude pip --exclude wheel >"$$dir/all"; \
	{ echo "# Exact versions that the explorer and its tests are known to work with, used as pip constraints."; \
	  echo "# Made by \`make lock\` from pyproject.toml, which is the one list of dependencies; do not edit."; \
	  sed 's/^\(torch==[^+]*\)+.*/\1/' "$$dir/all" | grep -Ev '^(nvidia-|cuda-|triton)' | LC_ALL=C sort -f; \
	} >"$$dir/lock"; \
	cp "$$dir/lock" requirements.lock; \
	echo "requirements.lock: $$(grep -c == requirements.lock) packages"

clean:
	rm -rf .venv .cache build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
