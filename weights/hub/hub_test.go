package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is a hub with one repository, a/b, whose large files lie on a second host.
type world struct {
	*httptest.Server
	store *httptest.Server
	files map[string][]byte
	lfs   []string

	mu     sync.Mutex
	asked  []string // "GET path range"
	tokens []string // that the second host saw
	// fault is asked before a file is sent; it may answer instead.
	fault func(w http.ResponseWriter, r *http.Request, name string) bool
	wrong map[string]string // hashes that are not those of the file
}

const commit = "0123456789abcdef0123456789abcdef01234567"

func gitHash(b []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(b))
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

func shaHash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func newWorld(t *testing.T, files map[string][]byte, lfs ...string) *world {
	w := &world{files: files, lfs: lfs, wrong: map[string]string{}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.hub))
	w.store = httptest.NewServer(http.HandlerFunc(w.blobs))
	t.Cleanup(func() { w.Close(); w.store.Close() })
	return w
}

func (w *world) note(r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, strings.TrimSpace(r.URL.EscapedPath()+" "+r.Header.Get("Range")))
}

func (w *world) hub(out http.ResponseWriter, r *http.Request) {
	w.note(r)
	if rev, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/models/a/b/revision/"); ok {
		if rev != "main" && rev != "refs%2Fpr%2F1" && rev != commit {
			out.Header().Set("X-Error-Code", "RevisionNotFound")
			http.Error(out, "no", http.StatusNotFound)
			return
		}
		type lfs struct {
			SHA256 string `json:"sha256"`
			Size   int    `json:"size"`
		}
		type sibling struct {
			Name string `json:"rfilename"`
			Size int    `json:"size"`
			ID   string `json:"blobId"`
			LFS  *lfs   `json:"lfs,omitempty"`
		}
		about := struct {
			SHA      string    `json:"sha"`
			Siblings []sibling `json:"siblings"`
		}{SHA: commit}
		for name, b := range w.files {
			s := sibling{name, len(b), gitHash(b), nil}
			if slices.Contains(w.lfs, name) {
				s.ID, s.LFS = gitHash([]byte("a pointer")), &lfs{shaHash(b), len(b)}
			}
			if h := w.wrong[name]; h != "" {
				s.LFS.SHA256 = h
			}
			about.Siblings = append(about.Siblings, s)
		}
		json.NewEncoder(out).Encode(about)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/a/b/resolve/"+commit+"/")
	if !ok {
		out.Header().Set("X-Error-Code", "RepoNotFound")
		http.Error(out, "no", http.StatusUnauthorized)
		return
	}
	if slices.Contains(w.lfs, name) {
		http.Redirect(out, r, w.store.URL+"/"+name, http.StatusFound)
		return
	}
	w.send(out, r, name)
}

func (w *world) blobs(out http.ResponseWriter, r *http.Request) {
	w.note(r)
	w.mu.Lock()
	w.tokens = append(w.tokens, r.Header.Get("Authorization"))
	w.mu.Unlock()
	w.send(out, r, strings.TrimPrefix(r.URL.Path, "/"))
}

func (w *world) send(out http.ResponseWriter, r *http.Request, name string) {
	if w.fault != nil && w.fault(out, r, name) {
		return
	}
	http.ServeContent(out, r, name, time.Time{}, bytes.NewReader(w.files[name]))
}

func (w *world) client(t *testing.T) *Client {
	return &Client{Endpoint: w.URL, Cache: filepath.Join(t.TempDir(), "hub"), HTTP: &http.Client{},
		Pause: time.Millisecond, Stall: 2 * time.Second, Token: "hf_secret"}
}

func large() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(i * i >> 7)
	}
	return b
}

func blip() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type": "blip"}`), "vocab.txt": []byte("[PAD]\n"), "README.md": []byte("# hello"),
		"model.safetensors": large(), "pytorch_model.bin": []byte("a pickle"), "tf_model.h5": []byte("no"),
	}
}

