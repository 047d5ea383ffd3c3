# Two commands set everything up: `make demo` and `make test`.
export CGO_ENABLED ?= 0

.PHONY: all bin/parley demo test vet ptx ptx-check parity clean
all: bin/parley

bin/parley:
	go build -o $@ ./cmd/parley

# Builds, runs both reconstructions on the embedded models, and says where the
# pictures are.
demo: bin/parley
	bin/parley demo --out out/demo

vet:
	gofmt -l . | (! grep .)
	go vet ./...

test: vet
	go test ./...
	go test -tags noasm ./kernels/... ./nets/

# Regenerates kernels/*/op.ptx and kernels/RESOURCES.md; the check compares, and
# fails where a kernel spills. Both need Python 3 and pip, and no GPU.
ptx:
	python3 kernels/cuda/ptx.py

ptx-check:
	python3 kernels/cuda/ptx.py --check

# Full-size nets against transformers and diffusers: needs Python 3.11, a
# download of torch, 16 GB of memory and 8 GB of disk.
parity: bin/parley
	python3 -m venv out/parity
	out/parity/bin/pip install -q -r bench/parity/requirements.txt
	out/parity/bin/python bench/parity/parity.py bin/parley

clean:
	rm -rf bin out
