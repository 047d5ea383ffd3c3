package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Memory implements engine.MemoryReporter: what the machine has available, or what
// is left of the limit of a control group that the process is in, whichever is
// less. Page cache that the kernel can drop counts as free, as it does in
// MemAvailable. An error is of a system that does not say.
func (d *Device) Memory() (free, total int, err error) { return available(os.DirFS("/")) }

// available reads a system's files, by their paths below its root.
func available(root fs.FS) (free, total int, err error) {
	info, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, 0, fmt.Errorf("free memory: %w", err)
	}
	m := fields(info, ":")
	kib, ok := m["MemAvailable"]
	all, ok2 := m["MemTotal"]
	if !ok || !ok2 {
		return 0, 0, errors.New("free memory: /proc/meminfo has no MemAvailable and MemTotal")
	}
	free, total = kib<<10, all<<10
	for _, g := range groups(root) {
		limit, used, err := g.memory(root)
		if err != nil {
			return 0, 0, fmt.Errorf("free memory: %w", err)
		}
		total = min(total, limit)
		free = min(free, max(0, limit-used))
	}
	return free, total, nil
}

// group is a control group, as a version of them shows it.
type group struct {
	dir string // of its files
	version
}

type version struct {
	filesystem     string
	controller     string // "" in version 2
	limit, current string // files
	// Lines of memory.stat: page cache that can be dropped. tmpfs and shared
	// memory, which cannot, are counted apart from it.
	cache []string
}

func versions() []version {
	return []version{
		{"cgroup2", "", "memory.max", "memory.current", []string{"inactive_file", "active_file"}},
		{"cgroup", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", []string{"total_inactive_file", "total_active_file"}},
	}
}

// groups lists the process's groups with those above them, as far as its mounts
// show them.
func groups(root fs.FS) []group {
	var l []group
	own := memberships(root)
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(mounts)) {
		// ID parent device root mountpoint options [fields] - type source options
		before, after, ok := strings.Cut(line, " - ")
		b, a := strings.Fields(before), strings.Fields(after)
		if !ok || len(b) < 6 || len(a) < 3 {
			continue
		}
		for _, v := range versions() {
			at, ok := own[v.controller]
			if !ok || a[0] != v.filesystem || v.controller != "" && !slices.Contains(strings.Split(a[2], ","), v.controller) {
				continue
			}
			// A mount may show a part of the hierarchy, with the process outside of it
			// or, in a namespace of its own, at the root.
			below, ok := strings.CutPrefix(at, strings.TrimSuffix(unescape(b[3]), "/"))
			if !ok || below != "" && below[0] != '/' || strings.Contains(below, "..") {
				below = ""
			}
			point := strings.Trim(unescape(b[4]), "/")
			for dir := path.Clean("/" + below); ; dir = path.Dir(dir) {
				l = append(l, group{strings.TrimPrefix(path.Join(point, dir), "/"), v})
				if dir == "/" {
					break
				}
			}
		}
	}
	return l
}

// memberships gives the process's group by controller: "" is version 2's.
func memberships(root fs.FS) map[string]string {
	l := map[string]string{}
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return l
	}
	for line := range strings.Lines(string(b)) {
		// ID:controllers:path
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				l[c] = f[2]
			}
		}
	}
	return l
}

// limit is what a group may take, and what it took that it cannot give back. A
// group without a limit, as the topmost one is, may take any number.
func (g group) memory(root fs.FS) (limit, used int, err error) {
	limit, err = g.number(root, g.limit)
	if limit == math.MaxInt || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return math.MaxInt, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	if used, err = g.number(root, g.current); err != nil {
		return 0, 0, err
	}
	stat, err := fs.ReadFile(root, path.Join(g.dir, "memory.stat"))
	if err != nil {
		return limit, used, nil // all of it counts
	}
	m := fields(stat, " ")
	for _, c := range g.cache {
		used -= m[c]
	}
	return limit, max(0, used), nil
}

// number reads a file of one number; "max" is the largest.
func (g group) number(root fs.FS, name string) (int, error) {
	name = path.Join(g.dir, name)
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	s := string(bytes.TrimSpace(b))
	if s == "max" {
		return math.MaxInt, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/%s: %w", name, err)
	}
	return int(min(n, math.MaxInt)), nil
}

// fields reads lines of a name, a separator and a number.
func fields(b []byte, separator string) map[string]int {
	m := map[string]int{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), separator)
		value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
		if n, err := strconv.Atoi(value); err == nil {
			m[name] = n
		}
	}
	return m
}

// unescape is a path of mountinfo, which writes blanks in octal.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