func mustPull(t *testing.T, c *Client, text string) Pulled {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Pull(t.Context(), r, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPull: what is needed comes, in huggingface_hub's layout; a second pull asks for no
// file; what it brought is listed, found offline, and removed.
func TestPull(t *testing.T) {
	w := newWorld(t, blip(), "model.safetensors")
	c := w.client(t)
	var last, total int64
	c.Progress = func(a, b int64) { last, total = max(last, a), b }
	p := mustPull(t, c, "a/b")
	if fmt.Sprint(p.Files) != "[config.json model.safetensors vocab.txt]" {
		t.Errorf("brought %v", p.Files)
	}
	if last != p.Bytes || total != p.Bytes || p.Bytes < 1<<20 {
		t.Errorf("told of %d of %d bytes, brought %d", last, total, p.Bytes)
	}
	root := filepath.Join(c.Cache, "models--a--b")
	for name, want := range w.files {
		at := filepath.Join(root, "snapshots", commit, name)
		have, err := os.ReadFile(at)
		if !slices.Contains(p.Files, name) {
			if err == nil {
				t.Errorf("%s was brought", name)
			}
			continue
		}
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s: %v", name, err)
		}
		etag := gitHash(want)
		if name == "model.safetensors" {
			etag = shaHash(want)
		}
		if to, err := os.Readlink(at); err != nil || to != filepath.Join("..", "..", "blobs", etag) {
			t.Errorf("%s leads to %s, %v", name, to, err)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(root, "refs", "main")); string(b) != commit {
		t.Errorf("refs/main is %q", b)
	}
	for _, token := range w.tokens {
		if token != "" {
			t.Errorf("another host was given the token: %q", token)
		}
	}
	w.asked = nil
	mustPull(t, c, "a/b")
	if len(w.asked) != 1 {
		t.Errorf("a second pull asked for %v", w.asked)
	}

	c.Offline, w.asked = true, nil
	if q := mustPull(t, c, "a/b"); q.Dir != p.Dir || len(w.asked) != 0 {
		t.Errorf("offline: %v, asked %v", q.Dir, w.asked)
	}
	list, err := c.List()
	if err != nil || len(list) != 1 || list[0].Repo != "a/b" || list[0].Kind != "blip" || list[0].Bytes != p.Bytes ||
		fmt.Sprint(list[0].Refs) != "[main]" || list[0].Dir != p.Dir {
		t.Errorf("the list is %+v, %v", list, err)
	}
	freed, err := c.Remove(Repo{ID: "a/b", Revision: "main"})
	if err != nil || freed != p.Bytes {
		t.Errorf("removing freed %d of %d, %v", freed, p.Bytes, err)
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	var gone *NotHereError
	if _, err := c.Local(Repo{ID: "a/b", Revision: "main"}); !errors.As(err, &gone) {
		t.Errorf("have %v", err)
	}
}

// TestRevisions: two revisions share blobs, and removing one leaves the other whole.
func TestRevisions(t *testing.T) {
	w := newWorld(t, blip(), "model.safetensors")
	c := w.client(t)
	p := mustPull(t, c, "a/b@refs/pr/1")
	other := filepath.Join(filepath.Dir(p.Dir), strings.Repeat("a", 40))
	if err := os.Mkdir(other, 0o777); err != nil {
		t.Fatal(err)
	}
	to, _ := os.Readlink(filepath.Join(p.Dir, "config.json"))
	if err := os.Symlink(to, filepath.Join(other, "config.json")); err != nil {
		t.Fatal(err)
	}
	freed, err := c.Remove(Repo{ID: "a/b", Revision: "refs/pr/1"})
	if want := p.Bytes - int64(len(w.files["config.json"])); err != nil || freed != want {
		t.Errorf("freed %d, want %d, %v", freed, want, err)
	}
	if _, err := os.ReadFile(filepath.Join(other, "config.json")); err != nil {
		t.Error(err)
	}
	if _, err := c.Local(Repo{ID: "a/b", Revision: "refs/pr/1"}); err == nil {
		t.Error("the revision is still known")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(p.Dir)), "refs", "refs", "pr", "1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name of what is gone: %v", err)
	}
}

// TestBroken: a connection that breaks is gone on with where it broke, in one pull and
// in the next; a server without ranges sends the whole again.
func TestBroken(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		w := newWorld(t, blip(), "model.safetensors")
		c := w.client(t)
		n := 0
		w.fault = func(out http.ResponseWriter, r *http.Request, name string) bool {
			if name != "model.safetensors" {
				return false
			}
			if !ranges {
				r.Header.Del("Range")
			}
			if n++; n > 3 {
				return false
			}
			data := large()
			start := 0
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
			out.Header().Set("Content-Length", fmt.Sprint(len(data)-start))
			if start > 0 {
				out.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(data)-1, len(data)))
				out.WriteHeader(http.StatusPartialContent)
			}
			out.Write(data[start : start+200_000])
			panic(http.ErrAbortHandler)
		}
		p := mustPull(t, c, "a/b")
		if have, err := os.ReadFile(filepath.Join(p.Dir, "model.safetensors")); err != nil || !bytes.Equal(have, large()) {
			t.Errorf("ranges %v: not the file, %v", ranges, err)
		}
		if len(w.asked) != 1+2+2*4 {
			t.Errorf("ranges %v: asked %v", ranges, w.asked)
		}
		if last := w.asked[len(w.asked)-1]; ranges && last != "/model.safetensors bytes=600000-" {
			t.Errorf("the last was %q", last)
		}
	}
}

