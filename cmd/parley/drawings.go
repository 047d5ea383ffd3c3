package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"parley/nets/pixels"
	"parley/nets/pixels/batch"
	"parley/nets/pixels/parameters"
	"parley/output"
)

// drawings are the files of a draw.
type drawings struct {
	to     string
	file   bool // --out is a file, or several of its name
	stdout io.Writer
	several,
	force bool
	first int // in a folder, the number of the first text
}

// newDrawings finds out where n drawings go, before the work: to "-", to a file,
// or to a folder, behind what is there.
func newDrawings(to string, n int, force bool, stdout io.Writer) (*drawings, error) {
	d := &drawings{to: to, several: n > 1, force: force}
	st, err := os.Stat(to)
	png := strings.EqualFold(filepath.Ext(to), ".png")
	switch {
	case to == "-" && d.several:
		return nil, usage("--out -: one drawing at a time goes to the standard output, not %d", n)
	case to == "-":
		d.stdout = stdout
		return d, nil
	case err == nil && !st.IsDir() || err != nil && png:
		d.file = true
		return d, d.checkFiles(n)
	case err != nil && batch.IsPicture(to):
		return nil, usage("--out %s: drawings are PNG files", to)
	}
	if err := output.MakeFolder(to); err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	if err := d.count(); err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	if err := output.Check(d.path(job{}), d.options()); err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	return d, nil
}

func (d *drawings) options() output.Options {
	return output.Options{Kind: output.PNG, New: true, Force: d.force}
}

// checkFiles fails where a file is in the way.
func (d *drawings) checkFiles(n int) error {
	if err := output.MakeFolder(filepath.Dir(d.to)); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	for i := range n {
		err := output.Check(d.path(job{n: i}), d.options())
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: name another, or write over it with --force", err)
		}
		if err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	return nil
}

// numbered matches the pictures of draw and reconstruct in a folder.
var numbered = regexp.MustCompile(`^(\d{2,9})-\d{2,9}\.png$`)

// count finds the next free number.
func (d *drawings) count() error {
	list, err := os.ReadDir(d.to)
	if err != nil {
		return err
	}
	d.first = 0
	for _, e := range list {
		if m := numbered.FindStringSubmatch(e.Name()); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return err
			}
			d.first = max(d.first, n+1)
		}
	}
	return nil
}

// path is the file of a job.
func (d *drawings) path(j job) string {
	switch {
	case !d.file:
		return filepath.Join(d.to, fmt.Sprintf("%02d-%02d.png", d.first+j.i, j.j))
	case d.several && strings.EqualFold(filepath.Ext(d.to), ".png"):
		ext := filepath.Ext(d.to)
		return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(d.to, ext), j.n+1, ext)
	}
	return d.to // also a device or a pipe that takes several
}

// write writes a picture under its job's name, or in a folder the next free one.
func (d *drawings) write(j job, m *pixels.Image, how parameters.Drawing) (string, error) {
	encode := func(w io.Writer) error { return parameters.Encode(w, m, how) }
	if d.stdout != nil {
		return "-", encode(d.stdout)
	}
	for {
		path := d.path(j)
		err := output.Write(path, d.options(), encode)
		if d.file || !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		if err := d.count(); err != nil { // another run writes here
			return "", err
		}
	}
}

// initImage is the picture that drawings start from.
type initImage struct {
	picture   *pixels.Image
	path, sum string
}

// readInit reads an init image or its mask, of a flag. It must be the one with the
// SHA-256 of a drawing that is drawn again, where that is where its name comes from; ""
// is any.
func readInit(flag, path string, how pixels.Options, again string, named bool) (initImage, error) {
	m, err := how.Read(path)
	if err != nil {
		if !named && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("it was drawn from %s: name that picture with --%s: %w", path, flag, err)
		}
		return initImage{}, limited(err)
	}
	i := initImage{picture: m, path: path}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		if i.sum, err = sum(path); err != nil {
			return i, err
		}
	}
	if !named && again != "" && i.sum != again {
		return i, fmt.Errorf("it was drawn from another %s than the one that is there now: name the picture with --%s", path, flag)
	}
	return i, nil
}

// sum is the SHA-256 of a file.
func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// setLike sets the flags that the command line does not.
func setLike(cmd *cobra.Command, d parameters.Drawing) error {
	values := []struct{ flag, value, none string }{
		{"steps", strconv.Itoa(d.Steps), "0"},
		{"guidance", strconv.FormatFloat(d.Guidance, 'g', -1, 64), ""},
		{"seed", strconv.FormatUint(d.Seed, 10), ""},
		{"width", strconv.Itoa(d.Width), "0"},
		{"height", strconv.Itoa(d.Height), "0"},
		{"scheduler", d.Scheduler, ""},
		{"negative", d.NegativePrompt, ""},
		{"clip-skip", strconv.Itoa(d.ClipSkip), "0"},
		{"long-prompt", d.LongPrompt, ""},
		{"vae-tiling", d.VAETiling, ""},
		{"precision", d.Precision, ""},
		{"from", d.Init, ""},
		{"icc", strconv.FormatBool(d.InitICC), "false"},
		{"mask", d.Mask, ""},
		{"strength", strconv.FormatFloat(d.Strength, 'g', -1, 64), "0"},
	}
	for _, v := range values {
		if v.value == v.none || cmd.Flags().Changed(v.flag) {
			continue
		}
		if err := cmd.Flags().Set(v.flag, v.value); err != nil {
			return fmt.Errorf("--%s %s: %w", v.flag, v.value, err)
		}
	}
	return within(cmd)
}

// readLines reads the lines of a file, or of the standard input for "-", that
// are not empty. There has to be one.
func readLines(path string, stdin io.Reader) ([]string, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var out []string
	s := bufio.NewScanner(in)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		l := s.Text()
		if n == 1 {
			l = strings.TrimPrefix(l, "\uFEFF")
		}
		if !utf8.ValidString(l) {
			return nil, fmt.Errorf("%s: line %d: not UTF-8", path, n)
		}
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	err := s.Err()
	if err == nil && len(out) == 0 {
		err = errors.New("there is no text in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}
