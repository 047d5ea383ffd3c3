# Two commands set everything up: `make demo` and `make test`.
export CGO_ENABLED ?= 0

.PHONY: all bin/parley demo test vet ptx ptx-check gpu-bundle abi parity peers clean
all: bin/parley

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

# Where a C compiler is, all tests run with the CUDA side, whose kernels run on
# the interpreter of PTX. The CPU's own build is tested besides, without
# assembly.
test: vet
ifneq (,$(compiler))
	$(cuda) go vet $(tags) ./...
	$(cuda) go test $(tags) -timeout 60m ./...
	$(cuda) go test -race $(tags) ./engine/cuda ./engine/cuda/driver
	go test ./cmd/... ./engine/...
else
	go test ./...
endif
	go test -tags noasm ./kernels/... ./nets/

# Regenerates kernels/*/op.ptx and kernels/RESOURCES.md; the check compares, and
# fails where a kernel spills. Both need Python 3 and pip, and no GPU.
ptx:
	python3 kernels/cuda/ptx.py

ptx-check:
	python3 kernels/cuda/ptx.py --check

# Regenerates the picture decoders: nets/pixels/*/wasm.go. Needs Python 3, cargo
# and Debian's clang with its libraries for WebAssembly.
.PHONY: decoders
decoders:
	python3 nets/pixels/generate.py

# What a machine with a GPU needs to prove and to measure everything: out/gpu, to
# be carried there; out/gpu/run does it.
gpu-bundle:
	$(cuda) bench/gpu/bundle

# Compares our header of the CUDA driver with NVIDIA's, which it downloads.
abi:
	python3 engine/cuda/driver/abi.py

# Full-size nets against transformers and diffusers: needs Python 3.11, a
# download of torch, 16 GB of memory and 8 GB of disk.
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