// TestLeftover: what a killed program has left is gone on with; where it is not the
// file's beginning, the whole is brought.
func TestLeftover(t *testing.T) {
	// A blob that is cut, and a part that is longer than the file: both come anew.
	for name, left := range map[string][]byte{"": large()[:300_000], ".incomplete": append(bytes.Clone(large()), 'x')} {
		w := newWorld(t, blip(), "model.safetensors")
		c := w.client(t)
		at := filepath.Join(c.Cache, "models--a--b", "blobs", shaHash(large())+name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o777), os.WriteFile(at, left, 0o666)); err != nil {
			t.Fatal(err)
		}
		p := mustPull(t, c, "a/b")
		if have, err := os.ReadFile(filepath.Join(p.Dir, "model.safetensors")); err != nil || !bytes.Equal(have, large()) {
			t.Errorf("beside %d bytes: not the file, %v", len(left), err)
		}
		if !slices.Contains(w.asked, "/model.safetensors") || slices.ContainsFunc(w.asked, func(a string) bool {
			return strings.Contains(a, "bytes=")
		}) {
			t.Errorf("beside %d bytes: asked %v", len(left), w.asked)
		}
	}
	for _, good := range []bool{true, false} {
		w := newWorld(t, blip(), "model.safetensors")
		c := w.client(t)
		left := large()[:300_000]
		if !good {
			left = bytes.Repeat([]byte("x"), 300_000)
		}
		part := filepath.Join(c.Cache, "models--a--b", "blobs", shaHash(large())+".incomplete")
		if err := os.MkdirAll(filepath.Dir(part), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(part, left, 0o666); err != nil {
			t.Fatal(err)
		}
		p := mustPull(t, c, "a/b")
		if have, err := os.ReadFile(filepath.Join(p.Dir, "model.safetensors")); err != nil || !bytes.Equal(have, large()) {
			t.Errorf("good %v: not the file, %v", good, err)
		}
		if !slices.Contains(w.asked, "/model.safetensors bytes=300000-") || slices.Contains(w.asked, "/model.safetensors") == good {
			t.Errorf("good %v: asked %v", good, w.asked)
		}
	}
}

