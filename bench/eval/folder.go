package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/HugoSmits86/nativewebp"

	"parley/bench/coco"
	"parley/nets/pixels"
	"parley/output"
)

// DifferentError says that a folder has a run of other settings.
type DifferentError struct {
	Dir  string
	What []string // name the settings
}

func (e *DifferentError) Error() string {
	return fmt.Sprintf("%s has a run of other settings: %s", e.Dir,
		strings.Join(e.What, "; "))
}

// Formats are those in which drawings can be kept; "" keeps none.
var formats = map[string]func(w io.Writer, m *pixels.Image) error{
	"png":  func(w io.Writer, m *pixels.Image) error { return m.EncodePNG(w) },
	"webp": func(w io.Writer, m *pixels.Image) error { return nativewebp.Encode(w, m.Go(), nil) }, // without loss
}

// pictureName is how a kept drawing is called.
var pictureName = regexp.MustCompile(`^\d{6,}-\d{2,}\.(png|webp)$`)

// IsPicture reports whether a record's picture is called as a kept drawing in its
// run's folder is.
func IsPicture(name string) bool {
	base, ok := strings.CutPrefix(name, "pictures/")
	return ok && pictureName.MatchString(base)
}

// folder is a run's folder under way. items.jsonl has a line for each item that is
// done, timings.jsonl what each took, each time; both are appended to.
type folder struct {
	dir, pictures string // pictures: "" until there is one
	items, times  *output.Lines
	done          []bool // by index in the whole data set
	before        int    // items that were done when it was opened
	failed        int    // of those
	again         int    // items that had failed and are to be done again
}

// openFolder begins a folder, or goes on with what the same settings have left. With
// retry the lines of items that failed go, so that they are as if never done.
func openFolder(dir string, s *Settings, retry bool) (_ *folder, err error) {
	shard, err := s.shard()
	if err != nil {
		return nil, err
	}
	if err := output.MakeFolder(dir); err != nil {
		return nil, err
	}
	f := &folder{dir: dir, done: make([]bool, s.Data.Items)}
	// The lock comes first: who holds it writes the settings.
	if f.items, err = output.OpenLines(itemsFile(dir)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	old, err := ReadSettings(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if st, err := os.Stat(itemsFile(dir)); err != nil || st.Size() > 0 {
			return nil, errors.Join(err, fmt.Errorf("%s: items.jsonl without settings.json: not of this program's making", dir))
		}
		if err := s.write(dir); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		if d := differ(old, s); len(d) > 0 {
			return nil, &DifferentError{dir, d}
		}
	}
	if f.times, err = output.OpenLines(timesFile(dir)); err != nil {
		return nil, err
	}
	err = Records(dir, func(r *Record) error {
		if retry && r.failed() {
			f.again++
			return nil
		}
		if err := f.mark(r, shard); err != nil {
			return fmt.Errorf("%s: %w", itemsFile(dir), err)
		}
		return nil
	})
	if err != nil || f.again == 0 {
		return f, err
	}
	return f, f.items.Filter(func(line []byte) (bool, error) {
		var r Record
		err := json.Unmarshal(line, &r)
		return !r.failed(), err
	})
}

// mark notes that an item is done.
func (f *folder) mark(r *Record, shard coco.Shard) error {
	switch {
	case r.Index < 0 || r.Index >= len(f.done):
		return fmt.Errorf("item %s has the index %d: there are %d items", r.ID, r.Index, len(f.done))
	case !shard.Has(r.Index):
		return fmt.Errorf("item %s, the %d. of the data set, is not of shard %v", r.ID, r.Index+1, shard)
	case f.done[r.Index]:
		return fmt.Errorf("item %s is there twice", r.ID)
	}
	f.done[r.Index] = true
	f.before++
	if r.Error != "" {
		f.failed++
	}
	return nil
}

// times is a line of timings.jsonl, in seconds.
type times struct {
	Index   int     `json:"index"`
	ID      string  `json:"id"`
	Caption float64 `json:"caption"`
	Draw    float64 `json:"draw"`
	Judge   float64 `json:"judge"`
	Seconds float64 `json:"seconds"` // all of it, its share of what was done for several
}

// append writes an item's lines.
func (f *folder) append(r *Record, t times) error {
	line, err := plain(r)
	if err != nil {
		return fmt.Errorf("item %s: %w", r.ID, err)
	}
	if err := f.items.Append(line); err != nil {
		return fmt.Errorf("write %s: %w", itemsFile(f.dir), err)
	}
	if line, err = json.Marshal(t); err == nil {
		err = f.times.Append(line)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", timesFile(f.dir), err)
	}
	return nil
}

// picture keeps a drawing, and returns its name in the folder.
func (f *folder) picture(m *pixels.Image, index, candidate int, format string) (string, error) {
	if f.pictures == "" {
		f.pictures = filepath.Join(f.dir, "pictures")
		if err := output.MakeFolder(f.pictures); err != nil {
			return "", err
		}
	}
	name := fmt.Sprintf("%06d-%02d.%s", index, candidate, format)
	var b bytes.Buffer
	if err := formats[format](&b, m); err != nil {
		return "", err
	}
	return "pictures/" + name, output.WriteFile(filepath.Join(f.pictures, name), b.Bytes(), output.Options{})
}

func (f *folder) sync() error { return errors.Join(f.items.Sync(), f.times.Sync()) }

func (f *folder) close() (err error) {
	for _, l := range []*output.Lines{f.items, f.times} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}
