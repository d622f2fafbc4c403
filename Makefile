# The commands of the README; Meson and Ninja do the building (meson.build).
BUILD ?= build
PREFIX ?= /usr/local

.PHONY: help deps build run test check bench install uninstall clean sanitize coverage fuzz

# What `make` alone says.
help:
	@echo 'make run        install what it needs, build, start tangramd, play a short story'
	@echo 'make test       all tests; needs no GPU'
	@echo 'make build      the programs, in $(BUILD)/'
	@echo 'make install    PREFIX=/usr/local DESTDIR=: programs, manual, completion, systemd units'
	@echo 'make uninstall  what the last make install from here has put there'
	@echo 'make check      read the code with every tool, and test it under the sanitizers'
	@echo 'make bench      measure; make fuzz, make coverage, make sanitize: see CONTRIBUTING.md'
	@echo 'make clean      remove what was built'

deps:
	@scripts/install-deps.sh build

build: deps
	@scripts/build.sh $(BUILD)

run: build
	@scripts/run.sh $(BUILD)

test:
	@scripts/install-deps.sh test
	@scripts/build.sh $(BUILD)
	@scripts/run-tests.py --build $(BUILD)

check:
	@scripts/install-deps.sh check
	@scripts/check.sh $(BUILD)

# The suite under ASan, UBSan and TSan (check does its unit and property tests); `make coverage` prints the table of rooms.
sanitize:
	@scripts/install-deps.sh check
	@scripts/sanitize.sh $(BUILD)

coverage:
	@scripts/install-deps.sh check
	@scripts/sanitize.sh $(BUILD) asan
	@cat $(BUILD)-asan/coverage.txt

# Each fuzz target for SECONDS; the corpora are also replayed by `make test`.
SECONDS ?= 60
fuzz:
	@scripts/install-deps.sh check
	@scripts/fuzz.sh $(BUILD) $(SECONDS)

# A build of its own: optimised, with asserts, as make install makes it.
bench: deps
	@scripts/build.sh $(BUILD)-bench -Dbuildtype=debugoptimized
	@scripts/bench.py --build $(BUILD)-bench

install: build
	@meson configure $(BUILD) -Dprefix=$(PREFIX) && ninja -C $(BUILD) --quiet
	meson install -C $(BUILD) --no-rebuild

# With the same DESTDIR; configuration, journal and sockets are not touched.
uninstall:
	ninja -C $(BUILD) --quiet uninstall

clean:
	rm -rf $(BUILD) $(BUILD)-*
