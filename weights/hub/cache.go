package hub

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// folder is where a repository lies in the cache.
func (c *Client) folder(id string) string {
	return filepath.Join(c.Cache, "models--"+strings.ReplaceAll(id, "/", "--"))
}

// commit is what a revision stands for in the cache.
func (c *Client) commit(r Repo) (string, bool) {
	if commitID.MatchString(r.Revision) {
		return r.Revision, true
	}
	b, err := os.ReadFile(filepath.Join(c.folder(r.ID), "refs", filepath.FromSlash(r.Revision)))
	s := strings.TrimSpace(string(b))
	return s, err == nil && commitID.MatchString(s)
}

// Local is where a model, or a single file, lies in the cache. A *NotHereError says
// that it does not.
func (c *Client) Local(r Repo) (string, error) {
	commit, ok := c.commit(r)
	if !ok {
		return "", &NotHereError{r}
	}
	at := filepath.Join(c.folder(r.ID), "snapshots", commit, filepath.FromSlash(r.File))
	if _, err := os.Stat(at); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", &NotHereError{r}
		}
		return "", err
	}
	return at, nil
}

// Model is a revision of a model in the cache.
type Model struct {
	Name    string    `json:"name"` // short, if it has such a name
	Repo    string    `json:"repo"`
	Kind    string    `json:"kind"` // "blip", "sd", "clip"
	Refs    []string  `json:"refs"`
	Commit  string    `json:"commit"`
	Bytes   int64     `json:"bytes"`
	Changed time.Time `json:"changed"`
	Dir     string    `json:"dir"`
}

// List is what the cache has of models that Parley reads, by name. A cache that is not
// there is empty.
func (c *Client) List() ([]Model, error) {
	repos, err := os.ReadDir(c.Cache)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	models := []Model{}
	for _, e := range repos {
		id, ok := strings.CutPrefix(e.Name(), "models--")
		if !ok {
			continue
		}
		id = strings.Replace(id, "--", "/", 1)
		root := filepath.Join(c.Cache, e.Name())
		snapshots, err := os.ReadDir(filepath.Join(root, "snapshots"))
		if err != nil {
			continue // a repository of which nothing was brought
		}
		refs := refsOf(root)
		for _, s := range snapshots {
			m := Model{Repo: id, Commit: s.Name(), Refs: refs[s.Name()], Dir: filepath.Join(root, "snapshots", s.Name())}
			if m.Kind = kind(m.Dir); m.Kind == "" || !s.IsDir() {
				continue
			}
			for _, k := range Names() {
				if k.Repo == id {
					m.Name = k.Name
				}
			}
			for _, size := range blobsOf(m.Dir) {
				m.Bytes += size
			}
			if st, err := s.Info(); err == nil {
				m.Changed = st.ModTime()
			}
			models = append(models, m)
		}
	}
	return models, nil
}

// refsOf are the revisions that commits are known by.
func refsOf(root string) map[string][]string {
	refs := map[string][]string{}
	base := filepath.Join(root, "refs")
	_ = filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if b, err := os.ReadFile(p); err == nil {
			name, _ := filepath.Rel(base, p)
			commit := strings.TrimSpace(string(b))
			refs[commit] = append(refs[commit], filepath.ToSlash(name))
		}
		return nil
	})
	return refs
}

// blobsOf are the files that a snapshot's links lead to, with their sizes.
func blobsOf(dir string) map[string]int64 {
	blobs := map[string]int64{}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		to, err := filepath.EvalSymlinks(p)
		if err != nil {
			return nil
		}
		if st, err := os.Stat(to); err == nil {
			blobs[to] = st.Size()
		}
		return nil
	})
	return blobs
}

// kind tells by its configuration what a snapshot is.
func kind(dir string) string {
	about := struct {
		Class string `json:"_class_name"`
		Type  string `json:"model_type"`
	}{}
	for _, name := range []string{"model_index.json", "config.json"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && json.Unmarshal(b, &about) == nil {
			switch {
			case strings.HasPrefix(about.Class, "StableDiffusion"):
				return "sd"
			case about.Type == "blip" || about.Type == "clip":
				return about.Type
			}
			return ""
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "open_clip_config.json")); err == nil {
		return "clip"
	}
	return ""
}

// Remove takes a revision of a model out of the cache, with what no other revision has,
// and says how many bytes that were.
func (c *Client) Remove(r Repo) (freed int64, err error) {
	commit, ok := c.commit(r)
	root := c.folder(r.ID)
	dir := filepath.Join(root, "snapshots", commit)
	if _, err := os.Stat(dir); !ok || err != nil {
		return 0, &NotHereError{r}
	}
	mine := blobsOf(dir)
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	others, err := os.ReadDir(filepath.Join(root, "snapshots"))
	if err != nil {
		return 0, err
	}
	if len(others) == 0 {
		_ = filepath.WalkDir(filepath.Join(root, "blobs"), func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				if st, err := d.Info(); err == nil {
					freed += st.Size()
				}
			}
			return nil
		})
		return freed, errors.Join(os.RemoveAll(root), os.RemoveAll(c.locks(r.ID)))
	}
	kept := map[string]bool{}
	for _, o := range others {
		for b := range blobsOf(filepath.Join(root, "snapshots", o.Name())) {
			kept[b] = true
		}
	}
	for b, size := range mine {
		if !kept[b] {
			if err := os.Remove(b); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return freed, err
			}
			freed += size
		}
	}
	for _, ref := range refsOf(root)[commit] {
		err = errors.Join(err, os.Remove(filepath.Join(root, "refs", filepath.FromSlash(ref))))
	}
	return freed, err
}

// link makes a snapshot's name for a blob: a relative link, or, where there are none,
// a second name.
func link(blob, at string) error {
	if to, err := filepath.EvalSymlinks(at); err == nil {
		if real, err := filepath.EvalSymlinks(blob); err == nil && real == to {
			return nil
		}
	}
	dir := filepath.Dir(at)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, blob)
	if err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Symlink(rel, at) == nil {
		return nil
	}
	return os.Link(blob, at)
}

// sorted makes errors and tests read in one order.
func sorted(files []file) []file {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.Name, b.Name) })
	return files
}
