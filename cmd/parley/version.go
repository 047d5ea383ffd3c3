package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"parley/engine/cuda"
)

// version says what the program was built of: its version or commit, the
// toolchain, and whether it has the GPU's side.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	var commit, changed string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				changed = ", with changes"
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = "of no release"
	}
	parts := []string{v}
	if commit != "" {
		parts = append(parts, "commit "+commit[:min(12, len(commit))]+changed)
	}
	side := "CPU alone"
	if cuda.Built {
		side = "CPU and CUDA"
	}
	return strings.Join(append(parts, fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH), side), "; ")
}
