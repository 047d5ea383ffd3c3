//go:build amd64 && !noasm && !windows

package simd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEncodings holds the instructions that halves_amd64.s encodes itself
// against a disassembler: binutils' objdump has to read what the source says,
// operand by operand, in the same order.
func TestEncodings(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("no objdump, which comes with a C compiler")
	}
	binary := filepath.Join(t.TempDir(), "simd.test")
	if out, err := exec.Command("go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	source, err := os.ReadFile("halves_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := exec.Command("go", "tool", "nm", "-size", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	written := instructions(string(source))
	if len(written) != 5 {
		t.Fatalf("%d functions in the source, want 5", len(written))
	}
	for name, want := range written {
		m := regexp.MustCompile(`(?m)^ *([0-9a-f]+) +(\d+) T \S*/simd\.` + name + `(\.abi0)?$`).FindStringSubmatch(string(symbols))
		if m == nil {
			t.Errorf("%s: not in the binary", name)
			continue
		}
		size, _ := strconv.Atoi(m[2])
		from, _ := strconv.ParseUint(m[1], 16, 64)
		out, err := exec.Command(objdump, "-d", "--no-show-raw-insn", fmt.Sprintf("--start-address=%#x", from), fmt.Sprintf("--stop-address=%#x", from+uint64(size)), binary).Output()
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for line := range strings.Lines(string(out)) {
			_, text, ok := strings.Cut(line, ":\t")
			if text = strings.Join(strings.Fields(text), " "); ok && encoded.MatchString(text) {
				have = append(have, text)
			}
			if strings.Contains(line, "(bad)") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s: the disassembler reads\n%s\nwhere the source has\n%s", name, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
}

var encoded = regexp.MustCompile(`^(ldtilecfg|tile|tdp|vcvtne2ps2bf16|vdpbf16ps)`)

// instructions are each function's encoded ones as objdump writes them.
func instructions(source string) map[string][]string {
	texts := map[string][]string{}
	macros := map[string][]string{}
	at := regexp.MustCompile(`^TEXT ·(\w+)\(SB\)`)
	call := regexp.MustCompile(`([A-Z0-9]+)\(([^()]*)\)`)
	name, macro := "", ""
	for _, line := range strings.Split(source, "\n") {
		if m := at.FindStringSubmatch(line); m != nil {
			name = m[1]
			texts[name] = nil
		}
		if m := regexp.MustCompile(`^#define ([A-Z]+)\(\) \\`).FindStringSubmatch(line); m != nil {
			macro = m[1]
			continue
		}
		for _, c := range call.FindAllStringSubmatch(line, -1) {
			var args []string
			for _, a := range strings.Split(c[2], ",") {
				args = append(args, strings.TrimSpace(a))
			}
			text := disassembled(c[1], args)
			switch {
			case strings.HasPrefix(line, "#define"):
			case text != "" && macro != "":
				macros[macro] = append(macros[macro], text)
			case text != "":
				texts[name] = append(texts[name], text)
			case name != "":
				texts[name] = append(texts[name], macros[c[1]]...)
			}
		}
		if macro != "" && !strings.HasSuffix(line, "\\") {
			macro = ""
		}
	}
	return texts
}

func disassembled(op string, a []string) string {
	reg := func(s string) string { return "%" + strings.ToLower(strings.TrimPrefix(s, "r")) }
	tile := func(s string) string { return "%tmm" + strings.TrimPrefix(s, "T") }
	mem := func() string {
		n, _ := strconv.Atoi(a[3])
		return fmt.Sprintf("%#x(%%r%s,%%r%s,1)", n, reg(a[1])[1:], reg(a[2])[1:])
	}
	switch op {
	case "LDTILECFG":
		return "ldtilecfg (%r" + reg(a[0])[1:] + ")"
	case "TILERELEASE":
		return "tilerelease"
	case "TILEZERO":
		return "tilezero " + tile(a[0])
	case "TILELOADD":
		return "tileloadd " + mem() + "," + tile(a[0])
	case "TILESTORED":
		return "tilestored " + tile(a[0]) + "," + mem()
	case "TDPBF16PS":
		return "tdpbf16ps " + tile(a[2]) + "," + tile(a[1]) + "," + tile(a[0])
	case "VCVTNE2PS2BF16":
		return "vcvtne2ps2bf16 %zmm" + a[2] + ",%zmm" + a[1] + ",%zmm" + a[0]
	}
	return ""
}
