package host

import (
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"parley/engine"
)

const (
	meminfo = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   16000000 kB\nHugePages_Total:       0\n"
	mib     = 1 << 20
	// A line of mountinfo: what it shows and where it is mounted.
	mount2 = "30 23 0:26 ROOT POINT rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	mount1 = "33 25 0:30 ROOT POINT rw,nosuid shared:10 - cgroup cgroup rw,memory\n"
	mountX = "32 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n29 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
)

func mount(line, root, point string) string {
	return strings.NewReplacer("ROOT", root, "POINT", point).Replace(line)
}

// TestMemory: the least of what the machine has available and what the limits of
// the process's control groups leave, without page cache that can be dropped.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		name        string
		files       map[string]string
		free, total int
	}{
		{"no control groups", nil, 16000000 << 10, 24000000 << 10},
		{"no limit, version 2", map[string]string{
			"proc/self/cgroup":                            "0::/user.slice/s.scope\n",
			"proc/self/mountinfo":                         mountX + mount(mount2, "/", "/sys/fs/cgroup"),
			"sys/fs/cgroup/user.slice/s.scope/memory.max": "max\n",
			"sys/fs/cgroup/user.slice/memory.max":         "max\n",
		}, 16000000 << 10, 24000000 << 10},
		{"a limit, version 2", map[string]string{
			"proc/self/cgroup":                 "0::/app\n",
			"proc/self/mountinfo":              mount(mount2, "/", "/sys/fs/cgroup"),
			"sys/fs/cgroup/app/memory.max":     "1073741824\n",
			"sys/fs/cgroup/app/memory.current": "734003200\n", // 700 MiB
			"sys/fs/cgroup/app/memory.stat":    "anon 209715200\nfile 524288000\nshmem 104857600\ninactive_file 314572800\nactive_file 104857600\n",
		}, (1024 - 700 + 400) * mib, 1024 * mib},
		{"a container's own namespace, version 2", map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"proc/self/mountinfo":          mount(mount2, "/", "/sys/fs/cgroup"),
			"sys/fs/cgroup/memory.max":     "536870912\n",
			"sys/fs/cgroup/memory.current": "104857600\n",
		}, 412 * mib, 512 * mib},
		{"outside of its namespace's root, version 2", map[string]string{
			"proc/self/cgroup":               "0::/../other\n",
			"proc/self/mountinfo":            mount(mount2, "/", "/sys/fs/cgroup"),
			"sys/fs/cgroup/memory.max":       "536870912\n",
			"sys/fs/cgroup/memory.current":   "104857600\n",
			"sys/fs/cgroup/other/memory.max": "1048576\n", // another of that name
		}, 412 * mib, 512 * mib},
		{"the limit of a group above", map[string]string{
			"proc/self/cgroup":                   "0::/a/b/c\n",
			"proc/self/mountinfo":                mount(mount2, "/", "/sys/fs/cgroup"),
			"sys/fs/cgroup/a/b/c/memory.max":     "4294967296\n",
			"sys/fs/cgroup/a/b/c/memory.current": "0\n",
			"sys/fs/cgroup/a/b/memory.max":       "max\n",
			"sys/fs/cgroup/a/memory.max":         "2147483648\n",
			"sys/fs/cgroup/a/memory.current":     "1610612736\n",
		}, 512 * mib, 2048 * mib},
		{"more used than the limit", map[string]string{
			"proc/self/cgroup":               "0::/a\n",
			"proc/self/mountinfo":            mount(mount2, "/", "/sys/fs/cgroup"),
			"sys/fs/cgroup/a/memory.max":     "1048576\n",
			"sys/fs/cgroup/a/memory.current": "2097152\n",
		}, 0, mib},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/app\n4:memory:/app\n1:name=systemd:/\n0::/\n",
			"proc/self/mountinfo": mountX + mount(mount1, "/", "/sys/fs/cgroup/memory") +
				mount(mount2, "/", "/sys/fs/cgroup/unified"),
			"sys/fs/cgroup/memory/app/memory.limit_in_bytes": "1073741824\n",
			"sys/fs/cgroup/memory/app/memory.usage_in_bytes": "734003200\n",
			"sys/fs/cgroup/memory/app/memory.stat": "inactive_file 1\nactive_file 1\ntotal_inactive_file 314572800\ntotal_active_file " +
				"104857600\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "20000000000\n",
		}, (1024 - 700 + 400) * mib, 1024 * mib},
		{"a container that sees a part of version 1", map[string]string{
			"proc/self/cgroup":                              "4:memory:/docker/f00\n",
			"proc/self/mountinfo":                           mount(mount1, "/docker/f00", "/sys/fs/cgroup/my\\040memory"),
			"sys/fs/cgroup/my memory/memory.limit_in_bytes": "1073741824\n",
			"sys/fs/cgroup/my memory/memory.usage_in_bytes": "73741824\n",
		}, 1e9, 1024 * mib},
		{"another part of version 1", map[string]string{
			"proc/self/cgroup":           "4:memory:/docker/f001\n",
			"proc/self/mountinfo":        mount(mount1, "/docker/f00", "/cg"),
			"cg/memory.limit_in_bytes":   "1073741824\n",
			"cg/memory.usage_in_bytes":   "73741824\n",
			"cg/1/memory.limit_in_bytes": "1048576\n",
		}, 1e9, 1024 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fstest.MapFS{"proc/meminfo": {Data: []byte(meminfo)}}
			for name, text := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			free, total, err := available(root)
			if err != nil || free != c.free || total != c.total {
				t.Errorf("%d free of %d, want %d of %d: %v", free, total, c.free, c.total, err)
			}
		})
	}
}

func TestMemoryUnknown(t *testing.T) {
	if _, _, err := available(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a system without /proc: %v", err)
	}
	root := fstest.MapFS{
		"proc/meminfo":                   {Data: []byte("MemTotal: 1 kB\n")},
		"proc/self/cgroup":               {Data: []byte("0::/a\n")},
		"proc/self/mountinfo":            {Data: []byte(mount(mount2, "/", "/sys/fs/cgroup"))},
		"sys/fs/cgroup/a/memory.max":     {Data: []byte("much\n")},
		"sys/fs/cgroup/a/memory.current": {Data: []byte("1\n")},
	}
	if _, _, err := available(root); err == nil || !strings.Contains(err.Error(), "MemAvailable") {
		t.Errorf("an old kernel: %v", err)
	}
	root["proc/meminfo"] = &fstest.MapFile{Data: []byte(meminfo)}
	if _, _, err := available(root); err == nil || !strings.Contains(err.Error(), "/sys/fs/cgroup/a/memory.max: ") {
		t.Errorf("a limit that is no number: %v", err)
	}
	root["sys/fs/cgroup/a/memory.max"] = &fstest.MapFile{Data: []byte("100\n")}
	delete(root, "sys/fs/cgroup/a/memory.current")
	if _, _, err := available(root); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "memory.current") {
		t.Errorf("a limit of nobody knows what: %v", err)
	}
}

// TestMemoryOfThisMachine: Linux says something that makes sense.
func TestMemoryOfThisMachine(t *testing.T) {
	m, ok := engine.As[engine.MemoryReporter](New(1))
	if !ok {
		t.Fatal("the CPU does not report memory")
	}
	free, total, err := m.Memory()
	if runtime.GOOS != "linux" {
		if err == nil {
			t.Errorf("%d free of %d, of a system that is not known to say", free, total)
		}
		return
	}
	if err != nil || free <= 0 || free > total {
		t.Errorf("%d free of %d: %v", free, total, err)
	}
}
