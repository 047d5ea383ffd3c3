package safetensors

import (
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// mapped are the files that are mapped now: Forget touches nothing else, since
// the same advice would clear memory that is not a file's.
var mapped struct {
	sync.Mutex
	files map[uintptr][]byte
}

func start(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

func remember(m []byte) {
	mapped.Lock()
	defer mapped.Unlock()
	if mapped.files == nil {
		mapped.files = map[uintptr][]byte{}
	}
	mapped.files[start(m)] = m
}

// forgetMapping says that a mapping ends.
func forgetMapping(m []byte) {
	mapped.Lock()
	defer mapped.Unlock()
	delete(mapped.files, start(m))
}

// Forget takes the pages of data out of the process' memory where they are a
// mapped file's: they are read again should somebody look. What has been copied
// elsewhere does not count twice then.
func Forget(data []byte) {
	if len(data) == 0 {
		return
	}
	mapped.Lock()
	defer mapped.Unlock()
	at, page := start(data), uintptr(os.Getpagesize())
	for first, m := range mapped.files {
		if at < first || at+uintptr(len(data)) > first+uintptr(len(m)) {
			continue
		}
		lo := (at - first) / page * page // a mapping begins with a page
		_ = syscall.Madvise(m[lo:at-first+uintptr(len(data))], syscall.MADV_DONTNEED)
		return
	}
}
