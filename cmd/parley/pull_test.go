package main

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serveHub is a hub with the miniature models under the names of the paper's.
func serveHub(t *testing.T) *httptest.Server {
	repos := map[string]string{"Salesforce/blip-image-captioning-base": "blip", "CompVis/stable-diffusion-v1-4": "sd",
		"openai/clip-vit-base-patch32": "clip"}
	const commit = "0123456789abcdef0123456789abcdef01234567"
	root := plain(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for id, dir := range repos {
			dir = filepath.Join(root, dir)
			if r.URL.Path == "/api/models/"+id+"/revision/main" {
				var files []map[string]any
				err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					data, err := os.ReadFile(p)
					h := sha1.New()
					fmt.Fprintf(h, "blob %d\x00%s", len(data), data)
					files = append(files, map[string]any{"rfilename": filepath.ToSlash(strings.TrimPrefix(p, dir+"/")), "size": len(data),
						"blobId": hex.EncodeToString(h.Sum(nil))})
					return err
				})
				if err != nil {
					t.Error(err)
				}
				json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": files})
				return
			}
			if name, ok := strings.CutPrefix(r.URL.Path, "/"+id+"/resolve/"+commit+"/"); ok {
				http.ServeFile(w, r, filepath.Join(dir, name))
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestPulledModels: two commands from nothing to the paper's models; they do what
// the embedded ones do, whose files they are here.
func TestPulledModels(t *testing.T) {
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HF_ENDPOINT", serveHub(t).URL)
	if code, _, errs := call(t, "tokenize", "--bert", "a cat", "--models", "paper"); code != 1 ||
		!strings.Contains(errs, "parley pull blip-base") {
		t.Fatalf("before the pull: %d %s", code, errs)
	}
	code, out, errs := call(t, "pull", "paper", "--json")
	var list []struct {
		Repo, Dir string
		Files     []string
		Bytes     int
	}
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || len(list) != 3 || list[0].Bytes == 0 || len(list[0].Files) < 3 {
		t.Fatalf("%d %s %s %v", code, out, errs, err)
	}
	for _, args := range [][]string{
		{"embed", "--json", "--text", "a cat"}, {"draw", "--json", "--steps", "1", "--guidance", "4", "a cat", "--out", "{}"},
	} {
		both := func(more ...string) string {
			dir := t.TempDir()
			var list []string
			for _, a := range append(args, more...) {
				list = append(list, strings.ReplaceAll(a, "{}", dir))
			}
			code, out, errs := call(t, list...)
			if code != 0 {
				t.Errorf("%v: %d %s", list, code, errs)
			}
			data, _ := os.ReadFile(filepath.Join(dir, "00-00.png"))
			if i := strings.Index(out, "seconds"); i > 0 {
				out = out[:i]
			}
			return strings.ReplaceAll(out, dir, "") + string(data)
		}
		if have, want := both("--models", "paper"), both(); have != want {
			t.Errorf("%v: another result than the embedded models'\n%.300s\n%.300s", args, have, want)
		}
	}
	if code, out, errs := call(t, "list"); code != 0 || strings.Count(out, "\n") != 3 ||
		!strings.Contains(out, "blip  blip-base  Salesforce/") {
		t.Errorf("list: %d %s %s", code, out, errs)
	}
	if code, out, errs := call(t, "rm", "clip-b32"); code != 0 || !strings.Contains(out, "freed") {
		t.Errorf("rm: %d %s %s", code, out, errs)
	}
	if code, out, _ := call(t, "list", "--json"); code != 0 || strings.Contains(out, "clip-b32") || !strings.Contains(out, "sd14") {
		t.Errorf("list after rm: %d %s", code, out)
	}
	for _, args := range []string{"pull sd99", "rm a/b:c", "pull"} {
		if code, _, errs := call(t, strings.Fields(args)...); code != 2 {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	if code, _, errs := call(t, "rm", "clip-l14"); code != 1 || !strings.Contains(errs, "is not here yet") {
		t.Errorf("rm of what is not there: %d %s", code, errs)
	}
}