// TestWrongHash: what is not what the hub says is an error and never in a snapshot.
func TestWrongHash(t *testing.T) {
	w := newWorld(t, blip(), "model.safetensors")
	w.wrong["model.safetensors"] = strings.Repeat("0", 64)
	c := w.client(t)
	_, err := c.Pull(t.Context(), Repo{ID: "a/b", Revision: "main"}, "")
	if err == nil || !strings.Contains(err.Error(), "a/b/model.safetensors: what came has the hash "+shaHash(large())) {
		t.Errorf("have %v", err)
	}
	if _, err := c.Local(Repo{ID: "a/b", Revision: "main"}); err == nil {
		t.Error("it is there")
	}
}

// TestRefusals: what a hub refuses is said in words that help.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		repo  string
		code  int // of each file
		after string
		want  string
	}{
		{"no/body", 0, "", "no/body: there is no such model, or it is not public: set HF_TOKEN"},
		{"a/b@v9", 0, "", "a/b@v9: there is no revision v9"},
		{"a/b", http.StatusForbidden, "", "may not read it"},
		{"a/b", http.StatusNotFound, "", "a/b: there is no such model"},
		{"a/b", http.StatusTooManyRequests, "4000", "asked less often"},
		{"a/b", http.StatusServiceUnavailable, "", "the hub answers 503 Service Unavailable"},
		{"a/b:gone.safetensors", 0, "", "a/b has no file gone.safetensors"},
	} {
		w := newWorld(t, blip(), "model.safetensors")
		c := w.client(t)
		if test.code != 0 {
			w.fault = func(out http.ResponseWriter, r *http.Request, name string) bool {
				if test.after != "" {
					out.Header().Set("Retry-After", test.after)
				}
				http.Error(out, "no", test.code)
				return true
			}
		}
		r, err := Parse(test.repo)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Pull(t.Context(), r, ""); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, %d: have %v, want %s", test.repo, test.code, err, test.want)
		}
		if _, err := c.Local(r); err == nil {
			t.Errorf("%s, %d: something is there", test.repo, test.code)
		}
	}
}

// TestLimited: a hub that wants to be asked later is asked later.
func TestLimited(t *testing.T) {
	w := newWorld(t, blip(), "model.safetensors")
	c := w.client(t)
	refused := false
	w.fault = func(out http.ResponseWriter, r *http.Request, name string) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if refused || name != "config.json" {
			return false
		}
		refused = true
		out.Header().Set("Retry-After", "1")
		http.Error(out, "no", http.StatusTooManyRequests)
		return true
	}
	start := time.Now()
	mustPull(t, c, "a/b")
	if d := time.Since(start); !refused || d < time.Second {
		t.Errorf("asked again after %v", d)
	}
}

// TestStall: a download that stands still is given up and asked for again.
func TestStall(t *testing.T) {
	w := newWorld(t, blip(), "model.safetensors")
	c := w.client(t)
	c.Stall = time.Second
	stalled := false
	w.fault = func(out http.ResponseWriter, r *http.Request, name string) bool {
		w.mu.Lock()
		first := name == "model.safetensors" && !stalled
		stalled = stalled || first
		w.mu.Unlock()
		if first {
			out.Header().Set("Content-Length", fmt.Sprint(len(large())))
			out.Write(large()[:1000])
			out.(http.Flusher).Flush()
			<-r.Context().Done()
		}
		return first
	}
	mustPull(t, c, "a/b")
	if !slices.Contains(w.asked, "/model.safetensors bytes=1000-") {
		t.Errorf("asked %v", w.asked)
	}
}

