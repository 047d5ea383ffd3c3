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
	"slices"

	"parley/bench/coco"
	"parley/output"
)

// Merge puts shards together in a new folder: the one that a run without shards
// would have written. It refuses shards of different settings, a shard that is there
// twice, that is missing or that has not done all of its items, and says which.
func Merge(dir string, shards []string) (err error) {
	if len(shards) == 0 {
		return errors.New("no shards")
	}
	m := &merge{}
	defer func() { err = errors.Join(err, m.close()) }()
	for _, s := range shards {
		if err := m.add(s); err != nil {
			return err
		}
	}
	for i, p := range m.parts {
		if p == nil {
			return fmt.Errorf("shard %d/%d is missing", i+1, len(m.parts))
		}
	}
	out, err := output.NewFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := m.write(out.Path); err != nil {
		return err
	}
	return out.Commit()
}

// merge is shards that are read side by side.
type merge struct {
	settings *Settings // of the first
	parts    []*part   // by shard
}

// part is a shard's folder.
type part struct {
	dir          string
	shard        coco.Shard
	items, times []span // by the place among the shard's items; of times the last, zero where there is none
	files        [2]*os.File
}

// span is where a line lies in its file.
type span struct {
	at, n int64
}

func (m *merge) close() (err error) {
	for _, p := range m.parts {
		if p == nil {
			continue
		}
		for _, f := range p.files {
			if f != nil {
				err = errors.Join(err, f.Close())
			}
		}
	}
	return err
}

func (m *merge) add(dir string) error {
	s, err := ReadSettings(dir)
	if err != nil {
		return err
	}
	shard, err := s.shard()
	if err != nil {
		return fmt.Errorf("%s: %w", settingsFile(dir), err)
	}
	if m.settings == nil {
		m.settings, m.parts = s, make([]*part, shard.Count)
	}
	if shard.Count != len(m.parts) {
		return fmt.Errorf("%s is shard %v: the others are of %d", dir, shard, len(m.parts))
	}
	if d := differ(m.settings, s, "shard"); len(d) > 0 {
		return &DifferentError{dir, d}
	}
	if old := m.parts[shard.Index-1]; old != nil {
		return fmt.Errorf("%s and %s are both shard %v", old.dir, dir, shard)
	}
	p := &part{dir: dir, shard: shard}
	m.parts[shard.Index-1] = p
	size, err := s.Size()
	if err != nil {
		return err
	}
	place := func(index int) int { return index / shard.Count }
	read := func(path string, n int, one bool) ([]span, error) {
		list, at, have := make([]span, n), int64(0), 0
		err := output.ReadLines(path, func(line []byte) error {
			var r struct {
				Index *int
				ID    string
			}
			if err := json.Unmarshal(line, &r); err != nil || r.Index == nil {
				return fmt.Errorf("%s: the line at byte %d is no item's", path, at)
			}
			if *r.Index < 0 || *r.Index >= s.Data.Items || !shard.Has(*r.Index) {
				return fmt.Errorf("%s: item %s, the %d. of the data set, is not of shard %v", path, r.ID, *r.Index+1, shard)
			}
			l := &list[place(*r.Index)]
			if l.n > 0 && one {
				return fmt.Errorf("%s: item %s is there twice", path, r.ID)
			}
			*l = span{at, int64(len(line))}
			have++
			at += int64(len(line)) + 1
			return nil
		})
		if err == nil && one && have < n {
			err = fmt.Errorf("%s: %d of %d items are missing: the shard is not complete", path, n-have, n)
		}
		return list, err
	}
	if p.items, err = read(itemsFile(dir), size, true); err != nil {
		return err
	}
	if p.times, err = read(timesFile(dir), size, false); err != nil {
		return err
	}
	for i, path := range []string{itemsFile(dir), timesFile(dir)} {
		if p.files[i], err = os.Open(path); err != nil {
			return err
		}
	}
	return nil
}

// write writes the lines in the data set's order.
func (m *merge) write(dir string) error {
	whole := *m.settings
	whole.Shard = coco.Shard{}.String()
	if err := whole.write(dir); err != nil {
		return err
	}
	for i, path := range []string{itemsFile(dir), timesFile(dir)} {
		err := output.Write(path, output.Options{Sync: true}, func(w io.Writer) error {
			var b []byte
			for index := range whole.Data.Items {
				p := m.parts[index%len(m.parts)]
				l := [2][]span{p.items, p.times}[i][index/len(m.parts)]
				if l.n == 0 {
					continue
				}
				b = slices.Grow(b[:0], int(l.n)+1)[:l.n]
				if _, err := p.files[i].ReadAt(b, l.at); err != nil {
					return fmt.Errorf("read %s: %w", p.files[i].Name(), err)
				}
				if !json.Valid(b) || bytes.IndexByte(b, '\n') >= 0 {
					return fmt.Errorf("%s was changed meanwhile", p.files[i].Name())
				}
				if _, err := w.Write(append(b, '\n')); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, p := range m.parts {
		if err := m.pictures(p, dir); err != nil {
			return err
		}
	}
	return nil
}

// pictures copies the drawings that a shard has kept.
func (m *merge) pictures(p *part, dir string) error {
	from, to := filepath.Join(p.dir, "pictures"), filepath.Join(dir, "pictures")
	list, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := output.MakeFolder(to); err != nil {
		return err
	}
	for _, e := range list {
		if !e.Type().IsRegular() || !pictureName.MatchString(e.Name()) {
			continue
		}
		err := func() error {
			f, err := os.Open(filepath.Join(from, e.Name()))
			if err != nil {
				return err
			}
			defer f.Close()
			return output.Write(filepath.Join(to, e.Name()), output.Options{}, func(w io.Writer) error {
				_, err := io.Copy(w, f)
				return err
			})
		}()
		if err != nil {
			return err
		}
	}
	return nil
}
