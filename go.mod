module parley

go 1.25

require (
	github.com/klauspost/cpuid/v2 v2.2.10
	github.com/mmcloughlin/avo v0.6.0
)

require (
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/mod v0.23.0 // indirect
	golang.org/x/sync v0.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	golang.org/x/tools v0.30.0 // indirect
)
