package hub

import (
	"context"
	"crypto/sha1" // what git calls a file without LFS by
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	hashes "hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// tries is how often a file is asked for while nothing of it comes; atOnce is how many
// files come at the same time.
const (
	tries  = 5
	atOnce = 4
)

// file is one of a repository's.
type file struct {
	Name   string `json:"rfilename"`
	Size   int64  `json:"size"`
	BlobID string `json:"blobId"` // SHA-1 as git takes it
	LFS    *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

// etag is the file's name among the blobs: its hash.
func (f file) etag() string {
	if f.LFS != nil {
		return f.LFS.SHA256
	}
	return f.BlobID
}

// sum makes what etag is made of.
func (f file) sum() hashes.Hash {
	if f.LFS != nil {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", f.Size)
	return h
}

// info asks for a revision's files and the commit that it stands for.
func (c *Client) info(ctx context.Context, r Repo) (commit string, files []file, err error) {
	from := c.Endpoint + "/api/models/" + r.ID + "/revision/" + url.PathEscape(r.Revision) + "?blobs=true"
	about := struct {
		SHA      string `json:"sha"`
		Siblings []file `json:"siblings"`
	}{}
	err = c.again(ctx, func() (bool, error) {
		resp, err := c.get(ctx, r, from, 0)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&about); err != nil {
			return false, fmt.Errorf("%s: what the hub says of it: %w", r, err)
		}
		return true, nil
	})
	if err != nil {
		return "", nil, err
	}
	if !commitID.MatchString(about.SHA) {
		return "", nil, fmt.Errorf("%s: what the hub says of it has no commit", r)
	}
	for i, f := range about.Siblings {
		if f.LFS != nil && f.LFS.Size > 0 {
			about.Siblings[i].Size = f.LFS.Size
		}
		if !local(f.Name) {
			return "", nil, fmt.Errorf("%s: the hub names a file %q", r, f.Name)
		}
	}
	return about.SHA, sorted(about.Siblings), nil
}

// Pulled is what a Pull has brought.
type Pulled struct {
	Dir    string   `json:"dir"` // the snapshot, or the single file
	Commit string   `json:"commit"`
	Files  []string `json:"files"`
	Bytes  int64    `json:"bytes"`
}

// Pull brings a model's files into the cache, those of a variant of its weights ("":
// weights.OpenVariant's choice). What is there already is not asked for again; what a
// Pull that was cut off has left is gone on with. Offline it is what Local is.
func (c *Client) Pull(ctx context.Context, r Repo, variant string) (Pulled, error) {
	if c.Offline {
		dir, err := c.Local(r)
		if err != nil {
			err = fmt.Errorf("HF_HUB_OFFLINE is set, and %w", err)
		}
		return Pulled{Dir: dir}, err
	}
	commit, files, err := c.info(ctx, r)
	if err != nil {
		return Pulled{}, err
	}
	var names []string
	by := map[string]file{}
	for _, f := range files {
		names = append(names, f.Name)
		by[f.Name] = f
	}
	if names, err = Needed(r, names, variant); err != nil {
		return Pulled{}, err
	}
	root := c.folder(r.ID)
	p := Pulled{Dir: filepath.Join(root, "snapshots", commit, filepath.FromSlash(r.File)), Commit: commit, Files: names}
	for _, name := range names {
		f := by[name]
		if !hash.MatchString(f.etag()) {
			return Pulled{}, fmt.Errorf("%s: the hub gives %s no hash", r, name)
		}
		p.Bytes += f.Size
	}
	if err := os.MkdirAll(filepath.Join(root, "blobs"), 0o777); err != nil {
		return Pulled{}, err
	}
	if err := os.MkdirAll(c.locks(r.ID), 0o777); err != nil {
		return Pulled{}, err
	}
	var mu sync.Mutex
	done := int64(0)
	told := func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		if done += n; c.Progress != nil {
			c.Progress(done, p.Bytes)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, name := range names {
		g.Go(func() error {
			f := by[name]
			blob := filepath.Join(root, "blobs", f.etag())
			if err := c.blob(ctx, r, commit, f, blob, told); err != nil {
				return fmt.Errorf("%s: %w", path.Join(r.ID, name), err)
			}
			return link(blob, filepath.Join(root, "snapshots", commit, filepath.FromSlash(name)))
		})
	}
	if err := g.Wait(); err != nil {
		return Pulled{}, err
	}
	if r.Revision != commit { // last, so that a revision that has a name is whole
		ref := filepath.Join(root, "refs", filepath.FromSlash(r.Revision))
		if err := os.MkdirAll(filepath.Dir(ref), 0o777); err != nil {
			return Pulled{}, err
		}
		if err := os.WriteFile(ref, []byte(commit), 0o666); err != nil {
			return Pulled{}, err
		}
	}
	return p, nil
}

// blob brings a file under its hash, while it holds the lock that huggingface_hub would.
func (c *Client) blob(ctx context.Context, r Repo, commit string, f file, blob string, told func(int64)) (err error) {
	lock, err := lock(ctx, filepath.Join(c.locks(r.ID), f.etag()+".lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if st, err := os.Stat(blob); err == nil && st.Size() == f.Size {
		told(f.Size)
		return nil
	}
	part := blob + ".incomplete"
	out, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
		if err == nil {
			err = os.Rename(part, blob)
		}
	}()
	d := download{Client: c, repo: r, file: f, out: out, told: told,
		from: c.Endpoint + "/" + r.ID + "/resolve/" + commit + "/" + escape(f.Name)}
	if err := d.begin(); err != nil {
		return err
	}
	for fresh := d.have == 0; ; fresh = true {
		if err := c.again(ctx, func() (bool, error) { return d.more(ctx) }); err != nil {
			return err
		}
		have := hex.EncodeToString(d.sum.Sum(nil))
		if have == f.etag() {
			return out.Sync()
		}
		if err := d.restart(); err != nil {
			return err
		}
		if fresh { // not what an earlier try has left
			return fmt.Errorf("what came has the hash %s, and the hub says %s", have, f.etag())
		}
	}
}

func escape(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// download is a file that comes in one or more answers.
type download struct {
	*Client
	repo Repo
	file file
	from string
	out  *os.File
	have int64 // bytes that are in out and in sum
	sum  hashes.Hash
	told func(int64)
}

// begin takes up what an earlier try has left.
func (d *download) begin() error {
	d.sum = d.file.sum()
	if st, err := d.out.Stat(); err != nil || st.Size() > d.file.Size {
		return errors.Join(err, d.restart())
	}
	n, err := io.Copy(d.sum, d.out)
	d.have = n
	d.told(n)
	return err
}

// restart throws away what is there.
func (d *download) restart() error {
	d.told(-d.have)
	d.have, d.sum = 0, d.file.sum()
	_, err := d.out.Seek(0, io.SeekStart)
	return errors.Join(err, d.out.Truncate(0))
}

// more asks for the rest, and reports whether anything came.
func (d *download) more(ctx context.Context) (bool, error) {
	if d.have == d.file.Size {
		return true, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	still := time.AfterFunc(d.Stall, func() { cancel(fmt.Errorf("nothing came for %v", d.Stall)) })
	defer still.Stop()
	resp, err := d.get(ctx, d.repo, d.from, d.have)
	if err != nil {
		return false, because(ctx, err)
	}
	defer resp.Body.Close()
	if d.have > 0 && (resp.StatusCode != http.StatusPartialContent ||
		!strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(d.have, 10)+"-")) {
		if resp.StatusCode == http.StatusPartialContent {
			return false, fmt.Errorf("asked for what follows byte %d, the hub sends %q", d.have, resp.Header.Get("Content-Range"))
		}
		if err := d.restart(); err != nil { // the whole comes
			return false, err
		}
	}
	before := d.have
	buf := make([]byte, 256<<10)
	for {
		n, err := resp.Body.Read(buf)
		if d.have+int64(n) > d.file.Size {
			return false, errors.Join(d.restart(), fmt.Errorf("more came than the %d bytes that the hub says", d.file.Size))
		}
		if n > 0 {
			still.Reset(d.Stall)
			if _, err := d.out.Write(buf[:n]); err != nil {
				return false, fatal{err} // a full disk will not become emptier
			}
			d.sum.Write(buf[:n])
			d.have += int64(n)
			d.told(int64(n))
		}
		switch {
		case err == io.EOF && d.have == d.file.Size:
			return true, nil
		case err == io.EOF:
			return d.have > before, io.ErrUnexpectedEOF
		case err != nil:
			return d.have > before, because(ctx, err)
		}
	}
}

// because says why a request was given up, if we did it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// fatal is an error that asking again does not mend.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// again calls f until it succeeds, waiting longer each time that nothing came.
func (c *Client) again(ctx context.Context, f func() (came bool, err error)) error {
	pause := c.Pause
	for try := 1; ; try++ {
		came, err := f()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if came {
			try, pause = 1, c.Pause
		}
		wait := pause
		var status *StatusError
		var stop fatal
		switch {
		case errors.As(err, &stop):
			return stop.error
		case errors.As(err, &status):
			if status.Code < 500 && status.Code != http.StatusTooManyRequests && status.Code != http.StatusRequestTimeout {
				return err
			}
			if status.Wait > 0 {
				wait = status.Wait
			}
		}
		if try >= tries || wait > 5*time.Minute {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		pause *= 2
	}
}

// get asks for what lies at an address, from a byte on.
func (c *Client) get(ctx context.Context, r Repo, from string, start int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "parley")
	req.Header.Set("Accept-Encoding", "identity")
	if start > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", start))
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	asks := *c.HTTP
	asks.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("the hub leads from address to address")
		}
		if req.URL.Host != via[0].URL.Host { // net/http would give the token to other ports and to hosts below
			req.Header.Del("Authorization")
		}
		return nil
	}
	resp, err := asks.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &StatusError{Repo: r, Code: resp.StatusCode, Word: resp.Header.Get("X-Error-Code")}
	if e.Word == "" {
		e.Word = resp.Header.Get("X-Error-Message")
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.Wait = time.Duration(s) * time.Second
	} else if t, err := http.ParseTime(resp.Header.Get("Retry-After")); err == nil {
		e.Wait = time.Until(t)
	}
	return nil, e
}

// locks is where huggingface_hub keeps its locks of a repository.
func (c *Client) locks(id string) string {
	return filepath.Join(c.Cache, ".locks", filepath.Base(c.folder(id)))
}
