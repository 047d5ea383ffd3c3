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

// TestEncodings holds the instructions that bf16_amd64.s encodes itself
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
	source, err := os.ReadFile("bf16_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := exec.Command("go", "tool", "nm", "-size", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	written := instructions(string(source))
	if len(written) != 6 {
		t.Fatalf("%d functions in the source, want 6", len(written))
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

var encoded = regexp.MustCompile(`^(ldtilecfg|tile|tdp|prefetchw|vcvtne2ps2bf16|vdpbf16ps)`)

// A macro of the source. One that is nothing but bytes is an instruction.
type macro struct {
	params []string
	body   string
}

// instructions are each function's encoded ones as objdump writes them.
func instructions(source string) map[string][]string {
	macros, texts := map[string]macro{}, map[string][]string{}
	define := regexp.MustCompile(`^#define (\w+)\(([^)]*)\)(.*)`)
	call := regexp.MustCompile(`\b([A-Za-z]\w*)\(([^()]*)\)`)
	split := func(list string) []string {
		return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	}
	var expand func(name, text string)
	expand = func(name, text string) {
		for _, c := range call.FindAllStringSubmatch(text, -1) {
			m, ok := macros[c[1]]
			if !ok {
				continue
			}
			args := split(c[2])
			if strings.HasPrefix(strings.TrimSpace(m.body), "BYTE") {
				texts[name] = append(texts[name], disassembled(c[1], args))
				continue
			}
			body := m.body
			for i, p := range m.params {
				body = regexp.MustCompile(`\b`+p+`\b`).ReplaceAllString(body, args[i])
			}
			expand(name, body)
		}
	}
	name := ""
	for _, line := range strings.Split(strings.ReplaceAll(source, "\\\n", " "), "\n") {
		if m := regexp.MustCompile(`^TEXT ·(\w+)\(SB\)`).FindStringSubmatch(line); m != nil {
			name = m[1]
			texts[name] = nil
		} else if m := define.FindStringSubmatch(line); m != nil {
			macros[m[1]] = macro{split(m[2]), m[3]}
		} else if !strings.HasPrefix(line, "//") {
			expand(name, line)
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
	case "PREFETCHW":
		n, _ := strconv.Atoi(a[1])
		return fmt.Sprintf("prefetchw %#x(%%r%s)", n, reg(a[0])[1:])
	case "TDPBF16PS":
		return "tdpbf16ps " + tile(a[2]) + "," + tile(a[1]) + "," + tile(a[0])
	case "VDPBF16PS":
		return "vdpbf16ps %zmm" + a[2] + ",%zmm" + a[1] + ",%zmm" + a[0]
	case "VCVTNE2PS2BF16":
		return "vcvtne2ps2bf16 %zmm" + a[2] + ",%zmm" + a[1] + ",%zmm" + a[0]
	}
	return op + ": unknown to the test"
}
