package columns

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShort(t *testing.T) {
	const path = "up_blocks.10.attentions.0.attn1+residual.attention"
	for width, want := range map[int]string{
		100: path, 50: path,
		49: "up_blocks.10.attention.0.attn1+residual.attention",
		36: "up.10.at.0.attn1+residual.attention",
		34: "u.10.a.0.attn1+residual.attention",
		24: "up.10.at.0.at.attention",
		20: "u.10.a.0.a.attention",
		10: "…attention", 9: "…ttention", 1: "…", 0: "…",
	} {
		if have := Short(path, width); have != want {
			t.Errorf("%d columns: %q, want %q", width, have, want)
		}
	}
}

// TestWrite: no line is longer than the width, cells stand below each other, and what is
// left out is what matters least.
func TestWrite(t *testing.T) {
	rows := []Row{{Cells: []string{"time", "share"}}, {Cells: []string{"1.894 ms", "3.7 %"}, Name: "up_blocks.2.attentions.0.attn1.attention",
		More: []string{"2x256x64", "blocked attention + tiles"}}, {Cells: []string{"9 µs"}, Name: "conv_in.conv", More: []string{"2x8", "sum"}}}
	for width, want := range map[int]string{
		0: `      time  share
  1.894 ms  3.7 %  up_blocks.2.attentions.0.attn1.attention  2x256x64  blocked attention + tiles
      9 µs         conv_in.conv  2x8  sum
`,
		72: `      time  share
  1.894 ms  3.7 %  up_blocks.2.attentions.0.attn1.attention  2x256x64
      9 µs         conv_in.conv  2x8  sum
`,
		58: `      time  share
  1.894 ms  3.7 %  up_blocks.2.attention.0.attn1.attention
      9 µs         conv_in.conv  2x8  sum
`,
		61: `      time  share
  1.894 ms  3.7 %  up_blocks.2.attentions.0.attn1.attention
      9 µs         conv_in.conv  2x8  sum
`,
		36: `      time  share
  1.894 ms  3.7 %  …attn1.attention
      9 µs         conv_in.conv  2x8
`} {
		var b strings.Builder
		Write(&b, rows, width)
		if b.String() != want {
			t.Errorf("%d columns:\n%swant\n%s", width, b.String(), want)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > 0 && n > width {
				t.Errorf("%d columns of %d: %q", n, width, line)
			}
		}
	}
}

// TestWhole: a name that has no room beside its cells has a line of its own.
func TestWhole(t *testing.T) {
	var b strings.Builder
	Write(&b, []Row{{Cells: []string{"1 ms"}, Name: "a.b", More: []string{"sum"}, Whole: true},
		{Cells: []string{"10 ms"}, Name: "blocks.0.attention", More: []string{"tiles"}, Whole: true}}, 24)
	if want := "   1 ms  a.b  sum\n  10 ms\n    blocks.0.attention\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestWrap(t *testing.T) {
	const text = "warning  a long line of words"
	if have := Wrap(text, 9, 18); have != "warning  a long\n         line of\n         words" {
		t.Errorf("%q", have)
	}
	if Wrap(text, 9, 0) != text || Wrap(text, 9, 29) != text {
		t.Error("a text that fits is changed")
	}
}
