package host

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Memory implements engine.MemoryReporter, in bytes.
func (d *Device) Memory() (free, total int, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	kb := func(line, key string, to *int) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			fmt.Sscan(rest, to)
			*to <<= 10
		}
	}
	s := bufio.NewScanner(f)
	for s.Scan() {
		kb(s.Text(), "MemAvailable:", &free)
		kb(s.Text(), "MemTotal:", &total)
	}
	return free, total, s.Err()
}