// TestStopped: a pull that is stopped ends at once and leaves what came for the next.
func TestStopped(t *testing.T) {
	w := newWorld(t, blip(), "model.safetensors")
	c := w.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.fault = func(out http.ResponseWriter, r *http.Request, name string) bool {
		if name == "model.safetensors" {
			out.Header().Set("Content-Length", fmt.Sprint(len(large())))
			out.Write(large()[:1000])
			out.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
			cancel()
			<-r.Context().Done()
		}
		return name == "model.safetensors"
	}
	if _, err := c.Pull(ctx, Repo{ID: "a/b", Revision: "main"}, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
	st, err := os.Stat(filepath.Join(c.Cache, "models--a--b", "blobs", shaHash(large())+".incomplete"))
	if err != nil || st.Size() != 1000 {
		t.Errorf("left %v, %v", st, err)
	}
}

// TestNames: a hub that names files outside of the snapshot is refused.
func TestNames(t *testing.T) {
	for _, name := range []string{"../../x.json", "/etc/x.json", "a/../../x.json"} {
		files := blip()
		files[name] = []byte("{}")
		w := newWorld(t, files, "model.safetensors")
		if _, err := w.client(t).Pull(t.Context(), Repo{ID: "a/b", Revision: "main"}, ""); err == nil ||
			!strings.Contains(err.Error(), "names a file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5", "sd15@fp16": "stable-diffusion-v1-5/stable-diffusion-v1-5@fp16",
		"a/b": "a/b", "a/b@main": "a/b", "a/b@refs/pr/3": "a/b@refs/pr/3", "a/b:x/y.ckpt": "a/b:x/y.ckpt", "a/b@v1:x.ckpt": "a/b@v1:x.ckpt",
		"sd99": "", "a/b/c": "", "../b": "", "a/..": "", "a/b@": "", "a/b@../x": "", "a/b:": "", "a/b:/etc/passwd": "", "a/b--c": "",
		"a/b..c": "", "": "",
	} {
		r, err := Parse(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken for %v", text, r)
			}
		} else if err != nil || r.String() != want {
			t.Errorf("%q: have %v, %v, want %s", text, r, err, want)
		}
	}
	for _, k := range Names() {
		if r, err := Parse(k.Name); err != nil || r.ID != k.Repo {
			t.Errorf("%s: %v, %v", k.Name, r, err)
		}
	}
	for kind, name := range Set("paper") {
		if i := slices.IndexFunc(Names(), func(k Known) bool { return k.Name == name && k.Kind == kind }); i < 0 {
			t.Errorf("the paper's %s is %s, which is not known", kind, name)
		}
	}
}

// TestNeeded: of repositories as they are published, what a model is opened from.
func TestNeeded(t *testing.T) {
	sd := strings.Fields(`.gitattributes README.md model_index.json v1-5-pruned.ckpt v1-5-pruned.safetensors
		feature_extractor/preprocessor_config.json safety_checker/config.json safety_checker/model.safetensors
		scheduler/scheduler_config.json text_encoder/config.json text_encoder/model.safetensors text_encoder/model.fp16.safetensors
		text_encoder/pytorch_model.bin tokenizer/merges.txt tokenizer/vocab.json tokenizer/tokenizer_config.json
		unet/config.json unet/diffusion_pytorch_model.safetensors unet/diffusion_pytorch_model.fp16.safetensors
		unet/diffusion_pytorch_model.non_ema.safetensors unet/diffusion_pytorch_model.bin
		vae/config.json vae/diffusion_pytorch_model.safetensors vae/diffusion_pytorch_model.fp16.safetensors`)
	for _, test := range []struct{ name, files, variant, file, want string }{
		{"SD", strings.Join(sd, " "), "", "", `model_index.json unet/config.json unet/diffusion_pytorch_model.safetensors
			vae/config.json vae/diffusion_pytorch_model.safetensors text_encoder/config.json text_encoder/model.safetensors
			scheduler/scheduler_config.json tokenizer/merges.txt tokenizer/vocab.json tokenizer/tokenizer_config.json`},
		{"SD in fp16", strings.Join(sd, " "), "fp16", "", `model_index.json unet/config.json unet/diffusion_pytorch_model.fp16.safetensors
			vae/config.json vae/diffusion_pytorch_model.fp16.safetensors text_encoder/config.json text_encoder/model.fp16.safetensors
			scheduler/scheduler_config.json tokenizer/merges.txt tokenizer/vocab.json tokenizer/tokenizer_config.json`},
		{"a single file of it", strings.Join(sd, " "), "", "v1-5-pruned.safetensors", "v1-5-pruned.safetensors"},
		{"no VAE", "model_index.json unet/config.json unet/diffusion_pytorch_model.bin", "", "", "!there is no folder vae/"},
		{"CLIP", "config.json merges.txt vocab.json flax_model.msgpack model.safetensors preprocessor_config.json " +
			"pytorch_model.bin tokenizer.json",
			"", "", "config.json merges.txt model.safetensors preprocessor_config.json tokenizer.json vocab.json"},
		{"shards", "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json " +
			"model.fp16-00001-of-00001.safetensors model.safetensors.index.fp16.json", "", "",
			"config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json"},
		{"shards of a variant", "config.json model-00001-of-00002.safetensors model.safetensors.index.json " +
			"model.fp16-00001-of-00001.safetensors model.safetensors.index.fp16.json", "fp16", "",
			"config.json model.fp16-00001-of-00001.safetensors model.safetensors.index.fp16.json"},
		{"open_clip", "README.md open_clip_config.json open_clip_pytorch_model.bin open_clip_model.safetensors tokenizer.json", "", "",
			"open_clip_config.json open_clip_model.safetensors tokenizer.json"},
		{"another format", "README.md model.gguf", "", "", "!model.gguf is of a format that is not read"},
		{"two checkpoints", "a.ckpt b.ckpt", "", "", "!name one: a.ckpt, b.ckpt"},
	} {
		files := strings.Fields(test.files)
		have, err := Needed(Repo{ID: "a/b", Revision: "main", File: test.file}, files, test.variant)
		if word, ok := strings.CutPrefix(test.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: have %v, want %s", test.name, err, word)
			}
			continue
		}
		want := strings.Fields(test.want)
		slices.Sort(want)
		slices.Sort(have)
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("%s:\nhave %v, %v\nwant %v", test.name, have, err, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ env, endpoint, cache, token string }{
		{"HF_HOME=" + dir, "https://huggingface.co", filepath.Join(dir, "hub"), "from a file"},
		{"HF_HOME=" + dir + " HF_TOKEN=x HF_ENDPOINT=http://localhost:1/", "http://localhost:1", filepath.Join(dir, "hub"), "x"},
		{"HF_HOME=" + dir + " HF_HUB_CACHE=/c HF_HUB_DISABLE_IMPLICIT_TOKEN=1", "https://huggingface.co", "/c", ""},
		{"XDG_CACHE_HOME=/x", "https://huggingface.co", "/x/huggingface/hub", ""},
		{"HF_ENDPOINT=hub", "", "", ""},
		{"HF_HOME=" + dir + " TRANSFORMERS_OFFLINE=yes", "https://huggingface.co", filepath.Join(dir, "hub"), "from a file"},
		{"HF_HOME=" + dir + " HF_HUB_OFFLINE=on", "https://huggingface.co", filepath.Join(dir, "hub"), "from a file"},
	} {
		env := map[string]string{}
		for _, e := range strings.Fields(test.env) {
			k, v, _ := strings.Cut(e, "=")
			env[k] = v
		}
		c, err := FromEnvironment(func(k string) string { return env[k] })
		if test.endpoint == "" {
			if err == nil {
				t.Errorf("%s: taken", test.env)
			}
			continue
		}
		if err != nil || c.Endpoint != test.endpoint || c.Cache != test.cache || c.Token != test.token ||
			c.Offline != strings.Contains(test.env, "OFFLINE") {
			t.Errorf("%s: %+v, %v", test.env, c, err)
		}
	}
}
