module parley

go 1.25

require (
	github.com/klauspost/cpuid/v2 v2.2.10
	github.com/mmcloughlin/avo v0.6.0
	github.com/nlpodyssey/gotokenizers v0.2.0
	github.com/x448/float16 v0.8.4
	golang.org/x/image v0.24.0
	golang.org/x/text v0.22.0
)

require (
	golang.org/x/mod v0.23.0 // indirect
	golang.org/x/sync v0.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	golang.org/x/tools v0.30.0 // indirect
)
