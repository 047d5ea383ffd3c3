// Package terminal is what people see of a command that runs in one: texts that
// cannot move the cursor, progress bars, and small pictures.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"parley/nets/pixels"
)

// Plain is a text as a terminal may show it: quoted where it has characters
// that would move the cursor, break a table or turn the direction of a line.
func Plain(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
	}) {
		return strconv.Quote(s)
	}
	return s
}

// Is reports whether people look at what is written to w.
func Is(w io.Writer) bool {
	_, ok := of(w)
	return ok
}

// Width is how many columns there are where people look at what is written to w; 0 where
// w is no terminal.
func Width(w io.Writer) int {
	fd, ok := of(w)
	if !ok {
		return 0
	}
	n, _, err := term.GetSize(fd)
	if err != nil {
		return 0
	}
	return n
}

// of is the terminal that w writes to.
func of(w io.Writer) (fd int, ok bool) {
	if u, ok := w.(interface{ Unwrap() io.Writer }); ok {
		w = u.Unwrap()
	}
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

// Progress shows a bar on a terminal; nil where w is none. A total below 0 is not
// known; done == total ends it.
func Progress(w io.Writer, what string) func(done, total int) {
	if !Is(w) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, total int) {
		if bar == nil {
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
				progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(),
				progressbar.OptionSetPredictTime(true))
		}
		if total < 0 || done < total {
			_ = bar.Set(done)
			return
		}
		_ = bar.Finish()
		bar = nil
	}
}

// Bytes is Progress over bytes.
func Bytes(w io.Writer, what string) func(done, total int64) {
	if !Is(w) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, total int64) {
		if bar == nil {
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
				progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionShowBytes(true),
				progressbar.OptionSetPredictTime(true))
		}
		_ = bar.Set64(done)
	}
}

// Bar is Progress of items that have a description of their own behind the count.
func Bar(w io.Writer) func(done, total int, what string) {
	if !Is(w) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, total int, what string) {
		if bar == nil {
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(20),
				progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(false),
				progressbar.OptionSetElapsedTime(false), progressbar.OptionShowDescriptionAtLineEnd())
		}
		bar.Describe(what)
		if _ = bar.Set(done); done >= total {
			_ = bar.Finish()
		}
	}
}

// Show prints a picture on a terminal with true colour, two pixels a
// character.
func Show(w io.Writer, m *pixels.Image) {
	if t := os.Getenv("COLORTERM"); !Is(w) || t != "truecolor" && t != "24bit" {
		return
	}
	wide := min(48, m.W)
	m = m.Resize(wide, max(2, m.H*wide/m.W/2*2), pixels.Box)
	var b strings.Builder
	for y := 0; y+1 < m.H; y += 2 {
		for x := range m.W {
			p, q := m.Pix[3*(y*m.W+x):], m.Pix[3*((y+1)*m.W+x):]
			fmt.Fprintf(&b, "\x1b[38;2;%d;%d;%dm\x1b[48;2;%d;%d;%dm▀", p[0], p[1], p[2], q[0], q[1], q[2])
		}
		b.WriteString("\x1b[0m\n")
	}
	fmt.Fprint(w, b.String())
}
