# Two commands set everything up: `make demo` and `make test`. `make help` lists the
# others.
export CGO_ENABLED ?= 0

.PHONY: dist clients all help bin/parley demo test vet check cross man ptx ptx-check format format-check gpu-bundle abi parity peers clean
all: bin/parley

help:
	@echo 'bin/parley   build the program (with the CUDA side where there is a C compiler)'
	@echo 'demo         build, and run both reconstructions on the embedded models'
	@echo 'test         all tests: half an hour of two cores at most'
	@echo 'check        what reads the code: vet, staticcheck, govulncheck, other systems'
	@echo 'man          manual pages, in out/man'
	@echo 'dist         one archive: the program, manual pages, completions, a systemd unit'
	@echo 'ptx          compile the CUDA kernels again        (Python 3)'
	@echo 'ptx-check    compare what is committed with them   (Python 3)'
	@echo 'format       lay out the CUDA sources; format-check compares  (Python 3)'
	@echo 'gpu-bundle   what measures a GPU'
	@echo 'abi          compare our header of the driver with NVIDIA'\''s   (Python 3)'
	@echo 'parity       full-size nets against transformers and diffusers   (Python 3, 16 GB)'
	@echo 'clients      the server before openai, webuiapi and others       (Python 3, npm)'
	@echo 'peers        times beside torch, OpenVINO and onnxruntime        (Python 3, 25 GB of disk)'
	@echo 'clean        remove what was built'

# The CUDA side is bound by cgo against a header and an archive of ours, so that
# a C compiler is all it needs. Without one, or with `make CC=`, the binary is
# the CPU's alone.
driver := $(CURDIR)/engine/cuda/driver
cuda := CGO_ENABLED=1 CGO_CFLAGS="-O2 -I$(driver)/include" CGO_LDFLAGS="-L$(driver)/lib" CC="$(CC)"
tags := -tags cuda,netgo,osusergo
compiler := $(and $(CC),$(shell command -v $(CC)))

bin/parley:
ifneq (,$(compiler))
	$(cuda) go build $(tags) -o $@ ./cmd/parley
else
	go build -o $@ ./cmd/parley
endif

# Builds, runs both reconstructions on the embedded models, and says where the
# pictures are.
demo: bin/parley
	bin/parley demo --out out/demo

vet:
	gofmt -l . | (! grep .)
	go vet ./...

# What reads the code, with pinned versions, and builds of other systems. It
# downloads the tools and govulncheck's data base.
staticcheck := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
govulncheck := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
check: vet cross
ifneq (,$(compiler))
	$(cuda) $(staticcheck) $(tags) ./...
else
	$(staticcheck) ./...
endif
	$(govulncheck) ./...

# The CPU's side builds elsewhere, too.
cross:
	GOOS=linux GOARCH=arm64 go vet ./...
	GOOS=darwin GOARCH=arm64 go vet ./...
	GOOS=windows GOARCH=amd64 go vet ./...

man: bin/parley
	bin/parley man out/man

# Where a C compiler is, all tests run with the CUDA side, whose kernels run on
# the interpreter of PTX. The CPU's own build is tested besides, without
# assembly.
test: vet
ifneq (,$(compiler))
	$(cuda) go vet $(tags) ./...
	$(cuda) go test $(tags) -timeout 60m ./...
	$(cuda) go test -race $(tags) ./engine/cuda ./engine/cuda/driver
	$(cuda) go test -race -run 'Blocks|Cooperative|Depend|Lock' ./engine/cuda/ptx
	$(cuda) go test -race -run 'TwoRequests|Recorder|TestImage|TestText|TestDrawings|TestBadFile' ./nets/models ./nets/rerank ./cmd/parley
	CGO_ENABLED=1 go test -race ./cmd/serve/work ./cmd/serve/jobs ./weights/hub
	go test ./cmd/... ./engine/...
else
	go test -timeout 60m ./...
endif
	go test -tags noasm ./kernels/... ./nets/

# Regenerates kernels/*/op.tar.zst (PTX and machine code) and kernels/RESOURCES.md;
# the check compares, and fails where a kernel spills. Both need Python 3 and pip,
# and no GPU; out/kernels has the PTX to read.
ptx:
	python3 kernels/cuda/ptx.py

ptx-check:
	python3 kernels/cuda/ptx.py --check

# The CUDA sources in the dialect of kernels/.clang-format; needs Python 3 and pip.
clang-format := out/format/bin/clang-format
cuda-sources := kernels/*/op*.cu kernels/cuda/*.cuh

$(clang-format): kernels/cuda/format.txt
	python3 -m venv out/format
	out/format/bin/pip install -q -r $<
	touch $@

format: $(clang-format)
	$< -i $(cuda-sources)

format-check: $(clang-format)
	$< --dry-run -Werror $(cuda-sources)

# Regenerates the picture decoders: nets/pixels/*/wasm.go. Needs Python 3, cargo
# and Debian's clang with its libraries for WebAssembly.
.PHONY: decoders
decoders:
	python3 nets/pixels/generate.py

# What a machine with a GPU needs beside a checkout to prove and to measure
# everything: out/gpu.tar.xz (bench/results/README.md). Fails where both are too large
# to be carried.
gpu-bundle:
	$(cuda) bench/gpu/bundle

# Compares our header of the CUDA driver with NVIDIA's, which it downloads.
abi:
	python3 engine/cuda/driver/abi.py

# Full-size nets against transformers and diffusers: needs Python 3.11, a
# download of torch, 16 GB of memory and 8 GB of disk.
# One archive of what a host needs, the same bytes from the same commit.
version := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
dist: bin/parley man
	rm -rf out/dist && mkdir -p out/dist/parley/completions
	cp bin/parley LICENSE NOTICE README.md deploy/parley.service out/dist/parley
	cp -r out/man out/dist/parley/man
	for s in bash zsh fish; do bin/parley completion $$s > out/dist/parley/completions/parley.$$s; done
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C out/dist -czf out/parley-$(version)-linux-$$(go env GOARCH).tar.gz parley
	@ls -l out/parley-$(version)-linux-$$(go env GOARCH).tar.gz

# The server before the clients that people have.
clients: bin/parley
	python3 -m venv out/clients
	out/clients/bin/pip install -q -r cmd/serve/clients/requirements.txt
	cp cmd/serve/clients/package.json cmd/serve/clients/clients.mjs out/clients
	npm install --prefix out/clients --no-audit --no-fund --silent
	go build -C cmd/serve/clients/go -o $(CURDIR)/out/clients/openai-go
	out/clients/bin/python cmd/serve/clients/clients.py bin/parley "node out/clients/clients.mjs" out/clients/openai-go
	PARLEY_AXE=$(CURDIR)/out/clients/node_modules/axe-core/axe.min.js go test -count=1 -run TestPage ./cmd/serve

parity: bin/parley
	python3 -m venv out/parity
	out/parity/bin/pip install -q -r bench/parity/requirements.txt
	out/parity/bin/python bench/parity/parity.py bin/parley

# Times Parley beside torch, OpenVINO and onnxruntime: bench/peers/RESULTS.md.
# WORK names some of the works; about an hour and 25 GB of disk for all.
peers: bin/parley
	python3 -m venv out/peers/venv
	out/peers/venv/bin/pip install -q -r bench/peers/requirements.txt
	out/peers/venv/bin/python bench/peers/peers.py bin/parley $(WORK)

clean:
	rm -rf bin out
