# Two commands set everything up: `make demo` and `make test`.
export CGO_ENABLED ?= 0

.PHONY: all test vet
all: test

vet:
	gofmt -l . | (! grep .)
	go vet ./...

test: vet
	go test ./...
