// Package columns writes tables that end where a screen does: numbers on the left, and
// behind them names, of which a long one is shortened.
package columns

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Usual is the width of what is no terminal.
const Usual = 100

// Row is a line of a table.
type Row struct {
	Cells []string // aligned on the right
	// Name stands behind them, More behind that as far as the line has room: what comes
	// first is the last to be left out.
	Name string
	More []string
	// Whole says that a name that is too long gets a line of its own.
	Whole bool
}

const gap = 2 // columns between two cells

// Write writes rows in lines of so many columns at most; 0 is as many as it takes. Cells
// are never shortened.
func Write(b *strings.Builder, rows []Row, width int) {
	var wide []int
	for _, r := range rows {
		for i, c := range r.Cells {
			if i == len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		room := width - gap
		for i, w := range wide {
			c := ""
			if i < len(r.Cells) {
				c = r.Cells[i]
			}
			line.WriteString(strings.Repeat(" ", w-utf8.RuneCountInString(c)+gap) + c)
			room -= w + gap
		}
		if r.Whole && width > 0 && utf8.RuneCountInString(r.Name) > room {
			b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
			line.Reset()
			line.WriteString(strings.Repeat(" ", gap))
			room = width - 2*gap
		}
		if name := fit(r, max(1, room), width == 0); name != "" {
			line.WriteString(strings.Repeat(" ", gap) + name)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// fit is a row's name and as much of what is behind it as has room beside all of the name.
func fit(r Row, room int, endless bool) string {
	name := r.Name
	for _, m := range r.More {
		if m == "" {
			continue
		}
		if !endless && utf8.RuneCountInString(name)+gap+utf8.RuneCountInString(m) > room {
			break
		}
		name += strings.Repeat(" ", gap) + m
	}
	if endless {
		return name
	}
	return Short(name, room)
}

// Short is a path of names joined by dots in so many columns at most: all names but the last
// two, or the last, keep as many of their first letters as have room,
// "deco.up_b.2.resn.1.conv2.conv", and numbers all of them.
func Short(path string, width int) string {
	if utf8.RuneCountInString(path) <= width {
		return path
	}
	names := strings.Split(path, ".")
	most := 0
	for _, n := range names {
		most = max(most, len(n))
	}
	for _, whole := range []int{2, 1} { // names at the end
		for letters := most; letters > 0; letters-- {
			short := slices.Clone(names)
			for i, n := range names[:max(0, len(names)-whole)] {
				if r := []rune(n); n[:min(1, len(n))] > "9" && len(r) > letters {
					short[i] = string(r[:letters])
				}
			}
			if s := strings.Join(short, "."); utf8.RuneCountInString(s) <= width {
				return s
			}
		}
	}
	r := []rune(path)
	return "…" + strings.TrimLeft(string(r[len(r)-max(0, width-1):]), ".")
}

// Wrap breaks a text at spaces into lines of so many columns at most; those behind the
// first begin with so many spaces. A width of 0 leaves it as it is.
func Wrap(text string, indent, width int) string {
	if width == 0 {
		return text
	}
	var b strings.Builder
	at := 0
	for i, word := range strings.Split(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width && n > 0:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}
